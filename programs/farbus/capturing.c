/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "capturing.h"
#include "util/log.h"

/* ---- Files ----------------------------------------------------------------- */

/* "dir/trace.pcapng" -> "dir/trace.3.pcapng" */
static char *numbered(const char *path, unsigned i)
{
	const char *slash = strrchr(path, '/'), *dot = strrchr(slash ? slash + 1 : path, '.');
	char *out = NULL;

	if (!dot || dot == path || dot[-1] == '/')
		dot = path + strlen(path);
	return asprintf(&out, "%.*s.%u%s", (int)(dot - path), path, i, dot) < 0 ? NULL : out;
}

int capture_files_open(struct capture_files *f, const char *path, unsigned n, const char *object)
{
	int err;

	memset(f, 0, sizeof(*f));
	for (unsigned i = 0; i < n; i++) {
		char *name = n > 1 ? numbered(path, i) : strdup(path);

		if (!name) {
			err = -ENOMEM;
			goto close_files;
		}
		/* What it holds is memory of guests. */
		f->fds[f->n] = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0600);
		f->paths[f->n] = name;
		if (f->fds[f->n] < 0) {
			err = -errno;
			fb_error(object, "%s: %s", name, strerror(-err));
			free(name);
			goto close_files;
		}
		f->n++;
	}
	return 0;
close_files:
	capture_files_close(f);
	return err;
}

void capture_files_close(struct capture_files *f)
{
	for (unsigned i = 0; i < f->n; i++) {
		struct stat st;

		if (fstat(f->fds[i], &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0)
			unlink(f->paths[i]);
		close(f->fds[i]);
		free(f->paths[i]);
	}
	f->n = 0;
}

int capture_check(const struct capture_options *o, const char *object)
{
	if (o->files > 1 && !o->size)
		fb_error(object, "files=%u needs a size: when is the next one to be begun?", o->files);
	else if (o->size && o->files < 2)
		fb_error(object, "size needs files, 2 at least: how many are there to go round?");
	else
		return 0;
	return -EINVAL;
}

/* ---- Of the daemon itself ---------------------------------------------------- */

#define M(member) offsetof(struct capture_options, member)
static const struct fb_text_option spec_table[] = {
	{"filter", FB_OPTION_STRING, M(filter), 1, 4096, .help = "which TLPs"},
	{"snap", FB_OPTION_UINT, M(snap), FB_CAPTURE_SNAP_MIN, 65536, .help = "bytes of each TLP"},
	{"size", FB_OPTION_SIZE, M(size), 65536, UINT64_C(1) << 50, .help = "begin the next file at"},
	{"files", FB_OPTION_UINT, M(files), 2, FB_CAPTURE_FILES_MAX, .help = "files to go round"},
	{"buffer", FB_OPTION_SIZE, M(buffer), FB_CAPTURE_BUFFER_MIN, FB_CAPTURE_BUFFER_MAX, .help = "bytes that may wait"},
	{"count", FB_OPTION_U64, M(count), 1, UINT64_MAX, .help = "end after so many TLPs"},
	{"duration", FB_OPTION_DURATION, M(duration_ns), 1000000, UINT64_MAX / 2, .help = "end after"},
	{.key = NULL},
};

struct own {
	struct fb_capture *capture;
	struct capture_files files;
	char name[128];
};

static void own_ended(void *arg, const struct fb_capture_result *r)
{
	struct own *own = arg;

	if (r->err)
		fb_error("capture", "%s: %s", own->name, strerror(-r->err));
	fb_info("capture", "%s: %" PRIu64 " TLPs, %" PRIu64 " dropped, %" PRIu64 " bytes", own->name, r->packets, r->dropped,
		r->bytes);
	fb_capture_free(own->capture);
	capture_files_close(&own->files);
	free(own);
}

static void put_options(struct fb_capture_config *config, const struct capture_options *o)
{
	config->filter_text = o->filter;
	config->file_size = o->size;
	config->snap = o->snap;
	config->buffer = o->buffer;
	config->max_packets = o->count;
	config->max_ns = o->duration_ns;
}

int capturing_start(struct fb_tap *tap, const char *spec, const char *writer)
{
	struct capture_options options = {0};
	struct fb_capture_config config = {.writer = writer, .ended = own_ended};
	char *copy = strdup(spec), *cursor = copy, *path, error[320];
	struct own *own = calloc(1, sizeof(*own));
	const char *rest = NULL;
	int err = copy && own ? 0 : -ENOMEM;

	if (!err) {
		path = fb_next_item(&cursor, ',');
		rest = cursor && *cursor ? spec + (cursor - copy) : NULL;
		if (!path || !*path) {
			fb_error("capture", "--capture %s: the file's name is missing", spec);
			err = -EINVAL;
		}
	}
	if (!err)
		err = fb_options_apply(spec_table, &options, rest, "capture");
	if (!err)
		err = capture_check(&options, "capture");
	if (!err) {
		snprintf(own->name, sizeof(own->name), "%s", path);
		err = capture_files_open(&own->files, path, options.files ? options.files : 1, "capture");
	}
	if (!err) {
		put_options(&config, &options);
		config.fds = own->files.fds;
		config.n_fds = own->files.n;
		config.arg = own;
		err = fb_capture_start(&own->capture, tap, &config, error, sizeof(error));
		if (err) {
			fb_error("capture", "%s: %s", own->name, error);
			capture_files_close(&own->files);
		}
	}
	if (err)
		free(own);
	free(copy);
	fb_options_release(spec_table, &options);
	return err;
}

/* ---- For a client of the control socket ---------------------------------------- */

struct asked {
	struct fb_capture *capture;
	struct fb_control_call *call; /* NULL: the client is gone */
};

static void asked_ended(void *arg, const struct fb_capture_result *r)
{
	struct asked *a = arg;
	json_t *o;

	if (a->call) {
		o = json_pack("{s:I, s:I, s:I, s:I}", "tlps", (json_int_t)r->packets, "dropped", (json_int_t)r->dropped,
			      "bytes", (json_int_t)r->bytes, "files", (json_int_t)r->files);
		if (o && r->err)
			json_object_set_new(o, "error", json_string(strerror(-r->err)));
		fb_control_done(a->call, o);
	}
	fb_capture_free(a->capture);
	free(a);
}

static void asked_stop(void *arg)
{
	struct asked *a = arg;

	fb_capture_stop(a->capture);
}

static void asked_gone(void *arg)
{
	struct asked *a = arg;

	a->call = NULL;
	fb_capture_stop(a->capture);
}

static bool get_number(const json_t *request, const char *key, uint64_t max, uint64_t *value)
{
	const json_t *v = json_object_get(request, key);

	if (!v)
		return true;
	if (!json_is_integer(v) || json_integer_value(v) < 0 || (uint64_t)json_integer_value(v) > max)
		return false;
	*value = (uint64_t)json_integer_value(v);
	return true;
}

json_t *capturing_verb(struct fb_tap *tap, const char *writer, const json_t *request, struct fb_control_call *call)
{
	struct asked *a = calloc(1, sizeof(*a));
	struct fb_capture_config config = {.writer = writer, .ended = asked_ended, .arg = a};
	const json_t *filter = json_object_get(request, "filter");
	uint64_t snap = 0;
	char error[320];
	int err = -EINVAL;

	config.n_fds = fb_control_fds(call, &config.fds);
	config.filter_text = json_string_value(filter);
	snprintf(error, sizeof(error), "\"snap\", \"size\", \"buffer\", \"count\" and \"duration_ns\" are numbers, "
				       "\"filter\" is a text");
	if (!a) {
		err = -ENOMEM;
		snprintf(error, sizeof(error), "%s", strerror(ENOMEM));
	} else if (!config.n_fds) {
		snprintf(error, sizeof(error), "a capture needs a file: its descriptor comes with the request (SCM_RIGHTS)");
	} else if ((!filter || config.filter_text) && get_number(request, "snap", UINT32_MAX, &snap) &&
		   get_number(request, "size", INT64_MAX, &config.file_size) &&
		   get_number(request, "buffer", INT64_MAX, &config.buffer) &&
		   get_number(request, "count", INT64_MAX, &config.max_packets) &&
		   get_number(request, "duration_ns", INT64_MAX, &config.max_ns)) {
		config.snap = (uint32_t)snap;
		err = fb_capture_start(&a->capture, tap, &config, error, sizeof(error));
	}
	if (err) {
		free(a);
		fb_control_fail(call, err, error);
		return NULL;
	}
	a->call = call;
	fb_control_on_gone(call, asked_gone, a);
	fb_control_progress(call, "capturing");
	fb_control_on_eof(call, asked_stop, a);
	return NULL;
}
