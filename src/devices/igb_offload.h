/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a NIC knows of packets: headers, checksums, RSS hashes, segmentation. Pure functions of bytes that nobody
 * vouches for: every length is checked against the packet.
 */
#ifndef FARBUS_DEVICES_IGB_OFFLOAD_H
#define FARBUS_DEVICES_IGB_OFFLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline uint16_t igb_be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}
static inline uint32_t igb_be32(const uint8_t *p)
{
	return (uint32_t)igb_be16(p) << 16 | igb_be16(p + 2);
}
static inline void igb_put_be16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}
static inline void igb_put_be32(uint8_t *p, uint32_t v)
{
	igb_put_be16(p, (uint16_t)(v >> 16));
	igb_put_be16(p + 2, (uint16_t)v);
}

enum {
	IGB_PACKET_MAX = 65535 + 64, /* of a packet to be cut; in one descriptor chain or one read of a tap device */
	IGB_GSO_HEADER_MAX = 512,
};

enum igb_l4 { IGB_L4_NONE, IGB_L4_TCP, IGB_L4_UDP, IGB_L4_SCTP };

/* Where the headers are. Offsets are from the first byte of the Ethernet header. */
struct igb_headers {
	uint16_t ethertype; /* behind VLAN tags */
	bool vlan;          /* one 802.1Q tag at least */
	bool ipv4, ipv6, ip_more; /* ip_more: options or extension headers */
	bool fragment;      /* no L4 header is looked for */
	uint8_t proto;      /* of what follows the IP headers */
	enum igb_l4 l4;     /* only when its header is all there */
	uint16_t l3, l4_at, payload; /* l4_at, payload: 0 when not known */
	uint32_t l3_end;    /* end of the IP packet: padding follows; at most the packet's length */
};

void igb_headers(struct igb_headers *h, const uint8_t *packet, size_t len);

/* One's complement sum, big-endian words, of any alignment and length; feed results in again as `sum`. */
uint32_t igb_sum(const uint8_t *data, size_t len, uint32_t sum);
uint16_t igb_sum_fold(uint32_t sum); /* not inverted */
/* Of the TCP or UDP pseudo-header; `len` is L4 header and payload. */
uint32_t igb_sum_pseudo(const uint8_t *packet, const struct igb_headers *h, uint8_t proto, uint32_t len);

/*
 * The checksum of IPv4 header or L4. IGB_SUM_NONE: there is none to be seen (no such header, fragment, UDP without).
 */
enum igb_sum_result { IGB_SUM_NONE, IGB_SUM_GOOD, IGB_SUM_BAD };
enum igb_sum_result igb_check_ipv4(const uint8_t *packet, const struct igb_headers *h);
enum igb_sum_result igb_check_l4(const uint8_t *packet, const struct igb_headers *h);

uint32_t igb_crc32c(uint32_t crc, const uint8_t *data, size_t len); /* SCTP; crc: 0, or of what came before */
uint32_t igb_fcs(const uint8_t *data, size_t len);                  /* Ethernet */

/* ---- RSS (7.1.1.7) ---------------------------------------------------------------------- */

enum { IGB_RSS_KEY = 40 };

/* enum igb_rss_type, and the hash; `mrqc` says which fields are wanted. */
unsigned igb_rss(const uint8_t key[IGB_RSS_KEY], uint32_t mrqc, const uint8_t *packet, const struct igb_headers *h,
		 uint32_t *hash);

/* ---- Offloads that a packet still needs: what a virtio_net_hdr says ------------------------ */

struct igb_offload {
	bool csum;             /* the sum from csum_start on is to be put at csum_start + csum_offset */
	bool sctp;             /* the same for CRC32c and SCTP */
	bool tso, uso;         /* to be cut into segments: TCP, UDP */
	bool ipv6, ecn;
	uint16_t csum_start, csum_offset; /* csum_start: the L4 header, for cutting too */
	uint16_t l3, hdr_len, mss;        /* for cutting: IP header, length of all headers, payload of a segment */
	/*
	 * More than an IP header between l3 and csum_start: a tunnel, extension headers. Only the outer header's length, ID
	 * and checksum change from segment to segment, and sums start from what the driver left in their fields: for IPv4
	 * what cancels the rest out, for L4 the pseudo-header without length. That is how the hardware sums (7.2.4).
	 */
	bool tunnel;
	uint16_t ip_seed, l4_seed;
};

static inline bool igb_is_gso(const struct igb_offload *o)
{
	return o->tso || o->uso;
}

void igb_insert_ipv4(uint8_t *ip); /* the header's checksum; the header must be all there */
/* False: offsets are outside of the packet. */
bool igb_finish_checksum(uint8_t *packet, size_t len, const struct igb_offload *o);

/* Can the packet be cut as `o` says? The calls below are for those that can. */
bool igb_gso_valid(const uint8_t *packet, size_t len, const struct igb_offload *o);
unsigned igb_gso_count(size_t len, const struct igb_offload *o);
/* Segment i into `out`, hdr_len + mss bytes at most; returns its length. Its checksums are complete. */
size_t igb_gso_segment(uint8_t *out, const uint8_t *packet, size_t len, const struct igb_offload *o, unsigned i);
/* For somebody else who will cut it: lengths of the whole, and the pseudo-header's sum in the checksum field. */
void igb_gso_prepare(uint8_t *packet, size_t len, const struct igb_offload *o);

#endif
