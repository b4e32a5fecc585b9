# SPDX-License-Identifier: Apache-2.0
"""The example of docs/writing-a-device.md, loaded from its shared object, in a guest."""

import subprocess
import zlib

import scenes
from farbus_vm import TOP, check
from test_edu import SPARE, mmio, put_tool

TIMEOUT = 300


def test_crc(t):
    """crc.so is plugged in over the network, in the blocking style; a program in the guest uses its registers."""
    net = t.net()
    subprocess.run(["cc", "-O2", "-fPIC", "-shared", f"-I{TOP}/include", "-o", t.tmp / "crc.so", TOP / "examples/crc/crc.c"],
                   check=True)
    t.box(net, f"{t.tmp}/crc.so,id=crc0,longest=8K")
    vm = t.vm(net=net, modules=(), append=f"memmap=64K${SPARE:#x} iomem=relaxed")
    root = t.root(net, vm=vm)
    root.wait_plugged("crc0")
    vm.until("lspci -n -d 1b36:f0cc | grep -q 1200", 30, "the device in the guest")
    address = vm.run("lspci -D -d 1b36:f0cc").split()[0]
    vm.run(f"setpci -s {address} COMMAND=6:6")
    put_tool(t, vm)
    data = bytes((i * 31 + 7) & 255 for i in range(8192))
    mmio(vm, f"/dev/mem {SPARE:x} 10000",
         [f"w4 {i:x} {int.from_bytes(data[i:i + 4], 'little'):x}" for i in range(0, 4096, 4)] +
         [f"w8 {i:x} {int.from_bytes(data[i:i + 8], 'little'):x}" for i in range(4096, 8192, 8)])

    def crc(start, length):
        return mmio(vm, f"/sys/bus/pci/devices/{address}/resource0 0 1000",
                    [f"w8 8 {start:x}", f"w4 10 {length:x}", "w4 14 1", "r4 18", "r4 1c"])
    for start, length in ((0, 8192), (1, 1), (4090, 13), (3, 5001)):
        want = f"{zlib.crc32(data[start:start + length]):08x}"
        check(crc(SPARE + start, length) == [want, "00000000"], f"CRC of {length} bytes at {start}: not {want}")
    check(crc(SPARE, 8193)[1] == "00000002", "too long, and not refused")
    check(crc(0xfff0000000000, 16)[1] == "00000001", "memory that is not there, and not refused")
    check(scenes.counters(root, "crc0")["dma_unmapped"] >= 1, "the root has not counted it")
    root.unplug("crc0")
    vm.quit()
