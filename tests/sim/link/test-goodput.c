/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What loss and reordering may cost, in virtual time (so the figures are the
 * same on every machine). The mark of the project is 30 % of lossless at 1 %.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "goodput.h"

static struct goodput run(uint32_t mtu, bool go_back_n, double loss, double reorder, uint64_t one_way)
{
	struct goodput_case c = {.mtu = mtu, .go_back_n = go_back_n, .loss = loss, .reorder = reorder, .one_way = one_way,
				 .window = 1 << 20, .time = 40 * SIM_MS};

	return goodput_run(&c);
}

static void test_loss(void **state)
{
	static const struct {
		uint32_t mtu;
		uint64_t one_way;
	} nets[] = {{1472, 25 * SIM_US}, {1472, 100 * SIM_US}, {8972, 25 * SIM_US}, {8972, 100 * SIM_US}};

	for (unsigned i = 0; i < 4; i++) {
		struct goodput clean = run(nets[i].mtu, false, 0, 0, nets[i].one_way);
		struct goodput lossy = run(nets[i].mtu, false, 0.01, 0, nets[i].one_way);
		struct goodput reference = run(nets[i].mtu, true, 0.01, 0, nets[i].one_way);

		print_message("%u bytes, %u us: %.1f Gb/s; 1 %% loss: %.1f, Go-Back-N %.1f\n", nets[i].mtu,
			      (unsigned)(2 * nets[i].one_way / SIM_US), clean.gbps, lossy.gbps, reference.gbps);
		assert_true(clean.gbps > 20);
		assert_true(clean.retransmits == 0 && clean.timeouts == 0);
		assert_true(lossy.gbps >= 0.5 * clean.gbps);
		assert_true(lossy.gbps >= reference.gbps);
		/* What was lost is repeated, and little else. */
		assert_true(lossy.retransmits < 1.5);
	}
}

static void test_reorder(void **state)
{
	struct goodput clean = run(1472, false, 0, 0, 100 * SIM_US);
	struct goodput mixed = run(1472, false, 0, 0.02, 100 * SIM_US);

	print_message("2 %% reordered: %.1f of %.1f Gb/s, %.2f %% repeated\n", mixed.gbps, clean.gbps, mixed.retransmits);
	assert_true(mixed.gbps >= 0.7 * clean.gbps);
	assert_true(mixed.retransmits < 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_loss), cmocka_unit_test(test_reorder)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
