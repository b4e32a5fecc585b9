/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * One unconnected, non-blocking socket carries every peer. "udp::PORT" (any
 * address) is a dual-stack IPv6 socket where the host has IPv6; IPv4 peers of
 * it wear their IPv4 form outside this file, so that an address has one form.
 *
 * The cost is the system call and the kernel's walk from socket to device, so
 * both are shared: datagrams to a peer that are of one size (the last may be
 * shorter) go as one segmented send (UDP_SEGMENT), several of those in one
 * sendmmsg(); what arrives is coalesced by the kernel (UDP_GRO) and handed on
 * in pieces of the receive buffer. Either falls back by itself: a segmented
 * send that the device refuses while its datagrams pass one by one turns
 * segmentation off.
 *
 * DF is always set and the path MTU cache ignored (IP_PMTUDISC_PROBE): a forged
 * ICMP message cannot shrink what a session already uses. mtu() does ask the
 * cache, for new sessions.
 *
 * Errors that are the network's (unreachable, refused, filtered, no buffers)
 * are counted and the datagram is lost, as datagrams are. Only a full socket
 * queue is told to the caller.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/net.h"
#include "net/udp.h"
#include "util/log.h"
#include "util/loop.h"
#include "util/text.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum {
	RX_BATCH = 8,            /* messages a recvmmsg() */
	RX_SIZE = 65536,         /* a coalesced message is at most 65,507 bytes */
	RX_CALLS = 8,            /* recvmmsg() calls a round: timers and other sockets want their turn */
	TX_BATCH = 16,           /* messages a sendmmsg() */
	TX_IOV = 64,             /* pieces a message; also the kernel's limit of segments (UDP_MAX_SEGMENTS) */
	TX_MESSAGE = 65000,      /* bytes a segmented send; the limit is 65,535 with headers */
	DATAGRAM_MAX = 65507,
	MTU_UNKNOWN = 1232,      /* IPv6's least MTU, 1,280, less its headers */
	SOCKET_BUFFER = 8 << 20, /* bytes, each direction */
	IPV4_HEADERS = 20 + 8,
	IPV6_HEADERS = 40 + 8,
};

/* fb_net_addr.bytes: IPv4 address, port (6 bytes), or IPv6 address, port, scope ID (22 bytes). Network byte order. */
enum { V4_LEN = 6, V6_LEN = 22 };

struct udp {
	struct fb_net net;
	struct fb_loop *loop;
	const struct fb_net_user *user;
	void *arg;

	struct fb_fd watch;
	int fd;
	bool v6; /* the socket's family */
	bool gso, gro;
	bool in_rx, closed; /* closed while a batch is being handed on */

	struct fb_net_stats stats;

	struct fb_net_addr last_from; /* of last_name: one sender's datagrams come in rows */
	struct sockaddr_in6 last_name;
	socklen_t last_name_len;

	struct mmsghdr rx_msgs[RX_BATCH];
	struct iovec rx_iov[RX_BATCH];
	struct sockaddr_in6 rx_names[RX_BATCH];
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} rx_control[RX_BATCH];
	uint8_t *rx_buffers;
};

/* Addresses */

static struct fb_net_addr addr_v4(const void *address, in_port_t port)
{
	struct fb_net_addr a = {.len = V4_LEN};

	memcpy(a.bytes, address, 4);
	memcpy(a.bytes + 4, &port, 2);
	return a;
}

static struct fb_net_addr addr_v6(const struct in6_addr *address, in_port_t port, uint32_t scope)
{
	struct fb_net_addr a = {.len = V6_LEN};

	if (IN6_IS_ADDR_V4MAPPED(address))
		return addr_v4(address->s6_addr + 12, port);
	memcpy(a.bytes, address, 16);
	memcpy(a.bytes + 16, &port, 2);
	memcpy(a.bytes + 18, &scope, 4);
	return a;
}

static void from_sockaddr(const struct sockaddr_in6 *name, struct fb_net_addr *addr)
{
	if (name->sin6_family == AF_INET) {
		struct sockaddr_in v4;

		memcpy(&v4, name, sizeof(v4));
		*addr = addr_v4(&v4.sin_addr, v4.sin_port);
	} else {
		*addr = addr_v6(&name->sin6_addr, name->sin6_port, name->sin6_scope_id);
	}
}

/* For a socket of the given family. Returns 0: that family cannot reach the address. */
static socklen_t to_sockaddr(const struct fb_net_addr *addr, bool v6, struct sockaddr_in6 *name)
{
	memset(name, 0, sizeof(*name));
	if (addr->len == V4_LEN && !v6) {
		struct sockaddr_in v4 = {.sin_family = AF_INET};

		memcpy(&v4.sin_addr, addr->bytes, 4);
		memcpy(&v4.sin_port, addr->bytes + 4, 2);
		memcpy(name, &v4, sizeof(v4));
		return sizeof(v4);
	}
	if (!v6 || (addr->len != V6_LEN && addr->len != V4_LEN))
		return 0;
	name->sin6_family = AF_INET6;
	if (addr->len == V4_LEN) {
		name->sin6_addr.s6_addr[10] = name->sin6_addr.s6_addr[11] = 0xff;
		memcpy(name->sin6_addr.s6_addr + 12, addr->bytes, 4);
		memcpy(&name->sin6_port, addr->bytes + 4, 2);
	} else {
		memcpy(&name->sin6_addr, addr->bytes, 16);
		memcpy(&name->sin6_port, addr->bytes + 16, 2);
		memcpy(&name->sin6_scope_id, addr->bytes + 18, 4);
	}
	return sizeof(*name);
}

/* "192.0.2.1:7000", "[2001:db8::1]:7000", "[fe80::1%eth0]:7000", ":7000" (any). Numbers only: names would block. */
static int udp_parse(const char *text, struct fb_net_addr *addr)
{
	const char *colon = strrchr(text, ':');
	char host[INET6_ADDRSTRLEN + 1 + IF_NAMESIZE], *scope;
	struct in6_addr v6 = IN6ADDR_ANY_INIT;
	struct in_addr v4;
	uint64_t port, index = 0;
	size_t n;

	if (!colon || fb_parse_u64(colon + 1, &port) || port > 65535)
		return -EINVAL;
	n = (size_t)(colon - text);
	if (n >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, n);
	host[n] = '\0';
	if (!n) {
		*addr = addr_v6(&v6, htons((uint16_t)port), 0);
		return 0;
	}
	if (host[0] != '[') {
		if (inet_pton(AF_INET, host, &v4) != 1)
			return -EINVAL;
		*addr = addr_v4(&v4, htons((uint16_t)port));
		return 0;
	}
	if (host[n - 1] != ']')
		return -EINVAL;
	host[n - 1] = '\0';
	scope = strchr(host, '%');
	if (scope) {
		*scope++ = '\0';
		if (fb_parse_u64(scope, &index))
			index = if_nametoindex(scope);
		if (!index || index > UINT32_MAX)
			return -EINVAL;
	}
	if (inet_pton(AF_INET6, host + 1, &v6) != 1)
		return -EINVAL;
	*addr = addr_v6(&v6, htons((uint16_t)port), (uint32_t)index);
	return 0;
}

static char *udp_format(const struct fb_net_addr *addr, char *buf, size_t cap)
{
	char host[INET6_ADDRSTRLEN] = "?", name[IF_NAMESIZE];
	in_port_t port;
	uint32_t scope;

	if (addr->len == V4_LEN) {
		memcpy(&port, addr->bytes + 4, 2);
		inet_ntop(AF_INET, addr->bytes, host, sizeof(host));
		snprintf(buf, cap, "%s:%u", host, ntohs(port));
	} else if (addr->len == V6_LEN) {
		memcpy(&port, addr->bytes + 16, 2);
		memcpy(&scope, addr->bytes + 18, 4);
		inet_ntop(AF_INET6, addr->bytes, host, sizeof(host));
		if (!scope)
			snprintf(buf, cap, "[%s]:%u", host, ntohs(port));
		else if (if_indextoname(scope, name))
			snprintf(buf, cap, "[%s%%%s]:%u", host, name, ntohs(port));
		else
			snprintf(buf, cap, "[%s%%%u]:%u", host, scope, ntohs(port));
	} else {
		snprintf(buf, cap, "none");
	}
	return buf;
}

/* The same port on IPv4's any address. */
static struct fb_net_addr any_v4(const struct fb_net_addr *any_v6)
{
	in_port_t port;

	memcpy(&port, any_v6->bytes + 16, 2);
	return addr_v4("\0\0\0\0", port);
}

static bool is_any(const struct fb_net_addr *addr)
{
	static const uint8_t zeros[16];

	return !memcmp(addr->bytes, zeros, addr->len == V4_LEN ? 4 : 16);
}

static bool has_port(const struct fb_net_addr *addr)
{
	const uint8_t *port = addr->bytes + (addr->len == V4_LEN ? 4 : 16);

	return port[0] || port[1];
}

/* Receiving */

static void arm_rx(struct udp *u)
{
	for (unsigned i = 0; i < RX_BATCH; i++) {
		struct msghdr *m = &u->rx_msgs[i].msg_hdr;

		u->rx_iov[i] = (struct iovec){u->rx_buffers + (size_t)i * RX_SIZE, RX_SIZE};
		m->msg_name = &u->rx_names[i];
		m->msg_namelen = sizeof(u->rx_names[i]);
		m->msg_iov = &u->rx_iov[i];
		m->msg_iovlen = 1;
		m->msg_control = u->rx_control[i].bytes;
		m->msg_controllen = sizeof(u->rx_control[i].bytes);
	}
}

/* Size of the datagrams that the kernel put together; 0: there is one. */
static size_t coalesced(struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
			int size;

			memcpy(&size, CMSG_DATA(c), sizeof(size));
			return size > 0 ? (size_t)size : 0;
		}
	}
	return 0;
}

/* Hands one message on, datagram by datagram. */
static void hand_on(struct udp *u, struct msghdr *m, size_t len)
{
	const uint8_t *data = m->msg_iov[0].iov_base;
	size_t piece = coalesced(m);

	if (m->msg_flags & MSG_TRUNC) {
		u->stats.rx_truncated++;
		return;
	}
	if (m->msg_namelen != u->last_name_len || memcmp(m->msg_name, &u->last_name, m->msg_namelen)) {
		memcpy(&u->last_name, m->msg_name, m->msg_namelen);
		u->last_name_len = m->msg_namelen;
		from_sockaddr(&u->last_name, &u->last_from);
	}
	u->stats.rx_bytes += len;
	if (!piece || piece > len)
		piece = len;
	do {
		size_t n = len < piece ? len : piece;

		u->stats.rx_datagrams++;
		u->user->rx(u->arg, &u->last_from, data, n);
		data += n;
		len -= n;
	} while (len && !u->closed);
}

static void free_udp(struct udp *u)
{
	free(u->rx_buffers);
	free(u);
}

static void udp_receive(struct udp *u)
{
	u->in_rx = true;
	for (unsigned call = 0; call < RX_CALLS && !u->closed; call++) {
		int n;

		arm_rx(u);
		n = recvmmsg(u->fd, u->rx_msgs, RX_BATCH, MSG_DONTWAIT, NULL);
		u->stats.rx_calls++;
		if (n < 0) {
			/* Anything but "nothing there" is an ICMP error kept for us: reading it cleared it. */
			if (errno == EAGAIN)
				break;
			continue;
		}
		for (int i = 0; i < n && !u->closed; i++)
			hand_on(u, &u->rx_msgs[i].msg_hdr, u->rx_msgs[i].msg_len);
		if (!u->closed)
			u->user->round_end(u->arg);
		if (n < RX_BATCH)
			break;
	}
	u->in_rx = false;
	if (u->closed)
		free_udp(u);
}

static void udp_ready(struct fb_fd *w, uint32_t events)
{
	struct udp *u = (struct udp *)((char *)w - offsetof(struct udp, watch));

	if (events & EPOLLERR) {
		int err;
		socklen_t len = sizeof(err);

		getsockopt(u->fd, SOL_SOCKET, SO_ERROR, &err, &len);
	}
	if (events & EPOLLOUT) {
		fb_fd_modify(w, EPOLLIN);
		u->in_rx = true; /* writable() may close us */
		u->user->writable(u->arg);
		u->in_rx = false;
		if (u->closed) {
			free_udp(u);
			return;
		}
	}
	if (events & EPOLLIN)
		udp_receive(u);
}

/* Sending */

struct tx_batch {
	struct sockaddr_in6 name;
	socklen_t name_len;
	unsigned n;
	struct mmsghdr msgs[TX_BATCH];
	unsigned datagrams[TX_BATCH]; /* in each message */
	size_t bytes[TX_BATCH];
	unsigned n_iov;
	struct iovec iov[2 * TX_IOV];
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(uint16_t))];
	} control[TX_BATCH];
};

/* Puts datagrams from v on into one more message. Returns how many, 0: the batch is full. */
static unsigned add_message(struct tx_batch *b, const struct fb_dgram *v, unsigned n, bool gso)
{
	unsigned room = 2 * TX_IOV - b->n_iov, count = 0, i = b->n;
	struct iovec *iov, *last = NULL;
	struct msghdr *m;
	size_t total = 0;

	if (i == TX_BATCH || !room)
		return 0;
	m = &b->msgs[i].msg_hdr;
	iov = &b->iov[b->n_iov];
	while (count < n && count < TX_IOV) {
		const struct fb_dgram *d = &v[count];

		if (count && (!gso || d->len > v[0].len || !d->len || v[count - 1].len != v[0].len ||
			      total + d->len > TX_MESSAGE))
			break;
		if (last && (uint8_t *)last->iov_base + last->iov_len == d->data) {
			last->iov_len += d->len;
		} else {
			if (!room)
				break;
			room--;
			last = last ? last + 1 : iov;
			*last = (struct iovec){(void *)(uintptr_t)d->data, d->len};
		}
		total += d->len;
		count++;
	}
	memset(m, 0, sizeof(*m));
	m->msg_name = &b->name;
	m->msg_namelen = b->name_len;
	m->msg_iov = iov;
	m->msg_iovlen = (size_t)(last - iov) + 1;
	if (count > 1) {
		uint16_t size = (uint16_t)v[0].len;
		struct cmsghdr *c;

		m->msg_control = b->control[i].bytes;
		m->msg_controllen = sizeof(b->control[i].bytes);
		c = CMSG_FIRSTHDR(m);
		c->cmsg_level = SOL_UDP;
		c->cmsg_type = UDP_SEGMENT;
		c->cmsg_len = CMSG_LEN(sizeof(size));
		memcpy(CMSG_DATA(c), &size, sizeof(size));
	}
	b->n_iov += (unsigned)m->msg_iovlen;
	b->datagrams[i] = count;
	b->bytes[i] = total;
	b->n++;
	return count;
}

static void want_writable(struct udp *u)
{
	u->stats.tx_full++;
	fb_fd_modify(&u->watch, EPOLLIN | EPOLLOUT);
}

/* One datagram on its own. 1: sent; 0: lost, for the network's or its own reasons; -EAGAIN. */
static int send_single(struct udp *u, const struct sockaddr_in6 *name, socklen_t name_len, const struct fb_dgram *d)
{
	ssize_t n;

	do {
		n = sendto(u->fd, d->data, d->len, MSG_DONTWAIT, (const struct sockaddr *)name, name_len);
		u->stats.tx_calls++;
	} while (n < 0 && errno == EINTR);
	if (n >= 0) {
		u->stats.tx_datagrams++;
		u->stats.tx_bytes += d->len;
		return 1;
	}
	if (errno == EAGAIN)
		return -EAGAIN;
	u->stats.tx_errors++;
	return 0;
}

/*
 * A segmented send was refused: without segmentation it shows whose fault that
 * is. Returns how many of the n datagrams were taken.
 */
static unsigned send_apart(struct udp *u, const struct tx_batch *b, const struct fb_dgram *v, unsigned n, int why)
{
	unsigned sent = 0, i;

	for (i = 0; i < n; i++) {
		int r = send_single(u, &b->name, b->name_len, &v[i]);

		if (r < 0)
			break;
		sent += (unsigned)r;
	}
	if (sent && u->gso) {
		u->gso = false;
		fb_debug("udp", "no segmentation offload here (%s): one datagram a message", strerror(why));
	}
	return i;
}

static unsigned udp_send(struct fb_net *net, const struct fb_net_addr *to, const struct fb_dgram *v, unsigned n)
{
	struct udp *u = (struct udp *)net;
	struct tx_batch b;
	unsigned done = 0;

	b.name_len = to_sockaddr(to, u->v6, &b.name);
	if (!b.name_len) {
		u->stats.tx_errors += n;
		return n;
	}
	while (done < n) {
		unsigned planned = done, added;
		int sent;

		b.n = b.n_iov = 0;
		while (planned < n && (added = add_message(&b, v + planned, n - planned, u->gso)))
			planned += added;
		sent = sendmmsg(u->fd, b.msgs, b.n, MSG_DONTWAIT);
		u->stats.tx_calls++;
		for (int i = 0; i < sent; i++) {
			u->stats.tx_datagrams += b.datagrams[i];
			u->stats.tx_bytes += b.bytes[i];
			done += b.datagrams[i];
		}
		if (sent >= 0 || errno == EINTR)
			continue; /* an error in the middle shows when it is first */
		if (errno == EAGAIN)
			break;
		if (b.datagrams[0] > 1 && (errno == EIO || errno == EINVAL || errno == EOPNOTSUPP || errno == EMSGSIZE)) {
			unsigned taken = send_apart(u, &b, v + done, b.datagrams[0], errno);

			done += taken;
			if (taken < b.datagrams[0])
				break;
			continue;
		}
		u->stats.tx_errors += b.datagrams[0];
		done += b.datagrams[0];
	}
	if (done < n)
		want_writable(u);
	return done;
}

/* Opening */

static void set_buffer(int fd, int force, int plain)
{
	int size = SOCKET_BUFFER;

	/* Above net.core.[rw]mem_max for those who may; as much as allowed for others. */
	if (setsockopt(fd, SOL_SOCKET, force, &size, sizeof(size)) < 0)
		setsockopt(fd, SOL_SOCKET, plain, &size, sizeof(size));
}

static void set_flag(int fd, int level, int option, int value)
{
	setsockopt(fd, level, option, &value, sizeof(value));
}

static int open_socket(struct udp *u, bool v6, bool dual)
{
	u->fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (u->fd < 0)
		return -errno;
	u->v6 = v6;
	if (v6)
		set_flag(u->fd, IPPROTO_IPV6, IPV6_V6ONLY, !dual);
	return 0;
}

static int bind_socket(struct udp *u, struct fb_net_addr *local, bool any)
{
	struct sockaddr_in6 name;
	socklen_t len;
	int err = open_socket(u, local->len == V6_LEN, any);

	if (err == -EAFNOSUPPORT && any) {
		/* No IPv6 on this host: "any" is IPv4's. */
		*local = any_v4(local);
		err = open_socket(u, false, false);
	}
	if (err)
		return err;
	len = to_sockaddr(local, u->v6, &name);
	if (bind(u->fd, (struct sockaddr *)&name, len) == 0)
		return 0;
	err = -errno;
	close(u->fd);
	u->fd = -1;
	if (err == -EADDRNOTAVAIL && any && u->v6) {
		/* IPv6 is compiled in, but switched off (net.ipv6.conf.all.disable_ipv6). */
		*local = any_v4(local);
		return bind_socket(u, local, false);
	}
	return err;
}

/* The local address that `listen` or else the family of `peer` asks for. */
static int local_address(const char *listen, const char *peer, struct fb_net_addr *local, bool *any)
{
	*any = false;
	if (listen && *listen) {
		if (udp_parse(listen, local)) {
			fb_error(NULL, "udp:%s: must be udp:ADDR:PORT with a numeric address, udp:[IPV6]:PORT or udp::PORT",
				 listen);
			return -EINVAL;
		}
		*any = listen[0] == ':';
		return 0;
	}
	if (!peer) {
		udp_parse(":0", local);
		*any = true;
		return 0;
	}
	if (udp_parse(peer, local) || is_any(local) || !has_port(local)) {
		fb_error(NULL, "udp:%s: must be udp:ADDR:PORT with a numeric address and a port, or udp:[IPV6]:PORT", peer);
		return -EINVAL;
	}
	return udp_parse(local->len == V6_LEN ? "[::]:0" : "0.0.0.0:0", local);
}

static int udp_open(struct fb_net **out, struct fb_loop *loop, const char *listen, const char *peer,
		    const struct fb_net_user *user, void *arg)
{
	struct fb_net_addr local;
	struct udp *u;
	char text[80];
	bool any;
	int err = local_address(listen, peer, &local, &any), on = 1;

	if (err)
		return err;
	u = calloc(1, sizeof(*u));
	if (!u)
		return -ENOMEM;
	u->net.ops = &fb_net_udp;
	u->loop = loop;
	u->user = user;
	u->arg = arg;
	u->rx_buffers = malloc((size_t)RX_BATCH * RX_SIZE);
	if (!u->rx_buffers) {
		err = -ENOMEM;
		goto free_net;
	}
	err = bind_socket(u, &local, any);
	if (err) {
		fb_error(NULL, "udp:%s: %s", udp_format(&local, text, sizeof(text)),
			 err == -EADDRINUSE ? "address in use: another process listens there"
			 : err == -EACCES   ? "not allowed: a port below 1024 needs CAP_NET_BIND_SERVICE"
					    : strerror(-err));
		goto free_net;
	}
	set_buffer(u->fd, SO_RCVBUFFORCE, SO_RCVBUF);
	set_buffer(u->fd, SO_SNDBUFFORCE, SO_SNDBUF);
	set_flag(u->fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
	if (u->v6)
		set_flag(u->fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
	u->gro = setsockopt(u->fd, SOL_UDP, UDP_GRO, &on, sizeof(on)) == 0;
	on = 0;
	u->gso = setsockopt(u->fd, SOL_UDP, UDP_SEGMENT, &on, sizeof(on)) == 0;

	u->watch.ready = udp_ready;
	err = fb_fd_add(loop, &u->watch, u->fd, EPOLLIN);
	if (err) {
		fb_error(NULL, "udp:%s: epoll: %s", udp_format(&local, text, sizeof(text)), strerror(-err));
		goto close_socket;
	}
	*out = &u->net;
	return 0;

close_socket:
	close(u->fd);
free_net:
	free_udp(u);
	return err;
}

static void udp_close(struct fb_net *net)
{
	struct udp *u = (struct udp *)net;

	fb_fd_del(&u->watch);
	close(u->fd);
	u->closed = true;
	if (!u->in_rx)
		free_udp(u);
}

void fb_net_udp_set_offload(struct fb_net *net, bool gso, bool gro)
{
	struct udp *u = (struct udp *)net;

	u->gso = gso;
	u->gro = gro;
	set_flag(u->fd, SOL_UDP, UDP_GRO, gro);
}

/* Asks a socket connected to the peer, since only the route to it knows. 0: no peer can be there (port 0). */
static uint32_t udp_mtu(struct fb_net *net, const struct fb_net_addr *to)
{
	struct sockaddr_in6 name;
	bool v6 = to->len == V6_LEN;
	socklen_t len = to_sockaddr(to, v6, &name);
	int fd, mtu = 0, headers = v6 ? IPV6_HEADERS : IPV4_HEADERS;
	socklen_t size = sizeof(mtu);

	if (!len || !name.sin6_port)
		return 0;
	fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return MTU_UNKNOWN;
	if (connect(fd, (struct sockaddr *)&name, len) < 0 ||
	    getsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_MTU : IP_MTU, &mtu, &size) < 0)
		mtu = 0;
	close(fd);
	if (mtu <= headers)
		return MTU_UNKNOWN;
	return mtu - headers < DATAGRAM_MAX ? (uint32_t)(mtu - headers) : DATAGRAM_MAX;
}

static const struct fb_net_stats *udp_stats(struct fb_net *net)
{
	return &((struct udp *)net)->stats;
}

static int udp_local(struct fb_net *net, struct fb_net_addr *addr)
{
	struct udp *u = (struct udp *)net;
	struct sockaddr_in6 name;
	socklen_t len = sizeof(name);

	if (getsockname(u->fd, (struct sockaddr *)&name, &len) < 0)
		return -errno;
	from_sockaddr(&name, addr);
	return 0;
}

const struct fb_net_ops fb_net_udp = {
	.name = "udp",
	.syntax = "udp:ADDR:PORT",
	.open = udp_open,
	.close = udp_close,
	.parse = udp_parse,
	.format = udp_format,
	.send = udp_send,
	.mtu = udp_mtu,
	.stats = udp_stats,
	.local = udp_local,
};
