/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A request waits in `pending`, in order; the pump, at the end of each round of
 * the loop, sends TLPs of the first one until it is all sent, then goes on with
 * the next; it stops where a class has no room or no tag is free. Then it is
 *
 *	issued        a read or AtomicOp: each piece has a tag, and is reassembled
 *	              straight into the caller's buffer
 *	unconfirmed   a write. At the end of the pump a read of no bytes follows the
 *	              writes (2.2.5): it cannot pass them, so its completion says
 *	              that they have landed. One serves all the writes before it;
 *	              several may be under way
 *	finished      done() is due; told in the same flush, never from inside a
 *	              call of the user
 *
 * A posted write that the target refuses has no completion. A root tells of it
 * by an ERR_NONFATAL message, in order, so before the confirmation; it goes to
 * the account of every write that is unconfirmed then.
 *
 * Tags are free, at work, or dead: when a request fails or a completion is
 * overdue, its tags stay reserved until their completions have come after all,
 * or two more time-outs are over, so that late data neither reaches a buffer that
 * is the caller's again nor passes for that of a new request.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dma/impl.h"

enum phase { IDLE, PENDING, ISSUED, UNCONFIRMED, FINISHED };

/* ---- Lists and tags ------------------------------------------------------------- */

static void list_add(struct fb_rdma_list *list, struct fb_rdma_op *op, enum phase phase)
{
	op->priv.phase = (uint8_t)phase;
	op->priv.next = NULL;
	op->priv.link = list->last;
	*list->last = op;
	list->last = &op->priv.next;
}

static void list_remove(struct fb_rdma_list *list, struct fb_rdma_op *op)
{
	*op->priv.link = op->priv.next;
	if (op->priv.next)
		op->priv.next->priv.link = op->priv.link;
	else
		list->last = op->priv.link;
}

static struct fb_rdma_list *list_of(struct fb_rdma *r, const struct fb_rdma_op *op)
{
	struct fb_rdma_list *lists[] = {NULL, &r->pending, &r->issued, &r->unconfirmed, &r->finished};

	return lists[op->priv.phase];
}

static void finish(struct fb_rdma *r, struct fb_rdma_op *op, int status)
{
	if (op->priv.phase != IDLE)
		list_remove(list_of(r, op), op);
	op->priv.status = status;
	list_add(&r->finished, op, FINISHED);
	fb_flush_schedule(r->loop, &r->pump);
}

static void tag_free(struct fb_rdma *r, uint16_t tag)
{
	r->tags[tag].state = FB_RDMA_TAG_FREE;
	r->tags[tag].op = NULL;
	r->free_tags[(r->free_first + r->n_free++) % r->depth] = tag;
	fb_flush_schedule(r->loop, &r->pump);
}

static struct fb_rdma_tag *tag_take(struct fb_rdma *r, uint16_t *tag)
{
	struct fb_rdma_tag *t;

	*tag = r->free_tags[r->free_first];
	r->free_first = (r->free_first + 1) % r->depth;
	r->n_free--;
	t = &r->tags[*tag];
	t->since = fb_loop_now(r->loop);
	t->tries = 0;
	if (!r->timer.heap_index)
		fb_timer_set(r->loop, &r->timer, t->since + r->timeout_ns / 4);
	return t;
}

/* The one taken last was not used after all. */
static void tag_untake(struct fb_rdma *r, uint16_t tag)
{
	r->tags[tag].state = FB_RDMA_TAG_FREE;
	r->tags[tag].op = NULL;
	r->free_first = (r->free_first + r->depth - 1) % r->depth;
	r->free_tags[r->free_first] = tag;
	r->n_free++;
}

static void tag_kill(struct fb_rdma *r, struct fb_rdma_tag *t)
{
	t->state = FB_RDMA_TAG_DEAD;
	t->op = NULL;
	t->r.buf = NULL;
	t->since = fb_loop_now(r->loop);
}

/* ---- Sending ---------------------------------------------------------------------- */

/* True: sent. False: no room for its class now, or the session is over. */
static bool send(struct fb_rdma *r, const struct pcie_tlp *tlp)
{
	int err = fb_port_send(r->port, tlp);

	if (err)
		r->blocked[pcie_tlp_fc(tlp->type)] = true; /* until writable(), or for good: down() will say */
	else
		r->stats.tlps_sent++;
	return !err;
}

static const struct fb_rdma_seg *segs_of(const struct fb_rdma_op *op)
{
	return op->segs ? op->segs : &op->seg;
}

static unsigned n_segs_of(const struct fb_rdma_op *op) { return op->segs ? op->n_segs : 1; }

static void advance(struct fb_rdma_op *op, uint32_t n)
{
	op->priv.off += n;
	if (op->priv.off == segs_of(op)[op->priv.seg].len) {
		op->priv.seg++;
		op->priv.off = 0;
	}
}

static bool send_read(struct fb_rdma *r, struct fb_rdma_op *op)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_MRD, .requester_id = r->id};

	while (op->priv.seg < n_segs_of(op)) {
		const struct fb_rdma_seg *s = &segs_of(op)[op->priv.seg];
		uint64_t addr = s->addr + op->priv.off;
		uint32_t n = pcie_split_request(addr, s->len - op->priv.off, r->max_read);
		struct fb_rdma_tag *t;

		if (!r->n_free || r->blocked[PCIE_FC_NP])
			return false;
		t = tag_take(r, &tlp.tag);
		pcie_tlp_set_range(&tlp, addr, n);
		if (!send(r, &tlp)) {
			tag_untake(r, tlp.tag);
			return false;
		}
		t->state = FB_RDMA_TAG_OP;
		t->op = op;
		pcie_reassembly_start(&t->r, r->id, addr, n, (uint8_t *)s->buf + op->priv.off);
		op->priv.in_flight++;
		advance(op, n);
	}
	return true;
}

static bool send_atomic(struct fb_rdma *r, struct fb_rdma_op *op)
{
	static const enum pcie_tlp_type types[] = {PCIE_TLP_FETCHADD, PCIE_TLP_SWAP, PCIE_TLP_CAS};
	struct pcie_tlp tlp = {.type = types[op->atomic], .requester_id = r->id, .address = op->seg.addr};
	uint32_t size = (uint32_t)op->seg.len;
	uint8_t data[32];
	struct fb_rdma_tag *t;

	if (!r->n_free || r->blocked[PCIE_FC_NP])
		return false;
	memcpy(data, op->operand, size);
	memcpy(data + size, op->swap, size);
	tlp.data = data;
	tlp.length = (uint16_t)(size / 4 * (op->atomic == FB_RDMA_CAS ? 2 : 1));
	t = tag_take(r, &tlp.tag);
	if (!send(r, &tlp)) {
		tag_untake(r, tlp.tag);
		return false;
	}
	t->state = FB_RDMA_TAG_OP;
	t->op = op;
	pcie_reassembly_start(&t->r, r->id, 0, size, op->seg.buf); /* Lower Address is 0 in these (2.2.9) */
	op->priv.in_flight++;
	op->priv.seg = 1;
	return true;
}

/* The payload as it stands in a TLP: whole DWs, zeros around what is meant. */
static const uint8_t *payload(uint8_t pad[PCIE_TLP_MAX_DATA + 8], const uint8_t *from, uint32_t lead, uint32_t n)
{
	if (lead == 0 && n % 4 == 0)
		return from;
	memset(pad, 0, 4);
	memset(pad + ((lead + n) & ~3u), 0, 4);
	memcpy(pad + lead, from, n);
	return pad;
}

static bool send_write(struct fb_rdma *r, struct fb_rdma_op *op)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_MWR, .requester_id = r->id};
	uint8_t pad[PCIE_TLP_MAX_DATA + 8];

	while (op->priv.seg < n_segs_of(op)) {
		const struct fb_rdma_seg *s = &segs_of(op)[op->priv.seg];
		uint64_t addr = s->addr + op->priv.off;
		uint32_t n = pcie_split_request(addr, s->len - op->priv.off, r->max_payload);

		if (r->blocked[PCIE_FC_P])
			return false;
		pcie_tlp_set_range(&tlp, addr, n);
		tlp.data = payload(pad, (const uint8_t *)s->buf + op->priv.off, addr & 3, n);
		if (!send(r, &tlp))
			return false;
		r->last_write = addr + n - 1;
		advance(op, n);
	}
	return true;
}

static void sent(struct fb_rdma *r, struct fb_rdma_op *op)
{
	if (op->kind == FB_RDMA_WRITE && op->posted) {
		finish(r, op, 0);
		return;
	}
	list_remove(&r->pending, op);
	if (op->kind == FB_RDMA_WRITE) {
		op->priv.behind = ++r->write_seq;
		list_add(&r->unconfirmed, op, UNCONFIRMED);
	} else {
		list_add(&r->issued, op, ISSUED);
	}
}

/* Asks for word of the writes that nobody asked for yet. */
static void confirm(struct fb_rdma *r)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_MRD, .requester_id = r->id};
	struct fb_rdma_tag *t;

	if (r->confirm_seq == r->write_seq || r->confirms == FB_RDMA_CONFIRMS || !r->n_free || r->blocked[PCIE_FC_NP])
		return;
	t = tag_take(r, &tlp.tag);
	pcie_tlp_set_range(&tlp, r->last_write & ~UINT64_C(3), 0);
	if (!send(r, &tlp)) {
		tag_untake(r, tlp.tag);
		return;
	}
	t->state = FB_RDMA_TAG_CONFIRM;
	t->confirm = r->confirm_seq = r->write_seq;
	pcie_reassembly_start(&t->r, r->id, r->last_write & ~UINT64_C(3), 0, NULL);
	r->confirms++;
}

static void count(struct fb_rdma *r, const struct fb_rdma_op *op)
{
	uint64_t *n[] = {&r->stats.reads, &r->stats.writes, &r->stats.atomics};
	uint64_t bytes = 0;

	if (op->priv.status < 0) {
		r->stats.failed++;
		return;
	}
	for (unsigned i = 0; i < n_segs_of(op); i++)
		bytes += segs_of(op)[i].len;
	++*n[op->kind];
	if (op->kind == FB_RDMA_READ)
		r->stats.bytes_read += bytes;
	else if (op->kind == FB_RDMA_WRITE)
		r->stats.bytes_written += bytes;
}

static void tell_finished(struct fb_rdma *r)
{
	struct fb_rdma_op *last = NULL, *op;

	/* What done() starts and ends at once is for the next pass. */
	for (op = r->finished.first; op; op = op->priv.next)
		last = op;
	while (last && (op = r->finished.first)) {
		bool is_last = op == last;

		list_remove(&r->finished, op);
		op->priv.phase = IDLE;
		count(r, op);
		if (op->done)
			op->done(op, op->priv.status); /* op may be gone, or used anew */
		if (is_last)
			break;
	}
}

static void pump(struct fb_flush *f)
{
	struct fb_rdma *r = (struct fb_rdma *)((char *)f - offsetof(struct fb_rdma, pump));
	struct fb_rdma_op *op;

	tell_finished(r);
	while (r->up && r->port && (op = r->pending.first)) {
		bool all = op->kind == FB_RDMA_READ    ? send_read(r, op)
			   : op->kind == FB_RDMA_WRITE ? send_write(r, op)
						       : send_atomic(r, op);
		if (!all)
			break;
		sent(r, op);
	}
	if (r->up && r->port)
		confirm(r);
	if (r->finished.first)
		fb_flush_schedule(r->loop, f);
}

/* ---- What comes back ----------------------------------------------------------------- */

static int status_of(enum pcie_cpl_status status)
{
	return status == PCIE_CPL_UR ? -EFAULT : -EIO;
}

/* One piece failed: the rest is not asked for any more, and what is on its way goes nowhere. */
static void fail(struct fb_rdma *r, struct fb_rdma_op *op, int status)
{
	for (uint32_t i = 0; i < r->depth && op->priv.in_flight; i++) {
		if (r->tags[i].state == FB_RDMA_TAG_OP && r->tags[i].op == op) {
			tag_kill(r, &r->tags[i]);
			op->priv.in_flight--;
		}
	}
	finish(r, op, status);
}

/* Word of the writes up to `seq`. A failure is the last one's own: the others have theirs by message. */
static void confirmed(struct fb_rdma *r, uint64_t seq, int status, bool all)
{
	struct fb_rdma_op *op;

	r->confirms--;
	while ((op = r->unconfirmed.first) && op->priv.behind <= seq)
		finish(r, op, status && (all || op->priv.behind == seq) ? status : op->priv.status);
}

static void completion(struct fb_rdma *r, const struct pcie_tlp *cpl)
{
	struct fb_rdma_tag *t = cpl->tag < r->depth ? &r->tags[cpl->tag] : NULL;
	enum pcie_reassembly_result result;
	enum fb_rdma_tag_state was;
	struct fb_rdma_op *op;

	if (!t || t->state == FB_RDMA_TAG_FREE) {
		r->stats.unexpected++;
		return;
	}
	result = pcie_reassembly_feed(&t->r, cpl);
	if (result == PCIE_REASSEMBLY_MISMATCH)
		r->stats.unexpected++;
	if (result != PCIE_REASSEMBLY_DONE && result != PCIE_REASSEMBLY_FAILED)
		return;
	was = t->state;
	op = t->op;
	tag_free(r, cpl->tag);
	if (was == FB_RDMA_TAG_CONFIRM) {
		confirmed(r, t->confirm, result == PCIE_REASSEMBLY_DONE ? 0 : status_of(t->r.status), false);
	} else if (was == FB_RDMA_TAG_OP) {
		op->priv.in_flight--;
		if (result == PCIE_REASSEMBLY_FAILED)
			fail(r, op, status_of(t->r.status));
		else if (!op->priv.in_flight && op->priv.phase == ISSUED)
			finish(r, op, 0);
	}
}

static bool tlp_arrived(void *arg, const struct pcie_tlp *tlp)
{
	struct fb_rdma *r = arg;

	r->stats.tlps_received++;
	if (pcie_tlp_fc(tlp->type) == PCIE_FC_CPL) {
		completion(r, tlp);
	} else if (tlp->type == PCIE_TLP_MSG && tlp->msg_code == PCIE_MSG_ERR_NONFATAL) {
		r->stats.refused_writes++;
		for (struct fb_rdma_op *op = r->unconfirmed.first; op; op = op->priv.next)
			op->priv.status = -EFAULT;
		/* A long write may be refused while the rest of it is still to be sent. */
		if (r->pending.first && r->pending.first->kind == FB_RDMA_WRITE)
			r->pending.first->priv.status = -EFAULT;
	} else if (pcie_tlp_fc(tlp->type) == PCIE_FC_NP) {
		struct pcie_tlp cpl; /* nobody has anything to ask of a requester */

		pcie_completion_status(tlp, r->id, PCIE_CPL_UR, &cpl);
		fb_port_send(r->port, &cpl);
	}
	return true;
}

/*
 * Asks once more for what got no completion, under another tag: late completions
 * of the first time find nobody. Reading memory twice does no harm. True: asked, or
 * to be asked as soon as there is a tag.
 */
static bool repeat(struct fb_rdma *r, struct fb_rdma_tag *t, uint64_t now)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_MRD, .requester_id = r->id};
	struct fb_rdma_tag *again;

	if (t->tries >= r->retries || (t->op && t->op->kind == FB_RDMA_ATOMIC))
		return false;
	if (!r->n_free || r->blocked[PCIE_FC_NP])
		return now - t->since < (r->retries + 1) * r->timeout_ns;
	again = tag_take(r, &tlp.tag);
	pcie_tlp_set_range(&tlp, t->r.address, t->r.len);
	if (!send(r, &tlp)) {
		tag_untake(r, tlp.tag);
		return true;
	}
	r->stats.retries++;
	again->state = t->state;
	again->op = t->op;
	again->confirm = t->confirm;
	again->tries = t->tries + 1;
	pcie_reassembly_start(&again->r, r->id, t->r.address, t->r.len, t->r.buf);
	tag_kill(r, t);
	return true;
}

static void overdue(struct fb_timer *timer)
{
	struct fb_rdma *r = (struct fb_rdma *)((char *)timer - offsetof(struct fb_rdma, timer));
	uint64_t now = fb_loop_now(r->loop);

	for (uint32_t i = 0; i < r->depth; i++) {
		struct fb_rdma_tag *t = &r->tags[i];
		struct fb_rdma_op *op = t->op;

		if (t->state == FB_RDMA_TAG_FREE || now - t->since < r->timeout_ns)
			continue;
		if (t->state == FB_RDMA_TAG_DEAD) {
			if (now - t->since >= 2 * r->timeout_ns)
				tag_free(r, (uint16_t)i);
			continue;
		}
		if (repeat(r, t, now))
			continue;
		r->stats.timeouts++;
		fb_rdma_say(r, "no completion for the %s at 0x%llx within %llu ms",
			    t->state == FB_RDMA_TAG_CONFIRM ? "confirmation of writes" : "request",
			    (unsigned long long)(t->r.address ? t->r.address : op ? op->seg.addr : 0),
			    (unsigned long long)(r->timeout_ns / 1000000));
		if (t->state == FB_RDMA_TAG_CONFIRM) {
			tag_kill(r, t);
			confirmed(r, t->confirm, -ETIMEDOUT, true);
		} else {
			fail(r, op, -ETIMEDOUT); /* kills the tag, too */
		}
	}
	if (r->n_free < r->depth)
		fb_timer_set(r->loop, timer, now + r->timeout_ns / 4);
}

static void up(void *arg)
{
	struct fb_rdma *r = arg;

	r->up = true;
	fb_flush_schedule(r->loop, &r->pump);
	fb_rdma_tell_state(r, 0);
}

static void down(void *arg, int reason, const char *text)
{
	struct fb_rdma *r = arg;
	const char *why = fb_link_reason_name((enum fb_link_reason)reason);
	int status = reason == FB_LINK_R_DENIED	     ? -EACCES
		     : reason == FB_LINK_R_NO_FUNCTION ? -ENOENT
		     : reason == FB_LINK_R_NO_ANSWER   ? -ETIMEDOUT
						       : -ENOTCONN;

	if (!text || !*text)
		fb_rdma_say(r, "%s", why);
	else
		fb_rdma_say(r, "%s: %s", why, text);
	r->up = false;
	r->over = status;
	fb_port_close(r->port, FB_LINK_R_NORMAL, NULL);
	r->port = NULL;
	fb_rdma_engine_abort(r, status == -ENOENT || status == -EACCES ? status : -ENOTCONN);
	fb_rdma_tell_state(r, status);
}

static void writable(void *arg, enum pcie_fc cls)
{
	struct fb_rdma *r = arg;

	r->blocked[cls] = false;
	fb_flush_schedule(r->loop, &r->pump);
}

const struct fb_port_user fb_rdma_port_user = {.tlp = tlp_arrived, .up = up, .down = down, .writable = writable};

/* ---- Beginning and end ------------------------------------------------------------------ */

int fb_rdma_engine_init(struct fb_rdma *r)
{
	struct fb_rdma_list *lists[] = {&r->pending, &r->issued, &r->unconfirmed, &r->finished};

	for (unsigned i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		lists[i]->last = &lists[i]->first;
	r->pump.flush = pump;
	r->timer.due = overdue;
	r->tags = calloc(r->depth, sizeof(*r->tags));
	r->free_tags = calloc(r->depth, sizeof(*r->free_tags));
	if (!r->tags || !r->free_tags)
		return -ENOMEM;
	for (uint32_t i = 0; i < r->depth; i++)
		r->free_tags[i] = (uint16_t)i;
	r->n_free = r->depth;
	return 0;
}

void fb_rdma_engine_abort(struct fb_rdma *r, int status)
{
	struct fb_rdma_list *lists[] = {&r->pending, &r->issued, &r->unconfirmed};

	for (uint32_t i = 0; i < r->depth; i++) {
		if (r->tags[i].state != FB_RDMA_TAG_FREE)
			tag_kill(r, &r->tags[i]);
	}
	r->confirms = 0;
	for (unsigned i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		while (lists[i]->first) {
			lists[i]->first->priv.in_flight = 0;
			finish(r, lists[i]->first, status);
		}
	}
}

void fb_rdma_engine_fini(struct fb_rdma *r)
{
	fb_flush_cancel(&r->pump);
	fb_timer_cancel(&r->timer);
	free(r->tags);
	free(r->free_tags);
}

/* ---- Taking requests ------------------------------------------------------------------------ */

static bool good(const struct fb_rdma_op *op)
{
	const struct fb_rdma_seg *segs = segs_of(op);

	if (op->kind == FB_RDMA_ATOMIC) {
		size_t size = op->seg.len;

		return !op->segs && (unsigned)op->atomic <= FB_RDMA_CAS && op->seg.buf &&
		       (size == 4 || size == 8 || (size == 16 && op->atomic == FB_RDMA_CAS)) &&
		       op->seg.addr % size == 0;
	}
	if ((op->kind != FB_RDMA_READ && op->kind != FB_RDMA_WRITE) || n_segs_of(op) == 0)
		return false;
	for (unsigned i = 0; i < n_segs_of(op); i++) {
		if (!segs[i].len || !segs[i].buf || segs[i].addr + (segs[i].len - 1) < segs[i].addr)
			return false;
	}
	return true;
}

int fb_rdma_submit(struct fb_rdma *r, struct fb_rdma_op *op)
{
	if (r->closing || r->over)
		return r->over ? r->over : -ECANCELED;
	if (!good(op)) {
		fb_rdma_say(r, "malformed request: its length is 0, its range wraps, or its operand is not aligned");
		return -EINVAL;
	}
	memset(&op->priv, 0, sizeof(op->priv));
	if (op->kind == FB_RDMA_ATOMIC && r->transport && !r->transport->atomics) {
		fb_rdma_say(r, "there are no AtomicOps over %s", r->transport->prefix);
		return -ENOTSUP;
	}
	list_add(&r->pending, op, PENDING);
	fb_flush_schedule(r->loop, &r->pump);
	fb_rdma_wake(r);
	return 0;
}
