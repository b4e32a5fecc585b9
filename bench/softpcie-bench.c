/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads and writes of a host's memory by SoftPCIe:
 *
 *	softpcie-bench LOCAL ADAPTER read|write ADDRESS SIZE DEPTH SECONDS
 *	softpcie-bench guest SOCKET ADDRESS BYTES       stands where QEMU stands, with that memory, until killed
 *
 * LOCAL and ADAPTER are IPv4 addresses. The first form prints one JSON object.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "samples.h"
#include "softpcie/remote.h"
#include "util/loop.h"
#include "vfio_user_client.h"

enum { DEPTH_MAX = 256, SAMPLES = 1 << 22, SPIN_NS = 50000 };

struct run {
	struct fb_softpcie_remote *remote;
	uint64_t base, window, size, next;
	uint64_t done, failed, until;
	struct samples samples;
};

struct slot {
	struct run *run;
	uint64_t started;
	uint8_t buf[4096];
};

static void start(struct slot *s);

static void done(void *arg, int status)
{
	struct slot *s = arg;
	struct run *r = s->run;
	uint64_t now = fb_clock_ns();

	samples_add(&r->samples, now - s->started);
	r->done += status == 0;
	r->failed += status != 0;
	if (now < r->until)
		start(s);
}

static void start(struct slot *s)
{
	struct run *r = s->run;
	uint64_t at = r->base + r->next;

	r->next = (r->next + r->size) % (r->window - r->size + 1);
	r->next -= r->next % r->size;
	s->started = fb_clock_ns();
	if (fb_softpcie_read(fb_softpcie_remote_requester(r->remote), at, s->buf, (uint32_t)r->size, s->started, done, s))
		r->failed++;
}

static void reads(struct run *r, unsigned depth)
{
	struct slot *slots = calloc(depth, sizeof(*slots));
	struct fb_softpcie_requester *rq = fb_softpcie_remote_requester(r->remote);
	uint64_t idle = fb_clock_ns();

	for (unsigned i = 0; slots && i < depth; i++) {
		slots[i].run = r;
		start(&slots[i]);
	}
	while (!fb_softpcie_requester_idle(rq)) {
		struct pollfd p = {.fd = fb_softpcie_remote_fd(r->remote), .events = POLLIN};
		uint64_t now = fb_clock_ns();

		if (fb_softpcie_remote_process(r->remote, now))
			idle = now;
		else if (now - idle > SPIN_NS)
			poll(&p, 1, 1);
	}
	free(slots);
}

static void writes(struct run *r)
{
	static uint8_t data[4096];

	while (fb_clock_ns() < r->until) {
		for (unsigned i = 0; i < 64; i++) {
			if (fb_softpcie_write(fb_softpcie_remote_requester(r->remote), r->base + r->next, data, (uint32_t)r->size))
				break;
			r->done++;
			r->next = (r->next + r->size) % (1 << 20);
		}
		fb_softpcie_remote_process(r->remote, fb_clock_ns());
	}
}

static int measure(char **argv)
{
	struct fb_softpcie_remote_config c = {.name = "softpcie-bench", .mps = 512, .mrrs = 512};
	unsigned depth = (unsigned)atoi(argv[6]);
	double seconds = atof(argv[7]);
	bool read = !strcmp(argv[3], "read");
	struct run r = {.base = strtoull(argv[4], NULL, 0), .window = 1 << 20, .size = strtoull(argv[5], NULL, 0)};
	uint64_t begin;

	if (fb_softpcie_parse_addr(argv[1], &c.local) || fb_softpcie_parse_addr(argv[2], &c.adapter) || !r.size ||
	    r.size > 4096 || !depth || depth > DEPTH_MAX || seconds <= 0) {
		fprintf(stderr, "softpcie-bench: LOCAL ADAPTER read|write ADDRESS SIZE (1..4096) DEPTH (1..%d) SECONDS\n", DEPTH_MAX);
		return 2;
	}
	if (samples_init(&r.samples, SAMPLES) || fb_softpcie_remote_open(&r.remote, &c, NULL, NULL))
		return 1;
	begin = fb_clock_ns();
	r.until = begin + (uint64_t)(seconds * 1e9);
	if (read)
		reads(&r, depth);
	else
		writes(&r);
	seconds = (double)(fb_clock_ns() - begin) / 1e9;
	printf("{\"ops_per_second\":%.0f,\"gbit_per_second\":%.3f,\"failed\":%" PRIu64 ",\"latency\":", (double)r.done / seconds,
	       (double)(r.done * r.size) * 8 / seconds / 1e9, r.failed);
	samples_print_json(&r.samples, stdout);
	printf("}\n");
	fb_softpcie_remote_close(r.remote);
	samples_free(&r.samples);
	return 0;
}

static int guest(char **argv)
{
	uint64_t addr = strtoull(argv[3], NULL, 0), size = strtoull(argv[4], NULL, 0);
	int fd = memfd_create("guest", 0), err;
	uint16_t command = 6;
	struct vuc c;

	if (fd < 0 || ftruncate(fd, (off_t)size)) {
		perror("softpcie-bench: memory");
		return 1;
	}
	err = vuc_connect(&c, argv[2], false);
	if (!err)
		err = vuc_dma_map(&c, fd, 0, addr, size);
	if (!err)
		err = vuc_write(&c, VUC_CONFIG_REGION, 4, &command, 2, false);
	if (err) {
		fprintf(stderr, "softpcie-bench: %s: %s\n", argv[2], strerror(-err));
		return 1;
	}
	printf("ready\n");
	fflush(stdout);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	if (argc == 8)
		return measure(argv);
	if (argc == 5 && !strcmp(argv[1], "guest"))
		return guest(argv);
	fprintf(stderr, "softpcie-bench: see the head of its source\n");
	return 2;
}
