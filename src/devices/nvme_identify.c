/* SPDX-License-Identifier: Apache-2.0 */
/* Identify (5.15): what the controller and its namespaces say about themselves. */
#include <string.h>

#include "devices/nvme.h"

static uint32_t cns(const struct nvme_cmd *cmd)
{
	return nvme_get32(cmd->sqe.cdw10) & 0xff;
}

/* Text fields are padded with blanks, not ended by a zero. */
static void pad(char *field, size_t size, const char *text)
{
	size_t n = strlen(text);

	memset(field, ' ', size);
	memcpy(field, text, n < size ? n : size);
}

static void fill_ctrl(struct nvme_cmd *cmd, uint8_t *buf)
{
	struct nvme *n = cmd->n;
	struct nvme_id_ctrl *id = (struct nvme_id_ctrl *)(void *)buf;
	uint64_t capacity = 0;

	for (unsigned i = 0; i < n->n_ns; i++)
		capacity += n->ns[i].nsid ? n->ns[i].disk.bytes : 0;
	nvme_put16(&id->vid, nvme_model.identity.vendor_id);
	nvme_put16(&id->ssvid, nvme_model.identity.subsystem_vendor_id);
	pad(id->sn, sizeof(id->sn), n->sn);
	pad(id->mn, sizeof(id->mn), n->mn);
	pad(id->fr, sizeof(id->fr), n->fr);
	id->rab = 5; /* 32 commands: NVME_FETCH */
	id->mdts = n->mdts;
	nvme_put16(&id->cntlid, 1);
	nvme_put32(&id->ver, NVME_VS_1_4);
	nvme_put32(&id->rtd3r, 1000000); /* us: a guess for a file system that is busy */
	nvme_put32(&id->rtd3e, 5000000);
	nvme_put32(&id->oaes, NVME_AEC_NS_ATTRIBUTE);
	nvme_put32(&id->ctratt, 1); /* Host Identifier of 128 bits */
	id->cntrltype = 1; /* I/O controller */
	nvme_put16(&id->oacs, NVME_OACS_FORMAT | (nvme_shadow_able(n) ? NVME_OACS_DBBUF : 0));
	id->acl = 3;
	id->aerl = NVME_AERS - 1;
	id->frmw = 1 << 1 | 1; /* one slot, read-only */
	id->lpa = 1 << 0 | 1 << 1 | 1 << 2; /* SMART a namespace, effects log, extended Get Log Page */
	id->elpe = NVME_ERRORS - 1;
	id->avscc = 1;
	nvme_put16(&id->wctemp, 343);
	nvme_put16(&id->cctemp, 353);
	nvme_put128(&id->tnvmcap, capacity);
	id->sqes = 6 << 4 | 6;
	id->cqes = 4 << 4 | 4;
	nvme_put32(&id->nn, n->n_ns);
	nvme_put16(&id->oncs,
		   (uint16_t)(NVME_ONCS_COMPARE | (n->opt.discard ? NVME_ONCS_DSM : 0) | NVME_ONCS_WRITE_ZEROES |
			      NVME_ONCS_SELECT | NVME_ONCS_TIMESTAMP | NVME_ONCS_VERIFY));
	id->vwc = (uint8_t)(3 << 1 | n->opt.cache); /* Flush takes NSID FFFFFFFFh */
	nvme_put32(&id->sgls, 1 | 1 << 16 | 1 << 18); /* any alignment, bit bucket, longer than the data */
	memcpy(id->subnqn, n->subnqn, strlen(n->subnqn));
	nvme_put16(&id->psd[0].mp, 500); /* 5 W: nobody knows what a share of a machine draws */
}

static void fill_ns(struct nvme_cmd *cmd, uint8_t *buf)
{
	struct nvme *n = cmd->n;
	struct nvme_id_ns *id = (struct nvme_id_ns *)(void *)buf;
	uint32_t nsid = nvme_get32(cmd->sqe.nsid);
	const struct nvme_ns *ns = nvme_ns_get(n, nsid);

	id->nlbaf = 1; /* 0-based */
	id->lbaf[0].lbads = 9;
	id->lbaf[0].rp = 1;
	id->lbaf[1].lbads = 12;
	id->dlfeat =
		(uint8_t)(1 | n->opt.discard << 3); /* deallocated blocks read as zeros; Write Zeroes deallocates */
	if (!ns) /* FFFFFFFFh: what all have in common; a hole in the numbering: nothing */
		goto common_only;
	nvme_put64(&id->nsze, nvme_ns_blocks(ns));
	nvme_put64(&id->ncap, nvme_ns_blocks(ns));
	nvme_put64(&id->nuse, nvme_ns_blocks(ns));
	id->flbas = ns->lbads == 12;
	id->nsattr = ns->disk.readonly;
	nvme_put128(&id->nvmcap, ns->disk.bytes);
	if (ns->lbads == 9) { /* 4 KiB is what the file systems below like; 0-based blocks */
		id->nsfeat = 1 << 4;
		nvme_put16(&id->npwg, 7);
		nvme_put16(&id->npwa, 7);
		nvme_put16(&id->npdg, 7);
		nvme_put16(&id->npda, 7);
	}
	return;

common_only:
	if (nsid != UINT32_MAX)
		memset(buf, 0, sizeof(*id));
}

static void fill_ns_list(struct nvme_cmd *cmd, uint8_t *buf)
{
	struct nvme *n = cmd->n;
	uint32_t above = nvme_get32(cmd->sqe.nsid);
	unsigned at = 0;

	for (unsigned i = 0; i < n->n_ns; i++) {
		if (n->ns[i].nsid > above)
			fb_put_le32(buf + 4 * at++, n->ns[i].nsid);
	}
}

static void fill_descriptors(struct nvme_cmd *cmd, uint8_t *buf)
{
	const struct nvme_ns *ns = nvme_ns_get(cmd->n, nvme_get32(cmd->sqe.nsid));

	buf[0] = NVME_NIDT_UUID;
	buf[1] = 16;
	memcpy(buf + 4, ns->uuid, 16);
}

static void fill_ctrl_list(struct nvme_cmd *cmd, uint8_t *buf)
{
	if (nvme_get32(cmd->sqe.cdw10) >> 16 <= 1) { /* CNTID: from this one up */
		fb_put_le16(buf, 1);
		fb_put_le16(buf + 2, 1);
	}
}

static void fill_nothing(struct nvme_cmd *cmd, uint8_t *buf)
{
}

void nvme_identify(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->n;
	uint32_t nsid = nvme_get32(cmd->sqe.nsid);
	void (*fill)(struct nvme_cmd *cmd, uint8_t *buf);
	bool need_ns = false;

	switch (cns(cmd)) {
	case NVME_CNS_NS:
	case NVME_CNS_ALLOCATED_NS:
		if (nsid == 0 || (nsid > n->n_ns && (nsid != UINT32_MAX || cns(cmd) == NVME_CNS_ALLOCATED_NS))) {
			nvme_refuse(cmd, NVME_SC_INVALID_NAMESPACE, 4);
			return;
		}
		fill = fill_ns;
		break;
	case NVME_CNS_CTRL:
		fill = fill_ctrl;
		break;
	case NVME_CNS_NS_LIST:
	case NVME_CNS_ALLOCATED_LIST:
		if (nsid >= UINT32_MAX - 1) {
			nvme_refuse(cmd, NVME_SC_INVALID_NAMESPACE, 4);
			return;
		}
		fill = fill_ns_list;
		break;
	case NVME_CNS_NS_DESCRIPTORS:
		need_ns = true;
		fill = fill_descriptors;
		break;
	case NVME_CNS_NS_CTRL_LIST:
		need_ns = true;
		fill = fill_ctrl_list;
		break;
	case NVME_CNS_CTRL_LIST:
		fill = fill_ctrl_list;
		break;
	case NVME_CNS_CS_CTRL: /* no limits of the NVM command set beyond MDTS */
		if (nvme_get32(cmd->sqe.cdw11) >> 24) {
			nvme_refuse(cmd, NVME_SC_INVALID_FIELD, 47);
			return;
		}
		fill = fill_nothing;
		break;
	default:
		nvme_refuse(cmd, NVME_SC_INVALID_FIELD, 40);
		return;
	}
	if (need_ns && !nvme_ns_get(n, nsid)) {
		nvme_refuse(cmd, NVME_SC_INVALID_NAMESPACE, 4);
		return;
	}
	nvme_reply(cmd, 4096, fill);
}
