/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 82576 network controller, shared by its parts. Start reading at igb.c.
 *
 *	igb.c          registers, reset, options, descriptor
 *	igb_rx.c       receive: from the backend into guest memory     igb_filter.c   what is accepted, and for which queue
 *	igb_tx.c       transmit: from guest memory to the backend
 *	igb_ring.c     descriptor rings' registers; buffers of packets
 *	igb_irq.c      causes, masks, vectors, moderation
 *	igb_phy.c      PHY and link                                    igb_nvm.c      EEPROM
 *	igb_stats.c    statistics registers                            igb_time.c     IEEE 1588 clock and time stamps
 *	igb_backend.c  tap device, packet socket, inherited descriptor
 *	igb_offload.c  checksums, RSS, segmentation; pure functions
 */
#ifndef FARBUS_DEVICES_IGB_H
#define FARBUS_DEVICES_IGB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "devices/igb_offload.h"
#include "devices/igb_regs.h"
#include "farbus/device.h"

enum {
	IGB_BAR_SIZE = 0x20000,
	IGB_QUEUES = 16,
	IGB_VECTORS = 25,
	IGB_RAR = 24,
	IGB_DESC = 16,          /* bytes of a descriptor */
	IGB_RX_CACHE = 128,     /* receive descriptors read ahead, of a queue; a power of 2 */
	IGB_TX_FETCH = 64,      /* transmit descriptors in one DMA read */
	IGB_TX_PACKETS = 128,   /* packets of a queue under way; a power of 2 */
	IGB_TX_SEGS = 128,      /* descriptors of one packet */
	IGB_RX_SEGS = 64,       /* the same, of a received frame */
	IGB_FRAME_MAX = 16384,  /* on the wire, in either direction, with CRC */
	IGB_WRITEBACKS = 64,    /* receive descriptors in one DMA write */
	IGB_ARENA = 1 << 20,
	IGB_CHUNKS = 2048,
};

struct igb;

/* ---- Buffers (igb_ring.c) --------------------------------------------------------------- */

/*
 * Packets' bytes: a ring of memory from which chunks are taken in order. A chunk's memory is free again when it and
 * all before it have been put back.
 */
struct igb_chunk {
	struct igb_arena *arena;
	uint32_t at, len, skipped; /* skipped: at the end of the memory, before this one */
	uint32_t refs;
};

struct igb_arena {
	struct igb *n;
	uint8_t *mem;
	uint32_t head, tail, used;          /* bytes */
	uint32_t first, count;              /* chunks in use */
	struct igb_chunk chunk[IGB_CHUNKS];
	uint64_t full; /* times that there was nothing left */
};

int igb_arena_init(struct igb_arena *a, struct igb *n);
void igb_arena_fini(struct igb_arena *a);
struct igb_chunk *igb_chunk_get(struct igb_arena *a, uint32_t len); /* NULL: none free now; one reference */
void igb_chunk_shrink(struct igb_chunk *c, uint32_t len);           /* of the one taken last */
void igb_chunk_put(struct igb_chunk *c);
void igb_chunk_unget(struct igb_chunk *c); /* of the one taken last, not used: nobody who waits for memory is woken */
static inline uint8_t *igb_chunk_data(const struct igb_chunk *c)
{
	return c->arena->mem + c->at;
}

/* ---- Rings ----------------------------------------------------------------------------------- */

struct igb_ring {
	struct igb *n;
	uint8_t index;
	uint64_t base;
	uint32_t len;             /* bytes, as written */
	uint32_t head, tail;      /* registers; head: next to be given back */
	uint32_t fetch;           /* next to be read from memory */
	uint32_t ctl, dca;
	uint32_t gen;             /* changes when what is under way is no longer wanted */
	bool fetching;
	unsigned fetch_n;
	uint32_t fetch_gen;
	bool bad;                 /* DMA failed: stands still until the queue is set up anew */
};

static inline uint32_t igb_ring_count(const struct igb_ring *r)
{
	return r->len / IGB_DESC;
}
static inline uint64_t igb_ring_addr(const struct igb_ring *r, uint32_t index)
{
	return r->base + (uint64_t)index * IGB_DESC;
}
static inline uint32_t igb_ring_next(const struct igb_ring *r, uint32_t index)
{
	return index + 1 >= igb_ring_count(r) ? 0 : index + 1;
}

struct igb_rx_queue {
	struct igb_ring r;
	uint32_t srrctl, dvmolr;
	uint64_t rqdpc;
	/* Descriptors read ahead: addresses of packet and header buffer. */
	uint8_t cache[IGB_RX_CACHE * IGB_DESC];
	uint32_t cache_head, cache_count;
	/* Written back together: descriptors wb_first … in a row. */
	uint8_t wb[IGB_WRITEBACKS * IGB_DESC];
	uint32_t wb_first, wb_count;
	bool irq; /* something was written back in this round */
	bool starved; /* a frame waits for descriptors, and has been counted */
};

struct igb_tx_context {
	uint32_t vlan_macip_lens, type_tucmd, mss_l4len_idx;
};

enum igb_tx_state { IGB_TX_FREE, IGB_TX_READING, IGB_TX_READY, IGB_TX_DROP };

struct igb_tx_packet {
	struct igb_tx_queue *q;
	enum igb_tx_state state;
	struct igb_chunk *chunk;
	uint32_t gen;
	uint32_t len;
	uint32_t first, n_descs;           /* ring indices */
	uint64_t rs[IGB_TX_SEGS / 64 + 1]; /* bit i: descriptor first + i wants to be reported */
	uint32_t cmd, olinfo;              /* of the first data descriptor */
	uint16_t vlan;
	bool legacy, tstamp, insert_vlan;
	uint8_t cso, css;                  /* legacy checksum */
	struct igb_tx_context ctx;
	bool prepared;                     /* headers are done; igb_tx.c */
	struct igb_offload o;
	uint32_t at;                       /* of the frame in the chunk */
	unsigned next_segment;
};

struct igb_tx_queue {
	struct igb_ring r;
	uint32_t wbal, wbah;
	struct igb_tx_context ctx[2];
	uint8_t descs[IGB_TX_FETCH * IGB_DESC];
	uint32_t descs_head, descs_count; /* read and not yet taken */
	/* The packet that descriptors are being gathered for. */
	struct igb_tx_packet cur;
	struct fb_dma_seg segs[IGB_TX_SEGS];
	unsigned n_segs;
	bool open, closed, cur_bad; /* closed: whole, and waits for a place among the packets or for memory */
	/* Packets under way, in order. */
	struct igb_tx_packet packet[IGB_TX_PACKETS];
	uint32_t first, count;
	bool irq;
};

/* ---- Backend (igb_backend.c) -------------------------------------------------------------------- */

struct igb_backend {
	int fd;
	int link_fd, ioctl_fd;  /* netlink, and for questions; -1: the link is always up */
	int ifindex;            /* 0: no interface */
	bool packet;            /* AF_PACKET */
	bool vnet, uso;         /* carries offloads; UDP segmentation too */
	bool carrier, eof;
	bool link_watched;
	bool wants_out;         /* the last write found no room */
	uint32_t events;        /* that `watch` waits for */
	struct fb_device_fd watch, link_watch;
	uint64_t reads, writes, read_errors, write_errors, truncated;
};

int igb_backend_open(struct igb *n); /* 0 or -errno, logged */
void igb_backend_close(struct igb *n);
/*
 * A frame into buf. Its length; 0: there is none now; -EMSGSIZE, -EPROTO: one was taken and is of no use; other
 * errors are counted and mean none.
 */
ssize_t igb_backend_read(struct igb *n, uint8_t *buf, size_t room, struct igb_offload *o, bool *l4_good);
/* 0; -EAGAIN: later, igb_tx_kick() comes; other errors: the frame is lost, counted. */
int igb_backend_write(struct igb *n, const uint8_t *frame, size_t len, const struct igb_offload *o);
void igb_backend_watch(struct igb *n, bool in, bool out);

/* ---- Receive (igb_rx.c, igb_filter.c) ------------------------------------------------------------ */

enum igb_rx_result { IGB_RX_DONE, IGB_RX_HOLD };

/* What is being received: a frame, or a packet that is to be cut into frames. */
struct igb_rx_source {
	struct igb_chunk *chunk; /* NULL: none */
	uint32_t len;
	bool l4_good;            /* its L4 checksum is known to be right */
	struct igb_offload o;
	unsigned next, count;    /* segments; count 0: it is a frame itself */
	struct igb_chunk *segment;
	uint32_t segment_len;
};

void igb_rx_kick(struct igb *n); /* descriptors, buffers or permission have come */
void igb_rx_run(struct igb *n);
void igb_rx_flush(struct igb *n); /* writes descriptors back */
void igb_rx_drop_queue(struct igb_rx_queue *q);
/*
 * A frame in a chunk of the receive arena, whose checksums are complete. DONE: also when it was dropped; the chunk may
 * have got references of DMA, the caller keeps its own.
 */
enum igb_rx_result igb_rx_frame(struct igb *n, struct igb_chunk *chunk, uint32_t len, bool l4_good);

struct igb_filtered {
	uint8_t queue;
	bool pif;             /* passed by a hash only */
	unsigned rss_type;
	uint32_t rss;
	bool multicast, broadcast;
};
/* False: not for us. */
bool igb_filter(struct igb *n, const uint8_t *frame, uint32_t len, const struct igb_headers *h, struct igb_filtered *f);

/* ---- Transmit (igb_tx.c) ------------------------------------------------------------------------- */

void igb_tx_kick(struct igb *n);
void igb_tx_run(struct igb *n);
void igb_tx_drop_queue(struct igb_tx_queue *q);

/* ---- Interrupts (igb_irq.c) --------------------------------------------------------------------- */

struct igb_vector {
	bool due;            /* a cause came that the guest has not been told of */
	bool told;           /* by a message after which the vector is masked: the guest is at work */
	uint32_t frames;     /* received since it was unmasked last */
	bool enough;         /* one more waits, and has been counted */
	uint64_t last;       /* when it was told last */
	uint64_t not_before; /* of what is due */
};

void igb_irq_cause(struct igb *n, uint32_t icr);                /* other causes: ICR bits */
void igb_irq_queue(struct igb *n, unsigned queue, bool transmit);
void igb_irq_flush(struct igb *n);                              /* end of round: what is due is raised */
void igb_irq_frame(struct igb *n, unsigned queue);              /* a frame came that the guest's work has to end with */
bool igb_irq_enough(struct igb *n, unsigned queue);             /* no more before the guest has ended it; igb_rx_kick() comes */
void igb_irq_patience_over(struct igb *n);
void igb_irq_reset(struct igb *n);
uint32_t igb_irq_read(struct igb *n, uint32_t offset);
void igb_irq_read_outdated(struct igb *n, uint32_t offset);     /* the guest has seen what was offered before causes came */
void igb_irq_write(struct igb *n, uint32_t offset, uint32_t value);

/* ---- PHY, EEPROM, statistics, time ------------------------------------------------------------------ */

void igb_phy_reset(struct igb *n);
void igb_phy_negotiated(struct igb *n);
void igb_mdic_write(struct igb *n, uint32_t value);
void igb_link_update(struct igb *n); /* carrier, loopback or power may have changed */
bool igb_loopback(const struct igb *n);

void igb_nvm_init(struct igb *n);
void igb_eerd_write(struct igb *n, uint32_t value);
int igb_mac_parse(struct igb *n, const char *text, uint8_t mac[6]);

void igb_stat_add(struct igb *n, enum igb_stat stat, uint64_t count);
uint32_t igb_stat_read(struct igb *n, uint32_t offset);
void igb_stat_rx(struct igb *n, const struct igb_filtered *f, uint32_t len); /* len: without CRC */
void igb_stat_tx(struct igb *n, const uint8_t *frame, uint32_t len);

bool igb_time_reg(uint32_t offset);
uint32_t igb_time_read(struct igb *n, uint32_t offset);
void igb_time_write(struct igb *n, uint32_t offset, uint32_t value);
void igb_time_transmitted(struct igb *n);
bool igb_time_received(struct igb *n, const uint8_t *frame, uint32_t len, const struct igb_headers *h);

/* ---- The controller ------------------------------------------------------------------------------------ */

struct igb_options {
	const char *tap, *iface, *fd, *mac;
	uint32_t vnet; /* auto, on, off */
};

enum igb_vnet { IGB_VNET_AUTO, IGB_VNET_ON, IGB_VNET_OFF };

struct igb {
	struct fb_device *dev;
	struct igb_options opt;
	uint8_t mac[6];

	uint32_t regs[IGB_BAR_SIZE / 4]; /* those that are plain memory, and some that are not */
	uint32_t io_addr;                /* IOADDR */
	uint64_t stat[IGB_STAT_COUNT];
	uint16_t nvm[IGB_NVM_WORDS];
	uint16_t phy[32];
	uint16_t phy_page;
	bool link; /* as the guest was told last */
	bool negotiating; /* until phy_timer is due */

	uint32_t icr, ims, iam, gpie, eicr, eims, eiac, eiam;
	struct igb_vector vector[IGB_VECTORS];

	uint64_t time_base, time_set; /* SYSTIM when it was set, and when that was (ns) */
	uint64_t time_latch;
	uint64_t tx_stamp, rx_stamp;

	struct igb_rx_queue rx[IGB_QUEUES];
	struct igb_tx_queue tx[IGB_QUEUES];
	struct igb_arena rx_arena, tx_arena;
	struct igb_rx_source source;
	struct igb_backend backend;
	unsigned next_tx;        /* round robin */
	unsigned dma;            /* under way */
	bool scheduled, tx_wanted, rx_wanted;
	bool offer_due; /* ICR is not what was offered */
	bool rx_ready;           /* the backend may have frames */
	bool rx_held;            /* the source waits for descriptors or memory */
	bool tx_held;            /* a packet waits for the backend, or for the receive side in loopback */
	bool closing, idle_wanted;

	uint8_t scratch[IGB_FRAME_MAX + 64]; /* a segment on its way to the backend */

	struct fb_device_batch batch;
	struct fb_device_timer irq_timer, patience_timer, retry_timer, phy_timer;

	uint64_t rx_frames, rx_bytes, rx_filtered, rx_dropped, rx_cut, tx_frames, tx_bytes, tx_cut, tx_errors, tx_offloaded,
		irqs, descs_read, descs_written, dma_errors, unknown_writes, rx_holds, rx_batches, resets;
};

#define IGB_REG(n, offset) ((n)->regs[(offset) / 4])

void igb_kick(struct igb *n); /* a run at the end of this round */
void igb_retry(struct igb *n, int err); /* DMA was not accepted: everything is looked at again after a while */

/* Receive and transmit queue registers; offset is enum igb_queue_reg. */
uint32_t igb_rx_queue_read(struct igb_rx_queue *q, uint32_t offset);
void igb_rx_queue_write(struct igb_rx_queue *q, uint32_t offset, uint32_t value);
uint32_t igb_tx_queue_read(struct igb_tx_queue *q, uint32_t offset);
void igb_tx_queue_write(struct igb_tx_queue *q, uint32_t offset, uint32_t value);
void igb_ring_reset(struct igb *n); /* all queues, as after reset */
/* Descriptors in a row that the guest has given and that are not read yet. */
uint32_t igb_ring_fetchable(const struct igb_ring *r);
/* A read of fetch_n descriptors has ended. True: they are there, and the ring lives still. */
bool igb_ring_fetched(struct igb_ring *r, int status, const char *direction);

static inline uint32_t igb_le32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline uint64_t igb_le64(const uint8_t *p)
{
	return igb_le32(p) | (uint64_t)igb_le32(p + 4) << 32;
}
static inline void igb_put_le32(uint8_t *p, uint32_t v)
{
	for (unsigned i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

extern const struct fb_model igb_model;

#endif
