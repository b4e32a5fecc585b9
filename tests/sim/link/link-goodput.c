/* SPDX-License-Identifier: Apache-2.0 */
/* Prints the table of docs/design/link.md. */
#include <inttypes.h>
#include <stdio.h>

#include "goodput.h"

int main(void)
{
	static const double faults[][2] = {{0, 0}, {0.001, 0}, {0.01, 0}, {0.03, 0}, {0.1, 0}, {0, 0.02}, {0.01, 0.02}};
	static const uint64_t delays[] = {25 * SIM_US, 100 * SIM_US};

	printf("| mode | datagram | round trip us | loss %% | reorder %% | Gb/s | repeated %% | time-outs |\n"
	       "|---|---|---|---|---|---|---|---|\n");
	for (unsigned mode = 0; mode < 2; mode++)
		for (unsigned big = 0; big < 2; big++)
			for (unsigned d = 0; d < 2; d++)
				for (unsigned f = 0; f < sizeof(faults) / sizeof(faults[0]); f++) {
					struct goodput_case c = {.mtu = big ? 8972 : 1472, .go_back_n = mode,
								 .loss = faults[f][0], .reorder = faults[f][1],
								 .one_way = delays[d], .window = 1 << 20};
					struct goodput g = goodput_run(&c);

					printf("| %s | %u | %u | %.1f | %.1f | %.2f | %.2f | %" PRIu64 " |\n",
					       mode ? "Go-Back-N" : "selective", c.mtu, (unsigned)(2 * c.one_way / SIM_US),
					       100 * c.loss, 100 * c.reorder, g.gbps, g.retransmits, g.timeouts);
				}
	return 0;
}
