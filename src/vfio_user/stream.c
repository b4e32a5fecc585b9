/* SPDX-License-Identifier: Apache-2.0 */
#include "vfio_user/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "util/reader.h"

int vfio_user_stream_init(struct vfio_user_stream *s, size_t max_message, size_t max_out)
{
	memset(s, 0, sizeof(*s));
	s->max_message = max_message;
	s->max_out = max_out;
	s->in = malloc(VFIO_USER_STREAM_IN);
	if (!s->in)
		return -ENOMEM;
	s->in_cap = VFIO_USER_STREAM_IN;
	return 0;
}

static void close_fds(int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
}

void vfio_user_stream_fini(struct vfio_user_stream *s)
{
	for (unsigned b = 0; b < s->n_batches; b++)
		close_fds(s->batches[b].fds, s->batches[b].n);
	free(s->in);
	free(s->out);
	free(s->marks);
	memset(s, 0, sizeof(*s));
}

/* ---- In ------------------------------------------------------------------------------- */

static void compact(struct vfio_user_stream *s)
{
	size_t have = s->in_end - s->in_start;

	if (s->in_start == 0 || (have > 0 && s->in_cap - s->in_end >= s->in_cap / 4))
		return;
	memmove(s->in, s->in + s->in_start, have);
	s->in_start = 0;
	s->in_end = have;
}

/* The descriptors of one recvmsg() into a batch. -E2BIG: more than a message may have. */
static int take_control(struct vfio_user_stream *s, struct msghdr *mh, size_t received)
{
	struct vfio_user_fd_batch *batch = s->n_batches < VFIO_USER_STREAM_BATCHES ? &s->batches[s->n_batches] : NULL;
	int err = mh->msg_flags & MSG_CTRUNC ? -E2BIG : 0;
	unsigned n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		unsigned count;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		for (unsigned i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (batch && received > 0 && n < VFIO_USER_STREAM_FDS) {
				batch->fds[n++] = fd;
			} else {
				close(fd);
				err = -E2BIG;
			}
		}
	}
	if (n) {
		batch->n = n;
		batch->last = s->in_pos + (s->in_end - s->in_start) + received - 1;
		s->n_batches++;
	}
	return err;
}

int vfio_user_stream_receive(struct vfio_user_stream *s, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(VFIO_USER_STREAM_FDS * sizeof(int))];
	} control;
	struct iovec iov;
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
			    .msg_controllen = sizeof(control.bytes)};
	ssize_t n;
	int err;

	compact(s);
	if (s->in_end == s->in_cap) /* all of it is messages that have not been asked for */
		return 0;
	iov = (struct iovec){s->in + s->in_end, s->in_cap - s->in_end};
	do {
		n = recvmsg(fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	err = take_control(s, &mh, (size_t)n);
	if (err)
		return err;
	if (n == 0)
		return -EPIPE;
	s->in_end += (size_t)n;
	return (int)n;
}

int vfio_user_stream_feed(struct vfio_user_stream *s, const void *bytes, size_t len)
{
	compact(s);
	if (len > s->in_cap - s->in_end)
		len = s->in_cap - s->in_end;
	memcpy(s->in + s->in_end, bytes, len);
	s->in_end += len;
	return (int)len;
}

/* Room for a message of `size`, which begins at in_start; whole ones of more than usual leave the buffer large no longer than needed. */
static int resize(struct vfio_user_stream *s, size_t size)
{
	size_t have = s->in_end - s->in_start;
	uint8_t *p = malloc(size);

	if (!p)
		return -ENOMEM;
	memcpy(p, s->in + s->in_start, have);
	free(s->in);
	s->in = p;
	s->in_cap = size;
	s->in_start = 0;
	s->in_end = have;
	return 0;
}

static int take_fds(struct vfio_user_stream *s, struct vfio_user_message *msg, uint64_t end)
{
	unsigned kept = 0;
	int err = 0;

	for (unsigned b = 0; b < s->n_batches; b++) {
		struct vfio_user_fd_batch *batch = &s->batches[b];

		if (batch->last >= end) {
			if (kept != b)
				s->batches[kept] = *batch;
			kept++;
			continue;
		}
		for (unsigned i = 0; i < batch->n; i++) {
			if (msg->n_fds < VFIO_USER_STREAM_FDS) {
				msg->fds[msg->n_fds++] = batch->fds[i];
			} else {
				close(batch->fds[i]);
				err = -E2BIG;
			}
		}
	}
	s->n_batches = kept;
	return err;
}

int vfio_user_stream_next(struct vfio_user_stream *s, struct vfio_user_message *msg)
{
	const uint8_t *p = s->in + s->in_start;
	size_t have = s->in_end - s->in_start;
	uint32_t size, type;
	int err;

	msg->n_fds = 0;
	if (have < VFIO_USER_HEADER) {
		if (have == 0 && s->in_cap > VFIO_USER_STREAM_IN)
			(void)resize(s, VFIO_USER_STREAM_IN);
		return 0;
	}
	size = fb_get_le32(p + 4);
	msg->flags = fb_get_le32(p + 8);
	type = msg->flags & VFIO_USER_TYPE_MASK;
	if (size < VFIO_USER_HEADER || size > s->max_message ||
	    (type != VFIO_USER_TYPE_COMMAND && type != VFIO_USER_TYPE_REPLY))
		return -EBADMSG;
	if (have < size)
		return size > s->in_cap ? resize(s, size) : 0;
	msg->id = fb_get_le16(p);
	msg->command = fb_get_le16(p + 2);
	msg->error = fb_get_le32(p + 12);
	msg->body = p + VFIO_USER_HEADER;
	msg->len = size - VFIO_USER_HEADER;
	s->in_start += size;
	s->in_pos += size;
	err = s->n_batches ? take_fds(s, msg, s->in_pos) : 0;
	if (err) {
		vfio_user_message_done(msg);
		return err;
	}
	return 1;
}

void vfio_user_message_done(struct vfio_user_message *msg)
{
	close_fds(msg->fds, msg->n_fds);
	msg->n_fds = 0;
}

void vfio_user_stream_unget(struct vfio_user_stream *s, struct vfio_user_message *msg)
{
	size_t size = VFIO_USER_HEADER + msg->len;
	struct vfio_user_fd_batch *first = &s->batches[0];

	s->in_start -= size;
	s->in_pos -= size;
	if (msg->n_fds == 0)
		return;
	/* The message is the first in the stream, and so are they; take_fds() has just freed this place. */
	memmove(first + 1, first, s->n_batches * sizeof(*first));
	s->n_batches++;
	first->last = s->in_pos;
	first->n = msg->n_fds;
	memcpy(first->fds, msg->fds, sizeof(first->fds));
	msg->n_fds = 0;
}

/* ---- Out ------------------------------------------------------------------------------ */

static bool make_room(struct vfio_user_stream *s, size_t need)
{
	size_t used = s->out_end - s->out_start, cap;
	uint8_t *p;

	if (need > s->max_out || used > s->max_out - need)
		return false;
	if (s->out_start > 0 && need > s->out_cap - s->out_end) {
		memmove(s->out, s->out + s->out_start, used);
		s->out_start = 0;
		s->out_end = used;
	}
	if (need <= s->out_cap - s->out_end)
		return true;
	cap = s->out_cap ? s->out_cap : 16 * 1024;
	while (cap < used + need)
		cap *= 2;
	p = realloc(s->out, cap);
	if (!p)
		return false;
	s->out = p;
	s->out_cap = cap;
	return true;
}

uint8_t *vfio_user_stream_put(struct vfio_user_stream *s, uint16_t id, uint16_t command, uint32_t flags, uint32_t error,
			      size_t len, const int *fds, unsigned n_fds)
{
	uint8_t *p;

	if (n_fds > VFIO_USER_STREAM_FDS || (n_fds && s->n_marks == VFIO_USER_STREAM_MARKS) ||
	    len > s->max_out || !make_room(s, VFIO_USER_HEADER + len))
		return NULL;
	if (n_fds && !s->marks)
		s->marks = calloc(VFIO_USER_STREAM_MARKS, sizeof(*s->marks));
	if (n_fds && !s->marks)
		return NULL;
	if (n_fds) {
		struct vfio_user_fd_mark *mark = &s->marks[s->n_marks++];

		mark->at = s->out_pos + (s->out_end - s->out_start);
		mark->n = n_fds;
		memcpy(mark->fds, fds, n_fds * sizeof(int));
	}
	p = s->out + s->out_end;
	s->out_end += VFIO_USER_HEADER + len;
	fb_put_le16(p, id);
	fb_put_le16(p + 2, command);
	fb_put_le32(p + 4, (uint32_t)(VFIO_USER_HEADER + len));
	fb_put_le32(p + 8, flags);
	fb_put_le32(p + 12, error);
	return p + VFIO_USER_HEADER;
}

/*
 * Bytes from out_start that one call shall send: whole messages, up to the next
 * one that carries descriptors. That one leaves alone: some look for
 * descriptors where the bytes that they came with begin, some where they end.
 */
static size_t chunk(const struct vfio_user_stream *s, bool first_has_fds)
{
	size_t until = s->out_end - s->out_start, n;

	if (first_has_fds)
		return fb_get_le32(s->out + s->out_start + 4);
	if (s->n_marks && s->marks[0].at - s->out_pos < until)
		until = (size_t)(s->marks[0].at - s->out_pos);
	if (until <= VFIO_USER_STREAM_CHUNK || s->out_partial)
		return until;
	for (n = fb_get_le32(s->out + s->out_start + 4); n < until;) {
		size_t next = fb_get_le32(s->out + s->out_start + n + 4);

		if (n + next > VFIO_USER_STREAM_CHUNK)
			break;
		n += next;
	}
	return n;
}

static ssize_t send_chunk(struct vfio_user_stream *s, int fd)
{
	bool has_fds = s->n_marks > 0 && s->marks[0].at == s->out_pos;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(VFIO_USER_STREAM_FDS * sizeof(int))];
	} control;
	struct iovec iov = {s->out + s->out_start, chunk(s, has_fds)};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (has_fds) {
		size_t bytes = s->marks[0].n * sizeof(int);
		struct cmsghdr *c;

		memset(&control, 0, sizeof(control));
		mh.msg_control = control.bytes;
		mh.msg_controllen = CMSG_SPACE(bytes);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(bytes);
		memcpy(CMSG_DATA(c), s->marks[0].fds, bytes);
	}
	do {
		n = sendmsg(fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (has_fds && n > 0) {
		s->n_marks--;
		memmove(&s->marks[0], &s->marks[1], s->n_marks * sizeof(s->marks[0]));
	}
	s->out_partial = (size_t)n < iov.iov_len;
	return n;
}

/* Nothing is queued any more. */
static void all_out(struct vfio_user_stream *s)
{
	s->out_start = s->out_end = 0;
	if (s->out_cap > 1 << 20) {
		free(s->out);
		s->out = NULL;
		s->out_cap = 0;
	}
}

void vfio_user_stream_drop(struct vfio_user_stream *s)
{
	s->out_pos += vfio_user_stream_queued(s);
	s->n_marks = 0;
	s->out_partial = false;
	all_out(s);
}

int vfio_user_stream_send(struct vfio_user_stream *s, int fd)
{
	while (s->out_start < s->out_end) {
		ssize_t n = send_chunk(s, fd);

		if (n == -EAGAIN)
			return 1;
		if (n < 0)
			return (int)n;
		s->out_start += (size_t)n;
		s->out_pos += (uint64_t)n;
	}
	all_out(s);
	return 0;
}
