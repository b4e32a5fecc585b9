/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The client gives an eventfd for each vector (SET_IRQS). The function is
 * programmed with addresses of the root's own choosing, so an interrupt arrives
 * as a memory write there, after all data that was written before it, and the
 * vector's eventfd is signalled: once a vector and round of the loop, however
 * many interrupts came.
 *
 * QEMU grows MSI-X by disabling the index and giving all vectors anew. So a
 * disable leaves the function as it is while the guest's own enable bit is on,
 * and what comes meanwhile is latched and signalled when the eventfd is back.
 *
 * INTx is a level: signalled when asserted, masked by that, and signalled again
 * if it is still asserted when the client has unmasked it. QEMU unmasks at the
 * guest's first access to a BAR, which is where a handler asks what is up: the
 * access that clears the cause is still to come. Signalling at once would cost
 * the guest a second, empty interrupt each time, so it gets INTX_AGAIN_NS for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "root/function.h"
#include "tlp/regs.h"
#include "util/reader.h"

#define INTX_AGAIN_NS UINT64_C(500000)

static void flush(struct fb_flush *fl);
static void intx_again_due(struct fb_timer *timer);

int fb_irq_alloc(struct fb_root_function *f)
{
	struct fb_irq *irq = &f->irq;
	unsigned n = f->cfg.msi_vectors > f->cfg.msix_vectors ? f->cfg.msi_vectors : f->cfg.msix_vectors;

	fb_irq_free(f);
	irq->intx_fd = irq->err_fd = -1;
	irq->flush.flush = flush;
	irq->intx_again.due = intx_again_due;
	if (n == 0)
		return 0;
	irq->v = calloc(n, sizeof(*irq->v));
	irq->dirty = calloc(n, sizeof(*irq->dirty));
	if (!irq->v || !irq->dirty) {
		fb_irq_free(f);
		return -ENOMEM;
	}
	irq->n = n;
	for (unsigned i = 0; i < n; i++)
		irq->v[i].fd = -1;
	return 0;
}

void fb_irq_free(struct fb_root_function *f)
{
	fb_flush_cancel(&f->irq.flush);
	fb_timer_cancel(&f->irq.intx_again);
	free(f->irq.v);
	free(f->irq.dirty);
	memset(&f->irq, 0, sizeof(f->irq));
	f->irq.intx_fd = f->irq.err_fd = -1;
}

unsigned fb_irq_count(const struct fb_root_function *f, unsigned index)
{
	switch (index) {
	case VFIO_IRQ_INTX:
		return f->cfg.interrupt_pin ? 1 : 0;
	case VFIO_IRQ_MSI:
		return f->cfg.msi_vectors;
	case VFIO_IRQ_MSIX:
		return f->cfg.msix_hidden ? 0 : f->cfg.msix_vectors;
	case VFIO_IRQ_ERR:
		return 1; /* taken, never signalled: QEMU would stop the VM */
	default:
		return 0;
	}
}

/* ---- Signalling ---------------------------------------------------------------- */

static void signal_fd(struct fb_root_function *f, int fd)
{
	uint64_t one = 1;

	/* EAGAIN: the counter is full, so the client has not looked and will see it all the same. */
	if (write(fd, &one, sizeof(one)) == (ssize_t)sizeof(one) || errno == EAGAIN)
		f->count.interrupts_signalled++;
	else
		f->count.interrupts_lost++;
}

static void flush(struct fb_flush *fl)
{
	struct fb_root_function *f = FB_CONTAINER(fl, struct fb_root_function, irq.flush);
	struct fb_irq *irq = &f->irq;

	for (unsigned i = 0; i < irq->n_dirty; i++) {
		struct fb_irq_vector *v = &irq->v[irq->dirty[i]];

		v->dirty = false;
		if (v->fd >= 0)
			signal_fd(f, v->fd);
		else
			v->latched = true;
	}
	irq->n_dirty = 0;
	if (irq->intx_dirty) {
		irq->intx_dirty = false;
		if (irq->intx_fd >= 0)
			signal_fd(f, irq->intx_fd);
	}
}

static void mark(struct fb_root_function *f, unsigned vector)
{
	struct fb_irq *irq = &f->irq;
	struct fb_irq_vector *v = &irq->v[vector];

	if (v->fd < 0 || v->masked) {
		v->latched = true;
		return;
	}
	if (v->dirty)
		return;
	v->dirty = true;
	irq->dirty[irq->n_dirty++] = (uint16_t)vector;
	fb_flush_schedule(f->loop, &irq->flush);
}

static void arrived(struct fb_root_function *f, unsigned vector)
{
	struct fb_irq_vector *v = &f->irq.v[vector];

	f->count.interrupts++;
	if (!fb_dma_writes_in_flight(f)) {
		mark(f, vector);
		return;
	}
	/* Data written before it is still on its way by message. */
	if (v->waits) {
		v->again = true;
		v->again_seq = f->dma.write_seq;
		return;
	}
	f->irq.n_waiting++;
	v->waits = true;
	v->wait_seq = f->dma.write_seq;
}

bool fb_irq_message(struct fb_root_function *f, const struct pcie_tlp *tlp)
{
	const struct fb_irq *irq = &f->irq;
	uint64_t page = tlp->address & ~(uint64_t)0xfff;
	uint32_t data;

	if ((tlp->address >> 20) != 0xfee)
		return false;
	data = tlp->data ? fb_get_le32(tlp->data) : 0;
	if (page == FB_MSI_ADDRESS && irq->wire == FB_ROOT_IRQ_MSI && irq->n) {
		/* 16 bits of data, the low ones of which are the vector (base spec 6.1.4) */
		arrived(f, data & (irq->wire_vectors - 1));
	} else if (page == FB_MSIX_ADDRESS && irq->wire == FB_ROOT_IRQ_MSIX && data < irq->n) {
		arrived(f, data);
	} else {
		f->count.interrupts_lost++;
	}
	return true;
}

static void intx_signal(struct fb_root_function *f)
{
	struct fb_irq *irq = &f->irq;

	if (!irq->intx_level || irq->intx_masked || irq->intx_fd < 0)
		return;
	if (fb_dma_writes_in_flight(f)) {
		irq->intx_waits = true;
		irq->intx_wait_seq = f->dma.write_seq;
		return;
	}
	irq->intx_masked = true;
	irq->intx_dirty = true;
	fb_flush_schedule(f->loop, &irq->flush);
}

static void intx_again_due(struct fb_timer *timer)
{
	intx_signal(FB_CONTAINER(timer, struct fb_root_function, irq.intx_again));
}

static void intx_unmasked(struct fb_root_function *f)
{
	struct fb_irq *irq = &f->irq;

	irq->intx_masked = false;
	if (irq->intx_level && fb_timer_set(f->loop, &irq->intx_again, fb_loop_now(f->loop) + INTX_AGAIN_NS) < 0)
		intx_signal(f);
}

void fb_irq_intx(struct fb_root_function *f, bool level)
{
	fb_timer_cancel(&f->irq.intx_again);
	if (level && !f->irq.intx_level)
		f->count.interrupts++;
	f->irq.intx_level = level;
	intx_signal(f);
}

void fb_irq_writes_done(struct fb_root_function *f)
{
	struct fb_irq *irq = &f->irq;
	uint64_t oldest = f->dma.oldest ? f->dma.oldest->seq : UINT64_MAX;

	for (unsigned i = 0; irq->n_waiting && i < irq->n; i++) {
		struct fb_irq_vector *v = &irq->v[i];

		if (!v->waits || v->wait_seq >= oldest)
			continue;
		v->waits = v->again && v->again_seq >= oldest;
		v->wait_seq = v->again_seq;
		v->again = false;
		irq->n_waiting -= !v->waits;
		mark(f, i);
	}
	if (irq->intx_waits && irq->intx_wait_seq < oldest) {
		irq->intx_waits = false;
		intx_signal(f);
	}
}

/* ---- Programming the function ------------------------------------------------------ */

static void write_entry(struct fb_root_function *f, unsigned vector, bool open)
{
	const struct fb_config *c = &f->cfg;
	uint64_t at = c->bars[c->msix_bar].address + c->msix_table + 16u * vector;
	uint8_t e[16];

	/* 7.7.2.2: whole DWs or QWs only */
	fb_put_le64(e, FB_MSIX_ADDRESS);
	fb_put_le32(e + 8, vector);
	fb_put_le32(e + 12, open ? 0 : 1);
	if (fb_rq_write(&f->rq, at, e, 8) < 0 || fb_rq_write(&f->rq, at + 8, e + 8, 8) < 0)
		f->count.writes_dropped++;
	f->irq.v[vector].unmasked_on_wire = open;
}

static void write_table(struct fb_root_function *f)
{
	struct fb_irq *irq = &f->irq;

	irq->table_stale = !(f->cfg.command & PCI_COMMAND_MEMORY); /* it is in a memory BAR: later, then */
	if (irq->table_stale)
		return;
	for (unsigned i = 0; i < irq->n && i < f->cfg.msix_vectors; i++) {
		bool open = irq->v[i].fd >= 0;

		if (open != irq->v[i].unmasked_on_wire)
			write_entry(f, i, open);
	}
}

static unsigned wire_off(struct fb_root_function *f, struct fb_op *ops)
{
	struct fb_irq *irq = &f->irq;
	unsigned n = 0;

	if (irq->wire == FB_ROOT_IRQ_MSI)
		n = fb_config_msi_ops(&f->cfg, false, 1, 0, 0, ops);
	else if (irq->wire == FB_ROOT_IRQ_MSIX)
		n = fb_config_msix_ops(&f->cfg, false, ops);
	irq->wire = FB_ROOT_IRQ_NONE;
	return n;
}

static bool guest_wants(const struct fb_root_function *f, enum fb_root_irq_mode mode)
{
	return (mode == FB_ROOT_IRQ_MSI && fb_config_guest_msi(&f->cfg)) ||
	       (mode == FB_ROOT_IRQ_MSIX && fb_config_guest_msix(&f->cfg));
}

/* Brings the function in line with the eventfds. Table writes leave at once; returns the config requests to follow. */
static unsigned sync_ops(struct fb_root_function *f, struct fb_op *ops)
{
	struct fb_irq *irq = &f->irq;
	unsigned n = 0, vectors = 1, highest = 0;

	if (irq->with_fd == 0) {
		if (irq->wire == FB_ROOT_IRQ_NONE || guest_wants(f, irq->wire))
			return 0;
		for (unsigned i = 0; i < irq->n; i++) {
			f->count.interrupts_lost += irq->v[i].latched;
			irq->v[i].latched = false;
			irq->v[i].unmasked_on_wire = false;
		}
		return wire_off(f, ops);
	}
	if (irq->index == VFIO_IRQ_MSIX) {
		if (irq->wire == FB_ROOT_IRQ_MSI)
			n = wire_off(f, ops);
		write_table(f);
		if (irq->wire != FB_ROOT_IRQ_MSIX)
			n += fb_config_msix_ops(&f->cfg, true, ops + n);
		irq->wire = FB_ROOT_IRQ_MSIX;
		return n;
	}
	for (unsigned i = 0; i < irq->n; i++) {
		if (irq->v[i].fd >= 0)
			highest = i;
	}
	if (fb_config_guest_msi(&f->cfg))
		vectors = 1u << ((f->cfg.shadow[f->cfg.msi + MSI_CONTROL] & MSI_CONTROL_MME) >> MSI_CONTROL_MME_SHIFT);
	while (vectors <= highest)
		vectors *= 2;
	if (vectors > f->cfg.msi_vectors)
		vectors = f->cfg.msi_vectors;
	if (irq->wire == FB_ROOT_IRQ_MSI && irq->wire_vectors == vectors)
		return 0;
	if (irq->wire == FB_ROOT_IRQ_MSIX)
		n = wire_off(f, ops);
	irq->wire = FB_ROOT_IRQ_MSI;
	irq->wire_vectors = vectors;
	return n + fb_config_msi_ops(&f->cfg, true, vectors, FB_MSI_ADDRESS, 0, ops + n);
}

void fb_irq_sync(struct fb_root_function *f)
{
	struct fb_op ops[8];
	unsigned n = sync_ops(f, ops);

	if (n)
		fb_vm_ops(f, NULL, ops, n);
}

void fb_irq_memory_on(struct fb_root_function *f)
{
	if (f->irq.table_stale && f->irq.wire == FB_ROOT_IRQ_MSIX)
		write_table(f);
}

void fb_irq_wire_reset(struct fb_root_function *f)
{
	struct fb_irq *irq = &f->irq;

	irq->wire = FB_ROOT_IRQ_NONE;
	irq->intx_level = false;
	irq->intx_waits = false;
	irq->n_waiting = 0;
	for (unsigned i = 0; i < irq->n; i++) {
		irq->v[i].unmasked_on_wire = false;
		irq->v[i].latched = false;
		irq->v[i].waits = irq->v[i].again = false;
	}
}

/* ---- SET_IRQS ------------------------------------------------------------------------- */

static void drop_fd(struct fb_irq *irq, struct fb_irq_vector *v)
{
	if (v->fd < 0)
		return;
	close(v->fd);
	v->fd = -1;
	irq->with_fd--;
}

static void drop_all(struct fb_irq *irq)
{
	for (unsigned i = 0; i < irq->n; i++) {
		struct fb_irq_vector *v = &irq->v[i];

		if (v->dirty) /* it came, and nobody was told: if the eventfd comes back, it is */
			v->latched = true;
		drop_fd(irq, v);
		v->masked = false;
	}
}

static void close_to(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void intx_unmask_ready(struct fb_fd *w, uint32_t events)
{
	struct fb_root_function *f = FB_CONTAINER(w, struct fb_root_function, irq.intx_unmask);
	uint64_t n;

	if (read(w->fd, &n, sizeof(n)) != (ssize_t)sizeof(n) && errno != EAGAIN && errno != EINTR) {
		int fd = w->fd;

		fb_fd_del(w);
		close(fd);
		return;
	}
	intx_unmasked(f);
}

static void drop_intx(struct fb_irq *irq)
{
	close_to(&irq->intx_fd);
	if (irq->intx_unmask.loop) {
		int fd = irq->intx_unmask.fd;

		fb_fd_del(&irq->intx_unmask);
		close(fd);
	}
	fb_timer_cancel(&irq->intx_again);
	irq->intx_masked = false;
	irq->intx_waits = irq->intx_dirty = false;
}

void fb_irq_client_gone(struct fb_root_function *f)
{
	struct fb_irq *irq = &f->irq;

	drop_all(irq);
	drop_intx(irq);
	close_to(&irq->err_fd);
	irq->index = 0;
	for (unsigned i = 0; i < irq->n; i++)
		irq->v[i].latched = irq->v[i].waits = irq->v[i].again = irq->v[i].dirty = false;
	irq->n_waiting = irq->n_dirty = 0;
	fb_flush_cancel(&irq->flush);
}

/* An eventfd, and one that cannot make us wait: 0 or -EINVAL. */
static int check_eventfd(int fd)
{
	static const char want[] = "anon_inode:[eventfd]";
	char path[32], target[sizeof(want) + 8];
	ssize_t n;

	if (fd < 0)
		return -EINVAL;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target));
	/* Without /proc the kind is not known; a write that fails is counted then. */
	if (n >= 0 && ((size_t)n != sizeof(want) - 1 || memcmp(target, want, sizeof(want) - 1) != 0))
		return -EINVAL;
	return fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ? -EINVAL : 0;
}

struct irq_request {
	uint32_t flags, index, start, count;
	const uint8_t *bools; /* DATA_BOOL */
};

static bool selected(const struct irq_request *r, unsigned i)
{
	return !r->bools || r->bools[i];
}

static int set_intx(struct fb_root_function *f, const struct irq_request *r, struct vfio_user_message *msg)
{
	struct fb_irq *irq = &f->irq;

	if (r->flags & VFIO_IRQ_SET_DATA_EVENTFD) {
		if (r->flags & VFIO_IRQ_SET_ACTION_MASK)
			return -ENOTSUP;
		if (r->flags & VFIO_IRQ_SET_ACTION_UNMASK) {
			if (irq->intx_unmask.loop) {
				int fd = irq->intx_unmask.fd;

				fb_fd_del(&irq->intx_unmask);
				close(fd);
			}
			if (msg->n_fds == 0)
				return 0;
			irq->intx_unmask.ready = intx_unmask_ready;
			if (fb_fd_add(f->loop, &irq->intx_unmask, msg->fds[0], EPOLLIN) < 0)
				return -ENOMEM;
			msg->fds[0] = -1;
			return 0;
		}
		close_to(&irq->intx_fd);
		if (msg->n_fds) {
			irq->intx_fd = msg->fds[0];
			msg->fds[0] = -1;
			irq->intx_masked = false;
			intx_signal(f);
		}
		return 0;
	}
	if (r->flags & VFIO_IRQ_SET_ACTION_TRIGGER) {
		if (r->count == 0)
			drop_intx(irq);
		else if (selected(r, 0) && irq->intx_fd >= 0)
			signal_fd(f, irq->intx_fd);
		return 0;
	}
	if (r->count && selected(r, 0)) {
		if (r->flags & VFIO_IRQ_SET_ACTION_MASK)
			irq->intx_masked = true;
		else
			intx_unmasked(f);
	}
	return 0;
}

static int set_err(struct fb_root_function *f, const struct irq_request *r, struct vfio_user_message *msg)
{
	if (!(r->flags & VFIO_IRQ_SET_ACTION_TRIGGER))
		return -ENOTSUP;
	if ((r->flags & VFIO_IRQ_SET_DATA_EVENTFD) || r->count == 0)
		close_to(&f->irq.err_fd);
	if ((r->flags & VFIO_IRQ_SET_DATA_EVENTFD) && msg->n_fds) {
		f->irq.err_fd = msg->fds[0];
		msg->fds[0] = -1;
	}
	return 0;
}

static int set_vectors(struct fb_root_function *f, const struct irq_request *r, struct vfio_user_message *msg)
{
	struct fb_irq *irq = &f->irq;

	if (irq->index != r->index) {
		if ((r->flags & VFIO_IRQ_SET_DATA_EVENTFD) && msg->n_fds) {
			drop_all(irq);
			for (unsigned i = 0; i < irq->n; i++)
				irq->v[i].latched = irq->v[i].unmasked_on_wire = false;
			irq->index = r->index;
		} else {
			return 0; /* nothing of that kind is set up: nothing to disable, mask or trigger */
		}
	}
	if (r->flags & VFIO_IRQ_SET_DATA_EVENTFD) {
		if (!(r->flags & VFIO_IRQ_SET_ACTION_TRIGGER))
			return -ENOTSUP;
		for (unsigned i = 0; i < r->count; i++) {
			struct fb_irq_vector *v = &irq->v[r->start + i];

			drop_fd(irq, v);
			if (msg->n_fds == 0)
				continue;
			v->fd = msg->fds[i];
			msg->fds[i] = -1;
			irq->with_fd++;
			if (v->latched) {
				v->latched = false;
				mark(f, r->start + i);
			}
		}
		return 0;
	}
	if (r->flags & VFIO_IRQ_SET_ACTION_TRIGGER && r->count == 0) {
		drop_all(irq);
		return 0;
	}
	for (unsigned i = 0; i < r->count; i++) {
		struct fb_irq_vector *v = &irq->v[r->start + i];

		if (!selected(r, i))
			continue;
		if (r->flags & VFIO_IRQ_SET_ACTION_TRIGGER) {
			mark(f, r->start + i);
			continue;
		}
		v->masked = (r->flags & VFIO_IRQ_SET_ACTION_MASK) != 0;
		if (!v->masked && v->latched) {
			v->latched = false;
			mark(f, r->start + i);
		}
	}
	return 0;
}

static int check_request(const struct fb_root_function *f, const struct irq_request *r,
			 const struct vfio_user_message *msg)
{
	uint32_t data = r->flags & VFIO_IRQ_SET_DATA_MASK, action = r->flags & VFIO_IRQ_SET_ACTIONS;
	unsigned available = fb_irq_count(f, r->index);

	if ((r->flags & ~(uint32_t)(VFIO_IRQ_SET_DATA_MASK | VFIO_IRQ_SET_ACTIONS)) || __builtin_popcount(data) != 1 ||
	    __builtin_popcount(action) != 1 || r->index >= VFIO_IRQS)
		return -EINVAL;
	if (!fb_in_range(r->start, r->count, available))
		return -EINVAL;
	if (r->count == 0 && (data != VFIO_IRQ_SET_DATA_NONE || r->start != 0))
		return -EINVAL;
	if (data != VFIO_IRQ_SET_DATA_EVENTFD)
		return msg->n_fds ? -EINVAL : 0;
	if (msg->n_fds != 0 && msg->n_fds != r->count)
		return -EINVAL;
	for (unsigned i = 0; i < msg->n_fds; i++) {
		if (check_eventfd(msg->fds[i]) < 0)
			return -EINVAL;
	}
	return 0;
}

int fb_irq_set(struct fb_root_function *f, struct vfio_user_message *msg)
{
	struct fb_reader rd = fb_reader(msg->body, msg->len);
	uint32_t argsz = fb_rd_le32(&rd);
	struct irq_request r = {.flags = fb_rd_le32(&rd)};
	struct fb_op ops[8];
	unsigned n;
	int err;

	r.index = fb_rd_le32(&rd);
	r.start = fb_rd_le32(&rd);
	r.count = fb_rd_le32(&rd);
	if (!fb_rd_ok(&rd) || argsz < VFIO_USER_IRQ_SET_BODY || argsz > msg->len)
		return -EINVAL;
	err = check_request(f, &r, msg);
	if (err < 0)
		return err;
	if (r.flags & VFIO_IRQ_SET_DATA_BOOL) {
		r.bools = fb_rd_bytes(&rd, r.count);
		if (!r.bools)
			return -EINVAL;
	}
	if (r.index == VFIO_IRQ_INTX)
		err = set_intx(f, &r, msg);
	else if (r.index == VFIO_IRQ_ERR)
		err = set_err(f, &r, msg);
	else
		err = set_vectors(f, &r, msg);
	if (err < 0)
		return err;
	/* The reply waits until the function knows, so that what the guest starts next cannot outrun it. */
	n = f->port ? sync_ops(f, ops) : 0;
	fb_vm_ops(f, msg, ops, n);
	return 0;
}
