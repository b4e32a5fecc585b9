/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory of a box: which functions it has. One request datagram, one
 * answer, no session; the answer is never larger than the request (which is
 * padded), so a box amplifies nothing. Long directories are read in pages.
 * Pure functions.
 */
#ifndef FARBUS_LINK_DIRECTORY_H
#define FARBUS_LINK_DIRECTORY_H

#include "link/link.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fb_directory_entry {
	char id[FB_LINK_NAME_MAX];
	char model[16];
	uint16_t vendor_id, device_id;
	uint32_t class_code; /* 24 bits */
	uint32_t group;
	bool in_use;
	uint8_t user[16]; /* node of the root that has it, when in use; zeros where the box does not tell, as ours */
};

struct fb_directory_request {
	uint32_t nonce;
	uint32_t group;
	uint32_t first; /* index of the first entry wanted */
	uint16_t version_min, version_max;
};

struct fb_directory_page {
	uint32_t nonce;
	struct fb_link_identity box;
	uint32_t first, total;
	unsigned n;
	struct fb_directory_entry entries[64];
};

/* Returns the datagram's size, or 0 (cap too small). Requests are padded to `size`. */
size_t fb_directory_put_request(const struct fb_directory_request *req, uint8_t *out, size_t size);
/* 0 or -EBADMSG, or -EPROTO: no version in common (fields are filled in all the same). */
int fb_directory_get_request(struct fb_directory_request *req, const uint8_t *dgram, size_t len);
/* Puts as many of page->entries as fit `cap` (the request's size) and lowers page->n to that. */
size_t fb_directory_put_page(struct fb_directory_page *page, uint8_t *out, size_t cap);
int fb_directory_get_page(struct fb_directory_page *page, const uint8_t *dgram, size_t len);

#ifdef __cplusplus
}
#endif
#endif
