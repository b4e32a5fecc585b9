/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ring prefetch, the box's side (tlp/ring_wire.h).
 *
 * Theory of operation
 *
 * The model says where a ring lies (fb_device_ring_set()); that goes to the root as a
 * message, in order with everything else that is posted, so the root knows the
 * ring before the host hears that it exists. What the root sends along with a
 * doorbell is kept until the end of the round of the loop in which it came; a
 * DMA read of exactly such bytes is answered from there, and no TLP is sent.
 *
 * So nothing depends on it: what did not come, or came too late, is read as
 * ever. And nothing old is ever used: the bytes were read by the root behind the
 * doorbell, and are gone before the next one.
 */
#include <stdlib.h>
#include <string.h>

#include "endpoint/device_impl.h"
#include "util/reader.h"

_Static_assert((int)FB_DEVICE_RINGS == (int)FB_RING_SLOTS, "as many slots in the API as on the wire");

/* `rule` NULL: none any more. */
static void set_rule(struct fb_device *dev, unsigned slot, const struct fb_ring_rule *rule)
{
	struct fb_rings *rings = &dev->rings;
	struct fb_req *req;

	if (slot >= FB_RING_SLOTS || !dev->port || !dev->options.prefetch || (!rule && !rings->rule[slot].entries))
		return;
	if (!rings->bytes)
		rings->bytes = malloc(FB_AHEAD_BYTES);
	if (!rings->bytes)
		return;
	rings->rule[slot] = rule ? *rule : (struct fb_ring_rule){0};
	rings->rule[slot].slot = (uint8_t)slot;
	fb_shadow_set(dev, slot);
	if (rings->queued >> slot & 1) /* what is sent is looked up when it leaves */
		return;
	req = fb_req_get(dev, REQ_RING);
	if (!req)
		return;
	req->ring.slot = slot;
	rings->queued |= UINT64_C(1) << slot;
	fb_post(dev, req);
}

void fb_device_ring_set(struct fb_device *dev, unsigned slot, const struct fb_device_ring *ring)
{
	struct fb_ring_rule rule;

	if (fb_on_thread(dev)) {
		fb_thread_ring_set(dev, slot, ring);
		return;
	}
	if (ring)
		rule = (struct fb_ring_rule){
			.bar = ring->bar, .reg = ring->reg, .base = ring->base, .entry_size = ring->entry_size,
			.entries = ring->entries, .match_at = ring->match_at, .match = ring->match,
			.pointer_at = ring->pointer_at, .count_at = ring->count_at,
			.count_shift = ring->count_shift, .data_max = ring->data_max,
			.shadow = dev->thread ? 0 : ring->shadow, .event = dev->thread ? 0 : ring->event};
	set_rule(dev, slot, ring ? &rule : NULL);
}

void fb_device_pointers_set(struct fb_device *dev, unsigned slot, const struct fb_device_pointers *pointers)
{
	struct fb_ring_rule rule;

	if (fb_on_thread(dev)) {
		fb_thread_pointers_set(dev, slot, pointers);
		return;
	}
	if (pointers)
		rule = (struct fb_ring_rule){
			.pointers = true, .bar = pointers->bar, .reg = pointers->reg, .reg_stride = pointers->reg_stride,
			.entries = pointers->registers, .entry_size = pointers->block_size,
			.match_at = pointers->match_at, .match = pointers->match, .pointer_at = pointers->pointer_at,
			.count_at = pointers->count_at, .count_shift = pointers->count_shift,
			.list_stride = pointers->list_stride, .end_at = pointers->end_at,
			.data_max = pointers->data_max};
	set_rule(dev, slot, pointers ? &rule : NULL);
}

int fb_ring_message_send(struct fb_device *dev, uint32_t what, const uint8_t *payload, size_t len)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_MSGD,
			       .requester_id = dev->bdf,
			       .msg_code = PCIE_MSG_VENDOR_TYPE1,
			       .msg_route = PCIE_ROUTE_TO_ROOT,
			       .vendor_id = FB_RING_VENDOR,
			       .vendor_data = what,
			       .length = (uint16_t)(len / 4),
			       .data = payload};

	return fb_port_send(dev->port, &tlp);
}

int fb_ring_send(struct fb_device *dev, unsigned slot)
{
	uint8_t payload[FB_RING_RULE_SIZE];

	fb_ring_rule_put(&dev->rings.rule[slot], payload);
	return fb_ring_message_send(dev, FB_RING_RULE, payload, sizeof(payload));
}

/* ---- What came ahead ------------------------------------------------------------ */

void fb_ring_drop(struct fb_device *dev)
{
	dev->rings.n = 0;
	dev->rings.used = 0;
}

void fb_ring_forget(struct fb_device *dev)
{
	fb_ring_drop(dev);
	fb_shadow_forget(dev);
	dev->root_can = 0;
	memset(dev->rings.rule, 0, sizeof(dev->rings.rule));
}

static uint64_t this_round(const struct fb_device *dev)
{
	return fb_loop_stats(dev->loop)->rounds;
}

static void came_ahead(struct fb_device *dev, const struct pcie_tlp *tlp)
{
	struct fb_rings *rings = &dev->rings;
	struct fb_reader rd = fb_reader(tlp->data, (size_t)tlp->length * 4);
	uint64_t address = fb_rd_le64(&rd);
	uint32_t len = fb_rd_le32(&rd);
	struct fb_ahead *last;
	const uint8_t *bytes;

	(void)fb_rd_le32(&rd);
	bytes = fb_rd_bytes(&rd, len);
	if (!fb_rd_ok(&rd) || !len || !rings->bytes || !fb_may_master(dev))
		return;
	if (rings->round != this_round(dev))
		fb_ring_drop(dev);
	rings->round = this_round(dev);
	if (len > FB_AHEAD_BYTES - rings->used)
		return;
	last = rings->n ? &rings->ahead[rings->n - 1] : NULL;
	if (last && last->address + last->len == address) {
		last->len += len;
	} else {
		if (rings->n == FB_AHEADS)
			return;
		rings->ahead[rings->n++] = (struct fb_ahead){address, len, rings->used};
	}
	memcpy(rings->bytes + rings->used, bytes, len);
	rings->used += len;
}

void fb_ring_message(struct fb_device *dev, const struct pcie_tlp *tlp)
{
	switch (tlp->vendor_data) {
	case FB_RING_AHEAD:
		came_ahead(dev, tlp);
		break;
	case FB_RING_ABLE:
		dev->root_can = fb_get_le32(tlp->data);
		break;
	case FB_RING_INDEX:
		fb_shadow_message(dev, tlp);
		break;
	case FB_OFFER_USED:
		fb_offer_used(dev, tlp);
		break;
	}
}

/* Where the bytes are; NULL: they have not come. */
static const uint8_t *find(const struct fb_rings *rings, uint64_t address, uint32_t len)
{
	for (unsigned i = rings->n; i > 0; i--) { /* the newest first */
		const struct fb_ahead *a = &rings->ahead[i - 1];

		if (address >= a->address && fb_in_range(address - a->address, len, a->len))
			return rings->bytes + a->at + (address - a->address);
	}
	return NULL;
}

bool fb_ring_take(struct fb_device *dev, const struct fb_dma_seg *segs, unsigned n, uint8_t *buf)
{
	if (dev->rings.round != this_round(dev))
		return false;
	for (unsigned i = 0; i < n; i++) { /* that some of it is there already is no harm: it is read over that */
		const uint8_t *bytes = find(&dev->rings, segs[i].addr, segs[i].len);

		if (!bytes)
			return false;
		memcpy(buf, bytes, segs[i].len);
		buf += segs[i].len;
	}
	dev->stats.dma_reads_ahead++;
	return true;
}
