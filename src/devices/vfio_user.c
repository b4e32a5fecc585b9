/* SPDX-License-Identifier: Apache-2.0 */
/* The model: a device that another program is. See vfio_user.h. */
#include "vfio_user.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/reader.h"
#include "vfio_user_nvme.h"

/* ---- Registers ------------------------------------------------------------------------ */

static uint64_t send_read(struct vu *v, unsigned bar, uint64_t offset, unsigned size, struct fb_access *access)
{
	struct vu_request *r;
	uint8_t *p = vu_send(v, VU_READ, VFIO_USER_REGION_READ, VFIO_USER_REGION_RW_BODY, NULL, 0, &r);

	v->count.reads++;
	if (!p) {
		fb_access_complete(access, UINT64_MAX);
		return UINT64_MAX;
	}
	r->bar = (uint8_t)bar;
	r->offset = offset;
	r->size = (uint16_t)size;
	r->access = access;
	fb_put_le64(p, offset);
	fb_put_le32(p + 8, bar);
	fb_put_le32(p + 12, size);
	vu_irq_eoi(v);
	return 0;
}

static void send_write(struct vu *v, unsigned bar, uint64_t offset, uint64_t value, unsigned size)
{
	bool io = v->shape.config[0x10 + 4 * bar] & 1;
	uint8_t bytes[8];

	v->count.writes++;
	fb_put_le64(bytes, value);
	if (vu_region_write(v, !io, bar, offset, bytes, size))
		vu_irq_eoi(v);
}

static struct vu_wait *queue(struct vu *v, struct fb_access *access, unsigned bar, uint64_t offset, unsigned size)
{
	struct vu_wait *w;

	if (v->n_waits == VU_WAITS)
		return NULL;
	w = &v->waits[(v->wait_first + v->n_waits++) % VU_WAITS];
	*w = (struct vu_wait){.access = access, .bar = (uint8_t)bar, .offset = offset, .size = (uint8_t)size};
	return w;
}

bool vu_wait_for_turn(struct vu *v, unsigned region, uint64_t offset, uint64_t value, unsigned size)
{
	struct vu_wait *w = v->n_waits ? queue(v, NULL, region, offset, size) : NULL;

	if (w)
		w->value = value;
	return w != NULL;
}

static bool in_region(const struct vu *v, unsigned bar, uint64_t offset, unsigned size)
{
	return fb_in_range(offset, size, v->shape.regions[bar].size);
}

static uint64_t model_read(struct fb_device *dev, unsigned bar, uint64_t offset, unsigned size)
{
	struct vu *v = fb_device_state(dev);
	struct fb_access *access;
	uint64_t value;
	struct vu_wait *w;

	if (v->state != VU_UP || !in_region(v, bar, offset, size))
		return UINT64_MAX;
	if (v->nvme && bar == 0 && vn_read(v->nvme, offset, size, &value))
		return value;
	access = fb_access_defer(dev);
	if (!access)
		return UINT64_MAX;
	if (!v->n_waits)
		return send_read(v, bar, offset, size, access);
	w = queue(v, access, bar, offset, size);
	if (w)
		w->read = true;
	else
		fb_access_complete(access, UINT64_MAX);
	return UINT64_MAX;
}

/* Has the server still much to take? */
static bool busy(const struct vu *v)
{
	return vfio_user_stream_queued(&v->main.stream) > VU_OUT_BUSY;
}

static void model_write(struct fb_device *dev, unsigned bar, uint64_t offset, uint64_t value, unsigned size)
{
	struct vu *v = fb_device_state(dev);
	struct vu_wait *w;

	if (v->state != VU_UP || !in_region(v, bar, offset, size))
		return;
	if (v->nvme && bar == 0) {
		vn_write(v->nvme, offset, value, size);
		return;
	}
	if (!v->n_waits && !v->mirror && !busy(v)) {
		send_write(v, bar, offset, value, size);
		return;
	}
	w = queue(v, fb_access_defer(dev), bar, offset, size);
	if (!w) {
		vu_lost(v, "does not keep up: %u accesses of the guest wait", VU_WAITS);
		return;
	}
	w->value = value;
	w->seq = ++v->write_seq;
	v->count.write_waits++;
	vu_writes_go_on(v);
}

void vu_writes_go_on(struct vu *v)
{
	while (v->n_waits && v->state == VU_UP && !busy(v)) {
		struct vu_wait w = v->waits[v->wait_first];

		if (w.seq && v->mirror && !vu_mirror_fresh(v, w.seq)) {
			vu_mirror_fetch(v);
			if (!vu_mirror_fresh(v, w.seq))
				return;
		}
		v->wait_first = (v->wait_first + 1) % VU_WAITS;
		v->n_waits--;
		if (w.read) {
			send_read(v, w.bar, w.offset, w.size, w.access);
			continue;
		}
		if (w.bar == VFIO_REGION_CONFIG) {
			uint8_t bytes[8];

			fb_put_le64(bytes, w.value);
			vu_region_write(v, false, w.bar, w.offset, bytes, w.size);
			continue;
		}
		send_write(v, w.bar, w.offset, w.value, w.size);
		if (w.access)
			fb_access_complete(w.access, 0);
	}
}

void vu_accesses_drop(struct vu *v)
{
	while (v->n_waits) {
		struct fb_access *access = v->waits[v->wait_first].access;

		v->wait_first = (v->wait_first + 1) % VU_WAITS;
		v->n_waits--;
		if (access)
			fb_access_complete(access, UINT64_MAX);
	}
}

static void config_written(struct fb_device *dev, unsigned offset, unsigned len)
{
	vu_config_written(fb_device_state(dev), offset, len);
}

/* ---- Reset -------------------------------------------------------------------------------- */

static void model_reset(struct fb_device *dev, enum fb_reset kind)
{
	struct vu *v = fb_device_state(dev);

	(void)kind;
	/* The runtime has ended the accesses. */
	v->n_waits = 0;
	vu_requests_forget(v);
	if (v->state == VU_UP) {
		v->count.resets++;
		vu_irq_off(v);
		vu_config_reset(v);
		if (v->shape.flags & VFIO_DEVICE_RESET) {
			if (vu_send(v, VU_RESET, VFIO_USER_DEVICE_RESET, 0, NULL, 0, NULL))
				v->resetting++;
		} else if (!v->no_reset_said) {
			v->no_reset_said = true;
			fb_device_warn(dev, "the server offers no reset: what it does goes on across resets of the function");
		}
	}
	vu_irq_forget(v);
	vu_mirror_reset(v);
	if (v->nvme)
		vn_reset(v->nvme);
	vu_arm_timer(v); /* the runtime has stopped it */
}

/* ---- Life ----------------------------------------------------------------------------------- */

static void resume(struct fb_device *dev, struct fb_device_batch *batch)
{
	(void)batch;
	vu_pump(fb_device_state(dev));
}

static int model_realize(struct fb_device *dev)
{
	struct vu *v = fb_device_state(dev);
	int err;

	v->dev = dev;
	v->main.fd = v->twin.fd = -1;
	v->armed = -1;
	v->flush.run = vu_flush;
	v->resume.run = resume;
	v->timer.due = vu_timer_due;
	v->waits = calloc(VU_WAITS, sizeof(*v->waits));
	err = v->waits ? vu_requests_init(v) : -ENOMEM;
	if (!err && v->opt.memory && v->opt.nvme == VU_NVME_ON) {
		fb_device_error(dev, "memory and nvme=on: a server's memory is one or the other");
		err = -EINVAL;
	}
	if (!err)
		err = vu_mirror_init(v);
	if (err)
		goto free_all;
	err = vu_connect(v);
	if (!err)
		err = vu_wait_up(v, v->opt.timeout_ns);
	if (err) {
		fb_device_error(dev, "the device server at %s: %s", v->opt.socket, v->why[0] ? v->why : strerror(-err));
		goto disconnect;
	}
	vu_shape_present(v);
	err = vu_irq_init(v);
	if (err)
		goto free_irqs;
	v->realized = true;
	vu_schedule_flush(v); /* what the handshake left unsent */
	vu_arm_timer(v);
	fb_device_info(dev, "the server at %s is %04x:%04x, class %06x, %u interrupt vectors%s%s", v->opt.socket,
		       fb_get_le16(v->shape.config), fb_get_le16(v->shape.config + 2),
		       fb_get_le32(v->shape.config + 8) >> 8, v->n_vectors, v->twin.fd >= 0 ? ", twin socket" : "",
		       v->mirror ? ", with mirrored memory" : v->nvme ? ", carried as NVMe" : "");
	return 0;

free_irqs:
	vu_irq_fini(v);
disconnect:
	v->ending = true;
	vu_disconnect(v);
free_all:
	vu_requests_fini(v);
	vu_mirror_fini(v);
	vn_fini(v);
	free(v->waits);
	v->waits = NULL;
	return err;
}

static void model_unrealize(struct fb_device *dev)
{
	struct vu *v = fb_device_state(dev);

	v->ending = true;
	vu_disconnect(v);
	vu_irq_fini(v);
	vu_requests_fini(v);
	vu_mirror_fini(v);
	vn_fini(v);
	free(v->waits);
}

static void model_stats(struct fb_device *dev, void (*put)(void *arg, const char *name, uint64_t value), void *arg)
{
	const struct vu *v = fb_device_state(dev);
	const struct vu_counters *c = &v->count;

	put(arg, "server_up", v->state == VU_UP);
	put(arg, "connects", c->connects);
	put(arg, "disconnects", c->disconnects);
	put(arg, "reads", c->reads);
	put(arg, "writes", c->writes);
	put(arg, "write_waits", c->write_waits);
	put(arg, "config_writes", c->config_writes);
	put(arg, "dma_reads", c->dma_reads);
	put(arg, "dma_read_bytes", c->dma_read_bytes);
	put(arg, "dma_writes", c->dma_writes);
	put(arg, "dma_write_bytes", c->dma_write_bytes);
	put(arg, "dma_refused", c->dma_refused);
	put(arg, "dma_waits", c->dma_waits);
	put(arg, "interrupts", c->interrupts);
	put(arg, "interrupts_lost", c->interrupts_lost);
	put(arg, "resets", c->resets);
	put(arg, "errors", c->errors);
	put(arg, "timeouts", c->timeouts);
	put(arg, "protocol_errors", c->protocol_errors);
	put(arg, "in_progress", v->n_requests + v->n_dma);
	if (v->nvme)
		vn_stats(v->nvme, put, arg);
	put(arg, "mirror_fetches", c->mirror_syncs);
	put(arg, "mirror_bytes_in", c->mirror_bytes_in);
	put(arg, "mirror_bytes_out", c->mirror_bytes_out);
	put(arg, "mirror_errors", c->mirror_errors);
}

static const char *const nvme_choices[] = {"auto", "on", "off", NULL};

static const struct fb_option options[] = {
	FB_OPTION(struct vu, opt.socket, "socket", FB_OPT_STRING, .required = true,
		  .help = "path of the unix socket at which the device server listens"),
	FB_OPTION(struct vu, opt.timeout_ns, "timeout", FB_OPT_U64, .def = "5s", .unit = "time", .min = 100000000,
		  .max = UINT64_C(60000000000), .help = "a server that is silent for longer is taken for dead"),
	FB_OPTION(struct vu, opt.vectors, "vectors", FB_OPT_U32, .def = "64", .min = 1, .max = VU_VECTORS,
		  .help = "interrupt vectors that the guest is shown at most"),
	FB_OPTION(struct vu, opt.memory, "memory", FB_OPT_STRING, .unit = "SIZE@ADDRESS",
		  .help = "guest memory to mirror for a server that insists on mapping it (docs/devices/vfio-user.md)"),
	FB_OPTION(struct vu, opt.hugepages, "hugepages", FB_OPT_BOOL, .def = "off",
		  .help = "what the server maps is of 2 MiB pages, as SPDK's drivers of real drives want it"),
	FB_OPTION(struct vu, opt.nvme, "nvme", FB_OPT_CHOICE, .choices = nvme_choices, .def = "auto",
		  .help = "carry an NVMe controller's commands rather than its memory accesses; auto: if it is one"),
	FB_OPTION(struct vu, opt.buffers, "buffers", FB_OPT_SIZE, .unit = "bytes", .def = "128M", .min = VN_POOL_MIN,
		  .max = VN_POOL_MAX, .help = "memory for an NVMe controller's queues and data, which the server maps"),
};

const struct fb_model vfio_user_model = {
	.api = FB_DEVICE_API,
	.size = sizeof(struct fb_model),
	.name = "vfio-user",
	.summary = "a device that another program is: any vfio-user server (SPDK, libvfio-user, farbus root)",
	.options = options,
	.n_options = sizeof(options) / sizeof(options[0]),
	.state_size = sizeof(struct vu),
	.realize = model_realize,
	.unrealize = model_unrealize,
	.reset = model_reset,
	.read = model_read,
	.write = model_write,
	.stats = model_stats,
	.config_written = config_written,
};
