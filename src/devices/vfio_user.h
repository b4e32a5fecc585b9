/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The model is a client of the vfio-user protocol: another program is the
 * device, and its configuration space, regions, DMA and interrupts are carried.
 *
 *	vfio_user.c          the model: options, registers, reset, counters
 *	vfio_user_session.c  connecting, the handshake, the end of a server, coming back
 *	vfio_user_request.c  our requests, the streams, deadlines
 *	vfio_user_shape.c    what the server says it is, as a shape for the runtime; its configuration registers
 *	vfio_user_dma.c      the server's requests for guest memory
 *	vfio_user_irq.c      eventfds into interrupts, INTx's handshake
 *	vfio_user_mirror.c   the window of guest memory that is mirrored for servers that insist on mapped memory
 *	vfio_user_nvme.h     NVMe controllers: their commands are carried, not their memory accesses
 *
 * Order. All our requests go through one socket, which the server serves in
 * order: a register access never overtakes another. What the server sends
 * becomes DMA in the order in which it arrives, and a reply to a read follows
 * the DMA before it. An eventfd is another channel: before an interrupt is
 * raised all that the sockets held when it was noticed has been taken from them.
 *
 * The server is not trusted: every message is checked, whatever waits has a
 * deadline, requests and bytes in flight are bounded, and a server that breaks
 * the protocol, is silent or goes away is cut off. The function is then absent:
 * its root sees it removed. It comes back when the server does.
 */
#ifndef FARBUS_DEVICES_VFIO_USER_H
#define FARBUS_DEVICES_VFIO_USER_H

#include "farbus/device.h"
#include "vfio_user/stream.h"

enum {
	VU_REQUESTS = 4096,             /* ours in flight; a power of two */
	VU_DMA = 128,                   /* the server's in flight */
	VU_DMA_BYTES = 4 << 20,         /* and their data; the next waits in the socket */
	VU_MAX_XFER = 1 << 20,          /* data of one message, ours or the server's */
	VU_MAX_MESSAGE = VU_MAX_XFER + 4096,
	VU_OUT_MAX = 16 << 20,          /* queued bytes at which a server that does not read is cut off */
	VU_OUT_BUSY = 256 << 10,        /* above which the guest's writes wait */
	VU_REGIONS = 9, VU_IRQS = 5,    /* those that mean something to us */
	VU_VECTORS = 2048,
	VU_CONFIG = 4096,
	VU_RECEIVES = 32,               /* reads of a socket in one go, so that a flood cannot hold the box */
	VU_CAPS = 16,                   /* capabilities that are carried */
	VU_WAITS = 4096,                /* writes that wait for the mirror or for room */
};
#define VU_DMA_SPACE (UINT64_C(1) << 48) /* what the server may address */
#define VU_DMA_MAP_MAX (UINT64_C(1) << 43) /* one DMA_MAP: libvfio-user takes no more */

struct vu;
struct vn;

/* ---- Requests of ours ----------------------------------------------------------------- */

enum vu_kind {
	VU_FREE,
	VU_SETUP,       /* a step of the handshake */
	VU_READ,        /* a register read of the guest */
	VU_SYNC,        /* a write of which only errors matter: I/O, configuration, SET_IRQS */
	VU_CAP_READ,    /* a carried capability, read back after a write */
	VU_RESET,
};

struct vu_request {
	uint16_t id; /* index | generation << 12: a late answer finds nobody */
	uint8_t kind, bar;
	uint16_t command, size;
	uint16_t arg; /* VU_CAP_READ: which */
	uint64_t offset;
	uint64_t sent;
	struct fb_access *access; /* VU_READ; NULL: nobody waits any more */
	uint16_t next, prev;      /* by age */
};

/* ---- The server's requests ------------------------------------------------------------- */

struct vu_dma {
	struct vu *v;
	bool used, write, twin, no_reply;
	unsigned session;
	uint16_t id;
	uint64_t address;
	uint32_t len;
	uint8_t *data; /* what the reply will be: address, count, data */
};

/* ---- Shape ------------------------------------------------------------------------------- */

struct vu_capability {
	uint16_t server, ours, len; /* where, header included; ours 0: not carried */
	uint16_t id;
	bool extended;
};

struct vu_shape {
	uint32_t flags; /* of the device */
	uint32_t n_regions, n_irqs;
	struct {
		uint32_t flags;
		uint64_t size;
	} regions[VU_REGIONS];
	uint32_t irqs[VU_IRQS]; /* vectors */
	uint8_t config[VU_CONFIG];
	uint32_t config_len;
	/* From config. */
	uint16_t cap_msi, cap_msix;
	struct vu_capability caps[VU_CAPS];
	unsigned n_caps;
};

/* NVMe controllers: as such, or as any other device. */
enum vu_nvme { VU_NVME_AUTO, VU_NVME_ON, VU_NVME_OFF };
#define VU_CLASS_NVME 0x010802u

/* ---- Sessions ---------------------------------------------------------------------------- */

enum vu_state {
	VU_DOWN,      /* no socket */
	VU_HANDSHAKE,
	VU_UP,
};

struct vu_channel { /* one socket */
	int fd; /* -1: none */
	struct vfio_user_stream stream;
	struct fb_device_fd watch;
	uint32_t events; /* watched for; 0: not watched */
	bool blocked;    /* the socket is full */
	uint64_t blocked_since;
	bool dry; /* nothing was left in it */
	uint64_t mark; /* interrupts wait until all up to here has been taken */
};

struct vu_vector {
	struct fb_device_fd watch;
	struct vu *v;
	int fd;
	uint16_t number;
	bool pending;
};

struct vu_counters {
	uint64_t connects, disconnects, reads, writes, config_writes, errors, timeouts;
	uint64_t dma_reads, dma_read_bytes, dma_writes, dma_write_bytes, dma_refused, dma_waits;
	uint64_t interrupts, interrupts_lost, write_waits, protocol_errors, resets;
	uint64_t mirror_syncs, mirror_bytes_in, mirror_bytes_out, mirror_errors;
};

struct vu {
	struct fb_device *dev;
	struct {
		const char *socket, *memory;
		uint64_t timeout_ns;
		uint32_t vectors;
		uint64_t buffers;
		uint32_t nvme; /* enum vu_nvme */
		bool hugepages;
	} opt;

	enum vu_state state;
	unsigned session; /* counts connections */
	bool realized, ending, in_pump, no_reset_said;
	struct vu_channel main, twin;
	struct fb_device_batch flush, resume;
	struct fb_device_timer timer; /* deadlines, or the next try to connect */
	uint64_t retry_at;
	uint64_t last_dma; /* when the last of the server's DMA ended: until then it may be waiting for us */
	uint64_t log_next, log_more;
	bool evict; /* the runtime is to be told that the function is absent */

	/* Handshake. */
	enum vu_step { VU_STEP_VERSION, VU_STEP_INFO, VU_STEP_REGIONS, VU_STEP_IRQS, VU_STEP_CONFIG, VU_STEP_MAP } step;
	uint32_t step_index;
	uint64_t map_at;
	struct vu_shape shape, *found; /* what the runtime was told; what is being learned */
	uint32_t max_fds, max_xfer;    /* the server's */
	char why[200];                 /* why a handshake failed */

	struct vu_request *requests;
	uint16_t first, last, free_first; /* by age; a stack */
	uint16_t generation;
	unsigned n_requests;

	struct vu_dma dma[VU_DMA];
	unsigned n_dma;
	size_t dma_bytes;
	bool dma_full; /* a request of the server waits in its stream */

	unsigned resetting; /* DEVICE_RESETs without an answer: what the server does is not for this guest */

	/* Interrupts. */
	struct vu_vector *vectors;
	unsigned n_vectors;
	uint16_t msi_vectors, msix_vectors; /* that the guest is shown */
	bool intx;
	int armed; /* VFIO_IRQ_*, or -1 */
	unsigned n_armed;
	unsigned n_pending;
	bool intx_asserted;

	/* Writes of the guest that wait, in order: for room, or for the mirror. */
	struct vu_wait {
		struct fb_access *access;
		uint64_t offset, value;
		uint64_t seq; /* of writes */
		uint8_t bar, size;
		bool read; /* a read that came behind a write that waits */
	} *waits;
	unsigned wait_first, n_waits;
	uint64_t write_seq;

	/* vfio_user_mirror.c */
	struct vu_mirror *mirror;
	struct vn *nvme; /* vfio_user_nvme.h; NULL: any other device */

	struct vu_counters count;
};

/* vfio_user_session.c */
int vu_connect(struct vu *v);                 /* 0: the handshake has begun; -errno */
int vu_wait_up(struct vu *v, uint64_t timeout_ns); /* realize only: blocks. 0 or -errno, v->why says why */
void vu_lost(struct vu *v, const char *why, ...) __attribute__((format(printf, 2, 3)));
void vu_disconnect(struct vu *v);
void vu_setup_reply(struct vu *v, struct vfio_user_message *msg);
void vu_arm_timer(struct vu *v);
void vu_timer_due(struct fb_device *dev, struct fb_device_timer *timer);

/* vfio_user_request.c */
int vu_requests_init(struct vu *v);
void vu_requests_fini(struct vu *v);
void vu_requests_drop(struct vu *v); /* the session is over: reads get all ones */
void vu_requests_forget(struct vu *v); /* a reset: nobody waits for reads */
/* Where the body goes, or NULL when there is no room: the session is then over. */
uint8_t *vu_send(struct vu *v, enum vu_kind kind, uint16_t command, size_t len, const int *fds, unsigned n_fds,
		 struct vu_request **request);
bool vu_region_write(struct vu *v, bool posted, unsigned region, uint64_t offset, const void *data, uint32_t len);
void vu_pump(struct vu *v); /* takes what the sockets hold */
int vu_channel_open(struct vu *v, struct vu_channel *c, int fd);
void vu_channel_close(struct vu *v, struct vu_channel *c);
void vu_channel_update(struct vu *v, struct vu_channel *c);
void vu_flush(struct fb_device *dev, struct fb_device_batch *batch);
void vu_schedule_flush(struct vu *v);
void vu_watch_ready(struct fb_device *dev, struct fb_device_fd *watch, uint32_t events);
void vu_complain(struct vu *v, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* a line a second */

/* vfio_user.c */
void vu_writes_go_on(struct vu *v); /* accesses of the guest that wait, as far as they may */
void vu_accesses_drop(struct vu *v); /* the session is over */
/* If accesses wait, so does this write of ours, behind them: true. */
bool vu_wait_for_turn(struct vu *v, unsigned region, uint64_t offset, uint64_t value, unsigned size);

/* vfio_user_dma.c */
void vu_server_command(struct vu *v, struct vu_channel *c, const struct vfio_user_message *msg);
bool vu_dma_has_room(const struct vu *v);

/* vfio_user_shape.c */
int vu_shape_check(struct vu *v, struct vu_shape *s); /* v->why */
int vu_shape_present(struct vu *v);
bool vu_shape_same(const struct vu_shape *a, const struct vu_shape *b);
void vu_config_written(struct vu *v, unsigned offset, unsigned len);
void vu_config_reset(struct vu *v);
void vu_config_irq_enable(struct vu *v, int index, bool on, unsigned vectors);
void vu_cap_reply(struct vu *v, const struct vu_request *r, const uint8_t *data, uint32_t len);

/* vfio_user_mirror.c */
int vu_mirror_init(struct vu *v); /* from opt.memory; 0 or -errno, logged */
void vu_mirror_fini(struct vu *v);
/* What of [at, at + *size) is to be mapped first: shortens *size; with *fd the mirror, else no memory. */
void vu_mirror_map(const struct vu *v, uint64_t at, uint64_t *size, int *fd, uint64_t *offset);
/* Fetches the window; vu_writes_go_on() follows when it is there. */
void vu_mirror_fetch(struct vu *v);
/* Whether the window was fetched after the waiting writes up to number `seq` were made. */
bool vu_mirror_fresh(const struct vu *v, uint64_t seq);
void vu_mirror_push(struct vu *v); /* what the server has written goes to the guest */
void vu_mirror_reset(struct vu *v);

/* vfio_user_irq.c */
int vu_irq_init(struct vu *v);
void vu_irq_fini(struct vu *v);
void vu_irq_update(struct vu *v);   /* the guest may have switched interrupts on or off */
void vu_irq_off(struct vu *v);      /* tells the server: no interrupts */
void vu_irq_forget(struct vu *v);   /* the session is over, or a reset */
void vu_irq_deliver(struct vu *v);  /* those that wait for the sockets */
void vu_irq_eoi(struct vu *v);      /* the guest has accessed a register */

#endif
