/* SPDX-License-Identifier: Apache-2.0 */
/* The arena: blocks do not overlap, come back whole, and are refused when there are none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/arena.h"

static void test_whole_again(void **state)
{
	struct fb_arena a;
	void *p[64];

	assert_int_equal(fb_arena_init(&a, 64 << 10, 256 << 10), 0);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 64; i++) {
			p[i] = fb_arena_get(&a, 1 + i * 64);
			assert_non_null(p[i]);
			assert_int_equal((uintptr_t)p[i] & 4095, 0);
		}
		assert_null(fb_arena_get(&a, 1));
		assert_int_equal(a.used, 256 << 10);
		for (unsigned i = 0; i < 64; i++)
			fb_arena_put(&a, p[(i * 13 + round) % 64]);
		assert_int_equal(a.used, 0);
		/* All pieces joined: the largest blocks are there again, and no larger ones. */
		for (unsigned i = 0; i < 4; i++)
			assert_non_null(p[i] = fb_arena_get(&a, 64 << 10));
		assert_null(fb_arena_get(&a, 4096));
		for (unsigned i = 0; i < 4; i++)
			fb_arena_put(&a, p[i]);
	}
	assert_null(fb_arena_get(&a, (64 << 10) + 1));
	fb_arena_fini(&a);
}

static void test_random(void **state)
{
	enum { SLOTS = 100 };
	struct { uint8_t *p; size_t len; uint8_t mark; } s[SLOTS] = {{0}};
	struct fb_arena a;

	srand(1);
	assert_int_equal(fb_arena_init(&a, 1 << 20, 4 << 20), 0);
	for (unsigned i = 0; i < 20000; i++) {
		unsigned at = (unsigned)rand() % SLOTS;

		if (s[at].p) {
			for (size_t k = 0; k < s[at].len; k += 1111)
				assert_int_equal(s[at].p[k], s[at].mark);
			fb_arena_put(&a, s[at].p);
			s[at].p = NULL;
		} else {
			s[at].len = 1 + (size_t)rand() % (rand() % 4 ? 16 << 10 : 1 << 20);
			s[at].p = fb_arena_get(&a, s[at].len);
			s[at].mark = (uint8_t)i;
			if (s[at].p)
				memset(s[at].p, s[at].mark, s[at].len);
		}
	}
	for (unsigned i = 0; i < SLOTS; i++) {
		if (s[i].p)
			fb_arena_put(&a, s[i].p);
	}
	assert_int_equal(a.used, 0);
	fb_arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_again),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
