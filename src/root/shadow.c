/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shadow doorbells, the root's side (tlp/ring_wire.h, docs/design/shadow.md).
 *
 * Theory of operation
 *
 * The host moves a ring's index in its memory (the shadow), and writes the
 * register only if the index passes the one at `event`. Who takes that write has
 * to store the new index at `event`, and then to look at the shadow once more,
 * for the host may have moved it while `event` was old, and then rings for nothing.
 * The function would need a round trip for it. The root has the memory at hand:
 * it does so when the write comes by, and the function gets a message with the
 * index that the shadow had in the end, in place of the write.
 *
 * Where the root cannot (memory without a file descriptor, DMA off, writes queued,
 * a shadow that never comes to rest or has no index in it), the write goes to the
 * function as ever, and the function looks by itself.
 */
#include <endian.h>

#include "root/function.h"
#include "util/reader.h"

enum { LOOKS = 8 }; /* as often as that a VM may have moved on */

struct settle {
	uint32_t *event;
	const uint32_t *shadow;
	uint32_t entries;
	uint32_t index;
	bool settled;
};

static void settle(void *arg)
{
	struct settle *s = arg;
	uint32_t index = le32toh(__atomic_load_n(s->shadow, __ATOMIC_ACQUIRE));

	for (unsigned i = 0; i < LOOKS && !s->settled && index < s->entries; i++) {
		s->index = index;
		__atomic_store_n(s->event, htole32(index), __ATOMIC_RELAXED);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		index = le32toh(__atomic_load_n(s->shadow, __ATOMIC_ACQUIRE));
		s->settled = index == s->index;
	}
}

/* 4 bytes of the VM's memory, as the function itself may reach them; NULL: not so, or not from here. */
static uint32_t *place(struct fb_root_function *f, uint64_t address, uint32_t flags)
{
	const struct fb_dma_region *r = fb_dma_map_find(&f->dma.map, address);
	uint8_t *at;

	if (!r || !r->host || (r->flags & flags) != flags || !fb_in_range(address - r->iova, 4, r->size))
		return NULL;
	at = r->host + (address - r->iova);
	return (uintptr_t)at % 4 ? NULL : (uint32_t *)(void *)at;
}

static bool look(struct fb_root_function *f, const struct fb_ring_rule *r, uint32_t *index)
{
	struct settle s = {.entries = r->entries};

	if (!fb_vm_ring_may(f) || fb_dma_writes_in_flight(f))
		return false;
	s.event = place(f, r->event, FB_DMA_WRITABLE);
	s.shadow = place(f, r->shadow, FB_DMA_READABLE);
	if (!s.event || !s.shadow || fb_dma_guarded(settle, &s) < 0)
		return false;
	*index = s.index;
	return s.settled;
}

static bool tell(struct fb_root_function *f, const struct fb_ring_rule *r, uint32_t index)
{
	uint8_t payload[8] = {r->slot};

	fb_put_le32(payload + 4, index);
	return fb_vm_ring_send(f, FB_RING_INDEX, payload, sizeof(payload)) == 0;
}

bool fb_vm_shadow_written(struct fb_root_function *f, struct fb_vm_ring *ring, uint32_t value)
{
	uint32_t index;

	if (!ring->rule.shadow)
		return false;
	f->count.shadow_rung++;
	if (!look(f, &ring->rule, &index)) {
		ring->told = false;
		return false;
	}
	/* Rung while it was looked at before: the function knows. */
	if (!ring->told || ring->index != index) {
		ring->told = tell(f, &ring->rule, index);
		if (!ring->told)
			return false;
		fb_vm_ring_moved(f, ring, index);
		f->count.shadow_found += index != value;
	}
	f->count.shadow_served++;
	return true;
}
