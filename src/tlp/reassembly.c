/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The completions of one read arrive in address order (2.4.1), so `done` is all
 * the state there is: the next one must begin at address + done (Lower Address),
 * say that len - done bytes are left (Byte Count), and carry either all of them
 * or a piece that ends on a Read Completion Boundary of 64 bytes, the smallest
 * there is. A duplicate, a stray of an earlier use of the tag, or a forged one
 * differs in one of these and changes nothing. Never believed: BCM, and Byte
 * Count as a measure of what this completion carries.
 */
#include <string.h>

#include "tlp/rules.h"
#include "tlp/split.h"

enum { SMALLEST_RCB = 64 };

void pcie_reassembly_start(struct pcie_reassembly *r, uint16_t requester_id, uint64_t address, uint32_t len, void *buf)
{
	*r = (struct pcie_reassembly){
		.address = len ? address : address & ~(uint64_t)3,
		.len = len,
		.buf = (uint8_t *)buf,
		.requester_id = requester_id,
		.status = PCIE_CPL_SC,
	};
}

static enum pcie_reassembly_result end(struct pcie_reassembly *r, enum pcie_cpl_status status)
{
	r->over = true;
	r->status = status;
	return status == PCIE_CPL_SC ? PCIE_REASSEMBLY_DONE : PCIE_REASSEMBLY_FAILED;
}

enum pcie_reassembly_result pcie_reassembly_feed(struct pcie_reassembly *r, const struct pcie_tlp *cpl)
{
	uint32_t left = r->len - r->done;
	uint64_t at = r->address + r->done;
	uint32_t pad = at & 3, n;

	if (r->over || (unsigned)cpl->type >= PCIE_TLP_TYPES || pcie_type_info[cpl->type].kind != KIND_CPL ||
	    cpl->requester_id != r->requester_id)
		return PCIE_REASSEMBLY_MISMATCH;
	if (cpl->status != PCIE_CPL_SC)
		return end(r, cpl->status);

	if (!cpl->data || cpl->length == 0 || cpl->byte_count != (left ? left : 1) ||
	    cpl->lower_address != (at & 0x7f) ||
	    !pcie_cpl_legal(cpl->length, cpl->byte_count, cpl->lower_address))
		return PCIE_REASSEMBLY_MISMATCH;
	n = cpl->length * 4u - pad;
	if (n < left && (at + n) % SMALLEST_RCB != 0)
		return PCIE_REASSEMBLY_MISMATCH;
	if (n > left)
		n = left;

	if (r->buf && n > 0)
		memcpy(r->buf + r->done, cpl->data + pad, n);
	r->done += n;
	r->poisoned |= cpl->ep;
	if (r->done < r->len)
		return PCIE_REASSEMBLY_MORE;
	return end(r, r->poisoned ? PCIE_CPL_CA : PCIE_CPL_SC);
}
