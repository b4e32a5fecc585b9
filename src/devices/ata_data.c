/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of ata_disk.h: buffers, files, data to and from the host. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "devices/ata_disk.h"

enum { REAP_MAX = 64 };

void ata_host_init(struct ata_host *host)
{
	TAILQ_INIT(&host->free);
	TAILQ_INIT(&host->waiting);
	for (unsigned i = 0; i < ATA_PARTS; i++)
		TAILQ_INSERT_TAIL(&host->free, &host->part[i], link);
}

/* ---- Parts ------------------------------------------------------------------------ */

static struct ata_part *part_get(struct ata_cmd *cmd, uint32_t len)
{
	struct ata_host *host = cmd->disk->host;
	struct ata_part *part = TAILQ_FIRST(&host->free);
	uint8_t *buf = NULL;

	if (!part || (len && !(buf = fb_arena_get(&host->arena, len))))
		return NULL;
	TAILQ_REMOVE(&host->free, part, link);
	part->disk = cmd->disk;
	part->cmd = cmd;
	part->buf = buf;
	part->index = 0;
	TAILQ_INSERT_TAIL(&cmd->parts, part, link);
	cmd->n_parts++;
	cmd->disk->in_flight++;
	return part;
}

/* Nothing reaches its command from now on. */
static void part_leave(struct ata_part *part)
{
	struct ata_cmd *cmd = part->cmd;

	if (!cmd)
		return;
	TAILQ_REMOVE(&cmd->parts, part, link);
	cmd->n_parts--;
	cmd->working -= part->working;
	part->working = false;
	part->cmd = NULL;
}

static void part_put(struct ata_part *part)
{
	struct ata_disk *disk = part->disk;
	struct ata_host *host = disk->host;

	part_leave(part);
	if (part->buf)
		fb_arena_put(&host->arena, part->buf);
	part->buf = NULL;
	TAILQ_INSERT_HEAD(&host->free, part, link);
	if (!TAILQ_EMPTY(&host->waiting))
		host->kick(host);
	if (--disk->in_flight == 0)
		host->settled(disk);
}

/* ---- Commands ----------------------------------------------------------------------- */

void ata_data_setup(struct ata_cmd *cmd, enum ata_direction direction, uint64_t span,
		    void (*start)(struct ata_part *part))
{
	cmd->direction = direction;
	cmd->bytes = direction == ATA_NO_DATA ? 0 : (uint32_t)span;
	cmd->span = cmd->left = span;
	cmd->start = start;
}

static void stop_waiting(struct ata_cmd *cmd)
{
	if (cmd->waiting)
		TAILQ_REMOVE(&cmd->disk->host->waiting, cmd, link);
	cmd->waiting = false;
}

void ata_drop(struct ata_cmd *cmd)
{
	struct ata_part *part;

	if (!cmd->running)
		return;
	stop_waiting(cmd);
	while ((part = TAILQ_FIRST(&cmd->parts)))
		part_leave(part);
	cmd->running = false;
}

static void finish_if_ended(struct ata_cmd *cmd)
{
	if (!cmd->running || cmd->working || (!cmd->failure && !(cmd->all_started && cmd->left == 0)))
		return;
	ata_drop(cmd); /* what still goes to the host needs nobody */
	ata_ended(cmd);
	cmd->done(cmd);
}

static void ata_pump(struct ata_cmd *cmd)
{
	struct ata_host *host = cmd->disk->host;

	while (cmd->running && !cmd->failure && !cmd->all_started && cmd->n_parts < ATA_CMD_PARTS) {
		uint64_t rest = cmd->span - cmd->next;
		uint32_t len = rest < ATA_PART ? (uint32_t)rest : ATA_PART;
		struct ata_cmd *first = TAILQ_FIRST(&host->waiting);
		struct ata_part *part = first && first != cmd ? NULL : part_get(cmd, cmd->unbuffered ? 0 : len);

		if (!part) { /* first come, first served */
			if (!cmd->waiting) {
				host->waits++;
				cmd->waiting = true;
				TAILQ_INSERT_TAIL(&host->waiting, cmd, link);
			}
			return;
		}
		stop_waiting(cmd);
		part->at = cmd->next;
		part->len = len;
		part->working = true;
		cmd->working++;
		cmd->next += len;
		cmd->all_started = cmd->next == cmd->span;
		cmd->start(part);
	}
	finish_if_ended(cmd);
}

void ata_run(struct ata_cmd *cmd)
{
	TAILQ_INIT(&cmd->parts);
	cmd->next = 0;
	cmd->n_parts = cmd->working = 0;
	cmd->all_started = cmd->waiting = false;
	cmd->running = true;
	ata_pump(cmd);
}

/* A part has done its work, or failed at it; its buffer may still be on its way to the host. */
static void part_worked(struct ata_part *part)
{
	struct ata_cmd *cmd = part->cmd;

	part->working = false;
	cmd->working--;
	cmd->left -= part->len;
}

static void part_failed(struct ata_part *part, enum ata_failure failure, int err)
{
	struct ata_cmd *cmd = part->cmd;
	uint64_t at = failure == ATA_DMA_FAILED ? cmd->offset + part->at : part->op.offset;

	if (!cmd->failure || (failure == cmd->failure && at < cmd->failed_at)) {
		cmd->failed_at = at;
		cmd->failure = failure;
		cmd->err = err;
	}
	part_put(part);
	finish_if_ended(cmd);
}

static void part_done(struct ata_part *part)
{
	struct ata_cmd *cmd = part->cmd;

	part_worked(part);
	part_put(part);
	ata_pump(cmd);
}

/* ---- File operations --------------------------------------------------------------------- */

static void op_ended(struct fb_aio_op *op, int res);

static void queue_op(struct ata_part *part)
{
	struct ata_host *host = part->disk->host;

	part->op.fd = part->disk->disk.fd;
	part->op.done = op_ended;
	fb_aio_queue(&host->aio, &part->op);
	host->kick(host);
}

static void op_ended(struct fb_aio_op *op, int res)
{
	struct ata_part *part = (struct ata_part *)(void *)((char *)op - offsetof(struct ata_part, op));
	struct fb_disk *file = &part->disk->disk;

	/* A write counts as something to flush from when it has ended, whether or not anyone still waits for it. */
	if ((op->kind == FB_AIO_WRITE && !op->dsync) || op->kind == FB_AIO_FALLOCATE)
		file->writes_ended++;
	if (op->kind == FB_AIO_FSYNC && res == 0)
		fb_disk_synced(file, part->sync_mark);
	if (!part->cmd) {
		part_put(part);
		return;
	}
	if (fb_aio_goes_on(op, &res))
		queue_op(part);
	else
		part->step(part, res);
}

static void file_read(struct ata_part *part, void (*step)(struct ata_part *part, int res))
{
	part->op = (struct fb_aio_op){
		.kind = FB_AIO_READ, .buf = part->buf, .len = part->len, .offset = part->cmd->offset + part->at};
	part->step = step;
	queue_op(part);
}

static void file_sync(struct ata_part *part, void (*step)(struct ata_part *part, int res))
{
	part->op = (struct fb_aio_op){.kind = FB_AIO_FSYNC};
	part->sync_mark = part->disk->disk.writes_ended;
	part->step = step;
	queue_op(part);
}

/* ---- Read ----------------------------------------------------------------------------------- */

static void sent(void *arg, int status)
{
	struct ata_part *part = arg;
	struct ata_cmd *cmd = part->cmd;

	part_put(part);
	if (cmd)
		ata_pump(cmd);
}

static void send(struct ata_part *part)
{
	struct ata_cmd *cmd = part->cmd;
	int err = part->disk->host->to_host(cmd, part->at, part->buf, part->len, sent, part);

	if (err) {
		part_failed(part, ATA_DMA_FAILED, err);
		return;
	}
	part_worked(part);
	finish_if_ended(cmd); /* the answer goes right behind the data */
}

static void part_read(struct ata_part *part, int res)
{
	if (res < 0)
		part_failed(part, ATA_READ_FAILED, res);
	else
		send(part);
}

void ata_read_parts(struct ata_part *part)
{
	file_read(part, part_read);
}

static void part_verified(struct ata_part *part, int res)
{
	if (res < 0)
		part_failed(part, ATA_READ_FAILED, res);
	else
		part_done(part);
}

void ata_verify_parts(struct ata_part *part)
{
	file_read(part, part_verified);
}

static void ata_reply_part(struct ata_part *part)
{
	memset(part->buf, 0, part->len);
	part->cmd->fill(part->cmd, part->buf);
	send(part);
}

void ata_reply(struct ata_cmd *cmd, uint32_t len, void (*fill)(struct ata_cmd *cmd, uint8_t *buf))
{
	cmd->fill = fill;
	ata_data_setup(cmd, ATA_TO_HOST, len, ata_reply_part);
}

/* ---- Write ------------------------------------------------------------------------------------- */

static void fetch(struct ata_part *part, fb_dma_done *then)
{
	int err = part->disk->host->from_host(part->cmd, part->at, part->buf, part->len, then, part);

	if (err)
		part_failed(part, ATA_DMA_FAILED, err);
}

/* False: nobody waits for it, or it failed. */
static bool fetched(struct ata_part *part, int status)
{
	if (!part->cmd)
		part_put(part);
	else if (status)
		part_failed(part, ATA_DMA_FAILED, status);
	else
		return true;
	return false;
}

static bool forced(const struct ata_cmd *cmd)
{
	switch (cmd->tf.command) {
	case ATA_WRITE_DMA_FUA_EXT:
	case ATA_WRITE_MULTIPLE_FUA_EXT:
		return true;
	case ATA_WRITE_FPDMA_QUEUED:
		return cmd->tf.device & ATA_DEV_FUA || !cmd->disk->write_cache;
	default:
		return !cmd->disk->write_cache;
	}
}

static void part_written(struct ata_part *part, int res)
{
	if (res < 0)
		part_failed(part, ATA_WRITE_FAILED, res);
	else
		part_done(part);
}

static void write_fetched(void *arg, int status)
{
	struct ata_part *part = arg;
	uint64_t offset;

	if (!fetched(part, status))
		return;
	offset = part->cmd->offset + part->at;
	part->op = (struct fb_aio_op){
		.kind = FB_AIO_WRITE,
		.buf = part->buf,
		.len = part->len,
		.offset = offset,
		.dsync = forced(part->cmd),
		.cached = !part->disk->disk.direct && (part->len | offset) % 4096 == 0, /* no page has to be read first */
	};
	part->step = part_written;
	queue_op(part);
}

void ata_write_parts(struct ata_part *part)
{
	fetch(part, write_fetched);
}

/* ---- Flush, trim ----------------------------------------------------------------------------------- */

void ata_flush_part(struct ata_part *part)
{
	if (fb_disk_dirty(&part->disk->disk))
		file_sync(part, part_written);
	else
		part_done(part);
}

static bool unsupported(int err)
{
	return err == -EOPNOTSUPP || err == -ENOSYS || err == -EINVAL || err == -ENODEV;
}

/* 7.10 of ACS-2: an entry has an LBA of 48 bits and a count of 16. */
static void trim_entry(const struct ata_part *part, uint32_t index, uint64_t *lba, uint64_t *count)
{
	uint64_t entry = ata_get64(part->buf + 8 * index);

	*lba = entry & 0xffffffffffff;
	*count = entry >> 48;
}

/* In bytes: the next entry that is not empty, and those that go on where it ends. Hosts cut what they trim at 65,535 sectors. */
static bool trim_run(struct ata_part *part, uint64_t *offset, uint64_t *length)
{
	uint64_t lba, count;

	*length = 0;
	for (; part->index < part->len / 8; part->index++) {
		trim_entry(part, part->index, &lba, &count);
		if (count == 0)
			continue;
		if (*length && lba * ATA_SECTOR != *offset + *length)
			break;
		if (!*length)
			*offset = lba * ATA_SECTOR;
		*length += count * ATA_SECTOR;
		part->disk->trims++;
	}
	return *length;
}

static void trim_next(struct ata_part *part, int res)
{
	uint64_t offset, length;

	if (res < 0 && !unsupported(res)) {
		part_failed(part, ATA_WRITE_FAILED, res);
		return;
	}
	while (res == 0 && trim_run(part, &offset, &length)) {
		if (!fb_disk_hole(&part->disk->disk, &offset, &length))
			continue;
		part->op = (struct fb_aio_op){.kind = FB_AIO_FALLOCATE,
					      .mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					      .offset = offset,
					      .range = length};
		part->step = trim_next;
		queue_op(part);
		return;
	}
	part_done(part); /* where holes cannot be made it was a hint */
}

static void trim_fetched(void *arg, int status)
{
	struct ata_part *part = arg;
	struct ata_disk *disk = part->disk;

	if (!fetched(part, status))
		return;
	for (uint32_t i = 0; i < part->len / 8; i++) {
		uint64_t lba, count;

		trim_entry(part, i, &lba, &count);
		if (count && (lba >= disk->sectors || count > disk->sectors - lba)) {
			part->cmd->failed_at = lba * ATA_SECTOR;
			part->cmd->failure = ATA_REFUSED;
			part->cmd->tf.error = ATA_IDNF;
			part_done(part);
			return;
		}
	}
	trim_next(part, 0);
}

void ata_trim_part(struct ata_part *part)
{
	fetch(part, trim_fetched);
}

/* ---- The controller's round ----------------------------------------------------------------------------- */

bool ata_host_run(struct ata_host *host)
{
	struct ata_cmd *cmd;
	bool again;

	while ((cmd = TAILQ_FIRST(&host->waiting))) {
		ata_pump(cmd);
		if (TAILQ_FIRST(&host->waiting) == cmd) /* it got nothing, or is the only one */
			break;
	}
	again = fb_aio_submit(&host->aio);
	fb_aio_reap(&host->aio, REAP_MAX);
	return again;
}

static void synced(struct fb_aio_op *op, int res)
{
	struct ata_disk *disk = (struct ata_disk *)(void *)((char *)op - offsetof(struct ata_disk, sync));

	disk->syncing = false;
	if (res == 0)
		fb_disk_synced(&disk->disk, disk->sync_mark);
	else
		fb_device_warn(disk->host->dev, "%s=%s: flush: %s", disk->disk.opt, disk->disk.path, strerror(-res));
	disk->sync_failed = res < 0; /* not again: a stop waits for it */
	if (--disk->in_flight == 0)
		disk->host->settled(disk);
}

void ata_disk_sync(struct ata_disk *disk)
{
	if (disk->syncing)
		return;
	disk->syncing = true;
	disk->in_flight++;
	disk->sync_mark = disk->disk.writes_ended;
	disk->sync = (struct fb_aio_op){.kind = FB_AIO_FSYNC, .fd = disk->disk.fd, .done = synced};
	fb_aio_queue(&disk->host->aio, &disk->sync);
	disk->host->kick(disk->host);
}
