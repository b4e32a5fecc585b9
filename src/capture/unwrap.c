/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <stdio.h>

#include "capture/unwrap.h"
#include "util/reader.h"

enum {
	LINKTYPE_NULL = 0,
	LINKTYPE_ETHERNET = 1,
	LINKTYPE_RAW = 101,
	LINKTYPE_LOOP = 108,
	LINKTYPE_LINUX_SLL = 113,
	LINKTYPE_IPV4 = 228,
	LINKTYPE_IPV6 = 229,
	LINKTYPE_LINUX_SLL2 = 276,

	ETHERTYPE_IPV4 = 0x0800,
	ETHERTYPE_VLAN = 0x8100,
	ETHERTYPE_IPV6 = 0x86dd,
	ETHERTYPE_QINQ = 0x88a8,
	PROTOCOL_UDP = 17,
};

/* The protocol behind the link layer's header, as an EtherType; 0: none that is looked at. */
static uint16_t link_layer(uint16_t linktype, struct fb_reader *r)
{
	uint16_t type = 0;

	switch (linktype) {
	case LINKTYPE_ETHERNET:
		(void)!fb_rd_bytes(r, 12);
		type = fb_rd_be16(r);
		for (unsigned tags = 0; tags < 4 && (type == ETHERTYPE_VLAN || type == ETHERTYPE_QINQ); tags++) {
			fb_rd_be16(r);
			type = fb_rd_be16(r);
		}
		return type;
	case LINKTYPE_LINUX_SLL:
		(void)!fb_rd_bytes(r, 14);
		return fb_rd_be16(r);
	case LINKTYPE_LINUX_SLL2:
		type = fb_rd_be16(r);
		(void)!fb_rd_bytes(r, 18);
		return type;
	case LINKTYPE_NULL:
	case LINKTYPE_LOOP:
		(void)!fb_rd_bytes(r, 4);
		break;
	case LINKTYPE_RAW:
	case LINKTYPE_IPV4:
	case LINKTYPE_IPV6:
		break;
	default:
		return 0;
	}
	if (!r->left || r->bad)
		return 0;
	return *r->p >> 4 == 6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4;
}

/* Up to the UDP header; its source and destination are left in the reader's past. NULL: fine. */
static const char *ip_layer(struct fb_reader *r, bool v6, const uint8_t **source, const uint8_t **destination)
{
	const uint8_t *h;
	uint8_t protocol;
	size_t more;

	if (v6) {
		h = fb_rd_bytes(r, 40);
		if (!h)
			return "an IPv6 header that is cut off";
		*source = h + 8;
		*destination = h + 24;
		protocol = h[6];
	} else {
		h = fb_rd_bytes(r, 20);
		if (!h)
			return "an IPv4 header that is cut off";
		more = (h[0] & 15u) * 4u;
		if (h[0] >> 4 != 4 || more < 20)
			return "no IPv4 header";
		(void)!fb_rd_bytes(r, more - 20);
		if (fb_get_be16(h + 6) & 0x3fff)
			return "a fragment of an IP datagram";
		*source = h + 12;
		*destination = h + 16;
		protocol = h[9];
	}
	return protocol == PROTOCOL_UDP ? NULL : "not UDP";
}

static void put_address(char *out, size_t cap, bool v6, const uint8_t *address, uint16_t port)
{
	char text[INET6_ADDRSTRLEN] = "?";

	inet_ntop(v6 ? AF_INET6 : AF_INET, address, text, sizeof(text));
	snprintf(out, cap, v6 ? "[%s]:%u" : "%s:%u", text, port);
}

bool fb_unwrap_udp(const struct fb_packet *packet, struct fb_datagram *d, const char **why)
{
	struct fb_reader r = fb_reader(packet->data, packet->len);
	const uint8_t *source, *destination;
	uint16_t type = link_layer(packet->linktype, &r), length;
	bool v6 = type == ETHERTYPE_IPV6;
	size_t missing = packet->original_len - packet->len;

	if (type != ETHERTYPE_IPV4 && !v6) {
		*why = type ? "not IP" : "of a link type that is not looked into";
		return false;
	}
	*why = ip_layer(&r, v6, &source, &destination);
	if (*why)
		return false;
	d->source_port = fb_rd_be16(&r);
	d->destination_port = fb_rd_be16(&r);
	length = fb_rd_be16(&r);
	fb_rd_be16(&r);
	if (!fb_rd_ok(&r) || length < 8) {
		*why = "a UDP header that is cut off, or its length is";
		return false;
	}
	put_address(d->source, sizeof(d->source), v6, source, d->source_port);
	put_address(d->destination, sizeof(d->destination), v6, destination, d->destination_port);
	d->data = r.p;
	d->original_len = length - 8u;
	d->len = r.left < d->original_len ? r.left : d->original_len;
	/* A length that lies: what was on the wire is what the packet had room for. */
	if (d->original_len > r.left + missing)
		d->original_len = r.left + missing;
	return true;
}
