/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes of the VM's memory, once fb_dma_map_check() has found that they may be
 * reached and are mapped: for the function's own requests (dma.c) and for those
 * of remote requesters (remote.c). No I/O; the accesses are guarded (dma_map.h).
 */
#ifndef FARBUS_ROOT_DMA_ACCESS_H
#define FARBUS_ROOT_DMA_ACCESS_H

#include "root/dma_map.h"
#include "tlp/tlp.h"

/* A stretch of enabled bytes of a write. */
struct fb_dma_run {
	uint64_t address;
	uint32_t len;
	const uint8_t *data;
};
/* The stretches of enabled bytes of a write: at most 4. */
unsigned fb_dma_runs(const struct pcie_tlp *tlp, struct fb_dma_run runs[4]);

/* 0, or -EFAULT: the client's file is too short, some bytes may have been copied. */
int fb_dma_map_read(struct fb_dma_map *map, uint64_t at, uint8_t *to, uint32_t len);
int fb_dma_map_write(struct fb_dma_map *map, uint64_t at, const uint8_t *from, uint32_t len);

struct fb_dma_atomic {
	enum pcie_tlp_type type;
	uint8_t *at;
	uint32_t size;          /* 4, 8 or 16 bytes */
	const uint8_t *operand; /* CAS: compare, then swap */
	uint8_t old[16];        /* what was there: the completion's data */
};
/*
 * Finds the target of an AtomicOp. 0; -EFAULT: not mapped; -EACCES: not readable
 * and writable; -ENOTSUP: there is no message for it, or no atomic access of that
 * size and alignment.
 */
int fb_dma_atomic_target(struct fb_dma_map *map, const struct pcie_tlp *tlp, struct fb_dma_atomic *a);
int fb_dma_atomic_run(struct fb_dma_atomic *a); /* 0 or -EFAULT: the file is too short */

#endif
