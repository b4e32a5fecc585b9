/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times the path root - network - box at a dmagen function, from where QEMU
 * would stand:
 *
 *	path SOCKET mmio-read COUNT [spin]
 *	path SOCKET mmio-write COUNT
 *	path SOCKET dma-write|dma-read SIZE DEPTH OPS
 *
 * Prints one JSON object.
 */
#include "dmagen.h"
#include "samples.h"
#include "vfio_user_client.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

enum { WINDOW = 64 << 20, MAX_RUN_MS = 60000 };
static const uint64_t WINDOW_IOVA = 0x100000000;

static int fail(const char *what, int r)
{
	fprintf(stderr, "path: %s: %s\n", what, strerror(r < 0 ? -r : r));
	return 1;
}

static int set(struct vuc *c, unsigned offset, uint64_t value)
{
	return vuc_write(c, 0, offset, &value, sizeof(value), true);
}

static int get(struct vuc *c, unsigned offset, uint64_t *value)
{
	return vuc_read(c, 0, offset, value, sizeof(*value));
}

static int mmio_read(struct vuc *c, unsigned count)
{
	struct samples s;
	uint64_t value;
	int r = samples_init(&s, count);

	for (unsigned i = 0; !r && i < count + count / 10; i++) {
		uint64_t start = samples_clock();

		r = get(c, DMAGEN_SCRATCH, &value);
		if (i >= count / 10) /* the first tenth warms up */
			samples_add(&s, samples_clock() - start);
	}
	if (r)
		return fail("read", r);
	samples_print_json(&s, stdout);
	samples_free(&s);
	return 0;
}

static int mmio_write(struct vuc *c, unsigned count)
{
	uint64_t start = samples_clock(), before, after, ns;
	int r = get(c, DMAGEN_COUNT, &before);

	for (unsigned i = 0; !r && i < count; i++)
		r = set(c, DMAGEN_SCRATCH, i);
	if (!r)
		r = get(c, DMAGEN_COUNT, &after); /* behind the writes: they have all arrived */
	ns = samples_clock() - start;
	if (r)
		return fail("write", r);
	if (after - before != count) {
		fprintf(stderr, "path: %u writes sent, %" PRIu64 " arrived\n", count, after - before);
		return 1;
	}
	printf("{\"count\":%u,\"ns\":%" PRIu64 ",\"per_second\":%.0f}\n", count, ns, count * 1e9 / (double)ns);
	return 0;
}

static int enable_msi(struct vuc *c, int eventfd)
{
	uint8_t at;
	uint16_t control = 0;
	int r = vuc_read(c, VUC_CONFIG_REGION, 0x34, &at, 1);

	for (unsigned i = 0; !r && at >= 0x40 && i < 48; i++) {
		uint8_t cap[2];

		r = vuc_read(c, VUC_CONFIG_REGION, at, cap, 2);
		if (r)
			return r;
		if (cap[0] == 0x05) {
			r = vuc_set_irq_eventfd(c, VUC_MSI, 0, eventfd);
			if (!r)
				r = vuc_read(c, VUC_CONFIG_REGION, at + 2u, &control, 2);
			control |= 1;
			return r ? r : vuc_write(c, VUC_CONFIG_REGION, at + 2u, &control, 2, false);
		}
		at = cap[1] & 0xfc;
	}
	return r ? r : -ENODEV;
}

static int dma(struct vuc *c, bool is_read, uint64_t size, uint64_t depth, uint64_t ops)
{
	int memfd = memfd_create("window", MFD_CLOEXEC), event = eventfd(0, EFD_CLOEXEC), r = 0;
	struct pollfd p = {.fd = event, .events = POLLIN};
	uint64_t ns = 0, errors = 0;
	void *mem;

	if (memfd < 0 || event < 0 || ftruncate(memfd, WINDOW))
		return fail("memory", errno);
	mem = mmap(NULL, WINDOW, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, memfd, 0);
	if (mem == MAP_FAILED)
		return fail("memory", errno);
	if ((r = vuc_dma_map(c, memfd, 0, WINDOW_IOVA, WINDOW)))
		return fail("DMA_MAP", r);
	if ((r = enable_msi(c, event)))
		return fail("MSI", r);
	if ((r = set(c, DMAGEN_ADDR, WINDOW_IOVA)) || (r = set(c, DMAGEN_SPAN, WINDOW)) ||
	    (r = set(c, DMAGEN_SIZE, size)) || (r = set(c, DMAGEN_DEPTH, depth)) || (r = set(c, DMAGEN_OPS, ops)) ||
	    (r = set(c, DMAGEN_START, is_read)))
		return fail("start", r);
	if (poll(&p, 1, MAX_RUN_MS) != 1)
		return fail("no interrupt within a minute", ETIMEDOUT);
	if ((r = get(c, DMAGEN_ELAPSED, &ns)) || (r = get(c, DMAGEN_ERRORS, &errors)))
		return fail("result", r);
	if (errors || !ns) {
		fprintf(stderr, "path: %" PRIu64 " operations failed\n", errors);
		return 1;
	}
	if (!is_read && ((uint8_t *)mem)[size - 1] != 0x5a) {
		fprintf(stderr, "path: the data did not arrive\n");
		return 1;
	}
	printf("{\"size\":%" PRIu64 ",\"depth\":%" PRIu64 ",\"ops\":%" PRIu64 ",\"ns\":%" PRIu64
	       ",\"ops_per_second\":%.0f,\"gbit_per_second\":%.3f}\n",
	       size, depth, ops, ns, (double)ops * 1e9 / (double)ns, (double)(ops * size) * 8 / (double)ns);
	munmap(mem, WINDOW);
	return 0;
}

int main(int argc, char **argv)
{
	static const uint16_t memory_and_master = 6;
	bool spin = argc > 1 && !strcmp(argv[argc - 1], "spin");
	int n = argc - (spin ? 1 : 0), r;
	struct vuc c;

	if (n < 4) {
		fprintf(stderr, "usage: path SOCKET mmio-read COUNT [spin] | mmio-write COUNT | "
				"dma-write|dma-read SIZE DEPTH OPS\n");
		return 2;
	}
	r = vuc_connect(&c, argv[1], spin);
	if (r)
		return fail(argv[1], r);
	r = vuc_write(&c, VUC_CONFIG_REGION, 4, &memory_and_master, 2, false);
	if (r)
		r = fail("command register", r);
	else if (!strcmp(argv[2], "mmio-read"))
		r = mmio_read(&c, (unsigned)strtoul(argv[3], NULL, 0));
	else if (!strcmp(argv[2], "mmio-write"))
		r = mmio_write(&c, (unsigned)strtoul(argv[3], NULL, 0));
	else if (n == 6 && (!strcmp(argv[2], "dma-write") || !strcmp(argv[2], "dma-read")))
		r = dma(&c, !strcmp(argv[2], "dma-read"), strtoull(argv[3], NULL, 0), strtoull(argv[4], NULL, 0),
			strtoull(argv[5], NULL, 0));
	else
		r = fail(argv[2], EINVAL);
	vuc_close(&c);
	return r;
}
