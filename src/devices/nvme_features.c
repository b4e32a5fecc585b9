/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Get Features and Set Features (5.13, 5.21). Nothing is saved over a reset:
 * saved values are the defaults, and Set Features with Save is refused.
 */
#include <string.h>

#include "devices/nvme.h"

enum { SEL_CURRENT = 0, SEL_DEFAULT = 1, SEL_SAVED = 2, SEL_CAPABILITIES = 3 };
enum { CAP_NS_SPECIFIC = 1 << 1, CAP_CHANGEABLE = 1 << 2 };
enum { TEMP_OVER_DEFAULT = 343, ARBITRATION_DEFAULT = 5, COMPOSITE = 0, ALL_SENSORS = 15 };
#define MS_NS 1000000u

void nvme_features_reset(struct nvme *n)
{
	memset(&n->feat, 0, sizeof(n->feat));
	n->feat.arbitration = ARBITRATION_DEFAULT;
	n->feat.temp_over = TEMP_OVER_DEFAULT;
	n->feat.vwc = n->opt.cache;
	n->feat.n_sq = n->feat.n_cq = (uint16_t)n->opt.queues;
	n->feat.timestamp_at = fb_device_now(n->dev);
	for (unsigned i = 0; i < n->n_ns; i++)
		n->ns[i].error_recovery = 0;
	n->bad_temperature = false;
}

static bool known(const struct nvme *n, uint8_t fid)
{
	switch (fid) {
	case NVME_FEAT_ARBITRATION:
	case NVME_FEAT_POWER:
	case NVME_FEAT_TEMPERATURE:
	case NVME_FEAT_ERROR_RECOVERY:
	case NVME_FEAT_QUEUES:
	case NVME_FEAT_COALESCING:
	case NVME_FEAT_VECTOR:
	case NVME_FEAT_ATOMICITY:
	case NVME_FEAT_EVENTS:
	case NVME_FEAT_TIMESTAMP:
	case NVME_FEAT_HOST_ID:
		return true;
	case NVME_FEAT_VWC:
		return n->opt.cache;
	default:
		return false;
	}
}

/* ---- Get ---------------------------------------------------------------------------- */

static void fill_timestamp(struct nvme_cmd *cmd, uint8_t *buf)
{
	struct nvme *n = cmd->n;
	bool current = (nvme_get32(cmd->sqe.cdw10) >> 8 & 7) == SEL_CURRENT;
	uint64_t ms = n->feat.timestamp + (fb_device_now(n->dev) - n->feat.timestamp_at) / MS_NS;

	if (!current)
		return;
	fb_put_le64(buf, ms & 0xffffffffffffu);
	buf[6] = n->feat.timestamp_set ? 1 << 1 : 0; /* origin: Set Features, or the last reset */
}

static void fill_host_id(struct nvme_cmd *cmd, uint8_t *buf)
{
	if ((nvme_get32(cmd->sqe.cdw10) >> 8 & 7) == SEL_CURRENT)
		memcpy(buf, cmd->n->feat.host_id, cmd->len);
}

/* Those whose value fits the completion: false if cdw11 selects what is not there. */
static bool value(const struct nvme *n, uint8_t fid, uint32_t cdw11, const struct nvme_ns *ns, uint32_t *v)
{
	const struct nvme_features *f = &n->feat;
	unsigned sensor = cdw11 >> 16 & 15, which = cdw11 >> 20 & 3, vector = cdw11 & 0xffff;

	switch (fid) {
	case NVME_FEAT_ARBITRATION:
		*v = f->arbitration;
		return true;
	case NVME_FEAT_POWER:
		*v = f->power;
		return true;
	case NVME_FEAT_TEMPERATURE:
		*v = which ? f->temp_under : f->temp_over;
		return sensor == COMPOSITE && which <= 1;
	case NVME_FEAT_ERROR_RECOVERY:
		*v = ns ? ns->error_recovery : 0;
		return true;
	case NVME_FEAT_VWC:
		*v = f->vwc;
		return true;
	case NVME_FEAT_QUEUES:
		*v = (f->n_sq - 1u) | (f->n_cq - 1u) << 16;
		return true;
	case NVME_FEAT_COALESCING:
		*v = f->coalescing;
		return true;
	case NVME_FEAT_VECTOR:
		*v = vector < NVME_VECTORS ? vector | (uint32_t)f->vector_cd[vector] << 16 : 0;
		return vector < NVME_VECTORS;
	case NVME_FEAT_ATOMICITY:
		*v = f->atomicity;
		return true;
	default:
		*v = f->events;
		return true;
	}
}

static uint32_t default_value(const struct nvme *n, uint8_t fid, uint32_t cdw11)
{
	switch (fid) {
	case NVME_FEAT_ARBITRATION:
		return ARBITRATION_DEFAULT;
	case NVME_FEAT_TEMPERATURE:
		return cdw11 >> 20 & 3 ? 0 : TEMP_OVER_DEFAULT;
	case NVME_FEAT_VWC:
		return n->opt.cache;
	case NVME_FEAT_QUEUES:
		return (n->opt.queues - 1u) | (n->opt.queues - 1u) << 16;
	case NVME_FEAT_VECTOR:
		return cdw11 & 0xffff;
	default:
		return 0;
	}
}

void nvme_get_features(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->n;
	uint32_t cdw10 = nvme_get32(cmd->sqe.cdw10), cdw11 = nvme_get32(cmd->sqe.cdw11),
		 nsid = nvme_get32(cmd->sqe.nsid);
	uint8_t fid = cdw10 & 0xff;
	unsigned sel = cdw10 >> 8 & 7;
	struct nvme_ns *ns = nvme_ns_get(n, nsid);

	if (!known(n, fid)) {
		nvme_refuse(cmd, NVME_SC_INVALID_FIELD, 40);
		return;
	}
	if (sel > SEL_CAPABILITIES) {
		nvme_refuse(cmd, NVME_SC_INVALID_FIELD, 41);
		return;
	}
	if (fid == NVME_FEAT_ERROR_RECOVERY && !ns && sel != SEL_CAPABILITIES) {
		nvme_refuse(cmd, NVME_SC_INVALID_NAMESPACE, 4);
		return;
	}
	if (sel == SEL_CAPABILITIES) {
		cmd->dw0 = CAP_CHANGEABLE | (fid == NVME_FEAT_ERROR_RECOVERY ? CAP_NS_SPECIFIC : 0);
		nvme_complete(cmd, NVME_SC_SUCCESS);
	} else if (fid == NVME_FEAT_TIMESTAMP) {
		nvme_reply(cmd, 8, fill_timestamp);
	} else if (fid == NVME_FEAT_HOST_ID) {
		nvme_reply(cmd, cdw11 & 1 ? 16 : 8, fill_host_id);
	} else if (!value(n, fid, cdw11, ns, &cmd->dw0)) {
		nvme_refuse(cmd, NVME_SC_INVALID_FIELD, 44);
	} else {
		if (sel != SEL_CURRENT)
			cmd->dw0 = default_value(n, fid, cdw11);
		nvme_complete(cmd, NVME_SC_SUCCESS);
	}
}

/* ---- Set ------------------------------------------------------------------------------ */

static void timestamp_fetched(struct nvme_cmd *cmd, int res)
{
	struct nvme *n = cmd->n;

	n->feat.timestamp = fb_get_le64(cmd->buf) & 0xffffffffffffu;
	n->feat.timestamp_at = fb_device_now(n->dev);
	n->feat.timestamp_set = true;
	nvme_complete(cmd, NVME_SC_SUCCESS);
}

static void host_id_fetched(struct nvme_cmd *cmd, int res)
{
	memset(cmd->n->feat.host_id, 0, sizeof(cmd->n->feat.host_id));
	memcpy(cmd->n->feat.host_id, cmd->buf, cmd->len);
	nvme_complete(cmd, NVME_SC_SUCCESS);
}

static uint16_t set_temperature(struct nvme *n, uint32_t cdw11)
{
	unsigned sensor = cdw11 >> 16 & 15, which = cdw11 >> 20 & 3;

	if ((sensor != COMPOSITE && sensor != ALL_SENSORS) || which > 1)
		return NVME_SC_INVALID_FIELD;
	if (which)
		n->feat.temp_under = cdw11 & 0xffff;
	else
		n->feat.temp_over = cdw11 & 0xffff;
	nvme_check_temperature(n);
	return 0;
}

static uint16_t set_queues(struct nvme_cmd *cmd, uint32_t cdw11)
{
	struct nvme *n = cmd->n;
	uint32_t sq = cdw11 & 0xffff, cq = cdw11 >> 16;

	if (sq == 0xffff || cq == 0xffff)
		return NVME_SC_INVALID_FIELD;
	for (unsigned i = 1; i <= NVME_MAX_QUEUES; i++) {
		if (n->sq[i].exists || n->cq[i].exists)
			return NVME_SC_COMMAND_SEQUENCE;
	}
	n->feat.n_sq = (uint16_t)(sq + 1 < n->opt.queues ? sq + 1 : n->opt.queues);
	n->feat.n_cq = (uint16_t)(cq + 1 < n->opt.queues ? cq + 1 : n->opt.queues);
	cmd->dw0 = (n->feat.n_sq - 1u) | (n->feat.n_cq - 1u) << 16;
	return 0;
}

static uint16_t set_error_recovery(struct nvme *n, uint32_t nsid, uint32_t cdw11)
{
	if (cdw11 >> 16 & 1) /* DULBE: deallocated blocks are no errors here */
		return NVME_SC_INVALID_FIELD;
	if (nsid != UINT32_MAX && !nvme_ns_get(n, nsid))
		return NVME_SC_INVALID_NAMESPACE;
	for (unsigned i = 0; i < n->n_ns; i++) {
		if (nsid == UINT32_MAX || nsid == n->ns[i].nsid)
			n->ns[i].error_recovery = cdw11 & 0xffff;
	}
	return 0;
}

static uint16_t set_value(struct nvme_cmd *cmd, uint8_t fid, uint32_t cdw11)
{
	struct nvme *n = cmd->n;
	struct nvme_features *f = &n->feat;

	switch (fid) {
	case NVME_FEAT_ARBITRATION: /* weights are kept, and mean nothing to round robin */
		f->arbitration = cdw11 & 0xffffff07;
		return 0;
	case NVME_FEAT_POWER:
		if (cdw11 & 0x1f) /* one power state */
			return NVME_SC_INVALID_FIELD;
		f->power = cdw11 & 0xe0;
		return 0;
	case NVME_FEAT_TEMPERATURE:
		return set_temperature(n, cdw11);
	case NVME_FEAT_ERROR_RECOVERY:
		return set_error_recovery(n, nvme_get32(cmd->sqe.nsid), cdw11);
	case NVME_FEAT_VWC:
		f->vwc = cdw11 & 1;
		return 0;
	case NVME_FEAT_QUEUES:
		return set_queues(cmd, cdw11);
	case NVME_FEAT_COALESCING:
		f->coalescing = cdw11 & 0xffff;
		return 0;
	case NVME_FEAT_VECTOR:
		if ((cdw11 & 0xffff) >= NVME_VECTORS)
			return NVME_SC_INVALID_FIELD;
		f->vector_cd[cdw11 & 0xffff] = cdw11 >> 16 & 1;
		return 0;
	case NVME_FEAT_ATOMICITY:
		f->atomicity = cdw11 & 1;
		return 0;
	default:
		f->events = cdw11 & (NVME_AEC_TEMPERATURE | NVME_AEC_NS_ATTRIBUTE);
		n->bad_temperature = false; /* a condition that already holds is reported once it is asked for */
		nvme_check_temperature(n);
		return 0;
	}
}

static void vwc_synced(struct nvme_cmd *cmd, int res)
{
	/* Switching the cache off promises that nothing is left in it. */
	if (res < 0) {
		nvme_complete(cmd, nvme_ns_status(cmd->file, true, res, 0));
		return;
	}
	for (; cmd->index < cmd->n->n_ns; cmd->index++) {
		struct nvme_ns *ns = &cmd->n->ns[cmd->index];

		if (ns->nsid && fb_disk_dirty(&ns->disk)) {
			cmd->index++;
			nvme_file_sync(cmd, ns, vwc_synced);
			return;
		}
	}
	nvme_complete(cmd, NVME_SC_SUCCESS);
}

void nvme_set_features(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->n;
	uint32_t cdw10 = nvme_get32(cmd->sqe.cdw10), cdw11 = nvme_get32(cmd->sqe.cdw11),
		 nsid = nvme_get32(cmd->sqe.nsid);
	uint8_t fid = cdw10 & 0xff;
	uint16_t status;

	if (!known(n, fid)) {
		nvme_refuse(cmd, NVME_SC_INVALID_FIELD, 40);
	} else if (cdw10 >> 31) {
		nvme_refuse(cmd, NVME_SC_FEATURE_NOT_SAVEABLE, 43);
	} else if (fid != NVME_FEAT_ERROR_RECOVERY && nsid != 0 && nsid != UINT32_MAX) {
		nvme_refuse(cmd, NVME_SC_FEATURE_NOT_NS_SPECIFIC, 4);
	} else if (fid == NVME_FEAT_TIMESTAMP) {
		nvme_fetch_data(cmd, 8, timestamp_fetched);
	} else if (fid == NVME_FEAT_HOST_ID) {
		nvme_fetch_data(cmd, cdw11 & 1 ? 16 : 8, host_id_fetched);
	} else {
		status = set_value(cmd, fid, cdw11);
		if (status)
			nvme_refuse(cmd, status, status == NVME_SC_INVALID_NAMESPACE ? 4 : 44);
		else if (fid == NVME_FEAT_VWC && !(cdw11 & 1))
			vwc_synced(cmd, 0);
		else
			nvme_complete(cmd, NVME_SC_SUCCESS);
	}
}
