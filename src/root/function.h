/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside src/root: one function of a box as the root has it, from the session
 * with the box to the VM's vfio-user connection. Everything hangs on
 * struct fb_root_function; the files that work on it:
 *
 *	function.c       the states, the session, the listener, surprise removal
 *	enumerate.c      enumeration and reset: runs of configuration requests
 *	mmio.c           the VM's accesses to regions
 *	vfio_user_msg.c  the vfio-user commands
 *	dma.c            what the function asks of the VM's memory
 *	dma_message.c    the same by DMA_READ and DMA_WRITE messages
 *	ring.c           ring prefetch: what the function will ask for next is sent along
 *	shadow.c         shadow doorbells of rings
 *	offer.c          register values that the function has sent ahead of reads
 *	dma_access.c     bytes of it, for dma.c and remote.c
 *	remote.c         what requesters on other machines ask of it
 *	irq.c            SET_IRQS, MSI, MSI-X, INTx, eventfds
 *	stats.c          what ls and stats show
 */
#ifndef FARBUS_ROOT_FUNCTION_H
#define FARBUS_ROOT_FUNCTION_H

#include "port/carrier.h"
#include "root/config.h"
#include "root/dma_access.h"
#include "root/dma_map.h"
#include "root/requester.h"
#include "root/root.h"
#include "root/vfio_user.h"
#include "tlp/offer_wire.h"
#include "tlp/ring_wire.h"
#include "util/listener.h"
#include "util/log.h"
#include "util/hop.h"
#include "util/loop.h"

#define FB_CONTAINER(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

struct fb_root_function;

/* What a function needs of its root; tests bring their own. */
struct fb_function_env {
	struct fb_loop *loop;
	const char *socket_dir;
	uint64_t answer_ns;
	uint64_t hold_ns; /* of the link: how long a reset may take at most is a little more */
	bool hide_msix;
	void *arg;
	/* Starts a session; up() or down() follows. 0 or -errno, logged. */
	int (*connect)(void *arg, struct fb_root_function *f, const struct fb_port_user *user, struct fb_port **out);
	/* NULL, or: fb_dma_message_room() may say yes again, or the client is gone. */
	void (*message_room)(void *arg, struct fb_root_function *f);
	/* NULL, or: a request that was given up has been answered after all. */
	void (*late)(void *arg, struct fb_root_function *f);
	/* The state has changed. */
	void (*changed)(void *arg, struct fb_root_function *f, enum fb_root_function_state old);
};

/* ---- The VM's accesses in progress (mmio.c) ---- */

enum { FB_VM_ACCESSES = 64, FB_VM_INLINE = 64, FB_VM_OPS = 18, FB_VM_LARGE_MAX = 4 << 20 };

struct fb_vm_access {
	struct fb_access access;
	struct fb_root_function *f;
	struct fb_vm_access *next; /* free list, or the list of held replies */
	bool used, reply, held;
	uint16_t id, command; /* of the message */
	uint32_t region, count, flags;
	uint64_t offset, since, sent; /* since: its message came; sent: its requests began */
	uint8_t *buf; /* inline_buf, or `large` bytes from malloc: it holds the ops, too, when they are many */
	size_t large;
	unsigned did;
	int status;
	struct fb_op ops[FB_VM_OPS];
	uint8_t inline_buf[FB_VM_INLINE];
};

/* ---- DMA by messages (dma_message.c) ---- */

enum { FB_DMA_SLOTS = 256 };

/* The end of a message on another's behalf. -EFAULT: refused; -ENODEV: the client is gone. `data`: of a read that worked. */
typedef void fb_dma_message_done(void *arg, int status, const uint8_t *data);

struct fb_dma_slot {
	bool used, write, stale; /* stale: from before a reset: its reply is for nobody */
	uint64_t address;
	uint32_t len;
	struct pcie_tlp request; /* reads; without data */
	struct fb_port_credit credit;
	bool last; /* its reply gives the credit back */
	fb_dma_message_done *done; /* not the function's own: a remote requester's (remote.c) */
	void *done_arg;
	unsigned session;
	uint64_t seq;
	struct fb_dma_slot *next, **link; /* writes in flight, oldest first */
};

struct fb_dma_waiting {
	struct fb_dma_waiting *next;
	struct fb_port_credit credit;
	unsigned session;
	struct pcie_tlp tlp; /* data points behind the struct */
};

enum fb_dma_layout { FB_DMA_LAYOUT_UNKNOWN, FB_DMA_LAYOUT_PROBING, FB_DMA_LAYOUT_SPEC, FB_DMA_LAYOUT_OLD };

struct fb_dma {
	struct fb_dma_map map;
	enum fb_dma_layout layout;
	struct fb_dma_slot slots[FB_DMA_SLOTS];
	unsigned n_used, n_foreign; /* n_foreign: of these, remote requesters' */
	struct fb_dma_slot *oldest, **newest; /* writes in flight */
	uint64_t write_seq;                   /* of the last write sent by message */
	struct fb_dma_waiting *waiting, **waiting_tail;
	bool draining;
	const struct fb_dma_waiting *current; /* while draining: whose turn it is */
};

/* ---- Interrupts (irq.c) ---- */

struct fb_irq_vector {
	int fd; /* -1: none */
	bool latched;  /* came while there was no eventfd */
	bool masked;   /* by SET_IRQS */
	bool dirty;    /* in the list to signal at the end of the round */
	bool unmasked_on_wire; /* MSI-X: its table entry is programmed and open */
	bool waits;    /* for DMA_WRITE messages up to wait_seq */
	bool again;    /* came once more meanwhile: then up to again_seq */
	uint64_t wait_seq, again_seq;
};

enum { FB_MSI_ADDRESS = 0xfee00000u, FB_MSIX_ADDRESS = 0xfee01000u };

struct fb_irq {
	struct fb_irq_vector *v; /* msi or msix vectors, whichever the VM uses */
	unsigned n;              /* allocated: the larger of the two */
	unsigned index;          /* VFIO_IRQ_MSI or _MSIX: whose eventfds v holds; 0: none */
	unsigned with_fd;
	enum fb_root_irq_mode wire; /* what the function is programmed for: NONE, MSI, MSIX */
	unsigned wire_vectors;      /* MSI: as programmed */
	bool table_stale;           /* MSI-X table to be written once memory decoding is on */
	int intx_fd, err_fd;
	struct fb_fd intx_unmask; /* armed: the client unmasks INTx by this eventfd */
	bool intx_level, intx_masked, intx_dirty, intx_waits;
	uint64_t intx_wait_seq;
	struct fb_timer intx_again; /* unmasked, and still asserted */
	uint16_t *dirty; /* n places */
	unsigned n_dirty, n_waiting;
	struct fb_flush flush;
};

/* ---- Reset and enumeration (enumerate.c) ---- */

struct fb_sequence {
	struct fb_access access;
	struct fb_op ops[96];
	unsigned step, tries;
	struct fb_timer retry;
	uint8_t header[256];
	uint64_t deadline_ns;
	bool running, again;
};

/* ---- Ring prefetch (ring.c) ---- */

struct fb_vm_ring {
	struct fb_ring_rule rule; /* entries 0: none */
	uint32_t index;           /* that the VM wrote last, or had in the shadow */
	bool told;                /* the function has been told that index, and no other since */
	uint32_t low, low_at;     /* pointer registers: the lower half that the VM wrote, and where (from rule.reg) */
	bool has_low;
};

struct fb_rings {
	struct fb_vm_ring ring[FB_RING_SLOTS];
	unsigned n; /* the highest slot in use, and one */
	bool announced; /* FB_RING_ABLE was sent */
};

/* ---- Offers (offer.c) ---- */

struct fb_vm_offer {
	struct fb_offer last; /* n 0: none */
	unsigned first;       /* the values in front of it are gone */
};

/* ---- The function ---- */

struct fb_root_function {
	const struct fb_function_env *env;
	struct fb_loop *loop;
	char id[FB_LINK_NAME_MAX];
	char name[64]; /* "ssd0 01:00.0": for logs */
	uint16_t bdf;

	enum fb_root_function_state state;
	char note[128]; /* why it is not to be had */
	struct fb_port *port;
	unsigned session; /* counts them: credits of an old one are not given to a new one */
	bool link_up;
	uint64_t retry_ns, backoff_ns; /* not to be connected before; how long next time */

	struct fb_requester rq;
	struct fb_config cfg;
	struct fb_sequence seq;

	/* the VM */
	struct fb_listener listener;
	char socket[108];
	struct fb_vu_conn vu;
	bool negotiated;
	uint32_t client_max_xfer;
	int client_pid;
	struct fb_vm_access vm[FB_VM_ACCESSES];
	struct fb_vm_access *vm_free;
	unsigned vm_used;
	size_t vm_large;
	struct fb_vm_access *held, **held_tail; /* replies that wait for DMA_WRITE messages */
	struct fb_timer held_timer;
	bool slow;                 /* not reading the VM's messages: too many posted writes are queued */
	struct fb_timer slow_timer;
	bool reset_reply;          /* a DEVICE_RESET is to be answered */
	uint16_t reset_id;
	bool reset_wants_reply;
	struct fb_timer reset_timer;

	struct fb_dma dma;
	struct fb_irq irq;
	struct fb_rings rings;
	struct fb_vm_offer offer;

	struct fb_root_counters count;
	struct fb_hop times[FB_ROOT_HOPS];
	struct fb_log_limit log_timeout, log_unmapped, log_requester, log_unsupported, log_client, log_refused, log_error,
		log_fault, log_come;

	/* root.c and hotplug.c */
	struct fb_root_function *next;
	void *box;
	char model[16];
	uint16_t vendor_id, device_id;
	uint32_t class_code;
	uint64_t seen; /* directory round in which it was listed last */
	bool listed;
	struct {
		enum fb_root_slot_state state;
		int slot; /* index, -1: none */
		bool held_out, stale;
		bool replug, anew; /* replug: the operator wants it to be put in anew after a read without answer; anew: it is due */
		uint64_t timeouts; /* reads without answer before it was plugged */
		uint64_t next_try_ns;
		bool failed_logged;
		void *op; /* the operator's command that waits */
	} plug;
};

/* function.c */
int fb_function_new(struct fb_root_function **out, const struct fb_function_env *env, const char *id, uint16_t bdf);
void fb_function_free(struct fb_root_function *f);
void fb_function_connect(struct fb_root_function *f);
/* The session is not to be used any more: as if the box were lost. */
void fb_function_lost(struct fb_root_function *f, int reason, const char *text);
/* A client on a socket that is connected already (tests); the listener's accept ends here too. Takes fd. */
int fb_function_client(struct fb_root_function *f, int fd);
/* The client is gone or is to go. */
void fb_function_client_end(struct fb_root_function *f, const char *why);

/* enumerate.c */
void fb_enumerate_start(struct fb_root_function *f);
void fb_enumerate_done(struct fb_root_function *f, const char *why); /* function.c; why NULL: it worked */
void fb_reset_start(struct fb_root_function *f);
void fb_reset_done(struct fb_root_function *f, const char *why); /* function.c */
/* The function came back from D3hot: its registers are as after reset. */
void fb_reprogram(struct fb_root_function *f);
void fb_sequence_stop(struct fb_root_function *f);

/* mmio.c */
void fb_vm_init(struct fb_root_function *f);
/* Is there room for what one message may start? */
bool fb_vm_has_room(const struct fb_root_function *f);
int fb_vm_region_read(struct fb_root_function *f, const struct vfio_user_message *msg);
int fb_vm_region_write(struct fb_root_function *f, const struct vfio_user_message *msg);
int fb_vm_write_multi(struct fb_root_function *f, const struct vfio_user_message *msg);
/* Ops whose end answers the message (NULL: nobody's). The ops are copied; n 0 answers at once. */
void fb_vm_ops(struct fb_root_function *f, const struct vfio_user_message *msg, const struct fb_op *ops, unsigned n);
uint64_t fb_region_size(const struct fb_root_function *f, unsigned region);
void fb_vm_cancel_all(struct fb_root_function *f);
/* No DMA_WRITE message is in flight any more: held replies may go. */
void fb_vm_release_held(struct fb_root_function *f);
void fb_vm_writable(struct fb_root_function *f);

/* vfio_user_msg.c */
extern const struct fb_vu_ops fb_vfio_user_ops;
void fb_reset_answer(struct fb_root_function *f);

/* dma.c */
bool fb_dma_tlp(struct fb_root_function *f, const struct pcie_tlp *tlp);
/*
 * Completes a memory read with `len` bytes, in completions of up to `mps`. `data` has the first of them at
 * offset (address & 3), and is readable up to the end of the last DW.
 */
void fb_complete_read(struct fb_port *port, uint32_t mps, const struct pcie_tlp *request, const uint8_t *data,
		      uint32_t len);
void fb_dma_complete_read(struct fb_root_function *f, const struct pcie_tlp *request, const uint8_t *data,
			  uint32_t len);
void fb_dma_complete_error(struct fb_root_function *f, const struct pcie_tlp *request, enum pcie_cpl_status status);
/* Counts and logs (rate-limited) a request that the VM's memory refuses: -EFAULT: not mapped; -EACCES. */
void fb_dma_refused(struct fb_root_function *f, const struct pcie_tlp *tlp, int err);

/* The function will want these bytes: 0, or -errno (not there, not readable, or not to be had at once); counts nothing. */
int fb_dma_peek(struct fb_root_function *f, uint64_t address, uint8_t *buf, uint32_t len);

/* ring.c */
void fb_vm_ring_message(struct fb_root_function *f, const struct pcie_tlp *tlp);
/* What the register at that offset belongs to, or NULL. */
struct fb_vm_ring *fb_vm_ring_at(struct fb_root_function *f, unsigned region, uint64_t offset);
/* The lower half of a pointer register: does nothing before the upper one is written. */
bool fb_vm_ring_half(const struct fb_vm_ring *ring, uint64_t offset, uint32_t len);
/* The VM's write of `data` to it has been sent. */
void fb_vm_ring_written(struct fb_root_function *f, struct fb_vm_ring *ring, uint64_t offset, const uint8_t *data,
			uint32_t len);
void fb_vm_ring_forget(struct fb_root_function *f);
/* May the root act for the function now: read and write the VM's memory, and send messages behind what it sent before? */
bool fb_vm_ring_may(const struct fb_root_function *f);
int fb_vm_ring_send(struct fb_root_function *f, uint32_t what, const uint8_t *payload, uint32_t len); /* or -errno */
/* The ring's index is `index` now: what is new in it goes ahead. */
void fb_vm_ring_moved(struct fb_root_function *f, struct fb_vm_ring *ring, uint32_t index);

void fb_vm_ring_announce(struct fb_root_function *f); /* what this root can do; once it may, and not before */

/* shadow.c */
/* The VM writes a ring's register. True: all that was to be said has been; the write itself need not go. */
bool fb_vm_shadow_written(struct fb_root_function *f, struct fb_vm_ring *ring, uint32_t value);

/* offer.c */
void fb_vm_offer_message(struct fb_root_function *f, const struct pcie_tlp *tlp);
void fb_vm_offer_forget(struct fb_root_function *f);
/* True: the VM's read is answered, the bytes are in buf, and the function has been told. */
bool fb_vm_offer_take(struct fb_root_function *f, unsigned region, uint64_t offset, uint32_t len, uint8_t *buf);

/* dma_message.c */
void fb_dma_init(struct fb_root_function *f);
/* Are others waiting, behind whom a new TLP has to queue? */
static inline bool fb_dma_must_wait(const struct fb_root_function *f) { return f->dma.waiting && !f->dma.draining; }
/* These three return what tlp() of the port shall return: true: done with it; false: its credit is held. */
bool fb_dma_enqueue(struct fb_root_function *f, const struct pcie_tlp *tlp);
bool fb_dma_message_write(struct fb_root_function *f, const struct pcie_tlp *tlp);
bool fb_dma_message_read(struct fb_root_function *f, const struct pcie_tlp *tlp);
void fb_dma_probe(struct fb_root_function *f);
int fb_dma_reply(struct fb_root_function *f, const struct vfio_user_message *msg);
static inline bool fb_dma_writes_in_flight(const struct fb_root_function *f) { return f->dma.oldest != NULL; }
/* For remote requesters: may n more messages be sent, of at most `most` that are not the function's own? */
bool fb_dma_message_room(const struct fb_root_function *f, unsigned n, unsigned most);
/* Sends one; `data` NULL: a read. 0: done() follows, never from inside; -ENOTCONN: the client is being cut off. */
int fb_dma_message_start(struct fb_root_function *f, uint64_t address, uint32_t len, const uint8_t *data,
			 fb_dma_message_done *done, void *arg);
/* The function was reset: what is in flight is for nobody. */
void fb_dma_forget(struct fb_root_function *f);
/* The client is gone: and so are the map and the messages. */
void fb_dma_client_gone(struct fb_root_function *f);

/* irq.c */
int fb_irq_alloc(struct fb_root_function *f);
void fb_irq_free(struct fb_root_function *f);
unsigned fb_irq_count(const struct fb_root_function *f, unsigned index);
int fb_irq_set(struct fb_root_function *f, struct vfio_user_message *msg);
/* Is this write an interrupt? Then it has been taken. */
bool fb_irq_message(struct fb_root_function *f, const struct pcie_tlp *tlp);
void fb_irq_intx(struct fb_root_function *f, bool level);
/* The guest's config write may have changed what it wants. */
void fb_irq_sync(struct fb_root_function *f);
void fb_irq_memory_on(struct fb_root_function *f);
/* The function was reset: nothing is programmed any more. */
void fb_irq_wire_reset(struct fb_root_function *f);
void fb_irq_client_gone(struct fb_root_function *f);
/* DMA_WRITE messages have been answered. */
void fb_irq_writes_done(struct fb_root_function *f);

/* hot paths' shorthand */
static inline uint64_t fb_function_now(const struct fb_root_function *f) { return fb_loop_now(f->loop); }
static inline bool fb_function_in_reset(const struct fb_root_function *f) { return f->seq.running; }

#endif
