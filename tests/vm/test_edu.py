# SPDX-License-Identifier: Apache-2.0
"""The edu device beside QEMU's own in one guest: the same accesses must give the same answers."""

import base64
import pathlib
import subprocess

import scenes
from farbus_vm import check

TIMEOUT = 300
HERE = pathlib.Path(__file__).resolve().parent

# Guest memory that the guest's kernel leaves alone, within the 28 bits that the device's DMA reaches.
SPARE = 0xf000000
MESSAGES = SPARE + 0xf000  # where its MSI writes


def script():
    """One driver's work, as lines for mmio.c; the registers are asked wherever an answer could differ."""
    lines = ["r4 0", "r4 4", "w4 4 12345678", "r4 4", "r4 8", "r4 20", "r4 24"]
    for n in (0, 1, 5, 12, 13, 33, 34):
        lines += [f"w4 8 {n:x}", "wait4 20 1 0", "r4 8"]
    lines += ["w4 20 ff", "r4 20", "w4 8 6", "wait4 24 1 1", "r4 8", "r4 24", "w4 64 1", "r4 24", "w4 20 0", "r4 20"]
    lines += ["w4 60 a5", "r4 24", "w4 60 5a00", "r4 24", "w4 64 5", "r4 24", "w4 64 ffffffff", "r4 24"]
    # Sizes: below 80h four bytes, above four or eight; and what is no register.
    lines += ["r8 0", "r8 8", "w8 8 3", "r4 8", "r4 c", "r4 28", "r4 a0", "r8 a0", "r4 ffffc", "r4 84"]
    lines += ["w8 80 1122334455667788", "r8 80", "r4 80", "w4 80 99", "r8 80", "w4 98 2", "r4 98", "w8 90 0", "r8 90"]

    def dma(source, destination, count, command):
        return [f"w8 80 {source:x}", f"w8 88 {destination:x}", f"w8 90 {count:x}", f"w4 98 {command:x}", "wait4 98 1 0", "r8 80",
                "r8 88", "r8 90", "r8 98"]
    # All of the buffer in, parts of it out; one with its interrupt, one without; an address beyond the mask.
    lines += dma(SPARE, 0x40000, 4096, 5) + ["r4 24", "w4 64 100"]
    lines += dma(0x40000 + 8, SPARE + 0x2000, 1000, 3) + ["r4 24"]
    lines += dma(0x40fff, SPARE + 0x3000, 1, 7) + ["r4 24", "w4 64 100", "r4 24"]
    lines += dma(0x40000, 0x7770000000 + SPARE + 0x4004, 12, 3)
    return lines


def put_tool(t, vm):
    """Compiles mmio.c and carries it into the guest."""
    tool = t.tmp / "mmio"
    subprocess.run(["cc", "-O1", "-o", tool, HERE / "mmio.c"], check=True)
    packed = base64.b64encode(subprocess.run(["gzip", "-9c", tool], check=True, capture_output=True).stdout).decode()
    for start in range(0, len(packed), 2048):
        vm.run(f"echo {packed[start:start + 2048]} >>/run/mmio.txt")
    vm.run("base64 -d /run/mmio.txt | gzip -d >/run/mmio && chmod +x /run/mmio")


def mmio(vm, arguments, lines):
    return vm.run(f"/run/mmio {arguments} <<'END'\n" + "\n".join(lines) + "\nEND", timeout=60).split()


def drive(vm, address):
    """Runs the script on the device at this PCI address; what it answered, and what is in guest memory afterwards."""
    memory = f"/dev/mem {SPARE:x} 10000"
    mmio(vm, memory,
         [f"w4 {offset:x} 0" for offset in (*range(0x2000, 0x2400, 4), 0x3000, *range(0x4000, 0x4020, 4), 0xf000)] +
         [f"w4 {offset:x} {(offset * 2654435761) & 0xffffffff:x}" for offset in range(0, 4096, 4)])
    # Memory and bus mastering on; MSI to a place in guest memory.
    vm.run(f"setpci -s {address} COMMAND=6:6 CAP_MSI+4.l={MESSAGES:x} CAP_MSI+8.l=0 CAP_MSI+c.w=4d2 CAP_MSI+2.w=1:1")
    answers = mmio(vm, f"/sys/bus/pci/devices/{address}/resource0 0 100000", script())
    left = mmio(vm, memory, [f"r4 {offset:x}" for offset in (*range(0x2000, 0x2400, 4), 0x3000, *range(0x4000, 0x4020, 4))])
    vm.until(f"test $(/run/mmio {memory} <<<'r4 f000') = 000004d2", 10, "the interrupt's message")
    return answers, left


def test_same_as_qemus(t):
    """Registers, factorials, interrupts, sizes and DMA of ours over the network and of QEMU's own, compared."""
    net = t.net()
    box = t.box(net, "edu,id=e0")
    vm = t.vm(net=net, slots=2, modules=(), append=f"memmap=64K${SPARE:#x} iomem=relaxed",
              devices=[{"driver": "edu", "id": "qemus", "bus": "slot1"}])
    root = t.root(net, vm=vm, slots=["slot0"])
    root.wait_plugged("e0")
    vm.until("test $(ls -d /sys/bus/pci/devices/*/ | while read d; do cat $d/device; done | grep -c 0x11e8) = 2", 30,
             "both devices in the guest")
    addresses = vm.run("for d in /sys/bus/pci/devices/*; do grep -q 0x11e8 $d/device && echo ${d##*/}; done; true").split()
    # Ours is a PCI Express device, QEMU's a conventional one.
    ours = [a for a in addresses if vm.run(f"stat -c %s /sys/bus/pci/devices/{a}/config").strip() == "4096"]
    check(len(addresses) == 2 and len(ours) == 1, f"which is ours? {addresses} {ours}")
    theirs, = set(addresses) - set(ours)
    put_tool(t, vm)
    want, got = drive(vm, theirs), drive(vm, ours[0])
    questions = [line for line in script() if line[0] == "r" or line.startswith("wait")]
    check(len(want[0]) == len(questions), f"{len(want[0])} answers to {len(questions)} questions")
    wrong = [f"{question}: ours {mine}, QEMU's {other}" for question, mine, other in zip(questions, got[0], want[0])
             if mine != other]
    check(not wrong and got[0] == want[0], "; ".join(wrong) or "another number of answers")
    check(got[1] == want[1], f"DMA wrote another thing: ours {got[1]}, QEMU's {want[1]}")
    check("never" not in got[0], "a wait was in vain")
    stats = box.stats()["functions"][0]["model"]
    check(stats == {"factorials": 8, "dma_transfers": 4, "dma_refused": 0, "dma_failed": 0}, f"{stats}")

    # What QEMU's must not be asked: DMA beyond the buffer. It moves nothing, and ends.
    before = mmio(vm, f"/dev/mem {SPARE:x} 10000", [f"r4 {offset:x}" for offset in range(0x5000, 0x5040, 4)])
    answers = mmio(vm, f"/sys/bus/pci/devices/{ours[0]}/resource0 0 100000",
                   ["w8 80 40ff0", f"w8 88 {SPARE + 0x5000:x}", "w8 90 11", "w4 98 7", "wait4 98 1 0", "r4 24", "w4 64 100"])
    check(answers == ["so", "00000100"], f"{answers}")
    after = mmio(vm, f"/dev/mem {SPARE:x} 10000", [f"r4 {offset:x}" for offset in range(0x5000, 0x5040, 4)])
    check(before == after, "DMA that was refused has written")
    check(box.stats()["functions"][0]["model"]["dma_refused"] == 1, "it was not counted")
    scenes.nothing_lost(root, "e0")
    root.unplug("e0")
    vm.quit()
