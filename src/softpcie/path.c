/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A datagram whose number is ahead of the highest one by less than half of the
 * number space is newer; the numbers in between are missing until they come. One
 * that is behind by less than the window is late, or a double if its number has
 * been seen with the same time stamp. A number that is behind with a time stamp
 * that is ahead, or behind by more than the window: the sender began anew.
 */
#include <string.h>

#include "softpcie/path.h"

enum { WINDOW = FB_SOFTPCIE_WINDOW };

static bool was_seen(const struct fb_softpcie_path *p, uint16_t sequence)
{
	return p->seen[sequence % WINDOW / 8] >> (sequence % 8) & 1;
}

static void set_seen(struct fb_softpcie_path *p, uint16_t sequence, bool seen)
{
	uint8_t bit = (uint8_t)(1u << (sequence % 8)), *byte = &p->seen[sequence % WINDOW / 8];

	*byte = seen ? *byte | bit : *byte & (uint8_t)~bit;
}

static void restart(struct fb_softpcie_path *p, const struct softpcie_header *h)
{
	/* What came before the first one is not missed. */
	memset(p->seen, 0xff, sizeof(p->seen));
	memset(p->stamps, 0, sizeof(p->stamps));
	p->started = true;
	p->highest = h->sequence;
	p->have_transit = false;
	p->stamps[h->sequence % WINDOW] = h->timestamp;
}

static void delay(struct fb_softpcie_path *p, const struct softpcie_header *h, uint64_t now_ns)
{
	uint32_t transit = softpcie_ticks(now_ns) - h->timestamp;
	int32_t d = (int32_t)(transit - p->last_transit);
	uint32_t size = d < 0 ? 0u - (uint32_t)d : (uint32_t)d;

	/* Half a wrap of the clock is 14 s: no delay, but a clock that was set. */
	if (p->have_transit && size < UINT32_C(1) << 27)
		p->jitter_16 += size - ((p->jitter_16 + 8) >> 4);
	p->have_transit = true;
	p->last_transit = transit;
	p->stats.jitter_ns = (uint64_t)p->jitter_16 * 2 / 5; /* / 16 ticks * 6.4 ns */
}

bool fb_softpcie_path_rx(struct fb_softpcie_path *p, const struct softpcie_header *h, uint64_t now_ns)
{
	uint16_t ahead = (uint16_t)(h->sequence - p->highest), behind = (uint16_t)-ahead;

	if (!h->sequence && !h->timestamp) {
		p->stats.rx_unnumbered++;
		return true;
	}
	if (!p->started) {
		restart(p, h);
	} else if (ahead && ahead < 0x8000) {
		if (ahead >= WINDOW) {
			memset(p->seen, 0, sizeof(p->seen));
		} else {
			for (uint16_t i = 1; i < ahead; i++)
				set_seen(p, (uint16_t)(p->highest + i), false);
		}
		p->stats.rx_lost += ahead - 1u;
		p->highest = h->sequence;
		set_seen(p, h->sequence, true);
		p->stamps[h->sequence % WINDOW] = h->timestamp;
	} else if (behind < WINDOW && was_seen(p, h->sequence) && p->stamps[h->sequence % WINDOW] == h->timestamp) {
		p->stats.rx_duplicates++;
		return false;
	} else if (behind >= WINDOW || (int32_t)(h->timestamp - p->stamps[p->highest % WINDOW]) > 0) {
		p->stats.rx_restarts++;
		restart(p, h);
	} else {
		p->stats.rx_reordered++;
		if (!was_seen(p, h->sequence) && p->stats.rx_lost) /* seen: from before the first one */
			p->stats.rx_lost--;
		set_seen(p, h->sequence, true);
		p->stamps[h->sequence % WINDOW] = h->timestamp;
	}
	p->stats.rx_numbered++;
	delay(p, h, now_ns);
	return true;
}
