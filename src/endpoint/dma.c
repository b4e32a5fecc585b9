/* SPDX-License-Identifier: Apache-2.0 */
/* The device API's DMA calls, and the life of a request from its pool to its done(). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint/device_impl.h"
#include "util/reader.h"

enum { SEGS_KEPT = 1024 }; /* longer lists are not kept with a pooled request */

struct fb_req *fb_req_get(struct fb_device *dev, enum fb_req_kind kind)
{
	struct fb_req *req = TAILQ_FIRST(&dev->pool);

	if (req) {
		TAILQ_REMOVE(&dev->pool, req, link);
	} else {
		req = malloc(sizeof(*req));
		if (!req)
			return NULL;
		req->segs = req->few_segs;
		req->segs_cap = sizeof(req->few_segs) / sizeof(req->few_segs[0]);
	}
	req->kind = kind;
	req->status = 0;
	req->n_segs = 0;
	if (kind == REQ_CPL)
		req->cpl.data = NULL;
	return req;
}

void fb_req_put(struct fb_device *dev, struct fb_req *req)
{
	if (req->segs_cap > SEGS_KEPT) {
		free(req->segs);
		req->segs = req->few_segs;
		req->segs_cap = sizeof(req->few_segs) / sizeof(req->few_segs[0]);
	}
	TAILQ_INSERT_HEAD(&dev->pool, req, link);
}

static void finish_all(struct fb_flush *flush)
{
	struct fb_device *dev = (struct fb_device *)((char *)flush - offsetof(struct fb_device, finish));
	struct fb_req *req;

	/* What done() starts and finishes is left to the loop's next pass: a model cannot hold the round up. */
	TAILQ_CONCAT(&dev->finishing, &dev->finished, link);
	while ((req = TAILQ_FIRST(&dev->finishing))) {
		fb_dma_done *done = req->dma.done;
		void *arg = req->dma.arg;
		int status = req->status;

		TAILQ_REMOVE(&dev->finishing, req, link);
		fb_req_put(dev, req);
		done(arg, status);
	}
}

void fb_req_finish(struct fb_device *dev, struct fb_req *req, int status)
{
	if (!req->dma.done) {
		fb_req_put(dev, req);
		return;
	}
	req->status = status;
	TAILQ_INSERT_TAIL(&dev->finished, req, link);
	dev->finish.flush = finish_all;
	fb_flush_schedule(dev->loop, &dev->finish);
}

void fb_dma_cancel(struct fb_device *dev, bool quiet)
{
	struct fb_req *req;

	fb_read_cancel(dev, quiet); /* first: those that waited behind writes must not leave when these go */
	fb_post_cancel_master(dev);
	TAILQ_CONCAT(&dev->finishing, &dev->finished, link);
	TAILQ_FOREACH(req, &dev->finishing, link)
		req->status = -ECANCELED;
	/* Bus mastering is off or there is no root: done() can start nothing new. */
	finish_all(&dev->finish);
	fb_flush_cancel(&dev->finish);
}

void fb_dma_free(struct fb_device *dev)
{
	struct fb_req *req;

	while ((req = TAILQ_FIRST(&dev->pool))) {
		TAILQ_REMOVE(&dev->pool, req, link);
		if (req->segs != req->few_segs)
			free(req->segs);
		free(req);
	}
	free(dev->tags);
	free(dev->rings.bytes);
}

uint32_t fb_req_next(const struct fb_req *req, uint32_t max, uint64_t *addr)
{
	const struct fb_dma_seg *seg = &req->segs[req->dma.seg];

	if (req->dma.seg == req->n_segs)
		return 0;
	*addr = seg->addr + req->dma.seg_off;
	return pcie_split_request(*addr, seg->len - req->dma.seg_off, max);
}

void fb_req_advance(struct fb_req *req, uint32_t len)
{
	req->dma.buf_off += len;
	req->dma.seg_off += len;
	if (req->dma.seg_off == req->segs[req->dma.seg].len) {
		req->dma.seg++;
		req->dma.seg_off = 0;
	}
}

/* Copies the list, joining neighbours: a guest's pages often follow one another. */
static int copy_segs(struct fb_req *req, const struct fb_dma_seg *segs, unsigned n, uint64_t *total)
{
	*total = 0;
	if (n > req->segs_cap) {
		struct fb_dma_seg *more = malloc(n * sizeof(*more));

		if (!more)
			return -ENOMEM;
		if (req->segs != req->few_segs)
			free(req->segs);
		req->segs = more;
		req->segs_cap = n;
	}
	for (unsigned i = 0; i < n; i++) {
		struct fb_dma_seg *last = req->n_segs ? &req->segs[req->n_segs - 1] : NULL;

		if (segs[i].len == 0 || segs[i].addr + (segs[i].len - 1) < segs[i].addr)
			return -EINVAL;
		*total += segs[i].len;
		if (last && last->addr + last->len == segs[i].addr && last->len + segs[i].len > last->len &&
		    segs[i].addr != 0)
			last->len += segs[i].len;
		else
			req->segs[req->n_segs++] = segs[i];
	}
	return n ? 0 : -EINVAL;
}

static int start(struct fb_device *dev, enum fb_req_kind kind, const struct fb_dma_seg *segs, unsigned n, void *buf,
		 fb_dma_done *done, void *arg)
{
	struct fb_req *req;
	uint64_t total;
	int err;

	if (!dev->port)
		return -ENOTCONN;
	if (!fb_may_master(dev))
		return -EPERM;
	req = fb_req_get(dev, kind);
	if (!req)
		return -ENOMEM;
	err = copy_segs(req, segs, n, &total);
	if (!err && !done && (kind == REQ_READ || total > FB_DMA_INLINE))
		err = -EINVAL;
	if (err) {
		fb_req_put(dev, req);
		return err;
	}
	req->dma.done = done;
	req->dma.arg = arg;
	req->dma.buf = (uint8_t *)buf;
	req->dma.seg = req->dma.seg_off = 0;
	req->dma.buf_off = 0;
	req->dma.in_flight = 0;
	if (kind == REQ_READ) {
		dev->stats.dma_reads++;
		if (dev->rings.n && fb_ring_take(dev, req->segs, req->n_segs, buf))
			fb_req_finish(dev, req, 0);
		else
			fb_read_start(dev, req);
		return 0;
	}
	if (!done) {
		memcpy(req->dma.copy, buf, total);
		req->dma.buf = req->dma.copy;
	}
	dev->stats.dma_writes++;
	fb_post(dev, req);
	return 0;
}

int fb_dma_readv(struct fb_device *dev, const struct fb_dma_seg *segs, unsigned n, void *buf, fb_dma_done *done,
		 void *arg)
{
	if (fb_on_thread(dev))
		return fb_thread_dma(dev, true, segs, n, buf, done);
	return start(dev, REQ_READ, segs, n, buf, done, arg);
}

int fb_dma_writev(struct fb_device *dev, const struct fb_dma_seg *segs, unsigned n, const void *buf, fb_dma_done *done,
		  void *arg)
{
	if (fb_on_thread(dev))
		return fb_thread_dma(dev, false, segs, n, (void *)(uintptr_t)buf, done);
	return start(dev, REQ_WRITE, segs, n, (void *)(uintptr_t)buf, done, arg);
}
