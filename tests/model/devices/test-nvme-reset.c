/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Enable, disable, shutdown, resets in the middle of everything, SIGTERM.
 * DESIGN.md, Failure: "QEMU killed: root and box reset the function"; "SIGTERM:
 * in-flight requests finish or are aborted cleanly; data that was acknowledged
 * as flushed is on the disk".
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "inject.h"
#include "nvme_host.h"

static uint32_t csts(struct host *h)
{
	return fake_read32(h->dev, NVME_REG_CSTS);
}

static void test_registers(void **state)
{
	struct host h;
	uint64_t cap;

	host_open(&h, 1 << 20, "");
	cap = fake_read64(h.dev, NVME_REG_CAP);
	assert_int_equal(cap & 0xffff, NVME_MQES);
	assert_int_equal(cap >> 16 & 1, 1);
	assert_int_equal(cap >> 37 & 0xff, 1);
	assert_int_equal(cap >> 48 & 15, 0);
	assert_int_equal(cap >> 52 & 15, 4);
	assert_int_equal(fake_read32(h.dev, NVME_REG_CAP + 4), cap >> 32);
	assert_int_equal(fake_read32(h.dev, NVME_REG_VS), NVME_VS_1_4);
	assert_int_equal(csts(&h), 0);
	/* Read-only and reserved bits stay. */
	for (unsigned offset = 0; offset < 0x60; offset += 4)
		if (offset != NVME_REG_CC && offset != NVME_REG_NSSR)
			fake_write32(h.dev, offset, UINT32_MAX);
	assert_int_equal(fake_read64(h.dev, NVME_REG_CAP), cap);
	assert_int_equal(fake_read32(h.dev, NVME_REG_VS), NVME_VS_1_4);
	assert_int_equal(csts(&h), 0);
	assert_int_equal(fake_read32(h.dev, NVME_REG_AQA), 0x0fff0fff);
	assert_int_equal(fake_read64(h.dev, NVME_REG_ASQ), UINT64_MAX - 0xfff);
	assert_int_equal(fake_read32(h.dev, 0x1000), 0);
	host_close(&h);
}

static void test_bad_enable(void **state)
{
	static const struct {
		uint32_t aqa, cc;
		uint64_t asq;
	} t[] = {
		{0x001f0000, NVME_CC_EN, 0x10000},                /* submission queue of one */
		{0x0000001f, NVME_CC_EN, 0x10000},
		{0x001f001f, NVME_CC_EN | 5 << 7, 0x200000},      /* pages of 128 KiB */
		{0x001f001f, NVME_CC_EN | 1 << 7, 0x11000},       /* not on an 8 KiB page */
		{0x001f001f, NVME_CC_EN | 1 << 4, 0x10000},       /* command set 1 */
		{0x001f001f, NVME_CC_EN | 7 << 4, 0x10000},       /* admin only */
		{0x001f001f, NVME_CC_EN | 1 << 11, 0x10000},      /* weighted round robin */
	};
	struct host h;

	host_open(&h, 1 << 20, "");
	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		fake_write32(h.dev, NVME_REG_AQA, t[i].aqa);
		fake_write64(h.dev, NVME_REG_ASQ, t[i].asq);
		fake_write64(h.dev, NVME_REG_ACQ, 0x20000);
		fake_write32(h.dev, NVME_REG_CC, t[i].cc);
		fake_settle(h.dev);
		assert_int_equal(csts(&h), NVME_CSTS_CFS);
		fake_write32(h.dev, NVME_REG_CC, 0);
		fake_settle(h.dev);
		assert_int_equal(csts(&h), 0);
	}
	host_enable(&h, 16);
	host_close(&h);
}

static void put_io(struct host *h, unsigned n, uint64_t buf)
{
	for (unsigned i = 0; i < n; i++) {
		struct nvme_sqe sqe = host_rw(i % 2 ? NVME_CMD_READ : NVME_CMD_WRITE, 1, i * 32, 32, 0, 0);

		host_prp(h, &sqe, buf + i * 16384, 16384);
		host_put(h, 1, sqe);
	}
	host_ring(h, 1);
}

enum { HOW_DISABLE, HOW_FLR, HOW_SESSION, HOW_NSSR, HOWS };

static void do_reset(struct host *h, unsigned how)
{
	switch (how) {
	case HOW_DISABLE:
		fake_write32(h->dev, NVME_REG_CC, 0);
		break;
	case HOW_FLR:
		fake_reset(h->dev, FB_RESET_FLR);
		break;
	case HOW_SESSION:
		fake_reset(h->dev, FB_RESET_SESSION);
		break;
	default:
		fake_write32(h->dev, NVME_REG_NSSR, NVME_NSSR_MAGIC);
	}
}

/* A reset at every moment of a burst: afterwards nothing reaches the guest, nothing leaks, and it works again. */
static void test_reset_anywhere(void **state)
{
	for (unsigned how = 0; how < HOWS; how++) {
		for (unsigned moment = 0; moment < 12; moment++) {
			struct host h;
			uint64_t buf, writes;
			uint8_t *snapshot;

			host_start(&h, 1 << 20, moment % 3 == 2 ? "aio=threads" : "", 1, 64);
			buf = host_alloc(&h, 32 * 16384, 4096);
			memset(host_mem(&h, buf), 0x5c, 32 * 16384);
			put_io(&h, 32, buf);
			for (unsigned i = 0; i < moment; i++)
				fake_round(h.dev);
			do_reset(&h, how);
			if (how == HOW_DISABLE || how == HOW_NSSR)
				fake_settle(h.dev); /* DMA that was under way ends, then CSTS.RDY falls */
			assert_int_equal(csts(&h) & NVME_CSTS_RDY, 0);
			snapshot = malloc(h.dev->mem_size);
			memcpy(snapshot, h.dev->mem, h.dev->mem_size);
			writes = h.dev->writes;
			fake_settle(h.dev);
			assert_memory_equal(snapshot, h.dev->mem, h.dev->mem_size);
			assert_int_equal(h.dev->writes, writes);
			free(snapshot);
			assert_int_equal(h.n->n_async, 0);
			assert_int_equal(h.n->n_free, NVME_CMDS);
			assert_int_equal(h.n->arena.used, 0);
			assert_int_equal(h.n->n_busy, 0);
			h.next = 0x10000;
			host_enable(&h, 32);
			host_pair(&h, 1, 64);
			put_io(&h, 16, buf);
			for (unsigned i = 0; i < 16; i++)
				assert_int_equal(SC(host_wait(&h, 1).status), 0);
			host_close(&h);
		}
	}
}

/*
 * A write that is with the disk when the reset comes: the controller does not
 * become ready before it has ended, so it cannot overwrite what the host writes next.
 */
static void test_orphan_write(void **state)
{
	for (unsigned how = 0; how < HOWS; how++) {
		struct inject inj;
		uint8_t byte;
		struct host h;
		uint64_t buf;
		int fd;

		host_start(&h, 1 << 20, "", 1, 16);
		buf = host_alloc(&h, 4096, 4096);
		inject_into(&inj, &h.n->aio);
		inj.hold = true;
		memset(host_mem(&h, buf), 1, 4096);
		host_put(&h, 1, host_rw(NVME_CMD_WRITE, 1, 0, 8, buf, 0));
		host_ring(&h, 1);
		fake_settle(h.dev);
		assert_int_equal(inj.seen[FB_AIO_WRITE], 1);
		do_reset(&h, how);
		fake_settle(h.dev);
		fake_write32(h.dev, NVME_REG_CC, 0);
		fake_write32(h.dev, NVME_REG_AQA, 0x000f000f);
		fake_write64(h.dev, NVME_REG_ASQ, 0x10000);
		fake_write64(h.dev, NVME_REG_ACQ, 0x11000);
		fake_write32(h.dev, NVME_REG_CC, 4u << 20 | 6u << 16 | NVME_CC_EN);
		fake_settle(h.dev);
		if (how != HOW_DISABLE && how != HOW_NSSR)
			assert_int_equal(csts(&h) & NVME_CSTS_RDY, 0);
		inject_release(&inj);
		fake_settle(h.dev);
		assert_int_equal(h.n->n_async, 0);
		h.next = 0x10000;
		fake_write32(h.dev, NVME_REG_CC, 0);
		fake_settle(h.dev);
		host_enable(&h, 16);
		host_pair(&h, 1, 16);
		buf = host_alloc(&h, 4096, 4096);
		memset(host_mem(&h, buf), 2, 4096);
		assert_int_equal(host_status(&h, 1, host_rw(NVME_CMD_WRITE, 1, 0, 8, buf, 0)), 0);
		fd = open(h.path, O_RDONLY);
		assert_int_equal(pread(fd, &byte, 1, 100), 1);
		assert_int_equal(byte, 2);
		close(fd);
		host_close(&h);
	}
}

/* CC.EN off and on again at once: not ready, then ready, in this order. */
static void test_quick_toggle(void **state)
{
	struct inject inj;
	struct host h;

	host_start(&h, 1 << 20, "", 1, 16);
	inject_into(&inj, &h.n->aio);
	inj.hold = true;
	host_put(&h, 1, host_rw(NVME_CMD_READ, 1, 0, 8, 0x8000, 0));
	host_ring(&h, 1);
	fake_settle(h.dev);
	fake_write32(h.dev, NVME_REG_CC, 4u << 20 | 6u << 16);
	fake_write32(h.dev, NVME_REG_CC, 4u << 20 | 6u << 16 | NVME_CC_EN);
	assert_false(h.n->enabled);
	inject_release(&inj);
	fake_settle(h.dev);
	assert_true(h.n->enabled);
	assert_int_equal(csts(&h), NVME_CSTS_RDY);
	assert_false(h.n->sq[1].exists);
	host_close(&h);
}

static void shutdown(struct host *h, unsigned shn)
{
	fake_write32(h->dev, NVME_REG_CC, 4u << 20 | 6u << 16 | shn << 14 | NVME_CC_EN);
}

static void test_shutdown(void **state)
{
	for (unsigned shn = NVME_CC_SHN_NORMAL; shn <= NVME_CC_SHN_ABRUPT; shn++) {
		struct inject inj;
		struct host h;
		uint64_t buf;

		host_start(&h, 1 << 20, "", 1, 16);
		buf = host_alloc(&h, 4096, 4096);
		inject_into(&inj, &h.n->aio);
		assert_int_equal(host_status(&h, 1, host_rw(NVME_CMD_WRITE, 1, 0, 8, buf, 0)), 0);
		assert_int_equal(inj.seen[FB_AIO_FSYNC], 0);
		inj.hold = true;
		shutdown(&h, shn);
		fake_settle(h.dev);
		assert_int_equal(csts(&h), NVME_CSTS_RDY | NVME_CSTS_SHST_OCCURRING);
		inject_release(&inj);
		fake_settle(h.dev);
		assert_int_equal(inj.seen[FB_AIO_FSYNC], 1);
		assert_int_equal(csts(&h), NVME_CSTS_RDY | NVME_CSTS_SHST_COMPLETE);
		fake_reset(h.dev, FB_RESET_SESSION);
		assert_int_equal(h.n->unsafe_shutdowns, 0);
		assert_int_equal(h.n->power_cycles, 2);
		host_enable(&h, 16);
		assert_int_equal(csts(&h), NVME_CSTS_RDY);
		fake_reset(h.dev, FB_RESET_SESSION);
		assert_int_equal(h.n->unsafe_shutdowns, 1);
		host_close(&h);
	}
}

/* A shutdown waits for commands under way, and ends although the sync fails. */
static void test_shutdown_busy(void **state)
{
	struct inject inj;
	struct host h;
	uint64_t buf;

	host_start(&h, 1 << 20, "", 1, 16);
	buf = host_alloc(&h, 4096, 4096);
	inject_into(&inj, &h.n->aio);
	inj.hold = true;
	host_put(&h, 1, host_rw(NVME_CMD_WRITE, 1, 0, 8, buf, 0));
	host_ring(&h, 1);
	fake_settle(h.dev);
	shutdown(&h, NVME_CC_SHN_NORMAL);
	fake_settle(h.dev);
	assert_int_equal(inj.seen[FB_AIO_FSYNC], 0);
	assert_int_equal(csts(&h), NVME_CSTS_RDY | NVME_CSTS_SHST_OCCURRING);
	inj.fail[FB_AIO_FSYNC] = -EIO;
	inject_release(&inj);
	fake_settle(h.dev);
	assert_int_equal(SC(host_wait(&h, 1).status), 0);
	assert_int_equal(inj.seen[FB_AIO_FSYNC], 1);
	assert_int_equal(csts(&h), NVME_CSTS_RDY | NVME_CSTS_SHST_COMPLETE);
	assert_int_equal(h.n->ns[0].media_errors, 1);
	host_close(&h);
}

static void test_quiesce(void **state)
{
	struct inject inj;
	struct host_cqe cqe;
	struct host h;
	uint64_t buf;

	/* Nothing to do. */
	host_start(&h, 1 << 20, "readonly=on", 1, 16);
	host_put(&h, 0, host_cmd(NVME_ADM_ASYNC_EVENT, 0));
	host_ring(&h, 0);
	fake_settle(h.dev);
	assert_true(nvme_model.quiesce(h.dev));
	host_close(&h);

	host_start(&h, 1 << 20, "", 1, 16);
	buf = host_alloc(&h, 4096, 4096);
	inject_into(&inj, &h.n->aio);
	inj.hold = true;
	host_put(&h, 1, host_rw(NVME_CMD_WRITE, 1, 0, 8, buf, 0));
	host_ring(&h, 1);
	fake_settle(h.dev);
	assert_false(nvme_model.quiesce(h.dev));
	host_put(&h, 1, host_rw(NVME_CMD_WRITE, 1, 8, 8, buf, 0)); /* too late: stays in the queue */
	host_ring(&h, 1);
	fake_settle(h.dev);
	assert_false(h.dev->idle);
	inject_release(&inj);
	fake_settle(h.dev);
	assert_true(h.dev->idle);
	assert_int_equal(inj.seen[FB_AIO_FSYNC], 1);
	assert_true(host_take(&h, 1, &cqe));
	assert_int_equal(SC(cqe.status), 0);
	assert_false(host_take(&h, 1, &cqe));
	assert_int_equal(inj.seen[FB_AIO_WRITE], 1);
	host_close(&h);
}

/* The root goes while a stop waits for its commands: what they wrote is synced all the same, and the stop goes on. */
static void test_quiesce_reset(void **state)
{
	struct inject inj;
	struct host h;
	uint64_t buf;

	host_start(&h, 1 << 20, "", 1, 16);
	buf = host_alloc(&h, 4096, 4096);
	inject_into(&inj, &h.n->aio);
	assert_int_equal(host_status(&h, 1, host_rw(NVME_CMD_WRITE, 1, 0, 8, buf, 0)), 0);
	host_put(&h, 1, host_rw(NVME_CMD_WRITE, 1, 8, 8, buf, 0));
	host_ring(&h, 1);
	while (h.n->n_busy == 0)
		fake_round(h.dev);
	h.dev->hold = true; /* its data is on its way for ever */
	fake_settle(h.dev);
	assert_int_equal(h.n->n_busy, 1);
	assert_false(nvme_model.quiesce(h.dev));
	for (unsigned i = 0; i < 10; i++)
		fake_round(h.dev);
	assert_false(h.dev->idle);
	fake_reset(h.dev, FB_RESET_SESSION);
	fake_settle(h.dev);
	assert_true(h.dev->idle);
	assert_int_equal(inj.seen[FB_AIO_FSYNC], 1);
	host_close(&h);
}

/* The device goes while the kernel has its buffers: unrealize waits for them (the sanitizer watches). */
static void test_unrealize_busy(void **state)
{
	static const char *const options[] = {"", "aio=threads", "direct=on"};

	for (unsigned i = 0; i < 3; i++) {
		struct host h;
		uint64_t buf;

		host_start(&h, 1 << 20, options[i], 1, 64);
		buf = host_alloc(&h, 32 * 16384, 4096);
		put_io(&h, 32, buf);
		for (unsigned k = 0; k < 3 + i; k++)
			fake_round(h.dev);
		host_close(&h);
	}
}

/* Bus mastering goes off under load: commands vanish, a reset brings all back. */
static void test_bus_master_off(void **state)
{
	struct host_cqe cqe;
	struct host h;
	uint64_t buf;

	for (unsigned moment = 0; moment < 8; moment++) {
		host_start(&h, 1 << 20, "", 1, 64);
		buf = host_alloc(&h, 32 * 16384, 4096);
		put_io(&h, 32, buf);
		for (unsigned i = 0; i < moment; i++)
			fake_round(h.dev);
		h.dev->bme = false;
		fake_cancel_dma(h.dev, -ECANCELED);
		fake_settle(h.dev);
		h.dev->bme = true;
		fake_settle(h.dev);
		while (host_take(&h, 1, &cqe))
			;
		fake_reset(h.dev, FB_RESET_FLR);
		fake_settle(h.dev);
		assert_int_equal(h.n->n_async, 0);
		assert_int_equal(h.n->n_free, NVME_CMDS);
		h.next = 0x10000;
		host_enable(&h, 16);
		host_pair(&h, 1, 16);
		assert_int_equal(host_status(&h, 1, host_cmd(NVME_CMD_FLUSH, 1)), 0);
		host_close(&h);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registers),      cmocka_unit_test(test_bad_enable),
		cmocka_unit_test(test_reset_anywhere), cmocka_unit_test(test_orphan_write),
		cmocka_unit_test(test_quick_toggle),   cmocka_unit_test(test_shutdown),
		cmocka_unit_test(test_shutdown_busy),  cmocka_unit_test(test_quiesce), cmocka_unit_test(test_quiesce_reset),
		cmocka_unit_test(test_unrealize_busy), cmocka_unit_test(test_bus_master_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
