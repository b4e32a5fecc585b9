/* SPDX-License-Identifier: Apache-2.0 */
#include "sil_host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "inject.h"

/* File operations that a test does not hold back. */
static bool busy(struct fb_device *dev)
{
	const struct sil *s = dev->state;
	const struct inject *inj = s->host.aio.priv;

	if (!dev->model || !s->host.aio.backend)
		return false;
	if (!strcmp(s->host.aio.backend->name, "inject"))
		return inj->first || inj->inner.inflight;
	return s->host.aio.inflight > 0;
}

void sil_open(struct sil_host *h, uint64_t size0, uint64_t size1, const char *options)
{
	const uint64_t sizes[SIL_PORTS] = {size0, size1};
	int at = 0;

	memset(h, 0, sizeof(*h));
	for (unsigned i = 0; i < SIL_PORTS; i++) {
		int fd;

		if (!sizes[i])
			continue;
		snprintf(h->path[i], sizeof(h->path[i]), "./sil-test-XXXXXX");
		fd = mkstemp(h->path[i]);
		assert_true(fd >= 0);
		assert_int_equal(ftruncate(fd, (off_t)sizes[i]), 0);
		close(fd);
		at += snprintf(h->options + at, sizeof(h->options) - (size_t)at, "%sport%u=%s,serial%u=TEST%u",
			       at ? "," : "", i, h->path[i], i, i);
	}
	snprintf(h->options + at, sizeof(h->options) - (size_t)at, "%s%s", at && *options ? "," : "", options);
	if (fake_new(&h->dev, &sil3132_model, h->options, SIL_HOST_MEM))
		fail_msg("%s", h->dev->errors);
	h->s = h->dev->state;
	h->dev->busy = busy;
	h->dev->irq_mode = FB_IRQ_INTX;
}

void sil_close(struct sil_host *h)
{
	fake_settle(h->dev);
	assert_int_equal(h->s->host.arena.used, 0);
	fake_free(h->dev);
	for (unsigned i = 0; i < SIL_PORTS; i++) {
		if (h->path[i][0])
			unlink(h->path[i]);
	}
}

uint32_t sil_get(struct sil_host *h, unsigned port, uint32_t offset)
{
	return (uint32_t)h->dev->model->read(h->dev, 2, port * SIL_PORT_SIZE + offset, 4);
}

void sil_set(struct sil_host *h, unsigned port, uint32_t offset, uint32_t value)
{
	h->dev->model->write(h->dev, 2, port * SIL_PORT_SIZE + offset, value, 4);
}

uint32_t sil_host_get(struct sil_host *h, uint32_t offset)
{
	return (uint32_t)h->dev->model->read(h->dev, 0, offset, 4);
}

void sil_host_set(struct sil_host *h, uint32_t offset, uint32_t value)
{
	h->dev->model->write(h->dev, 0, offset, value, 4);
}

bool sil_ready(struct sil_host *h, unsigned port)
{
	fake_settle(h->dev);
	return (sil_get(h, port, SIL_PORT_CONTROL_SET) & (SIL_CTRL_READY | SIL_CTRL_INIT | SIL_CTRL_DEVICE_RESET)) ==
	       SIL_CTRL_READY;
}

void sil_up(struct sil_host *h, unsigned port)
{
	sil_set(h, port, SIL_PORT_CONTROL_CLEAR, SIL_CTRL_PORT_RESET);
	sil_set(h, port, SIL_PORT_CONTROL_CLEAR, SIL_CTRL_IRQ_WOC | SIL_CTRL_ACTIVATE_32);
	assert_true(sil_ready(h, port));
	sil_set(h, port, SIL_PORT_IRQ_STATUS, sil_get(h, port, SIL_PORT_IRQ_STATUS));
	sil_set(h, port, SIL_PORT_SERROR, UINT32_MAX);
	sil_set(h, port, SIL_PORT_IRQ_SET,
		SIL_IRQ_COMPLETE | SIL_IRQ_ERROR | SIL_IRQ_PHY_READY | SIL_IRQ_DEVICE_EXCHANGED);
}

void sil_start(struct sil_host *h, uint64_t size0, uint64_t size1, const char *options)
{
	sil_open(h, size0, size1, options);
	sil_host_set(h, SIL_HOST_CONTROL, 0);
	sil_up(h, 0);
	sil_up(h, 1);
	sil_host_set(h, SIL_HOST_CONTROL, SIL_HOST_IRQ_ENABLE);
}

uint64_t sil_block(unsigned port, unsigned slot)
{
	return 0x10000 + port * 0x40000u + slot * 0x1000u;
}

uint8_t *sil_mem(struct sil_host *h, uint64_t addr)
{
	return h->dev->mem + addr;
}

void sil_sge(struct sil_host *h, uint64_t at, uint64_t addr, uint32_t len, uint32_t flags)
{
	uint8_t *e = sil_mem(h, at);

	ata_put64(e, addr);
	ata_put32(e + 8, len);
	ata_put32(e + 12, flags);
}

void sil_put(struct sil_host *h, unsigned port, unsigned slot, struct sil_request r, uint64_t addr, uint32_t len)
{
	uint8_t *p = sil_mem(h, sil_block(port, slot)), *fis = p + 8;

	memset(p, 0, 4096);
	ata_put16(p, r.control);
	ata_put16(p + 2, r.protocol);
	fis[0] = ATA_FIS_H2D;
	fis[1] = ATA_FIS_H2D_COMMAND;
	fis[2] = r.command;
	fis[3] = (uint8_t)r.features;
	fis[4] = (uint8_t)r.lba;
	fis[5] = (uint8_t)(r.lba >> 8);
	fis[6] = (uint8_t)(r.lba >> 16);
	fis[7] = r.device;
	fis[8] = (uint8_t)(r.lba >> 24);
	fis[9] = (uint8_t)(r.lba >> 32);
	fis[10] = (uint8_t)(r.lba >> 40);
	fis[11] = (uint8_t)(r.features >> 8);
	ata_put16(fis + 12, r.count);
	if (len)
		sil_sge(h, sil_block(port, slot) + 32, addr, len, SIL_SGE_TRM);
}

void sil_ring(struct sil_host *h, unsigned port, unsigned slot)
{
	uint64_t addr = sil_block(port, slot);

	sil_set(h, port, SIL_PORT_ACTIVATE + 8 * slot, (uint32_t)addr);
	sil_set(h, port, SIL_PORT_ACTIVATE + 8 * slot + 4, (uint32_t)(addr >> 32));
}

struct waiting {
	struct sil_host *h;
	unsigned port;
};

static bool ended(void *arg)
{
	struct waiting *w = arg;

	return w->h->s->port[w->port].irq & (SIL_IRQ_COMPLETE | SIL_IRQ_ERROR);
}

uint32_t sil_wait(struct sil_host *h, unsigned port)
{
	struct waiting w = {h, port};
	uint32_t irq;

	assert_true(fake_until(h->dev, ended, &w));
	fake_settle(h->dev); /* a read of a register would have pushed the data before it */
	irq = sil_get(h, port, SIL_PORT_IRQ_STATUS) >> 16 & (SIL_IRQ_COMPLETE | SIL_IRQ_ERROR);
	sil_set(h, port, SIL_PORT_IRQ_STATUS, irq);
	return irq;
}

bool sil_do(struct sil_host *h, unsigned port, struct sil_request r, uint64_t addr, uint32_t len)
{
	sil_put(h, port, 0, r, addr, len);
	sil_ring(h, port, 0);
	return sil_wait(h, port) == SIL_IRQ_COMPLETE;
}

uint16_t sil_answer(struct sil_host *h, unsigned port, unsigned slot)
{
	uint32_t fis = sil_get(h, port, slot * SIL_SLOT_SIZE + 8);

	return (uint16_t)((fis >> 8 & 0xff00) | fis >> 24);
}

void sil_recover(struct sil_host *h, unsigned port, enum sil_error error)
{
	assert_int_equal(sil_get(h, port, SIL_PORT_ERROR), error);
	assert_false(sil_get(h, port, SIL_PORT_CONTROL_SET) & SIL_CTRL_READY);
	sil_set(h, port, SIL_PORT_CONTROL_SET, SIL_CTRL_INIT);
	assert_true(sil_ready(h, port));
	assert_int_equal(sil_get(h, port, SIL_PORT_SLOT_STATUS) & INT32_MAX, 0);
}

struct sil_request sil_rw(uint8_t command, uint64_t lba, uint32_t sectors)
{
	struct sil_request r = {.command = command, .device = ATA_DEV_LBA, .lba = lba, .count = (uint16_t)sectors};

	if (command == ATA_READ_FPDMA_QUEUED || command == ATA_WRITE_FPDMA_QUEUED) {
		r.features = (uint16_t)sectors;
		r.count = 0;
	}
	return r;
}
