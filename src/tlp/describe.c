/* SPDX-License-Identifier: Apache-2.0 */
/* One line for logs. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "tlp/fields.h"
#include "tlp/rules.h"

struct line {
	char *buf;
	size_t cap, len;
};

__attribute__((format(printf, 2, 3))) static void add(struct line *l, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (l->len >= l->cap)
		return;
	va_start(ap, fmt);
	n = vsnprintf(l->buf + l->len, l->cap - l->len, fmt, ap);
	va_end(ap);
	if (n > 0)
		l->len += (size_t)n;
}

static void add_id(struct line *l, uint16_t id)
{
	add(l, "%02x:%02x.%u", id >> 8, id >> 3 & 31, id & 7u);
}

const char *pcie_msg_name(uint8_t code)
{
	switch (code) {
	case PCIE_MSG_UNLOCK: return "Unlock";
	case PCIE_MSG_INVALIDATE_REQUEST: return "Invalidate_Request";
	case PCIE_MSG_INVALIDATE_COMPLETION: return "Invalidate_Completion";
	case PCIE_MSG_PAGE_REQUEST: return "Page_Request";
	case PCIE_MSG_PRG_RESPONSE: return "PRG_Response";
	case PCIE_MSG_LTR: return "LTR";
	case PCIE_MSG_OBFF: return "OBFF";
	case PCIE_MSG_PM_ACTIVE_STATE_NAK: return "PM_Active_State_Nak";
	case PCIE_MSG_PM_PME: return "PM_PME";
	case PCIE_MSG_PME_TURN_OFF: return "PME_Turn_Off";
	case PCIE_MSG_PME_TO_ACK: return "PME_TO_Ack";
	case PCIE_MSG_ASSERT_INTA: return "Assert_INTA";
	case PCIE_MSG_ASSERT_INTA + 1: return "Assert_INTB";
	case PCIE_MSG_ASSERT_INTA + 2: return "Assert_INTC";
	case PCIE_MSG_ASSERT_INTA + 3: return "Assert_INTD";
	case PCIE_MSG_DEASSERT_INTA: return "Deassert_INTA";
	case PCIE_MSG_DEASSERT_INTA + 1: return "Deassert_INTB";
	case PCIE_MSG_DEASSERT_INTA + 2: return "Deassert_INTC";
	case PCIE_MSG_DEASSERT_INTA + 3: return "Deassert_INTD";
	case PCIE_MSG_ERR_COR: return "ERR_COR";
	case PCIE_MSG_ERR_NONFATAL: return "ERR_NONFATAL";
	case PCIE_MSG_ERR_FATAL: return "ERR_FATAL";
	case PCIE_MSG_SET_SLOT_POWER_LIMIT: return "Set_Slot_Power_Limit";
	case PCIE_MSG_PTM_REQUEST: return "PTM_Request";
	case PCIE_MSG_PTM_RESPONSE: return "PTM_Response";
	case PCIE_MSG_VENDOR_TYPE0: return "Vendor_Type0";
	case PCIE_MSG_VENDOR_TYPE1: return "Vendor_Type1";
	default: return NULL;
	}
}

static const char *const route_names[8] = {"to root",     "by address", "by ID",      "broadcast",
					   "local",       "gather",     "reserved 6", "reserved 7"};

const char *pcie_msg_route_name(uint8_t route)
{
	return route_names[route & 7];
}

static void add_msg(struct line *l, const struct pcie_tlp *tlp)
{
	const char *name = pcie_msg_name(tlp->msg_code);

	if (name)
		add(l, " %s", name);
	else
		add(l, " code 0x%02x", tlp->msg_code);
	add(l, " %s", route_names[tlp->msg_route & 7]);
	if (tlp->msg_route == PCIE_ROUTE_BY_ADDRESS)
		add(l, " 0x%" PRIx64, tlp->address);
	if (tlp->msg_route == PCIE_ROUTE_BY_ID) {
		add(l, " ");
		add_id(l, tlp->completer_id);
	}
	if (tlp->msg_code == PCIE_MSG_VENDOR_TYPE0 || tlp->msg_code == PCIE_MSG_VENDOR_TYPE1)
		add(l, " vendor %04x 0x%08x", tlp->vendor_id, tlp->vendor_data);
	else if (tlp->msg_code == PCIE_MSG_LTR)
		add(l, " snoop 0x%04x no-snoop 0x%04x", tlp->vendor_data & 0xffff, tlp->vendor_data >> 16);
}

char *pcie_tlp_describe(const struct pcie_tlp *tlp, char *buf, size_t cap)
{
	struct line line = {buf, cap, 0}, *l = &line;

	if (cap > 0)
		buf[0] = '\0';
	add(l, "%s ", pcie_tlp_type_name(tlp->type));
	if ((unsigned)tlp->type >= PCIE_TLP_TYPES)
		return buf;
	add_id(l, tlp->requester_id);
	add(l, " tag %u", tlp->tag);

	switch (pcie_type_info[tlp->type].kind) {
	case KIND_READ:
	case KIND_WRITE:
		add(l, " 0x%" PRIx64 " %u DW be %x/%x", tlp->address, tlp->length, tlp->first_be, tlp->last_be);
		break;
	case KIND_ATOMIC:
		add(l, " 0x%" PRIx64 " %u DW", tlp->address, tlp->length);
		break;
	case KIND_IO:
		add(l, " 0x%" PRIx64 " be %x", tlp->address, tlp->first_be);
		break;
	case KIND_CFG:
		add(l, " of ");
		add_id(l, tlp->completer_id);
		add(l, " reg 0x%x be %x", tlp->reg, tlp->first_be);
		break;
	case KIND_MSG:
		add_msg(l, tlp);
		if (tlp->length)
			add(l, " %u DW", tlp->length);
		break;
	default:
		add(l, " from ");
		add_id(l, tlp->completer_id);
		add(l, " %s", pcie_cpl_status_name(tlp->status));
		if (tlp->length)
			add(l, " %u DW", tlp->length);
		add(l, " count %u lower 0x%x%s", tlp->byte_count, tlp->lower_address, tlp->bcm ? " bcm" : "");
		break;
	}
	if (tlp->tc)
		add(l, " tc %u", tlp->tc);
	if (tlp->attr)
		add(l, " attr%s%s%s", tlp->attr & PCIE_ATTR_IDO ? " IDO" : "", tlp->attr & PCIE_ATTR_RO ? " RO" : "",
		    tlp->attr & PCIE_ATTR_NS ? " NS" : "");
	if (tlp->at)
		add(l, " at %u", tlp->at);
	if (tlp->th)
		add(l, " ph %u st %u", tlp->ph, tlp->st);
	if (tlp->ln)
		add(l, " ln");
	if (tlp->ep)
		add(l, " poisoned");
	if (tlp->td)
		add(l, " ecrc 0x%08x", tlp->ecrc);
	for (unsigned i = 0; i < tlp->n_prefixes && i < PCIE_TLP_MAX_PREFIXES; i++)
		add(l, " prefix 0x%08x", tlp->prefix[i]);
	return buf;
}
