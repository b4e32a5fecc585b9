/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "link/ranges.h"

int fb_ranges_add(struct fb_ranges *r, uint64_t start, uint64_t end)
{
	unsigned i = r->n, j;

	if (start >= end)
		return 0;
	/* From the back: what arrives is mostly newer than all there is. */
	while (i && r->v[i - 1].end >= start)
		i--;
	for (j = i; j < r->n && r->v[j].start <= end; j++)
		;
	/* v[i..j) touch the new one */
	if (i == j) {
		if (r->n == FB_RANGES_MAX)
			return -1;
		memmove(&r->v[i + 1], &r->v[i], (r->n - i) * sizeof(r->v[0]));
		r->n++;
		r->v[i] = (struct fb_range){start, end};
		return 1;
	}
	if (j == i + 1 && r->v[i].start <= start && r->v[i].end >= end)
		return 0;
	if (r->v[i].start < start)
		start = r->v[i].start;
	if (r->v[j - 1].end > end)
		end = r->v[j - 1].end;
	r->v[i] = (struct fb_range){start, end};
	memmove(&r->v[i + 1], &r->v[j], (r->n - j) * sizeof(r->v[0]));
	r->n -= j - i - 1;
	return 1;
}

void fb_ranges_cut(struct fb_ranges *r, uint64_t pos)
{
	unsigned i = 0;

	while (i < r->n && r->v[i].end <= pos)
		i++;
	if (i) {
		memmove(&r->v[0], &r->v[i], (r->n - i) * sizeof(r->v[0]));
		r->n -= i;
	}
	if (r->n && r->v[0].start < pos)
		r->v[0].start = pos;
}
