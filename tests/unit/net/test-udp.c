/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "net/udp.h"
#include "sink.h"

static const char *const hosts[] = {"127.0.0.1", "[::1]"};

static struct fb_net_addr local_of(struct fb_net *net)
{
	struct fb_net_addr a;

	assert_int_equal(net->ops->local(net, &a), 0);
	return a;
}

static bool have_ipv6(void)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(AF_INET6, SOCK_DGRAM, 0);
	bool yes = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0;

	if (fd >= 0)
		close(fd);
	return yes;
}

/* 64 datagrams of one size, contiguous or scattered, then odd sizes, with and without offloads on either side. */
static void exchange(const char *host, bool gso, bool gro, bool contiguous)
{
	enum { N = 64, PITCH = 1500 };
	static const uint32_t odd[] = {1, 4, 1400, 9000, 65000, 1400, 1400, 700, 1400, 0, 5};
	static uint8_t data[N * PITCH], big[65536];
	struct sink *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b));
	struct fb_dgram v[N];
	struct fb_loop *loop;
	struct fb_net *na, *nb;
	struct fb_net_addr to;
	char listen[64];
	uint64_t calls;

	snprintf(listen, sizeof(listen), "udp:%s:0", host);
	assert_int_equal(fb_loop_new(&loop, 0), 0);
	nb = sink_open(loop, listen, NULL, b);
	na = sink_open(loop, listen, NULL, a);
	fb_net_udp_set_offload(na, gso, gro);
	fb_net_udp_set_offload(nb, gso, gro);
	to = local_of(nb);
	for (unsigned i = 0; i < N; i++) {
		uint32_t len = i == N - 1 ? 300 : 1400;

		v[i] = (struct fb_dgram){data + i * (contiguous ? 1400 : PITCH), len};
		sink_fill((uint8_t *)(uintptr_t)v[i].data, len, i);
	}
	assert_int_equal(na->ops->send(na, &to, v, N), N);
	calls = na->ops->stats(na)->tx_calls;
	assert_in_range(calls, 1, gso ? 2 : N / 16);
	sink_wait(loop, b, N);
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(b->number[i], i);
		assert_int_equal(b->len[i], v[i].len);
		assert_true(b->intact[i]);
	}
	assert_int_equal(nb->ops->stats(nb)->rx_datagrams, N);
	for (unsigned i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		struct fb_dgram d = {big, odd[i]};

		sink_fill(big, odd[i], i);
		assert_int_equal(na->ops->send(na, &to, &d, 1), 1);
	}
	sink_wait(loop, b, N + sizeof(odd) / sizeof(odd[0]));
	for (unsigned i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		assert_int_equal(b->len[N + i], odd[i]);
		assert_true(b->intact[N + i]);
	}
	/* Mixed sizes in one call, answered to the address they came from. */
	b->echo = nb;
	for (unsigned i = 0; i < 11; i++) {
		v[i] = (struct fb_dgram){data + i * PITCH, i == 4 ? 1450 : odd[i] % 1401};
		sink_fill((uint8_t *)(uintptr_t)v[i].data, v[i].len, 100 + i);
	}
	assert_int_equal(na->ops->send(na, &to, v, 11), 11);
	sink_wait(loop, a, 11);
	for (unsigned i = 0; i < 11; i++) {
		assert_int_equal(a->len[i], v[i].len);
		assert_true(a->intact[i]);
	}
	assert_int_equal(a->from.len, to.len);
	assert_memory_equal(a->from.bytes, to.bytes, to.len);
	assert_int_equal(na->ops->stats(na)->tx_errors, 0);
	na->ops->close(na);
	nb->ops->close(nb);
	fb_loop_free(loop);
	free(a);
	free(b);
}

static void test_exchange(void **state)
{
	for (unsigned h = 0; h < (have_ipv6() ? 2u : 1u); h++) {
		for (unsigned bits = 0; bits < 8; bits++)
			exchange(hosts[h], bits & 1, bits & 2, bits & 4);
	}
}

static void test_ipv6_is_there(void **state)
{
	if (!have_ipv6()) {
		print_message("no ::1 on this host: the IPv6 half is skipped\n");
		skip();
	}
}

/* One socket for both families; an IPv4 peer's address has its IPv4 form. */
static void test_any(void **state)
{
	struct sink *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b));
	struct fb_loop *loop;
	struct fb_net *na, *nb = NULL;
	struct fb_net_addr to;
	struct fb_dgram d = {(const uint8_t *)"12345", 5};
	char text[80];

	assert_int_equal(fb_loop_new(&loop, 0), 0);
	nb = sink_open(loop, "udp::0", NULL, b);
	b->echo = nb;
	for (unsigned h = 0; h < (have_ipv6() ? 2u : 1u); h++) {
		const char *colon = strrchr(nb->ops->format(&(struct fb_net_addr){0}, text, sizeof(text)), ':');

		assert_null(colon);
		to = local_of(nb);
		colon = strrchr(nb->ops->format(&to, text, sizeof(text)), ':');
		{
			char peer[96];

			snprintf(peer, sizeof(peer), "udp:%s%s", hosts[h], colon);
			na = sink_open(loop, NULL, peer, a);
			assert_int_equal(na->ops->parse(peer + 4, &to), 0);
		}
		a->n = b->n = 0;
		assert_int_equal(na->ops->send(na, &to, &d, 1), 1);
		sink_wait(loop, a, 1);
		assert_int_equal(a->len[0], 5);
		assert_int_equal(b->from.len, h ? 22 : 6);
		assert_memory_equal(a->from.bytes, to.bytes, to.len);
		na->ops->close(na);
	}
	nb->ops->close(nb);
	fb_loop_free(loop);
	free(a);
	free(b);
}

static void test_text(void **state)
{
	static const struct {
		const char *text, *back; /* NULL: refused */
	} rows[] = {
		{"192.0.2.1:7000", "192.0.2.1:7000"},
		{"[2001:db8::1]:7000", "[2001:db8::1]:7000"},
		{"[::ffff:192.0.2.1]:7000", "192.0.2.1:7000"},
		{"[fe80::1%lo]:65535", "[fe80::1%lo]:65535"},
		{":0", "[::]:0"},
		{":7000", "[::]:7000"},
		{"0.0.0.0:1", "0.0.0.0:1"},
		{"", NULL},
		{"7000", NULL},
		{"192.0.2.1", NULL},
		{"192.0.2.1:", NULL},
		{"192.0.2.1:65536", NULL},
		{"192.0.2.1:-1", NULL},
		{"192.0.2:1", NULL},
		{"2001:db8::1:7000", NULL},
		{"[2001:db8::1:7000", NULL},
		{"[]:1", NULL},
		{"[::1%nosuchif]:1", NULL},
		{"[::1%]:1", NULL},
		{"[::1%0]:1", NULL},
		{"host.example:1", NULL},
		{"1111111111111111111111111111111111111111111111111111111111111111111111111111111111:1", NULL},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct fb_net_addr addr;
		char buf[80];
		int err = fb_net_udp.parse(rows[i].text, &addr);

		if (err != (rows[i].back ? 0 : -EINVAL))
			fail_msg("\"%s\": %d", rows[i].text, err);
		if (!err)
			assert_string_equal(fb_net_udp.format(&addr, buf, sizeof(buf)), rows[i].back);
	}
}

static void test_bad_opens(void **state)
{
	struct sink *s = calloc(1, sizeof(*s));
	struct fb_loop *loop;
	struct fb_net *net, *other;
	struct fb_net_addr local;
	char text[80];

	assert_int_equal(fb_loop_new(&loop, 0), 0);
	net = sink_open(loop, "udp:127.0.0.1:0", NULL, s);
	local = local_of(net);
	net->ops->format(&local, text, sizeof(text));
	assert_int_equal(fb_net_udp.open(&other, loop, text, NULL, &sink_user, s), -EADDRINUSE);
	assert_int_equal(fb_net_udp.open(&other, loop, "example.org:1", NULL, &sink_user, s), -EINVAL);
	assert_int_equal(fb_net_udp.open(&other, loop, NULL, "0.0.0.0:1", &sink_user, s), -EINVAL);
	assert_int_equal(fb_net_udp.open(&other, loop, NULL, "127.0.0.1:0", &sink_user, s), -EINVAL);
	assert_int_equal(fb_net_udp.open(&other, loop, NULL, "[::1]:0", &sink_user, s), -EINVAL);
	assert_int_equal(fb_net_udp.open(&other, loop, NULL, ":1", &sink_user, s), -EINVAL);
	/* 192.0.2.0/24 is for documentation: no host has it. */
	assert_int_equal(fb_net_udp.open(&other, loop, "192.0.2.1:0", NULL, &sink_user, s), -EADDRNOTAVAIL);
	net->ops->close(net);
	fb_loop_free(loop);
	free(s);
}

/* Nobody listens, port 0, the other family, too large: taken, and the rest goes on. */
static void test_errors_stop_nothing(void **state)
{
	static uint8_t data[65536];
	struct sink *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b));
	struct fb_dgram v[3] = {{data, 65508}, {data, 10}, {data, 10}}, good = {data, 4};
	struct fb_net_addr dead, zero, v6, to;
	struct fb_loop *loop;
	struct fb_net *na, *nb;

	assert_int_equal(fb_loop_new(&loop, 0), 0);
	na = sink_open(loop, "udp:127.0.0.1:0", NULL, a);
	nb = sink_open(loop, "udp:127.0.0.1:0", NULL, b);
	dead = local_of(nb);
	nb->ops->close(nb);
	nb = sink_open(loop, "udp:127.0.0.1:0", NULL, b);
	to = local_of(nb);
	assert_int_equal(na->ops->parse("127.0.0.1:0", &zero), 0);
	assert_int_equal(na->ops->parse("[::1]:9", &v6), 0);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(na->ops->send(na, &dead, v + 1, 2), 2);
		assert_int_equal(na->ops->send(na, &zero, v + 1, 2), 2);
		assert_int_equal(na->ops->send(na, &v6, v + 1, 2), 2);
		assert_int_equal(na->ops->send(na, &to, v, 3), 3);
		assert_int_equal(fb_loop_once(loop, 0), 0);
	}
	sink_fill(data, 4, 77);
	assert_int_equal(na->ops->send(na, &to, &good, 1), 1);
	sink_wait(loop, b, 41);
	assert_int_equal(b->number[40], 77);
	assert_in_range(na->ops->stats(na)->tx_errors, 20 * 5, 20 * 7);
	/* None of that was segmentation's fault. */
	{
		struct fb_dgram row[8];
		uint64_t calls = na->ops->stats(na)->tx_calls;

		for (unsigned i = 0; i < 8; i++)
			row[i] = (struct fb_dgram){data, 1000};
		assert_int_equal(na->ops->send(na, &to, row, 8), 8);
		assert_int_equal(na->ops->stats(na)->tx_calls, calls + 1);
	}
	na->ops->close(na);
	nb->ops->close(nb);
	fb_loop_free(loop);
	free(a);
	free(b);
}

static void test_mtu(void **state)
{
	struct sink *s = calloc(1, sizeof(*s));
	struct fb_loop *loop;
	struct fb_net *net;
	struct fb_net_addr to;

	assert_int_equal(fb_loop_new(&loop, 0), 0);
	net = sink_open(loop, "udp:127.0.0.1:0", NULL, s);
	assert_int_equal(net->ops->parse("127.0.0.1:9", &to), 0);
	assert_in_range(net->ops->mtu(net, &to), 1232, 65507);
	net->ops->close(net);
	fb_loop_free(loop);
	free(s);
}

static void test_close_inside_rx(void **state)
{
	static uint8_t data[6400];
	struct sink *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b));
	struct fb_dgram v[64];
	struct fb_loop *loop;
	struct fb_net *na, *nb;
	struct fb_net_addr to;

	assert_int_equal(fb_loop_new(&loop, 0), 0);
	na = sink_open(loop, "udp:127.0.0.1:0", NULL, a);
	nb = sink_open(loop, "udp:127.0.0.1:0", NULL, b);
	to = local_of(nb);
	for (unsigned i = 0; i < 64; i++)
		v[i] = (struct fb_dgram){data + 100 * i, 100};
	b->close_now = nb;
	assert_int_equal(na->ops->send(na, &to, v, 64), 64);
	sink_wait(loop, b, 1);
	assert_int_equal(fb_loop_once(loop, 0), 0);
	assert_int_equal(b->n, 1);
	assert_int_equal(b->rounds, 0);
	na->ops->close(na);
	fb_loop_free(loop);
	free(a);
	free(b);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exchange),
		cmocka_unit_test(test_ipv6_is_there),
		cmocka_unit_test(test_any),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_bad_opens),
		cmocka_unit_test(test_errors_stop_nothing),
		cmocka_unit_test(test_mtu),
		cmocka_unit_test(test_close_inside_rx),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
