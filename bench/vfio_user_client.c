/* SPDX-License-Identifier: Apache-2.0 */
#include "vfio_user_client.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	CMD_VERSION = 1,
	CMD_DMA_MAP = 2,
	CMD_GET_REGION_INFO = 5,
	CMD_SET_IRQS = 8,
	CMD_REGION_READ = 9,
	CMD_REGION_WRITE = 10,
	CMD_DEVICE_RESET = 13,
};

enum { FLAG_REPLY = 1, FLAG_NO_REPLY = 0x10, FLAG_ERROR = 0x20 };

/* All integers of the protocol are in the host's order; this program and its root share a host. */
struct header {
	uint16_t id, command;
	uint32_t size, flags, error;
};
_Static_assert(sizeof(struct header) == 16, "vfio-user header");

struct access {
	uint64_t offset;
	uint32_t region, count;
};
_Static_assert(sizeof(struct access) == 16, "vfio-user region access");

static int receive(struct vuc *c, void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = recv(c->fd, (char *)buf + done, len - done, c->spin ? MSG_DONTWAIT : 0);

		if (n == 0)
			return -ECONNRESET;
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return 0;
}

static int send_message(struct vuc *c, uint16_t command, uint32_t flags, const struct iovec *body, unsigned n_body, int fd)
{
	struct header h = {.id = ++c->next_id, .command = command, .size = sizeof(h), .flags = flags};
	struct iovec iov[4] = {{&h, sizeof(h)}};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = n_body + 1};

	for (unsigned i = 0; i < n_body; i++) {
		iov[i + 1] = body[i];
		h.size += (uint32_t)body[i].iov_len;
	}
	if (fd >= 0) {
		struct cmsghdr *cm;

		m.msg_control = control.bytes;
		m.msg_controllen = sizeof(control.bytes);
		cm = CMSG_FIRSTHDR(&m);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cm), &fd, sizeof(fd));
	}
	for (;;) {
		ssize_t n = sendmsg(c->fd, &m, MSG_NOSIGNAL);

		if (n == (ssize_t)h.size)
			return 0;
		if (n >= 0)
			return -EMSGSIZE; /* blocking stream socket: only when it is being torn down */
		if (errno != EINTR)
			return -errno;
	}
}

/* Receives the reply to the message sent last: `want` bytes of body into buf, anything after them is an error. */
static int reply(struct vuc *c, uint16_t command, void *buf, size_t want)
{
	struct header h;
	int r = receive(c, &h, sizeof(h));

	if (r)
		return r;
	if (h.id != c->next_id || h.command != command || !(h.flags & FLAG_REPLY))
		return -EPROTO;
	if (h.flags & FLAG_ERROR)
		return h.error ? -(int)h.error : -EIO;
	if (h.size != sizeof(h) + want)
		return -EBADMSG;
	return receive(c, buf, want);
}

int vuc_connect(struct vuc *c, const char *path, bool spin)
{
	static const char caps[] = "{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":1048576}}";
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct {
		uint16_t major, minor;
	} version = {0, 0};
	struct iovec body[2] = {{&version, sizeof(version)}, {(void *)(uintptr_t)caps, sizeof(caps)}};
	struct header h;
	char rest[4096];
	int r;

	memset(c, 0, sizeof(*c));
	c->spin = spin;
	if (strlen(path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	strcpy(sa.sun_path, path);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return -errno;
	if (connect(c->fd, (struct sockaddr *)&sa, sizeof(sa))) {
		r = -errno;
		goto close_fd;
	}
	r = send_message(c, CMD_VERSION, 0, body, 2, -1);
	if (!r)
		r = receive(c, &h, sizeof(h));
	if (!r && (h.command != CMD_VERSION || (h.flags & FLAG_ERROR) || h.size < sizeof(h) + sizeof(version) ||
		   h.size - sizeof(h) > sizeof(rest)))
		r = -EPROTO;
	if (!r)
		r = receive(c, rest, h.size - sizeof(h));
	if (!r)
		return 0;
close_fd:
	close(c->fd);
	c->fd = -1;
	return r;
}

void vuc_close(struct vuc *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

int vuc_region_size(struct vuc *c, unsigned region, uint64_t *size)
{
	struct {
		uint32_t argsz, flags, index, cap_offset;
		uint64_t size, offset;
	} info = {.argsz = sizeof(info), .index = region};
	struct iovec body = {&info, sizeof(info)};
	int r = send_message(c, CMD_GET_REGION_INFO, 0, &body, 1, -1);

	if (!r)
		r = reply(c, CMD_GET_REGION_INFO, &info, sizeof(info));
	if (!r)
		*size = info.size;
	return r;
}

int vuc_read(struct vuc *c, unsigned region, uint64_t offset, void *buf, uint32_t len)
{
	struct access a = {offset, region, len};
	struct iovec body = {&a, sizeof(a)};
	struct header h;
	int r = send_message(c, CMD_REGION_READ, 0, &body, 1, -1);

	if (r)
		return r;
	r = receive(c, &h, sizeof(h));
	if (r)
		return r;
	if (h.id != c->next_id || h.command != CMD_REGION_READ || !(h.flags & FLAG_REPLY))
		return -EPROTO;
	if (h.flags & FLAG_ERROR)
		return h.error ? -(int)h.error : -EIO;
	if (h.size != sizeof(h) + sizeof(a) + len)
		return -EBADMSG;
	r = receive(c, &a, sizeof(a));
	return r ? r : receive(c, buf, len);
}

int vuc_write(struct vuc *c, unsigned region, uint64_t offset, const void *buf, uint32_t len, bool posted)
{
	struct access a = {offset, region, len};
	struct iovec body[2] = {{&a, sizeof(a)}, {(void *)(uintptr_t)buf, len}};
	int r = send_message(c, CMD_REGION_WRITE, posted ? FLAG_NO_REPLY : 0, body, 2, -1);

	return r || posted ? r : reply(c, CMD_REGION_WRITE, &a, sizeof(a));
}

int vuc_dma_map(struct vuc *c, int memfd, uint64_t fd_offset, uint64_t iova, uint64_t size)
{
	struct {
		uint32_t argsz, flags;
		uint64_t offset, iova, size;
	} map = {sizeof(map), 3, fd_offset, iova, size};
	struct iovec body = {&map, sizeof(map)};
	int r = send_message(c, CMD_DMA_MAP, 0, &body, 1, memfd);

	return r ? r : reply(c, CMD_DMA_MAP, NULL, 0);
}

int vuc_set_irq_eventfd(struct vuc *c, unsigned index, unsigned vector, int eventfd)
{
	struct {
		uint32_t argsz, flags, index, start, count;
	} irq = {sizeof(irq), 0x24, index, vector, 1}; /* eventfd | trigger */
	struct iovec body = {&irq, sizeof(irq)};
	int r = send_message(c, CMD_SET_IRQS, 0, &body, 1, eventfd);

	return r ? r : reply(c, CMD_SET_IRQS, NULL, 0);
}

int vuc_reset(struct vuc *c)
{
	int r = send_message(c, CMD_DEVICE_RESET, 0, NULL, 0, -1);

	return r ? r : reply(c, CMD_DEVICE_RESET, NULL, 0);
}
