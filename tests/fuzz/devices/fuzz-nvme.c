/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile guest against the NVMe model: the input is a script of register
 * accesses, guest memory contents, commands, resets and faults of the bus. The
 * model must not crash, leak, hang, write more at once than its MDTS, or hold
 * anything back once all has settled and the controller is disabled.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/nvme.h"
#include "fake_device.h"
#include "util/reader.h"

enum { MEM = 256 << 10, IMAGE = 256 << 10, MDTS = 16 << 10, MAX_STEPS = 400, MAX_WRITE = (NVME_MQES + 1) * 16 };
_Static_assert(MDTS <= MAX_WRITE, "the larger of the two bounds");

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int image = -1;

/* Something must be true: else the fuzzer has found it. */
static void must(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "fuzz-nvme: not so: %s\n", what);
		abort();
	}
}

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
	nvme_put32(&sqe.cdw12, fb_rd_u8(r) | (uint32_t)fb_rd_u8(r) << 24);
	if (!sq->exists)
		return;
	at = sq->addr + (uint64_t)sq->tail * 64;
	if (at + 64 <= dev->mem_size)
		memcpy(dev->mem + at, &sqe, 64);
	fake_write32(dev, NVME_REG_DBS + 8 * qid, (sq->tail + 1) % sq->size);
}

static void memory(struct fb_device *dev, struct fb_reader *r)
{
	uint64_t at = (uint64_t)fb_rd_le16(r) << 3;
	size_t len = fb_rd_u8(r);
	const uint8_t *bytes;

	if (len > r->left)
		len = r->left;
	bytes = fb_rd_bytes(r, len);
	if (bytes && fb_in_range(at, len, dev->mem_size))
		memcpy(dev->mem + at, bytes, len);
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
	switch (fb_rd_u8(r) % 16) {
	case 0: {
		uint64_t offset = fb_rd_le16(r) & 0x3ffc;

		fake_write32(dev, offset, fb_rd_le32(r));
		break;
	}
	case 1:
		fake_read32(dev, fb_rd_le16(r) & 0x3ffc);
		break;
	case 2:
		memory(dev, r);
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
	case 9:
		for (unsigned i = fb_rd_u8(r) % 8; i > 0; i--)
			fake_round(dev);
		break;
	case 10:
		consume(dev, n);
		break;
	case 11:
		fake_reset(dev, (enum fb_reset)(fb_rd_u8(r) % 3));
		break;
	case 12:
		fake_advance(dev, (uint64_t)fb_rd_u8(r) << 24);
		break;
	case 13: {
		static const int errors[] = {0, 0, 0, -EIO, -ETIMEDOUT, -EFAULT};
		uint8_t v = fb_rd_u8(r);

		dev->fail_reads = errors[v % 6];
		dev->shuffle = v;
		dev->irq_mode = (enum fb_irq_mode)(v >> 6);
		break;
	}
	case 14: {
		uint8_t v = fb_rd_u8(r);

		dev->bme = v % 4 != 0;
		dev->refuse_dma = v >> 4;
		if (!dev->bme)
			fake_cancel_dma(dev, -ECANCELED);
		break;
	}
	case 15: {
		uint64_t bytes = (uint64_t)fb_rd_u8(r) << 11;

		if (ftruncate(image, (off_t)(bytes ? bytes : IMAGE)) < 0)
			abort();
		break;
	}
	}
}

/* Bounded: nothing takes this long on a file in memory. */
static void settle(struct fb_device *dev, struct nvme *n)
{
	unsigned quiet = 0;

	for (unsigned i = 0; quiet < 3; i++) {
		must(i < 10000000, "it comes to rest");
		quiet = fake_round(dev) || n->aio.inflight || dev->outstanding ? 0 : quiet + 1;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_reader r = fb_reader(data, size);
	struct fb_device *dev;
	char options[96];
	struct nvme *n;

	if (image < 0)
		image = memfd_create("image", MFD_CLOEXEC);
	if (image < 0 || ftruncate(image, IMAGE) < 0)
		abort();
	alarm(60); /* a hang is a finding */
	snprintf(options, sizeof(options), "file=/proc/self/fd/%d,mdts=16K,buffers=1M,queues=8,serial=fuzz", image);
	if (fake_new(&dev, &nvme_model, options, MEM)) {
		fprintf(stderr, "fuzz-nvme: %s\n", dev->errors);
		abort();
	}
	n = dev->state;
	for (unsigned i = 0; i < MAX_STEPS && r.left; i++)
		step(dev, n, &r);
	must(dev->max_write <= MAX_WRITE, "no DMA write is longer than MDTS and than a completion queue");
	/* Let it settle, take the controller away: all must be back. */
	dev->bme = true;
	dev->shadow_able = true;
	dev->fail_reads = 0;
	dev->refuse_dma = 0;
	settle(dev, n);
	fake_write32(dev, NVME_REG_CC, 0);
	settle(dev, n);
	must(!(fake_read32(dev, NVME_REG_CSTS) & NVME_CSTS_RDY), "CSTS.RDY falls");
	must(n->n_async == 0 && n->n_busy == 0 && n->reserved == 0, "nothing is in flight");
	must(n->n_free == NVME_CMDS, "all commands are free");
	must(n->arena.used == 0, "all buffers are free");
	must(n->n_aers == 0 && !n->format, "no command is parked");
	for (unsigned i = 0; i < n->n_ns; i++)
		must(n->ns[i].inflight == 0 && !n->ns[i].formatting, "namespaces are idle");
	fake_free(dev);
	alarm(0);
	return 0;
}
