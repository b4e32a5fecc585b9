/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/log.h"
#include "util/text.h"

enum { NAMES_MAX = 64 };

/* The value in the words that its parser takes: 65536 bytes as "64K". */
static void print_value(enum fb_text_option_type type, uint64_t v, char *buf, size_t cap)
{
	static const char *const binary[] = {"", "K", "M", "G", "T", "P", "E"};
	static const char *const decimal[] = {"", "K", "M", "G", "T", "P", "E"};
	static const struct {
		const char *name;
		uint64_t ns;
	} times[] = {{"h", 3600000000000}, {"min", 60000000000}, {"s", 1000000000}, {"ms", 1000000}, {"us", 1000}, {"ns", 1}};
	unsigned u = 0;

	switch (type) {
	case FB_OPTION_SIZE:
		for (; v && v % 1024 == 0; v /= 1024)
			u++;
		snprintf(buf, cap, "%" PRIu64 "%s", v, binary[u]);
		break;
	case FB_OPTION_RATE:
		for (; v && v % 1000 == 0; v /= 1000)
			u++;
		snprintf(buf, cap, "%" PRIu64 "%s", v, decimal[u]);
		break;
	case FB_OPTION_DURATION:
		while (v % times[u].ns)
			u++;
		snprintf(buf, cap, "%" PRIu64 "%s", v / times[u].ns, v ? times[u].name : "");
		break;
	case FB_OPTION_SHARE:
		snprintf(buf, cap, "%g%%", (double)v * 100 / 4294967296.0);
		break;
	default:
		snprintf(buf, cap, "%" PRIu64, v);
	}
}

char *fb_option_allowed(const struct fb_text_option *option, char *buf, size_t cap)
{
	static const char *const shapes[] = {
		[FB_OPTION_STRING] = "a text",
		[FB_OPTION_UINT] = "a number",
		[FB_OPTION_U64] = "a number",
		[FB_OPTION_SIZE] = "a size such as 64K",
		[FB_OPTION_DURATION] = "a time such as 10ms",
		[FB_OPTION_RATE] = "a rate in bits a second such as 1G",
		[FB_OPTION_SHARE] = "a share such as 1%",
		[FB_OPTION_BOOL] = "on or off",
		[FB_OPTION_CHOICE] = "one of",
	};
	char min[32], max[32];
	size_t used;

	snprintf(buf, cap, "%s", shapes[option->type]);
	if (option->type == FB_OPTION_CHOICE) {
		for (const char *const *c = option->choices; *c; c++) {
			used = strlen(buf);
			snprintf(buf + used, cap - used, "%s %s", c == option->choices ? "" : ",", *c);
		}
		return buf;
	}
	if (option->power_of_2) {
		used = strlen(buf);
		snprintf(buf + used, cap - used, "%s", ", a power of 2");
	}
	if (!option->min && !option->max)
		return buf;
	used = strlen(buf);
	if (option->type == FB_OPTION_STRING) {
		snprintf(buf + used, cap - used, " of %" PRIu64 " to %" PRIu64 " bytes", option->min, option->max);
		return buf;
	}
	print_value(option->type, option->min, min, sizeof(min));
	print_value(option->type, option->max, max, sizeof(max));
	snprintf(buf + used, cap - used, ", from %s to %s", min, max);
	return buf;
}

static int bad_value(const struct fb_text_option *option, const char *value, const char *object)
{
	char allowed[512], hint[96] = "";
	const char *near = option->type == FB_OPTION_CHOICE ? fb_nearest(value, option->choices) : NULL;

	if (near)
		snprintf(hint, sizeof(hint), "; did you mean \"%s\"?", near);
	fb_error(object, "%s=%s: must be %s%s", option->key, value, fb_option_allowed(option, allowed, sizeof(allowed)),
		 hint);
	return -EINVAL;
}

static int bad_key(const struct fb_text_option *table, const char *key, const char *object)
{
	const char *names[NAMES_MAX + 1], *near;
	char list[512] = "";
	unsigned n = 0;

	for (; table->key && n < NAMES_MAX; table++) {
		size_t used = strlen(list);

		snprintf(list + used, sizeof(list) - used, "%s%s", n ? ", " : "", table->key);
		names[n++] = table->key;
	}
	names[n] = NULL;
	near = fb_nearest(key, names);
	if (near)
		fb_error(object, "no option \"%s\"; did you mean \"%s\"?", key, near);
	else
		fb_error(object, "no option \"%s\"; there are: %s", key, list);
	return -EINVAL;
}

static bool in_limits(const struct fb_text_option *o, uint64_t v)
{
	if ((o->min || o->max) && (v < o->min || v > o->max))
		return false;
	return !o->power_of_2 || (v && !(v & (v - 1)));
}

static int set_string(const struct fb_text_option *o, void *member, const char *value, const char *object)
{
	char *copy, **slot = member;

	if (!in_limits(o, strlen(value)))
		return bad_value(o, value, object);
	copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	free(*slot);
	*slot = copy;
	return 0;
}

static int set_number(const struct fb_text_option *o, void *member, const char *value, const char *object)
{
	uint64_t v = 0;
	int err;

	switch (o->type) {
	case FB_OPTION_SIZE:
		err = fb_parse_size(value, &v);
		break;
	case FB_OPTION_DURATION:
		err = fb_parse_duration_ns(value, &v);
		break;
	case FB_OPTION_RATE:
		err = fb_parse_rate(value, &v);
		break;
	case FB_OPTION_SHARE:
		err = fb_parse_share(value, &v);
		break;
	default:
		err = fb_parse_u64(value, &v);
	}
	if (err || !in_limits(o, v) || (o->type == FB_OPTION_UINT && v > UINT32_MAX))
		return bad_value(o, value, object);
	if (o->type == FB_OPTION_UINT)
		*(uint32_t *)member = (uint32_t)v;
	else
		*(uint64_t *)member = v;
	return 0;
}

int fb_options_set(const struct fb_text_option *table, void *target, const char *key, const char *value, const char *object)
{
	const struct fb_text_option *o = table;
	void *member;

	while (o->key && strcmp(o->key, key))
		o++;
	if (!o->key)
		return bad_key(table, key, object);
	member = (char *)target + o->offset;
	if (!value) {
		if (o->type == FB_OPTION_BOOL) {
			*(bool *)member = true;
			return 0;
		}
		value = "";
	}
	switch (o->type) {
	case FB_OPTION_STRING:
		return set_string(o, member, value, object);
	case FB_OPTION_BOOL:
		return fb_parse_bool(value, member) ? bad_value(o, value, object) : 0;
	case FB_OPTION_CHOICE:
		for (unsigned i = 0; o->choices[i]; i++) {
			if (!strcmp(o->choices[i], value)) {
				*(unsigned *)member = i;
				return 0;
			}
		}
		return bad_value(o, value, object);
	default:
		return set_number(o, member, value, object);
	}
}

int fb_options_apply(const struct fb_text_option *table, void *target, const char *text, const char *object)
{
	char *copy, *cursor, *item;
	int err = 0;

	if (!text || !*text)
		return 0;
	copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	cursor = copy;
	while (!err && (item = fb_next_item(&cursor, ','))) {
		char *value = strchr(item, '=');

		if (value)
			*value++ = '\0';
		if (*item) {
			err = fb_options_set(table, target, item, value, object);
		} else {
			fb_error(object, "\"%s\": an option without a name", text);
			err = -EINVAL;
		}
	}
	free(copy);
	return err;
}

void fb_options_release(const struct fb_text_option *table, void *target)
{
	for (; table->key; table++) {
		if (table->type == FB_OPTION_STRING) {
			char **slot = (void *)((char *)target + table->offset);

			free(*slot);
			*slot = NULL;
		}
	}
}
