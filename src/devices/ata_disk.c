/* SPDX-License-Identifier: Apache-2.0 */
/* The disk of ata_disk.h: opening, decoding, answers, resets. */
#include "devices/ata_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "util/reader.h"

/* ---- Answers ------------------------------------------------------------------------- */

void ata_refuse(struct ata_cmd *cmd, uint8_t error)
{
	cmd->answered = true;
	cmd->failure = ATA_REFUSED;
	cmd->tf.status = ATA_GOOD | ATA_ERR;
	cmd->tf.error = error;
	cmd->disk->refused++;
	ata_log_error(cmd);
}

void ata_answer(struct ata_cmd *cmd)
{
	cmd->answered = true;
	cmd->tf.status = ATA_GOOD;
	cmd->tf.error = 0;
}

/* Which of the file's errors this is for the host, and a line for the operator. */
static void file_failed(struct ata_cmd *cmd)
{
	struct ata_disk *disk = cmd->disk;
	bool write = cmd->failure == ATA_WRITE_FAILED;

	if (disk->file_errors++ < 8 || disk->file_errors % 1024 == 0)
		fb_device_warn(disk->host->dev, "%s=%s: %s at byte %" PRIu64 ": %s", disk->disk.opt, disk->disk.path,
			       write ? "write" : "read", cmd->failed_at,
			       cmd->err == -ENODATA ? "the file ends before it" : strerror(-cmd->err));
	cmd->tf.lba = cmd->failed_at / ATA_SECTOR;
	if (!write) {
		disk->media_errors++;
		cmd->tf.status = ATA_GOOD | ATA_ERR;
		cmd->tf.error = ATA_UNC;
	} else {
		/* A drive that cannot write has a fault: full, torn out, read-only underneath. */
		cmd->tf.status = ATA_GOOD | ATA_DF | ATA_ERR;
		cmd->tf.error = ATA_ABRT;
	}
}

void ata_ended(struct ata_cmd *cmd)
{
	struct ata_disk *disk = cmd->disk;

	switch (cmd->failure) {
	case ATA_OK:
		cmd->tf.status = ATA_GOOD;
		cmd->tf.error = 0;
		if (cmd->start == ata_read_parts || cmd->start == ata_verify_parts) {
			disk->reads++;
			disk->sectors_read += cmd->span / ATA_SECTOR;
		} else if (cmd->start == ata_write_parts) {
			disk->writes++;
			disk->sectors_written += cmd->span / ATA_SECTOR;
		} else if (cmd->start == ata_flush_part) {
			disk->flushes++;
		}
		return;
	case ATA_READ_FAILED:
	case ATA_WRITE_FAILED:
		file_failed(cmd);
		break;
	case ATA_REFUSED:
		cmd->tf.status = ATA_GOOD | ATA_ERR;
		cmd->tf.lba = cmd->failed_at / ATA_SECTOR;
		disk->refused++;
		break;
	case ATA_DMA_FAILED: /* the disk knows nothing of it; the controller says more */
		cmd->tf.status = ATA_GOOD | ATA_ERR;
		cmd->tf.error = ATA_ABRT;
		return;
	}
	ata_log_error(cmd);
}

void ata_queue_failed(struct ata_cmd *cmd)
{
	struct ata_disk *disk = cmd->disk;

	disk->queue_failed = true;
	disk->failed_tag = cmd->tag;
	disk->failed_tf = cmd->tf;
}

/* ---- Decoding: what moves data --------------------------------------------------------- */

/* True when the command addresses `sectors` that there are; else it is answered. */
static bool in_disk(struct ata_cmd *cmd, uint64_t lba, uint32_t sectors)
{
	struct ata_disk *disk = cmd->disk;

	if (fb_in_range(lba, sectors, disk->sectors))
		return true;
	cmd->tf.lba = lba < disk->sectors ? disk->sectors : lba;
	ata_refuse(cmd, ATA_IDNF);
	return false;
}

/* The address and count of 28-bit and 48-bit commands. */
static bool address(struct ata_cmd *cmd, bool ext, uint64_t *lba, uint32_t *sectors)
{
	const struct ata_tf *tf = &cmd->tf;

	if (!(tf->device & ATA_DEV_LBA)) { /* no drive of this size has cylinders */
		ata_refuse(cmd, ATA_ABRT);
		return false;
	}
	if (ext) {
		*lba = tf->lba;
		*sectors = tf->count ? tf->count : 65536;
	} else {
		*lba = (tf->lba & 0xffffff) | (uint64_t)(tf->device & 15) << 24;
		*sectors = tf->count & 0xff ? tf->count & 0xff : 256;
	}
	return in_disk(cmd, *lba, *sectors);
}

static void media(struct ata_cmd *cmd, bool ext, enum ata_direction direction, void (*start)(struct ata_part *part))
{
	uint64_t lba;
	uint32_t sectors;

	if (!address(cmd, ext, &lba, &sectors))
		return;
	if (direction == ATA_FROM_HOST && cmd->disk->disk.readonly) {
		ata_refuse(cmd, ATA_ABRT);
		return;
	}
	cmd->disk->standby = false;
	cmd->offset = lba * ATA_SECTOR;
	ata_data_setup(cmd, direction, (uint64_t)sectors * ATA_SECTOR, start);
}

static void multiple(struct ata_cmd *cmd, bool ext, enum ata_direction direction, void (*start)(struct ata_part *part))
{
	if (cmd->disk->multiple)
		media(cmd, ext, direction, start);
	else
		ata_refuse(cmd, ATA_ABRT);
}

static void queued(struct ata_cmd *cmd, enum ata_direction direction, void (*start)(struct ata_part *part))
{
	uint16_t count = cmd->tf.features;

	cmd->ncq = true;
	cmd->tag = (uint8_t)(cmd->tf.count >> 3 & 31);
	cmd->tf.features = cmd->tf.count;
	cmd->tf.count = count;
	media(cmd, true, direction, start);
}

static void flush(struct ata_cmd *cmd)
{
	cmd->unbuffered = true;
	ata_data_setup(cmd, ATA_NO_DATA, 0, ata_flush_part);
}

static void trim(struct ata_cmd *cmd)
{
	const struct ata_tf *tf = &cmd->tf;

	if (!(tf->features & 1) || tf->count == 0 || tf->count > ATA_TRIM_SECTORS || !cmd->disk->discard ||
	    cmd->disk->disk.readonly) {
		ata_refuse(cmd, ATA_ABRT);
		return;
	}
	cmd->offset = 0;
	ata_data_setup(cmd, ATA_FROM_HOST, (uint64_t)tf->count * ATA_SECTOR, ata_trim_part);
}

/* ---- Decoding: what does not ---------------------------------------------------------------- */

static void set_multiple(struct ata_cmd *cmd)
{
	unsigned n = cmd->tf.count & 0xff;

	if (n > ATA_MULTIPLE_MAX || n & (n - 1)) {
		ata_refuse(cmd, ATA_ABRT);
		return;
	}
	cmd->disk->multiple = (uint8_t)n;
	ata_answer(cmd);
}

static void native_max(struct ata_cmd *cmd, bool ext)
{
	uint64_t last = cmd->disk->sectors - 1;

	if (!ext) {
		if (last > 0xfffffff)
			last = 0xfffffff;
		cmd->tf.device = (uint8_t)((cmd->tf.device & 0xf0) | last >> 24);
		last &= 0xffffff;
	}
	cmd->tf.lba = last;
	ata_answer(cmd);
}

static void standby(struct ata_cmd *cmd)
{
	cmd->disk->standby = true;
	cmd->disk->asleep = cmd->tf.command == ATA_SLEEP;
	flush(cmd);
}

void ata_signature(struct ata_tf *tf)
{
	*tf = (struct ata_tf){.status = ATA_GOOD, .error = 1, .count = 1, .lba = 1};
}

static void run_command(struct ata_cmd *cmd)
{
	uint8_t command = cmd->tf.command;

	switch (command) {
	case ATA_READ_SECTORS:
	case ATA_READ_DMA:
		media(cmd, false, ATA_TO_HOST, ata_read_parts);
		break;
	case ATA_READ_SECTORS_EXT:
	case ATA_READ_DMA_EXT:
		media(cmd, true, ATA_TO_HOST, ata_read_parts);
		break;
	case ATA_READ_MULTIPLE:
	case ATA_READ_MULTIPLE_EXT:
		multiple(cmd, command == ATA_READ_MULTIPLE_EXT, ATA_TO_HOST, ata_read_parts);
		break;
	case ATA_WRITE_SECTORS:
	case ATA_WRITE_DMA:
		media(cmd, false, ATA_FROM_HOST, ata_write_parts);
		break;
	case ATA_WRITE_SECTORS_EXT:
	case ATA_WRITE_DMA_EXT:
	case ATA_WRITE_DMA_FUA_EXT:
		media(cmd, true, ATA_FROM_HOST, ata_write_parts);
		break;
	case ATA_WRITE_MULTIPLE:
	case ATA_WRITE_MULTIPLE_EXT:
	case ATA_WRITE_MULTIPLE_FUA_EXT:
		multiple(cmd, command != ATA_WRITE_MULTIPLE, ATA_FROM_HOST, ata_write_parts);
		break;
	case ATA_READ_FPDMA_QUEUED:
		queued(cmd, ATA_TO_HOST, ata_read_parts);
		break;
	case ATA_WRITE_FPDMA_QUEUED:
		queued(cmd, ATA_FROM_HOST, ata_write_parts);
		break;
	case ATA_READ_VERIFY:
	case ATA_READ_VERIFY_EXT:
		media(cmd, command == ATA_READ_VERIFY_EXT, ATA_NO_DATA, ata_verify_parts);
		break;
	case ATA_FLUSH_CACHE:
	case ATA_FLUSH_CACHE_EXT:
		flush(cmd);
		break;
	case ATA_DATA_SET_MANAGEMENT:
		trim(cmd);
		break;
	case ATA_IDENTIFY:
		ata_reply(cmd, ATA_SECTOR, ata_identify);
		break;
	case ATA_SET_FEATURES:
		ata_set_features(cmd);
		break;
	case ATA_SMART:
		ata_smart(cmd);
		break;
	case ATA_READ_LOG_EXT:
	case ATA_READ_LOG_DMA_EXT:
		ata_read_log(cmd);
		break;
	case ATA_SET_MULTIPLE:
		set_multiple(cmd);
		break;
	case ATA_READ_NATIVE_MAX:
	case ATA_READ_NATIVE_MAX_EXT:
		native_max(cmd, command == ATA_READ_NATIVE_MAX_EXT);
		break;
	case ATA_CHECK_POWER_MODE:
		cmd->tf.count = cmd->disk->standby ? 0x00 : 0xff;
		ata_answer(cmd);
		break;
	case ATA_IDLE:
	case ATA_IDLE_IMMEDIATE:
		cmd->disk->standby = false;
		ata_answer(cmd);
		break;
	case ATA_STANDBY: /* with a timer, or without: this drive has nothing to save, so it goes at once */
	case ATA_STANDBY_IMMEDIATE:
	case ATA_SLEEP:
		standby(cmd);
		break;
	case ATA_EXECUTE_DIAGNOSTIC:
		ata_signature(&cmd->tf);
		cmd->answered = true;
		break;
	default: /* the security set among them: F1h to F6h are not supported, and change nothing */
		ata_refuse(cmd, ATA_ABRT);
	}
}

void ata_decode(struct ata_cmd *cmd)
{
	struct ata_disk *disk = cmd->disk;
	uint8_t command = cmd->tf.command;

	cmd->direction = ATA_NO_DATA;
	cmd->bytes = 0;
	cmd->span = cmd->left = 0;
	cmd->ncq = cmd->answered = cmd->unbuffered = false;
	cmd->failure = ATA_OK;
	cmd->err = 0;
	cmd->failed_at = 0;
	cmd->request = cmd->tf;
	if (disk->asleep) {
		ata_refuse(cmd, ATA_ABRT);
		return;
	}
	if (disk->queue_failed) {
		if ((command == ATA_READ_LOG_EXT || command == ATA_READ_LOG_DMA_EXT) &&
		    (cmd->tf.lba & 0xff) == ATA_LOG_NCQ_ERROR) {
			ata_read_log(cmd);
			return;
		}
		cmd->ncq = command == ATA_READ_FPDMA_QUEUED || command == ATA_WRITE_FPDMA_QUEUED;
		ata_refuse(cmd, ATA_ABRT);
		return;
	}
	run_command(cmd);
}

/* ---- Resets -------------------------------------------------------------------------------------- */

static void default_settings(struct ata_disk *disk)
{
	disk->write_cache = disk->read_ahead = true;
	disk->multiple = ATA_MULTIPLE_MAX;
	disk->transfer_mode = 0x46; /* Ultra DMA 6 */
}

void ata_disk_power_on(struct ata_disk *disk)
{
	disk->power_on_ns = fb_device_now(disk->host->dev);
	disk->power_cycles++;
	disk->smart_on = disk->smart_autosave = true;
	disk->keep_settings = true;
	default_settings(disk);
	ata_disk_reset(disk, false);
	disk->resets = 0;
}

void ata_disk_reset(struct ata_disk *disk, bool hard)
{
	disk->resets++;
	disk->queue_failed = disk->asleep = disk->standby = false;
	ata_self_test_stop(disk, 2); /* interrupted by a reset */
	if (hard && !disk->keep_settings)
		default_settings(disk);
}

/* ---- Opening --------------------------------------------------------------------------------------- */

int ata_disk_open(struct ata_disk *disk, uint64_t create, enum fb_disk_direct direct)
{
	struct fb_disk *file = &disk->disk;
	uint64_t number;
	int err = fb_disk_open(file, create);

	if (err)
		return err;
	err = fb_disk_check_size(file, ATA_SECTOR);
	if (err) {
		fb_disk_close(file);
		return err;
	}
	disk->sectors = file->bytes / ATA_SECTOR;
	fb_disk_choose_direct(file, direct, ATA_SECTOR);
	/* Beyond the end there is nothing to lose; file systems that cannot make holes say so. */
	disk->trim_zeroes = disk->discard && !file->readonly && !file->is_block &&
			    fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				      (off_t)((file->bytes + 4095) & ~UINT64_C(4095)), 4096) == 0;
	number = fb_disk_mix(disk->serial, 0);
	if (!disk->serial[0]) {
		number = fb_disk_own_number(disk->host->dev, file->path);
		snprintf(disk->serial, sizeof(disk->serial), "FB%016" PRIX64, number);
	}
	disk->wwn = UINT64_C(3) << 60 | number >> 4; /* NAA 3: of our own making */
	disk->present = true;
	ata_disk_power_on(disk);
	fb_device_info(disk->host->dev, "%s: %s, %" PRIu64 " sectors, %s%s, %s", file->opt, file->path, disk->sectors,
		       file->direct ? "direct" : "page cache", file->readonly ? ", read-only" : "",
		       disk->host->aio.backend->name);
	return 0;
}

void ata_disk_close(struct ata_disk *disk)
{
	ata_self_test_stop(disk, 2);
	fb_disk_close(&disk->disk);
	disk->present = false;
}
