/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * An access is a run of requests: the 4-byte operations of FB_ACCESS_OPS, or
 * the pieces of a memory read. Its requests leave one after the other as tags
 * and the link's credits allow; many accesses have requests in flight at a time.
 *
 * Order. The link keeps TLPs in PCIe's order, so only what waits here has to be
 * ordered here: posted writes are a FIFO; an access remembers how many posted
 * writes came before it and does not leave earlier. Posted writes do pass
 * waiting accesses, as they must (base spec 2.4.1), except a barrier: a
 * configuration write that decides where later writes go.
 *
 * Deadlines. An access that is late ends with what it has. Its tags stay
 * occupied ("quarantined") until the late completions come or the session ends,
 * so a late answer can never be taken for another request's.
 */
#include "root/requester.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/reader.h"

enum { RECORD_HEADER = 12 };

static void fifo_init(struct fb_rq_fifo *f)
{
	f->head = NULL;
	f->tail = &f->head;
	f->barriers = 0;
}

static void fifo_put(struct fb_rq_fifo *f, struct fb_access *a)
{
	a->next_send = NULL;
	*f->tail = a;
	f->tail = &a->next_send;
	f->barriers += a->barrier;
	a->unsent = true;
}

static void fifo_pop(struct fb_rq_fifo *f)
{
	f->head->unsent = false;
	f->barriers -= f->head->barrier;
	f->head = f->head->next_send;
	if (!f->head)
		f->tail = &f->head;
}

static void fifo_remove(struct fb_rq_fifo *f, struct fb_access *a)
{
	for (struct fb_access **p = &f->head; *p; p = &(*p)->next_send) {
		if (*p != a)
			continue;
		*p = a->next_send;
		if (!*p)
			f->tail = p;
		f->barriers -= a->barrier;
		a->unsent = false;
		return;
	}
}

static void on_deadline(struct fb_timer *t);

void fb_rq_init(struct fb_requester *rq, struct fb_loop *loop)
{
	memset(rq, 0, sizeof(*rq));
	rq->loop = loop;
	rq->mps = 128;
	rq->timer.due = on_deadline;
	rq->posted_limit = UINT64_MAX;
	fifo_init(&rq->fifo);
	fifo_init(&rq->urgent);
}

void fb_rq_attach(struct fb_requester *rq, struct fb_port *port, uint16_t bdf)
{
	rq->port = port;
	rq->bdf = bdf;
	rq->mps = 128;
	rq->np_full = rq->p_full = rq->held = false;
	rq->posted_limit = UINT64_MAX;
	rq->barriers = 0;
	memset(rq->tags, 0, sizeof(rq->tags));
	rq->n_free = FB_RQ_TAGS;
	for (unsigned i = 0; i < FB_RQ_TAGS; i++)
		rq->free_tags[i] = (uint8_t)(FB_RQ_TAGS - 1 - i);
}

/* ---- The list of active accesses, by deadline ------------------------------ */

static void list_insert(struct fb_requester *rq, struct fb_access *a)
{
	struct fb_access *after = rq->active_last;

	/* Nearly always the latest: all of a VM's accesses have the same allowance. */
	if (!after || after->deadline_ns <= a->deadline_ns) {
		a->link = after ? &after->next : &rq->active;
	} else {
		a->link = &rq->active;
		while (*a->link && (*a->link)->deadline_ns <= a->deadline_ns)
			a->link = &(*a->link)->next;
	}
	a->next = *a->link;
	*a->link = a;
	if (a->next)
		a->next->link = &a->next;
	else
		rq->active_last = a;
	a->active = true;
}

static void list_remove(struct fb_requester *rq, struct fb_access *a)
{
	*a->link = a->next;
	if (a->next)
		a->next->link = a->link;
	else
		rq->active_last = a->link == &rq->active
					  ? NULL
					  : (struct fb_access *)((char *)a->link - offsetof(struct fb_access, next));
	a->active = false;
}

/* The timer is armed for the soonest deadline at the time it was armed, and looks again when it fires. */
static void arm(struct fb_requester *rq)
{
	if (rq->active && (rq->timer.heap_index == 0 || rq->timer.deadline_ns > rq->active->deadline_ns))
		fb_timer_set(rq->loop, &rq->timer, rq->active->deadline_ns);
}

/* ---- Tags -------------------------------------------------------------------- */

static void free_tag(struct fb_requester *rq, unsigned tag)
{
	if (rq->tags[tag].barrier)
		rq->barriers--;
	rq->tags[tag].used = false;
	rq->tags[tag].barrier = false;
	rq->tags[tag].access = NULL;
	rq->free_tags[rq->n_free++] = (uint8_t)tag;
}

static void quarantine(struct fb_requester *rq, const struct fb_access *a)
{
	for (unsigned i = 0; i < FB_RQ_TAGS; i++) {
		if (!rq->tags[i].used || rq->tags[i].access != a)
			continue;
		rq->tags[i].access = NULL;
		rq->tags[i].re.buf = NULL;
		if (rq->tags[i].barrier) { /* writes have waited long enough */
			rq->tags[i].barrier = false;
			rq->barriers--;
		}
	}
}

/* Takes an access out of all lists; what has not come of it becomes all ones. */
static void withdraw(struct fb_requester *rq, struct fb_access *a)
{
	if (a->unsent)
		fifo_remove(a->urgent ? &rq->urgent : &rq->fifo, a);
	list_remove(rq, a);
	if (a->outstanding)
		quarantine(rq, a);
	if (a->kind == FB_ACCESS_MEMORY)
		memset(a->buf, 0xff, a->len);
}

static void finish(struct fb_requester *rq, struct fb_access *a)
{
	list_remove(rq, a);
	a->done(a, a->status);
}

/* ---- Sending ------------------------------------------------------------------ */

static int send_op(struct fb_requester *rq, struct fb_access *a, unsigned tag, struct pcie_tlp *tlp)
{
	struct fb_op *op = &a->ops[a->cursor];
	uint8_t data[4];

	if (op->io) {
		tlp->type = op->write ? PCIE_TLP_IOWR : PCIE_TLP_IORD;
		tlp->address = op->address;
	} else {
		tlp->type = op->write ? PCIE_TLP_CFGWR0 : PCIE_TLP_CFGRD0;
		tlp->completer_id = rq->bdf;
		tlp->reg = (uint16_t)op->address;
	}
	tlp->length = 1;
	tlp->first_be = op->be;
	if (op->write) {
		fb_put_le32(data, op->value);
		tlp->data = data;
	}
	rq->tags[tag].op = a->cursor;
	rq->tags[tag].memory = false;
	rq->tags[tag].read = !op->write;
	return fb_port_send(rq->port, tlp);
}

static int send_piece(struct fb_requester *rq, struct fb_access *a, unsigned tag, struct pcie_tlp *tlp, uint32_t *step)
{
	uint64_t address = a->address + a->cursor;
	uint32_t n = pcie_split_request(address, a->len - a->cursor, 4096);

	tlp->type = PCIE_TLP_MRD;
	pcie_tlp_set_range(tlp, address, n);
	rq->tags[tag].memory = rq->tags[tag].read = true;
	pcie_reassembly_start(&rq->tags[tag].re, FB_ROOT_ID, address, n, a->buf + a->cursor);
	*step = n;
	return fb_port_send(rq->port, tlp);
}

/* Sends requests of the access until it is through (true) or something is used up. */
static bool send_access(struct fb_requester *rq, struct fb_access *a)
{
	uint32_t end = a->kind == FB_ACCESS_OPS ? a->n_ops : a->len;

	while (a->cursor < end) {
		struct pcie_tlp tlp = {.requester_id = FB_ROOT_ID};
		uint32_t step = 1;
		unsigned tag;
		int err;

		if (rq->n_free == 0 || rq->np_full)
			return false;
		tag = rq->free_tags[rq->n_free - 1];
		tlp.tag = (uint16_t)tag;
		err = a->kind == FB_ACCESS_OPS ? send_op(rq, a, tag, &tlp) : send_piece(rq, a, tag, &tlp, &step);
		if (err < 0) {
			if (err == -EAGAIN)
				rq->np_full = true;
			/* Otherwise the session is over, which the port says by itself, or the deadline ends it. */
			return false;
		}
		rq->n_free--;
		rq->tags[tag].used = true;
		rq->tags[tag].access = a;
		rq->tags[tag].barrier = a->barrier;
		rq->barriers += a->barrier;
		a->cursor += step;
		a->outstanding++;
	}
	return true;
}

static int send_write(struct fb_requester *rq, uint64_t address, const uint8_t *data, uint32_t len)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_MWR, .requester_id = FB_ROOT_ID};
	uint8_t padded[PCIE_TLP_MAX_DATA + 8];
	uint32_t lead = address & 3;

	pcie_tlp_set_range(&tlp, address, len);
	if (lead || (len & 3)) {
		memset(padded, 0, 4);
		memset(padded + tlp.length * 4 - 4, 0, 4);
		memcpy(padded + lead, data, len);
		tlp.data = padded;
	} else {
		tlp.data = data;
	}
	return fb_port_send(rq->port, &tlp);
}

/* May the next posted write leave? Not past a barrier, be it on its way or still waiting here. */
static bool posted_may_leave(const struct fb_requester *rq)
{
	if (rq->barriers || rq->p_full || rq->posted_out >= rq->posted_limit)
		return false;
	if (rq->fifo.barriers == 0)
		return true;
	for (const struct fb_access *a = rq->fifo.head; a; a = a->next_send) {
		if (a->barrier)
			return rq->posted_out < a->posted_before;
	}
	return true;
}

static void pump_posted(struct fb_requester *rq)
{
	while (rq->posted_start < rq->posted_end && posted_may_leave(rq)) {
		const uint8_t *p = rq->posted + rq->posted_start;
		uint32_t len = fb_get_le32(p + 8);

		if (send_write(rq, fb_get_le64(p), p + RECORD_HEADER, len) == -EAGAIN) {
			rq->p_full = true;
			return;
		}
		rq->posted_start += RECORD_HEADER + len;
		rq->posted_out++;
	}
	if (rq->posted_start == rq->posted_end)
		rq->posted_start = rq->posted_end = 0;
}

static void pump_fifo(struct fb_requester *rq, struct fb_rq_fifo *f)
{
	while (f->head && f->head->posted_before <= rq->posted_out) {
		if (!send_access(rq, f->head))
			return;
		fifo_pop(f);
		pump_posted(rq); /* a barrier may have held them, and its place is taken now */
	}
}

static void pump(struct fb_requester *rq)
{
	if (!rq->port || rq->pumping)
		return;
	rq->pumping = true;
	pump_posted(rq);
	pump_fifo(rq, &rq->urgent);
	if (!rq->held)
		pump_fifo(rq, &rq->fifo);
	rq->pumping = false;
}

void fb_rq_start(struct fb_requester *rq, struct fb_access *a, uint64_t deadline_ns)
{
	a->cursor = a->outstanding = 0;
	a->status = 0;
	/* The writes that came since the hold wait for its end, so what it is held for does not wait for them. */
	a->posted_before = a->urgent && rq->held ? rq->posted_limit : rq->posted_in;
	/* Without a session it ends in the next round: done() never comes from inside this call, nor from one another. */
	a->deadline_ns = rq->port ? deadline_ns : fb_loop_now(rq->loop) + 1;
	for (unsigned i = 0; a->kind == FB_ACCESS_OPS && i < a->n_ops; i++) {
		a->ops[i].status = PCIE_CPL_UR;
		if (!a->ops[i].write)
			a->ops[i].value = UINT32_MAX;
	}
	list_insert(rq, a);
	arm(rq);
	if (!rq->port)
		return;
	fifo_put(a->urgent ? &rq->urgent : &rq->fifo, a);
	pump(rq);
}

void fb_rq_cancel(struct fb_requester *rq, struct fb_access *a)
{
	if (a->active)
		withdraw(rq, a);
}

static int queue_write(struct fb_requester *rq, uint64_t address, const uint8_t *data, uint32_t len)
{
	size_t used = rq->posted_end - rq->posted_start, need = RECORD_HEADER + len;
	uint8_t *p;

	if (used + need > FB_RQ_POSTED_MAX)
		return -ENOBUFS;
	if (rq->posted_end + need > rq->posted_cap) {
		if (rq->posted_start > 0) {
			memmove(rq->posted, rq->posted + rq->posted_start, used);
			rq->posted_start = 0;
			rq->posted_end = used;
		}
		if (used + need > rq->posted_cap) {
			size_t cap = rq->posted_cap ? rq->posted_cap : 16 * 1024;

			while (cap < used + need)
				cap *= 2;
			p = realloc(rq->posted, cap);
			if (!p)
				return -ENOBUFS;
			rq->posted = p;
			rq->posted_cap = cap;
		}
	}
	p = rq->posted + rq->posted_end;
	fb_put_le64(p, address);
	fb_put_le32(p + 8, len);
	memcpy(p + RECORD_HEADER, data, len);
	rq->posted_end += need;
	rq->posted_in++;
	return 0;
}

int fb_rq_write(struct fb_requester *rq, uint64_t address, const void *data, uint32_t len)
{
	const uint8_t *p = data;

	if (!rq->port)
		return -ENODEV;
	while (len > 0) {
		uint32_t n = pcie_split_request(address, len, rq->mps);
		int err;

		if (rq->posted_start == rq->posted_end && posted_may_leave(rq)) {
			err = send_write(rq, address, p, n);
			if (err != -EAGAIN) {
				rq->posted_in++;
				rq->posted_out++;
				goto next;
			}
			rq->p_full = true;
		}
		err = queue_write(rq, address, p, n);
		if (err < 0)
			return err;
next:
		address += n;
		p += n;
		len -= n;
	}
	return 0;
}

void fb_rq_drop_posted(struct fb_requester *rq)
{
	rq->posted_out = rq->posted_in;
	rq->posted_start = rq->posted_end = 0;
	if (rq->posted_cap > 64 * 1024) {
		free(rq->posted);
		rq->posted = NULL;
		rq->posted_cap = 0;
	}
	pump(rq);
}

void fb_rq_hold(struct fb_requester *rq, bool on)
{
	rq->held = on;
	rq->posted_limit = on ? rq->posted_in : UINT64_MAX;
	pump(rq);
}

void fb_rq_writable(struct fb_requester *rq, enum pcie_fc cls)
{
	if (cls == PCIE_FC_P)
		rq->p_full = false;
	else if (cls == PCIE_FC_NP)
		rq->np_full = false;
	pump(rq);
}

/* ---- What comes back --------------------------------------------------------- */

static void on_deadline(struct fb_timer *t)
{
	struct fb_requester *rq = (struct fb_requester *)((char *)t - offsetof(struct fb_requester, timer));
	uint64_t now = fb_loop_now(rq->loop);

	while (rq->active && rq->active->deadline_ns <= now) {
		struct fb_access *a = rq->active;

		withdraw(rq, a);
		if (rq->port)
			rq->stats.timeouts++;
		a->done(a, rq->port ? -ETIMEDOUT : -ENODEV);
	}
	pump(rq);
	arm(rq);
}

/* One configuration or I/O completion. False: it does not fit the request. */
static bool op_completed(struct fb_requester *rq, struct fb_rq_tag *t, const struct pcie_tlp *tlp)
{
	struct fb_op *op;
	bool good = tlp->status == PCIE_CPL_SC && !tlp->ep;

	if (tlp->status == PCIE_CPL_SC && t->read != (tlp->type == PCIE_TLP_CPLD && tlp->length == 1))
		return false;
	if (!t->access)
		return true;
	op = &t->access->ops[t->op];
	op->status = tlp->ep && tlp->status == PCIE_CPL_SC ? PCIE_CPL_CA : tlp->status;
	if (t->read && good)
		op->value = fb_get_le32(tlp->data);
	if (!good) {
		t->access->status = -EIO;
		rq->stats.errors++;
	}
	return true;
}

void fb_rq_completion(struct fb_requester *rq, const struct pcie_tlp *tlp)
{
	struct fb_rq_tag *t = tlp->tag < FB_RQ_TAGS ? &rq->tags[tlp->tag] : NULL;
	struct fb_access *a;

	if (!t || !t->used || tlp->requester_id != FB_ROOT_ID ||
	    (tlp->type != PCIE_TLP_CPL && tlp->type != PCIE_TLP_CPLD)) {
		rq->stats.unexpected++;
		return;
	}
	a = t->access;
	if (!t->memory) {
		if (!op_completed(rq, t, tlp)) {
			rq->stats.unexpected++;
			return;
		}
	} else {
		switch (pcie_reassembly_feed(&t->re, tlp)) {
		case PCIE_REASSEMBLY_MISMATCH:
			rq->stats.unexpected++;
			return;
		case PCIE_REASSEMBLY_MORE:
			return;
		case PCIE_REASSEMBLY_FAILED:
			if (a) {
				memset(t->re.buf, 0xff, t->re.len);
				a->status = -EIO;
				rq->stats.errors++;
			}
			break;
		case PCIE_REASSEMBLY_DONE:
			break;
		}
	}
	free_tag(rq, tlp->tag);
	if (!a)
		rq->stats.late++;
	else if (--a->outstanding == 0 && !a->unsent)
		finish(rq, a);
	pump(rq);
}

void fb_rq_detach(struct fb_requester *rq)
{
	rq->port = NULL;
	rq->held = false;
	fb_rq_drop_posted(rq);
	fifo_init(&rq->fifo);
	fifo_init(&rq->urgent);
	for (struct fb_access *a = rq->active; a; a = a->next) {
		a->unsent = false;
		a->deadline_ns = 0; /* on_deadline() ends them later in this round, or in the next */
	}
	arm(rq);
}

void fb_rq_free(struct fb_requester *rq)
{
	fb_timer_cancel(&rq->timer);
	free(rq->posted);
	rq->posted = NULL;
}
