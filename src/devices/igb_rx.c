/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receive.
 *
 * Theory of operation
 *
 *	backend --read--> source --(cut, when it is one of TSO)--> frame --filter--> queue --DMA--> guest memory
 *
 * Descriptors are read ahead, up to IGB_RX_CACHE a queue, so that a frame that comes finds its place at once. A frame's
 * bytes are written when it comes; descriptors are written back at the end of the round, those in a row with one DMA
 * write; then the interrupt. DMA writes and interrupts keep that order.
 *
 * Where there is no descriptor, or the guest is to end its work first (igb_irq.c), the frame waits (HOLD) and nothing more
 * is read from the backend: the host's queue in front of it fills and drops, as a switch would. With SRRCTL.DROP_EN nothing
 * waits: a frame without a descriptor is dropped, and other queues go on. While nothing can be received at all (RCTL.RXEN
 * off, no link, loopback), what comes is read and thrown away, so that nothing old turns up later.
 */
#include <errno.h>
#include <string.h>

#include "devices/igb.h"

enum {
	READS_A_ROUND = 64,
	BYTES_A_ROUND = 256 << 10,
	FETCH_MAX = 64,
	FRAME_MIN = 60, /* without CRC */
	CRC = 4,
	STANDARD_MAX = 1522,
	INLINE_DESCS = FB_DMA_INLINE / IGB_DESC,
};

/* ---- Descriptors ahead --------------------------------------------------------------- */

static bool queue_on(const struct igb_rx_queue *q)
{
	return q->r.ctl & IGB_QCTL_ENABLE && IGB_REG(q->r.n, IGB_RCTL) & IGB_RCTL_RXEN && !q->r.bad;
}

static void fetched(void *arg, int status)
{
	struct igb_rx_queue *q = arg;

	if (igb_ring_fetched(&q->r, status, "receive")) {
		q->cache_count += q->r.fetch_n;
		q->r.fetch += q->r.fetch_n;
		if (q->r.fetch >= igb_ring_count(&q->r))
			q->r.fetch = 0;
	}
	igb_rx_kick(q->r.n);
}

static void fetch_more(struct igb_rx_queue *q)
{
	uint32_t slot = (q->cache_head + q->cache_count) % IGB_RX_CACHE, count = igb_ring_fetchable(&q->r);
	int err;

	if (!queue_on(q) || q->r.fetching || count == 0 || q->cache_count > IGB_RX_CACHE / 2)
		return;
	if (count > FETCH_MAX)
		count = FETCH_MAX;
	if (count > IGB_RX_CACHE - q->cache_count)
		count = IGB_RX_CACHE - q->cache_count;
	if (count > IGB_RX_CACHE - slot)
		count = IGB_RX_CACHE - slot;
	q->r.fetch_n = count;
	q->r.fetch_gen = q->r.gen;
	err = fb_dma_read(q->r.n->dev, igb_ring_addr(&q->r, q->r.fetch), q->cache + slot * IGB_DESC, count * IGB_DESC,
			  fetched, q);
	if (err) {
		igb_retry(q->r.n, err);
		return;
	}
	q->r.fetching = true;
	q->r.n->dma++;
}

void igb_rx_drop_queue(struct igb_rx_queue *q)
{
	q->cache_head = q->cache_count = 0;
	q->wb_count = 0;
	q->starved = false;
}

/* ---- Writing back -------------------------------------------------------------------------- */

static void chunk_written(void *arg, int status)
{
	struct igb_chunk *c = arg;
	struct igb *n = c->arena->n;

	n->dma--;
	if (status)
		n->dma_errors++;
	igb_chunk_put(c);
}

/* DMA write out of a chunk. */
static int write_chunk(struct igb *n, struct igb_chunk *c, const uint8_t *data, const struct fb_dma_seg *segs, unsigned count)
{
	int err = fb_dma_writev(n->dev, segs, count, data, chunk_written, c);

	if (err) {
		n->dma_errors++;
		return err;
	}
	c->refs++;
	n->dma++;
	return 0;
}

static void flush_queue(struct igb_rx_queue *q)
{
	struct igb *n = q->r.n;
	uint64_t addr = igb_ring_addr(&q->r, q->wb_first);
	uint32_t count = q->wb_count;
	struct igb_chunk *c = count > INLINE_DESCS ? igb_chunk_get(&n->rx_arena, count * IGB_DESC) : NULL;

	if (count == 0)
		return;
	q->wb_count = 0;
	q->irq = true;
	n->descs_written += count;
	if (c) {
		struct fb_dma_seg seg = {addr, count * IGB_DESC};

		memcpy(igb_chunk_data(c), q->wb, seg.len);
		write_chunk(n, c, igb_chunk_data(c), &seg, 1);
		igb_chunk_put(c);
		return;
	}
	for (uint32_t i = 0; i < count; i += INLINE_DESCS) {
		uint32_t part = count - i < INLINE_DESCS ? count - i : INLINE_DESCS;

		if (fb_dma_write(n->dev, addr + i * IGB_DESC, q->wb + i * IGB_DESC, part * IGB_DESC, NULL, NULL))
			n->dma_errors++;
	}
}

void igb_rx_flush(struct igb *n)
{
	for (unsigned i = 0; i < IGB_QUEUES; i++) {
		struct igb_rx_queue *q = &n->rx[i];

		flush_queue(q);
		if (q->irq)
			igb_irq_queue(n, i, false);
		q->irq = false;
	}
}

/* The next descriptor is done: dwords 0 to 3 as written back. Legacy descriptors keep their address. */
static void write_back(struct igb_rx_queue *q, const uint8_t desc[IGB_DESC])
{
	if (q->wb_count && (q->wb_count == IGB_WRITEBACKS || q->wb_first + q->wb_count != q->r.head))
		flush_queue(q);
	if (q->wb_count == 0)
		q->wb_first = q->r.head;
	memcpy(q->wb + q->wb_count++ * IGB_DESC, desc, IGB_DESC);
	q->r.head = igb_ring_next(&q->r, q->r.head);
	q->cache_head = (q->cache_head + 1) % IGB_RX_CACHE;
	q->cache_count--;
}

/* ---- One frame ------------------------------------------------------------------------------- */

static uint32_t buffer_size(const struct igb_rx_queue *q)
{
	uint32_t size = (q->srrctl & IGB_SRRCTL_BSIZEPACKET) << 10;

	return size ? size : 2048u >> ((IGB_REG(q->r.n, IGB_RCTL) & IGB_RCTL_BSIZE) >> 16);
}

static uint32_t header_size(const struct igb_rx_queue *q)
{
	return (q->srrctl >> 8 & 15) * 64;
}

/* What descriptors say of a frame: status and errors as in the advanced format, and dwords 0 and 1 of it. */
struct indication {
	uint32_t status, info, second;
	uint16_t vlan, sum;
};

static void indicate(struct igb *n, const uint8_t *frame, uint32_t len, const struct igb_headers *h,
		     const struct igb_filtered *f, bool l4_good, struct indication *ind)
{
	uint32_t rxcsum = IGB_REG(n, IGB_RXCSUM);
	enum igb_sum_result sum;

	ind->info |= h->ipv4 ? (h->ip_more ? IGB_RXD_IPV4 | IGB_RXD_IPV4E : IGB_RXD_IPV4) : 0;
	ind->info |= h->ipv6 ? (h->ip_more ? IGB_RXD_IPV6 | IGB_RXD_IPV6E : IGB_RXD_IPV6) : 0;
	ind->info |= h->l4 == IGB_L4_TCP ? IGB_RXD_TCP : h->l4 == IGB_L4_UDP ? IGB_RXD_UDP : 0;
	ind->info |= h->l4 == IGB_L4_SCTP ? IGB_RXD_SCTP : 0;
	ind->status |= f->pif ? IGB_RXD_PIF : 0;
	if (rxcsum & IGB_RXCSUM_IPOFLD) {
		sum = igb_check_ipv4(frame, h);
		ind->status |= sum != IGB_SUM_NONE ? IGB_RXD_IPCS : 0;
		ind->status |= sum == IGB_SUM_BAD ? IGB_RXD_IPE : 0;
	}
	if (h->l4 == IGB_L4_SCTP ? rxcsum & IGB_RXCSUM_CRCOFL : rxcsum & IGB_RXCSUM_TUOFLD) {
		sum = l4_good && h->l4 != IGB_L4_SCTP && h->l4 != IGB_L4_NONE ? IGB_SUM_GOOD : igb_check_l4(frame, h);
		ind->status |= sum == IGB_SUM_NONE ? 0 : h->l4 == IGB_L4_UDP ? IGB_RXD_L4CS | IGB_RXD_UDPCS : IGB_RXD_L4CS;
		ind->status |= sum == IGB_SUM_BAD ? IGB_RXD_L4E : 0;
	}
	if (rxcsum & IGB_RXCSUM_PCSD) {
		ind->info |= f->rss_type;
		ind->second = f->rss;
	} else {
		uint32_t start = rxcsum & IGB_RXCSUM_PCSS;

		ind->sum = start < len ? igb_sum_fold(igb_sum(frame + start, len - start, 0)) : 0;
		ind->second = (uint32_t)ind->sum << 16 | (h->ipv4 ? igb_be16(frame + h->l3 + 4) : 0);
	}
}

static void put_desc(struct igb_rx_queue *q, const struct indication *ind, uint32_t len, bool last)
{
	const uint8_t *read = q->cache + q->cache_head * IGB_DESC;
	uint8_t desc[IGB_DESC];

	if ((q->srrctl & IGB_SRRCTL_DESCTYPE) == IGB_SRRCTL_LEGACY) {
		uint32_t status = IGB_RXD_DD | (last ? IGB_RXD_EOP | (ind->status & 0xf8) : 0);
		uint32_t errors = last ? (ind->status & IGB_RXD_L4E ? IGB_RXL_L4E : 0) |
						 (ind->status & IGB_RXD_IPE ? IGB_RXL_IPE : 0) : 0;

		memcpy(desc, read, 8);
		igb_put_le32(desc + 8, len | (uint32_t)ind->sum << 16);
		igb_put_le32(desc + 12, status | errors << 8 | (uint32_t)ind->vlan << 16);
	} else {
		igb_put_le32(desc, ind->info);
		igb_put_le32(desc + 4, ind->second);
		igb_put_le32(desc + 8, IGB_RXD_DD | (last ? IGB_RXD_EOP : 0) | ind->status);
		igb_put_le32(desc + 12, len | (uint32_t)ind->vlan << 16);
	}
	write_back(q, desc);
}

/* The frame's bytes to the buffers of the next descriptors, with one DMA write; then the descriptors. */
static void deliver(struct igb_rx_queue *q, struct igb_chunk *chunk, const uint8_t *data, uint32_t len, uint32_t header,
		    struct indication *ind)
{
	uint32_t size = buffer_size(q), left = len - header, n_descs = left ? (left + size - 1) / size : 1, n_segs = 0;
	struct fb_dma_seg segs[IGB_RX_SEGS + 1];

	if (header)
		segs[n_segs++] = (struct fb_dma_seg){igb_le64(q->cache + q->cache_head * IGB_DESC + 8), header};
	for (uint32_t i = 0; i < n_descs && left; i++) {
		uint32_t slot = (q->cache_head + i) % IGB_RX_CACHE, part = left < size ? left : size;

		segs[n_segs++] = (struct fb_dma_seg){igb_le64(q->cache + slot * IGB_DESC), part};
		left -= part;
	}
	if (write_chunk(q->r.n, chunk, data, segs, n_segs))
		ind->status |= IGB_RXD_RXE; /* bus mastering is off: nobody will see this either */
	left = len - header;
	for (uint32_t i = 0; i < n_descs; i++) {
		uint32_t part = left < size ? left : size;

		left -= part;
		put_desc(q, ind, part, left == 0);
		ind->info &= ~(IGB_RXD_SPH | 0x3ffu << IGB_RXD_HDR_LEN_SHIFT);
	}
}

/* Length of the part that goes to the header buffer; 0: the frame is not split. */
static uint32_t header_part(const struct igb_rx_queue *q, const struct igb_headers *h, uint32_t len, struct indication *ind)
{
	uint32_t type = q->srrctl & IGB_SRRCTL_DESCTYPE, header = h->payload ? h->payload : h->l4_at;

	if (type != IGB_SRRCTL_SPLIT && type != IGB_SRRCTL_SPLIT_ALWAYS)
		return 0;
	if (header == 0 || header > len || header > header_size(q)) {
		if (type == IGB_SRRCTL_SPLIT)
			return 0;
		header = len < header_size(q) ? len : header_size(q);
	} else {
		ind->info |= IGB_RXD_SPH;
	}
	ind->info |= header << IGB_RXD_HDR_LEN_SHIFT;
	return header;
}

static bool acceptable_length(struct igb *n, uint32_t len)
{
	uint32_t rctl = IGB_REG(n, IGB_RCTL), max = rctl & IGB_RCTL_LPE ? IGB_REG(n, IGB_RLPML) & 0x3fff : STANDARD_MAX;

	if (len + CRC <= max && len + CRC <= IGB_FRAME_MAX)
		return true;
	igb_stat_add(n, IGB_STAT_ROC, 1);
	n->rx_dropped++;
	return false;
}

enum igb_rx_result igb_rx_frame(struct igb *n, struct igb_chunk *chunk, uint32_t len, bool l4_good)
{
	uint8_t *frame = igb_chunk_data(chunk);
	struct igb_filtered f;
	struct igb_headers h;
	struct igb_rx_queue *q;
	struct indication ind = {0};
	uint32_t header, need, bytes;
	bool strip;

	if (len < FRAME_MIN) {
		memset(frame + len, 0, FRAME_MIN - len);
		len = FRAME_MIN;
	}
	if (!acceptable_length(n, len))
		return IGB_RX_DONE;
	igb_headers(&h, frame, len);
	if (!igb_filter(n, frame, len, &h, &f)) {
		n->rx_filtered++;
		return IGB_RX_DONE;
	}
	q = &n->rx[f.queue];
	if (!queue_on(q)) {
		n->rx_dropped++;
		return IGB_RX_DONE;
	}
	strip = h.vlan && IGB_REG(n, IGB_CTRL) & IGB_CTRL_VME && igb_be16(frame + 12) == (IGB_REG(n, IGB_VET) & 0xffff);
	bytes = len + (IGB_REG(n, IGB_RCTL) & IGB_RCTL_SECRC ? 0 : CRC) - (strip ? 4 : 0);
	need = (bytes + buffer_size(q) - 1) / buffer_size(q); /* a split frame needs as many or one less */
	if (need > IGB_RX_SEGS || need >= igb_ring_count(&q->r)) { /* will never fit */
		n->rx_dropped++;
		return IGB_RX_DONE;
	}
	if (q->cache_count < need) {
		fetch_more(q);
		if (q->r.fetching || !(q->srrctl & IGB_SRRCTL_DROP_EN)) {
			n->rx_holds += !q->starved;
			q->starved = true;
			return IGB_RX_HOLD;
		}
		q->rqdpc++;
		igb_stat_add(n, IGB_STAT_RNBC, 1);
		n->rx_dropped++;
		return IGB_RX_DONE;
	}
	q->starved = false;
	if (!(q->srrctl & IGB_SRRCTL_DROP_EN) && igb_irq_enough(n, f.queue))
		return IGB_RX_HOLD;

	indicate(n, frame, len, &h, &f, l4_good, &ind);
	if (igb_time_received(n, frame, len, &h))
		ind.status |= IGB_RXD_TS;
	igb_stat_rx(n, &f, len);
	n->rx_frames++;
	n->rx_bytes += len;
	if (!(IGB_REG(n, IGB_RCTL) & IGB_RCTL_SECRC))
		igb_put_le32(frame + len, igb_fcs(frame, len));
	if (strip) {
		ind.vlan = igb_be16(frame + 14);
		ind.status |= IGB_RXD_VP;
		memmove(frame + 4, frame, 12);
		frame += 4;
		if (h.payload)
			h.payload -= 4;
		if (h.l4_at)
			h.l4_at -= 4;
	}
	header = header_part(q, &h, bytes, &ind);
	deliver(q, chunk, frame, bytes, header, &ind);
	if (h.l4 != IGB_L4_TCP)
		igb_irq_frame(n, f.queue);
	fetch_more(q);
	return IGB_RX_DONE;
}

/* ---- From the backend ---------------------------------------------------------------------------- */

static bool igb_rx_possible(const struct igb *n)
{
	return IGB_REG(n, IGB_RCTL) & IGB_RCTL_RXEN && n->link && !igb_loopback(n) && !n->closing;
}

static void source_done(struct igb_rx_source *s)
{
	if (s->segment)
		igb_chunk_put(s->segment);
	if (s->chunk)
		igb_chunk_put(s->chunk);
	s->segment = s->chunk = NULL;
}

/* Hands on what has been read. False: it has to wait. */
static bool pass_on(struct igb *n)
{
	struct igb_rx_source *s = &n->source;

	if (s->count == 0) {
		if (igb_rx_frame(n, s->chunk, s->len, s->l4_good) == IGB_RX_HOLD)
			return false;
	}
	while (s->next < s->count) {
		if (!s->segment) {
			s->segment = igb_chunk_get(&n->rx_arena, (uint32_t)s->o.hdr_len + s->o.mss + 64);
			if (!s->segment)
				return false;
			s->segment_len = (uint32_t)igb_gso_segment(igb_chunk_data(s->segment), igb_chunk_data(s->chunk), s->len,
								   &s->o, s->next);
		}
		if (igb_rx_frame(n, s->segment, s->segment_len, true) == IGB_RX_HOLD)
			return false;
		igb_chunk_put(s->segment);
		s->segment = NULL;
		s->next++;
		n->rx_cut++;
	}
	source_done(s);
	return true;
}

/* A packet from the backend into the source. 1; 0: there is none; -EAGAIN: no memory; -EPROTO: one that is of no use. */
static int take(struct igb *n)
{
	struct igb_rx_source *s = &n->source;
	struct igb_chunk *c = igb_chunk_get(&n->rx_arena, IGB_PACKET_MAX + 64);
	ssize_t len;
	uint8_t *data;
	struct igb_headers h;

	if (!c)
		return -EAGAIN;
	data = igb_chunk_data(c);
	*s = (struct igb_rx_source){0};
	len = igb_backend_read(n, data, IGB_PACKET_MAX, &s->o, &s->l4_good);
	if (len <= 0)
		goto nothing;
	if (igb_is_gso(&s->o)) {
		igb_headers(&h, data, (size_t)len);
		s->o.l3 = h.l3;
		s->o.ipv6 = h.ipv6;
		s->o.csum_start = h.l4_at;
		s->o.hdr_len = h.payload;
		if ((s->o.uso ? h.l4 != IGB_L4_UDP : h.l4 != IGB_L4_TCP) || !igb_gso_valid(data, (size_t)len, &s->o) ||
		    (size_t)s->o.hdr_len + s->o.mss > IGB_FRAME_MAX) {
			len = -EPROTO;
			goto nothing;
		}
		s->count = igb_gso_count((size_t)len, &s->o);
	} else if (s->o.csum) {
		if (!igb_finish_checksum(data, (size_t)len, &s->o)) {
			len = -EPROTO;
			goto nothing;
		}
		s->l4_good = true;
	}
	if (!s->count && len > IGB_FRAME_MAX) {
		len = -EPROTO;
		goto nothing;
	}
	igb_chunk_shrink(c, (uint32_t)len + 64);
	s->chunk = c;
	s->len = (uint32_t)len;
	return 1;

nothing:
	igb_chunk_shrink(c, 0);
	igb_chunk_put(c);
	if (len == -EPROTO || len == -EMSGSIZE) {
		n->rx_dropped++;
		return -EPROTO;
	}
	return 0;
}

void igb_rx_run(struct igb *n)
{
	bool possible = igb_rx_possible(n);
	unsigned reads = 0;
	uint32_t bytes = 0;

	n->rx_wanted = false;
	for (unsigned i = 0; i < IGB_QUEUES; i++)
		fetch_more(&n->rx[i]);
	n->rx_held = false;
	if (n->source.chunk) {
		if (!possible) {
			source_done(&n->source);
			n->rx_dropped++;
		} else if (!pass_on(n)) {
			n->rx_held = true;
		}
	}
	while (n->rx_ready && !n->rx_held && reads < READS_A_ROUND && bytes < BYTES_A_ROUND) {
		int got = take(n);

		if (got == 0) {
			n->rx_ready = false;
			break;
		}
		reads++;
		if (got == -EAGAIN) {
			n->rx_held = true;
		} else if (got == 1) {
			bytes += n->source.len;
			if (!possible) {
				source_done(&n->source);
				n->rx_dropped++;
			} else if (!pass_on(n)) {
				n->rx_held = true;
			}
		}
	}
	igb_backend_watch(n, !n->rx_held, n->backend.wants_out);
}

void igb_rx_kick(struct igb *n)
{
	n->rx_wanted = true;
	n->tx_wanted |= n->tx_held; /* loopback: a packet may wait for descriptors here */
	igb_kick(n);
}
