/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "softpcie/path.h"

#define TICK_NS 6.4

/* Number n was sent n milliseconds after the beginning; it arrives `late_us` after that. */
static bool arrive(struct fb_softpcie_path *p, unsigned n, unsigned late_us)
{
	uint64_t sent = UINT64_C(1000000) * n;
	struct softpcie_header h = {(uint16_t)n, softpcie_ticks(sent)};

	return fb_softpcie_path_rx(p, &h, sent + late_us * UINT64_C(1000));
}

static struct fb_softpcie_path *path(void)
{
	return calloc(1, sizeof(struct fb_softpcie_path));
}

static void in_order(void **state)
{
	struct fb_softpcie_path *p = path();

	for (unsigned n = 60000; n < 60000 + 100000; n++) /* wraps twice, the clock too */
		assert_true(arrive(p, n, 40));
	assert_int_equal(p->stats.rx_numbered, 100000);
	assert_int_equal(p->stats.rx_lost + p->stats.rx_reordered + p->stats.rx_duplicates + p->stats.rx_restarts, 0);
	assert_int_equal(p->stats.jitter_ns, 0);
	free(p);
}

static void unnumbered(void **state)
{
	struct fb_softpcie_path *p = path();
	struct softpcie_header zero = {0, 0};

	for (unsigned n = 0; n < 10; n++)
		assert_true(fb_softpcie_path_rx(p, &zero, n));
	assert_int_equal(p->stats.rx_unnumbered, 10);
	assert_int_equal(p->stats.rx_numbered, 0);
	free(p);
}

static void lost_and_late(void **state)
{
	struct fb_softpcie_path *p = path();

	assert_true(arrive(p, 10, 0));
	assert_true(arrive(p, 9, 2000)); /* from before the first one: late, and not missed */
	assert_true(arrive(p, 14, 0));
	assert_int_equal(p->stats.rx_lost, 3);
	assert_true(arrive(p, 12, 3000));
	assert_int_equal(p->stats.rx_lost, 2);
	assert_int_equal(p->stats.rx_reordered, 2);
	assert_false(arrive(p, 12, 3000));
	assert_false(arrive(p, 14, 1000));
	assert_false(arrive(p, 10, 9000));
	assert_int_equal(p->stats.rx_duplicates, 3);
	assert_int_equal(p->stats.rx_lost, 2);
	assert_true(arrive(p, 15, 0));
	assert_int_equal(p->stats.rx_numbered, 5);
	/* More than the window away: all of them are missing, and numbers of before are not taken for seen. */
	assert_true(arrive(p, 15 + 3000, 0));
	assert_int_equal(p->stats.rx_lost, 2 + 2999);
	assert_true(arrive(p, 15 + 2999, 1500));
	assert_int_equal(p->stats.rx_lost, 2 + 2998);
	assert_int_equal(p->stats.rx_restarts, 0);
	free(p);
}

static void begins_anew(void **state)
{
	struct fb_softpcie_path *p = path();
	struct softpcie_header h = {1, 0};

	for (unsigned n = 500; n < 600; n++)
		arrive(p, n, 0);
	/* Number 1 a second after number 599: not late, but another run of the program. */
	h.timestamp = softpcie_ticks(UINT64_C(1599000000));
	assert_true(fb_softpcie_path_rx(p, &h, UINT64_C(1599000000)));
	assert_int_equal(p->stats.rx_restarts, 1);
	h.sequence = 2;
	assert_true(fb_softpcie_path_rx(p, &h, UINT64_C(1599000000)));
	/* And again, with a number that was in use a moment ago. */
	h = (struct softpcie_header){2, softpcie_ticks(UINT64_C(1700000000))};
	assert_true(fb_softpcie_path_rx(p, &h, UINT64_C(1700000000)));
	assert_int_equal(p->stats.rx_restarts, 2);
	assert_int_equal(p->stats.rx_lost, 0);
	free(p);
}

/* Delays that change by 100 us from one to the next settle at that; RFC 3550's filter. */
static void jitter(void **state)
{
	struct fb_softpcie_path *p = path();

	for (unsigned n = 1; n < 400; n++)
		arrive(p, n, n % 2 ? 50 : 150);
	assert_in_range(p->stats.jitter_ns, 99000, 101000);
	for (unsigned n = 400; n < 800; n++)
		arrive(p, n, 500);
	assert_in_range(p->stats.jitter_ns, 0, 100);
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_order),    cmocka_unit_test(unnumbered), cmocka_unit_test(lost_and_late),
		cmocka_unit_test(begins_anew), cmocka_unit_test(jitter),
	};

	return cmocka_run_group_tests_name("softpcie-path", tests, NULL, NULL);
}
