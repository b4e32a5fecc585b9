/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Get Log Page (5.14): error information, SMART / health, firmware slot,
 * changed namespaces, commands supported and effects.
 *
 * Counters live in the process: a box that is restarted starts them again.
 */
#include <string.h>

#include "devices/nvme.h"

#define MINUTE_NS (60u * UINT64_C(1000000000))
#define HOUR_NS (60u * MINUTE_NS)

void nvme_error_add(struct nvme_cmd *cmd, uint16_t status)
{
	struct nvme *n = cmd->n;
	struct nvme_error_entry *e = &n->errors[n->errors_total++ % NVME_ERRORS];
	bool io = cmd->sq->qid != 0;

	memset(e, 0, sizeof(*e));
	nvme_put64(&e->error_count, n->errors_total);
	nvme_put16(&e->sqid, cmd->sq->qid);
	nvme_put16(&e->cid, cmd->cid);
	nvme_put16(&e->status, (uint16_t)((status | NVME_SC_M) << 1));
	nvme_put16(&e->location, cmd->location);
	if (io && cmd->sqe.opc != NVME_CMD_FLUSH && cmd->sqe.opc != NVME_CMD_DSM)
		nvme_put64(&e->lba, nvme_get32(cmd->sqe.cdw10) | (uint64_t)nvme_get32(cmd->sqe.cdw11) << 32);
	e->nsid = cmd->sqe.nsid;
	e->trtype = 0; /* PCIe */
}

/* Commands in progress went from `n_busy` to `n_busy + delta`. */
void nvme_busy(struct nvme *n, int delta)
{
	uint64_t now = fb_device_now(n->dev);

	if (n->n_busy == 0)
		n->busy_since = now;
	n->n_busy = (unsigned)((int)n->n_busy + delta);
	if (n->n_busy == 0)
		n->busy_ns += now - n->busy_since;
}

static void make_errors(struct nvme *n, uint8_t *page)
{
	unsigned count = n->errors_total < NVME_ERRORS ? (unsigned)n->errors_total : NVME_ERRORS;

	for (unsigned i = 0; i < count; i++) /* the latest first */
		memcpy(page + i * sizeof(n->errors[0]), &n->errors[(n->errors_total - 1 - i) % NVME_ERRORS],
		       sizeof(n->errors[0]));
}

/* Thousands of 512-byte units, rounded up. */
static uint64_t data_units(uint64_t bytes)
{
	return (bytes / 512 + 999) / 1000;
}

static void make_smart(struct nvme *n, uint32_t nsid, uint8_t *page)
{
	struct nvme_smart_log *log = (struct nvme_smart_log *)(void *)page;
	uint64_t now = fb_device_now(n->dev), br = 0, bw = 0, r = 0, w = 0, me = 0, busy = n->busy_ns;

	for (unsigned i = 0; i < n->n_ns; i++) {
		const struct nvme_ns *ns = &n->ns[i];

		if (!ns->nsid || (nsid != 0 && nsid != UINT32_MAX && nsid != ns->nsid))
			continue;
		br += ns->bytes_read;
		bw += ns->bytes_written;
		r += ns->reads;
		w += ns->writes;
		me += ns->media_errors;
	}
	if (n->n_busy)
		busy += now - n->busy_since;
	log->critical_warning = nvme_critical_warning(n);
	nvme_put16(&log->composite_temperature, NVME_TEMPERATURE);
	log->avail_spare = 100;
	log->spare_thresh = 10;
	nvme_put128(&log->data_units_read, data_units(br));
	nvme_put128(&log->data_units_written, data_units(bw));
	nvme_put128(&log->host_reads, r);
	nvme_put128(&log->host_writes, w);
	nvme_put128(&log->busy_time, busy / MINUTE_NS);
	nvme_put128(&log->power_cycles, n->power_cycles);
	nvme_put128(&log->power_on_hours, (now - n->start_ns) / HOUR_NS);
	nvme_put128(&log->unsafe_shutdowns, n->unsafe_shutdowns);
	nvme_put128(&log->media_errors, me);
	nvme_put128(&log->num_err_log_entries, n->errors_total);
}

static void make_firmware(struct nvme *n, uint8_t *page)
{
	struct nvme_firmware_log *log = (struct nvme_firmware_log *)(void *)page;

	log->afi = 1;
	memset(log->frs[0], ' ', sizeof(log->frs[0]));
	memcpy(log->frs[0], n->fr, strlen(n->fr));
}

static void make_changed(struct nvme *n, uint8_t *page)
{
	unsigned at = 0;

	for (unsigned i = 0; i < n->n_ns; i++) {
		if (n->ns[i].changed)
			fb_put_le32(page + 4 * at++, n->ns[i].nsid);
	}
}

static void make_effects(struct nvme *n, uint8_t *page)
{
	enum { CSUPP = 1 << 0, LBCC = 1 << 1, NCC = 1 << 2, CCC = 1 << 4, EXCLUSIVE_NS = 1 << 16 };
	static const uint8_t admin[] = {NVME_ADM_DELETE_SQ,  NVME_ADM_CREATE_SQ,    NVME_ADM_GET_LOG_PAGE,
					NVME_ADM_DELETE_CQ,  NVME_ADM_CREATE_CQ,    NVME_ADM_IDENTIFY,
					NVME_ADM_ABORT,	     NVME_ADM_SET_FEATURES, NVME_ADM_GET_FEATURES,
					NVME_ADM_ASYNC_EVENT};
	static const uint8_t io[] = {NVME_CMD_FLUSH, NVME_CMD_READ, NVME_CMD_COMPARE, NVME_CMD_VERIFY};
	struct nvme_effects_log *log = (struct nvme_effects_log *)(void *)page;

	for (unsigned i = 0; i < sizeof(admin); i++)
		nvme_put32(&log->acs[admin[i]], CSUPP);
	if (nvme_shadow_able(n))
		nvme_put32(&log->acs[NVME_ADM_DBBUF_CONFIG], CSUPP);
	nvme_put32(&log->acs[NVME_ADM_FORMAT], CSUPP | LBCC | NCC | EXCLUSIVE_NS);
	for (unsigned i = 0; i < sizeof(io); i++)
		nvme_put32(&log->iocs[io[i]], CSUPP);
	nvme_put32(&log->iocs[NVME_CMD_WRITE], CSUPP | LBCC);
	nvme_put32(&log->iocs[NVME_CMD_WRITE_ZEROES], CSUPP | LBCC);
	if (n->opt.discard)
		nvme_put32(&log->iocs[NVME_CMD_DSM], CSUPP | LBCC);
}

/* Size of a log page in bytes; 0: there is none of that number. */
static uint32_t log_size(uint8_t lid)
{
	switch (lid) {
	case NVME_LOG_ERROR:
		return NVME_ERRORS * sizeof(struct nvme_error_entry);
	case NVME_LOG_SMART:
	case NVME_LOG_FIRMWARE:
		return 512;
	case NVME_LOG_CHANGED_NS:
	case NVME_LOG_EFFECTS:
		return 4096;
	default:
		return 0;
	}
}

static void fill_log(struct nvme_cmd *cmd, uint8_t *buf)
{
	struct nvme *n = cmd->n;
	uint32_t cdw10 = nvme_get32(cmd->sqe.cdw10), size = log_size(cdw10 & 0xff), at, len;
	uint8_t page[4096] = {0};
	bool retain = cdw10 >> 15 & 1;

	switch (cdw10 & 0xff) {
	case NVME_LOG_ERROR:
		make_errors(n, page);
		break;
	case NVME_LOG_SMART:
		make_smart(n, nvme_get32(cmd->sqe.nsid), page);
		break;
	case NVME_LOG_FIRMWARE:
		make_firmware(n, page);
		break;
	case NVME_LOG_CHANGED_NS:
		make_changed(n, page);
		break;
	case NVME_LOG_EFFECTS:
		make_effects(n, page);
		break;
	}
	at = nvme_get32(cmd->sqe.cdw12); /* checked: at most size */
	len = size - at < cmd->len ? size - at : cmd->len;
	memcpy(buf, page + at, len);
	if (retain)
		return;
	if ((cdw10 & 0xff) == NVME_LOG_ERROR)
		nvme_event_unmask(n, NVME_EVENT_ERROR);
	if ((cdw10 & 0xff) == NVME_LOG_SMART)
		nvme_event_unmask(n, NVME_EVENT_SMART);
	if ((cdw10 & 0xff) == NVME_LOG_CHANGED_NS) {
		for (unsigned i = 0; i < n->n_ns; i++)
			n->ns[i].changed = false;
		nvme_event_unmask(n, NVME_EVENT_NOTICE);
	}
}

void nvme_get_log_page(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->n;
	uint32_t cdw10 = nvme_get32(cmd->sqe.cdw10), cdw11 = nvme_get32(cmd->sqe.cdw11);
	uint32_t nsid = nvme_get32(cmd->sqe.nsid), size = log_size(cdw10 & 0xff);
	uint64_t len = ((uint64_t)(cdw11 & 0xffff) << 16 | cdw10 >> 16) * 4 + 4;
	uint64_t offset = nvme_get32(cmd->sqe.cdw12) | (uint64_t)nvme_get32(cmd->sqe.cdw13) << 32;

	if (!size) {
		nvme_refuse(cmd, NVME_SC_INVALID_LOG_PAGE, 40);
	} else if (len > (uint64_t)4096 << n->mdts) {
		nvme_refuse(cmd, NVME_SC_INVALID_FIELD, 42);
	} else if (offset & 3 || offset > size) {
		nvme_refuse(cmd, NVME_SC_INVALID_FIELD, 48);
	} else if (nsid != 0 && nsid != UINT32_MAX && ((cdw10 & 0xff) != NVME_LOG_SMART || !nvme_ns_get(n, nsid))) {
		if ((cdw10 & 0xff) == NVME_LOG_SMART)
			nvme_refuse(cmd, NVME_SC_INVALID_NAMESPACE, 4);
		else
			nvme_refuse(cmd, NVME_SC_INVALID_FIELD, 4);
	} else {
		nvme_reply(cmd, (uint32_t)len, fill_log);
	}
}
