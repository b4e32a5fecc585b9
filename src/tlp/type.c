/* SPDX-License-Identifier: Apache-2.0 */
/* Names, classes and the per-code rules of messages. */
#include "tlp/rules.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char *const type_names[] = {
	[PCIE_TLP_MRD] = "MRd",       [PCIE_TLP_MRDLK] = "MRdLk",     [PCIE_TLP_MWR] = "MWr",
	[PCIE_TLP_IORD] = "IORd",     [PCIE_TLP_IOWR] = "IOWr",       [PCIE_TLP_CFGRD0] = "CfgRd0",
	[PCIE_TLP_CFGWR0] = "CfgWr0", [PCIE_TLP_CFGRD1] = "CfgRd1",   [PCIE_TLP_CFGWR1] = "CfgWr1",
	[PCIE_TLP_MSG] = "Msg",       [PCIE_TLP_MSGD] = "MsgD",       [PCIE_TLP_CPL] = "Cpl",
	[PCIE_TLP_CPLD] = "CplD",     [PCIE_TLP_CPLLK] = "CplLk",     [PCIE_TLP_CPLDLK] = "CplDLk",
	[PCIE_TLP_FETCHADD] = "FetchAdd", [PCIE_TLP_SWAP] = "Swap",   [PCIE_TLP_CAS] = "CAS",
};
_Static_assert(COUNT(type_names) == PCIE_TLP_TYPES, "a type has no name");

static const char *const error_names[] = {
	[PCIE_TLP_OK] = "ok",
	[PCIE_TLP_E_SHORT] = "ends inside its header",
	[PCIE_TLP_E_TYPE] = "reserved type",
	[PCIE_TLP_E_LENGTH] = "payload shorter than Length",
	[PCIE_TLP_E_TRAILING] = "bytes left over",
	[PCIE_TLP_E_BE] = "byte enables",
	[PCIE_TLP_E_4K] = "crosses 4 KiB",
	[PCIE_TLP_E_4DW_BELOW_4G] = "4DW header below 4 GiB",
	[PCIE_TLP_E_CFG_IO_LENGTH] = "Cfg or I/O with Length, TC, Attr, AT or last BE",
	[PCIE_TLP_E_ATOMIC_LENGTH] = "AtomicOp operand size or alignment",
	[PCIE_TLP_E_MSG] = "message routing, TC or payload",
	[PCIE_TLP_E_CPL] = "completion counts contradict",
	[PCIE_TLP_E_PREFIX] = "prefix unknown, misplaced or too many",
	[PCIE_TLP_E_ECRC] = "ECRC",
	[PCIE_TLP_E_MPS] = "payload above Max_Payload_Size",
	[PCIE_TLP_E_FIELD] = "field out of range",
};
_Static_assert(COUNT(error_names) == PCIE_TLP_ERRORS, "an error has no name");

static const char *const status_names[] = {
	[PCIE_CPL_SC] = "SC",
	[PCIE_CPL_UR] = "UR",
	[PCIE_CPL_CRS] = "CRS",
	[3] = "reserved 3",
	[PCIE_CPL_CA] = "CA",
	[5] = "reserved 5",
	[6] = "reserved 6",
	[7] = "reserved 7",
};
_Static_assert(COUNT(status_names) == 8, "3 bits of status");

const char *pcie_tlp_type_name(enum pcie_tlp_type type)
{
	return (unsigned)type < PCIE_TLP_TYPES ? type_names[type] : "?";
}

const char *pcie_tlp_error_name(enum pcie_tlp_error error)
{
	return (unsigned)error < PCIE_TLP_ERRORS ? error_names[error] : "?";
}

const char *pcie_cpl_status_name(enum pcie_cpl_status status)
{
	return (unsigned)status < COUNT(status_names) ? status_names[status] : "?";
}

enum pcie_fc pcie_tlp_fc(enum pcie_tlp_type type)
{
	switch (type) {
	case PCIE_TLP_MWR:
	case PCIE_TLP_MSG:
	case PCIE_TLP_MSGD:
		return PCIE_FC_P;
	case PCIE_TLP_CPL:
	case PCIE_TLP_CPLD:
	case PCIE_TLP_CPLLK:
	case PCIE_TLP_CPLDLK:
		return PCIE_FC_CPL;
	default:
		return PCIE_FC_NP;
	}
}

bool pcie_tlp_has_data(enum pcie_tlp_type type)
{
	return (unsigned)type < PCIE_TLP_TYPES && pcie_type_info[type].data;
}

enum pcie_tlp_error pcie_tlp_check_mps(const struct pcie_tlp *tlp, unsigned mps)
{
	return pcie_tlp_has_data(tlp->type) && tlp->length * 4u > mps ? PCIE_TLP_E_MPS : PCIE_TLP_OK;
}

/* What 2.2.8 fixes for one message code. */
enum {
	ANY_ROUTE = 0x3f,
	TO_ROOT = 1 << PCIE_ROUTE_TO_ROOT,
	BY_ID = 1 << PCIE_ROUTE_BY_ID,
	BROADCAST = 1 << PCIE_ROUTE_BROADCAST,
	LOCAL = 1 << PCIE_ROUTE_LOCAL,
	GATHER = 1 << PCIE_ROUTE_GATHER,
	MSG = 1,
	MSGD = 2,
	ID_FIELD = 0xc0,     /* bytes 8, 9 */
	VENDOR_FIELD = 0x30, /* bytes 10, 11 */
	LAST_DW = 0x0f,      /* bytes 12..15 */
	ALL_FIELDS = 0xff,
};

struct msg_rule {
	uint8_t routes; /* 1 << r that are allowed */
	uint8_t forms;  /* MSG, MSGD */
	bool tc0;
	uint8_t fields; /* header bytes 8..15 that mean something, byte 8 in bit 7 */
};

static struct msg_rule msg_rule(uint8_t code)
{
	switch (code) {
	case PCIE_MSG_UNLOCK:
	case PCIE_MSG_PME_TURN_OFF:
		return (struct msg_rule){BROADCAST, MSG, true, 0};
	case PCIE_MSG_INVALIDATE_REQUEST:
		return (struct msg_rule){BY_ID, MSGD, false, ID_FIELD};
	case PCIE_MSG_INVALIDATE_COMPLETION:
	case PCIE_MSG_PRG_RESPONSE:
		return (struct msg_rule){BY_ID, MSG, false, ALL_FIELDS};
	case PCIE_MSG_PAGE_REQUEST:
		return (struct msg_rule){TO_ROOT, MSG, false, ALL_FIELDS};
	case PCIE_MSG_LTR:
	case PCIE_MSG_OBFF:
		return (struct msg_rule){LOCAL, MSG, true, LAST_DW};
	case PCIE_MSG_PM_ACTIVE_STATE_NAK:
	case PCIE_MSG_ASSERT_INTA ... PCIE_MSG_ASSERT_INTA + 3:
	case PCIE_MSG_DEASSERT_INTA ... PCIE_MSG_DEASSERT_INTA + 3:
		return (struct msg_rule){LOCAL, MSG, true, 0};
	case PCIE_MSG_PM_PME:
	case PCIE_MSG_ERR_COR:
	case PCIE_MSG_ERR_NONFATAL:
	case PCIE_MSG_ERR_FATAL:
		return (struct msg_rule){TO_ROOT, MSG, true, 0};
	case PCIE_MSG_PME_TO_ACK:
		return (struct msg_rule){GATHER, MSG, true, 0};
	case PCIE_MSG_SET_SLOT_POWER_LIMIT:
		return (struct msg_rule){LOCAL, MSGD, true, 0};
	case PCIE_MSG_PTM_REQUEST:
		return (struct msg_rule){LOCAL, MSG, true, 0};
	case PCIE_MSG_PTM_RESPONSE: /* MsgD: PTM ResponseD */
		return (struct msg_rule){LOCAL, MSG | MSGD, true, ALL_FIELDS};
	case PCIE_MSG_VENDOR_TYPE0:
	case PCIE_MSG_VENDOR_TYPE1:
		return (struct msg_rule){TO_ROOT | BY_ID | BROADCAST | LOCAL, MSG | MSGD, false,
					 VENDOR_FIELD | LAST_DW};
	default: /* not known: an unsupported request for whoever receives it, not malformed */
		return (struct msg_rule){ANY_ROUTE, MSG | MSGD, false, ALL_FIELDS};
	}
}

uint64_t pcie_msg_fields(uint8_t code, uint8_t route)
{
	uint8_t fields = msg_rule(code).fields;
	uint64_t mask = 0;

	if (route == PCIE_ROUTE_BY_ID)
		fields |= ID_FIELD;
	for (int i = 0; i < 8; i++)
		mask = mask << 8 | (fields & 0x80 >> i ? 0xff : 0);
	return mask;
}

enum pcie_tlp_error pcie_msg_check(const struct pcie_tlp *tlp)
{
	struct msg_rule rule = msg_rule(tlp->msg_code);

	if (tlp->msg_route > PCIE_ROUTE_GATHER || !(rule.routes >> tlp->msg_route & 1) || (rule.tc0 && tlp->tc != 0) ||
	    !(rule.forms & (tlp->type == PCIE_TLP_MSGD ? MSGD : MSG)))
		return PCIE_TLP_E_MSG;
	if (tlp->msg_code == PCIE_MSG_SET_SLOT_POWER_LIMIT && tlp->length != 1)
		return PCIE_TLP_E_MSG;
	return PCIE_TLP_OK;
}
