/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "sink.h"

enum { LEN = 64 };

struct pair {
	struct fb_loop *loop;
	struct fb_net *tx, *rx;
	struct fb_net_addr to;
	struct sink *sink, *back;
};

static struct pair open_pair(const char *spec)
{
	struct pair p = {.sink = calloc(1, sizeof(struct sink)), .back = calloc(1, sizeof(struct sink))};

	assert_int_equal(fb_loop_new(&p.loop, 0), 0);
	p.rx = sink_open(p.loop, "loopback:rx", NULL, p.sink);
	p.tx = sink_open(p.loop, NULL, NULL, p.back);
	assert_int_equal(p.rx->ops->parse("rx", &p.to), 0);
	assert_int_equal(fb_net_fault_wrap(&p.tx, p.loop, spec, &sink_user, p.back), 0);
	return p;
}

static void close_pair(struct pair *p)
{
	p->tx->ops->close(p->tx);
	p->rx->ops->close(p->rx);
	fb_loop_free(p->loop);
	free(p->sink);
	free(p->back);
}

/* Sends numbered datagrams in bursts of 40 and waits until all that were not lost have come. */
static void send_many(struct pair *p, unsigned n)
{
	static uint8_t data[40][LEN];
	uint64_t deadline = fb_clock_ns() + SINK_DEADLINE_NS;
	unsigned expect;

	for (unsigned done = 0; done < n;) {
		struct fb_dgram v[40];
		unsigned k = n - done < 40 ? n - done : 40;

		for (unsigned i = 0; i < k; i++) {
			sink_fill(data[i], LEN, done + i);
			v[i] = (struct fb_dgram){data[i], LEN};
		}
		assert_int_equal(p->tx->ops->send(p->tx, &p->to, v, k), k);
		done += k;
		assert_int_equal(fb_loop_once(p->loop, 0), 0);
	}
	do {
		const struct fb_net_stats *s = p->tx->ops->stats(p->tx);

		expect = n - (unsigned)s->fault_dropped + (unsigned)s->fault_duplicated;
		assert_int_equal(fb_loop_once(p->loop, fb_clock_ns() + 1000000), 0);
	} while (p->sink->n < expect && fb_clock_ns() < deadline);
	assert_int_equal(p->sink->n, expect);
}

static void test_rates(void **state)
{
	enum { N = 30000 };
	struct pair p = open_pair("drop=1%,dup=2%,corrupt=5%,seed=7");
	const struct fb_net_stats *s;
	unsigned damaged = 0, order = 0;

	send_many(&p, N);
	s = p.tx->ops->stats(p.tx);
	/* Five standard deviations on either side. */
	assert_in_range(s->fault_dropped, 300 - 86, 300 + 86);
	assert_in_range(s->fault_duplicated, 600 - 122, 600 + 122);
	assert_in_range(s->fault_corrupted, 1500 - 190, 1500 + 190);
	assert_int_equal(s->fault_delayed + s->fault_reordered, 0);
	assert_int_equal(s->tx_datagrams, p.sink->n);
	for (unsigned i = 0; i < p.sink->n; i++) {
		damaged += !p.sink->intact[i];
		if (i && p.sink->intact[i] && p.sink->intact[i - 1])
			order += p.sink->number[i] < p.sink->number[i - 1];
	}
	/* A damaged one that was doubled is damaged twice. */
	assert_in_range(damaged, s->fault_corrupted, s->fault_corrupted + s->fault_duplicated);
	assert_int_equal(order, 0);
	close_pair(&p);
}

/* The same seed loses the same datagrams, whatever other faults are on; another seed loses others. */
static void test_seed(void **state)
{
	enum { N = 3000 };
	struct pair a = open_pair("drop=10%,seed=1"), b, c;
	bool differ = false;

	send_many(&a, N);
	a.rx->ops->close(a.rx); /* frees the name */
	b = open_pair("drop=10%,delay=100us,seed=1");
	send_many(&b, N);
	b.rx->ops->close(b.rx);
	c = open_pair("drop=10%,seed=2");
	send_many(&c, N);
	assert_int_equal(a.sink->n, b.sink->n);
	for (unsigned i = 0; i < a.sink->n; i++) {
		assert_int_equal(a.sink->number[i], b.sink->number[i]);
		differ |= i >= c.sink->n || a.sink->number[i] != c.sink->number[i];
	}
	assert_true(differ);
	a.rx = sink_open(a.loop, "loopback:a", NULL, a.sink);
	b.rx = sink_open(b.loop, "loopback:b", NULL, b.sink);
	close_pair(&a);
	close_pair(&b);
	close_pair(&c);
}

static void test_delay_keeps_order(void **state)
{
	struct pair p = open_pair("delay=5ms±2");
	uint64_t start = fb_loop_now(p.loop); /* what the delay counts from */

	send_many(&p, 500);
	for (unsigned i = 0; i < 500; i++) {
		assert_int_equal(p.sink->number[i], i);
		assert_true(p.sink->at[i] - start >= 3000000);
	}
	assert_int_equal(p.tx->ops->stats(p.tx)->fault_delayed, 500);
	close_pair(&p);
}

static void test_reorder(void **state)
{
	enum { N = 5000 };
	struct pair p = open_pair("reorder=10%,seed=3");
	unsigned out_of_order = 0;
	bool *seen = calloc(N, sizeof(*seen));

	send_many(&p, N);
	for (unsigned i = 0; i < N; i++) {
		assert_true(p.sink->number[i] < N && !seen[p.sink->number[i]]);
		seen[p.sink->number[i]] = true;
		out_of_order += i && p.sink->number[i] < p.sink->number[i - 1];
	}
	assert_in_range(p.tx->ops->stats(p.tx)->fault_reordered, 500 - 106, 500 + 106);
	assert_true(out_of_order > 0);
	free(seen);
	close_pair(&p);
}

static void test_rate(void **state)
{
	/* 64 bytes at 5.12 Mb/s: 100 us each. 200 of them do not fit a queue of 6400 bytes. */
	struct pair p = open_pair("rate=5.12M,queue=6400");
	struct fb_dgram v[200];
	static uint8_t data[LEN];
	uint64_t start = fb_clock_ns();
	const struct fb_net_stats *s;

	for (unsigned i = 0; i < 200; i++)
		v[i] = (struct fb_dgram){data, LEN};
	assert_int_equal(fb_loop_once(p.loop, 0), 0); /* the loop's clock is of now */
	assert_int_equal(p.tx->ops->send(p.tx, &p.to, v, 200), 200);
	s = p.tx->ops->stats(p.tx);
	assert_int_equal(s->fault_dropped, 100);
	sink_wait(p.loop, p.sink, 100);
	assert_true(p.sink->at[99] - start >= 9900000);
	close_pair(&p);
}

static void test_parse(void **state)
{
	static const struct {
		const char *spec, *says;
	} rows[] = {
		{"", NULL},
		{"drop=1%,reorder=2%,delay=1ms±0.5,dup=0.1%,corrupt=0.1%,rate=1G,seed=7", NULL},
		{"delay=1ms+-200us", NULL},
		{"delay=0", NULL},
		{"drop", "fault: drop=: must be a share"},
		{"drop=2", "fault: drop=2: must be a share such as 1%, from 0% to 100%"},
		{"dorp=1%", "fault: no option \"dorp\"; did you mean \"drop\"?"},
		{"delay=1", "fault: delay=1: must be a time such as 1ms, or 1ms±0.5"},
		{"delay=1ms±x", "fault: delay=1ms±x: must be"},
		{"delay=2min", "fault: delay=2min: must be"},
		{"rate=0", "fault: rate=0: must be a rate"},
		{"rate=fast", "fault: rate=fast: must be a rate"},
		{"seed=-1", "fault: seed=-1: must be a number"},
		{"queue=1T", "fault: queue=1T: must be a size"},
	};
	struct sink *sink = calloc(1, sizeof(*sink));
	struct fb_loop *loop;

	assert_int_equal(fb_loop_new(&loop, 0), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct fb_net *net = sink_open(loop, NULL, NULL, sink), *before = net;
		int saved = dup(STDERR_FILENO), fds[2], err;
		char log[512];
		ssize_t n;

		assert_int_equal(pipe(fds), 0);
		dup2(fds[1], STDERR_FILENO);
		close(fds[1]);
		err = fb_net_fault_wrap(&net, loop, rows[i].spec, &sink_user, sink);
		dup2(saved, STDERR_FILENO);
		close(saved);
		n = read(fds[0], log, sizeof(log) - 1);
		close(fds[0]);
		log[n > 0 ? n : 0] = '\0';
		if (err != (rows[i].says ? -EINVAL : 0) || (rows[i].says ? !strstr(log, rows[i].says) : *log))
			fail_msg("\"%s\": %d, says: %s", rows[i].spec, err, log);
		if (err)
			assert_ptr_equal(net, before); /* not taken over */
		net->ops->close(net);
	}
	fb_loop_free(loop);
	free(sink);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rates),	cmocka_unit_test(test_seed), cmocka_unit_test(test_delay_keeps_order),
		cmocka_unit_test(test_reorder), cmocka_unit_test(test_rate), cmocka_unit_test(test_parse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
