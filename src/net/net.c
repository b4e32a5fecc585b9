/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "net/net.h"

static const struct fb_net_ops *const backends[] = {&fb_net_udp, &fb_net_loopback};

const struct fb_net_ops *fb_net_find(const char *address, const char **rest)
{
	const char *colon = strchr(address, ':');

	for (unsigned i = 0; colon && i < sizeof(backends) / sizeof(backends[0]); i++) {
		size_t n = strlen(backends[i]->name);

		if (n == (size_t)(colon - address) && !memcmp(address, backends[i]->name, n)) {
			*rest = colon + 1;
			return backends[i];
		}
	}
	return NULL;
}

const char *fb_net_names(void)
{
	return "udp, loopback";
}
