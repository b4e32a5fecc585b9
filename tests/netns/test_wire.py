# SPDX-License-Identifier: Apache-2.0
"""The two hosts and the wire between them that every network and VM test stands on, without farbus."""

import subprocess

from farbus_vm import check, wait_for


def test_wire(t):
    """Two namespaces reach each other by IPv4 and IPv6; the wire can be pulled, silenced and mended; MTU holds."""
    net = t.net(mtu=9000)

    def reaches(*options):
        return subprocess.run(["ip", "netns", "exec", net.host.name, "ping", "-q", "-c1", "-W1", *options],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    for addr in (net.iobox.addr, net.iobox.addr6):
        check(reaches(addr), f"{addr} does not answer")
    check(reaches("-Mdo", "-s8900", net.iobox.addr), "a jumbo frame does not pass")
    net.set_mtu(1500)
    check(not reaches("-Mdo", "-s8900", net.iobox.addr), "a jumbo frame passes an MTU of 1500")
    for break_, mend in ((net.down, net.up), (net.cut, net.heal)):
        break_()
        check(not reaches(net.iobox.addr), f"{break_.__name__}: the other side still answers")
        mend()
        for addr in (net.iobox.addr, net.iobox.addr6):
            wait_for(lambda: reaches(addr), 5, f"{addr} to answer after {mend.__name__}")
