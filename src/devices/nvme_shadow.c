/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shadow doorbells: Doorbell Buffer Config (5.7, 7.13; docs/design/shadow.md).
 *
 * Theory of operation
 *
 * The host keeps the I/O queues' indexes in one page of its memory and rings a
 * doorbell only when an index passes the one in the other page (EventIdx).
 *
 * Tails of submission queues are the runtime's business (struct fb_device_ring):
 * they come as doorbell writes, as without shadows.
 *
 * Heads of completion queues matter only when a queue gets full. So their EventIdx
 * is one that no head passes but by wrapping around, and the head is read from the
 * host's memory when, by the head that was known last, half of the queue is in
 * use. If it is full in truth, or INTx follows the head, the host is to ring: the
 * queue is armed. EventIdx becomes the head, and the shadow is read behind that
 * once more, until both are the same. One look a queue is on its way at any time.
 *
 * The admin queues keep their doorbells: no driver shadows them.
 */
#include <errno.h>

#include "devices/nvme.h"

enum { NEVER = 0xffff }; /* EventIdx that no index passes */

static int store(struct fb_device *dev, uint64_t address, uint32_t event)
{
	nvme_le32 word;

	nvme_put32(&word, event);
	return fb_dma_write(dev, address, &word, sizeof(word), NULL, NULL);
}

static bool wants_events(const struct nvme_cq *cq)
{
	return nvme_cq_full(cq) || fb_irq_mode(cq->n->dev) == FB_IRQ_INTX;
}

/* EventIdx as it should be: 0 or -errno. */
static int arm(struct nvme_cq *cq)
{
	bool wanted = wants_events(cq);
	uint32_t event = wanted ? cq->head : NEVER;
	int err = 0;

	if (event != cq->shadow.event)
		err = store(cq->n->dev, nvme_shadow_cq(cq, cq->n->event_addr), event);
	if (!err)
		cq->shadow.event = event;
	return err;
}

static void again(struct nvme_cq *cq, int err)
{
	cq->shadow.again = true;
	nvme_retry(cq->n, err);
}

static void looked(void *arg, int status)
{
	struct nvme_cq *cq = arg;
	struct nvme *n = cq->n;
	bool stale = cq->shadow.stale;

	cq->shadow.looking = cq->shadow.stale = false;
	n->n_async--;
	if (!cq->exists || !n->enabled || !n->shadow_addr) {
		if (n->n_async == 0)
			nvme_lifecycle(n);
	} else if (status && !stale) {
		again(cq, status);
	} else {
		if (!stale)
			nvme_cq_consumed(cq, nvme_get32(cq->shadow.word));
		if (stale || cq->shadow.again || (wants_events(cq) && cq->shadow.event != cq->head))
			nvme_shadow_look(cq);
		else
			arm(cq); /* that is, disarm it; no matter if not */
	}
}

void nvme_shadow_look(struct nvme_cq *cq)
{
	struct nvme *n = cq->n;
	int err;

	if (cq->shadow.looking) {
		cq->shadow.again = true;
		return;
	}
	cq->shadow.again = false;
	err = arm(cq);
	if (!err)
		err = fb_dma_read(n->dev, nvme_shadow_cq(cq, n->shadow_addr), &cq->shadow.word, sizeof(cq->shadow.word),
				  looked, cq);
	if (err) {
		again(cq, err);
		return;
	}
	n->shadow_looks++;
	n->n_async++;
	cq->shadow.looking = true;
}

void nvme_shadow_posted(struct nvme_cq *cq)
{
	if (!nvme_shadowed(cq->n, cq->qid) || cq->shadow.looking)
		return;
	if (wants_events(cq) ? cq->shadow.event != cq->head : nvme_cq_used(cq) >= cq->size / 2)
		nvme_shadow_look(cq);
}

void nvme_shadow_rung(struct nvme_cq *cq)
{
	if (cq->shadow.event != NEVER)
		nvme_shadow_look(cq);
}

/* ---- Beginning ------------------------------------------------------------------------- */

bool nvme_shadow_able(const struct nvme *n)
{
	return n->opt.shadow && fb_device_ring_shadow_able(n->dev);
}

bool nvme_shadow_sq_begin(struct nvme_sq *sq)
{
	struct nvme *n = sq->n;

	return !nvme_shadowed(n, sq->qid) || store(n->dev, nvme_shadow_sq(sq, n->event_addr), sq->tail) == 0;
}

void nvme_shadow_cq_begin(struct nvme_cq *cq)
{
	struct nvme *n = cq->n;

	cq->shadow.stale = cq->shadow.looking; /* what it finds is of another life */
	cq->shadow.again = false;
	cq->shadow.event = NEVER;
	if (!nvme_shadowed(n, cq->qid))
		return;
	store(n->dev, nvme_shadow_cq(cq, n->event_addr), NEVER); /* without it the host rings needlessly */
	nvme_shadow_posted(cq); /* it may be full already */
}

void nvme_dbbuf_config(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->n;
	uint64_t prp1 = nvme_get64(cmd->sqe.prp1), prp2 = nvme_get64(cmd->sqe.prp2);
	bool begun = true;

	if (!nvme_shadow_able(n)) {
		nvme_refuse(cmd, NVME_SC_INVALID_OPCODE, 0);
		return;
	}
	if (!prp1 || prp1 & (n->page_size - 1)) {
		nvme_refuse(cmd, NVME_SC_INVALID_FIELD, offsetof(struct nvme_sqe, prp1));
		return;
	}
	if (!prp2 || prp2 & (n->page_size - 1)) {
		nvme_refuse(cmd, NVME_SC_INVALID_FIELD, offsetof(struct nvme_sqe, prp2));
		return;
	}
	n->shadow_addr = prp1;
	n->event_addr = prp2;
	for (unsigned i = 1; i < n->n_queues; i++) {
		if (n->cq[i].exists)
			nvme_shadow_cq_begin(&n->cq[i]);
		if (n->sq[i].exists) {
			nvme_sq_tell(&n->sq[i], true);
			begun &= nvme_shadow_sq_begin(&n->sq[i]);
		}
	}
	nvme_complete(cmd, begun ? NVME_SC_SUCCESS : NVME_SC_INTERNAL_ERROR);
}
