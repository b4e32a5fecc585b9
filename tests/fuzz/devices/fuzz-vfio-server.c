/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server that says anything to the vfio-user model, between what a guest does
 * meanwhile. The handshake is a good one (what may go wrong in it is in the
 * model's test); from there on the input is a script:
 *
 *	00 n bytes             the server sends n + 1 bytes as they are
 *	01 k f n bytes         it answers the k-th of the requests that wait, flags f, n bytes of body
 *	02 k n bytes           it answers the k-th rightly; the data of a read are the n bytes, repeated
 *	03 w a a n bytes       it asks for DMA at guest memory + a * 64, n * 16 + 1 bytes; w: write, not to be answered, length lies
 *	04 b o o s             the guest reads BAR b at o * 8, 1 << s bytes
 *	05 b o o s v           the guest writes v there
 *	06 o v v               the guest writes v to configuration space at o * 4
 *	07 k                   function level reset; k odd: the root goes and comes back
 *	08 v                   the server signals vector v
 *	09 h                   the memory of the guest answers: in order, never, UR, CA
 *	0a                     the server hangs up
 *	0b                     the guest switches MSI-X on
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/vfio_user.h"
#include "scripted_root.h"
#include "util/log.h"
#include "util/reader.h"
#include "vfio_server.h"

extern const struct fb_model vfio_user_model;
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MEM = 64 * 1024, REQUESTS = 64 };

struct request {
	uint16_t id, command;
	uint8_t body[16];
};

struct world {
	struct vfio_server s;
	struct scripted_root *r;
	struct request requests[REQUESTS];
	unsigned n_requests;
};

/* Of what the client has sent, requests are kept. */
static void keep(void *arg, const uint8_t *m, size_t size)
{
	struct world *w = arg;
	struct request *q = &w->requests[w->n_requests];

	if ((fb_get_le32(m + 8) & 0x1f) || w->n_requests == REQUESTS)
		return;
	q->id = fb_get_le16(m);
	q->command = fb_get_le16(m + 2);
	memset(q->body, 0, sizeof(q->body));
	memcpy(q->body, m + 16, size - 16 < 16 ? size - 16 : 16);
	w->n_requests++;
}

static void send_bytes(struct world *w, const void *data, size_t len)
{
	if (w->s.fd >= 0 && len)
		(void)!send(w->s.fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void send_message(struct world *w, uint16_t id, uint16_t command, uint32_t flags, const void *body, size_t len)
{
	uint8_t m[16 + 8192];

	fb_put_le16(m, id);
	fb_put_le16(m + 2, command);
	fb_put_le32(m + 4, (uint32_t)(16 + len));
	fb_put_le32(m + 8, flags);
	fb_put_le32(m + 12, flags & 0x20 ? 5 : 0);
	memcpy(m + 16, body, len);
	send_bytes(w, m, 16 + len);
}

static void answer(struct world *w, struct fb_reader *rd, bool rightly)
{
	unsigned k = fb_rd_u8(rd), flags = rightly ? 1 : fb_rd_u8(rd), n = fb_rd_u8(rd);
	const uint8_t *bytes = fb_rd_bytes(rd, n);
	uint8_t body[16 + 4096] = {0};
	struct request q;
	size_t len = n;

	if (!bytes || !w->n_requests)
		return;
	k %= w->n_requests;
	q = w->requests[k];
	memmove(&w->requests[k], &w->requests[k + 1], (--w->n_requests - k) * sizeof(q));
	if (!rightly) {
		send_message(w, q.id, q.command, flags & 0x3f, bytes, n);
		return;
	}
	memcpy(body, q.body, 16);
	len = q.command == VFIO_USER_REGION_READ ? fb_get_le32(q.body + 12) & 4095 : 0;
	for (size_t i = 0; n && i < len; i++)
		body[16 + i] = bytes[i % n];
	send_message(w, q.id, q.command, 1, body, q.command == VFIO_USER_REGION_READ || q.command == VFIO_USER_REGION_WRITE ? 16 + len : 0);
}

static void ask_dma(struct world *w, struct fb_reader *rd)
{
	unsigned how = fb_rd_u8(rd), at = fb_rd_le16(rd), len = fb_rd_u8(rd) * 16u + 1;
	uint8_t body[16 + 4096] = {0};

	fb_put_le64(body, w->r->mem_base + at * 64u);
	fb_put_le64(body + 8, how & 4 ? len + 1 : len);
	memset(body + 16, (int)at, len);
	send_message(w, (uint16_t)at, how & 1 ? VFIO_USER_DMA_WRITE : VFIO_USER_DMA_READ, how & 2 ? 0x10 : 0, body,
		     16 + (how & 1 ? len : 0));
}

static void guest_access(struct world *w, struct fb_reader *rd, bool write)
{
	unsigned bar = fb_rd_u8(rd) % 3 * 2, at = fb_rd_le16(rd) * 8u, size = 1u << (fb_rd_u8(rd) & 3);
	uint8_t data[8];

	if (w->r->bar_size[bar] == 0)
		return;
	at &= (unsigned)w->r->bar_size[bar] - 1;
	memset(data, fb_rd_u8(rd), sizeof(data));
	scripted_root_memory(w->r, w->r->bar[bar] + at, write ? data : NULL, size);
}

static void step(struct world *w, struct fb_reader *rd)
{
	static const enum scripted_answer answers[] = {ANSWER_IN_ORDER, ANSWER_NEVER, ANSWER_UR, ANSWER_CA};
	const uint8_t *bytes;
	unsigned n, v;

	switch (fb_rd_u8(rd) % 12) {
	case 0:
		n = fb_rd_u8(rd) + 1u;
		bytes = fb_rd_bytes(rd, n);
		if (bytes)
			send_bytes(w, bytes, n);
		break;
	case 1:
		answer(w, rd, false);
		break;
	case 2:
		answer(w, rd, true);
		break;
	case 3:
		ask_dma(w, rd);
		break;
	case 4:
		guest_access(w, rd, false);
		break;
	case 5:
		guest_access(w, rd, true);
		break;
	case 6:
		n = fb_rd_u8(rd) * 4u;
		v = fb_rd_le16(rd);
		if (n != w->r->cap_exp + 8u && (n < 0x10 || n > 0x27)) /* BARs stay, payload sizes too */
			scripted_root_cfg_write(w->r, n, v | v << 16, 4);
		break;
	case 7:
		if (fb_rd_u8(rd) & 1) {
			scripted_root_detach(w->r);
			scripted_root_attach(w->r);
		} else {
			scripted_root_cfg_write(w->r, w->r->cap_exp + 8u, 0x8000, 2);
		}
		w->r->n_reads = 0;
		scripted_root_enumerate(w->r, NULL);
		break;
	case 8: {
		struct vu *model = fb_device_state(w->r->dev);

		eventfd_write(model->vectors[fb_rd_u8(rd) % model->n_vectors].fd, 1);
		break;
	}
	case 9:
		w->r->answer = answers[fb_rd_u8(rd) & 3];
		break;
	case 10:
		vfio_server_die(&w->s);
		break;
	default:
		scripted_root_enable_msix(w->r);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_reader rd = fb_reader(data, size);
	static struct world w;
	char options[160];

	fb_log_set_level(FB_LOG_NONE);
	memset(&w, 0, sizeof(w));
	w.s.handshake_only = true;
	vfio_server_start(&w.s);
	snprintf(options, sizeof(options), "id=x0,socket=%s", w.s.path);
	w.r = scripted_root_new(&vfio_user_model, options, MEM);
	pthread_join(w.s.thread, NULL);
	scripted_root_enumerate(w.r, NULL);
	for (unsigned steps = 0; rd.left && !rd.bad && steps < 200; steps++) {
		step(&w, &rd);
		for (unsigned i = 0; i < 3; i++)
			fb_loop_once(w.r->loop, 0);
		vfio_server_take(&w.s, keep, &w);
		scripted_root_forget(w.r);
	}
	/* Whatever waits for the server ends with it: scripted_root_free() looks. */
	w.r->answer = ANSWER_IN_ORDER;
	scripted_root_answer_now(w.r, ANSWER_IN_ORDER);
	vfio_server_die(&w.s);
	for (unsigned i = 0; i < 1000 && ((struct vu *)fb_device_state(w.r->dev))->state != VU_DOWN; i++)
		fb_loop_once(w.r->loop, 0);
	if (((struct vu *)fb_device_state(w.r->dev))->state != VU_DOWN)
		abort();
	for (unsigned i = 0; i < 10; i++)
		fb_loop_once(w.r->loop, 0);
	scripted_root_free(w.r);
	w.s.joined = true;
	vfio_server_stop(&w.s);
	return 0;
}
