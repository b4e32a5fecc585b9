/* SPDX-License-Identifier: Apache-2.0 */
#include "vfio_nvme.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/reader.h"

extern const struct fb_model vfio_user_model;

/* ---- The server ------------------------------------------------------------------------------- */

static void power_on(struct nv *w)
{
	memset(w->regs, 0, sizeof(w->regs));
	w->regs[NVME_REG_CAP] = 0xff; /* MQES; doorbells in a row */
	memset(w->server_sq, 0, sizeof(w->server_sq));
	memset(w->server_cq, 0, sizeof(w->server_cq));
}

static void write_cc(struct nv *w)
{
	uint32_t aqa = fb_get_le32(w->regs + NVME_REG_AQA);

	if ((w->regs[NVME_REG_CC] & NVME_CC_EN) == w->regs[NVME_REG_CSTS])
		return;
	memset(w->server_sq, 0, sizeof(w->server_sq));
	memset(w->server_cq, 0, sizeof(w->server_cq));
	w->regs[NVME_REG_CSTS] = w->regs[NVME_REG_CC] & NVME_CC_EN;
	if (!w->regs[NVME_REG_CSTS])
		return;
	w->server_sq[0] = (struct nv_ring){.at = fb_get_le64(w->regs + NVME_REG_ASQ), .size = (aqa & 0xfff) + 1};
	w->server_cq[0] = (struct nv_ring){.at = fb_get_le64(w->regs + NVME_REG_ACQ), .size = (aqa >> 16) + 1, .phase = true};
}

static void region_write(struct nv *w, const uint8_t *body, size_t size)
{
	uint64_t offset = fb_get_le64(body), index = (offset - NVME_REG_DBS) / 4;
	uint32_t len = fb_get_le32(body + 12);

	if (fb_get_le32(body + 8) != 0 || 16 + len != size || !fb_in_range(offset, len, sizeof(w->regs)))
		return;
	memcpy(w->regs + offset, body + 16, len);
	if (offset == NVME_REG_CC)
		write_cc(w);
	else if (offset >= NVME_REG_DBS && index / 2 < NV_QUEUES)
		(index & 1 ? w->server_cq : w->server_sq)[index / 2].doorbell = fb_get_le32(body + 16);
}

static void message(void *arg, const uint8_t *m, size_t size)
{
	uint16_t command = fb_get_le16(m + 2);
	uint8_t reply[16 + 16 + 4096] = {0};
	struct nv *w = arg;
	size_t len = 0;

	if (command == VFIO_USER_REGION_WRITE && size >= 32)
		region_write(w, m + 16, size - 16);
	if (command == VFIO_USER_DEVICE_RESET) {
		power_on(w);
		w->resets++;
	}
	if (fb_get_le32(m + 8) & 0x1f) /* no request, or none that is to be answered */
		return;
	if ((command == VFIO_USER_REGION_READ || command == VFIO_USER_REGION_WRITE) && size >= 32) {
		uint64_t offset = fb_get_le64(m + 16);
		uint32_t count = fb_get_le32(m + 28) & 4095;

		memcpy(reply + 16, m + 16, 16);
		len = 16 + (command == VFIO_USER_REGION_READ ? count : 0);
		if (command == VFIO_USER_REGION_READ && fb_get_le32(m + 24) == 0 && fb_in_range(offset, count, sizeof(w->regs)))
			memcpy(reply + 32, w->regs + offset, count);
	}
	memcpy(reply, m, 4);
	fb_put_le32(reply + 4, (uint32_t)(16 + len));
	fb_put_le32(reply + 8, VFIO_USER_TYPE_REPLY);
	if (w->s.fd >= 0)
		(void)!send(w->s.fd, reply, 16 + len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

struct counted {
	struct nv *w;
	bool any;
};

static void count(void *arg, const uint8_t *m, size_t size)
{
	struct counted *c = arg;

	c->any = true;
	message(c->w, m, size);
}

bool nv_serve(struct nv *w)
{
	struct counted c = {w, false};

	vfio_server_take(&w->s, count, &c);
	return c.any;
}

void *nv_pool(struct nv *w, uint64_t addr, uint64_t len)
{
	return w->s.mapped.mem && addr >= w->s.mapped.address && fb_in_range(addr - w->s.mapped.address, len, w->s.mapped.size)
		       ? w->s.mapped.mem + (addr - w->s.mapped.address)
		       : NULL;
}

static void *entry(struct nv *w, const struct nv_ring *ring, size_t size)
{
	return nv_pool(w, ring->at + ring->next * size, size);
}

static bool step(struct nv_ring *ring) /* true: it is at its beginning again */
{
	ring->next = (ring->next + 1) % ring->size;
	return ring->next == 0;
}

bool nv_command(struct nv *w, unsigned qid, struct nvme_sqe *e)
{
	struct nv_ring *sq = &w->server_sq[qid], ring;
	const void *at = sq->size && sq->next != sq->doorbell ? entry(w, sq, sizeof(*e)) : NULL;
	unsigned id;

	if (!at)
		return false;
	memcpy(e, at, sizeof(*e));
	step(sq);
	id = nvme_get32(e->cdw10) & 0xffff;
	ring = (struct nv_ring){.at = nvme_get64(e->prp1), .size = (nvme_get32(e->cdw10) >> 16) + 1, .phase = true};
	if (qid == 0 && e->opc == NVME_ADM_CREATE_SQ && id < NV_QUEUES)
		w->server_sq[id] = ring;
	if (qid == 0 && e->opc == NVME_ADM_CREATE_CQ && id < NV_QUEUES)
		w->server_cq[id] = ring;
	return true;
}

void nv_signal(struct nv *w, unsigned vector)
{
	if (vector < w->v->n_vectors && w->v->vectors[vector].fd >= 0)
		eventfd_write(w->v->vectors[vector].fd, 1);
}

void nv_complete(struct nv *w, unsigned cqid, unsigned sqid, unsigned cid, unsigned status, uint32_t dw0)
{
	struct nv_ring *cq = &w->server_cq[cqid];
	struct nvme_cqe *e = cq->size ? entry(w, cq, sizeof(*e)) : NULL;

	if (!e)
		return;
	memset(e, 0, sizeof(*e));
	nvme_put32(&e->dw0, dw0);
	nvme_put16(&e->sqid, (uint16_t)sqid);
	nvme_put16(&e->cid, (uint16_t)cid);
	nvme_put16(&e->status, (uint16_t)(status << 1 | cq->phase));
	if (step(cq))
		cq->phase = !cq->phase;
	nv_signal(w, cqid % w->v->n_vectors);
}

/* ---- The guest ---------------------------------------------------------------------------------- */

void nv_write(struct nv *w, uint64_t offset, uint64_t value, unsigned size)
{
	uint8_t bytes[8];

	fb_put_le64(bytes, value);
	if (w->r->bar_size[0])
		scripted_root_memory(w->r, w->r->bar[0] + offset, bytes, size);
}

uint64_t nv_read(struct nv *w, uint64_t offset, unsigned size)
{
	const struct scripted_tlp *t;
	uint8_t value[8] = {0};

	scripted_root_forget(w->r);
	scripted_root_memory(w->r, w->r->bar[0] + offset, NULL, size);
	nv_run(w);
	while ((t = scripted_root_take(w->r)) && t->tlp.type != PCIE_TLP_CPLD)
		;
	if (!t)
		return UINT64_MAX;
	memcpy(value, t->data + (offset & 3), size);
	return fb_get_le64(value);
}

void nv_enable(struct nv *w, uint64_t asq, uint64_t acq, unsigned entries)
{
	nv_write(w, NVME_REG_CC, 0, 4);
	nv_write(w, NVME_REG_AQA, (entries - 1) << 16 | (entries - 1), 4);
	nv_write(w, NVME_REG_ASQ, asq, 8);
	nv_write(w, NVME_REG_ACQ, acq, 8);
	nv_write(w, NVME_REG_CC, NVME_CC_EN | 6 << 16 | 4 << 20, 4);
	w->guest_sq[0] = (struct nv_ring){.at = asq, .size = entries};
	w->guest_cq[0] = (struct nv_ring){.at = acq, .size = entries, .phase = true};
}

void nv_submit(struct nv *w, unsigned qid, const struct nvme_sqe *e)
{
	struct nv_ring *sq = &w->guest_sq[qid];

	memcpy(scripted_root_mem(w->r, sq->at + sq->next * sizeof(*e), sizeof(*e)), e, sizeof(*e));
	step(sq);
	nv_write(w, NVME_REG_DBS + 8 * qid, sq->next, 4);
}

bool nv_completion(struct nv *w, unsigned qid, struct nvme_cqe *e)
{
	struct nv_ring *cq = &w->guest_cq[qid];

	memcpy(e, scripted_root_mem(w->r, cq->at + cq->next * sizeof(*e), sizeof(*e)), sizeof(*e));
	if ((nvme_get16(e->status) & 1) != cq->phase)
		return false;
	if (step(cq))
		cq->phase = !cq->phase;
	return true;
}

void nv_seen(struct nv *w, unsigned qid)
{
	nv_write(w, NVME_REG_DBS + 8 * qid + 4, w->guest_cq[qid].next, 4);
}

/* ---- Both ------------------------------------------------------------------------------------------ */

void nv_run(struct nv *w)
{
	do
		scripted_root_run(w->r);
	while (nv_serve(w));
}

void nv_begin(struct nv *w, bool pin, const char *more, uint64_t mem_size)
{
	char options[200];

	memset(w, 0, sizeof(*w));
	power_on(w);
	w->s.handshake_only = w->s.nvme = true;
	w->s.intx_only = pin;
	vfio_server_start(&w->s);
	snprintf(options, sizeof(options), "id=x0,socket=%s%s", w->s.path, more);
	w->r = scripted_root_new(&vfio_user_model, options, mem_size);
	pthread_join(w->s.thread, NULL);
	w->s.joined = true;
	w->v = fb_device_state(w->r->dev);
	w->n = w->v->nvme;
	scripted_root_enumerate(w->r, NULL);
	if (!pin)
		scripted_root_enable_msix(w->r);
}

void nv_kill(struct nv *w)
{
	w->r->answer = ANSWER_IN_ORDER;
	scripted_root_answer_now(w->r, ANSWER_IN_ORDER);
	vfio_server_die(&w->s);
	for (unsigned i = 0; i < 1000 && w->v->state != VU_DOWN; i++)
		fb_loop_once(w->r->loop, 0);
	for (unsigned i = 0; i < 20; i++)
		fb_loop_once(w->r->loop, 0);
	if (w->v->state != VU_DOWN || w->n->n_free + w->n->n_free_admin != w->n->n_slots || w->n->reserved ||
	    w->n->reserved_admin)
		abort();
}

void nv_end(struct nv *w)
{
	if (w->s.fd >= 0)
		nv_kill(w);
	scripted_root_free(w->r);
	vfio_server_stop(&w->s);
}
