/* SPDX-License-Identifier: Apache-2.0 */
/* What a driver does first: identify, queues, read, write, flush, over all shapes of PRPs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <unistd.h>

#include <cmocka.h>

#include "nvme_host.h"

static void fill(uint8_t *p, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)((i * 2654435761u >> 7) + seed + i / 512);
}

static void test_identify(void **state)
{
	struct nvme_sqe sqe = host_cmd(NVME_ADM_IDENTIFY, 0);
	struct nvme_id_ctrl *id;
	struct nvme_id_ns *ns;
	struct host h;
	uint64_t buf;

	host_start(&h, 1 << 20, "serial=S123,mdts=128K", 0, 0);
	buf = host_alloc(&h, 4096, 4096);
	nvme_put64(&sqe.prp1, buf);
	nvme_put32(&sqe.cdw10, NVME_CNS_CTRL);
	assert_int_equal(host_status(&h, 0, sqe), 0);
	id = (struct nvme_id_ctrl *)(void *)host_mem(&h, buf);
	assert_memory_equal(id->sn, "S123                ", 20);
	assert_memory_equal(id->mn, "Farbus NVMe ", 12);
	assert_int_equal(id->mdts, 5);
	assert_int_equal(nvme_get32(id->ver), NVME_VS_1_4);
	assert_int_equal(nvme_get32(id->nn), 1);
	assert_int_equal(id->sqes, 0x66);
	assert_int_equal(id->cqes, 0x44);
	assert_memory_equal(id->subnqn, "nqn.2014-08.org.nvmexpress:uuid:", 32);

	sqe = host_cmd(NVME_ADM_IDENTIFY, 1);
	nvme_put64(&sqe.prp1, buf);
	assert_int_equal(host_status(&h, 0, sqe), 0);
	ns = (struct nvme_id_ns *)(void *)host_mem(&h, buf);
	assert_int_equal(nvme_get64(ns->nsze), (1 << 20) / 512);
	assert_int_equal(ns->lbaf[ns->flbas & 15].lbads, 9);
	host_close(&h);
}

/* Data in guest memory at any offset and length comes back, and is in the file. */
static void test_read_write(void **state)
{
	static const struct {
		uint32_t offset, blocks;
	} shape[] = {
		{0, 1},	 {0, 8},    {512, 8},	{4, 8},	   {0, 16},	 {1024, 15},
		{0, 17}, {512, 64}, {4092, 33}, {0, 1024}, {2048, 1024},
	};
	uint8_t *want = malloc(1 << 20);
	struct host h;
	int fd;

	host_start(&h, 4 << 20, "mdts=512K", 1, 64);
	fd = open(h.path, O_RDONLY);
	for (unsigned i = 0; i < sizeof(shape) / sizeof(shape[0]); i++) {
		uint32_t len = shape[i].blocks * 512;
		uint64_t keep = h.next, buf = host_alloc(&h, len + 8192, 4096) + shape[i].offset;
		uint64_t back = host_alloc(&h, len + 8192, 4096) + shape[i].offset;
		struct nvme_sqe sqe = host_rw(NVME_CMD_WRITE, 1, i * 8, shape[i].blocks, 0, 0);
		uint8_t *file = malloc(len);

		fill(want, len, i);
		memcpy(host_mem(&h, buf), want, len);
		host_prp(&h, &sqe, buf, len);
		assert_int_equal(host_status(&h, 1, sqe), 0);
		assert_int_equal(pread(fd, file, len, i * 8 * 512), len);
		assert_memory_equal(file, want, len);
		sqe = host_rw(NVME_CMD_READ, 1, i * 8, shape[i].blocks, 0, 0);
		host_prp(&h, &sqe, back, len);
		assert_int_equal(host_status(&h, 1, sqe), 0);
		assert_memory_equal(host_mem(&h, back), want, len);
		/* Not one byte around it. */
		assert_int_equal(host_mem(&h, back)[len], 0);
		if (shape[i].offset)
			assert_int_equal(host_mem(&h, back)[-1], 0);
		free(file);
		h.next = keep;
	}
	assert_int_equal(host_status(&h, 1, host_cmd(NVME_CMD_FLUSH, 1)), 0);
	assert_int_equal(host_status(&h, 1, host_cmd(NVME_CMD_FLUSH, UINT32_MAX)), 0);
	assert_false(fb_disk_dirty(&h.n->ns[0].disk));
	assert_int_equal(h.dev->bad_addresses, 0);
	assert_true(h.dev->irqs[1] > 0);
	close(fd);
	free(want);
	host_close(&h);
}

/* Many at once, more than the queue is long, completions in any order of the DMA: each CID once, phases right. */
static void test_many(void **state)
{
	enum { COUNT = 2000, DEPTH = 31 };
	struct host h;
	uint64_t buf;
	unsigned sent = 0, got = 0;
	static uint8_t seen[65536];

	memset(seen, 0, sizeof(seen));
	host_start(&h, 4 << 20, "", 2, DEPTH + 1);
	h.dev->shuffle = 7;
	buf = host_alloc(&h, DEPTH * 4096, 4096);
	while (got < COUNT) {
		struct host_cqe cqe;

		while (sent < COUNT && sent - got < DEPTH)
			host_put(&h, 1, host_rw(sent % 3 ? NVME_CMD_READ : NVME_CMD_WRITE, 1, (sent % 64) * 8, 8,
						buf + sent % DEPTH * 4096, 0)), sent++;
		host_ring(&h, 1);
		cqe = host_wait(&h, 1);
		do {
			assert_int_equal(SC(cqe.status), 0);
			assert_int_equal(seen[cqe.cid]++, 0);
			got++;
		} while (host_take(&h, 1, &cqe));
	}
	assert_true(h.n->fetches < COUNT / 2);
	assert_true(h.n->cqe_writes < COUNT);
	host_close(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identify),
		cmocka_unit_test(test_read_write),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
