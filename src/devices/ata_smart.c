/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SMART (ACS-2 7.52), its logs and self-tests, and READ LOG EXT.
 *
 * Counters live in the process: a box that is restarted starts them again. The
 * self-tests read the file: the short one at 64 places, the extended one all of
 * it, at most 512 KiB each 5 ms, beside the host's commands.
 */
#include <string.h>

#include "devices/ata_disk.h"

enum {
	SHORT = 1,
	EXTENDED = 2,
	ABORT = 0x7f,
	SHORT_PLACES = 64,
	SHORT_BYTES = 64 << 10,
	TEST_OK = 0,
	TEST_ABORTED = 1,
	TEST_READ_FAILED = 7,
	TEST_RUNS = 15,
};
#define STEP_NS UINT64_C(5000000)
#define SECOND_NS UINT64_C(1000000000)
#define NO_LBA UINT64_MAX

static uint64_t powered_ns(const struct ata_disk *disk)
{
	return fb_device_now(disk->host->dev) - disk->power_on_ns;
}

static uint16_t ata_hours(const struct ata_disk *disk)
{
	return (uint16_t)(powered_ns(disk) / (3600 * SECOND_NS));
}

void ata_log_error(struct ata_cmd *cmd)
{
	struct ata_disk *disk = cmd->disk;
	struct ata_error *e = &disk->error[disk->n_errors % ATA_ERRORS];

	if (cmd == &disk->self)
		return;
	disk->n_errors++;
	e->request = cmd->request;
	e->answer = cmd->tf;
	e->hours = ata_hours(disk);
	e->ms = (uint32_t)(powered_ns(disk) / 1000000);
}

/* ---- Data ------------------------------------------------------------------------------ */

static uint64_t test_position(const struct ata_disk *disk)
{
	return disk->self.offset + disk->self.span;
}

static uint8_t test_status(const struct ata_disk *disk)
{
	uint64_t size = disk->sectors * ATA_SECTOR, tenths;

	if (!disk->self_kind)
		return disk->n_tests ? (uint8_t)(disk->test[(disk->n_tests - 1) % ATA_TESTS].status << 4) : 0;
	tenths = size < 10 ? 0 : (size - test_position(disk)) / (size / 10);
	return (uint8_t)(TEST_RUNS << 4 | (tenths > 9 ? 9 : tenths));
}

struct attribute {
	uint8_t id, threshold;
	uint16_t flags;
	uint64_t (*raw)(const struct ata_disk *disk);
	bool counts_down; /* its value falls with its raw number */
};

static uint64_t zero(const struct ata_disk *disk)
{
	return 0;
}
static uint64_t hours(const struct ata_disk *disk)
{
	return ata_hours(disk);
}
static uint64_t cycles(const struct ata_disk *disk)
{
	return disk->power_cycles;
}
static uint64_t uncorrectable(const struct ata_disk *disk)
{
	return disk->media_errors;
}
static uint64_t written(const struct ata_disk *disk)
{
	return disk->sectors_written;
}
static uint64_t sectors_read(const struct ata_disk *disk)
{
	return disk->sectors_read;
}

static const struct attribute attributes[] = {
	{5, 10, 0x0033, zero, false},            /* reallocated sectors: a file has none */
	{9, 0, 0x0032, hours, false},
	{12, 0, 0x0032, cycles, false},
	{187, 0, 0x0032, uncorrectable, true},
	{199, 0, 0x0032, zero, false},           /* CRC errors of the interface: there is no cable */
	{241, 0, 0x0032, written, false},
	{242, 0, 0x0032, sectors_read, false},
};
enum { ATTRIBUTES = sizeof(attributes) / sizeof(attributes[0]) };

static uint64_t minutes(const struct ata_disk *disk, uint8_t kind)
{
	uint64_t steps = kind == SHORT ? SHORT_PLACES : disk->sectors * ATA_SECTOR / ATA_PART;

	return steps * STEP_NS / (60 * SECOND_NS) + 1;
}

static void smart_data(struct ata_cmd *cmd, uint8_t *p)
{
	const struct ata_disk *disk = cmd->disk;
	uint64_t extended = minutes(disk, EXTENDED);

	ata_put16(p, 0x0010);
	for (unsigned i = 0; i < ATTRIBUTES; i++) {
		const struct attribute *a = &attributes[i];
		uint8_t *e = p + 2 + 12 * i;
		uint64_t raw = a->raw(disk);

		e[0] = a->id;
		ata_put16(e + 1, a->flags);
		e[3] = e[4] = (uint8_t)(!a->counts_down ? 100 : raw < 99 ? 100 - raw : 1);
		ata_put32(e + 5, (uint32_t)raw);
		ata_put16(e + 9, (uint16_t)(raw >> 32));
	}
	p[363] = test_status(disk);
	p[367] = 0x11; /* EXECUTE OFF-LINE IMMEDIATE, self-tests */
	ata_put16(p + 368, 0x0003);
	p[370] = 0x01; /* error log */
	p[372] = (uint8_t)minutes(disk, SHORT);
	p[373] = extended < 255 ? (uint8_t)extended : 255;
	if (extended >= 255)
		ata_put16(p + 375, extended < 65535 ? (uint16_t)extended : 65535);
	ata_checksum(p);
}

static void thresholds(struct ata_cmd *cmd, uint8_t *p)
{
	ata_put16(p, 0x0010);
	for (unsigned i = 0; i < ATTRIBUTES; i++) {
		p[2 + 12 * i] = attributes[i].id;
		p[3 + 12 * i] = attributes[i].threshold;
	}
	ata_checksum(p);
}

/* ---- Logs ---------------------------------------------------------------------------------- */

static void smart_directory(struct ata_cmd *cmd, uint8_t *p)
{
	ata_put16(p, 1);
	ata_put16(p + 2 * ATA_LOG_SUMMARY_ERROR, 1);
	ata_put16(p + 2 * ATA_LOG_SELF_TEST, 1);
}

/* A.20 of ACS-2. */
static void summary_error_log(struct ata_cmd *cmd, uint8_t *p)
{
	const struct ata_disk *disk = cmd->disk;
	unsigned count = disk->n_errors < ATA_ERRORS ? disk->n_errors : ATA_ERRORS;

	p[0] = 1;
	p[1] = (uint8_t)(disk->n_errors ? (disk->n_errors - 1) % ATA_ERRORS + 1 : 0);
	for (unsigned i = 0; i < count; i++) {
		const struct ata_error *e = &disk->error[i];
		uint8_t *c = p + 2 + 90 * i + 48, *d = c + 12; /* the command that failed; those before it are not kept */

		c[0] = e->request.control;
		c[1] = (uint8_t)e->request.features;
		c[2] = (uint8_t)e->request.count;
		c[3] = (uint8_t)e->request.lba;
		c[4] = (uint8_t)(e->request.lba >> 8);
		c[5] = (uint8_t)(e->request.lba >> 16);
		c[6] = e->request.device;
		c[7] = e->request.command;
		ata_put32(c + 8, e->ms);
		d[1] = e->answer.error;
		d[2] = (uint8_t)e->answer.count;
		d[3] = (uint8_t)e->answer.lba;
		d[4] = (uint8_t)(e->answer.lba >> 8);
		d[5] = (uint8_t)(e->answer.lba >> 16);
		d[6] = e->answer.device;
		d[7] = e->answer.status;
		d[27] = 3; /* state: active */
		ata_put16(d + 28, e->hours);
	}
	ata_put16(p + 452, disk->n_errors < 65535 ? (uint16_t)disk->n_errors : 65535);
	ata_checksum(p);
}

static void self_test_log(struct ata_cmd *cmd, uint8_t *p)
{
	const struct ata_disk *disk = cmd->disk;
	unsigned count = disk->n_tests < ATA_TESTS ? disk->n_tests : ATA_TESTS;

	ata_put16(p, 1);
	for (unsigned i = 0; i < count; i++) {
		const struct ata_test *t = &disk->test[i];
		uint8_t *e = p + 2 + 24 * i;

		e[0] = t->kind;
		e[1] = (uint8_t)(t->status << 4);
		ata_put16(e + 2, t->hours);
		ata_put32(e + 5, t->lba > UINT32_MAX ? UINT32_MAX : (uint32_t)t->lba);
	}
	p[508] = (uint8_t)(disk->n_tests ? (disk->n_tests - 1) % ATA_TESTS + 1 : 0);
	ata_checksum(p);
}

static void gp_directory(struct ata_cmd *cmd, uint8_t *p)
{
	ata_put16(p, 1);
	ata_put16(p + 2 * ATA_LOG_NCQ_ERROR, 1);
}

/* Serial ATA 13.7.3: which command failed, and how. */
static void ncq_error_log(struct ata_cmd *cmd, uint8_t *p)
{
	struct ata_disk *disk = cmd->disk;
	const struct ata_tf *tf = &disk->failed_tf;

	if (!disk->queue_failed) {
		p[0] = 0x80; /* none that was queued */
		ata_checksum(p);
		return;
	}
	p[0] = disk->failed_tag;
	p[2] = tf->status;
	p[3] = tf->error;
	p[4] = (uint8_t)tf->lba;
	p[5] = (uint8_t)(tf->lba >> 8);
	p[6] = (uint8_t)(tf->lba >> 16);
	p[7] = tf->device;
	p[8] = (uint8_t)(tf->lba >> 24);
	p[9] = (uint8_t)(tf->lba >> 32);
	p[10] = (uint8_t)(tf->lba >> 40);
	p[12] = (uint8_t)tf->count;
	p[13] = (uint8_t)(tf->count >> 8);
	ata_checksum(p);
	disk->queue_failed = false;
}

void ata_read_log(struct ata_cmd *cmd)
{
	const struct ata_tf *tf = &cmd->tf;
	unsigned page = (tf->lba >> 8 & 0xff) | (tf->lba >> 24 & 0xff00);
	unsigned log = tf->lba & 0xff;

	if (page == 0 && tf->count == 1 && log == ATA_LOG_DIRECTORY)
		ata_reply(cmd, ATA_SECTOR, gp_directory);
	else if (page == 0 && tf->count == 1 && log == ATA_LOG_NCQ_ERROR)
		ata_reply(cmd, ATA_SECTOR, ncq_error_log);
	else
		ata_refuse(cmd, ATA_ABRT);
}

/* ---- Self-tests -------------------------------------------------------------------------------- */

static void test_ended(struct ata_disk *disk, uint8_t status, uint64_t lba)
{
	disk->test[disk->n_tests++ % ATA_TESTS] = (struct ata_test){
		.kind = disk->self_kind, .status = status, .hours = ata_hours(disk), .lba = lba};
	disk->self_kind = 0;
}

void ata_self_test_stop(struct ata_disk *disk, uint8_t status)
{
	if (!disk->self_kind)
		return;
	ata_drop(&disk->self);
	fb_device_timer_cancel(disk->host->dev, &disk->self_timer);
	test_ended(disk, status, NO_LBA);
}

static void step_done(struct ata_cmd *cmd)
{
	struct ata_disk *disk = cmd->disk;

	if (cmd->failure) {
		test_ended(disk, TEST_READ_FAILED, cmd->failed_at / ATA_SECTOR);
		return;
	}
	fb_device_timer_set(disk->host->dev, &disk->self_timer, fb_device_now(disk->host->dev) + STEP_NS);
}

static void step(struct fb_device *dev, struct fb_device_timer *timer)
{
	struct ata_disk *disk = (struct ata_disk *)(void *)((char *)timer - offsetof(struct ata_disk, self_timer));
	struct ata_cmd *cmd = &disk->self;
	uint64_t size = disk->sectors * ATA_SECTOR, at = test_position(disk), len = ATA_PART;

	if (disk->self_kind == SHORT) {
		if (size > SHORT_PLACES * SHORT_BYTES && cmd->span)
			at = cmd->offset + (size / SHORT_PLACES & ~UINT64_C(4095));
		len = SHORT_BYTES;
	}
	if (at >= size) {
		test_ended(disk, TEST_OK, NO_LBA);
		return;
	}
	cmd->disk = disk;
	cmd->done = step_done;
	cmd->failure = ATA_OK;
	cmd->unbuffered = false;
	cmd->offset = at;
	ata_data_setup(cmd, ATA_NO_DATA, len < size - at ? len : size - at, ata_verify_parts);
	ata_run(cmd);
}

static void start_test(struct ata_cmd *cmd)
{
	struct ata_disk *disk = cmd->disk;
	uint8_t kind = (uint8_t)cmd->tf.lba;

	switch (kind) {
	case 0: /* off-line data collection: the data is always current */
		break;
	case SHORT:
	case EXTENDED:
		ata_self_test_stop(disk, TEST_ABORTED);
		disk->self_kind = kind;
		disk->self.offset = disk->self.span = 0;
		disk->self_timer.due = step;
		fb_device_timer_set(disk->host->dev, &disk->self_timer, fb_device_now(disk->host->dev) + STEP_NS);
		break;
	case ABORT:
		ata_self_test_stop(disk, TEST_ABORTED);
		break;
	default: /* conveyance, selective, captive */
		ata_refuse(cmd, ATA_ABRT);
		return;
	}
	ata_answer(cmd);
}

/* ---- The command ------------------------------------------------------------------------------------ */

static void read_smart_log(struct ata_cmd *cmd)
{
	static void (*const fill[])(struct ata_cmd *cmd, uint8_t *p) = {
		[ATA_LOG_DIRECTORY] = smart_directory,
		[ATA_LOG_SUMMARY_ERROR] = summary_error_log,
		[ATA_LOG_SELF_TEST] = self_test_log,
	};
	unsigned log = cmd->tf.lba & 0xff;

	if ((cmd->tf.count & 0xff) != 1 || log >= sizeof(fill) / sizeof(fill[0]) || !fill[log])
		ata_refuse(cmd, ATA_ABRT);
	else
		ata_reply(cmd, ATA_SECTOR, fill[log]);
}

void ata_smart(struct ata_cmd *cmd)
{
	struct ata_disk *disk = cmd->disk;
	uint8_t what = (uint8_t)cmd->tf.features;

	if ((cmd->tf.lba >> 8 & 0xffff) != ATA_SMART_KEY || (!disk->smart_on && what != ATA_SMART_ENABLE)) {
		ata_refuse(cmd, ATA_ABRT);
		return;
	}
	switch (what) {
	case ATA_SMART_READ_DATA:
		ata_reply(cmd, ATA_SECTOR, smart_data);
		return;
	case ATA_SMART_READ_THRESHOLDS:
		ata_reply(cmd, ATA_SECTOR, thresholds);
		return;
	case ATA_SMART_READ_LOG:
		read_smart_log(cmd);
		return;
	case ATA_SMART_OFFLINE:
		start_test(cmd);
		return;
	case ATA_SMART_AUTOSAVE:
		disk->smart_autosave = (cmd->tf.count & 0xff) != 0;
		break;
	case ATA_SMART_SAVE:
	case ATA_SMART_STATUS: /* nothing is failing: the key comes back as it was */
		break;
	case ATA_SMART_ENABLE:
	case ATA_SMART_DISABLE:
		disk->smart_on = what == ATA_SMART_ENABLE;
		break;
	default:
		ata_refuse(cmd, ATA_ABRT);
		return;
	}
	ata_answer(cmd);
}
