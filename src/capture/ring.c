/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "capture/ring.h"

int fb_capture_ring_init(struct fb_capture_ring *r, size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), n = page;
	uint8_t *base;
	int fd, err = 0;

	while (n < size)
		n *= 2;
	fd = memfd_create("farbus-capture", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)n) < 0) {
		err = -errno;
		goto close_fd;
	}
	/* Its place first, then both halves into it. */
	base = mmap(NULL, 2 * n, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (base == MAP_FAILED) {
		err = -errno;
		goto close_fd;
	}
	if (mmap(base, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED ||
	    mmap(base + n, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
		err = -errno;
		munmap(base, 2 * n);
		goto close_fd;
	}
	*r = (struct fb_capture_ring){.base = base, .size = n};
close_fd:
	close(fd);
	return err;
}

void fb_capture_ring_fini(struct fb_capture_ring *r)
{
	if (r->base)
		munmap(r->base, 2 * r->size);
	r->base = NULL;
}

uint8_t *fb_capture_ring_reserve(struct fb_capture_ring *r, size_t max)
{
	if (r->size - (r->head - r->tail_seen) < max) {
		r->tail_seen = __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE);
		if (r->size - (r->head - r->tail_seen) < max)
			return NULL;
	}
	return r->base + (r->head & (r->size - 1));
}

size_t fb_capture_ring_commit(struct fb_capture_ring *r, size_t len)
{
	__atomic_store_n(&r->head, r->head + len, __ATOMIC_RELEASE);
	return r->head - r->tail_seen;
}

size_t fb_capture_ring_peek(struct fb_capture_ring *r, const uint8_t **data)
{
	*data = r->base + (r->tail & (r->size - 1));
	return __atomic_load_n(&r->head, __ATOMIC_ACQUIRE) - r->tail;
}

void fb_capture_ring_consume(struct fb_capture_ring *r, size_t len)
{
	__atomic_store_n(&r->tail, r->tail + len, __ATOMIC_RELEASE);
}
