/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Behind an adapter no configuration request arrives: the host configures the
 * adapter. So the adapter is asked, every `refresh`, for its window's address,
 * its ID, its interrupt vectors and its command register, and the device is made
 * to follow:
 *
 *	up      it has an ID and a window that the host decodes: attach, as a root that came would
 *	down    the window goes away, moves, or the adapter is silent for the hold time: detach, which resets
 *	master  follows the command register's bit
 *	vectors entry n of the device's MSI-X table follows vector n of the adapter, masked while it has none; an
 *	        interrupt that came meanwhile is pending and fires then
 *
 * An adapter whose configuration space cannot be asked counts as enabled and
 * mastering. A host that resets the adapter is seen by its command register, for
 * as long as that is off: longer than `refresh` when a driver or a boot follows.
 *
 * The window is one BAR of the device. Its BARs get addresses of our choice, the
 * window's the highest, and the port moves the host's addresses there.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint/device_impl.h"
#include "endpoint/softpcie_host.h"
#include "port/softpcie_port.h"
#include "tlp/regs.h"
#include "util/reader.h"
#include "util/text.h"

#define BARS_FROM UINT64_C(0x10000000)
#define WINDOW_AT UINT64_C(0x80000000)

struct options {
	char *local;
	unsigned bar, mps, mrrs, tags, retries;
	uint64_t refresh_ns, timeout_ns;
	bool old_ports;
};

static const struct fb_text_option table[] = {
	{"local", FB_OPTION_STRING, offsetof(struct options, local), 7, 15, .help = "IPv4 address to send from"},
	{"bar", FB_OPTION_UINT, offsetof(struct options, bar), 0, 5, .help = "the device's BAR that is the window"},
	{"mps", FB_OPTION_UINT, offsetof(struct options, mps), 128, 4096, .help = "largest payload", .power_of_2 = true},
	{"mrrs", FB_OPTION_UINT, offsetof(struct options, mrrs), 128, 4096, .help = "largest read", .power_of_2 = true},
	{"tags", FB_OPTION_UINT, offsetof(struct options, tags), 1, 256, .help = "reads in flight"},
	{"timeout", FB_OPTION_DURATION, offsetof(struct options, timeout_ns), 100000, 10000000000,
	 .help = "a read without completion is repeated after this"},
	{"retries", FB_OPTION_UINT, offsetof(struct options, retries), 0, 100, .help = "how often"},
	{"refresh", FB_OPTION_DURATION, offsetof(struct options, refresh_ns), 1000000, 10000000000,
	 .help = "how often the adapter is asked"},
	{"old-ports", FB_OPTION_BOOL, offsetof(struct options, old_ports), .help = "all TLPs on 0x3000 + tag"},
	{.key = NULL},
};

struct fb_softpcie_host {
	struct fb_loop *loop;
	struct fb_device *dev;
	struct fb_softpcie_port *port;
	struct options o;
	char address[16];
	uint64_t hold_ns;
	struct fb_timer refresh;
	bool up, stopped, told_interrupts;
	uint64_t bar4; /* while up */
	uint16_t id;
	struct softpcie_vector vectors[SOFTPCIE_VECTORS]; /* as the device has them */
	uint64_t attached;
	void (*changed)(void *arg);
	void *arg;
};

/* ---- The device's configuration --------------------------------------------- */

static void set_bars(struct fb_softpcie_host *h)
{
	struct fb_device *dev = h->dev;
	uint64_t next = BARS_FROM;

	for (unsigned i = 0; i < N_BARS; i++) {
		const struct fb_bar *bar = &dev->bars[i];
		uint64_t at;

		if (!bar->size || bar->is_io)
			continue;
		at = i == h->o.bar ? WINDOW_AT : (next + bar->size - 1) & ~(bar->size - 1);
		fb_device_config_write(dev, PCI_BAR0 + 4 * i, (uint32_t)at, 15);
		if (bar->is_64)
			fb_device_config_write(dev, PCI_BAR0 + 4 * i + 4, (uint32_t)(at >> 32), 15);
		if (i != h->o.bar)
			next = at + bar->size;
	}
}

static unsigned size_code(unsigned bytes)
{
	return (unsigned)__builtin_ctz(bytes) - 7;
}

static void set_command(struct fb_softpcie_host *h, const struct fb_softpcie_remote_info *info)
{
	bool master = !info->have_command || info->command & PCI_COMMAND_MASTER;
	uint16_t command = PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE | (master ? PCI_COMMAND_MASTER : 0);

	if (fb_cfg16(h->dev, PCI_COMMAND) != command)
		fb_device_config_write(h->dev, PCI_COMMAND, command, 3);
}

/* MSI has one address and numbers in a row: only the first vector of an adapter can be said with it. */
static void set_msi(struct fb_softpcie_host *h, const struct softpcie_vector *v)
{
	struct fb_device *dev = h->dev;
	unsigned at = dev->cap_msi;

	fb_device_config_write(dev, at + MSI_ADDRESS, (uint32_t)v->address, 15);
	fb_device_config_write(dev, at + MSI_UPPER_ADDRESS, (uint32_t)(v->address >> 32), 15);
	fb_device_config_write(dev, at + MSI_DATA, v->data, 3);
	fb_device_config_write(dev, at, (uint32_t)(v->address ? MSI_CONTROL_ENABLE : 0) << 16, 4);
}

static void set_entry_byte(struct fb_softpcie_host *h, unsigned vector, unsigned offset, uint32_t value, unsigned n)
{
	uint64_t at = h->dev->msix.table + vector * MSIX_ENTRY + offset;

	for (unsigned i = 0; i < n; i++)
		fb_ep_irq_bar_write(h->dev, h->dev->msix.table_bar, at + i, (uint8_t)(value >> 8 * i));
}

static void set_msix(struct fb_softpcie_host *h, unsigned vector, const struct softpcie_vector *v)
{
	set_entry_byte(h, vector, MSIX_ENTRY_CONTROL, 1, 1);
	set_entry_byte(h, vector, MSIX_ENTRY_ADDRESS, (uint32_t)v->address, 4);
	set_entry_byte(h, vector, MSIX_ENTRY_ADDRESS + 4, (uint32_t)(v->address >> 32), 4);
	set_entry_byte(h, vector, MSIX_ENTRY_DATA, v->data, 4);
	if (v->address)
		set_entry_byte(h, vector, MSIX_ENTRY_CONTROL, 0, 1);
}

static void set_vectors(struct fb_softpcie_host *h, const struct fb_softpcie_remote_info *info)
{
	for (unsigned i = 0; info->have_msix && i < SOFTPCIE_VECTORS; i++) {
		const struct softpcie_vector *v = &info->vectors[i];

		if (v->address == h->vectors[i].address && v->data == h->vectors[i].data)
			continue;
		h->vectors[i] = *v;
		if (h->dev->msix_vectors && i < h->dev->msix_vectors)
			set_msix(h, i, v);
		else if (!h->dev->msix_vectors && h->dev->msi_vectors && i == 0)
			set_msi(h, v);
	}
}

static void configure(struct fb_softpcie_host *h)
{
	struct fb_device *dev = h->dev;
	uint16_t control = fb_cfg16(dev, dev->cap_exp + EXP_DEVCTL);

	dev->bdf = h->id;
	dev->bdf_known = true;
	fb_device_rename(dev);
	set_bars(h);
	control &= (uint16_t)~(EXP_DEVCTL_MPS | EXP_DEVCTL_MRRS);
	control |= (uint16_t)(size_code(h->o.mps) << EXP_DEVCTL_MPS_SHIFT | size_code(h->o.mrrs) << EXP_DEVCTL_MRRS_SHIFT |
			      EXP_DEVCTL_EXT_TAG);
	fb_device_config_write(dev, dev->cap_exp + EXP_DEVCTL, control, 3);
	memset(h->vectors, 0, sizeof(h->vectors));
	if (dev->msix_vectors)
		fb_device_config_write(dev, dev->cap_msix, (uint32_t)MSIX_CONTROL_ENABLE << 16, 12);
	if (!dev->msix_vectors && !dev->msi_vectors && dev->intx && !h->told_interrupts)
		fb_device_warn(dev, "it has INTx only, which SoftPCIe does not carry: no interrupt will arrive");
	h->told_interrupts = true;
}

/* ---- Up and down --------------------------------------------------------------- */

static void come_up(struct fb_softpcie_host *h, const struct fb_softpcie_remote_info *info)
{
	h->bar4 = info->bar4;
	h->id = info->id;
	h->up = true;
	h->attached++;
	fb_device_attach(h->dev, fb_softpcie_port_port(h->port));
	configure(h);
	set_command(h, info); /* before the map: that hands on what the host asked for meanwhile */
	fb_softpcie_port_map(h->port, h->bar4, WINDOW_AT, h->dev->bars[h->o.bar].size);
	fb_device_info(h->dev, "behind the adapter at %s, window at 0x%llx", h->address, (unsigned long long)h->bar4);
	h->changed(h->arg);
}

static void go_down(struct fb_softpcie_host *h, const char *why)
{
	if (!h->up)
		return;
	h->up = false;
	fb_device_info(h->dev, "the adapter at %s is gone: %s", h->address, why);
	fb_softpcie_port_map(h->port, 0, 0, 0);
	fb_device_detach(h->dev);
	h->changed(h->arg);
}

static bool usable(const struct fb_softpcie_remote_info *info)
{
	return info->have_id && info->have_bar4 && info->id && info->bar4 &&
	       (!info->have_command || info->command & PCI_COMMAND_MEMORY);
}

static void follow(struct fb_softpcie_host *h)
{
	const struct fb_softpcie_remote_info *info = fb_softpcie_remote_info(fb_softpcie_port_remote(h->port));

	if (h->stopped)
		return;
	if (h->up && !usable(info))
		go_down(h, "its host has switched it off, or reset it");
	else if (h->up && (info->bar4 != h->bar4 || info->id != h->id))
		go_down(h, "its host has moved it");
	if (!h->up && usable(info))
		come_up(h, info);
	if (h->up) {
		set_command(h, info);
		set_vectors(h, info);
	}
}

static void info_came(void *arg)
{
	follow(arg);
}

static void refresh(struct fb_timer *t)
{
	struct fb_softpcie_host *h = (struct fb_softpcie_host *)((char *)t - offsetof(struct fb_softpcie_host, refresh));
	struct fb_softpcie_remote *remote = fb_softpcie_port_remote(h->port);

	if (h->up && fb_clock_ns() - fb_softpcie_remote_info(remote)->heard_ns > h->hold_ns)
		go_down(h, "it does not answer");
	fb_softpcie_remote_ask(remote);
	fb_timer_set(h->loop, t, fb_loop_now(h->loop) + h->o.refresh_ns);
}

/* ---- Life ----------------------------------------------------------------------- */

static int parse(struct fb_softpcie_host *h, const char *spec, struct fb_softpcie_remote_config *c)
{
	size_t n = strcspn(spec, ",");

	snprintf(h->address, sizeof(h->address), "%.*s", (int)n, spec);
	if (n >= sizeof(h->address) || fb_softpcie_parse_addr(h->address, &c->adapter)) {
		fb_error("box", "--softpcie %s: begins with the adapter's IPv4 address", spec);
		return -EINVAL;
	}
	h->o = (struct options){.bar = N_BARS, .mps = 256, .mrrs = 512, .tags = 256, .retries = 3, .timeout_ns = 50000000,
				.refresh_ns = 50000000};
	if (fb_options_apply(table, &h->o, spec[n] ? spec + n + 1 : NULL, "box --softpcie") < 0)
		return -EINVAL;
	if (h->o.local && fb_softpcie_parse_addr(h->o.local, &c->local)) {
		fb_error("box", "--softpcie: local=%s is not an IPv4 address", h->o.local);
		return -EINVAL;
	}
	c->tags = h->o.tags;
	c->mps = h->o.mps;
	c->mrrs = h->o.mrrs;
	c->timeout_ns = h->o.timeout_ns;
	c->retries = h->o.retries;
	c->old_rule = h->o.old_ports;
	return 0;
}

/* The BAR asked for, or the first one of memory. */
static int choose_bar(struct fb_softpcie_host *h)
{
	const struct fb_bar *bars = h->dev->bars;

	if (h->o.bar == N_BARS) {
		for (h->o.bar = 0; h->o.bar < N_BARS && (!bars[h->o.bar].size || bars[h->o.bar].is_io);)
			h->o.bar++;
	}
	if (h->o.bar < N_BARS && bars[h->o.bar].size && !bars[h->o.bar].is_io &&
	    WINDOW_AT + bars[h->o.bar].size <= UINT64_C(1) << 32)
		return 0;
	fb_device_error(h->dev, "has no memory BAR of up to 2 GiB %s that could be an adapter's window",
			h->o.bar < N_BARS ? "of that number" : "at all");
	return -EINVAL;
}

int fb_softpcie_host_new(struct fb_softpcie_host **out, struct fb_loop *loop, struct fb_device *dev, const char *spec,
			 uint64_t hold_ns, struct fb_tap *tap, void (*changed)(void *arg), void *arg)
{
	struct fb_softpcie_host *h = calloc(1, sizeof(*h));
	struct fb_softpcie_port_config c = {.function = fb_device_id(dev), .tap = tap, .info = info_came, .arg = h};
	int err;

	if (!h)
		return -ENOMEM;
	h->loop = loop;
	h->dev = dev;
	h->hold_ns = hold_ns;
	h->changed = changed;
	h->arg = arg;
	h->refresh.due = refresh;
	err = parse(h, spec, &c.remote);
	if (!err)
		err = choose_bar(h);
	if (!err)
		err = fb_softpcie_port_open(&h->port, loop, &c);
	if (!err)
		err = fb_timer_set(loop, &h->refresh, fb_loop_now(loop));
	if (err) {
		fb_softpcie_host_free(h);
		return err;
	}
	*out = h;
	return 0;
}

void fb_softpcie_host_stop(struct fb_softpcie_host *h)
{
	h->stopped = true;
	go_down(h, "taken away");
}

void fb_softpcie_host_free(struct fb_softpcie_host *h)
{
	if (!h)
		return;
	fb_timer_cancel(&h->refresh);
	fb_softpcie_port_close(h->port);
	fb_options_release(table, &h->o);
	free(h);
}

struct fb_port *fb_softpcie_host_up(const struct fb_softpcie_host *h)
{
	return h->up ? fb_softpcie_port_port(h->port) : NULL;
}

const char *fb_softpcie_host_address(const struct fb_softpcie_host *h)
{
	return h->address;
}

void fb_softpcie_host_put_stats(const struct fb_softpcie_host *h,
				void (*put)(void *arg, const char *name, uint64_t value), void *arg)
{
	put(arg, "attached", h->attached);
	fb_softpcie_port_put_stats(h->port, put, arg);
}
