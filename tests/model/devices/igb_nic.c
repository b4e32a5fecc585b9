/* SPDX-License-Identifier: Apache-2.0 */
#include "igb_nic.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

const uint8_t nic_mac[6] = {0x02, 0xfb, 0, 0, 0, 1}, nic_peer[6] = {0x02, 0xfb, 0, 0, 0, 2};

void nic_open(struct nic *c, const char *options)
{
	char text[200];
	int pair[2];

	memset(c, 0, sizeof(*c));
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	c->vnet = strstr(options, "vnet=on");
	c->wire = pair[1];
	snprintf(text, sizeof(text), "id=t,mac=02:fb:00:00:00:01,fd=%d%s", pair[0], options);
	c->r = scripted_root_new(&igb_model, text, NIC_MEM);
	c->n = fb_device_state(c->r->dev);
	close(pair[0]); /* the model has its own */
	scripted_root_enumerate(c->r, NULL);
	c->rx_ring = c->r->mem_base + 0x1000;
	c->tx_ring = c->r->mem_base + 0x2000;
	c->rx_buffers = c->r->mem_base + 0x100000;
	c->tx_buffers = c->r->mem_base + 0x200000;
}

void nic_close(struct nic *c)
{
	scripted_root_run(c->r);
	assert_int_equal(c->n->dma, 0);
	scripted_root_free(c->r);
	close(c->wire);
}

void nic_rx_setup(struct nic *c, unsigned queue, uint32_t srrctl, uint32_t ring)
{
	uint32_t at = 0xc000 + queue * 0x40;
	uint64_t base = c->rx_ring + queue * 0x4000;

	nic_write(c, at + IGB_Q_CTL, 0);
	nic_write(c, at + IGB_Q_BAL, (uint32_t)base);
	nic_write(c, at + IGB_Q_BAH, (uint32_t)(base >> 32));
	nic_write(c, at + IGB_Q_LEN, ring * IGB_DESC);
	nic_write(c, at + IGB_Q_SRRCTL, srrctl);
	nic_write(c, at + IGB_Q_HEAD, 0);
	nic_write(c, at + IGB_Q_TAIL, 0);
	nic_write(c, at + IGB_Q_CTL, IGB_QCTL_ENABLE);
	if (queue == 0)
		c->rx_next = c->rx_tail = 0;
}

void nic_give(struct nic *c, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		uint8_t *d = scripted_root_mem(c->r, c->rx_ring + c->rx_tail * IGB_DESC, IGB_DESC);
		uint64_t addr = c->rx_buffers + c->rx_tail * NIC_BUFFER;

		memset(d, 0, IGB_DESC);
		igb_put_le32(d, (uint32_t)addr);
		igb_put_le32(d + 4, (uint32_t)(addr >> 32));
		igb_put_le32(d + 8, (uint32_t)(addr + 0x40000)); /* header buffer, when split */
		igb_put_le32(d + 12, (uint32_t)((addr + 0x40000) >> 32) & ~1u);
		c->rx_tail = (c->rx_tail + 1) % NIC_RING;
	}
	nic_write(c, 0x2800 + IGB_Q_TAIL, c->rx_tail);
	scripted_root_run(c->r);
}

void nic_start(struct nic *c)
{
	assert_int_equal(scripted_root_enable_msi(c->r, 1), 1);
	nic_rx_setup(c, 0, IGB_SRRCTL_ONEBUF | NIC_BUFFER >> 10, NIC_RING);
	nic_write(c, 0x3800 + IGB_Q_CTL, 0);
	nic_write(c, 0x3800 + IGB_Q_BAL, (uint32_t)c->tx_ring);
	nic_write(c, 0x3800 + IGB_Q_BAH, (uint32_t)(c->tx_ring >> 32));
	nic_write(c, 0x3800 + IGB_Q_LEN, NIC_RING * IGB_DESC);
	nic_write(c, 0x3800 + IGB_Q_HEAD, 0);
	nic_write(c, 0x3800 + IGB_Q_TAIL, 0);
	nic_write(c, 0x3800 + IGB_Q_CTL, IGB_QCTL_ENABLE);
	c->tx_next = 0;
	nic_write(c, IGB_RXCSUM, IGB_RXCSUM_IPOFLD | IGB_RXCSUM_TUOFLD | IGB_RXCSUM_CRCOFL | IGB_RXCSUM_PCSD);
	nic_write(c, IGB_RCTL, IGB_RCTL_RXEN | IGB_RCTL_BAM | IGB_RCTL_SECRC);
	nic_write(c, IGB_TCTL, IGB_TCTL_EN | IGB_TCTL_PSP);
	nic_give(c, NIC_RING - 1);
}

void nic_desc(struct nic *c, uint64_t addr, uint32_t cmd, uint32_t olinfo)
{
	uint8_t *d = scripted_root_mem(c->r, c->tx_ring + c->tx_next * IGB_DESC, IGB_DESC);

	igb_put_le32(d, (uint32_t)addr);
	igb_put_le32(d + 4, (uint32_t)(addr >> 32));
	igb_put_le32(d + 8, cmd);
	igb_put_le32(d + 12, olinfo);
	c->tx_next = (c->tx_next + 1) % NIC_RING;
}

void nic_context(struct nic *c, uint32_t lens, uint32_t tucmd, uint32_t mss_l4len)
{
	nic_desc(c, lens, tucmd | IGB_TXD_DEXT | IGB_TXD_DTYP_CONTEXT, mss_l4len);
}

void nic_kick(struct nic *c)
{
	nic_write(c, 0x3800 + IGB_Q_TAIL, c->tx_next);
	scripted_root_run(c->r);
}

void nic_send(struct nic *c, const void *frame, uint32_t len, uint32_t cmd, uint32_t olinfo)
{
	uint64_t at = c->tx_buffers + (uint64_t)c->tx_next * 0x10000;

	memcpy(scripted_root_mem(c->r, at, len), frame, len);
	nic_desc(c, at, len | IGB_TXD_DEXT | IGB_TXD_DTYP_DATA | IGB_TXD_EOP | IGB_TXD_RS | cmd, olinfo);
	nic_kick(c);
}

int nic_wire(struct nic *c, uint8_t *buf, size_t room)
{
	struct iovec iov[2] = {{c->header, sizeof(c->header)}, {buf, room}};
	ssize_t got = readv(c->wire, c->vnet ? iov : iov + 1, c->vnet ? 2 : 1);

	if (got < 0) {
		assert_int_equal(errno, EAGAIN);
		return -1;
	}
	return (int)got - (c->vnet ? 10 : 0);
}

void nic_arrive_as(struct nic *c, const uint8_t header[10], const void *frame, size_t len)
{
	struct iovec iov[2] = {{(void *)(uintptr_t)header, 10}, {(void *)(uintptr_t)frame, len}};

	assert_true(writev(c->wire, c->vnet ? iov : iov + 1, c->vnet ? 2 : 1) >= 0);
	scripted_root_run(c->r);
}

void nic_arrive(struct nic *c, const void *frame, size_t len)
{
	static const uint8_t none[10];

	nic_arrive_as(c, none, frame, len);
}

bool nic_received(struct nic *c, uint32_t desc[4], const uint8_t **data)
{
	const uint8_t *d = scripted_root_mem(c->r, c->rx_ring + c->rx_next * IGB_DESC, IGB_DESC);

	if (c->rx_next == nic_read(c, 0x2800 + IGB_Q_HEAD))
		return false;
	for (unsigned i = 0; i < 4; i++)
		desc[i] = igb_le32(d + i * 4);
	*data = scripted_root_mem(c->r, c->rx_buffers + c->rx_next * NIC_BUFFER, NIC_BUFFER);
	c->rx_next = (c->rx_next + 1) % NIC_RING;
	return true;
}

/* ---- Frames ------------------------------------------------------------------------------- */

/* Ethernet, IPv4, UDP with a right checksum; `len` in all. The payload depends on `seed`. */
void nic_udp_frame(uint8_t *f, const uint8_t *to, uint32_t len, unsigned seed)
{
	struct igb_offload o = {.csum = true, .csum_start = 34, .csum_offset = 6};
	struct igb_headers h;

	memset(f, 0, 42);
	memcpy(f, to, 6);
	memcpy(f + 6, nic_peer, 6);
	igb_put_be16(f + 12, 0x0800);
	f[14] = 0x45;
	igb_put_be16(f + 16, (uint16_t)(len - 14));
	f[22] = 64;
	f[23] = 17;
	igb_put_be32(f + 26, 0x0a000001);
	igb_put_be32(f + 30, 0x0a000002);
	igb_insert_ipv4(f + 14);
	igb_put_be16(f + 34, 1000);
	igb_put_be16(f + 36, 2000);
	igb_put_be16(f + 38, (uint16_t)(len - 34));
	for (uint32_t i = 42; i < len; i++)
		f[i] = (uint8_t)(i * 13 + seed);
	igb_headers(&h, f, len);
	igb_put_be16(f + 40, igb_sum_fold(igb_sum_pseudo(f, &h, 17, len - 34)));
	assert_true(igb_finish_checksum(f, len, &o));
}

void nic_tcp_frame(uint8_t *f, uint32_t len)
{
	nic_udp_frame(f, nic_mac, len, 1);
	f[23] = 6;
	igb_insert_ipv4(f + 14);
	memset(f + 34, 0, 20);
	igb_put_be16(f + 34, 1000);
	igb_put_be16(f + 36, 2000);
	igb_put_be32(f + 38, 77);
	f[46] = 0x50;
	f[47] = 0x19;
}

uint16_t nic_phy_read(struct nic *c, unsigned reg)
{
	nic_write(c, IGB_MDIC, IGB_MDIC_OP_READ | IGB_PHY_ADDRESS << 21 | reg << 16);
	assert_int_equal(nic_read(c, IGB_MDIC) & (IGB_MDIC_READY | IGB_MDIC_ERROR), IGB_MDIC_READY);
	return (uint16_t)nic_read(c, IGB_MDIC);
}

void nic_phy_write(struct nic *c, unsigned reg, uint16_t value)
{
	nic_write(c, IGB_MDIC, IGB_MDIC_OP_WRITE | IGB_PHY_ADDRESS << 21 | reg << 16 | value);
}

uint32_t nic_tx_status(struct nic *c, uint32_t index)
{
	return igb_le32(scripted_root_mem(c->r, c->tx_ring + index * IGB_DESC + 12, 4));
}

struct wanted {
	struct nic *c;
	unsigned vector, count;
};

static bool so_many(void *arg)
{
	const struct wanted *w = arg;

	return scripted_root_irqs(w->c->r, w->vector) >= w->count;
}

bool nic_irqs(struct nic *c, unsigned vector, unsigned count)
{
	struct wanted w = {c, vector, count};

	return scripted_root_until(c->r, so_many, &w, 5000) && scripted_root_irqs(c->r, vector) == count;
}
