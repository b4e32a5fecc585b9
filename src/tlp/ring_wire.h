/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ring prefetch: what a function tells a root of its rings, and what the root
 * sends along with a doorbell. docs/design/ring.md says why; the layout is part of
 * docs/protocol.md.
 *
 * And shadow doorbells: an index that the host keeps in its memory, and writes to
 * the register only when it passes the event index (docs/design/shadow.md).
 *
 * All are Vendor_Defined Type 1 messages with data (base spec 2.2.8.6): who
 * does not know them drops them without an error, and nothing but time is lost.
 * The vendor ID is FAB5h; the vendor's DW says which of them it is. All
 * fields are little-endian, as registers are.
 */
#ifndef FARBUS_TLP_RING_WIRE_H
#define FARBUS_TLP_RING_WIRE_H

#include <stdint.h>

#include "util/reader.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
	FB_RING_VENDOR = 0xfab5,
	FB_RING_RULE = 0x52494e47,  /* function to root: struct fb_ring_rule */
	FB_RING_AHEAD = 0x44415441, /* root to function: address (8 bytes), length (4), zero (4), the bytes, zeros to a DW */
	FB_RING_ABLE = 0x41424c45,  /* root to function: what it can do, FB_RING_CAN_* (4) */
	FB_RING_INDEX = 0x494e4458, /* root to function: slot (1), zeros (3), the index in its shadow (4) */

	FB_RING_CAN_SHADOW = 1 << 0, /* it serves shadow doorbells */
	FB_RING_CAN_OFFERS = 1 << 1, /* it answers reads from offers (tlp/offer_wire.h) */

	FB_RING_SLOTS = 64,      /* rings of a function */
	FB_RING_RULE_SIZE = 52,
	FB_RING_RULE_LEAST = 36, /* without shadow and event */
	FB_RING_AHEAD_HEADER = 16,
	FB_RING_AHEAD_MAX = 2048, /* bytes in one message */
	FB_RING_ENTRY_MAX = 256,
	FB_RING_ENTRIES_MAX = 65536,
	FB_RING_DATA_MAX = 4096,

	FB_RING_REGISTERS_MAX = 64, /* of one rule of pointer registers */
	FB_RING_LIST_MAX = 32768,   /* bytes of a block's data */
};
#define FB_RING_POINTERS 0x80000000u /* in `entries`: a rule that roots which know only rings refuse */

/*
 * A ring in the VM's memory whose producer index is written to a register of
 * the function. What the root sends along: the entries from the index before to
 * the new one, and for each whose byte `match_at` is `match` its data: the number
 * of bytes is (the 16-bit number at `count_at` + 1) << count_shift, and they lie
 * at the 64-bit address at `pointer_at`; none if they are more than data_max or
 * cross a 4 KiB boundary.
 *
 * With a shadow the host keeps the index there, as 32 bits, and writes the
 * register only when the index passes the one at `event`.
 *
 * Or (`pointers`) 64-bit registers to which the address itself of a block is
 * written, at once, or the lower half and then the upper one. What the root sends
 * along: entry_size bytes from there, and if byte `match_at` is `match` the data
 * of a list in the block: the first element has its address at `pointer_at` and
 * (the 32-bit number at `count_at`) << count_shift bytes, the next ones follow
 * list_stride bytes apart, as far as they are in the block, and the last has
 * something else than 0 in its byte at `end_at`. No data if the list does not
 * end in the block, or is of more than data_max bytes in all.
 */
struct fb_ring_rule {
	uint8_t slot;        /* replaces what was in the slot */
	uint8_t bar;
	uint32_t reg;        /* offset in the BAR */
	uint64_t base;
	uint32_t entry_size; /* a multiple of 4 */
	uint32_t entries;    /* 0: the slot is empty from now on */
	uint8_t match_at, match, pointer_at, count_at, count_shift;
	uint16_t data_max;   /* 0: no data */
	uint64_t shadow, event; /* multiples of 4; both 0: there is no shadow */

	bool pointers; /* `entries` registers, reg_stride bytes apart; base means nothing */
	uint16_t reg_stride;
	uint8_t list_stride; /* 0: one element */
	uint8_t end_at;
};

static inline void fb_ring_rule_put(const struct fb_ring_rule *r, uint8_t p[FB_RING_RULE_SIZE])
{
	p[0] = r->slot;
	p[1] = r->bar;
	fb_put_le16(p + 2, r->data_max);
	fb_put_le32(p + 4, r->reg);
	fb_put_le64(p + 8, r->base);
	fb_put_le32(p + 16, r->entry_size);
	fb_put_le32(p + 20, r->entries | (r->pointers ? FB_RING_POINTERS : 0));
	p[24] = r->match_at;
	p[25] = r->match;
	p[26] = r->pointer_at;
	p[27] = r->count_at;
	p[28] = r->count_shift;
	p[29] = r->list_stride;
	p[30] = r->end_at;
	p[31] = 0;
	fb_put_le16(p + 32, r->reg_stride);
	fb_put_le16(p + 34, 0);
	fb_put_le64(p + 36, r->shadow);
	fb_put_le64(p + 44, r->event);
}

static inline bool fb_ring_rule_ring_ok(const struct fb_ring_rule *r)
{
	return r->entries >= 2 && r->entries <= FB_RING_ENTRIES_MAX && r->entry_size && r->entry_size % 4 == 0 &&
	       r->entry_size <= FB_RING_ENTRY_MAX &&
	       r->base <= UINT64_MAX - (uint64_t)r->entries * r->entry_size &&
	       (r->shadow | r->event) % 4 == 0 && !r->shadow == !r->event &&
	       (r->data_max == 0 ||
		(r->data_max <= FB_RING_DATA_MAX && r->match_at < r->entry_size && r->pointer_at + 8u <= r->entry_size &&
		 r->count_at + 2u <= r->entry_size && r->count_shift <= 12));
}

static inline bool fb_ring_rule_pointers_ok(const struct fb_ring_rule *r)
{
	return r->entries && r->entries <= FB_RING_REGISTERS_MAX && r->reg_stride >= 8 && !(r->shadow | r->event) &&
	       r->entry_size && r->entry_size % 4 == 0 && r->entry_size <= FB_RING_ENTRY_MAX &&
	       (r->data_max == 0 ||
		(r->data_max <= FB_RING_LIST_MAX && r->match_at < r->entry_size && r->pointer_at + 8u <= r->entry_size &&
		 r->count_at + 4u <= r->entry_size && r->end_at < r->entry_size && r->count_shift <= 12));
}

/* False: too short, or a field out of range. */
__attribute__((warn_unused_result)) static inline bool fb_ring_rule_get(struct fb_ring_rule *r, const uint8_t *p, size_t len)
{
	struct fb_reader rd = fb_reader(p, len);

	r->slot = fb_rd_u8(&rd);
	r->bar = fb_rd_u8(&rd);
	r->data_max = fb_rd_le16(&rd);
	r->reg = fb_rd_le32(&rd);
	r->base = fb_rd_le64(&rd);
	r->entry_size = fb_rd_le32(&rd);
	r->entries = fb_rd_le32(&rd);
	r->match_at = fb_rd_u8(&rd);
	r->match = fb_rd_u8(&rd);
	r->pointer_at = fb_rd_u8(&rd);
	r->count_at = fb_rd_u8(&rd);
	r->count_shift = fb_rd_u8(&rd);
	r->list_stride = fb_rd_u8(&rd);
	r->end_at = fb_rd_u8(&rd);
	(void)fb_rd_u8(&rd);
	r->reg_stride = fb_rd_le16(&rd);
	(void)fb_rd_le16(&rd);
	r->shadow = r->event = 0;
	if (len >= FB_RING_RULE_SIZE) {
		r->shadow = fb_rd_le64(&rd);
		r->event = fb_rd_le64(&rd);
	}
	r->pointers = r->entries & FB_RING_POINTERS;
	r->entries &= ~FB_RING_POINTERS;
	if (!fb_rd_ok(&rd) || r->slot >= FB_RING_SLOTS || r->bar > 5)
		return false;
	if (r->pointers)
		return fb_ring_rule_pointers_ok(r);
	return r->entries == 0 || fb_ring_rule_ring_ok(r);
}

#ifdef __cplusplus
}
#endif
#endif
