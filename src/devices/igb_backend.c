/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where frames go to and come from: a tap device, an interface that exists (packet socket), or a descriptor that
 * somebody else has opened (a tap or macvtap device, or a socket with a frame a message).
 *
 * With a virtio_net_hdr in front of each packet checksums and segmentation are left to the host's network stack, in both
 * directions. Tap devices and packet sockets have it; where it is refused everything is done in software.
 *
 * The link follows the interface: a netlink socket tells of changes, and the guest's link is up while the interface is
 * up and running.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/virtio_net.h>

#include "devices/igb.h"

enum { VNET_HEADER = 10, NETLINK_BUFFER = 8192 };

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif
#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

/* ---- The header in front ------------------------------------------------------------- */

/* flags, gso_type, then little-endian hdr_len, gso_size, csum_start, csum_offset */
static void put_le16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static uint16_t get_le16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static void put_header(uint8_t h[VNET_HEADER], const struct igb_offload *o)
{
	memset(h, 0, VNET_HEADER);
	if (o->csum) {
		h[0] = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		put_le16(h + 6, o->csum_start);
		put_le16(h + 8, o->csum_offset);
	}
	if (igb_is_gso(o)) {
		h[1] = o->uso ? VIRTIO_NET_HDR_GSO_UDP_L4 : o->ipv6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
		put_le16(h + 2, o->hdr_len);
		put_le16(h + 4, o->mss);
	}
}

/* False: a kind of packet that was not asked for. */
static bool get_header(const uint8_t h[VNET_HEADER], struct igb_offload *o, bool *l4_good)
{
	if (h[0] & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		o->csum = true;
		o->csum_start = get_le16(h + 6);
		o->csum_offset = get_le16(h + 8);
	}
	*l4_good = h[0] & VIRTIO_NET_HDR_F_DATA_VALID;
	o->mss = get_le16(h + 4);
	switch (h[1] & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_NONE:
		return true;
	case VIRTIO_NET_HDR_GSO_TCPV4:
	case VIRTIO_NET_HDR_GSO_TCPV6:
		o->tso = true;
		return true;
	case VIRTIO_NET_HDR_GSO_UDP_L4:
		o->uso = true;
		return true;
	}
	return false;
}

/* ---- Frames ----------------------------------------------------------------------------- */

static void wait_for_room(struct igb *n)
{
	n->backend.wants_out = true;
	igb_backend_watch(n, !n->rx_held, true);
}

int igb_backend_write(struct igb *n, const uint8_t *frame, size_t len, const struct igb_offload *o)
{
	struct igb_backend *b = &n->backend;
	uint8_t header[VNET_HEADER];
	struct iovec iov[2] = {{header, VNET_HEADER}, {(void *)(uintptr_t)frame, len}};
	ssize_t sent;

	if (b->wants_out)
		return -EAGAIN;
	if (b->vnet)
		put_header(header, o);
	do
		sent = writev(b->fd, b->vnet ? iov : iov + 1, b->vnet ? 2 : 1);
	while (sent < 0 && errno == EINTR);
	b->writes++;
	if (sent >= 0)
		return 0;
	if (errno == EAGAIN) {
		wait_for_room(n);
		return -EAGAIN;
	}
	b->write_errors++;
	return -errno;
}

/* A packet socket gives the outer VLAN tag beside the frame: it is put in again. */
static ssize_t insert_tag(const struct msghdr *msg, uint8_t *buf, ssize_t len, size_t room, struct igb_offload *o)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR((struct msghdr *)(uintptr_t)msg, c)) {
		struct tpacket_auxdata aux;

		if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA || c->cmsg_len < CMSG_LEN(sizeof(aux)))
			continue;
		memcpy(&aux, CMSG_DATA(c), sizeof(aux));
		if (!(aux.tp_status & TP_STATUS_VLAN_VALID))
			return len;
		if (len < 14 || (size_t)len + 4 > room || o->csum_start > UINT16_MAX - 4)
			return -EMSGSIZE;
		memmove(buf + 16, buf + 12, (size_t)len - 12);
		igb_put_be16(buf + 12, aux.tp_status & TP_STATUS_VLAN_TPID_VALID ? aux.tp_vlan_tpid : ETH_P_8021Q);
		igb_put_be16(buf + 14, aux.tp_vlan_tci);
		o->csum_start = (uint16_t)(o->csum_start + 4);
		return len + 4;
	}
	return len;
}

/* A tap device that was deleted, a socket whose other end is closed: it would be ready for ever. */
static void gone(struct igb *n, const char *why)
{
	fb_device_warn(n->dev, "backend: %s: the link stays down", why);
	igb_backend_watch(n, false, false);
	n->backend.eof = true;
	n->backend.carrier = false;
	igb_link_update(n);
}

ssize_t igb_backend_read(struct igb *n, uint8_t *buf, size_t room, struct igb_offload *o, bool *l4_good)
{
	struct igb_backend *b = &n->backend;
	uint8_t header[VNET_HEADER];
	union {
		char bytes[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
		struct cmsghdr align;
	} control;
	struct iovec iov[2] = {{header, VNET_HEADER}, {buf, room}};
	struct msghdr msg = {.msg_iov = b->vnet ? iov : iov + 1, .msg_iovlen = b->vnet ? 2 : 1, .msg_control = control.bytes,
			     .msg_controllen = sizeof(control)};
	ssize_t got;

	*l4_good = false;
	do
		got = b->packet ? recvmsg(b->fd, &msg, MSG_TRUNC) : readv(b->fd, msg.msg_iov, (int)msg.msg_iovlen);
	while (got < 0 && errno == EINTR);
	if (got < 0 && errno == EAGAIN)
		return 0;
	b->reads++;
	if (got < 0) {
		b->read_errors++;
		if (errno == EMSGSIZE)
			return -EMSGSIZE;
		if (!b->packet && errno != ENOBUFS && errno != ENOMEM)
			gone(n, strerror(errno));
		return 0;
	}
	if (got == 0 && !b->packet) {
		gone(n, "end of file");
		return 0;
	}
	got -= b->vnet ? VNET_HEADER : 0;
	if (got < 14 || (size_t)got > room) {
		b->truncated++;
		return -EMSGSIZE;
	}
	if (b->vnet && !get_header(header, o, l4_good))
		return -EPROTO;
	if (b->packet)
		got = insert_tag(&msg, buf, got, room, o);
	b->truncated += got == -EMSGSIZE;
	return got;
}

static void backend_ready(struct fb_device *dev, struct fb_device_fd *watch, uint32_t events)
{
	struct igb *n = fb_device_state(dev);

	if (events & EPOLLOUT && n->backend.wants_out) {
		n->backend.wants_out = false;
		igb_backend_watch(n, !n->rx_held, false);
		igb_tx_kick(n);
	}
	if (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
		n->rx_ready = true;
		igb_rx_kick(n);
	}
}

void igb_backend_watch(struct igb *n, bool in, bool out)
{
	struct igb_backend *b = &n->backend;
	uint32_t events = (in ? (uint32_t)EPOLLIN : 0) | (out ? (uint32_t)EPOLLOUT : 0);

	if (events == b->events || b->fd < 0 || b->eof)
		return;
	if (b->events)
		fb_device_fd_del(n->dev, &b->watch);
	b->events = 0;
	if (events && fb_device_fd_add(n->dev, &b->watch, b->fd, events) == 0)
		b->events = events;
}

/* ---- Link -------------------------------------------------------------------------------- */

static bool interface_runs(const struct igb_backend *b)
{
	struct ifreq ifr = {0};

	return if_indextoname((unsigned)b->ifindex, ifr.ifr_name) && ioctl(b->ioctl_fd, SIOCGIFFLAGS, &ifr) == 0 &&
	       ifr.ifr_flags & IFF_UP && ifr.ifr_flags & IFF_RUNNING;
}

/* Messages only say that something has changed; what is asked for then cannot be stale. */
static void link_ready(struct fb_device *dev, struct fb_device_fd *watch, uint32_t events)
{
	struct igb *n = fb_device_state(dev);
	uint8_t buf[NETLINK_BUFFER];

	while (recv(n->backend.link_fd, buf, sizeof(buf), MSG_DONTWAIT) > 0 || errno == ENOBUFS || errno == EINTR)
		;
	n->backend.carrier = !n->backend.eof && interface_runs(&n->backend);
	igb_link_update(n);
}

static int watch_link(struct igb *n)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
	struct igb_backend *b = &n->backend;
	int err;

	b->ioctl_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	b->link_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (b->ioctl_fd < 0 || b->link_fd < 0 || bind(b->link_fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	b->link_watch.ready = link_ready;
	err = fb_device_fd_add(n->dev, &b->link_watch, b->link_fd, EPOLLIN);
	if (err)
		return err;
	b->link_watched = true;
	b->carrier = interface_runs(b);
	return 0;
}

/* ---- Opening ------------------------------------------------------------------------------- */

static int refuse(struct igb *n, int err, const char *option, const char *value, const char *what)
{
	fb_device_error(n->dev, "%s=%s: %s: %s", option, value, what, strerror(-err));
	return err;
}

/* Tap and macvtap: which offloads the kernel may give us. */
static void tap_offloads(struct igb_backend *b)
{
	unsigned all = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
	int size = VNET_HEADER, one = 1;

	if (b->vnet) {
		ioctl(b->fd, TUNSETVNETHDRSZ, &size);
		ioctl(b->fd, TUNSETVNETLE, &one);
		b->uso = ioctl(b->fd, TUNSETOFFLOAD, all | TUN_F_USO4 | TUN_F_USO6) == 0;
	}
	if (!b->uso)
		ioctl(b->fd, TUNSETOFFLOAD, b->vnet ? all : 0u);
}

static int open_tap(struct igb *n)
{
	struct igb_backend *b = &n->backend;
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	unsigned features = 0;

	if (strlen(n->opt.tap) >= sizeof(ifr.ifr_name))
		return refuse(n, -EINVAL, "tap", n->opt.tap, "an interface's name has at most 15 characters");
	b->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (b->fd < 0)
		return refuse(n, -errno, "tap", n->opt.tap, "/dev/net/tun");
	if (n->opt.vnet != IGB_VNET_OFF && ioctl(b->fd, TUNGETFEATURES, &features) == 0)
		b->vnet = features & IFF_VNET_HDR;
	if (n->opt.vnet == IGB_VNET_ON && !b->vnet)
		return refuse(n, -EOPNOTSUPP, "tap", n->opt.tap, "no virtio_net_hdr here (vnet=on)");
	ifr.ifr_flags |= b->vnet ? IFF_VNET_HDR : 0;
	strcpy(ifr.ifr_name, n->opt.tap);
	if (ioctl(b->fd, TUNSETIFF, &ifr) < 0)
		return refuse(n, -errno, "tap", n->opt.tap, errno == EBUSY ? "somebody else has it open" :
			      errno == EPERM ? "may not be opened (owner, or CAP_NET_ADMIN)" : "cannot be opened as a tap device");
	tap_offloads(b);
	b->ifindex = (int)if_nametoindex(ifr.ifr_name);
	return 0;
}

static int open_iface(struct igb *n)
{
	struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	struct packet_mreq promiscuous = {.mr_type = PACKET_MR_PROMISC};
	struct igb_backend *b = &n->backend;
	int one = 1, size = 4 << 20;

	b->ifindex = (int)if_nametoindex(n->opt.iface);
	if (!b->ifindex)
		return refuse(n, -errno, "iface", n->opt.iface, "no such interface");
	b->packet = true;
	b->fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (b->fd < 0)
		return refuse(n, -errno, "iface", n->opt.iface, "packet socket (CAP_NET_RAW is needed)");
	if (n->opt.vnet != IGB_VNET_OFF)
		b->vnet = setsockopt(b->fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) == 0;
	if (n->opt.vnet == IGB_VNET_ON && !b->vnet)
		return refuse(n, -errno, "iface", n->opt.iface, "no virtio_net_hdr here (vnet=on)");
	if (setsockopt(b->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(b->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	address.sll_ifindex = promiscuous.mr_ifindex = b->ifindex;
	if (setsockopt(b->fd, SOL_PACKET, PACKET_AUXDATA, &one, sizeof(one)) < 0 ||
	    setsockopt(b->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) < 0 ||
	    bind(b->fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    setsockopt(b->fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof(promiscuous)) < 0)
		return refuse(n, -errno, "iface", n->opt.iface, "cannot be used by a packet socket");
	return 0;
}

static int open_fd(struct igb *n)
{
	struct igb_backend *b = &n->backend;
	struct ifreq ifr = {0};
	char *end;
	long fd = strtol(n->opt.fd, &end, 10);
	int flags, copy;

	if (end == n->opt.fd || *end || fd < 0 || fd > INT32_MAX)
		return refuse(n, -EINVAL, "fd", n->opt.fd, "not a number of a file descriptor");
	copy = fcntl((int)fd, F_DUPFD_CLOEXEC, 3);
	if (copy < 0)
		return refuse(n, -errno, "fd", n->opt.fd, "is not open");
	b->fd = copy;
	flags = fcntl(copy, F_GETFL);
	if (flags < 0 || fcntl(copy, F_SETFL, flags | O_NONBLOCK) < 0)
		return refuse(n, -errno, "fd", n->opt.fd, "cannot be made non-blocking");
	if (ioctl(copy, TUNGETIFF, &ifr) == 0) {
		b->vnet = ifr.ifr_flags & IFF_VNET_HDR && n->opt.vnet != IGB_VNET_OFF;
		if (!!b->vnet != !!(ifr.ifr_flags & IFF_VNET_HDR) || (n->opt.vnet == IGB_VNET_ON && !b->vnet))
			return refuse(n, -EINVAL, "fd", n->opt.fd, "vnet= is not how the tap device was opened");
		tap_offloads(b);
		b->ifindex = (int)if_nametoindex(ifr.ifr_name);
	} else {
		b->vnet = b->uso = n->opt.vnet == IGB_VNET_ON;
	}
	return 0;
}

int igb_backend_open(struct igb *n)
{
	struct igb_backend *b = &n->backend;
	int given = !!n->opt.tap + !!n->opt.iface + !!n->opt.fd, err;

	b->fd = b->link_fd = b->ioctl_fd = -1;
	b->watch.ready = backend_ready;
	if (given != 1) {
		fb_device_error(n->dev, "one of tap=NAME, iface=NAME and fd=NUMBER is needed%s", given ? ", not several" : "");
		return -EINVAL;
	}
	err = n->opt.tap ? open_tap(n) : n->opt.iface ? open_iface(n) : open_fd(n);
	if (!err && b->ifindex) {
		err = watch_link(n);
		if (err)
			fb_device_error(n->dev, "the interface's link cannot be watched: %s", strerror(-err));
	}
	if (!err && !b->ifindex)
		b->carrier = true;
	if (!err) {
		igb_backend_watch(n, true, false);
		if (!b->events) {
			err = -EIO;
			fb_device_error(n->dev, "the backend cannot be waited for");
		}
	}
	if (err)
		igb_backend_close(n);
	return err;
}

void igb_backend_close(struct igb *n)
{
	struct igb_backend *b = &n->backend;

	igb_backend_watch(n, false, false);
	if (b->link_watched)
		fb_device_fd_del(n->dev, &b->link_watch);
	b->link_watched = false;
	if (b->fd >= 0)
		close(b->fd);
	if (b->link_fd >= 0)
		close(b->link_fd);
	if (b->ioctl_fd >= 0)
		close(b->ioctl_fd);
	b->fd = b->link_fd = b->ioctl_fd = -1;
}
