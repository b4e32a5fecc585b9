#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""./dev bench [SECTION...] [--reps N] [--seconds N] [--only TEXT] [--json FILE]

Sections:
  mmio   register read round trip and posted writes through root and box, without a VM
  dma    DMA goodput between two network namespaces, and small reads
  fio    NVMe in a guest, beside QEMU's own NVMe and NBD over the same wire
  loss   DMA at 1 % loss, beside the same without loss
  papers what the published systems were measured with: ping and iperf on a NIC, fio on SATA, beside QEMU's own; with a plot
  dma-remote  another host's memory by `farbus dma`, over the link and over SoftPCIe, and what of the wire is payload
  softpcie  a host's memory by SoftPCIe: one TLP a datagram, a socket a tag

Every figure stands beside a named peer, measured in turns with it in the same run; bench/README.md says how the peers
are chosen. The table goes to the terminal, samples and all to build/bench/<sections>.json.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests" / "vm"))
sys.path.insert(0, str(TOP / "bench"))

import farbus_vm
import papers
import remote
from farbus_vm import Failure, Test, wait_for
from report import Row, table, write_json

PROGRAMS = pathlib.Path(os.environ.get("FARBUS_BUILD", TOP / "build")) / "bench"


def program_json(*argv, ns=None, timeout=120):
    """Runs a program that prints one JSON object."""
    command = (["ip", "netns", "exec", ns.name] if ns else []) + [str(word) for word in argv]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise Failure(f"{' '.join(command)}: did not end in {timeout} s") from None
    if done.returncode:
        raise Failure(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout)


class Path:
    """A dmagen function on a box in net.iobox, offered by a root in net.host."""

    def __init__(self, t, net, poll_us=0, fault=None, single=False):
        port = 4800 + len(t._processes)
        address = f"udp:{net.iobox.addr}:{port}"
        self.net = net
        how = ["--fault", fault] if fault else ["--one-tlp-a-datagram"] if single else []
        self.box = t.start([PROGRAMS / "dmagen", address, poll_us, *(["single"] if single else how[1:])],
                           ns=net.iobox.name)
        self.root = t.root(net, connect=address, args=["--poll-us", poll_us, *how])
        self.socket = self.root.socket("dmagen0")

    def run(self, *argv):
        return program_json(PROGRAMS / "path", self.socket, *argv, ns=self.net.host)

    def end(self):
        self.root.process.end()
        self.box.end()


def iperf3(t, net, seconds):
    """TCP goodput from iobox to host, Gb/s."""
    server = t.start(["iperf3", "-s", "-1", "-p", 5999, "--forceflush"], ns=net.host.name)
    server.wait_log("Server listening")
    result = program_json("iperf3", "-c", net.host.addr, "-p", 5999, "-t", seconds, "-J", ns=net.iobox)
    server.wait(5)
    return result["end"]["sum_received"]["bits_per_second"] / 1e9


def bench_mmio(t, rows, options):
    net = t.net()
    count = 20000
    # The client sleeps for its answer, as QEMU does; root and box, and the ends of the UDP round trip, poll or sleep.
    for poll_us, spin, label in ((1000, ["spin"], "polling"), (0, [], "sleeping")):
        path = Path(t, net, poll_us)
        port = 5000 + poll_us
        t.start([PROGRAMS / "pingpong", "udp-server", net.iobox.addr, port, 64, *spin], name="echo", ns=net.iobox.name)
        echo = t._processes[-1]
        read = Row("mmio", f"read p50, {label}", "us", "UDP + unix socket round trips", True, 3 if poll_us else None)
        tail = Row("mmio", f"read p99, {label}", "us", "UDP + unix socket round trips, p99", True)
        write = Row("mmio", f"posted writes, {label}", "1/s", "read round trips a second")
        for _ in range(options.reps):
            echo.cont()
            udp = program_json(PROGRAMS / "pingpong", "udp-client", net.iobox.addr, port, 64, count, *spin, ns=net.host)
            echo.stop()  # a spinning server would take a core from what comes next
            unix = program_json(PROGRAMS / "pingpong", "unix", 64, count)
            ours = path.run("mmio-read", count)
            read.add(ours["p50_ns"] / 1e3, (udp["p50_ns"] + unix["p50_ns"]) / 1e3)
            tail.add(ours["p99_ns"] / 1e3, (udp["p99_ns"] + unix["p99_ns"]) / 1e3)
            write.add(path.run("mmio-write", count * 5)["per_second"], 1e9 / ours["mean_ns"])
        rows += [read, tail, write]
        echo.cont()
        echo.end()
        path.end()


def bench_dma(t, rows, options):
    net = t.net()
    path = Path(t, net, options.poll_us)
    single = Path(t, net, options.poll_us, single=True)
    ops = 20000
    write = Row("dma", "write, 128 KiB operations", "Gb/s", "iperf3 TCP", mark=0.40)
    read = Row("dma", "read, 128 KiB operations", "Gb/s", "iperf3 TCP", mark=0.25)
    write1 = Row("dma", "write, 256 B operations", "1/s", "one TLP a datagram")
    small = Row("dma", "64 B reads, depth 32", "1/s", "one TLP a datagram")
    alone = Row("dma", "64 B reads, depth 1", "1/s", "one TLP a datagram")
    for _ in range(options.reps):
        tcp = iperf3(t, net, options.seconds)
        write.add(path.run("dma-write", 131072, 8, ops)["gbit_per_second"], tcp)
        read.add(path.run("dma-read", 131072, 8, ops)["gbit_per_second"], tcp)
        for row, argv in ((write1, ("dma-write", 256, 64, 200000)), (small, ("dma-read", 64, 32, 200000)),
                          (alone, ("dma-read", 64, 1, 20000))):
            row.add(path.run(*argv)["ops_per_second"], single.run(*argv)["ops_per_second"])
    rows += [write, read, write1, small, alone]
    path.end()
    single.end()


def bench_loss(t, rows, options):
    net = t.net()
    clean = Path(t, net, options.poll_us)
    lossy = Path(t, net, options.poll_us, fault="drop=1%,seed=7")
    for verb in ("dma-write", "dma-read"):
        row = Row("loss", f"{verb} at 1 % drop both ways", "Gb/s", "the same without loss", mark=0.30)
        for _ in range(options.reps):
            row.add(*(path.run(verb, 131072, 8, 10000)["gbit_per_second"] for path in (lossy, clean)))
        rows.append(row)
    clean.end()
    lossy.end()


def bench_softpcie(t, rows, options):
    """Software in iobox, the adapter in host: a core each, on two. The marks are the project's first ones."""
    net = t.net()
    base, poll = 1 << 32, ["--poll-us", options.poll_us]
    root = t.root(net, connect=[], args=["--softpcie", f"{net.host.addr},peer={net.iobox.addr},mps=512", *poll])
    guest = t.start([PROGRAMS / "softpcie-bench", "guest", root.socket("softpcie0"), base, 64 << 20])
    guest.wait_log("ready")
    t.start([PROGRAMS / "pingpong", "udp-server", net.host.addr, 5900, 64, "spin"], name="echo", ns=net.host.name)
    echo = t._processes[-1]

    def run(op, size, depth):
        return program_json(PROGRAMS / "softpcie-bench", net.iobox.addr, net.host.addr, op, base, size, depth,
                            options.seconds, ns=net.iobox)

    alone = Row("softpcie", "64 B read, p50, one at a time", "us", "UDP round trip", True)
    small = Row("softpcie", "64 B reads, 64 in flight", "1/s", "mark of 150,000", mark=1.0)
    large = Row("softpcie", "512 B reads, 64 in flight", "Gb/s", "mark of 0.5", mark=1.0)
    write = Row("softpcie", "256 B writes sent", "Gb/s", "512 B reads")
    for _ in range(options.reps):
        echo.cont()
        udp = program_json(PROGRAMS / "pingpong", "udp-client", net.host.addr, 5900, 64, 20000, "spin", ns=net.iobox)
        echo.stop()
        alone.add(run("read", 64, 1)["latency"]["p50_ns"] / 1e3, udp["p50_ns"] / 1e3)
        small.add(run("read", 64, 64)["ops_per_second"], 150000)
        large.add(run("read", 512, 64)["gbit_per_second"], 0.5)
        write.add(run("write", 256, 1)["gbit_per_second"], large.ours[-1])
    rows += [alone, small, large, write]
    echo.cont()


FIO = (("4 KiB random read QD1", "randread", "4k", 1), ("4 KiB random write QD1", "randwrite", "4k", 1),
       ("4 KiB random read QD32", "randread", "4k", 32), ("4 KiB random write QD32", "randwrite", "4k", 32),
       ("128 KiB sequential read QD8", "read", "128k", 8), ("128 KiB sequential write QD8", "write", "128k", 8))


def fio(vm, device, rw, size, depth, seconds):
    """(operations or bytes a second, mean completion latency in us) of one run in the guest."""
    out = vm.run(f"fio --name=b --filename={device} --ioengine=libaio --direct=1 --rw={rw} --bs={size} --iodepth={depth}"
                 f" --time_based --runtime={seconds} --ramp_time=1 --output-format=json", timeout=seconds + 60)
    job = json.loads(out[out.index("{"):])["jobs"][0]
    side = job["read" if "read" in rw else "write"]
    return side["iops"], side["bw_bytes"] / 1e6, side["clat_ns"]["mean"] / 1e3


def bench_fio(t, rows, options):
    """The same image size on the same file system, O_DIRECT everywhere: farbus and qemu-nbd in iobox, QEMU's NVMe in
    QEMU itself."""
    net = t.net()
    directory = TOP / "build" / "bench"  # a disk: the temporary directory may be memory
    images = {}
    for name in ("farbus", "local", "nbd"):
        images[name] = directory / f"{name}.{os.getpid()}.img"
        t.defer(images[name].unlink, missing_ok=True)
        with open(images[name], "wb") as file:
            block = os.urandom(1 << 20)
            for _ in range(512):
                file.write(block)
            os.fsync(file.fileno())
    t.start([farbus_vm.VM_PARTS / "qemu-nbd", "--persistent", "--cache=none", "--aio=io_uring", "--shared=4",
             "--bind", net.iobox.addr, "--port", 10809, "--format", "raw", images["nbd"]], name="nbd", ns=net.iobox.name)
    wait_for(lambda: ":10809" in net.iobox.run("ss", "-ltn"), 10, "qemu-nbd to listen")
    t.box(net, f"nvme,id=ssd0,file={images['farbus']},direct=on", args=["--poll-us", options.poll_us])
    vm = t.vm(net=net, modules=("nvme", "virtio_blk"),
              drives=[f"if=none,id=local,format=raw,cache=none,aio=io_uring,file={images['local']}",
                      f"if=none,id=nbd,format=raw,cache=none,file=nbd://{net.iobox.addr}:10809"],
              devices=[{"driver": "nvme", "serial": "local", "drive": "local"},
                       {"driver": "virtio-blk-pci", "drive": "nbd"}])
    local = vm.until("ls /dev/nvme?n1", 20).strip()
    t.root(net, vm=vm, args=["--poll-us", options.poll_us])
    ours = vm.until(f"ls /dev/nvme?n1 | grep -v {local}", 60, "the farbus drive to be plugged").strip()
    for what, rw, size, depth in FIO:
        if options.only not in what:
            continue
        sequential = size == "128k"
        quick = depth == 1
        unit = "us" if quick else "MB/s" if sequential else "1/s"
        mark = 2 if quick else 0.5 if rw == "read" else None
        beside_local = Row("fio", what, unit, "QEMU's in-process NVMe", quick, mark)
        beside_nbd = Row("fio", what, unit, "NBD (qemu-nbd, virtio-blk)", quick, 1)
        for _ in range(options.reps):
            figures = [fio(vm, device, rw, size, depth, options.seconds)[2 if quick else 1 if sequential else 0]
                       for device in (ours, local, "/dev/vda")]
            beside_local.add(figures[0], figures[1])
            beside_nbd.add(figures[0], figures[2])
        rows += [beside_local, beside_nbd]
        t.log(table([beside_local, beside_nbd]).split("\n", 1)[1])
    vm.check()


def bench_remote(t, rows, options):
    remote.bench(t, rows, options, program_json, iperf3, PROGRAMS)


SECTIONS = {"mmio": bench_mmio, "dma": bench_dma, "fio": bench_fio, "loss": bench_loss, "papers": papers.bench_papers,
            "dma-remote": bench_remote, "softpcie": bench_softpcie}


def main():
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; default: all")
    parser.add_argument("--reps", type=int, default=5, help="turns for each figure (default 5)")
    parser.add_argument("--seconds", type=int, default=3, help="length of one timed run (default 3)")
    parser.add_argument("--poll-us", type=int, default=50, help="polling of root and box where it is not the subject")
    parser.add_argument("--msi", action="store_true", help="of papers: sata_sil24 with msi=1, as QEMU's own ahci has MSI")
    parser.add_argument("--only", default="", metavar="TEXT", help="of fio the rows, of papers the parts (nic, sata) whose name has this in it")
    parser.add_argument("--json", type=pathlib.Path, help="where the samples go")
    options = parser.parse_args()
    unknown = [name for name in options.sections if name not in SECTIONS]
    if unknown:
        parser.error(f"no section {unknown[0]}; there are {', '.join(SECTIONS)}")
    sections = options.sections or list(SECTIONS)
    farbus_vm.stop_on_signals()
    path = options.json or TOP / "build" / "bench" / f"{'-'.join(sections)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, failed = [], []
    for name in sections:
        with Test(f"bench-{name}") as t:
            t.log(f"{name}: {options.reps} turns")
            try:
                SECTIONS[name](t, rows, options)
            except Failure as error:
                failed.append(name)
                print(f"FAILED: {name}: {error}\n{t.tails()}", flush=True)
    if rows:
        print(table(rows))
        published = {"published": papers.PUBLISHED} if "papers" in sections else {}
        write_json(rows, {"reps": options.reps, "seconds": options.seconds, "poll_us": options.poll_us, **published}, path)
        print(f"samples: {os.path.relpath(path)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
