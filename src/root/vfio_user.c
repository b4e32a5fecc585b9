/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * One read takes as much as there is; the messages in it are handed out one by
 * one. Replies gather in one buffer and leave together at the end of the
 * round. A peer that does not read its replies is not given more work
 * (FB_VU_OUT_BUSY), and is cut off if the queue grows all the same.
 */
#include "root/vfio_user.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static bool may_take(const struct fb_vu_conn *conn)
{
	return !conn->waiting && !conn->paused && vfio_user_stream_queued(&conn->stream) <= FB_VU_OUT_BUSY;
}

static void update_events(struct fb_vu_conn *conn)
{
	uint32_t events = 0;

	if (may_take(conn))
		events |= EPOLLIN;
	if (conn->out_blocked)
		events |= EPOLLOUT;
	if (events != conn->watch.events)
		fb_fd_modify(&conn->watch, events);
}

static void send_out(struct fb_vu_conn *conn)
{
	int err = vfio_user_stream_send(&conn->stream, conn->watch.fd);

	conn->out_blocked = err == 1;
	if (err < 0) /* the peer is gone: reading will say so */
		vfio_user_stream_drop(&conn->stream);
}

static void end(struct fb_vu_conn *conn, const char *why)
{
	const struct fb_vu_ops *ops = conn->ops;
	void *arg = conn->arg;

	fb_vu_close(conn);
	ops->closed(arg, why);
}

uint8_t *fb_vu_put(struct fb_vu_conn *conn, uint16_t id, uint16_t command, uint32_t flags, uint32_t error, size_t len)
{
	uint8_t *body;

	if (!fb_vu_is_open(conn))
		return NULL;
	body = vfio_user_stream_put(&conn->stream, id, command, flags, error, len, NULL, 0);
	if (!body) {
		shutdown(conn->watch.fd, SHUT_RDWR); /* the read side reports the end */
		conn->waiting = conn->paused = false;
		vfio_user_stream_drop(&conn->stream);
		update_events(conn);
		return NULL;
	}
	fb_vu_reply_next(conn);
	return body;
}

void fb_vu_reply_next(struct fb_vu_conn *conn)
{
	if (!conn->out_blocked)
		fb_flush_schedule(conn->loop, &conn->flush);
}

static bool parse(struct fb_vu_conn *conn);

static void flush(struct fb_flush *f)
{
	struct fb_vu_conn *conn = (struct fb_vu_conn *)((char *)f - offsetof(struct fb_vu_conn, flush));

	send_out(conn);
	parse(conn); /* what had stopped at FB_VU_OUT_BUSY goes on; a full socket says EPOLLOUT */
}

static const char *why_no_message(int err)
{
	switch (err) {
	case -EBADMSG:
		return "broke the protocol: a header with a bad size or type";
	case -E2BIG:
		return "broke the protocol: more than 16 file descriptors with one message";
	default:
		return "no memory for its message";
	}
}

/* Hands out one message if a whole one is there. 1: did; 0: there is none, or not now; -1: the connection is over. */
static int parse_one(struct fb_vu_conn *conn)
{
	unsigned generation = conn->generation;
	struct vfio_user_message msg;
	int err = vfio_user_stream_next(&conn->stream, &msg);

	if (err == 0)
		return 0;
	if (err < 0) {
		end(conn, why_no_message(err));
		return -1;
	}
	err = conn->ops->message(conn->arg, &msg);
	if (conn->generation != generation || !fb_vu_is_open(conn)) {
		vfio_user_message_done(&msg);
		return -1;
	}
	if (err == FB_VU_WAIT) {
		vfio_user_stream_unget(&conn->stream, &msg);
		conn->waiting = true;
		return 0;
	}
	vfio_user_message_done(&msg);
	if (err < 0) {
		end(conn, "broke the protocol");
		return -1;
	}
	conn->messages++;
	return 1;
}

/* As many messages as there are and may be taken. False: the connection is over. */
static bool parse(struct fb_vu_conn *conn)
{
	int got = 1;

	if (conn->parsing)
		return true; /* the loop below goes on by itself */
	conn->parsing = true;
	while (got > 0 && may_take(conn))
		got = parse_one(conn);
	if (got < 0)
		return false; /* closed, perhaps reopened: nothing here is ours any more */
	conn->parsing = false;
	update_events(conn);
	return true;
}

/* Bytes taken, 0: none now, -1: the connection is over. */
static int receive(struct fb_vu_conn *conn)
{
	int n = vfio_user_stream_receive(&conn->stream, conn->watch.fd);

	if (n >= 0)
		return n;
	end(conn, n == -EPIPE   ? "closed the connection"
		  : n == -E2BIG ? "broke the protocol: too many file descriptors (or this process has none left)"
				: strerror(-n));
	return -1;
}

static void ready(struct fb_fd *w, uint32_t events)
{
	struct fb_vu_conn *conn = (struct fb_vu_conn *)((char *)w - offsetof(struct fb_vu_conn, watch));

	if (events & EPOLLOUT) {
		send_out(conn);
		/* Room again: what was held back for it may go on. */
		if (!parse(conn))
			return;
	}
	if ((w->events & EPOLLIN) == 0) {
		/* Not reading, so this is all we would ever hear of its end. */
		if (events & (EPOLLHUP | EPOLLERR))
			end(conn, "closed the connection");
		return;
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		/* A read that fills the buffer probably left something: not more than a few in a round. */
		for (int i = 0; i < 8 && receive(conn) > 0; i++) {
			bool full = vfio_user_stream_is_full(&conn->stream);

			if (!parse(conn) || !full || !(w->events & EPOLLIN))
				break;
		}
	}
}

void fb_vu_hang_up(int fd)
{
	uint8_t unread[4096];

	shutdown(fd, SHUT_RDWR); /* from here on nothing new can come */
	while (recv(fd, unread, sizeof(unread), MSG_DONTWAIT) > 0)
		;
	close(fd);
}

int fb_vu_open(struct fb_vu_conn *conn, struct fb_loop *loop, int fd, const struct fb_vu_ops *ops, void *arg)
{
	unsigned generation = conn->generation;
	int err;

	memset(conn, 0, sizeof(*conn));
	conn->generation = generation + 1;
	conn->ops = ops;
	conn->arg = arg;
	conn->flush.flush = flush;
	conn->watch.ready = ready;
	err = vfio_user_stream_init(&conn->stream, FB_VU_MAX_MESSAGE, FB_VU_OUT_MAX);
	if (err < 0)
		goto close_fd;
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
		err = -errno;
		goto free_stream;
	}
	err = fb_fd_add(loop, &conn->watch, fd, EPOLLIN);
	if (err < 0)
		goto free_stream;
	conn->loop = loop;
	return 0;

free_stream:
	vfio_user_stream_fini(&conn->stream);
close_fd:
	fb_vu_hang_up(fd);
	return err;
}

void fb_vu_close(struct fb_vu_conn *conn)
{
	int fd = conn->watch.fd;

	if (!fb_vu_is_open(conn))
		return;
	send_out(conn);
	fb_flush_cancel(&conn->flush);
	fb_fd_del(&conn->watch);
	fb_vu_hang_up(fd);
	vfio_user_stream_fini(&conn->stream);
	conn->loop = NULL;
}

void fb_vu_resume(struct fb_vu_conn *conn)
{
	if (!fb_vu_is_open(conn) || !conn->waiting)
		return;
	conn->waiting = false;
	parse(conn);
}

void fb_vu_pause(struct fb_vu_conn *conn, bool on)
{
	if (!fb_vu_is_open(conn) || conn->paused == on)
		return;
	conn->paused = on;
	if (on)
		update_events(conn);
	else
		parse(conn);
}
