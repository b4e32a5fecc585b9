/* SPDX-License-Identifier: Apache-2.0 */
/* What a model's own wire carries, shown to captures. */
#include <stdio.h>

#include "endpoint/device_impl.h"

void fb_device_wire_tap(struct fb_device *dev, struct fb_tap *tap)
{
	dev->wire = (struct fb_device_wire){.tap = tap, .source = {.carrier = FB_TAP_SOFTPCIE, .on_root = true}};
	snprintf(dev->wire.source.function, sizeof(dev->wire.source.function), "%s", fb_device_id(dev));
}

void fb_device_wire_tlp(struct fb_device *dev, bool sent, const void *bytes, size_t len)
{
	enum pcie_tlp_error error;
	struct pcie_tlp tlp;

	if (fb_on_thread(dev) || !fb_tap_on(dev->wire.tap))
		return;
	error = pcie_tlp_decode(&tlp, bytes, len);
	fb_tap_take(dev->wire.tap, &dev->wire.source, sent, &tlp, error, bytes, len, NULL, 0);
}
