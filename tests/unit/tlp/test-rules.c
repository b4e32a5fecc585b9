/* SPDX-License-Identifier: Apache-2.0 */
/* The rules one by one, exhaustively where the space is small, and the small functions of tlp.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tlp-testing.h"

#define T(t) .type = PCIE_TLP_##t

/* All 256 pairs of byte enables at every kind of length and alignment, against 2.2.5 spelled out. */
static void test_all_byte_enables(void **state)
{
	static const struct {
		unsigned length;
		uint64_t address;
	} cases[] = {{1, 0x1000}, {1, 0x1004}, {2, 0x1000}, {2, 0x1004}, {3, 0x1000}, {3, 0x1004}, {1024, 0x1000}};

	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
		for (unsigned be = 0; be < 256; be++) {
			unsigned first = be & 15, last = be >> 4, n = cases[c].length;
			bool top = first == 15 || first == 14 || first == 12 || first == 8;
			bool bottom = last == 15 || last == 7 || last == 3 || last == 1;
			bool legal = n == 1                                  ? last == 0
				     : n == 2 && cases[c].address % 8 == 0 ? first && last
									   : top && bottom;
			uint8_t bytes[12] = {0, 0, (uint8_t)(n >> 8 & 3), (uint8_t)n, 1, 0, 0, (uint8_t)be, 0, 0,
					     0x10, (uint8_t)cases[c].address};
			struct pcie_tlp tlp = {T(MRD), .length = (uint16_t)n, .first_be = (uint8_t)first,
					       .last_be = (uint8_t)last, .address = cases[c].address,
					       .requester_id = 0x100};
			uint8_t made[PCIE_TLP_MAX_HEADER];
			enum pcie_tlp_error err, want = legal ? PCIE_TLP_OK : PCIE_TLP_E_BE;

			assert_int_equal(pcie_tlp_encode_header(&tlp, made, &err), legal ? 12 : 0);
			assert_int_equal(err, want);
			if (legal)
				assert_memory_equal(made, bytes, 12);
			assert_int_equal(pcie_tlp_decode(&tlp, bytes, 12), want);
		}
	}
}

/* Every one of the 256 first bytes: exactly those of table 2-3 are taken. */
static void test_every_type_byte(void **state)
{
	for (unsigned b = 0; b < 256; b++) {
		uint8_t bytes[32] = {(uint8_t)b, 0, 0, 1, 1, 0, 0, 0x0f, 0, 0, 0x10, 0};
		unsigned fmt = b >> 5, type = b & 31;
		bool memory = type == 0 || (type == 1 && !(fmt & 2)), io_cfg = type == 2 || type == 4 || type == 5;
		bool cpl = type == 10 || type == 11, atomic = type >= 12 && type <= 14, msg = type >> 3 == 2;
		bool exists = fmt < 4 && (memory || (!(fmt & 1) && (io_cfg || cpl)) || (fmt >= 2 && atomic) ||
					  (fmt & 1 && msg));
		struct pcie_tlp tlp;
		enum pcie_tlp_error err = pcie_tlp_decode(&tlp, bytes, sizeof(bytes));

		if (fmt == 4)
			assert_true(err == PCIE_TLP_E_PREFIX || err == PCIE_TLP_E_TRAILING);
		else if (exists != (err != PCIE_TLP_E_TYPE))
			fail_msg("byte 0 0x%02x: %s", b, pcie_tlp_error_name(err));
	}
}

/* 2.3.2: a reserved Completion Status is handled as UR. */
static void test_reserved_status_is_ur(void **state)
{
	for (unsigned status = 0; status < 8; status++) {
		uint8_t bytes[12] = {0x0a, 0, 0, 0, 1, 0, (uint8_t)(status << 5), 4, 0, 0, 1, 0};
		struct pcie_tlp tlp;

		assert_int_equal(pcie_tlp_decode(&tlp, bytes, 12), PCIE_TLP_OK);
		assert_int_equal(tlp.status, status == 0 || status == 2 || status == 4 ? status : PCIE_CPL_UR);
	}
}

/* Fields that a type does not have do not reach the wire. */
static void test_foreign_fields_ignored(void **state)
{
	struct pcie_tlp noise = {.at = 3, .th = true, .ln = true, .nw = true, .ph = 3, .st = 0xff, .length = 77,
				 .first_be = 15, .last_be = 15, .address = 0xffffffffffffffff, .reg = 0xffff,
				 .status = PCIE_CPL_CA, .bcm = true, .byte_count = 9999, .lower_address = 255,
				 .requester_id = 0x0100, .completer_id = 0x0200, .vendor_id = 0xffff,
				 .vendor_data = 0xffffffff, .msg_code = 0xff, .msg_route = 7, .tag = 5};
	uint8_t buf[PCIE_TLP_MAX_HEADER], want[16];
	struct pcie_tlp tlp = noise;

	tlp.type = PCIE_TLP_CPL;
	tlp.byte_count = 4;
	tlp.lower_address = 0;
	assert_int_equal(pcie_tlp_encode_header(&tlp, buf, NULL), 12);
	test_unhex("0a000000 0200 9004 0100 05 00", 0, want);
	assert_memory_equal(buf, want, 12);

	tlp = noise;
	tlp.type = PCIE_TLP_MSG;
	tlp.msg_code = PCIE_MSG_ASSERT_INTA;
	tlp.msg_route = PCIE_ROUTE_LOCAL;
	assert_int_equal(pcie_tlp_encode_header(&tlp, buf, NULL), 16);
	test_unhex("34000000 0100 05 20 0000000000000000", 0, want);
	assert_memory_equal(buf, want, 16);

	tlp = noise;
	tlp.type = PCIE_TLP_CFGRD0;
	tlp.length = 1;
	tlp.last_be = 0;
	tlp.at = 0;
	tlp.reg = 0x40;
	assert_int_equal(pcie_tlp_encode_header(&tlp, buf, NULL), 12);
	test_unhex("04000001 0100 05 0f 0200 0040", 0, want);
	assert_memory_equal(buf, want, 12);
}

/* Variant bits: an ECRC survives Cfg type 1 -> 0, poisoning and a local prefix; nothing else. */
static void test_ecrc_variant_bits(void **state)
{
	struct pcie_tlp tlp = {T(CFGWR1), .td = true, .length = 1, .first_be = 15, .completer_id = 0x0100,
			       .data = (const uint8_t *)"\1\2\3\4"};
	uint8_t bytes[64] = {0}, *p = bytes + 4;
	size_t size = pcie_tlp_encode(&tlp, p, 60, NULL);

	assert_int_equal(size, 20);
	assert_int_equal(pcie_tlp_decode(&tlp, p, size), PCIE_TLP_OK);
	p[0] ^= 0x01;
	assert_int_equal(pcie_tlp_decode(&tlp, p, size), PCIE_TLP_OK);
	assert_int_equal(tlp.type, PCIE_TLP_CFGWR0);
	p[2] ^= 0x40;
	assert_int_equal(pcie_tlp_decode(&tlp, p, size), PCIE_TLP_OK);
	assert_true(tlp.ep);
	bytes[0] = 0x8e;
	assert_int_equal(pcie_tlp_decode(&tlp, bytes, size + 4), PCIE_TLP_OK);
	bytes[0] = 0x9e; /* an end-to-end prefix that was not there */
	assert_int_equal(pcie_tlp_decode(&tlp, bytes, size + 4), PCIE_TLP_E_ECRC);

	for (size_t bit = 0; bit < size * 8; bit++) {
		if (bit == 0 || bit == 2 * 8 + 6)
			continue;
		p[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_not_equal(pcie_tlp_decode(&tlp, p, size), PCIE_TLP_OK);
		p[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_int_equal(pcie_tlp_ecrc(bytes, 3), 0);
}

static void test_range(void **state)
{
	for (uint32_t offset = 0; offset < 8; offset++) {
		for (uint32_t len = 0; len <= 4096 - offset; len++) {
			struct pcie_tlp tlp = {T(MRD)};
			uint64_t address;
			uint32_t got;

			pcie_tlp_set_range(&tlp, 0x1000 + offset, len);
			assert_int_equal(tlp.address, 0x1000 + (offset & 4));
			assert_int_equal(tlp.length, len ? (offset % 4 + len + 3) / 4 : 1);
			assert_int_not_equal(pcie_tlp_size(&tlp), 0);
			pcie_tlp_get_range(&tlp, &address, &got);
			assert_int_equal(got, len);
			assert_int_equal(address, 0x1000 + (len ? offset : offset & 4));
		}
	}
	struct pcie_tlp tlp = {T(MRD)};
	uint64_t address;
	uint32_t len;

	pcie_tlp_set_range(&tlp, 1, 4096); /* 1025 DW */
	assert_int_equal(pcie_tlp_size(&tlp), 0);
	tlp = (struct pcie_tlp){T(MRD), .length = 2, .first_be = 2, .last_be = 4, .address = 8};
	pcie_tlp_get_range(&tlp, &address, &len);
	assert_true(address == 9 && len == 6);
	tlp = (struct pcie_tlp){T(CAS), .length = 8, .address = 16};
	pcie_tlp_get_range(&tlp, &address, &len);
	assert_true(address == 16 && len == 16);
	tlp = (struct pcie_tlp){T(SWAP), .length = 2, .address = 16};
	pcie_tlp_get_range(&tlp, &address, &len);
	assert_true(address == 16 && len == 8);
	tlp = (struct pcie_tlp){T(CFGWR0), .length = 1, .reg = 0x10, .first_be = 0xc};
	pcie_tlp_get_range(&tlp, &address, &len);
	assert_true(address == 0x12 && len == 2);
	tlp = (struct pcie_tlp){T(CPLD), .length = 1, .first_be = 0xc};
	pcie_tlp_get_range(&tlp, &address, &len);
	assert_true(address == 0 && len == 0);
}

static void test_mps(void **state)
{
	struct pcie_tlp tlp = {T(MWR), .length = 32};

	assert_int_equal(pcie_tlp_check_mps(&tlp, 128), PCIE_TLP_OK);
	tlp.length = 33;
	assert_int_equal(pcie_tlp_check_mps(&tlp, 128), PCIE_TLP_E_MPS);
	tlp.type = PCIE_TLP_MRD; /* what it asks for is not payload */
	assert_int_equal(pcie_tlp_check_mps(&tlp, 128), PCIE_TLP_OK);
}

static void test_names(void **state)
{
	for (int i = 0; i < PCIE_TLP_TYPES; i++)
		assert_string_not_equal(pcie_tlp_type_name((enum pcie_tlp_type)i), "?");
	for (int i = 0; i < PCIE_TLP_ERRORS; i++)
		assert_string_not_equal(pcie_tlp_error_name((enum pcie_tlp_error)i), "?");
	assert_string_equal(pcie_tlp_type_name(PCIE_TLP_TYPES), "?");
	assert_string_equal(pcie_tlp_error_name(PCIE_TLP_ERRORS), "?");
	assert_string_equal(pcie_cpl_status_name(PCIE_CPL_CA), "CA");
	assert_string_equal(pcie_cpl_status_name((enum pcie_cpl_status)8), "?");
}

static void test_flow_control_classes(void **state)
{
	static const char classes[] = "NNPNNNNNNPPCCCCNNN"; /* in the order of enum pcie_tlp_type; table 2-40 */

	assert_int_equal(strlen(classes), PCIE_TLP_TYPES);
	for (int i = 0; i < PCIE_TLP_TYPES; i++) {
		enum pcie_fc fc = pcie_tlp_fc((enum pcie_tlp_type)i);

		assert_int_equal(fc, classes[i] == 'P' ? PCIE_FC_P : classes[i] == 'N' ? PCIE_FC_NP : PCIE_FC_CPL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_byte_enables),
		cmocka_unit_test(test_every_type_byte),
		cmocka_unit_test(test_reserved_status_is_ur),
		cmocka_unit_test(test_foreign_fields_ignored),
		cmocka_unit_test(test_ecrc_variant_bits),
		cmocka_unit_test(test_range),
		cmocka_unit_test(test_mps),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_flow_control_classes),
	};

	return cmocka_run_group_tests_name("tlp rules", tests, NULL, NULL);
}
