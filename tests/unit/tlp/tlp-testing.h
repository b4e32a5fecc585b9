/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the tests of src/tlp: equality, seeded random TLPs, and two things written
 * a second time, on purpose not from the codec's tables: which bits the
 * specification reserves, and a bit-at-a-time ECRC.
 */
#ifndef FARBUS_TESTS_TLP_TESTING_H
#define FARBUS_TESTS_TLP_TESTING_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tlp/split.h"
#include "tlp/tlp.h"

/* splitmix64 */
static inline uint64_t test_rnd(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* Hex with spaces, and then so many zeros. Returns the number of bytes. */
static inline size_t test_unhex(const char *hex, size_t zeros, uint8_t *out)
{
	size_t n = 0;
	unsigned byte;

	for (; *hex; hex++) {
		if (*hex == ' ')
			continue;
		if (sscanf(hex++, "%2x", &byte) != 1)
			abort();
		out[n++] = (uint8_t)byte;
	}
	memset(out + n, 0, zeros);
	return n + zeros;
}

/* NULL when equal, else the first field that differs. Payloads are compared by content. */
static inline const char *test_tlp_differs(const struct pcie_tlp *a, const struct pcie_tlp *b)
{
#define TEST_SAME(field)                                                                                               \
	if (a->field != b->field)                                                                                      \
	return #field
	TEST_SAME(type);
	TEST_SAME(tc);
	TEST_SAME(attr);
	TEST_SAME(at);
	TEST_SAME(td);
	TEST_SAME(ep);
	TEST_SAME(th);
	TEST_SAME(ln);
	TEST_SAME(ph);
	TEST_SAME(st);
	TEST_SAME(length);
	TEST_SAME(requester_id);
	TEST_SAME(tag);
	TEST_SAME(first_be);
	TEST_SAME(last_be);
	TEST_SAME(address);
	TEST_SAME(nw);
	TEST_SAME(completer_id);
	TEST_SAME(reg);
	TEST_SAME(status);
	TEST_SAME(bcm);
	TEST_SAME(byte_count);
	TEST_SAME(lower_address);
	TEST_SAME(msg_code);
	TEST_SAME(msg_route);
	TEST_SAME(vendor_id);
	TEST_SAME(vendor_data);
	TEST_SAME(n_prefixes);
#undef TEST_SAME
	for (unsigned i = 0; i < a->n_prefixes; i++) {
		if (a->prefix[i] != b->prefix[i])
			return "prefix";
	}
	if (!a->data != !b->data || (a->data && memcmp(a->data, b->data, a->length * 4u) != 0))
		return "data";
	return NULL;
}

/* The digest bytes as they follow on the wire: a shift register, one bit at a time, after 2.7.1 and its figure. */
static inline void test_ecrc(const uint8_t *tlp, size_t len, uint8_t digest[4])
{
	uint32_t reg = 0xffffffff;
	size_t header = 0;

	while (header < len && tlp[header] >> 5 == 4)
		header += 4;
	for (size_t i = 0; i < len; i++) {
		uint8_t byte = tlp[i];

		if (i < header && tlp[i & ~(size_t)3] >> 4 == 8)
			continue; /* local prefix */
		if (i == header)
			byte |= 1; /* bit 0 of Type */
		if (i == header + 2)
			byte |= 0x40; /* EP */
		for (int bit = 0; bit < 8; bit++) {
			uint32_t in = byte >> bit & 1, out = reg >> 31;

			reg <<= 1;
			if (in ^ out)
				reg ^= 0x04c11db7;
		}
	}
	reg = ~reg;
	/* bit 31 of the result is bit 0 of the first byte, 24 is its bit 7; 23 is bit 0 of the second byte ... */
	memset(digest, 0, 4);
	for (unsigned i = 0; i < 32; i++)
		digest[i / 8] |= (uint8_t)((reg >> (31 - i) & 1) << i % 8);
}

/*
 * The bits of a well-formed TLP that the specification reserves, and so may be
 * lost by decoding and encoding: 1 in mask[]. mask has len bytes.
 */
static inline void test_reserved(const uint8_t *tlp, size_t len, uint8_t *mask)
{
	size_t at = 0;
	const uint8_t *h;
	uint8_t *m;
	bool th, dw4, memory = false;

	memset(mask, 0, len);
	while (tlp[at] >> 5 == 4)
		at += 4;
	h = tlp + at;
	m = mask + at;
	th = h[1] & 1;
	dw4 = h[0] & 0x20;

	if (h[0] != 0x00 && h[0] != 0x20 && h[0] != 0x40 && h[0] != 0x60 && h[0] != 0x4a)
		m[1] |= 0x02; /* LN */
	switch (h[0] & 0x1f) {
	case 0x00: /* MRd, MWr */
	case 0x01: /* MRdLk */
		memory = true;
		if (h[0] & 0x40)
			m[1] |= 0x88; /* T9, T8 */
		break;
	case 0x0c:
	case 0x0d:
	case 0x0e: /* AtomicOps */
		memory = true;
		if (!th)
			m[7] = 0xff;
		break;
	case 0x02: /* I/O */
		m[1] |= 0x05;
		m[11] |= 0x03;
		break;
	case 0x04:
	case 0x05: /* Cfg */
		m[1] |= 0x05;
		m[10] |= 0xf0;
		m[11] |= 0x03;
		break;
	case 0x0a:
	case 0x0b: /* completions */
		m[1] |= 0x01;
		m[2] |= 0x0c;
		m[11] |= 0x80;
		if (!(h[0] & 0x40)) {
			m[2] |= 0x03;
			m[3] = 0xff;
		}
		if (h[6] >> 5 == 3 || h[6] >> 5 > 4) /* a reserved status, read as UR */
			m[6] |= 0xe0;
		break;
	default: /* messages */
		m[1] |= 0x89; /* T9, T8, TH */
		m[2] |= 0x0c;
		if (!(h[0] & 0x40)) {
			m[2] |= 0x03;
			m[3] = 0xff;
		}
		if ((h[0] & 7) == 1) {
			m[15] |= 0x03;
			break;
		}
		switch (h[7]) {
		case 0x00:
		case 0x14:
		case 0x18:
		case 0x19:
		case 0x1b:
		case 0x20 ... 0x27:
		case 0x30:
		case 0x31:
		case 0x33:
		case 0x50:
		case 0x52:
			memset(m + 8, 0xff, 8);
			break;
		case 0x01: /* Invalidate Request: a device ID */
			memset(m + 10, 0xff, 6);
			break;
		case 0x10: /* LTR, OBFF: the last DW */
		case 0x12:
			memset(m + 8, 0xff, 4);
			break;
		case 0x7e:
		case 0x7f:
			if ((h[0] & 7) != 2)
				m[8] = m[9] = 0xff;
			break;
		default:
			break;
		}
		break;
	}
	if (memory && !th)
		m[dw4 ? 15 : 11] |= (h[2] & 0x0c) == 0x04 && (h[0] & 0x5f) == 0x00 ? 0x02 : 0x03;
	if (memory && !th && (h[0] & 0x5f) == 0x01 && (h[2] & 0x0c) == 0x04)
		m[dw4 ? 15 : 11] &= (uint8_t)~0x01;
}

/* Does re-encoding give the bytes that were decoded, reserved bits (and the ECRC over them) apart? */
static inline bool test_same_bytes(const uint8_t *old, const uint8_t *new, size_t len, bool td)
{
	uint8_t mask[PCIE_TLP_MAX_SIZE];
	bool lost = false;

	test_reserved(old, len, mask);
	for (size_t i = 0; i < len - (td ? 4 : 0); i++) {
		if ((old[i] ^ new[i]) & ~mask[i])
			return false;
		lost |= old[i] != new[i];
	}
	return lost || !td || memcmp(old + len - 4, new + len - 4, 4) == 0;
}

#endif
