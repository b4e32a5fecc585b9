# SPDX-License-Identifier: Apache-2.0
"""SoftPCIe between farbus and software written from the description of the wire format alone (softpcie_peer.py), over
the network; the guest is a vfio-user client with memory of its own."""

import os
import re
import select
import signal
import socket
import struct

import softpcie_peer as sp
import vfio_user_client as vfio
from farbus_vm import FARBUS, PATIENCE, check, farbus, wait_for

TIMEOUT = 120
MEMORY, SIZE = 0x10000000, 1 << 20
BAR0, BAR2, BAR4 = 0xF0000000, 0xF1000000, 0x1F2000000


def adapter(t, net=None, options="", name="softpcie0"):
    """A root with an adapter in net.host (or on 127.x), a client with memory at MEMORY, and a peer that is allowed."""
    if net:
        here, there, ns = net.host.addr, net.iobox.addr, net.iobox.name
    else:
        here, there, ns = f"127.77.{os.getpid() % 250}.1", f"127.77.{os.getpid() % 250}.2", None
    root = t.root(net, connect=[], args=["--softpcie", f"{here},peer={there}{options}"])
    client = vfio.Client(t, root.socket(name))
    memory = client.memory(MEMORY, SIZE)
    memory[:] = bytes((i * 7 + (i >> 8)) & 255 for i in range(SIZE))
    client.enable({0: BAR0, 2: BAR2, 4: BAR4})
    peer = sp.Peer(t, there, here, ns)
    peer.requester = wait_for(lambda: peer.message(2), 10, "the adapter's ID")
    return root, client, memory, peer


def model(root, name="softpcie0"):
    return next(f["model"] for f in root.stats()["embedded_box"]["functions"] if f["id"] == name)


def test_memory_by_tlp(t):
    """Software reads and writes the guest's memory: any alignment and size, split completions, byte enables, errors."""
    root, client, memory, peer = adapter(t, t.net())
    for tag, (offset, length) in enumerate([(0, 64), (1, 3), (0x103, 1), (0xFFC, 4), (0x1001, 300), (0x2F80, 128),
                                            (0x3000, 512), (0x4002, 1022), (0x5000, 4096), (0x7FF, 2)]):
        tag *= 25
        status, data, pieces = peer.read(MEMORY + offset, length, tag)
        check(status == sp.SC and data == memory[offset:offset + length], f"read of {length} at {offset:#x}: {status}")
        check(-(-length // 256) <= pieces <= -(-length // 256) + 1, f"{pieces} completions for {length} bytes")
        new = os.urandom(length)
        before = memory[:]
        peer.write(MEMORY + offset, new, tag)
        check(peer.read(MEMORY + offset, length, tag)[1] == new, f"wrote {length} at {offset:#x}, read something else")
        check(memory[:] == before[:offset] + new + before[offset + length:], "bytes beside the range were written")
    # Byte enables with holes; a zero-length read.
    memory[0x100:0x108] = bytes(8)
    peer.write(MEMORY + 0x100, b"\1\2\3\4\5\6\7\x08", be=(0b1101, 0b0011))
    check(peer.read(MEMORY + 0x100, 8)[1] == b"\1\0\3\4\5\6\0\0", f"{memory[0x100:0x108].hex()}")
    check(peer.read(MEMORY, 0)[0] == sp.SC, "the zero-length read")
    # 256 tags in flight.
    for tag in range(256):
        peer.send(sp.DEVICE + tag, sp.request(False, MEMORY + 64 * tag, 64, peer.requester, tag))
    for tag in range(256):
        check(peer.collect(MEMORY + 64 * tag, 64, tag)[1] == memory[64 * tag:64 * tag + 64], f"tag {tag}")
    # Nobody's address: UR, and nothing for a write.
    check(peer.read(0x50000000, 64)[:2] == (sp.UR, b""), "a read of nobody's address")
    check(peer.read(MEMORY + SIZE, 4096)[0] == sp.UR, "a read behind the end of memory")
    peer.write(0x50000000, bytes(64))
    # Bus mastering off: UR as well, and on again.
    client.config_write(4, 2, 2)
    wait_for(lambda: peer.read(MEMORY, 4)[0] == sp.UR, 10, "reads to fail with bus mastering off")
    client.config_write(4, 6, 2)
    wait_for(lambda: peer.read(MEMORY, 4)[0] == sp.SC, 10, "reads to work again")
    # Their numbers and time stamps.
    numbers = [number for number, _ in peer.stamps]
    check(sorted(numbers) == list(range(min(numbers), min(numbers) + len(numbers))), "sequence numbers have gaps")
    seen = model(root)
    check(seen["rx_lost"] == seen["rx_reordered"] == seen["rx_malformed"] == 0, f"counted: {seen}")
    check(seen["peer_failed"] >= 3, f"counted: {seen}")


def test_guest_reads_the_window(t):
    """What the guest does in BAR 4 goes out as TLPs to the right ports; completions, errors and silence come back."""
    root, client, _, peer = adapter(t, t.net(), ",mmio-timeout=300ms,bar4=1M")
    ports = range(sp.HOST, sp.HOST + 16)
    for port in ports:
        peer.port(port)

    def read(offset, size, answer):
        client.send(vfio.READ, struct.pack("<QII", offset, 4, size))
        got = peer.host_request()
        check(got, "the guest's read did not come")
        port, r = got
        check(not r.write and sp.span(r) == (BAR4 + offset, size), f"{r} for a read of {size} at {offset:#x}")
        check(port == sp.HOST + r.tag % 16 and r.requester == 0, f"{r} on port {port:#x}")
        answer(port, r)
        reply = client._receive(32 + size)
        return reply[32:]

    for offset, size in ((0, 4), (8, 8), (0x103, 1), (0xFFFFE, 2)):
        value = os.urandom(size)
        check(read(offset, size, lambda port, r: peer.answer(port, r, value)) == value, f"a read of {size} at {offset:#x}")
    # Errors and silence are all ones; a late answer is nobody's.
    late = []
    check(read(0, 4, lambda port, r: peer.answer(port, r, None, sp.UR)) == b"\xff" * 4, "UR is not all ones")
    check(read(0, 4, lambda port, r: late.append((port, r))) == b"\xff" * 4, "silence is not all ones")
    peer.answer(*late[0], b"late")
    check(read(4, 4, lambda port, r: peer.answer(port, r, b"next")) == b"next", "the read after a late answer")
    for offset, data in ((0x10, b"\1\2\3\4"), (0x1003, b"\5"), (0x18, b"\1\2\3\4\5\6\7\x08")):
        client.write(4, offset, data)
        port, r = peer.host_request()
        check(r.write and sp.span(r) == (BAR4 + offset, len(data)), f"{r} for a write at {offset:#x}")
        check(r.data[offset & 3:][:len(data)] == data, f"{r.data.hex()}")
    seen = model(root)
    check((seen["host_reads"], seen["host_writes"]) == (7, 3), f"counted: {seen}")
    check((seen["host_timeouts"], seen["host_errors"], seen["late_completions"]) == (1, 1, 1), f"counted: {seen}")
    # The registers' BAR is the adapter's own.
    check(client.read(0, 0, 4) == struct.pack("<I", 0x01234567), "the magic register")


def test_what_the_adapter_tells(t):
    """Message API, configuration access on both ports, registers, and interrupts by the table that the API gives."""
    root, client, _, peer = adapter(t)
    check(peer.message(1) == BAR4, f"BAR4 at {peer.message(1):#x}")
    check(peer.message(3) == [(0, 0)] * 16, "vectors before there are any")
    events = [client.irq(vfio.MSIX, vector) for vector in range(4)]
    table = wait_for(lambda: peer.message(3)[3][0] and peer.message(3), 10, "the MSI-X table")
    for vector in (0, 3):
        address, data = table[vector]
        peer.write(address, struct.pack("<I", data))
        check(select.select([events[vector]], [], [], 5 * PATIENCE)[0], f"vector {vector} does not fire")
    check(not select.select(events[1:3], [], [], 0)[0], "another vector fired")
    for port in (sp.CONFIG, sp.CONFIG_OLD):
        check(peer.config_read(0, port) == 0x80223776, f"the ID at {port:#x}: {peer.config_read(0, port):#x}")
        check(peer.config_read(4, port) & 6 == 6, "the command register")
    check(peer.config_read(4092) == 0, "the last register")
    peer.config_write(4, 0)
    check(peer.config_read(4) & 6 == 6, "a configuration write was carried out")
    answer = peer.ask(sp.REGISTER, struct.pack("<BBI", 0x10, 0x10, 0), size=6)
    check(answer == struct.pack("<BBI", 0x10, 0x10, peer.requester), f"the requester ID register: {answer.hex()}")
    seen = model(root)
    check(seen["config_writes_refused"] == 1 and seen["config_reads"] >= 5, f"counted: {seen}")


def test_both_sides_are_captured(t):
    """A capture of the root has the adapter's SoftPCIe side, and what the same TLPs are on the way to the root."""
    root, client, memory, peer = adapter(t)
    trace = t.logs / "adapter.pcapng"
    capture = t.start([FARBUS, "capture", "-w", trace, "--control", root.control], name="capture")
    capture.wait_log("capturing to")
    check(peer.read(MEMORY + 0x40, 64, tag=5)[0] == sp.SC, "a read of the guest's memory")
    peer.write(MEMORY + 0x1000, b"seen", 6)
    check(peer.read(MEMORY + 0x1000, 4, tag=7)[1] == b"seen", "a write of the guest's memory")
    capture.signal(signal.SIGINT)
    check(capture.wait(10) == 0, "farbus capture does not end well")
    lines = farbus("decode", "--quiet", trace)[1].splitlines()
    found = [re.match(r" *\d+ [\d.]+ softpcie0 +(up|down) +(\w+) .*?tag (\d+)", line) for line in lines]
    check(all(found), f"not TLPs of the adapter: {lines}")
    # The root's side has tags of 10 bits, from 256 on; software's reads kept theirs.
    reads = [(way, kind, int(tag)) for way, kind, tag in (match.groups() for match in found) if kind != "MWr"]
    check([read for read in reads if read[2] < 256] ==
          [("up", "MRd", 5), ("down", "CplD", 5), ("up", "MRd", 7), ("down", "CplD", 7)], f"the SoftPCIe side: {lines}")
    check([read[:2] for read in reads if read[2] >= 256] == [("up", "MRd"), ("down", "CplD")] * 2, f"the root's side: {lines}")
    check(sum("data 7365656e" in line for line in lines if "MWr" in line) == 2, f"the write: {lines}")


def test_bad_input_to_the_adapter(t):
    """Bad input: short, lying, misplaced, foreign datagrams are counted by kind and dropped, logged once a second, and
    strangers get no answer."""
    root, client, memory, peer = adapter(t, options=f",allow={MEMORY}:62K+0:4K")
    memory_before = memory[:]
    peer.numbered = False  # or the copies would be seen as such
    good = peer.frame(sp.request(True, MEMORY, b"evil", peer.requester, 5))

    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stranger.bind(("127.0.0.1", 0))
    stranger.settimeout(0)
    for port, data in ((0x3005, good), (0x2FFF, b"\1\0\0\0"), (0x5001, bytes.fromhex("3c0100000000")), (0x5002, b"\x10")):
        stranger.sendto(data, (peer.remote, port))
    bad = peer.port(0x3005)
    for _ in range(20):
        bad.send(good[:17])                                        # short
        bad.send(good[:-4])                                        # less than Length says
        bad.send(good + bytes(4))                                  # more
        bad.send(good[:12] + b"\6" + good[13:])                    # another tag than the port's
        bad.send(good[:6] + bytes.fromhex("040000010100050f01000000"))  # CfgRd0
        bad.send(good[:6] + bytes.fromhex("fc") + good[7:])        # no TLP at all
    peer.port(0x4005).send(good)                                   # a write on a host's port
    poisoned = bytearray(good)
    poisoned[8] |= 0x40
    bad.send(poisoned)
    bad.send(os.urandom(4000))
    for port, data in ((0x2FFF, b"\7\0\0\0"), (0x2FFF, b"\1"), (0x5001, b"\x80" + bytes(5)), (0x5001, bytes(7)),
                       (0x5002, b"\x11" + bytes(5)), (0x4001, b"\xc0" + bytes(5))):
        peer.port(port).send(data)
    peer.write(MEMORY + 0x10000, b"evil")                          # outside of what is allowed
    check(peer.read(MEMORY + 0xF7FE, 4)[0] == sp.UR, "a read across the end of what is allowed")
    check(peer.read(0xFFFFFFFFFFFFF000, 4096)[0] == sp.UR, "a read up to the end of the address space")
    check(peer.read(MEMORY, 4)[1] == memory_before[:4], "the adapter does not work any more")
    check(memory[:] == memory_before, "memory has changed")
    for other in (stranger, peer.port(0x2FFF), peer.port(0x5001), peer.port(0x5002)):
        check(not select.select([other], [], [], 0)[0], "an answer to what deserves none")
    seen = model(root)
    expected = {"rx_strangers": 4, "rx_short": 20, "rx_malformed": 61, "rx_wrong_port": 20, "rx_not_carried": 20,
                "rx_bad_packets": 6, "misdirected": 2, "peer_refused": 3}
    # CfgRd0 with tag 5 is well-formed; random bytes are something, and once in a while another thing than malformed.
    wrong = {key: (seen[key], value) for key, value in expected.items()
             if seen[key] != value and not (key in ("rx_malformed", "rx_not_carried") and abs(seen[key] - value) <= 1)}
    check(not wrong, f"counted (is, should): {wrong}")
    for kind in ("malformed TLP", "are no header", "does not belong on that port", "is not carried", "not a peer"):
        lines = re.findall(f".*{kind}.*", root.process.text())
        check(1 <= len(lines) <= 3, f"{len(lines)} lines on \"{kind}\"")
    stranger.close()


def test_engine_and_old_ports(t):
    """engine=on: the guest's window is memory, and nothing is sent. old-ports=on: the host's requests are on 0x3000."""
    _, client, _, peer = adapter(t, options=",engine=on,bar4=64K,id=e0", name="e0")
    peer.port(sp.HOST)
    client.write(4, 0x123, b"hello")
    check(client.read(4, 0x120, 8) == b"\0\0\0hello", "the window does not remember")
    check(peer.host_request(0, [sp.HOST]) is None, "something was sent")
    peer.close()
    t2 = os.getpid() % 250
    root = t.root(None, connect=[], args=["--softpcie", f"127.78.{t2}.1,peer=127.78.{t2}.2,old-ports=on,id=o0"])
    client = vfio.Client(t, root.socket("o0"))
    client.enable({0: BAR0, 2: BAR2, 4: BAR4})
    old = sp.Peer(t, f"127.78.{t2}.2", f"127.78.{t2}.1")
    old.port(sp.DEVICE)
    client.write(4, 0, b"\1\2\3\4")
    check(old.host_request(5, [sp.DEVICE])[1].data == b"\1\2\3\4", "no write on 0x3000")
