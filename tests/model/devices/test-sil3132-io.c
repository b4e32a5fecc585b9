/* SPDX-License-Identifier: Apache-2.0 */
/* The SiI3132's commands: data through scatter lists of all shapes, what ATA answers, and what happens at errors. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "inject.h"
#include "sil_host.h"

enum { MIB = 1 << 20, GOOD = ATA_GOOD << 8, BAD = (ATA_GOOD | ATA_ERR) << 8 };

static void fill(uint8_t *p, size_t len, uint32_t seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)((i * 2654435761u + seed) >> 13);
}

static void file_is(struct sil_host *h, unsigned port, uint64_t at, const uint8_t *want, size_t len)
{
	uint8_t *got = malloc(len);
	int fd = open(h->path[port], O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, got, len, (off_t)at), (ssize_t)len);
	assert_memory_equal(got, want, len);
	close(fd);
	free(got);
}

static void test_read_write(void **state)
{
	static const struct { uint8_t write, read; } pairs[] = {
		{ATA_WRITE_DMA, ATA_READ_DMA},
		{ATA_WRITE_DMA_EXT, ATA_READ_DMA_EXT},
		{ATA_WRITE_SECTORS, ATA_READ_SECTORS},
		{ATA_WRITE_SECTORS_EXT, ATA_READ_SECTORS_EXT},
		{ATA_WRITE_MULTIPLE, ATA_READ_MULTIPLE},
		{ATA_WRITE_MULTIPLE_EXT, ATA_READ_MULTIPLE_EXT},
		{ATA_WRITE_FPDMA_QUEUED, ATA_READ_FPDMA_QUEUED},
		{ATA_WRITE_DMA_FUA_EXT, ATA_READ_DMA},
	};
	struct sil_host h;

	sil_start(&h, 8 * MIB, 4 * MIB, "");
	for (unsigned i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		unsigned port = i % 2, sectors = 1 + 17 * i, lba = 100 * i + 3;
		uint8_t *out = sil_mem(&h, SIL_HOST_DATA), *in = sil_mem(&h, SIL_HOST_DATA + 8 * MIB);

		fill(out, sectors * 512, i);
		assert_true(sil_do(&h, port, sil_rw(pairs[i].write, lba, sectors), SIL_HOST_DATA, sectors * 512));
		assert_int_equal(sil_answer(&h, port, 0), GOOD);
		file_is(&h, port, lba * 512, out, sectors * 512);
		memset(in, 0, sectors * 512);
		assert_true(sil_do(&h, port, sil_rw(pairs[i].read, lba, sectors), SIL_HOST_DATA + 8 * MIB, sectors * 512));
		assert_int_equal(sil_answer(&h, port, 0), GOOD);
		assert_memory_equal(out, in, sectors * 512);
	}
	sil_close(&h);
}

/* 65,536 sectors: a count of 0 in 48-bit commands; moved in parts, in any order. */
static void test_largest(void **state)
{
	struct sil_host h;
	uint8_t *out;

	sil_start(&h, 33 * MIB, 0, "");
	h.dev->shuffle = 7;
	out = sil_mem(&h, SIL_HOST_DATA);
	fill(out, 32 * MIB, 5);
	assert_true(sil_do(&h, 0, sil_rw(ATA_WRITE_FPDMA_QUEUED, 1024, 65536), SIL_HOST_DATA, 32 * MIB));
	file_is(&h, 0, 1024 * 512, out, 32 * MIB);
	memset(out, 0, 32 * MIB);
	assert_true(sil_do(&h, 0, sil_rw(ATA_READ_DMA_EXT, 1024, 0), SIL_HOST_DATA, 32 * MIB));
	file_is(&h, 0, 1024 * 512, out, 32 * MIB);
	assert_true(h.dev->max_write <= ATA_PART);
	/* 256 sectors: a count of 0 in 28-bit ones. */
	assert_true(sil_do(&h, 0, sil_rw(ATA_READ_DMA, 0, 0), SIL_HOST_DATA, 256 * 512));
	file_is(&h, 0, 0, out, 256 * 512);
	sil_close(&h);
}

/* Buffers for one part only: commands wait for each other and all end. */
static void test_few_buffers(void **state)
{
	struct sil_host h;

	sil_start(&h, 16 * MIB, 0, "buffers=1M");
	h.dev->shuffle = 3;
	for (unsigned slot = 0; slot < SIL_SLOTS; slot++) {
		sil_put(&h, 0, slot, sil_rw(ATA_READ_FPDMA_QUEUED, slot, 4096), SIL_HOST_DATA, 2 * MIB);
		sil_ring(&h, 0, slot);
	}
	fake_settle(h.dev);
	assert_int_equal(sil_get(&h, 0, SIL_PORT_SLOT_STATUS), 0);
	assert_true(h.s->host.waits > 0);
	assert_int_equal(h.s->port[0].completions, SIL_SLOTS);
	sil_close(&h);
}

enum shape { FOLLOWING, LINKED, ODD, EMPTY_ONES, MANY };

static void shape(struct sil_host *h, enum shape how, uint32_t bytes)
{
	uint64_t block = sil_block(0, 0), at = block + 32, data = SIL_HOST_DATA;
	uint32_t step = how == ODD ? 333 : how == MANY ? 64 : 1536;
	uint64_t table = 0x200000;
	unsigned in_block = 2;

	while (bytes) {
		uint32_t n = bytes < step ? bytes : step;

		if (how == LINKED && in_block == 1) { /* the last of each table leads to another page */
			table += 4096;
			sil_sge(h, at, table, 0, SIL_SGE_LNK);
			at = table;
			in_block = 4;
		}
		if (how == MANY && at + 16 > block + 4096 - 16) {
			table += 4096;
			sil_sge(h, at, table, 0, SIL_SGE_LNK);
			block = at = table;
		}
		if (how == EMPTY_ONES) {
			sil_sge(h, at, 0xdead000, 0, 0);
			at += 16;
		}
		bytes -= n;
		sil_sge(h, at, data, n, bytes ? 0 : SIL_SGE_TRM);
		data += n + 512; /* never next to each other */
		at += 16;
		in_block--;
	}
}

static void test_scatter(void **state)
{
	struct sil_host h;

	sil_start(&h, 4 * MIB, 0, "");
	for (enum shape how = FOLLOWING; how <= MANY; how++) {
		uint32_t bytes = how == MANY ? 64 * 1024 : 48 * 512, step = how == ODD ? 333 : how == MANY ? 64 : 1536;
		uint8_t *want = malloc(bytes), *got = malloc(bytes);
		int fd = open(h.path[0], O_RDWR);

		fill(want, bytes, how);
		assert_int_equal(pwrite(fd, want, bytes, 512), (ssize_t)bytes);
		sil_put(&h, 0, 0, sil_rw(ATA_READ_DMA_EXT, 1, bytes / 512), 0, 0);
		shape(&h, how, bytes);
		sil_ring(&h, 0, 0);
		assert_int_equal(sil_wait(&h, 0), SIL_IRQ_COMPLETE);
		for (uint32_t at = 0; at < bytes; at += step) {
			uint32_t n = bytes - at < step ? bytes - at : step;

			memcpy(got + at, sil_mem(&h, SIL_HOST_DATA + at / step * (step + 512)), n);
		}
		assert_memory_equal(got, want, bytes);
		/* And back to another place. */
		sil_put(&h, 0, 0, sil_rw(ATA_WRITE_DMA_EXT, 2000, bytes / 512), 0, 0);
		shape(&h, how, bytes);
		sil_ring(&h, 0, 0);
		assert_int_equal(sil_wait(&h, 0), SIL_IRQ_COMPLETE);
		file_is(&h, 0, 2000 * 512, want, bytes);
		close(fd);
		free(want);
		free(got);
	}
	sil_close(&h);
}

static void test_bad_scatter(void **state)
{
	struct sil_request read = sil_rw(ATA_READ_DMA_EXT, 0, 8), write = sil_rw(ATA_WRITE_DMA_EXT, 0, 8);
	uint64_t sge = sil_block(0, 0) + 32;
	struct sil_host h;

	sil_start(&h, 1 * MIB, 0, "");
	assert_false(sil_do(&h, 0, read, SIL_HOST_DATA, 4095));
	sil_recover(&h, 0, SIL_ERR_OVERRUN);
	assert_false(sil_do(&h, 0, write, SIL_HOST_DATA, 4095));
	sil_recover(&h, 0, SIL_ERR_UNDERRUN);
	file_is(&h, 0, 0, sil_mem(&h, SIL_HOST_DATA), 4096); /* nothing was written */

	sil_put(&h, 0, 0, read, 0, 0);
	sil_sge(&h, sge, 0x200004, 0, SIL_SGE_LNK);
	sil_ring(&h, 0, 0);
	assert_int_equal(sil_wait(&h, 0), SIL_IRQ_ERROR);
	sil_recover(&h, 0, SIL_ERR_SGT_ALIGN);

	sil_put(&h, 0, 0, read, 0, 0);
	sil_sge(&h, sge, UINT64_C(1) << 40, 0, SIL_SGE_LNK);
	sil_ring(&h, 0, 0);
	assert_int_equal(sil_wait(&h, 0), SIL_IRQ_ERROR);
	sil_recover(&h, 0, SIL_ERR_SGT_MASTER);

	/* A list that leads to itself ends. */
	sil_put(&h, 0, 0, read, 0, 0);
	sil_sge(&h, sge, 0x200000, 0, SIL_SGE_LNK);
	sil_sge(&h, 0x200000, 0x200000, 0, SIL_SGE_LNK);
	sil_ring(&h, 0, 0);
	assert_int_equal(sil_wait(&h, 0), SIL_IRQ_ERROR);
	sil_recover(&h, 0, SIL_ERR_DATA_UNDEFINED);

	sil_put(&h, 0, 0, write, UINT64_C(1) << 40, 4096);
	sil_ring(&h, 0, 0);
	assert_int_equal(sil_wait(&h, 0), SIL_IRQ_ERROR);
	sil_recover(&h, 0, SIL_ERR_DATA_MASTER);

	/* Memory that answers with completer abort is another error than memory that is not there. */
	h.dev->fail_address = -EIO;
	h.dev->fail_at = 0x200000;
	h.dev->fail_len = 4096;
	sil_put(&h, 0, 0, read, 0, 0);
	sil_sge(&h, sge, 0x200000, 0, SIL_SGE_LNK);
	sil_ring(&h, 0, 0);
	assert_int_equal(sil_wait(&h, 0), SIL_IRQ_ERROR);
	sil_recover(&h, 0, SIL_ERR_SGT_TARGET);
	assert_false(sil_do(&h, 0, write, 0x200000, 4096));
	h.dev->fail_address = 0;
	sil_recover(&h, 0, SIL_ERR_DATA_TARGET);

	/* The block itself. */
	sil_set(&h, 0, SIL_PORT_ACTIVATE, 0x10004);
	sil_set(&h, 0, SIL_PORT_ACTIVATE + 4, 0);
	assert_int_equal(sil_wait(&h, 0), SIL_IRQ_ERROR);
	sil_recover(&h, 0, SIL_ERR_PRB_ALIGN);
	sil_set(&h, 0, SIL_PORT_ACTIVATE, 0);
	sil_set(&h, 0, SIL_PORT_ACTIVATE + 4, 0x100);
	assert_int_equal(sil_wait(&h, 0), SIL_IRQ_ERROR);
	sil_recover(&h, 0, SIL_ERR_PRB_MASTER);
	h.dev->fail_reads = -EIO;
	assert_false(sil_do(&h, 0, read, SIL_HOST_DATA, 4096));
	h.dev->fail_reads = 0;
	sil_recover(&h, 0, SIL_ERR_PRB_TARGET);

	/* What the block says of the protocol must be so. */
	read.control = write.control = SIL_PRB_OVERRIDE;
	read.protocol = SIL_PROT_WRITE;
	assert_false(sil_do(&h, 0, read, SIL_HOST_DATA, 4096));
	sil_recover(&h, 0, SIL_ERR_DIRECTION);
	write.protocol = SIL_PROT_WRITE | SIL_PROT_NCQ;
	assert_false(sil_do(&h, 0, write, SIL_HOST_DATA, 4096));
	sil_recover(&h, 0, SIL_ERR_PROTOCOL);
	write.protocol = SIL_PROT_WRITE;
	assert_true(sil_do(&h, 0, write, SIL_HOST_DATA, 4096));
	sil_close(&h);
}

/* The block in local RAM, started by the execution FIFO. */
static void test_local_ram(void **state)
{
	struct sil_host h;
	const uint8_t *block;

	sil_start(&h, 1 * MIB, 0, "");
	sil_put(&h, 0, 9, sil_rw(ATA_IDENTIFY, 0, 1), SIL_HOST_DATA, 512);
	block = sil_mem(&h, sil_block(0, 9));
	for (unsigned i = 0; i < 64; i += 4)
		sil_set(&h, 0, 9 * SIL_SLOT_SIZE + i, ata_get32(block + i));
	sil_set(&h, 0, SIL_PORT_EXECUTE, 9);
	assert_int_equal(sil_wait(&h, 0), SIL_IRQ_COMPLETE);
	assert_int_equal(sil_mem(&h, SIL_HOST_DATA)[510], 0xa5);
	sil_close(&h);
}

static void test_identify(void **state)
{
	struct sil_host h;
	const uint8_t *w;
	uint8_t sum = 0;

	sil_start(&h, 5 * MIB, 0, "model=Some Drive,firmware=9.9");
	assert_true(sil_do(&h, 0, sil_rw(ATA_IDENTIFY, 0, 0), SIL_HOST_DATA, 512));
	w = sil_mem(&h, SIL_HOST_DATA);
	for (unsigned i = 0; i < 512; i++)
		sum = (uint8_t)(sum + w[i]);
	assert_int_equal(sum, 0);
	assert_int_equal(ata_get64(w + 200), 5 * MIB / 512);
	assert_int_equal(ata_get32(w + 120), 5 * MIB / 512);
	assert_memory_equal(w + 20, "ETTS0", 4); /* bytes of a word change places */
	assert_memory_equal(w + 54, "oSemD ir", 8);
	assert_int_equal(ata_get16(w + 150), 31);
	assert_true(ata_get16(w + 152) & 1 << 8);
	sil_close(&h);
}

static void test_not_queued(void **state)
{
	struct sil_host h;

	sil_start(&h, 5 * MIB, 0, "");
	assert_true(sil_do(&h, 0, sil_rw(ATA_CHECK_POWER_MODE, 0, 0), 0, 0));
	assert_int_equal(sil_get(&h, 0, 8 + 12) & 0xff, 0xff);
	assert_true(sil_do(&h, 0, sil_rw(ATA_STANDBY_IMMEDIATE, 0, 0), 0, 0));
	assert_true(sil_do(&h, 0, sil_rw(ATA_CHECK_POWER_MODE, 0, 0), 0, 0));
	assert_int_equal(sil_get(&h, 0, 8 + 12) & 0xff, 0);
	assert_true(sil_do(&h, 0, sil_rw(ATA_READ_VERIFY_EXT, 0, 5 * MIB / 512), 0, 0));
	assert_true(sil_do(&h, 0, sil_rw(ATA_READ_NATIVE_MAX_EXT, 0, 0), 0, 0));
	assert_int_equal(sil_get(&h, 0, 8 + 4) & 0xffffff, 5 * MIB / 512 - 1);
	assert_true(sil_do(&h, 0, (struct sil_request){.command = ATA_SET_FEATURES, .features = ATA_SF_TRANSFER_MODE, .count = 0x45}, 0, 0));
	assert_true(sil_do(&h, 0, sil_rw(ATA_SET_MULTIPLE, 0, 0), 0, 0));
	assert_false(sil_do(&h, 0, sil_rw(ATA_READ_MULTIPLE, 0, 1), SIL_HOST_DATA, 512));
	sil_recover(&h, 0, SIL_ERR_DEVICE);
	assert_true(sil_do(&h, 0, sil_rw(ATA_SLEEP, 0, 0), 0, 0));
	assert_false(sil_do(&h, 0, sil_rw(ATA_IDENTIFY, 0, 0), SIL_HOST_DATA, 512));
	sil_recover(&h, 0, SIL_ERR_DEVICE);
	assert_true(sil_do(&h, 0, (struct sil_request){.control = SIL_PRB_SRST}, 0, 0)); /* wakes it */
	assert_int_equal(sil_answer(&h, 0, 0), GOOD | 1);
	assert_int_equal(sil_get(&h, 0, 8 + 4), 1); /* the signature of an ATA device */
	assert_true(sil_do(&h, 0, sil_rw(ATA_IDENTIFY, 0, 0), SIL_HOST_DATA, 512));
	sil_close(&h);
}

/* What a drive refuses, it refuses without a change. */
static void test_refused(void **state)
{
	static const struct { struct sil_request r; uint8_t error; } cases[] = {
		{{.command = 0xf1}, ATA_ABRT}, /* the security set */
		{{.command = 0xf3}, ATA_ABRT},
		{{.command = 0xf4}, ATA_ABRT},
		{{.command = 0xf6}, ATA_ABRT},
		{{.command = 0x00}, ATA_ABRT},
		{{.command = 0x92}, ATA_ABRT}, /* DOWNLOAD MICROCODE */
		{{.command = ATA_PACKET}, ATA_ABRT},
		{{.command = ATA_IDENTIFY_PACKET}, ATA_ABRT},
		{{.command = ATA_READ_DMA, .count = 1}, ATA_ABRT}, /* cylinders */
		{{.command = ATA_READ_DMA, .device = 0x40, .lba = 2048, .count = 1}, ATA_IDNF},
		{{.command = ATA_READ_DMA_EXT, .device = 0x40, .lba = 2047, .count = 2}, ATA_IDNF},
		{{.command = ATA_WRITE_DMA_EXT, .device = 0x40, .lba = 0xffffffffffff, .count = 0}, ATA_IDNF},
		{{.command = ATA_SET_FEATURES, .features = 0x05}, ATA_ABRT},
		{{.command = ATA_SET_FEATURES, .features = 0x03, .count = 0x13}, ATA_ABRT},
		{{.command = ATA_SET_MULTIPLE, .count = 3}, ATA_ABRT},
		{{.command = ATA_SMART, .features = 0xd0, .lba = 0x123400}, ATA_ABRT}, /* without the key */
		{{.command = ATA_SMART, .features = 0xd6, .lba = 0xc24f80, .count = 1}, ATA_ABRT},
		{{.command = ATA_READ_LOG_EXT, .lba = 0x04, .count = 1}, ATA_ABRT},
		{{.command = ATA_READ_LOG_EXT, .lba = 0x10, .count = 9}, ATA_ABRT},
		{{.command = ATA_DATA_SET_MANAGEMENT, .features = 1, .count = 9}, ATA_ABRT},
		{{.command = ATA_DATA_SET_MANAGEMENT, .features = 0, .count = 1}, ATA_ABRT},
	};
	struct sil_host h;

	sil_start(&h, 1 * MIB, 0, "");
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (sil_do(&h, 0, cases[i].r, SIL_HOST_DATA, 4096))
			fail_msg("case %u: command %02x was done", i, cases[i].r.command);
		assert_int_equal(sil_answer(&h, 0, 0), BAD | cases[i].error);
		sil_recover(&h, 0, SIL_ERR_DEVICE);
	}
	assert_int_equal(h.s->port[0].disk.refused, sizeof(cases) / sizeof(cases[0]));
	sil_close(&h);
	sil_start(&h, 1 * MIB, 0, "readonly0=on");
	assert_false(sil_do(&h, 0, sil_rw(ATA_WRITE_DMA, 0, 1), SIL_HOST_DATA, 512));
	assert_int_equal(sil_answer(&h, 0, 0), BAD | ATA_ABRT);
	sil_recover(&h, 0, SIL_ERR_DEVICE);
	assert_true(sil_do(&h, 0, sil_rw(ATA_READ_DMA, 0, 1), SIL_HOST_DATA, 512));
	sil_close(&h);
}

/* A queued command fails: the others go, the log says which; until it is read nothing else is taken. */
static void test_queue_error(void **state)
{
	struct sil_request log = {.command = ATA_READ_LOG_EXT, .lba = ATA_LOG_NCQ_ERROR, .count = 1};
	const uint8_t *page;
	struct sil_host h;

	sil_start(&h, 4 * MIB, 0, "");
	assert_int_equal(truncate(h.path[0], 2 * MIB), 0);
	for (unsigned slot = 0; slot < SIL_SLOTS; slot++) {
		struct sil_request r = sil_rw(ATA_READ_FPDMA_QUEUED, slot == 17 ? 4090 : 8 * slot, slot == 17 ? 10 : 8);

		r.count = (uint16_t)(slot << 3);
		sil_put(&h, 0, slot, r, SIL_HOST_DATA, 8192);
	}
	for (unsigned slot = 0; slot < SIL_SLOTS; slot++)
		sil_ring(&h, 0, slot);
	while (!(sil_wait(&h, 0) & SIL_IRQ_ERROR))
		;
	assert_true(sil_get(&h, 0, SIL_PORT_SLOT_STATUS) & 1u << 17);
	assert_int_equal(sil_get(&h, 0, SIL_PORT_CONTEXT), 17);
	sil_recover(&h, 0, SIL_ERR_QUEUE);
	assert_false(sil_do(&h, 0, sil_rw(ATA_READ_DMA, 0, 1), SIL_HOST_DATA, 512));
	sil_recover(&h, 0, SIL_ERR_DEVICE);
	assert_true(sil_do(&h, 0, log, SIL_HOST_DATA, 512));
	page = sil_mem(&h, SIL_HOST_DATA);
	assert_int_equal(page[0], 17);
	assert_int_equal(page[2], ATA_GOOD | ATA_ERR);
	assert_int_equal(page[3], ATA_UNC);
	assert_int_equal(ata_get32(page + 4) & 0xffffff, 4096); /* the first sector that is not there */
	assert_true(sil_do(&h, 0, sil_rw(ATA_READ_FPDMA_QUEUED, 0, 8), SIL_HOST_DATA, 4096));
	assert_int_equal(h.s->port[0].disk.media_errors, 1);
	/* Out of range, queued. */
	assert_false(sil_do(&h, 0, sil_rw(ATA_READ_FPDMA_QUEUED, 8191, 2), SIL_HOST_DATA, 1024));
	sil_recover(&h, 0, SIL_ERR_QUEUE);
	assert_true(sil_do(&h, 0, log, SIL_HOST_DATA, 512));
	assert_int_equal(page[3], ATA_IDNF);
	assert_true(sil_do(&h, 0, log, SIL_HOST_DATA, 512));
	assert_int_equal(page[0], 0x80); /* nothing more to tell */
	sil_close(&h);
}

static void test_file_errors(void **state)
{
	struct sil_host h;
	struct inject inj;

	sil_start(&h, 4 * MIB, 0, "");
	inject_into(&inj, &h.s->host.aio);
	inj.fail[FB_AIO_READ] = -EIO;
	inj.fail_after[FB_AIO_READ] = 1;
	assert_false(sil_do(&h, 0, sil_rw(ATA_READ_DMA_EXT, 0, 4096), SIL_HOST_DATA, 2 * MIB));
	assert_int_equal(sil_answer(&h, 0, 0), BAD | ATA_UNC);
	assert_int_equal(sil_get(&h, 0, 8 + 4) & 0xffffff, ATA_PART / 512); /* the second part */
	inj.fail[FB_AIO_READ] = 0;
	sil_recover(&h, 0, SIL_ERR_DEVICE);
	inj.fail[FB_AIO_WRITE] = -ENOSPC;
	assert_false(sil_do(&h, 0, sil_rw(ATA_WRITE_DMA_EXT, 8, 8), SIL_HOST_DATA, 4096));
	assert_int_equal(sil_answer(&h, 0, 0), BAD | ATA_DF << 8 | ATA_ABRT);
	inj.fail[FB_AIO_WRITE] = 0;
	sil_recover(&h, 0, SIL_ERR_DEVICE);
	inj.fail[FB_AIO_FSYNC] = -EIO;
	assert_false(sil_do(&h, 0, sil_rw(ATA_FLUSH_CACHE_EXT, 0, 0), 0, 0));
	inj.fail[FB_AIO_FSYNC] = 0;
	sil_recover(&h, 0, SIL_ERR_DEVICE);
	/* Short transfers go on where they ended; interrupted ones are made again. */
	inj.max_bytes = 1000;
	fill(sil_mem(&h, SIL_HOST_DATA), 65536, 1);
	assert_true(sil_do(&h, 0, sil_rw(ATA_WRITE_DMA_EXT, 0, 128), SIL_HOST_DATA, 65536));
	file_is(&h, 0, 0, sil_mem(&h, SIL_HOST_DATA), 65536);
	inj.max_bytes = 0;
	inj.fail[FB_AIO_READ] = -EINTR;
	inj.fail_times[FB_AIO_READ] = 2;
	assert_true(sil_do(&h, 0, sil_rw(ATA_READ_DMA_EXT, 0, 128), SIL_HOST_DATA, 65536));
	sil_close(&h);
}

/* The write cache: FUA and cache off are on the medium when they end; a flush with nothing to do does nothing. */
static void test_cache(void **state)
{
	struct sil_request off = {.command = ATA_SET_FEATURES, .features = ATA_SF_WRITE_CACHE_OFF};
	struct sil_request queued = sil_rw(ATA_WRITE_FPDMA_QUEUED, 0, 8);
	struct sil_host h;
	struct inject inj;

	sil_start(&h, 4 * MIB, 0, "");
	inject_into(&inj, &h.s->host.aio);
	assert_true(sil_do(&h, 0, sil_rw(ATA_FLUSH_CACHE, 0, 0), 0, 0));
	assert_int_equal(inj.seen[FB_AIO_FSYNC], 1); /* an earlier process may have left something */
	assert_true(sil_do(&h, 0, sil_rw(ATA_FLUSH_CACHE, 0, 0), 0, 0));
	assert_int_equal(inj.seen[FB_AIO_FSYNC], 1);
	assert_true(sil_do(&h, 0, sil_rw(ATA_WRITE_DMA_FUA_EXT, 0, 8), SIL_HOST_DATA, 4096));
	assert_int_equal(inj.dsyncs, 1);
	queued.device |= ATA_DEV_FUA;
	assert_true(sil_do(&h, 0, queued, SIL_HOST_DATA, 4096));
	assert_int_equal(inj.dsyncs, 2);
	assert_true(sil_do(&h, 0, sil_rw(ATA_WRITE_DMA, 0, 8), SIL_HOST_DATA, 4096));
	assert_int_equal(inj.dsyncs, 2);
	assert_true(sil_do(&h, 0, off, 0, 0));
	assert_int_equal(inj.seen[FB_AIO_FSYNC], 2); /* what was in the cache has left it */
	assert_true(sil_do(&h, 0, sil_rw(ATA_WRITE_DMA, 0, 8), SIL_HOST_DATA, 4096));
	assert_int_equal(inj.dsyncs, 3);
	sil_close(&h);
}

static void test_trim(void **state)
{
	struct sil_request trim = {.command = ATA_DATA_SET_MANAGEMENT, .features = 1, .count = 1};
	struct sil_host h;
	struct stat st;
	uint8_t *ranges;

	sil_start(&h, 4 * MIB, 0, "");
	fill(sil_mem(&h, SIL_HOST_DATA), MIB, 1);
	assert_true(sil_do(&h, 0, sil_rw(ATA_WRITE_DMA_EXT, 0, 2048), SIL_HOST_DATA, MIB));
	ranges = sil_mem(&h, 0x200000);
	memset(ranges, 0, 512);
	ata_put64(ranges, UINT64_C(1024) << 48);
	ata_put64(ranges + 16, UINT64_C(1024) << 48 | 1024); /* behind an empty entry */
	assert_true(sil_do(&h, 0, trim, 0x200000, 512));
	assert_int_equal(stat(h.path[0], &st), 0);
	if (h.s->port[0].disk.trim_zeroes)
		assert_int_equal(st.st_blocks, 0);
	/* One range that is outside: none is trimmed. */
	assert_true(sil_do(&h, 0, sil_rw(ATA_WRITE_DMA_EXT, 0, 8), SIL_HOST_DATA, 4096));
	ata_put64(ranges, UINT64_C(8) << 48);
	ata_put64(ranges + 16, UINT64_C(2) << 48 | 8191);
	assert_false(sil_do(&h, 0, trim, 0x200000, 512));
	assert_int_equal(sil_answer(&h, 0, 0), BAD | ATA_IDNF);
	sil_recover(&h, 0, SIL_ERR_DEVICE);
	file_is(&h, 0, 0, sil_mem(&h, SIL_HOST_DATA), 4096);
	sil_close(&h);
}

/* Of a disk of larger sectors, whole ones: ranges that follow one another are joined, what is left at the ends stays. */
static void test_trim_large_sectors(void **state)
{
	struct sil_request trim = {.command = ATA_DATA_SET_MANAGEMENT, .features = 1, .count = 1};
	uint8_t *data, *ranges;
	struct sil_host h;
	struct inject inj;

	sil_start(&h, 4 * MIB, 0, "");
	inject_into(&inj, &h.s->host.aio);
	h.s->port[0].disk.disk.grain = 4096;
	data = sil_mem(&h, SIL_HOST_DATA);
	fill(data, MIB, 1);
	assert_true(sil_do(&h, 0, sil_rw(ATA_WRITE_DMA_EXT, 0, 2048), SIL_HOST_DATA, MIB));
	ranges = sil_mem(&h, 0x200000);
	memset(ranges, 0, 512);
	ata_put64(ranges, UINT64_C(1000) << 48 | 7);
	ata_put64(ranges + 8, UINT64_C(1034) << 48 | 1007);
	ata_put64(ranges + 16, UINT64_C(5) << 48 | 2042); /* no whole sector in it */
	assert_true(sil_do(&h, 0, trim, 0x200000, 512));
	assert_int_equal(inj.seen[FB_AIO_FALLOCATE], 1);
	assert_int_equal(h.s->port[0].disk.trims, 3);
	if (h.s->port[0].disk.trim_zeroes)
		memset(data + 8 * 512, 0, 2032 * 512);
	file_is(&h, 0, 0, data, MIB);
	sil_close(&h);
}

static struct sil_request smart(uint8_t what, uint8_t low)
{
	return (struct sil_request){.command = ATA_SMART, .features = what, .count = 1, .lba = 0xc24f00u | low};
}

static void self_test(struct sil_host *h, unsigned kind)
{
	assert_true(sil_do(h, 0, smart(ATA_SMART_OFFLINE, (uint8_t)kind), 0, 0));
	for (unsigned i = 0; i < 1000 && h->s->port[0].disk.self_kind; i++) {
		fake_advance(h->dev, 10000000);
		fake_settle(h->dev);
	}
	assert_int_equal(h->s->port[0].disk.self_kind, 0);
}

static void test_smart(void **state)
{
	struct sil_host h;
	uint8_t *p;

	sil_start(&h, 16 * MIB, 0, "");
	p = sil_mem(&h, SIL_HOST_DATA);
	assert_true(sil_do(&h, 0, smart(ATA_SMART_READ_DATA, 0), SIL_HOST_DATA, 512));
	assert_int_equal(ata_get16(p), 0x10);
	assert_true(sil_do(&h, 0, smart(ATA_SMART_READ_THRESHOLDS, 0), SIL_HOST_DATA, 512));
	assert_true(sil_do(&h, 0, smart(ATA_SMART_STATUS, 0), 0, 0));
	assert_int_equal(sil_get(&h, 0, 8 + 4) >> 8 & 0xffff, ATA_SMART_KEY);
	self_test(&h, 1);
	self_test(&h, 2);
	assert_int_equal(truncate(h.path[0], 10 * MIB), 0);
	self_test(&h, 2);
	assert_true(sil_do(&h, 0, smart(ATA_SMART_READ_LOG, ATA_LOG_SELF_TEST), SIL_HOST_DATA, 512));
	assert_int_equal(p[508], 3);
	assert_int_equal(p[2 + 1] >> 4, 0);
	assert_int_equal(p[26 + 1] >> 4, 0);
	assert_int_equal(p[50 + 1] >> 4, 7); /* read failure, and where */
	assert_int_equal(ata_get32(p + 50 + 5), 10 * MIB / 512);
	/* Stopped by the host. */
	assert_true(sil_do(&h, 0, smart(ATA_SMART_OFFLINE, 2), 0, 0));
	assert_true(sil_do(&h, 0, smart(ATA_SMART_READ_DATA, 0), SIL_HOST_DATA, 512));
	assert_int_equal(p[363] >> 4, 15);
	assert_true(sil_do(&h, 0, smart(ATA_SMART_OFFLINE, 0x7f), 0, 0));
	assert_true(sil_do(&h, 0, smart(ATA_SMART_READ_DATA, 0), SIL_HOST_DATA, 512));
	assert_int_equal(p[363] >> 4, 1);
	/* Errors are kept, the latest five. */
	for (unsigned i = 0; i < 7; i++) {
		assert_false(sil_do(&h, 0, sil_rw(ATA_READ_DMA, 0x8000 + i, 1), SIL_HOST_DATA, 512));
		sil_recover(&h, 0, SIL_ERR_DEVICE);
	}
	assert_true(sil_do(&h, 0, smart(ATA_SMART_READ_LOG, ATA_LOG_SUMMARY_ERROR), SIL_HOST_DATA, 512));
	assert_int_equal(p[1], 2);
	assert_int_equal(ata_get16(p + 452), 7);
	assert_int_equal(p[2 + 90 + 48 + 7], ATA_READ_DMA);
	assert_int_equal(p[2 + 90 + 60 + 1], ATA_IDNF);
	assert_true(sil_do(&h, 0, smart(ATA_SMART_DISABLE, 0), 0, 0));
	assert_false(sil_do(&h, 0, smart(ATA_SMART_READ_DATA, 0), SIL_HOST_DATA, 512));
	sil_recover(&h, 0, SIL_ERR_DEVICE);
	sil_close(&h);
}

/* A command that is not queued waits until it is alone, and holds up those behind it. */
static void test_order(void **state)
{
	struct sil_host h;
	struct inject inj;

	sil_start(&h, 4 * MIB, 0, "");
	inject_into(&inj, &h.s->host.aio);
	inj.hold = true;
	sil_put(&h, 0, 0, sil_rw(ATA_WRITE_FPDMA_QUEUED, 0, 8), SIL_HOST_DATA, 4096);
	sil_put(&h, 0, 1, sil_rw(ATA_CHECK_POWER_MODE, 0, 0), 0, 0);
	sil_put(&h, 0, 2, sil_rw(ATA_READ_FPDMA_QUEUED, 0, 8), SIL_HOST_DATA, 4096);
	for (unsigned i = 0; i < 3; i++)
		sil_ring(&h, 0, i);
	fake_settle(h.dev);
	assert_int_equal(sil_get(&h, 0, SIL_PORT_SLOT_STATUS), 7);
	assert_int_equal(sil_get(&h, 0, SIL_PORT_SACTIVE), 1);
	inject_release(&inj);
	fake_settle(h.dev);
	assert_int_equal(sil_get(&h, 0, SIL_PORT_SLOT_STATUS), 0);
	sil_close(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read_write),   cmocka_unit_test(test_largest),
		cmocka_unit_test(test_few_buffers),  cmocka_unit_test(test_scatter),
		cmocka_unit_test(test_bad_scatter),  cmocka_unit_test(test_local_ram),
		cmocka_unit_test(test_identify),     cmocka_unit_test(test_not_queued),
		cmocka_unit_test(test_refused),      cmocka_unit_test(test_queue_error),
		cmocka_unit_test(test_file_errors),  cmocka_unit_test(test_cache),
		cmocka_unit_test(test_trim),         cmocka_unit_test(test_trim_large_sectors),
		cmocka_unit_test(test_smart),
		cmocka_unit_test(test_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
