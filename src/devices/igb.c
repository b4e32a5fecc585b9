/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intel 82576 Gigabit Ethernet controller (one port, no SR-IOV): registers, reset, options. docs/devices/igb.md says
 * what is implemented.
 *
 * Theory of operation
 *
 * BAR 0: registers. BAR 1: flash, blank. BAR 2: registers through IOADDR and IODATA. BAR 3: MSI-X.
 *
 * Registers with a life of their own are in read32() and write32(), in their parts' functions; what is only stored is in
 * the table `stored` with the bits that can be written; everything else reads as 0 and takes nothing.
 *
 * A register write changes state and asks for a run at the end of the round (igb_kick). The run does transmit, receive,
 * the writing back of descriptors and interrupts, in that order: so all that one round brought is one batch.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "devices/igb.h"

enum {
	FLASH_SIZE = 0x20000,
	IO_SIZE = 32,
	MSIX_BAR = 3,
	MSIX_BAR_SIZE = 0x4000,
	IO_ADDR = 0,
	IO_DATA = 4,
	CTRL_DEFAULT = IGB_CTRL_FD | 0x40 | 0x100000, /* SLU, ADVD3WUC */
	VET_DEFAULT = 0x81008100,
	/*
	 * A completion timeout is set already: else Linux makes it 16 ms, which a busy network or machine outlasts. The
	 * runtime's own holds (option completion-timeout).
	 */
	GCR_DEFAULT = 0xf000,
};
#define RETRY_NS 1000000u        /* when the runtime has no room */
#define RETRY_SLOW_NS 100000000u /* when bus mastering is off: a reset usually follows */

/* ---- The run at the end of a round ------------------------------------------------------- */

void igb_kick(struct igb *n)
{
	if (n->scheduled)
		return;
	n->scheduled = true;
	fb_device_batch_schedule(n->dev, &n->batch);
}

static void run(struct fb_device *dev, struct fb_device_batch *batch)
{
	struct igb *n = fb_device_state(dev);

	n->scheduled = false;
	if (n->tx_wanted)
		igb_tx_run(n);
	if (n->rx_wanted)
		igb_rx_run(n);
	igb_rx_flush(n);
	igb_irq_flush(n);
	if (n->closing && n->idle_wanted && n->dma == 0) {
		n->idle_wanted = false;
		fb_device_idle(dev);
	}
}

void igb_retry(struct igb *n, int err)
{
	n->dma_errors++;
	fb_device_timer_set(n->dev, &n->retry_timer,
			    fb_device_now(n->dev) + (err == -ENOMEM || err == -EAGAIN ? RETRY_NS : RETRY_SLOW_NS));
}

static void retry_due(struct fb_device *dev, struct fb_device_timer *timer)
{
	struct igb *n = fb_device_state(dev);

	igb_rx_kick(n);
	igb_tx_kick(n);
}

static void irq_due(struct fb_device *dev, struct fb_device_timer *timer)
{
	igb_irq_flush(fb_device_state(dev));
}

static void patience_over(struct fb_device *dev, struct fb_device_timer *timer)
{
	igb_irq_patience_over(fb_device_state(dev));
}

static void negotiated(struct fb_device *dev, struct fb_device_timer *timer)
{
	igb_phy_negotiated(fb_device_state(dev));
}

/* ---- Registers that are only stored ---------------------------------------------------------- */

/* From `first` on, `count` registers, with the bits that can be written. */
static const struct stored {
	uint32_t first, count, mask, reset;
} stored[] = {
	{IGB_CTRL_EXT, 1, 0xfffffffb, 0x00000000},
	{IGB_SERDESCTL, 1, 0x0000ffff, 0},
	{IGB_FCAL, 1, 0xffffffff, 0x00c28001},
	{IGB_FCAH, 1, 0x0000ffff, 0x00000100},
	{IGB_FCT, 1, 0x0000ffff, 0x00008808},
	{IGB_CONNSW, 1, 0x0000000f, 0},
	{IGB_VET, 1, 0xffffffff, VET_DEFAULT},
	{IGB_RCTL, 1, 0x04dfb0fe, 0},
	{IGB_FCTTV, 1, 0x0000ffff, 0},
	{0x0178, 1, 0xc000ffff, 0},                 /* TXCW */
	{IGB_TCTL, 1, 0x03ffffff, 0x3003f008 & 0x03ffffff},
	{IGB_TCTL_EXT, 1, 0x000ffc00, 0x00010000},
	{IGB_TIPG, 1, 0x3fffffff, 0x00601008},
	{0x0458, 1, 0xffff, 0},                     /* AIT */
	{0x0800, 128, 0xffffffff, 0},               /* mailboxes' memory: no virtual function answers */
	{0x0c00, 8, 0x0000001f, 0},
	{0x0c84, 1, 0xffffffff, 0},
	{0x0c8c, 2, 0x000000ff, 0},
	{IGB_LEDCTL, 1, 0xffffffff, 0x00068302},
	{IGB_PBA, 1, 0xffffffff, 0x00400010},
	{IGB_PBS, 1, 0xffffffff, 0},
	{IGB_EITR, IGB_VECTORS, IGB_EITR_INTERVAL | 0x8000, 0},
	{IGB_IVAR, 8, 0x9f9f9f9f, 0},
	{IGB_IVAR_MISC, 1, 0x00009f9f, 0},
	{IGB_FCRTL0, 1, 0x8000fff0, 0},
	{IGB_FCRTH0, 1, 0x0000fff0, 0},
	{IGB_RXPBS, 1, 0x0000007f, 0x40},
	{0x2408, 1, 0x0000ffff, 0},                 /* QDE */
	{IGB_FCRTV, 1, 0x0000ffff, 0},
	{0x2508, 1, 0xffffffff, 0},                 /* DMACR */
	{0x2514, 1, 0xfff, 0},
	{IGB_TXPBS, 1, 0x0000003f, 0x28},
	{0x3500, 1, 0xffffffff, 0},                 /* DTXSWC */
	{0x3550, 1, 0xffffffff, 0},
	{IGB_DTXCTL, 1, 0x000000ff, 0x04},
	{0x3700, 8, 0xffffffff, 0},                 /* VMVIR */
	{0x4200, 12, 0xffffffff, 0},                /* PCS */
	{IGB_RXCSUM, 1, 0x00003fff, 0x00000300},
	{IGB_RLPML, 1, 0x00003fff, 0x2600},
	{IGB_RFCTL, 1, 0x0007ffff, 0},
	{IGB_MTA, 128, 0xffffffff, 0},
	{IGB_RA, 32, 0xffffffff, 0},                /* odd ones are high halves: see write32() */
	{IGB_PSRTYPE, 8, 0xffffffff, 0},
	{IGB_RA2, 16, 0xffffffff, 0},
	{0x55b0, 1, 0xffffffff, 0},                 /* VLAPQF */
	{0x55fc, 1, 0xffffffff, 0},                 /* SYNQF */
	{IGB_VFTA, 128, 0xffffffff, 0},
	{IGB_WUC, 1, 0x0000000f, 0},
	{IGB_WUFC, 1, 0x000fffff, 0},
	{IGB_MRQC, 1, 0xffff00ff, 0},
	{0x581c, 1, 0xffffffff, 0},                 /* VT_CTL */
	{IGB_MANC, 1, 0xffffffff & ~0x00040000u, 0},
	{0x5838, 1, 0xffffffff, 0},                 /* IPAV */
	{0x5840, 16, 0xffffffff, 0},                /* IP4AT */
	{0x5880, 4, 0xffffffff, 0},                 /* IP6AT */
	{0x5900, 1, 0xfff, 0},                      /* WUPL */
	{0x5980, 32, 0xffffffff, 0},                /* SAQF, DAQF, SPQF, FTQF */
	{0x5a80, 17, 0xffffffff, 0},                /* IMIR, IMIREXT, IMIRVP */
	{0x5acc, 9, 0xffffffff, 0},                 /* TXSWC, VMOLR */
	{0x5af0, 1, 0xffffffff, 0},                 /* RPLOLR */
	{IGB_GCR, 1, 0x0001f000, GCR_DEFAULT},
	{IGB_FACTPS, 1, 0, 0},
	{IGB_FWSM, 1, 0, 0},
	{0x5b74, 1, 0x0000001f, 0},                 /* DCA_CTRL */
	{0x5bbc, 1, 0xffffffff, 0},                 /* IOVCTL */
	{IGB_RETA, 32, 0xffffffff, 0},
	{IGB_RSSRK, 10, 0xffffffff, 0},
	{IGB_ETQF, 8, 0xffffffff, 0},
	{0x5d00, 32, 0xffffffff, 0},                /* VLVF */
	{0x5f00, 8, 0xffffffff, 0},                 /* FFLT */
	{IGB_TSYNCRXCFG, 1, 0xffffffff, 0},
	{0x9000, 256, 0xffffffff, 0},               /* FFMT */
	{0x9800, 256, 0xffffffff, 0},               /* FFVT */
	{IGB_UTA, 128, 0xffffffff, 0},
	{IGB_SYSTIML, 40, 0, 0},
};

static const struct stored *find_stored(uint32_t offset)
{
	size_t low = 0, high = sizeof(stored) / sizeof(stored[0]);

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (offset < stored[middle].first)
			high = middle;
		else if (offset >= stored[middle].first + stored[middle].count * 4)
			low = middle + 1;
		else
			return &stored[middle];
	}
	return NULL;
}

/* ---- Queues' registers have two places -------------------------------------------------------- */

static struct igb_rx_queue *rx_queue_at(struct igb *n, uint32_t offset, uint32_t *reg)
{
	if (offset >= 0x2800 && offset < 0x2c00) {
		*reg = offset & 0xff;
		return &n->rx[offset >> 8 & 3];
	}
	if (offset >= 0xc000 && offset < 0xc000 + IGB_QUEUES * 0x40) {
		*reg = offset & 0x3f;
		return &n->rx[offset >> 6 & 15];
	}
	return NULL;
}

static struct igb_tx_queue *tx_queue_at(struct igb *n, uint32_t offset, uint32_t *reg)
{
	if (offset >= 0x3800 && offset < 0x3c00) {
		*reg = offset & 0xff;
		return &n->tx[offset >> 8 & 3];
	}
	if (offset >= 0xe000 && offset < 0xe000 + IGB_QUEUES * 0x40) {
		*reg = offset & 0x3f;
		return &n->tx[offset >> 6 & 15];
	}
	return NULL;
}

static bool is_irq_reg(uint32_t offset)
{
	return (offset >= IGB_ICR && offset <= IGB_IAM) || (offset >= IGB_ICR_2 && offset <= IGB_EIAM) || offset == IGB_EICR;
}

/* ---- Reading ------------------------------------------------------------------------------------- */

static uint32_t status(const struct igb *n)
{
	bool master = !(IGB_REG(n, IGB_CTRL) & IGB_CTRL_GIO_MASTER_DISABLE) || n->dma;

	return IGB_STATUS_FD | IGB_STATUS_SPEED_1000 | (n->link ? IGB_STATUS_LU : 0) |
	       (IGB_REG(n, IGB_STATUS) & IGB_STATUS_PHYRA) | (master ? IGB_STATUS_GIO_MASTER_ENABLE : 0);
}

static uint32_t read32(struct igb *n, uint32_t offset)
{
	struct igb_rx_queue *rx;
	struct igb_tx_queue *tx;
	uint32_t reg, value;

	if (is_irq_reg(offset))
		return igb_irq_read(n, offset);
	if ((rx = rx_queue_at(n, offset, &reg)))
		return igb_rx_queue_read(rx, reg);
	if ((tx = tx_queue_at(n, offset, &reg)))
		return igb_tx_queue_read(tx, reg);
	if (offset >= IGB_STATS && offset < IGB_STATS_END)
		return igb_stat_read(n, offset);
	if (igb_time_reg(offset))
		return igb_time_read(n, offset);
	switch (offset) {
	case IGB_CTRL:
	case IGB_CTRL + 4: /* a shadow of it */
		return IGB_REG(n, IGB_CTRL);
	case IGB_STATUS:
		return status(n);
	case IGB_EEC:
		return IGB_EEC_PRES | IGB_EEC_AUTO_RD | IGB_EEC_ADDR_BITS | IGB_EEC_SIZE_1K_WORDS |
		       (IGB_REG(n, IGB_EEC) & IGB_EEC_REQ ? IGB_EEC_REQ | IGB_EEC_GNT : 0);
	case IGB_EERD:
	case IGB_MDIC:
	case IGB_SW_FW_SYNC:
	case IGB_WUS:
		return IGB_REG(n, offset);
	case IGB_EEMNGCTL:
		return IGB_EEMNGCTL_CFG_DONE;
	case IGB_FRTIMER:
	case IGB_TCPTIMER:
		return (uint32_t)(fb_device_now(n->dev) / 1000);
	case IGB_SWSM: /* reading takes the semaphore */
		value = IGB_REG(n, IGB_SWSM);
		IGB_REG(n, IGB_SWSM) |= IGB_SWSM_SMBI;
		return value;
	}
	return find_stored(offset) ? IGB_REG(n, offset) : 0;
}

/* ---- Writing ---------------------------------------------------------------------------------------- */

static void reset_registers(struct igb *n)
{
	const struct stored *end = stored + sizeof(stored) / sizeof(stored[0]);

	for (const struct stored *s = stored; s < end; s++) {
		for (uint32_t i = 0; i < s->count; i++)
			IGB_REG(n, s->first + i * 4) = s->reset;
	}
	IGB_REG(n, IGB_CTRL) = CTRL_DEFAULT;
	IGB_REG(n, IGB_EEC) = IGB_REG(n, IGB_EERD) = IGB_REG(n, IGB_MDIC) = 0;
	IGB_REG(n, IGB_SWSM) = IGB_REG(n, IGB_SW_FW_SYNC) = 0;
	IGB_REG(n, IGB_RA) = igb_le32(n->mac);
	IGB_REG(n, IGB_RA + 4) = (uint32_t)n->mac[4] | (uint32_t)n->mac[5] << 8 | IGB_RAH_AV;
	memset(n->stat, 0, sizeof(n->stat));
	n->time_base = n->time_set = n->tx_stamp = n->rx_stamp = 0;
	fb_device_timer_cancel(n->dev, &n->retry_timer);
	igb_irq_reset(n);
	igb_ring_reset(n);
	igb_rx_kick(n);
	igb_tx_kick(n);
}

static void write_ctrl(struct igb *n, uint32_t value)
{
	if (value & IGB_CTRL_RST) {
		n->resets++;
		reset_registers(n);
		return;
	}
	IGB_REG(n, IGB_CTRL) = value & ~(IGB_CTRL_RST | IGB_CTRL_PHY_RST);
	if (value & IGB_CTRL_PHY_RST)
		igb_phy_reset(n);
	igb_rx_kick(n);
}

static void write_stored(struct igb *n, const struct stored *s, uint32_t offset, uint32_t value)
{
	uint32_t old = IGB_REG(n, offset);

	IGB_REG(n, offset) = (old & ~s->mask) | (value & s->mask);
	if ((s->first == IGB_RA || s->first == IGB_RA2) && offset & 4)
		IGB_REG(n, offset) &= 0x9fffffff;
	switch (offset) {
	case IGB_RCTL:
		igb_rx_kick(n);
		igb_tx_kick(n); /* loopback */
		break;
	case IGB_TCTL:
		igb_tx_kick(n);
		break;
	}
	if (s->first == IGB_EITR)
		igb_kick(n);
}

static void write32(struct igb *n, uint32_t offset, uint32_t value)
{
	const struct stored *s;
	struct igb_rx_queue *rx;
	struct igb_tx_queue *tx;
	uint32_t reg;

	if ((rx = rx_queue_at(n, offset, &reg))) {
		igb_rx_queue_write(rx, reg, value);
		return;
	}
	if ((tx = tx_queue_at(n, offset, &reg))) {
		igb_tx_queue_write(tx, reg, value);
		return;
	}
	if (is_irq_reg(offset)) {
		igb_irq_write(n, offset, value);
		return;
	}
	if (igb_time_reg(offset)) {
		igb_time_write(n, offset, value);
		return;
	}
	switch (offset) {
	case IGB_CTRL:
	case IGB_CTRL + 4:
		write_ctrl(n, value);
		return;
	case IGB_STATUS:
		IGB_REG(n, IGB_STATUS) &= value | ~IGB_STATUS_PHYRA; /* cleared by writing 0 */
		return;
	case IGB_EEC:
	case IGB_SW_FW_SYNC:
		IGB_REG(n, offset) = value;
		return;
	case IGB_SWSM: /* SWESMBI is ours to take: no firmware competes */
		IGB_REG(n, offset) = value & (IGB_SWSM_SMBI | IGB_SWSM_SWESMBI);
		return;
	case IGB_EERD:
		igb_eerd_write(n, value);
		return;
	case IGB_MDIC:
		igb_mdic_write(n, value);
		return;
	case IGB_WUS:
		return; /* nothing ever wakes */
	}
	s = find_stored(offset);
	if (s)
		write_stored(n, s, offset, value);
	else
		n->unknown_writes++;
}

/* ---- BARs ---------------------------------------------------------------------------------------------- */

static uint64_t model_read(struct fb_device *dev, unsigned bar, uint64_t offset, unsigned size)
{
	struct igb *n = fb_device_state(dev);

	switch (bar) {
	case 0:
		return read32(n, (uint32_t)offset & ~3u);
	case 1:
		return UINT32_MAX; /* blank flash */
	case 2:
		if (offset == IO_ADDR)
			return n->io_addr;
		return offset == IO_DATA && n->io_addr < IGB_BAR_SIZE ? read32(n, n->io_addr & ~3u) : 0;
	}
	return 0;
}

static void model_read_outdated(struct fb_device *dev, unsigned bar, uint64_t offset)
{
	if (bar == 0)
		igb_irq_read_outdated(fb_device_state(dev), (uint32_t)offset);
}

static void model_write(struct fb_device *dev, unsigned bar, uint64_t offset, uint64_t value, unsigned size)
{
	struct igb *n = fb_device_state(dev);

	if (bar == 0)
		write32(n, (uint32_t)offset & ~3u, (uint32_t)value);
	else if (bar == 2 && offset == IO_ADDR)
		n->io_addr = (uint32_t)value;
	else if (bar == 2 && offset == IO_DATA && n->io_addr < IGB_BAR_SIZE)
		write32(n, n->io_addr & ~3u, (uint32_t)value);
}

/* ---- The model ------------------------------------------------------------------------------------------- */

static void model_reset(struct fb_device *dev, enum fb_reset kind)
{
	struct igb *n = fb_device_state(dev);

	n->io_addr = 0;
	reset_registers(n);
	igb_phy_reset(n);
	IGB_REG(n, IGB_STATUS) &= ~IGB_STATUS_PHYRA;
	igb_irq_reset(n);
}

static int model_realize(struct fb_device *dev)
{
	struct igb *n = fb_device_state(dev);
	int err;

	n->dev = dev;
	n->batch.run = run;
	n->irq_timer.due = irq_due;
	n->patience_timer.due = patience_over;
	n->retry_timer.due = retry_due;
	n->phy_timer.due = negotiated;
	if (igb_mac_parse(n, n->opt.mac, n->mac)) {
		fb_device_error(dev, "mac=%s: six bytes as in 52:54:00:12:34:56, not a multicast address and not all zero",
				n->opt.mac);
		return -EINVAL;
	}
	igb_nvm_init(n);
	if (igb_arena_init(&n->rx_arena, n) || igb_arena_init(&n->tx_arena, n)) {
		fb_device_error(dev, "no memory for packets");
		err = -ENOMEM;
		goto free_arenas;
	}
	reset_registers(n);
	err = igb_backend_open(n);
	if (err)
		goto free_arenas;
	igb_phy_reset(n);
	igb_irq_reset(n);
	fb_device_set_serial_number(dev, (uint64_t)igb_be32(n->mac) << 32 | 0xffff0000u | igb_be16(n->mac + 4));
	fb_device_info(dev, "%02x:%02x:%02x:%02x:%02x:%02x on %s=%s%s", n->mac[0], n->mac[1], n->mac[2], n->mac[3], n->mac[4],
		       n->mac[5], n->opt.tap ? "tap" : n->opt.iface ? "iface" : "fd",
		       n->opt.tap ? n->opt.tap : n->opt.iface ? n->opt.iface : n->opt.fd,
		       n->backend.vnet ? ", offloads by the host" : ", offloads in software");
	return 0;

free_arenas:
	igb_arena_fini(&n->rx_arena);
	igb_arena_fini(&n->tx_arena);
	return err;
}

static void model_unrealize(struct fb_device *dev)
{
	struct igb *n = fb_device_state(dev);

	n->scheduled = true; /* no more runs are scheduled from here */
	fb_device_timer_cancel(dev, &n->irq_timer);
	fb_device_timer_cancel(dev, &n->patience_timer);
	fb_device_timer_cancel(dev, &n->retry_timer);
	fb_device_timer_cancel(dev, &n->phy_timer);
	igb_backend_close(n);
	igb_arena_fini(&n->rx_arena);
	igb_arena_fini(&n->tx_arena);
}

/* What the network has brought may be lost; what the guest has had read is sent. */
static bool model_quiesce(struct fb_device *dev)
{
	struct igb *n = fb_device_state(dev);

	n->closing = true;
	if (n->dma == 0)
		return true;
	n->idle_wanted = true;
	return false;
}

static void model_stats(struct fb_device *dev, void (*put)(void *arg, const char *name, uint64_t value), void *arg)
{
	const struct igb *n = fb_device_state(dev);

	put(arg, "link", n->link);
	put(arg, "rx_frames", n->rx_frames);
	put(arg, "rx_bytes", n->rx_bytes);
	put(arg, "rx_filtered", n->rx_filtered);
	put(arg, "rx_dropped", n->rx_dropped);
	put(arg, "rx_segments", n->rx_cut);
	put(arg, "rx_holds", n->rx_holds);
	put(arg, "rx_batches", n->rx_batches);
	put(arg, "tx_frames", n->tx_frames);
	put(arg, "tx_bytes", n->tx_bytes);
	put(arg, "tx_segments", n->tx_cut);
	put(arg, "tx_offloaded", n->tx_offloaded);
	put(arg, "tx_errors", n->tx_errors);
	put(arg, "interrupts", n->irqs);
	put(arg, "descriptors_read", n->descs_read);
	put(arg, "descriptors_written", n->descs_written);
	put(arg, "dma_errors", n->dma_errors);
	put(arg, "buffer_waits", n->rx_arena.full + n->tx_arena.full);
	put(arg, "backend_reads", n->backend.reads);
	put(arg, "backend_writes", n->backend.writes);
	put(arg, "backend_errors", n->backend.read_errors + n->backend.write_errors + n->backend.truncated);
	put(arg, "unknown_writes", n->unknown_writes);
	put(arg, "resets", n->resets);
}

static const char *const vnet_choices[] = {"auto", "on", "off", NULL};

static const struct fb_option options[] = {
	FB_OPTION(struct igb, opt.tap, "tap", FB_OPT_STRING, .help = "tap device; made if it is not there"),
	FB_OPTION(struct igb, opt.iface, "iface", FB_OPT_STRING,
		  .help = "network interface to send and receive on, by a packet socket"),
	FB_OPTION(struct igb, opt.fd, "fd", FB_OPT_STRING,
		  .help = "open descriptor: tap or macvtap device, or a socket with a frame a message"),
	FB_OPTION(struct igb, opt.mac, "mac", FB_OPT_STRING,
		  .help = "Ethernet address; default: locally administered, made from machine and id"),
	FB_OPTION(struct igb, opt.vnet, "vnet", FB_OPT_CHOICE, .def = "auto", .choices = vnet_choices,
		  .help = "leave checksums and segmentation to the host (virtio_net_hdr); auto: where it can"),
};

static const struct fb_bar bars[] = {
	{.index = 0, .size = IGB_BAR_SIZE, .min_access = 4, .max_access = 4},
	{.index = 1, .size = FLASH_SIZE, .min_access = 4, .max_access = 4},
	{.index = 2, .is_io = true, .size = IO_SIZE, .min_access = 4, .max_access = 4},
	{.index = MSIX_BAR, .size = MSIX_BAR_SIZE, .min_access = 4, .max_access = 4},
};

const struct fb_model igb_model = {
	.api = FB_DEVICE_API,
	.size = sizeof(struct fb_model),
	.name = "igb",
	.summary = "Intel 82576 Gigabit Ethernet on a tap device or network interface",
	.identity = {.vendor_id = 0x8086, .device_id = 0x10c9, .subsystem_vendor_id = 0x8086, .subsystem_id = 0xa03c,
		     .class_code = 0x020000, .revision = 1},
	.bars = bars,
	.n_bars = sizeof(bars) / sizeof(bars[0]),
	.msi_vectors = 1,
	.msix_vectors = IGB_VECTORS,
	.msix_bar = MSIX_BAR,
	.msix_offset = 0,
	.intx = true,
	.options = options,
	.n_options = sizeof(options) / sizeof(options[0]),
	.state_size = sizeof(struct igb),
	.realize = model_realize,
	.unrealize = model_unrealize,
	.reset = model_reset,
	.read_outdated = model_read_outdated,
	.read = model_read,
	.write = model_write,
	.quiesce = model_quiesce,
	.stats = model_stats,
	.link_speed = 1, /* 2.5 GT/s */
	.link_width = 4,
};
