/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A port over SoftPCIe: a function of ours behind an adapter. To the function
 * it looks like any port, but two things are different:
 *
 *  - the adapter's host configures the adapter, not the function: there are no
 *    configuration requests. Whoever opens the port says when it is up, and what
 *    the function's registers are (endpoint/softpcie_host.h);
 *  - datagrams can be lost. The function's reads are repeated here, and end with
 *    Completer Abort when that does not help; everything else that is lost is
 *    lost, and counted as far as it shows.
 *
 * Single-threaded, non-blocking, on the loop.
 */
#ifndef FARBUS_PORT_SOFTPCIE_PORT_H
#define FARBUS_PORT_SOFTPCIE_PORT_H

#include "capture/tap.h"
#include "port/port.h"
#include "softpcie/remote.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fb_loop;
struct fb_softpcie_port;

struct fb_softpcie_port_config {
	struct fb_softpcie_remote_config remote; /* host_ports is set here */
	const char *function;                    /* its id, for captures and logs */
	struct fb_tap *tap;                      /* NULL: none */
	void (*info)(void *arg); /* the adapter answered: fb_softpcie_remote_info() */
	void *arg;
};

int fb_softpcie_port_open(struct fb_softpcie_port **out, struct fb_loop *loop,
			  const struct fb_softpcie_port_config *config); /* 0 or -errno, logged */
void fb_softpcie_port_close(struct fb_softpcie_port *p); /* NULL is allowed; not from inside a callback */

/*
 * The host's window: what it does at [from, from + size) becomes an access at
 * `to` of the function's address space; anything else gets UR. size 0: not up,
 * everything gets UR, and reads of the function in flight end.
 */
void fb_softpcie_port_map(struct fb_softpcie_port *p, uint64_t from, uint64_t to, uint64_t size);

/* For fb_device_attach(). fb_port_close() on it does nothing but end what is in flight. */
struct fb_port *fb_softpcie_port_port(struct fb_softpcie_port *p);
struct fb_softpcie_remote *fb_softpcie_port_remote(struct fb_softpcie_port *p);

/* Datagrams, reads, TLPs: every counter, in a row. */
void fb_softpcie_port_put_stats(const struct fb_softpcie_port *p,
				void (*put)(void *arg, const char *name, uint64_t value), void *arg);

#ifdef __cplusplus
}
#endif
#endif
