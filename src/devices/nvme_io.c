/* SPDX-License-Identifier: Apache-2.0 */
/*
 * I/O commands (6): Flush, Write, Read, Compare, Verify. Those that give space
 * back are in nvme_erase.c.
 *
 *	Read     PRP list, if any, and file at the same time -> guest memory -> completion
 *	Write    PRP list, guest memory -> file -> completion
 *
 * A completion entry is sent right behind the data, without waiting: posted
 * writes keep their order.
 */
#include <errno.h>
#include <string.h>

#include "devices/nvme.h"

bool nvme_block_range(struct nvme_cmd *cmd, uint64_t *offset, uint64_t *bytes)
{
	uint64_t slba = nvme_get32(cmd->sqe.cdw10) | (uint64_t)nvme_get32(cmd->sqe.cdw11) << 32;
	uint64_t blocks = (nvme_get32(cmd->sqe.cdw12) & 0xffff) + 1;

	if (!fb_in_range(slba, blocks, nvme_ns_blocks(cmd->ns))) {
		nvme_refuse(cmd, NVME_SC_LBA_RANGE, 40);
		return false;
	}
	*offset = slba << cmd->ns->lbads;
	*bytes = blocks << cmd->ns->lbads;
	return true;
}

/* As above for commands that move data: at most MDTS. */
static bool transfer_range(struct nvme_cmd *cmd)
{
	uint64_t bytes;

	if (!nvme_block_range(cmd, &cmd->offset, &bytes))
		return false;
	if (bytes > (uint64_t)4096 << cmd->n->mdts) {
		nvme_refuse(cmd, NVME_SC_INVALID_FIELD, 48);
		return false;
	}
	cmd->len = (uint32_t)bytes;
	return true;
}

static bool forced(const struct nvme_cmd *cmd)
{
	return nvme_get32(cmd->sqe.cdw12) & NVME_RW_FUA || !(cmd->n->feat.vwc & 1);
}

static void file_failed(struct nvme_cmd *cmd, bool write, int err)
{
	nvme_complete(cmd, nvme_ns_status(cmd->ns, write, err, cmd->op.offset));
}

/* ---- Read ------------------------------------------------------------------------ */

static void read_parts(struct nvme_cmd *cmd)
{
	if (!cmd->part_a || !cmd->part_b)
		return;
	cmd->ns->reads++;
	cmd->ns->bytes_read += cmd->len;
	nvme_complete(cmd, nvme_to_host(cmd, cmd->buf));
}

static void read_mapped(struct nvme_cmd *cmd, int res)
{
	cmd->part_a = true;
	read_parts(cmd);
}

static void read_file(struct nvme_cmd *cmd, int res)
{
	if (res < 0) {
		file_failed(cmd, false, res);
		return;
	}
	cmd->part_b = true;
	read_parts(cmd);
}

static void read_start(struct nvme_cmd *cmd, int res)
{
	nvme_map(cmd, cmd->len, read_mapped);
	if (cmd->state == NVME_CMD_ACTIVE) /* else the PRPs were wrong */
		nvme_file_read(cmd, cmd->buf, cmd->len, cmd->offset, read_file);
}

/* ---- Write ------------------------------------------------------------------------- */

static void write_ended(struct nvme_cmd *cmd, int res)
{
	if (res < 0) {
		file_failed(cmd, true, res);
		return;
	}
	cmd->ns->writes++;
	cmd->ns->bytes_written += cmd->len;
	nvme_complete(cmd, NVME_SC_SUCCESS);
}

static void write_fetched(struct nvme_cmd *cmd, int res)
{
	nvme_file_write(cmd, cmd->buf, cmd->len, cmd->offset, forced(cmd), write_ended);
}

/* ---- Compare: the host's data lies behind the file's in the buffer -------------------- */

static void compare_read(struct nvme_cmd *cmd, int res)
{
	if (res < 0) {
		file_failed(cmd, false, res);
		return;
	}
	cmd->ns->reads++;
	cmd->ns->bytes_read += cmd->len;
	nvme_complete(cmd, memcmp(cmd->buf, cmd->buf + cmd->len, cmd->len) ? NVME_SC_COMPARE_FAILURE | NVME_SC_DNR
									    : NVME_SC_SUCCESS);
}

static void compare_fetched(struct nvme_cmd *cmd, int res)
{
	nvme_file_read(cmd, cmd->buf, cmd->len, cmd->offset, compare_read);
}

static void compare_mapped(struct nvme_cmd *cmd, int res)
{
	nvme_from_host(cmd, cmd->buf + cmd->len, compare_fetched);
}

static void compare_start(struct nvme_cmd *cmd, int res)
{
	nvme_map(cmd, cmd->len, compare_mapped);
}

/* ---- Verify: reads, and tells nobody what it read --------------------------------------- */

static void verify_more(struct nvme_cmd *cmd, int res);

static void verify_start(struct nvme_cmd *cmd, int res)
{
	nvme_file_read(cmd, cmd->buf, cmd->todo < cmd->buf_len ? (uint32_t)cmd->todo : (uint32_t)cmd->buf_len,
		       cmd->offset, verify_more);
}

static void verify_more(struct nvme_cmd *cmd, int res)
{
	uint64_t n = cmd->todo < cmd->buf_len ? cmd->todo : cmd->buf_len;

	if (res < 0) {
		file_failed(cmd, false, res);
		return;
	}
	cmd->offset += n;
	cmd->todo -= n;
	if (cmd->todo)
		verify_start(cmd, 0);
	else
		nvme_complete(cmd, NVME_SC_SUCCESS);
}

static void verify(struct nvme_cmd *cmd)
{
	if (!nvme_block_range(cmd, &cmd->offset, &cmd->todo))
		return;
	cmd->buf_len = (size_t)4096 << cmd->n->mdts;
	if (cmd->buf_len > cmd->todo)
		cmd->buf_len = cmd->todo;
	nvme_buf_get(cmd, cmd->buf_len, verify_start);
}

/* ---- Flush --------------------------------------------------------------------------------- */

/*
 * Brings what had ended before the Flush was submitted to the medium (6.8).
 * Those that have ended since come along or not, as the standard leaves open.
 */
static void flush_next(struct nvme_cmd *cmd, int res)
{
	struct nvme *n = cmd->n;
	uint32_t nsid = nvme_get32(cmd->sqe.nsid);

	if (res < 0) {
		nvme_complete(cmd, nvme_ns_status(cmd->file, true, res, 0));
		return;
	}
	while (cmd->index < n->n_ns) {
		struct nvme_ns *ns = &n->ns[cmd->index++];

		if (ns->nsid && (nsid == ns->nsid || nsid == UINT32_MAX) && fb_disk_dirty(&ns->disk)) {
			nvme_file_sync(cmd, ns, flush_next);
			return;
		}
	}
	nvme_complete(cmd, NVME_SC_SUCCESS);
}

/* ---- Dispatch -------------------------------------------------------------------------------- */

static bool known(const struct nvme *n, uint8_t opc)
{
	switch (opc) {
	case NVME_CMD_FLUSH:
	case NVME_CMD_WRITE:
	case NVME_CMD_READ:
	case NVME_CMD_COMPARE:
	case NVME_CMD_WRITE_ZEROES:
	case NVME_CMD_VERIFY:
		return true;
	case NVME_CMD_DSM:
		return n->opt.discard;
	default:
		return false;
	}
}

void nvme_io(struct nvme_cmd *cmd)
{
	struct nvme *n = cmd->n;
	uint8_t opc = cmd->sqe.opc;
	uint32_t nsid = nvme_get32(cmd->sqe.nsid);
	struct nvme_ns *ns;

	if (!known(n, opc)) {
		nvme_refuse(cmd, NVME_SC_INVALID_OPCODE, 0);
		return;
	}
	if (cmd->sqe.flags & 3 || cmd->sqe.flags >> 6 == 3) { /* no fused operations; PSDT 11b is reserved */
		nvme_refuse(cmd, NVME_SC_INVALID_FIELD, 1);
		return;
	}
	if (opc == NVME_CMD_FLUSH && nsid == UINT32_MAX) {
		flush_next(cmd, 0);
		return;
	}
	ns = nvme_ns_get(n, nsid);
	if (!ns) {
		nvme_refuse(cmd, NVME_SC_INVALID_NAMESPACE, 4);
		return;
	}
	if (ns->formatting) {
		nvme_complete(cmd, NVME_SC_FORMAT_IN_PROGRESS);
		return;
	}
	cmd->ns = ns;
	ns->inflight++;
	if (ns->disk.readonly && (opc == NVME_CMD_WRITE || opc == NVME_CMD_WRITE_ZEROES || opc == NVME_CMD_DSM)) {
		nvme_complete(cmd, NVME_SC_NS_WRITE_PROTECTED | NVME_SC_DNR);
		return;
	}
	switch (opc) {
	case NVME_CMD_READ:
		if (transfer_range(cmd))
			nvme_buf_get(cmd, cmd->len, read_start);
		break;
	case NVME_CMD_WRITE:
		if (transfer_range(cmd))
			nvme_fetch_data(cmd, cmd->len, write_fetched);
		break;
	case NVME_CMD_COMPARE:
		if (transfer_range(cmd))
			nvme_buf_get(cmd, 2 * (size_t)cmd->len, compare_start);
		break;
	case NVME_CMD_VERIFY:
		verify(cmd);
		break;
	case NVME_CMD_FLUSH:
		flush_next(cmd, 0);
		break;
	case NVME_CMD_WRITE_ZEROES:
		nvme_io_write_zeroes(cmd);
		break;
	case NVME_CMD_DSM:
		nvme_io_dsm(cmd);
		break;
	}
}
