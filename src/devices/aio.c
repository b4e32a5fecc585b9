/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aio.h with io_uring.
 *
 * Operations wait in a FIFO until submit(), which turns as many as fit into
 * SQEs and enters the kernel once. So a round of the event loop costs one
 * system call whatever it gathered, and reads that the page cache can answer
 * have their completion on the ring when that call returns. The ring's own
 * descriptor is what the event loop sleeps on: no eventfd write for each
 * completion.
 */
#include "devices/aio.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
	URING_ENTRIES = 256,
	URING_INFLIGHT = 512,
	/* The kernel gathers more than two operations of a submission, and merges neighbours: all of it would end at once. */
	LARGE = 64 << 10,
	LARGE_AT_ONCE = 2,
};

bool fb_aio_goes_on(struct fb_aio_op *op, int *res)
{
	if (*res == -EINTR || *res == -EAGAIN)
		return true;
	if (*res < 0)
		return false;
	if (op->kind == FB_AIO_READ || op->kind == FB_AIO_WRITE) {
		if (*res == 0 && op->len > 0) {
			*res = op->kind == FB_AIO_READ ? -ENODATA : -EIO;
			return false;
		}
		if ((uint32_t)*res < op->len) {
			op->buf = (uint8_t *)op->buf + *res;
			op->len -= (uint32_t)*res;
			op->offset += (uint32_t)*res;
			return true;
		}
	}
	*res = 0;
	return false;
}

struct uring {
	struct io_uring ring;
	struct fb_aio_op *first, **last; /* queued, not yet SQEs */
	unsigned in_kernel;                /* SQEs whose CQE has not been seen */
	uint8_t *arena;                    /* registered buffer 0, or NULL */
	size_t arena_len;
};

static void prepare(struct uring *u, struct io_uring_sqe *sqe, struct fb_aio_op *op)
{
	uint8_t *buf = op->buf;
	bool fixed = u->arena && buf >= u->arena && buf < u->arena + u->arena_len;

	switch (op->kind) {
	case FB_AIO_READ:
		if (fixed)
			io_uring_prep_read_fixed(sqe, op->fd, buf, op->len, op->offset, 0);
		else
			io_uring_prep_read(sqe, op->fd, buf, op->len, op->offset);
		break;
	case FB_AIO_WRITE:
		if (fixed)
			io_uring_prep_write_fixed(sqe, op->fd, buf, op->len, op->offset, 0);
		else
			io_uring_prep_write(sqe, op->fd, buf, op->len, op->offset);
		if (op->dsync)
			sqe->rw_flags = RWF_DSYNC;
		break;
	case FB_AIO_FSYNC:
		io_uring_prep_fsync(sqe, op->fd, IORING_FSYNC_DATASYNC);
		break;
	case FB_AIO_FALLOCATE:
		io_uring_prep_fallocate(sqe, op->fd, op->mode, (off_t)op->offset, (off_t)op->range);
		break;
	}
	io_uring_sqe_set_data(sqe, op);
}

static void uring_queue(struct fb_aio *aio, struct fb_aio_op *op)
{
	struct uring *u = aio->priv;

	op->next = NULL;
	*u->last = op;
	u->last = &op->next;
}

static bool uring_submit(struct fb_aio *aio)
{
	struct uring *u = aio->priv;
	bool more = true;

	while (more) {
		struct io_uring_sqe *sqe;

		while (u->first && u->in_kernel < URING_INFLIGHT && (sqe = io_uring_get_sqe(&u->ring))) {
			struct fb_aio_op *op = u->first;

			u->first = op->next;
			if (!u->first)
				u->last = &u->first;
			prepare(u, sqe, op);
			u->in_kernel++;
			if (op->kind == FB_AIO_READ && op->len >= LARGE &&
			    io_uring_sq_ready(&u->ring) >= LARGE_AT_ONCE)
				break;
		}
		if (!io_uring_sq_ready(&u->ring))
			break;
		aio->submits++;
		/* EAGAIN, EBUSY, EINTR: the SQEs stay in the ring for the next call. */
		more = io_uring_submit(&u->ring) > 0 && u->first && u->in_kernel < URING_INFLIGHT;
	}
	return io_uring_sq_ready(&u->ring) > 0;
}

static unsigned uring_reap(struct fb_aio *aio, unsigned max)
{
	struct uring *u = aio->priv;
	struct io_uring_cqe *cqe;
	unsigned n = 0;

	while (n < max && io_uring_peek_cqe(&u->ring, &cqe) == 0) {
		struct fb_aio_op *op = io_uring_cqe_get_data(cqe);
		int res = cqe->res;

		io_uring_cqe_seen(&u->ring, cqe);
		u->in_kernel--;
		aio->inflight--;
		n++;
		op->done(op, res);
	}
	return n;
}

static void uring_wait(struct fb_aio *aio)
{
	struct uring *u = aio->priv;

	if (u->in_kernel)
		io_uring_submit_and_wait(&u->ring, 1);
}

static void uring_close(struct fb_aio *aio)
{
	struct uring *u = aio->priv;

	io_uring_queue_exit(&u->ring);
	free(u);
}

static const struct fb_aio_backend uring_backend = {
	.name = "io_uring",
	.writes_at_once = true,
	.queue = uring_queue,
	.submit = uring_submit,
	.reap = uring_reap,
	.wait = uring_wait,
	.close = uring_close,
};

static int fb_aio_uring_open(struct fb_aio *aio, void *arena, size_t arena_len, bool pin)
{
	struct uring *u = calloc(1, sizeof(*u));
	struct iovec iov = {arena, arena_len};
	struct io_uring_params params = {.flags = IORING_SETUP_CQSIZE | IORING_SETUP_COOP_TASKRUN,
					 .cq_entries = 2 * URING_INFLIGHT};
	int err;

	if (!u)
		return -ENOMEM;
	err = io_uring_queue_init_params(URING_ENTRIES, &u->ring, &params);
	if (err == -EINVAL) { /* Linux before 5.19 */
		params = (struct io_uring_params){.flags = IORING_SETUP_CQSIZE, .cq_entries = 2 * URING_INFLIGHT};
		err = io_uring_queue_init_params(URING_ENTRIES, &u->ring, &params);
	}
	if (err < 0) {
		free(u);
		return err;
	}
	u->last = &u->first;
	/* Saves pinning pages for each direct I/O; the locked-memory limit may forbid it, then it goes without. */
	if (pin && io_uring_register_buffers(&u->ring, &iov, 1) == 0) {
		u->arena = arena;
		u->arena_len = arena_len;
	}
	aio->backend = &uring_backend;
	aio->priv = u;
	aio->wake_fd = u->ring.ring_fd;
	return 0;
}

int fb_aio_open(struct fb_aio *aio, enum fb_aio_choice choice, void *arena, size_t arena_len, bool pin)
{
	int err = -ENOSYS;

	*aio = (struct fb_aio){.wake_fd = -1};
	if (choice != FB_AIO_THREADS)
		err = fb_aio_uring_open(aio, arena, arena_len, pin);
	if (choice == FB_AIO_THREADS ||
	    (choice == FB_AIO_AUTO && (err == -EPERM || err == -ENOSYS || err == -EACCES)))
		err = fb_aio_threads_open(aio);
	return err;
}

/* ---- Writes made at once ------------------------------------------------------------ */

enum { REST_MS_MIN = 50, RESTS_MAX = 6, GOOD_AGAIN = 10000 };

static uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* How often this thread has waited for something of its own accord: being preempted does not count. */
static long waits(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nvcsw : 0;
}

static void write_at_once(struct fb_aio *aio, struct fb_aio_op *op, uint64_t before)
{
	long waited = waits();
	ssize_t n = pwrite(op->fd, op->buf, op->len, (off_t)op->offset);
	uint64_t after;

	op->res = n < 0 ? -errno : (int)n;
	op->next = NULL;
	if (!aio->ended)
		aio->ended_last = &aio->ended;
	*aio->ended_last = op;
	aio->ended_last = &op->next;
	after = clock_ns();
	if (after - before > FB_AIO_SLOW_NS && waits() != waited) {
		aio->slow++;
		aio->rest_until_ns = after + ((uint64_t)REST_MS_MIN << aio->rests) * 1000000u;
		if (aio->rests < RESTS_MAX)
			aio->rests++;
	} else if (++aio->at_once % GOOD_AGAIN == 0) {
		aio->rests = 0;
	}
}

static unsigned reap_ended(struct fb_aio *aio, unsigned max)
{
	struct fb_aio_op *op;
	unsigned n = 0;

	while (n < max && (op = aio->ended)) {
		aio->ended = op->next;
		aio->inflight--;
		n++;
		op->done(op, op->res);
	}
	return n;
}

/* ---- Every backend ------------------------------------------------------------------ */

void fb_aio_queue(struct fb_aio *aio, struct fb_aio_op *op)
{
	aio->inflight++;
	aio->ops++;
	if (op->kind == FB_AIO_WRITE && op->cached && !op->dsync && aio->backend->writes_at_once) {
		uint64_t now = clock_ns();

		if (now >= aio->rest_until_ns) {
			write_at_once(aio, op, now);
			return;
		}
	}
	aio->backend->queue(aio, op);
}

bool fb_aio_submit(struct fb_aio *aio)
{
	return aio->inflight && aio->backend->submit(aio);
}

unsigned fb_aio_reap(struct fb_aio *aio, unsigned max)
{
	unsigned n;

	if (!aio->inflight)
		return 0;
	n = reap_ended(aio, max);
	return n + (aio->inflight && n < max ? aio->backend->reap(aio, max - n) : 0);
}

void fb_aio_drain(struct fb_aio *aio)
{
	while (aio->inflight) {
		aio->backend->submit(aio);
		if (!fb_aio_reap(aio, UINT32_MAX))
			aio->backend->wait(aio);
	}
}

void fb_aio_close(struct fb_aio *aio)
{
	if (!aio->backend)
		return;
	fb_aio_drain(aio);
	aio->backend->close(aio);
	*aio = (struct fb_aio){.wake_fd = -1};
}
