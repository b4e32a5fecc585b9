/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the vfio-user model carries an NVMe controller's commands: what the server is given, what DMA the guest sees, in
 * which order, and how each command ends.
 */
#include "util/log.h"
#include "vfio_nvme_script.h"

/* ---- Registers ------------------------------------------------------------------------------------------ */

static void test_registers(void **state)
{
	uint64_t cap;

	(void)state;
	nv_begin(&w, false, "", MEM);
	/* What is not offered is not shown: queues of more than 1,024 entries, pages of more than 4 KiB, BPS, PMRS, CMBS. */
	fb_put_le64(w.regs, UINT64_C(0x03f0202000000fff) | UINT64_C(1) << 45);
	cap = nv_read(&w, NVME_REG_CAP, 8);
	assert_int_equal(cap & 0xffff, VN_ENTRIES - 1);
	assert_true(cap >> 16 & 1); /* CQR */
	assert_int_equal(cap >> 45 & 1, 0);
	assert_int_equal(cap >> 52 & 15, 0);
	assert_int_equal(cap >> 56 & 3, 0);
	assert_int_equal(nv_read(&w, NVME_REG_CAP, 4), cap & UINT32_MAX);

	nv_enable(&w, SQ(0), CQ(0), ENTRIES);
	nv_run(&w);
	/* The guest reads what it wrote, the server has queues in the pool. */
	assert_int_equal(nv_read(&w, NVME_REG_ASQ, 8), SQ(0));
	assert_int_equal(nv_read(&w, NVME_REG_ACQ + 4, 4), 0);
	assert_int_equal(nv_read(&w, NVME_REG_ACQ, 4), CQ(0));
	assert_int_equal(nv_read(&w, NVME_REG_AQA, 4), 0x000f000f);
	assert_int_equal(nv_read(&w, NVME_REG_CC, 4), NVME_CC_EN | 6 << 16 | 4 << 20);
	assert_int_equal(nv_read(&w, NVME_REG_CSTS, 4), NVME_CSTS_RDY);
	assert_int_equal(fb_get_le32(w.regs + NVME_REG_AQA), 0x000f000f);
	assert_non_null(nv_pool(&w, w.server_sq[0].at, ENTRIES * 64));
	assert_non_null(nv_pool(&w, w.server_cq[0].at, ENTRIES * 16));
	nv_end(&w);
}

/* Admin queues of one entry, pages of another size: a controller that has failed, and is usable after CC.EN 0. */
static void test_not_enabled(void **state)
{
	(void)state;
	nv_begin(&w, false, "", MEM);
	nv_enable(&w, SQ(0), CQ(0), 1);
	assert_int_equal(nv_read(&w, NVME_REG_CSTS, 4), NVME_CSTS_CFS);
	nv_write(&w, NVME_REG_CC, 0, 4);
	assert_int_equal(nv_read(&w, NVME_REG_CSTS, 4), 0);
	nv_write(&w, NVME_REG_AQA, 0x000f000f, 4);
	nv_write(&w, NVME_REG_CC, NVME_CC_EN | 1 << 7, 4);
	assert_int_equal(nv_read(&w, NVME_REG_CSTS, 4), NVME_CSTS_CFS);
	nv_enable(&w, SQ(0), CQ(0), ENTRIES);
	assert_int_equal(nv_read(&w, NVME_REG_CSTS, 4), NVME_CSTS_RDY);
	nv_end(&w);
}

/* ---- Admin commands ------------------------------------------------------------------------------------- */

static void test_identify(void **state)
{
	struct nvme_sqe e = admin(NVME_ADM_IDENTIFY, 0xbeef, DATA, NVME_CNS_CTRL, 0), seen;
	struct nvme_id_ctrl *id;

	(void)state;
	begin("");
	scripted_root_forget(w.r);
	nv_submit(&w, 0, &e);
	nv_run(&w);
	EXPECT_DMA(R(SQ(0), 64));
	given(0, &e, &seen);
	assert_int_equal(nvme_get64(seen.prp2), 0);
	id = nv_pool(&w, nvme_get64(seen.prp1), PAGE);
	memset(id, 0, PAGE);
	nvme_put16(&id->oacs, 0xffff);
	nvme_put32(&id->sgls, 1);
	nvme_put32(&id->hmpre, 100);
	memcpy(id->sn, "a serial number", 15);
	nv_complete(&w, 0, 0, nvme_get16(seen.cid), 0, 7);
	nv_run(&w);
	EXPECT_DMA(W(DATA, PAGE), W(CQ(0), 16));
	assert_int_equal(scripted_root_irqs(w.r, 0), 1);
	assert_int_equal(ended(0, 0xbeef, 0), 7);

	/* What is not carried is not in it. */
	id = (struct nvme_id_ctrl *)mem(DATA, PAGE);
	assert_int_equal(id->mdts, VN_MDTS);
	assert_int_equal(nvme_get32(id->sgls), 0);
	assert_int_equal(nvme_get32(id->hmpre), 0);
	assert_int_equal(nvme_get16(id->oacs), 0xffff & ~(1 << 6 | 1 << 7 | 1 << 8));
	assert_memory_equal(id->sn, "a serial number", 15);

	/* The controller's refusal is the guest's, without data. */
	scripted_root_forget(w.r);
	carry(0, &e, &seen, NVME_SC_INVALID_FIELD | NVME_SC_DNR, 0);
	EXPECT_DMA(R(SQ(0) + 64, 64), W(CQ(0) + 16, 16));
	nv_end(&w);
}

static void test_create_refused(void **state)
{
	static const struct {
		uint32_t opc, cdw10, cdw11;
		uint64_t prp1;
		unsigned status;
	} cases[] = {
		{NVME_ADM_CREATE_CQ, 15 << 16 | 0, 3, CQ(1), NVME_SC_INVALID_QID},
		{NVME_ADM_CREATE_CQ, 15 << 16 | 1, 3, CQ(1), NVME_SC_INVALID_QID}, /* there is one */
		{NVME_ADM_CREATE_CQ, 15 << 16 | (VN_QUEUES + 1), 3, CQ(1), NVME_SC_INVALID_QID},
		{NVME_ADM_CREATE_CQ, 0 << 16 | 2, 3, CQ(2), NVME_SC_INVALID_QUEUE_SIZE},
		{NVME_ADM_CREATE_CQ, VN_ENTRIES << 16 | 2, 3, CQ(2), NVME_SC_INVALID_QUEUE_SIZE},
		{NVME_ADM_CREATE_CQ, 15 << 16 | 2, 3 | VS_VECTORS << 16, CQ(2), NVME_SC_INVALID_VECTOR},
		{NVME_ADM_CREATE_CQ, 15 << 16 | 2, 2, CQ(2), NVME_SC_INVALID_FIELD}, /* not contiguous */
		{NVME_ADM_CREATE_CQ, 15 << 16 | 2, 3, CQ(2) + 64, NVME_SC_PRP_OFFSET},
		{NVME_ADM_CREATE_SQ, 15 << 16 | 0, 1 | 1 << 16, SQ(1), NVME_SC_INVALID_QID},
		{NVME_ADM_CREATE_SQ, 15 << 16 | 1, 1 | 1 << 16, SQ(1), NVME_SC_INVALID_QID},
		{NVME_ADM_CREATE_SQ, 15 << 16 | 2, 1 | 2 << 16, SQ(2), NVME_SC_CQ_INVALID},
		{NVME_ADM_CREATE_SQ, 15 << 16 | 2, 1 | 0 << 16, SQ(2), NVME_SC_CQ_INVALID},
		{NVME_ADM_CREATE_SQ, 0 << 16 | 2, 1 | 1 << 16, SQ(2), NVME_SC_INVALID_QUEUE_SIZE},
		{NVME_ADM_CREATE_SQ, 15 << 16 | 2, 0 | 1 << 16, SQ(2), NVME_SC_INVALID_FIELD},
		{NVME_ADM_CREATE_SQ, 15 << 16 | 2, 1 | 1 << 16, SQ(2) + 8, NVME_SC_PRP_OFFSET},
		{NVME_ADM_DELETE_SQ, 0, 0, 0, NVME_SC_INVALID_QID},
		{NVME_ADM_DELETE_SQ, 2, 0, 0, NVME_SC_INVALID_QID},
		{NVME_ADM_DELETE_SQ, 0xffff, 0, 0, NVME_SC_INVALID_QID},
		{NVME_ADM_DELETE_CQ, 0, 0, 0, NVME_SC_INVALID_QID},
		{NVME_ADM_DELETE_CQ, 2, 0, 0, NVME_SC_INVALID_QID},
		{NVME_ADM_DELETE_CQ, 1, 0, 0, NVME_SC_INVALID_QUEUE_DELETION}, /* a submission queue uses it */
	};
	struct nvme_sqe e, seen;

	(void)state;
	begin_io(ENTRIES, "");
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		e = admin(cases[i].opc, i, cases[i].prp1, cases[i].cdw10, cases[i].cdw11);
		refused(0, &e, cases[i].status);
	}
	/* What the server refuses is not there either; what it gets has an address and a vector of its own. */
	e = admin(NVME_ADM_CREATE_CQ, 1, CQ(2), 2 | 15 << 16, 1);
	carry(0, &e, &seen, NVME_SC_INVALID_QUEUE_SIZE | NVME_SC_DNR, 0);
	assert_non_null(nv_pool(&w, nvme_get64(seen.prp1), 16 * 16));
	assert_int_equal(nvme_get32(seen.cdw11), 3 | 2 << 16);
	e = admin(NVME_ADM_CREATE_SQ, 2, SQ(2), 2 | 15 << 16, 1 | 2 << 16);
	refused(0, &e, NVME_SC_CQ_INVALID);
	nv_end(&w);
}

static void test_number_of_queues(void **state)
{
	struct nvme_sqe e = admin(NVME_ADM_SET_FEATURES, 5, 0, NVME_FEAT_QUEUES, 199 | 199 << 16), seen;

	(void)state;
	begin("");
	assert_int_equal(carry(0, &e, &seen, 0, 127 | 30 << 16), (VN_QUEUES - 1) | 30 << 16);
	assert_int_equal(nvme_get32(seen.cdw11), (VN_QUEUES - 1) | (VN_QUEUES - 1) << 16);
	nv_end(&w);
}

/* ---- Reads and writes -------------------------------------------------------------------------------------- */

static void test_write_and_read(void **state)
{
	struct nvme_sqe e = rw(NVME_CMD_WRITE, 1, 1, DATA + 0x204, 0), seen;
	uint8_t *data;

	(void)state;
	begin_io(ENTRIES, "");
	fill(mem(DATA + 0x204, BLOCK), BLOCK, 1);
	nv_submit(&w, 1, &e);
	nv_run(&w);
	EXPECT_DMA(R(SQ(1), 64), R(DATA + 0x204, BLOCK));
	given(1, &e, &seen);
	expect_fill(nv_pool(&w, nvme_get64(seen.prp1), BLOCK), BLOCK, 0, 1);
	nv_complete(&w, 1, 1, nvme_get16(seen.cid), 0, 0);
	nv_run(&w);
	EXPECT_DMA(W(CQ(1), 16));
	assert_int_equal(scripted_root_irqs(w.r, 1), 1);
	ended(1, 1, 0);

	/* Three pages by two PRPs and a list of two; the first begins within its page. The data goes before the completion. */
	e = rw(NVME_CMD_READ, 2, 20, DATA + PAGE - 2048, LIST + 8);
	fb_put_le64(mem(LIST + 8, 8), DATA + 9 * PAGE);
	fb_put_le64(mem(LIST + 16, 8), DATA + 4 * PAGE);
	nv_submit(&w, 1, &e);
	nv_run(&w);
	EXPECT_DMA(R(SQ(1) + 64, 64), R(LIST + 8, 16));
	given(1, &e, &seen);
	assert_int_equal(nvme_get64(seen.prp1) % PAGE, 0);
	data = nv_pool(&w, nvme_get64(seen.prp1), 20 * BLOCK);
	assert_int_equal(fb_get_le64(nv_pool(&w, nvme_get64(seen.prp2), 8)), nvme_get64(seen.prp1) + PAGE);
	assert_int_equal(fb_get_le64(nv_pool(&w, nvme_get64(seen.prp2) + 8, 8)), nvme_get64(seen.prp1) + 2 * PAGE);
	fill(data, 20 * BLOCK, 2);
	nv_complete(&w, 1, 1, nvme_get16(seen.cid), 0, 0);
	nv_run(&w);
	EXPECT_DMA(W(DATA + PAGE - 2048, 2048), W(DATA + 9 * PAGE, PAGE), W(DATA + 4 * PAGE, PAGE), W(CQ(1) + 16, 16));
	expect_fill(mem(DATA + PAGE - 2048, 2048), 2048, 0, 2);
	expect_fill(mem(DATA + 9 * PAGE, PAGE), PAGE, 2048, 2);
	expect_fill(mem(DATA + 4 * PAGE, PAGE), PAGE, 2048 + PAGE, 2);
	ended(1, 2, 0);

	/* Two pages need no list. */
	e = rw(NVME_CMD_COMPARE, 3, 16, DATA, DATA + 5 * PAGE);
	carry(1, &e, &seen, NVME_SC_COMPARE_FAILURE, 0);
	assert_int_equal(nvme_get64(seen.prp2), nvme_get64(seen.prp1) + PAGE);
	EXPECT_DMA(R(SQ(1) + 128, 64), R(DATA, PAGE), R(DATA + 5 * PAGE, PAGE), W(CQ(1) + 32, 16));
	assert_int_equal(w.n->count.errors, 1);
	nv_end(&w);
}

/* A list that goes on in another page, where the last entry of the first one says. */
static void test_list_chains(void **state)
{
	struct nvme_sqe e = rw(NVME_CMD_READ, 3, 48, DATA, LIST + PAGE - 24), seen;
	uint64_t *list;

	(void)state;
	begin_io(ENTRIES, "");
	list = (uint64_t *)(void *)mem(LIST + PAGE - 24, 24);
	list[0] = DATA + 2 * PAGE;
	list[1] = DATA + 4 * PAGE;
	list[2] = LIST + 3 * PAGE + 64;
	list = (uint64_t *)(void *)mem(LIST + 3 * PAGE + 64, 24);
	list[0] = DATA + 6 * PAGE;
	list[1] = DATA + 8 * PAGE;
	list[2] = DATA + 10 * PAGE;
	carry(1, &e, &seen, 0, 0);
	EXPECT_DMA(R(SQ(1), 64), R(LIST + PAGE - 24, 24), R(LIST + 3 * PAGE + 64, 24), W(DATA, PAGE), W(DATA + 2 * PAGE, PAGE),
		   W(DATA + 4 * PAGE, PAGE), W(DATA + 6 * PAGE, PAGE), W(DATA + 8 * PAGE, PAGE), W(DATA + 10 * PAGE, PAGE),
		   W(CQ(1), 16));

	/* The largest command: 256 KiB that begin within a page, so 64 entries. Pages in a row are one write. */
	e = rw(NVME_CMD_READ, 4, VN_XFER / BLOCK, DATA + 512, LIST);
	for (unsigned i = 0; i < VN_PRPS; i++)
		fb_put_le64(mem(LIST + 8 * i, 8), DATA + (i + 1) * PAGE);
	carry(1, &e, &seen, 0, 0);
	EXPECT_DMA(R(SQ(1) + 64, 64), R(LIST, 8 * VN_PRPS), W(DATA + 512, VN_XFER), W(CQ(1) + 16, 16));

	/* The last entry of a page is data when it is the last one of the command. */
	e = rw(NVME_CMD_READ, 5, 24, DATA, LIST + PAGE - 16);
	list = (uint64_t *)(void *)mem(LIST + PAGE - 16, 16);
	list[0] = DATA + 2 * PAGE;
	list[1] = DATA + 4 * PAGE;
	carry(1, &e, &seen, 0, 0);
	EXPECT_DMA(R(SQ(1) + 128, 64), R(LIST + PAGE - 16, 16), W(DATA, PAGE), W(DATA + 2 * PAGE, PAGE),
		   W(DATA + 4 * PAGE, PAGE), W(CQ(1) + 32, 16));
	nv_end(&w);
}

static void test_bad_lists(void **state)
{
	struct nvme_sqe e;
	uint64_t next = LIST + 2 * PAGE - 8;

	(void)state;
	begin_io(ENTRIES, "");
	e = rw(NVME_CMD_READ, 1, 1, DATA + 2, 0); /* PRP1 is of dwords */
	refused(1, &e, NVME_SC_PRP_OFFSET);
	e = rw(NVME_CMD_READ, 2, 16, DATA, DATA + PAGE + 512); /* PRP2 is a page */
	refused(1, &e, NVME_SC_PRP_OFFSET);
	e = rw(NVME_CMD_READ, 3, 24, DATA, LIST + 4); /* or a list, of quadwords */
	refused(1, &e, NVME_SC_PRP_OFFSET);
	e = rw(NVME_CMD_READ, 4, 24, DATA, LIST);
	fb_put_le64(mem(LIST, 8), DATA + PAGE);
	fb_put_le64(mem(LIST + 8, 8), DATA + PAGE + 8); /* its entries are pages */
	refused(1, &e, NVME_SC_PRP_OFFSET);
	e = rw(NVME_CMD_READ, 5, 24, DATA, LIST + PAGE - 8);
	fb_put_le64(mem(LIST + PAGE - 8, 8), LIST + 4); /* the rest of a list, too */
	refused(1, &e, NVME_SC_PRP_OFFSET);
	/* A list that leads to itself for ever is not followed for ever. */
	e = rw(NVME_CMD_READ, 6, 24, DATA, next);
	fb_put_le64(mem(next, 8), next);
	scripted_root_forget(w.r);
	refused(1, &e, NVME_SC_PRP_OFFSET);
	EXPECT_DMA(R(SQ(1) + 5 * 64, 64), R(next, 8), R(next, 8), R(next, 8), W(CQ(1) + 5 * 16, 16));
	/* Memory that is not there: the list, the data of a write. */
	e = rw(NVME_CMD_READ, 7, 24, DATA, NOWHERE);
	refused(1, &e, NVME_SC_DATA_TRANSFER_ERROR);
	e = rw(NVME_CMD_WRITE, 8, 1, NOWHERE, 0);
	refused(1, &e, NVME_SC_DATA_TRANSFER_ERROR);
	nv_end(&w);
}

static void test_refused(void **state)
{
	struct nvme_sqe e, seen;

	(void)state;
	begin_io(ENTRIES, "");
	e = command(0x55, 1, 0, 0);
	refused(1, &e, NVME_SC_INVALID_OPCODE);
	refused(0, &e, NVME_SC_INVALID_OPCODE);
	e = rw(NVME_CMD_READ, 2, 1, DATA, 0);
	e.flags = 0x40; /* an SGL */
	refused(1, &e, NVME_SC_INVALID_FIELD);
	e.flags = 0x80;
	refused(1, &e, NVME_SC_INVALID_FIELD);
	e = rw(NVME_CMD_WRITE, 3, VN_XFER / BLOCK + 1, DATA, LIST); /* more than MDTS */
	refused(1, &e, NVME_SC_INVALID_FIELD);
	e = rw(NVME_CMD_READ, 4, 1, DATA, 0);
	nvme_put32(&e.nsid, 2); /* that the guest has never identified */
	refused(1, &e, NVME_SC_INVALID_NAMESPACE);
	e = admin(NVME_ADM_SET_FEATURES, 5, DATA, 0x0d, 1); /* Host Memory Buffer */
	refused(0, &e, NVME_SC_INVALID_FIELD);
	e = admin(NVME_ADM_DBBUF_CONFIG, 6, DATA, 0, 0);
	refused(0, &e, NVME_SC_INVALID_OPCODE);
	e = admin(NVME_ADM_GET_LOG_PAGE, 7, DATA, 0xffff0002, 1);
	refused(0, &e, NVME_SC_INVALID_FIELD);
	/* Metadata in a buffer of its own; interleaved it is carried, and counts. */
	identify_namespace(0, 8);
	e = rw(NVME_CMD_READ, 8, 1, DATA, 0);
	refused(1, &e, NVME_SC_INVALID_FIELD);
	identify_namespace(0x10, 8);
	scripted_root_forget(w.r);
	carry(1, &e, &seen, 0, 0);
	EXPECT_DMA(R(SQ(1) + 6 * 64, 64), W(DATA, BLOCK + 8), W(CQ(1) + 6 * 16, 16));
	nv_end(&w);
}

/* ---- Order, queues ------------------------------------------------------------------------------------------ */

/* A fused pair stays one: the second command's data is there first, since the first one's has to be found by a list. */
static void test_fused(void **state)
{
	struct nvme_sqe compare = rw(NVME_CMD_COMPARE, 1, 24, DATA, LIST), write = rw(NVME_CMD_WRITE, 2, 1, DATA, 0), seen;
	unsigned first, second;

	(void)state;
	begin_io(ENTRIES, "");
	fb_put_le64(mem(LIST, 8), DATA + PAGE);
	fb_put_le64(mem(LIST + 8, 8), DATA + 2 * PAGE);
	compare.flags = 1;
	write.flags = 2;
	w.r->answer = ANSWER_NEVER;
	nv_submit(&w, 1, &compare);
	nv_submit(&w, 1, &write);
	nv_run(&w);
	scripted_root_answer_now(w.r, ANSWER_IN_ORDER);
	nv_run(&w);
	scripted_root_answer_now(w.r, ANSWER_IN_ORDER);
	give_nothing(1);
	scripted_root_answer_now(w.r, ANSWER_IN_ORDER);
	nv_run(&w);
	first = given(1, &compare, &seen);
	second = given(1, &write, &seen);
	/* Completions are posted in the server's order. */
	nv_complete(&w, 1, 1, second, NVME_SC_ABORT_REQUESTED, 0);
	nv_complete(&w, 1, 1, first, NVME_SC_COMPARE_FAILURE, 0);
	nv_run(&w);
	ended(1, 2, NVME_SC_ABORT_REQUESTED);
	ended(1, 1, NVME_SC_COMPARE_FAILURE);
	nv_end(&w);
}

/* Queues are gone round several times, the completion queue's phase with them; SQ head and interrupts are right. */
static void test_wrap(void **state)
{
	struct nvme_sqe e, seen;
	struct nvme_cqe c;

	(void)state;
	begin_io(5, "");
	for (unsigned i = 0; i < 23; i++) {
		e = rw(NVME_CMD_READ, i, 1, DATA, 0);
		nv_submit(&w, 1, &e);
		nv_run(&w);
		given(1, &e, &seen);
		nv_complete(&w, 1, 1, nvme_get16(seen.cid), 0, i);
		nv_run(&w);
		assert_true(nv_completion(&w, 1, &c));
		assert_int_equal(nvme_get16(c.cid), i);
		assert_int_equal(nvme_get32(c.dw0), i);
		assert_int_equal(nvme_get16(c.sqhd), (i + 1) % 5);
		ends_nothing(1);
		nv_seen(&w, 1);
		assert_int_equal(scripted_root_irqs(w.r, 1), i + 1);
	}
	/* Entries on both sides of the end: two reads. */
	for (unsigned i = 0; i < 4; i++) {
		e = rw(NVME_CMD_READ, i, 1, DATA, 0);
		memcpy(mem(SQ(1) + (3 + i) % 5 * 64, 64), &e, 64);
	}
	scripted_root_forget(w.r);
	nv_write(&w, NVME_REG_DBS + 8, 2, 4);
	nv_run(&w);
	EXPECT_DMA(R(SQ(1) + 3 * 64, 128), R(SQ(1), 128));
	for (unsigned i = 0; i < 4; i++)
		given(1, &e, &seen);
	nv_end(&w);
}

/* A completion queue that the guest does not empty holds size - 1 entries; the others wait, and none is lost. */
static void test_completion_queue_full(void **state)
{
	struct nvme_sqe e, seen;
	struct nvme_cqe c;

	(void)state;
	begin_io(ENTRIES, "");
	e = admin(NVME_ADM_CREATE_CQ, 1, CQ(2), 2 | 3 << 16, 1);
	carry(0, &e, &seen, 0, 0);
	w.guest_cq[2] = (struct nv_ring){.at = CQ(2), .size = 4, .phase = true};
	create_sq(2, ENTRIES);
	for (unsigned i = 0; i < 10; i++) {
		e = rw(NVME_CMD_READ, i, 1, DATA, 0);
		nv_submit(&w, 2, &e);
	}
	nv_run(&w);
	for (unsigned i = 0; i < 10; i++) {
		given(2, &e, &seen);
		nv_complete(&w, 2, 2, nvme_get16(seen.cid), 0, 0);
		nv_run(&w);
	}
	for (unsigned i = 0; i < 10; i++) {
		if (i % 3 == 0 && i > 0) {
			ends_nothing(2);
			nv_seen(&w, 2);
			nv_run(&w);
		}
		assert_true(nv_completion(&w, 2, &c));
		assert_int_equal(nvme_get16(c.cid), i);
	}
	assert_int_equal(scripted_root_irqs(w.r, 2), 0); /* IEN is 0 */
	nv_end(&w);
}

/* More commands than the pool has buffers: they wait in the guest's queue, and each has its turn. */
static void test_pool_is_full(void **state)
{
	struct nvme_sqe e, seen;
	unsigned ids[64], n = 0, ended_ = 0, slots;
	struct nvme_cqe c;

	(void)state;
	begin_io(128, ",buffers=16M");
	slots = w.n->n_free;
	assert_in_range(slots, 8, 60);
	for (unsigned i = 0; i < 100; i++) {
		e = rw(NVME_CMD_READ, i, 1, DATA, 0);
		nv_submit(&w, 1, &e);
	}
	nv_run(&w);
	while (nv_command(&w, 1, &seen))
		ids[n++] = nvme_get16(seen.cid);
	assert_int_equal(n, slots);
	assert_int_equal(w.n->n_free, 0);
	/* Admin commands have slots of their own. */
	e = admin(NVME_ADM_GET_FEATURES, 1, 0, NVME_FEAT_VWC, 0);
	carry(0, &e, &seen, 0, 0);
	while (n) {
		nv_complete(&w, 1, 1, ids[--n], 0, 0);
		nv_run(&w);
		while (nv_command(&w, 1, &seen))
			ids[n++] = nvme_get16(seen.cid);
		while (nv_completion(&w, 1, &c))
			ended_++;
		nv_seen(&w, 1);
	}
	assert_int_equal(ended_, 100);
	assert_int_equal(w.n->n_free, slots);
	nv_end(&w);
}

static void test_bad_doorbells(void **state)
{
	static const struct {
		unsigned offset;
		uint32_t value;
	} cases[] = {
		{8 * 2, 1}, {8 * 2 + 4, 1},         /* no such queue */
		{8, ENTRIES}, {8, 0xffff},          /* beyond the end */
		{8 + 4, ENTRIES}, {8 + 4, 1},       /* beyond it, and beyond the last entry that was posted */
		{8 * (VN_QUEUES + 1), 1}, {0x1ff8, 1}, {0x2ffc, 1},
	};

	(void)state;
	begin_io(ENTRIES, "");
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		nv_write(&w, NVME_REG_DBS + cases[i].offset, cases[i].value, 4);
		nv_run(&w);
		assert_int_equal(w.n->count.bad_doorbells, i + 1);
	}
	nv_write(&w, NVME_REG_DBS + 8, 1, 2); /* of no size that is defined: nothing */
	nv_run(&w);
	expect_dma(NULL, 0);
	nv_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registers),
		cmocka_unit_test(test_not_enabled),
		cmocka_unit_test(test_identify),
		cmocka_unit_test(test_create_refused),
		cmocka_unit_test(test_number_of_queues),
		cmocka_unit_test(test_write_and_read),
		cmocka_unit_test(test_list_chains),
		cmocka_unit_test(test_bad_lists),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_fused),
		cmocka_unit_test(test_wrap),
		cmocka_unit_test(test_completion_queue_full),
		cmocka_unit_test(test_pool_is_full),
		cmocka_unit_test(test_bad_doorbells),
	};

	fb_log_set_level(FB_LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
