/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tap.c, capture.c and writer.c share.
 *
 * Theory of operation
 *
 * On the loop's thread a TLP that the filter takes becomes a finished pcapng
 * block in the capture's ring (ring.h), or is counted as dropped when there is
 * no room. The thread of the capture (writer.c) writes what waits, in pieces of
 * whole blocks, so that it can begin another file between two of them.
 *
 * Wake-ups: the thread looks by itself ten times a second, so that a reader at
 * the other end of a pipe sees TLPs soon, and is woken when a quarter of the
 * ring waits. So there is no system call a TLP.
 *
 * End: `stop` asks the thread to write the rest; it then sets `done` and tells
 * the loop, which joins it. A file that does not take the rest within two
 * seconds (a pipe whose reader stands still) loses it; a disk that hangs for
 * longer holds up nobody but that thread.
 */
#ifndef FARBUS_CAPTURE_IMPL_H
#define FARBUS_CAPTURE_IMPL_H

#include <pthread.h>

#include "capture/capture.h"
#include "capture/pcapng.h"
#include "capture/ring.h"
#include "util/loop.h"

enum { FB_CAPTURE_LOOK_MS = 100 };
#define FB_CAPTURE_GRACE_NS 2000000000ull

/* What the thread works with; freed by whoever of the two is last. */
struct fb_capture_writer {
	struct fb_capture_ring ring;
	int fds[FB_CAPTURE_FILES_MAX];
	unsigned n_fds, current;
	uint64_t file_size, file_used; /* file_used: of the current one */
	bool is_file;                  /* the current one can be cut and wound back */
	uint8_t head[PCAPNG_HEAD_MAX];
	size_t head_len;
	int wake, told; /* eventfds: to the thread, to the loop */
	int64_t epoch_ns; /* CLOCK_REALTIME less CLOCK_MONOTONIC when it began */
	uint64_t start_ns;

	/* Shared, by atomics. */
	bool stop, done, asleep;
	int refs;
	uint64_t deadline_ns;      /* with stop: give up */
	uint64_t received, dropped;/* by the loop, for the statistics block */

	/* The thread's until done. */
	int err;
	uint64_t bytes, files, packets;
};

struct fb_capture {
	struct fb_tap *tap;
	unsigned slot;
	bool on;        /* takes TLPs */
	bool over;      /* joined, or given up */
	struct fb_filter *filter;
	uint32_t snap;
	uint64_t max_packets, packets, dropped, drop_marked;
	struct fb_timer timer;
	struct fb_fd told;
	pthread_t thread;
	struct fb_capture_writer *w;
	void (*ended)(void *arg, const struct fb_capture_result *result);
	void *arg;
};

/* writer.c */
void *fb_capture_write(void *writer);
void fb_capture_writer_unref(struct fb_capture_writer *w);

/* capture.c */
void fb_capture_put(struct fb_capture *c, struct fb_pcapng_tlp *packet, uint64_t now);
void fb_capture_finish(struct fb_capture *c); /* waits, tells ended() */

#endif
