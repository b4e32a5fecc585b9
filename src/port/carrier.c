/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A round of the loop brings datagrams (net) and due timers; both feed links,
 * whose callbacks reach the users of the ports. Whatever that leaves to do (to
 * send, to announce, to free) is marked by putting the port on the dirty list,
 * and done at the end of the round by flush(): so all that a round produced for
 * a peer leaves together, and nothing is freed under a caller's feet:
 *
 *  - fb_port_close() only marks the port and takes it out of the tables; flush()
 *    has the link say goodbye and frees both;
 *  - a dead link is announced to its user after the call that killed it, or in
 *    flush() when that call was the user's own;
 *  - fb_carrier_close() inside a callback waits for the outermost one's end.
 *
 * When the net takes only a part of a batch, the rest is copied (the link's
 * memory is its own again with its next call) and nothing more is asked of the
 * links until the net is writable.
 *
 * Sessions are found by our session id, 64 random bits. Hellos are found by
 * (function, node): the same session again is a repeated hello, for the link to
 * answer; another session means that the root lost the old one and takes over.
 * A hello of a session that has ended is late, and refused, not a new wish.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "link/link_wire.h"
#include "port/internal.h"

enum { TABLE_MIN = 16 };

/* Tables of ports, chained, doubled when full */

static unsigned session_hash(uint64_t session)
{
	return (unsigned)((session * 0x9e3779b97f4a7c15u) >> 32);
}

static unsigned hello_hash(const char *function, const uint8_t node[16])
{
	uint32_t h = 2166136261u;

	for (; *function; function++)
		h = (h ^ (uint8_t)*function) * 16777619u;
	for (unsigned i = 0; i < 16; i++)
		h = (h ^ node[i]) * 16777619u;
	return h;
}

static struct fb_link_port **chain(struct fb_link_port *p, bool session)
{
	return session ? &p->by_session_next : &p->by_hello_next;
}

static unsigned port_hash(const struct fb_link_port *p, bool session)
{
	return session ? session_hash(p->session) : hello_hash(p->function, p->remote.node);
}

static int table_add(struct fb_table *t, struct fb_link_port *p, bool session)
{
	struct fb_link_port **slot;

	if (!t->slots || t->n > t->mask) {
		unsigned size = t->slots ? 2 * (t->mask + 1) : TABLE_MIN;
		struct fb_link_port **slots = calloc(size, sizeof(struct fb_link_port *));

		if (!slots)
			return -ENOMEM;
		for (unsigned i = 0; t->slots && i <= t->mask; i++) {
			struct fb_link_port *q = t->slots[i], *next;

			for (; q; q = next) {
				next = *chain(q, session);
				slot = &slots[port_hash(q, session) & (size - 1)];
				*chain(q, session) = *slot;
				*slot = q;
			}
		}
		free(t->slots);
		t->slots = slots;
		t->mask = size - 1;
	}
	slot = &t->slots[port_hash(p, session) & t->mask];
	*chain(p, session) = *slot;
	*slot = p;
	t->n++;
	return 0;
}

static void table_del(struct fb_table *t, struct fb_link_port *p, bool session)
{
	struct fb_link_port **slot = &t->slots[port_hash(p, session) & t->mask];

	while (*slot != p)
		slot = chain(*slot, session);
	*slot = *chain(p, session);
	t->n--;
}

static struct fb_link_port *find_session(const struct fb_carrier *c, uint64_t session)
{
	const struct fb_table *t = &c->by_session;
	struct fb_link_port *p = t->slots ? t->slots[session_hash(session) & t->mask] : NULL;

	while (p && p->session != session)
		p = p->by_session_next;
	return p;
}

static struct fb_link_port *find_hello(const struct fb_carrier *c, const struct fb_link_hello *h)
{
	const struct fb_table *t = &c->by_hello;
	struct fb_link_port *p = t->slots ? t->slots[hello_hash(h->function, h->from.node) & t->mask] : NULL;

	while (p && (strcmp(p->function, h->function) || memcmp(p->remote.node, h->from.node, 16)))
		p = p->by_hello_next;
	return p;
}

int fb_carrier_add_port(struct fb_link_port *p)
{
	int err;

	p->session = p->source.session = fb_link_session(p->link);
	err = table_add(&p->carrier->by_session, p, true);
	p->in_session_table = !err;
	return err;
}

void fb_carrier_end_session(struct fb_link_port *p)
{
	struct fb_carrier *c = p->carrier;

	if (!p->in_hello_table)
		return;
	table_del(&c->by_hello, p, false);
	p->in_hello_table = false;
	c->ended[c->next_ended++ % FB_CARRIER_ENDED] = p->remote_session;
}

void fb_carrier_forget_port(struct fb_link_port *p)
{
	fb_carrier_end_session(p);
	if (p->in_session_table)
		table_del(&p->carrier->by_session, p, true);
	p->in_session_table = false;
}

/* Small things that the other files use too */

void fb_carrier_enter(struct fb_carrier *c)
{
	c->depth++;
}

static void free_carrier(struct fb_carrier *c);

void fb_carrier_leave(struct fb_carrier *c)
{
	if (--c->depth == 0 && c->closing)
		free_carrier(c);
}

int64_t fb_carrier_clock(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec - (int64_t)fb_clock_ns();
}

int fb_carrier_random(void *out, size_t len)
{
	return getrandom(out, len, 0) == (ssize_t)len ? 0 : -EIO;
}

int fb_carrier_peer(struct fb_carrier *c, const char *peer, struct fb_net_addr *addr)
{
	const char *rest;
	const struct fb_net_ops *ops = fb_net_find(peer, &rest);

	if (!ops) {
		fb_error(NULL, "%s: must begin with one of: %s, and a colon", peer, fb_net_names());
		return -EINVAL;
	}
	if (ops != c->base) {
		fb_error(NULL, "%s: this end is on %s", peer, c->base->name);
		return -EINVAL;
	}
	if (ops->parse(rest, addr)) {
		fb_error(NULL, "%s: must be %s", peer, ops->syntax);
		return -EINVAL;
	}
	return 0;
}

uint32_t fb_carrier_mtu(struct fb_carrier *c, const struct fb_net_addr *peer)
{
	return c->mtu ? c->mtu : c->net->ops->mtu(c->net, peer);
}

void fb_carrier_send_one(struct fb_carrier *c, const struct fb_net_addr *to, const uint8_t *data, size_t len)
{
	struct fb_dgram d = {data, (uint32_t)len};

	if (len && !c->net_full)
		c->net->ops->send(c->net, to, &d, 1);
}

/* The end of a round */

void fb_carrier_touch(struct fb_link_port *p)
{
	struct fb_carrier *c = p->carrier;

	if (p->dirty)
		return;
	p->dirty = true;
	p->dirty_next = NULL;
	*c->dirty_tail = p;
	c->dirty_tail = &p->dirty_next;
	if (!c->net_full)
		fb_flush_schedule(c->loop, &c->flush);
}

static struct fb_link_port *take_dirty(struct fb_carrier *c)
{
	struct fb_link_port *p = c->dirty;

	if (!p)
		return NULL;
	c->dirty = p->dirty_next;
	if (!c->dirty)
		c->dirty_tail = &c->dirty;
	p->dirty = false;
	return p;
}

/* Keeps what the net did not take of a batch. Without memory for it, it is lost, as on a network. */
static void keep_rest(struct fb_carrier *c, const struct fb_net_addr *to, const struct fb_link_out *v, unsigned n)
{
	struct fb_carrier_rest *r = &c->rest;
	size_t need = 0, at = 0;

	c->net_full = true;
	for (unsigned i = 0; i < n; i++)
		need += v[i].len;
	if (need > r->cap) {
		uint8_t *bytes = realloc(r->bytes, need);

		if (!bytes)
			return;
		r->bytes = bytes;
		r->cap = need;
	}
	r->to = *to;
	r->n = n;
	r->next = 0;
	for (unsigned i = 0; i < n; i++) {
		memcpy(r->bytes + at, v[i].data, v[i].len);
		r->v[i] = (struct fb_dgram){r->bytes + at, v[i].len};
		at += v[i].len;
	}
}

/* False: the net is still full. */
static bool send_rest(struct fb_carrier *c)
{
	struct fb_carrier_rest *r = &c->rest;

	if (r->next < r->n)
		r->next += c->net->ops->send(c->net, &r->to, r->v + r->next, r->n - r->next);
	c->net_full = r->next < r->n;
	return !c->net_full;
}

/* Sends what the link has. False: the net became full, or the port had its share; it stays dirty. */
static bool drain(struct fb_link_port *p, uint64_t now)
{
	struct fb_carrier *c = p->carrier;
	struct fb_link_out out[FB_CARRIER_BATCH];
	struct fb_dgram v[FB_CARRIER_BATCH];

	for (unsigned sent = 0; sent < FB_CARRIER_BURST;) {
		unsigned n = fb_link_tx(p->link, now, out, FB_CARRIER_BATCH), taken;

		if (!n)
			return true;
		for (unsigned i = 0; i < n; i++)
			v[i] = (struct fb_dgram){out[i].data, out[i].len};
		taken = c->net->ops->send(c->net, &p->peer, v, n);
		if (taken < n) {
			keep_rest(c, &p->peer, out + taken, n - taken);
			return false;
		}
		sent += n;
	}
	return false;
}

static void flush(struct fb_flush *f)
{
	struct fb_carrier *c = (struct fb_carrier *)((char *)f - offsetof(struct fb_carrier, flush));
	struct fb_link_port *p, *last = NULL;
	uint64_t now = fb_clock_ns();

	/* Ports that turn dirty meanwhile, or stay so, come behind `last`, in a further flush of this round or the next. */
	for (p = c->dirty; p; p = p->dirty_next)
		last = p;
	fb_carrier_enter(c);
	while (last && !c->net_full && !c->closing && (p = take_dirty(c))) {
		bool is_last = p == last;

		fb_link_port_announce(p);
		if (p->closed && p->link && !p->down_due)
			fb_link_close(p->link, p->reason, p->text, now);
		if (p->link && !drain(p, now)) {
			fb_carrier_touch(p);
		} else if (p->closed && !p->dirty) { /* closed just now, in writable() or down(): the next flush says goodbye */
			fb_link_port_free(p);
			p = NULL;
		} else if (p->down_told) {
			fb_carrier_forget_port(p); /* our CLOSE is out: whoever still sends is told "unknown" */
		}
		if (p && p->link && fb_timer_set(c->loop, &p->timer, fb_link_deadline(p->link)))
			fb_error(p->name, "out of memory for a timer");
		if (is_last)
			break;
	}
	fb_carrier_leave(c);
}

/* What the net brings */

/*
 * When the batch arrived, by the clock, not by the round's beginning: sending times are the clock's too, and a round
 * trip between the two would be short by what the round had done before, down to nothing on a busy core. Links send
 * nothing while a batch is handed on, so one reading is late enough for all of it.
 */
static uint64_t rx_now(struct fb_carrier *c)
{
	if (!c->rx_now)
		c->rx_now = fb_clock_ns();
	return c->rx_now;
}

static void refuse(struct fb_carrier *c, const struct fb_net_addr *from, const struct fb_link_hello *h,
		   const uint8_t *data, size_t len, enum fb_link_reason reason, const char *text)
{
	uint8_t out[512];
	char address[72];

	if (reason <= FB_LINK_R_NONE || reason >= FB_LINK_REASONS)
		reason = FB_LINK_R_NO_FUNCTION;
	c->stats.refused[reason]++;
	fb_warn_limited(&c->refuse_limit, fb_loop_now(c->loop), NULL, "%s:%s asks for \"%s\": refused: %s%s%s", c->base->name,
			c->base->format(from, address, sizeof(address)), h->function, fb_link_reason_name(reason),
			text ? ": " : "", text ? text : "");
	fb_carrier_send_one(c, from, out, fb_link_refuse(data, len, reason, text ? text : "", out, sizeof(out)));
}

static bool has_ended(const struct fb_carrier *c, uint64_t remote_session)
{
	for (unsigned i = 0; i < FB_CARRIER_ENDED && i < c->next_ended; i++) {
		if (c->ended[i] == remote_session)
			return true;
	}
	return false;
}

/* The session of a root that has come anew is over. */
static void supersede(struct fb_link_port *old)
{
	uint64_t now = fb_loop_now(old->carrier->loop);

	fb_link_close(old->link, FB_LINK_R_SUPERSEDED, "the same root connected anew", now);
	fb_carrier_touch(old);
	fb_link_port_announce(old);
	fb_carrier_end_session(old);
}

static void accept_hello(struct fb_carrier *c, const struct fb_net_addr *from, const struct fb_link_hello *h,
			 const uint8_t *data, size_t len)
{
	struct fb_link_config config = c->link;
	const char *text = NULL;
	char address[72], peer[96];
	struct fb_link_port *p = fb_link_port_new(c, from, h->function);
	uint8_t nonce[16];
	int reason, err;

	if (!p) {
		refuse(c, from, h, data, len, FB_LINK_R_OVERFLOW, "out of memory");
		return;
	}
	p->remote = h->from;
	p->remote_session = h->session;
	snprintf(peer, sizeof(peer), "%s:%s", c->base->name, c->base->format(from, address, sizeof(address)));
	reason = c->acceptor->hello(c->arg, h, peer, &p->port, &p->port.user, &p->port.arg, &text);
	if (!reason && p->closed) { /* by its user, inside hello() */
		reason = p->reason;
		text = p->text;
	}
	if (reason) {
		refuse(c, from, h, data, len, (enum fb_link_reason)reason, text);
		if (!p->dirty)
			fb_link_port_free(p);
		return;
	}
	config.mtu = fb_carrier_mtu(c, from);
	config.clock_ns = fb_carrier_clock();
	err = fb_carrier_random(nonce, sizeof(nonce));
	if (!err)
		err = fb_link_accept(&p->link, &config, &c->self, data, len, nonce, &fb_link_port_user, p,
				     fb_loop_now(c->loop));
	p->begun = !err;
	if (!err)
		err = fb_carrier_add_port(p);
	if (!err) {
		err = table_add(&c->by_hello, p, false);
		p->in_hello_table = !err;
	}
	if (err) {
		/* The user has it already, so it must hear that it is over. */
		refuse(c, from, h, data, len, err == -EPROTO ? FB_LINK_R_VERSION : FB_LINK_R_OVERFLOW, strerror(-err));
		p->reason = FB_LINK_R_OVERFLOW;
		snprintf(p->text, sizeof(p->text), "cannot accept: %s", strerror(-err));
		p->down_due = true;
	}
	fb_carrier_touch(p);
	fb_link_port_announce(p);
}

static void rx_hello(struct fb_carrier *c, const struct fb_net_addr *from, const struct fb_link_hello *h,
		     const uint8_t *data, size_t len)
{
	struct fb_link_port *old;
	char text[96];

	c->stats.hellos++;
	if (!c->acceptor || !c->acceptor->hello) {
		refuse(c, from, h, data, len, FB_LINK_R_NO_FUNCTION, "this is not a box");
		return;
	}
	if (h->version_min > FB_WIRE_VERSION_MAX || h->version_max < FB_WIRE_VERSION_MIN) {
		snprintf(text, sizeof(text), "it speaks %u to %u, this box %u to %u", h->version_min, h->version_max,
			 FB_WIRE_VERSION_MIN, FB_WIRE_VERSION_MAX);
		refuse(c, from, h, data, len, FB_LINK_R_VERSION, text);
		return;
	}
	if (!(h->suites & 1 << FB_WIRE_SUITE_CRC)) {
		refuse(c, from, h, data, len, FB_LINK_R_VERSION, "no suite in common: this box has suite 0 only");
		return;
	}
	old = find_hello(c, h);
	if (old && old->remote_session == h->session) {
		fb_link_rx(old->link, rx_now(c), data, len);
		fb_carrier_touch(old);
		return;
	}
	if (has_ended(c, h->session)) {
		refuse(c, from, h, data, len, FB_LINK_R_UNKNOWN, "that session is over");
		return;
	}
	if (old && h->from.incarnation < old->remote.incarnation) {
		refuse(c, from, h, data, len, FB_LINK_R_SUPERSEDED, "a later start of the same root has it");
		return;
	}
	if (old)
		supersede(old);
	accept_hello(c, from, h, data, len);
}

static void rx_list(struct fb_carrier *c, const struct fb_net_addr *from, const uint8_t *data, size_t len)
{
	struct fb_directory_request request;
	struct fb_directory_page page;
	uint8_t out[2048];
	int err = fb_directory_get_request(&request, data, len);

	if (err == -EBADMSG || !c->acceptor || !c->acceptor->directory) {
		c->stats.rx_bad++;
		return;
	}
	c->stats.directory_requests++;
	memset(&page, 0, sizeof(page));
	page.nonce = request.nonce;
	page.first = request.first;
	page.box = c->self;
	/* Who speaks no version of ours gets an empty page of ours, which says so. */
	if (!err)
		c->acceptor->directory(c->arg, &request, &page);
	fb_carrier_send_one(c, from, out, fb_directory_put_page(&page, out, len < sizeof(out) ? len : sizeof(out)));
}

static void rx_session(struct fb_carrier *c, const struct fb_net_addr *from, uint64_t session, const uint8_t *data,
		       size_t len)
{
	struct fb_link_port *p = find_session(c, session);
	uint8_t out[256];

	if (!p) {
		c->stats.rx_unknown_session++;
		fb_carrier_send_one(c, from, out, fb_link_unknown(data, len, out, sizeof(out)));
		return;
	}
	if (p->closed)
		return; /* its CLOSE leaves at the end of this round, with the reason */
	fb_link_rx(p->link, rx_now(c), data, len);
	fb_carrier_touch(p);
	fb_link_port_announce(p);
}

static void rx(void *arg, const struct fb_net_addr *from, const uint8_t *data, size_t len)
{
	struct fb_carrier *c = arg;
	struct fb_link_hello hello;
	uint64_t session = 0;

	if (c->closing)
		return;
	fb_carrier_enter(c);
	switch (fb_link_classify(data, len, &session, &hello)) {
	case FB_LINK_K_SESSION:
		rx_session(c, from, session, data, len);
		break;
	case FB_LINK_K_HELLO:
		rx_hello(c, from, &hello, data, len);
		break;
	case FB_LINK_K_LIST:
		rx_list(c, from, data, len);
		break;
	case FB_LINK_K_LISTING:
		fb_directory_rx(c, from, data, len);
		break;
	case FB_LINK_K_BAD:
		c->stats.rx_bad++;
		break;
	}
	fb_carrier_leave(c);
}

static void round_end(void *arg)
{
	struct fb_carrier *c = arg;

	c->rx_now = 0;
}

static void net_writable(void *arg)
{
	struct fb_carrier *c = arg;

	if (!c->closing && send_rest(c) && c->dirty)
		fb_flush_schedule(c->loop, &c->flush);
}

const struct fb_net_user fb_carrier_net_user = {rx, round_end, net_writable};

/* Opening and closing */

static int open_net(struct fb_carrier *c, const struct fb_carrier_config *config)
{
	const char *address = config->listen ? config->listen : config->peer, *rest, *peer = NULL;
	int err;

	if (!address) {
		fb_error(NULL, "no address to listen on or to connect to");
		return -EINVAL;
	}
	c->base = fb_net_find(address, &rest);
	if (!c->base) {
		fb_error(NULL, "%s: must begin with one of: %s, and a colon", address, fb_net_names());
		return -EINVAL;
	}
	if (config->peer && fb_net_find(config->peer, &peer) != c->base) {
		fb_error(NULL, "%s: this end is on %s", config->peer, c->base->name);
		return -EINVAL;
	}
	err = c->base->open(&c->net, c->loop, config->listen ? rest : NULL, peer, &fb_carrier_net_user, c);
	if (err)
		return err;
	if (config->fault) {
		err = fb_net_fault_wrap(&c->net, c->loop, config->fault, &fb_carrier_net_user, c);
		if (err)
			c->net->ops->close(c->net);
	}
	return err;
}

int fb_carrier_open(struct fb_carrier **out, struct fb_loop *loop, const struct fb_carrier_config *config,
		    const struct fb_acceptor *acceptor, void *arg)
{
	struct fb_carrier *c = calloc(1, sizeof(*c));
	int err;

	if (!c)
		return -ENOMEM;
	c->loop = loop;
	c->link = config->link;
	c->self = config->self;
	c->tap = config->tap;
	c->accepts_as_root = config->accepts_as_root;
	c->mtu = config->mtu;
	c->acceptor = acceptor;
	c->arg = arg;
	c->dirty_tail = &c->dirty;
	c->flush.flush = flush;
	c->flush.last = true; /* when models have made all that this round is to bring */
	err = open_net(c, config);
	if (err) {
		free(c);
		return err;
	}
	*out = c;
	return 0;
}

static void free_carrier(struct fb_carrier *c)
{
	uint64_t now = fb_clock_ns();
	struct fb_link_port *p;

	fb_directory_forget(c);
	while (take_dirty(c))
		;
	while ((p = c->ports)) {
		p->closed = true;
		if (p->link && !p->down_due) {
			fb_link_close(p->link, p->reason ? p->reason : FB_LINK_R_NORMAL, p->text, now);
			if (!c->net_full)
				drain(p, now);
		}
		take_dirty(c);
		fb_link_port_free(p);
	}
	fb_flush_cancel(&c->flush);
	c->net->ops->close(c->net);
	free(c->by_session.slots);
	free(c->by_hello.slots);
	free(c->rest.bytes);
	free(c);
}

void fb_carrier_close(struct fb_carrier *c)
{
	if (!c)
		return;
	c->closing = true;
	for (struct fb_link_port *p = c->ports; p; p = p->next)
		p->closed = true; /* no callback from here on */
	if (!c->depth)
		free_carrier(c);
}

const struct fb_net_stats *fb_carrier_net_stats(struct fb_carrier *c)
{
	return c->net->ops->stats(c->net);
}

const struct fb_carrier_stats *fb_carrier_stats(struct fb_carrier *c)
{
	return &c->stats;
}

char *fb_carrier_local(struct fb_carrier *c, char *buf, size_t cap)
{
	struct fb_net_addr addr = {0};
	char text[72];

	if (!c->net->ops->local || c->net->ops->local(c->net, &addr))
		snprintf(buf, cap, "%s", c->base->name);
	else
		snprintf(buf, cap, "%s:%s", c->base->name, c->base->format(&addr, text, sizeof(text)));
	return buf;
}
