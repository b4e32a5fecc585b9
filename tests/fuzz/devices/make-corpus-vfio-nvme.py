#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes corpus-vfio-nvme/: scripts for fuzz-vfio-nvme.c that reach each way of a command, as starting points."""
import pathlib
import struct

OUT = pathlib.Path(__file__).resolve().parent / "corpus-vfio-nvme"
ENABLE, RESET, HANG_UP, ANSWER = bytes([1]), bytes([8]), bytes([9]), bytes([10])


def entry(q, i, opc, prp1=0x20000, prp2=0x21000, nsid=1, cdw10=0, cdw11=0, cdw12=0, flags=0, cid=7):
    body = struct.pack("<BBHIQQQQIII", opc, flags, cid, nsid, 0, 0, prp1, prp2, cdw10, cdw11, cdw12)
    return bytes([2, q, i, len(body)]) + body


def bell(q, value, cq=False):
    return bytes([0, 32 + 2 * q + cq]) + struct.pack("<I", value)


def done(q, slot, status=0, dw0=0):
    return struct.pack("<BBBHB", 4, q, slot, status, dw0)


def pool(at, data):
    return struct.pack("<BIB", 5, at, len(data)) + data


def command(register):
    return struct.pack("<BH", 7, register)


def memory(how):
    return bytes([6, how])


# The answer to Identify Namespace is in the buffer of the slot: LBA format 0 of 512 bytes, 1,000 blocks. Slots come in
# turn, and the buffers end the pool; the fuzzer's pool is 16 MiB with as many slots as fit behind 65 rings of 80 KiB.
SLOTS = (16 * 2**20 - 65 * 80 * 1024) // (256 * 1024 + 512)


def buffer(slot):
    return 16 * 2**20 - (SLOTS - slot) * 256 * 1024


def admin(i, *words, slot=None, **kw):
    return entry(0, i, *words, **kw) + bell(0, i + 1) + done(0, i if slot is None else slot) + bell(0, i + 1, True)


IDENTIFY_NS = (entry(0, 0, 0x06, cdw10=0) + bell(0, 1) + pool(buffer(0), struct.pack("<Q", 1000)) +
               pool(buffer(0) + 128, struct.pack("<I", 9 << 16)) + done(0, 0) + bell(0, 1, True))
QUEUES = (admin(1, 0x05, prp1=0x6000, cdw10=15 << 16 | 1, cdw11=3) +
          admin(2, 0x01, prp1=0x2000, cdw10=15 << 16 | 1, cdw11=1 << 16 | 1))
START = ENABLE + IDENTIFY_NS + QUEUES
LIST = bytes([3, 0x22000 // 1024, 63])
READS = b"".join(entry(1, i, 0x02, cdw12=i) for i in range(8)) + bell(1, 8)

SCRIPTS = {
    "identify": ENABLE + admin(0, 0x06, cdw10=1) + admin(1, 0x06, cdw10=2),
    "read": START + READS + b"".join(done(1, 16 + i) for i in range(8)) + bell(1, 8, True),
    "write": START + entry(1, 0, 0x01, cdw12=7) + bell(1, 1) + done(1, 16) + bell(1, 1, True),
    "list": START + LIST + entry(1, 0, 0x01, prp2=0x22000, cdw12=511) + entry(1, 1, 0x02, prp2=0x22000, cdw12=511) +
            bell(1, 2) + done(1, 16) + done(1, 17),
    "list-past-its-page": START + LIST + entry(1, 0, 0x01, prp2=0x22000 + 4096 - 16, cdw12=511) + bell(1, 1) + done(1, 16),
    "errors": START + READS + done(1, 16, 0x2280) + done(1, 17, 0x4002) + done(1, 18, 7),
    "stranger": START + READS + done(1, 40),
    "twice": START + READS + done(1, 16) + done(1, 16),
    "scribble": START + READS + pool(0x14000 + 1024 * 64, bytes(range(200))),
    "no-memory": START + memory(2) + READS + memory(0) + RESET + ENABLE,
    "late": START + memory(1) + READS + ENABLE + ANSWER + RESET + ANSWER,
    "reset": START + READS + RESET + ENABLE + IDENTIFY_NS,
    "hang-up": START + READS + HANG_UP + bell(1, 3),
    "delete": START + READS + entry(0, 3, 0x00, cdw10=1) + bell(0, 4) + done(0, 3) + entry(0, 4, 0x04, cdw10=1) + bell(0, 5) +
              done(0, 4),
    "abort": START + READS + entry(0, 3, 0x08, cdw10=7 << 16 | 1) + bell(0, 4) + done(0, 3, dw0=1),
    "events": ENABLE + b"".join(entry(0, i, 0x0c) for i in range(6)) + bell(0, 6) + done(0, 2, dw0=2),
    "features": ENABLE + admin(0, 0x0a, cdw10=7) + admin(1, 0x09, cdw10=0x0d) + admin(2, 0x0a, cdw10=0x0e) + admin(3, 0x09, cdw10=0x16),
    "refused": START + entry(1, 0, 0x55) + entry(1, 1, 0x02, flags=0x40) + entry(1, 2, 0x02, nsid=9) + bell(1, 3) +
               entry(0, 3, 0x7c) + entry(0, 4, 0xc0) + bell(0, 5),
    "bus-master": START + command(2) + READS + command(6) + bell(1, 8),
    "bad-doorbells": START + bell(1, 0xffff) + bell(3, 1) + bell(1, 9, True),
    "pool-wraps": ENABLE + b"".join(admin(i % 15, 0x06, cdw10=1, slot=i % 16) for i in range(15)),
}

OUT.mkdir(exist_ok=True)
for name, script in SCRIPTS.items():
    (OUT / name).write_bytes(script)
