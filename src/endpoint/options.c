/* SPDX-License-Identifier: Apache-2.0 */
/*
 * "id=ssd0,file=disk.img,queues=8": the options that all models have, then the
 * model's own, by its table. The first thing wrong is one line that names the
 * option, the value and what is allowed.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint/device_impl.h"
#include "util/text.h"

enum {
	MAX_OPTIONS = 64, /* of a model, and of all models */
	ID_MAX = 31,
};
#define COALESCE_MAX_NS 1000000000ull
#define TIMEOUT_MIN_NS 50000000ull
#define TIMEOUT_MAX_NS 64000000000ull

/* Those of every model; times have no type in the API, so they are read here. */
static const struct fb_option common[] = {
	FB_OPTION(struct fb_common_options, id, "id", FB_OPT_STRING, .required = true, .help = "name of the function"),
	FB_OPTION(struct fb_common_options, irq_coalesce_ns, "irq-coalesce", FB_OPT_U64, .unit = "time", .def = "0",
		  .max = COALESCE_MAX_NS, .help = "join the interrupts of a vector that come within this time"),
	FB_OPTION(struct fb_common_options, completion_timeout_ns, "completion-timeout", FB_OPT_U64, .unit = "time",
		  .def = "60s", .min = TIMEOUT_MIN_NS, .max = TIMEOUT_MAX_NS,
		  .help = "how long a DMA read waits, unless the guest sets a completion timeout"),
	FB_OPTION(struct fb_common_options, msi, "msi", FB_OPT_BOOL, .def = "on", .help = "offer MSI"),
	FB_OPTION(struct fb_common_options, msix, "msix", FB_OPT_BOOL, .def = "on", .help = "offer MSI-X"),
	FB_OPTION(struct fb_common_options, prefetch, "prefetch", FB_OPT_BOOL, .def = "on",
		  .help = "let the root send ahead what will be read next, and answer reads from what was offered"),
	FB_OPTION(struct fb_common_options, d3_reset, "d3-reset", FB_OPT_BOOL, .def = "off",
		  .help = "lose all state on the way from D3hot to D0 (No_Soft_Reset 0)"),
};
enum { N_COMMON = sizeof(common) / sizeof(common[0]) };

const struct fb_option *fb_device_common_options(unsigned *n)
{
	*n = N_COMMON;
	return common;
}

struct target {
	struct fb_device *dev;
	const char *object; /* "nvme", and "nvme ssd0" when the id is known */
	bool given[N_COMMON + MAX_OPTIONS];
};

static const struct fb_option *option_at(const struct fb_device *dev, unsigned i)
{
	if (i < N_COMMON)
		return &common[i];
	i -= N_COMMON;
	return i < dev->model->n_options ? &dev->model->options[i] : NULL;
}

static bool is_time(const struct fb_option *o)
{
	return o->type == FB_OPT_U64 && o->unit && !strcmp(o->unit, "time");
}

static void print_time(char *buf, size_t cap, uint64_t ns)
{
	if (ns == 0)
		snprintf(buf, cap, "0");
	else if (ns % 1000000000 == 0)
		snprintf(buf, cap, "%" PRIu64 "s", ns / 1000000000);
	else if (ns % 1000000 == 0)
		snprintf(buf, cap, "%" PRIu64 "ms", ns / 1000000);
	else
		snprintf(buf, cap, "%" PRIu64 "ns", ns);
}

/* "a number from 1 to 64", "on or off", "one of a, b, c". */
static void allowed(const struct fb_option *o, char *buf, size_t cap)
{
	char low[32], high[32];
	int n;

	switch (o->type) {
	case FB_OPT_STRING:
		snprintf(buf, cap, "a text that is not empty");
		return;
	case FB_OPT_BOOL:
		snprintf(buf, cap, "on or off");
		return;
	case FB_OPT_CHOICE:
		n = snprintf(buf, cap, "one of");
		for (unsigned i = 0; o->choices[i] && (size_t)n < cap; i++)
			n += snprintf(buf + n, cap - (size_t)n, "%s %s", i ? "," : "", o->choices[i]);
		return;
	case FB_OPT_U32:
	case FB_OPT_U64:
	case FB_OPT_SIZE:
		break;
	}
	if (is_time(o)) {
		print_time(low, sizeof(low), o->min);
		print_time(high, sizeof(high), o->max);
		n = snprintf(buf, cap, "a time such as 20us or 1.5s");
		if (o->max)
			snprintf(buf + n, cap - (size_t)n, ", from %s to %s", low, high);
		else if (o->min)
			snprintf(buf + n, cap - (size_t)n, ", of at least %s", low);
	} else if (o->max) {
		snprintf(buf, cap, "%s%s%s from %" PRIu64 " to %" PRIu64, o->type == FB_OPT_SIZE ? "a size" : "a number",
			 o->unit ? " in " : "", o->unit ? o->unit : "", o->min, o->max);
	} else if (o->min) {
		snprintf(buf, cap, "%s of at least %" PRIu64, o->type == FB_OPT_SIZE ? "a size" : "a number", o->min);
	} else {
		snprintf(buf, cap, o->type == FB_OPT_SIZE ? "a size such as 64K or 1G" : "a number");
	}
}

static int keep_string(struct fb_device *dev, unsigned index, const char *value, const char **member)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(dev->strings[index]);
	dev->strings[index] = copy;
	*member = copy;
	return 0;
}

/* 0, -ENOMEM, or another -errno: the value is not of the option's kind or range. */
static int set_value(struct fb_device *dev, unsigned index, const char *value)
{
	const struct fb_option *o = option_at(dev, index);
	char *base = index < N_COMMON ? (char *)&dev->options : (char *)dev->state;
	void *member = base + o->offset;
	uint64_t number = 0;
	int err = 0;

	if (!value && o->type == FB_OPT_BOOL) {
		*(bool *)member = true;
		return 0;
	}
	if (!value || !*value)
		return -EINVAL;
	switch (o->type) {
	case FB_OPT_STRING:
		return keep_string(dev, index, value, (const char **)member);
	case FB_OPT_BOOL:
		return fb_parse_bool(value, (bool *)member);
	case FB_OPT_CHOICE:
		for (uint32_t i = 0; o->choices[i]; i++) {
			if (!strcmp(o->choices[i], value)) {
				*(uint32_t *)member = i;
				return 0;
			}
		}
		return -EINVAL;
	case FB_OPT_SIZE:
		err = fb_parse_size(value, &number);
		break;
	case FB_OPT_U32:
	case FB_OPT_U64:
		err = is_time(o) ? fb_parse_duration_ns(value, &number) : fb_parse_u64(value, &number);
		break;
	}
	if (err)
		return err;
	if (number < o->min || (o->max && number > o->max) || (o->type == FB_OPT_U32 && number > UINT32_MAX))
		return -ERANGE;
	if (o->type == FB_OPT_U32)
		*(uint32_t *)member = (uint32_t)number;
	else
		*(uint64_t *)member = number;
	return 0;
}

static int unknown_option(const struct target *t, const char *name)
{
	const char *names[N_COMMON + MAX_OPTIONS + 1], *near;
	unsigned n = 0;

	for (const struct fb_option *o; (o = option_at(t->dev, n)); n++)
		names[n] = o->name;
	names[n] = NULL;
	near = fb_nearest(name, names);
	if (near)
		fb_error(t->object, "%s: there is no such option; did you mean %s?", name, near);
	else
		fb_error(t->object, "%s: there is no such option", name);
	return -EINVAL;
}

static int set_item(struct target *t, char *item)
{
	char *value = strchr(item, '='), what[256];
	const struct fb_option *o;
	unsigned i;
	int err;

	if (value)
		*value++ = '\0';
	for (i = 0; (o = option_at(t->dev, i)); i++) {
		if (!strcmp(o->name, item))
			break;
	}
	if (!o)
		return unknown_option(t, item);
	if (t->given[i]) {
		fb_error(t->object, "%s is given twice", item);
		return -EINVAL;
	}
	t->given[i] = true;
	err = set_value(t->dev, i, value);
	if (err == -ENOMEM) {
		fb_error(t->object, "%s: no memory", item);
	} else if (err) {
		allowed(o, what, sizeof(what));
		/* The help has what kind and range do not say: "a power of 2". */
		fb_error(t->object, "%s%s%s: must be %s%s%s%s", item, value ? "=" : "", value ? value : "", what,
			 o->help ? " (" : "", o->help ? o->help : "", o->help ? ")" : "");
		err = -EINVAL;
	}
	return err;
}

static int check_id(const struct target *t, const char *id)
{
	static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	size_t len = strlen(id);

	if (len <= ID_MAX && strspn(id, good) == len && strcmp(id, ".") && strcmp(id, ".."))
		return 0;
	fb_error(t->object, "id=%s: must be 1 to %d letters, digits, '.', '_' or '-'", id, ID_MAX);
	return -EINVAL;
}

int fb_device_options(struct fb_device *dev, const char *text)
{
	struct target t = {.dev = dev, .object = dev->model->name};
	char *copy = strdup(text ? text : ""), *cursor = copy, *item;
	const struct fb_option *o;
	int err = 0;

	if (!copy)
		return -ENOMEM;
	if (dev->model->n_options > MAX_OPTIONS) {
		fb_error(t.object, "the model has more than %d options", MAX_OPTIONS);
		free(copy);
		return -EINVAL;
	}
	dev->strings = calloc(N_COMMON + dev->model->n_options, sizeof(*dev->strings));
	if (!dev->strings)
		err = -ENOMEM;

	for (unsigned i = 0; !err && (o = option_at(dev, i)); i++) {
		if (o->def && set_value(dev, i, o->def)) {
			fb_error(t.object, "the model's default %s=%s is not allowed", o->name, o->def);
			err = -EINVAL;
		}
	}
	while (!err && (item = fb_next_item(&cursor, ',')))
		err = set_item(&t, item);
	for (unsigned i = 0; !err && (o = option_at(dev, i)); i++) {
		if (o->required && !t.given[i]) {
			fb_error(t.object, "%s is missing: %s", o->name, o->help ? o->help : "it is required");
			err = -EINVAL;
		}
	}
	if (!err)
		err = check_id(&t, dev->options.id);
	free(copy);
	return err;
}

void fb_device_options_free(struct fb_device *dev)
{
	for (unsigned i = 0; dev->strings && i < N_COMMON + dev->model->n_options; i++)
		free(dev->strings[i]);
	free(dev->strings);
}
