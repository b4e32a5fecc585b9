# SPDX-License-Identifier: Apache-2.0
"""./dev bench papers: the evaluations of the published systems, on one machine, in a guest.

    guest  eth  igb over the network  --root== net.host ----veth---- net.iobox ==box-- tap0 10.77.0.1
           eth  QEMU's own igb        --QEMU-- net.host tap1 10.78.0.1

Both NICs are in the same guest, with the same driver, on tap devices that are made alike and with MSI-X (ours is never
unplugged, see --msix of farbus root); the peer of each is the namespace that its tap device is in. QEMU's own stands for
what the papers call the local slot. Each figure is measured in turns.

What the papers say is quoted beside (PUBLISHED): their absolute numbers are of other machines, so it is the shape and the
ratios that can be compared.

A part is a function(t, rows, options) in PARTS that adds its rows and returns the Panels to plot; `--only nic` runs one.
Table and JSON come from the rows; the panels become build/bench/papers.svg.
"""

import dataclasses
import json
import pathlib
import re
import statistics
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests" / "vm"))

import papers_sata  # noqa: E402
from farbus_vm import Failure  # noqa: E402
from report import Row, table  # noqa: E402

PUBLISHED = {
    "ping": "VRC with a network-attached 82576: 64 B back to back, 2.69 ms from the VM, 3.06 ms from the other host",
    "iperf": "Software ExpEther, figure 5 (82576, 1 GbE): UDP at 1 Gb/s, DPDK over the kernel-socket form: sending +165 %, "
             "receiving +279 %",
    "fio": papers_sata.PUBLISHED,
}


@dataclasses.dataclass
class Panel:
    """One diagram: for each of the names a value of ours and of the peer; `x` instead of names makes lines of it."""
    title: str
    unit: str
    names: list
    ours: list
    theirs: list
    peer: str = "QEMU's own"
    lines: bool = False
    second: list = None  # of a second peer
    second_peer: str = ""


def panel(title, unit, rows):
    return Panel(title, unit, [row.name for row in rows], [statistics.median(row.ours) for row in rows],
                 [statistics.median(row.theirs) for row in rows])


# --- ping and iperf on the NIC ---------------------------------------------------------------------------------------

OURS, LOCAL = "02:fb:00:00:00:01", "02:fb:00:00:00:02"


def make_tap(ns, name, address):
    ns.ip("tuntap", "add", name, "mode", "tap", "vnet_hdr")
    ns.ip("link", "set", name, "up")
    ns.ip("addr", "add", f"{address}/24", "dev", name)


class Nics:
    """The scene above; [0] is ours, [1] QEMU's."""

    def __init__(self, t, options):
        self.net = t.net()
        self.sides = (self.net.iobox, self.net.host)
        make_tap(self.net.iobox, "tap0", "10.77.0.1")
        make_tap(self.net.host, "tap1", "10.78.0.1")
        t.box(self.net, f"igb,id=nic0,tap=tap0,mac={OURS}", args=["--poll-us", options.poll_us])
        self.vm = t.vm(net=self.net, slots=2, modules=("igb",),
                       args=["-netdev", "tap,id=local,ifname=tap1,script=no,downscript=no,vnet_hdr=on",
                             "-device", f"igb,netdev=local,mac={LOCAL},bus=slot1"])
        root = t.root(self.net, vm=self.vm, slots=["slot0"], args=["--poll-us", options.poll_us, "--msix", "on"])
        root.wait_plugged("nic0")
        for mac, address in ((OURS, "10.77.0.2"), (LOCAL, "10.78.0.2")):
            name = self.vm.until(f"basename $(dirname $(grep -il '^{mac}$' /sys/class/net/*/address))", 60).strip()
            self.vm.run(f"ip link set {name} up && ip addr add {address}/24 dev {name}")
            self.vm.until(f"test $(cat /sys/class/net/{name}/carrier) = 1", 30, "the link")
        for ns in self.sides:
            t.start(["iperf3", "-s", "--forceflush"], name="iperf3", ns=ns.name).wait_log("Server listening")

    def ping(self, which, from_vm, count=300):
        """Mean round trip in ms, 64 bytes of ICMP, the next when the answer has come."""
        command = ["ping", "-A", "-q", "-s", "56", "-c", str(count), f"10.7{7 + which}.0.{1 if from_vm else 2}"]
        text = self.vm.run(" ".join(command), timeout=60) if from_vm else self.sides[which].run(*command)
        found = re.search(r" 0% packet loss.*rtt [^=]*= [\d.]+/([\d.]+)/", text, re.S)
        if not found:
            raise Failure(f"ping: {text}")
        return float(found[1])

    def iperf(self, which, words, seconds):
        """What arrived, in Mb/s."""
        out = self.vm.run(f"iperf3 -J -c 10.7{7 + which}.0.1 -t {seconds} {words}", timeout=seconds + 30)
        end = json.loads(out)["end"]
        if "-u" in words:
            arrived = end["sum"]
            return arrived["bits_per_second"] * (1 - arrived["lost_percent"] / 100) / 1e6
        return end["sum_received"]["bits_per_second"] / 1e6


IPERF = (("UDP at 1 Gb/s, VM sends", "-u -b 1G"), ("UDP at 1 Gb/s, VM receives", "-u -b 1G -R"), ("TCP, VM sends", ""),
         ("TCP, VM receives", "-R"))


def nic(t, rows, options):
    nics = Nics(t, options)
    pings, rates = [], []
    for name, from_vm in (("64 B from the VM", True), ("64 B from the other host", False)):
        row = Row("ping", name, "ms", "QEMU's in-process igb", True, 3)
        for _ in range(options.reps):
            row.add(*(nics.ping(which, from_vm) for which in (0, 1)))
        pings.append(row)
    for name, words in IPERF:
        row = Row("iperf", name, "Mb/s", "QEMU's in-process igb", mark=0.5)
        for _ in range(options.reps):
            row.add(*(nics.iperf(which, words, options.seconds) for which in (0, 1)))
        rates.append(row)
    rows += pings + rates
    t.log(table(pings + rates).split("\n", 1)[1])
    nics.vm.quit()
    return [panel("ping, round trip", "ms", pings), panel("iperf", "Mb/s", rates)]


# --- fio on the SATA controller ----------------------------------------------------------------------------------------

def sata(t, rows, options):
    panels = []
    for what, pairs in papers_sata.sweep(t, rows, options).items():
        ours, ahci, nvme = ([statistics.median(samples) for samples in column] for column in zip(
            *((beside_ahci.ours, beside_ahci.theirs, beside_nvme.theirs) for _, beside_ahci, beside_nvme in pairs)))
        panels.append(Panel(f"fio, {what}, one request at a time", "MB/s", [size for size, _, _ in pairs], ours, ahci,
                            "QEMU's own ahci", True, nvme, "QEMU's own NVMe"))
    return panels


PARTS = {"nic": nic, "sata": sata}


# --- the plot ---------------------------------------------------------------------------------------------------------

def plot(panels, path):
    """The panels side by side, by gnuplot."""
    script = [f'set terminal svg size {520 * len(panels)},420 font "sans,12" background "white"', f'set output "{path}"',
              f"set multiplot layout 1,{len(panels)}", "set key above", "set rmargin 12", "set grid ytics", "set yrange [0:*]"]
    for number, one in enumerate(panels):
        columns = [one.ours, one.theirs] + ([one.second] if one.second else [])
        lines = [" ".join([f'"{name}"', *map(str, values)]) for name, *values in zip(one.names, *columns)]
        script += [f"$data{number} << END", *lines, "END", f'set title "{one.title}"', f'set ylabel "{one.unit}"']
        if one.lines:
            script += ["set style data linespoints", "set xtics norotate"]
        else:
            script += ["set style data histograms", "set style histogram clustered gap 1", "set style fill solid 0.8",
                       "set xtics rotate by -20"]
        script.append(f'plot $data{number} using 2:xtic(1) title "farbus", "" using 3 title "{one.peer}"' +
                      (f', "" using 4 title "{one.second_peer}"' if one.second else ""))
    done = subprocess.run(["gnuplot"], input="\n".join(script) + "\nunset multiplot\n", capture_output=True, text=True)
    if done.returncode or done.stderr:
        raise Failure(f"gnuplot: {done.stderr.strip()}")


def bench_papers(t, rows, options):
    panels = []
    for name, part in PARTS.items():
        if options.only in name:
            panels += part(t, rows, options)
    path = TOP / "build" / "bench" / "papers.svg"
    plot(panels, path)
    for key, text in PUBLISHED.items():
        print(f"published, {key}: {text}")
    print(f"plot: {path.relative_to(TOP)}")
