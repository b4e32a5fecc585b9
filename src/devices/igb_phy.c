/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PHY behind MDIC (8.2.4, 3.5.2): an IGP3, as the 82576 has inside, whose cable is the backend. Autonegotiation
 * always ends at 1000 Mb/s full duplex. Restarted, it takes NEGOTIATION_NS, with no link meanwhile, as on a wire: Linux
 * restarts it in every reset, and when the link is back at once its stack does not see that it was gone. TCP then held what
 * it had queued for sent, and backed off for up to a minute (docs/devices/igb.md). Also the loopbacks, of the PHY (control
 * register) and of the MAC (RCTL.LBM), for they make a link where there is none.
 */
#include "devices/igb.h"

#define NEGOTIATION_NS UINT64_C(500000000)
enum {
	ADVERTISE_DEFAULT = 0x0de1,
	PARTNER_ABILITY = 0xcde1,      /* all of 10/100, both kinds of pause, acknowledged */
	PARTNER_1000T = 0x7c00,        /* both receivers are fine, partner can 1000 full and half, we are master */
	EXPANSION = 0x000f,
	CONTROL_1000T_DEFAULT = 0x0300,
	EXTENDED_STATUS = 0x3000,      /* 1000BASE-T full and half */
	/* Registers of other pages that igb asks for: the four pairs' gain, from which it reads a cable of some metres. */
	GAIN_A = 0x11b1, GAIN_B = 0x12b1, GAIN_C = 0x14b1, GAIN_D = 0x18b1,
	GAIN = 0x18 << 9,
	PAGE = 0xffe0, /* a page's number is in the bits of the address above the register's */
};

bool igb_loopback(const struct igb *n)
{
	return n->phy[IGB_PHY_CONTROL] & IGB_PHY_CONTROL_LOOPBACK || IGB_REG(n, IGB_RCTL) & IGB_RCTL_LBM;
}

void igb_link_update(struct igb *n)
{
	bool powered = !(n->phy[IGB_PHY_CONTROL] & IGB_PHY_CONTROL_POWER_DOWN);
	bool cable = n->backend.carrier && !n->negotiating;
	bool link = powered && (cable || n->phy[IGB_PHY_CONTROL] & IGB_PHY_CONTROL_LOOPBACK);

	if (link == n->link)
		return;
	n->link = link;
	fb_device_info(n->dev, "link is %s", link ? "up, 1000 Mb/s full duplex" : "down");
	igb_irq_cause(n, IGB_ICR_LSC);
	igb_rx_kick(n);
	igb_tx_kick(n);
}

void igb_phy_negotiated(struct igb *n)
{
	n->negotiating = false;
	igb_link_update(n);
}

static void negotiate(struct igb *n)
{
	n->negotiating = true;
	fb_device_timer_set(n->dev, &n->phy_timer, fb_device_now(n->dev) + NEGOTIATION_NS);
}

static void phy_registers_reset(struct igb *n)
{
	for (unsigned i = 0; i < 32; i++)
		n->phy[i] = 0;
	n->phy_page = 0;
	n->phy[IGB_PHY_CONTROL] = IGB_PHY_CONTROL_DEFAULT;
	n->phy[IGB_PHY_ADVERTISE] = ADVERTISE_DEFAULT;
	n->phy[IGB_PHY_1000T_CONTROL] = CONTROL_1000T_DEFAULT;
}

void igb_phy_reset(struct igb *n)
{
	phy_registers_reset(n);
	n->negotiating = false;
	fb_device_timer_cancel(n->dev, &n->phy_timer);
	IGB_REG(n, IGB_STATUS) |= IGB_STATUS_PHYRA;
	igb_link_update(n);
}

static uint16_t phy_read(const struct igb *n, unsigned reg)
{
	if (n->phy_page && reg >= 16 && reg != IGB_PHY_PAGE_SELECT) {
		unsigned address = n->phy_page | reg;

		return address == GAIN_A || address == GAIN_B || address == GAIN_C || address == GAIN_D ? GAIN : 0;
	}
	switch (reg) {
	case IGB_PHY_STATUS:
		return (uint16_t)(IGB_PHY_STATUS_CAPS | (n->link ? IGB_PHY_STATUS_LINK | IGB_PHY_STATUS_AUTONEG_DONE : 0));
	case IGB_PHY_ID1:
		return IGB_PHY_ID >> 16;
	case IGB_PHY_ID2:
		return IGB_PHY_ID & 0xffff;
	case IGB_PHY_LP_ABILITY:
		return n->link ? PARTNER_ABILITY : 0;
	case IGB_PHY_EXPANSION:
		return n->link ? EXPANSION : 0;
	case IGB_PHY_1000T_STATUS:
		return n->link ? PARTNER_1000T : 0;
	case IGB_PHY_EXTENDED_STATUS:
		return EXTENDED_STATUS;
	case IGB_PHY_PORT_STATUS:
		return n->link ? IGB_PHY_PORT_1000_FULL : 0;
	case IGB_PHY_PAGE_SELECT:
		return n->phy_page;
	}
	return n->phy[reg];
}

static void phy_write(struct igb *n, unsigned reg, uint16_t value)
{
	switch (reg) {
	case IGB_PHY_CONTROL:
		if (value & IGB_PHY_CONTROL_RESET) {
			phy_registers_reset(n);
			value = IGB_PHY_CONTROL_DEFAULT;
		}
		n->phy[reg] = value & ~IGB_PHY_CONTROL_RESTART;
		if (value & IGB_PHY_CONTROL_RESTART && value & IGB_PHY_CONTROL_AUTONEG)
			negotiate(n);
		igb_link_update(n);
		igb_rx_kick(n);
		igb_tx_kick(n);
		break;
	case IGB_PHY_STATUS:
	case IGB_PHY_ID1:
	case IGB_PHY_ID2:
	case IGB_PHY_LP_ABILITY:
	case IGB_PHY_EXPANSION:
	case IGB_PHY_1000T_STATUS:
	case IGB_PHY_EXTENDED_STATUS:
	case IGB_PHY_PORT_STATUS:
		break; /* read-only */
	case IGB_PHY_PAGE_SELECT:
		n->phy_page = value & PAGE;
		break;
	default:
		if (!n->phy_page || reg < 16)
			n->phy[reg] = value;
	}
}

void igb_mdic_write(struct igb *n, uint32_t value)
{
	unsigned reg = value >> 16 & 31, address = value >> 21 & 31;
	uint32_t mdic = value & ~(IGB_MDIC_READY | IGB_MDIC_ERROR);

	if (address != IGB_PHY_ADDRESS)
		mdic |= IGB_MDIC_ERROR;
	else if (value & IGB_MDIC_OP_READ)
		mdic = (mdic & 0xffff0000) | phy_read(n, reg);
	else if (value & IGB_MDIC_OP_WRITE)
		phy_write(n, reg, (uint16_t)value);
	else
		mdic |= IGB_MDIC_ERROR;
	IGB_REG(n, IGB_MDIC) = mdic | IGB_MDIC_READY;
	if (value & IGB_MDIC_INT_EN)
		igb_irq_cause(n, IGB_ICR_MDAC);
}
