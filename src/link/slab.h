/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What has been cut into datagrams and is not acknowledged: a ring of slots of
 * one datagram each, adjacent in memory, header room first. The stream is
 * appended to the last slot until it is full or sent; a sent slot never changes
 * its payload and stays until acknowledged.
 *
 *	   una            next              end
 *	    | sent         | cut, not sent   |
 */
#ifndef FARBUS_LINK_SLAB_H
#define FARBUS_LINK_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "link/link_wire.h"

enum { FB_SLOT_SACKED = 1, FB_SLOT_LOST = 2 };

struct fb_slot {
	uint64_t pos;     /* of its first payload byte in the stream */
	uint64_t sent_at; /* last time, ns */
	uint32_t number;  /* of the datagram that carried it last */
	uint16_t len;     /* payload bytes */
	uint8_t flags;
	uint8_t tx;       /* times sent, saturating */
};

struct fb_slab {
	uint8_t *mem;
	struct fb_slot *slots;
	uint32_t n;      /* slots, a power of two */
	uint32_t stride; /* bytes of a slot: the size of a full datagram */
	uint64_t una, next, end; /* counters; slot i is at i % n */
	uint64_t pos;    /* stream position after the last byte appended */
	uint64_t closed; /* the slot before this one is not to grow, full or not */
};

/* `stride` a multiple of 4. 0 or -ENOMEM. */
int fb_slab_init(struct fb_slab *slab, uint32_t stride, uint32_t window, uint64_t pos);
void fb_slab_free(struct fb_slab *slab);

static inline struct fb_slot *fb_slab_slot(const struct fb_slab *slab, uint64_t i)
{
	return &slab->slots[i & (slab->n - 1)];
}

static inline uint8_t *fb_slab_dgram(const struct fb_slab *slab, uint64_t i)
{
	return slab->mem + (size_t)(i & (slab->n - 1)) * slab->stride;
}

static inline uint32_t fb_slab_payload_max(const struct fb_slab *slab)
{
	return slab->stride - FB_WIRE_DATA_HLEN;
}

/* Stream bytes that fit now. */
size_t fb_slab_room(const struct fb_slab *slab);
/* Appends bytes to the stream; the caller has seen to the room. */
void fb_slab_append(struct fb_slab *slab, const void *bytes, size_t len);
/* What is appended from here on begins a new datagram. */
static inline void fb_slab_close(struct fb_slab *slab) { slab->closed = slab->end; }
/*
 * Cuts all that is not acknowledged anew, into datagrams of `stride` bytes;
 * what had been sent is marked lost. 0 or -ENOMEM (nothing changed).
 */
int fb_slab_recut(struct fb_slab *slab, uint32_t stride, uint32_t window);

#endif
