/* SPDX-License-Identifier: Apache-2.0 */
/* PRP and SGL tables: each rule of 4.3 and 4.4 with its status, chained lists, bit buckets, hostile lists. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <unistd.h>

#include <cmocka.h>

#include "inject.h"
#include "nvme_host.h"

enum { IMAGE = 4 << 20 };

static uint8_t content(uint64_t at)
{
	return (uint8_t)(at * 31 + at / 512 * 7 + at / 4096);
}

static void start(struct host *h, const char *options)
{
	uint8_t *data = malloc(IMAGE);
	int fd;

	host_start(h, IMAGE, options, 1, 64);
	for (uint64_t i = 0; i < IMAGE; i++)
		data[i] = content(i);
	fd = open(h->path, O_WRONLY);
	assert_int_equal(write(fd, data, IMAGE), IMAGE);
	close(fd);
	free(data);
}

static void check(struct host *h, uint64_t addr, uint64_t from, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++) {
		if (host_mem(h, addr)[i] != content(from + i))
			fail_msg("byte %u of %u is %02x, not %02x", i, len, host_mem(h, addr)[i], content(from + i));
	}
}

static void test_prp_errors(void **state)
{
	struct host h;
	uint64_t buf, list;
	struct nvme_sqe sqe;

	start(&h, "mdts=512K");
	buf = host_alloc(&h, 1 << 20, 4096);
	list = host_alloc(&h, 8192, 4096);
	/* PRP1 not on a dword; PRP2 of two pages with an offset; list not on a qword; entry with an offset. */
	assert_int_equal(host_status(&h, 1, host_rw(NVME_CMD_READ, 1, 0, 1, buf + 2, 0)), NVME_SC_PRP_OFFSET);
	assert_int_equal(host_status(&h, 1, host_rw(NVME_CMD_READ, 1, 0, 16, buf, buf + 4096 + 512)),
			 NVME_SC_PRP_OFFSET);
	assert_int_equal(host_status(&h, 1, host_rw(NVME_CMD_READ, 1, 0, 64, buf, list + 4)), NVME_SC_PRP_OFFSET);
	for (unsigned i = 0; i < 7; i++)
		fb_put_le64(host_mem(&h, list + 8 * i), buf + 4096 * (i + 1) + (i == 5 ? 512 : 0));
	assert_int_equal(host_status(&h, 1, host_rw(NVME_CMD_READ, 1, 0, 64, buf, list)), NVME_SC_PRP_OFFSET);
	assert_int_equal(host_status(&h, 1, host_rw(NVME_CMD_WRITE, 1, 0, 64, buf, list)), NVME_SC_PRP_OFFSET);
	/* The same without the last, wrong entry. */
	assert_int_equal(host_status(&h, 1, host_rw(NVME_CMD_READ, 1, 0, 48, buf, list)), 0);
	check(&h, buf, 0, 48 * 512);
	/* MDTS: 1,024 blocks are the most. */
	sqe = host_rw(NVME_CMD_READ, 1, 0, 1025, buf, list);
	assert_int_equal(host_status(&h, 1, sqe), NVME_SC_INVALID_FIELD);
	/* A list outside guest memory, data outside guest memory. */
	assert_int_equal(host_status(&h, 1, host_rw(NVME_CMD_READ, 1, 0, 64, buf, UINT64_C(1) << 40)),
			 NVME_SC_DATA_TRANSFER_ERROR);
	assert_int_equal(host_status(&h, 1, host_rw(NVME_CMD_WRITE, 1, 0, 8, UINT64_C(1) << 40, 0)),
			 NVME_SC_DATA_TRANSFER_ERROR);
	assert_int_equal(host_status(&h, 1, host_rw(NVME_CMD_READ, 1, 0, 8, buf, 0)), 0);
	host_close(&h);
}

/* A list that starts near the end of its page continues in the next, by the pointer in the last entry. */
static void test_prp_chain(void **state)
{
	for (unsigned room = 1; room <= 4; room++) {
		for (unsigned pages = room + 1; pages < 128; pages += 25) {
			uint32_t blocks = (pages + 1) * 8;
			uint64_t buf, list, next;
			struct host h;

			start(&h, "mdts=512K");
			buf = host_alloc(&h, (pages + 1) * 4096, 4096);
			list = host_alloc(&h, 4096, 4096) + 4096 - room * 8;
			next = host_alloc(&h, 4096, 4096);
			for (unsigned i = 0; i < pages; i++) {
				uint64_t page = buf + (i + 1) * 4096;

				if (i < room - 1)
					fb_put_le64(host_mem(&h, list + 8 * i), page);
				else
					fb_put_le64(host_mem(&h, next + 8 * (i - (room - 1))), page);
			}
			fb_put_le64(host_mem(&h, list + 8 * (room - 1)), pages == room ? buf + pages * 4096 : next);
			assert_int_equal(host_status(&h, 1, host_rw(NVME_CMD_READ, 1, 8, blocks, buf, list)), 0);
			check(&h, buf, 4096, blocks * 512);
			host_close(&h);
		}
	}
}

/* The last entry of a page is data when it is the last that is needed. */
static void test_prp_exact_page(void **state)
{
	struct host h;
	uint64_t buf, list;

	start(&h, "mdts=1M");
	buf = host_alloc(&h, 4 * 4096, 4096);
	list = host_alloc(&h, 4096, 4096) + 4096 - 3 * 8;
	for (unsigned i = 0; i < 3; i++)
		fb_put_le64(host_mem(&h, list + 8 * i), buf + (i + 1) * 4096);
	assert_int_equal(host_status(&h, 1, host_rw(NVME_CMD_READ, 1, 0, 32, buf, list)), 0);
	check(&h, buf, 0, 4 * 4096);
	host_close(&h);
}

/* Memory pages of 64 KiB: a list has 8,192 entries, read in chunks; two pages need no list. */
static void test_large_pages(void **state)
{
	struct host h;
	uint64_t buf, list;

	start(&h, "mdts=1M");
	host_disable(&h);
	fake_write32(h.dev, NVME_REG_CC, 4u << 20 | 6u << 16 | 4u << 7 | NVME_CC_EN);
	/* The admin queues lie on 4 KiB only. */
	assert_true(fake_read32(h.dev, NVME_REG_CSTS) & NVME_CSTS_CFS);
	host_disable(&h);
	h.q[0] = (struct host_queue){.sq = host_alloc(&h, 65536, 65536),
				     .cq = host_alloc(&h, 65536, 65536),
				     .sq_size = 32,
				     .cq_size = 32,
				     .phase = true};
	fake_write64(h.dev, NVME_REG_ASQ, h.q[0].sq);
	fake_write64(h.dev, NVME_REG_ACQ, h.q[0].cq);
	fake_write32(h.dev, NVME_REG_CC, 4u << 20 | 6u << 16 | 4u << 7 | NVME_CC_EN);
	fake_settle(h.dev);
	assert_true(fake_read32(h.dev, NVME_REG_CSTS) & NVME_CSTS_RDY);
	h.next = (h.next + 65535) & ~UINT64_C(65535);
	{
		struct nvme_sqe sqe = host_cmd(NVME_ADM_CREATE_CQ, 0);

		nvme_put32(&sqe.cdw10, 31u << 16 | 1);
		nvme_put32(&sqe.cdw11, 1u << 16 | 3);
		nvme_put64(&sqe.prp1, h.next + 4096);
		assert_int_equal(host_status(&h, 0, sqe), NVME_SC_PRP_OFFSET);
	}
	host_pair(&h, 1, 1024); /* 64 KiB: keeps the allocator on page bounds */
	h.next = (h.next + 65535) & ~UINT64_C(65535);
	buf = host_alloc(&h, 1 << 20, 65536);
	list = host_alloc(&h, 65536, 65536);
	for (unsigned i = 0; i < 15; i++)
		fb_put_le64(host_mem(&h, list + 8 * i), buf + (i + 1) * 65536);
	assert_int_equal(host_status(&h, 1, host_rw(NVME_CMD_READ, 1, 0, 256, buf, buf + 65536)), 0);
	check(&h, buf, 0, 131072);
	assert_int_equal(host_status(&h, 1, host_rw(NVME_CMD_READ, 1, 8, 2048, buf, list)), 0);
	check(&h, buf, 4096, 1 << 20);
	host_close(&h);
}

/* ---- SGL ------------------------------------------------------------------------------------ */

static void put_sgl(struct host *h, uint64_t at, unsigned type, uint64_t addr, uint32_t len)
{
	struct nvme_sgl_descriptor *d = (struct nvme_sgl_descriptor *)(void *)host_mem(h, at);

	nvme_put64(&d->addr, addr);
	nvme_put32(&d->length, len);
	memset(d->reserved, 0, 3);
	d->type = (uint8_t)type;
}

static struct nvme_sqe sgl(uint8_t opc, uint32_t blocks, unsigned type, uint64_t addr, uint32_t len)
{
	struct nvme_sqe sqe = host_rw(opc, 1, 0, blocks, 0, 0);

	sqe.flags = 1 << 6;
	nvme_put64(&sqe.sgl1.addr, addr);
	nvme_put32(&sqe.sgl1.length, len);
	sqe.sgl1.type = (uint8_t)type;
	return sqe;
}

enum { BLOCK = 0x00, BUCKET = 0x10, SEGMENT = 0x20, LAST = 0x30, KEYED = 0x40, OFFSET = 0x01 };

static void test_sgl(void **state)
{
	struct host h;
	uint64_t buf, seg, far;

	start(&h, "mdts=512K");
	buf = host_alloc(&h, 1 << 20, 4096) + 3; /* any alignment */
	seg = host_alloc(&h, 4096, 4096);
	far = host_alloc(&h, 65536, 16);

	/* One data block, exact and longer. */
	assert_int_equal(host_status(&h, 1, sgl(NVME_CMD_READ, 16, BLOCK, buf, 8192)), 0);
	check(&h, buf, 0, 8192);
	memset(host_mem(&h, buf), 0, 16384);
	assert_int_equal(host_status(&h, 1, sgl(NVME_CMD_READ, 8, BLOCK, buf, 16384)), 0);
	check(&h, buf, 0, 4096);
	assert_int_equal(host_mem(&h, buf)[4096], 0);
	assert_int_equal(host_status(&h, 1, sgl(NVME_CMD_READ, 8, BLOCK, buf, 4095)), NVME_SC_SGL_DATA_LENGTH);
	assert_int_equal(host_status(&h, 1, sgl(NVME_CMD_READ, 8, BLOCK, buf, 0)), NVME_SC_SGL_DATA_LENGTH);
	assert_int_equal(host_status(&h, 1, sgl(NVME_CMD_READ, 8, BLOCK | OFFSET, buf, 4096)), NVME_SC_SGL_TYPE);
	assert_int_equal(host_status(&h, 1, sgl(NVME_CMD_READ, 8, KEYED, buf, 4096)), NVME_SC_SGL_TYPE);
	assert_int_equal(host_status(&h, 1, sgl(NVME_CMD_READ, 8, SEGMENT | OFFSET, seg, 16)), NVME_SC_SGL_TYPE);

	/* A chain: segment, segment, last segment, in uneven pieces. */
	put_sgl(&h, seg, BLOCK, buf + 1000, 100);
	put_sgl(&h, seg + 16, BLOCK, buf, 1000);
	put_sgl(&h, seg + 32, SEGMENT, far, 32);
	put_sgl(&h, far, BLOCK, buf + 5000, 7);
	put_sgl(&h, far + 16, LAST, far + 512, 32);
	put_sgl(&h, far + 512, BLOCK, buf + 1100, 2000);
	put_sgl(&h, far + 528, BLOCK, buf + 6000, 4096 - 3107);
	assert_int_equal(host_status(&h, 1, sgl(NVME_CMD_READ, 8, SEGMENT, seg, 48)), 0);
	check(&h, buf + 1000, 0, 100);
	check(&h, buf, 100, 1000);
	check(&h, buf + 5000, 1100, 7);
	check(&h, buf + 1100, 1107, 2000);
	check(&h, buf + 6000, 3107, 4096 - 3107);

	/* Write from the same chain, read back whole. */
	for (unsigned i = 0; i < 8192; i++)
		host_mem(&h, buf)[i] = (uint8_t)(i * 3);
	assert_int_equal(host_status(&h, 1, sgl(NVME_CMD_WRITE, 8, SEGMENT, seg, 48)), 0);
	assert_int_equal(host_status(&h, 1, sgl(NVME_CMD_READ, 8, BLOCK, buf + 65536, 4096)), 0);
	assert_memory_equal(host_mem(&h, buf + 65536), host_mem(&h, buf + 1000), 100);
	assert_memory_equal(host_mem(&h, buf + 65536 + 1107), host_mem(&h, buf + 1100), 2000);
	assert_memory_equal(host_mem(&h, buf + 65536 + 3107), host_mem(&h, buf + 6000), 4096 - 3107);
	host_close(&h);
}

static void test_sgl_errors(void **state)
{
	struct host h;
	uint64_t buf, seg;

	start(&h, "");
	buf = host_alloc(&h, 65536, 4096);
	seg = host_alloc(&h, 65536, 4096);
	/* Segment lengths. */
	assert_int_equal(host_status(&h, 1, sgl(NVME_CMD_READ, 8, LAST, seg, 0)), NVME_SC_INVALID_SGL_SEGMENT);
	assert_int_equal(host_status(&h, 1, sgl(NVME_CMD_READ, 8, LAST, seg, 24)), NVME_SC_INVALID_SGL_SEGMENT);
	/* A segment in the middle; a segment inside the last; a segment that ends with data. */
	put_sgl(&h, seg, LAST, seg + 64, 16);
	put_sgl(&h, seg + 16, BLOCK, buf, 4096);
	assert_int_equal(host_status(&h, 1, sgl(NVME_CMD_READ, 8, SEGMENT, seg, 32)), NVME_SC_INVALID_SGL_SEGMENT);
	put_sgl(&h, seg, BLOCK, buf, 4096);
	put_sgl(&h, seg + 16, LAST, seg, 16);
	assert_int_equal(host_status(&h, 1, sgl(NVME_CMD_READ, 8, LAST, seg, 32)), NVME_SC_INVALID_SGL_SEGMENT);
	assert_int_equal(host_status(&h, 1, sgl(NVME_CMD_READ, 8, SEGMENT, seg, 16)), NVME_SC_INVALID_SGL_SEGMENT);
	/* Too little, wrong type inside, outside memory. */
	put_sgl(&h, seg, BLOCK, buf, 2048);
	assert_int_equal(host_status(&h, 1, sgl(NVME_CMD_READ, 8, LAST, seg, 16)), NVME_SC_SGL_DATA_LENGTH);
	put_sgl(&h, seg, KEYED, buf, 4096);
	assert_int_equal(host_status(&h, 1, sgl(NVME_CMD_READ, 8, LAST, seg, 16)), NVME_SC_SGL_TYPE);
	assert_int_equal(host_status(&h, 1, sgl(NVME_CMD_READ, 8, LAST, UINT64_C(1) << 50, 16)),
			 NVME_SC_DATA_TRANSFER_ERROR);
	/* A segment that points to itself, forever. */
	put_sgl(&h, seg, BLOCK, buf, 0);
	put_sgl(&h, seg + 16, SEGMENT, seg, 32);
	assert_int_equal(host_status(&h, 1, sgl(NVME_CMD_READ, 8, SEGMENT, seg, 32)), NVME_SC_INVALID_SGL_COUNT);
	/* One of 4 GiB. */
	memset(host_mem(&h, seg), 0, 65536);
	assert_int_equal(host_status(&h, 1, sgl(NVME_CMD_READ, 8, LAST, seg, 0xfffffff0)), NVME_SC_INVALID_SGL_COUNT);
	/* PSDT 11b; SGL for an admin command. */
	{
		struct nvme_sqe sqe = sgl(NVME_CMD_READ, 8, BLOCK, buf, 4096);

		sqe.flags = 3 << 6;
		assert_int_equal(host_status(&h, 1, sqe), NVME_SC_INVALID_FIELD);
		sqe = host_cmd(NVME_ADM_IDENTIFY, 0);
		sqe.flags = 1 << 6;
		assert_int_equal(host_status(&h, 0, sqe), NVME_SC_INVALID_FIELD);
	}
	host_close(&h);
}

static void test_bit_bucket(void **state)
{
	struct host h;
	uint64_t buf, seg;

	start(&h, "");
	buf = host_alloc(&h, 65536, 4096);
	seg = host_alloc(&h, 4096, 4096);
	put_sgl(&h, seg, BUCKET, 0, 512);
	put_sgl(&h, seg + 16, BLOCK, buf, 1024);
	put_sgl(&h, seg + 32, BUCKET, 0, 1536);
	put_sgl(&h, seg + 48, BLOCK, buf + 8192, 1024);
	assert_int_equal(host_status(&h, 1, sgl(NVME_CMD_READ, 8, LAST, seg, 64)), 0);
	check(&h, buf, 512, 1024);
	check(&h, buf + 8192, 3072, 1024);
	assert_int_equal(host_mem(&h, buf)[1024], 0);
	/* All of it into the bucket. */
	assert_int_equal(host_status(&h, 1, sgl(NVME_CMD_READ, 8, BUCKET, 0, 4096)), 0);
	/* As a source it has no length: 2,048 bytes are missing. */
	assert_int_equal(host_status(&h, 1, sgl(NVME_CMD_WRITE, 8, LAST, seg, 64)), NVME_SC_SGL_DATA_LENGTH);
	assert_int_equal(host_status(&h, 1, sgl(NVME_CMD_WRITE, 4, LAST, seg, 64)), 0);
	host_close(&h);
}

/* Reads that fail on the way: the command fails, the next works, nothing is left over. */
static void test_dma_errors(void **state)
{
	struct inject inj;
	struct host h;
	uint64_t buf, list;
	static const int errors[] = {-EIO, -ETIMEDOUT, -EFAULT};

	start(&h, "mdts=512K");
	buf = host_alloc(&h, 65536, 4096);
	list = host_alloc(&h, 4096, 4096);
	for (unsigned i = 0; i < 15; i++)
		fb_put_le64(host_mem(&h, list + 8 * i), buf + (i + 1) * 4096);
	for (unsigned i = 0; i < 3; i++) {
		h.dev->fail_address = errors[i];
		h.dev->fail_at = list;
		h.dev->fail_len = 8;
		assert_int_equal(host_status(&h, 1, host_rw(NVME_CMD_READ, 1, 0, 128, buf, list)),
				 NVME_SC_DATA_TRANSFER_ERROR);
		h.dev->fail_at = buf + 8192;
		assert_int_equal(host_status(&h, 1, host_rw(NVME_CMD_WRITE, 1, 0, 128, buf, list)),
				 NVME_SC_DATA_TRANSFER_ERROR);
		h.dev->fail_address = 0;
		assert_int_equal(host_status(&h, 1, host_rw(NVME_CMD_READ, 1, 0, 128, buf, list)), 0);
		check(&h, buf, 0, 65536);
	}
	/* The runtime has no room for the data's write: a success would be a lie. */
	inject_into(&inj, &h.n->aio);
	inj.hold = true;
	host_put(&h, 1, host_rw(NVME_CMD_READ, 1, 0, 8, buf, 0));
	host_ring(&h, 1);
	fake_settle(h.dev);
	h.dev->refuse_dma = 1;
	inject_release(&inj);
	assert_int_equal(SC(host_wait(&h, 1).status), NVME_SC_DATA_TRANSFER_ERROR);
	assert_int_equal(h.dev->refuse_dma, 0);
	fake_settle(h.dev);
	assert_int_equal(h.n->arena.used, 0);
	assert_int_equal(h.n->n_async, 0);
	assert_int_equal(h.n->n_free, NVME_CMDS);
	host_close(&h);
}

/* Many large reads that end at once leave in several rounds, each with its completion entries and its interrupt. */
static void test_large_reads_in_parts(void **state)
{
	enum { READS = 6, BYTES = 128 << 10 };
	struct inject inj;
	struct host h;
	uint64_t buf[READS];
	uint64_t cqes;

	start(&h, "");
	inject_into(&inj, &h.n->aio);
	inj.hold = true;
	for (unsigned i = 0; i < READS; i++) {
		struct nvme_sqe sqe = host_rw(NVME_CMD_READ, 1, 0, BYTES / 512, 0, 0);

		buf[i] = host_alloc(&h, BYTES, 4096);
		host_prp(&h, &sqe, buf[i], BYTES);
		host_put(&h, 1, sqe);
	}
	host_ring(&h, 1);
	fake_settle(h.dev);
	cqes = h.n->cqes;
	memset(h.dev->irqs, 0, sizeof(h.dev->irqs));
	inject_release(&inj);
	for (uint64_t had = cqes; h.n->cqes < cqes + READS; had = h.n->cqes) {
		fake_round(h.dev);
		assert_true(h.n->cqes <= had + 2);
	}
	for (unsigned i = 0; i < READS; i++) {
		assert_int_equal(SC(host_wait(&h, 1).status), 0);
		check(&h, buf[i], 0, BYTES);
	}
	assert_true(h.dev->irqs[1] >= READS / 2);
	host_close(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prp_errors),
		cmocka_unit_test(test_prp_chain),
		cmocka_unit_test(test_prp_exact_page),
		cmocka_unit_test(test_large_pages),
		cmocka_unit_test(test_sgl),
		cmocka_unit_test(test_sgl_errors),
		cmocka_unit_test(test_bit_bucket),
		cmocka_unit_test(test_dma_errors),
		cmocka_unit_test(test_large_reads_in_parts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
