/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A byte ring between one thread that puts and one that takes, without locks.
 * Its memory is mapped twice in a row, so what is put or taken is always one
 * piece.
 */
#ifndef FARBUS_CAPTURE_RING_H
#define FARBUS_CAPTURE_RING_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct fb_capture_ring {
	uint8_t *base;
	size_t size; /* a power of two of whole pages */
	/* Counted in bytes since the start; each on a cache line of its own side. */
	size_t head __attribute__((aligned(64))); /* put so far */
	size_t tail_seen;                         /* the putter's last look at tail */
	size_t tail __attribute__((aligned(64))); /* taken so far */
};

int fb_capture_ring_init(struct fb_capture_ring *ring, size_t size); /* rounded up; 0 or -errno */
void fb_capture_ring_fini(struct fb_capture_ring *ring);

/* The putter: room for `max` bytes, or NULL; then what was really written there. Returns what now waits. */
uint8_t *fb_capture_ring_reserve(struct fb_capture_ring *ring, size_t max);
size_t fb_capture_ring_commit(struct fb_capture_ring *ring, size_t len);

/* The taker: all that waits; then how much of it is done with. */
size_t fb_capture_ring_peek(struct fb_capture_ring *ring, const uint8_t **data);
void fb_capture_ring_consume(struct fb_capture_ring *ring, size_t len);

#ifdef __cplusplus
}
#endif
#endif
