/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device API: what a PCIe device model is written against.
 *
 * A model is one const struct, at the end of one file. Built into farbus, its
 * name is in a list; in a shared object it is called farbus_model, and
 * `farbus box --device ./mydevice.so,id=m0` loads it. The runtime makes the PCIe
 * function: configuration space and capabilities, BARs, DMA, interrupts,
 * timers, the session with a root. The model has registers and behaviour.
 * docs/writing-a-device.md leads from nothing to a device that runs; those who
 * know QEMU's device API find a table of names there.
 *
 * A model's life: its options are read, realize(), then as often as a root
 * comes and goes: register accesses, DMA, interrupts, resets, and a reset of
 * kind FB_RESET_SESSION; at last unrealize().
 *
 * Two styles (fb_model.style):
 *
 *   event     All callbacks of a device come on the thread of the box's loop,
 *             one at a time. No callback may block, and no call into this API
 *             does: DMA is started, and done() says that it has ended.
 *   blocking  The device has a thread of its own. Register accesses, resets and
 *             timers come on it, one at a time, in the order in which the guest
 *             caused them, and may wait: for DMA (fb_dma_read_wait()), for time
 *             (fb_device_sleep()), for whatever else the model can be woken
 *             from. While a callback waits, what comes for the device waits
 *             behind it. realize() and unrealize() come on the loop's thread,
 *             while the other one does not exist.
 *
 *             A reset, and the end of a session, end whatever waits in this API
 *             with -ECANCELED; from then on every call does nothing (returns
 *             -ECANCELED where it can), until the callback has returned and
 *             reset() has been called. What the callback then returns, and all
 *             it did, is forgotten. A callback that computes for long asks
 *             fb_device_interrupted() now and then. One that never returns holds
 *             up its own device and nothing else.
 *
 * The calls of this API are made on the device's own thread: the loop's, or in
 * the blocking style the device's. Which calls may be made where beyond that is
 * said at each of them.
 *
 * Guest memory is never visible as a pointer: fb_dma_*() move bytes by TLP.
 * Everything that comes from the guest (values, addresses, lengths read from
 * its memory) is untrusted: check it.
 *
 * What changes: FB_DEVICE_API when a model has to be built anew. Within it
 * struct fb_model grows at its end only, and its `size` says how far a model
 * knows it: older models run under newer farbus, newer ones under older farbus
 * as long as they leave what is new at zero. The other structs stay as they are.
 */
#ifndef FARBUS_DEVICE_H
#define FARBUS_DEVICE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FB_DEVICE_API 1

struct fb_device; /* one function, made by the runtime; opaque to the model */

enum fb_style { FB_STYLE_EVENT, FB_STYLE_BLOCKING };

/* ---- Identity and shape ------------------------------------------------ */

struct fb_bar {
	uint8_t index; /* 0..5; a 64-bit BAR takes index and index + 1 */
	bool is_io, is_64, prefetchable;
	uint64_t size; /* power of two; memory 128 (4096 is usual) to 2 GiB, 64-bit ones to 2^62; I/O 4..256 */
	/*
	 * Sizes of access the model understands, 1..8 bytes, powers of two. Wider
	 * accesses are cut into max_access ones, lower addresses first; narrower
	 * reads are widened to min_access; narrower writes reach the model only
	 * if min_access allows them, else they are dropped and logged. 0: 4.
	 */
	uint8_t min_access, max_access;
};

struct fb_identity {
	uint16_t vendor_id, device_id, subsystem_vendor_id, subsystem_id;
	uint32_t class_code; /* 24 bits: class, subclass, programming interface */
	uint8_t revision;
};

/* ---- Options: "nvme,id=ssd0,file=disk.img,queues=8" -------------------- */

enum fb_option_type {
	FB_OPT_STRING, /* const char *; NULL when not given and no default */
	FB_OPT_U32,    /* uint32_t */
	FB_OPT_U64,    /* uint64_t */
	FB_OPT_SIZE,   /* uint64_t bytes; K, M, G, T are powers of 1024 */
	FB_OPT_BOOL,   /* bool; on/off, yes/no, true/false, 1/0; the bare name is on */
	FB_OPT_CHOICE, /* uint32_t: index into choices */
};

struct fb_option {
	const char *name;
	enum fb_option_type type;
	size_t offset;        /* of the member in the model's state */
	const char *unit;     /* "bytes", "us" …, or NULL. U64 in "time": nanoseconds, written "20us", "1.5s" */
	const char *def;      /* as the user would write it; NULL: zero, or none */
	uint64_t min, max;    /* numbers: allowed range; max 0: no bound */
	const char *const *choices; /* NULL-terminated */
	bool required;
	const char *help;     /* one line, no full stop */
};

#define FB_OPTION(state, member, name_, type_, ...)                                                                    \
	{                                                                                                              \
		.name = (name_), .type = (type_), .offset = offsetof(state, member), __VA_ARGS__                       \
	}

/* ---- The model ---------------------------------------------------------- */

/* There is no other: what a VM's reset does to its devices comes as FLR. */
enum fb_reset {
	FB_RESET_SESSION, /* the root is gone, or another one takes its place: as power-on */
	FB_RESET_FLR,     /* function level reset (base spec 6.6.2) */
	FB_RESET_D3,      /* D3hot to D0, with the device option d3-reset=on; without it state survives D3hot */
};

struct fb_model {
	uint32_t api;  /* FB_DEVICE_API */
	uint32_t size; /* sizeof(struct fb_model): the struct grows at its end */

	/* Needed are name, reset, read and write. What else is NULL or zero is not there. */
	const char *name;    /* "nvme": the first word of --device; a box tells roots up to 15 characters of it */
	const char *summary; /* one line for `farbus devices` */
	struct fb_identity identity;

	const struct fb_bar *bars;
	unsigned n_bars;
	/* Interrupts: MSI vectors (0, 1, 2, 4 … 32), MSI-X vectors (0..2048), one INTx pin. */
	uint16_t msi_vectors, msix_vectors;
	uint8_t msix_bar;       /* BAR for table and PBA; the runtime serves that range itself */
	uint64_t msix_offset;   /* table offset in it, 8-aligned; the PBA follows the table, 8-aligned */
	bool intx;

	const struct fb_option *options; /* may be NULL */
	unsigned n_options;
	size_t state_size; /* zeroed memory for each device: fb_device_state() */

	/*
	 * Options are filled in and checked. Open files, adjust the shape, add
	 * functions. 0 or -errno after fb_device_error() has said why in one line.
	 * unrealize() is called only if this returned 0; it must leave nothing
	 * behind (DMA has ended by then, with -ECANCELED). Both may be NULL.
	 */
	int (*realize)(struct fb_device *dev);
	void (*unrealize)(struct fb_device *dev);

	/*
	 * Back to the state after power-on. All DMA of the device has ended
	 * (completed with -ECANCELED) before this is called, interrupts are off and
	 * timers of the API are stopped. If the model has work in flight elsewhere
	 * (files), its results must not reach the guest any more.
	 */
	void (*reset)(struct fb_device *dev, enum fb_reset kind);

	/* Register access, `size` 1..8 bytes, naturally aligned, little-endian value. Either may defer: fb_access_defer(). */
	uint64_t (*read)(struct fb_device *dev, unsigned bar, uint64_t offset, unsigned size);
	void (*write)(struct fb_device *dev, unsigned bar, uint64_t offset, uint64_t value, unsigned size);

	/*
	 * Optional. True when the device holds nothing that a stop would lose: no
	 * command in progress. On SIGTERM the runtime calls quiesce() once and then
	 * waits (bounded) for fb_device_idle(); without this member it is idle.
	 */
	bool (*quiesce)(struct fb_device *dev);

	/*
	 * Optional: the model's own counters for `farbus stats`, by calling put for
	 * each (64 at most, their names string literals). In the blocking style it
	 * is called on the device's thread, after each callback.
	 */
	void (*stats)(struct fb_device *dev, void (*put)(void *arg, const char *name, uint64_t value), void *arg);

	enum fb_style style; /* FB_STYLE_EVENT when not given */
	/* The first version of the API ended before `style`. */

	/*
	 * Optional: the guest has written `len` bytes (1..4) of configuration space
	 * at `offset`, and what follows from it has happened. For models that have
	 * capabilities of their own, or pass configuration on: fb_device_config_read().
	 * Not called for a write that resets: that is reset()'s. Event style only.
	 */
	void (*config_written)(struct fb_device *dev, unsigned offset, unsigned len);

	/*
	 * Optional, for models that call fb_device_offer(): the guest has read this
	 * register, and got what an offer before the last one said. What has come
	 * since it has not seen: that stays, and has to interrupt (again). `bar` and
	 * `offset` are as little to be trusted as those of read(). Event style only.
	 */
	void (*read_outdated)(struct fb_device *dev, unsigned bar, uint64_t offset);

	/*
	 * What the guest reads of the PCIe link: its speed as in Link Capabilities, 1 (2.5 GT/s), 2 (5 GT/s) or 3 (8 GT/s),
	 * and its width, 1, 2, 4 or 8 lanes. 0: 8 GT/s, 4 lanes. For drivers that know the device and look; nothing is
	 * faster or slower for it.
	 */
	uint8_t link_speed, link_width;
};

/* What a shared object exports: `const struct fb_model farbus_model = {...};` */
extern const struct fb_model farbus_model;

void *fb_device_state(struct fb_device *dev);
const char *fb_device_id(const struct fb_device *dev);   /* "ssd0" */
const char *fb_device_name(const struct fb_device *dev); /* "ssd0 01:00.0", for logs */
struct fb_device *fb_device_of_state(void *state);

/* ---- Functions ------------------------------------------------------------- */

/*
 * A device may have more than one function. In realize() of the first one, each
 * call adds the next: with the model's struct or another one of the same style
 * (which must outlive the device), own state, own identity, BARs and
 * interrupts, and the ID "<id>.1", "<id>.2" …, by which roots take it in a
 * session of its own: functions of one device may be in different machines.
 * They share the device's thread, and find each other by fb_device_function().
 * Its realize() is called at once, with all its own options at their defaults,
 * so the first function's state is where the user's options are; the options of
 * every model (irq-coalesce …) are those of the first. It ends before the
 * first. `out` may be NULL. 0, -EINVAL (not in realize() of a first function,
 * or another style), -ENOSPC (256 functions), -ENOMEM, -ELIBBAD (the struct is not
 * of this API), or what realize() returned.
 */
int fb_device_add_function(struct fb_device *dev, const struct fb_model *model, struct fb_device **out);
struct fb_device *fb_device_function(struct fb_device *dev, unsigned number); /* of the same device; NULL: none */
unsigned fb_device_function_number(const struct fb_device *dev);              /* 0: the first */

/* ---- Shape ------------------------------------------------------------------ */

/*
 * In realize() only: change what the model's struct says, up to presenting
 * another device altogether. 0 or -EINVAL; what does not fit together is
 * refused, with a message, after realize().
 */
int fb_device_set_identity(struct fb_device *dev, const struct fb_identity *identity);
/* Adds the BAR bar->index, or replaces it; size 0 takes it away. The struct is copied. */
int fb_device_set_bar(struct fb_device *dev, const struct fb_bar *bar);
int fb_device_set_bar_size(struct fb_device *dev, unsigned bar, uint64_t size);
int fb_device_set_vectors(struct fb_device *dev, uint16_t msi, uint16_t msix);
/* Where MSI-X table and PBA are; offsets 8-aligned. Without this call: as the struct says, the PBA behind the table. */
int fb_device_set_msix(struct fb_device *dev, unsigned table_bar, uint64_t table_offset, unsigned pba_bar,
		       uint64_t pba_offset);
int fb_device_set_intx(struct fb_device *dev, bool intx);
void fb_device_set_serial_number(struct fb_device *dev, uint64_t serial); /* Device Serial Number capability */
/*
 * One more capability (vendor-specific ones, above all): `len` bytes that follow
 * its ID and next pointer (or, of an extended one, its first 4 bytes), as they
 * are after a reset. `writable` (as long, or NULL: none): the bits that the guest
 * can change. Returns its offset, -EINVAL, -ENOSPC or -ENOMEM. There is room for
 * 64 bytes of capabilities and 3,712 of extended ones, headers included.
 */
int fb_device_add_capability(struct fb_device *dev, uint8_t id, const void *body, const void *writable, unsigned len);
int fb_device_add_ext_capability(struct fb_device *dev, uint16_t id, unsigned version, const void *body,
				 const void *writable, unsigned len);

/*
 * Changes what the guest reads of a capability that was added, until the next
 * reset: `at` is what adding it returned, body and len are as there. 0 or -EINVAL.
 */
int fb_device_update_capability(struct fb_device *dev, unsigned at, const void *body, unsigned len);

/*
 * The function is there (as after realize()), or not: what stands behind it is
 * gone. Then its session ends, which its root sees as surprise removal, and it
 * is offered to nobody until it is present again. Resets the model: not to be
 * called from its callbacks for registers, configuration or reset. `why`: for the root.
 */
void fb_device_set_present(struct fb_device *dev, bool present, const char *why);

/* After quiesce() returned false: the last command has ended. */
void fb_device_idle(struct fb_device *dev);

/* ---- Accesses that end later ---------------------------------------------- */

struct fb_access; /* one call of read() or write() that has not ended */

/*
 * Event style, inside read() or write() only: this access ends later, by fb_access_complete()
 * or fb_access_fail(). What read() then returns is ignored. The guest's request is
 * answered when all its accesses have ended (one that is wider than max_access
 * is several calls, all made at once), behind the DMA writes and interrupts
 * that were started before that. Its flow-control credit is held meanwhile: of
 * reads the root has only so many at a time, of writes only so many bytes, so a
 * model that defers writes throttles the guest. Nothing else of the function
 * waits: later reads and writes come in their order.
 *
 * NULL: too many wait (FB_ACCESSES), no memory, or nothing that can be deferred (in
 * the blocking style, for the second time in a call, in the read() of an offer that
 * was used); end this access at once.
 * A reset and the end of a session end what waits: the guest's reads are
 * answered with Unsupported Request where there is somebody to answer. The
 * pointers are dead when reset() is called: the model forgets them there.
 */
struct fb_access *fb_access_defer(struct fb_device *dev);
void fb_access_complete(struct fb_access *access, uint64_t value); /* of writes the value is ignored */
/*
 * The whole request is answered with Completer Abort: the guest reads all ones. Of a memory write: dropped. Both are
 * reported as an error of the function (Signaled Target Abort, AER).
 */
void fb_access_fail(struct fb_access *access);
enum { FB_ACCESSES = 4096 };

/* ---- DMA ---------------------------------------------------------------- */

struct fb_dma_seg {
	uint64_t addr; /* bus address, any alignment */
	uint32_t len;
};

/*
 * Event style: called once for each request that was accepted, never from inside
 * the call that started it. Blocking style: give NULL, and the call itself
 * returns when it has ended, with this status. status: 0; -EFAULT: the address is not mapped (UR); -EIO:
 * completer abort, poisoned or malformed data; -ETIMEDOUT: no completion within
 * the completion timeout; -ECANCELED: reset, bus mastering switched off, or
 * the session ended.
 */
typedef void fb_dma_done(void *arg, int status);

/*
 * Reads guest memory at the segments, one after the other, into buf (room for
 * the sum of their lengths). buf belongs to the runtime until done() is called.
 * `done` NULL is not allowed for reads in the event style, another one not in the
 * blocking style. 0, or -errno when not accepted (done is not called): -EPERM:
 * bus mastering is off, or the function in D3hot; -ENOTCONN: no root; -EINVAL: no
 * segment, a length of 0, a segment beyond the end of the address space, or `done` of
 * the other style; -ENOMEM. In the blocking style also what status says.
 * Segments are copied before the call returns; buf is not.
 */
int fb_dma_readv(struct fb_device *dev, const struct fb_dma_seg *segs, unsigned n, void *buf, fb_dma_done *done,
		 void *arg);
/*
 * Writes buf to guest memory at the segments. Posted: done() says that the data
 * is on its way in order and that buf may be reused, not that it has arrived.
 * What is written later, and an interrupt raised later, arrives later: no need
 * to wait for done() in between. With `done` NULL up to FB_DMA_INLINE bytes
 * are copied before the call returns (more: -EINVAL; the blocking style has no such
 * limit). Returns what fb_dma_readv() does.
 */
int fb_dma_writev(struct fb_device *dev, const struct fb_dma_seg *segs, unsigned n, const void *buf, fb_dma_done *done,
		  void *arg);
enum { FB_DMA_INLINE = 64 };

static inline int fb_dma_read(struct fb_device *dev, uint64_t addr, void *buf, uint32_t len, fb_dma_done *done, void *arg)
{
	struct fb_dma_seg seg = {addr, len};
	return fb_dma_readv(dev, &seg, 1, buf, done, arg);
}

static inline int fb_dma_write(struct fb_device *dev, uint64_t addr, const void *buf, uint32_t len, fb_dma_done *done,
			       void *arg)
{
	struct fb_dma_seg seg = {addr, len};
	return fb_dma_writev(dev, &seg, 1, buf, done, arg);
}

/* The blocking style: 0 when the data is there (of writes: on its way, in order), or one of the -errno above. */
static inline int fb_dma_read_wait(struct fb_device *dev, uint64_t addr, void *buf, uint32_t len)
{
	return fb_dma_read(dev, addr, buf, len, NULL, NULL);
}

static inline int fb_dma_write_wait(struct fb_device *dev, uint64_t addr, const void *buf, uint32_t len)
{
	return fb_dma_write(dev, addr, buf, len, NULL, NULL);
}

/*
 * A ring of requests in guest memory, such as a submission queue, whose producer
 * index the host writes to a register. A root that knows it may send what is new
 * in it along with that write, and the data that belongs to an entry: DMA reads
 * of it in the same round of the loop (in write(), or in a batch that it
 * schedules) are then answered at once. Nothing but time depends on it, so rings
 * may be described as far as it pays: all other reads go as ever.
 *
 * Only for memory that nobody writes between the host's write of the index and
 * the device's read: not the host, and not the device (that it writes an entry
 * back when it has done with it is fine). Data goes along with an entry whose byte
 * match_at is `match`, if its (16-bit number at count_at + 1) << count_shift bytes
 * at the 64-bit address at pointer_at are not more than data_max and within one
 * page of 4 KiB.
 */
struct fb_device_ring {
	uint8_t bar;
	uint32_t reg;        /* 32-bit register, offset in the BAR; it counts entries from 0 to entries - 1 */
	uint64_t base;
	uint32_t entry_size; /* bytes, a multiple of 4, up to 256 */
	uint32_t entries;    /* 2..65536 */
	uint8_t match_at, match, pointer_at, count_at, count_shift;
	uint16_t data_max;   /* up to 4096; 0: no data */
	/*
	 * Shadow doorbell, as NVMe's Doorbell Buffer Config (NVMe 1.4, 5.7) has it:
	 * bus addresses, multiples of 4, or both 0. The host moves the 32-bit index
	 * at `shadow`, and writes the register only when the index passes the one
	 * at `event`. The runtime, with the root's help, keeps `event` up to date and
	 * looks at `shadow`; write() is called for `reg` with the newest index, which
	 * may be the one it had before, whether the host wrote the register for it or
	 * not, and never with what the host wrote there. Such a write cannot be deferred.
	 * The model writes the index that it has to `event` before the host begins.
	 */
	uint64_t shadow, event;
};
enum { FB_DEVICE_RINGS = 64 };
/* `ring` NULL: there is none any more. All are forgotten with a reset. Slots from 0 to FB_DEVICE_RINGS - 1. */
void fb_device_ring_set(struct fb_device *dev, unsigned slot, const struct fb_device_ring *ring);
/*
 * Shadows are served, and quickly: the root has said so. False before the host's
 * first write to a BAR, with prefetch=off and in the blocking style, in which
 * `shadow` and `event` are not looked at.
 */
bool fb_device_ring_shadow_able(const struct fb_device *dev);

/*
 * The same for 64-bit registers to which the host writes the address of a request
 * block: all 64 bits at once, or the lower half and then the upper one, which
 * starts the request. The root may send block_size bytes from that address. Data goes
 * along with a block whose byte match_at is `match`: that of a list whose first
 * element has a 64-bit address at pointer_at and (the 32-bit number at count_at)
 * << count_shift bytes, whose next elements follow list_stride bytes apart in the
 * block, and whose last element has something else than 0 in its byte at end_at
 * (all offsets are of the first element, from the block's begin). It is all sent, or
 * none: lists that do not end in the block, or of more than data_max bytes, are not.
 */
struct fb_device_pointers {
	uint8_t bar;
	uint32_t reg;         /* the first one's offset in the BAR */
	uint16_t reg_stride;  /* bytes from one to the next, at least 8 */
	uint8_t registers;    /* 1..64 */
	uint16_t block_size;  /* bytes, a multiple of 4, up to 256 */
	uint8_t match_at, match, pointer_at, count_at, count_shift;
	uint8_t list_stride;  /* 0: one element */
	uint8_t end_at;
	uint16_t data_max;    /* bytes, up to 32768; 0: no data */
};
/* As fb_device_ring_set(), with which it shares the slots. */
void fb_device_pointers_set(struct fb_device *dev, unsigned slot, const struct fb_device_pointers *pointers);

/* ---- Interrupts ----------------------------------------------------------- */

/*
 * Raises vector `vector`: an MSI-X message, else MSI; vectors from the number
 * that there are (MSI: that the guest enabled) on wrap around. No effect when
 * neither is on (models with intx use fb_intx_set() when fb_irq_mode() says so),
 * or bus mastering is off.
 * Masked vectors stay pending and fire when unmasked. Interrupts follow all DMA
 * writes started before them. The device option irq-coalesce=TIME joins the
 * interrupts of one vector that come within TIME.
 */
void fb_irq(struct fb_device *dev, unsigned vector);
/* Level of the INTx pin; no effect while MSI or MSI-X is enabled or INTx is disabled in the command register. */
void fb_intx_set(struct fb_device *dev, bool asserted);

enum fb_irq_mode { FB_IRQ_NONE, FB_IRQ_INTX, FB_IRQ_MSI, FB_IRQ_MSIX };
enum fb_irq_mode fb_irq_mode(const struct fb_device *dev);

/* ---- Offers: register values sent ahead ------------------------------------ */

/*
 * An interrupt service routine begins with reads of registers, each a round trip
 * to the guest's machine during which its processor stands still. A model may
 * say, in front of an interrupt, what these reads would give now. A root that
 * knows how answers them from that, and tells; then read() is called, as late as
 * the guest's read would have come, its result must be the value offered, and goes
 * nowhere. docs/design/offers.md has the reasons for the rules:
 *
 *  - Values stand in the order in which the guest reads them. Each is good for
 *    one read, which ends those in front of it as well; one that is `inert` for any
 *    number of reads, of which the model is not told.
 *  - Whatever else the guest asks of the function, reads and writes, ends the offer. So
 *    only the model itself changes what a value stands for. When it does, outside
 *    of read() and write(), it calls fb_device_offer() at once: anew, or with n 0.
 *    And in front of whatever tells the guest of the change.
 *  - A use that was on its way meanwhile is not for read(): read_outdated().
 *
 * Without a root that can do it, in the blocking style and with the device option
 * prefetch=off the call does nothing.
 */
struct fb_device_value {
	uint8_t bar, size; /* size 1, 2, 4 or 8 bytes, as the guest's driver reads it */
	bool inert;        /* reading it does nothing */
	bool lowers_intx;  /* by reading it INTx gets deasserted: the root need not hear it from the function first */
	uint32_t offset;   /* a multiple of size */
	uint64_t value;
};
enum { FB_DEVICE_VALUES = 7 };
/* n from 0 (nothing is offered any more) to FB_DEVICE_VALUES; takes the place of what was offered before. */
void fb_device_offer(struct fb_device *dev, const struct fb_device_value *values, unsigned n);

/* ---- What the root made of it --------------------------------------------- */

/* For models that tell others how they are reached; a device's own work needs none of this. */

uint16_t fb_device_bdf(const struct fb_device *dev); /* requester ID; 0: not configured */
/* Where the BAR is in the bus' address space. False: there is no such BAR, or the function does not decode it now. */
bool fb_device_bar_address(const struct fb_device *dev, unsigned bar, uint64_t *addr);
/*
 * The memory write that would be vector `vector`'s interrupt (MSI-X or MSI).
 * False: no interrupt of that number can be sent now: off, masked, bus mastering off.
 */
bool fb_irq_target(const struct fb_device *dev, unsigned vector, uint64_t *addr, uint32_t *data);
/*
 * The register at `offset` (0..4092, DW-aligned) of configuration space, as the
 * root reads and writes it: all side effects included, so a write may reset the
 * device before it returns. Reads beyond the end give all ones.
 */
uint32_t fb_device_config_read(struct fb_device *dev, unsigned offset);
int fb_device_config_write(struct fb_device *dev, unsigned offset, uint32_t value, unsigned byte_enables); /* 0, -EINVAL */

/*
 * For a model whose other side is a wire that carries TLPs: one of them, as
 * bytes, malformed or not, was sent or has come there. For captures (`farbus
 * capture`), which know it by the function's ID; one branch while none runs.
 * No effect in the blocking style.
 */
void fb_device_wire_tlp(struct fb_device *dev, bool sent, const void *bytes, size_t len);

/* ---- Errors, messages, time, files ---------------------------------------- */

/* Report an internal error: sets AER's and Device Status' bits and sends ERR_NONFATAL or ERR_FATAL where enabled. */
void fb_device_internal_error(struct fb_device *dev, bool fatal);

/* Log lines, prefixed with the device. */
void fb_device_error(struct fb_device *dev, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void fb_device_warn(struct fb_device *dev, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void fb_device_info(struct fb_device *dev, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void fb_device_debug(struct fb_device *dev, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

uint64_t fb_device_now(struct fb_device *dev); /* CLOCK_MONOTONIC, ns; event style: as of this round of the loop */

/* Blocking style: 0 after that time, -ECANCELED as soon as a reset comes (event style: -EINVAL). */
int fb_device_sleep(struct fb_device *dev, uint64_t ns);
/* Blocking style: a reset waits for the callback that is running to return. */
bool fb_device_interrupted(struct fb_device *dev);

/*
 * Timers, on the device's thread. The struct is the model's memory,
 * zero-initialised, and stays where it is. One is due once, at a time by
 * fb_device_now()'s clock. Resets stop all timers. Setting one that is set moves
 * it; after a cancel it does not come any more. 0, -ENOMEM, or in the blocking
 * style -ECANCELED.
 */
struct fb_device_timer {
	void (*due)(struct fb_device *dev, struct fb_device_timer *timer);
	void *opaque[8]; /* the runtime's */
};
int fb_device_timer_set(struct fb_device *dev, struct fb_device_timer *timer, uint64_t deadline_ns);
void fb_device_timer_cancel(struct fb_device *dev, struct fb_device_timer *timer);

/*
 * Event style from here on: a file descriptor to watch (EPOLLIN …); the struct as for timers. It goes on over resets. 0,
 * an error of epoll_ctl(2) as -errno, or -ENOTSUP when blocking.
 */
struct fb_device_fd {
	void (*ready)(struct fb_device *dev, struct fb_device_fd *watch, uint32_t epoll_events);
	void *opaque[8];
};
int fb_device_fd_add(struct fb_device *dev, struct fb_device_fd *watch, int fd, uint32_t epoll_events);
void fb_device_fd_del(struct fb_device *dev, struct fb_device_fd *watch);

/*
 * Called at the end of the round of the loop in which it was scheduled: the
 * place to submit what the round gathered (one io_uring_enter for many reads).
 */
struct fb_device_batch {
	void (*run)(struct fb_device *dev, struct fb_device_batch *batch);
	void *opaque[8];
};
void fb_device_batch_schedule(struct fb_device *dev, struct fb_device_batch *batch);
/* Called in every round, also while the loop spins; returns true if it found work. For completion rings. */
struct fb_device_poller {
	bool (*poll)(struct fb_device *dev, struct fb_device_poller *poller);
	void *opaque[8];
};
void fb_device_poller_add(struct fb_device *dev, struct fb_device_poller *poller);
void fb_device_poller_del(struct fb_device *dev, struct fb_device_poller *poller);

#ifdef __cplusplus
}
#endif
#endif
