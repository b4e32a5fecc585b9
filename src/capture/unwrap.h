/* SPDX-License-Identifier: Apache-2.0 */
/* From a captured packet down to the payload of its UDP datagram: Ethernet, VLAN, IP. Pure. */
#ifndef FARBUS_CAPTURE_UNWRAP_H
#define FARBUS_CAPTURE_UNWRAP_H

#include "capture/pcap_file.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fb_datagram {
	char source[56], destination[56]; /* "192.0.2.1:7000", "[2001:db8::1]:7000" */
	uint16_t source_port, destination_port;
	const uint8_t *data;
	size_t len, original_len; /* original_len is more: the capture has cut it */
};

/* True: it holds one. Else *why says what it is, in a static text. */
bool fb_unwrap_udp(const struct fb_packet *packet, struct fb_datagram *out, const char **why);

#ifdef __cplusplus
}
#endif
#endif
