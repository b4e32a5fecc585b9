/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of src/endpoint share about one device. Nobody else includes it.
 *
 *	device.c     birth, attach, detach, death; where TLPs come in
 *	shape.c      identity, BARs, vectors, more capabilities: the model's struct and realize()
 *	options.c    "id=ssd0,file=disk.img" into the model's state
 *	config.c     configuration space: masks, writes, what follows from them
 *	caps.c       its capabilities and power-on values
 *	aer.c        error status, error messages (6.2)
 *	mmio.c       memory and I/O requests into the model
 *	held.c       those that the model ends later
 *	post.c       everything that leaves in order: writes, interrupts, messages, completions
 *	dma_read.c   reads: tags, reassembly, timeouts
 *	dma.c        the API's DMA calls, request structs, done()
 *	ring.c       what the root sends ahead of a DMA read
 *	shadow.c     rings whose index the host keeps in its memory
 *	offer.c      what the root may answer reads of registers from
 *	irq.c        MSI, MSI-X, INTx, coalescing
 *	thread.c     the blocking style: the model's own thread
 *	wire.c       TLPs of a model's own wire, for captures
 *	load.c       models from shared objects
 *	reset.c      FLR, D3hot, end of session
 *	sched.c      timers, files, batches, pollers of the model
 */
#ifndef FARBUS_ENDPOINT_DEVICE_IMPL_H
#define FARBUS_ENDPOINT_DEVICE_IMPL_H

#include <sys/queue.h>

#include "capture/tap.h"
#include "endpoint/endpoint.h"
#include "tlp/offer_wire.h"
#include "tlp/ring_wire.h"
#include "tlp/split.h"
#include "util/log.h"
#include "util/hop.h"
#include "util/loop.h"

enum {
	CFG_SIZE = 4096,
	N_BARS = 6,
	RCB = 128, /* 2.3.1.1: of completers other than a root complex */
	TAGS_5BIT = 32,
	TAGS_8BIT = 256,
	TAGS_10BIT = 1024, /* of which 0..255 are not used in that mode, 2.2.6.2 */
	NO_TAG = 0xffff,
	MAX_FUNCTIONS = 256,
};

/* ---- Requests --------------------------------------------------------------- */

enum fb_req_kind {
	REQ_READ,  /* the model's DMA read */
	REQ_WRITE, /* the model's DMA write */
	REQ_MSI,   /* one vector's message */
	REQ_INTX,  /* Assert_INTA or Deassert_INTA */
	REQ_MSG,   /* other messages */
	REQ_RING,  /* where a ring lies, for the root */
	REQ_OFFER, /* values of registers, for the root */
	REQ_CPL,   /* the answer to a request that came while posted work was waiting */
};

TAILQ_HEAD(fb_req_list, fb_req);

/* One piece of work of the device. Pooled: none is allocated while the model keeps to the concurrency it had. */
struct fb_req {
	TAILQ_ENTRY(fb_req) link;
	enum fb_req_kind kind;
	int status;
	union {
		struct { /* REQ_READ, REQ_WRITE */
			fb_dma_done *done;
			void *arg;
			uint8_t *buf;
			uint32_t seg, seg_off; /* where the next TLP begins */
			uint64_t buf_off;
			uint32_t in_flight; /* reads: tags in use */
			uint64_t order;     /* reads: must not pass the posted work queued before it (2.4.1) */
			struct fb_req_list *in; /* reads: the list it is in */
			uint8_t copy[FB_DMA_INLINE];
		} dma;
		struct {
			unsigned vector;
		} msi;
		struct {
			bool level;
		} intx;
		struct {
			uint8_t code, route;
			uint32_t vendor_data;
		} msg;
		struct {
			unsigned slot;
		} ring;
		struct {
			struct pcie_tlp request;
			enum pcie_cpl_status status;
			uint8_t *data; /* malloc, or NULL */
			uint32_t len, sent;
			struct fb_port_credit credit;
		} cpl;
	};
	/* Kept with the struct when it goes back to the pool. */
	struct fb_dma_seg *segs;
	uint32_t n_segs, segs_cap;
	struct fb_dma_seg few_segs[4];
};

enum fb_tag_state {
	TAG_FREE,
	TAG_ACTIVE,
	TAG_QUARANTINE, /* its read was given up; a completion may still come and must find nothing */
};

struct fb_tag {
	struct pcie_reassembly r;
	struct fb_req *req; /* TAG_ACTIVE */
	uint64_t since;     /* issued, or quarantined */
	uint16_t prev, next;
	uint8_t state;
	bool quiet; /* quarantined by a reset: a late completion is no error (6.6.2) */
};

/* Tags in the order of their `since`. */
struct fb_tag_list {
	uint16_t first, last;
};

/* ---- Ring prefetch ----------------------------------------------------------- */

enum { FB_AHEADS = 64, FB_AHEAD_BYTES = 64 * 1024 }; /* kept in a round */

struct fb_ahead {
	uint64_t address;
	uint32_t len, at; /* at: in bytes[] */
};

/* A look at a ring's shadow index, by the box itself. */
struct fb_shadow {
	struct fb_device *dev;
	uint32_t index;  /* that the model was given last */
	uint32_t stored; /* at the event index, by the look that is on its way */
	bool looking;
	bool again;      /* the host has rung since it began */
	bool stale;      /* what it finds is of no use any more */
	uint8_t word[4];
};

struct fb_rings {
	struct fb_ring_rule rule[FB_RING_SLOTS];
	struct fb_shadow shadow[FB_RING_SLOTS];
	uint64_t shadows, later; /* bit n: slot n has a shadow; is to be looked at when the timer is due */
	struct fb_timer timer;
	uint64_t queued; /* bit n: the message of slot n is in the posted queue */
	struct fb_ahead ahead[FB_AHEADS];
	unsigned n;
	uint32_t used;
	uint8_t *bytes; /* FB_AHEAD_BYTES; NULL: no model's ring has been set yet */
	uint64_t round; /* of the loop, in which it came */
};

/* ---- Offers -------------------------------------------------------------------- */

struct fb_offers {
	uint32_t seen;        /* requests and messages from the root in this session */
	struct fb_offer last; /* n 0: nothing is offered, or it could not be sent */
	unsigned first;       /* the values in front of it are gone */
	bool queued;          /* an offer is in the posted queue */
	unsigned intx_since;  /* INTx messages that have left since the last offer did */
};

/* ---- Interrupts -------------------------------------------------------------- */

enum fb_intx { INTX_LOW, INTX_HIGH, INTX_UNKNOWN };

struct fb_vector {
	bool queued;   /* a message is in the posted queue */
	bool again;    /* raised once more since: one more message, behind all that is queued then */
	bool deferred; /* raised within the coalescing window */
	bool windowed; /* the window is open; the vector is in the list */
	uint16_t next; /* in the list of open windows */
	uint64_t until;
};

/* ---- The device ---------------------------------------------------------------- */

/* A wire of the model's own, on whose root's side it stands. */
struct fb_device_wire {
	struct fb_tap *tap; /* NULL: nobody looks */
	struct fb_tap_source source;
};

struct fb_common_options {
	const char *id;
	uint64_t irq_coalesce_ns, completion_timeout_ns;
	bool msi, msix, d3_reset, prefetch;
};

struct fb_device_hooks {
	void (*down)(void *arg, struct fb_device *dev, int reason, const char *text);
	void (*idle)(void *arg, struct fb_device *dev);
	void (*present)(void *arg, struct fb_device *dev, bool present, const char *why);
	void *arg;
};

/* Something for the thread of a device in the blocking style to do. */
struct fb_work {
	TAILQ_ENTRY(fb_work) link;
	enum fb_work_kind { WORK_READ, WORK_WRITE, WORK_RESET, WORK_TIMER, WORK_QUIESCE } kind;
	struct fb_device *dev;
	uint64_t epoch;
	struct fb_access *access;
	unsigned bar, size;
	uint64_t offset, value; /* value: written, or read */
	struct fb_device_timer *timer;
	enum fb_reset reset;
	bool queued; /* of reset_work and quiesce_work */
};
TAILQ_HEAD(fb_work_list, fb_work);

/* A capability that the model added. */
struct fb_extra_cap {
	bool extended;
	uint8_t version;
	uint16_t id, at, len; /* of the body, which is behind 2 or 4 bytes of header */
	uint8_t *bytes;       /* `len` of values, then `len` of the bits that a write changes */
};

/* A request of the root that waits for the model, and its accesses that have not ended. */
struct fb_access {
	LIST_ENTRY(fb_access) link;
	struct fb_held *held;
	int32_t place; /* reads: of its first byte in the request's data; may be before it */
	uint8_t bytes; /* reads: which of its bytes the request wants */
};

struct fb_held {
	LIST_ENTRY(fb_held) link;
	struct fb_device *dev;
	struct pcie_tlp request;
	struct fb_port_credit credit;
	LIST_HEAD(, fb_access) accesses;
	bool failed;
	uint32_t enabled; /* reads: see fb_post_completion() */
	uint8_t data[];   /* reads: whole DWs */
};

/* The request that is being walked through the model (mmio.c). */
struct fb_walk {
	struct fb_device *dev;
	const struct pcie_tlp *tlp;
	unsigned bar;
	unsigned min, max;
	uint64_t offset; /* in the BAR, of the first byte of the first DW */
	uint8_t *data;
	/* The register read last; when it is late, its bytes come later. */
	uint64_t unit, value;
	unsigned unit_size;
	struct fb_access *late;
	bool in_call, answered; /* inside read() or write(); which has called fb_access_complete() */
	struct fb_held *held;   /* an access was deferred */
	bool failed, cancelled;
};

struct fb_device {
	struct fb_loop *loop;
	struct fb_port *port; /* NULL: no root */
	const struct fb_model *model; /* the next one */
	struct fb_model whole_model;  /* what the model's struct does not have, being older, is zero */
	void *state;
	struct fb_common_options options;
	char **strings; /* those that the model's options point to */
	char name[48];  /* for logs */
	bool realizing, realized;
	bool said_why; /* realize() logged an error */
	struct fb_device_hooks hooks;

	/* Functions: those of function 0 are here, and each knows function 0. */
	struct fb_device *parent; /* NULL: this is function 0 */
	struct fb_device **functions;
	unsigned n_functions, number;

	/* thread.c; its lock covers these, but the thread's pointer. */
	struct fb_thread *thread; /* NULL: event style */
	uint64_t epoch, heard;    /* resets there have been; of which the thread has begun with */
	struct fb_work reset_work, quiesce_work;
	struct fb_stat *stat_values;
	unsigned n_stats;

	/* The shape: the model's, or what realize() made of it. */
	struct fb_identity identity;
	struct fb_bar bars[N_BARS]; /* by index; size 0: none */
	uint16_t msi_vectors, msix_vectors;
	struct fb_msix_place {
		bool chosen; /* by the model: else the PBA follows the table */
		unsigned table_bar, pba_bar;
		uint64_t table, pba;
	} msix;
	bool intx;
	uint64_t serial;
	struct fb_extra_cap *extra_caps;
	unsigned n_extra_caps;

	/* config.c */
	uint16_t bdf;
	bool bdf_known;
	uint8_t cfg[CFG_SIZE];
	uint8_t cfg_rw[CFG_SIZE];  /* bits that a write changes */
	uint8_t cfg_w1c[CFG_SIZE]; /* bits that a written 1 clears */
	uint16_t cap_pm, cap_msi, cap_exp, cap_msix;
	uint16_t ext_aer;
	/* What follows from it, kept by fb_ep_config_update(). */
	struct fb_config_view {
		bool memory, io, master, intx_disabled, serr, d3hot;
		bool msi, msix, msix_masked;
		bool ido;
		uint32_t msi_mask;
		unsigned msi_count;
		uint32_t mps, mrrs;
		uint16_t tag_first, tag_end; /* tags in use */
		uint64_t timeout_ns;         /* FB_NEVER: disabled */
		uint64_t bar[N_BARS];
	} view;

	/* mmio.c, held.c */
	struct fb_walk *walk; /* NULL: none is going on */
	LIST_HEAD(, fb_held) held;
	unsigned n_late;

	/* post.c */
	struct fb_req_list posted;
	uint64_t posted_in; /* ever queued; those not in `posted` any more have been sent */
	uint64_t posted_out;
	bool post_blocked, draining;
	uint8_t msg_queued; /* bit n: error message 0x30 + n is queued; bit 7: PME_TO_Ack */
	uint8_t scratch[PCIE_TLP_MAX_DATA + 8];

	/* dma.c, dma_read.c */
	struct fb_req_list waiting, reading, issued; /* behind posted work; has TLPs to send; all sent */
	struct fb_req_list finished, finishing;      /* done() is due; being called */
	struct fb_req_list pool;
	struct fb_flush finish;
	bool np_blocked, issuing;
	uint32_t root_can; /* FB_RING_CAN_*, as it has said since the last reset */
	struct fb_rings rings;
	struct fb_offers offers;
	struct fb_tag *tags;
	uint32_t n_tags;
	struct fb_tag_list free_tags, active_tags, quarantine;
	struct fb_timer timeout;

	/* irq.c */
	uint8_t *msix_table;
	uint64_t *msix_pba;
	struct fb_vector *vectors;
	unsigned n_vectors;
	bool intx_level, intx_queued;
	enum fb_intx intx_sent; /* what the root holds the pin for */
	uint16_t window_first, window_last;
	struct fb_timer window_timer;

	/* sched.c */
	LIST_HEAD(, fb_timer_impl) timers;
	LIST_HEAD(, fb_fd_impl) fds;
	LIST_HEAD(, fb_batch_impl) batches;
	LIST_HEAD(, fb_poller_impl) pollers;

	struct fb_device_wire wire;
	struct fb_function_info stats; /* its counters only */
	struct fb_hop times[FB_BOX_HOPS];
	struct fb_log_limit log_mmio, log_tlp;
};

/* options.c: 0 or -errno, logged. */
int fb_device_options(struct fb_device *dev, const char *text);
void fb_device_options_free(struct fb_device *dev);

/* caps.c, config.c */
void fb_ep_config_build(struct fb_device *dev); /* power-on values */
void fb_ep_config_update(struct fb_device *dev);
uint32_t fb_ep_config_read(struct fb_device *dev, uint16_t reg);
/* True: it started a function level reset, which is due when the completion has been sent. */
bool fb_ep_config_write(struct fb_device *dev, uint16_t reg, uint32_t value, uint8_t be);
uint16_t fb_cfg16(const struct fb_device *dev, unsigned offset);
uint32_t fb_cfg32(const struct fb_device *dev, unsigned offset);
void fb_cfg_set16(struct fb_device *dev, unsigned offset, uint16_t value);
void fb_cfg_set32(struct fb_device *dev, unsigned offset, uint32_t value);
static inline bool fb_may_master(const struct fb_device *dev)
{
	return dev->view.master && !dev->view.d3hot;
}

/* aer.c. `tlp` may be NULL. */
enum fb_error {
	FB_ERR_POISONED = 12,
	FB_ERR_COMPLETION_TIMEOUT = 14,
	FB_ERR_COMPLETER_ABORT = 15,
	FB_ERR_UNEXPECTED_COMPLETION = 16,
	FB_ERR_MALFORMED = 18,
	FB_ERR_UNSUPPORTED_REQUEST = 20,
	FB_ERR_INTERNAL = 22,
};
/* `advisory`: one of the cases of 6.2.3.2.4, unless the severity register makes it fatal. */
void fb_aer_report(struct fb_device *dev, enum fb_error error, const struct pcie_tlp *tlp, bool advisory);

/* mmio.c. The result of the port's tlp(). */
bool fb_mmio_request(struct fb_device *dev, const struct pcie_tlp *tlp);

/* held.c */
struct fb_access *fb_held_add(struct fb_walk *walk); /* an access of the walk that ends later; NULL: no memory */
/* The walk is over: true when something still waits, and the request is held. */
bool fb_held_wait(struct fb_walk *walk);
void fb_held_cancel(struct fb_device *dev);

/* thread.c: the loop's side */
int fb_thread_start(struct fb_device *dev);  /* of function 0 and all others: 0 or -errno */
bool fb_thread_stop(struct fb_device *dev);  /* false: it does not end, and all it may touch must stay */
bool fb_thread_access(struct fb_device *dev, struct fb_access *access, bool write, unsigned bar, uint64_t offset,
		      uint64_t value, unsigned size); /* false: no memory */
void fb_thread_reset(struct fb_device *dev, enum fb_reset kind);
bool fb_thread_timer_due(struct fb_device *dev, struct fb_device_timer *timer); /* false: no memory */
void fb_thread_quiesce(struct fb_device *dev);
void fb_thread_stats(struct fb_device *dev, void (*put)(void *arg, const char *name, uint64_t value), void *arg);
/* thread.c, thread_calls.c: the API's calls when they come from the device's thread */
bool fb_on_thread(const struct fb_device *dev);
int fb_thread_call(const struct fb_device *dev, int (*run)(struct fb_device *dev, void *arg), void *arg); /* by the loop */
int fb_thread_dma(struct fb_device *dev, bool read, const struct fb_dma_seg *segs, unsigned n, void *buf,
		  fb_dma_done *done);
void fb_thread_irq(struct fb_device *dev, unsigned vector);
void fb_thread_intx(struct fb_device *dev, bool asserted);
enum fb_irq_mode fb_thread_irq_mode(const struct fb_device *dev);
void fb_thread_internal_error(struct fb_device *dev, bool fatal);
void fb_thread_idle(struct fb_device *dev);
uint16_t fb_thread_bdf(const struct fb_device *dev);
bool fb_thread_bar_address(const struct fb_device *dev, unsigned bar, uint64_t *addr);
bool fb_thread_irq_target(const struct fb_device *dev, unsigned vector, uint64_t *addr, uint32_t *data);
uint32_t fb_thread_config_read(struct fb_device *dev, unsigned offset);
int fb_thread_update_capability(struct fb_device *dev, unsigned at, const void *body, unsigned len);
void fb_thread_ring_set(struct fb_device *dev, unsigned slot, const struct fb_device_ring *ring);
void fb_thread_pointers_set(struct fb_device *dev, unsigned slot, const struct fb_device_pointers *pointers);
void fb_thread_set_present(struct fb_device *dev, bool present, const char *why);
int fb_thread_config_write(struct fb_device *dev, unsigned offset, uint32_t value, unsigned byte_enables);
int fb_thread_timer_set(struct fb_device *dev, struct fb_device_timer *timer, uint64_t deadline); /* FB_NEVER: off */
void fb_thread_name(const struct fb_device *dev, char *name, size_t size);
void fb_thread_rename(struct fb_device *dev, const char *name);

/* shape.c */
int fb_shape_take(struct fb_device *dev);  /* from the model's struct: 0 or -errno, logged */
int fb_shape_check(struct fb_device *dev); /* after realize() */
void fb_shape_free(struct fb_device *dev);

/* post.c */
void fb_post(struct fb_device *dev, struct fb_req *req);
void fb_post_drain(struct fb_device *dev);
void fb_post_message(struct fb_device *dev, uint8_t code, uint8_t route, uint32_t vendor_data);
/*
 * Answers a request, behind the posted work that is queued: a completion does
 * not pass it (2.4.1). `data` starts with the whole DW that holds the first
 * enabled byte; `len` counts enabled bytes, first to last. NULL: no data.
 * Returns what the port's tlp() is to return: false, when the request's credit
 * is held until the answer is out.
 */
bool fb_post_completion(struct fb_device *dev, const struct pcie_tlp *request, enum pcie_cpl_status status,
			const uint8_t *data, uint32_t len);
/* The same for a request that has been held; releases its credit, now or then. */
void fb_post_answer(struct fb_device *dev, const struct pcie_tlp *request, struct fb_port_credit credit,
		    enum pcie_cpl_status status, const uint8_t *data, uint32_t len);
void fb_post_cancel_master(struct fb_device *dev); /* writes and MSI; completions and messages stay */
void fb_post_cancel_all(struct fb_device *dev);

/* dma.c */
struct fb_req *fb_req_get(struct fb_device *dev, enum fb_req_kind kind); /* NULL: no memory */
void fb_req_put(struct fb_device *dev, struct fb_req *req);
void fb_req_finish(struct fb_device *dev, struct fb_req *req, int status); /* done() follows at the round's end */
/* Ends all DMA, calling done() with -ECANCELED now. `quiet`: late completions are no errors. */
void fb_dma_cancel(struct fb_device *dev, bool quiet);
void fb_dma_free(struct fb_device *dev);
uint32_t fb_req_next(const struct fb_req *req, uint32_t max, uint64_t *addr); /* size of its next TLP, 0: none left */
void fb_req_advance(struct fb_req *req, uint32_t len);

/* dma_read.c */
void fb_read_start(struct fb_device *dev, struct fb_req *req);
void fb_read_issue(struct fb_device *dev);
void fb_read_completion(struct fb_device *dev, const struct pcie_tlp *cpl);
void fb_read_cancel(struct fb_device *dev, bool quiet);
void fb_read_tags_changed(struct fb_device *dev);
void fb_read_forget(struct fb_device *dev); /* end of a session: no completion can come any more */
void fb_read_timeout(struct fb_timer *timer);

/* ring.c */
int fb_ring_send(struct fb_device *dev, unsigned slot); /* 0, or -errno of the port */
/* A message of tlp/ring_wire.h or tlp/offer_wire.h to the root, of whole DW. 0, or -errno of the port. */
int fb_ring_message_send(struct fb_device *dev, uint32_t what, const uint8_t *payload, size_t len);
void fb_ring_message(struct fb_device *dev, const struct pcie_tlp *tlp);
/* True: the bytes came ahead of the read, and are in buf. */
bool fb_ring_take(struct fb_device *dev, const struct fb_dma_seg *segs, unsigned n, uint8_t *buf);
void fb_ring_drop(struct fb_device *dev);   /* what came ahead */
void fb_ring_forget(struct fb_device *dev); /* that, and the rings */

/* shadow.c */
void fb_shadow_set(struct fb_device *dev, unsigned slot); /* its rule is new */
void fb_shadow_forget(struct fb_device *dev);
void fb_shadow_message(struct fb_device *dev, const struct pcie_tlp *tlp);
/* The host writes a register. True: of a ring with a shadow, and the model is told the index when it is known. */
bool fb_shadow_written(struct fb_device *dev, unsigned bar, uint64_t offset);

/* offer.c */
int fb_offer_send(struct fb_device *dev); /* 0, or -errno of the port */
void fb_offer_used(struct fb_device *dev, const struct pcie_tlp *tlp);
void fb_offer_attach(struct fb_device *dev); /* a session begins */
void fb_offer_forget(struct fb_device *dev); /* reset */

/* irq.c */
/* The root holds INTx for deasserted by itself; unless `sure` a message that says otherwise may be on its way to it. */
void fb_ep_intx_lowered(struct fb_device *dev, bool sure);
void fb_ep_intx_update(struct fb_device *dev); /* the root hears of the pin if it is not as it holds */
int fb_ep_irq_init(struct fb_device *dev);
void fb_ep_irq_free(struct fb_device *dev);
void fb_ep_irq_reset(struct fb_device *dev);
void fb_ep_irq_config_changed(struct fb_device *dev); /* enables, masks, INTx disable */
/* Where the message of a vector goes, now. False: it is masked (and pending from now on) or off. */
bool fb_ep_irq_message(struct fb_device *dev, unsigned vector, uint64_t *addr, uint32_t *data);
void fb_ep_irq_sent(struct fb_device *dev, const struct fb_req *req); /* or dropped */
/* The runtime's own ranges of the MSI-X BARs. */
bool fb_ep_irq_owns(const struct fb_device *dev, unsigned bar, uint64_t offset);
uint8_t fb_ep_irq_bar_read(const struct fb_device *dev, unsigned bar, uint64_t offset);
void fb_ep_irq_bar_write(struct fb_device *dev, unsigned bar, uint64_t offset, uint8_t byte);
uint64_t fb_ep_msix_table_size(const struct fb_device *dev);
uint64_t fb_ep_msix_pba_size(const struct fb_device *dev);

/* reset.c */
void fb_reset(struct fb_device *dev, enum fb_reset kind);

/* sched.c */
void fb_sched_stop_timers(struct fb_device *dev);
void fb_sched_stop_all(struct fb_device *dev);

/* device.c */
void fb_device_rename(struct fb_device *dev);
void fb_device_quiesce(struct fb_device *dev); /* hooks.idle follows, perhaps from inside */
/* Answers UR where an answer is due, counts and reports. The result of the port's tlp(). */
bool fb_device_unsupported(struct fb_device *dev, const struct pcie_tlp *tlp);
void fb_device_aborted(struct fb_device *dev, const struct pcie_tlp *tlp); /* with Completer Abort: counts and reports */
void fb_device_log_tlp(struct fb_device *dev, const struct pcie_tlp *tlp, const char *what);

#endif
