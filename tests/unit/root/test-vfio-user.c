/* SPDX-License-Identifier: Apache-2.0 */
/* The connection without the commands: what it hands out, and when. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "root/vfio_user.h"

static struct fb_vu_conn conn;
static unsigned n_messages;

static int large_answer(void *arg, struct vfio_user_message *msg)
{
	uint8_t *p = fb_vu_put(&conn, msg->id, msg->command, VFIO_USER_TYPE_REPLY, 0, FB_VU_OUT_BUSY);

	n_messages++;
	assert_non_null(p);
	memset(p, 0, FB_VU_OUT_BUSY);
	return 0;
}

static void closed(void *arg, const char *why)
{
	fail_msg("closed: %s", why);
}

/* What came in one piece is served to the end, also when the answers stop it for a moment and leave at once then. */
static void test_goes_on_after_much_output(void **state)
{
	static const struct fb_vu_ops ops = {.message = large_answer, .closed = closed};
	static const uint8_t header[16] = {1, 0, VFIO_USER_DEVICE_GET_INFO, 0, 16};
	uint8_t three[48];
	struct fb_loop *loop;
	int fds[2], size = 8 << 20;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	if (setsockopt(fds[0], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0) {
		close(fds[0]);
		close(fds[1]);
		print_message("skipped: a large socket buffer needs CAP_NET_ADMIN\n");
		skip();
	}
	assert_int_equal(fb_loop_new(&loop, 0), 0);
	assert_int_equal(fb_vu_open(&conn, loop, fds[0], &ops, NULL), 0);
	for (unsigned i = 0; i < 3; i++)
		memcpy(three + 16 * i, header, 16);
	assert_int_equal(write(fds[1], three, sizeof(three)), sizeof(three));
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(fb_loop_once(loop, 0), 0);
	assert_int_equal(n_messages, 3);
	fb_vu_close(&conn);
	close(fds[1]);
	fb_loop_free(loop);
}

/* However much of what it sent was not read, the peer sees an end and not a reset. */
static void test_ends_calmly(void **state)
{
	static const struct fb_vu_ops ops = {.message = large_answer, .closed = closed};
	static const uint8_t bytes[10000];
	struct fb_loop *loop;
	uint8_t byte;
	int fds[2];

	assert_int_equal(fb_loop_new(&loop, 0), 0);
	for (unsigned refused = 0; refused < 2; refused++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
		assert_int_equal(write(fds[1], bytes, sizeof(bytes)), sizeof(bytes));
		if (refused) {
			fb_vu_hang_up(fds[0]);
		} else {
			assert_int_equal(fb_vu_open(&conn, loop, fds[0], &ops, NULL), 0);
			fb_vu_close(&conn);
		}
		assert_int_equal(read(fds[1], &byte, 1), 0);
		close(fds[1]);
	}
	fb_loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ends_calmly),
		cmocka_unit_test(test_goes_on_after_much_output),
	};

	return cmocka_run_group_tests_name("vfio-user", tests, NULL, NULL);
}
