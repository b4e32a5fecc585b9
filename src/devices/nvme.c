/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An NVMe 1.4 controller whose namespaces are files or block devices: registers
 * and lifecycle. docs/devices/nvme.md says what is implemented.
 *
 * Theory of operation
 *
 * BAR 0 (16 KiB): registers at 0, doorbells at 1000h, MSI-X table at 2000h.
 *
 * Everything that takes time calls back, and is counted in n_async. Changes of
 * state wait for that count:
 *
 *	CC.EN 0 -> 1   CSTS.RDY follows when nothing of an earlier life is in flight
 *	CC.EN 1 -> 0   queues and commands go at once, CSTS.RDY when DMA and files have ended
 *	CC.SHN         commands end, files are synced, then CSTS.SHST says complete
 *	reset          as 1 -> 0, without anyone to tell; file operations end as orphans
 *
 * nvme_lifecycle() looks at what waits; it is called whenever the count is zero
 * and at the end of each run of the queues.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "devices/nvme.h"

enum {
	MSIX_OFFSET = 0x2000,
	BAR_SIZE = 0x4000,
	TIMEOUT = 60, /* CAP.TO, units of 500 ms: as long as the file system may take to finish writes */
	BUFFERS_MIN_BLOCKS = 4,
};
#define SIZE_CHECK_NS UINT64_C(2000000000)

/* ---- Lifecycle ----------------------------------------------------------------------- */

static void drop_everything(struct nvme *n)
{
	n->enabled = false;
	/* The admin queue last: a Delete Submission Queue in it is known to the queue that it deletes. */
	for (unsigned i = n->n_queues; i > 0; i--)
		nvme_sq_delete(&n->sq[i - 1]);
	for (unsigned i = n->n_queues; i > 0; i--)
		nvme_cq_delete(&n->cq[i - 1]);
	n->n_queues = 0;
	n->next_sq = 0;
	n->shadow_addr = n->event_addr = 0;
	fb_intx_set(n->dev, false);
	fb_device_timer_cancel(n->dev, &n->irq_timer);
	fb_device_timer_cancel(n->dev, &n->retry_timer);
	fb_device_timer_cancel(n->dev, &n->size_timer);
	nvme_events_reset(n);
	nvme_features_reset(n);
	n->intms = 0;
}

static bool shut_down(const struct nvme *n)
{
	return (n->csts & NVME_CSTS_SHST) == NVME_CSTS_SHST_COMPLETE;
}

void nvme_fatal(struct nvme *n, const char *why)
{
	if (n->csts & NVME_CSTS_CFS)
		return;
	fb_device_warn(n->dev, "controller fatal status: %s", why);
	n->csts |= NVME_CSTS_CFS;
	n->enabled = false;
}

static void enable(struct nvme *n)
{
	uint32_t asqs = (n->aqa & 0xfff) + 1, acqs = (n->aqa >> 16 & 0xfff) + 1;
	unsigned mps = nvme_cc_mps(n->cc);

	if (nvme_cc_css(n->cc) != 0) {
		nvme_fatal(n, "CC.CSS asks for a command set that CAP.CSS does not offer");
	} else if (mps > NVME_MPSMAX) {
		nvme_fatal(n, "CC.MPS is larger than CAP.MPSMAX");
	} else if (nvme_cc_ams(n->cc) != 0) {
		nvme_fatal(n, "CC.AMS asks for an arbitration that CAP.AMS does not offer");
	} else if (asqs < 2 || acqs < 2) {
		nvme_fatal(n, "AQA gives the admin queues fewer than 2 entries");
	} else if ((n->asq | n->acq) & ((UINT64_C(4096) << mps) - 1)) {
		nvme_fatal(n, "ASQ or ACQ is not aligned to a memory page");
	} else if (nvme_cq_create(n, 0, acqs, n->acq, 0, true)) {
		nvme_fatal(n, "no memory for the admin completion queue");
	} else {
		n->page_size = 4096u << mps;
		nvme_sq_create(n, 0, 0, asqs, n->asq);
		n->enabled = true;
		n->csts = (n->csts & ~(uint32_t)NVME_CSTS_SHST) | NVME_CSTS_RDY;
		fb_device_timer_set(n->dev, &n->size_timer, fb_device_now(n->dev) + SIZE_CHECK_NS);
	}
}

static void synced(struct nvme *n)
{
	n->sync_wanted = false;
	if ((n->csts & NVME_CSTS_SHST) == NVME_CSTS_SHST_OCCURRING)
		n->csts = (n->csts & ~(uint32_t)NVME_CSTS_SHST) | NVME_CSTS_SHST_COMPLETE;
	if (n->closing)
		fb_device_idle(n->dev);
}

static void file_synced(struct fb_aio_op *op, int res)
{
	struct nvme_ns *ns = (struct nvme_ns *)(void *)((char *)op - offsetof(struct nvme_ns, sync));
	struct nvme *n = ns->n;

	n->n_async--;
	if (res == 0)
		fb_disk_synced(&ns->disk, ns->sync_mark);
	else
		nvme_ns_status(ns, true, res, 0); /* logs and counts it */
	if (--n->syncing == 0 && n->sync_wanted)
		synced(n);
	if (n->n_async == 0)
		nvme_lifecycle(n);
}

static void sync_files(struct nvme *n)
{
	for (unsigned i = 0; i < n->n_ns; i++) {
		struct nvme_ns *ns = &n->ns[i];

		if (!ns->nsid || !fb_disk_dirty(&ns->disk))
			continue;
		n->syncing++;
		n->n_async++;
		ns->sync_mark = ns->disk.writes_ended;
		ns->sync = (struct fb_aio_op){.kind = FB_AIO_FSYNC, .fd = ns->disk.fd, .done = file_synced};
		fb_aio_queue(&n->aio, &ns->sync);
	}
	if (n->syncing)
		nvme_kick(n);
	else
		synced(n);
}

void nvme_lifecycle(struct nvme *n)
{
	if (n->stopping && n->n_async == 0) {
		n->stopping = false;
		n->csts &= NVME_CSTS_NSSRO;
	}
	if (n->cc & NVME_CC_EN && !n->enabled && !n->stopping && n->n_async == 0 &&
	    !(n->csts & (NVME_CSTS_RDY | NVME_CSTS_CFS)))
		enable(n);
	if (n->sync_wanted && n->n_busy == 0 && n->syncing == 0)
		sync_files(n);
}

static void size_due(struct fb_device *dev, struct fb_device_timer *timer)
{
	struct nvme *n = fb_device_state(dev);

	nvme_ns_check_size(n);
	fb_device_timer_set(dev, timer, fb_device_now(dev) + SIZE_CHECK_NS);
}

/* ---- Registers (3.1) ---------------------------------------------------------------------- */

static uint64_t capabilities(void)
{
	return NVME_MQES | UINT64_C(1) << 16 /* CQR */ | (uint64_t)TIMEOUT << 24 | UINT64_C(1) << 36 /* NSSRS */ |
	       UINT64_C(1) << 37 /* CSS: NVM */ | (uint64_t)NVME_MPSMAX << 52;
}

static uint32_t read32(const struct nvme *n, uint64_t offset)
{
	switch (offset) {
	case NVME_REG_CAP:
		return (uint32_t)capabilities();
	case NVME_REG_CAP + 4:
		return (uint32_t)(capabilities() >> 32);
	case NVME_REG_VS:
		return NVME_VS_1_4;
	case NVME_REG_INTMS:
	case NVME_REG_INTMC:
		return n->intms;
	case NVME_REG_CC:
		return n->cc;
	case NVME_REG_CSTS:
		return n->csts;
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
		return 0; /* reserved, and doorbells, which are write-only */
	}
}

static void write_cc(struct nvme *n, uint32_t value)
{
	uint32_t old = n->cc;

	n->cc = value & 0x00fffff1;
	if (old & NVME_CC_EN && !(value & NVME_CC_EN)) {
		drop_everything(n);
		n->stopping = true;
	}
	if (nvme_cc_shn(value) && nvme_cc_shn(value) != nvme_cc_shn(old) && !(n->csts & NVME_CSTS_SHST) &&
	    !n->stopping) {
		n->csts |= NVME_CSTS_SHST_OCCURRING;
		n->sync_wanted = true;
	}
	nvme_lifecycle(n);
}

static void set_half(uint64_t *reg, bool high, uint32_t value)
{
	*reg = high ? (*reg & UINT32_MAX) | (uint64_t)value << 32 : (*reg & ~(uint64_t)UINT32_MAX) | value;
}

static void write32(struct nvme *n, uint64_t offset, uint32_t value)
{
	if (offset >= NVME_REG_DBS) {
		nvme_doorbell(n, offset, value);
		return;
	}
	switch (offset) {
	case NVME_REG_INTMS:
		n->intms |= value;
		nvme_irq_update(n);
		break;
	case NVME_REG_INTMC:
		n->intms &= ~value;
		nvme_irq_update(n);
		break;
	case NVME_REG_CC:
		write_cc(n, value);
		break;
	case NVME_REG_CSTS:
		n->csts &= ~(value & NVME_CSTS_NSSRO);
		break;
	case NVME_REG_NSSR:
		if (value != NVME_NSSR_MAGIC)
			break;
		drop_everything(n);
		n->cc = 0;
		n->stopping = true;
		n->csts |= NVME_CSTS_NSSRO;
		nvme_lifecycle(n);
		break;
	case NVME_REG_AQA:
		n->aqa = value & 0x0fff0fff;
		break;
	case NVME_REG_ASQ:
		set_half(&n->asq, false, value & ~0xfffu);
		break;
	case NVME_REG_ASQ + 4:
		set_half(&n->asq, true, value);
		break;
	case NVME_REG_ACQ:
		set_half(&n->acq, false, value & ~0xfffu);
		break;
	case NVME_REG_ACQ + 4:
		set_half(&n->acq, true, value);
		break;
	}
}

static uint64_t model_read(struct fb_device *dev, unsigned bar, uint64_t offset, unsigned size)
{
	const struct nvme *n = fb_device_state(dev);

	if (size == 8)
		return read32(n, offset) | (uint64_t)read32(n, offset + 4) << 32;
	return read32(n, offset);
}

static void model_write(struct fb_device *dev, unsigned bar, uint64_t offset, uint64_t value, unsigned size)
{
	struct nvme *n = fb_device_state(dev);

	write32(n, offset, (uint32_t)value);
	if (size == 8)
		write32(n, offset + 4, (uint32_t)(value >> 32));
}

/* ---- The model ----------------------------------------------------------------------------- */

static void model_reset(struct fb_device *dev, enum fb_reset kind)
{
	struct nvme *n = fb_device_state(dev);

	if (n->csts & NVME_CSTS_RDY && !shut_down(n))
		n->unsafe_shutdowns++;
	if (kind == FB_RESET_SESSION)
		n->power_cycles++;
	drop_everything(n);
	n->cc = n->csts = n->aqa = 0;
	n->asq = n->acq = 0;
	n->stopping = false;
	if (n->closing)
		nvme_kick(n); /* quiesce() waited for what has just been dropped */
	else
		n->sync_wanted = false;
}

static int check_options(const struct nvme *n)
{
	if (fb_disk_check_text(n->dev, "serial", n->opt.serial, 20) ||
	    fb_disk_check_text(n->dev, "model", n->opt.model, 40) ||
	    fb_disk_check_text(n->dev, "firmware", n->opt.firmware, 8))
		return -EINVAL;
	if (n->opt.mdts & (n->opt.mdts - 1)) {
		fb_device_error(n->dev, "mdts=%" PRIu64 ": a power of 2 from 4096 to 1048576 is allowed", n->opt.mdts);
		return -EINVAL;
	}
	if (n->opt.create % 4096) {
		fb_device_error(n->dev, "create=%" PRIu64 ": a multiple of 4096 is allowed", n->opt.create);
		return -EINVAL;
	}
	return 0;
}

/* The commands, their buffers, and how these get to the files. 0 or -errno, logged. */
static int open_buffers(struct nvme *n)
{
	size_t block = 2 * ((size_t)4096 << n->mdts); /* Compare: the file's and the host's */
	size_t least = BUFFERS_MIN_BLOCKS * block;
	bool direct = false;
	int err;

	for (unsigned i = 0; i < n->n_ns; i++)
		direct |= n->ns[i].nsid && n->ns[i].disk.direct;
	err = fb_arena_init(&n->arena, block, n->opt.buffers > least ? n->opt.buffers : least);
	if (!err && !(n->cmds = calloc(NVME_CMDS, sizeof(*n->cmds))))
		err = -ENOMEM;
	if (err) {
		fb_device_error(n->dev, "no memory for %" PRIu64 " bytes of buffers", n->opt.buffers);
		return err;
	}
	err = fb_aio_open(&n->aio, n->opt.aio, n->arena.base, n->arena.size, direct);
	if (err)
		fb_device_error(n->dev, "aio=%s: %s%s", n->opt.aio == FB_AIO_THREADS ? "threads" : "io_uring", strerror(-err),
				n->opt.aio == FB_AIO_URING ? " (aio=threads works without io_uring)" : "");
	return err;
}

static void init_commands(struct nvme *n)
{
	TAILQ_INIT(&n->free);
	TAILQ_INIT(&n->waiting);
	TAILQ_INIT(&n->aers);
	for (unsigned i = 0; i < NVME_CMDS; i++) {
		struct nvme_cmd *cmd = &n->cmds[i];

		cmd->n = n;
		cmd->segs = cmd->few;
		cmd->seg_room = sizeof(cmd->few) / sizeof(cmd->few[0]);
		TAILQ_INSERT_TAIL(&n->free, cmd, link);
	}
	n->n_free = NVME_CMDS;
}

static void tell_namespaces(const struct nvme *n)
{
	for (unsigned i = 0; i < n->n_ns; i++) {
		const struct nvme_ns *ns = &n->ns[i];

		if (ns->nsid)
			fb_device_info(n->dev, "namespace %u: %s, %" PRIu64 " blocks of %u, %s%s, %s", ns->nsid,
				       n->opt.file[i], nvme_ns_blocks(ns), 1u << ns->lbads,
				       ns->disk.direct ? "direct" : "page cache", ns->disk.readonly ? ", read-only" : "",
				       n->aio.backend->name);
	}
}

static int model_realize(struct fb_device *dev)
{
	struct nvme *n = fb_device_state(dev);
	int err;

	n->dev = dev;
	err = check_options(n);
	if (err)
		return err;
	while ((uint64_t)4096 << n->mdts < n->opt.mdts)
		n->mdts++;
	snprintf(n->mn, sizeof(n->mn), "%s", n->opt.model);
	snprintf(n->fr, sizeof(n->fr), "%s", n->opt.firmware);
	err = nvme_ns_open_all(n);
	if (err)
		return err;
	err = open_buffers(n);
	if (err)
		goto free_memory;
	init_commands(n);
	nvme_queue_init(n);
	n->size_timer.due = size_due;
	n->start_ns = fb_device_now(dev);
	n->power_cycles = 1;
	nvme_features_reset(n);
	fb_device_poller_add(dev, &n->poller);
	err = fb_device_fd_add(dev, &n->aio_watch, n->aio.wake_fd, EPOLLIN);
	if (err) {
		fb_device_error(dev, "file completions cannot be waited for: %s", strerror(-err));
		goto close_aio;
	}
	tell_namespaces(n);
	return 0;

close_aio:
	fb_device_poller_del(dev, &n->poller);
	fb_aio_close(&n->aio);
free_memory:
	free(n->cmds);
	n->cmds = NULL;
	fb_arena_fini(&n->arena);
	nvme_ns_close_all(n);
	return err;
}

static void model_unrealize(struct fb_device *dev)
{
	struct nvme *n = fb_device_state(dev);

	drop_everything(n);
	fb_device_fd_del(dev, &n->aio_watch);
	fb_device_poller_del(dev, &n->poller);
	n->running = true; /* no more runs are scheduled from here */
	n->cc = 0;
	fb_aio_close(&n->aio); /* waits for the kernel to let go of the buffers */
	for (unsigned i = 0; i < NVME_CMDS; i++) {
		if (n->cmds[i].segs != n->cmds[i].few)
			free(n->cmds[i].segs);
		free(n->cmds[i].list);
	}
	free(n->cmds);
	fb_arena_fini(&n->arena);
	nvme_ns_close_all(n);
}

static bool model_quiesce(struct fb_device *dev)
{
	struct nvme *n = fb_device_state(dev);
	bool dirty = false;

	n->closing = true;
	for (unsigned i = 0; i < n->n_ns; i++)
		dirty |= n->ns[i].nsid && fb_disk_dirty(&n->ns[i].disk);
	if (n->n_busy == 0 && n->n_async == 0 && !dirty)
		return true;
	n->sync_wanted = true;
	nvme_kick(n);
	return false;
}

static void model_stats(struct fb_device *dev, void (*put)(void *arg, const char *name, uint64_t value), void *arg)
{
	const struct nvme *n = fb_device_state(dev);
	uint64_t reads = 0, writes = 0, br = 0, bw = 0, media = 0;

	for (unsigned i = 0; i < n->n_ns; i++) {
		reads += n->ns[i].reads;
		writes += n->ns[i].writes;
		br += n->ns[i].bytes_read;
		bw += n->ns[i].bytes_written;
		media += n->ns[i].media_errors;
	}
	put(arg, "commands", n->fetched);
	put(arg, "fetches", n->fetches);
	put(arg, "completions", n->cqes);
	put(arg, "completion_writes", n->cqe_writes);
	put(arg, "interrupts", n->irqs);
	put(arg, "reads", reads);
	put(arg, "read_bytes", br);
	put(arg, "writes", writes);
	put(arg, "write_bytes", bw);
	put(arg, "file_operations", n->aio.ops);
	put(arg, "file_submits", n->aio.submits);
	put(arg, "writes_at_once", n->aio.at_once);
	put(arg, "writes_slow", n->aio.slow);
	put(arg, "in_progress", n->n_busy);
	put(arg, "buffer_bytes", n->arena.used);
	put(arg, "buffer_waits", n->buffer_waits);
	put(arg, "errors", n->errors_total);
	put(arg, "media_errors", media);
	put(arg, "doorbells", n->doorbells);
	put(arg, "bad_doorbells", n->bad_doorbells);
	put(arg, "shadow_looks", n->shadow_looks);
	put(arg, "dropped_by_reset", n->dropped);
}

static const char *const lba_choices[] = {"auto", "512", "4096", NULL};
static const char *const aio_choices[] = {"auto", "io_uring", "threads", NULL};

#define FILE_OPTION(number)                                                                                            \
	FB_OPTION(struct nvme, opt.file[(number) - 1], "file" #number, FB_OPT_STRING,                                  \
		  .help = "image file or block device of namespace " #number)

static const struct fb_option options[] = {
	FB_OPTION(struct nvme, opt.file[0], "file", FB_OPT_STRING, .required = true,
		  .help = "image file or block device of namespace 1"),
	FILE_OPTION(2),
	FILE_OPTION(3),
	FILE_OPTION(4),
	FILE_OPTION(5),
	FILE_OPTION(6),
	FILE_OPTION(7),
	FILE_OPTION(8),
	FILE_OPTION(9),
	FILE_OPTION(10),
	FILE_OPTION(11),
	FILE_OPTION(12),
	FILE_OPTION(13),
	FILE_OPTION(14),
	FILE_OPTION(15),
	FILE_OPTION(16),
	FB_OPTION(struct nvme, opt.lba, "lba", FB_OPT_CHOICE, .def = "auto", .choices = lba_choices, .unit = "bytes",
		  .help = "block size; auto: what Format NVM chose for this file, else 512"),
	FB_OPTION(struct nvme, opt.queues, "queues", FB_OPT_U32, .def = "64", .min = 1, .max = NVME_MAX_QUEUES,
		  .help = "I/O queue pairs"),
	FB_OPTION(struct nvme, opt.serial, "serial", FB_OPT_STRING,
		  .help = "serial number, also the root of UUIDs and NQN; default: made from machine, id and file"),
	FB_OPTION(struct nvme, opt.model, "model", FB_OPT_STRING, .def = "Farbus NVMe", .help = "model number"),
	FB_OPTION(struct nvme, opt.firmware, "firmware", FB_OPT_STRING, .def = "1.0", .help = "firmware revision"),
	FB_OPTION(struct nvme, opt.mdts, "mdts", FB_OPT_SIZE, .def = "512K", .min = 4096, .max = 1048576,
		  .unit = "bytes", .help = "largest transfer of one command, a power of 2"),
	FB_OPTION(struct nvme, opt.buffers, "buffers", FB_OPT_SIZE, .def = "32M", .min = 1048576,
		  .max = UINT64_C(4) << 30, .unit = "bytes",
		  .help = "memory for data in flight; commands wait when it is used up"),
	FB_OPTION(struct nvme, opt.direct, "direct", FB_OPT_CHOICE, .def = "auto", .choices = fb_disk_direct_choices,
		  .help = "O_DIRECT; auto: for block devices, files go through the page cache"),
	FB_OPTION(struct nvme, opt.aio, "aio", FB_OPT_CHOICE, .def = "auto", .choices = aio_choices,
		  .help = "how files are accessed; auto: io_uring, or threads where the system forbids it"),
	FB_OPTION(struct nvme, opt.readonly, "readonly", FB_OPT_BOOL, .def = "off",
		  .help = "namespaces are write-protected"),
	FB_OPTION(struct nvme, opt.cache, "cache", FB_OPT_BOOL, .def = "on",
		  .help = "volatile write cache; off: each write is on the disk before it completes"),
	FB_OPTION(struct nvme, opt.discard, "discard", FB_OPT_BOOL, .def = "on",
		  .help = "deallocated blocks become holes in the file"),
	FB_OPTION(struct nvme, opt.shadow, "shadow", FB_OPT_BOOL, .def = "on",
		  .help = "offer shadow doorbells where the root serves them"),
	FB_OPTION(struct nvme, opt.create, "create", FB_OPT_SIZE, .def = "0", .unit = "bytes", .max = UINT64_C(1) << 62,
		  .help = "make files that are missing, of this size"),
};

static const struct fb_bar bars[] = {
	{.index = 0, .is_64 = true, .size = BAR_SIZE, .min_access = 4, .max_access = 8},
};

const struct fb_model nvme_model = {
	.api = FB_DEVICE_API,
	.size = sizeof(struct fb_model),
	.name = "nvme",
	.summary = "NVMe 1.4 solid-state drive on image files or block devices",
	/* FAB5h is not assigned to anyone by the PCI-SIG, and no driver has quirks for it: drivers bind by class. */
	.identity = {.vendor_id = 0xfab5, .device_id = 0x0001, .subsystem_vendor_id = 0xfab5, .subsystem_id = 0x0001,
		     .class_code = 0x010802, .revision = 1},
	.bars = bars,
	.n_bars = 1,
	.msi_vectors = 32,
	.msix_vectors = NVME_VECTORS,
	.msix_bar = 0,
	.msix_offset = MSIX_OFFSET,
	.intx = true,
	.options = options,
	.n_options = sizeof(options) / sizeof(options[0]),
	.state_size = sizeof(struct nvme),
	.realize = model_realize,
	.unrealize = model_unrealize,
	.reset = model_reset,
	.read = model_read,
	.write = model_write,
	.quiesce = model_quiesce,
	.stats = model_stats,
};
