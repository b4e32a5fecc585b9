/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An NVMe controller that is a vfio-user server and insists on mapped memory
 * (SPDK's), between it and a guest whose memory is on another machine.
 *
 * Theory of operation
 *
 * The server is not shown the guest's memory, nor a copy of it: it is shown a
 * pool of memory of the box's, at addresses of the box's choosing (VN_IOVA),
 * and for every queue of the guest it has one there. What moves between the two
 * are commands, their data and their completions:
 *
 *	guest's doorbell -> entries are read from the guest's queue by DMA
 *	                 -> where the data lies is read from their PRPs
 *	                 -> data for the controller is read from the guest into the pool
 *	                 -> the entry, with the pool's addresses in it, goes into the server's queue; its doorbell
 *	server's eventfd -> completions are taken from its queue; its doorbell
 *	                 -> data for the host is written from the pool to the guest
 *	                 -> the completion is written to the guest's queue; the guest's interrupt
 *
 * To know what to move, it knows the command sets: length and direction of
 * each command's data. What it does not know is answered with Invalid Opcode or
 * Invalid Field, and what would need the guest's memory in another way (SGLs,
 * shadow doorbells, host memory buffer, separate metadata, CMB, PMR) is not
 * offered: CAP and Identify Controller say so.
 *
 *	vfio_user_nvme.c        registers, doorbells, enable, reset, the pool
 *	vfio_user_nvme_queue.c  fetching, handing over, completions, interrupts
 *	vfio_user_nvme_cmd.c    what a command carries; queues' creation and deletion; answers that are changed
 *	vfio_user_nvme_data.c   PRPs, data to and from the guest
 *
 * Bounds. One slot a command, with a buffer of VN_XFER bytes of its own: nothing
 * is fetched from the guest's queues unless a slot is free, so nothing waits for
 * memory. The slot's number is the command identifier that the server sees.
 *
 * Order. Entries of one queue reach the server in their order, since fused
 * commands must. A completion follows its data, as posted writes do.
 *
 * Nothing that either side says is believed: guest's and server's queue
 * entries are copied before they are looked at, and a server that completes
 * what it was not given is cut off.
 */
#ifndef FARBUS_DEVICES_VFIO_USER_NVME_H
#define FARBUS_DEVICES_VFIO_USER_NVME_H

#include <sys/queue.h>

#include "devices/nvme_wire.h"
#include "devices/vfio_user.h"

enum {
	VN_QUEUES = 64,         /* I/O queue pairs */
	VN_ENTRIES = 1024,      /* of a queue, at most */
	VN_XFER = 256 << 10,    /* data of a command, at most */
	VN_MDTS = 6,            /* that, as log2 of 4 KiB pages */
	VN_PAGE = 4096,         /* the only memory page size that is offered */
	VN_PRPS = VN_XFER / VN_PAGE,
	VN_LIST = VN_PRPS * 8,  /* bytes of a PRP list; a power of two that divides VN_PAGE */
	VN_FETCH = 32,          /* entries in one DMA read */
	VN_ADMIN_SLOTS = 16,    /* out of reach of I/O queues */
	VN_NAMESPACES = 256,    /* whose block size is remembered */
	VN_RING = VN_ENTRIES * (sizeof(struct nvme_sqe) + sizeof(struct nvme_cqe)),
};
#define VN_IOVA UINT64_C(0x100000000) /* of the pool, for the server */
#define VN_POOL_MIN (UINT64_C(16) << 20)
#define VN_POOL_MAX (UINT64_C(8) << 30)

struct vn;

enum vn_state {
	VN_FREE,
	VN_TAKEN,   /* from the guest's queue; its data is on the way */
	VN_READY,   /* for the server, when those before it have gone */
	VN_SERVER,  /* the server has it */
	VN_DONE,    /* in its completion queue's list */
	VN_POSTED,  /* the guest knows; its data is still being sent */
	VN_DEAD,    /* dropped; DMA still owns its buffer */
};

struct vn_slot {
	struct vn *n;
	struct vn_sq *sq;
	uint8_t state;
	bool admin_slot;
	uint16_t cid;        /* the guest's */
	uint16_t status;     /* VN_DONE: without the phase tag */
	uint32_t dw0;
	struct nvme_sqe sqe; /* the guest's */
	uint32_t len;        /* of data */
	uint32_t used;       /* bytes of the buffer that may hold a guest's data */
	bool to_host;
	unsigned pending;    /* DMA that will call back */
	TAILQ_ENTRY(vn_slot) link;    /* free, or cq->done */
	TAILQ_ENTRY(vn_slot) sq_link; /* sq->slots */

	/* Where the data lies in the guest's memory. */
	struct fb_dma_seg segs[VN_PRPS + 1];
	unsigned n_segs;
	uint32_t map_left;
	uint64_t list_at;
	uint32_t list_len;
	uint8_t list[VN_LIST + 8];
	unsigned hops;
};

TAILQ_HEAD(vn_slots, vn_slot);

struct vn_sq {
	struct vn *n;
	bool exists;         /* created, or being created */
	bool live;           /* the server has said so */
	bool deleting, fetching;
	uint16_t qid, cqid;
	uint32_t size, server_size; /* entries */
	uint64_t addr;       /* in the guest */
	uint32_t head, tail; /* of the guest's queue */
	uint32_t server_tail;
	unsigned n_slots;
	struct vn_slots slots; /* in the order of the guest's queue */
	unsigned fetch_count, incarnation, fetch_incarnation;
	struct nvme_sqe fetch[VN_FETCH];
};

struct vn_cq {
	struct vn *n;
	bool exists, live;
	bool ien, phase, server_phase;
	bool raise;          /* posted, and no interrupt yet: INTMS */
	uint16_t qid, vector;
	uint32_t size, server_size; /* entries */
	uint64_t addr;
	uint32_t head, tail; /* of the guest's queue */
	uint32_t server_head;
	struct vn_slots done;
};

struct vn_namespace {
	uint32_t nsid;
	uint32_t block;    /* bytes of data of a block; 0: no such namespace */
	uint16_t metadata; /* bytes behind each block, interleaved */
	bool separate;     /* metadata elsewhere: not carried */
};

struct vn_counters {
	uint64_t commands, refused, bytes_in, bytes_out, completions, interrupts, bad_doorbells, fetches, errors;
};

struct vn {
	struct vu *v;
	struct fb_device *dev;

	/* The pool: rings, then PRP lists, then buffers. */
	int fd;
	uint8_t *mem;
	uint64_t size;
	unsigned n_slots;
	struct vn_slot *slots;
	struct vn_slots free, free_admin;
	unsigned n_free, reserved, n_free_admin, reserved_admin;

	/* The guest's registers that the server has other values of. */
	uint32_t aqa, cc, intms;
	uint64_t asq, acq;
	uint64_t cap; /* the server's, as far as it was read */
	bool enabled, failed;

	struct vn_sq sq[VN_QUEUES + 1];
	struct vn_cq cq[VN_QUEUES + 1];
	unsigned next_sq; /* round robin */
	unsigned incarnation;

	struct vn_namespace ns[VN_NAMESPACES];
	unsigned n_ns;

	struct fb_device_batch batch;
	struct fb_device_timer retry;
	struct vn_counters count;
};

static inline uint64_t vn_iova(const struct vn *n, const void *p)
{
	return VN_IOVA + (uint64_t)((const uint8_t *)p - n->mem);
}

static inline struct nvme_sqe *vn_server_sq(const struct vn *n, unsigned qid)
{
	return (struct nvme_sqe *)(n->mem + (size_t)qid * VN_RING);
}

static inline struct nvme_cqe *vn_server_cq(const struct vn *n, unsigned qid)
{
	return (struct nvme_cqe *)(n->mem + (size_t)qid * VN_RING + VN_ENTRIES * sizeof(struct nvme_sqe));
}

static inline unsigned vn_id(const struct vn_slot *s)
{
	return (unsigned)(s - s->n->slots);
}

/* ---- For the rest of the client (vfio_user.h) -------------------------------------------- */

int vn_init(struct vu *v); /* v->nvme; 0 or -errno, logged */
void vn_fini(struct vu *v);
/* The pool, as the one thing that is mapped. */
void vn_map(const struct vn *n, uint64_t *iova, uint64_t *size, int *fd);
/* The pool at an address of the server's, or NULL. */
uint8_t *vn_pool(struct vn *n, uint64_t iova, uint64_t len);
/* Accesses of the guest to BAR 0. Read: true: *value is the answer, the server is not asked. */
bool vn_read(struct vn *n, uint64_t offset, unsigned size, uint64_t *value);
void vn_write(struct vn *n, uint64_t offset, uint64_t value, unsigned size);
/* What the guest sees of the server's answer. */
uint64_t vn_answer(struct vn *n, uint64_t offset, unsigned size, uint64_t value);
void vn_stop(struct vn *n);  /* no queues any more: CC.EN cleared, the server is gone */
void vn_reset(struct vn *n); /* all DMA has ended */
void vn_stats(const struct vn *n, void (*put)(void *arg, const char *name, uint64_t value), void *arg);
void vn_poll(struct vn *n);  /* the server has signalled */

/* ---- vfio_user_nvme.c ------------------------------------------------------------------------ */

void vn_server_doorbell(struct vn *n, unsigned qid, bool cq, uint32_t value);
void vn_fail(struct vn *n, const char *why); /* Controller Fatal Status, for the guest */

/* ---- vfio_user_nvme_queue.c -------------------------------------------------------------------- */

void vn_kick(struct vn *n); /* something is to be done at the end of this round */
void vn_batch(struct fb_device *dev, struct fb_device_batch *batch);
void vn_cq_open(struct vn *n, unsigned qid, uint64_t addr, uint32_t size, unsigned vector, bool ien);
void vn_sq_open(struct vn *n, unsigned qid, unsigned cqid, uint64_t addr, uint32_t size);
void vn_sq_close(struct vn_sq *sq);
void vn_cq_close(struct vn_cq *cq);
void vn_sq_tell(const struct vn_sq *sq, bool there);
void vn_doorbell(struct vn *n, unsigned qid, bool cq, uint32_t value);
void vn_irq_update(struct vn *n); /* INTMC */
/* Ends a command: status without the phase tag. */
void vn_complete(struct vn_slot *s, uint16_t status);
void vn_refuse(struct vn_slot *s, uint16_t status);
bool vn_dma_ended(struct vn_slot *s); /* true if the command is still to be worked on */

/* ---- vfio_user_nvme_cmd.c ------------------------------------------------------------------------ */

/* Looks at a command just taken: its data's length and direction. 0, or the status that refuses it. */
uint16_t vn_command(struct vn_slot *s);
/* Makes the server's entry of it. 0, or the status that refuses it. */
uint16_t vn_translate(struct vn_slot *s, struct nvme_sqe *out);
/* The server has completed it. Changes what the guest is to see. */
void vn_completed(struct vn_slot *s);

/* ---- vfio_user_nvme_data.c ----------------------------------------------------------------------- */

uint8_t *vn_buffer(const struct vn_slot *s);
/* Maps the command's data, and fetches it if it is for the controller; then the slot is VN_READY, or done. */
void vn_take_data(struct vn_slot *s);
void vn_point_to_buffer(const struct vn_slot *s, struct nvme_sqe *out); /* its PRPs */
uint16_t vn_give_data(struct vn_slot *s); /* to the guest: 0 or a status */

#endif
