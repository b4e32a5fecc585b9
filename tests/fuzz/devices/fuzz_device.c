/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz_device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { HANG_S = 60, MAX_ROUNDS = 10000000 };

void fuzz_must(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "%s: not so: %s\n", program_invocation_short_name, what);
		abort();
	}
}

struct fb_device *fuzz_device_new(const struct fb_model *model, const char *options, uint64_t mem_size)
{
	struct fb_device *dev;

	alarm(HANG_S);
	if (fake_new(&dev, model, options, mem_size)) {
		fprintf(stderr, "%s: %s\n", program_invocation_short_name, dev->errors);
		abort();
	}
	return dev;
}

void fuzz_device_free(struct fb_device *dev)
{
	fake_free(dev);
	alarm(0);
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
	if (bytes && fb_in_range(at, len, dev->mem_size))
		memcpy(dev->mem + at, bytes, len);
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
	for (unsigned i = 0, quiet = 0; quiet < 3; i++) {
		fuzz_must(i < MAX_ROUNDS, "it comes to rest");
		quiet = fake_round(dev) || (dev->busy && dev->busy(dev)) ? 0 : quiet + 1;
		if (each)
			each(dev);
	}
}
