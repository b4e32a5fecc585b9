/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ECRC, 2.7.1: polynomial 04C1 1DB7h, seed all ones, each byte bit 0 first, the
 * complement mapped so that the register's first bit becomes bit 7 of the first
 * digest byte. That is the CRC of Ethernet, sent low byte first. Eight bytes a
 * step by eight tables (made at build time by gen-ecrc-table.c).
 */
#include <string.h>

#include "ecrc_table.h"
#include "tlp/rules.h"
#include "util/reader.h"

static uint32_t update(uint32_t crc, const uint8_t *p, size_t len)
{
	for (; len >= 8; p += 8, len -= 8) {
		uint32_t a = crc ^ fb_get_le32(p), b = fb_get_le32(p + 4);

		crc = ecrc_table[7][a & 0xff] ^ ecrc_table[6][a >> 8 & 0xff] ^ ecrc_table[5][a >> 16 & 0xff] ^
		      ecrc_table[4][a >> 24] ^ ecrc_table[3][b & 0xff] ^ ecrc_table[2][b >> 8 & 0xff] ^
		      ecrc_table[1][b >> 16 & 0xff] ^ ecrc_table[0][b >> 24];
	}
	for (; len > 0; p++, len--)
		crc = crc >> 8 ^ ecrc_table[0][(crc ^ *p) & 0xff];
	return crc;
}

uint32_t pcie_tlp_ecrc(const void *buf, size_t len)
{
	const uint8_t *p = (const uint8_t *)buf, *end = p + len;
	uint32_t crc = 0xffffffff;
	uint8_t dw0[4], digest[4];

	/* Local prefixes may change on the way and do not count; end-to-end ones do, whole. */
	while (end - p >= 4 && (p[0] & 0xe0) == 0x80) {
		if (p[0] & 0x10)
			crc = update(crc, p, 4);
		p += 4;
	}
	if (end - p < 4)
		return 0;
	/* Variant, taken as set: bit 0 of Type (Cfg type 1 becomes type 0 on the way), EP. */
	memcpy(dw0, p, 4);
	dw0[0] |= 0x01;
	dw0[2] |= 0x40;
	crc = update(crc, dw0, 4);
	crc = ~update(crc, p + 4, (size_t)(end - p) - 4);
	fb_put_le32(digest, crc);
	return fb_get_be32(digest);
}
