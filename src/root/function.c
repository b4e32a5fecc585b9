/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 *	ABSENT -> CONNECTING -> ENUMERATING -> READY <-> IN_USE
 *	                                         ^          | client left
 *	                                         +- RESETTING
 *	IN_USE -> GONE (box lost) -> ABSENT (client left)
 *	any other state -> ABSENT (box lost, or it refuses us)
 *
 * The session with the box is taken as soon as the function is found and kept,
 * so that it is plain to everyone who has it. The socket exists from READY on,
 * as long as the session lives.
 *
 * Surprise removal: a client is attached and the box is lost. Its socket stays
 * open, for QEMU never recovers from a closed one; all reads give all ones, all
 * else succeeds and does nothing, until the client leaves (because hot-plug took
 * the device out, or QEMU ended). Then the function starts over.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "root/function.h"
#include "util/listener.h"

#define BACKOFF_MIN_NS UINT64_C(250000000)
#define BACKOFF_MAX_NS UINT64_C(8000000000)
enum { CLIENT_LINES = 8 }; /* of clients that come and go, at once; then one a second */

static const char *const state_names[] = {
	[FB_ROOT_ABSENT] = "absent",
	[FB_ROOT_CONNECTING] = "connecting",
	[FB_ROOT_ENUMERATING] = "enumerating",
	[FB_ROOT_RESETTING] = "resetting",
	[FB_ROOT_READY] = "ready",
	[FB_ROOT_IN_USE] = "in-use",
	[FB_ROOT_GONE] = "gone",
};
_Static_assert(sizeof(state_names) / sizeof(state_names[0]) == FB_ROOT_STATES, "a state has no name");

const char *fb_root_function_state_name(enum fb_root_function_state state)
{
	return (unsigned)state < FB_ROOT_STATES ? state_names[state] : "?";
}

/* The only place where the state changes. */
static void fb_function_set_state(struct fb_root_function *f, enum fb_root_function_state state)
{
	enum fb_root_function_state old = f->state;

	if (old == state)
		return;
	f->state = state;
	if (state == FB_ROOT_READY || state == FB_ROOT_IN_USE)
		f->note[0] = '\0';
	if (state == FB_ROOT_READY && old != FB_ROOT_RESETTING)
		fb_info(f->name, "ready: %04x:%04x, %s", f->cfg.vendor_id, f->cfg.device_id,
			fb_listener_is_open(&f->listener) ? f->socket : "no socket");
	else if (state == FB_ROOT_GONE)
		fb_warn(f->name, "gone: %s; the VM reads all ones until it lets go", f->note);
	else if (state == FB_ROOT_ABSENT && old != FB_ROOT_CONNECTING)
		fb_info(f->name, "absent%s%s", f->note[0] ? ": " : "", f->note);
	else
		fb_debug(f->name, "%s", fb_root_function_state_name(state));
	f->env->changed(f->env->arg, f, old);
}

/* ---- The socket ---------------------------------------------------------------------- */

static void unlisten(struct fb_root_function *f)
{
	int fd;

	if (!fb_listener_is_open(&f->listener))
		return;
	unlink(f->socket);
	while ((fd = accept4(f->listener.watch.fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		fb_vu_hang_up(fd); /* it came while the function was being reset */
	fb_listener_close(&f->listener);
}

static void accepted(struct fb_listener *l, int fd)
{
	fb_function_client(FB_CONTAINER(l, struct fb_root_function, listener), fd);
}

static void accept_failed(struct fb_listener *l, int err)
{
	struct fb_root_function *f = FB_CONTAINER(l, struct fb_root_function, listener);

	fb_log_limited(&f->log_refused, 0, fb_function_now(f), FB_LOG_ERROR, f->name, "accept: %s", strerror(err));
}

/* 0 or -errno; f->note says what is wrong. */
static int listen_socket(struct fb_root_function *f)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct stat st;
	int fd, err;

	if (fb_listener_is_open(&f->listener) || !f->env->socket_dir)
		return 0;
	memcpy(sun.sun_path, f->socket, strlen(f->socket)); /* shorter than sun_path: fb_function_new() */
	if (lstat(f->socket, &st) == 0) {
		if (!S_ISSOCK(st.st_mode)) {
			snprintf(f->note, sizeof(f->note), "%.80s exists and is not a socket", f->socket);
			return -EEXIST;
		}
		if (fb_socket_is_alive(f->socket)) {
			snprintf(f->note, sizeof(f->note), "%.80s is in use by another process", f->socket);
			return -EADDRINUSE;
		}
		unlink(f->socket); /* a root that was killed left it behind */
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		goto failed;
	if (bind(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0)
		goto close_fd;
	if (listen(fd, 4) < 0)
		goto unlink_path;
	f->listener.client = accepted;
	f->listener.failed = accept_failed;
	err = fb_listener_open(&f->listener, f->loop, fd);
	if (err < 0) {
		errno = -err;
		goto unlink_path;
	}
	return 0;

unlink_path:
	unlink(f->socket);
close_fd:
	err = errno;
	close(fd);
	errno = err;
failed:
	err = -errno;
	snprintf(f->note, sizeof(f->note), "%.80s: %s", f->socket, strerror(-err));
	return err;
}

/* Clients come and go as fast as they like: no more lines than somebody would read. */
#define log_client(f, level, ...)                                                                                      \
	fb_log_limited(&(f)->log_come, CLIENT_LINES, fb_function_now(f), level, (f)->name, __VA_ARGS__)

int fb_function_client(struct fb_root_function *f, int fd)
{
	struct ucred cred = {0};
	socklen_t len = sizeof(cred);
	int err;

	if (f->state != FB_ROOT_READY) {
		fb_vu_hang_up(fd);
		f->count.clients_refused++;
		fb_warn_limited(&f->log_refused, fb_function_now(f), f->name,
				"a second client was refused: it is %s (pid %d has it)",
				fb_root_function_state_name(f->state), f->client_pid);
		return -EBUSY;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		cred.pid = 0;
	err = fb_vu_open(&f->vu, f->loop, fd, &fb_vfio_user_ops, f);
	if (err < 0) {
		log_client(f, FB_LOG_ERROR, "client cannot be served: %s", strerror(-err));
		return err;
	}
	f->count.clients++;
	f->client_pid = cred.pid;
	f->negotiated = false;
	log_client(f, FB_LOG_INFO, "client attached: pid %d", f->client_pid);
	fb_function_set_state(f, FB_ROOT_IN_USE);
	return 0;
}

static void forget_client(struct fb_root_function *f)
{
	f->negotiated = false;
	f->client_pid = 0;
	f->reset_reply = false;
	fb_timer_cancel(&f->reset_timer);
	fb_vm_cancel_all(f);
	fb_dma_client_gone(f);
	fb_irq_client_gone(f);
}

void fb_function_client_end(struct fb_root_function *f, const char *why)
{
	fb_vu_close(&f->vu);
	if (strncmp(why, "broke", 5) == 0) {
		f->count.client_killed++;
		log_client(f, FB_LOG_WARN, "client pid %d cut off: it %s", f->client_pid, why);
	} else {
		log_client(f, FB_LOG_INFO, "client pid %d left: %s", f->client_pid, why);
	}
	/* First no memory, then no DMA, then FLR. */
	forget_client(f);
	if (f->state == FB_ROOT_GONE) {
		fb_function_set_state(f, FB_ROOT_ABSENT);
		return;
	}
	fb_listener_pause(&f->listener, true); /* while it is being reset a new client waits in the socket's queue */
	fb_rq_drop_posted(&f->rq);
	fb_reset_start(f);
	fb_function_set_state(f, FB_ROOT_RESETTING);
}

/* ---- The session with the box ------------------------------------------------------------- */

static void close_port(struct fb_root_function *f, int reason, const char *text)
{
	struct fb_port *port = f->port;

	f->port = NULL;
	f->link_up = false;
	if (port)
		fb_port_close(port, reason, text);
	fb_sequence_stop(f);
	fb_rq_detach(&f->rq);
}

static void back_off(struct fb_root_function *f)
{
	f->backoff_ns = f->backoff_ns ? f->backoff_ns * 2 : BACKOFF_MIN_NS;
	if (f->backoff_ns > BACKOFF_MAX_NS)
		f->backoff_ns = BACKOFF_MAX_NS;
	f->retry_ns = fb_function_now(f) + f->backoff_ns;
}

/* What must not be repeated in the log each time it is tried again. */
static void say_once(struct fb_root_function *f, const char *what)
{
	if (strncmp(f->note, what, sizeof(f->note) - 1) == 0)
		return;
	snprintf(f->note, sizeof(f->note), "%s", what);
	fb_warn(f->name, "not to be had now: %s", f->note);
}

void fb_function_lost(struct fb_root_function *f, int reason, const char *text)
{
	enum fb_root_function_state state = f->state;
	char what[128];

	if (text && text[0])
		snprintf(what, sizeof(what), "%s: %s", fb_link_reason_name((enum fb_link_reason)reason), text);
	else
		snprintf(what, sizeof(what), "%s", fb_link_reason_name((enum fb_link_reason)reason));
	close_port(f, reason, what);
	fb_irq_wire_reset(f);
	fb_dma_forget(f);
	fb_vm_ring_forget(f);
	fb_vm_offer_forget(f);
	if (state == FB_ROOT_ABSENT || state == FB_ROOT_GONE)
		return;
	unlisten(f);
	if (state == FB_ROOT_IN_USE) {
		f->count.surprise_removals++;
		snprintf(f->note, sizeof(f->note), "%s", what);
		f->backoff_ns = 0;
		f->retry_ns = 0;
		fb_reset_answer(f);
		fb_function_set_state(f, FB_ROOT_GONE);
		return;
	}
	if (state == FB_ROOT_CONNECTING || state == FB_ROOT_ENUMERATING) {
		say_once(f, what);
		back_off(f);
	} else {
		snprintf(f->note, sizeof(f->note), "%s", what);
		f->retry_ns = 0;
	}
	fb_function_set_state(f, FB_ROOT_ABSENT);
}

static void up(void *arg)
{
	struct fb_root_function *f = arg;

	f->link_up = true;
	f->count.sessions++;
	fb_function_set_state(f, FB_ROOT_ENUMERATING);
	fb_enumerate_start(f);
}

static void down(void *arg, int reason, const char *text)
{
	fb_function_lost(arg, reason, text);
}

static bool tlp_arrived(void *arg, const struct pcie_tlp *tlp)
{
	struct fb_root_function *f = arg;
	uint64_t since = fb_hop_begin(&f->times[FB_ROOT_HOP_DMA], 16);
	bool done = fb_dma_tlp(f, tlp);

	fb_hop_end(&f->times[FB_ROOT_HOP_DMA], since);
	return done;
}

static void writable(void *arg, enum pcie_fc cls)
{
	struct fb_root_function *f = arg;

	fb_rq_writable(&f->rq, cls);
	fb_vm_writable(f);
}

static const struct fb_port_user port_user = {.tlp = tlp_arrived, .up = up, .down = down, .writable = writable};

void fb_function_connect(struct fb_root_function *f)
{
	int err;

	if (f->state != FB_ROOT_ABSENT)
		return;
	f->session++;
	fb_function_set_state(f, FB_ROOT_CONNECTING);
	err = f->env->connect(f->env->arg, f, &port_user, &f->port);
	if (err < 0) {
		f->port = NULL;
		say_once(f, strerror(-err));
		back_off(f);
		fb_function_set_state(f, FB_ROOT_ABSENT);
		return;
	}
	fb_rq_attach(&f->rq, f->port, f->bdf);
}

void fb_enumerate_done(struct fb_root_function *f, const char *why)
{
	if (!why && fb_irq_alloc(f) < 0)
		why = "no memory";
	if (!why && listen_socket(f) < 0)
		why = f->note;
	if (why) {
		char copy[128];

		snprintf(copy, sizeof(copy), "%s", why);
		if (why == f->note)
			f->note[0] = '\0';
		close_port(f, FB_LINK_R_NORMAL, copy);
		say_once(f, copy);
		back_off(f);
		fb_function_set_state(f, FB_ROOT_ABSENT);
		return;
	}
	f->backoff_ns = 0;
	fb_function_set_state(f, FB_ROOT_READY);
}

void fb_reset_done(struct fb_root_function *f, const char *why)
{
	if (why) {
		fb_function_lost(f, FB_LINK_R_PROTOCOL, why);
		return;
	}
	fb_reset_answer(f);
	if (f->state == FB_ROOT_RESETTING) {
		fb_function_set_state(f, FB_ROOT_READY);
		fb_listener_pause(&f->listener, false);
	}
}

/* ---- Making and freeing ---------------------------------------------------------------------- */

int fb_function_new(struct fb_root_function **out, const struct fb_function_env *env, const char *id, uint16_t bdf)
{
	struct fb_root_function *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->env = env;
	f->loop = env->loop;
	f->bdf = bdf;
	f->plug.slot = -1;
	snprintf(f->id, sizeof(f->id), "%s", id);
	snprintf(f->name, sizeof(f->name), "%s %02x:%02x.%x", f->id, bdf >> 8, bdf >> 3 & 31, bdf & 7);
	if (env->socket_dir &&
	    (size_t)snprintf(f->socket, sizeof(f->socket), "%s/%s.sock", env->socket_dir, f->id) >= sizeof(f->socket)) {
		free(f);
		return -ENAMETOOLONG;
	}
	f->irq.intx_fd = f->irq.err_fd = -1;
	fb_rq_init(&f->rq, f->loop);
	fb_vm_init(f);
	fb_dma_init(f);
	fb_dma_guard_init();
	*out = f;
	return 0;
}

void fb_function_free(struct fb_root_function *f)
{
	fb_vu_close(&f->vu);
	close_port(f, FB_LINK_R_NORMAL, "the root ends");
	forget_client(f);
	unlisten(f);
	fb_irq_free(f);
	fb_rq_free(&f->rq);
	free(f);
}
