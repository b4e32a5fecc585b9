/* SPDX-License-Identifier: Apache-2.0 */
/* LIST and LISTING: there and back, pages, and what is refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "link/directory.h"
#include "link/link_wire.h"

static void reseal(uint8_t *d, size_t len) { fb_wire_seal(d, len); }

static void test_request(void **state)
{
	struct fb_directory_request a = {.nonce = 0xdeadbeef, .group = 7, .first = 300}, b;
	uint8_t d[1400];
	uint64_t session;
	struct fb_link_hello hello;

	assert_int_equal(fb_directory_put_request(&a, d, sizeof(d)), sizeof(d));
	assert_int_equal(fb_link_classify(d, sizeof(d), &session, &hello), FB_LINK_K_LIST);
	assert_int_equal(fb_directory_get_request(&b, d, sizeof(d)), 0);
	assert_true(b.nonce == a.nonce && b.group == 7 && b.first == 300);
	assert_true(b.version_min == FB_WIRE_VERSION_MIN && b.version_max == FB_WIRE_VERSION_MAX);
	assert_int_equal(fb_directory_put_request(&a, d, FB_WIRE_LIST_HLEN - 1), 0);
	/* other versions: the fields are there all the same */
	a.version_min = 5;
	a.version_max = 9;
	fb_directory_put_request(&a, d, sizeof(d));
	assert_int_equal(fb_directory_get_request(&b, d, sizeof(d)), -EPROTO);
	assert_true(b.version_min == 5 && b.nonce == a.nonce);
	for (size_t len = 0; len < sizeof(d); len += len < 64 ? 1 : 97)
		assert_int_equal(fb_directory_get_request(&b, d, len), -EBADMSG); /* cut off: the CRC is of the whole */
	d[500] ^= 1;
	assert_int_equal(fb_directory_get_request(&b, d, sizeof(d)), -EBADMSG);
	assert_int_equal(fb_link_classify(d, sizeof(d), &session, &hello), FB_LINK_K_BAD);
}

static void make_page(struct fb_directory_page *page, unsigned n)
{
	memset(page, 0, sizeof(*page));
	page->nonce = 42;
	page->box.incarnation = UINT64_C(0x1122334455667788);
	memset(page->box.node, 0xa5, 16);
	page->first = 10;
	page->total = 1000;
	page->n = n;
	for (unsigned i = 0; i < n; i++) {
		struct fb_directory_entry *e = &page->entries[i];

		snprintf(e->id, sizeof(e->id), "disk%u", i);
		snprintf(e->model, sizeof(e->model), "nvme");
		e->vendor_id = (uint16_t)(0x1b36 + i);
		e->device_id = 0x10;
		e->class_code = 0x010802;
		e->group = i;
		e->in_use = i & 1;
		memset(e->user, (int)i, 16);
	}
}

static void test_page(void **state)
{
	static struct fb_directory_page a, b;
	static uint8_t d[9000];
	static const size_t caps[] = {80, 159, 160, 1232, 1400, 9000};

	for (unsigned c = 0; c < 6; c++) {
		size_t len;

		make_page(&a, 64);
		len = fb_directory_put_page(&a, d, caps[c]);
		assert_true(len && len <= caps[c]);
		assert_int_equal(a.n, caps[c] >= 80 + 64 * 80 ? 64 : (caps[c] - 80) / 80);
		memset(&b, 0xee, sizeof(b));
		assert_int_equal(fb_directory_get_page(&b, d, len), 0);
		assert_true(b.nonce == 42 && b.first == 10 && b.total == 1000 && b.n == a.n);
		assert_memory_equal(&a.box, &b.box, sizeof(a.box));
		for (unsigned i = 0; i < b.n; i++) {
			struct fb_directory_entry *x = &a.entries[i], *y = &b.entries[i];

			assert_string_equal(x->id, y->id);
			assert_string_equal(x->model, y->model);
			assert_memory_equal(x->user, y->user, 16);
			assert_true(x->vendor_id == y->vendor_id && x->device_id == y->device_id && x->group == y->group &&
				    x->class_code == y->class_code && x->in_use == y->in_use);
		}
	}
	assert_int_equal(fb_directory_put_page(&a, d, 79), 0);
}

static void test_page_bad(void **state)
{
	static struct fb_directory_page a, b;
	static uint8_t d[2000], x[2000];
	size_t len;

	make_page(&a, 5);
	len = fb_directory_put_page(&a, d, sizeof(d));
#define BAD(expect, change)                                                                                            \
	do {                                                                                                           \
		memcpy(x, d, sizeof(x));                                                                               \
		change;                                                                                                \
		reseal(x, len);                                                                                        \
		assert_int_equal(fb_directory_get_page(&b, x, len), expect);                                           \
	} while (0)
	BAD(0, );
	BAD(-EBADMSG, fb_put_be16(x + FB_WIRE_O_L_N, 6));
	BAD(-EBADMSG, fb_put_be16(x + FB_WIRE_O_L_N, 65));
	BAD(-EBADMSG, fb_put_be16(x + FB_WIRE_O_L_N, 65535));
	BAD(-EBADMSG, fb_put_be16(x + FB_WIRE_O_L_ENTRY, 79));
	BAD(-EBADMSG, fb_put_be16(x + FB_WIRE_O_L_ENTRY, 84));
	BAD(-EBADMSG, x[FB_WIRE_O_KIND] = FB_WIRE_LIST);
	BAD(-EBADMSG, fb_put_be16(x + FB_WIRE_O_HLEN, 76));
	BAD(-EBADMSG, x[FB_WIRE_O_SUITE] = 1);
	BAD(-EPROTO, (fb_put_be16(x + FB_WIRE_O_L_VERSION_MIN, 2), fb_put_be16(x + FB_WIRE_O_L_VERSION_MAX, 3)));
	/* names that are no names */
	BAD(0, memset(x + FB_WIRE_LISTING_HLEN, '\n', 32));
	assert_string_equal(b.entries[0].id, "???????????????????????????????");
	/* an entry of a later version is longer */
	memcpy(x, d, sizeof(x));
	fb_put_be16(x + FB_WIRE_O_L_N, 4);
	fb_put_be16(x + FB_WIRE_O_L_ENTRY, 100);
	reseal(x, len);
	assert_int_equal(fb_directory_get_page(&b, x, len), 0);
	assert_string_equal(b.entries[0].id, "disk0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_request), cmocka_unit_test(test_page),
					   cmocka_unit_test(test_page_bad)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
