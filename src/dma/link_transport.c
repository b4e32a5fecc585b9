/* SPDX-License-Identifier: Apache-2.0 */
/* To a root's --dma-listen address by our link: reliable, so nothing here repeats anything. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "dma/impl.h"
#include "port/carrier.h"

#define HOLD_NS UINT64_C(10000000000)

static int open_link(struct fb_rdma *r, const char *target)
{
	struct fb_carrier_config config = {.mtu = r->mtu, .fault = r->fault};
	const char *slash = strrchr(target, '/'), *function = slash ? slash + 1 : "*";
	char address[96];
	size_t len = slash ? (size_t)(slash - target) : strlen(target);
	struct timespec now;
	int err;

	if (len >= sizeof(address) || !*function || strlen(function) >= FB_LINK_NAME_MAX) {
		fb_rdma_say(r, "\"%s\" is not a target: %s", target, fb_rdma_link_transport.syntax);
		return -EINVAL;
	}
	memcpy(address, target, len);
	address[len] = '\0';
	fb_link_config_default(&config.link);
	config.link.connect_ns = r->connect_ns;
	config.link.hold_ns = HOLD_NS;
	config.link.group = r->group;
	config.peer = address;
	/* Of each handle its own: a second session of one node for one function would replace the first. */
	if (getrandom(config.self.node, sizeof(config.self.node), 0) != sizeof(config.self.node))
		return -EIO;
	clock_gettime(CLOCK_REALTIME, &now);
	config.self.incarnation = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	err = fb_carrier_open((struct fb_carrier **)&r->transport_data, r->loop, &config, NULL, NULL);
	if (!err) {
		err = fb_port_connect(&r->port, r->transport_data, address, function, &fb_rdma_port_user, r);
		if (err)
			fb_carrier_close(r->transport_data);
	}
	if (err == -EINVAL)
		fb_rdma_say(r, "\"%s\" is not a target: %s", target, fb_rdma_link_transport.syntax);
	else if (err)
		fb_rdma_say(r, "%s: %s", address, strerror(-err));
	return err;
}

static void close_link(struct fb_rdma *r)
{
	fb_carrier_close(r->transport_data);
}

static void link_stats(struct fb_rdma *r, struct fb_rdma_stats *stats)
{
	struct fb_port_stats s;

	fb_port_get_stats(r->port, &s);
	stats->wire_tx_bytes = s.link.tx_bytes;
	stats->wire_rx_bytes = s.link.rx_bytes;
	stats->retransmits = s.link.retransmits;
	stats->rtt_ns = s.link.srtt_ns;
	stats->datagram_max = s.link.mtu;
}

const struct fb_rdma_transport fb_rdma_link_transport = {
	.prefix = "udp:",
	.syntax = "udp:ADDRESS:PORT[/FUNCTION], a root's --dma-listen address",
	.max_payload = 4096,
	.max_read = 4096,
	.largest = 4096,
	.tags = FB_RDMA_TAGS_MAX,
	.atomics = true,
	.timeout_ns = 2000000000,
	.open = open_link,
	.close = close_link,
	.stats = link_stats,
};
