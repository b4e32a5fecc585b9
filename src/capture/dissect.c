/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture/dissect.h"
#include "capture/pcapng.h"
#include "capture/stream.h"
#include "capture/unwrap.h"
#include "link/link.h"
#include "link/link_wire.h"

enum {
	STREAMS_MAX = 1024, /* the one that is idle for longest makes room */
	SOFTPCIE_HEADER = 6,
	SOFTPCIE_MESSAGE_PORT = 0x2fff,
	SOFTPCIE_CONFIG_PORT = 0x5001,
	SOFTPCIE_REGISTER_PORT = 0x5002,
};

/* What one end of a session sends; found by its session ID. */
struct side {
	uint64_t id;
	uint64_t used; /* number of the last packet */
	char function[FB_LINK_NAME_MAX];
	bool named, of_root;
	struct fb_stream stream;
};

struct fb_dissector {
	struct side *sides[STREAMS_MAX];
	unsigned n;
	/* Of the packet that is looked at. */
	const struct fb_packet *packet;
	void (*see)(void *arg, const struct fb_packet *packet, const struct fb_seen *seen);
	void *arg;
	char flow[192], text[320];
};

int fb_dissector_new(struct fb_dissector **out)
{
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : -ENOMEM;
}

static void free_side(struct side *s)
{
	fb_stream_fini(&s->stream);
	free(s);
}

void fb_dissector_free(struct fb_dissector *d)
{
	if (!d)
		return;
	for (unsigned i = 0; i < d->n; i++)
		free_side(d->sides[i]);
	free(d);
}

static void say(struct fb_dissector *d, enum fb_seen_kind kind, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void say(struct fb_dissector *d, enum fb_seen_kind kind, const char *fmt, ...)
{
	struct fb_seen seen = {.kind = kind, .flow = d->flow, .text = d->text};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(d->text, sizeof(d->text), fmt, ap);
	va_end(ap);
	d->see(d->arg, d->packet, &seen);
}

void fb_dissect_tlp(struct fb_seen *seen, const uint8_t *bytes, size_t len, size_t original_len)
{
	uint8_t whole[PCIE_TLP_MAX_SIZE] = {0};

	*seen = (struct fb_seen){.kind = FB_SEEN_TLP, .flow = "", .bytes = bytes, .len = len, .original_len = original_len};
	if (original_len <= len || original_len > sizeof(whole)) {
		seen->error = pcie_tlp_decode(&seen->tlp, bytes, len);
		return;
	}
	memcpy(whole, bytes, len);
	seen->error = pcie_tlp_decode(&seen->tlp, whole, original_len);
	seen->tlp.data = NULL;
	if (seen->error == PCIE_TLP_E_ECRC) /* of what is not there */
		seen->error = PCIE_TLP_OK;
}

static void see_tlp(struct fb_dissector *d, const uint8_t *bytes, size_t len, size_t original_len)
{
	struct fb_seen seen;

	fb_dissect_tlp(&seen, bytes, len, original_len);
	seen.flow = d->flow;
	d->see(d->arg, d->packet, &seen);
}

/* ---- Our own captures ---------------------------------------------------------- */

static void printable(char *out, size_t cap, const uint8_t *text, size_t len)
{
	size_t n = 0;

	for (; n < len && n + 1 < cap && text[n]; n++)
		out[n] = isprint(text[n]) ? (char)text[n] : '?';
	out[n] = '\0';
}

static void tap_packet(struct fb_dissector *d, const uint8_t *p, size_t len, size_t missing)
{
	char name[FB_LINK_NAME_MAX];
	size_t hlen;

	if (len < FB_TAP_HEADER || p[FB_TAP_O_HLEN] < FB_TAP_HEADER || p[FB_TAP_O_HLEN] > len ||
	    p[FB_TAP_O_NAME_LEN] > p[FB_TAP_O_HLEN] - FB_TAP_HEADER) {
		say(d, FB_SEEN_PROBLEM, "a capture header that is cut off or contradicts itself");
		return;
	}
	if (p[FB_TAP_O_VERSION] != FB_TAP_VERSION) {
		say(d, FB_SEEN_PROBLEM, "a capture header of version %u; %u is what this knows", p[FB_TAP_O_VERSION], FB_TAP_VERSION);
		return;
	}
	hlen = p[FB_TAP_O_HLEN];
	printable(name, sizeof(name), p + FB_TAP_O_NAME, p[FB_TAP_O_NAME_LEN]);
	snprintf(d->flow, sizeof(d->flow), "%s %s", name, p[FB_TAP_O_FLAGS] & FB_TAP_F_UP ? "up" : "down");
	see_tlp(d, p + hlen, len - hlen, len - hlen + missing);
}

/* Tags up to the end tag, then the PDU. */
static void exported_pdu(struct fb_dissector *d)
{
	struct fb_reader r = fb_reader(d->packet->data, d->packet->len);
	bool ours = false;

	for (;;) {
		uint16_t tag = fb_rd_be16(&r), len = fb_rd_be16(&r);
		const uint8_t *value = fb_rd_bytes(&r, len);

		if (!fb_rd_ok(&r)) {
			say(d, FB_SEEN_FOREIGN, "an exported PDU whose tags are cut off");
			return;
		}
		if (tag == EXP_PDU_TAG_END)
			break;
		if (tag == EXP_PDU_TAG_DISSECTOR_NAME)
			ours = len >= sizeof(FB_TAP_DISSECTOR) && !memcmp(value, FB_TAP_DISSECTOR, sizeof(FB_TAP_DISSECTOR));
	}
	if (ours)
		tap_packet(d, r.p, r.left, d->packet->original_len - d->packet->len);
	else
		say(d, FB_SEEN_FOREIGN, "an exported PDU of another dissector");
}

/* ---- The link -------------------------------------------------------------------- */

static void stream_record(void *arg, unsigned class_, const uint8_t *tlp, size_t len)
{
	see_tlp(arg, tlp, len, len);
}

static void stream_lost(void *arg, uint64_t bytes, const char *why)
{
	say(arg, FB_SEEN_PROBLEM, "%" PRIu64 " bytes of the stream passed over: %s", bytes, why);
}

static struct side *find_side(struct fb_dissector *d, uint64_t id, bool make)
{
	unsigned oldest = 0;
	struct side *s;

	for (unsigned i = 0; i < d->n; i++) {
		if (d->sides[i]->id == id)
			return d->sides[i];
		if (d->sides[i]->used < d->sides[oldest]->used)
			oldest = i;
	}
	if (!make || !id)
		return NULL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->id = id;
	s->stream.record = stream_record;
	s->stream.lost = stream_lost;
	s->stream.arg = d;
	if (d->n == STREAMS_MAX) {
		free_side(d->sides[oldest]);
		d->sides[oldest] = s;
	} else {
		d->sides[d->n++] = s;
	}
	return s;
}

static void put_flow(struct fb_dissector *d, const struct fb_datagram *u, const struct side *s)
{
	snprintf(d->flow, sizeof(d->flow), "%s > %s%s%s%s", u->source, u->destination, s && s->named ? " " : "",
		 s && s->named ? s->function : "", !s || !s->named ? "" : s->of_root ? " down" : " up");
}

static void link_hello(struct fb_dissector *d, const struct fb_datagram *u, const struct fb_wire_head *h, const uint8_t *p,
		       size_t len)
{
	bool welcome = h->kind == FB_WIRE_WELCOME;
	struct fb_wire_hello hello;
	struct side *s;

	if (len < FB_WIRE_HELLO_HLEN || !fb_wire_get_hello(&hello, p)) {
		say(d, FB_SEEN_PROBLEM, "%s with fields out of range", welcome ? "WELCOME" : "HELLO");
		return;
	}
	s = find_side(d, h->from, true);
	if (s) {
		s->used = d->packet->number;
		s->of_root = !welcome;
		s->named = true;
		printable(s->function, sizeof(s->function), (const uint8_t *)hello.function, sizeof(hello.function));
		fb_stream_begin(&s->stream, hello.pos);
		put_flow(d, u, s);
	}
	say(d, FB_SEEN_CONTROL, "%s from %016" PRIx64 ", version %u%s%u, group %" PRIu32 ", mtu %" PRIu32 ", %zu bytes",
	    welcome ? "WELCOME" : "HELLO", h->from, hello.version_min, welcome ? "/" : " to ", hello.version_max, hello.group,
	    hello.mtu, len);
}

static void link_data(struct fb_dissector *d, const struct fb_datagram *u, const struct fb_wire_head *h, const uint8_t *p,
		      size_t len, bool cut)
{
	struct side *s = find_side(d, h->from, true), *other;
	size_t payload = len - h->hlen;

	if (!s)
		return;
	s->used = d->packet->number;
	other = find_side(d, h->session, false);
	if (other && other->named && !s->named) {
		memcpy(s->function, other->function, sizeof(s->function));
		s->named = true;
		s->of_root = !other->of_root;
	}
	if (other) {
		snprintf(d->flow, sizeof(d->flow), "%s > %s", u->destination, u->source); /* what is missing there */
		fb_stream_acked(&other->stream, fb_get_be64(p + FB_WIRE_O_ACK));
	}
	put_flow(d, u, s);
	if (cut)
		say(d, FB_SEEN_PROBLEM, "DATA of which the capture has only the beginning: TLPs in it are not shown");
	else if (payload)
		fb_stream_data(&s->stream, fb_get_be64(p + FB_WIRE_O_POS), p + h->hlen, payload);
	else
		say(d, FB_SEEN_CONTROL, "DATA without TLPs: acknowledges up to %" PRIu64 "%s", fb_get_be64(p + FB_WIRE_O_ACK),
		    h->flags & 1 ? ", PING" : "");
}

static void link_close(struct fb_dissector *d, const struct fb_wire_head *h, const uint8_t *p, size_t len)
{
	const char *what = h->kind == FB_WIRE_CLOSE ? "CLOSE" : "REFUSE";
	char text[FB_WIRE_TEXT_MAX + 1];
	uint16_t reason;

	if (fb_wire_get_close(p, len, &reason, text))
		say(d, FB_SEEN_CONTROL, "%s: %s%s%s", what, fb_link_reason_name((enum fb_link_reason)reason), *text ? ": " : "", text);
	else
		say(d, FB_SEEN_PROBLEM, "%s that is malformed", what);
}

static void link_datagram(struct fb_dissector *d, const struct fb_datagram *u, const uint8_t *p, size_t len, bool cut)
{
	struct fb_wire_head h;

	put_flow(d, u, NULL);
	if (!fb_wire_get_head(&h, p, len)) {
		say(d, FB_SEEN_PROBLEM, "a link datagram with a header that is cut off, or of a layout or suite that this does not know");
		return;
	}
	if (!cut && !fb_wire_crc_ok(p, len)) {
		say(d, FB_SEEN_PROBLEM, "a link datagram whose CRC is wrong");
		return;
	}
	switch (h.kind) {
	case FB_WIRE_HELLO:
	case FB_WIRE_WELCOME:
		link_hello(d, u, &h, p, len);
		return;
	case FB_WIRE_DATA:
		if (h.hlen >= FB_WIRE_DATA_HLEN)
			link_data(d, u, &h, p, len, cut);
		else
			say(d, FB_SEEN_PROBLEM, "DATA with a header of %u bytes: too short", h.hlen);
		return;
	case FB_WIRE_REFUSE:
	case FB_WIRE_CLOSE:
		link_close(d, &h, p, len);
		return;
	case FB_WIRE_LIST:
	case FB_WIRE_LISTING:
		say(d, FB_SEEN_CONTROL, h.kind == FB_WIRE_LIST ? "LIST: what functions are there?" : "LISTING of functions");
		return;
	default:
		say(d, FB_SEEN_PROBLEM, "a link datagram of kind %u, which there is not", h.kind);
	}
}

static bool same_session(const uint8_t *a, const uint8_t *b)
{
	return !memcmp(a, b, 4) && !memcmp(a + FB_WIRE_O_SESSION, b + FB_WIRE_O_SESSION, 16);
}

/*
 * On a host with segmentation offload a capture has many datagrams as one, equally
 * long but for the last: their headers say where each begins.
 */
static void link_datagrams(struct fb_dissector *d, const struct fb_datagram *u)
{
	const uint8_t *p = u->data;
	size_t left = u->len, size = left;
	bool cut = u->original_len > u->len;

	for (size_t at = FB_WIRE_COMMON; at + FB_WIRE_COMMON <= left; at += 4) {
		if (same_session(p, p + at)) {
			size = at;
			break;
		}
	}
	while (left) {
		size_t n = size < left ? size : left;

		link_datagram(d, u, p, n, cut && n == left);
		p += n;
		left -= n;
	}
}

/* ---- SoftPCIe ---------------------------------------------------------------------- */

static bool softpcie_port(uint16_t port)
{
	return (port & 0xff00) == 0x3000 || (port & 0xfff0) == 0x4000;
}

static void softpcie_config(struct fb_dissector *d, const struct fb_datagram *u)
{
	const uint8_t *p = u->data;

	snprintf(d->flow, sizeof(d->flow), "%s > %s", u->source, u->destination);
	if (u->len < 6) {
		say(d, FB_SEEN_PROBLEM, "SoftPCIe: an access of %zu bytes, 6 are needed", u->len);
		return;
	}
	if (u->destination_port == SOFTPCIE_REGISTER_PORT || u->source_port == SOFTPCIE_REGISTER_PORT)
		say(d, FB_SEEN_CONTROL, "SoftPCIe register access: opcode 0x%02x, index 0x%02x, data 0x%08x", p[0], p[1],
		    fb_get_be32(p + 2));
	else
		say(d, FB_SEEN_CONTROL, "SoftPCIe configuration %s: register 0x%03x, byte mask %x, data 0x%08x",
		    p[0] >> 6 ? "write" : "read", ((p[0] & 3u) << 8 | p[1]) * 4, p[0] >> 2 & 15, fb_get_be32(p + 2));
}

static void softpcie_tlp(struct fb_dissector *d, const struct fb_datagram *u)
{
	snprintf(d->flow, sizeof(d->flow), "%s > %s", u->source, u->destination);
	if (u->len < SOFTPCIE_HEADER)
		say(d, FB_SEEN_PROBLEM, "SoftPCIe: a datagram of %zu bytes, 6 are needed", u->len);
	else
		see_tlp(d, u->data + SOFTPCIE_HEADER, u->len - SOFTPCIE_HEADER, u->original_len - SOFTPCIE_HEADER);
}

/* ---- Any packet -------------------------------------------------------------------- */

static void udp(struct fb_dissector *d, const struct fb_datagram *u)
{
	if (u->len >= 4 && fb_get_be16(u->data) == FB_WIRE_MAGIC && u->data[FB_WIRE_O_LAYOUT] == FB_WIRE_LAYOUT)
		link_datagrams(d, u);
	else if (u->destination_port == SOFTPCIE_CONFIG_PORT || u->destination_port == SOFTPCIE_REGISTER_PORT ||
		 (u->destination_port == 0x4001 && u->len == 6))
		softpcie_config(d, u);
	else if (u->destination_port == SOFTPCIE_MESSAGE_PORT || u->source_port == SOFTPCIE_MESSAGE_PORT)
		say(d, FB_SEEN_CONTROL, "SoftPCIe message %s of %zu bytes",
		    u->destination_port == SOFTPCIE_MESSAGE_PORT ? "request" : "answer", u->len);
	else if (softpcie_port(u->destination_port))
		softpcie_tlp(d, u);
	else
		say(d, FB_SEEN_FOREIGN, "a UDP datagram of something else");
}

void fb_dissect(struct fb_dissector *d, const struct fb_packet *packet,
		void (*see)(void *arg, const struct fb_packet *packet, const struct fb_seen *seen), void *arg)
{
	struct fb_datagram u;
	const char *why;

	d->packet = packet;
	d->see = see;
	d->arg = arg;
	d->flow[0] = '\0';
	if (packet->linktype == LINKTYPE_WIRESHARK_UPPER_PDU)
		exported_pdu(d);
	else if (fb_unwrap_udp(packet, &u, &why))
		udp(d, &u);
	else
		say(d, FB_SEEN_FOREIGN, "%s", why);
}
