/* SPDX-License-Identifier: Apache-2.0 */
/* Life of a link: it is made, fed, asked for its next deadline, and dies. What it does in between is in the other files. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "link/impl.h"

static const char *const state_names[] = {"connecting", "up", "dead"};
_Static_assert((int)FB_LINK_TLP_MAX == (int)FB_WIRE_TLP_MAX && (int)FB_LINK_MTU_MIN == (int)FB_WIRE_MTU_MIN &&
	       (int)FB_LINK_MTU_MAX == (int)FB_WIRE_MTU_MAX, "limits");
_Static_assert(sizeof(state_names) / sizeof(state_names[0]) == FB_LINK_STATES, "a name for each state");

static const char *const reason_names[] = {
	"none", "closed by its user", "nothing heard for the hold time", "no protocol version in common",
	"no such function", "function in use", "other group", "session unknown to the peer", "protocol broken",
	"superseded", "function removed", "overflow", "no answer",
	"not allowed",
};
_Static_assert(sizeof(reason_names) / sizeof(reason_names[0]) == FB_LINK_REASONS, "a name for each reason");

const char *fb_link_state_name(enum fb_link_state state)
{
	return (unsigned)state < FB_LINK_STATES ? state_names[state] : "?";
}

const char *fb_link_reason_name(enum fb_link_reason reason)
{
	return (unsigned)reason < FB_LINK_REASONS ? reason_names[reason] : "?";
}

void fb_link_config_default(struct fb_link_config *config)
{
	*config = (struct fb_link_config){
		.mtu = 1472,
		/* Small enough that what is under way stays in a core's cache: measured, docs/design/link.md. */
		.window = 512 << 10,
		.np_credits = 1024,
		.posted_credits = 1 << 20,
		.send_queue = 128 << 10,
		.hold_ns = UINT64_C(30000000000),
		.keepalive_ns = UINT64_C(1000000000),
		.connect_ns = UINT64_C(5000000000),
		.min_rto_ns = 1000000,
		.max_rto_ns = 200000000,
	};
}

static bool config_ok(const struct fb_link_config *c)
{
	return c->mtu >= FB_WIRE_MTU_MIN && c->window && c->window <= UINT32_C(1) << 28 && c->np_credits &&
	       c->np_credits <= FB_WIRE_NP_MAX && c->posted_credits && c->posted_credits <= UINT32_C(1) << 30 &&
	       c->send_queue && c->hold_ns && c->hold_ns / 1000000 <= UINT32_MAX && c->keepalive_ns && c->connect_ns &&
	       c->min_rto_ns && c->max_rto_ns >= c->min_rto_ns;
}

static struct fb_link *new_link(const struct fb_link_config *config, const struct fb_link_identity *self,
				const char *function, const uint8_t nonce[16], const struct fb_link_user *user,
				void *arg, uint64_t now)
{
	struct fb_link *link = calloc(1, sizeof(*link));

	if (!link)
		return NULL;
	link->config = *config;
	if (link->config.mtu > FB_WIRE_MTU_MAX)
		link->config.mtu = FB_WIRE_MTU_MAX;
	link->config.mtu &= ~3u;
	if (link->config.posted_credits < FB_WIRE_RECORD_MAX)
		link->config.posted_credits = FB_WIRE_RECORD_MAX;
	for (link->rcv_window = FB_WIRE_WINDOW_MIN; link->rcv_window < config->window;)
		link->rcv_window *= 2;
	link->user = *user;
	link->arg = arg;
	link->self = *self;
	strncpy(link->function, function, sizeof(link->function) - 1);
	/* 16 random bytes: 8 for the session id, 4 for the first number, 4 for the first position */
	link->session = fb_get_be64(nonce);
	if (!link->session)
		link->session = 1;
	link->number = link->first_number = fb_get_be32(nonce + 8);
	link->first_pos = fb_get_be32(nonce + 12) & ~UINT32_C(3);
	link->started = link->last_rx = link->last_tx = now;
	link->rto_at = link->rack_at = link->probe_at = link->ack_at = link->confirm_at = link->hello_at = FB_NEVER;
	fb_rto_init(&link->rto, config->min_rto_ns, config->max_rto_ns, FB_WIRE_ACK_DELAY_NS);
	link->control_cap = link->config.mtu;
	link->control = malloc(link->control_cap);
	link->times = malloc(FB_TIMES * sizeof(*link->times));
	if (link->control && link->times)
		return link;
	fb_link_free(link);
	return NULL;
}

int fb_link_session_start(struct fb_link *link, uint64_t now, const struct fb_wire_hello *peer, uint32_t mtu)
{
	uint64_t third = (uint64_t)peer->hold_ms * 1000000 / 3;
	int err;

	mtu &= ~3u;
	if (mtu > peer->window)
		mtu = peer->window & ~3u;
	memcpy(link->peer.node, peer->node, sizeof(link->peer.node));
	link->peer.incarnation = peer->incarnation;
	link->peer_window = peer->window;
	link->rcv_next = peer->pos;
	if (third < FB_KEEPALIVE_MIN_NS)
		third = FB_KEEPALIVE_MIN_NS;
	link->keepalive_ns = third < link->config.keepalive_ns ? third : link->config.keepalive_ns;
	link->last_rx = now;
	link->confirm_wait = link->config.min_rto_ns > 5000000 ? link->config.min_rto_ns : 5000000;
	link->confirm_at = link->root ? now + link->confirm_wait : FB_NEVER;
	fb_credit_init(&link->credit, link->config.posted_credits, link->config.np_credits, peer->posted, peer->np);
	fb_cc_init(&link->cc, link->config.window, mtu);
	err = fb_slab_init(&link->slab, mtu, link->config.window, link->first_pos);
	link->stats.mtu = mtu;
	return err;
}

int fb_link_connect(struct fb_link **out, const struct fb_link_config *config, const struct fb_link_identity *self,
		    const char *function, const uint8_t nonce[16], const struct fb_link_user *user, void *arg,
		    uint64_t now)
{
	struct fb_link *link;

	if (!config_ok(config) || !*function || strlen(function) >= FB_LINK_NAME_MAX)
		return -EINVAL;
	link = new_link(config, self, function, nonce, user, arg, now);
	if (!link)
		return -ENOMEM;
	link->root = true;
	link->hello_due = true;
	*out = link;
	return 0;
}

int fb_link_accept(struct fb_link **out, const struct fb_link_config *config, const struct fb_link_identity *self,
		   const uint8_t *hello, size_t len, const uint8_t nonce[16], const struct fb_link_user *user, void *arg,
		   uint64_t now)
{
	struct fb_link_hello classified;
	struct fb_wire_hello w;
	struct fb_wire_head h;
	struct fb_link *link;
	uint64_t session;
	uint32_t mtu;

	if (!config_ok(config))
		return -EINVAL;
	if (fb_link_classify(hello, len, &session, &classified) != FB_LINK_K_HELLO || !fb_wire_get_head(&h, hello, len) ||
	    !fb_wire_get_hello(&w, hello))
		return -EBADMSG;
	if (w.version_min > FB_WIRE_VERSION_MAX || w.version_max < FB_WIRE_VERSION_MIN ||
	    !(w.suites & 1 << FB_WIRE_SUITE_CRC))
		return -EPROTO;
	link = new_link(config, self, w.function, nonce, user, arg, now);
	if (!link)
		return -ENOMEM;
	link->peer_session = h.from;
	link->heard = true;
	link->heard_number = link->hello_number = h.number;
	link->heard_at = now;
	link->welcome_size = (uint32_t)(len < link->config.mtu ? len : link->config.mtu);
	link->welcome_due = true;
	link->state = FB_LINK_UP;
	mtu = link->welcome_size < w.mtu ? link->welcome_size : w.mtu;
	if (fb_link_session_start(link, now, &w, mtu)) {
		fb_link_free(link);
		return -ENOMEM;
	}
	*out = link;
	return 0;
}

void fb_link_free(struct fb_link *link)
{
	if (!link)
		return;
	fb_slab_free(&link->slab);
	fb_ring_free(&link->pc);
	fb_ring_free(&link->np);
	free(link->rcv_ring);
	free(link->control);
	free(link->times);
	free(link);
}

uint64_t fb_link_session(const struct fb_link *link) { return link->session; }
uint64_t fb_link_peer_session(const struct fb_link *link) { return link->peer_session; }
const struct fb_link_identity *fb_link_peer(const struct fb_link *link) { return &link->peer; }
enum fb_link_state fb_link_state(const struct fb_link *link) { return link->state; }

void fb_link_die(struct fb_link *link, enum fb_link_reason reason, const char *text, bool tell_peer)
{
	if (link->state == FB_LINK_DEAD)
		return;
	link->state = FB_LINK_DEAD;
	link->reason = reason;
	strncpy(link->text, text ? text : "", sizeof(link->text) - 1);
	link->close_due = tell_peer && link->peer_session;
	link->user.state(link->arg, FB_LINK_DEAD, reason, link->text);
}

void fb_link_close(struct fb_link *link, enum fb_link_reason reason, const char *text, uint64_t now)
{
	fb_link_die(link, reason, text, true);
}

/* Sizes worth trying: jumbo frames, half of them, Ethernet, and what every IPv6 path carries; UDP over IPv4. */
uint32_t fb_link_mtu_below(uint32_t mtu)
{
	static const uint32_t sizes[] = {8972, 4052, 1472, FB_WIRE_MTU_MIN};

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		if (sizes[i] < mtu)
			return sizes[i];
	return FB_WIRE_MTU_MIN;
}

void fb_link_shrink(struct fb_link *link, uint32_t mtu)
{
	mtu &= ~3u;
	if (mtu < FB_WIRE_MTU_MIN)
		mtu = FB_WIRE_MTU_MIN;
	if (!link->slab.mem || mtu >= link->slab.stride)
		return;
	/* Without memory the large ones are sent on; the next time-out tries again, or the hold time ends it. */
	if (fb_slab_recut(&link->slab, mtu, link->config.window))
		return;
	link->in_flight = 0;
	link->lost = (uint32_t)(link->slab.next - link->slab.una);
	link->lost_hint = link->slab.una;
	link->rack_at = FB_NEVER;
	link->cc.datagram = mtu;
	link->stats.mtu = mtu;
}

void fb_link_rx(struct fb_link *link, uint64_t now, const uint8_t *dgram, size_t len)
{
	struct fb_wire_head h;

	if (link->state == FB_LINK_DEAD)
		return;
	link->stats.rx_datagrams++;
	link->stats.rx_bytes += len;
	if (!fb_wire_get_head(&h, dgram, len) || (h.kind != FB_WIRE_HELLO && h.session != link->session)) {
		link->stats.rx_bad++;
		return;
	}
	if (!fb_wire_crc_ok(dgram, len)) {
		link->stats.rx_corrupt++;
		return;
	}
	if (h.kind == FB_WIRE_DATA)
		fb_rx_data(link, now, &h, dgram, len);
	else
		fb_handshake_rx(link, now, &h, dgram, len);
}

static uint64_t min64(uint64_t a, uint64_t b) { return a < b ? a : b; }

static uint64_t hold_until(const struct fb_link *link)
{
	/* A box holds nothing long for a root that may not exist. */
	if (!link->root && !link->confirmed)
		return link->started + link->config.connect_ns;
	return link->last_rx + link->config.hold_ns;
}

uint64_t fb_link_deadline(const struct fb_link *link)
{
	uint64_t t;

	if (link->state == FB_LINK_DEAD)
		return FB_NEVER;
	if (link->overflow)
		return 0;
	if (link->state == FB_LINK_CONNECTING)
		return min64(link->hello_at, link->started + link->config.connect_ns);
	t = hold_until(link);
	if (!link->root && !link->confirmed)
		return t;
	t = min64(t, link->last_tx + link->keepalive_ns);
	t = min64(min64(t, link->ack_at), min64(link->rto_at, link->rack_at));
	return min64(min64(t, link->probe_at), link->confirm_at);
}

static void timeout_up(struct fb_link *link, uint64_t now)
{
	if (now >= hold_until(link)) {
		if (!link->root && !link->confirmed)
			fb_link_die(link, FB_LINK_R_NO_ANSWER, "the root did not go on after its hello", true);
		else
			fb_link_die(link, FB_LINK_R_HOLD, "", true);
		return;
	}
	if (now >= link->last_tx + link->keepalive_ns || now >= link->ack_at)
		link->ack_now = true;
	if (now >= link->rack_at)
		fb_ack_detect(link, now);
	if (now >= link->rto_at)
		fb_ack_timeout(link, now);
	if (now >= link->probe_at) {
		uint64_t wait = fb_rto_get(&link->rto);

		for (unsigned i = 0; i < link->probes && wait < link->rto.max; i++)
			wait *= 2;
		link->probes++;
		link->probe_at = now + min64(wait, link->rto.max);
		link->ping_due = true;
	}
	if (now >= link->confirm_at) {
		link->ping_due = true;
		link->confirm_wait = min64(2 * link->confirm_wait, link->rto.max);
		link->confirm_at = now + link->confirm_wait;
	}
}

void fb_link_timeout(struct fb_link *link, uint64_t now)
{
	if (link->state == FB_LINK_DEAD)
		return;
	if (link->overflow) {
		fb_link_die(link, FB_LINK_R_OVERFLOW, "too many completions wait to be sent", true);
	} else if (link->state == FB_LINK_CONNECTING) {
		if (now >= link->started + link->config.connect_ns)
			fb_link_die(link, FB_LINK_R_NO_ANSWER, "", false);
		else if (now >= link->hello_at)
			link->hello_due = true;
	} else {
		timeout_up(link, now);
	}
}

const struct fb_histogram *fb_link_rtt(const struct fb_link *link)
{
	return &link->rtt;
}

void fb_link_get_stats(const struct fb_link *link, struct fb_link_stats *stats)
{
	*stats = link->stats;
	stats->srtt_ns = link->rto.srtt;
	stats->rttvar_ns = link->rto.rttvar;
	stats->min_rtt_ns = link->rto.min_rtt;
	stats->rto_ns = fb_rto_get(&link->rto);
	stats->window = link->cc.window;
	stats->in_flight = link->in_flight;
	fb_clock_stats(link, stats);
}
