/* SPDX-License-Identifier: Apache-2.0 */
/* IDENTIFY DEVICE (ACS-2 7.16) and SET FEATURES (7.47). */
#include <string.h>

#include "devices/ata_disk.h"

static void word(uint8_t *w, unsigned n, uint16_t value)
{
	ata_put16(w + 2 * n, value);
}

/* Two characters a word, the first in the high byte; padded with spaces. */
static void text(uint8_t *w, unsigned first, unsigned last, const char *s)
{
	size_t len = strlen(s);

	for (unsigned i = 0; i < 2 * (last - first + 1); i++)
		w[(2 * first + i) ^ 1] = i < len ? (uint8_t)s[i] : ' ';
}

static uint16_t selected(const struct ata_disk *disk, uint8_t base)
{
	return (disk->transfer_mode & 0xf8) == base ? (uint16_t)(1u << (8 + (disk->transfer_mode & 7))) : 0;
}

void ata_identify(struct ata_cmd *cmd, uint8_t *w)
{
	const struct ata_disk *disk = cmd->disk;
	uint32_t small = disk->sectors < 0xfffffff ? (uint32_t)disk->sectors : 0xfffffff;
	bool trim = disk->discard && !disk->disk.readonly;

	word(w, 0, 0x0040); /* an ATA device, fixed */
	word(w, 1, 16383);
	word(w, 3, 16);
	word(w, 6, 63);
	text(w, 10, 19, disk->serial);
	text(w, 23, 26, disk->firmware);
	text(w, 27, 46, disk->model);
	word(w, 47, 0x8000 | ATA_MULTIPLE_MAX);
	word(w, 48, 0x4000);
	word(w, 49, 0x2f00); /* DMA, LBA, IORDY, standby timer as in the standard */
	word(w, 50, 0x4000);
	word(w, 53, 0x0006); /* words 64 to 70 and 88 are valid */
	word(w, 59, (uint16_t)(disk->multiple ? 0x0100 | disk->multiple : 0));
	ata_put32(w + 2 * 60, small);
	word(w, 63, 0x0007 | selected(disk, 0x20));
	word(w, 64, 0x0003);
	for (unsigned i = 65; i <= 68; i++)
		word(w, i, 120);
	word(w, 69, trim && disk->trim_zeroes ? 0x4020 : 0); /* after TRIM: determinate, zeros */
	word(w, 75, 31);     /* queue depth 32 */
	word(w, 76, 0x0106); /* 1.5 and 3 Gb/s, NCQ */
	word(w, 78, 0x0040); /* software settings preservation */
	word(w, 79, disk->keep_settings ? 0x0040 : 0);
	word(w, 80, 0x03f0); /* up to ACS-2 */
	word(w, 81, 0x0110);
	word(w, 82, 0x0069); /* SMART, power management, write cache, read ahead */
	word(w, 83, 0x7400); /* 48-bit, FLUSH CACHE (EXT) */
	word(w, 84, 0x4163); /* SMART error log and self-test, general purpose logging, FUA, WWN */
	word(w, 85, (uint16_t)(0x0008 | disk->smart_on | disk->write_cache << 5 | disk->read_ahead << 6));
	word(w, 86, 0xb400);
	word(w, 87, 0x4163);
	word(w, 88, 0x007f | selected(disk, 0x40));
	ata_put64(w + 2 * 100, disk->sectors);
	word(w, 105, trim ? ATA_TRIM_SECTORS : 0);
	word(w, 106, 0x6003); /* 8 logical sectors in a physical one */
	for (unsigned i = 0; i < 4; i++)
		word(w, 108 + i, (uint16_t)(disk->wwn >> (48 - 16 * i)));
	word(w, 119, 0x4008); /* READ LOG DMA EXT */
	word(w, 120, 0x4008);
	word(w, 169, trim);
	word(w, 217, 1); /* nothing rotates */
	word(w, 222, 0x101f); /* Serial ATA */
	w[510] = 0xa5;
	ata_checksum(w);
}

/* ---- SET FEATURES ------------------------------------------------------------------- */

static bool known_mode(uint8_t mode)
{
	return mode <= 0x01 || (mode >= 0x08 && mode <= 0x0c) || (mode >= 0x20 && mode <= 0x22) ||
	       (mode >= 0x40 && mode <= 0x46);
}

void ata_set_features(struct ata_cmd *cmd)
{
	struct ata_disk *disk = cmd->disk;
	uint8_t count = (uint8_t)cmd->tf.count;

	switch (cmd->tf.features & 0xff) {
	case ATA_SF_WRITE_CACHE_ON:
		disk->write_cache = true;
		break;
	case ATA_SF_WRITE_CACHE_OFF: /* what is in it has to leave it first */
		disk->write_cache = false;
		cmd->unbuffered = true;
		ata_data_setup(cmd, ATA_NO_DATA, 0, ata_flush_part);
		return;
	case ATA_SF_TRANSFER_MODE:
		if (!known_mode(count)) {
			ata_refuse(cmd, ATA_ABRT);
			return;
		}
		if (count >= 0x20) /* PIO modes change nothing of what can be seen */
			disk->transfer_mode = count;
		break;
	case ATA_SF_READ_AHEAD_ON:
		disk->read_ahead = true;
		break;
	case ATA_SF_READ_AHEAD_OFF:
		disk->read_ahead = false;
		break;
	case ATA_SF_SATA_ON:
	case ATA_SF_SATA_OFF:
		if (count != ATA_SATA_KEEP_SETTINGS) {
			ata_refuse(cmd, ATA_ABRT);
			return;
		}
		disk->keep_settings = (cmd->tf.features & 0xff) == ATA_SF_SATA_ON;
		break;
	default:
		ata_refuse(cmd, ATA_ABRT);
		return;
	}
	ata_answer(cmd);
}
