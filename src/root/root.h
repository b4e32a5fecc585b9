/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtual root complex: the host side. It finds functions on boxes, numbers
 * their bus, assigns their BARs and interrupts, and offers each to a VM as a
 * vfio-user socket, DIR/ID.sock; with QMP it plugs and unplugs them by itself.
 * Read docs/design/root.md first.
 *
 * Single-threaded: one root, one loop, one thread; every call and callback on
 * it. Nothing blocks, except name look-ups in fb_root_new().
 */
#ifndef FARBUS_ROOT_ROOT_H
#define FARBUS_ROOT_ROOT_H

#include <stdbool.h>
#include <stdint.h>

#include "port/carrier.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fb_loop;
struct fb_root;

/* Whether the guest sees a function's MSI-X capability (docs/design/root.md, "MSI-X"). */
enum fb_root_msix {
	FB_ROOT_MSIX_AUTO, /* hidden where the root plugs and unplugs (qmp given), shown otherwise */
	FB_ROOT_MSIX_SHOW,
	FB_ROOT_MSIX_HIDE,
};

struct fb_root_config {
	const char *const *peers; /* boxes, "udp:ADDR:PORT"; NULL-terminated, at least one */
	const char *socket_dir;   /* must exist; DIR/ID.sock are made in it, stale ones of ours removed */
	const char *const *only;  /* IDs wanted, NULL-terminated; NULL: every function offered */
	const char *qmp;          /* path of QEMU's QMP socket, or NULL: the operator attaches */
	const char *const *slots; /* bus names in QEMU ("slot0"), NULL-terminated; needed with qmp */
	const char *const *replug; /* IDs, NULL-terminated: put in anew after reads without answer; with qmp */
	enum fb_root_msix msix;
	const char *dma_listen; /* NULL: no remote requesters; else where they are served (remote.h) */
	const char *const *allow_dma; /* what is open to them, NULL-terminated: remote_rules.h */
	uint64_t answer_ns; /* 0: 2 s. A read without completion gets all ones after this */
	uint64_t poll_ns;   /* 0: 1 s. How often a box's directory is read */
	/*
	 * How boxes are reached: fault, mtu, self (who we are), and link with hold
	 * time and group. listen and peer are ignored (one carrier a box).
	 */
	struct fb_carrier_config carrier;

	/*
	 * Called once, from the loop, never from inside fb_root_new(): 0: the root
	 * stands (with qmp: QEMU greeted us and the slots exist), or -errno after
	 * one logged line: give up, fb_root_free(). Functions may still be on
	 * their way: boxes that do not answer are asked again for ever. May be NULL.
	 */
	void (*started)(void *arg, int status);
	void *arg;
};

/* 0 or -errno; one line has then been logged that says what is wrong. Config is copied. */
int fb_root_new(struct fb_root **out, struct fb_loop *loop, const struct fb_root_config *config);

/*
 * Orderly end: what the root plugged is unplugged first (the guest has to agree;
 * bounded by timeout_ns, 0: 15 s), then done() is called, once, possibly before
 * this returns. fb_root_free() follows. Calls to plug are refused from now on.
 */
void fb_root_stop(struct fb_root *root, uint64_t timeout_ns, void (*done)(void *arg), void *arg);
/*
 * At once: closes clients and sessions, removes the sockets. Operations in
 * progress are not reported. Not from inside a callback. NULL is allowed.
 */
void fb_root_free(struct fb_root *root);

/*
 * Operator's commands; both need qmp. `done` is called exactly once, possibly
 * before the call returns: 0, or -errno and a line of text for the operator
 * (valid during the call): -ENOENT no such function, -ENOTSUP no qmp,
 * -EBUSY another operation is in progress or no slot is free, -ESHUTDOWN
 * stopping, -ETIMEDOUT the guest did not let go (it is still being asked).
 * A function unplugged by the operator stays out until it is plugged again.
 * Plugging what is plugged, and unplugging what is not, succeed.
 */
typedef void fb_root_done(void *arg, int status, const char *text);
void fb_root_plug(struct fb_root *root, const char *id, fb_root_done *done, void *arg);
void fb_root_unplug(struct fb_root *root, const char *id, fb_root_done *done, void *arg);
/* Whoever waits with `arg` is gone: its done() is not called any more; the operation goes on. */
void fb_root_forget(struct fb_root *root, void *arg);

/* ---- For ls and stats ---------------------------------------------------- */

enum fb_root_function_state {
	FB_ROOT_ABSENT,      /* not offered now, or not to be had: see `note` */
	FB_ROOT_CONNECTING,  /* session with the box is being made */
	FB_ROOT_ENUMERATING, /* reading its configuration, assigning BARs */
	FB_ROOT_RESETTING,   /* the last client left: FLR, then READY */
	FB_ROOT_READY,       /* free: its socket can be attached */
	FB_ROOT_IN_USE,      /* a client is attached */
	FB_ROOT_GONE,        /* box lost while in use: all ones for the client until it leaves */
	FB_ROOT_STATES
};
const char *fb_root_function_state_name(enum fb_root_function_state state); /* "ready" … */

enum fb_root_slot_state {
	FB_ROOT_SLOT_NONE,      /* not plugged by us */
	FB_ROOT_SLOT_PLUGGING,  /* device_add is on its way */
	FB_ROOT_SLOT_PLUGGED,
	FB_ROOT_SLOT_UNPLUGGING,/* device_del sent; the guest is to let go */
	FB_ROOT_SLOT_STATES
};
const char *fb_root_slot_state_name(enum fb_root_slot_state state);

enum fb_root_irq_mode { FB_ROOT_IRQ_NONE, FB_ROOT_IRQ_INTX, FB_ROOT_IRQ_MSI, FB_ROOT_IRQ_MSIX, FB_ROOT_IRQ_MODES };
const char *fb_root_irq_mode_name(enum fb_root_irq_mode mode);

struct fb_root_counters {
	/* what the guest did */
	uint64_t mmio_reads, mmio_writes, cfg_reads, cfg_writes;
	uint64_t read_timeouts;   /* all ones after the answer time */
	uint64_t read_errors;     /* UR, CA or poisoned: all ones */
	uint64_t late_completions, unexpected_completions;
	uint64_t writes_dropped;  /* function gone or its queue full */
	/* what the function did */
	uint64_t dma_reads, dma_read_bytes, dma_writes, dma_write_bytes, dma_atomics;
	uint64_t dma_unmapped;      /* outside the VM's memory: UR, or dropped */
	uint64_t dma_forbidden;     /* not readable or not writable there */
	uint64_t dma_bad_requester; /* another function's ID */
	uint64_t dma_stray;         /* no client, or before its reset was over */
	uint64_t dma_messages;      /* DMA_READ and DMA_WRITE sent to the client (memory without a file descriptor) */
	uint64_t dma_faults;        /* the client's memory file was too short: all of it refused */
	uint64_t interrupts, interrupts_signalled, interrupts_lost; /* arrived; eventfds written; vector without eventfd */
	uint64_t ahead, ahead_bytes; /* ring prefetch: messages with what the function would have asked for */
	/* shadow doorbells: written by the VM; of these looked after here; that had moved on beyond what was written */
	uint64_t shadow_rung, shadow_served, shadow_found;
	uint64_t offers, reads_offered, bad_offers; /* messages with register values; VM's reads answered from them; refused */
	uint64_t messages, errors_reported; /* Msg TLPs; ERR_* among them */
	uint64_t unsupported;       /* TLPs that a root does not serve */
	/* the vfio-user client */
	uint64_t clients, clients_refused, client_messages, client_errors, client_killed;
	uint64_t resets, sessions, surprise_removals;
};

struct fb_root_function_info {
	char id[FB_LINK_NAME_MAX];
	char model[16];
	uint16_t vendor_id, device_id;
	uint32_t class_code;
	char box[96]; /* "udp:192.0.2.1:7000" */
	enum fb_root_function_state state;
	char note[128]; /* why it is not to be had, or "" */
	bool link_up;
	bool held_out; /* unplugged by the operator */
	char socket[108];
	int client_pid; /* 0: none attached */
	char client_version[16]; /* "0.0", or "" */
	enum fb_root_slot_state slot_state;
	char slot[32]; /* "" when not plugged */
	uint16_t bdf;  /* the wire's: requester ID of the function */
	bool msix_hidden;
	enum fb_root_irq_mode irq_mode;
	unsigned vectors; /* eventfds in place */
	unsigned dma_regions, dma_regions_without_fd;
	uint64_t dma_bytes; /* guest memory mapped */
	struct fb_root_counters count;
};
/* Where time goes (docs/operations.md, "Times"). */
enum fb_root_hop {
	FB_ROOT_HOP_ACCESS,  /* a guest's read, from its message to the reply */
	FB_ROOT_HOP_REQUEST, /* of that, from the TLP to its completion: wire and box */
	FB_ROOT_HOP_DMA,     /* what the root does with one TLP of the function; of every 16th */
	FB_ROOT_HOPS
};
const char *fb_root_hop_name(enum fb_root_hop hop);
unsigned fb_root_functions(const struct fb_root *root);
/* ns, valid until the function is gone; NULL: no such function. */
const struct fb_histogram *fb_root_function_time(const struct fb_root *root, unsigned index, enum fb_root_hop hop);
/* 0 or -ENOENT. */
int fb_root_function_info(const struct fb_root *root, unsigned index, struct fb_root_function_info *info);
/* The link's counters: 0, -ENOENT, or -ENOTCONN without a session. */
int fb_root_function_link(const struct fb_root *root, unsigned index, struct fb_port_stats *stats);

struct fb_root_box_info {
	char address[96];
	bool reachable; /* answered the last directory request */
	struct fb_link_identity identity;
	unsigned offered; /* functions in its directory */
	char note[128];   /* "" or what is wrong */
	struct fb_net_stats net;
};
unsigned fb_root_boxes(const struct fb_root *root);
int fb_root_box_info(const struct fb_root *root, unsigned index, struct fb_root_box_info *info);

/* Remote requesters (docs/remote-memory.md). All members of the counters are uint64_t. */
struct fb_root_remote_counters {
	uint64_t reads, read_bytes, writes, write_bytes, atomics; /* carried out; bytes */
	uint64_t messages;    /* of these by DMA_READ and DMA_WRITE to the client */
	uint64_t denied;      /* outside what --allow-dma opens to the peer */
	uint64_t unmapped;    /* outside the VM's memory */
	uint64_t forbidden;   /* not readable or not writable there */
	uint64_t stray;       /* after the VM of the session was gone */
	uint64_t unsupported; /* TLPs that are not served */
	uint64_t faults;      /* the client's memory file was too short */
};
struct fb_root_remote_info {
	bool used;
	char listen[96];
	unsigned rules, sessions; /* sessions: now */
	uint64_t sessions_total, refused; /* refused: at their hello */
	struct fb_root_remote_counters count; /* of all sessions, past ones included */
	const struct fb_histogram *time; /* what the root does with one TLP, ns; of every 16th */
};
void fb_root_remote_info(const struct fb_root *root, struct fb_root_remote_info *info);
struct fb_root_remote_session_info {
	char function[FB_LINK_NAME_MAX];
	struct fb_root_remote_counters count;
	struct fb_port_stats port;
};
/* 0 or -ENOENT. */
int fb_root_remote_session_info(const struct fb_root *root, unsigned index, struct fb_root_remote_session_info *info);

struct fb_root_qmp_info {
	bool used, connected;
	char version[32]; /* QEMU's */
	unsigned slots, slots_free;
	uint64_t commands, errors, events, reconnects;
};
void fb_root_qmp_info(const struct fb_root *root, struct fb_root_qmp_info *info);

#ifdef __cplusplus
}
#endif
#endif
