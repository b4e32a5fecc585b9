/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of one command.
 *
 * Theory of operation
 *
 *	QUEUED -> FETCHING -> READY -> MAPPING -> RUNNING -> IDLE
 *
 * The host writes the address of a port request block (PRB) to a slot's
 * activation register, or the block itself into local RAM. The block has a host-
 * to-device FIS and two scatter/gather entries (SGE); tables of four more follow
 * it in memory, or where an entry with LNK says. So one read of 256 bytes brings
 * what most commands need, within the page in which the block begins.
 *
 * The scatter list is read before the disk begins, as far as the command has
 * bytes: an entry says nothing that the disk needs, but all of it has to be there.
 * A command that is not queued (NCQ) runs alone.
 *
 * An error stops the port: other commands are dropped (the drive aborts its
 * queue), all stay active in the slot status, and nothing more is begun until the
 * host initializes the port.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/sil3132.h"

static uint8_t *lram_of(struct sil_slot *slot)
{
	return slot->port->lram + slot->number * SIL_SLOT_SIZE;
}

static void start_ready(struct sil_port *port);

/* ---- Ends ------------------------------------------------------------------------- */

/* It does not count as running any more. */
static void leave(struct sil_slot *slot, enum sil_slot_state state)
{
	struct sil_port *port = slot->port;

	switch (slot->state) {
	case SIL_SLOT_QUEUED:
		TAILQ_REMOVE(&port->queue, slot, link);
		break;
	case SIL_SLOT_READY:
		TAILQ_REMOVE(&port->waiting, slot, link);
		break;
	case SIL_SLOT_RUNNING:
		ata_drop(&slot->cmd);
		/* fall through */
	case SIL_SLOT_MAPPING:
		port->running--;
		port->exclusive = false;
		break;
	default:
		break;
	}
	slot->state = state;
	if (slot->seg_room > 256) { /* a large scatter list is not kept */
		free(slot->segs);
		slot->segs = NULL;
		slot->seg_room = 0;
	}
}

static void answer_fis(struct sil_slot *slot)
{
	ata_tf_to_fis(lram_of(slot) + 8, &slot->cmd.tf);
}

static void complete(struct sil_slot *slot)
{
	struct sil_port *port = slot->port;

	answer_fis(slot);
	leave(slot, SIL_SLOT_IDLE);
	fb_device_offer(port->s->dev, NULL, 0); /* it is active in what was offered */
	port->active &= ~(1u << slot->number);
	port->queued_active &= ~(1u << slot->number);
	port->completions++;
	if (!slot->nien)
		sil_port_event(port, SIL_IRQ_COMPLETE);
	start_ready(port);
	sil_idle(port->s);
}

/* The port stops at this slot. */
static void sil_stop(struct sil_slot *slot, enum sil_error error)
{
	struct sil_port *port = slot->port;

	leave(slot, SIL_SLOT_ENDED);
	for (unsigned i = 0; i < SIL_SLOTS; i++) {
		struct sil_slot *other = &port->slot[i];

		if (other->state != SIL_SLOT_IDLE && other->state != SIL_SLOT_ENDED) {
			port->dropped++;
			leave(other, SIL_SLOT_ENDED);
		}
	}
	port->stopped = true;
	port->ready = false;
	port->error = error;
	port->context = slot->number;
	port->errors++;
	sil_port_event(port, SIL_IRQ_ERROR);
	sil_idle(port->s);
}

void sil_drop_all(struct sil_port *port)
{
	for (unsigned i = 0; i < SIL_SLOTS; i++) {
		struct sil_slot *slot = &port->slot[i];

		if (slot->state == SIL_SLOT_IDLE)
			continue;
		if (slot->state != SIL_SLOT_ENDED)
			port->dropped++;
		leave(slot, SIL_SLOT_IDLE);
	}
	port->active = port->queued_active = 0;
}

static void ended(struct ata_cmd *cmd)
{
	struct sil_slot *slot = (struct sil_slot *)(void *)((char *)cmd - offsetof(struct sil_slot, cmd));

	switch (cmd->failure) {
	case ATA_OK:
		complete(slot);
		return;
	case ATA_DMA_FAILED:
		answer_fis(slot);
		sil_stop(slot, cmd->err == -EIO ? SIL_ERR_DATA_TARGET : SIL_ERR_DATA_MASTER);
		return;
	default:
		answer_fis(slot);
		if (cmd->ncq)
			ata_queue_failed(cmd);
		sil_stop(slot, cmd->ncq ? SIL_ERR_QUEUE : SIL_ERR_DEVICE);
	}
}

/* ---- The scatter list ---------------------------------------------------------------- */

enum walk { WALK_DONE, WALK_ON, WALK_LINK, WALK_SHORT, WALK_UNDEFINED, WALK_NO_MEMORY };

static bool add(struct sil_slot *slot, uint64_t addr, uint32_t len)
{
	struct fb_dma_seg *last = slot->n_segs ? &slot->segs[slot->n_segs - 1] : NULL;

	if (len == 0)
		return true;
	slot->mapped += len;
	if (last && last->addr + last->len == addr) { /* at most the command's 32 MiB */
		last->len += len;
		return true;
	}
	if (slot->n_segs == slot->seg_room) {
		unsigned room = slot->seg_room ? 2 * slot->seg_room : 16;
		struct fb_dma_seg *more = realloc(slot->segs, room * sizeof(*more));

		if (!more)
			return false;
		slot->segs = more;
		slot->seg_room = room;
	}
	slot->segs[slot->n_segs++] = (struct fb_dma_seg){addr, len};
	return true;
}

static enum walk walk(struct sil_slot *slot, const uint8_t *p, unsigned n)
{
	for (; n > 0 && slot->mapped < slot->cmd.bytes; n--, p += 16) {
		uint64_t addr = ata_get64(p);
		uint32_t len = ata_get32(p + 8), flags = ata_get32(p + 12), left = slot->cmd.bytes - slot->mapped;

		if (++slot->n_sges > SIL_SGES_MAX || flags & SIL_SGE_DRD)
			return WALK_UNDEFINED;
		if (flags & SIL_SGE_LNK) {
			slot->sgt = addr;
			return WALK_LINK;
		}
		if (!add(slot, addr, len < left ? len : left))
			return WALK_NO_MEMORY;
		if (flags & SIL_SGE_TRM && slot->mapped < slot->cmd.bytes)
			return WALK_SHORT;
	}
	return slot->mapped < slot->cmd.bytes ? WALK_ON : WALK_DONE;
}

static void map_on(struct sil_slot *slot, enum walk walked);

/* A DMA read of the slot has ended: true if the command is still there. */
static bool arrived(struct sil_slot *slot, enum sil_slot_state state)
{
	struct sil_port *port = slot->port;
	bool alive = slot->state == state;

	slot->fetching = false;
	if (--port->fetching == 0)
		sil_port_settle(port);
	return alive;
}

static int fetch(struct sil_slot *slot, uint64_t addr, uint32_t len, fb_dma_done *done)
{
	int err = fb_dma_read(slot->port->s->dev, addr, slot->fetch, len, done, slot);

	if (err)
		return err;
	slot->fetch_len = len;
	slot->fetching = true;
	slot->port->fetching++;
	return 0;
}

static void table_arrived(void *arg, int status)
{
	struct sil_slot *slot = arg;

	if (!arrived(slot, SIL_SLOT_MAPPING))
		return;
	if (status) {
		sil_stop(slot, status == -EIO ? SIL_ERR_SGT_TARGET : SIL_ERR_SGT_MASTER);
		return;
	}
	slot->sgt += slot->fetch_len; /* unless an entry says otherwise, the next table follows */
	map_on(slot, walk(slot, slot->fetch, slot->fetch_len / 16));
}

static void read_table(struct sil_slot *slot)
{
	/* As much as may be needed if entries are pages, within the page in which the table begins. */
	uint64_t want = ((slot->cmd.bytes - slot->mapped) / 4096 + 2) * 16;
	uint32_t to_end = SIL_FETCH - (uint32_t)(slot->sgt % SIL_FETCH);

	if (slot->sgt & 7) {
		sil_stop(slot, SIL_ERR_SGT_ALIGN);
		return;
	}
	want = (want + SIL_SGT - 1) / SIL_SGT * SIL_SGT;
	if (want > to_end)
		want = to_end / SIL_SGT * SIL_SGT;
	if (want < SIL_SGT)
		want = SIL_SGT;
	if (fetch(slot, slot->sgt, (uint32_t)want, table_arrived))
		sil_stop(slot, SIL_ERR_SGT_MASTER);
}

static void map_on(struct sil_slot *slot, enum walk walked)
{
	switch (walked) {
	case WALK_DONE:
		slot->state = SIL_SLOT_RUNNING;
		ata_run(&slot->cmd);
		break;
	case WALK_ON:
	case WALK_LINK:
		read_table(slot);
		break;
	case WALK_SHORT:
		sil_stop(slot, slot->cmd.direction == ATA_FROM_HOST ? SIL_ERR_UNDERRUN : SIL_ERR_OVERRUN);
		break;
	case WALK_UNDEFINED:
	case WALK_NO_MEMORY:
		sil_stop(slot, SIL_ERR_DATA_UNDEFINED);
		break;
	}
}

static void map(struct sil_slot *slot)
{
	unsigned behind = slot->from_lram ? 0 : (slot->fetch_len - SIL_PRB) / SIL_SGT * SIL_SGT;
	enum walk walked;

	slot->n_segs = slot->n_sges = 0;
	slot->mapped = 0;
	slot->sgt = slot->from_lram ? 0 : slot->addr + SIL_PRB + behind;
	walked = walk(slot, lram_of(slot) + 32, 2);
	if (walked == WALK_ON && slot->from_lram) /* nothing follows a block in local RAM */
		walked = WALK_SHORT;
	if (walked == WALK_ON && behind)
		walked = walk(slot, slot->fetch + SIL_PRB, behind / 16);
	map_on(slot, walked);
}

/* ---- The request ------------------------------------------------------------------------ */

static bool is_queued(uint8_t command)
{
	return command == ATA_READ_FPDMA_QUEUED || command == ATA_WRITE_FPDMA_QUEUED;
}

/* Does the block's idea of the data agree with the command's? */
static bool agrees(struct sil_slot *slot)
{
	const uint8_t *prb = lram_of(slot);
	const struct ata_cmd *cmd = &slot->cmd;
	uint16_t protocol = ata_get16(prb + 2);

	if (!(ata_get16(prb) & SIL_PRB_OVERRIDE))
		return true;
	if (cmd->ncq != !!(protocol & SIL_PROT_NCQ)) {
		sil_stop(slot, SIL_ERR_PROTOCOL);
		return false;
	}
	if ((cmd->direction == ATA_TO_HOST && !(protocol & SIL_PROT_READ)) ||
	    (cmd->direction == ATA_FROM_HOST && !(protocol & SIL_PROT_WRITE))) {
		sil_stop(slot, SIL_ERR_DIRECTION);
		return false;
	}
	return true;
}

/* Nothing is in its way any more. */
static void start(struct sil_slot *slot)
{
	struct sil_port *port = slot->port;
	const uint8_t *prb = lram_of(slot), *fis = prb + 8;
	struct ata_cmd *cmd = &slot->cmd;

	slot->state = SIL_SLOT_MAPPING;
	port->running++;
	port->commands++;
	slot->nien = ata_get16(prb) & SIL_PRB_NIEN;
	cmd->disk = &port->disk;
	cmd->done = ended;
	cmd->failure = ATA_OK;
	if (!port->online) {
		sil_stop(slot, SIL_ERR_SEND);
		return;
	}
	if (ata_get16(prb) & SIL_PRB_SRST) {
		ata_disk_reset(&port->disk, false);
		ata_signature(&cmd->tf);
		complete(slot);
		return;
	}
	if (fis[0] != ATA_FIS_H2D) {
		sil_stop(slot, SIL_ERR_SEND);
		return;
	}
	cmd->tf = ata_tf_from_fis(fis);
	if (!(fis[1] & ATA_FIS_H2D_COMMAND)) { /* the control register: nothing in it matters here */
		complete(slot);
		return;
	}
	ata_decode(cmd);
	port->exclusive = !cmd->ncq;
	if (cmd->ncq)
		port->queued_active |= 1u << slot->number;
	if (cmd->answered)
		ended(cmd);
	else if (!agrees(slot))
		return;
	else if (cmd->bytes)
		map(slot);
	else
		map_on(slot, WALK_DONE);
}

static bool may_start(const struct sil_slot *slot)
{
	const struct sil_port *port = slot->port;
	uint8_t command = port->lram[slot->number * SIL_SLOT_SIZE + 8 + 2];

	return !port->stopped && !port->s->closing && !port->exclusive && (is_queued(command) || port->running == 0);
}

static void start_ready(struct sil_port *port)
{
	struct sil_slot *slot;

	while ((slot = TAILQ_FIRST(&port->waiting)) && may_start(slot)) {
		TAILQ_REMOVE(&port->waiting, slot, link);
		start(slot);
	}
}

static void request_ready(struct sil_slot *slot)
{
	slot->state = SIL_SLOT_READY;
	TAILQ_INSERT_TAIL(&slot->port->waiting, slot, link);
	start_ready(slot->port);
}

static void request_arrived(void *arg, int status)
{
	struct sil_slot *slot = arg;

	if (!arrived(slot, SIL_SLOT_FETCHING))
		return;
	if (status) {
		sil_stop(slot, status == -EIO ? SIL_ERR_PRB_TARGET : SIL_ERR_PRB_MASTER);
		return;
	}
	memcpy(lram_of(slot), slot->fetch, SIL_PRB);
	request_ready(slot);
}

static void fetch_request(struct sil_slot *slot)
{
	uint32_t to_end = SIL_FETCH - (uint32_t)(slot->addr % SIL_FETCH);
	uint32_t len = to_end < SIL_PRB_READ ? to_end : SIL_PRB_READ;

	if (len < SIL_PRB)
		len = SIL_PRB;
	slot->state = SIL_SLOT_FETCHING;
	if (slot->addr & 7)
		sil_stop(slot, SIL_ERR_PRB_ALIGN);
	else if (fetch(slot, slot->addr, len, request_arrived))
		sil_stop(slot, SIL_ERR_PRB_MASTER);
}

void sil_start_queued(struct sil_port *port)
{
	struct sil_slot *slot;

	while (port->ready && !port->s->closing && (slot = TAILQ_FIRST(&port->queue))) {
		TAILQ_REMOVE(&port->queue, slot, link);
		if (slot->from_lram)
			request_ready(slot);
		else
			fetch_request(slot);
	}
}

void sil_activate(struct sil_port *port, unsigned number, uint64_t addr, bool from_lram)
{
	struct sil_slot *slot = &port->slot[number];

	if (slot->state != SIL_SLOT_IDLE || slot->fetching || port->control & SIL_CTRL_PORT_RESET) {
		port->bad_activations++;
		return;
	}
	slot->addr = addr;
	slot->from_lram = from_lram;
	slot->state = SIL_SLOT_QUEUED;
	port->active |= 1u << number;
	TAILQ_INSERT_TAIL(&port->queue, slot, link);
	sil_kick(port->s); /* at the end of the round, when what the root sent along has come, too */
}

/* ---- Data ----------------------------------------------------------------------------------- */

/* The part at..at+len of a slot's scatter list, in s->cut: how many, or -ENOMEM. */
static int cut(struct sil_slot *slot, uint64_t at, uint32_t len)
{
	struct sil *s = slot->port->s;
	unsigned n = 0;

	if (s->cut_room < slot->n_segs) {
		struct fb_dma_seg *more = realloc(s->cut, slot->n_segs * sizeof(*more));

		if (!more)
			return -ENOMEM;
		s->cut = more;
		s->cut_room = slot->n_segs;
	}
	for (unsigned i = 0; i < slot->n_segs && len > 0; i++) {
		const struct fb_dma_seg *seg = &slot->segs[i];
		uint32_t take;

		if (at >= seg->len) {
			at -= seg->len;
			continue;
		}
		take = seg->len - (uint32_t)at;
		if (take > len)
			take = len;
		s->cut[n++] = (struct fb_dma_seg){seg->addr + at, take};
		len -= take;
		at = 0;
	}
	return (int)n;
}

int sil_to_host(struct ata_cmd *cmd, uint64_t at, const uint8_t *buf, uint32_t len, fb_dma_done *done, void *arg)
{
	struct sil_slot *slot = (struct sil_slot *)(void *)((char *)cmd - offsetof(struct sil_slot, cmd));
	struct sil *s = slot->port->s;
	int n = cut(slot, at, len);

	return n < 0 ? n : fb_dma_writev(s->dev, s->cut, (unsigned)n, buf, done, arg);
}

int sil_from_host(struct ata_cmd *cmd, uint64_t at, uint8_t *buf, uint32_t len, fb_dma_done *done, void *arg)
{
	struct sil_slot *slot = (struct sil_slot *)(void *)((char *)cmd - offsetof(struct sil_slot, cmd));
	struct sil *s = slot->port->s;
	int n = cut(slot, at, len);

	return n < 0 ? n : fb_dma_readv(s->dev, s->cut, (unsigned)n, buf, done, arg);
}
