/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream of records, and the input says which pieces of it a bystander sees, in
 * which order, how often, and what else: spoilt pieces, acknowledgements. Records
 * that come out have a size within bounds; memory too; and where all pieces came
 * from the stream as it was, each record is one of the stream's.
 */
#include <stdlib.h>
#include <string.h>

#include "capture/stream.h"
#include "link/link_wire.h"
#include "tlp/tlp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TLPS = 64, STREAM_MAX = 64 * 600 };

static uint8_t stream[STREAM_MAX];
static size_t stream_len;

struct check {
	uint64_t records, lost;
	bool spoilt;
};

static void make_stream(void)
{
	uint8_t payload[512];

	for (unsigned i = 0; i < TLPS; i++) {
		struct pcie_tlp t = {.type = i % 3 ? PCIE_TLP_MWR : PCIE_TLP_MRD, .requester_id = 0x100, .data = payload};
		uint8_t *p = stream + stream_len;
		size_t n;

		memset(payload, (int)i, sizeof(payload));
		pcie_tlp_set_range(&t, 0x10000 * (i + 1), 4 + i * 8);
		n = pcie_tlp_encode(&t, p + FB_WIRE_REC, PCIE_TLP_MAX_SIZE, NULL);
		p[0] = (uint8_t)pcie_tlp_fc(t.type);
		p[1] = 0;
		fb_put_be16(p + 2, (uint16_t)n);
		stream_len += fb_wire_record(n);
	}
}

static void record(void *arg, unsigned class_, const uint8_t *tlp, size_t len)
{
	struct check *c = arg;
	struct pcie_tlp t;

	c->records++;
	if (class_ > 2 || !len || len > FB_WIRE_TLP_MAX)
		abort();
	if (!c->spoilt && (pcie_tlp_decode(&t, tlp, len) || (unsigned)pcie_tlp_fc(t.type) != class_ || t.address % 0x10000))
		abort();
}

static void lost(void *arg, uint64_t bytes, const char *why)
{
	struct check *c = arg;

	c->lost += bytes;
	if (!bytes || !*why)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct check check = {0};
	struct fb_stream *s = calloc(1, sizeof(*s));
	const uint64_t base = 0x3fffffff00000000;

	if (!stream_len)
		make_stream();
	s->record = record;
	s->lost = lost;
	s->arg = &check;
	if (size && data[0] & 1)
		fb_stream_begin(s, base);
	for (size_t i = 1; i + 4 <= size; i += 4) {
		size_t at = fb_get_be16(data + i) * 4u % stream_len, len = (1 + data[i + 2] * 2u) * 4;

		if (len > stream_len - at)
			len = stream_len - at;
		if (data[i + 3] == 255) {
			fb_stream_acked(s, base + at);
		} else if (data[i + 3] == 254) { /* anything, anywhere */
			check.spoilt = true;
			fb_stream_data(s, base + fb_get_be16(data + i), data, size / 4 * 4);
		} else {
			fb_stream_data(s, base + at, stream + at, len);
		}
		if (s->waiting > FB_STREAM_WAITING_MAX || s->part_len > sizeof(s->part))
			abort();
	}
	fb_stream_fini(s);
	free(s);
	return 0;
}
