/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "util/text.h"

struct unit {
	const char *name;
	uint64_t factor;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Digits only; moves *p behind them. */
static int take_u64(const char **p, uint64_t *value)
{
	uint64_t v = 0;
	bool over = false;

	if (!is_digit(**p))
		return -EINVAL;
	for (; is_digit(**p); (*p)++)
		over |= __builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(**p - '0'), &v);
	*value = v;
	return over ? -ERANGE : 0;
}

static int take_hex(const char *p, uint64_t *value)
{
	uint64_t v = 0;
	unsigned digits = 0;

	for (; *p; p++, digits++) {
		unsigned d;

		if (is_digit(*p))
			d = (unsigned)(*p - '0');
		else if ((*p | 0x20) >= 'a' && (*p | 0x20) <= 'f')
			d = (unsigned)((*p | 0x20) - 'a') + 10;
		else
			return -EINVAL;
		if (v >> 60)
			return -ERANGE;
		v = v << 4 | d;
	}
	if (!digits)
		return -EINVAL;
	*value = v;
	return 0;
}

int fb_parse_u64(const char *text, uint64_t *value)
{
	const char *p = text;
	uint64_t v;
	int err;

	if (text[0] == '0' && (text[1] | 0x20) == 'x')
		return take_hex(text + 2, value);
	err = take_u64(&p, &v);
	if (err == -EINVAL || *p)
		return -EINVAL;
	if (!err)
		*value = v;
	return err;
}

/*
 * "1.5M": a decimal number and a unit of the table (which ends with a NULL
 * name). Exact: no floating point; what is below one is cut off.
 */
static int parse_scaled(const char *text, const struct unit *units, bool any_case, uint64_t *value)
{
	const char *p = text;
	uint64_t whole = 0, fraction = 0, scale = 1;
	__uint128_t v;
	int err;

	err = take_u64(&p, &whole);
	if (err == -EINVAL)
		return err;
	if (*p == '.') {
		p++;
		if (!is_digit(*p))
			return -EINVAL;
		for (; is_digit(*p); p++) {
			if (scale < 1000000000000u) {
				fraction = fraction * 10 + (uint64_t)(*p - '0');
				scale *= 10;
			}
		}
	}
	for (; units->name; units++) {
		if (any_case ? !strcasecmp(p, units->name) : !strcmp(p, units->name))
			break;
	}
	if (!units->name)
		return -EINVAL;
	if (err)
		return err;
	v = (__uint128_t)whole * units->factor + (__uint128_t)fraction * units->factor / scale;
	if (v > UINT64_MAX)
		return -ERANGE;
	*value = (uint64_t)v;
	return 0;
}

int fb_parse_size(const char *text, uint64_t *bytes)
{
	static const struct unit units[] = {
		{"", 1},	     {"B", 1},
		{"K", 1ull << 10},   {"M", 1ull << 20},	  {"G", 1ull << 30},   {"T", 1ull << 40},   {"P", 1ull << 50},
		{"KB", 1ull << 10},  {"MB", 1ull << 20},  {"GB", 1ull << 30},  {"TB", 1ull << 40},  {"PB", 1ull << 50},
		{"KiB", 1ull << 10}, {"MiB", 1ull << 20}, {"GiB", 1ull << 30}, {"TiB", 1ull << 40}, {"PiB", 1ull << 50},
		{NULL, 0},
	};

	if (text[0] == '0' && (text[1] | 0x20) == 'x')
		return take_hex(text + 2, bytes);
	return parse_scaled(text, units, true, bytes);
}

int fb_parse_rate(const char *text, uint64_t *bits_per_s)
{
	static const struct unit units[] = {
		{"", 1},	     {"K", 1000},	{"M", 1000000},	      {"G", 1000000000},
		{"bit", 1},	     {"Kbit", 1000},	{"Mbit", 1000000},    {"Gbit", 1000000000},
		{"b/s", 1},	     {"Kb/s", 1000},	{"Mb/s", 1000000},    {"Gb/s", 1000000000},
		{NULL, 0},
	};

	return parse_scaled(text, units, true, bits_per_s);
}

int fb_parse_duration_ns(const char *text, uint64_t *ns)
{
	static const struct unit units[] = {
		{"ns", 1},	     {"us", 1000},		 {"µs", 1000},	       {"ms", 1000000},
		{"s", 1000000000},   {"min", 60000000000},	 {"h", 3600000000000}, {NULL, 0},
	};
	uint64_t v;

	if (fb_parse_u64(text, &v) == 0 && v == 0) {
		*ns = 0;
		return 0;
	}
	return parse_scaled(text, units, false, ns);
}

int fb_parse_share(const char *text, uint64_t *parts)
{
	/* 1 % of 2^32 is no whole number, so the percent form is divided last. */
	static const struct unit units[] = {{"%", 1ull << 32}, {NULL, 0}};
	static const struct unit plain[] = {{"", 1ull << 32}, {NULL, 0}};
	uint64_t v;
	int err = parse_scaled(text, plain, false, &v);

	if (err == -EINVAL) {
		err = parse_scaled(text, units, false, &v);
		v /= 100;
	}
	if (err)
		return err;
	if (v > 1ull << 32)
		return -ERANGE;
	*parts = v;
	return 0;
}

int fb_parse_bool(const char *text, bool *value)
{
	static const char *const words[] = {"off", "on", "no", "yes", "false", "true", "0", "1"};

	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (!strcasecmp(text, words[i])) {
			*value = i & 1;
			return 0;
		}
	}
	return -EINVAL;
}

enum { WORD_MAX = 64 };

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;

	return m < c ? m : c;
}

/* Optimal string alignment (Damerau-Levenshtein without edits inside a swap), three rows at a time. */
unsigned fb_edit_distance(const char *a, const char *b)
{
	unsigned la = (unsigned)strnlen(a, WORD_MAX), lb = (unsigned)strnlen(b, WORD_MAX);
	unsigned rows[3][WORD_MAX + 1];
	unsigned *before = rows[0], *last = rows[1], *row = rows[2];

	memset(rows, 0, sizeof(rows));
	for (unsigned j = 0; j <= lb; j++)
		last[j] = j;
	for (unsigned i = 1; i <= la; i++) {
		unsigned *recycled = before;

		row[0] = i;
		for (unsigned j = 1; j <= lb; j++) {
			row[j] = min3(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < row[j])
				row[j] = before[j - 2] + 1;
		}
		before = last;
		last = row;
		row = recycled;
	}
	return last[lb];
}

const char *fb_nearest(const char *word, const char *const *names)
{
	const char *best = NULL;
	unsigned limit = (unsigned)strnlen(word, WORD_MAX) / 3, least;

	if (limit < 1)
		limit = 1;
	least = limit + 1;
	for (; *names; names++) {
		unsigned d = fb_edit_distance(word, *names);

		/* A one-letter word is "near" every other one-letter name: it must share something. */
		if (d < least && d < strnlen(*names, WORD_MAX)) {
			least = d;
			best = *names;
		}
	}
	return best;
}

char *fb_next_item(char **cursor, char separator)
{
	char *start = *cursor, *in = start, *out = start;

	if (!start || !*start)
		return NULL;
	for (; *in; in++) {
		if (*in == separator) {
			if (in[1] != separator)
				break;
			in++;
		}
		*out++ = *in;
	}
	*cursor = *in ? in + 1 : in;
	*out = '\0';
	return start;
}
