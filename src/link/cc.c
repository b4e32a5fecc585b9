/* SPDX-License-Identifier: Apache-2.0 */
#include "link/cc.h"

enum {
	ONE = 65536,
	GAIN = 256,              /* datagrams that the average looks back on */
	HEAVY = ONE * 4 / 100,
	START_DATAGRAMS = 32,
	FLOOR_DATAGRAMS = 8,
	GROWTH_DATAGRAMS = 4,    /* a round trip, above the threshold */
};

static uint32_t bounded(const struct fb_cc *cc, uint64_t window)
{
	if (window < cc->floor)
		window = cc->floor;
	return window < cc->max ? (uint32_t)window : cc->max;
}

void fb_cc_init(struct fb_cc *cc, uint32_t max, uint32_t datagram)
{
	uint64_t floor = (uint64_t)FLOOR_DATAGRAMS * datagram;

	*cc = (struct fb_cc){.max = max, .threshold = max, .datagram = datagram};
	cc->floor = floor < max ? (uint32_t)floor : max;
	cc->window = bounded(cc, (uint64_t)START_DATAGRAMS * datagram);
}

void fb_cc_acked(struct fb_cc *cc, uint32_t bytes, uint32_t datagrams)
{
	uint64_t grow = bytes;

	for (uint32_t i = 0; i < datagrams && cc->loss; i++)
		cc->loss -= (cc->loss + GAIN - 1) / GAIN;
	if (cc->window >= cc->threshold)
		grow = (uint64_t)GROWTH_DATAGRAMS * cc->datagram * bytes / cc->window + 1;
	cc->window = bounded(cc, cc->window + grow);
}

void fb_cc_lost(struct fb_cc *cc, uint32_t datagrams, uint64_t now, uint64_t srtt)
{
	for (uint32_t i = 0; i < datagrams; i++)
		cc->loss += (ONE - cc->loss) / GAIN;
	if (cc->loss < HEAVY || (cc->reduced_at && now - cc->reduced_at < srtt))
		return;
	cc->reduced_at = now;
	cc->window = bounded(cc, cc->window - cc->window / 8);
	cc->threshold = cc->window;
}

void fb_cc_timeout(struct fb_cc *cc)
{
	if (!cc->undo) {
		cc->undo = cc->window;
		cc->undo_threshold = cc->threshold;
	}
	cc->window = bounded(cc, cc->window / 2);
	cc->threshold = cc->window;
}

void fb_cc_undo(struct fb_cc *cc)
{
	if (cc->undo > cc->window)
		cc->window = cc->undo;
	if (cc->undo && cc->undo_threshold > cc->threshold)
		cc->threshold = cc->undo_threshold;
	cc->undo = 0;
}

void fb_cc_confirm(struct fb_cc *cc)
{
	cc->undo = 0;
}
