/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What arrives: in order it is delivered straight out of the datagram, and only
 * a TLP that straddles two is put together in `assembly`; beyond a gap it waits in
 * a ring of the size of the window that we offered. What was acknowledged,
 * also selectively, is never dropped again.
 */
#include <stdlib.h>
#include <string.h>

#include "link/impl.h"

static void deliver(struct fb_link *link, const uint8_t *record)
{
	enum fb_link_class cls = (enum fb_link_class)record[FB_WIRE_O_REC_CLASS];
	size_t len = fb_get_be16(record + FB_WIRE_O_REC_LEN);

	if (!fb_credit_take(&link->credit, cls, fb_wire_record(len))) {
		fb_link_die(link, FB_LINK_R_PROTOCOL, "the peer sent beyond its credit", true);
		return;
	}
	link->stats.rx_tlps++;
	link->stats.rx_tlp_bytes += len;
	if (link->user.deliver(link->arg, cls, record + FB_WIRE_REC, len))
		fb_credit_free(&link->credit, cls, fb_wire_record(len));
}

void fb_link_release(struct fb_link *link, enum fb_link_class cls, size_t len)
{
	fb_credit_free(&link->credit, cls, fb_wire_record(len));
}

/* Size of the record that begins here, or 0: malformed. */
static uint32_t record_size(const uint8_t *p)
{
	uint16_t len = fb_get_be16(p + FB_WIRE_O_REC_LEN);

	if (p[FB_WIRE_O_REC_CLASS] >= FB_LINK_CLASSES || p[FB_WIRE_O_REC_ZERO] || !len || len > FB_WIRE_TLP_MAX)
		return 0;
	return fb_wire_record(len);
}

/* The next bytes of the stream, a multiple of 4. */
static void consume(struct fb_link *link, const uint8_t *p, size_t n)
{
	link->rcv_next += n;
	while (n && link->state == FB_LINK_UP) {
		uint32_t need = record_size(link->assembled ? link->assembly : p), take;

		if (!need) {
			fb_link_die(link, FB_LINK_R_PROTOCOL, "malformed record in the stream", true);
			return;
		}
		if (!link->assembled && n >= need) {
			deliver(link, p);
			p += need;
			n -= need;
			continue;
		}
		take = need - link->assembled < n ? need - link->assembled : (uint32_t)n;
		memcpy(link->assembly + link->assembled, p, take);
		link->assembled += take;
		p += take;
		n -= take;
		if (link->assembled == need) {
			link->assembled = 0;
			deliver(link, link->assembly);
		}
	}
}

static void consume_ring(struct fb_link *link)
{
	while (link->ranges.n && link->ranges.v[0].start <= link->rcv_next && link->state == FB_LINK_UP) {
		uint64_t end = link->ranges.v[0].end;

		while (link->rcv_next < end && link->state == FB_LINK_UP) {
			size_t at = (size_t)link->rcv_next & (link->rcv_window - 1), n = link->rcv_window - at;

			if (n > end - link->rcv_next)
				n = (size_t)(end - link->rcv_next);
			consume(link, link->rcv_ring + at, n);
		}
		fb_ranges_cut(&link->ranges, link->rcv_next);
	}
}

static void keep(struct fb_link *link, uint64_t pos, const uint8_t *p, size_t len)
{
	int new;

	link->stats.rx_out_of_order++;
	link->ack_now = true;
	if (link->config.go_back_n)
		return;
	if (!link->rcv_ring)
		link->rcv_ring = malloc(link->rcv_window);
	if (!link->rcv_ring)
		return;
	link->sack_due = true;
	new = fb_ranges_add(&link->ranges, pos, pos + len);
	if (new < 0)
		return; /* too many holes; it will come again */
	if (!new) {
		link->stats.rx_duplicates++;
		return;
	}
	while (len) {
		size_t at = (size_t)pos & (link->rcv_window - 1), n = link->rcv_window - at < len ? link->rcv_window - at : len;

		memcpy(link->rcv_ring + at, p, n);
		pos += n;
		p += n;
		len -= n;
	}
}

static void receive(struct fb_link *link, uint64_t now, uint64_t pos, const uint8_t *p, size_t len)
{
	if (pos > link->rcv_next) {
		if (pos - link->rcv_next > link->rcv_window || pos - link->rcv_next + len > link->rcv_window) {
			link->stats.rx_bad++; /* beyond what we offered */
			return;
		}
		keep(link, pos, p, len);
		return;
	}
	if (len <= link->rcv_next - pos) {
		link->stats.rx_duplicates++;
		link->ack_now = true; /* our acknowledgement was lost, or is late */
		return;
	}
	p += link->rcv_next - pos;
	len -= (size_t)(link->rcv_next - pos);
	if (len > link->rcv_window) {
		link->stats.rx_bad++;
		return;
	}
	link->unacked++;
	link->unacked_bytes += (uint32_t)len;
	if (link->unacked >= FB_ACK_EVERY || link->unacked_bytes >= link->rcv_window / 4)
		link->ack_now = true;
	else if (link->ack_at == FB_NEVER)
		link->ack_at = now + FB_ACK_DELAY_NS;
	consume(link, p, len);
	if (link->ranges.n) {
		fb_ranges_cut(&link->ranges, link->rcv_next);
		consume_ring(link);
		link->ack_now = true;
		link->sack_due = link->ranges.n != 0;
	}
}

void fb_rx_data(struct fb_link *link, uint64_t now, const struct fb_wire_head *h, const uint8_t *d, size_t len)
{
	struct fb_ack ack;

	if (link->state != FB_LINK_UP)
		return; /* a WELCOME must come first; this will come again */
	if (h->from != link->peer_session || h->hlen < FB_WIRE_DATA_HLEN || (h->hlen - FB_WIRE_DATA_HLEN) % FB_WIRE_SACK ||
	    (len - h->hlen) % 4 || fb_get_be64(d + FB_WIRE_O_POS) % 4) {
		link->stats.rx_bad++;
		return;
	}
	link->last_rx = now;
	link->confirmed = true;
	link->confirm_at = FB_NEVER;
	if (fb_seq(h->number, link->heard_number) > 0) {
		link->heard_number = h->number;
		link->heard_at = now;
	}
	if (fb_credit_limits(&link->credit, fb_get_be32(d + FB_WIRE_O_POSTED), fb_get_be32(d + FB_WIRE_O_NP))) {
		link->credit_stalled = false;
		link->probes = 0;
		link->probe_at = FB_NEVER;
	}
	ack = (struct fb_ack){
		.ack = fb_get_be64(d + FB_WIRE_O_ACK),
		.has_echo = h->flags & FB_WIRE_F_ECHO,
		.echo = fb_get_be32(d + FB_WIRE_O_ECHO),
		.echo_delay = fb_get_be32(d + FB_WIRE_O_ECHO_DELAY),
		.sacks = d + FB_WIRE_DATA_HLEN,
		.n = (h->hlen - FB_WIRE_DATA_HLEN) / FB_WIRE_SACK,
	};
	if (!fb_ack_rx(link, now, &ack)) {
		fb_link_die(link, FB_LINK_R_PROTOCOL, "the peer acknowledged what was not sent", true);
		return;
	}
	if (h->flags & FB_WIRE_F_TIME && len == h->hlen && ack.has_echo)
		fb_clock_heard(link, now, fb_get_be64(d + FB_WIRE_O_POS), ack.echo, ack.echo_delay);
	if (h->flags & FB_WIRE_F_PING)
		link->ack_now = true;
	if (len > h->hlen)
		receive(link, now, fb_get_be64(d + FB_WIRE_O_POS), d + h->hlen, len - h->hlen);
}
