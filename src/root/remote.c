/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The root is the acceptor here: a carrier of its own, on an address of its own,
 * and a session for each requester. A session is for one function and for the
 * client (VM) that had it when the session began: another VM that comes later is
 * another VM's memory, and needs another session. When the client is gone, what
 * is in flight ends with Completer Abort and all that follows with Unsupported
 * Request; nothing here keeps a pointer into a map.
 *
 * Memory with a file descriptor is copied to and from at once, in order. Other
 * memory goes by messages to the client, some at a time; while a session has
 * writes in flight so, everything else of it goes by message too, so that its
 * order is the socket's order. AtomicOps and zero-length reads (which push writes
 * ahead of them, 2.2.5) wait for those writes. What has to wait queues, holding
 * its credit: the session's credits bound the memory.
 *
 * Posted writes have no completion. One that is refused is reported as PCIe does
 * it, by an ERR_NONFATAL message, which leaves before the completion of any read
 * that came after the write: who reads (no bytes are enough) behind its writes
 * knows how they fared.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "root/function.h"
#include "root/remote.h"
#include "root/remote_rules.h"
#include "tlp/split.h"
#include "util/log.h"
#include "util/reader.h"

enum { MPS = 4096 };
#define HOLD_NS UINT64_C(10000000000)

struct remote_op {
	struct remote_op *next, **link;
	struct session *session; /* NULL: it is gone */
	struct pcie_tlp request; /* without data */
	struct fb_port_credit credit;
	unsigned parts; /* messages in flight for it */
	bool failed;
};

struct waiting {
	struct waiting *next;
	struct fb_port_credit credit;
	struct pcie_tlp tlp; /* data points behind the struct */
};

struct session {
	struct session *next;
	struct fb_remote *remote;
	struct fb_port *port;
	struct fb_root_function *f; /* NULL: it is gone */
	uint64_t client;            /* which of f's clients it was opened for */
	char peer[96], function[FB_LINK_NAME_MAX], name[144];
	const struct fb_remote_rule *rules[FB_REMOTE_RULES];
	unsigned n_rules;
	struct remote_op *ops;
	unsigned writes; /* messages in flight that write */
	struct waiting *waiting, **waiting_tail;
	const struct waiting *current; /* while draining: whose turn it is */
	bool draining, error_owed;
	struct fb_root_remote_counters count;
	struct fb_log_limit log_denied, log_other;
};

struct fb_remote {
	struct fb_loop *loop;
	struct fb_remote_config config;
	struct fb_carrier *carrier;
	struct fb_remote_rule rules[FB_REMOTE_RULES];
	unsigned n_rules, n_sessions;
	struct session *sessions;
	uint64_t sessions_total, refused;
	struct fb_root_remote_counters past; /* of sessions that are over */
	struct fb_log_limit log_refused;
	struct fb_hop time;
};

/* ---- Answers -------------------------------------------------------------------------- */

/* The report of a refused write, if one is owed. False: there is no room for it now. */
static bool report_error(struct session *s)
{
	struct pcie_tlp msg = {.type = PCIE_TLP_MSG, .msg_code = PCIE_MSG_ERR_NONFATAL, .msg_route = PCIE_ROUTE_TO_ROOT,
			       .requester_id = FB_ROOT_ID};

	if (s->error_owed && fb_port_send(s->port, &msg) == 0)
		s->error_owed = false;
	return !s->error_owed;
}

static void complete_error(struct session *s, const struct pcie_tlp *request, enum pcie_cpl_status status)
{
	struct pcie_tlp cpl = {0};

	report_error(s);
	pcie_completion_status(request, FB_ROOT_ID, status, &cpl);
	fb_port_send(s->port, &cpl);
}

/* `data` as fb_complete_read() has it. */
static void complete_read(struct session *s, const struct pcie_tlp *request, const uint8_t *data, uint32_t len)
{
	if (!report_error(s) && len == 0) { /* it asks how the writes fared, and the word of it does not get through */
		s->error_owed = false;
		complete_error(s, request, PCIE_CPL_CA);
		return;
	}
	fb_complete_read(s->port, MPS, request, data, len);
}

enum refusal { DENIED, UNMAPPED, FORBIDDEN, STRAY, UNSUPPORTED, FAULT };

static const char *const refusals[] = {
	[DENIED] = "not opened to this peer (--allow-dma)",
	[UNMAPPED] = "outside the VM's memory",
	[FORBIDDEN] = "not allowed there by the VM",
	[STRAY] = "the VM of this session is gone",
	[UNSUPPORTED] = "not served",
	[FAULT] = "the client's memory file is shorter than what it mapped",
};

/* Counts, logs, and answers as the base specification has it (2.3.1). */
static void refuse(struct session *s, const struct pcie_tlp *tlp, enum refusal why)
{
	uint64_t *counters[] = {&s->count.denied, &s->count.unmapped, &s->count.forbidden,
				&s->count.stray,  &s->count.unsupported, &s->count.faults};
	char text[128];

	++*counters[why];
	fb_warn_limited(why == DENIED ? &s->log_denied : &s->log_other, fb_loop_now(s->remote->loop), s->name, "%s: %s",
			refusals[why], pcie_tlp_describe(tlp, text, sizeof(text)));
	if (pcie_tlp_fc(tlp->type) == PCIE_FC_NP) {
		complete_error(s, tlp, PCIE_CPL_UR);
	} else if (pcie_tlp_fc(tlp->type) == PCIE_FC_P) {
		s->error_owed = true;
		report_error(s);
	}
}

static enum refusal refusal_of(int err)
{
	return err == -EACCES ? FORBIDDEN : err == -ENOTSUP ? UNSUPPORTED : UNMAPPED;
}

/* ---- Messages ---------------------------------------------------------------------------- */

static void drain(struct session *s);

static struct fb_port_credit current_credit(const struct session *s)
{
	return s->draining ? s->current->credit : fb_port_credit(s->port);
}

static bool enqueue(struct session *s, const struct pcie_tlp *tlp)
{
	size_t len = pcie_tlp_has_data(tlp->type) ? tlp->length * 4u : 0;
	struct waiting *w = malloc(sizeof(*w) + len);

	if (!w) {
		refuse(s, tlp, UNSUPPORTED);
		return true;
	}
	w->next = NULL;
	w->credit = fb_port_credit(s->port);
	w->tlp = *tlp;
	if (len) {
		memcpy(w + 1, tlp->data, len);
		w->tlp.data = (const uint8_t *)(w + 1);
	}
	*s->waiting_tail = w;
	s->waiting_tail = &w->next;
	return false;
}

static void op_unlink(struct remote_op *op)
{
	*op->link = op->next;
	if (op->next)
		op->next->link = op->link;
}

static void message_done(void *arg, int status, const uint8_t *data)
{
	struct remote_op *op = arg;
	struct session *s = op->session;
	bool write = op->request.type == PCIE_TLP_MWR;
	uint8_t buf[PCIE_TLP_MAX_DATA + 8];
	uint64_t address;
	uint32_t len, lead;

	op->failed |= status < 0;
	if (--op->parts)
		return;
	if (s) {
		op_unlink(op);
		if (write)
			s->writes--;
		if (op->failed && status == -ENODEV) { /* the client is gone */
			if (write)
				refuse(s, &op->request, STRAY);
			else
				complete_error(s, &op->request, PCIE_CPL_CA);
		} else if (op->failed) {
			refuse(s, &op->request, UNMAPPED);
		} else if (!write) {
			pcie_tlp_get_range(&op->request, &address, &len);
			lead = address & 3;
			memset(buf, 0, 4);
			memset(buf + ((lead + len) & ~3u), 0, 4);
			memcpy(buf + lead, data, len);
			complete_read(s, &op->request, buf, len);
		}
		fb_port_release(s->port, op->credit);
	}
	free(op);
}

/* False: its credit is held. */
static bool by_message(struct session *s, const struct pcie_tlp *tlp, const struct fb_dma_run *runs, unsigned n)
{
	bool write = tlp->type == PCIE_TLP_MWR;
	struct remote_op *op;

	if (!fb_dma_message_room(s->f, n, FB_REMOTE_MESSAGES)) {
		if (!s->draining)
			return enqueue(s, tlp);
		return false; /* stays at the head of the queue */
	}
	op = calloc(1, sizeof(*op));
	if (!op) {
		refuse(s, tlp, UNSUPPORTED);
		return true;
	}
	op->session = s;
	op->request = *tlp;
	op->request.data = NULL;
	op->credit = current_credit(s);
	op->parts = n;
	op->next = s->ops;
	op->link = &s->ops;
	if (op->next)
		op->next->link = &op->next;
	s->ops = op;
	s->writes += write;
	for (unsigned i = 0; i < n; i++) {
		if (fb_dma_message_start(s->f, runs[i].address, runs[i].len, runs[i].data, message_done, op) < 0)
			op->failed = op->parts-- > 0;
		else
			s->count.messages++;
		*(write ? &s->count.write_bytes : &s->count.read_bytes) += runs[i].len;
	}
	++*(write ? &s->count.writes : &s->count.reads);
	if (op->parts)
		return false;
	op_unlink(op); /* the client is being cut off */
	s->writes -= write;
	free(op);
	refuse(s, tlp, STRAY);
	return true;
}

/* ---- Requests ------------------------------------------------------------------------------ */

static bool alive(const struct session *s)
{
	return s->f && s->f->negotiated && s->f->count.clients == s->client;
}

static bool write_memory(struct session *s, const struct pcie_tlp *tlp)
{
	struct fb_dma_run runs[4];
	unsigned n = fb_dma_runs(tlp, runs);
	bool messages = s->writes > 0;

	for (unsigned i = 0; i < n; i++) {
		bool needed;
		int err;

		if (!fb_remote_rules_allow(s->rules, s->n_rules, runs[i].address, runs[i].len, true)) {
			refuse(s, tlp, DENIED);
			return true;
		}
		err = fb_dma_map_check(&s->f->dma.map, runs[i].address, runs[i].len, FB_DMA_WRITABLE, &needed);
		if (err < 0) {
			refuse(s, tlp, refusal_of(err));
			return true;
		}
		messages |= needed;
	}
	if (n && messages && by_message(s, tlp, runs, n))
		return true;
	if (!n || !messages) {
		for (unsigned i = 0; i < n; i++) {
			if (fb_dma_map_write(&s->f->dma.map, runs[i].address, runs[i].data, runs[i].len) < 0) {
				refuse(s, tlp, FAULT);
				return true;
			}
			s->count.write_bytes += runs[i].len;
		}
		s->count.writes++;
		return true;
	}
	return false;
}

static bool read_memory(struct session *s, const struct pcie_tlp *tlp)
{
	uint8_t buf[PCIE_TLP_MAX_DATA + 8];
	struct fb_dma_run run = {0};
	bool messages;
	uint32_t lead;
	int err;

	pcie_tlp_get_range(tlp, &run.address, &run.len);
	if (!fb_remote_rules_allow(s->rules, s->n_rules, run.address, run.len ? run.len : 1, false)) {
		refuse(s, tlp, DENIED);
		return true;
	}
	err = fb_dma_map_check(&s->f->dma.map, run.address, run.len ? run.len : 1, FB_DMA_READABLE, &messages);
	if (err < 0) {
		refuse(s, tlp, refusal_of(err));
		return true;
	}
	if (run.len == 0 && s->writes)
		return s->draining ? false : enqueue(s, tlp);
	if (run.len && (messages || s->writes))
		return by_message(s, tlp, &run, 1);
	lead = run.address & 3;
	memset(buf, 0, 4);
	memset(buf + ((lead + run.len) & ~3u), 0, 4);
	if (fb_dma_map_read(&s->f->dma.map, run.address, buf + lead, run.len) < 0) {
		refuse(s, tlp, FAULT);
		return true;
	}
	s->count.reads++;
	s->count.read_bytes += run.len;
	complete_read(s, tlp, buf, run.len);
	return true;
}

static bool atomic_op(struct session *s, const struct pcie_tlp *tlp)
{
	struct pcie_tlp cpl = {0};
	struct fb_dma_atomic a;
	int err = fb_dma_atomic_target(&s->f->dma.map, tlp, &a);

	if (!fb_remote_rules_allow(s->rules, s->n_rules, tlp->address, a.size, true)) {
		refuse(s, tlp, DENIED);
		return true;
	}
	if (err < 0) {
		refuse(s, tlp, refusal_of(err));
		return true;
	}
	if (s->writes)
		return s->draining ? false : enqueue(s, tlp);
	if (fb_dma_atomic_run(&a) < 0) {
		refuse(s, tlp, FAULT);
		return true;
	}
	s->count.atomics++;
	report_error(s);
	pcie_completion_for(tlp, FB_ROOT_ID, 0, a.size, &cpl);
	cpl.data = a.old;
	fb_port_send(s->port, &cpl);
	return true;
}

/* True: done with it; false: its credit is held, by an operation or, while draining, because it waits on. */
static bool serve(struct session *s, const struct pcie_tlp *tlp)
{
	if (pcie_tlp_fc(tlp->type) == PCIE_FC_CPL) {
		s->count.unsupported++;
		return true;
	}
	if ((tlp->type != PCIE_TLP_MWR && tlp->type != PCIE_TLP_MRD && tlp->type != PCIE_TLP_FETCHADD &&
	     tlp->type != PCIE_TLP_SWAP && tlp->type != PCIE_TLP_CAS) || tlp->at || tlp->ep) {
		refuse(s, tlp, UNSUPPORTED);
		return true;
	}
	if (!alive(s)) {
		refuse(s, tlp, STRAY);
		return true;
	}
	if (tlp->type == PCIE_TLP_MWR)
		return write_memory(s, tlp);
	if (tlp->type == PCIE_TLP_MRD)
		return read_memory(s, tlp);
	return atomic_op(s, tlp);
}

/* A serve() that holds the credit either started an operation, or the TLP waits on. */
static void drain(struct session *s)
{
	if (s->draining)
		return;
	s->draining = true;
	while (s->waiting) {
		struct waiting *w = s->waiting;
		const struct remote_op *before = s->ops;
		struct fb_port_credit credit = w->credit;

		s->current = w;
		if (serve(s, &w->tlp))
			fb_port_release(s->port, credit);
		else if (s->ops == before)
			break;
		s->waiting = w->next;
		if (!s->waiting)
			s->waiting_tail = &s->waiting;
		free(w);
	}
	s->current = NULL;
	s->draining = false;
}

static bool tlp_arrived(void *arg, const struct pcie_tlp *tlp)
{
	struct session *s = arg;
	struct fb_hop *time = &s->remote->time;
	uint64_t since;
	bool done;

	if (s->waiting)
		return enqueue(s, tlp);
	since = fb_hop_begin(time, 16);
	done = serve(s, tlp);
	fb_hop_end(time, since);
	return done;
}

void fb_remote_kick(struct fb_remote *remote, struct fb_root_function *f)
{
	struct session **p, *first;

	if (!remote)
		return;
	first = remote->sessions;
	for (struct session *s = first; s; s = s->next) {
		if (s->f == f && s->waiting)
			drain(s);
	}
	/* Another one is first next time. */
	if (first && first->next) {
		remote->sessions = first->next;
		for (p = &remote->sessions; *p; p = &(*p)->next)
			;
		*p = first;
		first->next = NULL;
	}
}

/* ---- Sessions --------------------------------------------------------------------------------- */

static void add_counters(struct fb_root_remote_counters *to, const struct fb_root_remote_counters *from)
{
	const uint64_t *f = (const uint64_t *)from;
	uint64_t *t = (uint64_t *)to;

	for (size_t i = 0; i < sizeof(*to) / sizeof(*t); i++)
		t[i] += f[i];
}

static void end_session(struct session *s, int reason, const char *text)
{
	struct fb_remote *remote = s->remote;
	struct session **p = &remote->sessions;

	while (*p != s)
		p = &(*p)->next;
	*p = s->next;
	remote->n_sessions--;
	add_counters(&remote->past, &s->count);
	for (struct remote_op *op = s->ops; op; op = op->next)
		op->session = NULL; /* message_done() frees it */
	while (s->waiting) {
		struct waiting *w = s->waiting;

		s->waiting = w->next;
		free(w);
	}
	fb_port_close(s->port, reason, text);
	free(s);
}

static void down(void *arg, int reason, const char *text)
{
	struct session *s = arg;

	fb_info(s->name, "remote requester left after %" PRIu64 " reads, %" PRIu64 " writes, %" PRIu64 " atomics: %s",
		s->count.reads, s->count.writes, s->count.atomics,
		text && *text ? text : fb_link_reason_name((enum fb_link_reason)reason));
	end_session(s, FB_LINK_R_NORMAL, NULL);
}

static void writable(void *arg, enum pcie_fc cls)
{
	if (cls == PCIE_FC_P)
		report_error(arg);
}

static void up(void *arg) { (void)arg; }

static const struct fb_port_user session_user = {.tlp = tlp_arrived, .up = up, .down = down, .writable = writable};

static int turn_away(struct fb_remote *remote, const char *peer, const char *function, int reason, const char *why)
{
	remote->refused++;
	fb_warn_limited(&remote->log_refused, fb_loop_now(remote->loop), peer, "remote access to the memory of %s refused: %s",
			function, why);
	return reason;
}

static int hello(void *arg, const struct fb_link_hello *h, const char *from, struct fb_port *port,
		 const struct fb_port_user **user, void **user_arg, const char **text)
{
	struct fb_remote *remote = arg;
	struct fb_root_function *f;
	const char *why = NULL;
	struct session *s;
	bool open;

	if (h->group != remote->config.carrier.link.group) {
		*text = "another group";
		return turn_away(remote, from, h->function, FB_LINK_R_GROUP, *text);
	}
	if (remote->n_sessions == FB_REMOTE_SESSIONS) {
		*text = "too many requesters are here already";
		return turn_away(remote, from, h->function, FB_LINK_R_IN_USE, *text);
	}
	s = calloc(1, sizeof(*s));
	if (!s) {
		*text = "out of memory";
		return FB_LINK_R_OVERFLOW;
	}
	f = remote->config.find(remote->config.arg, h->function, &why);
	for (unsigned i = 0; i < remote->n_rules; i++) {
		/* Strangers learn nothing of what there is: the rules come before the function. */
		if (fb_remote_rule_matches(&remote->rules[i], from, f ? f->id : h->function))
			s->rules[s->n_rules++] = &remote->rules[i];
	}
	open = s->n_rules > 0;
	if (!open || !f || !f->negotiated) {
		free(s);
		*text = !open ? "remote access to its memory is not open to you" : why ? why : "no VM uses it now";
		return turn_away(remote, from, h->function, open && !f ? FB_LINK_R_NO_FUNCTION : FB_LINK_R_DENIED, *text);
	}
	s->remote = remote;
	s->port = port;
	s->f = f;
	s->client = f->count.clients;
	s->waiting_tail = &s->waiting;
	snprintf(s->peer, sizeof(s->peer), "%s", from);
	snprintf(s->function, sizeof(s->function), "%s", f->id);
	snprintf(s->name, sizeof(s->name), "%s from %s", f->id, from);
	s->next = remote->sessions;
	remote->sessions = s;
	remote->n_sessions++;
	remote->sessions_total++;
	fb_info(s->name, "remote requester attached");
	*user = &session_user;
	*user_arg = s;
	return 0;
}

static const struct fb_acceptor acceptor = {.hello = hello};

void fb_remote_forget(struct fb_remote *remote, struct fb_root_function *f)
{
	if (!remote)
		return;
	for (struct session *s = remote->sessions, *next; s; s = next) {
		next = s->next;
		if (s->f == f)
			end_session(s, FB_LINK_R_REMOVED, "the function is not offered any more");
	}
}

int fb_remote_new(struct fb_remote **out, struct fb_loop *loop, const struct fb_remote_config *config)
{
	struct fb_remote *remote = calloc(1, sizeof(*remote));
	struct fb_carrier_config carrier = config->carrier;
	char local[96];
	int err = -ENOMEM;

	if (!remote)
		return err;
	remote->loop = loop;
	remote->config = *config;
	for (unsigned i = 0; config->allow && config->allow[i]; i++) {
		err = -EINVAL;
		if (remote->n_rules == FB_REMOTE_RULES) {
			fb_error("allow-dma", "more than %d rules", FB_REMOTE_RULES);
			goto free_remote;
		}
		if (fb_remote_rule_parse(&remote->rules[remote->n_rules++], config->allow[i]))
			goto free_remote;
	}
	carrier.listen = config->listen;
	carrier.peer = NULL;
	carrier.accepts_as_root = true;
	/* Who is silent for so long does not keep a place: requesters come and go, and lose nothing by it. */
	if (carrier.link.hold_ns > HOLD_NS)
		carrier.link.hold_ns = HOLD_NS;
	carrier.link.np_credits = FB_REMOTE_CREDITS;
	carrier.link.posted_credits = FB_REMOTE_POSTED;
	err = fb_carrier_open(&remote->carrier, loop, &carrier, &acceptor, remote);
	if (err)
		goto free_remote;
	fb_info("root", "remote requesters are served on %s", fb_carrier_local(remote->carrier, local, sizeof(local)));
	*out = remote;
	return 0;

free_remote:
	free(remote);
	return err;
}

void fb_remote_free(struct fb_remote *remote)
{
	if (!remote)
		return;
	while (remote->sessions)
		end_session(remote->sessions, FB_LINK_R_NORMAL, "the root ends");
	fb_carrier_close(remote->carrier);
	free(remote);
}

/* ---- For stats ----------------------------------------------------------------------------------- */

void fb_remote_info(const struct fb_remote *remote, struct fb_root_remote_info *info)
{
	memset(info, 0, sizeof(*info));
	if (!remote)
		return;
	info->used = true;
	fb_carrier_local(remote->carrier, info->listen, sizeof(info->listen));
	info->rules = remote->n_rules;
	info->sessions = remote->n_sessions;
	info->sessions_total = remote->sessions_total;
	info->refused = remote->refused;
	info->time = &remote->time.time;
	info->count = remote->past;
	for (const struct session *s = remote->sessions; s; s = s->next)
		add_counters(&info->count, &s->count);
}

int fb_remote_session_info(const struct fb_remote *remote, unsigned index, struct fb_root_remote_session_info *info)
{
	const struct session *s = remote ? remote->sessions : NULL;

	while (s && index-- > 0)
		s = s->next;
	if (!s)
		return -ENOENT;
	memset(info, 0, sizeof(*info));
	memcpy(info->function, s->function, sizeof(info->function));
	info->count = s->count;
	fb_port_get_stats(s->port, &info->port);
	return 0;
}
