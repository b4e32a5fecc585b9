/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One vfio-user connection on a loop: messages come in as long as they may, and
 * what goes back is queued, bounded, and leaves at the end of the loop's round
 * (vfio_user/stream.h cuts the stream). Knows no commands. The peer is untrusted.
 *
 * Non-blocking, on the loop's thread.
 */
#ifndef FARBUS_ROOT_VFIO_USER_H
#define FARBUS_ROOT_VFIO_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/loop.h"
#include "vfio_user/stream.h"

enum {
	FB_VU_MAX_XFER = 1 << 20,        /* bytes of data in one message; what VERSION offers */
	FB_VU_MAX_MESSAGE = FB_VU_MAX_XFER + 4096,
	FB_VU_OUT_BUSY = 1 << 20,        /* queued bytes above which no more messages are taken from the peer */
	FB_VU_OUT_MAX = 16 << 20,        /* queued bytes at which a peer that does not read is cut off */
};

enum { FB_VU_WAIT = 1 };

struct fb_vu_ops {
	/*
	 * A message. 0: done with it; FB_VU_WAIT: not now (nothing was done): it
	 * comes again after fb_vu_resume(), and nothing else before; -errno: the
	 * peer broke the protocol (logged by the callee): the connection ends.
	 * vfio_user_message_done() is not the callee's.
	 */
	int (*message)(void *arg, struct vfio_user_message *msg);
	/* The connection is over and closed already. `why`: for the log. */
	void (*closed)(void *arg, const char *why);
};

struct fb_vu_conn {
	struct fb_loop *loop; /* NULL: closed */
	struct fb_fd watch;
	struct fb_flush flush;
	const struct fb_vu_ops *ops;
	void *arg;
	unsigned generation; /* changes with each open: callbacks that close and reopen are noticed */

	struct vfio_user_stream stream;
	bool waiting;     /* message() said FB_VU_WAIT */
	bool parsing;
	bool paused;      /* fb_vu_pause() */
	bool out_blocked; /* the socket is full: wait for EPOLLOUT */

	uint64_t messages; /* received, whole */
};

/*
 * Closes a client's socket. One that is closed with bytes unread is reset for the
 * client, and QEMU (11.1.3) aborts at that where it takes an end calmly.
 */
void fb_vu_hang_up(int fd);
/* Takes fd (closed also on error). 0 or -errno. Zero-initialise conn before the first use. */
int fb_vu_open(struct fb_vu_conn *conn, struct fb_loop *loop, int fd, const struct fb_vu_ops *ops, void *arg);
/* Sends what the socket takes at once, and closes. closed() is not called. A no-op when closed. */
void fb_vu_close(struct fb_vu_conn *conn);
static inline bool fb_vu_is_open(const struct fb_vu_conn *conn) { return conn->loop != NULL; }

/* After FB_VU_WAIT: offers the message again (now, or when the current one is done). */
void fb_vu_resume(struct fb_vu_conn *conn);
/* Takes nothing more from the peer until told so. */
void fb_vu_pause(struct fb_vu_conn *conn, bool on);

/*
 * Queues a message of header and `len` bytes of body and returns where the
 * body goes, or NULL: closed, or cut off because it does not read (closed() is
 * then called at the end of the round).
 */
uint8_t *fb_vu_put(struct fb_vu_conn *conn, uint16_t id, uint16_t command, uint32_t flags, uint32_t error, size_t len);
/* What is put in this round leaves ahead of all that is scheduled for its end from now on. */
void fb_vu_reply_next(struct fb_vu_conn *conn);

static inline void fb_vu_reply_error(struct fb_vu_conn *conn, uint16_t id, uint16_t command, int err)
{
	fb_vu_put(conn, id, command, VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR, (uint32_t)err, 0);
}

static inline const char *fb_vu_command_name(unsigned command) { return vfio_user_command_name(command); }

#endif
