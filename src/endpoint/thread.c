/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The blocking style: a device has a thread, shared by its functions, on which
 * its model's callbacks run, and which may wait. All else of the device stays
 * on the loop's thread, and the two meet in this file only.
 *
 *  - To the thread: a queue of work (accesses, resets, timers). An access is one
 *    that ends later (held.c), so what bounds the queue is the root's credits.
 *  - Back: the list of work that is done, and one call: whatever the model asks
 *    of the API is carried out by the loop while the thread waits for it.
 *
 * Resets are the hard part: the loop never waits for the thread. A reset
 * counts the function's epoch up, and from then on work of an older epoch is
 * dropped, done or not, and calls return -ECANCELED, until the thread has come
 * as far as the reset in its queue, which is when the model hears of it. What
 * a callback had under way therefore cannot reach the next session, however
 * late the callback notices.
 *
 * The lock covers everything that both threads touch. It is never held while
 * a callback or anything else of the runtime runs.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "endpoint/device_impl.h"

enum {
	JOIN_SECONDS = 3, /* for a thread to end that is told to */
	CALL_LATER = 1,   /* the call ends by call_end() */
	MAX_STATS = 64,
};

struct fb_call {
	struct fb_device *dev;
	int (*run)(struct fb_call *call, void *arg);
	void *arg;
	uint64_t epoch;
	int result;
	bool done;
};

struct fb_thread {
	struct fb_loop *loop;
	pthread_t id;
	pthread_mutex_t lock;
	pthread_cond_t cond; /* the thread waits for work, or for its call */
	struct fb_work_list queue, done;
	struct fb_call *call; /* the loop has not begun it */
	bool running, waiting, stopping;
	struct fb_fd kicked;
};

struct fb_stat {
	const char *name;
	uint64_t value;
};

static _Thread_local struct fb_thread *self;

bool fb_on_thread(const struct fb_device *dev)
{
	return dev->thread && dev->thread == self;
}

static void kick(struct fb_thread *t)
{
	uint64_t one = 1;

	if (write(t->kicked.fd, &one, sizeof(one)) < 0) {
		/* Full: it is readable already, which is all that is wanted. */
	}
}

/* ---- The thread ------------------------------------------------------------------------ */

struct gather {
	struct fb_stat *stats;
	unsigned n;
};

static void put_stat(void *arg, const char *name, uint64_t value)
{
	struct gather *g = arg;

	if (g->n < MAX_STATS)
		g->stats[g->n++] = (struct fb_stat){name, value};
}

static void run_work(struct fb_work *w)
{
	struct fb_device *dev = w->dev;
	const struct fb_model *m = dev->model;

	switch (w->kind) {
	case WORK_READ:
		w->value = m->read(dev, w->bar, w->offset, w->size);
		break;
	case WORK_WRITE:
		m->write(dev, w->bar, w->offset, w->value, w->size);
		break;
	case WORK_RESET:
		m->reset(dev, w->reset);
		break;
	case WORK_TIMER:
		w->timer->due(dev, w->timer);
		break;
	case WORK_QUIESCE:
		w->value = !m->quiesce || m->quiesce(dev);
		break;
	}
}

/* Taken off the queue; the lock is held. False: there is nothing to do for it any more. */
static bool begin_work(struct fb_work *w, struct fb_work *copy)
{
	if (w->kind == WORK_RESET) {
		w->queued = false;
		*copy = *w;
		w->dev->heard = w->dev->epoch;
		return true;
	}
	*copy = *w;
	if (w->kind == WORK_QUIESCE) {
		w->queued = false;
		return true;
	}
	if (w->epoch == w->dev->epoch)
		return true;
	free(w);
	return false;
}

static void end_work(struct fb_thread *t, struct fb_work *w, const struct fb_work *copy, const struct gather *g)
{
	struct fb_device *dev = copy->dev;

	if (dev->stat_values) {
		memcpy(dev->stat_values, g->stats, g->n * sizeof(*g->stats));
		dev->n_stats = g->n;
	}
	switch (copy->kind) {
	case WORK_TIMER:
		free(w);
		return;
	case WORK_RESET:
		return;
	case WORK_QUIESCE:
		if (!copy->value)
			return;
		break;
	case WORK_READ:
	case WORK_WRITE:
		w->value = copy->value;
		break;
	}
	if (TAILQ_EMPTY(&t->done))
		kick(t);
	TAILQ_INSERT_TAIL(&t->done, w, link);
}

static void *thread_main(void *arg)
{
	struct fb_thread *t = arg;
	struct fb_stat stats[MAX_STATS];
	struct fb_work *w, copy;

	self = t;
	pthread_mutex_lock(&t->lock);
	for (;;) {
		struct gather g = {stats, 0};

		w = TAILQ_FIRST(&t->queue);
		if (!w && t->stopping)
			break;
		if (!w) {
			pthread_cond_wait(&t->cond, &t->lock);
			continue;
		}
		TAILQ_REMOVE(&t->queue, w, link);
		if (!begin_work(w, &copy))
			continue;
		t->running = true;
		pthread_mutex_unlock(&t->lock);
		run_work(&copy);
		if (copy.dev->stat_values)
			copy.dev->model->stats(copy.dev, put_stat, &g);
		pthread_mutex_lock(&t->lock);
		t->running = false;
		end_work(t, w, &copy, &g);
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

/* ---- What the model asks ------------------------------------------------------------------ */

static bool cancelled(const struct fb_device *dev)
{
	return dev->thread->stopping || dev->heard != dev->epoch;
}

static void call_end(struct fb_call *call, int result)
{
	struct fb_thread *t = call->dev->thread;

	pthread_mutex_lock(&t->lock);
	call->result = result;
	call->done = true;
	t->waiting = false;
	pthread_cond_signal(&t->cond);
	pthread_mutex_unlock(&t->lock);
}

static int call_loop(struct fb_device *dev, int (*run)(struct fb_call *call, void *arg), void *arg)
{
	struct fb_call call = {.dev = dev, .run = run, .arg = arg, .result = -ECANCELED};
	struct fb_thread *t = dev->thread;

	pthread_mutex_lock(&t->lock);
	if (!cancelled(dev)) {
		call.epoch = dev->epoch;
		t->call = &call;
		kick(t);
		while (!call.done)
			pthread_cond_wait(&t->cond, &t->lock);
	}
	pthread_mutex_unlock(&t->lock);
	return call.result;
}

struct plain_args {
	int (*run)(struct fb_device *dev, void *arg);
	void *arg;
};

static int run_plain(struct fb_call *call, void *arg)
{
	const struct plain_args *a = arg;

	return a->run(call->dev, a->arg);
}

int fb_thread_call(const struct fb_device *dev, int (*run)(struct fb_device *dev, void *arg), void *arg)
{
	struct plain_args a = {run, arg};

	return call_loop((struct fb_device *)(uintptr_t)dev, run_plain, &a);
}

struct dma_args {
	bool read;
	const struct fb_dma_seg *segs;
	unsigned n;
	void *buf;
};

static void dma_done(void *arg, int status)
{
	call_end(arg, status);
}

static int run_dma(struct fb_call *call, void *arg)
{
	const struct dma_args *a = arg;
	struct fb_thread *t = call->dev->thread;
	int err = a->read ? fb_dma_readv(call->dev, a->segs, a->n, a->buf, dma_done, call)
			  : fb_dma_writev(call->dev, a->segs, a->n, a->buf, dma_done, call);

	if (err)
		return err;
	pthread_mutex_lock(&t->lock);
	t->waiting = !call->done;
	pthread_mutex_unlock(&t->lock);
	return CALL_LATER;
}

int fb_thread_dma(struct fb_device *dev, bool read, const struct fb_dma_seg *segs, unsigned n, void *buf,
		  fb_dma_done *done)
{
	struct dma_args a = {read, segs, n, buf};

	return done ? -EINVAL /* the call itself says when it is done */ : call_loop(dev, run_dma, &a);
}

struct timer_args {
	struct fb_device_timer *timer;
	uint64_t deadline;
};

static int run_timer(struct fb_call *call, void *arg)
{
	const struct timer_args *a = arg;
	struct fb_thread *t = call->dev->thread;
	struct fb_work *w, *next;

	pthread_mutex_lock(&t->lock);
	for (w = TAILQ_FIRST(&t->queue); w; w = next) { /* it may be due already */
		next = TAILQ_NEXT(w, link);
		if (w->kind == WORK_TIMER && w->timer == a->timer) {
			TAILQ_REMOVE(&t->queue, w, link);
			free(w);
		}
	}
	pthread_mutex_unlock(&t->lock);
	fb_device_timer_cancel(call->dev, a->timer);
	return a->deadline == FB_NEVER ? 0 : fb_device_timer_set(call->dev, a->timer, a->deadline);
}

int fb_thread_timer_set(struct fb_device *dev, struct fb_device_timer *timer, uint64_t deadline)
{
	struct timer_args a = {timer, deadline};

	return call_loop(dev, run_timer, &a);
}

int fb_device_sleep(struct fb_device *dev, uint64_t ns)
{
	struct fb_thread *t = dev->thread;
	uint64_t end = fb_clock_ns() + ns;
	struct timespec until;
	int err = 0;

	if (!fb_on_thread(dev))
		return -EINVAL;
	if (end < ns)
		end = UINT64_MAX;
	until = (struct timespec){.tv_sec = (time_t)(end / 1000000000), .tv_nsec = (long)(end % 1000000000)};
	pthread_mutex_lock(&t->lock);
	t->waiting = true;
	while (!cancelled(dev) && err != ETIMEDOUT)
		err = pthread_cond_timedwait(&t->cond, &t->lock, &until);
	t->waiting = false;
	err = cancelled(dev) ? -ECANCELED : 0;
	pthread_mutex_unlock(&t->lock);
	return err;
}

bool fb_device_interrupted(struct fb_device *dev)
{
	bool yes;

	if (!fb_on_thread(dev))
		return false;
	pthread_mutex_lock(&dev->thread->lock);
	yes = cancelled(dev);
	pthread_mutex_unlock(&dev->thread->lock);
	return yes;
}

void fb_thread_name(const struct fb_device *dev, char *name, size_t size)
{
	pthread_mutex_lock(&dev->thread->lock);
	snprintf(name, size, "%s", dev->name);
	pthread_mutex_unlock(&dev->thread->lock);
}

void fb_thread_rename(struct fb_device *dev, const char *name)
{
	pthread_mutex_lock(&dev->thread->lock);
	snprintf(dev->name, sizeof(dev->name), "%s", name);
	pthread_mutex_unlock(&dev->thread->lock);
}

/* ---- The loop's side -------------------------------------------------------------------------- */

static void enqueue(struct fb_work *w)
{
	struct fb_thread *t = w->dev->thread;

	pthread_mutex_lock(&t->lock);
	if (TAILQ_EMPTY(&t->queue))
		pthread_cond_signal(&t->cond);
	TAILQ_INSERT_TAIL(&t->queue, w, link);
	pthread_mutex_unlock(&t->lock);
}

bool fb_thread_access(struct fb_device *dev, struct fb_access *access, bool write, unsigned bar, uint64_t offset,
		      uint64_t value, unsigned size)
{
	struct fb_work *w = malloc(sizeof(*w));

	if (!w)
		return false;
	*w = (struct fb_work){.kind = write ? WORK_WRITE : WORK_READ, .dev = dev, .epoch = dev->epoch, .access = access,
			      .bar = bar, .offset = offset, .value = value, .size = size};
	enqueue(w);
	return true;
}

bool fb_thread_timer_due(struct fb_device *dev, struct fb_device_timer *timer)
{
	struct fb_work *w = malloc(sizeof(*w));

	if (!w)
		return false;
	*w = (struct fb_work){.kind = WORK_TIMER, .dev = dev, .epoch = dev->epoch, .timer = timer};
	enqueue(w);
	return true;
}

void fb_thread_quiesce(struct fb_device *dev)
{
	struct fb_thread *t = dev->thread;

	pthread_mutex_lock(&t->lock);
	if (!dev->quiesce_work.queued) {
		dev->quiesce_work = (struct fb_work){.kind = WORK_QUIESCE, .dev = dev, .queued = true};
		TAILQ_INSERT_TAIL(&t->queue, &dev->quiesce_work, link);
		pthread_cond_signal(&t->cond);
	}
	pthread_mutex_unlock(&t->lock);
}

/* The lock is held. */
static void cancel_call(struct fb_thread *t, const struct fb_device *dev)
{
	if (!t->call || (dev && t->call->dev != dev))
		return;
	t->call->result = -ECANCELED;
	t->call->done = true;
	t->call = NULL;
}

void fb_thread_reset(struct fb_device *dev, enum fb_reset kind)
{
	struct fb_thread *t = dev->thread;
	struct fb_work *w = &dev->reset_work;

	pthread_mutex_lock(&t->lock);
	dev->epoch++;
	t->waiting = false;
	cancel_call(t, dev);
	if (w->queued) { /* one that the thread has not come to says it all, if it is the stronger one */
		TAILQ_REMOVE(&t->queue, w, link);
		kind = w->reset == FB_RESET_SESSION ? w->reset : kind;
	}
	*w = (struct fb_work){.kind = WORK_RESET, .dev = dev, .reset = kind, .queued = true};
	TAILQ_INSERT_TAIL(&t->queue, w, link);
	pthread_cond_signal(&t->cond);
	pthread_mutex_unlock(&t->lock);
}

void fb_thread_stats(struct fb_device *dev, void (*put)(void *arg, const char *name, uint64_t value), void *arg)
{
	struct fb_stat stats[MAX_STATS];
	unsigned n;

	pthread_mutex_lock(&dev->thread->lock);
	n = dev->n_stats;
	if (n)
		memcpy(stats, dev->stat_values, n * sizeof(*stats));
	pthread_mutex_unlock(&dev->thread->lock);
	for (unsigned i = 0; i < n; i++)
		put(arg, stats[i].name, stats[i].value);
}

bool fb_thread_settled(const struct fb_device *dev)
{
	struct fb_thread *t = dev->thread;
	bool yes = true;

	if (!t)
		return true;
	pthread_mutex_lock(&t->lock);
	if (t->call || !TAILQ_EMPTY(&t->done))
		yes = false;
	else if (!t->waiting)
		yes = !t->running && TAILQ_EMPTY(&t->queue);
	pthread_mutex_unlock(&t->lock);
	return yes;
}

static void run_call(struct fb_call *call)
{
	int result = call->epoch == call->dev->epoch ? call->run(call, call->arg) : -ECANCELED;

	if (result != CALL_LATER)
		call_end(call, result);
}

static void kicked(struct fb_fd *w, uint32_t events)
{
	struct fb_thread *t = (struct fb_thread *)((char *)w - offsetof(struct fb_thread, kicked));
	struct fb_work_list done;
	struct fb_work *work;
	struct fb_call *call;
	uint64_t count;

	(void)events;
	if (read(w->fd, &count, sizeof(count)) < 0) {
		/* Somebody was quicker. */
	}
	TAILQ_INIT(&done);
	pthread_mutex_lock(&t->lock);
	TAILQ_CONCAT(&done, &t->done, link);
	call = t->call;
	t->call = NULL;
	pthread_mutex_unlock(&t->lock);

	/* What was done before the call was made comes before it. */
	while ((work = TAILQ_FIRST(&done))) {
		TAILQ_REMOVE(&done, work, link);
		if (work->kind == WORK_QUIESCE) {
			fb_device_idle(work->dev);
			continue;
		}
		if (work->epoch == work->dev->epoch)
			fb_access_complete(work->access, work->value);
		free(work);
	}
	if (call)
		run_call(call);
}

/* ---- Life --------------------------------------------------------------------------------------- */

static int init(struct fb_thread *t)
{
	pthread_condattr_t attr;
	int fd, err;

	pthread_mutex_init(&t->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&t->cond, &attr);
	pthread_condattr_destroy(&attr);
	TAILQ_INIT(&t->queue);
	TAILQ_INIT(&t->done);
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	t->kicked.ready = kicked;
	err = fb_fd_add(t->loop, &t->kicked, fd, 1 /* EPOLLIN */);
	if (err)
		close(fd);
	return err;
}

static void fini(struct fb_thread *t)
{
	struct fb_work_list *lists[] = {&t->queue, &t->done};
	struct fb_work *w;

	for (unsigned i = 0; i < 2; i++) {
		while ((w = TAILQ_FIRST(lists[i]))) {
			TAILQ_REMOVE(lists[i], w, link);
			if (w->kind != WORK_RESET && w->kind != WORK_QUIESCE)
				free(w);
		}
	}
	pthread_cond_destroy(&t->cond);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

/* Signals are for the loop's thread: here they would only break into what the model waits for. */
static int create(struct fb_thread *t)
{
	sigset_t all, before;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&t->id, NULL, thread_main, t);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -err;
}

static void release_functions(struct fb_device *dev)
{
	for (unsigned i = 0; i <= dev->n_functions; i++) {
		struct fb_device *f = fb_device_function(dev, i);

		free(f->stat_values);
		f->stat_values = NULL;
		f->thread = NULL;
	}
}

int fb_thread_start(struct fb_device *dev)
{
	struct fb_thread *t = calloc(1, sizeof(*t));
	char name[16];
	int err;

	if (!t)
		return -ENOMEM;
	t->loop = dev->loop;
	err = init(t);
	if (err)
		goto free_thread;
	for (unsigned i = 0; i <= dev->n_functions; i++) {
		struct fb_device *f = fb_device_function(dev, i);

		if (f->model->stats) {
			f->stat_values = calloc(MAX_STATS, sizeof(*f->stat_values));
			if (!f->stat_values) {
				err = -ENOMEM;
				goto close_event;
			}
		}
		f->thread = t;
	}
	err = create(t);
	if (!err) {
		snprintf(name, sizeof(name), "%s", dev->options.id);
		pthread_setname_np(t->id, name); /* as top -H shows it */
		return 0;
	}

close_event:
	fb_fd_del(&t->kicked);
	close(t->kicked.fd);
free_thread:
	release_functions(dev);
	fini(t);
	return err;
}

bool fb_thread_stop(struct fb_device *dev)
{
	struct fb_thread *t = dev->thread;
	struct timespec until;
	int err;

	if (!t)
		return true;
	pthread_mutex_lock(&t->lock);
	t->stopping = true;
	t->waiting = false;
	cancel_call(t, NULL);
	pthread_cond_signal(&t->cond);
	pthread_mutex_unlock(&t->lock);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += JOIN_SECONDS;
	err = pthread_timedjoin_np(t->id, NULL, &until);
	fb_fd_del(&t->kicked);
	if (err) {
		fb_device_error(dev, "its thread has not ended after %d s: left behind, with what it holds", JOIN_SECONDS);
		return false;
	}
	close(t->kicked.fd);
	release_functions(dev);
	fini(t);
	return true;
}
