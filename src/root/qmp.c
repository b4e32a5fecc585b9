/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 *	WAITING (timer) -> GREETING (connected, {"QMP": ...} is due)
 *	                -> NEGOTIATING (qmp_capabilities sent) -> UP
 *	any of them -> WAITING, when the socket ends, is silent for too long or
 *	               says what is not QMP
 *
 * One JSON object a line. Replies come in the order of the commands and repeat
 * their id; what does not match is no QMP. A command that is not answered within
 * COMMAND_NS ends the connection: a QEMU that hangs is one that is not there.
 */
#include "root/qmp.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "util/loop.h"

#define GREETING_NS UINT64_C(5000000000)
#define COMMAND_NS UINT64_C(60000000000)
#define RETRY_MIN_NS UINT64_C(250000000)
#define RETRY_MAX_NS UINT64_C(4000000000)
enum { OUT_MAX = 1 << 20 };

enum qmp_state { QMP_WAITING, QMP_GREETING, QMP_NEGOTIATING, QMP_UP };

struct pending {
	struct pending *next;
	fb_qmp_done *done;
	void *arg;
	uint64_t id, deadline_ns;
};

struct fb_qmp {
	struct fb_loop *loop;
	const struct fb_qmp_user *user;
	void *arg;
	char path[108]; /* "": the socket was given */
	enum qmp_state state;
	struct fb_fd watch;
	struct fb_timer timer;
	uint64_t retry_ns;
	char version[32];

	char *in;
	size_t in_len, in_cap;
	char *out;
	size_t out_len;
	struct pending *first, **last;
	unsigned n_pending;
	uint64_t next_id;
	unsigned generation; /* of the connection */
	struct fb_qmp_stats stats;
};

static void qmp_connect(struct fb_qmp *q);

static void lose(struct fb_qmp *q, int err, const char *why)
{
	bool was_connected = q->watch.loop != NULL;
	int fd = q->watch.fd;
	struct pending *list = q->first;

	q->state = QMP_WAITING;
	q->generation++;
	if (was_connected) {
		fb_fd_del(&q->watch);
		close(fd);
		q->stats.reconnects++;
	}
	free(q->in);
	free(q->out);
	q->in = q->out = NULL;
	q->in_len = q->in_cap = q->out_len = 0;
	q->first = NULL;
	q->last = &q->first;
	q->n_pending = 0;
	fb_timer_cancel(&q->timer);
	if (q->path[0]) {
		fb_timer_set(q->loop, &q->timer, fb_loop_now(q->loop) + q->retry_ns);
		q->retry_ns = q->retry_ns * 2 > RETRY_MAX_NS ? RETRY_MAX_NS : q->retry_ns * 2;
	}
	while (list) {
		struct pending *p = list;

		list = p->next;
		if (p->done)
			p->done(p->arg, NULL, NULL, "the connection to QEMU was lost");
		free(p);
	}
	q->user->lost(q->arg, err, why);
}

static void send_out(struct fb_qmp *q)
{
	while (q->out_len > 0) {
		ssize_t n = send(q->watch.fd, q->out, q->out_len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) /* EAGAIN: later; others: reading reports them */
			break;
		q->out_len -= (size_t)n;
		memmove(q->out, q->out + n, q->out_len);
	}
	fb_fd_modify(&q->watch, EPOLLIN | (q->out_len ? EPOLLOUT : 0u));
}

static int put_command(struct fb_qmp *q, const char *name, json_t *arguments, fb_qmp_done *done, void *arg)
{
	json_t *cmd = json_pack("{s:s, s:I}", "execute", name, "id", (json_int_t)++q->next_id);
	struct pending *p = calloc(1, sizeof(*p));
	char *text = NULL, *bigger;
	size_t len;
	int err = -ENOMEM;

	if (arguments && cmd)
		json_object_set(cmd, "arguments", arguments);
	if (cmd && p)
		text = json_dumps(cmd, JSON_COMPACT);
	if (!text)
		goto out;
	len = strlen(text);
	err = -ENOBUFS;
	if (q->out_len + len + 1 > OUT_MAX || q->n_pending >= FB_QMP_PENDING_MAX)
		goto out;
	err = -ENOMEM;
	bigger = realloc(q->out, q->out_len + len + 1);
	if (!bigger)
		goto out;
	q->out = bigger;
	memcpy(q->out + q->out_len, text, len);
	q->out[q->out_len + len] = '\n';
	q->out_len += len + 1;
	p->done = done;
	p->arg = arg;
	p->id = q->next_id;
	p->deadline_ns = fb_loop_now(q->loop) + COMMAND_NS;
	if (!q->first)
		fb_timer_set(q->loop, &q->timer, p->deadline_ns);
	*q->last = p;
	q->last = &p->next;
	q->n_pending++;
	q->stats.commands++;
	p = NULL;
	err = 0;
	send_out(q);
out:
	free(p);
	free(text);
	json_decref(cmd);
	json_decref(arguments);
	return err;
}

int fb_qmp_command(struct fb_qmp *q, const char *name, json_t *arguments, fb_qmp_done *done, void *arg)
{
	if (q->state != QMP_UP) {
		json_decref(arguments);
		return -ENOTCONN;
	}
	return put_command(q, name, arguments, done, arg);
}

static void negotiated(void *arg, json_t *result, const char *error_class, const char *error)
{
	struct fb_qmp *q = arg;
	char why[256];

	if (!error_class && !result) /* lost: reported by then */
		return;
	if (error) {
		snprintf(why, sizeof(why), "QEMU refuses qmp_capabilities: %.150s", error);
		lose(q, -EPROTO, why);
		return;
	}
	q->state = QMP_UP;
	q->retry_ns = RETRY_MIN_NS;
	q->user->connected(q->arg, q->version);
}

static int greeting(struct fb_qmp *q, json_t *msg)
{
	json_t *version = json_object_get(json_object_get(json_object_get(msg, "QMP"), "version"), "qemu");
	json_t *major = json_object_get(version, "major"), *minor = json_object_get(version, "minor"),
	       *micro = json_object_get(version, "micro");

	if (!json_is_integer(major) || !json_is_integer(minor) || !json_is_integer(micro))
		return -EPROTO;
	snprintf(q->version, sizeof(q->version), "%lld.%lld.%lld", (long long)json_integer_value(major),
		 (long long)json_integer_value(minor), (long long)json_integer_value(micro));
	q->state = QMP_NEGOTIATING;
	fb_timer_cancel(&q->timer);
	return put_command(q, "qmp_capabilities", NULL, negotiated, q);
}

static int reply(struct fb_qmp *q, json_t *msg)
{
	json_t *id = json_object_get(msg, "id"), *result = json_object_get(msg, "return"),
	       *error = json_object_get(msg, "error");
	const char *class = NULL, *desc = NULL;
	struct pending *p = q->first;

	if (!p || !json_is_integer(id) || (uint64_t)json_integer_value(id) != p->id || (!result && !json_is_object(error)))
		return -EPROTO;
	if (!result) {
		class = json_string_value(json_object_get(error, "class"));
		desc = json_string_value(json_object_get(error, "desc"));
		class = class ? class : "GenericError";
		desc = desc ? desc : "no reason given";
		q->stats.errors++;
	}
	q->first = p->next;
	if (!q->first)
		q->last = &q->first;
	q->n_pending--;
	if (q->first)
		fb_timer_set(q->loop, &q->timer, q->first->deadline_ns);
	else
		fb_timer_cancel(&q->timer);
	if (p->done)
		p->done(p->arg, result, class, desc);
	free(p);
	return 0;
}

/* 0 or -EPROTO. */
static int take_line(struct fb_qmp *q, const char *line, size_t len)
{
	json_t *msg = json_loadb(line, len, JSON_ALLOW_NUL, NULL);
	const char *event;
	int err;

	if (!json_is_object(msg)) {
		json_decref(msg);
		return -EPROTO;
	}
	event = json_string_value(json_object_get(msg, "event"));
	if (q->state == QMP_GREETING) {
		err = greeting(q, msg);
	} else if (event) {
		q->stats.events++;
		if (q->state == QMP_UP)
			q->user->event(q->arg, event, json_object_get(msg, "data"));
		err = 0;
	} else {
		err = reply(q, msg);
	}
	json_decref(msg);
	return err;
}

static void broken(struct fb_qmp *q, const char *line, size_t len)
{
	char why[256], shown[48];
	size_t n = 0;

	for (; n < len && n < sizeof(shown) - 1; n++)
		shown[n] = isprint((unsigned char)line[n]) ? line[n] : '?';
	shown[n] = '\0';
	snprintf(why, sizeof(why), "what answers there does not speak QMP: \"%s\"%s", shown, n < len ? " ..." : "");
	lose(q, -EPROTO, why);
}

static void parse(struct fb_qmp *q)
{
	unsigned generation = q->generation;
	size_t start = 0;

	for (;;) {
		char *nl = q->in_len > start ? memchr(q->in + start, '\n', q->in_len - start) : NULL;
		size_t len, next;

		if (!nl)
			break;
		len = (size_t)(nl - (q->in + start));
		next = start + len + 1;
		while (len > 0 && isspace((unsigned char)q->in[start + len - 1]))
			len--;
		if (len > 0 && take_line(q, q->in + start, len) < 0) {
			if (q->generation == generation)
				broken(q, q->in + start, len);
			return;
		}
		if (q->generation != generation)
			return;
		start = next;
	}
	q->in_len -= start;
	memmove(q->in, q->in + start, q->in_len);
	if (q->in_len >= FB_QMP_LINE_MAX)
		lose(q, -EMSGSIZE, "QMP line longer than 1 MiB");
	else if (q->state == QMP_GREETING && q->in_len > 65536)
		broken(q, q->in, q->in_len);
}

static void ready(struct fb_fd *w, uint32_t events)
{
	struct fb_qmp *q = (struct fb_qmp *)((char *)w - offsetof(struct fb_qmp, watch));
	ssize_t n;

	if (events & EPOLLOUT)
		send_out(q);
	if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	if (q->in_cap - q->in_len < 4096) {
		size_t cap = q->in_cap ? q->in_cap * 2 : 16384;
		char *p = realloc(q->in, cap);

		if (!p) {
			lose(q, -ENOMEM, "no memory");
			return;
		}
		q->in = p;
		q->in_cap = cap;
	}
	n = recv(w->fd, q->in + q->in_len, q->in_cap - q->in_len, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		lose(q, n < 0 ? -errno : -ECONNRESET,
		     q->state == QMP_GREETING ? "closed before it greeted (QMP takes one client at a time)"
					      : "QEMU closed the connection");
		return;
	}
	q->in_len += (size_t)n;
	parse(q);
}

static void due(struct fb_timer *t)
{
	struct fb_qmp *q = (struct fb_qmp *)((char *)t - offsetof(struct fb_qmp, timer));

	if (q->state == QMP_WAITING)
		qmp_connect(q);
	else if (q->state == QMP_GREETING)
		lose(q, -ETIMEDOUT, "no greeting within 5 s (QMP takes one client at a time)");
	else
		lose(q, -ETIMEDOUT, "no reply to a command within 60 s");
}

static int use_fd(struct fb_qmp *q, int fd)
{
	int err = fb_fd_add(q->loop, &q->watch, fd, EPOLLIN);

	if (err < 0) {
		close(fd);
		return err;
	}
	q->state = QMP_GREETING;
	fb_timer_set(q->loop, &q->timer, fb_loop_now(q->loop) + GREETING_NS);
	return 0;
}

static void qmp_connect(struct fb_qmp *q)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), err;

	if (fd < 0) {
		lose(q, -errno, strerror(errno));
		return;
	}
	memcpy(sun.sun_path, q->path, sizeof(q->path));
	/* EAGAIN: its queue is full, since nobody accepts: tried again like any other failure. */
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0) {
		err = errno;
		close(fd);
		lose(q, -err, strerror(err));
		return;
	}
	err = use_fd(q, fd);
	if (err < 0)
		lose(q, err, strerror(-err));
}

static struct fb_qmp *make(struct fb_loop *loop, const struct fb_qmp_user *user, void *arg)
{
	struct fb_qmp *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->loop = loop;
	q->user = user;
	q->arg = arg;
	q->last = &q->first;
	q->watch.ready = ready;
	q->timer.due = due;
	q->retry_ns = RETRY_MIN_NS;
	return q;
}

int fb_qmp_new(struct fb_qmp **out, struct fb_loop *loop, const char *path, const struct fb_qmp_user *user, void *arg)
{
	struct fb_qmp *q;
	int err;

	if (strlen(path) >= sizeof(q->path))
		return -ENAMETOOLONG;
	q = make(loop, user, arg);
	if (!q)
		return -ENOMEM;
	memcpy(q->path, path, strlen(path));
	err = fb_timer_set(loop, &q->timer, fb_loop_now(loop));
	if (err < 0) {
		free(q);
		return err;
	}
	*out = q;
	return 0;
}

int fb_qmp_new_fd(struct fb_qmp **out, struct fb_loop *loop, int fd, const struct fb_qmp_user *user, void *arg)
{
	struct fb_qmp *q = make(loop, user, arg);
	int err;

	if (!q) {
		close(fd);
		return -ENOMEM;
	}
	err = use_fd(q, fd);
	if (err < 0) {
		free(q);
		return err;
	}
	*out = q;
	return 0;
}

void fb_qmp_free(struct fb_qmp *q)
{
	if (!q)
		return;
	q->state = QMP_WAITING;
	fb_timer_cancel(&q->timer);
	if (q->watch.loop) {
		int fd = q->watch.fd;

		fb_fd_del(&q->watch);
		close(fd);
	}
	while (q->first) {
		struct pending *p = q->first;

		q->first = p->next;
		if (p->done)
			p->done(p->arg, NULL, NULL, "the connection to QEMU was closed");
		free(p);
	}
	free(q->in);
	free(q->out);
	free(q);
}

bool fb_qmp_up(const struct fb_qmp *q) { return q->state == QMP_UP; }
const struct fb_qmp_stats *fb_qmp_stats(const struct fb_qmp *q) { return &q->stats; }
