/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "goodput.h"

/* The SoftPCIe paper's Table 2: payload 128 B, to two decimals. */
static void test_published_table(void **state)
{
	static const struct {
		double ethernet, pcie, data;
	} rows[] = {{1, 0.66, 0.60}, {10, 6.60, 6.03}, {40, 26.41, 24.15}, {100, 66.03, 60.37}};
	struct goodput g;

	assert_int_equal(goodput_softpcie(&g, 128, 12, 1500), 0);
	assert_int_equal(g.tlps, 1);
	for (unsigned i = 0; i < 4; i++) {
		/* The paper cuts what is beyond two decimals. */
		assert_int_equal((int)(rows[i].ethernet * g.tlp_share * 100), (int)(rows[i].pcie * 100 + 0.5));
		assert_int_equal((int)(rows[i].ethernet * g.data_share * 100), (int)(rows[i].data * 100 + 0.5));
	}
	assert_true(fabs(g.tlp_share - 140.0 / (140 + 52 + 20)) < 1e-12);
}

/* Datagram by datagram: the smallest frame, what does not fit, and a link's full datagram counted by hand. */
static void test_sizes(void **state)
{
	struct goodput g;

	assert_int_equal(goodput_softpcie(&g, 0, 12, 1500), 0);
	assert_true(g.frame_bytes == 84); /* 14 + 20 + 8 + 6 + 12 + 4 = 64, and the gap */
	assert_true(goodput_softpcie(&g, 1500, 12, 1500) < 0);
	assert_int_equal(goodput_softpcie(&g, 1452, 12, 1500), 0);
	/* 1,472 bytes of datagram, 64 of header, 1,408 of stream; a record of 4 + 12 + 128 = 144 */
	assert_int_equal(goodput_link(&g, 128, 12, 1500, 20), 0);
	assert_int_equal(g.tlps, 9);
	assert_true(g.frame_bytes == 14 + 20 + 8 + 1472 + 4 + 20);
	assert_true(fabs(g.data_share - 1408.0 / 144 * 128 / 1538) < 1e-12);
	assert_int_equal(goodput_link(&g, 128, 12, 9000, 20), 0);
	assert_int_equal(g.tlps, (8972 - 64) / 144);
	assert_true(goodput_link(&g, 128, 12, 1000, 20) < 0);
	assert_int_equal(goodput_link(&g, 128, 12, 1500, 40), 0);
	assert_int_equal(g.tlps, 9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_published_table), cmocka_unit_test(test_sizes)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
