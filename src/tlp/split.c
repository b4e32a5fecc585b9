/* SPDX-License-Identifier: Apache-2.0 */
/* Cutting transfers into requests and completions, and the headers of completions (2.2.9, 2.3.1.1). */
#include <string.h>

#include "tlp/rules.h"
#include "tlp/split.h"

uint32_t pcie_split_request(uint64_t address, uint64_t left, uint32_t max)
{
	/* max is a power of two up to 4096, so its multiples include every 4 KiB boundary */
	uint32_t room = max - (uint32_t)(address & (max - 1));

	return left < room ? (uint32_t)left : room;
}

uint32_t pcie_split_completion(uint64_t address, uint32_t left, uint32_t mps, uint32_t rcb)
{
	uint32_t pad = address & 3, n = mps - pad; /* the payload starts with the whole DW */

	if (left <= n)
		return left;
	return n - (uint32_t)((address + n) & (rcb - 1));
}

/* What the request asked for: how many bytes the completions count down, and the first one's low address. */
static void requested(const struct pcie_tlp *request, uint32_t *count, uint64_t *address)
{
	*address = 0; /* Lower Address is zero for all but memory reads */
	*count = 4;
	switch (request->type) {
	case PCIE_TLP_MRD:
	case PCIE_TLP_MRDLK:
		pcie_tlp_get_range(request, address, count);
		if (*count == 0)
			*count = 1; /* zero-length read, table 2-38 */
		break;
	case PCIE_TLP_FETCHADD:
	case PCIE_TLP_SWAP:
	case PCIE_TLP_CAS: {
		uint64_t target;

		pcie_tlp_get_range(request, &target, count);
		break;
	}
	default:
		break;
	}
}

static void fill(const struct pcie_tlp *request, uint16_t completer_id, uint32_t done, struct pcie_tlp *cpl)
{
	uint64_t address;
	uint32_t count;

	requested(request, &count, &address);
	memset(cpl, 0, offsetof(struct pcie_tlp, prefix));
	cpl->ecrc = 0;
	cpl->completer_id = completer_id;
	cpl->requester_id = request->requester_id;
	cpl->tag = request->tag;
	cpl->tc = request->tc;
	cpl->attr = request->attr;
	cpl->byte_count = (uint16_t)(done < count ? count - done : 1);
	cpl->lower_address = (address + done) & 0x7f;
}

void pcie_completion_for(const struct pcie_tlp *request, uint16_t completer_id, uint32_t done, uint32_t len,
			 struct pcie_tlp *cpl)
{
	fill(request, completer_id, done, cpl);
	cpl->type = request->type == PCIE_TLP_MRDLK ? PCIE_TLP_CPLDLK : PCIE_TLP_CPLD;
	cpl->status = PCIE_CPL_SC;
	if (request->type == PCIE_TLP_IORD || request->type == PCIE_TLP_CFGRD0 || request->type == PCIE_TLP_CFGRD1)
		cpl->length = 1; /* the whole DW, whatever its byte enables */
	else
		cpl->length = (uint16_t)(((cpl->lower_address & 3) + len + 3) / 4);
	if (cpl->length == 0)
		cpl->length = 1;
}

void pcie_completion_status_at(const struct pcie_tlp *request, uint16_t completer_id, enum pcie_cpl_status status,
			       uint32_t done, struct pcie_tlp *cpl)
{
	fill(request, completer_id, done, cpl);
	cpl->type = request->type == PCIE_TLP_MRDLK ? PCIE_TLP_CPLLK : PCIE_TLP_CPL;
	cpl->status = status;
}

void pcie_completion_status(const struct pcie_tlp *request, uint16_t completer_id, enum pcie_cpl_status status,
			    struct pcie_tlp *cpl)
{
	pcie_completion_status_at(request, completer_id, status, 0, cpl);
}
