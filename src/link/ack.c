/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation: what is lost, and when
 *
 * Every datagram has a number of its own, also when it repeats a slot; the
 * peer echoes the largest number that reached it. So each acknowledgement says
 * without ambiguity what had been sent when: a round-trip sample is good also
 * for repeated data (no Karn's rule), and
 *
 *  - a slot whose last datagram has a smaller number than the echo was passed by
 *    a later one. Where the network was never seen to reorder, three datagrams
 *    later it is lost; else it is lost when it is later than the passing one by
 *    the reordering allowance (as RACK, RFC 8985: time, not counts);
 *  - a repeated slot that is acknowledged while the echo is still below its
 *    last number had not been lost: the network reorders, the allowance grows
 *    (and shrinks again when repeats are in need), and a window that shrank
 *    by a time-out is given back (as Eifel, RFC 4015).
 *
 * The time-out (RFC 6298) repeats one datagram only, with a ping: its
 * acknowledgement passes all older ones, and the rule above finds which are lost.
 *
 * In Go-Back-N mode selective acknowledgements are not looked at, and with
 * one slot lost all sent after it are.
 *
 * Black hole: when the oldest slot has gone many times, and each time later,
 * small datagrams got through, the path no longer carries its size: all that is
 * not acknowledged is cut smaller.
 */
#include "link/impl.h"

enum {
	PASSED = 3,        /* datagrams later, without reordering */
	REO_STEPS_MAX = 8, /* quarters of the round trip, less one */
	REO_CALM = 64,     /* repeats in need before the allowance shrinks a step */
	REO_MIN_NS = 10000,
	BLACK_HOLE = 6,    /* times that the oldest slot went in vain */
};

static uint32_t slot_bytes(const struct fb_slot *s) { return FB_WIRE_DATA_HLEN + (uint32_t)s->len; }

bool fb_time_of(const struct fb_link *link, uint32_t number, uint64_t *when)
{
	uint32_t age = link->number - number;

	if (!age || age > FB_TIMES || (!link->times_full && age > link->number - link->first_number))
		return false;
	*when = link->times[number % FB_TIMES];
	return true;
}

void fb_ack_sample(struct fb_link *link, uint64_t now, uint32_t echo, uint32_t delay)
{
	uint64_t then;

	if (delay == UINT32_MAX || !fb_time_of(link, echo, &then) || now < then)
		return;
	now = now - then > delay ? now - then - delay : 1;
	fb_rto_sample(&link->rto, now);
	fb_histogram_add(&link->rtt, now);
}

static uint64_t allowance(const struct fb_link *link)
{
	uint64_t t = link->rto.srtt / 4 * (1 + link->reo_steps);

	return t > REO_MIN_NS ? t : REO_MIN_NS;
}

/* The slot reached the peer. Returns its payload bytes, for the window. */
static uint32_t reached(struct fb_link *link, struct fb_slot *s, const struct fb_ack *ack, uint32_t echo_before,
			bool echoed_before)
{
	if (s->flags & FB_SLOT_SACKED)
		return 0;
	if (s->flags & FB_SLOT_LOST)
		link->lost--;
	else
		link->in_flight -= slot_bytes(s);
	if (s->tx == 1 && !(s->flags & FB_SLOT_LOST)) {
		/* An earlier acknowledgement knew of later datagrams, but not of this. */
		if (echoed_before && fb_seq(s->number, echo_before) < 0)
			link->reordering = true;
	} else if (ack->has_echo && ((s->flags & FB_SLOT_LOST) || fb_seq(ack->echo, s->number) < 0)) {
		link->reordering = true;
		link->reo_calm = 0;
		if (link->reo_steps < REO_STEPS_MAX)
			link->reo_steps++;
		fb_cc_undo(&link->cc);
	} else {
		fb_cc_confirm(&link->cc);
		if (++link->reo_calm >= REO_CALM) {
			link->reo_calm = 0;
			if (link->reo_steps)
				link->reo_steps--;
			else
				link->reordering = false;
		}
	}
	s->flags = FB_SLOT_SACKED;
	return slot_bytes(s);
}

static void mark_lost(struct fb_link *link, uint64_t i)
{
	struct fb_slot *s = fb_slab_slot(&link->slab, i);

	s->flags |= FB_SLOT_LOST;
	link->in_flight -= slot_bytes(s);
	link->lost++;
	if (i < link->lost_hint || link->lost == 1)
		link->lost_hint = i;
}

/* All that is under way from the oldest on. Returns how many. */
static unsigned mark_all(struct fb_link *link)
{
	unsigned n = 0;

	for (uint64_t i = link->slab.una; i < link->slab.next; i++)
		if (!fb_slab_slot(&link->slab, i)->flags) {
			mark_lost(link, i);
			n++;
		}
	return n;
}

/* The oldest slot went in vain again and again while later, smaller datagrams passed. True: all is cut anew. */
static bool black_hole(struct fb_link *link, uint64_t i)
{
	const struct fb_slot *s = fb_slab_slot(&link->slab, i);

	if (i != link->slab.una || s->tx < BLACK_HOLE || slot_bytes(s) <= FB_WIRE_MTU_MIN || !link->echoed ||
	    fb_seq(s->number, link->echo) >= 0)
		return false;
	fb_link_shrink(link, fb_link_mtu_below(slot_bytes(s)));
	return true;
}

void fb_ack_detect(struct fb_link *link, uint64_t now)
{
	struct fb_slab *slab = &link->slab;
	uint64_t allowed = allowance(link);
	unsigned lost = 0;

	link->rack_at = FB_NEVER;
	if (!link->echoed)
		return;
	for (uint64_t i = slab->una; i < slab->next; i++) {
		struct fb_slot *s = fb_slab_slot(slab, i);
		uint64_t ahead, due;

		if (s->flags)
			continue;
		if (fb_seq(s->number, link->echo) >= 0) {
			/* First transmissions are in order: none of those behind was passed either. */
			if (s->tx == 1)
				break;
			continue;
		}
		ahead = link->echo_sent > s->sent_at ? link->echo_sent - s->sent_at : 0;
		due = link->echo_heard + (ahead < allowed ? allowed - ahead : 0);
		if (due > now && (link->reordering || link->echo - s->number < PASSED)) {
			if (due < link->rack_at)
				link->rack_at = due;
			continue;
		}
		if (black_hole(link, i))
			return;
		if (link->config.go_back_n) {
			lost += mark_all(link);
			break;
		}
		mark_lost(link, i);
		lost++;
	}
	if (lost) {
		link->stats.fast_retransmits += lost;
		fb_cc_lost(&link->cc, lost, now, link->rto.srtt);
	}
}

bool fb_ack_rx(struct fb_link *link, uint64_t now, const struct fb_ack *ack)
{
	struct fb_slab *slab = &link->slab;
	uint32_t echo_before = link->echo, bytes = 0, n = 0;
	bool echoed_before = link->echoed, passed = false;
	uint64_t sent = slab->next < slab->end ? fb_slab_slot(slab, slab->next)->pos : slab->pos, i;

	if (ack->ack > sent)
		return false;
	for (; slab->una < slab->next; slab->una++) {
		struct fb_slot *s = fb_slab_slot(slab, slab->una);
		uint32_t b;

		if (s->pos + s->len > ack->ack)
			break;
		b = reached(link, s, ack, echo_before, echoed_before);
		bytes += b;
		n += b != 0;
	}
	i = slab->una;
	for (unsigned k = 0; k < ack->n && !link->config.go_back_n; k++) {
		const uint8_t *p = ack->sacks + k * FB_WIRE_SACK;
		uint64_t start = ack->ack + fb_get_be32(p), end = ack->ack + fb_get_be32(p + 4);

		for (; i < slab->next; i++) {
			struct fb_slot *s = fb_slab_slot(slab, i);
			uint32_t b;

			if (s->pos + s->len > end)
				break;
			if (s->pos < start || s->flags & FB_SLOT_SACKED)
				continue;
			b = reached(link, s, ack, echo_before, echoed_before);
			bytes += b;
			n += b != 0;
		}
	}
	if (ack->has_echo && fb_seq(ack->echo, link->number) < 0 && (!link->echoed || fb_seq(ack->echo, link->echo) > 0)) {
		uint64_t then;

		if (fb_time_of(link, ack->echo, &then)) {
			link->echoed = true;
			link->echo = ack->echo;
			link->echo_sent = then;
			link->echo_heard = now;
			passed = true;
			fb_ack_sample(link, now, ack->echo, ack->echo_delay);
		}
	}
	if (n) {
		fb_rto_progress(&link->rto);
		fb_cc_acked(&link->cc, bytes, n);
		link->timeouts = 0;
		link->rto_at = now + fb_rto_get(&link->rto);
	}
	if (slab->una == slab->next) {
		link->rto_at = FB_NEVER;
		link->rack_at = FB_NEVER;
		/* Nothing is left: begin at the first slot, whose memory the caches know. */
		if (slab->next == slab->end)
			slab->una = slab->next = slab->end = link->lost_hint = 0;
	} else if (passed || n) {
		fb_ack_detect(link, now);
	}
	return true;
}

void fb_ack_timeout(struct fb_link *link, uint64_t now)
{
	struct fb_slab *slab = &link->slab;
	uint64_t i = slab->una;

	link->rto_at = FB_NEVER;
	while (i < slab->next && fb_slab_slot(slab, i)->flags & FB_SLOT_SACKED)
		i++;
	if (i == slab->next)
		return;
	link->stats.timeouts++;
	fb_rto_timeout(&link->rto);
	fb_cc_timeout(&link->cc);
	link->rto_at = now + fb_rto_get(&link->rto);
	link->timeouts++;
	if (black_hole(link, i))
		i = slab->una;
	else if (link->config.go_back_n)
		mark_all(link);
	else if (!fb_slab_slot(slab, i)->flags)
		mark_lost(link, i);
	link->lost_hint = i;
	link->probe = true;
	/* A small one behind it finds out whether it is the size that does not pass. */
	if (link->timeouts > 1)
		link->ping_due = true;
}
