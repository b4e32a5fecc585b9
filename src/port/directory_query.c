/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks a box page by page. A page that does not come is asked for again, at
 * growing intervals; answers are matched by nonce, sender and place, so late
 * and doubled ones change nothing. A directory that changes while it is read
 * (other total, other incarnation) is read from the start.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "port/internal.h"

enum {
	ENTRIES_MAX = 16384, /* the box names the total: it must not name our memory */
	REQUEST_MAX = 1400,  /* bytes, as the answer is no larger */
	RETRY_FIRST_NS = 100000000,
	RETRY_MAX_NS = 1000000000,
};

struct fb_directory_query {
	struct fb_carrier *carrier;
	struct fb_directory_query *next;
	struct fb_net_addr peer;
	struct fb_directory_request request;
	struct fb_link_identity box;
	struct fb_directory_entry *entries;
	unsigned n, total;
	bool begun;
	uint64_t deadline, retry_ns;
	struct fb_timer timer;
	void (*done)(void *arg, int status, const struct fb_link_identity *box, const struct fb_directory_entry *entries,
		     unsigned n);
	void *arg;
};

static void unlink_query(struct fb_directory_query *q)
{
	struct fb_directory_query **link = &q->carrier->queries;

	while (*link && *link != q)
		link = &(*link)->next;
	if (*link)
		*link = q->next;
	fb_timer_cancel(&q->timer);
}

static void free_query(struct fb_directory_query *q)
{
	free(q->entries);
	free(q);
}

static void finish(struct fb_directory_query *q, int status)
{
	unlink_query(q);
	q->done(q->arg, status, &q->box, q->entries, status ? 0 : q->n);
	free_query(q);
}

static void ask(struct fb_directory_query *q)
{
	struct fb_carrier *c = q->carrier;
	uint8_t out[REQUEST_MAX];
	uint32_t mtu = fb_carrier_mtu(c, &q->peer);
	uint64_t now = fb_loop_now(c->loop), again = now + q->retry_ns;

	q->request.first = q->n;
	fb_carrier_send_one(c, &q->peer, out,
			    fb_directory_put_request(&q->request, out, mtu < sizeof(out) ? mtu : sizeof(out)));
	if (fb_timer_set(c->loop, &q->timer, again < q->deadline ? again : q->deadline))
		fb_error(NULL, "directory: out of memory for a timer");
}

static void timer_due(struct fb_timer *t)
{
	struct fb_directory_query *q = (struct fb_directory_query *)((char *)t - offsetof(struct fb_directory_query, timer));
	struct fb_carrier *c = q->carrier;

	fb_carrier_enter(c);
	if (fb_loop_now(c->loop) >= q->deadline) {
		finish(q, -ETIMEDOUT);
	} else {
		q->retry_ns = 2 * q->retry_ns < RETRY_MAX_NS ? 2 * q->retry_ns : RETRY_MAX_NS;
		ask(q);
	}
	fb_carrier_leave(c);
}

static void start_over(struct fb_directory_query *q, const struct fb_directory_page *page)
{
	q->begun = true;
	q->box = page->box;
	q->total = page->total;
	q->n = 0;
}

/* 0: go on; 1: complete; or -errno. */
static int take_page(struct fb_directory_query *q, const struct fb_directory_page *page)
{
	struct fb_directory_entry *entries;

	if (page->total > ENTRIES_MAX)
		return -EMSGSIZE;
	if (!q->begun || page->total != q->total || page->box.incarnation != q->box.incarnation ||
	    memcmp(page->box.node, q->box.node, sizeof(q->box.node)))
		start_over(q, page);
	if (page->first != q->n || page->n > q->total - q->n || (!page->n && q->n < q->total))
		return 0; /* late, or of the directory that was */
	entries = realloc(q->entries, (q->n + page->n + 1) * sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	memcpy(entries + q->n, page->entries, page->n * sizeof(*entries));
	q->entries = entries;
	q->n += page->n;
	q->retry_ns = RETRY_FIRST_NS;
	return q->n == q->total;
}

void fb_directory_rx(struct fb_carrier *c, const struct fb_net_addr *from, const uint8_t *data, size_t len)
{
	struct fb_directory_page page;
	struct fb_directory_query *q;
	unsigned before;
	int err = fb_directory_get_page(&page, data, len);

	if (err == -EBADMSG) {
		c->stats.rx_bad++;
		return;
	}
	for (q = c->queries; q && q->request.nonce != page.nonce; q = q->next)
		;
	if (!q)
		return; /* answered already, or cancelled */
	if (!err) {
		before = q->n;
		err = take_page(q, &page);
		if (err == 0) {
			/* Only progress asks at once: a box that answers nonsense gets the timer's pace. */
			if (q->n > before)
				ask(q);
			return;
		}
	}
	finish(q, err < 0 ? err : 0);
}

int fb_directory_query(struct fb_directory_query **out, struct fb_carrier *c, const char *peer, uint32_t group,
		       uint64_t timeout_ns,
		       void (*done)(void *arg, int status, const struct fb_link_identity *box,
				    const struct fb_directory_entry *entries, unsigned n),
		       void *arg)
{
	struct fb_directory_query *q;
	struct fb_net_addr addr;
	int err = fb_carrier_peer(c, peer, &addr);

	if (err)
		return err;
	q = calloc(1, sizeof(*q));
	if (!q)
		return -ENOMEM;
	err = fb_carrier_random(&q->request.nonce, sizeof(q->request.nonce));
	if (err) {
		free(q);
		return err;
	}
	q->carrier = c;
	q->peer = addr;
	q->request.group = group;
	q->deadline = fb_loop_now(c->loop) + timeout_ns;
	q->retry_ns = RETRY_FIRST_NS;
	q->timer.due = timer_due;
	q->done = done;
	q->arg = arg;
	q->next = c->queries;
	c->queries = q;
	ask(q);
	*out = q;
	return 0;
}

void fb_directory_cancel(struct fb_directory_query *q)
{
	if (!q)
		return;
	unlink_query(q);
	free_query(q);
}

void fb_directory_forget(struct fb_carrier *c)
{
	while (c->queries)
		fb_directory_cancel(c->queries);
}
