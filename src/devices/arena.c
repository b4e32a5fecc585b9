/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/arena.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096, IN_USE = 0x80, NOT_A_BLOCK = 0x7f };

/* Lives in the free block itself. */
struct fb_arena_block {
	struct fb_arena_block *next, **link;
};

static size_t page_of(const struct fb_arena *a, const void *p)
{
	return (size_t)((const uint8_t *)p - a->base) / PAGE;
}

static void push(struct fb_arena *a, void *p, unsigned order)
{
	struct fb_arena_block *b = p;

	b->next = a->free[order];
	b->link = &a->free[order];
	if (b->next)
		b->next->link = &b->next;
	a->free[order] = b;
	a->order[page_of(a, p)] = (uint8_t)order;
}

static void unlink_block(struct fb_arena_block *b)
{
	*b->link = b->next;
	if (b->next)
		b->next->link = b->link;
}

int fb_arena_init(struct fb_arena *a, size_t block_max, size_t size)
{
	memset(a, 0, sizeof(*a));
	while ((size_t)PAGE << a->top < block_max)
		a->top++;
	block_max = (size_t)PAGE << a->top;
	a->size = (size + block_max - 1) / block_max * block_max;
	/* Pages become real memory when first used. */
	a->base = mmap(NULL, a->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (a->base == MAP_FAILED) {
		a->base = NULL;
		return -ENOMEM;
	}
	a->order = malloc(a->size / PAGE);
	if (!a->order) {
		fb_arena_fini(a);
		return -ENOMEM;
	}
	memset(a->order, NOT_A_BLOCK, a->size / PAGE);
	/* Lowest addresses first, so that a light load touches little memory. */
	for (size_t at = a->size; at > 0; at -= block_max)
		push(a, a->base + at - block_max, a->top);
	return 0;
}

void fb_arena_fini(struct fb_arena *a)
{
	if (a->base)
		munmap(a->base, a->size);
	free(a->order);
	memset(a, 0, sizeof(*a));
}

void *fb_arena_get(struct fb_arena *a, size_t len)
{
	unsigned want = 0, order;
	uint8_t *p;

	while ((size_t)PAGE << want < len)
		want++;
	for (order = want; order <= a->top && !a->free[order]; order++)
		;
	if (order > a->top)
		return NULL;
	p = (uint8_t *)a->free[order];
	unlink_block(a->free[order]);
	while (order > want) {
		order--;
		push(a, p + ((size_t)PAGE << order), order);
	}
	a->order[page_of(a, p)] = (uint8_t)(want | IN_USE);
	a->used += (size_t)PAGE << want;
	return p;
}

void fb_arena_put(struct fb_arena *a, void *block)
{
	uint8_t *p = block;
	size_t page = page_of(a, p);
	unsigned order = a->order[page] & ~(unsigned)IN_USE;

	a->used -= (size_t)PAGE << order;
	a->order[page] = NOT_A_BLOCK;
	for (; order < a->top; order++) {
		size_t buddy = page ^ (size_t)1 << order;

		if (a->order[buddy] != order) /* in use, or cut smaller */
			break;
		unlink_block((struct fb_arena_block *)(void *)(a->base + buddy * PAGE));
		a->order[buddy] = NOT_A_BLOCK;
		page &= ~((size_t)1 << order);
	}
	push(a, a->base + page * PAGE, order);
}
