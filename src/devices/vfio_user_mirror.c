/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Some servers take no part in DMA by messages: they map the client's memory
 * and load and store. The guest's memory is on another machine, so the box can
 * only give them memory of its own, and copy. docs/design/vfio-user.md has what
 * that can and cannot be, and why it is a window that the operator chooses.
 *
 * The window (option memory=SIZE@ADDRESS) is a memfd that the server maps.
 *
 *	fetch   before a register write of the guest reaches the server, the window is read from the guest
 *	push    before an interrupt or the answer to a register read reaches the guest, what the server changed is written
 *
 * Two copies of the window say who changed a byte: `mem`, which the server has
 * too, and `known`, what both sides had when they last met. A push takes the
 * bytes where mem and known differ: the server's, and no others, since a byte
 * beside them may be the guest's own. A fetch takes the bytes where the guest
 * and known differ, and so leaves alone what the server is writing meanwhile.
 *
 * One fetch serves all writes that waited when it began; those that come
 * while it runs wait for the next.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/memfd.h>

#include "util/text.h"
#include "vfio_user.h"

enum { PIECE = 4096 };

struct vu_mirror {
	struct vu *v;
	uint64_t address, size;
	int fd;
	uint8_t *mem, *known, *stage;
	bool fetching, dead; /* dead: of a model that is being unmade */
	unsigned in_flight;
	uint64_t fetch_seq, fresh_seq; /* of the writes that this fetch serves, and that have been served */
	uint64_t started;
};

static int parse(const char *text, uint64_t *size, uint64_t *address)
{
	char first[64];
	const char *at = strchr(text, '@');
	size_t len = at ? (size_t)(at - text) : strlen(text);

	*address = 0;
	if (len == 0 || len >= sizeof(first))
		return -EINVAL;
	memcpy(first, text, len);
	first[len] = '\0';
	if (fb_parse_size(first, size) < 0)
		return -EINVAL;
	return at ? fb_parse_size(at + 1, address) : 0;
}

int vu_mirror_init(struct vu *v)
{
	uint64_t unit = v->opt.hugepages ? 2 << 20 : PIECE, size, address;
	struct vu_mirror *m;
	int err;

	if (!v->opt.memory)
		return 0;
	if (parse(v->opt.memory, &size, &address) < 0 || size == 0 || size % unit || address % unit ||
	    size > UINT64_C(1) << 30 || address >= VU_DMA_SPACE || size > VU_DMA_SPACE - address) {
		fb_device_error(v->dev,
				"memory=%s: not SIZE@ADDRESS, both multiples of %" PRIu64 ", of at most 1G and below 2^48",
				v->opt.memory, unit);
		return -EINVAL;
	}
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	v->mirror = m;
	m->v = v;
	m->address = address;
	m->size = size;
	m->mem = MAP_FAILED;
	m->fd = memfd_create("farbus-mirror", MFD_CLOEXEC | (v->opt.hugepages ? MFD_HUGETLB | MFD_HUGE_2MB : 0u));
	if (m->fd >= 0 && ftruncate(m->fd, (off_t)size) == 0)
		m->mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
	if (m->mem == MAP_FAILED) {
		err = -errno;
		fb_device_error(v->dev, "memory=%s: %s%s", v->opt.memory, strerror(-err),
				v->opt.hugepages ? " (are there free huge pages of 2 MiB? see /proc/sys/vm/nr_hugepages)" : "");
		return err;
	}
	m->known = calloc(1, size);
	m->stage = malloc(size);
	if (!m->known || !m->stage) {
		fb_device_error(v->dev, "memory=%s: no memory for it", v->opt.memory);
		return -ENOMEM;
	}
	return 0;
}

void vu_mirror_fini(struct vu *v)
{
	struct vu_mirror *m = v->mirror;

	if (!m)
		return;
	if (m->mem != MAP_FAILED)
		munmap(m->mem, m->size);
	if (m->fd >= 0)
		close(m->fd);
	free(m->known);
	free(m->stage);
	free(m);
	v->mirror = NULL;
}

void vu_mirror_map(const struct vu *v, uint64_t at, uint64_t *size, int *fd, uint64_t *offset)
{
	const struct vu_mirror *m = v->mirror;

	if (!m || m->address + m->size <= at || m->address >= at + *size)
		return;
	if (m->address > at) {
		*size = m->address - at;
		return;
	}
	/* Maps never begin inside the window: one ends where it begins. */
	*size = m->size;
	*fd = m->fd;
	*offset = 0;
}

/* ---- From the guest ------------------------------------------------------------------------- */

static void take_piece(struct vu_mirror *m, uint64_t at)
{
	const uint8_t *guest = m->stage + at;
	uint8_t *known = m->known + at, *mem = m->mem + at;

	if (memcmp(guest, known, PIECE) == 0)
		return;
	for (unsigned i = 0; i < PIECE; i++) {
		if (guest[i] == known[i])
			continue;
		mem[i] = known[i] = guest[i];
		m->v->count.mirror_bytes_in++;
	}
}

static void fetched(void *arg, int status)
{
	struct vu_mirror *m = arg;

	m->fetching = false;
	if (status == -ECANCELED) {
		/* A reset, and those who waited for it are gone; or bus mastering is off now, and they need not wait. */
		fb_device_batch_schedule(m->v->dev, &m->v->flush);
		return;
	}
	if (status) {
		m->v->count.mirror_errors++;
		vu_complain(m->v, "the memory window at 0x%" PRIx64 " cannot be read: %s", m->address, strerror(-status));
	} else {
		for (uint64_t at = 0; at < m->size; at += PIECE)
			take_piece(m, at);
		m->v->count.mirror_syncs++;
	}
	m->fresh_seq = m->fetch_seq;
	vu_writes_go_on(m->v);
}

void vu_mirror_fetch(struct vu *v)
{
	struct vu_mirror *m = v->mirror;
	int err;

	if (m->fetching)
		return;
	m->fetching = true;
	m->fetch_seq = v->write_seq;
	vu_mirror_push(v); /* what the server wrote is in the guest before the guest's view is read */
	err = fb_dma_read(v->dev, m->address, m->stage, (uint32_t)m->size, fetched, m);
	if (err == 0)
		return;
	/* Without bus mastering there is no DMA either: the server gets what the guest may give it, nothing. */
	m->fetching = false;
	m->fresh_seq = m->fetch_seq;
	if (err != -EPERM)
		v->count.mirror_errors++;
}

bool vu_mirror_fresh(const struct vu *v, uint64_t seq)
{
	return seq <= v->mirror->fresh_seq;
}

/* ---- To the guest ------------------------------------------------------------------------------ */

struct push {
	struct vu_mirror *m;
	uint8_t data[];
};

static void pushed(void *arg, int status)
{
	struct push *p = arg;

	if (status && status != -ECANCELED)
		p->m->v->count.mirror_errors++;
	free(p);
}

/* Writes a run of changed bytes. The data is copied: the server may go on changing it. */
static void push_run(struct vu_mirror *m, uint64_t at, uint32_t len)
{
	struct push *p = malloc(sizeof(*p) + len);
	int err = -ENOMEM;

	if (p) {
		p->m = m;
		memcpy(p->data, m->mem + at, len);
		err = fb_dma_write(m->v->dev, m->address + at, p->data, len, pushed, p);
	}
	if (err) {
		free(p);
		m->v->count.mirror_errors++;
		return;
	}
	memcpy(m->known + at, p->data, len);
	m->v->count.mirror_bytes_out += len;
}

void vu_mirror_push(struct vu *v)
{
	struct vu_mirror *m = v->mirror;

	if (!m || v->state != VU_UP)
		return;
	for (uint64_t piece = 0; piece < m->size; piece += PIECE) {
		uint64_t end = piece + PIECE;

		if (memcmp(m->mem + piece, m->known + piece, PIECE) == 0)
			continue;
		for (uint64_t at = piece; at < end;) {
			uint64_t from = at;

			while (at < end && m->mem[at] != m->known[at])
				at++;
			if (at > from)
				push_run(m, from, (uint32_t)(at - from));
			while (at < end && m->mem[at] == m->known[at])
				at++;
		}
	}
}

void vu_mirror_reset(struct vu *v)
{
	struct vu_mirror *m = v->mirror;

	if (!m)
		return;
	/* Nothing that the server wrote before the reset is for the guest. */
	memcpy(m->known, m->mem, m->size);
	m->fresh_seq = v->write_seq;
}
