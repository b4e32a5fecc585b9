/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bugs that other codecs had, each by name, with the very case it failed on:
 * first the published ones of libtlp (shared facts, NetTLP, table "known bugs"),
 * then those reported against litepcie, pcileech-fpga and cocotbext-pcie. Those
 * that lie outside a codec (poll loops, dissectors, replay) are for the tests of
 * src/softpcie, wireshark/ and src/link.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tlp-testing.h"

static void check_header(const struct pcie_tlp *tlp, const char *hex)
{
	uint8_t got[PCIE_TLP_MAX_HEADER], want[PCIE_TLP_MAX_HEADER];
	size_t size = test_unhex(hex, 0, want);

	assert_int_equal(pcie_tlp_encode_header(tlp, got, NULL), size);
	assert_memory_equal(got, want, size);
}

/* libtlp 1: 1,024 bytes read in pieces of 256 reported as 256. The pieces add up here. */
static void libtlp_1_only_the_last_piece_counted(void **state)
{
	uint32_t done = 0, pieces = 0;

	for (; done < 1024; pieces++)
		done += pcie_split_request(0x1000 + done, 1024 - done, 256);
	assert_int_equal(done, 1024);
	assert_int_equal(pieces, 4);
}

/* libtlp 2: 300 bytes at 0x1001 by completions split at 64: byte 63 on was wrong and 301 bytes came back. */
static void libtlp_2_unaligned_read_by_several_completions(void **state)
{
	struct pcie_tlp request = {.type = PCIE_TLP_MRD, .requester_id = 0x0100}, cpl;
	uint8_t got[302], data[128];
	struct pcie_reassembly r;
	uint32_t done = 0, n = 0;

	memset(got, 0xcc, sizeof(got));
	pcie_tlp_set_range(&request, 0x1001, 300);
	pcie_reassembly_start(&r, 0x0100, 0x1001, 300, got);
	while (done < 300) {
		uint32_t len = pcie_split_completion(0x1001 + done, 300 - done, 128, 64), pad;

		pcie_completion_for(&request, 0, done, len, &cpl);
		pad = cpl.lower_address & 3;
		memset(data, 0xee, sizeof(data));
		for (uint32_t i = 0; i < len; i++)
			data[pad + i] = (uint8_t)(done + i);
		cpl.data = data;
		assert_int_equal(pcie_reassembly_feed(&r, &cpl),
				 done + len < 300 ? PCIE_REASSEMBLY_MORE : PCIE_REASSEMBLY_DONE);
		done += len;
		n++;
	}
	assert_true(n > 1);
	assert_int_equal(r.done, 300);
	for (uint32_t i = 0; i < 300; i++)
		assert_int_equal(got[i], (uint8_t)i);
	assert_int_equal(got[300], 0xcc);
}

/* libtlp 3: one byte at 0x1000 went out as three bytes with the pad in front. */
static void libtlp_3_write_shorter_than_a_dw(void **state)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_MWR, .requester_id = 0x0100,
			       .data = (const uint8_t *)"\xaa\0\0\0"};
	uint8_t got[32], want[32];
	size_t size;

	pcie_tlp_set_range(&tlp, 0x1000, 1);
	size = test_unhex("40000001 0100 00 01 00001000 aa000000", 0, want);
	assert_int_equal(pcie_tlp_encode(&tlp, got, sizeof(got), NULL), size);
	assert_memory_equal(got, want, size);

	tlp.data = (const uint8_t *)"\0\xaa\xbb\0";
	pcie_tlp_set_range(&tlp, 0x1001, 2);
	size = test_unhex("40000001 0100 00 06 00001000 00aabb00", 0, want);
	assert_int_equal(pcie_tlp_encode(&tlp, got, sizeof(got), NULL), size);
	assert_memory_equal(got, want, size);

	got[size - 1] = 0; /* a payload that is not whole DWs is refused, not padded */
	assert_int_equal(pcie_tlp_decode(&tlp, got, size - 1), PCIE_TLP_E_LENGTH);
}

/* libtlp 4 and its PR 5: 256 bytes at 0x1f80 crossed 4 KiB, in writes to this day. */
static void libtlp_4_crossing_4k(void **state)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_MWR};

	assert_int_equal(pcie_split_request(0x1f80, 256, 256), 0x80);
	assert_int_equal(pcie_split_request(0x2000, 0x80, 256), 0x80);
	for (int write = 0; write < 2; write++) {
		enum pcie_tlp_error err;
		uint8_t header[PCIE_TLP_MAX_HEADER];

		tlp.type = write ? PCIE_TLP_MWR : PCIE_TLP_MRD;
		pcie_tlp_set_range(&tlp, 0x1f80, 256);
		assert_int_equal(pcie_tlp_encode_header(&tlp, header, &err), 0);
		assert_int_equal(err, PCIE_TLP_E_4K);
	}
}

/* libtlp 5: 4,096 bytes made Length 0x400 run over into AT. */
static void libtlp_5_length_1024_leaves_at_alone(void **state)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_MRD, .requester_id = 0x0100, .tag = 1};

	pcie_tlp_set_range(&tlp, 0x1000, 4096);
	check_header(&tlp, "00000000 0100 01 ff 00001000");
}

/* libtlp 6: a zero-length read asked for 1,024 DW. */
static void libtlp_6_zero_length_read(void **state)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_MRD, .requester_id = 0x0100, .tag = 1};

	pcie_tlp_set_range(&tlp, 0x1000, 0);
	check_header(&tlp, "00000001 0100 01 00 00001000");
}

/* libtlp 7: 0xffffffff took a 4DW header with nothing in its upper half. */
static void libtlp_7_top_of_4g_is_3dw(void **state)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_MRD, .requester_id = 0x0100, .tag = 1};
	uint8_t bytes[16];
	size_t size;

	pcie_tlp_set_range(&tlp, 0xffffffff, 1);
	check_header(&tlp, "00000001 0100 01 08 fffffffc");
	size = test_unhex("20000001 0100 01 08 00000000 fffffffc", 0, bytes);
	assert_int_equal(pcie_tlp_decode(&tlp, bytes, size), PCIE_TLP_E_4DW_BELOW_4G);
}

/* libtlp 8: Byte Count 0 and Length 0 were taken for nothing; BE 0 for 4 bytes. */
static void libtlp_8_zero_means_the_most(void **state)
{
	uint8_t bytes[12 + 4096];
	struct pcie_tlp tlp;
	uint64_t address;
	uint32_t len;
	size_t size = test_unhex("4a000000 0200 0000 0100 0c 00", 4096, bytes);

	assert_int_equal(pcie_tlp_decode(&tlp, bytes, size), PCIE_TLP_OK);
	assert_int_equal(tlp.byte_count, 4096);
	assert_int_equal(tlp.length, 1024);
	size = test_unhex("00000000 0100 01 ff 00001000", 0, bytes);
	assert_int_equal(pcie_tlp_decode(&tlp, bytes, size), PCIE_TLP_OK);
	pcie_tlp_get_range(&tlp, &address, &len);
	assert_int_equal(len, 4096);
	size = test_unhex("00000001 0100 01 00 00001000", 0, bytes);
	assert_int_equal(pcie_tlp_decode(&tlp, bytes, size), PCIE_TLP_OK);
	pcie_tlp_get_range(&tlp, &address, &len);
	assert_int_equal(len, 0);
}

/* libtlp 9: CplLk, prefixes, 10-bit tags, TH, IDO, LN and the ECRC behind the payload were not known. */
static void libtlp_9_everything_in_one(void **state)
{
	static const uint8_t data[4] = {1, 2, 3, 4};
	struct pcie_tlp tlp = {.type = PCIE_TLP_CPLDLK, .attr = PCIE_ATTR_IDO, .td = true, .length = 1, .data = data,
			       .requester_id = 0x0100, .completer_id = 0x0200, .tag = 0x3ff, .byte_count = 4,
			       .n_prefixes = 1, .prefix = {0x9e000001}}, got;
	uint8_t bytes[64], digest[4];
	size_t size = pcie_tlp_encode(&tlp, bytes, sizeof(bytes), NULL);

	assert_int_equal(size, 4 + 12 + 4 + 4);
	test_ecrc(bytes, size - 4, digest);
	assert_memory_equal(digest, bytes + size - 4, 4);
	assert_int_equal(pcie_tlp_decode(&got, bytes, size), PCIE_TLP_OK);
	assert_null(test_tlp_differs(&tlp, &got));
	assert_ptr_equal(got.data, bytes + 16); /* the digest is not payload */

	tlp = (struct pcie_tlp){.type = PCIE_TLP_MRD, .ln = true, .th = true, .ph = 2, .st = 9, .tag = 0x2aa,
				.length = 16, .first_be = 15, .last_be = 15, .address = 0x1000};
	size = pcie_tlp_encode(&tlp, bytes, sizeof(bytes), NULL);
	assert_int_equal(pcie_tlp_decode(&got, bytes, size), PCIE_TLP_OK);
	assert_null(test_tlp_differs(&tlp, &got));
}

/* libtlp 10: setting the TC overwrote its byte; masks of DW 0. One field at a time changes its own bits only. */
static void libtlp_10_fields_of_dw0_do_not_touch_each_other(void **state)
{
	struct pcie_tlp base = {.type = PCIE_TLP_MRD, .tag = 0x3ff, .attr = 7, .length = 1023, .at = 3, .ep = true,
				.first_be = 15, .last_be = 15, .address = 0}, tlp;

	for (uint8_t tc = 0; tc < 8; tc++) {
		uint8_t header[PCIE_TLP_MAX_HEADER];

		tlp = base;
		tlp.tc = tc;
		assert_int_equal(pcie_tlp_encode_header(&tlp, header, NULL), 12);
		assert_int_equal(header[0], 0);
		assert_int_equal(header[1], 0x8c | tc << 4);
		assert_int_equal(header[2], 0x7f);
		assert_int_equal(header[3], 0xff);
	}
	tlp = (struct pcie_tlp){.type = PCIE_TLP_MRD, .length = 1};
	check_header(&tlp, "00000001 0000 00 00 00000000");
	tlp.tc = 7;
	check_header(&tlp, "00700001 0000 00 00 00000000");
	tlp.tc = 0;
	tlp.ep = true;
	check_header(&tlp, "00004001 0000 00 00 00000000");
}

/* libtlp 11: Length was believed, whatever the datagram's size: both too short and too long. */
static void libtlp_11_length_against_size(void **state)
{
	uint8_t bytes[PCIE_TLP_MAX_SIZE];
	struct pcie_tlp tlp;
	size_t size = test_unhex("40000000 0100 00 ff 00001000", 4096, bytes);

	assert_int_equal(pcie_tlp_decode(&tlp, bytes, size), PCIE_TLP_OK); /* 4096 + 12 fits */
	assert_int_equal(pcie_tlp_decode(&tlp, bytes, 4096), PCIE_TLP_E_LENGTH);
	assert_null(tlp.data);
	assert_int_equal(pcie_tlp_decode(&tlp, bytes, size + 4), PCIE_TLP_E_TRAILING);
	assert_null(tlp.data);
}

/* libtlp 12: reads through misaligned pointers. At all offsets, under the undefined behaviour sanitizer. */
static void libtlp_12_any_alignment(void **state)
{
	uint8_t bytes[64], moved[72];
	size_t size = test_unhex("91000001 60008002 0100 05 ff 00000002 00000ff8 0011223344556677 00000000", 0, bytes);

	test_ecrc(bytes, size - 4, bytes + size - 4);
	for (size_t offset = 0; offset < 8; offset++) {
		struct pcie_tlp tlp;

		memcpy(moved + offset, bytes, size);
		assert_int_equal(pcie_tlp_decode(&tlp, moved + offset, size), PCIE_TLP_OK);
		assert_int_equal(tlp.address, 0x200000ff8);
		assert_int_equal(pcie_tlp_encode(&tlp, bytes, sizeof(bytes), NULL), size);
		assert_memory_equal(bytes, moved + offset, size);
	}
}

/* libtlp 13 (its dissector): CA is 4, not 3; device and function are 5 and 3 bits. */
static void libtlp_13_status_and_ids_by_name(void **state)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_CPL, .status = PCIE_CPL_CA, .byte_count = 4, .requester_id = 0x01fa};
	char line[200];

	check_header(&tlp, "0a000000 0000 8004 01fa 00 00");
	assert_string_equal(pcie_tlp_describe(&tlp, line, sizeof(line)),
			    "Cpl 01:1f.2 tag 0 from 00:00.0 CA count 4 lower 0x0");
}

/* The published captures: a root complex answers 512 bytes with Byte Count 512, then 256, Lower Address 0 both times. */
static void nettlp_capture_512_byte_read(void **state)
{
	uint8_t bytes[12 + 256], buf[512];
	struct pcie_reassembly r;
	struct pcie_tlp cpl;
	size_t size;

	pcie_reassembly_start(&r, 0x0100, 0x1000, 512, buf);
	size = test_unhex("4a000040 0000 0200 0100 00 00", 256, bytes);
	assert_int_equal(pcie_tlp_decode(&cpl, bytes, size), PCIE_TLP_OK);
	assert_int_equal(pcie_reassembly_feed(&r, &cpl), PCIE_REASSEMBLY_MORE);
	size = test_unhex("4a000040 0000 0100 0100 00 00", 256, bytes);
	assert_int_equal(pcie_tlp_decode(&cpl, bytes, size), PCIE_TLP_OK);
	assert_int_equal(pcie_reassembly_feed(&r, &cpl), PCIE_REASSEMBLY_DONE);
}

/* The published simple-nic capture: the host's doorbell comes from requester 0000. */
static void nettlp_capture_doorbell(void **state)
{
	uint8_t bytes[32];
	struct pcie_tlp tlp;
	size_t size = test_unhex("40000001 0000 03 0f a0000000 01000000", 0, bytes);

	assert_int_equal(pcie_tlp_decode(&tlp, bytes, size), PCIE_TLP_OK);
	assert_true(tlp.requester_id == 0 && tlp.tag == 3 && tlp.address == 0xa0000000);
}

/* litepcie issue 178: a Byte Count from outside retired the tag; BCM was not looked at. */
static void litepcie_178_byte_count_does_not_retire(void **state)
{
	static const uint8_t data[64];
	uint8_t buf[256];
	struct pcie_reassembly r;
	struct pcie_tlp cpl = {.type = PCIE_TLP_CPLD, .length = 16, .data = data, .byte_count = 64,
			       .requester_id = 0x0100};

	for (int bcm = 0; bcm < 2; bcm++) {
		pcie_reassembly_start(&r, 0x0100, 0x1000, 256, buf);
		cpl.bcm = bcm;
		cpl.byte_count = 64; /* "this is all" */
		assert_int_equal(pcie_reassembly_feed(&r, &cpl), PCIE_REASSEMBLY_MISMATCH);
		assert_false(r.over);
		cpl.byte_count = 256;
		for (unsigned i = 0; i < 4; i++, cpl.byte_count -= 64) {
			cpl.lower_address = (uint8_t)(i * 64 & 0x7f);
			assert_int_equal(pcie_reassembly_feed(&r, &cpl),
					 i < 3 ? PCIE_REASSEMBLY_MORE : PCIE_REASSEMBLY_DONE);
		}
	}
}

/* litepcie pull 168: zero-length reads, and errors are Cpl without data. */
static void litepcie_168_zero_length_and_errors(void **state)
{
	struct pcie_tlp request = {.type = PCIE_TLP_MRD, .requester_id = 0x0100, .tag = 4}, cpl;

	pcie_tlp_set_range(&request, 0x1000, 0);
	pcie_completion_for(&request, 8, 0, 0, &cpl);
	check_header(&cpl, "4a000001 0008 0001 0100 04 00");
	pcie_completion_status(&request, 8, PCIE_CPL_UR, &cpl);
	check_header(&cpl, "0a000000 0008 2001 0100 04 00");
}

/* litepcie pull 171: CfgWr is answered by Cpl, CfgRd by CplD, Byte Count 4 both. */
static void litepcie_171_completions_of_config(void **state)
{
	struct pcie_tlp request = {.type = PCIE_TLP_CFGWR0, .tag = 4, .length = 1, .first_be = 1}, cpl;

	pcie_completion_status(&request, 0x0100, PCIE_CPL_SC, &cpl);
	check_header(&cpl, "0a000000 0100 0004 0000 04 00");
	request.type = PCIE_TLP_CFGRD0;
	pcie_completion_for(&request, 0x0100, 0, 1, &cpl);
	check_header(&cpl, "4a000001 0100 0004 0000 04 00");
}

/* litepcie pull 173: a tag used again while completions of its old use still come. */
static void litepcie_173_old_completion_after_tag_reuse(void **state)
{
	static const uint8_t data[128];
	uint8_t buf[256];
	struct pcie_reassembly r;
	struct pcie_tlp old = {.type = PCIE_TLP_CPLD, .length = 16, .data = data, .byte_count = 192,
			       .lower_address = 0x40, .requester_id = 0x0100};

	pcie_reassembly_start(&r, 0x0100, 0x2000, 256, buf);
	assert_int_equal(pcie_reassembly_feed(&r, &old), PCIE_REASSEMBLY_MISMATCH);
	assert_int_equal(r.done, 0);
}

/* pcileech-fpga pull 203, cocotbext-pcie issue 11: Lower Address of the later pieces, and its 7 bits. */
static void pcileech_203_lower_address_of_split_completions(void **state)
{
	struct pcie_tlp request = {.type = PCIE_TLP_MRD, .requester_id = 0x0100}, cpl;
	static const struct {
		uint32_t done;
		uint8_t lower;
	} want[] = {{0, 0x71}, {0x0f, 0x00}, {0x4f, 0x40}, {0x8f, 0x00}};

	pcie_tlp_set_range(&request, 0x1ff71 - 0x1000, 0xaf + 0x20);
	for (size_t i = 0; i < 4; i++) {
		pcie_completion_for(&request, 0, want[i].done, 32, &cpl);
		assert_int_equal(cpl.lower_address, want[i].lower);
		assert_int_not_equal(pcie_tlp_size(&cpl), 0);
	}
}

/* pcileech issue 26: what came over TCP had garbage after each TLP. It is named, not swallowed. */
static void pcileech_26_garbage_after_the_tlp(void **state)
{
	uint8_t bytes[64];
	struct pcie_tlp tlp;
	size_t size = test_unhex("4a000001 0200 0004 0100 0c 00 11223344 cdcdcdcd", 0, bytes);

	assert_int_equal(pcie_tlp_decode(&tlp, bytes, size), PCIE_TLP_E_TRAILING);
	assert_int_equal(pcie_tlp_decode(&tlp, bytes, size - 4), PCIE_TLP_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(libtlp_1_only_the_last_piece_counted),
		cmocka_unit_test(libtlp_2_unaligned_read_by_several_completions),
		cmocka_unit_test(libtlp_3_write_shorter_than_a_dw),
		cmocka_unit_test(libtlp_4_crossing_4k),
		cmocka_unit_test(libtlp_5_length_1024_leaves_at_alone),
		cmocka_unit_test(libtlp_6_zero_length_read),
		cmocka_unit_test(libtlp_7_top_of_4g_is_3dw),
		cmocka_unit_test(libtlp_8_zero_means_the_most),
		cmocka_unit_test(libtlp_9_everything_in_one),
		cmocka_unit_test(libtlp_10_fields_of_dw0_do_not_touch_each_other),
		cmocka_unit_test(libtlp_11_length_against_size),
		cmocka_unit_test(libtlp_12_any_alignment),
		cmocka_unit_test(libtlp_13_status_and_ids_by_name),
		cmocka_unit_test(nettlp_capture_512_byte_read),
		cmocka_unit_test(nettlp_capture_doorbell),
		cmocka_unit_test(litepcie_178_byte_count_does_not_retire),
		cmocka_unit_test(litepcie_168_zero_length_and_errors),
		cmocka_unit_test(litepcie_171_completions_of_config),
		cmocka_unit_test(litepcie_173_old_completion_after_tag_reuse),
		cmocka_unit_test(pcileech_203_lower_address_of_split_completions),
		cmocka_unit_test(pcileech_26_garbage_after_the_tlp),
	};

	return cmocka_run_group_tests_name("tlp neighbours", tests, NULL, NULL);
}
