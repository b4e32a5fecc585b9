/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's eventfds as interrupts of the device. What the guest has
 * switched on is what the server is given eventfds for: MSI-X of the server for
 * the guest's MSI-X and MSI alike, else its MSI, else its INTx.
 *
 * An eventfd tells of something that the server did after all that it had
 * sent: so the sockets are emptied first, up to what they held at that moment
 * (vu_irq_deliver()).
 *
 * INTx is a level that an eventfd cannot carry. As QEMU does, its eventfd
 * asserts the pin and masks it; the guest's next register access is taken for
 * the end of its interrupt handler: the pin goes down, and the server is told
 * to signal again if the cause is still there.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "util/reader.h"
#include "vfio_user.h"
#include "vfio_user_nvme.h"

static void event(struct fb_device *dev, struct fb_device_fd *watch, uint32_t events)
{
	struct vu_vector *x = (struct vu_vector *)((char *)watch - offsetof(struct vu_vector, watch));
	struct vu *v = x->v;
	struct vu_channel *channels[2] = {&v->twin, &v->main};
	uint64_t n;

	(void)dev, (void)events;
	if (read(x->fd, &n, sizeof(n)) != (ssize_t)sizeof(n))
		return;
	if (v->state != VU_UP || v->armed < 0 || v->resetting || x->number >= v->n_armed) {
		v->count.interrupts_lost++;
		return;
	}
	if (!x->pending) {
		x->pending = true;
		v->n_pending++;
	}
	for (unsigned i = 0; i < 2; i++) {
		struct vu_channel *c = channels[i];
		int there = 0;

		if (c->fd < 0)
			continue;
		ioctl(c->fd, FIONREAD, &there);
		c->mark = vfio_user_stream_position(&c->stream) + vfio_user_stream_pending(&c->stream) + (unsigned)there;
	}
	vu_pump(v);
}

int vu_irq_init(struct vu *v)
{
	v->armed = -1;
	v->vectors = calloc(v->n_vectors + 1, sizeof(*v->vectors));
	if (!v->vectors)
		return -ENOMEM;
	for (unsigned i = 0; i < v->n_vectors; i++)
		v->vectors[i].fd = -1;
	for (unsigned i = 0; i < v->n_vectors; i++) {
		struct vu_vector *x = &v->vectors[i];
		int err;

		x->v = v;
		x->number = (uint16_t)i;
		x->watch.ready = event;
		x->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		err = x->fd < 0 ? -errno : fb_device_fd_add(v->dev, &x->watch, x->fd, EPOLLIN);
		if (err) {
			fb_device_error(v->dev, "%u eventfds for interrupts: %s (see the option vectors)", v->n_vectors,
					strerror(-err));
			if (x->fd >= 0)
				close(x->fd);
			x->fd = -1;
			return err;
		}
	}
	return 0;
}

void vu_irq_fini(struct vu *v)
{
	for (unsigned i = 0; v->vectors && i < v->n_vectors; i++) {
		if (v->vectors[i].fd < 0)
			continue;
		fb_device_fd_del(v->dev, &v->vectors[i].watch);
		close(v->vectors[i].fd);
	}
	free(v->vectors);
	v->vectors = NULL;
}

/* ---- Telling the server ------------------------------------------------------------------ */

static bool set_irqs(struct vu *v, uint32_t flags, uint32_t index, uint32_t start, uint32_t count, const int *fds,
		     unsigned n_fds)
{
	uint8_t *p = vu_send(v, VU_SYNC, VFIO_USER_DEVICE_SET_IRQS, VFIO_USER_IRQ_SET_BODY, fds, n_fds, NULL);

	if (!p)
		return false;
	fb_put_le32(p, VFIO_USER_IRQ_SET_BODY);
	fb_put_le32(p + 4, flags);
	fb_put_le32(p + 8, index);
	fb_put_le32(p + 12, start);
	fb_put_le32(p + 16, count);
	return true;
}

static void disarm(struct vu *v)
{
	int index = v->armed;

	v->armed = -1;
	v->n_armed = 0;
	vu_config_irq_enable(v, index, false, 0);
	set_irqs(v, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, (uint32_t)index, 0, 0, NULL, 0);
}

static void arm(struct vu *v, int index)
{
	unsigned n = v->shape.irqs[index] < v->n_vectors ? v->shape.irqs[index] : v->n_vectors;
	unsigned chunk = v->max_fds ? v->max_fds : 1;

	if (n > chunk * (VFIO_USER_STREAM_MARKS / 2))
		n = chunk * (VFIO_USER_STREAM_MARKS / 2);
	for (unsigned start = 0; start < n; start += chunk) {
		int fds[VFIO_USER_STREAM_FDS];
		unsigned count = n - start < chunk ? n - start : chunk;

		for (unsigned i = 0; i < count; i++)
			fds[i] = v->vectors[start + i].fd;
		if (!set_irqs(v, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, (uint32_t)index, start, count, fds,
			      count))
			return;
	}
	v->armed = index;
	v->n_armed = n;
	vu_config_irq_enable(v, index, true, n);
}

static int wanted(const struct vu *v)
{
	const uint32_t *irqs = v->shape.irqs;

	/* An NVMe controller's completions are waited for, whatever the guest does about its own. */
	switch (v->nvme ? FB_IRQ_MSIX : fb_irq_mode(v->dev)) {
	case FB_IRQ_MSIX:
	case FB_IRQ_MSI:
		return irqs[VFIO_IRQ_MSIX] ? VFIO_IRQ_MSIX
		       : irqs[VFIO_IRQ_MSI] ? VFIO_IRQ_MSI
		       : irqs[VFIO_IRQ_INTX] ? VFIO_IRQ_INTX
					     : -1;
	case FB_IRQ_INTX:
		return v->intx ? VFIO_IRQ_INTX : -1;
	default:
		return -1;
	}
}

static void intx_down(struct vu *v)
{
	v->intx_asserted = false;
	fb_intx_set(v->dev, false);
}

void vu_irq_update(struct vu *v)
{
	int want = v->state == VU_UP ? wanted(v) : -1;

	if (want == v->armed)
		return;
	if (v->intx_asserted)
		intx_down(v);
	if (v->armed >= 0)
		disarm(v);
	if (want >= 0)
		arm(v, want);
}

void vu_irq_off(struct vu *v)
{
	if (v->armed >= 0)
		disarm(v);
}

void vu_irq_forget(struct vu *v)
{
	v->armed = -1;
	v->n_armed = 0;
	v->n_pending = 0;
	for (unsigned i = 0; v->vectors && i < v->n_vectors; i++) {
		uint64_t n;

		v->vectors[i].pending = false;
		if (v->vectors[i].fd >= 0 && read(v->vectors[i].fd, &n, sizeof(n)) == (ssize_t)sizeof(n))
			v->count.interrupts_lost++;
	}
	v->intx_asserted = false;
}

/* ---- And the guest ----------------------------------------------------------------------------- */

static bool passed(const struct vu_channel *c)
{
	return c->fd < 0 || c->dry || vfio_user_stream_position(&c->stream) >= c->mark;
}

/* Whichever it was, all queues are looked at. */
static void deliver_nvme(struct vu *v)
{
	for (unsigned i = 0; i < v->n_armed; i++)
		v->vectors[i].pending = false;
	v->count.interrupts += v->n_pending;
	v->n_pending = 0;
	vn_poll(v->nvme);
	if (v->armed == VFIO_IRQ_INTX)
		set_irqs(v, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK, VFIO_IRQ_INTX, 0, 1, NULL, 0);
}

void vu_irq_deliver(struct vu *v)
{
	if (!v->n_pending || !passed(&v->main) || !passed(&v->twin))
		return;
	if (v->nvme) {
		deliver_nvme(v);
		return;
	}
	vu_mirror_push(v);
	for (unsigned i = 0; i < v->n_armed && v->n_pending; i++) {
		if (!v->vectors[i].pending)
			continue;
		v->vectors[i].pending = false;
		v->n_pending--;
		v->count.interrupts++;
		if (v->armed == VFIO_IRQ_INTX) {
			v->intx_asserted = true;
			if (fb_irq_mode(v->dev) == FB_IRQ_INTX) {
				fb_intx_set(v->dev, true);
				continue;
			}
		}
		fb_irq(v->dev, i);
	}
}

void vu_irq_eoi(struct vu *v)
{
	if (!v->intx_asserted)
		return;
	intx_down(v);
	set_irqs(v, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK, VFIO_IRQ_INTX, 0, 1, NULL, 0);
}
