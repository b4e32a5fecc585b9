/* SPDX-License-Identifier: Apache-2.0 */
/* Accesses that the model ends later: order, wide requests, credits, resets; and shapes chosen in realize(). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "scripted_root.h"
#include "util/reader.h"

/*
 *	BAR 0  4 KiB, 4-byte registers: offset 0x800 and on defers, below answers 0x1000 + offset at once
 *	BAR 2  64 KiB, 1 to 8 bytes, all of it defers
 *	BAR 4  I/O, 16 bytes, defers
 */
enum { MAX_LATE = 5000, AER = 0x100 };

struct late {
	struct fb_access *access[MAX_LATE];
	uint64_t offset[MAX_LATE];
	unsigned size[MAX_LATE], n, refused, resets, writes;
	bool answer_inside; /* complete within the call itself */
	bool fail_inside;
	bool end_first;     /* the second access of a request ends the first one */
	bool reset_inside;
	struct scripted_root *r;
};

static struct fb_access *defer(struct fb_device *dev, uint64_t offset, unsigned size)
{
	struct late *l = fb_device_state(dev);
	struct fb_access *access = fb_access_defer(dev);

	if (!access) {
		l->refused++;
		return NULL;
	}
	assert_null(fb_access_defer(dev)); /* once a call */
	assert_true(l->n < MAX_LATE);
	l->access[l->n] = access;
	l->offset[l->n] = offset;
	l->size[l->n++] = size;
	return access;
}

static uint64_t late_read(struct fb_device *dev, unsigned bar, uint64_t offset, unsigned size)
{
	struct late *l = fb_device_state(dev);
	struct fb_access *access;

	if (bar == 0 && offset < 0x800)
		return 0x1000 + offset;
	access = defer(dev, offset, size);
	if (access && l->answer_inside) {
		fb_access_complete(access, 0xa5a50000 + offset);
		l->n--;
	}
	if (access && l->fail_inside) {
		fb_access_fail(access);
		l->n--;
	}
	if (l->end_first && l->n == 2)
		fb_access_complete(l->access[0], 0x11111111);
	if (l->reset_inside) {
		l->reset_inside = false;
		scripted_root_detach(l->r);
	}
	return 0xdeadbeefdeadbeef; /* ignored */
}

static void late_write(struct fb_device *dev, unsigned bar, uint64_t offset, uint64_t value, unsigned size)
{
	struct late *l = fb_device_state(dev);

	(void)value;
	l->writes++;
	if (bar != 0 || offset >= 0x800) {
		struct fb_access *access = defer(dev, offset, size);

		if (access && l->fail_inside)
			fb_access_fail(access);
	}
}

static void late_reset(struct fb_device *dev, enum fb_reset kind)
{
	struct late *l = fb_device_state(dev);

	(void)kind;
	l->n = 0; /* the pointers are dead */
	l->resets++;
}

static const struct fb_bar bars[] = {
	{.index = 0, .size = 4096},
	{.index = 2, .size = 0x10000, .min_access = 1, .max_access = 8},
	{.index = 4, .is_io = true, .size = 16, .min_access = 1, .max_access = 4},
};

static const struct fb_model late_model = {
	.api = FB_DEVICE_API,
	.size = sizeof(struct fb_model),
	.name = "late",
	.identity = {.vendor_id = 0x1b36, .device_id = 0xfb02, .class_code = 0xff0000},
	.bars = bars,
	.n_bars = 3,
	.msi_vectors = 1,
	.state_size = sizeof(struct late),
	.reset = late_reset,
	.read = late_read,
	.write = late_write,
};

static struct scripted_root *root;
static struct late *late;

static int setup(void **state)
{
	(void)state;
	root = scripted_root_new(&late_model, "id=t", 1 << 20);
	late = fb_device_state(root->dev);
	late->r = root;
	scripted_root_enumerate(root, NULL);
	scripted_root_forget(root);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	scripted_root_free(root); /* no credit may be missing */
	return 0;
}

static uint16_t ask(unsigned bar, uint64_t offset, unsigned dws, unsigned first_be, unsigned last_be)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_MRD,
			       .address = root->bar[bar] + offset,
			       .length = (uint16_t)dws,
			       .first_be = (uint8_t)first_be,
			       .last_be = (uint8_t)last_be};

	return scripted_root_send(root, &tlp);
}

static const struct scripted_tlp *answer_to(uint16_t tag, enum pcie_cpl_status status)
{
	const struct scripted_tlp *t = scripted_root_expect(root, status == PCIE_CPL_SC ? PCIE_TLP_CPLD : PCIE_TLP_CPL);

	assert_int_equal(t->tlp.tag, tag);
	assert_int_equal(t->tlp.status, status);
	return t;
}

static void other_requests_pass_a_read_that_waits(void **state)
{
	uint16_t first = ask(0, 0x800, 1, 15, 0), second = ask(0, 0x804, 1, 15, 0), third;

	(void)state;
	assert_true(root->held);
	scripted_root_expect_nothing(root);
	scripted_root_write(root, 0, 4, 1, 4); /* a posted write is not blocked */
	assert_int_equal(late->writes, 1);
	third = ask(0, 8, 1, 15, 0); /* nor is another read */
	assert_int_equal(fb_get_le32(answer_to(third, PCIE_CPL_SC)->data), 0x1008);
	assert_int_equal(scripted_root_cfg_read(root, 0, 2), 0x1b36);
	fb_access_complete(late->access[1], 0x22222222);
	assert_int_equal(fb_get_le32(answer_to(second, PCIE_CPL_SC)->data), 0x22222222);
	fb_access_complete(late->access[0], 0x33333333);
	assert_int_equal(fb_get_le32(answer_to(first, PCIE_CPL_SC)->data), 0x33333333);
	assert_int_equal(root->held_credits, 2);
	assert_int_equal(root->released_credits, 2);
}

/* 2.4.1: the completion pushes what was posted before it in front of itself. */
static void an_answer_follows_the_writes_before_it(void **state)
{
	uint16_t tag = ask(0, 0x800, 1, 15, 0);
	uint32_t word = 0x01020304;

	(void)state;
	root->keep_log = true;
	root->room[PCIE_FC_P] = 0; /* the port takes no posted TLP for now */
	assert_int_equal(fb_dma_write(root->dev, root->mem_base + 64, &word, 4, NULL, NULL), 0);
	fb_access_complete(late->access[0], 7);
	scripted_root_expect_nothing(root);
	assert_int_equal(root->released_credits, 0);
	scripted_root_allow(root, PCIE_FC_P, 10);
	scripted_root_expect(root, PCIE_TLP_MWR);
	answer_to(tag, PCIE_CPL_SC);
	assert_int_equal(root->released_credits, 1);
}

static void a_wide_request_is_answered_when_its_last_access_ends(void **state)
{
	uint16_t tag = ask(0, 0x7fc, 3, 15, 15); /* one at once, two late */
	const struct scripted_tlp *t;

	(void)state;
	assert_int_equal(late->n, 2);
	fb_access_complete(late->access[1], 0xbbbbbbbb);
	scripted_root_expect_nothing(root);
	fb_access_complete(late->access[0], 0xaaaaaaaa);
	t = answer_to(tag, PCIE_CPL_SC);
	assert_int_equal(t->tlp.byte_count, 12);
	assert_int_equal(fb_get_le32(t->data), 0x17fc);
	assert_int_equal(fb_get_le32(t->data + 4), 0xaaaaaaaa);
	assert_int_equal(fb_get_le32(t->data + 8), 0xbbbbbbbb);
}

/* Every pair of byte enables: a register is read once, and each of its bytes lands in its place. */
static void bytes_find_their_places(void **state)
{
	(void)state;
	for (unsigned be = 0; be < 256; be++) {
		uint8_t want[8] = {0};
		const struct scripted_tlp *t;
		uint16_t tag;

		if (!(be & 15) || !(be & 0xf0))
			continue;
		tag = ask(2, 0x100, 2, be & 15, be >> 4);
		for (unsigned i = late->n; i-- > 0;) {
			uint64_t value = 0;

			for (unsigned k = 0; k < late->size[i]; k++)
				value |= (0x50 + late->offset[i] - 0x100 + k) << 8 * k;
			fb_access_complete(late->access[i], value);
		}
		late->n = 0;
		for (unsigned i = 0; i < 8; i++)
			want[i] = be & 1u << i ? (uint8_t)(0x50 + i) : 0;
		t = answer_to(tag, PCIE_CPL_SC);
		assert_memory_equal(t->data, want, 8);
	}
	/* Holes in one register of 4 bytes: one access, widened. */
	uint16_t tag = ask(0, 0x800, 1, 0x9, 0);
	assert_int_equal(late->n, 1);
	fb_access_complete(late->access[0], 0x44332211);
	const struct scripted_tlp *t = answer_to(tag, PCIE_CPL_SC);
	assert_int_equal(fb_get_le32(t->data), 0x44000011);
}

static void ended_inside_the_call(void **state)
{
	uint16_t tag;

	(void)state;
	late->answer_inside = true;
	tag = ask(0, 0x800, 2, 15, 15);
	assert_false(root->held);
	const struct scripted_tlp *t = answer_to(tag, PCIE_CPL_SC);
	assert_int_equal(fb_get_le32(t->data), 0xa5a50800);
	assert_int_equal(fb_get_le32(t->data + 4), 0xa5a50804);
	late->answer_inside = false;
	late->end_first = true;
	tag = ask(0, 0x800, 2, 15, 15);
	assert_true(root->held);
	fb_access_complete(late->access[1], 0x22222222);
	t = answer_to(tag, PCIE_CPL_SC);
	assert_int_equal(fb_get_le32(t->data), 0x11111111);
	assert_int_equal(fb_get_le32(t->data + 4), 0x22222222);
}

static void failed_ones_are_aborted(void **state)
{
	uint16_t tag = ask(0, 0x800, 2, 15, 15);

	(void)state;
	fb_access_fail(late->access[0]);
	scripted_root_expect_nothing(root);
	fb_access_complete(late->access[1], 1);
	answer_to(tag, PCIE_CPL_CA);
	/* 7.5.1.1.4, 6.2.3.2.4.1: Signaled Target Abort, and an advisory error. */
	assert_int_equal(scripted_root_cfg_read(root, 6, 2) & 0x0800, 0x0800);
	assert_int_equal(scripted_root_cfg_read(root, AER + 0x10, 4), 0x2000);
	assert_int_equal(scripted_root_cfg_read(root, AER + 4, 4), 0);
	/* Within the call. */
	late->fail_inside = true;
	scripted_root_cfg_write(root, AER + 0x14, 0, 4);
	answer_to(ask(0, 0x800, 1, 15, 0), PCIE_CPL_CA);
	assert_int_equal(scripted_root_cfg_read(root, AER + 4, 4), 1 << 15);
	/* A posted write has no other way to be heard of. */
	scripted_root_cfg_write(root, AER + 4, 1 << 15, 4);
	scripted_root_cfg_write(root, root->cap_exp + 8u, 0xf, 1);
	scripted_root_write(root, 0, 0x900, 1, 4);
	assert_false(root->held);
	assert_int_equal(root->err_nonfatal, 1);
	assert_int_equal(scripted_root_cfg_read(root, AER + 4, 4), 1 << 15);
}

static void writes_hold_their_credit(void **state)
{
	struct pcie_tlp io = {.type = PCIE_TLP_IOWR, .address = root->bar[4], .length = 1, .first_be = 15,
			      .data = (const uint8_t *)"abcd"};
	uint16_t tag;

	(void)state;
	scripted_root_write(root, 0, 0x900, 1, 8);
	assert_true(root->held);
	assert_int_equal(late->n, 2);
	fb_access_complete(late->access[1], 0);
	assert_int_equal(root->released_credits, 0);
	fb_access_complete(late->access[0], 0);
	assert_int_equal(root->released_credits, 1);
	scripted_root_expect_nothing(root); /* posted: no answer */
	late->n = 0;
	tag = scripted_root_send(root, &io);
	scripted_root_expect_nothing(root);
	fb_access_complete(late->access[0], 0);
	assert_int_equal(scripted_root_expect(root, PCIE_TLP_CPL)->tlp.tag, tag);
}

static void a_function_level_reset_ends_them(void **state)
{
	uint16_t tag = ask(0, 0x800, 2, 15, 15);

	(void)state;
	fb_access_complete(late->access[0], 1);
	scripted_root_write(root, 0, 0x900, 1, 4);
	scripted_root_cfg_write(root, root->cap_exp + 8u, 0x8000, 2); /* takes its completion, the first of the two */
	answer_to(tag, PCIE_CPL_UR);
	assert_int_equal(late->n, 0);
	assert_int_equal(root->released_credits, 2);
	scripted_root_enumerate(root, NULL);
	scripted_root_forget(root);
	tag = ask(0, 0x800, 1, 15, 0);
	fb_access_complete(late->access[0], 5);
	assert_int_equal(fb_get_le32(answer_to(tag, PCIE_CPL_SC)->data), 5);
}

static void the_end_of_the_session_ends_them(void **state)
{
	(void)state;
	ask(0, 0x800, 2, 15, 15);
	scripted_root_write(root, 2, 0x900, 1, 8);
	assert_int_equal(late->n, 3);
	scripted_root_detach(root);
	assert_int_equal(late->n, 0);
	scripted_root_attach(root);
	scripted_root_enumerate(root, NULL);
	scripted_root_forget(root);
	/* From inside the read that was just deferred, with another access of the request still to come. */
	late->reset_inside = true;
	ask(0, 0x800, 2, 15, 15);
	assert_int_equal(late->n, 0);
	assert_int_equal(late->refused, 1); /* the other one */
	scripted_root_attach(root);
	scripted_root_expect_nothing(root);
}

/* More than the runtime keeps: refused, and what the model says then is the answer. */
static void their_number_is_bounded(void **state)
{
	const struct scripted_tlp *t;
	struct fb_function_info info;
	unsigned requests = 0;

	(void)state;
	while (!late->refused) {
		ask(0, 0x800, 512, 15, 15);
		requests++;
	}
	assert_int_equal(late->n, FB_ACCESSES);
	assert_int_equal(requests, FB_ACCESSES / 512 + 1);
	t = scripted_root_expect(root, PCIE_TLP_CPLD);
	assert_int_equal(fb_get_le32(t->data), 0xdeadbeef);
	scripted_root_forget(root);
	fb_device_counters(root->dev, &info);
	assert_int_equal(info.mmio_deferred, FB_ACCESSES);
	for (unsigned i = 0; i < FB_ACCESSES; i++)
		fb_access_complete(late->access[i], i);
	assert_int_equal(root->released_credits, requests - 1);
	t = scripted_root_expect(root, PCIE_TLP_CPLD);
	assert_int_equal(fb_get_le32(t->data + 4), 1);
	assert_null(fb_access_defer(root->dev)); /* not in a call */
}

/* ---- Another device's shape ---------------------------------------------------------- */

static int other_realize(struct fb_device *dev)
{
	static const uint8_t vendor[] = {8, 0x5a, 0, 0, 0xff, 1}, vendor_rw[] = {0, 0, 0xf0, 0, 0, 0}, dvsec[8] = {1, 2, 3, 4};
	struct fb_identity id = {.vendor_id = 0x8086, .device_id = 0x10c9, .subsystem_vendor_id = 0x8086,
				 .subsystem_id = 0xa03c, .class_code = 0x020000, .revision = 1};

	assert_int_equal(fb_device_set_identity(dev, &id), 0);
	assert_int_equal(fb_device_set_bar(dev, &(struct fb_bar){.index = 2}), 0);                 /* away */
	assert_int_equal(fb_device_set_bar(dev, &(struct fb_bar){.index = 0, .size = 0x20000}), 0); /* replaced */
	assert_int_equal(fb_device_set_bar(dev, &(struct fb_bar){.index = 3, .size = 0x4000}), 0);  /* added */
	assert_int_equal(fb_device_set_bar(dev, &(struct fb_bar){.index = 6, .size = 0x4000}), -EINVAL);
	assert_int_equal(fb_device_set_vectors(dev, 0, 10), 0);
	assert_int_equal(fb_device_set_msix(dev, 3, 0x100, 0, 0x2000), 0);
	assert_int_equal(fb_device_set_intx(dev, true), 0);
	assert_int_equal(fb_device_add_capability(dev, 9, vendor, vendor_rw, sizeof(vendor)), 0xc0);
	assert_int_equal(fb_device_add_capability(dev, 9, vendor, NULL, 3), 0xc8);
	assert_int_equal(fb_device_add_capability(dev, 9, vendor, NULL, 100), -ENOSPC);
	assert_int_equal(fb_device_add_ext_capability(dev, 0x23, 1, dvsec, NULL, sizeof(dvsec)), 0x180);
	assert_int_equal(fb_device_add_ext_capability(dev, 0x23, 16, dvsec, NULL, sizeof(dvsec)), -EINVAL);
	assert_int_equal(fb_device_add_ext_capability(dev, 0x23, 1, dvsec, NULL, 3701), -ENOSPC);
	return 0;
}

static void another_devices_shape(void **state)
{
	struct fb_model m = late_model;
	struct scripted_root *r;
	struct fb_function_info info;
	unsigned at, ids[8], n = 0;

	(void)state;
	m.realize = other_realize;
	r = scripted_root_new(&m, "id=other", 4096);
	scripted_root_enumerate(r, NULL);
	assert_int_equal(scripted_root_cfg_read(r, 0, 4), 0x10c98086);
	assert_int_equal(scripted_root_cfg_read(r, 8, 4), 0x02000001);
	assert_int_equal(scripted_root_cfg_read(r, 0x2c, 4), 0xa03c8086);
	assert_int_equal(scripted_root_cfg_read(r, 0x3d, 1), 1);
	assert_int_equal(r->bar_size[0], 0x20000);
	assert_int_equal(r->bar_size[2], 0);
	assert_int_equal(r->bar_size[3], 0x4000);
	for (at = scripted_root_cfg_read(r, 0x34, 1); at && n < 8; at = scripted_root_cfg_read(r, at + 1, 1))
		ids[n++] = scripted_root_cfg_read(r, at, 1);
	assert_int_equal(n, 5);
	assert_int_equal(ids[0] << 16 | ids[1] << 8 | ids[2], 0x011011); /* PM, PCIe, MSI-X */
	assert_int_equal(ids[3] << 8 | ids[4], 0x0909);
	scripted_root_cfg_write(r, 0xc4, 0xffffffff, 4);
	assert_int_equal(scripted_root_cfg_read(r, 0xc4, 4), 0x01ff00f0);
	assert_int_equal(scripted_root_cfg_read(r, 0x180, 4), 0x00010023);
	assert_int_equal(scripted_root_cfg_read(r, 0x160, 4) >> 20, 0x180);
	assert_int_equal(scripted_root_cfg_read(r, 0x184, 4), 0x04030201);

	/* The table and the pending bits are where they were put, and are the runtime's. */
	assert_int_equal(scripted_root_cfg_read(r, r->cap_msix + 4u, 4), 0x103);
	assert_int_equal(scripted_root_cfg_read(r, r->cap_msix + 8u, 4), 0x2000);
	assert_int_equal(scripted_root_read(r, 3, 0x10c, 4), 1); /* masked */
	scripted_root_cfg_write(r, r->cap_msix + 2u, 0x8000, 2);
	fb_irq(r->dev, 3);
	assert_int_equal(scripted_root_read(r, 0, 0x2000, 8), 8);
	assert_int_equal(scripted_root_enable_msix(r), 10);
	fb_irq(r->dev, 4);
	assert_int_equal(scripted_root_irqs(r, 4), 1);
	scripted_root_cfg_write(r, r->cap_exp + 8u, 0x8000, 2); /* FLR: as at first */
	assert_int_equal(scripted_root_cfg_read(r, 0xc4, 4), 0x01ff0000);
	fb_device_counters(r->dev, &info);
	assert_int_equal(info.identity.device_id, 0x10c9);
	assert_int_equal(fb_device_set_intx(r->dev, false), -EINVAL); /* too late */
	assert_int_equal(fb_device_add_capability(r->dev, 9, "", NULL, 1), -EINVAL);
	scripted_root_free(r);
}

int main(void)
{
#define LATE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		LATE(other_requests_pass_a_read_that_waits),
		LATE(an_answer_follows_the_writes_before_it),
		LATE(a_wide_request_is_answered_when_its_last_access_ends),
		LATE(bytes_find_their_places),
		LATE(ended_inside_the_call),
		LATE(failed_ones_are_aborted),
		LATE(writes_hold_their_credit),
		LATE(a_function_level_reset_ends_them),
		LATE(the_end_of_the_session_ends_them),
		LATE(their_number_is_bounded),
		cmocka_unit_test(another_devices_shape),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
