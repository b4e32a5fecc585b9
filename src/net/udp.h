/* SPDX-License-Identifier: Apache-2.0 */
/* What only the udp backend has; for tests and measurements. */
#ifndef FARBUS_NET_UDP_H
#define FARBUS_NET_UDP_H

#include "net/net.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Segmentation offload when sending (UDP_SEGMENT) and receiving (UDP_GRO). Both
 * are on where the kernel has them. Not for a net that is wrapped in faults.
 */
void fb_net_udp_set_offload(struct fb_net *net, bool gso, bool gro);

#ifdef __cplusplus
}
#endif
#endif
