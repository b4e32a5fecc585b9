/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/magic.h>

#include "root/dma_map.h"

static void test_edges(void **state)
{
	struct fb_dma_map m = {0};
	const char *why;
	bool messages;

	assert_null(fb_dma_map_find(&m, 0));
	assert_int_equal(fb_dma_map_add(&m, 0, 0, 3, -1, 0, &why), -EINVAL);
	assert_int_equal(fb_dma_map_add(&m, 1, UINT64_MAX, 3, -1, 0, &why), 0); /* up to the very last byte */
	assert_int_equal(fb_dma_map_add(&m, 0, 2, 3, -1, 0, &why), -EEXIST);
	assert_int_equal(fb_dma_map_add(&m, UINT64_MAX, 1, 3, -1, 0, &why), -EEXIST);
	assert_int_equal(fb_dma_map_add(&m, 0, 1, 3, -1, 0, &why), 0);
	assert_non_null(fb_dma_map_find(&m, UINT64_MAX));
	assert_int_equal(fb_dma_map_check(&m, UINT64_MAX - 3, 4, 3, &messages), 0);
	assert_true(messages);
	assert_int_equal(fb_dma_map_check(&m, UINT64_MAX - 3, 8, 3, &messages), -EFAULT);
	assert_int_equal(fb_dma_map_remove(&m, 2, 5), -EINVAL);
	assert_int_equal(fb_dma_map_remove(&m, 0, 5), -EINVAL);
	assert_int_equal(fb_dma_map_remove(&m, 0, 0), -EINVAL);
	assert_int_equal(fb_dma_map_remove(&m, 1, UINT64_MAX), 1);
	assert_int_equal(fb_dma_map_remove(&m, 1, UINT64_MAX), -ENOENT);
	fb_dma_map_clear(&m);
	assert_int_equal(m.n, 0);
	/* flags */
	assert_int_equal(fb_dma_map_add(&m, 0, 16, 4, -1, 0, &why), -EINVAL);
	assert_int_equal(fb_dma_map_add(&m, 0, 16, FB_DMA_READABLE, -1, 0, &why), 0);
	assert_int_equal(fb_dma_map_add(&m, 16, 16, 3, -1, 0, &why), 0);
	assert_int_equal(fb_dma_map_check(&m, 8, 16, FB_DMA_READABLE, &messages), 0);
	assert_int_equal(fb_dma_map_check(&m, 8, 16, FB_DMA_WRITABLE, &messages), -EACCES);
	assert_int_equal(fb_dma_map_check(&m, 24, 9, FB_DMA_READABLE, &messages), -EFAULT);
	fb_dma_map_clear(&m);
}

/* A client takes no more of the address space and of the mappings that all share than its part. */
static void test_mapped_limits(void **state)
{
	struct fb_dma_map m = {0};
	int fd = memfd_create("m", MFD_CLOEXEC);
	const uint64_t half = FB_DMA_MAPPED_BYTES_MAX / 2;
	const char *why;

	assert_int_equal(ftruncate(fd, (off_t)half), 0); /* sparse */
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(fb_dma_map_add(&m, i * half, half, 3, fd, 0, &why), 0);
		assert_true((why == NULL) == (i < 2));
	}
	assert_int_equal(fb_dma_map_remove(&m, 0, half), 1);
	assert_int_equal(fb_dma_map_add(&m, 0, half, 3, fd, 0, &why), 0);
	assert_null(why);
	fb_dma_map_clear(&m);
	for (unsigned i = 0; i <= FB_DMA_MAPPED_MAX; i++) {
		assert_int_equal(fb_dma_map_add(&m, i * UINT64_C(8192), 4096, 3, fd, 0, &why), 0);
		assert_true((why == NULL) == (i < FB_DMA_MAPPED_MAX));
	}
	fb_dma_map_clear(&m);
	close(fd);
}

/* A file of a file system that may let us wait is not mapped; what lies in memory is. */
static void test_only_memory(void **state)
{
	static const struct {
		const char *path;
		bool memory;
	} files[] = {{"/proc/self/status", false}, {"/proc/self/exe", false}, {"/dev/shm", true}};
	struct fb_dma_map m = {0};
	const char *why;

	for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		int fd = open(files[i].path, files[i].memory ? O_RDWR | O_TMPFILE | O_CLOEXEC : O_RDONLY | O_CLOEXEC, 0600);
		struct statfs fs;

		/* The test itself may run from a tmpfs, and there need be none at /dev/shm. */
		if (fd < 0 || fstatfs(fd, &fs) < 0 || (fs.f_type == TMPFS_MAGIC) != files[i].memory) {
			print_message("%s is not what this test needs: left out\n", files[i].path);
			if (fd >= 0)
				close(fd);
			continue;
		}
		assert_true(!files[i].memory || ftruncate(fd, 4096) == 0);
		assert_int_equal(fb_dma_map_add(&m, i * 4096, 4096, FB_DMA_READABLE, fd, 0, &why), 0);
		assert_true((why == NULL) == files[i].memory);
		assert_true((fb_dma_map_find(&m, i * 4096)->host != NULL) == files[i].memory);
		close(fd);
	}
	fb_dma_map_clear(&m);
}

static void test_file(void **state)
{
	struct fb_dma_map m = {0};
	int fd = memfd_create("m", MFD_CLOEXEC), ro;
	const char *why;
	char path[64];

	assert_int_equal(ftruncate(fd, 65536), 0);
	assert_int_equal(fb_dma_map_add(&m, 0x1000, 65536, 3, fd, 0, &why), 0);
	assert_null(why);
	/* offsets need not be whole pages */
	assert_int_equal(fb_dma_map_add(&m, 0x100000, 100, 3, fd, 5000, &why), 0);
	assert_null(why);
	m.v[1].host[7] = 0x42;
	assert_int_equal(m.v[0].host[5007], 0x42);
	assert_int_equal(fb_dma_map_add(&m, 0x200000, 65536, 3, fd, 1, &why), 0);
	assert_non_null(strstr(why, "shorter"));
	assert_int_equal(fb_dma_map_add(&m, 0x300000, 65536, 3, fd, UINT64_MAX - 100, &why), 0);
	assert_non_null(strstr(why, "shorter"));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY);
	assert_int_equal(fb_dma_map_add(&m, 0x400000, 4096, 3, ro, 0, &why), 0);
	assert_non_null(strstr(why, "cannot be mapped")); /* opened for reading only */
	assert_int_equal(fb_dma_map_add(&m, 0x500000, 4096, 1, ro, 0, &why), 0);
	assert_null(why);
	assert_int_equal(m.without_host, 3);
	fb_dma_map_clear(&m);
	close(ro);
	close(fd);
}

/* Against a table of pages: which region, if any, holds each. */
static void test_random(void **state)
{
	enum { PAGES = 256, STEPS = 20000 };
	static int owner[PAGES]; /* 0: none, else the region's number */
	static struct { unsigned at, n, flags; } region[STEPS + 1];
	struct fb_dma_map m = {0};
	const char *why;

	srand(7);
	memset(owner, 0, sizeof(owner));
	for (int step = 1; step <= STEPS; step++) {
		unsigned at = (unsigned)rand() % PAGES, n = 1 + (unsigned)rand() % 12, flags = 1 + (unsigned)rand() % 3;
		int got, want = 0;

		if (at + n > PAGES)
			n = PAGES - at;
		if (rand() % 2) {
			for (unsigned i = at; i < at + n; i++)
				want = owner[i] ? -EEXIST : want;
			got = fb_dma_map_add(&m, (uint64_t)at << 12, (uint64_t)n << 12, flags, -1, 0, &why);
			assert_int_equal(got, want);
			for (unsigned i = at; !want && i < at + n; i++)
				owner[i] = step;
			region[step].at = at;
			region[step].n = n;
			region[step].flags = flags;
		} else {
			unsigned count = 0;

			/* it may take whole regions, and none in part */
			for (unsigned i = at; i < at + n; i++) {
				if (!owner[i])
					continue;
				if (region[owner[i]].at < at || region[owner[i]].at + region[owner[i]].n > at + n)
					want = -EINVAL;
				count += region[owner[i]].at == i;
			}
			if (!want)
				want = count ? (int)count : -ENOENT;
			got = fb_dma_map_remove(&m, (uint64_t)at << 12, (uint64_t)n << 12);
			assert_int_equal(got, want);
			for (unsigned i = at; want > 0 && i < at + n; i++)
				owner[i] = 0;
		}
		for (unsigned probe = 0; probe < 8; probe++) {
			unsigned page = (unsigned)rand() % PAGES, len = 1 + (unsigned)rand() % 5, ask = 1u << (rand() % 2);
			const struct fb_dma_region *r = fb_dma_map_find(&m, ((uint64_t)page << 12) + 77);
			bool messages;
			int expect = 0;

			assert_int_equal(r != NULL, owner[page] != 0);
			if (r) {
				assert_int_equal(r->iova >> 12, region[owner[page]].at);
				assert_int_equal(r->flags, region[owner[page]].flags);
			}
			for (unsigned i = page; !expect && i < page + len; i++) {
				if (i >= PAGES || !owner[i])
					expect = -EFAULT;
				else if (!(region[owner[i]].flags & ask))
					expect = -EACCES;
			}
			assert_int_equal(fb_dma_map_check(&m, (uint64_t)page << 12, (uint64_t)len << 12, ask, &messages), expect);
		}
	}
	fb_dma_map_clear(&m);
}

static void poke(void *arg)
{
	*(volatile char *)arg = 1;
}

static void test_guard(void **state)
{
	int fd = memfd_create("m", MFD_CLOEXEC);
	char buf[16] = {0}, *p;

	fb_dma_guard_init();
	assert_int_equal(ftruncate(fd, 4096), 0);
	p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	for (unsigned i = 0; i < 3; i++) { /* it must not work only once */
		assert_int_equal(fb_dma_store(p + 4096, buf, 16), -EFAULT);
		assert_int_equal(fb_dma_copy(buf, p + 4096 - 8, 16), -EFAULT);
		assert_int_equal(fb_dma_guarded(poke, p + 5000), -EFAULT);
		assert_int_equal(fb_dma_store(p, buf, 16), 0);
		assert_int_equal(fb_dma_guarded(poke, p), 0);
	}
	munmap(p, 8192);
	close(fd);
}

/* Every place and length, and nothing beside it. */
static void test_store(void **state)
{
	uint8_t to[128], from[128], want[128];

	for (unsigned i = 0; i < sizeof(from); i++)
		from[i] = (uint8_t)(i + 1);
	for (unsigned at = 0; at < 33; at++) {
		for (unsigned len = 0; len < 80; len++) {
			memset(to, 0xee, sizeof(to));
			memset(want, 0xee, sizeof(want));
			memcpy(want + at, from + (len & 7), len);
			assert_int_equal(fb_dma_store(to + at, from + (len & 7), len), 0);
			assert_memory_equal(to, want, sizeof(to));
		}
	}
}

/*
 * The guest looks on and uses again what it sees written: a child stores, instruction by instruction, and after each the bytes
 * that have become new are marked. A byte that is stored twice loses its mark.
 */
static void test_stored_once(void **state)
{
	enum { OLD, NEW, MARK, ROOM = 512 };
	static const unsigned lengths[] = {24, 66, 130, 320};
	uint8_t *memory = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), from[ROOM];

	memset(from, NEW, sizeof(from));
	for (unsigned i = 0; i < 2 * sizeof(lengths) / sizeof(lengths[0]); i++) {
		unsigned len = lengths[i / 2], at = i % 2 * 2, seen = 0; /* seen: rising, so those in front have been marked */
		int status;
		pid_t child;

		memset(memory, OLD, ROOM);
		child = fork();
		if (child == 0) {
			ptrace(PTRACE_TRACEME, 0, NULL, NULL);
			raise(SIGSTOP);
			fb_dma_store(memory + at, from, len);
			_exit(0);
		}
		while (waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
			while (seen < len && memory[at + seen] == NEW)
				memory[at + seen++] = MARK;
			assert_int_equal(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL), 0);
		}
		assert_true(WIFEXITED(status));
		while (seen < len && memory[at + seen] == NEW)
			memory[at + seen++] = MARK;
		assert_int_equal(seen, len);
		for (unsigned k = 0; k < ROOM; k++)
			assert_int_equal(memory[k], k >= at && k < at + len ? MARK : OLD);
	}
	munmap(memory, ROOM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_edges),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_only_memory),
		cmocka_unit_test(test_mapped_limits),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_guard),
		cmocka_unit_test(test_store),
		cmocka_unit_test(test_stored_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
