/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes: decoding must not misbehave, and what it accepts must encode again
 * to the same bytes (reserved bits apart) and decode again to the same struct.
 */
#include <stdlib.h>

#include "../../unit/tlp/tlp-testing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(x)                                                                                                     \
	do {                                                                                                           \
		if (!(x)) {                                                                                            \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x);                                \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t fixed[PCIE_TLP_MAX_SIZE], bytes[PCIE_TLP_MAX_SIZE];
	struct pcie_tlp tlp, again;
	enum pcie_tlp_error err = pcie_tlp_decode(&tlp, data, size);
	char text[300];
	uint64_t address;
	uint32_t len;

	/* The ECRC is checked last: give such inputs the right one, so that the rest is exercised too. */
	if (err == PCIE_TLP_E_ECRC) {
		memcpy(fixed, data, size);
		test_ecrc(data, size - 4, fixed + size - 4);
		data = fixed;
		err = pcie_tlp_decode(&tlp, data, size);
		REQUIRE(err == PCIE_TLP_OK);
	}
	pcie_tlp_describe(&tlp, text, sizeof(text));
	pcie_tlp_get_range(&tlp, &address, &len);
	REQUIRE((unsigned)err < PCIE_TLP_ERRORS && len <= 4096);
	if (err)
		return 0;

	REQUIRE(pcie_tlp_size(&tlp) == size);
	REQUIRE(pcie_tlp_encode(&tlp, bytes, size, &err) == size && err == PCIE_TLP_OK);
	REQUIRE(test_same_bytes(data, bytes, size, tlp.td));
	REQUIRE(pcie_tlp_decode(&again, bytes, size) == PCIE_TLP_OK);
	REQUIRE(test_tlp_differs(&tlp, &again) == NULL);
	if (!tlp.td) {
		uint8_t header[PCIE_TLP_MAX_HEADER];
		size_t n = pcie_tlp_encode_header(&tlp, header, NULL);

		REQUIRE(n == size - (tlp.data ? tlp.length * 4u : 0) && memcmp(header, bytes, n) == 0);
	}
	return 0;
}
