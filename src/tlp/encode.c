/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoding. check() refuses first what has no place on the wire (field ranges),
 * then what pcie_tlp_decode() would refuse, by the same functions (rules.h);
 * after it the writers need no checks.
 */
#include <string.h>

#include "tlp/rules.h"
#include "util/reader.h"

/* A 4DW header is for addresses from 4 GiB up and for messages, and for nothing else (2.2.4.1). */
static inline bool needs_4dw(const struct pcie_tlp *tlp, enum pcie_tlp_kind kind)
{
	return kind == KIND_MSG || (kind <= KIND_ATOMIC && tlp->address >> 32 != 0);
}

static enum pcie_tlp_error check_memory(const struct pcie_tlp *tlp, enum pcie_tlp_kind kind)
{
	if (tlp->address & 3 || tlp->at > 3 || (tlp->th && tlp->ph > 3))
		return PCIE_TLP_E_FIELD;
	if (kind == KIND_ATOMIC)
		return pcie_atomic_legal(tlp->type, tlp->length, tlp->address) ? PCIE_TLP_OK
									       : PCIE_TLP_E_ATOMIC_LENGTH;
	if (tlp->first_be > 15 || tlp->last_be > 15)
		return PCIE_TLP_E_FIELD;
	if (!pcie_be_legal(tlp->first_be, tlp->last_be, tlp->length, tlp->address))
		return PCIE_TLP_E_BE;
	/* ST takes the place of the byte enables: only whole DWs can be asked for. */
	if (tlp->th && kind == KIND_READ && (tlp->first_be != 15 || tlp->last_be != (tlp->length > 1 ? 15 : 0)))
		return PCIE_TLP_E_BE;
	return pcie_crosses_4k(tlp->address, tlp->length) ? PCIE_TLP_E_4K : PCIE_TLP_OK;
}

static enum pcie_tlp_error check_io_cfg(const struct pcie_tlp *tlp, enum pcie_tlp_kind kind)
{
	if (tlp->first_be > 15)
		return PCIE_TLP_E_FIELD;
	if (kind == KIND_IO ? (tlp->address & 3) != 0 || tlp->address >> 32 != 0 : (tlp->reg & ~0xffcu) != 0)
		return PCIE_TLP_E_FIELD;
	if (tlp->length != 1 || tlp->tc != 0 || tlp->attr & 3 || tlp->at != 0 || tlp->last_be != 0)
		return PCIE_TLP_E_CFG_IO_LENGTH;
	return PCIE_TLP_OK;
}

static enum pcie_tlp_error check_cpl(const struct pcie_tlp *tlp, bool data)
{
	if (tlp->status > PCIE_CPL_CA || tlp->status == 3 || tlp->byte_count < 1 || tlp->byte_count > 4096 ||
	    tlp->lower_address > 127)
		return PCIE_TLP_E_FIELD;
	if (data && !pcie_cpl_legal(tlp->length, tlp->byte_count, tlp->lower_address))
		return PCIE_TLP_E_CPL;
	return PCIE_TLP_OK;
}

static inline enum pcie_tlp_error check(const struct pcie_tlp *tlp)
{
	const struct pcie_type_info *info;
	enum pcie_tlp_error err;

	if ((unsigned)tlp->type >= PCIE_TLP_TYPES || tlp->tc > 7 || tlp->attr > 7 || tlp->tag > 1023 ||
	    tlp->n_prefixes > PCIE_TLP_MAX_PREFIXES)
		return PCIE_TLP_E_FIELD;
	info = &pcie_type_info[tlp->type];
	if ((info->fields & DW0_LENGTH) && tlp->length - 1u > 1023)
		return PCIE_TLP_E_FIELD;
	switch (info->kind) {
	case KIND_READ:
	case KIND_WRITE:
	case KIND_ATOMIC:
		err = check_memory(tlp, (enum pcie_tlp_kind)info->kind);
		break;
	case KIND_CPL:
		err = check_cpl(tlp, info->data);
		break;
	case KIND_MSG:
		err = tlp->msg_route == PCIE_ROUTE_BY_ADDRESS && tlp->address & 3 ? PCIE_TLP_E_FIELD
										 : pcie_msg_check(tlp);
		break;
	default:
		err = check_io_cfg(tlp, (enum pcie_tlp_kind)info->kind);
		break;
	}
	if (!err && tlp->n_prefixes)
		err = pcie_prefix_check(tlp);
	return err;
}

/* DWs 1 to 3 of memory requests and AtomicOps. Returns what they add to DW 0. */
static inline uint32_t write_memory(const struct pcie_tlp *tlp, uint8_t *p, enum pcie_tlp_kind kind, bool dw4)
{
	uint32_t dw0 = (uint32_t)tlp->at << 10, low = (uint32_t)tlp->address, tag = tlp->tag;
	uint32_t be = kind == KIND_ATOMIC ? 0 : (uint32_t)tlp->last_be << 4 | tlp->first_be;

	if (tlp->th) {
		dw0 |= DW0_TH;
		low |= tlp->ph;
		if (kind == KIND_WRITE)
			tag = tlp->st;
		else
			be = tlp->st;
	} else if (kind == KIND_READ && tlp->at == 1) {
		low |= tlp->nw;
	}
	fb_put_be32(p + 4, (uint32_t)tlp->requester_id << 16 | (tag & 0xff) << 8 | be);
	if (dw4)
		fb_put_be64(p + 8, (tlp->address & 0xffffffff00000000) | low);
	else
		fb_put_be32(p + 8, low);
	return dw0 | (dw4 ? (uint32_t)BYTE0_4DW << 24 : 0);
}

/* Header alone, of a TLP that passed check(). Returns its size. */
static inline size_t write_header(const struct pcie_tlp *tlp, uint8_t *p)
{
	const struct pcie_type_info *info = &pcie_type_info[tlp->type];
	enum pcie_tlp_kind kind = (enum pcie_tlp_kind)info->kind;
	bool dw4 = needs_4dw(tlp, kind);
	uint32_t dw0 = (tlp->length & DW0_LENGTH) | (tlp->attr & 4u) << 16 | (uint32_t)tlp->ln << 17 |
		       (tlp->tag & 0x200u) << 14 | (tlp->tag & 0x100u) << 11;
	uint64_t fields;

	dw0 = info->dw0 | (dw0 & info->fields) | (uint32_t)tlp->tc << 20 | (tlp->attr & 3u) << 12 |
	      (uint32_t)tlp->td << 15 | (uint32_t)tlp->ep << 14;
	switch (kind) {
	case KIND_READ:
	case KIND_WRITE:
	case KIND_ATOMIC:
		dw0 |= write_memory(tlp, p, kind, dw4);
		break;
	case KIND_CPL:
		fb_put_be32(p + 4, (uint32_t)tlp->completer_id << 16 | (uint32_t)tlp->status << 13 |
					   (uint32_t)tlp->bcm << 12 | (tlp->byte_count & 0xfffu));
		fb_put_be32(p + 8, (uint32_t)tlp->requester_id << 16 | (tlp->tag & 0xffu) << 8 | tlp->lower_address);
		break;
	case KIND_MSG:
		dw0 |= (uint32_t)tlp->msg_route << 24;
		fb_put_be32(p + 4, (uint32_t)tlp->requester_id << 16 | (tlp->tag & 0xffu) << 8 | tlp->msg_code);
		if (tlp->msg_route == PCIE_ROUTE_BY_ADDRESS) {
			fb_put_be64(p + 8, tlp->address);
			break;
		}
		fields = (uint64_t)tlp->completer_id << 48 | (uint64_t)tlp->vendor_id << 32 | tlp->vendor_data;
		fb_put_be64(p + 8, fields & pcie_msg_fields(tlp->msg_code, tlp->msg_route));
		break;
	case KIND_IO:
	case KIND_CFG:
		fb_put_be32(p + 4, (uint32_t)tlp->requester_id << 16 | (tlp->tag & 0xffu) << 8 | tlp->first_be);
		fb_put_be32(p + 8, kind == KIND_IO ? (uint32_t)tlp->address : (uint32_t)tlp->completer_id << 16 | tlp->reg);
		break;
	}
	fb_put_be32(p, dw0);
	return dw4 ? 16 : 12;
}

static inline size_t write_all_headers(const struct pcie_tlp *tlp, uint8_t *p)
{
	for (unsigned i = 0; i < tlp->n_prefixes; i++, p += 4)
		fb_put_be32(p, tlp->prefix[i]);
	return tlp->n_prefixes * 4u + write_header(tlp, p);
}

static size_t total_size(const struct pcie_tlp *tlp)
{
	const struct pcie_type_info *info = &pcie_type_info[tlp->type];

	return tlp->n_prefixes * 4u + (needs_4dw(tlp, (enum pcie_tlp_kind)info->kind) ? 16 : 12) +
	       (info->data ? tlp->length * 4u : 0) + (tlp->td ? 4 : 0);
}

size_t pcie_tlp_size(const struct pcie_tlp *tlp)
{
	return check(tlp) == PCIE_TLP_OK ? total_size(tlp) : 0;
}

size_t pcie_tlp_encode_header(const struct pcie_tlp *tlp, void *buf, enum pcie_tlp_error *error)
{
	enum pcie_tlp_error err = tlp->td ? PCIE_TLP_E_FIELD : check(tlp);

	if (error)
		*error = err;
	return err ? 0 : write_all_headers(tlp, (uint8_t *)buf);
}

size_t pcie_tlp_encode(const struct pcie_tlp *tlp, void *buf, size_t cap, enum pcie_tlp_error *error)
{
	enum pcie_tlp_error err = check(tlp);
	uint8_t *p = (uint8_t *)buf;
	size_t size = 0, at;

	if (!err) {
		size = total_size(tlp);
		if (size > cap || (pcie_type_info[tlp->type].data && !tlp->data))
			err = PCIE_TLP_E_LENGTH;
	}
	if (error)
		*error = err;
	if (err)
		return 0;
	at = write_all_headers(tlp, p);
	if (pcie_type_info[tlp->type].data) {
		memcpy(p + at, tlp->data, tlp->length * 4u);
		at += tlp->length * 4u;
	}
	if (tlp->td)
		fb_put_be32(p + at, pcie_tlp_ecrc(p, at));
	return size;
}

void pcie_tlp_set_range(struct pcie_tlp *tlp, uint64_t address, uint32_t len)
{
	uint32_t first = address & 3, end = first + len, dws = (end + 3) / 4;

	tlp->address = address & ~(uint64_t)3;
	if (len == 0) { /* zero-length: one DW, no byte of it */
		tlp->length = 1;
		tlp->first_be = tlp->last_be = 0;
		return;
	}
	tlp->length = dws <= 1024 ? (uint16_t)dws : 0; /* 0: too long for one TLP, refused when encoded */
	tlp->first_be = 0xf << first & 0xf;
	tlp->last_be = 0xf >> (-end & 3);
	if (dws == 1) {
		tlp->first_be &= tlp->last_be;
		tlp->last_be = 0;
	}
}

void pcie_tlp_get_range(const struct pcie_tlp *tlp, uint64_t *address, uint32_t *len)
{
	unsigned last = tlp->length > 1 ? tlp->last_be : tlp->first_be, first;

	*address = 0;
	*len = 0;
	if ((unsigned)tlp->type >= PCIE_TLP_TYPES)
		return;
	switch (pcie_type_info[tlp->type].kind) {
	case KIND_ATOMIC:
		*address = tlp->address;
		*len = tlp->type == PCIE_TLP_CAS ? tlp->length * 2u : tlp->length * 4u;
		return;
	case KIND_MSG:
	case KIND_CPL:
		return;
	case KIND_CFG:
		*address = tlp->reg;
		break;
	default:
		*address = tlp->address;
		break;
	}
	if (!(tlp->first_be & 0xf) || !(last & 0xf)) /* zero-length */
		return;
	first = (unsigned)__builtin_ctz(tlp->first_be & 0xf);
	*address += first;
	*len = (tlp->length - 1u) * 4 + (32 - (unsigned)__builtin_clz(last & 0xf)) - first;
}
