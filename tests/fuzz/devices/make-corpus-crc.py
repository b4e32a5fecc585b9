#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes corpus-crc/: scripts for fuzz-crc.c that reach each of its ways, as starting points."""
import os
import struct

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'corpus-crc')
ADDRESS, LENGTH, GO, RESULT, STATUS = 1, 4, 6, 9, 10  # places in the fuzzer's table of offsets
FOUR, EIGHT = 0x80, 0xc0


def step(op, how=0, value=0):
    return struct.pack('<BBQ', op, how, value)


def write(register, value, size=FOUR):
    return step(9 | size, register, value)


def read(register, size=FOUR):
    return step(6 | size, register)


def start(address, length, long=False):
    return step(8, 2 if long else 0, address | length << 16)


def answers(how):
    return step(1, how)


def reset(session=False):
    return step(0, 1 if session else 0)


def command(value):
    return step(4, 0, value)


RUN, ANSWER, MSI = step(3), step(2), step(5)
NEVER, REFUSED, POISONED = answers(3), answers(4), answers(6)
LATE = NEVER + start(16, 5000, True) + RUN

SCRIPTS = {
    'usual': MSI + start(0, 9) + RUN + read(RESULT) + read(STATUS) + start(100, 9000, True) + RUN + read(RESULT, EIGHT),
    'by-hand': write(ADDRESS, 0x1000003, EIGHT) + write(LENGTH, 9) + write(GO, 1) + RUN + read(STATUS),
    'too-long': write(ADDRESS, 0x1000000, EIGHT) + write(LENGTH, 10001) + write(GO, 1) + write(LENGTH, 0xffffffff) + write(GO, 1) + RUN,
    'nowhere': write(ADDRESS, 1 << 63, EIGHT) + write(LENGTH, 64) + write(GO, 1) + RUN + read(STATUS) + REFUSED + start(0, 8) + RUN,
    'wraps': write(ADDRESS, 2**64 - 5, EIGHT) + write(LENGTH, 9) + write(GO, 1) + RUN + read(STATUS),
    'poisoned': POISONED + start(0, 200) + RUN + read(STATUS),
    'waits': LATE + read(STATUS) + write(ADDRESS, 7) + start(0, 3) + RUN + ANSWER + RUN + read(RESULT),
    'reset': LATE + read(STATUS) + reset() + start(0, 3) + RUN + ANSWER + RUN,
    'session': LATE + read(STATUS) + start(0, 3) + reset(True) + read(STATUS) + RUN + ANSWER + start(0, 3) + RUN,
    'master-off': MSI + LATE + command(2) + RUN + read(STATUS) + RUN + command(6) + start(0, 99) + RUN,
    'queue': LATE + b''.join(start(i, i) for i in range(40)) + reset() + RUN + b''.join(start(i, i) for i in range(40)) + RUN,
}

os.makedirs(OUT, exist_ok=True)
for name, script in SCRIPTS.items():
    with open(os.path.join(OUT, name), 'wb') as file:
        file.write(script)
