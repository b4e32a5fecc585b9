/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory and I/O requests of the root into the model's registers. A request is
 * walked as runs of enabled bytes, and each run as accesses of the sizes that
 * the model understands (struct fb_bar): lower addresses first, naturally
 * aligned. A register is read once for one request, however its bytes are
 * spread over byte enables, since reading may have side effects.
 */
#include <string.h>

#include "endpoint/device_impl.h"
#include "tlp/regs.h"
#include "util/reader.h"

static uint64_t mask_of(unsigned size)
{
	return size == 8 ? ~0ull : (1ull << 8 * size) - 1;
}

/* The largest access that is aligned at `offset`, within max and `left`. */
static unsigned access_size(const struct fb_walk *a, uint64_t offset, uint32_t left)
{
	unsigned size = a->max;

	while (size > 1 && (offset & (size - 1) || size > left))
		size /= 2;
	return size;
}

/* To the device's thread: the access ends later, whatever it is. */
static uint64_t hand_over(struct fb_walk *a, bool write, uint64_t at, uint64_t value, unsigned size)
{
	struct fb_access *access = fb_held_add(a);

	if (access && fb_thread_access(a->dev, access, write, a->bar, at, value, size))
		return 0;
	fb_device_error(a->dev, "no memory: a register access is lost");
	if (access)
		fb_access_complete(access, ~0ull);
	return ~0ull;
}

static uint64_t call_read(struct fb_walk *a, uint64_t at, unsigned size)
{
	uint64_t value;

	a->in_call = true;
	a->answered = false;
	a->late = NULL;
	value = a->dev->thread ? hand_over(a, false, at, 0, size) : a->dev->model->read(a->dev, a->bar, at, size);
	a->in_call = false;
	if (a->late)
		a->late->place = (int32_t)((int64_t)at - (int64_t)a->offset);
	return a->answered ? a->value : value;
}

static void call_write(struct fb_walk *a, uint64_t at, uint64_t value, unsigned size)
{
	if (a->dev->rings.shadows && size == 4 && fb_shadow_written(a->dev, a->bar, at))
		return;
	a->in_call = true;
	a->late = NULL;
	if (a->dev->thread)
		hand_over(a, true, at, value, size);
	else
		a->dev->model->write(a->dev, a->bar, at, value, size);
	a->in_call = false;
}

static void read_run(struct fb_walk *a, uint64_t offset, uint32_t len, uint8_t *out)
{
	while (len > 0) {
		unsigned size = access_size(a, offset, len), first, n;
		uint64_t at;

		if (fb_ep_irq_owns(a->dev, a->bar, offset)) {
			*out++ = fb_ep_irq_bar_read(a->dev, a->bar, offset++);
			len--;
			continue;
		}
		if (size < a->min)
			size = a->min;
		at = offset & ~(uint64_t)(size - 1);
		if (!a->unit_size || at < a->unit || at + size > a->unit + a->unit_size) {
			a->value = call_read(a, at, size) & mask_of(size);
			a->unit = at;
			a->unit_size = size;
		}
		first = (unsigned)(offset - a->unit);
		n = (unsigned)(at + size - offset);
		if (n > len)
			n = len;
		if (a->late)
			a->late->bytes |= (uint8_t)(((1u << n) - 1) << first);
		else
			for (unsigned i = 0; i < n; i++)
				out[i] = (uint8_t)(a->value >> 8 * (first + i));
		out += n;
		offset += n;
		len -= n;
	}
}

static void write_run(struct fb_walk *a, uint64_t offset, uint32_t len, const uint8_t *in)
{
	struct fb_device *dev = a->dev;
	uint64_t suppressed;

	while (len > 0) {
		unsigned size = access_size(a, offset, len);

		if (fb_ep_irq_owns(dev, a->bar, offset)) {
			fb_ep_irq_bar_write(dev, a->bar, offset, *in);
			size = 1;
		} else if (size >= a->min) {
			uint64_t value = 0;

			for (unsigned i = size; i > 0; i--)
				value = value << 8 | in[i - 1];
			call_write(a, offset, value, size);
		} else if (fb_log_allowed(&dev->log_mmio, fb_loop_now(dev->loop), &suppressed)) {
			fb_device_warn(dev,
				       "BAR %u + 0x%llx: write of %u bytes dropped, registers there take %u to %u "
				       "(%llu more not shown)",
				       a->bar, (unsigned long long)offset, size, a->min, a->max,
				       (unsigned long long)suppressed);
		}
		offset += size;
		in += size;
		len -= size;
	}
}

static void access_run(struct fb_walk *a, bool write, uint32_t start, uint32_t len)
{
	if (write)
		write_run(a, a->offset + start, len, a->data + start);
	else
		read_run(a, a->offset + start, len, a->data + start);
}

static void walk(struct fb_walk *a, bool write)
{
	const struct pcie_tlp *tlp = a->tlp;
	unsigned be = tlp->first_be | (tlp->length == 2 ? (unsigned)tlp->last_be << 4 : 0);
	struct fb_walk *outer = a->dev->walk;
	uint64_t address;
	uint32_t len;

	a->dev->walk = a;
	if (tlp->length > 2) { /* then the enabled bytes have no holes (2.2.5) */
		pcie_tlp_get_range(tlp, &address, &len);
		access_run(a, write, address & 3, len);
		be = 0;
	}
	while (be) {
		unsigned start = (unsigned)__builtin_ctz(be), n = (unsigned)__builtin_ctz(~(be >> start));

		access_run(a, write, start, n);
		be &= ~(((1u << n) - 1) << start);
	}
	a->dev->walk = outer;
}

/* The BAR that holds all of [address, address + len), or -1. */
static int decode(const struct fb_device *dev, bool io, uint64_t address, uint32_t len)
{
	for (unsigned i = 0; i < N_BARS; i++) {
		const struct fb_bar *bar = &dev->bars[i];

		if (bar->size && bar->is_io == io && address >= dev->view.bar[i] &&
		    fb_in_range(address - dev->view.bar[i], len, bar->size))
			return (int)i;
	}
	return -1;
}

static bool request(struct fb_device *dev, const struct pcie_tlp *tlp, uint64_t since)
{
	bool io = tlp->type == PCIE_TLP_IORD || tlp->type == PCIE_TLP_IOWR;
	bool write = tlp->type == PCIE_TLP_MWR || tlp->type == PCIE_TLP_IOWR;
	uint32_t len = tlp->length * 4u, enabled;
	enum pcie_cpl_status status = PCIE_CPL_SC;
	struct fb_walk a = {.dev = dev, .tlp = tlp};
	uint8_t data[PCIE_TLP_MAX_DATA];
	uint64_t address, walking = 0;
	int bar;

	if (dev->view.d3hot || !(io ? dev->view.io : dev->view.memory))
		return fb_device_unsupported(dev, tlp);
	bar = decode(dev, io, tlp->address, len);
	if (bar < 0)
		return fb_device_unsupported(dev, tlp);
	a.bar = (unsigned)bar;
	a.min = dev->bars[bar].min_access;
	a.max = dev->bars[bar].max_access;
	a.offset = tlp->address - dev->view.bar[bar];
	if (write) {
		dev->stats.mmio_writes++;
		a.data = (uint8_t *)tlp->data;
	} else {
		dev->stats.mmio_reads++;
		a.data = memset(data, 0, len);
	}
	if (since)
		walking = fb_clock_ns();
	walk(&a, write);
	fb_hop_end(&dev->times[FB_BOX_HOP_MODEL], walking);
	if (a.held && fb_held_wait(&a))
		return false;
	/* The model may have been told of the end of its session by what it did; then nobody waits for an answer. */
	if (!dev->port)
		return true;
	if (a.failed)
		fb_device_aborted(dev, tlp);
	if (tlp->type == PCIE_TLP_MWR)
		return true;
	if (a.failed || a.cancelled)
		status = a.failed ? PCIE_CPL_CA : PCIE_CPL_UR;
	enabled = 4;
	if (!io)
		pcie_tlp_get_range(tlp, &address, &enabled);
	return fb_post_completion(dev, tlp, status, write || status != PCIE_CPL_SC ? NULL : data, enabled);
}

bool fb_mmio_request(struct fb_device *dev, const struct pcie_tlp *tlp)
{
	uint64_t since = fb_hop_begin(&dev->times[FB_BOX_HOP_BOX], 8);
	bool done = request(dev, tlp, since);

	if (done) /* not if it is held: what a model puts off is its own time */
		fb_hop_end(&dev->times[FB_BOX_HOP_BOX], since);
	return done;
}
