# SPDX-License-Identifier: Apache-2.0
"""The harness itself, without farbus: QEMU's own NVMe model stands where a farbus function will."""

import os
import pathlib
import re
import signal
import subprocess

from farbus_vm import Failure, check
from guest import GuestError

RUNNER = pathlib.Path(__file__).resolve().parent / "run_one.py"


def drive(t, **options):
    image = t.disk(**options)
    return image, f"if=none,id=d0,format=raw,file={image}"


NVME = {"driver": "nvme", "id": "n0", "serial": "harness", "drive": "d0"}


def test_hot_plug(t):
    """An NVMe drive comes into an empty slot by pciehp, is used, goes, and comes again."""
    _, backing = drive(t)
    vm = t.vm(drives=[backing])
    check(vm.run("ls /dev/nvme* 2>/dev/null || true") == "", "a drive is there before it was plugged")
    for _ in range(2):
        vm.device_add(NVME, slot="slot0")
        vm.until("test -b /dev/nvme0n1", 20, "the guest's nvme driver to offer the drive")
        check("Non-Volatile memory controller" in vm.run("lspci"), "lspci does not show the drive")
        vm.run("dd if=/dev/urandom of=/dev/nvme0n1 bs=1M count=4 oflag=direct status=none")
        vm.device_del("n0")
        vm.until("! test -e /dev/nvme0n1", 10, "the guest to let go of the drive")
        # a drive node of QEMU goes with its device
        vm.qmp("human-monitor-command", {"command-line": f"drive_add 0 {backing}"})
    check("pciehp" in vm.run("dmesg"), "the kernel did not take the slot by pciehp")
    vm.quit()


def test_hot_plug_below_a_switch(t):
    """The same in a slot of a PCIe switch, and with guest memory that has no file descriptor."""
    _, backing = drive(t)
    vm = t.vm(slots=0, switch=3, shared=False, drives=[backing])
    vm.device_add(NVME, slot="down1")
    vm.until("test -b /dev/nvme0n1", 20, "the guest's nvme driver to offer the drive")
    vm.run("dd if=/dev/nvme0n1 of=/dev/null bs=1M count=4 iflag=direct status=none")
    vm.device_del("n0")
    vm.until("! test -e /dev/nvme0n1", 10, "the guest to let go of the drive")
    vm.quit()


def test_reset_and_reboot(t):
    """The guest comes up again after a reset from outside and after its own reboot, and answers."""
    vm = t.vm(slots=2)
    first = vm.run("cat /proc/sys/kernel/random/boot_id")
    vm.reset()
    second = vm.run("cat /proc/sys/kernel/random/boot_id")
    vm.reboot()
    third = vm.run("cat /proc/sys/kernel/random/boot_id")
    check(len({first, second, third}) == 3, "the guest did not start anew")
    vm.quit()


def test_agent(t):
    """Exit status, output, long output, a command that runs too long, and jobs come back as they are."""
    vm = t.vm(slots=0)
    check(vm.run("printf 'a b\\n'; echo c >&2") == "a b\nc\n", "output")
    check(vm.run("exit 3", ok=False) == (3, ""), "exit status")
    check(len(vm.run("head -c 3000000 /dev/zero | tr '\\0' x")) == 3000000, "long output")
    try:
        vm.run("sleep 60", timeout=1)
        check(False, "a command that runs too long was waited for")
    except Failure as error:
        check("did not end" in str(error), str(error))
    try:
        vm.run("false")
        check(False, "a status other than 0 went unnoticed")
    except GuestError:
        pass
    vm.run("mkfifo /run/fifo")
    job = vm.spawn("echo begun; read -r line < /run/fifo; echo $line; exit 4")
    vm.run("echo go >/run/fifo")
    check(job.wait(ok=False) == "begun\ngo\n" and job.done() == 4, "job")
    vm.write("/tmp/x", b"\0\1binary")
    check(vm.run("od -An -tx1 /tmp/x").split()[:3] == ["00", "01", "62"], "write")
    vm.quit()


def test_guest_tools(t):
    """The guest has the programs and drivers that tests use, and they start."""
    _, backing = drive(t)
    vm = t.vm(slots=1, switch=2, drives=[backing], devices=[{**NVME, "bus": "slot0"}], smp=2,
              modules=("nvme", "igb", "sata_sil24", "ahci", "e1000e"))
    vm.run("nvme list && nvme id-ctrl /dev/nvme0 && nvme smart-log /dev/nvme0")
    vm.run("lspci -vvv | grep -q 'MSI-X: Enable'")
    check(vm.run("lspci").count("Texas Instruments XIO3130 PCI Express Switch (Downstream)") == 2, vm.run("lspci"))
    vm.run("mkfs.ext4 -q /dev/nvme0n1 && mount /dev/nvme0n1 /mnt && echo x >/mnt/x && umount /mnt && "
           "fsck.ext4 -fn /dev/nvme0n1", timeout=60)
    for engine in ("libaio", "io_uring"):
        vm.run(f"fio --name=a --filename=/dev/nvme0n1 --ioengine={engine} --direct=1 --rw=randread --bs=4k "
               "--iodepth=8 --io_size=256k --size=16M", timeout=60)
    for command in ("iperf3 --version", "ip -V", "ping -c1 127.0.0.1", "ethtool --version", "smartctl --version",
                    "hdparm -V", "nbd-client -V", "awk 'BEGIN {exit 0}'", "sh -c true", "ps",
                    "modprobe -a virtio_net nbd loop sg igbvf", "blkdiscard -V", "debugfs -V", "setpci --version"):
        vm.run(command)
    vm.quit()


def test_cleanup(t):
    """Nothing is left of a session that is told to stop in the middle: processes, namespaces, temporary files."""
    script = t.tmp / "test_endless.py"
    script.write_text("import signal\n"
                      "def test_endless(t):\n"
                      "    t.net()\n"
                      "    p = t.start(['sleep', '1000'])\n"
                      "    print('READY', p.pid, t.tmp, flush=True)\n"
                      "    signal.pause()\n")
    for number in (signal.SIGTERM, signal.SIGINT):
        process = t.start(["/usr/bin/python3", RUNNER, script, "test_endless"], name="session",
                          env={"FARBUS_LOGS": str(t.tmp)})
        pid, tmp = process.wait_log(r"READY (\d+) (\S+)", 20).groups()
        process.signal(number)
        check(process.wait(20) != 0, "a stopped test counts as passed")
        check(not os.path.exists(f"/proc/{pid}"), "its process lives on")
        check(not os.path.exists(tmp), "its temporary directory is still there")
        check(not any(name.startswith(f"fb-{process.pid}-") for name in os.listdir("/run/netns")),
              "its namespaces are still there")


def test_complaints(t):
    """A test that sees nothing wrong fails when a daemon dies, or when a sanitizer reports, wherever the output goes."""
    fault = t.tmp / "fault.c"
    fault.write_text("int main(void) { volatile char a[4] = {0}; volatile int i = 4; return a[i]; }\n")
    subprocess.run(["gcc", "-fsanitize=address", "-o", t.tmp / "fault", fault], check=True)
    script = t.tmp / "test_seen.py"
    script.write_text("import os, signal, subprocess\n"
                      "def test_dies(t):\n"
                      "    os.kill(t.start(['sleep', '100'], daemon=True).pid, signal.SIGABRT)\n"
                      "def test_deaf(t):\n"
                      "    t.start(['bash', '-c', 'trap \"\" TERM; echo deaf; exec sleep 100'], daemon=True).wait_log('\\ndeaf')\n"
                      "def test_killed(t):\n"
                      "    t.start(['sleep', '100'], daemon=True).kill()\n"
                      "def test_reported(t):\n"
                      f"    subprocess.run(['{t.tmp}/fault'], stderr=subprocess.DEVNULL)\n")
    for function, status, said in (("dies", 1, r"sleep \(pid \d+\) ended with -6"), ("killed", 0, "^$"),
                                   ("deaf", 1, "did not heed SIGTERM"),
                                   ("reported", 1, r"ERROR: AddressSanitizer: stack-buffer-overflow")):
        done = subprocess.run(["/usr/bin/python3", RUNNER, script, f"test_{function}"], stdout=subprocess.PIPE, text=True,
                              env={**os.environ, "FARBUS_LOGS": str(t.tmp), "FARBUS_PATIENCE": "0.1"})
        check(done.returncode == status and re.search(said, done.stdout), f"{function}: {done.returncode}: {done.stdout}")
