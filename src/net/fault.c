/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Every datagram draws its fate in a fixed number of draws from one seeded
 * generator, so the n-th datagram's fate depends on the seed and n alone, and
 * switching one fault on leaves the others' choices as they were.
 *
 * A datagram passes, in this order: drop; corrupt (bits flipped in a copy);
 * duplicate; rate (a queue in front of a wire of that rate, what overfills it
 * is dropped); delay with jitter, which keeps the order, as a network path does;
 * reorder (held back a little longer, so that later ones overtake).
 *
 * Without rate, delay or reordering nothing is queued: datagrams go straight
 * through. Otherwise copies wait in a heap ordered by the time they are due,
 * then by arrival. What waits is bounded in bytes; above that it is dropped.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/net.h"
#include "util/log.h"
#include "util/loop.h"
#include "util/text.h"

enum {
	HELD_MAX = 64 << 20,       /* bytes in the heap, whatever the delay */
	DGRAM_MAX = 65536,
	BATCH = 64,
	REORDER_HOLD_NS = 1000000, /* at most */
	FLIPS = 8,                 /* bits of a corrupted datagram, at most */
};

struct packet {
	uint64_t due, number;
	struct fb_net_addr to;
	uint32_t len;
	uint8_t data[];
};

struct settings {
	uint64_t drop, reorder, dup, corrupt; /* parts of 2^32 */
	uint64_t delay_ns, jitter_ns, rate, queue, seed;
	char *delay;
};

struct fault {
	struct fb_net net;
	struct fb_net_ops ops; /* ours, with the inner one's parse and format */
	struct fb_net *inner;
	struct fb_loop *loop;
	struct settings set;
	uint64_t random;

	struct fb_timer timer;
	struct packet **heap; /* heap[1] is due next */
	unsigned n, cap;
	uint64_t held, number;
	uint64_t wire_free;  /* rate: when the wire has sent what it has */
	uint64_t last_due;   /* delay: order is kept */

	uint8_t scratch[DGRAM_MAX];
	struct fb_net_stats stats, sum; /* sum: with the inner one's, as last asked for */
};

/* splitmix64 */
static uint64_t draw(struct fault *f)
{
	uint64_t z = f->random += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static bool hit(uint64_t random, uint64_t share)
{
	return random >> 32 < share;
}

/* What waits: a binary heap */

static bool before(const struct packet *a, const struct packet *b)
{
	return a->due != b->due ? a->due < b->due : a->number < b->number;
}

static bool push(struct fault *f, struct packet *p)
{
	unsigned i;

	if (f->n + 1 >= f->cap) {
		unsigned cap = f->cap ? 2 * f->cap : 256;
		struct packet **heap = realloc(f->heap, cap * sizeof(struct packet *));

		if (!heap)
			return false;
		f->heap = heap;
		f->cap = cap;
	}
	for (i = ++f->n; i > 1 && before(p, f->heap[i / 2]); i /= 2)
		f->heap[i] = f->heap[i / 2];
	f->heap[i] = p;
	f->held += p->len;
	return true;
}

static struct packet *pop(struct fault *f)
{
	struct packet *top = f->heap[1], *last = f->heap[f->n--];
	unsigned i = 1;

	for (unsigned child; (child = 2 * i) <= f->n; i = child) {
		if (child < f->n && before(f->heap[child + 1], f->heap[child]))
			child++;
		if (!before(f->heap[child], last))
			break;
		f->heap[i] = f->heap[child];
	}
	f->heap[i] = last;
	f->held -= top->len;
	return top;
}

/* The inner backend's full queue is the network's: what does not fit is lost. */
static void pass(struct fault *f, const struct fb_net_addr *to, const struct fb_dgram *v, unsigned n)
{
	unsigned taken = n ? f->inner->ops->send(f->inner, to, v, n) : 0;

	f->stats.fault_dropped += n - taken;
}

static bool same_addr(const struct fb_net_addr *a, const struct fb_net_addr *b)
{
	return a->len == b->len && !memcmp(a->bytes, b->bytes, a->len);
}

/* Sends what is due, in rows to one peer. */
static void release(struct fb_timer *t)
{
	struct fault *f = (struct fault *)((char *)t - offsetof(struct fault, timer));
	uint64_t now = fb_loop_now(f->loop);

	while (f->n && f->heap[1]->due <= now) {
		struct packet *p[BATCH];
		struct fb_dgram v[BATCH];
		unsigned n = 0;

		while (n < BATCH && f->n && f->heap[1]->due <= now && (!n || same_addr(&p[0]->to, &f->heap[1]->to))) {
			p[n] = pop(f);
			v[n] = (struct fb_dgram){p[n]->data, p[n]->len};
			n++;
		}
		pass(f, &p[0]->to, v, n);
		while (n)
			free(p[--n]);
	}
	if (f->n)
		fb_timer_set(f->loop, &f->timer, f->heap[1]->due);
}

static void hold(struct fault *f, const struct fb_net_addr *to, const struct fb_dgram *d, uint64_t late_random,
		 uint64_t reorder_random)
{
	uint64_t now = fb_loop_now(f->loop), due = now;
	struct packet *p;

	if (f->set.rate) {
		uint64_t start = f->wire_free > now ? f->wire_free : now;
		uint64_t waiting = (uint64_t)((__uint128_t)(start - now) * f->set.rate / 8000000000u);

		if (waiting + d->len > f->set.queue) {
			f->stats.fault_dropped++;
			return;
		}
		f->wire_free = due = start + (uint64_t)d->len * 8000000000u / f->set.rate;
	}
	if (f->set.delay_ns || f->set.jitter_ns) {
		uint64_t low = f->set.delay_ns > f->set.jitter_ns ? f->set.delay_ns - f->set.jitter_ns : 0;
		uint64_t span = f->set.delay_ns + f->set.jitter_ns - low;

		due += low + (span ? late_random % (span + 1) : 0);
		if (due < f->last_due)
			due = f->last_due;
		f->last_due = due;
		f->stats.fault_delayed++;
	}
	if (hit(reorder_random, f->set.reorder)) {
		f->stats.fault_reordered++;
		due += 1 + (reorder_random & 0xffffffff) % REORDER_HOLD_NS;
	}
	p = f->held + d->len <= HELD_MAX ? malloc(sizeof(*p) + d->len) : NULL;
	if (!p) {
		f->stats.fault_dropped++;
		return;
	}
	p->due = due;
	p->number = f->number++;
	p->to = *to;
	p->len = d->len;
	memcpy(p->data, d->data, d->len);
	if (!push(f, p)) {
		free(p);
		f->stats.fault_dropped++;
	}
}

static void flip_bits(struct fault *f, struct fb_dgram *d, uint64_t random)
{
	memcpy(f->scratch, d->data, d->len);
	for (unsigned flips = 1 + random % FLIPS; flips; flips--) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		f->scratch[(random >> 33) % d->len] ^= (uint8_t)(1u << (random >> 30 & 7));
	}
	d->data = f->scratch;
	f->stats.fault_corrupted++;
}

static unsigned fault_send(struct fb_net *net, const struct fb_net_addr *to, const struct fb_dgram *v, unsigned n)
{
	struct fault *f = (struct fault *)net;
	bool queue = f->set.rate || f->set.delay_ns || f->set.jitter_ns || f->set.reorder;
	unsigned row = 0; /* v[row..i) go straight through, together */

	for (unsigned i = 0; i < n; i++) {
		uint64_t drop = draw(f), corrupt = draw(f), dup = draw(f), late = draw(f), reorder = draw(f);
		struct fb_dgram d = v[i];
		bool twice = hit(dup, f->set.dup), damaged = hit(corrupt, f->set.corrupt) && d.len && d.len <= DGRAM_MAX;

		if (hit(drop, f->set.drop)) {
			f->stats.fault_dropped++;
			pass(f, to, v + row, i - row);
			row = i + 1;
			continue;
		}
		if (damaged)
			flip_bits(f, &d, corrupt);
		f->stats.fault_duplicated += twice;
		if (queue) {
			hold(f, to, &d, late, reorder);
			if (twice)
				hold(f, to, &d, late, reorder);
			row = i + 1;
		} else if (damaged || twice) {
			pass(f, to, v + row, i - row);
			for (unsigned times = 1 + twice; times; times--)
				pass(f, to, &d, 1);
			row = i + 1;
		}
	}
	pass(f, to, v + row, n - row);
	if (f->n && (!f->timer.heap_index || f->timer.deadline_ns > f->heap[1]->due))
		fb_timer_set(f->loop, &f->timer, f->heap[1]->due);
	return n;
}

static void free_fault(struct fault *f)
{
	fb_timer_cancel(&f->timer);
	for (unsigned i = 1; i <= f->n; i++)
		free(f->heap[i]);
	free(f->heap);
	free(f->set.delay);
	free(f);
}

static void fault_close(struct fb_net *net)
{
	struct fault *f = (struct fault *)net;

	f->inner->ops->close(f->inner);
	free_fault(f);
}

static uint32_t fault_mtu(struct fb_net *net, const struct fb_net_addr *to)
{
	struct fault *f = (struct fault *)net;

	return f->inner->ops->mtu(f->inner, to);
}

static const struct fb_net_stats *fault_stats(struct fb_net *net)
{
	struct fault *f = (struct fault *)net;
	const struct fb_net_stats *own = &f->stats;

	f->sum = *f->inner->ops->stats(f->inner);
	f->sum.fault_dropped += own->fault_dropped;
	f->sum.fault_duplicated += own->fault_duplicated;
	f->sum.fault_reordered += own->fault_reordered;
	f->sum.fault_corrupted += own->fault_corrupted;
	f->sum.fault_delayed += own->fault_delayed;
	return &f->sum;
}

static int fault_local(struct fb_net *net, struct fb_net_addr *addr)
{
	struct fault *f = (struct fault *)net;

	return f->inner->ops->local ? f->inner->ops->local(f->inner, addr) : -ENOTSUP;
}

/* "1ms±0.5", "1ms+-500us": without a unit of its own the jitter has the delay's. */
static int parse_delay(struct settings *s)
{
	char *text = s->delay, *sign, *jitter = NULL, *unit, whole[64];

	sign = strstr(text, "±");
	if (sign) {
		jitter = sign + strlen("±");
	} else if ((sign = strstr(text, "+-"))) {
		jitter = sign + 2;
	}
	if (sign)
		*sign = '\0';
	if (fb_parse_duration_ns(text, &s->delay_ns))
		return -EINVAL;
	if (jitter && fb_parse_duration_ns(jitter, &s->jitter_ns)) {
		unit = text + strspn(text, "0123456789.");
		if (snprintf(whole, sizeof(whole), "%s%s", jitter, unit) >= (int)sizeof(whole) ||
		    fb_parse_duration_ns(whole, &s->jitter_ns))
			return -EINVAL;
	}
	return s->delay_ns > 60000000000 || s->jitter_ns > 60000000000 ? -ERANGE : 0;
}

static int parse(struct settings *s, const char *spec)
{
#define AT(member) .offset = offsetof(struct settings, member)
#define SHARE .type = FB_OPTION_SHARE, .min = 0, .max = 1ull << 32
	static const struct fb_text_option table[] = {
		{.key = "drop", SHARE, AT(drop), .help = "datagrams lost"},
		{.key = "reorder", SHARE, AT(reorder), .help = "datagrams held back by up to 1 ms, so that later ones overtake"},
		{.key = "dup", SHARE, AT(dup), .help = "datagrams sent twice"},
		{.key = "corrupt", SHARE, AT(corrupt), .help = "datagrams with 1 to 8 bits flipped"},
		{.key = "delay", .type = FB_OPTION_STRING, AT(delay), .help = "TIME or TIME±JITTER, in order"},
		{.key = "rate", .type = FB_OPTION_RATE, .min = 1000, .max = 1000000000000, AT(rate), .help = "bits a second"},
		{.key = "queue", .type = FB_OPTION_SIZE, .min = 2048, .max = HELD_MAX, AT(queue), .help = "bytes that wait for the rate"},
		{.key = "seed", .type = FB_OPTION_U64, AT(seed), .help = "of the random choices"},
		{0},
	};
#undef AT
#undef SHARE
	int err = fb_options_apply(table, s, spec, "fault");
	char *delay;

	if (err || !s->delay)
		return err;
	delay = strdup(s->delay);
	if (!delay)
		return -ENOMEM;
	err = parse_delay(s);
	if (err)
		fb_error("fault", "delay=%s: must be a time such as 1ms, or 1ms±0.5, at most 60 s", delay);
	free(delay);
	return err ? -EINVAL : 0;
}

int fb_net_fault_check(const char *spec)
{
	struct settings s = {0};
	int err = parse(&s, spec);

	free(s.delay);
	return err;
}

int fb_net_fault_wrap(struct fb_net **net, struct fb_loop *loop, const char *spec, const struct fb_net_user *user,
		      void *arg)
{
	struct fault *f = calloc(1, sizeof(*f));
	int err;

	if (!f)
		return -ENOMEM;
	f->set = (struct settings){.queue = 1 << 20, .seed = 1};
	err = parse(&f->set, spec);
	if (err) {
		free_fault(f);
		return err;
	}
	f->ops = *(*net)->ops;
	f->ops.close = fault_close;
	f->ops.send = fault_send;
	f->ops.mtu = fault_mtu;
	f->ops.stats = fault_stats;
	f->ops.local = fault_local;
	f->net.ops = &f->ops;
	f->inner = *net;
	f->loop = loop;
	f->random = f->set.seed;
	f->timer.due = release;
	*net = &f->net;
	return 0;
}
