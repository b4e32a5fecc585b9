/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A port: registers, link, resets, hot-plug.
 *
 * The host recovers from errors by "port initialize" (INIT), "device reset"
 * (DEVICE_RESET, which is COMRESET), or "port reset" (PORT_RESET). Each forgets
 * all commands at once; the port says READY again when no DMA and no file
 * operation of an earlier life is in flight (sil_port_settle()).
 */
#include <string.h>

#include "devices/sil3132.h"

enum { /* SStatus */
	SSTATUS_ACTIVE = 0x100, /* IPM: active */
	SSTATUS_ONLINE = 0x003, /* DET: device there, link up */
	SERROR_PHY = 1 << 16,   /* DIAG.N: PHY ready has changed */
	SERROR_EXCHANGED = 1 << 26,
};

/* ---- Interrupts ------------------------------------------------------------------- */

void sil_port_event(struct sil_port *port, uint32_t irq)
{
	fb_device_offer(port->s->dev, NULL, 0); /* what was offered does not have it */
	port->irq |= irq;
	sil_irq(port->s, (port->irq & port->irq_enable & irq) != 0);
}

bool sil_port_pending(const struct sil_port *port)
{
	return port->irq & port->irq_enable & SIL_IRQ_ALL;
}

/* Something that reading the slot status does not clear. */
static bool needs_attention(const struct sil_port *port)
{
	return port->irq & port->irq_enable & SIL_IRQ_ALL & ~(uint32_t)SIL_IRQ_COMPLETE;
}

uint32_t sil_port_slot_status(const struct sil_port *port)
{
	return port->active | (needs_attention(port) ? SIL_ATTENTION : 0);
}

bool sil_port_read_clears(const struct sil_port *port)
{
	return !(port->control & SIL_CTRL_IRQ_WOC) && !needs_attention(port);
}

uint32_t sil_port_slot_status_read(struct sil_port *port)
{
	uint32_t value = sil_port_slot_status(port);

	if (!(port->control & SIL_CTRL_IRQ_WOC) && port->irq & SIL_IRQ_COMPLETE) {
		port->irq &= ~(uint32_t)SIL_IRQ_COMPLETE;
		sil_irq(port->s, false);
	}
	return value;
}

/* ---- Link --------------------------------------------------------------------------- */

/* SControl.DET: 1 holds the link in COMRESET, 4 switches it off. */
static bool wants_online(const struct sil_port *port)
{
	unsigned det = port->scontrol & 15;

	return port->disk.present && !port->leaving && !(port->control & SIL_CTRL_PORT_RESET) && det != 1 && det != 4;
}

static void link_update(struct sil_port *port)
{
	bool want = wants_online(port);

	if (want == port->online)
		return;
	port->online = want;
	port->serror |= SERROR_PHY | (want ? SERROR_EXCHANGED : 0);
	sil_port_event(port, SIL_IRQ_PHY_READY);
}

static uint32_t sstatus(const struct sil_port *port)
{
	uint32_t limit = port->scontrol >> 4 & 15;

	return port->online ? SSTATUS_ACTIVE | (limit == 1 ? 1u : 2u) << 4 | SSTATUS_ONLINE : 0;
}

/* ---- Resets ---------------------------------------------------------------------------- */

void sil_port_settle(struct sil_port *port)
{
	if (sil_port_busy(port))
		return;
	if (port->leaving) {
		port->leaving = false;
		ata_disk_close(&port->disk);
		sil_check_file(port, port->back);
		port->back = false;
	}
	port->control &= ~(uint32_t)(SIL_CTRL_INIT | SIL_CTRL_DEVICE_RESET);
	if (!port->ready && !port->stopped && !(port->control & SIL_CTRL_PORT_RESET)) {
		port->ready = true;
		sil_port_event(port, SIL_IRQ_PORT_READY);
		sil_start_queued(port);
	}
	sil_idle(port->s);
}

/* Commands go; the port is ready when nothing is in flight. */
static void forget(struct sil_port *port)
{
	sil_drop_all(port);
	port->ready = port->stopped = false;
	port->error = port->context = 0;
	port->irq &= ~(uint32_t)(SIL_IRQ_COMPLETE | SIL_IRQ_ERROR);
	sil_irq(port->s, false);
}

static void comreset(struct sil_port *port)
{
	forget(port);
	if (port->disk.present && !port->leaving)
		ata_disk_reset(&port->disk, true);
	if (port->online) { /* it went and came */
		port->serror |= SERROR_PHY | SERROR_EXCHANGED;
		sil_port_event(port, SIL_IRQ_PHY_READY);
	}
}

void sil_port_reset(struct sil_port *port)
{
	forget(port);
	port->control = SIL_CTRL_PORT_RESET;
	port->irq = port->irq_enable = 0;
	port->upper = port->scontrol = port->serror = 0;
	memset(port->activate, 0, sizeof(port->activate));
	memset(port->misc, 0, sizeof(port->misc));
	memset(port->lram, 0, sizeof(port->lram));
	port->online = false;
	sil_irq(port->s, false);
}

void sil_port_power_on(struct sil_port *port)
{
	sil_port_reset(port);
	if (port->disk.present)
		ata_disk_power_on(&port->disk);
}

void sil_port_init(struct sil_port *port, struct sil *s, unsigned number)
{
	port->s = s;
	port->number = number;
	port->disk.disk.fd = -1;
	port->disk.host = &s->host;
	port->disk.number = number;
	TAILQ_INIT(&port->queue);
	TAILQ_INIT(&port->waiting);
	for (unsigned i = 0; i < SIL_SLOTS; i++) {
		port->slot[i].port = port;
		port->slot[i].number = (uint8_t)i;
	}
}

/* ---- Hot-plug ------------------------------------------------------------------------------ */

void sil_port_plug(struct sil_port *port)
{
	port->plugs++;
	sil_port_event(port, SIL_IRQ_DEVICE_EXCHANGED);
	link_update(port);
}

void sil_port_unplug(struct sil_port *port)
{
	uint32_t active = port->active, queued = port->queued_active;

	port->unplugs++;
	sil_drop_all(port);
	port->active = active; /* they were never answered: the host times them out, or sees the link go */
	port->queued_active = queued;
	for (unsigned i = 0; i < SIL_SLOTS; i++) {
		if (active & 1u << i)
			port->slot[i].state = SIL_SLOT_ENDED;
	}
	port->leaving = true;
	link_update(port);
	sil_port_settle(port);
}

/* ---- Prefetch: request blocks, and the data of small writes, come with the activation -------------- */

static void tell_root(struct sil_port *port)
{
	bool there = !(port->control & (SIL_CTRL_PORT_RESET | SIL_CTRL_ACTIVATE_32));
	const struct fb_device_pointers pointers = {
		.bar = 2,
		.reg = port->number * SIL_PORT_SIZE + SIL_PORT_ACTIVATE,
		.reg_stride = 8,
		.registers = SIL_SLOTS,
		.block_size = SIL_PRB_READ,
		.match_at = 8 + 2, /* of the FIS: the command */
		.match = ATA_WRITE_FPDMA_QUEUED,
		.pointer_at = 32,
		.count_at = 32 + 8,
		.list_stride = 16,
		.end_at = 32 + 15, /* the flags' top byte: TRM, LNK, DRD */
		.data_max = SIL_DATA_AHEAD,
	};

	if (there != port->told)
		fb_device_pointers_set(port->s->dev, port->number, there ? &pointers : NULL);
	port->told = there;
}

/* ---- Registers -------------------------------------------------------------------------------- */

static uint32_t control_status(const struct sil_port *port)
{
	return port->control | (port->context & 31) << 16 | (port->ready ? SIL_CTRL_READY : 0);
}

static void control_set(struct sil_port *port, uint32_t value)
{
	port->control |= value & SIL_CTRL_KEPT;
	if (value & SIL_CTRL_PORT_RESET) {
		sil_port_reset(port);
		return;
	}
	if (value & (SIL_CTRL_DEVICE_RESET | SIL_CTRL_INIT)) {
		port->control |= value & (SIL_CTRL_DEVICE_RESET | SIL_CTRL_INIT);
		if (value & SIL_CTRL_DEVICE_RESET)
			comreset(port);
		else
			forget(port);
		sil_port_settle(port);
	}
}

static void control_clear(struct sil_port *port, uint32_t value)
{
	port->control &= ~(value & (SIL_CTRL_KEPT | SIL_CTRL_PORT_RESET));
	if (value & SIL_CTRL_PORT_RESET) {
		link_update(port);
		sil_port_settle(port);
	}
}

static void scontrol(struct sil_port *port, uint32_t value)
{
	bool resets = (port->scontrol & 15) != 1 && (value & 15) == 1;

	port->scontrol = value & 0xfff;
	if (resets) {
		comreset(port);
		sil_port_settle(port);
	}
	link_update(port);
}

static void activate(struct sil_port *port, uint32_t offset, uint32_t value)
{
	unsigned slot = (offset - SIL_PORT_ACTIVATE) / 8;
	uint64_t *addr = &port->activate[slot];

	if (offset & 4) {
		*addr = (*addr & UINT32_MAX) | (uint64_t)value << 32;
		if (!(port->control & SIL_CTRL_ACTIVATE_32))
			sil_activate(port, slot, *addr, false);
	} else {
		*addr = (*addr & ~(uint64_t)UINT32_MAX) | value;
		if (port->control & SIL_CTRL_ACTIVATE_32)
			sil_activate(port, slot, (uint64_t)port->upper << 32 | value, false);
	}
}

uint32_t sil_port_read(struct sil_port *port, uint32_t offset)
{
	if (offset < SIL_LRAM)
		return ata_get32(port->lram + offset);
	if (offset >= SIL_PORT_MISC && offset < SIL_PORT_MISC_END)
		return ata_get32(port->misc + (offset - SIL_PORT_MISC));
	if (offset >= SIL_PORT_ACTIVATE && offset < SIL_PORT_ACTIVATE + 8 * SIL_SLOTS)
		return (uint32_t)(port->activate[(offset - SIL_PORT_ACTIVATE) / 8] >> (offset & 4 ? 32 : 0));
	switch (offset) {
	case SIL_PORT_CONTROL_SET:
		return control_status(port);
	case SIL_PORT_IRQ_STATUS:
		return (port->irq & port->irq_enable & SIL_IRQ_ALL) | port->irq << 16;
	case SIL_PORT_IRQ_SET:
	case SIL_PORT_IRQ_CLEAR:
		return port->irq_enable;
	case SIL_PORT_UPPER:
		return port->upper;
	case SIL_PORT_ERROR:
		return port->error;
	case SIL_PORT_SLOT_STATUS:
		return sil_port_slot_status_read(port);
	case SIL_PORT_CONTEXT:
		return port->context;
	case SIL_PORT_SCONTROL:
		return port->scontrol;
	case SIL_PORT_SSTATUS:
		return sstatus(port);
	case SIL_PORT_SERROR:
		return port->serror;
	case SIL_PORT_SACTIVE:
		return port->queued_active;
	default:
		return 0;
	}
}

/* Bytes that are only kept. */
static bool keep(uint8_t *at, uint32_t value, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		at[i] = (uint8_t)(value >> 8 * i);
	return true;
}

void sil_port_write(struct sil_port *port, uint32_t offset, uint32_t value, unsigned size)
{
	if (offset < SIL_LRAM) {
		keep(port->lram + offset, value, size);
		return;
	}
	if (offset >= SIL_PORT_MISC && offset < SIL_PORT_MISC_END) {
		keep(port->misc + (offset - SIL_PORT_MISC), value, size);
		return;
	}
	if (size != 4)
		return;
	if (offset >= SIL_PORT_ACTIVATE && offset < SIL_PORT_ACTIVATE + 8 * SIL_SLOTS) {
		activate(port, offset, value);
		return;
	}
	switch (offset) {
	case SIL_PORT_CONTROL_SET:
		control_set(port, value);
		tell_root(port);
		break;
	case SIL_PORT_CONTROL_CLEAR:
		control_clear(port, value);
		tell_root(port);
		break;
	case SIL_PORT_IRQ_STATUS:
		port->irq &= ~((value | value >> 16) & SIL_IRQ_ALL);
		sil_irq(port->s, false);
		break;
	case SIL_PORT_IRQ_SET:
		port->irq_enable |= value & (SIL_IRQ_ALL | 0xc0000000u); /* steering to a pin: there is one */
		sil_irq(port->s, sil_port_pending(port));
		break;
	case SIL_PORT_IRQ_CLEAR:
		port->irq_enable &= ~value;
		sil_irq(port->s, false);
		break;
	case SIL_PORT_UPPER:
		port->upper = value;
		break;
	case SIL_PORT_EXECUTE:
		if ((value & 31) < SIL_SLOTS)
			sil_activate(port, value & 31, 0, true);
		break;
	case SIL_PORT_SCONTROL:
		scontrol(port, value);
		break;
	case SIL_PORT_SERROR:
		port->serror &= ~value;
		break;
	}
}
