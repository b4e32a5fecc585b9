/* SPDX-License-Identifier: Apache-2.0 */
/* TLP prefixes, 2.2.10: which there are and where they may stand. */
#include "tlp/rules.h"

enum {
	LOCAL_MR_IOV = 0x80,
	LOCAL_VENDOR0 = 0x8e,
	LOCAL_VENDOR1 = 0x8f,
	END_TPH = 0x90, /* extended steering tag */
	END_PASID = 0x91,
	END_VENDOR0 = 0x9e,
	END_VENDOR1 = 0x9f,

	MAX_END_END = 4, /* 7.5.3.15: Max End-End TLP Prefixes is at most four */
};

/* 6.20.2: requests of memory by untranslated or translated address, and the ATS and PRI messages. */
static bool may_have_pasid(const struct pcie_tlp *tlp)
{
	switch (tlp->type) {
	case PCIE_TLP_MRD:
	case PCIE_TLP_MWR:
	case PCIE_TLP_FETCHADD:
	case PCIE_TLP_SWAP:
	case PCIE_TLP_CAS:
		return true;
	case PCIE_TLP_MSG:
		return tlp->msg_code == PCIE_MSG_PAGE_REQUEST || tlp->msg_code == PCIE_MSG_PRG_RESPONSE;
	case PCIE_TLP_MSGD:
		return tlp->msg_code == PCIE_MSG_INVALIDATE_REQUEST;
	default:
		return false;
	}
}

enum pcie_tlp_error pcie_prefix_check(const struct pcie_tlp *tlp)
{
	unsigned end_end = 0, pasids = 0;

	for (unsigned i = 0; i < tlp->n_prefixes; i++) {
		switch (tlp->prefix[i] >> 24) {
		case LOCAL_MR_IOV:
		case LOCAL_VENDOR0:
		case LOCAL_VENDOR1:
			if (end_end > 0) /* local ones come first */
				return PCIE_TLP_E_PREFIX;
			continue;
		case END_PASID:
			pasids++;
			break;
		case END_TPH:
		case END_VENDOR0:
		case END_VENDOR1:
			break;
		default:
			return PCIE_TLP_E_PREFIX;
		}
		end_end++;
	}
	if (end_end > MAX_END_END || pasids > 1 || (pasids && !may_have_pasid(tlp)))
		return PCIE_TLP_E_PREFIX;
	return PCIE_TLP_OK;
}
