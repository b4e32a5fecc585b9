/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Offers, the root's side (tlp/offer_wire.h, docs/design/offers.md): the function
 * says what reads of some registers would give; the VM's next read of one of
 * them is answered from that at once, and the function is told.
 *
 * Only while nothing has been sent to the function since: the offer says how
 * much the function had received from us, and that has to be all that was sent,
 * with nothing waiting. And only when all that the function wrote before the
 * offer is in the VM's memory. In any other case the read goes to the function,
 * as ever.
 */
#include <string.h>

#include "root/function.h"

void fb_vm_offer_message(struct fb_root_function *f, const struct pcie_tlp *tlp)
{
	struct fb_vm_offer *o = &f->offer;

	if (tlp->vendor_id != FB_RING_VENDOR || tlp->vendor_data != FB_OFFER)
		return;
	f->count.offers++;
	o->first = 0;
	if (!tlp->data || !fb_offer_get(&o->last, tlp->data, (size_t)tlp->length * 4)) {
		f->count.bad_offers++;
		o->last.n = 0;
	}
}

void fb_vm_offer_forget(struct fb_root_function *f)
{
	memset(&f->offer, 0, sizeof(f->offer));
}

static bool usable(const struct fb_root_function *f)
{
	return f->port && f->offer.last.seen == f->port->requests && fb_rq_all_sent(&f->rq) &&
	       !fb_dma_writes_in_flight(f) && !f->dma.waiting;
}

/* The function is told that value i has been read. False: not now. */
static bool tell(struct fb_root_function *f, unsigned i)
{
	struct fb_vm_offer *o = &f->offer;
	const struct fb_offer_value *v = &o->last.value[i];
	struct fb_offer_used used = {.seq = o->last.seq, .offset = v->offset, .bar = v->bar};
	bool lowers = v->flags & FB_OFFER_LOWERS_INTX && f->irq.intx_level;
	uint8_t payload[FB_OFFER_USED_SIZE];

	used.flags = lowers ? FB_OFFER_LOWERED : 0;
	fb_offer_used_put(&used, payload);
	fb_vu_reply_next(&f->vu); /* the VM waits, and the function does not */
	if (fb_vm_ring_send(f, FB_OFFER_USED, payload, sizeof(payload)) < 0)
		return false;
	if (lowers)
		fb_irq_intx(f, false);
	o->first = i + 1;
	o->last.seen = f->port->requests; /* those behind it stay */
	return true;
}

bool fb_vm_offer_take(struct fb_root_function *f, unsigned region, uint64_t offset, uint32_t len, uint8_t *buf)
{
	const struct fb_vm_offer *o = &f->offer;
	const struct fb_offer_value *v;
	unsigned i = o->first;

	while (i < o->last.n && (o->last.value[i].bar != region || o->last.value[i].offset != offset ||
				 o->last.value[i].size != len))
		i++;
	v = &o->last.value[i];
	if (i >= o->last.n || !usable(f) || (!(v->flags & FB_OFFER_INERT) && !tell(f, i)))
		return false;
	f->count.reads_offered++;
	for (unsigned b = 0; b < len; b++)
		buf[b] = (uint8_t)(v->value >> 8 * b);
	return true;
}
