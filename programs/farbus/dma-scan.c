/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The range is read page by page (4 KiB), many at a time, for a page is what can
 * be absent. Pages come back in any order into a ring and are looked at in
 * theirs: runs of pages that are there go to the file in one write, pages that
 * are not, or hold nothing but zeros, are left out (the file is sparse), and what
 * is to be found is also found across a page's end.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "dma-tool.h"
#include "util/log.h"
#include "util/loop.h"

enum { RING = 1024, HITS_SHOWN = 1000000 };
#define PROGRESS_NS UINT64_C(250000000)

enum slot_state { SLOT_IDLE, SLOT_READING, SLOT_THERE, SLOT_ABSENT };

struct slot {
	struct fb_rdma_op op;
	struct scan *scan;
	enum slot_state state;
	uint32_t len;
};

struct range {
	uint64_t first, last;
};

struct scan {
	struct fb_rdma *r;
	const struct dma_options *o;
	struct slot *slots;
	uint8_t *memory; /* RING pages */
	uint64_t asked, seen; /* bytes of the range: asked for; looked at */
	unsigned in_flight;
	int error;
	char error_text[160];

	int fd; /* -1: no file */
	bool stream; /* it cannot be sought in */
	uint8_t *find;
	size_t find_len;
	uint8_t carry[DMA_FIND_MAX + DMA_PAGE];
	size_t carried;
	uint64_t hits, there, absent, zeros;
	struct range *ranges; /* what is mapped */
	size_t n_ranges, cap_ranges;
	json_t *found;
	uint64_t started, progress_at;
};

static uint64_t slot_index(const struct scan *s, uint64_t offset)
{
	return (offset + (s->o->address & (DMA_PAGE - 1))) / DMA_PAGE % RING;
}

/* ---- Reading --------------------------------------------------------------------------- */

static void page_done(struct fb_rdma_op *op, int status)
{
	struct slot *slot = op->arg;
	struct scan *s = slot->scan;

	s->in_flight--;
	slot->state = status ? SLOT_ABSENT : SLOT_THERE;
	if (status && status != -EFAULT && !s->error) {
		s->error = status;
		snprintf(s->error_text, sizeof(s->error_text), "%s", fb_rdma_error(s->r));
	}
}

static void ask(struct scan *s)
{
	while (s->asked < s->o->length && !s->error && !dma_interrupted()) {
		uint64_t addr = s->o->address + s->asked;
		struct slot *slot = &s->slots[slot_index(s, s->asked)];
		uint64_t n = DMA_PAGE - (addr & (DMA_PAGE - 1));
		int err;

		if (slot->state != SLOT_IDLE)
			return;
		if (n > s->o->length - s->asked)
			n = s->o->length - s->asked;
		slot->len = (uint32_t)n;
		slot->op = (struct fb_rdma_op){
			.kind = FB_RDMA_READ,
			.seg = {addr, s->memory + (size_t)(slot - s->slots) * DMA_PAGE + (addr & (DMA_PAGE - 1)), n},
			.done = page_done,
			.arg = slot,
		};
		err = fb_rdma_submit(s->r, &slot->op);
		if (err) {
			s->error = err;
			snprintf(s->error_text, sizeof(s->error_text), "%s", fb_rdma_error(s->r));
			return;
		}
		slot->state = SLOT_READING;
		s->in_flight++;
		s->asked += n;
	}
}

/* ---- Looking --------------------------------------------------------------------------- */

static void hit(struct scan *s, uint64_t address)
{
	if (++s->hits > HITS_SHOWN)
		return;
	if (s->o->json)
		json_array_append_new(s->found, json_integer((json_int_t)address));
	else if (s->fd != STDOUT_FILENO)
		printf("found at 0x%llx\n", (unsigned long long)address);
}

/* Bytes of the range in order; what the last ones have of a match is carried over. */
static void look(struct scan *s, uint64_t address, const uint8_t *p, uint32_t n)
{
	const uint8_t *at = s->carry, *end;
	size_t total;

	if (!s->find_len)
		return;
	memcpy(s->carry + s->carried, p, n);
	total = s->carried + n;
	end = s->carry + total;
	while ((at = memmem(at, (size_t)(end - at), s->find, s->find_len))) {
		hit(s, address - s->carried + (uint64_t)(at - s->carry));
		at++;
	}
	s->carried = total < s->find_len - 1 ? total : s->find_len - 1;
	memmove(s->carry, s->carry + total - s->carried, s->carried);
}

static void mapped(struct scan *s, uint64_t address, uint32_t n)
{
	struct range *last = s->n_ranges ? &s->ranges[s->n_ranges - 1] : NULL;

	if (last && last->last + 1 == address) {
		last->last += n;
		return;
	}
	if (s->n_ranges == s->cap_ranges) {
		size_t cap = s->cap_ranges ? 2 * s->cap_ranges : 64;
		struct range *more = realloc(s->ranges, cap * sizeof(*more));

		if (!more)
			return; /* the list is for people: the scan goes on */
		s->ranges = more;
		s->cap_ranges = cap;
	}
	s->ranges[s->n_ranges++] = (struct range){address, address + n - 1};
}

static bool all_zero(const uint8_t *p, uint32_t n)
{
	return n && !p[0] && memcmp(p, p + 1, n - 1) == 0;
}

static int put_bytes(struct scan *s, uint64_t offset, const uint8_t *p, size_t n)
{
	while (n) {
		ssize_t w = s->stream ? write(s->fd, p, n) : pwrite(s->fd, p, n, (off_t)offset);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0) {
			s->error = -errno;
			snprintf(s->error_text, sizeof(s->error_text), "%s: %s", s->o->out, strerror(errno));
			return -1;
		}
		p += w;
		offset += (uint64_t)w;
		n -= (size_t)w;
	}
	return 0;
}

/* Everything from `seen` on that is here: in runs of pages that lie next to each other in the ring, and go to the file. */
static void digest(struct scan *s)
{
	static const uint8_t nothing[DMA_PAGE];
	const uint8_t *run = NULL;
	uint64_t run_at = 0;
	size_t run_len = 0;

	while (s->seen < s->asked) {
		struct slot *slot = &s->slots[slot_index(s, s->seen)];
		uint64_t address = s->o->address + s->seen;
		const uint8_t *p = slot->op.seg.buf;
		bool wanted = s->fd >= 0;

		if (slot->state == SLOT_READING || slot->state == SLOT_IDLE)
			break;
		if (slot->state == SLOT_ABSENT) {
			s->absent += slot->len;
			s->carried = 0;
			wanted = wanted && s->stream;
			p = nothing;
		} else {
			bool zero = all_zero(p, slot->len);

			s->there += slot->len;
			s->zeros += zero ? slot->len : 0;
			mapped(s, address, slot->len);
			look(s, address, p, slot->len);
			wanted = wanted && (s->stream || !zero);
		}
		if (run && (!wanted || run + run_len != p)) {
			if (put_bytes(s, run_at, run, run_len) < 0)
				return;
			run = NULL;
		}
		if (wanted && !run) {
			run = p;
			run_at = s->seen;
			run_len = 0;
		}
		if (wanted)
			run_len += slot->len;
		slot->state = SLOT_IDLE;
		s->seen += slot->len;
	}
	if (run)
		put_bytes(s, run_at, run, run_len);
}

/* ---- Telling ------------------------------------------------------------------------------ */

static double seconds(const struct scan *s)
{
	return (double)(fb_clock_ns() - s->started) / 1e9;
}

static void progress(struct scan *s)
{
	char size[32], rate[32];

	if (fb_clock_ns() < s->progress_at || !isatty(STDERR_FILENO))
		return;
	s->progress_at = fb_clock_ns() + PROGRESS_NS;
	fprintf(stderr, "\r%5.1f %%  %s  %s/s  %llu found \033[K", 100.0 * (double)s->seen / (double)s->o->length,
		dma_size_text((double)s->there, size), dma_size_text((double)s->there / seconds(s), rate),
		(unsigned long long)s->hits);
}

static void report_json(struct scan *s, double time)
{
	json_t *ranges = json_array(), *o;

	for (size_t i = 0; i < s->n_ranges; i++)
		json_array_append_new(ranges, json_pack("{s:I, s:I}", "address", (json_int_t)s->ranges[i].first, "bytes",
							(json_int_t)(s->ranges[i].last - s->ranges[i].first + 1)));
	o = json_pack("{s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:b, s:I, s:O, s:o}", "address", (json_int_t)s->o->address,
		      "scanned_bytes", (json_int_t)s->seen, "mapped_bytes", (json_int_t)s->there, "unmapped_bytes",
		      (json_int_t)s->absent, "zero_bytes", (json_int_t)s->zeros, "seconds", time, "bytes_per_second",
		      time > 0 ? (double)s->there / time : 0.0, "complete", s->seen == s->o->length, "hits",
		      (json_int_t)s->hits, "found", s->found, "mapped", ranges);
	json_dumpf(o, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(o);
}

static void report(struct scan *s)
{
	double time = seconds(s);
	char there[32], absent[32], rate[32];

	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K");
	if (s->o->json && s->fd != STDOUT_FILENO) {
		report_json(s, time);
		return;
	}
	for (size_t i = 0; i < s->n_ranges && s->fd != STDOUT_FILENO; i++)
		printf("mapped 0x%llx..0x%llx  %s\n", (unsigned long long)s->ranges[i].first,
		       (unsigned long long)s->ranges[i].last,
		       dma_size_text((double)(s->ranges[i].last - s->ranges[i].first + 1), there));
	fflush(stdout);
	fprintf(stderr, "%s%s read in %.2f s (%s/s), %s not mapped", s->seen < s->o->length ? "incomplete: " : "",
		dma_size_text((double)s->there, there), time, dma_size_text((double)s->there / (time > 0 ? time : 1), rate),
		dma_size_text((double)s->absent, absent));
	if (s->find_len)
		fprintf(stderr, ", found %llu times", (unsigned long long)s->hits);
	fprintf(stderr, "\n");
}

/* ---- The whole ------------------------------------------------------------------------------ */

static int open_file(struct scan *s)
{
	struct stat st;

	s->fd = -1;
	if (!s->o->out)
		return 0;
	s->fd = !strcmp(s->o->out, "-") ? STDOUT_FILENO
					: open(s->o->out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (s->fd < 0 || fstat(s->fd, &st) < 0) {
		fb_error(NULL, "%s: %s", s->o->out, strerror(errno));
		return -errno;
	}
	s->stream = s->fd == STDOUT_FILENO || !S_ISREG(st.st_mode);
	return 0;
}

static int close_file(struct scan *s)
{
	int err = 0;

	if (s->fd < 0)
		return 0;
	if (!s->stream && ftruncate(s->fd, (off_t)s->seen) < 0) /* a hole may be last */
		err = -errno;
	if (s->fd != STDOUT_FILENO && close(s->fd) < 0)
		err = -errno;
	if (err)
		fb_error(NULL, "%s: %s", s->o->out, strerror(-err));
	return err;
}

int dma_scan(struct fb_rdma *r, const struct dma_options *o)
{
	struct scan s = {.r = r, .o = o, .started = fb_clock_ns(), .found = json_array()};
	int status = EXIT_FAILED;

	if (dma_pattern(o, &s.find, &s.find_len))
		return EXIT_USAGE;
	if (s.find_len > DMA_FIND_MAX) {
		fb_error(NULL, "no more than %d bytes can be looked for", DMA_FIND_MAX);
		status = EXIT_USAGE;
		goto free_all;
	}
	s.slots = calloc(RING, sizeof(*s.slots));
	s.memory = malloc((size_t)RING * DMA_PAGE);
	if (!s.slots || !s.memory) {
		fb_error(NULL, "%s", strerror(ENOMEM));
		goto free_all;
	}
	for (unsigned i = 0; i < RING; i++)
		s.slots[i].scan = &s;
	if (open_file(&s) < 0)
		goto free_all;
	s.progress_at = s.started + PROGRESS_NS;
	do {
		ask(&s);
		if (s.in_flight && fb_rdma_process(r, 100000000) < 0)
			break;
		digest(&s);
		progress(&s);
	} while (s.in_flight || (s.asked < o->length && !s.error && !dma_interrupted()));
	status = close_file(&s) < 0 ? EXIT_FAILED : 0;
	report(&s);
	if (s.error) {
		fb_error(NULL, "scan: %s", *s.error_text ? s.error_text : strerror(-s.error));
		status = EXIT_FAILED;
	} else if (s.seen < o->length) {
		status = EXIT_FAILED;
	}
free_all:
	free(s.slots);
	free(s.memory);
	free(s.ranges);
	free(s.find);
	json_decref(s.found);
	return status;
}
