/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads and writes of the other side's memory by TLP: cuts them at MRRS, MPS and
 * 4 KiB, keeps many reads in flight, puts completions together whatever the
 * alignment and size, and gives up on those that do not come. Does no I/O and
 * reads no clock: TLPs leave through a callback, completions and the time are
 * handed in. One thread.
 *
 *	tags   a tag is one read of at most MRRS bytes in flight. A tag whose read
 *	       was repeated or given up rests before it is used again: late
 *	       completions find nobody.
 *	order  writes leave in the order of the calls, and before reads that were
 *	       asked for later. What the network does to them is another matter.
 *	loss   a piece of a read without completion within the timeout is asked for
 *	       again, `retries` times: reading memory twice does no harm. For reads
 *	       with side effects say retries 0. Writes are posted: lost is lost.
 */
#ifndef FARBUS_SOFTPCIE_REQUESTER_H
#define FARBUS_SOFTPCIE_REQUESTER_H

#include "tlp/split.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fb_softpcie_requester;

/* Called once for each read that was accepted, perhaps from inside fb_softpcie_requester_rx() or _timeout(), never from
 * inside fb_softpcie_read(). status: 0; -EFAULT: UR; -EIO: completer abort or poisoned; -ETIMEDOUT; -ECANCELED. */
typedef void fb_softpcie_done(void *arg, int status);

struct fb_softpcie_requester_config {
	/* Sends one TLP: 0, -EAGAIN (fb_softpcie_requester_room() will say when), another -errno: not sent, ever. */
	int (*send)(void *arg, const struct pcie_tlp *tlp);
	void *arg;
	uint16_t requester_id;
	uint32_t mps, mrrs;         /* 128..4096, powers of two; 0: 256 and 512 */
	unsigned first_tag, n_tags; /* of 0..255; n_tags 0: all from first_tag on */
	uint64_t timeout_ns;        /* 0: 50 ms */
	unsigned retries;
};

struct fb_softpcie_requester_stats {
	uint64_t reads, read_bytes, writes, write_bytes; /* requests by the user, bytes that came or left */
	uint64_t read_retries;   /* pieces asked for again */
	uint64_t read_timeouts;  /* reads given up */
	uint64_t read_errors;    /* UR, CA, poisoned */
	uint64_t unexpected_completions;
	unsigned in_flight;      /* tags in use now */
};

int fb_softpcie_requester_new(struct fb_softpcie_requester **out, const struct fb_softpcie_requester_config *config);
/* What is in flight ends with -ECANCELED, its done() called. */
void fb_softpcie_requester_free(struct fb_softpcie_requester *rq);
void fb_softpcie_requester_cancel(struct fb_softpcie_requester *rq);
void fb_softpcie_requester_set_id(struct fb_softpcie_requester *rq, uint16_t requester_id);

/*
 * Reads len bytes at addr into buf, which is the requester's until done(). Queued
 * when no tag is free. 0; -EINVAL: len 0 or the range wraps; -ENOMEM.
 */
int fb_softpcie_read(struct fb_softpcie_requester *rq, uint64_t addr, void *buf, uint32_t len, uint64_t now_ns,
		     fb_softpcie_done *done, void *arg);
/*
 * Writes len bytes. Posted: 0 means that all of it was taken by send(). Otherwise
 * the number of bytes that was (> 0, < len), -EAGAIN when none was, -EINVAL.
 */
int64_t fb_softpcie_write(struct fb_softpcie_requester *rq, uint64_t addr, const void *buf, uint32_t len);

/* A completion. False: nobody waits for it (counted). */
bool fb_softpcie_requester_rx(struct fb_softpcie_requester *rq, const struct pcie_tlp *cpl, uint64_t now_ns);
/* When _timeout() is due next, UINT64_MAX: never. It may be called at any time. */
uint64_t fb_softpcie_requester_deadline(const struct fb_softpcie_requester *rq);
void fb_softpcie_requester_timeout(struct fb_softpcie_requester *rq, uint64_t now_ns);
void fb_softpcie_requester_room(struct fb_softpcie_requester *rq, uint64_t now_ns); /* send() has room again */
bool fb_softpcie_requester_idle(const struct fb_softpcie_requester *rq); /* no read is waiting or in flight */

const struct fb_softpcie_requester_stats *fb_softpcie_requester_stats(const struct fb_softpcie_requester *rq);

#ifdef __cplusplus
}
#endif
#endif
