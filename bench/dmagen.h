/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dmagen: a device that does nothing but DMA, as told by its registers, and
 * times itself. Registers in BAR0, 64 bits each:
 */
#ifndef FARBUS_BENCH_DMAGEN_H
#define FARBUS_BENCH_DMAGEN_H

enum dmagen_register {
	DMAGEN_SCRATCH = 0x00, /* RW: for measuring MMIO */
	DMAGEN_COUNT = 0x08,   /* RO: writes to SCRATCH since reset */
	DMAGEN_ADDR = 0x10,    /* RW: bus address of the window */
	DMAGEN_SPAN = 0x18,    /* RW: its size in bytes; operations walk through it and wrap */
	DMAGEN_SIZE = 0x20,    /* RW: bytes an operation, 1 .. 1 MiB */
	DMAGEN_DEPTH = 0x28,   /* RW: operations in flight, 1 .. 256 */
	DMAGEN_OPS = 0x30,     /* RW: operations to do */
	DMAGEN_START = 0x38,   /* WO: 0 writes to the host, 1 reads from it; vector 0 when all is done */
	DMAGEN_ELAPSED = 0x40, /* RO: ns from START until the last byte had arrived */
	DMAGEN_ERRORS = 0x48,  /* RO: operations that failed */
	DMAGEN_BUSY = 0x50,    /* RO */
};

#endif
