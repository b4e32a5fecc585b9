/* SPDX-License-Identifier: Apache-2.0 */
/* Random TLPs both ways through two carriers: each arrives once, in its class's order, whatever the net does. */
#include "port/internal.h"
#include "world.h"

/* Between a carrier and its net: takes a few datagrams, then none for a while. */
struct stingy {
	struct fb_net net;
	struct fb_net_ops ops;
	struct fb_net *inner;
	struct fb_carrier *carrier;
	struct fb_loop *loop;
	struct fb_timer timer;
	unsigned budget, shorts;
};

static unsigned stingy_send(struct fb_net *net, const struct fb_net_addr *to, const struct fb_dgram *v, unsigned n)
{
	struct stingy *s = (struct stingy *)net;
	unsigned k = n < s->budget ? n : s->budget;

	assert_true(n > 0);
	assert_int_equal(s->inner->ops->send(s->inner, to, v, k), k);
	s->budget -= k;
	if (k < n) {
		s->shorts++;
		fb_timer_set(s->loop, &s->timer, fb_loop_now(s->loop) + 20000);
	}
	return k;
}

static void stingy_due(struct fb_timer *t)
{
	struct stingy *s = (struct stingy *)((char *)t - offsetof(struct stingy, timer));

	s->budget = 1 + s->shorts % 5;
	fb_carrier_net_user.writable(s->carrier);
}

static uint32_t stingy_mtu(struct fb_net *net, const struct fb_net_addr *to)
{
	return 1400;
}

static void stingy_put(struct stingy *s, struct fb_carrier *c, struct fb_loop *loop)
{
	*s = (struct stingy){.ops = *c->net->ops, .inner = c->net, .carrier = c, .loop = loop, .timer.due = stingy_due};
	s->net.ops = &s->ops;
	s->ops.send = stingy_send;
	s->ops.mtu = stingy_mtu;
	c->net = &s->net;
}

struct row {
	const char *listen, *fault;
	bool one_loop, go_back_n;
	uint32_t mtu, window;
	unsigned functions;
	uint64_t tlps; /* a class, direction and function */
};

static const struct row rows[] = {
	{"loopback:box", NULL, true, false, 0, 0, 1, 20000},
	{"loopback:box", NULL, false, false, 1400, 0, 4, 4000},
	{"loopback:box", "drop=2%,reorder=5%,dup=1%,corrupt=1%,delay=200us±100us,seed=5", false, false, 1400, 0, 2, 1500},
	{"loopback:box", "drop=1%,dup=1%,seed=6", true, true, 1400, 0, 1, 1500},
	{"loopback:box", "rate=200M,queue=32K", false, false, 1400, 0, 1, 2000},
	{"udp:127.0.0.1:0", NULL, true, false, 0, 0, 1, 10000},
	{"udp:127.0.0.1:0", NULL, false, false, 1472, 0, 4, 4000},
	{"udp:127.0.0.1:0", "drop=1%,reorder=2%,dup=0.5%,corrupt=0.5%,seed=7", false, false, 1472, 0, 2, 1500},
	{"udp:127.0.0.1:0", NULL, false, false, 1232, 65536, 1, 3000},
};

static bool all_done(const struct world *w, const struct row *r)
{
	for (unsigned f = 0; f < r->functions; f++) {
		for (unsigned side = 0; side < 2; side++) {
			for (unsigned cls = 0; cls < PCIE_FC_CLASSES; cls++) {
				if (w->ends[f][side].rx[cls] < r->tlps)
					return false;
			}
		}
	}
	return true;
}

static void one_row(const struct row *r)
{
	struct world *w = world_new();
	struct fb_port_stats stats;
	uint64_t deadline;

	w->box_config.fault = w->root_config.fault = r->fault;
	w->box_config.mtu = w->root_config.mtu = r->mtu;
	w->box_config.link.go_back_n = w->root_config.link.go_back_n = r->go_back_n;
	if (r->window)
		w->box_config.link.window = w->root_config.link.window = r->window;
	world_open(w, r->listen, r->one_loop);
	for (unsigned f = 0; f < r->functions; f++)
		world_connect(w, f);
	for (unsigned f = 0; f < r->functions; f++)
		world_wait(w, w->ends[f][0].ups == 1);
	deadline = fb_clock_ns() + 2 * WORLD_DEADLINE_NS;
	while (!all_done(w, r)) {
		if (fb_clock_ns() > deadline)
			fail_msg("%s %s: not within the deadline", r->listen, r->fault ? r->fault : "");
		for (unsigned f = 0; f < r->functions; f++) {
			world_pump(&w->ends[f][0], &w->ends[f][1], r->tlps, 40);
			world_pump(&w->ends[f][1], &w->ends[f][0], r->tlps, 40);
		}
		world_round(w);
	}
	for (unsigned f = 0; f < r->functions; f++) {
		for (unsigned side = 0; side < 2; side++) {
			uint64_t rx = 0, malformed = 0;

			assert_int_equal(w->ends[f][side].downs, 0);
			fb_port_get_stats(w->ends[f][side].port, &stats);
			for (unsigned i = 0; i < PCIE_TLP_TYPES; i++)
				rx += stats.rx[i];
			for (unsigned i = 0; i < PCIE_TLP_ERRORS; i++)
				malformed += stats.rx_malformed[i];
			assert_int_equal(rx, 3 * r->tlps);
			assert_int_equal(malformed, 0);
			assert_int_equal(stats.link.rx_tlps, 3 * r->tlps);
			if (r->mtu)
				assert_true(stats.link.mtu <= r->mtu);
		}
	}
	if (r->fault && strstr(r->fault, "drop"))
		assert_true(fb_carrier_net_stats(w->root)->fault_dropped > 0);
	/* Batches: many datagrams a call on a clean udp. */
	if (!r->fault && r->listen[0] == 'u' && r->mtu == 1472)
		assert_true(fb_carrier_net_stats(w->root)->tx_datagrams > 2 * fb_carrier_net_stats(w->root)->tx_calls);
	world_close(w);
}

static void test_traffic(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t start = fb_clock_ns();

		one_row(&rows[i]);
		print_message("%s %s: %.2f s\n", rows[i].listen, rows[i].fault ? rows[i].fault : "",
			      (double)(fb_clock_ns() - start) / 1e9);
	}
}

/* A net that is full most of the time loses nothing and stalls nothing: what it did not take goes first when it can. */
static void test_full_net(void **state)
{
	enum { N = 1500 };
	struct world *w = world_new();
	struct stingy root, box;
	struct end *ends = w->ends[0];
	struct fb_port_stats stats;

	world_open(w, "loopback:box", false);
	stingy_put(&root, w->root, w->root_loop);
	stingy_put(&box, w->box, w->box_loop);
	world_connect(w, 0);
	while (ends[0].rx[0] < N || ends[0].rx[1] < N || ends[0].rx[2] < N || ends[1].rx[0] < N || ends[1].rx[1] < N ||
	       ends[1].rx[2] < N) {
		if (ends[0].ups)
			world_pump(&ends[0], &ends[1], N, 40);
		if (ends[1].port)
			world_pump(&ends[1], &ends[0], N, 40);
		world_round(w);
	}
	assert_true(root.shorts > 100 && box.shorts > 100);
	/* Nothing was lost on the way, so next to nothing needed sending again (an early timeout may). */
	fb_port_get_stats(ends[0].port, &stats);
	assert_in_range(stats.link.retransmits, 0, stats.link.tx_datagrams / 20);
	fb_timer_cancel(&root.timer);
	fb_timer_cancel(&box.timer);
	w->root->net = root.inner;
	w->box->net = box.inner;
	world_close(w);
}

static void send_posted(struct end *e, bool patient)
{
	static uint8_t data[PCIE_TLP_MAX_DATA + 8];
	struct pcie_tlp tlp;

	world_tlp(e->side, PCIE_FC_P, e->tx[PCIE_FC_P]++, &tlp, data);
	e->port->patient = patient;
	assert_int_equal(fb_port_send(e->port, &tlp), 0);
	e->port->patient = false;
}

static struct fb_link_stats link_stats(struct end *e)
{
	struct fb_port_stats stats;

	fb_port_get_stats(e->port, &stats);
	return stats.link;
}

/* What is patient goes with what is not, in one datagram, and in its turn; or by itself, but not at once. */
static void test_patient(void **state)
{
	struct world *w = world_new();
	struct end *ends = w->ends[0];
	struct fb_link_stats before, waiting, after;
	bool fair = false;
	uint64_t start;

	w->box_config.mtu = w->root_config.mtu = 60000; /* room for all */
	world_open(w, "loopback:box", true);
	world_connect(w, 0);
	world_wait(w, ends[0].ups == 1);
	send_posted(&ends[0], false);
	world_wait(w, ends[1].rx[PCIE_FC_P] == 1);
	ends[1].hold = false; /* no credit comes back late */

	for (unsigned step = 0; step < 2; step += fair) {
		/* Nothing is under way whose acknowledgement would take along what waits. */
		world_wait(w, !link_stats(&ends[0]).in_flight);
		before = link_stats(&ends[0]);
		start = fb_loop_now(w->root_loop);
		send_posted(&ends[0], true);
		assert_int_equal(fb_loop_once(w->root_loop, 0), 0);
		waiting = link_stats(&ends[0]);
		if (step == 0) {
			send_posted(&ends[0], true);
			send_posted(&ends[0], false);
		}
		world_wait(w, ends[1].rx[PCIE_FC_P] == ends[0].tx[PCIE_FC_P]);
		after = link_stats(&ends[0]);
		/* Once more, if something came in between, or this process stood still for too long. */
		fair = after.rx_datagrams == before.rx_datagrams && (step == 1 || fb_clock_ns() - start < WORLD_MS / 2);
		if (!fair)
			continue;
		assert_int_equal(waiting.tx_datagrams, before.tx_datagrams);
		assert_int_equal(after.tx_datagrams, before.tx_datagrams + 1);
		assert_true(step == 0 || fb_clock_ns() - start > WORLD_MS / 2);
	}
	world_close(w);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {cmocka_unit_test(test_traffic), cmocka_unit_test(test_full_net),
						  cmocka_unit_test(test_patient)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
