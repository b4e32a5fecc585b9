/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registers from a guest's shell: `mmio FILE OFFSET SIZE`, where FILE is a PCI
 * resource file or /dev/mem, reads lines from standard input and answers reads
 * with a line each.
 *
 *	r4 20         read 4 (or 8) bytes at 0x20
 *	w4 8 5        write 5 there
 *	wait4 20 1 0  read until the masked value is this, 10 s at most
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static volatile unsigned char *base;

static uint64_t get(unsigned size, uint64_t at)
{
	return size == 8 ? *(volatile uint64_t *)(base + at) : *(volatile uint32_t *)(base + at);
}

static int wait_until(unsigned size, uint64_t at, uint64_t mask, uint64_t value)
{
	time_t end = time(NULL) + 10;

	while ((get(size, at) & mask) != value) {
		if (time(NULL) > end)
			return -1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t start, size, at, x, y;
	char line[128];
	unsigned bytes;
	int fd;

	if (argc != 4)
		return 2;
	start = strtoull(argv[2], NULL, 16);
	size = strtoull(argv[3], NULL, 16);
	fd = open(argv[1], O_RDWR | O_SYNC);
	base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)start);
	if (fd < 0 || base == MAP_FAILED) {
		perror(argv[1]);
		return 1;
	}
	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "r%u %" SCNx64, &bytes, &at) == 2) {
			printf("%0*" PRIx64 "\n", (int)(2 * bytes), get(bytes, at));
		} else if (sscanf(line, "w%u %" SCNx64 " %" SCNx64, &bytes, &at, &x) == 3) {
			if (bytes == 8)
				*(volatile uint64_t *)(base + at) = x;
			else
				*(volatile uint32_t *)(base + at) = (uint32_t)x;
		} else if (sscanf(line, "wait%u %" SCNx64 " %" SCNx64 " %" SCNx64, &bytes, &at, &x, &y) == 4) {
			printf("%s\n", wait_until(bytes, at, x, y) ? "never" : "so");
		} else {
			fprintf(stderr, "not understood: %s", line);
			return 2;
		}
	}
	return 0;
}
