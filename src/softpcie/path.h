/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the 6-byte headers of one peer tell of the way from it: datagrams lost,
 * reordered, doubled, and how much the one-way delay varies. Pure: the caller
 * brings the time. libtlp and its programs send zeros in both fields; such
 * datagrams are counted apart and say nothing.
 */
#ifndef FARBUS_SOFTPCIE_PATH_H
#define FARBUS_SOFTPCIE_PATH_H

#include "softpcie/softpcie_wire.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { FB_SOFTPCIE_WINDOW = 1024 /* sequence numbers that are remembered */ };

struct fb_softpcie_path_stats {
	uint64_t rx_numbered, rx_unnumbered;
	uint64_t rx_lost;      /* numbers that never came; one that comes late is taken off again */
	uint64_t rx_reordered; /* came after a later one */
	uint64_t rx_duplicates;
	uint64_t rx_restarts;  /* the counter jumped: the peer began anew */
	uint64_t jitter_ns;    /* interarrival jitter as in RFC 3550, 6.4.1 */
};

struct fb_softpcie_path {
	bool started;
	uint16_t highest;
	uint32_t last_transit; /* arrival - time stamp, ticks */
	bool have_transit;
	uint32_t jitter_16;    /* ticks * 16 */
	uint32_t stamps[FB_SOFTPCIE_WINDOW]; /* by sequence */
	uint8_t seen[FB_SOFTPCIE_WINDOW / 8];
	struct fb_softpcie_path_stats stats;
};

/* False: it is a second copy of a datagram that came already, to be dropped. */
bool fb_softpcie_path_rx(struct fb_softpcie_path *path, const struct softpcie_header *header, uint64_t now_ns);

#ifdef __cplusplus
}
#endif
#endif
