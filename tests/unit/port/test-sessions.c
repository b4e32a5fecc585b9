/* SPDX-License-Identifier: Apache-2.0 */
/* Hellos, refusals, takeover, closing inside callbacks, and peers that are gone. */
#include <errno.h>

#include "link/link_wire.h"
#include "util/log.h"
#include "world.h"

static struct world *up_world(const char *listen, bool one_loop)
{
	struct world *w = world_new();

	world_open(w, listen, one_loop);
	world_connect(w, 0);
	world_wait(w, w->ends[0][0].ups && w->ends[0][1].port);
	return w;
}

static void test_refused(void **state)
{
	struct world *w = world_new();
	struct end e = {0};
	char peer[80];

	w->refuse = FB_LINK_R_GROUP;
	world_open(w, "loopback:box", true);
	world_connect(w, 0);
	world_wait(w, w->ends[0][0].downs);
	assert_int_equal(w->ends[0][0].reason, FB_LINK_R_GROUP);
	assert_non_null(strstr(w->ends[0][0].text, "because the test says so"));
	assert_int_equal(w->ends[0][0].ups, 0);
	assert_int_equal(fb_carrier_stats(w->box)->refused[FB_LINK_R_GROUP], 1);
	fb_port_close(w->ends[0][0].port, 0, NULL);
	/* No such function. */
	w->refuse = 0;
	assert_int_equal(fb_port_connect(&e.port, w->root, w->address, "ghost", &world_user, &e), 0);
	world_wait(w, e.downs);
	assert_int_equal(e.reason, FB_LINK_R_NO_FUNCTION);
	fb_port_close(e.port, 0, NULL);
	/* A box that closes the port in hello(). */
	w->close_in_hello = true;
	world_connect(w, 1);
	world_wait(w, w->ends[1][0].downs);
	assert_int_equal(w->ends[1][0].reason, FB_LINK_R_REMOVED);
	w->ends[1][1].port = NULL;
	w->close_in_hello = false;
	/* A root accepts nobody. */
	fb_carrier_local(w->root, peer, sizeof(peer));
	memset(&e, 0, sizeof(e));
	assert_int_equal(fb_port_connect(&e.port, w->box, peer, "f0", &world_user, &e), 0);
	world_wait(w, e.downs);
	assert_int_equal(e.reason, FB_LINK_R_NO_FUNCTION);
	world_close(w);
}

static void test_bad_arguments(void **state)
{
	struct world *w = world_new();
	struct fb_carrier_config config;
	struct fb_carrier *c;
	struct end e = {0};

	world_open(w, "udp:127.0.0.1:0", true);
	assert_int_equal(fb_port_connect(&e.port, w->root, "loopback:x", "f0", &world_user, &e), -EINVAL);
	assert_int_equal(fb_port_connect(&e.port, w->root, "tcp:x", "f0", &world_user, &e), -EINVAL);
	assert_int_equal(fb_port_connect(&e.port, w->root, "udp:somewhere", "f0", &world_user, &e), -EINVAL);
	assert_int_equal(fb_port_connect(&e.port, w->root, w->address, "", &world_user, &e), -EINVAL);
	assert_int_equal(fb_port_connect(&e.port, w->root, w->address, "abcdefghijklmnopqrstuvwxyz0123456789", &world_user,
					 &e), -EINVAL);
	assert_int_equal(fb_port_connect(&e.port, w->root, "udp:127.0.0.1:0", "f0", &world_user, &e), -EADDRNOTAVAIL);
	world_config(&config, 1);
	assert_int_equal(fb_carrier_open(&c, w->box_loop, &config, NULL, NULL), -EINVAL);
	config.listen = "carrier-pigeon:1";
	assert_int_equal(fb_carrier_open(&c, w->box_loop, &config, NULL, NULL), -EINVAL);
	config.listen = w->address;
	assert_int_equal(fb_carrier_open(&c, w->box_loop, &config, NULL, NULL), -EADDRINUSE);
	config.listen = "udp:127.0.0.1:0";
	config.fault = "drop=all";
	assert_int_equal(fb_carrier_open(&c, w->box_loop, &config, NULL, NULL), -EINVAL);
	world_close(w);
}

/* A lost WELCOME: the hello comes again and finds its session; the box's user hears of one root only. */
static void test_repeated_hello(void **state)
{
	struct world *w = world_new();

	w->box_config.fault = "drop=50%,seed=11";
	w->root_config.fault = "drop=50%,dup=50%,seed=12";
	w->root_config.link.connect_ns = 50000 * WORLD_MS; /* patience for a bad streak */
	world_open(w, "loopback:box", true);
	for (unsigned f = 0; f < FUNCTIONS; f++)
		world_connect(w, f);
	for (unsigned f = 0; f < FUNCTIONS; f++)
		world_wait(w, w->ends[f][0].ups == 1);
	assert_int_equal(w->hellos, FUNCTIONS);
	assert_true(fb_carrier_stats(w->box)->hellos > FUNCTIONS);
	world_close(w);
}

/* The same root connects anew: the box's old port goes down first, then the new one is accepted. */
static void test_takeover(void **state)
{
	struct world *w = up_world("loopback:box", false);
	struct fb_carrier_config config = w->root_config;
	struct fb_carrier *again;
	struct end *old = &w->ends[0][1], fresh = {0};

	config.self.incarnation = 2;
	old->close_in_down = false;
	assert_int_equal(fb_carrier_open(&again, w->root_loop, &config, NULL, NULL), 0);
	assert_int_equal(fb_port_connect(&fresh.port, again, w->address, "f0", &world_user, &fresh), 0);
	world_wait(w, fresh.ups);
	assert_int_equal(w->hellos, 2);
	world_wait(w, w->ends[0][0].downs);
	assert_int_equal(w->ends[0][0].reason, FB_LINK_R_SUPERSEDED);
	/* The start before that one comes too late. */
	world_wait(w, w->ends[0][1].port != NULL);
	fb_port_close(w->ends[0][0].port, 0, NULL);
	world_connect(w, 0);
	world_wait(w, w->ends[0][0].downs);
	assert_int_equal(w->ends[0][0].ups, 0);
	assert_int_equal(w->ends[0][0].reason, FB_LINK_R_SUPERSEDED);
	assert_int_equal(fresh.downs, 0);
	/* Another node is not that root. */
	config.self.node[0]++;
	fb_port_close(w->ends[0][0].port, 0, NULL);
	fb_carrier_close(w->root);
	assert_int_equal(fb_carrier_open(&w->root, w->root_loop, &config, NULL, NULL), 0);
	world_connect(w, 0);
	world_wait(w, w->ends[0][0].downs);
	assert_int_equal(w->ends[0][0].reason, FB_LINK_R_IN_USE);
	fb_carrier_close(again);
	world_close(w);
}

static void test_close_tells_the_peer(void **state)
{
	struct world *w = up_world("udp:127.0.0.1:0", false);

	fb_port_close(w->ends[0][0].port, FB_LINK_R_NORMAL, "had enough");
	w->ends[0][0].port = NULL;
	world_wait(w, w->ends[0][1].downs);
	assert_int_equal(w->ends[0][1].reason, FB_LINK_R_NORMAL);
	/* And the other way, by closing the whole carrier. */
	world_connect(w, 1);
	world_wait(w, w->ends[1][0].ups && w->ends[1][1].port);
	fb_carrier_close(w->box);
	w->box = NULL;
	world_wait(w, w->ends[1][0].downs);
	assert_int_equal(w->ends[1][0].reason, FB_LINK_R_NORMAL);
	assert_int_equal(fb_port_send(w->ends[1][0].port, &(struct pcie_tlp){.type = PCIE_TLP_CPL, .byte_count = 4}),
			 -ENOTCONN);
	world_close(w);
}

/* Ports and carriers closed inside their own callbacks, with traffic under way. */
static void test_closed_inside_callbacks(void **state)
{
	static const struct {
		unsigned side;
		bool in_up, carrier;
		uint64_t at;
	} rows[] = {
		{0, false, false, 1}, {1, false, false, 1},   {0, false, false, 57}, {1, false, false, 203},
		{0, true, false, 0},  {1, false, true, 0}, {0, false, true, 0},
	};

	for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
		struct world *w = world_new();
		struct end *root, *victim, *other;

		world_open(w, i & 1 ? "udp:127.0.0.1:0" : "loopback:box", i & 2);
		root = world_connect(w, 0);
		root->close_in_up = rows[i / 2].in_up;
		world_wait(w, root->ups && w->ends[0][1].port);
		victim = &w->ends[0][rows[i / 2].side];
		other = &w->ends[0][!rows[i / 2].side];
		victim->close_at = rows[i / 2].at;
		if (rows[i / 2].carrier) {
			struct fb_carrier **which = rows[i / 2].side ? &w->box : &w->root;

			victim->close_carrier = *which;
			*which = NULL;
		}
		other->close_in_down = true;
		while (!other->downs) {
			world_pump(root, &w->ends[0][1], 1000, 30);
			world_pump(&w->ends[0][1], root, 1000, 30);
			world_round(w);
		}
		assert_null(victim->port);
		assert_null(other->port);
		assert_int_equal(victim->downs, 0);
		world_close(w);
	}
}

/* writable() comes from inside the flush that sends: a port closed there still says why, and is freed once. */
static void test_closed_inside_writable(void **state)
{
	for (unsigned i = 0; i < 4; i++) {
		struct world *w = world_new();
		struct end *ends = w->ends[0], *victim = &ends[i & 1], *other = &ends[!(i & 1)];

		w->root_config.link.send_queue = w->box_config.link.send_queue = 8192;
		world_open(w, i & 2 ? "udp:127.0.0.1:0" : "loopback:box", false);
		world_connect(w, 0);
		world_wait(w, ends[0].ups && ends[1].port);
		other->close_in_down = victim->close_in_writable = true;
		while (!other->downs) {
			world_pump(victim, other, 100000, 10000);
			world_round(w);
		}
		assert_null(victim->port);
		assert_int_equal(victim->downs, 0);
		assert_int_equal(other->reason, FB_LINK_R_REMOVED);
		assert_string_equal(other->text, "closed inside writable()");
		world_close(w);
	}
}

/* The root stands still: the box gives it up after the hold time, and the root learns when it wakes. */
static void test_peer_disappears(void **state)
{
	struct world *w = world_new();
	uint64_t start, now;

	w->box_config.link.hold_ns = 300 * WORLD_MS;
	w->box_config.link.keepalive_ns = 50 * WORLD_MS;
	w->root_config.link = w->box_config.link;
	world_open(w, "udp:127.0.0.1:0", false);
	world_connect(w, 0);
	world_wait(w, w->ends[0][0].ups && w->ends[0][1].port);
	/* Keep-alives hold an idle session up. */
	start = fb_clock_ns();
	world_wait(w, fb_clock_ns() - start > 600 * WORLD_MS);
	assert_int_equal(w->ends[0][0].downs + w->ends[0][1].downs, 0);
	start = fb_clock_ns();
	while (!w->ends[0][1].downs)
		assert_int_equal(fb_loop_once(w->box_loop, FB_NEVER), 0);
	now = fb_clock_ns();
	assert_int_equal(w->ends[0][1].reason, FB_LINK_R_HOLD);
	assert_in_range((now - start) / WORLD_MS, 200, 5000);
	world_wait(w, w->ends[0][0].downs);
	world_close(w);
}

/*
 * A box that was killed and started again knows nothing of the session, and
 * says so. (Its last word, CLOSE, is still in the delay when its net closes.)
 */
static void test_restarted_box(void **state)
{
	struct world *w = world_new();

	w->box_config.fault = "delay=20ms";
	w->root_config.link.keepalive_ns = 50 * WORLD_MS;
	world_open(w, "loopback:box", false);
	world_connect(w, 0);
	world_wait(w, w->ends[0][0].ups && w->ends[0][1].port);
	fb_carrier_close(w->box);
	assert_int_equal(fb_carrier_open(&w->box, w->box_loop, &w->box_config, &world_acceptor, w), 0);
	world_wait(w, w->ends[0][0].downs);
	assert_int_equal(w->ends[0][0].reason, FB_LINK_R_UNKNOWN);
	assert_true(fb_carrier_stats(w->box)->rx_unknown_session > 0);
	world_close(w);
}

static void test_no_answer(void **state)
{
	struct world *w = world_new();
	struct end e = {0};

	w->root_config.link.connect_ns = 200 * WORLD_MS;
	world_open(w, "udp:127.0.0.1:0", true);
	assert_int_equal(fb_port_connect(&e.port, w->root, "udp:127.0.0.1:9", "f0", &world_user, &e), 0);
	world_wait(w, e.downs);
	assert_int_equal(e.reason, FB_LINK_R_NO_ANSWER);
	world_close(w);
}

/* A root of another version, or suite, is told so, by a REFUSE no larger than its HELLO, and nobody else notices. */
struct refusal {
	unsigned n;
	uint8_t kind;
	uint16_t reason;
	char text[FB_WIRE_TEXT_MAX + 1];
	size_t len;
};

static void refusal_rx(void *arg, const struct fb_net_addr *from, const uint8_t *data, size_t len)
{
	struct refusal *r = arg;

	r->n++;
	r->kind = data[FB_WIRE_O_KIND];
	r->len = len;
	assert_true(fb_wire_crc_ok(data, len));
	assert_true(fb_wire_get_close(data, len, &r->reason, r->text));
}

static void no_deliver_state(void *arg, enum fb_link_state state, enum fb_link_reason reason, const char *text)
{
}

static void refusal_nothing(void *arg)
{
}

static void test_other_version(void **state)
{
	static const struct fb_net_user user = {refusal_rx, refusal_nothing, refusal_nothing};
	static const struct fb_link_user link_user = {.state = no_deliver_state};
	struct world *w = up_world("loopback:box", true);
	struct fb_link_out out;
	struct refusal r = {0};
	struct fb_link *link;
	struct fb_net *net;
	struct fb_net_addr to;
	uint8_t hello[FB_WIRE_MTU_MAX], nonce[16] = {1, 2, 3};
	struct fb_dgram d = {hello, 0};

	assert_int_equal(fb_net_loopback.open(&net, w->box_loop, NULL, NULL, &user, &r), 0);
	assert_int_equal(fb_net_loopback.parse("box", &to), 0);
	assert_int_equal(fb_link_connect(&link, &w->root_config.link, &w->root_config.self, "f1", nonce, &link_user, NULL,
					 fb_clock_ns()), 0);
	assert_int_equal(fb_link_tx(link, fb_clock_ns(), &out, 1), 1);
	d.len = out.len;
	memcpy(hello, out.data, out.len);
	fb_put_be16(hello + FB_WIRE_O_VERSION_MIN, FB_WIRE_VERSION_MAX + 1);
	fb_put_be16(hello + FB_WIRE_O_VERSION_MAX, FB_WIRE_VERSION_MAX + 3);
	fb_wire_seal(hello, d.len);
	net->ops->send(net, &to, &d, 1);
	world_wait(w, r.n);
	assert_int_equal(r.kind, FB_WIRE_REFUSE);
	assert_int_equal(r.reason, FB_LINK_R_VERSION);
	assert_non_null(strstr(r.text, "speaks 2 to 4"));
	assert_true(r.len <= d.len);
	/* The same root's, for the function that it has: nothing happens to that. */
	fb_put_be16(hello + FB_WIRE_O_VERSION_MIN, FB_WIRE_VERSION_MIN);
	fb_put_be16(hello + FB_WIRE_O_SUITES, 2);
	hello[FB_WIRE_O_FUNCTION + 1] = '0';
	fb_wire_seal(hello, d.len);
	net->ops->send(net, &to, &d, 1);
	world_wait(w, r.n == 2);
	assert_int_equal(r.reason, FB_LINK_R_VERSION);
	assert_non_null(strstr(r.text, "suite"));
	assert_int_equal(w->hellos, 1);
	assert_int_equal(w->ends[0][0].downs, 0);
	fb_link_free(link);
	net->ops->close(net);
	world_close(w);
}

/* Noise of every length, and real datagrams with flipped bits, beside traffic that must not notice. */
static void noise_rx(void *arg, const struct fb_net_addr *from, const uint8_t *data, size_t len)
{
	/* Answers to noise: never larger than what was sent (1,400 bytes at most). */
	assert_true(len <= 1400);
}

static void noise_nothing(void *arg)
{
}

static void test_garbage(void **state)
{
	static const struct fb_net_user user = {noise_rx, noise_nothing, noise_nothing};
	struct world *w = up_world("loopback:box", true);
	struct fb_net *net;
	struct fb_net_addr to;
	uint8_t data[1400];
	uint64_t r = 99;

	assert_int_equal(fb_net_loopback.open(&net, w->box_loop, NULL, NULL, &user, NULL), 0);
	assert_int_equal(fb_net_loopback.parse(w->address + strlen("loopback:"), &to), 0);
	for (unsigned i = 0; i < 20000; i++) {
		struct fb_dgram d = {data, (uint32_t)((r = world_mix(r + i)) % sizeof(data))};

		for (unsigned k = 0; k < d.len; k += 8) {
			uint64_t word = world_mix(r + k);

			memcpy(data + k, &word, d.len - k < 8 ? d.len - k : 8);
		}
		net->ops->send(net, &to, &d, 1);
		if (i % 20 == 0) {
			world_pump(&w->ends[0][0], &w->ends[0][1], 1000, 1);
			world_pump(&w->ends[0][1], &w->ends[0][0], 1000, 1);
			world_round(w);
		}
	}
	world_wait(w, fb_carrier_stats(w->box)->rx_bad + fb_carrier_stats(w->box)->rx_unknown_session >= 20000);
	assert_int_equal(w->ends[0][0].downs + w->ends[0][1].downs, 0);
	assert_true(w->ends[0][1].rx[0] > 100);
	assert_int_equal(w->hellos, 1);
	net->ops->close(net);
	world_close(w);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_bad_arguments),
		cmocka_unit_test(test_repeated_hello),
		cmocka_unit_test(test_takeover),
		cmocka_unit_test(test_close_tells_the_peer),
		cmocka_unit_test(test_closed_inside_callbacks),
		cmocka_unit_test(test_closed_inside_writable),
		cmocka_unit_test(test_peer_disappears),
		cmocka_unit_test(test_restarted_box),
		cmocka_unit_test(test_no_answer),
		cmocka_unit_test(test_other_version),
		cmocka_unit_test(test_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
