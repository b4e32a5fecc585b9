# SPDX-License-Identifier: Apache-2.0
"""Two devices, one memory: the NIC sends out of the guest buffers that the NVMe drive wrote.

    image --box-- ssd0 ==root==> guest memory ==root== nic0 --box-- tap0, receive.py

The guest's processor touches none of the data (sendpages.c); what left the image and what reached the peer have to be the
same, while another part of the drive is written and verified, and other traffic passes through the NIC.
"""

import base64
import hashlib
import pathlib
import subprocess
import sys

import scenes
from farbus_vm import check, wait_for
from test_igb import PEER, nic, tap, up

TIMEOUT = 600
HERE = pathlib.Path(__file__).resolve().parent
MIB = 1 << 20
PART, PARTS = 4 * MIB, 4  # for each of the two ways of sending


def put_tool(t, vm):
    """Compiles sendpages.c and carries it into the guest."""
    tool = t.tmp / "sendpages"
    subprocess.run(["cc", "-O1", "-o", tool, HERE / "sendpages.c"], check=True)
    packed = base64.b64encode(subprocess.run(["gzip", "-9c", tool], check=True, capture_output=True).stdout).decode()
    for start in range(0, len(packed), 2048):
        vm.run(f"echo {packed[start:start + 2048]} >>/run/sendpages.txt")
    vm.run("base64 -d /run/sendpages.txt | gzip -d >/run/sendpages && chmod +x /run/sendpages")


def test_nic_sends_what_nvme_wrote(t):
    """sendfile from the page cache and MSG_ZEROCOPY from O_DIRECT buffers, four streams at once, under load: checksums."""
    net = t.net()
    tap(net)
    image = t.disk("96M", "data.img")
    data = bytearray()
    with open(image, "r+b") as file:
        for number in range(PART * PARTS // 32):
            data += hashlib.sha256(number.to_bytes(4, "little")).digest()
        file.write(data)
    box = t.box(net, scenes.nvme(t, file=image), nic())
    vm = t.vm(net=net, slots=2, modules=("nvme", "igb"))
    root = t.root(net, vm=vm)
    for name in ("ssd0", "nic0"):
        root.wait_plugged(name)
    scenes.drive_comes(vm)
    up(vm)
    put_tool(t, vm)
    peer = t.start([sys.executable, HERE / "receive.py", PEER, 7000], name="receive", ns=net.iobox.name)
    peer.wait_log("ready")
    t.start(["iperf3", "-s", "--forceflush"], ns=net.iobox.name).wait_log("Server listening")

    # The load: the drive's second half written and verified, and traffic the other way.
    load = [vm.spawn(f"fio --name=load --filename={scenes.DRIVE} --ioengine=libaio --direct=1 --rw=randwrite --bs=16k "
                     "--iodepth=4 --offset=32M --size=32M --verify=crc32c --verify_fatal=1 --do_verify=1 --output-format=terse"),
            vm.spawn(f"iperf3 -c {PEER} -u -b 20M -R -t 5")]
    want = []
    for way in ("sendfile", "zerocopy"):
        streams = []
        for part in range(PARTS):
            at = part * PART
            want.append(f"{PART} {hashlib.sha256(data[at:at + PART]).hexdigest()}")
            streams.append(vm.spawn(f"/run/sendpages {way} {scenes.DRIVE} {at} {PART} {PEER} 7000"))
        for stream in streams:
            stream.wait(120)
    for job in load:
        job.wait(120)

    def came():
        lines = peer.text().splitlines()
        return [line for line in lines if line.split(" ")[0].isdigit()]
    wait_for(lambda: len(came()) >= len(want), 10, "the peer to have all streams")
    check(sorted(came()) == sorted(want), f"arrived: {came()}, sent: {want}")
    for name in ("ssd0", "nic0"):
        scenes.nothing_lost(root, name)
    # It was the drive that filled the pages, and the NIC that fetched them.
    counters = {f["id"]: f["counters"] for f in box.stats()["functions"]}
    check(counters["ssd0"]["dma_write_bytes"] >= 2 * PART * PARTS, f"{counters}")
    check(counters["nic0"]["dma_read_bytes"] >= 2 * PART * PARTS, f"{counters}")
    vm.quit()
