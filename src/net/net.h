/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Net backends: what carries datagrams between a root and a box. One file and
 * one ops struct each (loopback.c, udp.c …), found by the name before the
 * first colon of an address: "udp:192.0.2.1:7000", "udp:[2001:db8::1]:7000",
 * "loopback:NAME". The fault wrapper (fault.c) implements the same ops around
 * any of them.
 *
 * A backend is unreliable, as a network is: datagrams may be lost, doubled,
 * late, damaged. It never blocks, never fragments, and tells its callers
 * nothing but what arrived. All calls on the loop's thread.
 */
#ifndef FARBUS_NET_NET_H
#define FARBUS_NET_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct fb_loop;
struct fb_net;

/* A peer's address: opaque outside its backend, comparable with memcmp over len bytes. */
struct fb_net_addr {
	uint8_t len; /* 0: none */
	uint8_t bytes[31];
};

struct fb_dgram {
	const uint8_t *data;
	uint32_t len;
};

/* What the user of a backend hears. */
struct fb_net_user {
	/*
	 * A datagram. `data` is valid during the call only. Calls come in batches,
	 * of what one system call brought: round_end() follows the last one of a batch.
	 */
	void (*rx)(void *arg, const struct fb_net_addr *from, const uint8_t *data, size_t len);
	void (*round_end)(void *arg);
	/* After a short send: there is room again. */
	void (*writable)(void *arg);
};

struct fb_net_stats {
	uint64_t tx_datagrams, tx_bytes, tx_calls; /* calls: system calls or their like */
	uint64_t rx_datagrams, rx_bytes, rx_calls;
	uint64_t tx_errors; /* refused by the kernel for other reasons than a full queue */
	uint64_t tx_full;   /* short sends */
	uint64_t rx_truncated;
	/* fault wrapper */
	uint64_t fault_dropped, fault_duplicated, fault_reordered, fault_corrupted, fault_delayed;
};

struct fb_net_ops {
	const char *name;   /* "udp": the word before the colon */
	const char *syntax; /* "udp:ADDR:PORT", for help and messages */

	/*
	 * Opens the local end. `listen` NULL or "": any local address of the
	 * family that `peer` (may be NULL) needs. Returns 0 or -errno; a message
	 * has then been logged.
	 */
	int (*open)(struct fb_net **out, struct fb_loop *loop, const char *listen, const char *peer,
		    const struct fb_net_user *user, void *arg);
	void (*close)(struct fb_net *net);

	/* Text after the colon to an address. 0 or -EINVAL (no log). */
	int (*parse)(const char *text, struct fb_net_addr *addr);
	/* "192.0.2.1:7000". Returns buf. */
	char *(*format)(const struct fb_net_addr *addr, char *buf, size_t cap);

	/*
	 * Sends up to n datagrams to one peer, in order. Equal-sized datagrams
	 * that follow each other in memory are cheapest (one segmented send).
	 * Returns how many were taken (a short count: the queue is full, wait
	 * for writable()); lost datagrams and unreachable peers count as taken.
	 * The bytes may be reused on return.
	 */
	unsigned (*send)(struct fb_net *net, const struct fb_net_addr *to, const struct fb_dgram *v, unsigned n);

	/* Largest datagram that leaves unfragmented towards `to`, as far as this host knows. 0: nobody can be there. */
	uint32_t (*mtu)(struct fb_net *net, const struct fb_net_addr *to);

	const struct fb_net_stats *(*stats)(struct fb_net *net);
	/* The address that listen() got, for "port 0". May be NULL. */
	int (*local)(struct fb_net *net, struct fb_net_addr *addr);
};

struct fb_net {
	const struct fb_net_ops *ops;
};

extern const struct fb_net_ops fb_net_udp, fb_net_loopback;

/* Finds the backend for "udp:…"; *rest is what follows the colon. NULL: none such. */
const struct fb_net_ops *fb_net_find(const char *address, const char **rest);
/* "udp, loopback", for messages. */
const char *fb_net_names(void);

/*
 * Wraps `inner` (taken over; closed with the wrapper) in the faults that `spec`
 * names: "drop=1%,reorder=2%,delay=1ms±0.5,dup=0.1%,corrupt=0.1%,rate=1G,seed=7".
 * They apply to what is sent; wrap both ends for both directions. `+-` may
 * stand for `±`. Returns 0, or -EINVAL with a logged message that names the
 * word at fault.
 */
int fb_net_fault_wrap(struct fb_net **net, struct fb_loop *loop, const char *spec, const struct fb_net_user *user,
		      void *arg);
/* Only whether it could: 0, -ENOMEM or -EINVAL, logged. */
int fb_net_fault_check(const char *spec);

#ifdef __cplusplus
}
#endif
#endif
