/* SPDX-License-Identifier: Apache-2.0 */
/* Both ways to files do the same: each operation ends once, with the same results and errors. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "devices/aio.h"

enum { OPS = 3000 };

struct counted {
	struct fb_aio_op op;
	int res;
	unsigned times;
};

static void ended(struct fb_aio_op *op, int res)
{
	struct counted *c = (struct counted *)(void *)op;

	c->res = res;
	c->times++;
}

static int temp_file(char *path, off_t size)
{
	int fd;

	strcpy(path, "aio-test-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	unlink(path);
	return fd;
}

static struct counted run_one(struct fb_aio *aio, struct fb_aio_op op)
{
	struct counted c = {.op = op};
	struct pollfd p = {aio->wake_fd, POLLIN, 0};

	c.op.done = ended;
	fb_aio_queue(aio, &c.op);
	while (fb_aio_submit(aio))
		;
	fb_aio_reap(aio, 100);
	while (!c.times) {
		assert_int_equal(poll(&p, 1, 10000), 1); /* the descriptor tells */
		fb_aio_reap(aio, 100);
	}
	return c;
}

static void each(enum fb_aio_choice choice)
{
	static uint8_t buf[2][65536];
	struct counted *many = calloc(OPS, sizeof(*many));
	struct fb_aio aio;
	char path[32];
	int fd = temp_file(path, 1 << 20);
	struct stat st;

	assert_int_equal(fb_aio_open(&aio, choice, NULL, 0, false), 0);
	memset(buf[0], 0x5a, sizeof(buf[0]));
	assert_int_equal(run_one(&aio, (struct fb_aio_op){.kind = FB_AIO_WRITE,
							    .fd = fd,
							    .buf = buf[0],
							    .len = 65536,
							    .offset = 8192,
							    .dsync = true})
				 .res,
			 65536);
	assert_int_equal(run_one(&aio,
				 (struct fb_aio_op){
					 .kind = FB_AIO_READ, .fd = fd, .buf = buf[1], .len = 65536, .offset = 8192})
				 .res,
			 65536);
	assert_memory_equal(buf[0], buf[1], 65536);
	/* Short at the end, nothing beyond it, errors as they are. */
	assert_int_equal(run_one(&aio, (struct fb_aio_op){.kind = FB_AIO_READ, .fd = fd, .buf = buf[1], .len = 8192,
							    .offset = (1 << 20) - 4096}).res, 4096);
	assert_int_equal(run_one(&aio, (struct fb_aio_op){.kind = FB_AIO_READ, .fd = fd, .buf = buf[1], .len = 8192,
							    .offset = 1 << 20}).res, 0);
	assert_int_equal(
		run_one(&aio, (struct fb_aio_op){.kind = FB_AIO_READ, .fd = -1, .buf = buf[1], .len = 1}).res,
		-EBADF);
	assert_int_equal(run_one(&aio, (struct fb_aio_op){.kind = FB_AIO_FSYNC, .fd = fd}).res, 0);
	fstat(fd, &st);
	assert_int_equal(st.st_blocks, 128);
	assert_int_equal(run_one(&aio, (struct fb_aio_op){.kind = FB_AIO_FALLOCATE,
							    .fd = fd,
							    .offset = 8192,
							    .range = 65536,
							    .mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE})
				 .res,
			 0);
	fstat(fd, &st);
	assert_int_equal(st.st_blocks, 0);

	/* More than any ring holds. */
	for (unsigned i = 0; i < OPS; i++) {
		many[i].op = (struct fb_aio_op){.kind = i % 2 ? FB_AIO_READ : FB_AIO_WRITE,
						  .fd = fd,
						  .buf = buf[i % 2],
						  .len = 512,
						  .offset = i % 2000 * 512,
						  .done = ended};
		fb_aio_queue(&aio, &many[i].op);
	}
	assert_int_equal(aio.inflight, OPS);
	fb_aio_drain(&aio);
	assert_int_equal(aio.inflight, 0);
	for (unsigned i = 0; i < OPS; i++) {
		assert_int_equal(many[i].times, 1);
		assert_int_equal(many[i].res, 512);
	}
	fb_aio_close(&aio);
	free(many);
	close(fd);
}

static void test_uring(void **state)
{
	each(FB_AIO_URING);
}

static void test_threads(void **state)
{
	each(FB_AIO_THREADS);
}

/* A disk that makes writers wait: linked with --wrap=pwrite64. */
static unsigned slow_writes;

ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t offset);
ssize_t __real_pwrite64(int fd, const void *buf, size_t len, off_t offset);

ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t offset)
{
	struct timespec t = {0, 3 * FB_AIO_SLOW_NS};

	if (slow_writes) {
		slow_writes--;
		nanosleep(&t, NULL);
	}
	return __real_pwrite64(fd, buf, len, offset);
}

/* Cached writes are made at once, but told of by reap() only; a slow one sends the next to the kernel's threads. */
static void test_at_once(void **state)
{
	static uint8_t buf[4096];
	struct counted c[10];
	struct fb_aio aio;
	char path[32];
	int fd = temp_file(path, 1 << 20);
	uint8_t byte;

	assert_int_equal(fb_aio_open(&aio, FB_AIO_URING, NULL, 0, false), 0);
	for (unsigned i = 0; i < 10; i++) {
		c[i] = (struct counted){.op = {.kind = FB_AIO_WRITE, .fd = fd, .buf = buf, .len = 4096,
					       .offset = i * 4096, .cached = true, .done = ended}};
		buf[0] = (uint8_t)(i + 1);
		slow_writes = i == 4;
		fb_aio_queue(&aio, &c[i].op);
		assert_int_equal(c[i].times, 0);
		assert_int_equal(pread(fd, &byte, 1, i * 4096), 1);
		assert_int_equal(byte, i <= 4 ? i + 1 : 0); /* later ones are not submitted yet */
	}
	assert_int_equal(aio.at_once, 4);
	assert_int_equal(aio.slow, 1);
	assert_int_equal(fb_aio_reap(&aio, 3), 3);
	assert_int_equal(c[2].times, 1);
	assert_int_equal(c[3].times, 0);
	fb_aio_drain(&aio);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(c[i].times, 1);
		assert_int_equal(c[i].res, 4096);
	}
	/* When the rest is over they are made at once again; a second slow one makes the rest longer. */
	aio.rest_until_ns = 0;
	slow_writes = 1;
	assert_int_equal(run_one(&aio, c[0].op).res, 4096);
	assert_int_equal(aio.slow, 2);
	assert_int_equal(aio.rests, 2);
	/* Errors are told like all others. */
	aio.rest_until_ns = 0;
	c[0].op.fd = -1;
	assert_int_equal(run_one(&aio, c[0].op).res, -EBADF);
	fb_aio_close(&aio);
	close(fd);
}

/* Small reads enter the kernel together, large ones so few at a time that it does not merge them. */
static void test_large(void **state)
{
	enum { N = 8 };
	static const struct {
		uint32_t len;
		unsigned submits;
	} cases[] = {{4096, 1}, {64 << 10, N / 2}};
	static uint8_t buf[N][64 << 10];
	struct fb_aio aio;
	char path[32];
	int fd = temp_file(path, 1 << 20);

	assert_int_equal(fb_aio_open(&aio, FB_AIO_URING, NULL, 0, false), 0);
	for (unsigned k = 0; k < 2; k++) {
		struct counted c[N];
		uint64_t before = aio.submits;

		for (unsigned i = 0; i < N; i++) {
			c[i] = (struct counted){.op = {.kind = FB_AIO_READ, .fd = fd, .buf = buf[i], .len = cases[k].len,
						       .offset = i * cases[k].len, .done = ended}};
			fb_aio_queue(&aio, &c[i].op);
		}
		assert_false(fb_aio_submit(&aio));
		assert_int_equal(aio.submits - before, cases[k].submits);
		fb_aio_drain(&aio);
		for (unsigned i = 0; i < N; i++)
			assert_int_equal(c[i].res, cases[k].len);
	}
	fb_aio_close(&aio);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_uring),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_at_once),
		cmocka_unit_test(test_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
