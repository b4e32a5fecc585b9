# SPDX-License-Identifier: Apache-2.0
"""What the tests of the main job have in common: the scene that they start from, and what a guest does with a drive."""

import itertools

from farbus_vm import check, wait_for

DRIVE = "/dev/nvme0n1"

# What a guest's kernel says, and may, when a drive is torn out while it is used.
TORN_OUT = (r"nvme", r"I/O error", r"EXT4-fs", r"JBD2", r"Buffer I/O", r"pcieport .*(Slot|Link|pciehp)", r"pciehp",
            r"Aborting journal")
# What QEMU says when a vfio-user function's server is gone.
SERVER_GONE = (r"vfio", r"failed to read", r"EOF", r"Connection reset", r"Broken pipe")

_serial = itertools.count(1)


def nvme(t, name="ssd0", size="256M", file=None, **options):
    """A --device value, with a serial number by which the guest can tell the drive."""
    file = file or t.disk(size, f"{name}.img")
    options = {"id": name, "file": file, "serial": f"FB{next(_serial):04}", **options}
    return "nvme," + ",".join(f"{key}={value}" for key, value in options.items())


def main_job(t, box_args=(), root_args=(), device=None, **vm_options):
    """Two hosts, a box with one drive, a VM with an empty slot, a root that has plugged the one into the other."""
    net = t.net()
    box = t.box(net, device or nvme(t), args=box_args)
    vm = t.vm(net=net, **vm_options)
    root = t.root(net, vm=vm, args=root_args)
    root.wait_plugged("ssd0")
    drive_comes(vm)
    return net, box, vm, root


def drive_comes(vm, drive=DRIVE, timeout=30):
    vm.until(f"test -b {drive}", timeout, f"the guest's nvme driver to offer {drive}")


def drive_goes(vm, drive=DRIVE, timeout=30):
    vm.until(f"test ! -e {drive}", timeout, f"{drive} to be gone from the guest")


def verify(drive=DRIVE, size="16M", runtime=None):
    """A guest's command that writes with checksums, at random and several at a time, and reads everything back."""
    more = f"--time_based --runtime={runtime}" if runtime else ""
    return (f"fio --name=verify --filename={drive} --ioengine=libaio --direct=1 --rw=randwrite --bsrange=4k-64k "
            f"--iodepth=16 --size={size} --verify=crc32c --verify_fatal=1 --do_verify=1 --randseed=1 "
            f"--output-format=terse {more}")


def use(vm, drive=DRIVE):
    """A file system, a file, and the file again from the drive."""
    text = vm.run(f"mkfs.ext4 -q -F {drive} && mount {drive} /mnt && head -c 2000000 /dev/urandom >/mnt/file && "
                  "sha256sum /mnt/file && umount /mnt && echo 3 >/proc/sys/vm/drop_caches && "
                  f"mount -o ro {drive} /mnt && sha256sum /mnt/file && umount /mnt", timeout=120)
    first, second = text.splitlines()
    check(first == second, f"read {second}, wrote {first}")


def counters(root, name="ssd0"):
    return next(f["counters"] for f in root.stats()["functions"] if f["id"] == name)


def quiet(vm, root, name="ssd0"):
    """Waits until the guest does nothing with the function: no message for as long as two commands take."""
    def still():
        before = counters(root, name)["client_messages"]
        vm.run("sleep 0.3")
        return counters(root, name)["client_messages"] == before
    wait_for(still, 30, f"the guest to leave {name} alone")


def nothing_lost(root, name="ssd0"):
    """No read went unanswered, no write was dropped, no DMA missed the guest's memory."""
    count = counters(root, name)
    bad = ("read_timeouts", "read_errors", "writes_dropped", "dma_unmapped", "dma_forbidden", "dma_faults",
           "interrupts_lost", "client_errors", "surprise_removals")
    wrong = {key: count[key] for key in bad if count[key]}
    check(not wrong, f"root counts {wrong}")
