/* SPDX-License-Identifier: Apache-2.0 */
/* include/farbus/test.h: the scripted root, for those who write models outside of this tree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "farbus/test.h"
#include "scripted_root.h"

struct fb_test {
	struct scripted_root *r;
	enum fb_test_dma dma;
	bool watched;
};

static void enumerate(struct fb_test *t)
{
	unsigned vectors = 0;

	scripted_root_enumerate(t->r, NULL);
	if (t->r->cap_msix)
		vectors = scripted_root_enable_msix(t->r);
	if (!vectors && t->r->cap_msi)
		scripted_root_enable_msi(t->r, 32);
	scripted_root_forget(t->r);
}

struct fb_test *fb_test_new(const struct fb_model *model, const char *options)
{
	struct fb_test *t = calloc(1, sizeof(*t));
	bool has_id = options && (!strncmp(options, "id=", 3) || strstr(options, ",id="));
	char all[1024];

	assert_non_null(t);
	snprintf(all, sizeof(all), "%s%s%s", has_id ? "" : "id=test", has_id || !options || !*options ? "" : ",",
		 options ? options : "");
	t->r = scripted_root_new(model, all, FB_TEST_MEMORY_SIZE);
	t->r->mem_base = FB_TEST_MEMORY;
	enumerate(t);
	return t;
}

void fb_test_free(struct fb_test *t)
{
	scripted_root_free(t->r);
	free(t);
}

uint64_t fb_test_read(struct fb_test *t, unsigned bar, uint64_t offset, unsigned size)
{
	return scripted_root_read(t->r, bar, offset, size);
}

void fb_test_write(struct fb_test *t, unsigned bar, uint64_t offset, uint64_t value, unsigned size)
{
	scripted_root_write(t->r, bar, offset, value, size);
}

uint32_t fb_test_config_read(struct fb_test *t, unsigned offset, unsigned size)
{
	return scripted_root_cfg_read(t->r, offset, size);
}

void fb_test_config_write(struct fb_test *t, unsigned offset, uint32_t value, unsigned size)
{
	scripted_root_cfg_write(t->r, offset, value, size);
}

void *fb_test_memory(struct fb_test *t, uint64_t addr, uint64_t len)
{
	return scripted_root_mem(t->r, addr, len);
}

void fb_test_run(struct fb_test *t)
{
	scripted_root_run(t->r);
}

bool fb_test_until(struct fb_test *t, bool (*cond)(void *arg), void *arg, unsigned ms)
{
	return scripted_root_until(t->r, cond, arg, ms);
}

unsigned fb_test_irqs(struct fb_test *t, unsigned vector)
{
	return t->r->irqs[vector] + (vector == 0 ? t->r->intx_asserts : 0);
}

bool fb_test_intx(struct fb_test *t)
{
	return t->r->intx;
}

void fb_test_dma(struct fb_test *t, enum fb_test_dma how)
{
	t->dma = how;
	t->r->answer = how == FB_TEST_DMA_UR ? ANSWER_UR : how == FB_TEST_DMA_LATER ? ANSWER_NEVER : ANSWER_IN_ORDER;
	if (how != FB_TEST_DMA_LATER)
		scripted_root_answer_now(t->r, t->r->answer);
}

void fb_test_function_reset(struct fb_test *t)
{
	unsigned at = t->r->cap_exp + 8u;

	scripted_root_cfg_write(t->r, at, scripted_root_cfg_read(t->r, at, 2) | 0x8000, 2);
	scripted_root_drop_reads(t->r); /* their requester does not wait any more */
	enumerate(t);
}

void fb_test_reconnect(struct fb_test *t)
{
	scripted_root_detach(t->r);
	scripted_root_attach(t->r);
	enumerate(t);
}

/* ---- Expected TLPs ----------------------------------------------------------------- */

void fb_test_watch(struct fb_test *t)
{
	t->watched = t->r->keep_log = true;
	scripted_root_forget(t->r);
}

static const struct scripted_tlp *next(struct fb_test *t)
{
	const struct scripted_tlp *tlp;

	if (!t->watched)
		fail_msg("nothing is expected before fb_test_watch()");
	scripted_root_run(t->r);
	do
		tlp = scripted_root_take(t->r);
	while (tlp && pcie_tlp_fc(tlp->tlp.type) == PCIE_FC_CPL); /* answers to what the test asked by hand */
	return tlp;
}

/* Each of the words stands in the text, behind the one before it. */
static bool has_words(const char *text, const char *words)
{
	while (*(words += strspn(words, " "))) {
		size_t len = strcspn(words, " "), n;

		for (;; text += n) {
			text += strspn(text, " ");
			n = strcspn(text, " ");
			if (!n)
				return false;
			if (n == len && !memcmp(text, words, n))
				break;
		}
		text += n;
		words += len;
	}
	return true;
}

const void *fb_test_expect(struct fb_test *t, const char *words)
{
	const struct scripted_tlp *tlp = next(t);
	char text[160];

	if (!tlp) {
		fail_msg("expected \"%s\", but the device sent nothing more", words);
		return NULL;
	}
	pcie_tlp_describe(&tlp->tlp, text, sizeof(text));
	if (!has_words(text, words))
		fail_msg("expected \"%s\", got \"%s\"", words, text);
	return tlp->tlp.data;
}

void fb_test_expect_nothing(struct fb_test *t)
{
	const struct scripted_tlp *tlp = next(t);
	char text[160];

	if (tlp)
		fail_msg("expected nothing, got \"%s\"", pcie_tlp_describe(&tlp->tlp, text, sizeof(text)));
}

void fb_test_check(bool is_so, const char *what, const char *file, int line)
{
	if (!is_so)
		fail_msg("%s:%d: not so: %s", file, line, what);
}
