/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "root/dma_access.h"
#include "util/reader.h"

unsigned fb_dma_runs(const struct pcie_tlp *tlp, struct fb_dma_run runs[4])
{
	unsigned enabled, n = 0;

	if (tlp->length > 2) { /* holes are legal in one or two DWs only (2.2.5) */
		pcie_tlp_get_range(tlp, &runs[0].address, &runs[0].len);
		runs[0].data = tlp->data + (runs[0].address & 3);
		return runs[0].len ? 1 : 0;
	}
	enabled = tlp->first_be | (tlp->length == 2 ? (unsigned)tlp->last_be << 4 : 0);
	for (unsigned i = 0; i < 8; i++) {
		if (!(enabled & 1u << i))
			continue;
		if (i > 0 && (enabled & 1u << (i - 1)))
			runs[n - 1].len++;
		else
			runs[n++] = (struct fb_dma_run){tlp->address + i, 1, tlp->data + i};
	}
	return n;
}

enum direction { TO_MEMORY, FROM_MEMORY };

static int copy(struct fb_dma_map *map, uint64_t at, uint8_t *buf, uint32_t left, enum direction direction)
{
	while (left > 0) {
		const struct fb_dma_region *r = fb_dma_map_find(map, at);
		uint64_t n = r->size - (at - r->iova);
		uint8_t *host = r->host + (at - r->iova);

		if (n > left)
			n = left;
		if ((direction == TO_MEMORY ? fb_dma_store(host, buf, n) : fb_dma_copy(buf, host, n)) < 0)
			return -EFAULT;
		at += n;
		buf += n;
		left -= (uint32_t)n;
	}
	return 0;
}

int fb_dma_map_read(struct fb_dma_map *map, uint64_t at, uint8_t *to, uint32_t len)
{
	return copy(map, at, to, len, FROM_MEMORY);
}

int fb_dma_map_write(struct fb_dma_map *map, uint64_t at, const uint8_t *from, uint32_t len)
{
	return copy(map, at, (uint8_t *)(uintptr_t)from, len, TO_MEMORY);
}

/* ---- AtomicOps ------------------------------------------------------------------------------- */

#if defined(__x86_64__)
/* By hand: gcc and clang offer it only for a whole file built with -mcx16, or as a call into libatomic. */
static void cas_128(struct fb_dma_atomic *a)
{
	uint64_t old[2], swap[2];

	memcpy(old, a->operand, 16); /* becomes what was there if it differs */
	memcpy(swap, a->operand + 16, 16);
	__asm__ volatile("lock cmpxchg16b %0"
			 : "+m"(*(unsigned __int128 *)(void *)a->at), "+a"(old[0]), "+d"(old[1])
			 : "b"(swap[0]), "c"(swap[1])
			 : "cc", "memory");
	memcpy(a->old, old, 16);
}
enum { HAVE_CAS_128 = 1 };
#else
static void cas_128(struct fb_dma_atomic *a) { (void)a; }
enum { HAVE_CAS_128 = 0 };
#endif

static void do_atomic_32(struct fb_dma_atomic *a)
{
	uint32_t *p = (uint32_t *)(void *)a->at, v = fb_get_le32(a->operand), old;

	if (a->type == PCIE_TLP_FETCHADD) {
		old = __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);
	} else if (a->type == PCIE_TLP_SWAP) {
		old = __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);
	} else {
		old = v; /* becomes what was there if it differs */
		__atomic_compare_exchange_n(p, &old, fb_get_le32(a->operand + 4), false, __ATOMIC_SEQ_CST,
					    __ATOMIC_SEQ_CST);
	}
	fb_put_le32(a->old, old);
}

static void do_atomic_64(struct fb_dma_atomic *a)
{
	uint64_t *p = (uint64_t *)(void *)a->at, v = fb_get_le64(a->operand), old;

	if (a->type == PCIE_TLP_FETCHADD) {
		old = __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);
	} else if (a->type == PCIE_TLP_SWAP) {
		old = __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);
	} else {
		old = v;
		__atomic_compare_exchange_n(p, &old, fb_get_le64(a->operand + 8), false, __ATOMIC_SEQ_CST,
					    __ATOMIC_SEQ_CST);
	}
	fb_put_le64(a->old, old);
}

static void do_atomic(void *arg)
{
	struct fb_dma_atomic *a = arg;

	if (a->size == 4)
		do_atomic_32(a);
	else if (a->size == 8)
		do_atomic_64(a);
	else
		cas_128(a);
}

int fb_dma_atomic_target(struct fb_dma_map *map, const struct pcie_tlp *tlp, struct fb_dma_atomic *a)
{
	const struct fb_dma_region *r = fb_dma_map_find(map, tlp->address);

	*a = (struct fb_dma_atomic){.type = tlp->type, .operand = tlp->data};
	a->size = tlp->type == PCIE_TLP_CAS ? tlp->length * 2u : tlp->length * 4u;
	if (!r || !fb_in_range(tlp->address - r->iova, a->size, r->size))
		return -EFAULT;
	if ((r->flags & 3) != 3)
		return -EACCES;
	a->at = r->host ? r->host + (tlp->address - r->iova) : NULL;
	/* There is no message for it, and no atomic access to memory that is mapped askew. */
	if (!a->at || ((uintptr_t)a->at & (a->size - 1)) || (a->size == 16 && !HAVE_CAS_128))
		return -ENOTSUP;
	return 0;
}

int fb_dma_atomic_run(struct fb_dma_atomic *a)
{
	return fb_dma_guarded(do_atomic, a);
}
