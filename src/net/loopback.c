/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Ends of the loopback backend find each other by name, within a thread: an
 * end that listens has the name it was given, the others get "~1", "~2" … .
 * Each end has one bounded ring of datagrams that came for it; a timer that is
 * due at once hands them on in the next round of its loop, no more than were
 * there when it began, so two ends cannot keep a round to themselves. A full
 * ring makes send() short, and draining it tells those who waited.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/net.h"
#include "util/log.h"
#include "util/loop.h"

enum {
	RING = 4 << 20, /* bytes; a power of 2 */
	MTU = 16384,
	NAME_MAX_BYTES = 30,
	SKIP = UINT32_MAX, /* record length: the rest of the ring's end is unused */
};

struct record {
	_Alignas(64) uint32_t len;
	struct fb_net_addr from;
};
_Static_assert(RING % sizeof(struct record) == 0, "a record never straddles the ring's end");

struct end {
	struct fb_net net;
	struct fb_loop *loop;
	const struct fb_net_user *user;
	void *arg;
	struct fb_net_addr name;
	struct end *next; /* all ends of this thread */

	uint8_t *ring;
	uint64_t head, tail; /* bytes ever put, ever taken */
	struct fb_timer wake;

	bool waits;        /* was told "full" and wants writable() */
	struct fb_timer writable;
	bool delivering, closed;
	struct fb_net_stats stats;
};

static _Thread_local struct end *ends;
static _Thread_local unsigned next_number;

static int loopback_parse(const char *text, struct fb_net_addr *addr)
{
	size_t n = strlen(text);

	if (n < 1 || n > NAME_MAX_BYTES)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		if (text[i] <= ' ' || text[i] > '~')
			return -EINVAL;
	}
	memset(addr, 0, sizeof(*addr));
	addr->len = (uint8_t)n;
	memcpy(addr->bytes, text, n);
	return 0;
}

static char *loopback_format(const struct fb_net_addr *addr, char *buf, size_t cap)
{
	snprintf(buf, cap, "%.*s", addr->len, (const char *)addr->bytes);
	return buf;
}

static struct end *find(const struct fb_net_addr *name)
{
	struct end *e = ends;

	while (e && (e->name.len != name->len || memcmp(e->name.bytes, name->bytes, name->len)))
		e = e->next;
	return e;
}

static size_t record_size(uint32_t len)
{
	return (sizeof(struct record) + len + sizeof(struct record) - 1) / sizeof(struct record) * sizeof(struct record);
}

/* False: no room. */
static bool put(struct end *to, const struct end *from, const struct fb_dgram *d)
{
	size_t need = record_size(d->len), at = to->head % RING, gap = need > RING - at ? RING - at : 0;
	struct record *r = (struct record *)(to->ring + at);

	if (to->head - to->tail + gap + need > RING)
		return false;
	if (gap) {
		r->len = SKIP;
		to->head += gap;
		r = (struct record *)to->ring;
	}
	r->len = d->len;
	r->from = from->name;
	if (d->len)
		memcpy(r + 1, d->data, d->len);
	to->head += need;
	return true;
}

/* All senders that found some ring full try again; those whose ring is not this one will just be short again. */
static void tell_waiting(void)
{
	for (struct end *e = ends; e; e = e->next) {
		if (e->waits) {
			e->waits = false;
			fb_timer_set(e->loop, &e->writable, 1);
		}
	}
}

static void deliver(struct fb_timer *t)
{
	struct end *e = (struct end *)((char *)t - offsetof(struct end, wake));
	uint64_t until = e->head;

	e->delivering = true;
	e->stats.rx_calls++;
	while (e->tail < until && !e->closed) {
		size_t at = e->tail % RING;
		const struct record *r = (const struct record *)(e->ring + at);

		if (r->len == SKIP) {
			e->tail += RING - at;
			continue;
		}
		e->stats.rx_datagrams++;
		e->stats.rx_bytes += r->len;
		e->user->rx(e->arg, &r->from, (const uint8_t *)(r + 1), r->len);
		e->tail += record_size(r->len);
	}
	if (!e->closed)
		e->user->round_end(e->arg);
	e->delivering = false;
	tell_waiting();
	if (e->closed) {
		free(e->ring);
		free(e);
	} else if (e->tail < e->head) {
		fb_timer_set(e->loop, &e->wake, 1);
	}
}

static void tell_writable(struct fb_timer *t)
{
	struct end *e = (struct end *)((char *)t - offsetof(struct end, writable));

	e->user->writable(e->arg);
}

static int loopback_open(struct fb_net **out, struct fb_loop *loop, const char *listen, const char *peer,
			 const struct fb_net_user *user, void *arg)
{
	struct fb_net_addr name;
	struct end *e;
	char made_up[16];

	if (listen && *listen) {
		if (loopback_parse(listen, &name) || listen[0] == '~') {
			fb_error(NULL, "loopback:%s: must be loopback:NAME, at most %d printable characters", listen,
				 NAME_MAX_BYTES);
			return -EINVAL;
		}
	} else {
		snprintf(made_up, sizeof(made_up), "~%u", ++next_number);
		loopback_parse(made_up, &name);
	}
	if (find(&name)) {
		fb_error(NULL, "loopback:%s: address in use", listen);
		return -EADDRINUSE;
	}
	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->ring = aligned_alloc(64, RING);
	if (!e->ring) {
		free(e);
		return -ENOMEM;
	}
	e->net.ops = &fb_net_loopback;
	e->loop = loop;
	e->user = user;
	e->arg = arg;
	e->name = name;
	e->wake.due = deliver;
	e->writable.due = tell_writable;
	e->next = ends;
	ends = e;
	*out = &e->net;
	return 0;
}

static void loopback_close(struct fb_net *net)
{
	struct end *e = (struct end *)net, **link = &ends;

	while (*link != e)
		link = &(*link)->next;
	*link = e->next;
	fb_timer_cancel(&e->wake);
	fb_timer_cancel(&e->writable);
	e->closed = true;
	tell_waiting(); /* who waited for our ring now sends into nothing, as to a host that is gone */
	if (!e->delivering) {
		free(e->ring);
		free(e);
	}
}

static unsigned loopback_send(struct fb_net *net, const struct fb_net_addr *to, const struct fb_dgram *v, unsigned n)
{
	struct end *e = (struct end *)net, *peer = find(to);

	e->stats.tx_calls++;
	for (unsigned i = 0; i < n; i++) {
		if (!peer || v[i].len > MTU) {
			e->stats.tx_errors++;
			continue;
		}
		if (!put(peer, e, &v[i])) {
			e->stats.tx_full++;
			e->waits = true;
			return i;
		}
		if (!peer->wake.heap_index && !peer->delivering)
			fb_timer_set(peer->loop, &peer->wake, 1);
		e->stats.tx_datagrams++;
		e->stats.tx_bytes += v[i].len;
	}
	return n;
}

static uint32_t loopback_mtu(struct fb_net *net, const struct fb_net_addr *to)
{
	return MTU;
}

static const struct fb_net_stats *loopback_stats(struct fb_net *net)
{
	return &((struct end *)net)->stats;
}

static int loopback_local(struct fb_net *net, struct fb_net_addr *addr)
{
	*addr = ((struct end *)net)->name;
	return 0;
}

const struct fb_net_ops fb_net_loopback = {
	.name = "loopback",
	.syntax = "loopback:NAME",
	.open = loopback_open,
	.close = loopback_close,
	.parse = loopback_parse,
	.format = loopback_format,
	.send = loopback_send,
	.mtu = loopback_mtu,
	.stats = loopback_stats,
	.local = loopback_local,
};
