/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The function's DMA reads are not sent as they are: the requester asks, under
 * tags of its own, reassembles, repeats what got lost, and only then the function
 * gets its completions, whole. Tags of the function are one space, those on the
 * wire another, so a late datagram never meets the wrong read.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "port/softpcie_port.h"
#include "util/log.h"
#include "util/loop.h"

enum {
	RCB = 64,
	COMPLETION_MAX = 128, /* at most the least Max_Payload_Size that a function can have */
	HELD_MAX = 32,
};
#define HELD_NS UINT64_C(100000000)

/* A read of the function; pooled, one for each of its tags at most. */
struct dma {
	struct fb_softpcie_port *p;
	struct dma *next;
	struct pcie_tlp request;
	uint64_t addr;
	uint32_t len;
	unsigned generation;
	uint8_t data[PCIE_TLP_MAX_DATA + 8]; /* whole DWs */
};

/* A request of the host that came before we know where the window is now. */
struct held {
	struct held *next;
	struct pcie_tlp tlp;
	uint8_t data[];
};

struct fb_softpcie_port {
	struct fb_port port;
	struct fb_loop *loop;
	struct fb_softpcie_remote *remote;
	struct fb_softpcie_port_config c;
	char name[48];
	struct fb_fd watch;
	struct fb_timer timer;
	struct fb_flush flush;
	struct fb_tap_source source;

	uint64_t from, to, size; /* the window */
	unsigned generation;     /* of the function's life: what an earlier one asked for is not its */
	bool blocked[PCIE_FC_CLASSES];
	struct dma *pool;
	struct held *held, **held_last;
	unsigned n_held;
	struct fb_timer held_timer;

	uint64_t lost_told;
	struct fb_log_limit log_lost, log_given_up, log_dropped;
	struct {
		uint64_t host_reads, host_writes;
		uint64_t host_held;    /* had to wait for the adapter to say where the window is */
		uint64_t host_outside; /* outside of it, or nobody there: UR */
		uint64_t messages_dropped, tlps_dropped;        /* of the function: of types that are not carried */
	} count;
};

#define PORT(member, pointer) ((struct fb_softpcie_port *)((char *)(pointer) - offsetof(struct fb_softpcie_port, member)))

static void trace(const struct fb_softpcie_port *p, const char *direction, const struct pcie_tlp *tlp)
{
	char text[160];

	if (fb_log_enabled(FB_LOG_TRACE))
		fb_log(FB_LOG_TRACE, p->name, "%s %s", direction, pcie_tlp_describe(tlp, text, sizeof(text)));
}

/* The next deadline may have changed. */
static void touch(struct fb_softpcie_port *p)
{
	fb_flush_schedule(p->loop, &p->flush);
}

/* ---- The function's reads ------------------------------------------------- */

static void deliver(struct fb_softpcie_port *p, const struct pcie_tlp *tlp)
{
	trace(p, "received", tlp);
	p->port.current = (struct fb_port_credit){pcie_tlp_fc(tlp->type), 0};
	p->port.user->tlp(p->port.arg, tlp);
}

static void read_done(void *arg, int status)
{
	struct dma *d = arg;
	struct fb_softpcie_port *p = d->p;
	unsigned generation = d->generation;
	uint32_t done = 0;
	struct pcie_tlp cpl;

	if (status == -ETIMEDOUT)
		fb_warn_limited(&p->log_given_up, fb_loop_now(p->loop), p->name,
				"no completion for the read of %u bytes at 0x%" PRIx64 " after %u tries: aborted", d->len,
				d->addr, p->c.remote.retries + 1);
	if (status && generation == p->generation) {
		pcie_completion_status(&d->request, 0, status == -EFAULT ? PCIE_CPL_UR : PCIE_CPL_CA, &cpl);
		deliver(p, &cpl);
	}
	while (!status && done < d->len && generation == p->generation) {
		uint32_t n = pcie_split_completion(d->addr + done, d->len - done, COMPLETION_MAX, RCB);

		pcie_completion_for(&d->request, 0, done, n, &cpl);
		cpl.data = d->data + ((d->addr & 3) + done) / 4 * 4;
		deliver(p, &cpl);
		done += n;
	}
	d->next = p->pool;
	p->pool = d;
}

static int start_read(struct fb_softpcie_port *p, const struct pcie_tlp *tlp)
{
	struct dma *d = p->pool;
	int err;

	if (d)
		p->pool = d->next;
	else
		d = malloc(sizeof(*d));
	if (!d)
		return -EAGAIN;
	d->p = p;
	d->request = *tlp;
	d->generation = p->generation;
	pcie_tlp_get_range(tlp, &d->addr, &d->len);
	memset(d->data, 0, 4);
	memset(d->data + ((d->addr & 3) + d->len) / 4 * 4, 0, 4);
	err = fb_softpcie_read(fb_softpcie_remote_requester(p->remote), d->addr, d->data + (d->addr & 3), d->len,
			       fb_clock_ns(), read_done, d);
	if (err) {
		d->next = p->pool;
		p->pool = d;
	}
	return err == -ENOMEM ? -EAGAIN : err;
}

/* ---- The port ------------------------------------------------------------- */

static int port_send(struct fb_port *port, const struct pcie_tlp *tlp)
{
	struct fb_softpcie_port *p = PORT(port, port);
	int err;

	switch (tlp->type) {
	case PCIE_TLP_MRD:
		err = start_read(p, tlp);
		break;
	case PCIE_TLP_MWR:
	case PCIE_TLP_CPL:
	case PCIE_TLP_CPLD:
		err = fb_softpcie_remote_send(p->remote, tlp);
		break;
	case PCIE_TLP_MSG:
	case PCIE_TLP_MSGD:
		p->count.messages_dropped++;
		return 0;
	default:
		p->count.tlps_dropped++;
		fb_warn_limited(&p->log_dropped, fb_loop_now(p->loop), p->name, "%s is not carried by SoftPCIe: dropped",
				pcie_tlp_type_name(tlp->type));
		return 0;
	}
	if (err == -EAGAIN)
		p->blocked[pcie_tlp_fc(tlp->type)] = true;
	else if (!err)
		trace(p, "sent", tlp);
	touch(p);
	return err;
}

/* There is no flow control: what is held back is held here. */
static void port_release(struct fb_port *port, struct fb_port_credit credit)
{
}

/* ---- The host's requests ----------------------------------------------------
 *
 * The host may use the window as soon as it has placed it, and the news of that
 * come with the next answer of the adapter. So a request that is outside of what
 * we know is a question: it waits for the answer, and what comes behind it too.
 */

static bool inside(const struct fb_softpcie_port *p, const struct pcie_tlp *tlp)
{
	return p->port.user && p->size && tlp->address >= p->from && tlp->address - p->from < p->size &&
	       tlp->length * 4u <= p->size - (tlp->address - p->from);
}

/* Now or never: the function's, or nobody's. */
static void serve(struct fb_softpcie_port *p, const struct pcie_tlp *tlp)
{
	struct pcie_tlp moved = *tlp, cpl;

	if (inside(p, tlp)) {
		moved.address = tlp->address - p->from + p->to;
		deliver(p, &moved);
		return;
	}
	p->count.host_outside++;
	if (tlp->type != PCIE_TLP_MRD)
		return;
	pcie_completion_status(tlp, fb_softpcie_remote_info(p->remote)->id, PCIE_CPL_UR, &cpl);
	fb_softpcie_remote_send(p->remote, &cpl);
	touch(p);
}

static void hold(struct fb_softpcie_port *p, const struct pcie_tlp *tlp)
{
	size_t size = tlp->data ? tlp->length * 4u : 0;
	struct held *h = p->n_held < HELD_MAX ? malloc(sizeof(*h) + size) : NULL;

	if (!h) {
		serve(p, tlp);
		return;
	}
	h->next = NULL;
	h->tlp = *tlp;
	if (size) {
		memcpy(h->data, tlp->data, size);
		h->tlp.data = h->data;
	}
	*p->held_last = h;
	p->held_last = &h->next;
	p->count.host_held++;
	if (p->n_held++)
		return;
	fb_softpcie_remote_ask(p->remote);
	fb_timer_set(p->loop, &p->held_timer, fb_loop_now(p->loop) + HELD_NS);
}

static void release_held(struct fb_softpcie_port *p, bool deliver_them)
{
	struct held *h = p->held, *next;

	p->held = NULL;
	p->held_last = &p->held;
	p->n_held = 0;
	fb_timer_cancel(&p->held_timer);
	for (; h; h = next) {
		next = h->next;
		if (deliver_them)
			serve(p, &h->tlp);
		free(h);
	}
}

static void held_due(struct fb_timer *t)
{
	release_held(PORT(held_timer, t), true);
}

static void request(void *arg, const struct pcie_tlp *tlp)
{
	struct fb_softpcie_port *p = arg;

	if (tlp->type == PCIE_TLP_MRD)
		p->count.host_reads++;
	else
		p->count.host_writes++;
	if (p->held || !inside(p, tlp))
		hold(p, tlp);
	else
		serve(p, tlp);
}

void fb_softpcie_port_map(struct fb_softpcie_port *p, uint64_t from, uint64_t to, uint64_t size)
{
	p->from = from;
	p->to = to;
	p->size = size;
	if (size) {
		release_held(p, true);
		return;
	}
	p->generation++;
	memset(p->blocked, 0, sizeof(p->blocked));
	fb_softpcie_requester_cancel(fb_softpcie_remote_requester(p->remote));
}

static void port_close(struct fb_port *port, int reason, const char *text)
{
	struct fb_softpcie_port *p = PORT(port, port);

	release_held(p, false);
	fb_softpcie_port_map(p, 0, 0, 0);
	port->user = NULL;
}

static const struct fb_port_ops ops = {port_send, port_release, port_close};

static void info(void *arg)
{
	struct fb_softpcie_port *p = arg;

	p->c.info(p->c.arg);
}

static void seen(void *arg, bool sent, const struct pcie_tlp *tlp, enum pcie_tlp_error error, const uint8_t *bytes, size_t len)
{
	struct fb_softpcie_port *p = arg;

	if (sent)
		fb_tap_sent(p->c.tap, &p->source, tlp, bytes, len, NULL, 0);
	else
		fb_tap_received(p->c.tap, &p->source, tlp, error, bytes, len);
}

static const struct fb_softpcie_remote_user remote_user = {request, info, seen};

/* ---- The loop --------------------------------------------------------------- */

static void tell_room(struct fb_softpcie_port *p)
{
	if (!fb_softpcie_room(fb_softpcie_remote_sockets(p->remote)))
		return;
	for (unsigned i = 0; i < PCIE_FC_CLASSES; i++) {
		if (!p->blocked[i] || !p->port.user || !p->port.user->writable)
			continue;
		p->blocked[i] = false;
		p->port.user->writable(p->port.arg, (enum pcie_fc)i);
	}
}

/* Datagrams that never came may have been the host's writes: nobody else would say. */
static void tell_lost(struct fb_softpcie_port *p)
{
	uint64_t lost = fb_softpcie_path(fb_softpcie_remote_sockets(p->remote), 0)->rx_lost, left_out;

	if (lost <= p->lost_told || !fb_log_allowed(&p->log_lost, fb_loop_now(p->loop), &left_out))
		return;
	fb_warn(p->name, "%" PRIu64 " datagrams from the adapter are lost, %" PRIu64
			 " in all: accesses of the host may be among them", lost - p->lost_told, lost);
	p->lost_told = lost;
}

static void process(struct fb_softpcie_port *p)
{
	fb_softpcie_remote_process(p->remote, fb_clock_ns());
	tell_room(p);
	tell_lost(p);
	touch(p);
}

static void ready(struct fb_fd *w, uint32_t events)
{
	process(PORT(watch, w));
}

static void due(struct fb_timer *t)
{
	process(PORT(timer, t));
}

static void flush(struct fb_flush *f)
{
	struct fb_softpcie_port *p = PORT(flush, f);
	uint64_t deadline;

	fb_softpcie_remote_flush(p->remote);
	deadline = fb_softpcie_remote_deadline(p->remote);
	if (deadline == UINT64_MAX)
		fb_timer_cancel(&p->timer);
	else
		fb_timer_set(p->loop, &p->timer, deadline);
}

/* ---- Life --------------------------------------------------------------------- */

int fb_softpcie_port_open(struct fb_softpcie_port **out, struct fb_loop *loop,
			  const struct fb_softpcie_port_config *config)
{
	struct fb_softpcie_port *p = calloc(1, sizeof(*p));
	char addr[16];
	int err;

	if (!p)
		return -ENOMEM;
	p->port.ops = &ops;
	p->loop = loop;
	p->c = *config;
	snprintf(p->name, sizeof(p->name), "%s %s", config->function,
		 fb_softpcie_format_addr(config->remote.adapter, addr, sizeof(addr)));
	snprintf(p->source.function, sizeof(p->source.function), "%s", config->function);
	p->source.carrier = FB_TAP_SOFTPCIE;
	p->c.remote.name = p->name;
	p->c.remote.host_ports = true;
	p->watch.ready = ready;
	p->timer.due = due;
	p->flush.flush = flush;
	p->held_last = &p->held;
	p->held_timer.due = held_due;
	err = fb_softpcie_remote_open(&p->remote, &p->c.remote, &remote_user, p);
	if (!err)
		err = fb_fd_add(loop, &p->watch, fb_softpcie_remote_fd(p->remote), EPOLLIN);
	if (err) {
		fb_softpcie_port_close(p);
		return err;
	}
	*out = p;
	return 0;
}

void fb_softpcie_port_close(struct fb_softpcie_port *p)
{
	if (!p)
		return;
	p->generation++;
	release_held(p, false);
	fb_fd_del(&p->watch);
	fb_softpcie_remote_close(p->remote);
	fb_timer_cancel(&p->timer);
	fb_flush_cancel(&p->flush);
	while (p->pool) {
		struct dma *d = p->pool;

		p->pool = d->next;
		free(d);
	}
	free(p);
}

struct fb_port *fb_softpcie_port_port(struct fb_softpcie_port *p)
{
	return &p->port;
}

struct fb_softpcie_remote *fb_softpcie_port_remote(struct fb_softpcie_port *p)
{
	return p->remote;
}

void fb_softpcie_port_put_stats(const struct fb_softpcie_port *p,
				void (*put)(void *arg, const char *name, uint64_t value), void *arg)
{
#define PUT(member) put(arg, #member, p->count.member)
	PUT(host_reads);
	PUT(host_writes);
	PUT(host_held);
	PUT(host_outside);
	PUT(messages_dropped);
	PUT(tlps_dropped);
#undef PUT
	fb_softpcie_remote_put_stats(p->remote, put, arg);
}
