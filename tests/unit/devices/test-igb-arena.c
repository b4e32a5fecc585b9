/* SPDX-License-Identifier: Apache-2.0 */
/* Memory for packets (devices/igb_ring.c): chunks stay within it and apart, whatever their sizes and order of return. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "devices/igb.h"

static void check(const struct igb_arena *a)
{
	for (unsigned i = 0; i < a->count; i++) {
		const struct igb_chunk *c = &a->chunk[(a->first + i) % IGB_CHUNKS];

		assert_true((uint64_t)c->at + c->len <= IGB_ARENA);
		for (unsigned k = 0; k < i; k++) {
			const struct igb_chunk *d = &a->chunk[(a->first + k) % IGB_CHUNKS];

			assert_true(c->at + c->len <= d->at || d->at + d->len <= c->at || c->len == 0 || d->len == 0);
		}
	}
}

/* The head comes to stand at the very end: the next chunk begins at the start. */
static void test_exact_end(void **state)
{
	struct igb *n = calloc(1, sizeof(*n));
	struct igb_arena a = {0};
	struct igb_chunk *first, *second, *third;

	assert_int_equal(igb_arena_init(&a, n), 0);
	first = igb_chunk_get(&a, IGB_ARENA / 2);
	second = igb_chunk_get(&a, IGB_ARENA / 2);
	assert_null(igb_chunk_get(&a, 64));
	igb_chunk_put(first);
	third = igb_chunk_get(&a, 64);
	assert_non_null(third);
	assert_int_equal(third->at, 0);
	check(&a);
	igb_chunk_put(second);
	igb_chunk_put(third);
	assert_int_equal(a.used, 0);
	igb_arena_fini(&a);
	free(n);
	(void)state;
}

static void test_any_order(void **state)
{
	struct igb *n = calloc(1, sizeof(*n));
	struct igb_chunk *held[64] = {0};
	struct igb_arena a = {0};

	assert_int_equal(igb_arena_init(&a, n), 0);
	srand(1);
	for (unsigned i = 0; i < 20000; i++) {
		struct igb_chunk **place = &held[rand() % 64];

		if (*place) {
			igb_chunk_put(*place);
			*place = NULL;
		} else {
			struct igb_chunk *unused = igb_chunk_get(&a, (uint32_t)(rand() % 65600) + 1);

			if (unused)
				igb_chunk_unget(unused);
			*place = igb_chunk_get(&a, (uint32_t)(rand() % 65600) + 1);
			if (*place && rand() % 2)
				igb_chunk_shrink(*place, (*place)->len / 3);
		}
		check(&a);
	}
	for (unsigned i = 0; i < 64; i++) {
		if (held[i])
			igb_chunk_put(held[i]);
	}
	assert_int_equal(a.used, 0);
	assert_int_equal(a.count, 0);
	igb_arena_fini(&a);
	free(n);
	(void)state;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {cmocka_unit_test(test_exact_end), cmocka_unit_test(test_any_order)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
