/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ask.h"
#include "capturing.h"
#include "command.h"
#include "control/client.h"
#include "util/log.h"

struct options {
	struct capture_options capture;
	char *write, *control;
	bool quiet;
};
#define M(member) offsetof(struct options, member)

static const struct cli_option capture_table[] = {
	{.value = {"write", FB_OPTION_STRING, M(write), 1, 4096, .help = "write to this file; - is standard output"},
	 .letter = 'w', .argument = "FILE"},
	{.value = {"filter", FB_OPTION_STRING, M(capture.filter), 1, 4096, .help =
		"only these TLPs: KEY=VALUE[+VALUE…] …, alternatives\nwith \"or\"; keys: function, type, addr, dir,\n"
		"requester, tag, status"},
	 .argument = "FILTER", .shown = "all"},
	{.value = {"count", FB_OPTION_U64, M(capture.count), 1, INT64_MAX, .help = "end after so many TLPs"},
	 .letter = 'c', .argument = "N"},
	{.value = {"duration", FB_OPTION_DURATION, M(capture.duration_ns), 1000000, INT64_MAX, .help = "end after this time"},
	 .argument = "TIME"},
	{.value = {"snap", FB_OPTION_UINT, M(capture.snap), FB_CAPTURE_SNAP_MIN, 65536, .help =
		"keep so many bytes of each TLP; 32 have any header"},
	 .letter = 's', .argument = "N", .shown = "all"},
	{.value = {"size", FB_OPTION_SIZE, M(capture.size), 65536, UINT64_C(1) << 50, .help =
		"begin the next of --files at this size"},
	 .argument = "SIZE"},
	{.value = {"files", FB_OPTION_UINT, M(capture.files), 2, FB_CAPTURE_FILES_MAX, .help =
		"go round in so many files: FILE.0, FILE.1 …;\nthe oldest is overwritten"},
	 .argument = "N"},
	{.value = {"buffer", FB_OPTION_SIZE, M(capture.buffer), FB_CAPTURE_BUFFER_MIN, FB_CAPTURE_BUFFER_MAX, .help =
		"bytes that may wait for a slow file in the daemon"},
	 .argument = "SIZE", .shown = "4M"},
	{.value = {"quiet", FB_OPTION_BOOL, M(quiet), .help = "no summary at the end"}, .letter = 'q'},
	{.value = {"control", FB_OPTION_STRING, M(control), 1, 107, .help = "control socket of the daemon to capture from"},
	 .argument = "PATH", .shown = "the one of this machine"},
	{.value = {.key = NULL}},
};

/* The connection that a signal tells to come to its end. */
static volatile sig_atomic_t connection = -1;

static void on_signal(int sig)
{
	int saved = errno;

	if (connection >= 0)
		shutdown(connection, SHUT_WR);
	errno = saved;
}

static void catch_signals(void)
{
	struct sigaction a = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

	sigaction(SIGINT, &a, NULL);
	sigaction(SIGTERM, &a, NULL);
	sigaction(SIGHUP, &a, NULL);
}

/* The daemon's socket into `path`. 0 or -errno, logged. */
static int choose(const char *control, char *path, size_t cap)
{
	char **sockets = NULL;
	int err = 0;

	if (control) {
		snprintf(path, cap, "%s", control);
		return 0;
	}
	err = fb_control_find(&sockets);
	if (err)
		fb_error(NULL, "%s", strerror(-err));
	else if (!sockets[0])
		fb_error(NULL, "no farbus daemon runs here (none in the default directories; --control PATH names one "
			       "elsewhere)");
	else if (sockets[1])
		fb_error(NULL, "several daemons run here; --control PATH says which (%s is one)", sockets[0]);
	else
		snprintf(path, cap, "%s", sockets[0]);
	if (!err && (!sockets[0] || sockets[1]))
		err = -ENOENT;
	fb_control_free_list(sockets);
	return err;
}

static json_t *make_request(const struct capture_options *o)
{
	json_t *r = json_pack("{s:s}", "verb", "capture");

	if (o->filter)
		json_object_set_new(r, "filter", json_string(o->filter));
	if (o->size)
		json_object_set_new(r, "size", json_integer((json_int_t)o->size));
	if (o->snap)
		json_object_set_new(r, "snap", json_integer(o->snap));
	if (o->buffer)
		json_object_set_new(r, "buffer", json_integer((json_int_t)o->buffer));
	if (o->count)
		json_object_set_new(r, "count", json_integer((json_int_t)o->count));
	if (o->duration_ns)
		json_object_set_new(r, "duration_ns", json_integer((json_int_t)o->duration_ns));
	return r;
}

static void progress(void *arg, const char *text)
{
	const struct options *o = arg;

	if (!o->quiet)
		fb_info(NULL, "%s to %s; an interrupt ends it", text, o->write);
}

static int report(const struct options *o, const json_t *result)
{
	const char *error = ask_text(result, "error");

	if (!o->quiet)
		fb_info(NULL, "%" JSON_INTEGER_FORMAT " TLPs, %" JSON_INTEGER_FORMAT " dropped, %" JSON_INTEGER_FORMAT " bytes",
			json_integer_value(json_object_get(result, "tlps")),
			json_integer_value(json_object_get(result, "dropped")),
			json_integer_value(json_object_get(result, "bytes")));
	if (!*error)
		return 0;
	fb_error(NULL, "%s: %s", o->write, error);
	return -EIO;
}

static int check_filter(const char *text)
{
	struct fb_filter *filter = NULL;
	char error[320];
	int err = text ? fb_filter_parse(&filter, text, error, sizeof(error)) : 0;

	if (err)
		fb_error(NULL, "%s", error);
	fb_filter_free(filter);
	return err;
}

static int run(struct options *o)
{
	struct capture_files files = {.n = 0};
	const int out = STDOUT_FILENO;
	bool to_stdout = !strcmp(o->write, "-");
	json_t *request = NULL, *result = NULL;
	char path[FB_CONTROL_PATH_MAX], *error = NULL;
	int fd = -1, err = choose(o->control, path, sizeof(path));

	if (!err) {
		fd = fb_control_connect(path, 5000000000ull, &error);
		err = fd < 0 ? fd : 0;
	}
	/* Last: an old file of that name is kept until nothing more can be wrong. */
	if (!err && !to_stdout)
		err = capture_files_open(&files, o->write, o->capture.files ? o->capture.files : 1, NULL);
	if (!err) {
		connection = fd;
		catch_signals();
		request = make_request(&o->capture);
		err = fb_control_call(fd, path, request, to_stdout ? &out : files.fds, to_stdout ? 1 : files.n, UINT64_MAX,
				      progress, o, &result, &error);
	}
	if (error)
		fb_error(NULL, "%s", error);
	if (!err)
		err = report(o, result);
	free(error);
	json_decref(request);
	json_decref(result);
	connection = -1;
	if (fd >= 0)
		close(fd);
	capture_files_close(&files);
	return err;
}

int cmd_capture(int argc, char **argv)
{
	struct options options = {.write = NULL};
	struct cli cli = {
		.command = "capture",
		.usage = "-w FILE [OPTION…]",
		.about = "Writes the TLPs that pass through a running box or root to a pcapng file, for Wireshark and\n"
			 "\"farbus decode\".",
		.groups = {{"Options", capture_table, &options}},
	};
	int err = cli_parse(&cli, argc, argv), status = err > 0 ? 0 : EXIT_USAGE;

	if (err)
		goto release;
	if (cli.n_args)
		fb_error(NULL, "\"%s\" is one word too many; a filter goes with --filter", cli.args[0]);
	else if (!options.write)
		fb_error(NULL, "-w is missing: where to? -w FILE, or -w - for a pipe");
	else if (!strcmp(options.write, "-") && options.capture.files)
		fb_error(NULL, "--files needs files; -w - is standard output");
	else if (!strcmp(options.write, "-") && isatty(STDOUT_FILENO))
		fb_error(NULL, "-w -: standard output is a terminal, and pcapng is nothing to read there");
	else if (!check_filter(options.capture.filter) && !capture_check(&options.capture, NULL))
		status = run(&options) ? EXIT_FAILED : 0;
release:
	cli_release(&cli);
	return status;
}
