/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SoftPCIe / NetTLP on the wire: every datagram of it, bytes <-> struct. Pure
 * functions: no I/O, no clock, no allocation, any thread.
 *
 * IPv4 / UDP / 6-byte header / one TLP. The header is big-endian; the TLP's
 * bytes are in PCIe's order. Source port = destination port, and the port says
 * what the TLP is about (softpcie_port()).
 *
 *	offset  size
 *	0       2     sequence number, one counter a sender, over all its ports
 *	2       4     time stamp, ticks of 156.25 MHz (6.4 ns), free running
 *	6       12+   TLP: header of 3 or 4 DW, then payload
 *
 * Other datagrams have no such header: configuration access, adapter registers,
 * messages to the adapter's driver. They are told apart by their ports.
 */
#ifndef FARBUS_SOFTPCIE_WIRE_H
#define FARBUS_SOFTPCIE_WIRE_H

#include "tlp/tlp.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
	SOFTPCIE_HEADER = 6,
	SOFTPCIE_DATAGRAM_MAX = SOFTPCIE_HEADER + PCIE_TLP_MAX_SIZE,
	SOFTPCIE_DATAGRAM_MIN = SOFTPCIE_HEADER + 12,

	SOFTPCIE_PORT_MESSAGE = 0x2fff, /* the adapter's kernel driver */
	SOFTPCIE_PORT_DEVICE = 0x3000,  /* + tag: requests by software, and their completions */
	SOFTPCIE_PORT_HOST = 0x4000,    /* + tag & 15: requests by the host, and their completions */
	SOFTPCIE_PORT_CONFIG_OLD = 0x4001,
	SOFTPCIE_PORT_CONFIG = 0x5001,
	SOFTPCIE_PORT_REGISTER = 0x5002,

	SOFTPCIE_DEVICE_TAGS = 256,
	SOFTPCIE_HOST_TAGS = 16,
};

/* ---- TLPs --------------------------------------------------------------- */

struct softpcie_header {
	uint16_t sequence;
	uint32_t timestamp;
};

/* The clock of our time stamps: CLOCK_MONOTONIC in ticks of 156.25 MHz, as the published adapter's. Wraps every 27.5 s. */
static inline uint32_t softpcie_ticks(uint64_t monotonic_ns)
{
	return (uint32_t)(monotonic_ns / 32 * 5 + monotonic_ns % 32 * 5 / 32);
}

/*
 * The port of a TLP. `from_host`: the request comes from the adapter's host (or
 * the TLP answers such a one); otherwise it is of the software. `old_rule`: before
 * 2020-03 the host's requests were on 0x3000 + tag as well.
 */
uint16_t softpcie_port(uint16_t tag, bool from_host, bool old_rule);

/* 0, or -EMSGSIZE: no room for a header, and TLPs have at least 12 bytes. *tlp points into data. */
int softpcie_parse(const uint8_t *data, size_t len, struct softpcie_header *header, const uint8_t **tlp, size_t *tlp_len);
void softpcie_put_header(uint8_t *out, const struct softpcie_header *header); /* 6 bytes */

/* Does the TLP belong on that port? False also for types that SoftPCIe does not carry. */
bool softpcie_port_fits(const struct pcie_tlp *tlp, uint16_t port, bool old_rule);
/* MRd, MWr, Cpl, CplD, without prefixes, tags of 8 bits. */
bool softpcie_carries(const struct pcie_tlp *tlp);

/* ---- Configuration access: ports 0x5001 and 0x4001 ---------------------- */

enum { SOFTPCIE_CONFIG_SIZE = 6, SOFTPCIE_CONFIG_PADDED = 18 /* answers of the hardware: zeros follow */ };

struct softpcie_config {
	bool write;
	uint8_t be;    /* byte n of the register; ignored in reads */
	uint16_t reg;  /* byte offset, 0..4092, DW-aligned */
	uint32_t data; /* the register's value */
};

/* 0, -EMSGSIZE: not 6 bytes (nor 18 with zeros behind); -EBADMSG: a command that is neither read nor write. */
int softpcie_config_get(struct softpcie_config *config, const uint8_t *data, size_t len);
void softpcie_config_put(const struct softpcie_config *config, uint8_t out[SOFTPCIE_CONFIG_SIZE]);

/* ---- Adapter registers: port 0x5002 ------------------------------------- */

enum { SOFTPCIE_REGISTER_SIZE = 6, SOFTPCIE_MAGIC = 0x01234567 };

enum softpcie_register_op { SOFTPCIE_REGISTER_READ = 0x10, SOFTPCIE_REGISTER_WRITE = 0x11 };

enum softpcie_register {
	SOFTPCIE_REG_MAGIC = 0,
	SOFTPCIE_REG_DST_MAC_LOW = 1,
	SOFTPCIE_REG_DST_MAC_HIGH = 2,
	SOFTPCIE_REG_SRC_MAC_LOW = 3,
	SOFTPCIE_REG_SRC_MAC_HIGH = 4,
	SOFTPCIE_REG_DST_IP = 5,
	SOFTPCIE_REG_SRC_IP = 6,
	SOFTPCIE_REG_DST_PORT = 7,
	SOFTPCIE_REG_SRC_PORT = 8,
	SOFTPCIE_REG_REQUESTER_ID = 0x10,
};

struct softpcie_register_access {
	uint8_t op;    /* enum softpcie_register_op */
	uint8_t index; /* enum softpcie_register, or one that there is not */
	uint32_t data; /* little-endian on the wire, unlike configuration access */
};

int softpcie_register_get(struct softpcie_register_access *access, const uint8_t *data, size_t len); /* as above */
void softpcie_register_put(const struct softpcie_register_access *access, uint8_t out[SOFTPCIE_REGISTER_SIZE]);

/* ---- Messages: port 0x2fff ----------------------------------------------- */

enum softpcie_message {
	SOFTPCIE_MSG_BAR4 = 1, /* the window's bus address */
	SOFTPCIE_MSG_ID = 2,   /* bus << 8 | device << 3 | function */
	SOFTPCIE_MSG_MSIX = 3, /* 16 entries */
};

enum {
	SOFTPCIE_VECTORS = 16,
	SOFTPCIE_MSG_REQUEST_SIZE = 4,
	SOFTPCIE_MSG_BAR4_SIZE = 8,
	SOFTPCIE_MSG_ID_SIZE = 2,
	SOFTPCIE_MSG_VECTOR_SIZE = 12,
	SOFTPCIE_MSG_MSIX_SIZE = SOFTPCIE_VECTORS * SOFTPCIE_MSG_VECTOR_SIZE,
};

struct softpcie_vector {
	uint64_t address; /* 0: not in use */
	uint32_t data;
};

/* All little-endian: the driver sends its own byte order, and it runs on x86. */
int softpcie_message_get_request(uint32_t *kind, const uint8_t *data, size_t len); /* 0 or -EMSGSIZE */
void softpcie_message_put_request(uint32_t kind, uint8_t out[SOFTPCIE_MSG_REQUEST_SIZE]);
/* Answers carry no kind: their size says it. 0 or -EMSGSIZE. */
int softpcie_message_get_bar4(uint64_t *address, const uint8_t *data, size_t len);
int softpcie_message_get_id(uint16_t *id, const uint8_t *data, size_t len);
int softpcie_message_get_msix(struct softpcie_vector vectors[SOFTPCIE_VECTORS], const uint8_t *data, size_t len);
void softpcie_message_put_bar4(uint64_t address, uint8_t out[SOFTPCIE_MSG_BAR4_SIZE]);
void softpcie_message_put_id(uint16_t id, uint8_t out[SOFTPCIE_MSG_ID_SIZE]);
void softpcie_message_put_msix(const struct softpcie_vector vectors[SOFTPCIE_VECTORS],
			       uint8_t out[SOFTPCIE_MSG_MSIX_SIZE]);

#ifdef __cplusplus
}
#endif
#endif
