/* SPDX-License-Identifier: Apache-2.0 */
/* `farbus dma`: what its verbs share. cmd-dma.c parses and has read, write, fill; scan and perf are files of their own. */
#ifndef FARBUS_PROGRAMS_DMA_TOOL_H
#define FARBUS_PROGRAMS_DMA_TOOL_H

#include <farbus/dma.h>

#include "cli.h"

enum { DMA_PAGE = 4096, DMA_FIND_MAX = 256 };

struct dma_options {
	/* of the target */
	uint32_t depth, group, mtu, poll_us, requester;
	uint64_t max_payload, max_read, timeout_ns, connect_ns;
	char *fault;
	bool json;
	/* of the data */
	char *out, *in, *hex, *text;
	/* of perf */
	struct cli_list ops, sizes, depths, patterns;
	uint64_t time_ns;

	uint64_t address, length; /* the words after the target */
	const char *target;
	bool length_given;
};

/* Opens the target, with `depth` TLPs in flight unless --depth said otherwise. 0 or -errno, logged. */
int dma_open(struct fb_rdma **out, const struct dma_options *o, uint32_t depth);
/* What was asked for was ended by SIGINT or SIGTERM, which are held back from dma_catch_signals() on. */
void dma_catch_signals(void);
bool dma_interrupted(void);
/* --hex or --text as bytes, from malloc. 0 or -EINVAL, logged. */
int dma_pattern(const struct dma_options *o, uint8_t **bytes, size_t *n);
/* "1.5 MiB"; returns buf. */
char *dma_size_text(double bytes, char buf[32]);

/* Verbs: exit status. */
int dma_scan(struct fb_rdma *r, const struct dma_options *o);
int dma_perf(const struct dma_options *o);

#endif
