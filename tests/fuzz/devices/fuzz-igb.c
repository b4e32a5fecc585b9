/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile guest and a hostile network against the 82576 model: the input is a script of register accesses, descriptors,
 * frames from the wire, resets and faults of the bus. The model must not crash, leak, hang, or hold memory once all has
 * settled and the device is reset.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/igb.h"
#include "fuzz_device.h"

enum { MEM = 512 << 10, MAX_STEPS = 300, RINGS = 0x1000, BUFFERS = 0x20000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int wire;

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

	fake_write32(dev, at + IGB_Q_CTL, 0);
	fake_write32(dev, at + IGB_Q_BAL, RINGS + q * 0x1000 + (tx ? 0x8000 : 0));
	fake_write32(dev, at + IGB_Q_BAH, 0);
	fake_write32(dev, at + IGB_Q_LEN, count * IGB_DESC);
	fake_write32(dev, at + IGB_Q_HEAD, 0);
	fake_write32(dev, at + IGB_Q_TAIL, 0);
	if (!tx) {
		static const uint32_t types[] = {IGB_SRRCTL_LEGACY, IGB_SRRCTL_ONEBUF, IGB_SRRCTL_SPLIT, IGB_SRRCTL_SPLIT_ALWAYS};

		fake_write32(dev, at + IGB_Q_SRRCTL, types[what >> 4 & 3] | (what & 8 ? IGB_SRRCTL_DROP_EN | 4 << 8 : 1 << 8) |
							     (what & 0x10 ? 1 : 2));
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
	uint32_t count = igb_ring_count(ring), tail = ring->tail;
	uint64_t at = igb_ring_addr(ring, tail), addr = BUFFERS + (uint64_t)fb_rd_le16(r);
	uint8_t d[IGB_DESC];

	if (addr == BUFFERS + 0xffff)
		addr = UINT64_MAX - 3;
	igb_put_le32(d, (uint32_t)addr);
	igb_put_le32(d + 4, (uint32_t)(addr >> 32));
	igb_put_le32(d + 8, tx ? fb_rd_le32(r) : BUFFERS);
	igb_put_le32(d + 12, tx ? fb_rd_le32(r) : 0);
	if (!count || tail >= count)
		return;
	if (fb_in_range(at, IGB_DESC, dev->mem_size))
		memcpy(dev->mem + at, d, IGB_DESC);
	fake_write32(dev, queue_base(q, tx) + IGB_Q_TAIL, igb_ring_next(ring, tail));
}

/* Many packets at once, up to the largest, so that memory for them runs out; also sizes that fill it without a rest. */
static void burst(struct fb_device *dev, struct igb *n, struct fb_reader *r)
{
	uint8_t what = fb_rd_u8(r), d[IGB_DESC] = {0};
	uint32_t len = what & 0x80 ? fb_rd_le16(r) : (64u << (what >> 2 & 15) % 11) - 64;
	struct igb_ring *ring = &n->tx[what & 3].r;
	uint32_t count = igb_ring_count(ring), tail = ring->tail;

	for (unsigned i = fb_rd_u8(r) % 64; i > 0 && tail < count; i--) {
		uint64_t at = igb_ring_addr(ring, tail);

		igb_put_le32(d, BUFFERS);
		igb_put_le32(d + 8, (len & IGB_TXD_LEN) | IGB_TXD_DEXT | IGB_TXD_DTYP_DATA | IGB_TXD_EOP | IGB_TXD_RS |
					    (len > IGB_FRAME_MAX ? IGB_TXD_TSE : 0));
		if (fb_in_range(at, IGB_DESC, dev->mem_size))
			memcpy(dev->mem + at, d, IGB_DESC);
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
	unsigned op = fb_rd_u8(r) % 18;

	/* Nothing has come and the guest has not asked for anything: what was offered is what it would get. */
	if (dev->n_offer && op == 1)
		fuzz_must(fake_use(dev, 0), "a value offered is what a read gives");
	if (op < 2 || (op > 2 && op < 9) || op == FUZZ_MASTER || op == 15)
		dev->n_offer = 0;

	switch (op) {
	case 0: {
		uint64_t offset = fb_rd_le16(r) & 0xfffc;

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
	fuzz_settle(dev, pass_time);
	fuzz_must(n->rx_arena.used == 0 && n->tx_arena.used == 0, "all buffers are free");
	for (unsigned q = 0; q < IGB_QUEUES; q++)
		fuzz_must(n->tx[q].count == 0 && n->rx[q].cache_count == 0, "queues are empty");
	fuzz_device_free(dev);
	close(wire);
	return 0;
}
