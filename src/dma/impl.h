/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the library for remote memory: open.c makes handles and serves their
 * callers, engine.c turns requests into TLPs and completions into ends of
 * requests, link_transport.c is what carries TLPs to a root.
 */
#ifndef FARBUS_DMA_IMPL_H
#define FARBUS_DMA_IMPL_H

#include <farbus/dma.h>

#include "link/link.h"
#include "port/port.h"
#include "tlp/split.h"
#include "util/loop.h"

enum { FB_RDMA_TAGS_MAX = 1024, FB_RDMA_CONFIRMS = 8 };

/* How TLPs get to the target; one a prefix of target addresses. */
struct fb_rdma_transport {
	const char *prefix; /* "udp:" */
	const char *syntax; /* for messages */
	uint32_t max_payload, max_read; /* bytes: the defaults */
	uint32_t largest;               /* of both, what may be asked for */
	uint32_t tags;                  /* at most */
	uint64_t timeout_ns;            /* the default */
	bool atomics;                   /* it carries them */
	unsigned retries;               /* of reads, the default; 0: it is reliable */
	/*
	 * Starts a session for the whole target text and sets r->port; the port's
	 * user is fb_rdma_port_user with arg r. 0, or -errno after fb_rdma_say().
	 */
	int (*open)(struct fb_rdma *r, const char *target);
	void (*close)(struct fb_rdma *r); /* the port is closed already */
	void (*stats)(struct fb_rdma *r, struct fb_rdma_stats *stats); /* r->port is open */
};
extern const struct fb_rdma_transport fb_rdma_link_transport, fb_rdma_softpcie_transport;

/* What became of a tag. */
enum fb_rdma_tag_state {
	FB_RDMA_TAG_FREE,
	FB_RDMA_TAG_OP,      /* a piece of a read, or an AtomicOp */
	FB_RDMA_TAG_CONFIRM, /* a read of no bytes, behind writes */
	FB_RDMA_TAG_DEAD,    /* given up: its completions may still come, for nobody */
};

struct fb_rdma_tag {
	enum fb_rdma_tag_state state;
	struct pcie_reassembly r;
	struct fb_rdma_op *op;
	uint64_t since;   /* it was sent, or given up */
	unsigned tries;   /* it was asked for again */
	uint64_t confirm; /* CONFIRM: writes up to this one are meant */
};

struct fb_rdma_list {
	struct fb_rdma_op *first, **last;
};

struct fb_rdma {
	struct fb_loop *loop;
	const struct fb_rdma_transport *transport;
	void *transport_data;
	struct fb_port *port; /* NULL: the session is over */
	bool up, told, closing;
	int over; /* -errno: why requests fail from now on */
	char error[160];

	uint16_t id;
	bool id_given; /* by the caller */
	unsigned retries;
	uint32_t max_payload, max_read, depth, group, mtu;
	uint64_t timeout_ns, connect_ns;
	const char *fault;
	void (*state)(void *arg, int status);
	void *arg;

	/* engine.c */
	struct fb_rdma_list pending;     /* not started, or not sent in full */
	struct fb_rdma_list issued;      /* reads and atomics that are sent, and wait */
	struct fb_rdma_list unconfirmed; /* writes that are sent, oldest first */
	struct fb_rdma_list finished;
	uint64_t write_seq, confirm_seq; /* of the last write; of the last that a confirmation was asked for */
	uint64_t last_write;             /* address of its last byte */
	unsigned confirms;               /* under way */
	bool blocked[PCIE_FC_CLASSES], pumping, finishing;
	struct fb_rdma_tag *tags;        /* depth of them */
	uint16_t *free_tags;
	unsigned free_first, n_free;     /* a ring: a tag rests as long as possible before it is used again */
	struct fb_flush pump;
	struct fb_timer timer;           /* looks for missing completions */
	struct fb_rdma_stats stats;

	/* open.c: the pollable descriptor */
	struct fb_fd wake;
	uint64_t wake_at;
	bool in_process;
};

/* open.c */
void fb_rdma_say(struct fb_rdma *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void fb_rdma_tell_state(struct fb_rdma *r, int status);
/* Something was begun outside fb_rdma_process(): the pollable descriptor says so. */
void fb_rdma_wake(struct fb_rdma *r);

/* engine.c */
int fb_rdma_engine_init(struct fb_rdma *r);
void fb_rdma_engine_fini(struct fb_rdma *r);
/* All requests end with that. */
void fb_rdma_engine_abort(struct fb_rdma *r, int status);
extern const struct fb_port_user fb_rdma_port_user;

#endif
