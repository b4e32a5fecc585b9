/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside src/endpoint: the device role of SoftPCIe. One device of the box stands
 * behind an adapter: what the adapter tells of itself (message API, configuration
 * access) is what the device's configuration space is made of.
 */
#ifndef FARBUS_ENDPOINT_SOFTPCIE_HOST_H
#define FARBUS_ENDPOINT_SOFTPCIE_HOST_H

#include "endpoint/endpoint.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fb_softpcie_host;

/*
 * `spec` is "ADDR,option=value…" (struct fb_softpcie_host's options, see
 * docs/softpcie.md). changed() is called when the adapter has become usable or
 * has gone: fb_softpcie_host_up(). 0 or -errno, logged.
 */
int fb_softpcie_host_new(struct fb_softpcie_host **out, struct fb_loop *loop, struct fb_device *dev, const char *spec,
			 uint64_t hold_ns, struct fb_tap *tap, void (*changed)(void *arg), void *arg);
void fb_softpcie_host_free(struct fb_softpcie_host *h); /* NULL is allowed */
/* The device's port while there is a host that decodes the window, else NULL. */
struct fb_port *fb_softpcie_host_up(const struct fb_softpcie_host *h);
/* "192.0.2.1". */
const char *fb_softpcie_host_address(const struct fb_softpcie_host *h);
/* Takes the device away from the host; for good. */
void fb_softpcie_host_stop(struct fb_softpcie_host *h);
void fb_softpcie_host_put_stats(const struct fb_softpcie_host *h,
				void (*put)(void *arg, const char *name, uint64_t value), void *arg);

#ifdef __cplusplus
}
#endif
#endif
