/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Byte 0 (Fmt and Type) picks the type out of a table of 256; the type's kind
 * picks the reader of DWs 1 to 3. The order of the checks is the order in which
 * they protect each other: header whole, type known, size agrees with Length,
 * then the rules of 2.2 for the fields, then prefixes, and the ECRC last, since
 * a malformed TLP is reported before a failed ECRC (6.2.3.2.3).
 *
 * Bounds: `left` is compared with what the header needs before DWs 1 to 3 are
 * read and with header + payload + digest before anything points at the payload.
 */
#include <string.h>

#include "tlp/rules.h"
#include "util/reader.h"

enum { NONE = 0, PREFIX = 0xff };

/* Byte 0 -> type + 1, NONE for the reserved and the deprecated (TCfg) ones. */
static const uint8_t types[256] = {
	[0x00] = 1 + PCIE_TLP_MRD,
	[0x20] = 1 + PCIE_TLP_MRD,
	[0x01] = 1 + PCIE_TLP_MRDLK,
	[0x21] = 1 + PCIE_TLP_MRDLK,
	[0x40] = 1 + PCIE_TLP_MWR,
	[0x60] = 1 + PCIE_TLP_MWR,
	[0x02] = 1 + PCIE_TLP_IORD,
	[0x42] = 1 + PCIE_TLP_IOWR,
	[0x04] = 1 + PCIE_TLP_CFGRD0,
	[0x44] = 1 + PCIE_TLP_CFGWR0,
	[0x05] = 1 + PCIE_TLP_CFGRD1,
	[0x45] = 1 + PCIE_TLP_CFGWR1,
	[0x30 ... 0x37] = 1 + PCIE_TLP_MSG,
	[0x70 ... 0x77] = 1 + PCIE_TLP_MSGD,
	[0x0a] = 1 + PCIE_TLP_CPL,
	[0x4a] = 1 + PCIE_TLP_CPLD,
	[0x0b] = 1 + PCIE_TLP_CPLLK,
	[0x4b] = 1 + PCIE_TLP_CPLDLK,
	[0x4c] = 1 + PCIE_TLP_FETCHADD,
	[0x6c] = 1 + PCIE_TLP_FETCHADD,
	[0x4d] = 1 + PCIE_TLP_SWAP,
	[0x6d] = 1 + PCIE_TLP_SWAP,
	[0x4e] = 1 + PCIE_TLP_CAS,
	[0x6e] = 1 + PCIE_TLP_CAS,
	[0x80 ... 0x9f] = PREFIX,
};

/* DWs 1 to 3 of memory requests and AtomicOps, 2.2.7 */
static enum pcie_tlp_error decode_memory(struct pcie_tlp *tlp, const uint8_t *p, enum pcie_tlp_kind kind, bool dw4)
{
	uint32_t low = fb_get_be32(p + (dw4 ? 12 : 8));

	tlp->requester_id = fb_get_be16(p + 4);
	tlp->address = low & ~3u;
	if (dw4)
		tlp->address |= (uint64_t)fb_get_be32(p + 8) << 32;
	if (!tlp->th) {
		tlp->tag |= p[6];
		if (kind != KIND_ATOMIC) {
			tlp->first_be = p[7] & 0xf;
			tlp->last_be = p[7] >> 4;
		}
	} else {
		tlp->ph = low & 3;
		if (kind == KIND_WRITE) {
			tlp->st = p[6];
			tlp->first_be = p[7] & 0xf;
			tlp->last_be = p[7] >> 4;
		} else {
			tlp->tag |= p[6];
			tlp->st = p[7];
			if (kind == KIND_READ) {
				tlp->first_be = 0xf;
				tlp->last_be = tlp->length > 1 ? 0xf : 0;
			}
		}
	}
	if (kind == KIND_READ && tlp->at == 1 && !tlp->th)
		tlp->nw = low & 1;

	if (dw4 && tlp->address >> 32 == 0)
		return PCIE_TLP_E_4DW_BELOW_4G;
	if (kind == KIND_ATOMIC)
		return pcie_atomic_legal(tlp->type, tlp->length, tlp->address) ? PCIE_TLP_OK
									       : PCIE_TLP_E_ATOMIC_LENGTH;
	if (!pcie_be_legal(tlp->first_be, tlp->last_be, tlp->length, tlp->address))
		return PCIE_TLP_E_BE;
	if (pcie_crosses_4k(tlp->address, tlp->length))
		return PCIE_TLP_E_4K;
	return PCIE_TLP_OK;
}

static enum pcie_tlp_error decode_cpl(struct pcie_tlp *tlp, const uint8_t *p)
{
	/* reserved values count as UR, 2.3.2 */
	static const uint8_t statuses[8] = {PCIE_CPL_SC, PCIE_CPL_UR, PCIE_CPL_CRS, PCIE_CPL_UR,
					    PCIE_CPL_CA, PCIE_CPL_UR, PCIE_CPL_UR,  PCIE_CPL_UR};
	uint16_t counts = fb_get_be16(p + 6);

	tlp->completer_id = fb_get_be16(p + 4);
	tlp->status = (enum pcie_cpl_status)statuses[counts >> 13];
	tlp->bcm = counts >> 12 & 1;
	tlp->byte_count = counts & 0xfff ? counts & 0xfff : 4096;
	tlp->requester_id = fb_get_be16(p + 8);
	tlp->tag |= p[10];
	tlp->lower_address = p[11] & 0x7f;
	return pcie_cpl_legal(tlp->length, tlp->byte_count, tlp->lower_address) ? PCIE_TLP_OK : PCIE_TLP_E_CPL;
}

/* I/O and configuration requests, 2.2.7 */
static enum pcie_tlp_error decode_io_cfg(struct pcie_tlp *tlp, const uint8_t *p, enum pcie_tlp_kind kind)
{
	/* Attr[2], TH and LN are reserved here, so not looked at; the rest is fixed. */
	bool legal = tlp->length == 1 && tlp->tc == 0 && (tlp->attr & 3) == 0 && tlp->at == 0 && p[7] >> 4 == 0;

	tlp->requester_id = fb_get_be16(p + 4);
	tlp->tag |= p[6];
	tlp->first_be = p[7] & 0xf;
	tlp->last_be = p[7] >> 4;
	if (kind == KIND_IO) {
		tlp->address = fb_get_be32(p + 8) & ~3u;
	} else {
		tlp->completer_id = fb_get_be16(p + 8);
		tlp->reg = fb_get_be16(p + 10) & 0xffc;
	}
	if (!legal)
		return PCIE_TLP_E_CFG_IO_LENGTH;
	return PCIE_TLP_OK;
}

static enum pcie_tlp_error decode_msg(struct pcie_tlp *tlp, const uint8_t *p, uint8_t route)
{
	uint64_t fields;

	tlp->requester_id = fb_get_be16(p + 4);
	tlp->tag |= p[6];
	tlp->msg_code = p[7];
	tlp->msg_route = route;
	if (route == PCIE_ROUTE_BY_ADDRESS) {
		tlp->address = fb_get_be64(p + 8) & ~(uint64_t)3;
	} else {
		fields = fb_get_be64(p + 8) & pcie_msg_fields(tlp->msg_code, route);
		tlp->completer_id = (uint16_t)(fields >> 48);
		tlp->vendor_id = (uint16_t)(fields >> 32);
		tlp->vendor_data = (uint32_t)fields;
	}
	return pcie_msg_check(tlp);
}

/* Takes the prefixes off. p and left then stand at the header. */
static enum pcie_tlp_error decode_prefixes(struct pcie_tlp *tlp, const uint8_t **p, size_t *left)
{
	while (types[**p] == PREFIX) {
		if (tlp->n_prefixes == PCIE_TLP_MAX_PREFIXES)
			return PCIE_TLP_E_PREFIX;
		tlp->prefix[tlp->n_prefixes++] = fb_get_be32(*p);
		*p += 4;
		*left -= 4;
		if (*left < 12)
			return PCIE_TLP_E_SHORT;
	}
	return PCIE_TLP_OK;
}

enum pcie_tlp_error pcie_tlp_decode(struct pcie_tlp *tlp, const void *buf, size_t len)
{
	const struct pcie_type_info *info;
	const uint8_t *p = (const uint8_t *)buf;
	enum pcie_tlp_error err;
	size_t left = len, need;
	uint32_t dw0;

	memset(tlp, 0, offsetof(struct pcie_tlp, prefix));
	tlp->ecrc = 0;
	if (left < 12)
		return PCIE_TLP_E_SHORT;
	if (types[p[0]] == PREFIX) {
		err = decode_prefixes(tlp, &p, &left);
		if (err)
			return err;
	}
	if (types[p[0]] == NONE)
		return PCIE_TLP_E_TYPE;
	tlp->type = (enum pcie_tlp_type)(types[p[0]] - 1);
	info = &pcie_type_info[tlp->type];

	dw0 = fb_get_be32(p);
	tlp->tc = dw0 >> 20 & 7;
	tlp->attr = (dw0 >> 12 & 3) | (dw0 & info->fields & DW0_ATTR2) >> 16;
	tlp->td = dw0 & DW0_TD;
	tlp->ep = dw0 & DW0_EP;
	tlp->ln = dw0 & info->fields & DW0_LN;
	tlp->tag = (dw0 & info->fields & DW0_T9) >> 14 | (dw0 & info->fields & DW0_T8) >> 11;
	if (info->fields & DW0_LENGTH)
		tlp->length = dw0 & DW0_LENGTH ? dw0 & DW0_LENGTH : 1024;

	need = p[0] & BYTE0_4DW ? 16 : 12;
	if (left < need)
		return PCIE_TLP_E_SHORT;
	if (info->data) {
		tlp->data = p + need;
		need += tlp->length * 4u;
	}
	if (tlp->td)
		need += 4;
	if (left != need) {
		tlp->data = NULL;
		return left < need ? PCIE_TLP_E_LENGTH : PCIE_TLP_E_TRAILING;
	}

	switch (info->kind) {
	case KIND_READ:
	case KIND_WRITE:
	case KIND_ATOMIC:
		tlp->at = dw0 >> 10 & 3;
		tlp->th = dw0 & DW0_TH;
		err = decode_memory(tlp, p, (enum pcie_tlp_kind)info->kind, p[0] & BYTE0_4DW);
		break;
	case KIND_CPL:
		err = decode_cpl(tlp, p);
		break;
	case KIND_MSG:
		err = decode_msg(tlp, p, p[0] & 7);
		break;
	default:
		tlp->at = dw0 >> 10 & 3;
		err = decode_io_cfg(tlp, p, (enum pcie_tlp_kind)info->kind);
		break;
	}
	if (!err && tlp->n_prefixes)
		err = pcie_prefix_check(tlp);
	if (!err && tlp->td) {
		tlp->ecrc = fb_get_be32((const uint8_t *)buf + len - 4);
		if (tlp->ecrc != pcie_tlp_ecrc(buf, len - 4))
			err = PCIE_TLP_E_ECRC;
	}
	return err;
}
