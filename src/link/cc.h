/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much may be in flight. Small on purpose: control by delay replaces this
 * file later behind the same calls.
 *
 * The window doubles each round trip up to `threshold`, then grows by a few
 * datagrams a round trip, up to `max`. Scattered loss (below about 4 %) does not
 * shrink it: at LAN round-trip times such loss is noise, not congestion. Heavier
 * loss takes an eighth of it per round trip, a time-out the half, and a time-out
 * that turns out to be false gives it back. Pure; ns and bytes.
 */
#ifndef FARBUS_LINK_CC_H
#define FARBUS_LINK_CC_H

#include <stdint.h>

struct fb_cc {
	uint32_t window, max, floor, threshold, datagram;
	uint32_t loss;        /* moving average of the share of datagrams lost, 65536 = all */
	uint32_t undo, undo_threshold; /* before the last time-outs; 0: nothing to undo */
	uint64_t reduced_at;
};

void fb_cc_init(struct fb_cc *cc, uint32_t max, uint32_t datagram);
void fb_cc_acked(struct fb_cc *cc, uint32_t bytes, uint32_t datagrams);
void fb_cc_lost(struct fb_cc *cc, uint32_t datagrams, uint64_t now, uint64_t srtt);
void fb_cc_timeout(struct fb_cc *cc);
void fb_cc_undo(struct fb_cc *cc);    /* the last time-outs were false */
void fb_cc_confirm(struct fb_cc *cc); /* they were not */

#endif
