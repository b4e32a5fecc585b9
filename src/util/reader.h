/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one way to take bytes from a network, a VM, a file or a user: a cursor
 * that never leaves its buffer. A read past the end gives zeros and makes the
 * reader bad for good, so that a parser may read all its fields and check once:
 *
 *	struct fb_reader r = fb_reader(buf, len);
 *	uint16_t a = fb_rd_be16(&r);
 *	const uint8_t *body = fb_rd_bytes(&r, n);   // NULL when short
 *	if (!fb_rd_ok(&r))
 *		return -EBADMSG;
 */
#ifndef FARBUS_UTIL_READER_H
#define FARBUS_UTIL_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

struct fb_reader {
	const uint8_t *p;
	size_t left;
	bool bad;
};

static inline struct fb_reader fb_reader(const void *buf, size_t len)
{
	struct fb_reader r = {(const uint8_t *)buf, len, false};
	return r;
}

__attribute__((warn_unused_result)) static inline bool fb_rd_ok(const struct fb_reader *r)
{
	return !r->bad;
}

/* The next n bytes, or NULL (and the reader bad) when fewer are left. */
__attribute__((warn_unused_result)) static inline const uint8_t *fb_rd_bytes(struct fb_reader *r, size_t n)
{
	const uint8_t *p = r->p;

	if (r->bad || n > r->left) {
		r->bad = true;
		return NULL;
	}
	r->p += n;
	r->left -= n;
	return p;
}

static inline uint64_t fb_rd_be(struct fb_reader *r, unsigned n)
{
	const uint8_t *p = fb_rd_bytes(r, n);
	uint64_t v = 0;

	for (unsigned i = 0; p && i < n; i++)
		v = v << 8 | p[i];
	return v;
}

static inline uint64_t fb_rd_le(struct fb_reader *r, unsigned n)
{
	const uint8_t *p = fb_rd_bytes(r, n);
	uint64_t v = 0;

	for (unsigned i = n; p && i > 0; i--)
		v = v << 8 | p[i - 1];
	return v;
}

static inline uint8_t fb_rd_u8(struct fb_reader *r) { return (uint8_t)fb_rd_be(r, 1); }
static inline uint16_t fb_rd_be16(struct fb_reader *r) { return (uint16_t)fb_rd_be(r, 2); }
static inline uint32_t fb_rd_be32(struct fb_reader *r) { return (uint32_t)fb_rd_be(r, 4); }
static inline uint64_t fb_rd_be64(struct fb_reader *r) { return fb_rd_be(r, 8); }
static inline uint16_t fb_rd_le16(struct fb_reader *r) { return (uint16_t)fb_rd_le(r, 2); }
static inline uint32_t fb_rd_le32(struct fb_reader *r) { return (uint32_t)fb_rd_le(r, 4); }
static inline uint64_t fb_rd_le64(struct fb_reader *r) { return fb_rd_le(r, 8); }

/* Unaligned accessors for buffers whose bounds are already known. */
static inline void fb_put_be16(uint8_t *p, uint16_t v) { p[0] = (uint8_t)(v >> 8); p[1] = (uint8_t)v; }
static inline void fb_put_be32(uint8_t *p, uint32_t v) { fb_put_be16(p, (uint16_t)(v >> 16)); fb_put_be16(p + 2, (uint16_t)v); }
static inline void fb_put_be64(uint8_t *p, uint64_t v) { fb_put_be32(p, (uint32_t)(v >> 32)); fb_put_be32(p + 4, (uint32_t)v); }
static inline void fb_put_le16(uint8_t *p, uint16_t v) { p[0] = (uint8_t)v; p[1] = (uint8_t)(v >> 8); }
static inline void fb_put_le32(uint8_t *p, uint32_t v) { fb_put_le16(p, (uint16_t)v); fb_put_le16(p + 2, (uint16_t)(v >> 16)); }
static inline void fb_put_le64(uint8_t *p, uint64_t v) { fb_put_le32(p, (uint32_t)v); fb_put_le32(p + 4, (uint32_t)(v >> 32)); }
static inline uint16_t fb_get_be16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static inline uint32_t fb_get_be32(const uint8_t *p) { return (uint32_t)fb_get_be16(p) << 16 | fb_get_be16(p + 2); }
static inline uint64_t fb_get_be64(const uint8_t *p) { return (uint64_t)fb_get_be32(p) << 32 | fb_get_be32(p + 4); }
static inline uint16_t fb_get_le16(const uint8_t *p) { return (uint16_t)(p[1] << 8 | p[0]); }
static inline uint32_t fb_get_le32(const uint8_t *p) { return (uint32_t)fb_get_le16(p + 2) << 16 | fb_get_le16(p); }
static inline uint64_t fb_get_le64(const uint8_t *p) { return (uint64_t)fb_get_le32(p + 4) << 32 | fb_get_le32(p); }

/* Is [offset, offset+len) inside [0, size)? No overflow whatever the values. */
__attribute__((warn_unused_result)) static inline bool fb_in_range(uint64_t offset, uint64_t len, uint64_t size)
{
	return offset <= size && len <= size - offset;
}

#ifdef __cplusplus
}
#endif
#endif
