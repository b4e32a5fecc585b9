/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One capture: takes the TLPs of a tap that its filter takes, and writes them
 * to pcapng files that its user opened. docs/capture.md has the format.
 *
 * Every call, and ended(), on the loop's thread. The files are written by a
 * thread of the capture.
 */
#ifndef FARBUS_CAPTURE_CAPTURE_H
#define FARBUS_CAPTURE_CAPTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "capture/filter.h"
#include "capture/tap.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
	FB_CAPTURE_FILES_MAX = 64,
	FB_CAPTURE_SNAP_MIN = 16,
	FB_CAPTURE_BUFFER_MIN = 64 << 10,
	FB_CAPTURE_BUFFER_DEFAULT = 4 << 20,
	FB_CAPTURE_BUFFER_MAX = 256 << 20,
};

struct fb_capture_result {
	int err;              /* 0, or -errno of what ended it before its time */
	uint64_t packets;     /* in the files, those included that were overwritten since */
	uint64_t dropped;     /* taken by the filter, but not in the files */
	uint64_t bytes;       /* written */
	uint64_t files;       /* begun, the same one again counted again */
};

struct fb_capture_config {
	const char *writer;   /* "farbus box 0.1.0" */
	const char *filter_text; /* NULL: everything */
	const int *fds;       /* 1 to FB_CAPTURE_FILES_MAX, written from where they stand; duplicated */
	unsigned n_fds;
	uint64_t file_size;   /* several files: begin the next one at so many bytes, the oldest again after the last */
	uint32_t snap;        /* bytes of each TLP, at least FB_CAPTURE_SNAP_MIN; 0: all */
	uint64_t buffer;      /* bytes that may wait to be written; 0: the default */
	uint64_t max_packets, max_ns; /* end by itself; 0: never */
	/* Once, after fb_capture_stop() or when it ends by itself; never after fb_capture_free(). */
	void (*ended)(void *arg, const struct fb_capture_result *result);
	void *arg;
};

/*
 * 0; -EINVAL, -EBUSY (FB_TAP_CAPTURES_MAX run), -ENOMEM or another -errno with
 * one line in `error`.
 */
int fb_capture_start(struct fb_capture **out, struct fb_tap *tap, const struct fb_capture_config *config, char *error,
		     size_t cap);
/* No TLP from here on; what waits is written, then ended() is called. */
void fb_capture_stop(struct fb_capture *capture);
/* Inside ended() or later; before that it waits for the thread, for two seconds at most. NULL is allowed. */
void fb_capture_free(struct fb_capture *capture);

#ifdef __cplusplus
}
#endif
#endif
