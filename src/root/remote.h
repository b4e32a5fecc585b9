/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Remote memory: programs on other machines (include/farbus/dma.h) read and
 * write the memory of a VM by TLP. A session of the link names one of this root's
 * functions; its requests are carried out on the memory of the VM that uses the
 * function. Nothing is open unless the operator says so (remote_rules.h).
 * docs/remote-memory.md is the users' side, docs/design/remote-memory.md ours.
 */
#ifndef FARBUS_ROOT_REMOTE_H
#define FARBUS_ROOT_REMOTE_H

#include "port/carrier.h"
#include "root/root.h"

struct fb_remote;
struct fb_root_function;

enum {
	FB_REMOTE_SESSIONS = 16,  /* at a time */
	FB_REMOTE_RULES = 64,
	FB_REMOTE_MESSAGES = 64,  /* of a function's messages to its client: the rest stays the function's own */
	FB_REMOTE_CREDITS = 512,  /* non-posted requests of a session */
	FB_REMOTE_POSTED = 256 << 10, /* bytes of writes of a session */
};

struct fb_remote_config {
	const char *listen;             /* "udp:ADDR:PORT" */
	const char *const *allow;       /* rules, NULL-terminated */
	struct fb_carrier_config carrier; /* self, mtu, fault, link; listen is ours */
	/* The function of that name, or NULL. "*": the one in use, if it is the only one. */
	struct fb_root_function *(*find)(void *arg, const char *name, const char **why);
	void *arg;
};
/* 0 or -errno, logged. */
int fb_remote_new(struct fb_remote **out, struct fb_loop *loop, const struct fb_remote_config *config);
void fb_remote_free(struct fb_remote *remote); /* NULL is allowed */

/* There may be room for messages to the function's client again, or the client is gone. */
void fb_remote_kick(struct fb_remote *remote, struct fb_root_function *f);
/* The function is about to be freed. */
void fb_remote_forget(struct fb_remote *remote, struct fb_root_function *f);

void fb_remote_info(const struct fb_remote *remote, struct fb_root_remote_info *info);
/* 0 or -ENOENT. */
int fb_remote_session_info(const struct fb_remote *remote, unsigned index, struct fb_root_remote_session_info *info);

#endif
