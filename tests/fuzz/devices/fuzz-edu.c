/* SPDX-License-Identifier: Apache-2.0 */
/* The edu device: its DMA is what its registers say, within its mask, and of its buffer's size at most. */
#include "devices/models.h"
#include "fuzz_function.h"

enum { DMA_SRC = 0x80, DMA_DST = 0x88, DMA_COUNT = 0x90, DMA_CMD = 0x98, BUFFER = 0x40000, BUFFER_SIZE = 4096 };
#define MASK 0xfffffffull

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void start(const struct fuzz_function *f, struct scripted_root *r, uint64_t value, uint8_t how)
{
	fuzz_write(f, r, DMA_COUNT, value & 0xfff, 8);
	fuzz_write(f, r, DMA_CMD, 1 | (how & 6), 4);
}

/* The registers keep their values as long as DMA runs. */
static bool may_touch(struct scripted_root *r, uint64_t addr, uint32_t len, bool write)
{
	uint64_t count = scripted_root_read(r, 0, DMA_COUNT, 8);
	bool to_guest = scripted_root_read(r, 0, DMA_CMD, 8) & 2;
	uint64_t at = scripted_root_read(r, 0, to_guest ? DMA_DST : DMA_SRC, 8) & MASK;

	return write == to_guest && count <= BUFFER_SIZE && addr >= at && addr - at <= count && len <= count - (addr - at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct fuzz_function f = {
		.model = fb_model_find(fb_models, "edu"),
		.options = "id=f",
		.offsets = {0, 4, 8, 0x20, 0x24, 0x60, 0x64, 0x80, 0x88, 0x90, 0x98, 0x9c, 0x84, 0x0c, 0xa0, 0x7e},
		.near = BUFFER,
		.start = start,
		.may_touch = may_touch,
	};

	fuzz_function(&f, data, size);
	return 0;
}
