#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes corpus-nvme/: scripts for fuzz-nvme.c that reach each kind of command, as starting points."""
import os
import struct

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'corpus-nvme')


def enable(n=31):
    return bytes([3, n])


def pair(q=0, n=30):
    return bytes([4, q, n])


def rounds(n=7):
    return bytes([9, n])


def mem(addr, data):
    return bytes([2]) + struct.pack('<HB', addr >> 3, len(data)) + data


def cmd(q, opc, prp1=0x20000, prp2=0x21000, cdw10=0, cdw11=0, cdw12=0, top=0, flags=0, sgl=0, cid=1, nsid=1):
    body = bytes([5, q, opc, flags, cid, nsid]) + struct.pack('<HH', prp1 >> 4, prp2 >> 4)
    if flags:
        body += bytes([sgl])
    return body + struct.pack('<IBBB', cdw10, cdw11, cdw12, top)


def reg(offset, value):
    return bytes([0]) + struct.pack('<HI', offset, value)


def good(kind, a=0, b=0, q=0, off=0, split=0, sgl=None):
    """A command whose data is granted: kinds as in good_command(); sgl: which one is a bit bucket, then pieces."""
    head = bytes([16, kind | q << 3 | (0x80 if sgl else 0), a, b])
    if sgl:
        return head + bytes([len(sgl) - 1, sgl[0]]) + b''.join(struct.pack('<H', n) for n in sgl[1:])
    return head + bytes([off, split])


CONSUME = bytes([10])
START = enable() + rounds() + pair() + pair(1)
LIST = mem(0x22000, b''.join(struct.pack('<Q', 0x24000 + 4096 * i) for i in range(8)))


def sgl(*d):
    return b''.join(struct.pack('<QIBBBB', a, n, 0, 0, 0, t) for t, a, n in d)


corpus = {
    'granted': START + b''.join(good(k, a=a, b=8 * k, off=o, split=s) for k in (0, 1, 2) for a, o, s in
                                ((0, 0, 0), (0, 63, 0), (7, 0, 0), (8, 4, 1), (31, 0, 0), (24, 9, 0), (31, 1, 1), (31, 1, 2))) +
               rounds() * 4 + CONSUME,
    'granted-sgl': START + b''.join(good(k, a=15, b=8, sgl=(1, 700, 3000, 1)) + good(k, a=7, sgl=(9, 4096))
                                    for k in (0, 1, 2)) + rounds() * 4 + CONSUME,
    'granted-admin': START + b''.join(good(4, a=c, off=c) + rounds() for c in (0, 1, 2, 3, 6, 16, 17, 18, 19)) + CONSUME +
                     b''.join(good(5, a=p, b=200, off=60) + rounds() for p in (1, 2, 3, 4, 5)) + CONSUME +
                     b''.join(good(k, a=i, b=i + 1) + rounds() for k in (7, 6) for i in (0, 1)) + good(3, a=20, b=4) + rounds(),
    'granted-features': START + b''.join(good(7, a=i, b=b) + rounds(2) + good(6, a=i | 8 * sel) + rounds(2)
                                         for i in range(8) for b, sel in ((1, 0), (0, 1), (255, 2), (3, 3))) + CONSUME,
    'warm': START + cmd(0, 12) + good(7, a=7, b=255) + good(7, a=2, b=1) + rounds() + CONSUME + good(7, a=2, b=255) + cmd(0, 12) + rounds(),
    'coalesced': START + good(7, a=5, b=9) + good(7, a=6, b=1) + rounds() +
                 b''.join(good(1, a=0, b=i) + rounds(2) + bytes([12, 1]) + rounds(1) for i in range(12)) + rounds() + CONSUME,
    'cache-off': START + good(0, a=7) + rounds() + good(7, a=3, b=0) + rounds() + good(0, a=7) + rounds() + good(7, a=3, b=1) + rounds(),
    'granted-reset': START + b''.join(good(i % 3, a=31, b=i, off=1, split=i % 3) for i in range(20)) + rounds(2) + bytes([11, 1]) +
                     rounds() + START + b''.join(good(i % 3, a=31, b=i) for i in range(9)) + rounds(1) + bytes([14, 0]) + rounds(),
    'identify': START + b''.join(cmd(0, 6, cdw10=c) + rounds() for c in (0, 1, 2, 3, 6, 0x10, 0x11, 0x12, 0x13)) + CONSUME,
    'logs': START + b''.join(cmd(0, 2, cdw10=0x7f0000 | p) + rounds() for p in (1, 2, 3, 4, 5, 9)) + CONSUME,
    'features': START + b''.join(cmd(0, 9, cdw10=f, cdw11=3) + cmd(0, 10, cdw10=f) + rounds() for f in range(1, 16)) + CONSUME,
    'queues': enable() + rounds() + cmd(0, 5, prp1=0x5000, cdw10=0xf0001, cdw11=3) +
              cmd(0, 1, prp1=0x6000, cdw10=0xf0001, cdw11=1) + rounds() + cmd(0, 0, cdw10=1) + cmd(0, 4, cdw10=1) + rounds(),
    'shadow': START + cmd(0, 0x7c, prp1=0x20000, prp2=0x20008) + cmd(0, 0x7c, prp1=0x30000, prp2=0x31000) + rounds() +
              b''.join(cmd(1, 2, cdw12=0, cid=i) for i in range(30)) + rounds() + mem(0x30008, struct.pack('<II', 0, 20)) +
              b''.join(cmd(1, 2, cdw12=0, cid=i) for i in range(30)) + rounds() + mem(0x30008, struct.pack('<II', 9, 99)) +
              CONSUME + b''.join(cmd(1, 2, cdw12=0, cid=i) for i in range(30)) + rounds() +
              cmd(0, 0x7c, prp1=0x20000, prp2=0x21000) + rounds() + CONSUME + rounds(),
    'read-write': START + b''.join(cmd(1, o, cdw10=8 * i, cdw12=7 + i, cid=i) for i, o in enumerate((1, 2, 2, 1, 2, 5))) +
                  rounds() + rounds() + CONSUME,
    'prp-list': START + LIST + cmd(1, 2, prp2=0x22000, cdw12=31) + cmd(1, 1, prp2=0x22000, cdw12=31) + rounds() + rounds(),
    'sgl': START + mem(0x22000, sgl((0, 0x24000, 512), (1 << 4, 0, 512), (3 << 4, 0x23000, 32))) +
           mem(0x23000, sgl((0, 0x25003, 100), (0, 0x26000, 9999))) +
           cmd(1, 2, prp1=0x22000, prp2=48, flags=0x40, sgl=0x20, cdw12=7) + rounds() + rounds(),
    'erase': START + mem(0x20000, struct.pack('<IIQIIQ', 0, 8, 0, 0, 16, 64)) + cmd(1, 9, cdw10=1, cdw11=4) +
             cmd(1, 8, cdw12=15, top=2) + cmd(1, 0x0c, cdw12=63) + cmd(1, 0) + rounds() + rounds(),
    'format': START + cmd(1, 2, cdw12=7) + cmd(0, 0x80, cdw10=1) + cmd(1, 2, cdw12=1) + rounds() + rounds() + CONSUME,
    'events': START + cmd(0, 12) + cmd(0, 12, cid=2) + reg(0x1008, 99) + rounds() + cmd(0, 8, cdw10=2 << 16) + rounds() +
              bytes([15, 0x80]) + bytes([12, 255]) + rounds(),
    'reset': START + b''.join(cmd(1, 1 + i % 2, cdw12=31, prp2=0x22000, cid=i) for i in range(9)) + rounds(2) +
             bytes([11, 1]) + enable() + rounds() + pair() + cmd(1, 2, cdw12=7) + rounds(3) + reg(0x14, 0) + rounds(),
    'shutdown': START + cmd(1, 1, cdw12=7) + rounds() + reg(0x14, 0x464001) + rounds() + reg(0x20, 0x4e564d65) + rounds(),
    'faults': START + LIST + bytes([13, 3]) + cmd(1, 2, prp2=0x22000, cdw12=31) + rounds() + bytes([13, 4]) +
              cmd(1, 1, cdw12=7) + rounds() + bytes([14, 0x33]) + cmd(1, 1, cdw12=7) + rounds() + bytes([14, 0]) + rounds(),
    'truncated': START + bytes([15, 1]) + cmd(1, 2, cdw10=100, cdw12=7) + rounds() + cmd(1, 0x0c, cdw12=127) + rounds(),
}

os.makedirs(OUT, exist_ok=True)
for name, data in corpus.items():
    with open(os.path.join(OUT, name), 'wb') as f:
        f.write(data)
