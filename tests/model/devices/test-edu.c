/* SPDX-License-Identifier: Apache-2.0 */
/* The edu device as its specification says, and what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "devices/models.h"
#include "scripted_root.h"

static struct scripted_root *r;
static uint8_t *mem;

static int setup(void **state)
{
	const struct fb_model *edu = fb_model_find(fb_models, "edu");

	(void)state;
	assert_non_null(edu);
	r = scripted_root_new(edu, "id=e0", 1 << 16);
	r->mem_base = 0x1000000; /* within 28 bits */
	mem = r->mem;
	scripted_root_enumerate(r, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	scripted_root_free(r);
	return 0;
}

static uint32_t get(unsigned offset)
{
	return (uint32_t)scripted_root_read(r, 0, offset, 4);
}

static void set(unsigned offset, uint64_t value)
{
	scripted_root_write(r, 0, offset, value, offset < 0x80 ? 4 : 8);
}

static void dma(uint64_t src, uint64_t dst, uint64_t count, unsigned cmd)
{
	set(0x80, src);
	set(0x88, dst);
	set(0x90, count);
	set(0x98, cmd);
}

static void identity(void **state)
{
	(void)state;
	assert_int_equal(scripted_root_cfg_read(r, 0, 4), 0x11e81234);
	assert_int_equal(scripted_root_cfg_read(r, 8, 4), 0x00ff0010);
	assert_int_equal(scripted_root_cfg_read(r, 0x2c, 4), 0x11001af4);
	assert_int_equal(r->bar_size[0], 1 << 20);
	assert_int_equal(get(0), 0x010000ed);
	set(0, 0);
	assert_int_equal(get(0), 0x010000ed);
	set(4, 0x12345678);
	assert_int_equal(get(4), ~0x12345678u);
}

static void sizes_and_holes(void **state)
{
	(void)state;
	set(4, 0xff);
	scripted_root_write(r, 0, 0, 0x1111111122222222, 8); /* too wide below 80h */
	assert_int_equal(get(4), ~0xffu);
	assert_true(scripted_root_read(r, 0, 0, 8) == ~0ull);
	scripted_root_write(r, 0, 4, 0, 2); /* too narrow */
	assert_int_equal(get(4), ~0xffu);
	assert_int_equal(get(0x0c), 0xffffffff);
	assert_int_equal(get(0xa0), 0xffffffff);
	assert_int_equal(get(0xffffc), 0xffffffff);
	set(0x80, 0x1122334455667788);
	assert_true(scripted_root_read(r, 0, 0x80, 8) == 0x1122334455667788);
	assert_int_equal(get(0x80), 0x55667788);
	assert_int_equal(get(0x84), 0xffffffff); /* not the upper half */
	scripted_root_write(r, 0, 0x80, 5, 4);
	assert_true(scripted_root_read(r, 0, 0x80, 8) == 5);
}

static void factorials(void **state)
{
	static const uint32_t of[][2] = {{0, 1}, {1, 1}, {5, 120}, {12, 479001600}, {13, 1932053504}, {33, 1u << 31},
					 {34, 0}, {0xffffffff, 0}};

	(void)state;
	scripted_root_enable_msi(r, 1);
	for (unsigned i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
		set(8, of[i][0]);
		assert_int_equal(get(0x20), 1); /* computing */
		set(8, 3);                      /* ignored meanwhile */
		assert_int_equal(get(8), of[i][0]);
		scripted_root_run(r);
		assert_int_equal(get(0x20), 0);
		assert_int_equal(get(8), of[i][1]);
	}
	assert_int_equal(scripted_root_irqs(r, 0), 0);
	set(0x20, 0xff); /* only bit 7 can be written */
	assert_int_equal(get(0x20), 0x80);
	set(8, 4);
	scripted_root_run(r);
	assert_int_equal(scripted_root_irqs(r, 0), 1);
	assert_int_equal(get(0x24), 1);
	set(0x64, 1);
	assert_int_equal(get(0x24), 0);
}

static void interrupts(void **state)
{
	(void)state;
	set(0x60, 0x30);
	assert_true(r->intx);
	set(0x60, 0x03);
	assert_int_equal(get(0x24), 0x33);
	set(0x64, 0x30);
	assert_true(r->intx);
	set(0x64, 0xff);
	assert_false(r->intx);
	assert_int_equal(r->intx_asserts, 1);
	scripted_root_enable_msi(r, 1);
	set(0x60, 1);
	set(0x60, 1);
	set(0x60, 0); /* something is raised already: once more, as QEMU's */
	assert_int_equal(scripted_root_irqs(r, 0), 3);
	assert_false(r->intx);
	set(0x64, 1);
	set(0x60, 0); /* nothing is */
	assert_int_equal(scripted_root_irqs(r, 0), 3);
}

static void dma_both_ways(void **state)
{
	(void)state;
	scripted_root_enable_msi(r, 1);
	for (unsigned i = 0; i < 4096; i++)
		mem[i] = (uint8_t)(i * 5 + 1);
	dma(r->mem_base, 0x40000, 4096, 1 | 4);
	assert_int_equal(get(0x98), 5); /* it runs, and its registers are locked */
	set(0x80, 1);
	set(0x98, 7);
	scripted_root_run(r);
	assert_int_equal(get(0x98), 4);
	assert_int_equal(get(0x80), r->mem_base);
	assert_int_equal(get(0x24), 0x100);
	assert_int_equal(scripted_root_irqs(r, 0), 1);
	dma(0x40000 + 7, r->mem_base + 8192, 100, 1 | 2);
	scripted_root_run(r);
	assert_memory_equal(mem + 8192, mem + 7, 100);
	assert_int_equal(mem[8192 + 100], 0);
	assert_int_equal(scripted_root_irqs(r, 0), 1); /* not asked for */
	set(0x98, 2);                                   /* no run bit: ignored */
	assert_int_equal(get(0x98), 2);
	/* Bits beyond the mask are cut off. */
	dma(0x40000, 0x5550000000 + r->mem_base + 12000, 8, 1 | 2);
	scripted_root_run(r);
	assert_memory_equal(mem + 12000, mem, 8);
}

static void dma_that_is_refused(void **state)
{
	static const struct {
		uint64_t inside, count;
	} bad[] = {{0x3ffff, 1}, {0x40000, 4097}, {0x40fff, 2}, {0x41001, 0}, {0, 16}, {~0ull, 2},
		   {0x40000, ~0ull}, {0x40010, 1ull << 32}, {~0ull - 0x3ffff, 0x80000}};
	uint64_t reads = r->dma_reads, writes = r->dma_writes;

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		set(0x64, ~0u);
		dma(r->mem_base, bad[i].inside, bad[i].count, 1 | 4);
		scripted_root_run(r);
		assert_int_equal(get(0x98), 4);
		assert_int_equal(get(0x24), 0x100); /* it has ended */
		dma(bad[i].inside, r->mem_base, bad[i].count, 1 | 2);
		scripted_root_run(r);
		assert_int_equal(get(0x98), 2);
	}
	assert_int_equal(r->dma_reads, reads);
	assert_int_equal(r->dma_writes, writes);
	dma(r->mem_base, 0x41000, 0, 1); /* nothing, at the very end */
	assert_int_equal(get(0x98), 0);
	/* Memory that is not there; bus mastering off: it ends. */
	dma(0x100, 0x40000, 64, 1 | 4);
	scripted_root_run(r);
	assert_int_equal(get(0x98), 4);
	scripted_root_cfg_write(r, 4, 2, 2);
	dma(r->mem_base, 0x40000, 64, 1);
	scripted_root_run(r);
	assert_int_equal(get(0x98), 0);
}

static void resets(void **state)
{
	(void)state;
	memset(mem, 0xaa, 4096);
	scripted_root_enable_msi(r, 1);
	r->answer = ANSWER_NEVER;
	set(4, 1);
	set(0x20, 0x80);
	set(8, 5);
	dma(r->mem_base, 0x40000, 4096, 1 | 4);
	scripted_root_cfg_write(r, r->cap_exp + 8u, 0x8000, 2);
	r->n_reads = 0;
	r->answer = ANSWER_IN_ORDER;
	scripted_root_enumerate(r, NULL);
	scripted_root_run(r);
	for (unsigned offset = 4; offset <= 0x24; offset += 4)
		assert_int_equal(get(offset), offset == 4 || offset == 8 || offset == 0x20 || offset == 0x24 ? 0 : ~0u);
	assert_int_equal(get(0x98), 0);
	assert_int_equal(scripted_root_irqs(r, 0), 0);
	/* Nothing of the buffer is left to the next guest. */
	dma(r->mem_base, 0x40000, 4096, 1);
	scripted_root_run(r);
	scripted_root_detach(r);
	scripted_root_attach(r);
	scripted_root_enumerate(r, NULL);
	dma(0x40000, r->mem_base + 4096, 4096, 1 | 2);
	scripted_root_run(r);
	assert_int_equal(mem[4096], 0);
	assert_memory_equal(mem + 4096, mem + 4097, 4095);
}

int main(void)
{
#define EDU(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		EDU(identity), EDU(sizes_and_holes),	 EDU(factorials), EDU(interrupts),
		EDU(dma_both_ways), EDU(dma_that_is_refused), EDU(resets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
