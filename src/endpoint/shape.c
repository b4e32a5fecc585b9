/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a function looks like: taken from its model's struct, changed by the
 * model's realize(), and checked before anything is built from it. Mistakes of
 * a model are found here rather than by a guest.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint/device_impl.h"
#include "tlp/regs.h"
#include "util/reader.h"

enum { MAX_EXTRA_CAPS = 64 };

/* ---- What realize() may change ---------------------------------------------------- */

int fb_device_set_identity(struct fb_device *dev, const struct fb_identity *identity)
{
	if (!dev->realizing)
		return -EINVAL;
	dev->identity = *identity;
	return 0;
}

int fb_device_set_bar(struct fb_device *dev, const struct fb_bar *bar)
{
	struct fb_bar *own = bar->index < N_BARS ? &dev->bars[bar->index] : NULL;

	if (!dev->realizing || !own)
		return -EINVAL;
	*own = *bar;
	if (!own->min_access)
		own->min_access = 4;
	if (!own->max_access)
		own->max_access = 4;
	return 0;
}

int fb_device_set_bar_size(struct fb_device *dev, unsigned bar, uint64_t size)
{
	if (!dev->realizing || bar >= N_BARS || !dev->bars[bar].size)
		return -EINVAL;
	dev->bars[bar].size = size;
	return 0;
}

int fb_device_set_vectors(struct fb_device *dev, uint16_t msi, uint16_t msix)
{
	if (!dev->realizing)
		return -EINVAL;
	dev->msi_vectors = dev->options.msi ? msi : 0;
	dev->msix_vectors = dev->options.msix ? msix : 0;
	return 0;
}

int fb_device_set_msix(struct fb_device *dev, unsigned table_bar, uint64_t table_offset, unsigned pba_bar,
		       uint64_t pba_offset)
{
	if (!dev->realizing)
		return -EINVAL;
	dev->msix = (struct fb_msix_place){.chosen = true,
					   .table_bar = table_bar,
					   .pba_bar = pba_bar,
					   .table = table_offset,
					   .pba = pba_offset};
	return 0;
}

int fb_device_set_intx(struct fb_device *dev, bool intx)
{
	if (!dev->realizing)
		return -EINVAL;
	dev->intx = intx;
	return 0;
}

void fb_device_set_serial_number(struct fb_device *dev, uint64_t serial)
{
	if (dev->realizing)
		dev->serial = serial;
}

/* Where the next one begins: behind the last of its kind, on a whole DW. */
static unsigned next_place(const struct fb_device *dev, bool extended)
{
	unsigned at = extended ? FIRST_EXTRA_EXT_CAP : FIRST_EXTRA_CAP;

	for (unsigned i = 0; i < dev->n_extra_caps; i++) {
		const struct fb_extra_cap *c = &dev->extra_caps[i];

		if (c->extended == extended)
			at = (c->at + c->len + (extended ? 4u : 2u) + 3u) & ~3u;
	}
	return at;
}

static int add_capability(struct fb_device *dev, struct fb_extra_cap c, const void *body, const void *writable,
			  unsigned len)
{
	unsigned head = c.extended ? 4 : 2, end = c.extended ? CFG_SIZE : 256, at = next_place(dev, c.extended);
	struct fb_extra_cap *caps;

	if (!dev->realizing || (len && !body))
		return -EINVAL;
	if (dev->n_extra_caps == MAX_EXTRA_CAPS || at + head > end || len > end - at - head)
		return -ENOSPC;
	caps = realloc(dev->extra_caps, (dev->n_extra_caps + 1) * sizeof(*caps));
	if (!caps)
		return -ENOMEM;
	dev->extra_caps = caps;
	c.bytes = calloc(2, len + 1u);
	if (!c.bytes)
		return -ENOMEM;
	if (len)
		memcpy(c.bytes, body, len);
	if (len && writable)
		memcpy(c.bytes + len, writable, len);
	c.at = (uint16_t)at;
	c.len = (uint16_t)len;
	caps[dev->n_extra_caps++] = c;
	return (int)at;
}

int fb_device_add_capability(struct fb_device *dev, uint8_t id, const void *body, const void *writable, unsigned len)
{
	return add_capability(dev, (struct fb_extra_cap){.id = id}, body, writable, len);
}

int fb_device_add_ext_capability(struct fb_device *dev, uint16_t id, unsigned version, const void *body,
				 const void *writable, unsigned len)
{
	struct fb_extra_cap c = {.extended = true, .id = id, .version = (uint8_t)version};

	return version > 15 ? -EINVAL : add_capability(dev, c, body, writable, len);
}

/* ---- Checks ----------------------------------------------------------------------- */

static bool power_of_2(uint64_t v)
{
	return v && !(v & (v - 1));
}

static int check_bar(const struct fb_device *dev, unsigned i)
{
	const struct fb_bar *bar = &dev->bars[i];
	uint64_t least = bar->is_io ? 4 : 128, most = bar->is_io ? 256 : bar->is_64 ? 1ull << 62 : 1ull << 31;

	if (!power_of_2(bar->size) || bar->size < least || bar->size > most)
		fb_error(dev->name, "BAR %u: a size of 0x%llx: must be a power of two from 0x%llx to 0x%llx", i,
			 (unsigned long long)bar->size, (unsigned long long)least, (unsigned long long)most);
	else if (bar->is_64 && (bar->is_io || i == N_BARS - 1 || dev->bars[i + 1].size))
		fb_error(dev->name, "BAR %u: a 64-bit BAR is of memory and takes the next one too", i);
	else if (!power_of_2(bar->min_access) || !power_of_2(bar->max_access) || bar->max_access > 8 ||
		 bar->min_access > bar->max_access)
		fb_error(dev->name, "BAR %u: access sizes %u to %u make no sense", i, bar->min_access, bar->max_access);
	else
		return 0;
	return -EINVAL;
}

static bool in_memory_bar(const struct fb_device *dev, unsigned bar, uint64_t offset, uint64_t len)
{
	return bar < N_BARS && dev->bars[bar].size && !dev->bars[bar].is_io && !(offset & 7) && offset <= UINT32_MAX &&
	       fb_in_range(offset, len, dev->bars[bar].size);
}

static int check_msix(const struct fb_device *dev)
{
	const struct fb_msix_place *m = &dev->msix;
	uint64_t table = fb_ep_msix_table_size(dev), pba = fb_ep_msix_pba_size(dev);

	if (dev->msix_vectors <= 2048 && in_memory_bar(dev, m->table_bar, m->table, table) &&
	    in_memory_bar(dev, m->pba_bar, m->pba, pba) &&
	    (m->table_bar != m->pba_bar || m->table + table <= m->pba || m->pba + pba <= m->table))
		return 0;
	fb_error(dev->name, "%u MSI-X vectors with the table at BAR %u + 0x%llx and the PBA at BAR %u + 0x%llx do not fit",
		 dev->msix_vectors, m->table_bar, (unsigned long long)m->table, m->pba_bar, (unsigned long long)m->pba);
	return -EINVAL;
}

int fb_shape_check(struct fb_device *dev)
{
	int err = 0;

	for (unsigned i = 0; i < N_BARS && !err; i++)
		err = dev->bars[i].size ? check_bar(dev, i) : 0;
	if (err)
		return err;
	if (dev->msi_vectors && (!power_of_2(dev->msi_vectors) || dev->msi_vectors > 32)) {
		fb_error(dev->name, "%u MSI vectors: must be a power of two up to 32", dev->msi_vectors);
		return -EINVAL;
	}
	if (dev->model->link_speed > 3 || dev->model->link_width > 8 ||
	    (dev->model->link_width && !power_of_2(dev->model->link_width))) {
		fb_error(dev->name, "a link of speed %u and width %u: there are speeds 1 to 3 and widths 1, 2, 4 and 8",
			 dev->model->link_speed, dev->model->link_width);
		return -EINVAL;
	}
	if (!dev->msix.chosen)
		dev->msix.pba = dev->msix.table + fb_ep_msix_table_size(dev);
	return dev->msix_vectors ? check_msix(dev) : 0;
}

/* ---- Life -------------------------------------------------------------------------- */

int fb_shape_take(struct fb_device *dev)
{
	const struct fb_model *m = dev->model;

	dev->identity = m->identity;
	dev->msi_vectors = dev->options.msi ? m->msi_vectors : 0;
	dev->msix_vectors = dev->options.msix ? m->msix_vectors : 0;
	dev->msix = (struct fb_msix_place){.table_bar = m->msix_bar, .pba_bar = m->msix_bar, .table = m->msix_offset};
	dev->intx = m->intx;
	dev->realizing = true;
	for (unsigned i = 0; i < m->n_bars; i++) {
		const struct fb_bar *bar = &m->bars[i];

		if (bar->index >= N_BARS || dev->bars[bar->index].size) {
			fb_error(dev->name, "BAR %u is impossible or there twice", bar->index);
			dev->realizing = false;
			return -EINVAL;
		}
		fb_device_set_bar(dev, bar);
	}
	dev->realizing = false;
	return 0;
}

void fb_shape_free(struct fb_device *dev)
{
	for (unsigned i = 0; i < dev->n_extra_caps; i++)
		free(dev->extra_caps[i].bytes);
	free(dev->extra_caps);
	dev->extra_caps = NULL;
	dev->n_extra_caps = 0;
}
