/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What commands carry, by NVMe Base 1.4 to 2.0 and the NVM, zoned and key
 * opcodes of their command sets: the length of a command's data is in none of
 * its fields that all commands have. Bits 1:0 of the opcode say the direction.
 */
#include <string.h>

#include "devices/vfio_user_nvme.h"

enum { /* beside those of nvme_wire.h */
	ADM_NS_MANAGEMENT = 0x0d,
	ADM_FW_COMMIT = 0x10,
	ADM_FW_DOWNLOAD = 0x11,
	ADM_SELF_TEST = 0x14,
	ADM_NS_ATTACH = 0x15,
	ADM_KEEP_ALIVE = 0x18,
	ADM_DIRECTIVE_SEND = 0x19,
	ADM_DIRECTIVE_RECEIVE = 0x1a,
	ADM_SECURITY_SEND = 0x81,
	ADM_SECURITY_RECEIVE = 0x82,
	ADM_SANITIZE = 0x84,

	CMD_WRITE_UNCORRECTABLE = 0x04,
	CMD_RESERVATION_REGISTER = 0x0d,
	CMD_RESERVATION_REPORT = 0x0e,
	CMD_RESERVATION_ACQUIRE = 0x11,
	CMD_RESERVATION_RELEASE = 0x15,
	CMD_COPY = 0x19,
	CMD_ZONE_MGMT_SEND = 0x79,
	CMD_ZONE_MGMT_RECEIVE = 0x7a,
	CMD_ZONE_APPEND = 0x7d,

	FEAT_LBA_RANGE = 0x03,
	FEAT_APST = 0x0c,
	FEAT_HOST_MEMORY = 0x0d,
	FEAT_KEEP_ALIVE = 0x0f,
	FEAT_HCTM = 0x10,
	FEAT_NON_OPERATIONAL = 0x11,
	FEAT_RECOVERY_LEVEL = 0x12,
	FEAT_HOST_BEHAVIOR = 0x16,
	FEAT_SANITIZE = 0x17,
	FEAT_COMMAND_SETS = 0x19,
	FEAT_RESERVATION_MASK = 0x82,
	FEAT_RESERVATION_PERSIST = 0x83,
	FEAT_WRITE_PROTECT = 0x84,
	SELECT_SUPPORTED = 3,

	OACS_MI = 1 << 6, OACS_VIRTUALIZATION = 1 << 7, OACS_DOORBELLS = 1 << 8,
	RW_PRACT = 1 << 29,
	FLAGS_PSDT = 0xc0,
};

/* ---- Namespaces: how large a block is ------------------------------------------------------- */

static struct vn_namespace *namespace_of(struct vn *n, uint32_t nsid)
{
	for (unsigned i = 0; i < n->n_ns; i++) {
		if (n->ns[i].nsid == nsid)
			return &n->ns[i];
	}
	return NULL;
}

static void learn_namespace(struct vn *n, uint32_t nsid, const struct nvme_id_ns *id)
{
	struct vn_namespace *ns = namespace_of(n, nsid);
	unsigned format = (id->flbas & 15u) | (id->flbas >> 1 & 0x30u);
	/* Formats from 16 on follow where revision 1.4 has a reserved field. */
	struct nvme_lbaf lbaf;

	memcpy(&lbaf, (const uint8_t *)id + offsetof(struct nvme_id_ns, lbaf) + format * sizeof(lbaf), sizeof(lbaf));
	if (!ns && n->n_ns < VN_NAMESPACES)
		ns = &n->ns[n->n_ns++];
	if (!ns) {
		vu_complain(n->v, "namespace %u is one too many: %u are carried", nsid, VN_NAMESPACES);
		return;
	}
	*ns = (struct vn_namespace){.nsid = nsid};
	if (nvme_get64(id->nsze) == 0 || lbaf.lbads < 9 || lbaf.lbads > 16)
		return;
	ns->block = 1u << lbaf.lbads;
	ns->metadata = nvme_get16(lbaf.ms);
	ns->separate = ns->metadata && !(id->flbas & 0x10);
}

static uint16_t blocks(struct vn_slot *s)
{
	const struct vn_namespace *ns = namespace_of(s->n, nvme_get32(s->sqe.nsid));
	uint32_t cdw12 = nvme_get32(s->sqe.cdw12);
	uint64_t block;

	if (!ns || !ns->block) {
		vu_complain(s->n->v, "namespace %u is used, but was not identified before", nvme_get32(s->sqe.nsid));
		return NVME_SC_INVALID_NAMESPACE;
	}
	if (ns->separate)
		return NVME_SC_INVALID_FIELD;
	/* Protection information of 8 bytes is made and checked by the controller when PRACT says so. */
	block = ns->block + (cdw12 & RW_PRACT && ns->metadata == 8 ? 0u : ns->metadata);
	block *= (cdw12 & 0xffff) + 1;
	if (block > VN_XFER)
		return NVME_SC_INVALID_FIELD;
	s->len = (uint32_t)block;
	return 0;
}

/* ---- Lengths ----------------------------------------------------------------------------------- */

static uint16_t bytes(struct vn_slot *s, uint64_t len)
{
	if (len > VN_XFER)
		return NVME_SC_INVALID_FIELD;
	s->len = (uint32_t)len;
	return 0;
}

static uint16_t dwords(struct vn_slot *s, uint64_t zero_based)
{
	return bytes(s, 4 * (zero_based + 1));
}

static uint16_t feature(struct vn_slot *s)
{
	uint32_t cdw10 = nvme_get32(s->sqe.cdw10);

	if (s->sqe.opc == NVME_ADM_GET_FEATURES && (cdw10 >> 8 & 7) == SELECT_SUPPORTED)
		return 0;
	switch (cdw10 & 0xff) {
	case FEAT_LBA_RANGE:
		return bytes(s, 4096);
	case FEAT_APST:
		return bytes(s, 256);
	case NVME_FEAT_TIMESTAMP:
		return bytes(s, 8);
	case FEAT_HOST_BEHAVIOR:
		return bytes(s, 512);
	case NVME_FEAT_HOST_ID:
		return bytes(s, nvme_get32(s->sqe.cdw11) & 1 ? 16 : 8);
	case NVME_FEAT_ARBITRATION:
	case NVME_FEAT_POWER:
	case NVME_FEAT_TEMPERATURE:
	case NVME_FEAT_ERROR_RECOVERY:
	case NVME_FEAT_VWC:
	case NVME_FEAT_QUEUES:
	case NVME_FEAT_COALESCING:
	case NVME_FEAT_VECTOR:
	case NVME_FEAT_ATOMICITY:
	case NVME_FEAT_EVENTS:
	case FEAT_KEEP_ALIVE:
	case FEAT_HCTM:
	case FEAT_NON_OPERATIONAL:
	case FEAT_RECOVERY_LEVEL:
	case FEAT_SANITIZE:
	case FEAT_COMMAND_SETS:
	case FEAT_RESERVATION_MASK:
	case FEAT_RESERVATION_PERSIST:
	case FEAT_WRITE_PROTECT:
		return 0;
	default: /* FEAT_HOST_MEMORY: the guest's memory, for the controller to keep; the vendor's: who knows */
		return NVME_SC_INVALID_FIELD;
	}
}

static uint16_t admin(struct vn_slot *s)
{
	uint32_t cdw10 = nvme_get32(s->sqe.cdw10), cdw11 = nvme_get32(s->sqe.cdw11);

	switch (s->sqe.opc) {
	case NVME_ADM_CREATE_SQ:
	case NVME_ADM_CREATE_CQ:
	case NVME_ADM_DELETE_SQ:
	case NVME_ADM_DELETE_CQ:
	case NVME_ADM_ABORT:
	case NVME_ADM_ASYNC_EVENT:
	case NVME_ADM_FORMAT:
	case ADM_FW_COMMIT:
	case ADM_SELF_TEST:
	case ADM_KEEP_ALIVE:
	case ADM_SANITIZE:
		return 0;
	case NVME_ADM_IDENTIFY:
	case ADM_NS_ATTACH:
		return bytes(s, 4096);
	case ADM_NS_MANAGEMENT:
		return bytes(s, cdw10 & 15 ? 0 : 4096); /* delete, or create */
	case NVME_ADM_GET_LOG_PAGE:
		return dwords(s, (cdw11 & 0xffff) * UINT64_C(0x10000) + (cdw10 >> 16));
	case NVME_ADM_GET_FEATURES:
	case NVME_ADM_SET_FEATURES:
		return feature(s);
	case ADM_FW_DOWNLOAD:
	case ADM_DIRECTIVE_SEND:
	case ADM_DIRECTIVE_RECEIVE:
		return dwords(s, cdw10);
	case ADM_SECURITY_SEND:
	case ADM_SECURITY_RECEIVE:
		return bytes(s, cdw11);
	default:
		return NVME_SC_INVALID_OPCODE;
	}
}

static uint16_t io(struct vn_slot *s)
{
	uint32_t cdw10 = nvme_get32(s->sqe.cdw10), cdw12 = nvme_get32(s->sqe.cdw12), cdw13 = nvme_get32(s->sqe.cdw13);

	switch (s->sqe.opc) {
	case NVME_CMD_FLUSH:
	case NVME_CMD_WRITE_ZEROES:
	case NVME_CMD_VERIFY:
	case CMD_WRITE_UNCORRECTABLE:
		return 0;
	case NVME_CMD_WRITE:
	case NVME_CMD_READ:
	case NVME_CMD_COMPARE:
	case CMD_ZONE_APPEND:
		return blocks(s);
	case NVME_CMD_DSM:
		return bytes(s, 16 * ((cdw10 & 0xff) + 1));
	case CMD_COPY: /* descriptor format 0 */
		return cdw12 >> 8 & 15 ? NVME_SC_INVALID_FIELD : bytes(s, 32 * ((cdw12 & 0xff) + 1));
	case CMD_RESERVATION_REGISTER:
	case CMD_RESERVATION_ACQUIRE:
		return bytes(s, 16);
	case CMD_RESERVATION_RELEASE:
		return bytes(s, 8);
	case CMD_RESERVATION_REPORT:
		return dwords(s, cdw10);
	case CMD_ZONE_MGMT_SEND:
		return (cdw13 & 0xff) == 0x10 ? NVME_SC_INVALID_FIELD : 0; /* Set Zone Descriptor Extension has data */
	case CMD_ZONE_MGMT_RECEIVE:
		return dwords(s, cdw12);
	default:
		return NVME_SC_INVALID_OPCODE;
	}
}

/* ---- Queues ---------------------------------------------------------------------------------------- */

static uint16_t create_cq(struct vn_slot *s)
{
	struct vn *n = s->n;
	uint32_t cdw10 = nvme_get32(s->sqe.cdw10), cdw11 = nvme_get32(s->sqe.cdw11), size = (cdw10 >> 16) + 1;
	unsigned qid = cdw10 & 0xffff, vector = cdw11 >> 16;
	unsigned vectors = n->v->msix_vectors > n->v->msi_vectors ? n->v->msix_vectors : n->v->msi_vectors;
	uint64_t addr = nvme_get64(s->sqe.prp1);

	if (qid == 0 || qid > VN_QUEUES || n->cq[qid].exists)
		return NVME_SC_INVALID_QID;
	if (size < 2 || size > VN_ENTRIES)
		return NVME_SC_INVALID_QUEUE_SIZE;
	if (cdw11 & 2 && vector >= (vectors ? vectors : 1))
		return NVME_SC_INVALID_VECTOR;
	if (!(cdw11 & 1)) /* CAP.CQR: contiguous */
		return NVME_SC_INVALID_FIELD;
	if (addr % VN_PAGE)
		return NVME_SC_PRP_OFFSET;
	vn_cq_open(n, qid, addr, size, vector, cdw11 & 2);
	return 0;
}

static uint16_t create_sq(struct vn_slot *s)
{
	struct vn *n = s->n;
	uint32_t cdw10 = nvme_get32(s->sqe.cdw10), cdw11 = nvme_get32(s->sqe.cdw11), size = (cdw10 >> 16) + 1;
	unsigned qid = cdw10 & 0xffff, cqid = cdw11 >> 16;
	uint64_t addr = nvme_get64(s->sqe.prp1);

	if (qid == 0 || qid > VN_QUEUES || n->sq[qid].exists)
		return NVME_SC_INVALID_QID;
	if (cqid == 0 || cqid > VN_QUEUES || !n->cq[cqid].live)
		return NVME_SC_CQ_INVALID;
	if (size < 2 || size > VN_ENTRIES)
		return NVME_SC_INVALID_QUEUE_SIZE;
	if (!(cdw11 & 1))
		return NVME_SC_INVALID_FIELD;
	if (addr % VN_PAGE)
		return NVME_SC_PRP_OFFSET;
	vn_sq_open(n, qid, cqid, addr, size);
	return 0;
}

static uint16_t delete_sq(struct vn_slot *s)
{
	struct vn *n = s->n;
	unsigned qid = nvme_get32(s->sqe.cdw10) & 0xffff;
	struct vn_slot *x, *next;

	if (qid == 0 || qid > VN_QUEUES || !n->sq[qid].live || n->sq[qid].deleting)
		return NVME_SC_INVALID_QID;
	n->sq[qid].deleting = true;
	for (x = TAILQ_FIRST(&n->sq[qid].slots); x; x = next) {
		next = TAILQ_NEXT(x, sq_link);
		if (x->state == VN_TAKEN || x->state == VN_READY)
			vn_refuse(x, NVME_SC_ABORT_SQ_DELETION);
	}
	return 0;
}

static uint16_t delete_cq(struct vn_slot *s)
{
	struct vn *n = s->n;
	unsigned qid = nvme_get32(s->sqe.cdw10) & 0xffff;

	if (qid == 0 || qid > VN_QUEUES || !n->cq[qid].live)
		return NVME_SC_INVALID_QID;
	for (unsigned i = 1; i <= VN_QUEUES; i++) {
		if (n->sq[i].exists && n->sq[i].cqid == qid)
			return NVME_SC_INVALID_QUEUE_DELETION;
	}
	return 0;
}

/* The command to be aborted has another identifier at the server; one that is not there, none that a command can have. */
static uint32_t abort_target(const struct vn *n, uint32_t cdw10)
{
	unsigned qid = cdw10 & 0xffff, cid = cdw10 >> 16;
	const struct vn_slot *x;

	if (qid <= VN_QUEUES && n->sq[qid].live) {
		TAILQ_FOREACH(x, &n->sq[qid].slots, sq_link) {
			if (x->cid == cid && x->state == VN_SERVER)
				return qid | vn_id(x) << 16;
		}
	}
	return qid | 0xffff0000u;
}

static uint32_t at_most(uint32_t two, uint32_t max)
{
	uint32_t low = two & 0xffff, high = two >> 16;

	return (low < max ? low : max) | (high < max ? high : max) << 16;
}

static bool sets_queues(const struct vn_slot *s)
{
	return s->sqe.opc == NVME_ADM_SET_FEATURES && (nvme_get32(s->sqe.cdw10) & 0xff) == NVME_FEAT_QUEUES;
}

static bool gets_queues(const struct vn_slot *s)
{
	return s->sqe.opc == NVME_ADM_GET_FEATURES && (nvme_get32(s->sqe.cdw10) & 0x7ff) == NVME_FEAT_QUEUES;
}

static uint16_t translate_admin(struct vn_slot *s, struct nvme_sqe *out)
{
	struct vn *n = s->n;
	uint32_t cdw10 = nvme_get32(s->sqe.cdw10);
	unsigned qid = cdw10 & 0xffff, armed = n->v->n_armed ? n->v->n_armed : 1;
	uint16_t status = 0;

	switch (s->sqe.opc) {
	case NVME_ADM_CREATE_CQ:
		status = create_cq(s);
		if (status)
			break;
		nvme_put64(&out->prp1, vn_iova(n, vn_server_cq(n, qid)));
		/* The server signals, whether or not the guest wants to be interrupted: that is how completions are noticed. */
		nvme_put32(&out->cdw11, 3u | (qid % armed) << 16);
		break;
	case NVME_ADM_CREATE_SQ:
		status = create_sq(s);
		if (!status)
			nvme_put64(&out->prp1, vn_iova(n, vn_server_sq(n, qid)));
		break;
	case NVME_ADM_DELETE_SQ:
		status = delete_sq(s);
		break;
	case NVME_ADM_DELETE_CQ:
		status = delete_cq(s);
		break;
	case NVME_ADM_ABORT:
		nvme_put32(&out->cdw10, abort_target(n, cdw10));
		break;
	case NVME_ADM_SET_FEATURES:
		if (sets_queues(s))
			nvme_put32(&out->cdw11, at_most(nvme_get32(s->sqe.cdw11), VN_QUEUES - 1));
		break;
	default:
		break;
	}
	return status;
}

/* ---- The way there ------------------------------------------------------------------------------------ */

uint16_t vn_command(struct vn_slot *s)
{
	uint16_t status;

	if (s->sqe.flags & FLAGS_PSDT) /* SGLs were not offered */
		return NVME_SC_INVALID_FIELD;
	status = s->sq->qid ? io(s) : admin(s);
	s->to_host = (s->sqe.opc & 3) == 2;
	return status;
}

uint16_t vn_translate(struct vn_slot *s, struct nvme_sqe *out)
{
	*out = s->sqe;
	nvme_put64(&out->mptr, 0);
	vn_point_to_buffer(s, out);
	return s->sq->qid ? 0 : translate_admin(s, out);
}

/* ---- The way back ----------------------------------------------------------------------------------------- */

static void identified(struct vn_slot *s)
{
	uint8_t *buf = vn_buffer(s);
	struct nvme_id_ctrl *c = (struct nvme_id_ctrl *)buf;

	switch (nvme_get32(s->sqe.cdw10) & 0xff) {
	case NVME_CNS_NS: {
		struct nvme_id_ns id;

		memcpy(&id, buf, sizeof(id));
		learn_namespace(s->n, nvme_get32(s->sqe.nsid), &id);
		break;
	}
	case NVME_CNS_CTRL:
		if (c->mdts == 0 || c->mdts > VN_MDTS)
			c->mdts = VN_MDTS;
		nvme_put32(&c->sgls, 0);
		nvme_put32(&c->hmpre, 0);
		nvme_put32(&c->hmmin, 0);
		nvme_put16(&c->oacs, nvme_get16(c->oacs) & (uint16_t)~(OACS_MI | OACS_VIRTUALIZATION | OACS_DOORBELLS));
		break;
	default:
		break;
	}
}

static void admin_completed(struct vn_slot *s)
{
	struct vn *n = s->n;
	unsigned qid = nvme_get32(s->sqe.cdw10) & 0xffff;
	bool ok = s->status == NVME_SC_SUCCESS;

	switch (s->sqe.opc) {
	case NVME_ADM_IDENTIFY:
		if (ok)
			identified(s);
		break;
	case NVME_ADM_CREATE_CQ:
		n->cq[qid].live = ok;
		if (!ok)
			vn_cq_close(&n->cq[qid]);
		break;
	case NVME_ADM_CREATE_SQ:
		n->sq[qid].live = ok;
		if (ok)
			vn_sq_tell(&n->sq[qid], true);
		else
			vn_sq_close(&n->sq[qid]);
		break;
	case NVME_ADM_DELETE_SQ:
		n->sq[qid].deleting = false;
		if (ok)
			vn_sq_close(&n->sq[qid]);
		break;
	case NVME_ADM_DELETE_CQ:
		if (ok)
			vn_cq_close(&n->cq[qid]);
		break;
	default:
		if (ok && (sets_queues(s) || gets_queues(s)))
			s->dw0 = at_most(s->dw0, VN_QUEUES - 1);
		break;
	}
}

void vn_completed(struct vn_slot *s)
{
	if (s->sq->qid == 0)
		admin_completed(s);
	if (s->status == NVME_SC_SUCCESS && s->to_host && s->len)
		s->status = vn_give_data(s);
	else if (s->status)
		s->n->count.errors++;
	vn_complete(s, s->status);
}
