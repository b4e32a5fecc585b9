/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aio.h with threads that make blocking calls: for systems that forbid
 * io_uring. Two FIFOs under one lock; an eventfd tells of completions.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/aio.h"

enum { THREADS = 4 };

struct fifo {
	struct fb_aio_op *first, **last;
};

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct fifo todo, ended; /* under lock */
	bool stop;               /* under lock */
	struct fifo queued;      /* the caller's own, until submit() */
	unsigned n_threads;
	pthread_t threads[THREADS];
	int event_fd;
};

static void put(struct fifo *f, struct fb_aio_op *op)
{
	op->next = NULL;
	*f->last = op;
	f->last = &op->next;
}

static struct fb_aio_op *take(struct fifo *f)
{
	struct fb_aio_op *op = f->first;

	if (op) {
		f->first = op->next;
		if (!f->first)
			f->last = &f->first;
	}
	return op;
}

static int run(const struct fb_aio_op *op)
{
	struct iovec iov = {op->buf, op->len};
	ssize_t n;

	do {
		switch (op->kind) {
		case FB_AIO_READ:
			n = pread(op->fd, op->buf, op->len, (off_t)op->offset);
			break;
		case FB_AIO_WRITE:
			n = pwritev2(op->fd, &iov, 1, (off_t)op->offset, op->dsync ? RWF_DSYNC : 0);
			break;
		case FB_AIO_FSYNC:
			n = fdatasync(op->fd);
			break;
		default:
			n = fallocate(op->fd, op->mode, (off_t)op->offset, (off_t)op->range);
			break;
		}
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : (int)n;
}

static void *worker(void *arg)
{
	static const uint64_t one = 1;
	struct pool *p = arg;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct fb_aio_op *op = take(&p->todo);

		if (!op) {
			if (p->stop)
				break;
			pthread_cond_wait(&p->work, &p->lock);
			continue;
		}
		pthread_mutex_unlock(&p->lock);
		op->res = run(op);
		pthread_mutex_lock(&p->lock);
		put(&p->ended, op);
		if (write(p->event_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
			abort(); /* cannot happen: EAGAIN means that the counter is full, and readable */
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static void threads_queue(struct fb_aio *aio, struct fb_aio_op *op)
{
	struct pool *p = aio->priv;

	put(&p->queued, op);
}

static bool threads_submit(struct fb_aio *aio)
{
	struct pool *p = aio->priv;

	if (!p->queued.first)
		return false;
	aio->submits++;
	pthread_mutex_lock(&p->lock);
	*p->todo.last = p->queued.first;
	p->todo.last = p->queued.last;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	p->queued = (struct fifo){NULL, &p->queued.first};
	return false;
}

static unsigned threads_reap(struct fb_aio *aio, unsigned max)
{
	struct pool *p = aio->priv;
	unsigned n = 0;

	while (n < max) {
		struct fb_aio_op *op;

		pthread_mutex_lock(&p->lock);
		op = take(&p->ended);
		if (!p->ended.first) { /* nothing more: not readable any longer */
			uint64_t count;

			if (read(p->event_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
				abort(); /* cannot happen on an eventfd of our own */
		}
		pthread_mutex_unlock(&p->lock);
		if (!op)
			break;
		aio->inflight--;
		n++;
		op->done(op, op->res);
	}
	return n;
}

static void threads_wait(struct fb_aio *aio)
{
	struct pool *p = aio->priv;
	struct pollfd pfd = {p->event_fd, POLLIN, 0};

	while (poll(&pfd, 1, -1) < 0 && errno == EINTR)
		;
}

static void threads_close(struct fb_aio *aio)
{
	struct pool *p = aio->priv;

	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->n_threads; i++)
		pthread_join(p->threads[i], NULL);
	pthread_cond_destroy(&p->work);
	pthread_mutex_destroy(&p->lock);
	close(p->event_fd);
	free(p);
}

static const struct fb_aio_backend threads_backend = {
	.name = "threads",
	.queue = threads_queue,
	.submit = threads_submit,
	.reap = threads_reap,
	.wait = threads_wait,
	.close = threads_close,
};

int fb_aio_threads_open(struct fb_aio *aio)
{
	struct pool *p = calloc(1, sizeof(*p));
	sigset_t all, old;
	int err = 0;

	if (!p)
		return -ENOMEM;
	p->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->event_fd < 0) {
		err = -errno;
		free(p);
		return err;
	}
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	p->todo.last = &p->todo.first;
	p->ended.last = &p->ended.first;
	p->queued.last = &p->queued.first;
	aio->backend = &threads_backend;
	aio->priv = p;
	aio->wake_fd = p->event_fd;
	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (p->n_threads < THREADS && err == 0) {
		err = -pthread_create(&p->threads[p->n_threads], NULL, worker, p);
		if (!err)
			p->n_threads++;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err) {
		threads_close(aio);
		*aio = (struct fb_aio){.wake_fd = -1};
	}
	return err;
}
