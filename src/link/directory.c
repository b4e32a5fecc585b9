/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "link/directory.h"
#include "link/link_wire.h"

_Static_assert(FB_LINK_NAME_MAX == 32 && sizeof(((struct fb_directory_entry *)0)->model) == 16, "as on the wire");

enum { ENTRIES = sizeof(((struct fb_directory_page *)0)->entries) / sizeof(struct fb_directory_entry) };

static void put_text(uint8_t *out, const char *text, size_t size)
{
	memset(out, 0, size);
	memcpy(out, text, strnlen(text, size - 1));
}

/* Printable ASCII, with a NUL. */
static void get_text(char *out, const uint8_t *in, size_t size)
{
	size_t n = strnlen((const char *)in, size - 1);

	memset(out, 0, size);
	for (size_t i = 0; i < n; i++)
		out[i] = in[i] >= 0x20 && in[i] < 0x7f ? (char)in[i] : '?';
}

static int common_version(uint16_t min, uint16_t max)
{
	return min <= FB_WIRE_VERSION_MAX && max >= FB_WIRE_VERSION_MIN ? 0 : -EPROTO;
}

size_t fb_directory_put_request(const struct fb_directory_request *req, uint8_t *out, size_t size)
{
	struct fb_wire_head h = {.kind = FB_WIRE_LIST, .hlen = FB_WIRE_LIST_HLEN};

	if (size < FB_WIRE_LIST_HLEN || size > FB_WIRE_MTU_MAX)
		return 0;
	memset(out, 0, size);
	fb_wire_put_head(out, &h);
	fb_put_be32(out + FB_WIRE_O_L_NONCE, req->nonce);
	fb_put_be32(out + FB_WIRE_O_L_FIRST, req->first);
	/* Zeros: the caller has no wish of its own. */
	fb_put_be16(out + FB_WIRE_O_L_VERSION_MIN, req->version_min ? req->version_min : FB_WIRE_VERSION_MIN);
	fb_put_be16(out + FB_WIRE_O_L_VERSION_MAX, req->version_max ? req->version_max : FB_WIRE_VERSION_MAX);
	fb_put_be32(out + FB_WIRE_O_L_GROUP, req->group);
	fb_wire_seal(out, size);
	return size;
}

int fb_directory_get_request(struct fb_directory_request *req, const uint8_t *d, size_t len)
{
	struct fb_wire_head h;

	if (!fb_wire_get_head(&h, d, len) || h.kind != FB_WIRE_LIST || h.hlen < FB_WIRE_LIST_HLEN || !fb_wire_crc_ok(d, len))
		return -EBADMSG;
	req->nonce = fb_get_be32(d + FB_WIRE_O_L_NONCE);
	req->first = fb_get_be32(d + FB_WIRE_O_L_FIRST);
	req->version_min = fb_get_be16(d + FB_WIRE_O_L_VERSION_MIN);
	req->version_max = fb_get_be16(d + FB_WIRE_O_L_VERSION_MAX);
	req->group = fb_get_be32(d + FB_WIRE_O_L_GROUP);
	return common_version(req->version_min, req->version_max);
}

static void put_entry(uint8_t *d, const struct fb_directory_entry *e)
{
	put_text(d + FB_WIRE_O_E_ID, e->id, sizeof(e->id));
	put_text(d + FB_WIRE_O_E_MODEL, e->model, sizeof(e->model));
	memcpy(d + FB_WIRE_O_E_USER, e->user, sizeof(e->user));
	fb_put_be16(d + FB_WIRE_O_E_VENDOR, e->vendor_id);
	fb_put_be16(d + FB_WIRE_O_E_DEVICE, e->device_id);
	fb_put_be32(d + FB_WIRE_O_E_CLASS, e->class_code);
	fb_put_be32(d + FB_WIRE_O_E_GROUP, e->group);
	fb_put_be32(d + FB_WIRE_O_E_FLAGS, e->in_use);
}

static void get_entry(struct fb_directory_entry *e, const uint8_t *d)
{
	get_text(e->id, d + FB_WIRE_O_E_ID, sizeof(e->id));
	get_text(e->model, d + FB_WIRE_O_E_MODEL, sizeof(e->model));
	memcpy(e->user, d + FB_WIRE_O_E_USER, sizeof(e->user));
	e->vendor_id = fb_get_be16(d + FB_WIRE_O_E_VENDOR);
	e->device_id = fb_get_be16(d + FB_WIRE_O_E_DEVICE);
	e->class_code = fb_get_be32(d + FB_WIRE_O_E_CLASS) & 0xffffff;
	e->group = fb_get_be32(d + FB_WIRE_O_E_GROUP);
	e->in_use = fb_get_be32(d + FB_WIRE_O_E_FLAGS) & 1;
}

size_t fb_directory_put_page(struct fb_directory_page *page, uint8_t *out, size_t cap)
{
	struct fb_wire_head h = {.kind = FB_WIRE_LISTING, .hlen = FB_WIRE_LISTING_HLEN};
	size_t len;

	if (cap < FB_WIRE_LISTING_HLEN)
		return 0;
	if (page->n > ENTRIES)
		page->n = ENTRIES;
	if (page->n > (cap - FB_WIRE_LISTING_HLEN) / FB_WIRE_ENTRY)
		page->n = (unsigned)((cap - FB_WIRE_LISTING_HLEN) / FB_WIRE_ENTRY);
	len = FB_WIRE_LISTING_HLEN + (size_t)page->n * FB_WIRE_ENTRY;
	memset(out, 0, FB_WIRE_LISTING_HLEN);
	fb_wire_put_head(out, &h);
	fb_put_be32(out + FB_WIRE_O_L_NONCE, page->nonce);
	fb_put_be32(out + FB_WIRE_O_L_FIRST, page->first);
	fb_put_be16(out + FB_WIRE_O_L_VERSION_MIN, FB_WIRE_VERSION_MIN);
	fb_put_be16(out + FB_WIRE_O_L_VERSION_MAX, FB_WIRE_VERSION_MAX);
	fb_put_be32(out + FB_WIRE_O_L_TOTAL, page->total);
	fb_put_be16(out + FB_WIRE_O_L_N, (uint16_t)page->n);
	fb_put_be16(out + FB_WIRE_O_L_ENTRY, FB_WIRE_ENTRY);
	fb_put_be64(out + FB_WIRE_O_L_INCARNATION, page->box.incarnation);
	memcpy(out + FB_WIRE_O_L_NODE, page->box.node, sizeof(page->box.node));
	for (unsigned i = 0; i < page->n; i++)
		put_entry(out + FB_WIRE_LISTING_HLEN + (size_t)i * FB_WIRE_ENTRY, &page->entries[i]);
	fb_wire_seal(out, len);
	return len;
}

int fb_directory_get_page(struct fb_directory_page *page, const uint8_t *d, size_t len)
{
	struct fb_wire_head h;
	size_t entry;

	if (!fb_wire_get_head(&h, d, len) || h.kind != FB_WIRE_LISTING || h.hlen < FB_WIRE_LISTING_HLEN ||
	    !fb_wire_crc_ok(d, len))
		return -EBADMSG;
	page->nonce = fb_get_be32(d + FB_WIRE_O_L_NONCE);
	page->first = fb_get_be32(d + FB_WIRE_O_L_FIRST);
	page->total = fb_get_be32(d + FB_WIRE_O_L_TOTAL);
	page->n = fb_get_be16(d + FB_WIRE_O_L_N);
	page->box.incarnation = fb_get_be64(d + FB_WIRE_O_L_INCARNATION);
	memcpy(page->box.node, d + FB_WIRE_O_L_NODE, sizeof(page->box.node));
	/* A later version's entries may be longer. */
	entry = fb_get_be16(d + FB_WIRE_O_L_ENTRY);
	if (page->n > ENTRIES || entry < FB_WIRE_ENTRY || page->n * entry > len - h.hlen)
		return -EBADMSG;
	for (unsigned i = 0; i < page->n; i++)
		get_entry(&page->entries[i], d + h.hlen + i * entry);
	return common_version(fb_get_be16(d + FB_WIRE_O_L_VERSION_MIN), fb_get_be16(d + FB_WIRE_O_L_VERSION_MAX));
}
