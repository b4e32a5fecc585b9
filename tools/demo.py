#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The main job, shown on one machine: a VM hot-plugs an NVMe drive that another host has, over the network, uses it,
and gives it back; then the drive's image file is looked at on its own. Ends non-zero when anything is not as it should
be."""

import argparse
import os
import pathlib
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests" / "vm"))
import farbus_vm  # noqa: E402
from farbus_vm import Failure, Skip, check  # noqa: E402

ID = "ssd0"
FILES = {"boot.bin": 3_000_001, "small.txt": 17, "log/a.dat": 1 << 20, "log/b.dat": 12 << 20, "empty": 0}


class Story:
    """Prints what happens, as it happens."""

    def __init__(self):
        self.started = time.monotonic()

    def step(self, text):
        print(f"\n[{time.monotonic() - self.started:5.1f} s] {text}", flush=True)

    def show(self, text, indent="          "):
        for line in text.strip("\n").splitlines():
            print(f"{indent}{line}", flush=True)


def size(number):
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024 or unit == "GiB":
            return f"{number:.4g} {unit}"
        number /= 1024


def counters(root):
    """The link's and the root's counters of our function, as text."""
    function = next(f for f in root.stats()["functions"] if f["id"] == ID)
    count, link = function["counters"], (function["port"] or {}).get("link", {})
    rows = [
        ("guest", f"{count['mmio_writes']} register writes, {count['mmio_reads']} register reads, "
                  f"{count['read_timeouts']} of them unanswered"),
        ("drive", f"DMA: read {size(count['dma_read_bytes'])} in {count['dma_reads']} requests, wrote "
                  f"{size(count['dma_write_bytes'])} in {count['dma_writes']}; {count['interrupts']} interrupts"),
    ]
    if link:
        rows += [
            ("link out", f"{link['tx_tlps']} TLPs in {link['tx_datagrams']} datagrams, {size(link['tx_bytes'])}, "
                         f"{link['retransmits']} retransmitted"),
            ("link in", f"{link['rx_tlps']} TLPs in {link['rx_datagrams']} datagrams, {size(link['rx_bytes'])}, "
                        f"{link['rx_bad'] + link['rx_corrupt']} bad"),
            ("round trip", f"{link['srtt_ns'] / 1000:.0f} us, MTU {link['mtu']}"),
        ]
    check(count["read_timeouts"] == 0, f"{count['read_timeouts']} reads were not answered in time")
    return "\n".join(f"{name:10} {text}" for name, text in rows)


def sums_of_image(t, image):
    """What an ext4 image file holds, by the host's own means: {name: sha256}."""
    place = t.tmp / "image"
    place.mkdir()
    mounted = subprocess.run(["mount", "-o", "ro,loop,noload", image, place], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True)
    if mounted.returncode == 0:
        t.defer(subprocess.run, ["umount", place], check=True)
        how = "loop mount"
    else:
        done = subprocess.run(["debugfs", "-R", f"rdump / {place}", image], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        check(done.returncode == 0, f"cannot read the image: {mounted.stdout} {done.stdout}")
        how = "debugfs"
    sums = {}
    for path in sorted(place.rglob("*")):
        if path.is_file():
            done = subprocess.run(["sha256sum", path], check=True, stdout=subprocess.PIPE, text=True)
            sums[str(path.relative_to(place))] = done.stdout.split()[0]
    return how, sums


def parse_sums(text):
    return {name.removeprefix("./"): digest for digest, name in (line.split(None, 1) for line in text.splitlines())}


def use_drive(vm, story):
    """Makes a file system on the drive, writes files and reads them back from the drive; returns their checksums."""
    story.step("guest: mkfs.ext4, mount, write files")
    vm.run("mkfs.ext4 -q /dev/nvme0n1 && mount /dev/nvme0n1 /mnt", timeout=120)
    for name, length in FILES.items():
        vm.run(f"mkdir -p $(dirname /mnt/{name}); head -c {length} /dev/urandom >/mnt/{name}", timeout=120)
    listing = "cd /mnt && find . -type f | sort | xargs sha256sum"
    written = vm.run(listing, timeout=120)
    vm.run("sync", timeout=120)
    story.show(written)
    story.step("guest: drop caches, read back from the drive")
    vm.run("echo 3 >/proc/sys/vm/drop_caches")
    check(vm.run(listing, timeout=120) == written, "what was read back is not what was written")
    story.show("all checksums are the same")
    return parse_sums(written)


def tell_how_to_get_in(t, net, image, box, root, vm):
    print(f"""
Left running; Ctrl-C ends it all.

  the guest's shell      socat -,raw,echo=0,escape=0x1d unix-connect:{vm.serial}     (Ctrl-] leaves)
  what is plugged        {farbus_vm.FARBUS} ls --control {root.control}
  counters               {farbus_vm.FARBUS} stats --control {root.control}
  unplug, plug           {farbus_vm.FARBUS} unplug {ID} --control {root.control}
  the drive's side       {farbus_vm.FARBUS} ls --control {box.control}
  the hosts              ip netns exec {net.host.name} bash;  ip netns exec {net.iobox.name} bash
  the drive's image      {image}
  logs                   {t.logs}
""", flush=True)
    vm.process.wait(timeout=None)


def demo(t, keep, capture):
    story = Story()
    story.step("two hosts, joined by an Ethernet cable (veth)")
    net = t.net()
    story.show(f"host  = {net.host.name}   {net.host.addr}\niobox = {net.iobox.name}  {net.iobox.addr}")

    story.step("iobox: farbus box, with an NVMe drive on an image file")
    image = t.disk("1G")
    box = t.box(net, f"nvme,id={ID},file={image}")
    story.show(f"farbus box --listen {box.address} --device nvme,id={ID},file={image.name}")

    story.step("host: stock QEMU, a stock Debian kernel, one empty PCIe slot")
    vm = t.vm(net=net, slots=1, serial_shell=True)
    story.show(vm.run("uname -sr") + f"up after {vm.boot_time:.1f} s; PCI devices before:\n" + vm.run("lspci"))
    check(vm.run("ls /sys/class/nvme 2>/dev/null || true") == "", "the guest has a drive before it was plugged")

    story.step("host: farbus root plugs the drive into the running guest")
    root = t.root(net, vm=vm, args=["--capture", f"{capture}"] if capture else ())
    vm.until("test -b /dev/nvme0n1", 30, "the guest's nvme driver to offer the drive")
    story.show(f"farbus root --connect {box.address} --socket-dir … --qmp … --slot slot0\n"
               + vm.run("lspci -nn | grep -i 'non-volatile'; nvme list"))

    sums = use_drive(vm, story)
    story.show("\n" + counters(root))
    if keep:
        tell_how_to_get_in(t, net, image, box, root, vm)
        return

    story.step("unplug")
    vm.run("umount /mnt", timeout=60)
    root.unplug(ID)
    vm.until("test ! -e /dev/nvme0n1", 20, "the drive to be gone from the guest")
    check("Non-Volatile" not in vm.run("lspci"), "lspci still shows the drive")
    story.show("the guest has let go of it:\n" + vm.run("dmesg | grep pciehp | tail -4"))

    story.step("end: the guest's kernel and QEMU have nothing to complain of")
    vm.quit()
    for daemon in (root, box):
        status = daemon.term()
        check(status == 0, f"{daemon.name} ended with {status}")

    story.step("the image file on its own")
    how, found = sums_of_image(t, image)
    fsck = subprocess.run(["e2fsck", "-fn", image], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    check(fsck.returncode == 0, f"e2fsck: {fsck.stdout}")
    check(found == sums, f"the image holds something else: {found} instead of {sums}")
    story.show(f"{how}: {len(found)} files, all checksums as the guest wrote them; e2fsck finds nothing wrong")
    print(f"\nAll as it should be, in {time.monotonic() - story.started:.0f} s.", flush=True)


def main():
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__.replace("\n", " "))
    parser.add_argument("--capture", metavar="FILE", help="write what passes, as TLPs, to this pcapng file")
    parser.add_argument("--keep", action="store_true", help="leave it running, and say how to get in")
    options = parser.parse_args()
    farbus_vm.stop_on_signals()
    with open(os.devnull, "w") as quiet, farbus_vm.Test("demo", output=quiet) as t:
        try:
            demo(t, options.keep, options.capture and pathlib.Path(options.capture).absolute())
        except (Failure, Skip, subprocess.SubprocessError) as error:
            print(f"\nFAILED: {error}\n{t.tails()}\nlogs: {t.logs}", flush=True)
            return 1
        except KeyboardInterrupt:
            print("\nended", flush=True)
            return 0 if options.keep else 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
