/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket of a daemon: a unix stream socket on which `farbus ls`,
 * `stats`, `plug` and other programs ask. One JSON object a line each way:
 *
 *	> {"verb": "plug", "id": "ssd0"}
 *	< {"progress": "plugging into slot0"}          none, one or several
 *	< {"ok": true, "result": {…}}                   exactly one
 *	< {"ok": false, "error": "there is no function ssd0", "code": "ENOENT"}
 *
 * Requests of one client are served one after the other. Clients are not
 * trusted: lines, clients and what waits for a client are bounded, and one that
 * does not read is dropped. Who may connect is a matter of the socket's
 * permissions (0600).
 *
 * Single-threaded, never blocks (fb_control_open() for half a second at most). The schema of the results is in
 * docs/operations.md.
 */
#ifndef FARBUS_CONTROL_CONTROL_H
#define FARBUS_CONTROL_CONTROL_H

#include <jansson.h>

#ifdef __cplusplus
extern "C" {
#endif

struct fb_loop;
struct fb_control;
struct fb_control_call; /* a request that waits for its answer */

enum {
	FB_CONTROL_LINE_MAX = 16 * 1024, /* bytes of a request, its newline included */
	FB_CONTROL_CLIENTS_MAX = 32,     /* one more, and the one that is idle for longest is dropped */
	FB_CONTROL_DRAIN_S = 10,         /* seconds in which a client has to read something */
	FB_CONTROL_FDS_MAX = 64,         /* descriptors that may come with a request */
};

struct fb_control_verb {
	const char *name;
	/*
	 * Serves one request. Returns the result (a new reference), or NULL: the
	 * answer was given or will be given later by fb_control_done() or
	 * fb_control_fail(). `request` is valid during the call only.
	 */
	json_t *(*run)(void *arg, const json_t *request, struct fb_control_call *call);
};

struct fb_control_config {
	const char *path; /* NULL: <run directory>/<role>-<pid>.sock, its directory is made */
	const char *role; /* "box", "root" */
	const struct fb_control_verb *verbs; /* ends with a name of NULL; stays valid */
	void *arg;        /* of the verbs */
};

/*
 * Opens the socket. A stale one of the same path (nobody listens) is replaced.
 * 0 or -errno after one logged line; -EADDRINUSE: a live daemon has it.
 */
int fb_control_open(struct fb_control **out, struct fb_loop *loop, const struct fb_control_config *config);
/* Calls in progress are told that their client is gone. NULL is allowed. */
void fb_control_close(struct fb_control *control);
const char *fb_control_path(const struct fb_control *control);

/*
 * For verbs that answer later. Both end the call: it must not be used
 * afterwards. fb_control_done() takes the reference.
 */
void fb_control_done(struct fb_control_call *call, json_t *result);
/* `err` is -errno. */
void fb_control_fail(struct fb_control_call *call, int err, const char *text);
/* A line of text in between. Dropped when the client does not read. */
void fb_control_progress(struct fb_control_call *call, const char *text);
/* Called once if the client leaves before the call's end; the call is over then. */
void fb_control_on_gone(struct fb_control_call *call, void (*gone)(void *arg), void *arg);

/* Called if the client says that it will send no more (it shuts down that direction) but waits for the answer. */
void fb_control_on_eof(struct fb_control_call *call, void (*eof)(void *arg), void *arg);
/* Descriptors that came with the request (SCM_RIGHTS): valid in run() only, duplicate what is to stay. */
unsigned fb_control_fds(const struct fb_control_call *call, const int **fds);

/*
 * Directories of sockets that have no --control, most wanted first: /run/farbus
 * for root, $XDG_RUNTIME_DIR/farbus for others and for root too when it is set.
 * Returns how many (0..2).
 */
enum { FB_CONTROL_DIRS_MAX = 2, FB_CONTROL_PATH_MAX = 108 };
unsigned fb_control_dirs(char dirs[FB_CONTROL_DIRS_MAX][FB_CONTROL_PATH_MAX]);

#ifdef __cplusplus
}
#endif
#endif
