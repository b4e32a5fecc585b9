/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of a link: one struct, and what its parts call of each other. Not for users of the link. */
#ifndef FARBUS_LINK_IMPL_H
#define FARBUS_LINK_IMPL_H

#include "link/cc.h"
#include "link/link.h"
#include "link/link_wire.h"
#include "link/ranges.h"
#include "link/ring.h"
#include "link/rto.h"
#include "link/slab.h"
#include "util/histogram.h"

#define FB_NEVER UINT64_MAX

enum {
	FB_TIMES = 4096,             /* sending times kept, by datagram number */
	FB_ACK_EVERY = 16,           /* datagrams after which an acknowledgement is due at once */
	FB_ACK_DELAY_NS = 1600000,   /* below FB_WIRE_ACK_DELAY_NS */
	FB_KEEPALIVE_MIN_NS = 10000000, /* however short the peer's hold time */
};

/* Both directions of flow control (credit.c). Counters are modulo 2^32, as on the wire. */
struct fb_credit {
	/* sending */
	uint32_t p_sent, p_limit, np_sent, np_limit;
	/* receiving: taken, given back, and the limit last told */
	uint32_t p_taken, p_freed, p_told, np_taken, np_freed, np_told;
	uint32_t p_total, np_total;
};

/* The peer's clock against ours (clock.c). */
struct fb_clock_window {
	int64_t offset;
	uint64_t delay; /* of the exchange that it is from; UINT64_MAX: none */
};
struct fb_clocks {
	struct fb_clock_window now, before;
	uint64_t since;
};

struct fb_link {
	struct fb_link_config config;
	struct fb_link_user user;
	void *arg;
	enum fb_link_state state;
	enum fb_link_reason reason;
	bool root;       /* the side that connected */
	bool confirmed;  /* heard a DATA datagram: the peer has our session */
	bool overflow;   /* dies at the next occasion */
	char text[FB_WIRE_TEXT_MAX + 1];
	struct fb_link_identity self, peer;
	char function[FB_LINK_NAME_MAX];
	uint64_t session, peer_session;
	struct fb_link_stats stats;

	/* handshake.c */
	uint64_t started, hello_at, first_pos;
	unsigned hellos;
	bool hello_due, welcome_due, close_due;
	uint32_t welcome_size, hello_number;
	uint8_t *control; /* one control datagram at a time */
	size_t control_cap;

	/* what is sent (tx.c) */
	struct fb_slab slab;
	struct fb_ring pc, np; /* posted and completions; non-posted */
	uint64_t pc_put, pc_taken; /* records */
	size_t queued[FB_LINK_CLASSES];
	bool want[FB_LINK_CLASSES]; /* writable() is owed */
	bool credit_stalled, window_stalled;
	uint32_t peer_window;
	uint32_t in_flight; /* bytes of datagrams sent, not acknowledged, not known lost */
	uint32_t lost;      /* slots */
	uint64_t lost_hint; /* no lost slot before it */
	bool probe;         /* the next retransmission goes whatever the window says */
	uint32_t number;    /* of the next datagram */
	uint64_t *times;    /* sending times of the last FB_TIMES datagrams */
	uint32_t first_number;
	bool times_full;    /* FB_TIMES or more have been sent */
	struct fb_cc cc;

	/* what the peer acknowledges (ack.c) */
	struct fb_rto rto;
	bool echoed;
	uint32_t echo; /* largest number that reached the peer */
	uint64_t echo_sent, echo_heard; /* when that was sent; when we heard of it */
	bool reordering;    /* this network reorders */
	uint32_t reo_steps, reo_calm;
	uint64_t rto_at, rack_at, probe_at;
	unsigned timeouts;  /* in a row, with a large datagram at the head */
	unsigned probes;

	/* what arrives (rx.c) */
	uint64_t rcv_next;
	uint32_t rcv_window; /* a power of two */
	uint8_t *rcv_ring;   /* beyond a gap; made when first needed */
	struct fb_ranges ranges;
	uint8_t assembly[FB_WIRE_RECORD_MAX];
	uint32_t assembled;
	bool heard;
	uint32_t heard_number;  /* the largest that arrived */
	uint64_t heard_at;
	bool ack_now, sack_due, ping_due;
	unsigned unacked;
	uint32_t unacked_bytes;
	uint64_t ack_at;

	struct fb_credit credit;
	struct fb_clocks clocks;
	struct fb_histogram rtt;
	uint64_t last_rx, last_tx, keepalive_ns, confirm_at, confirm_wait;
};

static inline int32_t fb_seq(uint32_t a, uint32_t b) { return (int32_t)(a - b); }

/* link.c */
void fb_link_die(struct fb_link *link, enum fb_link_reason reason, const char *text, bool tell_peer);
int fb_link_session_start(struct fb_link *link, uint64_t now, const struct fb_wire_hello *peer, uint32_t mtu);
/* The path carries less: smaller datagrams from now on, also for what has been sent. Never raises. */
void fb_link_shrink(struct fb_link *link, uint32_t mtu);
uint32_t fb_link_mtu_below(uint32_t mtu); /* the next candidate; FB_WIRE_MTU_MIN at the end */

/* handshake.c */
void fb_handshake_rx(struct fb_link *link, uint64_t now, const struct fb_wire_head *h, const uint8_t *dgram, size_t len);
/* The handshake or CLOSE datagram that is due, or NULL. */
const uint8_t *fb_handshake_tx(struct fb_link *link, uint64_t now, uint32_t *len);

/* tx.c */
uint32_t fb_tx_number(struct fb_link *link, uint64_t now); /* for a datagram that leaves now */

/* ack.c */
struct fb_ack {
	uint64_t ack;
	bool has_echo;
	uint32_t echo, echo_delay;
	const uint8_t *sacks;
	unsigned n;
};
/* False: the peer acknowledges what was never sent. */
__attribute__((warn_unused_result)) bool fb_ack_rx(struct fb_link *link, uint64_t now, const struct fb_ack *ack);
void fb_ack_detect(struct fb_link *link, uint64_t now);
void fb_ack_timeout(struct fb_link *link, uint64_t now);
void fb_ack_sample(struct fb_link *link, uint64_t now, uint32_t echo, uint32_t delay);
bool fb_time_of(const struct fb_link *link, uint32_t number, uint64_t *when);

/* clock.c */
uint64_t fb_clock_told(const struct fb_link *link, uint64_t now); /* for a datagram that leaves now: a multiple of 4 */
/* A datagram told its sender's clock, and that it answers ours of that number, so much later. */
void fb_clock_heard(struct fb_link *link, uint64_t now, uint64_t told, uint32_t echo, uint32_t delay);
void fb_clock_stats(const struct fb_link *link, struct fb_link_stats *stats);

/* rx.c */
void fb_rx_data(struct fb_link *link, uint64_t now, const struct fb_wire_head *h, const uint8_t *dgram, size_t len);

/* credit.c */
void fb_credit_init(struct fb_credit *c, uint32_t p_total, uint32_t np_total, uint32_t p_peer, uint32_t np_peer);
bool fb_credit_may_send(const struct fb_credit *c, enum fb_link_class cls, uint32_t record);
void fb_credit_sent(struct fb_credit *c, enum fb_link_class cls, uint32_t record);
/* The peer told its limits. True: one of them rose. */
bool fb_credit_limits(struct fb_credit *c, uint32_t p, uint32_t np);
/* False: the peer sent more than it was allowed to. */
__attribute__((warn_unused_result)) bool fb_credit_take(struct fb_credit *c, enum fb_link_class cls, uint32_t record);
void fb_credit_free(struct fb_credit *c, enum fb_link_class cls, uint32_t record);
/* The limits to tell; they count as told. */
void fb_credit_tell(struct fb_credit *c, uint32_t *p, uint32_t *np);
/* Would telling them now help a peer that may be waiting? */
bool fb_credit_due(const struct fb_credit *c);

#endif
