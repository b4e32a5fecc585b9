/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vfio-user commands: each handler checks its message, does or starts what
 * it asks, and returns 0, FB_VU_WAIT, or the errno that the client gets.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "root/function.h"
#include "util/reader.h"

enum { VERSION_TEXT_MAX = 4096, CLIENT_XFER_MIN = 4096 };

static bool no_reply(const struct vfio_user_message *msg)
{
	return msg->flags & VFIO_USER_NO_REPLY;
}

static uint8_t *reply(struct fb_root_function *f, const struct vfio_user_message *msg, size_t len)
{
	if (no_reply(msg))
		return NULL;
	return fb_vu_put(&f->vu, msg->id, msg->command, VFIO_USER_TYPE_REPLY, 0, len);
}

/* ---- VERSION ---------------------------------------------------------------------- */

/* What the client can take in one message; false: its JSON is not what it should be. */
static bool parse_capabilities(struct fb_root_function *f, const char *text, size_t len)
{
	json_t *root, *caps, *xfer;
	bool ok = true;

	f->client_max_xfer = 1 << 20;
	if (len == 0)
		return true;
	if (text[len - 1] != '\0' || len > VERSION_TEXT_MAX)
		return false;
	root = json_loadb(text, strlen(text), JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(root)) {
		json_decref(root);
		return false;
	}
	caps = json_object_get(root, "capabilities");
	if (caps) {
		ok = json_is_object(caps);
		xfer = json_object_get(caps, "max_data_xfer_size");
		if (xfer) {
			ok = ok && json_is_integer(xfer) && json_integer_value(xfer) > 0 &&
			     json_integer_value(xfer) <= UINT32_MAX;
			f->client_max_xfer = (uint32_t)json_integer_value(xfer);
		}
	}
	json_decref(root);
	return ok;
}

static int refuse_version(struct fb_root_function *f, const struct vfio_user_message *msg, const char *why)
{
	fb_warn(f->name, "client refused: %s", why);
	fb_vu_reply_error(&f->vu, msg->id, msg->command, EINVAL);
	return -EPROTO;
}

static int version(struct fb_root_function *f, struct vfio_user_message *msg)
{
	/* QEMU takes a reply no longer than its request, 214 bytes; the protocol lets a client send no text at all. */
	static const char text[] = "{\"capabilities\":{\"max_msg_fds\":16,\"max_data_xfer_size\":1048576}}";
	_Static_assert(VFIO_USER_STREAM_FDS == 16 && FB_VU_MAX_XFER == 1048576, "the text says otherwise");
	struct fb_reader rd = fb_reader(msg->body, msg->len);
	uint16_t major = fb_rd_le16(&rd), minor = fb_rd_le16(&rd);
	size_t len = sizeof(text);
	char why[96];
	uint8_t *p;

	if (!fb_rd_ok(&rd) || no_reply(msg))
		return refuse_version(f, msg, "its VERSION message is broken");
	if (major != 0) {
		snprintf(why, sizeof(why), "it speaks vfio-user %u.%u, this root 0.0", major, minor);
		return refuse_version(f, msg, why);
	}
	if (!parse_capabilities(f, (const char *)rd.p, rd.left))
		return refuse_version(f, msg, "the capabilities in its VERSION message are broken");
	if (f->client_max_xfer < CLIENT_XFER_MIN)
		return refuse_version(f, msg, "its max_data_xfer_size is below 4096");
	if (VFIO_USER_VERSION_BODY + len > msg->len)
		len = 0;
	p = reply(f, msg, VFIO_USER_VERSION_BODY + len);
	if (p) {
		memset(p, 0, VFIO_USER_VERSION_BODY);
		if (len)
			memcpy(p + VFIO_USER_VERSION_BODY, text, len);
	}
	f->negotiated = true;
	return 0;
}

/* ---- DMA ------------------------------------------------------------------------------ */

static int dma_map(struct fb_root_function *f, struct vfio_user_message *msg)
{
	struct fb_reader rd = fb_reader(msg->body, msg->len);
	uint32_t argsz = fb_rd_le32(&rd), flags = fb_rd_le32(&rd);
	uint64_t offset = fb_rd_le64(&rd), address = fb_rd_le64(&rd), size = fb_rd_le64(&rd);
	const char *why;
	int err;

	if (!fb_rd_ok(&rd) || argsz < VFIO_USER_DMA_MAP_BODY || msg->n_fds > 1)
		return -EINVAL;
	err = fb_dma_map_add(&f->dma.map, address, size, flags, msg->n_fds ? msg->fds[0] : -1, offset, &why);
	if (err < 0)
		return err;
	if (why)
		fb_warn_limited(&f->log_client, fb_function_now(f), f->name,
				"memory at 0x%" PRIx64 " is reached by messages, slowly: %s", address, why);
	reply(f, msg, 0);
	if (f->dma.map.without_host)
		fb_dma_probe(f);
	return 0;
}

static int dma_unmap(struct fb_root_function *f, struct vfio_user_message *msg)
{
	struct fb_reader rd = fb_reader(msg->body, msg->len);
	uint32_t argsz = fb_rd_le32(&rd), flags = fb_rd_le32(&rd);
	uint64_t address = fb_rd_le64(&rd), size = fb_rd_le64(&rd);
	uint8_t *p;
	int n;

	if (!fb_rd_ok(&rd) || argsz < VFIO_USER_DMA_UNMAP_BODY)
		return -EINVAL;
	if (flags & VFIO_DMA_UNMAP_DIRTY_BITMAP)
		return -ENOTSUP;
	if (flags & VFIO_DMA_UNMAP_ALL) {
		if (flags != VFIO_DMA_UNMAP_ALL || address || size)
			return -EINVAL;
		fb_dma_map_clear(&f->dma.map);
	} else {
		if (flags)
			return -EINVAL;
		n = fb_dma_map_remove(&f->dma.map, address, size);
		if (n < 0)
			return n;
	}
	p = reply(f, msg, VFIO_USER_DMA_UNMAP_BODY);
	if (p)
		memcpy(p, msg->body, VFIO_USER_DMA_UNMAP_BODY);
	return 0;
}

/* ---- What there is ------------------------------------------------------------------------ */

static int device_info(struct fb_root_function *f, struct vfio_user_message *msg)
{
	uint8_t *p;

	if (msg->len < VFIO_USER_DEVICE_INFO_BODY || fb_get_le32(msg->body) < VFIO_USER_DEVICE_INFO_BODY)
		return -EINVAL;
	p = reply(f, msg, VFIO_USER_DEVICE_INFO_BODY);
	if (p) {
		fb_put_le32(p, VFIO_USER_DEVICE_INFO_BODY);
		fb_put_le32(p + 4, VFIO_DEVICE_RESET | VFIO_DEVICE_PCI);
		fb_put_le32(p + 8, VFIO_REGIONS);
		fb_put_le32(p + 12, VFIO_IRQS);
	}
	return 0;
}

static int region_info(struct fb_root_function *f, struct vfio_user_message *msg)
{
	uint32_t index;
	uint64_t size;
	uint8_t *p;

	if (msg->len < VFIO_USER_REGION_INFO_BODY || fb_get_le32(msg->body) < VFIO_USER_REGION_INFO_BODY)
		return -EINVAL;
	index = fb_get_le32(msg->body + 8);
	if (index >= VFIO_REGIONS)
		return -EINVAL;
	size = fb_region_size(f, index);
	p = reply(f, msg, VFIO_USER_REGION_INFO_BODY);
	if (p) {
		fb_put_le32(p, VFIO_USER_REGION_INFO_BODY);
		/* Never MMAP: it would turn QEMU's posted writes off. */
		fb_put_le32(p + 4, size ? VFIO_REGION_READ | VFIO_REGION_WRITE : 0);
		fb_put_le32(p + 8, index);
		fb_put_le32(p + 12, 0);
		fb_put_le64(p + 16, size);
		fb_put_le64(p + 24, (uint64_t)index << 40);
	}
	return 0;
}

static int irq_info(struct fb_root_function *f, struct vfio_user_message *msg)
{
	static const uint32_t flags[VFIO_IRQS] = {
		[VFIO_IRQ_INTX] = VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED,
		[VFIO_IRQ_MSI] = VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE,
		[VFIO_IRQ_MSIX] = VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE,
		[VFIO_IRQ_ERR] = VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE,
		[VFIO_IRQ_REQ] = VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE,
	};
	uint32_t index;
	uint8_t *p;

	if (msg->len < VFIO_USER_IRQ_INFO_BODY || fb_get_le32(msg->body) < VFIO_USER_IRQ_INFO_BODY)
		return -EINVAL;
	index = fb_get_le32(msg->body + 8);
	if (index >= VFIO_IRQS)
		return -EINVAL;
	p = reply(f, msg, VFIO_USER_IRQ_INFO_BODY);
	if (p) {
		fb_put_le32(p, VFIO_USER_IRQ_INFO_BODY);
		fb_put_le32(p + 4, flags[index]);
		fb_put_le32(p + 8, index);
		fb_put_le32(p + 12, fb_irq_count(f, index));
	}
	return 0;
}

/* ---- Reset ----------------------------------------------------------------------------------- */

static void reset_late(struct fb_timer *t)
{
	struct fb_root_function *f = FB_CONTAINER(t, struct fb_root_function, reset_timer);

	/* The network is slow or away. The reset goes on; later accesses wait for it, each within its own time. */
	f->count.read_timeouts++;
	fb_warn(f->name, "reset is not over within %" PRIu64 " ms: the VM goes on, the reset too",
		f->env->answer_ns / 1000000);
	fb_reset_answer(f);
}

void fb_reset_answer(struct fb_root_function *f)
{
	if (!f->reset_reply)
		return;
	f->reset_reply = false;
	fb_timer_cancel(&f->reset_timer);
	if (f->reset_wants_reply)
		fb_vu_put(&f->vu, f->reset_id, VFIO_USER_DEVICE_RESET, VFIO_USER_TYPE_REPLY, 0, 0);
	fb_vu_resume(&f->vu);
}

static int device_reset(struct fb_root_function *f, struct vfio_user_message *msg)
{
	if (f->reset_reply)
		return FB_VU_WAIT;
	if (!f->port) {
		reply(f, msg, 0);
		return 0;
	}
	f->reset_reply = true;
	f->reset_id = msg->id;
	f->reset_wants_reply = !no_reply(msg);
	f->reset_timer.due = reset_late;
	fb_timer_set(f->loop, &f->reset_timer, fb_function_now(f) + f->env->answer_ns);
	fb_reset_start(f);
	return 0;
}

/* ---- Dispatch ----------------------------------------------------------------------------------- */

static int not_supported(struct fb_root_function *f, struct vfio_user_message *msg)
{
	(void)f;
	(void)msg;
	return -ENOTSUP; /* migration, dirty tracking, ioeventfds */
}

static int region_read(struct fb_root_function *f, struct vfio_user_message *msg) { return fb_vm_region_read(f, msg); }
static int region_write(struct fb_root_function *f, struct vfio_user_message *msg) { return fb_vm_region_write(f, msg); }
static int write_multi(struct fb_root_function *f, struct vfio_user_message *msg) { return fb_vm_write_multi(f, msg); }

struct command {
	int (*handle)(struct fb_root_function *f, struct vfio_user_message *msg);
	bool takes_fds;
};

static const struct command commands[VFIO_USER_COMMANDS] = {
	[VFIO_USER_VERSION] = {version, false},
	[VFIO_USER_DMA_MAP] = {dma_map, true},
	[VFIO_USER_DMA_UNMAP] = {dma_unmap, false},
	[VFIO_USER_DEVICE_GET_INFO] = {device_info, false},
	[VFIO_USER_DEVICE_GET_REGION_INFO] = {region_info, false},
	[VFIO_USER_DEVICE_GET_REGION_IO_FDS] = {not_supported, false},
	[VFIO_USER_DEVICE_GET_IRQ_INFO] = {irq_info, false},
	[VFIO_USER_DEVICE_SET_IRQS] = {fb_irq_set, true},
	[VFIO_USER_REGION_READ] = {region_read, false},
	[VFIO_USER_REGION_WRITE] = {region_write, false},
	[VFIO_USER_DEVICE_RESET] = {device_reset, false},
	[VFIO_USER_REGION_WRITE_MULTI] = {write_multi, false},
	[VFIO_USER_DEVICE_FEATURE] = {not_supported, false},
	[VFIO_USER_MIG_DATA_READ] = {not_supported, false},
	[VFIO_USER_MIG_DATA_WRITE] = {not_supported, false},
};

static void refused(struct fb_root_function *f, const struct vfio_user_message *msg, int err)
{
	/* Asking for what is optional is no error. */
	if (err != -ENOTSUP) {
		f->count.client_errors++;
		fb_warn_limited(&f->log_client, fb_function_now(f), f->name,
				"%s (command %u, %u bytes, %u descriptors) from the client refused: %s",
				fb_vu_command_name(msg->command), msg->command, msg->len + VFIO_USER_HEADER, msg->n_fds,
				strerror(-err));
	}
	if (!no_reply(msg))
		fb_vu_reply_error(&f->vu, msg->id, msg->command, -err);
}

static int message(void *arg, struct vfio_user_message *msg)
{
	struct fb_root_function *f = arg;
	const struct command *c;
	int err;

	if (!f->negotiated && (msg->command != VFIO_USER_VERSION || (msg->flags & VFIO_USER_TYPE_MASK))) {
		fb_warn(f->name, "client refused: it starts with %s, not with VERSION", fb_vu_command_name(msg->command));
		return -EPROTO;
	}
	if ((msg->flags & VFIO_USER_TYPE_MASK) == VFIO_USER_TYPE_REPLY) {
		f->count.client_messages++;
		return fb_dma_reply(f, msg);
	}
	if (!fb_vm_has_room(f))
		return FB_VU_WAIT;
	c = msg->command < VFIO_USER_COMMANDS ? &commands[msg->command] : NULL;
	if (!c || !c->handle)
		err = -ENOSYS;
	else if ((msg->n_fds && !c->takes_fds) || (msg->command == VFIO_USER_VERSION && f->negotiated))
		err = -EINVAL;
	else
		err = c->handle(f, msg);
	if (err == FB_VU_WAIT)
		return err;
	f->count.client_messages++;
	if (err == -EPROTO)
		return err;
	if (err < 0)
		refused(f, msg, err);
	return 0;
}

static void closed(void *arg, const char *why)
{
	fb_function_client_end(arg, why);
}

const struct fb_vu_ops fb_vfio_user_ops = {.message = message, .closed = closed};
