/* SPDX-License-Identifier: Apache-2.0 */
/* Admin commands (5): queues, Abort, and the way to the others. */
#include <errno.h>

#include "devices/nvme.h"

enum {
	QUEUE_PC = 1u << 0,  /* CDW11: physically contiguous */
	QUEUE_IEN = 1u << 1, /* CDW11: interrupts enabled */
	IOSQES = 6,          /* log2 of the entry sizes */
	IOCQES = 4,
};

/* What Create SQ and Create CQ have in common. */
static bool queue_common(struct nvme_cmd *cmd, bool exists, unsigned qid, unsigned allocated, uint32_t entries)
{
	struct nvme *n = cmd->n;

	if (qid == 0 || qid > allocated || exists) {
		nvme_refuse(cmd, NVME_SC_INVALID_QID, 40);
	} else if (entries < 2 || entries > NVME_MQES + 1u) {
		nvme_refuse(cmd, NVME_SC_INVALID_QUEUE_SIZE, 42);
	} else if (!(nvme_get32(cmd->sqe.cdw11) & QUEUE_PC)) { /* CAP.CQR */
		nvme_refuse(cmd, NVME_SC_INVALID_FIELD, 44);
	} else if (nvme_get64(cmd->sqe.prp1) & (n->page_size - 1)) {
		nvme_refuse(cmd, NVME_SC_PRP_OFFSET, 24);
	} else if (nvme_cc_iosqes(n->cc) != IOSQES || nvme_cc_iocqes(n->cc) != IOCQES) {
		nvme_refuse(cmd, NVME_SC_INVALID_QUEUE_SIZE, 42);
	} else {
		return true;
	}
	return false;
}

static void create_cq(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->n;
	uint32_t cdw10 = nvme_get32(cmd->sqe.cdw10), cdw11 = nvme_get32(cmd->sqe.cdw11);
	unsigned qid = cdw10 & 0xffff, vector = cdw11 >> 16, vectors;
	uint32_t entries = (cdw10 >> 16) + 1;

	if (!queue_common(cmd, qid <= NVME_MAX_QUEUES && n->cq[qid].exists, qid, n->feat.n_cq, entries))
		return;
	switch (fb_irq_mode(n->dev)) {
	case FB_IRQ_MSIX:
		vectors = NVME_VECTORS;
		break;
	case FB_IRQ_MSI:
		vectors = 32;
		break;
	default:
		vectors = 1;
	}
	if (vector >= vectors && (cdw11 & QUEUE_IEN || vector >= NVME_VECTORS)) {
		nvme_refuse(cmd, NVME_SC_INVALID_VECTOR, 46);
		return;
	}
	if (nvme_cq_create(n, qid, entries, nvme_get64(cmd->sqe.prp1), vector, cdw11 & QUEUE_IEN)) {
		nvme_complete(cmd, NVME_SC_INTERNAL_ERROR);
		return;
	}
	nvme_complete(cmd, NVME_SC_SUCCESS);
}

static void create_sq(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->n;
	uint32_t cdw10 = nvme_get32(cmd->sqe.cdw10), cdw11 = nvme_get32(cmd->sqe.cdw11);
	unsigned qid = cdw10 & 0xffff, cqid = cdw11 >> 16;
	uint32_t entries = (cdw10 >> 16) + 1;

	if (!queue_common(cmd, qid <= NVME_MAX_QUEUES && n->sq[qid].exists, qid, n->feat.n_sq, entries))
		return;
	if (cqid == 0 || cqid > n->feat.n_cq) {
		nvme_refuse(cmd, NVME_SC_INVALID_QID, 46);
	} else if (!n->cq[cqid].exists) {
		nvme_refuse(cmd, NVME_SC_CQ_INVALID, 46);
	} else {
		nvme_sq_create(n, qid, cqid, entries, nvme_get64(cmd->sqe.prp1));
		if (!nvme_shadow_sq_begin(&n->sq[qid])) {
			nvme_sq_delete(&n->sq[qid]);
			nvme_complete(cmd, NVME_SC_INTERNAL_ERROR);
			return;
		}
		nvme_complete(cmd, NVME_SC_SUCCESS);
	}
}

static void delete_cq(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->n;
	unsigned qid = nvme_get32(cmd->sqe.cdw10) & 0xffff;

	if (qid == 0 || qid > NVME_MAX_QUEUES || !n->cq[qid].exists) {
		nvme_refuse(cmd, NVME_SC_INVALID_QID, 40);
	} else if (n->cq[qid].n_sqs) {
		nvme_refuse(cmd, NVME_SC_INVALID_QUEUE_DELETION, 40);
	} else {
		nvme_cq_delete(&n->cq[qid]);
		nvme_complete(cmd, NVME_SC_SUCCESS);
	}
}

/* Waits until the queue's commands have ended: those that wait for a buffer are aborted, the others run out. */
static void delete_sq(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->n;
	unsigned qid = nvme_get32(cmd->sqe.cdw10) & 0xffff;
	struct nvme_cmd *c, *next;
	struct nvme_sq *sq;

	if (qid == 0 || qid > NVME_MAX_QUEUES || !n->sq[qid].exists || n->sq[qid].deleting) {
		nvme_refuse(cmd, NVME_SC_INVALID_QID, 40);
		return;
	}
	sq = &n->sq[qid];
	for (c = TAILQ_FIRST(&sq->cmds); c; c = next) {
		next = TAILQ_NEXT(c, sq_link);
		if (c->state == NVME_CMD_WAITING)
			nvme_complete(c, NVME_SC_ABORT_SQ_DELETION);
	}
	sq->deleting = cmd;
	nvme_park(cmd);
	nvme_sq_drained(sq);
}

/* Only what has not begun to move data can be aborted (5.1): commands that wait, and event requests. */
static void abort_command(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->n;
	uint32_t cdw10 = nvme_get32(cmd->sqe.cdw10);
	unsigned qid = cdw10 & 0xffff, cid = cdw10 >> 16;
	struct nvme_cmd *c;

	cmd->dw0 = 1; /* not aborted */
	if (qid > NVME_MAX_QUEUES || !n->sq[qid].exists) {
		nvme_refuse(cmd, NVME_SC_INVALID_FIELD, 40);
		return;
	}
	TAILQ_FOREACH(c, &n->sq[qid].cmds, sq_link) {
		if (c != cmd && c->cid == cid && (c->state == NVME_CMD_WAITING || c->is_aer)) {
			nvme_complete(c, NVME_SC_ABORT_REQUESTED);
			cmd->dw0 = 0;
			break;
		}
	}
	nvme_complete(cmd, NVME_SC_SUCCESS);
}

void nvme_admin(struct nvme_cmd *cmd)
{
	if (cmd->sqe.flags & 3 ||
	    cmd->sqe.flags >> 6) { /* PRPs only: SGLs are not for admin commands over PCIe (4.4) */
		nvme_refuse(cmd, NVME_SC_INVALID_FIELD, 1);
		return;
	}
	switch (cmd->sqe.opc) {
	case NVME_ADM_DELETE_SQ:
		delete_sq(cmd);
		break;
	case NVME_ADM_CREATE_SQ:
		create_sq(cmd);
		break;
	case NVME_ADM_GET_LOG_PAGE:
		nvme_get_log_page(cmd);
		break;
	case NVME_ADM_DELETE_CQ:
		delete_cq(cmd);
		break;
	case NVME_ADM_CREATE_CQ:
		create_cq(cmd);
		break;
	case NVME_ADM_IDENTIFY:
		nvme_identify(cmd);
		break;
	case NVME_ADM_ABORT:
		abort_command(cmd);
		break;
	case NVME_ADM_SET_FEATURES:
		nvme_set_features(cmd);
		break;
	case NVME_ADM_GET_FEATURES:
		nvme_get_features(cmd);
		break;
	case NVME_ADM_ASYNC_EVENT:
		nvme_event_request(cmd);
		break;
	case NVME_ADM_DBBUF_CONFIG:
		nvme_dbbuf_config(cmd);
		break;
	case NVME_ADM_FORMAT:
		nvme_format(cmd);
		break;
	default:
		nvme_refuse(cmd, NVME_SC_INVALID_OPCODE, 0);
	}
}
