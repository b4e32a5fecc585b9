# SPDX-License-Identifier: Apache-2.0
"""The fio half of ./dev bench papers (papers.py): figure 6 of Software ExpEther, on the SATA controller.

    guest  sda  sata_sil24 over the network  --root== net.host ----veth---- net.iobox ==box-- image
           sdb  QEMU's own ahci                                                        image
           nvme0n1  QEMU's own nvme                                                    image

One job, one request at a time (psync), random reads and random writes, block sizes from 4 KiB to 8 MiB. Images are of one
size on one file system, O_DIRECT on the host and in the guest; the drives are measured in turns.
"""

import json
import os
import pathlib

from report import Row, table

PUBLISHED = ("Software ExpEther, figure 6 (SiI3132 with an X25-E, 1 GbE): fio random write and random read, numjobs 1, no "
             "parallel I/O, block size swept: the DPDK form is up to 298 % above the kernel-socket form, which failed with "
             "errors on reads of 256 KiB and more")
SIZES = ("4k", "16k", "64k", "256k", "1m", "4m", "8m")
IMAGE = 256 << 20


def image(t, name):
    path = pathlib.Path(__file__).resolve().parent.parent / "build" / "bench" / f"{name}.{os.getpid()}.img"
    path.parent.mkdir(parents=True, exist_ok=True)
    t.defer(path.unlink, missing_ok=True)
    block = os.urandom(1 << 20)
    with open(path, "wb") as file:
        for _ in range(IMAGE >> 20):
            file.write(block)
        os.fsync(file.fileno())
    return path


def drive(vm, serial):
    find = f"for d in /dev/sd? /dev/nvme?n1; do test -b $d && smartctl -i $d | grep -q 'Serial Number:.*{serial}$' && echo $d; done"
    return vm.until(f"name=$({find}); test -n \"$name\" && echo $name", 60, f"the drive {serial}").strip()


def fio(vm, device, rw, size, seconds):
    """MB/s of one job with one request at a time."""
    out = vm.run(f"fio --name=b --filename={device} --ioengine=psync --direct=1 --numjobs=1 --rw={rw} --bs={size} "
                 f"--time_based --runtime={seconds} --output-format=json", timeout=seconds + 60)
    job = json.loads(out[out.index("{"):])["jobs"][0]
    return job["read" if rw == "randread" else "write"]["bw_bytes"] / 1e6


def sweep(t, rows, options, sizes=SIZES):
    """Adds the rows; returns them: {what: [(size, beside ahci, beside NVMe) …]}."""
    net = t.net()
    paths = {name: image(t, name) for name in ("farbus", "ahci", "nvme")}
    t.box(net, f"sil3132,id=sata0,port0={paths['farbus']},serial0=FARBUS,direct=on", args=["--poll-us", options.poll_us])
    vm = t.vm(net=net, modules=("sata_sil24", "ahci", "sd_mod", "nvme"),
              append="sata_sil24.msi=1" if options.msi else "",
              drives=[f"if=none,id={name},format=raw,cache=none,aio=io_uring,file={paths[name]}" for name in ("ahci", "nvme")],
              devices=[{"driver": "ide-hd", "bus": "ide.0", "drive": "ahci", "serial": "AHCI"},
                       {"driver": "nvme", "drive": "nvme", "serial": "NVME"}])
    root = t.root(net, vm=vm, args=["--poll-us", options.poll_us])
    root.wait_plugged("sata0")
    ours, ahci, nvme = (drive(vm, serial) for serial in ("FARBUS", "AHCI", "NVME"))
    made = {}
    for what, rw in (("random write", "randwrite"), ("random read", "randread")):
        for size in sizes:
            beside_ahci = Row("sata", f"{what} {size}", "MB/s", "QEMU's in-process ahci", mark=0.4)
            beside_nvme = Row("sata", f"{what} {size}", "MB/s", "QEMU's in-process NVMe")
            for _ in range(options.reps):
                figures = [fio(vm, device, rw, size, options.seconds) for device in (ours, ahci, nvme)]
                beside_ahci.add(figures[0], figures[1])
                beside_nvme.add(figures[0], figures[2])
            made.setdefault(what, []).append((size, beside_ahci, beside_nvme))
    fresh = [row for entries in made.values() for entry in entries for row in entry[1:]]
    rows += fresh
    t.log(table(fresh).split("\n", 1)[1])
    vm.allow(r"Model 'QEMU HARDDISK'", r"LPM support broken")  # QEMU's own ahci
    vm.quit()
    return made
