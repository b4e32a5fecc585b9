/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QEMU's educational device (docs/specs/edu in QEMU's documentation), by its
 * registers: drivers written for one run with the other. docs/devices/edu.md.
 *
 * It is also the example of a model in the event style: a factorial is computed
 * after the write that asks for it, and DMA goes on while registers are read.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "farbus/device.h"

enum { /* BAR 0 */
	REG_ID = 0x00,
	REG_LIVENESS = 0x04,
	REG_FACTORIAL = 0x08,
	REG_STATUS = 0x20,
	REG_IRQ_STATUS = 0x24,
	REG_IRQ_RAISE = 0x60,
	REG_IRQ_ACK = 0x64,
	REG_DMA = 0x80, /* from here on registers of 8 bytes */
	REG_DMA_SRC = 0x80,
	REG_DMA_DST = 0x88,
	REG_DMA_COUNT = 0x90,
	REG_DMA_CMD = 0x98,

	ID = 0x010000ed, /* version 1.0 */
	STATUS_COMPUTING = 0x01,
	STATUS_IRQ_FACTORIAL = 0x80,
	IRQ_FACTORIAL = 0x001,
	IRQ_DMA = 0x100,
	DMA_RUN = 1,
	DMA_TO_GUEST = 2,
	DMA_IRQ = 4,

	BUF_START = 0x40000, /* the buffer, as DMA source and destination name it */
	BUF_SIZE = 4096,
	WARN_EVERY_NS = 1000000000,
};

struct edu {
	uint64_t dma_mask; /* option */

	uint32_t liveness, factorial, status, irq_status;
	uint64_t dma_src, dma_dst, dma_count, dma_cmd;
	struct fb_device_timer computed;
	uint64_t factorials, transfers, refused, failed;
	uint64_t next_warning; /* a guest may be refused at any rate */
	uint8_t buf[BUF_SIZE];
};

static void raise_irq(struct fb_device *dev, uint32_t bits)
{
	struct edu *e = fb_device_state(dev);

	e->irq_status |= bits;
	if (!e->irq_status)
		return;
	fb_irq(dev, 0); /* the message, if MSI is on; else the pin */
	fb_intx_set(dev, true);
}

static void lower_irq(struct fb_device *dev, uint32_t bits)
{
	struct edu *e = fb_device_state(dev);

	e->irq_status &= ~bits;
	if (!e->irq_status)
		fb_intx_set(dev, false);
}

/* ---- Factorial --------------------------------------------------------------------- */

static void computed(struct fb_device *dev, struct fb_device_timer *timer)
{
	struct edu *e = fb_device_state(dev);
	uint32_t result = 1;

	(void)timer;
	for (uint32_t n = e->factorial; n > 1 && result; n--) /* of 32 bits: 0 from 34! on */
		result *= n;
	e->factorial = result;
	e->status &= ~(uint32_t)STATUS_COMPUTING;
	e->factorials++;
	if (e->status & STATUS_IRQ_FACTORIAL)
		raise_irq(dev, IRQ_FACTORIAL);
}

static void compute(struct fb_device *dev, uint32_t n)
{
	struct edu *e = fb_device_state(dev);

	if (e->status & STATUS_COMPUTING)
		return;
	e->factorial = n;
	e->computed.due = computed;
	if (!fb_device_timer_set(dev, &e->computed, fb_device_now(dev)))
		e->status |= STATUS_COMPUTING;
}

/* ---- DMA ---------------------------------------------------------------------------- */

/* It has ended, in whatever way: there is no place to tell the guest of an error. */
static void dma_over(struct fb_device *dev)
{
	struct edu *e = fb_device_state(dev);

	e->dma_cmd &= ~(uint64_t)DMA_RUN;
	if (e->dma_cmd & DMA_IRQ)
		raise_irq(dev, IRQ_DMA);
}

static void dma_done(void *arg, int status)
{
	struct edu *e = arg;

	if (status == -ECANCELED) { /* by a reset, or by bus mastering switched off */
		e->dma_cmd &= ~(uint64_t)DMA_RUN;
		return;
	}
	e->failed += status != 0;
	dma_over(fb_device_of_state(e));
}

static void dma_start(struct fb_device *dev)
{
	struct edu *e = fb_device_state(dev);
	bool to_guest = e->dma_cmd & DMA_TO_GUEST;
	uint64_t inside = (to_guest ? e->dma_src : e->dma_dst) - BUF_START; /* huge if it is below */
	uint64_t addr = (to_guest ? e->dma_dst : e->dma_src) & e->dma_mask;
	int err;

	if (inside > BUF_SIZE || e->dma_count > BUF_SIZE - inside) {
		e->refused++;
		if (fb_device_now(dev) >= e->next_warning) {
			e->next_warning = fb_device_now(dev) + WARN_EVERY_NS;
			fb_device_warn(dev, "DMA of 0x%" PRIx64 " bytes at 0x%" PRIx64 " refused: the buffer is 0x%x to 0x%x",
				       e->dma_count, inside + BUF_START, BUF_START, BUF_START + BUF_SIZE - 1);
		}
		dma_over(dev);
		return;
	}
	if (e->dma_count == 0) {
		dma_over(dev);
		return;
	}
	e->transfers++;
	if (to_guest)
		err = fb_dma_write(dev, addr, e->buf + inside, (uint32_t)e->dma_count, dma_done, e);
	else
		err = fb_dma_read(dev, addr, e->buf + inside, (uint32_t)e->dma_count, dma_done, e);
	if (err) { /* bus mastering is off, for example */
		e->failed++;
		dma_over(dev);
	}
}

/* ---- Registers ------------------------------------------------------------------------ */

/* Those below REG_DMA take 4 bytes, the others 4 or 8. */
static bool size_is_wrong(uint64_t offset, unsigned size)
{
	return size != 4 && (offset < REG_DMA || size != 8);
}

static uint64_t edu_read(struct fb_device *dev, unsigned bar, uint64_t offset, unsigned size)
{
	struct edu *e = fb_device_state(dev);

	(void)bar;
	if (size_is_wrong(offset, size))
		return ~0ull;
	switch (offset) {
	case REG_ID:
		return ID;
	case REG_LIVENESS:
		return e->liveness;
	case REG_FACTORIAL:
		return e->factorial;
	case REG_STATUS:
		return e->status;
	case REG_IRQ_STATUS:
		return e->irq_status;
	case REG_DMA_SRC:
		return e->dma_src;
	case REG_DMA_DST:
		return e->dma_dst;
	case REG_DMA_COUNT:
		return e->dma_count;
	case REG_DMA_CMD:
		return e->dma_cmd;
	default:
		return ~0ull;
	}
}

static void edu_write(struct fb_device *dev, unsigned bar, uint64_t offset, uint64_t value, unsigned size)
{
	struct edu *e = fb_device_state(dev);

	(void)bar;
	if (size_is_wrong(offset, size))
		return;
	if (offset >= REG_DMA && e->dma_cmd & DMA_RUN) /* its registers are locked while it runs */
		return;
	switch (offset) {
	case REG_LIVENESS:
		e->liveness = ~(uint32_t)value;
		break;
	case REG_FACTORIAL:
		compute(dev, (uint32_t)value);
		break;
	case REG_STATUS:
		e->status = (e->status & STATUS_COMPUTING) | (value & STATUS_IRQ_FACTORIAL);
		break;
	case REG_IRQ_RAISE:
		raise_irq(dev, (uint32_t)value);
		break;
	case REG_IRQ_ACK:
		lower_irq(dev, (uint32_t)value);
		break;
	case REG_DMA_SRC:
		e->dma_src = value;
		break;
	case REG_DMA_DST:
		e->dma_dst = value;
		break;
	case REG_DMA_COUNT:
		e->dma_count = value;
		break;
	case REG_DMA_CMD:
		if (!(value & DMA_RUN))
			break;
		e->dma_cmd = value;
		dma_start(dev);
		break;
	default:
		break;
	}
}

/* ---- Life ------------------------------------------------------------------------------- */

static void edu_reset(struct fb_device *dev, enum fb_reset kind)
{
	struct edu *e = fb_device_state(dev);

	(void)kind; /* DMA has ended, the timer is stopped */
	e->liveness = e->factorial = e->status = e->irq_status = 0;
	e->dma_src = e->dma_dst = e->dma_count = e->dma_cmd = 0;
	memset(e->buf, 0, sizeof(e->buf));
}

static void edu_stats(struct fb_device *dev, void (*put)(void *arg, const char *name, uint64_t value), void *arg)
{
	const struct edu *e = fb_device_state(dev);

	put(arg, "factorials", e->factorials);
	put(arg, "dma_transfers", e->transfers);
	put(arg, "dma_refused", e->refused);
	put(arg, "dma_failed", e->failed);
}

static const struct fb_bar bars[] = {{.index = 0, .size = 1 << 20, .min_access = 4, .max_access = 8}};

static const struct fb_option options[] = {
	FB_OPTION(struct edu, dma_mask, "dma_mask", FB_OPT_U64, .def = "0xfffffff",
		  .help = "the bits of a bus address that its DMA can reach; others are cut off"),
};

const struct fb_model edu_model = {
	.api = FB_DEVICE_API,
	.size = sizeof(struct fb_model),
	.name = "edu",
	.summary = "QEMU's educational device: registers, interrupts and DMA to learn with",
	.identity = {.vendor_id = 0x1234,
		     .device_id = 0x11e8,
		     .subsystem_vendor_id = 0x1af4,
		     .subsystem_id = 0x1100,
		     .class_code = 0x00ff00,
		     .revision = 0x10},
	.bars = bars,
	.n_bars = 1,
	.msi_vectors = 1,
	.intx = true,
	.options = options,
	.n_options = 1,
	.state_size = sizeof(struct edu),
	.reset = edu_reset,
	.read = edu_read,
	.write = edu_write,
	.stats = edu_stats,
};
