/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Memory that came without a file descriptor is reached by asking the client:
 * DMA_READ and DMA_WRITE, up to 256 in flight, each holding the flow-control
 * credit of its TLP until it is answered; what does not fit queues, holding its
 * credit too. So the function's credits bound all memory used here.
 *
 * Order. The socket is a FIFO and the client serves it in order, so messages
 * keep the order of their TLPs. Interrupts wait for the writes before them
 * (irq.c), completed reads of the VM too, for a moment (mmio.c).
 *
 * Two layouts are about. By the protocol's text count is 8 bytes; QEMU 10.1 and
 * 10.2 have 4. A DMA_WRITE of no bytes tells them apart and changes nothing: the
 * answer is a bare header in the old layout. It is sent when the client first
 * maps memory without a descriptor, and what needs messages waits for it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "root/function.h"
#include "util/reader.h"

enum { PROBE_ID = 0xffff };

void fb_dma_init(struct fb_root_function *f)
{
	f->dma.newest = &f->dma.oldest;
	f->dma.waiting_tail = &f->dma.waiting;
}

/* The credit of the TLP in hand, be it new or from the queue. */
static struct fb_port_credit current_credit(const struct fb_root_function *f)
{
	return f->dma.draining ? f->dma.current->credit : fb_port_credit(f->port);
}

static void give_credit(struct fb_root_function *f, struct fb_port_credit credit, unsigned session)
{
	if (f->port && session == f->session)
		fb_port_release(f->port, credit);
}

bool fb_dma_enqueue(struct fb_root_function *f, const struct pcie_tlp *tlp)
{
	size_t len = pcie_tlp_has_data(tlp->type) ? tlp->length * 4u : 0;
	struct fb_dma_waiting *w = malloc(sizeof(*w) + len);

	if (!w) {
		f->count.dma_stray++;
		if (pcie_tlp_fc(tlp->type) == PCIE_FC_NP)
			fb_dma_complete_error(f, tlp, PCIE_CPL_CA);
		return true;
	}
	w->next = NULL;
	w->credit = fb_port_credit(f->port);
	w->session = f->session;
	w->tlp = *tlp;
	if (len) {
		memcpy(w + 1, tlp->data, len);
		w->tlp.data = (const uint8_t *)(w + 1);
	}
	*f->dma.waiting_tail = w;
	f->dma.waiting_tail = &w->next;
	return false;
}

static bool can_send(const struct fb_root_function *f)
{
	return (f->dma.layout == FB_DMA_LAYOUT_SPEC || f->dma.layout == FB_DMA_LAYOUT_OLD) &&
	       f->dma.n_used + 4 <= FB_DMA_SLOTS;
}

static struct fb_dma_slot *get_slot(struct fb_root_function *f)
{
	for (unsigned i = 0; i < FB_DMA_SLOTS; i++) {
		if (f->dma.slots[i].used)
			continue;
		memset(&f->dma.slots[i], 0, sizeof(f->dma.slots[i]));
		f->dma.slots[i].used = true;
		f->dma.n_used++;
		return &f->dma.slots[i];
	}
	return NULL;
}

static void put_slot(struct fb_root_function *f, struct fb_dma_slot *s)
{
	if (s->write && s->link) {
		*s->link = s->next;
		if (s->next)
			s->next->link = s->link;
		else
			f->dma.newest = s->link;
	}
	s->used = false;
	f->dma.n_used--;
	f->dma.n_foreign -= s->done != NULL;
}

static uint8_t *put_request(struct fb_root_function *f, const struct fb_dma_slot *s, uint16_t command, uint32_t data)
{
	bool old = f->dma.layout == FB_DMA_LAYOUT_OLD;
	uint32_t fixed = old ? VFIO_USER_DMA_RW_BODY_OLD : VFIO_USER_DMA_RW_BODY;
	uint8_t *p = fb_vu_put(&f->vu, (uint16_t)(s - f->dma.slots), command, VFIO_USER_TYPE_COMMAND, 0, fixed + data);

	if (!p)
		return NULL;
	f->count.dma_messages++;
	fb_put_le64(p, s->address);
	if (old)
		fb_put_le32(p + 8, s->len);
	else
		fb_put_le64(p + 8, s->len);
	return p + fixed;
}

bool fb_dma_message_write(struct fb_root_function *f, const struct pcie_tlp *tlp)
{
	struct fb_dma_run runs[4];
	unsigned n = fb_dma_runs(tlp, runs);
	struct fb_dma_slot *s = NULL;

	if (!can_send(f))
		return fb_dma_enqueue(f, tlp); /* not while draining, which asks first */
	f->count.dma_writes++;
	for (unsigned i = 0; i < n; i++) {
		uint8_t *p;

		s = get_slot(f);
		s->write = true;
		s->address = runs[i].address;
		s->len = runs[i].len;
		s->seq = ++f->dma.write_seq;
		s->session = f->session;
		s->next = NULL;
		s->link = f->dma.newest;
		*f->dma.newest = s;
		f->dma.newest = &s->next;
		p = put_request(f, s, VFIO_USER_DMA_WRITE, s->len);
		if (!p) { /* the client is being cut off: its end clears everything here */
			put_slot(f, s);
			return true;
		}
		memcpy(p, runs[i].data, s->len);
		f->count.dma_write_bytes += s->len;
	}
	if (!s)
		return true;
	s->last = true;
	s->credit = current_credit(f);
	return false;
}

bool fb_dma_message_read(struct fb_root_function *f, const struct pcie_tlp *tlp)
{
	struct fb_dma_slot *s;

	if (!can_send(f))
		return fb_dma_enqueue(f, tlp);
	s = get_slot(f);
	pcie_tlp_get_range(tlp, &s->address, &s->len);
	s->request = *tlp;
	s->request.data = NULL;
	s->last = true;
	s->credit = current_credit(f);
	s->session = f->session;
	if (!put_request(f, s, VFIO_USER_DMA_READ, 0)) {
		put_slot(f, s);
		return true;
	}
	f->count.dma_reads++;
	f->count.dma_read_bytes += s->len;
	return false;
}

bool fb_dma_message_room(const struct fb_root_function *f, unsigned n, unsigned most)
{
	return can_send(f) && f->dma.n_foreign + n <= most && !f->dma.waiting;
}

int fb_dma_message_start(struct fb_root_function *f, uint64_t address, uint32_t len, const uint8_t *data,
			 fb_dma_message_done *done, void *arg)
{
	struct fb_dma_slot *s = get_slot(f);
	uint8_t *p;

	if (!s)
		return -ENOTCONN;
	s->address = address;
	s->len = len;
	s->write = data != NULL; /* not in the list of the function's writes: nothing of the function waits for it */
	s->done = done;
	s->done_arg = arg;
	f->dma.n_foreign++;
	p = put_request(f, s, data ? VFIO_USER_DMA_WRITE : VFIO_USER_DMA_READ, data ? len : 0);
	if (!p) {
		put_slot(f, s);
		return -ENOTCONN;
	}
	if (data)
		memcpy(p, data, len);
	return 0;
}

static void tell_room(struct fb_root_function *f)
{
	if (f->env->message_room)
		f->env->message_room(f->env->arg, f);
}

/* What waits goes on as far as there are slots. */
static void drain(struct fb_root_function *f)
{
	if (f->dma.draining)
		return;
	f->dma.draining = true;
	while (f->dma.waiting && f->port && can_send(f)) {
		struct fb_dma_waiting *w = f->dma.waiting;
		bool atomic = pcie_tlp_fc(w->tlp.type) == PCIE_FC_NP && w->tlp.type != PCIE_TLP_MRD;

		if (atomic && fb_dma_writes_in_flight(f))
			break;
		f->dma.current = w;
		f->dma.waiting = w->next;
		if (!f->dma.waiting)
			f->dma.waiting_tail = &f->dma.waiting;
		if (fb_dma_tlp(f, &w->tlp))
			give_credit(f, w->credit, w->session);
		free(w);
	}
	f->dma.current = NULL;
	f->dma.draining = false;
}

static void after_reply(struct fb_root_function *f, bool write)
{
	drain(f);
	tell_room(f);
	if (!write)
		return;
	fb_irq_writes_done(f);
	if (!fb_dma_writes_in_flight(f) && f->held)
		fb_vm_release_held(f);
}

void fb_dma_probe(struct fb_root_function *f)
{
	uint8_t *p;

	if (f->dma.layout != FB_DMA_LAYOUT_UNKNOWN)
		return;
	p = fb_vu_put(&f->vu, PROBE_ID, VFIO_USER_DMA_WRITE, VFIO_USER_TYPE_COMMAND, 0, VFIO_USER_DMA_RW_BODY);
	if (!p)
		return;
	memset(p, 0, VFIO_USER_DMA_RW_BODY);
	f->dma.layout = FB_DMA_LAYOUT_PROBING;
}

static int probe_reply(struct fb_root_function *f, const struct vfio_user_message *msg)
{
	bool old = msg->len == 0 && !(msg->flags & VFIO_USER_ERROR);

	if (f->dma.layout != FB_DMA_LAYOUT_PROBING)
		return -EPROTO;
	f->dma.layout = old ? FB_DMA_LAYOUT_OLD : FB_DMA_LAYOUT_SPEC;
	fb_debug(f->name, "the client's DMA messages have the %s layout", old ? "old (QEMU 10.1, 10.2)" : "protocol's");
	drain(f);
	tell_room(f);
	return 0;
}

/* The data in a DMA_READ reply, or NULL: it is not as long as it has to be. */
static const uint8_t *read_data(const struct fb_root_function *f, const struct fb_dma_slot *s,
				const struct vfio_user_message *msg)
{
	struct fb_reader rd = fb_reader(msg->body, msg->len);
	uint64_t address = fb_rd_le64(&rd), count;

	if (f->dma.layout == FB_DMA_LAYOUT_OLD) {
		count = fb_rd_le32(&rd); /* and 4 bytes too many at the end */
	} else {
		count = fb_rd_le64(&rd);
	}
	if (!fb_rd_ok(&rd) || address != s->address || count != s->len)
		return NULL;
	return fb_rd_bytes(&rd, s->len);
}

static void bad_reply(struct fb_root_function *f, const struct vfio_user_message *msg, const char *what)
{
	f->count.client_errors++;
	fb_warn_limited(&f->log_client, fb_function_now(f), f->name, "%s reply of %u bytes from the client: %s",
			fb_vu_command_name(msg->command), msg->len + VFIO_USER_HEADER, what);
}

static void complete_read(struct fb_root_function *f, struct fb_dma_slot *s, const struct vfio_user_message *msg)
{
	uint8_t buf[PCIE_TLP_MAX_DATA + 8];
	const uint8_t *data = NULL;
	uint32_t lead = s->address & 3;

	if (s->stale || !f->port || s->session != f->session)
		return;
	if (msg->flags & VFIO_USER_ERROR) {
		fb_dma_refused(f, &s->request, -EFAULT);
	} else {
		data = read_data(f, s, msg);
		if (!data)
			bad_reply(f, msg, "not what was asked for");
	}
	if (!data) {
		fb_dma_complete_error(f, &s->request, PCIE_CPL_UR);
		return;
	}
	memset(buf, 0, 4);
	memset(buf + ((lead + s->len) & ~3u), 0, 4);
	memcpy(buf + lead, data, s->len);
	fb_dma_complete_read(f, &s->request, buf, s->len);
}

static void foreign_reply(struct fb_root_function *f, struct fb_dma_slot *s, const struct vfio_user_message *msg)
{
	fb_dma_message_done *done = s->done;
	const uint8_t *data = NULL;
	void *arg = s->done_arg;
	int status = msg->flags & VFIO_USER_ERROR ? -EFAULT : 0;

	if (!status && !s->write) {
		data = read_data(f, s, msg);
		if (!data) {
			bad_reply(f, msg, "not what was asked for");
			status = -EFAULT;
		}
	}
	put_slot(f, s);
	done(arg, status, data);
}

int fb_dma_reply(struct fb_root_function *f, const struct vfio_user_message *msg)
{
	struct fb_dma_slot *s;
	bool write;

	if (msg->id == PROBE_ID && msg->command == VFIO_USER_DMA_WRITE)
		return probe_reply(f, msg);
	if (msg->id >= FB_DMA_SLOTS || !f->dma.slots[msg->id].used ||
	    msg->command != (f->dma.slots[msg->id].write ? VFIO_USER_DMA_WRITE : VFIO_USER_DMA_READ)) {
		bad_reply(f, msg, "nobody asked");
		return 0;
	}
	s = &f->dma.slots[msg->id];
	if (s->done) {
		foreign_reply(f, s, msg);
		after_reply(f, false);
		return 0;
	}
	write = s->write;
	if (!write) {
		complete_read(f, s, msg);
	} else if (msg->flags & VFIO_USER_ERROR) {
		struct pcie_tlp tlp = {.type = PCIE_TLP_MWR, .requester_id = f->bdf};

		pcie_tlp_set_range(&tlp, s->address, s->len);
		fb_dma_refused(f, &tlp, -EFAULT);
	}
	if (s->last)
		give_credit(f, s->credit, s->session);
	put_slot(f, s);
	after_reply(f, write);
	return 0;
}

static void drop_waiting(struct fb_root_function *f)
{
	while (f->dma.waiting) {
		struct fb_dma_waiting *w = f->dma.waiting;

		f->dma.waiting = w->next;
		f->count.dma_stray++;
		give_credit(f, w->credit, w->session);
		free(w);
	}
	f->dma.waiting_tail = &f->dma.waiting;
}

void fb_dma_forget(struct fb_root_function *f)
{
	drop_waiting(f);
	/* Writes stay in the list: what comes after the reset must not overtake them either. */
	for (unsigned i = 0; i < FB_DMA_SLOTS; i++)
		f->dma.slots[i].stale = f->dma.slots[i].used;
}

void fb_dma_client_gone(struct fb_root_function *f)
{
	drop_waiting(f);
	for (unsigned i = 0; i < FB_DMA_SLOTS; i++) {
		struct fb_dma_slot *s = &f->dma.slots[i];

		fb_dma_message_done *done = s->done;
		void *arg = s->done_arg;

		if (!s->used)
			continue;
		if (s->last)
			give_credit(f, s->credit, s->session);
		put_slot(f, s);
		if (done)
			done(arg, -ENODEV, NULL);
	}
	f->dma.layout = FB_DMA_LAYOUT_UNKNOWN;
	fb_dma_map_clear(&f->dma.map);
	tell_room(f);
}
