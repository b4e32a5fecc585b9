/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile guest against the SiI3132 model: the input is a script of register
 * accesses, request blocks, scatter lists, resets, faults of the bus and a file
 * that shrinks or goes. The model must not crash, leak, hang, move more at once
 * than a part, or hold anything back once all has settled.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/sil3132.h"
#include "fake_device.h"
#include "util/reader.h"

enum { MEM = 256 << 10, IMAGE = 256 << 10, MAX_STEPS = 400, BLOCKS = 0x1000, TABLES = 0x8000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int image = -1;

/* Something must be true: else the fuzzer has found it. */
static void must(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "fuzz-sil3132: not so: %s\n", what);
		abort();
	}
}

static void reg(struct fb_device *dev, unsigned port, uint32_t offset, uint32_t value)
{
	dev->model->write(dev, 2, port * SIL_PORT_SIZE + offset, value, 4);
}

static void up(struct fb_device *dev)
{
	dev->model->write(dev, 0, SIL_HOST_CONTROL, 0, 4);
	dev->model->write(dev, 0, SIL_HOST_CONTROL, 3, 4);
	for (unsigned i = 0; i < SIL_PORTS; i++) {
		reg(dev, i, SIL_PORT_CONTROL_CLEAR, SIL_CTRL_PORT_RESET);
		reg(dev, i, SIL_PORT_CONTROL_SET, SIL_CTRL_INIT);
		reg(dev, i, SIL_PORT_IRQ_SET, SIL_IRQ_ALL);
	}
}

/* A register where something happens, or any. */
static void any_register(struct fb_device *dev, struct fb_reader *r)
{
	static const uint16_t hot[] = {SIL_PORT_CONTROL_SET, SIL_PORT_CONTROL_CLEAR, SIL_PORT_IRQ_STATUS,
				       SIL_PORT_IRQ_SET, SIL_PORT_IRQ_CLEAR, SIL_PORT_UPPER, SIL_PORT_EXECUTE,
				       SIL_PORT_ACTIVATE, SIL_PORT_ACTIVATE + 4, SIL_PORT_SCONTROL, SIL_PORT_SERROR};
	uint8_t which = fb_rd_u8(r);
	uint32_t offset = which < 128 ? hot[which % (sizeof(hot) / sizeof(hot[0]))] : fb_rd_le16(r) & 0x1fff;
	unsigned size = which % 5 == 4 && offset < SIL_PORT_CONTROL_SET ? 1 : 4;

	if (size == 4)
		offset &= ~3u;
	dev->model->write(dev, 2, (which >> 6 & 1) * SIL_PORT_SIZE + offset, fb_rd_le32(r), size);
}

/* A block as a driver would write it, and its slot rung. */
static void command(struct fb_device *dev, struct fb_reader *r)
{
	uint8_t slot = fb_rd_u8(r), flags = fb_rd_u8(r);
	unsigned port = slot >> 7;
	uint64_t block;
	uint8_t *p, *fis;

	slot = (slot & 31) % SIL_SLOTS;
	block = BLOCKS + slot % 7 * 0x1000u + (flags & 0x80 ? 4096 - 72 : 0);
	p = dev->mem + block;
	fis = p + 8;
	memset(p, 0, 64);
	ata_put16(p, flags & (SIL_PRB_OVERRIDE | SIL_PRB_NIEN));
	if (flags & 2)
		ata_put16(p, SIL_PRB_SRST);
	ata_put16(p + 2, flags >> 1);
	fis[0] = ATA_FIS_H2D;
	fis[1] = ATA_FIS_H2D_COMMAND;
	fis[2] = fb_rd_u8(r);
	fis[3] = fb_rd_u8(r);
	fis[4] = fb_rd_u8(r);
	fis[5] = fis[2] == ATA_SMART ? 0x4f : fb_rd_u8(r) & 3;
	fis[6] = fis[2] == ATA_SMART ? 0xc2 : 0;
	fis[7] = ATA_DEV_LBA | (flags & 0x20 ? ATA_DEV_FUA : 0);
	fis[12] = fb_rd_u8(r);
	if (fis[2] == ATA_READ_FPDMA_QUEUED || fis[2] == ATA_WRITE_FPDMA_QUEUED)
		fis[11] = flags & 0x10;
	for (unsigned i = 0; i < 2; i++) {
		uint8_t what = fb_rd_u8(r);

		ata_put64(p + 32 + 16 * i, what & 1 ? TABLES + (uint64_t)(what >> 4) * 64 : (uint64_t)what << 9);
		ata_put32(p + 40 + 16 * i, (uint32_t)fb_rd_le16(r) << (what >> 1 & 3));
		ata_put32(p + 44 + 16 * i, what & 1 ? SIL_SGE_LNK : what & 8 ? SIL_SGE_TRM : 0);
	}
	reg(dev, port, SIL_PORT_ACTIVATE + 8u * slot, (uint32_t)block);
	reg(dev, port, SIL_PORT_ACTIVATE + 8u * slot + 4, 0);
}

static void memory(struct fb_device *dev, struct fb_reader *r)
{
	uint64_t at = (uint64_t)fb_rd_le16(r) << 2;
	size_t len = fb_rd_u8(r);
	const uint8_t *bytes;

	if (len > r->left)
		len = r->left;
	bytes = fb_rd_bytes(r, len);
	if (bytes && fb_in_range(at, len, dev->mem_size))
		memcpy(dev->mem + at, bytes, len);
}

static void step(struct fb_device *dev, struct sil *s, struct fb_reader *r)
{
	switch (fb_rd_u8(r) % 16) {
	case 0:
	case 1:
		any_register(dev, r);
		break;
	case 2:
		memory(dev, r);
		break;
	case 3:
		up(dev);
		fake_round(dev);
		break;
	case 4:
	case 5:
	case 6:
	case 7:
		command(dev, r);
		break;
	case 8: {
		uint16_t offset = fb_rd_le16(r);

		dev->model->read(dev, 2, offset & 0x3ffc, 4);
		dev->model->read(dev, 0, offset & 0x7c, 4);
		break;
	}
	case 9:
		for (unsigned i = fb_rd_u8(r) % 8; i > 0; i--)
			fake_round(dev);
		break;
	case 10: {
		uint8_t offset = fb_rd_u8(r);

		if (offset & 0x80) {
			dev->model->write(dev, 4, offset & 0xc, fb_rd_le32(r), 4);
			dev->model->read(dev, 4, offset & 0x7c, 4);
		} else {
			dev->model->write(dev, 0, offset & 0x7c, fb_rd_le32(r), 4);
		}
		break;
	}
	case 11:
		fake_reset(dev, (enum fb_reset)(fb_rd_u8(r) % 3));
		break;
	case 12:
		fake_advance(dev, (uint64_t)fb_rd_u8(r) << 20);
		break;
	case 13: {
		static const int errors[] = {0, 0, 0, -EIO, -ETIMEDOUT, -EFAULT};
		uint8_t v = fb_rd_u8(r);

		dev->fail_reads = errors[v % 6];
		dev->shuffle = v;
		dev->irq_mode = (enum fb_irq_mode)((v >> 6) % 3);
		break;
	}
	case 14: {
		uint8_t v = fb_rd_u8(r);

		dev->bme = v % 4 != 0;
		dev->refuse_dma = v >> 4;
		if (!dev->bme)
			fake_cancel_dma(dev, -ECANCELED);
		break;
	}
	case 15: {
		uint8_t v = fb_rd_u8(r);
		struct sil_port *port = &s->port[v & 1];

		if (v < 16 && port->disk.present && !port->leaving) /* torn out; what is plugged is the same file */
			sil_port_unplug(port);
		else if (v < 32)
			sil_check_file(port, true);
		else if (ftruncate(image, (off_t)((v & 0xfe) ? (v & 0xfe) << 10 : IMAGE)) < 0)
			abort();
		break;
	}
	}
}

/* Bounded: nothing takes this long on a file in memory. */
static void settle(struct fb_device *dev, struct sil *s)
{
	unsigned quiet = 0;

	for (unsigned i = 0; quiet < 3; i++) {
		must(i < 10000000, "it comes to rest");
		quiet = fake_round(dev) || s->host.aio.inflight || dev->outstanding ? 0 : quiet + 1;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_reader r = fb_reader(data, size);
	struct fb_device *dev;
	char options[128];
	struct sil *s;

	if (image < 0)
		image = memfd_create("image", MFD_CLOEXEC);
	if (image < 0 || ftruncate(image, IMAGE) < 0)
		abort();
	alarm(60); /* a hang is a finding */
	snprintf(options, sizeof(options), "port0=/proc/self/fd/%d,buffers=1M,serial0=fuzz,hotplug=off", image);
	if (fake_new(&dev, &sil3132_model, options, MEM)) {
		fprintf(stderr, "fuzz-sil3132: %s\n", dev->errors);
		abort();
	}
	s = dev->state;
	s->opt.port[1] = "/nonexistent";
	for (unsigned i = 0; i < MAX_STEPS && r.left; i++)
		step(dev, s, &r);
	must(dev->max_write <= ATA_PART, "no DMA write is longer than a part");
	/* Let it settle, initialize the ports: all must be back. */
	dev->bme = true;
	dev->fail_reads = 0;
	dev->refuse_dma = 0;
	settle(dev, s);
	for (unsigned i = 0; i < SIL_PORTS; i++) {
		reg(dev, i, SIL_PORT_CONTROL_CLEAR, SIL_CTRL_PORT_RESET);
		reg(dev, i, SIL_PORT_CONTROL_SET, SIL_CTRL_INIT);
	}
	settle(dev, s);
	for (unsigned i = 0; i < SIL_PORTS; i++) {
		struct sil_port *port = &s->port[i];

		must(port->ready && !port->leaving, "the port is ready");
		must(port->active == 0 && port->running == 0 && !sil_port_busy(port), "nothing is in flight");
		must(!port->exclusive && TAILQ_EMPTY(&port->queue) && TAILQ_EMPTY(&port->waiting), "nothing waits");
		for (unsigned j = 0; j < SIL_SLOTS; j++)
			must(port->slot[j].state == SIL_SLOT_IDLE, "slots are idle");
	}
	must(TAILQ_EMPTY(&s->host.waiting) && s->host.arena.used == 0, "all buffers are free");
	fake_free(dev);
	alarm(0);
	return 0;
}
