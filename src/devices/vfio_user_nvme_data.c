/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command's data: where its PRPs (4.3) say that it lies in the guest's memory,
 * and moving it between there and the slot's buffer in the pool. What is mapped
 * is at most VN_XFER bytes of 4 KiB pages, so a list has at most VN_PRPS entries.
 */
#include <errno.h>
#include <string.h>

#include "devices/vfio_user_nvme.h"

/* ---- The slot's place in the pool ---------------------------------------------------------- */

static uint8_t *prp_list(const struct vn_slot *s)
{
	return s->n->mem + (size_t)(VN_QUEUES + 1) * VN_RING + (size_t)vn_id(s) * VN_LIST;
}

uint8_t *vn_buffer(const struct vn_slot *s)
{
	return s->n->mem + s->n->size - (uint64_t)(s->n->n_slots - vn_id(s)) * VN_XFER;
}

/* The buffer's pages lie in a row: its list never changes, but the server can write to it, so it is made each time. */
void vn_point_to_buffer(const struct vn_slot *s, struct nvme_sqe *out)
{
	uint64_t at = vn_iova(s->n, vn_buffer(s));
	uint8_t *list = prp_list(s);

	nvme_put64(&out->prp1, s->len ? at : 0);
	nvme_put64(&out->prp2, s->len > VN_PAGE ? at + VN_PAGE : 0);
	if (s->len <= 2 * VN_PAGE)
		return;
	for (unsigned i = 1; i * VN_PAGE < s->len; i++)
		fb_put_le64(list + 8 * (i - 1), at + (uint64_t)i * VN_PAGE);
	nvme_put64(&out->prp2, vn_iova(s->n, list));
}

/* ---- The guest's memory ------------------------------------------------------------------------ */

static void mapped(struct vn_slot *s);

/* A segment of at most a page; the rest of it counts for nothing. */
static void add(struct vn_slot *s, uint64_t addr, uint32_t room)
{
	uint32_t len = room < s->map_left ? room : s->map_left;
	struct fb_dma_seg *last = s->n_segs ? &s->segs[s->n_segs - 1] : NULL;

	s->map_left -= len;
	if (last && last->addr + last->len == addr)
		last->len += len;
	else
		s->segs[s->n_segs++] = (struct fb_dma_seg){addr, len};
}

static void list_arrived(void *arg, int status);

static void read_list(struct vn_slot *s, uint64_t at)
{
	uint32_t entries = (s->map_left + VN_PAGE - 1) / VN_PAGE, room = (VN_PAGE - (uint32_t)(at % VN_PAGE)) / 8;
	int err;

	s->list_at = at;
	s->list_len = 8 * (entries < room ? entries : room);
	s->pending++;
	err = fb_dma_read(s->n->dev, at, s->list, s->list_len, list_arrived, s);
	if (err && vn_dma_ended(s))
		vn_refuse(s, NVME_SC_DATA_TRANSFER_ERROR);
}

static void take_list(struct vn_slot *s)
{
	for (uint32_t i = 0; i < s->list_len / 8; i++) {
		uint64_t prp = fb_get_le64(s->list + 8 * i);
		bool page_end = (s->list_at + 8 * (i + 1)) % VN_PAGE == 0;

		if (page_end && s->map_left > VN_PAGE) { /* the address of the rest of the list */
			/* One that holds nothing but such an address leads nowhere. */
			if (prp & 7 || ++s->hops > 2)
				vn_refuse(s, NVME_SC_PRP_OFFSET);
			else
				read_list(s, prp);
			return;
		}
		if (prp % VN_PAGE) {
			vn_refuse(s, NVME_SC_PRP_OFFSET);
			return;
		}
		add(s, prp, VN_PAGE);
	}
	mapped(s);
}

static void list_arrived(void *arg, int status)
{
	struct vn_slot *s = arg;

	if (!vn_dma_ended(s))
		return;
	if (status)
		vn_refuse(s, NVME_SC_DATA_TRANSFER_ERROR);
	else
		take_list(s);
	vn_kick(s->n);
}

void vn_take_data(struct vn_slot *s)
{
	uint64_t prp1 = nvme_get64(s->sqe.prp1), prp2 = nvme_get64(s->sqe.prp2);

	s->n_segs = 0;
	s->hops = 0;
	s->map_left = s->len;
	if (s->used < s->len)
		s->used = s->len;
	if (s->len == 0) {
		s->state = VN_READY;
		return;
	}
	if (prp1 & 3) {
		vn_refuse(s, NVME_SC_PRP_OFFSET);
		return;
	}
	add(s, prp1, VN_PAGE - (uint32_t)(prp1 % VN_PAGE));
	if (s->map_left > VN_PAGE) {
		if (prp2 & 7)
			vn_refuse(s, NVME_SC_PRP_OFFSET);
		else
			read_list(s, prp2);
		return;
	}
	if (s->map_left) {
		if (prp2 % VN_PAGE) {
			vn_refuse(s, NVME_SC_PRP_OFFSET);
			return;
		}
		add(s, prp2, VN_PAGE);
	}
	mapped(s);
}

/* ---- Moving it ------------------------------------------------------------------------------------ */

static void fetched(void *arg, int status)
{
	struct vn_slot *s = arg;

	if (!vn_dma_ended(s))
		return;
	if (status) {
		vn_refuse(s, NVME_SC_DATA_TRANSFER_ERROR);
	} else {
		s->n->count.bytes_in += s->len;
		s->state = VN_READY;
	}
	vn_kick(s->n);
}

static void mapped(struct vn_slot *s)
{
	int err;

	if (s->to_host) {
		s->state = VN_READY;
		return;
	}
	s->pending++;
	err = fb_dma_readv(s->n->dev, s->segs, s->n_segs, vn_buffer(s), fetched, s);
	if (err && vn_dma_ended(s))
		vn_refuse(s, NVME_SC_DATA_TRANSFER_ERROR);
}

static void given(void *arg, int status)
{
	struct vn_slot *s = arg;

	(void)status; /* posted: nobody could be told any more */
	vn_dma_ended(s);
}

uint16_t vn_give_data(struct vn_slot *s)
{
	s->pending++;
	if (fb_dma_writev(s->n->dev, s->segs, s->n_segs, vn_buffer(s), given, s) == 0) {
		s->n->count.bytes_out += s->len;
		return NVME_SC_SUCCESS;
	}
	s->pending--;
	return NVME_SC_DATA_TRANSFER_ERROR;
}
