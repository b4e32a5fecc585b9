/* SPDX-License-Identifier: Apache-2.0 */
/* Ring prefetch, the device's side: what the root is told, and which DMA reads need no TLP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "probe.h"
#include "scripted_root.h"
#include "tlp/ring_wire.h"
#include "util/reader.h"

enum { MEM = 1 << 20 };

static const struct fb_device_ring ring = {.bar = 0, .reg = 0x1008, .base = 0x10002000, .entry_size = 64, .entries = 1024,
					   .match_at = 0, .match = 1, .pointer_at = 24, .count_at = 48, .count_shift = 9,
					   .data_max = 4096};

static struct scripted_root *make(const char *options)
{
	struct scripted_root *r = scripted_root_new(&probe_model, options, MEM);

	scripted_root_enumerate(r, &(struct scripted_config){.mps = 4096});
	scripted_root_forget(r);
	memset(scripted_root_mem(r, r->mem_base, MEM), 0x11, MEM);
	return r;
}

/* `claimed` bytes at the address, by a message with `len` of them. */
static void ahead(struct scripted_root *r, uint64_t address, uint32_t claimed, uint8_t fill, uint32_t len)
{
	uint8_t bytes[FB_RING_AHEAD_MAX];

	memset(bytes, fill, sizeof(bytes));
	scripted_root_ahead(r, address, claimed, bytes, len);
}

static unsigned dones;
static int last;

static void done(void *arg, int status)
{
	dones++;
	last = status;
}

/* Reads in the same round as what was sent before, and waits. True: no TLP was needed. All bytes are `want`. */
static bool came_ahead(struct scripted_root *r, uint64_t address, uint32_t len, uint8_t want)
{
	uint64_t reads = r->dma_reads;
	uint8_t buf[8192];
	unsigned before = dones;

	memset(buf, 0, sizeof(buf));
	assert_int_equal(fb_dma_read(r->dev, address, buf, len, done, NULL), 0);
	assert_int_equal(dones, before); /* never from inside the call */
	scripted_root_run(r);
	assert_int_equal(dones, before + 1);
	assert_int_equal(last, 0);
	for (uint32_t i = 0; i < len; i++)
		assert_int_equal(buf[i], want);
	return r->dma_reads == reads;
}

static void expect_rule(struct scripted_root *r, unsigned slot, const struct fb_device_ring *want)
{
	const struct scripted_tlp *t = scripted_root_expect_message(r, FB_RING_RULE);
	struct fb_ring_rule rule;

	assert_true(fb_ring_rule_get(&rule, t->data, (size_t)t->tlp.length * 4));
	assert_int_equal(rule.slot, slot);
	assert_int_equal(rule.entries, want ? want->entries : 0);
	if (!want)
		return;
	assert_int_equal(rule.reg, want->reg);
	assert_int_equal(rule.base, want->base);
	assert_int_equal(rule.entry_size, want->entry_size);
	assert_int_equal(rule.count_at, want->count_at);
	assert_int_equal(rule.data_max, want->data_max);
}

static void test_told(void **state)
{
	struct scripted_root *r = make("id=t");
	struct fb_device_ring other = ring;

	fb_device_ring_set(r->dev, 7, NULL); /* there was none: nothing to tell */
	fb_device_ring_set(r->dev, FB_DEVICE_RINGS, &ring);
	scripted_root_expect_nothing(r);
	fb_device_ring_set(r->dev, 7, &ring);
	expect_rule(r, 7, &ring);
	fb_device_ring_set(r->dev, 7, NULL);
	expect_rule(r, 7, NULL);

	/* Without room the last word is said once there is. */
	r->room[PCIE_FC_P] = 0;
	fb_device_ring_set(r->dev, 63, &ring);
	other.entries = 8;
	fb_device_ring_set(r->dev, 63, &other);
	scripted_root_expect_nothing(r);
	scripted_root_allow(r, PCIE_FC_P, 8);
	expect_rule(r, 63, &other);
	scripted_root_expect_nothing(r);
	scripted_root_free(r);
}

static void test_used(void **state)
{
	struct scripted_root *r = make("id=t");
	uint64_t at = r->mem_base + 0x2000;

	ahead(r, at, 64, 0x22, 64); /* no ring: nobody has asked for it */
	assert_false(came_ahead(r, at, 64, 0x11));
	fb_device_ring_set(r->dev, 0, &ring);

	ahead(r, at, 64, 0x22, 64);
	assert_true(came_ahead(r, at, 64, 0x22));
	assert_false(came_ahead(r, at, 64, 0x11)); /* the next round knows nothing of it */

	/* Neighbours are one; a part of it will do; a byte more will not. */
	ahead(r, at, 64, 0x33, 64);
	ahead(r, at + 64, 66, 0x33, 66);
	ahead(r, at + 0x4000, 2048, 0x33, 2048);
	ahead(r, at + 0x4800, 2048, 0x33, 2048);
	assert_true(came_ahead(r, at + 0x4000, 4096, 0x33));
	ahead(r, at, 64, 0x33, 64);
	ahead(r, at + 64, 66, 0x33, 66);
	assert_true(came_ahead(r, at + 3, 126, 0x33));
	ahead(r, at, 64, 0x33, 64);
	assert_false(came_ahead(r, at, 65, 0x11));
	ahead(r, at, 64, 0x33, 64);
	assert_false(came_ahead(r, at - 1, 2, 0x11));
	scripted_root_free(r);
}

static void test_refused(void **state)
{
	struct scripted_root *r = make("id=t");
	uint64_t at = r->mem_base + 0x2000;
	struct pcie_tlp tlp = {.type = PCIE_TLP_MSG, .completer_id = SCRIPTED_BDF, .msg_code = PCIE_MSG_VENDOR_TYPE1,
			       .msg_route = PCIE_ROUTE_BY_ID, .vendor_id = FB_RING_VENDOR, .vendor_data = FB_RING_AHEAD};
	static const uint8_t two[8];

	fb_device_ring_set(r->dev, 0, &ring);
	scripted_root_forget(r);
	ahead(r, at, 65, 0x22, 64); /* says more than there is */
	ahead(r, at, UINT32_MAX, 0x22, 64);
	ahead(r, at, 0, 0x22, 64);
	scripted_root_send(r, &tlp); /* no data at all, too little */
	tlp.type = PCIE_TLP_MSGD;
	tlp.length = 2;
	tlp.data = two;
	scripted_root_send(r, &tlp);
	assert_false(came_ahead(r, at, 64, 0x11));

	/* More than is kept in a round: the rest is read. The very end of the address space does not wrap. */
	for (unsigned i = 0; i < 40; i++)
		ahead(r, at + i * 2048, 2048, 0x22, 2048);
	assert_false(came_ahead(r, at + 36 * 2048, 2048, 0x11));
	for (unsigned i = 0; i < 40; i++)
		ahead(r, at + i * 2048, 2048, 0x22, 2048);
	assert_true(came_ahead(r, at + 31 * 2048, 2048, 0x22));
	for (unsigned i = 0; i < 100; i++)
		ahead(r, at + i * 8, 4, 0x22, 4);
	assert_false(came_ahead(r, at + 99 * 8, 4, 0x11));
	ahead(r, UINT64_MAX - 63, 64, 0x22, 64);
	ahead(r, 0, 64, 0x22, 64);
	assert_false(came_ahead(r, at, 64, 0x11));
	scripted_root_expect_nothing(r); /* and nobody is told of an error: these messages are ignored (2.2.8.6) */
	assert_int_equal(r->err_cor + r->err_nonfatal + r->err_fatal, 0);
	scripted_root_free(r);
}

/* Bus mastering off and a reset leave nothing behind; with prefetch=off there is nothing. */
static void test_forgotten(void **state)
{
	struct scripted_root *r = make("id=t");
	uint64_t at = r->mem_base + 0x2000;

	fb_device_ring_set(r->dev, 0, &ring);
	ahead(r, at, 64, 0x22, 64);
	scripted_root_cfg_write(r, 4, 2, 2);
	scripted_root_cfg_write(r, 4, 6, 2);
	assert_false(came_ahead(r, at, 64, 0x11));
	scripted_root_cfg_write(r, r->cap_exp + 8u, 0x8000, 2);
	scripted_root_run(r);
	scripted_root_forget(r);
	fb_device_ring_set(r->dev, 0, NULL); /* the reset has forgotten it already */
	scripted_root_expect_nothing(r);
	scripted_root_free(r);

	r = make("id=t,prefetch=off");
	fb_device_ring_set(r->dev, 0, &ring);
	scripted_root_expect_nothing(r);
	ahead(r, at, 64, 0x22, 64);
	assert_false(came_ahead(r, at, 64, 0x11));
	scripted_root_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_told),
		cmocka_unit_test(test_used),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
