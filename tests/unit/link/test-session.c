/* SPDX-License-Identifier: Apache-2.0 */
/* Two links face to face, datagram by datagram: how sessions begin, go on and end, and what an enemy may send. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "link/impl.h"

#define MS UINT64_C(1000000)
#define S (1000 * MS)

struct side {
	struct fb_link *link;
	struct fb_link_config config;
	struct fb_link_identity self;
	unsigned delivered, ups, deads, writable[FB_LINK_CLASSES];
	enum fb_link_class order[4096];
	uint32_t tag[4096];
	enum fb_link_reason reason;
	char text[128];
	bool hold, close_in_deliver, echo;
	unsigned datagrams, in; /* that it sent; that it got */
};

struct pair {
	struct side side[2]; /* root, box */
	uint64_t now;
	bool drop[2]; /* what that side sends */
	uint8_t last[2][65536];
	uint32_t last_len[2];
};

static bool on_deliver(void *arg, enum fb_link_class cls, const uint8_t *tlp, size_t len)
{
	struct side *s = arg;

	assert_true(s->delivered < 4096);
	s->order[s->delivered] = cls;
	s->tag[s->delivered++] = fb_get_be32(tlp);
	if (s->close_in_deliver)
		fb_link_close(s->link, FB_LINK_R_REMOVED, "closed inside deliver()", 0);
	if (s->echo && cls == FB_LINK_NP)
		assert_int_equal(fb_link_send(s->link, FB_LINK_CPL, tlp, len, NULL, 0), 0);
	return !s->hold;
}

static void on_state(void *arg, enum fb_link_state state, enum fb_link_reason reason, const char *text)
{
	struct side *s = arg;

	assert_true(state == FB_LINK_UP || state == FB_LINK_DEAD);
	if (state == FB_LINK_UP) {
		s->ups++;
	} else {
		s->deads++;
		s->reason = reason;
		strncpy(s->text, text, sizeof(s->text) - 1);
	}
}

static void on_writable(void *arg, enum fb_link_class cls) { ((struct side *)arg)->writable[cls]++; }

static const struct fb_link_user user = {on_deliver, on_state, on_writable};

static struct pair *new_pair(void)
{
	struct pair *p = calloc(1, sizeof(*p));

	p->now = S;
	for (unsigned i = 0; i < 2; i++) {
		fb_link_config_default(&p->side[i].config);
		p->side[i].self.incarnation = 1 + i;
	}
	return p;
}

static void free_pair(struct pair *p)
{
	fb_link_free(p->side[0].link);
	fb_link_free(p->side[1].link);
	free(p);
}

static void connect_root(struct pair *p)
{
	static const uint8_t nonce[16] = {1, 2, 3, 4, 5, 6, 7, 8, 0xff, 0xff, 0xff, 0xfe, 0xff, 0xff, 0xff, 0xf0};
	struct side *r = &p->side[0];

	assert_int_equal(fb_link_connect(&r->link, &r->config, &r->self, "ssd0", nonce, &user, r, p->now), 0);
}

static void arrive(struct pair *p, unsigned to, const uint8_t *d, uint32_t len)
{
	static const uint8_t nonce[16] = {9, 9, 9, 9, 9, 9, 9, 9, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xf0};
	struct side *s = &p->side[to];
	struct fb_link_hello hello;
	uint64_t session;

	s->in++;
	switch (fb_link_classify(d, len, &session, &hello)) {
	case FB_LINK_K_HELLO:
		if (to == 1 && !s->link)
			assert_int_equal(fb_link_accept(&s->link, &s->config, &s->self, d, len, nonce, &user, s, p->now), 0);
		else if (s->link)
			fb_link_rx(s->link, p->now, d, len);
		break;
	case FB_LINK_K_SESSION:
		if (s->link)
			fb_link_rx(s->link, p->now, d, len);
		break;
	default:
		fail_msg("a datagram of ours is not recognised");
	}
}

/* All that one side has to send goes to the other. Returns how many datagrams. */
static unsigned pump(struct pair *p, unsigned from)
{
	struct fb_link_out out[8];
	unsigned n, total = 0;

	while (p->side[from].link && (n = fb_link_tx(p->side[from].link, p->now, out, 8)))
		for (unsigned i = 0; i < n; i++) {
			assert_true(++total < 100000);
			memcpy(p->last[from], out[i].data, out[i].len);
			p->last_len[from] = out[i].len;
			if (!p->drop[from])
				arrive(p, !from, p->last[from], out[i].len);
		}
	p->side[from].datagrams += total;
	return total;
}

static void settle(struct pair *p)
{
	while (pump(p, 0) + pump(p, 1))
		;
}

/* Time passes, with all timers at their times. */
static void pass(struct pair *p, uint64_t ns)
{
	uint64_t till = p->now + ns;

	for (;;) {
		uint64_t t = till;

		settle(p);
		for (unsigned i = 0; i < 2; i++)
			if (p->side[i].link && fb_link_deadline(p->side[i].link) < t)
				t = fb_link_deadline(p->side[i].link);
		if (t > p->now)
			p->now = t;
		for (unsigned i = 0; i < 2; i++)
			if (p->side[i].link && fb_link_deadline(p->side[i].link) <= p->now)
				fb_link_timeout(p->side[i].link, p->now);
		settle(p);
		if (p->now >= till)
			return;
	}
}

static struct pair *connected(void)
{
	struct pair *p = new_pair();

	connect_root(p);
	pass(p, 10 * MS);
	assert_int_equal(fb_link_state(p->side[0].link), FB_LINK_UP);
	assert_int_equal(fb_link_state(p->side[1].link), FB_LINK_UP);
	return p;
}

static int send_tag(struct side *s, enum fb_link_class cls, uint32_t tag, size_t len)
{
	uint8_t tlp[FB_LINK_TLP_MAX] = {0};

	fb_put_be32(tlp, tag);
	return fb_link_send(s->link, cls, tlp, 16, tlp + 16, len - 16);
}

/* Beginning */

static void test_begin(void **state)
{
	struct pair *p = new_pair();

	p->side[0].config.mtu = 8972;
	p->side[1].config.mtu = 4052;
	connect_root(p);
	assert_int_equal(pump(p, 0), 1);
	assert_int_equal(p->last_len[0], 8972);
	assert_int_equal(fb_link_state(p->side[1].link), FB_LINK_UP);
	assert_int_equal(fb_link_state(p->side[0].link), FB_LINK_CONNECTING);
	assert_int_equal(fb_link_send(p->side[0].link, FB_LINK_P, "1234", 4, NULL, 0), -ENOTCONN);
	/* What the box queues at once stays with it until the root has shown that it is there. */
	assert_int_equal(send_tag(&p->side[1], FB_LINK_P, 1, 64), 0);
	assert_int_equal(pump(p, 1), 1);
	assert_int_equal(p->last_len[1], 4052);
	assert_int_equal(p->side[0].delivered, 0);
	assert_int_equal(fb_link_state(p->side[0].link), FB_LINK_UP);
	settle(p);
	assert_int_equal(p->side[0].delivered, 1);
	assert_true(p->side[0].ups == 1 && p->side[1].ups == 0);
	assert_int_equal(fb_link_peer(p->side[0].link)->incarnation, 2);
	assert_int_equal(fb_link_peer(p->side[1].link)->incarnation, 1);
	assert_true(fb_link_peer_session(p->side[0].link) == fb_link_session(p->side[1].link));
	assert_true(p->side[0].link->slab.stride == 4052 && p->side[1].link->slab.stride == 4052);
	free_pair(p);
}

static void test_welcome_lost(void **state)
{
	struct pair *p = new_pair();
	struct fb_link *box;

	p->drop[1] = true;
	connect_root(p);
	pass(p, 20 * MS);
	box = p->side[1].link;
	assert_non_null(box);
	assert_int_equal(p->side[1].datagrams, 1); /* one answer to one hello, and no more */
	p->drop[1] = false;
	pass(p, 50 * MS);
	assert_true(p->side[1].link == box && p->side[0].ups == 1);
	assert_int_equal(fb_link_state(p->side[0].link), FB_LINK_UP);
	/* The WELCOME again, late: nothing new */
	pass(p, 50 * MS);
	assert_true(p->side[0].ups == 1 && !p->side[0].deads && !p->side[1].deads);
	free_pair(p);
}

static void test_first_data_lost(void **state)
{
	struct pair *p = new_pair();

	connect_root(p);
	pump(p, 0);
	pump(p, 1);
	assert_int_equal(send_tag(&p->side[1], FB_LINK_P, 1, 64), 0);
	p->drop[0] = true;
	pump(p, 0);
	p->drop[0] = false;
	assert_int_equal(p->side[0].delivered, 0);
	pass(p, 6 * MS); /* not as late as the next keep-alive */
	assert_int_equal(p->side[0].delivered, 1);
	free_pair(p);
}

static void test_candidates(void **state)
{
	static const uint32_t want[] = {65504, 65504, 8972, 8972, 4052, 4052, 1472, 1472, 1232, 1232, 65504};
	struct pair *p = new_pair();
	uint64_t start;

	p->side[0].config.mtu = 65507;
	p->drop[0] = true;
	connect_root(p);
	start = p->now;
	for (unsigned i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		assert_int_equal(pump(p, 0), 1);
		assert_int_equal(p->last_len[0], want[i]);
		assert_true(fb_link_deadline(p->side[0].link) > p->now);
		p->now = fb_link_deadline(p->side[0].link);
		fb_link_timeout(p->side[0].link, p->now);
	}
	pass(p, 10 * S);
	assert_true(p->side[0].deads == 1 && p->side[0].reason == FB_LINK_R_NO_ANSWER && p->now - start > 5 * S);
	assert_int_equal(fb_link_tx(p->side[0].link, p->now, &(struct fb_link_out){0}, 1), 0);
	free_pair(p);
}

/* A path that carries 1,400 bytes: the pair settles on 1,232 and works. */
static void test_small_path(void **state)
{
	struct pair *p = new_pair();

	connect_root(p);
	for (unsigned i = 0; i < 100 && p->side[0].ups == 0; i++) {
		struct fb_link_out out[4];

		for (unsigned side = 0; side < 2; side++) {
			unsigned n = p->side[side].link ? fb_link_tx(p->side[side].link, p->now, out, 4) : 0;

			for (unsigned k = 0; k < n; k++)
				if (out[k].len <= 1400) {
					memcpy(p->last[side], out[k].data, out[k].len);
					arrive(p, !side, p->last[side], out[k].len);
				}
		}
		p->now += 10 * MS;
		fb_link_timeout(p->side[0].link, p->now);
	}
	assert_int_equal(p->side[0].link->slab.stride, 1232);
	assert_int_equal(p->side[1].link->slab.stride, 1232);
	free_pair(p);
}

static void test_accept_errors(void **state)
{
	struct pair *p = new_pair();
	struct side *b = &p->side[1];
	static const uint8_t nonce[16] = {1};
	struct fb_link_config bad = b->config;
	struct fb_link *link;
	uint8_t hello[1472];

	p->drop[0] = true;
	connect_root(p);
	pump(p, 0);
	memcpy(hello, p->last[0], sizeof(hello));
	assert_int_equal(fb_link_accept(&link, &b->config, &b->self, hello, 1471, nonce, &user, b, 0), -EBADMSG);
	fb_put_be16(hello + FB_WIRE_O_VERSION_MIN, 2);
	fb_put_be16(hello + FB_WIRE_O_VERSION_MAX, 7);
	fb_wire_seal(hello, sizeof(hello));
	assert_int_equal(fb_link_accept(&link, &b->config, &b->self, hello, 1472, nonce, &user, b, 0), -EPROTO);
	fb_put_be16(hello + FB_WIRE_O_VERSION_MIN, 1);
	fb_put_be16(hello + FB_WIRE_O_SUITES, 2); /* only a suite that we do not have */
	fb_wire_seal(hello, sizeof(hello));
	assert_int_equal(fb_link_accept(&link, &b->config, &b->self, hello, 1472, nonce, &user, b, 0), -EPROTO);
	bad.mtu = 1231;
	assert_int_equal(fb_link_accept(&link, &bad, &b->self, p->last[0], 1472, nonce, &user, b, 0), -EINVAL);
	assert_int_equal(fb_link_connect(&link, &bad, &b->self, "x", nonce, &user, b, 0), -EINVAL);
	assert_int_equal(fb_link_connect(&link, &b->config, &b->self, "", nonce, &user, b, 0), -EINVAL);
	assert_int_equal(fb_link_connect(&link, &b->config, &b->self, "0123456789abcdef0123456789abcdef", nonce, &user, b, 0),
			 -EINVAL);
	free_pair(p);
}

/* Every field of a hello that has a range, out of it. */
static void test_hello_table(void **state)
{
	static const struct {
		unsigned offset, size;
		uint64_t value;
	} bad[] = {
		{FB_WIRE_O_MAGIC, 2, 0x4643},  {FB_WIRE_O_LAYOUT, 1, 2},	 {FB_WIRE_O_KIND, 1, 0},
		{FB_WIRE_O_KIND, 1, 99},       {FB_WIRE_O_SUITE, 1, 1},		 {FB_WIRE_O_HLEN, 2, 128},
		{FB_WIRE_O_HLEN, 2, 1476},     {FB_WIRE_O_HLEN, 2, 133},	 {FB_WIRE_O_FROM, 8, 0},
		{FB_WIRE_O_VERSION_MIN, 2, 2}, {FB_WIRE_O_H_POS, 8, 2},		 {FB_WIRE_O_H_POS, 8, UINT64_C(1) << 62},
		{FB_WIRE_O_WINDOW, 4, 16383},  {FB_WIRE_O_WINDOW, 4, 1u << 31},	 {FB_WIRE_O_H_POSTED, 4, 4355},
		{FB_WIRE_O_H_NP, 4, 0},	       {FB_WIRE_O_H_NP, 4, 32768},	 {FB_WIRE_O_MTU, 4, 1231},
		{FB_WIRE_O_FUNCTION, 1, 0},    {FB_WIRE_O_FUNCTION + 31, 1, 'x'}, {FB_WIRE_O_H_POSTED, 4, 0xffffffff},
	};
	struct pair *p = new_pair();
	struct fb_link_hello hello;
	uint8_t d[1472], out[256];
	uint64_t session;

	p->drop[0] = true;
	connect_root(p);
	pump(p, 0);
	assert_int_equal(fb_link_classify(p->last[0], 1472, &session, &hello), FB_LINK_K_HELLO);
	assert_string_equal(hello.function, "ssd0");
	assert_true(hello.session == UINT64_C(0x0102030405060708));
	assert_true(hello.version_min == 1 && hello.version_max == 1 && hello.from.incarnation == 1);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memcpy(d, p->last[0], sizeof(d));
		for (unsigned k = 0; k < bad[i].size; k++)
			d[bad[i].offset + k] = (uint8_t)(bad[i].value >> 8 * (bad[i].size - 1 - k));
		fb_wire_seal(d, sizeof(d));
		if (fb_link_classify(d, sizeof(d), &session, &hello) != FB_LINK_K_BAD)
			fail_msg("row %u is accepted", i);
		assert_int_equal(fb_link_refuse(d, sizeof(d), FB_LINK_R_IN_USE, "x", out, sizeof(out)), 0);
	}
	for (uint32_t len = 0; len < 1472; len++)
		assert_int_equal(fb_link_classify(p->last[0], len, &session, &hello), FB_LINK_K_BAD);
	free_pair(p);
}

/* By a box that speaks version `version` and the one after it. */
static void refuse_with(struct pair *p, enum fb_link_reason reason, uint16_t version, const char *text)
{
	uint8_t out[256];
	size_t n;

	p->drop[0] = true;
	connect_root(p);
	pump(p, 0);
	n = fb_link_refuse(p->last[0], p->last_len[0], reason, text, out, sizeof(out));
	assert_true(n && n <= p->last_len[0]);
	fb_put_be16(out + FB_WIRE_O_R_VERSION_MIN, version);
	fb_put_be16(out + FB_WIRE_O_R_VERSION_MAX, version + 1);
	/* Addressed to another session: not ours */
	out[FB_WIRE_O_SESSION] ^= 1;
	fb_wire_seal(out, n);
	fb_link_rx(p->side[0].link, p->now, out, n);
	assert_int_equal(p->side[0].deads, 0);
	out[FB_WIRE_O_SESSION] ^= 1;
	fb_wire_seal(out, n);
	fb_link_rx(p->side[0].link, p->now, out, n);
	fb_link_rx(p->side[0].link, p->now, out, n);
	assert_int_equal(p->side[0].deads, 1);
	assert_int_equal(pump(p, 0), 0);
	assert_true(fb_link_deadline(p->side[0].link) == UINT64_MAX);
}

/* What a later version may have between our fields and the text is skipped. */
static void test_close_of_a_later_version(void **state)
{
	struct fb_wire_head h = {.kind = FB_WIRE_CLOSE, .hlen = FB_WIRE_CLOSE_HLEN, .session = 1, .from = 2};
	char text[FB_WIRE_TEXT_MAX + 1];
	uint8_t d[64] = {0};
	uint16_t reason;
	size_t n = FB_WIRE_CLOSE_HLEN + 4;

	fb_wire_put_head(d, &h);
	fb_put_be16(d + FB_WIRE_O_REASON, FB_LINK_R_HOLD);
	fb_put_be16(d + FB_WIRE_O_TEXT_LEN, 4);
	memcpy(d + FB_WIRE_CLOSE_HLEN, "text", 4);
	assert_true(fb_wire_get_close(d, n, &reason, text));
	assert_string_equal(text, "text");
	memmove(d + FB_WIRE_CLOSE_HLEN + 4, d + FB_WIRE_CLOSE_HLEN, 4);
	memset(d + FB_WIRE_CLOSE_HLEN, 0xff, 4);
	fb_put_be16(d + FB_WIRE_O_HLEN, FB_WIRE_CLOSE_HLEN + 4);
	assert_true(fb_wire_get_close(d, n + 4, &reason, text));
	assert_int_equal(reason, FB_LINK_R_HOLD);
	assert_string_equal(text, "text");
	assert_false(fb_wire_get_close(d, n + 3, &reason, text));
	fb_put_be16(d + FB_WIRE_O_HLEN, FB_WIRE_CLOSE_HLEN - 4);
	assert_false(fb_wire_get_close(d, n + 4, &reason, text));
	fb_put_be16(d + FB_WIRE_O_HLEN, (uint16_t)(n + 8));
	assert_false(fb_wire_get_close(d, n + 4, &reason, text));
}

static void test_refuse(void **state)
{
	struct pair *p = new_pair();
	char text[400];

	refuse_with(p, FB_LINK_R_IN_USE, 1, "another\nroot has it");
	assert_int_equal(p->side[0].reason, FB_LINK_R_IN_USE);
	assert_string_equal(p->side[0].text, "another?root has it");
	free_pair(p);
	p = new_pair();
	refuse_with(p, FB_LINK_R_VERSION, 2, "");
	assert_int_equal(p->side[0].reason, FB_LINK_R_VERSION);
	assert_string_equal(p->side[0].text, "it speaks protocol versions 2 to 3, we 1 to 1");
	free_pair(p);
	p = new_pair();
	refuse_with(p, FB_LINK_R_VERSION, 1, "no suite in common");
	assert_int_equal(p->side[0].reason, FB_LINK_R_VERSION);
	assert_string_equal(p->side[0].text, "no suite in common");
	free_pair(p);
	p = new_pair();
	memset(text, 'x', sizeof(text));
	text[399] = 0;
	refuse_with(p, (enum fb_link_reason)77, 1, text);
	assert_int_equal(p->side[0].reason, FB_LINK_R_PROTOCOL);
	assert_int_equal(strlen(p->side[0].text), FB_WIRE_TEXT_MAX);
	free_pair(p);
}

/* Going on */

static void test_coalesce(void **state)
{
	struct pair *p = connected();
	struct side *r = &p->side[0];
	struct fb_link_out out[64];
	unsigned n;

	for (uint32_t i = 0; i < 20; i++)
		assert_int_equal(send_tag(r, FB_LINK_P, i, 64), 0);
	assert_int_equal(pump(p, 0), 1);
	assert_int_equal(p->side[1].delivered, 20);
	/* Full datagrams are of one size and lie one behind the other. */
	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(send_tag(r, FB_LINK_P, i, 4096), 0);
	n = fb_link_tx(r->link, p->now, out, 64);
	assert_int_equal(n, (8 * 4100 + 1407) / 1408);
	for (unsigned i = 0; i + 1 < n; i++) {
		assert_int_equal(out[i].len, 1472);
		assert_true(out[i].data + 1472 == out[i + 1].data);
	}
	for (unsigned i = 0; i < n; i++) {
		memcpy(p->last[0], out[i].data, out[i].len);
		arrive(p, 1, p->last[0], out[i].len);
	}
	assert_int_equal(p->side[1].delivered, 28);
	free_pair(p);
}

/* Request and completion carry each other's acknowledgements: no datagram is spent on them while it goes on. */
static void test_ping_pong(void **state)
{
	struct pair *p = connected();
	unsigned before;

	p->side[1].echo = true;
	pass(p, 5 * MS);
	before = p->side[0].datagrams + p->side[1].datagrams;
	for (uint32_t i = 0; i < 100; i++) {
		assert_int_equal(send_tag(&p->side[0], FB_LINK_NP, i, 16), 0);
		pass(p, 20000);
		assert_int_equal(p->side[0].delivered, i + 1);
		assert_int_equal(p->side[0].tag[i], i);
	}
	pass(p, 5 * MS);
	before = p->side[0].datagrams + p->side[1].datagrams - before;
	assert_in_range(before, 200, 203);
	free_pair(p);
}

static void test_classes(void **state)
{
	struct pair *p = new_pair();
	struct side *r = &p->side[0], *b = &p->side[1];
	unsigned at;

	b->config.np_credits = 2;
	b->config.posted_credits = 5000;
	b->hold = true;
	connect_root(p);
	pass(p, 10 * MS);
	/* Requests blocked: P and CPL pass. */
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(send_tag(r, FB_LINK_NP, i, 16), 0);
	assert_int_equal(send_tag(r, FB_LINK_P, 10, 4096), 0);
	assert_int_equal(send_tag(r, FB_LINK_CPL, 20, 64), 0);
	pass(p, MS);
	assert_int_equal(b->delivered, 4);
	assert_true(b->order[0] == FB_LINK_NP && b->order[1] == FB_LINK_NP && b->order[2] == FB_LINK_P &&
		    b->order[3] == FB_LINK_CPL);
	/* Posted blocked: what follows it waits, completions too, and requests even with credit. */
	assert_int_equal(send_tag(r, FB_LINK_P, 11, 4096), 0);
	assert_int_equal(send_tag(r, FB_LINK_CPL, 21, 64), 0);
	assert_int_equal(send_tag(r, FB_LINK_NP, 3, 16), 0);
	for (unsigned i = 0; i < 2; i++)
		fb_link_release(b->link, FB_LINK_NP, 16);
	pass(p, MS);
	assert_int_equal(b->delivered, 5); /* request 2 was before the write */
	assert_true(b->order[4] == FB_LINK_NP && b->tag[4] == 2);
	fb_link_release(b->link, FB_LINK_P, 4096);
	pass(p, MS);
	assert_int_equal(b->delivered, 8);
	for (at = 5; b->order[at] != FB_LINK_P; at++)
		assert_int_not_equal(at, 7);
	assert_int_equal(at, 5);
	assert_int_equal(b->order[6], FB_LINK_CPL);
	assert_true(b->order[7] == FB_LINK_NP && b->tag[7] == 3);
	free_pair(p);
}

static void test_bounds(void **state)
{
	struct pair *p = new_pair();
	struct side *r = &p->side[0], *b = &p->side[1];
	unsigned sent = 0, fits;
	uint8_t tlp[FB_LINK_TLP_MAX + 4] = {0};

	b->config.posted_credits = 5000;
	b->config.np_credits = 1;
	r->config.send_queue = 20000;
	b->hold = true;
	connect_root(p);
	pass(p, 10 * MS);
	assert_int_equal(fb_link_send(r->link, FB_LINK_P, NULL, 0, NULL, 0), -EMSGSIZE);
	assert_int_equal(fb_link_send(r->link, FB_LINK_P, tlp, sizeof(tlp), NULL, 0), -EMSGSIZE);
	assert_int_equal(fb_link_send(r->link, FB_LINK_P, tlp, 100, tlp, SIZE_MAX - 50), -EMSGSIZE);
	assert_int_equal(fb_link_send(r->link, FB_LINK_CLASSES, tlp, 16, NULL, 0), -EMSGSIZE);
	assert_int_equal(fb_link_send(r->link, FB_LINK_P, tlp, FB_LINK_TLP_MAX, NULL, 0), 0);
	while (!send_tag(r, FB_LINK_P, sent, 996))
		assert_true(++sent < 100);
	fits = 20000 / 1000;
	assert_int_equal(sent, fits);
	assert_int_equal(send_tag(r, FB_LINK_P, 0, 996), -EAGAIN);
	for (sent = 0; !send_tag(r, FB_LINK_NP, sent, 996); sent++)
		assert_true(sent < 100);
	assert_int_equal(sent, 20); /* behind the writes, though it has a credit */
	assert_int_equal(send_tag(r, FB_LINK_CPL, 0, 996), 0);
	pass(p, MS);
	assert_true(r->writable[FB_LINK_P] == 0 && r->writable[FB_LINK_NP] == 0);
	b->hold = false;
	fb_link_release(b->link, FB_LINK_P, FB_LINK_TLP_MAX);
	pass(p, MS);
	assert_true(r->writable[FB_LINK_P] == 1 && r->writable[FB_LINK_NP] == 1 && r->writable[FB_LINK_CPL] == 0);
	assert_int_equal(b->delivered, 1 + 20 + 20 + 1);
	free_pair(p);
}

static void test_overflow(void **state)
{
	struct pair *p = new_pair();
	struct side *r = &p->side[0], *b = &p->side[1];
	int err = 0;
	unsigned n = 0;

	b->config.posted_credits = 5000;
	b->hold = true;
	connect_root(p);
	pass(p, 10 * MS);
	send_tag(r, FB_LINK_P, 0, 4096);
	send_tag(r, FB_LINK_P, 1, 4096); /* no credit: completions behind it must wait */
	while (!err) {
		err = send_tag(r, FB_LINK_CPL, 2, 4096);
		assert_true(++n <= FB_LINK_COMPLETIONS_MAX / 4100 + 1);
	}
	assert_int_equal(err, -ENOTCONN);
	assert_int_equal(r->deads, 0); /* not from inside send() */
	assert_int_equal(fb_link_deadline(r->link), 0);
	pass(p, MS);
	assert_true(r->deads == 1 && r->reason == FB_LINK_R_OVERFLOW);
	assert_true(b->deads == 1 && b->reason == FB_LINK_R_OVERFLOW);
	free_pair(p);
}

/* A credit update that is lost is asked for again, long before the next keep-alive. */
static void test_credit_lost(void **state)
{
	struct pair *p = new_pair();
	struct side *r = &p->side[0], *b = &p->side[1];

	b->config.np_credits = 1;
	b->hold = true;
	connect_root(p);
	pass(p, 10 * MS);
	send_tag(r, FB_LINK_NP, 0, 16);
	send_tag(r, FB_LINK_NP, 1, 16);
	pass(p, 2 * MS);
	assert_int_equal(b->delivered, 1);
	p->drop[1] = true;
	fb_link_release(b->link, FB_LINK_NP, 16);
	assert_int_equal(pump(p, 1), 1);
	p->drop[1] = false;
	pass(p, 10 * MS);
	assert_int_equal(b->delivered, 2);
	free_pair(p);
}

static void test_keep_alive(void **state)
{
	struct pair *p = connected();
	unsigned before = p->side[0].datagrams + p->side[1].datagrams;

	pass(p, 100 * S);
	assert_true(!p->side[0].deads && !p->side[1].deads);
	assert_in_range(p->side[0].datagrams + p->side[1].datagrams - before, 100, 204);
	p->drop[0] = true;
	pass(p, 29 * S);
	assert_true(!p->side[0].deads && !p->side[1].deads);
	pass(p, 2 * S);
	assert_true(p->side[1].deads == 1 && p->side[1].reason == FB_LINK_R_HOLD);
	assert_true(p->side[0].deads == 1 && p->side[0].reason == FB_LINK_R_HOLD); /* told */
	free_pair(p);
}

/* A short hold time of one end makes the other speak often enough. */
static void test_uneven_hold(void **state)
{
	struct pair *p = new_pair();

	p->side[0].config.hold_ns = 600 * MS;
	p->side[1].config.keepalive_ns = 10 * S;
	connect_root(p);
	pass(p, 60 * S);
	assert_true(!p->side[0].deads && !p->side[1].deads);
	free_pair(p);
}

static void test_mtu(void **state)
{
	struct pair *p = connected();
	struct side *r = &p->side[0];

	p->drop[0] = true;
	for (uint32_t i = 0; i < 20; i++)
		assert_int_equal(send_tag(r, FB_LINK_P, i, 4096), 0);
	pump(p, 0);
	p->drop[0] = false;
	fb_link_shrink(r->link, 1300);
	fb_link_shrink(r->link, 9000); /* never up */
	pass(p, 100 * MS);
	assert_int_equal(p->side[1].delivered, 20);
	for (uint32_t i = 0; i < 20; i++)
		assert_int_equal(p->side[1].tag[i], i);
	assert_int_equal(r->link->slab.stride, 1300);
	fb_link_shrink(r->link, 5);
	assert_int_equal(r->link->slab.stride, FB_LINK_MTU_MIN);
	free_pair(p);
}

/* Ending */

static void test_close(void **state)
{
	struct pair *p = connected();

	fb_link_close(p->side[1].link, FB_LINK_R_REMOVED, "the disk is being taken away", p->now);
	fb_link_close(p->side[1].link, FB_LINK_R_NORMAL, "again", p->now);
	settle(p);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(p->side[i].deads == 1 && p->side[i].reason == FB_LINK_R_REMOVED);
		assert_string_equal(p->side[i].text, "the disk is being taken away");
		assert_int_equal(send_tag(&p->side[i], FB_LINK_CPL, 0, 16), -ENOTCONN);
		assert_true(fb_link_deadline(p->side[i].link) == UINT64_MAX);
	}
	free_pair(p);
}

static void test_close_inside(void **state)
{
	struct pair *p = connected();

	p->side[1].close_in_deliver = true;
	for (uint32_t i = 0; i < 10; i++)
		assert_int_equal(send_tag(&p->side[0], FB_LINK_P, i, 64), 0);
	settle(p);
	assert_int_equal(p->side[1].delivered, 1); /* and nothing after it */
	assert_true(p->side[1].deads == 1 && p->side[0].deads == 1);
	free_pair(p);
}

static void test_unknown(void **state)
{
	struct pair *p = connected();
	uint8_t out[256], data[64];
	size_t n;

	send_tag(&p->side[0], FB_LINK_P, 0, 64);
	p->drop[0] = true;
	pump(p, 0);
	n = fb_link_unknown(p->last[0], p->last_len[0], out, sizeof(out));
	assert_true(n && n <= p->last_len[0]);
	assert_int_equal(fb_link_unknown(out, n, data, sizeof(data)), 0); /* no answer to an end */
	/* Another peer's session in it: not believed */
	out[FB_WIRE_O_FROM + 3] ^= 0x10;
	fb_wire_seal(out, n);
	fb_link_rx(p->side[0].link, p->now, out, n);
	assert_int_equal(p->side[0].deads, 0);
	out[FB_WIRE_O_FROM + 3] ^= 0x10;
	fb_link_rx(p->side[0].link, p->now, out, n); /* damaged */
	assert_int_equal(p->side[0].deads, 0);
	assert_int_equal(p->side[0].link->stats.rx_corrupt, 1);
	fb_wire_seal(out, n);
	fb_link_rx(p->side[0].link, p->now, out, n);
	assert_true(p->side[0].deads == 1 && p->side[0].reason == FB_LINK_R_UNKNOWN);
	p->last[0][40] ^= 1;
	assert_int_equal(fb_link_unknown(p->last[0], p->last_len[0], out, sizeof(out)), 0); /* damaged: no answer */
	free_pair(p);
}

/* A hello and nothing after it: the box lets go after the connect time. */
static void test_silent_root(void **state)
{
	struct pair *p = new_pair();

	connect_root(p);
	pump(p, 0);
	fb_link_free(p->side[0].link);
	p->side[0].link = NULL;
	send_tag(&p->side[1], FB_LINK_P, 0, 64);
	pass(p, 4 * S);
	assert_int_equal(p->side[1].datagrams, 1); /* the WELCOME, to an address that may be someone else's */
	assert_int_equal(p->side[1].deads, 0);
	pass(p, 2 * S);
	assert_true(p->side[1].deads == 1 && p->side[1].reason == FB_LINK_R_NO_ANSWER);
	free_pair(p);
}

/* A peer that breaks the protocol, by a datagram that is well-formed and well-addressed. */
struct enemy {
	const char *what;
	unsigned offset, size;
	uint64_t value;
	enum fb_link_reason reason; /* NONE: ignored */
};

static void test_enemy(void **state)
{
	static const struct enemy rows[] = {
		{"unchanged", 0, 0, 0, FB_LINK_R_NONE},
		{"class", 64, 1, 3, FB_LINK_R_PROTOCOL},
		{"record's zero", 65, 1, 1, FB_LINK_R_PROTOCOL},
		{"record of nothing", 66, 2, 0, FB_LINK_R_PROTOCOL},
		{"record too long", 66, 2, FB_LINK_TLP_MAX + 1, FB_LINK_R_PROTOCOL},
		{"acknowledges the future", FB_WIRE_O_ACK, 8, UINT64_C(1) << 40, FB_LINK_R_PROTOCOL},
		{"position far ahead", FB_WIRE_O_POS, 8, UINT64_C(1) << 40, FB_LINK_R_NONE},
		{"position at the end of all", FB_WIRE_O_POS, 8, UINT64_MAX - 3, FB_LINK_R_NONE},
		{"position odd", FB_WIRE_O_POS, 8, 2, FB_LINK_R_NONE},
		{"position in the past", FB_WIRE_O_POS, 8, 0, FB_LINK_R_NONE},
		{"header beyond the end", FB_WIRE_O_HLEN, 2, 4096, FB_LINK_R_NONE},
		{"header too short", FB_WIRE_O_HLEN, 2, 60, FB_LINK_R_NONE},
		{"half a range", FB_WIRE_O_HLEN, 2, 68, FB_LINK_R_NONE},
		{"echo of the future", FB_WIRE_O_ECHO, 4, 0x7fffffff, FB_LINK_R_NONE},
		{"limits far away", FB_WIRE_O_POSTED, 8, UINT64_C(0x7000000070000000), FB_LINK_R_NONE},
		{"sender unknown", FB_WIRE_O_FROM, 8, 77, FB_LINK_R_NONE},
		{"suite", FB_WIRE_O_SUITE, 1, 3, FB_LINK_R_NONE},
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct pair *p = connected();
		uint8_t d[2048];

		p->drop[0] = true;
		send_tag(&p->side[0], FB_LINK_P, 0, 1000);
		pump(p, 0);
		memcpy(d, p->last[0], p->last_len[0]);
		for (unsigned k = 0; k < rows[i].size; k++)
			d[rows[i].offset + k] = (uint8_t)(rows[i].value >> 8 * (rows[i].size - 1 - k));
		fb_wire_seal(d, p->last_len[0]);
		fb_link_rx(p->side[1].link, p->now, d, p->last_len[0]);
		if (p->side[1].reason != rows[i].reason)
			fail_msg("%s: %s", rows[i].what, fb_link_reason_name(p->side[1].reason));
		p->drop[0] = false;
		if (rows[i].reason == FB_LINK_R_NONE) {
			/* and the true one works all the same */
			pass(p, 500 * MS);
			if (p->side[1].delivered != 1 || p->side[1].deads)
				fail_msg("%s: the session is hurt", rows[i].what);
		}
		free_pair(p);
	}
}

static void test_beyond_credit(void **state)
{
	struct pair *p = new_pair();

	p->side[1].config.np_credits = 2;
	p->side[1].hold = true;
	connect_root(p);
	pass(p, 10 * MS);
	p->side[0].link->credit.np_limit += 100; /* a root that cheats */
	for (uint32_t i = 0; i < 3; i++)
		send_tag(&p->side[0], FB_LINK_NP, i, 16);
	settle(p);
	assert_int_equal(p->side[1].delivered, 2);
	assert_true(p->side[1].reason == FB_LINK_R_PROTOCOL && p->side[0].reason == FB_LINK_R_PROTOCOL);
	free_pair(p);
}

static void test_names(void **state)
{
	for (unsigned i = 0; i < FB_LINK_STATES; i++)
		assert_true(strlen(fb_link_state_name((enum fb_link_state)i)) > 1);
	for (unsigned i = 0; i < FB_LINK_REASONS; i++)
		assert_true(strlen(fb_link_reason_name((enum fb_link_reason)i)) > 1);
	assert_string_equal(fb_link_reason_name((enum fb_link_reason)1000), "?");
	assert_string_equal(fb_link_state_name((enum fb_link_state)-1), "?");
}

/* The two clocks differ; the ways there and back do, too. Both ends know the difference to within what they say. */
static void test_clock_offset(void **state)
{
	static const int64_t differences[] = {0, 123456789012345, -5000000};

	for (unsigned k = 0; k < sizeof(differences) / sizeof(differences[0]); k++) {
		struct pair *p = new_pair();
		struct fb_link_stats seen[2];

		p->side[0].config.clock_ns = 1000;
		p->side[1].config.clock_ns = 1000 + differences[k];
		connect_root(p);
		for (unsigned i = 0; i < 60000; i++) { /* 12 s */
			uint64_t slow = i % 50 ? 400000 : 0; /* most exchanges are bad ones */

			pump(p, 0);
			p->now += 30000 + slow;
			pump(p, 1);
			p->now += 10000;
			for (unsigned s = 0; s < 2 && p->side[s].link; s++) {
				if (fb_link_deadline(p->side[s].link) <= p->now)
					fb_link_timeout(p->side[s].link, p->now);
			}
			p->now += 160000;
			if (i % 50 == 0)
				fb_link_send(p->side[0].link, FB_LINK_P, "1234", 4, NULL, 0);
		}
		for (unsigned s = 0; s < 2; s++) {
			int64_t expected = s ? -differences[k] : differences[k], wrong;

			fb_link_get_stats(p->side[s].link, &seen[s]);
			wrong = seen[s].clock_offset_ns - expected;
			assert_true(seen[s].clock_error_ns > 0 && seen[s].clock_error_ns < 1000000);
			assert_true(wrong <= (int64_t)seen[s].clock_error_ns && -wrong <= (int64_t)seen[s].clock_error_ns);
		}
		free_pair(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clock_offset),
		cmocka_unit_test(test_begin),	     cmocka_unit_test(test_welcome_lost),
		cmocka_unit_test(test_first_data_lost), cmocka_unit_test(test_candidates),
		cmocka_unit_test(test_small_path),   cmocka_unit_test(test_accept_errors),
		cmocka_unit_test(test_hello_table),  cmocka_unit_test(test_refuse),
		cmocka_unit_test(test_close_of_a_later_version),
		cmocka_unit_test(test_coalesce),     cmocka_unit_test(test_ping_pong),
		cmocka_unit_test(test_classes),	     cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_overflow),     cmocka_unit_test(test_credit_lost),
		cmocka_unit_test(test_keep_alive),   cmocka_unit_test(test_uneven_hold),
		cmocka_unit_test(test_mtu),	     cmocka_unit_test(test_close),
		cmocka_unit_test(test_close_inside), cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_silent_root),  cmocka_unit_test(test_enemy),
		cmocka_unit_test(test_beyond_credit), cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
