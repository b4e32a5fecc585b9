/* SPDX-License-Identifier: Apache-2.0 */
/* What the adapter and its kernel driver tell peers: message API, configuration access, adapter registers. */
#include <arpa/inet.h>
#include <errno.h>

#include "devices/softpcie.h"

static void message(struct softpcie *s, unsigned peer, uint16_t port, uint16_t from, const uint8_t *data, size_t len)
{
	struct softpcie_vector vectors[SOFTPCIE_VECTORS];
	uint8_t out[SOFTPCIE_MSG_MSIX_SIZE];
	uint64_t addr = 0;
	uint32_t kind;
	size_t n;

	if (softpcie_message_get_request(&kind, data, len)) {
		fb_softpcie_bad_packet(s->sockets, peer, port, "a message request has 4 bytes");
		return;
	}
	switch (kind) {
	case SOFTPCIE_MSG_BAR4:
		if (!fb_device_bar_address(s->dev, s->window_bar, &addr))
			addr = 0;
		softpcie_message_put_bar4(addr, out);
		n = SOFTPCIE_MSG_BAR4_SIZE;
		break;
	case SOFTPCIE_MSG_ID:
		softpcie_message_put_id(fb_device_bdf(s->dev), out);
		n = SOFTPCIE_MSG_ID_SIZE;
		break;
	case SOFTPCIE_MSG_MSIX:
		for (unsigned v = 0; v < SOFTPCIE_VECTORS; v++) {
			if (!fb_irq_target(s->dev, v, &vectors[v].address, &vectors[v].data))
				vectors[v] = (struct softpcie_vector){0, 0};
		}
		softpcie_message_put_msix(vectors, out);
		n = SOFTPCIE_MSG_MSIX_SIZE;
		break;
	default:
		fb_softpcie_bad_packet(s->sockets, peer, port, "a message request of unknown kind");
		return;
	}
	s->count.messages++;
	fb_softpcie_send_packet(s->sockets, peer, port, from, out, n);
}

static void config(struct softpcie *s, unsigned peer, uint16_t port, uint16_t from, const uint8_t *data, size_t len)
{
	uint8_t out[SOFTPCIE_CONFIG_SIZE];
	struct softpcie_config c;

	if (softpcie_config_get(&c, data, len)) {
		fb_softpcie_bad_packet(s->sockets, peer, port, "not a configuration access");
		return;
	}
	if (c.write) {
		if (s->opt.config_writes && fb_device_config_write(s->dev, c.reg, c.data, c.be) == 0)
			s->count.config_writes++;
		else
			s->count.config_writes_refused++;
		return;
	}
	s->count.config_reads++;
	c.data = fb_device_config_read(s->dev, c.reg);
	softpcie_config_put(&c, out);
	fb_softpcie_send_packet(s->sockets, peer, port, from, out, sizeof(out));
}

/* There is no Ethernet of our own to have a MAC address. Registers that there are not read as 0. */
uint32_t softpcie_register(struct softpcie *s, unsigned index)
{
	switch (index) {
	case SOFTPCIE_REG_MAGIC:
		return SOFTPCIE_MAGIC;
	case SOFTPCIE_REG_DST_IP:
		return ntohl(s->peers[SOFTPCIE_DEVICE]);
	case SOFTPCIE_REG_SRC_IP:
		return ntohl(s->local);
	case SOFTPCIE_REG_DST_PORT:
	case SOFTPCIE_REG_SRC_PORT:
		return SOFTPCIE_PORT_DEVICE;
	case SOFTPCIE_REG_REQUESTER_ID:
		return fb_device_bdf(s->dev);
	default:
		return 0;
	}
}

static void registers(struct softpcie *s, unsigned peer, uint16_t port, uint16_t from, const uint8_t *data, size_t len)
{
	struct softpcie_register_access a;
	uint8_t out[SOFTPCIE_REGISTER_SIZE];

	if (softpcie_register_get(&a, data, len) || a.op != SOFTPCIE_REGISTER_READ) {
		fb_softpcie_bad_packet(s->sockets, peer, port, "not a read of a register; they are read-only");
		return;
	}
	s->count.register_reads++;
	a.data = softpcie_register(s, a.index);
	softpcie_register_put(&a, out);
	fb_softpcie_send_packet(s->sockets, peer, port, from, out, sizeof(out));
}

void softpcie_service(struct softpcie *s, unsigned peer, uint16_t port, uint16_t from, const uint8_t *data, size_t len)
{
	switch (port) {
	case SOFTPCIE_PORT_MESSAGE:
		message(s, peer, port, from, data, len);
		break;
	case SOFTPCIE_PORT_REGISTER:
		registers(s, peer, port, from, data, len);
		break;
	default:
		config(s, peer, port, from, data, len);
		break;
	}
}
