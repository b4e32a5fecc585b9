/* SPDX-License-Identifier: Apache-2.0 */
/* Shadow doorbells, the box's side: what the root tells, and how the box looks by itself where the root does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "probe.h"
#include "scripted_root.h"
#include "tlp/ring_wire.h"
#include "util/reader.h"

enum { MEM = 1 << 20, REG = 0x108, SLOT = 5, SHADOW = 0x10000010, EVENT = 0x10000020 };

static const struct fb_device_ring ring = {.bar = 0, .reg = REG, .base = 0x10002000, .entry_size = 64, .entries = 1024,
					   .shadow = SHADOW, .event = EVENT};

static struct scripted_root *make(const char *options)
{
	struct scripted_root *r = scripted_root_new(&probe_model, options, MEM);

	scripted_root_enumerate(r, &(struct scripted_config){.mps = 512});
	fb_device_ring_set(r->dev, SLOT, &ring);
	scripted_root_run(r);
	scripted_root_forget(r);
	return r;
}

static struct probe *probe(struct scripted_root *r) { return fb_device_state(r->dev); }

static uint8_t *word(struct scripted_root *r, uint64_t address) { return scripted_root_mem(r, address, 4); }

static void message(struct scripted_root *r, uint32_t what, uint32_t first, uint32_t second, unsigned dws)
{
	uint8_t payload[8];

	fb_put_le32(payload, first);
	fb_put_le32(payload + 4, second);
	scripted_root_message(r, what, payload, dws * 4);
}

/* The model has had these writes of the register, in this order, and nothing else since. */
static void expect_writes(struct scripted_root *r, unsigned n, const uint32_t *values)
{
	struct probe *p = probe(r);

	assert_int_equal(p->n_access, n);
	for (unsigned i = 0; i < n; i++) {
		assert_true(p->access[i].write);
		assert_int_equal(p->access[i].bar, 0);
		assert_int_equal(p->access[i].offset, REG);
		assert_int_equal(p->access[i].size, 4);
		assert_int_equal(p->access[i].value, values[i]);
	}
	p->n_access = 0;
}
#define WROTE(r, ...) expect_writes(r, sizeof((uint32_t[]){__VA_ARGS__}) / 4, (uint32_t[]){__VA_ARGS__})
#define NOTHING(r) expect_writes(r, 0, NULL)

static void test_able(void **state)
{
	struct scripted_root *r = make("id=t");

	assert_false(fb_device_ring_shadow_able(r->dev));
	message(r, FB_RING_ABLE, FB_RING_CAN_SHADOW, 0, 1);
	assert_true(fb_device_ring_shadow_able(r->dev));
	message(r, FB_RING_ABLE, 0xfffffffe, 0, 2); /* it can more, and not this */
	assert_false(fb_device_ring_shadow_able(r->dev));
	message(r, FB_RING_ABLE, FB_RING_CAN_SHADOW, 0, 1);
	scripted_root_cfg_write(r, r->cap_exp + 8u, 0x8000, 2); /* a reset */
	assert_false(fb_device_ring_shadow_able(r->dev));
	scripted_root_free(r);

	r = make("id=t,prefetch=off");
	message(r, FB_RING_ABLE, FB_RING_CAN_SHADOW, 0, 1);
	assert_false(fb_device_ring_shadow_able(r->dev));
	scripted_root_write(r, 0, REG, 7, 4);
	WROTE(r, 7); /* and what is described is no ring */
	scripted_root_free(r);
}

static void test_told(void **state)
{
	struct scripted_root *r = make("id=t");
	uint64_t reads = r->dma_reads;

	message(r, FB_RING_INDEX, SLOT, 3, 2);
	WROTE(r, 3);
	message(r, FB_RING_INDEX, SLOT, 1023, 2);
	message(r, FB_RING_INDEX, SLOT, 0, 2);
	WROTE(r, 1023, 0);
	/* Another slot, no slot, no index, too short, memory decoding off. */
	message(r, FB_RING_INDEX, SLOT + 1, 3, 2);
	message(r, FB_RING_INDEX, 64, 3, 2);
	message(r, FB_RING_INDEX, 256 + SLOT, 3, 2);
	message(r, FB_RING_INDEX, SLOT, 1024, 2);
	message(r, FB_RING_INDEX, SLOT, 3, 1);
	scripted_root_cfg_write(r, 4, 4, 2);
	message(r, FB_RING_INDEX, SLOT, 3, 2);
	scripted_root_cfg_write(r, 4, 6, 2);
	NOTHING(r);
	fb_device_ring_set(r->dev, SLOT, NULL);
	message(r, FB_RING_INDEX, SLOT, 3, 2);
	NOTHING(r);
	scripted_root_run(r);
	assert_int_equal(r->dma_reads, reads); /* all without a look */
	scripted_root_free(r);
}

/* The register itself: the box looks, until the shadow comes to rest. */
static void test_looks(void **state)
{
	struct scripted_root *r = make("id=t");

	fb_put_le32(word(r, SHADOW), 4);
	scripted_root_write(r, 0, REG, 2, 4); /* what was written does not matter */
	NOTHING(r);
	scripted_root_run(r);
	WROTE(r, 4);
	assert_int_equal(fb_get_le32(word(r, EVENT)), 4);
	assert_int_equal(r->dma_reads, 2);

	/* It moves while it is looked at; the host has seen the old event index, and does not ring. */
	r->answer = ANSWER_NEVER;
	fb_put_le32(word(r, SHADOW), 5);
	scripted_root_write(r, 0, REG, 5, 4);
	scripted_root_run(r);
	scripted_root_answer_now(r, ANSWER_IN_ORDER);
	scripted_root_run(r);
	WROTE(r, 5);
	fb_put_le32(word(r, SHADOW), 6);
	scripted_root_answer_now(r, ANSWER_IN_ORDER);
	scripted_root_run(r);
	WROTE(r, 6);
	assert_int_equal(fb_get_le32(word(r, EVENT)), 6);
	/* And the host rings while it is looked at. */
	scripted_root_write(r, 0, REG, 6, 4);
	r->answer = ANSWER_IN_ORDER;
	scripted_root_answer_now(r, ANSWER_IN_ORDER);
	scripted_root_run(r);
	NOTHING(r);

	/* Nonsense in the shadow ends it; the next ring begins anew. */
	fb_put_le32(word(r, SHADOW), 1024);
	scripted_root_write(r, 0, REG, 7, 4);
	scripted_root_run(r);
	NOTHING(r);
	fb_put_le32(word(r, SHADOW), 7);
	scripted_root_write(r, 0, REG, 7, 4);
	scripted_root_run(r);
	WROTE(r, 7);
	/* Other registers are as they were. */
	scripted_root_write(r, 0, REG + 4, 9, 4);
	assert_int_equal(probe(r)->n_access, 1);
	scripted_root_free(r);
}

/* What the root tells meanwhile is newer than what a look finds. */
static void test_outdated(void **state)
{
	struct scripted_root *r = make("id=t");
	struct fb_device_ring other = ring;

	r->answer = ANSWER_NEVER;
	fb_put_le32(word(r, SHADOW), 4);
	scripted_root_write(r, 0, REG, 4, 4);
	scripted_root_run(r);
	message(r, FB_RING_INDEX, SLOT, 8, 2);
	WROTE(r, 8);
	/* The look's event index came behind the root's, so the host has submitted another without ringing. */
	assert_int_equal(fb_get_le32(word(r, EVENT)), 0);
	scripted_root_answer_now(r, ANSWER_IN_ORDER);
	fb_put_le32(word(r, SHADOW), 9);
	r->answer = ANSWER_IN_ORDER;
	scripted_root_run(r);
	WROTE(r, 9);
	assert_int_equal(fb_get_le32(word(r, EVENT)), 9);
	r->answer = ANSWER_NEVER;
	/* The same with a ring that takes the place of the one that was looked at. */
	scripted_root_write(r, 0, REG, 4, 4);
	scripted_root_run(r);
	other.shadow += 0x100;
	other.event += 0x100;
	fb_device_ring_set(r->dev, SLOT, &other);
	fb_put_le32(word(r, other.shadow), 9);
	scripted_root_write(r, 0, REG, 9, 4);
	r->answer = ANSWER_IN_ORDER;
	scripted_root_answer_now(r, ANSWER_IN_ORDER);
	scripted_root_run(r);
	WROTE(r, 9);
	assert_int_equal(fb_get_le32(word(r, other.event)), 9);
	scripted_root_free(r);
}

static bool has_written(void *arg) { return probe(arg)->n_access > 0; }

/* Memory that is away for a moment, bus mastering that is off: the host rings once, and is heard later. */
static void test_later(void **state)
{
	struct scripted_root *r = make("id=t");

	r->answer = ANSWER_UR;
	fb_put_le32(word(r, SHADOW), 4);
	scripted_root_write(r, 0, REG, 4, 4);
	scripted_root_run(r);
	NOTHING(r);
	r->answer = ANSWER_IN_ORDER;
	assert_true(scripted_root_until(r, has_written, r, 5000));
	WROTE(r, 4);
	scripted_root_cfg_write(r, 4, 2, 2);
	fb_put_le32(word(r, SHADOW), 5);
	scripted_root_write(r, 0, REG, 5, 4);
	scripted_root_run(r);
	NOTHING(r);
	scripted_root_cfg_write(r, 4, 6, 2);
	assert_true(scripted_root_until(r, has_written, r, 5000));
	WROTE(r, 5);
	/* Bus mastering goes off while it looks. */
	r->answer = ANSWER_NEVER;
	fb_put_le32(word(r, SHADOW), 6);
	scripted_root_write(r, 0, REG, 6, 4);
	scripted_root_run(r);
	scripted_root_cfg_write(r, 4, 2, 2);
	scripted_root_drop_reads(r);
	scripted_root_cfg_write(r, 4, 6, 2);
	r->answer = ANSWER_IN_ORDER;
	assert_true(scripted_root_until(r, has_written, r, 5000));
	WROTE(r, 6);
	/* A reset ends it for good. */
	scripted_root_cfg_write(r, 4, 2, 2);
	scripted_root_write(r, 0, REG, 6, 4);
	scripted_root_cfg_write(r, r->cap_exp + 8u, 0x8000, 2);
	assert_false(scripted_root_until(r, has_written, r, 250));
	scripted_root_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_able),     cmocka_unit_test(test_told),  cmocka_unit_test(test_looks),
		cmocka_unit_test(test_outdated), cmocka_unit_test(test_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
