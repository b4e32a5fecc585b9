/* SPDX-License-Identifier: Apache-2.0 */
/* The QMP client against a scripted QEMU on a socketpair. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "root/qmp.h"
#include "util/loop.h"

#define GREETING                                                                                                       \
	"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 3, \"minor\": 1, \"major\": 11}, \"package\": \"x\"}, "          \
	"\"capabilities\": [\"oob\"]}}\r\n"

static struct fb_loop *loop;
static struct fb_qmp *q;
static int peer;
static unsigned n_connected, n_lost, n_events, n_done;
static int lost_err;
static char lost_why[256], last_event[64], last_result[256], version[32], order[64];

static void connected(void *arg, const char *v)
{
	n_connected++;
	strncpy(version, v, sizeof(version) - 1);
}

static void lost(void *arg, int err, const char *why)
{
	n_lost++;
	lost_err = err;
	strncpy(lost_why, why, sizeof(lost_why) - 1);
}

static void event(void *arg, const char *name, json_t *data)
{
	n_events++;
	strcat(order, "e");
	snprintf(last_event, sizeof(last_event), "%s %s", name, json_string_value(json_object_get(data, "device")));
}

static void done(void *arg, json_t *result, const char *error_class, const char *error)
{
	char *text = result ? json_dumps(result, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;

	n_done++;
	strcat(order, arg);
	snprintf(last_result, sizeof(last_result), "%s", text ? text : error_class ? error : "lost");
	free(text);
}

static const struct fb_qmp_user user = {.connected = connected, .lost = lost, .event = event};

static void rounds(unsigned n)
{
	while (n-- > 0)
		fb_loop_once(loop, 0);
}

static void say(const char *text)
{
	assert_int_equal(write(peer, text, strlen(text)), strlen(text));
	rounds(3);
}

/* The next line that the client sent. */
static const char *hear(void)
{
	static char line[4096];
	size_t n = 0;

	rounds(2);
	while (n < sizeof(line) - 1 && read(peer, line + n, 1) == 1 && line[n] != '\n')
		n++;
	line[n] = '\0';
	return line;
}

static int setup(void **state)
{
	int sv[2];

	n_connected = n_lost = n_events = n_done = 0;
	order[0] = lost_why[0] = '\0';
	assert_int_equal(fb_loop_new(&loop, 0), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
	peer = sv[0];
	assert_int_equal(fb_qmp_new_fd(&q, loop, sv[1], &user, NULL), 0);
	return 0;
}

static int setup_up(void **state)
{
	setup(state);
	say(GREETING);
	assert_string_equal(hear(), "{\"execute\":\"qmp_capabilities\",\"id\":1}");
	say("{\"return\": {}, \"id\": 1}\r\n");
	assert_int_equal(n_connected, 1);
	return 0;
}

static int teardown(void **state)
{
	fb_qmp_free(q);
	fb_loop_free(loop);
	close(peer);
	return 0;
}

static void test_good(void **state)
{
	assert_string_equal(version, "11.1.3");
	assert_true(fb_qmp_up(q));
	assert_int_equal(fb_qmp_command(q, "query-status", NULL, done, "a"), 0);
	assert_int_equal(fb_qmp_command(q, "device_del", json_pack("{s:s}", "id", "x"), done, "b"), 0);
	assert_string_equal(hear(), "{\"execute\":\"query-status\",\"id\":2}");
	assert_string_equal(hear(), "{\"execute\":\"device_del\",\"id\":3,\"arguments\":{\"id\":\"x\"}}");
	say("{\"return\": {\"status\": \"running\"}, \"id\": 2}\r\n{\"error\": {\"class\": \"DeviceNotFound\", \"desc\": "
	    "\"no such\"}, \"id\": 3}\r\n");
	assert_string_equal(order, "ab");
	assert_string_equal(last_result, "no such");
	assert_int_equal(fb_qmp_stats(q)->errors, 1);
}

static void test_events_between(void **state)
{
	assert_int_equal(fb_qmp_command(q, "device_del", NULL, done, "a"), 0);
	hear();
	say("{\"event\": \"ACPI_DEVICE_OST\", \"data\": {}}\n{\"return\": {}, \"id\": 2}\n{\"event\": \"DEVICE_DELETED\", "
	    "\"data\": {\"device\": \"farbus-ssd0\", \"path\": \"/x\"}, \"timestamp\": {\"seconds\": 1}}\n");
	assert_string_equal(order, "eae");
	assert_string_equal(last_event, "DEVICE_DELETED farbus-ssd0");
}

static void test_byte_by_byte(void **state)
{
	static const char text[] = "{\"return\": [1, 2], \"id\": 2}\r\n";

	assert_int_equal(fb_qmp_command(q, "x", NULL, done, "a"), 0);
	for (unsigned i = 0; i < sizeof(text) - 1; i++) {
		assert_int_equal(n_done, 0);
		assert_int_equal(write(peer, text + i, 1), 1);
		rounds(1);
	}
	rounds(2);
	assert_string_equal(last_result, "[1,2]");
}

static void test_not_qmp(void **state)
{
	static const char *const bad[] = {
		"SSH-2.0-OpenSSH_9.2\r\n",
		"[]\n",
		"{}\n",
		"{\"QMP\": {}}\n",
		"{\"QMP\": {\"version\": {\"qemu\": {\"major\": \"11\", \"minor\": 1, \"micro\": 1}}}}\n",
		"{\"return\": {}}\n",
		"\x7f\x01\x02\n",
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (i) {
			teardown(state);
			setup(state);
		}
		say(bad[i]);
		assert_int_equal(n_connected, 0);
		assert_int_equal(n_lost, 1);
		assert_int_equal(lost_err, -EPROTO);
		assert_non_null(strstr(lost_why, "does not speak QMP"));
	}
}

static void test_capabilities_refused(void **state)
{
	say(GREETING);
	hear();
	say("{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"not today\"}, \"id\": 1}\n");
	assert_int_equal(n_lost, 1);
	assert_non_null(strstr(lost_why, "not today"));
}

static void test_garbage_later(void **state)
{
	static const char *const bad[] = {
		"nonsense\n",	     "{\"return\": {}, \"id\": 77}\n", "{\"return\": {}}\n",
		"{\"id\": 2}\n",     "{\"error\": 3, \"id\": 2}\n",    "{\"return\": {}, \"id\": \"2\"}\n",
		"{\"error\": {}}\n", "{\"return\": {}, \"id\": 2\n",
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (i) {
			teardown(state);
			setup_up(state);
		}
		assert_int_equal(fb_qmp_command(q, "x", NULL, done, "a"), 0);
		say(bad[i]);
		if (n_lost != 1 || n_done != 1)
			fail_msg("row %u: %u lost, %u done", i, n_lost, n_done);
		assert_string_equal(last_result, "lost");
		assert_int_equal(fb_qmp_command(q, "x", NULL, done, "a"), -ENOTCONN);
	}
}

static void test_error_without_text(void **state)
{
	assert_int_equal(fb_qmp_command(q, "x", NULL, done, "a"), 0);
	say("{\"error\": {}, \"id\": 2}\n");
	assert_int_equal(n_lost, 0);
	assert_string_equal(last_result, "no reason given");
}

static void test_end(void **state)
{
	assert_int_equal(fb_qmp_command(q, "x", NULL, done, "a"), 0);
	assert_int_equal(fb_qmp_command(q, "y", NULL, done, "b"), 0);
	shutdown(peer, SHUT_RDWR);
	rounds(3);
	assert_int_equal(n_lost, 1);
	assert_string_equal(order, "ab");
	assert_false(fb_qmp_up(q));
}

static void test_line_without_end(void **state)
{
	char *chunk = malloc(65536);

	memset(chunk, ' ', 65536);
	for (unsigned i = 0; i < 64 && n_lost == 0; i++) {
		if (write(peer, chunk, 65536) < 0)
			assert_int_equal(errno, EAGAIN);
		rounds(4);
	}
	assert_int_equal(n_lost, 1);
	assert_int_equal(lost_err, -EMSGSIZE);
	free(chunk);
}

static bool until_lost(unsigned n, unsigned ms)
{
	uint64_t end = fb_clock_ns() + ms * UINT64_C(1000000);

	while (n_lost < n && fb_clock_ns() < end)
		fb_loop_once(loop, fb_clock_ns() + 5000000);
	return n_lost >= n;
}

static void test_connects_again(void **state)
{
	char dir[] = "/tmp/fb-qmp-XXXXXX", path[128];
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd, flags;

	teardown(state);
	setup(state);
	fb_qmp_free(q);
	n_lost = 0;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/qmp", dir);
	assert_int_equal(fb_qmp_new(&q, loop, path, &user, NULL), 0);
	assert_true(until_lost(2, 3000)); /* not there, and again */
	assert_int_equal(lost_err, -ENOENT);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	memcpy(sun.sun_path, path, strlen(path));
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(fd, 1), 0);
	close(peer);
	for (unsigned i = 0; i < 2000; i++) {
		fb_loop_once(loop, fb_clock_ns() + 5000000);
		peer = accept(fd, NULL, NULL);
		if (peer >= 0)
			break;
	}
	assert_true(peer >= 0);
	flags = fcntl(peer, F_GETFL);
	fcntl(peer, F_SETFL, flags | O_NONBLOCK);
	say(GREETING);
	hear();
	say("{\"return\": {}, \"id\": 1}\n");
	assert_int_equal(n_connected, 1);
	close(fd);
	unlink(path);
	rmdir(dir);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup_up, teardown)
#define N(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_good),	   T(test_events_between),  T(test_byte_by_byte),	 N(test_not_qmp),
		N(test_capabilities_refused), T(test_garbage_later), T(test_error_without_text), T(test_end),
		T(test_line_without_end),	  N(test_connects_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
