/* SPDX-License-Identifier: Apache-2.0 */
#include "link/rto.h"

enum { INITIAL_NS = 20000000, MAX_BACKOFF = 24 };

void fb_rto_init(struct fb_rto *r, uint64_t min, uint64_t max, uint64_t ack_delay)
{
	*r = (struct fb_rto){.min = min, .max = max > min ? max : min, .ack_delay = ack_delay};
}

void fb_rto_sample(struct fb_rto *r, uint64_t rtt)
{
	if (!rtt)
		rtt = 1;
	if (!r->srtt) { /* 2.2 */
		r->srtt = rtt;
		r->rttvar = rtt / 2;
		r->min_rtt = rtt;
		return;
	}
	/* 2.3: beta 1/4, alpha 1/8, the variance first */
	uint64_t error = rtt > r->srtt ? rtt - r->srtt : r->srtt - rtt;

	r->rttvar = r->rttvar - r->rttvar / 4 + error / 4;
	r->srtt = r->srtt - r->srtt / 8 + rtt / 8;
	if (!r->srtt)
		r->srtt = 1;
	if (rtt < r->min_rtt)
		r->min_rtt = rtt;
}

uint64_t fb_rto_get(const struct fb_rto *r)
{
	uint64_t t = r->srtt ? r->srtt + 4 * r->rttvar + r->ack_delay : INITIAL_NS;

	if (t < r->min)
		t = r->min;
	for (unsigned i = 0; i < r->backoff && t < r->max; i++)
		t *= 2; /* 5.5 */
	return t < r->max ? t : r->max;
}

void fb_rto_timeout(struct fb_rto *r)
{
	if (r->backoff < MAX_BACKOFF)
		r->backoff++;
}
