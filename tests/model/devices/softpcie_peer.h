/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Software beside a SoftPCIe adapter, for tests in one process: plain sockets on
 * the loopback interface, one a port, at addresses that are of this process only.
 * Failures are cmocka assertions.
 */
#ifndef FARBUS_TESTS_SOFTPCIE_PEER_H
#define FARBUS_TESTS_SOFTPCIE_PEER_H

#include <sys/types.h>

#include "softpcie/softpcie_wire.h"

enum { SOFTPCIE_PEER_SOCKETS = 64, SOFTPCIE_PEER_NUMBERS = 3 };

struct softpcie_peer {
	char adapter[16], name[16]; /* addresses; the first is what the adapter is to listen on */
	uint32_t addr, adapter_addr;
	uint16_t sequence; /* of the datagram sent last; they begin with 1 */
	unsigned n;
	struct {
		int fd;
		uint16_t port;
	} sockets[SOFTPCIE_PEER_SOCKETS];
};

/* The `number`th one (0..2) of the one adapter that a process has. All ports where the guest's requests come are open. */
void softpcie_peer_open(struct softpcie_peer *p, unsigned number);
void softpcie_peer_close(struct softpcie_peer *p);
int softpcie_peer_socket(struct softpcie_peer *p, uint16_t port); /* opened if need be */

void softpcie_peer_bytes(struct softpcie_peer *p, uint16_t from, uint16_t to, const void *data, size_t len);
/* From the port to the same port, with header, the next number in it, and no time stamp. Returns its size. */
size_t softpcie_peer_tlp(struct softpcie_peer *p, uint16_t port, const struct pcie_tlp *tlp);
/* What lies at the port: its size, or -1: nothing does. Does not wait. */
ssize_t softpcie_peer_get(struct softpcie_peer *p, uint16_t port, void *buf, size_t cap);

#endif
