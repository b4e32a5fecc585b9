/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts: MSI-X (6.1.4.2; its table and pending bits are in the model's BAR,
 * but the runtime's), MSI with per-vector masking, INTx. A message is an entry
 * of the posted queue, so it follows the data written before it; each vector
 * has at most one there (struct fb_vector). Coalescing sends the first interrupt
 * at once and joins what follows within the window into one at its end.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint/device_impl.h"
#include "tlp/regs.h"
#include "util/reader.h"

static bool pba_test(const struct fb_device *dev, unsigned v)
{
	return dev->msix_pba[v / 64] >> (v % 64) & 1;
}

static void set_pending(struct fb_device *dev, unsigned v)
{
	if (dev->view.msix) {
		dev->msix_pba[v / 64] |= 1ull << (v % 64);
	} else if (dev->view.msi) {
		unsigned at = dev->cap_msi + MSI_PENDING;

		fb_cfg_set32(dev, at, fb_cfg32(dev, at) | 1u << v);
	}
}

static bool masked(const struct fb_device *dev, unsigned v)
{
	if (dev->view.msix)
		return dev->view.msix_masked || dev->msix_table[v * MSIX_ENTRY + MSIX_ENTRY_CONTROL] & 1;
	return dev->view.msi_mask >> v & 1;
}

/* Of the mode that is on; an entry queued before it changed may be past the end. */
static bool vector_exists(const struct fb_device *dev, unsigned v)
{
	if (dev->view.msix)
		return v < dev->msix_vectors;
	return dev->view.msi && v < dev->view.msi_count;
}

static void message(const struct fb_device *dev, unsigned v, uint64_t *addr, uint32_t *data)
{
	if (dev->view.msix) {
		const uint8_t *entry = dev->msix_table + v * MSIX_ENTRY;

		*addr = fb_get_le64(entry + MSIX_ENTRY_ADDRESS);
		*data = fb_get_le32(entry + MSIX_ENTRY_DATA);
	} else {
		unsigned cap = dev->cap_msi;

		*addr = fb_cfg32(dev, cap + MSI_ADDRESS) | (uint64_t)fb_cfg32(dev, cap + MSI_UPPER_ADDRESS) << 32;
		*data = (fb_cfg16(dev, cap + MSI_DATA) & ~(dev->view.msi_count - 1)) | v;
	}
}

bool fb_ep_irq_message(struct fb_device *dev, unsigned v, uint64_t *addr, uint32_t *data)
{
	if (!fb_may_master(dev) || !vector_exists(dev, v))
		return false;
	if (masked(dev, v)) {
		set_pending(dev, v);
		return false;
	}
	message(dev, v, addr, data);
	return true;
}

bool fb_irq_target(const struct fb_device *dev, unsigned v, uint64_t *addr, uint32_t *data)
{
	if (fb_on_thread(dev))
		return fb_thread_irq_target(dev, v, addr, data);
	if (!fb_may_master(dev) || !vector_exists(dev, v) || masked(dev, v))
		return false;
	message(dev, v, addr, data);
	return true;
}

static void raise_vector(struct fb_device *dev, unsigned v)
{
	struct fb_vector *vec = &dev->vectors[v];
	struct fb_req *req;

	if (!dev->port || !fb_may_master(dev) || !vector_exists(dev, v))
		return;
	if (masked(dev, v)) {
		set_pending(dev, v);
		return;
	}
	if (vec->queued) {
		vec->again = true;
		return;
	}
	req = fb_req_get(dev, REQ_MSI);
	if (!req) {
		fb_device_error(dev, "no memory: interrupt %u is lost", v);
		return;
	}
	req->msi.vector = v;
	vec->queued = true;
	fb_post(dev, req);
}

/* ---- Coalescing --------------------------------------------------------------- */

static void open_window(struct fb_device *dev, unsigned v)
{
	struct fb_vector *vec = &dev->vectors[v];

	vec->windowed = true;
	vec->deferred = false;
	vec->until = fb_loop_now(dev->loop) + dev->options.irq_coalesce_ns;
	vec->next = NO_TAG;
	if (dev->window_last != NO_TAG)
		dev->vectors[dev->window_last].next = (uint16_t)v;
	else
		dev->window_first = (uint16_t)v;
	dev->window_last = (uint16_t)v;
	if (!dev->window_timer.heap_index)
		fb_timer_set(dev->loop, &dev->window_timer, dev->vectors[dev->window_first].until);
}

static void fb_ep_irq_window_over(struct fb_timer *timer)
{
	struct fb_device *dev = (struct fb_device *)((char *)timer - offsetof(struct fb_device, window_timer));
	uint64_t now = fb_loop_now(dev->loop);

	while (dev->window_first != NO_TAG && dev->vectors[dev->window_first].until <= now) {
		unsigned v = dev->window_first;
		struct fb_vector *vec = &dev->vectors[v];

		dev->window_first = vec->next;
		if (dev->window_first == NO_TAG)
			dev->window_last = NO_TAG;
		vec->windowed = false;
		if (vec->deferred) {
			open_window(dev, v);
			raise_vector(dev, v);
		}
	}
	if (dev->window_first != NO_TAG)
		fb_timer_set(dev->loop, &dev->window_timer, dev->vectors[dev->window_first].until);
}

/* ---- The device API ------------------------------------------------------------- */

enum fb_irq_mode fb_irq_mode(const struct fb_device *dev)
{
	if (fb_on_thread(dev))
		return fb_thread_irq_mode(dev);
	if (dev->view.msix)
		return FB_IRQ_MSIX;
	if (dev->view.msi)
		return FB_IRQ_MSI;
	return dev->intx && !dev->view.intx_disabled ? FB_IRQ_INTX : FB_IRQ_NONE;
}

void fb_irq(struct fb_device *dev, unsigned v)
{
	if (fb_on_thread(dev)) {
		fb_thread_irq(dev, v);
		return;
	}
	if (!dev->port || !(dev->view.msix || dev->view.msi))
		return;
	if (!dev->view.msix)
		v %= dev->view.msi_count;
	else if (v >= dev->msix_vectors)
		v %= dev->msix_vectors;
	if (!dev->options.irq_coalesce_ns) {
		raise_vector(dev, v);
		return;
	}
	if (!dev->vectors[v].windowed) {
		open_window(dev, v);
		raise_vector(dev, v);
		return;
	}
	if (dev->vectors[v].deferred)
		dev->stats.interrupts_coalesced++;
	dev->vectors[v].deferred = true;
}

void fb_ep_intx_update(struct fb_device *dev)
{
	enum fb_intx want = dev->intx_level && fb_irq_mode(dev) == FB_IRQ_INTX && !dev->view.d3hot ? INTX_HIGH
														 : INTX_LOW;
	struct fb_req *req;

	if (!dev->port || dev->intx_queued || want == dev->intx_sent)
		return;
	req = fb_req_get(dev, REQ_INTX);
	if (!req) {
		fb_device_error(dev, "no memory: INTx is not %s", want == INTX_HIGH ? "asserted" : "deasserted");
		return;
	}
	req->intx.level = want == INTX_HIGH;
	dev->intx_queued = true;
	fb_post(dev, req);
}

void fb_intx_set(struct fb_device *dev, bool asserted)
{
	if (fb_on_thread(dev)) {
		fb_thread_intx(dev, asserted);
		return;
	}
	dev->intx_level = asserted && dev->intx;
	fb_ep_intx_update(dev);
}

void fb_ep_intx_lowered(struct fb_device *dev, bool sure)
{
	if (dev->intx_sent == INTX_HIGH) /* else a Deassert is the last that it hears, or has heard */
		dev->intx_sent = sure ? INTX_LOW : INTX_UNKNOWN;
}

void fb_ep_irq_sent(struct fb_device *dev, const struct fb_req *req)
{
	if (req->kind == REQ_INTX) {
		dev->intx_queued = false;
		dev->intx_sent = req->intx.level ? INTX_HIGH : INTX_LOW;
		dev->offers.intx_since++;
		if (req->intx.level)
			dev->stats.interrupts++;
		fb_ep_intx_update(dev);
	} else {
		struct fb_vector *vec = &dev->vectors[req->msi.vector];

		vec->queued = false;
		if (vec->again) {
			vec->again = false;
			raise_vector(dev, req->msi.vector);
		}
	}
}

/* ---- Masks and enables ------------------------------------------------------------ */

static void fire_pending_msix(struct fb_device *dev, unsigned v)
{
	if (dev->view.msix && pba_test(dev, v) && !masked(dev, v)) {
		dev->msix_pba[v / 64] &= ~(1ull << (v % 64));
		raise_vector(dev, v);
	}
}

void fb_ep_irq_config_changed(struct fb_device *dev)
{
	fb_ep_intx_update(dev);
	if (dev->view.msix) {
		for (unsigned v = 0; v < dev->msix_vectors; v++)
			fire_pending_msix(dev, v);
	} else if (dev->view.msi) {
		unsigned at = dev->cap_msi + MSI_PENDING;
		uint32_t due = fb_cfg32(dev, at) & ~dev->view.msi_mask;

		fb_cfg_set32(dev, at, fb_cfg32(dev, at) & ~due);
		for (; due; due &= due - 1)
			raise_vector(dev, (unsigned)__builtin_ctz(due));
	}
}

/* ---- Table and pending bits -------------------------------------------------------- */

uint64_t fb_ep_msix_table_size(const struct fb_device *dev)
{
	return (uint64_t)dev->msix_vectors * MSIX_ENTRY;
}

uint64_t fb_ep_msix_pba_size(const struct fb_device *dev)
{
	return (dev->msix_vectors + 63u) / 64 * 8;
}

static bool in_table(const struct fb_device *dev, unsigned bar, uint64_t offset)
{
	return bar == dev->msix.table_bar && offset - dev->msix.table < fb_ep_msix_table_size(dev);
}

bool fb_ep_irq_owns(const struct fb_device *dev, unsigned bar, uint64_t offset)
{
	return dev->msix_vectors && (in_table(dev, bar, offset) ||
				     (bar == dev->msix.pba_bar && offset - dev->msix.pba < fb_ep_msix_pba_size(dev)));
}

uint8_t fb_ep_irq_bar_read(const struct fb_device *dev, unsigned bar, uint64_t offset)
{
	if (in_table(dev, bar, offset))
		return dev->msix_table[offset - dev->msix.table];
	offset -= dev->msix.pba;
	return (uint8_t)(dev->msix_pba[offset / 8] >> 8 * (offset % 8));
}

void fb_ep_irq_bar_write(struct fb_device *dev, unsigned bar, uint64_t offset, uint8_t byte)
{
	if (!in_table(dev, bar, offset))
		return; /* pending bits are read-only */
	offset -= dev->msix.table;
	switch (offset % MSIX_ENTRY) {
	case MSIX_ENTRY_ADDRESS:
		byte &= (uint8_t)~3u;
		break;
	case MSIX_ENTRY_CONTROL:
		byte &= 1;
		break;
	case MSIX_ENTRY_CONTROL + 1:
	case MSIX_ENTRY_CONTROL + 2:
	case MSIX_ENTRY_CONTROL + 3:
		return;
	default:
		break;
	}
	dev->msix_table[offset] = byte;
	if (offset % MSIX_ENTRY == MSIX_ENTRY_CONTROL)
		fire_pending_msix(dev, (unsigned)(offset / MSIX_ENTRY));
}

/* ---- Life ---------------------------------------------------------------------------- */

int fb_ep_irq_init(struct fb_device *dev)
{
	dev->n_vectors = dev->msix_vectors > dev->msi_vectors ? dev->msix_vectors : dev->msi_vectors;
	dev->vectors = calloc(dev->n_vectors + 1, sizeof(*dev->vectors));
	dev->msix_table = calloc(dev->msix_vectors + 1u, MSIX_ENTRY);
	dev->msix_pba = calloc((dev->msix_vectors + 63u) / 64 + 1, sizeof(*dev->msix_pba));
	if (!dev->vectors || !dev->msix_table || !dev->msix_pba)
		return -ENOMEM;
	dev->window_timer.due = fb_ep_irq_window_over;
	fb_ep_irq_reset(dev);
	return 0;
}

void fb_ep_irq_free(struct fb_device *dev)
{
	fb_timer_cancel(&dev->window_timer);
	free(dev->vectors);
	free(dev->msix_table);
	free(dev->msix_pba);
}

/* Messages in the posted queue are gone already; INTx is taken back if it was asserted. */
void fb_ep_irq_reset(struct fb_device *dev)
{
	fb_timer_cancel(&dev->window_timer);
	dev->window_first = dev->window_last = NO_TAG;
	memset(dev->vectors, 0, dev->n_vectors * sizeof(*dev->vectors));
	memset(dev->msix_table, 0, fb_ep_msix_table_size(dev));
	for (unsigned v = 0; v < dev->msix_vectors; v++)
		dev->msix_table[v * MSIX_ENTRY + MSIX_ENTRY_CONTROL] = 1;
	memset(dev->msix_pba, 0, (dev->msix_vectors + 63u) / 64 * sizeof(*dev->msix_pba));
	dev->intx_level = false;
	if (dev->port)
		fb_ep_intx_update(dev);
	else
		dev->intx_sent = INTX_LOW;
}
