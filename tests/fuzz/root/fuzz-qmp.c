/* SPDX-License-Identifier: Apache-2.0 */
/* Anything at all in QEMU's place. A command is always pending, so that replies have something to match. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "root/qmp.h"
#include "util/loop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct side {
	struct fb_qmp *q;
	unsigned depth;
};

static void done(void *arg, json_t *result, const char *error_class, const char *error)
{
	struct side *s = arg;

	if (error_class && error && !result && s->depth++ < 8)
		fb_qmp_command(s->q, "again", json_pack("{s:s}", "id", "x"), done, s);
}

static void connected(void *arg, const char *version)
{
	struct side *s = arg;

	for (unsigned i = 0; i < 3; i++)
		fb_qmp_command(s->q, "query", NULL, done, s);
}

static void lost(void *arg, int err, const char *why)
{
	if (!why[0])
		abort();
}

static void event(void *arg, const char *name, json_t *data)
{
	json_t *device = json_object_get(data, "device"); /* as hotplug.c looks at it */

	if (device && json_is_string(device) && !json_string_value(device))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct fb_qmp_user user = {.connected = connected, .lost = lost, .event = event};
	struct side s = {0};
	struct fb_loop *loop;
	uint8_t sink[4096];
	int sv[2];

	if (fb_loop_new(&loop, 0) < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv) < 0)
		abort();
	if (fb_qmp_new_fd(&s.q, loop, sv[1], &user, &s) < 0)
		abort();
	while (size > 0) {
		size_t n = size > 37 ? 37 : size; /* in pieces, so that lines are cut */

		if (send(sv[0], data, n, MSG_NOSIGNAL) < 0)
			break;
		data += n;
		size -= n;
		fb_loop_once(loop, 0);
		while (recv(sv[0], sink, sizeof(sink), MSG_DONTWAIT) > 0)
			;
	}
	fb_loop_once(loop, 0);
	close(sv[0]);
	fb_loop_once(loop, 0);
	fb_qmp_free(s.q);
	fb_loop_free(loop);
	return 0;
}
