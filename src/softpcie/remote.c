/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "softpcie/remote.h"
#include "util/loop.h"

enum { PORT_ANY = 0 /* our own port for the message API */, OLD_CONFIG_AFTER = 3 /* questions without answer */ };

struct fb_softpcie_remote {
	const struct fb_softpcie_remote_user *user;
	void *arg;
	struct fb_softpcie *sockets;
	struct fb_softpcie_requester *requester;
	struct fb_softpcie_remote_info info;
	bool old_rule, host_ports;
	unsigned config_asked; /* since the last answer */
};

enum { CONFIG_COMMAND = 4 };

/* ---- What comes ---------------------------------------------------------- */

static void rx_tlp(void *arg, unsigned peer, uint16_t port, const struct pcie_tlp *tlp)
{
	struct fb_softpcie_remote *r = arg;

	if (tlp->type == PCIE_TLP_CPL || tlp->type == PCIE_TLP_CPLD)
		fb_softpcie_requester_rx(r->requester, tlp, fb_clock_ns());
	else if (r->user && r->user->request)
		r->user->request(r->arg, tlp);
}

static bool rx_message(struct fb_softpcie_remote_info *i, const uint8_t *data, size_t len)
{
	/* Their size tells them apart. */
	switch (len) {
	case SOFTPCIE_MSG_BAR4_SIZE:
		return i->have_bar4 = softpcie_message_get_bar4(&i->bar4, data, len) == 0;
	case SOFTPCIE_MSG_ID_SIZE:
		return i->have_id = softpcie_message_get_id(&i->id, data, len) == 0;
	case SOFTPCIE_MSG_MSIX_SIZE:
		return i->have_msix = softpcie_message_get_msix(i->vectors, data, len) == 0;
	default:
		return false;
	}
}

static bool rx_config(struct fb_softpcie_remote *r, const uint8_t *data, size_t len)
{
	struct softpcie_config c;

	if (softpcie_config_get(&c, data, len) || c.write || c.reg != CONFIG_COMMAND)
		return false;
	r->info.have_command = true;
	r->info.command = (uint16_t)c.data;
	r->config_asked = 0;
	return true;
}

static void rx_packet(void *arg, unsigned peer, uint16_t port, uint16_t from, const uint8_t *data, size_t len)
{
	struct fb_softpcie_remote *r = arg;
	struct fb_softpcie_remote_info before = r->info;
	bool good = port == PORT_ANY ? from == SOFTPCIE_PORT_MESSAGE && rx_message(&r->info, data, len)
				     : from == port && rx_config(r, data, len);

	if (!good) {
		r->info = before;
		fb_softpcie_bad_packet(r->sockets, peer, port, "no answer to a question of ours");
		return;
	}
	r->info.heard_ns = fb_clock_ns();
	if (r->info.have_id)
		fb_softpcie_requester_set_id(r->requester, r->info.id);
	if (r->user && r->user->info)
		r->user->info(r->arg);
}

static void seen(void *arg, bool sent, const struct pcie_tlp *tlp, enum pcie_tlp_error error, const uint8_t *bytes,
		 size_t len)
{
	struct fb_softpcie_remote *r = arg;

	if (r->user && r->user->seen)
		r->user->seen(r->arg, sent, tlp, error, bytes, len);
}

static const struct fb_softpcie_user sockets_user = {rx_tlp, rx_packet, seen};

/* ---- What goes ----------------------------------------------------------- */

static int requester_send(void *arg, const struct pcie_tlp *tlp)
{
	struct fb_softpcie_remote *r = arg;

	return fb_softpcie_send(r->sockets, 0, softpcie_port(tlp->tag, false, r->old_rule), tlp);
}

int fb_softpcie_remote_send(struct fb_softpcie_remote *r, const struct pcie_tlp *tlp)
{
	bool answer = tlp->type == PCIE_TLP_CPL || tlp->type == PCIE_TLP_CPLD;

	return fb_softpcie_send(r->sockets, 0, softpcie_port(tlp->tag, answer, r->old_rule), tlp);
}

void fb_softpcie_remote_ask(struct fb_softpcie_remote *r)
{
	static const struct softpcie_config command = {.be = 15, .reg = CONFIG_COMMAND};
	uint8_t out[SOFTPCIE_CONFIG_SIZE];
	uint16_t port = SOFTPCIE_PORT_CONFIG;

	for (uint32_t kind = SOFTPCIE_MSG_BAR4; kind <= SOFTPCIE_MSG_MSIX; kind++) {
		softpcie_message_put_request(kind, out);
		fb_softpcie_send_packet(r->sockets, 0, PORT_ANY, SOFTPCIE_PORT_MESSAGE, out, SOFTPCIE_MSG_REQUEST_SIZE);
	}
	if (!r->host_ports) {
		fb_softpcie_flush(r->sockets);
		return;
	}
	softpcie_config_put(&command, out);
	/* Which of the two ports the adapter has depends on its age: by turns, from when the newer one stays silent. */
	if (r->config_asked >= OLD_CONFIG_AFTER && r->config_asked % 2)
		port = SOFTPCIE_PORT_CONFIG_OLD;
	r->config_asked++;
	fb_softpcie_send_packet(r->sockets, 0, port, port, out, sizeof(out));
	fb_softpcie_flush(r->sockets);
}

void fb_softpcie_remote_flush(struct fb_softpcie_remote *r)
{
	fb_softpcie_flush(r->sockets);
}

bool fb_softpcie_remote_process(struct fb_softpcie_remote *r, uint64_t now_ns)
{
	bool some;

	fb_softpcie_flush(r->sockets);
	some = fb_softpcie_receive(r->sockets);
	if (now_ns >= fb_softpcie_requester_deadline(r->requester))
		fb_softpcie_requester_timeout(r->requester, now_ns);
	if (fb_softpcie_room(r->sockets))
		fb_softpcie_requester_room(r->requester, now_ns);
	fb_softpcie_flush(r->sockets);
	return some;
}

uint64_t fb_softpcie_remote_deadline(const struct fb_softpcie_remote *r)
{
	return fb_softpcie_requester_deadline(r->requester);
}

/* ---- Life ---------------------------------------------------------------- */

int fb_softpcie_remote_open(struct fb_softpcie_remote **out, const struct fb_softpcie_remote_config *c,
			    const struct fb_softpcie_remote_user *user, void *arg)
{
	struct fb_softpcie_remote *r = calloc(1, sizeof(*r));
	unsigned tags = c->tags && c->tags < SOFTPCIE_DEVICE_TAGS ? c->tags : SOFTPCIE_DEVICE_TAGS;
	const struct fb_softpcie_config sockets = {
		.name = c->name, .local = c->local, .peers = {c->adapter}, .n_peers = 1, .device_tags = tags,
		.host_ports = c->host_ports, .old_rule = c->old_rule,
		.services = {PORT_ANY, SOFTPCIE_PORT_CONFIG}, .n_services = c->host_ports ? 2 : 1,
	};
	const struct fb_softpcie_requester_config requester = {
		.send = requester_send, .arg = r, .requester_id = c->requester_id, .mps = c->mps, .mrrs = c->mrrs,
		.n_tags = tags, .timeout_ns = c->timeout_ns, .retries = c->retries,
	};
	int err;

	if (!r)
		return -ENOMEM;
	r->user = user;
	r->arg = arg;
	r->old_rule = c->old_rule;
	r->host_ports = c->host_ports;
	err = fb_softpcie_requester_new(&r->requester, &requester);
	if (!err)
		err = fb_softpcie_open(&r->sockets, &sockets, &sockets_user, r);
	if (err) {
		fb_softpcie_remote_close(r);
		return err;
	}
	*out = r;
	return 0;
}

void fb_softpcie_remote_close(struct fb_softpcie_remote *r)
{
	if (!r)
		return;
	fb_softpcie_requester_free(r->requester);
	fb_softpcie_close(r->sockets);
	free(r);
}

int fb_softpcie_remote_fd(const struct fb_softpcie_remote *r)
{
	return fb_softpcie_fd(r->sockets);
}

struct fb_softpcie_requester *fb_softpcie_remote_requester(struct fb_softpcie_remote *r)
{
	return r->requester;
}

const struct fb_softpcie_remote_info *fb_softpcie_remote_info(const struct fb_softpcie_remote *r)
{
	return &r->info;
}

const struct fb_softpcie *fb_softpcie_remote_sockets(const struct fb_softpcie_remote *r)
{
	return r->sockets;
}

void fb_softpcie_remote_put_stats(const struct fb_softpcie_remote *r,
				  void (*put)(void *arg, const char *name, uint64_t value), void *arg)
{
	const struct fb_softpcie_requester_stats *s = fb_softpcie_requester_stats(r->requester);

	fb_softpcie_put_stats(r->sockets, put, arg);
#define PUT(member) put(arg, #member, s->member)
	PUT(reads);
	PUT(read_bytes);
	PUT(writes);
	PUT(write_bytes);
	PUT(read_retries);
	PUT(read_timeouts);
	PUT(read_errors);
	PUT(unexpected_completions);
#undef PUT
}
