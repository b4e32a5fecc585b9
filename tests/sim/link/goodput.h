/* SPDX-License-Identifier: Apache-2.0 */
/* Goodput of 4 KiB writes in one direction in virtual time: what the protocol allows, without any cost of computing. */
#ifndef FARBUS_TESTS_SIM_LINK_GOODPUT_H
#define FARBUS_TESTS_SIM_LINK_GOODPUT_H

#include "sim.h"

struct goodput_case {
	uint32_t mtu;
	bool go_back_n;
	double loss, reorder;
	uint64_t one_way; /* ns */
	uint32_t window;
	uint64_t time; /* 0: 100 ms */
};

struct goodput {
	double gbps;            /* TLP bytes delivered */
	double retransmits;     /* of 100 datagrams */
	uint64_t timeouts;
};

static inline struct goodput goodput_run(const struct goodput_case *c)
{
	const uint64_t time = c->time ? c->time : 100 * SIM_MS;
	struct fb_link_stats stats;
	struct goodput g;
	struct sim s;

	sim_init(&s, 7, "goodput");
	for (unsigned side = 0; side < 2; side++) {
		struct sim_end *e = &s.end[side];

		e->config.mtu = c->mtu;
		e->config.go_back_n = c->go_back_n;
		e->config.window = c->window;
		e->net = (struct sim_net){.loss = c->loss, .reorder = c->reorder, .reorder_delay = 2 * c->one_way,
					  .delay = c->one_way, .rate = UINT64_C(25000000000), .buffer = 4 << 20};
	}
	s.end[0].traffic = (struct sim_traffic){.total = {UINT64_MAX}, .max_size = 4112, .burst = 64};
	s.end[0].traffic.fixed = true;
	s.end[0].config.send_queue = 1 << 20;
	sim_connect(&s);
	sim_run(&s, s.now + time, NULL);
	fb_link_get_stats(s.end[0].link, &stats);
	g.gbps = (double)s.end[1].got_bytes * 8 / (double)time;
	g.retransmits = 100.0 * (double)stats.retransmits / (double)stats.tx_datagrams;
	g.timeouts = stats.timeouts;
	sim_free(&s);
	return g;
}

#endif
