/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reliable link under a port: a two-way, ordered channel of TLPs over
 * datagrams that may be lost, doubled, reordered, damaged or late. Nothing is
 * lost, nothing comes twice, and the ordering rules of PCIe (base spec 2.4.1)
 * hold, or the session is reported dead.
 *
 * Sans I/O: datagrams in (fb_link_rx), datagrams out (fb_link_tx), `now` in,
 * next deadline out. No socket, no clock, no thread: one link, one thread at a
 * time. The format of the datagrams is docs/protocol.md and link_wire.h.
 *
 * One link is one session: one function of a box, attached to one root. The
 * root connects, the box accepts. TLPs form a byte stream of records that is
 * cut into full datagrams, so a TLP may straddle two of them and any TLP fits
 * any MTU from 1,280 up.
 *
 * Callbacks come out of these calls and no others: deliver() of rx; state() of
 * rx, timeout and close; writable() of tx. Inside any of them send, release,
 * close and the getters are allowed on the same link; rx, tx, timeout and free
 * are not.
 */
#ifndef FARBUS_LINK_LINK_H
#define FARBUS_LINK_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct fb_link;

/* As PCIe's flow control classes; the values are those of enum pcie_fc. */
enum fb_link_class {
	FB_LINK_P,
	FB_LINK_NP,
	FB_LINK_CPL,
	FB_LINK_CLASSES
};

enum fb_link_state {
	FB_LINK_CONNECTING, /* root: hello sent */
	FB_LINK_UP,
	FB_LINK_DEAD, /* final; free it */
	FB_LINK_STATES
};

/* Why a link is dead, and the code of a CLOSE or REFUSE datagram. On the wire: do not renumber. */
enum fb_link_reason {
	FB_LINK_R_NONE = 0,
	FB_LINK_R_NORMAL = 1,       /* closed by its user */
	FB_LINK_R_HOLD = 2,         /* nothing heard for the hold time */
	FB_LINK_R_VERSION = 3,      /* no protocol version or suite in common */
	FB_LINK_R_NO_FUNCTION = 4,  /* the box has no function of that name */
	FB_LINK_R_IN_USE = 5,       /* another root has it */
	FB_LINK_R_GROUP = 6,        /* other group */
	FB_LINK_R_UNKNOWN = 7,      /* the peer does not know the session (it restarted) */
	FB_LINK_R_PROTOCOL = 8,     /* the peer broke the protocol */
	FB_LINK_R_SUPERSEDED = 9,   /* the same root connected anew */
	FB_LINK_R_REMOVED = 10,     /* the function is being taken away */
	FB_LINK_R_OVERFLOW = 11,    /* more was queued than memory is meant for */
	FB_LINK_R_NO_ANSWER = 12,   /* connecting: no answer within the connect time */
	FB_LINK_R_DENIED = 13,      /* not open to this peer */
	FB_LINK_REASONS
};

struct fb_link_config {
	uint32_t mtu;           /* largest datagram, bytes of UDP payload; the session may settle on less */
	uint32_t window;        /* bytes in flight at most (receive buffer of the peer bounds it too); up to 256 MiB */
	uint32_t np_credits;    /* non-posted requests we accept at a time; 1 to 32,767 */
	uint32_t posted_credits;/* bytes of posted records we accept at a time; raised to that of the largest TLP */
	uint32_t send_queue;    /* bytes of records that may wait per direction before -EAGAIN */
	uint64_t hold_ns;       /* 30 s: silence that ends a session */
	uint64_t keepalive_ns;  /* 1 s: our longest silence */
	uint64_t connect_ns;    /* connecting: give up after this; FB_LINK_DEAD, FB_LINK_R_NO_ANSWER */
	uint64_t min_rto_ns, max_rto_ns;
	bool go_back_n;         /* reference mode, instead of selective repeat */
	bool one_tlp_a_datagram;/* as the published systems do; for comparison */
	uint32_t group;         /* 0: unassigned */
	int64_t clock_ns;       /* what `now` lacks to the clock that is told to the peer; see clock_offset_ns */
};
void fb_link_config_default(struct fb_link_config *config);

/* Who is there: travels in HELLO and WELCOME. */
struct fb_link_identity {
	uint8_t node[16];     /* stays the same over restarts */
	uint64_t incarnation; /* grows with each start */
};

enum { FB_LINK_NAME_MAX = 32 }; /* function ID, with its NUL */

enum {
	FB_LINK_MTU_MIN = 1232,                /* least config.mtu: what is left for UDP of IPv6's 1,280 */
	FB_LINK_MTU_MAX = 65504,               /* more is cut to it, and to a multiple of 4 */
	FB_LINK_TLP_MAX = 4352,                /* bytes; PCIE_TLP_MAX_SIZE is less */
	FB_LINK_COMPLETIONS_MAX = 16 << 20,    /* bytes of completions that may wait; more is FB_LINK_R_OVERFLOW */
};

struct fb_link_user {
	/*
	 * One TLP, whole, in order; `tlp` is valid during the call only. The class
	 * is the sender's claim: check it against the TLP. Its credit comes back
	 * to the peer on return when the result is true; on false the user holds
	 * it and must call fb_link_release() with the same class and size later.
	 */
	bool (*deliver)(void *arg, enum fb_link_class cls, const uint8_t *tlp, size_t len);
	/*
	 * Every change of state passes here, once. (An accepted link is up from
	 * its first moment, which is no change.) Do not free the link inside.
	 */
	void (*state)(void *arg, enum fb_link_state state, enum fb_link_reason reason, const char *text);
	/* After -EAGAIN from fb_link_send(): there is room again for that class. */
	void (*writable)(void *arg, enum fb_link_class cls);
};

struct fb_link_stats {
	uint64_t tx_tlps, tx_tlp_bytes, rx_tlps, rx_tlp_bytes;
	uint64_t tx_datagrams, rx_datagrams, tx_bytes, rx_bytes;
	uint64_t retransmits, fast_retransmits, timeouts; /* datagrams, datagrams, RTO events */
	uint64_t rx_duplicates, rx_out_of_order, rx_bad, rx_corrupt;
	uint64_t acks_sent, credit_stalls, window_stalls;
	uint64_t srtt_ns, rttvar_ns, min_rtt_ns, rto_ns;
	uint32_t mtu, window, in_flight; /* bytes */
	/*
	 * The peer's clock less ours, from the exchange of the last seconds with the
	 * shortest round trip; at most so wrong. error 0: not known (yet).
	 */
	int64_t clock_offset_ns;
	uint64_t clock_error_ns;
};

/*
 * The root's side. `nonce` are 16 fresh random bytes; the first datagram comes
 * out of fb_link_tx(). 0; -EINVAL: a member of *config out of range (mtu below
 * FB_LINK_MTU_MIN, a zero), or the name; -ENOMEM.
 */
int fb_link_connect(struct fb_link **out, const struct fb_link_config *config, const struct fb_link_identity *self,
		    const char *function, const uint8_t nonce[16], const struct fb_link_user *user, void *arg,
		    uint64_t now);

/* What a datagram is, for the demultiplexer in front of many links. */
enum fb_link_kind { FB_LINK_K_BAD, FB_LINK_K_HELLO, FB_LINK_K_SESSION, FB_LINK_K_LIST, FB_LINK_K_LISTING };

struct fb_link_hello {
	struct fb_link_identity from;
	char function[FB_LINK_NAME_MAX];
	uint32_t group;
	uint16_t version_min, version_max;
	uint16_t suites;  /* set of those offered */
	uint64_t session; /* the connector's session id; a repeated hello repeats it */
};

/*
 * Classifies a datagram without any state. FB_LINK_K_SESSION: *session is the
 * receiver's session id (fb_link_session()). FB_LINK_K_HELLO: *hello filled in.
 */
enum fb_link_kind fb_link_classify(const uint8_t *dgram, size_t len, uint64_t *session, struct fb_link_hello *hello);

/*
 * The box's side of a hello that the listener wants to accept. The same hello
 * again (same session, hello.session) belongs into fb_link_rx() of the link.
 * 0; -EBADMSG: no hello; -EPROTO: no version or suite in common, refuse it; -EINVAL;
 * -ENOMEM. A root that does not go on ends it after config.connect_ns
 * (FB_LINK_R_NO_ANSWER).
 */
int fb_link_accept(struct fb_link **out, const struct fb_link_config *config, const struct fb_link_identity *self,
		   const uint8_t *hello, size_t len, const uint8_t nonce[16], const struct fb_link_user *user, void *arg,
		   uint64_t now);
/* One REFUSE datagram in answer to a hello, never larger than it. Returns its size, 0: none is due. */
size_t fb_link_refuse(const uint8_t *hello, size_t len, enum fb_link_reason reason, const char *text, uint8_t *out,
		      size_t cap);
/* One CLOSE(unknown session) in answer to a session datagram nobody owns. Returns its size, 0: none is due. */
size_t fb_link_unknown(const uint8_t *dgram, size_t len, uint8_t *out, size_t cap);

void fb_link_free(struct fb_link *link);

uint64_t fb_link_session(const struct fb_link *link);        /* ours: what the peer addresses us by */
uint64_t fb_link_peer_session(const struct fb_link *link);   /* 0: not known yet */
const struct fb_link_identity *fb_link_peer(const struct fb_link *link);
enum fb_link_state fb_link_state(const struct fb_link *link);

/* A datagram of this session arrived. Delivers TLPs from inside. */
void fb_link_rx(struct fb_link *link, uint64_t now, const uint8_t *dgram, size_t len);

/*
 * Queues one TLP given as header and payload (either may be empty; copied
 * before return). 0; -EAGAIN: no room for that class now, writable() will say;
 * -ENOTCONN: not up; -EMSGSIZE: empty or larger than FB_LINK_TLP_MAX; -ENOMEM.
 * Completions never see -EAGAIN: the requester's tags bound them; beyond
 * FB_LINK_COMPLETIONS_MAX the link dies in its next fb_link_timeout().
 */
int fb_link_send(struct fb_link *link, enum fb_link_class cls, const void *head, size_t head_len, const void *data,
		 size_t data_len);

/* Gives back what deliver() held. */
void fb_link_release(struct fb_link *link, enum fb_link_class cls, size_t len);

struct fb_link_out {
	const uint8_t *data;
	uint32_t len;
};
/*
 * Datagrams to send now, in order; consecutive full ones lie consecutively in
 * memory where possible. They count as sent. Valid until the next call on this
 * link. Call until it returns 0, after rx, send, release and timeout.
 */
unsigned fb_link_tx(struct fb_link *link, uint64_t now, struct fb_link_out *out, unsigned max);

/* When fb_link_timeout() wants to be called; UINT64_MAX: never. */
uint64_t fb_link_deadline(const struct fb_link *link);
void fb_link_timeout(struct fb_link *link, uint64_t now);

/* Ends the session: one CLOSE comes out of fb_link_tx(), state() is told FB_LINK_DEAD. */
void fb_link_close(struct fb_link *link, enum fb_link_reason reason, const char *text, uint64_t now);

/* Round trips as measured, ns. */
struct fb_histogram;
const struct fb_histogram *fb_link_rtt(const struct fb_link *link);

void fb_link_get_stats(const struct fb_link *link, struct fb_link_stats *stats);

const char *fb_link_state_name(enum fb_link_state state);
const char *fb_link_reason_name(enum fb_link_reason reason);

#ifdef __cplusplus
}
#endif
#endif
