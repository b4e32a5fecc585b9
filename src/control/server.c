/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "control/control.h"
#include "control/session.h"
#include "util/listener.h"
#include "util/log.h"
#include "util/loop.h"

#define container(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

struct client {
	struct fb_control *control;
	struct client *next;
	struct fb_fd watch;
	struct fb_timer drain; /* armed while something waits to be read */
	struct fb_flush flush;
	uint64_t active_ns;    /* when it last said something */
	bool eof;              /* it will say no more, but may still read */
	struct fb_control_call session;
};

struct fb_control {
	struct fb_loop *loop;
	struct fb_control_config config;
	struct fb_listener listener;
	struct client *clients;
	unsigned n_clients;
	struct sockaddr_un addr;
	dev_t dev; /* of the socket's file: what is at the path later may be another's */
	ino_t ino;
	struct fb_log_limit limit;
};

static void drop(struct client *c)
{
	struct client **link = &c->control->clients;

	while (*link != c)
		link = &(*link)->next;
	*link = c->next;
	c->control->n_clients--;
	fb_timer_cancel(&c->drain);
	fb_flush_cancel(&c->flush);
	fb_fd_del(&c->watch);
	close(c->watch.fd);
	fb_control_session_fini(&c->session);
	free(c);
}

static void warn_limited(struct fb_control *control, const char *what)
{
	fb_warn_limited(&control->limit, fb_loop_now(control->loop), "control", "%s", what);
}

/* Sends what the socket takes and arms for what is next. May free the client. */
static void move_out(struct client *c)
{
	struct fb_loop *loop = c->control->loop;
	const char *data;
	size_t len;
	uint32_t events = 0;
	bool moved = false;

	while ((len = fb_control_session_out(&c->session, &data))) {
		ssize_t n = send(c->watch.fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			drop(c);
			return;
		}
		if (n <= 0)
			break;
		fb_control_session_sent(&c->session, (size_t)n);
		moved = true;
	}
	if (!len && (c->session.over || (c->eof && !c->session.busy))) {
		drop(c);
		return;
	}
	if (!len)
		fb_timer_cancel(&c->drain);
	else if (moved || !c->drain.heap_index)
		fb_timer_set(loop, &c->drain, fb_loop_now(loop) + FB_CONTROL_DRAIN_S * 1000000000ull);
	if (len)
		events |= EPOLLOUT;
	if (!c->eof && fb_control_session_room(&c->session))
		events |= EPOLLIN;
	if (c->watch.events != events)
		fb_fd_modify(&c->watch, events);
}

/* As recv(), and takes the descriptors that come along. */
static ssize_t receive(struct client *c, void *buf, size_t len)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FB_CONTROL_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = {buf, len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
			   .msg_controllen = sizeof(control.bytes)};
	ssize_t n = recvmsg(c->watch.fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0)
		return n;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
		int fds[FB_CONTROL_FDS_MAX];
		size_t bytes = h->cmsg_len - CMSG_LEN(0);

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS || bytes > sizeof(fds))
			continue;
		memcpy(fds, CMSG_DATA(h), bytes);
		fb_control_session_rx_fds(&c->session, fds, (unsigned)(bytes / sizeof(int)));
	}
	return n;
}

static void client_ready(struct fb_fd *w, uint32_t events)
{
	struct client *c = container(w, struct client, watch);
	char buf[4096];
	size_t room = fb_control_session_room(&c->session);
	ssize_t n = 0;

	if (events & (EPOLLERR | EPOLLHUP)) {
		drop(c);
		return;
	}
	if ((events & EPOLLIN) && room) {
		n = receive(c, buf, room < sizeof(buf) ? room : sizeof(buf));
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			drop(c);
			return;
		}
		if (n == 0) {
			c->eof = true;
			fb_control_session_eof(&c->session);
		}
		if (n > 0) {
			c->active_ns = fb_loop_now(c->control->loop);
			fb_control_session_rx(&c->session, buf, (size_t)n);
		}
	}
	move_out(c);
}

static void client_flush(struct fb_flush *f)
{
	move_out(container(f, struct client, flush));
}

static void client_too_slow(struct fb_timer *t)
{
	struct client *c = container(t, struct client, drain);

	warn_limited(c->control, "a client that did not read its answer for 10 s is dropped");
	drop(c);
}

/* Called from verbs and their late answers: nothing may be freed here, so it only schedules. */
static void client_wake(struct fb_control_call *session)
{
	struct client *c = container(session, struct client, session);

	fb_flush_schedule(c->control->loop, &c->flush);
}

static bool drop_idlest(struct fb_control *control)
{
	struct client *idlest = NULL;

	for (struct client *c = control->clients; c; c = c->next) {
		if (!c->session.busy && (!idlest || c->active_ns < idlest->active_ns))
			idlest = c;
	}
	if (!idlest)
		return false;
	warn_limited(control, "too many clients: the one that is idle for longest is dropped");
	drop(idlest);
	return true;
}

static void new_client(struct fb_control *control, int fd)
{
	struct client *c;

	if (control->n_clients == FB_CONTROL_CLIENTS_MAX && !drop_idlest(control)) {
		warn_limited(control, "too many clients, all of them waiting for an answer: a new one is refused");
		close(fd);
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		close(fd);
		return;
	}
	c->control = control;
	c->watch.ready = client_ready;
	c->drain.due = client_too_slow;
	c->flush.flush = client_flush;
	c->active_ns = fb_loop_now(control->loop);
	fb_control_session_init(&c->session, control->config.verbs, control->config.arg);
	c->session.wake = client_wake;
	if (fb_fd_add(control->loop, &c->watch, fd, EPOLLIN) < 0) {
		close(fd);
		free(c);
		return;
	}
	c->next = control->clients;
	control->clients = c;
	control->n_clients++;
}

static void accepted(struct fb_listener *l, int fd)
{
	new_client(container(l, struct fb_control, listener), fd);
}

static void accept_failed(struct fb_listener *l, int err)
{
	warn_limited(container(l, struct fb_control, listener), strerror(err));
}

unsigned fb_control_dirs(char dirs[FB_CONTROL_DIRS_MAX][FB_CONTROL_PATH_MAX])
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	unsigned n = 0;

	if (access("/run/farbus", W_OK) == 0 || access("/run", W_OK) == 0)
		snprintf(dirs[n++], FB_CONTROL_PATH_MAX, "/run/farbus");
	if (runtime && *runtime == '/' && strlen(runtime) + sizeof("/farbus") <= FB_CONTROL_PATH_MAX)
		snprintf(dirs[n++], FB_CONTROL_PATH_MAX, "%.99s/farbus", runtime);
	return n;
}

static int choose_path(struct fb_control *control)
{
	char dirs[FB_CONTROL_DIRS_MAX][FB_CONTROL_PATH_MAX];
	const struct fb_control_config *config = &control->config;
	int n;

	if (config->path) {
		if (strlen(config->path) >= sizeof(control->addr.sun_path)) {
			fb_error("control", "%s: longer than the %zu bytes that a socket's path may have", config->path,
				 sizeof(control->addr.sun_path) - 1);
			return -ENAMETOOLONG;
		}
		strcpy(control->addr.sun_path, config->path);
		return 0;
	}
	if (!fb_control_dirs(dirs)) {
		fb_error("control", "no place for the control socket: /run is not writable and XDG_RUNTIME_DIR is not "
				    "set; give --control PATH");
		return -EACCES;
	}
	if (mkdir(dirs[0], 0755) < 0 && errno != EEXIST) {
		int err = -errno;

		fb_error("control", "%s: %s", dirs[0], strerror(-err));
		return err;
	}
	n = snprintf(control->addr.sun_path, sizeof(control->addr.sun_path), "%s/%s-%ld.sock", dirs[0], config->role,
		     (long)getpid());
	if (n >= (int)sizeof(control->addr.sun_path)) {
		fb_error("control", "%s: too long for a socket's path; give --control PATH", dirs[0]);
		return -ENAMETOOLONG;
	}
	return 0;
}

/* Is anybody behind the socket at our path? 1: yes (logged), 0: nobody, the file is gone now; -errno (logged). */
static int clear_stale(struct fb_control *control)
{
	const char *path = control->addr.sun_path;
	struct ucred peer = {0};
	socklen_t len = sizeof(peer);
	struct stat st;
	int fd, err;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode)) {
		fb_error("control", "%s: exists and is not a socket", path);
		return -EEXIST;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	err = connect(fd, (struct sockaddr *)&control->addr, sizeof(control->addr)) < 0 ? -errno : 0;
	if (err == 0 || err == -EAGAIN) {
		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && peer.pid)
			fb_error("control", "%s: in use by process %ld", path, (long)peer.pid);
		else
			fb_error("control", "%s: in use by another process", path);
		close(fd);
		return 1;
	}
	close(fd);
	if (err != -ECONNREFUSED && err != -ENOENT) {
		fb_error("control", "%s: %s", path, strerror(-err));
		return err;
	}
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

/* Its directory, locked: two daemons that start at once must not take each other's socket for a stale one. */
static int lock_directory(const char *path)
{
	const struct timespec pause = {0, 10 * 1000 * 1000};
	char dir[FB_CONTROL_PATH_MAX];
	char *slash;
	int fd;

	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (slash == dir)
		slash[1] = '\0';
	else if (slash)
		*slash = '\0';
	else
		strcpy(dir, ".");
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* Anybody who may read the directory can hold this lock, so it is a courtesy with a bound: 0.5 s. */
	for (unsigned i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0 && i < 50; i++)
		nanosleep(&pause, NULL);
	return fd;
}

static int listen_at(struct fb_control *control, int fd)
{
	const char *path = control->addr.sun_path;
	int lock, err;
	struct stat st;

	lock = lock_directory(path);
	if (lock < 0) {
		fb_error("control", "%s: %s", path, strerror(-lock));
		return lock;
	}
	err = clear_stale(control);
	if (err) {
		close(lock);
		return err > 0 ? -EADDRINUSE : err;
	}
	/* The mode of the descriptor is what bind() gives the file: no moment in which it is open to others. */
	if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&control->addr, sizeof(control->addr)) < 0 ||
	    listen(fd, FB_CONTROL_CLIENTS_MAX) < 0 || lstat(path, &st) < 0) {
		err = -errno;
		fb_error("control", "%s: %s", path, strerror(-err));
	} else {
		control->dev = st.st_dev;
		control->ino = st.st_ino;
	}
	close(lock);
	return err;
}

int fb_control_open(struct fb_control **out, struct fb_loop *loop, const struct fb_control_config *config)
{
	struct fb_control *control = calloc(1, sizeof(*control));
	int fd = -1, err;

	if (!control)
		return -ENOMEM;
	control->loop = loop;
	control->config = *config;
	control->addr.sun_family = AF_UNIX;
	control->listener.client = accepted;
	control->listener.failed = accept_failed;
	err = choose_path(control);
	if (err)
		goto free_control;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		err = -errno;
		fb_error("control", "socket: %s", strerror(-err));
		goto free_control;
	}
	err = listen_at(control, fd);
	if (err)
		goto close_fd;
	err = fb_listener_open(&control->listener, loop, fd);
	if (err)
		goto remove_file;
	*out = control;
	return 0;

remove_file:
	unlink(control->addr.sun_path);
close_fd:
	close(fd);
free_control:
	free(control);
	return err;
}

void fb_control_close(struct fb_control *control)
{
	struct stat st;

	if (!control)
		return;
	while (control->clients)
		drop(control->clients);
	fb_listener_close(&control->listener);
	if (lstat(control->addr.sun_path, &st) == 0 && st.st_dev == control->dev && st.st_ino == control->ino)
		unlink(control->addr.sun_path);
	free(control);
}

const char *fb_control_path(const struct fb_control *control)
{
	return control->addr.sun_path;
}
