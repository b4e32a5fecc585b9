/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "util/loop.h"

#define MS 1000000ull

static struct fb_loop *new_loop(uint32_t poll_us)
{
	struct fb_loop *loop;

	assert_int_equal(fb_loop_new(&loop, poll_us), 0);
	return loop;
}

/* Timers */

struct my_timer {
	struct fb_timer timer;
	uint64_t *last;
	unsigned *fired;
};

static void timer_due(struct fb_timer *t)
{
	struct my_timer *m = (struct my_timer *)t;

	assert_true(t->deadline_ns >= *m->last);
	assert_int_equal(t->heap_index, 0);
	*m->last = t->deadline_ns;
	(*m->fired)++;
}

static void test_timer_order(void **state)
{
	enum { N = 1000 };
	struct fb_loop *loop = new_loop(0);
	struct my_timer *timers = calloc(N, sizeof(*timers));
	uint64_t last = 0, start = fb_clock_ns();
	unsigned fired = 0, armed = 0;

	srand(7);
	for (unsigned i = 0; i < N; i++) {
		timers[i] = (struct my_timer){.timer.due = timer_due, .last = &last, .fired = &fired};
		assert_int_equal(fb_timer_set(loop, &timers[i].timer, start + (uint64_t)rand() % (5 * MS)), 0);
	}
	/* Move a third, cancel a third: the heap must stay a heap. */
	for (unsigned i = 0; i < N; i += 3)
		assert_int_equal(fb_timer_set(loop, &timers[i].timer, start + (uint64_t)rand() % (5 * MS)), 0);
	for (unsigned i = 1; i < N; i += 3)
		fb_timer_cancel(&timers[i].timer);
	for (unsigned i = 0; i < N; i++)
		armed += timers[i].timer.heap_index != 0;
	while (fired < armed) {
		assert_int_equal(fb_loop_once(loop, FB_NEVER), 0);
		assert_true(fb_clock_ns() < start + 5000 * MS);
	}
	assert_true(fb_clock_ns() >= last);
	fb_loop_free(loop);
	free(timers);
}

struct again {
	struct fb_timer timer, *other;
	unsigned fired;
};

static void rearm_past(struct fb_timer *t)
{
	struct again *a = (struct again *)t;

	a->fired++;
	fb_timer_set(t->loop, t, 1);
}

static void cancel_other(struct fb_timer *t)
{
	struct again *a = (struct again *)t;

	a->fired++;
	fb_timer_cancel(a->other);
}

static void test_timer_callbacks(void **state)
{
	struct fb_loop *loop = new_loop(0);
	struct again a = {.timer.due = rearm_past}, b = {.timer.due = cancel_other}, c = {.timer.due = cancel_other};

	/* A timer that is always due does not hold the round. */
	fb_timer_set(loop, &a.timer, 1);
	assert_int_equal(fb_loop_once(loop, FB_NEVER), 0);
	assert_int_equal(a.fired, 1);
	assert_int_equal(fb_loop_once(loop, FB_NEVER), 0);
	assert_int_equal(a.fired, 2);
	fb_timer_cancel(&a.timer);
	/* Two due ones that cancel each other: one fires. */
	b.other = &c.timer;
	c.other = &b.timer;
	fb_timer_set(loop, &b.timer, 1);
	fb_timer_set(loop, &c.timer, 1);
	assert_int_equal(fb_loop_once(loop, 0), 0);
	assert_int_equal(fb_loop_once(loop, 0), 0);
	assert_int_equal(b.fired + c.fired, 1);
	/* FB_NEVER disarms. */
	fb_timer_set(loop, &b.timer, 1);
	fb_timer_set(loop, &b.timer, FB_NEVER);
	assert_int_equal(b.timer.heap_index, 0);
	fb_loop_free(loop);
}

/* File descriptors */

struct my_fd {
	struct fb_fd w;
	struct my_fd *victim; /* freed by whoever of two is called first */
	unsigned *calls;
};

static void free_both(struct fb_fd *w, uint32_t events)
{
	struct my_fd *m = (struct my_fd *)w;
	struct my_fd *victim = m->victim;

	(*m->calls)++;
	fb_fd_del(&victim->w);
	close(victim->w.fd);
	free(victim);
	fb_fd_del(&m->w);
	close(m->w.fd);
	free(m);
}

static void test_fd_free_in_batch(void **state)
{
	struct fb_loop *loop = new_loop(0);
	struct my_fd *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b));
	unsigned calls = 0;

	*a = (struct my_fd){.w.ready = free_both, .victim = b, .calls = &calls};
	*b = (struct my_fd){.w.ready = free_both, .victim = a, .calls = &calls};
	assert_int_equal(fb_fd_add(loop, &a->w, eventfd(1, 0), EPOLLIN), 0);
	assert_int_equal(fb_fd_add(loop, &b->w, eventfd(1, 0), EPOLLIN), 0);
	assert_int_equal(fb_loop_once(loop, FB_NEVER), 0);
	assert_int_equal(calls, 1);
	assert_int_equal(fb_loop_once(loop, 0), 0);
	assert_int_equal(calls, 1);
	fb_loop_free(loop);
}

static void fd_events(struct fb_fd *w, uint32_t events)
{
	struct my_fd *m = (struct my_fd *)w;

	*m->calls |= events;
}

static void test_fd_modify(void **state)
{
	struct fb_loop *loop = new_loop(0);
	unsigned events = 0;
	struct my_fd m = {.w.ready = fd_events, .calls = &events};
	int fd = eventfd(1, 0);

	assert_int_equal(fb_fd_modify(&m.w, EPOLLIN), -EBADF);
	assert_int_equal(fb_fd_add(loop, &m.w, -1, EPOLLIN), -EBADF);
	assert_null(m.w.loop);
	assert_int_equal(fb_fd_add(loop, &m.w, fd, EPOLLIN), 0);
	assert_int_equal(fb_loop_once(loop, FB_NEVER), 0);
	assert_int_equal(events, EPOLLIN);
	events = 0;
	assert_int_equal(fb_fd_modify(&m.w, EPOLLOUT), 0);
	assert_int_equal(fb_loop_once(loop, FB_NEVER), 0);
	assert_int_equal(events, EPOLLOUT);
	events = 0;
	fb_fd_del(&m.w);
	fb_fd_del(&m.w);
	assert_int_equal(fb_loop_once(loop, 0), 0);
	assert_int_equal(events, 0);
	close(fd);
	fb_loop_free(loop);
}

/* Pollers */

struct my_poller {
	struct fb_poller p;
	struct my_poller *del;
	unsigned calls;
	bool result;
};

static bool my_poll(struct fb_poller *p)
{
	struct my_poller *m = (struct my_poller *)p;

	m->calls++;
	if (m->del)
		fb_poller_del(&m->del->p);
	return m->result;
}

static void test_poller_deletion(void **state)
{
	/* Each of four pollers in turn removes each of the four, itself included. */
	for (unsigned who = 0; who < 4; who++) {
		for (unsigned whom = 0; whom < 4; whom++) {
			struct fb_loop *loop = new_loop(0);
			struct my_poller m[4];
			unsigned calls = 0;

			memset(m, 0, sizeof(m));
			for (unsigned i = 0; i < 4; i++) {
				m[i].p.poll = my_poll;
				fb_poller_add(loop, &m[i].p);
			}
			m[who].del = &m[whom];
			assert_int_equal(fb_loop_once(loop, 0), 0);
			/* Walked from the one added last: a victim that came before its remover was called. */
			for (unsigned i = 0; i < 4; i++)
				calls += m[i].calls;
			assert_int_equal(calls, whom < who ? 3 : 4);
			assert_int_equal(fb_loop_once(loop, 0), 0);
			assert_int_equal(m[whom].calls, whom < who ? 0 : 1);
			fb_loop_free(loop);
		}
	}
}

/* One round with work, `after` the last one. */
static void work_after(struct fb_loop *loop, struct my_poller *m, uint64_t after)
{
	uint64_t start = fb_clock_ns();

	while (fb_clock_ns() - start < after)
		;
	m->result = true;
	assert_int_equal(fb_loop_once(loop, 0), 0);
	m->result = false;
}

/* Rounds until one sleeps. Returns how long that took. */
static uint64_t spun(struct fb_loop *loop)
{
	uint64_t start = fb_clock_ns(), sleeps = fb_loop_stats(loop)->sleeps;

	while (fb_loop_stats(loop)->sleeps == sleeps)
		assert_int_equal(fb_loop_once(loop, fb_clock_ns() + MS), 0);
	return fb_clock_ns() - start;
}

/* Work that comes within poll_us teaches it to spin for as long; work that comes later, to stop. */
static void test_spin(void **state)
{
	struct fb_loop *loop = new_loop(1000000);
	struct my_poller m = {.p.poll = my_poll};
	uint64_t spins;

	/* The bound is far above the waits, so that those of a busy machine, which are longer, count alike. */
	fb_poller_add(loop, &m.p);
	for (unsigned i = 0; i < 16; i++)
		work_after(loop, &m, 15 * MS);
	spins = fb_loop_stats(loop)->spins;
	assert_true(spun(loop) >= 15 * MS);
	assert_true(fb_loop_stats(loop)->spins > spins + 10);
	fb_loop_free(loop);

	loop = new_loop(2000);
	m = (struct my_poller){.p.poll = my_poll};
	fb_poller_add(loop, &m.p);
	for (unsigned i = 0; i < 16; i++)
		work_after(loop, &m, MS);
	for (unsigned i = 0; i < 16; i++)
		work_after(loop, &m, 3 * MS);
	spins = fb_loop_stats(loop)->spins;
	spun(loop);
	assert_int_equal(fb_loop_stats(loop)->spins, spins);
	fb_loop_free(loop);

	/* 0 never spins, however quick the work. */
	loop = new_loop(0);
	m = (struct my_poller){.p.poll = my_poll};
	fb_poller_add(loop, &m.p);
	for (unsigned i = 0; i < 16; i++)
		work_after(loop, &m, 0);
	spun(loop);
	assert_int_equal(fb_loop_stats(loop)->spins, 0);
	fb_loop_free(loop);
}

/* Flushes */

struct my_flush {
	struct fb_flush f;
	struct my_flush *then, *cancel;
	struct fb_loop *loop;
	unsigned calls, *clock, at;
};

static void my_flush(struct fb_flush *f)
{
	struct my_flush *m = (struct my_flush *)f;

	m->calls++;
	m->at = ++*m->clock;
	if (m->then)
		fb_flush_schedule(m->loop, &m->then->f);
	if (m->cancel)
		fb_flush_cancel(&m->cancel->f);
}

static void test_flush(void **state)
{
	struct fb_loop *loop = new_loop(0);
	struct my_flush m[4];
	unsigned clock = 0;

	memset(m, 0, sizeof(m));
	for (unsigned i = 0; i < 4; i++) {
		m[i].f.flush = my_flush;
		m[i].loop = loop;
		m[i].clock = &clock;
	}
	m[0].then = &m[3];   /* runs in the same round */
	m[1].cancel = &m[2]; /* never runs */
	fb_flush_schedule(loop, &m[0].f);
	fb_flush_schedule(loop, &m[0].f);
	fb_flush_schedule(loop, &m[1].f);
	fb_flush_schedule(loop, &m[2].f);
	/* Scheduled work means no waiting. */
	assert_int_equal(fb_loop_once(loop, FB_NEVER), 0);
	assert_int_equal(m[0].calls, 1);
	assert_int_equal(m[1].calls, 1);
	assert_int_equal(m[2].calls, 0);
	assert_int_equal(m[3].calls, 1);
	assert_true(m[0].at < m[1].at && m[1].at < m[3].at);
	/* Cancelling the tail leaves a list that takes more. */
	fb_flush_schedule(loop, &m[1].f);
	fb_flush_schedule(loop, &m[2].f);
	fb_flush_cancel(&m[2].f);
	fb_flush_schedule(loop, &m[3].f);
	m[1].cancel = NULL;
	assert_int_equal(fb_loop_once(loop, FB_NEVER), 0);
	assert_int_equal(m[1].calls, 2);
	assert_int_equal(m[3].calls, 2);
	/* The last ones come when the others have done all that they will, however early they were scheduled. */
	m[2].f.last = true;
	fb_flush_schedule(loop, &m[2].f);
	fb_flush_schedule(loop, &m[0].f); /* and then m[3] */
	assert_int_equal(fb_loop_once(loop, FB_NEVER), 0);
	assert_int_equal(m[2].calls, 1);
	assert_true(m[0].at < m[3].at && m[3].at < m[2].at);
	/* But their turn comes even beside one that schedules itself for ever. */
	m[3].then = &m[3];
	fb_flush_schedule(loop, &m[2].f);
	fb_flush_schedule(loop, &m[3].f);
	assert_int_equal(fb_loop_once(loop, FB_NEVER), 0);
	assert_int_equal(m[2].calls, 2);
	fb_flush_cancel(&m[3].f);
	m[2].f.last = false;
	/* One that schedules itself for ever does not stop the round. */
	m[2].then = &m[2];
	fb_flush_schedule(loop, &m[2].f);
	assert_int_equal(fb_loop_once(loop, FB_NEVER), 0);
	assert_true(m[2].calls > 0);
	assert_int_equal(fb_loop_once(loop, FB_NEVER), 0);
	fb_flush_cancel(&m[2].f);
	fb_loop_free(loop);
}

/* Stopping */

static void *stopper(void *arg)
{
	fb_loop_stop(arg);
	return NULL;
}

static struct fb_loop *signalled;

static void on_usr1(int sig)
{
	fb_loop_stop(signalled);
}

static void test_stop(void **state)
{
	struct fb_loop *loop = new_loop(0);
	struct sigaction sa = {.sa_handler = on_usr1};
	pthread_t thread;

	for (unsigned i = 0; i < 50; i++) {
		assert_int_equal(pthread_create(&thread, NULL, stopper, loop), 0);
		assert_int_equal(fb_loop_run(loop), 0);
		assert_int_equal(pthread_join(thread, NULL), 0);
	}
	signalled = loop;
	sigaction(SIGUSR1, &sa, NULL);
	raise(SIGUSR1); /* a stop before the run counts too */
	assert_int_equal(fb_loop_run(loop), 0);
	fb_loop_free(loop);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_timer_order),
		cmocka_unit_test(test_timer_callbacks),
		cmocka_unit_test(test_fd_free_in_batch),
		cmocka_unit_test(test_fd_modify),
		cmocka_unit_test(test_poller_deletion),
		cmocka_unit_test(test_spin),
		cmocka_unit_test(test_flush),
		cmocka_unit_test(test_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
