# SPDX-License-Identifier: Apache-2.0
"""Drives that are block devices of the box, of 512 and of 4,096 bytes a sector: loop devices, since no disk can be spared."""

import os
import subprocess

import scenes
from farbus_vm import Skip, check, farbus
from test_sata import drive

TIMEOUT = 600


def loop(t, sector, size="64M"):
    """A block device of that sector size; returns its path and the image below it."""
    image = t.disk(size, f"sectors{sector}.img")
    done = subprocess.run(["losetup", "--find", "--show", "--sector-size", str(sector), image], capture_output=True, text=True)
    if done.returncode:
        raise Skip(f"no loop device: {done.stderr.strip()}")
    path = done.stdout.strip()
    t.defer(lambda: subprocess.run(["losetup", "--detach", path], check=True))
    return path, image


def test_block_devices(t):
    """Both drive models on both kinds: right sizes, O_DIRECT where it goes, checksums, discard down to the image, locks."""
    net = t.net()
    made = {name: loop(t, sector) for name, sector in
            (("nvme512", 512), ("nvme4096", 4096), ("sata512", 512), ("sata4096", 4096))}
    (n512, _), (n4096, _), (s512, _), (s4096, _) = made.values()
    box = t.box(net, scenes.nvme(t, "ssd0", file=n512, file2=n4096, lba=4096),
                f"sil3132,id=sata0,port0={s512},serial0=SATA0,port1={s4096},serial1=SATA1")
    log = box.process.text()
    check(f"{s4096} goes through the page cache: its direct I/O needs larger blocks" in log and
          not any(f"{path} goes through" in log for path in (n512, n4096, s512)), log)
    status, text = farbus("box", "--listen", "udp:127.0.0.1:0", "--control", t.tmp / "second.ctl",
                          "--device", f"nvme,id=x,file={n512}", ok=False)
    check(status and "is in use" in text, f"a second box took {n512}: {text}")

    vm = t.vm(net=net, slots=2, modules=("nvme", "sata_sil24", "sd_mod"))
    root = t.root(net, vm=vm)
    for name in ("ssd0", "sata0"):
        root.wait_plugged(name)
    scenes.drive_comes(vm)
    scenes.drive_comes(vm, "/dev/nvme0n2")
    by_nsid = 'basename -a $(dirname $(grep -lx {} /sys/block/nvme*/nsid))'  # the guest numbers disks as they come
    drives = {"nvme512": "/dev/" + vm.run(by_nsid.format(1)).strip(), "nvme4096": "/dev/" + vm.run(by_nsid.format(2)).strip(),
              "sata512": drive(vm, "SATA0"), "sata4096": drive(vm, "SATA1")}
    for name, path in drives.items():
        check(vm.run(f"blockdev --getsize64 {path}").strip() == str(64 << 20), f"{name}'s size")
    jobs = [vm.spawn(scenes.verify(path)) for path in drives.values()]
    for job in jobs:
        job.wait(240)
    for name, path in drives.items():
        scenes.use(vm, path)
        vm.run(f"blkdiscard -f {path} && sync {path}", timeout=60)
        image = made[name][1]
        check(os.stat(image).st_blocks == 0, f"{name}: {os.stat(image).st_blocks} sectors after blkdiscard")
    for name in ("ssd0", "sata0"):
        scenes.nothing_lost(root, name)
    vm.quit()
