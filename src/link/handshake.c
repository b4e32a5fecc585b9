/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How sessions begin and end.
 *
 *	root                                   box
 *	HELLO (padded to a candidate size) ->      fb_link_accept(): UP, may queue, sends no data yet
 *	                                   <-  WELCOME (padded to the size that came)
 *	UP;  DATA|PING                     ->      confirmed: data may flow
 *	                                   <-  DATA (acknowledgement): confirmed
 *
 * A lost HELLO or WELCOME is repaired by the root's next HELLO, of the same
 * session id, two of each size; the size that comes back works both ways and
 * is the session's MTU. A lost first DATA is repaired by the root, which repeats
 * its ping until it hears one. The box answers each HELLO with one datagram no
 * larger, and until it is confirmed sends nothing else: it amplifies nothing.
 *
 * Each end is addressed by 64 random bits of its own choice, and DATA and
 * CLOSE carry both ends' ids: who is not on the path cannot make them up, and a
 * box that restarted cannot mistake old datagrams for new.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "link/impl.h"

enum { HELLO_FIRST_NS = 50000000, HELLO_MAX_NS = 500000000 };

/* Encoding */

static void fb_wire_put_hello(uint8_t *d, const struct fb_wire_hello *h)
{
	fb_put_be16(d + FB_WIRE_O_VERSION_MIN, h->version_min);
	fb_put_be16(d + FB_WIRE_O_VERSION_MAX, h->version_max);
	fb_put_be16(d + FB_WIRE_O_SUITES, h->suites);
	fb_put_be16(d + FB_WIRE_O_H_RESERVED, 0);
	fb_put_be32(d + FB_WIRE_O_H_ECHO, h->echo);
	fb_put_be32(d + FB_WIRE_O_HOLD, h->hold_ms);
	memcpy(d + FB_WIRE_O_NODE, h->node, 16);
	fb_put_be64(d + FB_WIRE_O_INCARNATION, h->incarnation);
	fb_put_be64(d + FB_WIRE_O_H_POS, h->pos);
	fb_put_be32(d + FB_WIRE_O_GROUP, h->group);
	fb_put_be32(d + FB_WIRE_O_WINDOW, h->window);
	fb_put_be32(d + FB_WIRE_O_H_POSTED, h->posted);
	fb_put_be32(d + FB_WIRE_O_H_NP, h->np);
	fb_put_be32(d + FB_WIRE_O_MTU, h->mtu);
	memset(d + FB_WIRE_O_FUNCTION, 0, 32);
	memcpy(d + FB_WIRE_O_FUNCTION, h->function, strnlen(h->function, 31));
}

bool fb_wire_get_hello(struct fb_wire_hello *h, const uint8_t *d)
{
	h->version_min = fb_get_be16(d + FB_WIRE_O_VERSION_MIN);
	h->version_max = fb_get_be16(d + FB_WIRE_O_VERSION_MAX);
	h->suites = fb_get_be16(d + FB_WIRE_O_SUITES);
	h->echo = fb_get_be32(d + FB_WIRE_O_H_ECHO);
	h->hold_ms = fb_get_be32(d + FB_WIRE_O_HOLD);
	memcpy(h->node, d + FB_WIRE_O_NODE, 16);
	h->incarnation = fb_get_be64(d + FB_WIRE_O_INCARNATION);
	h->pos = fb_get_be64(d + FB_WIRE_O_H_POS);
	h->group = fb_get_be32(d + FB_WIRE_O_GROUP);
	h->window = fb_get_be32(d + FB_WIRE_O_WINDOW);
	h->posted = fb_get_be32(d + FB_WIRE_O_H_POSTED);
	h->np = fb_get_be32(d + FB_WIRE_O_H_NP);
	h->mtu = fb_get_be32(d + FB_WIRE_O_MTU);
	memcpy(h->function, d + FB_WIRE_O_FUNCTION, 32);
	return h->version_min <= h->version_max && !h->function[31] && h->function[0] && h->pos % 4 == 0 &&
	       h->pos < UINT64_C(1) << 62 && h->window >= FB_WIRE_WINDOW_MIN && h->window <= UINT32_C(1) << 30 &&
	       h->posted >= FB_WIRE_RECORD_MAX && h->posted <= UINT32_C(1) << 30 && h->np >= 1 &&
	       h->np <= FB_WIRE_NP_MAX && h->mtu >= FB_WIRE_MTU_MIN;
}

/* REFUSE or CLOSE, whole and sealed. Text that does not fit cap is cut. Returns the size, or 0: cap is too small. */
static size_t fb_wire_put_close(uint8_t *d, size_t cap, const struct fb_wire_head *h, uint16_t reason, const char *text)
{
	size_t n = text ? strnlen(text, FB_WIRE_TEXT_MAX) : 0;

	if (cap < FB_WIRE_CLOSE_HLEN)
		return 0;
	if (n > cap - FB_WIRE_CLOSE_HLEN)
		n = cap - FB_WIRE_CLOSE_HLEN;
	fb_wire_put_head(d, h);
	fb_put_be16(d + FB_WIRE_O_R_VERSION_MIN, FB_WIRE_VERSION_MIN);
	fb_put_be16(d + FB_WIRE_O_R_VERSION_MAX, FB_WIRE_VERSION_MAX);
	fb_put_be16(d + FB_WIRE_O_REASON, reason);
	fb_put_be16(d + FB_WIRE_O_TEXT_LEN, (uint16_t)n);
	if (n)
		memcpy(d + FB_WIRE_CLOSE_HLEN, text, n);
	fb_wire_seal(d, FB_WIRE_CLOSE_HLEN + n);
	return FB_WIRE_CLOSE_HLEN + n;
}

bool fb_wire_get_close(const uint8_t *d, size_t len, uint16_t *reason, char text[FB_WIRE_TEXT_MAX + 1])
{
	size_t n, hlen;

	if (len < FB_WIRE_CLOSE_HLEN)
		return false;
	hlen = fb_get_be16(d + FB_WIRE_O_HLEN);
	*reason = fb_get_be16(d + FB_WIRE_O_REASON);
	n = fb_get_be16(d + FB_WIRE_O_TEXT_LEN);
	if (hlen < FB_WIRE_CLOSE_HLEN || hlen > len || n > len - hlen || n > FB_WIRE_TEXT_MAX)
		return false;
	for (size_t i = 0; i < n; i++) {
		uint8_t c = d[hlen + i];

		text[i] = c >= 0x20 && c < 0x7f ? (char)c : '?';
	}
	text[n] = 0;
	return true;
}

static enum fb_link_reason reason_of(uint16_t wire)
{
	return wire > FB_LINK_R_NONE && wire < FB_LINK_REASONS ? (enum fb_link_reason)wire : FB_LINK_R_PROTOCOL;
}

/* Without a link */

static bool get_hello(struct fb_wire_head *h, struct fb_wire_hello *w, const uint8_t *d, size_t len)
{
	return fb_wire_get_head(h, d, len) && h->kind == FB_WIRE_HELLO && h->hlen >= FB_WIRE_HELLO_HLEN &&
	       len >= FB_WIRE_MTU_MIN && h->from && fb_wire_crc_ok(d, len) && fb_wire_get_hello(w, d);
}

enum fb_link_kind fb_link_classify(const uint8_t *d, size_t len, uint64_t *session, struct fb_link_hello *hello)
{
	struct fb_wire_head h;
	struct fb_wire_hello w;

	if (!fb_wire_get_head(&h, d, len))
		return FB_LINK_K_BAD;
	switch (h.kind) {
	case FB_WIRE_HELLO:
		if (!get_hello(&h, &w, d, len))
			return FB_LINK_K_BAD;
		memcpy(hello->from.node, w.node, sizeof(hello->from.node));
		hello->from.incarnation = w.incarnation;
		memcpy(hello->function, w.function, sizeof(hello->function));
		hello->group = w.group;
		hello->version_min = w.version_min;
		hello->version_max = w.version_max;
		hello->suites = w.suites;
		hello->session = h.from;
		return FB_LINK_K_HELLO;
	case FB_WIRE_LIST:
		return fb_wire_crc_ok(d, len) ? FB_LINK_K_LIST : FB_LINK_K_BAD;
	case FB_WIRE_LISTING:
		return fb_wire_crc_ok(d, len) ? FB_LINK_K_LISTING : FB_LINK_K_BAD;
	case FB_WIRE_WELCOME:
	case FB_WIRE_REFUSE:
	case FB_WIRE_DATA:
	case FB_WIRE_CLOSE:
		/* The CRC waits for fb_link_rx(): once is enough for what comes most. */
		*session = h.session;
		return h.session ? FB_LINK_K_SESSION : FB_LINK_K_BAD;
	default:
		return FB_LINK_K_BAD;
	}
}

size_t fb_link_refuse(const uint8_t *hello, size_t len, enum fb_link_reason reason, const char *text, uint8_t *out,
		      size_t cap)
{
	struct fb_wire_head h;
	struct fb_wire_hello w;

	if (!get_hello(&h, &w, hello, len))
		return 0;
	h = (struct fb_wire_head){.kind = FB_WIRE_REFUSE, .hlen = FB_WIRE_CLOSE_HLEN, .session = h.from};
	return fb_wire_put_close(out, cap < len ? cap : len, &h, (uint16_t)reason, text);
}

size_t fb_link_unknown(const uint8_t *d, size_t len, uint8_t *out, size_t cap)
{
	struct fb_wire_head h;

	/* Never in answer to an ending: two ends that forgot would talk for ever. */
	if (!fb_wire_get_head(&h, d, len) || (h.kind != FB_WIRE_DATA && h.kind != FB_WIRE_WELCOME) || !h.from ||
	    !h.session || !fb_wire_crc_ok(d, len))
		return 0;
	h = (struct fb_wire_head){
		.kind = FB_WIRE_CLOSE, .hlen = FB_WIRE_CLOSE_HLEN, .session = h.from, .from = h.session};
	return fb_wire_put_close(out, cap < len ? cap : len, &h, FB_LINK_R_UNKNOWN, "no such session here");
}

/* With one */

static uint32_t hello_size(const struct fb_link *link)
{
	uint32_t size = link->config.mtu;
	unsigned candidates = 1, k;

	for (uint32_t m = size; m > FB_WIRE_MTU_MIN; candidates++)
		m = fb_link_mtu_below(m);
	/* Two of each size, then from the top again: a box that starts late is found at its best size. */
	for (k = link->hellos / 2 % candidates; k; k--)
		size = fb_link_mtu_below(size);
	return size;
}

/* HELLO or WELCOME into the control buffer, padded to size. */
static const uint8_t *greet(struct fb_link *link, uint64_t now, bool welcome, uint32_t size)
{
	uint8_t *d = link->control;
	struct fb_wire_head h = {
		.kind = welcome ? FB_WIRE_WELCOME : FB_WIRE_HELLO,
		.hlen = FB_WIRE_HELLO_HLEN,
		.session = welcome ? link->peer_session : 0,
		.from = link->session,
		.number = fb_tx_number(link, now),
	};
	struct fb_wire_hello w = {
		.version_min = welcome ? FB_WIRE_VERSION_MAX : FB_WIRE_VERSION_MIN,
		.version_max = FB_WIRE_VERSION_MAX,
		.suites = 1 << FB_WIRE_SUITE_CRC,
		.echo = welcome ? link->hello_number : 0,
		.hold_ms = (uint32_t)(link->config.hold_ns / 1000000),
		.incarnation = link->self.incarnation,
		.pos = link->first_pos,
		.group = link->config.group,
		.window = link->rcv_window,
		.posted = link->config.posted_credits,
		.np = link->config.np_credits,
		.mtu = link->config.mtu,
	};

	memcpy(w.node, link->self.node, sizeof(w.node));
	memcpy(w.function, link->function, sizeof(w.function));
	memset(d, 0, size);
	fb_wire_put_head(d, &h);
	fb_wire_put_hello(d, &w);
	fb_wire_seal(d, size);
	link->last_tx = now;
	link->stats.tx_datagrams++;
	link->stats.tx_bytes += size;
	return d;
}

const uint8_t *fb_handshake_tx(struct fb_link *link, uint64_t now, uint32_t *len)
{
	if (link->close_due) {
		struct fb_wire_head h = {
			.kind = FB_WIRE_CLOSE,
			.hlen = FB_WIRE_CLOSE_HLEN,
			.session = link->peer_session,
			.from = link->session,
			.number = fb_tx_number(link, now),
		};

		link->close_due = false;
		*len = (uint32_t)fb_wire_put_close(link->control, link->control_cap, &h, (uint16_t)link->reason,
						   link->text);
		link->stats.tx_datagrams++;
		link->stats.tx_bytes += *len;
		return link->control;
	}
	if (link->state == FB_LINK_CONNECTING && link->hello_due) {
		uint64_t wait = (uint64_t)HELLO_FIRST_NS << (link->hellos / 2 < 4 ? link->hellos / 2 : 4);

		*len = hello_size(link);
		link->hello_due = false;
		link->hello_at = now + (wait < HELLO_MAX_NS ? wait : HELLO_MAX_NS);
		link->hellos++;
		return greet(link, now, false, *len);
	}
	if (link->state == FB_LINK_UP && link->welcome_due) {
		link->welcome_due = false;
		*len = link->welcome_size;
		return greet(link, now, true, *len);
	}
	return NULL;
}

/* Box: the same hello again, so the WELCOME was lost, or was too large for the way back. */
static void rx_hello(struct fb_link *link, const struct fb_wire_head *h, size_t len)
{
	if (link->root || link->confirmed || h->from != link->peer_session || len < FB_WIRE_MTU_MIN)
		return;
	link->welcome_due = true;
	link->welcome_size = (uint32_t)(len < link->config.mtu ? len : link->config.mtu);
	link->hello_number = h->number;
	fb_link_shrink(link, link->welcome_size);
}

static void rx_welcome(struct fb_link *link, uint64_t now, const struct fb_wire_head *h, const uint8_t *d, size_t len)
{
	struct fb_wire_hello w;
	uint32_t mtu = (uint32_t)len;

	if (!link->root)
		return;
	if (link->state == FB_LINK_UP) {
		if (h->from == link->peer_session)
			link->ping_due = true; /* it may not have heard us yet */
		return;
	}
	if (h->hlen < FB_WIRE_HELLO_HLEN || !h->from || len < FB_WIRE_MTU_MIN || !fb_wire_get_hello(&w, d) ||
	    w.version_min < FB_WIRE_VERSION_MIN || w.version_min > FB_WIRE_VERSION_MAX ||
	    w.suites != 1 << FB_WIRE_SUITE_CRC || strncmp(w.function, link->function, sizeof(w.function))) {
		fb_link_die(link, FB_LINK_R_PROTOCOL, "the answer to our hello is malformed", false);
		return;
	}
	if (mtu > w.mtu)
		mtu = w.mtu;
	if (mtu > link->config.mtu)
		mtu = link->config.mtu;
	link->peer_session = h->from;
	link->heard = true;
	link->heard_number = h->number;
	link->heard_at = now;
	if (fb_link_session_start(link, now, &w, mtu)) {
		fb_link_die(link, FB_LINK_R_OVERFLOW, "out of memory", true);
		return;
	}
	fb_ack_sample(link, now, w.echo, 0);
	link->ping_due = true;
	link->state = FB_LINK_UP;
	link->user.state(link->arg, FB_LINK_UP, FB_LINK_R_NONE, "");
}

static void rx_refuse(struct fb_link *link, const uint8_t *d, size_t len)
{
	char text[FB_WIRE_TEXT_MAX + 1], versions[FB_WIRE_TEXT_MAX + 1];
	uint16_t reason, min, max;

	if (link->state != FB_LINK_CONNECTING || !fb_wire_get_close(d, len, &reason, text))
		return;
	min = fb_get_be16(d + FB_WIRE_O_R_VERSION_MIN);
	max = fb_get_be16(d + FB_WIRE_O_R_VERSION_MAX);
	if (reason == FB_LINK_R_VERSION && (min > FB_WIRE_VERSION_MAX || max < FB_WIRE_VERSION_MIN)) { /* else it is the suite */
		snprintf(versions, sizeof(versions), "it speaks protocol versions %u to %u, we %d to %d", min, max,
			 FB_WIRE_VERSION_MIN, FB_WIRE_VERSION_MAX);
		fb_link_die(link, FB_LINK_R_VERSION, versions, false);
		return;
	}
	fb_link_die(link, reason_of(reason), text, false);
}

static void rx_close(struct fb_link *link, const struct fb_wire_head *h, const uint8_t *d, size_t len)
{
	char text[FB_WIRE_TEXT_MAX + 1];
	uint16_t reason;

	if (link->state != FB_LINK_UP || h->from != link->peer_session || !fb_wire_get_close(d, len, &reason, text))
		return;
	fb_link_die(link, reason_of(reason), text, false);
}

void fb_handshake_rx(struct fb_link *link, uint64_t now, const struct fb_wire_head *h, const uint8_t *d, size_t len)
{
	switch (h->kind) {
	case FB_WIRE_HELLO:
		rx_hello(link, h, len);
		break;
	case FB_WIRE_WELCOME:
		rx_welcome(link, now, h, d, len);
		break;
	case FB_WIRE_REFUSE:
		rx_refuse(link, d, len);
		break;
	case FB_WIRE_CLOSE:
		rx_close(link, h, d, len);
		break;
	default:
		link->stats.rx_bad++;
		break;
	}
}
