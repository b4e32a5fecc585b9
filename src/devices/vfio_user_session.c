/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session with the server: connecting, the handshake (one request at a time,
 * each answer the cause of the next), the deadlines, and the end. realize()
 * waits for the first handshake, since the shape of the device comes out of it;
 * every later one runs beside whatever else the box does.
 *
 * Silence. A server that owes an answer, or does not read what it is sent, for
 * the time of the option `timeout` is cut off. While DMA of its own is in
 * flight it may rightly be waiting for us, and we for the network: that time
 * does not count, up to a bound.
 */
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "util/reader.h"
#include "vfio_user.h"
#include "vfio_user_nvme.h"

#define RETRY_NS UINT64_C(500000000)
#define SILENCE_MAX_NS UINT64_C(120000000000) /* the runtime's completion timeout, 64 s at most, is well below */

/* ---- Connecting -------------------------------------------------------------------------------- */

static void send_version(struct vu *v)
{
	static const char text[] = "{\"capabilities\":{\"max_msg_fds\":16,\"max_data_xfer_size\":1048576,"
				   "\"twin_socket\":{\"supported\":true}}}";
	uint8_t *p = vu_send(v, VU_SETUP, VFIO_USER_VERSION, VFIO_USER_VERSION_BODY + sizeof(text), NULL, 0, NULL);

	_Static_assert(VFIO_USER_STREAM_FDS == 16 && VU_MAX_XFER == 1048576, "the text says otherwise");
	if (!p)
		return;
	memset(p, 0, VFIO_USER_VERSION_BODY);
	memcpy(p + VFIO_USER_VERSION_BODY, text, sizeof(text));
}

int vu_connect(struct vu *v)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd, err;

	if (strlen(v->opt.socket) >= sizeof(sa.sun_path)) {
		snprintf(v->why, sizeof(v->why), "a socket's path has at most %zu bytes", sizeof(sa.sun_path) - 1);
		return -ENAMETOOLONG;
	}
	strcpy(sa.sun_path, v->opt.socket);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		err = -errno;
		snprintf(v->why, sizeof(v->why), "%s", strerror(errno));
		if (fd >= 0)
			close(fd);
		return err;
	}
	v->found = calloc(1, sizeof(*v->found));
	if (!v->found) {
		close(fd);
		return -ENOMEM;
	}
	v->session++;
	v->state = VU_HANDSHAKE;
	v->dma_full = false;
	v->resetting = 0;
	v->step = VU_STEP_VERSION;
	v->step_index = 0;
	v->why[0] = '\0';
	v->last_dma = fb_device_now(v->dev);
	err = vu_channel_open(v, &v->main, fd);
	if (err) {
		vu_disconnect(v);
		return err;
	}
	v->count.connects++;
	send_version(v);
	return v->state == VU_HANDSHAKE ? 0 : -EPIPE;
}

void vu_disconnect(struct vu *v)
{
	v->state = VU_DOWN;
	v->session++;
	vu_channel_close(v, &v->main);
	vu_channel_close(v, &v->twin);
	free(v->found);
	v->found = NULL;
	v->dma_full = false;
	v->resetting = 0;
}

void vu_lost(struct vu *v, const char *fmt, ...)
{
	bool was_up = v->state == VU_UP;
	char text[160];
	va_list ap;

	if (v->state == VU_DOWN)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!v->why[0] || was_up)
		snprintf(v->why, sizeof(v->why), "it %s", text);
	vu_disconnect(v);
	v->count.disconnects++;
	if (v->realized && !v->ending) {
		if (was_up)
			fb_device_warn(v->dev, "the server at %s %s: the function is absent until it is back",
				       v->opt.socket, text);
		else
			vu_complain(v, "the server at %s is not taken back: %s", v->opt.socket, v->why);
	}
	if (v->nvme)
		vn_stop(v->nvme);
	vu_irq_forget(v);
	vu_accesses_drop(v);
	vu_requests_drop(v);
	v->evict |= was_up;
	v->retry_at = fb_device_now(v->dev) + RETRY_NS;
	vu_arm_timer(v);
}

/* ---- The handshake ---------------------------------------------------------------------------------- */

static void refuse(struct vu *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void refuse(struct vu *v, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(v->why, sizeof(v->why), fmt, ap);
	va_end(ap);
	vu_lost(v, "is refused: %s", v->why);
}

/* A positive number at `key`, or what is in *value already. */
static bool number(const json_t *caps, const char *key, uint32_t *value)
{
	const json_t *n = json_object_get(caps, key);

	if (!n)
		return true;
	if (!json_is_integer(n) || json_integer_value(n) < 0 || json_integer_value(n) > UINT32_MAX)
		return false;
	*value = (uint32_t)json_integer_value(n);
	return true;
}

/* The text of the server's VERSION. *twin: which descriptor is the socket of its own requests, or -1. */
static bool parse_capabilities(struct vu *v, const char *text, size_t len, int *twin)
{
	json_t *root, *caps, *t;
	bool ok = true;

	v->max_fds = 1;
	v->max_xfer = VU_MAX_XFER;
	*twin = -1;
	if (len == 0)
		return true;
	if (text[len - 1] != '\0' || len > 4096)
		return false;
	root = json_loadb(text, strlen(text), JSON_REJECT_DUPLICATES, NULL);
	caps = json_object_get(root, "capabilities");
	if (caps) {
		ok = json_is_object(caps) && number(caps, "max_msg_fds", &v->max_fds) &&
		     number(caps, "max_data_xfer_size", &v->max_xfer);
		t = json_object_get(caps, "twin_socket");
		if (ok && json_is_true(json_object_get(t, "supported"))) {
			uint32_t index = UINT32_MAX;

			ok = number(t, "fd_index", &index) && (index < VFIO_USER_STREAM_FDS || index == UINT32_MAX);
			*twin = ok && index != UINT32_MAX ? (int)index : -1;
		}
	}
	ok = ok && json_is_object(root);
	json_decref(root);
	if (v->max_fds > VFIO_USER_STREAM_FDS)
		v->max_fds = VFIO_USER_STREAM_FDS;
	if (v->max_xfer > VU_MAX_XFER)
		v->max_xfer = VU_MAX_XFER;
	return ok;
}

static bool version_reply(struct vu *v, struct vfio_user_message *msg)
{
	struct fb_reader rd = fb_reader(msg->body, msg->len);
	uint16_t major = fb_rd_le16(&rd), minor = fb_rd_le16(&rd);
	int twin, fd;

	if (!fb_rd_ok(&rd) || !parse_capabilities(v, (const char *)rd.p, rd.left, &twin)) {
		refuse(v, "its VERSION is broken");
		return false;
	}
	if (major != 0) {
		refuse(v, "it speaks vfio-user %u.%u, this is 0.0", major, minor);
		return false;
	}
	if (v->max_xfer < 256) {
		refuse(v, "its max_data_xfer_size of %u is too small", v->max_xfer);
		return false;
	}
	if (twin < 0)
		return true;
	if ((unsigned)twin >= msg->n_fds) {
		refuse(v, "its twin socket did not come with its VERSION");
		return false;
	}
	fd = msg->fds[twin];
	msg->fds[twin] = -1;
	if (vu_channel_open(v, &v->twin, fd) < 0) {
		refuse(v, "no memory for its twin socket");
		return false;
	}
	return true;
}

static void ask_info(struct vu *v, uint16_t command, uint32_t len, uint32_t index)
{
	uint8_t *p = vu_send(v, VU_SETUP, command, len, NULL, 0, NULL);

	if (!p)
		return;
	memset(p, 0, len);
	fb_put_le32(p, len);
	if (command != VFIO_USER_DEVICE_GET_INFO)
		fb_put_le32(p + 8, index);
}

/* The next piece of configuration space. */
static void ask_config(struct vu *v)
{
	uint32_t len = v->found->config_len - v->step_index;
	uint8_t *p;

	if (len > v->max_xfer)
		len = v->max_xfer;
	p = vu_send(v, VU_SETUP, VFIO_USER_REGION_READ, VFIO_USER_REGION_RW_BODY, NULL, 0, NULL);
	if (!p)
		return;
	fb_put_le64(p, v->step_index);
	fb_put_le32(p + 8, VFIO_REGION_CONFIG);
	fb_put_le32(p + 12, len);
}

static bool info_reply(struct vu *v, const struct vfio_user_message *msg)
{
	struct vu_shape *s = v->found;

	if (msg->len < VFIO_USER_DEVICE_INFO_BODY) {
		refuse(v, "its DEVICE_GET_INFO is broken");
		return false;
	}
	s->flags = fb_get_le32(msg->body + 4);
	s->n_regions = fb_get_le32(msg->body + 8);
	s->n_irqs = fb_get_le32(msg->body + 12);
	if (!(s->flags & VFIO_DEVICE_PCI)) {
		refuse(v, "it is not a PCI device (flags 0x%x)", s->flags);
		return false;
	}
	if (s->n_regions <= VFIO_REGION_CONFIG) {
		refuse(v, "it has %u regions, none of which is configuration space", s->n_regions);
		return false;
	}
	if (s->n_regions > VU_REGIONS)
		s->n_regions = VU_REGIONS;
	if (s->n_irqs > VU_IRQS)
		s->n_irqs = VU_IRQS;
	return true;
}

static bool region_reply(struct vu *v, const struct vfio_user_message *msg)
{
	struct vu_shape *s = v->found;

	if (msg->len < VFIO_USER_REGION_INFO_BODY || fb_get_le32(msg->body + 8) != v->step_index) {
		refuse(v, "its DEVICE_GET_REGION_INFO of region %u is broken", v->step_index);
		return false;
	}
	s->regions[v->step_index].flags = fb_get_le32(msg->body + 4);
	s->regions[v->step_index].size = fb_get_le64(msg->body + 16);
	return true;
}

static bool irq_reply(struct vu *v, const struct vfio_user_message *msg)
{
	struct vu_shape *s = v->found;
	uint32_t count;

	if (msg->len < VFIO_USER_IRQ_INFO_BODY || fb_get_le32(msg->body + 8) != v->step_index) {
		refuse(v, "its DEVICE_GET_IRQ_INFO of index %u is broken", v->step_index);
		return false;
	}
	count = fb_get_le32(msg->body + 12);
	s->irqs[v->step_index] = count > VU_VECTORS ? VU_VECTORS : count;
	return true;
}

static bool config_reply(struct vu *v, const struct vfio_user_message *msg)
{
	struct fb_reader rd = fb_reader(msg->body, msg->len);
	uint64_t offset = fb_rd_le64(&rd);
	uint32_t region = fb_rd_le32(&rd), count = fb_rd_le32(&rd), left = v->found->config_len - v->step_index;
	const uint8_t *data = fb_rd_bytes(&rd, count);

	if (!data || offset != v->step_index || region != VFIO_REGION_CONFIG || count == 0 || count > left) {
		refuse(v, "its configuration space cannot be read");
		return false;
	}
	memcpy(v->found->config + v->step_index, data, count);
	v->step_index += count;
	return true;
}

/* The next DMA_MAP. False: there is none left. */
static bool ask_map(struct vu *v)
{
	uint64_t size = VU_DMA_MAP_MAX, offset = 0;
	int fd = -1;
	uint8_t *p;

	if (v->map_at >= VU_DMA_SPACE)
		return false;
	if (size > VU_DMA_SPACE - v->map_at)
		size = VU_DMA_SPACE - v->map_at;
	if (v->nvme) /* and nothing else */
		vn_map(v->nvme, &v->map_at, &size, &fd);
	else
		vu_mirror_map(v, v->map_at, &size, &fd, &offset);
	p = vu_send(v, VU_SETUP, VFIO_USER_DMA_MAP, VFIO_USER_DMA_MAP_BODY, &fd, fd >= 0, NULL);
	if (!p)
		return true;
	fb_put_le32(p, VFIO_USER_DMA_MAP_BODY);
	fb_put_le32(p + 4, VFIO_DMA_MAP_READ | VFIO_DMA_MAP_WRITE);
	fb_put_le64(p + 8, offset);
	fb_put_le64(p + 16, v->map_at);
	fb_put_le64(p + 24, size);
	v->map_at = v->nvme ? VU_DMA_SPACE : v->map_at + size;
	return true;
}

static void up(struct vu *v)
{
	if (v->realized && !vu_shape_same(&v->shape, v->found)) {
		refuse(v, "it is another device now (identity, BARs, interrupts or capabilities changed): restart the box");
		return;
	}
	v->shape = *v->found;
	free(v->found);
	v->found = NULL;
	v->state = VU_UP;
	v->why[0] = '\0';
	if (!v->realized)
		return;
	fb_device_info(v->dev, "the server at %s is back", v->opt.socket);
	fb_device_set_present(v->dev, true, NULL);
}

/* Is it to be carried as an NVMe controller? False: it is refused. */
static bool choose_nvme(struct vu *v)
{
	uint32_t class_code = fb_get_le32(v->found->config + 8) >> 8;
	int err;

	if (v->opt.nvme == VU_NVME_ON && class_code != VU_CLASS_NVME) {
		refuse(v, "its class is %06x, and nvme=on is for NVMe controllers, %06x", class_code, VU_CLASS_NVME);
		return false;
	}
	if (v->nvme || v->opt.nvme == VU_NVME_OFF || v->opt.memory || class_code != VU_CLASS_NVME || v->realized)
		return true;
	err = vn_init(v);
	if (err)
		refuse(v, "no memory for its queues and data: %s", strerror(-err));
	return err == 0;
}

static void next_step(struct vu *v)
{
	struct vu_shape *s = v->found;

	switch (v->step) {
	case VU_STEP_VERSION:
		v->step = VU_STEP_INFO;
		ask_info(v, VFIO_USER_DEVICE_GET_INFO, VFIO_USER_DEVICE_INFO_BODY, 0);
		return;
	case VU_STEP_INFO:
		v->step = VU_STEP_REGIONS;
		v->step_index = 0;
		ask_info(v, VFIO_USER_DEVICE_GET_REGION_INFO, VFIO_USER_REGION_INFO_BODY, 0);
		return;
	case VU_STEP_REGIONS:
		if (++v->step_index < s->n_regions) {
			ask_info(v, VFIO_USER_DEVICE_GET_REGION_INFO, VFIO_USER_REGION_INFO_BODY, v->step_index);
			return;
		}
		v->step = VU_STEP_IRQS;
		v->step_index = 0;
		if (s->n_irqs > 0) {
			ask_info(v, VFIO_USER_DEVICE_GET_IRQ_INFO, VFIO_USER_IRQ_INFO_BODY, 0);
			return;
		}
		break;
	case VU_STEP_IRQS:
		if (++v->step_index < s->n_irqs) {
			ask_info(v, VFIO_USER_DEVICE_GET_IRQ_INFO, VFIO_USER_IRQ_INFO_BODY, v->step_index);
			return;
		}
		break;
	case VU_STEP_CONFIG:
		if (v->step_index < s->config_len) {
			ask_config(v);
			return;
		}
		if (vu_shape_check(v, s) < 0) {
			vu_lost(v, "is refused: %s", v->why);
			return;
		}
		if (!choose_nvme(v))
			return;
		v->step = VU_STEP_MAP;
		v->map_at = 0;
		ask_map(v);
		return;
	case VU_STEP_MAP:
		if (!ask_map(v))
			up(v);
		return;
	}
	/* From regions or interrupts to configuration space. */
	s->config_len = s->regions[VFIO_REGION_CONFIG].size < VU_CONFIG ? (uint32_t)s->regions[VFIO_REGION_CONFIG].size
									: VU_CONFIG;
	if (s->config_len < 256 || s->config_len % 4) {
		refuse(v, "its configuration space has %u bytes", s->config_len);
		return;
	}
	v->step = VU_STEP_CONFIG;
	v->step_index = 0;
	ask_config(v);
}

void vu_setup_reply(struct vu *v, struct vfio_user_message *msg)
{
	bool ok = false;

	if (v->state != VU_HANDSHAKE)
		return;
	if (msg->flags & VFIO_USER_ERROR) {
		/* Interrupts of a kind that it has not: nothing wrong with that. */
		if (v->step == VU_STEP_IRQS) {
			next_step(v);
			return;
		}
		refuse(v, "it answers %s with: %s", vfio_user_command_name(msg->command), strerror((int)msg->error));
		return;
	}
	switch (v->step) {
	case VU_STEP_VERSION:
		ok = version_reply(v, msg);
		break;
	case VU_STEP_INFO:
		ok = info_reply(v, msg);
		break;
	case VU_STEP_REGIONS:
		ok = region_reply(v, msg);
		break;
	case VU_STEP_IRQS:
		ok = irq_reply(v, msg);
		break;
	case VU_STEP_CONFIG:
		ok = config_reply(v, msg);
		break;
	case VU_STEP_MAP:
		ok = true;
		break;
	}
	if (ok)
		next_step(v);
}

static uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

int vu_wait_up(struct vu *v, uint64_t timeout_ns)
{
	uint64_t deadline = clock_ns() + timeout_ns;

	while (v->state == VU_HANDSHAKE) {
		struct pollfd p = {.fd = v->main.fd, .events = POLLIN};
		uint64_t now = clock_ns();
		int r = vfio_user_stream_send(&v->main.stream, v->main.fd);

		if (r < 0) {
			vu_lost(v, "is gone: %s", strerror(-r));
			break;
		}
		if (now >= deadline) {
			vu_lost(v, "does not answer %s within %llu ms", "the handshake",
				(unsigned long long)(timeout_ns / 1000000));
			break;
		}
		if (r == 1)
			p.events |= POLLOUT;
		if (poll(&p, 1, (int)((deadline - now) / 1000000) + 1) > 0 && p.revents & ~POLLOUT)
			vu_pump(v);
	}
	return v->state == VU_UP ? 0 : -EPROTO;
}

/* ---- Time ------------------------------------------------------------------------------------------------ */

/* When, as things are, the server's time is over. */
static uint64_t deadline(const struct vu *v)
{
	uint64_t since = UINT64_MAX, until;

	if (v->n_requests)
		since = v->requests[v->first].sent;
	if (v->main.blocked && v->main.blocked_since < since)
		since = v->main.blocked_since;
	if (v->twin.fd >= 0 && v->twin.blocked && v->twin.blocked_since < since)
		since = v->twin.blocked_since;
	if (since == UINT64_MAX)
		return UINT64_MAX;
	until = since + v->opt.timeout_ns;
	if (v->state == VU_UP && v->last_dma + v->opt.timeout_ns > until)
		until = v->last_dma + v->opt.timeout_ns;
	if (v->state == VU_UP && v->n_dma)
		until = since + SILENCE_MAX_NS;
	return until < since + SILENCE_MAX_NS ? until : since + SILENCE_MAX_NS;
}

void vu_arm_timer(struct vu *v)
{
	uint64_t at = v->state == VU_DOWN ? v->retry_at : deadline(v);

	if (!v->realized || v->ending)
		return;
	if (v->evict)
		at = 0;
	if (at == UINT64_MAX)
		fb_device_timer_cancel(v->dev, &v->timer);
	else
		fb_device_timer_set(v->dev, &v->timer, at);
}

void vu_timer_due(struct fb_device *dev, struct fb_device_timer *timer)
{
	struct vu *v = fb_device_state(dev);
	uint64_t now = fb_device_now(dev);

	(void)timer;
	if (v->evict) {
		v->evict = false;
		fb_device_set_present(dev, false, "its device server is gone");
	} else if (v->state == VU_DOWN) {
		int err = now >= v->retry_at ? vu_connect(v) : 0;

		if (err && v->state == VU_DOWN)
			v->retry_at = now + RETRY_NS;
	} else if (now >= deadline(v)) {
		v->count.timeouts++;
		vu_lost(v, "has not answered for %llu ms", (unsigned long long)(v->opt.timeout_ns / 1000000));
	}
	vu_arm_timer(v);
}
