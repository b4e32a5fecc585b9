/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The endpoint runtime: it makes devices out of models, speaks TLPs for them,
 * and offers them to roots (the box). The other side of include/farbus/device.h.
 *
 * Single-threaded: one box, one loop, one thread.
 */
#ifndef FARBUS_ENDPOINT_ENDPOINT_H
#define FARBUS_ENDPOINT_ENDPOINT_H

#include "farbus/device.h"
#include "port/carrier.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fb_histogram;
struct fb_loop;
struct fb_box;
struct fb_tap;

/* Models are given to the runtime as a NULL-terminated list: devices/models.h has those that are built in. */
const struct fb_model *fb_model_find(const struct fb_model *const *models, const char *name);
/*
 * The model of a shared object, which stays loaded: "./dir/x.so" (any name with
 * a '/'), or a word: <word>.so in the folder for models, $FARBUS_MODELS or the
 * one that was set at build time. 0; -ENOENT, not logged: a word, and there is
 * no such file; or another -errno, logged.
 */
int fb_model_load(const char *name, const struct fb_model **out);
/* The words for which there is a file in that folder, in the order of the alphabet. */
void fb_model_words(void (*put)(void *arg, const char *word), void *arg);
/*
 * A model's struct as this runtime knows it, with zeros for members that are
 * younger than the model. 0 or -ELIBBAD, logged with `where`.
 */
int fb_model_read(struct fb_model *out, const struct fb_model *model, const char *where);

/* One device alone, attached to any port: what the box and the tests use. */

/*
 * Makes a device from "nvme,id=ssd0,file=disk.img". Common options, of every
 * model: id (required, 1..31 of [A-Za-z0-9._-]), irq-coalesce (time, 0),
 * msi and msix (on/off: offer the capability), completion-timeout (50 ms .. 64 s,
 * default 60 s: longer than the link's hold time, since an outage is to be
 * nothing but time), d3-reset (on/off, default off: No_Soft_Reset is 1).
 * 0 or -errno; one line has then been logged that names the option, the value
 * and what is allowed. -EINVAL: the text is wrong; all else may do another time
 * or on another machine (a file that is not there, or of an odd size).
 */
int fb_device_new(struct fb_device **out, struct fb_loop *loop, const struct fb_model *const *models, const char *spec);
/* As above with a given model; `options` without its name: "id=ssd0,file=disk.img". */
int fb_device_new_model(struct fb_device **out, struct fb_loop *loop, const struct fb_model *model, const char *options);
void fb_device_free(struct fb_device *dev);

/* A root came: power-on state, then TLPs flow. The port's user is the device from then on. */
void fb_device_attach(struct fb_device *dev, struct fb_port *port);
extern const struct fb_port_user fb_device_port_user; /* arg: the device */
/* The session is over or is to be: cancels DMA, resets the model. Does not close the port. */
void fb_device_detach(struct fb_device *dev);

/* Who is shown what the model sends and gets by fb_device_wire_tlp(). */
void fb_device_wire_tap(struct fb_device *dev, struct fb_tap *tap);

const struct fb_model *fb_device_model(const struct fb_device *dev);
/* The options of every model, for help; those of type FB_OPT_U64 with unit "time" take "20us", "1.5s". */
const struct fb_option *fb_device_common_options(unsigned *n);

/* The model's own counters; in the blocking style as of its last callback. */
void fb_device_model_stats(struct fb_device *dev, void (*put)(void *arg, const char *name, uint64_t value), void *arg);
/* Whether the device's thread, if it has one, has nothing to do, or waits for the root. For tests. */
bool fb_thread_settled(const struct fb_device *dev);

struct fb_function_info;
/* What the device knows of itself; group and root are the box's. */
void fb_device_counters(const struct fb_device *dev, struct fb_function_info *info);

/* The box. */

struct fb_box_config {
	struct fb_carrier_config carrier; /* listen address, faults, link */
	const struct fb_model *const *models;
	const char *const *devices; /* "nvme,id=…", NULL-terminated */
	struct fb_tap *wire_tap;    /* is shown what models send on wires of their own; NULL: nobody */
	uint32_t group;
	/*
	 * "ADDR,option=value…": the one device stands behind the SoftPCIe adapter at
	 * that address, and nothing listens. NULL: roots come through the carrier.
	 */
	const char *softpcie;
};

int fb_box_new(struct fb_box **out, struct fb_loop *loop, const struct fb_box_config *config); /* 0 or -errno as fb_device_new(), logged */
/*
 * Orderly end: no new sessions, devices quiesce (bounded by timeout_ns), their
 * roots are told FB_LINK_R_REMOVED, done() is called. fb_box_free() follows.
 */
void fb_box_stop(struct fb_box *box, uint64_t timeout_ns, void (*done)(void *arg), void *arg);
void fb_box_free(struct fb_box *box);

/* Where time goes (docs/operations.md, "Times"). */
enum fb_box_hop {
	FB_BOX_HOP_BOX,   /* a register access, from its TLP to its end: of a read the completion; of every 8th */
	FB_BOX_HOP_MODEL, /* of that, what the model's own code takes */
	FB_BOX_HOPS
};
const char *fb_box_hop_name(enum fb_box_hop hop);

/* For ls and stats. */
struct fb_function_info {
	const char *id, *model;
	struct fb_identity identity;
	uint16_t bdf; /* 0 when not configured */
	bool attached;
	char root[64]; /* who has it */
	uint32_t group;
	uint64_t mmio_reads, mmio_writes, mmio_deferred, cfg_reads, cfg_writes;
	uint64_t dma_reads, dma_read_bytes, dma_writes, dma_write_bytes;
	uint64_t dma_reads_ahead; /* answered by what came with the doorbell */
	uint64_t shadow_indexes, shadow_looks; /* shadow doorbells: told by the root; looked for by the box */
	/* offers: sent; of their values read by the host, of these when there was a newer offer; wrong of the model; of the root */
	uint64_t offers, offers_used, offers_outdated, bad_offers, bad_uses;
	uint64_t dma_errors, dma_timeouts, interrupts, interrupts_coalesced;
	uint64_t unsupported_requests, completer_aborts, unexpected_completions, malformed, resets;
};
unsigned fb_box_functions(const struct fb_box *box);
int fb_box_function_info(const struct fb_box *box, unsigned index, struct fb_function_info *info);
/* The link's counters of an attached function: 0 or -ENOTCONN. */
int fb_box_function_link(const struct fb_box *box, unsigned index, struct fb_port_stats *stats);
/* ns, valid until the box is freed; NULL: no such function. */
const struct fb_histogram *fb_box_function_time(const struct fb_box *box, unsigned index, enum fb_box_hop hop);
/* The model's own counters. */
void fb_box_function_stats(const struct fb_box *box, unsigned index,
			   void (*put)(void *arg, const char *name, uint64_t value), void *arg);
struct fb_carrier *fb_box_carrier(struct fb_box *box); /* NULL behind an adapter */
const char *fb_box_softpcie(const struct fb_box *box);  /* the adapter's address, or NULL */
void fb_box_softpcie_stats(const struct fb_box *box, void (*put)(void *arg, const char *name, uint64_t value), void *arg);

#ifdef __cplusplus
}
#endif
#endif
