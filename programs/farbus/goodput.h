/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of an Ethernet is left for payload under each framing. Header sizes come
 * from the wire headers of src/; the papers' are constants here. Pure.
 */
#ifndef FARBUS_PROGRAMS_GOODPUT_H
#define FARBUS_PROGRAMS_GOODPUT_H

#include <stdint.h>

struct goodput {
	uint32_t payload;       /* bytes of one TLP */
	uint32_t tlps;          /* in a full datagram: 1 over SoftPCIe */
	uint32_t tlp_bytes;     /* with its header */
	double frame_bytes;     /* on the wire for all of them, preamble, FCS and gap included */
	double tlp_share, data_share; /* of the wire's rate: TLPs; payload */
};

/*
 * SoftPCIe (published: B_pcie = B * T / (T + H + G), H = 14 + 4 + 20 + 8 + 6, G = 20, B_data = B_pcie * D / (D + 12)).
 * `header` is the TLP's, 12 or 16 bytes. False: it does not fit the MTU.
 */
int goodput_softpcie(struct goodput *g, uint32_t payload, uint32_t header, uint32_t mtu);
/* Our link: TLPs back to back in a stream that is cut into full datagrams of the MTU; `ip` is 20 (IPv4) or 40. */
int goodput_link(struct goodput *g, uint32_t payload, uint32_t header, uint32_t mtu, uint32_t ip);

#endif
