/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bounded set of byte ranges of the stream, ascending, never touching each
 * other: what has arrived beyond a gap. Pure, no allocation.
 */
#ifndef FARBUS_LINK_RANGES_H
#define FARBUS_LINK_RANGES_H

#include <stdbool.h>
#include <stdint.h>

enum { FB_RANGES_MAX = 256 };

struct fb_range {
	uint64_t start, end; /* [start, end) */
};

struct fb_ranges {
	unsigned n;
	struct fb_range v[FB_RANGES_MAX];
};

/* Adds [start, end). 1: something in it was new; 0: all known; -1: the set is full (nothing changed). */
int fb_ranges_add(struct fb_ranges *r, uint64_t start, uint64_t end);
/* Forgets all below `pos`. */
void fb_ranges_cut(struct fb_ranges *r, uint64_t pos);

#endif
