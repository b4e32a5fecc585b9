/* SPDX-License-Identifier: Apache-2.0 */
/* What no driver should do to the 82576 model, resets at every moment, options that are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "igb_nic.h"

enum { RXD = 0x2800, TXD = 0x3800 }; /* queue 0 */

static uint8_t buf[70000];

/* ---- What no driver should do ------------------------------------------------------------------------- */

static void test_bad_transmit(void **state)
{
	static const struct {
		uint32_t len, cmd, olinfo, lens, tucmd, mss;
	} t[] = {
		{0, 0, 0, 0, 0, 0},                                                          /* no bytes */
		{5, 0, 0, 0, 0, 0},                                                          /* no Ethernet header */
		{40000, 0, 0, 0, 0, 0},                                                      /* longer than a frame */
		{100, 0, IGB_TXD_TXSM, 127u << 9 | 511, 0, 0},                               /* headers outside */
		{100, 0, IGB_TXD_IXSM, 90u << 9, IGB_TXC_IPV4, 0},
		{1000, IGB_TXD_TSE, 0, 14u << 9 | 20, IGB_TXC_IPV4 | IGB_TXC_L4T_TCP, 20u << 8},      /* MSS 0 */
		{1000, IGB_TXD_TSE, 0, 0, IGB_TXC_L4T_TCP, 1u << 16},
		{1000, IGB_TXD_TSE, 0, 14u << 9 | 20, IGB_TXC_IPV4 | IGB_TXC_L4T_SCTP, 100u << 16 | 20u << 8},
		{60000, IGB_TXD_TSE, 0, 14u << 9 | 20, IGB_TXC_IPV4 | IGB_TXC_L4T_TCP, 65535u << 16 | 20u << 8}, /* MSS 64K */
		{100, IGB_TXD_DTYP ^ IGB_TXD_DTYP_DATA, 0, 0, 0, 0},                         /* unknown type */
	};
	struct nic c;

	nic_open(&c, "");
	nic_start(&c);
	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		uint64_t errors = c.n->tx_errors;

		nic_tcp_frame(buf, 1000);
		nic_context(&c, t[i].lens, t[i].tucmd, t[i].mss);
		nic_send(&c, buf, t[i].len, t[i].cmd, t[i].olinfo);
		assert_int_equal(c.n->tx_errors, errors + 1);
		assert_int_equal(nic_wire(&c, buf, sizeof(buf)), -1);
		assert_true(nic_tx_status(&c, (c.tx_next + NIC_RING - 1) % NIC_RING) & IGB_TXD_DD);
	}
	/* A chain of descriptors with no end, longer than a packet may be; then it ends. */
	for (unsigned i = 0; i < 300; i++) {
		nic_desc(&c, c.tx_buffers, 1 | IGB_TXD_DEXT | IGB_TXD_DTYP_DATA, 0);
		nic_kick(&c);
	}
	nic_send(&c, buf, 100, 0, 0);
	assert_int_equal(nic_wire(&c, buf, sizeof(buf)), -1);
	/* Bytes where there is no memory. */
	nic_desc(&c, 0x10, 100 | IGB_TXD_DEXT | IGB_TXD_DTYP_DATA | IGB_TXD_EOP | IGB_TXD_RS, 0);
	nic_desc(&c, UINT64_MAX - 10, 100 | IGB_TXD_DEXT | IGB_TXD_DTYP_DATA | IGB_TXD_EOP | IGB_TXD_RS, 0);
	nic_kick(&c);
	assert_true(c.n->dma_errors >= 2);
	/* And it still works. */
	nic_udp_frame(buf, nic_peer, 200, 0);
	nic_send(&c, buf, 200, 0, 0);
	assert_int_equal(nic_wire(&c, buf, sizeof(buf)), 200);
	nic_close(&c);
	(void)state;
}

static void test_bad_rings(void **state)
{
	static const struct {
		uint32_t base, len, head, tail;
	} t[] = {
		{0, 0, 0, 0},       {0, 0, 0, 5},           {0, 0, 7, 5},          {0, 16, 0, 0xffff}, {0, 128, 0xffff, 3},
		{0, 128, 8, 8},     {0xffffff80, 0xffff0, 0, 0xffff}, {0x80, 128, 0, 4}, {0, 16, 0, 1},  {0x1000, 48, 2, 1},
	};
	struct nic c;

	nic_open(&c, "");
	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		nic_start(&c);
		for (unsigned k = 0; k < 2; k++) {
			uint32_t at = k ? TXD : RXD;

			nic_write(&c, at + IGB_Q_CTL, 0);
			nic_write(&c, at + IGB_Q_BAL, t[i].base);
			nic_write(&c, at + IGB_Q_BAH, 0);
			nic_write(&c, at + IGB_Q_LEN, t[i].len);
			nic_write(&c, at + IGB_Q_HEAD, t[i].head);
			nic_write(&c, at + IGB_Q_CTL, IGB_QCTL_ENABLE);
			nic_write(&c, at + IGB_Q_TAIL, t[i].tail);
			scripted_root_run(c.r);
		}
		nic_udp_frame(buf, nic_mac, 200, 0);
		nic_arrive(&c, buf, 200);
		/* The ring changes under way. */
		nic_write(&c, RXD + IGB_Q_LEN, 32);
		nic_write(&c, TXD + IGB_Q_LEN, 0);
		nic_write(&c, RXD + IGB_Q_TAIL, 1);
		nic_write(&c, TXD + IGB_Q_TAIL, 1);
		scripted_root_run(c.r);
		nic_write(&c, IGB_CTRL, IGB_CTRL_RST);
		scripted_root_run(c.r);
		assert_int_equal(c.n->rx_arena.used + c.n->tx_arena.used, 0);
	}
	nic_start(&c);
	nic_udp_frame(buf, nic_peer, 200, 0);
	nic_send(&c, buf, 200, 0, 0);
	assert_int_equal(nic_wire(&c, buf, sizeof(buf)), 200);
	nic_close(&c);
	(void)state;
}

/* Resets of every kind with reads under way: nothing of the earlier life comes out, or back. */
static void test_resets(void **state)
{
	struct nic c;

	nic_open(&c, "");
	for (unsigned i = 0; i < 24; i++) {
		nic_start(&c);
		nic_udp_frame(buf, nic_peer, 500, i);
		c.r->answer = ANSWER_NEVER;
		nic_send(&c, buf, 500, 0, 0);           /* its descriptor is being read */
		if (i & 1) {
			c.r->answer = ANSWER_IN_ORDER;
			scripted_root_answer_now(c.r, ANSWER_IN_ORDER);
			c.r->answer = ANSWER_NEVER;
			scripted_root_run(c.r);             /* its bytes are */
		}
		switch (i / 2 % 4) {
		case 0:
			nic_write(&c, IGB_CTRL, IGB_CTRL_RST);
			break;
		case 1:
			nic_write(&c, TXD + IGB_Q_CTL, 0);
			nic_write(&c, RXD + IGB_Q_CTL, 0);
			break;
		case 2: /* FLR */
			scripted_root_cfg_write(c.r, c.r->cap_exp + 8u, 0x8000 | 0x2810, 2);
			break;
		case 3:
			scripted_root_detach(c.r);
			scripted_root_attach(c.r);
			break;
		}
		c.r->answer = ANSWER_IN_ORDER;
		scripted_root_answer_now(c.r, ANSWER_IN_ORDER);
		scripted_root_run(c.r);
		if (i / 2 % 4 >= 2)
			scripted_root_enumerate(c.r, NULL);
		scripted_root_run(c.r);
		assert_int_equal(c.n->tx_arena.used, 0);
		assert_int_equal(c.n->dma, 0);
		if (!(i & 1))
			assert_int_equal(nic_wire(&c, buf, sizeof(buf)), -1);
		while (nic_wire(&c, buf, sizeof(buf)) >= 0)
			;
	}
	nic_close(&c);
	(void)state;
}

static void test_options(void **state)
{
	static const char *const t[] = {
		"id=t",
		"id=t,tap=a,iface=b",
		"id=t,fd=x",
		"id=t,fd=9999",
		"id=t,iface=nosuchiface0",
		"id=t,tap=a-name-that-is-too-long",
		"id=t,fd=0,mac=52:54:00:12:34",
		"id=t,fd=0,mac=01:00:00:00:00:01",
		"id=t,fd=0,mac=00:00:00:00:00:00",
		"id=t,fd=0,mac=52:54:00:12:34:5g",
	};

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct fb_loop *loop;
		struct fb_device *dev = NULL;

		assert_int_equal(fb_loop_new(&loop, 0), 0);
		assert_true(fb_device_new_model(&dev, loop, &igb_model, t[i]) < 0);
		fb_loop_free(loop);
	}
	(void)state;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_transmit),
		cmocka_unit_test(test_bad_rings),
		cmocka_unit_test(test_resets),
		cmocka_unit_test(test_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
