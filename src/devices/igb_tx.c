/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transmit.
 *
 * Theory of operation
 *
 *	tail --DMA read--> descriptors --gathered--> packet --DMA read--> READY --in order--> backend --> DD, interrupt
 *
 * One read of descriptors a queue is under way at any time; the reads of many packets' bytes are. A packet that is READY
 * waits for those before it in its queue; queues take turns. What the descriptors ask for (checksums, cutting, VLAN tag)
 * is left to the backend as far as it takes it: a tap device and a packet socket take a whole TCP packet of 64 KiB in one
 * call. Else it is done here.
 *
 * Nothing that a guest writes stops the queue for good, except a ring that cannot be read: packets that make no sense
 * (no bytes, too long, too many descriptors, headers outside) are counted, dropped, and reported as done.
 */
#include <errno.h>
#include <string.h>

#include "devices/igb.h"

enum {
	FRAME_MIN = 60,
	HEADROOM = 4, /* for a VLAN tag */
	RUNS = 8,
	L4_UDP_SUM = 6,
	L4_TCP_SUM = 16,
};

/* ---- Descriptors ------------------------------------------------------------------------- */

static bool queue_on(const struct igb_tx_queue *q)
{
	return q->r.ctl & IGB_QCTL_ENABLE && IGB_REG(q->r.n, IGB_TCTL) & IGB_TCTL_EN && !q->r.bad;
}

static void fetched(void *arg, int status)
{
	struct igb_tx_queue *q = arg;

	if (igb_ring_fetched(&q->r, status, "transmit")) {
		q->descs_head = 0;
		q->descs_count = q->r.fetch_n;
	}
	igb_tx_kick(q->r.n);
}

static void fetch_more(struct igb_tx_queue *q)
{
	uint32_t count = igb_ring_fetchable(&q->r);
	int err;

	if (!queue_on(q) || q->r.fetching || q->descs_count || count == 0)
		return;
	q->r.fetch_n = count < IGB_TX_FETCH ? count : IGB_TX_FETCH;
	q->r.fetch_gen = q->r.gen;
	err = fb_dma_read(q->r.n->dev, igb_ring_addr(&q->r, q->r.fetch), q->descs, q->r.fetch_n * IGB_DESC, fetched, q);
	if (err) {
		igb_retry(q->r.n, err);
		return;
	}
	q->r.fetching = true;
	q->r.n->dma++;
}

static void forget_open(struct igb_tx_queue *q)
{
	q->open = q->closed = q->cur_bad = false;
	q->n_segs = 0;
}

/* One descriptor joins the packet being gathered. */
static void gather(struct igb_tx_queue *q, const uint8_t *d)
{
	struct igb_tx_packet *p = &q->cur;
	uint32_t cmd = igb_le32(d + 8), olinfo = igb_le32(d + 12), len = cmd & IGB_TXD_LEN;

	if (!q->open) {
		*p = (struct igb_tx_packet){.q = q, .first = q->r.fetch, .gen = q->r.gen};
		q->n_segs = 0;
		q->cur_bad = false;
		q->open = true;
	}
	if (cmd & IGB_TXD_RS && p->n_descs < IGB_TX_SEGS)
		p->rs[p->n_descs / 64] |= UINT64_C(1) << p->n_descs % 64;
	p->n_descs++;
	if (cmd & IGB_TXD_DEXT && (cmd & IGB_TXD_DTYP) == IGB_TXD_DTYP_CONTEXT) {
		q->ctx[IGB_TXD_IDX(olinfo)] = (struct igb_tx_context){igb_le32(d), cmd, olinfo};
		return;
	}
	if (cmd & IGB_TXD_DEXT && (cmd & IGB_TXD_DTYP) != IGB_TXD_DTYP_DATA)
		q->cur_bad = true;
	if (cmd & IGB_TXD_DEXT) {
		if (q->n_segs == 0) {
			p->cmd = cmd;
			p->olinfo = olinfo;
			p->ctx = q->ctx[IGB_TXD_IDX(olinfo)];
			p->vlan = (uint16_t)(p->ctx.vlan_macip_lens >> 16);
		}
		p->tstamp |= (cmd & IGB_TXD_TSTAMP) != 0;
	} else {
		p->legacy = true;
		p->cmd = cmd;
		p->cso = (uint8_t)(cmd >> 16);
		p->css = (uint8_t)(olinfo >> 8);
		p->vlan = (uint16_t)(olinfo >> 16);
	}
	p->insert_vlan |= (cmd & IGB_TXD_VLE) != 0;
	if (len) {
		if (q->n_segs == IGB_TX_SEGS || p->len + len > IGB_PACKET_MAX)
			q->cur_bad = true;
		else
			q->segs[q->n_segs++] = (struct fb_dma_seg){igb_le64(d), len};
		p->len += q->cur_bad ? 0 : len;
	}
	if (cmd & IGB_TXD_EOP)
		q->closed = true;
}

static void packet_read(void *arg, int status)
{
	struct igb_tx_packet *p = arg;
	struct igb *n = p->q->r.n;

	n->dma--;
	if (status) {
		n->dma_errors++;
		fb_device_debug(n->dev, "queue %u: a packet of %u bytes cannot be read: %s", p->q->r.index, p->len, strerror(-status));
	}
	p->state = status || p->gen != p->q->r.gen ? IGB_TX_DROP : IGB_TX_READY;
	igb_tx_kick(n);
}

/* The gathered packet becomes one under way. False: no place for it now. */
static bool close_packet(struct igb_tx_queue *q)
{
	struct igb *n = q->r.n;
	struct igb_tx_packet *p = &q->packet[(q->first + q->count) % IGB_TX_PACKETS];
	bool tse = !q->cur.legacy && q->cur.cmd & IGB_TXD_TSE;
	struct igb_chunk *c = NULL;

	if (q->count == IGB_TX_PACKETS)
		return false;
	if (q->cur.len == 0 || (!tse && q->cur.len > IGB_FRAME_MAX))
		q->cur_bad = true;
	if (!q->cur_bad) {
		c = igb_chunk_get(&n->tx_arena, HEADROOM + q->cur.len + FRAME_MIN);
		if (!c)
			return false;
	}
	*p = q->cur;
	p->chunk = c;
	p->at = HEADROOM;
	p->state = IGB_TX_DROP;
	q->count++;
	if (c && fb_dma_readv(n->dev, q->segs, q->n_segs, igb_chunk_data(c) + HEADROOM, packet_read, p) == 0) {
		p->state = IGB_TX_READING;
		n->dma++;
	} else if (c) {
		n->dma_errors++;
	}
	forget_open(q);
	return true;
}

static void take_descs(struct igb_tx_queue *q)
{
	while (q->closed || q->descs_count) {
		if (q->closed) {
			if (!close_packet(q))
				return;
			continue;
		}
		gather(q, q->descs + q->descs_head * IGB_DESC);
		q->descs_head++;
		q->descs_count--;
		q->r.fetch = igb_ring_next(&q->r, q->r.fetch);
	}
}

/* ---- Sending -------------------------------------------------------------------------------- */

static void insert_vlan(struct igb *n, struct igb_tx_packet *p)
{
	uint8_t *frame = igb_chunk_data(p->chunk) + p->at - HEADROOM;

	memmove(frame, frame + HEADROOM, 12);
	igb_put_be16(frame + 12, (uint16_t)IGB_REG(n, IGB_VET));
	igb_put_be16(frame + 14, p->vlan);
	p->at -= HEADROOM;
	p->len += HEADROOM;
	p->o.csum_start += HEADROOM;
	p->o.l3 += HEADROOM;
	p->o.hdr_len += HEADROOM;
}

/* What the descriptors ask for, as offloads of the frame. False: it makes no sense. */
static bool prepare(struct igb *n, struct igb_tx_packet *p)
{
	uint32_t lens = p->ctx.vlan_macip_lens, maclen = lens >> 9 & 0x7f, iplen = lens & 0x1ff;
	uint8_t *frame = igb_chunk_data(p->chunk) + p->at;
	struct igb_offload *o = &p->o;
	bool tcp = (p->ctx.type_tucmd & IGB_TXC_L4T) == IGB_TXC_L4T_TCP;
	bool sctp = (p->ctx.type_tucmd & IGB_TXC_L4T) == IGB_TXC_L4T_SCTP;

	p->prepared = true;
	if (p->len < 14)
		return false;
	if (p->legacy) {
		if (p->cmd & IGB_TXD_IC) {
			if (p->css >= p->len || (uint32_t)p->cso + 2 > p->len)
				return false;
			igb_put_be16(frame + p->cso, (uint16_t)~igb_sum_fold(igb_sum(frame + p->css, p->len - p->css, 0)));
		}
		p->insert_vlan &= IGB_REG(n, IGB_CTRL) & IGB_CTRL_VME ? true : false;
	} else {
		o->l3 = (uint16_t)maclen;
		o->csum_start = (uint16_t)(maclen + iplen);
		o->ipv6 = !(p->ctx.type_tucmd & IGB_TXC_IPV4);
		if (p->cmd & IGB_TXD_TSE) {
			o->tso = tcp;
			o->uso = !tcp;
			o->hdr_len = (uint16_t)(maclen + iplen + (p->ctx.mss_l4len_idx >> 8 & 0xff));
			o->mss = (uint16_t)(p->ctx.mss_l4len_idx >> 16);
			o->tunnel = maclen + 20 <= p->len && iplen != (o->ipv6 ? 40 : (frame[maclen] & 15u) * 4);
			if (sctp || !igb_gso_valid(frame, p->len, o) || (uint32_t)o->hdr_len + o->mss > IGB_FRAME_MAX)
				return false;
			o->csum = true;
			o->csum_offset = tcp ? L4_TCP_SUM : L4_UDP_SUM;
			if (o->tunnel) {
				o->ip_seed = igb_be16(frame + maclen + 10);
				o->l4_seed = igb_be16(frame + o->csum_start + o->csum_offset);
			} else {
				igb_gso_prepare(frame, p->len, o);
			}
			igb_stat_add(n, IGB_STAT_TSCTC, 1);
		} else {
			if (p->olinfo & IGB_TXD_IXSM && !o->ipv6) {
				if (maclen + 20 > p->len || (frame[maclen] & 15) < 5 ||
				    maclen + (frame[maclen] & 15u) * 4 > p->len)
					return false;
				igb_insert_ipv4(frame + maclen);
			}
			if (p->olinfo & IGB_TXD_TXSM) {
				o->csum = !sctp;
				o->sctp = sctp;
				o->csum_offset = tcp ? L4_TCP_SUM : L4_UDP_SUM;
				if ((uint32_t)o->csum_start + (sctp ? 12 : o->csum_offset + 2) > p->len)
					return false;
			}
		}
	}
	if (p->insert_vlan)
		insert_vlan(n, p);
	if (o->sctp) {
		igb_finish_checksum(igb_chunk_data(p->chunk) + p->at, p->len, o);
		o->sctp = false;
	}
	if (p->len < FRAME_MIN && IGB_REG(n, IGB_TCTL) & IGB_TCTL_PSP) {
		if (o->csum) /* the padding is not to be summed up by anybody else */
			igb_finish_checksum(igb_chunk_data(p->chunk) + p->at, p->len, o);
		o->csum = false;
		memset(igb_chunk_data(p->chunk) + p->at + p->len, 0, FRAME_MIN - p->len);
		p->len = FRAME_MIN;
	}
	return true;
}

/* A finished frame to our own receive side. */
static int loop_back(struct igb *n, const uint8_t *frame, uint32_t len)
{
	struct igb_chunk *c = igb_chunk_get(&n->rx_arena, len + 64);
	enum igb_rx_result result;

	if (!c)
		return -EAGAIN;
	memcpy(igb_chunk_data(c), frame, len);
	result = igb_rx_frame(n, c, len, false);
	if (result == IGB_RX_HOLD) { /* nothing changed: two queues whose frames wait must not wake each other for ever */
		igb_chunk_unget(c);
		return -EAGAIN;
	}
	igb_chunk_put(c);
	return 0;
}

static int send_frame(struct igb *n, const uint8_t *frame, uint32_t len, const struct igb_offload *o)
{
	if (igb_loopback(n))
		return loop_back(n, frame, len);
	return n->link ? igb_backend_write(n, frame, len, o) : -ENETDOWN;
}

static void count_frame(struct igb *n, const uint8_t *frame, uint32_t len)
{
	igb_stat_tx(n, frame, len);
	n->tx_frames++;
	n->tx_bytes += len;
}

/* 0; -EAGAIN: not yet; other errors: it is lost. */
static int send_packet(struct igb *n, struct igb_tx_packet *p)
{
	uint8_t *frame = igb_chunk_data(p->chunk) + p->at;
	bool theirs = n->backend.vnet && !igb_loopback(n) && (!p->o.uso || n->backend.uso) && !p->o.tunnel;
	unsigned segments;
	int err;

	if (!igb_is_gso(&p->o)) {
		if (p->o.csum && !theirs) {
			igb_finish_checksum(frame, p->len, &p->o);
			p->o.csum = false;
		}
		err = send_frame(n, frame, p->len, &p->o);
		if (err == 0)
			count_frame(n, frame, p->len);
		return err;
	}
	segments = igb_gso_count(p->len, &p->o);
	if (theirs && p->next_segment == 0) {
		err = send_frame(n, frame, p->len, &p->o);
		if (err)
			return err;
		n->tx_offloaded++;
		/* As if the wire had seen them: all full but the last. */
		for (unsigned i = 0; i < segments; i++)
			count_frame(n, frame, i + 1 < segments ? (uint32_t)p->o.hdr_len + p->o.mss :
					      p->len - i * p->o.mss);
		return 0;
	}
	for (; p->next_segment < segments; p->next_segment++) {
		static const struct igb_offload none;
		uint32_t len = (uint32_t)igb_gso_segment(n->scratch, frame, p->len, &p->o, p->next_segment);

		if (len < FRAME_MIN) {
			memset(n->scratch + len, 0, FRAME_MIN - len);
			len = FRAME_MIN;
		}
		err = send_frame(n, n->scratch, len, &none);
		if (err)
			return err;
		n->tx_cut++;
		count_frame(n, n->scratch, len);
	}
	return 0;
}

/* The oldest packet of a queue is over: descriptors are given back. */
static void complete(struct igb_tx_queue *q)
{
	static const uint8_t done[4] = {IGB_TXD_DD};
	struct igb_tx_packet *p = &q->packet[q->first];
	struct igb *n = q->r.n;
	bool current = p->gen == q->r.gen, reported = false;
	uint32_t count = igb_ring_count(&q->r);

	for (uint32_t i = 0; current && count && i < p->n_descs && i < IGB_TX_SEGS; i++) {
		if (!(p->rs[i / 64] >> i % 64 & 1))
			continue;
		reported = true;
		if (q->wbal & 1)
			continue;
		n->descs_written++;
		if (fb_dma_write(n->dev, igb_ring_addr(&q->r, (p->first + i) % count) + 12, done, p->legacy ? 1 : 4, NULL, NULL))
			n->dma_errors++;
	}
	if (current && count)
		q->r.head = (p->first + p->n_descs) % count;
	if (reported && q->wbal & 1) {
		uint8_t head[4];

		igb_put_le32(head, q->r.head);
		if (fb_dma_write(n->dev, (uint64_t)q->wbah << 32 | (q->wbal & ~3u), head, 4, NULL, NULL))
			n->dma_errors++;
	}
	q->irq |= reported;
	p->state = IGB_TX_FREE;
	q->first = (q->first + 1) % IGB_TX_PACKETS;
	q->count--;
	if (p->chunk)
		igb_chunk_put(p->chunk);
	p->chunk = NULL;
}

static void run_queue(struct igb_tx_queue *q)
{
	struct igb *n = q->r.n;

	take_descs(q);
	fetch_more(q);
	while (q->count) {
		struct igb_tx_packet *p = &q->packet[q->first];
		bool current = p->gen == q->r.gen;

		if (p->state == IGB_TX_READING)
			break;
		if (p->state == IGB_TX_READY && current && !p->prepared && !prepare(n, p))
			p->state = IGB_TX_DROP;
		if (p->state == IGB_TX_READY && current) {
			int err = send_packet(n, p);

			if (err == -EAGAIN) {
				n->tx_held = true;
				break;
			}
			if (err)
				n->tx_errors++;
			if (p->tstamp)
				igb_time_transmitted(n);
		} else if (current) {
			n->tx_errors++;
		}
		complete(q);
	}
}

void igb_tx_run(struct igb *n)
{
	n->tx_held = false;
	for (unsigned i = 0; n->tx_wanted && i < RUNS; i++) {
		n->tx_wanted = false;
		for (unsigned k = 0; k < IGB_QUEUES; k++)
			run_queue(&n->tx[(n->next_tx + k) % IGB_QUEUES]);
		n->next_tx = (n->next_tx + 1) % IGB_QUEUES;
	}
	for (unsigned i = 0; i < IGB_QUEUES; i++) {
		struct igb_tx_queue *q = &n->tx[i];

		if (q->irq)
			igb_irq_queue(n, i, true);
		q->irq = false;
	}
	if (n->tx_wanted)
		igb_kick(n);
}

void igb_tx_kick(struct igb *n)
{
	n->tx_wanted = true;
	igb_kick(n);
}

/* Its packets are of an earlier life now; those whose bytes are being read end when that has. */
void igb_tx_drop_queue(struct igb_tx_queue *q)
{
	q->descs_head = q->descs_count = 0;
	forget_open(q);
	memset(q->ctx, 0, sizeof(q->ctx));
	igb_tx_kick(q->r.n);
}
