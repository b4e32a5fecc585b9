/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * What the VM does to regions becomes requests to the function:
 *	write to a memory BAR   MWr at once, answered at once: posted
 *	read of a memory BAR    MRd, answered when its completions are in
 *	I/O BAR                 IORd, IOWr of a DW; a write is answered when it completed
 *	configuration           CfgRd0, CfgWr0 for what is not virtual (config.c)
 *
 * Accesses come from a pool of 64. When it is used up, or too much memory is
 * held by large reads, the connection's next message waits; each access ends
 * within the answer time, so the wait is bounded.
 *
 * A VM that writes faster than the network takes: above WRITES_HIGH queued
 * bytes no more messages are taken until they are below WRITES_LOW, but for
 * not longer than SLOW_NS, for a read may stand behind them that has to be
 * answered in time. From then on writes are queued up to the requester's bound;
 * a function that lets that fill is lost.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "root/function.h"
#include "tlp/regs.h"
#include "util/reader.h"

#define SLOW_NS UINT64_C(500000000)
/* How long a completed read may wait for DMA_WRITE messages: QEMU does not serve them while a vCPU waits for a read. */
#define HELD_NS UINT64_C(5000000)
enum { WRITES_HIGH = 1 << 20, WRITES_LOW = 256 * 1024, ROOM = 4 };

static void slow_over(struct fb_timer *t)
{
	struct fb_root_function *f = FB_CONTAINER(t, struct fb_root_function, slow_timer);

	fb_vu_pause(&f->vu, false); /* f->slow stays: no second pause before the queue has drained */
}

static void held_over(struct fb_timer *t)
{
	fb_vm_release_held(FB_CONTAINER(t, struct fb_root_function, held_timer));
}

void fb_vm_init(struct fb_root_function *f)
{
	f->vm_free = NULL;
	for (unsigned i = FB_VM_ACCESSES; i-- > 0;) {
		f->vm[i].f = f;
		f->vm[i].next = f->vm_free;
		f->vm_free = &f->vm[i];
	}
	f->held_tail = &f->held;
	f->slow_timer.due = slow_over;
	f->held_timer.due = held_over;
}

bool fb_vm_has_room(const struct fb_root_function *f)
{
	return f->vm_used + ROOM <= FB_VM_ACCESSES && f->vm_large <= FB_VM_LARGE_MAX;
}

uint64_t fb_region_size(const struct fb_root_function *f, unsigned region)
{
	if (region < FB_CONFIG_BARS)
		return f->cfg.bars[region].present ? f->cfg.bars[region].size : 0;
	return region == VFIO_REGION_CONFIG ? FB_CONFIG_SIZE : 0;
}

/* ---- The pool --------------------------------------------------------------------- */

/* fb_vm_has_room() was asked before. Returns NULL without memory for `large` bytes. */
static struct fb_vm_access *get(struct fb_root_function *f, const struct vfio_user_message *msg, size_t large)
{
	struct fb_vm_access *vm = f->vm_free;
	uint8_t *buf = NULL;

	if (!vm)
		return NULL;
	if (large) {
		buf = malloc(large);
		if (!buf)
			return NULL;
	}
	f->vm_free = vm->next;
	f->vm_used++;
	f->vm_large += large;
	vm->next = NULL;
	vm->used = true;
	vm->held = false;
	vm->reply = msg && !(msg->flags & VFIO_USER_NO_REPLY);
	vm->id = msg ? msg->id : 0;
	vm->command = msg ? msg->command : 0;
	vm->count = 0;
	vm->did = 0;
	vm->status = 0;
	vm->large = large;
	vm->buf = large ? buf : vm->inline_buf;
	memset(&vm->access, 0, sizeof(vm->access));
	vm->since = fb_function_now(f); /* when its message was found to be there */
	vm->access.arg = vm;
	return vm;
}

static void put(struct fb_vm_access *vm)
{
	struct fb_root_function *f = vm->f;

	if (vm->large)
		free(vm->buf);
	f->vm_large -= vm->large;
	vm->used = false;
	vm->next = f->vm_free;
	f->vm_free = vm;
	f->vm_used--;
}

void fb_vm_cancel_all(struct fb_root_function *f)
{
	for (unsigned i = 0; i < FB_VM_ACCESSES; i++) {
		if (!f->vm[i].used)
			continue;
		fb_rq_cancel(&f->rq, &f->vm[i].access);
		put(&f->vm[i]);
	}
	f->held = NULL;
	f->held_tail = &f->held;
	fb_timer_cancel(&f->held_timer);
	fb_timer_cancel(&f->slow_timer);
	f->slow = false;
}

/* ---- Answers ------------------------------------------------------------------------- */

static void put_region(uint8_t *p, uint64_t offset, uint32_t region, uint32_t count)
{
	fb_put_le64(p, offset);
	fb_put_le32(p + 8, region);
	fb_put_le32(p + 12, count);
}

static void answer_region(struct fb_root_function *f, const struct vfio_user_message *msg, uint64_t offset, uint32_t region,
			  uint32_t count)
{
	uint8_t *p;

	if (msg->flags & VFIO_USER_NO_REPLY)
		return;
	p = fb_vu_put(&f->vu, msg->id, msg->command, VFIO_USER_TYPE_REPLY, 0, VFIO_USER_REGION_RW_BODY);
	if (p)
		put_region(p, offset, region, count);
}

static void answer_read(struct fb_vm_access *vm)
{
	struct fb_root_function *f = vm->f;
	uint8_t *p = fb_vu_put(&f->vu, vm->id, vm->command, VFIO_USER_TYPE_REPLY, 0,
			       VFIO_USER_REGION_RW_BODY + vm->count);

	if (!p)
		return;
	put_region(p, vm->offset, vm->region, vm->count);
	p += VFIO_USER_REGION_RW_BODY;
	if (!f->port || vm->status == -ENODEV)
		memset(p, 0xff, vm->count);
	else if (vm->region == VFIO_REGION_CONFIG)
		fb_config_read_result(&f->cfg, (uint32_t)vm->offset, vm->count, vm->access.ops, vm->access.n_ops, p);
	else if (vm->access.kind == FB_ACCESS_MEMORY)
		memcpy(p, vm->buf, vm->count);
	else
		for (uint32_t i = 0; i < vm->count; i++) { /* I/O: the DWs that hold it, in a row */
			uint32_t at = (uint32_t)(vm->offset & 3) + i;

			p[i] = (uint8_t)(vm->access.ops[at / 4].value >> (8 * (at & 3)));
		}
}

static void answer(struct fb_vm_access *vm)
{
	if (vm->reply) {
		if (vm->command == VFIO_USER_REGION_READ) {
			answer_read(vm);
			if (vm->access.done && vm->status == 0) /* it went over the network */
				fb_histogram_add(&vm->f->times[FB_ROOT_HOP_ACCESS].time, fb_clock_ns() - vm->since);
		} else {
			bool region = vm->command == VFIO_USER_REGION_WRITE;
			uint8_t *p = fb_vu_put(&vm->f->vu, vm->id, vm->command, VFIO_USER_TYPE_REPLY, 0,
					       region ? VFIO_USER_REGION_RW_BODY : 0);

			if (p && region)
				put_region(p, vm->offset, vm->region, vm->count);
		}
	}
	put(vm);
}

void fb_vm_release_held(struct fb_root_function *f)
{
	fb_timer_cancel(&f->held_timer);
	while (f->held) {
		struct fb_vm_access *vm = f->held;

		f->held = vm->next;
		answer(vm);
	}
	f->held_tail = &f->held;
	fb_vu_resume(&f->vu);
}

static void log_timeout(struct fb_vm_access *vm)
{
	struct fb_root_function *f = vm->f;
	bool read = vm->command == VFIO_USER_REGION_READ;

	f->count.read_timeouts++;
	fb_warn_limited(&f->log_timeout, fb_function_now(f), f->name,
			"%s of %u bytes at 0x%" PRIx64 " in region %u: no answer within %" PRIu64 " ms, the VM gets %s",
			read ? "read" : "write", vm->count, vm->offset, vm->region, f->env->answer_ns / 1000000,
			read ? "all ones" : "no error");
}

static void done(struct fb_access *access, int status)
{
	struct fb_vm_access *vm = access->arg;
	struct fb_root_function *f = vm->f;
	unsigned did = vm->did;

	vm->status = status;
	if (status == 0 && vm->command == VFIO_USER_REGION_READ)
		fb_histogram_add(&f->times[FB_ROOT_HOP_REQUEST].time, fb_clock_ns() - vm->sent);
	if (status == -ETIMEDOUT)
		log_timeout(vm);
	else if (status == -EIO)
		f->count.read_errors++;
	if (status == 0 && vm->reply && vm->command == VFIO_USER_REGION_READ && fb_dma_writes_in_flight(f)) {
		/* Data that the function wrote before it answered is still on its way (base spec 2.4.1). */
		vm->next = NULL;
		vm->held = true;
		*f->held_tail = vm;
		f->held_tail = &vm->next;
		if (f->held == vm)
			fb_timer_set(f->loop, &f->held_timer, fb_function_now(f) + HELD_NS);
		return;
	}
	answer(vm);
	if (f->port && (did & FB_CONFIG_DID_FLR))
		fb_reset_start(f);
	else if (f->port && (did & FB_CONFIG_DID_D0))
		fb_reprogram(f);
	fb_vu_resume(&f->vu);
}

static void start(struct fb_vm_access *vm)
{
	vm->access.done = done;
	vm->sent = fb_clock_ns();
	fb_rq_start(&vm->f->rq, &vm->access, fb_function_now(vm->f) + vm->f->env->answer_ns);
}

void fb_vm_ops(struct fb_root_function *f, const struct vfio_user_message *msg, const struct fb_op *ops, unsigned n)
{
	struct fb_vm_access *vm;

	if (n == 0) {
		if (msg && !(msg->flags & VFIO_USER_NO_REPLY))
			fb_vu_put(&f->vu, msg->id, msg->command, VFIO_USER_TYPE_REPLY, 0, 0);
		return;
	}
	vm = get(f, msg, 0);
	if (!vm || n > FB_VM_OPS) {
		/* Not possible while fb_vm_has_room() is asked first and callers keep to their bound. */
		fb_error(f->name, "no room for %u configuration writes", n);
		if (vm)
			put(vm);
		return;
	}
	vm->offset = 0;
	vm->region = VFIO_REGION_CONFIG;
	memcpy(vm->ops, ops, n * sizeof(*ops));
	vm->access.kind = FB_ACCESS_OPS;
	vm->access.ops = vm->ops;
	vm->access.n_ops = n;
	vm->access.barrier = true;
	start(vm);
}

/* ---- REGION_READ ------------------------------------------------------------------------ */

struct region_request {
	uint64_t offset;
	uint32_t region, count;
};

/* 0, or an errno for the reply. */
static int parse_region(const struct fb_root_function *f, struct fb_reader *rd, struct region_request *r)
{
	r->offset = fb_rd_le64(rd);
	r->region = fb_rd_le32(rd);
	r->count = fb_rd_le32(rd);
	if (!fb_rd_ok(rd) || fb_region_size(f, r->region) == 0)
		return EINVAL;
	if (r->count > FB_VU_MAX_XFER)
		return E2BIG;
	return fb_in_range(r->offset, r->count, fb_region_size(f, r->region)) ? 0 : EINVAL;
}

/* The DWs of [offset, offset + count) as I/O requests. */
static unsigned io_ops(const struct fb_root_function *f, const struct region_request *r, const uint8_t *data,
		       struct fb_op *ops)
{
	uint32_t base = (uint32_t)f->cfg.bars[r->region].address, offset = (uint32_t)r->offset;
	unsigned n = 0;

	for (uint32_t at = offset & ~3u; at < offset + r->count; at += 4) {
		struct fb_op op = {.address = base + at, .io = true, .write = data != NULL};

		for (unsigned i = 0; i < 4; i++) {
			if (at + i < offset || at + i >= offset + r->count)
				continue;
			op.be |= (uint8_t)(1u << i);
			if (data)
				op.value |= (uint32_t)data[at + i - offset] << (8 * i);
		}
		ops[n++] = op;
	}
	return n;
}

int fb_vm_region_read(struct fb_root_function *f, const struct vfio_user_message *msg)
{
	struct fb_reader rd = fb_reader(msg->body, msg->len);
	struct region_request r;
	struct fb_vm_access *vm;
	unsigned max_ops = 0;
	size_t large = 0;
	bool memory;
	int err = parse_region(f, &rd, &r);

	if (err)
		return -err;
	memory = r.region < FB_CONFIG_BARS && !f->cfg.bars[r.region].io;
	if (memory) {
		large = r.count > FB_VM_INLINE ? r.count : 0;
	} else {
		max_ops = r.count / 4 + 2;
		large = max_ops > FB_VM_OPS ? max_ops * sizeof(struct fb_op) : 0;
	}
	if (r.region == VFIO_REGION_CONFIG)
		f->count.cfg_reads++;
	else
		f->count.mmio_reads++;
	vm = get(f, msg, large);
	if (!vm)
		return -ENOMEM;
	vm->offset = r.offset;
	vm->region = r.region;
	vm->count = r.count;
	if (memory) {
		vm->access.kind = FB_ACCESS_MEMORY;
		vm->access.address = f->cfg.bars[r.region].address + r.offset;
		vm->access.len = r.count;
		vm->access.buf = vm->buf;
	} else {
		vm->access.kind = FB_ACCESS_OPS;
		vm->access.ops = large ? (struct fb_op *)(void *)vm->buf : vm->ops;
		vm->access.n_ops = r.region == VFIO_REGION_CONFIG
					   ? fb_config_read_ops(&f->cfg, (uint32_t)r.offset, r.count, vm->access.ops)
					   : io_ops(f, &r, NULL, vm->access.ops);
	}
	if (memory && fb_vm_offer_take(f, r.region, r.offset, r.count, vm->buf))
		answer(vm);
	else if (!f->port || (memory ? vm->access.len : vm->access.n_ops) == 0)
		answer(vm); /* all ones, or all virtual, or nothing asked for */
	else
		start(vm);
	return 0;
}

/* ---- REGION_WRITE -------------------------------------------------------------------------- */

/* Writes to the MSI-X table do not reach the function: the root holds it. Cuts that range out. */
static int write_memory(struct fb_root_function *f, const struct region_request *r, const uint8_t *data)
{
	const struct fb_config *c = &f->cfg;
	uint64_t at = r->offset, end = r->offset + r->count;
	uint64_t from = c->msix_table, to = from + 16u * c->msix_vectors;
	uint64_t base = c->bars[r->region].address;
	int err = 0;

	if (!c->msix || r->region != c->msix_bar || at >= to || end <= from)
		return fb_rq_write(&f->rq, base + at, data, r->count);
	if (at < from)
		err = fb_rq_write(&f->rq, base + at, data, (uint32_t)(from - at));
	if (err == 0 && end > to)
		err = fb_rq_write(&f->rq, base + to, data + (to - at), (uint32_t)(end - to));
	return err;
}

static void posted(struct fb_root_function *f, const struct region_request *r, const uint8_t *data)
{
	struct fb_vm_ring *ring;
	int err;

	f->count.mmio_writes++;
	if (!f->rings.announced)
		fb_vm_ring_announce(f);
	ring = fb_vm_ring_at(f, r->region, r->offset);
	if (ring && r->count == 4 && fb_vm_shadow_written(f, ring, fb_get_le32(data)))
		return;
	if (f->port)
		f->port->patient = ring && fb_vm_ring_half(ring, r->offset, r->count);
	err = write_memory(f, r, data);
	if (f->port)
		f->port->patient = false;
	if (err < 0)
		f->count.writes_dropped++;
	else if (ring)
		fb_vm_ring_written(f, ring, r->offset, data, r->count);
	if (err == -ENOBUFS) {
		fb_function_lost(f, FB_LINK_R_OVERFLOW, "more than 8 MiB of the VM's writes are waiting for it");
		return;
	}
	if (!f->slow && fb_rq_posted(&f->rq) > WRITES_HIGH) {
		f->slow = true;
		fb_vu_pause(&f->vu, true);
		fb_timer_set(f->loop, &f->slow_timer, fb_function_now(f) + SLOW_NS);
	}
}

void fb_vm_writable(struct fb_root_function *f)
{
	if (f->slow && fb_rq_posted(&f->rq) < WRITES_LOW) {
		f->slow = false;
		fb_timer_cancel(&f->slow_timer);
		fb_vu_pause(&f->vu, false);
	}
}

static int write_config(struct fb_root_function *f, const struct vfio_user_message *msg, const struct region_request *r,
			const uint8_t *data)
{
	unsigned max_ops = r->count / 4 + 2 + 12, n = 0, did;
	size_t large = max_ops > FB_VM_OPS ? 2 * max_ops * sizeof(struct fb_op) : 0;
	struct fb_op *ops, direct[FB_VM_OPS], *own = direct;
	struct fb_vm_access *vm;
	unsigned n_own;

	f->count.cfg_writes++;
	if (!f->port) { /* gone: taken, as a slot without a card takes it */
		answer_region(f, msg, r->offset, r->region, r->count);
		return 0;
	}
	vm = get(f, msg, large);
	if (!vm)
		return -ENOMEM;
	ops = large ? (struct fb_op *)(void *)vm->buf : vm->ops;
	if (large)
		own = ops + max_ops;
	n_own = fb_config_write(&f->cfg, (uint32_t)r->offset, r->count, data, own, &did);
	/* The BARs are in place before decoding is switched on, and follow the guest while it is on. */
	if ((did & (FB_CONFIG_DID_COMMAND | FB_CONFIG_DID_BAR)) &&
	    (f->cfg.command & (PCI_COMMAND_IO | PCI_COMMAND_MEMORY)))
		n = fb_config_move_bars(&f->cfg, ops);
	memcpy(ops + n, own, n_own * sizeof(*ops));
	vm->did = did;
	vm->offset = r->offset;
	vm->region = r->region;
	vm->count = r->count;
	vm->access.kind = FB_ACCESS_OPS;
	vm->access.ops = ops;
	vm->access.n_ops = n + n_own;
	vm->access.barrier = true;
	if (did & (FB_CONFIG_DID_FLR | FB_CONFIG_DID_D0) && n + n_own == 0) {
		/* Something has to complete before the reset starts: a read of the IDs will do. */
		ops[0] = (struct fb_op){.address = 0, .be = 15};
		vm->access.n_ops = 1;
	}
	if (vm->access.n_ops == 0)
		answer(vm);
	else
		start(vm);
	if ((did & FB_CONFIG_DID_COMMAND) && (f->cfg.command & PCI_COMMAND_MEMORY))
		fb_irq_memory_on(f);
	if (did & FB_CONFIG_DID_MSI)
		fb_irq_sync(f);
	return 0;
}

int fb_vm_region_write(struct fb_root_function *f, const struct vfio_user_message *msg)
{
	struct fb_reader rd = fb_reader(msg->body, msg->len);
	struct region_request r;
	struct fb_vm_access *vm;
	const uint8_t *data;
	size_t large;
	int err = parse_region(f, &rd, &r);

	if (err)
		return -err;
	data = fb_rd_bytes(&rd, r.count);
	if (!data || rd.left)
		return -EINVAL;
	if (r.count == 0) {
		answer_region(f, msg, r.offset, r.region, 0);
		return 0;
	}
	if (r.region == VFIO_REGION_CONFIG)
		return write_config(f, msg, &r, data);
	if (!f->cfg.bars[r.region].io) {
		posted(f, &r, data);
		answer_region(f, msg, r.offset, r.region, r.count);
		return 0;
	}
	f->count.mmio_writes++;
	large = r.count / 4 + 2 > FB_VM_OPS ? (r.count / 4 + 2) * sizeof(struct fb_op) : 0;
	vm = get(f, msg, large);
	if (!vm)
		return -ENOMEM;
	vm->offset = r.offset;
	vm->region = r.region;
	vm->count = r.count;
	vm->access.kind = FB_ACCESS_OPS;
	vm->access.ops = large ? (struct fb_op *)(void *)vm->buf : vm->ops;
	vm->access.n_ops = io_ops(f, &r, data, vm->access.ops);
	start(vm);
	return 0;
}

int fb_vm_write_multi(struct fb_root_function *f, const struct vfio_user_message *msg)
{
	struct fb_reader rd = fb_reader(msg->body, msg->len), check;
	uint64_t n = fb_rd_le64(&rd);
	uint8_t *p;

	if (!fb_rd_ok(&rd) || n != rd.left / VFIO_USER_MULTI_ENTRY || rd.left % VFIO_USER_MULTI_ENTRY)
		return -EINVAL;
	check = rd;
	for (uint64_t i = 0; i < n; i++) {
		struct region_request r;

		/* All or nothing, and only what is posted: the message has one answer for all. */
		if (parse_region(f, &check, &r) != 0 || r.count > 8 || r.count == 0 || r.region >= FB_CONFIG_BARS ||
		    f->cfg.bars[r.region].io || !fb_rd_bytes(&check, 8))
			return -EINVAL;
	}
	for (uint64_t i = 0; i < n && fb_vu_is_open(&f->vu); i++) {
		struct region_request r;

		if (parse_region(f, &rd, &r) != 0)
			return -EINVAL;
		posted(f, &r, fb_rd_bytes(&rd, 8));
	}
	if (msg->flags & VFIO_USER_NO_REPLY)
		return 0;
	p = fb_vu_put(&f->vu, msg->id, msg->command, VFIO_USER_TYPE_REPLY, 0, VFIO_USER_MULTI_BODY);
	if (p)
		fb_put_le64(p, n);
	return 0;
}
