/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "ask.h"
#include "command.h"
#include "table.h"
#include "util/log.h"

static const char *const heads[] = {"DAEMON", "ID", "MODEL", "BDF", "STATE", "PEER", "SLOT", "NOTE", NULL};

static void add_function(struct table *t, const char *daemon, const json_t *f)
{
	const char *slot_state = ask_text(f, "slot_state");
	char slot[64] = "", note[192];
	const char *cells[] = {daemon,	 ask_text(f, "id"),	ask_text(f, "model"), ask_text(f, "bdf"),
			       ask_text(f, "state"), ask_text(f, "peer"), slot,		      note};

	if (*ask_text(f, "slot"))
		snprintf(slot, sizeof(slot), "%s (%s)", ask_text(f, "slot"), slot_state);
	snprintf(note, sizeof(note), "%s", ask_text(f, "note"));
	if (!*note && json_is_true(json_object_get(f, "held_out")))
		snprintf(note, sizeof(note), "unplugged by the operator");
	table_add(t, cells);
}

/* Boxes that do not answer have no functions to be seen in the table: say it under it. */
static void print_silent_boxes(const json_t *answer)
{
	size_t i;
	json_t *box;

	json_array_foreach(json_object_get(answer, "boxes"), i, box) {
		if (json_is_true(json_object_get(box, "reachable")))
			continue;
		printf("box %s: %s\n", ask_text(box, "address"),
		       *ask_text(box, "note") ? ask_text(box, "note") : "does not answer");
	}
}

static void print_table(const json_t *answers)
{
	struct table t = {.heads = heads};
	bool several = json_array_size(answers) > 1;
	size_t i, j;
	json_t *answer, *function;

	json_array_foreach(answers, i, answer) {
		char name[32];

		json_array_foreach(json_object_get(answer, "functions"), j, function)
			add_function(&t, several ? ask_name(answer, name, sizeof(name)) : "", function);
	}
	if (t.n_rows)
		table_print(&t);
	else
		printf("no functions\n");
	json_array_foreach(answers, i, answer)
		print_silent_boxes(answer);
}

int cmd_ls(int argc, char **argv)
{
	struct ask_options options = {0};
	struct cli cli = {
		.command = "ls",
		.usage = "[OPTION…]",
		.about = "Lists the functions that the boxes and roots of this machine know.",
		.groups = {{"Options", ask_option_table, &options}},
	};
	json_t *request, *answers = NULL;
	int err = cli_parse(&cli, argc, argv), status = err > 0 ? 0 : EXIT_USAGE;

	if (!err && cli.n_args) {
		fb_error(NULL, "\"%s\" is one word too many", cli.args[0]);
		err = -1;
	}
	if (err) {
		cli_release(&cli);
		return status;
	}
	request = ask_request("ls", NULL, 0);
	err = ask_all(options.control, request, &answers);
	if (!err && options.json) {
		ask_print_json(options.control, answers);
	} else if (!err) {
		print_table(answers);
	}
	json_decref(answers);
	json_decref(request);
	cli_release(&cli);
	return err ? EXIT_FAILED : 0;
}
