/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Splitting and reassembly: a transfer cut into requests, each answered by
 * completions that travel as bytes, must give the same memory back, whatever the
 * address, length, MPS, MRRS and RCB, and however the tags interleave; and what
 * does not belong to a read must not change it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tlp-testing.h"

enum { RID = 0x0100, CID = 0x0008, LONGEST = 16 * 1024 };

/* What memory holds at an address; every byte of a 4 KiB page differs from its neighbours and from the next page's. */
static uint8_t content(uint64_t address)
{
	return (uint8_t)(address * 167 + (address >> 8) * 59 + 1);
}

/* One completion as a completer sends it: through bytes, padding filled with something else. */
static void complete(const struct pcie_tlp *request, uint64_t address, uint32_t done, uint32_t len, uint8_t *wire,
		     struct pcie_tlp *cpl)
{
	static uint8_t payload[PCIE_TLP_MAX_DATA + 8];
	struct pcie_tlp made;
	size_t size;

	pcie_completion_for(request, CID, done, len, &made);
	memset(payload, 0xee, made.length * 4u);
	for (uint32_t i = 0; i < len; i++)
		payload[(made.lower_address & 3) + i] = content(address + done + i);
	made.data = payload;
	size = pcie_tlp_encode(&made, wire, PCIE_TLP_MAX_SIZE, NULL);
	assert_int_not_equal(size, 0);
	assert_int_equal(pcie_tlp_decode(cpl, wire, size), PCIE_TLP_OK);
}

/* Reads [address, address + len) as one transfer; returns the number of completions. */
static unsigned read_all(uint64_t address, uint32_t len, uint32_t mrrs, uint32_t mps, uint32_t rcb)
{
	static uint8_t got[LONGEST], wire[PCIE_TLP_MAX_SIZE];
	uint32_t at = 0;
	unsigned n = 0;

	memset(got, 0, len);
	while (at < len) {
		uint32_t piece = pcie_split_request(address + at, len - at, mrrs), done = 0;
		struct pcie_tlp request = {.type = PCIE_TLP_MRD, .requester_id = RID, .tag = (uint16_t)(n & 1023)};
		struct pcie_reassembly r;
		uint64_t from;
		uint32_t count;

		assert_true(piece > 0 && piece <= mrrs && piece <= len - at);
		assert_true((address + at) / 4096 == (address + at + piece - 1) / 4096);
		if (at + piece < len)
			assert_int_equal((address + at + piece) % mrrs, 0);
		pcie_tlp_set_range(&request, address + at, piece);
		assert_int_not_equal(pcie_tlp_encode_header(&request, wire, NULL), 0);
		pcie_tlp_get_range(&request, &from, &count);
		assert_true(from == address + at && count == piece);

		pcie_reassembly_start(&r, RID, address + at, piece, got + at);
		while (done < piece) {
			uint32_t part = pcie_split_completion(address + at + done, piece - done, mps, rcb);
			enum pcie_reassembly_result result;
			struct pcie_tlp cpl;

			assert_true(part > 0 && part <= piece - done);
			complete(&request, address + at, done, part, wire, &cpl);
			assert_true(cpl.length * 4u <= mps);
			assert_int_equal(cpl.byte_count, piece - done);
			assert_int_equal(cpl.lower_address, (address + at + done) & 0x7f);
			if (done + part < piece)
				assert_int_equal((address + at + done + part) % rcb, 0);
			result = pcie_reassembly_feed(&r, &cpl);
			done += part;
			n++;
			assert_int_equal(result, done < piece ? PCIE_REASSEMBLY_MORE : PCIE_REASSEMBLY_DONE);
		}
		at += piece;
	}
	for (uint32_t i = 0; i < len; i++) {
		if (got[i] != content(address + i))
			fail_msg("0x%llx + %u: byte %u wrong (MRRS %u MPS %u RCB %u)", (unsigned long long)address, len, i,
				 mrrs, mps, rcb);
	}
	return n;
}

/* Every offset around every edge of a page x lengths x all settings. */
static void test_every_edge(void **state)
{
	static const uint32_t lengths[] = {1,   2,   3,   4,   5,   7,    63,   64,   65,   127,  128,  129, 255,
					   256, 257, 511, 512, 513, 1023, 1024, 1025, 4095, 4096, 4097, 9000};
	static const uint32_t sizes[] = {128, 256, 512, 1024, 2048, 4096};
	unsigned turn = 0;

	assert_int_equal(sizeof(lengths) / sizeof(lengths[0]), 25);
	for (uint32_t edge = 0; edge <= 4096; edge += 64) {
		for (int off = -5; off <= 5; off++) {
			for (size_t l = 0; l < sizeof(lengths) / sizeof(lengths[0]); l++) {
				/* 72 settings and 25 lengths have no common divisor: each meets every other. */
				unsigned s = turn++;

				read_all(0x7ffff0000 + 4096 + edge + (uint64_t)off, lengths[l], sizes[s % 6],
					 sizes[s / 6 % 6], s / 36 % 2 ? 64 : 128);
			}
		}
	}
}

static void test_all_settings_at_hard_places(void **state)
{
	static const uint32_t sizes[] = {128, 256, 512, 1024, 2048, 4096};
	static const uint32_t places[] = {0, 1, 2, 3, 4, 61, 63, 64, 125, 127, 128, 4092, 4093, 4095};

	for (size_t m = 0; m < 6; m++) {
		for (size_t p = 0; p < 6; p++) {
			for (size_t a = 0; a < sizeof(places) / sizeof(places[0]); a++) {
				for (uint32_t len = 1; len < 300; len += 7) {
					read_all(0x10000 + places[a], len, sizes[m], sizes[p], 64);
					read_all(0x10000 + places[a], len, sizes[m], sizes[p], 128);
				}
				read_all(0x10000 + places[a], 5000, sizes[m], sizes[p], 64);
				read_all(0x10000 + places[a], 5000, sizes[m], sizes[p], 128);
			}
		}
	}
	assert_int_equal(read_all(0x10000, 4096, 4096, 4096, 64), 1);
	assert_int_equal(read_all(0x10000, 4096, 512, 128, 64), 32);
	assert_int_equal(read_all(0x10001, 64, 512, 128, 64), 1);
	assert_int_equal(read_all(0x10001, 127, 512, 128, 64), 1);
	assert_int_equal(read_all(0x10001, 128, 512, 128, 64), 2); /* 33 DW do not fit in 128 bytes */
}

/* The last bytes of the address space: nothing may wrap. Found by fuzz-reassembly. */
static void test_top_of_the_address_space(void **state)
{
	for (uint32_t len = 1; len <= 4096; len++) {
		assert_int_equal(read_all(-(uint64_t)len, len, 4096, 4096, 64), 1);
		read_all(-(uint64_t)len, len, 512, 128, len & 1 ? 64 : 128);
	}
}

/* Writes: pieces cover exactly, in order, never cross 4 KiB, never exceed MPS with their padding. */
static void test_write_split(void **state)
{
	uint64_t rnd = 7;

	for (int i = 0; i < 200000; i++) {
		uint32_t mps = 128u << test_rnd(&rnd) % 6, len = (uint32_t)(test_rnd(&rnd) % 10000) + 1;
		uint64_t address = test_rnd(&rnd) >> (test_rnd(&rnd) % 40), at = 0;

		if (address > UINT64_MAX - 20000)
			continue;
		while (at < len) {
			uint32_t n = pcie_split_request(address + at, len - at, mps);
			struct pcie_tlp w = {.type = PCIE_TLP_MWR};

			assert_true(n > 0);
			pcie_tlp_set_range(&w, address + at, n);
			assert_int_not_equal(pcie_tlp_size(&w), 0); /* legal: BE rules, 4 KiB, 3DW or 4DW */
			assert_int_equal(pcie_tlp_check_mps(&w, mps), PCIE_TLP_OK);
			at += n;
		}
		assert_int_equal(at, len);
	}
	assert_int_equal(pcie_split_request(0x1000, 0, 128), 0);
	assert_int_equal(pcie_split_request(0, UINT64_MAX, 4096), 4096); /* 64-bit counts */
}

/* Several reads under different tags, their completions interleaved at random. */
static void test_interleaving(void **state)
{
	enum { TAGS = 16 };
	struct {
		struct pcie_tlp request;
		struct pcie_reassembly r;
		uint64_t address;
		uint32_t len;
		uint8_t buf[4096];
	} *reads = calloc(TAGS, sizeof(*reads));
	static uint8_t wire[PCIE_TLP_MAX_SIZE];
	uint64_t rnd = 11;

	assert_non_null(reads);
	for (int round = 0; round < 500; round++) {
		unsigned open = TAGS;

		for (unsigned t = 0; t < TAGS; t++) {
			reads[t].address = 0x40000 + test_rnd(&rnd) % 4096;
			reads[t].len = (uint32_t)(test_rnd(&rnd) % (4096 - reads[t].address % 4096)) + 1;
			reads[t].request = (struct pcie_tlp){.type = PCIE_TLP_MRD, .requester_id = RID,
							     .tag = (uint16_t)(t * 67)};
			pcie_tlp_set_range(&reads[t].request, reads[t].address, reads[t].len);
			pcie_reassembly_start(&reads[t].r, RID, reads[t].address, reads[t].len, reads[t].buf);
		}
		while (open > 0) {
			unsigned t = (unsigned)(test_rnd(&rnd) % TAGS), by_tag;
			uint32_t mps = 128u << test_rnd(&rnd) % 3, part;
			struct pcie_tlp cpl;

			if (reads[t].r.over)
				continue;
			part = pcie_split_completion(reads[t].address + reads[t].r.done,
						     reads[t].len - reads[t].r.done, mps, 64);
			complete(&reads[t].request, reads[t].address, reads[t].r.done, part, wire, &cpl);
			by_tag = cpl.tag / 67;
			assert_int_equal(by_tag, t);
			switch (pcie_reassembly_feed(&reads[by_tag].r, &cpl)) {
			case PCIE_REASSEMBLY_DONE:
				open--;
				for (uint32_t i = 0; i < reads[t].len; i++)
					assert_int_equal(reads[t].buf[i], content(reads[t].address + i));
				break;
			case PCIE_REASSEMBLY_MORE:
				break;
			default:
				fail_msg("tag %u: a right completion is refused", cpl.tag);
			}
		}
	}
	free(reads);
}

/* A read of 256 bytes at 0x1010 whose first completion (to 0x1040) was taken. */
struct half {
	struct pcie_tlp request, next, first;
	struct pcie_reassembly r;
	uint8_t buf[256], wire[PCIE_TLP_MAX_SIZE], wire_first[PCIE_TLP_MAX_SIZE];
};

static void half_read(struct half *h)
{
	h->request = (struct pcie_tlp){.type = PCIE_TLP_MRD, .requester_id = RID, .tag = 5};
	pcie_tlp_set_range(&h->request, 0x1010, 256);
	memset(h->buf, 0, sizeof(h->buf));
	pcie_reassembly_start(&h->r, RID, 0x1010, 256, h->buf);
	complete(&h->request, 0x1010, 0, 0x30, h->wire_first, &h->first);
	assert_int_equal(pcie_reassembly_feed(&h->r, &h->first), PCIE_REASSEMBLY_MORE);
	complete(&h->request, 0x1010, 0x30, 64, h->wire, &h->next);
}

/* The completion must be dropped, the read left as it was, and the right one still taken. */
static void refused_then_right(struct half *h, const struct pcie_tlp *wrong)
{
	struct pcie_reassembly before = h->r;
	uint8_t buf[256];

	memcpy(buf, h->buf, sizeof(buf));
	assert_int_equal(pcie_reassembly_feed(&h->r, wrong), PCIE_REASSEMBLY_MISMATCH);
	assert_memory_equal(buf, h->buf, sizeof(buf));
	assert_true(h->r.done == before.done && h->r.over == before.over && h->r.status == before.status);
	assert_int_equal(pcie_reassembly_feed(&h->r, &h->next), PCIE_REASSEMBLY_MORE);
	assert_int_equal(h->r.done, before.done + 64);
}

static void test_duplicate(void **state)
{
	struct half h;

	half_read(&h);
	refused_then_right(&h, &h.first);
}

static void test_completion_left_out(void **state)
{
	struct half h;
	struct pcie_tlp later;
	static uint8_t wire[PCIE_TLP_MAX_SIZE];

	half_read(&h);
	complete(&h.request, 0x1010, 0x70, 64, wire, &later);
	refused_then_right(&h, &later);
}

static void test_wrong_requester(void **state)
{
	struct half h;
	struct pcie_tlp wrong;

	half_read(&h);
	wrong = h.next;
	wrong.requester_id = RID + 1;
	refused_then_right(&h, &wrong);
	half_read(&h);
	wrong.status = PCIE_CPL_UR; /* not even an error of someone else's ends the read */
	refused_then_right(&h, &wrong);
}

static void test_wrong_lower_address(void **state)
{
	for (unsigned lower = 0; lower < 128; lower++) {
		struct half h;
		struct pcie_tlp wrong;

		half_read(&h);
		wrong = h.next;
		wrong.lower_address = (uint8_t)lower;
		if (lower != (0x1040 & 0x7f))
			refused_then_right(&h, &wrong);
	}
}

static void test_wrong_byte_count(void **state)
{
	static const uint16_t counts[] = {1, 64, 207, 209, 256, 4096};

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		for (int bcm = 0; bcm < 2; bcm++) {
			struct half h;
			struct pcie_tlp wrong;

			half_read(&h);
			wrong = h.next;
			wrong.byte_count = counts[i];
			wrong.bcm = bcm; /* BCM would make Byte Count this completion's: no PCIe completer may set it */
			refused_then_right(&h, &wrong);
		}
	}
}

static void test_bcm_ignored_when_counts_are_right(void **state)
{
	struct half h;

	half_read(&h);
	h.next.bcm = true;
	assert_int_equal(pcie_reassembly_feed(&h.r, &h.next), PCIE_REASSEMBLY_MORE);
}

static void test_not_on_rcb(void **state)
{
	struct half h;
	struct pcie_tlp wrong;

	half_read(&h);
	wrong = h.next;
	wrong.length = 15; /* ends at 0x107c, and is not the last */
	refused_then_right(&h, &wrong);
}

static void test_more_than_asked(void **state)
{
	static const uint8_t data[4096];
	struct half h;
	struct pcie_tlp wrong;

	half_read(&h);
	wrong = h.next;
	wrong.length = 53; /* 52 are left */
	wrong.data = data;
	refused_then_right(&h, &wrong);
	half_read(&h);
	wrong.length = 1024;
	refused_then_right(&h, &wrong);
}

static void test_not_a_completion_with_data(void **state)
{
	struct half h;
	struct pcie_tlp wrong;

	half_read(&h);
	wrong = h.next;
	wrong.type = PCIE_TLP_MWR;
	refused_then_right(&h, &wrong);
	half_read(&h);
	wrong = h.next;
	wrong.type = PCIE_TLP_TYPES;
	refused_then_right(&h, &wrong);
	half_read(&h);
	wrong = h.next;
	wrong.type = PCIE_TLP_CPL; /* success, but no data */
	wrong.data = NULL;
	wrong.length = 0;
	refused_then_right(&h, &wrong);
}

static void test_stray_after_the_end(void **state)
{
	struct pcie_tlp request = {.type = PCIE_TLP_MRD, .requester_id = RID, .tag = 5}, cpl;
	static uint8_t wire[PCIE_TLP_MAX_SIZE];
	struct pcie_reassembly r;
	uint8_t buf[4];

	pcie_tlp_set_range(&request, 0x1000, 4);
	pcie_reassembly_start(&r, RID, 0x1000, 4, buf);
	complete(&request, 0x1000, 0, 4, wire, &cpl);
	assert_int_equal(pcie_reassembly_feed(&r, &cpl), PCIE_REASSEMBLY_DONE);
	assert_int_equal(pcie_reassembly_feed(&r, &cpl), PCIE_REASSEMBLY_MISMATCH);
	cpl.status = PCIE_CPL_UR;
	assert_int_equal(pcie_reassembly_feed(&r, &cpl), PCIE_REASSEMBLY_MISMATCH);
	assert_int_equal(r.status, PCIE_CPL_SC);
}

static void test_error_completions(void **state)
{
	static const enum pcie_cpl_status statuses[] = {PCIE_CPL_UR, PCIE_CPL_CRS, PCIE_CPL_CA};

	for (size_t i = 0; i < 3; i++) {
		struct half h;
		struct pcie_tlp cpl;

		half_read(&h);
		pcie_completion_status_at(&h.request, CID, statuses[i], 0x30, &cpl);
		assert_int_equal(cpl.type, PCIE_TLP_CPL);
		assert_int_equal(cpl.byte_count, 256 - 0x30);
		assert_int_equal(cpl.lower_address, 0x40);
		assert_int_not_equal(pcie_tlp_size(&cpl), 0);
		assert_int_equal(pcie_reassembly_feed(&h.r, &cpl), PCIE_REASSEMBLY_FAILED);
		assert_int_equal(h.r.status, statuses[i]);
		assert_int_equal(pcie_reassembly_feed(&h.r, &h.next), PCIE_REASSEMBLY_MISMATCH);

		half_read(&h);
		pcie_completion_status(&h.request, CID, statuses[i], &cpl); /* counts of the whole read: an end all the same */
		assert_int_equal(cpl.byte_count, 256);
		assert_int_equal(pcie_reassembly_feed(&h.r, &cpl), PCIE_REASSEMBLY_FAILED);
	}
}

/* Poisoned data: the rest is still awaited, so that the tag is not reused too early, then the read fails. */
static void test_poisoned(void **state)
{
	struct half h;

	half_read(&h);
	h.next.ep = true;
	assert_int_equal(pcie_reassembly_feed(&h.r, &h.next), PCIE_REASSEMBLY_MORE);
	complete(&h.request, 0x1010, 0x70, 256 - 0x70, h.wire, &h.next);
	assert_int_equal(pcie_reassembly_feed(&h.r, &h.next), PCIE_REASSEMBLY_FAILED);
	assert_true(h.r.poisoned);
	assert_int_equal(h.r.status, PCIE_CPL_CA);
	assert_int_equal(h.r.done, 256);
}

static void test_zero_length_read(void **state)
{
	for (unsigned offset = 0; offset < 4; offset++) {
		struct pcie_tlp request = {.type = PCIE_TLP_MRD, .requester_id = RID, .tag = 5}, cpl;
		static uint8_t wire[PCIE_TLP_MAX_SIZE];
		struct pcie_reassembly r;
		uint8_t guard = 0x77;

		pcie_tlp_set_range(&request, 0x1074 + offset, 0);
		pcie_reassembly_start(&r, RID, 0x1074 + offset, 0, &guard);
		complete(&request, 0x1074, 0, 0, wire, &cpl);
		assert_int_equal(cpl.length, 1);
		assert_int_equal(cpl.byte_count, 1);
		assert_int_equal(cpl.lower_address, 0x74);
		assert_int_equal(pcie_reassembly_feed(&r, &cpl), PCIE_REASSEMBLY_DONE);
		assert_int_equal(pcie_reassembly_feed(&r, &cpl), PCIE_REASSEMBLY_MISMATCH);
		assert_int_equal(guard, 0x77);
	}
}

static void test_reassembly_without_a_buffer(void **state)
{
	struct half h;

	half_read(&h);
	h.r.buf = NULL;
	assert_int_equal(pcie_reassembly_feed(&h.r, &h.next), PCIE_REASSEMBLY_MORE);
}

/* 2.2.9: what completions of each kind of request say. */
static void test_completion_headers(void **state)
{
	struct pcie_tlp cpl, rq = {.type = PCIE_TLP_CFGRD0, .requester_id = 8, .completer_id = 0x0100, .tag = 0x3a5,
				   .length = 1, .first_be = 2, .reg = 0x3c};
	struct pcie_tlp dirty;

	memset(&cpl, 0xa5, sizeof(cpl));
	pcie_completion_for(&rq, 0x0100, 0, 4, &cpl);
	dirty = (struct pcie_tlp){.type = PCIE_TLP_CPLD, .length = 1, .requester_id = 8, .tag = 0x3a5,
				  .completer_id = 0x0100, .byte_count = 4};
	assert_null(test_tlp_differs(&cpl, &dirty));

	rq.type = PCIE_TLP_CFGWR0;
	pcie_completion_status(&rq, 0x0100, PCIE_CPL_SC, &cpl);
	assert_true(cpl.type == PCIE_TLP_CPL && cpl.byte_count == 4 && cpl.lower_address == 0 && cpl.length == 0);

	rq = (struct pcie_tlp){.type = PCIE_TLP_IORD, .length = 1, .first_be = 4, .address = 0x3f4};
	pcie_completion_for(&rq, 0x0100, 0, 1, &cpl);
	assert_true(cpl.byte_count == 4 && cpl.lower_address == 0 && cpl.length == 1);

	rq = (struct pcie_tlp){.type = PCIE_TLP_MRDLK, .length = 1, .first_be = 4, .address = 0x1000, .tc = 0};
	pcie_completion_for(&rq, 0x0100, 0, 1, &cpl);
	assert_true(cpl.type == PCIE_TLP_CPLDLK && cpl.byte_count == 1 && cpl.lower_address == 2 && cpl.length == 1);
	pcie_completion_status(&rq, 0x0100, PCIE_CPL_CA, &cpl);
	assert_int_equal(cpl.type, PCIE_TLP_CPLLK);

	rq = (struct pcie_tlp){.type = PCIE_TLP_CAS, .length = 8, .address = 0x1010, .tc = 5,
			       .attr = PCIE_ATTR_RO | PCIE_ATTR_IDO};
	pcie_completion_for(&rq, 0x0100, 0, 16, &cpl); /* the old value: one operand */
	assert_true(cpl.byte_count == 16 && cpl.length == 4 && cpl.lower_address == 0);
	assert_true(cpl.tc == 5 && cpl.attr == (PCIE_ATTR_RO | PCIE_ATTR_IDO));
	rq = (struct pcie_tlp){.type = PCIE_TLP_FETCHADD, .length = 2, .address = 0x1018};
	pcie_completion_for(&rq, 0x0100, 0, 8, &cpl);
	assert_true(cpl.byte_count == 8 && cpl.length == 2 && cpl.lower_address == 0);

	/* byte enables with holes: from the first to the last enabled byte, table 2-38 */
	rq = (struct pcie_tlp){.type = PCIE_TLP_MRD, .length = 2, .first_be = 2, .last_be = 4, .address = 0x1008};
	pcie_completion_for(&rq, 0x0100, 0, 6, &cpl);
	assert_true(cpl.byte_count == 6 && cpl.lower_address == 9 && cpl.length == 2);
}

/* Table 2-38 in full: Byte Count and Lower Address for every byte enable of a 1 DW read. */
static void test_byte_count_of_one_dw(void **state)
{
	static const uint8_t count[16] = {1, 1, 1, 2, 1, 3, 2, 3, 1, 4, 3, 4, 2, 4, 3, 4};
	static const uint8_t lower[16] = {0, 0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0};

	for (unsigned be = 0; be < 16; be++) {
		struct pcie_tlp rq = {.type = PCIE_TLP_MRD, .length = 1, .first_be = (uint8_t)be, .address = 0x1040}, cpl;

		pcie_completion_for(&rq, 0x0100, 0, be ? count[be] : 0, &cpl);
		assert_int_equal(cpl.byte_count, count[be]);
		assert_int_equal(cpl.lower_address, 0x40 | lower[be]);
		assert_int_equal(cpl.length, 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_edge),
		cmocka_unit_test(test_all_settings_at_hard_places),
		cmocka_unit_test(test_top_of_the_address_space),
		cmocka_unit_test(test_write_split),
		cmocka_unit_test(test_interleaving),
		cmocka_unit_test(test_duplicate),
		cmocka_unit_test(test_completion_left_out),
		cmocka_unit_test(test_wrong_requester),
		cmocka_unit_test(test_wrong_lower_address),
		cmocka_unit_test(test_wrong_byte_count),
		cmocka_unit_test(test_bcm_ignored_when_counts_are_right),
		cmocka_unit_test(test_not_on_rcb),
		cmocka_unit_test(test_more_than_asked),
		cmocka_unit_test(test_not_a_completion_with_data),
		cmocka_unit_test(test_stray_after_the_end),
		cmocka_unit_test(test_error_completions),
		cmocka_unit_test(test_poisoned),
		cmocka_unit_test(test_zero_length_read),
		cmocka_unit_test(test_reassembly_without_a_buffer),
		cmocka_unit_test(test_completion_headers),
		cmocka_unit_test(test_byte_count_of_one_dw),
	};

	return cmocka_run_group_tests_name("tlp split", tests, NULL, NULL);
}
