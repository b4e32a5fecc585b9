/* SPDX-License-Identifier: Apache-2.0 */
/* What ls and stats show: copies, so that nobody outside holds a pointer into the root. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "root/impl.h"

static const char *const irq_mode_names[] = {
	[FB_ROOT_IRQ_NONE] = "none",
	[FB_ROOT_IRQ_INTX] = "intx",
	[FB_ROOT_IRQ_MSI] = "msi",
	[FB_ROOT_IRQ_MSIX] = "msix",
};
_Static_assert(sizeof(irq_mode_names) / sizeof(irq_mode_names[0]) == FB_ROOT_IRQ_MODES, "a mode has no name");

const char *fb_root_irq_mode_name(enum fb_root_irq_mode mode)
{
	return (unsigned)mode < FB_ROOT_IRQ_MODES ? irq_mode_names[mode] : "?";
}

static const char *const hop_names[] = {
	[FB_ROOT_HOP_ACCESS] = "access",
	[FB_ROOT_HOP_REQUEST] = "request",
	[FB_ROOT_HOP_DMA] = "dma",
};
_Static_assert(sizeof(hop_names) / sizeof(hop_names[0]) == FB_ROOT_HOPS, "a hop has no name");

const char *fb_root_hop_name(enum fb_root_hop hop)
{
	return (unsigned)hop < FB_ROOT_HOPS ? hop_names[hop] : "?";
}

unsigned fb_root_functions(const struct fb_root *root)
{
	return root->n_functions;
}

static const struct fb_root_function *at(const struct fb_root *root, unsigned index)
{
	const struct fb_root_function *f = root->functions;

	while (f && index-- > 0)
		f = f->next;
	return f;
}

const struct fb_histogram *fb_root_function_time(const struct fb_root *root, unsigned index, enum fb_root_hop hop)
{
	const struct fb_root_function *f = at(root, index);

	return f && (unsigned)hop < FB_ROOT_HOPS ? &f->times[hop].time : NULL;
}

static enum fb_root_irq_mode irq_mode(const struct fb_root_function *f)
{
	if (f->irq.with_fd)
		return f->irq.index == VFIO_IRQ_MSIX ? FB_ROOT_IRQ_MSIX : FB_ROOT_IRQ_MSI;
	return f->irq.intx_fd >= 0 ? FB_ROOT_IRQ_INTX : FB_ROOT_IRQ_NONE;
}

int fb_root_function_info(const struct fb_root *root, unsigned index, struct fb_root_function_info *info)
{
	const struct fb_root_function *f = at(root, index);

	if (!f)
		return -ENOENT;
	memset(info, 0, sizeof(*info));
	memcpy(info->id, f->id, sizeof(info->id));
	memcpy(info->model, f->model, sizeof(info->model));
	info->vendor_id = f->vendor_id;
	info->device_id = f->device_id;
	info->class_code = f->class_code;
	memcpy(info->box, ((const struct fb_root_box *)f->box)->address, sizeof(info->box));
	info->state = f->state;
	memcpy(info->note, f->note, sizeof(info->note));
	info->link_up = f->link_up;
	info->held_out = f->plug.held_out;
	if (fb_listener_is_open(&f->listener))
		memcpy(info->socket, f->socket, sizeof(info->socket));
	info->client_pid = f->client_pid;
	if (f->negotiated)
		snprintf(info->client_version, sizeof(info->client_version), "0.0");
	info->slot_state = f->plug.state;
	if (f->plug.slot >= 0)
		snprintf(info->slot, sizeof(info->slot), "%.31s", root->plug.slots[f->plug.slot].bus);
	info->bdf = f->bdf;
	info->msix_hidden = f->cfg.msix_hidden;
	info->irq_mode = irq_mode(f);
	info->vectors = f->irq.with_fd ? f->irq.with_fd : f->irq.intx_fd >= 0;
	info->dma_regions = f->dma.map.n;
	info->dma_regions_without_fd = f->dma.map.without_host;
	info->dma_bytes = f->dma.map.bytes;
	info->count = f->count;
	info->count.late_completions = f->rq.stats.late;
	info->count.unexpected_completions = f->rq.stats.unexpected;
	return 0;
}

int fb_root_function_link(const struct fb_root *root, unsigned index, struct fb_port_stats *stats)
{
	const struct fb_root_function *f = at(root, index);

	if (!f)
		return -ENOENT;
	if (!f->port)
		return -ENOTCONN;
	fb_port_get_stats(f->port, stats);
	return 0;
}

unsigned fb_root_boxes(const struct fb_root *root)
{
	return root->n_boxes;
}

int fb_root_box_info(const struct fb_root *root, unsigned index, struct fb_root_box_info *info)
{
	const struct fb_root_box *box;

	if (index >= root->n_boxes)
		return -ENOENT;
	box = &root->boxes[index];
	memset(info, 0, sizeof(*info));
	memcpy(info->address, box->address, sizeof(info->address));
	info->reachable = box->reachable;
	info->identity = box->identity;
	info->offered = box->offered;
	memcpy(info->note, box->note, sizeof(info->note));
	info->net = *fb_carrier_net_stats(box->carrier);
	return 0;
}

void fb_root_qmp_info(const struct fb_root *root, struct fb_root_qmp_info *info)
{
	const struct fb_hotplug *h = &root->plug;

	memset(info, 0, sizeof(*info));
	if (!h->qmp)
		return;
	info->used = true;
	info->connected = fb_qmp_up(h->qmp);
	memcpy(info->version, h->version, sizeof(info->version));
	info->slots = h->n_slots;
	for (unsigned i = 0; i < h->n_slots; i++)
		info->slots_free += h->slots[i].exists && !h->slots[i].f && !h->slots[i].occupant[0];
	info->commands = fb_qmp_stats(h->qmp)->commands;
	info->errors = fb_qmp_stats(h->qmp)->errors;
	info->events = fb_qmp_stats(h->qmp)->events;
	info->reconnects = fb_qmp_stats(h->qmp)->reconnects;
}

void fb_root_remote_info(const struct fb_root *root, struct fb_root_remote_info *info)
{
	fb_remote_info(root->remote, info);
}

int fb_root_remote_session_info(const struct fb_root *root, unsigned index, struct fb_root_remote_session_info *info)
{
	return fb_remote_session_info(root->remote, index, info);
}
