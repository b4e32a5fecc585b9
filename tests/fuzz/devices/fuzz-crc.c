/* SPDX-License-Identifier: Apache-2.0 */
/* The example, a device with a thread: it reads what it was told to, never more than its user allows, and writes nothing. */
#include "fuzz_function.h"

enum { ADDRESS = 0x08, LENGTH = 0x10, GO = 0x14, RESULT = 0x18, STATUS = 0x1c, LONGEST = 10000, RANGES = 256 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What it was told, in the order in which it will come to it: accesses wait while it reads memory. */
static struct range {
	uint64_t addr;
	uint32_t len;
} now, ranges[RANGES];
static unsigned n_ranges;

static void was_reset(void)
{
	now = (struct range){0};
	n_ranges = 0;
}

/* Writes of fewer bytes than its BAR takes do not reach it. */
static void wrote(uint64_t offset, uint64_t value, unsigned size)
{
	if (size < 4)
		return;
	if (offset == ADDRESS)
		now.addr = size == 8 ? value : (uint32_t)value;
	else if (offset == LENGTH)
		now.len = (uint32_t)value;
	else if (offset == GO && n_ranges < RANGES)
		ranges[n_ranges++] = now;
}

static void start(const struct fuzz_function *f, struct scripted_root *r, uint64_t value, uint8_t how)
{
	fuzz_write(f, r, ADDRESS, r->mem_base + (value & 0xffff), 8);
	fuzz_write(f, r, LENGTH, value >> 16 & (how & 2 ? 0x3fff : 0xff), 4);
	fuzz_write(f, r, GO, 1, 4);
}

static bool may_touch(struct scripted_root *r, uint64_t addr, uint32_t len, bool write)
{
	(void)r;
	for (unsigned i = 0; i < n_ranges && !write; i++) {
		const struct range *a = &ranges[i];

		/* Modulo 2^64: data that begins at the end of the address space ends at its begin. */
		if (a->len <= LONGEST && addr - a->addr <= a->len && len <= a->len - (addr - a->addr))
			return true;
	}
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct fuzz_function f = {
		.model = &farbus_model,
		.options = "id=f,longest=10000",
		.offsets = {0, ADDRESS, ADDRESS, ADDRESS + 4, LENGTH, LENGTH, GO, GO, GO, RESULT, STATUS, 0x20, 0x80, 0xff8, 0xffc, 0x30},
		.near = UINT64_MAX - 63,
		.start = start,
		.wrote = wrote,
		.was_reset = was_reset,
		.may_touch = may_touch,
	};

	fuzz_function(&f, data, size);
	return 0;
}
