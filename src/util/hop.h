/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long TLPs take at one hop of their way (docs/operations.md, "Times"): a
 * histogram, and which of them are measured, so that a hop which a million pass
 * a second pays for a clock with few of them.
 *
 *	uint64_t since = fb_hop_begin(&hop, 16);
 *	…
 *	fb_hop_end(&hop, since);
 */
#ifndef FARBUS_UTIL_HOP_H
#define FARBUS_UTIL_HOP_H

#include "util/histogram.h"
#include "util/loop.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fb_hop {
	struct fb_histogram time; /* ns */
	uint32_t turn;
};

/* The time if this one, of every `every`, is measured, else 0. */
static inline uint64_t fb_hop_begin(struct fb_hop *hop, uint32_t every)
{
	return ++hop->turn % every == 0 ? fb_clock_ns() : 0;
}

static inline void fb_hop_end(struct fb_hop *hop, uint64_t since)
{
	if (since)
		fb_histogram_add(&hop->time, fb_clock_ns() - since);
}

#ifdef __cplusplus
}
#endif
#endif
