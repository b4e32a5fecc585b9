/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "port/internal.h"

_Static_assert((int)FB_LINK_P == (int)PCIE_FC_P && (int)FB_LINK_NP == (int)PCIE_FC_NP &&
		       (int)FB_LINK_CPL == (int)PCIE_FC_CPL && (int)FB_LINK_CLASSES == (int)PCIE_FC_CLASSES,
	       "link and TLP classes are one");

/* Not an error of the TLP itself: its sender put it into another class than its type has. */
#define E_CLASS PCIE_TLP_E_FIELD

#define PATIENCE_NS UINT64_C(1000000)

/* What the link tells */

static void malformed(struct fb_link_port *p, enum pcie_tlp_error error, enum fb_link_class cls,
		      const struct pcie_tlp *tlp, size_t len)
{
	p->rx_malformed[error]++;
	fb_warn_limited(&p->malformed_limit, fb_loop_now(p->carrier->loop), p->name,
			"malformed TLP dropped: %s (%s, class %s, %zu bytes)",
			error == E_CLASS ? "sent in the wrong class" : pcie_tlp_error_name(error),
			error <= PCIE_TLP_E_TYPE ? "type unknown" : pcie_tlp_type_name(tlp->type),
			cls == FB_LINK_P ? "posted" : cls == FB_LINK_NP ? "non-posted" : "completion", len);
}

/* -vv: each TLP, after it was sent and before it is handed on. */
static void trace(const struct fb_link_port *p, const char *direction, const struct pcie_tlp *tlp)
{
	char text[160];

	if (fb_log_enabled(FB_LOG_TRACE))
		fb_log(FB_LOG_TRACE, p->name, "%s %s", direction, pcie_tlp_describe(tlp, text, sizeof(text)));
}

static bool deliver(void *arg, enum fb_link_class cls, const uint8_t *data, size_t len)
{
	struct fb_link_port *p = arg;
	enum pcie_tlp_error error;
	struct pcie_tlp tlp;
	bool done;

	if (p->closed || !p->port.user)
		return true;
	error = pcie_tlp_decode(&tlp, data, len);
	if (!error && (int)pcie_tlp_fc(tlp.type) != (int)cls)
		error = E_CLASS;
	fb_tap_received(p->carrier->tap, &p->source, &tlp, error, data, len);
	if (error) {
		malformed(p, error, cls, &tlp, len);
		return true;
	}
	p->rx[tlp.type]++;
	trace(p, "received", &tlp);
	p->port.current = (struct fb_port_credit){(enum pcie_fc)cls, (uint32_t)len};
	done = p->port.user->tlp(p->port.arg, &tlp);
	return done || p->closed || cls == FB_LINK_CPL;
}

/* Sessions come and go as peers like: no more lines than somebody would read. */
#define log_session(p, ...)                                                                                            \
	fb_log_limited(&(p)->carrier->session_limit, FB_CARRIER_LINES, fb_loop_now((p)->carrier->loop), FB_LOG_INFO,   \
		       (p)->name, __VA_ARGS__)

static void state(void *arg, enum fb_link_state state, enum fb_link_reason reason, const char *text)
{
	struct fb_link_port *p = arg;

	if (p->closed)
		return;
	if (state == FB_LINK_UP) {
		p->begun = true;
		log_session(p, "link up");
		if (p->port.user && p->port.user->up)
			p->port.user->up(p->port.arg);
	} else if (state == FB_LINK_DEAD) {
		/* Told at the end of whatever call this is in: users are not called from inside their own send(). */
		p->reason = reason;
		snprintf(p->text, sizeof(p->text), "%s", text ? text : "");
		p->down_due = true;
		fb_carrier_touch(p);
	}
}

static void writable(void *arg, enum fb_link_class cls)
{
	struct fb_link_port *p = arg;

	if (!p->closed && p->port.user && p->port.user->writable)
		p->port.user->writable(p->port.arg, (enum pcie_fc)cls);
}

const struct fb_link_user fb_link_port_user = {deliver, state, writable};

void fb_link_port_announce(struct fb_link_port *p)
{
	if (!p->down_due || p->down_told)
		return;
	p->down_told = true;
	fb_carrier_end_session(p);
	if (p->begun)
		log_session(p, "link down: %s%s%s", fb_link_reason_name(p->reason), *p->text ? ": " : "", p->text);
	else /* its user says so, and knows how often it has been said */
		fb_debug(p->name, "no session: %s%s%s", fb_link_reason_name(p->reason), *p->text ? ": " : "", p->text);
	if (!p->closed && p->port.user && p->port.user->down)
		p->port.user->down(p->port.arg, p->reason, p->text);
}

/* What the user asks */

/* Whatever touches the port before the timer does takes along what waits. */
static int wait_for_more(struct fb_link_port *p)
{
	uint64_t until = fb_loop_now(p->carrier->loop) + PATIENCE_NS;

	if (p->timer.heap_index && p->timer.deadline_ns <= until)
		return 0;
	return fb_timer_set(p->carrier->loop, &p->timer, until);
}

static int port_send(struct fb_port *port, const struct pcie_tlp *tlp)
{
	struct fb_link_port *p = (struct fb_link_port *)port;
	uint8_t head[PCIE_TLP_MAX_SIZE];
	enum pcie_tlp_error error = PCIE_TLP_OK;
	size_t n, data_len = 0;
	int err;

	if (p->closed || !p->link)
		return -ENOTCONN;
	if (tlp->td) {
		n = pcie_tlp_encode(tlp, head, sizeof(head), &error);
	} else {
		n = pcie_tlp_encode_header(tlp, head, &error);
		if (pcie_tlp_has_data(tlp->type))
			data_len = (size_t)tlp->length * 4;
	}
	if (!n || (data_len && !tlp->data)) {
		char text[160];

		fb_error(p->name, "a TLP of ours is malformed and not sent: %s: %s", pcie_tlp_error_name(error),
			 pcie_tlp_describe(tlp, text, sizeof(text)));
		return -EINVAL;
	}
	err = fb_link_send(p->link, (enum fb_link_class)pcie_tlp_fc(tlp->type), head, n, tlp->data, data_len);
	if (err)
		return err;
	p->tx[tlp->type]++;
	fb_tap_sent(p->carrier->tap, &p->source, tlp, head, n, tlp->data, data_len);
	trace(p, "sent", tlp);
	if (!port->patient || wait_for_more(p) < 0)
		fb_carrier_touch(p);
	return 0;
}

static void port_release(struct fb_port *port, struct fb_port_credit credit)
{
	struct fb_link_port *p = (struct fb_link_port *)port;

	if (p->closed || !p->link)
		return;
	fb_link_release(p->link, (enum fb_link_class)credit.cls, credit.bytes);
	fb_carrier_touch(p);
}

/* The link is closed and freed by the flush: this may be a callback from inside it. */
static void port_close(struct fb_port *port, int reason, const char *text)
{
	struct fb_link_port *p = (struct fb_link_port *)port;

	if (p->closed)
		return;
	p->closed = true;
	if (!p->down_due) {
		p->reason = reason > FB_LINK_R_NONE && reason < FB_LINK_REASONS ? (enum fb_link_reason)reason
										: FB_LINK_R_NORMAL;
		snprintf(p->text, sizeof(p->text), "%s", text ? text : "");
	}
	fb_carrier_end_session(p);
	fb_carrier_touch(p);
}

static const struct fb_port_ops ops = {port_send, port_release, port_close};

static void timer_due(struct fb_timer *t)
{
	struct fb_link_port *p = (struct fb_link_port *)((char *)t - offsetof(struct fb_link_port, timer));
	struct fb_carrier *c = p->carrier;

	if (p->closed || !p->link)
		return;
	fb_carrier_enter(c);
	fb_link_timeout(p->link, fb_clock_ns()); /* a link's time never goes back, and rx and tx have the clock's */
	fb_carrier_touch(p);
	fb_link_port_announce(p);
	fb_carrier_leave(c);
}

struct fb_link_port *fb_link_port_new(struct fb_carrier *c, const struct fb_net_addr *peer, const char *function)
{
	struct fb_link_port *p = calloc(1, sizeof(*p));
	char address[72];

	if (!p)
		return NULL;
	p->port.ops = &ops;
	p->carrier = c;
	p->peer = *peer;
	p->timer.due = timer_due;
	snprintf(p->function, sizeof(p->function), "%s", function);
	snprintf(p->source.function, sizeof(p->source.function), "%s", function);
	p->source.on_root = c->accepts_as_root;
	p->source.carrier = strcmp(c->base->name, "loopback") ? FB_TAP_LINK : FB_TAP_LOOPBACK;
	snprintf(p->name, sizeof(p->name), "%s %s", function, c->base->format(peer, address, sizeof(address)));
	p->next = c->ports;
	p->pnext = &c->ports;
	if (p->next)
		p->next->pnext = &p->next;
	c->ports = p;
	return p;
}

/* Not while it is on the dirty list. */
void fb_link_port_free(struct fb_link_port *p)
{
	fb_timer_cancel(&p->timer);
	fb_carrier_forget_port(p);
	fb_link_free(p->link);
	*p->pnext = p->next;
	if (p->next)
		p->next->pnext = p->pnext;
	free(p);
}

int fb_port_connect(struct fb_port **out, struct fb_carrier *c, const char *peer, const char *id,
		    const struct fb_port_user *user, void *arg)
{
	struct fb_link_config config = c->link;
	struct fb_net_addr addr;
	struct fb_link_port *p;
	uint8_t nonce[16];
	int err = fb_carrier_peer(c, peer, &addr);

	if (err)
		return err;
	if (!*id || strlen(id) >= FB_LINK_NAME_MAX) {
		fb_error(NULL, "function name \"%s\": must have 1 to %d characters", id, FB_LINK_NAME_MAX - 1);
		return -EINVAL;
	}
	p = fb_link_port_new(c, &addr, id);
	if (!p)
		return -ENOMEM;
	p->port.user = user;
	p->port.arg = arg;
	p->source.on_root = true;
	config.mtu = fb_carrier_mtu(c, &addr);
	config.clock_ns = fb_carrier_clock();
	if (config.mtu)
		err = fb_carrier_random(nonce, sizeof(nonce));
	else
		err = -EADDRNOTAVAIL;
	if (!err)
		err = fb_link_connect(&p->link, &config, &c->self, id, nonce, &fb_link_port_user, p,
				      fb_loop_now(c->loop));
	if (!err)
		err = fb_carrier_add_port(p);
	if (err) {
		fb_error(p->name, "cannot connect: %s", strerror(-err));
		fb_link_port_free(p);
		return err;
	}
	fb_carrier_touch(p);
	*out = &p->port;
	return 0;
}

void fb_port_get_stats(struct fb_port *port, struct fb_port_stats *stats)
{
	struct fb_link_port *p = (struct fb_link_port *)port;
	char address[72];

	memset(stats, 0, sizeof(*stats));
	snprintf(stats->peer, sizeof(stats->peer), "%s:%s", p->carrier->base->name,
		 p->carrier->base->format(&p->peer, address, sizeof(address)));
	if (p->link)
		fb_link_get_stats(p->link, &stats->link);
	stats->rtt = p->link ? fb_link_rtt(p->link) : NULL;
	memcpy(stats->rx_malformed, p->rx_malformed, sizeof(stats->rx_malformed));
	memcpy(stats->tx, p->tx, sizeof(stats->tx));
	memcpy(stats->rx, p->rx, sizeof(stats->rx));
}
