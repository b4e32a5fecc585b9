/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An ATA disk (ACS-2, Serial ATA) on a file or block device, for the model of
 * a controller. The controller brings commands and moves data to and from guest
 * memory; the disk decodes, does and answers them.
 *
 *	ata_disk.c      opening, decoding, reset, power
 *	ata_data.c      parts: reading, writing, verifying, flushing, trimming
 *	ata_identify.c  IDENTIFY DEVICE, SET FEATURES
 *	ata_smart.c     SMART, its logs, the self-tests, READ LOG EXT
 *
 * Theory of operation
 *
 * A command is done in parts of at most ATA_PART bytes, several at a time. A
 * part owns a buffer of the controller's arena and has exactly one operation
 * under way (DMA or file) until it is put back. A part whose command was dropped
 * or answered (cmd NULL) only waits for that operation. So after a reset nothing
 * that was in flight is answered, and `in_flight` says when the last of it has
 * let go of the file: the controller becomes ready only then, and no old write
 * reaches the file after a new one.
 */
#ifndef FARBUS_DEVICES_ATA_DISK_H
#define FARBUS_DEVICES_ATA_DISK_H

#include <sys/queue.h>

#include "devices/aio.h"
#include "devices/arena.h"
#include "devices/ata_wire.h"
#include "devices/disk.h"
#include "farbus/device.h"

enum {
	ATA_PART = 512 << 10, /* bytes of a command that are moved at once */
	ATA_CMD_PARTS = 4,    /* of one command at a time */
	ATA_PARTS = 128,      /* of one controller at a time */
	ATA_MULTIPLE_MAX = 16, /* sectors a DRQ block */
	ATA_TRIM_SECTORS = 8, /* of ranges in one DATA SET MANAGEMENT */
	ATA_ERRORS = 5,       /* of the summary error log */
	ATA_TESTS = 21,       /* of the self-test log */
};

struct ata_cmd;
struct ata_disk;
struct ata_part;

enum ata_direction { ATA_NO_DATA, ATA_TO_HOST, ATA_FROM_HOST };
enum ata_failure { ATA_OK, ATA_READ_FAILED, ATA_WRITE_FAILED, ATA_DMA_FAILED, ATA_REFUSED };

struct ata_part {
	struct ata_disk *disk;
	struct ata_cmd *cmd; /* NULL: nobody waits for it any more */
	uint8_t *buf;
	uint64_t at; /* of the command's bytes */
	uint32_t len, index;
	bool working; /* counted in cmd->working */
	struct fb_aio_op op;
	uint64_t sync_mark;
	void (*step)(struct ata_part *part, int res); /* the file operation has ended: 0 or -errno */
	TAILQ_ENTRY(ata_part) link; /* of the command's, or of the free ones */
};
TAILQ_HEAD(ata_part_list, ata_part);

struct ata_cmd {
	struct ata_disk *disk;
	void (*done)(struct ata_cmd *cmd);

	/* The request; after done() the answer, if `failure` is not ATA_DMA_FAILED. */
	struct ata_tf tf;
	uint8_t tag; /* NCQ */

	/* By ata_decode(). */
	enum ata_direction direction;
	uint32_t bytes; /* that the controller has to move */
	bool ncq;
	bool answered;  /* decoding was all: the answer is in tf, done() is not called */
	enum ata_failure failure;
	int err; /* DMA_FAILED: why */

	/* The disk's. */
	void (*start)(struct ata_part *part);
	void (*fill)(struct ata_cmd *cmd, uint8_t *buf);
	uint64_t span, next, left; /* bytes of all parts; not started from here; not done */
	uint64_t offset;           /* in the file, of byte 0 */
	uint64_t failed_at;        /* the first byte in the file that failed */
	unsigned n_parts, working;
	bool unbuffered, all_started, waiting, running;
	struct ata_part_list parts;
	TAILQ_ENTRY(ata_cmd) link; /* host->waiting */
	struct ata_tf request;     /* for the error log */
};
TAILQ_HEAD(ata_cmd_list, ata_cmd);

/* What a controller gives its disks. ata_host_init() fills in the rest. */
struct ata_host {
	struct fb_device *dev;
	struct fb_aio aio;
	struct fb_arena arena;
	/* Something is to be submitted, or waits for a buffer: call ata_host_run() at the end of this round. */
	void (*kick)(struct ata_host *host);
	/* Nothing of this disk is in flight any more. */
	void (*settled)(struct ata_disk *disk);
	/* Move bytes at..at+len of a command's data. 0, then `done` as for fb_dma_readv(); or -errno. */
	int (*to_host)(struct ata_cmd *cmd, uint64_t at, const uint8_t *buf, uint32_t len, fb_dma_done *done, void *arg);
	int (*from_host)(struct ata_cmd *cmd, uint64_t at, uint8_t *buf, uint32_t len, fb_dma_done *done, void *arg);

	struct ata_part part[ATA_PARTS];
	struct ata_part_list free;
	struct ata_cmd_list waiting;
	uint64_t waits;
};

struct ata_error {
	struct ata_tf request, answer;
	uint16_t hours;
	uint32_t ms;
};

struct ata_test {
	uint8_t kind, status;
	uint16_t hours;
	uint64_t lba; /* the first that failed; all ones: none */
};

struct ata_disk {
	struct ata_host *host;
	unsigned number; /* of the port */
	bool present;
	struct fb_disk disk;
	bool discard, trim_zeroes; /* what is trimmed reads as zeros */
	char serial[21], model[41], firmware[9];
	uint64_t wwn;
	uint64_t sectors;

	unsigned in_flight; /* parts */

	/* Settings. */
	bool write_cache, read_ahead, smart_on, smart_autosave, asleep, standby, keep_settings;
	uint8_t multiple, transfer_mode;

	/* NCQ error: everything but reading its log is refused until that, or a reset, has happened. */
	bool queue_failed;
	uint8_t failed_tag;
	struct ata_tf failed_tf;

	/* Since power-on. */
	uint64_t power_on_ns, power_cycles;
	uint64_t reads, writes, flushes, trims, sectors_read, sectors_written, media_errors, file_errors, refused, resets;
	struct ata_error error[ATA_ERRORS];
	unsigned n_errors; /* all; the newest is error[(n_errors - 1) % ATA_ERRORS] */
	struct ata_test test[ATA_TESTS];
	unsigned n_tests;

	/* The self-test that runs. */
	struct ata_cmd self;
	uint8_t self_kind; /* 0: none */
	struct fb_device_timer self_timer;

	struct fb_aio_op sync; /* of ata_disk_sync() */
	bool syncing, sync_failed;
	uint64_t sync_mark;
};

/* ---- The controller's calls -------------------------------------------------- */

/* aio and arena are open, the callbacks set. */
void ata_host_init(struct ata_host *host);
/* Submits, reaps, serves those who wait for buffers. True when some of it has to be tried again soon. */
bool ata_host_run(struct ata_host *host);

/*
 * disk->disk.{dev,opt,path,readonly}, host, number, discard and the names
 * (serial may be empty) are set. 0 or -errno after an error line.
 */
int ata_disk_open(struct ata_disk *disk, uint64_t create, enum fb_disk_direct direct);
void ata_disk_close(struct ata_disk *disk); /* nothing in flight */
/* Power-on, or a hard reset (COMRESET) or soft reset (SRST) of the interface. Commands have been dropped. */
void ata_disk_power_on(struct ata_disk *disk);
void ata_disk_reset(struct ata_disk *disk, bool hard);
void ata_signature(struct ata_tf *tf);

/* Finds out what the command will move. */
void ata_decode(struct ata_cmd *cmd);
/* Does it: done() is called, once, maybe from inside. Not for commands that are `answered`. */
void ata_run(struct ata_cmd *cmd);
/* Forgets a command: done() will not be called. */
void ata_drop(struct ata_cmd *cmd);
/* An NCQ command has failed for good: what its log says from now on. */
void ata_queue_failed(struct ata_cmd *cmd);

/* Brings everything to the medium; then host->settled(). */
void ata_disk_sync(struct ata_disk *disk);

/* ---- Between the parts -------------------------------------------------------- */

void ata_refuse(struct ata_cmd *cmd, uint8_t error);
void ata_answer(struct ata_cmd *cmd); /* good, with what is in tf */
/* The command's data is `len` bytes that fill() writes into a zeroed buffer. */
void ata_reply(struct ata_cmd *cmd, uint32_t len, void (*fill)(struct ata_cmd *cmd, uint8_t *buf));
void ata_read_parts(struct ata_part *part);
void ata_write_parts(struct ata_part *part);
void ata_verify_parts(struct ata_part *part);
void ata_flush_part(struct ata_part *part);
void ata_trim_part(struct ata_part *part);
void ata_data_setup(struct ata_cmd *cmd, enum ata_direction direction, uint64_t span,
		    void (*start)(struct ata_part *part));
void ata_ended(struct ata_cmd *cmd); /* all parts have: makes the answer */
void ata_log_error(struct ata_cmd *cmd);

void ata_identify(struct ata_cmd *cmd, uint8_t *w);
void ata_set_features(struct ata_cmd *cmd);
void ata_smart(struct ata_cmd *cmd);
void ata_read_log(struct ata_cmd *cmd);
void ata_self_test_stop(struct ata_disk *disk, uint8_t status);

#endif
