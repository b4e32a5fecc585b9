/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * One recvmsg() takes as much as there is; the messages in it are handed out
 * one by one from the buffer. Descriptors (SCM_RIGHTS) hang on a byte of the
 * stream, not on a message. The kernel ends a read behind the piece that they
 * came with, so they belong to the message that holds the last byte of that
 * read: each read's descriptors are kept as a batch with that position and
 * given to the message whose bytes cover it.
 *
 * Replies gather in one buffer and leave with one send() at the end of the
 * round. A peer that does not read its replies is not given more work
 * (FB_VU_OUT_BUSY), and is cut off if the queue grows all the same.
 */
#include "root/vfio_user.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/reader.h"

static void close_fds(int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
}

static void update_events(struct fb_vu_conn *conn)
{
	uint32_t events = 0;

	if (!conn->waiting && !conn->paused && conn->out_end - conn->out_start <= FB_VU_OUT_BUSY)
		events |= EPOLLIN;
	if (conn->out_blocked)
		events |= EPOLLOUT;
	if (events != conn->watch.events)
		fb_fd_modify(&conn->watch, events);
}

static void send_out(struct fb_vu_conn *conn)
{
	while (conn->out_start < conn->out_end) {
		ssize_t n = send(conn->watch.fd, conn->out + conn->out_start, conn->out_end - conn->out_start,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			conn->out_blocked = errno == EAGAIN;
			if (!conn->out_blocked) /* the peer is gone: reading will say so */
				conn->out_start = conn->out_end;
			break;
		}
		conn->out_start += (size_t)n;
	}
	if (conn->out_start == conn->out_end) {
		conn->out_start = conn->out_end = 0;
		conn->out_blocked = false;
		if (conn->out_cap > FB_VU_OUT_BUSY) {
			free(conn->out);
			conn->out = NULL;
			conn->out_cap = 0;
		}
	}
}

static void end(struct fb_vu_conn *conn, const char *why)
{
	const struct fb_vu_ops *ops = conn->ops;
	void *arg = conn->arg;

	fb_vu_close(conn);
	ops->closed(arg, why);
}

/* Whether there was room and the peer is alive to what it gets. */
static bool make_room(struct fb_vu_conn *conn, size_t need)
{
	size_t used = conn->out_end - conn->out_start, cap;
	uint8_t *p;

	if (used + need > FB_VU_OUT_MAX)
		return false;
	if (conn->out_start > 0 && conn->out_end + need > conn->out_cap) {
		memmove(conn->out, conn->out + conn->out_start, used);
		conn->out_start = 0;
		conn->out_end = used;
	}
	if (conn->out_end + need <= conn->out_cap)
		return true;
	cap = conn->out_cap ? conn->out_cap : 16 * 1024;
	while (cap < used + need)
		cap *= 2;
	p = realloc(conn->out, cap);
	if (!p)
		return false;
	conn->out = p;
	conn->out_cap = cap;
	return true;
}

uint8_t *fb_vu_put(struct fb_vu_conn *conn, uint16_t id, uint16_t command, uint32_t flags, uint32_t error, size_t len)
{
	uint8_t *p;

	if (!fb_vu_is_open(conn))
		return NULL;
	if (!make_room(conn, VFIO_USER_HEADER + len)) {
		shutdown(conn->watch.fd, SHUT_RDWR); /* the read side reports the end */
		conn->waiting = conn->paused = false;
		conn->out_start = conn->out_end = 0;
		update_events(conn);
		return NULL;
	}
	p = conn->out + conn->out_end;
	conn->out_end += VFIO_USER_HEADER + len;
	fb_put_le16(p, id);
	fb_put_le16(p + 2, command);
	fb_put_le32(p + 4, (uint32_t)(VFIO_USER_HEADER + len));
	fb_put_le32(p + 8, flags);
	fb_put_le32(p + 12, error);
	if (!conn->out_blocked)
		fb_flush_schedule(conn->loop, &conn->flush);
	return p + VFIO_USER_HEADER;
}

static bool parse(struct fb_vu_conn *conn);

static void flush(struct fb_flush *f)
{
	struct fb_vu_conn *conn = (struct fb_vu_conn *)((char *)f - offsetof(struct fb_vu_conn, flush));

	send_out(conn);
	parse(conn); /* what had stopped at FB_VU_OUT_BUSY goes on; a full socket says EPOLLOUT */
}

/* Moves the descriptors of the message that ends at stream position `end_pos` into it. -E2BIG: too many. */
static int take_fds(struct fb_vu_conn *conn, struct fb_vu_message *msg, uint64_t end_pos)
{
	unsigned kept = 0;
	int err = 0;

	for (unsigned b = 0; b < conn->n_batches; b++) {
		struct fb_vu_fd_batch *batch = &conn->batches[b];

		if (batch->last >= end_pos) {
			conn->batches[kept++] = *batch;
			continue;
		}
		for (unsigned i = 0; i < batch->n; i++) {
			if (msg->n_fds < FB_VU_MAX_FDS) {
				msg->fds[msg->n_fds++] = batch->fds[i];
			} else {
				close(batch->fds[i]);
				err = -E2BIG;
			}
		}
	}
	conn->n_batches = kept;
	return err;
}

static void give_back_fds(struct fb_vu_conn *conn, const struct fb_vu_message *msg)
{
	struct fb_vu_fd_batch *batch;

	if (msg->n_fds == 0)
		return;
	/* The message stays first in the stream, and so do they; take_fds() just freed this place. */
	memmove(&conn->batches[1], &conn->batches[0], conn->n_batches * sizeof(conn->batches[0]));
	conn->n_batches++;
	batch = &conn->batches[0];
	batch->last = conn->in_pos;
	batch->n = msg->n_fds;
	memcpy(batch->fds, msg->fds, sizeof(batch->fds));
}

/* Hands out one message if a whole one is there. 1: did; 0: there is none, or not now; -1: the connection is over. */
static int parse_one(struct fb_vu_conn *conn)
{
	const uint8_t *p = conn->in + conn->in_start;
	size_t have = conn->in_end - conn->in_start;
	unsigned generation = conn->generation;
	struct fb_vu_message msg = {0};
	uint32_t size, type;
	int err;

	if (have < VFIO_USER_HEADER)
		return 0;
	size = fb_get_le32(p + 4);
	msg.flags = fb_get_le32(p + 8);
	type = msg.flags & VFIO_USER_TYPE_MASK;
	if (size < VFIO_USER_HEADER || size > FB_VU_MAX_MESSAGE ||
	    (type != VFIO_USER_TYPE_COMMAND && type != VFIO_USER_TYPE_REPLY)) {
		end(conn, "broke the protocol: a header with a bad size or type");
		return -1;
	}
	if (have < size) {
		if (size > conn->in_cap) {
			uint8_t *bigger = malloc(size);

			if (!bigger) {
				end(conn, "no memory for its message");
				return -1;
			}
			memcpy(bigger, p, have);
			free(conn->in);
			conn->in = bigger;
			conn->in_cap = size;
			conn->in_start = 0;
			conn->in_end = have;
		}
		return 0;
	}
	msg.id = fb_get_le16(p);
	msg.command = fb_get_le16(p + 2);
	msg.error = fb_get_le32(p + 12);
	msg.body = p + VFIO_USER_HEADER;
	msg.len = size - VFIO_USER_HEADER;
	if (conn->n_batches && take_fds(conn, &msg, conn->in_pos + size) < 0) {
		close_fds(msg.fds, msg.n_fds);
		end(conn, "broke the protocol: more than 16 file descriptors with one message");
		return -1;
	}

	err = conn->ops->message(conn->arg, &msg);
	if (conn->generation != generation || !fb_vu_is_open(conn)) {
		close_fds(msg.fds, msg.n_fds);
		return -1;
	}
	if (err == FB_VU_WAIT) {
		give_back_fds(conn, &msg);
		conn->waiting = true;
		return 0;
	}
	close_fds(msg.fds, msg.n_fds);
	if (err < 0) {
		end(conn, "broke the protocol");
		return -1;
	}
	conn->messages++;
	conn->in_start += size;
	conn->in_pos += size;
	return 1;
}

/* As many messages as there are and may be taken. False: the connection is over. */
static bool parse(struct fb_vu_conn *conn)
{
	int got = 1;

	if (conn->parsing)
		return true; /* the loop below goes on by itself */
	conn->parsing = true;
	while (got > 0 && !conn->waiting && !conn->paused && conn->out_end - conn->out_start <= FB_VU_OUT_BUSY)
		got = parse_one(conn);
	if (got < 0)
		return false; /* closed, perhaps reopened: nothing here is ours any more */
	conn->parsing = false;
	if (conn->in_start == conn->in_end) {
		conn->in_start = conn->in_end = 0;
		if (conn->in_cap > FB_VU_IN_BUFFER) {
			uint8_t *smaller = realloc(conn->in, FB_VU_IN_BUFFER);

			if (smaller) {
				conn->in = smaller;
				conn->in_cap = FB_VU_IN_BUFFER;
			}
		}
	} else if (conn->in_start > 0 && conn->in_cap - conn->in_end < conn->in_cap / 4) {
		memmove(conn->in, conn->in + conn->in_start, conn->in_end - conn->in_start);
		conn->in_end -= conn->in_start;
		conn->in_start = 0;
	}
	update_events(conn);
	return true;
}

/* Bytes taken, 0: none now, -1: the connection is over. */
static ssize_t receive(struct fb_vu_conn *conn)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int) * FB_VU_MAX_FDS)];
	} control;
	struct iovec iov = {conn->in + conn->in_end, conn->in_cap - conn->in_end};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	struct fb_vu_fd_batch *batch = NULL;
	const char *why = NULL;
	ssize_t n;

	if (iov.iov_len == 0)
		return 0;
	n = recvmsg(conn->watch.fd, &mh, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	if (n < 0) {
		if (errno == EAGAIN || errno == EINTR)
			return 0;
		end(conn, strerror(errno));
		return -1;
	}
	if (n > 0 && conn->n_batches < FB_VU_MAX_BATCHES) {
		batch = &conn->batches[conn->n_batches];
		batch->n = 0;
	}
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&mh); c; c = CMSG_NXTHDR(&mh, c)) {
		unsigned count;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		for (unsigned i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (batch && batch->n < FB_VU_MAX_FDS) {
				batch->fds[batch->n++] = fd;
			} else {
				close(fd);
				why = "broke the protocol: too many file descriptors";
			}
		}
	}
	if (mh.msg_flags & MSG_CTRUNC)
		why = "broke the protocol: too many file descriptors (or this process has none left)";
	if (batch && batch->n) {
		batch->last = conn->in_pos + (conn->in_end - conn->in_start) + (size_t)n - 1;
		conn->n_batches++;
	}
	if (n == 0)
		why = "closed the connection";
	if (why) {
		end(conn, why);
		return -1;
	}
	conn->in_end += (size_t)n;
	return n;
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
		for (int i = 0; i < 8; i++) {
			size_t room = conn->in_cap - conn->in_end;
			ssize_t n = receive(conn);

			if (n <= 0)
				break;
			if (!parse(conn) || (size_t)n < room || !(w->events & EPOLLIN))
				break;
		}
	}
}

int fb_vu_open(struct fb_vu_conn *conn, struct fb_loop *loop, int fd, const struct fb_vu_ops *ops, void *arg)
{
	unsigned generation = conn->generation;
	int err = -ENOMEM;

	memset(conn, 0, sizeof(*conn));
	conn->generation = generation + 1;
	conn->ops = ops;
	conn->arg = arg;
	conn->flush.flush = flush;
	conn->watch.ready = ready;
	conn->in_cap = FB_VU_IN_BUFFER;
	conn->in = malloc(conn->in_cap);
	if (!conn->in)
		goto close_fd;
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
		err = -errno;
		goto free_in;
	}
	err = fb_fd_add(loop, &conn->watch, fd, EPOLLIN);
	if (err < 0)
		goto free_in;
	conn->loop = loop;
	return 0;

free_in:
	free(conn->in);
	conn->in = NULL;
close_fd:
	close(fd);
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
	close(fd);
	for (unsigned b = 0; b < conn->n_batches; b++)
		close_fds(conn->batches[b].fds, conn->batches[b].n);
	conn->n_batches = 0;
	free(conn->in);
	free(conn->out);
	conn->in = conn->out = NULL;
	conn->out_start = conn->out_end = conn->out_cap = 0;
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
