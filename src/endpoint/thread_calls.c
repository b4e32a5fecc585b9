/* SPDX-License-Identifier: Apache-2.0 */
/* The API's calls that a model in the blocking style makes on its thread: the loop carries them out (thread.c). */
#include <errno.h>

#include "endpoint/device_impl.h"

static int run_irq(struct fb_device *dev, void *arg)
{
	fb_irq(dev, *(unsigned *)arg);
	return 0;
}

void fb_thread_irq(struct fb_device *dev, unsigned vector)
{
	fb_thread_call(dev, run_irq, &vector);
}

static int run_intx(struct fb_device *dev, void *arg)
{
	fb_intx_set(dev, *(bool *)arg);
	return 0;
}

void fb_thread_intx(struct fb_device *dev, bool asserted)
{
	fb_thread_call(dev, run_intx, &asserted);
}

static int run_irq_mode(struct fb_device *dev, void *arg)
{
	*(enum fb_irq_mode *)arg = fb_irq_mode(dev);
	return 0;
}

enum fb_irq_mode fb_thread_irq_mode(const struct fb_device *dev)
{
	enum fb_irq_mode mode = FB_IRQ_NONE;

	fb_thread_call(dev, run_irq_mode, &mode);
	return mode;
}

static int run_internal_error(struct fb_device *dev, void *arg)
{
	fb_device_internal_error(dev, *(bool *)arg);
	return 0;
}

void fb_thread_internal_error(struct fb_device *dev, bool fatal)
{
	fb_thread_call(dev, run_internal_error, &fatal);
}

static int run_idle(struct fb_device *dev, void *arg)
{
	(void)arg;
	fb_device_idle(dev);
	return 0;
}

void fb_thread_idle(struct fb_device *dev)
{
	fb_thread_call(dev, run_idle, NULL);
}

struct place_args {
	unsigned n; /* BAR, vector, offset */
	uint64_t addr;
	uint32_t value, be;
	bool ok;
};

static int run_bdf(struct fb_device *dev, void *arg)
{
	*(uint16_t *)arg = fb_device_bdf(dev);
	return 0;
}

uint16_t fb_thread_bdf(const struct fb_device *dev)
{
	uint16_t bdf = 0;

	fb_thread_call(dev, run_bdf, &bdf);
	return bdf;
}

static int run_bar_address(struct fb_device *dev, void *arg)
{
	struct place_args *a = arg;

	a->ok = fb_device_bar_address(dev, a->n, &a->addr);
	return 0;
}

bool fb_thread_bar_address(const struct fb_device *dev, unsigned bar, uint64_t *addr)
{
	struct place_args a = {.n = bar};

	fb_thread_call(dev, run_bar_address, &a);
	*addr = a.addr;
	return a.ok;
}

static int run_irq_target(struct fb_device *dev, void *arg)
{
	struct place_args *a = arg;

	a->ok = fb_irq_target(dev, a->n, &a->addr, &a->value);
	return 0;
}

bool fb_thread_irq_target(const struct fb_device *dev, unsigned vector, uint64_t *addr, uint32_t *data)
{
	struct place_args a = {.n = vector};

	fb_thread_call(dev, run_irq_target, &a);
	*addr = a.addr;
	*data = a.value;
	return a.ok;
}

static int run_config_read(struct fb_device *dev, void *arg)
{
	struct place_args *a = arg;

	a->value = fb_device_config_read(dev, a->n);
	return 0;
}

uint32_t fb_thread_config_read(struct fb_device *dev, unsigned offset)
{
	struct place_args a = {.n = offset, .value = UINT32_MAX};

	fb_thread_call(dev, run_config_read, &a);
	return a.value;
}

static int run_config_write(struct fb_device *dev, void *arg)
{
	const struct place_args *a = arg;

	return fb_device_config_write(dev, a->n, a->value, a->be);
}

int fb_thread_config_write(struct fb_device *dev, unsigned offset, uint32_t value, unsigned byte_enables)
{
	struct place_args a = {.n = offset, .value = value, .be = byte_enables};

	return fb_thread_call(dev, run_config_write, &a);
}

struct capability_args {
	unsigned at, len;
	const void *body;
};

static int run_update_capability(struct fb_device *dev, void *arg)
{
	const struct capability_args *a = arg;

	return fb_device_update_capability(dev, a->at, a->body, a->len);
}

int fb_thread_update_capability(struct fb_device *dev, unsigned at, const void *body, unsigned len)
{
	struct capability_args a = {at, len, body};

	return fb_thread_call(dev, run_update_capability, &a);
}

struct ring_args {
	unsigned slot;
	const struct fb_device_ring *ring;
};

static int run_ring_set(struct fb_device *dev, void *arg)
{
	const struct ring_args *a = arg;

	fb_device_ring_set(dev, a->slot, a->ring);
	return 0;
}

void fb_thread_ring_set(struct fb_device *dev, unsigned slot, const struct fb_device_ring *ring)
{
	struct ring_args a = {slot, ring};

	fb_thread_call(dev, run_ring_set, &a);
}

struct pointers_args {
	unsigned slot;
	const struct fb_device_pointers *pointers;
};

static int run_pointers_set(struct fb_device *dev, void *arg)
{
	const struct pointers_args *a = arg;

	fb_device_pointers_set(dev, a->slot, a->pointers);
	return 0;
}

void fb_thread_pointers_set(struct fb_device *dev, unsigned slot, const struct fb_device_pointers *pointers)
{
	struct pointers_args a = {slot, pointers};

	fb_thread_call(dev, run_pointers_set, &a);
}

struct present_args {
	bool present;
	const char *why;
};

static int run_set_present(struct fb_device *dev, void *arg)
{
	const struct present_args *a = arg;

	fb_device_set_present(dev, a->present, a->why);
	return 0;
}

void fb_thread_set_present(struct fb_device *dev, bool present, const char *why)
{
	struct present_args a = {present, why};

	fb_thread_call(dev, run_set_present, &a);
}
