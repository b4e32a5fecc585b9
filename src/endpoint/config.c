/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads and writes of configuration space, and what follows from a write. Every
 * register is three byte masks (caps.c), so that a write is one rule for all;
 * the view of it that the rest of the runtime looks at is worked out anew after
 * each write, and the few changes that are events are found by comparing.
 */
#include <errno.h>
#include <string.h>

#include "endpoint/device_impl.h"
#include "tlp/regs.h"
#include "util/reader.h"

uint16_t fb_cfg16(const struct fb_device *dev, unsigned offset)
{
	return fb_get_le16(dev->cfg + offset);
}

uint32_t fb_cfg32(const struct fb_device *dev, unsigned offset)
{
	return fb_get_le32(dev->cfg + offset);
}

void fb_cfg_set16(struct fb_device *dev, unsigned offset, uint16_t value)
{
	fb_put_le16(dev->cfg + offset, value);
}

void fb_cfg_set32(struct fb_device *dev, unsigned offset, uint32_t value)
{
	fb_put_le32(dev->cfg + offset, value);
}

/*
 * Completion Timeout Value, 7.5.3.16: the upper end of each range. 0 is the
 * default range, which here is the device's option: the specification's 50 ms
 * are no measure for a network that may be away for longer than that.
 */
static uint64_t completion_timeout(const struct fb_device *dev)
{
	uint16_t control = fb_cfg16(dev, dev->cap_exp + EXP_DEVCTL2);

	if (control & EXP_DEVCTL2_TIMEOUT_DISABLE)
		return FB_NEVER;
	switch (control & EXP_DEVCTL2_TIMEOUT) {
	case 1:
		return 100 * 1000ull;
	case 2:
		return 10 * 1000000ull;
	case 5:
		return 55 * 1000000ull;
	case 6:
		return 210 * 1000000ull;
	case 9:
		return 900 * 1000000ull;
	case 10:
		return 3500 * 1000000ull;
	case 13:
		return 13000 * 1000000ull;
	case 14:
		return 64000 * 1000000ull;
	default:
		return dev->options.completion_timeout_ns;
	}
}

void fb_ep_config_update(struct fb_device *dev)
{
	struct fb_config_view *v = &dev->view;
	uint16_t command = fb_cfg16(dev, PCI_COMMAND);
	uint16_t control = fb_cfg16(dev, dev->cap_exp + EXP_DEVCTL);
	uint16_t control2 = fb_cfg16(dev, dev->cap_exp + EXP_DEVCTL2);
	unsigned mps = (control & EXP_DEVCTL_MPS) >> EXP_DEVCTL_MPS_SHIFT;
	unsigned mrrs = (control & EXP_DEVCTL_MRRS) >> EXP_DEVCTL_MRRS_SHIFT;

	v->memory = command & PCI_COMMAND_MEMORY;
	v->io = command & PCI_COMMAND_IO;
	v->master = command & PCI_COMMAND_MASTER;
	v->intx_disabled = command & PCI_COMMAND_INTX_DISABLE;
	v->serr = command & PCI_COMMAND_SERR;
	v->d3hot = (fb_cfg16(dev, dev->cap_pm + PM_PMCSR) & PM_PMCSR_STATE) == 3;
	v->mps = 128u << (mps > 5 ? 5 : mps); /* 6 and 7 are reserved */
	v->mrrs = 128u << (mrrs > 5 ? 5 : mrrs);
	v->ido = control2 & EXP_DEVCTL2_IDO_REQUEST;
	v->timeout_ns = completion_timeout(dev);
	if (control2 & EXP_DEVCTL2_TEN_BIT_TAG) {
		v->tag_first = TAGS_8BIT;
		v->tag_end = TAGS_10BIT;
	} else {
		v->tag_first = 0;
		v->tag_end = control & EXP_DEVCTL_EXT_TAG ? TAGS_8BIT : TAGS_5BIT;
	}

	v->msi = v->msix = v->msix_masked = false;
	if (dev->cap_msi) {
		uint16_t c = fb_cfg16(dev, dev->cap_msi + MSI_CONTROL);
		unsigned count = 1u << ((c & MSI_CONTROL_MME) >> MSI_CONTROL_MME_SHIFT);

		v->msi = c & MSI_CONTROL_ENABLE;
		v->msi_count = count > dev->msi_vectors ? dev->msi_vectors : count;
		v->msi_mask = fb_cfg32(dev, dev->cap_msi + MSI_MASK);
	}
	if (dev->cap_msix) {
		uint16_t c = fb_cfg16(dev, dev->cap_msix + MSIX_CONTROL);

		v->msix = c & MSIX_CONTROL_ENABLE;
		v->msix_masked = c & MSIX_CONTROL_MASK;
	}

	for (unsigned i = 0; i < N_BARS; i++) {
		const struct fb_bar *bar = &dev->bars[i];

		v->bar[i] = 0;
		if (!bar->size)
			continue;
		v->bar[i] = fb_cfg32(dev, PCI_BAR0 + 4 * i) & (bar->is_io ? ~3u : ~15u);
		if (bar->is_64)
			v->bar[i] |= (uint64_t)fb_cfg32(dev, PCI_BAR0 + 4 * i + 4) << 32;
	}
}

uint32_t fb_ep_config_read(struct fb_device *dev, uint16_t reg)
{
	if (reg == (PCI_STATUS & ~3u)) {
		uint16_t status = fb_cfg16(dev, PCI_STATUS) & (uint16_t)~PCI_STATUS_INTX;

		fb_cfg_set16(dev, PCI_STATUS, dev->intx_level ? status | PCI_STATUS_INTX : status);
	} else if (reg == dev->cap_exp + (EXP_DEVSTA & ~3)) {
		uint16_t status = fb_cfg16(dev, dev->cap_exp + EXP_DEVSTA) & (uint16_t)~EXP_DEVSTA_PENDING;

		fb_cfg_set16(dev, dev->cap_exp + EXP_DEVSTA,
			     dev->active_tags.first != NO_TAG ? status | EXP_DEVSTA_PENDING : status);
	}
	return fb_cfg32(dev, reg);
}

bool fb_ep_config_write(struct fb_device *dev, uint16_t reg, uint32_t value, uint8_t be)
{
	const struct fb_config_view before = dev->view;
	uint16_t state_at = dev->cap_pm + PM_PMCSR, ltr = fb_cfg16(dev, dev->cap_exp + EXP_DEVCTL2) & EXP_DEVCTL2_LTR;
	uint16_t power = fb_cfg16(dev, state_at);
	bool flr = false;

	for (unsigned i = 0; i < 4; i++) {
		uint8_t *p = dev->cfg + reg + i, rw = dev->cfg_rw[reg + i], byte = (uint8_t)(value >> 8 * i);

		if (!(be & 1 << i))
			continue;
		*p = (uint8_t)((*p & ~rw) | (byte & rw));
		*p &= (uint8_t)~(byte & dev->cfg_w1c[reg + i]);
		if (reg + i == dev->cap_exp + EXP_DEVCTL + 1u)
			flr = byte & EXP_DEVCTL_FLR >> 8;
	}

	/* D1 and D2 are not supported: writing them changes nothing (7.5.2.2). */
	if ((fb_cfg16(dev, state_at) & PM_PMCSR_STATE) == 1 || (fb_cfg16(dev, state_at) & PM_PMCSR_STATE) == 2)
		fb_cfg_set16(dev, state_at, power);
	/* A first error pointer whose status bit was cleared is free for the next error (6.2.4.2). */
	if (reg == dev->ext_aer + AER_UNCOR_STATUS) {
		uint32_t c = fb_cfg32(dev, dev->ext_aer + AER_CONTROL);

		if (!(fb_cfg32(dev, reg) & 1u << (c & AER_CONTROL_FIRST_ERROR)))
			fb_cfg_set32(dev, dev->ext_aer + AER_CONTROL, c & ~(uint32_t)AER_CONTROL_FIRST_ERROR);
	}

	fb_ep_config_update(dev);
	if (flr)
		return true;
	if (before.d3hot && !dev->view.d3hot && dev->options.d3_reset) {
		fb_reset(dev, FB_RESET_D3);
		return false;
	}
	if (before.master && !before.d3hot && !fb_may_master(dev)) {
		fb_ring_drop(dev);
		fb_dma_cancel(dev, false);
	}
	if (before.tag_first != dev->view.tag_first || before.tag_end != dev->view.tag_end ||
	    before.timeout_ns != dev->view.timeout_ns)
		fb_read_tags_changed(dev);
	fb_ep_irq_config_changed(dev);
	/* No requirement, said once: a root may otherwise assume the worst (6.18). */
	if (!ltr && fb_cfg16(dev, dev->cap_exp + EXP_DEVCTL2) & EXP_DEVCTL2_LTR)
		fb_post_message(dev, PCIE_MSG_LTR, PCIE_ROUTE_LOCAL, 0);
	if (dev->model->config_written && !dev->thread && be) {
		unsigned first = (unsigned)__builtin_ctz(be), end = 32 - (unsigned)__builtin_clz(be);

		dev->model->config_written(dev, reg + first, end - first);
	}
	return false;
}

/* ---- The device API ----------------------------------------------------------- */

uint16_t fb_device_bdf(const struct fb_device *dev)
{
	return fb_on_thread(dev) ? fb_thread_bdf(dev) : dev->bdf;
}

bool fb_device_bar_address(const struct fb_device *dev, unsigned bar, uint64_t *addr)
{
	if (fb_on_thread(dev))
		return fb_thread_bar_address(dev, bar, addr);
	if (bar >= N_BARS || !dev->bars[bar].size || dev->view.d3hot)
		return false;
	*addr = dev->view.bar[bar];
	return dev->bars[bar].is_io ? dev->view.io : dev->view.memory;
}

uint32_t fb_device_config_read(struct fb_device *dev, unsigned offset)
{
	if (fb_on_thread(dev))
		return fb_thread_config_read(dev, offset);
	return offset < CFG_SIZE ? fb_ep_config_read(dev, (uint16_t)(offset & ~3u)) : UINT32_MAX;
}

int fb_device_config_write(struct fb_device *dev, unsigned offset, uint32_t value, unsigned byte_enables)
{
	if (fb_on_thread(dev))
		return fb_thread_config_write(dev, offset, value, byte_enables);
	if (offset >= CFG_SIZE || offset & 3 || byte_enables > 15)
		return -EINVAL;
	if (fb_ep_config_write(dev, (uint16_t)offset, value, (uint8_t)byte_enables))
		fb_reset(dev, FB_RESET_FLR);
	return 0;
}

int fb_device_update_capability(struct fb_device *dev, unsigned at, const void *body, unsigned len)
{
	if (fb_on_thread(dev))
		return fb_thread_update_capability(dev, at, body, len);
	for (unsigned i = 0; i < dev->n_extra_caps; i++) {
		const struct fb_extra_cap *c = &dev->extra_caps[i];

		if (c->at != at)
			continue;
		if (len != c->len)
			return -EINVAL;
		memcpy(dev->cfg + at + (c->extended ? 4 : 2), body, len);
		return 0;
	}
	return -EINVAL;
}
