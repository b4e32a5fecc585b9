/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queues: doorbells, fetching, completions, interrupts.
 *
 * Theory of operation
 *
 * A doorbell only notes the new tail and asks for a run at the end of the
 * round of the loop. The run, until nothing is left to do,
 *
 *	starts commands that waited for buffers;
 *	fetches: from each submission queue with entries, in turn, one DMA read of
 *	as many as lie in a row, at most the arbitration burst (4.13) or NVME_FETCH;
 *	submits file operations, all with one system call, and takes in what ended;
 *	posts completions: entries that lie in a row leave as one DMA write, with
 *	one interrupt a queue.
 *
 * One fetch a queue is under way at any time, so entries keep their order and
 * each queue has its turn. Nothing is fetched from a queue whose completion
 * queue is full: those that the host does not empty hold back their own work only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/nvme.h"

enum { RUN_ROUNDS = 8, REAP_MAX = 256, ROUND_BYTES = 256 << 10, FETCH_RETRIES = 3 };
#define RETRY_NS 1000000u         /* when the runtime or the kernel had no room */
#define RETRY_SLOW_NS 100000000u /* when bus mastering is off: a reset usually follows */
#define COALESCING_UNIT_NS 100000u

void nvme_retry(struct nvme *n, int err)
{
	fb_device_timer_set(n->dev, &n->retry_timer,
			    fb_device_now(n->dev) + (err == -ENOMEM || err == -EAGAIN ? RETRY_NS : RETRY_SLOW_NS));
}

static uint32_t sq_waiting(const struct nvme_sq *sq)
{
	return (sq->tail + sq->size - sq->head) % sq->size;
}

/* ---- Interrupts ------------------------------------------------------------------- */

/* INTx follows the queues: asserted while an unmasked vector has entries that the host has not consumed. */
static void intx_update(struct nvme *n)
{
	bool level = false;

	for (unsigned i = 0; i < n->n_queues && !level; i++) {
		const struct nvme_cq *cq = &n->cq[i];

		level = cq->exists && cq->ien && cq->head != cq->tail && cq->coalesced == 0 && !(n->intms & 1);
	}
	fb_intx_set(n->dev, level);
}

static void interrupt(struct nvme_cq *cq)
{
	struct nvme *n = cq->n;
	enum fb_irq_mode mode = fb_irq_mode(n->dev);

	/* INTMS is for pin and MSI; with MSI-X the table masks (3.1.3). */
	if (mode == FB_IRQ_MSI && n->intms >> (cq->vector & 31) & 1)
		return; /* stays counted in `coalesced`; INTMC brings it */
	cq->coalesced = 0;
	cq->irq_deadline = 0;
	n->irqs++;
	if (mode == FB_IRQ_INTX || mode == FB_IRQ_NONE)
		intx_update(n);
	else
		fb_irq(n->dev, cq->vector);
}

/* Entries were posted: interrupt now, or after the aggregation time or threshold (5.21.1.8). */
static void posted(struct nvme_cq *cq, unsigned count)
{
	struct nvme *n = cq->n;
	uint32_t threshold = (n->feat.coalescing & 0xff) + 1, time = n->feat.coalescing >> 8 & 0xff;

	if (!cq->ien)
		return;
	cq->coalesced += count;
	if (cq->qid != 0 && time != 0 && !n->feat.vector_cd[cq->vector] && cq->coalesced < threshold) {
		if (!cq->irq_deadline) {
			cq->irq_deadline = fb_device_now(n->dev) + (uint64_t)time * COALESCING_UNIT_NS;
			nvme_timer_update(n);
		}
		return;
	}
	interrupt(cq);
}

void nvme_timer_update(struct nvme *n)
{
	uint64_t first = UINT64_MAX;

	for (unsigned i = 0; i < n->n_queues; i++) {
		if (n->cq[i].exists && n->cq[i].irq_deadline && n->cq[i].irq_deadline < first)
			first = n->cq[i].irq_deadline;
	}
	if (first == UINT64_MAX)
		fb_device_timer_cancel(n->dev, &n->irq_timer);
	else
		fb_device_timer_set(n->dev, &n->irq_timer, first);
}

static void irq_due(struct fb_device *dev, struct fb_device_timer *timer)
{
	struct nvme *n = fb_device_state(dev);

	for (unsigned i = 0; i < n->n_queues; i++) {
		struct nvme_cq *cq = &n->cq[i];

		if (cq->exists && cq->irq_deadline && cq->irq_deadline <= fb_device_now(dev)) {
			cq->irq_deadline = 0;
			if (cq->head != cq->tail) /* the host may have polled them away */
				interrupt(cq);
			else
				cq->coalesced = 0;
		}
	}
	nvme_timer_update(n);
}

void nvme_irq_update(struct nvme *n)
{
	if (!n->enabled)
		return;
	for (unsigned i = 0; i < n->n_queues; i++) {
		struct nvme_cq *cq = &n->cq[i];

		if (cq->exists && cq->coalesced && !cq->irq_deadline)
			interrupt(cq);
	}
	intx_update(n);
}

/* ---- Completions --------------------------------------------------------------------- */

static void ring_unref(struct nvme_cq_ring *ring)
{
	if (--ring->refs == 0)
		free(ring);
}

static void entries_sent(void *arg, int status)
{
	struct nvme_cq_ring *ring = arg;
	struct nvme *n = ring->n;

	ring_unref(ring);
	if (--n->n_async == 0)
		nvme_lifecycle(n);
}

/* Sends the entries from..from+count-1, which lie in a row. */
static int send_entries(struct nvme_cq *cq, uint32_t from, uint32_t count)
{
	struct nvme *n = cq->n;
	uint32_t len = count * (uint32_t)sizeof(struct nvme_cqe);
	uint64_t addr = cq->addr + (uint64_t)from * sizeof(struct nvme_cqe);
	int err;

	n->cqe_writes++;
	if (len <= FB_DMA_INLINE)
		return fb_dma_write(n->dev, addr, &cq->ring->entry[from], len, NULL, NULL);
	cq->ring->refs++;
	n->n_async++;
	err = fb_dma_write(n->dev, addr, &cq->ring->entry[from], len, entries_sent, cq->ring);
	if (err) {
		n->n_async--;
		cq->ring->refs--;
	}
	return err;
}

static void post_queue(struct nvme_cq *cq)
{
	struct nvme *n = cq->n;
	unsigned total = 0;
	int err;

	while (!TAILQ_EMPTY(&cq->done) && !nvme_cq_full(cq)) {
		uint32_t from = cq->tail, count = 0, room = cq->size - 1 - nvme_cq_used(cq);
		struct nvme_cmd *cmd = TAILQ_FIRST(&cq->done);
		struct nvme_cmd *next;

		/* Fill what fits up to the end of the ring, send it, and only then let the commands go. */
		while (cmd && count < room && from + count < cq->size) {
			struct nvme_cqe *e = &cq->ring->entry[from + count++];

			nvme_put32(&e->dw0, cmd->dw0);
			nvme_put32(&e->dw1, 0);
			nvme_put16(&e->sqhd, cmd->sqhd);
			nvme_put16(&e->sqid, cmd->sq->qid);
			nvme_put16(&e->cid, cmd->cid);
			nvme_put16(&e->status, (uint16_t)(cmd->status << 1 | cq->phase));
			cmd = TAILQ_NEXT(cmd, link);
		}
		err = send_entries(cq, from, count);
		if (err) {
			nvme_retry(n, err);
			break;
		}
		cq->tail = from + count;
		if (cq->tail == cq->size) {
			cq->tail = 0;
			cq->phase = !cq->phase;
		}
		total += count;
		n->cqes += count;
		for (; count > 0; count--) {
			next = TAILQ_FIRST(&cq->done);
			TAILQ_REMOVE(&cq->done, next, link);
			next->state = NVME_CMD_POSTED;
			if (next->pending == 0)
				nvme_cmd_free(next);
		}
	}
	if (total) {
		posted(cq, total);
		nvme_shadow_posted(cq);
	}
}

/* ---- Fetching -------------------------------------------------------------------------- */

static void entries_arrived(void *arg, int status)
{
	struct nvme_sq *sq = arg;
	struct nvme *n = sq->n;
	struct nvme_cmd *cmd, *next = NULL;
	unsigned count = sq->fetch_count;

	n->n_async--;
	n->reserved -= count;
	sq->fetching = false;
	if (!sq->exists || !n->enabled || status == -ECANCELED) {
		if (n->n_async == 0)
			nvme_lifecycle(n);
		return;
	}
	if (status) {
		if (status == -ETIMEDOUT && ++sq->fetch_errors <= FETCH_RETRIES)
			nvme_kick(n); /* reading again has no side effects */
		else
			nvme_fatal(n, "submission queue entries cannot be read from the host's memory");
		return;
	}
	sq->fetch_errors = 0;
	n->fetched += count;
	sq->head = (sq->head + count) % sq->size;
	for (unsigned i = 0; i < count; i++) {
		cmd = nvme_cmd_get(n); /* reserved: there is one */

		cmd->sq = sq;
		cmd->sqe = sq->fetch[i];
		cmd->cid = nvme_get16(cmd->sqe.cid);
		TAILQ_INSERT_TAIL(&sq->cmds, cmd, sq_link);
		sq->inflight++;
		nvme_busy(n, 1);
		if (!next)
			next = cmd;
	}
	/* Starting one ends none of those behind it: only waiting and parked commands are ended by others. */
	while ((cmd = next) && n->enabled) {
		next = TAILQ_NEXT(cmd, sq_link);
		if (sq->deleting)
			nvme_complete(cmd, NVME_SC_ABORT_SQ_DELETION);
		else if (sq->qid == 0)
			nvme_admin(cmd);
		else
			nvme_io(cmd);
	}
	nvme_sq_drained(sq);
	nvme_kick(n);
	if (n->n_async == 0)
		nvme_lifecycle(n);
}

static void fetch(struct nvme_sq *sq)
{
	struct nvme *n = sq->n;
	unsigned burst = n->feat.arbitration & 7; /* 7: no limit */
	uint32_t count = sq_waiting(sq), room = n->n_free - n->reserved;
	int err;

	if (sq->qid != 0)
		room = room > NVME_CMDS_ADMIN ? room - NVME_CMDS_ADMIN : 0;
	if (count > sq->size - sq->head)
		count = sq->size - sq->head;
	if (count > NVME_FETCH)
		count = NVME_FETCH;
	if (burst < 5 && count > 1u << burst)
		count = 1u << burst;
	if (count > room)
		count = room;
	if (count == 0)
		return;
	sq->fetching = true;
	sq->fetch_count = count;
	n->reserved += count;
	n->n_async++;
	n->fetches++;
	err = fb_dma_read(n->dev, sq->addr + (uint64_t)sq->head * sizeof(struct nvme_sqe), sq->fetch,
			  count * (uint32_t)sizeof(struct nvme_sqe), entries_arrived, sq);
	if (err) {
		sq->fetching = false;
		n->reserved -= count;
		n->n_async--;
		nvme_retry(n, err);
	}
}

static void fetch_all(struct nvme *n)
{
	unsigned first = n->next_sq;

	if (!n->enabled || n->closing)
		return;
	for (unsigned i = 0; i < n->n_queues; i++) {
		struct nvme_sq *sq = &n->sq[(first + i) % n->n_queues];

		if (sq->exists && !sq->fetching && !sq->deleting && sq->head != sq->tail &&
		    !(nvme_cq_full(&n->cq[sq->cqid]) && !TAILQ_EMPTY(&n->cq[sq->cqid].done))) {
			fetch(sq);
			if (sq->fetching)
				n->next_sq = (sq->qid + 1u) % n->n_queues;
		}
	}
}

/* ---- The run ----------------------------------------------------------------------------- */

void nvme_kick(struct nvme *n)
{
	if (n->running) {
		n->again = true;
	} else if (!n->scheduled) {
		n->scheduled = true;
		fb_device_batch_schedule(n->dev, &n->batch);
	}
}

/*
 * What has been read from files leaves at the end of the round, with its completion entry and interrupt. So that the
 * host has something to do while more of it is copied and sent, what a round takes on ends with ROUND_BYTES; the rest
 * keeps the backend's descriptor readable. Writes made at once would not.
 */
static unsigned reap(struct nvme *n)
{
	unsigned count = 0;

	while (count < REAP_MAX && (n->aio.ended || n->round_bytes < ROUND_BYTES) && fb_aio_reap(&n->aio, 1))
		count++;
	return count;
}

static void run(struct fb_device *dev, struct fb_device_batch *batch)
{
	struct nvme *n = fb_device_state(dev);
	unsigned rounds = 0;

	n->scheduled = false;
	n->running = true;
	do {
		n->again = false;
		nvme_buf_wake(n);
		fetch_all(n);
		if (fb_aio_submit(&n->aio))
			nvme_retry(n, -EAGAIN);
		reap(n);
		for (unsigned i = 0; i < n->n_queues; i++) {
			if (n->cq[i].exists && n->cq[i].shadow.again)
				nvme_shadow_look(&n->cq[i]);
			if (n->cq[i].exists && !TAILQ_EMPTY(&n->cq[i].done))
				post_queue(&n->cq[i]);
		}
	} while (n->again && ++rounds < RUN_ROUNDS);
	n->running = false;
	if (n->again)
		nvme_kick(n);
	nvme_lifecycle(n);
}

static bool poll_files(struct fb_device *dev, struct fb_device_poller *poller)
{
	struct nvme *n = fb_device_state(dev);

	n->round_bytes = 0;
	return reap(n) > 0;
}

static void files_ready(struct fb_device *dev, struct fb_device_fd *watch, uint32_t events)
{
	/* It only wakes the loop: poll_files() comes next. */
}

static void retry_due(struct fb_device *dev, struct fb_device_timer *timer)
{
	nvme_kick(fb_device_state(dev));
}

void nvme_queue_init(struct nvme *n)
{
	n->batch.run = run;
	n->poller.poll = poll_files;
	n->aio_watch.ready = files_ready;
	n->retry_timer.due = retry_due;
	n->irq_timer.due = irq_due;
	for (unsigned i = 0; i <= NVME_MAX_QUEUES; i++) {
		n->sq[i].n = n->cq[i].n = n;
		n->sq[i].qid = n->cq[i].qid = (uint16_t)i;
		TAILQ_INIT(&n->sq[i].cmds);
		TAILQ_INIT(&n->cq[i].done);
	}
}

/* ---- Doorbells (3.1.24, 3.1.25) -------------------------------------------------------------- */

static void bad_doorbell(struct nvme *n, uint8_t info)
{
	n->bad_doorbells++;
	nvme_event(n, NVME_EVENT_ERROR, info, NVME_LOG_ERROR);
}

bool nvme_cq_consumed(struct nvme_cq *cq, uint32_t head)
{
	struct nvme *n = cq->n;
	bool was_full = nvme_cq_full(cq);

	if (head >= cq->size || (head + cq->size - cq->head) % cq->size > nvme_cq_used(cq)) {
		bad_doorbell(n, NVME_EVENT_INVALID_DOORBELL_VALUE);
		return false;
	}
	cq->head = head;
	if (fb_irq_mode(n->dev) == FB_IRQ_INTX)
		intx_update(n);
	if (was_full)
		nvme_kick(n);
	return true;
}

void nvme_doorbell(struct nvme *n, uint64_t offset, uint32_t value)
{
	uint64_t index = (offset - NVME_REG_DBS) / 4, qid = index / 2;

	if (!n->enabled)
		return;
	n->doorbells++;
	if (qid > NVME_MAX_QUEUES) {
		bad_doorbell(n, NVME_EVENT_INVALID_DOORBELL);
		return;
	}
	if (index % 2 == 0) {
		struct nvme_sq *sq = &n->sq[qid];
		uint32_t added;

		if (!sq->exists) {
			bad_doorbell(n, NVME_EVENT_INVALID_DOORBELL);
			return;
		}
		added = (value + sq->size - sq->tail) % sq->size;
		if (value >= sq->size || added + sq_waiting(sq) >= sq->size) {
			bad_doorbell(n, NVME_EVENT_INVALID_DOORBELL_VALUE);
			return;
		}
		sq->tail = value;
		nvme_kick(n);
	} else {
		struct nvme_cq *cq = &n->cq[qid];

		if (!cq->exists)
			bad_doorbell(n, NVME_EVENT_INVALID_DOORBELL);
		else if (nvme_shadowed(n, qid))
			nvme_shadow_rung(cq);
		else
			nvme_cq_consumed(cq, value);
	}
}

/* ---- Ring prefetch: entries of I/O queues, and the data of small writes, come with the doorbell ---- */

void nvme_sq_tell(const struct nvme_sq *sq, bool there)
{
	struct nvme *n = sq->n;
	const struct nvme_ns *ns = &n->ns[0];
	const struct fb_device_ring ring = {
		.bar = 0,
		.reg = NVME_REG_DBS + 8u * sq->qid,
		.base = sq->addr,
		.entry_size = sizeof(struct nvme_sqe),
		.entries = sq->size,
		.match_at = offsetof(struct nvme_sqe, opc),
		.match = NVME_CMD_WRITE,
		.pointer_at = offsetof(struct nvme_sqe, prp1),
		.count_at = offsetof(struct nvme_sqe, cdw12),
		/* Of the first namespace, as nearly all have only that; for others it is guesswork, and they read. */
		.count_shift = ns->nsid ? ns->lbads : 9,
		.data_max = 4096,
		.shadow = nvme_shadowed(n, sq->qid) ? nvme_shadow_sq(sq, n->shadow_addr) : 0,
		.event = nvme_shadowed(n, sq->qid) ? nvme_shadow_sq(sq, n->event_addr) : 0,
	};

	if (sq->qid > 0)
		fb_device_ring_set(n->dev, sq->qid - 1u, there ? &ring : NULL);
}

/* ---- Making and ending ------------------------------------------------------------------------- */

int nvme_cq_create(struct nvme *n, unsigned qid, uint32_t size, uint64_t addr, unsigned vector, bool ien)
{
	struct nvme_cq *cq = &n->cq[qid];

	cq->ring = calloc(1, sizeof(*cq->ring) + size * sizeof(cq->ring->entry[0]));
	if (!cq->ring)
		return -ENOMEM;
	cq->ring->refs = 1;
	cq->ring->n = n;
	cq->size = size;
	cq->addr = addr;
	cq->vector = (uint16_t)vector;
	cq->ien = ien;
	cq->phase = true;
	cq->head = cq->tail = 0;
	cq->n_sqs = cq->coalesced = 0;
	cq->irq_deadline = 0;
	cq->exists = true;
	nvme_shadow_cq_begin(cq);
	if (n->n_queues <= qid)
		n->n_queues = qid + 1;
	return 0;
}

void nvme_sq_create(struct nvme *n, unsigned qid, unsigned cqid, uint32_t size, uint64_t addr)
{
	struct nvme_sq *sq = &n->sq[qid];

	sq->cqid = (uint16_t)cqid;
	sq->size = size;
	sq->addr = addr;
	sq->head = sq->tail = 0;
	sq->fetch_errors = 0;
	sq->deleting = NULL;
	sq->exists = true;
	n->cq[cqid].n_sqs++;
	nvme_sq_tell(sq, true);
	if (n->n_queues <= qid)
		n->n_queues = qid + 1;
}

/* Its commands have ended, or are dropped here. */
void nvme_sq_delete(struct nvme_sq *sq)
{
	struct nvme_cmd *cmd;

	if (!sq->exists)
		return;
	sq->deleting = NULL;
	while ((cmd = TAILQ_FIRST(&sq->cmds)))
		nvme_drop(cmd);
	sq->n->cq[sq->cqid].n_sqs--;
	nvme_sq_tell(sq, false);
	sq->exists = false;
}

void nvme_cq_delete(struct nvme_cq *cq)
{
	struct nvme_cmd *cmd;

	if (!cq->exists)
		return;
	while ((cmd = TAILQ_FIRST(&cq->done)))
		nvme_drop(cmd);
	ring_unref(cq->ring);
	cq->ring = NULL;
	cq->exists = false;
	if (fb_irq_mode(cq->n->dev) == FB_IRQ_INTX)
		intx_update(cq->n);
}

void nvme_sq_drained(struct nvme_sq *sq)
{
	struct nvme_cmd *cmd = sq->deleting;

	if (!cmd || sq->inflight || sq->fetching)
		return;
	sq->deleting = NULL;
	nvme_sq_delete(sq);
	nvme_unpark(cmd);
	nvme_complete(cmd, NVME_SC_SUCCESS);
}
