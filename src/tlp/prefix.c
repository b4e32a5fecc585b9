/* SPDX-License-Identifier: Apache-2.0 */
/* TLP prefixes, 2.2.10: which there are, where they may stand, and PASID (6.20). */
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

	PASID_PRIV = 1 << 21,
	PASID_EXEC = 1 << 20,
	PASID_MASK = (1 << 20) - 1,
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

bool pcie_tlp_set_pasid(struct pcie_tlp *tlp, uint32_t pasid, bool priv, bool exec)
{
	unsigned end_end = 0;

	if (pasid > PASID_MASK || tlp->n_prefixes >= PCIE_TLP_MAX_PREFIXES)
		return false;
	for (unsigned i = 0; i < tlp->n_prefixes; i++) {
		if (tlp->prefix[i] >> 24 == END_PASID)
			return false;
		end_end += tlp->prefix[i] >> 28 == 9;
	}
	if (end_end >= MAX_END_END)
		return false;
	tlp->prefix[tlp->n_prefixes++] =
		(uint32_t)END_PASID << 24 | (priv ? PASID_PRIV : 0) | (exec ? PASID_EXEC : 0) | pasid;
	return true;
}

bool pcie_tlp_get_pasid(const struct pcie_tlp *tlp, uint32_t *pasid, bool *priv, bool *exec)
{
	for (unsigned i = 0; i < tlp->n_prefixes && i < PCIE_TLP_MAX_PREFIXES; i++) {
		if (tlp->prefix[i] >> 24 != END_PASID)
			continue;
		*pasid = tlp->prefix[i] & PASID_MASK;
		*priv = tlp->prefix[i] & PASID_PRIV;
		*exec = tlp->prefix[i] & PASID_EXEC;
		return true;
	}
	return false;
}
