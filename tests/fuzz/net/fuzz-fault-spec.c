/* SPDX-License-Identifier: Apache-2.0 */
/* --fault takes text from users: whatever it says, it wraps or it refuses, and a wrapper that it made can send. */
#include <stdlib.h>
#include <string.h>

#include "net/net.h"
#include "util/log.h"
#include "util/loop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned null_send(struct fb_net *net, const struct fb_net_addr *to, const struct fb_dgram *v, unsigned n)
{
	return n;
}

static void null_close(struct fb_net *net)
{
}

static const struct fb_net_stats *null_stats(struct fb_net *net)
{
	static const struct fb_net_stats stats;

	return &stats;
}

static void on_rx(void *arg, const struct fb_net_addr *from, const uint8_t *data, size_t len)
{
}

static void on_nothing(void *arg)
{
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct fb_net_ops ops = {
		.name = "null", .send = null_send, .close = null_close, .stats = null_stats};
	static const struct fb_net_user user = {on_rx, on_nothing, on_nothing};
	static struct fb_loop *loop;
	struct fb_net inner = {&ops}, *net = &inner;
	char *spec = malloc(size + 1);

	if (!loop) {
		fb_log_set_level(FB_LOG_NONE);
		if (fb_loop_new(&loop, 0))
			abort();
	}
	if (!spec)
		abort();
	memcpy(spec, data, size);
	spec[size] = '\0';
	if (fb_net_fault_wrap(&net, loop, spec, &user, NULL) == 0) {
		static const uint8_t bytes[100];
		struct fb_dgram v[8];
		struct fb_net_addr to = {.len = 1};

		for (unsigned i = 0; i < 8; i++)
			v[i] = (struct fb_dgram){bytes, i * 10};
		if (net->ops->send(net, &to, v, 8) > 8)
			abort();
		fb_loop_once(loop, 0);
		if (net->ops->stats(net)->fault_dropped > 16)
			abort();
		net->ops->close(net);
	} else if (net != &inner) {
		abort();
	}
	free(spec);
	return 0;
}
