/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A TLP that may go (credit, nothing before it that waits, room) is copied
 * once, into the slab, where it becomes part of a datagram; else it waits in one
 * of two queues: posted and completions in one, in their order, so that a
 * completion never passes a write; non-posted requests in the other, each
 * with a mark: how many records the first queue had taken before it. A request
 * moves on when all those have, so it never passes a write; blocked requests
 * hold up nobody. What is in the slab is under way: it waits for the window only,
 * which the peer's link opens by itself, whatever its user does.
 *
 *	fb_link_send --+-----------------------> slab -> datagrams -> acknowledged
 *	               +-> pc queue --(credit)->  ^
 *	               +-> np queue --(credit, mark)
 */
#include <errno.h>
#include <string.h>

#include "link/impl.h"

/* In front of each record in the np queue. */
struct np_mark {
	uint64_t after; /* records of the pc queue that go first */
};

static bool pc_waits(const struct fb_link *link) { return link->pc_put != link->pc_taken; }

static void rec_header(uint8_t *rec, enum fb_link_class cls, size_t len)
{
	rec[FB_WIRE_O_REC_CLASS] = (uint8_t)cls;
	rec[FB_WIRE_O_REC_ZERO] = 0;
	fb_put_be16(rec + FB_WIRE_O_REC_LEN, (uint16_t)len);
}

static void sent(struct fb_link *link, enum fb_link_class cls, uint32_t record, size_t len)
{
	fb_credit_sent(&link->credit, cls, record);
	link->stats.tx_tlps++;
	link->stats.tx_tlp_bytes += len;
	if (link->config.one_tlp_a_datagram)
		fb_slab_close(&link->slab);
}

static int enqueue(struct fb_link *link, enum fb_link_class cls, uint32_t record, const void *head, size_t head_len,
		   const void *data, size_t data_len)
{
	static const uint8_t zeros[4];
	struct fb_ring *ring = cls == FB_LINK_NP ? &link->np : &link->pc;
	size_t len = head_len + data_len;
	uint8_t rec[FB_WIRE_REC];

	if (cls == FB_LINK_CPL ? link->queued[cls] + record > FB_LINK_COMPLETIONS_MAX
			       : link->queued[cls] && link->queued[cls] + record > link->config.send_queue) {
		if (cls != FB_LINK_CPL) {
			link->want[cls] = true;
			return -EAGAIN;
		}
		link->overflow = true;
		return -ENOTCONN;
	}
	if (fb_ring_reserve(ring, sizeof(struct np_mark) + record)) {
		if (cls != FB_LINK_CPL)
			return -ENOMEM;
		link->overflow = true;
		return -ENOTCONN;
	}
	if (cls == FB_LINK_NP) {
		struct np_mark mark = {link->pc_put};

		fb_ring_put(ring, &mark, sizeof(mark));
	} else {
		link->pc_put++;
	}
	rec_header(rec, cls, len);
	fb_ring_put(ring, rec, sizeof(rec));
	fb_ring_put(ring, head, head_len);
	fb_ring_put(ring, data, data_len);
	fb_ring_put(ring, zeros, record - FB_WIRE_REC - len);
	link->queued[cls] += record;
	return 0;
}

int fb_link_send(struct fb_link *link, enum fb_link_class cls, const void *head, size_t head_len, const void *data,
		 size_t data_len)
{
	static const uint8_t zeros[4];
	size_t len = head_len + data_len;
	uint32_t record;
	uint8_t rec[FB_WIRE_REC];
	bool waits;

	if (link->state != FB_LINK_UP || link->overflow)
		return -ENOTCONN;
	if (!len || head_len > FB_WIRE_TLP_MAX || data_len > FB_WIRE_TLP_MAX || len > FB_WIRE_TLP_MAX ||
	    (unsigned)cls >= FB_LINK_CLASSES)
		return -EMSGSIZE;
	record = fb_wire_record(len);
	waits = pc_waits(link) || (cls == FB_LINK_NP && fb_ring_len(&link->np));
	if (waits || !fb_credit_may_send(&link->credit, cls, record) || fb_slab_room(&link->slab) < record)
		return enqueue(link, cls, record, head, head_len, data, data_len);
	rec_header(rec, cls, len);
	fb_slab_append(&link->slab, rec, sizeof(rec));
	fb_slab_append(&link->slab, head, head_len);
	fb_slab_append(&link->slab, data, data_len);
	fb_slab_append(&link->slab, zeros, record - FB_WIRE_REC - len);
	sent(link, cls, record, len);
	return 0;
}

static void ring_copy(const struct fb_ring *r, size_t offset, void *out, size_t len)
{
	uint8_t *p = out;

	while (len) {
		size_t n = len;
		const uint8_t *from = fb_ring_peek(r, offset, &n);

		memcpy(p, from, n);
		p += n;
		offset += n;
		len -= n;
	}
}

/* Moves the record that starts `skip` bytes into the queue, if it may go. */
static bool move(struct fb_link *link, struct fb_ring *ring, size_t skip)
{
	uint8_t rec[FB_WIRE_REC];
	enum fb_link_class cls;
	uint32_t record, done = 0;
	size_t len;

	ring_copy(ring, skip, rec, sizeof(rec));
	cls = (enum fb_link_class)rec[FB_WIRE_O_REC_CLASS];
	len = fb_get_be16(rec + FB_WIRE_O_REC_LEN);
	record = fb_wire_record(len);
	if (fb_slab_room(&link->slab) < record)
		return false;
	if (!fb_credit_may_send(&link->credit, cls, record)) {
		if (!link->credit_stalled)
			link->stats.credit_stalls++;
		link->credit_stalled = true;
		return false;
	}
	fb_ring_take(ring, skip);
	while (done < record) {
		size_t n = record - done;
		const uint8_t *p = fb_ring_peek(ring, 0, &n);

		fb_slab_append(&link->slab, p, n);
		fb_ring_take(ring, n);
		done += (uint32_t)n;
	}
	link->queued[cls] -= record;
	if (ring == &link->pc)
		link->pc_taken++;
	sent(link, cls, record, len);
	return true;
}

static void fb_tx_pump(struct fb_link *link)
{
	bool moved = true;

	while (moved) {
		struct np_mark mark;

		moved = false;
		if (fb_ring_len(&link->np)) {
			ring_copy(&link->np, 0, &mark, sizeof(mark));
			if (mark.after <= link->pc_taken)
				moved = move(link, &link->np, sizeof(mark));
		}
		if (!moved && pc_waits(link))
			moved = move(link, &link->pc, 0);
	}
	if (!pc_waits(link) && !fb_ring_len(&link->np))
		link->credit_stalled = false;
}

/* Half of the queue is free again: who was refused may go on. */
static void tell_writable(struct fb_link *link)
{
	for (unsigned cls = 0; cls < FB_LINK_CLASSES && link->state == FB_LINK_UP; cls++) {
		if (!link->want[cls] || link->queued[cls] > link->config.send_queue / 2)
			continue;
		link->want[cls] = false;
		if (link->user.writable)
			link->user.writable(link->arg, (enum fb_link_class)cls);
	}
}

uint32_t fb_tx_number(struct fb_link *link, uint64_t now)
{
	link->times[link->number % FB_TIMES] = now;
	if (link->number - link->first_number == FB_TIMES)
		link->times_full = true;
	return link->number++;
}

/* The header of a DATA datagram, all of it but the CRC. */
static void put_header(struct fb_link *link, uint64_t now, uint8_t *d, uint64_t pos, uint8_t flags, uint16_t hlen)
{
	struct fb_wire_head h = {
		.kind = FB_WIRE_DATA,
		.flags = (uint8_t)(flags | (link->heard ? FB_WIRE_F_ECHO : 0)),
		.hlen = hlen,
		.session = link->peer_session,
		.from = link->session,
		.number = fb_tx_number(link, now),
	};
	uint64_t delay = now > link->heard_at ? now - link->heard_at : 0;
	uint32_t p, np;

	fb_credit_tell(&link->credit, &p, &np);
	fb_wire_put_head(d, &h);
	fb_put_be64(d + FB_WIRE_O_POS, pos);
	fb_put_be64(d + FB_WIRE_O_ACK, link->rcv_next);
	fb_put_be32(d + FB_WIRE_O_ECHO, link->heard_number);
	fb_put_be32(d + FB_WIRE_O_ECHO_DELAY, delay < UINT32_MAX ? (uint32_t)delay : UINT32_MAX);
	fb_put_be32(d + FB_WIRE_O_POSTED, p);
	fb_put_be32(d + FB_WIRE_O_NP, np);
	link->ack_now = false;
	link->unacked = 0;
	link->unacked_bytes = 0;
	link->ack_at = FB_NEVER;
	link->last_tx = now;
	link->stats.tx_datagrams++;
}

/* A datagram without payload: acknowledgement, credits, keep-alive, ping. */
static struct fb_link_out put_ack(struct fb_link *link, uint64_t now, bool ping)
{
	uint8_t *d = link->control;
	uint16_t n = (uint16_t)(link->ranges.n < FB_WIRE_SACKS_MAX ? link->ranges.n : FB_WIRE_SACKS_MAX);
	uint16_t hlen = (uint16_t)(FB_WIRE_DATA_HLEN + n * FB_WIRE_SACK);

	put_header(link, now, d, fb_clock_told(link, now), (uint8_t)(FB_WIRE_F_TIME | (ping ? FB_WIRE_F_PING : 0)), hlen);
	for (unsigned i = 0; i < n; i++) {
		uint8_t *s = d + FB_WIRE_DATA_HLEN + i * FB_WIRE_SACK;

		fb_put_be32(s, (uint32_t)(link->ranges.v[i].start - link->rcv_next));
		fb_put_be32(s + 4, (uint32_t)(link->ranges.v[i].end - link->rcv_next));
	}
	fb_wire_seal(d, hlen);
	link->ping_due = link->ping_due && !ping;
	link->sack_due = false;
	link->stats.acks_sent++;
	link->stats.tx_bytes += hlen;
	return (struct fb_link_out){d, hlen};
}

static uint32_t window(const struct fb_link *link)
{
	uint32_t w = link->cc.window < link->config.window ? link->cc.window : link->config.window;

	return w < link->peer_window ? w : link->peer_window;
}

static struct fb_link_out put_slot(struct fb_link *link, uint64_t now, uint64_t i, bool last)
{
	struct fb_slot *s = fb_slab_slot(&link->slab, i);
	uint8_t *d = fb_slab_dgram(&link->slab, i);
	uint32_t len = FB_WIRE_DATA_HLEN + s->len;

	s->number = link->number;
	s->sent_at = now;
	if (s->tx < UINT8_MAX)
		s->tx++;
	link->in_flight += len;
	put_header(link, now, d, s->pos, last ? FB_WIRE_F_PING : 0, FB_WIRE_DATA_HLEN);
	fb_wire_seal(d, len);
	link->stats.tx_bytes += len;
	if (link->rto_at == FB_NEVER)
		link->rto_at = now + fb_rto_get(&link->rto);
	return (struct fb_link_out){d, len};
}

static bool fits(const struct fb_link *link, uint32_t bytes)
{
	return !link->in_flight || (uint64_t)link->in_flight + bytes <= window(link);
}

static unsigned resend(struct fb_link *link, uint64_t now, struct fb_link_out *out, unsigned max)
{
	struct fb_slab *slab = &link->slab;
	unsigned n = 0;
	uint64_t i = link->lost_hint > slab->una ? link->lost_hint : slab->una;

	for (; i < slab->next && link->lost && n < max; i++) {
		struct fb_slot *s = fb_slab_slot(slab, i);

		if (!(s->flags & FB_SLOT_LOST))
			continue;
		if (!link->probe && !fits(link, FB_WIRE_DATA_HLEN + s->len))
			break;
		s->flags &= (uint8_t)~FB_SLOT_LOST;
		link->lost--;
		out[n++] = put_slot(link, now, i, link->probe || !link->lost);
		link->probe = false;
		link->stats.retransmits++;
	}
	link->lost_hint = i;
	return n;
}

static unsigned send_new(struct fb_link *link, uint64_t now, struct fb_link_out *out, unsigned max)
{
	struct fb_slab *slab = &link->slab;
	uint64_t start = slab->una < slab->end ? fb_slab_slot(slab, slab->una)->pos : slab->pos;
	unsigned n = 0;

	while (n < max && slab->next < slab->end) {
		const struct fb_slot *s = fb_slab_slot(slab, slab->next);
		uint64_t after = s->pos + s->len - start;
		uint32_t len = FB_WIRE_DATA_HLEN + s->len;
		bool last;

		if (!fits(link, len) || after > link->peer_window) {
			if (!link->window_stalled)
				link->stats.window_stalls++;
			link->window_stalled = true;
			break;
		}
		link->window_stalled = false;
		/* The last that may go before an acknowledgement asks for it. */
		last = (uint64_t)link->in_flight + len + slab->stride > window(link) ||
		       after + fb_slab_payload_max(slab) > link->peer_window || slab->next + 1 == slab->una + slab->n;
		out[n++] = put_slot(link, now, slab->next++, last);
	}
	return n;
}

/* Waiting for credit with nothing under way whose acknowledgement would bring it: ask, in case it was lost. */
static void arm_probe(struct fb_link *link, uint64_t now)
{
	if (!link->credit_stalled || link->slab.una != link->slab.end) {
		link->probe_at = FB_NEVER;
		link->probes = 0;
	} else if (link->probe_at == FB_NEVER) {
		link->probe_at = now + fb_rto_get(&link->rto);
	}
}

unsigned fb_link_tx(struct fb_link *link, uint64_t now, struct fb_link_out *out, unsigned max)
{
	unsigned n = 0;

	if (!max)
		return 0;
	if (link->state == FB_LINK_UP) {
		fb_tx_pump(link);
		tell_writable(link);
	}
	out[0].data = fb_handshake_tx(link, now, &out[0].len);
	if (out[0].data)
		return 1;
	if (link->state != FB_LINK_UP || (!link->root && !link->confirmed))
		return 0;
	fb_tx_pump(link);
	if (link->sack_due)
		out[n++] = put_ack(link, now, false);
	if (link->lost)
		n += resend(link, now, out + n, max - n);
	if (!link->lost)
		n += send_new(link, now, out + n, max - n);
	/* Data carries acknowledgement and credit along. */
	if (!n && (link->ack_now || link->ping_due || fb_credit_due(&link->credit)))
		out[n++] = put_ack(link, now, link->ping_due);
	arm_probe(link, now);
	return n;
}
