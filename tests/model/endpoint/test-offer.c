/* SPDX-License-Identifier: Apache-2.0 */
/* Offers, the box's side: what the root is told, and what becomes of the uses that it reports. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "probe.h"
#include "scripted_root.h"
#include "tlp/offer_wire.h"
#include "tlp/ring_wire.h"
#include "util/reader.h"

enum { MEM = 1 << 16, STATUS = 0x44, SLOTS0 = 0x180, SLOTS1 = 0x380 };

static const struct fb_device_value values[] = {{.bar = 0, .size = 4, .inert = true, .offset = STATUS, .value = 3},
						{.bar = 0, .size = 4, .offset = SLOTS0, .value = 0x10},
						{.bar = 0, .size = 4, .lowers_intx = true, .offset = SLOTS1, .value = 0x20}};

static struct probe *probe(struct scripted_root *r) { return fb_device_state(r->dev); }

static void able(struct scripted_root *r, uint32_t can)
{
	uint8_t payload[4];

	fb_put_le32(payload, can);
	scripted_root_message(r, FB_RING_ABLE, payload, sizeof(payload));
}

static void used(struct scripted_root *r, uint32_t seq, uint32_t offset, uint8_t flags)
{
	struct fb_offer_used u = {.seq = seq, .offset = offset, .flags = flags};
	uint8_t payload[FB_OFFER_USED_SIZE];

	fb_offer_used_put(&u, payload);
	scripted_root_message(r, FB_OFFER_USED, payload, sizeof(payload));
}

/* The registers have these values. */
static void fill(struct scripted_root *r)
{
	for (unsigned i = 0; i < 3; i++)
		fb_put_le32(probe(r)->bar0 + values[i].offset, (uint32_t)values[i].value);
}

static struct scripted_root *make(const char *options)
{
	struct scripted_root *r = scripted_root_new(&probe_model, options, MEM);

	scripted_root_enumerate(r, NULL);
	able(r, FB_RING_CAN_OFFERS);
	fill(r);
	scripted_root_forget(r);
	return r;
}

static struct fb_offer last; /* that the root has been told */

static void expect_offer(struct scripted_root *r, unsigned n)
{
	const struct scripted_tlp *t = scripted_root_expect_message(r, FB_OFFER);

	assert_true(fb_offer_get(&last, t->data, (size_t)t->tlp.length * 4));
	assert_int_equal(last.n, n);
}

static void offer(struct scripted_root *r, unsigned n)
{
	scripted_root_forget(r);
	fb_device_offer(r->dev, values, n);
	expect_offer(r, n);
}

static struct fb_function_info counters(struct scripted_root *r)
{
	struct fb_function_info info = {0};

	fb_device_counters(r->dev, &info);
	return info;
}

/* The model has had just this read since. */
static void expect_read(struct scripted_root *r, uint64_t offset)
{
	struct probe *p = probe(r);

	assert_int_equal(p->n_access, 1);
	assert_false(p->access[0].write);
	assert_int_equal(p->access[0].offset, offset);
	assert_int_equal(p->access[0].size, 4);
	assert_int_equal(p->n_outdated, 0);
	p->n_access = 0;
}

static void expect_outdated(struct scripted_root *r, uint64_t offset)
{
	struct probe *p = probe(r);

	assert_int_equal(p->n_access, 0);
	assert_int_equal(p->n_outdated, 1);
	assert_int_equal(p->outdated_at, offset);
	p->n_outdated = 0;
}

static void expect_refused(struct scripted_root *r, unsigned so_far)
{
	assert_int_equal(probe(r)->n_access + probe(r)->n_outdated, 0);
	assert_int_equal(counters(r).bad_uses, so_far);
	scripted_root_expect_nothing(r);
}

static void write_register(struct scripted_root *r)
{
	scripted_root_write(r, 0, 0x20, 7, 4);
	probe(r)->n_access = 0;
}

static void test_told(void **state)
{
	struct scripted_root *r = make("id=t");
	uint32_t seq, seen;

	able(r, ~(uint32_t)FB_RING_CAN_OFFERS);
	fb_device_offer(r->dev, values, 3);
	scripted_root_expect_nothing(r);
	able(r, FB_RING_CAN_OFFERS);
	fb_device_offer(r->dev, values, 0); /* there was none: nothing to tell */
	fb_device_offer(r->dev, values, FB_DEVICE_VALUES + 1);
	scripted_root_expect_nothing(r);
	offer(r, 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(last.value[i].bar, values[i].bar);
		assert_int_equal(last.value[i].size, values[i].size);
		assert_int_equal(last.value[i].offset, values[i].offset);
		assert_int_equal(last.value[i].value, values[i].value);
	}
	assert_int_equal(last.value[0].flags, FB_OFFER_INERT);
	assert_int_equal(last.value[1].flags, 0);
	assert_int_equal(last.value[2].flags, FB_OFFER_LOWERS_INTX);
	seq = last.seq;
	seen = last.seen;
	offer(r, 0); /* it is taken back */
	assert_int_equal(last.seq, seq + 1);
	fb_device_offer(r->dev, values, 0);
	scripted_root_expect_nothing(r);

	/* Requests of every kind are counted, and messages; completions are not. */
	write_register(r);
	scripted_root_read(r, 0, 0x20, 4);
	scripted_root_cfg_write(r, 4, 6, 2);
	scripted_root_cfg_read(r, 4, 2);
	able(r, FB_RING_CAN_OFFERS);
	offer(r, 3);
	assert_int_equal(last.seen, seen + 5);
	/* What came since has ended it. */
	write_register(r);
	fb_device_offer(r->dev, values, 0);
	scripted_root_expect_nothing(r);
	/* Nothing can be read: nothing is offered. */
	scripted_root_cfg_write(r, 4, 4, 2);
	scripted_root_forget(r);
	fb_device_offer(r->dev, values, 3);
	scripted_root_expect_nothing(r);
	assert_int_equal(counters(r).offers, 3);
	scripted_root_free(r);

	r = make("id=t,prefetch=off");
	fb_device_offer(r->dev, values, 3);
	scripted_root_expect_nothing(r);
	scripted_root_free(r);
}

static void test_used(void **state)
{
	struct scripted_root *r = make("id=t");

	offer(r, 3);
	used(r, last.seq, SLOTS0, 0);
	expect_read(r, SLOTS0);
	used(r, last.seq, SLOTS0, 0);
	expect_refused(r, 1); /* and that one has been counted: whatever that root does, the offer is over */
	used(r, last.seq, SLOTS1, 0);
	expect_refused(r, 2);
	offer(r, 3);
	used(r, last.seq, SLOTS0, 0);
	expect_read(r, SLOTS0);
	used(r, last.seq, SLOTS1, 0); /* those behind it stay */
	expect_read(r, SLOTS1);
	assert_int_equal(counters(r).offers_used, 3);
	/* Those in front of one that is read do not. */
	offer(r, 3);
	used(r, last.seq, SLOTS1, 0);
	expect_read(r, SLOTS1);
	used(r, last.seq, SLOTS0, 0);
	expect_refused(r, 3);
	/* What nobody offered, and what is not to be told. */
	offer(r, 3);
	used(r, last.seq, SLOTS0 + 4, 0);
	expect_refused(r, 4);
	offer(r, 3);
	used(r, last.seq, STATUS, 0);
	expect_refused(r, 5);
	/* Something of the root's has come since, so it cannot be. */
	offer(r, 3);
	write_register(r);
	used(r, last.seq, SLOTS0, 0);
	expect_refused(r, 6);
	offer(r, 3);
	scripted_root_cfg_write(r, 4, 4, 2);
	scripted_root_forget(r);
	used(r, last.seq, SLOTS0, 0);
	used(r, last.seq - 1, SLOTS0, 0);
	expect_refused(r, 8);
	scripted_root_cfg_write(r, 4, 6, 2);
	offer(r, 3);
	scripted_root_message(r, FB_OFFER_USED, (const uint8_t[12]){0}, 8);
	expect_refused(r, 9);
	assert_int_equal(counters(r).bad_offers + counters(r).offers_outdated, 0);
	scripted_root_free(r);
}

static void test_outdated(void **state)
{
	struct scripted_root *r = make("id=t");
	uint32_t seq;

	offer(r, 3);
	seq = last.seq;
	offer(r, 2);
	used(r, seq, SLOTS0, 0); /* it was on its way */
	expect_outdated(r, SLOTS0);
	used(r, seq, SLOTS1, 0);
	expect_outdated(r, SLOTS1);
	used(r, last.seq, SLOTS0, 0); /* but the root could not use the newer one any more */
	expect_refused(r, 1);
	offer(r, 3);
	seq = last.seq;
	offer(r, 0);
	used(r, seq, SLOTS0, 0);
	expect_outdated(r, SLOTS0);
	used(r, seq + 77, 0xfffffffe, 0xff); /* a root may say anything */
	expect_outdated(r, 0xfffffffe);
	assert_int_equal(counters(r).offers_outdated, 4);
	scripted_root_free(r);
}

/* A model that does not keep to the rule is told so. */
static void test_wrong(void **state)
{
	struct scripted_root *r = make("id=t");

	offer(r, 3);
	fb_put_le32(probe(r)->bar0 + SLOTS0, 0);
	used(r, last.seq, SLOTS0, 0);
	expect_read(r, SLOTS0);
	assert_int_equal(counters(r).bad_offers, 1);
	scripted_root_free(r);
}

/* In order with what is posted; and none with values that are newer than what is behind it. */
static void test_no_room(void **state)
{
	struct scripted_root *r = make("id=t");
	uint32_t seq;

	r->keep_log = true;
	r->room[PCIE_FC_P] = 0;
	assert_int_equal(fb_dma_write(r->dev, r->mem_base, "data", 4, NULL, NULL), 0);
	fb_device_offer(r->dev, values, 3);
	scripted_root_allow(r, PCIE_FC_P, 8);
	scripted_root_expect(r, PCIE_TLP_MWR);
	expect_offer(r, 3);
	seq = last.seq;

	r->room[PCIE_FC_P] = 0;
	fb_device_offer(r->dev, values, 3);
	assert_int_equal(fb_dma_write(r->dev, r->mem_base, "data", 4, NULL, NULL), 0);
	fb_device_offer(r->dev, values, 2);
	used(r, seq, SLOTS0, 0);
	expect_outdated(r, SLOTS0);
	scripted_root_expect_nothing(r);
	scripted_root_allow(r, PCIE_FC_P, 8);
	scripted_root_expect(r, PCIE_TLP_MWR); /* that use has ended them all: nothing need be said */
	scripted_root_expect_nothing(r);

	offer(r, 3);
	r->room[PCIE_FC_P] = 0;
	fb_device_offer(r->dev, values, 3);
	assert_int_equal(fb_dma_write(r->dev, r->mem_base, "data", 4, NULL, NULL), 0);
	fb_device_offer(r->dev, values, 2);
	scripted_root_allow(r, PCIE_FC_P, 8);
	expect_offer(r, 0);
	scripted_root_expect(r, PCIE_TLP_MWR);
	scripted_root_expect_nothing(r);
	offer(r, 3);

	/* Ended before it left. */
	r->room[PCIE_FC_P] = 0;
	fb_device_offer(r->dev, values, 3);
	write_register(r);
	scripted_root_allow(r, PCIE_FC_P, 8);
	scripted_root_expect_nothing(r);
	offer(r, 3);
	scripted_root_free(r);
}

static void lower(struct fb_device *dev, uint64_t offset)
{
	if (offset == SLOTS1)
		fb_intx_set(dev, false);
}

/* The root has answered from the offer, and the level that it holds is low since. */
static void lowered(struct scripted_root *r, uint32_t seq)
{
	r->intx = false;
	used(r, seq, SLOTS1, FB_OFFER_LOWERED);
}

static void test_intx(void **state)
{
	struct scripted_root *r = make("id=t");
	uint32_t seq;

	/* The root has lowered it, and so has the read: nothing is said. */
	probe(r)->on_read = lower;
	offer(r, 3);
	fb_intx_set(r->dev, true);
	lowered(r, last.seq);
	assert_int_equal(r->intx_asserts, 1);
	assert_int_equal(r->intx_deasserts, 0);
	offer(r, 3);
	fb_intx_set(r->dev, true); /* the next one */
	assert_int_equal(r->intx_asserts, 2);
	/* It was high before the offer. */
	offer(r, 3);
	lowered(r, last.seq);
	assert_int_equal(r->intx_deasserts, 0);
	/* The root had it low: it hears of it as ever. */
	offer(r, 3);
	fb_intx_set(r->dev, true);
	used(r, last.seq, SLOTS1, 0);
	assert_int_equal(r->intx_asserts, 3);
	assert_int_equal(r->intx_deasserts, 1);

	/* More has been said of it since the offer, before or after the root lowered it: what is so is said once more. */
	offer(r, 3);
	fb_intx_set(r->dev, true);
	fb_intx_set(r->dev, false);
	fb_intx_set(r->dev, true);
	used(r, last.seq, SLOTS1, FB_OFFER_LOWERED);
	assert_int_equal(r->intx_asserts, 5);
	assert_int_equal(r->intx_deasserts, 3);

	/* Something has come since, and keeps it up. */
	probe(r)->on_read = NULL;
	offer(r, 3);
	fb_intx_set(r->dev, true);
	seq = last.seq;
	offer(r, 3);
	lowered(r, seq);
	assert_int_equal(r->intx_asserts, 7);
	assert_int_equal(r->intx_deasserts, 3);
	/* The same, with more said in between, and a model that lowers it. */
	probe(r)->on_read = lower;
	offer(r, 3);
	seq = last.seq;
	fb_intx_set(r->dev, false);
	fb_intx_set(r->dev, true);
	offer(r, 3);
	used(r, seq, SLOTS1, FB_OFFER_LOWERED);
	assert_int_equal(r->intx_asserts, 8);
	assert_int_equal(r->intx_deasserts, 5);
	fb_intx_set(r->dev, true);
	probe(r)->on_read = NULL;
	/* Or went away since. */
	offer(r, 3);
	seq = last.seq;
	offer(r, 0);
	fb_intx_set(r->dev, false);
	lowered(r, seq);
	assert_int_equal(r->intx_asserts, 9);
	assert_int_equal(r->intx_deasserts, 6);
	/* What waits to leave comes behind what the root did, and is the last word. */
	offer(r, 3);
	fb_intx_set(r->dev, true);
	seq = last.seq;
	offer(r, 3);
	r->room[PCIE_FC_P] = 0;
	fb_intx_set(r->dev, false);
	fb_intx_set(r->dev, true);
	used(r, seq, SLOTS1, FB_OFFER_LOWERED);
	scripted_root_allow(r, PCIE_FC_P, 8);
	assert_int_equal(r->intx_asserts, 11);
	assert_int_equal(r->intx_deasserts, 7);
	assert_true(r->intx);
	/* A read that does not lower it after all. */
	offer(r, 3);
	lowered(r, last.seq);
	assert_int_equal(r->intx_asserts, 12);
	scripted_root_free(r);
}

/* Resets and sessions: what was offered before is nothing that could be used. */
static void test_reset(void **state)
{
	struct scripted_root *r = make("id=t");

	offer(r, 3);
	scripted_root_cfg_write(r, r->cap_exp + 8u, 0x8000, 2);
	scripted_root_cfg_write(r, 4, 6, 2);
	scripted_root_forget(r);
	used(r, last.seq, SLOTS0, 0);
	expect_refused(r, 1);
	fill(r);
	fb_device_offer(r->dev, values, 3); /* the root has to say anew that it can */
	scripted_root_expect_nothing(r);
	able(r, FB_RING_CAN_OFFERS);
	used(r, last.seq, SLOTS0, 0);
	expect_outdated(r, SLOTS0);
	offer(r, 3);
	assert_true(last.seen > 5);

	scripted_root_detach(r);
	fb_device_offer(r->dev, values, 3);
	scripted_root_attach(r);
	fb_device_offer(r->dev, values, 3);
	scripted_root_expect_nothing(r);
	able(r, FB_RING_CAN_OFFERS);
	scripted_root_cfg_write(r, 0x10, (uint32_t)r->bar[0], 4);
	scripted_root_cfg_write(r, 4, 6, 2);
	offer(r, 3);
	assert_int_equal(last.seen, 3); /* of this session */
	scripted_root_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_told),    cmocka_unit_test(test_used), cmocka_unit_test(test_outdated), cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_no_room), cmocka_unit_test(test_intx), cmocka_unit_test(test_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
