/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which frames are received (7.1.2), and by which queue (7.1.1).
 */
#include <string.h>

#include "devices/igb.h"

enum { PAUSE_ETHERTYPE = 0x8808 };

/* 12 bits of the address, which RCTL.MO chooses, are the index of a bit in MTA or UTA (8.10.16). */
static bool hash_hit(const struct igb *n, uint32_t table, const uint8_t *address)
{
	static const uint8_t shift[] = {4, 3, 2, 0};
	unsigned bits = (unsigned)(address[5] << 8 | address[4]) >> shift[IGB_REG(n, IGB_RCTL) >> 12 & 3] & 0xfff;

	return IGB_REG(n, table + (bits >> 5) * 4) >> (bits & 31) & 1;
}

static bool exact_hit(const struct igb *n, const uint8_t *address)
{
	uint32_t low = igb_le32(address), high = (uint32_t)address[4] | (uint32_t)address[5] << 8;

	for (unsigned i = 0; i < IGB_RAR; i++) {
		uint32_t at = i < 16 ? IGB_RA + i * 8 : IGB_RA2 + (i - 16) * 8, rah = IGB_REG(n, at + 4);

		if (rah & IGB_RAH_AV && IGB_REG(n, at) == low && (rah & 0xffff) == high)
			return true;
	}
	return false;
}

static bool address_passes(struct igb *n, const uint8_t *frame, struct igb_filtered *f)
{
	static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	uint32_t rctl = IGB_REG(n, IGB_RCTL);

	if (memcmp(frame, broadcast, 6) == 0) {
		f->broadcast = true;
		return rctl & (IGB_RCTL_BAM | IGB_RCTL_MPE);
	}
	f->multicast = frame[0] & 1;
	if (exact_hit(n, frame))
		return true;
	f->pif = true;
	if (f->multicast)
		return rctl & IGB_RCTL_MPE || hash_hit(n, IGB_MTA, frame);
	return rctl & IGB_RCTL_UPE || hash_hit(n, IGB_UTA, frame);
}

static bool vlan_passes(const struct igb *n, const uint8_t *frame)
{
	uint32_t rctl = IGB_REG(n, IGB_RCTL);
	uint16_t tag = igb_be16(frame + 14);

	if (!(rctl & IGB_RCTL_VFE) || igb_be16(frame + 12) != (IGB_REG(n, IGB_VET) & 0xffff))
		return true;
	if (rctl & IGB_RCTL_CFIEN && (bool)(tag & 0x1000) != (bool)(rctl & IGB_RCTL_CFI))
		return false;
	return IGB_REG(n, IGB_VFTA + (tag >> 5 & 0x7f) * 4) >> (tag & 31) & 1;
}

static uint8_t choose_queue(struct igb *n, const uint8_t *frame, const struct igb_headers *h, struct igb_filtered *f)
{
	uint32_t mrqc = IGB_REG(n, IGB_MRQC);
	bool rss = (mrqc & IGB_MRQC_ENABLE) == IGB_MRQC_RSS;
	uint8_t key[IGB_RSS_KEY];

	if (rss) {
		for (unsigned i = 0; i < IGB_RSS_KEY / 4; i++)
			igb_put_le32(key + i * 4, IGB_REG(n, IGB_RSSRK + i * 4));
		f->rss_type = igb_rss(key, mrqc, frame, h, &f->rss);
	}
	for (unsigned i = 0; i < 8; i++) {
		uint32_t etqf = IGB_REG(n, IGB_ETQF + i * 4);

		if (etqf & IGB_ETQF_ENABLE && etqf & IGB_ETQF_QUEUE_ENABLE && (etqf & 0xffff) == h->ethertype)
			return (uint8_t)IGB_ETQF_QUEUE(etqf);
	}
	if (rss && f->rss_type != IGB_RSS_NONE)
		return IGB_REG(n, IGB_RETA + (f->rss & 0x7c)) >> 8 * (f->rss & 3) & 15;
	return rss ? 0 : (uint8_t)IGB_MRQC_DEFQ(mrqc);
}

bool igb_filter(struct igb *n, const uint8_t *frame, uint32_t len, const struct igb_headers *h, struct igb_filtered *f)
{
	*f = (struct igb_filtered){0};
	if (len < 18 || !address_passes(n, frame, f) || (h->vlan && !vlan_passes(n, frame)))
		return false;
	if (h->ethertype == PAUSE_ETHERTYPE && !(IGB_REG(n, IGB_RCTL) & IGB_RCTL_PMCF))
		return false;
	f->queue = choose_queue(n, frame, h, f);
	return true;
}
