/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/client.h"
#include "control/control.h"
#include "util/loop.h"

enum {
	ANSWER_MAX = 64 * 1024 * 1024, /* a thousand functions with all counters are about 4 MiB */
	SOCKETS_MAX = 1024,
};

static int fail(char **error, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int fail(char **error, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(error, fmt, ap) < 0)
		*error = strdup(strerror(-err));
	va_end(ap);
	return err;
}

/* wait_ns 0: -EAGAIN at once when the daemon's queue is full. The descriptor never blocks afterwards. */
static int connect_to(const char *path, uint64_t wait_ns)
{
	struct timeval wait = {(time_t)(wait_ns / 1000000000), (suseconds_t)(wait_ns % 1000000000 / 1000) + 1};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd, err = 0;

	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (wait_ns ? 0 : SOCK_NONBLOCK), 0);
	if (fd < 0)
		return -errno;
	if (wait_ns)
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		err = errno == EAGAIN && wait_ns ? -ETIMEDOUT : -errno;
	else if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
		err = -errno;
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

/* 1: ready, 0: the time is over, -errno. */
static int wait_for(int fd, short events, uint64_t deadline_ns)
{
	for (;;) {
		struct pollfd p = {.fd = fd, .events = events};
		uint64_t now = fb_clock_ns();
		uint64_t ms;
		int n;

		if (now >= deadline_ns)
			return 0;
		ms = (deadline_ns - now) / 1000000 + 1;
		n = poll(&p, 1, ms > 1000000 ? 1000000 : (int)ms);
		if (n > 0)
			return 1;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

/* After a send that failed, with errno: 0 when there is room again, or -errno. */
static int may_send_again(int fd, uint64_t deadline_ns)
{
	int ready;

	if (errno == EINTR)
		return 0;
	if (errno != EAGAIN)
		return -errno;
	ready = wait_for(fd, POLLOUT, deadline_ns);
	return ready > 0 ? 0 : ready ? ready : -ETIMEDOUT;
}

static int send_all(int fd, const char *data, size_t len, uint64_t deadline_ns)
{
	while (len) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
		int err;

		if (n >= 0) {
			data += n;
			len -= (size_t)n;
			continue;
		}
		err = may_send_again(fd, deadline_ns);
		if (err)
			return err;
	}
	return 0;
}

struct lines {
	int fd;
	char *buf;
	size_t len, cap, scanned;
};

/* The next line, NUL-terminated in place, its size in *len. 0 or -errno. */
static int next_line(struct lines *in, uint64_t deadline_ns, size_t *len)
{
	for (;;) {
		char *end = in->len > in->scanned ? memchr(in->buf + in->scanned, '\n', in->len - in->scanned) : NULL;
		ssize_t n;
		int ready;

		if (end) {
			*len = (size_t)(end - in->buf);
			*end = '\0';
			return 0;
		}
		in->scanned = in->len;
		if (in->len == in->cap) {
			size_t cap = in->cap ? in->cap * 2 : 16384;
			char *grown = cap > ANSWER_MAX ? NULL : realloc(in->buf, cap);

			if (!grown)
				return cap > ANSWER_MAX ? -EMSGSIZE : -ENOMEM;
			in->buf = grown;
			in->cap = cap;
		}
		ready = wait_for(in->fd, POLLIN, deadline_ns);
		if (ready <= 0)
			return ready ? ready : -ETIMEDOUT;
		n = recv(in->fd, in->buf + in->len, in->cap - in->len, 0);
		if (n == 0)
			return -ECONNRESET;
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		if (n > 0)
			in->len += (size_t)n;
	}
}

static void take_line(struct lines *in, size_t len)
{
	in->len -= len + 1;
	memmove(in->buf, in->buf + len + 1, in->len);
	in->scanned = 0;
}

static int code_number(const char *name)
{
	static const int codes[] = {EACCES,	  EAGAIN, EBADMSG,  EBUSY,	 EINVAL, EIO,	    EMSGSIZE,	ENOENT,
				    ENOMEM,	  ENOSYS, ENOTCONN, ENOTSUP, EPERM,  ESHUTDOWN, ETIMEDOUT, ECANCELED,
				    ECONNREFUSED, ENODEV, EEXIST,   EPROTO};

	for (unsigned i = 0; name && i < sizeof(codes) / sizeof(codes[0]); i++) {
		if (!strcmp(name, strerrorname_np(codes[i])))
			return -codes[i];
	}
	return -EIO;
}

static int read_answer(struct lines *in, const char *path, uint64_t deadline_ns,
		       void (*progress)(void *arg, const char *text), void *arg, json_t **result, char **error)
{
	for (;;) {
		size_t len = 0;
		int err = next_line(in, deadline_ns, &len);
		json_t *line, *ok;
		const char *text;

		if (err == -ETIMEDOUT)
			return fail(error, err, "%s: no answer in time; what was asked for may still happen", path);
		if (err == -ECONNRESET)
			return fail(error, err, "%s: the daemon closed the connection", path);
		if (err)
			return fail(error, err, "%s: %s", path, strerror(-err));
		line = json_loadb(in->buf, len, 0, NULL);
		take_line(in, len);
		ok = json_object_get(line, "ok");
		text = json_string_value(json_object_get(line, "progress"));
		if (json_is_true(ok)) {
			*result = json_incref(json_object_get(line, "result"));
			json_decref(line);
			return *result ? 0 : fail(error, -EPROTO, "%s: an answer without a result", path);
		}
		if (json_is_false(ok)) {
			const char *why = json_string_value(json_object_get(line, "error"));

			err = fail(error, code_number(json_string_value(json_object_get(line, "code"))), "%s",
				   why ? why : "refused without a reason");
			json_decref(line);
			return err;
		}
		if (!text) {
			json_decref(line);
			return fail(error, -EPROTO, "%s: what answers there is not a farbus daemon", path);
		}
		if (progress)
			progress(arg, text);
		json_decref(line);
	}
}

int fb_control_connect(const char *path, uint64_t timeout_ns, char **error)
{
	int fd = connect_to(path, timeout_ns);

	if (fd < 0)
		return fail(error, fd, "%s: %s", path,
			    fd == -ECONNREFUSED ? "no daemon listens there" : strerror(-fd));
	return fd;
}

/* The first byte, with the descriptors, which must not be sent twice. */
static int send_fds(int fd, const char *data, const int *fds, unsigned n, uint64_t deadline_ns)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FB_CONTROL_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = {(void *)(uintptr_t)data, 1};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
			   .msg_controllen = CMSG_SPACE(n * sizeof(int))};
	struct cmsghdr *h = &control.align;

	if (n > FB_CONTROL_FDS_MAX)
		return -EINVAL;
	memset(&control, 0, sizeof(control));
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(h), fds, n * sizeof(int));
	while (sendmsg(fd, &m, MSG_NOSIGNAL) < 0) {
		int err = may_send_again(fd, deadline_ns);

		if (err)
			return err;
	}
	return 0;
}

int fb_control_call(int fd, const char *path, const json_t *request, const int *fds, unsigned n_fds, uint64_t timeout_ns,
		    void (*progress)(void *arg, const char *text), void *arg, json_t **result, char **error)
{
	uint64_t now = fb_clock_ns(), deadline = timeout_ns < UINT64_MAX - now ? now + timeout_ns : UINT64_MAX;
	struct lines in = {.fd = fd};
	char *text = json_dumps(request, JSON_COMPACT);
	size_t len;
	int err = 0;

	if (!text)
		return fail(error, -EINVAL, "%s: the request is not UTF-8", path);
	len = strlen(text);
	text[len] = '\n'; /* over the NUL: it is sent by length */
	if (n_fds)
		err = send_fds(fd, text, fds, n_fds, deadline);
	if (!err)
		err = send_all(fd, text + !!n_fds, len + 1 - !!n_fds, deadline);
	free(text);
	if (err)
		err = fail(error, err, "%s: %s", path, strerror(-err));
	else
		err = read_answer(&in, path, deadline, progress, arg, result, error);
	free(in.buf);
	return err;
}

int fb_control_ask(const char *path, const json_t *request, uint64_t timeout_ns,
		   void (*progress)(void *arg, const char *text), void *arg, json_t **result, char **error)
{
	int fd = fb_control_connect(path, timeout_ns, error), err;

	if (fd < 0)
		return fd;
	err = fb_control_call(fd, path, request, NULL, 0, timeout_ns, progress, arg, result, error);
	close(fd);
	return err;
}

static int is_socket_name(const struct dirent *d)
{
	size_t n = strlen(d->d_name);

	return n > 5 && !strcmp(d->d_name + n - 5, ".sock");
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void look_in(const char *dir, char **list, unsigned *n)
{
	struct dirent **names;
	int found = scandir(dir, &names, is_socket_name, NULL);

	for (int i = 0; i < found; i++) {
		char *path = NULL;
		int fd;

		if (*n < SOCKETS_MAX && asprintf(&path, "%s/%s", dir, names[i]->d_name) > 0) {
			fd = connect_to(path, 0);
			if (fd >= 0)
				close(fd);
			if (fd == -ECONNREFUSED) /* its daemon was killed */
				unlink(path);
			if (fd >= 0 || fd == -EAGAIN || fd == -EACCES)
				list[(*n)++] = path;
			else
				free(path);
		}
		free(names[i]);
	}
	if (found >= 0)
		free(names);
}

int fb_control_find(char ***out)
{
	char dirs[FB_CONTROL_DIRS_MAX][FB_CONTROL_PATH_MAX];
	char **list = calloc(SOCKETS_MAX + 1, sizeof(*list));
	unsigned n_dirs = fb_control_dirs(dirs), n = 0;

	if (!list)
		return -ENOMEM;
	for (unsigned i = 0; i < n_dirs; i++)
		look_in(dirs[i], list, &n);
	qsort(list, n, sizeof(*list), by_name);
	*out = list;
	return 0;
}

void fb_control_free_list(char **list)
{
	for (char **p = list; p && *p; p++)
		free(*p);
	free(list);
}
