/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One run-to-completion event loop a worker thread: file descriptors, timers,
 * pollers and end-of-round work. Single-threaded: every call, and every
 * callback, on the thread that runs the loop, except fb_loop_stop().
 *
 * A round: (1) file descriptors that are ready, (2) pollers, (3) timers that
 * are due, (4) the flush list, (5) the list of sends, in that order. Batching
 * falls out of the last two: what a round produced leaves once, at its end:
 * what others on this machine wait for (eventfd kicks, answers, submissions)
 * by (4), and when that has produced all that it will, the frames by (5).
 *
 * Waiting is adaptive: after a round that did work (a file descriptor was
 * ready, or a poller found something) the loop spins (epoll with timeout 0, and
 * the pollers) for as long as work has been seen to let wait for it, poll_us at
 * most, then sleeps in epoll until a file descriptor or the nearest timer. Where
 * work comes at longer intervals it does not spin. poll_us 0 never spins. A poller that can find work without
 * a file descriptor to tell of it must be removed before the loop may sleep.
 *
 * All watch structs are the caller's, embedded in its own (intrusive), must
 * stay in place while armed, and may be removed from inside any callback.
 * Times are CLOCK_MONOTONIC nanoseconds.
 */
#ifndef FARBUS_UTIL_LOOP_H
#define FARBUS_UTIL_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FB_NEVER UINT64_MAX

struct fb_loop;

struct fb_fd {
	/* `events` are EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP. */
	void (*ready)(struct fb_fd *w, uint32_t events);
	struct fb_loop *loop; /* NULL while not armed */
	int fd;
	uint32_t events; /* what it is armed for */
};

struct fb_timer {
	void (*due)(struct fb_timer *t);
	struct fb_loop *loop;
	uint64_t deadline_ns;
	unsigned heap_index; /* 0: not armed */
};

/* Called every round, also while spinning. Returns true if it found work. */
struct fb_poller {
	bool (*poll)(struct fb_poller *p);
	struct fb_poller *next, **link;
};

/* Called once at the end of the round in which it was scheduled. */
struct fb_flush {
	void (*flush)(struct fb_flush *f);
	bool last; /* after all that are not, theirs of this round included */
	struct fb_flush *next, **link;
	struct fb_loop *loop; /* NULL while not scheduled */
};

struct fb_loop_stats {
	uint64_t rounds, busy_rounds, sleeps, spins;
};

int fb_loop_new(struct fb_loop **out, uint32_t poll_us); /* 0 or -errno */
void fb_loop_free(struct fb_loop *loop);

/* Runs until fb_loop_stop(). Returns 0 or -errno of epoll. */
int fb_loop_run(struct fb_loop *loop);
/* One round, waiting at most until `deadline_ns` (0: do not wait). For tests and embedders. */
int fb_loop_once(struct fb_loop *loop, uint64_t deadline_ns);
/*
 * For embedders with a loop of their own: a descriptor that is readable when a
 * watched one is ready, and when at the latest fb_loop_once() is wanted (0: now).
 */
int fb_loop_fd(const struct fb_loop *loop);
uint64_t fb_loop_deadline(const struct fb_loop *loop);
/* The only call allowed from another thread or a signal handler. */
void fb_loop_stop(struct fb_loop *loop);

/* The clock. fb_loop_now() is read once a round and is what timers compare with. */
uint64_t fb_clock_ns(void);
uint64_t fb_loop_now(const struct fb_loop *loop);
const struct fb_loop_stats *fb_loop_stats(const struct fb_loop *loop);

/* `w` must not be armed. Remove before closing the descriptor. */
int fb_fd_add(struct fb_loop *loop, struct fb_fd *w, int fd, uint32_t events); /* 0 or -errno */
int fb_fd_modify(struct fb_fd *w, uint32_t events);
void fb_fd_del(struct fb_fd *w); /* does not close fd; a no-op when not armed */

int fb_timer_set(struct fb_loop *loop, struct fb_timer *t, uint64_t deadline_ns); /* re-arms; 0 or -ENOMEM */
void fb_timer_cancel(struct fb_timer *t);

void fb_poller_add(struct fb_loop *loop, struct fb_poller *p);
void fb_poller_del(struct fb_poller *p);

/*
 * Idempotent within a round. A flush may schedule others; they run in the same
 * round (up to a bound of chained ones: the rest runs in the next, at once).
 */
void fb_flush_schedule(struct fb_loop *loop, struct fb_flush *f);
void fb_flush_cancel(struct fb_flush *f);

#ifdef __cplusplus
}
#endif
#endif
