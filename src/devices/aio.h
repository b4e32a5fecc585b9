/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asynchronous file operations: io_uring, or a few threads where the system
 * forbids io_uring (seccomp in containers, kernel.io_uring_disabled).
 *
 * One thread queues, submits and reaps; done() is called from fb_aio_reap()
 * only, once for each operation that was queued. Nothing blocks except
 * fb_aio_drain() and fb_aio_close().
 *
 * A backend moves one operation each; tests put one with injected errors in
 * front of the real one.
 *
 * Writes into the page cache: some file systems (ext4) cannot begin them
 * without possibly waiting, so io_uring gives each to a kernel thread, and the
 * wake-up costs more than the copy: 15 us, and milliseconds where the cores are
 * busy. Such writes are made at once, by the caller's thread, as long as they
 * are quick. The first that waits for longer than FB_AIO_SLOW_NS (dirty pages
 * throttled, journal full) sends all further ones to the kernel's threads for a
 * while, which doubles each time from 50 ms to 3.2 s.
 */
#ifndef FARBUS_DEVICES_FB_AIO_H
#define FARBUS_DEVICES_FB_AIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

enum fb_aio_kind {
	FB_AIO_READ,
	FB_AIO_WRITE,
	FB_AIO_FSYNC, /* data only: fdatasync */
	FB_AIO_FALLOCATE,
};

struct fb_aio_op {
	enum fb_aio_kind kind;
	int fd;
	void *buf;         /* READ, WRITE; belongs to the operation until done() */
	uint32_t len;      /* READ, WRITE: bytes */
	uint64_t offset;
	uint64_t range;    /* FALLOCATE: bytes */
	int mode;          /* FALLOCATE: FALLOC_FL_… */
	bool dsync;        /* WRITE: on the medium when done (RWF_DSYNC) */
	bool cached;       /* WRITE: whole pages into the page cache; may be made at once */
	/* res: bytes moved (READ, WRITE; may be short), 0, or -errno. */
	void (*done)(struct fb_aio_op *op, int res);
	struct fb_aio_op *next; /* the backend's */
	int res;                  /* the backend's */
};

/*
 * In done(): true when the operation is not over and is to be queued again as it
 * now stands: it was interrupted, or short (the rest tells why, or moves it).
 * Else *res is 0 or -errno, -ENODATA for a read beyond the end.
 */
bool fb_aio_goes_on(struct fb_aio_op *op, int *res);

struct fb_aio;

#define FB_AIO_SLOW_NS 1000000u

struct fb_aio_backend {
	const char *name;
	bool writes_at_once; /* `cached` ones, see above */
	void (*queue)(struct fb_aio *aio, struct fb_aio_op *op);
	bool (*submit)(struct fb_aio *aio);
	/* Calls done() for what has ended, at most `max`; returns how many. */
	unsigned (*reap)(struct fb_aio *aio, unsigned max);
	void (*wait)(struct fb_aio *aio); /* blocks until reap() would find something */
	void (*close)(struct fb_aio *aio);
};

struct fb_aio {
	const struct fb_aio_backend *backend;
	void *priv;        /* the backend's */
	int wake_fd;       /* readable while there is something to reap */
	unsigned inflight; /* queued and not yet reaped */
	uint64_t ops, submits;
	struct fb_aio_op *ended, **ended_last; /* made at once, not yet reaped */
	uint64_t at_once, slow;                  /* writes made at once; those that waited are in `slow` alone */
	uint64_t rest_until_ns;                  /* none is made at once before */
	unsigned rests;                          /* that followed each other */
};

enum fb_aio_choice { FB_AIO_AUTO, FB_AIO_URING, FB_AIO_THREADS };

/*
 * 0 or -errno of io_uring_setup (choice URING) or of making threads. `arena`
 * of `arena_len` bytes, where all I/O buffers lie, is registered with the
 * kernel when `pin` and the limits allow it.
 */
int fb_aio_open(struct fb_aio *aio, enum fb_aio_choice choice, void *arena, size_t arena_len, bool pin);
int fb_aio_threads_open(struct fb_aio *aio);
void fb_aio_close(struct fb_aio *aio); /* drains first */

/* Queues; nothing need have started before fb_aio_submit(). */
void fb_aio_queue(struct fb_aio *aio, struct fb_aio_op *op);
/* True when operations are left over that the kernel did not take: call again soon. */
bool fb_aio_submit(struct fb_aio *aio);
unsigned fb_aio_reap(struct fb_aio *aio, unsigned max);
/* Blocks until nothing is in flight; what done() queues is waited for too. */
void fb_aio_drain(struct fb_aio *aio);

#endif
