/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the NIC knows of packets (devices/igb_offload.h). The RSS vectors are those that Microsoft publishes for its
 * verification suite ("Verifying the RSS Hash Calculation").
 */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/igb_offload.h"
#include "devices/igb_regs.h"

static const uint8_t key[IGB_RSS_KEY] = {
	0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb,
	0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
};

/* ---- Packets --------------------------------------------------------------------------- */

enum { TCP = 6, UDP = 17, SCTP = 132 };

struct made {
	uint8_t bytes[70000];
	size_t len;
	unsigned l3, l4, payload;
};

/* Ethernet, `tags` VLAN tags, IPv4 or IPv6 with `more` bytes of options or one extension header, L4, payload. */
static void make(struct made *m, const char *src, const char *dst, unsigned proto, uint16_t sport, uint16_t dport,
		 unsigned tags, unsigned more, size_t payload)
{
	bool v6 = strchr(src, ':');
	unsigned l4_len = proto == TCP ? 20 : proto == UDP ? 8 : proto == SCTP ? 12 : 0;
	uint8_t *p = m->bytes;

	memset(m, 0, sizeof(*m));
	memset(p, 0x02, 12);
	for (unsigned i = 0; i < tags; i++) {
		igb_put_be16(p + 12 + i * 4, i + 1 < tags ? 0x88a8 : 0x8100);
		igb_put_be16(p + 14 + i * 4, (uint16_t)(100 + i));
	}
	m->l3 = 14 + tags * 4;
	igb_put_be16(p + m->l3 - 2, v6 ? 0x86dd : 0x0800);
	m->l4 = m->l3 + (v6 ? 40 : 20) + more;
	m->payload = m->l4 + l4_len;
	m->len = m->payload + payload;
	for (size_t i = 0; i < payload; i++)
		p[m->payload + i] = (uint8_t)(i * 7 + 3);
	if (v6) {
		p[m->l3] = 0x60;
		igb_put_be16(p + m->l3 + 4, (uint16_t)(m->len - m->l3 - 40));
		p[m->l3 + 6] = more ? 60 : (uint8_t)proto;
		p[m->l3 + 7] = 64;
		assert_int_equal(inet_pton(AF_INET6, src, p + m->l3 + 8), 1);
		assert_int_equal(inet_pton(AF_INET6, dst, p + m->l3 + 24), 1);
		if (more) {
			p[m->l3 + 40] = (uint8_t)proto;
			p[m->l3 + 41] = (uint8_t)(more / 8 - 1);
		}
	} else {
		p[m->l3] = (uint8_t)(0x40 | (20 + more) / 4);
		igb_put_be16(p + m->l3 + 2, (uint16_t)(m->len - m->l3));
		igb_put_be16(p + m->l3 + 4, 0x1234);
		p[m->l3 + 8] = 64;
		p[m->l3 + 9] = (uint8_t)proto;
		assert_int_equal(inet_pton(AF_INET, src, p + m->l3 + 12), 1);
		assert_int_equal(inet_pton(AF_INET, dst, p + m->l3 + 16), 1);
		igb_insert_ipv4(p + m->l3);
	}
	if (l4_len) {
		igb_put_be16(p + m->l4, sport);
		igb_put_be16(p + m->l4 + 2, dport);
	}
	if (proto == TCP) {
		igb_put_be32(p + m->l4 + 4, 0xfffffff0); /* wraps within a packet */
		p[m->l4 + 12] = 0x50;
		p[m->l4 + 13] = 0x99; /* CWR ACK PSH FIN */
	} else if (proto == UDP) {
		igb_put_be16(p + m->l4 + 4, (uint16_t)(8 + payload));
	}
}

static void complete_l4(struct made *m, unsigned proto)
{
	struct igb_offload o = {.csum = proto != SCTP, .sctp = proto == SCTP, .csum_start = (uint16_t)m->l4,
				.csum_offset = proto == TCP ? 16 : 6};
	struct igb_headers h;

	igb_headers(&h, m->bytes, m->len);
	if (proto != SCTP)
		igb_put_be16(m->bytes + m->l4 + o.csum_offset,
			     igb_sum_fold(igb_sum_pseudo(m->bytes, &h, (uint8_t)proto, (uint32_t)(m->len - m->l4))));
	assert_true(igb_finish_checksum(m->bytes, m->len, &o));
}

/* ---- RSS ---------------------------------------------------------------------------------- */

static void test_rss(void **state)
{
	static const struct {
		const char *src, *dst;
		uint16_t sport, dport;
		uint32_t addresses, ports;
	} t[] = {
		{"66.9.149.187", "161.142.100.80", 2794, 1766, 0x323e8fc2, 0x51ccc178},
		{"199.92.111.2", "65.69.140.83", 14230, 4739, 0xd718262a, 0xc626b0ea},
		{"24.19.198.95", "12.22.207.184", 12898, 38024, 0xd2d0a5de, 0x5c2b394a},
		{"38.27.205.30", "209.142.163.6", 48228, 2217, 0x82989176, 0xafc7327f},
		{"153.39.163.191", "202.188.127.2", 44251, 1303, 0x5d1809c5, 0x10e828a2},
		{"3ffe:2501:200:1fff::7", "3ffe:2501:200:3::1", 2794, 1766, 0x2cc18cd5, 0x40207d3d},
		{"3ffe:501:8::260:97ff:fe40:efab", "ff02::1", 14230, 4739, 0x0f0c461c, 0xdde51bbf},
		{"3ffe:1900:4545:3:200:f8ff:fe21:67cf", "fe80::200:f8ff:fe21:67cf", 44251, 38024, 0x4b61e985, 0x02d1feef},
	};
	static struct made m;
	struct igb_headers h;
	uint32_t hash;

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		bool v6 = strchr(t[i].src, ':');

		make(&m, t[i].src, t[i].dst, TCP, t[i].sport, t[i].dport, i % 3, 0, 10);
		igb_headers(&h, m.bytes, m.len);
		assert_int_equal(igb_rss(key, IGB_MRQC_TCPIPV4 | IGB_MRQC_TCPIPV6, m.bytes, &h, &hash),
				 v6 ? IGB_RSS_TCPIPV6 : IGB_RSS_TCPIPV4);
		assert_int_equal(hash, t[i].ports);
		assert_int_equal(igb_rss(key, IGB_MRQC_IPV4 | IGB_MRQC_IPV6, m.bytes, &h, &hash),
				 v6 ? IGB_RSS_IPV6 : IGB_RSS_IPV4);
		assert_int_equal(hash, t[i].addresses);
		/* Not asked for, or the other protocol only: no hash. */
		assert_int_equal(igb_rss(key, 0, m.bytes, &h, &hash), IGB_RSS_NONE);
		assert_int_equal(igb_rss(key, IGB_MRQC_UDPIPV4 | IGB_MRQC_UDPIPV6, m.bytes, &h, &hash), IGB_RSS_NONE);
		make(&m, t[i].src, t[i].dst, UDP, t[i].sport, t[i].dport, 0, v6 ? 8 : 4, 10);
		igb_headers(&h, m.bytes, m.len);
		assert_int_equal(igb_rss(key, 0xffff0000, m.bytes, &h, &hash), v6 ? IGB_RSS_UDPIPV6 : IGB_RSS_UDPIPV4);
		assert_int_equal(hash, t[i].ports);
	}
	/* A fragment has no ports to be hashed. */
	make(&m, t[0].src, t[0].dst, UDP, 1, 2, 0, 0, 100);
	igb_put_be16(m.bytes + 20, 0x2000);
	igb_insert_ipv4(m.bytes + 14);
	igb_headers(&h, m.bytes, m.len);
	assert_int_equal(igb_rss(key, 0xffff0000, m.bytes, &h, &hash), IGB_RSS_IPV4);
	assert_int_equal(hash, t[0].addresses);
	(void)state;
}

/* ---- Sums -------------------------------------------------------------------------------- */

/* As RFC 1071 defines it, a word at a time. */
static uint16_t plain_sum(const uint8_t *p, size_t len)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (uint64_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static void test_sum(void **state)
{
	uint8_t bytes[400];

	srand(1);
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)rand();
	for (unsigned at = 0; at < 9; at++) {
		for (unsigned len = 0; len + at < sizeof(bytes); len++) {
			unsigned even = len / 4 * 2;

			assert_int_equal(igb_sum_fold(igb_sum(bytes + at, len, 0)), plain_sum(bytes + at, len));
			assert_int_equal(igb_sum_fold(igb_sum(bytes + at + even, len - even, igb_sum(bytes + at, even, 0))),
					 plain_sum(bytes + at, len));
		}
	}
	memset(bytes, 0xff, sizeof(bytes));
	assert_int_equal(igb_sum_fold(igb_sum(bytes, sizeof(bytes), 0)), 0xffff);
	(void)state;
}

static void test_crc(void **state)
{
	static const uint8_t text[] = "123456789"; /* the check values of both CRCs */

	assert_int_equal(igb_crc32c(0, text, 9), 0xe3069283);
	assert_int_equal(igb_crc32c(igb_crc32c(0, text, 4), text + 4, 5), 0xe3069283);
	assert_int_equal(igb_fcs(text, 9), 0xcbf43926);
	(void)state;
}

static void test_verify(void **state)
{
	static const unsigned protos[] = {TCP, UDP, SCTP};
	static struct made m;
	struct igb_headers h;

	for (unsigned i = 0; i < 3 * 2 * 2 * 3; i++) {
		unsigned proto = protos[i % 3], tags = i / 3 % 3, more = i / 9 % 2 ? 8 : 0;
		bool v6 = i / 18;
		size_t payload = i * 37 % 50;

		make(&m, v6 ? "fd00::1" : "10.0.0.1", v6 ? "fd00::2" : "10.0.0.2", proto, 1000, 2000, tags, more, payload);
		complete_l4(&m, proto);
		memset(m.bytes + m.len, 0xaa, 20); /* Ethernet's padding is not part of it */
		igb_headers(&h, m.bytes, m.len + 20);
		assert_int_equal(h.l4, proto == TCP ? IGB_L4_TCP : proto == UDP ? IGB_L4_UDP : IGB_L4_SCTP);
		assert_int_equal(h.l3, m.l3);
		assert_int_equal(h.l4_at, m.l4);
		assert_int_equal(h.payload, m.payload);
		assert_int_equal(h.ip_more, more != 0);
		assert_int_equal(igb_check_ipv4(m.bytes, &h), v6 ? IGB_SUM_NONE : IGB_SUM_GOOD);
		assert_int_equal(igb_check_l4(m.bytes, &h), IGB_SUM_GOOD);
		m.bytes[m.l4 + 1] ^= 4;
		assert_int_equal(igb_check_l4(m.bytes, &h), IGB_SUM_BAD);
		m.bytes[m.l4 + 1] ^= 4;
		m.bytes[m.l3 + 8] ^= 1; /* of IPv4 the time to live, of IPv6 an address */
		assert_int_equal(igb_check_ipv4(m.bytes, &h), v6 ? IGB_SUM_NONE : IGB_SUM_BAD);
	}
	make(&m, "10.0.0.1", "10.0.0.2", UDP, 1, 2, 0, 0, 5);
	igb_headers(&h, m.bytes, m.len);
	assert_int_equal(igb_check_l4(m.bytes, &h), IGB_SUM_NONE); /* no checksum was sent */
	(void)state;
}

/* Every packet cut short, and with every byte of its headers changed: nothing is found outside of it. */
static void test_truncated(void **state)
{
	static struct made m;

	for (unsigned i = 0; i < 8; i++) {
		make(&m, i & 1 ? "fd00::1" : "10.0.0.1", i & 1 ? "fd00::2" : "10.0.0.2", i & 2 ? TCP : UDP, 1, 2, i >> 2, 8, 30);
		for (size_t len = 0; len <= m.len; len++) {
			for (size_t at = 0; at < (len < 90 ? len : 90); at++) {
				uint8_t *copy = malloc(len ? len : 1); /* exactly: a sanitizer sees what is read behind it */
				struct igb_headers h;
				uint32_t hash;

				memcpy(copy, m.bytes, len);
				copy[at] ^= (uint8_t)(0x11 << (at % 4));
				igb_headers(&h, copy, len);
				igb_check_ipv4(copy, &h);
				igb_check_l4(copy, &h);
				igb_rss(key, 0xffff0000, copy, &h, &hash);
				assert_true(h.l3_end <= len && h.payload <= len);
				free(copy);
			}
		}
	}
	(void)state;
}

/* ---- Cutting ---------------------------------------------------------------------------------- */

static void test_cut(void **state)
{
	static struct made m;
	static uint8_t out[20000];

	for (unsigned i = 0; i < 64; i++) {
		bool v6 = i & 1, udp = i & 2;
		size_t payload = i & 4 ? 64000 : 1 + i * 173;
		struct igb_offload o = {.tso = !udp, .uso = udp, .ipv6 = v6, .mss = i & 8 ? 1448 : 536};
		size_t got = 0;
		unsigned n;

		make(&m, v6 ? "fd00::1" : "10.0.0.1", v6 ? "fd00::2" : "10.0.0.2", udp ? UDP : TCP, 5, 6, i >> 4 & 1,
		     v6 && i & 32 ? 8 : 0, payload);
		o.l3 = (uint16_t)m.l3;
		o.csum_start = (uint16_t)m.l4;
		o.hdr_len = (uint16_t)m.payload;
		assert_true(igb_gso_valid(m.bytes, m.len, &o));
		n = igb_gso_count(m.len, &o);
		assert_int_equal(n, (payload + o.mss - 1) / o.mss);
		for (unsigned k = 0; k < n; k++) {
			size_t len = igb_gso_segment(out, m.bytes, m.len, &o, k), part = len - o.hdr_len;
			struct igb_headers h;

			igb_headers(&h, out, len);
			assert_int_equal(h.l3_end, len);
			assert_int_equal(h.payload, o.hdr_len);
			assert_int_equal(igb_check_ipv4(out, &h), v6 ? IGB_SUM_NONE : IGB_SUM_GOOD);
			assert_int_equal(igb_check_l4(out, &h), IGB_SUM_GOOD);
			assert_memory_equal(out + o.hdr_len, m.bytes + m.payload + got, part);
			assert_int_equal(part, k + 1 < n ? o.mss : payload - got);
			if (!v6)
				assert_int_equal(igb_be16(out + m.l3 + 4), 0x1234 + k);
			if (!udp) {
				assert_int_equal(igb_be32(out + m.l4 + 4), (uint32_t)(0xfffffff0 + got));
				assert_int_equal(out[m.l4 + 13], 0x10 | (k ? 0 : 0x80) | (k + 1 < n ? 0 : 0x09));
			}
			got += part;
		}
		assert_int_equal(got, payload);
		/* For the host's stack: lengths of the whole, and a sum that it completes. */
		igb_gso_prepare(m.bytes, m.len, &o);
		o.csum = true;
		o.csum_offset = udp ? 6 : 16;
		assert_true(igb_finish_checksum(m.bytes, m.len, &o));
		{
			struct igb_headers h;

			igb_headers(&h, m.bytes, m.len);
			assert_int_equal(igb_check_l4(m.bytes, &h), IGB_SUM_GOOD);
			assert_int_equal(igb_check_ipv4(m.bytes, &h), v6 ? IGB_SUM_NONE : IGB_SUM_GOOD);
		}
	}
	(void)state;
}

/* IPv4, GRE, IPv4, TCP as a driver gives it: the outer header changes, the inner is as it was, all sums are right. */
static void test_cut_tunnel(void **state)
{
	enum { L3 = 14, INNER = 38, L4 = 58, HEADERS = 78, MSS = 500, PAYLOAD = 2000 };
	static struct made inner;
	static uint8_t p[HEADERS + PAYLOAD], out[HEADERS + MSS];
	struct igb_offload o = {.tso = true, .tunnel = true, .l3 = L3, .csum_start = L4, .hdr_len = HEADERS, .mss = MSS};
	struct igb_headers h;

	make(&inner, "192.168.0.1", "192.168.0.2", TCP, 5, 6, 0, 0, MSS); /* lengths are those of a segment */
	memset(p, 0, sizeof(p));
	p[12] = 0x08;
	p[L3] = 0x45;
	igb_put_be16(p + L3 + 4, 100);
	p[L3 + 8] = 64;
	p[L3 + 9] = 47;
	igb_put_be32(p + L3 + 12, 0x0a000001);
	igb_put_be32(p + L3 + 16, 0x0a000002);
	p[L3 + 22] = 0x08; /* GRE, of IPv4 */
	memcpy(p + INNER, inner.bytes + 14, HEADERS - INNER);
	for (unsigned i = 0; i < PAYLOAD; i++)
		p[HEADERS + i] = (uint8_t)(i * 11);
	igb_headers(&h, inner.bytes, inner.len);
	o.ip_seed = (uint16_t)~igb_sum_fold(igb_sum(p + L3 + 20, L4 - L3 - 20, 0));
	o.l4_seed = igb_sum_fold(igb_sum_pseudo(inner.bytes, &h, TCP, 0));
	assert_true(igb_gso_valid(p, sizeof(p), &o));
	for (unsigned i = 0; i < PAYLOAD / MSS; i++) {
		size_t len = igb_gso_segment(out, p, sizeof(p), &o, i);

		assert_int_equal(len, HEADERS + MSS);
		igb_headers(&h, out, len);
		assert_int_equal(h.l3_end, len);
		assert_int_equal(igb_check_ipv4(out, &h), IGB_SUM_GOOD);
		assert_int_equal(igb_be16(out + L3 + 4), 100 + i);
		memmove(out + 14, out + INNER, len - INNER); /* what the tunnel's end finds */
		igb_headers(&h, out, len - INNER + 14);
		assert_int_equal(igb_check_ipv4(out, &h), IGB_SUM_GOOD);
		assert_int_equal(igb_check_l4(out, &h), IGB_SUM_GOOD);
		assert_memory_equal(out + 54, p + HEADERS + i * MSS, MSS);
	}
	o.tunnel = false;
	assert_false(igb_gso_valid(p, sizeof(p), &o));
	(void)state;
}

static void test_cut_invalid(void **state)
{
	static struct made m;
	struct igb_offload good = {.tso = true, .l3 = 14, .csum_start = 34, .hdr_len = 54, .mss = 100}, o;

	make(&m, "10.0.0.1", "10.0.0.2", TCP, 5, 6, 0, 0, 1000);
	assert_true(igb_gso_valid(m.bytes, m.len, &good));
	assert_false(igb_gso_valid(m.bytes, good.hdr_len, &good)); /* no payload */
#define BAD(field, value) (o = good, o.field = (value), assert_false(igb_gso_valid(m.bytes, m.len, &o)))
	BAD(mss, 0);
	BAD(l3, 13);
	BAD(l3, 15);
	BAD(csum_start, 33);
	BAD(csum_start, 38); /* not where the IP header ends */
	BAD(hdr_len, 53);
	BAD(hdr_len, 2000);
	BAD(ipv6, true);
	/* Offsets outside. */
	o = (struct igb_offload){.csum = true, .csum_start = 1054, .csum_offset = 0};
	assert_false(igb_finish_checksum(m.bytes, m.len, &o));
	o = (struct igb_offload){.csum = true, .csum_start = 14, .csum_offset = 65535};
	assert_false(igb_finish_checksum(m.bytes, m.len, &o));
	o = (struct igb_offload){.sctp = true, .csum_start = 1043};
	assert_false(igb_finish_checksum(m.bytes, m.len, &o));
	(void)state;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rss),       cmocka_unit_test(test_sum), cmocka_unit_test(test_crc),
		cmocka_unit_test(test_verify),    cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_cut),       cmocka_unit_test(test_cut_tunnel), cmocka_unit_test(test_cut_invalid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
