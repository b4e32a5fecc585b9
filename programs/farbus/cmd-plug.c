/* SPDX-License-Identifier: Apache-2.0 */
/* plug and unplug: one request to the root that has the function, and what it says meanwhile. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "command.h"
#include "control/client.h"
#include "util/log.h"

struct plug_options {
	char *control;
	uint64_t timeout_ns;
};
#define M(member) offsetof(struct plug_options, member)

static const struct cli_option plug_table[] = {
	{.value = {"control", FB_OPTION_STRING, M(control), 1, 107, .help = "control socket of the root to ask"},
	 .argument = "PATH", .shown = "the one that has the function"},
	{.value = {"timeout", FB_OPTION_DURATION, M(timeout_ns), 100000000, 3600000000000, .help =
		"wait so long; what was begun goes on afterwards"},
	 .argument = "TIME", .shown = "30s"},
	{.value = {.key = NULL}},
};

static const json_t *function_of(const json_t *answer, const char *id)
{
	size_t i;
	json_t *f;

	json_array_foreach(json_object_get(answer, "functions"), i, f) {
		if (!strcmp(ask_text(f, "id"), id))
			return f;
	}
	return NULL;
}

/*
 * Which root is meant: of those that know the function, those that have a QEMU
 * to plug it into; then the one that has it, for other roots see it too.
 */
static unsigned rank(const json_t *answer, const json_t *function)
{
	if (strcmp(ask_text(answer, "role"), "root") || !json_is_object(json_object_get(answer, "qmp")))
		return 1;
	return *ask_text(function, "slot") ? 3 : 2;
}

/* Path of the root's socket (borrowed from `answers`), or NULL, logged. */
static const char *choose(const json_t *answers, const char *id)
{
	unsigned best = 0, n_best = 0;
	const char *path = NULL;
	size_t i;
	json_t *answer;

	json_array_foreach(answers, i, answer) {
		const json_t *f = function_of(answer, id);
		unsigned r = f ? rank(answer, f) : 0;

		if (r > best) {
			best = r;
			n_best = 0;
			path = ask_text(answer, "control");
		}
		n_best += r && r == best;
	}
	if (best < 2) {
		fb_error(NULL, "%s: no root on this machine has it and a --qmp to plug it by", id);
		return NULL;
	}
	if (n_best > 1) {
		fb_error(NULL, "%s: %u roots could do it; --control PATH says which (%s is one)", id, n_best, path);
		return NULL;
	}
	return path;
}

static void print_progress(void *arg, const char *text)
{
	printf("%s: %s\n", (const char *)arg, text);
	fflush(stdout);
}

/* The daemon that --control names. */
static bool is_root(const char *path, const json_t *answers)
{
	if (!strcmp(ask_text(json_array_get(answers, 0), "role"), "root"))
		return true;
	fb_error(NULL, "%s: a box listens there: it is roots that plug and unplug", path);
	return false;
}

static int run(const char *verb, struct plug_options *options, char *id)
{
	json_t *ls = ask_request("ls", NULL, 0), *answers = NULL, *request = NULL, *result = NULL;
	const char *path = NULL;
	char *error = NULL;
	int err = ask_all(options->control, ls, &answers);

	if (!err)
		err = ask_check_ids(answers, &id, 1);
	if (!err) {
		if (!options->control)
			path = choose(answers, id);
		else if (is_root(options->control, answers))
			path = options->control;
		err = path ? 0 : -ENOENT;
	}
	if (!err) {
		request = json_pack("{s:s, s:s}", "verb", verb, "id", id);
		err = fb_control_ask(path, request, options->timeout_ns, print_progress, id, &result, &error);
		if (err)
			fb_error(NULL, "%s: %s", id, error);
		else
			printf("%s: %s\n", id, *ask_text(result, "text") ? ask_text(result, "text") : "done");
	}
	free(error);
	json_decref(result);
	json_decref(request);
	json_decref(answers);
	json_decref(ls);
	return err ? EXIT_FAILED : 0;
}

static int plug(const char *verb, const char *about, int argc, char **argv)
{
	struct plug_options options = {.timeout_ns = 30000000000ull};
	struct cli cli = {
		.command = verb,
		.usage = "ID [OPTION…]",
		.about = about,
		.groups = {{"Options", plug_table, &options}},
	};
	int err = cli_parse(&cli, argc, argv), status = err > 0 ? 0 : EXIT_USAGE;

	if (!err && cli.n_args != 1)
		fb_error(NULL, cli.n_args ? "one ID at a time: \"%s\" is one word too many" : "which function? %s",
			 cli.n_args ? cli.args[1] : "\"farbus ls\" lists them");
	else if (!err)
		status = run(verb, &options, cli.args[0]);
	cli_release(&cli);
	return status;
}

int cmd_plug(int argc, char **argv)
{
	return plug("plug", "Hot-plugs a function into a free slot of the virtual machine and waits until it is there.", argc,
		    argv);
}

int cmd_unplug(int argc, char **argv)
{
	return plug("unplug",
		    "Asks the guest to let go of a function, takes it out of its slot and waits until it is out.\n"
		    "It stays out until it is plugged again.",
		    argc, argv);
}
