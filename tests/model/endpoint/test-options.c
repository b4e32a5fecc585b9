/* SPDX-License-Identifier: Apache-2.0 */
/* Making devices: options and their messages, models that are wrong, and that a failure leaves nothing behind. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "endpoint/endpoint.h"
#include "probe.h"
#include "util/log.h"
#include "util/loop.h"

static const struct fb_model *const models[] = {&probe_model, NULL};
static struct fb_loop *loop;
static char said[4096];

/* What went to stderr during make(). */
static int make(struct fb_device **dev, const char *spec)
{
	int saved = dup(STDERR_FILENO), err;
	FILE *f = tmpfile();
	size_t n;

	assert_non_null(f);
	dup2(fileno(f), STDERR_FILENO);
	err = fb_device_new(dev, loop, models, spec);
	dup2(saved, STDERR_FILENO);
	close(saved);
	rewind(f);
	n = fread(said, 1, sizeof(said) - 1, f);
	said[n] = '\0';
	fclose(f);
	return err;
}

static unsigned lines(void)
{
	unsigned n = 0;

	for (const char *p = said; *p; p++)
		n += *p == '\n';
	return n;
}

static void good_options(void **state)
{
	struct fb_device *dev;
	struct probe *p;

	assert_int_equal(make(&dev, "probe,id=ssd0"), 0);
	p = fb_device_state(dev);
	assert_string_equal(fb_device_id(dev), "ssd0");
	assert_string_equal(fb_device_name(dev), "ssd0");
	assert_string_equal(fb_device_model(dev)->name, "probe");
	assert_null(p->text);
	assert_int_equal(p->count, 8);
	assert_int_equal(p->mode, 1);
	assert_int_equal(p->size, 1 << 20);
	assert_false(p->fast);
	fb_device_free(dev);

	assert_int_equal(make(&dev, "probe,count=0x40,id=a.B-c_9,text=a,,b=c,mode=quick,size=1.5M,big=18446744073709551615,"
				    "fast,wait=2h,irq-coalesce=50us,completion-timeout=64s,msi=off,msix=no"),
			 0);
	p = fb_device_state(dev);
	assert_string_equal(p->text, "a,b=c");
	assert_int_equal(p->count, 64);
	assert_int_equal(p->mode, 2);
	assert_int_equal(p->size, 3 << 19);
	assert_true(p->big == UINT64_MAX);
	assert_true(p->wait == 7200 * UINT64_C(1000000000) && p->pause == 1000000);
	assert_true(p->fast);
	assert_string_equal(said, "");
	fb_device_free(dev);
	(void)state;
}

static void bad_options(void **state)
{
	/* What is said must name the option, the value, and what would be right. */
	static const struct {
		const char *spec, *words[4];
	} cases[] = {
		{"prob,id=a", {"prob", "did you mean probe?"}},
		{"nvme,id=a", {"nvme", "there are: probe"}},
		{"", {"no such model"}},
		{"probe", {"id is missing"}},
		{"probe,id=", {"id=", "text"}},
		{"probe,id", {"id", "text"}},
		{"probe,id=a/b", {"id=a/b", "letters"}},
		{"probe,id=a b", {"id=a b"}},
		{"probe,id=..", {"id=.."}},
		{"probe,id=12345678901234567890123456789012", {"31"}},
		{"probe,id=a,cuont=3", {"cuont", "did you mean count?"}},
		{"probe,id=a,zzzzzz=3", {"zzzzzz", "no such option"}},
		{"probe,id=a,count=65", {"count=65", "from 1 to 64"}},
		{"probe,id=a,count=0", {"count=0", "from 1 to 64"}},
		{"probe,id=a,count=x", {"count=x", "a number"}},
		{"probe,id=a,count=-1", {"count=-1"}},
		{"probe,id=a,count", {"count", "a number"}},
		{"probe,id=a,count=3,count=4", {"count", "twice"}},
		{"probe,id=a,mode=fast", {"mode=fast", "slow, medium, quick"}},
		{"probe,id=a,size=1", {"size=1", "at least 512"}},
		{"probe,id=a,size=1Q", {"size=1Q"}},
		{"probe,id=a,fast=maybe", {"fast=maybe", "on or off"}},
		{"probe,id=a,big=18446744073709551616", {"big="}},
		{"probe,id=a,irq-coalesce=5", {"irq-coalesce=5", "a time", "from 0 to 1s"}},
		{"probe,id=a,irq-coalesce=2s", {"irq-coalesce=2s", "1s"}},
		{"probe,id=a,completion-timeout=1ms", {"completion-timeout=1ms", "from 50ms to 64s"}},
		{"probe,id=a,completion-timeout=65s", {"64s"}},
		{"probe,id=a,wait=x", {"wait=x: must be a time such as 20us or 1.5s (any time)"}},
		{"probe,id=a,pause=999ns", {"pause=999ns: must be a time such as 20us or 1.5s, of at least 1000ns"}},
		{"probe,id=a,msi=3", {"msi=3", "on or off"}},
		{"probe,id=a,refuse=on", {"a: refuse=on"}},
		{"probe,id=a,msi-vectors=3", {"3 MSI vectors", "power of two"}},
		{"probe,id=a,msi-vectors=64", {"64 MSI vectors"}},
		{"probe,id=a,msix-vectors=2049", {"2049 MSI-X vectors"}},
		{"probe,id=a,msix-vectors=2048", {"do not fit"}},
	};
	struct fb_device *dev;

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int err = make(&dev, cases[i].spec);

		if (err >= 0)
			fail_msg("'%s' was taken", cases[i].spec);
		for (unsigned w = 0; w < 4 && cases[i].words[w]; w++) {
			if (!strstr(said, cases[i].words[w]))
				fail_msg("'%s': '%s' does not say '%s'", cases[i].spec, said, cases[i].words[w]);
		}
		if (lines() != 1)
			fail_msg("'%s': not one line: %s", cases[i].spec, said);
	}
	(void)state;
}

static int refuse_model(struct fb_model model)
{
	static struct fb_model m;
	struct fb_device *dev;

	m = model;
	return fb_device_new_model(&dev, loop, &m, "id=x");
}

static void bad_models(void **state)
{
	static const struct fb_bar odd[] = {{.index = 0, .size = 5000}}, tiny[] = {{.index = 0, .size = 64}},
				   twice[] = {{.index = 1, .size = 4096}, {.index = 1, .size = 4096}},
				   over[] = {{.index = 5, .size = 4096, .is_64 = true}},
				   overlap[] = {{.index = 0, .size = 4096, .is_64 = true}, {.index = 1, .size = 4096}},
				   far[] = {{.index = 6, .size = 4096}}, big_io[] = {{.index = 0, .is_io = true, .size = 512}},
				   access[] = {{.index = 0, .size = 4096, .min_access = 8, .max_access = 4}},
				   wide[] = {{.index = 0, .size = 4096, .max_access = 16}},
				   huge[] = {{.index = 0, .size = 1ull << 32}};
	const struct {
		const struct fb_bar *bars;
		unsigned n;
	} bad[] = {{odd, 1}, {tiny, 1},	  {twice, 2},  {over, 1}, {overlap, 2},
		   {far, 1}, {big_io, 1}, {access, 1}, {wide, 1}, {huge, 1}};
	struct fb_model m;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		m = probe_model;
		m.bars = bad[i].bars;
		m.n_bars = bad[i].n;
		m.realize = NULL;
		m.msix_vectors = 0;
		assert_int_equal(refuse_model(m), -EINVAL);
	}
	m = probe_model;
	m.api++;
	assert_int_equal(refuse_model(m), -ELIBBAD);
	m = probe_model;
	m.size = offsetof(struct fb_model, style) - 1;
	assert_int_equal(refuse_model(m), -ELIBBAD);
	m = probe_model;
	m.style = (enum fb_style)2;
	assert_int_equal(refuse_model(m), -ELIBBAD);
	m = probe_model;
	m.read = NULL;
	assert_int_equal(refuse_model(m), -ELIBBAD);
	m = probe_model;
	m.msix_offset = 0x8004;
	assert_int_equal(refuse_model(m), -EINVAL);
	m = probe_model;
	m.msix_bar = 4;
	assert_int_equal(refuse_model(m), -EINVAL);
	m = probe_model;
	m.link_speed = 4;
	assert_int_equal(refuse_model(m), -EINVAL);
	m = probe_model;
	m.link_width = 3;
	assert_int_equal(refuse_model(m), -EINVAL);
	m.link_width = 16;
	assert_int_equal(refuse_model(m), -EINVAL);
	(void)state;
}

/* The struct grows at its end: what an older model does not have is zero, what is newer than we must be. */
static void models_of_other_ages(void **state)
{
	struct {
		struct fb_model model;
		uint8_t more[16];
	} old = {.model = probe_model}, newer = {.model = probe_model};
	struct fb_device *dev;

	old.model.size = offsetof(struct fb_model, style);
	old.model.style = (enum fb_style)77; /* not part of it */
	assert_int_equal(fb_device_new_model(&dev, loop, &old.model, "id=x"), 0);
	assert_int_equal(fb_device_model(dev)->style, FB_STYLE_EVENT);
	fb_device_free(dev);
	newer.model.size = sizeof(newer);
	assert_int_equal(fb_device_new_model(&dev, loop, &newer.model, "id=x"), 0);
	fb_device_free(dev);
	newer.more[15] = 1;
	assert_int_equal(fb_device_new_model(&dev, loop, &newer.model, "id=x"), -ELIBBAD);
	(void)state;
}

static int resize(struct fb_device *dev)
{
	assert_int_equal(fb_device_set_bar_size(dev, 0, 1 << 20), 0);
	assert_int_equal(fb_device_set_bar_size(dev, 1, 4096), -EINVAL);
	assert_int_equal(fb_device_set_bar_size(dev, 6, 4096), -EINVAL);
	return fb_device_set_vectors(dev, 32, 1);
}

static void realize_adjusts_the_shape(void **state)
{
	struct fb_model m = probe_model;
	struct fb_device *dev;

	m.realize = resize;
	assert_int_equal(fb_device_new_model(&dev, loop, &m, "id=x"), 0);
	assert_int_equal(fb_device_set_bar_size(dev, 0, 4096), -EINVAL); /* too late */
	assert_int_equal(fb_device_set_vectors(dev, 1, 1), -EINVAL);
	fb_device_free(dev);
	(void)state;
}

static int make_loop(void **state)
{
	(void)state;
	return fb_loop_new(&loop, 0);
}

static int free_loop(void **state)
{
	(void)state;
	fb_loop_free(loop);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_options),
		cmocka_unit_test(bad_options),
		cmocka_unit_test(bad_models),
		cmocka_unit_test(models_of_other_ages),
		cmocka_unit_test(realize_adjusts_the_shape),
	};

	return cmocka_run_group_tests(tests, make_loop, free_loop);
}
