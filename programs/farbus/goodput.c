/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "goodput.h"
#include "link/link_wire.h"
#include "softpcie/softpcie_wire.h"

enum {
	ETHERNET = 14,
	FCS = 4,
	GAP = 20,       /* preamble, start of frame, gap between frames */
	FRAME_MIN = 64, /* shorter ones are padded */
	IPV4 = 20,
	UDP = 8,
};

static double frame(double ip_bytes)
{
	double bytes = ETHERNET + ip_bytes + FCS;

	return (bytes < FRAME_MIN ? FRAME_MIN : bytes) + GAP;
}

static void shares(struct goodput *g)
{
	g->tlp_share = (double)g->tlps * g->tlp_bytes / g->frame_bytes;
	g->data_share = (double)g->tlps * g->payload / g->frame_bytes;
}

int goodput_softpcie(struct goodput *g, uint32_t payload, uint32_t header, uint32_t mtu)
{
	uint32_t tlp = header + (payload + 3) / 4 * 4;

	if (IPV4 + UDP + SOFTPCIE_HEADER + tlp > mtu)
		return -EMSGSIZE;
	*g = (struct goodput){.payload = payload, .tlps = 1, .tlp_bytes = tlp};
	g->frame_bytes = frame(IPV4 + UDP + SOFTPCIE_HEADER + tlp);
	shares(g);
	return 0;
}

int goodput_link(struct goodput *g, uint32_t payload, uint32_t header, uint32_t mtu, uint32_t ip)
{
	uint32_t tlp = header + (payload + 3) / 4 * 4, record = fb_wire_record(tlp), dgram, room;

	if (mtu < ip + UDP + FB_WIRE_MTU_MIN || tlp > FB_WIRE_TLP_MAX)
		return -EMSGSIZE;
	dgram = mtu - ip - UDP;
	if (dgram > FB_WIRE_MTU_MAX)
		dgram = FB_WIRE_MTU_MAX;
	room = (dgram & ~3u) - FB_WIRE_DATA_HLEN;
	/* Records straddle datagrams, so a datagram carries `room` bytes of the stream whatever their size. */
	*g = (struct goodput){.payload = payload, .tlps = room / record, .tlp_bytes = tlp};
	g->frame_bytes = frame(ip + UDP + FB_WIRE_DATA_HLEN + room);
	g->tlp_share = (double)room / record * tlp / g->frame_bytes;
	g->data_share = (double)room / record * payload / g->frame_bytes;
	return 0;
}
