/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "control/client.h"
#include "util/log.h"

enum { NAMES_MAX = 1024 };
static const uint64_t answer_ns = 5000000000;

#define M(member) offsetof(struct ask_options, member)

const struct cli_option ask_option_table[] = {
	{.value = {"json", FB_OPTION_BOOL, M(json), .help = "print JSON; docs/operations.md has the keys"}},
	{.value = {"control", FB_OPTION_STRING, M(control), 1, 107, .help = "control socket of the one daemon to ask"},
	 .argument = "PATH", .shown = "all daemons of this machine"},
	{.value = {.key = NULL}},
};

json_t *ask_request(const char *verb, char **ids, unsigned n)
{
	json_t *request = json_pack("{s:s}", "verb", verb), *list;

	if (n) {
		list = json_array();
		for (unsigned i = 0; i < n; i++)
			json_array_append_new(list, json_string(ids[i]));
		json_object_set_new(request, "ids", list);
	}
	return request;
}

static int ask_one(const char *path, const json_t *request, json_t *answers)
{
	json_t *result = NULL;
	char *error = NULL;
	int err = fb_control_ask(path, request, answer_ns, NULL, NULL, &result, &error);

	if (err) {
		fb_error(NULL, "%s", error);
		free(error);
		return err;
	}
	json_object_set_new(result, "control", json_string(path));
	json_array_append_new(answers, result);
	return 0;
}

int ask_all(const char *control, const json_t *request, json_t **answers)
{
	char **sockets = NULL;
	int err = 0;

	*answers = json_array();
	if (control) {
		err = ask_one(control, request, *answers);
	} else {
		err = fb_control_find(&sockets);
		if (err)
			fb_error(NULL, "%s", strerror(-err));
		else if (!sockets[0])
			fb_error(NULL, "no farbus daemon runs here (none in the default directories; --control PATH "
				       "names one elsewhere)");
		for (char **s = sockets; s && *s; s++) {
			int one = ask_one(*s, request, *answers);

			err = err ? err : one;
		}
		if (json_array_size(*answers))
			err = 0;
		else if (!err)
			err = -ENOENT;
		fb_control_free_list(sockets);
	}
	if (err) {
		json_decref(*answers);
		*answers = NULL;
	}
	return err;
}

int ask_check_ids(const json_t *answers, char **ids, unsigned n)
{
	const char *known[NAMES_MAX + 1], *near;
	unsigned n_known = 0;
	size_t i, j;
	json_t *answer, *function;
	int err = 0;

	json_array_foreach(answers, i, answer) {
		json_array_foreach(json_object_get(answer, "functions"), j, function) {
			if (n_known < NAMES_MAX)
				known[n_known++] = ask_text(function, "id");
		}
	}
	known[n_known] = NULL;
	for (unsigned k = 0; k < n; k++) {
		bool found = false;

		for (unsigned m = 0; m < n_known; m++)
			found |= !strcmp(known[m], ids[k]);
		if (found)
			continue;
		near = fb_nearest(ids[k], known);
		if (near)
			fb_error(NULL, "no function \"%s\"; did you mean \"%s\"?", ids[k], near);
		else
			fb_error(NULL, "no function \"%s\"; \"farbus ls\" lists them", ids[k]);
		err = -ENOENT;
	}
	return err;
}

const char *ask_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

char *ask_name(const json_t *answer, char *buf, size_t cap)
{
	snprintf(buf, cap, "%s %lld", ask_text(answer, "role"),
		 (long long)json_integer_value(json_object_get(answer, "pid")));
	return buf;
}

void ask_print_json(const char *control, json_t *answers)
{
	json_t *all = control ? json_incref(json_array_get(answers, 0)) : json_pack("{s:O}", "daemons", answers);

	json_dumpf(all, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(all);
}
