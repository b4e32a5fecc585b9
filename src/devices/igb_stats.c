/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Statistics registers (8.19): cleared by reading, the 64-bit ones by reading their high half; they stick at their
 * maximum. Octets are with CRC.
 */
#include "devices/igb.h"

enum { CRC = 4 };

static bool is_64(unsigned index)
{
	switch (index & ~1u) {
	case IGB_STAT_GORC:
	case IGB_STAT_GOTC:
	case IGB_STAT_TOR:
	case IGB_STAT_TOT:
	case IGB_STAT_HGORC:
	case IGB_STAT_HGOTC:
		return true;
	}
	return false;
}

void igb_stat_add(struct igb *n, enum igb_stat stat, uint64_t count)
{
	n->stat[stat] += count;
}

uint32_t igb_stat_read(struct igb *n, uint32_t offset)
{
	unsigned index = (offset - IGB_STATS) / 4;
	uint64_t value;

	if (index >= IGB_STAT_COUNT)
		return 0;
	if (is_64(index)) {
		value = n->stat[index & ~1u];
		if (!(index & 1))
			return (uint32_t)value;
		n->stat[index & ~1u] = 0;
		return (uint32_t)(value >> 32);
	}
	value = n->stat[index];
	n->stat[index] = 0;
	return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

/* Of six registers: 64, 65 to 127, 128 to 255, 256 to 511, 512 to 1023, more. */
static enum igb_stat size_class(enum igb_stat first, uint32_t octets)
{
	unsigned i = 0;

	while (i < 5 && octets > (i ? (UINT32_C(64) << i) - 1 : 64))
		i++;
	return (enum igb_stat)(first + i);
}

void igb_stat_rx(struct igb *n, const struct igb_filtered *f, uint32_t len)
{
	uint32_t octets = len + CRC;

	n->stat[IGB_STAT_TPR]++;
	n->stat[IGB_STAT_GPRC]++;
	n->stat[IGB_STAT_RPTHC]++;
	n->stat[IGB_STAT_TOR] += octets;
	n->stat[IGB_STAT_GORC] += octets;
	n->stat[IGB_STAT_HGORC] += octets;
	if (f->broadcast)
		n->stat[IGB_STAT_BPRC]++;
	else if (f->multicast)
		n->stat[IGB_STAT_MPRC]++;
	n->stat[size_class(IGB_STAT_PRC64, octets)]++;
}

void igb_stat_tx(struct igb *n, const uint8_t *frame, uint32_t len)
{
	uint32_t octets = len + CRC;

	n->stat[IGB_STAT_TPT]++;
	n->stat[IGB_STAT_GPTC]++;
	n->stat[IGB_STAT_HGPTC]++;
	n->stat[IGB_STAT_TOT] += octets;
	n->stat[IGB_STAT_GOTC] += octets;
	n->stat[IGB_STAT_HGOTC] += octets;
	if (frame[0] & 1) {
		bool broadcast = (frame[0] & frame[1] & frame[2] & frame[3] & frame[4] & frame[5]) == 0xff;

		n->stat[broadcast ? IGB_STAT_BPTC : IGB_STAT_MPTC]++;
	}
	n->stat[size_class(IGB_STAT_PTC64, octets)]++;
}
