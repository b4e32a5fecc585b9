/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "util/log.h"

static const struct cli_option help_option = {
	.value = {.key = "help", .help = "print this"}, .kind = CLI_HELP, .letter = 'h', .only_here = true};

enum { VALUE_HELP = 1000, VALUE_FIRST = 1001 }; /* getopt's return values, out of the letters' way */

int cli_list_add(struct cli_list *list, const char *item)
{
	char **grown = realloc(list->items, (list->n + 2) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	list->items = grown;
	grown[list->n] = strdup(item);
	if (!grown[list->n])
		return -ENOMEM;
	grown[++list->n] = NULL;
	return 0;
}

void cli_list_release(struct cli_list *list)
{
	for (unsigned i = 0; i < list->n; i++)
		free(list->items[i]);
	free(list->items);
	list->items = NULL;
	list->n = 0;
}

/* The option at a position in the tables, all groups counted through. */
static const struct cli_option *at(const struct cli *cli, unsigned index, void **target)
{
	for (unsigned g = 0; g < CLI_GROUPS && cli->groups[g].options; g++) {
		for (const struct cli_option *o = cli->groups[g].options; o->value.key; o++) {
			if (index-- == 0) {
				if (target)
					*target = cli->groups[g].target;
				return o;
			}
		}
	}
	return NULL;
}

const struct cli_option *cli_find(const struct cli *cli, const char *name, unsigned *index, void **target)
{
	const struct cli_option *o;

	for (unsigned i = 0; (o = at(cli, i, target)); i++) {
		if (!strcmp(o->value.key, name)) {
			*index = i;
			return o;
		}
	}
	return NULL;
}

void cli_no_option(const struct cli *cli, const char *object, const char *dashes, const char *name)
{
	const char *names[CLI_OPTIONS + 2], *near;
	const struct cli_option *o;
	unsigned n = 0;

	for (unsigned i = 0; (o = at(cli, i, NULL)); i++) {
		if (*dashes || !o->only_here)
			names[n++] = o->value.key;
	}
	if (*dashes)
		names[n++] = "help";
	names[n] = NULL;
	near = fb_nearest(name, names);
	if (near)
		fb_error(object, "no option \"%s%s\"; did you mean \"%s%s\"?", dashes, name, dashes, near);
	else
		fb_error(object, "no option \"%s%s\"; \"farbus %s --help\" lists them", dashes, name, cli->command);
}

static int add_items(const struct cli_option *o, struct cli_list *list, const char *value, const char *object)
{
	char *copy, *cursor, *item;
	int err = 0;

	if (!*value) {
		fb_error(object, "%s: an empty value", o->value.key);
		return -EINVAL;
	}
	if (!o->separator)
		return cli_list_add(list, value);
	copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	cursor = copy;
	while (!err && (item = fb_next_item(&cursor, o->separator))) {
		if (*item) {
			err = cli_list_add(list, item);
		} else {
			fb_error(object, "%s=%s: an empty item", o->value.key, value);
			err = -EINVAL;
		}
	}
	free(copy);
	return err;
}

int cli_set(const struct cli_option *o, void *target, const char *value, const char *object)
{
	const struct fb_text_option table[] = {o->value, {.key = NULL}};
	void *member = (char *)target + o->value.offset;

	switch (o->kind) {
	case CLI_VALUE:
		return fb_options_set(table, target, o->value.key, value, object);
	case CLI_LIST:
		return add_items(o, member, value, object);
	case CLI_COUNT:
		if (value)
			return fb_options_set(table, target, o->value.key, value, object);
		++*(uint32_t *)member;
		return 0;
	case CLI_HELP:
		break;
	}
	return 0;
}

void cli_release(struct cli *cli)
{
	const struct cli_option *o;
	void *target;

	for (unsigned i = 0; (o = at(cli, i, &target)); i++) {
		const struct fb_text_option table[] = {o->value, {.key = NULL}};

		if (o->kind == CLI_LIST)
			cli_list_release((struct cli_list *)(void *)((char *)target + o->value.offset));
		else if (o->kind == CLI_VALUE)
			fb_options_release(table, target);
	}
}

/* ---- --help ---------------------------------------------------------------- */

enum { HELP_COLUMN = 26 };

static void print_option(const struct cli_option *o)
{
	char left[80];
	const char *help = o->value.help, *end;
	int n;

	n = snprintf(left, sizeof(left), "  %c%c%s--%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
		     o->letter ? ", " : "  ", o->value.key, o->argument ? " " : "", o->argument ? o->argument : "");
	printf("%-*s", HELP_COLUMN, left);
	if (n >= HELP_COLUMN)
		printf("\n%-*s", HELP_COLUMN, "");
	while ((end = strchr(help, '\n'))) {
		printf("%.*s\n%-*s", (int)(end - help), help, HELP_COLUMN, "");
		help = end + 1;
	}
	printf("%s", help);
	if (o->shown)
		printf(" (%s)", o->shown);
	printf("\n");
}

static void print_help(const struct cli *cli)
{
	printf("Usage: farbus %s%s%s\n\n%s\n", cli->command, *cli->usage ? " " : "", cli->usage, cli->about);
	for (unsigned g = 0; g < CLI_GROUPS && cli->groups[g].options; g++) {
		printf("\n%s:\n", cli->groups[g].title);
		for (const struct cli_option *o = cli->groups[g].options; o->value.key; o++)
			print_option(o);
	}
	print_option(&help_option);
	if (cli->extra)
		printf("\n%s\n", cli->extra);
}

/* ---- The command line ------------------------------------------------------ */

struct getopt_tables {
	struct option longs[CLI_OPTIONS + 2];
	char shorts[3 * CLI_OPTIONS + 4];
};

static void put_getopt(struct getopt_tables *t, unsigned n, const struct cli_option *o, int value)
{
	bool takes = o->argument != NULL;
	char *s = t->shorts + strlen(t->shorts);

	t->longs[n] = (struct option){o->value.key, takes ? required_argument : no_argument, NULL, value};
	if (o->letter) {
		*s++ = o->letter;
		if (takes)
			*s++ = ':';
		*s = '\0';
	}
}

static void make_getopt(const struct cli *cli, struct getopt_tables *t)
{
	const struct cli_option *o;
	unsigned n = 0;

	memset(t, 0, sizeof(*t));
	strcpy(t->shorts, ":"); /* a missing argument is ':', not '?' */
	for (; n < CLI_OPTIONS && (o = at(cli, n, NULL)); n++)
		put_getopt(t, n, o, VALUE_FIRST + (int)n);
	put_getopt(t, n, &help_option, VALUE_HELP);
}

/* Position in the tables of what getopt returned for a letter. */
static int of_letter(const struct cli *cli, int letter)
{
	const struct cli_option *o;

	for (unsigned i = 0; (o = at(cli, i, NULL)); i++) {
		if (o->letter == letter)
			return (int)i;
	}
	return -1;
}

static void complain(const struct cli *cli, const struct getopt_tables *t, char **argv, int got)
{
	const char *word = argv[optind - 1], *name = word + 2;
	const struct cli_option *o = optopt >= VALUE_FIRST ? at(cli, (unsigned)(optopt - VALUE_FIRST), NULL) : NULL;
	size_t len = strcspn(name, "=");
	char copy[64];
	unsigned prefixes = 0;

	if (optopt == VALUE_HELP)
		o = &help_option;
	if (optopt && optopt < VALUE_HELP) { /* a letter, maybe within others: "-xv" */
		int i = got == ':' ? of_letter(cli, optopt) : -1;

		if (i >= 0)
			fb_error(cli->object, "-%c: its value (%s) is missing", optopt, at(cli, (unsigned)i, NULL)->argument);
		else
			fb_error(cli->object, "no option \"-%c\"; \"farbus %s --help\" lists them", optopt, cli->command);
		return;
	}
	if (o && got == ':') {
		fb_error(cli->object, "--%s: its value (%s) is missing", o->value.key, o->argument);
		return;
	}
	if (o) {
		fb_error(cli->object, "--%s: takes no value", o->value.key);
		return;
	}
	for (const struct option *l = t->longs; l->name; l++)
		prefixes += !strncmp(l->name, name, len);
	snprintf(copy, sizeof(copy), "%.*s", (int)(len < sizeof(copy) ? len : sizeof(copy) - 1), name);
	if (prefixes > 1)
		fb_error(cli->object, "--%s: more than one option begins so", copy);
	else
		cli_no_option(cli, cli->object, "--", copy);
}

int cli_parse(struct cli *cli, int argc, char **argv)
{
	struct getopt_tables tables;
	int got, err;

	make_getopt(cli, &tables);
	opterr = 0;
	optind = 0; /* 0, not 1: glibc starts anew */
	while ((got = getopt_long(argc, argv, tables.shorts, tables.longs, NULL)) != -1) {
		const struct cli_option *o;
		unsigned index;
		void *target;

		if (got == '?' || got == ':') {
			complain(cli, &tables, argv, got);
			return -EINVAL;
		}
		if (got == VALUE_HELP || got == help_option.letter) {
			print_help(cli);
			return 1;
		}
		index = (unsigned)(got >= VALUE_FIRST ? got - VALUE_FIRST : of_letter(cli, got));
		o = at(cli, index, &target);
		if (o->kind == CLI_VALUE && cli->given[index]) {
			fb_error(cli->object, "--%s: given twice", o->value.key);
			return -EINVAL;
		}
		cli->given[index] = true;
		err = cli_set(o, target, optarg, cli->object);
		if (err)
			return err;
	}
	cli->args = argv + optind;
	cli->n_args = (unsigned)(argc - optind);
	return 0;
}
