/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A listening socket on a loop. Where accept() cannot give a descriptor (this
 * process or the system has none left), the socket stays ready and a loop that
 * asked again at once would spin: the listener rests for a while instead; who
 * connects meanwhile waits in the socket's queue.
 *
 * The struct is the caller's, zero-initialised, and stays in place while open.
 */
#ifndef FARBUS_UTIL_LISTENER_H
#define FARBUS_UTIL_LISTENER_H

#include <stdbool.h>
#include <stddef.h>

#include "util/loop.h"

#ifdef __cplusplus
extern "C" {
#endif

#define FB_LISTENER_REST_NS UINT64_C(100000000)

struct fb_listener {
	/* A client: fd is the callee's. The listener may be closed inside. */
	void (*client)(struct fb_listener *l, int fd);
	/* accept() failed with err (> 0) for another reason than that nobody is there any more. */
	void (*failed)(struct fb_listener *l, int err);

	struct fb_fd watch; /* watch.loop: NULL while not open */
	struct fb_timer rest;
	bool paused;
};

/* `fd` is non-blocking and listens already; it stays the caller's when this fails. 0 or -errno. */
int fb_listener_open(struct fb_listener *l, struct fb_loop *loop, int fd);
void fb_listener_pause(struct fb_listener *l, bool pause); /* clients wait; a no-op when not open */
void fb_listener_close(struct fb_listener *l);             /* closes the descriptor; a no-op when not open */
static inline bool fb_listener_is_open(const struct fb_listener *l)
{
	return l->watch.loop != NULL;
}

/*
 * Is a socket bound at that path, by any process, in any network namespace? It does not notice. False: there is nobody,
 * so the file (if there is one) may be removed. What cannot be told counts as true.
 */
bool fb_socket_is_alive(const char *path);

#ifdef __cplusplus
}
#endif
#endif
