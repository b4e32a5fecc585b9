/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A first PCIe device: it computes the CRC-32 (that of zlib and Ethernet) of
 * guest memory. docs/writing-a-device.md goes through it.
 *
 *	BAR 0   00h  R   identification: "CRC1"
 *	        08h  RW  address of the data, 8 bytes
 *	        10h  RW  length of it
 *	        14h  W   any value: compute. An interrupt follows
 *	        18h  R   the result
 *	        1Ch  R   status of the last one: 0 done, 1 the memory cannot be read, 2 too long
 */
#include <farbus/device.h>

enum { ID = 0x31435243, DONE = 0, BAD_MEMORY = 1, TOO_LONG = 2 };

struct crc {
	uint64_t longest; /* option */

	uint64_t address;
	uint32_t length, result, status;
	uint8_t data[4096];
};

static uint32_t add_bytes(uint32_t crc, const uint8_t *bytes, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		crc ^= bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return crc;
}

static uint32_t compute(struct fb_device *dev, struct crc *c)
{
	uint32_t crc = ~0u;

	if (c->length > c->longest)
		return TOO_LONG;
	for (uint32_t at = 0, n; at < c->length; at += n) {
		n = c->length - at < sizeof(c->data) ? c->length - at : (uint32_t)sizeof(c->data);
		if (fb_dma_read_wait(dev, c->address + at, c->data, n) != 0)
			return BAD_MEMORY;
		crc = add_bytes(crc, c->data, n);
	}
	c->result = ~crc;
	return DONE;
}

static uint64_t crc_read(struct fb_device *dev, unsigned bar, uint64_t offset, unsigned size)
{
	struct crc *c = fb_device_state(dev);

	switch (offset) {
	case 0x00:
		return ID;
	case 0x08:
		return c->address;
	case 0x10:
		return c->length;
	case 0x18:
		return c->result;
	case 0x1c:
		return c->status;
	default:
		return 0;
	}
}

static void crc_write(struct fb_device *dev, unsigned bar, uint64_t offset, uint64_t value, unsigned size)
{
	struct crc *c = fb_device_state(dev);

	switch (offset) {
	case 0x08:
		c->address = value;
		break;
	case 0x10:
		c->length = (uint32_t)value;
		break;
	case 0x14:
		c->status = compute(dev, c); /* meanwhile other accesses wait */
		fb_irq(dev, 0);
		break;
	default:
		break;
	}
}

static void crc_reset(struct fb_device *dev, enum fb_reset kind)
{
	struct crc *c = fb_device_state(dev);

	c->address = c->length = c->result = c->status = 0;
}

static const struct fb_bar bars[] = {{.index = 0, .size = 4096, .min_access = 4, .max_access = 8}};

static const struct fb_option options[] = {
	FB_OPTION(struct crc, longest, "longest", FB_OPT_SIZE, .def = "1M", .min = 1, .max = UINT32_MAX,
		  .help = "longest data that is taken"),
};

const struct fb_model farbus_model = {
	.api = FB_DEVICE_API,
	.size = sizeof(struct fb_model),
	.name = "crc",
	.summary = "computes the CRC-32 of guest memory",
	.identity = {.vendor_id = 0x1b36, .device_id = 0xf0cc, .class_code = 0x120000 /* processing accelerator */},
	.bars = bars,
	.n_bars = 1,
	.msi_vectors = 1,
	.options = options,
	.n_options = 1,
	.state_size = sizeof(struct crc),
	.reset = crc_reset,
	.read = crc_read,
	.write = crc_write,
	.style = FB_STYLE_BLOCKING,
};
