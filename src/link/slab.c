/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "link/slab.h"

enum { SLOTS_MIN = 64 };

static int alloc(struct fb_slab *slab, uint32_t stride, uint64_t bytes)
{
	/* More than the window: what is cut but not sent needs slots too. Not much more: the ring cycles through the cache. */
	uint64_t want = (bytes + bytes / 4) / (stride - FB_WIRE_DATA_HLEN);
	uint32_t n = SLOTS_MIN;

	while (n < want)
		n *= 2;
	*slab = (struct fb_slab){.n = n, .stride = stride};
	slab->mem = malloc((size_t)n * stride);
	slab->slots = calloc(n, sizeof(*slab->slots));
	if (slab->mem && slab->slots)
		return 0;
	fb_slab_free(slab);
	return -ENOMEM;
}

int fb_slab_init(struct fb_slab *slab, uint32_t stride, uint32_t window, uint64_t pos)
{
	int err = alloc(slab, stride, window);

	slab->pos = pos;
	return err;
}

void fb_slab_free(struct fb_slab *slab)
{
	free(slab->mem);
	free(slab->slots);
	slab->mem = NULL;
	slab->slots = NULL;
}

/* The slot that may still grow, or NULL. */
static struct fb_slot *open_slot(const struct fb_slab *slab)
{
	struct fb_slot *s;

	if (slab->end == slab->next || slab->end == slab->closed)
		return NULL;
	s = fb_slab_slot(slab, slab->end - 1);
	return s->len < fb_slab_payload_max(slab) ? s : NULL;
}

size_t fb_slab_room(const struct fb_slab *slab)
{
	const struct fb_slot *s = open_slot(slab);
	size_t max = fb_slab_payload_max(slab);

	return (slab->n - (size_t)(slab->end - slab->una)) * max + (s ? max - s->len : 0);
}

void fb_slab_append(struct fb_slab *slab, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	size_t max = fb_slab_payload_max(slab);

	while (len) {
		struct fb_slot *s = open_slot(slab);
		size_t n;

		if (!s) {
			s = fb_slab_slot(slab, slab->end++);
			*s = (struct fb_slot){.pos = slab->pos};
		}
		n = max - s->len < len ? max - s->len : len;
		memcpy(fb_slab_dgram(slab, slab->end - 1) + FB_WIRE_DATA_HLEN + s->len, p, n);
		s->len = (uint16_t)(s->len + n);
		slab->pos += n;
		p += n;
		len -= n;
	}
}

int fb_slab_recut(struct fb_slab *slab, uint32_t stride, uint32_t window)
{
	struct fb_slab new;
	uint64_t start = slab->una < slab->end ? fb_slab_slot(slab, slab->una)->pos : slab->pos, sent = start;
	int err = alloc(&new, stride, slab->pos - start > window ? slab->pos - start : window);

	if (err)
		return err;
	new.pos = start;
	for (uint64_t i = slab->una; i < slab->end; i++) {
		const struct fb_slot *s = fb_slab_slot(slab, i);

		fb_slab_append(&new, fb_slab_dgram(slab, i) + FB_WIRE_DATA_HLEN, s->len);
		if (i < slab->next)
			sent = s->pos + s->len;
	}
	for (; new.next < new.end && fb_slab_slot(&new, new.next)->pos < sent; new.next++) {
		struct fb_slot *s = fb_slab_slot(&new, new.next);

		s->flags = FB_SLOT_LOST;
		s->tx = 1;
	}
	fb_slab_free(slab);
	*slab = new;
	return 0;
}
