/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside src/tlp only: what both directions of the codec know about each type,
 * and the rules of 2.2 that both enforce, so that the encoder refuses exactly
 * what the decoder would. Inline, since they are on the path of every TLP.
 */
#ifndef FARBUS_TLP_RULES_H
#define FARBUS_TLP_RULES_H

#include "tlp/tlp.h"

enum pcie_tlp_kind {
	KIND_READ,   /* MRd, MRdLk */
	KIND_WRITE,  /* MWr */
	KIND_ATOMIC, /* FetchAdd, Swap, CAS */
	KIND_IO,
	KIND_CFG,
	KIND_MSG,
	KIND_CPL,
};

/* DW 0 of the header, 2.2.1 */
enum {
	DW0_T9 = 1 << 23,
	DW0_T8 = 1 << 19,
	DW0_ATTR2 = 1 << 18,
	DW0_LN = 1 << 17,
	DW0_TH = 1 << 16,
	DW0_TD = 1 << 15,
	DW0_EP = 1 << 14,
	BYTE0_4DW = 0x20, /* Fmt[0] */
	BYTE0_MSG = 0x30, /* 001 10rrr */
};

struct pcie_type_info {
	uint32_t dw0;     /* Fmt and Type of the 3DW form, in place; messages: of the 4DW form, with r = 0 */
	uint32_t fields; /* which of Length, Attr[2], LN, T9 and T8 the type has in DW 0 */
	uint8_t kind;
	bool data;
};

/* Reserved: Attr[2] in I/O and Cfg, T9 and T8 in posted requests, Length where no data is carried or asked for. */
#define DW0_LENGTH 0x3ffu
#define DW0_TAG (DW0_T9 | DW0_T8)

static const struct pcie_type_info pcie_type_info[] = {
	[PCIE_TLP_MRD] = {0x00u << 24, DW0_LENGTH | DW0_ATTR2 | DW0_LN | DW0_TAG, KIND_READ, false},
	[PCIE_TLP_MRDLK] = {0x01u << 24, DW0_LENGTH | DW0_ATTR2 | DW0_TAG, KIND_READ, false},
	[PCIE_TLP_MWR] = {0x40u << 24, DW0_LENGTH | DW0_ATTR2 | DW0_LN, KIND_WRITE, true},
	[PCIE_TLP_IORD] = {0x02u << 24, DW0_LENGTH | DW0_TAG, KIND_IO, false},
	[PCIE_TLP_IOWR] = {0x42u << 24, DW0_LENGTH | DW0_TAG, KIND_IO, true},
	[PCIE_TLP_CFGRD0] = {0x04u << 24, DW0_LENGTH | DW0_TAG, KIND_CFG, false},
	[PCIE_TLP_CFGWR0] = {0x44u << 24, DW0_LENGTH | DW0_TAG, KIND_CFG, true},
	[PCIE_TLP_CFGRD1] = {0x05u << 24, DW0_LENGTH | DW0_TAG, KIND_CFG, false},
	[PCIE_TLP_CFGWR1] = {0x45u << 24, DW0_LENGTH | DW0_TAG, KIND_CFG, true},
	[PCIE_TLP_MSG] = {0x30u << 24, DW0_ATTR2, KIND_MSG, false},
	[PCIE_TLP_MSGD] = {0x70u << 24, DW0_LENGTH | DW0_ATTR2, KIND_MSG, true},
	[PCIE_TLP_CPL] = {0x0au << 24, DW0_ATTR2 | DW0_TAG, KIND_CPL, false},
	[PCIE_TLP_CPLD] = {0x4au << 24, DW0_LENGTH | DW0_ATTR2 | DW0_LN | DW0_TAG, KIND_CPL, true},
	[PCIE_TLP_CPLLK] = {0x0bu << 24, DW0_ATTR2 | DW0_TAG, KIND_CPL, false},
	[PCIE_TLP_CPLDLK] = {0x4bu << 24, DW0_LENGTH | DW0_ATTR2 | DW0_TAG, KIND_CPL, true},
	[PCIE_TLP_FETCHADD] = {0x4cu << 24, DW0_LENGTH | DW0_ATTR2 | DW0_TAG, KIND_ATOMIC, true},
	[PCIE_TLP_SWAP] = {0x4du << 24, DW0_LENGTH | DW0_ATTR2 | DW0_TAG, KIND_ATOMIC, true},
	[PCIE_TLP_CAS] = {0x4eu << 24, DW0_LENGTH | DW0_ATTR2 | DW0_TAG, KIND_ATOMIC, true},
};
_Static_assert(sizeof(pcie_type_info) / sizeof(pcie_type_info[0]) == PCIE_TLP_TYPES, "a type is missing");

/* Which of the header bytes 8..15 a message's code gives a meaning: a mask, 0xff for byte 8 in bits 63:56. */
uint64_t pcie_msg_fields(uint8_t code, uint8_t route);
/* 2.2.8: routing, TC, and with or without data, for the codes that fix them. */
enum pcie_tlp_error pcie_msg_check(const struct pcie_tlp *tlp);
/* 2.2.10: kinds, order, number and place of the prefixes. */
enum pcie_tlp_error pcie_prefix_check(const struct pcie_tlp *tlp);

/* 2.2.5. What is legal depends on where the holes are: only a whole DW or QW may have them. */
static inline bool pcie_be_legal(uint8_t first, uint8_t last, uint16_t length, uint64_t address)
{
	/* bit n: is n a run of ones that reaches bit 3 (first BE), starts at bit 0 (last BE)? */
	enum { TO_TOP = 1 << 15 | 1 << 14 | 1 << 12 | 1 << 8, FROM_BOTTOM = 1 << 15 | 1 << 7 | 1 << 3 | 1 << 1 };

	if (length == 1)
		return last == 0;
	if (length == 2 && (address & 4) == 0)
		return first != 0 && last != 0;
	return (TO_TOP >> first & FROM_BOTTOM >> last & 1) != 0;
}

/* 2.2.7: never across 4 KiB. */
static inline bool pcie_crosses_4k(uint64_t address, uint16_t length)
{
	return (address & 0xffc) + 4u * length > 4096;
}

/* 2.2.7: FetchAdd and Swap take one operand of 32 or 64 bits, CAS two of 32, 64 or 128; aligned to the operand. */
static inline bool pcie_atomic_legal(enum pcie_tlp_type type, uint16_t length, uint64_t address)
{
	unsigned operand = type == PCIE_TLP_CAS ? length * 2u : length * 4u;

	if (type == PCIE_TLP_CAS ? length != 2 && length != 4 && length != 8 : length != 1 && length != 2)
		return false;
	return (address & (operand - 1)) == 0;
}

/*
 * 2.3.1.1: a completion never carries more than what is left of its request.
 * (That pieces end on RCB is for the requester, who knows the request.)
 */
static inline bool pcie_cpl_legal(uint16_t length, uint16_t byte_count, uint8_t lower_address)
{
	return length <= ((lower_address & 3u) + byte_count + 3) / 4;
}

#endif
