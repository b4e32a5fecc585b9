/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams from strangers into a listening carrier. The input is a list of
 * steps: a byte (what), two bytes (length, big-endian), that many bytes.
 *
 *	0	the bytes as they are
 *	1	made a datagram of ours: magic, layout, header length kept in range, CRC
 *	2	as 1, and addressed to the session of the last WELCOME
 *	3	as 2, and its stream positions are what the box expects next
 *	4	the box's user closes its port
 *
 * Whatever comes: no crash, answers never larger than what was sent, and no
 * more ports than hellos that were accepted.
 */
#include <stdlib.h>
#include <string.h>

#include "link/link_wire.h"
#include "port/carrier.h"
#include "util/log.h"
#include "util/loop.h"
#include "util/reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STEPS_MAX = 64, DGRAM_MAX = 9000 };

struct stranger {
	struct fb_net *net;
	uint64_t session;  /* of the last WELCOME */
	uint64_t expected; /* our stream's next position at the box */
	uint64_t acked;    /* the box's stream: what we have of it */
	size_t sent;                /* largest datagram so far */
};

struct box {
	struct fb_port *port;
	unsigned tlps;
	struct fb_port_credit held;
	bool holds;
};

static void close_port(struct box *b)
{
	if (b->port)
		fb_port_close(b->port, FB_LINK_R_NORMAL, "fuzzed");
	b->port = NULL;
	b->holds = false;
}

static bool on_tlp(void *arg, const struct pcie_tlp *tlp)
{
	struct box *b = arg;
	struct pcie_tlp cpl = {.type = PCIE_TLP_CPL, .status = PCIE_CPL_UR, .requester_id = tlp->requester_id,
			       .tag = tlp->tag, .byte_count = 4};
	bool hold = ++b->tlps % 3 == 0 && !b->holds;

	if (pcie_tlp_fc(tlp->type) == PCIE_FC_NP)
		fb_port_send(b->port, &cpl);
	if (hold && pcie_tlp_fc(tlp->type) != PCIE_FC_CPL) {
		b->held = fb_port_credit(b->port);
		b->holds = true;
		return false;
	}
	if (b->holds) {
		fb_port_release(b->port, b->held);
		b->holds = false;
	}
	if (b->tlps % 7 == 0)
		close_port(b);
	return true;
}

static void on_up(void *arg)
{
}

static void on_down(void *arg, int reason, const char *text)
{
	if (reason <= FB_LINK_R_NONE || reason >= FB_LINK_REASONS || !text)
		abort();
	close_port(arg);
}

static void on_writable(void *arg, enum pcie_fc cls)
{
}

static const struct fb_port_user user = {on_tlp, on_up, on_down, on_writable};

static int hello(void *arg, const struct fb_link_hello *h, const char *from, struct fb_port *port,
		 const struct fb_port_user **out_user, void **out_arg, const char **text)
{
	struct box *b = arg;

	if (!memchr(h->function, 0, sizeof(h->function)))
		abort();
	if (h->function[0] != 'f') {
		*text = "no function of that name";
		return FB_LINK_R_NO_FUNCTION;
	}
	if (b->port) {
		*text = "another root has it";
		return FB_LINK_R_IN_USE;
	}
	b->port = port;
	*out_user = &user;
	*out_arg = b;
	return 0;
}

static void directory(void *arg, const struct fb_directory_request *request, struct fb_directory_page *page)
{
	page->total = 100;
	while (page->n < 64 && page->first < page->total && page->first + page->n < page->total)
		memcpy(page->entries[page->n++].id, "entry", 6);
}

static const struct fb_acceptor acceptor = {hello, directory};

static void stranger_rx(void *arg, const struct fb_net_addr *from, const uint8_t *data, size_t len)
{
	struct stranger *s = arg;
	struct fb_wire_hello h;
	struct fb_wire_head head;

	if (!fb_wire_get_head(&head, data, len) || !fb_wire_crc_ok(data, len))
		abort();
	if (head.kind == FB_WIRE_WELCOME && len >= FB_WIRE_HELLO_HLEN) {
		if (!fb_wire_get_hello(&h, data))
			abort();
		s->session = head.from;
		s->acked = h.pos;
	} else if (head.kind == FB_WIRE_DATA) {
		s->expected = fb_get_be64(data + FB_WIRE_O_ACK);
		s->acked = fb_get_be64(data + FB_WIRE_O_POS) + len - head.hlen;
	}
	/* A session may say more than it was asked; a stranger's question may not be amplified. */
	if ((head.kind == FB_WIRE_REFUSE || head.kind == FB_WIRE_LISTING) && len > s->sent)
		abort();
}

static void nothing(void *arg)
{
}

static const struct fb_net_user stranger_user = {stranger_rx, nothing, nothing};

static void send_step(struct stranger *s, uint8_t what, uint8_t *d, size_t len)
{
	struct fb_dgram dgram = {d, (uint32_t)len};
	struct fb_net_addr to;

	if (what >= 1 && len >= FB_WIRE_COMMON) {
		fb_put_be16(d + FB_WIRE_O_MAGIC, FB_WIRE_MAGIC);
		d[FB_WIRE_O_LAYOUT] = FB_WIRE_LAYOUT;
		if (fb_get_be16(d + FB_WIRE_O_HLEN) > len)
			fb_put_be16(d + FB_WIRE_O_HLEN, FB_WIRE_COMMON);
		if (what >= 2)
			fb_put_be64(d + FB_WIRE_O_SESSION, s->session);
		if (what >= 3 && len >= FB_WIRE_DATA_HLEN) {
			fb_put_be64(d + FB_WIRE_O_POS, s->expected);
			fb_put_be64(d + FB_WIRE_O_ACK, s->acked);
		}
		fb_wire_seal(d, len);
		if (d[FB_WIRE_O_KIND] == FB_WIRE_HELLO && len >= FB_WIRE_HELLO_HLEN)
			s->expected = fb_get_be64(d + FB_WIRE_O_H_POS);
	}
	if (len > s->sent)
		s->sent = len;
	fb_net_loopback.parse("box", &to);
	s->net->ops->send(s->net, &to, &dgram, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_carrier_config config = {.listen = "loopback:box", .self = {.node = "fuzz", .incarnation = 7}};
	struct fb_reader r = fb_reader(data, size);
	static uint8_t dgram[DGRAM_MAX];
	static struct fb_loop *loop;
	static struct stranger s;
	struct fb_carrier *carrier;
	struct box b = {0};

	if (!loop) {
		fb_log_set_level(FB_LOG_NONE);
		if (fb_loop_new(&loop, 0) || fb_net_loopback.open(&s.net, loop, NULL, NULL, &stranger_user, &s))
			abort();
	}
	s.session = s.expected = s.acked = s.sent = 0;
	fb_link_config_default(&config.link);
	config.link.window = config.link.posted_credits = config.link.send_queue = 65536;
	if (fb_carrier_open(&carrier, loop, &config, &acceptor, &b))
		abort();
	for (unsigned step = 0; step < STEPS_MAX && r.left >= 3; step++) {
		uint8_t what = fb_rd_u8(&r) % 5;
		size_t len = fb_rd_be16(&r);
		const uint8_t *bytes;

		if (len > r.left)
			len = r.left;
		if (len > DGRAM_MAX)
			len = DGRAM_MAX;
		bytes = fb_rd_bytes(&r, len);
		if (!fb_rd_ok(&r))
			break;
		if (what == 4) {
			close_port(&b);
		} else {
			memcpy(dgram, bytes, len);
			send_step(&s, what, dgram, len);
		}
		for (unsigned round = 0; round < 3; round++) {
			if (fb_loop_once(loop, 0))
				abort();
		}
	}
	fb_carrier_close(carrier);
	fb_loop_once(loop, 0); /* its last words */
	return 0;
}
