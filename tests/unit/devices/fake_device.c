/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_device.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

struct fake_dma {
	struct fake_dma *next;
	enum { READ, WRITE, IRQ } kind;
	struct fb_dma_seg *segs;
	unsigned n;
	uint8_t *buf;
	bool copied;
	fb_dma_done *done;
	void *arg;
	unsigned vector;
};

static uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* ---- Options --------------------------------------------------------------------- */

static uint64_t number(const char *text)
{
	char *end;
	uint64_t v = strtoull(text, &end, 0);

	switch (*end) {
	case 'K':
		return v << 10;
	case 'M':
		return v << 20;
	case 'G':
		return v << 30;
	default:
		return v;
	}
}

static int set_option(struct fb_device *dev, const struct fb_option *o, const char *text)
{
	char *at = (char *)dev->state + o->offset;
	uint64_t v = 0;

	switch (o->type) {
	case FB_OPT_STRING:
		*(const char **)(void *)at = text;
		return 0;
	case FB_OPT_BOOL:
		*(bool *)(void *)at = !strcmp(text, "on");
		return 0;
	case FB_OPT_CHOICE:
		for (uint32_t i = 0; o->choices[i]; i++) {
			if (!strcmp(o->choices[i], text)) {
				*(uint32_t *)(void *)at = i;
				return 0;
			}
		}
		return -EINVAL;
	default:
		v = number(text);
		if (o->max && (v < o->min || v > o->max))
			return -EINVAL;
		if (o->type == FB_OPT_U32)
			*(uint32_t *)(void *)at = (uint32_t)v;
		else
			*(uint64_t *)(void *)at = v;
		return 0;
	}
}

static int set_options(struct fb_device *dev)
{
	char *cursor = dev->options, *item;

	for (unsigned i = 0; i < dev->model->n_options; i++) {
		const struct fb_option *o = &dev->model->options[i];

		if (o->def && set_option(dev, o, o->def))
			return -EINVAL;
	}
	while ((item = strsep(&cursor, ","))) {
		char *value = strchr(item, '=');
		bool found = false;

		if (value)
			*value++ = 0;
		for (unsigned i = 0; i < dev->model->n_options && !found; i++) {
			const struct fb_option *o = &dev->model->options[i];

			if (!strcmp(o->name, item)) {
				found = true;
				if (set_option(dev, o, value ? value : "on"))
					return -EINVAL;
			}
		}
		if (!found)
			return -EINVAL;
	}
	return 0;
}

int fake_new(struct fb_device **out, const struct fb_model *model, const char *options, uint64_t mem_size)
{
	struct fb_device *dev = calloc(1, sizeof(*dev));
	int err;

	dev->model = model;
	dev->state = calloc(1, model->state_size);
	dev->options = strdup(options);
	dev->mem = calloc(1, mem_size);
	dev->mem_size = mem_size;
	dev->last = &dev->first;
	dev->bme = true;
	dev->irq_mode = FB_IRQ_MSIX;
	snprintf(dev->id, sizeof(dev->id), "test0");
	*out = dev;
	err = set_options(dev);
	if (!err)
		err = model->realize(dev);
	if (err)
		dev->model = NULL;
	return err;
}

void fake_free(struct fb_device *dev)
{
	if (!dev)
		return;
	fake_cancel_dma(dev, -ECANCELED);
	if (dev->model)
		dev->model->unrealize(dev);
	free(dev->state);
	free(dev->options);
	free(dev->mem);
	free(dev);
}

void *fb_device_state(struct fb_device *dev)
{
	return dev->state;
}

const char *fb_device_id(const struct fb_device *dev)
{
	return dev->id;
}

const char *fb_device_name(const struct fb_device *dev)
{
	return dev->id;
}

int fb_device_set_bar_size(struct fb_device *dev, unsigned bar, uint64_t size)
{
	return 0;
}

int fb_device_set_vectors(struct fb_device *dev, uint16_t msi, uint16_t msix)
{
	dev->msi = msi;
	dev->msix = msix;
	return 0;
}

void fb_device_set_serial_number(struct fb_device *dev, uint64_t serial)
{
	dev->serial = serial;
}

void fb_device_idle(struct fb_device *dev)
{
	dev->idle = true;
}

/* ---- DMA ----------------------------------------------------------------------------- */

static struct fake_dma *add(struct fb_device *dev, int kind)
{
	struct fake_dma *d = calloc(1, sizeof(*d));

	d->kind = kind;
	*dev->last = d;
	dev->last = &d->next;
	dev->outstanding++;
	return d;
}

static int start(struct fb_device *dev, int kind, const struct fb_dma_seg *segs, unsigned n, void *buf,
		 fb_dma_done *done, void *arg)
{
	struct fake_dma *d;
	uint64_t len = 0;

	if (!dev->bme)
		return -EPERM;
	if (n == 0)
		return -EINVAL;
	for (unsigned i = 0; i < n; i++) {
		if (segs[i].len == 0)
			return -EINVAL;
		len += segs[i].len;
	}
	if (dev->refuse_dma) {
		dev->refuse_dma--;
		return -ENOMEM;
	}
	if (!done && (kind == READ || len > FB_DMA_INLINE))
		abort(); /* against the API */
	d = add(dev, kind);
	d->segs = malloc(n * sizeof(*segs));
	memcpy(d->segs, segs, n * sizeof(*segs));
	for (unsigned i = 0; i < n && dev->place; i++)
		d->segs[i].addr = dev->place(dev, segs[i].addr, segs[i].len, kind == WRITE);
	d->n = n;
	d->buf = buf;
	if (!done) {
		d->copied = true;
		d->buf = malloc(len);
		memcpy(d->buf, buf, len);
	}
	d->done = done;
	d->arg = arg;
	if (kind == READ) {
		dev->reads++;
		dev->read_bytes += len;
	} else {
		dev->writes++;
		dev->write_bytes += len;
		if (len > dev->max_write)
			dev->max_write = len;
	}
	return 0;
}

int fb_dma_readv(struct fb_device *dev, const struct fb_dma_seg *segs, unsigned n, void *buf, fb_dma_done *done,
		 void *arg)
{
	return start(dev, READ, segs, n, buf, done, arg);
}

int fb_dma_writev(struct fb_device *dev, const struct fb_dma_seg *segs, unsigned n, const void *buf, fb_dma_done *done,
		  void *arg)
{
	return start(dev, WRITE, segs, n, (void *)(uintptr_t)buf, done, arg);
}

static int move(struct fb_device *dev, struct fake_dma *d)
{
	uint8_t *buf = d->buf;

	if (d->kind == READ && dev->fail_reads)
		return dev->fail_reads;
	for (unsigned i = 0; i < d->n; i++) {
		uint64_t addr = d->segs[i].addr, len = d->segs[i].len;

		if (dev->fail_address && addr < dev->fail_at + dev->fail_len && dev->fail_at < addr + len)
			return dev->fail_address;
		if (addr > dev->mem_size || len > dev->mem_size - addr) {
			dev->bad_addresses++;
			if (d->kind == READ)
				return -EFAULT;
		} else if (d->kind == READ) {
			memcpy(buf, dev->mem + addr, len);
		} else {
			memcpy(dev->mem + addr, buf, len);
		}
		buf += len;
	}
	return 0;
}

static void finish(struct fb_device *dev, struct fake_dma *d, int status)
{
	dev->outstanding--;
	if (d->kind == IRQ) {
		if (!status)
			dev->irqs[d->vector]++;
	} else {
		if (!status)
			status = move(dev, d);
		if (d->kind == WRITE && status != -ECANCELED)
			status = 0; /* posted: nobody knows */
		if (d->copied)
			free(d->buf);
	}
	if (d->done)
		d->done(d->arg, status);
	free(d->segs);
	free(d);
}

static struct fake_dma *pick(struct fb_device *dev)
{
	struct fake_dma **at = &dev->first, *d;
	unsigned n = 0;

	if (!dev->first)
		return NULL;
	if (dev->shuffle) { /* a read may be overtaken by anything; nothing overtakes a write */
		unsigned reads = 0, skip;

		for (d = dev->first; d && d->kind == READ; d = d->next)
			reads++;
		dev->shuffle = dev->shuffle * 6364136223846793005u + 1442695040888963407u;
		skip = (unsigned)(dev->shuffle >> 33) % (reads + (d != NULL));
		while (n++ < skip)
			at = &(*at)->next;
	}
	d = *at;
	*at = d->next;
	if (!*at)
		dev->last = at;
	return d;
}

void fake_cancel_dma(struct fb_device *dev, int status)
{
	struct fake_dma *d;

	while (dev->first) {
		d = dev->first;
		dev->first = d->next;
		if (!dev->first)
			dev->last = &dev->first;
		finish(dev, d, status);
	}
}

/* ---- Interrupts ------------------------------------------------------------------------- */

void fb_irq(struct fb_device *dev, unsigned vector)
{
	if (vector >= FAKE_VECTORS)
		abort();
	add(dev, IRQ)->vector = vector;
}

void fb_device_ring_set(struct fb_device *dev, unsigned slot, const struct fb_device_ring *ring)
{
	dev->ring[slot] = ring ? *ring : (struct fb_device_ring){0};
}

bool fb_device_ring_shadow_able(const struct fb_device *dev)
{
	return dev->shadow_able;
}

void fb_device_pointers_set(struct fb_device *dev, unsigned slot, const struct fb_device_pointers *pointers)
{
	dev->pointers[slot] = pointers ? *pointers : (struct fb_device_pointers){0};
}

void fb_device_offer(struct fb_device *dev, const struct fb_device_value *values, unsigned n)
{
	if (n)
		memcpy(dev->offer, values, n * sizeof(*values));
	dev->n_offer = n;
}

bool fake_use(struct fb_device *dev, unsigned i)
{
	struct fb_device_value v = dev->offer[i];

	if (!v.inert) { /* and those in front of it are gone, too */
		memmove(dev->offer, dev->offer + i + 1, (dev->n_offer - i - 1) * sizeof(v));
		dev->n_offer -= i + 1;
	}
	return dev->model->read(dev, v.bar, v.offset, v.size) == v.value && !(v.lowers_intx && dev->intx);
}

void fb_intx_set(struct fb_device *dev, bool asserted)
{
	dev->intx = asserted && dev->irq_mode == FB_IRQ_INTX;
}

enum fb_irq_mode fb_irq_mode(const struct fb_device *dev)
{
	return dev->irq_mode;
}

void fb_device_internal_error(struct fb_device *dev, bool fatal)
{
}

/* ---- Log --------------------------------------------------------------------------------- */

static void keep(struct fb_device *dev, const char *fmt, va_list ap)
{
	size_t at = strlen(dev->errors);

	if (at + 2 < sizeof(dev->errors)) {
		vsnprintf(dev->errors + at, sizeof(dev->errors) - at - 1, fmt, ap);
		strcat(dev->errors, "\n");
	}
}

void fb_device_error(struct fb_device *dev, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	keep(dev, fmt, ap);
	va_end(ap);
}

void fb_device_warn(struct fb_device *dev, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	keep(dev, fmt, ap);
	va_end(ap);
}

void fb_device_info(struct fb_device *dev, const char *fmt, ...)
{
}

void fb_device_debug(struct fb_device *dev, const char *fmt, ...)
{
}

/* ---- Time, files, rounds -------------------------------------------------------------------- */

uint64_t fb_device_now(struct fb_device *dev)
{
	return (dev->clock_stopped ? dev->clock_stopped : clock_ns()) + dev->clock_offset;
}

void fake_stop_clock(struct fb_device *dev)
{
	dev->clock_stopped = clock_ns();
}

void fake_advance(struct fb_device *dev, uint64_t ns)
{
	dev->clock_offset += ns;
}

int fb_device_timer_set(struct fb_device *dev, struct fb_device_timer *timer, uint64_t deadline_ns)
{
	fb_device_timer_cancel(dev, timer);
	if (dev->n_timers == 16)
		abort();
	timer->opaque[0] = (void *)(uintptr_t)deadline_ns;
	dev->timers[dev->n_timers++] = timer;
	return 0;
}

void fb_device_timer_cancel(struct fb_device *dev, struct fb_device_timer *timer)
{
	for (unsigned i = 0; i < dev->n_timers; i++) {
		if (dev->timers[i] == timer)
			dev->timers[i--] = dev->timers[--dev->n_timers];
	}
}

int fb_device_fd_add(struct fb_device *dev, struct fb_device_fd *watch, int fd, uint32_t epoll_events)
{
	if (dev->n_fds == 4)
		abort();
	dev->fds[dev->n_fds].watch = watch;
	dev->fds[dev->n_fds].events = (short)epoll_events; /* EPOLLIN and EPOLLOUT have poll's values */
	dev->fds[dev->n_fds++].fd = fd;
	return 0;
}

void fb_device_fd_del(struct fb_device *dev, struct fb_device_fd *watch)
{
	for (unsigned i = 0; i < dev->n_fds; i++) {
		if (dev->fds[i].watch == watch)
			dev->fds[i--] = dev->fds[--dev->n_fds];
	}
}

void fb_device_batch_schedule(struct fb_device *dev, struct fb_device_batch *batch)
{
	for (unsigned i = 0; i < dev->n_batches; i++) {
		if (dev->batches[i] == batch)
			return;
	}
	if (dev->n_batches == 16)
		abort();
	dev->batches[dev->n_batches++] = batch;
}

void fb_device_poller_add(struct fb_device *dev, struct fb_device_poller *poller)
{
	if (dev->n_pollers == 4)
		abort();
	dev->pollers[dev->n_pollers++] = poller;
}

void fb_device_poller_del(struct fb_device *dev, struct fb_device_poller *poller)
{
	for (unsigned i = 0; i < dev->n_pollers; i++) {
		if (dev->pollers[i] == poller)
			dev->pollers[i--] = dev->pollers[--dev->n_pollers];
	}
}

static uint32_t ready(int fd, short events)
{
	struct pollfd p = {fd, events, 0};

	return poll(&p, 1, 0) > 0 ? (uint32_t)p.revents : 0;
}

bool fake_round(struct fb_device *dev)
{
	struct fb_device_batch *batches[16];
	bool did = false;
	unsigned n;

	/* What is there now; what its callbacks start waits for the next round. */
	for (n = dev->hold ? 0 : dev->outstanding; n > 0; n--) {
		struct fake_dma *d = pick(dev);

		if (!d)
			break;
		finish(dev, d, 0);
		did = true;
	}
	for (unsigned i = 0; i < dev->n_fds; i++) {
		uint32_t events = ready(dev->fds[i].fd, dev->fds[i].events);

		if (events) {
			dev->fds[i].watch->ready(dev, dev->fds[i].watch, events);
			did = true;
		}
	}
	for (unsigned i = 0; i < dev->n_pollers; i++)
		did |= dev->pollers[i]->poll(dev, dev->pollers[i]);
	for (unsigned i = 0; i < dev->n_timers; i++) {
		struct fb_device_timer *t = dev->timers[i];

		if ((uintptr_t)t->opaque[0] <= fb_device_now(dev)) {
			dev->timers[i--] = dev->timers[--dev->n_timers];
			t->due(dev, t);
			did = true;
		}
	}
	n = dev->n_batches;
	memcpy(batches, dev->batches, sizeof(batches));
	dev->n_batches = 0;
	for (unsigned i = 0; i < n; i++) {
		batches[i]->run(dev, batches[i]);
		did = true;
	}
	return did;
}

static void nap(struct fb_device *dev, int ms)
{
	struct pollfd p[4];

	for (unsigned i = 0; i < dev->n_fds; i++)
		p[i] = (struct pollfd){dev->fds[i].fd, dev->fds[i].events, 0};
	poll(p, dev->n_fds, ms);
}

bool fake_until(struct fb_device *dev, bool (*cond)(void *arg), void *arg)
{
	uint64_t end = clock_ns() + 10000000000u;

	while (!cond(arg)) {
		if (clock_ns() > end)
			return false;
		if (!fake_round(dev))
			nap(dev, 1);
	}
	return true;
}

void fake_settle(struct fb_device *dev)
{
	unsigned quiet = 0;

	while (quiet < 5) {
		if (fake_round(dev) || (dev->busy && dev->busy(dev))) {
			quiet = 0;
		} else {
			quiet++;
			nap(dev, 1);
		}
	}
}

void fake_reset(struct fb_device *dev, enum fb_reset kind)
{
	fake_cancel_dma(dev, -ECANCELED);
	dev->n_timers = 0;
	dev->intx = false;
	dev->n_offer = 0;
	dev->model->reset(dev, kind);
}
