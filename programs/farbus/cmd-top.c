/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Asks the daemons for their stats once an interval and shows what was added
 * since: rates from counters, percentiles from the difference of two histograms
 * (so they are of the interval, not of all time). A function that is new, or whose
 * session began anew, counts from there.
 *
 * On a terminal the screen is drawn anew each time, from the top, line by line
 * with the rest of each cleared, so that it does not flicker; keys are q, and
 * t, b, l, r and n for what is sorted by. Elsewhere, and with --once, it is a
 * plain table.
 */
#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "ask.h"
#include "command.h"
#include "util/histogram.h"
#include "util/log.h"
#include "util/loop.h"

enum { ROWS_MAX = 8192, WIDTH_MAX = 512 };

static const char *const sort_words[] = {"tlps", "bytes", "latency", "losses", "name", NULL};
enum sort { BY_TLPS, BY_BYTES, BY_LATENCY, BY_LOSSES, BY_NAME };

struct top_options {
	struct ask_options ask;
	uint64_t interval_ns;
	bool once;
	unsigned sort;
};
#define M(member) offsetof(struct top_options, member)

static const struct cli_option top_table[] = {
	{.value = {"interval", FB_OPTION_DURATION, M(interval_ns), 100000000, 3600000000000, .help = "between two looks"},
	 .argument = "TIME", .shown = "1s"},
	{.value = {"once", FB_OPTION_BOOL, M(once), .help = "print one interval as a plain table, and end"}},
	{.value = {"sort", FB_OPTION_CHOICE, M(sort), 0, 0, sort_words, .help =
		"tlps, bytes, latency, losses or name"},
	 .argument = "WORD", .shown = "tlps"},
	{.value = {"control", FB_OPTION_STRING, M(ask.control), 1, 107, .help = "ask this daemon"},
	 .argument = "PATH", .shown = "all of this machine"},
	{.value = {.key = NULL}},
};

struct row {
	char name[64], where[32], state[16];
	double tlps, rx_bytes, tx_bytes, retransmits, timeouts, losses;
	uint64_t p50, p99, rtt; /* ns; 0: none in the interval */
};

struct rows {
	struct row *v;
	unsigned n;
};

/* ---- What changed ----------------------------------------------------------------- */

static json_int_t number(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static double rate(const json_t *now, const json_t *before, const char *key, double seconds)
{
	json_int_t v = number(now, key), was = number(before, key);

	return (double)(v >= was ? v - was : v) / seconds;
}

/* The samples that `now` has more than `before` ("buckets": [[ns, n], …], ascending). */
static void difference(struct fb_histogram *h, const json_t *now, const json_t *before)
{
	const json_t *a = json_object_get(now, "buckets"), *b = json_object_get(before, "buckets");
	size_t i, k = 0;
	json_t *pair;

	fb_histogram_reset(h);
	h->max = (uint64_t)number(now, "max_ns");
	json_array_foreach((json_t *)(uintptr_t)a, i, pair) {
		uint64_t at = (uint64_t)json_integer_value(json_array_get(pair, 0));
		json_int_t n = json_integer_value(json_array_get(pair, 1));
		const json_t *old;

		while ((old = json_array_get(b, k)) && (uint64_t)json_integer_value(json_array_get(old, 0)) < at)
			k++;
		if (old && (uint64_t)json_integer_value(json_array_get(old, 0)) == at)
			n -= json_integer_value(json_array_get(old, 1));
		if (n > 0)
			h->bucket[fb_histogram_bucket(at)] += (uint32_t)n;
	}
}

static const json_t *find(const json_t *list, const char *key, const char *value)
{
	size_t i;
	json_t *o;

	json_array_foreach((json_t *)(uintptr_t)list, i, o) {
		if (!strcmp(ask_text(o, key), value))
			return o;
	}
	return NULL;
}

/* Text of a daemon's: what a terminal might take for a command becomes "?". */
static void copy_text(char *to, size_t cap, const char *from)
{
	snprintf(to, cap, "%s", from);
	for (; *to; to++) {
		if (!isprint((unsigned char)*to))
			*to = '?';
	}
}

static void add_row(struct rows *rows, const json_t *f, const json_t *before, const char *where, const char *hop, double seconds)
{
	const json_t *port = json_object_get(f, "port"), *old_port = json_object_get(before, "port");
	const json_t *link = json_object_get(port, "link"), *old = json_object_get(old_port, "link");
	struct row *r;
	struct fb_histogram h;

	if (rows->n == ROWS_MAX)
		return;
	if (rows->n % 64 == 0) {
		struct row *more = realloc(rows->v, (rows->n + 64) * sizeof(*more));

		if (!more)
			return;
		rows->v = more;
	}
	r = &rows->v[rows->n++];
	memset(r, 0, sizeof(*r));
	copy_text(r->name, sizeof(r->name), *ask_text(f, "id") ? ask_text(f, "id") : ask_text(f, "function"));
	copy_text(r->where, sizeof(r->where), where);
	copy_text(r->state, sizeof(r->state), json_is_object(port) ? "up" : "down");
	r->tlps = rate(link, old, "tx_tlps", seconds) + rate(link, old, "rx_tlps", seconds);
	r->rx_bytes = rate(link, old, "rx_tlp_bytes", seconds);
	r->tx_bytes = rate(link, old, "tx_tlp_bytes", seconds);
	r->retransmits = rate(link, old, "retransmits", seconds);
	r->timeouts = rate(link, old, "timeouts", seconds);
	r->losses = r->retransmits + r->timeouts;
	difference(&h, json_object_get(json_object_get(f, "times"), hop), json_object_get(json_object_get(before, "times"), hop));
	r->p50 = fb_histogram_percentile(&h, 500000);
	r->p99 = fb_histogram_percentile(&h, 990000);
	difference(&h, json_object_get(port, "rtt"), json_object_get(old_port, "rtt"));
	r->rtt = fb_histogram_percentile(&h, 500000);
}

static void add_daemon(struct rows *rows, const json_t *now, const json_t *before, double seconds)
{
	static const char *const hops[] = {"request", "box"};
	const json_t *remote = json_object_get(now, "remote"), *embedded = json_object_get(now, "embedded_box");
	const char *hop = hops[!strcmp(ask_text(now, "role"), "box")];
	char name[32], where[40];
	size_t i;
	json_t *f;

	ask_name(now, name, sizeof(name));
	json_array_foreach(json_object_get(now, "functions"), i, f)
		add_row(rows, f, find(json_object_get(before, "functions"), "id", ask_text(f, "id")), name, hop, seconds);
	json_array_foreach(json_object_get(remote, "requesters"), i, f) {
		const json_t *old = json_array_get(json_object_get(json_object_get(before, "remote"), "requesters"), i);
		const char *peer = ask_text(json_object_get(f, "port"), "peer");

		if (strcmp(peer, ask_text(json_object_get(old, "port"), "peer")) != 0)
			old = NULL;
		snprintf(where, sizeof(where), "remote %.28s", peer);
		add_row(rows, f, old, where, "", seconds);
	}
	if (json_is_object(embedded)) {
		const json_t *old = json_object_get(json_object_get(before, "embedded_box"), "functions");

		snprintf(where, sizeof(where), "box in %.24s", name);
		json_array_foreach(json_object_get(embedded, "functions"), i, f)
			add_row(rows, f, find(old, "id", ask_text(f, "id")), where, "box", seconds);
	}
}

static enum sort sorting; /* for qsort() */

static int by_sort(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	double d = 0;

	switch (sorting) {
	case BY_TLPS:
		d = y->tlps - x->tlps;
		break;
	case BY_BYTES:
		d = y->rx_bytes + y->tx_bytes - x->rx_bytes - x->tx_bytes;
		break;
	case BY_LATENCY:
		d = (double)y->p99 - (double)x->p99;
		break;
	case BY_LOSSES:
		d = y->losses - x->losses;
		break;
	case BY_NAME:
		break;
	}
	return d > 0 ? 1 : d < 0 ? -1 : strcmp(x->name, y->name) ? strcmp(x->name, y->name) : strcmp(x->where, y->where);
}

/* ---- Showing it ------------------------------------------------------------------------ */

/* "12.3k" in five places. */
static char *short_number(double v, char buf[16])
{
	static const char units[] = " kMGTP";
	unsigned u = 0;

	for (; v >= 999.5 && u < 5; u++)
		v /= 1000;
	snprintf(buf, 16, u && v < 99.95 ? "%.1f%c" : "%.0f%c", v, units[u]);
	if (!u)
		buf[strlen(buf) - 1] = '\0';
	return buf;
}

static char *short_time(uint64_t ns, char buf[16])
{
	if (!ns)
		return strcpy(buf, "-");
	snprintf(buf, 16, ns < 100000 ? "%.1fus" : ns < 10000000 ? "%.0fus" : "%.0fms",
		 ns < 10000000 ? (double)ns / 1e3 : (double)ns / 1e6);
	return buf;
}

/* `screen`: its size is kept to, and the cursor's line is cleared behind each. */
static void show(const struct rows *rows, unsigned daemons, bool screen, unsigned lines, unsigned columns)
{
	const char *end = screen ? "\033[K\n" : "\n";
	char line[WIDTH_MAX], clock[32];
	time_t t = time(NULL);
	struct tm tm;
	unsigned n = rows->n;

	if (columns >= sizeof(line) || !screen)
		columns = sizeof(line) - 1;
	if (screen) {
		strftime(clock, sizeof(clock), "%H:%M:%S", localtime_r(&t, &tm));
		snprintf(line, columns + 1, "farbus top  %s  %u daemon%s, %u function%s, by %s  (q quits; t b l r n sort)", clock,
			 daemons, daemons == 1 ? "" : "s", rows->n, rows->n == 1 ? "" : "s", sort_words[sorting]);
		printf("\033[H%s%s", line, end);
		n = lines < 4 ? 0 : n < lines - 3 ? n : lines - 3;
	}
	snprintf(line, columns + 1, "%-16s %-24s %-5s %8s %8s %8s %8s %8s %8s %7s %7s", "FUNCTION", "ON", "LINK", "TLP/S",
		 "RX B/S", "TX B/S", "READ P50", "READ P99", "RTT P50", "RESENT", "TIMEOUT");
	printf("%s%s%s%s", screen ? "\033[7m" : "", line, screen ? "\033[0m" : "", end);
	for (unsigned i = 0; i < n; i++) {
		const struct row *r = &rows->v[i];
		char b[8][16];

		snprintf(line, columns + 1, "%-16.31s %-24.31s %-5.15s %8s %8s %8s %8s %8s %8s %7s %7s", r->name, r->where,
			 r->state, short_number(r->tlps, b[0]), short_number(r->rx_bytes, b[1]),
			 short_number(r->tx_bytes, b[2]), short_time(r->p50, b[3]), short_time(r->p99, b[4]),
			 short_time(r->rtt, b[5]), short_number(r->retransmits, b[6]), short_number(r->timeouts, b[7]));
		printf("%s%s", line, end);
	}
	if (screen)
		printf("\033[J");
	fflush(stdout);
}

/* ---- The terminal ------------------------------------------------------------------------- */

static volatile sig_atomic_t ending, resized;

static void on_signal(int number)
{
	if (number == SIGWINCH)
		resized = 1;
	else
		ending = 1;
}

static struct termios cooked;

static bool screen_on(void)
{
	struct sigaction action = {.sa_handler = on_signal}; /* without SA_RESTART: it ends a wait */
	struct termios raw;

	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || tcgetattr(STDIN_FILENO, &cooked) < 0)
		return false;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	sigaction(SIGWINCH, &action, NULL);
	raw = cooked;
	raw.c_lflag &= (tcflag_t) ~(ICANON | ECHO);
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	printf("\033[?1049h\033[?25l\033[H\033[J");
	return true;
}

static void screen_off(void)
{
	printf("\033[?25h\033[?1049l");
	fflush(stdout);
	tcsetattr(STDIN_FILENO, TCSANOW, &cooked);
}

static void screen_size(unsigned *lines, unsigned *columns)
{
	struct winsize size;

	*lines = 24;
	*columns = 80;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row && size.ws_col) {
		*lines = size.ws_row;
		*columns = size.ws_col;
	}
}

/* What a key asks for. True: something to show at once. */
static bool key_pressed(void)
{
	static const char keys[] = "tblrn";
	const char *k;
	char c;

	if (read(STDIN_FILENO, &c, 1) != 1) {
		ending = 1; /* the terminal is gone */
		return false;
	}
	if (c == 'q' || c == 'Q')
		ending = 1;
	k = strchr(keys, tolower((unsigned char)c));
	if (!k || !*k)
		return false;
	sorting = (enum sort)(k - keys);
	return true;
}

/* Until `until`, drawing again when a key or the window's size asks for it. */
static void pause_screen(struct rows *rows, unsigned daemons, uint64_t until)
{
	unsigned lines, columns;
	uint64_t now;

	while (!ending && (now = fb_clock_ns()) < until) {
		struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
		int n = poll(&p, 1, (int)((until - now) / 1000000 + 1));

		if ((n > 0 && key_pressed()) || resized) {
			resized = 0;
			if (rows->n)
				qsort(rows->v, rows->n, sizeof(*rows->v), by_sort);
			screen_size(&lines, &columns);
			show(rows, daemons, true, lines, columns);
		}
	}
}

static void pause_plain(uint64_t ns)
{
	const struct timespec t = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};

	nanosleep(&t, NULL);
}

/* ---- The whole -------------------------------------------------------------------------------- */

static int watch(const struct top_options *o, json_t *before, const json_t *request, bool screen)
{
	uint64_t then = fb_clock_ns(), now;
	struct rows rows = {NULL, 0};
	unsigned lines = 24, columns = 80, shown = 0, daemons = (unsigned)json_array_size(before);
	int err = 0;

	json_incref(before);
	while (!ending) {
		json_t *answers, *answer;
		size_t i;

		/* The first look comes soon: an empty screen says nothing. */
		if (screen)
			pause_screen(&rows, daemons, fb_clock_ns() + (shown ? o->interval_ns : o->interval_ns < 300000000 ? o->interval_ns
																: 300000000));
		else
			pause_plain(o->interval_ns);
		if (ending)
			break;
		err = ask_all(o->ask.control, request, &answers);
		if (err)
			break;
		now = fb_clock_ns();
		daemons = (unsigned)json_array_size(answers);
		rows.n = 0;
		json_array_foreach(answers, i, answer)
			add_daemon(&rows, answer, find(before, "control", ask_text(answer, "control")), (double)(now - then) / 1e9);
		if (rows.n)
			qsort(rows.v, rows.n, sizeof(*rows.v), by_sort);
		if (screen)
			screen_size(&lines, &columns);
		else if (shown)
			printf("\n");
		show(&rows, daemons, screen, lines, columns);
		shown++;
		json_decref(before);
		before = answers;
		then = now;
		if (o->once)
			break;
	}
	json_decref(before);
	free(rows.v);
	return err;
}

int cmd_top(int argc, char **argv)
{
	struct top_options o = {.interval_ns = 1000000000};
	struct cli cli = {
		.command = "top",
		.usage = "[OPTION…]",
		.about = "Watches the functions of the boxes and roots of this machine: TLPs and bytes a second, latency\n"
			 "of reads, round trips and losses of the last interval.",
		.groups = {{"Options", top_table, &o}},
	};
	int err = cli_parse(&cli, argc, argv), status = err > 0 ? 0 : EXIT_USAGE;
	json_t *request, *answers = NULL;
	bool screen;

	if (!err && cli.n_args) {
		fb_error(NULL, "\"%s\" is one word too many", cli.args[0]);
		err = -EINVAL;
	}
	if (err) {
		cli_release(&cli);
		return status;
	}
	sorting = (enum sort)o.sort;
	request = ask_request("stats", NULL, 0);
	err = ask_all(o.ask.control, request, &answers);
	if (!err) {
		screen = !o.once && screen_on();
		err = watch(&o, answers, request, screen);
		if (screen)
			screen_off();
	}
	json_decref(answers);
	json_decref(request);
	cli_release(&cli);
	return err ? EXIT_FAILED : 0;
}
