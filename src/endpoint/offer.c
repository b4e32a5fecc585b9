/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Offers, the box's side (tlp/offer_wire.h, docs/design/offers.md).
 *
 * Theory of operation
 *
 * The model says what reads would give now (fb_device_offer()). That leaves in
 * order with everything else that is posted, with the number of requests and
 * messages that have come from the root: the root, which counts what it sends,
 * answers from an offer only while the two are equal. So when a use is reported
 * nothing of the root's has come since the offer. If the model has made no other
 * since either, the use is the read itself, and read() is called for it.
 *
 * One offer at most is in the posted queue. If the next one is made before that
 * has left, it leaves as an empty one, and the next one not at all: what is
 * queued between the two is older than the next one's values.
 */
#include <inttypes.h>
#include <string.h>

#include "endpoint/device_impl.h"

_Static_assert((int)FB_DEVICE_VALUES == (int)FB_OFFER_VALUES, "as many values in the API as on the wire");

static bool able(const struct fb_device *dev)
{
	return dev->port && dev->options.prefetch && dev->root_can & FB_RING_CAN_OFFERS;
}

void fb_device_offer(struct fb_device *dev, const struct fb_device_value *values, unsigned n)
{
	struct fb_offers *o = &dev->offers;
	struct fb_req *req;

	if (dev->thread || !able(dev) || n > FB_DEVICE_VALUES)
		return;
	if (!dev->view.memory || dev->view.d3hot)
		n = 0;
	if (n == 0 && (o->last.seen != o->seen || o->first == o->last.n)) /* the root cannot use the one before anyhow */
		return;
	o->last.seq++;
	o->last.seen = o->seen;
	o->last.n = n;
	o->first = 0;
	for (unsigned i = 0; i < n; i++)
		o->last.value[i] = (struct fb_offer_value){
			.bar = values[i].bar, .size = values[i].size, .offset = values[i].offset, .value = values[i].value,
			.flags = (uint8_t)((values[i].inert ? FB_OFFER_INERT : 0) |
					   (values[i].lowers_intx ? FB_OFFER_LOWERS_INTX : 0))};
	req = o->queued ? NULL : fb_req_get(dev, REQ_OFFER);
	if (!req) {
		o->last.n = 0;
		return;
	}
	o->queued = true;
	fb_post(dev, req);
}

int fb_offer_send(struct fb_device *dev)
{
	struct fb_offers *o = &dev->offers;
	uint8_t payload[FB_OFFER_SIZE_MAX];
	int err;

	if (o->last.seen != o->seen) /* the root would not use it any more, nor any that it has */
		return 0;
	err = fb_ring_message_send(dev, FB_OFFER, payload, fb_offer_put(&o->last, payload));
	if (err)
		return err;
	dev->stats.offers++;
	o->intx_since = 0;
	return 0;
}

/* ---- What the root says ------------------------------------------------------------ */

/* The value of the last offer that has been read; it and those in front of it are gone. NULL: there is none. */
static const struct fb_offer_value *take(struct fb_offers *o, const struct fb_offer_used *u)
{
	if (o->last.seen != o->seen - 1) /* the use itself has been counted */
		return NULL;
	for (unsigned i = o->first; i < o->last.n; i++) {
		const struct fb_offer_value *v = &o->last.value[i];

		if (v->bar != u->bar || v->offset != u->offset || v->flags & FB_OFFER_INERT)
			continue;
		o->first = i + 1;
		o->last.seen = o->seen; /* those behind it stay */
		return v;
	}
	return NULL;
}

static void read_now(struct fb_device *dev, const struct fb_offer_value *v)
{
	uint64_t offered = v->value, more; /* read() may offer anew */
	uint64_t value = dev->model->read(dev, v->bar, v->offset, v->size);

	if (value == offered)
		return;
	dev->stats.bad_offers++;
	if (fb_log_allowed(&dev->log_mmio, fb_loop_now(dev->loop), &more))
		fb_device_error(dev, "the model offered 0x%" PRIx64 ", and reading it gives 0x%" PRIx64
				     ": it has to offer anew when that changes (%" PRIu64 " more not shown)",
				offered, value, more);
}

void fb_offer_used(struct fb_device *dev, const struct pcie_tlp *tlp)
{
	struct fb_offers *o = &dev->offers;
	const struct fb_offer_value *v = NULL;
	struct fb_offer_used u;
	bool latest;

	if (!fb_offer_used_get(&u, tlp->data, (size_t)tlp->length * 4) || dev->thread || !able(dev) || !dev->view.memory ||
	    dev->view.d3hot)
		goto refuse;
	latest = u.seq == o->last.seq;
	if (latest) {
		v = take(o, &u);
		if (!v)
			goto refuse;
	}
	if (u.flags & FB_OFFER_LOWERED)
		fb_ep_intx_lowered(dev, latest && o->intx_since <= 1); /* the one is the Assert that belongs to the offer */
	if (v) {
		dev->stats.offers_used++;
		read_now(dev, v);
	} else {
		dev->stats.offers_outdated++;
		if (dev->model->read_outdated)
			dev->model->read_outdated(dev, u.bar, u.offset);
	}
	if (u.flags & FB_OFFER_LOWERED)
		fb_ep_intx_update(dev);
	return;

refuse:
	dev->stats.bad_uses++;
}

void fb_offer_attach(struct fb_device *dev)
{
	memset(&dev->offers, 0, sizeof(dev->offers));
}

void fb_offer_forget(struct fb_device *dev)
{
	dev->offers.last.n = 0;
	dev->offers.last.seq++;
}
