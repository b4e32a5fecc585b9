# SPDX-License-Identifier: Apache-2.0
"""Peers of another protocol version, and strangers, played by a few lines of Python that were written from
docs/protocol.md alone and share nothing with src/link."""

import os
import re
import socket
import struct

from farbus_vm import check

HELLO, WELCOME, REFUSE, DATA, CLOSE, LIST, LISTING = range(1, 8)
VERSION, NO_FUNCTION = 3, 4
HEADER = struct.Struct(">HBBBBHQQII")


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def datagram(kind, fields, session=0, sender=0, size=0, payload=b""):
    head = HEADER.pack(0x4642, 1, kind, 0, 0, HEADER.size + len(fields), session, sender, 7, 0)
    body = (fields + payload).ljust(size - HEADER.size, b"\0")
    return head[:28] + struct.pack(">I", crc32c(head[:28] + body)) + body


def parse(data):
    """(kind, session, sender, fields), the checksum verified."""
    magic, layout, kind, _, _, hlen, session, sender, _, crc = HEADER.unpack_from(data)
    check((magic, layout) == (0x4642, 1), f"not of this protocol: {data[:8].hex()}")
    check(crc == crc32c(data[:28] + data[32:]), "bad checksum")
    return kind, session, sender, data[HEADER.size:hlen]


def hello(version, function, sender):
    fields = struct.pack(">HHHHII16sQQIIIII32s", version, version, 1, 0, 0, 30000, b"stranger", 1, 4096, 0, 1 << 20,
                         1 << 20, 64, 1232, function.encode())
    return datagram(HELLO, fields, sender=sender, size=1232)


def listing(request, version):
    nonce, first = struct.unpack_from(">II", request)
    entry = struct.pack(">32s16s16sHHIII", b"ssd0", b"nvme", b"", 0xFAB5, 1, 0x010802, 0, 0)
    return datagram(LISTING, struct.pack(">IIHHIHHIQ16s", nonce, first, version, version, 1, 1, len(entry), 0, 1,
                                         b"another box"), payload=entry)


def udp():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(5)
    return sock


def test_stranger_at_a_box(t):
    """Bad input: a peer with another protocol version is refused in a word, and nothing else changes."""
    box = t.box(None, f"nvme,id=ssd0,file={t.disk('16M')}", listen="udp:127.0.0.1:0")
    port = int(box.process.wait_log(r"listening on udp:127\.0\.0\.1:(\d+)")[1])
    stranger = udp()
    stranger.connect(("127.0.0.1", port))
    for version, function, expected in ((99, "ssd0", VERSION), (1, "nothing", NO_FUNCTION)):
        request = hello(version, function, 0x1122334455667788)
        stranger.send(request)
        answer = stranger.recv(65535)
        kind, session, _, fields = parse(answer)
        lowest, highest, reason = struct.unpack_from(">HHH", fields)
        check(kind == REFUSE and session == 0x1122334455667788, f"answered with kind {kind}")
        check(reason == expected, f"refused for reason {reason}, not {expected}")
        check((lowest, highest) == (1, 1), f"speaks versions {lowest} to {highest}")
        check(len(answer) <= len(request), "the answer is larger than the question")
    check("no protocol version in common" in box.process.text(), "the box says nothing of the version")
    for size in (0, 1, 31, 32, 500, 1400):
        stranger.send(os.urandom(size))
    stranger.send(datagram(DATA, bytes(32), session=5, sender=6))
    check(parse(stranger.recv(65535))[0] == CLOSE, "data of an unknown session is not answered with CLOSE")
    root = t.root(None, connect=f"udp:127.0.0.1:{port}")
    root.wait_state("ssd0", "ready", 20)


def test_root_meets_another_version(t):
    """Bad input: a box of another protocol version is one clear line in the root's log, until it is replaced."""
    strange = udp()
    port = strange.getsockname()[1]
    root = t.root(None, connect=f"udp:127.0.0.1:{port}", args=["--scan", "500ms"])
    for _ in range(4):
        request, peer = strange.recvfrom(65535)
        kind, _, _, fields = parse(request)
        check(kind == LIST, f"the root begins with kind {kind}")
        strange.sendto(listing(fields, 99), peer)
    lines = re.findall(".*version.*", root.process.text())
    check(len(lines) == 1, f"not one line on the version: {lines}")
    strange.close()
    t.box(None, f"nvme,id=ssd0,file={t.disk('16M')}", listen=f"udp:127.0.0.1:{port}")
    root.wait_state("ssd0", "ready", 20)
