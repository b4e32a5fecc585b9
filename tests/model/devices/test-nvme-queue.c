/* SPDX-License-Identifier: Apache-2.0 */
/* Queues: wrap-around, full completion queues, fairness, deletion under load, interrupts of every kind. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "inject.h"
#include "nvme_host.h"

static void put_reads(struct host *h, unsigned qid, unsigned n, uint64_t buf)
{
	for (unsigned i = 0; i < n; i++)
		host_put(h, qid, host_rw(NVME_CMD_READ, 1, i % 8, 1, buf, 0));
	host_ring(h, qid);
}

/* Every queue size up to 9, many times round, with every number of commands at once. */
static void test_wrap(void **state)
{
	for (unsigned size = 2; size <= 9; size++) {
		struct host h;
		uint64_t buf;
		struct host_cqe cqe;
		unsigned total = 0;

		host_start(&h, 1 << 20, "", 1, size);
		buf = host_alloc(&h, 4096, 4096);
		for (unsigned i = 0; i < 60; i++) {
			unsigned n = 1 + i % (size - 1);
			uint16_t head = 0;

			put_reads(&h, 1, n, buf);
			for (unsigned k = 0; k < n; k++) {
				cqe = host_wait(&h, 1);
				assert_int_equal(SC(cqe.status), 0);
				head = cqe.sqhd;
			}
			total += n;
			assert_int_equal(head, total % size);
			assert_false(host_take(&h, 1, &cqe));
		}
		host_close(&h);
	}
}

/* The host does not consume: entries stop one short of full, and go on when it does. Nothing is lost. */
static void test_cq_full(void **state)
{
	struct host_cqe cqe;
	struct nvme_sqe sqe;
	struct host h;
	uint64_t buf;
	unsigned posted = 0;

	host_start(&h, 1 << 20, "", 2, 64);
	buf = host_alloc(&h, 4096, 4096);
	/* A third queue pair whose completion queue has 4 entries, its submission queue 64. */
	h.q[3] = (struct host_queue){.sq = host_alloc(&h, 4096, 4096), .cq = host_alloc(&h, 4096, 4096), .sq_size = 64,
				     .cq_size = 4, .phase = true};
	sqe = host_cmd(NVME_ADM_CREATE_CQ, 0);
	nvme_put64(&sqe.prp1, h.q[3].cq);
	nvme_put32(&sqe.cdw10, 3u << 16 | 3);
	nvme_put32(&sqe.cdw11, 3u << 16 | 3);
	assert_int_equal(host_status(&h, 0, sqe), 0);
	sqe = host_cmd(NVME_ADM_CREATE_SQ, 0);
	nvme_put64(&sqe.prp1, h.q[3].sq);
	nvme_put32(&sqe.cdw10, 63u << 16 | 3);
	nvme_put32(&sqe.cdw11, 3u << 16 | 1);
	assert_int_equal(host_status(&h, 0, sqe), 0);
	put_reads(&h, 3, 40, buf);
	fake_settle(h.dev);
	for (unsigned i = 0; i < 4; i++)
		posted += nvme_get16(((struct nvme_cqe *)(void *)host_mem(&h, h.q[3].cq))[i].status) & 1;
	assert_int_equal(posted, 3);
	/* Others are not held up. */
	put_reads(&h, 1, 60, buf);
	for (unsigned i = 0; i < 60; i++)
		assert_int_equal(SC(host_wait(&h, 1).status), 0);
	for (unsigned i = 0; i < 40; i++) {
		cqe = host_wait(&h, 3);
		assert_int_equal(SC(cqe.status), 0);
	}
	fake_settle(h.dev);
	assert_false(host_take(&h, 3, &cqe));
	/* Deleted while completions wait for room, and made anew: none of them shows up. */
	put_reads(&h, 3, 40, buf);
	fake_settle(h.dev);
	sqe = host_cmd(NVME_ADM_DELETE_SQ, 0);
	nvme_put32(&sqe.cdw10, 3);
	assert_int_equal(host_status(&h, 0, sqe), 0);
	sqe.opc = NVME_ADM_DELETE_CQ;
	assert_int_equal(host_status(&h, 0, sqe), 0);
	host_pair(&h, 3, 16);
	fake_settle(h.dev);
	assert_false(host_take(&h, 3, &cqe));
	put_reads(&h, 3, 10, buf);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(SC(host_wait(&h, 3).status), 0);
	fake_settle(h.dev);
	assert_int_equal(h.n->n_free, NVME_CMDS);
	host_close(&h);
}

/* Bus mastering goes off and on while a completion waits for room: a Read that lost its data on the way says so. */
static void test_cq_full_data_lost(void **state)
{
	struct inject inj;
	struct host h;
	uint64_t buf;

	host_start(&h, 1 << 20, "", 1, 8);
	buf = host_alloc(&h, 4096, 4096);
	inject_into(&inj, &h.n->aio);
	put_reads(&h, 1, 7, buf);
	fake_settle(h.dev);
	inj.hold = true;
	put_reads(&h, 1, 1, buf);
	fake_settle(h.dev);
	h.dev->hold = true;
	inject_release(&inj);
	for (unsigned i = 0; i < 1000 && TAILQ_EMPTY(&h.n->cq[1].done); i++)
		fake_round(h.dev);
	assert_false(TAILQ_EMPTY(&h.n->cq[1].done));
	fake_cancel_dma(h.dev, -ECANCELED);
	h.dev->hold = false;
	for (unsigned i = 0; i < 7; i++)
		assert_int_equal(SC(host_wait(&h, 1).status), 0);
	assert_int_equal(SC(host_wait(&h, 1).status), NVME_SC_DATA_TRANSFER_ERROR);
	host_close(&h);
}

static void test_bad_doorbells(void **state)
{
	struct host h;
	uint64_t buf;

	host_start(&h, 1 << 20, "", 1, 16);
	buf = host_alloc(&h, 4096, 4096);
	fake_write32(h.dev, NVME_REG_DBS + 8, 16);          /* tail beyond the queue */
	fake_write32(h.dev, NVME_REG_DBS + 8, UINT32_MAX);
	fake_write32(h.dev, NVME_REG_DBS + 12, 16);         /* head beyond the queue */
	fake_write32(h.dev, NVME_REG_DBS + 12, 1);          /* head past what was posted */
	fake_write32(h.dev, NVME_REG_DBS + 16, 1);          /* no such queue */
	fake_write32(h.dev, NVME_REG_DBS + 20, 1);
	fake_write32(h.dev, NVME_REG_DBS + 8 * 65, 1);      /* beyond the last queue */
	fake_write32(h.dev, 0x3ff8, 1);
	assert_int_equal(h.n->bad_doorbells, 8);
	put_reads(&h, 1, 3, buf);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(SC(host_wait(&h, 1).status), 0);
	/* A tail that laps the head. */
	h.dev->hold = true;
	put_reads(&h, 1, 10, buf);
	fake_write32(h.dev, NVME_REG_DBS + 8, (h.q[1].sq_tail + 7) % 16);
	assert_int_equal(h.n->bad_doorbells, 9);
	h.dev->hold = false;
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(SC(host_wait(&h, 1).status), 0);
	/* Before CC.EN: ignored. */
	host_disable(&h);
	fake_write32(h.dev, NVME_REG_DBS + 8, 1);
	assert_int_equal(h.n->bad_doorbells, 9);
	host_close(&h);
}

/* One queue with all it can hold does not keep another waiting: round robin, burst by burst. */
static void test_fair(void **state)
{
	struct inject inj;
	struct host h;
	uint64_t buf;
	struct nvme_sqe sqe;
	unsigned before = 0;
	struct host_cqe cqe;

	host_start(&h, 1 << 20, "", 2, 1024);
	buf = host_alloc(&h, 4096, 4096);
	sqe = host_cmd(NVME_ADM_SET_FEATURES, 0);
	nvme_put32(&sqe.cdw10, NVME_FEAT_ARBITRATION);
	nvme_put32(&sqe.cdw11, 2); /* bursts of 4 */
	assert_int_equal(host_status(&h, 0, sqe), 0);
	inject_into(&inj, &h.n->aio);
	put_reads(&h, 1, 1000, buf);
	put_reads(&h, 2, 1, buf);
	while (!host_take(&h, 2, &cqe)) {
		fake_round(h.dev);
		while (host_take(&h, 1, &cqe))
			before++;
	}
	assert_true(before <= 64);
	for (; before < 1000; before++)
		host_wait(&h, 1);
	assert_true(h.n->fetches >= 250);
	/* All commands of the controller taken by one queue that does not end: admin still works. */
	inj.hold = true;
	put_reads(&h, 1, 1000, buf);
	put_reads(&h, 2, 1000, buf);
	fake_settle(h.dev);
	assert_true(h.n->n_free <= NVME_CMDS_ADMIN);
	sqe = host_cmd(NVME_ADM_GET_FEATURES, 0);
	nvme_put32(&sqe.cdw10, NVME_FEAT_QUEUES);
	assert_int_equal(host_status(&h, 0, sqe), 0);
	inject_release(&inj);
	for (unsigned i = 0; i < 1000; i++) {
		host_wait(&h, 1);
		host_wait(&h, 2);
	}
	host_close(&h);
}

/* Buffers run out: commands wait their turn, and each ends. */
static void test_few_buffers(void **state)
{
	struct host h;
	uint64_t buf;

	host_start(&h, 4 << 20, "mdts=1M,buffers=1M", 1, 128);
	buf = host_alloc(&h, 1 << 20, 4096);
	for (unsigned i = 0; i < 100; i++) {
		uint32_t blocks = i % 10 ? 8 : 2048;
		struct nvme_sqe sqe = host_rw(i % 3 == 0 ? NVME_CMD_COMPARE : NVME_CMD_READ, 1, 0, blocks, 0, 0);

		host_prp(&h, &sqe, buf, blocks * 512);
		host_put(&h, 1, sqe);
	}
	host_ring(&h, 1);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(SC(host_wait(&h, 1).status), 0);
	assert_true(h.n->buffer_waits > 0);
	fake_settle(h.dev);
	assert_int_equal(h.n->arena.used, 0);
	host_close(&h);
}

/* Delete Submission Queue with commands in every state: each is answered, then the deletion. */
static void test_delete_busy(void **state)
{
	struct inject inj;
	struct host_cqe cqe;
	struct nvme_sqe sqe;
	struct host h;
	uint64_t buf;
	unsigned ok = 0, aborted = 0;

	host_start(&h, 4 << 20, "mdts=1M,buffers=1M", 1, 64);
	buf = host_alloc(&h, 1 << 20, 4096);
	inject_into(&inj, &h.n->aio);
	inj.hold = true;
	for (unsigned i = 0; i < 10; i++) {
		sqe = host_rw(NVME_CMD_COMPARE, 1, 0, 2048, 0, 0);
		host_prp(&h, &sqe, buf, 1 << 20);
		host_put(&h, 1, sqe);
	}
	host_ring(&h, 1);
	fake_settle(h.dev);
	sqe = host_cmd(NVME_ADM_DELETE_SQ, 0);
	nvme_put32(&sqe.cdw10, 1);
	host_put(&h, 0, sqe);
	host_ring(&h, 0);
	fake_settle(h.dev);
	assert_false(host_take(&h, 0, &cqe)); /* four of them are with the disk */
	while (host_take(&h, 1, &cqe))
		aborted += SC(cqe.status) == NVME_SC_ABORT_SQ_DELETION;
	assert_int_equal(aborted, 6);
	assert_int_equal(host_status(&h, 0, sqe), NVME_SC_INVALID_QID); /* being deleted already */
	inject_release(&inj);
	assert_int_equal(SC(host_wait(&h, 0).status), 0);
	while (host_take(&h, 1, &cqe))
		ok += SC(cqe.status) == 0;
	assert_int_equal(ok, 4);
	host_close(&h);
}

/* ---- Interrupts ------------------------------------------------------------------------------- */

static void set_feature(struct host *h, uint8_t fid, uint32_t cdw11)
{
	struct nvme_sqe sqe = host_cmd(NVME_ADM_SET_FEATURES, 0);

	nvme_put32(&sqe.cdw10, fid);
	nvme_put32(&sqe.cdw11, cdw11);
	assert_int_equal(host_status(h, 0, sqe), 0);
}

static void test_joined(void **state)
{
	struct host h;
	uint64_t buf, writes, cqes;
	unsigned irqs;

	host_start(&h, 1 << 20, "", 1, 64);
	buf = host_alloc(&h, 4096, 4096);
	put_reads(&h, 1, 1, buf); /* the page is in the cache from now on */
	host_wait(&h, 1);
	fake_settle(h.dev);
	writes = h.n->cqe_writes;
	cqes = h.n->cqes;
	irqs = h.dev->irqs[1];
	put_reads(&h, 1, 32, buf);
	for (unsigned i = 0; i < 32; i++)
		host_wait(&h, 1);
	fake_settle(h.dev);
	assert_int_equal(h.n->cqes - cqes, 32);
	/* 32 completions, far fewer writes and interrupts: what ends in one round leaves together. */
	assert_true(h.n->cqe_writes - writes <= 8);
	assert_true(h.dev->irqs[1] - irqs <= 8);
	host_close(&h);
}

static void test_coalescing(void **state)
{
	struct host_cqe cqe;
	struct host h;
	uint64_t buf;
	unsigned irqs;

	host_start(&h, 1 << 20, "", 2, 64);
	buf = host_alloc(&h, 4096, 4096);
	fake_stop_clock(h.dev);
	set_feature(&h, NVME_FEAT_COALESCING, 200 << 8 | 3); /* 20 ms or 4 entries */
	set_feature(&h, NVME_FEAT_VECTOR, 1u << 16 | 2);      /* not vector 2 */
	irqs = h.dev->irqs[1];
	put_reads(&h, 1, 3, buf);
	fake_settle(h.dev);
	assert_int_equal(h.dev->irqs[1], irqs);
	put_reads(&h, 1, 1, buf);
	fake_settle(h.dev);
	assert_int_equal(h.dev->irqs[1], irqs + 1);
	/* The time is over. */
	put_reads(&h, 1, 1, buf);
	fake_settle(h.dev);
	assert_int_equal(h.dev->irqs[1], irqs + 1);
	fake_advance(h.dev, 20000000);
	fake_settle(h.dev);
	assert_int_equal(h.dev->irqs[1], irqs + 2);
	while (host_take(&h, 1, &cqe))
		;
	/* Polled away before the time was over: no interrupt for nothing. */
	put_reads(&h, 1, 1, buf);
	fake_settle(h.dev);
	assert_true(host_take(&h, 1, &cqe));
	fake_advance(h.dev, 20000000);
	fake_settle(h.dev);
	assert_int_equal(h.dev->irqs[1], irqs + 2);
	/* Vector 2 at once; admin commands never wait. */
	put_reads(&h, 2, 1, buf);
	host_wait(&h, 2);
	fake_settle(h.dev);
	assert_int_equal(h.dev->irqs[2], 1);
	irqs = h.dev->irqs[0];
	set_feature(&h, NVME_FEAT_COALESCING, 0);
	fake_settle(h.dev);
	assert_int_equal(h.dev->irqs[0], irqs + 1);
	host_close(&h);
}

static void test_intx(void **state)
{
	struct host_cqe cqe;
	struct host h;

	host_open(&h, 1 << 20, "");
	h.dev->irq_mode = FB_IRQ_INTX;
	host_enable(&h, 16);
	assert_false(h.dev->intx);
	host_put(&h, 0, host_cmd(0x7f, 0));
	host_put(&h, 0, host_cmd(0x7f, 0));
	host_ring(&h, 0);
	fake_settle(h.dev);
	assert_true(h.dev->intx);
	assert_true(host_take(&h, 0, &cqe));
	assert_true(h.dev->intx); /* one is left */
	fake_write32(h.dev, NVME_REG_INTMS, 1);
	assert_false(h.dev->intx);
	assert_int_equal(fake_read32(h.dev, NVME_REG_INTMC), 1);
	fake_write32(h.dev, NVME_REG_INTMC, 1);
	assert_true(h.dev->intx);
	assert_true(host_take(&h, 0, &cqe));
	assert_false(h.dev->intx);
	host_put(&h, 0, host_cmd(0x7f, 0));
	host_ring(&h, 0);
	fake_settle(h.dev);
	assert_true(h.dev->intx);
	host_disable(&h);
	assert_false(h.dev->intx);
	host_close(&h);
}

static void test_msi_mask(void **state)
{
	struct host h;
	unsigned irqs;

	host_open(&h, 1 << 20, "");
	h.dev->irq_mode = FB_IRQ_MSI;
	host_enable(&h, 16);
	fake_write32(h.dev, NVME_REG_INTMS, 1);
	irqs = h.dev->irqs[0];
	host_do(&h, 0, host_cmd(0x7f, 0));
	host_do(&h, 0, host_cmd(0x7f, 0));
	fake_settle(h.dev);
	assert_int_equal(h.dev->irqs[0], irqs);
	fake_write32(h.dev, NVME_REG_INTMC, 1);
	fake_settle(h.dev);
	assert_int_equal(h.dev->irqs[0], irqs + 1);
	host_close(&h);
}

/* Submission entries that cannot be read: again after a timeout, fatal when it does not get better. */
static void test_fetch_errors(void **state)
{
	struct host h;

	host_start(&h, 1 << 20, "", 0, 0);
	h.dev->fail_at = h.q[0].sq;
	h.dev->fail_len = 64 * 32;
	h.dev->fail_address = -ETIMEDOUT;
	host_put(&h, 0, host_cmd(0x7f, 0));
	host_ring(&h, 0);
	fake_round(h.dev);
	fake_round(h.dev);
	fake_round(h.dev);
	h.dev->fail_address = 0;
	assert_int_equal(SC(host_wait(&h, 0).status), NVME_SC_INVALID_OPCODE);
	h.dev->fail_address = -ETIMEDOUT;
	host_put(&h, 0, host_cmd(0x7f, 0));
	host_ring(&h, 0);
	fake_settle(h.dev);
	assert_true(fake_read32(h.dev, NVME_REG_CSTS) & NVME_CSTS_CFS);
	h.dev->fail_address = 0;
	host_disable(&h);
	assert_false(fake_read32(h.dev, NVME_REG_CSTS) & NVME_CSTS_CFS);
	host_enable(&h, 16);
	assert_int_equal(host_status(&h, 0, host_cmd(0x7f, 0)), NVME_SC_INVALID_OPCODE);
	/* The runtime has no room for a while. */
	h.dev->refuse_dma = 3;
	assert_int_equal(host_status(&h, 0, host_cmd(0x7f, 0)), NVME_SC_INVALID_OPCODE);
	host_close(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wrap),	      cmocka_unit_test(test_cq_full),
		cmocka_unit_test(test_cq_full_data_lost),
		cmocka_unit_test(test_bad_doorbells), cmocka_unit_test(test_fair),
		cmocka_unit_test(test_few_buffers),   cmocka_unit_test(test_delete_busy),
		cmocka_unit_test(test_joined),	      cmocka_unit_test(test_coalescing),
		cmocka_unit_test(test_intx),	      cmocka_unit_test(test_msi_mask),
		cmocka_unit_test(test_fetch_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
