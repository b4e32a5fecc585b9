/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A histogram of times (or any counts) with logarithmic buckets: fixed memory,
 * one addition a sample, percentiles to within 1/32 of their value. Values of
 * 2^41 (in nanoseconds: 36 minutes) and above are in the last bucket. All zeros
 * is an empty one. Pure.
 */
#ifndef FARBUS_UTIL_HISTOGRAM_H
#define FARBUS_UTIL_HISTOGRAM_H

#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
	FB_HISTOGRAM_SUB = 16,  /* buckets of a power of two */
	FB_HISTOGRAM_LOG = 4,   /* of it, the logarithm */
	FB_HISTOGRAM_TOP = 40,  /* the highest bit looked at */
	FB_HISTOGRAM_BUCKETS = FB_HISTOGRAM_SUB * (FB_HISTOGRAM_TOP - FB_HISTOGRAM_LOG + 2),
};

struct fb_histogram {
	uint64_t n, sum, max;
	uint32_t bucket[FB_HISTOGRAM_BUCKETS];
};

static inline unsigned fb_histogram_bucket(uint64_t v)
{
	unsigned top;

	if (v < FB_HISTOGRAM_SUB)
		return (unsigned)v;
	top = 63 - (unsigned)__builtin_clzll(v);
	if (top > FB_HISTOGRAM_TOP)
		return FB_HISTOGRAM_BUCKETS - 1;
	return FB_HISTOGRAM_SUB * (top - FB_HISTOGRAM_LOG) + (unsigned)(v >> (top - FB_HISTOGRAM_LOG));
}

static inline void fb_histogram_add(struct fb_histogram *h, uint64_t v)
{
	uint32_t *bucket = &h->bucket[fb_histogram_bucket(v)];

	*bucket += *bucket != UINT32_MAX;
	h->n++;
	h->sum += v;
	if (v > h->max)
		h->max = v;
}

/* The middle of a bucket. */
static inline uint64_t fb_histogram_value(unsigned bucket)
{
	unsigned shift = bucket / FB_HISTOGRAM_SUB;

	if (shift < 2)
		return bucket;
	shift--;
	return ((uint64_t)(FB_HISTOGRAM_SUB + bucket % FB_HISTOGRAM_SUB) << shift) + (UINT64_C(1) << shift >> 1);
}

/* The value below which `per_million` of a million samples are; never above the largest seen. 0 without samples. */
static inline uint64_t fb_histogram_percentile(const struct fb_histogram *h, uint32_t per_million)
{
	uint64_t want = 0, seen = 0, v;

	for (unsigned i = 0; i < FB_HISTOGRAM_BUCKETS; i++)
		want += h->bucket[i];
	if (!want)
		return 0;
	want = (want * per_million + 999999) / 1000000;
	for (unsigned i = 0; i < FB_HISTOGRAM_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen >= want && seen) {
			v = fb_histogram_value(i);
			return v < h->max ? v : h->max;
		}
	}
	return h->max;
}

static inline void fb_histogram_reset(struct fb_histogram *h)
{
	memset(h, 0, sizeof(*h));
}

#ifdef __cplusplus
}
#endif
#endif
