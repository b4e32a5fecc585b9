/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration space as it is after power-on, with the masks that say what
 * a write may change. Capabilities stand in the order in which lspci prints
 * them; those that a device has not leave no hole in the chain.
 */
#include <assert.h>
#include <string.h>

#include "endpoint/device_impl.h"
#include "tlp/regs.h"
#include "util/reader.h"

enum { AT_PM = 0x40, AT_MSI = 0x50, AT_EXP = 0x70, AT_MSIX = 0xb0 };
enum { AT_AER = 0x100, AT_DSN = 0x148, AT_LTR = 0x158, AT_SPCIE = 0x160 };
enum { LINK_8GT = 3 };

static_assert(AT_MSIX + MSIX_SIZE <= FIRST_EXTRA_CAP && AT_SPCIE + SPCIE_SIZE <= FIRST_EXTRA_EXT_CAP,
	      "the model's capabilities overlap");
static_assert(AT_PM + 8 <= AT_MSI && AT_MSI + MSI_SIZE <= AT_EXP && AT_EXP + EXP_SIZE <= AT_MSIX,
	      "capabilities overlap");
static_assert(AT_AER + AER_SIZE <= AT_DSN && AT_DSN + DSN_SIZE <= AT_LTR && AT_LTR + LTR_SIZE <= AT_SPCIE,
	      "extended capabilities overlap");

static void put8(struct fb_device *dev, unsigned at, uint8_t value, uint8_t rw)
{
	dev->cfg[at] = value;
	dev->cfg_rw[at] = rw;
}

static void put16(struct fb_device *dev, unsigned at, unsigned value, unsigned rw)
{
	fb_put_le16(dev->cfg + at, (uint16_t)value);
	fb_put_le16(dev->cfg_rw + at, (uint16_t)rw);
}

static void put32(struct fb_device *dev, unsigned at, uint32_t value, uint32_t rw)
{
	fb_put_le32(dev->cfg + at, value);
	fb_put_le32(dev->cfg_rw + at, rw);
}

static void header(struct fb_device *dev)
{
	const struct fb_identity *id = &dev->identity;

	put16(dev, PCI_VENDOR_ID, id->vendor_id, 0);
	put16(dev, PCI_DEVICE_ID, id->device_id, 0);
	put16(dev, PCI_COMMAND, 0,
	      PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | PCI_COMMAND_SERR |
		      PCI_COMMAND_INTX_DISABLE);
	put16(dev, PCI_STATUS, PCI_STATUS_CAP_LIST, 0);
	fb_put_le16(dev->cfg_w1c + PCI_STATUS,
		    PCI_STATUS_MASTER_PARITY | PCI_STATUS_SIG_TARGET_ABORT | PCI_STATUS_REC_TARGET_ABORT |
			    PCI_STATUS_REC_MASTER_ABORT | PCI_STATUS_SIG_SYSTEM_ERROR | PCI_STATUS_DETECTED_PARITY);
	put8(dev, PCI_REVISION_ID, id->revision, 0);
	put8(dev, PCI_CLASS_CODE, (uint8_t)id->class_code, 0);
	put16(dev, PCI_CLASS_CODE + 1, id->class_code >> 8, 0);
	put8(dev, PCI_CACHE_LINE_SIZE, 0, 0xff); /* for legacy software only, 7.5.1.1.7 */
	put16(dev, PCI_SUBSYSTEM_VENDOR_ID, id->subsystem_vendor_id, 0);
	put16(dev, PCI_SUBSYSTEM_ID, id->subsystem_id, 0);
	put8(dev, PCI_INTERRUPT_LINE, 0, 0xff);
	put8(dev, PCI_INTERRUPT_PIN, dev->intx ? 1 : 0, 0);

	for (unsigned i = 0; i < N_BARS; i++) {
		const struct fb_bar *bar = &dev->bars[i];
		uint64_t rw = ~(bar->size - 1);
		unsigned at = PCI_BAR0 + 4 * i;

		if (!bar->size)
			continue;
		if (bar->is_io) {
			put32(dev, at, 1, (uint32_t)rw & ~3u);
		} else {
			put32(dev, at, (bar->is_64 ? 4 : 0) | (bar->prefetchable ? 8 : 0), (uint32_t)rw & ~15u);
			if (bar->is_64)
				put32(dev, at + 4, 0, (uint32_t)(rw >> 32));
		}
	}
}

/* Appends to the chain; *tail is the place of the last next pointer. */
static uint16_t capability(struct fb_device *dev, unsigned *tail, unsigned at, uint8_t id)
{
	put8(dev, at, id, 0);
	put8(dev, at + 1, 0, 0);
	put8(dev, *tail, (uint8_t)at, 0);
	*tail = at + 1;
	return (uint16_t)at;
}

static void pm(struct fb_device *dev, unsigned at)
{
	put16(dev, at + PM_PMC, 3, 0); /* version 3 (of PM 1.2), no D1, no D2, no PME */
	put16(dev, at + PM_PMCSR, dev->options.d3_reset ? 0 : PM_PMCSR_NO_SOFT_RESET, PM_PMCSR_STATE);
}

static void msi(struct fb_device *dev, unsigned at)
{
	unsigned log2 = (unsigned)__builtin_ctz(dev->msi_vectors);
	uint32_t all = dev->msi_vectors == 32 ? ~0u : (1u << dev->msi_vectors) - 1;

	put16(dev, at + MSI_CONTROL, log2 << MSI_CONTROL_MMC_SHIFT | MSI_CONTROL_64 | MSI_CONTROL_MASKING, MSI_CONTROL_ENABLE | MSI_CONTROL_MME);
	put32(dev, at + MSI_ADDRESS, 0, ~3u);
	put32(dev, at + MSI_UPPER_ADDRESS, 0, ~0u);
	put16(dev, at + MSI_DATA, 0, 0xffff);
	put32(dev, at + MSI_MASK, 0, all);
}

static unsigned link_speed(const struct fb_device *dev)
{
	return dev->model->link_speed ? dev->model->link_speed : LINK_8GT;
}

static void exp_cap(struct fb_device *dev, unsigned at)
{
	unsigned speed = link_speed(dev), link = speed | (dev->model->link_width ? dev->model->link_width : 4u) << 4;
	bool legacy = false; /* endpoints that are not legacy ones have no I/O (1.3.2.2) */

	for (unsigned i = 0; i < N_BARS; i++)
		legacy |= dev->bars[i].size && dev->bars[i].is_io;
	put16(dev, at + EXP_FLAGS, 2 | (legacy ? 1 : 0) << 4, 0);
	put32(dev, at + EXP_DEVCAP,
	      5 /* MPS 4096 */ | EXP_DEVCAP_EXT_TAG | 7 << 6 | 7 << 9 /* latencies: no limit */ |
		      1 << 15 /* role-based error reporting */ | EXP_DEVCAP_FLR,
	      0);
	put16(dev, at + EXP_DEVCTL,
	      EXP_DEVCTL_RO | EXP_DEVCTL_EXT_TAG | EXP_DEVCTL_NO_SNOOP | 2 << EXP_DEVCTL_MRRS_SHIFT /* 512 */,
	      EXP_DEVCTL_CORR | EXP_DEVCTL_NONFATAL | EXP_DEVCTL_FATAL | EXP_DEVCTL_UR | EXP_DEVCTL_RO | EXP_DEVCTL_MPS |
		      EXP_DEVCTL_EXT_TAG | EXP_DEVCTL_NO_SNOOP | EXP_DEVCTL_MRRS);
	put16(dev, at + EXP_DEVSTA, 0, 0);
	fb_put_le16(dev->cfg_w1c + at + EXP_DEVSTA,
		    EXP_DEVSTA_CORR | EXP_DEVSTA_NONFATAL | EXP_DEVSTA_FATAL | EXP_DEVSTA_UR);
	put32(dev, at + EXP_LNKCAP, link | 1 << 22 /* ASPM optionality compliance */, 0);
	put16(dev, at + EXP_LNKCTL, 0, 1 << 3 /* RCB */ | 1 << 6 /* common clock */ | 1 << 7 /* extended synch */);
	put16(dev, at + EXP_LNKSTA, link | 1 << 12 /* slot clock */, 0);
	put32(dev, at + EXP_DEVCAP2,
	      0xf /* timeout ranges A to D */ | 1 << 4 /* timeout disable */ | 1 << 11 /* LTR */ |
		      3 << 16 /* 10-bit tags, completer and requester */,
	      0);
	put16(dev, at + EXP_DEVCTL2, 0,
	      EXP_DEVCTL2_TIMEOUT | EXP_DEVCTL2_TIMEOUT_DISABLE | EXP_DEVCTL2_IDO_REQUEST | EXP_DEVCTL2_IDO_COMPLETION |
		      EXP_DEVCTL2_LTR | EXP_DEVCTL2_TEN_BIT_TAG);
	put32(dev, at + EXP_LNKCAP2, ((1u << speed) - 1) << 1 /* this speed and those below */, 0);
	put16(dev, at + EXP_LNKCTL2, speed, 0xf);
	put16(dev, at + EXP_LNKSTA2, speed >= LINK_8GT ? 0x1e /* equalization done, phases 1 to 3 too */ : 0, 0);
}

static void msix(struct fb_device *dev, unsigned at)
{
	put16(dev, at + MSIX_CONTROL, dev->msix_vectors - 1u, MSIX_CONTROL_MASK | MSIX_CONTROL_ENABLE);
	put32(dev, at + MSIX_TABLE, (uint32_t)dev->msix.table | dev->msix.table_bar, 0);
	put32(dev, at + MSIX_PBA, (uint32_t)dev->msix.pba | dev->msix.pba_bar, 0);
}

static uint16_t extended(struct fb_device *dev, unsigned *last, unsigned at, uint16_t id, unsigned version)
{
	put32(dev, at, id | version << 16, 0);
	if (*last)
		put32(dev, *last, fb_cfg32(dev, *last) | at << 20, 0);
	*last = at;
	return (uint16_t)at;
}

static void aer(struct fb_device *dev, unsigned at)
{
	/* What a function without link layer of its own can detect, and its severities (7.8.4.2 to 7.8.4.6). */
	uint32_t own = 1u << FB_ERR_POISONED | 1u << FB_ERR_COMPLETION_TIMEOUT | 1u << FB_ERR_COMPLETER_ABORT |
		       1u << FB_ERR_UNEXPECTED_COMPLETION | 1u << FB_ERR_MALFORMED | 1u << FB_ERR_UNSUPPORTED_REQUEST |
		       1u << FB_ERR_INTERNAL;
	uint32_t fixed = 1u << 4 | 1u << 5 | 1u << 13 | 1u << 17; /* link errors: fatal, never seen here */

	put32(dev, at + AER_UNCOR_STATUS, 0, 0);
	fb_put_le32(dev->cfg_w1c + at + AER_UNCOR_STATUS, own);
	put32(dev, at + AER_UNCOR_MASK, 1u << FB_ERR_INTERNAL, own);
	put32(dev, at + AER_UNCOR_SEVERITY, fixed | 1u << FB_ERR_MALFORMED | 1u << FB_ERR_INTERNAL, own);
	put32(dev, at + AER_COR_STATUS, 0, 0);
	fb_put_le32(dev->cfg_w1c + at + AER_COR_STATUS, AER_COR_ADVISORY);
	put32(dev, at + AER_COR_MASK, AER_COR_ADVISORY, AER_COR_ADVISORY);
}

static void extra(struct fb_device *dev, unsigned *tail, unsigned *last)
{
	for (unsigned i = 0; i < dev->n_extra_caps; i++) {
		const struct fb_extra_cap *c = &dev->extra_caps[i];
		unsigned body = c->at + (c->extended ? 4u : 2u);

		if (c->extended)
			extended(dev, last, c->at, c->id, c->version);
		else
			capability(dev, tail, c->at, (uint8_t)c->id);
		memcpy(dev->cfg + body, c->bytes, c->len);
		memcpy(dev->cfg_rw + body, c->bytes + c->len, c->len);
	}
}

void fb_ep_config_build(struct fb_device *dev)
{
	unsigned tail = PCI_CAP_POINTER, last = 0, at;

	memset(dev->cfg, 0, sizeof(dev->cfg));
	memset(dev->cfg_rw, 0, sizeof(dev->cfg_rw));
	memset(dev->cfg_w1c, 0, sizeof(dev->cfg_w1c));
	dev->cap_msi = dev->cap_msix = 0;

	header(dev);
	pm(dev, dev->cap_pm = capability(dev, &tail, AT_PM, PCI_CAP_PM));
	if (dev->msi_vectors)
		msi(dev, dev->cap_msi = capability(dev, &tail, AT_MSI, PCI_CAP_MSI));
	exp_cap(dev, dev->cap_exp = capability(dev, &tail, AT_EXP, PCI_CAP_EXP));
	if (dev->msix_vectors)
		msix(dev, dev->cap_msix = capability(dev, &tail, AT_MSIX, PCI_CAP_MSIX));

	aer(dev, dev->ext_aer = extended(dev, &last, AT_AER, PCI_EXT_AER, 2));
	if (dev->serial) {
		at = extended(dev, &last, AT_DSN, PCI_EXT_DSN, 1);
		put32(dev, at + 4, (uint32_t)dev->serial, 0);
		put32(dev, at + 8, (uint32_t)(dev->serial >> 32), 0);
	}
	at = extended(dev, &last, AT_LTR, PCI_EXT_LTR, 1);
	put16(dev, at + LTR_MAX_SNOOP, 0, 0x1fff);
	put16(dev, at + LTR_MAX_NO_SNOOP, 0, 0x1fff);
	if (link_speed(dev) >= LINK_8GT) /* all zeros: an upstream port's presets are the link's */
		extended(dev, &last, AT_SPCIE, PCI_EXT_SPCIE, 1);
	extra(dev, &tail, &last);
	fb_ep_config_update(dev);
}
