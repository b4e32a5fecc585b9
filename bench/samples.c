/* SPDX-License-Identifier: Apache-2.0 */
#include "samples.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

uint64_t samples_clock(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int samples_init(struct samples *s, unsigned cap)
{
	s->n = 0;
	s->cap = cap;
	s->v = calloc(cap ? cap : 1, sizeof(*s->v));
	return s->v ? 0 : -ENOMEM;
}

void samples_add(struct samples *s, uint64_t ns)
{
	if (s->n < s->cap)
		s->v[s->n++] = ns;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t at(const struct samples *s, unsigned percent)
{
	return s->v[(uint64_t)(s->n - 1) * percent / 100];
}

void samples_print_json(struct samples *s, FILE *out)
{
	double sum = 0;

	if (!s->n) {
		fprintf(out, "{\"count\":0}\n");
		return;
	}
	qsort(s->v, s->n, sizeof(*s->v), compare);
	for (unsigned i = 0; i < s->n; i++)
		sum += (double)s->v[i];
	fprintf(out,
		"{\"count\":%u,\"min_ns\":%" PRIu64 ",\"p50_ns\":%" PRIu64 ",\"p90_ns\":%" PRIu64 ",\"p99_ns\":%" PRIu64
		",\"mean_ns\":%.0f}\n",
		s->n, s->v[0], at(s, 50), at(s, 90), at(s, 99), sum / s->n);
}

void samples_free(struct samples *s)
{
	free(s->v);
	s->v = NULL;
}
