/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A carrier: one local end of a net backend, bound to a loop, and all the
 * links (sessions) that run over it. It finds the link for each datagram,
 * answers hellos and directory requests on a box's side, and drives the links'
 * timers. Ports are what it hands out.
 *
 * Single-threaded, non-blocking.
 */
#ifndef FARBUS_PORT_CARRIER_H
#define FARBUS_PORT_CARRIER_H

#include "capture/tap.h"
#include "link/directory.h"
#include "link/link.h"
#include "net/net.h"
#include "port/port.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fb_histogram;
struct fb_loop;
struct fb_carrier;

struct fb_carrier_config {
	const char *listen; /* "udp:ADDR:PORT"; NULL: only connects */
	const char *peer;   /* with listen NULL: an address of the backend to use */
	const char *fault;  /* --fault, or NULL */
	uint32_t mtu;       /* largest datagram; 0: what the backend says for the peer */
	struct fb_link_config link;
	struct fb_link_identity self;
	struct fb_tap *tap; /* is shown each TLP that passes; NULL: none */
	bool accepts_as_root; /* for captures: what is accepted here comes to a root (remote requesters), not to a box */
};

/* The box's side. All members may be NULL on a root. */
struct fb_acceptor {
	/*
	 * A root wants a function. Return 0 and fill in *user and *arg (the port
	 * is up when this returns: *port is set and usable from then on), or
	 * enum fb_link_reason with *text set to a static or long-lived text.
	 */
	int (*hello)(void *arg, const struct fb_link_hello *hello, const char *from, struct fb_port *port,
		     const struct fb_port_user **user, void **user_arg, const char **text);
	/* Fills page->entries from page->first on, at most 64; sets n and total. */
	void (*directory)(void *arg, const struct fb_directory_request *request, struct fb_directory_page *page);
};

int fb_carrier_open(struct fb_carrier **out, struct fb_loop *loop, const struct fb_carrier_config *config,
		    const struct fb_acceptor *acceptor, void *arg); /* 0 or -errno, logged */
/* Closes what ports are left (down() is not called). */
void fb_carrier_close(struct fb_carrier *carrier);

/*
 * Starts a session with the function named `id` at `peer` ("udp:…"). up() or
 * down() follows. 0 or -errno (logged).
 */
int fb_port_connect(struct fb_port **out, struct fb_carrier *carrier, const char *peer, const char *id,
		    const struct fb_port_user *user, void *arg);

/*
 * Asks a box for its directory: pages are read one by one and `done` is called
 * once, with all entries, or with -ETIMEDOUT after `timeout_ns`, or -EPROTO for a
 * peer of another version. Entries are valid during the call.
 */
struct fb_directory_query;
int fb_directory_query(struct fb_directory_query **out, struct fb_carrier *carrier, const char *peer, uint32_t group,
		       uint64_t timeout_ns,
		       void (*done)(void *arg, int status, const struct fb_link_identity *box,
				    const struct fb_directory_entry *entries, unsigned n),
		       void *arg);
void fb_directory_cancel(struct fb_directory_query *query); /* done() is not called; a no-op on NULL */

struct fb_port_stats {
	char peer[64];
	struct fb_link_stats link;
	uint64_t rx_malformed[PCIE_TLP_ERRORS]; /* TLPs dropped, by enum pcie_tlp_error */
	uint64_t tx[PCIE_TLP_TYPES], rx[PCIE_TLP_TYPES];
	const struct fb_histogram *rtt; /* of the link, ns, until the port is closed; NULL: there is none */
};
/* Only for ports of a carrier. */
void fb_port_get_stats(struct fb_port *port, struct fb_port_stats *stats);
const struct fb_net_stats *fb_carrier_net_stats(struct fb_carrier *carrier);
/* "udp:127.0.0.1:7000", what it really listens on (port 0 resolved). Returns buf. */
char *fb_carrier_local(struct fb_carrier *carrier, char *buf, size_t cap);
/* Datagrams that belonged to no session or were refused, for stats. */
struct fb_carrier_stats {
	uint64_t rx_bad, rx_unknown_session, hellos, refused[FB_LINK_REASONS], directory_requests;
};
const struct fb_carrier_stats *fb_carrier_stats(struct fb_carrier *carrier);

#ifdef __cplusplus
}
#endif
#endif
