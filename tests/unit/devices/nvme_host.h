/* SPDX-License-Identifier: Apache-2.0 */
/* A scripted NVMe host on fake_device.h: queues in guest memory, commands one by one or many at once. */
#ifndef FARBUS_TESTS_NVME_HOST_H
#define FARBUS_TESTS_NVME_HOST_H

#include "devices/nvme.h"
#include "fake_device.h"

enum { HOST_MEM = 16 << 20, HOST_QUEUES = 65, HOST_PATH = 64 };

struct host_queue {
	uint64_t sq, cq;
	uint32_t sq_size, cq_size;
	uint32_t sq_tail, sq_head, cq_head;
	bool phase;
};

struct host_cqe {
	uint32_t dw0;
	uint16_t sqhd, sqid, cid, status; /* status: field without phase */
};

struct host {
	struct fb_device *dev;
	struct nvme *n; /* to look inside */
	int fd;         /* image of namespace 1, which has no name: it is gone with us, however we end */
	char path[HOST_PATH]; /* and how to open it again */
	char options[512];
	uint64_t next;  /* guest memory not yet given out */
	struct host_queue q[HOST_QUEUES];
	uint16_t cid;
};

#define SC(status) ((uint16_t)((status) & 0x7ff)) /* SCT and SC, without M and DNR */

/* A file without a name in the current folder; path opens it again while the descriptor is open. */
int host_file(char path[HOST_PATH], off_t size);
/* An image of `size` bytes in such a file, and a device on it: options are added to "file=…". Not enabled. */
void host_open(struct host *h, uint64_t size, const char *options);
/* As above, with admin queues and `pairs` I/O queue pairs of `entries`. */
void host_start(struct host *h, uint64_t size, const char *options, unsigned pairs, unsigned entries);
void host_close(struct host *h);
void host_enable(struct host *h, unsigned entries); /* admin queues of that size, waits for CSTS.RDY */
void host_disable(struct host *h);                  /* waits for CSTS.RDY 0 */
void host_pair(struct host *h, unsigned qid, unsigned entries); /* creates I/O queue pair qid */

uint64_t host_alloc(struct host *h, uint64_t len, uint64_t align);
uint8_t *host_mem(struct host *h, uint64_t addr);

struct nvme_sqe host_cmd(uint8_t opc, uint32_t nsid);
struct nvme_sqe host_rw(uint8_t opc, uint32_t nsid, uint64_t slba, uint32_t blocks, uint64_t prp1, uint64_t prp2);
/* PRPs for len bytes at addr, with lists in fresh memory. */
void host_prp(struct host *h, struct nvme_sqe *sqe, uint64_t addr, uint32_t len);

/* Puts it in the queue; returns its CID. The doorbell is separate. */
uint16_t host_put(struct host *h, unsigned qid, struct nvme_sqe sqe);
void host_ring(struct host *h, unsigned qid);
/* Takes the next completion if there is one. */
bool host_take(struct host *h, unsigned qid, struct host_cqe *cqe);
/* Waits for it. */
struct host_cqe host_wait(struct host *h, unsigned qid);
/* put, ring, wait. */
struct host_cqe host_do(struct host *h, unsigned qid, struct nvme_sqe sqe);
uint16_t host_status(struct host *h, unsigned qid, struct nvme_sqe sqe); /* SC() of it */

#endif
