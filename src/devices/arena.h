/* SPDX-License-Identifier: Apache-2.0 */
/*
 * I/O buffers: one arena, cut into blocks of 4 KiB << order by a buddy allocator;
 * page-aligned and contiguous for direct I/O, bounded, registered with io_uring once.
 */
#ifndef FARBUS_DEVICES_ARENA_H
#define FARBUS_DEVICES_ARENA_H

#include <stddef.h>
#include <stdint.h>

struct fb_arena {
	uint8_t *base;
	size_t size;
	unsigned top;      /* the largest order; size is a multiple of 4 KiB << top */
	uint8_t *order;    /* of the block that starts at this page: order, free or in use */
	struct fb_arena_block *free[20];
	size_t used;
};

int fb_arena_init(struct fb_arena *a, size_t block_max, size_t size); /* 0 or -ENOMEM */
void fb_arena_fini(struct fb_arena *a);
void *fb_arena_get(struct fb_arena *a, size_t len); /* NULL: none free now */
void fb_arena_put(struct fb_arena *a, void *p);

#endif
