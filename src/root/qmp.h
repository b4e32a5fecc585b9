/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client of QEMU's QMP socket: commands with callbacks, events, and a new
 * connection when the old one is lost. What comes over the socket is checked
 * and bounded, as everything from outside.
 *
 * Non-blocking, on the loop's thread.
 */
#ifndef FARBUS_ROOT_QMP_H
#define FARBUS_ROOT_QMP_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct fb_loop;
struct fb_qmp;

enum { FB_QMP_LINE_MAX = 1 << 20, FB_QMP_PENDING_MAX = 4096 };

struct fb_qmp_user {
	/* Greeted and negotiated: commands may be given. */
	void (*connected)(void *arg, const char *version);
	/*
	 * There is no connection (any more), or it could not be made; it is tried again
	 * by itself. `why` is a line for people. Pending commands have ended.
	 */
	void (*lost)(void *arg, int err, const char *why);
	void (*event)(void *arg, const char *name, json_t *data);
};

/* result (borrowed), or NULL and why. `class` is QMP's error class, or NULL: the connection was lost. */
typedef void fb_qmp_done(void *arg, json_t *result, const char *error_class, const char *error);

struct fb_qmp_stats {
	uint64_t commands, errors, events, reconnects;
};

/* Connects in the next round. 0 or -errno (-ENAMETOOLONG, -ENOMEM). */
int fb_qmp_new(struct fb_qmp **out, struct fb_loop *loop, const char *path, const struct fb_qmp_user *user, void *arg);
/* Uses a socket that is connected already, and no other (tests). Takes fd. */
int fb_qmp_new_fd(struct fb_qmp **out, struct fb_loop *loop, int fd, const struct fb_qmp_user *user, void *arg);
/* Pending commands end as if the connection were lost; lost() is not called. Not from inside a callback. NULL: nothing. */
void fb_qmp_free(struct fb_qmp *qmp);

bool fb_qmp_up(const struct fb_qmp *qmp);
/*
 * Takes `arguments` (may be NULL). done() is called once, later. Without a connection, or with too
 * many commands pending: -ENOTCONN, -ENOBUFS, and done() is not called.
 */
int fb_qmp_command(struct fb_qmp *qmp, const char *name, json_t *arguments, fb_qmp_done *done, void *arg);
const struct fb_qmp_stats *fb_qmp_stats(const struct fb_qmp *qmp);

#endif
