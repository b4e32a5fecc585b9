/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IEEE 1588 (7.9.4, 8.16): a clock that TIMINCA sets the speed of, a time stamp of one transmitted packet that asks for
 * it, and of one received event message at a time. Time is that of the box's monotonic clock when the packet passes the
 * model: good to a round of its loop.
 */
#include "devices/igb.h"

enum {
	ETHERTYPE_PTP = 0x88f7,
	PORT_PTP_EVENT = 319,
	TYPE_L2_V2 = 0, TYPE_L4_V1 = 1, TYPE_L2_L4_V2 = 2, TYPE_EVENT_V2 = 5, /* TSYNCRXCTL 3:1 */
	TICK_NS = 16,
};

static uint64_t now(struct igb *n)
{
	uint32_t inca = IGB_REG(n, IGB_TIMINCA);
	uint64_t period = (uint64_t)(inca >> 24) * TICK_NS;

	if (!period)
		return n->time_base;
	return n->time_base + (fb_device_now(n->dev) - n->time_set) / period * (inca & 0xffffff);
}

static void set(struct igb *n, uint64_t value)
{
	n->time_base = value;
	n->time_set = fb_device_now(n->dev);
}

bool igb_time_reg(uint32_t offset)
{
	return offset >= IGB_SYSTIML && offset <= IGB_RXSATRH;
}

uint32_t igb_time_read(struct igb *n, uint32_t offset)
{
	switch (offset) {
	case IGB_SYSTIML: /* latches the high half */
		n->time_latch = now(n);
		return (uint32_t)n->time_latch;
	case IGB_SYSTIMH:
		return (uint32_t)(n->time_latch >> 32);
	case IGB_TXSTMPL:
		return (uint32_t)n->tx_stamp;
	case IGB_TXSTMPH:
		IGB_REG(n, IGB_TSYNCTXCTL) &= ~IGB_TSYNC_VALID;
		return (uint32_t)(n->tx_stamp >> 32);
	case IGB_RXSTMPL:
		return (uint32_t)n->rx_stamp;
	case IGB_RXSTMPH:
		IGB_REG(n, IGB_TSYNCRXCTL) &= ~IGB_TSYNC_VALID;
		return (uint32_t)(n->rx_stamp >> 32);
	}
	return IGB_REG(n, offset);
}

void igb_time_write(struct igb *n, uint32_t offset, uint32_t value)
{
	uint64_t t = now(n);

	switch (offset) {
	case IGB_SYSTIML:
		set(n, (t & ~(uint64_t)UINT32_MAX) | value);
		break;
	case IGB_SYSTIMH:
		set(n, (t & UINT32_MAX) | (uint64_t)value << 32);
		break;
	case IGB_TIMINCA:
		set(n, t);
		IGB_REG(n, offset) = value;
		break;
	case IGB_TSYNCTXCTL:
	case IGB_TSYNCRXCTL:
		IGB_REG(n, offset) = (IGB_REG(n, offset) & IGB_TSYNC_VALID) | (value & 0x1e);
		break;
	}
}

void igb_time_transmitted(struct igb *n)
{
	uint32_t ctl = IGB_REG(n, IGB_TSYNCTXCTL);

	if (!(ctl & IGB_TSYNC_EN) || ctl & IGB_TSYNC_VALID)
		return;
	n->tx_stamp = now(n);
	IGB_REG(n, IGB_TSYNCTXCTL) |= IGB_TSYNC_VALID;
}

bool igb_time_received(struct igb *n, const uint8_t *frame, uint32_t len, const struct igb_headers *h)
{
	uint32_t ctl = IGB_REG(n, IGB_TSYNCRXCTL), cfg = IGB_REG(n, IGB_TSYNCRXCFG), type = ctl >> 1 & 7;
	bool l2 = h->ethertype == ETHERTYPE_PTP, l4 = h->l4 == IGB_L4_UDP && igb_be16(frame + h->l4_at + 2) == PORT_PTP_EVENT;
	const uint8_t *message = frame + (l2 ? h->l3 : h->payload);
	uint32_t left = l2 || l4 ? len - (uint32_t)(message - frame) : 0;

	if (!(ctl & IGB_TSYNC_EN) || ctl & IGB_TSYNC_VALID || left < 34)
		return false;
	switch (type) {
	case TYPE_L2_V2:
		if (!l2 || (message[0] & 15) != (cfg >> 8 & 15))
			return false;
		break;
	case TYPE_L4_V1:
		if (!l4 || message[32] != (cfg & 0xff))
			return false;
		break;
	case TYPE_L2_L4_V2:
		if ((message[0] & 15) != (cfg >> 8 & 15))
			return false;
		break;
	case TYPE_EVENT_V2:
		if ((message[0] & 15) > 3)
			return false;
		break;
	default:
		return false;
	}
	n->rx_stamp = now(n);
	IGB_REG(n, IGB_RXSATRL) = igb_le32(message + 20);
	IGB_REG(n, IGB_RXSATRH) = igb_be16(message + 30) | (uint32_t)igb_be16(message + 28) << 16;
	IGB_REG(n, IGB_TSYNCRXCTL) |= IGB_TSYNC_VALID;
	return true;
}
