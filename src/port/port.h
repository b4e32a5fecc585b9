/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A port: an ordered, two-way channel of TLPs between a root and one function
 * of a box. This is all that the endpoint runtime and the virtual root complex
 * see of the network; what is under it is a link over a net backend (carrier.h),
 * later the SoftPCIe framing, and in tests a script.
 *
 * Single-threaded: every call and every callback on the loop's thread.
 */
#ifndef FARBUS_PORT_PORT_H
#define FARBUS_PORT_PORT_H

#include <stdbool.h>
#include <stdint.h>

#include "tlp/tlp.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fb_port;

/* What the owner of a port hears. */
struct fb_port_user {
	/*
	 * A well-formed TLP, in order; the struct and its payload are valid
	 * during the call only. `true`: done with it. `false`: its flow-control
	 * credit is held until fb_port_release() with what fb_port_credit() says
	 * of it now. Requests and posted TLPs may be held; completions never are.
	 */
	bool (*tlp)(void *arg, const struct pcie_tlp *tlp);
	/* The session came up. (A port handed over by an acceptor is up already.) */
	void (*up)(void *arg);
	/*
	 * The session is over, for good; `reason` is an enum fb_link_reason. The
	 * port still has to be closed with fb_port_close(), here or later.
	 */
	void (*down)(void *arg, int reason, const char *text);
	/* After -EAGAIN of fb_port_send(): room again for that class. */
	void (*writable)(void *arg, enum pcie_fc cls);
};

struct fb_port_credit {
	enum pcie_fc cls;
	uint32_t bytes;
};

struct fb_port_stats; /* carrier.h */

struct fb_port_ops {
	int (*send)(struct fb_port *port, const struct pcie_tlp *tlp);
	void (*release)(struct fb_port *port, struct fb_port_credit credit);
	void (*close)(struct fb_port *port, int reason, const char *text);
};

struct fb_port {
	const struct fb_port_ops *ops;
	const struct fb_port_user *user;
	void *arg;
	struct fb_port_credit current; /* of the TLP being delivered */
	/*
	 * To be set around sends of what the other side has no use for yet, and need not be woken for: that leaves
	 * with the next that does leave, or, if nothing does, a millisecond later.
	 */
	bool patient;
	uint32_t requests; /* TLPs sent in this session, but completions: what the other side has to get before it is up to date */
};

/*
 * Sends one TLP; its payload is copied before return. 0; -EAGAIN: no room for
 * that class now, writable() will say; -ENOTCONN: the session is over;
 * -EINVAL: pcie_tlp_encode() refuses it (logged: a bug of the caller).
 * Leaves at the end of the loop's round, together with what else is sent in it.
 */
static inline int fb_port_send(struct fb_port *port, const struct pcie_tlp *tlp)
{
	int err = port->ops->send(port, tlp);

	port->requests += !err && pcie_tlp_fc(tlp->type) != PCIE_FC_CPL;
	return err;
}

/* The credit of the TLP that the tlp() callback is looking at. */
static inline struct fb_port_credit fb_port_credit(const struct fb_port *port) { return port->current; }
static inline void fb_port_release(struct fb_port *port, struct fb_port_credit credit) { port->ops->release(port, credit); }

/* Ends the session if it is not over, and frees the port. No callback comes after. Allowed inside callbacks. */
static inline void fb_port_close(struct fb_port *port, int reason, const char *text) { port->ops->close(port, reason, text); }

#ifdef __cplusplus
}
#endif
#endif
