/* SPDX-License-Identifier: Apache-2.0 */
/* DMA: data identical whatever the split, ordering, errors, timeouts, tags and their quarantine, cancellation. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "probe.h"
#include "scripted_root.h"
#include "util/reader.h"

enum { EXP = 0x70, AER = 0x100, MEM = 4 << 20 };

struct result {
	unsigned calls;
	int status;
};

static void done(void *arg, int status)
{
	struct result *res = arg;

	res->calls++;
	res->status = status;
}

static bool called(void *arg)
{
	return ((struct result *)arg)->calls > 0;
}

static bool all_called(void *arg)
{
	return ((struct result *)arg)->calls == 256;
}

static struct scripted_root *start(const char *options, const struct scripted_config *config)
{
	struct scripted_root *r = scripted_root_new(&probe_model, options, MEM);

	scripted_root_enumerate(r, config);
	return r;
}

static struct fb_function_info counters(struct scripted_root *r)
{
	struct fb_function_info info;

	fb_device_counters(r->dev, &info);
	return info;
}

static uint64_t next_random(uint64_t *s)
{
	*s = *s * 6364136223846793005u + 1442695040888963407u;
	return *s >> 33;
}

/* ---- Random transfers ---------------------------------------------------------------- */

struct transfer {
	struct fb_dma_seg segs[12];
	unsigned n;
	uint32_t len;
	uint8_t *buf;
	struct result res;
};

/* Segments of any alignment in `room` bytes from base; `gap` leaves distance, so that writes do not overlap. */
static void make_segs(struct transfer *t, uint64_t base, uint64_t room, uint64_t *seed)
{
	uint64_t at = base;

	t->n = 0;
	t->len = 0;
	while (t->n < 12) {
		uint32_t len = 1 + (uint32_t)(next_random(seed) % (next_random(seed) % 4 ? 600 : 20000));

		at += next_random(seed) % 3 ? next_random(seed) % 5000 : 0; /* sometimes contiguous */
		if (at + len > base + room)
			break;
		t->segs[t->n++] = (struct fb_dma_seg){at, len};
		t->len += len;
		at += len;
	}
	if (t->n == 0) {
		t->segs[t->n++] = (struct fb_dma_seg){base, 1};
		t->len = 1;
	}
	t->buf = malloc(t->len);
	assert_non_null(t->buf);
}

static void compare(struct scripted_root *r, const struct transfer *t)
{
	uint32_t at = 0;

	for (unsigned i = 0; i < t->n; i++) {
		assert_memory_equal(t->buf + at, scripted_root_mem(r, t->segs[i].addr, t->segs[i].len), t->segs[i].len);
		at += t->segs[i].len;
	}
}

static void check_requests(struct scripted_root *r, unsigned mps, unsigned mrrs, unsigned first_tag, unsigned tags)
{
	const struct scripted_tlp *t;

	while ((t = scripted_root_take(r))) {
		uint64_t addr;
		uint32_t len;

		pcie_tlp_get_range(&t->tlp, &addr, &len);
		assert_in_range(len, 1, t->tlp.type == PCIE_TLP_MWR ? mps : mrrs);
		assert_in_range(t->tlp.length * 4, 4, t->tlp.type == PCIE_TLP_MWR ? mps : mrrs);
		assert_int_equal(addr >> 12, (addr + len - 1) >> 12);
		assert_int_equal(t->tlp.requester_id, SCRIPTED_BDF);
		if (t->tlp.type == PCIE_TLP_MRD)
			assert_in_range(t->tlp.tag, first_tag, first_tag + tags - 1);
	}
}

static void data_is_identical(void **state)
{
	enum { CONCURRENT = 24, ROUNDS = 40 };
	static const enum scripted_answer orders[] = {ANSWER_IN_ORDER, ANSWER_REVERSED, ANSWER_SHUFFLED};
	uint64_t seed = 7;

	for (unsigned round = 0; round < ROUNDS; round++) {
		struct scripted_config c = {.mps = 128u << next_random(&seed) % 6,
					    .mrrs = 128u << next_random(&seed) % 6,
					    .extended_tag = round & 1,
					    .ten_bit_tag = round % 5 == 0};
		struct scripted_root *r = start("id=t", &c);
		struct transfer t[CONCURRENT] = {0};

		r->answer = orders[round % 3];
		r->rcb = round & 2 ? 64 : 128;
		r->seed = round;
		r->mps = 128u << next_random(&seed) % (1 + (unsigned)__builtin_ctz(c.mps) - 7);
		r->keep_log = true;
		for (unsigned i = 0; i < MEM / 2; i += 4)
			fb_put_le32(r->mem + i, (uint32_t)next_random(&seed));
		/* All at a time: reads anywhere in the lower half, writes each in its own part of the upper one. */
		for (unsigned i = 0; i < CONCURRENT; i++) {
			if (i & 1) {
				make_segs(&t[i], r->mem_base + MEM / 2 + i * (MEM / 2 / CONCURRENT), MEM / 2 / CONCURRENT, &seed);
				for (uint32_t b = 0; b < t[i].len; b++)
					t[i].buf[b] = (uint8_t)next_random(&seed);
				assert_int_equal(fb_dma_writev(r->dev, t[i].segs, t[i].n, t[i].buf, done, &t[i].res), 0);
			} else {
				make_segs(&t[i], r->mem_base + next_random(&seed) % 100, MEM / 2 - 100, &seed);
				assert_int_equal(fb_dma_readv(r->dev, t[i].segs, t[i].n, t[i].buf, done, &t[i].res), 0);
			}
			assert_int_equal(t[i].res.calls, 0); /* never from inside */
		}
		scripted_root_run(r);
		for (unsigned i = 0; i < CONCURRENT; i++) {
			assert_int_equal(t[i].res.calls, 1);
			assert_int_equal(t[i].res.status, 0);
			compare(r, &t[i]);
			free(t[i].buf);
		}
		check_requests(r, c.mps, c.mrrs, c.ten_bit_tag ? 256 : 0, c.ten_bit_tag ? 768 : c.extended_tag ? 256 : 32);
		assert_int_equal(counters(r).unexpected_completions, 0);
		assert_int_equal(scripted_root_cfg_read(r, EXP + 0xa, 2), 0);
		scripted_root_free(r);
	}
	(void)state;
}

static void neighbouring_segments_are_joined(void **state)
{
	struct scripted_root *r = start("id=t", NULL);
	struct fb_dma_seg segs[] = {{r->mem_base, 100}, {r->mem_base + 100, 28}, {r->mem_base + 128, 1000}};
	uint8_t buf[1128];
	struct result res = {0};

	assert_int_equal(fb_dma_readv(r->dev, segs, 3, buf, done, &res), 0);
	memset(segs, 0xff, sizeof(segs)); /* they were copied */
	scripted_root_run(r);
	assert_int_equal(res.status, 0);
	assert_int_equal(r->dma_reads, 1);
	assert_memory_equal(buf, r->mem, 1128);
	scripted_root_free(r);
	(void)state;
}

static void as_many_in_flight_as_there_are_tags(void **state)
{
	static const struct {
		struct scripted_config c;
		unsigned tags, first;
	} modes[] = {
		{{.mrrs = 128}, 32, 0},
		{{.mrrs = 128, .extended_tag = true}, 256, 0},
		{{.mrrs = 128, .extended_tag = true, .ten_bit_tag = true}, 768, 256},
	};
	static uint8_t buf[1024 * 128];

	for (unsigned m = 0; m < 3; m++) {
		struct scripted_root *r = start("id=t", &modes[m].c);
		struct result res = {0};

		for (unsigned i = 0; i < sizeof(buf); i++)
			r->mem[i] = (uint8_t)(i * 31 + i / 997);
		r->answer = ANSWER_NEVER;
		r->keep_log = true;
		assert_int_equal(fb_dma_read(r->dev, r->mem_base, buf, sizeof(buf), done, &res), 0);
		scripted_root_run(r);
		assert_int_equal(r->dma_reads, modes[m].tags);
		assert_true(scripted_root_cfg_read(r, EXP + 0xa, 2) & 0x20); /* transactions pending */
		r->answer = ANSWER_REVERSED;
		scripted_root_answer_now(r, ANSWER_REVERSED);
		scripted_root_run(r);
		assert_int_equal(res.calls, 1);
		assert_int_equal(res.status, 0);
		assert_int_equal(r->dma_reads, 1024);
		assert_memory_equal(buf, r->mem, sizeof(buf));
		assert_int_equal(scripted_root_cfg_read(r, EXP + 0xa, 2) & 0x20, 0);
		check_requests(r, 512, 128, modes[m].first, modes[m].tags);
		scripted_root_free(r);
	}
	(void)state;
}

static void long_reads_do_not_hold_up_short_ones(void **state)
{
	struct scripted_root *r = start("id=t", &(struct scripted_config){.mrrs = 128});
	static uint8_t big[1 << 20], small[128];
	struct result res[2] = {0};

	r->answer = ANSWER_NEVER;
	assert_int_equal(fb_dma_read(r->dev, r->mem_base, big, sizeof(big), done, &res[0]), 0);
	assert_int_equal(fb_dma_read(r->dev, r->mem_base, small, sizeof(small), done, &res[1]), 0);
	scripted_root_answer_now(r, ANSWER_IN_ORDER); /* 32 of the long one; the short one is among the next */
	scripted_root_answer_now(r, ANSWER_IN_ORDER);
	scripted_root_run(r);
	assert_int_equal(res[1].calls, 1);
	assert_int_equal(res[0].calls, 0);
	r->answer = ANSWER_IN_ORDER;
	scripted_root_free(r);
	assert_int_equal(res[0].calls, 1);
	(void)state;
}

/* ---- Ordering ------------------------------------------------------------------------------- */

static void posted_work_keeps_its_order(void **state)
{
	struct scripted_root *r = start("id=t", &(struct scripted_config){.mps = 128});
	static uint8_t data[1000], back[64];
	struct result res[3] = {0};
	uint16_t tag;

	scripted_root_enable_msix(r);
	scripted_root_forget(r);
	r->keep_log = true;
	r->room[PCIE_FC_P] = 2;
	memset(data, 1, sizeof(data));
	assert_int_equal(fb_dma_write(r->dev, r->mem_base, data, 1000, done, &res[0]), 0);
	fb_irq(r->dev, 3);
	assert_int_equal(fb_dma_write(r->dev, r->mem_base + 4096, data, 10, NULL, NULL), 0);
	assert_int_equal(fb_dma_read(r->dev, r->mem_base, back, 64, done, &res[1]), 0);
	assert_int_equal(fb_dma_write(r->dev, r->mem_base + 8192, data, 100, done, &res[2]), 0);
	fb_irq(r->dev, 3);
	fb_irq(r->dev, 3);
	/* The guest asks for a register now: the answer must not pass the data. */
	tag = scripted_root_memory(r, r->bar[0], NULL, 4);
	assert_true(r->held);
	scripted_root_run(r);
	scripted_root_expect(r, PCIE_TLP_MWR);
	scripted_root_expect(r, PCIE_TLP_MWR);
	scripted_root_expect_nothing(r);
	assert_int_equal(res[0].calls + res[1].calls + res[2].calls, 0);
	assert_int_equal(r->released_credits, 0);

	scripted_root_allow(r, PCIE_FC_P, 6); /* the rest of the first write: eight TLPs in all */
	scripted_root_run(r);
	assert_int_equal(res[0].calls, 1);
	assert_int_equal(scripted_root_irqs(r, 3), 0);
	assert_int_equal(r->dma_reads, 0);
	scripted_root_allow(r, PCIE_FC_P, -1);
	scripted_root_run(r);
	for (unsigned i = 0; i < 6; i++)
		scripted_root_expect(r, PCIE_TLP_MWR);
	assert_int_equal(scripted_root_expect(r, PCIE_TLP_MWR)->tlp.address, SCRIPTED_MSI_ADDRESS);
	assert_int_equal(scripted_root_expect(r, PCIE_TLP_MWR)->tlp.address, r->mem_base + 4096);
	assert_int_equal(scripted_root_expect(r, PCIE_TLP_MWR)->tlp.address, r->mem_base + 8192);
	/* The completion came before the interrupt that was joined with those raised later, which moved back. */
	const struct scripted_tlp *t = scripted_root_expect(r, PCIE_TLP_CPLD);
	assert_int_equal(t->tlp.tag, tag);
	assert_int_equal(scripted_root_expect(r, PCIE_TLP_MWR)->tlp.address, SCRIPTED_MSI_ADDRESS);
	scripted_root_expect(r, PCIE_TLP_MRD);
	scripted_root_expect_nothing(r);
	assert_int_equal(scripted_root_irqs(r, 3), 2);
	assert_int_equal(r->released_credits, 1);
	assert_int_equal(res[1].status + res[2].status, 0);
	assert_int_equal(res[1].calls + res[2].calls, 2);
	assert_int_equal(back[0], 1);
	scripted_root_free(r);
	(void)state;
}

static void reads_blocked_do_not_block_the_rest(void **state)
{
	struct scripted_root *r = start("id=t", NULL);
	static uint8_t buf[65536];
	struct result rd = {0}, wr = {0};

	scripted_root_enable_msix(r);
	r->room[PCIE_FC_NP] = 3;
	assert_int_equal(fb_dma_read(r->dev, r->mem_base, buf, sizeof(buf), done, &rd), 0);
	assert_int_equal(fb_dma_write(r->dev, r->mem_base + 65536, buf, 4096, done, &wr), 0);
	fb_irq(r->dev, 1);
	scripted_root_run(r);
	assert_int_equal(r->dma_reads, 3);
	assert_int_equal(wr.calls, 1);
	assert_int_equal(scripted_root_irqs(r, 1), 1);
	assert_int_equal(scripted_root_read(r, 0, 0, 4), 0);
	scripted_root_allow(r, PCIE_FC_NP, -1);
	scripted_root_run(r);
	assert_int_equal(rd.calls, 1);
	assert_int_equal(r->dma_reads, 16);
	scripted_root_free(r);
	(void)state;
}

static void many_answers_wait_in_order(void **state)
{
	struct scripted_root *r = start("id=t", NULL);
	struct probe *p = fb_device_state(r->dev);
	uint8_t byte = 1;
	uint16_t tags[40];

	for (unsigned i = 0; i < 4096; i++)
		p->bar2[i] = (uint8_t)(i * 5);
	r->room[PCIE_FC_P] = 0;
	assert_int_equal(fb_dma_write(r->dev, r->mem_base, &byte, 1, NULL, NULL), 0);
	for (unsigned i = 0; i < 40; i++)
		tags[i] = scripted_root_memory(r, r->bar[2] + i * 3, NULL, 1 + i * 40);
	/* A request that the function refuses, a configuration read and an answer that needs no data among them. */
	uint16_t ur = scripted_root_memory(r, 0x1000, NULL, 4);
	scripted_root_expect_nothing(r);
	assert_int_equal(r->held_credits, 41);
	scripted_root_allow(r, PCIE_FC_P, -1);
	for (unsigned i = 0; i < 40; i++) {
		uint32_t len = 1 + i * 40, at = 0;

		while (at < len) {
			const struct scripted_tlp *t = scripted_root_expect(r, PCIE_TLP_CPLD);
			uint32_t pad = t->tlp.lower_address & 3, n = t->tlp.length * 4u - pad;

			n = n > len - at ? len - at : n;
			assert_int_equal(t->tlp.tag, tags[i]);
			assert_int_equal(t->tlp.byte_count, len - at);
			assert_memory_equal(t->data + pad, p->bar2 + i * 3 + at, n);
			at += n;
		}
	}
	assert_int_equal(scripted_root_expect(r, PCIE_TLP_CPL)->tlp.tag, ur);
	assert_int_equal(r->released_credits, 41);
	/* And completions that the port itself refuses for a while. */
	r->room[PCIE_FC_CPL] = 1;
	tags[0] = scripted_root_memory(r, r->bar[2], NULL, 2000);
	scripted_root_expect(r, PCIE_TLP_CPLD);
	scripted_root_expect_nothing(r);
	scripted_root_allow(r, PCIE_FC_CPL, -1);
	for (unsigned at = 512; at < 2000; at += 512) {
		const struct scripted_tlp *t = scripted_root_expect(r, PCIE_TLP_CPLD);

		assert_int_equal(t->tlp.byte_count, 2000 - at);
		assert_memory_equal(t->data, p->bar2 + at, t->tlp.length * 4u > 2000 - at ? 2000 - at : t->tlp.length * 4u);
	}
	scripted_root_expect_nothing(r);
	scripted_root_free(r);
	(void)state;
}

/* ---- What is refused, and errors -------------------------------------------------------------- */

static void calls_that_are_refused(void **state)
{
	struct scripted_root *r = start("id=t", NULL);
	struct result res = {0};
	uint8_t buf[128] = {0};
	struct fb_dma_seg none = {r->mem_base, 0}, wraps = {UINT64_MAX - 3, 8};

	assert_int_equal(fb_dma_readv(r->dev, &none, 0, buf, done, &res), -EINVAL);
	assert_int_equal(fb_dma_readv(r->dev, &none, 1, buf, done, &res), -EINVAL);
	assert_int_equal(fb_dma_readv(r->dev, &wraps, 1, buf, done, &res), -EINVAL);
	assert_int_equal(fb_dma_read(r->dev, r->mem_base, buf, 8, NULL, NULL), -EINVAL);
	assert_int_equal(fb_dma_write(r->dev, r->mem_base, buf, FB_DMA_INLINE + 1, NULL, NULL), -EINVAL);
	assert_int_equal(fb_dma_write(r->dev, r->mem_base, buf, FB_DMA_INLINE, NULL, NULL), 0);
	scripted_root_cfg_write(r, 4, 2, 2);
	assert_int_equal(fb_dma_read(r->dev, r->mem_base, buf, 8, done, &res), -EPERM);
	assert_int_equal(fb_dma_write(r->dev, r->mem_base, buf, 8, done, &res), -EPERM);
	scripted_root_cfg_write(r, 4, 6, 2);
	scripted_root_detach(r);
	assert_int_equal(fb_dma_read(r->dev, r->mem_base, buf, 8, done, &res), -ENOTCONN);
	assert_int_equal(fb_dma_write(r->dev, r->mem_base, buf, 8, done, &res), -ENOTCONN);
	assert_int_equal(res.calls, 0);
	scripted_root_free(r);
	(void)state;
}

static void error_completions(void **state)
{
	static const struct {
		enum scripted_answer answer;
		int status;
		uint16_t bits;
	} cases[] = {
		{ANSWER_UR, -EFAULT, 0x2000},      /* received master abort */
		{ANSWER_CA, -EIO, 0x1000},         /* received target abort */
		{ANSWER_POISONED, -EIO, 0x8000},   /* detected parity error */
	};
	static uint8_t buf[8192];

	for (unsigned i = 0; i < 3; i++) {
		struct scripted_root *r = start("id=t", NULL);
		struct result res = {0};

		r->answer = cases[i].answer;
		assert_int_equal(fb_dma_read(r->dev, r->mem_base, buf, sizeof(buf), done, &res), 0);
		scripted_root_run(r);
		assert_int_equal(res.calls, 1);
		assert_int_equal(res.status, cases[i].status);
		assert_int_equal(scripted_root_cfg_read(r, 6, 2) & 0xf900, cases[i].bits);
		assert_int_equal(counters(r).dma_errors, 1);
		/* The requester of a UR reports nothing itself; poison it does. */
		assert_int_equal(scripted_root_cfg_read(r, EXP + 0xa, 2), cases[i].answer == ANSWER_POISONED ? 2 : 0);
		/* And all goes on. */
		r->answer = ANSWER_IN_ORDER;
		res = (struct result){0};
		assert_int_equal(fb_dma_read(r->dev, r->mem_base, buf, sizeof(buf), done, &res), 0);
		scripted_root_run(r);
		assert_int_equal(res.calls, 1);
		assert_int_equal(res.status, 0);
		scripted_root_free(r);
	}

	/* One page of several is not there: the read fails once, promptly, and nothing arrives after. */
	struct scripted_root *r = start("id=t", &(struct scripted_config){.mrrs = 512});
	struct fb_dma_seg segs[] = {{r->mem_base, 2048}, {0x1000, 2048}, {r->mem_base + 65536, 2048}};
	struct result res = {0};

	r->answer = ANSWER_NEVER;
	assert_int_equal(fb_dma_readv(r->dev, segs, 3, buf, done, &res), 0);
	scripted_root_answer_now(r, ANSWER_REVERSED);
	scripted_root_run(r);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.status, -EFAULT);
	assert_int_equal(scripted_root_cfg_read(r, EXP + 0xa, 2), 0);
	r->answer = ANSWER_IN_ORDER;
	scripted_root_free(r);
	(void)state;
}

/* A completion by hand for a read that the root holds. */
static void complete(struct scripted_root *r, uint16_t tag, uint16_t requester, uint32_t byte_count, uint32_t lower,
		     uint8_t fill)
{
	uint8_t data[64];
	struct pcie_tlp cpl = {.type = PCIE_TLP_CPLD,
			       .requester_id = requester,
			       .tag = tag,
			       .length = 16,
			       .byte_count = (uint16_t)byte_count,
			       .lower_address = (uint8_t)lower,
			       .data = data};

	memset(data, fill, sizeof(data));
	scripted_root_send(r, &cpl);
}

static void strays_and_forgeries(void **state)
{
	struct scripted_root *r = start("id=t", NULL);
	uint8_t buf[64] = {0};
	struct result res = {0};
	uint16_t tag;

	complete(r, 5, SCRIPTED_BDF, 64, 0, 0xee);   /* no read at all */
	complete(r, 900, SCRIPTED_BDF, 64, 0, 0xee); /* no such tag in this mode */
	assert_int_equal(counters(r).unexpected_completions, 2);
	assert_int_equal(scripted_root_cfg_read(r, EXP + 0xa, 2), 1); /* advisory */

	r->answer = ANSWER_NEVER;
	r->keep_log = true;
	assert_int_equal(fb_dma_read(r->dev, r->mem_base, buf, 64, done, &res), 0);
	tag = scripted_root_expect(r, PCIE_TLP_MRD)->tlp.tag;
	complete(r, (tag + 1) & 0xff, SCRIPTED_BDF, 64, 0, 0xee);
	complete(r, tag, 0x0200, 64, 0, 0xee);             /* someone else's */
	complete(r, tag, SCRIPTED_BDF, 128, 0, 0xee);      /* claims more than was asked */
	complete(r, tag, SCRIPTED_BDF, 64, 0x40, 0xee);    /* of another place */
	assert_int_equal(counters(r).unexpected_completions, 6);
	scripted_root_run(r);
	assert_int_equal(res.calls, 0);
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(buf[i], 0);
	complete(r, tag, SCRIPTED_BDF, 64, 0, 0x11);
	complete(r, tag, SCRIPTED_BDF, 64, 0, 0xee); /* again */
	assert_int_equal(counters(r).unexpected_completions, 7);
	scripted_root_run(r);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.status, 0);
	assert_int_equal(buf[0], 0x11);
	r->n_reads = 0;
	scripted_root_free(r);
	(void)state;
}

static void completion_timeout(void **state)
{
	struct scripted_root *r = start("id=t,completion-timeout=50ms", NULL);
	uint8_t late[64] = {0}, next[64] = {0};
	struct result res = {0}, others = {0};
	uint16_t tag;
	uint64_t began;

	r->answer = ANSWER_NEVER;
	r->keep_log = true;
	began = fb_loop_now(r->loop); /* what the device counts from: older than the clock */
	assert_int_equal(fb_dma_read(r->dev, r->mem_base, late, 64, done, &res), 0);
	tag = scripted_root_expect(r, PCIE_TLP_MRD)->tlp.tag;
	assert_true(scripted_root_until(r, called, &res, 5000));
	assert_int_equal(res.status, -ETIMEDOUT);
	assert_true(fb_clock_ns() - began >= 49000000);
	assert_int_equal(counters(r).dma_timeouts, 1);
	assert_int_equal(scripted_root_cfg_read(r, EXP + 0xa, 2), 2);
	assert_int_equal(scripted_root_cfg_read(r, AER + 4, 4), 1 << 14);

	/* 255 reads more, all that there are tags for: none takes that one, so the late data hits nothing. */
	for (unsigned i = 0; i < 256; i++)
		assert_int_equal(fb_dma_read(r->dev, r->mem_base, next, 64, done, &others), 0);
	for (unsigned i = 0; i < 255; i++)
		assert_int_not_equal(scripted_root_expect(r, PCIE_TLP_MRD)->tlp.tag, tag);
	scripted_root_expect_nothing(r);
	r->n_reads = 0; /* the root forgets them all */
	complete(r, tag, SCRIPTED_BDF, 64, 0, 0xee);
	assert_int_equal(counters(r).unexpected_completions, 1);
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(late[i], 0);
	/* Its quarantine is over with that. */
	assert_int_equal(scripted_root_expect(r, PCIE_TLP_MRD)->tlp.tag, tag);
	complete(r, tag, SCRIPTED_BDF, 64, 0, 0x33);
	scripted_root_run(r);
	assert_int_equal(next[0], 0x33);
	/* And that of a tag whose completion never comes is over in time. */
	assert_true(scripted_root_until(r, all_called, &others, 5000));
	r->n_reads = 0; /* answered by hand */
	assert_int_equal(fb_dma_read(r->dev, r->mem_base, next, 64, done, &others), 0); /* takes the free one */
	r->n_reads = 0;
	r->answer = ANSWER_IN_ORDER;
	res = (struct result){0};
	assert_int_equal(fb_dma_read(r->dev, r->mem_base, next, 64, done, &res), 0);
	assert_int_equal(r->n_reads, 0);
	assert_true(scripted_root_until(r, called, &res, 10000));
	assert_int_equal(res.status, 0);
	scripted_root_free(r);
	(void)state;
}

static void the_guest_sets_the_timeout(void **state)
{
	struct scripted_root *r = start("id=t", NULL); /* 60 s */
	uint8_t buf[64];
	struct result res = {0};
	uint64_t began;

	scripted_root_cfg_write(r, EXP + 0x28, 2, 2); /* 1 to 10 ms */
	r->answer = ANSWER_NEVER;
	began = fb_loop_now(r->loop); /* what the device counts from: older than the clock */
	assert_int_equal(fb_dma_read(r->dev, r->mem_base, buf, 64, done, &res), 0);
	assert_true(scripted_root_until(r, called, &res, 5000));
	assert_int_equal(res.status, -ETIMEDOUT);
	assert_true(fb_clock_ns() - began >= 9000000);
	/* Off: it waits; switched on while it waits: it ends. */
	res = (struct result){0};
	scripted_root_cfg_write(r, EXP + 0x28, 0x12, 2);
	assert_int_equal(fb_dma_read(r->dev, r->mem_base, buf, 64, done, &res), 0);
	assert_false(scripted_root_until(r, called, &res, 50));
	scripted_root_cfg_write(r, EXP + 0x28, 0x2, 2);
	assert_true(scripted_root_until(r, called, &res, 5000));
	scripted_root_free(r);
	(void)state;
}

/* ---- Cancellation -------------------------------------------------------------------------------- */

static void flr_with_reads_outstanding(void **state)
{
	struct scripted_root *r = start("id=t", NULL);
	struct probe *p = fb_device_state(r->dev);
	uint8_t old[4096] = {0}, young[4096] = {0};
	struct result rd = {0}, wr = {0}, again = {0};

	memset(r->mem, 0x5a, MEM);
	r->answer = ANSWER_NEVER;
	assert_int_equal(fb_dma_read(r->dev, r->mem_base, old, 4096, done, &rd), 0);
	r->room[PCIE_FC_P] = 1;
	assert_int_equal(fb_dma_write(r->dev, r->mem_base + 65536, old, 4096, done, &wr), 0);
	scripted_root_cfg_write(r, EXP + 8, 0xa000, 2);
	assert_int_equal(p->resets, 1); /* within the call */
	assert_int_equal(p->last_reset, FB_RESET_FLR);
	assert_int_equal(rd.calls, 1);
	assert_int_equal(rd.status, -ECANCELED);
	assert_int_equal(wr.calls, 1);
	assert_int_equal(wr.status, -ECANCELED);
	assert_int_equal(fb_dma_read(r->dev, r->mem_base, old, 64, done, &again), -EPERM);
	scripted_root_allow(r, PCIE_FC_P, -1);

	/* The guest sets it up again and reads, and only then the old data comes. */
	scripted_root_enumerate(r, NULL);
	assert_int_equal(fb_dma_read(r->dev, r->mem_base, young, 4096, done, &again), 0);
	scripted_root_answer_now(r, ANSWER_IN_ORDER);
	scripted_root_run(r);
	for (unsigned i = 0; i < 4096; i++)
		assert_int_equal(old[i], 0);
	assert_int_equal(again.calls, 1);
	assert_int_equal(again.status, 0);
	assert_memory_equal(young, r->mem, 4096);
	assert_true(counters(r).unexpected_completions > 0);
	assert_int_equal(scripted_root_cfg_read(r, EXP + 0xa, 2), 0); /* late after a reset is no error */
	scripted_root_free(r);
	(void)state;
}

static void master_off_ends_dma(void **state)
{
	struct scripted_root *r = start("id=t", NULL);
	static uint8_t buf[8192];
	struct result rd = {0}, wr = {0};

	r->answer = ANSWER_NEVER;
	r->room[PCIE_FC_P] = 3;
	assert_int_equal(fb_dma_write(r->dev, r->mem_base + 65536, buf, 8192, done, &wr), 0);
	assert_int_equal(fb_dma_read(r->dev, r->mem_base, buf, 4096, done, &rd), 0);
	scripted_root_memory(r, r->bar[0], NULL, 4); /* waits behind the write */
	scripted_root_expect_nothing(r);
	scripted_root_cfg_write(r, 4, 3, 2);
	assert_int_equal(wr.status, -ECANCELED);
	assert_int_equal(rd.status, -ECANCELED);
	assert_int_equal(wr.calls + rd.calls, 2);
	/* Nothing is in the way of the answer any more. */
	assert_int_equal(scripted_root_expect(r, PCIE_TLP_CPLD)->tlp.status, PCIE_CPL_SC);
	scripted_root_allow(r, PCIE_FC_P, -1);
	scripted_root_run(r);
	assert_int_equal(r->dma_writes, 3);
	assert_int_equal(r->dma_reads, 0); /* it waited behind the write */
	scripted_root_free(r);
	(void)state;
}

static void the_session_ends(void **state)
{
	struct scripted_root *r = start("id=t", NULL);
	struct probe *p = fb_device_state(r->dev);
	static uint8_t buf[65536];
	struct result rd = {0}, wr = {0}, next = {0};

	r->answer = ANSWER_NEVER;
	r->room[PCIE_FC_P] = 0;
	assert_int_equal(fb_dma_read(r->dev, r->mem_base, buf, 65536, done, &rd), 0);
	assert_int_equal(fb_dma_write(r->dev, r->mem_base, buf, 65536, done, &wr), 0);
	scripted_root_memory(r, r->bar[0], NULL, 4);
	scripted_root_detach(r);
	assert_int_equal(rd.status, -ECANCELED);
	assert_int_equal(wr.status, -ECANCELED);
	assert_int_equal(p->last_reset, FB_RESET_SESSION);
	r->room[PCIE_FC_P] = -1;
	scripted_root_forget(r);
	scripted_root_attach(r);
	scripted_root_enumerate(r, NULL);
	/* All tags are free for the new session. */
	r->answer = ANSWER_IN_ORDER;
	assert_int_equal(fb_dma_read(r->dev, r->mem_base, buf, 65536, done, &next), 0);
	scripted_root_run(r);
	assert_int_equal(next.calls, 1);
	assert_int_equal(next.status, 0);
	scripted_root_free(r);
	(void)state;
}

/* done() of one transfer that starts the next: bounded work a round, and no surprise at a reset. */
struct chain {
	struct scripted_root *r;
	unsigned left, calls;
	uint8_t buf[16];
};

static void chain_done(void *arg, int status)
{
	struct chain *c = arg;

	c->calls++;
	if (status == 0 && c->left-- > 0)
		assert_int_equal(fb_dma_write(c->r->dev, c->r->mem_base, c->buf, 16, chain_done, c), 0);
}

static void transfers_started_from_done(void **state)
{
	struct scripted_root *r = start("id=t", NULL);
	struct chain c = {.r = r, .left = 1000};

	assert_int_equal(fb_dma_write(r->dev, r->mem_base, c.buf, 16, chain_done, &c), 0);
	assert_int_equal(fb_loop_once(r->loop, 0), 0);
	assert_in_range(c.calls, 1, 100); /* the loop's other users have their turn */
	scripted_root_run(r);
	assert_int_equal(c.calls, 1001);
	scripted_root_free(r);
	(void)state;
}

static void ido_where_enabled(void **state)
{
	struct scripted_root *r = start("id=t", NULL);
	uint8_t buf[64] = {0};

	r->keep_log = true;
	scripted_root_cfg_write(r, EXP + 0x28, 1 << 8, 2);
	assert_int_equal(fb_dma_write(r->dev, r->mem_base, buf, 4, NULL, NULL), 0);
	assert_int_equal(scripted_root_expect(r, PCIE_TLP_MWR)->tlp.attr, PCIE_ATTR_IDO);
	scripted_root_cfg_write(r, EXP + 0x28, 0, 2);
	assert_int_equal(fb_dma_write(r->dev, r->mem_base, buf, 4, NULL, NULL), 0);
	assert_int_equal(scripted_root_expect(r, PCIE_TLP_MWR)->tlp.attr, 0);
	scripted_root_free(r);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(data_is_identical),
		cmocka_unit_test(neighbouring_segments_are_joined),
		cmocka_unit_test(as_many_in_flight_as_there_are_tags),
		cmocka_unit_test(long_reads_do_not_hold_up_short_ones),
		cmocka_unit_test(posted_work_keeps_its_order),
		cmocka_unit_test(reads_blocked_do_not_block_the_rest),
		cmocka_unit_test(many_answers_wait_in_order),
		cmocka_unit_test(calls_that_are_refused),
		cmocka_unit_test(error_completions),
		cmocka_unit_test(strays_and_forgeries),
		cmocka_unit_test(completion_timeout),
		cmocka_unit_test(the_guest_sets_the_timeout),
		cmocka_unit_test(flr_with_reads_outstanding),
		cmocka_unit_test(master_off_ends_dma),
		cmocka_unit_test(the_session_ends),
		cmocka_unit_test(transfers_started_from_done),
		cmocka_unit_test(ido_where_enabled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
