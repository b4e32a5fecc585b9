# SPDX-License-Identifier: Apache-2.0
"""A port between two hosts, without root and box: what its datagrams look like to the network, and the network's faults."""

import json
import re

from farbus_vm import BUILD, Skip, check, wait_for

TIMEOUT = 120
PORT_BENCH = BUILD / "bench" / "port-bench"


def server(t, ns, address):
    if not PORT_BENCH.exists():
        raise Skip(f"{PORT_BENCH} is not built")
    process = t.start([PORT_BENCH, "server", f"udp:{address}"], ns=ns.name)
    process.wait_log("listening on")
    return process


def client(t, ns, address, mode, *options):
    return t.start([PORT_BENCH, "client", f"udp:{address}", mode, *options], ns=ns.name)


def result(process, timeout=60):
    status = process.wait(timeout)
    check(status == 0, f"{process.name} ends with {status}")
    return json.loads(re.search(r"^\{.*\}$", process.text(), re.M)[0])


def counters(ns, *names):
    """Values of /proc/net/snmp and snmp6 by nstat's names."""
    found = json.loads(ns.run("nstat", "-aszj"))["kernel"]
    return {name: found[name] for name in names}


def test_no_fragments(t):
    """Bulk both ways over IPv4 and IPv6, MTU 1500 and 9000: full datagrams, and not one IP fragment or lost byte."""
    names = ("IpReasmReqds", "IpFragCreates", "IpFragFails", "Ip6ReasmReqds", "Ip6FragCreates", "Ip6FragFails")
    for mtu in (1500, 9000):
        net = t.net(mtu=mtu)
        for address, headers in ((f"{net.iobox.addr}:7000", 28), (f"[{net.iobox.addr6}]:7001", 48)):
            box = server(t, net.iobox, address)
            for mode in ("write", "read"):
                seen = result(client(t, net.host, address, mode, "--seconds", "1"))
                t.log(f"MTU {mtu} {address} {mode}: {seen['gbit_per_s']} Gbit/s")
                check(mtu - headers - 3 <= seen["mtu"] <= mtu - headers, f"datagrams of {seen['mtu']} with MTU {mtu}")
                check(seen["ops"] > 1000, f"only {seen['ops']} in a second")
                check(seen["tx_datagrams"] + seen["rx_datagrams"] > 3 * (seen["tx_calls"] + seen["rx_calls"]),
                      "datagrams are not batched")
            box.term()
        for ns in net.both:
            for name, value in counters(ns, *names).items():
                check(value == 0, f"{name} is {value} in {ns.name}")


def test_narrow_path(t):
    """The host's interface takes 9000, the box's 1500: the session comes up at a size that passes, and works."""
    net = t.net(mtu=1500)
    net.host.ip("link", "set", "eth0", "mtu", "9000")
    server(t, net.iobox, f"{net.iobox.addr}:7000")
    for mode in ("write", "read"):
        seen = result(client(t, net.host, f"{net.iobox.addr}:7000", mode, "--seconds", "1"))
        check(seen["mtu"] <= 1472, f"datagrams of {seen['mtu']}")
        check(seen["ops"] > 100, f"only {seen['ops']} in a second")


def test_outage(t):
    """Failure table, network gone for less than the hold time: cut or pulled for two seconds, the stream goes on."""
    net = t.net()
    server(t, net.iobox, f"{net.iobox.addr}:7000")
    for break_, mend in ((net.cut, net.heal), (net.down, net.up)):
        writer = client(t, net.host, f"{net.iobox.addr}:7000", "write", "--seconds", "5")
        sent = net.drops()[net.host.name]["tx"]["packets"]
        wait_for(lambda: net.drops()[net.host.name]["tx"]["packets"] > sent + 1000, 10, "traffic")
        break_()
        t.lasts(2)
        check(writer.alive(), f"{break_.__name__}: the writer gave up")
        mend()
        seen = result(writer, 30)
        t.log(f"{break_.__name__}: {seen}")
        check(seen["retransmits"] + seen["timeouts"] > 0, "nothing was sent again: was there an outage?")


def test_address_in_use(t):
    """A second listener on the address: one clear line, non-zero exit, and the first goes on."""
    net = t.net()
    first = server(t, net.iobox, f"{net.iobox.addr}:7000")
    second = t.start([PORT_BENCH, "server", f"udp:{net.iobox.addr}:7000"], ns=net.iobox.name)
    check(second.wait() != 0, "the second listener is content")
    lines = second.text().splitlines()[1:]
    check(len(lines) == 1 and f"udp:{net.iobox.addr}:7000: address in use" in lines[0], f"it says {lines}")
    check(first.alive(), "the first one is gone")
    result(client(t, net.host, f"{net.iobox.addr}:7000", "read-latency", "--seconds", "1"))
