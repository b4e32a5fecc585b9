/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Offers: what reads of registers would give, sent ahead by the function, and
 * what the root tells it of their use. docs/design/offers.md says why, and what
 * has to hold; the layout is part of docs/protocol.md.
 *
 * Both are Vendor_Defined Type 1 messages with data, as those of tlp/ring_wire.h
 * are, and under the same vendor ID. All fields are little-endian.
 */
#ifndef FARBUS_TLP_OFFER_WIRE_H
#define FARBUS_TLP_OFFER_WIRE_H

#include <stdint.h>

#include "util/reader.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
	FB_OFFER = 0x4f464652,      /* function to root: struct fb_offer */
	FB_OFFER_USED = 0x55534544, /* root to function: struct fb_offer_used */

	FB_OFFER_VALUES = 7, /* at most: with them it fits the least Max_Payload_Size */
	FB_OFFER_HEADER = 8,
	FB_OFFER_VALUE_SIZE = 16,
	FB_OFFER_SIZE_MAX = FB_OFFER_HEADER + FB_OFFER_VALUES * FB_OFFER_VALUE_SIZE,
	FB_OFFER_USED_SIZE = 12,

	FB_OFFER_INERT = 1 << 0,       /* of a value: reading it does nothing */
	FB_OFFER_LOWERS_INTX = 1 << 1, /* of a value: after the read INTx is not asserted */
	FB_OFFER_LOWERED = 1 << 0,     /* of a use: the root has taken it so */
};

/* A read of `size` bytes at `offset` of the BAR would give `value`. */
struct fb_offer_value {
	uint8_t bar, size; /* size: 1, 2, 4 or 8 */
	uint8_t flags;
	uint32_t offset;   /* a multiple of size */
	uint64_t value;
};

/*
 * A function's values at one time, in the order in which they are read; it
 * replaces the offer before. `seen`: how many requests and messages of the root
 * the function had received in this session.
 */
struct fb_offer {
	uint32_t seq, seen;
	unsigned n; /* 0: nothing is offered any more */
	struct fb_offer_value value[FB_OFFER_VALUES];
};

/* The root has answered a read from offer `seq`. */
struct fb_offer_used {
	uint32_t seq, offset;
	uint8_t bar, flags;
};

/* Returns the size of the payload. */
static inline unsigned fb_offer_put(const struct fb_offer *o, uint8_t p[FB_OFFER_SIZE_MAX])
{
	fb_put_le32(p, o->seq);
	fb_put_le32(p + 4, o->seen);
	p += FB_OFFER_HEADER;
	for (const struct fb_offer_value *v = o->value; v < o->value + o->n; v++, p += FB_OFFER_VALUE_SIZE) {
		p[0] = v->bar;
		p[1] = v->size;
		p[2] = v->flags;
		p[3] = 0;
		fb_put_le32(p + 4, v->offset);
		fb_put_le64(p + 8, v->value);
	}
	return FB_OFFER_HEADER + o->n * FB_OFFER_VALUE_SIZE;
}

/* False: not a whole number of values, too many, or a field out of range. */
__attribute__((warn_unused_result)) static inline bool fb_offer_get(struct fb_offer *o, const uint8_t *p, size_t len)
{
	struct fb_reader rd = fb_reader(p, len);

	o->seq = fb_rd_le32(&rd);
	o->seen = fb_rd_le32(&rd);
	if (!fb_rd_ok(&rd) || rd.left % FB_OFFER_VALUE_SIZE || rd.left > FB_OFFER_VALUES * FB_OFFER_VALUE_SIZE)
		return false;
	for (o->n = 0; rd.left; o->n++) {
		struct fb_offer_value *v = &o->value[o->n];

		v->bar = fb_rd_u8(&rd);
		v->size = fb_rd_u8(&rd);
		v->flags = fb_rd_u8(&rd);
		(void)fb_rd_u8(&rd);
		v->offset = fb_rd_le32(&rd);
		v->value = fb_rd_le64(&rd);
		if (v->bar > 5 || (v->size != 1 && v->size != 2 && v->size != 4 && v->size != 8) || v->offset % v->size)
			return false;
	}
	return true;
}

static inline void fb_offer_used_put(const struct fb_offer_used *u, uint8_t p[FB_OFFER_USED_SIZE])
{
	fb_put_le32(p, u->seq);
	fb_put_le32(p + 4, u->offset);
	p[8] = u->bar;
	p[9] = u->flags;
	fb_put_le16(p + 10, 0);
}

/* False: too short. */
__attribute__((warn_unused_result)) static inline bool fb_offer_used_get(struct fb_offer_used *u, const uint8_t *p,
									 size_t len)
{
	struct fb_reader rd = fb_reader(p, len);

	u->seq = fb_rd_le32(&rd);
	u->offset = fb_rd_le32(&rd);
	u->bar = fb_rd_u8(&rd);
	u->flags = fb_rd_u8(&rd);
	(void)fb_rd_le16(&rd);
	return fb_rd_ok(&rd);
}

#ifdef __cplusplus
}
#endif
#endif
