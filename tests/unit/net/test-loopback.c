/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "sink.h"

enum { BIG = 16384 };

static uint8_t data[BIG];

static void test_order_and_backpressure(void **state)
{
	enum { N = 2000 };
	struct sink *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b));
	struct fb_loop *loop;
	struct fb_net *na, *nb;
	struct fb_net_addr to;
	unsigned sent = 0, seen_writable = 0;

	assert_int_equal(fb_loop_new(&loop, 0), 0);
	nb = sink_open(loop, "loopback:box", NULL, b);
	na = sink_open(loop, NULL, "loopback:box", a);
	assert_int_equal(nb->ops->parse("box", &to), 0);
	while (sent < N) {
		uint32_t len = 1 + sent * 37 % BIG;
		struct fb_dgram d = {data, len};

		sink_fill(data, len, sent);
		if (na->ops->send(na, &to, &d, 1)) {
			sent++;
		} else {
			/* Full: there is room again after the other end has read. */
			while (a->writable == seen_writable)
				assert_int_equal(fb_loop_once(loop, FB_NEVER), 0);
			seen_writable = a->writable;
		}
	}
	sink_wait(loop, b, N);
	assert_true(seen_writable > 0);
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(b->len[i], 1 + i * 37 % BIG);
		assert_true(b->intact[i]);
	}
	assert_true(b->rounds > 0 && b->rounds < N / 10);
	na->ops->close(na);
	nb->ops->close(nb);
	fb_loop_free(loop);
	free(a);
	free(b);
}

static void test_two_loops_and_echo(void **state)
{
	struct sink *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b));
	struct fb_loop *la, *lb;
	struct fb_net *na, *nb;
	struct fb_net_addr to;
	struct fb_dgram d = {data, 100};
	char text[64];

	assert_int_equal(fb_loop_new(&la, 0), 0);
	assert_int_equal(fb_loop_new(&lb, 0), 0);
	nb = sink_open(lb, "loopback:box", NULL, b);
	na = sink_open(la, NULL, NULL, a);
	b->echo = nb;
	sink_fill(data, 100, 5);
	assert_int_equal(na->ops->parse("box", &to), 0);
	assert_int_equal(na->ops->send(na, &to, &d, 1), 1);
	/* Not before the other loop's next round. */
	assert_int_equal(b->n, 0);
	sink_wait(lb, b, 1);
	assert_int_equal(a->n, 0);
	sink_wait(la, a, 1);
	assert_true(a->intact[0]);
	assert_string_equal(na->ops->format(&a->from, text, sizeof(text)), "box");
	/* Nobody there, and too large: taken, lost, counted. */
	assert_int_equal(na->ops->parse("nobody", &to), 0);
	assert_int_equal(na->ops->send(na, &to, &d, 1), 1);
	assert_int_equal(na->ops->stats(na)->tx_errors, 1);
	na->ops->close(na);
	nb->ops->close(nb);
	fb_loop_free(la);
	fb_loop_free(lb);
	free(a);
	free(b);
}

static void test_close_inside_rx(void **state)
{
	struct sink *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b));
	struct fb_loop *loop;
	struct fb_net *na, *nb, *again;
	struct fb_net_addr to;
	struct fb_dgram d[3] = {{data, 9}, {data, 9}, {data, 9}};

	assert_int_equal(fb_loop_new(&loop, 0), 0);
	nb = sink_open(loop, "loopback:box", NULL, b);
	na = sink_open(loop, NULL, NULL, a);
	b->close_now = nb;
	assert_int_equal(na->ops->parse("box", &to), 0);
	assert_int_equal(na->ops->send(na, &to, d, 3), 3);
	sink_wait(loop, b, 1);
	assert_int_equal(fb_loop_once(loop, 0), 0);
	assert_int_equal(b->n, 1);
	assert_int_equal(b->rounds, 0);
	again = sink_open(loop, "loopback:box", NULL, b); /* the name is free */
	assert_int_equal(fb_net_loopback.open(&nb, loop, "box", NULL, &sink_user, b), -EADDRINUSE);
	again->ops->close(again);
	na->ops->close(na);
	fb_loop_free(loop);
	free(a);
	free(b);
}

static void test_names(void **state)
{
	struct fb_net_addr addr;
	const char *rest;

	assert_ptr_equal(fb_net_find("loopback:x", &rest), &fb_net_loopback);
	assert_string_equal(rest, "x");
	assert_null(fb_net_find("loop:x", &rest));
	assert_null(fb_net_find("loopback", &rest));
	assert_null(fb_net_find("", &rest));
	assert_int_equal(fb_net_loopback.parse("", &addr), -EINVAL);
	assert_int_equal(fb_net_loopback.parse("a b", &addr), -EINVAL);
	assert_int_equal(fb_net_loopback.parse("1234567890123456789012345678901", &addr), -EINVAL);
	assert_int_equal(fb_net_loopback.parse("123456789012345678901234567890", &addr), 0);
	assert_non_null(strstr(fb_net_names(), fb_net_loopback.name));
	assert_non_null(strstr(fb_net_names(), fb_net_udp.name));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_and_backpressure),
		cmocka_unit_test(test_two_loops_and_echo),
		cmocka_unit_test(test_close_inside_rx),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
