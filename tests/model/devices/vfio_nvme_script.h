/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of NVMe commands behind the vfio-user model have in common: a
 * guest with queues, commands and data at fixed places, and what is expected of
 * the model. One guest at a time: `w`.
 */
#ifndef FARBUS_TESTS_VFIO_NVME_SCRIPT_H
#define FARBUS_TESTS_VFIO_NVME_SCRIPT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vfio_nvme.h"

enum { MEM = 4 << 20, ENTRIES = 16, BLOCK = 512, PAGE = 4096 };

/* Guest memory: queue pair q, then pages of data, then lists. */
#define BASE UINT64_C(0x10000000) /* the scripted root's */
#define SQ(q) (BASE + (q) * 0x4000)
#define CQ(q) (SQ(q) + 0x2000)
#define DATA (BASE + 0x100000)
#define LIST (BASE + 0x300000)
#define NOWHERE (BASE + MEM + 0x100000)

extern struct nv w;

struct nvme_sqe command(unsigned opc, unsigned cid, uint64_t prp1, uint64_t prp2);
struct nvme_sqe admin(unsigned opc, unsigned cid, uint64_t prp1, uint32_t cdw10, uint32_t cdw11);
struct nvme_sqe rw(unsigned opc, unsigned cid, unsigned blocks, uint64_t prp1, uint64_t prp2);
/* The server's next command, which is the guest's `want` but for its identifier and addresses. Returns the identifier. */
unsigned given(unsigned qid, const struct nvme_sqe *want, struct nvme_sqe *e);
/* The guest submits it, and the server gets it. */
unsigned hand_over(unsigned qid, const struct nvme_sqe *e, struct nvme_sqe *seen);
void give_nothing(unsigned qid);
/* The guest's next completion, which must be there and be of that command. Returns dword 0. */
uint32_t ended(unsigned qid, unsigned cid, unsigned status);
void ends_nothing(unsigned qid);
/* A command from end to end. */
uint32_t carry(unsigned qid, const struct nvme_sqe *command_, struct nvme_sqe *seen, unsigned status, uint32_t dw0);
/* One that the server never sees. */
void refused(unsigned qid, const struct nvme_sqe *e, unsigned status);
void create_cq(unsigned qid, unsigned entries);
void create_sq(unsigned qid, unsigned entries);
/* The guest asks what namespace 1 is; blocks of 512 bytes, with ms bytes of metadata. */
void identify_namespace(unsigned flbas, unsigned ms);
void begin_with(bool pin, const char *more);
void begin(const char *more);
/* With an I/O queue pair of that size, and a known namespace. */
void begin_io(unsigned entries, const char *more);

/* ---- What the guest's memory sees ---- */

struct dma {
	enum pcie_tlp_type type;
	uint64_t addr;
	uint32_t len;
};

#define R(addr, len) {PCIE_TLP_MRD, addr, len}
#define W(addr, len) {PCIE_TLP_MWR, addr, len}

/* All memory requests of the device since the last look, in their order; neighbours of one kind count as one. */
void expect_dma(const struct dma *want, unsigned n);

#define EXPECT_DMA(...)                                                                                                \
	do {                                                                                                           \
		const struct dma want_[] = {__VA_ARGS__};                                                              \
		expect_dma(want_, sizeof(want_) / sizeof(want_[0]));                                                   \
	} while (0)

uint8_t *mem(uint64_t addr, uint64_t len);
void fill(uint8_t *p, size_t len, unsigned seed);
void expect_fill(const uint8_t *p, size_t len, size_t from, unsigned seed);

#endif
