/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ask.h"
#include "command.h"
#include "util/loop.h"

enum { INDENT = 2 };

struct stats_options {
	struct ask_options ask;
	uint64_t watch_ns;
};
#define M(member) offsetof(struct stats_options, member)

static const struct cli_option stats_table[] = {
	{.value = {"watch", FB_OPTION_DURATION, M(watch_ns), 100000000, 3600000000000, .help =
		"show what is added in each such time, a second"},
	 .argument = "TIME"},
	{.value = {.key = NULL}},
};

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

/* Times at the hops: one line each, those without any left out. */
static void print_times(const json_t *times)
{
	const char *hop;
	char title[32];
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)times, hop, value) {
		if (!json_integer_value(json_object_get(value, "n")))
			continue;
		snprintf(title, sizeof(title), "t %s", hop);
		print_counters(title, value);
	}
}

static void print_port(const json_t *port)
{
	if (!json_is_object(port)) {
		printf("%*s%-10snot connected\n", INDENT, "", "link");
		return;
	}
	print_counters("link", json_object_get(port, "link"));
	if (json_integer_value(json_object_get(json_object_get(port, "rtt"), "n")))
		print_counters("t rtt", json_object_get(port, "rtt"));
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
		print_times(json_object_get(f, "times"));
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
	print_counters("capture", json_object_get(answer, "capture"));
	print_counters("carrier", json_object_get(answer, "carrier"));
	print_counters("net", json_object_get(answer, "net"));
	print_counters("softpcie", json_object_get(answer, "softpcie"));
	print_counters("qmp", json_object_get(answer, "qmp"));
	json_array_foreach(json_object_get(answer, "boxes"), i, box) {
		printf("%*sto %s\n", INDENT, "", ask_text(box, "address"));
		print_counters("net", json_object_get(box, "net"));
	}
}

/* ---- --watch: what was added since, a second --------------------------------- */

/* Numbers that say how it is, and do not count. */
static bool is_gauge(const char *key)
{
	static const char *const gauges[] = {"pid",    "srtt_ns", "rttvar_ns", "min_rtt_ns",  "rto_ns",	   "mtu",
					     "window", "in_flight", "slots",   "slots_free", "running", "incarnation",
					     "clock_offset_ns", "clock_error_ns", "mean_ns", "p50_ns", "p90_ns",
					     "p99_ns", "p999_ns", "max_ns", NULL};

	for (const char *const *g = gauges; *g; g++) {
		if (!strcmp(*g, key))
			return true;
	}
	return false;
}

/* Is it the same function, box or daemon? Lists may have grown or shrunk in between. */
static bool same_thing(const json_t *a, const json_t *b)
{
	static const char *const names[] = {"id", "address", "control"};

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(ask_text(a, names[i]), ask_text(b, names[i])))
			return false;
	}
	return true;
}

/* Turns `now` into what changed since `before`, a second. A session that began anew counts from its start. */
static void make_rates(json_t *now, const json_t *before, double seconds)
{
	const char *key;
	json_t *value;
	size_t i;

	json_object_foreach(now, key, value) {
		const json_t *old = json_object_get(before, key);

		if (json_is_integer(value) && !is_gauge(key)) {
			json_int_t v = json_integer_value(value), was = json_integer_value(old);

			json_integer_set(value, (json_int_t)((double)(v >= was ? v - was : v) / seconds + 0.5));
		} else {
			make_rates(value, old, seconds);
		}
	}
	json_array_foreach(now, i, value) {
		const json_t *old = json_array_get(before, i);

		make_rates(value, same_thing(value, old) ? old : NULL, seconds);
	}
}

static void show(const struct stats_options *options, json_t *answers)
{
	size_t i;
	json_t *answer;

	if (options->ask.json) {
		ask_print_json(options->ask.control, answers);
		return;
	}
	json_array_foreach(answers, i, answer)
		print_daemon(answer);
}

/* Until interrupted, or a daemon is gone. */
static int watch(const struct stats_options *options, const json_t *request, json_t *before)
{
	uint64_t then = fb_clock_ns(), now;
	int err = 0;

	json_incref(before);
	while (!err) {
		const struct timespec pause = {(time_t)(options->watch_ns / 1000000000), (long)(options->watch_ns % 1000000000)};
		json_t *answers, *rates;

		nanosleep(&pause, NULL);
		err = ask_all(options->ask.control, request, &answers);
		if (err)
			break;
		now = fb_clock_ns();
		rates = json_deep_copy(answers);
		make_rates(rates, before, (double)(now - then) / 1e9);
		show(options, rates);
		printf("\n");
		fflush(stdout);
		json_decref(rates);
		json_decref(before);
		before = answers;
		then = now;
	}
	json_decref(before);
	return err;
}

int cmd_stats(int argc, char **argv)
{
	struct stats_options options = {.ask = {.control = NULL}};
	struct cli cli = {
		.command = "stats",
		.usage = "[OPTION…] [ID…]",
		.about = "Shows the counters of the boxes and roots of this machine, of all functions or of some.",
		.groups = {{"Options", ask_option_table, &options.ask}, {"Time", stats_table, &options}},
	};
	json_t *request, *answers = NULL;
	int err = cli_parse(&cli, argc, argv), status = err > 0 ? 0 : EXIT_USAGE;

	if (err) {
		cli_release(&cli);
		return status;
	}
	request = ask_request("stats", NULL, 0);
	err = ask_all(options.ask.control, request, &answers);
	if (!err && cli.n_args) {
		/* Asked once more: first all names, for a wrong one's nearest, then what was wanted. */
		err = ask_check_ids(answers, cli.args, cli.n_args);
		json_decref(request);
		request = ask_request("stats", cli.args, cli.n_args);
		json_decref(answers);
		answers = NULL;
		if (!err)
			err = ask_all(options.ask.control, request, &answers);
	}
	if (!err && options.watch_ns)
		err = watch(&options, request, answers);
	else if (!err)
		show(&options, answers);
	json_decref(answers);
	json_decref(request);
	cli_release(&cli);
	return err ? EXIT_FAILED : 0;
}
