/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/models.h"
#include "endpoint/endpoint.h"
#include "model-help.h"
#include "util/log.h"
#include "util/text.h"

enum { MODELS_MAX = 256 };

static const char *const type_words[] = {
	[FB_OPT_STRING] = "TEXT", [FB_OPT_U32] = "N",	  [FB_OPT_U64] = "N",
	[FB_OPT_SIZE] = "SIZE",	  [FB_OPT_BOOL] = "on|off", [FB_OPT_CHOICE] = "",
};
_Static_assert(sizeof(type_words) / sizeof(type_words[0]) == FB_OPT_CHOICE + 1, "a word for each type");

/* Times have no type in the device API: they are numbers with the unit "time". */
static bool is_time(const struct fb_option *o)
{
	return o->unit && !strcmp(o->unit, "time");
}

static void print_range(const struct fb_option *o)
{
	const struct fb_text_option as_text = {
		.type = is_time(o) ? FB_OPTION_DURATION : o->type == FB_OPT_SIZE ? FB_OPTION_SIZE : FB_OPTION_U64,
		.min = o->min, .max = o->max};
	char words[128];
	const char *range = strstr(fb_option_allowed(&as_text, words, sizeof(words)), "from ");

	if (o->max && range)
		printf(", %s", range + strlen("from "));
}

static void print_option(const struct fb_option *o)
{
	char left[96];
	size_t used;

	snprintf(left, sizeof(left), "  %s=%s", o->name, is_time(o) ? "TIME" : type_words[o->type]);
	for (const char *const *c = o->type == FB_OPT_CHOICE ? o->choices : NULL; c && *c; c++) {
		used = strlen(left);
		snprintf(left + used, sizeof(left) - used, "%s%s", c == o->choices ? "" : "|", *c);
	}
	printf("%-27s %s", left, o->help ? o->help : "");
	if (o->unit && !is_time(o) && o->type != FB_OPT_SIZE && o->type != FB_OPT_CHOICE)
		printf(", in %s", o->unit);
	if (o->type == FB_OPT_U32 || o->type == FB_OPT_U64 || o->type == FB_OPT_SIZE)
		print_range(o);
	if (o->required)
		printf(" (required)");
	else if (o->def)
		printf(" (%s)", o->def);
	printf("\n");
}

static void print_model(const struct fb_model *m)
{
	unsigned n_common;
	const struct fb_option *common = fb_device_common_options(&n_common);

	printf("%s: %s\n\nOptions of every model:\n", m->name, m->summary);
	for (unsigned i = 0; i < n_common; i++)
		print_option(&common[i]);
	if (m->n_options)
		printf("\nOptions of %s:\n", m->name);
	for (unsigned i = 0; i < m->n_options; i++)
		print_option(&m->options[i]);
}

static bool has_word(const char *spec, const char *word)
{
	char *copy = strdup(spec), *cursor = copy, *item;
	bool found = false;

	while (copy && (item = fb_next_item(&cursor, ',')))
		found |= !strcmp(item, word);
	free(copy);
	return found;
}

static int no_model(const char *object, const char *spec, const char *name)
{
	const char *names[MODELS_MAX + 1], *near;
	unsigned n = 0;

	for (; n < MODELS_MAX && fb_models[n]; n++)
		names[n] = fb_models[n]->name;
	names[n] = NULL;
	near = fb_nearest(name, names);
	if (near)
		fb_error(object, "--device %s: no model \"%s\"; did you mean \"%s\"?", spec, name, near);
	else
		fb_error(object, "--device %s: no model \"%s\"; \"--device help\" lists them", spec, name);
	return -EINVAL;
}

static int help_for(const char *object, const char *spec)
{
	char name[32];
	const struct fb_model *m;

	if (!strcmp(spec, "help")) {
		for (const struct fb_model *const *p = fb_models; *p; p++)
			printf("%-10s %s\n", (*p)->name, (*p)->summary);
		printf("\"--device NAME,help\" lists the options of a model.\n");
		return 1;
	}
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(spec, ","), spec);
	m = fb_model_find(fb_models, name);
	if (!m)
		return no_model(object, spec, name);
	print_model(m);
	return 1;
}

int model_help(const char *object, const struct cli_list *devices)
{
	for (unsigned i = 0; i < devices->n; i++) {
		if (has_word(devices->items[i], "help"))
			return help_for(object, devices->items[i]);
	}
	return 0;
}
