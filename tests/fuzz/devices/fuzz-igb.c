/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile guest and a hostile network against the 82576 model: the input is a script of register accesses, descriptors,
 * frames from the wire, resets and faults of the bus. The model must not crash, leak, hang, touch what no ring or descriptor
 * gave it, or hold memory once all has settled and the device is reset.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/igb.h"
#include "fuzz_device.h"

enum { MEM = 512 << 10, MAX_STEPS = 300, BUFFERS = 0x20000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int wire;
static uint32_t packet_size[4], header_size[4]; /* buffers of receive queues */

static uint32_t queue_base(unsigned q, bool tx)
{
	return (tx ? 0xe000 : 0xc000) + (q & 15) * 0x40;
}

/* A queue as a driver sets it up, so that deep paths are near. */
static void set_up(struct fb_device *dev, struct fb_reader *r)
{
	uint8_t what = fb_rd_u8(r);
	unsigned q = what & 3;
	bool tx = what & 4;
	uint32_t at = queue_base(q, tx), count = 8u << (what >> 6);
	uint64_t ring = fuzz_place(dev, count * IGB_DESC, 128), head = tx && what & 8 ? fuzz_place(dev, 4, 4) : 0;

	ring = ring ? fuzz_grant(ring, count * IGB_DESC, FUZZ_READ | FUZZ_WRITE) : 0;
	head = head ? fuzz_grant(head, 4, FUZZ_WRITE) | 1 : 0;
	fake_write32(dev, at + IGB_Q_CTL, 0);
	fake_write32(dev, at + IGB_Q_BAL, (uint32_t)ring);
	fake_write32(dev, at + IGB_Q_BAH, (uint32_t)(ring >> 32));
	if (tx) {
		fake_write32(dev, at + IGB_Q_WBAL, (uint32_t)head);
		fake_write32(dev, at + IGB_Q_WBAH, (uint32_t)(head >> 32));
	}
	fake_write32(dev, at + IGB_Q_LEN, count * IGB_DESC);
	fake_write32(dev, at + IGB_Q_HEAD, 0);
	fake_write32(dev, at + IGB_Q_TAIL, 0);
	if (!tx) {
		static const uint32_t types[] = {IGB_SRRCTL_LEGACY, IGB_SRRCTL_ONEBUF, IGB_SRRCTL_SPLIT, IGB_SRRCTL_SPLIT_ALWAYS};

		fake_write32(dev, at + IGB_Q_SRRCTL, types[what >> 4 & 3] | (what & 8 ? IGB_SRRCTL_DROP_EN | 4 << 8 : 1 << 8) |
							     (what & 0x10 ? 1 : 2));
		packet_size[q] = what & 0x10 ? 1024 : 2048;
		header_size[q] = what & 8 ? 4 * 64 : 64;
	}
	fake_write32(dev, at + IGB_Q_CTL, IGB_QCTL_ENABLE);
	fake_write32(dev, IGB_RCTL, IGB_RCTL_RXEN | IGB_RCTL_BAM | (what & 8 ? IGB_RCTL_SECRC : 0) | IGB_RCTL_LPE | IGB_RCTL_UPE);
	fake_write32(dev, IGB_TCTL, IGB_TCTL_EN | IGB_TCTL_PSP);
}

/* A descriptor at the tail, which then moves. */
static void descriptor(struct fb_device *dev, struct igb *n, struct fb_reader *r, bool tx)
{
	unsigned q = fb_rd_u8(r) & 3;
	struct igb_ring *ring = tx ? &n->tx[q].r : &n->rx[q].r;
	uint32_t count = igb_ring_count(ring), tail = ring->tail, where = fb_rd_le16(r), cmd = tx ? fb_rd_le32(r) : 0;
	uint64_t addr, second = tx ? cmd | (uint64_t)fb_rd_le32(r) << 32 : fuzz_grant(BUFFERS, header_size[q], FUZZ_WRITE);
	uint8_t d[IGB_DESC], *at = fuzz_memory(dev, igb_ring_addr(ring, tail), IGB_DESC);

	if (where == 0xffff)
		addr = UINT64_MAX - 3;
	else
		addr = tx ? fuzz_grant(BUFFERS + where, cmd & IGB_TXD_LEN, FUZZ_READ) :
			    fuzz_grant(BUFFERS + where, packet_size[q], FUZZ_WRITE);
	fb_put_le64(d, addr);
	fb_put_le64(d + 8, second);
	if (!count || tail >= count)
		return;
	if (at)
		memcpy(at, d, IGB_DESC);
	fake_write32(dev, queue_base(q, tx) + IGB_Q_TAIL, igb_ring_next(ring, tail));
}

/* Many packets at once, up to the largest, so that memory for them runs out; also sizes that fill it without a rest. */
static void burst(struct fb_device *dev, struct igb *n, struct fb_reader *r)
{
	uint8_t what = fb_rd_u8(r), d[IGB_DESC] = {0};
	uint32_t len = what & 0x80 ? fb_rd_le16(r) : (64u << (what >> 2 & 15) % 11) - 64;
	struct igb_ring *ring = &n->tx[what & 3].r;
	uint32_t count = igb_ring_count(ring), tail = ring->tail;

	fb_put_le64(d, fuzz_grant(BUFFERS, len & IGB_TXD_LEN, FUZZ_READ));
	for (unsigned i = fb_rd_u8(r) % 64; i > 0 && tail < count; i--) {
		uint8_t *at = fuzz_memory(dev, igb_ring_addr(ring, tail), IGB_DESC);

		igb_put_le32(d + 8, (len & IGB_TXD_LEN) | IGB_TXD_DEXT | IGB_TXD_DTYP_DATA | IGB_TXD_EOP | IGB_TXD_RS |
					    (len > IGB_FRAME_MAX ? IGB_TXD_TSE : 0));
		if (at)
			memcpy(at, d, IGB_DESC);
		tail = igb_ring_next(ring, tail);
	}
	fake_write32(dev, queue_base(what, true) + IGB_Q_TAIL, tail);
}

static void arrive(struct fb_reader *r)
{
	uint8_t frame[20000];
	size_t len = fb_rd_le16(r) % sizeof(frame), given = fb_rd_u8(r);
	const uint8_t *bytes;

	if (given > r->left)
		given = r->left;
	if (given > len)
		given = len;
	bytes = fb_rd_bytes(r, given);
	memset(frame, 0x5a, len);
	if (bytes)
		memcpy(frame, bytes, given);
	if (len)
		send(wire, frame, len, MSG_DONTWAIT);
}

static void take_frames(unsigned most)
{
	uint8_t sent[70000];

	while (most-- && recv(wire, sent, sizeof(sent), MSG_DONTWAIT) > 0)
		;
}

static void step(struct fb_device *dev, struct igb *n, struct fb_reader *r)
{
	unsigned op = fb_rd_u8(r) % 19;

	/* Nothing has come and the guest has not asked for anything: what was offered is what it would get. */
	if (dev->n_offer && op == 1)
		fuzz_must(fake_use(dev, 0), "a value offered is what a read gives");
	if (op < 2 || (op > 2 && op < 9) || op == FUZZ_MASTER || op == 15)
		dev->n_offer = 0;

	switch (op) {
	case 0: {
		uint64_t offset = fb_rd_le16(r) & 0xfffc;

		if ((offset >= 0x2800 && offset < 0x4000) || offset >= 0xc000) /* rings */
			fuzz_anything();
		fake_write32(dev, offset, fb_rd_le32(r));
		break;
	}
	case 1:
		fake_read32(dev, fb_rd_le16(r) & 0xfffc);
		break;
	case 3:
	case 4:
		set_up(dev, r);
		break;
	case 5:
	case 6:
		descriptor(dev, n, r, true);
		break;
	case 7:
	case 8:
		descriptor(dev, n, r, false);
		break;
	case 10:
		arrive(r);
		break;
	case FUZZ_MEMORY:
	case FUZZ_ROUNDS:
	case FUZZ_RESET:
	case FUZZ_TIME:
	case FUZZ_FAULTS:
	case FUZZ_MASTER:
		fuzz_step(dev, r, (enum fuzz_step)op);
		break;
	case 16: /* a host that does not get to it for a while, and so does the other end of the wire */
		dev->hold = fb_rd_u8(r) & 1;
		take_frames(fb_rd_u8(r));
		break;
	case 17:
		burst(dev, n, r);
		break;
	case 18: /* a use of an offer that was on its way when another one took its place */
		dev->model->read_outdated(dev, 0, fb_rd_le16(r));
		break;
	case 15: { /* PHY: loopback, power, reset */
		uint8_t v = fb_rd_u8(r);

		fake_write32(dev, IGB_MDIC, IGB_MDIC_OP_WRITE | IGB_PHY_ADDRESS << 21 | (uint32_t)v << 8);
		break;
	}
	}
}

/* What waits for time (retries, moderation) is given it, and room on the wire. */
static void pass_time(struct fb_device *dev)
{
	fake_advance(dev, 10000000);
	take_frames(UINT32_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_reader r = fb_reader(data, size);
	struct fb_device *dev;
	char options[64];
	struct igb *n;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair))
		abort();
	wire = pair[1];
	snprintf(options, sizeof(options), "fd=%d,vnet=%s", pair[0], fb_rd_u8(&r) & 1 ? "on" : "off");
	dev = fuzz_device_new(&igb_model, options, MEM);
	close(pair[0]);
	n = dev->state;
	for (unsigned i = 0; i < MAX_STEPS && r.left; i++)
		step(dev, n, &r);
	fuzz_must(dev->max_write <= IGB_FRAME_MAX, "no DMA write is longer than a frame");
	fuzz_settle(dev, pass_time);
	fuzz_must(n->dma == 0, "nothing is under way");
	fake_reset(dev, FB_RESET_FLR);
	fuzz_forget();
	fuzz_settle(dev, pass_time);
	fuzz_must(n->rx_arena.used == 0 && n->tx_arena.used == 0, "all buffers are free");
	for (unsigned q = 0; q < IGB_QUEUES; q++)
		fuzz_must(n->tx[q].count == 0 && n->rx[q].cache_count == 0, "queues are empty");
	fuzz_device_free(dev);
	close(wire);
	return 0;
}
