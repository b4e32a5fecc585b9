/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sockets of one end of SoftPCIe: one for each UDP port in use, since the
 * port is the tag and peers connect() theirs. All stand behind one descriptor
 * that becomes readable when there is something to receive (or, after a short
 * send, room), so that any event loop, or poll(), can drive them. Sends are
 * gathered until fb_softpcie_flush().
 *
 * Only peers that were named are heard; what others send is counted and dropped,
 * never answered. Never blocks. One thread.
 */
#ifndef FARBUS_SOFTPCIE_SOCKET_H
#define FARBUS_SOFTPCIE_SOCKET_H

#include "softpcie/path.h"
#include "softpcie/softpcie_wire.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fb_softpcie;

enum { FB_SOFTPCIE_PEERS = 16, FB_SOFTPCIE_SERVICES = 8 };

struct fb_softpcie_user {
	/* A well-formed TLP of a type that is carried, on a port of its tag. Valid during the call only. */
	void (*tlp)(void *arg, unsigned peer, uint16_t port, const struct pcie_tlp *tlp);
	/*
	 * What comes to a service port, and datagrams of a configuration access'
	 * size on 0x4001. May be NULL. `port` is ours, `from` the peer's.
	 */
	void (*packet)(void *arg, unsigned peer, uint16_t port, uint16_t from, const uint8_t *data, size_t len);
	/* For captures: every TLP that is queued to be sent or has come, malformed ones too, as bytes. May be NULL. */
	void (*seen)(void *arg, bool sent, const struct pcie_tlp *tlp, enum pcie_tlp_error error, const uint8_t *bytes,
		     size_t len);
};

struct fb_softpcie_config {
	const char *name;  /* prefix of log lines */
	uint32_t local;    /* IPv4, network order; 0: any */
	uint32_t peers[FB_SOFTPCIE_PEERS];
	unsigned n_peers;  /* at least 1 */
	unsigned device_tags; /* 0x3000 + 0 .. n - 1 are opened: 1..256 */
	bool host_ports;   /* 0x4000 .. 0x400f */
	bool old_rule;     /* the host's requests are on 0x3000 + tag too */
	/* Ports besides, 0: any one that is free (it is then called 0 here as well). */
	uint16_t services[FB_SOFTPCIE_SERVICES];
	unsigned n_services;
};

struct fb_softpcie_stats {
	uint64_t tx_datagrams, tx_bytes, tx_calls;
	uint64_t tx_dropped; /* not sent: the kernel refused it */
	uint64_t tx_full;    /* the queue was full: the sender had to wait or drop */
	uint64_t rx_datagrams, rx_bytes, rx_calls;
	/* received, counted and dropped */
	uint64_t rx_strangers;   /* not from a peer, or not from the port that it should come from */
	uint64_t rx_short;       /* no room for header and TLP */
	uint64_t rx_malformed;   /* the TLP breaks a rule of the specification */
	uint64_t rx_wrong_port;  /* another tag than the port's */
	uint64_t rx_not_carried; /* a type, prefix or tag that SoftPCIe does not have */
	uint64_t rx_bad_packets; /* configuration access, registers, messages: not understood */
};

/* "192.0.2.1" to network order. 0 or -EINVAL. */
int fb_softpcie_parse_addr(const char *text, uint32_t *addr);
char *fb_softpcie_format_addr(uint32_t addr, char *buf, size_t cap); /* 16 bytes are enough. Returns buf */

int fb_softpcie_open(struct fb_softpcie **out, const struct fb_softpcie_config *config,
		     const struct fb_softpcie_user *user, void *arg); /* 0 or -errno, logged */
void fb_softpcie_close(struct fb_softpcie *s); /* not from inside a callback; NULL is allowed */

/* Readable when fb_softpcie_receive() has something to do. */
int fb_softpcie_fd(const struct fb_softpcie *s);
/* Hands on what has come, a bounded amount. True: there was something. */
bool fb_softpcie_receive(struct fb_softpcie *s);

/*
 * Queues one TLP to a peer. 0; -EAGAIN: the queue is full, also after what could
 * be sent has been; -EINVAL: malformed or not carried (logged: a caller's bug).
 */
int fb_softpcie_send(struct fb_softpcie *s, unsigned peer, uint16_t port, const struct pcie_tlp *tlp);
/* Another datagram, from one of our ports. Lost when the queue is full. */
void fb_softpcie_send_packet(struct fb_softpcie *s, unsigned peer, uint16_t port, uint16_t to, const void *data, size_t len);
/* Sends what is queued, as far as the kernel takes it; the rest follows from fb_softpcie_receive(). */
void fb_softpcie_flush(struct fb_softpcie *s);
bool fb_softpcie_room(const struct fb_softpcie *s); /* would fb_softpcie_send() queue now? */

/* A packet that was not understood: counts, and logs at most once a second. */
void fb_softpcie_bad_packet(struct fb_softpcie *s, unsigned peer, uint16_t port, const char *what);

const struct fb_softpcie_stats *fb_softpcie_stats(const struct fb_softpcie *s);
const struct fb_softpcie_path_stats *fb_softpcie_path(const struct fb_softpcie *s, unsigned peer);
/* Every counter, in a row, for `farbus stats`. The paths' are summed (jitter: the largest). */
void fb_softpcie_put_stats(const struct fb_softpcie *s, void (*put)(void *arg, const char *name, uint64_t value), void *arg);

#ifdef __cplusplus
}
#endif
#endif
