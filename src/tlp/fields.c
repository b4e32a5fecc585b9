/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "tlp/fields.h"
#include "tlp/rules.h"
#include "util/reader.h"

struct view {
	const uint8_t *base, *p; /* p: the header */
	size_t len;              /* from base */
	void (*show)(void *arg, const struct pcie_field *field);
	void *arg;
};

__attribute__((format(printf, 5, 6))) static void put(struct view *v, unsigned at, unsigned bytes, const char *name,
						       const char *fmt, ...)
{
	struct pcie_field f = {.name = name, .offset = (unsigned)(v->p - v->base) + at, .length = bytes};
	char value[96];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	f.value = value;
	v->show(v->arg, &f);
}

static void put_id(struct view *v, unsigned at, const char *name, uint16_t id)
{
	put(v, at, 2, name, "%02x:%02x.%u", id >> 8, id >> 3 & 31, id & 7u);
}

static void put_be(struct view *v, uint8_t be)
{
	put(v, 7, 1, "Last DW BE", "%u%u%u%u", be >> 7, be >> 6 & 1, be >> 5 & 1, be >> 4 & 1);
	put(v, 7, 1, "First DW BE", "%u%u%u%u", be >> 3 & 1, be >> 2 & 1, be >> 1 & 1, be & 1);
}

static const char *prefix_name(uint8_t byte)
{
	switch (byte) {
	case 0x80: return "MR-IOV";
	case 0x8e: return "VendPrefixL0";
	case 0x8f: return "VendPrefixL1";
	case 0x90: return "Extended TPH";
	case 0x91: return "PASID";
	case 0x9e: return "VendPrefixE0";
	case 0x9f: return "VendPrefixE1";
	default: return "unknown";
	}
}

/* 2.2.10 */
static void put_prefix(struct view *v)
{
	uint32_t dw = fb_get_be32(v->p);

	put(v, 0, 4, "TLP Prefix", "0x%08" PRIx32 ", %s, %s", dw, dw >> 28 & 1 ? "end-end" : "local", prefix_name(v->p[0]));
	if (v->p[0] != 0x91)
		return;
	put(v, 1, 1, "Privileged Mode Requested", "%u", dw >> 21 & 1u);
	put(v, 1, 1, "Execute Requested", "%u", dw >> 20 & 1u);
	put(v, 1, 3, "PASID", "0x%05" PRIx32, dw & 0xfffff);
}

static const char *const fmt_names[8] = {
	"3 DW header, no data",	  "4 DW header, no data", "3 DW header, with data", "4 DW header, with data",
	"TLP Prefix",		  "reserved",		  "reserved",		    "reserved"};

/* The type by its first byte, whatever follows. PCIE_TLP_TYPES: none. */
static enum pcie_tlp_type type_of(uint8_t byte)
{
	for (unsigned t = 0; t < PCIE_TLP_TYPES; t++) {
		uint8_t base = (uint8_t)(pcie_type_info[t].dw0 >> 24);
		unsigned kind = pcie_type_info[t].kind;

		if (kind == KIND_MSG ? (byte & 0xf8) == base
				     : byte == base || ((kind == KIND_READ || kind == KIND_WRITE || kind == KIND_ATOMIC) &&
							byte == (base | BYTE0_4DW)))
			return (enum pcie_tlp_type)t;
	}
	return PCIE_TLP_TYPES;
}

static void put_dw0(struct view *v, enum pcie_tlp_type type)
{
	uint32_t dw = fb_get_be32(v->p), length = dw & DW0_LENGTH;
	uint8_t b = v->p[0];

	put(v, 0, 1, "Fmt", "%u%u%ub, %s", b >> 7, b >> 6 & 1, b >> 5 & 1, fmt_names[b >> 5]);
	put(v, 0, 1, "Type", "%u%u%u%u%ub, %s", b >> 4 & 1, b >> 3 & 1, b >> 2 & 1, b >> 1 & 1, b & 1,
	    type < PCIE_TLP_TYPES ? pcie_tlp_type_name(type) : "reserved");
	if (type == PCIE_TLP_TYPES)
		return;
	put(v, 1, 1, "TC", "%u", dw >> 20 & 7u);
	if (pcie_type_info[type].fields & DW0_LN)
		put(v, 1, 1, "LN", "%u", dw >> 17 & 1u);
	put(v, 1, 1, "TH", "%u", dw >> 16 & 1u);
	put(v, 2, 1, "TD", "%u", dw >> 15 & 1u);
	put(v, 2, 1, "EP", "%u", dw >> 14 & 1u);
	put(v, 1, 2, "Attr", "%u%u%ub%s%s%s", dw >> 18 & 1u, dw >> 13 & 1u, dw >> 12 & 1u, dw >> 18 & 1 ? " IDO" : "",
	    dw >> 13 & 1 ? " RO" : "", dw >> 12 & 1 ? " NS" : "");
	put(v, 2, 1, "AT", "%u", dw >> 10 & 3u);
	if (pcie_type_info[type].fields & DW0_LENGTH)
		put(v, 2, 2, "Length", "%" PRIu32 " DW", length ? length : 1024);
}

static unsigned tag_of(const struct view *v, uint8_t low, enum pcie_tlp_type type)
{
	uint32_t dw = fb_get_be32(v->p) & pcie_type_info[type].fields;

	return (dw & DW0_T9) >> 14 | (dw & DW0_T8) >> 11 | low;
}

static void put_memory(struct view *v, enum pcie_tlp_type type, bool dw4)
{
	const uint8_t *p = v->p;
	bool th = p[1] & 1, write = pcie_type_info[type].kind == KIND_WRITE, atomic = pcie_type_info[type].kind == KIND_ATOMIC;
	uint32_t low = fb_get_be32(p + (dw4 ? 12 : 8));

	put_id(v, 4, "Requester ID", fb_get_be16(p + 4));
	if (th && write)
		put(v, 6, 1, "ST", "%u", p[6]);
	else
		put(v, 6, 1, "Tag", "%u", tag_of(v, p[6], type));
	if (th && !write)
		put(v, 7, 1, "ST", "%u", p[7]);
	else if (!atomic)
		put_be(v, p[7]);
	if (dw4)
		put(v, 8, 8, "Address", "0x%016" PRIx64, (uint64_t)fb_get_be32(p + 8) << 32 | (low & ~3u));
	else
		put(v, 8, 4, "Address", "0x%08" PRIx32, low & ~3u);
	if (th)
		put(v, dw4 ? 15 : 11, 1, "PH", "%u", low & 3u);
	else if (pcie_type_info[type].kind == KIND_READ && (p[2] >> 2 & 3) == 1)
		put(v, dw4 ? 15 : 11, 1, "NW", "%u", low & 1u);
}

static void put_cfg(struct view *v, enum pcie_tlp_type type)
{
	const uint8_t *p = v->p;

	put_id(v, 4, "Requester ID", fb_get_be16(p + 4));
	put(v, 6, 1, "Tag", "%u", tag_of(v, p[6], type));
	put_be(v, p[7]);
	put_id(v, 8, "Completer ID", fb_get_be16(p + 8));
	put(v, 10, 1, "Ext. Register Number", "%u", p[10] & 0xfu);
	put(v, 11, 1, "Register Number", "%u", p[11] >> 2);
	put(v, 10, 2, "Register", "0x%03x", fb_get_be16(p + 10) & 0xffc);
}

static void put_io(struct view *v, enum pcie_tlp_type type)
{
	const uint8_t *p = v->p;

	put_id(v, 4, "Requester ID", fb_get_be16(p + 4));
	put(v, 6, 1, "Tag", "%u", tag_of(v, p[6], type));
	put_be(v, p[7]);
	put(v, 8, 4, "Address", "0x%08" PRIx32, fb_get_be32(p + 8) & ~3u);
}

static void put_cpl(struct view *v, enum pcie_tlp_type type)
{
	const uint8_t *p = v->p;
	uint16_t counts = fb_get_be16(p + 6);

	put_id(v, 4, "Completer ID", fb_get_be16(p + 4));
	put(v, 6, 1, "Completion Status", "%u, %s", counts >> 13,
	    pcie_cpl_status_name((enum pcie_cpl_status)(counts >> 13)));
	put(v, 6, 1, "BCM", "%u", counts >> 12 & 1u);
	put(v, 6, 2, "Byte Count", "%u", counts & 0xfff ? counts & 0xfff : 4096);
	put_id(v, 8, "Requester ID", fb_get_be16(p + 8));
	put(v, 10, 1, "Tag", "%u", tag_of(v, p[10], type));
	put(v, 11, 1, "Lower Address", "0x%02x", p[11] & 0x7f);
}

static void put_msg(struct view *v)
{
	const uint8_t *p = v->p;
	const char *name = pcie_msg_name(p[7]);

	put(v, 0, 1, "Message Routing", "%u, %s", p[0] & 7, pcie_msg_route_name(p[0] & 7));
	put_id(v, 4, "Requester ID", fb_get_be16(p + 4));
	put(v, 6, 1, "Tag", "%u", p[6]);
	put(v, 7, 1, "Message Code", "0x%02x, %s", p[7], name ? name : "unknown");
	if ((p[0] & 7) == PCIE_ROUTE_BY_ADDRESS) {
		put(v, 8, 8, "Address", "0x%016" PRIx64, fb_get_be64(p + 8) & ~(uint64_t)3);
		return;
	}
	if ((p[0] & 7) == PCIE_ROUTE_BY_ID)
		put_id(v, 8, "Completer ID", fb_get_be16(p + 8));
	if (p[7] == PCIE_MSG_VENDOR_TYPE0 || p[7] == PCIE_MSG_VENDOR_TYPE1)
		put(v, 10, 2, "Vendor ID", "0x%04x", fb_get_be16(p + 10));
	if (p[7] == PCIE_MSG_LTR) {
		put(v, 12, 2, "No-Snoop Latency", "0x%04x", fb_get_be16(p + 12));
		put(v, 14, 2, "Snoop Latency", "0x%04x", fb_get_be16(p + 14));
	} else {
		put(v, 8, 8, "Message Header Bytes 8-15", "0x%016" PRIx64, fb_get_be64(p + 8));
	}
}

static void put_header(struct view *v, enum pcie_tlp_type type)
{
	switch (pcie_type_info[type].kind) {
	case KIND_IO: put_io(v, type); break;
	case KIND_CFG: put_cfg(v, type); break;
	case KIND_MSG: put_msg(v); break;
	case KIND_CPL: put_cpl(v, type); break;
	default: put_memory(v, type, v->p[0] & BYTE0_4DW); break;
	}
}

static void put_data(struct view *v, unsigned at, unsigned bytes)
{
	enum { SHOWN = 16 };
	char text[2 * SHOWN + 1] = "";

	for (unsigned i = 0; i < bytes && i < SHOWN; i++)
		snprintf(text + 2 * i, 3, "%02x", v->p[at + i]);
	put(v, at, bytes, "Data", "%u bytes: %s%s", bytes, text, bytes > SHOWN ? "…" : "");
}

void pcie_tlp_fields(const void *buf, size_t len, void (*show)(void *arg, const struct pcie_field *field), void *arg)
{
	struct view v = {buf, buf, len, show, arg};
	size_t left = len, header, payload = 0, digest;
	enum pcie_tlp_type type;

	while (left >= 4 && (v.p[0] & 0xe0) == 0x80) {
		put_prefix(&v);
		v.p += 4;
		left -= 4;
	}
	if (left < 4)
		return;
	type = type_of(v.p[0]);
	put_dw0(&v, type);
	header = v.p[0] & BYTE0_4DW ? 16 : 12;
	if (type == PCIE_TLP_TYPES || left < header)
		return;
	put_header(&v, type);
	left -= header;
	digest = v.p[2] & 0x80 ? 4 : 0;
	if (pcie_type_info[type].data) {
		payload = (fb_get_be16(v.p + 2) & DW0_LENGTH ? fb_get_be16(v.p + 2) & DW0_LENGTH : 1024) * 4;
		if (payload > left)
			payload = left;
		if (payload)
			put_data(&v, (unsigned)header, (unsigned)payload);
		left -= payload;
	}
	if (digest && left >= 4)
		put(&v, (unsigned)(header + payload), 4, "TLP Digest (ECRC)", "0x%08" PRIx32,
		    fb_get_be32(v.p + header + payload));
}
