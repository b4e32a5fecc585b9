/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A driver for the 82576 on the scripted root, and the other end of its cable: one queue pair of 32 descriptors at
 * fixed places, buffers of 2 KiB.
 *
 *	struct nic c;
 *	nic_open(&c, "");                       // options; enumerated, nothing set up
 *	nic_start(&c);                          // rings, MAC address, receiver and transmitter on, MSI
 *	nic_send(&c, frame, len);               // from the guest; nic_wire() is what the network sees
 *	nic_arrive(&c, frame, len);             // from the network; nic_received() is what the guest gets
 */
#ifndef FARBUS_TESTS_IGB_NIC_H
#define FARBUS_TESTS_IGB_NIC_H

#include "devices/igb.h"
#include "scripted_root.h"

enum { NIC_RING = 32, NIC_BUFFER = 2048, NIC_MEM = 4 << 20 };

extern const uint8_t nic_mac[6], nic_peer[6];

struct nic {
	struct scripted_root *r;
	struct igb *n;
	int wire;
	bool vnet;
	uint64_t rx_ring, tx_ring, rx_buffers, tx_buffers;
	uint32_t rx_next, tx_next, rx_tail;
	uint8_t header[10]; /* of the last nic_wire() with vnet=on */
};

void nic_open(struct nic *c, const char *options);
void nic_close(struct nic *c);
void nic_start(struct nic *c);
/* With other values than nic_start()'s. */
void nic_rx_setup(struct nic *c, unsigned queue, uint32_t srrctl, uint32_t ring);
void nic_give(struct nic *c, unsigned count); /* receive descriptors of queue 0 */

static inline uint32_t nic_read(struct nic *c, uint32_t offset)
{
	return (uint32_t)scripted_root_read(c->r, 0, offset, 4);
}
static inline void nic_write(struct nic *c, uint32_t offset, uint32_t value)
{
	scripted_root_write(c->r, 0, offset, value, 4);
}

/* Raw transmit descriptors into the ring; the tail moves with nic_kick(). */
void nic_desc(struct nic *c, uint64_t addr, uint32_t cmd, uint32_t olinfo);
void nic_context(struct nic *c, uint32_t lens, uint32_t tucmd, uint32_t mss_l4len);
void nic_kick(struct nic *c);
/* A frame as one advanced descriptor with `cmd` and `olinfo` on top of the usual bits. */
void nic_send(struct nic *c, const void *frame, uint32_t len, uint32_t cmd, uint32_t olinfo);
/* What went out: length, or -1 when there is nothing. */
int nic_wire(struct nic *c, uint8_t *buf, size_t room);

void nic_arrive(struct nic *c, const void *frame, size_t len);
/* With a virtio_net_hdr. */
void nic_arrive_as(struct nic *c, const uint8_t header[10], const void *frame, size_t len);
/* The next written-back descriptor of queue 0: true if there is one. Legacy or advanced, dwords as in memory. */
bool nic_received(struct nic *c, uint32_t desc[4], const uint8_t **data);

/* What the descriptor at `index` says now (dword 3). */
uint32_t nic_tx_status(struct nic *c, uint32_t index);

/* Runs until there have been `count` interrupts of the vector; false: not in time, or more. */
bool nic_irqs(struct nic *c, unsigned vector, unsigned count);

uint16_t nic_phy_read(struct nic *c, unsigned reg);
void nic_phy_write(struct nic *c, unsigned reg, uint16_t value);

/* Ethernet, IPv4, UDP with a right checksum; `len` in all. The payload depends on `seed`. */
void nic_udp_frame(uint8_t *f, const uint8_t *to, uint32_t len, unsigned seed);
/* TCP, to the guest, with sequence number 77, and no checksum yet. */
void nic_tcp_frame(uint8_t *f, uint32_t len);

#endif
