/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accesses that the model ends later. A request is walked through the model at
 * once (mmio.c), whatever its accesses do; if one or more of them was deferred,
 * the request is held with its flow-control credit and, of reads, with the
 * bytes that are there already. The last access to end sends the answer.
 *
 * So nothing behind the request waits (a posted write must be able to pass a
 * read, 2.4.1), and the answer leaves through post.c, behind what the model
 * has written by then.
 */
#include <stdlib.h>
#include <string.h>

#include "endpoint/device_impl.h"

static uint32_t data_size(const struct pcie_tlp *request)
{
	return request->type == PCIE_TLP_MRD || request->type == PCIE_TLP_IORD ? request->length * 4u : 0;
}

static void forget(struct fb_access *access)
{
	LIST_REMOVE(access, link);
	access->held->dev->n_late--;
	free(access);
}

/* Nothing waits any more. */
static void finish(struct fb_held *held, enum pcie_cpl_status status)
{
	struct fb_device *dev = held->dev;
	const struct pcie_tlp *request = &held->request;

	LIST_REMOVE(held, link);
	if (dev->port && status == PCIE_CPL_CA)
		fb_device_aborted(dev, request);
	if (!dev->port)
		; /* nobody to answer, and the credit went with the session */
	else if (request->type == PCIE_TLP_MWR)
		fb_port_release(dev->port, held->credit);
	else
		fb_post_answer(dev, request, held->credit, status,
			       status == PCIE_CPL_SC && data_size(request) ? held->data : NULL, held->enabled);
	free(held);
}

struct fb_access *fb_held_add(struct fb_walk *walk)
{
	struct fb_device *dev = walk->dev;
	struct fb_access *access;

	if (!walk->held) {
		walk->held = malloc(sizeof(*walk->held) + data_size(walk->tlp));
		if (!walk->held)
			return NULL;
		*walk->held = (struct fb_held){.dev = dev};
		LIST_INSERT_HEAD(&dev->held, walk->held, link);
	}
	access = calloc(1, sizeof(*access));
	if (!access)
		return NULL;
	access->held = walk->held;
	LIST_INSERT_HEAD(&walk->held->accesses, access, link);
	dev->n_late++;
	dev->stats.mmio_deferred++;
	walk->late = access;
	return access;
}

struct fb_access *fb_access_defer(struct fb_device *dev)
{
	struct fb_walk *walk;

	if (dev->thread) /* on which the call itself may wait */
		return NULL;
	walk = dev->walk;
	if (!walk || !walk->in_call || walk->late || walk->cancelled || !dev->port || dev->n_late >= FB_ACCESSES)
		return NULL;
	return fb_held_add(walk);
}

bool fb_held_wait(struct fb_walk *walk)
{
	struct fb_held *held = walk->held;
	const struct pcie_tlp *tlp = walk->tlp;
	uint64_t address;

	if (LIST_EMPTY(&held->accesses)) { /* all have ended meanwhile */
		LIST_REMOVE(held, link);
		free(held);
		return false;
	}
	held->request = *tlp;
	held->request.data = NULL;
	held->credit = fb_port_credit(walk->dev->port);
	held->failed = walk->failed;
	held->enabled = 4;
	if (tlp->type == PCIE_TLP_MRD)
		pcie_tlp_get_range(tlp, &address, &held->enabled);
	if (data_size(tlp))
		memcpy(held->data, walk->data, data_size(tlp));
	return true;
}

static void end(struct fb_access *access, uint64_t value, bool failed)
{
	struct fb_held *held = access->held;
	struct fb_walk *walk = held->dev->walk;
	bool walking = walk && walk->held == held;
	uint8_t *data = walking ? walk->data : held->data;

	for (unsigned i = 0; i < 8; i++) {
		if (access->bytes & 1u << i)
			data[access->place + (int32_t)i] = (uint8_t)(value >> 8 * i);
	}
	if (walking && walk->late == access) { /* the register is known after all, should the request want more of it */
		walk->late = NULL;
		walk->value = value;
		walk->answered = true;
	}
	forget(access);
	if (walking) {
		walk->failed |= failed;
		return;
	}
	held->failed |= failed;
	if (LIST_EMPTY(&held->accesses))
		finish(held, held->failed ? PCIE_CPL_CA : PCIE_CPL_SC);
}

void fb_access_complete(struct fb_access *access, uint64_t value)
{
	end(access, value, false);
}

void fb_access_fail(struct fb_access *access)
{
	end(access, 0, true);
}

void fb_held_cancel(struct fb_device *dev)
{
	struct fb_held *held, *next;
	struct fb_access *access;

	for (held = LIST_FIRST(&dev->held); held; held = next) {
		next = LIST_NEXT(held, link);
		while ((access = LIST_FIRST(&held->accesses)))
			forget(access);
		if (dev->walk && dev->walk->held == held) /* its walk finds it, and its end */
			continue;
		finish(held, PCIE_CPL_UR);
	}
	if (dev->walk) {
		dev->walk->cancelled = true;
		dev->walk->late = NULL;
	}
}
