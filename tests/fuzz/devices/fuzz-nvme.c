/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile guest against the NVMe model: the input is a script of register
 * accesses, guest memory contents, commands, resets and faults of the bus. The
 * model must not crash, leak, hang, write more at once than its MDTS, or hold
 * anything back once all has settled and the controller is disabled.
 */
#include <stdio.h>
#include <string.h>

#include "devices/nvme.h"
#include "fuzz_device.h"

enum { MEM = 256 << 10, IMAGE = 256 << 10, MDTS = 16 << 10, MAX_STEPS = 400, MAX_WRITE = (NVME_MQES + 1) * 16 };
_Static_assert(MDTS <= MAX_WRITE, "the larger of the two bounds");

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void enable(struct fb_device *dev, struct fb_reader *r)
{
	uint32_t entries = fb_rd_u8(r) % 63 + 1;

	fake_write32(dev, NVME_REG_AQA, entries << 16 | entries);
	fake_write64(dev, NVME_REG_ASQ, 0x1000);
	fake_write64(dev, NVME_REG_ACQ, 0x2000);
	fake_write32(dev, NVME_REG_CC, 4u << 20 | 6u << 16 | NVME_CC_EN);
}

/* Queue pair 1..4 at its own pages, as a driver would, so that deep paths are near. */
static void queue_pair(struct nvme *n, struct fb_reader *r)
{
	unsigned qid = fb_rd_u8(r) % 4 + 1;
	uint32_t entries = fb_rd_u8(r) % 63 + 2;

	if (!n->enabled || n->cq[qid].exists || n->sq[qid].exists)
		return;
	if (nvme_cq_create(n, qid, entries, 0x3000 + qid * 0x2000, qid, true) == 0)
		nvme_sq_create(n, qid, qid, entries, 0x4000 + qid * 0x2000);
}

static void command(struct fb_device *dev, struct nvme *n, struct fb_reader *r)
{
	unsigned qid = fb_rd_u8(r) % 5;
	struct nvme_sq *sq = &n->sq[qid];
	struct nvme_sqe sqe;
	uint8_t low;
	uint64_t at;

	memset(&sqe, 0, sizeof(sqe));
	sqe.opc = fb_rd_u8(r);
	sqe.flags = fb_rd_u8(r) & 0xc0;
	nvme_put16(&sqe.cid, (uint16_t)fb_rd_u8(r));
	nvme_put32(&sqe.nsid, fb_rd_u8(r) == 255 ? UINT32_MAX : 1);
	nvme_put64(&sqe.prp1, (uint64_t)fb_rd_le16(r) << 4);
	nvme_put64(&sqe.prp2, (uint64_t)fb_rd_le16(r) << 4);
	if (sqe.flags)
		sqe.sgl1.type = fb_rd_u8(r);
	nvme_put32(&sqe.cdw10, fb_rd_le32(r));
	nvme_put32(&sqe.cdw11, fb_rd_u8(r));
	low = fb_rd_u8(r); /* one by one: in which order operands are read, compilers choose */
	nvme_put32(&sqe.cdw12, low | (uint32_t)fb_rd_u8(r) << 24);
	if (!sq->exists)
		return;
	at = sq->addr + (uint64_t)sq->tail * 64;
	if (at + 64 <= dev->mem_size)
		memcpy(dev->mem + at, &sqe, 64);
	fake_write32(dev, NVME_REG_DBS + 8 * qid, (sq->tail + 1) % sq->size);
}

static void consume(struct fb_device *dev, struct nvme *n)
{
	for (unsigned i = 0; i < 5; i++) {
		if (n->cq[i].exists)
			fake_write32(dev, NVME_REG_DBS + 8 * i + 4, n->cq[i].tail);
	}
}

static void step(struct fb_device *dev, struct nvme *n, struct fb_reader *r)
{
	unsigned op = fb_rd_u8(r) % 16;
	char path[32];

	switch (op) {
	case 0: {
		uint64_t offset = fb_rd_le16(r) & 0x3ffc;

		fake_write32(dev, offset, fb_rd_le32(r));
		break;
	}
	case 1:
		fake_read32(dev, fb_rd_le16(r) & 0x3ffc);
		break;
	case 3:
		enable(dev, r);
		fake_round(dev);
		break;
	case 4:
		queue_pair(n, r);
		break;
	case 5:
	case 6:
	case 7:
	case 8:
		command(dev, n, r);
		break;
	case 10:
		consume(dev, n);
		break;
	case FUZZ_MEMORY:
	case FUZZ_ROUNDS:
	case FUZZ_RESET:
	case FUZZ_TIME:
	case FUZZ_FAULTS:
	case FUZZ_MASTER:
		fuzz_step(dev, r, (enum fuzz_step)op);
		break;
	case 15: {
		uint64_t bytes = (uint64_t)fb_rd_u8(r) << 11;

		fuzz_image(bytes ? bytes : IMAGE, path);
		break;
	}
	}
}

static bool busy(struct fb_device *dev)
{
	return ((struct nvme *)dev->state)->aio.inflight;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_reader r = fb_reader(data, size);
	struct fb_device *dev;
	char options[96], path[32];
	struct nvme *n;

	fuzz_image(IMAGE, path);
	snprintf(options, sizeof(options), "file=%s,mdts=16K,buffers=1M,queues=8,serial=fuzz", path);
	dev = fuzz_device_new(&nvme_model, options, MEM);
	dev->busy = busy;
	dev->shadow_able = true;
	n = dev->state;
	for (unsigned i = 0; i < MAX_STEPS && r.left; i++)
		step(dev, n, &r);
	fuzz_must(dev->max_write <= MAX_WRITE, "no DMA write is longer than MDTS and than a completion queue");
	/* Let it settle, take the controller away: all must be back. */
	fuzz_settle(dev, NULL);
	fake_write32(dev, NVME_REG_CC, 0);
	fuzz_settle(dev, NULL);
	fuzz_must(!(fake_read32(dev, NVME_REG_CSTS) & NVME_CSTS_RDY), "CSTS.RDY falls");
	fuzz_must(n->n_async == 0 && n->n_busy == 0 && n->reserved == 0, "nothing is in flight");
	fuzz_must(n->n_free == NVME_CMDS, "all commands are free");
	fuzz_must(n->arena.used == 0, "all buffers are free");
	fuzz_must(n->n_aers == 0 && !n->format, "no command is parked");
	for (unsigned i = 0; i < n->n_ns; i++)
		fuzz_must(n->ns[i].inflight == 0 && !n->ns[i].formatting, "namespaces are idle");
	fuzz_device_free(dev);
	return 0;
}
