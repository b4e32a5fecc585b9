/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "capture/impl.h"

int fb_tap_new(struct fb_tap **out, struct fb_loop *loop)
{
	struct fb_tap *tap = calloc(1, sizeof(*tap));

	if (!tap)
		return -ENOMEM;
	tap->loop = loop;
	*out = tap;
	return 0;
}

void fb_tap_free(struct fb_tap *tap)
{
	if (!tap)
		return;
	/* All of them first, so that they end at the same time. */
	for (unsigned i = 0; i < FB_TAP_CAPTURES_MAX; i++) {
		if (tap->captures[i])
			fb_capture_stop(tap->captures[i]);
	}
	for (unsigned i = 0; i < FB_TAP_CAPTURES_MAX; i++) {
		if (tap->captures[i])
			fb_capture_finish(tap->captures[i]);
	}
	free(tap);
}

const struct fb_tap_stats *fb_tap_stats(struct fb_tap *tap)
{
	tap->stats.running = tap->n_on;
	return &tap->stats;
}

void fb_tap_take(struct fb_tap *tap, const struct fb_tap_source *source, bool sent, const struct pcie_tlp *tlp,
		 enum pcie_tlp_error error, const void *head, size_t head_len, const void *data, size_t data_len)
{
	struct fb_pcapng_tlp packet = {.source = source, .sent = sent, .error = error, .head = head, .head_len = head_len,
				       .data = data, .data_len = data_len};
	uint64_t now = 0;

	/* A link hands out nothing longer, but a port of another kind may. */
	if (head_len + data_len > PCIE_TLP_MAX_SIZE) {
		packet.data_len = head_len < PCIE_TLP_MAX_SIZE ? PCIE_TLP_MAX_SIZE - head_len : 0;
		packet.head_len = head_len < PCIE_TLP_MAX_SIZE ? head_len : PCIE_TLP_MAX_SIZE;
		if (packet.data_len > data_len)
			packet.data_len = data_len;
	}
	for (unsigned i = 0; i < FB_TAP_CAPTURES_MAX; i++) {
		struct fb_capture *c = tap->captures[i];

		if (!c || !c->on || !fb_filter_takes(c->filter, source, sent, tlp, error))
			continue;
		if (!now)
			now = fb_clock_ns();
		fb_capture_put(c, &packet, now);
	}
}
