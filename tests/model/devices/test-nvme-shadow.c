/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shadow doorbells: a host that rings as Linux' nvme driver does, with doorbells
 * that are on their way for a while, beside a device that makes progress at any
 * moment. The test does for submission queues what runtime and root do.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nvme_host.h"

enum { IN_FLIGHT = 64, CQ = 1 };

struct shadowed {
	struct host h;
	uint64_t shadow, event, buf;
	struct { unsigned qid, cq; } ring[IN_FLIGHT]; /* doorbells that the device has not seen yet */
	unsigned n_ring;
	uint64_t rung[2]; /* of submission, of completion queues */
	uint64_t seed;
	bool outstanding[65536];
	unsigned n_outstanding;
};

static unsigned choose(struct shadowed *s, unsigned n)
{
	s->seed = s->seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(s->seed >> 33) % n;
}

static uint8_t *word(struct shadowed *s, uint64_t page, unsigned qid, unsigned cq)
{
	return host_mem(&s->h, page + 8 * qid + 4 * cq);
}

/* As nvme_dbbuf_update_and_check_event() of Linux. */
static void move(struct shadowed *s, unsigned qid, unsigned cq, uint32_t value)
{
	uint16_t old = (uint16_t)fb_get_le32(word(s, s->shadow, qid, cq));
	uint16_t event;

	fb_put_le32(word(s, s->shadow, qid, cq), value);
	event = (uint16_t)fb_get_le32(word(s, s->event, qid, cq));
	if ((uint16_t)(value - event - 1) >= (uint16_t)(value - old))
		return;
	assert_true(s->n_ring < IN_FLIGHT);
	s->ring[s->n_ring].qid = qid;
	s->ring[s->n_ring++].cq = cq;
	s->rung[cq]++;
}

static void deliver(struct shadowed *s)
{
	unsigned qid = s->ring[0].qid, cq = s->ring[0].cq;
	uint32_t index = fb_get_le32(word(s, s->shadow, qid, cq));

	memmove(s->ring, s->ring + 1, --s->n_ring * sizeof(s->ring[0]));
	if (cq)
		index = 12345; /* no matter what */
	else
		fb_put_le32(word(s, s->event, qid, 0), index);
	fake_write32(s->h.dev, NVME_REG_DBS + 8 * qid + 4 * cq, index);
}

static bool submit(struct shadowed *s, unsigned qid)
{
	struct host_queue *q = &s->h.q[qid];
	uint16_t cid;

	if ((q->sq_tail + 1) % q->sq_size == q->sq_head)
		return false;
	cid = host_put(&s->h, qid, host_rw(NVME_CMD_READ, 1, choose(s, 8), 1, s->buf, 0));
	assert_false(s->outstanding[cid]);
	s->outstanding[cid] = true;
	s->n_outstanding++;
	move(s, qid, 0, q->sq_tail);
	return true;
}

static bool consume(struct shadowed *s, unsigned qid)
{
	struct host_queue *q = &s->h.q[qid];
	const struct nvme_cqe *e = (const struct nvme_cqe *)(const void *)host_mem(&s->h, q->cq + 16 * q->cq_head);
	uint16_t status = nvme_get16(e->status), cid = nvme_get16(e->cid);

	if ((status & 1) != q->phase)
		return false;
	assert_int_equal(status >> 1, 0);
	assert_true(s->outstanding[cid]); /* once, and only what was asked for */
	s->outstanding[cid] = false;
	s->n_outstanding--;
	q->sq_head = nvme_get16(e->sqhd);
	if (++q->cq_head == q->cq_size) {
		q->cq_head = 0;
		q->phase = !q->phase;
	}
	move(s, qid, 1, q->cq_head);
	return true;
}

static void drain(struct shadowed *s, unsigned pairs)
{
	for (unsigned i = 0; s->n_outstanding || s->n_ring; i++) {
		if (i > 100000)
			fail_msg("stalled with %u commands", s->n_outstanding);
		while (s->n_ring)
			deliver(s);
		fake_round(s->h.dev);
		for (unsigned qid = 1; qid <= pairs; qid++)
			consume(s, qid);
	}
}

static uint16_t configure(struct shadowed *s, uint64_t prp1, uint64_t prp2)
{
	struct nvme_sqe sqe = host_cmd(NVME_ADM_DBBUF_CONFIG, 0);

	nvme_put64(&sqe.prp1, prp1);
	nvme_put64(&sqe.prp2, prp2);
	return host_status(&s->h, 0, sqe);
}

static void pair(struct shadowed *s, unsigned qid, unsigned sq_size, unsigned cq_size)
{
	struct host_queue *q = &s->h.q[qid];
	struct nvme_sqe sqe = host_cmd(NVME_ADM_CREATE_CQ, 0);

	*q = (struct host_queue){.sq = host_alloc(&s->h, 65536, 4096), .cq = host_alloc(&s->h, 16384, 4096),
				 .sq_size = sq_size, .cq_size = cq_size, .phase = true};
	fb_put_le32(word(s, s->shadow, qid, 0), 0);
	fb_put_le32(word(s, s->shadow, qid, 1), 0);
	nvme_put64(&sqe.prp1, q->cq);
	nvme_put32(&sqe.cdw10, (cq_size - 1) << 16 | qid);
	nvme_put32(&sqe.cdw11, 3); /* vector 0: INTx has no other */
	assert_int_equal(host_status(&s->h, 0, sqe), 0);
	sqe = host_cmd(NVME_ADM_CREATE_SQ, 0);
	nvme_put64(&sqe.prp1, q->sq);
	nvme_put32(&sqe.cdw10, (sq_size - 1) << 16 | qid);
	nvme_put32(&sqe.cdw11, qid << 16 | 1);
	assert_int_equal(host_status(&s->h, 0, sqe), 0);
}

static uint16_t delete(struct shadowed *s, uint8_t opcode, unsigned qid)
{
	struct nvme_sqe sqe = host_cmd(opcode, 0);

	nvme_put32(&sqe.cdw10, qid);
	return host_status(&s->h, 0, sqe);
}

static struct shadowed *start(const char *options)
{
	struct shadowed *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	host_start(&s->h, 1 << 20, options, 0, 0);
	s->h.dev->shadow_able = true;
	s->shadow = host_alloc(&s->h, 4096, 4096);
	s->event = host_alloc(&s->h, 4096, 4096);
	s->buf = host_alloc(&s->h, 4096, 4096);
	return s;
}

static void end(struct shadowed *s)
{
	assert_int_equal(s->h.n->bad_doorbells, 0);
	host_close(&s->h);
	free(s);
}

/* Queues of all small sizes, completion queues smaller and larger than theirs; each command ends exactly once. */
static void interleave(unsigned sq_size, unsigned cq_size, uint64_t seed, enum fb_irq_mode mode)
{
	struct shadowed *s = start("");

	s->seed = seed;
	s->h.dev->irq_mode = mode;
	s->h.dev->shuffle = seed;
	if (seed % 2)
		pair(s, 1, sq_size, cq_size); /* before, or after */
	assert_int_equal(configure(s, s->shadow, s->event), 0);
	if (seed % 2 == 0)
		pair(s, 1, sq_size, cq_size);
	pair(s, 2, 2 + choose(s, 30), 2 + choose(s, 30));
	for (unsigned i = 0; i < 3000; i++) {
		unsigned qid = 1 + choose(s, 2), n = 1 + choose(s, 4);

		switch (choose(s, 4)) {
		case 0:
			while (n-- && s->n_ring < IN_FLIGHT - 8 && submit(s, qid))
				;
			break;
		case 1:
			while (n-- && s->n_ring < IN_FLIGHT - 8 && consume(s, qid))
				;
			break;
		case 2:
			if (s->n_ring)
				deliver(s);
			break;
		default:
			fake_round(s->h.dev);
		}
	}
	drain(s, 2);
	fake_settle(s->h.dev);
	while (s->n_ring) /* INTx: the last heads */
		deliver(s);
	fake_settle(s->h.dev);
	assert_false(s->h.dev->intx);
	end(s);
}

static void test_interleaved(void **state)
{
	uint64_t seed = 1;

	for (unsigned sq_size = 2; sq_size <= 9; sq_size++) {
		for (unsigned cq_size = 2; cq_size <= 9; cq_size++)
			interleave(sq_size, cq_size, seed++, FB_IRQ_MSIX);
	}
	for (unsigned i = 0; i < 16; i++)
		interleave(2 + i, 2 + i / 2, seed++, FB_IRQ_INTX);
}

/* What it is for: completion queues are hardly ever rung, and their heads hardly ever read. */
static void test_saved(void **state)
{
	struct shadowed *s = start("");
	uint64_t reads;

	assert_int_equal(configure(s, s->shadow, s->event), 0);
	pair(s, 1, 256, 256);
	reads = s->h.dev->reads;
	for (unsigned i = 0; i < 2560; i++) {
		assert_true(submit(s, 1));
		drain(s, 1);
	}
	assert_int_equal(s->rung[0], 2560); /* one at a time: each is new to a device that knows all before it */
	assert_in_range(s->rung[CQ], 1, 11); /* when it wraps */
	assert_in_range(s->h.n->shadow_looks, 1, 30);
	assert_int_equal(s->h.dev->reads - reads, 2560 + s->h.n->shadow_looks);
	end(s);
}

static void test_offered(void **state)
{
	struct shadowed *s = start("");
	uint64_t page = host_alloc(&s->h, 4096, 4096);
	struct nvme_sqe sqe = host_cmd(NVME_ADM_IDENTIFY, 0);
	const struct nvme_id_ctrl *id = (const struct nvme_id_ctrl *)(const void *)host_mem(&s->h, page);

	nvme_put64(&sqe.prp1, page);
	nvme_put32(&sqe.cdw10, NVME_CNS_CTRL);
	assert_int_equal(host_status(&s->h, 0, sqe), 0);
	assert_int_equal(nvme_get16(id->oacs), NVME_OACS_FORMAT | NVME_OACS_DBBUF);
	assert_int_equal(configure(s, s->shadow + 4, s->event), NVME_SC_INVALID_FIELD);
	assert_int_equal(configure(s, s->shadow, s->event + 2048), NVME_SC_INVALID_FIELD);
	assert_int_equal(configure(s, 0, s->event), NVME_SC_INVALID_FIELD);
	assert_int_equal(configure(s, s->shadow, 0), NVME_SC_INVALID_FIELD);
	assert_int_equal(configure(s, s->shadow, s->event), 0);

	s->h.dev->shadow_able = false; /* the root does not serve it */
	assert_int_equal(host_status(&s->h, 0, sqe), 0);
	assert_int_equal(nvme_get16(id->oacs), NVME_OACS_FORMAT);
	assert_int_equal(configure(s, s->shadow, s->event), NVME_SC_INVALID_OPCODE);
	end(s);

	s = start("shadow=off");
	assert_int_equal(configure(s, s->shadow, s->event), NVME_SC_INVALID_OPCODE);
	end(s);
}

/* The rings that are described have their places in the pages; the admin queue goes on as it was. */
static void test_described(void **state)
{
	struct shadowed *s = start("");
	const struct fb_device_ring *ring = s->h.dev->ring;

	pair(s, 2, 8, 8);
	assert_int_equal(ring[1].shadow, 0);
	fb_put_le32(word(s, s->event, 2, 0), 99);
	assert_int_equal(configure(s, s->shadow, s->event), 0);
	assert_int_equal(ring[1].shadow, s->shadow + 16);
	assert_int_equal(ring[1].event, s->event + 16);
	assert_int_equal(fb_get_le32(word(s, s->event, 2, 0)), 0); /* the tail that it has */
	pair(s, 64, 8, 8);
	assert_int_equal(ring[63].shadow, s->shadow + 512);
	host_disable(&s->h);
	assert_int_equal(ring[63].shadow, 0);
	host_enable(&s->h, 32);
	pair(s, 2, 8, 8);
	assert_int_equal(ring[1].shadow, 0);
	end(s);
}

/* Fills the completion queue of 4 entries with nobody taking them. */
static void fill(struct shadowed *s)
{
	pair(s, 1, 16, 4);
	for (unsigned i = 0; i < 8; i++)
		submit(s, 1);
	while (s->n_ring)
		deliver(s);
	fake_settle(s->h.dev);
	assert_int_equal(nvme_cq_used(&s->h.n->cq[1]), 3);
}

/* The head cannot be read for a while: commands wait, and go on. */
static void test_read_fails(void **state)
{
	struct shadowed *s = start("");

	assert_int_equal(configure(s, s->shadow, s->event), 0);
	s->h.dev->fail_address = -EIO;
	s->h.dev->fail_at = s->shadow + 12;
	s->h.dev->fail_len = 4;
	fill(s);
	for (unsigned i = 0; i < 3; i++)
		assert_true(consume(s, 1));
	for (unsigned i = 0; i < 20; i++) {
		fake_advance(s->h.dev, 200000000);
		fake_settle(s->h.dev);
		assert_false(consume(s, 1));
	}
	s->h.dev->fail_len = 0;
	fake_advance(s->h.dev, 200000000);
	drain(s, 1);
	end(s);
}

/* Looks under way when their queue goes, comes again, or the controller is reset find nothing that matters. */
static void test_outlived(void **state)
{
	struct shadowed *s = start("");

	assert_int_equal(configure(s, s->shadow, s->event), 0);
	for (unsigned i = 0; i < 6; i++) {
		fill(s);
		s->h.dev->hold = true;
		for (unsigned n = 0; n < 3; n++)
			consume(s, 1);
		while (s->n_ring)
			deliver(s);
		assert_true(s->h.n->cq[1].shadow.looking);
		if (i % 3 == 0) {
			fake_write32(s->h.dev, NVME_REG_CC, 0);
			s->h.dev->hold = false;
			host_disable(&s->h);
			host_enable(&s->h, 32);
			memset(s->outstanding, 0, sizeof(s->outstanding));
			s->n_outstanding = 0;
			assert_int_equal(configure(s, s->shadow, s->event), 0);
		} else if (i % 3 == 1) {
			s->h.dev->hold = false;
			drain(s, 1);
			assert_int_equal(delete(s, NVME_ADM_DELETE_SQ, 1), 0);
			assert_int_equal(delete(s, NVME_ADM_DELETE_CQ, 1), 0);
		} else {
			uint64_t page = host_alloc(&s->h, 4096, 4096);

			/* Another shadow page while one is looked at. */
			memcpy(host_mem(&s->h, page), host_mem(&s->h, s->shadow), 4096);
			fb_put_le32(word(s, s->shadow, 1, CQ), 0xfff0);
			s->shadow = s->h.n->shadow_addr = page;
			nvme_shadow_cq_begin(&s->h.n->cq[1]); /* as the command does it, which would have to wait here */
			s->h.dev->hold = false;
			fake_settle(s->h.dev);
			assert_int_equal(configure(s, s->shadow, s->event), 0);
			drain(s, 1);
			assert_int_equal(delete(s, NVME_ADM_DELETE_SQ, 1), 0);
			assert_int_equal(delete(s, NVME_ADM_DELETE_CQ, 1), 0);
		}
	}
	end(s);
}

/* Heads that cannot be: counted, and nothing is overwritten. */
static void test_nonsense(void **state)
{
	struct shadowed *s = start("");

	assert_int_equal(configure(s, s->shadow, s->event), 0);
	fb_put_le32(word(s, s->shadow, 1, 1), 0);
	fill(s);
	fb_put_le32(word(s, s->shadow, 1, 1), 0xfffffff0);
	fake_write32(s->h.dev, NVME_REG_DBS + 12, 1);
	fake_settle(s->h.dev);
	assert_int_equal(s->h.n->bad_doorbells, 1);
	assert_int_equal(nvme_cq_used(&s->h.n->cq[1]), 3);
	fb_put_le32(word(s, s->shadow, 1, 1), 0);
	s->h.n->bad_doorbells = 0;
	drain(s, 1);
	end(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_interleaved), cmocka_unit_test(test_saved),      cmocka_unit_test(test_offered),
		cmocka_unit_test(test_described),   cmocka_unit_test(test_read_fails), cmocka_unit_test(test_outlived),
		cmocka_unit_test(test_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
