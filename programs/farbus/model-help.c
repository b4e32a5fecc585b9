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
bool model_option_is_time(const struct fb_option *o)
{
	return o->unit && !strcmp(o->unit, "time");
}

static void print_range(const struct fb_option *o)
{
	const struct fb_text_option as_text = {
		.type = model_option_is_time(o) ? FB_OPTION_DURATION : o->type == FB_OPT_SIZE ? FB_OPTION_SIZE : FB_OPTION_U64,
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

	snprintf(left, sizeof(left), "  %s=%s", o->name, model_option_is_time(o) ? "TIME" : type_words[o->type]);
	for (const char *const *c = o->type == FB_OPT_CHOICE ? o->choices : NULL; c && *c; c++) {
		used = strlen(left);
		snprintf(left + used, sizeof(left) - used, "%s%s", c == o->choices ? "" : "|", *c);
	}
	printf("%-27s %s", left, o->help ? o->help : "");
	if (o->unit && !model_option_is_time(o) && o->type != FB_OPT_SIZE && o->type != FB_OPT_CHOICE)
		printf(", in %s", o->unit);
	if (o->type == FB_OPT_U32 || o->type == FB_OPT_U64 || o->type == FB_OPT_SIZE)
		print_range(o);
	if (o->required)
		printf(" (required)");
	else if (o->def)
		printf(" (%s)", o->def);
	printf("\n");
}

static void print_bar(const struct fb_model *m, const struct fb_bar *bar)
{
	const char *unit = bar->size >= 1 << 20 ? "MiB" : bar->size >= 1024 ? "KiB" : "bytes";
	uint64_t size = bar->size >= 1 << 20 ? bar->size >> 20 : bar->size >= 1024 ? bar->size >> 10 : bar->size;
	unsigned least = bar->min_access ? bar->min_access : 4, most = bar->max_access ? bar->max_access : 4;

	printf("  BAR %u       %s, %llu %s", bar->index,
	       bar->is_io ? "I/O"
	       : bar->is_64 ? bar->prefetchable ? "64-bit prefetchable memory" : "64-bit memory"
			    : (bar->prefetchable ? "prefetchable memory" : "memory"),
	       (unsigned long long)size, unit);
	if (least == most)
		printf(", accesses of %u bytes", least);
	else
		printf(", accesses of %u to %u bytes", least, most);
	if (m->msix_vectors && m->msix_bar == bar->index)
		printf("; MSI-X table at 0x%llx", (unsigned long long)m->msix_offset);
	printf("\n");
}

static void print_shape(const struct fb_model *m)
{
	const struct fb_identity *id = &m->identity;
	bool any = m->intx || m->msi_vectors || m->msix_vectors;

	if (!id->vendor_id && !id->device_id) {
		printf("  all of it is found out when the device is made\n");
		return;
	}
	printf("  identity    %04x:%04x, subsystem %04x:%04x, class %06x, revision %u\n", id->vendor_id, id->device_id,
	       id->subsystem_vendor_id, id->subsystem_id, id->class_code, id->revision);
	for (unsigned i = 0; i < m->n_bars; i++)
		print_bar(m, &m->bars[i]);
	printf("  interrupts  ");
	if (m->intx)
		printf("INTx%s", m->msi_vectors || m->msix_vectors ? ", " : "");
	if (m->msi_vectors)
		printf("%u MSI%s", m->msi_vectors, m->msix_vectors ? ", " : "");
	if (m->msix_vectors)
		printf("%u MSI-X", m->msix_vectors);
	printf("%s\n", any ? "" : "none");
	printf("  style       %s\n", m->style == FB_STYLE_BLOCKING ? "blocking: a thread of its own" : "event");
}

void model_print(const struct fb_model *m)
{
	unsigned n_common;
	const struct fb_option *common = fb_device_common_options(&n_common);

	printf("%s: %s\n\nThe function, unless options make it another:\n", m->name, m->summary ? m->summary : "");
	print_shape(m);
	if (m->n_options)
		printf("\nOptions of %s:\n", m->name);
	for (unsigned i = 0; i < m->n_options; i++)
		print_option(&m->options[i]);
	printf("\nOptions of every model:\n");
	for (unsigned i = 0; i < n_common; i++)
		print_option(&common[i]);
}

struct visit {
	void (*model)(void *arg, const char *name, const struct fb_model *m);
	void *arg;
};

/* One that is no model has been logged, and is left out. */
static void visit_installed(void *arg, const char *word)
{
	const struct visit *v = arg;
	const struct fb_model *model;
	struct fb_model whole;

	if (!fb_model_find(fb_models, word) && fb_model_load(word, &model) == 0 && fb_model_read(&whole, model, word) == 0)
		v->model(v->arg, word, &whole);
}

void model_each(void (*model)(void *arg, const char *name, const struct fb_model *m), void *arg)
{
	struct visit v = {model, arg};

	for (const struct fb_model *const *p = fb_models; *p; p++)
		model(arg, (*p)->name, *p);
	fb_model_words(visit_installed, &v);
}

static void list_model(void *arg, const char *name, const struct fb_model *m)
{
	printf("%-10s %s\n", name, m->summary ? m->summary : "");
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

int model_find(struct fb_model *out, const char *object, const char *name)
{
	const struct fb_model *m = fb_model_find(fb_models, name);
	const char *names[MODELS_MAX + 1], *near;
	unsigned n = 0;
	int err = m ? 0 : fb_model_load(name, &m);

	if (!err)
		return fb_model_read(out, m, name);
	if (err != -ENOENT)
		return err;
	for (; n < MODELS_MAX && fb_models[n]; n++)
		names[n] = fb_models[n]->name;
	names[n] = NULL;
	near = fb_nearest(name, names);
	if (near)
		fb_error(object, "no model \"%s\"; did you mean \"%s\"?", name, near);
	else
		fb_error(object, "no model \"%s\"; \"farbus devices\" lists them, and one in a file needs a '/': ./%s", name, name);
	return -EINVAL;
}

static int help_for(const char *object, const char *spec)
{
	struct fb_model model;
	char name[4096];
	int err;

	if (!strcmp(spec, "help")) {
		model_each(list_model, NULL);
		printf("\"--device NAME,help\" lists the options of a model.\n");
		return 1;
	}
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(spec, ","), spec);
	err = model_find(&model, object, name);
	if (err)
		return err;
	model_print(&model);
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
