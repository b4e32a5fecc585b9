/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NVMe controller, shared by its parts. Start reading at nvme.c.
 *
 *	nvme.c           registers, enable, disable, shutdown, reset, descriptor
 *	nvme_queue.c     doorbells, fetching, arbitration, completions, interrupts
 *	nvme_cmd.c       the life of one command
 *	nvme_data.c      PRP and SGL, data to and from guest memory
 *	nvme_io.c        I/O commands            nvme_erase.c   those that deallocate
 *	nvme_admin.c     admin commands          nvme_event.c   asynchronous events
 *	nvme_shadow.c    shadow doorbells
 *	nvme_identify.c  nvme_log.c  nvme_features.c
 *	nvme_ns.c        namespaces and their files
 *
 * Shared with other models: disk.h, aio.h, arena.h.
 */
#ifndef FARBUS_DEVICES_NVME_H
#define FARBUS_DEVICES_NVME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "devices/aio.h"
#include "devices/arena.h"
#include "devices/disk.h"
#include "devices/nvme_wire.h"
#include "farbus/device.h"

enum {
	NVME_MAX_QUEUES = 64,  /* I/O queue pairs */
	NVME_VECTORS = NVME_MAX_QUEUES + 1,
	NVME_MAX_NS = 16,
	NVME_MQES = 4095,      /* 0-based: 4,096 entries */
	NVME_MPSMAX = 4,       /* memory pages of 4 to 64 KiB */
	NVME_FETCH = 32,       /* submission entries in one DMA read */
	NVME_CMDS = 1024,      /* commands in progress; the rest wait in their queues */
	NVME_CMDS_ADMIN = 32,  /* of those, out of reach of I/O queues */
	NVME_AERS = 8,         /* Asynchronous Event Requests held */
	NVME_ERRORS = 64,      /* entries of the error log */
	NVME_SGL_MAX = 2048,   /* descriptors a command may have */
	NVME_LIST_CHUNK = 4096, /* bytes of a PRP list or SGL segment read at once */
	NVME_TEMPERATURE = 313, /* kelvin; a constant: there is no sensor */
};

struct nvme;
struct nvme_cmd;

/* ---- Namespaces (nvme_ns.c) ------------------------------------------------- */

struct nvme_ns {
	struct nvme *n;
	uint32_t nsid; /* 0: there is none */
	char option[8]; /* "file", "file2" … */
	struct fb_disk disk;
	bool formatting; /* Format NVM has it */
	bool changed;    /* listed in the Changed Namespace List */
	uint8_t lbads;   /* log2 of the block size: 9 or 12 */
	unsigned inflight; /* I/O commands that use it */
	uint8_t uuid[16];
	uint64_t bytes_read, bytes_written, reads, writes, media_errors, file_errors;
	uint32_t error_recovery; /* feature 05h */
	struct fb_aio_op sync;   /* at shutdown */
	uint64_t sync_mark;
};

static inline uint64_t nvme_ns_blocks(const struct nvme_ns *ns)
{
	return ns->disk.bytes >> ns->lbads;
}

int nvme_ns_open_all(struct nvme *n); /* 0 or -errno, logged */
void nvme_ns_close_all(struct nvme *n);
struct nvme_ns *nvme_ns_get(struct nvme *n, uint32_t nsid); /* NULL: not there */
void nvme_ns_set_lbads(struct nvme_ns *ns, uint8_t lbads);  /* and remembers it with the file */
void nvme_ns_check_size(struct nvme *n);                    /* files that have grown */
/* The status that a file operation's -errno becomes; logs and counts it. */
uint16_t nvme_ns_status(struct nvme_ns *ns, bool write, int err, uint64_t offset);

/* ---- Commands (nvme_cmd.c) --------------------------------------------------- */

enum nvme_cmd_state {
	NVME_CMD_FREE,
	NVME_CMD_ACTIVE,
	NVME_CMD_WAITING, /* for a buffer */
	NVME_CMD_PARKED,  /* Asynchronous Event Request, or waits for other commands to end */
	NVME_CMD_DONE,    /* in its completion queue's list */
	NVME_CMD_POSTED,  /* the host has been told; a DMA write may still own the buffer */
	NVME_CMD_DEAD,    /* dropped by a reset; something still owns the buffer */
};

typedef void nvme_step(struct nvme_cmd *cmd, int res);

struct nvme_cmd {
	struct nvme *n;
	struct nvme_sq *sq;
	struct nvme_cq *cq; /* DONE: in whose list */
	struct nvme_ns *ns; /* counted in ns->inflight */
	enum nvme_cmd_state state;
	struct nvme_sqe sqe;
	uint16_t cid;
	uint16_t status; /* DONE: status field, without phase */
	uint16_t sqhd;
	uint16_t location; /* of the error, for the error log: byte in 7:0, bit in 10:8; FFFFh: none */
	uint32_t dw0;
	TAILQ_ENTRY(nvme_cmd) sq_link; /* sq->cmds */
	TAILQ_ENTRY(nvme_cmd) link;    /* free, waiting, parked or cq->done */

	unsigned pending; /* asynchronous operations that will call back */

	/* Data: where it goes in guest memory, and our copy. */
	uint32_t len;
	uint8_t *buf;
	size_t buf_len;
	struct fb_dma_seg *segs; /* seg_room; address NVME_BIT_BUCKET: nowhere */
	unsigned n_segs, seg_room;
	bool bucket;
	struct fb_dma_seg few[4];
	nvme_step *mapped;
	/* PRP list or SGL segment being read. */
	uint8_t *list;
	uint64_t list_addr;
	uint32_t list_len;     /* bytes in this read */
	uint32_t list_left;    /* SGL: bytes of the segment after it */
	uint32_t map_left;     /* bytes not yet mapped */
	unsigned n_descriptors;
	bool list_last;        /* SGL: Last Segment */

	void (*fill)(struct nvme_cmd *cmd, uint8_t *buf);
	nvme_step *fetched;

	/* DMA in progress. */
	unsigned dma_left;
	int dma_err;
	nvme_step *dma_step;

	/* File operation in progress. */
	struct fb_aio_op op;
	nvme_step *op_step;
	uint64_t offset, todo; /* bytes in the file */
	struct nvme_ns *file;  /* whose file */
	uint64_t sync_mark;    /* FSYNC: file->disk.writes_ended when it began */
	uint32_t index;        /* DSM range, Flush or Format namespace */
	bool part_a, part_b;   /* Read: mapped, file read */
	bool is_aer;           /* in n->aers */
};

#define NVME_BIT_BUCKET UINT64_MAX

struct nvme_cmd *nvme_cmd_get(struct nvme *n); /* NULL: none free */
void nvme_cmd_free(struct nvme_cmd *cmd);
void nvme_cmd_hold(struct nvme_cmd *cmd);
/* One asynchronous operation has ended: true if the command is still to be worked on. */
bool nvme_cmd_release(struct nvme_cmd *cmd);
/* Ends the command: 0 or a status of NVME_SC_*, with NVME_SC_DNR where a retry is pointless. */
void nvme_complete(struct nvme_cmd *cmd, uint16_t status);
/* As above, naming the field of the command that is wrong (byte offset), DNR set. */
void nvme_refuse(struct nvme_cmd *cmd, uint16_t status, unsigned byte);
/* Ends without a completion entry: reset. */
void nvme_drop(struct nvme_cmd *cmd);
/* Waits for something that is not work of its own; does not hold up a shutdown. */
void nvme_park(struct nvme_cmd *cmd);
void nvme_unpark(struct nvme_cmd *cmd);
/* A block of `len` bytes; then step(cmd, 0), maybe at once, maybe when one is free. */
void nvme_buf_get(struct nvme_cmd *cmd, size_t len, nvme_step *step);
void nvme_buf_wake(struct nvme *n);

/* File operations of a command; step(cmd, 0 or -errno) when all bytes are moved. -ENODATA: the file is shorter. */
void nvme_file_read(struct nvme_cmd *cmd, uint8_t *buf, uint32_t len, uint64_t offset, nvme_step *step);
void nvme_file_write(struct nvme_cmd *cmd, uint8_t *buf, uint32_t len, uint64_t offset, bool dsync, nvme_step *step);
void nvme_file_sync(struct nvme_cmd *cmd, struct nvme_ns *ns, nvme_step *step);
void nvme_file_allocate(struct nvme_cmd *cmd, int mode, uint64_t offset, uint64_t range, nvme_step *step);

/* ---- Data (nvme_data.c) --------------------------------------------------------- */

/*
 * Finds where `len` bytes of the command's data lie in guest memory (reads PRP
 * lists and SGL segments); then step(cmd, 0), maybe at once. Completes the
 * command itself when PRPs or SGLs are wrong.
 */
void nvme_map(struct nvme_cmd *cmd, uint32_t len, nvme_step *step);
/* buf to guest memory. No step: complete the command next with what this returns, the order holds. */
uint16_t nvme_to_host(struct nvme_cmd *cmd, const uint8_t *buf);
/* Guest memory to buf; then step(cmd, 0). Completes the command itself on error. */
void nvme_from_host(struct nvme_cmd *cmd, uint8_t *buf, nvme_step *step);
/* The answer of a command that gives data: fill() writes into `len` zeroed bytes; then maps, sends, completes. */
void nvme_reply(struct nvme_cmd *cmd, uint32_t len, void (*fill)(struct nvme_cmd *cmd, uint8_t *buf));
/* The data of a command that brings some: step(cmd, 0) with it in cmd->buf. */
void nvme_fetch_data(struct nvme_cmd *cmd, uint32_t len, nvme_step *step);

/* ---- Queues (nvme_queue.c) ------------------------------------------------------- */

TAILQ_HEAD(nvme_cmd_list, nvme_cmd);

struct nvme_sq {
	struct nvme *n;
	bool exists, fetching;
	uint16_t qid, cqid;
	uint32_t size;
	uint64_t addr;
	uint32_t head, tail;   /* head: next to fetch */
	unsigned fetch_count, fetch_errors;
	unsigned inflight;     /* in cmds */
	struct nvme_cmd_list cmds; /* not yet completed */
	struct nvme_cmd *deleting; /* the Delete I/O Submission Queue command */
	struct nvme_sqe fetch[NVME_FETCH];
};

struct nvme_cq_ring { /* outlives its queue while DMA writes are under way */
	unsigned refs;
	struct nvme *n;
	struct nvme_cqe entry[];
};

struct nvme_cq {
	struct nvme *n;
	bool exists, ien, phase;
	uint16_t qid, vector;
	uint32_t size;
	uint64_t addr;
	uint32_t head, tail;
	unsigned n_sqs;
	unsigned coalesced;     /* entries posted since the last interrupt */
	uint64_t irq_deadline;  /* aggregation time; 0: none */
	struct nvme_cmd_list done;
	struct nvme_cq_ring *ring;
	struct { /* nvme_shadow.c; outlives its queue while a look is on its way */
		bool looking, again, stale, armed;
		uint32_t event; /* armed: EventIdx */
		nvme_le32 word;
	} shadow;
};

/* Something is to be done at the end of this round of the loop. */
void nvme_kick(struct nvme *n);
void nvme_queue_init(struct nvme *n);
void nvme_doorbell(struct nvme *n, uint64_t offset, uint32_t value);
void nvme_sq_create(struct nvme *n, unsigned qid, unsigned cqid, uint32_t size, uint64_t addr);
int nvme_cq_create(struct nvme *n, unsigned qid, uint32_t size, uint64_t addr, unsigned vector, bool ien);
void nvme_sq_delete(struct nvme_sq *sq);
void nvme_cq_delete(struct nvme_cq *cq);
void nvme_sq_drained(struct nvme_sq *sq); /* a command of it has ended: does a deletion wait? */
void nvme_irq_update(struct nvme *n);     /* after INTMS, INTMC */
void nvme_timer_update(struct nvme *n);
void nvme_retry(struct nvme *n, int err); /* a run, in a while */
/* The host has taken entries up to `head`; false: it cannot have, which is counted and reported. */
bool nvme_cq_consumed(struct nvme_cq *cq, uint32_t head);
void nvme_sq_tell(const struct nvme_sq *sq, bool there); /* the root of its ring */

static inline uint32_t nvme_cq_used(const struct nvme_cq *cq)
{
	return (cq->tail + cq->size - cq->head) % cq->size;
}

static inline bool nvme_cq_full(const struct nvme_cq *cq)
{
	return nvme_cq_used(cq) == cq->size - 1;
}

/* ---- Error log, events (nvme_log.c, nvme_event.c) --------------------------------- */

void nvme_error_add(struct nvme_cmd *cmd, uint16_t status);
void nvme_event(struct nvme *n, enum nvme_event_type type, uint8_t info, uint8_t log_page);
void nvme_event_unmask(struct nvme *n, enum nvme_event_type type);
void nvme_event_request(struct nvme_cmd *cmd);
void nvme_events_reset(struct nvme *n);
uint8_t nvme_critical_warning(const struct nvme *n);
void nvme_check_temperature(struct nvme *n);
void nvme_busy(struct nvme *n, int delta);

/* ---- Command sets -------------------------------------------------------------------- */

void nvme_admin(struct nvme_cmd *cmd);
void nvme_io(struct nvme_cmd *cmd);
void nvme_io_write_zeroes(struct nvme_cmd *cmd);
void nvme_io_dsm(struct nvme_cmd *cmd);
void nvme_format(struct nvme_cmd *cmd);
void nvme_format_poll(struct nvme *n); /* I/O of a namespace has ended */
void nvme_identify(struct nvme_cmd *cmd);
void nvme_get_log_page(struct nvme_cmd *cmd);
void nvme_get_features(struct nvme_cmd *cmd);
void nvme_set_features(struct nvme_cmd *cmd);
void nvme_features_reset(struct nvme *n);
/* Start and length in bytes of the command's block range; completes the command and returns false if it is outside. */
bool nvme_block_range(struct nvme_cmd *cmd, uint64_t *offset, uint64_t *bytes);

/* ---- The controller -------------------------------------------------------------------- */

struct nvme_features {
	uint32_t arbitration, power, vwc, coalescing, atomicity, events;
	uint16_t temp_over, temp_under;
	uint16_t n_sq, n_cq; /* allocated: I/O queues the host may create */
	bool vector_cd[NVME_VECTORS];
	uint64_t timestamp, timestamp_at; /* ms, and when it was set (ns) */
	bool timestamp_set;
	uint8_t host_id[16];
};

struct nvme_options {
	const char *file[NVME_MAX_NS];
	uint32_t lba;    /* enum nvme_lba_choice */
	uint32_t queues;
	const char *serial, *model, *firmware;
	uint64_t mdts, buffers, create;
	uint32_t direct; /* enum fb_disk_direct */
	uint32_t aio;    /* enum fb_aio_choice */
	bool readonly, cache, discard, shadow;
};

enum nvme_lba_choice { NVME_LBA_AUTO, NVME_LBA_512, NVME_LBA_4096 };

struct nvme {
	struct fb_device *dev;
	struct nvme_options opt;
	char sn[21], mn[41], fr[9], subnqn[80];
	uint8_t mdts; /* power of two in units of 4 KiB */

	/* Registers. */
	uint32_t cc, csts, aqa, intms;
	uint64_t asq, acq;
	uint32_t page_size; /* from CC.MPS */

	/* Lifecycle (nvme.c). */
	bool enabled;       /* queues run */
	bool stopping;      /* CC.EN was cleared; CSTS.RDY follows when nothing is in flight */
	bool closing;       /* quiesce(): nothing new is fetched */
	bool sync_wanted;   /* shutdown or quiesce(): the files are to be synced when commands have ended */
	unsigned syncing;   /* namespaces being synced for it */
	unsigned n_async;   /* DMA and file operations that will call back */
	unsigned n_busy;    /* commands started and not completed, without parked ones */

	struct nvme_sq sq[NVME_MAX_QUEUES + 1];
	struct nvme_cq cq[NVME_MAX_QUEUES + 1];
	unsigned n_queues;  /* the highest queue identifier in use, plus 1 */
	unsigned next_sq;   /* round robin */
	unsigned reserved;  /* commands promised to fetches under way */
	bool running, scheduled, again;
	uint64_t shadow_addr, event_addr; /* pages of Doorbell Buffer Config; 0: not given */
	struct nvme_features feat;

	struct nvme_cmd *cmds;
	struct nvme_cmd_list free, waiting;
	unsigned n_free;
	struct fb_arena arena;
	struct fb_aio aio;
	struct nvme_cmd *format; /* the Format NVM in progress */

	struct nvme_cmd_list aers;
	unsigned n_aers;
	uint8_t event_masked;                     /* bit a type: until its log page is read */
	uint16_t event_pending[NVME_EVENT_TYPES]; /* bit an information value */
	uint8_t event_page[NVME_EVENT_TYPES][16];

	struct nvme_error_entry errors[NVME_ERRORS]; /* ring; errors_total % NVME_ERRORS is next */
	uint64_t errors_total;
	uint64_t start_ns, busy_since, busy_ns, power_cycles, unsafe_shutdowns;
	uint64_t fetches, fetched, cqe_writes, cqes, irqs, buffer_waits, dropped, bad_doorbells, doorbells, shadow_looks;

	struct nvme_ns ns[NVME_MAX_NS];
	unsigned n_ns; /* the highest nsid */
	bool bad_temperature;

	struct fb_device_batch batch;
	struct fb_device_poller poller;
	uint32_t round_bytes; /* of data to the host, begun in this round of the loop */
	struct fb_device_fd aio_watch;
	struct fb_device_timer retry_timer, irq_timer, size_timer;
};

void nvme_lifecycle(struct nvme *n); /* does a state change wait for what has just ended? */
void nvme_fatal(struct nvme *n, const char *why);

/* ---- Shadow doorbells (nvme_shadow.c) ------------------------------------------------- */

bool nvme_shadow_able(const struct nvme *n); /* are they offered? */
void nvme_dbbuf_config(struct nvme_cmd *cmd);
/* Has queue qid of either kind shadow and EventIdx? */
static inline bool nvme_shadowed(const struct nvme *n, unsigned qid) { return n->shadow_addr && qid > 0; }
/* Where it is in either page. */
static inline uint64_t nvme_shadow_sq(const struct nvme_sq *sq, uint64_t page) { return page + 8u * sq->qid; }
static inline uint64_t nvme_shadow_cq(const struct nvme_cq *cq, uint64_t page) { return page + 8u * cq->qid + 4; }
bool nvme_shadow_sq_begin(struct nvme_sq *sq); /* false: its EventIdx cannot be written */
void nvme_shadow_cq_begin(struct nvme_cq *cq);
void nvme_shadow_posted(struct nvme_cq *cq); /* entries have been posted */
void nvme_shadow_rung(struct nvme_cq *cq);
void nvme_shadow_look(struct nvme_cq *cq);

extern const struct fb_model nvme_model;

#endif
