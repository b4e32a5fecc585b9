/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The model's timers, files, batches and pollers: the loop's own structs live
 * in the opaque part of the API's, next to the device and a link in its lists,
 * by which all that a model left armed is found and stopped.
 */
#include <assert.h>
#include <errno.h>

#include "endpoint/device_impl.h"

#define OPAQUE_SIZE (8 * sizeof(void *))

struct fb_timer_impl {
	struct fb_timer timer; /* first: the loop's pointer is ours */
	struct fb_device *dev;
	LIST_ENTRY(fb_timer_impl) link;
};
struct fb_fd_impl {
	struct fb_fd fd;
	struct fb_device *dev;
	LIST_ENTRY(fb_fd_impl) link;
};
struct fb_batch_impl {
	struct fb_flush flush;
	struct fb_device *dev;
	LIST_ENTRY(fb_batch_impl) link;
};
struct fb_poller_impl {
	struct fb_poller poller;
	struct fb_device *dev;
	LIST_ENTRY(fb_poller_impl) link;
};
static_assert(sizeof(struct fb_timer_impl) <= OPAQUE_SIZE, "fb_device_timer.opaque is too small");
static_assert(sizeof(struct fb_fd_impl) <= OPAQUE_SIZE, "fb_device_fd.opaque is too small");
static_assert(sizeof(struct fb_batch_impl) <= OPAQUE_SIZE, "fb_device_batch.opaque is too small");
static_assert(sizeof(struct fb_poller_impl) <= OPAQUE_SIZE, "fb_device_poller.opaque is too small");

#define OUTER(type, impl) ((struct type *)(void *)((char *)(impl)-offsetof(struct type, opaque)))
#define INNER(type, outer) ((struct type *)(void *)(outer)->opaque)

/* A link that is not in a list has no back pointer (zero-initialised, and after removal). */
#define LINK_IN(list, impl, link)                                                                                      \
	do {                                                                                                           \
		if (!(impl)->link.le_prev)                                                                             \
			LIST_INSERT_HEAD(list, impl, link);                                                            \
	} while (0)
#define LINK_OUT(impl, link)                                                                                           \
	do {                                                                                                           \
		if ((impl)->link.le_prev) {                                                                            \
			LIST_REMOVE(impl, link);                                                                       \
			(impl)->link.le_prev = NULL;                                                                   \
		}                                                                                                      \
	} while (0)

/* What belongs to the loop's thread alone. */
static bool refused(struct fb_device *dev, const char *what)
{
	if (dev->model->style == FB_STYLE_BLOCKING)
		fb_device_error(dev, "a model in the blocking style has no %s: its thread may wait by itself", what);
	return dev->model->style == FB_STYLE_BLOCKING;
}

uint64_t fb_device_now(struct fb_device *dev)
{
	return fb_on_thread(dev) ? fb_clock_ns() : fb_loop_now(dev->loop);
}

/* ---- Timers ---- */

static void timer_due(struct fb_timer *t)
{
	struct fb_timer_impl *impl = (struct fb_timer_impl *)(void *)t;
	struct fb_device_timer *timer = OUTER(fb_device_timer, impl);

	LINK_OUT(impl, link);
	if (!impl->dev->thread)
		timer->due(impl->dev, timer);
	else if (!fb_thread_timer_due(impl->dev, timer)) /* no memory: again in a while */
		fb_device_timer_set(impl->dev, timer, fb_loop_now(impl->dev->loop) + 1000000);
}

int fb_device_timer_set(struct fb_device *dev, struct fb_device_timer *timer, uint64_t deadline_ns)
{
	struct fb_timer_impl *impl = INNER(fb_timer_impl, timer);
	int err;

	if (fb_on_thread(dev))
		return fb_thread_timer_set(dev, timer, deadline_ns);
	impl->dev = dev;
	impl->timer.due = timer_due;
	err = fb_timer_set(dev->loop, &impl->timer, deadline_ns);
	if (!err)
		LINK_IN(&dev->timers, impl, link);
	return err;
}

void fb_device_timer_cancel(struct fb_device *dev, struct fb_device_timer *timer)
{
	struct fb_timer_impl *impl = INNER(fb_timer_impl, timer);

	if (fb_on_thread(dev)) {
		fb_thread_timer_set(dev, timer, FB_NEVER);
		return;
	}
	fb_timer_cancel(&impl->timer);
	LINK_OUT(impl, link);
}

void fb_sched_stop_timers(struct fb_device *dev)
{
	struct fb_timer_impl *impl;

	while ((impl = LIST_FIRST(&dev->timers)))
		fb_device_timer_cancel(dev, OUTER(fb_device_timer, impl));
}

/* ---- Files ---- */

static void fd_ready(struct fb_fd *fd, uint32_t events)
{
	struct fb_fd_impl *impl = (struct fb_fd_impl *)(void *)fd;
	struct fb_device_fd *watch = OUTER(fb_device_fd, impl);

	watch->ready(impl->dev, watch, events);
}

int fb_device_fd_add(struct fb_device *dev, struct fb_device_fd *watch, int fd, uint32_t epoll_events)
{
	struct fb_fd_impl *impl = INNER(fb_fd_impl, watch);
	int err;

	if (refused(dev, "files"))
		return -ENOTSUP;
	impl->dev = dev;
	impl->fd.ready = fd_ready;
	err = fb_fd_add(dev->loop, &impl->fd, fd, epoll_events);
	if (!err)
		LINK_IN(&dev->fds, impl, link);
	return err;
}

void fb_device_fd_del(struct fb_device *dev, struct fb_device_fd *watch)
{
	struct fb_fd_impl *impl = INNER(fb_fd_impl, watch);

	(void)dev;
	fb_fd_del(&impl->fd);
	LINK_OUT(impl, link);
}

/* ---- Batches ---- */

static void batch_flush(struct fb_flush *flush)
{
	struct fb_batch_impl *impl = (struct fb_batch_impl *)(void *)flush;
	struct fb_device_batch *batch = OUTER(fb_device_batch, impl);

	LINK_OUT(impl, link);
	batch->run(impl->dev, batch);
}

void fb_device_batch_schedule(struct fb_device *dev, struct fb_device_batch *batch)
{
	struct fb_batch_impl *impl = INNER(fb_batch_impl, batch);

	if (refused(dev, "batches"))
		return;
	impl->dev = dev;
	impl->flush.flush = batch_flush;
	LINK_IN(&dev->batches, impl, link);
	fb_flush_schedule(dev->loop, &impl->flush);
}

/* ---- Pollers ---- */

static bool poller_poll(struct fb_poller *p)
{
	struct fb_poller_impl *impl = (struct fb_poller_impl *)(void *)p;
	struct fb_device_poller *poller = OUTER(fb_device_poller, impl);

	return poller->poll(impl->dev, poller);
}

void fb_device_poller_add(struct fb_device *dev, struct fb_device_poller *poller)
{
	struct fb_poller_impl *impl = INNER(fb_poller_impl, poller);

	if (refused(dev, "pollers"))
		return;
	impl->dev = dev;
	impl->poller.poll = poller_poll;
	LINK_IN(&dev->pollers, impl, link);
	fb_poller_add(dev->loop, &impl->poller);
}

void fb_device_poller_del(struct fb_device *dev, struct fb_device_poller *poller)
{
	struct fb_poller_impl *impl = INNER(fb_poller_impl, poller);

	(void)dev;
	fb_poller_del(&impl->poller);
	LINK_OUT(impl, link);
}

void fb_sched_stop_all(struct fb_device *dev)
{
	struct fb_batch_impl *batch;
	struct fb_poller_impl *poller;
	struct fb_fd_impl *fd;

	fb_sched_stop_timers(dev);
	while ((fd = LIST_FIRST(&dev->fds)))
		fb_device_fd_del(dev, OUTER(fb_device_fd, fd));
	while ((poller = LIST_FIRST(&dev->pollers)))
		fb_device_poller_del(dev, OUTER(fb_device_poller, poller));
	while ((batch = LIST_FIRST(&dev->batches))) {
		fb_flush_cancel(&batch->flush);
		LINK_OUT(batch, link);
	}
}
