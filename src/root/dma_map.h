/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the VM's memory looks like from the bus: a sorted table of regions,
 * each with or without a mapping of the client's file. Single-threaded; no I/O
 * besides mmap, munmap and fstat.
 *
 * Access to a mapping is guarded: the file is the client's, and if it shrinks
 * under us the access fails (SIGBUS, caught) instead of ending the process.
 */
#ifndef FARBUS_ROOT_DMA_MAP_H
#define FARBUS_ROOT_DMA_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FB_DMA_READABLE = 1, FB_DMA_WRITABLE = 2 };

struct fb_dma_region {
	uint64_t iova, size; /* size > 0, iova + size - 1 does not overflow */
	uint32_t flags;
	uint8_t *host; /* where iova is mapped, or NULL: only by messages */
	void *map;     /* what to unmap, page-aligned */
	size_t map_len;
};

struct fb_dma_map {
	struct fb_dma_region *v; /* sorted by iova, never overlapping */
	unsigned n, cap;
	unsigned last; /* index of the last hit */
	unsigned without_host;
	uint64_t bytes, mapped_bytes;
};

enum { FB_DMA_MAP_MAX = 65535 }; /* the protocol's default for max_dma_maps */
/*
 * Of these so many, and so many bytes, are mapped; more go by messages. A sparse
 * file costs the client nothing, and all VMs share this process's address space
 * (128 TiB) and its mappings (65,530, vm.max_map_count).
 */
enum { FB_DMA_MAPPED_MAX = 2048 };
#define FB_DMA_MAPPED_BYTES_MAX (UINT64_C(4) << 40)

/*
 * Adds [iova, iova + size). fd -1: without a file; else the region is mapped
 * from it (the descriptor stays the caller's). A file that is not of memory (a
 * client's file system could let us wait for ever), that cannot be mapped, or
 * that is shorter than the region, leaves a region without one: *why then says so
 * (static text), else it is NULL.
 * 0; -EINVAL: empty, overflowing, unknown flags; -EEXIST: overlaps;
 * -ENOSPC: FB_DMA_MAP_MAX reached; -ENOMEM.
 */
int fb_dma_map_add(struct fb_dma_map *map, uint64_t iova, uint64_t size, uint32_t flags, int fd, uint64_t offset,
		   const char **why);
/* Removes the regions inside [iova, iova + size). Number removed; -ENOENT: none; -EINVAL: it would cut one. */
int fb_dma_map_remove(struct fb_dma_map *map, uint64_t iova, uint64_t size);
void fb_dma_map_clear(struct fb_dma_map *map);

/* The region that holds addr, or NULL. */
const struct fb_dma_region *fb_dma_map_find_slow(struct fb_dma_map *map, uint64_t addr);
static inline const struct fb_dma_region *fb_dma_map_find(struct fb_dma_map *map, uint64_t addr)
{
	if (map->last < map->n && addr - map->v[map->last].iova < map->v[map->last].size)
		return &map->v[map->last];
	return fb_dma_map_find_slow(map, addr);
}

/* Is every byte of [addr, addr + len) in a region that has all of `flags`? 0; -EFAULT: a hole; -EACCES. */
int fb_dma_map_check(struct fb_dma_map *map, uint64_t addr, uint64_t len, uint32_t flags, bool *messages);

/* Copies out of a mapping. 0, or -EFAULT: the file is too short (some bytes may have been copied). */
int fb_dma_copy(void *to, const void *from, size_t len);
/* Into a mapping: each byte is stored once, in rising order, 2 to 16 bytes at a multiple of their number at once. As above. */
int fb_dma_store(void *to, const void *from, size_t len);
/* As above for an operation on mapped memory that is not a copy: calls op(arg) under the guard. */
int fb_dma_guarded(void (*op)(void *arg), void *arg);
/* Installs the SIGBUS handler unless it is in place (others' SIGBUS go where they went before). */
void fb_dma_guard_init(void);

#endif
