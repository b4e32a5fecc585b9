/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of one command.
 *
 * Theory of operation
 *
 * A command is a chain of steps. A step starts DMA or a file operation and
 * names the step to go on with; nothing waits. Each operation under way holds
 * the command (`pending`), because it owns the buffer:
 *
 *	FREE -> ACTIVE <-> WAITING (for a buffer) or PARKED
 *	        ACTIVE -> DONE -> POSTED -> FREE     completed, entry written, all operations ended
 *	        any    -> DEAD -> FREE               a reset dropped it
 *
 * An operation that ends while its command is not ACTIVE any more calls no
 * step: it only gives its hold back. So after a reset nothing that was in
 * flight reaches the guest, and buffers stay allocated until the kernel and the
 * runtime have let go of them. n_async counts all such holds of a controller; a
 * controller becomes ready, or not ready, only when it is zero. So a write that
 * a reset overtook cannot reach the file after writes that the host sent later.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/nvme.h"

struct nvme_cmd *nvme_cmd_get(struct nvme *n)
{
	struct nvme_cmd *cmd = TAILQ_FIRST(&n->free);

	if (!cmd)
		return NULL;
	TAILQ_REMOVE(&n->free, cmd, link);
	n->n_free--;
	cmd->state = NVME_CMD_ACTIVE;
	cmd->pending = 0;
	cmd->ns = NULL;
	cmd->dw0 = 0;
	cmd->location = 0xffff;
	cmd->len = 0;
	cmd->n_segs = 0;
	cmd->n_descriptors = 0;
	cmd->bucket = false;
	cmd->dma_left = 0;
	cmd->dma_err = 0;
	cmd->index = 0;
	cmd->part_a = cmd->part_b = cmd->is_aer = false;
	return cmd;
}

void nvme_cmd_free(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->n;

	if (cmd->buf) {
		fb_arena_put(&n->arena, cmd->buf);
		cmd->buf = NULL;
		if (!TAILQ_EMPTY(&n->waiting))
			nvme_kick(n);
	}
	free(cmd->list);
	cmd->list = NULL;
	cmd->state = NVME_CMD_FREE;
	TAILQ_INSERT_HEAD(&n->free, cmd, link);
	if (n->n_free++ <= NVME_CMDS_ADMIN)
		nvme_kick(n); /* fetches may have waited for it */
}

void nvme_cmd_hold(struct nvme_cmd *cmd)
{
	cmd->pending++;
	cmd->n->n_async++;
}

bool nvme_cmd_release(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->n;
	bool alive = cmd->state == NVME_CMD_ACTIVE;

	cmd->pending--;
	n->n_async--;
	if (cmd->pending == 0 && (cmd->state == NVME_CMD_POSTED || cmd->state == NVME_CMD_DEAD))
		nvme_cmd_free(cmd);
	if (n->n_async == 0)
		nvme_lifecycle(n);
	return alive;
}

/* Out of its submission queue: it does not count as outstanding any more. */
static void leave_queue(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->n;
	struct nvme_sq *sq = cmd->sq;

	if (cmd->state == NVME_CMD_WAITING)
		TAILQ_REMOVE(&n->waiting, cmd, link);
	if (cmd->is_aer) {
		TAILQ_REMOVE(&n->aers, cmd, link);
		n->n_aers--;
		cmd->is_aer = false;
	}
	if (cmd->state != NVME_CMD_PARKED)
		nvme_busy(n, -1);
	if (n->format == cmd) {
		n->format = NULL;
		for (unsigned i = 0; i < n->n_ns; i++)
			n->ns[i].formatting = false;
	}
	TAILQ_REMOVE(&sq->cmds, cmd, sq_link);
	sq->inflight--;
	if (cmd->ns) {
		struct nvme_ns *ns = cmd->ns;

		cmd->ns = NULL;
		if (--ns->inflight == 0 && ns->formatting)
			nvme_format_poll(n);
	}
}

void nvme_complete(struct nvme_cmd *cmd, uint16_t status)
{
	struct nvme *n = cmd->n;
	struct nvme_sq *sq = cmd->sq;
	struct nvme_cq *cq = &n->cq[sq->cqid];

	if (status) {
		nvme_error_add(cmd, status);
		status |= NVME_SC_M;
	}
	leave_queue(cmd);
	cmd->state = NVME_CMD_DONE;
	cmd->cq = cq;
	cmd->status = status;
	cmd->sqhd = (uint16_t)sq->head;
	TAILQ_INSERT_TAIL(&cq->done, cmd, link);
	nvme_sq_drained(sq);
	nvme_kick(n);
}

void nvme_refuse(struct nvme_cmd *cmd, uint16_t status, unsigned byte)
{
	cmd->location = (uint16_t)byte;
	nvme_complete(cmd, status | NVME_SC_DNR);
}

void nvme_drop(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->n;
	struct nvme_sq *sq = cmd->sq;
	bool done = cmd->state == NVME_CMD_DONE;

	if (done)
		TAILQ_REMOVE(&cmd->cq->done, cmd, link);
	else
		leave_queue(cmd);
	n->dropped++;
	cmd->state = NVME_CMD_DEAD;
	if (cmd->pending == 0)
		nvme_cmd_free(cmd);
	if (!done)
		nvme_sq_drained(sq);
}

void nvme_park(struct nvme_cmd *cmd)
{
	cmd->state = NVME_CMD_PARKED;
	nvme_busy(cmd->n, -1);
}

void nvme_unpark(struct nvme_cmd *cmd)
{
	cmd->state = NVME_CMD_ACTIVE;
	nvme_busy(cmd->n, 1);
}

/* ---- Buffers: first come, first served, so that a large one is not starved by small ones. ---- */

void nvme_buf_get(struct nvme_cmd *cmd, size_t len, nvme_step *step)
{
	struct nvme *n = cmd->n;

	if (TAILQ_EMPTY(&n->waiting))
		cmd->buf = fb_arena_get(&n->arena, len);
	if (cmd->buf) {
		step(cmd, 0);
		return;
	}
	n->buffer_waits++;
	cmd->buf_len = len;
	cmd->op_step = step;
	cmd->state = NVME_CMD_WAITING;
	TAILQ_INSERT_TAIL(&n->waiting, cmd, link);
}

void nvme_buf_wake(struct nvme *n)
{
	struct nvme_cmd *cmd;

	/* Every holder ends without a second buffer, so this always moves on. */
	while ((cmd = TAILQ_FIRST(&n->waiting))) {
		cmd->buf = fb_arena_get(&n->arena, cmd->buf_len);
		if (!cmd->buf)
			return;
		TAILQ_REMOVE(&n->waiting, cmd, link);
		cmd->state = NVME_CMD_ACTIVE;
		cmd->op_step(cmd, 0);
	}
}

/* ---- File operations ------------------------------------------------------------ */

static void op_ended(struct fb_aio_op *op, int res);

static void queue_op(struct nvme_cmd *cmd)
{
	cmd->op.done = op_ended;
	nvme_cmd_hold(cmd);
	fb_aio_queue(&cmd->n->aio, &cmd->op);
	nvme_kick(cmd->n);
}

static void op_ended(struct fb_aio_op *op, int res)
{
	struct nvme_cmd *cmd = (struct nvme_cmd *)(void *)((char *)op - offsetof(struct nvme_cmd, op));

	/* A write counts as something to flush from when it has ended, whether or not anyone still waits for it. */
	if ((op->kind == FB_AIO_WRITE && !op->dsync) || op->kind == FB_AIO_FALLOCATE)
		cmd->file->disk.writes_ended++;
	if (!nvme_cmd_release(cmd))
		return;
	if (fb_aio_goes_on(op, &res)) {
		queue_op(cmd);
		return;
	}
	if (op->kind == FB_AIO_FSYNC && res == 0)
		fb_disk_synced(&cmd->file->disk, cmd->sync_mark);
	cmd->op_step(cmd, res);
}

static void start_op(struct nvme_cmd *cmd, struct nvme_ns *ns, nvme_step *step)
{
	cmd->file = ns;
	cmd->op.fd = ns->disk.fd;
	cmd->op_step = step;
	queue_op(cmd);
}

void nvme_file_read(struct nvme_cmd *cmd, uint8_t *buf, uint32_t len, uint64_t offset, nvme_step *step)
{
	cmd->op = (struct fb_aio_op){.kind = FB_AIO_READ, .buf = buf, .len = len, .offset = offset};
	start_op(cmd, cmd->ns, step);
}

void nvme_file_write(struct nvme_cmd *cmd, uint8_t *buf, uint32_t len, uint64_t offset, bool dsync, nvme_step *step)
{
	cmd->op = (struct fb_aio_op){
		.kind = FB_AIO_WRITE,
		.buf = buf,
		.len = len,
		.offset = offset,
		.dsync = dsync,
		.cached = !cmd->ns->disk.direct && (len | offset) % 4096 == 0, /* no page has to be read first */
	};
	start_op(cmd, cmd->ns, step);
}

void nvme_file_sync(struct nvme_cmd *cmd, struct nvme_ns *ns, nvme_step *step)
{
	cmd->op = (struct fb_aio_op){.kind = FB_AIO_FSYNC};
	cmd->sync_mark = ns->disk.writes_ended;
	start_op(cmd, ns, step);
}

void nvme_file_allocate(struct nvme_cmd *cmd, int mode, uint64_t offset, uint64_t range, nvme_step *step)
{
	cmd->op = (struct fb_aio_op){.kind = FB_AIO_FALLOCATE, .offset = offset, .range = range, .mode = mode};
	start_op(cmd, cmd->ns, step);
}
