/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "util/histogram.h"

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Buckets are in order, without gaps, and each one's middle is in it. */
static void test_buckets(void **state)
{
	unsigned last = 0;

	for (uint64_t v = 0; v < UINT64_C(1) << 42; v += 1 + v / 1000) {
		unsigned b = fb_histogram_bucket(v);

		assert_true(b == last || b == last + 1);
		assert_true(b < FB_HISTOGRAM_BUCKETS);
		last = b;
	}
	assert_int_equal(fb_histogram_bucket(UINT64_MAX), FB_HISTOGRAM_BUCKETS - 1);
	for (unsigned b = 0; b < FB_HISTOGRAM_BUCKETS; b++)
		assert_int_equal(fb_histogram_bucket(fb_histogram_value(b)), b);
}

/* Against the percentiles of the sorted samples. */
static void test_percentiles(void **state)
{
	enum { N = 100000 };
	static const uint32_t wanted[] = {1, 500000, 900000, 990000, 999000, 1000000};
	uint64_t *v = calloc(N, sizeof(*v)), seed = 1;
	struct fb_histogram h = {0};

	assert_non_null(v);
	for (unsigned i = 0; i < N; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		v[i] = seed >> (34 + (seed >> 20) % 20); /* over many powers of two */
		fb_histogram_add(&h, v[i]);
	}
	qsort(v, N, sizeof(*v), by_value);
	for (unsigned i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		uint64_t rank = ((uint64_t)N * wanted[i] + 999999) / 1000000, exact = v[rank - 1];
		uint64_t got = fb_histogram_percentile(&h, wanted[i]), error = got > exact ? got - exact : exact - got;

		assert_true(error <= exact / 32 + 1);
	}
	assert_int_equal(h.n, N);
	assert_int_equal(h.max, v[N - 1]);
	assert_int_equal(fb_histogram_percentile(&h, 1000000) <= h.max, 1);
	free(v);
}

static void test_empty_and_extreme(void **state)
{
	struct fb_histogram h = {0};

	assert_int_equal(fb_histogram_percentile(&h, 500000), 0);
	fb_histogram_add(&h, UINT64_MAX);
	assert_true(fb_histogram_percentile(&h, 500000) > UINT64_C(1) << 40);
	fb_histogram_reset(&h);
	fb_histogram_add(&h, 7);
	assert_int_equal(fb_histogram_percentile(&h, 1), 7);
	assert_int_equal(fb_histogram_percentile(&h, 1000000), 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buckets), cmocka_unit_test(test_percentiles), cmocka_unit_test(test_empty_and_extreme)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
