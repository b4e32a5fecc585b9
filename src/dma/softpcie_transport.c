/* SPDX-License-Identifier: Apache-2.0 */
/*
 * To the host behind a SoftPCIe / NetTLP adapter: one TLP a datagram. Nothing
 * there repeats or acknowledges: the engine asks again for reads whose completion
 * does not come, lost writes are lost. Requests carry the adapter's own requester
 * ID, which its driver is asked for (message API) unless the caller gave one.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "dma/impl.h"
#include "link/link.h"
#include "softpcie/socket.h"
#include "util/text.h"

#define ASK_NS UINT64_C(50000000)

enum { PORT_ANY = 0 /* our own port for the message API */ };

struct softpcie {
	struct fb_port port; /* first */
	struct fb_rdma *r;
	struct fb_softpcie *sockets;
	struct fb_fd watch;
	struct fb_flush flush;
	struct fb_timer ask;
	uint64_t give_up_at;
	bool full, old_rule, id_known;
};

struct options {
	char *local;
	bool old_ports;
};
#define M(member) offsetof(struct options, member)
static const struct fb_text_option table[] = {
	{.key = "local", .type = FB_OPTION_STRING, .offset = M(local), .min = 1, .max = 15},
	{.key = "old-ports", .type = FB_OPTION_BOOL, .offset = M(old_ports)},
	{.key = NULL},
};

/* ---- The port ------------------------------------------------------------------- */

static int port_send(struct fb_port *port, const struct pcie_tlp *tlp)
{
	struct softpcie *s = (struct softpcie *)port;
	bool answer = pcie_tlp_fc(tlp->type) == PCIE_FC_CPL;
	int err = fb_softpcie_send(s->sockets, 0, softpcie_port(tlp->tag, answer, s->old_rule), tlp);

	if (err == -EAGAIN)
		s->full = true;
	else if (!err)
		fb_flush_schedule(s->r->loop, &s->flush);
	return err;
}

static void port_release(struct fb_port *port, struct fb_port_credit credit)
{
	(void)port;
	(void)credit;
}

/* The rest of it is the transport's, in close_softpcie(): this may be inside a callback of the sockets. */
static void port_close(struct fb_port *port, int reason, const char *text)
{
	struct softpcie *s = (struct softpcie *)port;

	(void)reason;
	(void)text;
	fb_timer_cancel(&s->ask);
	s->port.user = NULL;
}

static const struct fb_port_ops port_ops = {port_send, port_release, port_close};

static void send_queued(struct fb_flush *f)
{
	struct softpcie *s = (struct softpcie *)((char *)f - offsetof(struct softpcie, flush));

	fb_softpcie_flush(s->sockets);
}

static void readable(struct fb_fd *w, uint32_t events)
{
	struct softpcie *s = (struct softpcie *)((char *)w - offsetof(struct softpcie, watch));

	(void)events;
	fb_softpcie_receive(s->sockets);
	if (!s->full || !s->port.user || !fb_softpcie_room(s->sockets))
		return;
	s->full = false;
	for (unsigned cls = 0; cls < PCIE_FC_CLASSES && s->port.user; cls++)
		s->port.user->writable(s->port.arg, (enum pcie_fc)cls);
}

static void tlp_came(void *arg, unsigned peer, uint16_t port, const struct pcie_tlp *tlp)
{
	struct softpcie *s = arg;

	(void)peer;
	(void)port;
	if (s->port.user)
		s->port.user->tlp(s->port.arg, tlp);
}

/* ---- The adapter's requester ID ---------------------------------------------------- */

static void packet_came(void *arg, unsigned peer, uint16_t port, uint16_t from, const uint8_t *data, size_t len)
{
	struct softpcie *s = arg;
	uint16_t id;

	if (port != PORT_ANY || from != SOFTPCIE_PORT_MESSAGE || softpcie_message_get_id(&id, data, len)) {
		fb_softpcie_bad_packet(s->sockets, peer, port, "no answer to a question of ours");
		return;
	}
	if (s->id_known || !s->port.user)
		return;
	s->id_known = true;
	s->r->id = id;
	fb_timer_cancel(&s->ask);
	s->port.user->up(s->port.arg);
}

static void ask(struct fb_timer *t)
{
	struct softpcie *s = (struct softpcie *)((char *)t - offsetof(struct softpcie, ask));
	uint64_t now = fb_loop_now(s->r->loop);
	uint8_t out[SOFTPCIE_MSG_REQUEST_SIZE];

	if (s->id_known) {
		s->port.user->up(s->port.arg);
		return;
	}
	if (now >= s->give_up_at) {
		s->port.user->down(s->port.arg, FB_LINK_R_NO_ANSWER,
				   "the adapter does not tell its requester ID (message API); give one if it has no driver");
		return;
	}
	softpcie_message_put_request(SOFTPCIE_MSG_ID, out);
	fb_softpcie_send_packet(s->sockets, 0, PORT_ANY, SOFTPCIE_PORT_MESSAGE, out, sizeof(out));
	fb_flush_schedule(s->r->loop, &s->flush);
	fb_timer_set(s->r->loop, t, now + ASK_NS);
}

/* ---- Life ------------------------------------------------------------------------------ */

static const struct fb_softpcie_user user = {.tlp = tlp_came, .packet = packet_came};

static int parse(struct fb_rdma *r, const char *target, struct fb_softpcie_config *config, struct softpcie *s)
{
	const char *text = target + strlen("softpcie:"), *comma = strchr(text, ',');
	struct options o = {.local = NULL};
	char address[32] = "";
	int err = -EINVAL;

	snprintf(address, sizeof(address), "%.*s", comma ? (int)(comma - text) : (int)strlen(text), text);
	if (fb_options_apply(table, &o, comma ? comma + 1 : "", "target") == 0 &&
	    fb_softpcie_parse_addr(address, &config->peers[0]) == 0 &&
	    (!o.local || fb_softpcie_parse_addr(o.local, &config->local) == 0))
		err = 0;
	if (err)
		fb_rdma_say(r, "\"%s\" is not a target: %s", target, fb_rdma_softpcie_transport.syntax);
	s->old_rule = config->old_rule = o.old_ports;
	fb_options_release(table, &o);
	return err;
}

static int open_softpcie(struct fb_rdma *r, const char *target)
{
	struct fb_softpcie_config config = {.name = "dma", .n_peers = 1, .device_tags = r->depth, .services = {PORT_ANY},
					    .n_services = 1};
	struct softpcie *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	s->r = r;
	s->port = (struct fb_port){.ops = &port_ops, .user = &fb_rdma_port_user, .arg = r};
	s->watch.ready = readable;
	s->flush.flush = send_queued;
	s->ask.due = ask;
	s->id_known = r->id_given;
	err = parse(r, target, &config, s);
	if (!err) {
		err = fb_softpcie_open(&s->sockets, &config, &user, s);
		if (err)
			fb_rdma_say(r, "the sockets of a SoftPCIe requester (UDP ports 0x3000 and up): %s", strerror(-err));
	}
	if (err)
		goto free_s;
	err = fb_fd_add(r->loop, &s->watch, fb_softpcie_fd(s->sockets), EPOLLIN);
	if (!err) {
		s->give_up_at = fb_clock_ns() + r->connect_ns;
		err = fb_timer_set(r->loop, &s->ask, 1);
	}
	if (err)
		goto close_sockets;
	r->port = &s->port;
	r->transport_data = s;
	return 0;

close_sockets:
	fb_fd_del(&s->watch);
	fb_softpcie_close(s->sockets);
free_s:
	free(s);
	return err;
}

static void close_softpcie(struct fb_rdma *r)
{
	struct softpcie *s = r->transport_data;

	fb_flush_cancel(&s->flush);
	fb_timer_cancel(&s->ask);
	fb_fd_del(&s->watch);
	fb_softpcie_close(s->sockets);
	free(s);
}

static void softpcie_stats(struct fb_rdma *r, struct fb_rdma_stats *stats)
{
	const struct softpcie *s = r->transport_data;

	stats->wire_tx_bytes = fb_softpcie_stats(s->sockets)->tx_bytes;
	stats->wire_rx_bytes = fb_softpcie_stats(s->sockets)->rx_bytes;
}

const struct fb_rdma_transport fb_rdma_softpcie_transport = {
	.prefix = "softpcie:",
	.syntax = "softpcie:ADDRESS[,local=ADDRESS][,old-ports], IPv4 addresses of the adapter and of this machine",
	.max_payload = 256,
	.max_read = 512,
	.largest = 1024, /* fits an MTU of 1500 */
	.tags = SOFTPCIE_DEVICE_TAGS,
	.timeout_ns = 50000000,
	.retries = 3,
	.open = open_softpcie,
	.close = close_softpcie,
	.stats = softpcie_stats,
};
