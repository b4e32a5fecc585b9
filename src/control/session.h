/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One client of a control socket, without the socket: bytes in, bytes out
 * (control.h has the protocol). The server (server.c) moves the bytes; tests
 * and the fuzzer do it by hand.
 *
 * One request is in progress at a time, and the next line is looked at only
 * when the answer has been taken. So memory is bounded by one line in and one
 * answer out, however much a client sends.
 */
#ifndef FARBUS_CONTROL_SESSION_H
#define FARBUS_CONTROL_SESSION_H

#include <stdbool.h>
#include <stddef.h>

#include "control/control.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fb_control_call {
	const struct fb_control_verb *verbs;
	void *arg;
	/* Something was put out or room was made while nobody called us: move bytes again. May be NULL. */
	void (*wake)(struct fb_control_call *s);

	char in[FB_CONTROL_LINE_MAX];
	size_t in_len;
	char *out;
	size_t out_len, out_sent;
	bool busy;  /* a call is in progress */
	bool over;  /* protocol error: close when `out` is drained */
	bool inside; /* serving right now: no wake() */
	void (*gone)(void *arg);
	void *gone_arg;
	void (*eof)(void *arg);
	void *eof_arg;
	bool at_eof;
	int fds[FB_CONTROL_FDS_MAX]; /* came with the request that is being read or served */
	unsigned n_fds;
};

void fb_control_session_init(struct fb_control_call *s, const struct fb_control_verb *verbs, void *arg);
/* Tells a call in progress that its client is gone; frees. */
void fb_control_session_fini(struct fb_control_call *s);

/* How many bytes fb_control_session_rx() takes now; 0: read no more until the answer is out. */
size_t fb_control_session_room(const struct fb_control_call *s);
/* Descriptors that came with the bytes of the next fb_control_session_rx(); taken over. */
void fb_control_session_rx_fds(struct fb_control_call *s, const int *fds, unsigned n);
/* The client will say no more, but still reads. */
void fb_control_session_eof(struct fb_control_call *s);
/* At most what there is room for. */
void fb_control_session_rx(struct fb_control_call *s, const void *data, size_t len);

/* What is to be sent; fb_control_session_sent() takes it off, and serves the next line when all is gone. */
size_t fb_control_session_out(const struct fb_control_call *s, const char **data);
void fb_control_session_sent(struct fb_control_call *s, size_t n);

#ifdef __cplusplus
}
#endif
#endif
