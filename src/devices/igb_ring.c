/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for packets, and the registers of descriptor rings (8.10, 8.12).
 *
 * A ring's `gen` is its life: it changes when the queue is switched off or the device reset. DMA that was started in an
 * earlier life ends without effect; until then its buffer is not used again.
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/igb.h"

enum { CHUNK_ALIGN = 64 };

/* ---- Arena --------------------------------------------------------------------------- */

int igb_arena_init(struct igb_arena *a, struct igb *n)
{
	a->n = n;
	a->mem = malloc(IGB_ARENA);
	for (unsigned i = 0; i < IGB_CHUNKS; i++)
		a->chunk[i].arena = a;
	return a->mem ? 0 : -ENOMEM;
}

void igb_arena_fini(struct igb_arena *a)
{
	free(a->mem);
	a->mem = NULL;
}

struct igb_chunk *igb_chunk_get(struct igb_arena *a, uint32_t len)
{
	uint32_t skip = 0;
	struct igb_chunk *c;
	bool wrap;

	len = (len + CHUNK_ALIGN - 1) & ~(uint32_t)(CHUNK_ALIGN - 1);
	if (a->used == 0)
		a->head = a->tail = 0;
	wrap = a->head + len > IGB_ARENA; /* with nothing to skip, when the head stands at the very end */
	if (wrap)
		skip = IGB_ARENA - a->head;
	if (a->count == IGB_CHUNKS || len > IGB_ARENA || a->used + skip + len > IGB_ARENA) {
		a->full++;
		return NULL;
	}
	c = &a->chunk[(a->first + a->count++) % IGB_CHUNKS];
	c->at = wrap ? 0 : a->head;
	c->len = len;
	c->skipped = skip;
	c->refs = 1;
	a->used += skip + len;
	a->head = c->at + len;
	return c;
}

void igb_chunk_shrink(struct igb_chunk *c, uint32_t len)
{
	struct igb_arena *a = c->arena;

	len = (len + CHUNK_ALIGN - 1) & ~(uint32_t)(CHUNK_ALIGN - 1);
	if (len >= c->len || c != &a->chunk[(a->first + a->count - 1) % IGB_CHUNKS])
		return;
	a->used -= c->len - len;
	a->head -= c->len - len;
	c->len = len;
}

void igb_chunk_unget(struct igb_chunk *c)
{
	struct igb_arena *a = c->arena;

	a->head = c->skipped ? IGB_ARENA - c->skipped : c->at;
	a->used -= c->skipped + c->len;
	a->count--;
}

void igb_chunk_put(struct igb_chunk *c)
{
	struct igb_arena *a = c->arena;
	bool freed = false;

	c->refs--;
	while (a->count && a->chunk[a->first].refs == 0) {
		struct igb_chunk *first = &a->chunk[a->first];

		a->used -= first->skipped + first->len;
		a->tail = first->at + first->len;
		a->first = (a->first + 1) % IGB_CHUNKS;
		a->count--;
		freed = true;
	}
	if (!freed)
		return;
	if (a == &a->n->rx_arena && a->n->rx_held)
		igb_rx_kick(a->n);
	if (a == &a->n->tx_arena || a->n->tx_held)
		igb_tx_kick(a->n);
}

/* ---- Registers ------------------------------------------------------------------------- */

static uint32_t ring_read(const struct igb_ring *r, uint32_t offset)
{
	switch (offset) {
	case IGB_Q_BAL:
		return (uint32_t)r->base;
	case IGB_Q_BAH:
		return (uint32_t)(r->base >> 32);
	case IGB_Q_LEN:
		return r->len;
	case IGB_Q_HEAD:
		return r->head;
	case IGB_Q_TAIL:
		return r->tail;
	case IGB_Q_CTL:
		return r->ctl;
	case IGB_Q_DCA:
		return r->dca;
	}
	return 0;
}

static bool ring_write(struct igb_ring *r, uint32_t offset, uint32_t value)
{
	switch (offset) {
	case IGB_Q_BAL:
		r->base = (r->base & ~(uint64_t)UINT32_MAX) | (value & ~0x7fu);
		return true;
	case IGB_Q_BAH:
		r->base = (r->base & UINT32_MAX) | (uint64_t)value << 32;
		return true;
	case IGB_Q_LEN:
		r->len = value & 0x000ffff0;
		return true;
	case IGB_Q_HEAD:
		if (!(r->ctl & IGB_QCTL_ENABLE))
			r->head = value & 0xffff;
		return true;
	case IGB_Q_DCA:
		r->dca = value;
		return true;
	}
	return false;
}

/* RXDCTL, TXDCTL */
static void ring_enable(struct igb_ring *r, uint32_t value)
{
	bool was = r->ctl & IGB_QCTL_ENABLE, is = value & IGB_QCTL_ENABLE;

	r->ctl = value & ~IGB_QCTL_SWFLUSH & 0x02ffffff;
	if (was == is)
		return;
	r->gen++;
	r->bad = false;
	if (is)
		r->fetch = r->head;
}

uint32_t igb_rx_queue_read(struct igb_rx_queue *q, uint32_t offset)
{
	uint32_t count;

	switch (offset) {
	case IGB_Q_SRRCTL:
		return q->srrctl;
	case IGB_Q_RQDPC:
		count = q->rqdpc > UINT32_MAX ? UINT32_MAX : (uint32_t)q->rqdpc;
		q->rqdpc = 0;
		return count;
	case IGB_Q_WBAL:
		return q->dvmolr;
	}
	return ring_read(&q->r, offset);
}

void igb_rx_queue_write(struct igb_rx_queue *q, uint32_t offset, uint32_t value)
{
	bool was = q->r.ctl & IGB_QCTL_ENABLE;

	switch (offset) {
	case IGB_Q_SRRCTL:
		q->srrctl = value;
		break;
	case IGB_Q_WBAL:
		q->dvmolr = value;
		break;
	case IGB_Q_TAIL:
		q->r.tail = value & 0xffff;
		igb_rx_kick(q->r.n);
		break;
	case IGB_Q_CTL:
		ring_enable(&q->r, value);
		if (was != (bool)(value & IGB_QCTL_ENABLE))
			igb_rx_drop_queue(q);
		igb_rx_kick(q->r.n);
		break;
	default:
		ring_write(&q->r, offset, value);
	}
}

uint32_t igb_tx_queue_read(struct igb_tx_queue *q, uint32_t offset)
{
	switch (offset) {
	case IGB_Q_WBAL:
		return q->wbal;
	case IGB_Q_WBAH:
		return q->wbah;
	}
	return ring_read(&q->r, offset);
}

/*
 * So that a root sends descriptors, and what is in one of them, along with the tail (fb_device_ring_set()). Data goes with
 * advanced data descriptors; its length is one too long, since theirs is no "less one". Larger buffers are parts of packets
 * that are cut: they are worth a round trip of their own.
 */
static void tell_ring(struct igb_tx_queue *q)
{
	const struct fb_device_ring ring = {
		.bar = 0,
		/* The driver's choice of the two places that the first four queues have. */
		.reg = (q->r.index < 4 ? 0x3800u + q->r.index * 0x100u : 0xe000u + q->r.index * 0x40u) + IGB_Q_TAIL,
		.base = q->r.base,
		.entry_size = IGB_DESC,
		.entries = igb_ring_count(&q->r),
		.match_at = 10,
		.match = IGB_TXD_DTYP_DATA >> 16,
		.pointer_at = 0,
		.count_at = 8,
		.data_max = 2048,
	};
	bool there = q->r.ctl & IGB_QCTL_ENABLE && ring.entries >= 2;

	fb_device_ring_set(q->r.n->dev, q->r.index, there ? &ring : NULL);
}

void igb_tx_queue_write(struct igb_tx_queue *q, uint32_t offset, uint32_t value)
{
	bool was = q->r.ctl & IGB_QCTL_ENABLE;

	switch (offset) {
	case IGB_Q_WBAL:
		q->wbal = value & ~2u;
		break;
	case IGB_Q_WBAH:
		q->wbah = value;
		break;
	case IGB_Q_TAIL:
		q->r.tail = value & 0xffff;
		igb_tx_kick(q->r.n);
		break;
	case IGB_Q_CTL:
		ring_enable(&q->r, value);
		if (was != (bool)(value & IGB_QCTL_ENABLE))
			igb_tx_drop_queue(q);
		if (was != (bool)(value & IGB_QCTL_ENABLE))
			tell_ring(q);
		igb_tx_kick(q->r.n);
		break;
	default:
		if (ring_write(&q->r, offset, value) && was)
			tell_ring(q);
	}
}

static void ring_reset(struct igb_ring *r)
{
	r->base = 0;
	r->len = r->head = r->tail = r->fetch = r->dca = 0;
	r->bad = false;
	r->gen++;
	r->ctl = r->index == 0 ? IGB_QCTL_ENABLE | 1u << 16 : 1u << 16;
}

void igb_ring_reset(struct igb *n)
{
	for (unsigned i = 0; i < IGB_QUEUES; i++) {
		struct igb_rx_queue *rx = &n->rx[i];
		struct igb_tx_queue *tx = &n->tx[i];

		rx->r.n = tx->r.n = n;
		rx->r.index = tx->r.index = (uint8_t)i;
		ring_reset(&rx->r);
		ring_reset(&tx->r);
		rx->srrctl = 2u | 4u << 8; /* legacy descriptors, 2 KiB; header buffers of 256 bytes */
		rx->dvmolr = 0;
		rx->rqdpc = 0;
		tx->wbal = tx->wbah = 0;
		igb_rx_drop_queue(rx);
		igb_tx_drop_queue(tx);
	}
}

/* ---- Descriptors that are read ------------------------------------------------------------------ */

uint32_t igb_ring_fetchable(const struct igb_ring *r)
{
	uint32_t count = igb_ring_count(r);

	if (r->tail >= count || r->fetch >= count)
		return 0; /* nonsense */
	return r->tail >= r->fetch ? r->tail - r->fetch : count - r->fetch;
}

bool igb_ring_fetched(struct igb_ring *r, int status, const char *direction)
{
	struct igb *n = r->n;

	n->dma--;
	r->fetching = false;
	if (r->fetch_gen != r->gen)
		return false;
	if (status) {
		r->bad = true;
		n->dma_errors++;
		if (status != -ECANCELED)
			fb_device_warn(n->dev, "%s queue %u stands still: its descriptors at %#llx cannot be read", direction,
				       r->index, (unsigned long long)igb_ring_addr(r, r->fetch));
		return false;
	}
	n->descs_read += r->fetch_n;
	return true;
}
