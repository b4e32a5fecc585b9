/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One outstanding read and any sequence of TLPs fed to it. Input: address (8
 * bytes, big-endian), length - 1 (2), requester (2), then records of a 2-byte
 * size and that many bytes of TLP. A record of size 0 stands for the right next
 * completion, at an MPS that the low two bits of the next byte pick, so that the
 * fuzzer gets deep without guessing counts.
 */
#include <stdlib.h>

#include "../../unit/tlp/tlp-testing.h"
#include "util/reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(x)                                                                                                     \
	do {                                                                                                           \
		if (!(x)) {                                                                                            \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x);                                \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

/* Feeds one TLP and checks what must hold whatever it was. */
static enum pcie_reassembly_result feed(struct pcie_reassembly *r, const struct pcie_tlp *cpl)
{
	struct pcie_reassembly before = *r;
	enum pcie_reassembly_result result = pcie_reassembly_feed(r, cpl);

	REQUIRE(r->done <= r->len && r->done >= before.done);
	REQUIRE(r->address == before.address && r->len == before.len && r->buf == before.buf);
	switch (result) {
	case PCIE_REASSEMBLY_MORE:
		REQUIRE(!r->over && r->done > before.done && r->done < r->len);
		break;
	case PCIE_REASSEMBLY_DONE:
		REQUIRE(r->over && r->done == r->len && r->status == PCIE_CPL_SC && !before.over && !r->poisoned);
		break;
	case PCIE_REASSEMBLY_FAILED:
		REQUIRE(r->over && r->status != PCIE_CPL_SC && !before.over);
		break;
	case PCIE_REASSEMBLY_MISMATCH:
		REQUIRE(r->done == before.done && r->over == before.over && r->status == before.status);
		break;
	}
	return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t payload[PCIE_TLP_MAX_DATA + 4];
	struct fb_reader r = fb_reader(data, size);
	uint64_t address = fb_rd_be64(&r);
	uint32_t len = fb_rd_be16(&r) & 0xfff;
	uint16_t requester = fb_rd_be16(&r);
	struct pcie_reassembly reassembly;
	struct pcie_tlp request = {.type = PCIE_TLP_MRD, .requester_id = requester}, cpl;
	uint8_t *buf;

	if (!fb_rd_ok(&r))
		return 0;
	if (len > 4096 - (address & 0xfff))
		len = 4096 - (address & 0xfff); /* as every read request is */
	buf = malloc(len ? len : 1);
	REQUIRE(buf);
	pcie_reassembly_start(&reassembly, requester, address, len, buf);
	pcie_tlp_set_range(&request, address, len);

	while (r.left > 0 && fb_rd_ok(&r)) {
		uint16_t n = fb_rd_be16(&r);

		if (n == 0) {
			uint32_t mps = 128u << (fb_rd_u8(&r) & 3), left = len - reassembly.done;
			uint32_t piece = pcie_split_completion(address + reassembly.done, left, mps, 64);
			bool was_over = reassembly.over;
			enum pcie_reassembly_result result;

			pcie_completion_for(&request, 0x0100, reassembly.done, piece, &cpl);
			cpl.data = payload;
			result = feed(&reassembly, &cpl);
			REQUIRE(was_over ? result == PCIE_REASSEMBLY_MISMATCH : result != PCIE_REASSEMBLY_MISMATCH);
		} else {
			const uint8_t *p = fb_rd_bytes(&r, n);

			if (p && pcie_tlp_decode(&cpl, p, n) == PCIE_TLP_OK)
				feed(&reassembly, &cpl);
		}
	}
	free(buf);
	return 0;
}
