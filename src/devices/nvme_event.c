/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asynchronous events (5.2). An event waits until the host has a request for
 * it outstanding. After one of a type is reported, the type is silent until the
 * host reads the log page that was named (without Retain Asynchronous Event).
 */
#include "devices/nvme.h"

static bool wanted(const struct nvme *n, enum nvme_event_type type)
{
	switch (type) {
	case NVME_EVENT_SMART:
		return n->feat.events & NVME_AEC_TEMPERATURE;
	case NVME_EVENT_NOTICE:
		return n->feat.events & NVME_AEC_NS_ATTRIBUTE;
	default:
		return true; /* errors cannot be switched off */
	}
}

static void report(struct nvme *n)
{
	for (unsigned type = 0; type < NVME_EVENT_TYPES; type++) {
		struct nvme_cmd *aer = TAILQ_FIRST(&n->aers);
		unsigned info;

		if (!aer)
			return;
		if (!n->event_pending[type] || n->event_masked >> type & 1)
			continue;
		info = (unsigned)__builtin_ctz(n->event_pending[type]);
		n->event_pending[type] &= (uint16_t)~(1u << info);
		n->event_masked |= (uint8_t)(1u << type);
		aer->dw0 = type | info << 8 | (uint32_t)n->event_page[type][info] << 16;
		nvme_complete(aer, NVME_SC_SUCCESS);
	}
}

void nvme_event(struct nvme *n, enum nvme_event_type type, uint8_t info, uint8_t log_page)
{
	if (!n->enabled || !wanted(n, type))
		return;
	n->event_pending[type] |= (uint16_t)(1u << info);
	n->event_page[type][info] = log_page;
	report(n);
}

void nvme_event_unmask(struct nvme *n, enum nvme_event_type type)
{
	n->event_masked &= (uint8_t)~(1u << type);
	report(n);
}

void nvme_event_request(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->n;

	if (n->n_aers == NVME_AERS) {
		nvme_refuse(cmd, NVME_SC_AER_LIMIT, 0);
		return;
	}
	nvme_park(cmd);
	cmd->is_aer = true;
	n->n_aers++;
	TAILQ_INSERT_TAIL(&n->aers, cmd, link);
	report(n);
}

void nvme_events_reset(struct nvme *n)
{
	n->event_masked = 0;
	for (unsigned type = 0; type < NVME_EVENT_TYPES; type++)
		n->event_pending[type] = 0;
}

uint8_t nvme_critical_warning(const struct nvme *n)
{
	return n->feat.temp_over <= NVME_TEMPERATURE || n->feat.temp_under >= NVME_TEMPERATURE ? 1 << 1 : 0;
}

void nvme_check_temperature(struct nvme *n)
{
	bool bad = nvme_critical_warning(n) != 0;

	if (bad && !n->bad_temperature)
		nvme_event(n, NVME_EVENT_SMART, NVME_EVENT_TEMPERATURE, NVME_LOG_SMART);
	n->bad_temperature = bad;
}
