#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes corpus-softpcie-adapter/: scripts for fuzz-softpcie-adapter.c that reach each of its ways, as starting points."""
import os
import struct

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'corpus-softpcie-adapter')
ENGINE, OLD, BAR0, CONFIG, ALLOW, SMALL, FAST = (1 << i for i in range(7))


def access(write, offset, how=0x10):
    return bytes([2 if write else 0, how]) + struct.pack('<H', offset)


def read(tag, base=0, at=0, length=4, long=False, peer=0):
    return bytes([3, tag | peer << 4 | (0x80 if long else 0), base, at, length, 0])


def write(tag, base=0, at=0, length=4, be=0x5a, long=False):
    return bytes([5, tag | (0x80 if long else 0), base, at, length, be])


def raw(port, data):
    return bytes([6, port, len(data)]) + data


def config_write(reg, value, be):
    return raw(0xc1, struct.pack('>HI', 1 << 14 | be << 10 | reg // 4, value))


RUN, REST = bytes([15, 0]), bytes([15, 1])
READS = b''.join(access(False, 8 * i, 0x18) for i in range(20))
DMA = b''.join(read(i, 0, 16 * i, 200, True, i & 1) for i in range(8))


def answer(how):
    return bytes([9, how])


MRD = bytes(6) + struct.pack('>BBHHBBI', 0, 0, 16, 0x0700, 2, 0xff, 0x1000000)
SCRIPTS = {
    'guest': (0, access(False, 0) + RUN + answer(0) + access(True, 4) + access(False, 0x40, 1) + RUN),
    'guest-wide': (0, access(False, 0, 0xfc) + answer(0) + access(True, 0, 0xfc) + RUN),
    'guest-many': (0, READS + answer(0) + answer(0) + RUN),
    'guest-wrong': (0, b''.join(access(False, 8 * i) + answer(i) for i in range(8)) + answer(0x80)),
    'guest-late': (FAST, READS + RUN + REST + REST + answer(0) + access(False, 0) + REST),
    'engine': (ENGINE, access(True, 8, 0x18) + access(False, 8, 0x18) + access(True, 0xfff8, 0x1a) + bytes([12, 0])),
    'old-ports': (OLD | BAR0, access(False, 0) + answer(0) + access(True, 0) + read(3, length=1) + RUN),
    'reads': (0, DMA + RUN + bytes([10, 2]) + DMA + RUN + read(1, 2, 80, 8) + read(2, 6, 0, 4) + RUN),
    'reads-small': (SMALL, DMA + RUN),
    'reads-fail': (0, bytes([10, 4]) + DMA + RUN + bytes([10, 5]) + DMA + RUN + bytes([10, 6]) + DMA + RUN),
    'writes': (0, write(0, 0, 3, 7) + write(0, 0, 0, 0, 0x5a) + write(0x40, 0, 0, 0, 0xa5) + write(0, 0, 0, 255, 1, True) + RUN),
    'allowed': (ALLOW, read(0, 1, 0, 8) + read(1, 1, 60, 8) + write(0, 1, 60, 8) + bytes([14, 0]) + write(0, 3, 0, 4) + RUN),
    'interrupts': (0, bytes([14, 1]) + write(0, 3, 0, 4, 3) + bytes([14, 0]) + write(0, 3, 0, 4, 0) + RUN),
    'reset': (0, bytes([10, 3]) + DMA + READS + RUN + bytes([12, 0]) + answer(0) + RUN + DMA + RUN + bytes([12, 1]) + RUN),
    'mastering': (0, bytes([10, 3]) + DMA + RUN + bytes([13, 2]) + RUN + DMA + RUN + bytes([13, 6]) + DMA + RUN),
    'services': (0, b''.join(raw(0xc0, struct.pack('<I', i)) for i in range(5)) + raw(0xc1, bytes([0, 2, 0, 0, 0, 0])) +
                 raw(0xc2, bytes([0x10, 0, 0, 0, 0, 0])) + raw(0xc3, bytes(6)) + RUN),
    'config': (CONFIG, bytes([10, 3]) + DMA + READS + RUN + config_write(4, 0, 1) + RUN + config_write(4, 6, 1) + DMA +
               b''.join(config_write(reg, 0x8000, 2) for reg in range(0x40, 0x100, 4)) + DMA + READS + RUN +
               b''.join(config_write(reg, 3, 1) for reg in range(0x40, 0x100, 4)) + DMA + RUN),
    'raw': (0, raw(2, MRD) + raw(3, MRD) + raw(2, MRD[:10]) + raw(0x80, MRD) + bytes([8, 2, 2, len(MRD)]) + MRD + RUN +
            raw(1, bytes(200)) + raw(1, b'\xff' * 60) + RUN),
}

os.makedirs(OUT, exist_ok=True)
for name, (shape, script) in SCRIPTS.items():
    with open(os.path.join(OUT, name), 'wb') as file:
        file.write(bytes([shape]) + script)
