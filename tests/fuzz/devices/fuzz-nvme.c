/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile guest against the NVMe model: the input is a script of register
 * accesses, guest memory contents, commands, resets and faults of the bus. The
 * model must not crash, leak, hang, write more at once than its MDTS, touch what
 * no command gave it, or hold anything back once all has settled and the
 * controller is disabled.
 */
#include <stdio.h>
#include <string.h>

#include "devices/nvme.h"
#include "fuzz_device.h"

enum { MEM = 256 << 10, IMAGE = 256 << 10, MDTS = 16 << 10, MAX_STEPS = 400, PAGE = 4096, DATA = 0x20000, MAX_WRITE = (NVME_MQES + 1) * 16 };
_Static_assert(MDTS <= MAX_WRITE, "the larger of the two bounds");

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t queue(struct fb_device *dev, uint64_t bytes, unsigned access)
{
	uint64_t at = fuzz_place(dev, bytes, PAGE);

	return at ? fuzz_grant(at, bytes, access) : 0;
}

static void enable(struct fb_device *dev, struct fb_reader *r)
{
	uint32_t entries = fb_rd_u8(r) % 63 + 1;

	fake_write32(dev, NVME_REG_AQA, entries << 16 | entries);
	fake_write64(dev, NVME_REG_ASQ, queue(dev, (entries + 1) * 64, FUZZ_READ));
	fake_write64(dev, NVME_REG_ACQ, queue(dev, (entries + 1) * 16, FUZZ_WRITE));
	fake_write32(dev, NVME_REG_CC, 4u << 20 | 6u << 16 | NVME_CC_EN);
}

/* Queue pair 1..4 at its own pages, as a driver would, so that deep paths are near. */
static void queue_pair(struct fb_device *dev, struct nvme *n, struct fb_reader *r)
{
	unsigned qid = fb_rd_u8(r) % 4 + 1;
	uint32_t entries = fb_rd_u8(r) % 63 + 2;

	if (!n->enabled || n->cq[qid].exists || n->sq[qid].exists)
		return;
	if (nvme_cq_create(n, qid, entries, queue(dev, entries * 16, FUZZ_WRITE), qid, true) == 0)
		nvme_sq_create(n, qid, qid, entries, queue(dev, entries * 64, FUZZ_READ));
}

static void submit(struct fb_device *dev, struct nvme *n, unsigned qid, const struct nvme_sqe *sqe)
{
	const struct nvme_sq *sq = &n->sq[qid];
	uint8_t *at = fuzz_memory(dev, sq->addr + (uint64_t)sq->tail * 64, 64);

	if (!sq->exists)
		return;
	if (at)
		memcpy(at, sqe, 64);
	fake_write32(dev, NVME_REG_DBS + 8 * qid, (sq->tail + 1) % sq->size);
}

static void command(struct fb_device *dev, struct nvme *n, struct fb_reader *r)
{
	unsigned qid = fb_rd_u8(r) % 5;
	struct nvme_sqe sqe;
	uint8_t low;

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
	if (qid == 0 && sqe.opc == NVME_ADM_FORMAT) /* blocks get another size when it runs */
		fuzz_anything();
	submit(dev, n, qid, &sqe);
}

/* PRPs for len bytes, a list in two pages among them, and not one byte more. */
static void prps(struct fb_device *dev, struct nvme_sqe *sqe, uint32_t len, unsigned access, struct fb_reader *r)
{
	uint32_t off = (fb_rd_u8(r) & 63u) * 64, first = len < PAGE - off ? len : PAGE - off, left = len - first;
	uint32_t entries = (left + PAGE - 1) / PAGE, split = fb_rd_u8(r) % 4 + 1, at = 0;
	uint64_t list, next;

	nvme_put64(&sqe->prp1, fuzz_grant(DATA + off, first, access));
	nvme_put64(&sqe->prp2, fuzz_grant(DATA + PAGE, left, access));
	if (left <= PAGE)
		return;
	list = fuzz_place(dev, PAGE, PAGE);
	next = fuzz_place(dev, PAGE, PAGE);
	if (!list || !next)
		return;
	if (split < entries) { /* the list begins near the end of its page, and goes on in another one */
		list += PAGE - split * 8;
		fb_put_le64(dev->mem + list + (split - 1) * 8, fuzz_grant(next, (entries - split + 1) * 8, FUZZ_READ));
	} else {
		split = entries + 1;
	}
	nvme_put64(&sqe->prp2, fuzz_grant(list, (split <= entries ? split : entries) * 8, FUZZ_READ));
	for (uint32_t i = 0; i < entries; i++, left -= at) {
		at = left < PAGE ? left : PAGE;
		fb_put_le64(dev->mem + (i + 1 < split ? list + i * 8 : next + (i + 1 - split) * 8),
			    fuzz_grant(DATA + (i + 1) * PAGE, at, access));
	}
}

/* The same as an SGL of up to four pieces, the last of which is longer than the data. */
static void sgl(struct fb_device *dev, struct nvme_sqe *sqe, uint32_t len, unsigned access, struct fb_reader *r)
{
	unsigned n = fb_rd_u8(r) % 4 + 1, bucket = fb_rd_u8(r);
	uint64_t list = fuzz_place(dev, n * 16, 16);
	struct nvme_sgl_descriptor *d = (struct nvme_sgl_descriptor *)(void *)(dev->mem + list);

	sqe->flags = 0x40;
	nvme_put64(&sqe->sgl1.addr, fuzz_grant(list, n * 16, FUZZ_READ));
	nvme_put32(&sqe->sgl1.length, n * 16);
	sqe->sgl1.type = NVME_SGL_LAST_SEGMENT << 4;
	for (unsigned i = 0; list && i < n; i++) {
		uint32_t piece = i + 1 < n ? fb_rd_le16(r) % (len + 1) : len;
		bool skipped = bucket == i && access == FUZZ_WRITE;

		nvme_put64(&d[i].addr, fuzz_grant(DATA + i * 0x3001u, skipped ? 0 : piece, access));
		nvme_put32(&d[i].length, i + 1 < n ? piece : piece + 100);
		d[i].type = (skipped ? NVME_SGL_BIT_BUCKET : NVME_SGL_DATA_BLOCK) << 4;
		len -= piece;
	}
}

/* A command that makes sense, and data that has its place: the rest is not to be touched. */
static void good_command(struct fb_device *dev, struct nvme *n, struct fb_reader *r)
{
	static const uint8_t opcodes[] = {NVME_CMD_WRITE, NVME_CMD_READ, NVME_CMD_COMPARE, NVME_CMD_DSM,
					  NVME_ADM_IDENTIFY, NVME_ADM_GET_LOG_PAGE, NVME_ADM_GET_FEATURES, NVME_ADM_SET_FEATURES};
	/* Timestamp and Host Identifier have data. */
	static const uint8_t features[8] = {0x0e, 0x81, 0x04, 0x06, 0x07, 0x08, 0x09, 0x0b};
	uint8_t what = fb_rd_u8(r), a = fb_rd_u8(r), b = fb_rd_u8(r);
	unsigned kind = what & 7, qid = kind < 4 ? (what >> 3 & 3) + 1 : 0;
	unsigned access = kind == 1 || kind == 4 || kind == 5 || kind == 6 ? FUZZ_WRITE : FUZZ_READ;
	struct nvme_sqe sqe;
	uint32_t len;

	memset(&sqe, 0, sizeof(sqe));
	sqe.opc = opcodes[kind];
	nvme_put16(&sqe.cid, what);
	nvme_put32(&sqe.nsid, kind == 5 ? UINT32_MAX : kind < 5);
	switch (kind) {
	case 3:
		len = (a & 63u) * 16 + 16;
		nvme_put32(&sqe.cdw10, a & 63);
		nvme_put32(&sqe.cdw11, b & 7);
		break;
	case 4:
		len = 4096;
		nvme_put32(&sqe.cdw10, a & 0x1f);
		break;
	case 5:
		len = b * 16u + 4;
		nvme_put32(&sqe.cdw10, (b * 4u) << 16 | (a & 15));
		break;
	case 6:
	case 7:
		len = a % 8 == 0 ? 8 : a % 8 == 1 && b & 1 ? 16 : 8;
		nvme_put32(&sqe.cdw10, features[a % 8] | (kind == 6 ? (a & 0x18u) << 5 : 0));
		nvme_put32(&sqe.cdw11, a % 8 == 1 ? b & 1 : b * 0x10101u);
		break;
	default:
		len = (a % 40u + 1) << n->ns[0].lbads;
		nvme_put32(&sqe.cdw10, b);
		nvme_put32(&sqe.cdw12, a % 40u | (uint32_t)(what & 0x40) << 24);
		break;
	}
	if (what & 0x80)
		sgl(dev, &sqe, len, access, r);
	else
		prps(dev, &sqe, len, access, r);
	submit(dev, n, qid, &sqe);
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
	unsigned op = fb_rd_u8(r) % 17;
	char path[32];

	switch (op) {
	case 0: {
		uint64_t offset = fb_rd_le16(r) & 0x3ffc;

		if (offset >= NVME_REG_CC && offset < NVME_REG_DBS) /* page size, queues */
			fuzz_anything();
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
		queue_pair(dev, n, r);
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
	case 16:
		good_command(dev, n, r);
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

	fuzz_image(0, path); /* nothing of the input before */
	fuzz_image(IMAGE, path);
	/* The block size, too: "auto" is what Format NVM has chosen for this file. */
	snprintf(options, sizeof(options), "file=%s,lba=512,mdts=16K,buffers=1M,queues=8,serial=fuzz", path);
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
	fuzz_forget();
	fake_advance(dev, 10000000000);
	fuzz_settle(dev, NULL);
	for (unsigned i = 0; i < n->n_ns; i++)
		fuzz_must(n->ns[i].inflight == 0 && !n->ns[i].formatting, "namespaces are idle");
	fuzz_device_free(dev);
	return 0;
}
