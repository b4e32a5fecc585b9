/* SPDX-License-Identifier: Apache-2.0 */
#include "link/impl.h"

void fb_credit_init(struct fb_credit *c, uint32_t p_total, uint32_t np_total, uint32_t p_peer, uint32_t np_peer)
{
	const uint32_t start = FB_WIRE_CREDIT_START;

	*c = (struct fb_credit){
		.p_sent = start, .p_limit = start + p_peer, .np_sent = start, .np_limit = start + np_peer,
		.p_taken = start, .p_freed = start, .p_told = start + p_total,
		.np_taken = start, .np_freed = start, .np_told = start + np_total,
		.p_total = p_total, .np_total = np_total,
	};
}

bool fb_credit_may_send(const struct fb_credit *c, enum fb_link_class cls, uint32_t record)
{
	switch (cls) {
	case FB_LINK_P:
		return fb_seq(c->p_limit, c->p_sent + record) >= 0;
	case FB_LINK_NP:
		return fb_seq(c->np_limit, c->np_sent + 1) >= 0;
	default:
		return true;
	}
}

void fb_credit_sent(struct fb_credit *c, enum fb_link_class cls, uint32_t record)
{
	if (cls == FB_LINK_P)
		c->p_sent += record;
	else if (cls == FB_LINK_NP)
		c->np_sent++;
}

bool fb_credit_limits(struct fb_credit *c, uint32_t p, uint32_t np)
{
	bool rose = false;

	/* Datagrams come in any order: only a later limit counts. */
	if (fb_seq(p, c->p_limit) > 0) {
		c->p_limit = p;
		rose = true;
	}
	if (fb_seq(np, c->np_limit) > 0) {
		c->np_limit = np;
		rose = true;
	}
	return rose;
}

bool fb_credit_take(struct fb_credit *c, enum fb_link_class cls, uint32_t record)
{
	if (cls == FB_LINK_P) {
		c->p_taken += record;
		return fb_seq(c->p_told, c->p_taken) >= 0;
	}
	if (cls == FB_LINK_NP) {
		c->np_taken++;
		return fb_seq(c->np_told, c->np_taken) >= 0;
	}
	return true;
}

void fb_credit_free(struct fb_credit *c, enum fb_link_class cls, uint32_t record)
{
	/* Never more than was taken, whatever the user says. */
	if (cls == FB_LINK_P)
		c->p_freed += record < c->p_taken - c->p_freed ? record : c->p_taken - c->p_freed;
	else if (cls == FB_LINK_NP && c->np_freed != c->np_taken)
		c->np_freed++;
}

void fb_credit_tell(struct fb_credit *c, uint32_t *p, uint32_t *np)
{
	*p = c->p_told = c->p_freed + c->p_total;
	*np = c->np_told = c->np_freed + c->np_total;
}

bool fb_credit_due(const struct fb_credit *c)
{
	uint32_t p_gain = c->p_freed + c->p_total - c->p_told, np_gain = c->np_freed + c->np_total - c->np_told;
	uint32_t p_left = c->p_told - c->p_taken, np_left = c->np_told - c->np_taken;

	return (p_gain && (p_gain >= c->p_total / 2 || p_left < FB_WIRE_RECORD_MAX)) ||
	       (np_gain && (np_gain >= c->np_total / 2 || !np_left));
}
