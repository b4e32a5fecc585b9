/* SPDX-License-Identifier: Apache-2.0 */
/* Both sides' queues: fetching from the guest's, handing over to the server's, and the way back of completions. */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "devices/vfio_user_nvme.h"

#define RETRY_NS 1000000u          /* when the runtime had no room */
#define RETRY_SLOW_NS 100000000u   /* when bus mastering is off: a reset usually follows */

void vn_kick(struct vn *n)
{
	fb_device_batch_schedule(n->dev, &n->batch);
}

static void vn_retry(struct vn *n, int err)
{
	fb_device_timer_set(n->dev, &n->retry,
			    fb_device_now(n->dev) + (err == -ENOMEM || err == -EAGAIN ? RETRY_NS : RETRY_SLOW_NS));
}

/* ---- Slots ------------------------------------------------------------------------------------- */

static void slot_free(struct vn_slot *s)
{
	struct vn *n = s->n;

	s->state = VN_FREE;
	s->sq = NULL;
	TAILQ_INSERT_TAIL(s->admin_slot ? &n->free_admin : &n->free, s, link);
	if (s->admin_slot)
		n->n_free_admin++;
	else
		n->n_free++;
}

static struct vn_slot *slot_take(struct vn *n, bool admin)
{
	struct vn_slot *s = TAILQ_FIRST(admin ? &n->free_admin : &n->free);

	TAILQ_REMOVE(admin ? &n->free_admin : &n->free, s, link);
	if (admin)
		n->n_free_admin--;
	else
		n->n_free--;
	return s;
}

static void leave_sq(struct vn_slot *s)
{
	TAILQ_REMOVE(&s->sq->slots, s, sq_link);
	s->sq->n_slots--;
}

/* Free, or dead until its DMA has ended. */
static void let_go(struct vn_slot *s, enum vn_state state)
{
	s->state = (uint8_t)state;
	if (s->pending == 0)
		slot_free(s);
}

static void vn_slot_drop(struct vn_slot *s)
{
	if (s->state == VN_FREE || s->state == VN_DEAD)
		return;
	if (s->state == VN_DONE)
		TAILQ_REMOVE(&s->n->cq[s->sq->cqid].done, s, link);
	if (s->state != VN_POSTED)
		leave_sq(s);
	let_go(s, VN_DEAD);
}

bool vn_dma_ended(struct vn_slot *s)
{
	if (--s->pending == 0 && (s->state == VN_DEAD || s->state == VN_POSTED)) {
		slot_free(s);
		vn_kick(s->n); /* one may be waited for */
	}
	return s->state == VN_TAKEN;
}

/* ---- Interrupts of the guest ---------------------------------------------------------------------- */

static void vn_intx_update(struct vn *n)
{
	bool level = false;

	for (unsigned i = 0; i <= VN_QUEUES && !level; i++) {
		const struct vn_cq *cq = &n->cq[i];

		level = cq->live && cq->ien && cq->head != cq->tail && !(n->intms & 1);
	}
	fb_intx_set(n->dev, level);
}

static void interrupt(struct vn_cq *cq)
{
	struct vn *n = cq->n;
	enum fb_irq_mode mode = fb_irq_mode(n->dev);

	/* INTMS is for pin and MSI; with MSI-X the table masks (3.1.3). */
	cq->raise = mode == FB_IRQ_MSI && n->intms >> (cq->vector & 31) & 1;
	if (cq->raise)
		return;
	n->count.interrupts++;
	if (mode == FB_IRQ_INTX || mode == FB_IRQ_NONE)
		vn_intx_update(n);
	else
		fb_irq(n->dev, cq->vector);
}

void vn_irq_update(struct vn *n)
{
	for (unsigned i = 0; i <= VN_QUEUES; i++) {
		if (n->cq[i].live && n->cq[i].raise)
			interrupt(&n->cq[i]);
	}
	vn_intx_update(n);
}

/* ---- Completions to the guest --------------------------------------------------------------------- */

static uint32_t cq_room(const struct vn_cq *cq)
{
	return (cq->head + cq->size - cq->tail - 1) % cq->size;
}

static void post(struct vn_cq *cq)
{
	struct vn *n = cq->n;
	bool posted = false;

	while (!TAILQ_EMPTY(&cq->done) && cq_room(cq)) {
		struct nvme_cqe e[FB_DMA_INLINE / sizeof(struct nvme_cqe)];
		uint32_t room = cq_room(cq), count = 0;
		struct vn_slot *s = TAILQ_FIRST(&cq->done);
		int err;

		if (room > cq->size - cq->tail)
			room = cq->size - cq->tail;
		for (; s && count < room && count < sizeof(e) / sizeof(e[0]); s = TAILQ_NEXT(s, link)) {
			nvme_put32(&e[count].dw0, s->dw0);
			nvme_put32(&e[count].dw1, 0);
			nvme_put16(&e[count].sqhd, (uint16_t)s->sq->head);
			nvme_put16(&e[count].sqid, s->sq->qid);
			nvme_put16(&e[count].cid, s->cid);
			nvme_put16(&e[count].status, (uint16_t)(s->status << 1 | cq->phase));
			count++;
		}
		err = fb_dma_write(n->dev, cq->addr + (uint64_t)cq->tail * sizeof(e[0]), e,
				   count * (uint32_t)sizeof(e[0]), NULL, NULL);
		if (err) {
			vn_retry(n, err);
			break;
		}
		cq->tail += count;
		if (cq->tail == cq->size) {
			cq->tail = 0;
			cq->phase = !cq->phase;
		}
		n->count.completions += count;
		posted = true;
		for (; count > 0; count--) {
			s = TAILQ_FIRST(&cq->done);
			TAILQ_REMOVE(&cq->done, s, link);
			leave_sq(s);
			let_go(s, VN_POSTED);
		}
	}
	if (posted && cq->ien)
		interrupt(cq);
}

void vn_complete(struct vn_slot *s, uint16_t status)
{
	struct vn_cq *cq = &s->n->cq[s->sq->cqid];

	s->status = status;
	if (!cq->live) {
		s->state = VN_TAKEN; /* in no list but its queue's */
		vn_slot_drop(s);
		return;
	}
	s->state = VN_DONE;
	TAILQ_INSERT_TAIL(&cq->done, s, link);
	vn_kick(s->n);
}

void vn_refuse(struct vn_slot *s, uint16_t status)
{
	s->n->count.refused++;
	s->dw0 = 0;
	vn_complete(s, status == NVME_SC_ABORT_SQ_DELETION ? status : status | NVME_SC_DNR);
}

/* ---- From the guest to the server ---------------------------------------------------------------------- */

/* Hands over what is ready, in the queue's order. */
static void vn_submit(struct vn_sq *sq)
{
	struct vn *n = sq->n;
	struct nvme_sqe *ring = vn_server_sq(n, sq->qid);
	struct vn_slot *s, *next;
	bool rung = false;

	for (s = TAILQ_FIRST(&sq->slots); s && sq->live && !sq->deleting; s = next) {
		struct nvme_sqe e;
		uint16_t status;

		next = TAILQ_NEXT(s, sq_link);
		if (s->state == VN_TAKEN)
			break;
		if (s->state != VN_READY)
			continue;
		status = vn_translate(s, &e);
		if (status) {
			vn_refuse(s, status);
			continue;
		}
		nvme_put16(&e.cid, (uint16_t)vn_id(s));
		memcpy(&ring[sq->server_tail], &e, sizeof(e));
		sq->server_tail = (sq->server_tail + 1) % sq->server_size;
		s->state = VN_SERVER;
		n->count.commands++;
		rung = true;
	}
	if (!rung)
		return;
	atomic_thread_fence(memory_order_release); /* entries and data before the doorbell */
	vn_server_doorbell(n, sq->qid, false, sq->server_tail);
}

static void take(struct vn_sq *sq, const struct nvme_sqe *e)
{
	struct vn_slot *s = slot_take(sq->n, sq->qid == 0); /* reserved: there is one */
	uint16_t status;

	s->sq = sq;
	s->sqe = *e;
	s->cid = nvme_get16(e->cid);
	s->dw0 = 0;
	s->len = 0;
	s->state = VN_TAKEN;
	TAILQ_INSERT_TAIL(&sq->slots, s, sq_link);
	sq->n_slots++;
	status = sq->deleting ? NVME_SC_ABORT_SQ_DELETION : vn_command(s);
	if (status)
		vn_refuse(s, status);
	else
		vn_take_data(s);
}

static void entries_arrived(void *arg, int status)
{
	struct vn_sq *sq = arg;
	struct vn *n = sq->n;
	unsigned count = sq->fetch_count;

	sq->fetching = false;
	if (sq->qid == 0)
		n->reserved_admin -= count;
	else
		n->reserved -= count;
	vn_kick(n);
	if (sq->incarnation != sq->fetch_incarnation || !sq->live || status == -ECANCELED)
		return;
	if (status == -ETIMEDOUT) /* reading again has no side effects; the guest's driver has a timeout of its own */
		return;
	if (status) {
		vn_fail(n, "submission queue entries cannot be read from the guest's memory");
		return;
	}
	sq->head = (sq->head + count) % sq->size;
	for (unsigned i = 0; i < count && sq->live; i++)
		take(sq, &sq->fetch[i]);
	if (sq->live)
		vn_submit(sq);
}

static void fetch(struct vn_sq *sq)
{
	struct vn *n = sq->n;
	uint32_t count = (sq->tail + sq->size - sq->head) % sq->size;
	unsigned free = sq->qid == 0 ? n->n_free_admin - n->reserved_admin : n->n_free - n->reserved;
	int err;

	if (count > sq->size - sq->head)
		count = sq->size - sq->head;
	if (count > VN_FETCH)
		count = VN_FETCH;
	if (count > free)
		count = free;
	if (count > sq->server_size - 1 - sq->n_slots) /* so that the server's queue never overflows */
		count = sq->server_size - 1 - sq->n_slots;
	if (count == 0)
		return;
	n->count.fetches++;
	err = fb_dma_read(n->dev, sq->addr + (uint64_t)sq->head * sizeof(struct nvme_sqe), sq->fetch,
			  count * (uint32_t)sizeof(struct nvme_sqe), entries_arrived, sq);
	if (err) {
		vn_retry(n, err);
		return;
	}
	sq->fetching = true;
	sq->fetch_count = count;
	sq->fetch_incarnation = sq->incarnation;
	if (sq->qid == 0)
		n->reserved_admin += count;
	else
		n->reserved += count;
}

void vn_batch(struct fb_device *dev, struct fb_device_batch *batch)
{
	struct vn *n = (struct vn *)((char *)batch - offsetof(struct vn, batch));

	(void)dev;
	for (unsigned i = 0; i <= VN_QUEUES; i++) {
		if (n->sq[i].live)
			vn_submit(&n->sq[i]);
	}
	for (unsigned i = 0; i <= VN_QUEUES; i++) {
		if (n->cq[i].live)
			post(&n->cq[i]);
	}
	for (unsigned i = 0; i <= VN_QUEUES; i++) {
		struct vn_sq *sq = &n->sq[(n->next_sq + i) % (VN_QUEUES + 1)];

		if (sq->live && !sq->fetching && !sq->deleting && sq->head != sq->tail)
			fetch(sq);
	}
	n->next_sq = (n->next_sq + 1) % (VN_QUEUES + 1);
}

void vn_doorbell(struct vn *n, unsigned qid, bool is_cq, uint32_t value)
{
	struct vn_sq *sq = &n->sq[qid];
	struct vn_cq *cq = &n->cq[qid];

	value &= 0xffff;
	if (is_cq && cq->live && value < cq->size &&
	    (value + cq->size - cq->head) % cq->size <= (cq->tail + cq->size - cq->head) % cq->size) {
		cq->head = value;
		if (fb_irq_mode(n->dev) == FB_IRQ_INTX)
			vn_intx_update(n);
		if (!TAILQ_EMPTY(&cq->done))
			vn_kick(n);
	} else if (!is_cq && sq->live && value < sq->size) {
		sq->tail = value;
		vn_kick(n);
	} else {
		n->count.bad_doorbells++;
	}
}

/* ---- From the server ------------------------------------------------------------------------------------ */

static bool take_completion(struct vn_cq *cq, const struct nvme_cqe *e)
{
	struct vn *n = cq->n;
	unsigned id = nvme_get16(e->cid);
	struct vn_slot *s = id < n->n_slots ? &n->slots[id] : NULL;

	if (!s || s->state != VN_SERVER || s->sq->cqid != cq->qid || s->sq->qid != nvme_get16(e->sqid)) {
		n->v->count.protocol_errors++;
		vu_lost(n->v, "completes command %u of queue %u, which it was not given", id, nvme_get16(e->sqid));
		return false;
	}
	s->dw0 = nvme_get32(e->dw0);
	s->status = nvme_get16(e->status) >> 1;
	vn_completed(s);
	return true;
}

static void poll_queue(struct vn_cq *cq)
{
	struct vn *n = cq->n;
	uint32_t first = cq->server_head;

	/* No more than a round: a server that fills it faster has signalled again. */
	for (uint32_t i = 0; i < cq->server_size && cq->live; i++) {
		const struct nvme_cqe *at = &vn_server_cq(n, cq->qid)[cq->server_head];
		uint16_t status = *(const volatile uint16_t *)(const void *)&at->status;
		struct nvme_cqe e;

		if ((status & 1) != cq->server_phase)
			break;
		atomic_thread_fence(memory_order_acquire);
		memcpy(&e, (const void *)at, sizeof(e));
		if (++cq->server_head == cq->server_size) {
			cq->server_head = 0;
			cq->server_phase = !cq->server_phase;
		}
		if (!take_completion(cq, &e))
			return;
	}
	if (cq->live && cq->server_head != first)
		vn_server_doorbell(n, cq->qid, true, cq->server_head);
}

void vn_poll(struct vn *n)
{
	for (unsigned i = 0; i <= VN_QUEUES && n->enabled; i++) {
		if (n->cq[i].live)
			poll_queue(&n->cq[i]);
	}
	vn_kick(n);
}

/* ---- Making and ending ---------------------------------------------------------------------------------- */

/* The guest's ring is no secret of ours: the root may send entries along with the doorbell. */
void vn_sq_tell(const struct vn_sq *sq, bool there)
{
	const struct fb_device_ring ring = {
		.bar = 0,
		.reg = NVME_REG_DBS + (8u << (sq->n->cap >> 32 & 15)) * sq->qid,
		.base = sq->addr,
		.entry_size = sizeof(struct nvme_sqe),
		.entries = sq->size,
		.match_at = offsetof(struct nvme_sqe, opc),
		.match = NVME_CMD_WRITE,
		.pointer_at = offsetof(struct nvme_sqe, prp1),
		.count_at = offsetof(struct nvme_sqe, cdw12),
		/* Of the first namespace: a guess for others, and they read. */
		.count_shift = (uint8_t)(sq->n->n_ns && sq->n->ns[0].block ? __builtin_ctz(sq->n->ns[0].block) : 9),
		.data_max = 4096,
	};

	if (sq->qid > 0)
		fb_device_ring_set(sq->n->dev, sq->qid - 1u, there ? &ring : NULL);
}

void vn_sq_open(struct vn *n, unsigned qid, unsigned cqid, uint64_t addr, uint32_t size)
{
	struct vn_sq *sq = &n->sq[qid];

	sq->exists = true;
	sq->live = sq->deleting = false;
	sq->cqid = (uint16_t)cqid;
	sq->addr = addr;
	sq->size = size;
	sq->server_size = size < VN_ENTRIES ? size : VN_ENTRIES;
	sq->head = sq->tail = sq->server_tail = 0;
	sq->incarnation = ++n->incarnation;
	memset(vn_server_sq(n, qid), 0, sq->server_size * sizeof(struct nvme_sqe));
}

void vn_cq_open(struct vn *n, unsigned qid, uint64_t addr, uint32_t size, unsigned vector, bool ien)
{
	struct vn_cq *cq = &n->cq[qid];

	cq->exists = true;
	cq->live = false;
	cq->addr = addr;
	cq->size = size;
	cq->server_size = size < VN_ENTRIES ? size : VN_ENTRIES;
	cq->vector = (uint16_t)vector;
	cq->ien = ien;
	cq->raise = false;
	cq->head = cq->tail = cq->server_head = 0;
	cq->phase = cq->server_phase = true;
	memset(vn_server_cq(n, qid), 0, cq->server_size * sizeof(struct nvme_cqe));
}

void vn_sq_close(struct vn_sq *sq)
{
	while (!TAILQ_EMPTY(&sq->slots))
		vn_slot_drop(TAILQ_FIRST(&sq->slots));
	if (sq->live)
		vn_sq_tell(sq, false);
	sq->exists = sq->live = sq->deleting = false;
}

void vn_cq_close(struct vn_cq *cq)
{
	while (!TAILQ_EMPTY(&cq->done))
		vn_slot_drop(TAILQ_FIRST(&cq->done));
	cq->exists = cq->live = false;
}
