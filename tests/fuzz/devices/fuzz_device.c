/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz_device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { HANG_S = 60, MAX_ROUNDS = 300000, ZONE = 512 << 10, GRANTS = 1 << 14 };
/* Address of a grant: its number above, the offset in memory below. */
#define GRANT UINT64_C(0x5a96000000000000)
#define GRANT_BITS UINT64_C(0xffff000000000000)

static struct grant {
	uint64_t at, len;
	unsigned access;
} grants[GRANTS];
static unsigned n_grants, first_grant; /* those before first_grant are of before a reset */
static uint64_t plain, next_place;     /* size of the memory that all reach; of the rest, what is free */
static bool anything;

void fuzz_must(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "%s: not so: %s\n", program_invocation_short_name, what);
		abort();
	}
}

static void outside(uint64_t addr, uint64_t len, bool write, const struct grant *g)
{
	if (anything)
		return;
	fprintf(stderr, "%s: a %s of %#llx bytes at %#llx, outside of a grant", program_invocation_short_name,
		write ? "write" : "read", (unsigned long long)len, (unsigned long long)(addr & UINT32_MAX));
	if (g)
		fprintf(stderr, " of %#llx bytes at %#llx for %s%s%s", (unsigned long long)g->len, (unsigned long long)g->at,
			g->access & FUZZ_READ ? "reading" : "", g->access & FUZZ_WRITE ? "writing" : "",
			g < grants + first_grant ? ", of before a reset" : "");
	fprintf(stderr, "\n");
	abort();
}

static uint64_t place(struct fb_device *dev, uint64_t addr, uint64_t len, bool write)
{
	uint64_t number = (addr & ~GRANT_BITS) >> 32, at = addr & UINT32_MAX;
	const struct grant *g = &grants[number % GRANTS];

	if ((addr & GRANT_BITS) != GRANT)
		return fb_in_range(addr, len, plain) ? addr : UINT64_MAX;
	if (number < n_grants && number >= first_grant && at >= g->at && fb_in_range(at - g->at, len, g->len) &&
	    g->access & (write ? FUZZ_WRITE : FUZZ_READ))
		return at;
	outside(addr, len, write, number < n_grants ? g : NULL);
	return UINT64_MAX;
}

uint64_t fuzz_place(struct fb_device *dev, uint64_t len, uint64_t align)
{
	uint64_t at = (next_place + align - 1) & ~(align - 1);

	if (!fb_in_range(at, len, dev->mem_size))
		return 0;
	memset(dev->mem + at, 0, len);
	next_place = at + len;
	return at;
}

uint64_t fuzz_grant(uint64_t at, uint64_t len, unsigned access)
{
	if (n_grants == GRANTS)
		return at;
	grants[n_grants] = (struct grant){at, len, access};
	return GRANT | (uint64_t)n_grants++ << 32 | at;
}

uint8_t *fuzz_memory(struct fb_device *dev, uint64_t addr, uint64_t len)
{
	bool granted = (addr & GRANT_BITS) == GRANT;

	addr &= granted ? UINT32_MAX : UINT64_MAX;
	return fb_in_range(addr, len, granted ? dev->mem_size : plain) ? dev->mem + addr : NULL;
}

void fuzz_forget(void)
{
	first_grant = n_grants;
}

void fuzz_anything(void)
{
	anything = true;
}

struct fb_device *fuzz_device_new(const struct fb_model *model, const char *options, uint64_t mem_size)
{
	struct fb_device *dev;

	alarm(HANG_S);
	plain = next_place = mem_size;
	n_grants = first_grant = 0;
	anything = false;
	if (fake_new(&dev, model, options, mem_size + ZONE)) {
		fprintf(stderr, "%s: %s\n", program_invocation_short_name, dev->errors);
		abort();
	}
	dev->place = place;
	return dev;
}

void fuzz_image(uint64_t size, char path[static 32])
{
	static int image = -1;

	if (image < 0)
		image = memfd_create("image", MFD_CLOEXEC);
	if (image < 0 || ftruncate(image, (off_t)size) < 0)
		abort();
	snprintf(path, 32, "/proc/self/fd/%d", image);
}

static void memory(struct fb_device *dev, struct fb_reader *r)
{
	uint64_t at = (uint64_t)fb_rd_le16(r) << 3;
	size_t len = fb_rd_u8(r);
	const uint8_t *bytes;

	if (len > r->left)
		len = r->left;
	bytes = fb_rd_bytes(r, len);
	if (!bytes || !fb_in_range(at, len, plain))
		return;
	memcpy(dev->mem + at, bytes, len);
	for (uint64_t i = at; i < at + len && i + 8 <= plain; i += 8) { /* no nonsense is a grant */
		if ((fb_get_le64(dev->mem + i) & GRANT_BITS) == GRANT)
			memset(dev->mem + i, 0, 8);
	}
}

void fuzz_step(struct fb_device *dev, struct fb_reader *r, enum fuzz_step step)
{
	static const int errors[] = {0, 0, 0, -EIO, -ETIMEDOUT, -EFAULT};
	uint8_t v;

	if (step == FUZZ_MEMORY) {
		memory(dev, r);
		return;
	}
	v = fb_rd_u8(r);
	switch (step) {
	case FUZZ_MEMORY:
		break;
	case FUZZ_ROUNDS:
		for (unsigned i = v % 8; i > 0; i--)
			fake_round(dev);
		break;
	case FUZZ_RESET:
		fake_reset(dev, (enum fb_reset)(v % 3));
		fuzz_forget();
		next_place = plain;
		anything = false;
		break;
	case FUZZ_TIME:
		fake_advance(dev, (uint64_t)v << 24);
		break;
	case FUZZ_FAULTS:
		dev->fail_reads = errors[v % 6];
		dev->shuffle = v;
		dev->irq_mode = (enum fb_irq_mode)(v >> 6);
		break;
	case FUZZ_MASTER:
		dev->bme = v % 4 != 0;
		dev->refuse_dma = v >> 4;
		if (!dev->bme)
			fake_cancel_dma(dev, -ECANCELED);
		break;
	}
}

void fuzz_settle(struct fb_device *dev, void (*each)(struct fb_device *dev))
{
	dev->hold = false;
	dev->bme = true;
	dev->fail_reads = 0;
	dev->refuse_dma = 0;
	for (unsigned rounds = 0, quiet = 0; quiet < 3;) {
		bool did = fake_round(dev);

		rounds += did; /* those in which it waits for a file are for HANG_S to bound */
		fuzz_must(rounds < MAX_ROUNDS, "it comes to rest");
		quiet = did || (dev->busy && dev->busy(dev)) ? 0 : quiet + 1;
		if (each)
			each(dev);
	}
}

static void put(void *arg, const char *name, uint64_t value)
{
	(void)arg, (void)value;
	fuzz_must(name[0], "a counter has a name");
}

void fuzz_device_free(struct fb_device *dev)
{
	dev->model->stats(dev, put, NULL);
	if (!dev->model->quiesce(dev)) {
		fuzz_settle(dev, NULL);
		fuzz_must(dev->idle, "it says when it is idle");
	}
	fake_free(dev);
	alarm(0);
}
