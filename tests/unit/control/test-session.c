/* SPDX-License-Identifier: Apache-2.0 */
/* The control protocol without a socket: lines in, lines out. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "control/session.h"

static struct fb_control_call *waiting; /* of the "later" verb */
static unsigned gone, runs;

static void went(void *arg)
{
	assert_ptr_equal(arg, &gone);
	gone++;
}

static json_t *run_now(void *arg, const json_t *request, struct fb_control_call *call)
{
	runs++;
	return json_pack("{s:s}", "hello", "world");
}

static json_t *run_later(void *arg, const json_t *request, struct fb_control_call *call)
{
	waiting = call;
	fb_control_on_gone(call, went, &gone);
	return NULL;
}

static json_t *run_refuse(void *arg, const json_t *request, struct fb_control_call *call)
{
	fb_control_fail(call, -EBUSY, "no slot is free");
	return NULL;
}

static const struct fb_control_verb verbs[] = {
	{"now", run_now}, {"later", run_later}, {"refuse", run_refuse}, {NULL, NULL}};

static int set_up(void **state)
{
	struct fb_control_call *s = malloc(sizeof(*s));

	fb_control_session_init(s, verbs, NULL);
	waiting = NULL;
	gone = runs = 0;
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	fb_control_session_fini(*state);
	free(*state);
	return 0;
}

static void say(struct fb_control_call *s, const char *text)
{
	fb_control_session_rx(s, text, strlen(text));
}

/* Takes all that is to be sent, and compares. */
static void hear(struct fb_control_call *s, const char *expected)
{
	const char *out;
	size_t n = fb_control_session_out(s, &out);
	char *copy = calloc(1, n + 1);

	if (n)
		memcpy(copy, out, n);
	assert_string_equal(copy, expected);
	free(copy);
	if (n)
		fb_control_session_sent(s, n);
}

#define WORLD "{\"ok\":true,\"result\":{\"hello\":\"world\"}}\n"

static void answers_a_line(void **state)
{
	struct fb_control_call *s = *state;

	say(s, "{\"verb\":");
	hear(s, "");
	say(s, "\"now\"}\n");
	hear(s, WORLD);
	say(s, "\n{\"verb\":\"refuse\"}\n"); /* an empty line is nothing */
	hear(s, "{\"ok\":false,\"error\":\"no slot is free\",\"code\":\"EBUSY\"}\n");
}

static void one_at_a_time(void **state)
{
	struct fb_control_call *s = *state;

	say(s, "{\"verb\":\"now\"}\n{\"verb\":\"later\"}\n{\"verb\":\"now\"}\n");
	hear(s, WORLD); /* the second starts only when the first answer has been taken */
	assert_non_null(waiting);
	hear(s, "");
	assert_int_equal(runs, 1);
	fb_control_progress(waiting, "half way");
	hear(s, "{\"progress\":\"half way\"}\n");
	assert_int_equal(runs, 1);
	fb_control_done(waiting, json_null());
	hear(s, "{\"ok\":true,\"result\":null}\n");
	hear(s, WORLD);
	assert_int_equal(gone, 0);
}

static void client_that_leaves(void **state)
{
	struct fb_control_call *s = *state;

	say(s, "{\"verb\":\"later\"}\n");
	fb_control_session_fini(s);
	assert_int_equal(gone, 1);
	fb_control_session_fini(s);
	assert_int_equal(gone, 1);
}

static void names_what_is_wrong(void **state)
{
	struct fb_control_call *s = *state;

	say(s, "{\"verb\":\"nov\"}\n");
	hear(s, "{\"ok\":false,\"error\":\"no verb \\\"nov\\\"; did you mean \\\"now\\\"?\",\"code\":\"ENOSYS\"}\n");
	say(s, "{}\n");
	hear(s, "{\"ok\":false,\"error\":\"a request is {\\\"verb\\\": \\\"ls\\\", …}: no verb in this one\","
		"\"code\":\"EBADMSG\"}\n");
	say(s, "[1]\n");
	hear(s, "{\"ok\":false,\"error\":\"a request is {\\\"verb\\\": \\\"ls\\\", …}: no verb in this one\","
		"\"code\":\"EBADMSG\"}\n");
	say(s, "GET / HTTP/1.1\n");
	hear(s, "{\"ok\":false,\"error\":\"not a JSON object: '[' or '{' expected near 'GET'\",\"code\":\"EBADMSG\"}\n");
	assert_false(s->over);
}

static void line_without_end(void **state)
{
	struct fb_control_call *s = *state;
	size_t fed = 0;

	while (fb_control_session_room(s)) {
		say(s, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
		fed += 40;
		assert_true(fed < 2 * FB_CONTROL_LINE_MAX);
	}
	hear(s, "{\"ok\":false,\"error\":\"the request is longer than 16384 bytes\",\"code\":\"EMSGSIZE\"}\n");
	assert_true(s->over);
}

/* A flood behind a call in progress is held in the line buffer and then not read any more. */
static void flood_is_bounded(void **state)
{
	struct fb_control_call *s = *state;
	unsigned lines = 0;

	say(s, "{\"verb\":\"later\"}\n");
	while (fb_control_session_room(s) >= 15) {
		say(s, "{\"verb\":\"now\"}\n");
		lines++;
	}
	assert_int_equal(lines, FB_CONTROL_LINE_MAX / 15);
	for (unsigned i = 0; i < 10000; i++)
		fb_control_progress(waiting, "the same again and again");
	assert_true(s->out_len < 3 * FB_CONTROL_LINE_MAX);
	fb_control_done(waiting, json_null());
	for (unsigned i = 0; i < lines; i++) {
		const char *out;
		size_t n;

		assert_int_equal(runs, i);
		n = fb_control_session_out(s, &out);
		fb_control_session_sent(s, n);
	}
	assert_int_equal(runs, lines);
}

static void half_sent(void **state)
{
	struct fb_control_call *s = *state;
	const char *out;
	size_t n;

	say(s, "{\"verb\":\"now\"}\n");
	n = fb_control_session_out(s, &out);
	fb_control_session_sent(s, 5);
	assert_int_equal(fb_control_session_out(s, &out), n - 5);
	assert_memory_equal(out, &WORLD[5], n - 5);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(answers_a_line), TEST(one_at_a_time),    TEST(client_that_leaves), TEST(names_what_is_wrong),
		TEST(line_without_end), TEST(flood_is_bounded), TEST(half_sent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
