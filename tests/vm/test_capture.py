# SPDX-License-Identifier: Apache-2.0
"""What a guest's driver does with a drive, read out of a capture by the dissector."""

import re

from farbus_vm import Skip, check
from test_igb import PEER, nic, tap, up
from tshark import available, tshark

TIMEOUT = 240


def test_nvme_in_wireshark(t):
    """A guest writes a block that is known and reads it back: doorbells, the DMA with the block's very bytes, the interrupt."""
    if not available():
        raise Skip("tshark is not installed")
    net = t.net()
    t.box(net, f"nvme,id=ssd0,file={t.disk()},prefetch=off")  # what the drive reads is to be seen as reads
    capture = t.tmp / "guest.pcapng"
    vm = t.vm(net=net, slots=1)
    root = t.root(net, vm=vm, args=["--capture", str(capture)])
    vm.until("test -b /dev/nvme0n1", 30, "the guest's nvme driver to offer the drive")
    vm.run("yes farbus | head -c 4096 >/tmp/block && dd if=/tmp/block of=/dev/nvme0n1 bs=4096 count=1 seek=5 oflag=direct "
           "2>/dev/null && dd if=/dev/nvme0n1 of=/tmp/back bs=4096 count=1 skip=5 iflag=direct 2>/dev/null && "
           "cmp /tmp/block /tmp/back", timeout=60)
    dropped = root.stats()["capture"]["dropped"]
    check(dropped == 0, f"{dropped} TLPs were dropped from the capture")
    vm.quit()
    check(root.term() == 0, "root does not end well")

    block = (b"farbus\n" * 600)[:4096].hex()
    reads = tshark(capture, "-Y", "tlp.read.length", "-T", "fields", "-e", "tlp.read.data").replace(":", "").split()
    # Written by the guest: read by the drive, in requests that do not cross the page but may be shorter than it.
    check(block in "".join(reads), "the block that the guest wrote is in no read of the drive")
    writes = tshark(capture, "-Y", 'tlp.type matches "MWr" && fbtap.direction == "up"', "-T", "fields", "-e", "tlp.data",
                    "-e", "tlp.length").replace(":", "")
    check(block in "".join(line.split("\t")[0] for line in writes.splitlines()), "nor is it in what the drive wrote back")
    check(any(line.endswith("\t1") for line in writes.splitlines()), "no interrupt: no write of one DW up")
    bar = tshark(capture, "-Y", 'tlp.type matches "MWr" && fbtap.direction == "down"', "-T", "fields", "-e", "tlp.addr").split()
    doorbells = {int(address, 16) % 0x4000 for address in bar} & {0x1000, 0x1004, 0x1008, 0x100c}
    check(len(doorbells) == 4, f"doorbells of the admin and the first I/O queue: {doorbells}")
    wrong = tshark(capture, "-Y", "tlp.malformed || tlp.expert.unexpected")
    check(wrong == "", f"tshark complains: {wrong[:500]}")
    text = tshark(capture, "-q", "-X", "lua_script1:stats")
    check(re.search(r"Time from MRd(32|64) to its last completion: \d{2,}, median", text), text)
    t.log(text)


def test_messages_in_wireshark(t):
    """The messages that only farbus sends (docs/protocol.md, section 12), as root and box of a working guest exchange them: the
    dissector, which was written from that text, finds each of the six, and none that is malformed."""
    if not available():
        raise Skip("tshark is not installed")
    net = t.net()
    tap(net)
    t.box(net, f"nvme,id=ssd0,file={t.disk()}", nic())
    capture = t.tmp / "guest.pcapng"
    vm = t.vm(net=net, slots=2, modules=("nvme", "igb"))
    root = t.root(net, vm=vm, args=["--capture", f"{capture},filter=type=MsgD"])
    vm.until("test -b /dev/nvme0n1", 30, "the guest's nvme driver to offer the drive")
    up(vm)
    vm.until(f"ping -c 1 -W 1 {PEER}", 30, "an answer to the guest's ping")
    vm.run("fio --name=x --filename=/dev/nvme0n1 --ioengine=libaio --direct=1 --rw=randrw --bs=4k --iodepth=8 --size=4M "
           f"--output-format=terse && ping -c 20 -i 0.05 {PEER}", timeout=60)
    dropped = root.stats()["capture"]["dropped"]
    check(dropped == 0, f"{dropped} TLPs were dropped from the capture")
    vm.quit()
    check(root.term() == 0, "root does not end well")

    kinds = tshark(capture, "-Y", "fbmsg", "-T", "fields", "-e", "fbmsg.kind").split()
    want = {0x52494e47, 0x44415441, 0x41424c45, 0x494e4458, 0x4f464652, 0x55534544}
    check({int(kind, 16) for kind in kinds} == want, f"{set(kinds)}")
    wrong = tshark(capture, "-Y", "fbmsg.expert.malformed || tlp.malformed || !fbmsg")
    check(wrong == "", f"tshark complains: {wrong[:500]}")
    t.log({kind: kinds.count(kind) for kind in sorted(set(kinds))})
