/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLPs out of captured packets: those of our own captures, SoftPCIe datagrams,
 * and the link's datagrams, whose streams are put together again, also when the
 * capture begins in their middle or has gaps. Memory is bounded: so many
 * streams, so many bytes that wait for a gap to be filled.
 */
#ifndef FARBUS_CAPTURE_DISSECT_H
#define FARBUS_CAPTURE_DISSECT_H

#include "capture/pcap_file.h"
#include "tlp/tlp.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fb_dissector;

enum fb_seen_kind {
	FB_SEEN_TLP,     /* a TLP, well-formed or not */
	FB_SEEN_CONTROL, /* something of ours that holds none: HELLO, CLOSE, a message … */
	FB_SEEN_PROBLEM, /* something of ours that is wrong, or cannot be made out */
	FB_SEEN_FOREIGN, /* not ours */
};

struct fb_seen {
	enum fb_seen_kind kind;
	const char *flow; /* "ssd0 down", "192.0.2.1:7000 > 192.0.2.2:40001 ssd0" */
	const char *text; /* what it is, for all but TLPs */

	const uint8_t *bytes; /* TLPs: encoded, `len` of its `original_len` bytes */
	size_t len, original_len;
	struct pcie_tlp tlp;
	enum pcie_tlp_error error;
};

int fb_dissector_new(struct fb_dissector **out); /* 0 or -ENOMEM */
void fb_dissector_free(struct fb_dissector *d);
/* What the packet holds or completes, each by one call of `see`; what it is given is valid during the call. */
void fb_dissect(struct fb_dissector *d, const struct fb_packet *packet,
		void (*see)(void *arg, const struct fb_packet *packet, const struct fb_seen *seen), void *arg);
/* The bytes of one TLP, as in fb_seen; what is cut off is taken for zeros. */
void fb_dissect_tlp(struct fb_seen *seen, const uint8_t *bytes, size_t len, size_t original_len);

#ifdef __cplusplus
}
#endif
#endif
