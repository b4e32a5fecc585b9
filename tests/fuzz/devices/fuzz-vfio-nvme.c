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
#include <string.h>
#include <unistd.h>

#include "util/log.h"
#include "util/reader.h"
#include "vfio_nvme.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MEM = 256 << 10, QUEUES = 4, ENTRIES = 16, ACQ = 0x1000, IOSQ = 0x2000, STEPS = 200 };

static void complete(struct nv *w, struct fb_reader *rd)
{
	unsigned q = fb_rd_u8(rd) % QUEUES, slot = fb_rd_u8(rd), status = fb_rd_le16(rd), dw0 = fb_rd_u8(rd);

	nv_complete(w, q, q, slot, status, dw0);
}

static void make_address(const struct nv *w, uint8_t *prp)
{
	if (fb_get_le64(prp) < MEM)
		fb_put_le64(prp, fb_get_le64(prp) + w->r->mem_base);
}

static void write_entry(struct nv *w, struct fb_reader *rd)
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

static void write_list(struct nv *w, struct fb_reader *rd)
{
	unsigned at = fb_rd_u8(rd) * 1024u, n = fb_rd_u8(rd) + 1u;

	for (unsigned i = 0; i < n && at + 8 * i + 8 <= MEM; i++)
		fb_put_le64(w->r->mem + at + 8 * i, w->r->mem_base + (0x10000 + i * 4096) % MEM);
}

static void reset(struct nv *w)
{
	scripted_root_cfg_write(w->r, w->r->cap_exp + 8u, 0x8000, 2);
	w->r->n_reads = 0;
	scripted_root_enumerate(w->r, NULL);
}

static void step(struct nv *w, struct fb_reader *rd)
{
	static const enum scripted_answer answers[] = {ANSWER_IN_ORDER, ANSWER_NEVER, ANSWER_UR, ANSWER_CA};
	const uint8_t *bytes;
	unsigned at, n;

	switch (fb_rd_u8(rd) % 11) {
	case 0:
		at = fb_rd_u8(rd);
		nv_write(w, at < 32 ? at * 4u : NVME_REG_DBS + (at - 32) * 4u, fb_rd_le32(rd), 4);
		break;
	case 1:
		nv_enable(w, w->r->mem_base, w->r->mem_base + ACQ, ENTRIES);
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
		nv_signal(w, 0);
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
		vfio_server_die(&w->s);
		break;
	default:
		scripted_root_answer_now(w->r, ANSWER_IN_ORDER);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fb_reader rd = fb_reader(data, size);
	static struct nv w;
	struct nvme_sqe e;

	fb_log_set_level(FB_LOG_NONE);
	nv_begin(&w, false, ",buffers=16M", MEM);
	for (unsigned steps = 0; rd.left && !rd.bad && steps < STEPS; steps++) {
		step(&w, &rd);
		for (unsigned i = 0; i < 3; i++) {
			fb_loop_once(w.r->loop, 0);
			nv_serve(&w);
		}
		while (nv_command(&w, 0, &e)) /* so that it knows its queues */
			;
		scripted_root_forget(w.r);
	}
	nv_kill(&w);
	nv_end(&w);
	return 0;
}
