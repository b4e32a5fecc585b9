/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream socket cut into vfio-user messages, and a bounded queue of what goes
 * the other way. Knows headers, not commands; has no event loop and no clock:
 * its user calls it when the socket is ready. The peer is untrusted.
 *
 * File descriptors hang on a byte of the stream: those that come in are given
 * to the message that holds the last byte of the read they came with, and
 * those that go out leave with the first byte of their message, which is where
 * servers look for them. Messages leave whole, many in one call: some servers
 * take half a message for a broken one.
 *
 * Single-threaded, non-blocking. Zero-initialise before the first use.
 */
#ifndef FARBUS_VFIO_USER_STREAM_H
#define FARBUS_VFIO_USER_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vfio_user/wire.h"

enum {
	VFIO_USER_STREAM_FDS = 16,           /* in one message */
	VFIO_USER_STREAM_BATCHES = 8,        /* groups of descriptors whose message is not complete yet */
	VFIO_USER_STREAM_IN = 64 * 1024,     /* grows while a longer message needs it */
	VFIO_USER_STREAM_CHUNK = 32 * 1024,  /* what one call sends, at message boundaries; the kernel keeps that whole */
	VFIO_USER_STREAM_MARKS = 256,        /* queued messages that carry descriptors */
};

struct vfio_user_message {
	uint16_t id, command;
	uint32_t flags, error;
	const uint8_t *body; /* valid until the next call of anything here */
	uint32_t len;        /* of the body */
	/* Closed by vfio_user_message_done(); whoever keeps one sets its place to -1. */
	int fds[VFIO_USER_STREAM_FDS];
	unsigned n_fds;
};

struct vfio_user_stream {
	size_t max_message, max_out; /* bytes */

	uint8_t *in;
	size_t in_cap, in_start, in_end;
	uint64_t in_pos; /* stream position of in[in_start] */
	struct vfio_user_fd_batch {
		uint64_t last; /* position of the last byte that came with them */
		int fds[VFIO_USER_STREAM_FDS];
		unsigned n;
	} batches[VFIO_USER_STREAM_BATCHES];
	unsigned n_batches;

	uint8_t *out;
	size_t out_cap, out_start, out_end;
	uint64_t out_pos; /* position of out[out_start] */
	bool out_partial; /* out[out_start] is not the first byte of a message */
	struct vfio_user_fd_mark {
		uint64_t at; /* position of the first byte of the message */
		int fds[VFIO_USER_STREAM_FDS];
		unsigned n;
	} *marks;
	unsigned n_marks;
};

/* Nothing received is above max_message; nothing more is queued above max_out. 0 or -ENOMEM. */
int vfio_user_stream_init(struct vfio_user_stream *s, size_t max_message, size_t max_out);
void vfio_user_stream_fini(struct vfio_user_stream *s); /* closes received descriptors; zeroes *s */

/*
 * One recvmsg(). Bytes received (> 0); 0: nothing there now; -EPIPE: the peer
 * closed; -E2BIG: too many descriptors; -errno of recvmsg. After an error the stream is of no use.
 */
int vfio_user_stream_receive(struct vfio_user_stream *s, int fd);
/* The same from memory, for tests and fuzzers: how many of the bytes were taken, or -ENOMEM. */
int vfio_user_stream_feed(struct vfio_user_stream *s, const void *bytes, size_t len);

/*
 * The next whole message: 1; 0: there is none yet; -EBADMSG: its header has a
 * bad size or type; -E2BIG: too many descriptors; -ENOMEM. vfio_user_message_done() follows a 1.
 */
int vfio_user_stream_next(struct vfio_user_stream *s, struct vfio_user_message *msg);
void vfio_user_message_done(struct vfio_user_message *msg);
/* Instead of _done(), with nothing received or asked for in between: the message is the next one again. */
void vfio_user_stream_unget(struct vfio_user_stream *s, struct vfio_user_message *msg);
/* The last read took all that there was room for, so there is probably more. */
static inline bool vfio_user_stream_is_full(const struct vfio_user_stream *s) { return s->in_end == s->in_cap; }
/* Bytes received and not handed out, and the position behind the last message handed out. */
static inline size_t vfio_user_stream_pending(const struct vfio_user_stream *s) { return s->in_end - s->in_start; }
static inline uint64_t vfio_user_stream_position(const struct vfio_user_stream *s) { return s->in_pos; }

/*
 * Queues a message and returns where its body of `len` bytes goes, to be
 * filled in before the next call; NULL: the queue is full, or no memory. The
 * descriptors stay the caller's and must be open until they have been sent.
 */
uint8_t *vfio_user_stream_put(struct vfio_user_stream *s, uint16_t id, uint16_t command, uint32_t flags, uint32_t error,
			      size_t len, const int *fds, unsigned n_fds);
void vfio_user_stream_drop(struct vfio_user_stream *s); /* what is queued: nobody is there to get it */
/* Sends what is queued: 0: all; 1: the socket is full; -errno. */
int vfio_user_stream_send(struct vfio_user_stream *s, int fd);
static inline size_t vfio_user_stream_queued(const struct vfio_user_stream *s) { return s->out_end - s->out_start; }

#endif
