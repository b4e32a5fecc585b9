/* SPDX-License-Identifier: Apache-2.0 */
/* A byte queue that grows to what it has to hold and never shrinks; its user bounds what is put in. */
#ifndef FARBUS_LINK_RING_H
#define FARBUS_LINK_RING_H

#include <stddef.h>
#include <stdint.h>

struct fb_ring {
	uint8_t *mem;
	size_t cap; /* a power of two, or 0 */
	uint64_t head, tail; /* counters of bytes taken and put */
};

static inline size_t fb_ring_len(const struct fb_ring *r) { return (size_t)(r->tail - r->head); }
/* Makes room for len more bytes. 0 or -ENOMEM. */
int fb_ring_reserve(struct fb_ring *r, size_t len);
/* There is room. */
void fb_ring_put(struct fb_ring *r, const void *bytes, size_t len);
/* The next bytes that lie together, at most *len of them; *len becomes how many. */
const uint8_t *fb_ring_peek(const struct fb_ring *r, size_t offset, size_t *len);
static inline void fb_ring_take(struct fb_ring *r, size_t len) { r->head += len; }
void fb_ring_free(struct fb_ring *r);

#endif
