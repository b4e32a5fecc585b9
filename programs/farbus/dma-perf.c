/* SPDX-License-Identifier: Apache-2.0 */
/* How fast a target's memory is: every combination of what was asked for, one run each. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "dma-tool.h"
#include "table.h"
#include "util/histogram.h"
#include "util/log.h"
#include "util/loop.h"

enum { LIST_MAX = 32, IN_FLIGHT_MAX = 1024, PERF_SIZE_MAX = 1 << 20 };

static const char *const op_words[] = {"read", "write", NULL};
static const char *const pattern_words[] = {"fix", "seq", "random", NULL};
enum pattern { FIX, SEQ, RANDOM };

struct point {
	unsigned op, pattern;
	uint64_t size, depth;
	/* what came of it */
	uint64_t done, failed;
	double seconds;
	struct fb_histogram latency; /* ns */
};

struct run {
	struct fb_rdma *r;
	const struct dma_options *o;
	struct point *p;
	uint64_t places, next, seed, end_at;
	unsigned in_flight;
	int error;
};

struct request {
	struct fb_rdma_op op;
	struct run *run;
	uint64_t since;
};

static uint64_t place(struct run *run)
{
	uint64_t k = 0;

	if (run->p->pattern == SEQ) {
		k = run->next++ % run->places;
	} else if (run->p->pattern == RANDOM) {
		run->seed = run->seed * 6364136223846793005u + 1442695040888963407u;
		k = (uint64_t)((unsigned __int128)run->seed * run->places >> 64);
	}
	return run->o->address + k * run->p->size;
}

static void start(struct request *q)
{
	q->op.seg.addr = place(q->run);
	q->since = fb_clock_ns();
	q->run->error = fb_rdma_submit(q->run->r, &q->op);
	if (!q->run->error)
		q->run->in_flight++;
}

static void request_done(struct fb_rdma_op *op, int status)
{
	struct request *q = op->arg;
	struct run *run = q->run;
	uint64_t now = fb_clock_ns();

	run->in_flight--;
	if (status) {
		run->p->failed++;
		run->error = run->error ? run->error : status;
	} else if (now < run->end_at) { /* what ends later is not of the time that is measured */
		run->p->done++;
		fb_histogram_add(&run->p->latency, now - q->since);
	}
	if (!run->error && now < run->end_at && !dma_interrupted())
		start(q);
}

/* The exit status, logged unless 0. */
static int measure(const struct dma_options *o, struct point *p, uint64_t time_ns)
{
	struct run run = {.o = o, .p = p, .places = o->length / p->size, .seed = 88172645463325252u};
	struct request *requests = calloc(p->depth, sizeof(*requests));
	uint8_t *memory = calloc(p->depth, p->size);
	uint64_t begin = 0;
	int err = requests && memory ? 0 : -ENOMEM;
	uint64_t tlps = p->depth * ((p->size + 4095) / 4096);

	if (err)
		fb_error(NULL, "%s", strerror(ENOMEM));
	else
		err = dma_open(&run.r, o, (uint32_t)(tlps < 256 ? 256 : tlps > 1024 ? 1024 : tlps));
	if (err)
		goto free_all;
	begin = fb_clock_ns();
	run.end_at = begin + time_ns;
	for (uint64_t i = 0; i < p->depth && !run.error; i++) {
		requests[i].run = &run;
		requests[i].op = (struct fb_rdma_op){.kind = p->op ? FB_RDMA_WRITE : FB_RDMA_READ,
						     .seg = {0, memory + i * p->size, p->size},
						     .done = request_done,
						     .arg = &requests[i]};
		start(&requests[i]);
	}
	while (run.in_flight && fb_rdma_process(run.r, 100000000) == 0)
		;
	p->seconds = (double)((fb_clock_ns() < run.end_at ? fb_clock_ns() : run.end_at) - begin) / 1e9;
	if (run.error) {
		const char *text = fb_rdma_error(run.r);

		fb_error(NULL, "perf: %s of %llu bytes: %s", op_words[p->op], (unsigned long long)p->size,
			 run.error == -EFAULT ? "the target refuses: not mapped, or not open to us" :
			 *text ? text : strerror(-run.error));
		err = run.error;
	}
	fb_rdma_close(run.r);
free_all:
	free(requests);
	free(memory);
	return exit_status(err);
}

/* ---- What is asked for ----------------------------------------------------------------- */

static int words(const char *option, const struct cli_list *list, const char *const *names, unsigned def, uint64_t *v,
		 unsigned *n)
{
	*n = 1;
	v[0] = def;
	for (unsigned i = 0; i < list->n; i++) {
		unsigned k = 0;

		while (names[k] && strcmp(names[k], list->items[i]) != 0)
			k++;
		if (!names[k] || i == LIST_MAX) {
			const char *near = names[k] ? NULL : fb_nearest(list->items[i], names);

			fb_error(NULL, "%s: \"%s\" is not one of %s, %s%s%s%s%s%s", option, list->items[i], names[0],
				 names[1], names[2] ? ", " : "", names[2] ? names[2] : "", near ? "; did you mean \"" : "",
				 near ? near : "", near ? "\"?" : "");
			return -EINVAL;
		}
		v[i] = k;
		*n = i + 1;
	}
	return 0;
}

static int numbers(const char *option, const struct cli_list *list, uint64_t max, uint64_t *v, unsigned *n)
{
	for (unsigned i = 0; i < list->n; i++) {
		if (i == LIST_MAX || fb_parse_size(list->items[i], &v[i]) || v[i] == 0 || v[i] > max) {
			fb_error(NULL, "%s: \"%s\" must be 1 to %llu", option, list->items[i], (unsigned long long)max);
			return -EINVAL;
		}
		*n = i + 1;
	}
	return 0;
}

/* ---- What comes of it ------------------------------------------------------------------------ */

static const char *const heads[] = {"OP", "PATTERN", "SIZE", "IN FLIGHT", "OPS/S", "GBIT/S", "P50 US", "P99 US",
				    "P99.9 US", "MAX US", "FAILED", NULL};

static double us(const struct point *p, uint32_t per_million)
{
	return (double)fb_histogram_percentile(&p->latency, per_million) / 1000;
}

static double per_second(const struct point *p)
{
	return p->seconds > 0 ? (double)p->done / p->seconds : 0;
}

static void row(struct table *t, const struct point *p)
{
	char cells[10][32];
	const char *row_cells[] = {op_words[p->op], pattern_words[p->pattern], cells[0], cells[1], cells[2], cells[3],
				   cells[4], cells[5], cells[6], cells[7], p->failed ? cells[8] : ""};

	snprintf(cells[0], 32, "%llu", (unsigned long long)p->size);
	snprintf(cells[1], 32, "%llu", (unsigned long long)p->depth);
	snprintf(cells[2], 32, "%.0f", per_second(p));
	snprintf(cells[3], 32, "%.3f", per_second(p) * (double)p->size * 8 / 1e9);
	snprintf(cells[4], 32, "%.1f", us(p, 500000));
	snprintf(cells[5], 32, "%.1f", us(p, 990000));
	snprintf(cells[6], 32, "%.1f", us(p, 999000));
	snprintf(cells[7], 32, "%.1f", (double)p->latency.max / 1000);
	snprintf(cells[8], 32, "%llu", (unsigned long long)p->failed);
	table_add(t, row_cells);
}

static json_t *describe(const struct point *p)
{
	return json_pack("{s:s, s:s, s:I, s:I, s:f, s:I, s:I, s:f, s:f, s:I, s:I, s:I, s:I}", "op", op_words[p->op],
			 "pattern", pattern_words[p->pattern], "size", (json_int_t)p->size, "in_flight",
			 (json_int_t)p->depth, "seconds", p->seconds, "ops", (json_int_t)p->done, "failed",
			 (json_int_t)p->failed, "ops_per_second", per_second(p), "gbit_per_second",
			 per_second(p) * (double)p->size * 8 / 1e9, "p50_ns",
			 (json_int_t)fb_histogram_percentile(&p->latency, 500000), "p99_ns",
			 (json_int_t)fb_histogram_percentile(&p->latency, 990000), "p999_ns",
			 (json_int_t)fb_histogram_percentile(&p->latency, 999000), "max_ns", (json_int_t)p->latency.max);
}

int dma_perf(const struct dma_options *o)
{
	uint64_t ops[LIST_MAX], patterns[LIST_MAX], sizes[LIST_MAX] = {64, 512, 4096}, depths[LIST_MAX] = {1, 32};
	unsigned n_ops, n_patterns, n_sizes = 3, n_depths = 2, status = 0;
	struct table t = {.heads = heads};
	json_t *results = json_array();

	if (words("--op", &o->ops, op_words, 0, ops, &n_ops) ||
	    words("--pattern", &o->patterns, pattern_words, SEQ, patterns, &n_patterns) ||
	    numbers("--size", &o->sizes, PERF_SIZE_MAX, sizes, &n_sizes) ||
	    numbers("--in-flight", &o->depths, IN_FLIGHT_MAX, depths, &n_depths)) {
		json_decref(results);
		return EXIT_USAGE;
	}
	for (unsigned i = 0; i < n_ops * n_patterns * n_sizes * n_depths && !status && !dma_interrupted(); i++) {
		struct point p = {.op = (unsigned)ops[i / (n_patterns * n_sizes * n_depths)],
				  .pattern = (unsigned)patterns[i / (n_sizes * n_depths) % n_patterns],
				  .size = sizes[i / n_depths % n_sizes],
				  .depth = depths[i % n_depths]};

		if (p.size > o->length) {
			fb_error(NULL, "perf: the range of %llu bytes has no room for a request of %llu",
				 (unsigned long long)o->length, (unsigned long long)p.size);
			status = EXIT_USAGE;
			break;
		}
		status = (unsigned)measure(o, &p, o->time_ns ? o->time_ns : 1000000000);
		if (!o->json && (p.done || p.failed))
			row(&t, &p);
		json_array_append_new(results, describe(&p));
	}
	if (o->json) {
		json_t *all = json_pack("{s:s, s:I, s:I, s:O}", "target", o->target, "address", (json_int_t)o->address,
					"length", (json_int_t)o->length, "results", results);

		json_dumpf(all, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(all);
	} else if (t.n_rows) {
		table_print(&t);
	}
	json_decref(results);
	if (dma_interrupted()) {
		fb_error(NULL, "interrupted: the last run is shorter than it should be");
		return EXIT_FAILED;
	}
	return (int)status;
}
