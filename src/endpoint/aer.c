/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors: Device Status, the AER capability and the messages, in the order of
 * the flowchart of 6.2.5 (figure 6-2).
 */
#include "endpoint/device_impl.h"
#include "tlp/regs.h"
#include "util/reader.h"

static void set16(struct fb_device *dev, unsigned at, uint16_t bits)
{
	fb_cfg_set16(dev, at, fb_cfg16(dev, at) | bits);
}

static void set32(struct fb_device *dev, unsigned at, uint32_t bits)
{
	fb_cfg_set32(dev, at, fb_cfg32(dev, at) | bits);
}

/* The first unmasked error's number and TLP header stay until its status bit is cleared. */
static void record_first(struct fb_device *dev, enum fb_error error, const struct pcie_tlp *tlp)
{
	unsigned aer = dev->ext_aer;
	uint32_t control = fb_cfg32(dev, aer + AER_CONTROL), status = fb_cfg32(dev, aer + AER_UNCOR_STATUS);
	uint8_t header[PCIE_TLP_MAX_HEADER] = {0};
	struct pcie_tlp plain;

	if (control & AER_CONTROL_FIRST_ERROR && status & 1u << (control & AER_CONTROL_FIRST_ERROR))
		return;
	fb_cfg_set32(dev, aer + AER_CONTROL, (control & ~(uint32_t)AER_CONTROL_FIRST_ERROR) | error);
	if (tlp) {
		plain = *tlp;
		plain.td = false;
		plain.n_prefixes = 0;
		if (pcie_tlp_encode_header(&plain, header, NULL) == 0)
			return;
	}
	for (unsigned i = 0; i < 4; i++) /* byte 0 of the header is the most significant of the first register */
		fb_cfg_set32(dev, aer + AER_HEADER_LOG + 4 * i, fb_get_be32(header + 4 * i));
}

void fb_aer_report(struct fb_device *dev, enum fb_error error, const struct pcie_tlp *tlp, bool advisory)
{
	unsigned aer = dev->ext_aer, devsta = dev->cap_exp + EXP_DEVSTA;
	uint16_t control = fb_cfg16(dev, dev->cap_exp + EXP_DEVCTL);
	uint32_t bit = 1u << error;
	bool fatal = fb_cfg32(dev, aer + AER_UNCOR_SEVERITY) & bit;
	bool masked = fb_cfg32(dev, aer + AER_UNCOR_MASK) & bit;
	bool ur = error == FB_ERR_UNSUPPORTED_REQUEST;

	if (ur)
		set16(dev, devsta, EXP_DEVSTA_UR);
	if (advisory && !fatal) {
		set16(dev, devsta, EXP_DEVSTA_CORR);
		set32(dev, aer + AER_COR_STATUS, AER_COR_ADVISORY);
		if (fb_cfg32(dev, aer + AER_COR_MASK) & AER_COR_ADVISORY)
			return;
		if (!masked)
			record_first(dev, error, tlp);
		set32(dev, aer + AER_UNCOR_STATUS, bit);
		if (control & EXP_DEVCTL_CORR && (!ur || control & EXP_DEVCTL_UR))
			fb_post_message(dev, PCIE_MSG_ERR_COR, PCIE_ROUTE_TO_ROOT, 0);
		return;
	}

	set16(dev, devsta, fatal ? EXP_DEVSTA_FATAL : EXP_DEVSTA_NONFATAL);
	if (!masked)
		record_first(dev, error, tlp);
	set32(dev, aer + AER_UNCOR_STATUS, bit);
	if (masked)
		return;
	if (!dev->view.serr) {
		if (ur && !(control & EXP_DEVCTL_UR))
			return;
		if (!(control & (fatal ? EXP_DEVCTL_FATAL : EXP_DEVCTL_NONFATAL)))
			return;
	} else {
		set16(dev, PCI_STATUS, PCI_STATUS_SIG_SYSTEM_ERROR);
	}
	fb_post_message(dev, fatal ? PCIE_MSG_ERR_FATAL : PCIE_MSG_ERR_NONFATAL, PCIE_ROUTE_TO_ROOT, 0);
}

void fb_device_internal_error(struct fb_device *dev, bool fatal)
{
	unsigned at = dev->ext_aer + AER_UNCOR_SEVERITY;
	uint32_t severity, bit = 1u << FB_ERR_INTERNAL;

	if (fb_on_thread(dev)) {
		fb_thread_internal_error(dev, fatal);
		return;
	}
	severity = fb_cfg32(dev, at);
	/* The model knows how bad it is; the register would say fatal to all of it. */
	fb_cfg_set32(dev, at, fatal ? severity | bit : severity & ~bit);
	fb_aer_report(dev, FB_ERR_INTERNAL, NULL, false);
	fb_cfg_set32(dev, at, severity);
}
