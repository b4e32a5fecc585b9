/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What carrier.c, link_port.c and directory_query.c share; see the theory of
 * operation in carrier.c.
 */
#ifndef FARBUS_PORT_INTERNAL_H
#define FARBUS_PORT_INTERNAL_H

#include "link/directory.h"
#include "link/link.h"
#include "net/net.h"
#include "port/carrier.h"
#include "util/log.h"
#include "util/loop.h"

enum {
	FB_CARRIER_BATCH = 64,   /* datagrams a send */
	FB_CARRIER_BURST = 1024, /* datagrams a port and round, so that others have their turn */
	FB_CARRIER_ENDED = 64,   /* ended sessions remembered, against late hellos */
	FB_CARRIER_LINES = 64,   /* sessions that begin or end at once and are all logged; then one a second */
};

struct fb_link_port {
	struct fb_port port; /* first */
	struct fb_carrier *carrier;
	struct fb_link *link; /* NULL: the acceptor is being asked */
	struct fb_net_addr peer;
	char name[FB_LINK_NAME_MAX + 72]; /* "ssd0 192.0.2.1:7000", for logs */

	/* Lists: every port; those with something to do at the round's end; the tables. */
	struct fb_link_port *next, **pnext;
	struct fb_link_port *dirty_next;
	struct fb_link_port *by_session_next, *by_hello_next;
	bool dirty, in_session_table, in_hello_table;

	struct fb_timer timer;
	uint64_t session;               /* ours */
	struct fb_tap_source source;    /* as captures name it */
	struct fb_link_identity remote; /* accepted ones: who asked, for what, in which session of theirs */
	char function[FB_LINK_NAME_MAX];
	uint64_t remote_session;

	bool begun;      /* there is, or was, a session: both ends said so */
	bool closed;     /* fb_port_close() was called: no callback any more, freed at the next flush */
	bool down_due;   /* the link is dead and the user has not heard */
	bool down_told;
	enum fb_link_reason reason;
	char text[96];

	struct fb_log_limit malformed_limit;
	uint64_t rx_malformed[PCIE_TLP_ERRORS];
	uint64_t tx[PCIE_TLP_TYPES], rx[PCIE_TLP_TYPES];
};

struct fb_table {
	struct fb_link_port **slots;
	unsigned mask, n;
};

/* A batch that the net took only a part of; one a carrier, since then the net is full for all. */
struct fb_carrier_rest {
	struct fb_net_addr to;
	struct fb_dgram v[FB_CARRIER_BATCH];
	unsigned n, next;
	uint8_t *bytes;
	size_t cap;
};

struct fb_carrier {
	struct fb_loop *loop;
	struct fb_net *net;
	const struct fb_net_ops *base; /* parse, format and name of addresses */
	struct fb_link_config link;
	struct fb_link_identity self;
	struct fb_tap *tap;
	bool accepts_as_root;
	uint32_t mtu;
	const struct fb_acceptor *acceptor;
	void *arg;

	struct fb_link_port *ports;
	struct fb_table by_session, by_hello;
	struct fb_link_port *dirty, **dirty_tail;
	struct fb_flush flush;
	uint64_t rx_now; /* of the batch that is being handed on; 0: the clock is not read yet */
	bool net_full;
	struct fb_carrier_rest rest;

	unsigned depth; /* inside callbacks of net, timers and flush */
	bool closing;

	struct fb_directory_query *queries;

	uint64_t ended[FB_CARRIER_ENDED];
	unsigned next_ended;

	struct fb_log_limit refuse_limit, session_limit;
	struct fb_carrier_stats stats;
};

/* carrier.c */
extern const struct fb_net_user fb_carrier_net_user; /* arg: the carrier */
void fb_carrier_enter(struct fb_carrier *c);
void fb_carrier_leave(struct fb_carrier *c); /* the carrier may be gone on return */
int fb_carrier_peer(struct fb_carrier *c, const char *peer, struct fb_net_addr *addr); /* 0 or -EINVAL, logged */
uint32_t fb_carrier_mtu(struct fb_carrier *c, const struct fb_net_addr *peer);
/* What the loop's clock lacks to the time of day: peers compare that. */
int64_t fb_carrier_clock(void);
int fb_carrier_random(void *out, size_t len);
/* One datagram, or nothing when the net is full. */
void fb_carrier_send_one(struct fb_carrier *c, const struct fb_net_addr *to, const uint8_t *data, size_t len);
/* The port has something to send, to announce, or to end, at the end of the round. */
void fb_carrier_touch(struct fb_link_port *p);
int fb_carrier_add_port(struct fb_link_port *p); /* to the session table: 0 or -ENOMEM */
void fb_carrier_end_session(struct fb_link_port *p); /* a hello of that session is late from now on */
void fb_carrier_forget_port(struct fb_link_port *p); /* that, and datagrams of it are unknown */

/* link_port.c */
extern const struct fb_link_user fb_link_port_user;
struct fb_link_port *fb_link_port_new(struct fb_carrier *c, const struct fb_net_addr *peer, const char *function);
/* Tells the user of a dead link, once. The port may be closed on return. */
void fb_link_port_announce(struct fb_link_port *p);
void fb_link_port_free(struct fb_link_port *p);

/* directory_query.c */
void fb_directory_rx(struct fb_carrier *c, const struct fb_net_addr *from, const uint8_t *data, size_t len);
void fb_directory_forget(struct fb_carrier *c); /* all queries, silently */

#endif
