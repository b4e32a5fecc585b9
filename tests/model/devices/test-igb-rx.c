/* SPDX-License-Identifier: Apache-2.0 */
/* The 82576 model's receive side: descriptors of all kinds, filters, queues, what the host leaves to be done. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "igb_nic.h"

enum { RXD = 0x2800, TXD = 0x3800 }; /* queue 0 */

static uint8_t buf[70000];

/* ---- Receive --------------------------------------------------------------------------------------- */

static void test_receive(void **state)
{
	struct nic c;
	const uint8_t *data;
	uint32_t d[4];

	nic_open(&c, "");
	nic_start(&c);
	nic_write(&c, IGB_IMS, IGB_ICR_RXDW);
	for (unsigned i = 0; i < 40; i++) { /* more than the ring has */
		uint32_t len = 60 + i * 31;

		nic_udp_frame(buf, nic_mac, len, i);
		nic_arrive(&c, buf, len);
		assert_true(nic_received(&c, d, &data));
		assert_int_equal(d[3], len);
		assert_int_equal(d[2] & 0xffff, IGB_RXD_DD | IGB_RXD_EOP | IGB_RXD_IPCS | IGB_RXD_L4CS | IGB_RXD_UDPCS);
		assert_int_equal(d[2] & (IGB_RXD_L4E | IGB_RXD_IPE), 0);
		assert_int_equal(d[0] & 0xfff0, IGB_RXD_IPV4 | IGB_RXD_UDP);
		assert_memory_equal(data, buf, len);
		assert_true(scripted_root_irqs(c.r, 0) > 0);
		nic_read(&c, IGB_ICR);
		if (i % 8 == 7)
			nic_give(&c, 8);
	}
	/* A short one is padded; bad checksums are told. */
	nic_udp_frame(buf, nic_mac, 50, 0);
	buf[24] ^= 1;
	buf[45] ^= 1;
	nic_arrive(&c, buf, 50);
	assert_true(nic_received(&c, d, &data));
	assert_int_equal(d[3], 60);
	assert_int_equal(d[2] & (IGB_RXD_L4E | IGB_RXD_IPE), IGB_RXD_L4E | IGB_RXD_IPE);
	assert_int_equal(data[59], 0);
	/* Statistics: read once. */
	assert_int_equal(nic_read(&c, IGB_STATS + IGB_STAT_GPRC * 4), 41);
	assert_int_equal(nic_read(&c, IGB_STATS + IGB_STAT_GPRC * 4), 0);
	assert_int_equal(nic_read(&c, IGB_STATS + IGB_STAT_PRC64 * 4), 2);
	assert_true(nic_read(&c, IGB_STATS + IGB_STAT_GORC * 4) > 0);
	assert_int_equal(nic_read(&c, IGB_STATS + IGB_STAT_GORC * 4 + 4), 0);
	assert_int_equal(nic_read(&c, IGB_STATS + IGB_STAT_GORC * 4), 0);
	nic_close(&c);
	(void)state;
}

/* Several descriptors, header split, CRC, legacy format. */
static void test_receive_shapes(void **state)
{
	struct nic c;
	const uint8_t *data;
	uint32_t d[4], len = 9000, got = 0;

	nic_open(&c, "");
	nic_start(&c);
	nic_write(&c, IGB_RCTL, IGB_RCTL_RXEN | IGB_RCTL_SECRC | IGB_RCTL_LPE);
	nic_write(&c, IGB_RLPML, 9022);
	nic_udp_frame(buf, nic_mac, len, 3);
	nic_arrive(&c, buf, len);
	while (nic_received(&c, d, &data)) {
		assert_memory_equal(data, buf + got, d[3] & 0xffff);
		got += d[3] & 0xffff;
		assert_int_equal(d[2] >> 1 & 1, got == len);
	}
	assert_int_equal(got, len);
	/* Too long: not stored, counted. */
	nic_udp_frame(buf, nic_mac, 9100, 3);
	nic_arrive(&c, buf, 9100);
	assert_false(nic_received(&c, d, &data));
	assert_int_equal(nic_read(&c, IGB_STATS + IGB_STAT_ROC * 4), 1);
	nic_write(&c, IGB_RCTL, IGB_RCTL_RXEN);
	nic_udp_frame(buf, nic_mac, 1519, 3);
	nic_arrive(&c, buf, 1519);
	assert_int_equal(nic_read(&c, IGB_STATS + IGB_STAT_ROC * 4), 1);

	/* With its CRC. */
	nic_udp_frame(buf, nic_mac, 1500, 3);
	nic_arrive(&c, buf, 1500);
	assert_true(nic_received(&c, d, &data));
	assert_int_equal(d[3], 1504);
	assert_int_equal(igb_le32(data + 1500), igb_fcs(buf, 1500));

	/* Header split: headers to one buffer, the rest to the other. */
	nic_rx_setup(&c, 0, IGB_SRRCTL_SPLIT | 4u << 8 | NIC_BUFFER >> 10, NIC_RING);
	nic_write(&c, IGB_RCTL, IGB_RCTL_RXEN | IGB_RCTL_SECRC);
	nic_give(&c, 8);
	nic_arrive(&c, buf, 1500);
	assert_true(nic_received(&c, d, &data));
	assert_int_equal(d[0] >> IGB_RXD_HDR_LEN_SHIFT & 0x3ff, 42);
	assert_true(d[0] & IGB_RXD_SPH);
	assert_int_equal(d[3], 1500 - 42);
	assert_memory_equal(data, buf + 42, 1500 - 42);
	assert_memory_equal(data + 0x40000, buf, 42);

	/* Legacy descriptors. */
	nic_rx_setup(&c, 0, IGB_SRRCTL_LEGACY | NIC_BUFFER >> 10, NIC_RING);
	nic_write(&c, IGB_RXCSUM, IGB_RXCSUM_IPOFLD | IGB_RXCSUM_TUOFLD | 14);
	nic_give(&c, 8);
	nic_arrive(&c, buf, 1500);
	assert_true(nic_received(&c, d, &data));
	assert_int_equal(d[0], (uint32_t)c.rx_buffers);
	assert_int_equal(d[2] & 0xffff, 1500);
	assert_int_equal(d[2] >> 16, igb_sum_fold(igb_sum(buf + 14, 1486, 0)));
	assert_int_equal(d[3] & 0xff, IGB_RXD_DD | IGB_RXD_EOP | IGB_RXD_IPCS | IGB_RXD_L4CS | IGB_RXD_UDPCS);
	assert_memory_equal(data, buf, 1500);
	nic_close(&c);
	(void)state;
}

static bool comes(struct nic *c, const uint8_t *to)
{
	uint64_t before = c->n->rx_frames;

	nic_udp_frame(buf, to, 100, 0);
	nic_arrive(c, buf, 100);
	nic_give(c, (unsigned)(c->n->rx_frames - before));
	return c->n->rx_frames > before;
}

static void test_filters(void **state)
{
	static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, group[6] = {1, 0, 0x5e, 0, 0x12, 0x34},
			     other[6] = {2, 1, 2, 3, 4, 5};
	uint32_t on = IGB_RCTL_RXEN | IGB_RCTL_SECRC, hash = (0x34 << 8 | 0x12) >> 4 & 0xfff;
	uint8_t tagged[104];
	struct nic c;

	nic_open(&c, "");
	nic_start(&c);
	assert_true(comes(&c, nic_mac));
	assert_true(comes(&c, broadcast));
	assert_false(comes(&c, group));
	assert_false(comes(&c, other));
	nic_write(&c, IGB_RCTL, on);
	assert_false(comes(&c, broadcast));
	nic_write(&c, IGB_RCTL, on | IGB_RCTL_MPE);
	assert_true(comes(&c, group));
	assert_false(comes(&c, other));
	nic_write(&c, IGB_RCTL, on | IGB_RCTL_UPE);
	assert_true(comes(&c, other));
	assert_false(comes(&c, group));
	nic_write(&c, IGB_RCTL, on);
	nic_write(&c, IGB_MTA + (hash >> 5) * 4, 1u << (hash & 31));
	assert_true(comes(&c, group));
	nic_write(&c, IGB_RCTL, on | 3u << 12); /* other bits of the address */
	assert_false(comes(&c, group));
	nic_write(&c, IGB_RCTL, on);
	hash = (other[5] << 8 | other[4]) >> 4 & 0xfff;
	nic_write(&c, IGB_UTA + (hash >> 5) * 4, 1u << (hash & 31));
	assert_true(comes(&c, other));
	nic_write(&c, IGB_UTA + (hash >> 5) * 4, 0);
	nic_write(&c, IGB_RA2 + 7 * 8, igb_le32(other)); /* the last of the addresses */
	nic_write(&c, IGB_RA2 + 7 * 8 + 4, 0x0504 | IGB_RAH_AV);
	assert_true(comes(&c, other));
	nic_write(&c, IGB_RA2 + 7 * 8 + 4, 0x0504);
	assert_false(comes(&c, other));

	/* VLAN: filter table, strip. */
	nic_udp_frame(buf, nic_mac, 100, 0);
	memcpy(tagged, buf, 12);
	igb_put_be16(tagged + 12, 0x8100);
	igb_put_be16(tagged + 14, 0x6000 | 77);
	memcpy(tagged + 16, buf + 12, 88);
	for (unsigned pass = 0; pass < 2; pass++) {
		uint64_t before = c.n->rx_frames;
		const uint8_t *data;
		uint32_t d[4];

		c.rx_next = nic_read(&c, RXD + IGB_Q_HEAD);
		nic_write(&c, IGB_RCTL, on | IGB_RCTL_VFE);
		nic_write(&c, IGB_VFTA + (77 >> 5) * 4, 0);
		nic_arrive(&c, tagged, 104);
		assert_int_equal(c.n->rx_frames, before);
		nic_write(&c, IGB_VFTA + (77 >> 5) * 4, 1u << (77 & 31));
		nic_write(&c, IGB_CTRL, pass ? IGB_CTRL_VME : 0);
		nic_arrive(&c, tagged, 104);
		assert_true(nic_received(&c, d, &data));
		assert_int_equal(d[3], pass ? 100 | (0x6000u | 77) << 16 : 104);
		assert_int_equal(d[2] & IGB_RXD_VP, pass ? IGB_RXD_VP : 0);
		assert_memory_equal(data, pass ? buf : tagged, pass ? 100 : 104);
	}
	/* Untagged frames pass the VLAN filter; the pause frame of a neighbour does not get through. */
	assert_true(comes(&c, nic_mac));
	nic_udp_frame(buf, nic_mac, 100, 0);
	igb_put_be16(buf + 12, 0x8808);
	nic_arrive(&c, buf, 100);
	assert_int_equal(c.n->rx_filtered > 0, 1);
	nic_close(&c);
	(void)state;
}

/* Queues by hash; one that has no descriptors drops or holds. */
static void test_rss_queues(void **state)
{
	static const uint8_t key[IGB_RSS_KEY] = {
		0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
		0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
	};
	struct nic c;
	unsigned seen = 0;

	nic_open(&c, "");
	nic_start(&c);
	scripted_root_enable_msix(c.r);
	nic_write(&c, IGB_GPIE, IGB_GPIE_MULTIPLE_MSIX | IGB_GPIE_EIAME | IGB_GPIE_NSICR);
	for (unsigned i = 0; i < IGB_RSS_KEY; i += 4)
		nic_write(&c, IGB_RSSRK + i, igb_le32(key + i));
	for (unsigned i = 0; i < 32; i++)
		nic_write(&c, IGB_RETA + i * 4, 0x03020100);
	nic_write(&c, IGB_MRQC, IGB_MRQC_RSS | IGB_MRQC_UDPIPV4 | IGB_MRQC_IPV4);
	for (unsigned q = 0; q < 4; q++) {
		if (q)
			nic_rx_setup(&c, q, IGB_SRRCTL_ONEBUF | 2 | IGB_SRRCTL_DROP_EN, 32);
		for (unsigned i = 0; q && i < 31; i++) {
			uint8_t *d = scripted_root_mem(c.r, c.rx_ring + q * 0x4000 + i * 16, 16);

			igb_put_le32(d, (uint32_t)c.rx_buffers + 0x20000 + (q * 32 + i) * 2048);
		}
		nic_write(&c, IGB_IVAR + q * 4, 0x80 | (q + 1));
		nic_write(&c, 0xc000 + q * 0x40 + IGB_Q_TAIL, 31);
	}
	nic_write(&c, IGB_EIMS, 0x1e);
	nic_write(&c, IGB_EIAC, 0x1e);
	for (unsigned i = 0; i < 100; i++) {
		struct igb_headers h;
		uint32_t hash, q;

		nic_udp_frame(buf, nic_mac, 100, i);
		igb_put_be16(buf + 34, (uint16_t)(1000 + i));
		igb_put_be16(buf + 40, 0);
		igb_headers(&h, buf, 100);
		igb_rss(key, 0xffff0000, buf, &h, &hash);
		q = hash & 3;
		{
			uint32_t head = nic_read(&c, 0xc000 + q * 0x40 + IGB_Q_HEAD);
			const uint8_t *d = scripted_root_mem(c.r, c.rx_ring + q * 0x4000 + head * 16, 16);

			if (head == 31) /* full: queue 0 would hold it up */
				continue;
			nic_arrive(&c, buf, 100);
			assert_int_equal(nic_read(&c, 0xc000 + q * 0x40 + IGB_Q_HEAD), head + 1);
			assert_int_equal(igb_le32(d) & 15, IGB_RSS_UDPIPV4);
			assert_int_equal(igb_le32(d + 4), hash);
			assert_true(scripted_root_irqs(c.r, q + 1) > 0);
			seen |= 1u << q;
		}
	}
	assert_int_equal(seen, 15);
	/* An EtherType's queue comes before the hash's. */
	nic_udp_frame(buf, nic_mac, 100, 1);
	igb_put_be16(buf + 12, 0x88b5);
	for (unsigned q = 2; q < 4; q++) {
		uint32_t head = nic_read(&c, 0xc000 + q * 0x40 + IGB_Q_HEAD);

		assert_in_range(head, 0, 30);
		nic_write(&c, IGB_ETQF + 4 * 5, IGB_ETQF_ENABLE | IGB_ETQF_QUEUE_ENABLE | q << 16 | 0x88b5);
		nic_arrive(&c, buf, 100);
		assert_int_equal(nic_read(&c, 0xc000 + q * 0x40 + IGB_Q_HEAD), head + 1);
	}
	nic_write(&c, IGB_ETQF + 4 * 5, 0);
	/* Fill one of the others: it drops, counts, and queue 0 goes on. */
	for (unsigned i = 0; i < 400; i++) {
		struct igb_headers h;
		uint32_t hash;

		nic_udp_frame(buf, nic_mac, 100, i);
		igb_put_be16(buf + 34, (uint16_t)(3000 + i));
		igb_headers(&h, buf, 100);
		igb_rss(key, 0xffff0000, buf, &h, &hash);
		if (hash & 3)
			nic_arrive(&c, buf, 100);
	}
	assert_true(nic_read(&c, 0xc040 + IGB_Q_RQDPC) > 0);
	assert_int_equal(nic_read(&c, 0xc040 + IGB_Q_RQDPC), 0);
	assert_false(c.n->rx_held);
	nic_close(&c);
	(void)state;
}

/* The frame that waits is offered again, and has to wait on. */
static void tried_again(struct nic *c)
{
	for (unsigned i = 0; i < 5; i++) {
		igb_rx_kick(c->n);
		scripted_root_run(c->r);
	}
}

/* No descriptors: nothing is lost, nothing more is read than one packet, and all arrives when there are some. */
static void test_backpressure(void **state)
{
	struct nic c;
	uint32_t d[4];
	const uint8_t *data;

	nic_open(&c, "");
	nic_start(&c);
	for (unsigned i = 0; i < 50; i++) {
		nic_udp_frame(buf, nic_mac, 200, i);
		nic_arrive(&c, buf, 200);
	}
	assert_int_equal(c.n->rx_frames, NIC_RING - 1);
	assert_true(c.n->rx_held);
	assert_int_equal(c.n->backend.reads, NIC_RING);
	tried_again(&c);
	assert_int_equal(c.n->rx_holds, 1);
	for (unsigned i = 0; i < 50; i++) {
		assert_true(nic_received(&c, d, &data));
		nic_udp_frame(buf, nic_mac, 200, i);
		assert_memory_equal(data, buf, 200);
		nic_give(&c, 1);
	}
	assert_false(c.n->rx_held);
	/* Held, and then the receiver goes off: dropped, for it is old. */
	c.rx_tail = nic_read(&c, RXD + IGB_Q_HEAD);
	nic_rx_setup(&c, 0, IGB_SRRCTL_ONEBUF | 2, NIC_RING);
	nic_arrive(&c, buf, 200);
	assert_true(c.n->rx_held);
	nic_write(&c, IGB_RCTL, 0);
	scripted_root_run(c.r);
	assert_int_equal(c.n->rx_dropped, 1);
	assert_int_equal(c.n->rx_arena.used, 0);
	nic_close(&c);
	(void)state;
}

static void arrive_udp(struct nic *c, unsigned count)
{
	nic_udp_frame(buf, nic_mac, 100, 0);
	for (unsigned i = 0; i < count; i++) {
		nic_arrive(c, buf, 100);
		nic_give(c, 1);
	}
}

static bool all_here(void *arg)
{
	const struct nic *c = arg;

	return !c->n->rx_held;
}

/*
 * 60 frames between two unmaskings, by MSI-X and by MSI; more wait, but not for ever. (A wait ends after 2 ms, so on a busy
 * machine one may be over before it is looked at: that there was one is counted, once.)
 */
static void test_batches(void **state)
{
	struct nic c;

	for (unsigned msix = 0; msix < 2; msix++) {
		nic_open(&c, "");
		nic_start(&c);
		if (msix) {
			scripted_root_enable_msix(c.r);
			nic_write(&c, IGB_GPIE, IGB_GPIE_MULTIPLE_MSIX | IGB_GPIE_EIAME | IGB_GPIE_NSICR);
			nic_write(&c, IGB_IVAR, 0x00000081);
			nic_write(&c, IGB_EIAC, 2);
		}
		nic_write(&c, IGB_EIAM, 2);
		nic_write(&c, IGB_IAM, IGB_ICR_RXDW);
		nic_write(&c, msix ? IGB_EIMS : IGB_IMS, msix ? 2 : IGB_ICR_RXDW);
		arrive_udp(&c, 1);
		assert_int_equal(scripted_root_irqs(c.r, msix), 1);
		if (!msix)
			nic_read(&c, IGB_ICR);
		arrive_udp(&c, 59);
		assert_int_equal(c.n->rx_frames, 60);
		assert_int_equal(c.n->rx_batches, 0);
		arrive_udp(&c, 1);
		tried_again(&c);
		assert_int_equal(c.n->rx_batches, 1);
		nic_write(&c, msix ? IGB_EIMS : IGB_IMS, msix ? 2 : IGB_ICR_RXDW);
		scripted_root_run(c.r);
		assert_int_equal(c.n->rx_frames, 61);
		assert_int_equal(scripted_root_irqs(c.r, msix), 2);
		if (!msix)
			nic_read(&c, IGB_ICR);
		/* TCP does not count. */
		nic_tcp_frame(buf, 100);
		for (unsigned i = 0; i < 100; i++) {
			nic_arrive(&c, buf, 100);
			nic_give(&c, 1);
		}
		assert_int_equal(c.n->rx_batches, 1);
		assert_int_equal(c.n->rx_frames, 161);
		/* A guest that polls and never unmasks gets all, later. */
		arrive_udp(&c, 60);
		tried_again(&c);
		assert_int_equal(c.n->rx_batches, 2);
		assert_true(scripted_root_until(c.r, all_here, &c, 5000));
		assert_int_equal(c.n->rx_frames, 221);
		/* Nor is one that has masked the vector itself kept waiting. */
		nic_write(&c, msix ? IGB_EIMC : IGB_IMC, UINT32_MAX);
		arrive_udp(&c, 100);
		assert_int_equal(c.n->rx_frames, 321);
		nic_close(&c);
	}
	(void)state;
}

/* A packet of the host's that is to be cut: frames as MTU has them, all right. */
static void test_receive_gso(void **state)
{
	static const uint8_t header[10] = {1, 1, 54, 0, 0xa8, 5, 34, 0, 16, 0}; /* NEEDS_CSUM, TCPv4, 1448 each */
	uint8_t bad[10];
	struct nic c;
	uint32_t d[4], got = 0, frames = 0;
	const uint8_t *data;

	nic_open(&c, ",vnet=on");
	nic_start(&c);
	nic_tcp_frame(buf, 54 + 40000);
	nic_arrive_as(&c, header, buf, 54 + 40000);
	while (nic_received(&c, d, &data)) {
		uint32_t len = d[3] & 0xffff;
		struct igb_headers h;

		igb_headers(&h, data, len);
		assert_int_equal(igb_check_l4(data, &h), IGB_SUM_GOOD);
		assert_int_equal(d[2] & (IGB_RXD_L4CS | IGB_RXD_L4E), IGB_RXD_L4CS);
		assert_int_equal(igb_be32(data + 38), 77 + got);
		assert_memory_equal(data + 54, buf + 54 + got, len - 54);
		got += len - 54;
		frames++;
	}
	assert_int_equal(got, 40000);
	assert_int_equal(frames, (40000 + 1447) / 1448);
	nic_give(&c, frames);
	/* A checksum to be completed; then headers that lie. */
	memcpy(bad, header, 10);
	bad[1] = 0;
	nic_tcp_frame(buf, 200);
	nic_arrive_as(&c, bad, buf, 200);
	assert_true(nic_received(&c, d, &data));
	bad[6] = 250;
	nic_arrive_as(&c, bad, buf, 200);
	bad[1] = 7;
	nic_arrive_as(&c, bad, buf, 200);
	memcpy(bad, header, 10);
	bad[4] = bad[5] = 0;
	nic_arrive_as(&c, bad, buf, 200);
	memcpy(bad, header, 10);
	bad[1] = 5;
	nic_arrive_as(&c, bad, buf, 200);
	nic_arrive_as(&c, header, buf, 30);
	nic_arrive_as(&c, header, buf, 3);
	assert_false(nic_received(&c, d, &data));
	assert_int_equal(c.n->rx_dropped, 6);
	scripted_root_run(c.r);
	assert_int_equal(c.n->rx_arena.used, 0);
	nic_close(&c);
	(void)state;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_receive),
		cmocka_unit_test(test_receive_shapes),
		cmocka_unit_test(test_filters),
		cmocka_unit_test(test_rss_queues),
		cmocka_unit_test(test_backpressure),
		cmocka_unit_test(test_batches),
		cmocka_unit_test(test_receive_gso),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
