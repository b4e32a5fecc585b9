/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A runtime for models under test: include/farbus/device.h on an array that is
 * the guest's memory, without TLPs, ports or an event loop.
 *
 * DMA takes effect in fake_round(): writes and interrupts in the order in which
 * they were made, reads in the order made or, with `shuffle`, in any. Nothing
 * takes effect while `hold` is set. The clock is the machine's plus what the
 * test adds.
 */
#ifndef FARBUS_TESTS_FAKE_DEVICE_H
#define FARBUS_TESTS_FAKE_DEVICE_H

#include "farbus/device.h"

enum { FAKE_VECTORS = 128 };

struct fake_dma;

struct fb_device {
	const struct fb_model *model;
	void *state;
	char id[32];
	char *options;
	uint8_t *mem; /* guest memory from bus address 0 */
	uint64_t mem_size;

	/* What the test sets. */
	bool hold;          /* DMA waits */
	bool bme;           /* on after fake_new() */
	bool shadow_able;   /* off: nobody serves shadow doorbells */
	uint64_t shuffle;   /* seed; 0: in order */
	int fail_reads;     /* status of all reads; 0: they work */
	int fail_address;   /* status of accesses at fail_at.. */
	uint64_t fail_at, fail_len;
	enum fb_irq_mode irq_mode; /* FB_IRQ_MSIX */
	uint64_t clock_offset, clock_stopped; /* 0: it runs */
	unsigned refuse_dma; /* the next so many calls return -ENOMEM */
	/* Where in mem an access of the device goes; UINT64_MAX: nowhere. Asked when it is started. NULL: bus address 0 is mem's begin. */
	uint64_t (*place)(struct fb_device *dev, uint64_t addr, uint64_t len, bool write);
	bool (*busy)(struct fb_device *dev); /* has the model something under way that will end by itself? */

	/* What it looks at. */
	unsigned irqs[FAKE_VECTORS];
	bool intx;
	struct fb_device_ring ring[FB_DEVICE_RINGS]; /* entries 0: none */
	struct fb_device_pointers pointers[FB_DEVICE_RINGS]; /* registers 0: none */
	struct fb_device_value offer[FB_DEVICE_VALUES]; /* the last one; the test ends it (n_offer 0) with what the guest does */
	unsigned n_offer;
	char errors[4096];  /* of fb_device_error() and _warn(), a line each */
	unsigned reads, writes, bad_addresses;
	uint64_t read_bytes, write_bytes, max_write; /* max_write: the largest single one */
	unsigned outstanding;
	bool idle, on_bus; /* on_bus: inside fake_round(): done() must not come from inside a call */
	uint16_t msi, msix;
	uint64_t serial;

	struct fake_dma *first, **last;
	struct fb_device_batch *batches[16];
	unsigned n_batches;
	struct fb_device_poller *pollers[4];
	unsigned n_pollers;
	struct fb_device_timer *timers[16];
	unsigned n_timers;
	struct { struct fb_device_fd *watch; int fd; short events; } fds[4];
	unsigned n_fds;
};

/* 0 or the model's -errno, whose line is then in (*out)->errors; free it in both cases. */
int fake_new(struct fb_device **out, const struct fb_model *model, const char *options, uint64_t mem_size);
void fake_free(struct fb_device *dev);

/* One round of the loop. True if anything happened. */
bool fake_round(struct fb_device *dev);
/* Rounds until cond(arg), at most 10 s: false if it never came true. */
bool fake_until(struct fb_device *dev, bool (*cond)(void *arg), void *arg);
/* Rounds until nothing happens any more for a while, and busy() says no. */
void fake_settle(struct fb_device *dev);
void fake_advance(struct fb_device *dev, uint64_t ns);
/* From now on only fake_advance() moves the clock: what is to happen in time does so on a busy machine, too. */
void fake_stop_clock(struct fb_device *dev);
/* As the runtime: cancels DMA, then the model's reset(). */
void fake_reset(struct fb_device *dev, enum fb_reset kind);
/* The guest reads value i of the offer, as it may have it. False: read() gives something else. */
bool fake_use(struct fb_device *dev, unsigned i);
void fake_cancel_dma(struct fb_device *dev, int status);

static inline uint32_t fake_read32(struct fb_device *dev, uint64_t offset)
{
	return (uint32_t)dev->model->read(dev, 0, offset, 4);
}
static inline uint64_t fake_read64(struct fb_device *dev, uint64_t offset)
{
	return dev->model->read(dev, 0, offset, 8);
}
static inline void fake_write32(struct fb_device *dev, uint64_t offset, uint32_t value)
{
	dev->model->write(dev, 0, offset, value, 4);
}
static inline void fake_write64(struct fb_device *dev, uint64_t offset, uint64_t value)
{
	dev->model->write(dev, 0, offset, value, 8);
}

#endif
