/* SPDX-License-Identifier: Apache-2.0 */
/* What ls, stats and plug share: asking one daemon (--control) or all of this machine. */
#ifndef FARBUS_PROGRAMS_ASK_H
#define FARBUS_PROGRAMS_ASK_H

#include <jansson.h>
#include <stdbool.h>

#include "cli.h"

struct ask_options {
	char *control;
	bool json;
};
extern const struct cli_option ask_option_table[];

/*
 * Sends `request` to the daemon at `control`, or, when that is NULL, to every
 * one in the default directories. *answers: an array of their results, each with
 * its socket under "control". 0 or -errno, logged; a daemon that fails to answer
 * among several is logged and left out; none at all is -ENOENT.
 */
int ask_all(const char *control, const json_t *request, json_t **answers);

/* {"verb": verb, "ids": [args…]}; "ids" only if there are any. */
json_t *ask_request(const char *verb, char **ids, unsigned n);

/* For each of the IDs that no answer's "functions" has: a line with the nearest name, and -ENOENT. */
int ask_check_ids(const json_t *answers, char **ids, unsigned n);

/* As JSON on stdout: the one daemon's object with --control, else {"daemons": [one each]}. */
void ask_print_json(const char *control, json_t *answers);

/* "box 123": how a daemon is called when there are several. Returns buf. */
char *ask_name(const json_t *answer, char *buf, size_t cap);

/* Text, number or "" of a member. */
const char *ask_text(const json_t *object, const char *key);

#endif
