/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tap: where TLPs pass, ports show each one to it, and captures that run
 * write them to pcapng files. One tap a daemon, for all its ports: link,
 * loopback and SoftPCIe alike.
 *
 * A port keeps a struct fb_tap_source of its own, fills it in once, and calls
 * fb_tap_sent() and fb_tap_received() for each TLP. While no capture runs, that
 * is one branch. While one runs, the TLP is copied into the capture's buffer on
 * the loop's thread, and a thread of the capture writes it out: a slow disk or
 * reader costs TLPs in the file (counted, and marked in the file), never time
 * in the loop.
 *
 * Every call on the loop's thread.
 */
#ifndef FARBUS_CAPTURE_TAP_H
#define FARBUS_CAPTURE_TAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tlp/tlp.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fb_loop;
struct fb_capture;

/* What carries the port's TLPs. In the file: do not renumber. */
enum fb_tap_carrier {
	FB_TAP_LINK,     /* the reliable link over a network */
	FB_TAP_LOOPBACK, /* the same within this process */
	FB_TAP_SOFTPCIE, /* one TLP a UDP datagram */
	FB_TAP_CARRIERS
};

/* One port, as captures name it. */
struct fb_tap_source {
	char function[32]; /* "ssd0" */
	uint64_t session;  /* this end's session ID on the wire; 0: there are none */
	enum fb_tap_carrier carrier;
	bool on_root;      /* is this end the root's? Then what it sends goes down, to the function */
};

enum { FB_TAP_CAPTURES_MAX = 8 };

struct fb_tap_stats {
	uint64_t started; /* captures, since the daemon began */
	uint64_t running; /* captures, now */
	uint64_t tlps;    /* given to captures: those that their filters take, less the dropped */
	uint64_t bytes;   /* of them, as they stand in the files */
	uint64_t dropped; /* lost to captures, as their buffers were full */
};

struct fb_tap {
	unsigned n_on; /* captures that run; all else is private */
	struct fb_capture *captures[FB_TAP_CAPTURES_MAX];
	struct fb_loop *loop;
	struct fb_tap_stats stats;
};

int fb_tap_new(struct fb_tap **out, struct fb_loop *loop); /* 0 or -ENOMEM */
/* Ends what captures run, for two seconds at most each. NULL is allowed. */
void fb_tap_free(struct fb_tap *tap);
const struct fb_tap_stats *fb_tap_stats(struct fb_tap *tap);

/* What fb_tap_sent() and fb_tap_received() call while a capture runs. */
void fb_tap_take(struct fb_tap *tap, const struct fb_tap_source *source, bool sent, const struct pcie_tlp *tlp,
		 enum pcie_tlp_error error, const void *head, size_t head_len, const void *data, size_t data_len);

static inline bool fb_tap_on(const struct fb_tap *tap)
{
	return __builtin_expect(tap && tap->n_on, 0);
}

/* `head` and `data` together are the encoded TLP, as for fb_link_send(). `tap` may be NULL. */
static inline void fb_tap_sent(struct fb_tap *tap, const struct fb_tap_source *source, const struct pcie_tlp *tlp,
			       const void *head, size_t head_len, const void *data, size_t data_len)
{
	if (fb_tap_on(tap))
		fb_tap_take(tap, source, true, tlp, PCIE_TLP_OK, head, head_len, data, data_len);
}

/* The bytes that arrived, and what pcie_tlp_decode() made of them: malformed ones are wanted too. */
static inline void fb_tap_received(struct fb_tap *tap, const struct fb_tap_source *source, const struct pcie_tlp *tlp,
				   enum pcie_tlp_error error, const void *tlp_bytes, size_t len)
{
	if (fb_tap_on(tap))
		fb_tap_take(tap, source, false, tlp, error, tlp_bytes, len, NULL, 0);
}

#ifdef __cplusplus
}
#endif
#endif
