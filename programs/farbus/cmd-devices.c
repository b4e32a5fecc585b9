/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "control/put.h"
#include "devices/models.h"
#include "endpoint/endpoint.h"
#include "model-help.h"
#include "table.h"
#include "util/log.h"

struct devices_options {
	bool json;
};

static const struct cli_option devices_table[] = {
	{.value = {"json", FB_OPTION_BOOL, offsetof(struct devices_options, json),
		   .help = "print JSON; docs/operations.md has the keys"}},
	{.value = {.key = NULL}},
};

static const char *const type_names[] = {
	[FB_OPT_STRING] = "string", [FB_OPT_U32] = "u32",   [FB_OPT_U64] = "u64",
	[FB_OPT_SIZE] = "size",	    [FB_OPT_BOOL] = "bool", [FB_OPT_CHOICE] = "choice",
};
_Static_assert(sizeof(type_names) / sizeof(type_names[0]) == FB_OPT_CHOICE + 1, "a name for each type");

/* ---- JSON ------------------------------------------------------------------------ */

static void put_hex(json_t *o, const char *key, unsigned digits, unsigned value)
{
	char text[16];

	snprintf(text, sizeof(text), "%0*x", (int)digits, value);
	put_text(o, key, text);
}

static json_t *describe_option(const struct fb_option *option)
{
	json_t *o = json_object(), *choices;

	put_text(o, "name", option->name);
	put_text(o, "type", model_option_is_time(option) ? "time" : type_names[option->type]);
	if (option->unit && !model_option_is_time(option))
		put_text(o, "unit", option->unit);
	if (option->def)
		put_text(o, "default", option->def);
	if (option->max)
		put_u64(o, "max", option->max);
	if (option->min || option->max)
		put_u64(o, "min", option->min);
	if (option->type == FB_OPT_CHOICE) {
		json_object_set_new(o, "choices", choices = json_array());
		for (const char *const *c = option->choices; *c; c++)
			json_array_append_new(choices, json_string(*c));
	}
	put_bool(o, "required", option->required);
	put_text(o, "help", option->help ? option->help : "");
	return o;
}

static json_t *describe_options(const struct fb_option *options, unsigned n)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(list, describe_option(&options[i]));
	return list;
}

static json_t *describe_bar(const struct fb_bar *bar)
{
	json_t *o = json_object();

	put_u64(o, "index", bar->index);
	put_text(o, "kind", bar->is_io ? "io" : bar->is_64 ? "memory64" : "memory32");
	put_bool(o, "prefetchable", bar->prefetchable);
	put_u64(o, "size_bytes", bar->size);
	put_u64(o, "min_access", bar->min_access ? bar->min_access : 4);
	put_u64(o, "max_access", bar->max_access ? bar->max_access : 4);
	return o;
}

static json_t *describe_model(const char *name, const struct fb_model *m)
{
	json_t *o = json_object(), *bars = json_array();

	put_text(o, "name", name);
	put_text(o, "summary", m->summary ? m->summary : "");
	put_text(o, "style", m->style == FB_STYLE_BLOCKING ? "blocking" : "event");
	put_hex(o, "vendor", 4, m->identity.vendor_id);
	put_hex(o, "device", 4, m->identity.device_id);
	put_hex(o, "subsystem_vendor", 4, m->identity.subsystem_vendor_id);
	put_hex(o, "subsystem", 4, m->identity.subsystem_id);
	put_hex(o, "class", 6, m->identity.class_code);
	put_u64(o, "revision", m->identity.revision);
	for (unsigned i = 0; i < m->n_bars; i++)
		json_array_append_new(bars, describe_bar(&m->bars[i]));
	json_object_set_new(o, "bars", bars);
	put_bool(o, "intx", m->intx);
	put_u64(o, "msi_vectors", m->msi_vectors);
	put_u64(o, "msix_vectors", m->msix_vectors);
	json_object_set_new(o, "options", describe_options(m->options, m->n_options));
	return o;
}

static void print_json(json_t *models)
{
	unsigned n;
	const struct fb_option *common = fb_device_common_options(&n);
	json_t *o = json_object();

	json_object_set_new(o, "models", models);
	json_object_set_new(o, "common_options", describe_options(common, n));
	json_dumpf(o, stdout, JSON_INDENT(2));
	printf("\n");
	json_decref(o);
}

/* ---- All of them -------------------------------------------------------------------- */

struct list {
	struct table table;
	json_t *json; /* NULL: the table is what is wanted */
};

static void list_model(void *arg, const char *name, const struct fb_model *m)
{
	struct list *list = arg;
	char pci[16], class_code[16];
	const char *cells[] = {name, pci, class_code, m->summary ? m->summary : ""};

	if (list->json) {
		json_array_append_new(list->json, describe_model(name, m));
		return;
	}
	snprintf(pci, sizeof(pci), "%04x:%04x", m->identity.vendor_id, m->identity.device_id);
	snprintf(class_code, sizeof(class_code), "%06x", m->identity.class_code);
	if (!m->identity.vendor_id && !m->identity.device_id) /* what the model finds in realize() */
		strcpy(pci, "-"), strcpy(class_code, "-");
	table_add(&list->table, cells);
}

static int show_all(bool json)
{
	static const char *const heads[] = {"MODEL", "ID", "CLASS", "SUMMARY", NULL};
	struct list list = {.table = {.heads = heads}, .json = json ? json_array() : NULL};

	model_each(list_model, &list);
	if (json)
		print_json(list.json);
	else
		table_print(&list.table);
	return 0;
}

static int show_one(const char *name, bool json)
{
	struct fb_model model;
	int err = model_find(&model, NULL, name);

	if (err)
		return exit_status(err);
	if (json)
		print_json(json_pack("[o]", describe_model(model.name, &model)));
	else
		model_print(&model);
	return 0;
}

int cmd_devices(int argc, char **argv)
{
	struct devices_options options = {0};
	struct cli cli = {
		.command = "devices",
		.usage = "[OPTION…] [MODEL]",
		.about = "Lists the device models that --device takes: those that are built in, and those that are installed.\n"
			 "MODEL, a name of one or a shared object with a '/' in its name (./mydevice.so), shows what it is\n"
			 "and its options.",
		.groups = {{"Options", devices_table, &options}},
	};
	int err = cli_parse(&cli, argc, argv), status = err > 0 ? 0 : EXIT_USAGE;

	if (!err && cli.n_args > 1)
		fb_error(NULL, "\"%s\" is one word too many", cli.args[1]);
	else if (!err)
		status = cli.n_args ? show_one(cli.args[0], options.json) : show_all(options.json);
	cli_release(&cli);
	return status;
}
