/* SPDX-License-Identifier: Apache-2.0 */
#include "vfio_server.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

struct header {
	uint16_t id, command;
	uint32_t size, flags, error;
};

struct message {
	struct header h;
	uint8_t *body;
	uint32_t len;
	int fds[16];
	unsigned n_fds;
};

enum { VERSION = 1, DMA_MAP, DMA_UNMAP, GET_INFO, REGION_INFO, IRQ_INFO = 7, SET_IRQS, REGION_READ, REGION_WRITE, DMA_READ,
       DMA_WRITE, RESET };
enum { REPLY = 1, NO_REPLY = 16, ERROR = 32 };

static void die(const char *what)
{
	perror(what);
	abort();
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return v;
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return v;
}

static void put32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, 4);
}

static void put64(uint8_t *p, uint64_t v)
{
	memcpy(p, &v, 8);
}

/* ---- Messages ------------------------------------------------------------------------------- */

static bool send_all(int fd, const struct header *h, const void *body, size_t len, const int *fds, unsigned n_fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(64 * sizeof(int))];
	} control = {0};
	uint8_t *copy = malloc(sizeof(*h) + len);
	size_t size = sizeof(*h) + len, done = 0;

	memcpy(copy, h, sizeof(*h));
	if (len)
		memcpy(copy + sizeof(*h), body, len);
	while (done < size) {
		struct iovec iov = {copy + done, size - done};
		struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
		ssize_t n;

		if (n_fds && done == 0) {
			struct cmsghdr *c;

			mh.msg_control = control.bytes;
			mh.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
			c = CMSG_FIRSTHDR(&mh);
			c->cmsg_level = SOL_SOCKET;
			c->cmsg_type = SCM_RIGHTS;
			c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
			memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
		}
		n = sendmsg(fd, &mh, MSG_NOSIGNAL);
		if (n <= 0) {
			free(copy);
			return false;
		}
		done += (size_t)n;
	}
	free(copy);
	return true;
}

static bool wait_readable(struct vfio_server *s, int fd)
{
	while (!s->stop) {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		if (poll(&p, 1, 20) > 0)
			return true;
	}
	return false;
}

static bool receive_bytes(struct vfio_server *s, int fd, void *buf, size_t len, struct message *m)
{
	size_t done = 0;

	while (done < len) {
		union {
			struct cmsghdr align;
			char bytes[CMSG_SPACE(16 * sizeof(int))];
		} control;
		struct iovec iov = {(char *)buf + done, len - done};
		struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
				    .msg_controllen = sizeof(control.bytes)};
		ssize_t n;

		if (!wait_readable(s, fd))
			return false;
		n = recvmsg(fd, &mh, MSG_CMSG_CLOEXEC);
		if (n <= 0)
			return false;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&mh); c; c = CMSG_NXTHDR(&mh, c)) {
			unsigned count = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));

			memcpy(m->fds, CMSG_DATA(c), count * sizeof(int));
			m->n_fds = count;
		}
		done += (size_t)n;
	}
	return true;
}

static bool receive(struct vfio_server *s, int fd, struct message *m)
{
	memset(m, 0, sizeof(*m));
	if (!receive_bytes(s, fd, &m->h, sizeof(m->h), m))
		return false;
	if (m->h.size < sizeof(m->h) || m->h.size > 2 << 20)
		die("the client broke the protocol");
	m->len = m->h.size - (uint32_t)sizeof(m->h);
	m->body = calloc(1, m->len + 64);
	return receive_bytes(s, fd, m->body, m->len, m);
}

static bool answer(struct vfio_server *s, const struct message *m, int err, const void *body, size_t len)
{
	struct header h = {m->h.id, m->h.command, (uint32_t)(sizeof(h) + (err ? 0 : len)), REPLY | (err ? ERROR : 0u),
			   (uint32_t)err};

	if (m->h.flags & NO_REPLY)
		return true;
	return send_all(s->fd, &h, body, err ? 0 : len, NULL, 0);
}

/* ---- DMA ------------------------------------------------------------------------------------- */

static bool serve(struct vfio_server *s, struct message *m);

/* A request of ours and its answer; without a twin socket requests of the client are served meanwhile. */
static int dma(struct vfio_server *s, unsigned command, uint64_t address, uint8_t *data, uint32_t len, bool posted)
{
	int fd = s->twin_fd >= 0 ? s->twin_fd : s->fd;
	size_t size = 16 + (command == DMA_WRITE ? len : 0);
	struct header h = {++s->next_id, (uint16_t)command, (uint32_t)(sizeof(h) + size), posted ? NO_REPLY : 0u, 0};
	uint8_t *body = calloc(1, size);
	struct message m;
	int err = 0;

	put64(body, address);
	put64(body + 8, len);
	if (command == DMA_WRITE)
		memcpy(body + 16, data, len);
	if (!send_all(fd, &h, body, size, NULL, 0))
		err = EPIPE;
	free(body);
	if (err || posted)
		return err;
	for (;;) {
		if (!receive(s, fd, &m)) {
			free(m.body);
			return EPIPE;
		}
		if ((m.h.flags & 15) == REPLY)
			break;
		if (!serve(s, &m)) {
			free(m.body);
			return EPIPE;
		}
		free(m.body);
	}
	s->dma_replies++;
	if (m.h.flags & ERROR) {
		s->dma_errors++;
		err = (int)m.h.error;
	} else if (m.h.id != h.id || m.h.command != command || get64(m.body) != address || get64(m.body + 8) != len ||
		   m.len != 16 + (command == DMA_READ ? len : 0)) {
		die("a wrong answer to a DMA request");
	} else if (command == DMA_READ) {
		memcpy(data, m.body + 16, len);
	}
	free(m.body);
	return err;
}

static void interrupt(struct vfio_server *s, unsigned vector)
{
	unsigned index = s->intx_only ? 0 : 2;

	if (vector < VS_VECTORS && s->irq_fd[index][vector] >= 0)
		eventfd_write(s->irq_fd[index][vector], 1);
}

static void command(struct vfio_server *s, uint32_t what)
{
	uint64_t address = get64(s->bar0 + VS_R_ADDRESS);
	uint32_t len = get32(s->bar0 + VS_R_LENGTH), vector = get32(s->bar0 + VS_R_VECTOR);
	int err = 0;

	if (len > VS_BAR2)
		len = VS_BAR2;
	switch (what) {
	case VS_FETCH:
		err = dma(s, DMA_READ, address, s->bar2, len, false);
		interrupt(s, vector);
		break;
	case VS_STORE:
		err = dma(s, DMA_WRITE, address, s->bar2, len, false);
		interrupt(s, vector);
		break;
	case VS_STORE_POSTED:
		err = dma(s, DMA_WRITE, address, s->bar2, len, true);
		interrupt(s, vector);
		break;
	case VS_INVERT_MAPPED:
		if (!s->mapped.mem || address < s->mapped.address || address + 2 * len > s->mapped.address + s->mapped.size) {
			err = EFAULT;
		} else {
			uint8_t *p = s->mapped.mem + (address - s->mapped.address);

			for (uint32_t i = 0; i < len; i++)
				p[len + i] = (uint8_t)~p[i];
		}
		interrupt(s, vector);
		break;
	default:
		interrupt(s, vector);
		break;
	}
	put32(s->bar0 + VS_R_ERRNO, (uint32_t)err);
}

/* ---- Faults ------------------------------------------------------------------------------------- */

static bool raw(struct vfio_server *s, uint16_t id, uint16_t command_, uint32_t size, uint32_t flags, const void *body, size_t len)
{
	struct header h = {id, command_, size, flags, 0};

	return send_all(s->fd, &h, body, len, NULL, 0);
}

/* Before the answer to a read. *go_on: the answer follows. False: the connection is to end. */
static bool misbehave(struct vfio_server *s, const struct message *m, bool *go_on)
{
	uint8_t body[96] = {0};
	int fds[40];

	*go_on = false;
	switch (get32(s->bar0 + VS_R_FAULT)) {
	case VS_FAULT_SILENT:
		return true;
	case VS_FAULT_DEAF:
		while (!s->stop)
			poll(NULL, 0, 20);
		return false;
	case VS_FAULT_CLOSE:
		return false;
	case VS_FAULT_SHORT:
		return raw(s, m->h.id, REGION_READ, 16 + 16, REPLY, m->body, 16);
	case VS_FAULT_HUGE:
		return raw(s, m->h.id, REGION_READ, UINT32_MAX, REPLY, m->body, 16);
	case VS_FAULT_TINY:
		return raw(s, m->h.id, REGION_READ, 3, REPLY, NULL, 0);
	case VS_FAULT_TYPE:
		return raw(s, m->h.id, REGION_READ, 16, 7, NULL, 0);
	case VS_FAULT_STRANGER:
		return raw(s, (uint16_t)(m->h.id + 77), REGION_READ, 32, REPLY, m->body, 16);
	case VS_FAULT_ERROR:
		return answer(s, m, EIO, NULL, 0);
	case VS_FAULT_UNKNOWN:
		*go_on = true;
		return raw(s, 9, 99, 16 + 8, NO_REPLY, body, 8);
	case VS_FAULT_DMA_LENGTH:
		*go_on = true;
		put64(body + 8, 500);
		return raw(s, 9, DMA_WRITE, 16 + 32, NO_REPLY, body, 32);
	case VS_FAULT_DMA_RANGE:
		*go_on = true;
		put64(body, UINT64_MAX - 7);
		put64(body + 8, 64);
		return raw(s, 9, DMA_READ, 16 + 16, NO_REPLY, body, 16);
	case VS_FAULT_FDS:
	case VS_FAULT_TOO_MANY_FDS: {
		unsigned n = get32(s->bar0 + VS_R_FAULT) == VS_FAULT_FDS ? 4 : 40;
		uint8_t reply[24];
		struct header h = {m->h.id, REGION_READ, 16 + 20, REPLY, 0};

		for (unsigned i = 0; i < n; i++)
			fds[i] = 0;
		memcpy(reply, m->body, 16);
		put32(reply + 16, 0x5a5a5a5a);
		return send_all(s->fd, &h, reply, 20, fds, n);
	}
	case VS_FAULT_FLOOD:
		*go_on = true;
		put64(body, get64(s->bar0 + VS_R_ADDRESS));
		put64(body + 8, 64);
		for (unsigned i = 0; i < 20000; i++) {
			put32(body + 16, i);
			if (!raw(s, 9, DMA_WRITE, 16 + 80, NO_REPLY, body, 80))
				return false;
		}
		return true;
	default:
		*go_on = true;
		return true;
	}
}

/* ---- The client's requests ------------------------------------------------------------------------ */

static bool version(struct vfio_server *s, const struct message *m)
{
	const char *text = s->bad_json ? "{\"capabilities\":7}"
			   : s->twin  ? "{\"capabilities\":{\"max_msg_fds\":3,\"max_data_xfer_size\":65536,"
					"\"twin_socket\":{\"supported\":true,\"fd_index\":0}}}"
				      : "{\"capabilities\":{\"max_msg_fds\":3,\"max_data_xfer_size\":65536}}";
	uint8_t body[512] = {0};
	size_t len = 4 + strlen(text) + 1;
	struct header h = {m->h.id, VERSION, (uint32_t)(16 + len), REPLY, 0};
	int pair[2];

	if (s->big_version)
		body[0] = 7;
	memcpy(body + 4, text, strlen(text) + 1);
	if (!s->twin)
		return send_all(s->fd, &h, body, len, NULL, 0);
	if (!strstr((const char *)m->body + 4, "\"twin_socket\":{\"supported\":true}"))
		die("the client does not offer a twin socket");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		die("socketpair");
	s->twin_fd = pair[0];
	if (!send_all(s->fd, &h, body, len, &pair[1], 1))
		return false;
	close(pair[1]);
	return true;
}

static bool dma_map(struct vfio_server *s, struct message *m)
{
	uint64_t offset = get64(m->body + 8), address = get64(m->body + 16), size = get64(m->body + 24);
	bool ok;

	s->maps++;
	if (m->n_fds == 1) {
		s->mapped.mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, m->fds[0], (off_t)offset);
		if (s->mapped.mem == MAP_FAILED)
			die("mmap");
		s->mapped.address = address;
		s->mapped.size = size;
		close(m->fds[0]);
	}
	ok = answer(s, m, 0, NULL, 0);
	return ok && !(s->handshake_only && (s->nvme || address + size >= UINT64_C(1) << 48));
}

static bool region_info(struct vfio_server *s, const struct message *m)
{
	const uint64_t sizes[9] = {s->nvme ? 16384 : 4096, 0, VS_BAR2, 0, 4096, 0, 0, 4096, 0};
	uint32_t index = get32(m->body + 8);
	uint8_t body[32] = {0};

	if (index >= 9)
		return answer(s, m, EINVAL, NULL, 0);
	put32(body, 32);
	put32(body + 4, sizes[index] ? 3 : 0);
	put32(body + 8, index);
	put64(body + 16, sizes[index]);
	return answer(s, m, 0, body, 32);
}

static bool irq_info(struct vfio_server *s, const struct message *m)
{
	uint32_t index = get32(m->body + 8);
	uint8_t body[16] = {0};

	put32(body, 16);
	put32(body + 8, index);
	put32(body + 12, index == 0 && s->intx_only ? 1 : index == 2 && !s->intx_only ? VS_VECTORS : 0);
	return answer(s, m, 0, body, 16);
}

static bool set_irqs(struct vfio_server *s, struct message *m)
{
	uint32_t flags = get32(m->body + 4), index = get32(m->body + 8), start = get32(m->body + 12), count = get32(m->body + 16);

	if (index >= 5 || start + count > VS_VECTORS || m->n_fds > 3)
		return answer(s, m, EINVAL, NULL, 0);
	if (flags & 16) {
		s->unmasks++;
	} else if (flags == 0x21 && count == 0) {
		for (unsigned i = 0; i < VS_VECTORS; i++) {
			if (s->irq_fd[index][i] >= 0) {
				close(s->irq_fd[index][i]);
				s->irqs_armed--;
			}
			s->irq_fd[index][i] = -1;
		}
	} else if (flags == 0x24 && m->n_fds == count) {
		for (unsigned i = 0; i < count; i++) {
			s->irq_fd[index][start + i] = m->fds[i];
			s->irqs_armed++;
		}
		m->n_fds = 0;
	} else {
		return answer(s, m, EINVAL, NULL, 0);
	}
	return answer(s, m, 0, NULL, 0);
}

static uint8_t *place(struct vfio_server *s, uint32_t region, uint64_t offset, uint32_t count)
{
	uint64_t size = region == 0 ? sizeof(s->bar0) : region == 2 ? sizeof(s->bar2) : region == 7 ? sizeof(s->config) : 0;

	if (offset > size || count > size - offset)
		return NULL;
	return (region == 0 ? s->bar0 : region == 2 ? s->bar2 : s->config) + offset;
}

static bool region_read(struct vfio_server *s, const struct message *m)
{
	uint64_t offset = get64(m->body);
	uint32_t region = get32(m->body + 8), count = get32(m->body + 12);
	uint8_t *p = place(s, region, offset, count), *body;
	bool ok, go_on;

	if (!p || count > 65536)
		return answer(s, m, EINVAL, NULL, 0);
	if (region != 7) {
		ok = misbehave(s, m, &go_on);
		if (!ok || !go_on)
			return ok;
	}
	body = malloc(16 + (size_t)count);
	memcpy(body, m->body, 16);
	memcpy(body + 16, p, count);
	ok = answer(s, m, 0, body, 16 + (size_t)count);
	free(body);
	return ok;
}

static bool region_write(struct vfio_server *s, const struct message *m)
{
	uint64_t offset = get64(m->body);
	uint32_t region = get32(m->body + 8), count = get32(m->body + 12);
	uint8_t *p = place(s, region, offset, count);

	if (!p || m->len != 16 + count || m->n_fds)
		return answer(s, m, EINVAL, NULL, 0);
	s->writes++;
	if (region == 7 && offset >= 0x68 && offset + count <= 0x70) {
		for (uint32_t i = 0; i < count; i++)
			p[i] = (uint8_t)~m->body[16 + i];
		s->vendor = get64(s->config + 0x68);
	} else if (region != 0 || offset >= VS_R_SCRATCH) {
		memcpy(p, m->body + 16, count);
	}
	s->commands_register = s->config[4];
	s->msix_enabled = s->config[0x43] >> 7;
	s->bar0_address = get32(s->config + 0x10) & ~15u;
	if (!answer(s, m, 0, m->body, 16))
		return false;
	if (region == 0 && offset == VS_R_COMMAND)
		command(s, get32(s->bar0 + VS_R_COMMAND));
	return true;
}

static bool serve(struct vfio_server *s, struct message *m)
{
	uint8_t info[16] = {0};
	bool ok = true;

	s->requests++;
	if (m->h.command == s->refuse)
		return answer(s, m, EINVAL, NULL, 0);
	if (m->h.command == s->broken)
		return answer(s, m, 0, "x", 1);
	switch (m->h.command) {
	case VERSION:
		return version(s, m);
	case DMA_MAP:
		return dma_map(s, m);
	case GET_INFO:
		put32(info, 16);
		put32(info + 4, s->no_reset ? 2 : 3);
		put32(info + 8, 9);
		put32(info + 12, 5);
		return answer(s, m, 0, info, 16);
	case REGION_INFO:
		return region_info(s, m);
	case IRQ_INFO:
		return irq_info(s, m);
	case SET_IRQS:
		ok = set_irqs(s, m);
		for (unsigned i = 0; i < m->n_fds; i++)
			close(m->fds[i]);
		return ok;
	case REGION_READ:
		return region_read(s, m);
	case REGION_WRITE:
		return region_write(s, m);
	case RESET:
		memset(s->bar0 + 4, 0, sizeof(s->bar0) - 4);
		s->resets++;
		return answer(s, m, 0, NULL, 0);
	default:
		return answer(s, m, ENOSYS, NULL, 0);
	}
}

static void power_on(struct vfio_server *s)
{
	static const uint8_t msix[12] = {0x11, 0x60, VS_VECTORS - 1, 0, 4, 0, 0, 0, 4, 8, 0, 0};
	static const uint8_t vendor[16] = {0x09, 0, 16, 0x55, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0};
	uint8_t *c = s->config;

	memset(c, 0, sizeof(s->config));
	memset(s->bar0, 0, sizeof(s->bar0));
	put32(s->bar0, VS_ID);
	put32(c, 0x1b36u | (uint32_t)(s->device_id ? s->device_id : 0x1234) << 16);
	put32(c + 8, s->nvme ? 0x01080203u : 0xff000003u);
	put32(c + 0x18, 0xc); /* BAR 2: 64 bits, prefetchable */
	put32(c + 0x2c, 0x5678abcd);
	c[6] = 0x10;
	c[0x34] = s->intx_only ? 0x60 : 0x40;
	c[0x3d] = s->intx_only;
	memcpy(c + 0x40, msix, sizeof(msix));
	memcpy(c + 0x60, vendor, sizeof(vendor));
	put32(c + 0x100, 3 | 1 << 16); /* Device Serial Number */
	put64(c + 0x104, 0x1122334455667788);
	for (unsigned i = 0; i < 5; i++)
		for (unsigned k = 0; k < VS_VECTORS; k++)
			s->irq_fd[i][k] = -1;
}

static void hang_up(struct vfio_server *s)
{
	if (s->fd >= 0)
		close(s->fd);
	if (s->twin_fd >= 0)
		close(s->twin_fd);
	s->fd = s->twin_fd = -1;
	for (unsigned i = 0; i < 5; i++)
		for (unsigned k = 0; k < VS_VECTORS; k++)
			if (s->irq_fd[i][k] >= 0)
				close(s->irq_fd[i][k]);
	if (s->mapped.mem)
		munmap(s->mapped.mem, s->mapped.size);
	s->mapped.mem = NULL;
	s->irqs_armed = 0;
}

static void *run(void *arg)
{
	struct vfio_server *s = arg;

	while (!s->stop) {
		struct message m;
		bool ok = true;

		if (s->mute) {
			poll(NULL, 0, 20);
			continue;
		}
		if (!wait_readable(s, s->listen_fd))
			break;
		s->fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (s->fd < 0)
			continue;
		power_on(s);
		s->connects++;
		while (ok && !s->stop) {
			ok = receive(s, s->fd, &m) && serve(s, &m);
			free(m.body);
		}
		if (s->handshake_only)
			break;
		hang_up(s);
	}
	return NULL;
}

void vfio_server_start(struct vfio_server *s)
{
	static unsigned serial;
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	if (!s->path[0])
		snprintf(s->path, sizeof(s->path), "/tmp/fb-vs-%d-%u.sock", getpid(), serial++);
	strcpy(sa.sun_path, s->path);
	unlink(s->path);
	s->fd = s->twin_fd = -1;
	s->stop = 0;
	s->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->listen_fd < 0 || bind(s->listen_fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(s->listen_fd, 4) < 0)
		die("the test's vfio-user server");
	power_on(s);
	if (pthread_create(&s->thread, NULL, run, s))
		die("pthread_create");
	s->started = true;
}

void vfio_server_stop(struct vfio_server *s)
{
	if (!s->started)
		return;
	s->stop = 1;
	if (!s->joined)
		pthread_join(s->thread, NULL);
	s->started = false;
	hang_up(s);
	if (s->listen_fd >= 0)
		close(s->listen_fd);
	unlink(s->path);
}

void vfio_server_die(struct vfio_server *s)
{
	if (s->listen_fd >= 0)
		close(s->listen_fd);
	if (s->fd >= 0)
		close(s->fd);
	s->fd = s->listen_fd = -1;
}

void vfio_server_take(struct vfio_server *s, void (*message)(void *arg, const uint8_t *bytes, size_t size), void *arg)
{
	for (;;) {
		union {
			struct cmsghdr align;
			char bytes[CMSG_SPACE(16 * sizeof(int))];
		} control;
		struct iovec iov = {s->in + s->n_in, sizeof(s->in) - s->n_in};
		struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
				    .msg_controllen = sizeof(control.bytes)};
		ssize_t n = s->fd < 0 ? -1 : recvmsg(s->fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		size_t at = 0, size;

		if (n <= 0)
			return;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&mh); c; c = CMSG_NXTHDR(&mh, c)) {
			for (unsigned i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
				int fd;

				memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
				close(fd);
			}
		}
		s->n_in += (size_t)n;
		while (s->n_in - at >= 16 && (size = get32(s->in + at + 4)) >= 16 && size <= s->n_in - at) {
			message(arg, s->in + at, size);
			at += size;
		}
		if (at == 0 && s->n_in == sizeof(s->in)) /* longer than this: an answer to a large DMA_READ */
			at = s->n_in;
		s->n_in -= at;
		memmove(s->in, s->in + at, s->n_in);
	}
}
