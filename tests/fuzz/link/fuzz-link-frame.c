/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A link fed what an enemy, or a broken network, may feed it. The input is a
 * script: its first byte says what kind of link (bit 0: box, bit 1: Go-Back-N,
 * bit 2: small window and credits, bit 3: a root still connecting), then steps
 * of one byte and what it needs:
 *
 *	0  n16 bytes   a datagram as it is
 *	1  n16 bytes   a datagram made to belong to the session: ids and CRC put right
 *	2  n16 bytes   as 1, and POS, ACK and credits are relative to the link's own
 *	3  n8          n * 300 us pass
 *	4  class n16   the user sends
 *	5  class n16   the user releases
 *	6  reason      the user closes
 *	7  n16         the path's MTU falls
 *
 * After each step the link is asked for its datagrams, and must keep its bounds.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "link/impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned callbacks;
static bool dead;
static uint8_t sink;

static bool on_deliver(void *arg, enum fb_link_class cls, const uint8_t *tlp, size_t len)
{
	if (dead || (unsigned)cls >= FB_LINK_CLASSES || !len || len > FB_LINK_TLP_MAX)
		abort();
	sink ^= tlp[0] ^ tlp[len - 1];
	return callbacks++ % 3 != 0;
}

static void on_state(void *arg, enum fb_link_state state, enum fb_link_reason reason, const char *text)
{
	if (dead || (unsigned)reason >= FB_LINK_REASONS || strlen(text) > FB_WIRE_TEXT_MAX)
		abort();
	dead = state == FB_LINK_DEAD;
}

static void on_writable(void *arg, enum fb_link_class cls) { callbacks++; }

static const struct fb_link_user user = {on_deliver, on_state, on_writable};

static void check(struct fb_link *link, uint64_t now)
{
	struct fb_link_out out[4];
	struct fb_link_stats stats;
	unsigned n, total = 0;

	while ((n = fb_link_tx(link, now, out, 4)))
		for (unsigned i = 0; i < n; i++) {
			if (out[i].len > link->config.mtu || ++total > 20000)
				abort();
			sink ^= out[i].data[0] ^ out[i].data[out[i].len - 1];
		}
	if (link->slab.end - link->slab.una > link->slab.n || link->slab.next < link->slab.una ||
	    link->slab.next > link->slab.end || link->ranges.n > FB_RANGES_MAX || link->assembled >= FB_WIRE_RECORD_MAX ||
	    link->lost > link->slab.next - link->slab.una ||
	    link->in_flight > (link->slab.next - link->slab.una) * (uint64_t)link->slab.stride)
		abort();
	for (unsigned i = 0; i < link->ranges.n; i++)
		if (link->ranges.v[i].start <= link->rcv_next || link->ranges.v[i].end - link->rcv_next > link->rcv_window)
			if (link->state == FB_LINK_UP)
				abort();
	fb_link_get_stats(link, &stats);
	if (dead && fb_link_deadline(link) != UINT64_MAX)
		abort();
}

/* A peer of the link's, by hand: its hello or its welcome. */
static struct fb_link *begin(uint8_t kind, uint64_t now)
{
	static const uint8_t nonce[2][16] = {{1, [8] = 0xff, 0xff, 0xff, 0xf0}, {2, [8] = 0xff, 0xff, 0xff, 0xf0}};
	static const struct fb_link_identity self = {{1}, 1};
	struct fb_link_config config;
	struct fb_link *root, *box;
	struct fb_link_out out;

	fb_link_config_default(&config);
	config.window = 65536; /* small memory, fast runs */
	config.go_back_n = kind & 2;
	if (kind & 4) {
		config.window = 1;
		config.posted_credits = 1;
		config.np_credits = 1;
		config.send_queue = 4096;
	}
	if (fb_link_connect(&root, &config, &self, "ssd0", nonce[0], &user, NULL, now))
		abort();
	if (kind & 8)
		return root;
	if (fb_link_tx(root, now, &out, 1) != 1 ||
	    fb_link_accept(&box, &config, &self, out.data, out.len, nonce[1], &user, NULL, now) ||
	    fb_link_tx(box, now, &out, 1) != 1)
		abort();
	fb_link_rx(root, now, out.data, out.len);
	while (fb_link_tx(root, now, &out, 1))
		fb_link_rx(box, now, out.data, out.len);
	while (fb_link_tx(box, now, &out, 1))
		fb_link_rx(root, now, out.data, out.len);
	fb_link_free(kind & 1 ? root : box);
	return kind & 1 ? box : root;
}

static void belong(struct fb_link *link, uint8_t *d, size_t len, bool relative)
{
	if (len < FB_WIRE_COMMON)
		return;
	fb_put_be16(d + FB_WIRE_O_MAGIC, FB_WIRE_MAGIC);
	d[FB_WIRE_O_LAYOUT] = FB_WIRE_LAYOUT;
	d[FB_WIRE_O_SUITE] = 0;
	fb_put_be64(d + FB_WIRE_O_SESSION, link->session);
	if (link->peer_session)
		fb_put_be64(d + FB_WIRE_O_FROM, link->peer_session);
	if (relative && d[FB_WIRE_O_KIND] == FB_WIRE_DATA && len >= FB_WIRE_DATA_HLEN && link->slab.mem) {
		uint64_t una = link->slab.una < link->slab.end ? fb_slab_slot(&link->slab, link->slab.una)->pos
							       : link->slab.pos;

		fb_put_be64(d + FB_WIRE_O_POS, link->rcv_next + fb_get_be16(d + FB_WIRE_O_POS + 6) % 20000 / 4 * 4 - 4000);
		fb_put_be64(d + FB_WIRE_O_ACK, una + fb_get_be16(d + FB_WIRE_O_ACK + 6));
		fb_put_be32(d + FB_WIRE_O_ECHO, link->number - d[FB_WIRE_O_ECHO]);
		fb_put_be32(d + FB_WIRE_O_POSTED, link->credit.p_sent + fb_get_be16(d + FB_WIRE_O_POSTED));
		fb_put_be32(d + FB_WIRE_O_NP, link->credit.np_sent + d[FB_WIRE_O_NP]);
	}
	fb_wire_seal(d, len);
}

static void datagram(struct fb_link *link, uint64_t now, unsigned step, struct fb_reader *r)
{
	size_t n = fb_rd_be16(r);
	const uint8_t *p = fb_rd_bytes(r, n);
	struct fb_link_hello hello;
	uint64_t session;
	uint8_t answer[256], *d;

	if (!p)
		return;
	/* Its own allocation: a read beyond the end is seen. */
	d = malloc(n ? n : 1);
	if (!d)
		abort();
	memcpy(d, p, n);
	if (step)
		belong(link, d, n, step == 2);
	if (fb_link_classify(d, n, &session, &hello) == FB_LINK_K_HELLO &&
	    fb_link_refuse(d, n, FB_LINK_R_IN_USE, "in use", answer, sizeof(answer)) > n)
		abort();
	if (fb_link_unknown(d, n, answer, sizeof(answer)) > n)
		abort();
	fb_link_rx(link, now, d, n);
	free(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t tlp[FB_LINK_TLP_MAX + 64];
	struct fb_reader r = fb_reader(data, size);
	uint64_t now = UINT64_C(1000000000);
	struct fb_link *link;
	unsigned steps = 0;

	dead = false;
	callbacks = 0;
	link = begin(fb_rd_u8(&r), now);
	check(link, now);
	while (r.left && !r.bad && steps++ < 500) {
		unsigned step = fb_rd_u8(&r) % 8, cls;

		switch (step) {
		case 0:
		case 1:
		case 2:
			datagram(link, now, step, &r);
			break;
		case 3:
			now += fb_rd_u8(&r) * UINT64_C(300000);
			break;
		case 4:
			cls = fb_rd_u8(&r) % 4;
			fb_link_send(link, (enum fb_link_class)cls, tlp, fb_rd_be16(&r) % sizeof(tlp), NULL, 0);
			break;
		case 5:
			cls = fb_rd_u8(&r) % 4;
			fb_link_release(link, (enum fb_link_class)cls, fb_rd_be16(&r));
			break;
		case 6:
			fb_link_close(link, (enum fb_link_reason)(fb_rd_u8(&r) % FB_LINK_REASONS), "by the script", now);
			break;
		case 7:
			if (fb_link_state(link) == FB_LINK_UP)
				fb_link_shrink(link, fb_rd_be16(&r));
			break;
		}
		if (fb_link_deadline(link) <= now)
			fb_link_timeout(link, now);
		check(link, now);
	}
	fb_link_free(link);
	return 0;
}
