/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "softpcie/softpcie_wire.h"
#include "util/reader.h"

uint16_t softpcie_port(uint16_t tag, bool from_host, bool old_rule)
{
	if (from_host && !old_rule)
		return (uint16_t)(SOFTPCIE_PORT_HOST + (tag & (SOFTPCIE_HOST_TAGS - 1)));
	return (uint16_t)(SOFTPCIE_PORT_DEVICE + (tag & (SOFTPCIE_DEVICE_TAGS - 1)));
}

int softpcie_parse(const uint8_t *data, size_t len, struct softpcie_header *header, const uint8_t **tlp, size_t *tlp_len)
{
	struct fb_reader r = fb_reader(data, len);

	header->sequence = fb_rd_be16(&r);
	header->timestamp = fb_rd_be32(&r);
	*tlp = r.p;
	*tlp_len = r.left;
	return fb_rd_ok(&r) && len >= SOFTPCIE_DATAGRAM_MIN ? 0 : -EMSGSIZE;
}

void softpcie_put_header(uint8_t *out, const struct softpcie_header *header)
{
	fb_put_be16(out, header->sequence);
	fb_put_be32(out + 2, header->timestamp);
}

bool softpcie_carries(const struct pcie_tlp *tlp)
{
	switch (tlp->type) {
	case PCIE_TLP_MRD:
	case PCIE_TLP_MWR:
	case PCIE_TLP_CPL:
	case PCIE_TLP_CPLD:
		return tlp->n_prefixes == 0 && tlp->tag < SOFTPCIE_DEVICE_TAGS;
	default:
		return false;
	}
}

bool softpcie_port_fits(const struct pcie_tlp *tlp, uint16_t port, bool old_rule)
{
	return softpcie_carries(tlp) &&
	       (port == softpcie_port(tlp->tag, false, old_rule) || port == softpcie_port(tlp->tag, true, old_rule));
}

/* ---- Configuration access ------------------------------------------------ */

/*
 *	byte 0   command (0 read, 1 write) 7:6, byte mask 5:2, DW address 9:8 in 1:0
 *	byte 1   DW address 7:0
 *	2..5     data, big-endian
 */
int softpcie_config_get(struct softpcie_config *config, const uint8_t *data, size_t len)
{
	struct fb_reader r = fb_reader(data, len);
	uint16_t head = fb_rd_be16(&r);

	config->write = (head >> 14) == 1;
	config->be = head >> 10 & 15;
	config->reg = (uint16_t)((head & 0x3ff) * 4);
	config->data = fb_rd_be32(&r);
	if (!fb_rd_ok(&r) || (len != SOFTPCIE_CONFIG_SIZE && len != SOFTPCIE_CONFIG_PADDED))
		return -EMSGSIZE;
	for (; r.left; fb_rd_u8(&r)) {
		if (*r.p)
			return -EMSGSIZE;
	}
	return head >> 14 <= 1 ? 0 : -EBADMSG;
}

void softpcie_config_put(const struct softpcie_config *config, uint8_t out[SOFTPCIE_CONFIG_SIZE])
{
	fb_put_be16(out, (uint16_t)((config->write ? 1 : 0) << 14 | (config->be & 15) << 10 | (config->reg / 4 & 0x3ff)));
	fb_put_be32(out + 2, config->data);
}

/* ---- Adapter registers --------------------------------------------------- */

int softpcie_register_get(struct softpcie_register_access *access, const uint8_t *data, size_t len)
{
	struct fb_reader r = fb_reader(data, len);

	access->op = fb_rd_u8(&r);
	access->index = fb_rd_u8(&r);
	access->data = fb_rd_le32(&r);
	if (!fb_rd_ok(&r) || (len != SOFTPCIE_REGISTER_SIZE && len != SOFTPCIE_CONFIG_PADDED))
		return -EMSGSIZE;
	return access->op == SOFTPCIE_REGISTER_READ || access->op == SOFTPCIE_REGISTER_WRITE ? 0 : -EBADMSG;
}

void softpcie_register_put(const struct softpcie_register_access *access, uint8_t out[SOFTPCIE_REGISTER_SIZE])
{
	out[0] = access->op;
	out[1] = access->index;
	fb_put_le32(out + 2, access->data);
}

/* ---- Messages ------------------------------------------------------------ */

int softpcie_message_get_request(uint32_t *kind, const uint8_t *data, size_t len)
{
	struct fb_reader r = fb_reader(data, len);

	*kind = fb_rd_le32(&r);
	return fb_rd_ok(&r) && !r.left ? 0 : -EMSGSIZE;
}

void softpcie_message_put_request(uint32_t kind, uint8_t out[SOFTPCIE_MSG_REQUEST_SIZE])
{
	fb_put_le32(out, kind);
}

int softpcie_message_get_bar4(uint64_t *address, const uint8_t *data, size_t len)
{
	struct fb_reader r = fb_reader(data, len);

	*address = fb_rd_le64(&r);
	return fb_rd_ok(&r) && !r.left ? 0 : -EMSGSIZE;
}

int softpcie_message_get_id(uint16_t *id, const uint8_t *data, size_t len)
{
	struct fb_reader r = fb_reader(data, len);

	*id = fb_rd_le16(&r);
	return fb_rd_ok(&r) && !r.left ? 0 : -EMSGSIZE;
}

int softpcie_message_get_msix(struct softpcie_vector vectors[SOFTPCIE_VECTORS], const uint8_t *data, size_t len)
{
	struct fb_reader r = fb_reader(data, len);

	for (unsigned i = 0; i < SOFTPCIE_VECTORS; i++) {
		vectors[i].address = fb_rd_le64(&r);
		vectors[i].data = fb_rd_le32(&r);
	}
	return fb_rd_ok(&r) && !r.left ? 0 : -EMSGSIZE;
}

void softpcie_message_put_bar4(uint64_t address, uint8_t out[SOFTPCIE_MSG_BAR4_SIZE])
{
	fb_put_le64(out, address);
}

void softpcie_message_put_id(uint16_t id, uint8_t out[SOFTPCIE_MSG_ID_SIZE])
{
	fb_put_le16(out, id);
}

void softpcie_message_put_msix(const struct softpcie_vector vectors[SOFTPCIE_VECTORS],
			       uint8_t out[SOFTPCIE_MSG_MSIX_SIZE])
{
	for (unsigned i = 0; i < SOFTPCIE_VECTORS; i++) {
		fb_put_le64(out + i * SOFTPCIE_MSG_VECTOR_SIZE, vectors[i].address);
		fb_put_le32(out + i * SOFTPCIE_MSG_VECTOR_SIZE + 8, vectors[i].data);
	}
}
