/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The adapter role of SoftPCIe: a PCIe function whose other half is software on
 * the network. It stands in for the published hardware (docs/softpcie.md), or,
 * with another identity, for the device that the software is.
 *
 *	BAR 0  16 KiB   registers: DW n is adapter register n, read-only
 *	BAR 2  4 KiB    MSI-X table (16 vectors) at 0, PBA at 0x100
 *	BAR 4  window   what the guest does there goes out as TLPs (engine off), or is plain memory (engine on)
 *
 * With window-bar=0 the first and the last change places.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>

#include "devices/softpcie.h"
#include "util/text.h"

enum { REGISTER_BAR_SIZE = 16384, MSIX_BAR = 2, MSIX_BAR_SIZE = 4096, MSIX_PBA = 0x100, VECTORS = SOFTPCIE_VECTORS };

void softpcie_say(struct softpcie *s, enum softpcie_complaint kind, const char *fmt, ...)
{
	uint64_t left_out;
	char text[256];
	va_list ap;

	if (!fb_log_allowed(&s->limits[kind], fb_device_now(s->dev), &left_out))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fb_device_warn(s->dev, "%s (%llu more since the last message)", text, (unsigned long long)left_out);
}

int softpcie_send(struct softpcie *s, unsigned peer, uint16_t port, const struct pcie_tlp *tlp)
{
	int err = fb_softpcie_send(s->sockets, peer, port, tlp);

	fb_device_batch_schedule(s->dev, &s->flush);
	return err;
}

/* ---- What the sockets bring ---------------------------------------------- */

static void rx_tlp(void *arg, unsigned peer, uint16_t port, const struct pcie_tlp *tlp)
{
	struct softpcie *s = arg;
	bool device_port = port >= SOFTPCIE_PORT_DEVICE && port < SOFTPCIE_PORT_DEVICE + SOFTPCIE_DEVICE_TAGS;

	if (tlp->type == PCIE_TLP_CPL || tlp->type == PCIE_TLP_CPLD)
		softpcie_host_completion(s, peer, tlp);
	else if (device_port && !(tlp->ep && tlp->data))
		softpcie_dma_request(s, peer, port, tlp);
	else
		s->count.misdirected++;
}

static void rx_packet(void *arg, unsigned peer, uint16_t port, uint16_t from, const uint8_t *data, size_t len)
{
	struct softpcie *s = arg;

	softpcie_service(s, peer, port, from, data, len);
	fb_device_batch_schedule(s->dev, &s->flush);
}

static void seen(void *arg, bool sent, const struct pcie_tlp *tlp, enum pcie_tlp_error error, const uint8_t *bytes,
		 size_t len)
{
	struct softpcie *s = arg;

	fb_device_wire_tlp(s->dev, sent, bytes, len);
}

static const struct fb_softpcie_user sockets_user = {.tlp = rx_tlp, .packet = rx_packet, .seen = seen};

static void ready(struct fb_device *dev, struct fb_device_fd *watch, uint32_t events)
{
	struct softpcie *s = fb_device_state(dev);

	fb_softpcie_receive(s->sockets);
	softpcie_host_go_on(s);
}

static void flush(struct fb_device *dev, struct fb_device_batch *batch)
{
	struct softpcie *s = fb_device_state(dev);

	fb_softpcie_flush(s->sockets);
}

/* ---- Registers ----------------------------------------------------------- */

static uint64_t model_read(struct fb_device *dev, unsigned bar, uint64_t offset, unsigned size)
{
	struct softpcie *s = fb_device_state(dev);
	uint64_t value = 0;

	if (bar == s->register_bar)
		return softpcie_register(s, (unsigned)(offset / 4));
	if (bar != s->window_bar)
		return 0;
	if (!s->memory)
		return softpcie_host_read(s, offset, size);
	memcpy(&value, s->memory + offset, size);
	return le64toh(value);
}

static void model_write(struct fb_device *dev, unsigned bar, uint64_t offset, uint64_t value, unsigned size)
{
	struct softpcie *s = fb_device_state(dev);

	if (bar != s->window_bar)
		return;
	if (!s->memory) {
		softpcie_host_write(s, offset, value, size);
		return;
	}
	value = htole64(value);
	memcpy(s->memory + offset, &value, size);
}

/* ---- Life ---------------------------------------------------------------- */

static int parse_peers(struct softpcie *s)
{
	char *list = strdup(s->opt.peer), *cursor = list, *item;
	int err = list ? 0 : -ENOMEM;

	while (!err && (item = fb_next_item(&cursor, '+'))) {
		if (s->n_peers == FB_SOFTPCIE_PEERS) {
			fb_device_error(s->dev, "peer=%s: more than %d peers", s->opt.peer, FB_SOFTPCIE_PEERS);
			err = -EINVAL;
		} else if (fb_softpcie_parse_addr(item, &s->peers[s->n_peers++])) {
			fb_device_error(s->dev, "peer=%s: \"%s\" is not an IPv4 address; several are joined by +",
					s->opt.peer, item);
			err = -EINVAL;
		}
	}
	if (!err && !s->n_peers) {
		fb_device_error(s->dev, "peer=%s: no address in it", s->opt.peer);
		err = -EINVAL;
	}
	free(list);
	return err;
}

static int shape(struct softpcie *s)
{
	const struct fb_identity identity = {
		.vendor_id = (uint16_t)s->opt.vendor, .device_id = (uint16_t)s->opt.device,
		.subsystem_vendor_id = (uint16_t)s->opt.subsystem_vendor, .subsystem_id = (uint16_t)s->opt.subsystem,
		.class_code = s->opt.class_code, .revision = (uint8_t)s->opt.revision};
	struct fb_bar window = {.is_64 = true, .prefetchable = true, .size = s->opt.window, .min_access = 1, .max_access = 8};
	struct fb_bar registers = {.size = REGISTER_BAR_SIZE, .min_access = 4, .max_access = 4};

	s->window_bar = s->opt.window_bar ? 0 : 4;
	s->register_bar = 4 - s->window_bar;
	window.index = (uint8_t)s->window_bar;
	/* Registers in BAR 0 may be where a driver of another identity's registers are: not prefetchable then. */
	window.prefetchable = s->window_bar != 0;
	registers.index = (uint8_t)s->register_bar;
	if (s->opt.window & (s->opt.window - 1)) {
		fb_device_error(s->dev, "bar4=%llu: must be a power of 2", (unsigned long long)s->opt.window);
		return -EINVAL;
	}
	if (s->opt.mps & (s->opt.mps - 1)) {
		fb_device_error(s->dev, "mps=%u: must be a power of 2", s->opt.mps);
		return -EINVAL;
	}
	fb_device_set_identity(s->dev, &identity);
	fb_device_set_bar(s->dev, &window);
	fb_device_set_bar(s->dev, &registers);
	return fb_device_set_msix(s->dev, MSIX_BAR, 0, MSIX_BAR, MSIX_PBA);
}

static int open_sockets(struct softpcie *s)
{
	struct fb_softpcie_config c = {
		.name = fb_device_name(s->dev), .local = s->local, .n_peers = s->n_peers,
		.device_tags = SOFTPCIE_DEVICE_TAGS, .host_ports = true, .old_rule = s->opt.old_ports,
		.services = {SOFTPCIE_PORT_MESSAGE, SOFTPCIE_PORT_CONFIG, SOFTPCIE_PORT_REGISTER}, .n_services = 3,
	};
	int err;

	memcpy(c.peers, s->peers, sizeof(c.peers));
	err = fb_softpcie_open(&s->sockets, &c, &sockets_user, s);
	if (err)
		return err;
	s->watch.ready = ready;
	s->flush.run = flush;
	err = fb_device_fd_add(s->dev, &s->watch, fb_softpcie_fd(s->sockets), EPOLLIN);
	if (err)
		fb_softpcie_close(s->sockets);
	return err;
}

static int model_realize(struct fb_device *dev)
{
	struct softpcie *s = fb_device_state(dev);
	char local[16], peer[16];
	int err;

	s->dev = dev;
	s->last = &s->first;
	s->timer.due = softpcie_host_timeout;
	if (fb_softpcie_parse_addr(s->opt.listen, &s->local)) {
		fb_device_error(dev, "listen=%s: not an IPv4 address", s->opt.listen);
		return -EINVAL;
	}
	err = parse_peers(s);
	if (!err)
		err = softpcie_dma_parse_allowed(s);
	if (!err)
		err = shape(s);
	if (err)
		return err;
	if (s->opt.engine) {
		s->memory = mmap(NULL, s->opt.window, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (s->memory == MAP_FAILED) {
			s->memory = NULL;
			fb_device_error(dev, "no memory for a window of %llu bytes", (unsigned long long)s->opt.window);
			return -ENOMEM;
		}
	}
	err = open_sockets(s);
	if (err) {
		if (s->memory)
			munmap(s->memory, s->opt.window);
		return err;
	}
	fb_device_info(dev, "SoftPCIe adapter at %s for %s%s, engine %s", fb_softpcie_format_addr(s->local, local, sizeof(local)),
		       fb_softpcie_format_addr(s->peers[0], peer, sizeof(peer)), s->n_peers > 1 ? " and others" : "",
		       s->memory ? "on" : "off");
	return 0;
}

static void model_unrealize(struct fb_device *dev)
{
	struct softpcie *s = fb_device_state(dev);

	softpcie_host_reset(s);
	fb_device_fd_del(dev, &s->watch);
	fb_softpcie_close(s->sockets);
	softpcie_dma_free(s);
	if (s->memory)
		munmap(s->memory, s->opt.window);
}

static void model_reset(struct fb_device *dev, enum fb_reset kind)
{
	struct softpcie *s = fb_device_state(dev);

	softpcie_host_reset(s);
	/* What one guest left is not for the next one to see. */
	if (s->memory)
		madvise(s->memory, s->opt.window, MADV_DONTNEED);
}

static void model_stats(struct fb_device *dev, void (*put)(void *arg, const char *name, uint64_t value), void *arg)
{
	struct softpcie *s = fb_device_state(dev);

#define PUT(member) put(arg, #member, s->count.member)
	PUT(host_reads);
	PUT(host_writes);
	PUT(host_timeouts);
	PUT(host_errors);
	PUT(host_writes_lost);
	PUT(late_completions);
	PUT(unexpected_completions);
	PUT(peer_reads);
	PUT(peer_writes);
	PUT(peer_refused);
	PUT(peer_failed);
	PUT(peer_overload);
	PUT(completions_lost);
	PUT(misdirected);
	PUT(messages);
	PUT(config_reads);
	PUT(config_writes);
	PUT(config_writes_refused);
	PUT(register_reads);
#undef PUT
	fb_softpcie_put_stats(s->sockets, put, arg);
}

static const char *const window_bars[] = {"4", "0", NULL};

static const struct fb_option options[] = {
	FB_OPTION(struct softpcie, opt.listen, "listen", FB_OPT_STRING, .required = true,
		  .help = "IPv4 address of the adapter"),
	FB_OPTION(struct softpcie, opt.peer, "peer", FB_OPT_STRING, .required = true,
		  .help = "who may use it, ADDR[+ADDR...]; the guest's accesses go to the first"),
	FB_OPTION(struct softpcie, opt.engine, "engine", FB_OPT_BOOL, .def = "off",
		  .help = "the adapter answers the guest's accesses to the window itself, from memory"),
	FB_OPTION(struct softpcie, opt.window, "bar4", FB_OPT_SIZE, .def = "16M", .min = 4096, .max = UINT64_C(1) << 40,
		  .unit = "bytes", .help = "size of the window, a power of 2"),
	FB_OPTION(struct softpcie, opt.window_bar, "window-bar", FB_OPT_CHOICE, .def = "4", .choices = window_bars,
		  .help = "which BAR the window is; 0 for drivers that want their registers there"),
	FB_OPTION(struct softpcie, opt.allow, "allow", FB_OPT_STRING,
		  .help = "bus addresses that peers may use, START:SIZE[+START:SIZE...]; interrupts always; default: all"),
	FB_OPTION(struct softpcie, opt.timeout_ns, "mmio-timeout", FB_OPT_U64, .unit = "time", .def = "200ms",
		  .min = 1000000, .max = UINT64_C(60000000000), .help = "a guest's read without answer gives all ones"),
	FB_OPTION(struct softpcie, opt.mps, "mps", FB_OPT_U32, .unit = "bytes", .def = "256", .min = 128, .max = 4096,
		  .help = "largest payload of a completion to peers, a power of 2"),
	FB_OPTION(struct softpcie, opt.old_ports, "old-ports", FB_OPT_BOOL, .def = "off",
		  .help = "all TLPs on 0x3000 + tag, as before March 2020"),
	FB_OPTION(struct softpcie, opt.config_writes, "config-writes", FB_OPT_BOOL, .def = "off",
		  .help = "peers may write configuration space, behind the guest's back"),
	FB_OPTION(struct softpcie, opt.vendor, "vendor", FB_OPT_U32, .def = "0x3776", .max = 0xffff, .help = "vendor ID"),
	FB_OPTION(struct softpcie, opt.device, "device", FB_OPT_U32, .def = "0x8022", .max = 0xffff, .help = "device ID"),
	FB_OPTION(struct softpcie, opt.subsystem_vendor, "subsystem-vendor", FB_OPT_U32, .def = "0x3776", .max = 0xffff,
		  .help = "subsystem vendor ID"),
	FB_OPTION(struct softpcie, opt.subsystem, "subsystem", FB_OPT_U32, .def = "0x8022", .max = 0xffff,
		  .help = "subsystem ID"),
	FB_OPTION(struct softpcie, opt.class_code, "class", FB_OPT_U32, .def = "0x058000", .max = 0xffffff,
		  .help = "class code: drivers that bind by class find the device behind the adapter"),
	FB_OPTION(struct softpcie, opt.revision, "revision", FB_OPT_U32, .def = "0", .max = 0xff, .help = "revision ID"),
};

static const struct fb_bar bars[] = {
	{.index = 0, .size = REGISTER_BAR_SIZE},
	{.index = MSIX_BAR, .is_64 = true, .prefetchable = true, .size = MSIX_BAR_SIZE},
	{.index = 4, .is_64 = true, .prefetchable = true, .size = 16 << 20, .min_access = 1, .max_access = 8},
};

const struct fb_model softpcie_model = {
	.api = FB_DEVICE_API,
	.size = sizeof(struct fb_model),
	.name = "softpcie",
	.summary = "SoftPCIe / NetTLP adapter: software on the network is the device",
	.identity = {.vendor_id = 0x3776, .device_id = 0x8022, .subsystem_vendor_id = 0x3776, .subsystem_id = 0x8022,
		     .class_code = 0x058000},
	.bars = bars,
	.n_bars = sizeof(bars) / sizeof(bars[0]),
	.msi_vectors = VECTORS,
	.msix_vectors = VECTORS,
	.msix_bar = MSIX_BAR,
	.options = options,
	.n_options = sizeof(options) / sizeof(options[0]),
	.state_size = sizeof(struct softpcie),
	.realize = model_realize,
	.unrealize = model_unrealize,
	.reset = model_reset,
	.read = model_read,
	.write = model_write,
	.stats = model_stats,
};
