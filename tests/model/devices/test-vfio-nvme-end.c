/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How commands that the vfio-user model carries to an NVMe controller end when they are not let run: aborted, their queue
 * deleted, the controller reset, the server gone, and when the server does what it must not. And what of their interrupts.
 */
#include "util/log.h"
#include "vfio_nvme_script.h"

/* ---- Ending early ---------------------------------------------------------------------------------------------- */

static void test_abort(void **state)
{
	struct nvme_sqe e = rw(NVME_CMD_READ, 0x1234, 1, DATA, 0), abort_, seen;
	unsigned id;

	(void)state;
	begin_io(ENTRIES, "");
	id = hand_over(1, &e, &seen);
	/* The server knows the command by another identifier. */
	abort_ = admin(NVME_ADM_ABORT, 9, 0, 1 | 0x1234u << 16, 0);
	assert_int_equal(carry(0, &abort_, &seen, 0, 0), 0);
	assert_int_equal(nvme_get32(seen.cdw10), 1 | id << 16);
	nv_complete(&w, 1, 1, id, NVME_SC_ABORT_REQUESTED, 0);
	nv_run(&w);
	ended(1, 0x1234, NVME_SC_ABORT_REQUESTED);
	/* One that is not there has an identifier that none can have; the server's answer is the guest's. */
	assert_int_equal(carry(0, &abort_, &seen, 0, 1), 1);
	assert_int_equal(nvme_get32(seen.cdw10), 1 | 0xffffu << 16);
	nv_end(&w);
}

/* With commands in every state: the server ends those that it has, the model those that it has not given away. */
static void test_delete_sq(void **state)
{
	struct nvme_sqe e, seen;
	unsigned with_server, id;

	(void)state;
	begin_io(ENTRIES, "");
	e = rw(NVME_CMD_READ, 1, 1, DATA, 0);
	with_server = hand_over(1, &e, &seen);
	w.r->answer = ANSWER_NEVER;
	e = rw(NVME_CMD_WRITE, 2, 1, DATA, 0);
	nv_submit(&w, 1, &e);
	nv_run(&w);
	scripted_root_answer_now(w.r, ANSWER_IN_ORDER);
	nv_run(&w); /* its entry is here, its data is not */
	e = admin(NVME_ADM_DELETE_SQ, 3, 0, 1, 0);
	nv_submit(&w, 0, &e);
	nv_run(&w);
	scripted_root_answer_now(w.r, ANSWER_REVERSED);
	w.r->answer = ANSWER_IN_ORDER;
	nv_run(&w);
	ended(1, 2, NVME_SC_ABORT_SQ_DELETION);
	id = given(0, &e, &seen);
	assert_int_equal(nvme_get32(seen.cdw10) & 0xffff, 1);
	/* Nothing of the queue goes to the server any more. */
	give_nothing(1);
	nv_complete(&w, 1, 1, with_server, NVME_SC_ABORT_SQ_DELETION, 0);
	nv_run(&w);
	nv_complete(&w, 0, 0, id, 0, 0);
	nv_run(&w);
	ended(0, 3, 0);
	/* The queue is not there any more, its completion queue is. */
	nv_write(&w, NVME_REG_DBS + 8, 5, 4);
	nv_run(&w);
	assert_int_equal(w.n->count.bad_doorbells, 1);
	assert_int_equal(w.n->n_free + w.n->n_free_admin, w.n->n_slots);
	/* It can be made again, and begins at its beginning. */
	w.guest_sq[1] = (struct nv_ring){0};
	create_sq(1, ENTRIES);
	e = rw(NVME_CMD_READ, 4, 1, DATA, 0);
	scripted_root_forget(w.r);
	nv_submit(&w, 1, &e);
	nv_run(&w);
	EXPECT_DMA(R(SQ(1), 64));
	given(1, &e, &seen);
	nv_end(&w);
}

static void test_delete_cq(void **state)
{
	struct nvme_sqe e, seen;

	(void)state;
	begin_io(ENTRIES, "");
	e = admin(NVME_ADM_DELETE_CQ, 1, 0, 1, 0);
	refused(0, &e, NVME_SC_INVALID_QUEUE_DELETION);
	e = admin(NVME_ADM_DELETE_SQ, 2, 0, 1, 0);
	carry(0, &e, &seen, 0, 0);
	e = admin(NVME_ADM_DELETE_CQ, 3, 0, 1, 0);
	carry(0, &e, &seen, 0, 0);
	refused(0, &e, NVME_SC_INVALID_QID);
	/* Again, with its first phase. */
	memset(mem(CQ(1), PAGE), 0, PAGE);
	create_cq(1, ENTRIES);
	create_sq(1, ENTRIES);
	e = rw(NVME_CMD_READ, 4, 1, DATA, 0);
	carry(1, &e, &seen, 0, 0);
	nv_end(&w);
}

/* CC.EN 0 with commands at the server, data on its way and completions that wait: no DMA follows, and all is free. */
static void test_disable(void **state)
{
	struct nvme_sqe e, seen;
	unsigned id;

	(void)state;
	begin_io(ENTRIES, "");
	e = rw(NVME_CMD_READ, 1, 8, DATA, 0);
	id = hand_over(1, &e, &seen);
	w.r->answer = ANSWER_NEVER;
	e = rw(NVME_CMD_WRITE, 2, 8, DATA, 0);
	nv_submit(&w, 1, &e);
	nv_run(&w);
	scripted_root_answer_now(w.r, ANSWER_IN_ORDER);
	nv_run(&w);
	nv_complete(&w, 1, 1, id, 0, 0); /* its interrupt is on the way when the guest gives up */
	scripted_root_forget(w.r);
	nv_write(&w, NVME_REG_CC, 0, 4);
	nv_run(&w);
	assert_int_equal(w.regs[NVME_REG_CC], 0);
	expect_dma(NULL, 0);
	assert_int_equal(nv_read(&w, NVME_REG_CSTS, 4), 0);
	assert_true(w.n->n_free < w.n->n_slots - VN_ADMIN_SLOTS); /* the write's buffer is still DMA's */
	scripted_root_answer_now(w.r, ANSWER_IN_ORDER);
	w.r->answer = ANSWER_IN_ORDER;
	nv_run(&w);
	give_nothing(1);
	assert_int_equal(w.n->n_free + w.n->n_free_admin, w.n->n_slots);
	nv_write(&w, NVME_REG_DBS, 3, 4); /* while it is off */
	nv_run(&w);
	assert_int_equal(w.n->count.bad_doorbells, 1);
	/* And on: a controller that has no I/O queues. */
	memset(mem(CQ(0), PAGE), 0, PAGE);
	nv_enable(&w, SQ(0), CQ(0), ENTRIES);
	nv_run(&w);
	nv_write(&w, NVME_REG_DBS + 8, 1, 4);
	identify_namespace(0, 0);
	assert_int_equal(w.n->count.bad_doorbells, 2);
	nv_end(&w);
}

/* A function level reset: the server is reset too, and nothing is kept. */
static void test_function_reset(void **state)
{
	struct nvme_sqe e = rw(NVME_CMD_READ, 1, 8, DATA, 0), seen;
	unsigned id, resets;

	(void)state;
	begin_io(ENTRIES, "");
	id = hand_over(1, &e, &seen);
	memset(nv_pool(&w, nvme_get64(seen.prp1), PAGE), 0x5a, PAGE);
	resets = w.resets;
	scripted_root_forget(w.r);
	nv_complete(&w, 1, 1, id, 0, 0);
	scripted_root_cfg_write(w.r, w.r->cap_exp + 8u, 0x8000, 2);
	nv_run(&w);
	expect_dma(NULL, 0);
	assert_int_equal(w.resets, resets + 1);
	assert_int_equal(((uint8_t *)nv_pool(&w, nvme_get64(seen.prp1), PAGE))[0], 0);
	w.r->keep_log = false;
	scripted_root_enumerate(w.r, NULL);
	scripted_root_enable_msix(w.r);
	memset(mem(CQ(0), PAGE), 0, PAGE);
	nv_enable(&w, SQ(0), CQ(0), ENTRIES);
	nv_run(&w);
	identify_namespace(0, 0);
	nv_end(&w);
}

/* ---- Interrupts -------------------------------------------------------------------------------------------------- */

static void test_mask_msi(void **state)
{
	struct nvme_sqe e = admin(NVME_ADM_GET_FEATURES, 1, 0, NVME_FEAT_VWC, 0), seen;

	(void)state;
	begin("");
	scripted_root_cfg_write(w.r, w.r->cap_msix + 2u, 0, 2);
	scripted_root_enable_msi(w.r, 1);
	nv_write(&w, NVME_REG_INTMS, 1, 4);
	carry(0, &e, &seen, 0, 0);
	carry(0, &e, &seen, 0, 0);
	assert_int_equal(scripted_root_irqs(w.r, 0), 0);
	assert_int_equal(nv_read(&w, NVME_REG_INTMC, 4), 1);
	nv_write(&w, NVME_REG_INTMC, 1, 4);
	nv_run(&w);
	assert_int_equal(scripted_root_irqs(w.r, 0), 1);
	assert_int_equal(nv_read(&w, NVME_REG_INTMS, 4), 0);
	carry(0, &e, &seen, 0, 0);
	assert_int_equal(scripted_root_irqs(w.r, 0), 2);
	nv_end(&w);
}

/* The pin is up as long as there is a completion that the guest has not taken, and INTMS allows it. */
static void test_pin(void **state)
{
	struct nvme_sqe e = admin(NVME_ADM_GET_FEATURES, 1, 0, NVME_FEAT_VWC, 0), seen;
	struct nvme_cqe c;

	(void)state;
	begin_with(true, "");
	nv_submit(&w, 0, &e);
	nv_run(&w);
	nv_complete(&w, 0, 0, given(0, &e, &seen), 0, 0);
	nv_run(&w);
	assert_true(w.r->intx);
	nv_write(&w, NVME_REG_INTMS, 1, 4);
	nv_run(&w);
	assert_false(w.r->intx);
	nv_write(&w, NVME_REG_INTMC, 1, 4);
	nv_run(&w);
	assert_true(w.r->intx);
	assert_true(nv_completion(&w, 0, &c));
	nv_seen(&w, 0);
	nv_run(&w);
	assert_false(w.r->intx);
	nv_end(&w);
}

/* ---- What nobody should do ------------------------------------------------------------------------------------------ */

/* The server completes what it was not given: it is cut off, and the guest's memory hears nothing. */
static void test_hostile_completions(void **state)
{
	static const struct {
		unsigned cq, sq;
		int id; /* of the command; it or another one */
	} cases[] = {{1, 1, 1}, {1, 1, 30000}, {1, 0, 0}, {1, 64, 0}, {0, 1, 0}, {0, 0, 0}, {1, 0xffff, 0}};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct nvme_sqe e = rw(NVME_CMD_READ, 1, 1, DATA, 0), seen;
		unsigned id;

		begin_io(ENTRIES, "");
		nv_submit(&w, 1, &e);
		nv_run(&w);
		id = given(1, &e, &seen);
		scripted_root_forget(w.r);
		nv_complete(&w, cases[i].cq, cases[i].sq, id + (unsigned)cases[i].id, 0, 0);
		nv_run(&w);
		assert_int_equal(w.v->state, VU_DOWN);
		assert_int_equal(w.v->count.protocol_errors, 1);
		expect_dma(NULL, 0);
		ends_nothing(1);
		nv_end(&w);
	}
}

static void test_completed_twice(void **state)
{
	struct nvme_sqe e = rw(NVME_CMD_READ, 1, 1, DATA, 0), seen;

	(void)state;
	begin_io(ENTRIES, "");
	carry(1, &e, &seen, 0, 0);
	nv_complete(&w, 1, 1, nvme_get16(seen.cid), 0, 0);
	nv_run(&w);
	assert_int_equal(w.v->state, VU_DOWN);
	ends_nothing(1);
	nv_end(&w);
}

/* The server changes an entry of its queue after it has been given it: the guest's command is what it was. */
static void test_entry_changed(void **state)
{
	struct nvme_sqe e = rw(NVME_CMD_READ, 7, 1, DATA, 0), seen;

	(void)state;
	begin_io(ENTRIES, "");
	hand_over(1, &e, &seen);
	memset(nv_pool(&w, w.server_sq[1].at, 64), 0xff, 64);
	scripted_root_forget(w.r);
	nv_complete(&w, 1, 1, nvme_get16(seen.cid), 0, 0);
	nv_run(&w);
	EXPECT_DMA(W(DATA, BLOCK), W(CQ(1), 16));
	ended(1, 7, 0);
	nv_end(&w);
}

static void test_server_dies(void **state)
{
	struct nvme_sqe e = rw(NVME_CMD_READ, 1, 1, DATA, 0), seen;

	(void)state;
	begin_io(ENTRIES, "");
	hand_over(1, &e, &seen);
	w.r->answer = ANSWER_NEVER;
	nv_submit(&w, 1, &e);
	nv_run(&w);
	scripted_root_forget(w.r);
	nv_kill(&w); /* no command is held any more: it looks */
	expect_dma(NULL, 0);
	ends_nothing(1);
	nv_write(&w, NVME_REG_DBS + 8, 3, 4); /* nothing follows */
	nv_run(&w);
	expect_dma(NULL, 0);
	nv_end(&w);
}

/* The guest's queue cannot be read: Controller Fatal Status until it disables the controller. */
static void test_queue_unreadable(void **state)
{
	struct nvme_sqe e = rw(NVME_CMD_READ, 1, 1, DATA, 0);

	(void)state;
	begin_io(ENTRIES, "");
	w.r->answer = ANSWER_UR;
	nv_submit(&w, 1, &e);
	nv_run(&w);
	w.r->answer = ANSWER_IN_ORDER;
	assert_int_equal(nv_read(&w, NVME_REG_CSTS, 4), NVME_CSTS_RDY | NVME_CSTS_CFS);
	scripted_root_forget(w.r);
	nv_write(&w, NVME_REG_DBS, 9, 4);
	nv_run(&w);
	expect_dma(NULL, 0);
	memset(mem(CQ(0), PAGE), 0, PAGE);
	nv_enable(&w, SQ(0), CQ(0), ENTRIES);
	nv_run(&w);
	assert_int_equal(nv_read(&w, NVME_REG_CSTS, 4), NVME_CSTS_RDY);
	identify_namespace(0, 0);
	nv_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_abort),
		cmocka_unit_test(test_delete_sq),
		cmocka_unit_test(test_delete_cq),
		cmocka_unit_test(test_disable),
		cmocka_unit_test(test_function_reset),
		cmocka_unit_test(test_mask_msi),
		cmocka_unit_test(test_pin),
		cmocka_unit_test(test_hostile_completions),
		cmocka_unit_test(test_completed_twice),
		cmocka_unit_test(test_entry_changed),
		cmocka_unit_test(test_server_dies),
		cmocka_unit_test(test_queue_unreadable),
	};

	fb_log_set_level(FB_LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
