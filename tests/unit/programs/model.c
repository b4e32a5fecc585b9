/* SPDX-License-Identifier: Apache-2.0 */
/* A model in a shared object, built once as it should be and once for each way to be wrong (test-models.py). */
#include <errno.h>

#include "farbus/device.h"

#ifndef OPTIONS
#define OPTIONS 1
#endif
#ifndef RESET
#define RESET 1
#endif
#ifndef REALIZED
#define REALIZED 0
#endif

struct shared {
	uint32_t foo;
	uint64_t value;
};

static uint64_t shared_read(struct fb_device *dev, unsigned bar, uint64_t offset, unsigned size)
{
	struct shared *s = fb_device_state(dev);

	(void)bar, (void)offset, (void)size;
	return s->value;
}

static void shared_write(struct fb_device *dev, unsigned bar, uint64_t offset, uint64_t value, unsigned size)
{
	struct shared *s = fb_device_state(dev);

	(void)bar, (void)offset, (void)size;
	s->value = value + s->foo;
}

static void shared_reset(struct fb_device *dev, enum fb_reset kind)
{
	(void)kind;
	((struct shared *)fb_device_state(dev))->value = 0;
}

#ifdef NEEDS_MORE
void fb_device_of_the_future(struct fb_device *dev);
#endif

static int shared_realize(struct fb_device *dev)
{
#ifdef NEEDS_MORE
	fb_device_of_the_future(dev);
#endif
	fb_device_info(dev, "here, with foo=%u", ((struct shared *)fb_device_state(dev))->foo);
#ifdef SAYS_WHY
	fb_device_error(dev, "no spoons");
	return -ENXIO;
#endif
#ifdef SECOND
	if (fb_device_function_number(dev) == 0)
		return fb_device_add_function(dev, &farbus_model, NULL);
	return -ENXIO;
#endif
	return REALIZED;
}

static const struct fb_bar bars[] = {{.index = 0, .size = 4096}};
static const struct fb_option options[] = {
	FB_OPTION(struct shared, foo, "foo", FB_OPT_U32, .def = "1", .max = 9, .unit = "spoons", .help = "what is added"),
};

#ifdef NO_SYMBOL
#define farbus_model another_name
extern const struct fb_model another_name;
#endif
#ifdef NEWER
extern const struct newer farbus_model_;
const struct newer {
	struct fb_model model;
	uint64_t more;
} farbus_model_ __asm__("farbus_model") = {.more = 1, .model = {
#else
const struct fb_model farbus_model = {
#endif
#ifdef OTHER_API
	.api = FB_DEVICE_API + 1,
#else
	.api = FB_DEVICE_API,
#endif
#if defined(TOO_SMALL)
	.size = 64,
#elif defined(NEWER)
	.size = sizeof(struct newer),
#else
	.size = sizeof(struct fb_model),
#endif
	.name = "shared",
	.summary = "a model from a shared object",
	.identity = {.vendor_id = 0x1b36, .device_id = 0xfb10, .class_code = 0xff0000},
	.bars = bars,
	.n_bars = 1,
	.msi_vectors = 1,
	.options = OPTIONS ? options : NULL,
	.n_options = 1,
	.state_size = sizeof(struct shared),
	.realize = shared_realize,
	.reset = RESET ? shared_reset : NULL,
	.read = shared_read,
	.write = shared_write,
	.style = FB_STYLE_BLOCKING,
#ifdef NEWER
}};
#else
};
#endif
