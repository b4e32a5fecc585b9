/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An NVMe controller behind the vfio-user model, between a guest and a server of
 * which neither is to be believed. The handshake is a good one, and messages of the
 * client are answered at once; from there on the input is a script:
 *
 *	00 o v v v v           the guest writes v to a register: o < 32 the one at o * 4, else the doorbell o - 32
 *	01                     the guest enables the controller, with admin queues of 16 entries
 *	02 q i n bytes         it writes n bytes to entry i of submission queue q; PRPs within its memory's size are made addresses
 *	03 a n                 it writes a list of n + 1 pages at a * 1024
 *	04 q k s s d           the server completes slot k of queue q with status s, dword 0 d, and signals
 *	05 a a a a n bytes     the server writes n bytes to the pool at a, and signals
 *	06 h                   the memory of the guest answers: in order, never, UR, CA
 *	07 c c                 the guest writes c to the Command register
 *	08                     function level reset
 *	09                     the server hangs up
 *	0a                     the guest's memory answers what has waited
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/vfio_user_nvme.h"
#include "scripted_root.h"
#include "util/log.h"
#include "util/reader.h"
#include "vfio_server.h"

extern const struct fb_model vfio_user_model;
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MEM = 256 << 10, QUEUES = 4, ENTRIES = 16, ACQ = 0x1000, IOSQ = 0x2000, STEPS = 200 };

struct world {
	struct vfio_server s;
	struct scripted_root *r;
	uint8_t in[8192];
	size_t n_in;
	unsigned completed[QUEUES]; /* by the server, since the controller was enabled */
};

static struct vu *model(const struct world *w)
{
	return fb_device_state(w->r->dev);
}

/* ---- The server --------------------------------------------------------------------------------- */

static void close_fds(struct msghdr *mh)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		for (unsigned i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			close(fd);
		}
	}
}

/* Rightly; what the client reads is zeros, but CAP: queues of 256 entries, doorbells in a row. */
static void answer(struct world *w, const uint8_t *request)
{
	uint16_t command = fb_get_le16(request + 2);
	uint8_t m[16 + 16 + 4096] = {0};
	size_t len = 0;

	if (command == VFIO_USER_REGION_READ || command == VFIO_USER_REGION_WRITE) {
		memcpy(m + 16, request + 16, 16);
		len = 16 + (command == VFIO_USER_REGION_READ ? fb_get_le32(request + 28) & 4095 : 0);
		if (command == VFIO_USER_REGION_READ && fb_get_le64(request + 16) == 0)
			m[32] = 0xff;
	}
	memcpy(m, request, 4);
	fb_put_le32(m + 4, (uint32_t)(16 + len));
	fb_put_le32(m + 8, VFIO_USER_TYPE_REPLY);
	(void)!send(w->s.fd, m, 16 + len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void serve(struct world *w)
{
	for (;;) {
		union {
			struct cmsghdr align;
			char bytes[CMSG_SPACE(16 * sizeof(int))];
		} control;
		struct iovec iov = {w->in + w->n_in, sizeof(w->in) - w->n_in};
		struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
				    .msg_controllen = sizeof(control.bytes)};
		ssize_t n = w->s.fd < 0 ? -1 : recvmsg(w->s.fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		size_t at = 0, size;

		if (n <= 0)
			return;
		close_fds(&mh);
		w->n_in += (size_t)n;
		while (w->n_in - at >= 32 && (size = fb_get_le32(w->in + at + 4)) >= 16 && size <= w->n_in - at) {
			if ((fb_get_le32(w->in + at + 8) & 0x1f) == 0)
				answer(w, w->in + at);
			at += size;
		}
		memmove(w->in, w->in + at, w->n_in - at);
		w->n_in -= at;
	}
}

static void signal_client(const struct world *w)
{
	if (model(w)->n_vectors && model(w)->vectors[0].fd >= 0)
		eventfd_write(model(w)->vectors[0].fd, 1);
}

static void complete(struct world *w, struct fb_reader *rd)
{
	unsigned q = fb_rd_u8(rd) % QUEUES, slot = fb_rd_u8(rd), status = fb_rd_le16(rd), dw0 = fb_rd_u8(rd);
	const struct vn *n = model(w)->nvme;
	uint32_t size = n->cq[q].server_size ? n->cq[q].server_size : ENTRIES;
	unsigned at = w->completed[q] % size, phase = !(w->completed[q] / size & 1);
	uint8_t *entry = w->s.mapped.mem + (size_t)q * VN_RING + VN_ENTRIES * sizeof(struct nvme_sqe) +
			 at * sizeof(struct nvme_cqe);

	memset(entry, 0, sizeof(struct nvme_cqe));
	fb_put_le32(entry, dw0);
	fb_put_le16(entry + 10, (uint16_t)q);
	fb_put_le16(entry + 12, (uint16_t)slot);
	fb_put_le16(entry + 14, (uint16_t)(status << 1 | phase));
	w->completed[q]++;
	signal_client(w);
}

/* ---- The guest ----------------------------------------------------------------------------------- */

static void write_register(struct world *w, uint64_t offset, uint32_t value)
{
	uint8_t bytes[4];

	fb_put_le32(bytes, value);
	if (w->r->bar_size[0])
		scripted_root_memory(w->r, w->r->bar[0] + offset, bytes, sizeof(bytes));
}

static void enable(struct world *w)
{
	write_register(w, NVME_REG_CC, 0);
	memset(w->completed, 0, sizeof(w->completed));
	write_register(w, NVME_REG_AQA, (ENTRIES - 1) << 16 | (ENTRIES - 1));
	write_register(w, NVME_REG_ASQ, (uint32_t)w->r->mem_base);
	write_register(w, NVME_REG_ACQ, (uint32_t)w->r->mem_base + ACQ);
	write_register(w, NVME_REG_CC, NVME_CC_EN | 6 << 16 | 4 << 20);
}

static void make_address(const struct world *w, uint8_t *prp)
{
	if (fb_get_le64(prp) < MEM)
		fb_put_le64(prp, fb_get_le64(prp) + w->r->mem_base);
}

static void write_entry(struct world *w, struct fb_reader *rd)
{
	unsigned q = fb_rd_u8(rd) % QUEUES, i = fb_rd_u8(rd) % ENTRIES, n = fb_rd_u8(rd) % 65;
	const uint8_t *bytes = fb_rd_bytes(rd, n);
	uint8_t *entry = w->r->mem + (q ? IOSQ + (q - 1) * 0x1000 : 0) + i * 64;

	if (!bytes)
		return;
	memset(entry, 0, 64);
	memcpy(entry, bytes, n);
	make_address(w, entry + 24);
	make_address(w, entry + 32);
}

static void write_list(struct world *w, struct fb_reader *rd)
{
	unsigned at = fb_rd_u8(rd) * 1024u, n = fb_rd_u8(rd) + 1u;

	for (unsigned i = 0; i < n && at + 8 * i + 8 <= MEM; i++)
		fb_put_le64(w->r->mem + at + 8 * i, w->r->mem_base + (0x10000 + i * 4096) % MEM);
}

static void reset(struct world *w)
{
	scripted_root_cfg_write(w->r, w->r->cap_exp + 8u, 0x8000, 2);
	w->r->n_reads = 0;
	scripted_root_enumerate(w->r, NULL);
}

static void step(struct world *w, struct fb_reader *rd)
{
	static const enum scripted_answer answers[] = {ANSWER_IN_ORDER, ANSWER_NEVER, ANSWER_UR, ANSWER_CA};
	const uint8_t *bytes;
	unsigned at, n;

	switch (fb_rd_u8(rd) % 11) {
	case 0:
		at = fb_rd_u8(rd);
		write_register(w, at < 32 ? at * 4u : NVME_REG_DBS + (at - 32) * 4u, fb_rd_le32(rd));
		break;
	case 1:
		enable(w);
		break;
	case 2:
		write_entry(w, rd);
		break;
	case 3:
		write_list(w, rd);
		break;
	case 4:
		complete(w, rd);
		break;
	case 5:
		at = fb_rd_le32(rd);
		n = fb_rd_u8(rd);
		bytes = fb_rd_bytes(rd, n);
		if (bytes && fb_in_range(at, n, w->s.mapped.size))
			memcpy(w->s.mapped.mem + at, bytes, n);
		signal_client(w);
		break;
	case 6:
		w->r->answer = answers[fb_rd_u8(rd) & 3];
		break;
	case 7:
		scripted_root_cfg_write(w->r, 4, fb_rd_le16(rd), 2);
		break;
	case 8:
		reset(w);
		break;
	case 9:
		if (w->s.fd >= 0)
			close(w->s.fd);
		w->s.fd = -1;
		break;
	default:
		scripted_root_answer_now(w->r, ANSWER_IN_ORDER);
		break;
	}
}

/* All of the server's session ends, and no slot is lost. */
static void end(struct world *w)
{
	const struct vn *n = model(w)->nvme;

	w->r->answer = ANSWER_IN_ORDER;
	scripted_root_answer_now(w->r, ANSWER_IN_ORDER);
	if (w->s.fd >= 0)
		close(w->s.fd);
	w->s.fd = -1;
	for (unsigned i = 0; i < 1000 && model(w)->state != VU_DOWN; i++)
		fb_loop_once(w->r->loop, 0);
	for (unsigned i = 0; i < 20; i++)
		fb_loop_once(w->r->loop, 0);
	if (model(w)->state != VU_DOWN || n->n_free + n->n_free_admin != n->n_slots || n->reserved || n->reserved_admin)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_reader rd = fb_reader(data, size);
	static struct world w;
	char options[160];

	fb_log_set_level(FB_LOG_NONE);
	memset(&w, 0, sizeof(w));
	w.s.handshake_only = w.s.nvme = true;
	vfio_server_start(&w.s);
	snprintf(options, sizeof(options), "id=x0,socket=%s,buffers=16M", w.s.path);
	w.r = scripted_root_new(&vfio_user_model, options, MEM);
	pthread_join(w.s.thread, NULL);
	scripted_root_enumerate(w.r, NULL);
	scripted_root_enable_msix(w.r);
	for (unsigned steps = 0; rd.left && !rd.bad && steps < STEPS; steps++) {
		step(&w, &rd);
		for (unsigned i = 0; i < 3; i++) {
			fb_loop_once(w.r->loop, 0);
			serve(&w);
		}
		scripted_root_forget(w.r);
	}
	end(&w);
	scripted_root_free(w.r);
	w.s.joined = true;
	vfio_server_stop(&w.s);
	return 0;
}
