/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes <-> struct, by hand from the figures of chapter 2.2: each vector must
 * decode to its struct and the struct encode to its bytes. Then, for every class
 * of malformed TLP, bytes that must be refused under that name and structs that
 * the encoder must refuse under it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tlp-testing.h"

struct vector {
	const char *name;
	const char *hex;
	size_t zeros; /* this many payload bytes after hex */
	struct pcie_tlp tlp;
	const char *line; /* pcie_tlp_describe(), or NULL */
};

#define T(t) .type = PCIE_TLP_##t

static const struct vector good[] = {
	{"MRd 3DW", "00000001 0100 0c 0f fee00000", 0,
	 {T(MRD), .length = 1, .requester_id = 0x0100, .tag = 12, .first_be = 0xf, .address = 0xfee00000},
	 "MRd 01:00.0 tag 12 0xfee00000 1 DW be f/0"},
	{"MRd 4DW", "20000080 1234 2a ff 00000001 80000e00", 0,
	 {T(MRD), .length = 128, .requester_id = 0x1234, .tag = 42, .first_be = 0xf, .last_be = 0xf,
	  .address = 0x180000e00},
	 "MRd 12:06.4 tag 42 0x180000e00 128 DW be f/f"},
	{"MRd at the top of 4 GiB is 3DW", "00000001 0100 00 08 fffffffc", 0,
	 {T(MRD), .length = 1, .requester_id = 0x0100, .first_be = 8, .address = 0xfffffffc}, NULL},
	{"MRd at 4 GiB is 4DW", "20000001 0100 00 01 00000001 00000000", 0,
	 {T(MRD), .length = 1, .requester_id = 0x0100, .first_be = 1, .address = 0x100000000}, NULL},
	{"MRd at the top of the address space", "20000001 0100 00 0f ffffffff fffffffc", 0,
	 {T(MRD), .length = 1, .requester_id = 0x0100, .first_be = 15, .address = 0xfffffffffffffffc}, NULL},
	{"MRd of 1024 DW", "00000000 0100 01 ff 00001000", 0,
	 {T(MRD), .length = 1024, .requester_id = 0x0100, .tag = 1, .first_be = 0xf, .last_be = 0xf, .address = 0x1000},
	 NULL},
	{"MRd of length zero", "00000001 0100 01 00 00001000", 0,
	 {T(MRD), .length = 1, .requester_id = 0x0100, .tag = 1, .address = 0x1000},
	 "MRd 01:00.0 tag 1 0x1000 1 DW be 0/0"},
	{"MRd with T8", "00080001 0100 55 0f 00001000", 0,
	 {T(MRD), .length = 1, .requester_id = 0x0100, .tag = 0x155, .first_be = 0xf, .address = 0x1000}, NULL},
	{"MRd with T9", "00800001 0100 55 0f 00001000", 0,
	 {T(MRD), .length = 1, .requester_id = 0x0100, .tag = 0x255, .first_be = 0xf, .address = 0x1000}, NULL},
	{"MRd with tag 1023", "00880001 0100 ff 0f 00001000", 0,
	 {T(MRD), .length = 1, .requester_id = 0x0100, .tag = 0x3ff, .first_be = 0xf, .address = 0x1000}, NULL},
	{"MRd, TC 7, IDO RO NS", "00743001 0100 00 0f 00001000", 0,
	 {T(MRD), .tc = 7, .attr = PCIE_ATTR_IDO | PCIE_ATTR_RO | PCIE_ATTR_NS, .length = 1, .requester_id = 0x0100,
	  .first_be = 0xf, .address = 0x1000},
	 "MRd 01:00.0 tag 0 0x1000 1 DW be f/0 tc 7 attr IDO RO NS"},
	{"MRd, RO alone", "00002001 0100 00 0f 00001000", 0,
	 {T(MRD), .attr = PCIE_ATTR_RO, .length = 1, .requester_id = 0x0100, .first_be = 0xf, .address = 0x1000}, NULL},
	{"MRd, NS alone", "00001001 0100 00 0f 00001000", 0,
	 {T(MRD), .attr = PCIE_ATTR_NS, .length = 1, .requester_id = 0x0100, .first_be = 0xf, .address = 0x1000}, NULL},
	{"MRd, IDO alone", "00040001 0100 00 0f 00001000", 0,
	 {T(MRD), .attr = PCIE_ATTR_IDO, .length = 1, .requester_id = 0x0100, .first_be = 0xf, .address = 0x1000}, NULL},
	{"MRd, AT translated", "00000801 0100 00 0f 00001000", 0,
	 {T(MRD), .at = 2, .length = 1, .requester_id = 0x0100, .first_be = 0xf, .address = 0x1000}, NULL},
	{"MRd, AT request, no write", "00000402 0100 09 ff 00003001", 0,
	 {T(MRD), .at = 1, .nw = true, .length = 2, .requester_id = 0x0100, .tag = 9, .first_be = 0xf, .last_be = 0xf,
	  .address = 0x3000},
	 NULL},
	{"MRd with TH: ST in place of the BEs", "00010004 0100 11 42 00001003", 0,
	 {T(MRD), .th = true, .ph = 3, .st = 0x42, .length = 4, .requester_id = 0x0100, .tag = 0x11, .first_be = 0xf,
	  .last_be = 0xf, .address = 0x1000},
	 "MRd 01:00.0 tag 17 0x1000 4 DW be f/f ph 3 st 66"},
	{"MRd 4DW with TH, one DW", "20010001 0100 11 fe 00000001 00001001", 0,
	 {T(MRD), .th = true, .ph = 1, .st = 0xfe, .length = 1, .requester_id = 0x0100, .tag = 0x11, .first_be = 0xf,
	  .address = 0x100001000},
	 NULL},
	{"MRd with LN", "00020010 0100 11 ff 00001000", 0,
	 {T(MRD), .ln = true, .length = 16, .requester_id = 0x0100, .tag = 0x11, .first_be = 0xf, .last_be = 0xf,
	  .address = 0x1000},
	 NULL},
	{"MRd, QW with holes", "00000002 0100 00 5a 00001008", 0,
	 {T(MRD), .length = 2, .requester_id = 0x0100, .first_be = 0xa, .last_be = 0x5, .address = 0x1008}, NULL},
	{"MRd up to the 4 KiB boundary", "00000002 0100 00 ff 00001ff8", 0,
	 {T(MRD), .length = 2, .requester_id = 0x0100, .first_be = 0xf, .last_be = 0xf, .address = 0x1ff8}, NULL},
	{"MRdLk", "01000001 0000 03 0f 000a0000", 0,
	 {T(MRDLK), .length = 1, .tag = 3, .first_be = 0xf, .address = 0xa0000}, NULL},
	{"MRdLk 4DW", "21000001 0000 03 0f 00000002 000a0000", 0,
	 {T(MRDLK), .length = 1, .tag = 3, .first_be = 0xf, .address = 0x2000a0000}, NULL},
	{"MWr 3DW (an MSI)", "40000001 0100 00 0f fee00000 21430000", 0,
	 {T(MWR), .length = 1, .requester_id = 0x0100, .first_be = 0xf, .address = 0xfee00000},
	 "MWr 01:00.0 tag 0 0xfee00000 1 DW be f/0"},
	{"MWr 4DW", "60000002 0100 05 ff 00000002 00000ff8 0011223344556677", 0,
	 {T(MWR), .length = 2, .requester_id = 0x0100, .tag = 5, .first_be = 0xf, .last_be = 0xf, .address = 0x200000ff8},
	 NULL},
	{"MWr of one byte in the middle", "40000001 0100 00 02 00001000 00aa0000", 0,
	 {T(MWR), .length = 1, .requester_id = 0x0100, .first_be = 2, .address = 0x1000}, NULL},
	{"MWr unaligned at both ends", "40000003 0100 00 1c 00001004", 12,
	 {T(MWR), .length = 3, .requester_id = 0x0100, .first_be = 0xc, .last_be = 1, .address = 0x1004}, NULL},
	{"MWr of 1024 DW", "40000000 0100 00 ff 00001000", 4096,
	 {T(MWR), .length = 1024, .requester_id = 0x0100, .first_be = 0xf, .last_be = 0xf, .address = 0x1000}, NULL},
	{"MWr of length zero", "40000001 0100 00 00 00001000 00000000", 0,
	 {T(MWR), .length = 1, .requester_id = 0x0100, .address = 0x1000}, NULL},
	{"MWr poisoned", "40004001 0100 00 0f 00001000 00000000", 0,
	 {T(MWR), .ep = true, .length = 1, .requester_id = 0x0100, .first_be = 0xf, .address = 0x1000},
	 "MWr 01:00.0 tag 0 0x1000 1 DW be f/0 poisoned"},
	{"MWr with TH: ST in place of the tag", "40010001 0100 42 0f 00001002 aabbccdd", 0,
	 {T(MWR), .th = true, .ph = 2, .st = 0x42, .length = 1, .requester_id = 0x0100, .first_be = 0xf,
	  .address = 0x1000},
	 NULL},
	{"MWr with PASID", "91312345 40000001 0100 00 0f 00001000 aabbccdd", 0,
	 {T(MWR), .n_prefixes = 1, .prefix = {0x91312345}, .length = 1, .requester_id = 0x0100, .first_be = 0xf,
	  .address = 0x1000},
	 "MWr 01:00.0 tag 0 0x1000 1 DW be f/0 prefix 0x91312345"},
	{"MWr with a local and two end-to-end prefixes",
	 "8e000001 90120000 9f00beef 40010001 0100 42 0f 00001002 aabbccdd", 0,
	 {T(MWR), .n_prefixes = 3, .prefix = {0x8e000001, 0x90120000, 0x9f00beef}, .th = true, .ph = 2, .st = 0x42,
	  .length = 1, .requester_id = 0x0100, .first_be = 0xf, .address = 0x1000},
	 NULL},
	{"MWr with eight prefixes",
	 "80000000 8e000000 8f000000 8e000000 9e000001 9e000002 9f000003 91000004 60000001 0100 00 0f 00000001 00001000",
	 4,
	 {T(MWR), .n_prefixes = 8,
	  .prefix = {0x80000000, 0x8e000000, 0x8f000000, 0x8e000000, 0x9e000001, 0x9e000002, 0x9f000003, 0x91000004},
	  .length = 1, .requester_id = 0x0100, .first_be = 0xf, .address = 0x100001000},
	 NULL},
	{"IORd", "02000001 0000 05 03 00000cf8", 0,
	 {T(IORD), .length = 1, .tag = 5, .first_be = 3, .address = 0xcf8}, "IORd 00:00.0 tag 5 0xcf8 be 3"},
	{"IOWr", "42000001 0000 05 01 00000cfc 12000000", 0,
	 {T(IOWR), .length = 1, .tag = 5, .first_be = 1, .address = 0xcfc}, NULL},
	{"CfgRd0", "04000001 0000 01 0f 0100 0000", 0,
	 {T(CFGRD0), .length = 1, .tag = 1, .first_be = 0xf, .completer_id = 0x0100},
	 "CfgRd0 00:00.0 tag 1 of 01:00.0 reg 0x0 be f"},
	{"CfgWr0 in extended space", "44000001 0000 01 0c 01 fa 0f fc 00001234", 0,
	 {T(CFGWR0), .length = 1, .tag = 1, .first_be = 0xc, .completer_id = 0x01fa, .reg = 0xffc},
	 "CfgWr0 00:00.0 tag 1 of 01:1f.2 reg 0xffc be c"},
	{"CfgRd1", "05000001 0008 02 0f 0200 0104", 0,
	 {T(CFGRD1), .length = 1, .requester_id = 8, .tag = 2, .first_be = 0xf, .completer_id = 0x0200, .reg = 0x104}, NULL},
	{"CfgWr1", "45000001 0008 02 03 0200 0004 06000000", 0,
	 {T(CFGWR1), .length = 1, .requester_id = 8, .tag = 2, .first_be = 3, .completer_id = 0x0200, .reg = 4}, NULL},
	{"CfgRd0 with tag 0x300", "04880001 0000 00 0f 0100 0010", 0,
	 {T(CFGRD0), .length = 1, .tag = 0x300, .first_be = 0xf, .completer_id = 0x0100, .reg = 0x10}, NULL},
	{"Cpl SC (of a CfgWr)", "0a000000 0100 0004 0000 01 00", 0,
	 {T(CPL), .completer_id = 0x0100, .byte_count = 4, .tag = 1},
	 "Cpl 00:00.0 tag 1 from 01:00.0 SC count 4 lower 0x0"},
	{"Cpl UR", "0a000000 0100 2004 0008 09 00", 0,
	 {T(CPL), .status = PCIE_CPL_UR, .completer_id = 0x0100, .requester_id = 8, .byte_count = 4, .tag = 9},
	 "Cpl 00:01.0 tag 9 from 01:00.0 UR count 4 lower 0x0"},
	{"Cpl CRS", "0a000000 0100 4004 0008 09 00", 0,
	 {T(CPL), .status = PCIE_CPL_CRS, .completer_id = 0x0100, .requester_id = 8, .byte_count = 4, .tag = 9}, NULL},
	{"Cpl CA, 4096 bytes left", "0a000000 0100 8000 0008 09 04", 0,
	 {T(CPL), .status = PCIE_CPL_CA, .completer_id = 0x0100, .requester_id = 8, .byte_count = 4096, .tag = 9,
	  .lower_address = 4},
	 "Cpl 00:01.0 tag 9 from 01:00.0 CA count 4096 lower 0x4"},
	{"CplD", "4a000001 0200 0004 0100 0c 00 11223344", 0,
	 {T(CPLD), .length = 1, .completer_id = 0x0200, .byte_count = 4, .requester_id = 0x0100, .tag = 12},
	 "CplD 01:00.0 tag 12 from 02:00.0 SC 1 DW count 4 lower 0x0"},
	{"CplD, one unaligned byte", "4a000001 0200 0001 0100 0c 7f 11223344", 0,
	 {T(CPLD), .length = 1, .completer_id = 0x0200, .byte_count = 1, .requester_id = 0x0100, .tag = 12,
	  .lower_address = 0x7f},
	 NULL},
	{"CplD of 1024 DW, byte count 4096", "4a000000 0200 0000 0100 0c 00", 4096,
	 {T(CPLD), .length = 1024, .completer_id = 0x0200, .byte_count = 4096, .requester_id = 0x0100, .tag = 12}, NULL},
	{"CplD, first of two", "4a000010 0200 0080 0100 0c 00", 64,
	 {T(CPLD), .length = 16, .completer_id = 0x0200, .byte_count = 128, .requester_id = 0x0100, .tag = 12}, NULL},
	{"CplD with BCM, tag 0x2ff, LN, IDO, poisoned", "4a964001 0200 1004 0100 ff 00 11223344", 0,
	 {T(CPLD), .tc = 1, .attr = PCIE_ATTR_IDO, .ln = true, .ep = true, .bcm = true, .length = 1,
	  .completer_id = 0x0200, .byte_count = 4, .requester_id = 0x0100, .tag = 0x2ff},
	 "CplD 01:00.0 tag 767 from 02:00.0 SC 1 DW count 4 lower 0x0 bcm tc 1 attr IDO ln poisoned"},
	{"CplLk", "0b000000 0200 2004 0000 05 00", 0,
	 {T(CPLLK), .status = PCIE_CPL_UR, .completer_id = 0x0200, .byte_count = 4, .tag = 5}, NULL},
	{"CplDLk", "4b000001 0200 0004 0000 05 00 11223344", 0,
	 {T(CPLDLK), .length = 1, .completer_id = 0x0200, .byte_count = 4, .tag = 5}, NULL},
	{"FetchAdd 32", "4c000001 0100 07 00 00001004 01000000", 0,
	 {T(FETCHADD), .length = 1, .requester_id = 0x0100, .tag = 7, .address = 0x1004},
	 "FetchAdd 01:00.0 tag 7 0x1004 1 DW"},
	{"FetchAdd 64", "4c000002 0100 07 00 00001008 0100000000000000", 0,
	 {T(FETCHADD), .length = 2, .requester_id = 0x0100, .tag = 7, .address = 0x1008}, NULL},
	{"Swap 32", "4d000001 0100 07 00 00001ffc 01000000", 0,
	 {T(SWAP), .length = 1, .requester_id = 0x0100, .tag = 7, .address = 0x1ffc}, NULL},
	{"Swap 64, 4DW", "6d000002 0100 07 00 00000001 00001008 0100000000000000", 0,
	 {T(SWAP), .length = 2, .requester_id = 0x0100, .tag = 7, .address = 0x100001008}, NULL},
	{"CAS 32", "4e000002 0100 07 00 00001ffc", 8,
	 {T(CAS), .length = 2, .requester_id = 0x0100, .tag = 7, .address = 0x1ffc}, NULL},
	{"CAS 64", "4e000004 0100 07 00 00001ff8", 16,
	 {T(CAS), .length = 4, .requester_id = 0x0100, .tag = 7, .address = 0x1ff8}, NULL},
	{"CAS 128, 4DW, TH", "6e010008 0100 07 33 00000001 00001ff1", 32,
	 {T(CAS), .length = 8, .th = true, .ph = 1, .st = 0x33, .requester_id = 0x0100, .tag = 7,
	  .address = 0x100001ff0},
	 NULL},
	{"Assert_INTA", "34000000 0100 00 20 0000000000000000", 0,
	 {T(MSG), .requester_id = 0x0100, .msg_code = PCIE_MSG_ASSERT_INTA, .msg_route = PCIE_ROUTE_LOCAL},
	 "Msg 01:00.0 tag 0 Assert_INTA local"},
	{"Deassert_INTD", "34000000 0100 00 27 0000000000000000", 0,
	 {T(MSG), .requester_id = 0x0100, .msg_code = PCIE_MSG_DEASSERT_INTA + 3, .msg_route = PCIE_ROUTE_LOCAL},
	 "Msg 01:00.0 tag 0 Deassert_INTD local"},
	{"PM_Active_State_Nak", "34000000 0000 00 14 0000000000000000", 0,
	 {T(MSG), .msg_code = PCIE_MSG_PM_ACTIVE_STATE_NAK, .msg_route = PCIE_ROUTE_LOCAL}, NULL},
	{"PM_PME", "30000000 0100 00 18 0000000000000000", 0,
	 {T(MSG), .requester_id = 0x0100, .msg_code = PCIE_MSG_PM_PME, .msg_route = PCIE_ROUTE_TO_ROOT}, NULL},
	{"PME_Turn_Off", "33000000 0000 00 19 0000000000000000", 0,
	 {T(MSG), .msg_code = PCIE_MSG_PME_TURN_OFF, .msg_route = PCIE_ROUTE_BROADCAST}, NULL},
	{"PME_TO_Ack", "35000000 0100 00 1b 0000000000000000", 0,
	 {T(MSG), .requester_id = 0x0100, .msg_code = PCIE_MSG_PME_TO_ACK, .msg_route = PCIE_ROUTE_GATHER}, NULL},
	{"ERR_COR", "30000000 0100 00 30 0000000000000000", 0,
	 {T(MSG), .requester_id = 0x0100, .msg_code = PCIE_MSG_ERR_COR}, "Msg 01:00.0 tag 0 ERR_COR to root"},
	{"ERR_NONFATAL", "30000000 0100 00 31 0000000000000000", 0,
	 {T(MSG), .requester_id = 0x0100, .msg_code = PCIE_MSG_ERR_NONFATAL}, NULL},
	{"ERR_FATAL", "30000000 0100 00 33 0000000000000000", 0,
	 {T(MSG), .requester_id = 0x0100, .msg_code = PCIE_MSG_ERR_FATAL}, NULL},
	{"Unlock", "33000000 0000 00 00 0000000000000000", 0,
	 {T(MSG), .msg_code = PCIE_MSG_UNLOCK, .msg_route = PCIE_ROUTE_BROADCAST}, NULL},
	{"Set_Slot_Power_Limit", "74000001 0000 00 50 0000000000000000 19000000", 0,
	 {T(MSGD), .length = 1, .msg_code = PCIE_MSG_SET_SLOT_POWER_LIMIT, .msg_route = PCIE_ROUTE_LOCAL},
	 "MsgD 00:00.0 tag 0 Set_Slot_Power_Limit local 1 DW"},
	{"LTR", "34000000 0100 00 10 00000000 1003 8846", 0,
	 {T(MSG), .requester_id = 0x0100, .msg_code = PCIE_MSG_LTR, .msg_route = PCIE_ROUTE_LOCAL,
	  .vendor_data = 0x10038846},
	 "Msg 01:00.0 tag 0 LTR local snoop 0x8846 no-snoop 0x1003"},
	{"OBFF", "34000000 0000 00 12 00000000 0000000f", 0,
	 {T(MSG), .msg_code = PCIE_MSG_OBFF, .msg_route = PCIE_ROUTE_LOCAL, .vendor_data = 0xf}, NULL},
	{"PTM Request", "34000000 0100 00 52 0000000000000000", 0,
	 {T(MSG), .requester_id = 0x0100, .msg_code = PCIE_MSG_PTM_REQUEST, .msg_route = PCIE_ROUTE_LOCAL}, NULL},
	{"PTM ResponseD", "74000001 0000 00 53 0123456789abcdef 00000010", 0,
	 {T(MSGD), .length = 1, .msg_code = PCIE_MSG_PTM_RESPONSE, .msg_route = PCIE_ROUTE_LOCAL,
	  .completer_id = 0x0123, .vendor_id = 0x4567, .vendor_data = 0x89abcdef},
	 NULL},
	{"Vendor_Type0 by ID", "32000000 0100 07 7e 0200 1b36 deadbeef", 0,
	 {T(MSG), .requester_id = 0x0100, .tag = 7, .msg_code = PCIE_MSG_VENDOR_TYPE0, .msg_route = PCIE_ROUTE_BY_ID,
	  .completer_id = 0x0200, .vendor_id = 0x1b36, .vendor_data = 0xdeadbeef},
	 "Msg 01:00.0 tag 7 Vendor_Type0 by ID 02:00.0 vendor 1b36 0xdeadbeef"},
	{"Vendor_Type1 with data, broadcast, TC 3", "73300002 0100 00 7f 0000 1b36 00000001 0102030405060708", 0,
	 {T(MSGD), .tc = 3, .length = 2, .requester_id = 0x0100, .msg_code = PCIE_MSG_VENDOR_TYPE1,
	  .msg_route = PCIE_ROUTE_BROADCAST, .vendor_id = 0x1b36, .vendor_data = 1},
	 NULL},
	{"Vendor_Type0 with 1024 DW", "74000000 0100 00 7e 0000 1b36 00000001", 4096,
	 {T(MSGD), .length = 1024, .requester_id = 0x0100, .msg_code = PCIE_MSG_VENDOR_TYPE0,
	  .msg_route = PCIE_ROUTE_LOCAL, .vendor_id = 0x1b36, .vendor_data = 1},
	 NULL},
	{"ATS Invalidate Request", "72000002 0000 1f 01 0100 0000 00000000 0000000012345000", 0,
	 {T(MSGD), .length = 2, .tag = 0x1f, .msg_code = PCIE_MSG_INVALIDATE_REQUEST, .msg_route = PCIE_ROUTE_BY_ID,
	  .completer_id = 0x0100},
	 NULL},
	{"Page Request with PASID", "91000007 30000000 0100 00 04 00000000 12345803", 0,
	 {T(MSG), .n_prefixes = 1, .prefix = {0x91000007}, .requester_id = 0x0100, .msg_code = PCIE_MSG_PAGE_REQUEST,
	  .vendor_data = 0x12345803},
	 NULL},
	{"message of an unknown code, routed by address", "31000000 0100 00 99 0000000a bcdef120", 0,
	 {T(MSG), .requester_id = 0x0100, .msg_code = 0x99, .msg_route = PCIE_ROUTE_BY_ADDRESS, .address = 0xabcdef120},
	 "Msg 01:00.0 tag 0 code 0x99 by address 0xabcdef120"},
	/* The ECRCs were computed with zlib's crc32() over the bytes that 2.7.1 names, stored low byte first. */
	{"MWr with ECRC", "40008001 0100 00 0f fee00000 21430000 bb35feb4", 0,
	 {T(MWR), .td = true, .length = 1, .requester_id = 0x0100, .first_be = 0xf, .address = 0xfee00000}, NULL},
	{"MRd with ECRC", "20008080 0100 2a ff 00000001 80000e00 85fd63f3", 0,
	 {T(MRD), .td = true, .length = 128, .requester_id = 0x0100, .tag = 42, .first_be = 0xf, .last_be = 0xf,
	  .address = 0x180000e00},
	 NULL},
	{"MWr with ECRC, local and end-to-end prefix", "8e000001 91300042 40008001 0100 00 0f 00001000 aabbccdd 8c0a49f1", 0,
	 {T(MWR), .td = true, .n_prefixes = 2, .prefix = {0x8e000001, 0x91300042}, .length = 1, .requester_id = 0x0100,
	  .first_be = 0xf, .address = 0x1000},
	 NULL},
	{"CplD with ECRC and poison", "4a00c001 0200 0004 0100 0c 00 11223344 3f1a4bdb", 0,
	 {T(CPLD), .td = true, .ep = true, .length = 1, .completer_id = 0x0200, .byte_count = 4, .requester_id = 0x0100,
	  .tag = 12},
	 NULL},
};

struct bad_bytes {
	const char *name;
	const char *hex;
	size_t zeros;
	enum pcie_tlp_error error;
};

static const struct bad_bytes bad[] = {
	{"nothing", "", 0, PCIE_TLP_E_SHORT},
	{"one byte", "00", 0, PCIE_TLP_E_SHORT},
	{"11 bytes", "00000001 0100 0c 0f fee000", 0, PCIE_TLP_E_SHORT},
	{"4DW header of 12 bytes", "20000001 0100 0c 0f 00000001", 0, PCIE_TLP_E_SHORT},
	{"4DW header of 15 bytes", "20000001 0100 0c 0f 00000001 000010", 0, PCIE_TLP_E_SHORT},
	{"prefix and 11 bytes", "91000001 00000001 0100 0c 0f fee000", 0, PCIE_TLP_E_SHORT},
	{"prefixes only", "8e000001 8e000001 8e000001", 0, PCIE_TLP_E_SHORT},
	{"type reserved", "03000001 0100 0c 0f fee00000", 0, PCIE_TLP_E_TYPE},
	{"I/O with 4DW", "22000001 0100 0c 0f 00000001 00000000", 0, PCIE_TLP_E_TYPE},
	{"Cfg with 4DW", "24000001 0100 0c 0f 00000001 00000000", 0, PCIE_TLP_E_TYPE},
	{"Cpl with 4DW", "2a000000 0100 0004 0000 0100 00000000", 0, PCIE_TLP_E_TYPE},
	{"MRdLk with data", "41000001 0100 0c 0f 00001000 00000000", 0, PCIE_TLP_E_TYPE},
	{"Msg with 3DW", "14000000 0100 00 20 00000000", 0, PCIE_TLP_E_TYPE},
	{"FetchAdd without data", "0c000001 0100 0700 00001004", 0, PCIE_TLP_E_TYPE},
	{"TCfgRd, deprecated", "1b000001 0000 010f 01000000", 0, PCIE_TLP_E_TYPE},
	{"Fmt 101", "a0000001 0100 0c 0f 00001000", 0, PCIE_TLP_E_TYPE},
	{"Fmt 111", "ff000001 0100 0c 0f 00001000", 0, PCIE_TLP_E_TYPE},
	{"MWr without its payload", "40000001 0100 00 0f 00001000", 0, PCIE_TLP_E_LENGTH},
	{"MWr, 3 bytes of 4", "40000001 0100 00 0f 00001000 000000", 0, PCIE_TLP_E_LENGTH},
	{"MWr, Length 0 is 1024", "40000000 0100 00 ff 00001000", 4092, PCIE_TLP_E_LENGTH},
	{"CplD without its payload", "4a000001 0200 0004 0100 0c 00", 0, PCIE_TLP_E_LENGTH},
	{"TD without a digest", "00008001 0100 0c 0f 00001000", 0, PCIE_TLP_E_LENGTH},
	{"MRd with payload", "00000001 0100 0c 0f 00001000 00000000", 0, PCIE_TLP_E_TRAILING},
	{"MWr with a DW too many", "40000001 0100 00 0f 00001000 00000000 00000000", 0, PCIE_TLP_E_TRAILING},
	{"MWr with a byte too many", "40000001 0100 00 0f 00001000 00000000 00", 0, PCIE_TLP_E_TRAILING},
	{"Cpl with payload", "0a000001 0200 0004 0100 0c 00 00000000", 0, PCIE_TLP_E_TRAILING},
	{"digest without TD", "40000001 0100 00 0f fee00000 21430000 01020304", 0, PCIE_TLP_E_TRAILING},
	{"MRd 1 DW, last BE set", "00000001 0100 0c 1f 00001000", 0, PCIE_TLP_E_BE},
	{"MRd 1 DW, only last BE set", "00000001 0100 0c 10 00001000", 0, PCIE_TLP_E_BE},
	{"MRd 2 DW, first BE 0", "00000002 0100 0c f0 00001000", 0, PCIE_TLP_E_BE},
	{"MRd 2 DW, last BE 0", "00000002 0100 0c 0f 00001000", 0, PCIE_TLP_E_BE},
	{"MRd 2 DW not QW-aligned, hole in first BE", "00000002 0100 0c fd 00001004", 0, PCIE_TLP_E_BE},
	{"MRd 2 DW not QW-aligned, first BE ends early", "00000002 0100 0c f3 00001004", 0, PCIE_TLP_E_BE},
	{"MRd 2 DW not QW-aligned, last BE starts late", "00000002 0100 0c ef 00001004", 0, PCIE_TLP_E_BE},
	{"MRd 3 DW, hole in last BE", "00000003 0100 0c 5f 00001000", 0, PCIE_TLP_E_BE},
	{"MWr 3 DW, hole in first BE", "40000003 0100 0c fa 00001000", 12, PCIE_TLP_E_BE},
	{"MWr 3 DW, both zero", "40000003 0100 0c 00 00001000", 12, PCIE_TLP_E_BE},
	{"MWr with TH, last BE 0", "40010002 0100 0c 0f 00001000", 8, PCIE_TLP_E_BE},
	{"MRd across 4 KiB by a DW", "00000002 0100 0c ff 00001ffc", 0, PCIE_TLP_E_4K},
	{"MRd of 4 KiB, not aligned", "00000000 0100 0c ff 00001004", 0, PCIE_TLP_E_4K},
	{"MWr across 4 KiB, 4DW", "60000003 0100 0c ff 00000001 00001ff8", 12, PCIE_TLP_E_4K},
	{"MRd with TH across 4 KiB", "00010002 0100 0c 00 00001ffc", 0, PCIE_TLP_E_4K},
	{"MRd 4DW below 4 GiB", "20000001 0100 0c 0f 00000000 fee00000", 0, PCIE_TLP_E_4DW_BELOW_4G},
	{"MWr 4DW below 4 GiB", "60000001 0100 0c 0f 00000000 fffffffc", 4, PCIE_TLP_E_4DW_BELOW_4G},
	{"Swap 4DW below 4 GiB", "6d000001 0100 0c 00 00000000 00001000", 4, PCIE_TLP_E_4DW_BELOW_4G},
	{"CfgRd0 of 2 DW", "04000002 0000 01 0f 01000000", 0, PCIE_TLP_E_CFG_IO_LENGTH},
	{"CfgRd0 of 1024 DW", "04000000 0000 01 0f 01000000", 0, PCIE_TLP_E_CFG_IO_LENGTH},
	{"CfgRd0 with TC", "04100001 0000 01 0f 01000000", 0, PCIE_TLP_E_CFG_IO_LENGTH},
	{"CfgRd0 with RO", "04002001 0000 01 0f 01000000", 0, PCIE_TLP_E_CFG_IO_LENGTH},
	{"CfgRd1 with NS", "05001001 0000 01 0f 01000000", 0, PCIE_TLP_E_CFG_IO_LENGTH},
	{"CfgRd0 with AT", "04000401 0000 01 0f 01000000", 0, PCIE_TLP_E_CFG_IO_LENGTH},
	{"CfgWr0 with last BE", "44000001 0000 01 1f 01000000 00000000", 0, PCIE_TLP_E_CFG_IO_LENGTH},
	{"IOWr of 2 DW", "42000002 0000 01 0f 00001000", 8, PCIE_TLP_E_CFG_IO_LENGTH},
	{"IORd with AT", "02000801 0000 01 0f 00001000", 0, PCIE_TLP_E_CFG_IO_LENGTH},
	{"FetchAdd of 3 DW", "4c000003 0100 0700 00001000", 12, PCIE_TLP_E_ATOMIC_LENGTH},
	{"FetchAdd 128", "4c000004 0100 0700 00001000", 16, PCIE_TLP_E_ATOMIC_LENGTH},
	{"Swap of 1024 DW", "4d000000 0100 0700 00001000", 4096, PCIE_TLP_E_ATOMIC_LENGTH},
	{"CAS of 1 DW", "4e000001 0100 0700 00001000", 4, PCIE_TLP_E_ATOMIC_LENGTH},
	{"CAS of 16 DW", "4e000010 0100 0700 00001000", 64, PCIE_TLP_E_ATOMIC_LENGTH},
	{"FetchAdd 64 at a DW", "4c000002 0100 0700 00001004", 8, PCIE_TLP_E_ATOMIC_LENGTH},
	{"CAS 64 at a DW", "4e000004 0100 0700 00001ffc", 16, PCIE_TLP_E_ATOMIC_LENGTH},
	{"CAS 128 at a QW", "4e000008 0100 0700 00001008", 32, PCIE_TLP_E_ATOMIC_LENGTH},
	{"Assert_INTA to root", "30000000 0100 00 20 0000000000000000", 0, PCIE_TLP_E_MSG},
	{"Assert_INTA with TC 1", "34100000 0100 00 20 0000000000000000", 0, PCIE_TLP_E_MSG},
	{"Assert_INTA with data", "74000001 0100 00 20 0000000000000000 00000000", 0, PCIE_TLP_E_MSG},
	{"ERR_FATAL broadcast", "33000000 0100 00 33 0000000000000000", 0, PCIE_TLP_E_MSG},
	{"PME_Turn_Off local", "34000000 0100 00 19 0000000000000000", 0, PCIE_TLP_E_MSG},
	{"Set_Slot_Power_Limit without data", "34000000 0000 00 50 0000000000000000", 0, PCIE_TLP_E_MSG},
	{"Set_Slot_Power_Limit with 2 DW", "74000002 0000 00 50 0000000000000000", 8, PCIE_TLP_E_MSG},
	{"routing 110", "36000000 0100 00 7e 0000000000000000", 0, PCIE_TLP_E_MSG},
	{"routing 111", "37000000 0100 00 99 0000000000000000", 0, PCIE_TLP_E_MSG},
	{"Vendor_Type0 by address", "31000000 0100 00 7e 0000000000000000", 0, PCIE_TLP_E_MSG},
	{"Vendor_Type0 gathered", "35000000 0100 00 7e 0000000000000000", 0, PCIE_TLP_E_MSG},
	{"LTR with TC 7", "34700000 0100 00 10 0000000000000000", 0, PCIE_TLP_E_MSG},
	{"CplD with more than what is left", "4a000002 0200 0004 0100 0c 00 1122334455667788", 0, PCIE_TLP_E_CPL},
	{"CplD, 4 bytes of 1 DW and one more", "4a000003 0200 0005 0100 0c 03", 12, PCIE_TLP_E_CPL},
	{"CplD of 1024 DW, byte count 4092", "4a000000 0200 0ffc 0100 0c 00", 4096, PCIE_TLP_E_CPL},
	{"prefix reserved, local", "81000000 00000001 0100 0c 0f 00001000", 0, PCIE_TLP_E_PREFIX},
	{"prefix reserved, end-to-end", "92000000 00000001 0100 0c 0f 00001000", 0, PCIE_TLP_E_PREFIX},
	{"local prefix after an end-to-end one", "9e000000 8e000000 00000001 0100 0c 0f 00001000", 0, PCIE_TLP_E_PREFIX},
	{"five end-to-end prefixes", "9e000000 9e000000 9e000000 9e000000 9e000000 00000001 0100 0c 0f 00001000", 0,
	 PCIE_TLP_E_PREFIX},
	{"nine prefixes",
	 "8e000000 8e000000 8e000000 8e000000 8e000000 8e000000 8e000000 8e000000 8e000000 00000001 0100 0c 0f 00001000", 0,
	 PCIE_TLP_E_PREFIX},
	{"two PASIDs", "91000001 91000001 00000001 0100 0c 0f 00001000", 0, PCIE_TLP_E_PREFIX},
	{"PASID on a CfgRd", "91000001 04000001 0000 010f 01000000", 0, PCIE_TLP_E_PREFIX},
	{"PASID on a completion", "91000001 4a000001 0200 0004 0100 0c 00 11223344", 0, PCIE_TLP_E_PREFIX},
	{"PASID on Assert_INTA", "91000001 34000000 0100 00 20 0000000000000000", 0, PCIE_TLP_E_PREFIX},
	{"ECRC of zeros", "40008001 0100 00 0f fee00000 21430000 00000000", 0, PCIE_TLP_E_ECRC},
	{"ECRC after a malformed header: malformed comes first", "40008001 0100 00 ff fee00000 21430000 00000000", 0,
	 PCIE_TLP_E_BE},
};

static void check_good(const struct vector *v)
{
	uint8_t bytes[PCIE_TLP_MAX_SIZE], made[PCIE_TLP_MAX_SIZE + 1], digest[4];
	size_t size = test_unhex(v->hex, v->zeros, bytes), header;
	struct pcie_tlp expected = v->tlp, tlp;
	enum pcie_tlp_error err;
	const char *differs;
	char line[300];

	memset(&tlp, 0xa5, sizeof(tlp)); /* decoding must not rely on what was there */
	err = pcie_tlp_decode(&tlp, bytes, size);
	if (err)
		fail_msg("%s: decode says: %s", v->name, pcie_tlp_error_name(err));
	if (pcie_tlp_has_data(expected.type))
		expected.data = bytes + size - (expected.td ? 4 : 0) - expected.length * 4u;
	differs = test_tlp_differs(&tlp, &expected);
	if (differs)
		fail_msg("%s: decoded %s differs", v->name, differs);
	if (tlp.data != expected.data)
		fail_msg("%s: payload is not where it stands in the buffer", v->name);
	if (tlp.td) {
		test_ecrc(bytes, size - 4, digest);
		assert_memory_equal(digest, bytes + size - 4, 4);
		assert_int_equal(tlp.ecrc, (uint32_t)digest[0] << 24 | digest[1] << 16 | digest[2] << 8 | digest[3]);
	} else {
		assert_int_equal(tlp.ecrc, 0);
	}

	if (pcie_tlp_size(&expected) != size)
		fail_msg("%s: size %zu, not %zu", v->name, pcie_tlp_size(&expected), size);
	assert_int_equal(pcie_tlp_encode(&expected, made, size - 1, &err), 0); /* no room */
	assert_int_equal(err, PCIE_TLP_E_LENGTH);
	made[size] = 0x5a;
	if (pcie_tlp_encode(&expected, made, sizeof(made), &err) != size || err)
		fail_msg("%s: encode says: %s", v->name, pcie_tlp_error_name(err));
	if (memcmp(made, bytes, size) != 0)
		fail_msg("%s: encoded bytes differ", v->name);
	assert_int_equal(made[size], 0x5a);

	memset(made, 0x5a, sizeof(made));
	header = pcie_tlp_encode_header(&expected, made, &err);
	if (expected.td) {
		assert_int_equal(header, 0);
		assert_int_equal(err, PCIE_TLP_E_FIELD);
	} else {
		assert_int_equal(header + (expected.data ? expected.length * 4u : 0), size);
		assert_memory_equal(made, bytes, header);
		assert_int_equal(made[header], 0x5a);
	}
	if (v->line)
		assert_string_equal(pcie_tlp_describe(&tlp, line, sizeof(line)), v->line);
	/* a short buffer is filled and terminated, not overrun */
	memset(line, 'x', sizeof(line));
	pcie_tlp_describe(&tlp, line, 10);
	assert_int_equal(strlen(line), 9);
	assert_int_equal(line[10], 'x');
}

static void test_good(void **state)
{
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		check_good(&good[i]);
}

static void test_every_type_has_a_vector(void **state)
{
	for (int type = 0; type < PCIE_TLP_TYPES; type++) {
		bool found = false;

		for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
			found |= (int)good[i].tlp.type == type;
		if (!found)
			fail_msg("no vector for %s", pcie_tlp_type_name((enum pcie_tlp_type)type));
	}
}

static void test_bad_bytes(void **state)
{
	bool seen[PCIE_TLP_ERRORS] = {[PCIE_TLP_OK] = true,
				      [PCIE_TLP_E_MPS] = true,    /* pcie_tlp_check_mps() */
				      [PCIE_TLP_E_FIELD] = true}; /* encoder only */
	struct pcie_tlp tlp;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint8_t bytes[PCIE_TLP_MAX_SIZE];
		size_t size = test_unhex(bad[i].hex, bad[i].zeros, bytes);
		enum pcie_tlp_error err = pcie_tlp_decode(&tlp, bytes, size);

		if (err != bad[i].error)
			fail_msg("%s: \"%s\", not \"%s\"", bad[i].name, pcie_tlp_error_name(err),
				 pcie_tlp_error_name(bad[i].error));
		seen[err] = true;
	}
	for (int e = 0; e < PCIE_TLP_ERRORS; e++) {
		if (!seen[e])
			fail_msg("no vector for \"%s\"", pcie_tlp_error_name((enum pcie_tlp_error)e));
	}
}

/* Every proper beginning of every good vector is refused, and so is every one with something after it. */
static void test_truncated_and_extended(void **state)
{
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		uint8_t bytes[PCIE_TLP_MAX_SIZE + 8] = {0};
		size_t size = test_unhex(good[i].hex, good[i].zeros, bytes);
		struct pcie_tlp tlp;

		for (size_t n = 0; n < size; n++) {
			enum pcie_tlp_error err = pcie_tlp_decode(&tlp, bytes, n);

			if (err != PCIE_TLP_E_SHORT && err != PCIE_TLP_E_LENGTH)
				fail_msg("%s cut to %zu: %s", good[i].name, n, pcie_tlp_error_name(err));
		}
		for (size_t n = 1; n <= 8; n++)
			assert_int_equal(pcie_tlp_decode(&tlp, bytes, size + n), PCIE_TLP_E_TRAILING);
	}
}

/* What a struct can say and the wire cannot, or what a receiver would refuse. */
static const struct {
	const char *name;
	struct pcie_tlp tlp;
	enum pcie_tlp_error error;
} refused[] = {
	{"type", {.type = PCIE_TLP_TYPES, .length = 1}, PCIE_TLP_E_FIELD},
	{"TC 8", {T(MRD), .tc = 8, .length = 1}, PCIE_TLP_E_FIELD},
	{"Attr 8", {T(MRD), .attr = 8, .length = 1}, PCIE_TLP_E_FIELD},
	{"AT 4", {T(MRD), .at = 4, .length = 1}, PCIE_TLP_E_FIELD},
	{"PH 4", {T(MRD), .th = true, .ph = 4, .length = 1, .first_be = 15}, PCIE_TLP_E_FIELD},
	{"Length 0", {T(MRD)}, PCIE_TLP_E_FIELD},
	{"Length 1025", {T(MRD), .length = 1025, .first_be = 15, .last_be = 15}, PCIE_TLP_E_FIELD},
	{"tag 1024", {T(MRD), .length = 1, .tag = 1024}, PCIE_TLP_E_FIELD},
	{"first BE 16", {T(MRD), .length = 1, .first_be = 16}, PCIE_TLP_E_FIELD},
	{"last BE 16", {T(MRD), .length = 2, .first_be = 15, .last_be = 16}, PCIE_TLP_E_FIELD},
	{"address not DW-aligned", {T(MRD), .length = 1, .address = 0x1001}, PCIE_TLP_E_FIELD},
	{"I/O above 4 GiB", {T(IORD), .length = 1, .address = 0x100000000}, PCIE_TLP_E_FIELD},
	{"I/O not DW-aligned", {T(IORD), .length = 1, .address = 0xcf9}, PCIE_TLP_E_FIELD},
	{"register 4096", {T(CFGRD0), .length = 1, .reg = 4096}, PCIE_TLP_E_FIELD},
	{"register not DW-aligned", {T(CFGRD0), .length = 1, .reg = 6}, PCIE_TLP_E_FIELD},
	{"Cfg first BE 16", {T(CFGRD0), .length = 1, .first_be = 16}, PCIE_TLP_E_FIELD},
	{"status 3", {T(CPL), .status = (enum pcie_cpl_status)3, .byte_count = 4}, PCIE_TLP_E_FIELD},
	{"status 8", {T(CPL), .status = (enum pcie_cpl_status)8, .byte_count = 4}, PCIE_TLP_E_FIELD},
	{"byte count 0", {T(CPL)}, PCIE_TLP_E_FIELD},
	{"byte count 4097", {T(CPL), .byte_count = 4097}, PCIE_TLP_E_FIELD},
	{"lower address 128", {T(CPL), .byte_count = 4, .lower_address = 128}, PCIE_TLP_E_FIELD},
	{"nine prefixes", {T(MRD), .length = 1, .n_prefixes = 9}, PCIE_TLP_E_FIELD},
	{"message address not DW-aligned",
	 {T(MSG), .msg_code = 0x99, .msg_route = PCIE_ROUTE_BY_ADDRESS, .address = 2}, PCIE_TLP_E_FIELD},
	{"BE rule", {T(MRD), .length = 2, .first_be = 15}, PCIE_TLP_E_BE},
	{"TH and partial BE", {T(MRD), .th = true, .length = 1, .first_be = 3}, PCIE_TLP_E_BE},
	{"4 KiB", {T(MWR), .length = 2, .first_be = 15, .last_be = 15, .address = 0xffc}, PCIE_TLP_E_4K},
	{"Cfg of 2 DW", {T(CFGRD1), .length = 2}, PCIE_TLP_E_CFG_IO_LENGTH},
	{"Cfg with TC", {T(CFGRD1), .length = 1, .tc = 1}, PCIE_TLP_E_CFG_IO_LENGTH},
	{"I/O with RO", {T(IORD), .length = 1, .attr = PCIE_ATTR_RO}, PCIE_TLP_E_CFG_IO_LENGTH},
	{"I/O with last BE", {T(IORD), .length = 1, .last_be = 1}, PCIE_TLP_E_CFG_IO_LENGTH},
	{"Cfg with AT", {T(CFGRD1), .length = 1, .at = 2}, PCIE_TLP_E_CFG_IO_LENGTH},
	{"FetchAdd of 4 DW", {T(FETCHADD), .length = 4}, PCIE_TLP_E_ATOMIC_LENGTH},
	{"CAS misaligned", {T(CAS), .length = 8, .address = 8}, PCIE_TLP_E_ATOMIC_LENGTH},
	{"reserved routing", {T(MSG), .msg_code = 0x99, .msg_route = 6}, PCIE_TLP_E_MSG},
	{"routing above 7", {T(MSG), .msg_code = 0x99, .msg_route = 12}, PCIE_TLP_E_MSG},
	{"INTx not local", {T(MSG), .msg_code = PCIE_MSG_ASSERT_INTA}, PCIE_TLP_E_MSG},
	{"CplD too long", {T(CPLD), .length = 2, .byte_count = 4}, PCIE_TLP_E_CPL},
	{"prefix unknown", {T(MRD), .length = 1, .n_prefixes = 1, .prefix = {0x85000000}}, PCIE_TLP_E_PREFIX},
	{"prefix that is none", {T(MRD), .length = 1, .n_prefixes = 1, .prefix = {0x40000000}}, PCIE_TLP_E_PREFIX},
	{"payload missing", {T(MWR), .length = 1, .first_be = 15, .data = NULL}, PCIE_TLP_E_LENGTH},
};

static void test_refused(void **state)
{
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		static const uint8_t payload[4100];
		uint8_t buf[PCIE_TLP_MAX_SIZE];
		struct pcie_tlp tlp = refused[i].tlp;
		enum pcie_tlp_error err = PCIE_TLP_OK;

		if (refused[i].error != PCIE_TLP_E_LENGTH)
			tlp.data = payload;
		if (pcie_tlp_encode(&tlp, buf, sizeof(buf), &err) != 0 || err != refused[i].error)
			fail_msg("%s: encode says: %s", refused[i].name, pcie_tlp_error_name(err));
		assert_int_equal(pcie_tlp_encode(&tlp, buf, sizeof(buf), NULL), 0);
		if (refused[i].error == PCIE_TLP_E_LENGTH)
			continue; /* the header alone needs no payload */
		assert_int_equal(pcie_tlp_size(&tlp), 0);
		if (pcie_tlp_encode_header(&tlp, buf, &err) != 0 || err != refused[i].error)
			fail_msg("%s: encode_header says: %s", refused[i].name, pcie_tlp_error_name(err));
	}
}

/* 1.1: reserved bits are ignored, whatever they are. */
static void test_reserved_bits_ignored(void **state)
{
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		uint8_t bytes[PCIE_TLP_MAX_SIZE], mask[PCIE_TLP_MAX_SIZE];
		size_t size = test_unhex(good[i].hex, good[i].zeros, bytes);
		struct pcie_tlp tlp, expected;

		if (good[i].tlp.td)
			continue; /* they count in the ECRC */
		assert_int_equal(pcie_tlp_decode(&expected, bytes, size), PCIE_TLP_OK);
		test_reserved(bytes, size, mask);
		for (size_t n = 0; n < size; n++)
			bytes[n] |= mask[n];
		if (pcie_tlp_decode(&tlp, bytes, size) != PCIE_TLP_OK)
			fail_msg("%s with reserved bits set is refused", good[i].name);
		if (test_tlp_differs(&tlp, &expected))
			fail_msg("%s with reserved bits set: %s differs", good[i].name, test_tlp_differs(&tlp, &expected));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_every_type_has_a_vector),
		cmocka_unit_test(test_bad_bytes),
		cmocka_unit_test(test_truncated_and_extended),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_reserved_bits_ignored),
	};

	return cmocka_run_group_tests_name("tlp table", tests, NULL, NULL);
}
