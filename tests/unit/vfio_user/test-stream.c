/* SPDX-License-Identifier: Apache-2.0 */
/* The message stream over a socket pair: cutting, descriptors, bounds, and how messages leave. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/reader.h"
#include "vfio_user/stream.h"

enum { MAX = 1 << 20 };

struct pair {
	struct vfio_user_stream a, b;
	int fd[2];
};

static void begin(struct pair *p)
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p->fd), 0);
	assert_int_equal(vfio_user_stream_init(&p->a, MAX, 4 * MAX), 0);
	assert_int_equal(vfio_user_stream_init(&p->b, MAX, 4 * MAX), 0);
}

static void end(struct pair *p)
{
	vfio_user_stream_fini(&p->a);
	vfio_user_stream_fini(&p->b);
	close(p->fd[0]);
	close(p->fd[1]);
}

static void put(struct vfio_user_stream *s, uint16_t id, size_t len, const int *fds, unsigned n)
{
	uint8_t *body = vfio_user_stream_put(s, id, VFIO_USER_REGION_WRITE, VFIO_USER_TYPE_COMMAND, 0, len, fds, n);

	assert_non_null(body);
	for (size_t i = 0; i < len; i++)
		body[i] = (uint8_t)(id + i);
}

static void check(const struct vfio_user_message *m, uint16_t id, size_t len, unsigned n_fds)
{
	assert_int_equal(m->id, id);
	assert_int_equal(m->command, VFIO_USER_REGION_WRITE);
	assert_int_equal(m->len, len);
	assert_int_equal(m->n_fds, n_fds);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(m->body[i], (uint8_t)(id + i));
}

/* Messages of all sizes, far more than the socket holds, in order and whole. */
static void many_messages(void **state)
{
	static const size_t sizes[] = {0, 1, 24, 4096, 100000, 16, MAX - VFIO_USER_HEADER, 40};
	struct vfio_user_message m;
	struct pair p;
	unsigned got = 0;

	(void)state;
	begin(&p);
	for (unsigned i = 0; i < 24; i++)
		put(&p.a, (uint16_t)i, sizes[i % 8], NULL, 0);
	for (unsigned round = 0; got < 24; round++) {
		int r = vfio_user_stream_send(&p.a, p.fd[0]);

		assert_in_range(r, 0, 1);
		assert_in_range(round, 0, 10000);
		while (vfio_user_stream_receive(&p.b, p.fd[1]) > 0) {
			while ((r = vfio_user_stream_next(&p.b, &m)) == 1) {
				check(&m, (uint16_t)got, sizes[got % 8], 0);
				got++;
			}
			assert_int_equal(r, 0);
		}
	}
	assert_int_equal(vfio_user_stream_queued(&p.a), 0);
	assert_int_equal(vfio_user_stream_pending(&p.b), 0);
	assert_int_equal(vfio_user_stream_next(&p.b, &m), 0);
	assert_true(p.b.in_cap <= VFIO_USER_STREAM_IN); /* a large message leaves no large buffer behind */
	end(&p);
}

/* Descriptors come with their message and no other, whatever is before and behind it. */
static void descriptors(void **state)
{
	struct vfio_user_message m;
	struct pair p;
	int fds[16];
	unsigned got = 0;

	(void)state;
	begin(&p);
	for (unsigned i = 0; i < 16; i++)
		fds[i] = eventfd(i, 0);
	put(&p.a, 0, 20, NULL, 0);
	put(&p.a, 1, 20, fds, 3);
	put(&p.a, 2, 20, NULL, 0);
	put(&p.a, 3, 0, fds + 3, 1);
	put(&p.a, 4, 20, fds, 16);
	put(&p.a, 5, 20, NULL, 0);
	assert_int_equal(vfio_user_stream_send(&p.a, p.fd[0]), 0);
	while (got < 6) {
		static const unsigned n_fds[] = {0, 3, 0, 1, 16, 0};
		static const size_t sizes[] = {20, 20, 20, 0, 20, 20};

		if (vfio_user_stream_next(&p.b, &m) != 1) {
			assert_true(vfio_user_stream_receive(&p.b, p.fd[1]) > 0);
			continue;
		}
		check(&m, (uint16_t)got, sizes[got], n_fds[got]);
		for (unsigned i = 0; i < m.n_fds; i++) {
			eventfd_t v = 99;

			if (got == 3) /* the last of the eventfds that is read: its number is still in it */
				assert_int_equal(eventfd_read(m.fds[i], &v), 0), assert_int_equal(v, 3);
			assert_true(fcntl(m.fds[i], F_GETFD) & FD_CLOEXEC);
		}
		vfio_user_message_done(&m);
		got++;
	}
	for (unsigned i = 0; i < 16; i++)
		close(fds[i]);
	end(&p);
}

/* Each send() begins at a message and holds whole ones, 32 KiB at most; a message with descriptors is alone. */
static void calls_hold_whole_messages(void **state)
{
	uint8_t buf[VFIO_USER_STREAM_CHUNK * 2];
	struct pair p;
	int pair[2], efd = eventfd(0, 0);
	ssize_t n;
	unsigned calls = 0, messages = 0;

	(void)state;
	begin(&p);
	/* SOCK_SEQPACKET keeps the bounds of calls. */
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	for (unsigned i = 0; i < 3000; i++)
		put(&p.a, (uint16_t)i, 8 + i % 40, &efd, i % 1000 == 500);
	while (vfio_user_stream_queued(&p.a)) {
		assert_in_range(vfio_user_stream_send(&p.a, pair[0]), 0, 1);
		while ((n = recv(pair[1], buf, sizeof(buf), 0)) > 0) {
			size_t at = 0;

			assert_true(n <= VFIO_USER_STREAM_CHUNK);
			for (; at < (size_t)n; at += fb_get_le32(buf + at + 4)) {
				assert_int_equal(fb_get_le16(buf + at), messages);
				if (messages % 1000 == 500)
					assert_int_equal(n, fb_get_le32(buf + at + 4));
				messages++;
			}
			assert_int_equal(at, n);
			calls++;
		}
	}
	assert_int_equal(messages, 3000);
	assert_in_range(calls, 7, 20);
	close(pair[0]);
	close(pair[1]);
	close(efd);
	end(&p);
}

static int feed(struct vfio_user_stream *s, uint32_t size, uint32_t flags)
{
	uint8_t h[VFIO_USER_HEADER] = {0};
	struct vfio_user_message m;

	vfio_user_stream_fini(s);
	assert_int_equal(vfio_user_stream_init(s, MAX, MAX), 0);
	fb_put_le32(h + 4, size);
	fb_put_le32(h + 8, flags);
	assert_int_equal(vfio_user_stream_feed(s, h, sizeof(h)), sizeof(h));
	return vfio_user_stream_next(s, &m);
}

static void headers_that_cannot_be(void **state)
{
	struct vfio_user_stream s = {0};

	(void)state;
	assert_int_equal(feed(&s, 0, 0), -EBADMSG);
	assert_int_equal(feed(&s, 15, 0), -EBADMSG);
	assert_int_equal(feed(&s, 16, 0), 1);
	assert_int_equal(feed(&s, 17, 0), 0);
	assert_int_equal(feed(&s, MAX, 1), 0);
	assert_int_equal(feed(&s, MAX + 1, 0), -EBADMSG);
	assert_int_equal(feed(&s, UINT32_MAX, 0), -EBADMSG);
	assert_int_equal(feed(&s, 16, 2), -EBADMSG);
	assert_int_equal(feed(&s, 16, 0x31), 1);
	vfio_user_stream_fini(&s);
}

static void bounds(void **state)
{
	struct vfio_user_stream s;
	struct vfio_user_message m;
	struct pair p;
	int fds[VFIO_USER_STREAM_FDS + 1], efd = eventfd(0, 0);
	unsigned n = 0;

	(void)state;
	/* The queue is full, and says so for as long as it is. */
	assert_int_equal(vfio_user_stream_init(&s, MAX, 4096), 0);
	assert_null(vfio_user_stream_put(&s, 0, 1, 0, 0, 4096, NULL, 0));
	assert_null(vfio_user_stream_put(&s, 0, 1, 0, 0, SIZE_MAX - 4, NULL, 0));
	while (vfio_user_stream_put(&s, 0, 1, 0, 0, 48, NULL, 0))
		n++;
	assert_int_equal(n, 64);
	vfio_user_stream_fini(&s);

	for (unsigned i = 0; i < VFIO_USER_STREAM_FDS + 1; i++)
		fds[i] = efd;
	begin(&p);
	assert_null(vfio_user_stream_put(&p.a, 0, 1, 0, 0, 0, fds, VFIO_USER_STREAM_FDS + 1));
	for (n = 0; vfio_user_stream_put(&p.a, 0, 1, 0, 0, 0, fds, 1);)
		n++;
	assert_int_equal(n, VFIO_USER_STREAM_MARKS);
	vfio_user_stream_fini(&p.a);
	assert_int_equal(vfio_user_stream_init(&p.a, MAX, MAX), 0);

	/* More descriptors with the bytes of one message than one may have: all of them are closed. */
	for (unsigned i = 0; i < 3; i++) {
		static char header[] = "\1\0\1\0\x30\0\0\0\0\0\0";
		struct iovec iov = {header + 4 * i, 4};
		union {
			struct cmsghdr align;
			char bytes[CMSG_SPACE(8 * sizeof(int))];
		} control = {0};
		struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
				    .msg_controllen = sizeof(control.bytes)};
		struct cmsghdr *c = CMSG_FIRSTHDR(&mh);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(8 * sizeof(int));
		memcpy(CMSG_DATA(c), fds, 8 * sizeof(int));
		assert_int_equal(sendmsg(p.fd[0], &mh, 0), 4);
		assert_int_equal(vfio_user_stream_receive(&p.b, p.fd[1]), 4);
	}
	assert_int_equal(write(p.fd[0], "\0\0\0\0", 4), 4); /* the header is whole, 0x30 bytes are wanted */
	assert_int_equal(vfio_user_stream_receive(&p.b, p.fd[1]), 4);
	assert_int_equal(vfio_user_stream_next(&p.b, &m), 0);
	assert_int_equal(write(p.fd[0], "0123456789abcdef0123456789abcdef", 32), 32);
	assert_int_equal(vfio_user_stream_receive(&p.b, p.fd[1]), 32);
	assert_int_equal(vfio_user_stream_next(&p.b, &m), -E2BIG);
	assert_int_equal(p.b.n_batches, 0);
	/* The end. */
	shutdown(p.fd[0], SHUT_WR);
	assert_int_equal(vfio_user_stream_receive(&p.b, p.fd[1]), -EPIPE);
	close(efd);
	end(&p);
}

/* A message that is given back comes again, with its descriptors, before all others; what is dropped never leaves. */
static void back_and_forth(void **state)
{
	int fds[2] = {eventfd(7, 0), eventfd(8, 0)};
	struct vfio_user_message m;
	struct pair p;
	uint64_t count;

	(void)state;
	begin(&p);
	put(&p.a, 1, 20, fds, 2);
	put(&p.a, 2, 30, fds, 1);
	put(&p.a, 3, 4, NULL, 0);
	assert_int_equal(vfio_user_stream_send(&p.a, p.fd[0]), 0);
	while (vfio_user_stream_receive(&p.b, p.fd[1]) > 0)
		;
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(vfio_user_stream_next(&p.b, &m), 1);
		check(&m, 1, 20, 2);
		assert_int_equal(read(m.fds[1], &count, 8), i == 0 ? 8 : -1); /* the same one, emptied by the first */
		fcntl(m.fds[1], F_SETFL, O_NONBLOCK);
		vfio_user_stream_unget(&p.b, &m);
		assert_int_equal(m.n_fds, 0);
	}
	for (uint16_t id = 1; id < 4; id++) {
		assert_int_equal(vfio_user_stream_next(&p.b, &m), 1);
		assert_int_equal(m.id, id);
		assert_int_equal(m.n_fds, 3 - id);
		vfio_user_message_done(&m);
	}
	assert_int_equal(vfio_user_stream_pending(&p.b), 0);

	put(&p.a, 4, 100, fds, 2);
	vfio_user_stream_drop(&p.a);
	assert_int_equal(vfio_user_stream_queued(&p.a), 0);
	put(&p.a, 5, 6, fds, 1);
	assert_int_equal(vfio_user_stream_send(&p.a, p.fd[0]), 0);
	assert_true(vfio_user_stream_receive(&p.b, p.fd[1]) > 0);
	assert_int_equal(vfio_user_stream_next(&p.b, &m), 1);
	check(&m, 5, 6, 1);
	vfio_user_message_done(&m);
	close(fds[0]);
	close(fds[1]);
	end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_messages),
		cmocka_unit_test(descriptors),
		cmocka_unit_test(calls_hold_whole_messages),
		cmocka_unit_test(headers_that_cannot_be),
		cmocka_unit_test(bounds),
		cmocka_unit_test(back_and_forth),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
