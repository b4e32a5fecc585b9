/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A read is a list entry with the place where its next piece begins. Pieces take
 * free tags, the longest rested first; the head of the list gives one and goes to
 * the end, so that a long read does not hold up a short one.
 *
 * A tag is FREE, ACTIVE or RESTING. A piece that timed out is asked for again
 * under its own tag and from its beginning: completions of the first try that
 * are late may then complete it, which is as good, for they were made after the
 * read began. What of it was already there is thrown away. A tag that was used
 * more than once, or given up, rests for four timeouts when its piece is over, so
 * that the copies still on their way find nobody waiting. Completions for a
 * resting tag are counted as unexpected.
 *
 * Active tags stand in the order of their deadlines, all having one timeout;
 * resting ones likewise. The lists are by index.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "softpcie/requester.h"

enum { TAGS = 256, NONE = 0xffff, REST_TIMEOUTS = 4, DEFAULT_MPS = 256, DEFAULT_MRRS = 512 };
#define DEFAULT_TIMEOUT_NS UINT64_C(50000000)

struct read {
	struct read *next;
	uint64_t addr;
	uint8_t *buf;
	uint32_t len, asked, in_flight; /* asked: bytes for which a piece was sent; in_flight: pieces */
	int status;
	fb_softpcie_done *done;
	void *arg;
};

enum tag_state { FREE, ACTIVE, RESTING };

struct tag {
	struct pcie_reassembly r;
	struct read *read;
	uint64_t since;
	uint16_t prev, next;
	uint8_t state, tries;
};

struct list {
	uint16_t first, last;
};

struct fb_softpcie_requester {
	struct fb_softpcie_requester_config c;
	struct tag tags[TAGS];
	struct list free, active, resting;
	struct read *head, **tail; /* reads with pieces to ask for */
	struct read *pool;
	unsigned n_waiting;
	bool blocked, issuing;
	struct fb_softpcie_requester_stats stats;
};

/* ---- Lists --------------------------------------------------------------- */

static void put(struct fb_softpcie_requester *rq, struct list *l, uint16_t tag)
{
	struct tag *t = &rq->tags[tag];

	t->prev = l->last;
	t->next = NONE;
	if (l->last != NONE)
		rq->tags[l->last].next = tag;
	else
		l->first = tag;
	l->last = tag;
}

static void take(struct fb_softpcie_requester *rq, struct list *l, uint16_t tag)
{
	const struct tag *t = &rq->tags[tag];

	if (t->prev != NONE)
		rq->tags[t->prev].next = t->next;
	else
		l->first = t->next;
	if (t->next != NONE)
		rq->tags[t->next].prev = t->prev;
	else
		l->last = t->prev;
}

/* The piece of an active tag is over, one way or another. */
static void release(struct fb_softpcie_requester *rq, uint16_t tag, bool rest, uint64_t now)
{
	struct tag *t = &rq->tags[tag];

	take(rq, &rq->active, tag);
	t->read->in_flight--;
	t->read = NULL;
	rq->stats.in_flight--;
	t->state = rest ? RESTING : FREE;
	t->since = now;
	put(rq, rest ? &rq->resting : &rq->free, tag);
}

/* ---- Asking -------------------------------------------------------------- */

static int ask(struct fb_softpcie_requester *rq, uint16_t tag)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_MRD, .requester_id = rq->tags[tag].r.requester_id, .tag = tag};

	pcie_tlp_set_range(&tlp, rq->tags[tag].r.address, rq->tags[tag].r.len);
	return rq->c.send(rq->c.arg, &tlp);
}

/* Starts the next piece of a read. 0, or -EAGAIN: no room. */
static int issue(struct fb_softpcie_requester *rq, struct read *r, uint64_t now)
{
	uint16_t tag = rq->free.first;
	struct tag *t = &rq->tags[tag];
	uint32_t len = pcie_split_request(r->addr + r->asked, r->len - r->asked, rq->c.mrrs);
	int err;

	pcie_reassembly_start(&t->r, rq->c.requester_id, r->addr + r->asked, len, r->buf + r->asked);
	err = ask(rq, tag);
	if (err == -EAGAIN)
		return err;
	/* Not sent for another reason is as good as lost. */
	take(rq, &rq->free, tag);
	t->read = r;
	t->state = ACTIVE;
	t->since = now;
	t->tries = 1;
	put(rq, &rq->active, tag);
	rq->stats.in_flight++;
	r->asked += len;
	r->in_flight++;
	return 0;
}

static void enqueue(struct fb_softpcie_requester *rq, struct read *r)
{
	r->next = NULL;
	*rq->tail = r;
	rq->tail = &r->next;
	rq->n_waiting++;
}

static struct read *dequeue(struct fb_softpcie_requester *rq)
{
	struct read *r = rq->head;

	rq->head = r->next;
	if (!rq->head)
		rq->tail = &rq->head;
	rq->n_waiting--;
	return r;
}

static void finish(struct fb_softpcie_requester *rq, struct read *r)
{
	fb_softpcie_done *done = r->done;
	void *arg = r->arg;
	int status = r->status;

	r->next = rq->pool;
	rq->pool = r;
	done(arg, status);
}

/* What is waiting takes what tags are free. */
static void go_on(struct fb_softpcie_requester *rq, uint64_t now)
{
	if (rq->issuing)
		return;
	rq->issuing = true;
	while (rq->head && !rq->blocked && rq->free.first != NONE) {
		struct read *r = rq->head;

		if (issue(rq, r, now)) {
			rq->blocked = true;
			break;
		}
		dequeue(rq);
		if (r->asked < r->len)
			enqueue(rq, r);
	}
	rq->issuing = false;
}

/* One of its pieces failed: the others are forgotten, the rest is not asked for. */
static void fail(struct fb_softpcie_requester *rq, struct read *r, int status, uint64_t now)
{
	struct read **p = &rq->head;

	for (uint16_t tag = rq->active.first, next; tag != NONE && r->in_flight; tag = next) {
		next = rq->tags[tag].next;
		if (rq->tags[tag].read == r)
			release(rq, tag, true, now);
	}
	while (*p && *p != r)
		p = &(*p)->next;
	if (*p) {
		*p = r->next;
		if (!*p)
			rq->tail = p;
		rq->n_waiting--;
	}
	r->status = status;
	finish(rq, r);
}

/* ---- The user's calls ---------------------------------------------------- */

static bool size_ok(uint32_t size)
{
	return size >= 128 && size <= 4096 && !(size & (size - 1));
}

int fb_softpcie_requester_new(struct fb_softpcie_requester **out, const struct fb_softpcie_requester_config *config)
{
	struct fb_softpcie_requester *rq = calloc(1, sizeof(*rq));

	if (!rq)
		return -ENOMEM;
	rq->c = *config;
	rq->c.mps = rq->c.mps ? rq->c.mps : DEFAULT_MPS;
	rq->c.mrrs = rq->c.mrrs ? rq->c.mrrs : DEFAULT_MRRS;
	rq->c.timeout_ns = rq->c.timeout_ns ? rq->c.timeout_ns : DEFAULT_TIMEOUT_NS;
	if (!rq->c.n_tags && rq->c.first_tag < TAGS)
		rq->c.n_tags = TAGS - rq->c.first_tag;
	if (!rq->c.n_tags || rq->c.first_tag + rq->c.n_tags > TAGS || !size_ok(rq->c.mps) || !size_ok(rq->c.mrrs)) {
		free(rq);
		return -EINVAL;
	}
	rq->free = rq->active = rq->resting = (struct list){NONE, NONE};
	rq->tail = &rq->head;
	for (unsigned i = 0; i < rq->c.n_tags; i++)
		put(rq, &rq->free, (uint16_t)(rq->c.first_tag + i));
	*out = rq;
	return 0;
}

void fb_softpcie_requester_cancel(struct fb_softpcie_requester *rq)
{
	bool issuing = rq->issuing;

	rq->issuing = true; /* what done() asks for waits */
	while (rq->active.first != NONE)
		fail(rq, rq->tags[rq->active.first].read, -ECANCELED, rq->tags[rq->active.first].since);
	for (unsigned n = rq->n_waiting; n && rq->head; n--) {
		struct read *r = dequeue(rq);

		r->status = -ECANCELED;
		finish(rq, r);
	}
	rq->issuing = issuing;
}

void fb_softpcie_requester_free(struct fb_softpcie_requester *rq)
{
	if (!rq)
		return;
	while (rq->active.first != NONE || rq->head)
		fb_softpcie_requester_cancel(rq);
	while (rq->pool) {
		struct read *r = rq->pool;

		rq->pool = r->next;
		free(r);
	}
	free(rq);
}

void fb_softpcie_requester_set_id(struct fb_softpcie_requester *rq, uint16_t requester_id)
{
	rq->c.requester_id = requester_id;
}

int fb_softpcie_read(struct fb_softpcie_requester *rq, uint64_t addr, void *buf, uint32_t len, uint64_t now_ns,
		     fb_softpcie_done *done, void *arg)
{
	struct read *r;

	if (!len || addr + (len - 1) < addr)
		return -EINVAL;
	r = rq->pool;
	if (r)
		rq->pool = r->next;
	else
		r = malloc(sizeof(*r));
	if (!r)
		return -ENOMEM;
	*r = (struct read){.addr = addr, .buf = buf, .len = len, .done = done, .arg = arg};
	rq->stats.reads++;
	enqueue(rq, r);
	go_on(rq, now_ns);
	return 0;
}

int64_t fb_softpcie_write(struct fb_softpcie_requester *rq, uint64_t addr, const void *buf, uint32_t len)
{
	uint8_t dws[PCIE_TLP_MAX_DATA + 8];
	const uint8_t *from = buf;
	uint32_t done = 0;

	if (!len || addr + (len - 1) < addr)
		return -EINVAL;
	rq->stats.writes++;
	while (done < len) {
		struct pcie_tlp tlp = {.type = PCIE_TLP_MWR, .requester_id = rq->c.requester_id,
				       .tag = (uint16_t)rq->c.first_tag};
		uint32_t n = pcie_split_request(addr + done, len - done, rq->c.mps), pad = (addr + done) & 3;
		int err;

		pcie_tlp_set_range(&tlp, addr + done, n);
		tlp.data = from + done;
		if (pad || n & 3) {
			memset(dws, 0, 4);
			memset(dws + tlp.length * 4u - 4, 0, 4);
			memcpy(dws + pad, from + done, n);
			tlp.data = dws;
		}
		err = rq->c.send(rq->c.arg, &tlp);
		if (err)
			return done ? (int64_t)done : err;
		done += n;
		rq->stats.write_bytes += n;
	}
	return 0;
}

/* ---- Completions and time ------------------------------------------------ */

bool fb_softpcie_requester_rx(struct fb_softpcie_requester *rq, const struct pcie_tlp *cpl, uint64_t now)
{
	struct tag *t = cpl->tag < TAGS ? &rq->tags[cpl->tag] : NULL;
	enum pcie_reassembly_result result;
	struct read *r;
	bool rest;

	if (!t || t->state != ACTIVE) {
		rq->stats.unexpected_completions++;
		return false;
	}
	r = t->read;
	rest = t->tries > 1;
	result = pcie_reassembly_feed(&t->r, cpl);
	switch (result) {
	case PCIE_REASSEMBLY_MISMATCH:
		rq->stats.unexpected_completions++;
		return false;
	case PCIE_REASSEMBLY_MORE:
		return true;
	case PCIE_REASSEMBLY_DONE:
		rq->stats.read_bytes += t->r.len;
		release(rq, cpl->tag, rest, now);
		if (!r->in_flight && r->asked == r->len)
			finish(rq, r);
		break;
	case PCIE_REASSEMBLY_FAILED:
		rq->stats.read_errors++;
		release(rq, cpl->tag, rest, now);
		fail(rq, r, t->r.status == PCIE_CPL_UR ? -EFAULT : -EIO, now);
		break;
	}
	go_on(rq, now);
	return true;
}

uint64_t fb_softpcie_requester_deadline(const struct fb_softpcie_requester *rq)
{
	uint64_t due = UINT64_MAX, t;

	if (rq->active.first != NONE)
		due = rq->tags[rq->active.first].since + rq->c.timeout_ns;
	if (rq->resting.first != NONE && rq->head) { /* otherwise nobody waits for its end */
		t = rq->tags[rq->resting.first].since + REST_TIMEOUTS * rq->c.timeout_ns;
		due = t < due ? t : due;
	}
	return due;
}

static void wake_rested(struct fb_softpcie_requester *rq, uint64_t now)
{
	uint16_t tag;

	while ((tag = rq->resting.first) != NONE && now >= rq->tags[tag].since + REST_TIMEOUTS * rq->c.timeout_ns) {
		take(rq, &rq->resting, tag);
		rq->tags[tag].state = FREE;
		put(rq, &rq->free, tag);
	}
}

void fb_softpcie_requester_timeout(struct fb_softpcie_requester *rq, uint64_t now)
{
	uint16_t tag;

	while ((tag = rq->active.first) != NONE && now >= rq->tags[tag].since + rq->c.timeout_ns) {
		struct tag *t = &rq->tags[tag];

		if (t->tries > rq->c.retries) {
			rq->stats.read_timeouts++;
			fail(rq, t->read, -ETIMEDOUT, now);
			continue;
		}
		/* From its beginning; not sent for want of room, it is asked for at the next deadline. */
		pcie_reassembly_start(&t->r, t->r.requester_id, t->r.address, t->r.len, t->r.buf);
		t->tries++;
		t->since = now;
		take(rq, &rq->active, tag);
		put(rq, &rq->active, tag);
		rq->stats.read_retries++;
		ask(rq, tag);
	}
	wake_rested(rq, now);
	go_on(rq, now);
}

void fb_softpcie_requester_room(struct fb_softpcie_requester *rq, uint64_t now)
{
	rq->blocked = false;
	go_on(rq, now);
}

bool fb_softpcie_requester_idle(const struct fb_softpcie_requester *rq)
{
	return rq->active.first == NONE && !rq->head;
}

const struct fb_softpcie_requester_stats *fb_softpcie_requester_stats(const struct fb_softpcie_requester *rq)
{
	return &rq->stats;
}
