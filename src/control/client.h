/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other side of control.h, for `farbus ls` and its like: finds the daemons'
 * sockets and asks. Blocks, up to the time given. Not for daemons.
 */
#ifndef FARBUS_CONTROL_CLIENT_H
#define FARBUS_CONTROL_CLIENT_H

#include <jansson.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * One question. `request` is borrowed. 0 and *result (a new reference); or
 * -errno and *error (malloc'd text for the user, never NULL then): -ETIMEDOUT
 * after timeout_ns, -ECONNREFUSED: nobody listens there, what the daemon
 * refused with, or -EPROTO: it is not a farbus daemon. `progress` may be NULL.
 */
int fb_control_ask(const char *path, const json_t *request, uint64_t timeout_ns,
		   void (*progress)(void *arg, const char *text), void *arg, json_t **result, char **error);

/*
 * The same in two steps, for calls that last and for those that pass descriptors
 * (`fds`, at most FB_CONTROL_FDS_MAX; they stay the caller's). The connection is
 * a socket: shutdown(fd, SHUT_WR) tells the daemon to bring the call to its end,
 * also in a signal handler. fb_control_call() does not close it.
 */
int fb_control_connect(const char *path, uint64_t timeout_ns, char **error); /* a descriptor, or -errno */
int fb_control_call(int fd, const char *path, const json_t *request, const int *fds, unsigned n_fds, uint64_t timeout_ns,
		    void (*progress)(void *arg, const char *text), void *arg, json_t **result, char **error);

/*
 * Paths of the sockets in the default directories, sorted, from malloc, NULL-
 * terminated: fb_control_free_list(). Those that nobody listens on are removed
 * and left out. *out is never NULL on 0; -errno otherwise.
 */
int fb_control_find(char ***out);
void fb_control_free_list(char **list);

#ifdef __cplusplus
}
#endif
#endif
