/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every TLP exactly once and in PCIe's order, or the session is dead on both
 * sides: over thousands of seeded networks. FB_SIM_SEED=n runs that seed only;
 * FB_SIM_RUNS=n other than the default number.
 * Shows the first and the third to fifth rows of DESIGN.md's failure table, at the link.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "sim.h"

static uint64_t pick(struct sim *s, const uint64_t *values, unsigned n) { return values[sim_random(s, n)]; }
#define PICK(s, ...) pick(s, (const uint64_t[]){__VA_ARGS__}, sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static void random_ends(struct sim *s)
{
	bool bulk = sim_chance(s, 0.5);

	for (unsigned side = 0; side < 2; side++) {
		struct sim_end *e = &s->end[side];
		struct fb_link_config *c = &e->config;

		c->mtu = (uint32_t)PICK(s, 1232, 1233, 1452, 1472, 4052, 8972);
		c->window = (uint32_t)PICK(s, 1, 4096, 16384, 100000, 1 << 20);
		c->np_credits = (uint32_t)PICK(s, 1, 2, 32, 256);
		c->posted_credits = (uint32_t)PICK(s, 1, 5000, 65536, 1 << 20);
		c->send_queue = (uint32_t)PICK(s, 1, 4096, 65536, 1 << 20);
		c->go_back_n = sim_chance(s, 0.3);
		c->hold_ns = 30 * SIM_S;
		e->traffic = (struct sim_traffic){
			.total = {sim_random(s, 300), sim_random(s, 200), sim_random(s, 300)},
			.max_size = (uint32_t)PICK(s, 64, 300, 1100, FB_LINK_TLP_MAX),
			.gap = PICK(s, 0, 20 * SIM_US, 3 * SIM_MS),
			.burst = bulk ? 40 : 3,
			.hold = (unsigned)PICK(s, 0, 10, 90),
			.hold_for = PICK(s, 10 * SIM_US, 5 * SIM_MS),
		};
	}
}

static void random_net(struct sim *s, double worst)
{
	static const double rates[] = {0, 0, 0.001, 0.01, 0.03, 0.1, 0.3};

	for (unsigned side = 0; side < 2; side++) {
		struct sim_net *n = &s->end[side].net;
		double *p[] = {&n->loss, &n->duplicate, &n->corrupt, &n->reorder};

		for (unsigned i = 0; i < 4; i++) {
			*p[i] = rates[sim_random(s, 7)];
			if (*p[i] > worst)
				*p[i] = worst;
		}
		n->delay = PICK(s, 1 * SIM_US, 50 * SIM_US, 2 * SIM_MS, 40 * SIM_MS);
		n->jitter = sim_random(s, n->delay);
		n->reorder_delay = PICK(s, 10 * SIM_US, 1 * SIM_MS, 20 * SIM_MS);
		n->rate = PICK(s, 0, 10000000, 1000000000, 25000000000);
		n->buffer = (uint32_t)PICK(s, 0, 20000, 1000000);
		n->mtu = (uint32_t)PICK(s, 0, 1232, 1472, 3000);
	}
}

static void expect_delivered(struct sim *s)
{
	if (!sim_run(s, s->now + 3000 * SIM_S, sim_all_delivered))
		sim_fail(s, "not all has arrived");
	/* Nothing comes twice afterwards, and the session lives on. */
	sim_run(s, s->now + 40 * SIM_S, NULL);
	for (unsigned side = 0; side < 2; side++) {
		if (s->end[side].deads || s->end[!side].link == NULL)
			sim_fail(s, "end %u died", side);
		for (unsigned c = 0; c < FB_LINK_CLASSES; c++)
			if (s->end[side].got[c] != s->end[!side].traffic.total[c])
				sim_fail(s, "end %u got more than was sent", side);
	}
}

static void one_lossy(uint64_t seed)
{
	struct sim s;

	sim_init(&s, seed, "lossy");
	random_ends(&s);
	random_net(&s, 0.3);
	for (unsigned side = 0; side < 2; side++) {
		s.end[side].config.connect_ns = 3000 * SIM_S;
		/* Nothing of this may end a session; what the hold time does is shown below. */
		s.end[side].config.hold_ns = 300 * SIM_S;
	}
	sim_connect(&s);
	expect_delivered(&s);
	sim_free(&s);
}

/* An outage, of one direction or both, shorter than the hold time or longer. */
static void one_outage(uint64_t seed)
{
	struct sim s;
	bool longer;
	unsigned which;
	uint64_t from, len;

	sim_init(&s, seed, "outage");
	random_ends(&s);
	random_net(&s, 0.03);
	longer = sim_chance(&s, 0.5);
	which = 1 + (unsigned)sim_random(&s, 3);
	from = s.now + 500 * SIM_MS + sim_random(&s, 500 * SIM_MS);
	len = longer ? 40 * SIM_S : sim_random(&s, 24 * SIM_S);
	for (unsigned side = 0; side < 2; side++) {
		struct sim_end *e = &s.end[side];

		e->config.connect_ns = 3000 * SIM_S;
		e->traffic.gap = 20 * SIM_MS;
		e->net.rate = 0;
		e->net.mtu = 0;
		if (which & 1u << side) {
			e->net.down_from = from;
			e->net.down_till = from + len;
		}
	}
	sim_connect(&s);
	if (!longer) {
		expect_delivered(&s);
	} else {
		sim_run(&s, from + 35 * SIM_S, NULL);
		for (unsigned side = 0; side < 2; side++)
			if (which & 1u << side && !s.end[!side].deads)
				sim_fail(&s, "end %u lives without having heard anything for 35 s", !side);
		if (!sim_run(&s, from + 90 * SIM_S, sim_both_dead))
			sim_fail(&s, "not dead on both sides");
	}
	sim_free(&s);
}

/* The box or the root is killed and starts again. */
static void one_restart(uint64_t seed)
{
	struct sim s;
	unsigned victim;

	sim_init(&s, seed, "restart");
	random_ends(&s);
	random_net(&s, 0.1);
	for (unsigned side = 0; side < 2; side++) {
		s.end[side].config.connect_ns = 3000 * SIM_S;
		s.end[side].traffic.gap = PICK(&s, SIM_MS, 100 * SIM_MS);
	}
	s.end[1].config.connect_ns = 20 * SIM_S; /* what it gives a root that said hello and no more */
	sim_connect(&s);
	sim_run(&s, s.now + 200 * SIM_MS + sim_random(&s, 3 * SIM_S), NULL);
	victim = (unsigned)sim_random(&s, 2);
	s.end[1].ignore_hellos = true;
	sim_kill(&s, victim);
	if (!sim_run(&s, s.now + 90 * SIM_S, sim_both_dead)) {
		/* a root that was still connecting goes on connecting */
		if (victim != 1 || s.end[0].ups)
			sim_fail(&s, "the other end does not notice");
	}
	s.end[1].ignore_hellos = false;
	s.end[0].self.incarnation++;
	s.end[1].deads = 0;
	sim_connect(&s);
	expect_delivered(&s);
	sim_free(&s);
}

/* The path carries less than before: what is in flight is cut anew. */
static void one_black_hole(uint64_t seed)
{
	struct sim s;

	sim_init(&s, seed, "black hole");
	random_ends(&s);
	random_net(&s, 0.03);
	for (unsigned side = 0; side < 2; side++) {
		struct sim_end *e = &s.end[side];

		e->config.mtu = (uint32_t)PICK(&s, 1472, 8972);
		e->config.connect_ns = 3000 * SIM_S;
		e->net.mtu = 0;
		e->net.rate = 0;
		e->net.mtu_at = s.now + sim_random(&s, 300 * SIM_MS);
		e->net.mtu_then = (uint32_t)PICK(&s, 1232, 1400, 4052);
		e->traffic.max_size = FB_LINK_TLP_MAX;
		e->traffic.gap = SIM_MS;
	}
	sim_connect(&s);
	expect_delivered(&s);
	sim_free(&s);
}

/* Requests that the receiver never gives back hold up nobody else. */
static void one_held_np(uint64_t seed)
{
	struct sim s;

	sim_init(&s, seed, "held requests");
	random_ends(&s);
	random_net(&s, 0.1);
	for (unsigned side = 0; side < 2; side++) {
		struct sim_end *e = &s.end[side];

		e->config.connect_ns = 3000 * SIM_S;
		e->config.np_credits = 1 + (uint32_t)sim_random(&s, 8);
		e->traffic.hold_np = true;
		e->traffic.total[FB_LINK_NP] = 100;
	}
	sim_connect(&s);
	for (unsigned c = 0; c < FB_LINK_CLASSES; c += 2) {
		/* P and CPL: all; NP: as many as there are credits */
		uint64_t till = s.now + 3000 * SIM_S;

		while (s.now < till && (s.end[0].got[c] < s.end[1].traffic.total[c] ||
					s.end[1].got[c] < s.end[0].traffic.total[c]))
			sim_run(&s, s.now + SIM_S, NULL);
		if (s.now >= till)
			sim_fail(&s, "class %u is held up", c);
	}
	sim_run(&s, s.now + 20 * SIM_S, NULL);
	for (unsigned side = 0; side < 2; side++)
		if (s.end[side].got[FB_LINK_NP] != s.end[side].config.np_credits || s.end[side].deads)
			sim_fail(&s, "end %u got %" PRIu64 " requests with %u credits", side,
				 s.end[side].got[FB_LINK_NP], s.end[side].config.np_credits);
	sim_free(&s);
}

static void many(void (*one)(uint64_t seed), uint64_t first, unsigned runs)
{
	const char *seed = getenv("FB_SIM_SEED"), *n = getenv("FB_SIM_RUNS");

	if (seed) {
		one(strtoull(seed, NULL, 0));
		return;
	}
	if (n)
		runs = (unsigned)strtoul(n, NULL, 0);
	for (unsigned i = 0; i < runs; i++)
		one(first + i);
}

static void test_lossy(void **state) { many(one_lossy, 1, 1200); }
static void test_outage(void **state) { many(one_outage, 100001, 400); }
static void test_restart(void **state) { many(one_restart, 200001, 400); }
static void test_black_hole(void **state) { many(one_black_hole, 300001, 300); }
static void test_held_np(void **state) { many(one_held_np, 400001, 300); }

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lossy),	   cmocka_unit_test(test_outage),  cmocka_unit_test(test_restart),
		cmocka_unit_test(test_black_hole), cmocka_unit_test(test_held_np),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
