/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Ports are tags, and a peer's socket is connected to ours: so each port needs a
 * bound socket, up to 256 for software's requests and 16 for the host's. They are
 * opened at once, for what comes to a port that nobody has is lost. One epoll
 * descriptor holds them all, and is what the outside waits for.
 *
 * PCIe has an order between TLPs that UDP has not between sockets: a read that
 * was sent behind a write may lie in another socket, and be found first. A
 * pass therefore gathers what lies in all sockets, until there is no more or its
 * slots are full, and sorts it by the sender's sequence numbers before any of it
 * is handed on. What the network itself reorders stays reordered.
 *
 * Sending is a queue of datagrams in one arena. Neighbours of one port leave in
 * one sendmmsg(); sequence numbers are given when a TLP is queued, time stamps when
 * it leaves.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "softpcie/socket.h"
#include "util/log.h"
#include "util/loop.h"

enum {
	RX_SLOTS = 64,                 /* datagrams a pass */
	RX_SLOT = 4160,                /* the largest datagram, and one more byte to see a longer one */
	RX_PASSES = 8,                 /* a call */
	TX_ENTRIES = 512,
	TX_ARENA = 256 << 10,
	SOCKETS_MAX = SOFTPCIE_DEVICE_TAGS + SOFTPCIE_HOST_TAGS + FB_SOFTPCIE_SERVICES,
	SOCKET_BUFFER = 512 << 10,
	WRITES_BUFFER = 8 << 20,       /* of the port of tag 0, which all writes of a device come to */
	BATCH = 64,
	MANY = 8,
	LOOKS = 8,                     /* a pass */
};
_Static_assert((int)RX_SLOT > (int)SOFTPCIE_DATAGRAM_MAX, "a slot holds more than any datagram");

struct sock {
	int fd;
	uint16_t port; /* 0: any */
	bool service;
	bool blocked;     /* EPOLLOUT is asked for */
	uint8_t many;     /* so often yet it is asked for many datagrams at once */
	uint32_t read_in; /* the pass that read it last */
};

struct slot {
	uint32_t len;
	uint16_t socket, peer, from;
	bool numbered, packet;
	struct softpcie_header header;
};

struct entry {
	uint32_t at, len;
	uint16_t socket, peer, to;
	bool tlp; /* has a header: the time stamp is put in when it leaves */
};

enum complaint { STRANGER, SHORT, MALFORMED, WRONG_PORT, NOT_CARRIED, BAD_PACKET, TX_REFUSED, COMPLAINTS };

struct fb_softpcie {
	const struct fb_softpcie_user *user;
	void *arg;
	char name[48];
	bool old_rule;
	int epoll;

	struct sock sockets[SOCKETS_MAX];
	unsigned n_sockets;
	uint16_t by_device[SOFTPCIE_DEVICE_TAGS], by_host[SOFTPCIE_HOST_TAGS]; /* index + 1 */

	uint32_t peers[FB_SOFTPCIE_PEERS];
	unsigned n_peers;
	struct fb_softpcie_path paths[FB_SOFTPCIE_PEERS];

	uint16_t sequence;
	struct entry entries[TX_ENTRIES];
	unsigned first, n_entries; /* entries first .. first + n_entries - 1 */
	uint32_t used;             /* of the arena */
	uint8_t arena[TX_ARENA];
	bool stuck;                /* a socket is full */

	uint8_t *rx; /* RX_SLOTS * RX_SLOT */
	struct mmsghdr rx_messages[RX_SLOTS]; /* one a slot, always ready */
	struct iovec rx_iov[RX_SLOTS];
	struct sockaddr_in rx_names[RX_SLOTS];
	struct slot slots[RX_SLOTS];
	uint8_t order[RX_SLOTS];
	uint32_t pass;

	struct fb_softpcie_stats stats;
	struct fb_log_limit limits[COMPLAINTS];
};

/* ---- Addresses and complaints -------------------------------------------- */

int fb_softpcie_parse_addr(const char *text, uint32_t *addr)
{
	struct in_addr in;

	if (inet_pton(AF_INET, text, &in) != 1)
		return -EINVAL;
	*addr = in.s_addr;
	return 0;
}

char *fb_softpcie_format_addr(uint32_t addr, char *buf, size_t cap)
{
	struct in_addr in = {addr};

	if (!inet_ntop(AF_INET, &in, buf, (socklen_t)cap))
		snprintf(buf, cap, "?");
	return buf;
}

__attribute__((format(printf, 5, 6))) static void complain(struct fb_softpcie *s, enum complaint kind, uint32_t addr,
							  uint16_t port, const char *fmt, ...)
{
	uint64_t left_out;
	char from[INET_ADDRSTRLEN], text[256];
	va_list ap;

	if (!fb_log_allowed(&s->limits[kind], fb_clock_ns(), &left_out))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fb_log_left_out(left_out, FB_LOG_WARN, s->name, "%s, port 0x%x: %s",
			fb_softpcie_format_addr(addr, from, sizeof(from)), port, text);
}

void fb_softpcie_bad_packet(struct fb_softpcie *s, unsigned peer, uint16_t port, const char *what)
{
	s->stats.rx_bad_packets++;
	complain(s, BAD_PACKET, s->peers[peer], port, "dropped: %s", what);
}

/* ---- Opening ------------------------------------------------------------- */

static int open_socket(struct fb_softpcie *s, uint32_t local, uint16_t port, bool service)
{
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {local}};
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = s->n_sockets};
	struct sock *k = &s->sockets[s->n_sockets];
	char addr[INET_ADDRSTRLEN];
	int size = port == SOFTPCIE_PORT_DEVICE ? WRITES_BUFFER : SOCKET_BUFFER, err;

	k->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (k->fd < 0) {
		err = -errno;
		fb_error(s->name, "socket: %s", strerror(-err));
		return err;
	}
	if (setsockopt(k->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(k->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (bind(k->fd, (struct sockaddr *)&name, sizeof(name)) < 0 ||
	    epoll_ctl(s->epoll, EPOLL_CTL_ADD, k->fd, &event) < 0) {
		err = -errno;
		fb_error(s->name, "%s, UDP port %u: %s", fb_softpcie_format_addr(local, addr, sizeof(addr)), port,
			 err == -EADDRINUSE ? "address in use: is another adapter or device there?" : strerror(-err));
		close(k->fd);
		return err;
	}
	k->port = port;
	k->service = service;
	s->n_sockets++;
	return 0;
}

static int open_sockets(struct fb_softpcie *s, const struct fb_softpcie_config *c)
{
	int err = 0;

	for (unsigned i = 0; i < c->device_tags && !err; i++) {
		err = open_socket(s, c->local, (uint16_t)(SOFTPCIE_PORT_DEVICE + i), false);
		s->by_device[i] = (uint16_t)s->n_sockets;
	}
	for (unsigned i = 0; c->host_ports && i < SOFTPCIE_HOST_TAGS && !err; i++) {
		err = open_socket(s, c->local, (uint16_t)(SOFTPCIE_PORT_HOST + i), false);
		s->by_host[i] = (uint16_t)s->n_sockets;
	}
	for (unsigned i = 0; i < c->n_services && !err; i++)
		err = open_socket(s, c->local, c->services[i], true);
	return err;
}

static void arm_slots(struct fb_softpcie *s)
{
	for (unsigned i = 0; i < RX_SLOTS; i++) {
		s->rx_iov[i] = (struct iovec){s->rx + (size_t)i * RX_SLOT, RX_SLOT};
		s->rx_messages[i].msg_hdr = (struct msghdr){.msg_name = &s->rx_names[i], .msg_namelen = sizeof(s->rx_names[i]),
							    .msg_iov = &s->rx_iov[i], .msg_iovlen = 1};
	}
}

int fb_softpcie_open(struct fb_softpcie **out, const struct fb_softpcie_config *c, const struct fb_softpcie_user *user,
		     void *arg)
{
	struct fb_softpcie *s;
	int err;

	if (!c->n_peers || c->n_peers > FB_SOFTPCIE_PEERS || c->device_tags > SOFTPCIE_DEVICE_TAGS ||
	    c->n_services > FB_SOFTPCIE_SERVICES)
		return -EINVAL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->user = user;
	s->arg = arg;
	s->old_rule = c->old_rule;
	snprintf(s->name, sizeof(s->name), "%s", c->name ? c->name : "softpcie");
	memcpy(s->peers, c->peers, sizeof(s->peers));
	s->n_peers = c->n_peers;
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	s->rx = malloc((size_t)RX_SLOTS * RX_SLOT);
	if (s->epoll < 0 || !s->rx) {
		err = s->epoll < 0 ? -errno : -ENOMEM;
		fb_error(s->name, "%s", strerror(-err));
	} else {
		arm_slots(s);
		err = open_sockets(s, c);
	}
	if (err) {
		fb_softpcie_close(s);
		return err;
	}
	*out = s;
	return 0;
}

void fb_softpcie_close(struct fb_softpcie *s)
{
	if (!s)
		return;
	fb_softpcie_flush(s);
	for (unsigned i = 0; i < s->n_sockets; i++)
		close(s->sockets[i].fd);
	if (s->epoll >= 0)
		close(s->epoll);
	free(s->rx);
	free(s);
}

int fb_softpcie_fd(const struct fb_softpcie *s)
{
	return s->epoll;
}

/* The socket of one of our ports; SOCKETS_MAX: there is none. */
static unsigned find_socket(const struct fb_softpcie *s, uint16_t port)
{
	unsigned i = 0;

	if (port >= SOFTPCIE_PORT_DEVICE && port < SOFTPCIE_PORT_DEVICE + SOFTPCIE_DEVICE_TAGS)
		i = s->by_device[port - SOFTPCIE_PORT_DEVICE];
	else if (port >= SOFTPCIE_PORT_HOST && port < SOFTPCIE_PORT_HOST + SOFTPCIE_HOST_TAGS)
		i = s->by_host[port - SOFTPCIE_PORT_HOST];
	if (i)
		return i - 1;
	for (i = 0; i < s->n_sockets; i++) {
		if (s->sockets[i].service && s->sockets[i].port == port)
			return i;
	}
	return SOCKETS_MAX;
}

/* ---- Receiving ----------------------------------------------------------- */

/*
 * Reads a socket into slots from `first` on. Most have one datagram, and recvfrom() is cheaper for that than
 * recvmmsg(), which looks for a second one. A socket that is reported twice in a pass had more, and is read by
 * recvmmsg() until that found one alone MANY times.
 */
static int read_socket(struct fb_softpcie *s, struct sock *k, unsigned first)
{
	struct mmsghdr *messages = &s->rx_messages[first];
	socklen_t name_len = sizeof(s->rx_names[first]);
	ssize_t len;
	int n;

	s->stats.rx_calls++;
	if (k->read_in == s->pass)
		k->many = MANY;
	k->read_in = s->pass;
	if (!k->many) {
		len = recvfrom(k->fd, s->rx_iov[first].iov_base, RX_SLOT, MSG_DONTWAIT, (struct sockaddr *)&s->rx_names[first],
			       &name_len);
		messages->msg_len = len < 0 ? 0 : (unsigned)len;
		return len < 0 ? -1 : 1;
	}
	n = recvmmsg(k->fd, messages, RX_SLOTS - first, MSG_DONTWAIT, NULL);
	k->many = n > 1 ? MANY : k->many - 1;
	return n;
}

/* Fills slots from one socket. Returns how many. */
static unsigned drain_socket(struct fb_softpcie *s, unsigned index, unsigned first)
{
	struct mmsghdr *messages = &s->rx_messages[first];
	const struct sockaddr_in *names = &s->rx_names[first];
	int n = read_socket(s, &s->sockets[index], first);
	unsigned kept = 0;

	for (int i = 0; i < n; i++) {
		struct slot *slot = &s->slots[first + kept];
		uint16_t from = ntohs(names[i].sin_port);
		unsigned peer = 0;

		messages[i].msg_hdr.msg_namelen = sizeof(names[i]);
		s->stats.rx_datagrams++;
		s->stats.rx_bytes += messages[i].msg_len;
		while (peer < s->n_peers && s->peers[peer] != names[i].sin_addr.s_addr)
			peer++;
		if (peer == s->n_peers || (!s->sockets[index].service && from != s->sockets[index].port)) {
			s->stats.rx_strangers++;
			complain(s, STRANGER, names[i].sin_addr.s_addr, s->sockets[index].port,
				 peer == s->n_peers ? "not a peer of ours: dropped" : "from port 0x%x instead: dropped", from);
			continue;
		}
		if (kept != (unsigned)i) /* one was dropped: its slot is filled */
			memcpy(s->rx + (size_t)(first + kept) * RX_SLOT, s->rx_iov[first + (unsigned)i].iov_base,
			       messages[i].msg_len);
		slot->len = messages[i].msg_len;
		slot->socket = (uint16_t)index;
		slot->peer = (uint16_t)peer;
		slot->from = from;
		slot->numbered = false;
		slot->packet = s->sockets[index].service ||
			       (s->sockets[index].port == SOFTPCIE_PORT_CONFIG_OLD && slot->len == SOFTPCIE_CONFIG_SIZE);
		kept++;
	}
	return kept;
}

/* Looks at the headers, and puts what one peer numbered into its order. */
static void sort(struct fb_softpcie *s, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct slot *slot = &s->slots[i];
		const uint8_t *tlp;
		size_t len;
		unsigned at = i;

		if (!slot->packet && !softpcie_parse(s->rx + (size_t)i * RX_SLOT, slot->len, &slot->header, &tlp, &len))
			slot->numbered = slot->header.sequence || slot->header.timestamp;
		for (; slot->numbered && at > 0; at--) {
			const struct slot *before = &s->slots[s->order[at - 1]];

			if (!before->numbered || before->peer != slot->peer ||
			    (int16_t)(slot->header.sequence - before->header.sequence) >= 0)
				break;
			s->order[at] = s->order[at - 1];
		}
		s->order[at] = (uint8_t)i;
	}
}

static void deliver_tlp(struct fb_softpcie *s, const struct slot *slot, const uint8_t *data, uint64_t now)
{
	uint32_t addr = s->peers[slot->peer];
	uint16_t port = s->sockets[slot->socket].port;
	struct softpcie_header header;
	enum pcie_tlp_error error;
	struct pcie_tlp tlp;
	const uint8_t *bytes;
	size_t len;

	if (softpcie_parse(data, slot->len, &header, &bytes, &len)) {
		s->stats.rx_short++;
		complain(s, SHORT, addr, port, "%u bytes are no header and TLP: dropped", slot->len);
		return;
	}
	if (!fb_softpcie_path_rx(&s->paths[slot->peer], &header, now))
		return;
	error = pcie_tlp_decode(&tlp, bytes, len);
	if (s->user->seen)
		s->user->seen(s->arg, false, &tlp, error, bytes, len);
	if (error) {
		s->stats.rx_malformed++;
		complain(s, MALFORMED, addr, port, "malformed TLP of %zu bytes dropped: %s", len, pcie_tlp_error_name(error));
	} else if (!softpcie_carries(&tlp)) {
		s->stats.rx_not_carried++;
		complain(s, NOT_CARRIED, addr, port, "%s is not carried: dropped", pcie_tlp_type_name(tlp.type));
	} else if (!softpcie_port_fits(&tlp, port, s->old_rule)) {
		s->stats.rx_wrong_port++;
		complain(s, WRONG_PORT, addr, port, "%s with tag %u does not belong on that port: dropped",
			 pcie_tlp_type_name(tlp.type), tlp.tag);
	} else {
		s->user->tlp(s->arg, slot->peer, port, &tlp);
	}
}

/* One look at the sockets. Returns how many had something; the slots are filled from *got on. */
static int look(struct fb_softpcie *s, unsigned *got, bool *writable)
{
	struct epoll_event events[RX_SLOTS];
	int n = epoll_wait(s->epoll, events, RX_SLOTS, 0);

	for (int i = 0; i < n && *got < RX_SLOTS; i++) {
		struct sock *k = &s->sockets[events[i].data.u32];

		if (events[i].events & EPOLLOUT) {
			struct epoll_event in = {.events = EPOLLIN, .data.u32 = events[i].data.u32};

			k->blocked = false;
			*writable = true;
			epoll_ctl(s->epoll, EPOLL_CTL_MOD, k->fd, &in);
		}
		if (events[i].events & ~(uint32_t)EPOLLOUT)
			*got += drain_socket(s, events[i].data.u32, *got);
	}
	return n;
}

/* All that lies there, for sort() to see: what the first look left is found by the next. */
static unsigned gather(struct fb_softpcie *s, bool *writable)
{
	unsigned got = 0;

	s->pass++;
	for (unsigned i = 0; i < LOOKS && got < RX_SLOTS; i++) {
		if (look(s, &got, writable) <= 0)
			break;
	}
	return got;
}

bool fb_softpcie_receive(struct fb_softpcie *s)
{
	bool some = false;

	for (unsigned pass = 0; pass < RX_PASSES; pass++) {
		bool writable = false;
		unsigned n = gather(s, &writable);
		uint64_t now;

		if (writable) {
			s->stuck = false;
			fb_softpcie_flush(s);
		}
		some |= n > 0 || writable;
		if (!n)
			break;
		now = fb_clock_ns();
		sort(s, n);
		for (unsigned i = 0; i < n; i++) {
			const struct slot *slot = &s->slots[s->order[i]];
			const uint8_t *data = s->rx + (size_t)s->order[i] * RX_SLOT;

			if (!slot->packet)
				deliver_tlp(s, slot, data, now);
			else if (s->user->packet)
				s->user->packet(s->arg, slot->peer, s->sockets[slot->socket].port, slot->from, data, slot->len);
		}
		if (n < RX_SLOTS / 2)
			break;
	}
	return some;
}

/* ---- Sending ------------------------------------------------------------- */

static struct sockaddr_in name_of(const struct fb_softpcie *s, const struct entry *e)
{
	return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(e->to), .sin_addr = {s->peers[e->peer]}};
}

/* The kernel has less to look at than with sendmsg(). */
static int send_one(const struct fb_softpcie *s, int fd, const struct entry *e)
{
	struct sockaddr_in name = name_of(s, e);

	return sendto(fd, s->arena + e->at, e->len, MSG_DONTWAIT, (struct sockaddr *)&name, sizeof(name)) < 0 ? -1 : 1;
}

static int send_many(struct fb_softpcie *s, int fd, const struct entry *e, unsigned n)
{
	struct mmsghdr messages[BATCH];
	struct iovec iov[BATCH];
	struct sockaddr_in names[BATCH];

	for (unsigned i = 0; i < n; i++) {
		names[i] = name_of(s, &e[i]);
		iov[i] = (struct iovec){s->arena + e[i].at, e[i].len};
		messages[i].msg_hdr = (struct msghdr){.msg_name = &names[i], .msg_namelen = sizeof(names[i]),
						      .msg_iov = &iov[i], .msg_iovlen = 1};
	}
	return sendmmsg(fd, messages, n, MSG_DONTWAIT);
}

/* Sends neighbours of one socket in one call. Returns how many left or are lost; 0: the socket is full. */
static unsigned send_run(struct fb_softpcie *s, unsigned first, unsigned n)
{
	const struct entry *e = &s->entries[first];
	struct sock *k = &s->sockets[e->socket];
	int sent = n == 1 ? send_one(s, k->fd, e) : send_many(s, k->fd, e, n);

	s->stats.tx_calls++;
	for (int i = 0; i < sent; i++) {
		s->stats.tx_datagrams++;
		s->stats.tx_bytes += e[i].len;
	}
	if (sent > 0)
		return (unsigned)sent;
	if (errno == EAGAIN) {
		struct epoll_event both = {.events = EPOLLIN | EPOLLOUT, .data.u32 = e->socket};

		k->blocked = true;
		s->stuck = true;
		epoll_ctl(s->epoll, EPOLL_CTL_MOD, k->fd, &both);
		return 0;
	}
	s->stats.tx_dropped++;
	complain(s, TX_REFUSED, s->peers[e->peer], e->to, "a datagram of %u bytes is not sent: %s", e->len, strerror(errno));
	return 1;
}

void fb_softpcie_flush(struct fb_softpcie *s)
{
	uint32_t ticks;

	if (!s->n_entries || s->stuck)
		return;
	ticks = softpcie_ticks(fb_clock_ns());
	for (unsigned i = s->first; i < s->first + s->n_entries; i++) {
		const struct entry *e = &s->entries[i];

		if (e->tlp) {
			uint8_t *p = s->arena + e->at;

			softpcie_put_header(p, &(struct softpcie_header){(uint16_t)(p[0] << 8 | p[1]), ticks});
		}
	}
	while (s->n_entries) {
		unsigned n = 1;

		while (n < s->n_entries && n < BATCH && s->entries[s->first + n].socket == s->entries[s->first].socket)
			n++;
		n = send_run(s, s->first, n);
		if (!n)
			return;
		s->first += n;
		s->n_entries -= n;
	}
	s->first = 0;
	s->used = 0;
}

bool fb_softpcie_room(const struct fb_softpcie *s)
{
	return s->first + s->n_entries < TX_ENTRIES && TX_ARENA - s->used >= SOFTPCIE_DATAGRAM_MAX;
}

/* A place for `size` bytes at the queue's end, or NULL. */
static uint8_t *append(struct fb_softpcie *s, unsigned socket, unsigned peer, uint16_t to, bool tlp)
{
	if (!fb_softpcie_room(s))
		fb_softpcie_flush(s);
	if (!fb_softpcie_room(s)) {
		s->stats.tx_full++;
		return NULL;
	}
	s->entries[s->first + s->n_entries] =
		(struct entry){.at = s->used, .socket = (uint16_t)socket, .peer = (uint16_t)peer, .to = to, .tlp = tlp};
	return s->arena + s->used;
}

static void appended(struct fb_softpcie *s, size_t len)
{
	s->entries[s->first + s->n_entries++].len = (uint32_t)len;
	s->used += (uint32_t)len;
}

int fb_softpcie_send(struct fb_softpcie *s, unsigned peer, uint16_t port, const struct pcie_tlp *tlp)
{
	unsigned socket = find_socket(s, port);
	enum pcie_tlp_error error = PCIE_TLP_OK;
	uint8_t *p;
	size_t n;

	if (socket == SOCKETS_MAX || peer >= s->n_peers || !softpcie_carries(tlp)) {
		fb_error(s->name, "%s with tag %u cannot be sent on port 0x%x", pcie_tlp_type_name(tlp->type), tlp->tag, port);
		return -EINVAL;
	}
	p = append(s, socket, peer, port, true);
	if (!p)
		return -EAGAIN;
	n = pcie_tlp_encode(tlp, p + SOFTPCIE_HEADER, PCIE_TLP_MAX_SIZE, &error);
	if (!n) {
		fb_error(s->name, "a TLP of ours is malformed and not sent: %s", pcie_tlp_error_name(error));
		return -EINVAL;
	}
	s->sequence++;
	softpcie_put_header(p, &(struct softpcie_header){s->sequence, 0});
	appended(s, SOFTPCIE_HEADER + n);
	if (s->user->seen)
		s->user->seen(s->arg, true, tlp, PCIE_TLP_OK, p + SOFTPCIE_HEADER, n);
	return 0;
}

void fb_softpcie_send_packet(struct fb_softpcie *s, unsigned peer, uint16_t port, uint16_t to, const void *data, size_t len)
{
	unsigned socket = find_socket(s, port);
	uint8_t *p;

	if (socket == SOCKETS_MAX || peer >= s->n_peers || len > SOFTPCIE_DATAGRAM_MAX)
		return;
	p = append(s, socket, peer, to, false);
	if (!p)
		return;
	memcpy(p, data, len);
	appended(s, len);
}

/* ---- Statistics ---------------------------------------------------------- */

const struct fb_softpcie_stats *fb_softpcie_stats(const struct fb_softpcie *s)
{
	return &s->stats;
}

const struct fb_softpcie_path_stats *fb_softpcie_path(const struct fb_softpcie *s, unsigned peer)
{
	return &s->paths[peer < s->n_peers ? peer : 0].stats;
}

void fb_softpcie_put_stats(const struct fb_softpcie *s, void (*put)(void *arg, const char *name, uint64_t value), void *arg)
{
	const struct fb_softpcie_stats *t = &s->stats;
	struct fb_softpcie_path_stats sum = {0};

	for (unsigned i = 0; i < s->n_peers; i++) {
		const struct fb_softpcie_path_stats *p = &s->paths[i].stats;

		sum.rx_numbered += p->rx_numbered;
		sum.rx_unnumbered += p->rx_unnumbered;
		sum.rx_lost += p->rx_lost;
		sum.rx_reordered += p->rx_reordered;
		sum.rx_duplicates += p->rx_duplicates;
		sum.rx_restarts += p->rx_restarts;
		sum.jitter_ns = p->jitter_ns > sum.jitter_ns ? p->jitter_ns : sum.jitter_ns;
	}
#define PUT(from, member) put(arg, #member, (from).member)
	PUT(*t, tx_datagrams);
	PUT(*t, tx_bytes);
	PUT(*t, tx_calls);
	PUT(*t, tx_dropped);
	PUT(*t, tx_full);
	PUT(*t, rx_datagrams);
	PUT(*t, rx_bytes);
	PUT(*t, rx_calls);
	PUT(*t, rx_strangers);
	PUT(*t, rx_short);
	PUT(*t, rx_malformed);
	PUT(*t, rx_wrong_port);
	PUT(*t, rx_not_carried);
	PUT(*t, rx_bad_packets);
	PUT(sum, rx_numbered);
	PUT(sum, rx_unnumbered);
	PUT(sum, rx_lost);
	PUT(sum, rx_reordered);
	PUT(sum, rx_duplicates);
	PUT(sum, rx_restarts);
	PUT(sum, jitter_ns);
#undef PUT
}
