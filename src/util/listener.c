/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "util/listener.h"

#define CONTAINER(ptr, member) ((struct fb_listener *)(void *)((char *)(ptr)-offsetof(struct fb_listener, member)))

static void update(struct fb_listener *l)
{
	fb_fd_modify(&l->watch, l->paused || l->rest.heap_index ? 0 : EPOLLIN);
}

static void rested(struct fb_timer *t)
{
	update(CONTAINER(t, rest));
}

static void ready(struct fb_fd *w, uint32_t events)
{
	struct fb_listener *l = CONTAINER(w, watch);
	int fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), err = errno;

	if (fd >= 0) {
		l->client(l, fd);
		return;
	}
	if (err == EAGAIN || err == EINTR || err == ECONNABORTED)
		return;
	/* Without memory for the timer it spins, which is no worse than never listening again. */
	if (fb_timer_set(w->loop, &l->rest, fb_loop_now(w->loop) + FB_LISTENER_REST_NS) == 0)
		update(l);
	l->failed(l, err);
}

int fb_listener_open(struct fb_listener *l, struct fb_loop *loop, int fd)
{
	l->watch.ready = ready;
	l->rest.due = rested;
	l->paused = false;
	return fb_fd_add(loop, &l->watch, fd, EPOLLIN);
}

void fb_listener_pause(struct fb_listener *l, bool pause)
{
	if (!fb_listener_is_open(l))
		return;
	l->paused = pause;
	update(l);
}

void fb_listener_close(struct fb_listener *l)
{
	int fd = l->watch.fd;

	if (!fb_listener_is_open(l))
		return;
	fb_timer_cancel(&l->rest);
	fb_fd_del(&l->watch);
	close(fd);
}

bool fb_socket_is_alive(const char *path)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd, err;

	if (strlen(path) >= sizeof(sun.sun_path))
		return true;
	strcpy(sun.sun_path, path);
	/* A datagram socket does not connect to a stream socket (EPROTOTYPE), and where there is none it is refused. */
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return true;
	err = connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 ? errno : 0;
	close(fd);
	return err != ECONNREFUSED && err != ENOENT;
}
