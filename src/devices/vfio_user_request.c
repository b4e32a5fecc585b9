/* SPDX-License-Identifier: Apache-2.0 */
/* Our requests and their answers, the sockets, and what moves bytes between them and the streams. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "util/reader.h"
#include "vfio_user.h"
#include "vfio_user_nvme.h"

enum { NIL = 0xffff, INDEX = VU_REQUESTS - 1, INDEX_BITS = 12 };
_Static_assert(VU_REQUESTS == 1 << INDEX_BITS, "an id is an index and a generation in 16 bits");

void vu_complain(struct vu *v, const char *fmt, ...)
{
	uint64_t now = fb_device_now(v->dev);
	char text[256];
	va_list ap;

	if (now < v->log_next) {
		v->log_more++;
		return;
	}
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (v->log_more)
		fb_device_warn(v->dev, "%s (%llu more not shown)", text, (unsigned long long)v->log_more);
	else
		fb_device_warn(v->dev, "%s", text);
	v->log_next = now + 1000000000;
	v->log_more = 0;
}

/* ---- The table of requests ------------------------------------------------------------------ */

int vu_requests_init(struct vu *v)
{
	v->requests = calloc(VU_REQUESTS, sizeof(*v->requests));
	if (!v->requests)
		return -ENOMEM;
	v->first = v->last = NIL;
	v->free_first = 0;
	for (unsigned i = 0; i < VU_REQUESTS; i++)
		v->requests[i].next = i + 1 < VU_REQUESTS ? (uint16_t)(i + 1) : NIL;
	return 0;
}

void vu_requests_fini(struct vu *v)
{
	free(v->requests);
	v->requests = NULL;
}

static struct vu_request *take(struct vu *v)
{
	uint16_t i = v->free_first;
	struct vu_request *r;

	if (i == NIL)
		return NULL;
	r = &v->requests[i];
	v->free_first = r->next;
	memset(r, 0, sizeof(*r));
	v->generation = (uint16_t)((v->generation + 1) & 0xf);
	r->id = (uint16_t)(i | v->generation << INDEX_BITS);
	r->sent = fb_device_now(v->dev);
	r->next = NIL;
	r->prev = v->last;
	if (v->last == NIL)
		v->first = i;
	else
		v->requests[v->last].next = i;
	v->last = i;
	v->n_requests++;
	return r;
}

static void give_back(struct vu *v, struct vu_request *r)
{
	uint16_t i = (uint16_t)(r - v->requests);

	if (r->prev == NIL)
		v->first = r->next;
	else
		v->requests[r->prev].next = r->next;
	if (r->next == NIL)
		v->last = r->prev;
	else
		v->requests[r->next].prev = r->prev;
	r->kind = VU_FREE;
	r->access = NULL;
	r->next = v->free_first;
	v->free_first = i;
	v->n_requests--;
}

void vu_requests_drop(struct vu *v)
{
	while (v->first != NIL) {
		struct vu_request *r = &v->requests[v->first];
		struct fb_access *access = r->access;

		give_back(v, r);
		if (access)
			fb_access_complete(access, UINT64_MAX);
	}
}

void vu_requests_forget(struct vu *v)
{
	for (uint16_t i = v->first; i != NIL; i = v->requests[i].next)
		v->requests[i].access = NULL;
}

uint8_t *vu_send(struct vu *v, enum vu_kind kind, uint16_t command, size_t len, const int *fds, unsigned n_fds,
		 struct vu_request **request)
{
	struct vu_request *r;
	uint8_t *p;

	if (v->state == VU_DOWN)
		return NULL;
	r = take(v);
	if (!r) {
		vu_lost(v, "does not answer: %u requests wait", VU_REQUESTS);
		return NULL;
	}
	r->kind = (uint8_t)kind;
	r->command = command;
	p = vfio_user_stream_put(&v->main.stream, r->id, command, VFIO_USER_TYPE_COMMAND, 0, len, fds, n_fds);
	if (!p) {
		give_back(v, r);
		vu_lost(v, "does not read what it is sent");
		return NULL;
	}
	if (request)
		*request = r;
	if (v->n_requests == 1)
		vu_arm_timer(v);
	vu_schedule_flush(v);
	return p;
}

static uint8_t *vu_send_posted(struct vu *v, uint16_t command, size_t len)
{
	uint8_t *p;

	if (v->state == VU_DOWN)
		return NULL;
	p = vfio_user_stream_put(&v->main.stream, NIL, command, VFIO_USER_TYPE_COMMAND | VFIO_USER_NO_REPLY, 0, len, NULL,
				 0);
	if (!p) {
		vu_lost(v, "does not read what it is sent");
		return NULL;
	}
	vu_schedule_flush(v);
	return p;
}

bool vu_region_write(struct vu *v, bool posted, unsigned region, uint64_t offset, const void *data, uint32_t len)
{
	size_t size = VFIO_USER_REGION_RW_BODY + len;
	uint8_t *p = posted ? vu_send_posted(v, VFIO_USER_REGION_WRITE, size)
			    : vu_send(v, VU_SYNC, VFIO_USER_REGION_WRITE, size, NULL, 0, NULL);

	if (!p)
		return false;
	fb_put_le64(p, offset);
	fb_put_le32(p + 8, region);
	fb_put_le32(p + 12, len);
	memcpy(p + VFIO_USER_REGION_RW_BODY, data, len);
	return true;
}

/* ---- Answers ---------------------------------------------------------------------------------- */

/* The data of a REGION_READ's reply, or NULL: it is not what was asked for. */
static const uint8_t *read_data(const struct vfio_user_message *msg, uint64_t offset, uint32_t region, uint32_t count)
{
	struct fb_reader rd = fb_reader(msg->body, msg->len);

	if (msg->flags & VFIO_USER_ERROR || fb_rd_le64(&rd) != offset || fb_rd_le32(&rd) != region ||
	    fb_rd_le32(&rd) != count)
		return NULL;
	return fb_rd_bytes(&rd, count);
}

static void complete_read(struct vu *v, struct vu_request *r, const struct vfio_user_message *msg)
{
	const uint8_t *data = read_data(msg, r->offset, r->bar, r->size);
	struct fb_access *access = r->access;
	uint64_t value = 0;

	if (!data) {
		v->count.errors++;
		vu_complain(v, "read of BAR %u + 0x%llx: the server %s", r->bar, (unsigned long long)r->offset,
			    msg->flags & VFIO_USER_ERROR ? "refuses" : "answers something else");
	}
	for (unsigned i = r->size; data && i > 0; i--)
		value = value << 8 | data[i - 1];
	if (!access)
		return;
	if (v->nvme && data && r->bar == 0)
		value = vn_answer(v->nvme, r->offset, r->size, value);
	vu_mirror_push(v); /* an answer follows what was written before it */
	if (data)
		fb_access_complete(access, value);
	else
		fb_access_fail(access);
}

static void reply(struct vu *v, struct vfio_user_message *msg)
{
	struct vu_request *r = &v->requests[msg->id & INDEX], was;

	if (r->kind == VU_FREE || r->id != msg->id || r->command != msg->command) {
		v->count.protocol_errors++;
		vu_lost(v, "answers %s %u, which was not asked", vfio_user_command_name(msg->command), msg->id);
		return;
	}
	was = *r;
	if (msg->flags & VFIO_USER_ERROR && was.kind != VU_READ && was.kind != VU_SETUP) {
		v->count.errors++;
		vu_complain(v, "%s: the server says: %s", vfio_user_command_name(msg->command), strerror((int)msg->error));
	}
	give_back(v, r);
	switch (was.kind) {
	case VU_SETUP:
		vu_setup_reply(v, msg);
		break;
	case VU_READ:
		complete_read(v, &was, msg);
		break;
	case VU_CAP_READ: {
		const uint8_t *data = read_data(msg, was.offset, VFIO_REGION_CONFIG, was.size);

		if (data)
			vu_cap_reply(v, &was, data, was.size);
		break;
	}
	case VU_RESET:
		if (v->resetting)
			v->resetting--;
		break;
	default:
		break;
	}
}

/* ---- Sockets ------------------------------------------------------------------------------------ */

int vu_channel_open(struct vu *v, struct vu_channel *c, int fd)
{
	int err = vfio_user_stream_init(&c->stream, VU_MAX_MESSAGE, VU_OUT_MAX);

	if (err) {
		close(fd);
		return err;
	}
	c->fd = fd;
	c->events = 0;
	c->blocked = false;
	c->dry = false;
	c->mark = 0;
	c->watch.ready = vu_watch_ready;
	vu_channel_update(v, c);
	return 0;
}

void vu_channel_close(struct vu *v, struct vu_channel *c)
{
	if (c->fd < 0)
		return;
	if (c->events)
		fb_device_fd_del(v->dev, &c->watch);
	c->events = 0;
	vfio_user_stream_fini(&c->stream);
	close(c->fd);
	c->fd = -1;
}

void vu_channel_update(struct vu *v, struct vu_channel *c)
{
	uint32_t events = (v->dma_full ? 0 : EPOLLIN) | (c->blocked ? EPOLLOUT : 0);

	if (c->fd < 0 || events == c->events)
		return;
	if (c->events)
		fb_device_fd_del(v->dev, &c->watch);
	c->events = events;
	/* Whatever it is watched for, its end is heard of. */
	if (events && fb_device_fd_add(v->dev, &c->watch, c->fd, events) < 0) {
		c->events = 0;
		vu_lost(v, "cannot be watched: %s", strerror(errno));
	}
}

void vu_schedule_flush(struct vu *v)
{
	if (v->realized) /* before that vu_wait_up() sends */
		fb_device_batch_schedule(v->dev, &v->flush);
}

static void send_channel(struct vu *v, struct vu_channel *c)
{
	int r;

	if (c->fd < 0)
		return;
	r = vfio_user_stream_send(&c->stream, c->fd);
	if (r < 0) {
		vu_lost(v, "is gone: %s", strerror(-r));
		return;
	}
	if (r == 1 && !c->blocked) {
		c->blocked_since = fb_device_now(v->dev);
		c->blocked = true;
		vu_arm_timer(v);
	}
	c->blocked = r == 1;
	vu_channel_update(v, c);
}

void vu_flush(struct fb_device *dev, struct fb_device_batch *batch)
{
	struct vu *v = fb_device_state(dev);

	(void)batch;
	send_channel(v, &v->main);
	send_channel(v, &v->twin);
	vu_writes_go_on(v);
}

/* Hands out the messages that have arrived. False: the session ended, or the rest has to wait. */
static bool parse(struct vu *v, struct vu_channel *c)
{
	unsigned session = v->session;

	while (!v->dma_full) {
		struct vfio_user_message msg;
		int r;

		/* A command that finds no room stays where it is. */
		if (!vu_dma_has_room(v)) {
			v->dma_full = true;
			v->count.dma_waits++;
			vu_channel_update(v, &v->main);
			vu_channel_update(v, &v->twin);
			return false;
		}
		r = vfio_user_stream_next(&c->stream, &msg);
		if (r == 0)
			return true;
		if (r < 0) {
			v->count.protocol_errors++;
			vu_lost(v, "breaks the protocol: %s",
				r == -E2BIG ? "too many file descriptors with one message" : "a header with a bad size or type");
			return false;
		}
		if ((msg.flags & VFIO_USER_TYPE_MASK) == VFIO_USER_TYPE_COMMAND)
			vu_server_command(v, c, &msg);
		else if (c == &v->main)
			reply(v, &msg);
		else
			vu_lost(v, "answers on the socket of its own requests");
		vfio_user_message_done(&msg);
		if (v->session != session || c->fd < 0)
			return false;
	}
	return false;
}

static void pump_channel(struct vu *v, struct vu_channel *c)
{
	c->dry = c->fd < 0;
	for (unsigned i = 0; i < VU_RECEIVES && c->fd >= 0; i++) {
		int n;

		if (!parse(v, c))
			return;
		n = vfio_user_stream_receive(&c->stream, c->fd);
		if (n == 0) {
			c->dry = true;
			return;
		}
		if (n == -EPIPE) {
			vu_lost(v, "closed the connection");
		} else if (n == -E2BIG) {
			v->count.protocol_errors++;
			vu_lost(v, "breaks the protocol: too many file descriptors");
		} else if (n < 0) {
			vu_lost(v, "is gone: %s", strerror(-n));
		}
	}
}

void vu_pump(struct vu *v)
{
	if (v->in_pump)
		return;
	v->in_pump = true;
	/* The server's requests first: those that it made before an answer are in there. */
	pump_channel(v, &v->twin);
	pump_channel(v, &v->main);
	v->in_pump = false;
	vu_irq_deliver(v);
}

void vu_watch_ready(struct fb_device *dev, struct fb_device_fd *watch, uint32_t events)
{
	struct vu *v = fb_device_state(dev);
	struct vu_channel *c = watch == &v->main.watch ? &v->main : &v->twin;

	if (events & EPOLLOUT)
		vu_flush(dev, &v->flush);
	if (c->fd < 0)
		return;
	if (v->dma_full) {
		/* Not reading, so this is all we would hear of its end. */
		if (events & (EPOLLHUP | EPOLLERR))
			vu_lost(v, "closed the connection");
		return;
	}
	vu_pump(v);
}
