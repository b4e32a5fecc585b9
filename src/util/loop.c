/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Everything the loop calls may remove or free any watch, its own included, so
 * no pointer is held over a call that a removal could not reach:
 *  - epoll gives events in batches; fb_fd_del() wipes those of its watch that
 *    are still to come;
 *  - timers leave the heap, and flushes their list, before they are called;
 *  - the walk over the pollers keeps its place with a node of its own in their
 *    list, which removals on either side of it update like any other neighbour.
 * Timers that are set, and flushes that are scheduled, by others of their kind
 * again and again cannot hold a round up, nor keep the sends from their turn in
 * it: all these steps are bounded, and what is left makes the next round one that
 * does not wait.
 *
 * How long to spin is learnt from how long work let wait for it, whether the
 * wait was slept or spun through: work that came within poll_ns but after the
 * spin was over lets it grow, work that came later than poll_ns halves it, down
 * to nothing. So a loop whose work comes in quick succession spins, and one
 * whose work comes at long intervals does not burn poll_ns for each piece of
 * it: on a machine whose cores are busy, that time is taken from those who
 * would bring the work.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "util/loop.h"

enum { EVENTS = 64, FLUSH_PASSES = 16, TIMER_SLACK_NS = 1000, SPIN_MIN_NS = 5000 };

struct fb_loop {
	int epoll_fd, stop_fd;
	atomic_bool stop;
	bool no_pwait2; /* kernel before 5.11: milliseconds have to do */

	uint64_t now;
	uint64_t poll_ns, spin_ns; /* the most to spin, and what it is now */
	uint64_t idle_since;       /* end of the last round with work */

	struct epoll_event events[EVENTS];
	unsigned n_events, next_event;

	struct fb_timer **heap; /* heap[1] is the nearest */
	unsigned n_timers, heap_cap;

	struct fb_poller *pollers;
	struct fb_flush_list {
		struct fb_flush *first, **tail;
	} flushes, sends; /* sends: those with `last` */

	struct fb_loop_stats stats;
};

uint64_t fb_clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

uint64_t fb_loop_now(const struct fb_loop *loop)
{
	return loop->now;
}

const struct fb_loop_stats *fb_loop_stats(const struct fb_loop *loop)
{
	return &loop->stats;
}

int fb_loop_new(struct fb_loop **out, uint32_t poll_us)
{
	struct fb_loop *loop = calloc(1, sizeof(*loop));
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = loop};
	int err;

	if (!loop)
		return -ENOMEM;
	loop->poll_ns = (uint64_t)poll_us * 1000;
	loop->flushes.tail = &loop->flushes.first;
	loop->sends.tail = &loop->sends.first;
	loop->now = fb_clock_ns();
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0)
		goto free_loop;
	loop->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->stop_fd < 0)
		goto close_epoll;
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->stop_fd, &ev) < 0)
		goto close_stop;
	*out = loop;
	return 0;

close_stop:
	err = errno;
	close(loop->stop_fd);
	errno = err;
close_epoll:
	err = errno;
	close(loop->epoll_fd);
	errno = err;
free_loop:
	err = -errno;
	free(loop);
	return err;
}

void fb_loop_free(struct fb_loop *loop)
{
	if (!loop)
		return;
	close(loop->stop_fd);
	close(loop->epoll_fd);
	free(loop->heap);
	free(loop);
}

void fb_loop_stop(struct fb_loop *loop)
{
	uint64_t one = 1;
	int saved = errno; /* a signal handler must leave it alone */

	atomic_store(&loop->stop, true);
	if (write(loop->stop_fd, &one, sizeof(one)) < 0) {
		/* Full: it is readable already, which is all that is wanted. */
	}
	errno = saved;
}

/* File descriptors */

int fb_fd_add(struct fb_loop *loop, struct fb_fd *w, int fd, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = w};

	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return -errno;
	w->loop = loop;
	w->fd = fd;
	w->events = events;
	return 0;
}

int fb_fd_modify(struct fb_fd *w, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = w};

	if (!w->loop)
		return -EBADF;
	if (events == w->events)
		return 0;
	if (epoll_ctl(w->loop->epoll_fd, EPOLL_CTL_MOD, w->fd, &ev) < 0)
		return -errno;
	w->events = events;
	return 0;
}

void fb_fd_del(struct fb_fd *w)
{
	struct fb_loop *loop = w->loop;
	struct epoll_event unused = {0};

	if (!loop)
		return;
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, w->fd, &unused);
	for (unsigned i = loop->next_event; i < loop->n_events; i++) {
		if (loop->events[i].data.ptr == w)
			loop->events[i].data.ptr = NULL;
	}
	w->loop = NULL;
}

/* Timers: a binary heap whose entries know their place */

static void heap_put(struct fb_loop *loop, unsigned i, struct fb_timer *t)
{
	loop->heap[i] = t;
	t->heap_index = i;
}

static void sift_up(struct fb_loop *loop, unsigned i, struct fb_timer *t)
{
	for (; i > 1 && t->deadline_ns < loop->heap[i / 2]->deadline_ns; i /= 2)
		heap_put(loop, i, loop->heap[i / 2]);
	heap_put(loop, i, t);
}

static void sift_down(struct fb_loop *loop, unsigned i, struct fb_timer *t)
{
	for (unsigned child; (child = 2 * i) <= loop->n_timers; i = child) {
		if (child < loop->n_timers && loop->heap[child + 1]->deadline_ns < loop->heap[child]->deadline_ns)
			child++;
		if (t->deadline_ns <= loop->heap[child]->deadline_ns)
			break;
		heap_put(loop, i, loop->heap[child]);
	}
	heap_put(loop, i, t);
}

static void place(struct fb_loop *loop, unsigned i, struct fb_timer *t)
{
	if (i > 1 && t->deadline_ns < loop->heap[i / 2]->deadline_ns)
		sift_up(loop, i, t);
	else
		sift_down(loop, i, t);
}

int fb_timer_set(struct fb_loop *loop, struct fb_timer *t, uint64_t deadline_ns)
{
	if (deadline_ns == FB_NEVER) {
		fb_timer_cancel(t);
		return 0;
	}
	if (t->heap_index) {
		if (t->deadline_ns != deadline_ns) {
			t->deadline_ns = deadline_ns;
			place(loop, t->heap_index, t);
		}
		return 0;
	}
	if (loop->n_timers + 1 >= loop->heap_cap) {
		unsigned cap = loop->heap_cap ? loop->heap_cap * 2 : 64;
		struct fb_timer **heap = realloc(loop->heap, cap * sizeof(*heap));

		if (!heap)
			return -ENOMEM;
		loop->heap = heap;
		loop->heap_cap = cap;
	}
	t->loop = loop;
	t->deadline_ns = deadline_ns;
	sift_up(loop, ++loop->n_timers, t);
	return 0;
}

void fb_timer_cancel(struct fb_timer *t)
{
	struct fb_loop *loop = t->loop;
	unsigned i = t->heap_index;
	struct fb_timer *last;

	if (!i)
		return;
	last = loop->heap[loop->n_timers--];
	if (last != t)
		place(loop, i, last);
	t->heap_index = 0;
}

static void run_timers(struct fb_loop *loop)
{
	for (unsigned left = loop->n_timers; left > 0 && loop->n_timers > 0; left--) {
		struct fb_timer *t = loop->heap[1];

		if (t->deadline_ns > loop->now)
			break;
		fb_timer_cancel(t);
		t->due(t);
	}
}

/* Pollers */

void fb_poller_add(struct fb_loop *loop, struct fb_poller *p)
{
	if (p->link)
		return;
	p->next = loop->pollers;
	p->link = &loop->pollers;
	if (p->next)
		p->next->link = &p->next;
	loop->pollers = p;
}

void fb_poller_del(struct fb_poller *p)
{
	if (!p->link)
		return;
	*p->link = p->next;
	if (p->next)
		p->next->link = p->link;
	p->link = NULL;
}

static bool run_pollers(struct fb_loop *loop)
{
	struct fb_poller place_mark = {0}, *p;
	bool found = false;

	for (p = loop->pollers; p; p = place_mark.next) {
		fb_poller_del(&place_mark);
		place_mark.next = p->next;
		place_mark.link = &p->next;
		if (p->next)
			p->next->link = &place_mark.next;
		p->next = &place_mark;
		found |= p->poll(p);
	}
	fb_poller_del(&place_mark);
	return found;
}

/* Flushes */

static struct fb_flush_list *list_of(struct fb_loop *loop, const struct fb_flush *f)
{
	return f->last ? &loop->sends : &loop->flushes;
}

static bool any_flushes(const struct fb_loop *loop)
{
	return loop->flushes.first || loop->sends.first;
}

void fb_flush_schedule(struct fb_loop *loop, struct fb_flush *f)
{
	struct fb_flush_list *list = list_of(loop, f);

	if (f->loop)
		return;
	f->loop = loop;
	f->next = NULL;
	f->link = list->tail;
	*list->tail = f;
	list->tail = &f->next;
}

void fb_flush_cancel(struct fb_flush *f)
{
	if (!f->loop)
		return;
	*f->link = f->next;
	if (f->next)
		f->next->link = f->link;
	else
		list_of(f->loop, f)->tail = f->link;
	f->loop = NULL;
}

/* What was scheduled when it began; a marker at its end says where that is. */
static void run_pass(struct fb_loop *loop, bool last)
{
	struct fb_flush end = {.last = last}, *f;
	struct fb_flush_list *list = list_of(loop, &end);

	fb_flush_schedule(loop, &end);
	while ((f = list->first) != &end) {
		fb_flush_cancel(f);
		f->flush(f);
	}
	fb_flush_cancel(&end);
}

static void run_flushes(struct fb_loop *loop)
{
	for (unsigned pass = 1; any_flushes(loop) && pass <= FLUSH_PASSES; pass++)
		run_pass(loop, !loop->flushes.first || pass == FLUSH_PASSES);
}

/* Rounds */

static int wait_events(struct fb_loop *loop, uint64_t deadline_ns)
{
	uint64_t left = 0; /* of now, not of the last round's beginning */
	int n;

	if (deadline_ns && deadline_ns != FB_NEVER) {
		uint64_t now = fb_clock_ns();

		left = deadline_ns > now ? deadline_ns - now : 0;
	}
	if (!deadline_ns || deadline_ns == FB_NEVER || loop->no_pwait2) {
		int ms = -1;

		if (!deadline_ns) {
			ms = 0;
		} else if (deadline_ns != FB_NEVER) {
			left = (left + 999999) / 1000000;
			ms = left > 3600000 ? 3600000 : (int)left;
		}
		n = epoll_wait(loop->epoll_fd, loop->events, EVENTS, ms);
	} else {
		struct timespec t = {.tv_sec = (time_t)(left / 1000000000), .tv_nsec = (long)(left % 1000000000)};

		n = epoll_pwait2(loop->epoll_fd, loop->events, EVENTS, &t, NULL);
		if (n < 0 && errno == ENOSYS) {
			loop->no_pwait2 = true;
			return wait_events(loop, deadline_ns);
		}
	}
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	return n;
}

static bool run_fds(struct fb_loop *loop)
{
	bool work = false;

	while (loop->next_event < loop->n_events) {
		struct epoll_event *ev = &loop->events[loop->next_event++];
		struct fb_fd *w = ev->data.ptr;
		uint32_t events;

		if (!w)
			continue;
		if (ev->data.ptr == loop) {
			uint64_t count;

			if (read(loop->stop_fd, &count, sizeof(count)) < 0) {
				/* Another round drained it. */
			}
			continue;
		}
		events = ev->events & (w->events | EPOLLERR | EPOLLHUP);
		if (events) {
			work = true;
			w->ready(w, events);
		}
	}
	loop->n_events = loop->next_event = 0;
	return work;
}

/* Work came `waited` after that before it. */
static void learn(struct fb_loop *loop, uint64_t waited)
{
	if (waited > loop->poll_ns) {
		loop->spin_ns = loop->spin_ns / 2 < SPIN_MIN_NS ? 0 : loop->spin_ns / 2;
	} else if (waited > loop->spin_ns) {
		loop->spin_ns = 2 * loop->spin_ns < SPIN_MIN_NS ? SPIN_MIN_NS : 2 * loop->spin_ns;
		if (loop->spin_ns > loop->poll_ns)
			loop->spin_ns = loop->poll_ns;
	}
}

int fb_loop_once(struct fb_loop *loop, uint64_t deadline_ns)
{
	uint64_t until = deadline_ns;
	bool spinning = loop->spin_ns && loop->now < loop->idle_since + loop->spin_ns;
	bool work;
	int n;

	if (loop->n_timers && loop->heap[1]->deadline_ns < until)
		until = loop->heap[1]->deadline_ns;
	if (until && (any_flushes(loop) || spinning || until <= loop->now))
		until = 0;
	if (until)
		loop->stats.sleeps++;
	else if (spinning)
		loop->stats.spins++;
	n = wait_events(loop, until);
	if (n < 0)
		return n;
	loop->n_events = (unsigned)n;
	loop->now = fb_clock_ns();
	loop->stats.rounds++;

	work = run_fds(loop);
	work |= run_pollers(loop);
	run_timers(loop);
	run_flushes(loop);
	if (work) {
		loop->stats.busy_rounds++;
		if (loop->poll_ns) {
			learn(loop, loop->now - loop->idle_since);
			loop->idle_since = fb_clock_ns();
		}
	}
	return 0;
}

int fb_loop_fd(const struct fb_loop *loop)
{
	return loop->epoll_fd;
}

uint64_t fb_loop_deadline(const struct fb_loop *loop)
{
	if (any_flushes(loop))
		return 0;
	return loop->n_timers ? loop->heap[1]->deadline_ns : FB_NEVER;
}

int fb_loop_run(struct fb_loop *loop)
{
	int err = 0;

	/* The kernel's default lets timers of sleeping threads be 50 us late, which is a round trip. */
	prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS, 0, 0, 0);
	while (!err && !atomic_load_explicit(&loop->stop, memory_order_relaxed))
		err = fb_loop_once(loop, FB_NEVER);
	atomic_store(&loop->stop, false);
	return err;
}
