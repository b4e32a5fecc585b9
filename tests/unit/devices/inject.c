/* SPDX-License-Identifier: Apache-2.0 */
#include "inject.h"

#include <string.h>

static void put(struct fb_aio_op ***last, struct fb_aio_op *op)
{
	op->next = NULL;
	**last = op;
	*last = &op->next;
}

static void queue(struct fb_aio *aio, struct fb_aio_op *op)
{
	struct inject *inj = aio->priv;
	unsigned k = op->kind;

	inj->seen[k]++;
	inj->dsyncs += op->dsync;
	inj->last_mode = op->mode;
	if (inj->hold) {
		put(&inj->held_last, op);
		return;
	}
	if (inj->fail[k] && inj->fail_after[k]) {
		inj->fail_after[k]--;
	} else if (inj->fail[k]) {
		op->res = inj->fail[k];
		put(&inj->last, op);
		if (inj->fail_times[k] && --inj->fail_times[k] == 0)
			inj->fail[k] = 0;
		return;
	}
	if (inj->max_bytes && k <= FB_AIO_WRITE && op->len > inj->max_bytes) {
		/* Moves a part, as a file system under pressure may. The op's own length stays. */
		uint32_t len = op->len;

		op->len = inj->max_bytes;
		fb_aio_queue(&inj->inner, op);
		fb_aio_submit(&inj->inner);
		op->len = len;
		return;
	}
	fb_aio_queue(&inj->inner, op);
}

static bool submit(struct fb_aio *aio)
{
	struct inject *inj = aio->priv;

	return fb_aio_submit(&inj->inner);
}

static unsigned reap(struct fb_aio *aio, unsigned max)
{
	struct inject *inj = aio->priv;
	struct fb_aio_op *op;
	unsigned n = 0, inner;

	while (n < max && (op = inj->first)) {
		inj->first = op->next;
		if (!inj->first)
			inj->last = &inj->first;
		aio->inflight--;
		n++;
		op->done(op, op->res);
	}
	inner = fb_aio_reap(&inj->inner, max - n);
	aio->inflight -= inner;
	return n + inner;
}

static void wait(struct fb_aio *aio)
{
	struct inject *inj = aio->priv;

	if (inj->held)
		inject_release(inj); /* the device goes: the disk answers at last */
	if (inj->inner.inflight) {
		fb_aio_submit(&inj->inner);
		inj->inner.backend->wait(&inj->inner);
	}
}

static void close_both(struct fb_aio *aio)
{
	struct inject *inj = aio->priv;

	fb_aio_close(&inj->inner);
}

static const struct fb_aio_backend backend = {
	.name = "inject", .queue = queue, .submit = submit, .reap = reap, .wait = wait, .close = close_both,
};

void inject_into(struct inject *inj, struct fb_aio *aio)
{
	memset(inj, 0, sizeof(*inj));
	inj->inner = *aio;
	inj->last = &inj->first;
	inj->held_last = &inj->held;
	aio->backend = &backend;
	aio->priv = inj;
}

void inject_release(struct inject *inj)
{
	struct fb_aio_op *op = inj->held;

	inj->hold = false;
	inj->held = NULL;
	inj->held_last = &inj->held;
	while (op) {
		struct fb_aio_op *next = op->next;

		fb_aio_queue(&inj->inner, op);
		op = next;
	}
	fb_aio_submit(&inj->inner);
}
