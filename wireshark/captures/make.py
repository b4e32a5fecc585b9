#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the captures that the dissector and `farbus decode` are tested on, byte for byte the same each time:

	tlps.pcapng      as `farbus capture` writes them: every TLP of the codec's fuzzing corpus, reads, errors, malformed ones
	link.pcap        the link on Ethernet: a session from its HELLO, with TLPs across datagrams, segmentation offload, a
	                 retransmission, reordering and a gap; and one whose beginning is missing
	softpcie.pcap    SoftPCIe: reads and writes both ways, configuration, registers, messages; a VLAN tag; IPv6

make.py FOLDER [CORPUS]   CORPUS: tests/fuzz/tlp/corpus-tlp

Written from docs/protocol.md, docs/capture.md and facts about NetTLP, not with the project's own code: so that the two check
each other.
"""

import pathlib
import struct
import sys

# ---- TLPs ------------------------------------------------------------------------------------------------------------


def memory(code, requester, tag, address, size, data=b"", dw4=None):
    """code: 0x00 MRd, 0x40 MWr"""
    first, end = address & ~3, (address + size + 3) & ~3
    dws = (end - first) // 4 or 1
    skip, cut = address - first, end - address - size
    first_be, last_be = 0xf << skip & 0xf, 0xf >> cut
    if dws == 1:
        first_be, last_be = first_be & last_be, 0
    dw4 = address >> 32 if dw4 is None else dw4
    head = struct.pack(">IHBB", (code | (0x20 if dw4 else 0)) << 24 | dws & 0x3ff, requester, tag, last_be << 4 | first_be)
    return head + (struct.pack(">Q", first) if dw4 else struct.pack(">I", first)) + b"\0" * (skip if data else 0) + data + \
        b"\0" * (cut if data else 0)


def cpl(completer, requester, tag, byte_count, lower, data=b"", status=0):
    skip = lower & 3 if data else 0
    data = b"\0" * skip + data
    data += b"\0" * (-len(data) % 4)
    return struct.pack(">IHHHBB", (0x4a if data else 0x0a) << 24 | len(data) // 4 & 0x3ff, completer,
                       status << 13 | byte_count & 0xfff, requester, tag, lower & 0x7f) + data


def own_message(what, payload, to=None):
    """One of Farbus' own (docs/protocol.md, section 12); to: the function, else it is for the root."""
    assert len(payload) % 4 == 0
    return struct.pack(">IHBBHHI", (0x72 if to else 0x70) << 24 | len(payload) // 4, 0 if to else 0x0100, 0, 0x7f, to or 0, 0xfab5,
                       what) + payload


def pattern(n, seed=0):
    return bytes((i * 7 + seed) & 0xff for i in range(n))


# ---- pcapng, as src/capture writes it ----------------------------------------------------------------------------------

def block(kind, body):
    body += b"\0" * (-len(body) % 4)
    return struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)


def option(code, value):
    return struct.pack("<HH", code, len(value)) + value + b"\0" * (-len(value) % 4)


class Tap:
    """One root's capture; 10 us between two packets."""

    def __init__(self):
        self.blocks = [block(0x0a0d0d0a, struct.pack("<IHHq", 0x1a2b3c4d, 1, 0, -1) + option(4, b"make.py") + option(0, b"")),
                       block(1, struct.pack("<HHI", 252, 0, 0) + option(2, b"tlp") + option(9, b"\x09") + option(0, b""))]
        self.time = 1_700_000_000_000_000_000
        self.n = self.dropped = 0

    def add(self, tlp, up, function=b"ssd0", error=0, dropped=0, keep=None):
        hlen = (14 + len(function) + 3) & ~3
        head = struct.pack(">BBBBQBB", 1, hlen, (1 if up else 0) | 2 | (0 if up else 4), 0, 0x1122334455667788, error,
                           len(function)) + function
        packet = struct.pack(">HH8sHH", 12, 8, b"fbtap", 0, 0) + head.ljust(hlen, b"\0") + tlp
        kept = packet if keep is None else packet[:16 + hlen + keep]
        options = option(2, struct.pack("<I", 1 if up else 2))
        if dropped:
            options += option(4, struct.pack("<Q", dropped))
        self.time += 10_000
        self.n += 1
        self.dropped += dropped
        self.blocks.append(block(6, struct.pack("<IIIII", 0, self.time >> 32, self.time & 0xffffffff, len(kept),
                                                len(packet)) + kept + b"\0" * (-len(kept) % 4) + options + option(0, b"")))

    def bytes(self):
        end = block(5, struct.pack("<III", 0, self.time >> 32, self.time & 0xffffffff) +
                    option(4, struct.pack("<Q", self.n + self.dropped)) + option(5, struct.pack("<Q", self.dropped)) +
                    option(0, b""))
        return b"".join(self.blocks) + end


def tlps(corpus):
    tap = Tap()
    for path in sorted(corpus.iterdir()):
        data = path.read_bytes()
        if len(data) <= 300:
            tap.add(data, up=False, function=b"nic0")
    # A read of 512 bytes, answered in two; others between.
    tap.add(memory(0x00, 0x0100, 5, 0x123456000, 512), up=True)
    tap.add(memory(0x00, 0x0100, 6, 0x1001, 300), up=True)
    tap.add(cpl(0x0000, 0x0100, 5, 512, 0x00, pattern(256)), up=False)
    tap.add(cpl(0x0000, 0x0100, 6, 300, 0x01, pattern(63, 1)), up=False)
    tap.add(cpl(0x0000, 0x0100, 6, 237, 0x40, pattern(192, 2)), up=False)
    tap.add(cpl(0x0000, 0x0100, 5, 256, 0x00, pattern(256, 3)), up=False, dropped=17)
    tap.add(cpl(0x0000, 0x0100, 6, 45, 0x00, pattern(45, 4)), up=False)
    # The same tag in the other direction is another request.
    tap.add(memory(0x00, 0x0000, 5, 0xfebf0000, 4), up=False)
    tap.add(cpl(0x0100, 0x0000, 5, 4, 0, pattern(4)), up=True)
    # Writes, a write to nobody, and what fails.
    tap.add(memory(0x40, 0x0100, 0, 0x2003, 1, b"\x5a"), up=True)
    tap.add(memory(0x40, 0x0100, 0, 0x3000, 1024, pattern(1024)), up=True, keep=16)
    tap.add(memory(0x00, 0x0100, 7, 0x9000, 8), up=True)
    tap.add(cpl(0x0000, 0x0100, 7, 8, 0, status=1), up=False)
    tap.add(cpl(0x0000, 0x0100, 99, 4, 0, pattern(4)), up=False)
    tap.add(memory(0x00, 0x0100, 8, 0x9000, 8), up=True)
    tap.add(memory(0x00, 0x0100, 8, 0x9100, 8), up=True)
    tap.add(cpl(0x0000, 0x0100, 8, 8, 0, status=4), up=False)
    poisoned = bytearray(memory(0x40, 0x0100, 0, 0x4000, 4, pattern(4)))
    poisoned[2] |= 0x40
    tap.add(bytes(poisoned), up=True)
    # Malformed ones, with what the decoder says of them.
    hole = bytearray(memory(0x00, 0x0100, 9, 0x5000, 64))
    hole[7] = 0xf5
    tap.add(bytes(hole), up=True, error=5)
    tap.add(memory(0x00, 0x0100, 10, 0x5ff0, 64), up=True, error=6)
    tap.add(memory(0x00, 0x0100, 11, 0x6000, 4, dw4=True), up=True, error=7)
    tap.add(memory(0x40, 0x0100, 0, 0x7000, 64, pattern(60))[:-4], up=True, error=3)
    tap.add(memory(0x00, 0x0100, 12, 0x8000, 4) + b"\0\0\0\0", up=True, error=4)
    tap.add(b"\x1f" + memory(0x00, 0x0100, 13, 0x8000, 4)[1:], up=True, error=2)
    tap.add(memory(0x00, 0x0100, 14, 0x8000, 4)[:10], up=True, error=1)
    for message, up in own_messages():
        tap.add(message, up)
    return tap.bytes()


def own_messages():
    """Each of the six, and some that break its rules."""
    rule, ahead, able, index, offer, used = 0x52494e47, 0x44415441, 0x41424c45, 0x494e4458, 0x4f464652, 0x55534544

    def ring(slot, entries, size=64, shadow=0x5000, event=0x6000, stride=0, register_stride=0, end=0, data=4096):
        return own_message(rule, struct.pack("<BBHIQIIBBBBBBBBHHQQ", slot, 0, data, 0x1008, 0x100000000, size, entries, 0, 2, 24, 48,
                                             9, stride, end, 0, register_stride, 0, shadow, event))

    def value(bar, size, flags, offset, number):
        return struct.pack("<BBBBIQ", bar, size, flags, 0, offset, number)
    yield own_message(able, struct.pack("<I", 3), to=0x0100), False
    yield ring(1, 1024), True
    yield own_message(rule, ring(2, 16)[16:52]), True # without shadow and event
    yield ring(3, 0x80000000 | 31, shadow=0, event=0, stride=12, register_stride=8, end=11, data=32768), True
    yield ring(1, 0, shadow=0, event=0), True
    yield ring(64, 1024), True
    yield ring(1, 1024, event=0), True
    yield ring(1, 0x80000000 | 65, shadow=0, event=0, register_stride=8), True
    yield own_message(ahead, struct.pack("<QII", 0x100000040, 62, 0) + pattern(62) + b"\0\0", to=0x0100), False
    yield own_message(ahead, struct.pack("<QII", 0x100000040, 64, 0) + pattern(60), to=0x0100), False
    yield own_message(index, struct.pack("<B3xI", 1, 17), to=0x0100), False
    yield own_message(offer, struct.pack("<II", 7, 1234) + value(0, 4, 0, 0xc0, 0x80000004) + value(0, 4, 1, 8, 0x80080783) +
                      value(0, 4, 2, 0xc4, 1)), True
    yield own_message(offer, struct.pack("<II", 8, 1240)), True
    yield own_message(offer, struct.pack("<II", 9, 1241) + value(0, 4, 0, 2, 0)), True
    yield own_message(used, struct.pack("<IIBB2x", 7, 0xc4, 0, 1), to=0x0100), False
    yield own_message(0x12345678, b"\0\0\0\0"), True # of a later version




# ---- pcap on Ethernet ----------------------------------------------------------------------------------------------------

def udp(source, destination, data, vlan=None, v6=False):
    ether = bytes.fromhex("020000000002020000000001") + (struct.pack(">HH", 0x8100, vlan) if vlan is not None else b"")
    head = struct.pack(">HHHH", source[1], destination[1], len(data) + 8, 0)
    if v6:
        address = [bytes.fromhex("20010db8000000000000000000000000")[:15] + bytes([n]) for n in (source[0], destination[0])]
        ip = struct.pack(">IHBB", 6 << 28, len(data) + 8, 17, 64) + address[0] + address[1]
        return ether + b"\x86\xdd" + ip + head + data
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, len(data) + 28, 0, 0x4000, 64, 17, 0, bytes([192, 0, 2, source[0]]),
                     bytes([192, 0, 2, destination[0]]))
    total = sum(struct.unpack(">10H", ip))
    total = (total & 0xffff) + (total >> 16)
    ip = ip[:10] + struct.pack(">H", 0xffff - (total & 0xffff) - (total >> 16)) + ip[12:]
    return ether + b"\x08\x00" + ip + head + data


def pcap(frames):
    out = struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 262144, 1)
    for n, frame in enumerate(frames):
        out += struct.pack("<IIII", 1_700_000_000, 10 * n, len(frame), len(frame)) + frame
    return out


# ---- The link, from docs/protocol.md ---------------------------------------------------------------------------------------

def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


class Side:
    def __init__(self, end, session, pos):
        self.end, self.session, self.pos, self.number, self.stream, self.first = end, session, pos, 1, b"", pos
        self.peer = None

    def datagram(self, kind, fields, payload=b"", flags=0, session=None):
        session = self.peer.session if session is None else session
        head = struct.pack(">HBBBBHQQI", 0x4642, 1, kind, 0, flags, 32 + len(fields), session, self.session, self.number)
        self.number += 1
        crc = crc32c(head + fields + payload)
        return head + struct.pack(">I", crc) + fields + payload

    def hello(self, kind, session):
        fields = struct.pack(">HHHHII16sQQIIIII32s", 1, 1, 1, 0, 0, 30000, b"node", 1, self.pos, 0, 1 << 20, 1 << 16, 256, 1472,
                             b"ssd0")
        return self.datagram(kind, fields, b"\0" * (1232 - 132), session=session)

    def queue(self, cls, tlp):
        self.stream += struct.pack(">BBH", cls, 0, len(tlp)) + tlp + b"\0" * (-len(tlp) % 4)

    def data(self, size, ack=None):
        """A datagram with the next `size` bytes of the stream."""
        payload, self.stream = self.stream[:size], self.stream[size:]
        out = self.datagram(4, struct.pack(">QQIIII", self.pos, self.peer.pos if ack is None else ack, 0, 0, 0xffff0000 + 32768,
                                           0xffff0000 + 256), payload)
        self.pos += len(payload)
        return out

    def frame(self, data):
        return udp(self.end, self.peer.end, data)


def session(number):
    root = Side((1, 40000 + number), 0x1111111111111100 + number, 0x1000000000 + 4 * number)
    box = Side((2, 7000), 0x2222222222222200 + number, 0x2ffffffff000)
    root.peer, box.peer = box, root
    return root, box


def link():
    frames = []
    root, box = session(1)
    frames.append(root.frame(root.datagram(6, struct.pack(">IIHHI", 7, 0, 1, 1, 0), b"\0" * 1184, session=0)))
    entry = struct.pack(">32s16s16sHHIIII", b"ssd0", b"nvme", b"", 0x1b36, 0x10, 0x10802, 0, 0, 0)[:80].ljust(80, b"\0")
    frames.append(box.frame(box.datagram(7, struct.pack(">IIHHIHHIQ16s", 7, 0, 1, 1, 1, 1, 80, 0, 1, b"box"), entry, session=0)))
    frames.append(root.frame(root.hello(1, 0)))
    frames.append(box.frame(box.hello(2, root.session)))
    # Two TLPs in a datagram.
    root.queue(1, memory(0x00, 0x0000, 1, 0xfebf0000, 4))
    root.queue(0, memory(0x40, 0x0000, 0, 0xfebf1000, 4, pattern(4)))
    frames.append(root.frame(root.data(1400)))
    box.queue(2, cpl(0x0100, 0x0000, 1, 4, 0, pattern(4)))
    box.queue(1, memory(0x00, 0x0100, 3, 0x40000000, 4096))
    frames.append(box.frame(box.data(1400)))
    # A completion of 4 KiB over datagrams, as segmentation offload shows them: one packet.
    root.queue(2, cpl(0x0000, 0x0100, 3, 4096, 0, pattern(4096)))
    frames.append(root.frame(root.data(1400) + root.data(1400) + root.data(1400)))
    # A write in three, the second sent again, and the third before the second.
    box.queue(0, memory(0x40, 0x0100, 0, 0x40001000, 2048, pattern(2048, 9)))
    first, second, third = box.data(900), box.data(900), box.data(900)
    frames += [box.frame(first), box.frame(third), box.frame(second), box.frame(second)]
    frames.append(root.frame(root.data(0)))
    # One datagram that the capture has not: the root acknowledges it all the same.
    box.queue(0, memory(0x40, 0x0100, 0, 0x40002000, 2048, pattern(2048, 1)))
    box.queue(0, memory(0x40, 0x0100, 0, 0xfee00000, 4, pattern(4, 3)))
    box.data(1000)
    frames.append(box.frame(box.data(1400)))
    frames.append(root.frame(root.data(0)))
    box.queue(0, memory(0x40, 0x0100, 0, 0xfee00010, 4, pattern(4, 4)))
    frames.append(box.frame(box.data(1400)))
    frames.append(root.frame(root.datagram(5, struct.pack(">HHHH", 1, 1, 1, 4), b"done")))

    # A session whose beginning is not there: it begins in the middle of a TLP.
    root, box = session(2)
    box.queue(0, memory(0x40, 0x0200, 0, 0x50000000, 1024, pattern(1024, 5)))
    box.queue(0, memory(0x40, 0x0200, 0, 0x50001000, 128, pattern(128, 6)))
    box.queue(0, memory(0x40, 0x0200, 0, 0x50002000, 256, pattern(256, 7)))
    box.data(400)
    frames += [box.frame(box.data(900)), box.frame(box.data(900))]
    # What is damaged.
    damaged = bytearray(root.data(0))
    damaged[50] ^= 1
    frames.append(root.frame(bytes(damaged)))
    frames.append(root.frame(root.data(0)[:40]))
    # A REFUSE: it has no session of the sender. Of a later version, which has one more field.
    refuse = box.datagram(3, struct.pack(">HHHHI", 1, 1, 13, 7, 0xffffffff), b"not you")
    frames.append(box.frame(refuse[:16] + b"\0" * 8 + refuse[24:28] + struct.pack(">I", crc32c(refuse[:16] + b"\0" * 8 +
                                                                                           refuse[24:28] + refuse[32:])) +
                            refuse[32:]))
    return pcap(frames)


# ---- SoftPCIe ------------------------------------------------------------------------------------------------------------------

def softpcie():
    frames, count = [], 0

    def send(port, tlp, to_adapter, **how):
        nonlocal count
        count += 1
        a, b = (3, 1) if to_adapter else (1, 3)
        frames.append(udp((a, port), (b, port), struct.pack(">HI", count, 156 * count) + tlp, **how))
    send(0x3005, memory(0x00, 0x0100, 5, 0x100000, 512), True)
    send(0x3005, cpl(0x0000, 0x0100, 5, 512, 0, pattern(256)), False)
    send(0x3005, cpl(0x0000, 0x0100, 5, 256, 0, pattern(256, 1)), False)
    send(0x3007, memory(0x40, 0x0100, 7, 0x200000000, 64, pattern(64)), True, vlan=100)
    send(0x4003, memory(0x00, 0x0000, 0x13, 0xe0000010, 4), False)
    send(0x4003, cpl(0x0100, 0x0000, 0x13, 4, 0x10, pattern(4)), True)
    send(0x4000, memory(0x40, 0x0000, 0x20, 0xe0000020, 4, pattern(4)), False, v6=True)
    send(0x3001, memory(0x40, 0x0100, 1, 0x300000, 64, pattern(64))[:-8], True)
    frames.append(udp((3, 0x5001), (1, 0x5001), bytes.fromhex("3c0100000000")))
    frames.append(udp((1, 0x5001), (3, 0x5001), bytes.fromhex("3c0180220000") + b"\0" * 12))
    frames.append(udp((3, 0x5002), (1, 0x5002), bytes.fromhex("100000000000")))
    frames.append(udp((3, 50000), (1, 0x2fff), struct.pack("<I", 2)))
    frames.append(udp((1, 0x2fff), (3, 50000), struct.pack("<H", 0x0100)))
    frames.append(udp((3, 5353), (1, 5353), b"something else"))
    return pcap(frames)


def main():
    folder = pathlib.Path(sys.argv[1])
    corpus = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else \
        pathlib.Path(__file__).resolve().parent.parent.parent / "tests/fuzz/tlp/corpus-tlp"
    for name, data in (("tlps.pcapng", tlps(corpus)), ("link.pcap", link()), ("softpcie.pcap", softpcie())):
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
