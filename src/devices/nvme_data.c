/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a command's data lies in guest memory: Physical Region Pages (4.3) and
 * Scatter Gather Lists (4.4), and the DMA of that data.
 *
 * Theory of operation
 *
 * nvme_map() turns PRPs or SGLs into a list of segments (address, length);
 * neighbours are joined. PRP1 and PRP2, or a single data block, need no DMA.
 * Lists are read a chunk (4 KiB at most) at a time, and never beyond the end of
 * a memory page, or of the SGL segment that announced its length. Each chunk
 * either maps at least one byte, or counts against a bound on descriptors and
 * on segments: a list that points to itself ends.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/nvme.h"

/* ---- Segments ------------------------------------------------------------------ */

static bool add_segment(struct nvme_cmd *cmd, uint64_t addr, uint32_t len)
{
	struct fb_dma_seg *last = cmd->n_segs ? &cmd->segs[cmd->n_segs - 1] : NULL;

	if (last && last->addr != NVME_BIT_BUCKET && addr != NVME_BIT_BUCKET && last->addr + last->len == addr) {
		last->len += len;
		return true;
	}
	if (cmd->n_segs == cmd->seg_room) {
		unsigned room = cmd->seg_room * 4;
		struct fb_dma_seg *segs = realloc(cmd->segs == cmd->few ? NULL : cmd->segs, room * sizeof(*segs));

		if (!segs)
			return false;
		if (cmd->segs == cmd->few)
			memcpy(segs, cmd->few, sizeof(cmd->few));
		cmd->segs = segs;
		cmd->seg_room = room;
	}
	cmd->segs[cmd->n_segs++] = (struct fb_dma_seg){addr, len};
	return true;
}

/* A segment of at most `len` bytes of what is left to map. */
static bool take(struct nvme_cmd *cmd, uint64_t addr, uint64_t len)
{
	uint32_t n = len < cmd->map_left ? (uint32_t)len : cmd->map_left;

	if (n == 0)
		return true;
	cmd->map_left -= n;
	return add_segment(cmd, addr, n);
}

static void no_memory(struct nvme_cmd *cmd)
{
	nvme_complete(cmd, NVME_SC_INTERNAL_ERROR);
}

static void map_ended(struct nvme_cmd *cmd)
{
	free(cmd->list);
	cmd->list = NULL;
	cmd->mapped(cmd, 0);
}

static void list_arrived(void *arg, int status);

static void read_list(struct nvme_cmd *cmd, uint64_t addr, uint32_t len)
{
	int err = 0;

	if (!cmd->list)
		cmd->list = malloc(NVME_LIST_CHUNK);
	if (!cmd->list) {
		no_memory(cmd);
		return;
	}
	cmd->list_addr = addr;
	cmd->list_len = len;
	nvme_cmd_hold(cmd);
	err = fb_dma_read(cmd->n->dev, addr, cmd->list, len, list_arrived, cmd);
	if (err && nvme_cmd_release(cmd))
		nvme_complete(cmd, NVME_SC_DATA_TRANSFER_ERROR);
}

/* ---- PRP -------------------------------------------------------------------------- */

/* Reads the list at addr: entries up to what is needed, the end of the page, or of the buffer. */
static void read_prp_list(struct nvme_cmd *cmd, uint64_t addr)
{
	uint32_t page = cmd->n->page_size;
	uint32_t entries = (cmd->map_left + page - 1) / page;
	uint32_t room = (page - (uint32_t)(addr & (page - 1))) / 8;

	if (entries > room)
		entries = room;
	if (entries > NVME_LIST_CHUNK / 8)
		entries = NVME_LIST_CHUNK / 8;
	read_list(cmd, addr, entries * 8);
}

static void prp_list_arrived(struct nvme_cmd *cmd)
{
	uint32_t page = cmd->n->page_size;
	uint32_t entries = cmd->list_len / 8;

	for (uint32_t i = 0; i < entries; i++) {
		uint64_t prp = fb_get_le64(cmd->list + 8 * i);
		bool page_end = ((cmd->list_addr + 8 * (i + 1)) & (page - 1)) == 0;

		if (prp & (page - 1)) {
			nvme_refuse(cmd, NVME_SC_PRP_OFFSET, 32);
			return;
		}
		/* The last entry of a page points to the next list, unless it is the last that is needed. */
		if (page_end && cmd->map_left > page) {
			/* A page with nothing but a pointer maps nothing: bounded like SGL descriptors. */
			if (++cmd->n_descriptors > NVME_SGL_MAX) {
				nvme_refuse(cmd, NVME_SC_INVALID_FIELD, 32);
				return;
			}
			read_prp_list(cmd, prp);
			return;
		}
		if (!take(cmd, prp, page)) {
			no_memory(cmd);
			return;
		}
		if (cmd->map_left == 0) {
			map_ended(cmd);
			return;
		}
	}
	read_prp_list(cmd, cmd->list_addr + cmd->list_len);
}

static void map_prp(struct nvme_cmd *cmd)
{
	uint32_t page = cmd->n->page_size;
	uint64_t prp1 = nvme_get64(cmd->sqe.prp1), prp2 = nvme_get64(cmd->sqe.prp2);
	bool ok;

	if (prp1 & 3) {
		nvme_refuse(cmd, NVME_SC_PRP_OFFSET, 24);
		return;
	}
	ok = take(cmd, prp1, page - (uint32_t)(prp1 & (page - 1)));
	if (ok && cmd->map_left > page) {
		if (prp2 & 7)
			nvme_refuse(cmd, NVME_SC_PRP_OFFSET, 32);
		else
			read_prp_list(cmd, prp2);
		return;
	}
	if (ok && cmd->map_left) {
		if (prp2 & (page - 1)) {
			nvme_refuse(cmd, NVME_SC_PRP_OFFSET, 32);
			return;
		}
		ok = take(cmd, prp2, page);
	}
	if (ok)
		map_ended(cmd);
	else
		no_memory(cmd);
}

/* ---- SGL --------------------------------------------------------------------------- */

static bool is_read(const struct nvme_cmd *cmd)
{
	return (cmd->sqe.opc & 3) == 2; /* opcode bits 1:0: controller to host (4.2) */
}

static void enter_segment(struct nvme_cmd *cmd, const struct nvme_sgl_descriptor *d)
{
	uint32_t len = nvme_get32(d->length);

	if (len == 0 || len % sizeof(*d)) {
		nvme_refuse(cmd, NVME_SC_INVALID_SGL_SEGMENT, 24);
		return;
	}
	cmd->list_last = d->type >> 4 == NVME_SGL_LAST_SEGMENT;
	cmd->list_left = len > NVME_LIST_CHUNK ? len - NVME_LIST_CHUNK : 0;
	read_list(cmd, nvme_get64(d->addr), len - cmd->list_left);
}

/* A data block or bit bucket: 0 or a status. */
static uint16_t sgl_data(struct nvme_cmd *cmd, const struct nvme_sgl_descriptor *d)
{
	uint32_t len = nvme_get32(d->length);

	if (d->type & 15)
		return NVME_SC_SGL_TYPE;
	switch (d->type >> 4) {
	case NVME_SGL_DATA_BLOCK:
		return take(cmd, nvme_get64(d->addr), len) ? 0 : NVME_SC_INTERNAL_ERROR;
	case NVME_SGL_BIT_BUCKET:
		if (!is_read(cmd) || len == 0)
			return 0; /* of a source: length 0 */
		cmd->bucket = true;
		return take(cmd, NVME_BIT_BUCKET, len) ? 0 : NVME_SC_INTERNAL_ERROR;
	default:
		return NVME_SC_SGL_TYPE;
	}
}

static void sgl_ended(struct nvme_cmd *cmd)
{
	if (cmd->map_left)
		nvme_refuse(cmd, NVME_SC_SGL_DATA_LENGTH, 24);
	else
		map_ended(cmd);
}

static void sgl_segment_arrived(struct nvme_cmd *cmd)
{
	const struct nvme_sgl_descriptor *d = (const struct nvme_sgl_descriptor *)(const void *)cmd->list;
	unsigned count = cmd->list_len / sizeof(*d);

	for (unsigned i = 0; i < count; i++) {
		bool last = i + 1 == count && cmd->list_left == 0;
		unsigned type = d[i].type >> 4;
		uint16_t status;

		if (++cmd->n_descriptors > NVME_SGL_MAX) {
			nvme_refuse(cmd, NVME_SC_INVALID_SGL_COUNT, 24);
			return;
		}
		if (type == NVME_SGL_SEGMENT || type == NVME_SGL_LAST_SEGMENT) {
			if (d[i].type & 15) {
				nvme_refuse(cmd, NVME_SC_SGL_TYPE, 24);
			} else if (!last || cmd->list_last) {
				nvme_refuse(cmd, NVME_SC_INVALID_SGL_SEGMENT, 24);
			} else {
				struct nvme_sgl_descriptor next = d[i]; /* the list is about to be overwritten */

				enter_segment(cmd, &next);
			}
			return;
		}
		status = sgl_data(cmd, &d[i]);
		if (status) {
			nvme_refuse(cmd, status, 24);
			return;
		}
		if (last && !cmd->list_last) { /* only a Last Segment may end with data */
			nvme_refuse(cmd, NVME_SC_INVALID_SGL_SEGMENT, 24);
			return;
		}
	}
	if (cmd->list_left) {
		uint32_t n = cmd->list_left > NVME_LIST_CHUNK ? NVME_LIST_CHUNK : cmd->list_left;

		cmd->list_left -= n;
		read_list(cmd, cmd->list_addr + cmd->list_len, n);
		return;
	}
	sgl_ended(cmd);
}

static void map_sgl(struct nvme_cmd *cmd)
{
	const struct nvme_sgl_descriptor *d = &cmd->sqe.sgl1;
	unsigned type = d->type >> 4;
	uint16_t status;

	if (d->type & 15) {
		nvme_refuse(cmd, NVME_SC_SGL_TYPE, 39);
		return;
	}
	if (type == NVME_SGL_SEGMENT || type == NVME_SGL_LAST_SEGMENT) {
		enter_segment(cmd, d);
		return;
	}
	status = sgl_data(cmd, d);
	if (status)
		nvme_refuse(cmd, status, 39);
	else
		sgl_ended(cmd);
}

/* ---- Both ------------------------------------------------------------------------------ */

static void list_arrived(void *arg, int status)
{
	struct nvme_cmd *cmd = arg;

	if (!nvme_cmd_release(cmd))
		return;
	if (status == -ECANCELED) {
		nvme_drop(cmd);
		return;
	}
	if (status) {
		nvme_complete(cmd, NVME_SC_DATA_TRANSFER_ERROR);
		return;
	}
	if (cmd->sqe.flags >> 6)
		sgl_segment_arrived(cmd);
	else
		prp_list_arrived(cmd);
}

void nvme_map(struct nvme_cmd *cmd, uint32_t len, nvme_step *step)
{
	cmd->len = cmd->map_left = len;
	cmd->mapped = step;
	cmd->n_segs = 0;
	if (len == 0)
		map_ended(cmd);
	else if (cmd->sqe.flags >> 6)
		map_sgl(cmd);
	else
		map_prp(cmd);
}

static void dma_ended(void *arg, int status)
{
	struct nvme_cmd *cmd = arg;
	bool alive;

	if (status && (!cmd->dma_err || status == -ECANCELED))
		cmd->dma_err = status;
	/* Data that did not arrive, and a completion entry that still waits for room: it can say so. */
	if (status && cmd->state == NVME_CMD_DONE && !cmd->status)
		cmd->status = NVME_SC_DATA_TRANSFER_ERROR | NVME_SC_M;
	cmd->dma_left--;
	alive = nvme_cmd_release(cmd);
	if (!alive || cmd->dma_left || !cmd->dma_step)
		return;
	if (cmd->dma_err == -ECANCELED)
		nvme_drop(cmd);
	else if (cmd->dma_err)
		nvme_complete(cmd, NVME_SC_DATA_TRANSFER_ERROR);
	else
		cmd->dma_step(cmd, 0);
}

uint16_t nvme_to_host(struct nvme_cmd *cmd, const uint8_t *buf)
{
	unsigned from = 0;
	size_t at = 0;
	int err = 0;

	cmd->dma_step = NULL;
	while (from < cmd->n_segs) {
		unsigned to = from;
		size_t len = 0;

		if (cmd->segs[from].addr == NVME_BIT_BUCKET) {
			at += cmd->segs[from++].len;
			continue;
		}
		while (to < cmd->n_segs && cmd->segs[to].addr != NVME_BIT_BUCKET)
			len += cmd->segs[to++].len;
		cmd->dma_left++;
		nvme_cmd_hold(cmd);
		err = fb_dma_writev(cmd->n->dev, cmd->segs + from, to - from, buf + at, dma_ended, cmd);
		if (err) {
			cmd->dma_left--;
			nvme_cmd_release(cmd);
			break;
		}
		at += len;
		cmd->n->round_bytes += (uint32_t)len;
		from = to;
	}
	return err ? NVME_SC_DATA_TRANSFER_ERROR : NVME_SC_SUCCESS;
}

void nvme_from_host(struct nvme_cmd *cmd, uint8_t *buf, nvme_step *step)
{
	int err;

	cmd->dma_step = step;
	cmd->dma_left++;
	nvme_cmd_hold(cmd);
	err = fb_dma_readv(cmd->n->dev, cmd->segs, cmd->n_segs, buf, dma_ended, cmd);
	if (err) {
		cmd->dma_left--;
		if (nvme_cmd_release(cmd))
			nvme_complete(cmd, NVME_SC_DATA_TRANSFER_ERROR);
	}
}

static void reply_mapped(struct nvme_cmd *cmd, int res)
{
	nvme_complete(cmd, nvme_to_host(cmd, cmd->buf));
}

static void reply_buffered(struct nvme_cmd *cmd, int res)
{
	memset(cmd->buf, 0, cmd->len);
	cmd->fill(cmd, cmd->buf);
	nvme_map(cmd, cmd->len, reply_mapped);
}

void nvme_reply(struct nvme_cmd *cmd, uint32_t len, void (*fill)(struct nvme_cmd *cmd, uint8_t *buf))
{
	cmd->len = len;
	cmd->fill = fill;
	nvme_buf_get(cmd, len, reply_buffered);
}

static void data_mapped(struct nvme_cmd *cmd, int res)
{
	nvme_from_host(cmd, cmd->buf, cmd->fetched);
}

static void data_buffered(struct nvme_cmd *cmd, int res)
{
	nvme_map(cmd, cmd->len, data_mapped);
}

void nvme_fetch_data(struct nvme_cmd *cmd, uint32_t len, nvme_step *step)
{
	cmd->len = len;
	cmd->fetched = step;
	nvme_buf_get(cmd, len, data_buffered);
}
