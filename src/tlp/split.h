/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cutting a transfer into TLPs, and putting completions together again: MPS,
 * MRRS, RCB and the 4 KiB rule (2.2.7, 2.3.1.1). Pure functions over the
 * caller's memory, any thread.
 */
#ifndef FARBUS_TLP_SPLIT_H
#define FARBUS_TLP_SPLIT_H

#include "tlp/tlp.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The number of bytes the next request at `address` may cover when `left`
 * remain: at most `max` (MPS for writes, MRRS for reads; a power of two,
 * 128..4096), never across 4 KiB, cut so that later ones are aligned to `max`.
 */
uint32_t pcie_split_request(uint64_t address, uint64_t left, uint32_t max);

/*
 * The number of bytes the next completion may carry for a read at `address`
 * with `left` bytes still to send: at most mps, ending on an RCB boundary
 * (64 or 128) unless it is the last one.
 */
uint32_t pcie_split_completion(uint64_t address, uint32_t left, uint32_t mps, uint32_t rcb);

/*
 * Fills in one completion for a read request (status SC, CplD) for the `len`
 * bytes at byte offset `done` of the request's enabled range: byte_count,
 * lower_address, length, IDs, tag, TC and Attr. The payload must be length * 4
 * bytes whose first valid byte is at offset (lower_address & 3); the bytes around
 * the valid ones are seen by the requester, so zero them (2.2.5).
 */
void pcie_completion_for(const struct pcie_tlp *request, uint16_t completer_id, uint32_t done, uint32_t len,
			 struct pcie_tlp *cpl);
/*
 * A completion without data: errors, and writes that are non-posted. For a read
 * that fails after `done` of its bytes were sent, the second form.
 */
void pcie_completion_status(const struct pcie_tlp *request, uint16_t completer_id, enum pcie_cpl_status status,
			    struct pcie_tlp *cpl);
void pcie_completion_status_at(const struct pcie_tlp *request, uint16_t completer_id, enum pcie_cpl_status status,
			       uint32_t done, struct pcie_tlp *cpl);

/* What came of feeding one completion to an outstanding read. */
enum pcie_reassembly_result {
	PCIE_REASSEMBLY_MORE,     /* accepted, others to come */
	PCIE_REASSEMBLY_DONE,     /* accepted, the read is complete */
	PCIE_REASSEMBLY_FAILED,   /* the read is over, see `status`; also when all came, but some of it poisoned */
	/*
	 * Not the next piece of this read (wrong type, requester, byte count, lower
	 * address or length, or the read is over): to be dropped, the read is unchanged.
	 */
	PCIE_REASSEMBLY_MISMATCH,
};

/*
 * One outstanding read of `len` bytes at `address` into `buf`. Completions for
 * one tag arrive in address order (2.4.1); the caller finds the reassembly by
 * tag, so different tags may interleave freely. An error completion ends the
 * read whatever its counts say. BCM is not believed: Byte Count must be what is
 * left. len 0 is the zero-length read: one completion of one DW, nothing stored.
 * buf may be NULL to check without storing.
 */
struct pcie_reassembly {
	uint64_t address;
	uint32_t len, done;
	uint8_t *buf; /* len bytes, the caller's */
	uint16_t requester_id;
	enum pcie_cpl_status status; /* of a failed read: never SC; CA when data was poisoned */
	bool poisoned;               /* a completion had EP set */
	bool over;                   /* DONE or FAILED was returned */
};

void pcie_reassembly_start(struct pcie_reassembly *r, uint16_t requester_id, uint64_t address, uint32_t len, void *buf);
enum pcie_reassembly_result pcie_reassembly_feed(struct pcie_reassembly *r, const struct pcie_tlp *cpl);

#ifdef __cplusplus
}
#endif
#endif
