/* SPDX-License-Identifier: Apache-2.0 */
#include "fake.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/reader.h"

/* ---- The function --------------------------------------------------------------------- */

/* Large, and one fake at a time is enough. */
static struct fake_tlp logs[3][FAKE_LOG];

static void field(struct fake *k, unsigned at, uint32_t value, uint32_t mask, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++) {
		k->config[at + i] = (uint8_t)(value >> (8 * i));
		k->mask[at + i] = (uint8_t)(mask >> (8 * i));
	}
}

static void power_on(struct fake *k)
{
	memset(k->config, 0, sizeof(k->config));
	memset(k->mask, 0, sizeof(k->mask));
	field(k, 0x00, 0x56781234, 0, 4);
	field(k, 0x04, 0, 0x0547, 2);
	field(k, 0x06, 0x0010, 0, 2);
	field(k, 0x08, 0x01080203, 0, 4);
	field(k, 0x10, 0x4, 0xffffffff & ~(FAKE_BAR0 - 1), 4);
	field(k, 0x14, 0, 0xffffffff, 4);
	field(k, 0x18, 0x1, 0xffffffff & ~(FAKE_BAR2 - 1), 4);
	field(k, 0x20, 0x0, 0xffffffff & ~(FAKE_BAR4 - 1), 4);
	field(k, 0x2c, 0xabcd1234, 0, 4);
	field(k, 0x34, FAKE_PM, 0, 1);
	field(k, 0x3c, 0x0100, 0xff, 2);
	field(k, FAKE_PM, 0x0003 << 16 | FAKE_MSI_CAP << 8 | 0x01, 0, 4);
	field(k, FAKE_PM + 4, 0, 3, 4);
	field(k, FAKE_MSI_CAP, 0x0186u << 16 | FAKE_MSIX_CAP << 8 | 0x05, 0x00710000, 4);
	field(k, FAKE_MSI_CAP + 4, 0, 0xfffffffc, 4);
	field(k, FAKE_MSI_CAP + 8, 0, 0xffffffff, 4);
	field(k, FAKE_MSI_CAP + 12, 0, 0xffff, 4);
	field(k, FAKE_MSI_CAP + 16, 0, 0xff, 4);
	field(k, FAKE_MSIX_CAP, (uint32_t)(FAKE_MSIX - 1) << 16 | FAKE_PCIE << 8 | 0x11, 0xc0000000, 4);
	field(k, FAKE_MSIX_CAP + 4, 0x4, 0, 4);
	field(k, FAKE_MSIX_CAP + 8, 0x804, 0, 4);
	field(k, FAKE_PCIE, 0x0002 << 16 | 0x10, 0, 4);
	field(k, FAKE_PCIE + 4, 0x10008000 | 0x20 | 1, 0, 4); /* FLR, extended tags, MPS 256 */
	field(k, FAKE_PCIE + 8, 0x2810, 0x7fff, 2);
	field(k, FAKE_PCIE + 0x24, 1 << 17, 0, 4);
	field(k, FAKE_PCIE + 0x28, 0, 0xffff, 2);
	memset(k->bar4, 0, sizeof(k->bar4));
	for (unsigned i = 0; i < FAKE_MSIX; i++)
		k->bar4[16 * i + 12] = 1;
}

static uint32_t config_read(const struct fake *k, unsigned reg)
{
	return fb_get_le32(k->config + reg);
}

static void config_write(struct fake *k, unsigned reg, uint32_t value, unsigned be)
{
	bool flr = false;
	uint8_t old_power = k->config[FAKE_PM + 4] & 3;

	for (unsigned i = 0; i < 4; i++) {
		uint8_t v = (uint8_t)(value >> (8 * i));

		if (!(be & 1u << i))
			continue;
		if (reg + i == FAKE_PCIE + 9 && (v & 0x80))
			flr = true;
		k->config[reg + i] = (uint8_t)((k->config[reg + i] & ~k->mask[reg + i]) | (v & k->mask[reg + i]));
	}
	if (flr) {
		k->flrs++;
		power_on(k);
	}
	if (old_power == 3 && (k->config[FAKE_PM + 4] & 3) == 0)
		power_on(k);
}

/* Where a memory address lands: a BAR's bytes, or NULL. */
static uint8_t *decode(struct fake *k, uint64_t address, uint32_t len)
{
	uint64_t bar0 = (config_read(k, 0x10) & ~15u) | (uint64_t)config_read(k, 0x14) << 32;
	uint64_t bar4 = config_read(k, 0x20) & ~15u;

	if (!(k->config[4] & 2))
		return NULL;
	if (address >= bar0 && fb_in_range(address - bar0, len, FAKE_BAR0))
		return k->bar0 + (address - bar0);
	if (address >= bar4 && fb_in_range(address - bar4, len, FAKE_BAR4))
		return k->bar4 + (address - bar4);
	return NULL;
}

static void complete(struct fake *k, const struct pcie_tlp *cpl)
{
	k->port.user->tlp(k->port.arg, cpl);
}

static void status(struct fake *k, const struct pcie_tlp *req, enum pcie_cpl_status s)
{
	struct pcie_tlp cpl = {0};

	pcie_completion_status(req, k->f->bdf, s, &cpl);
	complete(k, &cpl);
}

static void read_done(struct fake *k, const struct pcie_tlp *req, const uint8_t *at, uint64_t address, uint32_t len)
{
	uint8_t buf[4096 + 8] = {0};
	uint32_t lead = address & 3;

	memcpy(buf + lead, at, len);
	for (uint32_t done = 0; done < len;) {
		uint32_t n = pcie_split_completion(address + done, len - done, 256, 64);
		struct pcie_tlp cpl = {0};

		pcie_completion_for(req, k->f->bdf, done, n, &cpl);
		cpl.data = buf + ((lead + done) & ~3u);
		complete(k, &cpl);
		if (k->closed)
			return;
		done += n;
	}
}

static void serve(struct fake *k, const struct fake_tlp *t)
{
	const struct pcie_tlp *tlp = &t->tlp;
	struct pcie_tlp cpl = {0};
	uint8_t data[4];
	uint64_t address;
	uint32_t len, io;
	uint8_t *at;

	switch (tlp->type) {
	case PCIE_TLP_CFGRD0:
	case PCIE_TLP_CFGWR0:
		if (k->crs > 0) {
			k->crs--;
			status(k, tlp, PCIE_CPL_CRS);
			return;
		}
		if (tlp->type == PCIE_TLP_CFGWR0) {
			config_write(k, tlp->reg, fb_get_le32(t->data), tlp->first_be);
			status(k, tlp, PCIE_CPL_SC);
			return;
		}
		fb_put_le32(data, config_read(k, tlp->reg));
		pcie_completion_for(tlp, k->f->bdf, 0, 4, &cpl);
		cpl.data = data;
		complete(k, &cpl);
		return;
	case PCIE_TLP_MRD:
		pcie_tlp_get_range(tlp, &address, &len);
		at = decode(k, address, len);
		if (at)
			read_done(k, tlp, at, address, len);
		else
			status(k, tlp, PCIE_CPL_UR);
		return;
	case PCIE_TLP_MWR: {
		struct pcie_tlp w = *tlp;
		struct fb_dma_run runs[4];
		unsigned n;

		w.data = t->data;
		n = fb_dma_runs(&w, runs);
		for (unsigned i = 0; i < n; i++) {
			at = decode(k, runs[i].address, runs[i].len);
			if (at)
				memcpy(at, runs[i].data, runs[i].len);
			else
				k->unmatched_writes++;
		}
		return;
	}
	case PCIE_TLP_IORD:
	case PCIE_TLP_IOWR:
		io = (uint32_t)tlp->address - (config_read(k, 0x18) & ~3u);
		if (!(k->config[4] & 1) || io + 4 > FAKE_BAR2) {
			status(k, tlp, PCIE_CPL_UR);
			return;
		}
		if (tlp->type == PCIE_TLP_IOWR) {
			for (unsigned i = 0; i < 4; i++) {
				if (tlp->first_be & 1u << i)
					k->bar2[io + i] = t->data[i];
			}
			status(k, tlp, PCIE_CPL_SC);
			return;
		}
		pcie_completion_for(tlp, k->f->bdf, 0, 4, &cpl);
		cpl.data = k->bar2 + io;
		complete(k, &cpl);
		return;
	default:
		return;
	}
}

void fake_answer(struct fake *k)
{
	while (k->n_queue > 0 && !k->closed) {
		unsigned at = k->q_head++ % FAKE_LOG;

		k->n_queue--;
		serve(k, &k->queue[at]);
	}
}

static void on_flush(struct fb_flush *fl)
{
	struct fake *k = FB_CONTAINER(fl, struct fake, flush);

	if (!k->slow && !k->mute)
		fake_answer(k);
}

static void store(struct fake_tlp *t, const struct pcie_tlp *tlp)
{
	t->tlp = *tlp;
	if (tlp->data)
		memcpy(t->data, tlp->data, tlp->length * 4u);
}

static int port_send(struct fb_port *port, const struct pcie_tlp *tlp)
{
	struct fake *k = FB_CONTAINER(port, struct fake, port);
	struct fake_tlp *t;
	uint8_t check[PCIE_TLP_MAX_SIZE];
	enum pcie_fc fc = pcie_tlp_fc(tlp->type);
	enum pcie_tlp_error error;

	assert_false(k->closed);
	if (fc == PCIE_FC_NP && k->np_room == 0)
		return -EAGAIN;
	if (fc == PCIE_FC_P && k->p_room == 0)
		return -EAGAIN;
	/* What the codec refuses must never be sent. */
	if (pcie_tlp_encode(tlp, check, sizeof(check), &error) == 0)
		fail_msg("the root sends a bad TLP: %s", pcie_tlp_error_name(error));
	if (fc == PCIE_FC_NP && k->np_room > 0)
		k->np_room--;
	if (fc == PCIE_FC_P && k->p_room > 0)
		k->p_room--;
	if (fc == PCIE_FC_CPL) {
		k->n_cpl %= FAKE_LOG; /* the fuzzer does not look */
		store(&k->cpl[k->n_cpl++], tlp);
		return 0;
	}
	if (k->n_log < FAKE_LOG) {
		k->log[k->n_log].patient = port->patient;
		store(&k->log[k->n_log++], tlp);
	}
	assert_true(k->n_queue < FAKE_LOG - 1); /* one place stays free: the one that is being served */
	t = &k->queue[(k->q_head + k->n_queue++) % FAKE_LOG];
	store(t, tlp);
	fb_flush_schedule(k->loop, &k->flush);
	return 0;
}

static void port_release(struct fb_port *port, struct fb_port_credit credit)
{
	FB_CONTAINER(port, struct fake, port)->released++;
}

static void port_close(struct fb_port *port, int reason, const char *text)
{
	struct fake *k = FB_CONTAINER(port, struct fake, port);

	assert_false(k->closed);
	k->closed = true;
	k->connected = false;
	k->n_queue = 0;
}

static const struct fb_port_ops port_ops = {.send = port_send, .release = port_release, .close = port_close};

static int env_connect(void *arg, struct fb_root_function *f, const struct fb_port_user *user, struct fb_port **out)
{
	struct fake *k = arg;

	if (k->connect_error)
		return k->connect_error;
	k->port = (struct fb_port){.ops = &port_ops, .user = user, .arg = f};
	k->closed = false;
	k->connected = true;
	k->n_queue = 0;
	power_on(k);
	*out = &k->port;
	return 0;
}

static void env_changed(void *arg, struct fb_root_function *f, enum fb_root_function_state old)
{
	struct fake *k = arg;

	k->states[f->state]++;
}

void fake_init(struct fake *k, bool hide_msix)
{
	memset(k, 0, sizeof(*k));
	k->log = logs[0];
	k->queue = logs[1];
	k->cpl = logs[2];
	k->np_room = k->p_room = -1;
	k->flush.flush = on_flush;
	assert_int_equal(fb_loop_new(&k->loop, 0), 0);
	k->env = (struct fb_function_env){.loop = k->loop,
					  .answer_ns = 40000000,
					  .hold_ns = 1000000000,
					  .hide_msix = hide_msix,
					  .arg = k,
					  .connect = env_connect,
					  .changed = env_changed};
	assert_int_equal(fb_function_new(&k->f, &k->env, "fake0", 0x0100), 0);
}

void fake_free(struct fake *k)
{
	fb_function_free(k->f);
	fb_flush_cancel(&k->flush);
	fb_loop_free(k->loop);
}

void fake_rounds(struct fake *k, unsigned n)
{
	while (n-- > 0)
		assert_int_equal(fb_loop_once(k->loop, 0), 0);
}

void fake_until(struct fake *k, bool (*cond)(void *arg), void *arg)
{
	uint64_t end = fb_clock_ns() + UINT64_C(5000000000);

	while (!cond(arg)) {
		if (fb_clock_ns() > end)
			fail_msg("the condition did not come true within 5 s");
		assert_int_equal(fb_loop_once(k->loop, fb_clock_ns() + 1000000), 0);
	}
}

static bool is_ready(void *arg)
{
	struct fake *k = arg;

	return k->f->state == FB_ROOT_READY;
}

void fake_connect(struct fake *k)
{
	fb_function_connect(k->f);
	assert_int_equal(k->f->state, FB_ROOT_CONNECTING);
	k->port.user->up(k->port.arg);
	fake_until(k, is_ready, k);
	k->n_log = 0;
}

void fake_lose(struct fake *k)
{
	k->port.user->down(k->port.arg, FB_LINK_R_HOLD, "nothing heard");
}

bool fake_send(struct fake *k, const struct pcie_tlp *tlp)
{
	bool done;

	k->port.current = (struct fb_port_credit){pcie_tlp_fc(tlp->type), 20 + tlp->length * 4u};
	done = k->port.user->tlp(k->port.arg, tlp);
	k->held += !done;
	return done;
}

bool fake_mwr(struct fake *k, uint64_t address, const void *data, uint32_t len)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_MWR, .requester_id = k->f->bdf};
	uint8_t buf[4096 + 8] = {0};

	memcpy(buf + (address & 3), data, len);
	pcie_tlp_set_range(&tlp, address, len);
	tlp.data = buf;
	return fake_send(k, &tlp);
}

bool fake_mrd(struct fake *k, uint16_t tag, uint64_t address, uint32_t len)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_MRD, .requester_id = k->f->bdf, .tag = tag};

	pcie_tlp_set_range(&tlp, address, len);
	return fake_send(k, &tlp);
}

unsigned fake_count(const struct fake *k, enum pcie_tlp_type type)
{
	unsigned n = 0;

	for (unsigned i = 0; i < k->n_log; i++)
		n += k->log[i].tlp.type == type;
	return n;
}

const struct fake_tlp *fake_find(const struct fake *k, enum pcie_tlp_type type, unsigned nth)
{
	for (unsigned i = 0; i < k->n_log; i++) {
		if (k->log[i].tlp.type == type && nth-- == 0)
			return &k->log[i];
	}
	return NULL;
}

/* ---- The client ---------------------------------------------------------------------------- */

void client_open(struct client *c, struct fake *k)
{
	int sv[2];

	c->fake = k;
	c->id = 100;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv), 0);
	c->fd = sv[0];
	assert_int_equal(fb_function_client(k->f, sv[1]), 0);
}

void client_attach(struct client *c, struct fake *k)
{
	static const char text[] = "\0\0\0\0{\"capabilities\":{\"max_msg_fds\":16,\"max_data_xfer_size\":1048576,"
				   "\"pgsizes\":4096,\"write_multiple\":true}}";

	client_open(c, k);
	assert_int_equal(client_call(c, VFIO_USER_VERSION, text, sizeof(text), NULL, 0), 0);
}

void client_close(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

void client_send(struct client *c, uint16_t command, uint32_t flags, const void *body, size_t len, const int *fds,
		 unsigned n_fds)
{
	uint8_t head[VFIO_USER_HEADER] = {0};
	struct iovec iov[2] = {{head, sizeof(head)}, {(void *)(uintptr_t)body, len}};
	struct msghdr mh = {.msg_iov = iov, .msg_iovlen = len ? 2 : 1};
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int) * 64)];
	} control;
	size_t sent;

	fb_put_le16(head, ++c->id);
	fb_put_le16(head + 2, command);
	fb_put_le32(head + 4, (uint32_t)(sizeof(head) + len));
	fb_put_le32(head + 8, flags);
	if (n_fds) {
		struct cmsghdr *cm;

		memset(&control, 0, sizeof(control));
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		cm = CMSG_FIRSTHDR(&mh);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(cm), fds, sizeof(int) * n_fds);
	}
	for (sent = 0; sent < sizeof(head) + len;) {
		ssize_t n = sendmsg(c->fd, &mh, MSG_NOSIGNAL);

		if (n < 0) {
			assert_int_equal(errno, EAGAIN);
			fake_rounds(c->fake, 1);
			continue;
		}
		sent += (size_t)n;
		mh.msg_control = NULL;
		mh.msg_controllen = 0;
		for (size_t left = (size_t)n; left > 0;) {
			size_t step = left < mh.msg_iov->iov_len ? left : mh.msg_iov->iov_len;

			mh.msg_iov->iov_base = (char *)mh.msg_iov->iov_base + step;
			mh.msg_iov->iov_len -= step;
			left -= step;
			if (mh.msg_iov->iov_len == 0 && mh.msg_iovlen > 1) {
				mh.msg_iov++;
				mh.msg_iovlen--;
			}
		}
	}
}

static bool take(struct client *c, void *buf, size_t len, uint64_t end)
{
	uint8_t *p = buf;

	while (len > 0) {
		ssize_t n = recv(c->fd, p, len, 0);

		if (n == 0 || (n < 0 && errno != EAGAIN))
			return false;
		if (n > 0) {
			p += n;
			len -= (size_t)n;
			continue;
		}
		if (fb_clock_ns() > end)
			return false;
		fb_loop_once(c->fake->loop, fb_clock_ns() + 200000);
	}
	return true;
}

bool client_recv(struct client *c, unsigned ms)
{
	uint64_t end = fb_clock_ns() + ms * UINT64_C(1000000);
	uint8_t h[VFIO_USER_HEADER];

	if (!take(c, h, sizeof(h), end))
		return false;
	c->r_id = fb_get_le16(h);
	c->r_command = fb_get_le16(h + 2);
	c->r_size = fb_get_le32(h + 4);
	c->r_flags = fb_get_le32(h + 8);
	c->r_error = fb_get_le32(h + 12);
	assert_in_range(c->r_size, sizeof(h), sizeof(c->body));
	c->len = c->r_size - (uint32_t)sizeof(h);
	return take(c, c->body, c->len, end + UINT64_C(1000000000));
}

uint32_t client_call(struct client *c, uint16_t command, const void *body, size_t len, const int *fds, unsigned n_fds)
{
	client_send(c, command, 0, body, len, fds, n_fds);
	for (;;) {
		if (!client_recv(c, 3000))
			return UINT32_MAX; /* no reply */
		if (c->r_id == c->id && (c->r_flags & VFIO_USER_TYPE_MASK) == VFIO_USER_TYPE_REPLY)
			break;
	}
	assert_int_equal(c->r_command, command);
	if (c->r_flags & VFIO_USER_ERROR) {
		assert_int_equal(c->len, 0);
		return c->r_error;
	}
	return 0;
}

uint32_t client_read(struct client *c, uint32_t region, uint64_t offset, void *data, uint32_t count)
{
	uint8_t b[16];
	uint32_t err;

	fb_put_le64(b, offset);
	fb_put_le32(b + 8, region);
	fb_put_le32(b + 12, count);
	err = client_call(c, VFIO_USER_REGION_READ, b, sizeof(b), NULL, 0);
	if (err)
		return err;
	assert_int_equal(c->len, 16 + count);
	assert_memory_equal(c->body, b, 16);
	memcpy(data, c->body + 16, count);
	return 0;
}

uint32_t client_write(struct client *c, uint32_t region, uint64_t offset, const void *data, uint32_t count, bool posted)
{
	uint8_t *b = malloc(16 + count);
	uint32_t err = 0;

	fb_put_le64(b, offset);
	fb_put_le32(b + 8, region);
	fb_put_le32(b + 12, count);
	memcpy(b + 16, data, count);
	if (posted)
		client_send(c, VFIO_USER_REGION_WRITE, VFIO_USER_NO_REPLY, b, 16 + count, NULL, 0);
	else
		err = client_call(c, VFIO_USER_REGION_WRITE, b, 16 + count, NULL, 0);
	free(b);
	return err;
}

uint32_t client_map(struct client *c, uint64_t iova, uint64_t size, uint32_t flags, int fd, uint64_t offset)
{
	uint8_t b[32];

	fb_put_le32(b, 32);
	fb_put_le32(b + 4, flags);
	fb_put_le64(b + 8, offset);
	fb_put_le64(b + 16, iova);
	fb_put_le64(b + 24, size);
	return client_call(c, VFIO_USER_DMA_MAP, b, sizeof(b), &fd, fd >= 0);
}

uint32_t client_set_irqs(struct client *c, uint32_t flags, uint32_t index, uint32_t start, uint32_t count,
			 const int *fds, unsigned n_fds)
{
	uint8_t b[20];

	fb_put_le32(b, 20);
	fb_put_le32(b + 4, flags);
	fb_put_le32(b + 8, index);
	fb_put_le32(b + 12, start);
	fb_put_le32(b + 16, count);
	return client_call(c, VFIO_USER_DEVICE_SET_IRQS, b, sizeof(b), fds, n_fds);
}

uint32_t client_cfg32(struct client *c, uint32_t reg)
{
	uint8_t b[4] = {0};

	assert_int_equal(client_read(c, VFIO_REGION_CONFIG, reg, b, 4), 0);
	return fb_get_le32(b);
}

void client_cfg_write(struct client *c, uint32_t reg, uint32_t value, uint32_t size)
{
	uint8_t b[4];

	fb_put_le32(b, value);
	assert_int_equal(client_write(c, VFIO_REGION_CONFIG, reg, b, size, false), 0);
}

uint64_t eventfd_value(int fd)
{
	uint64_t v;

	return read(fd, &v, sizeof(v)) == (ssize_t)sizeof(v) ? v : 0;
}
