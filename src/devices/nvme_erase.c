/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What makes blocks zero or gives their space back: Write Zeroes (6.16),
 * Dataset Management / Deallocate (6.7), Format NVM (5.23).
 *
 * Deallocated blocks are holes in the file and read as zeros. Where a file
 * system cannot punch holes, Deallocate does nothing (it is a hint), and
 * commands that promise zeros write them.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "devices/nvme.h"

static bool unsupported(int err)
{
	return err == -EOPNOTSUPP || err == -ENOSYS || err == -EINVAL || err == -ENODEV;
}

static void write_failed(struct nvme_cmd *cmd, int err)
{
	nvme_complete(cmd, nvme_ns_status(cmd->ns, true, err, cmd->op.offset));
}

/* ---- Zeros by writing them: from cmd->offset, cmd->todo bytes; then cmd->fetched(). ---- */

static void zeros_more(struct nvme_cmd *cmd, int res);

static void zeros_start(struct nvme_cmd *cmd, int res)
{
	uint32_t n = cmd->todo < cmd->buf_len ? (uint32_t)cmd->todo : (uint32_t)cmd->buf_len;

	nvme_file_write(cmd, cmd->buf, n, cmd->offset, false, zeros_more);
}

static void zeros_more(struct nvme_cmd *cmd, int res)
{
	uint64_t n = cmd->todo < cmd->buf_len ? cmd->todo : cmd->buf_len;

	if (res < 0) {
		write_failed(cmd, res);
		return;
	}
	cmd->offset += n;
	cmd->todo -= n;
	if (cmd->todo)
		zeros_start(cmd, 0);
	else
		cmd->fetched(cmd, 0);
}

static void zeros_buffered(struct nvme_cmd *cmd, int res)
{
	memset(cmd->buf, 0, cmd->buf_len);
	zeros_start(cmd, 0);
}

static void write_zeros(struct nvme_cmd *cmd, nvme_step *then)
{
	cmd->fetched = then;
	if (cmd->buf) { /* the last namespace's, of Format NVM */
		zeros_start(cmd, 0);
		return;
	}
	cmd->buf_len = (size_t)4096 << cmd->n->mdts;
	if (cmd->buf_len > cmd->todo)
		cmd->buf_len = cmd->todo;
	nvme_buf_get(cmd, cmd->buf_len, zeros_buffered);
}

/* ---- Write Zeroes ------------------------------------------------------------------ */

static void zeroes_synced(struct nvme_cmd *cmd, int res)
{
	if (res < 0) {
		write_failed(cmd, res);
		return;
	}
	cmd->ns->writes++;
	nvme_complete(cmd, NVME_SC_SUCCESS);
}

static void zeroes_written(struct nvme_cmd *cmd, int res)
{
	if (nvme_get32(cmd->sqe.cdw12) & NVME_RW_FUA || !(cmd->n->feat.vwc & 1))
		nvme_file_sync(cmd, cmd->ns, zeroes_synced);
	else
		zeroes_synced(cmd, 0);
}

static void zeroes_allocated(struct nvme_cmd *cmd, int res)
{
	if (unsupported(res))
		write_zeros(cmd, zeroes_written);
	else if (res < 0)
		write_failed(cmd, res);
	else
		zeroes_written(cmd, 0);
}

void nvme_io_write_zeroes(struct nvme_cmd *cmd)
{
	bool deallocate = nvme_get32(cmd->sqe.cdw12) & NVME_WZ_DEAC && cmd->n->opt.discard;

	if (!nvme_block_range(cmd, &cmd->offset, &cmd->todo))
		return;
	/* Without DEAC the space stays allocated: a later write cannot run out of it. */
	nvme_file_allocate(cmd, deallocate ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : FALLOC_FL_ZERO_RANGE,
			   cmd->offset, cmd->todo, zeroes_allocated);
}

/* ---- Dataset Management ---------------------------------------------------------------- */

static uint32_t dsm_count(const struct nvme_cmd *cmd)
{
	return (nvme_get32(cmd->sqe.cdw10) & 0xff) + 1;
}

static void dsm_next(struct nvme_cmd *cmd, int res)
{
	const struct nvme_dsm_range *r = (const struct nvme_dsm_range *)(const void *)cmd->buf;

	if (res < 0 && !unsupported(res)) {
		write_failed(cmd, res);
		return;
	}
	while (res == 0 && cmd->index < dsm_count(cmd)) {
		const struct nvme_dsm_range *at = &r[cmd->index++];
		uint64_t offset = nvme_get64(at->slba) << cmd->ns->lbads;
		uint64_t length = (uint64_t)nvme_get32(at->length) << cmd->ns->lbads;

		if (fb_disk_hole(&cmd->ns->disk, &offset, &length)) {
			nvme_file_allocate(cmd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length, dsm_next);
			return;
		}
	}
	nvme_complete(cmd, NVME_SC_SUCCESS);
}

static void dsm_fetched(struct nvme_cmd *cmd, int res)
{
	const struct nvme_dsm_range *r = (const struct nvme_dsm_range *)(const void *)cmd->buf;

	for (uint32_t i = 0; i < dsm_count(cmd); i++) {
		if (!fb_in_range(nvme_get64(r[i].slba), nvme_get32(r[i].length), nvme_ns_blocks(cmd->ns))) {
			nvme_refuse(cmd, NVME_SC_LBA_RANGE, 40);
			return;
		}
	}
	if (nvme_get32(cmd->sqe.cdw11) & NVME_DSM_AD)
		dsm_next(cmd, 0);
	else
		nvme_complete(cmd, NVME_SC_SUCCESS); /* the other attributes are hints about use */
}

void nvme_io_dsm(struct nvme_cmd *cmd)
{
	nvme_fetch_data(cmd, dsm_count(cmd) * (uint32_t)sizeof(struct nvme_dsm_range), dsm_fetched);
}

/* ---- Format NVM -------------------------------------------------------------------------- */

/*
 * One at a time. The namespace refuses new I/O (Format in Progress), the
 * command waits until the old has ended, then erases. NSID FFFFFFFFh: one
 * namespace after the other.
 */

static void format_next(struct nvme_cmd *cmd);

static void format_changed(struct nvme_cmd *cmd, int res)
{
	struct nvme_ns *ns = cmd->ns;

	if (res < 0) {
		write_failed(cmd, res);
		return;
	}
	nvme_ns_set_lbads(ns, nvme_get32(cmd->sqe.cdw10) & 15 ? 12 : 9);
	ns->changed = true;
	ns->formatting = false;
	ns->inflight--;
	cmd->ns = NULL;
	nvme_event(cmd->n, NVME_EVENT_NOTICE, NVME_EVENT_NS_CHANGED, NVME_LOG_CHANGED_NS);
	format_next(cmd);
}

static void format_erased(struct nvme_cmd *cmd, int res)
{
	nvme_file_sync(cmd, cmd->ns, format_changed);
}

static void format_punched(struct nvme_cmd *cmd, int res)
{
	bool erase = nvme_get32(cmd->sqe.cdw10) >> 9 & 7;

	if (unsupported(res) && erase)
		write_zeros(cmd, format_erased); /* it was promised that nothing can be read */
	else if (res < 0 && !unsupported(res))
		write_failed(cmd, res);
	else
		format_erased(cmd, 0);
}

void nvme_format_poll(struct nvme *n)
{
	struct nvme_cmd *cmd = n->format;
	struct nvme_ns *ns;

	if (!cmd || cmd->state != NVME_CMD_PARKED || !n->enabled) /* a reset that drops what it waits for ends it too */
		return;
	ns = &n->ns[cmd->index];
	if (ns->inflight)
		return;
	nvme_unpark(cmd);
	cmd->ns = ns;
	ns->inflight++;
	cmd->offset = 0;
	cmd->todo = ns->disk.bytes;
	nvme_file_allocate(cmd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, ns->disk.bytes, format_punched);
}

static void format_next(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->n;

	for (unsigned i = 0; i < n->n_ns; i++) {
		if (n->ns[i].formatting) {
			cmd->index = i;
			nvme_park(cmd);
			nvme_format_poll(n);
			return;
		}
	}
	nvme_complete(cmd, NVME_SC_SUCCESS);
}

void nvme_format(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->n;
	uint32_t nsid = nvme_get32(cmd->sqe.nsid), cdw10 = nvme_get32(cmd->sqe.cdw10);

	if (nsid != UINT32_MAX && !nvme_ns_get(n, nsid)) {
		nvme_refuse(cmd, NVME_SC_INVALID_NAMESPACE, 4);
		return;
	}
	/* Two LBA formats, no metadata (MSET, PI, PIL), no cryptographic erase. */
	if ((cdw10 & 15) > 1 || cdw10 >> 4 & 0x1f || (cdw10 >> 9 & 7) > 1) {
		nvme_refuse(cmd, NVME_SC_INVALID_FORMAT, 40);
		return;
	}
	if (n->format) {
		nvme_complete(cmd, NVME_SC_FORMAT_IN_PROGRESS);
		return;
	}
	if (n->opt.readonly) {
		nvme_complete(cmd, NVME_SC_NS_WRITE_PROTECTED | NVME_SC_DNR);
		return;
	}
	/* Blocks that the file is no multiple of would cost its last bytes, and the box its next start (nvme_ns.c). */
	for (unsigned i = 0; i < n->n_ns; i++) {
		if (n->ns[i].nsid && (nsid == UINT32_MAX || nsid == n->ns[i].nsid) && cdw10 & 15 &&
		    n->ns[i].disk.bytes % 4096) {
			nvme_refuse(cmd, NVME_SC_INVALID_FORMAT, 40);
			return;
		}
	}
	for (unsigned i = 0; i < n->n_ns; i++) {
		if (n->ns[i].nsid && (nsid == UINT32_MAX || nsid == n->ns[i].nsid))
			n->ns[i].formatting = true;
	}
	n->format = cmd;
	format_next(cmd);
}
