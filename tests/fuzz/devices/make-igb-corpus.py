#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes corpus-igb/: scripts for fuzz-igb.c that reach each way of a packet, as starting points."""
import os
import struct

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'corpus-igb')

DEXT, DATA, CONTEXT, EOP, RS, TSE, VLE = 1 << 29, 3 << 20, 2 << 20, 1 << 24, 1 << 27, 1 << 31, 1 << 30
IXSM, TXSM = 1 << 8, 1 << 9
IPV4, TCP, SCTP = 1 << 10, 1 << 11, 2 << 11


def rounds(n=7):
    return bytes([9, n])


def setup(what):
    return bytes([3, what])


def reg(offset, value):
    return bytes([0]) + struct.pack('<HI', offset, value)


def mem(addr, data):
    return bytes([2]) + struct.pack('<HB', addr >> 3, len(data)) + data


def tx(q, addr, cmd, olinfo=0):
    return bytes([5, q]) + struct.pack('<HII', addr, cmd, olinfo)


def context(q, lens, tucmd, mss_l4len=0):
    return bytes([5, q]) + struct.pack('<HII', lens & 0xffff, tucmd | DEXT | CONTEXT, mss_l4len)


def rx(q, addr):
    return bytes([7, q]) + struct.pack('<H', addr)


def arrive(length, data=b''):
    return bytes([10]) + struct.pack('<HB', length, len(data)) + data


def burst(q, length, n):
    return bytes([17, 0x80 | q]) + struct.pack('<HB', length, n)


def slow(hold, taken):
    return bytes([16, hold, taken])


def ip_frame(proto, length):
    ip = struct.pack('>BBHHHBBH4s4s', 0x45, 0, length - 14, 7, 0, 64, proto, 0, b'\x0a\0\0\1', b'\x0a\0\0\2')
    l4 = struct.pack('>HHIIBBHHH', 1000, 2000, 1, 1, 0x50, 0x18, 100, 0, 0) if proto == 6 else \
        struct.pack('>HHHH', 1000, 2000, length - 34, 0)
    return b'\xff' * 6 + b'\x02\xfb\0\0\0\2' + b'\x08\0' + ip + l4


def ip6_frame(proto, length, extra=b''):
    l4 = struct.pack('>HHIIBBHHH', 1000, 2000, 1, 1, 0x50, 0x18, 100, 0, 0) if proto == 6 else \
        struct.pack('>HHHH', 1000, 2000, length - 54 - len(extra), 0)
    ip = struct.pack('>IHBB16s16s', 6 << 28, length - 54, extra[8] if extra else proto, 64, b'\xfe\x80' + b'\1' * 14, b'\xff\2' + b'\2' * 14)
    return b'\xff' * 6 + b'\x02\xfb\0\0\0\2' + b'\x86\xdd' + ip + extra[:8] + l4


def vlan_frame(tag, frame):
    return frame[:12] + struct.pack('>HH', 0x8100, tag) + frame[12:]


def read(offset):
    return bytes([1]) + struct.pack('<H', offset)


def give(q, n):
    return b''.join(rx(q, 0x1000 * i) for i in range(n))


RECEIVE = setup(0x90) + give(0, 7)
HEAD = mem(0x20000, ip_frame(6, 3054))
FRAMES = arrive(60, ip_frame(17, 60)) + arrive(1500, ip_frame(6, 1500)) + arrive(9000, ip_frame(17, 9000))
VNET = bytes([1, 1, 54, 0, 0xa8, 5, 34, 0, 16, 0])

SCRIPTS = {
    'receive': RECEIVE + FRAMES + rounds(),
    'receive-legacy': setup(0x80) + give(0, 7) + FRAMES + rounds(),
    'receive-split': setup(0xa8) + give(0, 7) + FRAMES + rounds() + setup(0xb8) + give(0, 7) + FRAMES + rounds(),
    'receive-split-other': b''.join(setup(w) + give(0, 7) + arrive(600, b'\xff' * 12 + b'\x08\x06') + arrive(61) + rounds()
                                    for w in (0xa0, 0xa8, 0xb0, 0xb8)),
    'ipv6': RECEIVE + reg(0x5000, 0x3f00) + reg(0x5818, 0xffff0002) + b''.join(
        arrive(n, f) + rounds(2) + rx(0, 0x1000 * i) for i, (n, f) in enumerate((
            (200, ip6_frame(6, 200)), (300, ip6_frame(17, 300)), (90, ip6_frame(17, 90, struct.pack('>BBHI', 17, 0, 1, 7) + b'\x2c')),
            (90, ip6_frame(6, 90, struct.pack('>BBHI', 6, 0, 0, 0) + b'\0')), (70, ip6_frame(58, 70))))) + rounds(),
    'vlan': RECEIVE + reg(0, 1 << 30) + reg(0x5600, 0xff) + reg(0x100, 1 << 1 | 1 << 15 | 1 << 18 | 1 << 5) +
            b''.join(arrive(200, vlan_frame(t, ip_frame(17, 196))) + rounds() for t in (1, 7, 100, 0x2001)) + setup(4) +
            context(0, 7 << 16 | 14 << 9 | 20, IPV4) + tx(0, 0, 100 | DEXT | DATA | EOP | RS | VLE) + rounds(),
    'intx': bytes([13, 0x42]) + RECEIVE + reg(0xd0, 0xffffffff) + FRAMES + rounds() + read(0xc0) + FRAMES + rounds() + bytes([18, 0xc0, 0]) +
            reg(0xe0, 0xff) + reg(0xc8, 4) + rounds() + read(0xc0) + reg(0xd8, 0xff) + reg(0xd0, 4) + FRAMES + rounds() + read(0x1500),
    'batches': setup(0xd0) + give(0, 15) * 4 + reg(0x1514, 0x10) + reg(0x1700, 0x80) + reg(0x1524, 1) + reg(0x1528, 1) + reg(0x1530, 1) +
               b''.join(arrive(60, ip_frame(17, 60)) * 8 + rounds(3) for _ in range(9)) + bytes([12, 3]) + rounds() + read(0x1580),
    'nvm': b''.join(reg(0x14, a << 2 | 1) + read(0x14) for a in (0, 3, 0x3f, 0x3fff)) + reg(0x10, 0x40) + read(0x10) + read(0x5b50),
    'stamps': reg(0xb608, 0x01800000) + reg(0xb614, 0x10) + reg(0xb620, 0x10) + reg(0x5f50, 0x88f70000) + RECEIVE +
              arrive(100, b'\xff' * 12 + b'\x88\xf7\0\2') + rounds() + arrive(100, b'\xff' * 12 + b'\x88\xf7\0\2') + read(0xb618) +
              read(0xb61c) + read(0xb624) + read(0xb628) + read(0xb600) + read(0xb604) + reg(0xb600, 5) + reg(0xb60c, 9) + rounds(),
    'receive-held': setup(0x90) + FRAMES + rounds() + give(0, 3) + rounds() + reg(0x100, 0) + rounds(),
    'receive-drop': setup(0x98) + FRAMES + rounds() + give(0, 7),
    'rss': b''.join(setup(0x90 | q) + give(q, 5) for q in range(4)) + reg(0x5818, 0xffff0002) + reg(0x5c80, 0xda565a6d) +
           reg(0x5c00, 0x03020100) + FRAMES + rounds(),
    'msix': RECEIVE + reg(0x1514, 0x40000011) + reg(0x1700, 0x8281) + reg(0x1740, 0x8000) + reg(0x1524, 7) +
            reg(0x152c, 7) + reg(0x1530, 7) + reg(0x1684, 400) + FRAMES + rounds() + bytes([12, 1]) + rounds(),
    'transmit': setup(4) + tx(0, 0, 100 | DEXT | DATA | EOP | RS) + rounds() + tx(0, 0, 30 | DEXT | DATA) +
                tx(0, 0, 60 | DEXT | DATA | EOP | RS) + rounds(),
    'head-write-back': setup(0xcc) + setup(0xcd) + tx(0, 0, 100 | DEXT | DATA | EOP | RS) + burst(1, 700, 63) + rounds() +
                       burst(1, 700, 63) + rounds() + bytes([11, 1]) + setup(0xcc) + tx(0, 0, 100 | DEXT | DATA | EOP | RS) + rounds(),
    'transmit-legacy': setup(4) + tx(0, 0, 100 | 40 << 16 | EOP | RS | 1 << 26, 34 << 8) + rounds(),
    'checksums': HEAD + setup(4) + context(0, 14 << 9 | 20, IPV4 | TCP) +
                 tx(0, 0, 1000 | DEXT | DATA | EOP | RS | VLE, IXSM | TXSM) + context(0, 14 << 9 | 20, IPV4 | SCTP) +
                 tx(0, 0, 1000 | DEXT | DATA | EOP | RS, TXSM) + rounds(),
    'tso': HEAD + setup(4) + context(0, 14 << 9 | 20, IPV4 | TCP, 1000 << 16 | 20 << 8) +
           tx(0, 0, 3054 | DEXT | DATA | EOP | RS | TSE, IXSM | TXSM) + rounds(),
    'uso': HEAD + setup(4) + context(0, 14 << 9 | 20, IPV4, 500 << 16 | 8 << 8) +
           tx(0, 0, 3054 | DEXT | DATA | EOP | RS | TSE, IXSM | TXSM) + rounds(),
    'loopback': HEAD + RECEIVE + setup(4) + bytes([15, 0x41]) + context(0, 14 << 9 | 20, IPV4 | TCP, 200 << 16 | 20 << 8) +
                tx(0, 0, 3054 | DEXT | DATA | EOP | RS | TSE, IXSM | TXSM) + rounds() + give(0, 7) + rounds(),
    'resets': RECEIVE + setup(4) + tx(0, 0, 100 | DEXT | DATA | EOP | RS) + reg(0, 1 << 26) + rounds() + RECEIVE +
              bytes([11, 1]) + rounds(2),
    'faults': bytes([13, 3]) + RECEIVE + rounds() + bytes([13, 7]) + setup(4) + tx(0, 0xffff, 100 | DEXT | DATA | EOP | RS) +
              rounds() + bytes([14, 0x34]) + FRAMES + rounds(),
    'phy': reg(0x20, 0x08200000) + reg(0x20, 0x043f11b1) + reg(0x20, 0x08310000) + bytes([15, 0x80, 1, 0x20, 0]),
    'time': reg(0xb608, 0x01800000) + reg(0xb614, 0x10) + reg(0xb620, 0x1a) + bytes([1, 0x00, 0xb6]) + setup(4) +
            tx(0, 0, 100 | DEXT | DATA | EOP | 1 << 19),
    'memory-full': setup(0xc4) + setup(0xc5) + burst(0, 16320, 63) + burst(1, 16320, 63) + rounds() + slow(0, 20) + rounds(),
    'memory-full-odd': setup(0xc4) + setup(0xc5) + burst(0, 9000, 63) + burst(1, 15000, 63) + rounds() + slow(1, 9) +
                       rounds() + slow(0, 99) + rounds() + burst(0, 700, 63) + rounds(),
    'memory-full-looped': bytes([15, 0x41]) + setup(0xd0) + setup(0xc4) + give(0, 7) + burst(0, 9000, 63) + rounds() +
                          slow(1, 0) + rounds() + slow(0, 0) + give(0, 7) + rounds(),
    'loopback-two-wait': bytes([15, 0x41]) + setup(0xd0) + setup(0xc4) + setup(0xc5) + burst(0, 700, 3) + burst(1, 700, 3) + rounds(),
    'ring-nonsense': setup(0) + reg(0xc008, 0) + reg(0xc018, 5) + reg(0xe008, 0xfffff) + reg(0xe018, 0xffff) + rounds(),
}

os.makedirs(OUT, exist_ok=True)
for name, script in SCRIPTS.items():
    with open(os.path.join(OUT, name), 'wb') as file:
        file.write(b'\0' + script)
with open(os.path.join(OUT, 'vnet-gso'), 'wb') as file:
    file.write(b'\1' + RECEIVE + arrive(5000, VNET + ip_frame(6, 4990)) + rounds() + arrive(500, VNET[:1] + b'\0' + VNET[2:]
               + ip_frame(6, 490)) + rounds())
