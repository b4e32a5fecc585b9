/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile guest against the SiI3132 model: the input is a script of register
 * accesses, request blocks, scatter lists, resets, faults of the bus and a file
 * that shrinks or goes. The model must not crash, leak, hang, touch what no
 * request block gave it, move more at once than a part, offer a register value that a read would not give, or hold
 * anything back once all has settled.
 */
#include <stdio.h>
#include <string.h>

#include "devices/sil3132.h"
#include "fuzz_device.h"

enum { MEM = 256 << 10, IMAGE = 256 << 10, MAX_STEPS = 400, PAGE = 4096, BLOCKS = 0x1000, TABLES = 0x8000, DATA = 0x20000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
	if (offset < SIL_PORT_CONTROL_SET || offset >= SIL_PORT_ACTIVATE) /* request blocks, and where they are */
		fuzz_anything();
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

static void entry(uint8_t *p, uint64_t addr, uint32_t len, uint32_t flags)
{
	ata_put64(p, addr);
	ata_put32(p + 8, len);
	ata_put32(p + 12, flags);
}

/* A command that makes sense, and data in four pieces, the last two by a table, that have their places. */
static void good_command(struct fb_device *dev, struct fb_reader *r)
{
	static const uint8_t opcodes[] = {ATA_READ_FPDMA_QUEUED, ATA_WRITE_FPDMA_QUEUED, ATA_READ_DMA, ATA_WRITE_DMA,
					  ATA_READ_DMA_EXT, ATA_WRITE_DMA_EXT, ATA_READ_SECTORS, ATA_WRITE_SECTORS,
					  ATA_IDENTIFY, ATA_DATA_SET_MANAGEMENT, ATA_READ_LOG_EXT, ATA_SMART};
	uint8_t where = fb_rd_u8(r), what = fb_rd_u8(r), count = fb_rd_u8(r) % 48 + 1;
	unsigned port = where >> 7, slot = (where & 31) % SIL_SLOTS, kind = what % (sizeof(opcodes) / sizeof(opcodes[0]));
	bool ncq = kind < 2, write = kind < 8 ? kind & 1 : kind == 9;
	uint32_t left = (kind == 8 || kind == 11 ? 1 : count) * 512u, at = where & 0x40 ? PAGE - 72 : 0, to_end;
	static const uint16_t places[] = {0, 64, 128, 192, 8, 2048, PAGE - 64, PAGE - 24}; /* of tables in their page */
	uint64_t page = fuzz_place(dev, PAGE, PAGE), block = page + at, tables = fuzz_place(dev, 2 * PAGE, PAGE);
	uint64_t table = tables + places[what >> 4 & 7];
	uint8_t *p = dev->mem + block, *fis = p + 8;

	if (!page || !tables)
		return;
	fis[0] = ATA_FIS_H2D;
	fis[1] = ATA_FIS_H2D_COMMAND;
	fis[2] = opcodes[kind];
	fis[3] = ncq ? count : kind == 9 ? 1 : kind == 11 ? 0xd0 : 0;
	fis[4] = kind == 10 ? what >> 4 & 1 ? 0x10 : 0x30 : fb_rd_u8(r);
	fis[5] = kind == 11 ? 0x4f : 0;
	fis[6] = kind == 11 ? 0xc2 : 0;
	fis[7] = ATA_DEV_LBA;
	fis[12] = ncq ? (uint8_t)(slot << 3) : count;
	for (unsigned i = 0; i < 4; i++) {
		uint32_t piece = i < 3 ? fb_rd_le16(r) % (left + 1) : left;
		uint64_t addr = fuzz_grant(DATA + i * 0x7001u, piece, write ? FUZZ_READ : FUZZ_WRITE);

		left -= piece;
		/* The last one is longer than the data. */
		entry(i == 0 ? p + 32 : dev->mem + table + (i - 1) * 16, addr, i < 3 ? piece : piece + 100, i == 3 ? SIL_SGE_TRM : 0);
	}
	/* Blocks and tables are read with what is behind them in their page. */
	to_end = PAGE - (table & (PAGE - 1));
	entry(p + 48, fuzz_grant(table, to_end < SIL_SGT ? SIL_SGT : to_end, FUZZ_READ), 0, SIL_SGE_LNK);
	block = fuzz_grant(block, PAGE - at, FUZZ_READ);
	reg(dev, port, SIL_PORT_ACTIVATE + 8u * slot, (uint32_t)block);
	reg(dev, port, SIL_PORT_ACTIVATE + 8u * slot + 4, (uint32_t)(block >> 32));
}

static void step(struct fb_device *dev, struct sil *s, struct fb_reader *r)
{
	unsigned op = fb_rd_u8(r) % 17;
	char path[32];

	if (op != 8 && op != FUZZ_MEMORY && op != FUZZ_ROUNDS && op != FUZZ_TIME && op != 15)
		dev->n_offer = 0; /* the guest asks something of it */

	switch (op) {
	case 0:
	case 1:
		any_register(dev, r);
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
	case 16:
		good_command(dev, r);
		break;
	case 8: {
		uint16_t offset = fb_rd_le16(r);

		if (offset & 0x8000) {
			fuzz_must(!dev->n_offer || fake_use(dev, offset % dev->n_offer), "a value offered is what a read gives");
			break;
		}
		dev->n_offer = 0;
		dev->model->read(dev, 2, offset & 0x3ffc, 4);
		dev->model->read(dev, 0, offset & 0x7c, 4);
		break;
	}
	case 10: {
		uint8_t offset = fb_rd_u8(r);

		if (offset & 0x80) {
			fuzz_anything(); /* any register, by its number */
			dev->model->write(dev, 4, offset & 0xc, fb_rd_le32(r), 4);
			dev->model->read(dev, 4, offset & 0x7c, 4);
		} else {
			dev->model->write(dev, 0, offset & 0x7c, fb_rd_le32(r), 4);
		}
		break;
	}
	case FUZZ_MEMORY:
	case FUZZ_ROUNDS:
	case FUZZ_RESET:
	case FUZZ_TIME:
	case FUZZ_FAULTS:
	case FUZZ_MASTER:
		fuzz_step(dev, r, (enum fuzz_step)op);
		break;
	case 15: {
		uint8_t v = fb_rd_u8(r);
		struct sil_port *port = &s->port[v & 1];

		if (v < 16 && port->disk.present && !port->leaving) /* torn out; what is plugged is the same file */
			sil_port_unplug(port);
		else if (v < 32)
			sil_check_file(port, true);
		else
			fuzz_image((v & 0xfe) ? (v & 0xfeu) << 10 : IMAGE, path);
		break;
	}
	}
}

static bool busy(struct fb_device *dev)
{
	return ((struct sil *)dev->state)->host.aio.inflight;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_reader r = fb_reader(data, size);
	struct fb_device *dev;
	char options[128], path[32];
	struct sil *s;

	fuzz_image(0, path); /* nothing of the input before */
	fuzz_image(IMAGE, path);
	snprintf(options, sizeof(options), "port0=%s,buffers=1M,serial0=fuzz,hotplug=off", path);
	dev = fuzz_device_new(&sil3132_model, options, MEM);
	dev->busy = busy;
	s = dev->state;
	s->opt.port[1] = "/nonexistent";
	for (unsigned i = 0; i < MAX_STEPS && r.left; i++)
		step(dev, s, &r);
	fuzz_must(dev->max_write <= ATA_PART, "no DMA write is longer than a part");
	/* Let it settle, initialize the ports: all must be back. */
	fuzz_settle(dev, NULL);
	for (unsigned i = 0; i < SIL_PORTS; i++) {
		reg(dev, i, SIL_PORT_CONTROL_CLEAR, SIL_CTRL_PORT_RESET);
		reg(dev, i, SIL_PORT_CONTROL_SET, SIL_CTRL_INIT);
	}
	fuzz_settle(dev, NULL);
	for (unsigned i = 0; i < SIL_PORTS; i++) {
		struct sil_port *port = &s->port[i];

		fuzz_must(port->ready && !port->leaving, "the port is ready");
		fuzz_must(port->active == 0 && port->running == 0 && !sil_port_busy(port), "nothing is in flight");
		fuzz_must(!port->exclusive && TAILQ_EMPTY(&port->queue) && TAILQ_EMPTY(&port->waiting), "nothing waits");
		for (unsigned j = 0; j < SIL_SLOTS; j++)
			fuzz_must(port->slot[j].state == SIL_SLOT_IDLE, "slots are idle");
	}
	fuzz_must(TAILQ_EMPTY(&s->host.waiting) && s->host.arena.used == 0, "all buffers are free");
	fuzz_device_free(dev);
	return 0;
}
