/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole function on the real runtime, against a root that does anything: what fuzzers of small models have in common.
 * An input is steps of 10 bytes: registers of any size, bus mastering and MSI on and off, DMA that is answered, wrongly or
 * never, resets. Every register read has its answer, DMA touches what may_touch() says, nothing is left behind; that no
 * memory request comes from a function that may not be master is the scripted root's to see.
 */
#ifndef FARBUS_TESTS_FUZZ_FUNCTION_H
#define FARBUS_TESTS_FUZZ_FUNCTION_H

#include "scripted_root.h"

enum { FUZZ_MEMORY_BASE = 0x1000000, FUZZ_OFFSETS = 16 };

struct fuzz_function {
	const struct fb_model *model;
	const char *options;
	uint16_t offsets[FUZZ_OFFSETS]; /* in BAR 0: registers, and places without one */
	uint64_t near;                  /* an address worth coming near to, beside guest memory */
	/* A command that may well be right, by fuzz_write(). */
	void (*start)(const struct fuzz_function *f, struct scripted_root *r, uint64_t value, uint8_t how);
	/* The guest writes a register; the function is reset. For models whose registers cannot be read meanwhile; may be NULL. */
	void (*wrote)(uint64_t offset, uint64_t value, unsigned size);
	void (*was_reset)(void);
	bool (*may_touch)(struct scripted_root *r, uint64_t addr, uint32_t len, bool write);
};

void fuzz_write(const struct fuzz_function *f, struct scripted_root *r, uint64_t offset, uint64_t value, unsigned size);
void fuzz_function(const struct fuzz_function *f, const uint8_t *data, size_t size);

#endif
