/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "link/impl.h"
#include "sim.h"

enum { TLP_MIN = 40, CPL_MAX = 256 };

struct sim_event {
	uint64_t at, order;
	unsigned to;
	uint32_t len;
	uint8_t *data;
};

void sim_fail(const struct sim *s, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	fprintf(stderr, "%s, seed %" PRIu64 ", at %" PRIu64 " us: ", s->what, s->seed, s->now / SIM_US);
	vfprintf(stderr, format, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	for (unsigned e = 0; e < 2; e++) {
		const struct sim_end *x = &s->end[e];

		fprintf(stderr, "  %s: sent %" PRIu64 "/%" PRIu64 "/%" PRIu64 " got %" PRIu64 "/%" PRIu64 "/%" PRIu64
				" %s %s\n",
			e ? "box" : "root", x->sent[0], x->sent[1], x->sent[2], x->got[0], x->got[1], x->got[2],
			x->link ? fb_link_state_name(fb_link_state(x->link)) : "none", fb_link_reason_name(x->reason));
	}
	abort();
}

uint64_t sim_random(struct sim *s, uint64_t below)
{
	uint64_t z = s->rng += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	z ^= z >> 31;
	return below ? z % below : 0;
}

bool sim_chance(struct sim *s, double p)
{
	return p > 0 && (double)sim_random(s, UINT64_C(1) << 53) < p * (double)(UINT64_C(1) << 53);
}

/* The network: a heap of datagrams by time of arrival */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void push(struct sim *s, unsigned to, uint64_t at, const uint8_t *data, uint32_t len)
{
	struct sim_event e = {.at = at, .order = s->order++, .to = to, .len = len, .data = malloc(len)};
	unsigned i = s->n_events++;

	if (s->n_events > s->cap_events) {
		s->cap_events = s->cap_events ? 2 * s->cap_events : 256;
		s->events = realloc(s->events, s->cap_events * sizeof(e));
	}
	if (!s->events || !e.data)
		abort();
	memcpy(e.data, data, len);
	for (; i && before(&e, &s->events[(i - 1) / 2]); i = (i - 1) / 2)
		s->events[i] = s->events[(i - 1) / 2];
	s->events[i] = e;
}

static struct sim_event pop(struct sim *s)
{
	struct sim_event top = s->events[0], last = s->events[--s->n_events];
	unsigned i = 0, child;

	for (; (child = 2 * i + 1) < s->n_events; i = child) {
		if (child + 1 < s->n_events && before(&s->events[child + 1], &s->events[child]))
			child++;
		if (!before(&s->events[child], &last))
			break;
		s->events[i] = s->events[child];
	}
	if (s->n_events)
		s->events[i] = last;
	return top;
}

static void transmit(struct sim *s, unsigned from, const uint8_t *data, uint32_t len)
{
	struct sim_end *e = &s->end[from];
	struct sim_net *n = &e->net;
	uint32_t mtu = n->mtu_then && s->now >= n->mtu_at ? n->mtu_then : n->mtu;
	uint64_t at = s->now;
	unsigned copies = 1;

	e->tx_datagrams++;
	e->tx_bytes += len;
	if ((mtu && len > mtu) || (s->now >= n->down_from && s->now < n->down_till) || sim_chance(s, n->loss)) {
		e->dropped++;
		return;
	}
	if (n->rate) {
		uint64_t ns = (uint64_t)(len + 66) * 8 * SIM_S / n->rate;

		if (e->wire_free < s->now)
			e->wire_free = s->now;
		if (n->buffer && (e->wire_free - s->now) * (n->rate / 8) / SIM_S > n->buffer) {
			e->dropped++;
			return;
		}
		e->wire_free += ns;
		at = e->wire_free;
	}
	at += n->delay + sim_random(s, n->jitter + 1);
	if (sim_chance(s, n->reorder))
		at += sim_random(s, n->reorder_delay + 1);
	else if (at < e->last_arrival)
		at = e->last_arrival;
	else
		e->last_arrival = at;
	if (sim_chance(s, n->duplicate))
		copies = 2;
	while (copies--) {
		if (sim_chance(s, n->corrupt)) {
			static uint8_t bad[65536];

			memcpy(bad, data, len);
			for (unsigned k = 1 + (unsigned)sim_random(s, 4); k; k--)
				bad[sim_random(s, len)] ^= (uint8_t)(1 + sim_random(s, 255));
			push(s, !from, at, bad, len);
		} else {
			push(s, !from, at, data, len);
		}
		at += sim_random(s, n->delay + 1);
	}
}

/* The users */

static void fill(uint8_t *p, size_t len, uint64_t key)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)((key + i) * 167 >> 3);
}

static unsigned end_of(const struct sim *s, const struct sim_end *e) { return e == &s->end[1]; }

static struct sim *current; /* the callbacks get the end; there is one simulation at a time */

static bool on_deliver(void *arg, enum fb_link_class cls, const uint8_t *tlp, size_t len)
{
	struct sim_end *e = arg;
	struct sim *s = current;
	uint8_t want[FB_LINK_TLP_MAX];
	uint64_t number = fb_get_be64(tlp + 8), posted = fb_get_be64(tlp + 16);
	unsigned side = end_of(s, e);

	if (len < TLP_MIN || tlp[0] != cls || tlp[1] != !side)
		sim_fail(s, "a TLP of %zu bytes is not what was sent", len);
	if (number != e->got[cls])
		sim_fail(s, "class %u: number %" PRIu64 " instead of %" PRIu64, cls, number, e->got[cls]);
	if (fb_get_be32(tlp + 4) != len)
		sim_fail(s, "class %u number %" PRIu64 ": %zu bytes instead of %u", cls, number, len, fb_get_be32(tlp + 4));
	if (cls != FB_LINK_P && e->got[FB_LINK_P] < posted)
		sim_fail(s, "class %u number %" PRIu64 " passed a posted TLP", cls, number);
	fill(want, len - 24, number);
	if (memcmp(want, tlp + 24, len - 24))
		sim_fail(s, "class %u number %" PRIu64 ": other content", cls, number);
	e->got[cls]++;
	e->got_bytes += len;
	if (cls == FB_LINK_CPL)
		return true;
	if (cls == FB_LINK_NP && e->traffic.hold_np) {
		e->stuck_np++;
		return false;
	}
	if (e->held < SIM_HELD && sim_random(s, 100) < e->traffic.hold) {
		e->hold[e->held].at = s->now + sim_random(s, e->traffic.hold_for + 1);
		e->hold[e->held].cls = cls;
		e->hold[e->held++].len = (uint32_t)len;
		return false;
	}
	return true;
}

static void on_state(void *arg, enum fb_link_state state, enum fb_link_reason reason, const char *text)
{
	struct sim_end *e = arg;
	struct sim *s = current;

	if (state == FB_LINK_UP) {
		e->ups++;
	} else {
		e->deads++;
		e->reason = reason;
		e->died_at = s->now;
		if (!text || reason == FB_LINK_R_NONE)
			sim_fail(s, "dead without a reason");
	}
}

static void on_writable(void *arg, enum fb_link_class cls)
{
	struct sim_end *e = arg;

	e->blocked[cls] = false;
}

static const struct fb_link_user user = {on_deliver, on_state, on_writable};

static bool more(const struct sim *s, unsigned side)
{
	const struct sim_end *e = &s->end[side], *peer = &s->end[!side];

	if (!e->link || fb_link_state(e->link) != FB_LINK_UP || s->quiet_users)
		return false;
	for (unsigned c = 0; c < FB_LINK_CLASSES; c++)
		if (e->sent[c] < e->traffic.total[c] && !e->blocked[c] &&
		    (c != FB_LINK_CPL || e->sent[c] - peer->got[c] < CPL_MAX))
			return true;
	return false;
}

static void send_some(struct sim *s, unsigned side)
{
	struct sim_end *e = &s->end[side], *peer = &s->end[!side];
	unsigned n = 1 + (unsigned)sim_random(s, e->traffic.burst);

	for (unsigned tries = 0; n && tries < 4 * e->traffic.burst + 8; tries++) {
		unsigned c = e->traffic.fixed ? FB_LINK_P : (unsigned)sim_random(s, FB_LINK_CLASSES);
		uint8_t tlp[FB_LINK_TLP_MAX];
		size_t len = TLP_MIN + sim_random(s, e->traffic.max_size - TLP_MIN + 1), head;
		int err;

		if (e->sent[c] >= e->traffic.total[c] || e->blocked[c] ||
		    (c == FB_LINK_CPL && e->sent[c] - peer->got[c] >= CPL_MAX))
			continue;
		if (e->traffic.fixed)
			len = e->traffic.max_size;
		else if (sim_chance(s, 0.3))
			len = TLP_MIN;
		memset(tlp, 0, 24);
		tlp[0] = (uint8_t)c;
		tlp[1] = (uint8_t)side;
		fb_put_be32(tlp + 4, (uint32_t)len);
		fb_put_be64(tlp + 8, e->sent[c]);
		fb_put_be64(tlp + 16, e->sent[FB_LINK_P]);
		fill(tlp + 24, len - 24, e->sent[c]);
		head = sim_random(s, len + 1);
		err = fb_link_send(e->link, (enum fb_link_class)c, tlp, head, tlp + head, len - head);
		if (err == -EAGAIN && c != FB_LINK_CPL) {
			e->blocked[c] = true;
			continue;
		}
		if (err)
			sim_fail(s, "send: %s", strerror(-err));
		e->sent[c]++;
		n--;
	}
	e->next_send = s->now + sim_random(s, e->traffic.gap + 1);
}

static void release_due(struct sim *s, struct sim_end *e)
{
	for (unsigned i = 0; i < e->held;) {
		if (e->hold[i].at > s->now) {
			i++;
			continue;
		}
		if (e->link)
			fb_link_release(e->link, e->hold[i].cls, e->hold[i].len);
		e->hold[i] = e->hold[--e->held];
	}
}

/* What a carrier does with datagrams */

static void nonce(struct sim *s, uint8_t out[16])
{
	fb_put_be64(out, sim_random(s, UINT64_MAX));
	/* Numbers and positions start just below their 32-bit wraps, mostly. */
	fb_put_be32(out + 8, (uint32_t)(sim_chance(s, 0.8) ? 0 - sim_random(s, 300) : sim_random(s, UINT32_MAX)));
	fb_put_be32(out + 12, (uint32_t)(sim_chance(s, 0.8) ? 0 - sim_random(s, 100000) : sim_random(s, UINT32_MAX)));
}

static void forget(struct sim_end *e)
{
	fb_link_free(e->link);
	e->link = NULL;
	e->held = 0;
	memset(e->blocked, 0, sizeof(e->blocked));
}

static void rx_hello(struct sim *s, unsigned side, const struct fb_link_hello *h, const uint8_t *d, uint32_t len)
{
	struct sim_end *e = &s->end[side];
	uint8_t out[256], n[16];
	size_t size;

	if (side == 0 || strcmp(h->function, "ssd0")) {
		size = fb_link_refuse(d, len, FB_LINK_R_NO_FUNCTION, "no such function", out, sizeof(out));
		transmit(s, side, out, (uint32_t)size);
		return;
	}
	if (e->link && fb_link_peer_session(e->link) == h->session) {
		fb_link_rx(e->link, s->now, d, len);
		return;
	}
	if (e->ignore_hellos)
		return;
	if (e->link)
		forget(e);
	if (e->sessions) {
		/* A new session: the users begin anew. */
		memset(e->sent, 0, sizeof(e->sent));
		memset(e->got, 0, sizeof(e->got));
	}
	e->sessions++;
	nonce(s, n);
	if (fb_link_accept(&e->link, &e->config, &e->self, d, len, n, &user, e, s->now))
		sim_fail(s, "accept");
}

static void arrive(struct sim *s, const struct sim_event *ev)
{
	struct sim_end *e = &s->end[ev->to];
	struct fb_link_hello hello;
	uint8_t out[256];
	uint64_t session;
	size_t size;

	switch (fb_link_classify(ev->data, ev->len, &session, &hello)) {
	case FB_LINK_K_HELLO:
		rx_hello(s, ev->to, &hello, ev->data, ev->len);
		break;
	case FB_LINK_K_SESSION:
		if (e->link && fb_link_session(e->link) == session) {
			fb_link_rx(e->link, s->now, ev->data, ev->len);
			break;
		}
		size = fb_link_unknown(ev->data, ev->len, out, sizeof(out));
		if (size)
			transmit(s, ev->to, out, (uint32_t)size);
		break;
	default:
		break;
	}
}

static void check_bounds(const struct sim *s, const struct sim_end *e)
{
	const struct fb_link *l = e->link;

	if (!l || fb_link_state(l) != FB_LINK_UP)
		return;
	for (unsigned c = 0; c < FB_LINK_CPL; c++)
		if (l->queued[c] > (size_t)l->config.send_queue + FB_WIRE_RECORD_MAX)
			sim_fail(s, "%zu bytes of class %u wait, %u are allowed", l->queued[c], c, l->config.send_queue);
	if (l->queued[FB_LINK_CPL] > (size_t)CPL_MAX * FB_WIRE_RECORD_MAX)
		sim_fail(s, "more completions wait than were sent");
	if (l->slab.end - l->slab.una > l->slab.n || l->in_flight > (uint64_t)l->slab.n * l->slab.stride)
		sim_fail(s, "the slab is overfull");
	if (l->ranges.n && l->ranges.v[l->ranges.n - 1].end - l->rcv_next > l->rcv_window)
		sim_fail(s, "more is kept than the window holds");
	if (l->assembled >= FB_WIRE_RECORD_MAX)
		sim_fail(s, "assembly");
}

static void drain(struct sim *s, unsigned side)
{
	struct sim_end *e = &s->end[side];
	struct fb_link_out out[16];
	unsigned n, rounds = 0;

	while (e->link && (n = fb_link_tx(e->link, s->now, out, 1 + (unsigned)sim_random(s, 16)))) {
		for (unsigned i = 0; i < n; i++)
			transmit(s, side, out[i].data, out[i].len);
		if (++rounds > 100000)
			sim_fail(s, "fb_link_tx() never ends");
	}
	check_bounds(s, e);
}

static uint64_t next_time(const struct sim *s)
{
	uint64_t t = s->n_events ? s->events[0].at : UINT64_MAX;

	for (unsigned side = 0; side < 2; side++) {
		const struct sim_end *e = &s->end[side];

		if (e->link && fb_link_deadline(e->link) < t)
			t = fb_link_deadline(e->link);
		if (more(s, side) && e->next_send < t)
			t = e->next_send;
		for (unsigned i = 0; i < e->held; i++)
			if (e->hold[i].at < t)
				t = e->hold[i].at;
	}
	return t > s->now ? t : s->now;
}

bool sim_run(struct sim *s, uint64_t till, bool (*done)(const struct sim *s))
{
	uint64_t stuck = 0;

	current = s;
	for (;;) {
		uint64_t t = next_time(s);

		if (done && done(s))
			return true;
		if (t > till) {
			s->now = till;
			return false;
		}
		stuck = t == s->now ? stuck + 1 : 0;
		if (stuck > 1000000)
			sim_fail(s, "time stands still");
		s->now = t;
		s->steps++;
		while (s->n_events && s->events[0].at <= s->now) {
			struct sim_event ev = pop(s);

			arrive(s, &ev);
			free(ev.data);
		}
		for (unsigned side = 0; side < 2; side++) {
			struct sim_end *e = &s->end[side];

			release_due(s, e);
			if (e->link && fb_link_deadline(e->link) <= s->now)
				fb_link_timeout(e->link, s->now);
			if (more(s, side) && e->next_send <= s->now)
				send_some(s, side);
			drain(s, side);
		}
	}
}

bool sim_all_delivered(const struct sim *s)
{
	for (unsigned side = 0; side < 2; side++)
		for (unsigned c = 0; c < FB_LINK_CLASSES; c++)
			if (s->end[!side].got[c] < s->end[side].traffic.total[c])
				return false;
	return true;
}

bool sim_both_dead(const struct sim *s)
{
	for (unsigned side = 0; side < 2; side++)
		if (s->end[side].link && fb_link_state(s->end[side].link) != FB_LINK_DEAD)
			return false;
	return true;
}

void sim_init(struct sim *s, uint64_t seed, const char *what)
{
	memset(s, 0, sizeof(*s));
	s->seed = s->rng = seed;
	s->what = what;
	s->now = SIM_S;
	for (unsigned side = 0; side < 2; side++) {
		struct sim_end *e = &s->end[side];

		fb_link_config_default(&e->config);
		e->self.node[0] = (uint8_t)(side + 1);
		e->self.incarnation = 1;
		e->net.delay = 50 * SIM_US;
		e->traffic.max_size = 1024;
		e->traffic.burst = 4;
	}
}

void sim_connect(struct sim *s)
{
	struct sim_end *e = &s->end[0];
	uint8_t n[16];

	current = s;
	if (e->link)
		forget(e);
	memset(e->sent, 0, sizeof(e->sent));
	memset(e->got, 0, sizeof(e->got));
	e->ups = e->deads = 0;
	nonce(s, n);
	e->sessions++;
	if (fb_link_connect(&e->link, &e->config, &e->self, "ssd0", n, &user, e, s->now))
		sim_fail(s, "connect");
	drain(s, 0);
}

void sim_kill(struct sim *s, unsigned end)
{
	forget(&s->end[end]);
}

void sim_free(struct sim *s)
{
	while (s->n_events)
		free(pop(s).data);
	free(s->events);
	for (unsigned side = 0; side < 2; side++)
		forget(&s->end[side]);
}
