/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Real boxes and real roots on one loop, joined by the loopback backend; QEMU
 * is a script: its QMP socket, and a vfio-user client for each device_add.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "endpoint/endpoint.h"
#include "root/root.h"
#include "vfio_user/wire.h"
#include "util/log.h"
#include "util/loop.h"
#include "util/reader.h"

/* ---- A model: 4 KiB of registers that remember ------------------------------------ */

struct scratch {
	uint32_t reg[1024];
};

enum { SLOW = 0xff0 }; /* a register that answers when the test says so */
static struct fb_access *slow;

static uint64_t scratch_read(struct fb_device *dev, unsigned bar, uint64_t offset, unsigned size)
{
	struct scratch *s = fb_device_state(dev);

	if (offset == SLOW)
		slow = fb_access_defer(dev);
	return s->reg[offset / 4];
}

static void scratch_write(struct fb_device *dev, unsigned bar, uint64_t offset, uint64_t value, unsigned size)
{
	struct scratch *s = fb_device_state(dev);

	s->reg[offset / 4] = (uint32_t)value;
}

static void scratch_reset(struct fb_device *dev, enum fb_reset kind)
{
	memset(fb_device_state(dev), 0, sizeof(struct scratch));
}

static int scratch_realize(struct fb_device *dev) { return 0; }
static void scratch_unrealize(struct fb_device *dev) {}

static const struct fb_bar scratch_bars[] = {{.index = 0, .size = 4096, .min_access = 4, .max_access = 4}};

static const struct fb_model scratch = {
	.api = FB_DEVICE_API,
	.size = sizeof(struct fb_model),
	.name = "scratch",
	.summary = "registers that remember",
	.identity = {.vendor_id = 0x1234, .device_id = 0x11e8, .class_code = 0xff0000},
	.bars = scratch_bars,
	.n_bars = 1,
	.msi_vectors = 1,
	.state_size = sizeof(struct scratch),
	.realize = scratch_realize,
	.unrealize = scratch_unrealize,
	.reset = scratch_reset,
	.read = scratch_read,
	.write = scratch_write,
};
static const struct fb_model *const models[] = {&scratch, NULL};

/* ---- The bench -------------------------------------------------------------------------- */

/* Longer than a busy machine keeps this process waiting: the devices of a lost session are taken out and put in anew. */
#define HOLD_NS UINT64_C(1000000000)

static struct fb_loop *loop;
static struct fb_box *box;
static struct fb_root *root, *second;
static char dir[32], sockets[64], qmp_path[64];
static uint64_t answer_ns;
static int started_status[2];
static unsigned started_n[2], stopped_n;

static void started0(void *arg, int status)
{
	started_status[0] = status;
	started_n[0]++;
}

static void started1(void *arg, int status)
{
	started_status[1] = status;
	started_n[1]++;
}

static void stopped(void *arg) { stopped_n++; }

static void box_up(uint64_t incarnation)
{
	static const char *const devices[] = {"scratch,id=a", "scratch,id=b", NULL};
	struct fb_box_config config = {.models = models, .devices = devices};

	fb_link_config_default(&config.carrier.link);
	config.carrier.listen = "loopback:box";
	config.carrier.self.node[0] = 1;
	config.carrier.self.incarnation = incarnation;
	config.carrier.link.hold_ns = HOLD_NS;
	config.carrier.link.keepalive_ns = 50000000;
	assert_int_equal(fb_box_new(&box, loop, &config), 0);
}

static int make_root(struct fb_root **out, unsigned n, const char *qmp, const char *const *slots,
		     const char *const *only)
{
	static const char *const peers[] = {"loopback:box", NULL}, *const replug[] = {"b", NULL};
	struct fb_root_config config = {.peers = peers,
					.socket_dir = sockets,
					.qmp = qmp,
					.slots = slots,
					.only = only,
					.replug = replug,
					.answer_ns = answer_ns,
					.poll_ns = 30000000,
					.started = n ? started1 : started0};

	fb_link_config_default(&config.carrier.link);
	config.carrier.link.hold_ns = HOLD_NS;
	config.carrier.link.keepalive_ns = 50000000;
	config.carrier.link.connect_ns = 300000000;
	config.carrier.self.node[0] = (uint8_t)(100 + n);
	config.carrier.self.incarnation = 1;
	return fb_root_new(out, loop, &config);
}

static void qemu_poll(void);

/* Passes time until cond(), which is given arg; fails after some seconds. */
static void until(bool (*cond)(const void *arg), const void *arg)
{
	uint64_t end = fb_clock_ns() + UINT64_C(25000000000);

	while (!cond(arg)) {
		if (fb_clock_ns() > end)
			fail_msg("not in time: %s", arg ? (const char *)arg : "?");
		assert_int_equal(fb_loop_once(loop, fb_clock_ns() + 2000000), 0);
		qemu_poll();
	}
}

/* As long as it takes for something to happen that is not to. */
static void until_quiet(void)
{
	for (unsigned i = 0; i < 60; i++) {
		fb_loop_once(loop, fb_clock_ns() + 2000000);
		qemu_poll();
	}
}

static int info(struct fb_root *r, const char *id, struct fb_root_function_info *out)
{
	for (unsigned i = 0; i < fb_root_functions(r); i++) {
		assert_int_equal(fb_root_function_info(r, i, out), 0);
		if (strcmp(out->id, id) == 0)
			return 0;
	}
	return -ENOENT;
}

/* "a ready none": function, state, slot state; root 0 */
static bool is(const void *arg)
{
	struct fb_root_function_info fi;
	char id[16], state[16], slot[16];

	assert_int_equal(sscanf(arg, "%15s %15s %15s", id, state, slot), 3);
	return info(root, id, &fi) == 0 && strcmp(fb_root_function_state_name(fi.state), state) == 0 &&
	       strcmp(fb_root_slot_state_name(fi.slot_state), slot) == 0;
}

static bool second_is(const void *arg)
{
	struct fb_root *keep = root;
	bool yes;

	root = second;
	yes = is(arg);
	root = keep;
	return yes;
}

static bool second_noted(const void *arg)
{
	struct fb_root_function_info fi;

	return info(second, "a", &fi) == 0 && strstr(fi.note, arg);
}

static bool has_started(const void *arg) { return started_n[0] > 0; }
static bool has_stopped(const void *arg) { return stopped_n > 0; }

/* ---- QEMU ------------------------------------------------------------------------------- */

struct device {
	char id[64], bus[32];
	int fd; /* vfio-user */
	bool leaving;
};

static struct {
	int listener, fd;
	char in[8192];
	size_t len;
	struct device devices[4];
	bool guest_ignores;   /* device_del is accepted, and nothing follows */
	bool refuses_add;
	unsigned adds, dels;
	json_int_t msg_timeout; /* of the last device_add; 0: none was given */
	bool other;           /* somebody else's device is in slot1 */
} qemu = {.listener = -1, .fd = -1};

static void qemu_say(const char *text)
{
	assert_int_equal(write(qemu.fd, text, strlen(text)), strlen(text));
}

static void qemu_reply(json_int_t id, const char *result)
{
	char text[512];

	snprintf(text, sizeof(text), "{%s, \"id\": %lld}\r\n", result, (long long)id);
	qemu_say(text);
}

static int unix_connect(const char *path)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	memcpy(sun.sun_path, path, strlen(path));
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0) {
		close(fd);
		return -errno;
	}
	return fd;
}

static void vfio_send(int fd, uint16_t command, const void *body, size_t len)
{
	uint8_t m[128] = {7, 0};

	fb_put_le16(m + 2, command);
	fb_put_le32(m + 4, (uint32_t)(16 + len));
	if (len)
		memcpy(m + 16, body, len);
	assert_int_equal(write(fd, m, 16 + len), 16 + len);
}

static bool was_replugged(const void *arg) { return qemu.adds == 3; }

static struct device *qemu_device(const char *id)
{
	for (unsigned i = 0; i < 4; i++) {
		if (strcmp(qemu.devices[i].id, id) == 0)
			return &qemu.devices[i];
	}
	return NULL;
}

static void qemu_deleted(struct device *d)
{
	char text[256];

	if (!d) {
		fail_msg("the device is not there");
		return;
	}
	snprintf(text, sizeof(text),
		 "{\"event\": \"DEVICE_DELETED\", \"data\": {\"device\": \"%s\", \"path\": \"/machine/peripheral/%s\"}}\r\n",
		 d->id, d->id);
	if (d->fd >= 0)
		close(d->fd);
	memset(d, 0, sizeof(*d));
	qemu_say(text);
}

static void qemu_command(json_t *cmd)
{
	const char *name = json_string_value(json_object_get(cmd, "execute"));
	json_int_t id = json_integer_value(json_object_get(cmd, "id"));
	json_t *a = json_object_get(cmd, "arguments");
	const char *path = json_string_value(json_object_get(a, "path")), *dev = json_string_value(json_object_get(a, "id"));
	struct device *d;
	char text[256];

	assert_non_null(name);
	path = path ? path : "";
	dev = dev ? dev : "";
	if (strcmp(name, "qmp_capabilities") == 0) {
		qemu_reply(id, "\"return\": {}");
	} else if (strcmp(name, "qom-list") == 0) {
		bool taken = false;

		if (strcmp(path, "/machine/peripheral/slot0/slot0") != 0 &&
		    strcmp(path, "/machine/peripheral/slot1/slot1") != 0) {
			qemu_reply(id, "\"error\": {\"class\": \"DeviceNotFound\", \"desc\": \"Device not found\"}");
			return;
		}
		for (unsigned i = 0; i < 4; i++)
			taken |= qemu.devices[i].id[0] && strcmp(qemu.devices[i].bus, path + 26) == 0;
		taken |= qemu.other && strcmp(path + 26, "slot1") == 0;
		qemu_reply(id, taken ? "\"return\": [{\"name\": \"child[0]\", \"type\": \"link<device>\"}, {\"name\": \"type\", "
				       "\"type\": \"string\"}]"
				     : "\"return\": [{\"name\": \"type\", \"type\": \"string\"}]");
	} else if (strcmp(name, "qom-get") == 0) {
		const char *who = "virtio7";

		for (unsigned i = 0; i < 4; i++) {
			if (qemu.devices[i].id[0] && strcmp(qemu.devices[i].bus, path + 26) == 0)
				who = qemu.devices[i].id;
		}
		snprintf(text, sizeof(text), "\"return\": \"/machine/peripheral/%s\"", who);
		qemu_reply(id, text);
	} else if (strcmp(name, "device_add") == 0) {
		static const uint8_t version[] = "\0\0\0\0{\"capabilities\":{\"max_msg_fds\":16,\"max_data_xfer_size\":1048576}}";

		qemu.adds++;
		assert_string_equal(json_string_value(json_object_get(a, "driver")), "vfio-user-pci");
		qemu.msg_timeout = json_integer_value(json_object_get(a, "x-msg-timeout"));
		if (qemu.refuses_add || qemu_device(dev)) {
			qemu_reply(id, "\"error\": {\"class\": \"GenericError\", \"desc\": \"not today\"}");
			return;
		}
		d = qemu_device("");
		d->fd = unix_connect(json_string_value(json_object_get(json_object_get(a, "socket"), "path")));
		assert_true(d->fd >= 0);
		snprintf(d->id, sizeof(d->id), "%s", dev);
		snprintf(d->bus, sizeof(d->bus), "%s", json_string_value(json_object_get(a, "bus")));
		vfio_send(d->fd, VFIO_USER_VERSION, version, sizeof(version));
		qemu_reply(id, "\"return\": {}");
	} else if (strcmp(name, "device_del") == 0) {
		qemu.dels++;
		d = qemu_device(dev);
		if (!d) {
			qemu_reply(id, "\"error\": {\"class\": \"DeviceNotFound\", \"desc\": \"Device not found\"}");
			return;
		}
		qemu_reply(id, "\"return\": {}");
		if (!qemu.guest_ignores)
			qemu_deleted(d);
	} else {
		fail_msg("QEMU is asked for %s", name);
	}
}

static void qemu_poll(void)
{
	char *nl;
	ssize_t n;

	if (qemu.fd < 0 && qemu.listener >= 0) {
		qemu.fd = accept4(qemu.listener, NULL, NULL, SOCK_NONBLOCK);
		if (qemu.fd < 0)
			return;
		qemu.len = 0;
		qemu_say("{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 3, \"minor\": 1, \"major\": 11}}, "
			 "\"capabilities\": []}}\r\n");
	}
	if (qemu.fd < 0)
		return;
	n = read(qemu.fd, qemu.in + qemu.len, sizeof(qemu.in) - qemu.len);
	if (n == 0) {
		close(qemu.fd);
		qemu.fd = -1;
		return;
	}
	if (n > 0)
		qemu.len += (size_t)n;
	while ((nl = memchr(qemu.in, '\n', qemu.len))) {
		json_t *cmd = json_loadb(qemu.in, (size_t)(nl - qemu.in), 0, NULL);

		assert_non_null(cmd);
		qemu_command(cmd);
		json_decref(cmd);
		qemu.len -= (size_t)(nl + 1 - qemu.in);
		memmove(qemu.in, nl + 1, qemu.len);
	}
}

static void qemu_up(void)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};

	qemu.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	memcpy(sun.sun_path, qmp_path, strlen(qmp_path));
	unlink(qmp_path);
	assert_int_equal(bind(qemu.listener, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(qemu.listener, 1), 0);
}

static void qemu_killed(void)
{
	for (unsigned i = 0; i < 4; i++) {
		if (qemu.devices[i].id[0] && qemu.devices[i].fd >= 0)
			close(qemu.devices[i].fd);
	}
	if (qemu.fd >= 0)
		close(qemu.fd);
	if (qemu.listener >= 0)
		close(qemu.listener);
	memset(&qemu, 0, sizeof(qemu));
	qemu.fd = qemu.listener = -1;
}

/* A register of the device as its guest sees it, by vfio-user. */
static uint32_t guest_reg(const char *id, uint32_t region, uint32_t offset)
{
	struct device *d = qemu_device(id);
	uint64_t end = fb_clock_ns() + UINT64_C(3000000000);
	uint8_t body[16] = {0}, reply[36];
	size_t got = 0;

	fb_put_le64(body, offset);
	fb_put_le32(body + 8, region);
	fb_put_le32(body + 12, 4);
	while (recv(d->fd, reply, sizeof(reply), 0) > 0) /* what else it said before */
		;
	vfio_send(d->fd, VFIO_USER_REGION_READ, body, 16);
	while (got < sizeof(reply) && fb_clock_ns() < end) {
		ssize_t n = recv(d->fd, reply + got, sizeof(reply) - got, 0);

		if (n > 0)
			got += (size_t)n;
		else
			fb_loop_once(loop, fb_clock_ns() + 1000000);
	}
	assert_int_equal(got, sizeof(reply));
	return fb_get_le32(reply + 32);
}

static void guest_write(const char *id, uint32_t region, uint32_t offset, uint32_t value)
{
	uint8_t body[20] = {0};

	fb_put_le64(body, offset);
	fb_put_le32(body + 8, region);
	fb_put_le32(body + 12, 4);
	fb_put_le32(body + 16, value);
	vfio_send(qemu_device(id)->fd, VFIO_USER_REGION_WRITE, body, sizeof(body));
	for (unsigned i = 0; i < 20; i++)
		fb_loop_once(loop, fb_clock_ns() + 1000000);
}

/* ---- Operator ----------------------------------------------------------------------------- */

static int op_status;
static unsigned op_n;
static char op_text[256];

static void op_done(void *arg, int status, const char *text)
{
	op_n++;
	op_status = status;
	snprintf(op_text, sizeof(op_text), "%s", text);
}

static bool op_is_done(const void *arg) { return op_n > 0; }

static int operator(void (*what)(struct fb_root *, const char *, fb_root_done *, void *), const char *id)
{
	op_n = 0;
	what(root, id, op_done, NULL);
	until(op_is_done, "the operator's command");
	assert_int_equal(op_n, 1);
	return op_status;
}

/* ---- Fixture -------------------------------------------------------------------------------- */

static const char *const two_slots[] = {"slot0", "slot1", NULL};
static const char *const one_slot[] = {"slot0", NULL};

static int setup(void **state)
{
	fb_log_set_level(getenv("VERBOSE") ? FB_LOG_DEBUG : FB_LOG_ERROR);
	strcpy(dir, "/tmp/fb-root-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(sockets, sizeof(sockets), "%s/s", dir);
	snprintf(qmp_path, sizeof(qmp_path), "%s/qmp", dir);
	mkdir(sockets, 0700);
	memset(started_n, 0, sizeof(started_n));
	stopped_n = 0;
	answer_ns = 200000000;
	assert_int_equal(fb_loop_new(&loop, 0), 0);
	box_up(1);
	return 0;
}

static int teardown(void **state)
{
	char cmd[96];

	fb_root_free(root);
	fb_root_free(second);
	root = second = NULL;
	if (box)
		fb_box_free(box);
	box = NULL;
	qemu_killed();
	fb_loop_free(loop);
	unlink(qmp_path);
	snprintf(cmd, sizeof(cmd), "%s/a.sock", sockets);
	assert_int_equal(access(cmd, F_OK), -1); /* a root leaves no socket behind */
	rmdir(sockets);
	rmdir(dir);
	return 0;
}

static void plugged_root(const char *const *slots)
{
	qemu_up();
	assert_int_equal(make_root(&root, 0, qmp_path, slots, NULL), 0);
	until(has_started, "start");
	assert_int_equal(started_status[0], 0);
}

/* ---- Tests ------------------------------------------------------------------------------------ */

static void test_offered(void **state)
{
	struct fb_root_function_info fi;
	struct fb_root_box_info bi;
	struct stat st;

	assert_int_equal(make_root(&root, 0, NULL, NULL, NULL), 0);
	until(is, "a ready none");
	until(is, "b ready none");
	assert_int_equal(started_n[0], 1);
	assert_int_equal(info(root, "a", &fi), 0);
	assert_string_equal(fi.model, "scratch");
	assert_int_equal(fi.vendor_id, 0x1234);
	assert_true(fi.link_up);
	assert_int_equal(stat(fi.socket, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(fb_root_box_info(root, 0, &bi), 0);
	assert_true(bi.reachable);
	assert_int_equal(bi.offered, 2);
	assert_int_equal(fb_root_function_info(root, 2, &fi), -ENOENT);
	assert_int_equal(operator(fb_root_plug, "a"), -ENOTSUP);
	assert_int_equal(operator(fb_root_plug, "zz"), -ENOENT);
	fb_root_stop(root, 0, stopped, NULL);
	assert_int_equal(stopped_n, 1); /* nothing to wait for */
}

static void test_only(void **state)
{
	static const char *const only[] = {"b", NULL}, *const bad[] = {"../x", NULL};

	assert_int_equal(make_root(&root, 0, NULL, NULL, bad), -EINVAL);
	assert_int_equal(make_root(&root, 0, NULL, NULL, only), 0);
	until(is, "b ready none");
	assert_int_equal(fb_root_functions(root), 1);
}

static void test_two_roots(void **state)
{
	assert_int_equal(make_root(&root, 0, NULL, NULL, NULL), 0);
	until(is, "a ready none");
	until(is, "b ready none");
	assert_int_equal(make_root(&second, 1, NULL, NULL, NULL), 0);
	until(second_noted, "another root has it");
	fb_root_free(root);
	root = NULL;
	until(second_is, "a ready none");
}

static void test_bad_places(void **state)
{
	char long_dir[200];
	int fd;

	snprintf(sockets, sizeof(sockets), "%s/missing", dir);
	assert_int_equal(make_root(&root, 0, NULL, NULL, NULL), -ENOENT);
	snprintf(sockets, sizeof(sockets), "%s/qmp", dir);
	fd = open(sockets, O_CREAT | O_WRONLY, 0600);
	close(fd);
	assert_int_equal(make_root(&root, 0, NULL, NULL, NULL), -ENOTDIR);
	unlink(sockets);
	snprintf(sockets, sizeof(sockets), "%s/s", dir);
	memset(long_dir, 'x', sizeof(long_dir) - 1);
	long_dir[sizeof(long_dir) - 1] = '\0';
	assert_int_equal(make_root(&root, 0, long_dir, one_slot, NULL), -ENAMETOOLONG); /* QMP's path */
	assert_int_equal(make_root(&root, 0, qmp_path, NULL, NULL), -EINVAL);		 /* no slot */
}

/* What is left of a killed root goes; what is alive, or no socket, stays. Namespaces of networks do not matter. */
static void test_stale_sockets(void **state)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	char dead[96], alive[96], file[96];
	int fd[2], home;

	snprintf(dead, sizeof(dead), "%s/dead.sock", sockets);
	snprintf(alive, sizeof(alive), "%s/alive.sock", sockets);
	snprintf(file, sizeof(file), "%s/file.sock", sockets);
	for (unsigned i = 0; i < 2; i++) {
		fd[i] = socket(AF_UNIX, SOCK_STREAM, 0);
		strcpy(sun.sun_path, i ? alive : dead);
		assert_int_equal(bind(fd[i], (struct sockaddr *)&sun, sizeof(sun)), 0);
		assert_int_equal(listen(fd[i], 1), 0);
	}
	close(fd[0]);
	close(open(file, O_CREAT | O_WRONLY, 0600));
	home = open("/proc/thread-self/ns/net", O_RDONLY);
	if (unshare(CLONE_NEWNET) < 0)
		assert_int_equal(errno, EPERM); /* as a user: in one namespace, then */
	assert_int_equal(make_root(&root, 0, NULL, NULL, NULL), 0);
	(void)!setns(home, CLONE_NEWNET);
	close(home);
	assert_int_equal(access(dead, F_OK), -1);
	assert_int_equal(access(alive, F_OK), 0);
	assert_int_equal(access(file, F_OK), 0);
	assert_int_equal(fcntl(fd[1], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(accept(fd[1], NULL, NULL), -1); /* it has not been bothered */
	close(fd[1]);
	unlink(alive);
	unlink(file);
}

/* A function whose socket another process has is not taken from it; when that has gone, it is had. */
static void test_socket_in_use(void **state)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct fb_root_function_info fi;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/a.sock", sockets);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(make_root(&root, 0, NULL, NULL, NULL), 0);
	until(is, "b ready none");
	until(is, "a absent none");
	assert_int_equal(info(root, "a", &fi), 0);
	assert_non_null(strstr(fi.note, "in use by another process"));
	close(fd);
	until(is, "a ready none");
}

static void test_hot_plug(void **state)
{
	struct fb_root_qmp_info qi;

	plugged_root(two_slots);
	until(is, "a in-use plugged");
	until(is, "b in-use plugged");
	fb_root_qmp_info(root, &qi);
	assert_true(qi.connected);
	assert_int_equal(qi.slots_free, 0);
	assert_int_equal(qemu.msg_timeout, 0);
	guest_write("farbus-a", 7, 0x04, 2);
	guest_write("farbus-a", 0, 0x10, 0xcafe);
	assert_int_equal(guest_reg("farbus-a", 0, 0x10), 0xcafe);
	assert_int_equal(operator(fb_root_plug, "a"), 0); /* is in already */
	assert_int_equal(operator(fb_root_unplug, "a"), 0);
	assert_null(qemu_device("farbus-a"));
	until(is, "a ready none");
	assert_int_equal(operator(fb_root_unplug, "a"), 0);
	until_quiet(); /* it stays out */
	assert_null(qemu_device("farbus-a"));
	assert_int_equal(operator(fb_root_plug, "a"), 0);
	until(is, "a in-use plugged");
	guest_write("farbus-a", 7, 0x04, 2);
	assert_int_equal(guest_reg("farbus-a", 0, 0x10), 0); /* reset in between */
	fb_root_stop(root, 0, stopped, NULL);
	until(has_stopped, "stop");
	assert_null(qemu_device("farbus-a"));
	assert_null(qemu_device("farbus-b"));
}

/* QEMU waits for longer than the root does. */
static void test_long_answer_time(void **state)
{
	answer_ns = 12000000000;
	plugged_root(one_slot);
	while (qemu.adds == 0) {
		fb_loop_once(loop, fb_clock_ns() + 2000000);
		qemu_poll();
	}
	assert_int_equal(qemu.msg_timeout, 15000);
}

static void test_qmp_absent(void **state)
{
	assert_int_equal(make_root(&root, 0, qmp_path, one_slot, NULL), 0);
	until(has_started, "start");
	assert_int_equal(started_status[0], -ENOENT);
}

static void test_slot_absent(void **state)
{
	static const char *const slots[] = {"slot0", "slot7", NULL};

	qemu_up();
	assert_int_equal(make_root(&root, 0, qmp_path, slots, NULL), 0);
	until(has_started, "start");
	assert_int_equal(started_status[0], -ENOENT);
	assert_int_equal(qemu.adds, 0);
}

static bool two_listed_one_plugged(const void *arg)
{
	return qemu.adds == 1 && (is("b ready none") || is("a ready none"));
}

static void test_slots_full(void **state)
{
	const char *out;

	qemu.other = true; /* slot1 is not free */
	plugged_root(two_slots);
	until(two_listed_one_plugged, "one in, one out");
	out = qemu_device("farbus-a") ? "b" : "a";
	assert_int_equal(operator(fb_root_plug, out), -EBUSY);
	assert_non_null(strstr(op_text, "slot1 has virtio7"));
	/* when one becomes free it goes in by itself */
	assert_int_equal(operator(fb_root_unplug, *out == 'a' ? "b" : "a"), 0);
	until(is, *out == 'a' ? "a in-use plugged" : "b in-use plugged");
}

static void test_add_refused(void **state)
{
	qemu.refuses_add = true;
	plugged_root(one_slot);
	until(is, "a ready none");
	while (qemu.adds == 0) {
		fb_loop_once(loop, fb_clock_ns() + 2000000);
		qemu_poll();
	}
	assert_int_equal(operator(fb_root_plug, "a"), -EIO);
	assert_non_null(strstr(op_text, "not today"));
	qemu.refuses_add = false;
	assert_int_equal(operator(fb_root_plug, "a"), 0);
}

static void test_box_lost_and_back(void **state)
{
	plugged_root(two_slots);
	until(is, "a in-use plugged");
	until(is, "b in-use plugged");
	guest_write("farbus-a", 7, 0x04, 2);
	qemu.guest_ignores = true;
	fb_box_free(box); /* silence, as when it is killed */
	box = NULL;
	until(is, "a gone unplugging");
	assert_int_equal(guest_reg("farbus-a", 0, 0x10), UINT32_MAX);
	assert_int_equal(guest_reg("farbus-a", 7, 0), UINT32_MAX);
	box_up(2);
	qemu.guest_ignores = false;
	qemu_deleted(qemu_device("farbus-a"));
	qemu_deleted(qemu_device("farbus-b"));
	until(is, "a in-use plugged");
	until(is, "b in-use plugged");
	guest_write("farbus-a", 7, 0x04, 2);
	assert_int_equal(guest_reg("farbus-a", 0, 0x10), 0);
}

static bool asked_once(const void *arg) { return qemu.dels == 1; }

/* The guest has had all ones for a read: once it is answered, a function that is listed goes out and in; others stay. */
static void test_replug(void **state)
{
	plugged_root(two_slots);
	until(is, "a in-use plugged");
	until(is, "b in-use plugged");
	for (unsigned i = 0; i < 2; i++) {
		const char *id = i ? "farbus-b" : "farbus-a";

		guest_write(id, 7, 0x04, 2);
		guest_write(id, 0, 0x10, 0xcafe);
		assert_int_equal(guest_reg(id, 0, SLOW), UINT32_MAX);
		assert_int_equal(guest_reg(id, 0, 0x10), 0xcafe);
		assert_int_equal(qemu.dels, 0); /* it waits for the answer */
		fb_access_complete(slow, 7);
		if (i == 0)
			until_quiet();
	}
	until(was_replugged, "b to go out and in");
	until(is, "b in-use plugged");
	until_quiet();
	assert_int_equal(qemu.dels, 1);
	assert_int_equal(qemu.adds, 3);
	guest_write("farbus-b", 7, 0x04, 2);
	assert_int_equal(guest_reg("farbus-b", 0, 0x10), 0);
	guest_write("farbus-a", 7, 0x04, 2);
	assert_int_equal(guest_reg("farbus-a", 0, 0x10), 0xcafe);
}

static void test_guest_is_asked_again(void **state)
{
	plugged_root(two_slots);
	until(is, "a in-use plugged");
	qemu.guest_ignores = true;
	fb_root_unplug(root, "a", op_done, NULL);
	until(asked_once, "device_del");
	assert_true(is("a in-use unplugging"));
	/* a second command for the same function is refused while one is in progress */
	assert_int_equal(operator(fb_root_plug, "a"), -EBUSY);
	fb_root_forget(root, NULL);
	qemu.guest_ignores = false;
	until(is, "a ready none"); /* after 10 s it asks again */
	assert_int_equal(qemu.dels, 2);
}

static void test_taken_out_by_hand(void **state)
{
	plugged_root(two_slots);
	until(is, "a in-use plugged");
	until(is, "b in-use plugged");
	qemu_deleted(qemu_device("farbus-a"));
	until(is, "a ready none");
	for (unsigned i = 0; i < 60; i++) {
		fb_loop_once(loop, fb_clock_ns() + 2000000);
		qemu_poll();
	}
	assert_null(qemu_device("farbus-a")); /* who took it out meant it */
	assert_int_equal(operator(fb_root_plug, "a"), 0);
}

static void test_qemu_killed_and_new(void **state)
{
	plugged_root(two_slots);
	until(is, "a in-use plugged");
	until(is, "b in-use plugged");
	qemu_killed();
	until(is, "a ready none");
	until(is, "b ready none");
	assert_int_equal(operator(fb_root_plug, "a"), -ENOTCONN);
	qemu_up();
	until(is, "a in-use plugged");
	until(is, "b in-use plugged");
}

/* Only the connection is lost: QEMU and the devices live, and are found again. */
static void test_qmp_lost_qemu_lives(void **state)
{
	plugged_root(two_slots);
	until(is, "a in-use plugged");
	until(is, "b in-use plugged");
	close(qemu.fd);
	qemu.fd = -1;
	until(is, "a in-use none");
	until(is, "a in-use plugged");
	until(is, "b in-use plugged");
	assert_int_equal(qemu.adds, 2);
	assert_int_equal(qemu.dels, 0);
}

/* A root was killed: the devices that it left in QEMU are dead; the next root replaces them. */
static void test_root_killed(void **state)
{
	struct device left = {.id = "farbus-a", .bus = "slot0", .fd = -1};

	qemu.devices[0] = left;
	plugged_root(two_slots);
	until(is, "a in-use plugged");
	assert_int_equal(qemu.dels, 1);
	assert_true(qemu_device("farbus-a")->fd >= 0);
}

static void test_function_not_offered_any_more(void **state)
{
	static const char *const devices[] = {"scratch,id=c", NULL};
	struct fb_box_config config = {.models = models, .devices = devices};

	assert_int_equal(make_root(&root, 0, NULL, NULL, NULL), 0);
	until(is, "a ready none");
	fb_box_free(box);
	fb_link_config_default(&config.carrier.link);
	config.carrier.listen = "loopback:box";
	config.carrier.self.node[0] = 1;
	config.carrier.self.incarnation = 9;
	assert_int_equal(fb_box_new(&box, loop, &config), 0);
	until(is, "c ready none");
	{
		struct fb_root_function_info fi;
		uint64_t end = fb_clock_ns() + UINT64_C(5000000000);

		while (info(root, "a", &fi) == 0 && fb_clock_ns() < end)
			fb_loop_once(loop, fb_clock_ns() + 2000000);
		assert_int_equal(info(root, "a", &fi), -ENOENT);
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_offered),
		T(test_only),
		T(test_two_roots),
		T(test_bad_places),
		T(test_stale_sockets),
		T(test_socket_in_use),
		T(test_hot_plug),
		T(test_long_answer_time),
		T(test_qmp_absent),
		T(test_slot_absent),
		T(test_slots_full),
		T(test_add_refused),
		T(test_box_lost_and_back),
		T(test_replug),
		T(test_guest_is_asked_again),
		T(test_taken_out_by_hand),
		T(test_qemu_killed_and_new),
		T(test_qmp_lost_qemu_lives),
		T(test_root_killed),
		T(test_function_not_offered_any_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
