/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ATA as the wire has it: names and numbers of ATA8-ACS / ACS-2 (T13) and of
 * Serial ATA (FIS layouts), byte order through accessors.
 */
#ifndef FARBUS_DEVICES_ATA_WIRE_H
#define FARBUS_DEVICES_ATA_WIRE_H

#include <stdint.h>

enum { ATA_SECTOR = 512 };

enum ata_command {
	ATA_NOP = 0x00,
	ATA_DATA_SET_MANAGEMENT = 0x06,
	ATA_DEVICE_RESET = 0x08,
	ATA_READ_SECTORS = 0x20,
	ATA_READ_SECTORS_EXT = 0x24,
	ATA_READ_DMA_EXT = 0x25,
	ATA_READ_NATIVE_MAX_EXT = 0x27,
	ATA_READ_MULTIPLE_EXT = 0x29,
	ATA_READ_LOG_EXT = 0x2f,
	ATA_WRITE_SECTORS = 0x30,
	ATA_WRITE_SECTORS_EXT = 0x34,
	ATA_WRITE_DMA_EXT = 0x35,
	ATA_WRITE_MULTIPLE_EXT = 0x39,
	ATA_WRITE_DMA_FUA_EXT = 0x3d,
	ATA_READ_VERIFY = 0x40,
	ATA_READ_VERIFY_EXT = 0x42,
	ATA_READ_LOG_DMA_EXT = 0x47,
	ATA_READ_FPDMA_QUEUED = 0x60,
	ATA_WRITE_FPDMA_QUEUED = 0x61,
	ATA_EXECUTE_DIAGNOSTIC = 0x90,
	ATA_PACKET = 0xa0,
	ATA_IDENTIFY_PACKET = 0xa1,
	ATA_SMART = 0xb0,
	ATA_READ_MULTIPLE = 0xc4,
	ATA_WRITE_MULTIPLE = 0xc5,
	ATA_SET_MULTIPLE = 0xc6,
	ATA_READ_DMA = 0xc8,
	ATA_WRITE_DMA = 0xca,
	ATA_WRITE_MULTIPLE_FUA_EXT = 0xce,
	ATA_STANDBY_IMMEDIATE = 0xe0,
	ATA_IDLE_IMMEDIATE = 0xe1,
	ATA_STANDBY = 0xe2,
	ATA_IDLE = 0xe3,
	ATA_CHECK_POWER_MODE = 0xe5,
	ATA_SLEEP = 0xe6,
	ATA_FLUSH_CACHE = 0xe7,
	ATA_FLUSH_CACHE_EXT = 0xea,
	ATA_IDENTIFY = 0xec,
	ATA_SET_FEATURES = 0xef,
	ATA_READ_NATIVE_MAX = 0xf8,
};

enum { /* Status */
	ATA_ERR = 0x01,
	ATA_DRQ = 0x08,
	ATA_DSC = 0x10, /* seek complete: obsolete, set by all drives */
	ATA_DF = 0x20,  /* device fault */
	ATA_DRDY = 0x40,
	ATA_BSY = 0x80,
	ATA_GOOD = ATA_DRDY | ATA_DSC,
};

enum { /* Error */
	ATA_ABRT = 0x04,
	ATA_IDNF = 0x10, /* no such address */
	ATA_UNC = 0x40,  /* data cannot be read */
};

enum { /* Device */
	ATA_DEV_LBA = 0x40,
	ATA_DEV_FUA = 0x80, /* FPDMA */
};

enum ata_smart { /* SMART: Features */
	ATA_SMART_READ_DATA = 0xd0,
	ATA_SMART_READ_THRESHOLDS = 0xd1,
	ATA_SMART_AUTOSAVE = 0xd2,
	ATA_SMART_SAVE = 0xd3,
	ATA_SMART_OFFLINE = 0xd4,
	ATA_SMART_READ_LOG = 0xd5,
	ATA_SMART_WRITE_LOG = 0xd6,
	ATA_SMART_ENABLE = 0xd8,
	ATA_SMART_DISABLE = 0xd9,
	ATA_SMART_STATUS = 0xda,
	ATA_SMART_KEY = 0xc24f, /* in LBA 23:8 */
	ATA_SMART_FAILING = 0x2cf4,
};

enum ata_log {
	ATA_LOG_DIRECTORY = 0x00,
	ATA_LOG_SUMMARY_ERROR = 0x01,
	ATA_LOG_SELF_TEST = 0x06,
	ATA_LOG_SELECTIVE = 0x09,
	ATA_LOG_NCQ_ERROR = 0x10,
	ATA_LOG_PHY_EVENTS = 0x11,
};

enum ata_set_features {
	ATA_SF_WRITE_CACHE_ON = 0x02,
	ATA_SF_TRANSFER_MODE = 0x03,
	ATA_SF_READ_AHEAD_OFF = 0x55,
	ATA_SF_SATA_ON = 0x10,
	ATA_SF_WRITE_CACHE_OFF = 0x82,
	ATA_SF_SATA_OFF = 0x90,
	ATA_SF_READ_AHEAD_ON = 0xaa,
	ATA_SATA_KEEP_SETTINGS = 0x06, /* count: software settings preservation */
};

enum { ATA_FIS_H2D = 0x27, ATA_FIS_D2H = 0x34, ATA_FIS_H2D_COMMAND = 0x80 };

/* The registers of one command, and of its answer: `status` and `error` stand for command and features then. */
struct ata_tf {
	uint8_t command, device, control;
	uint16_t features, count;
	uint64_t lba; /* 48 bits */
	uint8_t status, error;
};

static inline uint16_t ata_get16(const void *p)
{
	const uint8_t *b = (const uint8_t *)p;

	return (uint16_t)(b[0] | b[1] << 8);
}
static inline uint32_t ata_get32(const void *p)
{
	return ata_get16(p) | (uint32_t)ata_get16((const uint8_t *)p + 2) << 16;
}
static inline uint64_t ata_get64(const void *p)
{
	return ata_get32(p) | (uint64_t)ata_get32((const uint8_t *)p + 4) << 32;
}
static inline void ata_put16(void *p, uint16_t v)
{
	uint8_t *b = (uint8_t *)p;

	b[0] = (uint8_t)v;
	b[1] = (uint8_t)(v >> 8);
}
static inline void ata_put32(void *p, uint32_t v)
{
	ata_put16(p, (uint16_t)v);
	ata_put16((uint8_t *)p + 2, (uint16_t)(v >> 16));
}
static inline void ata_put64(void *p, uint64_t v)
{
	ata_put32(p, (uint32_t)v);
	ata_put32((uint8_t *)p + 4, (uint32_t)(v >> 32));
}

/* Register host-to-device FIS, 20 bytes. */
static inline struct ata_tf ata_tf_from_fis(const uint8_t fis[20])
{
	struct ata_tf tf;

	tf.command = fis[2];
	tf.features = (uint16_t)(fis[3] | fis[11] << 8);
	tf.lba = fis[4] | (uint64_t)fis[5] << 8 | (uint64_t)fis[6] << 16 | (uint64_t)fis[8] << 24 |
		 (uint64_t)fis[9] << 32 | (uint64_t)fis[10] << 40;
	tf.device = fis[7];
	tf.count = (uint16_t)(fis[12] | fis[13] << 8);
	tf.control = fis[15];
	tf.status = tf.error = 0;
	return tf;
}

/* Register device-to-host FIS. */
static inline void ata_tf_to_fis(uint8_t fis[20], const struct ata_tf *tf)
{
	fis[0] = ATA_FIS_D2H;
	fis[1] = 0x40; /* I: interrupt */
	fis[2] = tf->status;
	fis[3] = tf->error;
	fis[4] = (uint8_t)tf->lba;
	fis[5] = (uint8_t)(tf->lba >> 8);
	fis[6] = (uint8_t)(tf->lba >> 16);
	fis[7] = tf->device;
	fis[8] = (uint8_t)(tf->lba >> 24);
	fis[9] = (uint8_t)(tf->lba >> 32);
	fis[10] = (uint8_t)(tf->lba >> 40);
	fis[11] = 0;
	fis[12] = (uint8_t)tf->count;
	fis[13] = (uint8_t)(tf->count >> 8);
	for (unsigned i = 14; i < 20; i++)
		fis[i] = 0;
}

/* Makes the sum of 512 bytes 0, with the last of them. */
static inline void ata_checksum(uint8_t *sector)
{
	uint8_t sum = 0;

	for (unsigned i = 0; i < ATA_SECTOR - 1; i++)
		sum = (uint8_t)(sum + sector[i]);
	sector[ATA_SECTOR - 1] = (uint8_t)-sum;
}

#endif
