/* SPDX-License-Identifier: Apache-2.0 */
/* Admin commands: each with its results and each of its error statuses. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "inject.h"
#include "nvme_host.h"

static struct nvme_sqe queue(uint8_t opc, unsigned qid, unsigned entries, uint32_t cdw11, uint64_t addr)
{
	struct nvme_sqe sqe = host_cmd(opc, 0);

	nvme_put64(&sqe.prp1, addr);
	nvme_put32(&sqe.cdw10, (entries - 1) << 16 | qid);
	nvme_put32(&sqe.cdw11, cdw11);
	return sqe;
}

static void test_queue_commands(void **state)
{
	enum { CQ = NVME_ADM_CREATE_CQ, SQ = NVME_ADM_CREATE_SQ, DCQ = NVME_ADM_DELETE_CQ, DSQ = NVME_ADM_DELETE_SQ };
	static const struct {
		uint8_t opc;
		unsigned qid, entries;
		uint32_t cdw11;
		uint64_t addr;
		uint16_t status;
	} t[] = {
		/* Completion queues: PC and IEN in 1:0, vector in 31:16. */
		{CQ, 0, 16, 3, 0x100000, NVME_SC_INVALID_QID},
		{CQ, 9, 16, 3, 0x100000, NVME_SC_INVALID_QID}, /* queues=8 */
		{CQ, 0xffff, 16, 3, 0x100000, NVME_SC_INVALID_QID},
		{CQ, 1, 1, 3, 0x100000, NVME_SC_INVALID_QUEUE_SIZE},
		{CQ, 1, 4097, 3, 0x100000, NVME_SC_INVALID_QUEUE_SIZE},
		{CQ, 1, 16, 2, 0x100000, NVME_SC_INVALID_FIELD}, /* not contiguous */
		{CQ, 1, 16, 3, 0x100010, NVME_SC_PRP_OFFSET},
		{CQ, 1, 16, 65u << 16 | 3, 0x100000, NVME_SC_INVALID_VECTOR},
		{CQ, 1, 16, 0xffffu << 16 | 1, 0x100000, NVME_SC_INVALID_VECTOR},
		{CQ, 1, 4096, 64u << 16 | 3, 0x100000, 0},
		{CQ, 1, 16, 3, 0x200000, NVME_SC_INVALID_QID}, /* exists */
		/* Submission queues: completion queue in 31:16. */
		{SQ, 0, 16, 1u << 16 | 1, 0x200000, NVME_SC_INVALID_QID},
		{SQ, 9, 16, 1u << 16 | 1, 0x200000, NVME_SC_INVALID_QID},
		{SQ, 1, 1, 1u << 16 | 1, 0x200000, NVME_SC_INVALID_QUEUE_SIZE},
		{SQ, 1, 16, 1u << 16, 0x200000, NVME_SC_INVALID_FIELD},
		{SQ, 1, 16, 1u << 16 | 1, 0x200040, NVME_SC_PRP_OFFSET},
		{SQ, 1, 16, 0u << 16 | 1, 0x200000, NVME_SC_INVALID_QID},
		{SQ, 1, 16, 9u << 16 | 1, 0x200000, NVME_SC_INVALID_QID},
		{SQ, 1, 16, 2u << 16 | 1, 0x200000, NVME_SC_CQ_INVALID},
		{SQ, 1, 16, 1u << 16 | 1, 0x200000, 0},
		{SQ, 2, 16, 1u << 16 | 1, 0x210000, 0}, /* shares the completion queue */
		{SQ, 1, 16, 1u << 16 | 1, 0x220000, NVME_SC_INVALID_QID},
		/* Deletion. */
		{DCQ, 0, 1, 0, 0, NVME_SC_INVALID_QID},
		{DCQ, 2, 1, 0, 0, NVME_SC_INVALID_QID},
		{DCQ, 70, 1, 0, 0, NVME_SC_INVALID_QID},
		{DCQ, 1, 1, 0, 0, NVME_SC_INVALID_QUEUE_DELETION},
		{DSQ, 0, 1, 0, 0, NVME_SC_INVALID_QID},
		{DSQ, 3, 1, 0, 0, NVME_SC_INVALID_QID},
		{DSQ, 70, 1, 0, 0, NVME_SC_INVALID_QID},
		{DSQ, 1, 1, 0, 0, 0},
		{DCQ, 1, 1, 0, 0, NVME_SC_INVALID_QUEUE_DELETION},
		{DSQ, 2, 1, 0, 0, 0},
		{DCQ, 1, 1, 0, 0, 0},
		{DCQ, 1, 1, 0, 0, NVME_SC_INVALID_QID},
		{CQ, 1, 16, 3, 0x100000, 0}, /* and again */
	};
	struct host h;

	host_start(&h, 1 << 20, "queues=8", 0, 0);
	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		uint16_t got = host_status(&h, 0, queue(t[i].opc, t[i].qid, t[i].entries, t[i].cdw11, t[i].addr));

		if (got != t[i].status)
			fail_msg("line %u: status %03x, not %03x", i, got, t[i].status);
	}
	host_close(&h);

	/* With INTx there is one vector, with MSI there are 32. */
	host_open(&h, 1 << 20, "");
	h.dev->irq_mode = FB_IRQ_INTX;
	host_enable(&h, 16);
	assert_int_equal(host_status(&h, 0, queue(CQ, 1, 16, 1u << 16 | 3, 0x100000)), NVME_SC_INVALID_VECTOR);
	assert_int_equal(host_status(&h, 0, queue(CQ, 1, 16, 3, 0x100000)), 0);
	h.dev->irq_mode = FB_IRQ_MSI;
	assert_int_equal(host_status(&h, 0, queue(CQ, 2, 16, 32u << 16 | 3, 0x100000)), NVME_SC_INVALID_VECTOR);
	assert_int_equal(host_status(&h, 0, queue(CQ, 2, 16, 31u << 16 | 3, 0x100000)), 0);
	/* Entry sizes that were never set. */
	host_disable(&h);
	fake_write32(h.dev, NVME_REG_CC, NVME_CC_EN);
	fake_settle(h.dev);
	memset(&h.q[0].sq_tail, 0, sizeof(h.q[0]) - offsetof(struct host_queue, sq_tail));
	memset(host_mem(&h, h.q[0].cq), 0, 16 * 16);
	h.q[0].phase = true;
	assert_int_equal(host_status(&h, 0, queue(CQ, 1, 16, 3, 0x100000)), NVME_SC_INVALID_QUEUE_SIZE);
	host_close(&h);
}

/* The runtime is told of I/O submission queues, so that a root may send entries and small writes ahead. */
static void test_rings(void **state)
{
	struct nvme_sqe sqe;
	struct host h;

	host_start(&h, 1 << 20, "lba=4096", 1, 16);
	assert_int_equal(h.dev->ring[0].entries, 16);
	assert_int_equal(h.dev->ring[0].base, h.q[1].sq);
	assert_int_equal(h.dev->ring[0].reg, 0x1008); /* SQ1TDBL */
	assert_int_equal(h.dev->ring[0].entry_size, 64);
	assert_int_equal(h.dev->ring[0].match, NVME_CMD_WRITE);
	assert_int_equal(h.dev->ring[0].count_shift, 12);
	sqe = host_cmd(NVME_ADM_DELETE_SQ, 0);
	nvme_put32(&sqe.cdw10, 1);
	assert_int_equal(host_status(&h, 0, sqe), 0);
	assert_int_equal(h.dev->ring[0].entries, 0);
	host_pair(&h, 64, 32);
	assert_int_equal(h.dev->ring[63].entries, 32);
	host_disable(&h);
	assert_int_equal(h.dev->ring[63].entries, 0);
	host_close(&h);
}

static struct nvme_sqe identify(uint32_t cns, uint32_t nsid, uint64_t buf)
{
	struct nvme_sqe sqe = host_cmd(NVME_ADM_IDENTIFY, nsid);

	nvme_put32(&sqe.cdw10, cns);
	nvme_put64(&sqe.prp1, buf);
	return sqe;
}

static void test_identify(void **state)
{
	struct host h;
	uint8_t *p, uuid[16];
	char path[HOST_PATH], options[HOST_PATH + 32];
	uint64_t buf;
	int second;

	second = host_file(path, 8192);
	snprintf(options, sizeof(options), "file3=%s,serial=a", path);
	host_start(&h, 1 << 20, options, 0, 0);
	buf = host_alloc(&h, 8192, 4096) + 512; /* two pages */
	p = host_mem(&h, buf);

#define IDENTIFY(cns, nsid)                                                                                            \
	({                                                                                                             \
		struct nvme_sqe sqe_ = identify(cns, nsid, buf);                                                       \
		host_prp(&h, &sqe_, buf, 4096);                                                                        \
		memset(p, 0xee, 4096);                                                                                 \
		host_status(&h, 0, sqe_);                                                                              \
	})
	/* Active namespaces: 1 and 3. */
	assert_int_equal(IDENTIFY(NVME_CNS_NS_LIST, 0), 0);
	assert_int_equal(fb_get_le32(p), 1);
	assert_int_equal(fb_get_le32(p + 4), 3);
	assert_int_equal(fb_get_le32(p + 8), 0);
	assert_int_equal(IDENTIFY(NVME_CNS_NS_LIST, 1), 0);
	assert_int_equal(fb_get_le32(p), 3);
	assert_int_equal(IDENTIFY(NVME_CNS_ALLOCATED_LIST, 0), 0);
	assert_int_equal(fb_get_le32(p + 4), 3);
	assert_int_equal(IDENTIFY(NVME_CNS_NS_LIST, UINT32_MAX), NVME_SC_INVALID_NAMESPACE);
	assert_int_equal(IDENTIFY(NVME_CNS_NS_LIST, UINT32_MAX - 1), NVME_SC_INVALID_NAMESPACE);

	assert_int_equal(IDENTIFY(NVME_CNS_NS, 3), 0);
	assert_int_equal(fb_get_le64(p), 16);
	assert_int_equal(IDENTIFY(NVME_CNS_NS, 2), 0); /* inactive: zeros */
	assert_int_equal(fb_get_le64(p), 0);
	assert_int_equal(p[25], 0);
	assert_int_equal(IDENTIFY(NVME_CNS_NS, UINT32_MAX), 0);
	assert_int_equal(p[25], 1); /* two formats in common */
	assert_int_equal(IDENTIFY(NVME_CNS_NS, 0), NVME_SC_INVALID_NAMESPACE);
	assert_int_equal(IDENTIFY(NVME_CNS_NS, 4), NVME_SC_INVALID_NAMESPACE);
	assert_int_equal(IDENTIFY(NVME_CNS_ALLOCATED_NS, 3), 0);
	assert_int_equal(fb_get_le64(p), 16);

	assert_int_equal(IDENTIFY(NVME_CNS_NS_DESCRIPTORS, 1), 0);
	assert_int_equal(p[0], NVME_NIDT_UUID);
	assert_int_equal(p[1], 16);
	assert_int_equal(p[20], 0); /* the end of the list */
	memcpy(uuid, p + 4, 16);
	assert_int_equal(IDENTIFY(NVME_CNS_NS_DESCRIPTORS, 3), 0);
	assert_memory_not_equal(uuid, p + 4, 16);
	assert_int_equal(IDENTIFY(NVME_CNS_NS_DESCRIPTORS, 2), NVME_SC_INVALID_NAMESPACE);

	assert_int_equal(IDENTIFY(NVME_CNS_CTRL_LIST, 0), 0);
	assert_int_equal(fb_get_le16(p), 1);
	assert_int_equal(fb_get_le16(p + 2), 1);
	assert_int_equal(IDENTIFY(NVME_CNS_NS_CTRL_LIST, 3), 0);
	assert_int_equal(IDENTIFY(NVME_CNS_NS_CTRL_LIST, 2), NVME_SC_INVALID_NAMESPACE);
	assert_int_equal(IDENTIFY(NVME_CNS_CS_CTRL, 0), 0);
	assert_int_equal(IDENTIFY(0x42, 0), NVME_SC_INVALID_FIELD);
	host_close(&h);
	close(second);

	/* The same serial number: the same UUID, whatever the file. Another: another. */
	host_start(&h, 1 << 20, "serial=a", 0, 0);
	assert_memory_equal(h.n->ns[0].uuid, uuid, 16);
	host_close(&h);
	host_start(&h, 1 << 20, "serial=b", 0, 0);
	assert_memory_not_equal(h.n->ns[0].uuid, uuid, 16);
	host_close(&h);
}

/* ---- Features ------------------------------------------------------------------------------------ */

static struct nvme_sqe feature(uint8_t opc, uint32_t cdw10, uint32_t cdw11, uint32_t nsid)
{
	struct nvme_sqe sqe = host_cmd(opc, nsid);

	nvme_put32(&sqe.cdw10, cdw10);
	nvme_put32(&sqe.cdw11, cdw11);
	return sqe;
}

#define SET(fid, v) SC(host_do(&h, 0, feature(NVME_ADM_SET_FEATURES, fid, v, 0)).status)
#define GET(fid, v) host_do(&h, 0, feature(NVME_ADM_GET_FEATURES, fid, v, 0))

static void test_features(void **state)
{
	struct host_cqe c;
	struct host h;

	host_start(&h, 1 << 20, "queues=4", 0, 0);

	/* Number of queues: not after the first is made, and what is granted binds. */
	assert_int_equal(GET(NVME_FEAT_QUEUES, 0).dw0, 3u << 16 | 3);
	assert_int_equal(SET(NVME_FEAT_QUEUES, 0xffff), NVME_SC_INVALID_FIELD);
	assert_int_equal(SET(NVME_FEAT_QUEUES, 0xffff0000), NVME_SC_INVALID_FIELD);
	c = host_do(&h, 0, feature(NVME_ADM_SET_FEATURES, NVME_FEAT_QUEUES, 1u << 16 | 99, 0));
	assert_int_equal(SC(c.status), 0);
	assert_int_equal(c.dw0, 1u << 16 | 3);
	assert_int_equal(GET(NVME_FEAT_QUEUES, 0).dw0, 1u << 16 | 3);
	assert_int_equal(GET(NVME_FEAT_QUEUES | 1 << 8, 0).dw0, 3u << 16 | 3);
	host_pair(&h, 1, 16);
	assert_int_equal(SET(NVME_FEAT_QUEUES, 0), NVME_SC_COMMAND_SEQUENCE);
	assert_int_equal(host_status(&h, 0, queue(NVME_ADM_CREATE_CQ, 3, 16, 3, 0x100000)), NVME_SC_INVALID_QID);

	/* Plain ones: set, get, default. */
	assert_int_equal(GET(NVME_FEAT_ARBITRATION, 0).dw0, 5);
	assert_int_equal(SET(NVME_FEAT_ARBITRATION, 2), 0);
	assert_int_equal(GET(NVME_FEAT_ARBITRATION, 0).dw0, 2);
	assert_int_equal(GET(NVME_FEAT_ARBITRATION | 1 << 8, 0).dw0, 5);
	assert_int_equal(GET(NVME_FEAT_ARBITRATION | 2 << 8, 0).dw0, 5);
	assert_int_equal(GET(NVME_FEAT_ARBITRATION | 3 << 8, 0).dw0,
			 4); /* changeable, neither saved nor per namespace */
	assert_int_equal(SC(GET(NVME_FEAT_ARBITRATION | 4 << 8, 0).status), NVME_SC_INVALID_FIELD);
	assert_int_equal(SET(NVME_FEAT_ARBITRATION | 1u << 31, 2), NVME_SC_FEATURE_NOT_SAVEABLE);
	assert_int_equal(SC(host_do(&h, 0, feature(NVME_ADM_SET_FEATURES, NVME_FEAT_ARBITRATION, 0, 1)).status),
			 NVME_SC_FEATURE_NOT_NS_SPECIFIC);
	assert_int_equal(SET(NVME_FEAT_POWER, 0), 0);
	assert_int_equal(SET(NVME_FEAT_POWER, 1), NVME_SC_INVALID_FIELD);
	assert_int_equal(SET(NVME_FEAT_COALESCING, 0x1203), 0);
	assert_int_equal(GET(NVME_FEAT_COALESCING, 0).dw0, 0x1203);
	assert_int_equal(SET(NVME_FEAT_VECTOR, 1u << 16 | 5), 0);
	assert_int_equal(GET(NVME_FEAT_VECTOR, 5).dw0, 1u << 16 | 5);
	assert_int_equal(GET(NVME_FEAT_VECTOR, 6).dw0, 6);
	assert_int_equal(SET(NVME_FEAT_VECTOR, 65), NVME_SC_INVALID_FIELD);
	assert_int_equal(SC(GET(NVME_FEAT_VECTOR, 65).status), NVME_SC_INVALID_FIELD);
	assert_int_equal(SET(NVME_FEAT_ATOMICITY, 1), 0);
	assert_int_equal(GET(NVME_FEAT_ATOMICITY, 0).dw0, 1);
	assert_int_equal(SET(NVME_FEAT_VWC, 0), 0);
	assert_int_equal(GET(NVME_FEAT_VWC, 0).dw0, 0);
	assert_int_equal(GET(NVME_FEAT_VWC | 1 << 8, 0).dw0, 1);
	assert_int_equal(SET(0x0c, 0), NVME_SC_INVALID_FIELD);
	assert_int_equal(SC(GET(0xc0, 0).status), NVME_SC_INVALID_FIELD);

	/* Temperature: over and under, composite only. */
	assert_int_equal(GET(NVME_FEAT_TEMPERATURE, 0).dw0, 343);
	assert_int_equal(SET(NVME_FEAT_TEMPERATURE, 1u << 20 | 250), 0);
	assert_int_equal(GET(NVME_FEAT_TEMPERATURE, 1u << 20).dw0, 250);
	assert_int_equal(GET(NVME_FEAT_TEMPERATURE, 0).dw0, 343);
	assert_int_equal(SET(NVME_FEAT_TEMPERATURE, 1u << 16 | 250), NVME_SC_INVALID_FIELD);
	assert_int_equal(SET(NVME_FEAT_TEMPERATURE, 2u << 20 | 250), NVME_SC_INVALID_FIELD);

	/* Error recovery is a namespace's. */
	assert_int_equal(SET(NVME_FEAT_ERROR_RECOVERY, 7), NVME_SC_INVALID_NAMESPACE);
	assert_int_equal(SC(host_do(&h, 0, feature(NVME_ADM_SET_FEATURES, NVME_FEAT_ERROR_RECOVERY, 7, 1)).status), 0);
	assert_int_equal(host_do(&h, 0, feature(NVME_ADM_GET_FEATURES, NVME_FEAT_ERROR_RECOVERY, 0, 1)).dw0, 7);
	assert_int_equal(
		SC(host_do(&h, 0, feature(NVME_ADM_SET_FEATURES, NVME_FEAT_ERROR_RECOVERY, 1 << 16, 1)).status),
		NVME_SC_INVALID_FIELD);
	assert_int_equal(GET(NVME_FEAT_ERROR_RECOVERY | 3 << 8, 0).dw0, 6);

	/* A reset takes all back. */
	host_disable(&h);
	host_enable(&h, 16);
	assert_int_equal(GET(NVME_FEAT_ARBITRATION, 0).dw0, 5);
	assert_int_equal(GET(NVME_FEAT_COALESCING, 0).dw0, 0);
	assert_int_equal(GET(NVME_FEAT_VWC, 0).dw0, 1);
	assert_int_equal(GET(NVME_FEAT_QUEUES, 0).dw0, 3u << 16 | 3);
	host_close(&h);

	host_start(&h, 1 << 20, "cache=off", 0, 0);
	assert_int_equal(SC(GET(NVME_FEAT_VWC, 0).status), NVME_SC_INVALID_FIELD);
	host_close(&h);
}

static void test_feature_data(void **state)
{
	struct nvme_sqe sqe;
	struct host h;
	uint64_t buf;

	host_start(&h, 1 << 20, "", 0, 0);
	buf = host_alloc(&h, 4096, 4096);
	memcpy(host_mem(&h, buf), "0123456789abcdef", 16);
	sqe = feature(NVME_ADM_SET_FEATURES, NVME_FEAT_HOST_ID, 1, 0);
	nvme_put64(&sqe.prp1, buf);
	assert_int_equal(host_status(&h, 0, sqe), 0);
	sqe.opc = NVME_ADM_GET_FEATURES;
	nvme_put64(&sqe.prp1, buf + 512);
	assert_int_equal(host_status(&h, 0, sqe), 0);
	assert_memory_equal(host_mem(&h, buf + 512), "0123456789abcdef", 17);
	nvme_put32(&sqe.cdw11, 0);
	nvme_put64(&sqe.prp1, buf + 1024);
	assert_int_equal(host_status(&h, 0, sqe), 0);
	assert_memory_equal(host_mem(&h, buf + 1024), "01234567\0", 9);

	/* The clock goes on from what was set. */
	fb_put_le64(host_mem(&h, buf), 1000000);
	sqe = feature(NVME_ADM_SET_FEATURES, NVME_FEAT_TIMESTAMP, 0, 0);
	nvme_put64(&sqe.prp1, buf);
	assert_int_equal(host_status(&h, 0, sqe), 0);
	fake_advance(h.dev, UINT64_C(5000000000));
	sqe.opc = NVME_ADM_GET_FEATURES;
	assert_int_equal(host_status(&h, 0, sqe), 0);
	assert_in_range(fb_get_le64(host_mem(&h, buf)) & 0xffffffffffff, 1005000, 1015000);
	assert_int_equal(host_mem(&h, buf)[6], 2);
	host_close(&h);
}

/* ---- Logs ---------------------------------------------------------------------------------------- */

static struct nvme_sqe get_log(uint8_t lid, uint32_t dwords, uint64_t offset, uint64_t buf, bool retain, uint32_t nsid)
{
	struct nvme_sqe sqe = host_cmd(NVME_ADM_GET_LOG_PAGE, nsid);

	nvme_put32(&sqe.cdw10, (dwords - 1) << 16 | (uint32_t)retain << 15 | lid);
	nvme_put32(&sqe.cdw11, (dwords - 1) >> 16);
	nvme_put32(&sqe.cdw12, (uint32_t)offset);
	nvme_put32(&sqe.cdw13, (uint32_t)(offset >> 32));
	nvme_put64(&sqe.prp1, buf);
	return sqe;
}

static void test_logs(void **state)
{
	struct nvme_error_entry *e;
	struct nvme_smart_log *smart;
	struct nvme_sqe sqe;
	struct host h;
	uint64_t buf, data;
	uint8_t *p;

	host_start(&h, 1 << 20, "firmware=2.5,mdts=4K", 1, 16);
	buf = host_alloc(&h, 4096, 4096);
	data = host_alloc(&h, 4096, 4096);
	p = host_mem(&h, buf);

	/* Errors: the latest first, with what identifies the command. */
	assert_int_equal(host_status(&h, 0, get_log(NVME_LOG_ERROR, 1024, 0, buf, false, 0)), 0);
	assert_int_equal(fb_get_le64(p), 0);
	assert_int_equal(host_status(&h, 1, host_rw(NVME_CMD_READ, 1, 1 << 30, 8, data, 0)), NVME_SC_LBA_RANGE);
	assert_int_equal(host_status(&h, 1, host_rw(0x7f, 1, 0, 8, data, 0)), NVME_SC_INVALID_OPCODE);
	assert_int_equal(host_status(&h, 0, get_log(NVME_LOG_ERROR, 1024, 0, buf, false, UINT32_MAX)), 0);
	e = (struct nvme_error_entry *)(void *)p;
	assert_int_equal(nvme_get64(e[0].error_count), 2);
	assert_int_equal(nvme_get16(e[0].status) >> 1 & 0x7ff, NVME_SC_INVALID_OPCODE);
	assert_int_equal(nvme_get16(e[0].location), 0);
	assert_int_equal(nvme_get64(e[1].error_count), 1);
	assert_int_equal(nvme_get16(e[1].sqid), 1);
	assert_int_equal(nvme_get16(e[1].status) >> 1 & 0x7ff, NVME_SC_LBA_RANGE);
	assert_int_equal(nvme_get64(e[1].lba), 1 << 30);
	assert_int_equal(nvme_get32(e[1].nsid), 1);
	assert_int_equal(nvme_get16(e[1].location), 40);
	assert_int_equal(nvme_get64(e[2].error_count), 0);
	/* From the middle, beyond the end, and 100 errors in 64 entries. */
	assert_int_equal(host_status(&h, 0, get_log(NVME_LOG_ERROR, 16, 64, buf, true, 0)), 0);
	assert_int_equal(nvme_get64(e[0].error_count), 1);
	memset(p, 0xee, 4096);
	assert_int_equal(host_status(&h, 0, get_log(NVME_LOG_ERROR, 32, 4032, buf, true, 0)), 0);
	assert_int_equal(fb_get_le64(p + 64), 0);
	assert_int_equal(p[128], 0xee);
	for (unsigned i = 0; i < 98; i++)
		host_do(&h, 1, host_rw(0x7f, 1, 0, 8, data, 0));
	assert_int_equal(host_status(&h, 0, get_log(NVME_LOG_ERROR, 1024, 0, buf, false, 0)), 0);
	assert_int_equal(nvme_get64(e[0].error_count), 100);
	assert_int_equal(nvme_get64(e[63].error_count), 37);

	/* SMART counts what was done. */
	for (unsigned i = 0; i < 300; i++)
		host_do(&h, 1, host_rw(NVME_CMD_READ, 1, 0, 8, data, 0));
	for (unsigned i = 0; i < 200; i++)
		host_do(&h, 1, host_rw(NVME_CMD_WRITE, 1, 0, 8, data, 0));
	fake_advance(h.dev, UINT64_C(7200) * 1000000000);
	assert_int_equal(host_status(&h, 0, get_log(NVME_LOG_SMART, 128, 0, buf, false, UINT32_MAX)), 0);
	smart = (struct nvme_smart_log *)(void *)p;
	assert_int_equal(fb_get_le64(smart->data_units_read.b), 3); /* 2,400 units of 512, in thousands, rounded up */
	assert_int_equal(fb_get_le64(smart->data_units_written.b), 2);
	assert_int_equal(fb_get_le64(smart->host_reads.b), 300);
	assert_int_equal(fb_get_le64(smart->host_writes.b), 200);
	assert_int_equal(fb_get_le64(smart->power_on_hours.b), 2);
	assert_int_equal(fb_get_le64(smart->power_cycles.b), 1);
	assert_int_equal(fb_get_le64(smart->num_err_log_entries.b), 100);
	assert_int_equal(fb_get_le64(smart->media_errors.b), 0);
	assert_int_equal(smart->critical_warning, 0);
	assert_int_equal(smart->avail_spare, 100);
	assert_int_equal(nvme_get16(smart->composite_temperature), NVME_TEMPERATURE);
	assert_int_equal(host_status(&h, 0, get_log(NVME_LOG_SMART, 128, 0, buf, false, 1)), 0);
	assert_int_equal(fb_get_le64(smart->host_reads.b), 300);
	assert_int_equal(host_status(&h, 0, get_log(NVME_LOG_SMART, 128, 0, buf, false, 2)), NVME_SC_INVALID_NAMESPACE);

	assert_int_equal(host_status(&h, 0, get_log(NVME_LOG_FIRMWARE, 128, 0, buf, false, 0)), 0);
	assert_int_equal(p[0], 1);
	assert_memory_equal(p + 8, "2.5     \0", 9);
	assert_int_equal(host_status(&h, 0, get_log(NVME_LOG_EFFECTS, 1024, 0, buf, false, 0)), 0);
	assert_int_equal(fb_get_le32(p + 4 * NVME_ADM_IDENTIFY), 1);
	assert_int_equal(fb_get_le32(p + 1024 + 4 * NVME_CMD_WRITE), 3);
	assert_int_equal(fb_get_le32(p + 1024 + 4 * 4), 0); /* Write Uncorrectable: not implemented */
	assert_int_equal(host_status(&h, 0, get_log(NVME_LOG_CHANGED_NS, 1024, 0, buf, false, 0)), 0);
	assert_int_equal(fb_get_le32(p), 0);

	/* What is refused. */
	assert_int_equal(host_status(&h, 0, get_log(0x00, 128, 0, buf, false, 0)), NVME_SC_INVALID_LOG_PAGE);
	assert_int_equal(host_status(&h, 0, get_log(0x70, 128, 0, buf, false, 0)), NVME_SC_INVALID_LOG_PAGE);
	assert_int_equal(host_status(&h, 0, get_log(NVME_LOG_SMART, 128, 2, buf, false, 0)), NVME_SC_INVALID_FIELD);
	assert_int_equal(host_status(&h, 0, get_log(NVME_LOG_SMART, 128, 516, buf, false, 0)), NVME_SC_INVALID_FIELD);
	assert_int_equal(host_status(&h, 0, get_log(NVME_LOG_SMART, 128, UINT64_C(1) << 32, buf, false, 0)),
			 NVME_SC_INVALID_FIELD);
	assert_int_equal(host_status(&h, 0, get_log(NVME_LOG_FIRMWARE, 128, 0, buf, false, 1)), NVME_SC_INVALID_FIELD);
	sqe = get_log(NVME_LOG_SMART, 1025, 0, buf, false, 0);
	assert_int_equal(host_status(&h, 0, sqe), NVME_SC_INVALID_FIELD); /* more than MDTS */
	nvme_put32(&sqe.cdw11, 0xffff);
	assert_int_equal(host_status(&h, 0, sqe), NVME_SC_INVALID_FIELD); /* 16 GiB */
	host_close(&h);
}

/* ---- Asynchronous events, Abort ------------------------------------------------------------------- */

static void test_events(void **state)
{
	struct host_cqe cqe;
	struct host h;
	uint64_t buf;
	uint16_t cid;

	host_start(&h, 1 << 20, "", 1, 16);
	buf = host_alloc(&h, 4096, 4096);
	/* No more requests than the limit. */
	for (unsigned i = 0; i < NVME_AERS; i++)
		cid = host_put(&h, 0, host_cmd(NVME_ADM_ASYNC_EVENT, 0));
	(void)cid;
	assert_int_equal(host_status(&h, 0, host_cmd(NVME_ADM_ASYNC_EVENT, 0)), NVME_SC_AER_LIMIT);

	/* A doorbell of no queue, then a wrong value; the second waits until the log is read. */
	fake_write32(h.dev, NVME_REG_DBS + 8 * 5, 1);
	cqe = host_wait(&h, 0);
	assert_int_equal(cqe.dw0, 0x010000);
	fake_write32(h.dev, NVME_REG_DBS + 8, 16);
	fake_settle(h.dev);
	assert_false(host_take(&h, 0, &cqe));
	assert_int_equal(host_status(&h, 0, get_log(NVME_LOG_ERROR, 16, 0, buf, true, 0)), 0); /* retained */
	fake_settle(h.dev);
	assert_false(host_take(&h, 0, &cqe));
	{
		struct nvme_sqe sqe = get_log(NVME_LOG_ERROR, 16, 0, buf, false, 0);

		host_put(&h, 0, sqe);
		host_ring(&h, 0);
	}
	cqe = host_wait(&h, 0);
	assert_int_equal(cqe.dw0, 0x010100); /* the event comes first: reading the log let it out */
	cqe = host_wait(&h, 0);
	assert_int_equal(SC(cqe.status), 0);

	/* Temperature: silent until asked for. */
	assert_int_equal(SET(NVME_FEAT_TEMPERATURE, NVME_TEMPERATURE - 10), 0);
	assert_int_equal(host_status(&h, 0, get_log(NVME_LOG_SMART, 128, 0, buf, false, 0)), 0);
	assert_int_equal(host_mem(&h, buf)[0], 2);
	host_put(&h, 0,
		 feature(NVME_ADM_SET_FEATURES, NVME_FEAT_EVENTS, NVME_AEC_TEMPERATURE | NVME_AEC_NS_ATTRIBUTE, 0));
	host_ring(&h, 0);
	cqe = host_wait(&h, 0);
	assert_int_equal(cqe.dw0, 0x020101);
	cqe = host_wait(&h, 0);
	assert_int_equal(GET(NVME_FEAT_EVENTS, 0).dw0, NVME_AEC_TEMPERATURE | NVME_AEC_NS_ATTRIBUTE);

	/* The file grows: the namespace does. */
	assert_int_equal(truncate(h.path, 2 << 20), 0);
	fake_advance(h.dev, UINT64_C(3000000000));
	cqe = host_wait(&h, 0);
	assert_int_equal(cqe.dw0, 0x040002);
	assert_int_equal(host_status(&h, 0, get_log(NVME_LOG_CHANGED_NS, 1024, 0, buf, false, 0)), 0);
	assert_int_equal(fb_get_le32(host_mem(&h, buf)), 1);
	assert_int_equal(host_status(&h, 0, get_log(NVME_LOG_CHANGED_NS, 1024, 0, buf, false, 0)), 0);
	assert_int_equal(fb_get_le32(host_mem(&h, buf)), 0);
	assert_int_equal(host_status(&h, 1, host_rw(NVME_CMD_READ, 1, 4095, 1, buf, 0)), 0);
	host_close(&h);
}

static struct nvme_sqe abort_of(unsigned sqid, unsigned cid)
{
	struct nvme_sqe sqe = host_cmd(NVME_ADM_ABORT, 0);

	nvme_put32(&sqe.cdw10, cid << 16 | sqid);
	return sqe;
}

static void test_abort(void **state)
{
	struct host_cqe cqe, own;
	struct inject inj;
	struct host h;
	uint64_t buf;
	uint16_t cid[8];

	/* Room for four transfers of 1 MiB only: more of them wait, and what waits can be aborted. */
	host_start(&h, 4 << 20, "mdts=1M,buffers=1M", 1, 16);
	buf = host_alloc(&h, 1 << 20, 4096);
	inject_into(&inj, &h.n->aio);
	inj.hold = true;
	for (unsigned i = 0; i < 8; i++) {
		struct nvme_sqe sqe = host_rw(NVME_CMD_COMPARE, 1, 0, 2048, 0, 0);

		host_prp(&h, &sqe, buf, 1 << 20);
		cid[i] = host_put(&h, 1, sqe);
	}
	host_ring(&h, 1);
	fake_settle(h.dev);
	own = host_do(&h, 0, abort_of(1, cid[7]));
	assert_int_equal(SC(own.status), 0);
	assert_int_equal(own.dw0 & 1, 0);
	cqe = host_wait(&h, 1);
	assert_int_equal(cqe.cid, cid[7]);
	assert_int_equal(SC(cqe.status), NVME_SC_ABORT_REQUESTED);
	assert_int_equal(cqe.status & NVME_SC_DNR, 0);
	/* One that has begun runs on; one that is not there; a queue that is not there. */
	assert_int_equal(host_do(&h, 0, abort_of(1, cid[0])).dw0 & 1, 1);
	assert_int_equal(host_do(&h, 0, abort_of(1, 0x7777)).dw0 & 1, 1);
	assert_int_equal(host_status(&h, 0, abort_of(9, 0)), NVME_SC_INVALID_FIELD);
	assert_int_equal(host_status(&h, 0, abort_of(900, 0)), NVME_SC_INVALID_FIELD);
	inject_release(&inj);
	for (unsigned i = 0; i < 7; i++)
		assert_int_equal(SC(host_wait(&h, 1).status), 0);
	assert_true(h.n->buffer_waits >= 4);
	/* An event request. */
	cid[0] = host_put(&h, 0, host_cmd(NVME_ADM_ASYNC_EVENT, 0));
	host_ring(&h, 0);
	fake_settle(h.dev);
	host_put(&h, 0, abort_of(0, cid[0]));
	host_ring(&h, 0);
	cqe = host_wait(&h, 0);
	assert_int_equal(cqe.cid, cid[0]);
	assert_int_equal(SC(cqe.status), NVME_SC_ABORT_REQUESTED);
	assert_int_equal(SC(host_wait(&h, 0).status), 0);
	host_close(&h);
}

static void test_unknown(void **state)
{
	static const uint8_t opcodes[] = {0x0d, 0x10, 0x11, 0x14, 0x15, 0x18, 0x19,
					  0x1a, 0x1c, 0x7c, 0x81, 0x82, 0x84, 0xc0};
	struct nvme_sqe sqe;
	struct host_cqe cqe;
	struct host h;

	host_start(&h, 1 << 20, "", 0, 0);
	for (unsigned i = 0; i < sizeof(opcodes); i++) {
		cqe = host_do(&h, 0, host_cmd(opcodes[i], 0));
		assert_int_equal(SC(cqe.status), NVME_SC_INVALID_OPCODE);
		assert_true(cqe.status & NVME_SC_DNR);
	}
	sqe = host_cmd(NVME_ADM_IDENTIFY, 0);
	sqe.flags = 1; /* first of a fused pair */
	assert_int_equal(host_status(&h, 0, sqe), NVME_SC_INVALID_FIELD);
	host_close(&h);
}

/* ---- Format NVM --------------------------------------------------------------------------------------- */

static struct nvme_sqe format(uint32_t nsid, uint32_t cdw10)
{
	struct nvme_sqe sqe = host_cmd(NVME_ADM_FORMAT, nsid);

	nvme_put32(&sqe.cdw10, cdw10);
	return sqe;
}

static void test_format(void **state)
{
	struct host_cqe cqe;
	struct inject inj;
	struct stat st;
	struct host h;
	uint64_t buf;
	uint16_t cid;

	host_start(&h, 1 << 20, "", 1, 16);
	buf = host_alloc(&h, 8192, 4096);
	inject_into(&inj, &h.n->aio);
	memset(host_mem(&h, buf), 0xaa, 4096);
	assert_int_equal(host_status(&h, 1, host_rw(NVME_CMD_WRITE, 1, 0, 8, buf, 0)), 0);
	assert_int_equal(host_status(&h, 0, format(2, 0)), NVME_SC_INVALID_NAMESPACE);
	assert_int_equal(host_status(&h, 0, format(1, 2)), NVME_SC_INVALID_FORMAT);      /* LBAF 2 */
	assert_int_equal(host_status(&h, 0, format(1, 1 << 4)), NVME_SC_INVALID_FORMAT); /* metadata */
	assert_int_equal(host_status(&h, 0, format(1, 1 << 5)), NVME_SC_INVALID_FORMAT); /* protection information */
	assert_int_equal(host_status(&h, 0, format(1, 2 << 9)), NVME_SC_INVALID_FORMAT); /* cryptographic erase */
	assert_int_equal(stat(h.path, &st), 0);
	assert_true(st.st_blocks > 0);

	/* While a read is under way the format waits, and new commands are told so. */
	inj.hold = true;
	cid = host_put(&h, 1, host_rw(NVME_CMD_READ, 1, 0, 8, buf, 0));
	host_ring(&h, 1);
	fake_settle(h.dev);
	host_put(&h, 0, format(1, 1));
	host_ring(&h, 0);
	fake_settle(h.dev);
	assert_false(host_take(&h, 0, &cqe));
	assert_int_equal(inj.seen[FB_AIO_FALLOCATE], 0); /* not even begun */
	assert_int_equal(host_status(&h, 1, host_rw(NVME_CMD_READ, 1, 0, 8, buf, 0)), NVME_SC_FORMAT_IN_PROGRESS);
	assert_int_equal(host_status(&h, 0, format(1, 0)), NVME_SC_FORMAT_IN_PROGRESS);
	inject_release(&inj);
	cqe = host_wait(&h, 1);
	assert_int_equal(cqe.cid, cid);
	assert_int_equal(SC(host_wait(&h, 0).status), 0);

	/* Blocks of 4 KiB, all zero, no space. */
	assert_int_equal(h.n->ns[0].lbads, 12);
	assert_int_equal(host_status(&h, 1, host_rw(NVME_CMD_READ, 1, 256, 1, buf, 0)), NVME_SC_LBA_RANGE);
	assert_int_equal(host_status(&h, 1, host_rw(NVME_CMD_READ, 1, 0, 1, buf, 0)), 0);
	for (unsigned i = 0; i < 4096; i++)
		assert_int_equal(host_mem(&h, buf)[i], 0);
	assert_int_equal(stat(h.path, &st), 0);
	assert_int_equal(st.st_blocks, 0);
	assert_true(h.n->ns[0].changed);

	/* Back, all namespaces, with erase. */
	assert_int_equal(host_status(&h, 0, format(UINT32_MAX, 1 << 9)), 0);
	assert_int_equal(h.n->ns[0].lbads, 9);
	/* Erase where holes cannot be punched: zeros are written. */
	memset(host_mem(&h, buf), 0xaa, 4096);
	assert_int_equal(host_status(&h, 1, host_rw(NVME_CMD_WRITE, 1, 2040, 8, buf, 0)), 0);
	inj.fail[FB_AIO_FALLOCATE] = -EOPNOTSUPP;
	assert_int_equal(host_status(&h, 0, format(1, 1 << 9 | 1)), 0);
	assert_int_equal(host_status(&h, 1, host_rw(NVME_CMD_READ, 1, 255, 1, buf, 0)), 0);
	for (unsigned i = 0; i < 4096; i++)
		assert_int_equal(host_mem(&h, buf)[i], 0);
	/* A format that fails says so, and the namespace works on. */
	inj.fail[FB_AIO_FALLOCATE] = -EIO;
	assert_int_equal(host_status(&h, 0, format(1, 0)), NVME_SC_WRITE_FAULT);
	assert_int_equal(h.n->ns[0].lbads, 12);
	inj.fail[FB_AIO_FALLOCATE] = 0;
	assert_int_equal(host_status(&h, 1, host_rw(NVME_CMD_READ, 1, 0, 1, buf, 0)), 0);
	host_close(&h);

	host_start(&h, 1 << 20, "readonly=on", 0, 0);
	assert_int_equal(host_status(&h, 0, format(1, 1)), NVME_SC_NS_WRITE_PROTECTED);
	host_close(&h);

	/* A format that still waits when the controller is reset erases nothing any more. */
	host_start(&h, 1 << 20, "", 1, 16);
	buf = host_alloc(&h, 8192, 4096);
	inject_into(&inj, &h.n->aio);
	inj.hold = true;
	host_put(&h, 1, host_rw(NVME_CMD_READ, 1, 0, 8, buf, 0));
	host_ring(&h, 1);
	fake_settle(h.dev);
	host_put(&h, 0, format(1, 1));
	host_ring(&h, 0);
	fake_settle(h.dev);
	assert_true(h.n->ns[0].formatting);
	fake_write32(h.dev, NVME_REG_CC, 0);
	inject_release(&inj);
	fake_settle(h.dev);
	assert_false(h.n->ns[0].formatting);
	assert_int_equal(inj.seen[FB_AIO_FALLOCATE], 0);
	host_close(&h);

	/* A file of 512-byte blocks that is no multiple of 4 KiB cannot take those: the box would not open it again. */
	host_start(&h, (1 << 20) + 512, "", 0, 0);
	assert_int_equal(host_status(&h, 0, format(1, 1)), NVME_SC_INVALID_FORMAT);
	assert_int_equal(host_status(&h, 0, format(UINT32_MAX, 1)), NVME_SC_INVALID_FORMAT);
	assert_int_equal(host_status(&h, 0, format(1, 0)), 0);
	assert_int_equal(h.n->ns[0].lbads, 9);
	host_close(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_queue_commands), cmocka_unit_test(test_rings),        cmocka_unit_test(test_identify),
		cmocka_unit_test(test_features),       cmocka_unit_test(test_feature_data), cmocka_unit_test(test_logs),
		cmocka_unit_test(test_events),         cmocka_unit_test(test_abort),        cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_format),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
