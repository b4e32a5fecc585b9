/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "link/ring.h"

enum { RING_MIN = 4096 };

int fb_ring_reserve(struct fb_ring *r, size_t len)
{
	size_t used = fb_ring_len(r), cap = r->cap ? r->cap : RING_MIN, done = 0;
	uint8_t *mem;

	if (used + len <= r->cap)
		return 0;
	while (cap < used + len)
		cap *= 2;
	mem = malloc(cap);
	if (!mem)
		return -ENOMEM;
	while (done < used) {
		size_t n = used - done;
		const uint8_t *p = fb_ring_peek(r, done, &n);

		memcpy(mem + done, p, n);
		done += n;
	}
	free(r->mem);
	*r = (struct fb_ring){.mem = mem, .cap = cap, .head = 0, .tail = used};
	return 0;
}

void fb_ring_put(struct fb_ring *r, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	while (len) {
		size_t at = (size_t)r->tail & (r->cap - 1), n = r->cap - at < len ? r->cap - at : len;

		memcpy(r->mem + at, p, n);
		r->tail += n;
		p += n;
		len -= n;
	}
}

const uint8_t *fb_ring_peek(const struct fb_ring *r, size_t offset, size_t *len)
{
	size_t at = (size_t)(r->head + offset) & (r->cap - 1);

	if (*len > r->cap - at)
		*len = r->cap - at;
	return r->mem + at;
}

void fb_ring_free(struct fb_ring *r)
{
	free(r->mem);
	*r = (struct fb_ring){0};
}
