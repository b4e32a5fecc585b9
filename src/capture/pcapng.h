/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of a pcapng file (draft-ietf-opsawg-pcapng), as we write them: little-
 * endian, one interface, time stamps in ns since 1970. Pure.
 *
 * A packet is an "exported PDU" of Wireshark (LINKTYPE_WIRESHARK_UPPER_PDU): a
 * tag that names the dissector, "fbtap", then our header (FB_TAP_O_*), then the
 * TLP. So Wireshark needs our dissector and no configuration.
 */
#ifndef FARBUS_CAPTURE_PCAPNG_H
#define FARBUS_CAPTURE_PCAPNG_H

#include <stddef.h>
#include <stdint.h>

#include "capture/tap.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
	PCAPNG_SHB = 0x0a0d0d0a,
	PCAPNG_IDB = 1,
	PCAPNG_SPB = 3,
	PCAPNG_ISB = 5,
	PCAPNG_EPB = 6,
	PCAPNG_MAGIC = 0x1a2b3c4d,

	PCAPNG_OPT_END = 0,
	PCAPNG_OPT_COMMENT = 1,
	PCAPNG_SHB_OS = 3,
	PCAPNG_SHB_USERAPPL = 4,
	PCAPNG_IF_NAME = 2,
	PCAPNG_IF_DESCRIPTION = 3,
	PCAPNG_IF_TSRESOL = 9,
	PCAPNG_IF_TSOFFSET = 14,
	PCAPNG_EPB_FLAGS = 2,     /* bits 0 and 1: 1 inbound, 2 outbound */
	PCAPNG_EPB_DROPCOUNT = 4, /* lost between the packet before and this one */
	PCAPNG_ISB_STARTTIME = 2,
	PCAPNG_ISB_ENDTIME = 3,
	PCAPNG_ISB_IFRECV = 4,
	PCAPNG_ISB_IFDROP = 5,

	LINKTYPE_WIRESHARK_UPPER_PDU = 252,
	EXP_PDU_TAG_END = 0,
	EXP_PDU_TAG_DISSECTOR_NAME = 12,
};

/* Our header in front of a captured TLP; big-endian. */
#define FB_TAP_DISSECTOR "fbtap"
enum {
	FB_TAP_VERSION = 1,
	FB_TAP_O_VERSION = 0,  /* 1 */
	FB_TAP_O_HLEN = 1,     /* 1: bytes before the TLP */
	FB_TAP_O_FLAGS = 2,    /* 1 */
	FB_TAP_O_CARRIER = 3,  /* 1: enum fb_tap_carrier */
	FB_TAP_O_SESSION = 4,  /* 8 */
	FB_TAP_O_ERROR = 12,   /* 1: enum pcie_tlp_error, 0: well-formed */
	FB_TAP_O_NAME_LEN = 13,/* 1 */
	FB_TAP_O_NAME = 14,    /* of the function, then zeros up to hlen, a multiple of 4 */
	FB_TAP_HEADER = 14,

	FB_TAP_F_UP = 1,       /* from the function to the root; else down */
	FB_TAP_F_AT_ROOT = 2,  /* seen at the root's end; else at the box's */
	FB_TAP_F_SENT = 4,     /* by the daemon that captured; else received */

	/* tag, name, end tag; header with the longest name */
	FB_TAP_PDU_TAGS = 4 + 8 + 4,
	FB_TAP_HEADER_MAX = 48,
	/* block head and tail, fixed fields, options (comment included) */
	PCAPNG_EPB_OVERHEAD = 12 + 20 + 128,
	PCAPNG_EPB_MAX = PCAPNG_EPB_OVERHEAD + FB_TAP_PDU_TAGS + FB_TAP_HEADER_MAX + PCIE_TLP_MAX_SIZE,
	PCAPNG_HEAD_MAX = 2048, /* section header and interface description */
	PCAPNG_ISB_MAX = 128,
};

struct fb_pcapng_tlp {
	const struct fb_tap_source *source;
	bool sent;
	enum pcie_tlp_error error;
	uint64_t time_ns; /* since 1970 */
	uint64_t dropped; /* before it */
	const void *head, *data;
	size_t head_len, data_len;
	uint32_t snap; /* bytes of the TLP to keep; 0: all */
};

/* Each writes whole blocks and returns their size; `out` has room for the ..._MAX of it. */
size_t fb_pcapng_put_head(uint8_t *out, const char *writer, const char *interface, const char *description);
size_t fb_pcapng_put_tlp(uint8_t *out, const struct fb_pcapng_tlp *tlp);
size_t fb_pcapng_put_statistics(uint8_t *out, uint64_t start_ns, uint64_t end_ns, uint64_t received, uint64_t dropped);

#ifdef __cplusplus
}
#endif
#endif
