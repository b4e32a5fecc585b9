/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "probe.h"

static const struct fb_bar bars[] = {
	{.index = 0, .size = 4096},
	{.index = 2, .is_64 = true, .prefetchable = true, .size = PROBE_BAR2_SIZE, .min_access = 1, .max_access = 8},
	{.index = 4, .is_io = true, .size = 16, .min_access = 1, .max_access = 4},
};

static const char *const modes[] = {"slow", "medium", "quick", NULL};

static const struct fb_option options[] = {
	FB_OPTION(struct probe, text, "text", FB_OPT_STRING, .help = "any text"),
	FB_OPTION(struct probe, count, "count", FB_OPT_U32, .def = "8", .min = 1, .max = 64, .help = "a small number"),
	FB_OPTION(struct probe, mode, "mode", FB_OPT_CHOICE, .def = "medium", .choices = modes, .help = "a choice"),
	FB_OPTION(struct probe, size, "size", FB_OPT_SIZE, .def = "1M", .min = 512, .help = "a size"),
	FB_OPTION(struct probe, big, "big", FB_OPT_U64, .help = "any number"),
	FB_OPTION(struct probe, wait, "wait", FB_OPT_U64, .unit = "time", .help = "any time"),
	FB_OPTION(struct probe, pause, "pause", FB_OPT_U64, .unit = "time", .def = "1ms", .min = 1000, .help = "a time"),
	FB_OPTION(struct probe, fast, "fast", FB_OPT_BOOL, .help = "a switch"),
	FB_OPTION(struct probe, refuse, "refuse", FB_OPT_BOOL, .help = "realize fails"),
	FB_OPTION(struct probe, msi, "msi-vectors", FB_OPT_U32, .def = "8", .max = 1000, .help = "MSI vectors"),
	FB_OPTION(struct probe, msix, "msix-vectors", FB_OPT_U32, .def = "70", .max = 4000, .help = "MSI-X vectors"),
};

struct fb_device *probe_made;

static int probe_realize(struct fb_device *dev)
{
	struct probe *p = fb_device_state(dev);

	probe_made = dev;
	if (p->refuse) {
		fb_device_error(dev, "refuse=on");
		return -EIO;
	}
	fb_device_set_serial_number(dev, 0x0123456789abcdef);
	return fb_device_set_vectors(dev, (uint16_t)p->msi, (uint16_t)p->msix);
}

static void probe_reset(struct fb_device *dev, enum fb_reset kind)
{
	struct probe *p = fb_device_state(dev);

	p->resets++;
	p->last_reset = kind;
	p->n_late = 0;
	memset(p->bar0, 0, sizeof(p->bar0));
	memset(p->bar2, 0, sizeof(p->bar2));
	memset(p->bar4, 0, sizeof(p->bar4));
	if (p->on_reset)
		p->on_reset(dev);
}

static uint8_t *place(struct probe *p, unsigned bar, uint64_t offset)
{
	return bar == 0 ? p->bar0 + offset : bar == 2 ? p->bar2 + offset : p->bar4 + offset;
}

static void record(struct probe *p, bool write, unsigned bar, uint64_t offset, uint64_t value, unsigned size)
{
	if (p->n_access < PROBE_ACCESSES)
		p->access[p->n_access] = (struct probe_access){write, (uint8_t)bar, (uint8_t)size, offset, value};
	p->n_access++;
}

static void defer(struct fb_device *dev, struct probe *p)
{
	if (p->defer && p->n_late < PROBE_LATE && (p->late[p->n_late] = fb_access_defer(dev)))
		p->n_late++;
}

static uint64_t probe_read(struct fb_device *dev, unsigned bar, uint64_t offset, unsigned size)
{
	struct probe *p = fb_device_state(dev);
	uint64_t value = 0;

	memcpy(&value, place(p, bar, offset), size);
	record(p, false, bar, offset, value, size);
	defer(dev, p);
	if (bar == 0 && p->on_read)
		p->on_read(dev, offset);
	return value;
}

static void probe_write(struct fb_device *dev, unsigned bar, uint64_t offset, uint64_t value, unsigned size)
{
	struct probe *p = fb_device_state(dev);

	memcpy(place(p, bar, offset), &value, size);
	record(p, true, bar, offset, value, size);
	defer(dev, p);
	if (bar == 0 && p->on_write)
		p->on_write(dev, offset, value);
}

static bool probe_quiesce(struct fb_device *dev)
{
	const struct probe *p = fb_device_state(dev);

	return !p->busy;
}

static void probe_stats(struct fb_device *dev, void (*put)(void *arg, const char *name, uint64_t value), void *arg)
{
	const struct probe *p = fb_device_state(dev);

	put(arg, "accesses", p->n_access);
}

static void probe_config_written(struct fb_device *dev, unsigned offset, unsigned len)
{
	struct probe *p = fb_device_state(dev);

	p->n_written++;
	p->written_at = offset;
	p->written_len = len;
}

static void probe_read_outdated(struct fb_device *dev, unsigned bar, uint64_t offset)
{
	struct probe *p = fb_device_state(dev);

	p->n_outdated++;
	p->outdated_bar = bar;
	p->outdated_at = offset;
	if (bar == 0 && p->on_read)
		p->on_read(dev, offset);
}

const struct fb_model probe_model = {
	.api = FB_DEVICE_API,
	.size = sizeof(struct fb_model),
	.name = "probe",
	.summary = "a device to look at",
	.identity = {.vendor_id = 0x1b36,
		     .device_id = 0xfb01,
		     .subsystem_vendor_id = 0x1af4,
		     .subsystem_id = 0x1100,
		     .class_code = 0xff0102,
		     .revision = 3},
	.bars = bars,
	.n_bars = sizeof(bars) / sizeof(bars[0]),
	.msi_vectors = 8,
	.msix_vectors = PROBE_VECTORS,
	.msix_bar = 2,
	.msix_offset = PROBE_MSIX,
	.intx = true,
	.options = options,
	.n_options = sizeof(options) / sizeof(options[0]),
	.state_size = sizeof(struct probe),
	.realize = probe_realize,
	.reset = probe_reset,
	.read = probe_read,
	.write = probe_write,
	.quiesce = probe_quiesce,
	.stats = probe_stats,
	.config_written = probe_config_written,
	.read_outdated = probe_read_outdated,
};
