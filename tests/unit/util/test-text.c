/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "util/text.h"

#define UNTOUCHED 0x1234567812345678u

struct row {
	int (*parse)(const char *, uint64_t *);
	const char *text;
	int err;
	uint64_t value;
};

static const struct row rows[] = {
	{fb_parse_u64, "0", 0, 0},
	{fb_parse_u64, "18446744073709551615", 0, UINT64_MAX},
	{fb_parse_u64, "18446744073709551616", -ERANGE, 0},
	{fb_parse_u64, "0xffffffffffffffff", 0, UINT64_MAX},
	{fb_parse_u64, "0x10000000000000000", -ERANGE, 0},
	{fb_parse_u64, "0x", -EINVAL, 0},
	{fb_parse_u64, "0xg", -EINVAL, 0},
	{fb_parse_u64, "", -EINVAL, 0},
	{fb_parse_u64, "-1", -EINVAL, 0},
	{fb_parse_u64, " 1", -EINVAL, 0},
	{fb_parse_u64, "1 ", -EINVAL, 0},
	{fb_parse_u64, "1K", -EINVAL, 0},
	{fb_parse_size, "512", 0, 512},
	{fb_parse_size, "64K", 0, 65536},
	{fb_parse_size, "64k", 0, 65536},
	{fb_parse_size, "64KiB", 0, 65536},
	{fb_parse_size, "1.5M", 0, 1572864},
	{fb_parse_size, "0.0000000000000000000000001K", 0, 0},
	{fb_parse_size, "1G", 0, 1u << 30},
	{fb_parse_size, "2T", 0, 2ull << 40},
	{fb_parse_size, "0x1000", 0, 4096},
	{fb_parse_size, "16383P", 0, 16383ull << 50},
	{fb_parse_size, "16384P", -ERANGE, 0},
	{fb_parse_size, "99999999999999999999", -ERANGE, 0},
	{fb_parse_size, "1.K", -EINVAL, 0},
	{fb_parse_size, ".5K", -EINVAL, 0},
	{fb_parse_size, "K", -EINVAL, 0},
	{fb_parse_size, "1%", -EINVAL, 0},
	{fb_parse_size, "-5K", -EINVAL, 0},
	{fb_parse_rate, "1G", 0, 1000000000},
	{fb_parse_rate, "2.5Gbit", 0, 2500000000},
	{fb_parse_rate, "10Mb/s", 0, 10000000},
	{fb_parse_rate, "1Gib", -EINVAL, 0},
	{fb_parse_duration_ns, "0", 0, 0},
	{fb_parse_duration_ns, "10ms", 0, 10000000},
	{fb_parse_duration_ns, "1.5s", 0, 1500000000},
	{fb_parse_duration_ns, "200us", 0, 200000},
	{fb_parse_duration_ns, "200µs", 0, 200000},
	{fb_parse_duration_ns, "50ns", 0, 50},
	{fb_parse_duration_ns, "2min", 0, 120000000000},
	{fb_parse_duration_ns, "10", -EINVAL, 0},
	{fb_parse_duration_ns, "10M", -EINVAL, 0},
	{fb_parse_duration_ns, "99999999999h", -ERANGE, 0},
	{fb_parse_share, "100%", 0, 1ull << 32},
	{fb_parse_share, "1", 0, 1ull << 32},
	{fb_parse_share, "0.5", 0, 1ull << 31},
	{fb_parse_share, "50%", 0, 1ull << 31},
	{fb_parse_share, "1%", 0, 42949672},
	{fb_parse_share, "0", 0, 0},
	{fb_parse_share, "101%", -ERANGE, 0},
	{fb_parse_share, "1.1", -ERANGE, 0},
	{fb_parse_share, "1 %", -EINVAL, 0},
};

static void test_numbers(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t v = UNTOUCHED;
		int err = rows[i].parse(rows[i].text, &v);

		if (err != rows[i].err || v != (err ? UNTOUCHED : rows[i].value))
			fail_msg("\"%s\": %d %llu", rows[i].text, err, (unsigned long long)v);
	}
}

static void test_bool(void **state)
{
	bool b = true;

	assert_int_equal(fb_parse_bool("Off", &b), 0);
	assert_false(b);
	assert_int_equal(fb_parse_bool("yes", &b), 0);
	assert_true(b);
	assert_int_equal(fb_parse_bool("2", &b), -EINVAL);
	assert_int_equal(fb_parse_bool("", &b), -EINVAL);
	assert_true(b);
}

static void test_nearest(void **state)
{
	static const char *const names[] = {"file", "serial", "lba", "queues", "id", NULL};
	char longer[200];

	assert_int_equal(fb_edit_distance("serial", "serial"), 0);
	assert_int_equal(fb_edit_distance("serail", "serial"), 1);
	assert_int_equal(fb_edit_distance("", "abc"), 3);
	assert_int_equal(fb_edit_distance("kitten", "sitting"), 3);
	assert_string_equal(fb_nearest("serail", names), "serial");
	assert_string_equal(fb_nearest("flie", names), "file");
	assert_string_equal(fb_nearest("queue", names), "queues");
	assert_string_equal(fb_nearest("lab", names), "lba");
	assert_null(fb_nearest("bandwidth", names));
	assert_null(fb_nearest("x", names));
	assert_null(fb_nearest("", names));
	memset(longer, 'f', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_null(fb_nearest(longer, names));
}

static void test_items(void **state)
{
	char text[] = "nvme,id=a,,b,,,file=x,";
	char *cursor = text, *none = NULL;

	assert_string_equal(fb_next_item(&cursor, ','), "nvme");
	assert_string_equal(fb_next_item(&cursor, ','), "id=a,b,");
	assert_string_equal(fb_next_item(&cursor, ','), "file=x");
	assert_null(fb_next_item(&cursor, ','));
	assert_null(fb_next_item(&none, ','));
}

struct target {
	char *file;
	uint32_t queues;
	uint64_t lba, timeout, rate, loss;
	bool readonly;
	unsigned mode;
};

static const char *const modes[] = {"gbn", "sr", NULL};
#define AT(member) offsetof(struct target, member)
static const struct fb_text_option table[] = {
	{.key = "file", .type = FB_OPTION_STRING, .offset = AT(file), .min = 1, .max = 8},
	{.key = "queues", .type = FB_OPTION_UINT, .offset = AT(queues), .min = 1, .max = 64},
	{.key = "lba", .type = FB_OPTION_SIZE, .offset = AT(lba), .min = 512, .max = 4096, .power_of_2 = true},
	{.key = "timeout", .type = FB_OPTION_DURATION, .offset = AT(timeout)},
	{.key = "rate", .type = FB_OPTION_RATE, .offset = AT(rate)},
	{.key = "loss", .type = FB_OPTION_SHARE, .offset = AT(loss)},
	{.key = "readonly", .type = FB_OPTION_BOOL, .offset = AT(readonly)},
	{.key = "mode", .type = FB_OPTION_CHOICE, .offset = AT(mode), .choices = modes},
	{0},
};

/* Applies text and gives what was logged meanwhile. */
static int apply(struct target *t, const char *text, char *log, size_t cap)
{
	int pipe_fds[2], saved = dup(STDERR_FILENO), err;
	ssize_t n;

	assert_int_equal(pipe(pipe_fds), 0);
	dup2(pipe_fds[1], STDERR_FILENO);
	close(pipe_fds[1]);
	err = fb_options_apply(table, t, text, "ssd0");
	dup2(saved, STDERR_FILENO); /* closes the pipe's last writer */
	close(saved);
	n = read(pipe_fds[0], log, cap - 1);
	assert_true(n >= 0);
	log[n] = '\0';
	close(pipe_fds[0]);
	return err;
}

static void test_options(void **state)
{
	struct target t = {.queues = 8, .lba = 512};
	char log[2048];

	assert_int_equal(apply(&t, NULL, log, sizeof(log)), 0);
	assert_int_equal(apply(&t, "file=a,,b,lba=4K,timeout=5ms,readonly,mode=sr,rate=1G,loss=50%", log, sizeof(log)), 0);
	assert_string_equal(log, "");
	assert_string_equal(t.file, "a,b");
	assert_int_equal(t.queues, 8);
	assert_int_equal(t.lba, 4096);
	assert_int_equal(t.timeout, 5000000);
	assert_int_equal(t.rate, 1000000000);
	assert_int_equal(t.loss, 1u << 31);
	assert_true(t.readonly);
	assert_int_equal(t.mode, 1);
	assert_int_equal(apply(&t, "file=c,readonly=off", log, sizeof(log)), 0);
	assert_string_equal(t.file, "c");
	assert_false(t.readonly);
	fb_options_release(table, &t);
	assert_null(t.file);
}

static void test_option_messages(void **state)
{
	static const struct {
		const char *text, *says;
	} bad[] = {
		{"queus=4", "ssd0: no option \"queus\"; did you mean \"queues\"?"},
		{"colour=red", "no option \"colour\"; there are: file, queues, lba, timeout, rate, loss, readonly, mode"},
		{"lba=513", "lba=513: must be a size such as 64K, a power of 2, from 512 to 4K"},
		{"lba=8K", "lba=8K: must be"},
		{"queues=0", "queues=0: must be a number, from 1 to 64"},
		{"queues=many", "queues=many: must be a number, from 1 to 64"},
		{"queues", "queues=: must be a number"},
		{"file=", "file=: must be a text of 1 to 8 bytes"},
		{"file=123456789", "must be a text of 1 to 8 bytes"},
		{"mode=rs", "mode=rs: must be one of gbn, sr; did you mean \"sr\"?"},
		{"readonly=maybe", "readonly=maybe: must be on or off"},
		{"timeout=5", "timeout=5: must be a time such as 10ms"},
		{"loss=200%", "loss=200%: must be a share such as 1%"},
		{"=5", "an option without a name"},
		{"queues=4\nx=1", "queues=4?x=1: must be"},
	};
	char log[2048];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct target t = {.queues = 8};

		assert_int_equal(apply(&t, bad[i].text, log, sizeof(log)), -EINVAL);
		if (!strstr(log, bad[i].says))
			fail_msg("\"%s\" says: %s", bad[i].text, log);
		assert_ptr_equal(strchr(log, '\n'), log + strlen(log) - 1);
		fb_options_release(table, &t);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers), cmocka_unit_test(test_bool),	cmocka_unit_test(test_nearest),
		cmocka_unit_test(test_items),	cmocka_unit_test(test_options), cmocka_unit_test(test_option_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
