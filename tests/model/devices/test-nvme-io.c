/* SPDX-License-Identifier: Apache-2.0 */
/*
 * I/O commands against files that behave and files that do not.
 * DESIGN.md, Failure: "disk full, file truncated, short read under a model".
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "inject.h"
#include "nvme_host.h"

static struct nvme_sqe rw(uint8_t opc, uint64_t slba, uint32_t blocks, uint64_t buf)
{
	return host_rw(opc, 1, slba, blocks, buf, buf + 4096);
}

static uint64_t allocated(const struct host *h)
{
	struct stat st;

	assert_int_equal(stat(h->path, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static bool all(const uint8_t *p, size_t n, uint8_t v)
{
	for (size_t i = 0; i < n; i++) {
		if (p[i] != v)
			return false;
	}
	return true;
}

static void test_ranges(void **state)
{
	static const uint8_t ops[] = {NVME_CMD_READ, NVME_CMD_WRITE, NVME_CMD_COMPARE, NVME_CMD_VERIFY,
				      NVME_CMD_WRITE_ZEROES};
	struct host h;
	uint64_t buf;

	host_start(&h, 1 << 20, "", 1, 16);
	buf = host_alloc(&h, 8192, 4096);
	for (unsigned i = 0; i < sizeof(ops); i++) {
		assert_int_equal(host_status(&h, 1, rw(ops[i], 2040, 8, buf)), 0);
		assert_int_equal(host_status(&h, 1, rw(ops[i], 2041, 8, buf)), NVME_SC_LBA_RANGE);
		assert_int_equal(host_status(&h, 1, rw(ops[i], 2048, 1, buf)), NVME_SC_LBA_RANGE);
		assert_int_equal(host_status(&h, 1, rw(ops[i], UINT64_MAX, 1, buf)), NVME_SC_LBA_RANGE);
		assert_int_equal(host_status(&h, 1, rw(ops[i], UINT64_MAX - 3, 8, buf)), NVME_SC_LBA_RANGE);
		assert_int_equal(host_status(&h, 1, rw(ops[i], UINT64_C(1) << 55, 8, buf)), NVME_SC_LBA_RANGE);
		assert_int_equal(host_status(&h, 1, host_rw(ops[i], 0, 0, 1, buf, 0)), NVME_SC_INVALID_NAMESPACE);
		assert_int_equal(host_status(&h, 1, host_rw(ops[i], 2, 0, 1, buf, 0)), NVME_SC_INVALID_NAMESPACE);
		assert_int_equal(host_status(&h, 1, host_rw(ops[i], UINT32_MAX, 0, 1, buf, 0)),
				 NVME_SC_INVALID_NAMESPACE);
	}
	assert_int_equal(host_status(&h, 1, host_cmd(NVME_CMD_FLUSH, 2)), NVME_SC_INVALID_NAMESPACE);
	assert_int_equal(host_status(&h, 1, host_cmd(0x04, 1)), NVME_SC_INVALID_OPCODE); /* Write Uncorrectable */
	assert_int_equal(host_status(&h, 1, host_cmd(0x0d, 1)), NVME_SC_INVALID_OPCODE); /* Reservation Register */
	{
		struct nvme_sqe sqe = rw(NVME_CMD_COMPARE, 0, 1, buf);

		sqe.flags = 1;
		assert_int_equal(host_status(&h, 1, sqe), NVME_SC_INVALID_FIELD);
	}
	/* Nothing of all this wrote anything but zeros of the buffer at the end. */
	assert_true(allocated(&h) <= 8192);
	host_close(&h);
}

static void test_compare_verify(void **state)
{
	struct inject inj;
	struct host h;
	uint64_t buf;

	host_start(&h, 32 << 20, "mdts=64K", 1, 16);
	buf = host_alloc(&h, 8192, 4096);
	memset(host_mem(&h, buf), 0x11, 8192);
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_WRITE, 16, 16, buf)), 0);
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_COMPARE, 16, 16, buf)), 0);
	host_mem(&h, buf)[8191] = 0x12;
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_COMPARE, 16, 16, buf)), NVME_SC_COMPARE_FAILURE);
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_COMPARE, 16, 15, buf)), 0);
	/* Verify is not bound by MDTS, and finds what cannot be read, in any part. */
	inject_into(&inj, &h.n->aio);
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_VERIFY, 0, 65536, buf)), 0);
	assert_int_equal(inj.seen[FB_AIO_READ], (32 << 20) / (64 << 10));
	inj.fail[FB_AIO_READ] = -EIO;
	inj.fail_after[FB_AIO_READ] = 300;
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_VERIFY, 0, 65536, buf)), NVME_SC_UNRECOVERED_READ);
	host_close(&h);
}

/* What Flush and FUA do to the file. */
static void test_durability(void **state)
{
	struct nvme_sqe fua;
	struct inject inj;
	struct host h;
	uint64_t buf;

	host_start(&h, 1 << 20, "", 1, 16);
	buf = host_alloc(&h, 8192, 4096);
	inject_into(&inj, &h.n->aio);
	/* The first flush always syncs: an earlier process may have left writes. */
	assert_int_equal(host_status(&h, 1, host_cmd(NVME_CMD_FLUSH, 1)), 0);
	assert_int_equal(inj.seen[FB_AIO_FSYNC], 1);
	assert_int_equal(host_status(&h, 1, host_cmd(NVME_CMD_FLUSH, 1)), 0);
	assert_int_equal(inj.seen[FB_AIO_FSYNC], 1); /* nothing was written in between */
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_WRITE, 0, 8, buf)), 0);
	assert_int_equal(inj.dsyncs, 0);
	assert_int_equal(host_status(&h, 1, host_cmd(NVME_CMD_FLUSH, UINT32_MAX)), 0);
	assert_int_equal(inj.seen[FB_AIO_FSYNC], 2);
	fua = rw(NVME_CMD_WRITE, 0, 8, buf);
	nvme_put32(&fua.cdw12, 7 | NVME_RW_FUA);
	assert_int_equal(host_status(&h, 1, fua), 0);
	assert_int_equal(inj.dsyncs, 1);
	fua = rw(NVME_CMD_WRITE_ZEROES, 0, 8, buf);
	nvme_put32(&fua.cdw12, 7 | NVME_RW_FUA);
	assert_int_equal(host_status(&h, 1, fua), 0);
	assert_int_equal(inj.seen[FB_AIO_FSYNC], 3);

	/* A second flush must not pass one that is under way: both end only when the file is synced. */
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_WRITE, 0, 8, buf)), 0);
	inj.hold = true;
	host_put(&h, 1, host_cmd(NVME_CMD_FLUSH, 1));
	host_ring(&h, 1);
	fake_settle(h.dev);
	host_put(&h, 1, host_cmd(NVME_CMD_FLUSH, 1));
	host_ring(&h, 1);
	fake_settle(h.dev);
	{
		struct host_cqe cqe;

		assert_false(host_take(&h, 1, &cqe));
		inject_release(&inj);
		assert_int_equal(SC(host_wait(&h, 1).status), 0);
		assert_int_equal(SC(host_wait(&h, 1).status), 0);
	}

	/* A write that ends while a sync is under way may have come too late for it: the next flush syncs again. */
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_WRITE, 0, 8, buf)), 0);
	inj.hold = true;
	host_put(&h, 1, host_cmd(NVME_CMD_FLUSH, 1));
	host_ring(&h, 1);
	fake_settle(h.dev);
	inj.hold = false;
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_WRITE, 0, 8, buf)), 0);
	inject_release(&inj);
	assert_int_equal(SC(host_wait(&h, 1).status), 0);
	inj.seen[FB_AIO_FSYNC] = 0;
	assert_int_equal(host_status(&h, 1, host_cmd(NVME_CMD_FLUSH, 1)), 0);
	assert_int_equal(inj.seen[FB_AIO_FSYNC], 1);

	/* A sync that fails is reported, and the next flush tries again. */
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_WRITE, 0, 8, buf)), 0);
	inj.fail[FB_AIO_FSYNC] = -EIO;
	inj.fail_times[FB_AIO_FSYNC] = 1;
	assert_int_equal(host_status(&h, 1, host_cmd(NVME_CMD_FLUSH, 1)), NVME_SC_WRITE_FAULT);
	inj.seen[FB_AIO_FSYNC] = 0;
	assert_int_equal(host_status(&h, 1, host_cmd(NVME_CMD_FLUSH, 1)), 0);
	assert_int_equal(inj.seen[FB_AIO_FSYNC], 1);

	/* Write cache switched off: syncs once, and then each write is on the disk when it ends. */
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_WRITE, 0, 8, buf)), 0);
	{
		struct nvme_sqe sqe = host_cmd(NVME_ADM_SET_FEATURES, 0);

		nvme_put32(&sqe.cdw10, NVME_FEAT_VWC);
		assert_int_equal(host_status(&h, 0, sqe), 0);
	}
	assert_int_equal(inj.seen[FB_AIO_FSYNC], 2);
	inj.dsyncs = 0;
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_WRITE, 0, 8, buf)), 0);
	assert_int_equal(inj.dsyncs, 1);
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_WRITE_ZEROES, 0, 8, buf)), 0);
	assert_int_equal(inj.seen[FB_AIO_FSYNC], 3);
	host_close(&h);

	host_start(&h, 1 << 20, "cache=off", 1, 16);
	buf = host_alloc(&h, 8192, 4096);
	inject_into(&inj, &h.n->aio);
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_WRITE, 0, 8, buf)), 0);
	assert_int_equal(inj.dsyncs, 1);
	host_close(&h);
}

static struct nvme_sqe dsm(struct host *h, uint64_t buf, unsigned n, const uint64_t (*ranges)[2], uint32_t attributes)
{
	struct nvme_sqe sqe = host_cmd(NVME_CMD_DSM, 1);

	for (unsigned i = 0; i < n; i++) {
		struct nvme_dsm_range *r = (struct nvme_dsm_range *)(void *)host_mem(h, buf) + i;

		nvme_put32(&r->attributes, 0);
		nvme_put32(&r->length, (uint32_t)ranges[i][1]);
		nvme_put64(&r->slba, ranges[i][0]);
	}
	nvme_put32(&sqe.cdw10, n - 1);
	nvme_put32(&sqe.cdw11, attributes);
	nvme_put64(&sqe.prp1, buf);
	return sqe;
}

static void write_all(struct host *h, uint64_t buf, uint8_t v)
{
	memset(host_mem(h, buf), v, 8192);
	for (unsigned i = 0; i < 128; i++)
		assert_int_equal(host_status(h, 1, rw(NVME_CMD_WRITE, i * 16, 16, buf)), 0);
}

/* Deallocated blocks are holes: seen by SEEK_HOLE and in the blocks that the file has. */
static void test_deallocate(void **state)
{
	static const uint64_t three[][2] = {{0, 256}, {512, 0}, {1024, 512}};
	static const uint64_t beyond[][2] = {{0, 8}, {2040, 9}};
	struct host h;
	uint64_t buf, full;
	int fd;

	host_start(&h, 1 << 20, "", 1, 16);
	buf = host_alloc(&h, 8192, 4096);
	write_all(&h, buf, 0x77);
	full = allocated(&h);
	assert_true(full >= 1 << 20);
	/* One range wrong: none is touched. Not for Deallocate: nothing happens. */
	assert_int_equal(host_status(&h, 1, dsm(&h, buf, 2, beyond, NVME_DSM_AD)), NVME_SC_LBA_RANGE);
	assert_int_equal(host_status(&h, 1, dsm(&h, buf, 3, three, 0)), 0);
	assert_int_equal(allocated(&h), full);
	assert_int_equal(host_status(&h, 1, dsm(&h, buf, 3, three, NVME_DSM_AD)), 0);
	assert_int_equal(allocated(&h), full - 768 * 512);
	fd = open(h.path, O_RDONLY);
	assert_int_equal(lseek(fd, 0, SEEK_DATA), 256 * 512);
	assert_int_equal(lseek(fd, 256 * 512, SEEK_HOLE), 1024 * 512);
	assert_int_equal(lseek(fd, 1024 * 512, SEEK_DATA), 1536 * 512);
	close(fd);
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_READ, 248, 16, buf)), 0);
	assert_true(all(host_mem(&h, buf), 4096, 0));
	assert_true(all(host_mem(&h, buf) + 4096, 4096, 0x77));

	/* Write Zeroes: with DEAC a hole, without it zeros that keep their space. */
	write_all(&h, buf, 0x77);
	{
		struct nvme_sqe sqe = rw(NVME_CMD_WRITE_ZEROES, 0, 1024, 0);

		assert_int_equal(host_status(&h, 1, sqe), 0);
		assert_int_equal(allocated(&h), full);
		nvme_put32(&sqe.cdw12, 1023 | NVME_WZ_DEAC);
		assert_int_equal(host_status(&h, 1, sqe), 0);
		assert_int_equal(allocated(&h), full - 1024 * 512);
	}
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_READ, 1016, 16, buf)), 0);
	assert_true(all(host_mem(&h, buf), 4096, 0));
	assert_true(all(host_mem(&h, buf) + 4096, 4096, 0x77));
	host_close(&h);

	/* 256 ranges in one command. */
	host_start(&h, 1 << 20, "", 1, 16);
	buf = host_alloc(&h, 8192, 4096);
	write_all(&h, buf, 0x77);
	{
		uint64_t many[256][2];

		for (unsigned i = 0; i < 256; i++) {
			many[i][0] = i * 8;
			many[i][1] = 8;
		}
		assert_int_equal(host_status(&h, 1, dsm(&h, buf, 256, many, NVME_DSM_AD)), 0);
		assert_int_equal(allocated(&h), 0);
	}
	host_close(&h);

	/* A disk whose sectors are larger than the namespace's blocks: whole sectors of it. */
	host_start(&h, 1 << 20, "", 1, 16);
	buf = host_alloc(&h, 8192, 4096);
	write_all(&h, buf, 0x77);
	h.n->ns[0].disk.grain = 4096;
	{
		static const uint64_t odd[][2] = {{1, 6}, {9, 15}};

		assert_int_equal(host_status(&h, 1, dsm(&h, buf, 2, odd, NVME_DSM_AD)), 0);
		assert_int_equal(allocated(&h), full - 8 * 512);
	}
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_READ, 8, 16, buf)), 0);
	assert_true(all(host_mem(&h, buf), 4096, 0x77));
	assert_true(all(host_mem(&h, buf) + 4096, 4096, 0));
	host_close(&h);

	/* discard=off: the command is not there, and Write Zeroes keeps the space. */
	host_start(&h, 1 << 20, "discard=off", 1, 16);
	buf = host_alloc(&h, 8192, 4096);
	write_all(&h, buf, 0x77);
	assert_int_equal(host_status(&h, 1, dsm(&h, buf, 3, three, NVME_DSM_AD)), NVME_SC_INVALID_OPCODE);
	{
		struct nvme_sqe sqe = rw(NVME_CMD_WRITE_ZEROES, 0, 2048, 0);

		nvme_put32(&sqe.cdw12, 2047 | NVME_WZ_DEAC);
		assert_int_equal(host_status(&h, 1, sqe), 0);
	}
	assert_true(allocated(&h) >= 1 << 20);
	host_close(&h);
}

/* A file system without holes and zero ranges. */
static void test_no_fallocate(void **state)
{
	static const uint64_t range[][2] = {{0, 256}};
	struct inject inj;
	struct host h;
	uint64_t buf;

	host_start(&h, 1 << 20, "mdts=16K", 1, 16);
	buf = host_alloc(&h, 8192, 4096);
	write_all(&h, buf, 0x77);
	inject_into(&inj, &h.n->aio);
	inj.fail[FB_AIO_FALLOCATE] = -EOPNOTSUPP;
	assert_int_equal(host_status(&h, 1, dsm(&h, buf, 1, range, NVME_DSM_AD)), 0);
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_READ, 0, 16, buf)), 0);
	assert_true(all(host_mem(&h, buf), 8192, 0x77)); /* a hint: nothing happened */
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_WRITE_ZEROES, 1, 1023, 0)), 0);
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_READ, 0, 16, buf)), 0);
	assert_true(all(host_mem(&h, buf), 512, 0x77));
	assert_true(all(host_mem(&h, buf) + 512, 7680, 0));
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_READ, 1016, 16, buf)), 0);
	assert_true(all(host_mem(&h, buf), 4096, 0));
	assert_true(all(host_mem(&h, buf) + 4096, 4096, 0x77));
	/* Errors on the way. */
	inj.fail[FB_AIO_WRITE] = -EIO;
	inj.fail_after[FB_AIO_WRITE] = 3;
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_WRITE_ZEROES, 0, 1024, 0)), NVME_SC_WRITE_FAULT);
	inj.fail[FB_AIO_FALLOCATE] = -ENOSPC;
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_WRITE_ZEROES, 0, 1024, 0)), NVME_SC_CAPACITY_EXCEEDED);
	inj.fail[FB_AIO_FALLOCATE] = -EIO;
	assert_int_equal(host_status(&h, 1, dsm(&h, buf, 1, range, NVME_DSM_AD)), NVME_SC_WRITE_FAULT);
	host_close(&h);
}

/* Errors of the file become statuses, error log entries and SMART counts; the next command works. */
static void test_file_errors(void **state)
{
	static const struct {
		uint8_t opc;
		enum fb_aio_kind kind;
		int err;
		uint16_t status;
		bool media;
	} t[] = {
		{NVME_CMD_READ, FB_AIO_READ, -EIO, NVME_SC_UNRECOVERED_READ, true},
		{NVME_CMD_COMPARE, FB_AIO_READ, -EIO, NVME_SC_UNRECOVERED_READ, true},
		{NVME_CMD_READ, FB_AIO_READ, -ENODATA, NVME_SC_UNRECOVERED_READ, true},
		{NVME_CMD_WRITE, FB_AIO_WRITE, -EIO, NVME_SC_WRITE_FAULT, true},
		{NVME_CMD_WRITE, FB_AIO_WRITE, -ENOSPC, NVME_SC_CAPACITY_EXCEEDED, false},
		{NVME_CMD_WRITE, FB_AIO_WRITE, -EDQUOT, NVME_SC_CAPACITY_EXCEEDED, false},
		{NVME_CMD_WRITE, FB_AIO_WRITE, -EROFS, NVME_SC_NS_WRITE_PROTECTED, false},
		{NVME_CMD_WRITE, FB_AIO_WRITE, -EPERM, NVME_SC_NS_WRITE_PROTECTED, false},
		{NVME_CMD_READ, FB_AIO_READ, -ENOMEM, NVME_SC_INTERNAL_ERROR, false},
	};
	struct inject inj;
	struct host h;
	uint64_t buf, errors = 0, media = 0;

	host_start(&h, 1 << 20, "", 1, 16);
	buf = host_alloc(&h, 8192, 4096);
	inject_into(&inj, &h.n->aio);
	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		inj.fail[t[i].kind] = t[i].err;
		inj.fail_times[t[i].kind] = 1;
		assert_int_equal(host_status(&h, 1, rw(t[i].opc, 64, 8, buf)), t[i].status);
		assert_int_equal(h.n->errors_total, ++errors);
		media += t[i].media;
		assert_int_equal(h.n->ns[0].media_errors, media);
		assert_int_equal(host_status(&h, 1, rw(t[i].opc, 64, 8, buf)), 0);
	}
	/* Interrupted ones are simply done again, short ones to the end. */
	inj.fail[FB_AIO_READ] = inj.fail[FB_AIO_WRITE] = -EINTR;
	inj.fail_times[FB_AIO_READ] = inj.fail_times[FB_AIO_WRITE] = 3;
	inj.max_bytes = 1000;
	for (unsigned i = 0; i < 8192; i++)
		host_mem(&h, buf)[i] = (uint8_t)(i * 7);
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_WRITE, 8, 16, buf)), 0);
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_COMPARE, 8, 16, buf)), 0);
	memset(host_mem(&h, buf), 0, 8192);
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_READ, 8, 16, buf)), 0);
	for (unsigned i = 0; i < 8192; i++)
		assert_int_equal(host_mem(&h, buf)[i], (uint8_t)(i * 7));
	fake_settle(h.dev);
	assert_int_equal(h.n->arena.used, 0);
	host_close(&h);
}

static void test_truncated(void **state)
{
	struct host h;
	uint64_t buf;

	host_start(&h, 1 << 20, "", 1, 16);
	buf = host_alloc(&h, 8192, 4096);
	write_all(&h, buf, 0x44);
	assert_int_equal(truncate(h.path, 1000 * 512 + 100), 0);
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_READ, 984, 16, buf)), 0);
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_READ, 992, 16, buf)), NVME_SC_UNRECOVERED_READ);
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_READ, 1000, 1, buf)), NVME_SC_UNRECOVERED_READ);
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_READ, 2000, 16, buf)), NVME_SC_UNRECOVERED_READ);
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_VERIFY, 0, 2048, buf)), NVME_SC_UNRECOVERED_READ);
	assert_int_equal(h.n->ns[0].media_errors, 4);
	/* It keeps its size for the guest, and a write heals it. */
	fake_advance(h.dev, UINT64_C(3000000000));
	fake_settle(h.dev);
	assert_int_equal(nvme_ns_blocks(&h.n->ns[0]), 2048);
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_WRITE, 2032, 16, buf)), 0);
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_READ, 2000, 16, buf)), 0);
	assert_int_equal(truncate(h.path, 0), 0);
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_READ, 0, 16, buf)), NVME_SC_UNRECOVERED_READ);
	host_close(&h);
}

static void test_readonly(void **state)
{
	static const uint64_t range[][2] = {{0, 8}};
	struct nvme_sqe sqe;
	struct host h;
	uint64_t buf;

	host_start(&h, 1 << 20, "readonly=on", 1, 16);
	buf = host_alloc(&h, 8192, 4096);
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_READ, 0, 16, buf)), 0);
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_WRITE, 0, 16, buf)), NVME_SC_NS_WRITE_PROTECTED);
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_WRITE_ZEROES, 0, 16, buf)), NVME_SC_NS_WRITE_PROTECTED);
	assert_int_equal(host_status(&h, 1, dsm(&h, buf, 1, range, NVME_DSM_AD)), NVME_SC_NS_WRITE_PROTECTED);
	assert_int_equal(host_status(&h, 1, host_cmd(NVME_CMD_FLUSH, 1)), 0);
	sqe = host_cmd(NVME_ADM_IDENTIFY, 1);
	nvme_put64(&sqe.prp1, buf);
	assert_int_equal(host_status(&h, 0, sqe), 0);
	assert_int_equal(((struct nvme_id_ns *)(void *)host_mem(&h, buf))->nsattr, 1);
	host_close(&h);
}

/* A real file system that is really full: what was written stays, the rest is refused, room makes it work again. */
static void test_disk_full(void **state)
{
	char dir[] = "nvme-full-XXXXXX", path[64], filler[64], options[128];
	struct fb_device *dev;
	struct host h;
	uint64_t buf;
	unsigned good = 0, refused = 0;
	int fd;

	assert_non_null(mkdtemp(dir));
	if (mount("none", dir, "tmpfs", 0, "size=1m") < 0) {
		rmdir(dir);
		print_message("skipped: mounting a tmpfs needs root: %s\n", strerror(errno));
		skip();
	}
	snprintf(path, sizeof(path), "%s/image", dir);
	snprintf(filler, sizeof(filler), "%s/filler", dir);
	snprintf(options, sizeof(options), "file=%s,create=8M,direct=on", path);
	host_start(&h, 1 << 20, "", 1, 16); /* for its host side only */
	fake_free(h.dev);
	assert_int_equal(fake_new(&dev, &nvme_model, options, HOST_MEM), 0);
	h.dev = dev;
	h.n = dev->state;
	h.next = 0x10000;
	host_enable(&h, 16);
	host_pair(&h, 1, 16);
	buf = host_alloc(&h, 8192, 4096);
	memset(host_mem(&h, buf), 0x99, 8192);
	fd = open(filler, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(posix_fallocate(fd, 0, 512 << 10), 0);
	for (unsigned i = 0; i < 128; i++) {
		uint16_t status = host_status(&h, 1, rw(NVME_CMD_WRITE, i * 16, 16, buf));

		if (status == 0)
			good++;
		else if (status == NVME_SC_CAPACITY_EXCEEDED)
			refused++;
	}
	assert_int_equal(good + refused, 128);
	assert_in_range(good, 32, 64);
	for (unsigned i = 0; i < good; i++)
		assert_int_equal(host_status(&h, 1, rw(NVME_CMD_COMPARE, i * 16, 16, buf)), 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_WRITE, good * 16, 16, buf)), 0);
	close(fd);
	host_close(&h);
	unlink(path);
	unlink(filler);
	assert_int_equal(umount(dir), 0);
	rmdir(dir);
}

/* A limit on file size says EFBIG (and SIGXFSZ, which the box ignores). */
static void test_file_limit(void **state)
{
	struct rlimit old, small;
	struct host h;
	uint64_t buf;

	host_start(&h, 1 << 20, "aio=threads", 1, 16);
	buf = host_alloc(&h, 8192, 4096);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = old;
	small.rlim_cur = 512 << 10;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_WRITE, 0, 16, buf)), 0);
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_WRITE, 1024, 16, buf)), NVME_SC_CAPACITY_EXCEEDED);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(host_status(&h, 1, rw(NVME_CMD_WRITE, 1024, 16, buf)), 0);
	host_close(&h);
}

/* Random reads, writes, zeroes and trims against a model of the disk, over every backend. */
static void random_io(const char *options, unsigned lba)
{
	enum { BLOCKS = 1024, STEPS = 600, MAX = 40 };
	uint8_t *disk = calloc(BLOCKS, lba);
	struct host h;
	uint64_t buf, keep;

	host_start(&h, (uint64_t)BLOCKS * lba, options, 1, 16);
	h.dev->shuffle = 99;
	buf = host_alloc(&h, MAX * lba, 4096);
	keep = h.next;
	srand(lba);
	for (unsigned i = 0; i < STEPS; i++) {
		unsigned slba = (unsigned)rand() % (BLOCKS - MAX), n = 1 + (unsigned)rand() % MAX;
		struct nvme_sqe sqe = rw(NVME_CMD_READ, slba, n, 0);
		uint8_t *at = disk + (size_t)slba * lba;

		h.next = keep;
		switch (rand() % 4) {
		case 0:
			host_prp(&h, &sqe, buf, n * lba);
			assert_int_equal(host_status(&h, 1, sqe), 0);
			assert_memory_equal(host_mem(&h, buf), at, n * lba);
			break;
		case 1:
			sqe.opc = NVME_CMD_WRITE;
			for (unsigned k = 0; k < n * lba; k++)
				at[k] = host_mem(&h, buf)[k] = (uint8_t)rand();
			host_prp(&h, &sqe, buf, n * lba);
			assert_int_equal(host_status(&h, 1, sqe), 0);
			break;
		case 2:
			sqe.opc = NVME_CMD_WRITE_ZEROES;
			memset(at, 0, n * lba);
			if (rand() % 2)
				nvme_put32(&sqe.cdw12, (n - 1) | NVME_WZ_DEAC);
			assert_int_equal(host_status(&h, 1, sqe), 0);
			break;
		default: {
			const uint64_t range[][2] = {{slba, n}};
			uint64_t list = host_alloc(&h, 4096, 4096);

			memset(at, 0, n * lba);
			assert_int_equal(host_status(&h, 1, dsm(&h, list, 1, range, NVME_DSM_AD)), 0);
		}
		}
	}
	host_close(&h);
	free(disk);
}

static void test_random_io(void **state)
{
	random_io("lba=512", 512);
	random_io("lba=4096", 4096);
	random_io("lba=512,direct=on", 512);
	random_io("lba=4096,direct=on,mdts=1M", 4096);
	random_io("lba=512,aio=threads", 512);
	random_io("lba=4096,aio=threads,direct=on", 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ranges),	     cmocka_unit_test(test_compare_verify),
		cmocka_unit_test(test_durability),   cmocka_unit_test(test_deallocate),
		cmocka_unit_test(test_no_fallocate), cmocka_unit_test(test_file_errors),
		cmocka_unit_test(test_truncated),    cmocka_unit_test(test_readonly),
		cmocka_unit_test(test_disk_full),    cmocka_unit_test(test_file_limit),
		cmocka_unit_test(test_random_io),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
