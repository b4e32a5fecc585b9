/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The processor's crc32 instruction takes 8 bytes with a latency of 3 cycles
 * and a throughput of 1: so three lanes of equal length L run side by side and
 * are joined at the end. Appending L bytes to a message multiplies its CRC by
 * x^(8L) mod P, which is one carry-less multiplication by a constant and one
 * crc32 instruction as reduction: the 64-bit crc32 step multiplies by x^32, and
 * the product of two bit-reflected 32-bit numbers is one bit off, so the
 * constant for n bytes is x^(8n-33) mod P, reflected. Three lane lengths cover a
 * 1,500-byte datagram as well as a 9,000-byte one.
 *
 * Where one instruction multiplies four pairs (VPCLMULQDQ on 512-bit
 * registers), messages of some length are folded instead: 16 bytes that are D
 * bits away from the end of what was read are the same, to the CRC, as their
 * two halves times x^(D+64) and x^D, added to the 16 bytes D bits later. Four
 * registers of four such pieces each go through the message, are folded into
 * one register, that into one piece, and crc32 instructions reduce this and
 * what is left. The constants are the same x^(n-33) mod P, reflected.
 *
 * Without the instructions: slicing by 8 with tables made on first use.
 */
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "link/crc32c.h"

static uint32_t table[8][256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void make_table(void)
{
	for (unsigned i = 0; i < 256; i++) {
		uint32_t c = i;

		for (unsigned k = 0; k < 8; k++)
			c = c & 1 ? c >> 1 ^ 0x82f63b78u : c >> 1;
		table[0][i] = c;
	}
	for (unsigned i = 0; i < 256; i++)
		for (unsigned k = 1; k < 8; k++)
			table[k][i] = table[k - 1][i] >> 8 ^ table[0][table[k - 1][i] & 0xff];
}

static uint32_t load32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint32_t fb_crc32c_soft(uint32_t crc, const void *data, size_t len)
{
	const uint8_t *p = data;

	pthread_once(&table_once, make_table);
	crc = ~crc;
	for (; len >= 8; p += 8, len -= 8) {
		uint32_t a = crc ^ load32(p), b = load32(p + 4);

		crc = table[7][a & 0xff] ^ table[6][a >> 8 & 0xff] ^ table[5][a >> 16 & 0xff] ^ table[4][a >> 24] ^
		      table[3][b & 0xff] ^ table[2][b >> 8 & 0xff] ^ table[1][b >> 16 & 0xff] ^ table[0][b >> 24];
	}
	while (len--)
		crc = crc >> 8 ^ table[0][(crc ^ *p++) & 0xff];
	return ~crc;
}

#if defined(__x86_64__)

#include <immintrin.h>

static uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

__attribute__((target("sse4.2,pclmul"))) static uint64_t shift(uint64_t crc, uint32_t constant)
{
	__m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc), _mm_cvtsi64_si128((long long)constant), 0);

	return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

/* The last bytes, and the CRC as others know it. */
__attribute__((target("sse4.2"))) static inline uint32_t rest(uint64_t crc, const uint8_t *p, size_t len)
{
	for (; len >= 8; p += 8, len -= 8)
		crc = _mm_crc32_u64(crc, load64(p));
	while (len--)
		crc = _mm_crc32_u8((uint32_t)crc, *p++);
	return ~(uint32_t)crc;
}

static const struct lane {
	uint32_t bytes, one, two; /* lane length; constants to append one and two lanes */
} lanes[] = {
	{1024, 0x170076fa, 0xa51b6135},
	{256, 0xb9e02b86, 0xdd7e3b0c},
	{64, 0x9e4addf8, 0x0d3b6092},
};

__attribute__((target("sse4.2,pclmul"))) static uint32_t laned(uint32_t crc, const uint8_t *p, size_t len)
{
	uint64_t a = ~crc;

	for (unsigned l = 0; l < sizeof(lanes) / sizeof(lanes[0]); l++) {
		const uint32_t n = lanes[l].bytes;

		while (len >= 3 * (size_t)n) {
			uint64_t b = 0, c = 0;

			for (const uint8_t *end = p + n; p < end; p += 8) {
				a = _mm_crc32_u64(a, load64(p));
				b = _mm_crc32_u64(b, load64(p + n));
				c = _mm_crc32_u64(c, load64(p + 2 * (size_t)n));
			}
			a = shift(a, lanes[l].two) ^ shift(b, lanes[l].one) ^ c;
			p += 2 * (size_t)n;
			len -= 3 * (size_t)n;
		}
	}
	return rest(a, p, len);
}

#define FOLDS __attribute__((target("sse4.2,pclmul,avx512f,avx512dq,vpclmulqdq")))

enum { FOLD = 4 * 64 }; /* bytes in four registers */

FOLDS static inline __m512i fold(__m512i x, __m512i by, __m512i later)
{
	return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(x, by, 0x00), _mm512_clmulepi64_epi128(x, by, 0x11), later,
					 0x96); /* the sum of all three */
}

FOLDS static inline __m512i by(uint32_t first_half, uint32_t second_half)
{
	return _mm512_broadcast_i64x2(_mm_set_epi64x(second_half, first_half));
}

/* The four pieces as one: three of them 384, 256 and 128 bits on. */
FOLDS static inline __m128i one_piece(__m512i x)
{
	const __m512i to_last = _mm512_set_epi64(0, 0, 0x493c7d27, 0xf20c0dfe, 0xba4fc28e, 0x3da6d0cb, 0xddc0152b, 0x1c291d04);
	__m512i sum = fold(x, to_last, _mm512_maskz_mov_epi64(0xc0, x));

	return _mm_xor_si128(_mm_xor_si128(_mm512_extracti64x2_epi64(sum, 0), _mm512_extracti64x2_epi64(sum, 1)),
			     _mm_xor_si128(_mm512_extracti64x2_epi64(sum, 2), _mm512_extracti64x2_epi64(sum, 3)));
}

/* At least FOLD bytes. */
FOLDS static uint32_t folded(uint32_t crc, const uint8_t *p, size_t len)
{
	const __m512i by_2048 = by(0xdcb17aa4, 0xb9e02b86), by_512 = by(0x740eef02, 0x9e4addf8);
	__m512i a = _mm512_xor_si512(_mm512_loadu_si512(p), _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)~crc)));
	__m512i b = _mm512_loadu_si512(p + 64), c = _mm512_loadu_si512(p + 128), d = _mm512_loadu_si512(p + 192);
	__m128i piece;
	uint64_t r;

	for (p += FOLD, len -= FOLD; len >= FOLD; p += FOLD, len -= FOLD) {
		a = fold(a, by_2048, _mm512_loadu_si512(p));
		b = fold(b, by_2048, _mm512_loadu_si512(p + 64));
		c = fold(c, by_2048, _mm512_loadu_si512(p + 128));
		d = fold(d, by_2048, _mm512_loadu_si512(p + 192));
	}
	a = fold(fold(fold(a, by_512, b), by_512, c), by_512, d);
	for (; len >= 64; p += 64, len -= 64)
		a = fold(a, by_512, _mm512_loadu_si512(p));
	piece = one_piece(a);
	r = _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(piece));
	r = _mm_crc32_u64(r, (uint64_t)_mm_extract_epi64(piece, 1));
	return rest(r, p, len);
}

static bool has_crc32(void)
{
	return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
}

uint32_t fb_crc32c_lanes(uint32_t crc, const void *data, size_t len)
{
	return has_crc32() ? laned(crc, data, len) : fb_crc32c_soft(crc, data, len);
}

uint32_t fb_crc32c(uint32_t crc, const void *data, size_t len)
{
	if (len >= FOLD && __builtin_cpu_supports("vpclmulqdq") && __builtin_cpu_supports("avx512dq") && has_crc32())
		return folded(crc, data, len);
	return fb_crc32c_lanes(crc, data, len);
}

#else

uint32_t fb_crc32c_lanes(uint32_t crc, const void *data, size_t len)
{
	return fb_crc32c_soft(crc, data, len);
}

uint32_t fb_crc32c(uint32_t crc, const void *data, size_t len)
{
	return fb_crc32c_soft(crc, data, len);
}

#endif
