# SPDX-License-Identifier: Apache-2.0
"""The NVMe model against Debian's nvme driver and nvme-cli: what they show must be what the box was told and did."""

import json
import os
import re

import scenes
from farbus_vm import check

TIMEOUT = 600


def shown(vm, command):
    return json.loads(vm.run(f"nvme {command} -o json"))


def test_nvme_cli(t):
    """id-ctrl, id-ns, list, smart-log, error-log, get-log, get-feature, ns-descs, fw-log, effects-log, show-regs."""
    file2 = t.disk("32M", "second.img")
    _, _, vm, root = scenes.main_job(t, device=scenes.nvme(t, model="Test Drive", firmware="7.7", mdts="128K",
                                                           queues=2, file2=file2),
                                      append="iomem=relaxed")  # or the kernel keeps show-regs from a driver's registers
    scenes.drive_comes(vm, "/dev/nvme0n2")
    ctrl = shown(vm, "id-ctrl /dev/nvme0")
    for key, want in {"vid": 0xfab5, "mn": "Test Drive", "fr": "7.7", "mdts": 5, "ver": 0x10400, "nn": 2, "sqes": 0x66,
                      "cqes": 0x44, "vwc": 7, "aerl": 7, "elpe": 63, "cntrltype": 1}.items():
        got = ctrl[key].strip() if isinstance(want, str) else ctrl[key]
        check(got == want, f"id-ctrl: {key} is {got!r}, not {want!r}")
    # By number: Linux may call namespace 2 nvme0n1, it scans several at once.
    ns = shown(vm, "id-ns /dev/nvme0 -n 2")
    check(ns["nsze"] == (32 << 20) // 512 and ns["nlbaf"] in (1, 2), f"id-ns: {ns}")
    check(vm.run("cat /sys/block/nvme0n1/queue/max_hw_sectors_kb").strip() == "128", "MDTS did not reach the guest")
    check(vm.run("nvme list").count("/dev/nvme0n") == 2, "nvme list does not show both")
    uuids = {vm.run(f"nvme ns-descs /dev/nvme0 -n {n} | grep -i uuid") for n in (1, 2)}
    check(len(uuids) == 2, f"UUIDs: {uuids}")

    before = shown(vm, "smart-log /dev/nvme0")
    vm.run("dd if=/dev/nvme0n1 of=/dev/null bs=128k count=80 iflag=direct 2>/dev/null && "
           "dd if=/dev/zero of=/dev/nvme0n1 bs=128k count=40 oflag=direct 2>/dev/null")
    after = shown(vm, "smart-log /dev/nvme0")
    check(after["host_read_commands"] - before["host_read_commands"] == 80, f"SMART: {before} {after}")
    check(after["host_write_commands"] - before["host_write_commands"] == 40, f"SMART: {before} {after}")
    check(after["media_errors"] == 0 and after["critical_warning"] in (0, {"value": 0}), f"SMART: {after}")

    # A command that the drive refuses is the latest in its error log.
    vm.run("! nvme read /dev/nvme0n1 -s 999999999 -c 0 -z 512 2>/dev/null >/dev/null")
    vm.run("! nvme io-passthru $(nvme list -o json | grep -o '/dev/nvme0n[12]' | while read d; do "
           "nvme get-ns-id $d | grep -q ':2$' && echo $d; done) --opcode=0x7f --namespace-id=2 2>/dev/null")
    errors = shown(vm, "error-log /dev/nvme0 -e 4")["errors"]
    check(errors[0]["error_count"] >= 1 and errors[0]["nsid"] == 2, f"error-log: {errors}")
    count = shown(vm, "smart-log /dev/nvme0")["num_err_log_entries"]
    check(count == errors[0]["error_count"], f"SMART counts {count} errors, the log {errors[0]['error_count']}")
    for command in ("fw-log /dev/nvme0", "effects-log /dev/nvme0 --csi=0", "get-log /dev/nvme0 --log-id=4 --log-len=64",
                    "list-ns /dev/nvme0 --all", "list-ctrl /dev/nvme0",
                    *(f"get-feature /dev/nvme0 -f {f} -H" for f in (1, 2, 4, 6, 7, 8, 9, 10, 11)),
                    "get-feature /dev/nvme0n1 -f 5", "set-feature /dev/nvme0 -f 8 -v 0x0a04",
                    "flush /dev/nvme0n1", "verify /dev/nvme0n1 -s 0 -c 255",
                    "write-zeroes /dev/nvme0n1 -s 0 -c 65535 -d", "compare /dev/nvme0n1 -s 0 -c 0 -z 512 -d /dev/zero"):
        vm.run(f"nvme {command}")
    registers = dict(re.findall(r"(\w+) *: (\w+)", vm.run("nvme show-regs /dev/nvme0")))
    check((registers["version"], registers["csts"], registers["aqa"]) == ("0x10400", "0x1", "0x1f001f"),
          f"show-regs: {registers}")
    # Without --csi it first asks the registers which command sets there are.
    check("Write Zeroes" in vm.run("nvme effects-log /dev/nvme0"), "effects-log shows nothing")
    check("Broadcom" not in vm.run("lspci -nn | grep -i fab5"), "lspci names it after somebody")
    scenes.nothing_lost(root)
    vm.allow("nvme0.*(Cmd|I/O Error|LBA Out of Range|Invalid|sct|opcode)", "critical .* error.*nvme0", "nvme0n2: .*")
    vm.quit()


def test_shadow_doorbells(t):
    """Linux shadows its doorbells: it rings about half of them, and loses no command; so after a reboot and a new plug."""
    _, box, vm, root = scenes.main_job(t)

    def counters():
        function = next(f for f in box.stats()["functions"] if f["id"] == "ssd0")
        return {**function["counters"], **function["model"]}

    def shadowed():
        check(shown(vm, "id-ctrl /dev/nvme0")["oacs"] & 0x100, "Doorbell Buffer Config is not offered")
        before = counters()
        vm.run(f"dd if={scenes.DRIVE} of=/dev/null bs=4k count=2000 iflag=direct 2>/dev/null")
        after = counters()
        took = {key: after[key] - before[key] for key in after}
        check(took["commands"] >= 2000, f"counters: {took}")
        check(took["doorbells"] < 1.2 * took["commands"], f"{took['doorbells']} doorbells for {took['commands']} commands")
        check(took["shadow_indexes"] > 0.9 * took["commands"], f"the root tells too little: {took}")
        check(took["shadow_looks"] < 0.1 * took["commands"], f"the box looks too often: {took}")
        vm.run(scenes.verify(), timeout=120)
        check(counters()["bad_doorbells"] == 0, "bad doorbells")

    shadowed()
    vm.reboot()
    scenes.drive_comes(vm)
    shadowed()
    root.unplug("ssd0")
    scenes.drive_goes(vm)
    root.plug("ssd0")
    scenes.drive_comes(vm)
    shadowed()
    scenes.nothing_lost(root)
    vm.quit()


def test_nvme_format(t):
    """Format to 4 KiB blocks and back: the guest follows, the image loses its contents, the choice outlives the box."""
    image = t.disk("64M", "format.img")
    net, box, vm, root = scenes.main_job(t, device=scenes.nvme(t, file=image))
    vm.run("dd if=/dev/urandom of=/dev/nvme0n1 bs=1M count=16 oflag=direct 2>/dev/null; sync")
    check(os.stat(image).st_blocks * 512 >= 16 << 20, "16 MiB were not written")
    vm.run("nvme format /dev/nvme0n1 -l 1 --force", timeout=60)
    vm.until("test $(cat /sys/block/nvme0n1/queue/logical_block_size) = 4096", 30, "blocks of 4 KiB")
    check(os.stat(image).st_blocks == 0, f"{os.stat(image).st_blocks} sectors are left after the format")
    check(vm.run("head -c 16777216 /dev/nvme0n1 | tr -d '\\0' | wc -c").strip() == "0", "old data can be read")
    scenes.use(vm)
    vm.run("nvme format /dev/nvme0n1 -l 0 -s 1 --force", timeout=60)
    vm.until("test $(cat /sys/block/nvme0n1/queue/logical_block_size) = 512", 30, "blocks of 512")
    scenes.use(vm)
    scenes.nothing_lost(root)
    vm.quit()


def test_nvme_discard(t):
    """What the guest's file system trims, and what blkdiscard covers, are holes in the image."""
    image = t.disk("128M", "trim.img")
    _, _, vm, root = scenes.main_job(t, device=scenes.nvme(t, file=image))
    vm.run("mkfs.ext4 -q -F /dev/nvme0n1 && mount /dev/nvme0n1 /mnt && "
           "dd if=/dev/urandom of=/mnt/big bs=1M count=64 2>/dev/null && sync", timeout=120)
    full = os.stat(image).st_blocks * 512
    check(full >= 64 << 20, f"only {full} bytes of the image are used")
    vm.run("rm /mnt/big && sync && fstrim /mnt && umount /mnt", timeout=60)
    left = os.stat(image).st_blocks * 512
    check(full - left >= 60 << 20, f"{full} bytes before, {left} after fstrim")
    vm.run("blkdiscard /dev/nvme0n1", timeout=60)
    check(os.stat(image).st_blocks == 0, f"{os.stat(image).st_blocks} sectors after blkdiscard")
    scenes.nothing_lost(root)
    vm.quit()


def test_nvme_verify(t):
    """fio writes with checksums through PRPs of all shapes, and through SGLs, and reads everything back."""
    for sgl in ("1", "0"):  # bytes a segment from which on the driver uses SGLs; 0: never
        _, _, vm, root = scenes.main_job(t)
        vm.run(f"echo {sgl} >/sys/module/nvme/parameters/sgl_threshold")
        vm.run(scenes.verify(), timeout=240)
        scenes.nothing_lost(root)
        vm.quit()
