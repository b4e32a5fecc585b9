/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transaction layer packets of the PCI Express base specification 5.0 (non-flit
 * mode), bytes <-> struct. Pure functions: no I/O, no clock, no allocation, any
 * thread. Byte 0 of an encoded TLP is the first byte on the wire (Fmt/Type, or
 * the first prefix). Section numbers are those of the base specification 5.0.
 *
 * Nothing here holds an LCRC, a data link sequence number or a frame.
 */
#ifndef FARBUS_TLP_TLP_H
#define FARBUS_TLP_TLP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* 2.2.1, table 2-3. The 3DW or 4DW form follows from the address (2.2.4.1). */
enum pcie_tlp_type {
	PCIE_TLP_MRD,
	PCIE_TLP_MRDLK,
	PCIE_TLP_MWR,
	PCIE_TLP_IORD,
	PCIE_TLP_IOWR,
	PCIE_TLP_CFGRD0,
	PCIE_TLP_CFGWR0,
	PCIE_TLP_CFGRD1,
	PCIE_TLP_CFGWR1,
	PCIE_TLP_MSG,
	PCIE_TLP_MSGD,
	PCIE_TLP_CPL,
	PCIE_TLP_CPLD,
	PCIE_TLP_CPLLK,
	PCIE_TLP_CPLDLK,
	PCIE_TLP_FETCHADD,
	PCIE_TLP_SWAP,
	PCIE_TLP_CAS,
	PCIE_TLP_TYPES /* count */
};

/* Flow control classes (2.6.1), and what ordering (2.4.1) speaks of. */
enum pcie_fc {
	PCIE_FC_P,   /* posted: MWr, Msg, MsgD */
	PCIE_FC_NP,  /* non-posted: all that ask for a completion */
	PCIE_FC_CPL, /* completions */
	PCIE_FC_CLASSES
};

/* 2.2.9, table 2-34. The decoder turns reserved values into UR, as 2.3.2 asks. */
enum pcie_cpl_status {
	PCIE_CPL_SC = 0,  /* successful */
	PCIE_CPL_UR = 1,  /* unsupported request */
	PCIE_CPL_CRS = 2, /* configuration request retry */
	PCIE_CPL_CA = 4,  /* completer abort */
};

enum { PCIE_ATTR_NS = 1, PCIE_ATTR_RO = 2, PCIE_ATTR_IDO = 4 }; /* 2.2.6.3 */

/* 2.2.8: message codes */
enum pcie_msg_code {
	PCIE_MSG_UNLOCK = 0x00,
	PCIE_MSG_INVALIDATE_REQUEST = 0x01,    /* ATS, 10.3 */
	PCIE_MSG_INVALIDATE_COMPLETION = 0x02,
	PCIE_MSG_PAGE_REQUEST = 0x04,          /* 10.4 */
	PCIE_MSG_PRG_RESPONSE = 0x05,
	PCIE_MSG_LTR = 0x10,
	PCIE_MSG_OBFF = 0x12,
	PCIE_MSG_PM_ACTIVE_STATE_NAK = 0x14,
	PCIE_MSG_PM_PME = 0x18,
	PCIE_MSG_PME_TURN_OFF = 0x19,
	PCIE_MSG_PME_TO_ACK = 0x1b,
	PCIE_MSG_ASSERT_INTA = 0x20, /* .. 0x23 INTD */
	PCIE_MSG_DEASSERT_INTA = 0x24, /* .. 0x27 INTD */
	PCIE_MSG_ERR_COR = 0x30,
	PCIE_MSG_ERR_NONFATAL = 0x31,
	PCIE_MSG_ERR_FATAL = 0x33,
	PCIE_MSG_SET_SLOT_POWER_LIMIT = 0x50,
	PCIE_MSG_PTM_REQUEST = 0x52,
	PCIE_MSG_PTM_RESPONSE = 0x53,
	PCIE_MSG_VENDOR_TYPE0 = 0x7e,
	PCIE_MSG_VENDOR_TYPE1 = 0x7f,
};

/* 2.2.8, table 2-17: r[2:0] */
enum pcie_msg_route {
	PCIE_ROUTE_TO_ROOT,
	PCIE_ROUTE_BY_ADDRESS,
	PCIE_ROUTE_BY_ID,
	PCIE_ROUTE_BROADCAST,
	PCIE_ROUTE_LOCAL,
	PCIE_ROUTE_GATHER,
};

enum {
	PCIE_TLP_MAX_DATA = 4096,
	PCIE_TLP_MAX_PREFIXES = 8,
	/* prefixes, 4DW header, payload, ECRC */
	PCIE_TLP_MAX_HEADER = 4 * PCIE_TLP_MAX_PREFIXES + 16,
	PCIE_TLP_MAX_SIZE = PCIE_TLP_MAX_HEADER + PCIE_TLP_MAX_DATA + 4,
};

/*
 * One TLP. Fields that its type does not have are ignored when encoding and
 * zero after decoding (of prefix[], only the first n_prefixes are written).
 * Bits that the specification reserves are ignored by the decoder (1.1) and
 * sent as zero.
 *
 * Two places overload fields on the wire, not here: with th set, MWr carries st
 * in the tag's place (tag is ignored and decodes as 0), MRd and AtomicOps carry
 * it in the byte enables' place (all bytes are then enabled, 2.2.5).
 */
struct pcie_tlp {
	enum pcie_tlp_type type;

	uint8_t tc;   /* traffic class, 0..7 */
	uint8_t attr; /* PCIE_ATTR_* */
	uint8_t at;   /* address type, 2.2.4.1: 0 default, 1 translation request, 2 translated */
	bool td;      /* ECRC present (encode: computed and appended) */
	bool ep;      /* poisoned */
	bool th;      /* processing hints present: ph and st */
	bool ln;      /* lightweight notification: MRd, MWr, CplD; 6.21 */
	uint8_t ph, st;

	/* Payload or requested length in DW, 1..1024; TLPs with neither (Cpl, Msg) decode as 0. */
	uint16_t length;
	/*
	 * Payload: length * 4 bytes in wire order, NULL when there is none. After
	 * decoding it points into the decoded buffer. When encoding, the caller
	 * appends it (pcie_tlp_encode_header()) or has it copied (pcie_tlp_encode()).
	 */
	const uint8_t *data;

	uint16_t requester_id; /* bus << 8 | dev << 3 | fn */
	uint16_t tag;          /* 0..1023, T9 and T8 above 255; posted requests have the low 8 bits only, 2.2.6.2 */
	uint8_t first_be, last_be;
	uint64_t address; /* memory, I/O, AtomicOp: DW-aligned bus address. Messages routed by address: bytes 8..15. */
	bool nw;          /* translation request (MRd with at 1): no write, 10.2.2 */

	uint16_t completer_id; /* completions: who answers; Cfg, Msg by ID: who is meant (any Msg: bytes 8, 9) */
	uint16_t reg;          /* Cfg: byte offset 0..4092, DW-aligned */

	enum pcie_cpl_status status;
	bool bcm;
	uint16_t byte_count;    /* completions: 1..4096 bytes left, this one included */
	uint8_t lower_address;  /* completions: low 7 bits of the first byte's address */

	uint8_t msg_code;  /* enum pcie_msg_code */
	uint8_t msg_route; /* enum pcie_msg_route */
	/*
	 * Messages not routed by address: header bytes 10, 11 and 12..15, whatever
	 * the code makes of them. Vendor-defined: the vendor's ID and its DW. LTR:
	 * vendor_data is no-snoop latency << 16 | snoop latency. Codes that have
	 * no fields there (INTx, PM, ERR, Unlock, Set_Slot_Power_Limit) send zeros.
	 */
	uint16_t vendor_id;
	uint32_t vendor_data;

	/* Prefixes as they stand on the wire, first byte in bits 31:24. 2.2.10 */
	uint8_t n_prefixes;
	uint32_t prefix[PCIE_TLP_MAX_PREFIXES];

	uint32_t ecrc; /* decoded with td set: as it arrived, already verified */
};

/* Why a TLP is malformed, 2.3 and the sections that it points to. Order is ABI of the counters, not of the wire. */
enum pcie_tlp_error {
	PCIE_TLP_OK,
	PCIE_TLP_E_SHORT,         /* ends inside its header */
	PCIE_TLP_E_TYPE,          /* reserved or unsupported Fmt/Type */
	PCIE_TLP_E_LENGTH,        /* payload is not as long as Length says */
	PCIE_TLP_E_TRAILING,      /* bytes left over after the TLP */
	PCIE_TLP_E_BE,            /* byte enable rules, 2.2.5 */
	PCIE_TLP_E_4K,            /* crosses a 4 KiB boundary, 2.2.7 */
	PCIE_TLP_E_4DW_BELOW_4G,  /* 4DW header with upper address zero, 2.2.4.1 */
	PCIE_TLP_E_CFG_IO_LENGTH, /* Cfg or I/O with Length != 1, TC, Attr, AT or last BE not 0 */
	PCIE_TLP_E_ATOMIC_LENGTH, /* AtomicOp operand size, or address not aligned to it, 2.2.7 */
	PCIE_TLP_E_MSG,           /* message with reserved routing or wrong TC, 2.2.8 */
	PCIE_TLP_E_CPL,           /* completion whose Length, Byte Count and Lower Address contradict each other */
	PCIE_TLP_E_PREFIX,        /* unknown or misplaced prefix, or too many */
	PCIE_TLP_E_ECRC,          /* ECRC does not match */
	PCIE_TLP_E_MPS,           /* payload above the caller's Max_Payload_Size */
	PCIE_TLP_E_FIELD,         /* encode: a field is outside its range */
	PCIE_TLP_ERRORS           /* count */
};

const char *pcie_tlp_type_name(enum pcie_tlp_type type);    /* "MRd", "CplD" … */
const char *pcie_tlp_error_name(enum pcie_tlp_error error); /* "byte enables", "crosses 4 KiB" … */
const char *pcie_cpl_status_name(enum pcie_cpl_status status);
enum pcie_fc pcie_tlp_fc(enum pcie_tlp_type type);
bool pcie_tlp_has_data(enum pcie_tlp_type type);

/*
 * Decodes exactly one TLP that fills buf[0..len). Every rule a receiver must
 * check (2.3) is checked. On error *tlp holds what had been read so far, for
 * logging only.
 */
enum pcie_tlp_error pcie_tlp_decode(struct pcie_tlp *tlp, const void *buf, size_t len);

/* PCIE_TLP_OK or PCIE_TLP_E_MPS: is the payload within Max_Payload_Size (bytes)? 2.2.2 */
enum pcie_tlp_error pcie_tlp_check_mps(const struct pcie_tlp *tlp, unsigned mps);

/*
 * Bytes that pcie_tlp_encode() would write; 0 when it would refuse.
 */
size_t pcie_tlp_size(const struct pcie_tlp *tlp);

/*
 * Writes prefixes and header (at most PCIE_TLP_MAX_HEADER bytes) and returns
 * their size; the caller sends `length * 4` bytes of payload after them. Not
 * for TLPs with td set. Refuses (returns 0, *error says why, may be NULL) what
 * pcie_tlp_decode() would refuse.
 */
size_t pcie_tlp_encode_header(const struct pcie_tlp *tlp, void *buf, enum pcie_tlp_error *error);

/* The whole TLP, payload and ECRC included. Returns its size, or 0: refused, or larger than cap. */
size_t pcie_tlp_encode(const struct pcie_tlp *tlp, void *buf, size_t cap, enum pcie_tlp_error *error);

/* One line for logs: "MWr 01:00.0 tag 12 0xfee00000 1 DW be f/0". Returns buf. */
char *pcie_tlp_describe(const struct pcie_tlp *tlp, char *buf, size_t cap);

/*
 * ECRC over an encoded TLP without its ECRC, 2.7.1: variant bits count as set,
 * local prefixes do not count. The TLP digest as it stands on the wire, first
 * byte in bits 31:24. 0 when buf ends inside its prefixes or first DW.
 */
uint32_t pcie_tlp_ecrc(const void *buf, size_t len);

/* Byte enables for the `len` bytes at `address` (2.2.5); sets length, first_be, last_be and the aligned address. */
void pcie_tlp_set_range(struct pcie_tlp *tlp, uint64_t address, uint32_t len);
/*
 * The opposite: first enabled byte's address and the number of bytes from it to
 * the last enabled one (0 for BE 0). Cfg: address is the register's byte offset.
 * AtomicOps: the operand at the target (CAS: half its payload). Other types: 0, 0.
 */
void pcie_tlp_get_range(const struct pcie_tlp *tlp, uint64_t *address, uint32_t *len);

#ifdef __cplusplus
}
#endif
#endif
