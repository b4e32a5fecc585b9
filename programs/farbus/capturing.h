/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Captures of a daemon: those of --capture, and those that `farbus capture` asks
 * for through the control socket. And what both sides share: a capture's
 * options and its files.
 */
#ifndef FARBUS_PROGRAMS_CAPTURING_H
#define FARBUS_PROGRAMS_CAPTURING_H

#include <jansson.h>
#include <stdint.h>

#include "capture/capture.h"
#include "control/control.h"
#include "util/text.h"

struct capture_options {
	char *filter;
	uint64_t size, buffer, count, duration_ns;
	uint32_t files, snap;
};

/* FILE, or with several: "trace.pcapng" is trace.0.pcapng, trace.1.pcapng … */
struct capture_files {
	char *paths[FB_CAPTURE_FILES_MAX];
	int fds[FB_CAPTURE_FILES_MAX];
	unsigned n;
};
/* Makes them anew, readable by their owner only. 0 or -errno, logged. */
int capture_files_open(struct capture_files *files, const char *path, unsigned n, const char *object);
/* Closes, and removes those that were never begun. */
void capture_files_close(struct capture_files *files);

/* Both bounds of rotation or none. 0 or -EINVAL, logged. */
int capture_check(const struct capture_options *options, const char *object);

/* "--capture FILE[,OPTION=VALUE…]"; what goes wrong later is logged. 0 or -errno, logged. */
int capturing_start(struct fb_tap *tap, const char *spec, const char *writer);

/* The verb "capture". Its arg is not used by these two, so that they fit into the verbs of any daemon. */
json_t *capturing_verb(struct fb_tap *tap, const char *writer, const json_t *request, struct fb_control_call *call);

#endif
