/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encode-decode identity over a million random legal TLPs of every type, and the
 * other way round over random bytes that look like TLPs. Seeded; the seed is
 * printed, and FARBUS_TEST_SEED repeats a run or makes a new one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tlp-testing.h"

enum { TLPS = 1000 * 1000, BYTES = 1000 * 1000 };

static uint64_t seed = 20240521, rnd;
static uint8_t payload[PCIE_TLP_MAX_DATA];

static unsigned below(unsigned n)
{
	return (unsigned)(test_rnd(&rnd) % n);
}

static bool flip(void)
{
	return test_rnd(&rnd) & 1;
}

/* A legal prefix list; PASID only where it may stand. */
static void random_prefixes(struct pcie_tlp *tlp, bool pasid_allowed)
{
	static const uint8_t local[] = {0x80, 0x8e, 0x8f}, end[] = {0x90, 0x9e, 0x9f};
	unsigned locals = below(5), ends = below(5), pasid_at = pasid_allowed ? below(8) : 9;

	for (unsigned i = 0; i < locals; i++)
		tlp->prefix[tlp->n_prefixes++] = (uint32_t)local[below(3)] << 24 | (test_rnd(&rnd) & 0xffffff);
	for (unsigned i = 0; i < ends; i++) {
		uint8_t kind = i == pasid_at ? 0x91 : end[below(3)];

		tlp->prefix[tlp->n_prefixes++] = (uint32_t)kind << 24 | (test_rnd(&rnd) & 0xffffff);
	}
}

/* Byte enables that 2.2.5 allows. */
static void random_be(struct pcie_tlp *tlp)
{
	static const uint8_t top[] = {15, 14, 12, 8}, bottom[] = {15, 7, 3, 1};

	if (tlp->length == 1) {
		tlp->first_be = (uint8_t)below(16);
	} else if (tlp->length == 2 && (tlp->address & 7) == 0) {
		tlp->first_be = (uint8_t)(1 + below(15));
		tlp->last_be = (uint8_t)(1 + below(15));
	} else {
		tlp->first_be = top[below(4)];
		tlp->last_be = bottom[below(4)];
	}
}

static uint64_t random_address(void)
{
	return test_rnd(&rnd) >> below(53) & ~(uint64_t)3;
}

static void random_msg(struct pcie_tlp *tlp)
{
	static const struct {
		uint8_t code, route;
	} fixed[] = {{0x00, 3}, {0x14, 4}, {0x18, 0}, {0x19, 3}, {0x1b, 5}, {0x20, 4}, {0x23, 4}, {0x24, 4},
		     {0x27, 4}, {0x30, 0}, {0x31, 0}, {0x33, 0}, {0x52, 4}};
	static const uint8_t vendor_routes[] = {0, 2, 3, 4};
	bool data = tlp->type == PCIE_TLP_MSGD;
	unsigned i;

	tlp->length = data ? (uint16_t)(1 + below(flip() ? 8 : 1024)) : 0;
	switch (below(4)) {
	case 0:
		if (data) {
			tlp->msg_code = PCIE_MSG_SET_SLOT_POWER_LIMIT;
			tlp->msg_route = PCIE_ROUTE_LOCAL;
			tlp->length = 1;
		} else {
			i = below(sizeof(fixed) / sizeof(fixed[0]));
			tlp->msg_code = fixed[i].code;
			tlp->msg_route = fixed[i].route;
		}
		tlp->tc = 0;
		return;
	case 1:
		tlp->msg_code = flip() ? PCIE_MSG_VENDOR_TYPE0 : PCIE_MSG_VENDOR_TYPE1;
		tlp->msg_route = vendor_routes[below(4)];
		tlp->vendor_id = (uint16_t)test_rnd(&rnd);
		tlp->vendor_data = (uint32_t)test_rnd(&rnd);
		if (tlp->msg_route == PCIE_ROUTE_BY_ID)
			tlp->completer_id = (uint16_t)test_rnd(&rnd);
		return;
	case 2:
		if (!data) {
			tlp->msg_code = flip() ? PCIE_MSG_LTR : PCIE_MSG_OBFF;
			tlp->msg_route = PCIE_ROUTE_LOCAL;
			tlp->tc = 0;
			tlp->vendor_data = (uint32_t)test_rnd(&rnd);
			return;
		}
		/* fall through */
	default: /* a code that nobody knows */
		tlp->msg_code = (uint8_t)(0x80 + below(128));
		tlp->msg_route = (uint8_t)below(6);
		if (tlp->msg_route == PCIE_ROUTE_BY_ADDRESS) {
			tlp->address = random_address();
			return;
		}
		tlp->completer_id = (uint16_t)test_rnd(&rnd);
		tlp->vendor_id = (uint16_t)test_rnd(&rnd);
		tlp->vendor_data = (uint32_t)test_rnd(&rnd);
		return;
	}
}

/* A legal TLP, written from 2.2 and not from the codec. */
static void random_tlp(struct pcie_tlp *tlp)
{
	static const uint8_t atomic_cas[] = {2, 4, 8};
	enum pcie_tlp_type type = (enum pcie_tlp_type)below(PCIE_TLP_TYPES);
	bool pasid = false;
	unsigned room;

	*tlp = (struct pcie_tlp){
		.type = type,
		.tc = (uint8_t)below(8),
		.attr = (uint8_t)below(8),
		.td = below(8) == 0,
		.ep = below(8) == 0,
		.requester_id = (uint16_t)test_rnd(&rnd),
		.tag = (uint16_t)below(pcie_tlp_fc(type) == PCIE_FC_P ? 256 : 1024),
	};
	switch (type) {
	case PCIE_TLP_MRD:
	case PCIE_TLP_MRDLK:
	case PCIE_TLP_MWR:
		tlp->at = (uint8_t)below(4);
		tlp->address = random_address();
		room = (4096 - (unsigned)(tlp->address & 4095)) / 4;
		tlp->length = (uint16_t)(1 + below(flip() && room > 4 ? 4 : room));
		random_be(tlp);
		tlp->th = below(4) == 0;
		if (tlp->th) {
			tlp->ph = (uint8_t)below(4);
			tlp->st = (uint8_t)below(256);
			if (type == PCIE_TLP_MWR) {
				tlp->tag = 0;
			} else {
				tlp->first_be = 15;
				tlp->last_be = tlp->length > 1 ? 15 : 0;
			}
		} else if (type != PCIE_TLP_MWR && tlp->at == 1) {
			tlp->nw = flip();
		}
		tlp->ln = type != PCIE_TLP_MRDLK && flip();
		pasid = type != PCIE_TLP_MRDLK;
		break;
	case PCIE_TLP_FETCHADD:
	case PCIE_TLP_SWAP:
	case PCIE_TLP_CAS:
		tlp->at = (uint8_t)below(4);
		tlp->length = type == PCIE_TLP_CAS ? atomic_cas[below(3)] : (uint16_t)(1 + below(2));
		tlp->address = random_address() &
			       ~(uint64_t)(tlp->length * (type == PCIE_TLP_CAS ? 2u : 4u) - 1);
		tlp->th = below(4) == 0;
		if (tlp->th) {
			tlp->ph = (uint8_t)below(4);
			tlp->st = (uint8_t)below(256);
		}
		pasid = true;
		break;
	case PCIE_TLP_IORD:
	case PCIE_TLP_IOWR:
		tlp->tc = tlp->attr = 0;
		tlp->length = 1;
		tlp->address = random_address() & 0xfffffffc;
		tlp->first_be = (uint8_t)below(16);
		break;
	case PCIE_TLP_CFGRD0:
	case PCIE_TLP_CFGRD1:
	case PCIE_TLP_CFGWR0:
	case PCIE_TLP_CFGWR1:
		tlp->tc = tlp->attr = 0;
		tlp->length = 1;
		tlp->completer_id = (uint16_t)test_rnd(&rnd);
		tlp->reg = (uint16_t)(below(1024) * 4);
		tlp->first_be = (uint8_t)below(16);
		break;
	case PCIE_TLP_MSG:
	case PCIE_TLP_MSGD:
		random_msg(tlp);
		break;
	default:
		tlp->completer_id = (uint16_t)test_rnd(&rnd);
		tlp->status = (enum pcie_cpl_status)"\0\1\2\4"[below(4)];
		tlp->bcm = below(8) == 0;
		tlp->byte_count = (uint16_t)(1 + below(4096));
		tlp->lower_address = (uint8_t)below(128);
		if (type == PCIE_TLP_CPLD || type == PCIE_TLP_CPLDLK) {
			room = ((tlp->lower_address & 3u) + tlp->byte_count + 3) / 4;
			tlp->length = (uint16_t)(1 + below(room < 1024 ? room : 1024));
			tlp->ln = type == PCIE_TLP_CPLD && flip();
		}
		break;
	}
	if (below(8) == 0)
		random_prefixes(tlp, pasid);
	if (pcie_tlp_has_data(type))
		tlp->data = payload + below((PCIE_TLP_MAX_DATA - tlp->length * 4u) / 4 + 1);
}

static void test_encode_decode_identity(void **state)
{
	static uint8_t bytes[PCIE_TLP_MAX_SIZE];
	unsigned seen[PCIE_TLP_TYPES] = {0};
	uint8_t digest[4], header[PCIE_TLP_MAX_HEADER];

	rnd = seed;
	for (int i = 0; i < TLPS; i++) {
		struct pcie_tlp tlp, got;
		enum pcie_tlp_error err;
		const char *differs;
		size_t size;

		random_tlp(&tlp);
		seen[tlp.type]++;
		size = pcie_tlp_encode(&tlp, bytes, sizeof(bytes), &err);
		if (size == 0 || err) {
			char line[300];

			fail_msg("seed %llu TLP %d refused: %s: %s", (unsigned long long)seed, i,
				 pcie_tlp_error_name(err), pcie_tlp_describe(&tlp, line, sizeof(line)));
		}
		assert_int_equal(size, pcie_tlp_size(&tlp));
		assert_int_equal(size % 4, 0);
		err = pcie_tlp_decode(&got, bytes, size);
		if (err)
			fail_msg("seed %llu TLP %d: decode: %s", (unsigned long long)seed, i, pcie_tlp_error_name(err));
		differs = test_tlp_differs(&tlp, &got);
		if (differs)
			fail_msg("seed %llu TLP %d: %s differs", (unsigned long long)seed, i, differs);
		if (tlp.td) {
			test_ecrc(bytes, size - 4, digest);
			assert_memory_equal(digest, bytes + size - 4, 4);
		} else {
			size_t n = pcie_tlp_encode_header(&tlp, header, NULL);

			assert_int_equal(n, size - (tlp.data ? tlp.length * 4u : 0));
			assert_memory_equal(header, bytes, n);
		}
	}
	for (int t = 0; t < PCIE_TLP_TYPES; t++)
		assert_true(seen[t] > TLPS / PCIE_TLP_TYPES / 2);
}

/*
 * Random bytes that begin like a TLP, with a Length and a size that often agree:
 * what is accepted encodes to the same bytes, reserved bits apart.
 */
static void test_decode_encode_identity(void **state)
{
	static const uint8_t starts[] = {0x00, 0x20, 0x01, 0x21, 0x40, 0x60, 0x02, 0x42, 0x04, 0x44, 0x05, 0x45, 0x30,
					 0x32, 0x34, 0x70, 0x72, 0x74, 0x0a, 0x4a, 0x0b, 0x4b, 0x4c, 0x6c, 0x4d, 0x6d,
					 0x4e, 0x6e, 0x8e, 0x91};
	static uint8_t in[PCIE_TLP_MAX_SIZE], out[PCIE_TLP_MAX_SIZE];
	unsigned accepted = 0;

	rnd = seed + 1;
	for (int i = 0; i < BYTES; i++) {
		uint8_t *h = in;
		size_t size = 12;
		struct pcie_tlp tlp;
		uint8_t *exact;

		for (size_t b = 0; b < 96; b += 8) {
			uint64_t r = test_rnd(&rnd);

			memcpy(in + b, &r, 8);
		}
		in[0] = starts[below(sizeof(starts))];
		if (in[0] >> 5 == 4) {
			h += 4;
			h[0] = starts[below(sizeof(starts) - 2)];
			size += 4;
		}
		if (flip()) { /* likely to be legal */
			h[1] &= 0x8f;
			h[2] &= 0xc0;
			h[3] &= 0x0f;
			h[7] = flip() ? 0x0f : 0xff;
		}
		if (h[0] & 0x20)
			size += 4;
		if (h[0] & 0x40)
			size += 4 * (h[3] ? h[3] & 15u : 16);
		if (h[2] & 0x80) {
			size += 4;
			if (size <= 96 && flip())
				test_ecrc(in, size - 4, in + size - 4);
		}
		if (size > 96)
			size = 96;
		exact = malloc(size); /* for the sanitizer: a read too far is seen */
		assert_non_null(exact);
		memcpy(exact, in, size);
		if (pcie_tlp_decode(&tlp, exact, size) == PCIE_TLP_OK) {
			accepted++;
			if (pcie_tlp_encode(&tlp, out, size, NULL) != size ||
			    !test_same_bytes(exact, out, size, tlp.td)) {
				char line[300];

				fail_msg("seed %llu bytes %d: not the same again: %s", (unsigned long long)seed, i,
					 pcie_tlp_describe(&tlp, line, sizeof(line)));
			}
		}
		free(exact);
	}
	print_message("%u of %d accepted\n", accepted, BYTES);
	assert_true(accepted > BYTES / 20); /* else this says little */
}

static void test_pure_noise(void **state)
{
	rnd = seed + 2;
	for (int i = 0; i < 300000; i++) {
		size_t size = below(80);
		uint8_t *bytes = malloc(size ? size : 1);
		struct pcie_tlp tlp;
		char line[300];

		assert_non_null(bytes);
		for (size_t b = 0; b < size; b++)
			bytes[b] = (uint8_t)test_rnd(&rnd);
		assert_true((unsigned)pcie_tlp_decode(&tlp, bytes, size) < PCIE_TLP_ERRORS);
		pcie_tlp_describe(&tlp, line, sizeof(line));
		free(bytes);
	}
}

/* A struct of noise: encoded and then accepted, or refused. Nothing in between, nothing written past the end. */
static void test_noise_structs(void **state)
{
	static uint8_t bytes[PCIE_TLP_MAX_SIZE + 1];
	unsigned taken = 0;

	rnd = seed + 3;
	for (int i = 0; i < 300000; i++) {
		struct pcie_tlp tlp, got;
		size_t size;

		random_tlp(&tlp);
		for (unsigned n = 1 + below(3); n > 0; n--) {
			uint16_t v = (uint16_t)(flip() ? below(20) : below(5000));

			switch (below(14)) {
			case 0: tlp.tc = (uint8_t)v; break;
			case 1: tlp.attr = (uint8_t)v; break;
			case 2: tlp.at = (uint8_t)v; break;
			case 3: tlp.ph = (uint8_t)v; break;
			case 4: tlp.length = v < 1024 ? v : 1024; break;
			case 5: tlp.tag = v; break;
			case 6: tlp.first_be = (uint8_t)v; break;
			case 7: tlp.last_be = (uint8_t)v; break;
			case 8: tlp.address += v; break;
			case 9: tlp.reg = v; break;
			case 10: tlp.byte_count = v; break;
			case 11: tlp.lower_address = (uint8_t)v; break;
			case 12: tlp.msg_route = (uint8_t)v; break;
			default: tlp.status = (enum pcie_cpl_status)v; break;
			}
		}
		if (tlp.data)
			tlp.data = payload;
		bytes[PCIE_TLP_MAX_SIZE] = 0x5a;
		size = pcie_tlp_encode(&tlp, bytes, sizeof(bytes), NULL);
		assert_int_equal(bytes[PCIE_TLP_MAX_SIZE], 0x5a);
		assert_int_equal(size, pcie_tlp_size(&tlp));
		if (size) {
			taken++;
			assert_int_equal(pcie_tlp_decode(&got, bytes, size), PCIE_TLP_OK);
		}
	}
	assert_true(taken > 50000 && taken < 250000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_encode_decode_identity),
		cmocka_unit_test(test_decode_encode_identity),
		cmocka_unit_test(test_pure_noise),
		cmocka_unit_test(test_noise_structs),
	};
	const char *env = getenv("FARBUS_TEST_SEED");

	if (env)
		seed = strtoull(env, NULL, 0);
	printf("seed %llu\n", (unsigned long long)seed);
	rnd = seed;
	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)test_rnd(&rnd);
	return cmocka_run_group_tests_name("tlp property", tests, NULL, NULL);
}
