/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Silicon Image SiI3132, shared by its parts. Start reading at sil3132.c.
 *
 *	sil3132.c        global registers, interrupts, files, descriptor
 *	sil3132_port.c   a port: its registers, link, resets, hot-plug
 *	sil3132_cmd.c    the life of one command: request block, scatter list, answer
 */
#ifndef FARBUS_DEVICES_SIL3132_H
#define FARBUS_DEVICES_SIL3132_H

#include "devices/ata_disk.h"

enum {
	SIL_PORTS = 2,
	SIL_SLOTS = 31,
	SIL_SLOT_SIZE = 128,  /* bytes of local RAM a slot has */
	SIL_LRAM = 0x1000,    /* and of all: slots, then the port multiplier's status */
	SIL_PRB = 64,         /* port request block with two scatter/gather entries */
	SIL_PRB_READ = 256,   /* fetched at once: entries follow the block in memory */
	SIL_DATA_AHEAD = 32 << 10, /* of a write, comes with the activation: as much as one send carries */
	SIL_SGT = 64,         /* table of four entries */
	SIL_SGES_MAX = 8192,  /* entries a command may have, links included */
	SIL_FETCH = 4096,
};

/* ---- Registers ------------------------------------------------------------------ */

enum { /* BAR 0 */
	SIL_HOST_SLOT_STATUS = 0x00, /* one for each port */
	SIL_HOST_CONTROL = 0x40,
	SIL_HOST_IRQ_STATUS = 0x44,
	SIL_HOST_PHY = 0x48,
	SIL_HOST_BIST = 0x50,
	SIL_HOST_FLASH = 0x70,
	SIL_HOST_SIZE = 0x80,
};

enum {
	SIL_HOST_IRQ_ENABLE = 0x00000003, /* a bit for each port */
	SIL_HOST_RESET = 0x80000000u,
};

enum { /* BAR 2, for each port */
	SIL_PORT_SIZE = 0x2000,
	SIL_PORT_CONTROL_SET = 0x1000, /* read: status */
	SIL_PORT_CONTROL_CLEAR = 0x1004,
	SIL_PORT_IRQ_STATUS = 0x1008, /* 11:0 enabled ones, 27:16 all */
	SIL_PORT_IRQ_SET = 0x1010,
	SIL_PORT_IRQ_CLEAR = 0x1014,
	SIL_PORT_UPPER = 0x101c,
	SIL_PORT_EXECUTE = 0x1020,
	SIL_PORT_ERROR = 0x1024,
	SIL_PORT_MISC = 0x1028, /* FIS configuration, FIFO threshold, error counters, PHY: kept, without effect */
	SIL_PORT_MISC_END = 0x1054,
	SIL_PORT_SLOT_STATUS = 0x1800,
	SIL_PORT_ACTIVATE = 0x1c00, /* 64 bits a slot */
	SIL_PORT_CONTEXT = 0x1e04,
	SIL_PORT_SCONTROL = 0x1f00,
	SIL_PORT_SSTATUS = 0x1f04,
	SIL_PORT_SERROR = 0x1f08,
	SIL_PORT_SACTIVE = 0x1f0c,
};

enum { /* port control and status */
	SIL_CTRL_PORT_RESET = 1 << 0,
	SIL_CTRL_DEVICE_RESET = 1 << 1,
	SIL_CTRL_INIT = 1 << 2,
	SIL_CTRL_IRQ_WOC = 1 << 3, /* "no clear on read": completion is cleared by writing */
	SIL_CTRL_ACTIVATE_32 = 1 << 10,
	SIL_CTRL_KEPT = 0xfff8,    /* bits that are only remembered, and the two above */
	SIL_CTRL_READY = 0x80000000u,
};

enum { /* port interrupts */
	SIL_IRQ_COMPLETE = 1 << 0,
	SIL_IRQ_ERROR = 1 << 1,
	SIL_IRQ_PORT_READY = 1 << 2,
	SIL_IRQ_PHY_READY = 1 << 4,
	SIL_IRQ_DEVICE_EXCHANGED = 1 << 7,
	SIL_IRQ_ALL = 0xfff,
	SIL_ATTENTION = 0x80000000u, /* slot status: something but COMPLETE is pending */
};

enum sil_error { /* port error: why it stopped */
	SIL_ERR_DEVICE = 1,        /* ERR in a register FIS */
	SIL_ERR_QUEUE = 2,         /* ERR in a set device bits FIS */
	SIL_ERR_SEND = 4,          /* the command did not reach a drive */
	SIL_ERR_PROTOCOL = 5,
	SIL_ERR_DIRECTION = 6,
	SIL_ERR_UNDERRUN = 7,      /* entries ran out while writing to the drive */
	SIL_ERR_OVERRUN = 8,       /* … reading */
	SIL_ERR_SGT_ALIGN = 16,
	SIL_ERR_SGT_TARGET = 17,   /* completer abort */
	SIL_ERR_SGT_MASTER = 18,   /* unsupported request, or no answer */
	SIL_ERR_PRB_ALIGN = 24,
	SIL_ERR_PRB_TARGET = 25,
	SIL_ERR_PRB_MASTER = 26,
	SIL_ERR_DATA_UNDEFINED = 32,
	SIL_ERR_DATA_TARGET = 33,
	SIL_ERR_DATA_MASTER = 34,
};

enum { /* PRB: control, and protocol where control has OVERRIDE */
	SIL_PRB_OVERRIDE = 1 << 0,
	SIL_PRB_NIEN = 1 << 6, /* no completion interrupt */
	SIL_PRB_SRST = 1 << 7,
	SIL_PROT_NCQ = 1 << 2,
	SIL_PROT_READ = 1 << 3,
	SIL_PROT_WRITE = 1 << 4,
};

#define SIL_SGE_TRM 0x80000000u /* the last */
#define SIL_SGE_LNK 0x40000000u /* where the next table is */
#define SIL_SGE_DRD 0x20000000u /* discard */

/* ---- A command -------------------------------------------------------------------- */

enum sil_slot_state {
	SIL_SLOT_IDLE,
	SIL_SLOT_QUEUED,   /* activated, not yet fetched */
	SIL_SLOT_FETCHING, /* its request block */
	SIL_SLOT_READY,    /* waits for commands that it must not be mixed with */
	SIL_SLOT_MAPPING,  /* its scatter list is fetched */
	SIL_SLOT_RUNNING,  /* the disk has it */
	SIL_SLOT_ENDED,    /* still active to the host: the port stopped at an error */
};

struct sil_port;

struct sil_slot {
	struct sil_port *port;
	uint8_t number;
	enum sil_slot_state state;
	bool from_lram, nien;
	bool fetching; /* a DMA read owns fetch[]; counted in port->fetching; may outlive the command */
	uint64_t addr;
	struct ata_cmd cmd;
	/* Where its data is in guest memory. */
	struct fb_dma_seg *segs;
	unsigned n_segs, seg_room, n_sges;
	uint32_t mapped;  /* bytes */
	uint64_t sgt;     /* address of the next table */
	uint32_t fetch_len;
	TAILQ_ENTRY(sil_slot) link; /* port->queue or port->ready */
	uint8_t fetch[SIL_FETCH];
};
TAILQ_HEAD(sil_slot_list, sil_slot);

/* ---- A port ------------------------------------------------------------------------- */

struct sil;

struct sil_port {
	struct sil *s;
	unsigned number;
	struct ata_disk disk;
	bool leaving; /* the drive was torn out; its file is closed when nothing is in flight */
	bool back;    /* and that the file came back meanwhile */

	uint32_t control;    /* SIL_CTRL_* without READY */
	bool ready;
	uint32_t irq, irq_enable;
	uint32_t upper, error, context;
	uint32_t scontrol, serror;
	uint32_t active, queued_active; /* bit a slot; and of those, the NCQ commands */
	bool online;         /* the link is up */
	bool stopped;        /* at an error: until port initialize or a reset */
	bool told;           /* the root knows the activation registers */
	uint64_t activate[SIL_SLOTS];
	uint8_t misc[SIL_PORT_MISC_END - SIL_PORT_MISC];
	uint8_t lram[SIL_LRAM];

	unsigned fetching;   /* DMA reads of request blocks and tables */
	unsigned running;    /* slots MAPPING or RUNNING */
	bool exclusive;      /* … and that is one not queued */
	struct sil_slot_list queue, waiting;
	struct sil_slot slot[SIL_SLOTS];

	uint64_t commands, completions, errors, bad_activations, dropped, plugs, unplugs;
};

void sil_port_init(struct sil_port *port, struct sil *s, unsigned number);
uint32_t sil_port_read(struct sil_port *port, uint32_t offset);
/* size 1 or 2: local RAM and the kept registers only */
void sil_port_write(struct sil_port *port, uint32_t offset, uint32_t value, unsigned size);
/* As after power-on: held in reset until the host clears it. */
void sil_port_power_on(struct sil_port *port);
void sil_port_reset(struct sil_port *port); /* the port, not its drive */
/* Does something wait for what has just ended? */
void sil_port_settle(struct sil_port *port);
void sil_port_event(struct sil_port *port, uint32_t irq);
bool sil_port_pending(const struct sil_port *port); /* an enabled interrupt */
uint32_t sil_port_slot_status(const struct sil_port *port);
uint32_t sil_port_slot_status_read(struct sil_port *port); /* and what reading it does */
bool sil_port_read_clears(const struct sil_port *port);    /* that leaves nothing pending */
void sil_port_plug(struct sil_port *port);   /* its drive is present */
void sil_port_unplug(struct sil_port *port);
static inline bool sil_port_busy(const struct sil_port *port)
{
	return port->fetching || port->disk.in_flight;
}

void sil_activate(struct sil_port *port, unsigned slot, uint64_t addr, bool from_lram);
void sil_start_queued(struct sil_port *port);
/* Forgets all commands. */
void sil_drop_all(struct sil_port *port);
int sil_to_host(struct ata_cmd *cmd, uint64_t at, const uint8_t *buf, uint32_t len, fb_dma_done *done, void *arg);
int sil_from_host(struct ata_cmd *cmd, uint64_t at, uint8_t *buf, uint32_t len, fb_dma_done *done, void *arg);

/* ---- The controller --------------------------------------------------------------------- */

struct sil_options {
	const char *port[SIL_PORTS], *serial[SIL_PORTS];
	bool readonly[SIL_PORTS];
	const char *model, *firmware;
	uint64_t create, buffers;
	uint32_t direct, aio;
	bool hotplug, discard;
};

struct sil {
	struct fb_device *dev;
	struct sil_options opt;
	uint32_t control; /* SIL_HOST_CONTROL */
	uint32_t kept[SIL_HOST_SIZE / 4];
	uint32_t global_offset, port_offset; /* of indirect access */
	bool level; /* that something is pending has been told: INTx is asserted, or MSI was sent */
	bool raise; /* it is to be told, at the end of the round */
	uint64_t irqs;

	bool closing, scheduled, running, again;
	struct ata_host host;
	struct sil_port port[SIL_PORTS];
	struct fb_dma_seg *cut; /* one transfer's part of a scatter list */
	unsigned cut_room;

	int watch; /* inotify; -1: none */
	int watched[SIL_PORTS];
	struct fb_device_batch batch;
	struct fb_device_poller poller;
	struct fb_device_fd aio_watch, files_watch;
	struct fb_device_timer retry_timer;
};

void sil_kick(struct sil *s);
void sil_irq(struct sil *s, bool event); /* what is pending has changed; event: something new, so MSI is sent again */
void sil_idle(struct sil *s);            /* stopping: is that all? */
void sil_check_file(struct sil_port *port, bool whole); /* is the drive's file there? whole: it was just written */

extern const struct fb_model sil3132_model;

#endif
