# SPDX-License-Identifier: Apache-2.0
"""./dev bench dma-remote: another host's memory, over the link and over SoftPCIe. The root with the memory is in net.host,
`farbus dma perf` in net.iobox: one process, so one core, a side."""

import subprocess

import vfio_user_client as vfio
from farbus_vm import FARBUS, Failure, wait_for
from memory_client import MemoryClient
from report import Row

MEMORY, SIZE = 1 << 32, 4 << 20
PORT = 7100
POINTS = [(op, size, depth) for op in ("read", "write") for size in (64, 512, 4096) for depth in (1, 32, 256)]
# First marks: operations a second of 64 B reads, Gb/s of 512 B reads; the link is to have five times SoftPCIe's.
MARKS = {"softpcie": {64: 150e3, 512: 0.5}, "link": {64: 750e3, 512: 2.5}}


class Remote:
    def __init__(self, t, net, options, framing):
        self.net, self.framing = net, framing
        if framing == "link":
            self.root = t.root(net, connect=[], args=["--device", f"nvme,id=ssd0,file={t.disk('16M')}", "--poll-us",
                                                      options.poll_us, "--dma-listen", f"udp:{net.host.addr}:{PORT}",
                                                      "--allow-dma", f"all,peer={net.iobox.addr}"])
            self.client = MemoryClient(t, self.root.socket("ssd0"), {MEMORY: SIZE})
            self.target = f"udp:{net.host.addr}:{PORT}/ssd0"
            self.root.wait_state("ssd0", "in-use")
        else:
            self.root = t.root(net, connect=[], args=["--softpcie", f"{net.host.addr},peer={net.iobox.addr},engine=on,mps=512",
                                                      "--poll-us", options.poll_us])
            self.client = vfio.Client(t, self.root.socket("softpcie0"))
            self.client.memory(MEMORY, SIZE)
            self.client.enable({0: 0xF0000000, 2: 0xF1000000, 4: 0x1F2000000})
            self.target = f"softpcie:{net.host.addr},local={net.iobox.addr}"

    def perf(self, program_json, op, size, depth, seconds, *more):
        points = program_json(FARBUS, "dma", "perf", self.target, MEMORY, SIZE, "--op", op, "--size", size, "--in-flight",
                              depth, "--time", f"{seconds}s", "--json", *more, ns=self.net.iobox)["results"]
        return points[0]

    def idle(self, idle):
        """While the others are measured: a root that polls would take a core from them."""
        (self.root.process.stop if idle else self.root.process.cont)()

    def end(self):
        self.idle(False)
        self.client.close()
        self.root.process.end()


def bench(t, rows, options, program_json, iperf3, programs):
    net = t.net()
    seconds = min(options.seconds, 1)
    echo = t.start([programs / "pingpong", "udp-server", net.host.addr, 5001, 64], name="echo", ns=net.host.name)
    for framing in ("link", "softpcie"):
        remote = Remote(t, net, options, framing)
        table = {point: (Row("dma-remote", f"{framing}: {point[1]} B {point[0]}s, depth {point[2]}", "1/s", "UDP round trips a second"),
                         Row("dma-remote", f"{framing}: {point[1]} B {point[0]}s, depth {point[2]}, p99", "us", "UDP round trip p99", True))
                 for point in POINTS}
        bulk = Row("dma-remote", f"{framing}: 4096 B reads, depth 256", "Gb/s", "iperf3 TCP")
        marks = {64: Row("dma-remote", f"{framing}: 64 B reads, best depth", "1/s", "first mark", mark=1),
                 512: Row("dma-remote", f"{framing}: 512 B reads, best depth", "Gb/s", "first mark", mark=1)}
        for _ in range(options.reps):
            remote.idle(True)
            echo.cont()
            udp = program_json(programs / "pingpong", "udp-client", net.host.addr, 5001, 64, 5000, ns=net.iobox)
            tcp = iperf3(t, net, 1)
            echo.stop()
            remote.idle(False)
            best = {64: 0, 512: 0}
            for point, (ops, tail) in table.items():
                got = remote.perf(program_json, *point, seconds)
                ops.add(got["ops_per_second"], 1e9 / udp["mean_ns"])
                tail.add(got["p99_ns"] / 1e3, udp["p99_ns"] / 1e3)
                if point[0] == "read" and point[1] in best:
                    figure = got["ops_per_second"] if point[1] == 64 else got["gbit_per_second"]
                    best[point[1]] = max(best[point[1]], figure)
                if point == ("read", 4096, 256):
                    bulk.add(got["gbit_per_second"], tcp)
            for size, row in marks.items():
                row.add(best[size], MARKS[framing][size])
        rows += [row for pair in table.values() for row in pair] + [bulk, *marks.values()]
        rows.append(efficiency(net, remote, options, program_json, framing))
        remote.end()
    echo.cont()


def efficiency(net, remote, options, program_json, framing):
    """Payload of 128 B reads to all that the completions' way carried, beside what `farbus wire` says. Frames are counted
    one by one: the interfaces get no segmented datagrams to cut."""
    for ns in net.both:
        subprocess.run(["ip", "netns", "exec", ns.name, "ethtool", "-K", "eth0", "tx-udp-segmentation", "off", "gro", "off"],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    model = next(row for row in program_json(FARBUS, "wire", "--payload", 128, "--framing", framing, "--json")["rows"])
    row = Row("dma-remote", f"{framing}: 128 B reads, payload to wire", "%", "farbus wire")
    for _ in range(options.reps):
        before = net.drops()[net.host.name]["tx"]
        got = remote.perf(program_json, "read", 128, 128, 1)
        after = wait_for(lambda: net.drops()[net.host.name]["tx"], 5, "the counters")
        packets, octets = (after[key] - before[key] for key in ("packets", "bytes"))
        if not packets:
            raise Failure("no frames were counted")
        # The counters have neither FCS nor preamble and gap.
        row.add(100 * got["ops"] * 128 / (octets + 24 * packets), 100 * model["efficiency"])
    return row
