/* SPDX-License-Identifier: Apache-2.0 */
/* Latency samples in nanoseconds, and their summary as one JSON object. */
#ifndef FARBUS_BENCH_SAMPLES_H
#define FARBUS_BENCH_SAMPLES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct samples {
	uint64_t *v;
	unsigned n, cap;
};

uint64_t samples_clock(void); /* CLOCK_MONOTONIC */
int samples_init(struct samples *s, unsigned cap); /* 0 or -ENOMEM */
void samples_add(struct samples *s, uint64_t ns);  /* dropped once full */
/* {"count":…,"min_ns":…,"p50_ns":…,"p90_ns":…,"p99_ns":…,"mean_ns":…} and a newline. Sorts the samples. */
void samples_print_json(struct samples *s, FILE *out);
void samples_free(struct samples *s);

#endif
