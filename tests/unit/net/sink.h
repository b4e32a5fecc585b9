/* SPDX-License-Identifier: Apache-2.0 */
/* A user of a backend that keeps what arrives, and the waiting that tests do. */
#ifndef TESTS_UNIT_NET_SINK_H
#define TESTS_UNIT_NET_SINK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "net/net.h"
#include "util/loop.h"

enum { SINK_MAX = 65536 };
#define SINK_DEADLINE_NS 20000000000ull

struct sink {
	unsigned n, rounds, writable;
	uint32_t len[SINK_MAX];
	uint32_t number[SINK_MAX]; /* the first four bytes, host order */
	uint64_t at[SINK_MAX];     /* when it came */
	bool intact[SINK_MAX];
	struct fb_net_addr from;
	struct fb_net *echo;       /* sends back what comes */
	struct fb_net *close_now;  /* closed at the first datagram */
};

/* A datagram whose every byte follows from its number (0 when that does not fit in). */
static inline void sink_fill(uint8_t *data, uint32_t len, uint32_t number)
{
	if (len < 4)
		number = 0;
	for (uint32_t i = 0; i < len; i++)
		data[i] = (uint8_t)((number * 2654435761u >> 24) + i * 7);
	if (len >= 4)
		memcpy(data, &number, 4);
}

static inline void sink_rx(void *arg, const struct fb_net_addr *from, const uint8_t *data, size_t len)
{
	static uint8_t expect[65536];
	struct sink *s = arg;
	uint32_t number = 0;

	assert_true(s->n < SINK_MAX && len < sizeof(expect));
	if (len >= 4)
		memcpy(&number, data, 4);
	sink_fill(expect, (uint32_t)len, number);
	s->intact[s->n] = !memcmp(expect, data, len);
	s->number[s->n] = number;
	s->at[s->n] = fb_clock_ns();
	s->len[s->n++] = (uint32_t)len;
	s->from = *from;
	if (s->echo) {
		struct fb_dgram d = {data, (uint32_t)len};

		s->echo->ops->send(s->echo, from, &d, 1);
	}
	if (s->close_now) {
		s->close_now->ops->close(s->close_now);
		s->close_now = NULL;
	}
}

static inline void sink_round_end(void *arg)
{
	((struct sink *)arg)->rounds++;
}

static inline void sink_writable(void *arg)
{
	((struct sink *)arg)->writable++;
}

static const struct fb_net_user sink_user = {sink_rx, sink_round_end, sink_writable};

/* Runs the loop until the sink has n datagrams. */
static inline void sink_wait(struct fb_loop *loop, const struct sink *s, unsigned n)
{
	uint64_t deadline = fb_clock_ns() + SINK_DEADLINE_NS;

	while (s->n < n && fb_clock_ns() < deadline)
		assert_int_equal(fb_loop_once(loop, deadline), 0);
	if (s->n < n)
		fail_msg("%u datagrams of %u", s->n, n);
}

static inline struct fb_net *sink_open(struct fb_loop *loop, const char *address, const char *peer, struct sink *s)
{
	const char *rest = NULL, *peer_rest = NULL, *either = address ? address : peer;
	const struct fb_net_ops *ops = either ? fb_net_find(either, &rest) : &fb_net_loopback;
	struct fb_net *net;

	assert_non_null(ops);
	if (peer)
		assert_ptr_equal(fb_net_find(peer, &peer_rest), ops);
	assert_int_equal(ops->open(&net, loop, address ? rest : NULL, peer_rest, &sink_user, s), 0);
	return net;
}

#endif
