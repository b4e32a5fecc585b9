/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "ask.h"
#include "command.h"
#include "util/log.h"

enum { INDENT = 2 };

/* Times are nanoseconds under "…_ns". */
static void print_value(const char *key, json_int_t v)
{
	size_t len = strlen(key);

	if (len > 3 && !strcmp(key + len - 3, "_ns") && v)
		printf("%.*s %.1f us", (int)(len - 3), key, (double)v / 1000);
	else
		printf("%s %" JSON_INTEGER_FORMAT, key, v);
}

/* One line: "title: a 1, b 2". Zeros are left out, for there are many; "-" when nothing is left. */
static void print_counters(const char *title, const json_t *o)
{
	const char *key;
	json_t *value;
	bool any = false;

	if (!json_is_object(o))
		return;
	printf("%*s%-10s", INDENT, "", title);
	json_object_foreach((json_t *)(uintptr_t)o, key, value) {
		if (!json_is_integer(value) || !json_integer_value(value))
			continue;
		printf("%s", any ? ", " : "");
		print_value(key, json_integer_value(value));
		any = true;
	}
	printf("%s\n", any ? "" : "-");
}

static void print_port(const json_t *port)
{
	if (!json_is_object(port)) {
		printf("%*s%-10snot connected\n", INDENT, "", "link");
		return;
	}
	print_counters("link", json_object_get(port, "link"));
	print_counters("TLPs sent", json_object_get(port, "tlp_tx"));
	print_counters("received", json_object_get(port, "tlp_rx"));
	if (json_object_size(json_object_get(port, "malformed")))
		print_counters("malformed", json_object_get(port, "malformed"));
}

static void print_functions(const json_t *answer, const char *where)
{
	size_t i;
	json_t *f;

	json_array_foreach(json_object_get(answer, "functions"), i, f) {
		printf("%s on %s\n", ask_text(f, "id"), where);
		print_counters("counters", json_object_get(f, "counters"));
		print_counters("model", json_object_get(f, "model"));
		print_port(json_object_get(f, "port"));
	}
}

static void print_daemon(const json_t *answer)
{
	const json_t *embedded = json_object_get(answer, "embedded_box");
	char name[32], inner[64];
	size_t i;
	json_t *box;

	ask_name(answer, name, sizeof(name));
	print_functions(answer, name);
	if (embedded) {
		snprintf(inner, sizeof(inner), "the box in %s", name);
		print_functions(embedded, inner);
	}
	printf("%s\n", name);
	print_counters("loop", json_object_get(answer, "loop"));
	print_counters("carrier", json_object_get(answer, "carrier"));
	print_counters("net", json_object_get(answer, "net"));
	print_counters("qmp", json_object_get(answer, "qmp"));
	json_array_foreach(json_object_get(answer, "boxes"), i, box) {
		printf("%*sto %s\n", INDENT, "", ask_text(box, "address"));
		print_counters("net", json_object_get(box, "net"));
	}
}

int cmd_stats(int argc, char **argv)
{
	struct ask_options options = {0};
	struct cli cli = {
		.command = "stats",
		.usage = "[OPTION…] [ID…]",
		.about = "Shows the counters of the boxes and roots of this machine, of all functions or of some.",
		.groups = {{"Options", ask_option_table, &options}},
	};
	json_t *request, *answers = NULL, *answer;
	int err = cli_parse(&cli, argc, argv), status = err > 0 ? 0 : EXIT_USAGE;
	size_t i;

	if (err) {
		cli_release(&cli);
		return status;
	}
	request = ask_request("stats", NULL, 0);
	err = ask_all("stats", options.control, request, &answers);
	if (!err && cli.n_args) {
		/* Asked once more: first all names, for a wrong one's nearest, then what was wanted. */
		err = ask_check_ids("stats", answers, cli.args, cli.n_args);
		json_decref(request);
		request = ask_request("stats", cli.args, cli.n_args);
		json_decref(answers);
		answers = NULL;
		if (!err)
			err = ask_all("stats", options.control, request, &answers);
	}
	if (!err && options.json) {
		ask_print_json(options.control, answers);
	} else if (!err) {
		json_array_foreach(answers, i, answer)
			print_daemon(answer);
	}
	json_decref(answers);
	json_decref(request);
	cli_release(&cli);
	return err ? EXIT_FAILED : 0;
}
