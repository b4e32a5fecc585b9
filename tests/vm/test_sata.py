# SPDX-License-Identifier: Apache-2.0
"""The SiI3132 model against Debian's sata_sil24 and libata: two drives, their tools, errors, and drives that go."""

import os
import re
import subprocess

import scenes
from farbus_vm import check, wait_for

TIMEOUT = 600

# What libata says of errors that a test makes.
ATA_ERRORS = (r"ata\d", r"^ +res [0-9a-f/:]+ Emask", r"sd \d:0:0:0", r"I/O error, dev sd", r"critical .* error, dev sd",
              r"Buffer I/O error on dev sd")
# And of a box that is lost.
LOST = (*ATA_ERRORS, r"device offline error, dev sd", *scenes.TORN_OUT, r"sata_sil24", r"Synchronize Cache", r"Start/Stop Unit")


def sata_job(t, sizes=("256M", "64M"), options="", box_args=(), root_args=(), **vm_options):
    """Two hosts, a box with a controller and its drives' images, a VM that has it in a slot, the drives there."""
    net = t.net()
    images = [t.disk(size, f"port{n}.img") for n, size in enumerate(sizes)]
    words = "".join(f",port{n}={image},serial{n}=SATA{n}" for n, image in enumerate(images))
    device = f"sil3132,id=sata0{words}{options}"
    box = t.box(net, device, args=box_args)
    vm = t.vm(net=net, modules=("sata_sil24", "sd_mod", "sg"), **vm_options)
    root = t.root(net, vm=vm, args=root_args)
    root.wait_plugged("sata0")
    drives = [drive(vm, f"SATA{n}") for n in range(len(sizes))]
    return net, box, vm, root, images, drives, device


def drive(vm, serial, timeout=30):
    """The guest's name of the drive with that serial number, once it is there."""
    find = f"for d in /dev/sd?; do test -b $d && smartctl -i $d | grep -q 'Serial Number:.*{serial}$' && echo $d; done"
    return vm.until(f"name=$({find}); test -n \"$name\" && echo $name", timeout, f"the drive {serial}").strip()


def offers(box, root):
    """What became of the register values that were sent ahead: reads of the guest, those of them answered so, wrong ones."""
    one, other = root.stats()["functions"][0]["counters"], box.stats()["functions"][0]["counters"]
    return one["mmio_reads"], one["reads_offered"], one["bad_offers"] + other["bad_offers"] + other["bad_uses"]


def port_counters(box, port):
    model = box.stats()["functions"][0]["model"]
    return {key.removeprefix(f"port{port}_"): value for key, value in model.items() if key.startswith(f"port{port}_")}


def test_sata_tools(t):
    """Two drives by sata_sil24: lspci, hdparm, smartctl, a file system, trim; QEMU and kernel have nothing to complain of."""
    _, box, vm, root, images, (a, b), _ = sata_job(t)
    text = vm.run("lspci -nnvv -d 1095:")
    for want in ("[1095:3132]", "Kernel driver in use: sata_sil24", "MSI: Enable-", "Speed 2.5GT/s, Width x1"):
        check(want in text, f"lspci lacks {want!r}: {text}")
    text = vm.run(f"hdparm -I {a}")
    for want in ("Farbus ATA", "SATA0", "524288", "Native Command Queueing", "Data Set Management TRIM",
                 "Deterministic read ZEROs", "*udma5", "Checksum: correct"):
        check(want in text, f"hdparm -I lacks {want!r}: {text}")
    text = vm.run(f"smartctl -a {a}")
    for want in ("PASSED", "268,435,456", "No Errors Logged", "Power_Cycle_Count", "3.0 Gb/s"):
        check(want in text, f"smartctl -a lacks {want!r}: {text}")
    check(vm.run(f"cat /sys/block/{a[5:]}/device/queue_depth").strip() == "31", "the queue is not 31 deep")
    vm.run(f"smartctl -q errorsonly -t short {a}")
    vm.until(f"smartctl -l selftest {a} | grep -q 'Short offline .*Completed without error'", 30)
    vm.run(f"hdparm -W0 {a} && hdparm -W {a} | grep -q '= *0 (off)' && hdparm -W1 {a} && "
           f"hdparm -y {a} && hdparm -C {a} | grep -q standby && hdparm -N {a} | grep -q 524288/524288 && "
           f"hdparm --read-sector 5 {a} >/dev/null")
    scenes.use(vm, a)
    vm.run(f"mkfs.ext4 -q -F {b} && mount {b} /mnt && dd if=/dev/urandom of=/mnt/big bs=1M count=24 2>/dev/null && sync",
           timeout=120)
    full = os.stat(images[1]).st_blocks * 512
    vm.run("rm /mnt/big && sync && fstrim /mnt && umount /mnt", timeout=60)
    check(full - os.stat(images[1]).st_blocks * 512 >= 22 << 20, f"{full} bytes before fstrim, then "
          f"{os.stat(images[1]).st_blocks * 512}")
    vm.run(f"blkdiscard -f {b}", timeout=60)
    check(os.stat(images[1]).st_blocks == 0, f"{os.stat(images[1]).st_blocks} sectors after blkdiscard")
    scenes.nothing_lost(root, "sata0")
    count = [port_counters(box, n) for n in (0, 1)]
    check(all(c["media_errors"] == c["dropped"] == c["bad_activations"] == c["errors"] == 0 for c in count), f"{count}")
    # Security erase is refused, and leaves the drive as it was.
    _, text = vm.run(f"hdparm --user-master u --security-erase p {a} 2>&1; head -c 4096 {a} | wc -c", ok=False)
    check("bad/missing sense" in text and text.strip().endswith("4096"), text)
    vm.quit()


def test_sata_verify(t):
    """fio writes with checksums and reads back, 4 KiB to 8 MiB, up to 31 deep, on both drives at once; by INTx, by MSI."""
    for append, word in (("", "INTx"), ("sata_sil24.msi=1", "MSI")):
        _, box, vm, root, _, drives, _ = sata_job(t, sizes=("64M", "64M"), append=append)
        kind = vm.run("grep sata_sil24 /proc/interrupts")
        check(("MSI" in kind) == (word == "MSI"), kind)
        jobs = [vm.spawn(f"fio --name=v --filename={d} --ioengine=libaio --direct=1 --rw=randwrite --iodepth={depth} "
                         f"--bssplit={sizes} --size=32M --verify=crc32c --verify_fatal=1 --do_verify=1 --randseed=1 "
                         "--output-format=terse")
                for d, depth, sizes in zip(drives, (31, 3), ("4k/70:64k/30", "256k/30:1m/40:8m/30"))]
        for job in jobs:
            job.wait(240)
        scenes.nothing_lost(root, "sata0")
        reads, answered, bad = offers(box, root)
        check(answered > 0 and bad == 0, f"{word}: {answered} of {reads} register reads were answered from offers, {bad} bad")
        vm.quit()


def test_sata_prefetch(t):
    """Request blocks, and what is written up to 32 KiB at once, come with the activation, and what the interrupt handler
    reads with the interrupt; without that, the same data by reads."""
    verify = "--verify=crc32c --verify_fatal=1"
    for options, ahead in (("", True), (",prefetch=off", False)):
        _, box, vm, root, _, (drive_a, _), _ = sata_job(t, sizes=("64M", "1M"), options=options)
        fio = f"fio --name=v --filename={drive_a} --ioengine=psync --direct=1 --output-format=terse"
        for words, share in ((f"--rw=randwrite --bs=4k --size=2M --do_verify=0 {verify}", 0.9),
                             (f"--rw=write --bs=32k --size=8M --do_verify=0 {verify}", 0.9),
                             (f"--rw=randwrite --bs=256k --size=16M --do_verify=0 {verify}", 0.3),
                             ("--rw=randread --bs=4k --size=2M", 0.9)):
            before = [one.stats()["functions"][0]["counters"] for one in (box, root)]
            reads_before, answered_before, _ = offers(box, root)
            vm.run(f"{fio} {words}", timeout=120)
            after = [one.stats()["functions"][0]["counters"] for one in (box, root)]
            reads, hits, sent = (after[which][key] - before[which][key] for which, key in
                                 ((0, "dma_reads"), (0, "dma_reads_ahead"), (1, "ahead_bytes")))
            check(hits >= share * reads if ahead else hits == sent == 0,
                  f"{words}{options}: {hits} of {reads} DMA reads, {sent} bytes were sent along")
            reads, answered, bad = offers(box, root)
            reads, answered = reads - reads_before, answered - answered_before
            check(bad == 0 and (answered >= 0.8 * reads if ahead else answered == 0),
                  f"{words}{options}: {answered} of {reads} register reads were answered from offers, {bad} bad")
        vm.run(f"{fio} --rw=randwrite --bs=256k --size=16M --verify_only=1 {verify}", timeout=120)
        scenes.nothing_lost(root, "sata0")
        vm.quit()


def test_sata_errors(t):
    """A file that is cut short is media errors there and nowhere else; the queue goes on, under load, and when it is whole."""
    _, box, vm, root, images, (a, _), _ = sata_job(t)
    vm.allow(*ATA_ERRORS)
    load = vm.spawn(f"fio --name=l --filename={a} --ioengine=libaio --direct=1 --rw=randread --bs=16k --iodepth=16 "
                    "--size=64M --time_based --runtime=8 --output-format=terse")
    os.truncate(images[0], 128 << 20)
    status, text = vm.run(f"dd if={a} of=/dev/null bs=64k iflag=direct skip=2040 2>&1", ok=False)
    check(status and "Input/output error" in text and "524288 bytes" in text, f"dd: {text}")
    check("UNC at LBA = 0x00040000" in vm.run(f"smartctl -l error {a} || true"), "the error log does not have it")
    load.wait(120)
    os.truncate(images[0], 256 << 20)
    vm.run(f"dd if={a} of=/dev/null bs=64k iflag=direct skip=2040 2>/dev/null", timeout=60)
    count = port_counters(box, 0)
    check(count["media_errors"] >= 1 and count["errors"] >= 1, f"{count}")
    text = vm.run("dmesg")
    check("UNC" in text and not re.search(r"ata\d.*(timeout|disabled|dubious)", text), text[-3000:])
    scenes.nothing_lost(root, "sata0")
    vm.quit()


def test_readonly(t):
    """A file system on drives that are read-only: by NVMe the guest knows and writes nothing; ATA has no word for it, so a write
    is an error there, and the drive goes on. The images are as they were."""
    net = t.net()
    images = [t.disk("64M", "ssd.img"), t.disk("64M", "port0.img")]
    for image in images:
        subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    before = [image.read_bytes() for image in images]
    box = t.box(net, f"nvme,id=ssd0,file={images[0]},serial=FB1,readonly=on",
                f"sil3132,id=sata0,port0={images[1]},serial0=SATA0,readonly0=on")
    vm = t.vm(net=net, slots=2, modules=("nvme", "sata_sil24", "sd_mod", "sg"))
    root = t.root(net, vm=vm)
    scenes.drive_comes(vm)
    ata = drive(vm, "SATA0")
    vm.allow(*ATA_ERRORS, r"EXT4-fs")
    check(vm.run("cat /sys/block/nvme0n1/ro").strip() == "1", "the guest takes the NVMe drive for writable")
    said = vm.run(f"mount {scenes.DRIVE} /mnt 2>&1; mount -o remount,rw /mnt 2>&1; grep ' /mnt ' /proc/mounts; umount /mnt")
    check(" ro," in said and "protected" in said, f"a mount of it: {said}")
    check(vm.run(f"dd if=/dev/zero of={scenes.DRIVE} bs=4096 count=1 conv=fsync 2>/dev/null; echo $?").strip() == "1", "dd wrote")
    check(vm.run(f"mount -o ro,noload {ata} /mnt && ls /mnt && umount /mnt").split() == ["lost+found"], "the SATA drive")
    check(vm.run(f"dd if=/dev/zero of={ata} bs=4096 count=1 oflag=direct 2>/dev/null; echo $?").strip() == "1", "dd wrote")
    check(vm.run(f"dd if={ata} bs=1M count=8 iflag=direct 2>/dev/null | wc -c").strip() == str(8 << 20), "reads after that")
    for name in ("ssd0", "sata0"):
        scenes.nothing_lost(root, name)
    check([image.read_bytes() for image in images] == before, "an image has changed")
    vm.quit()


def test_sata_drive_goes(t):
    """A drive is pulled in use and plugged again, while the other is used; then the controller is unplugged."""
    _, box, vm, root, images, (a, b), _ = sata_job(t)
    vm.allow(*ATA_ERRORS, *scenes.TORN_OUT, r"sata_sil24", r"Synchronize Cache")
    vm.run(f"dd if=/dev/urandom of={b} bs=64k count=16 oflag=direct 2>/dev/null")
    load = vm.spawn(f"fio --name=l --filename={b} --ioengine=libaio --direct=1 --rw=randread --bs=16k --iodepth=8 "
                    "--size=32M --time_based --runtime=60 --output-format=terse")
    os.rename(images[1], f"{images[1]}.away")
    vm.until(f"test ! -e {b}", 30, "the guest to see that the drive is gone")
    load.wait(90, ok=False)
    scenes.use(vm, a)
    os.rename(f"{images[1]}.away", images[1])
    b = drive(vm, "SATA1")
    scenes.use(vm, b)
    count = port_counters(box, 1)
    check(count["plugs"] == count["unplugs"] == 1, f"{count}")
    scenes.nothing_lost(root, "sata0")
    root.unplug("sata0")
    vm.until("! ls /dev/sd? 2>/dev/null && ! lspci -n | grep -q 1095:3132", 30)
    vm.quit()


def test_sata_box_killed(t):
    """The box is killed while files are written and flushed: surprise removal, the guest lives. When the box is back the
    controller is plugged again, and each file that had been flushed is in the old file system."""
    hold = ["--hold", "3s"]
    net, box, vm, root, _, (a,), device = sata_job(t, sizes=("64M",), box_args=hold, root_args=hold)
    vm.allow(*LOST, *scenes.SERVER_GONE)
    # The disk's timer bounds how long libata waits for what a box that is gone does not answer.
    vm.run(f"echo 5 >/sys/block/{a[5:]}/device/timeout; mkfs.ext4 -q -F {a} && mount {a} /mnt")
    job = vm.spawn("for n in $(seq 200); do head -c 300000 /dev/urandom >/run/data && sum=$(sha256sum </run/data) && "
                   "cp /run/data /mnt/$n && sync /mnt/$n && sync -f /mnt && echo ${sum%% *} /mnt/$n >>/run/sums || exit 1; done")
    vm.until("test $(wc -l </run/sums) -ge 5", 60, "five files to be flushed")
    box.kill()
    vm.until("! lspci -n | grep -q 1095:3132", 120, "the controller to be gone")
    job.wait(30, ok=False)
    check(job.done() != 0, "the writer did not notice")
    vm.run("umount /mnt")
    check(root.function("sata0")["slot_state"] != "plugged", "the root thinks it is plugged")
    t.box(net, device, args=hold)
    root.wait_plugged("sata0", 60)
    a = drive(vm, "SATA0")
    text = vm.run(f"mount {a} /mnt && sha256sum --quiet -c /run/sums && wc -l </run/sums && umount /mnt", timeout=60)
    t.log(f"{text.strip()} files are whole")
    scenes.use(vm, a)
    vm.quit()


def test_sata_outage(t):
    """The network is gone for longer than the answer time, but not the hold time, while fio writes with checksums: nothing
    is lost; the driver may have read all ones and reset a port; the controller stays plugged."""
    net, _, vm, root, _, (a,), _ = sata_job(t, sizes=("64M",))
    vm.allow(*ATA_ERRORS, r"sata_sil24 .* IRQ status == 0xffffffff")
    job = vm.spawn(scenes.verify(a))
    wait_for(lambda: scenes.counters(root, "sata0")["dma_read_bytes"] > 1 << 20, 30, "fio to have begun")
    net.cut()
    t.lasts(8)
    net.heal()
    job.wait(150)
    check(root.function("sata0")["slot_state"] == "plugged", "the controller was unplugged")
    count = scenes.counters(root, "sata0")
    check(count["surprise_removals"] == count["writes_dropped"] == count["interrupts_lost"] == 0, f"{count}")
    scenes.use(vm, a)
    vm.quit()


def test_sata_reboot(t):
    """The guest is reset, and reboots by itself, in the middle of writes while the controller stays plugged: it is there
    after each boot, with what was flushed."""
    _, _, vm, root, _, (a,), _ = sata_job(t, sizes=("64M",))
    text = vm.run(f"head -c 1000000 /dev/urandom >/run/data && dd if=/run/data of={a} bs=1M seek=32 conv=fsync 2>/dev/null; "
                  "sha256sum </run/data")
    for again in (vm.reset, vm.reboot):
        vm.spawn(scenes.verify(a))
        before = scenes.counters(root, "sata0")["dma_read_bytes"]
        wait_for(lambda: scenes.counters(root, "sata0")["dma_read_bytes"] > before + (1 << 20), 30, "fio to have begun")
        again()
        a = drive(vm, "SATA0")
        check(vm.run(f"dd if={a} bs=1000000 count=1 skip=32M iflag=skip_bytes 2>/dev/null | sha256sum") == text,
              "what was flushed is not there")
    scenes.use(vm, a)
    check(root.function("sata0")["slot_state"] == "plugged", "the controller was unplugged")
    vm.quit()
