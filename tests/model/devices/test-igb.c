/* SPDX-License-Identifier: Apache-2.0 */
/* The 82576 model, driven as a driver does, through the runtime: registers, PHY, transmit, interrupts, time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "igb_nic.h"
#include "tlp/offer_wire.h"
#include "tlp/ring_wire.h"
#include "util/reader.h"

enum { RXD = 0x2800, TXD = 0x3800 }; /* queue 0 */

static uint8_t buf[70000];

/* ---- Registers ---------------------------------------------------------------------------------- */

static void test_identity(void **state)
{
	struct nic c;
	uint16_t sum = 0, words[4];

	nic_open(&c, "");
	assert_int_equal(scripted_root_cfg_read(c.r, 0, 4), 0x10c98086);
	assert_int_equal(c.r->bar_size[0], 0x20000);
	assert_true(c.r->bar_io[2]);
	assert_int_equal(c.r->bar_size[3], 0x4000);
	for (unsigned i = 0; i <= IGB_NVM_CHECKSUM; i++) {
		nic_write(&c, IGB_EERD, i << 2 | IGB_EERD_START);
		assert_int_equal(nic_read(&c, IGB_EERD) & 0xffff, IGB_EERD_DONE | i << 2);
		sum = (uint16_t)(sum + (nic_read(&c, IGB_EERD) >> 16));
		if (i < 4)
			words[i] = (uint16_t)(nic_read(&c, IGB_EERD) >> 16);
	}
	assert_int_equal(sum, IGB_NVM_SUM);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(words[i / 2] >> i % 2 * 8 & 0xff, nic_mac[i]);
	assert_int_equal(nic_read(&c, IGB_RA), igb_le32(nic_mac));
	assert_int_equal(nic_read(&c, IGB_RA + 4), IGB_RAH_AV | 0x0100);
	assert_true(nic_read(&c, IGB_EEC) & IGB_EEC_AUTO_RD);
	/* Out of the EEPROM: done, with nothing in it. */
	nic_write(&c, IGB_EERD, 0xffffu << 2 | IGB_EERD_START);
	assert_int_equal(nic_read(&c, IGB_EERD) >> 16, 0);
	/* The flash is blank; the I/O BAR reaches the same registers. */
	assert_int_equal(scripted_root_read(c.r, 1, 0x1000, 4), 0xffffffff);
	scripted_root_write(c.r, 2, 0, IGB_VET, 4);
	assert_int_equal(scripted_root_read(c.r, 2, 0, 4), IGB_VET);
	scripted_root_write(c.r, 2, 4, 0x12345678, 4);
	assert_int_equal(nic_read(&c, IGB_VET), 0x12345678);
	scripted_root_write(c.r, 2, 0, 0xfffffffc, 4);
	scripted_root_write(c.r, 2, 4, 0x1, 4);
	assert_int_equal(scripted_root_read(c.r, 2, 4, 4), 0);
	nic_close(&c);
	(void)state;
}

/* Those that the stock driver's self-test writes patterns to and reads back. */
static void test_registers(void **state)
{
	static const struct {
		uint32_t reg, step, count, mask;
	} t[] = {
		{IGB_FCAL, 0, 1, 0xffffffff}, {IGB_FCAH, 0, 1, 0xffff}, {IGB_FCT, 0, 1, 0xffff}, {IGB_VET, 0, 1, 0xffffffff},
		{0x2800, 0x100, 4, 0xffffff80}, {0x2804, 0x100, 4, 0xffffffff}, {0x2808, 0x100, 4, 0x000ffff0},
		{0xc100, 0x40, 12, 0xffffff80}, {0xc104, 0x40, 12, 0xffffffff}, {0xc108, 0x40, 12, 0x000ffff0},
		{0x2818, 0x100, 4, 0xffff}, {0xc118, 0x40, 12, 0xffff}, {IGB_FCRTH0, 0, 1, 0xfff0}, {IGB_FCTTV, 0, 1, 0xffff},
		{IGB_TIPG, 0, 1, 0x3fffffff}, {0x3800, 0x100, 4, 0xffffff80}, {0x3804, 0x100, 4, 0xffffffff},
		{0x3808, 0x100, 4, 0x000ffff0}, {0xe100, 0x40, 12, 0xffffff80}, {0xe108, 0x40, 12, 0x000ffff0},
		{IGB_RA, 8, 16, 0xffffffff}, {IGB_RA + 4, 8, 16, 0x83ffffff}, {IGB_RA2, 8, 8, 0xffffffff},
		{IGB_RA2 + 4, 8, 8, 0x83ffffff}, {IGB_MTA, 4, 128, 0xffffffff}, {IGB_VFTA, 4, 128, 0xffffffff},
		{IGB_UTA, 4, 128, 0xffffffff}, {IGB_RETA, 4, 32, 0xffffffff}, {IGB_RSSRK, 4, 10, 0xffffffff},
		{IGB_RLPML, 0, 1, 0x3fff}, {IGB_LEDCTL, 0, 1, 0xffffffff}, {IGB_IVAR, 4, 8, 0x9f9f9f9f},
		{IGB_IVAR_MISC, 0, 1, 0x9f9f}, {IGB_EITR, 4, 25, 0x7ffc}, {IGB_MRQC, 0, 1, 0xffff0007},
		{IGB_TSYNCRXCFG, 0, 1, 0xffffffff}, {IGB_WUFC, 0, 1, 0xfffff}, {IGB_RXCSUM, 0, 1, 0x3fff},
	};
	static const uint32_t patterns[] = {0x5a5a5a5a, 0xa5a5a5a5, 0, 0xffffffff};
	struct nic c;

	nic_open(&c, "");
	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		for (unsigned k = 0; k < t[i].count * 4; k++) {
			uint32_t reg = t[i].reg + k / 4 * t[i].step;

			nic_write(&c, reg, patterns[k % 4]);
			if ((nic_read(&c, reg) & t[i].mask) != (patterns[k % 4] & t[i].mask))
				fail_msg("register %04x: wrote %08x, read %08x", reg, patterns[k % 4], nic_read(&c, reg));
		}
	}
	nic_write(&c, IGB_RCTL, 0x04cfb0fe & ~IGB_RCTL_RXEN);
	assert_int_equal(nic_read(&c, IGB_RCTL), 0x04cfb0fe & ~IGB_RCTL_RXEN);
	/* A reset puts back what the EEPROM says, and switches queues off. */
	nic_write(&c, IGB_CTRL, nic_read(&c, IGB_CTRL) | IGB_CTRL_RST);
	assert_false(nic_read(&c, IGB_CTRL) & IGB_CTRL_RST);
	assert_int_equal(nic_read(&c, IGB_RA), igb_le32(nic_mac));
	assert_int_equal(nic_read(&c, IGB_RCTL), 0);
	assert_int_equal(nic_read(&c, IGB_VET), 0x81008100);
	assert_int_equal(nic_read(&c, 0x2900 + IGB_Q_CTL) & IGB_QCTL_ENABLE, 0);
	/* Semaphores: the first reader has it. */
	assert_int_equal(nic_read(&c, IGB_SWSM) & IGB_SWSM_SMBI, 0);
	assert_int_equal(nic_read(&c, IGB_SWSM) & IGB_SWSM_SMBI, IGB_SWSM_SMBI);
	nic_write(&c, IGB_SWSM, IGB_SWSM_SWESMBI);
	assert_int_equal(nic_read(&c, IGB_SWSM), IGB_SWSM_SWESMBI);
	/* Master disable is seen when nothing is under way. */
	nic_write(&c, IGB_CTRL, IGB_CTRL_GIO_MASTER_DISABLE);
	assert_false(nic_read(&c, IGB_STATUS) & IGB_STATUS_GIO_MASTER_ENABLE);
	nic_write(&c, 0x1fff0, 0x1234);
	assert_int_equal(nic_read(&c, 0x1fff0), 0);
	nic_close(&c);
	(void)state;
}

static bool has_link(void *arg)
{
	struct nic *c = arg;

	return c->n->link;
}

static void test_phy(void **state)
{
	struct nic c;

	nic_open(&c, "");
	nic_start(&c);
	assert_int_equal(nic_phy_read(&c, IGB_PHY_ID1) << 16 | nic_phy_read(&c, IGB_PHY_ID2), IGB_PHY_ID);
	assert_int_equal(nic_phy_read(&c, IGB_PHY_STATUS) & 0x24, 0x24);
	assert_true(nic_read(&c, IGB_STATUS) & IGB_STATUS_LU);
	nic_write(&c, IGB_MDIC, IGB_MDIC_OP_READ | 5u << 21);
	assert_true(nic_read(&c, IGB_MDIC) & IGB_MDIC_ERROR);
	/* A page away, and back. */
	nic_phy_write(&c, IGB_PHY_PAGE_SELECT, 0x11b1);
	assert_int_equal(nic_phy_read(&c, 0x11) >> 9 & 0x7f, 0x18);
	nic_phy_write(&c, IGB_PHY_PAGE_SELECT, 0x0011);
	assert_int_equal(nic_phy_read(&c, 0x11) & 0xc000, 0xc000);
	/* Power down takes the link, which is told by an interrupt. */
	nic_write(&c, IGB_IMS, IGB_ICR_LSC);
	nic_read(&c, IGB_ICR);
	nic_phy_write(&c, IGB_PHY_CONTROL, 0x1140 | IGB_PHY_CONTROL_POWER_DOWN);
	scripted_root_run(c.r);
	assert_int_equal(scripted_root_irqs(c.r, 0), 1);
	assert_int_equal(nic_read(&c, IGB_ICR), IGB_ICR_INTA | IGB_ICR_LSC);
	assert_false(nic_read(&c, IGB_STATUS) & IGB_STATUS_LU);
	assert_int_equal(nic_phy_read(&c, IGB_PHY_STATUS) & 0x24, 0);
	/* What comes meanwhile is lost, not late. */
	nic_udp_frame(buf, nic_mac, 100, 0);
	nic_arrive(&c, buf, 100);
	nic_phy_write(&c, IGB_PHY_CONTROL, IGB_PHY_CONTROL_RESET);
	scripted_root_run(c.r);
	assert_true(nic_read(&c, IGB_STATUS) & IGB_STATUS_LU);
	assert_int_equal(c.n->rx_frames, 0);
	/* Autonegotiation takes the link for half a second. */
	nic_read(&c, IGB_ICR);
	nic_phy_write(&c, IGB_PHY_CONTROL, 0x1140 | IGB_PHY_CONTROL_RESTART);
	assert_false(nic_read(&c, IGB_STATUS) & IGB_STATUS_LU);
	assert_int_equal(nic_phy_read(&c, IGB_PHY_STATUS) & 0x24, 0);
	assert_true(nic_read(&c, IGB_ICR) & IGB_ICR_LSC);
	assert_true(scripted_root_until(c.r, has_link, &c, 5000));
	assert_int_equal(nic_phy_read(&c, IGB_PHY_STATUS) & 0x24, 0x24);
	assert_true(nic_read(&c, IGB_ICR) & IGB_ICR_LSC);
	/* The other end goes: so does the link, for good. */
	close(c.wire);
	scripted_root_run(c.r);
	assert_false(nic_read(&c, IGB_STATUS) & IGB_STATUS_LU);
	c.wire = dup(0);
	nic_close(&c);
	(void)state;
}

/* ---- Transmit --------------------------------------------------------------------------------------- */

static void test_transmit(void **state)
{
	uint8_t out[2000];
	struct nic c;

	nic_open(&c, "");
	nic_start(&c);
	nic_write(&c, IGB_IMS, IGB_ICR_TXDW);
	for (unsigned i = 0; i < 70; i++) {
		uint32_t len = 60 + i * 17, at = c.tx_next;

		nic_udp_frame(buf, nic_peer, len, i);
		nic_send(&c, buf, len, 0, 0);
		assert_int_equal(nic_wire(&c, out, sizeof(out)), len);
		assert_memory_equal(out, buf, len);
		assert_int_equal(nic_tx_status(&c, at) & IGB_TXD_DD, IGB_TXD_DD);
		assert_int_equal(nic_read(&c, TXD + IGB_Q_HEAD), c.tx_next);
		assert_true(nic_irqs(&c, 0, i + 1));
		assert_int_equal(nic_read(&c, IGB_ICR), IGB_ICR_INTA | IGB_ICR_TXDW);
	}
	/* Short: padded. Without RS: not reported. */
	nic_udp_frame(buf, nic_peer, 50, 0);
	nic_desc(&c, c.tx_buffers, 50 | IGB_TXD_DEXT | IGB_TXD_DTYP_DATA | IGB_TXD_EOP, 0);
	memcpy(scripted_root_mem(c.r, c.tx_buffers, 50), buf, 50);
	nic_kick(&c);
	assert_int_equal(nic_wire(&c, out, sizeof(out)), 60);
	assert_memory_equal(out, buf, 50);
	assert_int_equal(out[55], 0);
	assert_int_equal(nic_read(&c, IGB_ICR), 0);
	assert_int_equal(nic_read(&c, IGB_STATS + IGB_STAT_GPTC * 4), 71);
	/* Head write-back. */
	nic_write(&c, TXD + IGB_Q_WBAL, (uint32_t)c.tx_buffers + 0x300 + 1);
	nic_write(&c, TXD + IGB_Q_WBAH, 0);
	nic_send(&c, buf, 50, 0, 0);
	assert_int_equal(igb_le32(scripted_root_mem(c.r, c.tx_buffers + 0x300, 4)), c.tx_next);
	/* Legacy: the checksum from CSS on goes to CSO. */
	nic_write(&c, TXD + IGB_Q_WBAL, 0);
	nic_udp_frame(buf, nic_peer, 100, 0);
	igb_put_be16(buf + 40, 0);
	memcpy(scripted_root_mem(c.r, c.tx_buffers, 100), buf, 100);
	nic_desc(&c, c.tx_buffers, 100 | 40u << 16 | IGB_TXD_EOP | IGB_TXD_RS | IGB_TXD_IC, 34u << 8 | 5u << 16);
	nic_kick(&c);
	while (nic_wire(&c, out, sizeof(out)) != 100)
		;
	assert_int_equal(igb_be16(out + 40), (uint16_t)~igb_sum_fold(igb_sum(buf + 34, 66, 0)));
	assert_int_equal(nic_tx_status(&c, (c.tx_next + NIC_RING - 1) % NIC_RING), IGB_TXD_DD | 34u << 8 | 5u << 16);
	nic_close(&c);
	(void)state;
}

/* As a root does that sends along with the tail what is new behind it. */
static void send_ahead(struct nic *c, uint64_t address, uint32_t len)
{
	scripted_root_ahead(c->r, address, len, scripted_root_mem(c->r, address, len), len);
}

/* The tail, and perhaps what is behind it, as they come off a network: within a round of the loop. */
struct doorbell {
	struct fb_flush flush;
	struct nic *c;
	uint64_t desc, data;
	bool ahead;
};

static void ring_doorbell(struct fb_flush *flush)
{
	struct doorbell *b = (struct doorbell *)flush;

	nic_write(b->c, TXD + IGB_Q_TAIL, b->c->tx_next);
	if (!b->ahead)
		return;
	send_ahead(b->c, b->desc, IGB_DESC);
	send_ahead(b->c, b->data, 98 + 1);
}

/* The root is told of the ring; a frame that comes along with the tail costs no read. */
static void test_transmit_ahead(void **state)
{
	struct fb_ring_rule rule;
	const struct scripted_tlp *t;
	uint8_t out[2000];
	struct nic c;
	uint64_t reads, at;

	nic_open(&c, "");
	c.r->keep_log = true;
	scripted_root_forget(c.r);
	nic_start(&c);
	t = scripted_root_expect_message(c.r, FB_RING_RULE);
	assert_true(fb_ring_rule_get(&rule, t->data, (size_t)t->tlp.length * 4));
	assert_int_equal(rule.slot, 0);
	assert_int_equal(rule.reg, TXD + IGB_Q_TAIL);
	assert_int_equal(rule.base, c.tx_ring);
	assert_int_equal(rule.entry_size, IGB_DESC);
	assert_int_equal(rule.entries, NIC_RING);

	for (unsigned ahead = 0; ahead < 2; ahead++) {
		struct doorbell bell = {.flush.flush = ring_doorbell, .c = &c, .ahead = ahead};
		uint8_t *d;

		nic_udp_frame(buf, nic_peer, 98, ahead);
		at = c.tx_buffers + 0x10000ull * c.tx_next;
		memcpy(scripted_root_mem(c.r, at, 98), buf, 98);
		nic_desc(&c, at, 98 | IGB_TXD_DEXT | IGB_TXD_DTYP_DATA | IGB_TXD_EOP | IGB_TXD_RS, 0);
		d = scripted_root_mem(c.r, c.tx_ring + ahead * IGB_DESC, IGB_DESC);
		assert_int_equal(d[rule.match_at], rule.match); /* so that the root finds the data */
		assert_int_equal(fb_get_le64(d + rule.pointer_at), at);
		assert_int_equal(fb_get_le16(d + rule.count_at) << rule.count_shift, 98);
		reads = c.r->dma_reads;
		bell.desc = c.tx_ring + ahead * IGB_DESC;
		bell.data = at;
		fb_flush_schedule(c.r->loop, &bell.flush);
		scripted_root_run(c.r);
		assert_int_equal(c.r->dma_reads - reads, ahead ? 0 : 2);
		assert_int_equal(nic_wire(&c, out, sizeof(out)), 98);
		assert_memory_equal(out, buf, 98);
	}

	/* Off: the root forgets it. */
	scripted_root_forget(c.r);
	nic_write(&c, TXD + IGB_Q_CTL, 0);
	t = scripted_root_expect(c.r, PCIE_TLP_MSGD);
	assert_true(fb_ring_rule_get(&rule, t->data, (size_t)t->tlp.length * 4));
	assert_int_equal(rule.entries, 0);
	nic_close(&c);
	(void)state;
}

/* Checksums, tag and pieces: with the host's help and without, the same bytes. */
static void test_transmit_offloads(void **state)
{
	for (unsigned vnet = 0; vnet < 2; vnet++) {
		uint8_t out[2000], want[2000];
		struct nic c;
		struct igb_headers h;

		nic_open(&c, vnet ? ",vnet=on" : "");
		nic_start(&c);
		nic_udp_frame(want, nic_peer, 1000, 9);
		memcpy(buf, want, 1000);
		igb_headers(&h, buf, 1000);
		igb_put_be16(buf + 24, 0);
		igb_put_be16(buf + 40, igb_sum_fold(igb_sum_pseudo(buf, &h, 17, 966)));
		memcpy(scripted_root_mem(c.r, c.tx_buffers, 1000), buf, 1000);
		/* In four pieces, of which one is empty, with a context that inserts VLAN 5. */
		nic_context(&c, 5u << 16 | 14u << 9 | 20, IGB_TXC_IPV4, 0);
		for (unsigned i = 0; i < 4; i++) {
			static const uint32_t at[] = {0, 10, 500, 500, 1000};

			nic_desc(&c, c.tx_buffers + at[i], (at[i + 1] - at[i]) | IGB_TXD_DEXT | IGB_TXD_DTYP_DATA | IGB_TXD_VLE |
				 (i == 3 ? IGB_TXD_EOP | IGB_TXD_RS : 0), IGB_TXD_IXSM | IGB_TXD_TXSM | 1000u << 14);
		}
		nic_kick(&c);
		assert_int_equal(nic_wire(&c, out, sizeof(out)), 1004);
		if (vnet) {
			assert_int_equal(c.header[0], 1);
			assert_int_equal(c.header[6], 38);
			assert_int_equal(c.header[8], 6);
			assert_true(igb_finish_checksum(out, 1004, &(struct igb_offload){.csum = true, .csum_start = 38,
											 .csum_offset = 6}));
		}
		assert_memory_equal(out, want, 12);
		assert_int_equal(igb_be16(out + 12), 0x8100);
		assert_int_equal(igb_be16(out + 14), 5);
		assert_memory_equal(out + 16, want + 12, 988);
		nic_close(&c);
	}
	(void)state;
}

static void test_transmit_tso(void **state)
{
	for (unsigned vnet = 0; vnet < 2; vnet++) {
		uint8_t *out = malloc(70000);
		struct nic c;
		uint32_t got = 0, frames = 0;
		int len;

		nic_open(&c, vnet ? ",vnet=on" : "");
		nic_start(&c);
		nic_tcp_frame(buf, 54 + 30000);
		igb_put_be16(buf + 16, 0); /* as igb gives it */
		igb_put_be16(buf + 24, 0);
		memcpy(scripted_root_mem(c.r, c.tx_buffers, 30054), buf, 30054);
		nic_context(&c, 14u << 9 | 20, IGB_TXC_IPV4 | IGB_TXC_L4T_TCP, 1448u << 16 | 20u << 8);
		nic_desc(&c, c.tx_buffers, 54 | IGB_TXD_DEXT | IGB_TXD_DTYP_DATA | IGB_TXD_TSE,
			 IGB_TXD_IXSM | IGB_TXD_TXSM | 30000u << 14);
		nic_desc(&c, c.tx_buffers + 54, 30000 | IGB_TXD_DEXT | IGB_TXD_DTYP_DATA | IGB_TXD_TSE | IGB_TXD_EOP | IGB_TXD_RS, 0);
		nic_kick(&c);
		while ((len = nic_wire(&c, out, 70000)) > 0) {
			struct igb_headers h;

			if (vnet) {
				struct igb_offload o = {.csum = true, .csum_start = 34, .csum_offset = 16};

				assert_int_equal(c.header[1], 1);
				assert_int_equal(c.header[4] | c.header[5] << 8, 1448);
				assert_true(igb_finish_checksum(out, (size_t)len, &o));
			}
			igb_headers(&h, out, (size_t)len);
			assert_int_equal(h.l3_end, len);
			assert_int_equal(igb_check_ipv4(out, &h), IGB_SUM_GOOD);
			assert_int_equal(igb_check_l4(out, &h), IGB_SUM_GOOD);
			assert_int_equal(igb_be32(out + 38), 77 + got);
			assert_memory_equal(out + 54, buf + 54 + got, len - 54);
			got += (uint32_t)len - 54;
			frames++;
		}
		assert_int_equal(got, 30000);
		assert_int_equal(frames, vnet ? 1 : 21);
		/* The wire has seen 21 in both cases. */
		assert_int_equal(nic_read(&c, IGB_STATS + IGB_STAT_GPTC * 4), 21);
		assert_int_equal(nic_read(&c, IGB_STATS + IGB_STAT_GOTC * 4), 30000 + 21 * 58);
		nic_close(&c);
		free(out);
	}
	(void)state;
}

static void test_loopback(void **state)
{
	uint8_t out[100];
	struct nic c;
	const uint8_t *data;
	uint32_t d[4];

	nic_open(&c, ",vnet=on");
	nic_start(&c);
	nic_phy_write(&c, IGB_PHY_CONTROL, 0x4140);
	for (unsigned i = 0; i < 100; i++) {
		nic_udp_frame(buf, nic_mac, 300, i);
		nic_send(&c, buf, 300, 0, 0);
		assert_true(nic_received(&c, d, &data));
		assert_memory_equal(data, buf, 300);
		nic_give(&c, 1);
	}
	assert_int_equal(nic_wire(&c, out, sizeof(out)), -1);
	/* A large packet comes back in pieces, through fewer descriptors than it needs, in order. */
	nic_tcp_frame(buf, 54 + 60000);
	memcpy(scripted_root_mem(c.r, c.tx_buffers, 60054), buf, 60054);
	nic_context(&c, 14u << 9 | 20, IGB_TXC_IPV4 | IGB_TXC_L4T_TCP, 1000u << 16 | 20u << 8);
	nic_desc(&c, c.tx_buffers, 60054 | IGB_TXD_DEXT | IGB_TXD_DTYP_DATA | IGB_TXD_TSE | IGB_TXD_EOP | IGB_TXD_RS, 0);
	nic_kick(&c);
	assert_true(c.n->tx_held);
	for (unsigned i = 0; i < 60; i++) {
		assert_true(nic_received(&c, d, &data));
		assert_int_equal(igb_be32(data + 38), 77 + i * 1000);
		nic_give(&c, 1);
	}
	assert_false(c.n->tx_held);
	assert_false(nic_received(&c, d, &data));
	/* Over: to the wire again. */
	nic_phy_write(&c, IGB_PHY_CONTROL, 0x1140);
	nic_send(&c, buf, 90, 0, 0);
	assert_int_equal(nic_wire(&c, out, sizeof(out)), 90);
	nic_close(&c);
	(void)state;
}

/* ---- Interrupts -------------------------------------------------------------------------------------- */

static void test_msi(void **state)
{
	struct nic c;

	nic_open(&c, "");
	nic_start(&c);
	/* Masked: nothing; unmasked: at once, one message. */
	nic_write(&c, IGB_ICS, IGB_ICR_RXDW | IGB_ICR_TXDW);
	scripted_root_run(c.r);
	assert_int_equal(scripted_root_irqs(c.r, 0), 0);
	nic_write(&c, IGB_IMS, IGB_ICR_RXDW | IGB_ICR_TXDW | IGB_ICR_LSC);
	scripted_root_run(c.r);
	assert_int_equal(scripted_root_irqs(c.r, 0), 1);
	/* The same causes again, unread: no message; a new one: a message. */
	nic_write(&c, IGB_ICS, IGB_ICR_RXDW);
	scripted_root_run(c.r);
	assert_int_equal(scripted_root_irqs(c.r, 0), 1);
	nic_write(&c, IGB_ICS, IGB_ICR_LSC);
	scripted_root_run(c.r);
	assert_int_equal(scripted_root_irqs(c.r, 0), 2);
	/* Acknowledged by the read; IAM masks what it names. */
	nic_write(&c, IGB_IAM, IGB_ICR_RXDW);
	assert_int_equal(nic_read(&c, IGB_ICR), IGB_ICR_INTA | IGB_ICR_RXDW | IGB_ICR_TXDW | IGB_ICR_LSC);
	assert_int_equal(nic_read(&c, IGB_IMS), IGB_ICR_TXDW | IGB_ICR_LSC);
	assert_int_equal(nic_read(&c, IGB_ICS), 0);
	nic_write(&c, IGB_ICS, IGB_ICR_RXDW);
	scripted_root_run(c.r);
	assert_int_equal(scripted_root_irqs(c.r, 0), 2);
	nic_write(&c, IGB_IMS, IGB_ICR_RXDW);
	scripted_root_run(c.r);
	assert_int_equal(scripted_root_irqs(c.r, 0), 3);
	nic_close(&c);
	(void)state;
}

/* ---- ICR ahead of the interrupt ---------------------------------------------------------------------- */

static void used(struct nic *c, const struct fb_offer *o)
{
	struct fb_offer_used u = {.seq = o->seq, .offset = IGB_ICR};
	uint8_t payload[FB_OFFER_USED_SIZE];

	fb_offer_used_put(&u, payload);
	scripted_root_message(c->r, FB_OFFER_USED, payload, sizeof(payload));
}

/* Of the rounds since: the last one. */
static struct fb_offer offered(struct nic *c)
{
	const struct scripted_tlp *t;
	struct fb_offer o = {0};

	scripted_root_run(c->r);
	while ((t = scripted_root_take(c->r))) {
		if (t->tlp.type == PCIE_TLP_MSGD && t->tlp.vendor_data == FB_OFFER)
			assert_true(fb_offer_get(&o, t->data, t->tlp.length * 4u));
	}
	return o;
}

static void expect_offered(const struct fb_offer *o, uint32_t icr)
{
	assert_int_equal(o->n, 1);
	assert_int_equal(o->value[0].bar, 0);
	assert_int_equal(o->value[0].offset, IGB_ICR);
	assert_int_equal(o->value[0].size, 4);
	assert_int_equal(o->value[0].value, IGB_ICR_INTA | icr);
	assert_int_equal(o->value[0].flags, FB_OFFER_LOWERS_INTX);
}

static void test_offer(void **state)
{
	struct fb_function_info info;
	struct fb_offer first, o;
	uint8_t can[4];
	struct nic c;

	nic_open(&c, "");
	scripted_root_enable_msi(c.r, 1);
	fb_put_le32(can, FB_RING_CAN_OFFERS);
	scripted_root_message(c.r, FB_RING_ABLE, can, sizeof(can));
	nic_write(&c, IGB_IAM, IGB_ICR_RXDW);
	nic_write(&c, IGB_ICS, IGB_ICR_RXDW); /* masked: no interrupt, and nothing is read */
	o = offered(&c);
	assert_int_equal(o.n, 0);
	nic_read(&c, IGB_ICR);

	/* The usual way: used, masked, unmasked. */
	nic_write(&c, IGB_IMS, IGB_ICR_RXDW | IGB_ICR_LSC);
	igb_irq_cause(c.n, IGB_ICR_RXDW);
	o = offered(&c);
	expect_offered(&o, IGB_ICR_RXDW);
	assert_int_equal(scripted_root_irqs(c.r, 0), 1);
	used(&c, &o);
	assert_int_equal(c.n->icr, 0);
	assert_int_equal(c.n->ims, IGB_ICR_LSC);
	igb_irq_cause(c.n, IGB_ICR_RXDW); /* while the guest is at work: seen when it unmasks */
	o = offered(&c);
	assert_int_equal(o.n, 0);
	nic_write(&c, IGB_IMS, IGB_ICR_RXDW);
	igb_irq_cause(c.n, IGB_ICR_LSC); /* and one more, in the same round */
	o = offered(&c);
	expect_offered(&o, IGB_ICR_RXDW | IGB_ICR_LSC);
	assert_int_equal(scripted_root_irqs(c.r, 0), 2);
	used(&c, &o);
	assert_int_equal(c.n->icr, 0);

	/* The same cause once more while the use is on its way: the value does not show it, and it is not lost. */
	nic_write(&c, IGB_IMS, IGB_ICR_RXDW);
	igb_irq_cause(c.n, IGB_ICR_RXDW);
	first = offered(&c);
	expect_offered(&first, IGB_ICR_RXDW);
	igb_irq_cause(c.n, IGB_ICR_RXDW);
	o = offered(&c);
	expect_offered(&o, IGB_ICR_RXDW);
	assert_int_equal(o.seq, first.seq + 2);
	assert_int_equal(scripted_root_irqs(c.r, 0), 3);
	used(&c, &first);
	assert_int_equal(c.n->icr, IGB_ICR_RXDW);
	assert_int_equal(c.n->ims, IGB_ICR_LSC);
	nic_write(&c, IGB_IMS, IGB_ICR_RXDW);
	o = offered(&c);
	assert_int_equal(scripted_root_irqs(c.r, 0), 4);
	nic_read(&c, IGB_ICR_2);
	/* In the round in which it comes, and without a mask that the read sets. */
	nic_write(&c, IGB_IAM, 0);
	nic_write(&c, IGB_IMS, IGB_ICR_RXDW);
	igb_irq_cause(c.n, IGB_ICR_RXDW);
	first = offered(&c);
	igb_irq_cause(c.n, IGB_ICR_RXDW);
	used(&c, &first);
	assert_int_equal(c.n->icr, IGB_ICR_RXDW);
	scripted_root_run(c.r);
	assert_int_equal(scripted_root_irqs(c.r, 0), 6);
	assert_int_equal(nic_read(&c, IGB_ICR_2), IGB_ICR_INTA | IGB_ICR_RXDW);
	/* With MSI-X a use, which was never offered, changes nothing. */
	c.n->gpie = IGB_GPIE_MULTIPLE_MSIX;
	igb_irq_cause(c.n, IGB_ICR_RXDW);
	used(&c, &first);
	c.n->gpie = 0;
	assert_int_equal(c.n->icr, IGB_ICR_RXDW);
	assert_int_equal(c.n->ims, IGB_ICR_RXDW | IGB_ICR_LSC);
	fb_device_counters(c.r->dev, &info);
	assert_int_equal(info.bad_offers + info.bad_uses, 0);
	nic_close(&c);
	(void)state;
}

/* EITR: the first at once, the next when the interval is over. */
static void test_moderation(void **state)
{
	struct nic c;

	nic_open(&c, "");
	nic_start(&c);
	nic_write(&c, IGB_EITR, 8000 << 2 & IGB_EITR_INTERVAL); /* 8 ms */
	nic_write(&c, IGB_IMS, IGB_ICR_RXDW);
	nic_write(&c, IGB_ICS, IGB_ICR_RXDW);
	scripted_root_run(c.r);
	assert_int_equal(scripted_root_irqs(c.r, 0), 1);
	for (unsigned i = 0; i < 5; i++) {
		uint64_t last = c.n->vector[0].last;

		assert_true(nic_read(&c, IGB_ICR) & IGB_ICR_RXDW);
		nic_write(&c, IGB_ICS, IGB_ICR_RXDW);
		assert_true(nic_irqs(&c, 0, i + 2));
		assert_true(c.n->vector[0].last - last >= 8000000);
	}
	/* What was acknowledged meanwhile is not told. */
	nic_write(&c, IGB_ICS, IGB_ICR_RXDW);
	nic_read(&c, IGB_ICR);
	nic_write(&c, IGB_EITR, 0);
	scripted_root_run(c.r);
	assert_int_equal(scripted_root_irqs(c.r, 0), 6);
	nic_close(&c);
	(void)state;
}

/* What is sent is told with what is received next, if that comes soon. */
static void test_joined(void **state)
{
	struct nic c;
	unsigned joined = 0;

	nic_open(&c, "");
	nic_start(&c);
	nic_write(&c, IGB_IMS, IGB_ICR_RXDW | IGB_ICR_TXDW);
	nic_udp_frame(buf, nic_mac, 100, 0);
	for (unsigned i = 0; i < 20; i++) {
		unsigned before = scripted_root_irqs(c.r, 0);

		nic_send(&c, buf, 100, 0, 0);
		nic_arrive(&c, buf, 100);
		assert_true(nic_irqs(&c, 0, scripted_root_irqs(c.r, 0)));
		joined += scripted_root_irqs(c.r, 0) == before + 1;
		assert_int_equal(nic_read(&c, IGB_ICR), IGB_ICR_INTA | IGB_ICR_RXDW | IGB_ICR_TXDW);
		nic_give(&c, 1);
	}
	assert_true(joined > 0); /* all, but where the machine stood still */
	nic_close(&c);
	(void)state;
}

static void test_intx(void **state)
{
	struct nic c;

	nic_open(&c, "");
	nic_write(&c, IGB_IMS, IGB_ICR_LSC);
	nic_write(&c, IGB_ICS, IGB_ICR_LSC);
	scripted_root_run(c.r);
	assert_true(c.r->intx);
	assert_true(nic_read(&c, IGB_ICR) & IGB_ICR_INTA);
	scripted_root_run(c.r);
	assert_false(c.r->intx);
	nic_close(&c);
	(void)state;
}

static void test_msix(void **state)
{
	struct nic c;

	nic_open(&c, "");
	nic_start(&c);
	assert_int_equal(scripted_root_enable_msix(c.r), 25);
	nic_write(&c, IGB_GPIE, IGB_GPIE_MULTIPLE_MSIX | IGB_GPIE_EIAME | IGB_GPIE_NSICR);
	nic_write(&c, IGB_IVAR, 0x00008281);      /* receive: 1, transmit: 2 */
	nic_write(&c, IGB_IVAR_MISC, 0x00008000); /* other: 0 */
	nic_write(&c, IGB_EIAC, 6);
	nic_write(&c, IGB_EIAM, 6);
	nic_write(&c, IGB_EIMS, 7);
	nic_write(&c, IGB_IMS, IGB_ICR_LSC);
	nic_udp_frame(buf, nic_mac, 100, 0);
	nic_arrive(&c, buf, 100);
	assert_int_equal(scripted_root_irqs(c.r, 1), 1);
	assert_int_equal(nic_read(&c, IGB_EICS), 0);      /* EIAC cleared it */
	assert_int_equal(nic_read(&c, IGB_EIMS), 5);      /* EIAM masked it */
	nic_arrive(&c, buf, 100);
	assert_int_equal(scripted_root_irqs(c.r, 1), 1);
	nic_write(&c, IGB_EIMS, 2);
	scripted_root_run(c.r);
	assert_int_equal(scripted_root_irqs(c.r, 1), 2);
	nic_send(&c, buf, 100, 0, 0);
	assert_true(nic_irqs(&c, 2, 1));
	nic_write(&c, IGB_ICS, IGB_ICR_LSC);
	scripted_root_run(c.r);
	assert_int_equal(scripted_root_irqs(c.r, 0), 1);
	assert_true(nic_read(&c, IGB_ICR) & IGB_ICR_LSC);
	/* Software's own interrupt. */
	nic_write(&c, IGB_EIMS, 7);
	nic_write(&c, IGB_EICS, 4);
	scripted_root_run(c.r);
	assert_int_equal(scripted_root_irqs(c.r, 2), 2);
	nic_close(&c);
	(void)state;
}

static void test_time(void **state)
{
	static const uint8_t sync[60] = {1, 0x1b, 0x19, 0, 0, 0, 2, 0xfb, 0, 0, 0, 2, 0x88, 0xf7, 0x00, 0x02};
	uint64_t first, second;
	struct nic c;
	const uint8_t *data;
	uint32_t d[4];

	nic_open(&c, "");
	nic_start(&c);
	nic_write(&c, IGB_RCTL, nic_read(&c, IGB_RCTL) | IGB_RCTL_MPE);
	assert_int_equal(nic_read(&c, IGB_SYSTIML), 0);
	nic_write(&c, IGB_TIMINCA, 1u << 24 | 16 << 19);
	scripted_root_run(c.r);
	first = nic_read(&c, IGB_SYSTIML);
	first |= (uint64_t)nic_read(&c, IGB_SYSTIMH) << 32;
	do {
		scripted_root_run(c.r);
		second = nic_read(&c, IGB_SYSTIML);
		second |= (uint64_t)nic_read(&c, IGB_SYSTIMH) << 32;
	} while (second == first);
	assert_true(second > first);
	/* Transmit: only when asked for; once. */
	nic_write(&c, IGB_TSYNCTXCTL, IGB_TSYNC_EN);
	nic_send(&c, sync, 60, 0, 0);
	assert_false(nic_read(&c, IGB_TSYNCTXCTL) & IGB_TSYNC_VALID);
	nic_send(&c, sync, 60, IGB_TXD_TSTAMP, 0);
	assert_true(nic_read(&c, IGB_TSYNCTXCTL) & IGB_TSYNC_VALID);
	assert_true(((uint64_t)nic_read(&c, IGB_TXSTMPH) << 32 | nic_read(&c, IGB_TXSTMPL)) >= second);
	assert_false(nic_read(&c, IGB_TSYNCTXCTL) & IGB_TSYNC_VALID);
	/* Receive: event messages of version 2. */
	nic_write(&c, IGB_TSYNCRXCTL, IGB_TSYNC_EN | 0x0a);
	nic_udp_frame(buf, nic_mac, 100, 0);
	nic_arrive(&c, buf, 100);
	nic_arrive(&c, sync, 60);
	assert_true(nic_received(&c, d, &data));
	assert_false(d[2] & IGB_RXD_TS);
	assert_true(nic_received(&c, d, &data));
	assert_true(d[2] & IGB_RXD_TS);
	assert_true(nic_read(&c, IGB_TSYNCRXCTL) & IGB_TSYNC_VALID);
	nic_arrive(&c, sync, 60); /* the register is taken until it is read */
	assert_true(nic_received(&c, d, &data));
	assert_false(d[2] & IGB_RXD_TS);
	nic_read(&c, IGB_RXSTMPH);
	assert_false(nic_read(&c, IGB_TSYNCRXCTL) & IGB_TSYNC_VALID);
	nic_close(&c);
	(void)state;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_registers),
		cmocka_unit_test(test_phy),
		cmocka_unit_test(test_transmit),
		cmocka_unit_test(test_transmit_ahead),
		cmocka_unit_test(test_transmit_offloads),
		cmocka_unit_test(test_transmit_tso),
		cmocka_unit_test(test_loopback),
		cmocka_unit_test(test_msi),
		cmocka_unit_test(test_offer), cmocka_unit_test(test_moderation),
		cmocka_unit_test(test_joined),
		cmocka_unit_test(test_intx),
		cmocka_unit_test(test_msix),
		cmocka_unit_test(test_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
