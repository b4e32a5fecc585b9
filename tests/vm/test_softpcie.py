# SPDX-License-Identifier: Apache-2.0
"""SoftPCIe with a real guest: programs on the network read and write its memory and answer its reads, and a stock driver
uses a drive of ours behind the adapter."""

import base64
import os
import re
import subprocess

import scenes
import softpcie_peer as sp
from farbus_vm import Daemon, check, wait_for

TIMEOUT = 300

# Guest memory that its kernel leaves alone, so that /dev/mem may have it.
SPARE, SPARE_SIZE = 0xF000000, 0x10000

# In the guest: `bar FILE OFFSET [VALUE]` reads or writes 4 bytes of a BAR.
BAR_C = """
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
int main(int argc, char **argv)
{
	int fd = open(argv[1], O_RDWR);
	volatile unsigned *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (argc < 3 || p == MAP_FAILED)
		return 1;
	p += strtoul(argv[2], NULL, 0) / 4;
	if (argc > 3)
		*p = strtoul(argv[3], NULL, 0);
	else
		printf("%08x", *p);
	return 0;
}
"""


def put_tool(t, vm):
    """Compiles BAR_C and carries it into the guest."""
    tool = t.tmp / "bar"
    subprocess.run(["cc", "-O1", "-s", "-x", "c", "-o", tool, "-"], input=BAR_C, text=True, check=True)
    packed = base64.b64encode(subprocess.run(["gzip", "-9c", tool], check=True, capture_output=True).stdout).decode()
    for start in range(0, len(packed), 2048):
        vm.run(f"echo {packed[start:start + 2048]} >>/run/bar.txt")
    vm.run("base64 -d /run/bar.txt | gzip -d >/run/bar && chmod +x /run/bar")


def test_a_program_is_the_device(t):
    """A guest with the adapter, no driver for it: a program in another host finds it by the message API, reads and writes
    the guest's memory by TLP, answers its reads of BAR 4 and sees its writes."""
    net = t.net()
    root = t.root(net, connect=[], args=["--softpcie", f"{net.host.addr},peer={net.iobox.addr},mmio-timeout=1s"])
    vm = t.vm(net=net, devices=[root.device("softpcie0", bus="slot0")], modules=(),
              append=f"memmap={SPARE_SIZE // 1024}K${SPARE:#x}")
    check("3776:8022" in vm.run("lspci -n"), "the guest does not see the adapter")
    address = vm.run("lspci -Dn -d 3776:8022").split()[0]
    vm.run(f"setpci -s {address} COMMAND=6:6")
    lines = vm.run(f"cat /sys/bus/pci/devices/{address}/resource").splitlines()
    bar4 = int(lines[4].split()[0], 16)
    peer = sp.Peer(t, net.iobox.addr, net.host.addr, net.iobox.name)
    check(peer.message(1) == bar4, f"BAR 4 at {peer.message(1):#x} for peers, {bar4:#x} in the guest")
    peer.requester = peer.message(2)
    check(peer.config_read(4) & 6 == 6, "the command register that the guest has set")

    # Memory, both ways.
    data = os.urandom(4096)
    peer.write(SPARE + 0x3F1, data[:256])
    check(peer.read(SPARE + 0x3F1, 256)[1] == data[:256], "memory read back by TLP")
    seen = vm.run(f"dd if=/dev/mem bs=4096 skip={SPARE // 4096} count=1 status=none | base64 -w0")
    check(base64.b64decode(seen)[0x3F1:0x4F1] == data[:256], "the guest does not see what the program wrote")
    vm.run(f"head -c 4096 /dev/zero | tr '\\0' Z | dd of=/dev/mem bs=4096 seek={SPARE // 4096 + 1} conv=notrunc status=none")
    check(peer.read(SPARE + 4096, 4096)[1] == b"Z" * 4096, "the program does not see what the guest wrote")
    check(peer.read(1 << 40, 64)[0] == sp.UR, "a read of nobody's address")

    # BAR 4: the guest reads what the program answers, and its writes come.
    for port in range(sp.HOST, sp.HOST + 16):
        peer.port(port)
    put_tool(t, vm)
    bar = f"/run/bar /sys/bus/pci/devices/{address}/resource4"
    job = vm.spawn(f"{bar} 64")
    port, r = peer.host_request(20)
    check(not r.write and sp.span(r) == (bar4 + 64, 4), f"the guest's read came as {r}")
    peer.answer(port, r, bytes.fromhex("0df1ad0b"))
    check(job.wait() == "0badf10d", "the guest reads something else")
    vm.run(f"{bar} 128 0x12345678")
    port, r = peer.host_request(20)
    check(r.write and sp.span(r) == (bar4 + 128, 4) and r.data == bytes.fromhex("78563412"), f"its write came as {r}")
    # Nobody answers: all ones, and the guest lives.
    check(vm.run(f"{bar} 0") == "ffffffff", "silence is not all ones")
    vm.quit()


def test_stock_driver_behind_the_adapter(t):
    """Both roles: the adapter looks like an NVMe drive, the box behind it is one; Linux' driver uses it, also after a
    reboot of the guest, with MSI-X by the message API."""
    net = t.net()
    root = t.root(net, connect=[], args=["--softpcie", f"{net.host.addr},peer={net.iobox.addr},class=0x010802,"
                                         "window-bar=0,bar4=16K,id=ssd0"])
    box = Daemon(t, "box", ["--softpcie", f"{net.host.addr},local={net.iobox.addr},timeout=500ms", "--device",
                            scenes.nvme(t) + ",mdts=16K,queues=2"], net.iobox, True)
    vm = t.vm(net=net, devices=[root.device("ssd0", bus="slot0")])
    for _ in range(2):
        scenes.drive_comes(vm)
        check("FB" in vm.run("nvme id-ctrl /dev/nvme0 | grep ^sn"), "another drive's serial number")
        vm.run(scenes.verify(size="4M").replace("--iodepth=16", "--iodepth=4"), timeout=120)
        check(root.function("ssd0")["interrupts"] == "msix", f"interrupts: {root.function('ssd0')['interrupts']}")
        if not _:
            vm.reboot()
    scenes.nothing_lost(root)
    model = root.stats()["embedded_box"]["functions"][0]["model"]
    check(model["rx_lost"] == model["host_timeouts"] == model["peer_failed"] == 0, f"the adapter counts {model}")
    check(box.stats()["softpcie"]["rx_lost"] == 0, f"the box counts {box.stats()['softpcie']}")
    check(len(re.findall("is gone", box.process.text())) >= 1, "the guest's reboot did not reset the drive")
    vm.quit()
    wait_for(lambda: box.ls()["functions"][0]["state"] == "free", 20, "the drive to be reset when the VM has ended")
