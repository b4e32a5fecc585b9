/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/listener.h"

struct heard {
	struct fb_listener listener; /* first */
	unsigned clients, failures;
	int err;
	bool close_it;
};

static void client(struct fb_listener *l, int fd)
{
	struct heard *h = (struct heard *)(void *)l;

	close(fd);
	h->clients++;
	if (h->close_it)
		fb_listener_close(l);
}

static void failed(struct fb_listener *l, int err)
{
	struct heard *h = (struct heard *)(void *)l;

	h->failures++;
	h->err = err;
}

/* A listening socket with an address that the kernel makes up, and where to connect to. */
static int listening(struct sockaddr_un *addr, socklen_t *len)
{
	const struct sockaddr_un made_up = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&made_up, sizeof(sa_family_t)), 0);
	assert_int_equal(listen(fd, 8), 0);
	*len = sizeof(*addr);
	assert_int_equal(getsockname(fd, (struct sockaddr *)addr, len), 0);
	return fd;
}

static int connected(const struct sockaddr_un *addr, socklen_t len)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)addr, len), 0);
	return fd;
}

/* Rounds until a count is reached, 5 s at most. Returns how many there were. */
static unsigned until(struct fb_loop *loop, const unsigned *count, unsigned want)
{
	uint64_t end = fb_clock_ns() + UINT64_C(5000000000);
	unsigned rounds = 0;

	for (; *count < want && fb_clock_ns() < end; rounds++)
		assert_int_equal(fb_loop_once(loop, end), 0);
	assert_int_equal(*count, want);
	return rounds;
}

/* No descriptor is left: one failure a rest, no spinning; with descriptors again the clients that waited are served. */
static void test_no_descriptors(void **state)
{
	struct heard h = {.listener = {.client = client, .failed = failed}};
	struct rlimit old, none;
	struct sockaddr_un addr;
	struct fb_loop *loop;
	int a, b, highest;
	socklen_t len;

	assert_int_equal(fb_loop_new(&loop, 0), 0);
	assert_int_equal(fb_listener_open(&h.listener, loop, listening(&addr, &len)), 0);
	a = connected(&addr, len);
	b = connected(&addr, len);
	highest = dup(b);
	close(highest);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = (struct rlimit){(rlim_t)highest, old.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);

	/* Each failure needs the round that hears of it, and the one in which the rest is over. */
	assert_in_range(until(loop, &h.failures, 3), 3, 12);
	assert_int_equal(h.err, EMFILE);
	assert_int_equal(h.clients, 0);

	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	until(loop, &h.clients, 2);
	assert_int_equal(h.failures, 3);
	fb_listener_close(&h.listener);
	fb_listener_close(&h.listener);
	close(a);
	close(b);
	fb_loop_free(loop);
}

static void test_pause_and_close(void **state)
{
	struct heard h = {.listener = {.client = client, .failed = failed}};
	struct sockaddr_un addr;
	struct fb_loop *loop;
	int a, b;
	socklen_t len;

	assert_int_equal(fb_loop_new(&loop, 0), 0);
	fb_listener_pause(&h.listener, true); /* not open: nothing */
	assert_int_equal(fb_listener_open(&h.listener, loop, listening(&addr, &len)), 0);
	a = connected(&addr, len);
	b = connected(&addr, len);
	fb_listener_pause(&h.listener, true);
	assert_int_equal(fb_loop_once(loop, 0), 0);
	assert_int_equal(h.clients, 0);
	fb_listener_pause(&h.listener, false);
	h.close_it = true;
	until(loop, &h.clients, 1);
	assert_false(fb_listener_is_open(&h.listener));
	assert_int_equal(fb_loop_once(loop, 0), 0);
	assert_int_equal(h.clients, 1);
	assert_int_equal(h.failures, 0);
	close(a);
	close(b);
	fb_loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_descriptors),
		cmocka_unit_test(test_pause_and_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
