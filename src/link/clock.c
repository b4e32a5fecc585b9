/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Acknowledgements without payload carry their sender's clock. With what every
 * datagram has anyway, the number echoed and the time since it came, that makes
 * the four times of NTP (RFC 5905, 8):
 *
 *	t1  ours, when the number echoed left       t2 = t3 - echo_delay
 *	t3  the peer's, when this one left          t4  ours, now
 *
 *	offset = ((t2 - t1) + (t3 - t4)) / 2        delay = (t4 - t1) - (t3 - t2)
 *
 * The offset is wrong by half the delay at most, however unlike the two ways
 * are. So the exchange with the shortest delay counts, of this and the last few
 * seconds: longer, and the clocks would have drifted.
 */
#include "link/impl.h"

#define WINDOW_NS UINT64_C(4000000000)

uint64_t fb_clock_told(const struct fb_link *link, uint64_t now)
{
	return (now + (uint64_t)link->config.clock_ns) & ~UINT64_C(3);
}

void fb_clock_heard(struct fb_link *link, uint64_t now, uint64_t told, uint32_t echo, uint32_t delay)
{
	struct fb_clocks *c = &link->clocks;
	uint64_t t1, t4 = now + (uint64_t)link->config.clock_ns, way;

	if (delay == UINT32_MAX || !fb_time_of(link, echo, &t1) || now < t1)
		return;
	way = now - t1 > delay ? now - t1 - delay : 1;
	t1 += (uint64_t)link->config.clock_ns;
	if (now - c->since >= WINDOW_NS || !c->since) {
		c->before = c->since && now - c->since < 2 * WINDOW_NS ? c->now : (struct fb_clock_window){.delay = UINT64_MAX};
		c->now.delay = UINT64_MAX;
		c->since = now ? now : 1;
	}
	if (way >= c->now.delay)
		return;
	c->now.delay = way;
	/* Differences modulo 2^64: what a peer makes up gives a strange offset, no more. */
	c->now.offset = (int64_t)(told - delay - t1) / 2 + (int64_t)(told - t4) / 2;
}

void fb_clock_stats(const struct fb_link *link, struct fb_link_stats *stats)
{
	const struct fb_clocks *c = &link->clocks;
	const struct fb_clock_window *best = c->before.delay < c->now.delay ? &c->before : &c->now;

	stats->clock_offset_ns = 0;
	stats->clock_error_ns = 0;
	if (!c->since || best->delay == UINT64_MAX)
		return;
	stats->clock_offset_ns = best->offset;
	stats->clock_error_ns = best->delay / 2 + 8; /* clocks are told in units of 4 ns */
}
