/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "util/log.h"

enum { LINE_MAX_BYTES = 1024 };

/* Runs `body` in a child whose stderr is a file that JOURNAL_STREAM names (or not), and gives what it wrote. */
static void capture(void (*body)(void), bool journal, char *out, size_t cap)
{
	FILE *f = tmpfile();
	struct stat st;
	char stream[64];
	int status;
	pid_t pid;
	size_t n;

	assert_non_null(f);
	assert_int_equal(fstat(fileno(f), &st), 0);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino + (journal ? 0 : 1));
	pid = fork();
	if (!pid) {
		setenv("JOURNAL_STREAM", stream, 1);
		dup2(fileno(f), STDERR_FILENO);
		body();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	rewind(f);
	n = fread(out, 1, cap - 1, f);
	out[n] = '\0';
	fclose(f);
}

static void some_lines(void)
{
	errno = 42;
	fb_error("ssd0", "cannot open %s", "disk.img");
	fb_warn(NULL, "two\nlines\x1b[2J");
	fb_info("port0", "up");
	fb_debug("port0", "not shown");
	fb_log_set_level(FB_LOG_DEBUG);
	fb_debug("port0", "shown");
	if (errno != 42)
		_exit(1);
}

static void test_terminal(void **state)
{
	static const char *const expect[] = {" error: ssd0: cannot open disk.img", " warning: two?lines?[2J", " port0: up",
					     " debug: port0: shown"};
	char out[8192], *cursor = out;

	capture(some_lines, false, out, sizeof(out));
	for (unsigned i = 0; i < 4; i++) {
		char *line = strsep(&cursor, "\n");
		int h, m, s, ms;

		assert_non_null(line);
		assert_int_equal(sscanf(line, "%2d:%2d:%2d.%3d", &h, &m, &s, &ms), 4);
		assert_string_equal(line + 12, expect[i]);
	}
	assert_string_equal(cursor, "");
}

static void test_journal(void **state)
{
	char out[8192];

	capture(some_lines, true, out, sizeof(out));
	assert_string_equal(out, "<3>ssd0: cannot open disk.img\n<4>two?lines?[2J\n<6>port0: up\n<7>port0: shown\n");
}

static void some_lines_of_a_program(void)
{
	fb_log_set_program("farbus");
	some_lines();
	fb_log_set_program(NULL);
	fb_info(NULL, "of a log again");
}

/* Neither time nor "error": it is all that the program has to say. The journal wants its priority all the same. */
static void test_program(void **state)
{
	static const char said[] = "farbus: ssd0: cannot open disk.img\nfarbus: warning: two?lines?[2J\nfarbus: port0: up\n"
				   "farbus: debug: port0: shown\n";
	char out[8192];
	int h, m, s, ms;

	capture(some_lines_of_a_program, false, out, sizeof(out));
	assert_memory_equal(out, said, sizeof(said) - 1);
	assert_int_equal(sscanf(out + sizeof(said) - 1, "%2d:%2d:%2d.%3d of a log", &h, &m, &s, &ms), 4);
	capture(some_lines_of_a_program, true, out, sizeof(out));
	assert_memory_equal(out, "<3>ssd0: ", 9);
}

static void long_line(void)
{
	char text[4096];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	fb_info("o", "%s", text);
	fb_info(text, "y");
	fb_info("end", "z");
}

static void test_long(void **state)
{
	char out[16384], *cursor = out;

	capture(long_line, true, out, sizeof(out));
	assert_true(strlen(strsep(&cursor, "\n")) < LINE_MAX_BYTES);
	assert_true(strlen(strsep(&cursor, "\n")) < LINE_MAX_BYTES);
	assert_string_equal(cursor, "<6>end: z\n");
}

static void test_limit(void **state)
{
	struct fb_log_limit limit = {0};
	uint64_t left_out = 7, s = 1000000000;

	assert_true(fb_log_allowed(&limit, 5 * s, &left_out));
	assert_int_equal(left_out, 0);
	assert_false(fb_log_allowed(&limit, 5 * s + 1, &left_out));
	assert_false(fb_log_allowed(&limit, 6 * s - 1, &left_out));
	assert_true(fb_log_allowed(&limit, 6 * s, &left_out));
	assert_int_equal(left_out, 2);
	assert_true(fb_log_allowed(&limit, 8 * s, &left_out));
	assert_int_equal(left_out, 0);
}

static unsigned evaluated;

static unsigned evaluate(void)
{
	return ++evaluated;
}

static void limited_lines(void)
{
	struct fb_log_limit limit = {0};
	uint64_t s = 1000000000;

	for (unsigned i = 0; i < 5; i++)
		fb_warn_limited(&limit, 5 * s + i, "ssd0", "line %u", evaluate());
	fb_warn_limited(&limit, 7 * s, "ssd0", "line %u", evaluate());
	fb_log_limited(&limit, 1, 9 * s, FB_LOG_INFO, NULL, "line %u", evaluate());
	fb_log_limited(&limit, 1, 9 * s, FB_LOG_INFO, NULL, "line %u", evaluate());
	fb_log_limited(&limit, 1, 9 * s, FB_LOG_INFO, NULL, "line %u", evaluate());
}

/* What is left out is counted by the next line, and not even evaluated. */
static void test_limited(void **state)
{
	char out[8192];

	capture(limited_lines, true, out, sizeof(out));
	assert_string_equal(out, "<4>ssd0: line 1\n<4>ssd0: line 2 (4 more since the last such line)\n<6>line 3\n<6>line 4\n");
}

/* A burst after a calm time, then one a second; what the burst took comes back at one a second. */
static void test_limit_burst(void **state)
{
	struct fb_log_limit limit = {0};
	uint64_t left_out = 7, s = 1000000000;

	for (unsigned i = 0; i < 4; i++) {
		assert_true(fb_log_allowed_burst(&limit, 3, 5 * s, &left_out));
		assert_int_equal(left_out, 0);
	}
	assert_false(fb_log_allowed_burst(&limit, 3, 5 * s, &left_out));
	assert_false(fb_log_allowed_burst(&limit, 3, 6 * s - 1, &left_out));
	assert_true(fb_log_allowed_burst(&limit, 3, 6 * s, &left_out));
	assert_int_equal(left_out, 2);
	assert_false(fb_log_allowed_burst(&limit, 3, 6 * s, &left_out));
	assert_true(fb_log_allowed_burst(&limit, 3, 8 * s, &left_out));
	assert_true(fb_log_allowed_burst(&limit, 3, 8 * s, &left_out));
	assert_false(fb_log_allowed_burst(&limit, 3, 8 * s, &left_out));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_terminal),
		cmocka_unit_test(test_journal),
		cmocka_unit_test(test_program),
		cmocka_unit_test(test_long),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_limit_burst),
		cmocka_unit_test(test_limited),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
