#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes corpus-sil3132/: scripts for fuzz-sil3132.c that reach each kind of command, as starting points."""
import os
import struct

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'corpus-sil3132')
UP = bytes([3])


def rounds(n=7):
    return bytes([9, n])


def cmd(opcode, features=0, lba=0, count=1, slot=0, flags=0, sge=((0x88, 0x1000), (0, 0))):
    body = bytes([4, slot, flags, opcode, features, lba & 0xff])
    if opcode != 0xb0:
        body += bytes([lba >> 8])
    body += bytes([count])
    return body + b''.join(struct.pack('<BH', *e) for e in sge)


def good(kind, slot=0, count=8, table=0, pieces=(512, 512, 512), lba=0, port=0, page_end=False):
    """A command whose data is granted: kinds as in good_command()."""
    what = next(w for w in range(table << 4, 256) if w % 12 == kind)
    head = bytes([16, slot | port << 7 | (0x40 if page_end else 0), what, count - 1])
    return head + (b'' if kind == 10 else bytes([lba])) + b''.join(struct.pack('<H', n) for n in pieces)


def mem(addr, data):
    return bytes([2]) + struct.pack('<HB', addr >> 3, len(data)) + data


def port(which, value):
    return bytes([0, which]) + struct.pack('<I', value)


TABLE = mem(0x8000, b''.join(struct.pack('<QII', 0x20000 + 700 * i, 300, 0) for i in range(3)) +
            struct.pack('<QII', 0x8040, 0, 1 << 30)) + \
        mem(0x8040, b''.join(struct.pack('<QII', 0x24000 + 5000 * i, 3000, (1 << 31) if i == 3 else 0) for i in range(4)))
TORN, BACK, SHORT = bytes([15, 0]), bytes([15, 16]), bytes([15, 34])

corpus = {
    'granted': UP + b''.join(good(k, slot=k, count=c, lba=8 * k) + rounds() for k in range(12) for c in (1, 8, 40)) + rounds() * 3,
    'granted-tables': UP + b''.join(good(k, slot=t, count=40, table=t, pieces=p, page_end=bool(t & 1)) + rounds() for k in (0, 1, 4, 5)
                                    for t, p in enumerate(((0, 0, 0), (1, 1, 1), (20000, 0, 30), (511, 3, 9)) * 2)) + rounds() * 3,
    'granted-resets': UP + b''.join(good(i % 2, slot=i, count=40) for i in range(9)) + rounds(1) + bytes([11, 1]) + UP + rounds() +
                      b''.join(good(i % 2, slot=i, count=40) for i in range(9)) + port(0, 4) + rounds() + good(4, count=48) + rounds(2) +
                      port(0, 1) + rounds(),
    'data': UP + b''.join(cmd(o, count=8, lba=8 * i, slot=i) + rounds() for i, o in
                          enumerate((0xc8, 0xca, 0x25, 0x35, 0x20, 0x30, 0xc4, 0xc5, 0x40, 0x3d))) + rounds(),
    'queue': UP + b''.join(cmd(0x60 + i % 2, features=8, lba=8 * i, slot=i) for i in range(12)) + rounds() * 4,
    'lists': UP + TABLE + b''.join(cmd(o, features=16, count=16, slot=i, sge=((1, 0), (0, 0))) + rounds() * 2
                                   for i, o in enumerate((0x60, 0x61, 0x25, 0x35))),
    'other': UP + b''.join(cmd(o) + rounds() for o in (0xec, 0xe7, 0xea, 0xe0, 0xe1, 0xe5, 0xe6, 0x27, 0xf8, 0x90, 0xf4)),
    'smart': UP + b''.join(cmd(0xb0, f, lba=1) + rounds() for f in (0xd0, 0xd1, 0xd5, 0xd4, 0xda, 0xd9, 0xd8)) +
             bytes([12, 255]) + rounds() * 3,
    'logs': UP + b''.join(cmd(0xb0, 0xd5, lba=a) + rounds() for a in (0, 1, 6, 9, 0xe0, 7)) +
            b''.join(cmd(o, lba=a, count=c) + rounds() for o in (0x2f, 0x47) for a in (0, 4, 7, 0x10, 0x30, 0x11) for c in (1, 2)) +
            cmd(0xb0, 0xd4, lba=2) + rounds() + bytes([12, 255]) * 9 + rounds() + cmd(0xb0, 0xd5, lba=6) + cmd(0xb0, 0xd6, lba=0x80) +
            rounds() + cmd(0xb0, 0xd4, lba=1) + rounds() + cmd(0xb0, 0xd4, lba=0x7f) + cmd(0xb0, 0xd0) + rounds(),
    'registers': UP + b''.join(bytes([8]) + struct.pack('<H', p * 0x2000 + o) for p in (0, 1) for o in
                               (0x1000, 0x1008, 0x1010, 0x1020, 0x1024, 0x1800, 0x1804, 0x1c00, 0x1e04, 0x1f00, 0x1f04, 0x1f08, 0x1f0c)),
    'features': UP + b''.join(cmd(0xef, f, count=0x45) + rounds() for f in (2, 3, 0x82, 0x55, 0xaa, 0x10, 0x66)),
    'trim': UP + mem(0x11000, struct.pack('<QQ', 8 << 48 | 4, 16 << 48 | 100)) + cmd(6, 1, sge=((0x88, 512), (0, 0))) +
            rounds() * 2,
    'errors': UP + SHORT + b''.join(cmd(0x60, features=8, lba=500 - i, slot=i) for i in range(4)) + rounds() * 3 +
              cmd(0x2f, lba=0x10) + port(0, 4) + rounds() + cmd(0x2f, lba=0x10) + rounds() + cmd(0x60, features=8),
    'resets': UP + cmd(0x60, features=64) + port(0, 4) + cmd(0x61, features=64) + port(0, 2) + rounds() +
              cmd(0xc8, flags=2) + port(0, 1) + port(1, 1) + bytes([11, 1]) + UP + rounds() + bytes([11, 0]) + UP + rounds(),
    'hot-plug': UP + cmd(0x60, features=64) + TORN + rounds() + BACK + rounds() + port(0, 4) + cmd(0xec) + TORN + BACK +
                rounds() + port(0, 2),
    'bus': UP + bytes([13, 3]) + cmd(0xc8) + rounds() + bytes([13, 64]) + port(0, 4) + bytes([14, 0x10]) + cmd(0xca) +
           rounds() + bytes([14, 1]) + port(0, 4) + rounds() + cmd(0x35, count=8) + rounds(),
    'local': UP + b''.join(bytes([0, 128]) + struct.pack('<HI', 4 * i, v) for i, v in enumerate((0, 0, 0x00ec8027))) +
             port(6, 0) + rounds(),
}
os.makedirs(OUT, exist_ok=True)
for name, data in corpus.items():
    with open(os.path.join(OUT, name), 'wb') as f:
        f.write(data)
