/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device model whose only purpose is to be looked at: registers that are
 * plain memory, a record of every access, and knobs for the test.
 *
 *	BAR 0  32-bit memory, 4 KiB, accesses of 4 bytes only (the default)
 *	BAR 2  64-bit memory, prefetchable, 64 KiB, accesses of 1 to 8 bytes; MSI-X (70 vectors) at 0x8000
 *	BAR 4  I/O, 16 bytes, accesses of 1 to 4 bytes
 */
#ifndef FARBUS_TESTS_PROBE_H
#define FARBUS_TESTS_PROBE_H

#include "farbus/device.h"

enum { PROBE_BAR2_SIZE = 0x10000, PROBE_MSIX = 0x8000, PROBE_VECTORS = 70, PROBE_ACCESSES = 4096, PROBE_LATE = 64 };

struct probe_access {
	bool write;
	uint8_t bar, size;
	uint64_t offset, value;
};

struct probe {
	/* options */
	const char *text;
	uint32_t count, mode;
	uint64_t size, big;
	uint64_t wait, pause;
	bool fast, refuse;
	uint32_t msi, msix; /* vectors, instead of the model's */

	uint8_t bar0[4096], bar2[PROBE_BAR2_SIZE], bar4[16];
	struct probe_access access[PROBE_ACCESSES]; /* the first ones */
	unsigned n_access;
	unsigned resets, dones;
	enum fb_reset last_reset;
	int last_status;
	bool defer; /* accesses end when the test ends them */
	struct fb_access *late[PROBE_LATE];
	unsigned n_late;
	bool busy;                               /* quiesce() says: not yet */
	void (*on_write)(struct fb_device *dev, uint64_t offset, uint64_t value); /* BAR 0 */
	void (*on_reset)(struct fb_device *dev);
	void (*on_read)(struct fb_device *dev, uint64_t offset); /* BAR 0, behind the read; and an outdated one */
	unsigned n_written, written_at, written_len; /* config_written(): how often, and the last one */
	unsigned n_outdated, outdated_bar;           /* read_outdated(): the same */
	uint64_t outdated_at;
};

extern const struct fb_model probe_model;
extern struct fb_device *probe_made; /* the last one that was made */

#endif
