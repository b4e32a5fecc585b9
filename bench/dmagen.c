/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A box with one dmagen function (dmagen.h):
 *
 *	dmagen LISTEN [poll-us [single | FAULT]]
 *
 * "single": one TLP a datagram; else a --fault specification.
 */
#include "dmagen.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint/endpoint.h"
#include "farbus/device.h"
#include "util/loop.h"

enum { MAX_DEPTH = 256, MAX_SIZE = 1 << 20 };

struct dmagen {
	uint64_t scratch, count, addr, span, size, depth, ops;
	uint64_t started, finished, errors, begin_ns, elapsed_ns, next;
	bool busy, is_read;
	uint8_t flush[8];
	uint8_t *out, *in; /* one each for all operations: what is read is thrown away */
};

static void pump(struct dmagen *g);

static void flushed(void *arg, int status)
{
	struct dmagen *g = arg;

	g->errors += status != 0;
	g->elapsed_ns = fb_clock_ns() - g->begin_ns;
	g->busy = false;
	fb_irq(fb_device_of_state(g), 0);
}

static void operation_done(void *arg, int status)
{
	struct dmagen *g = arg;

	g->finished++;
	g->errors += status != 0;
	if (g->finished < g->ops) {
		pump(g);
		return;
	}
	/* A read behind posted writes completes when they have arrived. */
	if (g->is_read)
		flushed(g, 0);
	else if (fb_dma_read(fb_device_of_state(g), g->addr, g->flush, sizeof(g->flush), flushed, g))
		flushed(g, -1);
}

static void pump(struct dmagen *g)
{
	struct fb_device *dev = fb_device_of_state(g);

	while (g->started < g->ops && g->started - g->finished < g->depth) {
		uint64_t at = g->addr + g->next;
		int r = g->is_read ? fb_dma_read(dev, at, g->in, (uint32_t)g->size, operation_done, g)
				   : fb_dma_write(dev, at, g->out, (uint32_t)g->size, operation_done, g);

		if (r) {
			g->errors += g->ops - g->started;
			g->ops = g->started;
			if (g->finished == g->ops)
				flushed(g, r);
			return;
		}
		g->started++;
		g->next += g->size;
		if (g->next + g->size > g->span)
			g->next = 0;
	}
}

static uint64_t *reg(struct dmagen *g, uint64_t offset)
{
	switch (offset) {
	case DMAGEN_SCRATCH: return &g->scratch;
	case DMAGEN_COUNT: return &g->count;
	case DMAGEN_ADDR: return &g->addr;
	case DMAGEN_SPAN: return &g->span;
	case DMAGEN_SIZE: return &g->size;
	case DMAGEN_DEPTH: return &g->depth;
	case DMAGEN_OPS: return &g->ops;
	case DMAGEN_ELAPSED: return &g->elapsed_ns;
	case DMAGEN_ERRORS: return &g->errors;
	default: return NULL;
	}
}

static uint64_t dmagen_read(struct fb_device *dev, unsigned bar, uint64_t offset, unsigned size)
{
	struct dmagen *g = fb_device_state(dev);
	uint64_t *r = reg(g, offset);

	return offset == DMAGEN_BUSY ? g->busy : r ? *r : 0;
}

static void dmagen_write(struct fb_device *dev, unsigned bar, uint64_t offset, uint64_t value, unsigned size)
{
	struct dmagen *g = fb_device_state(dev);
	uint64_t *r = reg(g, offset);

	if (offset == DMAGEN_START) {
		if (g->busy || !g->ops || !g->size || g->size > MAX_SIZE || g->size > g->span || !g->depth ||
		    g->depth > MAX_DEPTH) {
			fb_device_error(dev, "start refused: busy, or a register is out of its range");
			return;
		}
		g->is_read = value & 1;
		g->busy = true;
		g->started = g->finished = g->errors = g->next = 0;
		g->begin_ns = fb_clock_ns();
		pump(g);
		return;
	}
	if (offset == DMAGEN_SCRATCH)
		g->count++;
	if (r && offset != DMAGEN_COUNT && !g->busy)
		*r = value;
}

static void dmagen_reset(struct fb_device *dev, enum fb_reset kind)
{
	struct dmagen *g = fb_device_state(dev);
	uint8_t *out = g->out, *in = g->in;

	memset(g, 0, sizeof(*g));
	g->out = out;
	g->in = in;
}

static int dmagen_realize(struct fb_device *dev)
{
	struct dmagen *g = fb_device_state(dev);

	g->out = aligned_alloc(4096, 2 * MAX_SIZE);
	if (!g->out)
		return -ENOMEM;
	g->in = g->out + MAX_SIZE;
	memset(g->out, 0x5a, MAX_SIZE);
	return 0;
}

static void dmagen_unrealize(struct fb_device *dev)
{
	free(((struct dmagen *)fb_device_state(dev))->out);
}

static const struct fb_bar bars[] = {{.index = 0, .is_64 = true, .size = 4096, .min_access = 8, .max_access = 8}};

static const struct fb_model dmagen_model = {
	.api = FB_DEVICE_API,
	.size = sizeof(struct fb_model),
	.name = "dmagen",
	.summary = "does DMA and times it",
	.identity = {.vendor_id = 0x1af4, .device_id = 0x10fb, .class_code = 0xff0000},
	.bars = bars,
	.n_bars = 1,
	.msi_vectors = 1,
	.state_size = sizeof(struct dmagen),
	.realize = dmagen_realize,
	.unrealize = dmagen_unrealize,
	.reset = dmagen_reset,
	.read = dmagen_read,
	.write = dmagen_write,
};

static struct fb_loop *the_loop;

static void on_signal(int sig)
{
	fb_loop_stop(the_loop);
}

int main(int argc, char **argv)
{
	static const struct fb_model *const models[] = {&dmagen_model, NULL};
	static const char *const devices[] = {"dmagen,id=dmagen0", NULL};
	struct fb_box_config config = {.models = models, .devices = devices};
	struct fb_box *box;
	int r;

	if (argc < 2 || argc > 4) {
		fprintf(stderr, "usage: dmagen LISTEN [poll-us [single | FAULT]]\n");
		return 2;
	}
	config.carrier.listen = argv[1];
	memcpy(config.carrier.self.node, "farbus-dmagen-00", 16);
	config.carrier.self.incarnation = fb_clock_ns();
	fb_link_config_default(&config.carrier.link);
	if (argc > 3 && !strcmp(argv[3], "single"))
		config.carrier.link.one_tlp_a_datagram = true;
	else if (argc > 3)
		config.carrier.fault = argv[3];
	r = fb_loop_new(&the_loop, argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 0) : 0);
	if (r)
		return 1;
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	r = fb_box_new(&box, the_loop, &config);
	if (!r) {
		r = fb_loop_run(the_loop);
		fb_box_free(box);
	}
	fb_loop_free(the_loop);
	return r ? 1 : 0;
}
