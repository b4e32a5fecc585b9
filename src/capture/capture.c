/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "capture/impl.h"
#include "util/log.h"

static void kick(int eventfd_)
{
	const uint64_t one = 1;

	if (write(eventfd_, &one, sizeof(one)) < 0)
		return; /* it is at its limit: whoever reads it is awake */
}

void fb_capture_put(struct fb_capture *c, struct fb_pcapng_tlp *packet, uint64_t now)
{
	struct fb_capture_writer *w = c->w;
	uint8_t *room = fb_capture_ring_reserve(&w->ring, PCAPNG_EPB_MAX);
	size_t len, waits;

	__atomic_store_n(&w->received, c->packets + c->dropped + 1, __ATOMIC_RELAXED);
	if (!room) {
		c->dropped++;
		c->tap->stats.dropped++;
		__atomic_store_n(&w->dropped, c->dropped, __ATOMIC_RELAXED);
		return;
	}
	packet->snap = c->snap;
	packet->time_ns = now + (uint64_t)w->epoch_ns;
	packet->dropped = c->dropped - c->drop_marked;
	c->drop_marked = c->dropped;
	len = fb_pcapng_put_tlp(room, packet);
	waits = fb_capture_ring_commit(&w->ring, len);
	c->packets++;
	c->tap->stats.tlps++;
	c->tap->stats.bytes += len;
	if (waits >= w->ring.size / 4 && __atomic_load_n(&w->asleep, __ATOMIC_RELAXED)) {
		__atomic_store_n(&w->asleep, false, __ATOMIC_RELAXED);
		kick(w->wake);
	}
	if (c->max_packets && c->packets == c->max_packets)
		fb_capture_stop(c);
}

void fb_capture_stop(struct fb_capture *c)
{
	if (!c->on)
		return;
	c->on = false;
	c->tap->n_on--;
	fb_timer_cancel(&c->timer);
	c->w->deadline_ns = fb_clock_ns() + FB_CAPTURE_GRACE_NS;
	__atomic_store_n(&c->w->stop, true, __ATOMIC_RELEASE);
	kick(c->w->wake);
}

/* The thread is done, or is not waited for any longer. */
static void conclude(struct fb_capture *c)
{
	struct fb_capture_writer *w = c->w;
	bool done = __atomic_load_n(&w->done, __ATOMIC_ACQUIRE);
	struct fb_capture_result r = {.err = -ETIMEDOUT, .dropped = c->dropped};

	if (c->over)
		return;
	c->over = true;
	fb_capture_stop(c); /* where the thread ended first */
	fb_fd_del(&c->told);
	if (done) {
		pthread_join(c->thread, NULL);
		r.err = w->err;
		r.packets = w->packets;
		r.dropped += c->packets - w->packets; /* taken, but never written */
		r.bytes = w->bytes;
		r.files = w->files;
	} else {
		pthread_detach(c->thread);
	}
	c->tap->captures[c->slot] = NULL;
	if (c->ended)
		c->ended(c->arg, &r);
}

static void thread_told(struct fb_fd *f, uint32_t events)
{
	conclude((struct fb_capture *)((char *)f - offsetof(struct fb_capture, told)));
}

static void time_over(struct fb_timer *t)
{
	fb_capture_stop((struct fb_capture *)((char *)t - offsetof(struct fb_capture, timer)));
}

static void wait_for_thread(struct fb_capture *c)
{
	uint64_t deadline = fb_clock_ns() + FB_CAPTURE_GRACE_NS;
	struct timespec pause = {0, 1000000};

	while (!c->over && !__atomic_load_n(&c->w->done, __ATOMIC_ACQUIRE) && fb_clock_ns() < deadline)
		nanosleep(&pause, NULL);
}

void fb_capture_finish(struct fb_capture *c)
{
	fb_capture_stop(c);
	wait_for_thread(c);
	conclude(c);
}

void fb_capture_free(struct fb_capture *c)
{
	if (!c)
		return;
	c->ended = NULL;
	if (!c->over)
		fb_capture_finish(c);
	fb_filter_free(c->filter);
	fb_capture_writer_unref(c->w);
	free(c);
}

/* Files and what else the thread needs. */
static int new_writer(struct fb_capture_writer **out, const struct fb_capture_config *config)
{
	struct fb_capture_writer *w = aligned_alloc(64, (sizeof(*w) + 63) & ~(size_t)63);
	struct timespec real;
	char description[256];
	int err;

	if (!w)
		return -ENOMEM;
	memset(w, 0, sizeof(*w));
	w->refs = 1;
	w->told = -1;
	w->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->wake >= 0)
		w->told = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->told < 0)
		goto fail;
	for (; w->n_fds < config->n_fds; w->n_fds++) {
		w->fds[w->n_fds] = fcntl(config->fds[w->n_fds], F_DUPFD_CLOEXEC, 3);
		if (w->fds[w->n_fds] < 0)
			goto fail;
	}
	err = fb_capture_ring_init(&w->ring, config->buffer ? config->buffer : FB_CAPTURE_BUFFER_DEFAULT);
	if (err) {
		errno = -err;
		goto fail;
	}
	clock_gettime(CLOCK_REALTIME, &real);
	w->start_ns = (uint64_t)real.tv_sec * 1000000000 + (uint64_t)real.tv_nsec;
	w->epoch_ns = (int64_t)(w->start_ns - fb_clock_ns());
	w->file_size = config->file_size;
	snprintf(description, sizeof(description), "TLPs of its ports%s%s", config->filter_text ? "; filter: " : "",
		 config->filter_text ? config->filter_text : "");
	w->head_len = fb_pcapng_put_head(w->head, config->writer, "tlp", description);
	*out = w;
	return 0;
fail:
	err = -errno;
	fb_capture_writer_unref(w);
	return err;
}

static int start_thread(struct fb_capture *c)
{
	sigset_t all, old;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	__atomic_add_fetch(&c->w->refs, 1, __ATOMIC_RELAXED);
	err = pthread_create(&c->thread, NULL, fb_capture_write, c->w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		fb_capture_writer_unref(c->w);
	else
		pthread_setname_np(c->thread, "farbus-capture");
	return -err;
}

static int check(const struct fb_capture_config *config, const struct fb_tap *tap, unsigned *slot, char *error, size_t cap)
{
	if (!config->n_fds || config->n_fds > FB_CAPTURE_FILES_MAX)
		snprintf(error, cap, "%u files: must be 1 to %d", config->n_fds, FB_CAPTURE_FILES_MAX);
	else if (config->n_fds > 1 && config->file_size < PCAPNG_HEAD_MAX + PCAPNG_EPB_MAX + PCAPNG_ISB_MAX)
		snprintf(error, cap, "several files need a size at which to begin the next one, at least %d bytes",
			 PCAPNG_HEAD_MAX + PCAPNG_EPB_MAX + PCAPNG_ISB_MAX);
	else if (config->snap && config->snap < FB_CAPTURE_SNAP_MIN)
		snprintf(error, cap, "snap length %u: must be at least %d, a TLP's header", config->snap, FB_CAPTURE_SNAP_MIN);
	else if (config->buffer && (config->buffer < FB_CAPTURE_BUFFER_MIN || config->buffer > FB_CAPTURE_BUFFER_MAX))
		snprintf(error, cap, "buffer of %llu bytes: must be %d to %d", (unsigned long long)config->buffer,
			 FB_CAPTURE_BUFFER_MIN, FB_CAPTURE_BUFFER_MAX);
	else {
		for (*slot = 0; *slot < FB_TAP_CAPTURES_MAX && tap->captures[*slot]; ++*slot)
			;
		if (*slot < FB_TAP_CAPTURES_MAX)
			return 0;
		snprintf(error, cap, "%d captures run already, that is the most", FB_TAP_CAPTURES_MAX);
		return -EBUSY;
	}
	return -EINVAL;
}

int fb_capture_start(struct fb_capture **out, struct fb_tap *tap, const struct fb_capture_config *config, char *error,
		     size_t cap)
{
	struct fb_capture *c;
	unsigned slot;
	int err = check(config, tap, &slot, error, cap);

	if (err)
		return err;
	c = calloc(1, sizeof(*c));
	if (!c)
		goto no_memory;
	c->tap = tap;
	c->slot = slot;
	c->snap = config->snap;
	c->max_packets = config->max_packets;
	c->ended = config->ended;
	c->arg = config->arg;
	c->told.ready = thread_told;
	c->timer.due = time_over;
	if (config->filter_text) {
		err = fb_filter_parse(&c->filter, config->filter_text, error, cap);
		if (err)
			goto free_capture;
	}
	err = new_writer(&c->w, config);
	if (err)
		goto say;
	err = fb_fd_add(tap->loop, &c->told, c->w->told, EPOLLIN);
	if (err)
		goto free_writer;
	if (config->max_ns && fb_timer_set(tap->loop, &c->timer, fb_loop_now(tap->loop) + config->max_ns)) {
		err = -ENOMEM;
		goto del_fd;
	}
	err = start_thread(c);
	if (err)
		goto cancel_timer;
	c->on = true;
	tap->captures[slot] = c;
	tap->n_on++;
	tap->stats.started++;
	*out = c;
	return 0;

cancel_timer:
	fb_timer_cancel(&c->timer);
del_fd:
	fb_fd_del(&c->told);
free_writer:
	fb_capture_writer_unref(c->w);
say:
	snprintf(error, cap, "cannot capture: %s", strerror(-err));
free_capture:
	fb_filter_free(c->filter);
	free(c);
	return err;
no_memory:
	snprintf(error, cap, "%s", strerror(ENOMEM));
	return -ENOMEM;
}
