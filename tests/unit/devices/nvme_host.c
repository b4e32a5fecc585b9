/* SPDX-License-Identifier: Apache-2.0 */
#include "nvme_host.h"

#include "inject.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* File operations that a test does not hold back. */
static bool busy(struct fb_device *dev)
{
	const struct nvme *n = dev->state;
	const struct inject *inj = n->aio.priv;

	if (!dev->model || !n->aio.backend)
		return false;
	if (!strcmp(n->aio.backend->name, "inject"))
		return inj->first || inj->inner.inflight;
	return n->aio.inflight > 0;
}

int host_file(char path[HOST_PATH], off_t size)
{
	int fd;

	strcpy(path, "nvme-test-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(ftruncate(fd, size), 0);
	snprintf(path, HOST_PATH, "/proc/self/fd/%d", fd);
	return fd;
}

void host_open(struct host *h, uint64_t size, const char *options)
{
	memset(h, 0, sizeof(*h));
	h->fd = host_file(h->path, (off_t)size);
	snprintf(h->options, sizeof(h->options), "file=%s%s%s", h->path, *options ? "," : "", options);
	if (fake_new(&h->dev, &nvme_model, h->options, HOST_MEM))
		fail_msg("%s", h->dev->errors);
	h->n = h->dev->state;
	h->dev->busy = busy;
	h->next = 0x10000;
}

uint64_t host_alloc(struct host *h, uint64_t len, uint64_t align)
{
	uint64_t addr = (h->next + align - 1) & ~(align - 1);

	h->next = addr + len;
	assert_true(h->next <= h->dev->mem_size);
	memset(h->dev->mem + addr, 0, len);
	return addr;
}

uint8_t *host_mem(struct host *h, uint64_t addr)
{
	return h->dev->mem + addr;
}

static bool is_ready(void *arg)
{
	struct host *h = arg;

	return fake_read32(h->dev, NVME_REG_CSTS) & NVME_CSTS_RDY;
}

static bool is_not_ready(void *arg)
{
	return !is_ready(arg);
}

static void queue_init(struct host *h, unsigned qid, unsigned entries)
{
	struct host_queue *q = &h->q[qid];

	memset(q, 0, sizeof(*q));
	q->sq_size = q->cq_size = entries;
	q->sq = host_alloc(h, entries * 64, 4096);
	q->cq = host_alloc(h, entries * 16, 4096);
	q->phase = true;
}

void host_enable(struct host *h, unsigned entries)
{
	queue_init(h, 0, entries);
	fake_write32(h->dev, NVME_REG_AQA, (entries - 1) << 16 | (entries - 1));
	fake_write64(h->dev, NVME_REG_ASQ, h->q[0].sq);
	fake_write64(h->dev, NVME_REG_ACQ, h->q[0].cq);
	fake_write32(h->dev, NVME_REG_CC, 4u << 20 | 6u << 16 | NVME_CC_EN);
	assert_true(fake_until(h->dev, is_ready, h));
}

void host_disable(struct host *h)
{
	fake_write32(h->dev, NVME_REG_CC, 4u << 20 | 6u << 16);
	assert_true(fake_until(h->dev, is_not_ready, h));
}

void host_pair(struct host *h, unsigned qid, unsigned entries)
{
	struct nvme_sqe sqe = host_cmd(NVME_ADM_CREATE_CQ, 0);

	queue_init(h, qid, entries);
	nvme_put64(&sqe.prp1, h->q[qid].cq);
	nvme_put32(&sqe.cdw10, (entries - 1) << 16 | qid);
	nvme_put32(&sqe.cdw11, qid << 16 | 3);
	assert_int_equal(host_status(h, 0, sqe), 0);
	sqe = host_cmd(NVME_ADM_CREATE_SQ, 0);
	nvme_put64(&sqe.prp1, h->q[qid].sq);
	nvme_put32(&sqe.cdw10, (entries - 1) << 16 | qid);
	nvme_put32(&sqe.cdw11, qid << 16 | 1);
	assert_int_equal(host_status(h, 0, sqe), 0);
}

void host_start(struct host *h, uint64_t size, const char *options, unsigned pairs, unsigned entries)
{
	host_open(h, size, options);
	host_enable(h, 32);
	for (unsigned i = 1; i <= pairs; i++)
		host_pair(h, i, entries);
}

void host_close(struct host *h)
{
	fake_free(h->dev);
	close(h->fd);
}

struct nvme_sqe host_cmd(uint8_t opc, uint32_t nsid)
{
	struct nvme_sqe sqe;

	memset(&sqe, 0, sizeof(sqe));
	sqe.opc = opc;
	nvme_put32(&sqe.nsid, nsid);
	return sqe;
}

struct nvme_sqe host_rw(uint8_t opc, uint32_t nsid, uint64_t slba, uint32_t blocks, uint64_t prp1, uint64_t prp2)
{
	struct nvme_sqe sqe = host_cmd(opc, nsid);

	nvme_put64(&sqe.prp1, prp1);
	nvme_put64(&sqe.prp2, prp2);
	nvme_put32(&sqe.cdw10, (uint32_t)slba);
	nvme_put32(&sqe.cdw11, (uint32_t)(slba >> 32));
	nvme_put32(&sqe.cdw12, blocks - 1);
	return sqe;
}

void host_prp(struct host *h, struct nvme_sqe *sqe, uint64_t addr, uint32_t len)
{
	uint32_t first = 4096 - (uint32_t)(addr & 4095);
	uint64_t list;
	unsigned at = 0;

	nvme_put64(&sqe->prp1, addr);
	nvme_put64(&sqe->prp2, 0);
	if (len <= first)
		return;
	len -= first;
	addr += first;
	if (len <= 4096) {
		nvme_put64(&sqe->prp2, addr);
		return;
	}
	list = host_alloc(h, 4096, 4096);
	nvme_put64(&sqe->prp2, list);
	for (; len > 0; addr += 4096, len -= len < 4096 ? len : 4096) {
		if (at == 511 && len > 4096) {
			uint64_t next = host_alloc(h, 4096, 4096);

			fb_put_le64(host_mem(h, list + 8 * at), next);
			list = next;
			at = 0;
		}
		fb_put_le64(host_mem(h, list + 8 * at++), addr);
	}
}

uint16_t host_put(struct host *h, unsigned qid, struct nvme_sqe sqe)
{
	struct host_queue *q = &h->q[qid];
	uint16_t cid = h->cid++;

	nvme_put16(&sqe.cid, cid);
	memcpy(host_mem(h, q->sq + 64 * q->sq_tail), &sqe, 64);
	q->sq_tail = (q->sq_tail + 1) % q->sq_size;
	return cid;
}

void host_ring(struct host *h, unsigned qid)
{
	fake_write32(h->dev, NVME_REG_DBS + 8 * qid, h->q[qid].sq_tail);
}

bool host_take(struct host *h, unsigned qid, struct host_cqe *cqe)
{
	struct host_queue *q = &h->q[qid];
	const struct nvme_cqe *e = (const struct nvme_cqe *)(const void *)host_mem(h, q->cq + 16 * q->cq_head);
	uint16_t status = nvme_get16(e->status);

	if ((status & 1) != q->phase)
		return false;
	cqe->dw0 = nvme_get32(e->dw0);
	cqe->sqhd = nvme_get16(e->sqhd);
	cqe->sqid = nvme_get16(e->sqid);
	cqe->cid = nvme_get16(e->cid);
	cqe->status = status >> 1;
	q->sq_head = cqe->sqhd;
	if (++q->cq_head == q->cq_size) {
		q->cq_head = 0;
		q->phase = !q->phase;
	}
	fake_write32(h->dev, NVME_REG_DBS + 8 * qid + 4, q->cq_head);
	return true;
}

struct taken {
	struct host *h;
	unsigned qid;
	struct host_cqe cqe;
};

static bool take(void *arg)
{
	struct taken *t = arg;

	return host_take(t->h, t->qid, &t->cqe);
}

struct host_cqe host_wait(struct host *h, unsigned qid)
{
	struct taken t = {.h = h, .qid = qid};

	if (!fake_until(h->dev, take, &t))
		fail_msg("no completion in queue %u", qid);
	return t.cqe;
}

struct host_cqe host_do(struct host *h, unsigned qid, struct nvme_sqe sqe)
{
	uint16_t cid = host_put(h, qid, sqe);
	struct host_cqe cqe;

	host_ring(h, qid);
	cqe = host_wait(h, qid);
	assert_int_equal(cqe.cid, cid);
	assert_int_equal(cqe.sqid, qid);
	return cqe;
}

uint16_t host_status(struct host *h, unsigned qid, struct nvme_sqe sqe)
{
	return SC(host_do(h, qid, sqe).status);
}
