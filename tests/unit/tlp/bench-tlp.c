/* SPDX-License-Identifier: Apache-2.0 */
/* ns per call of the codec's hot functions: the best of 15 rounds, since anything slower is the machine's doing. */
#include <time.h>

#include "tlp-testing.h"

enum { ROUNDS = 15, CALLS = 400 * 1000 };

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

#define T(t) .type = PCIE_TLP_##t
#define WRITE(dws) T(MWR), .length = (dws), .first_be = 15, .last_be = 15, .address = 0x100001000

static volatile uint64_t sink;
static uint8_t bytes[PCIE_TLP_MAX_SIZE];

enum what { DECODE, ENCODE_HEADER, SIZE, ENCODE };

static double run(enum what what, const struct pcie_tlp *tlp)
{
	size_t size = pcie_tlp_encode(tlp, bytes, sizeof(bytes), NULL);
	double best = 1e18;

	for (int round = 0; round < ROUNDS; round++) {
		uint64_t start = now_ns(), sum = 0;
		struct pcie_tlp t = *tlp;
		uint8_t out[PCIE_TLP_MAX_SIZE];
		double ns;

		for (int i = 0; i < CALLS; i++) {
			switch (what) {
			case DECODE:
				sum += pcie_tlp_decode(&t, bytes, size) + t.address;
				break;
			case ENCODE_HEADER:
				t.tag = i & 255;
				sum += pcie_tlp_encode_header(&t, out, NULL) + out[6];
				break;
			case SIZE:
				t.tag = i & 255;
				sum += pcie_tlp_size(&t);
				break;
			case ENCODE:
				t.tag = i & 255;
				sum += pcie_tlp_encode(&t, out, sizeof(out), NULL) + out[6];
				break;
			}
		}
		sink += sum;
		ns = (double)(now_ns() - start) / CALLS;
		if (ns < best)
			best = ns;
	}
	return best;
}

int main(void)
{
	static const uint8_t payload[4096];
	static const struct {
		const char *name;
		struct pcie_tlp tlp;
	} tlps[] = {
		{"MRd 3DW", {T(MRD), .length = 128, .first_be = 15, .last_be = 15, .address = 0x1000}},
		{"MWr 3DW 4 B", {T(MWR), .length = 1, .first_be = 15, .address = 0xfee00000}},
		{"MWr 4DW 256 B", {WRITE(64)}},
		{"MWr 4DW 4 KiB", {WRITE(1024)}},
		{"CplD 256 B", {T(CPLD), .length = 64, .byte_count = 256, .requester_id = 0x100}},
		{"Cpl", {T(CPL), .byte_count = 4}},
		{"CfgRd0", {T(CFGRD0), .length = 1, .first_be = 15, .completer_id = 0x100}},
		{"Assert_INTA", {T(MSG), .msg_code = PCIE_MSG_ASSERT_INTA, .msg_route = PCIE_ROUTE_LOCAL}},
		{"MWr 256 B PASID", {WRITE(64), .n_prefixes = 1, .prefix = {0x91000001}}},
		{"MWr 256 B ECRC", {WRITE(64), .td = true}},
		{"MWr 4 KiB ECRC", {WRITE(1024), .td = true}},
	};

	printf("%-16s %8s %14s %8s %8s   ns per call\n", "", "decode", "encode_header", "size", "encode");
	for (size_t i = 0; i < sizeof(tlps) / sizeof(tlps[0]); i++) {
		struct pcie_tlp copy = tlps[i].tlp, *t = &copy;

		if (pcie_tlp_has_data(t->type))
			t->data = payload;
		printf("%-16s %8.1f ", tlps[i].name, run(DECODE, t));
		if (t->td)
			printf("%14s ", "-");
		else
			printf("%14.1f ", run(ENCODE_HEADER, t));
		printf("%8.1f %8.1f\n", run(SIZE, t), run(ENCODE, t));
	}
	return 0;
}
