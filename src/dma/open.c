/* SPDX-License-Identifier: Apache-2.0 */
/* Handles of the library for remote memory: opened, driven, waited for, closed. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "dma/impl.h"
#include "util/log.h"

/* One word a transport: here, and its file in meson. */
static const struct fb_rdma_transport *const transports[] = {&fb_rdma_link_transport, &fb_rdma_softpcie_transport};

enum { DEPTH = 256, ID = 0x00f8 };
#define CONNECT_NS UINT64_C(5000000000)

void fb_rdma_say(struct fb_rdma *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->error, sizeof(r->error), fmt, ap);
	va_end(ap);
	fb_debug("dma", "%s", r->error);
}

const char *fb_rdma_error(const struct fb_rdma *r)
{
	return r->error;
}

void fb_rdma_tell_state(struct fb_rdma *r, int status)
{
	if (r->state && !r->closing)
		r->state(r->arg, status);
}

/* ---- Opening ------------------------------------------------------------------------ */

static const struct fb_rdma_transport *transport_of(const char *target)
{
	for (unsigned i = 0; i < sizeof(transports) / sizeof(transports[0]); i++) {
		if (strncmp(target, transports[i]->prefix, strlen(transports[i]->prefix)) == 0)
			return transports[i];
	}
	return NULL;
}

static bool tlp_size_ok(uint32_t size)
{
	return size == 0 || (size >= 128 && size <= 4096 && (size & (size - 1)) == 0);
}

static uint32_t tlp_size(uint32_t wanted, uint32_t def, uint32_t largest)
{
	wanted = wanted ? wanted : def;
	return wanted < largest ? wanted : largest;
}

static int configure(struct fb_rdma *r, const struct fb_rdma_config *c)
{
	if (!c->target || !(r->transport = transport_of(c->target))) {
		fb_rdma_say(r, "\"%s\" is not a target: it begins with udp: or softpcie:", c->target ? c->target : "");
		return c->target && strchr(c->target, ':') ? -ENOTSUP : -EINVAL;
	}
	if (!tlp_size_ok(c->max_payload) || !tlp_size_ok(c->max_read) || c->depth > FB_RDMA_TAGS_MAX) {
		fb_rdma_say(r, "max_payload and max_read must be powers of two, 128 to 4096, depth 1 to %d", FB_RDMA_TAGS_MAX);
		return -EINVAL;
	}
	if (c->mtu && (c->mtu < FB_LINK_MTU_MIN || c->mtu > FB_LINK_MTU_MAX)) {
		fb_rdma_say(r, "mtu must be %d to %d, or 0", FB_LINK_MTU_MIN, FB_LINK_MTU_MAX);
		return -EINVAL;
	}
	r->id = c->requester_id ? c->requester_id : ID;
	r->id_given = c->requester_id != 0;
	r->retries = c->retries == FB_RDMA_NO_RETRIES ? 0 : c->retries ? c->retries : r->transport->retries;
	r->max_payload = tlp_size(c->max_payload, r->transport->max_payload, r->transport->largest);
	r->max_read = tlp_size(c->max_read, r->transport->max_read, r->transport->largest);
	r->depth = c->depth ? c->depth : DEPTH;
	if (r->depth > r->transport->tags)
		r->depth = r->transport->tags;
	r->timeout_ns = c->timeout_ns ? c->timeout_ns : r->transport->timeout_ns;
	r->connect_ns = c->connect_ns ? c->connect_ns : CONNECT_NS;
	r->group = c->group;
	r->mtu = c->mtu;
	r->fault = c->fault;
	r->state = c->state;
	r->arg = c->arg;
	return 0;
}

static void free_handle(struct fb_rdma *r)
{
	int fd = r->wake.fd;

	fb_rdma_engine_fini(r);
	if (r->wake.loop) {
		fb_fd_del(&r->wake);
		close(fd);
	}
	fb_loop_free(r->loop);
	free(r);
}

static int open_start(struct fb_rdma **out, const struct fb_rdma_config *config, char *error, size_t cap)
{
	struct fb_rdma *r = calloc(1, sizeof(*r));
	int err = -ENOMEM;

	*out = NULL;
	if (!r)
		return err;
	if (config->log != FB_RDMA_LOG_KEEP)
		fb_log_set_level(config->log == FB_RDMA_LOG_NONE     ? FB_LOG_NONE
				 : config->log == FB_RDMA_LOG_ERRORS ? FB_LOG_ERROR
								     : FB_LOG_INFO);
	err = configure(r, config);
	if (!err)
		err = fb_loop_new(&r->loop, config->spin_us);
	if (err)
		goto free_bare;
	err = fb_rdma_engine_init(r);
	if (!err)
		err = r->transport->open(r, config->target);
	if (err) {
		snprintf(error, cap, "%s", r->error);
		free_handle(r);
		return err;
	}
	*out = r;
	return 0;

free_bare:
	snprintf(error, cap, "%s", r->error[0] ? r->error : strerror(-err));
	free(r);
	return err;
}

int fb_rdma_open_start(struct fb_rdma **out, const struct fb_rdma_config *config)
{
	char unread[2];

	return open_start(out, config, unread, sizeof(unread));
}

int fb_rdma_open_text(struct fb_rdma **out, const struct fb_rdma_config *config, char *error, size_t cap)
{
	struct fb_rdma *r;
	int err = open_start(&r, config, error, cap);

	while (!err && !r->up && !r->over)
		err = fb_loop_once(r->loop, FB_NEVER);
	if (r && r->over)
		err = r->over;
	if (err && r) {
		snprintf(error, cap, "%s", r->error);
		fb_rdma_close(r);
		r = NULL;
	}
	if (err && config->log != FB_RDMA_LOG_KEEP)
		fb_error(config->target, "%s", error);
	*out = r;
	return err;
}

int fb_rdma_open(struct fb_rdma **out, const struct fb_rdma_config *config)
{
	char text[160] = "";

	return fb_rdma_open_text(out, config, text, sizeof(text));
}

void fb_rdma_close(struct fb_rdma *r)
{
	if (!r)
		return;
	r->closing = true;
	fb_rdma_engine_abort(r, -ECANCELED);
	if (r->port)
		fb_port_close(r->port, FB_LINK_R_NORMAL, "the requester is done");
	r->port = NULL;
	r->up = false;
	fb_loop_once(r->loop, 0); /* done() of what was in flight, and the goodbye */
	r->transport->close(r);
	free_handle(r);
}

/* ---- Driving -------------------------------------------------------------------------- */

/* The descriptor is readable when the next thing is due. */
static void arm_wake(struct fb_rdma *r)
{
	uint64_t at = fb_loop_deadline(r->loop);
	struct itimerspec when = {0};

	if (!r->wake.loop || at == r->wake_at)
		return;
	r->wake_at = at;
	if (at != FB_NEVER) {
		at = at ? at : 1;
		when.it_value = (struct timespec){(time_t)(at / 1000000000), (long)(at % 1000000000)};
	}
	timerfd_settime(r->wake.fd, TFD_TIMER_ABSTIME, &when, NULL);
}

void fb_rdma_wake(struct fb_rdma *r)
{
	if (!r->in_process)
		arm_wake(r);
}

int fb_rdma_process(struct fb_rdma *r, uint64_t timeout_ns)
{
	uint64_t now = fb_clock_ns();
	int err;

	r->in_process = true;
	err = fb_loop_once(r->loop, !timeout_ns ? 0 : timeout_ns >= FB_NEVER - now ? FB_NEVER : now + timeout_ns);
	r->in_process = false;
	arm_wake(r);
	return err;
}

static void woken(struct fb_fd *w, uint32_t events)
{
	struct fb_rdma *r = (struct fb_rdma *)((char *)w - offsetof(struct fb_rdma, wake));
	uint64_t count;

	(void)events;
	if (read(w->fd, &count, sizeof(count)) > 0)
		r->wake_at = FB_NEVER;
}

int fb_rdma_fd(struct fb_rdma *r)
{
	int fd, err;

	if (!r->wake.loop) {
		fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
		if (fd < 0)
			return -errno;
		r->wake.ready = woken;
		r->wake_at = FB_NEVER;
		err = fb_fd_add(r->loop, &r->wake, fd, EPOLLIN);
		if (err) {
			close(fd);
			return err;
		}
		arm_wake(r);
	}
	return fb_loop_fd(r->loop);
}

/* ---- Blocking ---------------------------------------------------------------------------- */

struct blocking {
	bool done;
	int status;
};

static void blocking_done(struct fb_rdma_op *op, int status)
{
	struct blocking *b = op->arg;

	b->done = true;
	b->status = status;
}

static int run(struct fb_rdma *r, struct fb_rdma_op *op)
{
	struct blocking b = {0};
	int err;

	op->done = blocking_done;
	op->arg = &b;
	r->error[0] = '\0';
	r->in_process = true;
	err = fb_rdma_submit(r, op);
	while (!err && !b.done)
		err = fb_loop_once(r->loop, FB_NEVER);
	r->in_process = false;
	arm_wake(r);
	if (!err && b.status && !r->error[0])
		fb_rdma_say(r, "%s", b.status == -EFAULT ? "the target refuses: not mapped, or not open to us (Unsupported Request)"
				     : b.status == -EIO  ? "the target failed (Completer Abort)"
							 : strerror(-b.status));
	return err ? err : b.status;
}

static int transfer(struct fb_rdma *r, enum fb_rdma_kind kind, uint64_t addr, void *buf, size_t len)
{
	struct fb_rdma_op op = {.kind = kind, .seg = {addr, buf, len}};

	return run(r, &op);
}

int fb_rdma_read(struct fb_rdma *r, uint64_t addr, void *buf, size_t len)
{
	return transfer(r, FB_RDMA_READ, addr, buf, len);
}

int fb_rdma_write(struct fb_rdma *r, uint64_t addr, const void *buf, size_t len)
{
	return transfer(r, FB_RDMA_WRITE, addr, (void *)(uintptr_t)buf, len);
}

int fb_rdma_readv(struct fb_rdma *r, const struct fb_rdma_seg *segs, unsigned n)
{
	struct fb_rdma_op op = {.kind = FB_RDMA_READ, .segs = segs, .n_segs = n};

	return segs ? run(r, &op) : -EINVAL;
}

int fb_rdma_writev(struct fb_rdma *r, const struct fb_rdma_seg *segs, unsigned n)
{
	struct fb_rdma_op op = {.kind = FB_RDMA_WRITE, .segs = segs, .n_segs = n};

	return segs ? run(r, &op) : -EINVAL;
}

int fb_rdma_atomic(struct fb_rdma *r, enum fb_rdma_atomic atomic, uint64_t addr, unsigned size, const void *operand,
		   const void *swap, void *old)
{
	uint8_t unread[16];
	struct fb_rdma_op op = {.kind = FB_RDMA_ATOMIC, .atomic = atomic, .seg = {addr, old ? old : unread, size}};

	if (size > sizeof(op.operand) || !operand || (atomic == FB_RDMA_CAS && !swap))
		return -EINVAL;
	memcpy(op.operand, operand, size);
	if (atomic == FB_RDMA_CAS)
		memcpy(op.swap, swap, size);
	return run(r, &op);
}

void fb_rdma_get_stats(struct fb_rdma *r, struct fb_rdma_stats *stats)
{
	*stats = r->stats;
	stats->in_flight = r->depth - r->n_free;
	if (r->port)
		r->transport->stats(r, stats);
}
