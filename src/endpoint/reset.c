/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resets, all within the call: DMA ends (its done() is called), timers and
 * interrupts stop, the model resets, configuration space is as after power-on.
 * A function level reset and the way from D3hot to D0 keep what 6.6.2 says
 * they keep; the end of a session keeps nothing.
 */
#include <string.h>

#include "endpoint/device_impl.h"
#include "tlp/regs.h"

struct kept {
	uint32_t aer[AER_SIZE / 4]; /* sticky */
	uint32_t devcap;            /* captured slot power limit */
	uint16_t mps, lnkctl, lnkctl2;
};

static void keep(const struct fb_device *dev, struct kept *k)
{
	for (unsigned i = 1; i < AER_SIZE / 4; i++)
		k->aer[i] = fb_cfg32(dev, dev->ext_aer + 4 * i);
	k->devcap = fb_cfg32(dev, dev->cap_exp + EXP_DEVCAP);
	k->mps = fb_cfg16(dev, dev->cap_exp + EXP_DEVCTL) & EXP_DEVCTL_MPS;
	k->lnkctl = fb_cfg16(dev, dev->cap_exp + EXP_LNKCTL);
	k->lnkctl2 = fb_cfg16(dev, dev->cap_exp + EXP_LNKCTL2);
}

static void restore(struct fb_device *dev, const struct kept *k)
{
	uint16_t control = fb_cfg16(dev, dev->cap_exp + EXP_DEVCTL);

	for (unsigned i = 1; i < AER_SIZE / 4; i++)
		fb_cfg_set32(dev, dev->ext_aer + 4 * i, k->aer[i]);
	fb_cfg_set32(dev, dev->cap_exp + EXP_DEVCAP, k->devcap);
	fb_cfg_set16(dev, dev->cap_exp + EXP_DEVCTL, (uint16_t)((control & ~EXP_DEVCTL_MPS) | k->mps));
	fb_cfg_set16(dev, dev->cap_exp + EXP_LNKCTL, k->lnkctl);
	fb_cfg_set16(dev, dev->cap_exp + EXP_LNKCTL2, k->lnkctl2);
}

void fb_reset(struct fb_device *dev, enum fb_reset kind)
{
	struct kept kept;

	dev->stats.resets++;
	if (dev->thread) /* first, so that what ends here does not make it begin anew */
		fb_thread_reset(dev, kind);
	fb_cfg_set16(dev, PCI_COMMAND, 0);
	fb_ep_config_update(dev);
	fb_dma_cancel(dev, true);
	fb_ring_forget(dev);
	fb_offer_forget(dev);
	fb_held_cancel(dev);
	fb_sched_stop_timers(dev);
	if (kind == FB_RESET_SESSION)
		fb_read_forget(dev);
	fb_ep_irq_reset(dev);
	if (!dev->thread)
		dev->model->reset(dev, kind);

	keep(dev, &kept);
	if (kind == FB_RESET_SESSION) {
		dev->bdf = 0;
		dev->bdf_known = false;
		fb_device_rename(dev);
	}
	fb_ep_config_build(dev);
	if (kind != FB_RESET_SESSION) {
		restore(dev, &kept);
		fb_ep_config_update(dev);
	}
	fb_read_tags_changed(dev);
	fb_device_debug(dev, "%s", kind == FB_RESET_FLR  ? "function level reset"
				   : kind == FB_RESET_D3 ? "reset on the way from D3hot to D0"
							 : "reset for the next session");
}
