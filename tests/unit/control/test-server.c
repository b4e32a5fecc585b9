/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket for real: a server on a loop in this thread, clients in another. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "control/client.h"
#include "control/control.h"
#include "util/loop.h"

static char dir[] = "/tmp/farbus-control-XXXXXX";
static char path[64];
static struct fb_loop *loop;
static struct fb_control *control;

struct later {
	struct fb_timer timer;
	struct fb_control_call *call;
	bool gone;
};
static struct later later;

static json_t *run_echo(void *arg, const json_t *request, struct fb_control_call *call)
{
	return json_deep_copy(request);
}

static json_t *run_big(void *arg, const json_t *request, struct fb_control_call *call)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < 200000; i++)
		json_array_append_new(list, json_integer(i));
	return list;
}

static void answer_later(struct fb_timer *t)
{
	fb_control_progress(later.call, "almost");
	fb_control_done(later.call, json_integer(7));
}

static void later_gone(void *arg)
{
	fb_timer_cancel(&later.timer);
	later.gone = true;
}

static json_t *run_later(void *arg, const json_t *request, struct fb_control_call *call)
{
	later.call = call;
	later.timer.due = answer_later;
	fb_control_on_gone(call, later_gone, NULL);
	fb_timer_set(loop, &later.timer, fb_loop_now(loop) + 20000000);
	return NULL;
}

/* Writes its number into each descriptor that comes with the request, and ends when the client says no more. */
static json_t *run_mark(void *arg, const json_t *request, struct fb_control_call *call)
{
	const int *fds;
	unsigned n = fb_control_fds(call, &fds);

	for (unsigned i = 0; i < n; i++) {
		char digit = (char)('0' + i % 10);

		if (write(fds[i], &digit, 1) != 1)
			fb_loop_stop(loop); /* the test then fails */
	}
	return json_integer(n);
}

static void last_word(void *arg)
{
	fb_control_done(arg, json_string("ended"));
}

static json_t *run_until_eof(void *arg, const json_t *request, struct fb_control_call *call)
{
	fb_control_on_eof(call, last_word, call);
	fb_control_progress(call, "almost");
	return NULL;
}

static const struct fb_control_verb verbs[] = {
	{"echo", run_echo}, {"big", run_big},		{"later", run_later},
	{"mark", run_mark}, {"until-eof", run_until_eof}, {NULL, NULL}};

static struct fb_control_config config = {.role = "test", .verbs = verbs};

static int set_up(void **state)
{
	memset(&later, 0, sizeof(later));
	config.path = path;
	assert_int_equal(fb_loop_new(&loop, 0), 0);
	return fb_control_open(&control, loop, &config);
}

static int tear_down(void **state)
{
	fb_control_close(control);
	fb_loop_free(loop);
	return 0;
}

/* Runs `body` in a thread while the server is served here. */
static void *(*body)(void *);
static void *in_thread(void *arg)
{
	body(arg);
	fb_loop_stop(loop);
	return NULL;
}

static void with_clients(void *(*f)(void *), void *arg)
{
	pthread_t thread;

	body = f;
	assert_int_equal(pthread_create(&thread, NULL, in_thread, arg), 0);
	assert_int_equal(fb_loop_run(loop), 0);
	pthread_join(thread, NULL);
}

/* cmocka's asserts jump, which must not happen in another thread: threads collect, the test looks. */
struct outcome {
	int err;
	json_t *result;
	char *error;
	unsigned progress;
	unsigned n;
};

static void count(void *arg, const char *text)
{
	((struct outcome *)arg)->progress += !strcmp(text, "almost");
}

static void ask(struct outcome *o, const char *verb)
{
	json_t *request = json_pack("{s:s}", "verb", verb);

	o->err = fb_control_ask(path, request, 5000000000, count, o, &o->result, &o->error);
	json_decref(request);
}

/* ---- Descriptors, and the client that says no more ----------------------------- */

struct passing {
	struct outcome o;
	int pipe[2];
	int fd;
};

static void *pass_descriptors(void *arg)
{
	struct passing *p = arg;
	int fds[FB_CONTROL_FDS_MAX];
	json_t *request = json_pack("{s:s}", "verb", "mark"), *again = NULL;

	for (unsigned i = 0; i < FB_CONTROL_FDS_MAX; i++)
		fds[i] = p->pipe[1];
	p->fd = fb_control_connect(path, 5000000000, &p->o.error);
	p->o.err = fb_control_call(p->fd, path, request, fds, FB_CONTROL_FDS_MAX, 5000000000, NULL, NULL, &p->o.result,
				   &p->o.error);
	/* The next request of the same connection has none of them. */
	if (!p->o.err)
		p->o.err = fb_control_call(p->fd, path, request, NULL, 0, 5000000000, NULL, NULL, &again, &p->o.error);
	p->o.n = (unsigned)json_integer_value(again);
	json_decref(again);
	json_decref(request);
	return NULL;
}

static void descriptors_come_along(void **state)
{
	struct passing p = {.o.err = -1};
	char marks[2 * FB_CONTROL_FDS_MAX];

	assert_int_equal(pipe(p.pipe), 0);
	with_clients(pass_descriptors, &p);
	assert_int_equal(p.o.err, 0);
	assert_int_equal(json_integer_value(p.o.result), FB_CONTROL_FDS_MAX);
	assert_int_equal(p.o.n, 0);
	assert_int_equal(read(p.pipe[0], marks, sizeof(marks)), FB_CONTROL_FDS_MAX);
	assert_memory_equal(marks, "0123456789012", 13);
	/* The server has closed its copies, though the connection is still there: ours was the last one. */
	close(p.pipe[1]);
	assert_int_equal(read(p.pipe[0], marks, sizeof(marks)), 0);
	close(p.pipe[0]);
	close(p.fd);
	json_decref(p.o.result);
}

static void say_no_more(void *arg, const char *text)
{
	struct passing *p = arg;

	p->o.progress++;
	shutdown(p->fd, SHUT_WR);
}

static void *ask_until_eof(void *arg)
{
	struct passing *p = arg;
	json_t *request = json_pack("{s:s}", "verb", "until-eof");

	p->fd = fb_control_connect(path, 5000000000, &p->o.error);
	p->o.err = fb_control_call(p->fd, path, request, NULL, 0, 5000000000, say_no_more, p, &p->o.result, &p->o.error);
	json_decref(request);
	return NULL;
}

static void client_that_says_no_more(void **state)
{
	struct passing p = {.o.err = -1};

	with_clients(ask_until_eof, &p);
	assert_int_equal(p.o.err, 0);
	assert_int_equal(p.o.progress, 1);
	assert_string_equal(json_string_value(p.o.result), "ended");
	json_decref(p.o.result);
	close(p.fd);
}

static void *ask_echo(void *arg)
{
	ask(arg, "echo");
	return NULL;
}

static void *ask_later(void *arg)
{
	ask(arg, "later");
	return NULL;
}

static void *ask_big(void *arg)
{
	ask(arg, "big");
	return NULL;
}

static void *ask_nonsense(void *arg)
{
	ask(arg, "ecko");
	return NULL;
}

static void asks_and_hears(void **state)
{
	struct outcome o = {0};

	with_clients(ask_echo, &o);
	assert_int_equal(o.err, 0);
	assert_string_equal(json_string_value(json_object_get(o.result, "verb")), "echo");
	json_decref(o.result);
}

static void answer_that_comes_later(void **state)
{
	struct outcome o = {0};

	with_clients(ask_later, &o);
	assert_int_equal(o.err, 0);
	assert_int_equal(json_integer_value(o.result), 7);
	assert_int_equal(o.progress, 1);
	assert_false(later.gone);
	json_decref(o.result);
}

static void answer_larger_than_the_socket_takes(void **state)
{
	struct outcome o = {0};

	with_clients(ask_big, &o);
	assert_int_equal(o.err, 0);
	assert_int_equal(json_array_size(o.result), 200000);
	json_decref(o.result);
}

static void refusal_reaches_the_user(void **state)
{
	struct outcome o = {0};

	with_clients(ask_nonsense, &o);
	assert_int_equal(o.err, -ENOSYS);
	assert_string_equal(o.error, "no verb \"ecko\"; did you mean \"echo\"?");
	free(o.error);
}

static int raw_client(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(addr.sun_path, path);
	return connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 ? fd : -1;
}

/* One that asks and leaves: the verb hears of it. */
static void *leave(void *arg)
{
	static const char text[] = "{\"verb\":\"later\"}\n";
	struct outcome echo = {0};
	int fd = raw_client();

	*(bool *)arg = write(fd, text, sizeof(text) - 1) == (ssize_t)sizeof(text) - 1;
	ask(&echo, "echo"); /* served behind the first */
	close(fd);
	json_decref(echo.result);
	ask(&echo, "echo");
	json_decref(echo.result);
	return NULL;
}

static void client_leaves_in_the_middle(void **state)
{
	bool sent = false;

	with_clients(leave, &sent);
	assert_true(sent);
	/* Its connection is closed for writing too, so there is no reading side to wait for. */
	for (unsigned i = 0; i < 100 && !later.gone; i++)
		fb_loop_once(loop, fb_clock_ns() + 1000000);
	assert_true(later.gone);
}

/* Half-closed after the question, as "nc -N" does: the answer still comes. */
static void *half_close(void *arg)
{
	static const char text[] = "{\"verb\":\"later\"}\n{\"verb\":\"echo\"}\n";
	struct outcome *o = arg;
	int fd = raw_client();
	char buf[512];
	ssize_t n;

	if (write(fd, text, sizeof(text) - 1) < 0)
		return NULL;
	shutdown(fd, SHUT_WR);
	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			o->n += buf[i] == '\n';
	}
	o->err = n < 0 ? -errno : 0;
	close(fd);
	return NULL;
}

static void client_that_only_listens(void **state)
{
	struct outcome o = {0};

	with_clients(half_close, &o);
	assert_int_equal(o.err, 0);
	assert_int_equal(o.n, 3); /* progress, its result, the echo's */
}

/* More clients than there is room for: the idle ones give way, the new one is served. */
static void *crowd(void *arg)
{
	int fds[3 * FB_CONTROL_CLIENTS_MAX]; /* more than wait in the socket's queue, too */

	for (unsigned i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		fds[i] = raw_client();
	ask(arg, "echo");
	for (unsigned i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		close(fds[i]);
	return NULL;
}

static void idle_clients_give_way(void **state)
{
	struct outcome o = {0};

	with_clients(crowd, &o);
	assert_int_equal(o.err, 0);
	json_decref(o.result);
}

static void only_its_owner_may_connect(void **state)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_string_equal(fb_control_path(control), path);
}

static void socket_in_use_is_left_alone(void **state)
{
	struct fb_control *second = NULL;
	struct stat before, after;

	stat(path, &before);
	assert_int_equal(fb_control_open(&second, loop, &config), -EADDRINUSE);
	assert_null(second);
	assert_int_equal(stat(path, &after), 0);
	assert_true(before.st_ino == after.st_ino);
}

static void stale_socket_is_replaced(void **state)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct fb_control *second = NULL;
	struct fb_control_config other = config;
	char stale[64];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(stale, sizeof(stale), "%s/stale.sock", dir);
	strcpy(addr.sun_path, stale);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd); /* the file stays, nobody listens: as after kill -9 */
	other.path = stale;
	assert_int_equal(fb_control_open(&second, loop, &other), 0);
	fb_control_close(second);
	assert_int_equal(access(stale, F_OK), -1);
}

static void other_files_are_left_alone(void **state)
{
	struct fb_control *second = NULL;
	struct fb_control_config other = config;
	char file[64], missing[64];
	FILE *f;

	snprintf(file, sizeof(file), "%s/file", dir);
	f = fopen(file, "w");
	fputs("precious", f);
	fclose(f);
	other.path = file;
	assert_int_equal(fb_control_open(&second, loop, &other), -EEXIST);
	assert_int_equal(access(file, F_OK), 0);
	unlink(file);
	snprintf(missing, sizeof(missing), "%s/none/c.sock", dir);
	other.path = missing;
	assert_int_equal(fb_control_open(&second, loop, &other), -ENOENT);
}

/* What came to lie at the path since is another daemon's. */
static void close_removes_only_its_own(void **state)
{
	struct fb_control *second = NULL;
	struct fb_control_config other = config;
	char mine[64];
	FILE *f;

	snprintf(mine, sizeof(mine), "%s/mine.sock", dir);
	other.path = mine;
	assert_int_equal(fb_control_open(&second, loop, &other), 0);
	unlink(mine);
	f = fopen(mine, "w");
	fclose(f);
	fb_control_close(second);
	assert_int_equal(access(mine, F_OK), 0);
	unlink(mine);
}

static void finds_the_living_and_buries_the_dead(void **state)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct fb_control *second = NULL;
	struct fb_control_config other = config;
	char run[64], dead[96], **found;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	unsigned mine = 0;

	setenv("XDG_RUNTIME_DIR", dir, 1);
	snprintf(run, sizeof(run), "%s/farbus", dir);
	mkdir(run, 0755);
	snprintf(dead, sizeof(dead), "%s/box-1.sock", run);
	strcpy(addr.sun_path, dead);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/root-2.sock", run);
	other.path = addr.sun_path;
	assert_int_equal(fb_control_open(&second, loop, &other), 0);
	assert_int_equal(fb_control_find(&found), 0);
	for (char **p = found; *p; p++) {
		mine += !strcmp(*p, addr.sun_path);
		assert_string_not_equal(*p, dead);
	}
	assert_int_equal(mine, 1);
	assert_int_equal(access(dead, F_OK), -1);
	fb_control_free_list(found);
	fb_control_close(second);
	rmdir(run);
	unsetenv("XDG_RUNTIME_DIR");
}

/* What answers is no farbus daemon. */
static void *garbage_server(void *arg)
{
	int fd = accept(*(int *)arg, NULL, NULL);
	char buf[256];

	if (read(fd, buf, sizeof(buf)) > 0 && write(fd, "220 mail ready\n", 15) == 15)
		shutdown(fd, SHUT_WR);
	close(fd);
	return NULL;
}

static void stranger_is_named(void **state)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	json_t *request = json_pack("{s:s}", "verb", "ls"), *result = NULL;
	pthread_t thread;
	char *error;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/mail.sock", dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 1), 0);
	pthread_create(&thread, NULL, garbage_server, &fd);
	assert_int_equal(fb_control_ask(addr.sun_path, request, 5000000000, NULL, NULL, &result, &error), -EPROTO);
	assert_non_null(strstr(error, "not a farbus daemon"));
	free(error);
	pthread_join(thread, NULL);
	close(fd);
	assert_int_equal(fb_control_ask(addr.sun_path, request, 5000000000, NULL, NULL, &result, &error), -ECONNREFUSED);
	assert_non_null(strstr(error, "no daemon listens there"));
	free(error);
	unlink(addr.sun_path);
	json_decref(request);
}

/* Nobody serves the loop, so no answer comes: the time given is kept. */
static void time_is_bounded(void **state)
{
	json_t *request = json_pack("{s:s}", "verb", "echo"), *result = NULL;
	uint64_t start = fb_clock_ns();
	char *error;

	assert_int_equal(fb_control_ask(path, request, 50000000, NULL, NULL, &result, &error), -ETIMEDOUT);
	assert_true(fb_clock_ns() - start >= 50000000);
	free(error);
	json_decref(request);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(asks_and_hears),
		TEST(answer_that_comes_later),
		TEST(answer_larger_than_the_socket_takes),
		TEST(refusal_reaches_the_user),
		TEST(client_leaves_in_the_middle),
		TEST(descriptors_come_along),
		TEST(client_that_says_no_more),
		TEST(client_that_only_listens),
		TEST(idle_clients_give_way),
		TEST(only_its_owner_may_connect),
		TEST(socket_in_use_is_left_alone),
		TEST(stale_socket_is_replaced),
		TEST(other_files_are_left_alone),
		TEST(close_removes_only_its_own),
		TEST(finds_the_living_and_buries_the_dead),
		TEST(stranger_is_named),
		TEST(time_is_bounded),
	};
	int failed;

	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/c.sock", dir);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(dir);
	return failed;
}
