/* SPDX-License-Identifier: Apache-2.0 */
#include "inject.h"

#include <string.h>

static void put(struct nvme_aio_op ***last, struct nvme_aio_op *op)
{
	op->next = NULL;
	**last = op;
	*last = &op->next;
}

static void queue(struct nvme_aio *aio, struct nvme_aio_op *op)
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
	if (inj->max_bytes && k <= NVME_AIO_WRITE && op->len > inj->max_bytes) {
		/* Moves a part, as a file system under pressure may. The op's own length stays. */
		uint32_t len = op->len;

		op->len = inj->max_bytes;
		nvme_aio_queue(&inj->inner, op);
		nvme_aio_submit(&inj->inner);
		op->len = len;
		return;
	}
	nvme_aio_queue(&inj->inner, op);
}

static bool submit(struct nvme_aio *aio)
{
	struct inject *inj = aio->priv;

	return nvme_aio_submit(&inj->inner);
}

static unsigned reap(struct nvme_aio *aio, unsigned max)
{
	struct inject *inj = aio->priv;
	struct nvme_aio_op *op;
	unsigned n = 0, inner;

	while (n < max && (op = inj->first)) {
		inj->first = op->next;
		if (!inj->first)
			inj->last = &inj->first;
		aio->inflight--;
		n++;
		op->done(op, op->res);
	}
	inner = nvme_aio_reap(&inj->inner, max - n);
	aio->inflight -= inner;
	return n + inner;
}

static void wait(struct nvme_aio *aio)
{
	struct inject *inj = aio->priv;

	if (inj->held)
		inject_release(inj); /* the device goes: the disk answers at last */
	if (inj->inner.inflight) {
		nvme_aio_submit(&inj->inner);
		inj->inner.backend->wait(&inj->inner);
	}
}

static void close_both(struct nvme_aio *aio)
{
	struct inject *inj = aio->priv;

	nvme_aio_close(&inj->inner);
}

static const struct nvme_aio_backend backend = {
	.name = "inject", .queue = queue, .submit = submit, .reap = reap, .wait = wait, .close = close_both,
};

void inject_into(struct inject *inj, struct nvme_aio *aio)
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
	struct nvme_aio_op *op = inj->held;

	inj->hold = false;
	inj->held = NULL;
	inj->held_last = &inj->held;
	while (op) {
		struct nvme_aio_op *next = op->next;

		nvme_aio_queue(&inj->inner, op);
		op = next;
	}
	nvme_aio_submit(&inj->inner);
}
