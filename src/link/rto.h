/* SPDX-License-Identifier: Apache-2.0 */
/* Round-trip estimate and retransmission time-out, RFC 6298. Pure arithmetic; ns. */
#ifndef FARBUS_LINK_RTO_H
#define FARBUS_LINK_RTO_H

#include <stdint.h>

struct fb_rto {
	uint64_t min, max; /* bounds of the time-out */
	uint64_t ack_delay; /* how long the peer may hold an acknowledgement back */
	uint64_t srtt, rttvar, min_rtt; /* 0: no sample yet */
	unsigned backoff; /* time-outs since something was acknowledged */
};

void fb_rto_init(struct fb_rto *r, uint64_t min, uint64_t max, uint64_t ack_delay);
void fb_rto_sample(struct fb_rto *r, uint64_t rtt);
/* The time-out now: doubled by each fb_rto_timeout(), until fb_rto_progress(). */
uint64_t fb_rto_get(const struct fb_rto *r);
void fb_rto_timeout(struct fb_rto *r);
static inline void fb_rto_progress(struct fb_rto *r) { r->backoff = 0; }

#endif
