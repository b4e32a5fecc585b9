/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the server says it is, and what the guest is shown of it.
 *
 * Configuration space stays the runtime's: standard capabilities (power
 * management, MSI, MSI-X, PCI Express, AER) are of its making, so that errors,
 * interrupts and payload sizes are those of the link that is really there. From
 * the server come identity, BARs, the number and place of interrupts, the serial
 * number, and its vendor-specific and SATA capabilities, which are carried
 * register by register. To the server go the command register, the BARs'
 * addresses and the enables of interrupts.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "util/reader.h"
#include "vfio_user.h"

enum {
	R_COMMAND = 0x04,
	R_STATUS = 0x06,
	R_CLASS = 0x08,
	R_HEADER_TYPE = 0x0e,
	R_BAR0 = 0x10,
	R_SUBSYSTEM = 0x2c,
	R_CAP_PTR = 0x34,
	R_PIN = 0x3d,
	COMMAND_DECODES = 3, /* I/O and memory */
	CAP_MSI = 0x05,
	CAP_VENDOR = 0x09,
	CAP_MSIX = 0x11,
	CAP_SATA = 0x12,
	EXT_DSN = 0x03,
	EXT_VSEC = 0x0b,
};

/* ---- Reading what the server has ------------------------------------------------------ */

static void carry(struct vu_shape *s, bool extended, unsigned at, unsigned id, unsigned len)
{
	if (s->n_caps < VU_CAPS)
		s->caps[s->n_caps++] = (struct vu_capability){
			.server = (uint16_t)at, .len = (uint16_t)len, .id = (uint16_t)id, .extended = extended};
}

static int capability_list(struct vu *v, struct vu_shape *s)
{
	const uint8_t *c = s->config;
	unsigned seen = 0;

	if (!(fb_get_le16(c + R_STATUS) & 0x10))
		return 0;
	for (unsigned at = c[R_CAP_PTR] & ~3u; at; at = c[at + 1] & ~3u) {
		unsigned len = 0;

		if (at < 0x40 || ++seen > 48) {
			snprintf(v->why, sizeof(v->why), "its capability list is broken at 0x%02x", at);
			return -EPROTO;
		}
		switch (c[at]) {
		case CAP_MSI:
			s->cap_msi = (uint16_t)at;
			break;
		case CAP_MSIX:
			if (at + 12 > 256)
				break;
			s->cap_msix = (uint16_t)at;
			break;
		case CAP_VENDOR:
			len = c[at + 2];
			break;
		case CAP_SATA:
			len = 8;
			break;
		default:
			break;
		}
		if (len >= 3 && at + len <= 256)
			carry(s, false, at, c[at], len);
	}
	return 0;
}

static void extended_list(struct vu_shape *s)
{
	unsigned at = 0x100, seen = 0;

	while (at >= 0x100 && at + 4 <= s->config_len && ++seen <= 256) {
		uint32_t head = fb_get_le32(s->config + at);
		unsigned len = 0;

		if (head == 0 || head == UINT32_MAX)
			return;
		if ((head & 0xffff) == EXT_VSEC && at + 8 <= s->config_len)
			len = fb_get_le32(s->config + at + 4) >> 20;
		if (len >= 8 && at + len <= s->config_len)
			carry(s, true, at, EXT_VSEC, len);
		at = head >> 20 & ~3u;
	}
}

static uint64_t serial_number(const struct vu_shape *s)
{
	unsigned at = 0x100, seen = 0;

	while (at >= 0x100 && at + 12 <= s->config_len && ++seen <= 256) {
		uint32_t head = fb_get_le32(s->config + at);

		if ((head & 0xffff) == EXT_DSN)
			return fb_get_le64(s->config + at + 4);
		at = head >> 20 & ~3u;
	}
	return 0;
}

/* The BAR as the runtime wants it; size 0: there is none. 0 or -EPROTO. */
static int bar(struct vu *v, const struct vu_shape *s, unsigned i, struct fb_bar *out)
{
	uint32_t reg = fb_get_le32(s->config + R_BAR0 + 4 * i);
	uint64_t size = s->regions[i].size, least, most;

	*out = (struct fb_bar){.index = (uint8_t)i, .is_io = reg & 1, .min_access = 1};
	if (size == 0)
		return 0;
	out->is_64 = !out->is_io && (reg & 6) == 4 && i < 5 && s->regions[i + 1].size == 0;
	out->prefetchable = !out->is_io && reg & 8;
	out->max_access = out->is_io ? 4 : 8;
	least = out->is_io ? 4 : 128;
	most = out->is_io ? 256 : out->is_64 ? UINT64_C(1) << 46 : UINT64_C(1) << 31;
	if (size > most && out->is_io) /* 7.5.1.2.1; some servers say I/O for want of saying memory */
		return 0;
	if (size > most) {
		snprintf(v->why, sizeof(v->why), "its BAR %u has %llu bytes: at most %llu are possible for one of its kind", i,
			 (unsigned long long)size, (unsigned long long)most);
		return -EPROTO;
	}
	/* Regions need not be powers of two; what the BAR has beyond them reads all ones. */
	for (out->size = least; out->size < size;)
		out->size *= 2;
	return 0;
}

int vu_shape_check(struct vu *v, struct vu_shape *s)
{
	const uint8_t *c = s->config;
	struct fb_bar b;
	int err;

	if (fb_get_le16(c) == 0xffff) {
		snprintf(v->why, sizeof(v->why), "its vendor ID reads all ones");
		return -EPROTO;
	}
	if (c[R_HEADER_TYPE] & 0x7f) {
		snprintf(v->why, sizeof(v->why), "it is not an endpoint (header type %u)", c[R_HEADER_TYPE] & 0x7f);
		return -EPROTO;
	}
	for (unsigned i = 0; i < 6; i++) {
		err = bar(v, s, i, &b);
		if (err)
			return err;
	}
	err = capability_list(v, s);
	if (err)
		return err;
	extended_list(s);
	return 0;
}

static bool same_config(const struct vu_shape *a, const struct vu_shape *b, unsigned at, unsigned len)
{
	return memcmp(a->config + at, b->config + at, len) == 0;
}

bool vu_shape_same(const struct vu_shape *a, const struct vu_shape *b)
{
	if (!same_config(a, b, 0, 4) || !same_config(a, b, R_CLASS, 4) || !same_config(a, b, R_SUBSYSTEM, 4) ||
	    !same_config(a, b, R_PIN, 1) || memcmp(a->irqs, b->irqs, sizeof(a->irqs)) || a->n_caps != b->n_caps ||
	    a->cap_msi != b->cap_msi || a->cap_msix != b->cap_msix ||
	    (a->cap_msix && !same_config(a, b, a->cap_msix + 4u, 8)))
		return false;
	for (unsigned i = 0; i < 6; i++) {
		if (a->regions[i].size != b->regions[i].size ||
		    (a->regions[i].size && (a->config[R_BAR0 + 4 * i] ^ b->config[R_BAR0 + 4 * i]) & 15))
			return false;
	}
	for (unsigned i = 0; i < a->n_caps; i++) {
		const struct vu_capability *x = &a->caps[i], *y = &b->caps[i];

		if (x->server != y->server || x->len != y->len || x->id != y->id || x->extended != y->extended)
			return false;
	}
	return true;
}

/* ---- Showing it ------------------------------------------------------------------------- */

static unsigned pow2_up(unsigned n)
{
	unsigned p = 1;

	while (p < n)
		p *= 2;
	return p;
}

/* Table and PBA stay where the server has them, if they fit there; else they get a BAR of their own. */
static bool place_msix(struct vu *v, const struct vu_shape *s, unsigned n)
{
	uint32_t table = fb_get_le32(s->config + s->cap_msix + 4), pba = fb_get_le32(s->config + s->cap_msix + 8);
	unsigned tb = table & 7, pb = pba & 7, pba_size = (n + 63) / 64 * 8;
	struct fb_bar own = {.size = 4096}, t = {0}, p = {0};

	table &= ~7u;
	pba &= ~7u;
	if (tb < 6 && pb < 6 && bar(v, s, tb, &t) == 0 && bar(v, s, pb, &p) == 0 && !t.is_io && !p.is_io &&
	    fb_in_range(table, 16u * n, t.size) && fb_in_range(pba, pba_size, p.size) &&
	    (tb != pb || table + 16u * n <= pba || pba + pba_size <= table))
		return fb_device_set_msix(v->dev, tb, table, pb, pba) == 0;
	while (own.size < 16u * n + pba_size)
		own.size *= 2;
	for (unsigned i = 0; i < 6; i++) {
		if (s->regions[i].size || (i > 0 && s->regions[i - 1].size && bar(v, s, i - 1, &t) == 0 && t.is_64))
			continue;
		own.index = (uint8_t)i;
		return fb_device_set_bar(v->dev, &own) == 0 && fb_device_set_msix(v->dev, i, 0, i, 16u * n) == 0;
	}
	return false;
}

static void add_capabilities(struct vu *v, struct vu_shape *s)
{
	for (unsigned i = 0; i < s->n_caps; i++) {
		struct vu_capability *c = &s->caps[i];
		unsigned head = c->extended ? 4 : 2;
		uint8_t all[4096];
		int at;

		memset(all, 0xff, sizeof(all));
		/* The length is the capability's own, in its third byte or second DW: not for a guest to change. */
		if (c->extended)
			memset(all, 0, 4);
		else if (c->id == CAP_VENDOR)
			all[0] = 0;
		at = c->extended ? fb_device_add_ext_capability(v->dev, c->id, s->config[c->server + 2] & 15u,
								s->config + c->server + head, all, c->len - head)
				 : fb_device_add_capability(v->dev, (uint8_t)c->id, s->config + c->server + head, all,
							    c->len - head);
		if (at < 0)
			fb_device_warn(v->dev, "the capability 0x%02x at 0x%03x of the server is not carried: no room", c->id,
				       c->server);
		c->ours = at > 0 ? (uint16_t)at : 0;
	}
}

int vu_shape_present(struct vu *v)
{
	struct vu_shape *s = &v->shape;
	const uint8_t *c = s->config;
	struct fb_identity id = {.vendor_id = fb_get_le16(c), .device_id = fb_get_le16(c + 2),
				 .subsystem_vendor_id = fb_get_le16(c + R_SUBSYSTEM),
				 .subsystem_id = fb_get_le16(c + R_SUBSYSTEM + 2),
				 .class_code = fb_get_le32(c + R_CLASS) >> 8, .revision = c[R_CLASS]};
	unsigned n = s->irqs[VFIO_IRQ_MSIX] ? s->irqs[VFIO_IRQ_MSIX] : s->irqs[VFIO_IRQ_MSI];
	unsigned msix = 0, msi = 0;

	if (n == 0)
		n = s->irqs[VFIO_IRQ_INTX] ? 1 : 0;
	if (n > v->opt.vectors)
		n = v->opt.vectors;
	fb_device_set_identity(v->dev, &id);
	for (unsigned i = 0; i < 6; i++) {
		struct fb_bar b;

		if (bar(v, s, i, &b) == 0 && b.size)
			fb_device_set_bar(v->dev, &b);
		else if (s->regions[i].size)
			fb_device_warn(v->dev, "BAR %u of the server is not carried: I/O space of %llu bytes, 256 is the limit", i,
				       (unsigned long long)s->regions[i].size);
	}
	if (n)
		msi = pow2_up(n < 32 ? n : 32);
	if (n && s->cap_msix && s->irqs[VFIO_IRQ_MSIX]) {
		msix = n;
		if (!place_msix(v, s, n)) {
			fb_device_warn(v->dev, "the server's MSI-X table is outside its BARs, and no BAR is free: MSI only");
			msix = 0;
		}
	}
	v->n_vectors = n > msi ? n : msi;
	v->msi_vectors = (uint16_t)msi;
	v->msix_vectors = (uint16_t)msix;
	v->intx = c[R_PIN] && s->irqs[VFIO_IRQ_INTX];
	fb_device_set_vectors(v->dev, v->msi_vectors, v->msix_vectors);
	fb_device_set_intx(v->dev, v->intx);
	fb_device_set_serial_number(v->dev, serial_number(s));
	add_capabilities(v, s);
	return 0;
}

/* ---- Configuration that reaches the server -------------------------------------------------- */

static uint32_t config_now(struct vu *v, unsigned offset, unsigned size)
{
	uint32_t value = fb_device_config_read(v->dev, offset & ~3u) >> 8 * (offset & 3);

	return size == 4 ? value : value & ((1u << 8 * size) - 1);
}

static void config_write(struct vu *v, unsigned offset, uint32_t value, unsigned len)
{
	uint8_t bytes[4];

	fb_put_le32(bytes, value);
	v->count.config_writes++;
	if (!vu_wait_for_turn(v, VFIO_REGION_CONFIG, offset, value, len))
		vu_region_write(v, false, VFIO_REGION_CONFIG, offset, bytes, len);
}

void vu_config_irq_enable(struct vu *v, int index, bool on, unsigned vectors)
{
	if (index == VFIO_IRQ_MSIX && v->shape.cap_msix)
		config_write(v, v->shape.cap_msix + 2u,
			     (fb_get_le16(v->shape.config + v->shape.cap_msix + 2) & 0x7ffu) | (on ? 0x8000u : 0), 2);
	else if (index == VFIO_IRQ_MSI && v->shape.cap_msi)
		config_write(v, v->shape.cap_msi + 2u,
			     on ? 1u | (unsigned)__builtin_ctz(pow2_up(vectors)) << 4 : 0, 2);
}

static void command(struct vu *v)
{
	uint32_t value = config_now(v, R_COMMAND, 2);

	for (unsigned i = 0; value & COMMAND_DECODES && i < 6; i++) {
		if (v->shape.regions[i].size || (i > 0 && v->shape.regions[i - 1].size))
			config_write(v, R_BAR0 + 4 * i, config_now(v, R_BAR0 + 4 * i, 4), 4);
	}
	config_write(v, R_COMMAND, value, 2);
}

static void capability(struct vu *v, unsigned i, unsigned offset, unsigned len)
{
	const struct vu_capability *c = &v->shape.caps[i];
	unsigned at = c->server + (offset - c->ours);
	uint32_t value = 0;
	struct vu_request *r;
	uint8_t *p;

	for (unsigned k = len; k > 0; k--)
		value = value << 8 | config_now(v, offset + k - 1, 1);
	config_write(v, at, value, len);
	if (v->n_waits) /* not there yet */
		return;
	/* What the guest reads from now on is what the server made of it. */
	p = vu_send(v, VU_CAP_READ, VFIO_USER_REGION_READ, VFIO_USER_REGION_RW_BODY, NULL, 0, &r);
	if (!p)
		return;
	r->arg = (uint16_t)i;
	r->offset = c->server;
	r->size = c->len;
	fb_put_le64(p, c->server);
	fb_put_le32(p + 8, VFIO_REGION_CONFIG);
	fb_put_le32(p + 12, c->len);
}

void vu_cap_reply(struct vu *v, const struct vu_request *r, const uint8_t *data, uint32_t len)
{
	const struct vu_capability *c = &v->shape.caps[r->arg];
	unsigned head = c->extended ? 4 : 2;

	fb_device_update_capability(v->dev, c->ours, data + head, len - head);
}

void vu_config_written(struct vu *v, unsigned offset, unsigned len)
{
	if (v->state != VU_UP)
		return;
	if (offset < R_COMMAND + 2 && offset + len > R_COMMAND)
		command(v);
	for (unsigned i = 0; i < v->shape.n_caps; i++) {
		const struct vu_capability *c = &v->shape.caps[i];

		unsigned first = c->ours + (c->extended ? 4u : 2u), end = c->ours + (unsigned)c->len;

		if (first < offset)
			first = offset;
		if (end > offset + len)
			end = offset + len;
		if (c->ours && first < end)
			capability(v, i, first, end - first);
	}
	vu_irq_update(v);
}

void vu_config_reset(struct vu *v)
{
	config_write(v, R_COMMAND, 0, 2);
}
