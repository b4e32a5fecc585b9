/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shadow doorbells, the box's side (tlp/ring_wire.h, docs/design/shadow.md).
 *
 * Theory of operation
 *
 * Nearly always the root does it all, and a message has the index. When it
 * cannot, the host's write of the register comes itself. It is taken as a hint:
 * what is in the shadow counts, for indexes that the root found there before may be
 * newer than a write that was on its way. So the box looks: it writes the index it
 * has to the event index, reads the shadow behind that, and does so again until the
 * shadow holds what the event index does. One look a ring is on its way at any time.
 *
 * A look that fails (bus mastering is off, memory is unmapped for a moment) is
 * repeated: the host has rung, and may never ring again.
 */
#include "endpoint/device_impl.h"
#include "util/reader.h"

#define LATER_NS 100000000u

static void look(struct fb_device *dev, unsigned slot);

static void later_due(struct fb_timer *timer)
{
	struct fb_device *dev = (struct fb_device *)(void *)((char *)timer - offsetof(struct fb_device, rings.timer));
	uint64_t slots = dev->rings.later;

	dev->rings.later = 0;
	for (; slots; slots &= slots - 1)
		look(dev, (unsigned)__builtin_ctzll(slots));
}

static void look_later(struct fb_device *dev, unsigned slot)
{
	if (!dev->rings.later) {
		dev->rings.timer.due = later_due;
		fb_timer_set(dev->loop, &dev->rings.timer, fb_loop_now(dev->loop) + LATER_NS);
	}
	dev->rings.later |= UINT64_C(1) << slot;
}

static void tell_model(struct fb_device *dev, unsigned slot, uint32_t index)
{
	const struct fb_ring_rule *r = &dev->rings.rule[slot];

	dev->rings.shadow[slot].index = index;
	dev->model->write(dev, r->bar, r->reg, index, 4);
}

static void looked(void *arg, int status)
{
	struct fb_shadow *s = arg;
	struct fb_device *dev = s->dev;
	unsigned slot = (unsigned)(s - dev->rings.shadow);
	uint32_t index = fb_get_le32(s->word), stored = s->stored;
	bool again = s->again;

	s->looking = s->again = false;
	if (status && !s->stale) {
		look_later(dev, slot);
		return;
	}
	if (!s->stale && index < dev->rings.rule[slot].entries) { /* else the host has no index there: until it rings again */
		again |= index != stored;
		if (index != s->index)
			tell_model(dev, slot, index);
	}
	s->stale = false;
	if (again)
		look(dev, slot);
}

static void look(struct fb_device *dev, unsigned slot)
{
	const struct fb_ring_rule *r = &dev->rings.rule[slot];
	struct fb_shadow *s = &dev->rings.shadow[slot];
	uint8_t word[4];

	if (!(dev->rings.shadows >> slot & 1))
		return;
	if (s->looking) {
		s->again = true;
		return;
	}
	fb_put_le32(word, s->index);
	if (fb_dma_write(dev, r->event, word, sizeof(word), NULL, NULL) ||
	    fb_dma_read(dev, r->shadow, s->word, sizeof(s->word), looked, s)) {
		look_later(dev, slot);
		return;
	}
	s->looking = true;
	s->stored = s->index;
	dev->stats.shadow_looks++;
}

bool fb_shadow_written(struct fb_device *dev, unsigned bar, uint64_t offset)
{
	for (uint64_t slots = dev->rings.shadows; slots; slots &= slots - 1) {
		unsigned slot = (unsigned)__builtin_ctzll(slots);
		const struct fb_ring_rule *r = &dev->rings.rule[slot];

		if (r->bar == bar && r->reg == offset) {
			look(dev, slot);
			return true;
		}
	}
	return false;
}

/* What the look that is on its way finds is older, or of another ring. */
static void outdated(struct fb_device *dev, unsigned slot)
{
	struct fb_shadow *s = &dev->rings.shadow[slot];

	s->stale = s->looking;
	s->again = false;
	dev->rings.later &= ~(UINT64_C(1) << slot);
}

void fb_shadow_message(struct fb_device *dev, const struct pcie_tlp *tlp)
{
	struct fb_reader rd = fb_reader(tlp->data, (size_t)tlp->length * 4);
	uint32_t slot = fb_rd_le32(&rd), index = fb_rd_le32(&rd);

	if (!fb_rd_ok(&rd) || slot >= FB_RING_SLOTS || !(dev->rings.shadows >> slot & 1) ||
	    index >= dev->rings.rule[slot].entries || dev->view.d3hot || !dev->view.memory)
		return;
	dev->stats.shadow_indexes++;
	outdated(dev, slot);
	/* But its older index may have come to the event index behind the root's newer one: once more, then. */
	dev->rings.shadow[slot].again = dev->rings.shadow[slot].looking;
	tell_model(dev, slot, index);
}

bool fb_device_ring_shadow_able(const struct fb_device *dev)
{
	return dev->root_can & FB_RING_CAN_SHADOW && dev->options.prefetch && !dev->thread;
}

void fb_shadow_set(struct fb_device *dev, unsigned slot)
{
	struct fb_rings *rings = &dev->rings;
	uint64_t bit = UINT64_C(1) << slot;

	outdated(dev, slot);
	rings->shadow[slot].dev = dev;
	rings->shadow[slot].index = 0;
	rings->shadows = rings->rule[slot].shadow ? rings->shadows | bit : rings->shadows & ~bit;
}

/* All DMA has ended before. */
void fb_shadow_forget(struct fb_device *dev)
{
	dev->rings.shadows = dev->rings.later = 0;
	fb_timer_cancel(&dev->rings.timer);
}
