/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * The client sends one DMA_MAP for each section of guest memory: some ten, up
 * to a few hundred. A sorted array with binary search and the last hit
 * remembered costs next to nothing, since DMA clusters.
 *
 * A client may truncate its file after we mapped it; an access beyond its end
 * then raises SIGBUS in this process, which serves other VMs too. Each copy
 * therefore runs between sigsetjmp() and a flag; the handler jumps back if the
 * flag is set and hands the signal on if it is not. sigsetjmp() without the
 * signal mask is a few register stores; the handler is installed with
 * SA_NODEFER, so that jumping out of it leaves nothing blocked.
 */
#include "root/dma_map.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static __thread sigjmp_buf guard_env;
static __thread volatile sig_atomic_t guard_armed;
static struct sigaction previous_bus;

static void on_bus(int sig, siginfo_t *info, void *context)
{
	if (guard_armed) {
		guard_armed = 0;
		siglongjmp(guard_env, 1);
	}
	if (previous_bus.sa_flags & SA_SIGINFO) {
		previous_bus.sa_sigaction(sig, info, context);
	} else if (previous_bus.sa_handler != SIG_DFL && previous_bus.sa_handler != SIG_IGN) {
		previous_bus.sa_handler(sig);
	} else {
		signal(sig, SIG_DFL); /* the access is repeated and ends the process as it should */
	}
}

void fb_dma_guard_init(void)
{
	struct sigaction sa = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_NODEFER}, now;

	if (sigaction(SIGBUS, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_bus)
		return;
	sigemptyset(&sa.sa_mask);
	sigaction(SIGBUS, &sa, &previous_bus);
}

/* The fences keep the compiler from moving the access out of the guarded stretch. */
static inline void arm(void)
{
	guard_armed = 1;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static inline void disarm(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	guard_armed = 0;
}

int fb_dma_copy(void *to, const void *from, size_t len)
{
	if (sigsetjmp(guard_env, 0))
		return -EFAULT;
	arm();
	memcpy(to, from, len);
	disarm();
	return 0;
}

typedef uint64_t sixteen __attribute__((vector_size(16), may_alias));

/* The most that is aligned and fits, 16 at most. */
static size_t step(uintptr_t to, size_t len)
{
	size_t n = 16;

	while (n > len || to % n)
		n /= 2;
	return n;
}

/*
 * Not memcpy(), whose last stores overlap those before. The guest looks on: it
 * takes a descriptor as soon as it sees it written back, and fills it anew. A
 * root that lost its processor between the two stores of the same bytes put the
 * old ones over that. Volatile, so that the compiler does not make it memcpy();
 * not inlined, so that sigsetjmp() finds no variables that change.
 */
__attribute__((noinline)) static void store(uint8_t *to, const uint8_t *from, size_t len)
{
	for (size_t n; len; to += n, from += n, len -= n) {
		union {
			sixteen x;
			uint64_t q;
			uint32_t d;
			uint16_t w;
			uint8_t b;
		} v;

		n = (uintptr_t)to % 16 == 0 && len >= 16 ? 16 : step((uintptr_t)to, len);
		switch (n) {
		case 16:
			memcpy(&v.x, from, 16);
			*(volatile sixteen *)(void *)to = v.x;
			break;
		case 8:
			memcpy(&v.q, from, 8);
			*(volatile uint64_t *)(void *)to = v.q;
			break;
		case 4:
			memcpy(&v.d, from, 4);
			*(volatile uint32_t *)(void *)to = v.d;
			break;
		case 2:
			memcpy(&v.w, from, 2);
			*(volatile uint16_t *)(void *)to = v.w;
			break;
		default:
			*(volatile uint8_t *)to = *from;
		}
	}
}

int fb_dma_store(void *to, const void *from, size_t len)
{
	if (sigsetjmp(guard_env, 0))
		return -EFAULT;
	arm();
	store(to, from, len);
	disarm();
	return 0;
}

int fb_dma_guarded(void (*op)(void *arg), void *arg)
{
	if (sigsetjmp(guard_env, 0))
		return -EFAULT;
	arm();
	op(arg);
	disarm();
	return 0;
}

/* Index of the first region whose iova is above addr. */
static unsigned above(const struct fb_dma_map *map, uint64_t addr)
{
	unsigned lo = 0, hi = map->n;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (map->v[mid].iova <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const struct fb_dma_region *fb_dma_map_find_slow(struct fb_dma_map *map, uint64_t addr)
{
	unsigned i = above(map, addr);

	if (i == 0 || addr - map->v[i - 1].iova >= map->v[i - 1].size)
		return NULL;
	map->last = i - 1;
	return &map->v[i - 1];
}

/* Maps the part of the file that backs the region; says why if it does not. */
static const char *map_file(const struct fb_dma_map *map, struct fb_dma_region *r, int fd, uint64_t offset)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), skip = offset % page;
	int prot = (r->flags & FB_DMA_WRITABLE) ? PROT_READ | PROT_WRITE : PROT_READ;
	struct stat st;
	void *p;

	/*
	 * Only files of memory have seals. An access to any other may wait for its
	 * file system, for ever if that is the client's own (FUSE), and so may a
	 * mere fstat(): the whole root would stand still.
	 */
	if (fcntl(fd, F_GET_SEALS) < 0)
		return "its file descriptor is not of memory (memfd, tmpfs, hugetlbfs)";
	if (fstat(fd, &st) < 0)
		return "its file descriptor cannot be examined";
	if (st.st_size < 0 || offset > (uint64_t)st.st_size || r->size > (uint64_t)st.st_size - offset)
		return "its file is shorter than the region";
	if (map->n - map->without_host >= FB_DMA_MAPPED_MAX || r->size > FB_DMA_MAPPED_BYTES_MAX - map->mapped_bytes)
		return "more than one client may have mapped (2048 pieces, 4 TiB)";
	p = mmap(NULL, r->size + skip, prot, MAP_SHARED, fd, (off_t)(offset - skip));
	if (p == MAP_FAILED)
		return "its file cannot be mapped";
	madvise(p, r->size + skip, MADV_DONTFORK);
	r->map = p;
	r->map_len = r->size + skip;
	r->host = (uint8_t *)p + skip;
	return NULL;
}

int fb_dma_map_add(struct fb_dma_map *map, uint64_t iova, uint64_t size, uint32_t flags, int fd, uint64_t offset,
		   const char **why)
{
	struct fb_dma_region r = {.iova = iova, .size = size, .flags = flags};
	unsigned i;

	*why = NULL;
	if (size == 0 || iova + (size - 1) < iova || (flags & ~(uint32_t)(FB_DMA_READABLE | FB_DMA_WRITABLE)))
		return -EINVAL;
	i = above(map, iova);
	if (i > 0 && iova - map->v[i - 1].iova < map->v[i - 1].size)
		return -EEXIST;
	if (i < map->n && map->v[i].iova - iova < size)
		return -EEXIST;
	if (map->n == FB_DMA_MAP_MAX)
		return -ENOSPC;
	if (map->n == map->cap) {
		unsigned cap = map->cap ? map->cap * 2 : 32;
		struct fb_dma_region *v = realloc(map->v, cap * sizeof(*v));

		if (!v)
			return -ENOMEM;
		map->v = v;
		map->cap = cap;
	}
	if (fd >= 0)
		*why = map_file(map, &r, fd, offset);
	memmove(&map->v[i + 1], &map->v[i], (map->n - i) * sizeof(map->v[0]));
	map->v[i] = r;
	map->n++;
	map->bytes += size;
	map->mapped_bytes += r.host ? size : 0;
	map->without_host += !r.host;
	return 0;
}

static void drop(struct fb_dma_map *map, unsigned i)
{
	if (map->v[i].map)
		munmap(map->v[i].map, map->v[i].map_len);
	map->bytes -= map->v[i].size;
	map->mapped_bytes -= map->v[i].host ? map->v[i].size : 0;
	map->without_host -= !map->v[i].host;
}

int fb_dma_map_remove(struct fb_dma_map *map, uint64_t iova, uint64_t size)
{
	uint64_t end = iova + (size - 1); /* inclusive */
	unsigned first, last;

	if (size == 0 || end < iova)
		return -EINVAL;
	first = above(map, iova);
	if (first > 0 && iova - map->v[first - 1].iova < map->v[first - 1].size) {
		if (map->v[first - 1].iova != iova)
			return -EINVAL;
		first--;
	}
	for (last = first; last < map->n && map->v[last].iova <= end; last++) {
		if (map->v[last].iova + (map->v[last].size - 1) > end)
			return -EINVAL;
	}
	if (last == first)
		return -ENOENT;
	for (unsigned i = first; i < last; i++)
		drop(map, i);
	memmove(&map->v[first], &map->v[last], (map->n - last) * sizeof(map->v[0]));
	map->n -= last - first;
	map->last = 0;
	return (int)(last - first);
}

void fb_dma_map_clear(struct fb_dma_map *map)
{
	for (unsigned i = 0; i < map->n; i++)
		drop(map, i);
	free(map->v);
	memset(map, 0, sizeof(*map));
}

int fb_dma_map_check(struct fb_dma_map *map, uint64_t addr, uint64_t len, uint32_t flags, bool *messages)
{
	*messages = false;
	while (len > 0) {
		const struct fb_dma_region *r = fb_dma_map_find(map, addr);
		uint64_t n;

		if (!r)
			return -EFAULT;
		if ((r->flags & flags) != flags)
			return -EACCES;
		if (!r->host)
			*messages = true;
		n = r->size - (addr - r->iova);
		if (n >= len)
			return 0;
		addr += n;
		len -= n;
		if (addr == 0)
			return -EFAULT; /* past the end of the address space */
	}
	return 0;
}
