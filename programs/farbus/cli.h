/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of one command: from one table come getopt_long()'s options,
 * the text of --help and the keys of the configuration file.
 *
 * Values land in the caller's struct, as util/text.h does it; the struct holds
 * the defaults before. The first thing wrong is logged in one line that names
 * the option, the value and what is allowed.
 */
#ifndef FARBUS_PROGRAMS_CLI_H
#define FARBUS_PROGRAMS_CLI_H

#include <stdbool.h>
#include <stddef.h>

#include "util/text.h"

enum cli_kind {
	CLI_VALUE, /* once; its member is of value.type */
	CLI_LIST,  /* repeats; its member is a struct cli_list */
	CLI_COUNT, /* a letter that repeats (-vv), or "verbose = 2"; its member is uint32_t */
	CLI_HELP,  /* no member */
};

struct cli_list {
	char **items; /* NULL-terminated; NULL when empty */
	unsigned n;
};

struct cli_option {
	struct fb_text_option value; /* key: the long name; help may have several lines */
	enum cli_kind kind;
	char letter;          /* 0: none */
	char separator;       /* CLI_LIST: an argument is itself a list ("a,b"); 0: it is one item */
	const char *argument; /* "ADDRESS", for --help; NULL: takes none */
	const char *shown;    /* the default, for --help; NULL: none */
	bool only_here;       /* not in a configuration file */
};

struct cli_group {
	const char *title; /* heading in --help */
	const struct cli_option *options; /* ends with a key of NULL */
	void *target;
};

enum { CLI_GROUPS = 3, CLI_OPTIONS = 64 };

struct cli {
	const char *command; /* "box" */
	const char *object;  /* prefix of messages (util/log.h); NULL but for daemons */
	const char *usage;   /* "--listen ADDRESS --device SPEC … [OPTION…]" */
	const char *about;   /* a paragraph for --help */
	const char *extra;   /* after the options, or NULL */
	struct cli_group groups[CLI_GROUPS]; /* ends with options NULL */

	/* Set by cli_parse(). */
	bool given[CLI_OPTIONS]; /* on the command line, by position in the tables */
	char **args;             /* what is not an option; in argv */
	unsigned n_args;
};

/*
 * argv[0] is the command's name. 0; 1: --help was asked for and printed;
 * -EINVAL after one logged line. Every command has --help by itself.
 */
int cli_parse(struct cli *cli, int argc, char **argv);

/*
 * The configuration file's turn, after cli_parse(): keys are the long names,
 * sections other than `section` are for others. What the command line gave
 * wins; lists are joined. Each key that is not known, or given twice and no
 * list, is refused with file and line. 0 or -errno after one logged line.
 */
int cli_read_config(struct cli *cli, const char *path, const char *section);
/* As above from memory, for the fuzzer; `name` is what messages call it. */
int cli_read_config_text(struct cli *cli, const char *name, const char *text, size_t len, const char *section);

/* Frees strings and lists. */
void cli_release(struct cli *cli);

/* For config.c: finds an option by name; *index is its position in the tables. NULL: none. */
const struct cli_option *cli_find(const struct cli *cli, const char *name, unsigned *index, void **target);
/* Sets it; `object` prefixes the message. 0 or -errno, logged. */
int cli_set(const struct cli_option *option, void *target, const char *value, const char *object);
/* Logs that there is no option of that name, with the nearest one that is meant for there. */
void cli_no_option(const struct cli *cli, const char *object, const char *dashes, const char *name);

int cli_list_add(struct cli_list *list, const char *item); /* 0 or -ENOMEM */
void cli_list_release(struct cli_list *list);

#endif
