/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC32C (Castagnoli; RFC 3720 B.4 has vectors). UDP's own checksum misses
 * one damaged datagram in 65,536, and offloads skip it; this one sits in every
 * datagram of the link. Pure, any thread.
 */
#ifndef FARBUS_LINK_CRC32C_H
#define FARBUS_LINK_CRC32C_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Goes on from `crc` (0 at the start): crc(crc(0, a), b) is that of a and b in one. */
uint32_t fb_crc32c(uint32_t crc, const void *data, size_t len);

/* For tests: the portable form, and that of processors with a crc32 instruction (others: the portable one). */
uint32_t fb_crc32c_soft(uint32_t crc, const void *data, size_t len);
uint32_t fb_crc32c_lanes(uint32_t crc, const void *data, size_t len);

#ifdef __cplusplus
}
#endif
#endif
