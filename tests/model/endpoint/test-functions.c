/* SPDX-License-Identifier: Apache-2.0 */
/* A device of several functions: IDs, sessions and resets of their own, one state, one thread. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "endpoint/endpoint.h"
#include "scripted_root.h"

/* BAR 0: 0x0 of the function, 0x4 of the device, 0x8 the function's number, 0xc: an interrupt of function <value>. */
struct many {
	uint32_t functions;
	bool bad;
	uint32_t own, resets;
	uint32_t shared;  /* function 0's is the device's */
	unsigned *living; /* likewise */
};

static unsigned living;

static const struct fb_model second_model;

static struct many *first(struct fb_device *dev)
{
	return fb_device_state(fb_device_function(dev, 0));
}

static int many_realize(struct fb_device *dev)
{
	struct many *m = fb_device_state(dev);
	int err = 0;

	living++;
	for (uint32_t i = 1; i < m->functions && !err; i++) {
		struct fb_device *f = NULL;

		err = fb_device_add_function(dev, &second_model, &f);
		if (!err)
			assert_ptr_equal(f, fb_device_function(dev, i));
	}
	if (err)
		living--;
	return err;
}

static int second_realize(struct fb_device *dev)
{
	struct fb_identity id = {.vendor_id = 0x1b36, .device_id = 0xfb04, .class_code = 0x020000};

	assert_int_equal(fb_device_add_function(dev, &second_model, NULL), -EINVAL); /* only the first adds */
	id.subsystem_id = (uint16_t)fb_device_function_number(dev);
	fb_device_set_identity(dev, &id);
	if (first(dev)->bad && fb_device_function_number(dev) == 2) {
		fb_device_error(dev, "bad=on");
		return -EIO;
	}
	living++;
	return 0;
}

static void many_unrealize(struct fb_device *dev)
{
	(void)dev;
	living--;
}

static void many_reset(struct fb_device *dev, enum fb_reset kind)
{
	struct many *m = fb_device_state(dev);

	(void)kind;
	m->own = 0;
	m->resets++;
}

static uint64_t many_read(struct fb_device *dev, unsigned bar, uint64_t offset, unsigned size)
{
	struct many *m = fb_device_state(dev);

	(void)bar, (void)size;
	return offset == 0 ? m->own : offset == 4 ? first(dev)->shared : fb_device_function_number(dev);
}

static void many_write(struct fb_device *dev, unsigned bar, uint64_t offset, uint64_t value, unsigned size)
{
	struct many *m = fb_device_state(dev);

	(void)bar, (void)size;
	if (offset == 0)
		m->own = (uint32_t)value;
	else if (offset == 4)
		first(dev)->shared = (uint32_t)value;
	else if (offset == 0xc && fb_device_function(dev, (unsigned)value))
		fb_irq(fb_device_function(dev, (unsigned)value), 0);
}

static const struct fb_bar bars[] = {{.index = 0, .size = 4096}};
static const struct fb_option options[] = {
	FB_OPTION(struct many, functions, "functions", FB_OPT_U32, .def = "3", .max = 300, .help = "how many"),
	FB_OPTION(struct many, bad, "bad", FB_OPT_BOOL, .help = "the third does not come up"),
};

#define MANY(name_, style_, realize_, options_, n_options_)                                                            \
	{                                                                                                              \
		.api = FB_DEVICE_API, .size = sizeof(struct fb_model), .name = name_,                                  \
		.identity = {.vendor_id = 0x1b36, .device_id = 0xfb04, .class_code = 0x020000}, .bars = bars,          \
		.n_bars = 1, .msi_vectors = 1, .options = options_, .n_options = n_options_,                           \
		.state_size = sizeof(struct many), .realize = realize_, .unrealize = many_unrealize,                   \
		.reset = many_reset, .read = many_read, .write = many_write, .style = style_,                          \
	}
static const struct fb_model many_model = MANY("many", FB_STYLE_EVENT, many_realize, options, 2);
static const struct fb_model second_model = MANY("many", FB_STYLE_EVENT, second_realize, NULL, 0);

static void own_sessions_one_state(void **state)
{
	struct scripted_root *r[3];

	(void)state;
	r[0] = scripted_root_new(&many_model, "id=net0", 4096);
	assert_int_equal(living, 3);
	r[1] = scripted_root_function(r[0], 1, 4096);
	r[2] = scripted_root_function(r[0], 2, 4096);
	for (unsigned i = 0; i < 3; i++) {
		char id[16];

		snprintf(id, sizeof(id), i ? "net0.%u" : "net0", i);
		assert_string_equal(fb_device_id(r[i]->dev), id);
		assert_null(fb_device_function(r[i]->dev, 3));
		scripted_root_enumerate(r[i], NULL);
		scripted_root_enable_msi(r[i], 1);
		assert_int_equal(scripted_root_cfg_read(r[i], 0x2e, 2), i);
		assert_int_equal(scripted_root_read(r[i], 0, 8, 4), i);
		scripted_root_write(r[i], 0, 0, 100 + i, 4);
	}
	scripted_root_write(r[1], 0, 4, 4711, 4);
	assert_int_equal(scripted_root_read(r[2], 0, 4, 4), 4711);
	scripted_root_write(r[0], 0, 0xc, 2, 4);
	assert_int_equal(scripted_root_irqs(r[2], 0), 1);
	assert_int_equal(scripted_root_irqs(r[0], 0) + scripted_root_irqs(r[1], 0), 0);

	/* One is reset, one loses its root: the others do not notice. */
	scripted_root_cfg_write(r[1], r[1]->cap_exp + 8u, 0x8000, 2);
	scripted_root_enumerate(r[1], NULL);
	assert_int_equal(scripted_root_read(r[1], 0, 0, 4), 0);
	scripted_root_detach(r[0]);
	assert_int_equal(scripted_root_read(r[2], 0, 0, 4), 102);
	assert_int_equal(scripted_root_read(r[1], 0, 4, 4), 4711);
	scripted_root_free(r[2]);
	scripted_root_free(r[1]);
	scripted_root_free(r[0]);
	assert_int_equal(living, 0);
}

static int make(struct fb_loop *loop, const struct fb_model *model, const char *spec)
{
	struct fb_device *dev;
	int err = fb_device_new_model(&dev, loop, model, spec);

	if (!err)
		fb_device_free(dev);
	assert_int_equal(living, 0);
	return err;
}

static void that_cannot_be(void **state)
{
	struct fb_model blocking = many_model;
	struct fb_loop *loop;

	(void)state;
	assert_int_equal(fb_loop_new(&loop, 0), 0);
	assert_int_equal(make(loop, &many_model, "id=a,functions=256"), 0);
	assert_int_equal(make(loop, &many_model, "id=a,functions=257"), -ENOSPC);
	assert_int_equal(make(loop, &many_model, "id=a,bad"), -EIO); /* and the one that was there is gone again */
	assert_int_equal(make(loop, &many_model, "id=a234567890123456789012345678901"), -EINVAL); /* no room for ".1" */
	blocking.style = FB_STYLE_BLOCKING;
	assert_int_equal(make(loop, &blocking, "id=a"), -EINVAL); /* the others are of another style */
	fb_loop_free(loop);
}

/* A model built for the first version of the API: its struct ends before `style`, and what is behind it is not ours. */
static const struct fb_model *old_model;

static int old_realize(struct fb_device *dev)
{
	living++;
	return fb_device_function_number(dev) ? 0 : fb_device_add_function(dev, old_model, NULL);
}

static void of_an_older_model(void **state)
{
	static const struct fb_model model = MANY("many", FB_STYLE_EVENT, old_realize, NULL, 0);
	uint32_t size = offsetof(struct fb_model, style);
	uint8_t *old = malloc(size);
	struct fb_loop *loop;

	(void)state;
	assert_non_null(old);
	memcpy(old, &model, size);
	memcpy(old + offsetof(struct fb_model, size), &size, sizeof(size));
	old_model = (const struct fb_model *)(const void *)old;
	assert_int_equal(fb_loop_new(&loop, 0), 0);
	assert_int_equal(make(loop, old_model, "id=a"), 0);
	fb_loop_free(loop);
	free(old);
}

/* ---- The same in the blocking style: one thread for all -------------------------------- */

static int pair_realize(struct fb_device *dev);
static void pair_write(struct fb_device *dev, unsigned bar, uint64_t offset, uint64_t value, unsigned size);
static const struct fb_model pair_model = {
	.api = FB_DEVICE_API, .size = sizeof(struct fb_model), .name = "pair", .bars = bars, .n_bars = 1, .msi_vectors = 1,
	.state_size = sizeof(struct many), .realize = pair_realize, .reset = many_reset, .read = many_read,
	.write = pair_write, .style = FB_STYLE_BLOCKING,
};

static int pair_realize(struct fb_device *dev)
{
	return fb_device_function_number(dev) ? 0 : fb_device_add_function(dev, &pair_model, NULL);
}

/* Without the one thread this count would be a race. Then it waits in one function for the other's memory. */
static void pair_write(struct fb_device *dev, unsigned bar, uint64_t offset, uint64_t value, unsigned size)
{
	struct fb_device *other = fb_device_function(dev, !fb_device_function_number(dev));

	(void)bar, (void)size;
	if (offset == 4) {
		first(dev)->shared++;
	} else if (offset == 0x10) {
		fb_dma_read_wait(other, value, &first(dev)->own, 4);
		fb_irq(dev, 0);
	}
}

static void one_thread_for_all(void **state)
{
	struct scripted_root *a = scripted_root_new(&pair_model, "id=p", 4096), *b = scripted_root_function(a, 1, 4096);
	struct scripted_root *r[] = {a, b};
	uint32_t word = 0xcafe;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		scripted_root_enumerate(r[i], NULL);
		scripted_root_enable_msi(r[i], 1);
	}
	for (unsigned i = 0; i < 500; i++)
		scripted_root_write(r[i & 1], 0, 4, 0, 4);
	assert_int_equal(scripted_root_read(b, 0, 4, 4), 500);
	memcpy(scripted_root_mem(b, b->mem_base, 4), &word, 4);
	scripted_root_write(a, 0, 0x10, b->mem_base, 4);
	assert_int_equal(scripted_root_read(a, 0, 0, 4), 0xcafe);
	assert_int_equal(scripted_root_irqs(a, 0), 1);
	/* The other function's reset ends a wait for its memory. */
	b->answer = ANSWER_NEVER;
	scripted_root_write(a, 0, 0x10, b->mem_base, 4);
	scripted_root_run(a);
	scripted_root_cfg_write(b, b->cap_exp + 8u, 0x8000, 2);
	b->n_reads = 0;
	assert_int_equal(scripted_root_read(a, 0, 8, 4), 0);
	scripted_root_free(b);
	scripted_root_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(own_sessions_one_state),
		cmocka_unit_test(that_cannot_be),
		cmocka_unit_test(of_an_older_model),
		cmocka_unit_test(one_thread_for_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
