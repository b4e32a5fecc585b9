/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The root as a requester: memory, I/O and configuration requests towards one
 * function, their tags, their order and their deadlines. Knows nothing of who
 * asks (a VM, enumeration, reset).
 *
 * Bounded: 256 tags, a posted queue of FB_RQ_POSTED_MAX bytes, and as many
 * accesses as its users have memory for. Every access ends by its deadline.
 */
#ifndef FARBUS_ROOT_REQUESTER_H
#define FARBUS_ROOT_REQUESTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "port/port.h"
#include "tlp/split.h"
#include "util/loop.h"

enum {
	FB_RQ_TAGS = 256,
	FB_RQ_POSTED_MAX = 8 << 20,
	FB_ROOT_ID = 0x0000, /* requester ID of the root: 00:00.0 */
};

/* One 4-byte request in configuration or I/O space. */
struct fb_op {
	uint32_t address; /* configuration: register, 0..4092; I/O: address; DW-aligned */
	uint32_t value;   /* written, or read (all ones unless the status is SC) */
	uint8_t be;
	bool write, io;
	uint8_t status; /* enum pcie_cpl_status; UR until it completed */
};

enum fb_access_kind { FB_ACCESS_OPS, FB_ACCESS_MEMORY };

/* Zero-initialise; the caller's memory, in place until done() was called or the requester is freed. */
struct fb_access {
	/* set by the caller */
	enum fb_access_kind kind;
	struct fb_op *ops; /* FB_ACCESS_OPS */
	unsigned n_ops;
	uint64_t address; /* FB_ACCESS_MEMORY: a read of len bytes into buf */
	uint32_t len;
	uint8_t *buf;
	bool urgent;  /* goes ahead while fb_rq_hold() keeps the others back */
	bool barrier; /* no posted write that comes after it leaves before it completed */
	/*
	 * Called once, never from inside the call that started it. status 0;
	 * -EIO: some of it completed with an error (those bytes are all ones);
	 * -ETIMEDOUT: past the deadline; -ENODEV: the session ended (in both
	 * cases what had not come is all ones). The access may be reused inside.
	 */
	void (*done)(struct fb_access *access, int status);
	void *arg;

	/* the requester's */
	struct fb_access *next_send, *next, **link; /* send FIFO; deadline list */
	uint64_t deadline_ns, posted_before;
	uint32_t cursor, outstanding; /* next op or byte to send; requests without completion */
	int status;
	bool active, unsent;
};

struct fb_rq_tag {
	struct fb_access *access; /* NULL: quarantined */
	struct pcie_reassembly re; /* memory reads */
	uint32_t op;
	bool used, memory, read, barrier;
};

struct fb_rq_fifo {
	struct fb_access *head, **tail;
	unsigned barriers; /* in it */
};

struct fb_rq_stats {
	uint64_t timeouts, errors, late, unexpected;
};

struct fb_requester {
	struct fb_loop *loop;
	struct fb_port *port; /* NULL: no session */
	uint16_t bdf;         /* of the function */
	uint32_t mps;

	struct fb_rq_tag tags[FB_RQ_TAGS];
	uint8_t free_tags[FB_RQ_TAGS]; /* a stack */
	unsigned n_free;
	struct fb_rq_fifo fifo, urgent;
	struct fb_access *active; /* by deadline, soonest first */
	struct fb_access *active_last;
	struct fb_timer timer;

	uint8_t *posted; /* byte FIFO of records: address 8, length 4, data */
	size_t posted_cap, posted_start, posted_end;
	uint64_t posted_in, posted_out; /* records queued or sent; sent */
	uint64_t posted_limit;          /* up to which record may be sent */
	unsigned barriers;
	bool held, np_full, p_full, pumping;

	struct fb_rq_stats stats;
};

void fb_rq_init(struct fb_requester *rq, struct fb_loop *loop);
void fb_rq_attach(struct fb_requester *rq, struct fb_port *port, uint16_t bdf);
/* The session is over: every access ends with -ENODEV (soon), what is queued is dropped, tags are free again. */
void fb_rq_detach(struct fb_requester *rq);
void fb_rq_free(struct fb_requester *rq);

/*
 * Starts an access (of at least one op or byte); done() follows, at the latest
 * shortly after the deadline. Without a session: in the next round.
 */
void fb_rq_start(struct fb_requester *rq, struct fb_access *access, uint64_t deadline_ns);
/* Forgets an access that is under way: done() is not called; its tags are quarantined. */
void fb_rq_cancel(struct fb_requester *rq, struct fb_access *access);
/* A posted memory write, cut at MPS and 4 KiB. 0; -ENODEV: no session; -ENOBUFS: the queue is full. */
int fb_rq_write(struct fb_requester *rq, uint64_t address, const void *data, uint32_t len);
/* Posted writes that are queued, bytes. */
static inline size_t fb_rq_posted(const struct fb_requester *rq) { return rq->posted_end - rq->posted_start; }
/* Nothing waits to be sent. */
static inline bool fb_rq_all_sent(const struct fb_requester *rq)
{
	return fb_rq_posted(rq) == 0 && !rq->fifo.head && !rq->urgent.head;
}
void fb_rq_drop_posted(struct fb_requester *rq);

/* While held only urgent accesses and the posted writes that came before leave. */
void fb_rq_hold(struct fb_requester *rq, bool on);

/* From the port. */
void fb_rq_completion(struct fb_requester *rq, const struct pcie_tlp *tlp);
void fb_rq_writable(struct fb_requester *rq, enum pcie_fc cls);

#endif
