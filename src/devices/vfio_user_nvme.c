/* SPDX-License-Identifier: Apache-2.0 */
/* The pool, the controller's registers, and its coming and going. See vfio_user_nvme.h. */
#include "devices/vfio_user_nvme.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/memfd.h>

enum {
	REG_LOCAL = 0x24,      /* from AQA on: the guest's queues; CMB and boot partitions, which are not offered */
	REG_LOCAL_END = 0x64,
	REG_PMR = 0xe00,       /* persistent memory region, not offered; then doorbells, which cannot be read */
};

/* CAP (3.1.1): what is not offered, and the page size that is. */
#define CAP_MQES UINT64_C(0xffff)
#define CAP_CQR (UINT64_C(1) << 16)
#define CAP_BPS (UINT64_C(1) << 45)
#define CAP_MPSMAX (UINT64_C(15) << 52)
#define CAP_PMRS (UINT64_C(1) << 56)
#define CAP_CMBS (UINT64_C(1) << 57)

static unsigned stride(const struct vn *n)
{
	return 4u << (n->cap >> 32 & 15); /* CAP.DSTRD */
}

/* ---- The pool ----------------------------------------------------------------------------------- */

static void retry_due(struct fb_device *dev, struct fb_device_timer *timer)
{
	(void)dev;
	vn_kick((struct vn *)((char *)timer - offsetof(struct vn, retry)));
}

static int make_pool(struct vn *n)
{
	const struct vu *v = n->v;
	unsigned flags = MFD_CLOEXEC | (v->opt.hugepages ? MFD_HUGETLB | MFD_HUGE_2MB : 0u);
	int err;

	n->size = v->opt.buffers;
	n->fd = memfd_create("farbus-nvme", flags);
	if (n->fd >= 0 && ftruncate(n->fd, (off_t)n->size) == 0)
		n->mem = mmap(NULL, n->size, PROT_READ | PROT_WRITE, MAP_SHARED, n->fd, 0);
	if (n->mem != MAP_FAILED)
		return 0;
	err = -errno;
	fb_device_error(n->dev, "buffers: %s%s", strerror(-err),
			v->opt.hugepages ? " (are there free huge pages of 2 MiB? see /proc/sys/vm/nr_hugepages)" : "");
	return err;
}

static int make_slots(struct vn *n)
{
	n->n_slots = (unsigned)((n->size - (VN_QUEUES + 1) * VN_RING) / (VN_XFER + VN_LIST));
	n->slots = calloc(n->n_slots, sizeof(*n->slots));
	if (!n->slots)
		return -ENOMEM;
	TAILQ_INIT(&n->free);
	TAILQ_INIT(&n->free_admin);
	for (unsigned i = 0; i < n->n_slots; i++) {
		struct vn_slot *s = &n->slots[i];

		s->n = n;
		s->admin_slot = i < VN_ADMIN_SLOTS;
		TAILQ_INSERT_TAIL(s->admin_slot ? &n->free_admin : &n->free, s, link);
	}
	n->n_free_admin = VN_ADMIN_SLOTS;
	n->n_free = n->n_slots - VN_ADMIN_SLOTS;
	return 0;
}

int vn_init(struct vu *v)
{
	struct vn *n = calloc(1, sizeof(*n));
	int err;

	if (!n)
		return -ENOMEM;
	v->nvme = n;
	n->v = v;
	n->dev = v->dev;
	n->fd = -1;
	n->mem = MAP_FAILED;
	n->batch.run = vn_batch;
	n->retry.due = retry_due;
	for (unsigned i = 0; i <= VN_QUEUES; i++) {
		n->sq[i].n = n->cq[i].n = n;
		n->sq[i].qid = n->cq[i].qid = (uint16_t)i;
		TAILQ_INIT(&n->sq[i].slots);
		TAILQ_INIT(&n->cq[i].done);
	}
	err = make_pool(n);
	if (!err)
		err = make_slots(n);
	if (err) /* a server that connects later must not find half of it */
		vn_fini(v);
	return err;
}

void vn_fini(struct vu *v)
{
	struct vn *n = v->nvme;

	if (!n)
		return;
	if (n->mem != MAP_FAILED)
		munmap(n->mem, n->size);
	if (n->fd >= 0)
		close(n->fd);
	free(n->slots);
	free(n);
	v->nvme = NULL;
}

void vn_map(const struct vn *n, uint64_t *iova, uint64_t *size, int *fd)
{
	*iova = VN_IOVA;
	*size = n->size;
	*fd = n->fd;
}

uint8_t *vn_pool(struct vn *n, uint64_t iova, uint64_t len)
{
	return iova >= VN_IOVA && fb_in_range(iova - VN_IOVA, len, n->size) ? n->mem + (iova - VN_IOVA) : NULL;
}

/* ---- Lifecycle ------------------------------------------------------------------------------------- */

void vn_stop(struct vn *n)
{
	for (unsigned i = 0; i <= VN_QUEUES; i++) {
		vn_sq_close(&n->sq[i]);
		vn_cq_close(&n->cq[i]);
	}
	n->enabled = false;
}

void vn_reset(struct vn *n)
{
	vn_stop(n);
	/* The next guest may be another one. */
	for (unsigned i = 0; i < n->n_slots; i++) {
		memset(vn_buffer(&n->slots[i]), 0, n->slots[i].used);
		n->slots[i].used = 0;
	}
	n->aqa = n->cc = n->intms = 0;
	n->asq = n->acq = 0;
	n->failed = false;
}

void vn_fail(struct vn *n, const char *why)
{
	vu_complain(n->v, "the controller has failed: %s", why);
	vn_stop(n);
	n->failed = true;
}

void vn_stats(const struct vn *n, void (*put)(void *arg, const char *name, uint64_t value), void *arg)
{
	const struct vn_counters *c = &n->count;

	put(arg, "nvme_commands", c->commands);
	put(arg, "nvme_refused", c->refused);
	put(arg, "nvme_errors", c->errors);
	put(arg, "nvme_bytes_in", c->bytes_in);
	put(arg, "nvme_bytes_out", c->bytes_out);
	put(arg, "nvme_fetches", c->fetches);
	put(arg, "nvme_completions", c->completions);
	put(arg, "nvme_interrupts", c->interrupts);
	put(arg, "nvme_bad_doorbells", c->bad_doorbells);
	put(arg, "nvme_free_slots", n->n_free + n->n_free_admin);
}

/* ---- To the server ------------------------------------------------------------------------------------ */

static void server_write(struct vn *n, uint64_t offset, uint64_t value, unsigned size)
{
	uint8_t bytes[8];

	fb_put_le64(bytes, value);
	if (!vu_wait_for_turn(n->v, 0, offset, value, size))
		vu_region_write(n->v, true, 0, offset, bytes, size);
}

void vn_server_doorbell(struct vn *n, unsigned qid, bool cq, uint32_t value)
{
	server_write(n, NVME_REG_DBS + (uint64_t)stride(n) * (2 * qid + cq), value, 4);
}

static void enable(struct vn *n)
{
	uint32_t sq = (n->aqa & 0xfff) + 1, cq = (n->aqa >> 16 & 0xfff) + 1;

	if (nvme_cc_mps(n->cc) != 0) {
		vn_fail(n, "the guest asks for memory pages of another size than 4 KiB");
		return;
	}
	if (sq < 2 || cq < 2) {
		vn_fail(n, "the guest's admin queues have one entry");
		return;
	}
	vn_cq_open(n, 0, n->acq, cq, 0, true);
	vn_sq_open(n, 0, 0, n->asq, sq);
	n->sq[0].live = n->cq[0].live = true;
	n->enabled = true;
	vu_irq_update(n->v);
	server_write(n, NVME_REG_AQA, (n->sq[0].server_size - 1) | (n->cq[0].server_size - 1) << 16, 4);
	server_write(n, NVME_REG_ASQ, vn_iova(n, vn_server_sq(n, 0)), 8);
	server_write(n, NVME_REG_ACQ, vn_iova(n, vn_server_cq(n, 0)), 8);
}

static void write_cc(struct vn *n, uint32_t value)
{
	n->cc = value;
	if (!(value & NVME_CC_EN)) {
		vn_stop(n);
		n->failed = false;
	} else if (!n->enabled && !n->failed) {
		enable(n);
	}
	/* A server that was not given its queues is not to be enabled. */
	if (!n->failed)
		server_write(n, NVME_REG_CC, value, 4);
}

/* ---- Registers ------------------------------------------------------------------------------------------- */

static uint64_t with_half(uint64_t old, bool high, uint32_t value)
{
	return high ? (old & 0xffffffff) | (uint64_t)value << 32 : (old & ~UINT64_C(0xffffffff)) | value;
}

static void write32(struct vn *n, uint64_t offset, uint32_t value)
{
	switch (offset) {
	case NVME_REG_INTMS:
		n->intms |= value;
		vn_irq_update(n);
		break;
	case NVME_REG_INTMC:
		n->intms &= ~value;
		vn_irq_update(n);
		break;
	case NVME_REG_CC:
		write_cc(n, value);
		break;
	case NVME_REG_NSSR:
		if (value == NVME_NSSR_MAGIC)
			vn_stop(n);
		server_write(n, offset, value, 4);
		break;
	case NVME_REG_CSTS:
		server_write(n, offset, value, 4);
		break;
	case NVME_REG_AQA:
		n->aqa = value & 0x0fff0fff;
		break;
	case NVME_REG_ASQ:
	case NVME_REG_ASQ + 4:
		n->asq = with_half(n->asq, offset != NVME_REG_ASQ, value) & ~UINT64_C(0xfff);
		break;
	case NVME_REG_ACQ:
	case NVME_REG_ACQ + 4:
		n->acq = with_half(n->acq, offset != NVME_REG_ACQ, value) & ~UINT64_C(0xfff);
		break;
	default:
		break;
	}
}

static void doorbell(struct vn *n, uint64_t offset, uint32_t value)
{
	uint64_t at = offset - NVME_REG_DBS, index = at / stride(n);

	if (at % stride(n) || index / 2 > VN_QUEUES)
		n->count.bad_doorbells++;
	else
		vn_doorbell(n, (unsigned)(index / 2), index & 1, value);
}

void vn_write(struct vn *n, uint64_t offset, uint64_t value, unsigned size)
{
	/* Only accesses of a register's own size, 4 or 8 bytes, are defined (3.1). */
	for (; size >= 4; size -= 4, offset += 4, value >>= 32) {
		if (offset >= NVME_REG_DBS)
			doorbell(n, offset, (uint32_t)value);
		else
			write32(n, offset, (uint32_t)value);
	}
}

static bool is_local(uint64_t offset)
{
	return (offset >= NVME_REG_INTMS && offset < NVME_REG_CC) || (offset >= REG_LOCAL && offset < REG_LOCAL_END) ||
	       offset >= REG_PMR;
}

static uint32_t local(const struct vn *n, uint64_t dword)
{
	switch (dword) {
	case NVME_REG_INTMS:
	case NVME_REG_INTMC:
		return n->intms;
	case NVME_REG_AQA:
		return n->aqa;
	case NVME_REG_ASQ:
		return (uint32_t)n->asq;
	case NVME_REG_ASQ + 4:
		return (uint32_t)(n->asq >> 32);
	case NVME_REG_ACQ:
		return (uint32_t)n->acq;
	case NVME_REG_ACQ + 4:
		return (uint32_t)(n->acq >> 32);
	default:
		return 0;
	}
}

static uint64_t shown_cap(uint64_t cap)
{
	uint64_t mqes = cap & CAP_MQES;

	if (mqes > VN_ENTRIES - 1)
		mqes = VN_ENTRIES - 1;
	return (cap & ~(CAP_MQES | CAP_BPS | CAP_MPSMAX | CAP_PMRS | CAP_CMBS)) | mqes | CAP_CQR;
}

/* The dword at `dword` as the guest sees it, of which the server says `value`. */
static uint32_t shown(struct vn *n, uint64_t dword, uint32_t value)
{
	if (is_local(dword))
		return local(n, dword);
	switch (dword) {
	case NVME_REG_CAP:
	case NVME_REG_CAP + 4:
		n->cap = with_half(n->cap, dword != NVME_REG_CAP, value);
		return (uint32_t)(shown_cap(n->cap) >> 8 * dword);
	case NVME_REG_CSTS:
		return value | (n->failed ? NVME_CSTS_CFS : 0);
	default:
		return value;
	}
}

uint64_t vn_answer(struct vn *n, uint64_t offset, unsigned size, uint64_t value)
{
	if (size == 8)
		return shown(n, offset, (uint32_t)value) | (uint64_t)shown(n, offset + 4, (uint32_t)(value >> 32)) << 32;
	if (size == 4)
		return shown(n, offset, (uint32_t)value);
	return is_local(offset) ? local(n, offset & ~UINT64_C(3)) >> 8 * (offset & 3) : value;
}

bool vn_read(struct vn *n, uint64_t offset, unsigned size, uint64_t *value)
{
	if (!is_local(offset) || (size == 8 && !is_local(offset + 4)))
		return false;
	*value = vn_answer(n, offset, size, 0);
	return true;
}
