/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "devices/igb_offload.h"
#include "devices/igb_regs.h"

enum {
	ETH_HEADER = 14,
	VLAN_TAG = 4,
	ETHERTYPE_IPV4 = 0x0800,
	ETHERTYPE_IPV6 = 0x86dd,
	ETHERTYPE_VLAN = 0x8100,
	ETHERTYPE_QINQ = 0x88a8,
	PROTO_HOP = 0,
	PROTO_TCP = 6,
	PROTO_UDP = 17,
	PROTO_ROUTING = 43,
	PROTO_FRAGMENT = 44,
	PROTO_DESTINATION = 60,
	PROTO_SCTP = 132,
	IPV6_EXTENSIONS_MAX = 8,
	TCP_FIN = 0x01,
	TCP_PSH = 0x08,
	TCP_CWR = 0x80,
};

/* ---- Headers ---------------------------------------------------------------------- */

static void l4_headers(struct igb_headers *h, const uint8_t *p, size_t at)
{
	size_t left = h->l3_end > at ? h->l3_end - at : 0;

	h->l4_at = (uint16_t)at;
	if (h->fragment)
		return;
	if (h->proto == PROTO_TCP && left >= 20 && (p[at + 12] >> 4) >= 5 && left >= (p[at + 12] >> 4) * 4u) {
		h->l4 = IGB_L4_TCP;
		h->payload = (uint16_t)(at + (p[at + 12] >> 4) * 4u);
	} else if (h->proto == PROTO_UDP && left >= 8) {
		h->l4 = IGB_L4_UDP;
		h->payload = (uint16_t)(at + 8);
	} else if (h->proto == PROTO_SCTP && left >= 12) {
		h->l4 = IGB_L4_SCTP;
		h->payload = (uint16_t)(at + 12);
	}
}

static void ipv4_headers(struct igb_headers *h, const uint8_t *p, size_t len)
{
	size_t at = h->l3, ihl, total;

	if (len - at < 20 || p[at] >> 4 != 4)
		return;
	ihl = (p[at] & 15) * 4u;
	total = igb_be16(p + at + 2);
	if (ihl < 20 || total < ihl || len - at < ihl)
		return;
	if (total > len - at)
		total = len - at;
	h->ipv4 = true;
	h->ip_more = ihl > 20;
	h->proto = p[at + 9];
	h->fragment = (igb_be16(p + at + 6) & 0x3fff) != 0;
	h->l3_end = (uint32_t)(at + total);
	l4_headers(h, p, at + ihl);
}

static void ipv6_headers(struct igb_headers *h, const uint8_t *p, size_t len)
{
	size_t at = h->l3, end;

	if (len - at < 40 || p[at] >> 4 != 6)
		return;
	end = at + 40 + igb_be16(p + at + 4);
	if (end > len)
		end = len;
	h->ipv6 = true;
	h->proto = p[at + 6];
	h->l3_end = (uint32_t)end;
	at += 40;
	for (unsigned i = 0; i < IPV6_EXTENSIONS_MAX; i++) {
		if (h->proto != PROTO_HOP && h->proto != PROTO_ROUTING && h->proto != PROTO_FRAGMENT &&
		    h->proto != PROTO_DESTINATION)
			break;
		if (end - at < 8)
			return;
		h->ip_more = true;
		if (h->proto == PROTO_FRAGMENT) {
			h->fragment |= (igb_be16(p + at + 2) & 0xfff9) != 0;
			h->proto = p[at];
			at += 8;
			continue;
		}
		if (end - at < (p[at + 1] + 1u) * 8)
			return;
		h->proto = p[at];
		at += (p[at + 1] + 1u) * 8;
	}
	l4_headers(h, p, at);
}

void igb_headers(struct igb_headers *h, const uint8_t *p, size_t len)
{
	size_t at = ETH_HEADER;

	memset(h, 0, sizeof(*h));
	if (len < ETH_HEADER || len > IGB_PACKET_MAX)
		return;
	h->ethertype = igb_be16(p + 12);
	for (unsigned tags = 0; tags < 2 && (h->ethertype == ETHERTYPE_VLAN || h->ethertype == ETHERTYPE_QINQ); tags++) {
		if (len < at + VLAN_TAG)
			return;
		h->vlan = true;
		h->ethertype = igb_be16(p + at + 2);
		at += VLAN_TAG;
	}
	h->l3 = (uint16_t)at;
	h->l3_end = (uint32_t)len;
	if (h->ethertype == ETHERTYPE_IPV4)
		ipv4_headers(h, p, len);
	else if (h->ethertype == ETHERTYPE_IPV6)
		ipv6_headers(h, p, len);
}

/* ---- Checksums ----------------------------------------------------------------------- */

uint32_t igb_sum(const uint8_t *data, size_t len, uint32_t sum)
{
	uint64_t acc = 0;

	/* Words in host order: the one's complement sum does not mind, if the bytes are swapped back at the end. */
	for (; len >= 16; len -= 16, data += 16) {
		uint32_t w[4];

		memcpy(w, data, 16);
		acc += (uint64_t)w[0] + w[1] + w[2] + w[3];
	}
	for (; len >= 2; len -= 2, data += 2) {
		uint16_t w;

		memcpy(&w, data, 2);
		acc += w;
	}
	if (len) {
		uint8_t last[2] = {*data, 0};
		uint16_t w;

		memcpy(&w, last, 2);
		acc += w;
	}
	acc = (acc & UINT32_MAX) + (acc >> 32);
	acc = (acc & UINT32_MAX) + (acc >> 32);
	{
		uint16_t folded = igb_sum_fold((uint32_t)acc);
		uint8_t bytes[2];

		memcpy(bytes, &folded, 2);
		return igb_sum_fold(sum) + (uint32_t)igb_be16(bytes);
	}
}

uint16_t igb_sum_fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

uint32_t igb_sum_pseudo(const uint8_t *p, const struct igb_headers *h, uint8_t proto, uint32_t len)
{
	uint32_t sum = proto + (len >> 16) + (len & 0xffff);

	return h->ipv4 ? igb_sum(p + h->l3 + 12, 8, sum) : igb_sum(p + h->l3 + 8, 32, sum);
}

/* ---- CRCs: bytes are taken from their lowest bit on --------------------------------------- */

#define CRC32_POLYNOMIAL 0xedb88320u
#define CRC32C_POLYNOMIAL 0x82f63b78u

/* Half a byte a step: the table is small enough to be made where it is needed. */
static uint32_t crc(uint32_t polynomial, uint32_t sum, const uint8_t *data, size_t len)
{
	uint32_t table[16];

	for (uint32_t i = 0; i < 16; i++) {
		uint32_t v = i;

		for (unsigned bit = 0; bit < 4; bit++)
			v = v & 1 ? v >> 1 ^ polynomial : v >> 1;
		table[i] = v;
	}
	sum = ~sum;
	for (size_t i = 0; i < len; i++) {
		sum ^= data[i];
		sum = sum >> 4 ^ table[sum & 15];
		sum = sum >> 4 ^ table[sum & 15];
	}
	return ~sum;
}

uint32_t igb_crc32c(uint32_t sum, const uint8_t *data, size_t len)
{
	return crc(CRC32C_POLYNOMIAL, sum, data, len);
}

uint32_t igb_fcs(const uint8_t *data, size_t len)
{
	return crc(CRC32_POLYNOMIAL, 0, data, len);
}

static uint32_t le32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Of an SCTP packet, its own field taken as zero. len is at least 12. */
static uint32_t sctp_crc(const uint8_t *sctp, size_t len)
{
	static const uint8_t zero[4];

	return igb_crc32c(igb_crc32c(igb_crc32c(0, sctp, 8), zero, 4), sctp + 12, len - 12);
}

/* ---- Verification --------------------------------------------------------------------------- */

enum igb_sum_result igb_check_ipv4(const uint8_t *p, const struct igb_headers *h)
{
	if (!h->ipv4)
		return IGB_SUM_NONE;
	return igb_sum_fold(igb_sum(p + h->l3, (p[h->l3] & 15) * 4u, 0)) == 0xffff ? IGB_SUM_GOOD : IGB_SUM_BAD;
}

enum igb_sum_result igb_check_l4(const uint8_t *p, const struct igb_headers *h)
{
	uint32_t len = h->l3_end - h->l4_at, sum;

	switch (h->l4) {
	case IGB_L4_UDP: {
		uint32_t udp = igb_be16(p + h->l4_at + 4);

		if (igb_be16(p + h->l4_at + 6) == 0)
			return IGB_SUM_NONE;
		if (udp < 8 || udp > len)
			return IGB_SUM_BAD;
		len = udp;
	}
		/* fall through */
	case IGB_L4_TCP:
		sum = igb_sum_pseudo(p, h, h->proto, len);
		return igb_sum_fold(igb_sum(p + h->l4_at, len, sum)) == 0xffff ? IGB_SUM_GOOD : IGB_SUM_BAD;
	case IGB_L4_SCTP:
		return sctp_crc(p + h->l4_at, len) == le32(p + h->l4_at + 8) ? IGB_SUM_GOOD : IGB_SUM_BAD;
	case IGB_L4_NONE:
		break;
	}
	return IGB_SUM_NONE;
}

/* ---- RSS -------------------------------------------------------------------------------------- */

static uint32_t igb_toeplitz(const uint8_t key[IGB_RSS_KEY], const uint8_t *input, size_t len)
{
	uint32_t hash = 0, window = igb_be32(key);

	for (size_t i = 0; i < len && i + 4 < IGB_RSS_KEY; i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			if (input[i] & 0x80 >> bit)
				hash ^= window;
			window = window << 1 | (uint32_t)(key[i + 4] >> (7 - bit) & 1);
		}
	}
	return hash;
}

unsigned igb_rss(const uint8_t key[IGB_RSS_KEY], uint32_t mrqc, const uint8_t *p, const struct igb_headers *h,
		 uint32_t *hash)
{
	unsigned type = IGB_RSS_NONE, addresses;
	bool ports = false;
	uint8_t input[36];

	*hash = 0;
	if (h->ipv4) {
		if (h->l4 == IGB_L4_TCP && mrqc & IGB_MRQC_TCPIPV4)
			type = IGB_RSS_TCPIPV4, ports = true;
		else if (h->l4 == IGB_L4_UDP && mrqc & IGB_MRQC_UDPIPV4)
			type = IGB_RSS_UDPIPV4, ports = true;
		else if (mrqc & IGB_MRQC_IPV4)
			type = IGB_RSS_IPV4;
		addresses = 8;
		memcpy(input, p + h->l3 + 12, addresses);
	} else if (h->ipv6) {
		/* Extension headers: home address and routing options are not looked into. */
		if (h->l4 == IGB_L4_TCP && mrqc & IGB_MRQC_TCPIPV6)
			type = IGB_RSS_TCPIPV6, ports = true;
		else if (h->l4 == IGB_L4_TCP && mrqc & IGB_MRQC_TCPIPV6EX)
			type = IGB_RSS_TCPIPV6EX, ports = true;
		else if (h->l4 == IGB_L4_UDP && mrqc & IGB_MRQC_UDPIPV6)
			type = IGB_RSS_UDPIPV6, ports = true;
		else if (h->l4 == IGB_L4_UDP && mrqc & IGB_MRQC_UDPIPV6EX)
			type = IGB_RSS_UDPIPV6EX, ports = true;
		else if (mrqc & IGB_MRQC_IPV6)
			type = IGB_RSS_IPV6;
		else if (mrqc & IGB_MRQC_IPV6EX)
			type = IGB_RSS_IPV6EX;
		addresses = 32;
		memcpy(input, p + h->l3 + 8, addresses);
	} else {
		return IGB_RSS_NONE;
	}
	if (type == IGB_RSS_NONE)
		return type;
	if (ports)
		memcpy(input + addresses, p + h->l4_at, 4);
	*hash = igb_toeplitz(key, input, addresses + (ports ? 4 : 0));
	return type;
}

/* ---- Checksum insertion, segmentation ------------------------------------------------------------ */

void igb_insert_ipv4(uint8_t *ip)
{
	igb_put_be16(ip + 10, 0);
	igb_put_be16(ip + 10, (uint16_t)~igb_sum_fold(igb_sum(ip, (ip[0] & 15) * 4u, 0)));
}

bool igb_finish_checksum(uint8_t *p, size_t len, const struct igb_offload *o)
{
	uint16_t sum;

	if (o->sctp) {
		uint32_t crc32c;

		if ((size_t)o->csum_start + 12 > len)
			return false;
		crc32c = sctp_crc(p + o->csum_start, len - o->csum_start);
		for (unsigned i = 0; i < 4; i++)
			p[o->csum_start + 8 + i] = (uint8_t)(crc32c >> 8 * i);
		return true;
	}
	if (!o->csum)
		return true;
	if ((size_t)o->csum_start + o->csum_offset + 2 > len)
		return false;
	sum = (uint16_t)~igb_sum_fold(igb_sum(p + o->csum_start, len - o->csum_start, 0));
	igb_put_be16(p + o->csum_start + o->csum_offset, sum ? sum : 0xffff);
	return true;
}

bool igb_gso_valid(const uint8_t *p, size_t len, const struct igb_offload *o)
{
	unsigned l3_min = o->ipv6 ? 40 : 20, l4_min = o->uso ? 8 : 20;

	return o->mss && len <= IGB_PACKET_MAX && len - o->l3 <= UINT16_MAX && o->l3 >= ETH_HEADER && o->csum_start >= o->l3 + l3_min &&
	       o->hdr_len >= o->csum_start + l4_min && o->hdr_len <= IGB_GSO_HEADER_MAX && o->hdr_len < len &&
	       (o->ipv6 || o->tunnel || (p[o->l3] & 15u) * 4u == (unsigned)o->csum_start - o->l3);
}

unsigned igb_gso_count(size_t len, const struct igb_offload *o)
{
	return (unsigned)((len - o->hdr_len + o->mss - 1) / o->mss);
}

/* Length fields of a packet of `len` bytes, and the pseudo-header's sum. */
static uint32_t set_lengths(uint8_t *p, size_t len, const struct igb_offload *o)
{
	uint32_t l4_len = (uint32_t)(len - o->csum_start);
	uint32_t sum = (o->uso ? PROTO_UDP : PROTO_TCP) + (l4_len >> 16) + (l4_len & 0xffff);

	if (o->uso)
		igb_put_be16(p + o->csum_start + 4, (uint16_t)l4_len);
	igb_put_be16(p + o->l3 + (o->ipv6 ? 4 : 2), (uint16_t)(len - o->l3 - (o->ipv6 ? 40 : 0)));
	if (o->tunnel) {
		if (!o->ipv6) {
			igb_put_be16(p + o->l3 + 10, o->ip_seed);
			igb_put_be16(p + o->l3 + 10, (uint16_t)~igb_sum_fold(igb_sum(p + o->l3, o->csum_start - o->l3, 0)));
		}
		return o->l4_seed + (l4_len >> 16) + (l4_len & 0xffff);
	}
	if (o->ipv6)
		return igb_sum(p + o->l3 + 8, 32, sum);
	igb_insert_ipv4(p + o->l3);
	return igb_sum(p + o->l3 + 12, 8, sum);
}

size_t igb_gso_segment(uint8_t *out, const uint8_t *p, size_t len, const struct igb_offload *o, unsigned i)
{
	size_t at = o->hdr_len + (size_t)i * o->mss, n = len - at < o->mss ? len - at : o->mss;
	uint8_t *l4 = out + o->csum_start;
	uint16_t sum_at = o->uso ? 6 : 16, sum;
	uint32_t pseudo;

	memcpy(out, p, o->hdr_len);
	memcpy(out + o->hdr_len, p + at, n);
	if (!o->ipv6)
		igb_put_be16(out + o->l3 + 4, (uint16_t)(igb_be16(p + o->l3 + 4) + i));
	if (!o->uso) {
		igb_put_be32(l4 + 4, igb_be32(l4 + 4) + (uint32_t)(i * (size_t)o->mss));
		if (at + n < len)
			l4[13] &= (uint8_t)~(TCP_FIN | TCP_PSH);
		if (i)
			l4[13] &= (uint8_t)~TCP_CWR;
	}
	pseudo = set_lengths(out, o->hdr_len + n, o);
	igb_put_be16(l4 + sum_at, 0);
	sum = (uint16_t)~igb_sum_fold(igb_sum(l4, o->hdr_len + n - o->csum_start, pseudo));
	igb_put_be16(l4 + sum_at, o->uso && !sum ? 0xffff : sum);
	return o->hdr_len + n;
}

void igb_gso_prepare(uint8_t *p, size_t len, const struct igb_offload *o)
{
	uint32_t pseudo = set_lengths(p, len, o);

	igb_put_be16(p + o->csum_start + (o->uso ? 6 : 16), igb_sum_fold(pseudo));
}
