/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A box and its roots in one process, over the loopback backend and a real
 * link: sessions, takeover, refusals, directory, orderly stop, and that
 * nothing of it is global (two boxes live at a time).
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "endpoint/endpoint.h"
#include "probe.h"
#include "util/log.h"
#include "util/loop.h"
#include "util/reader.h"

static const struct fb_model *const models[] = {&probe_model, NULL};
static struct fb_loop *loop;

/* ---- A root with one function, as small as can be ------------------------------------ */

struct root {
	struct fb_carrier *carrier;
	struct fb_port *port;
	bool up, down;
	int reason;
	char text[128];
	unsigned answers;
	struct pcie_tlp last;
	uint8_t data[4096];
};

static bool root_tlp(void *arg, const struct pcie_tlp *tlp)
{
	struct root *r = arg;

	r->answers++;
	r->last = *tlp;
	if (tlp->data)
		memcpy(r->data, tlp->data, tlp->length * 4u);
	return true;
}

static void root_up(void *arg)
{
	((struct root *)arg)->up = true;
}

static void root_down(void *arg, int reason, const char *text)
{
	struct root *r = arg;

	r->down = true;
	r->reason = reason;
	snprintf(r->text, sizeof(r->text), "%s", text);
	fb_port_close(r->port, FB_LINK_R_NORMAL, "");
	r->port = NULL;
}

static void root_writable(void *arg, enum pcie_fc cls)
{
	(void)arg, (void)cls;
}

static const struct fb_port_user root_user = {root_tlp, root_up, root_down, root_writable};

static void carrier_config(struct fb_carrier_config *c, const char *listen, const char *peer, uint8_t node)
{
	static uint64_t incarnation;

	memset(c, 0, sizeof(*c));
	fb_link_config_default(&c->link);
	c->listen = listen;
	c->peer = peer;
	memset(c->self.node, node, sizeof(c->self.node));
	c->self.incarnation = ++incarnation;
}

static void root_open(struct root *r, const char *peer, uint8_t node, uint32_t group)
{
	struct fb_carrier_config c;

	memset(r, 0, sizeof(*r));
	carrier_config(&c, NULL, peer, node);
	c.link.group = group;
	assert_int_equal(fb_carrier_open(&r->carrier, loop, &c, NULL, NULL), 0);
}

static void root_connect(struct root *r, const char *peer, const char *id)
{
	r->up = r->down = false;
	assert_int_equal(fb_port_connect(&r->port, r->carrier, peer, id, &root_user, r), 0);
}

static void root_close(struct root *r)
{
	if (r->port)
		fb_port_close(r->port, FB_LINK_R_NORMAL, "");
	fb_carrier_close(r->carrier);
}

static void wait_for(bool *what)
{
	uint64_t end = fb_clock_ns() + 5000000000ull;

	while (!*what && fb_clock_ns() < end)
		assert_int_equal(fb_loop_once(loop, end), 0);
	assert_true(*what);
}

/* Sends a request and waits for its answer. */
static void ask(struct root *r, struct pcie_tlp *tlp)
{
	unsigned answers = r->answers;
	uint64_t end = fb_clock_ns() + 5000000000ull;

	assert_int_equal(fb_port_send(r->port, tlp), 0);
	while (r->answers == answers && fb_clock_ns() < end)
		assert_int_equal(fb_loop_once(loop, end), 0);
	assert_int_equal(r->answers, answers + 1);
}

static uint32_t config_read(struct root *r, uint16_t reg)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_CFGRD0, .length = 1, .first_be = 0xf, .reg = reg, .completer_id = 0x100};

	ask(r, &tlp);
	assert_int_equal(r->last.type, PCIE_TLP_CPLD);
	return fb_get_le32(r->data);
}

static void config_write(struct root *r, uint16_t reg, uint32_t value)
{
	uint8_t data[4];
	struct pcie_tlp tlp = {
		.type = PCIE_TLP_CFGWR0, .length = 1, .first_be = 0xf, .reg = reg, .completer_id = 0x100, .data = data};

	fb_put_le32(data, value);
	ask(r, &tlp);
}

/* ---- Boxes ------------------------------------------------------------------------------ */

static struct fb_box *box_open(const char *listen, uint32_t group, const char *const *devices)
{
	struct fb_box_config c = {.models = models, .devices = devices, .group = group};
	struct fb_box *box;

	carrier_config(&c.carrier, listen, NULL, 0xbb);
	c.carrier.link.group = group;
	assert_int_equal(fb_box_new(&box, loop, &c), 0);
	return box;
}

static struct fb_function_info info_of(struct fb_box *box, unsigned i)
{
	struct fb_function_info info;

	assert_int_equal(fb_box_function_info(box, i, &info), 0);
	return info;
}

static const char *const two_devices[] = {"probe,id=one", "probe,id=two,msi=off", NULL};

static void a_session(void **state)
{
	struct fb_box *box = box_open("loopback:a", 0, two_devices);
	struct fb_port_stats stats;
	struct root r;

	assert_int_equal(fb_box_functions(box), 2);
	assert_false(info_of(box, 0).attached);
	assert_int_equal(fb_box_function_link(box, 0, &stats), -ENOTCONN);
	assert_int_equal(fb_box_function_link(box, 2, &stats), -ENOENT);

	root_open(&r, "loopback:a", 1, 0);
	root_connect(&r, "loopback:a", "one");
	wait_for(&r.up);
	assert_int_equal(config_read(&r, 0), 0xfb011b36);
	config_write(&r, 0x10, 0xe0000000);
	config_write(&r, 4, 7);
	struct fb_function_info info = info_of(box, 0);
	assert_true(info.attached);
	assert_int_equal(info.bdf, 0x100);
	assert_string_equal(info.id, "one");
	assert_string_equal(info.model, "probe");
	assert_int_equal(info.cfg_writes, 2);
	assert_int_not_equal(info.root[0], 0);
	assert_false(info_of(box, 1).attached);
	assert_int_equal(fb_box_function_link(box, 0, &stats), 0);
	assert_int_equal(stats.rx[PCIE_TLP_CFGWR0], 2);

	/* The root goes: the function is as after power-on for the next one. */
	fb_port_close(r.port, FB_LINK_R_NORMAL, "");
	r.port = NULL;
	uint64_t end = fb_clock_ns() + 5000000000ull;
	while (info_of(box, 0).attached && fb_clock_ns() < end)
		assert_int_equal(fb_loop_once(loop, end), 0);
	assert_false(info_of(box, 0).attached);
	assert_int_equal(info_of(box, 0).resets, 1);
	root_connect(&r, "loopback:a", "one");
	wait_for(&r.up);
	assert_int_equal(config_read(&r, 0x10), 0);
	root_close(&r);
	fb_box_free(box);
	(void)state;
}

static void refusals(void **state)
{
	struct fb_box *box = box_open("loopback:b", 7, two_devices);
	struct root r, other, foreign;

	root_open(&r, "loopback:b", 1, 7);
	root_open(&other, "loopback:b", 2, 7);
	root_open(&foreign, "loopback:b", 3, 8);
	root_connect(&r, "loopback:b", "three");
	wait_for(&r.down);
	assert_int_equal(r.reason, FB_LINK_R_NO_FUNCTION);
	root_connect(&foreign, "loopback:b", "one");
	wait_for(&foreign.down);
	assert_int_equal(foreign.reason, FB_LINK_R_GROUP);
	root_connect(&r, "loopback:b", "one");
	wait_for(&r.up);
	root_connect(&other, "loopback:b", "one");
	wait_for(&other.down);
	assert_int_equal(other.reason, FB_LINK_R_IN_USE);
	assert_non_null(strstr(other.text, "in use by the root at "));
	/* Which did no harm to the one that has it, and the other function is free. */
	assert_int_equal(config_read(&r, 0), 0xfb011b36);
	root_connect(&other, "loopback:b", "two");
	wait_for(&other.up);
	root_close(&foreign);
	root_close(&other);
	root_close(&r);
	fb_box_free(box);
	(void)state;
}

static void takeover_by_the_same_root(void **state)
{
	struct fb_box *box = box_open("loopback:c", 0, two_devices);
	struct root old, young;

	root_open(&old, "loopback:c", 1, 0);
	root_connect(&old, "loopback:c", "one");
	wait_for(&old.up);
	config_write(&old, 0x10, 0xe0000000);
	/* The root was restarted: same node, later incarnation; nobody said goodbye. */
	root_open(&young, "loopback:c", 1, 0);
	root_connect(&young, "loopback:c", "one");
	wait_for(&young.up);
	assert_int_equal(config_read(&young, 0x10), 0);
	assert_int_equal(info_of(box, 0).resets, 1);
	wait_for(&old.down);
	assert_int_equal(config_read(&young, 0), 0xfb011b36);
	root_close(&old);
	root_close(&young);
	fb_box_free(box);
	(void)state;
}

static struct {
	bool called;
	int status;
	unsigned n;
	struct fb_directory_entry entries[8];
} listing;

static void listed(void *arg, int status, const struct fb_link_identity *from, const struct fb_directory_entry *entries,
		   unsigned n)
{
	(void)arg, (void)from;
	listing.called = true;
	listing.status = status;
	listing.n = n;
	for (unsigned i = 0; i < n && i < 8; i++)
		listing.entries[i] = entries[i];
}

static void list(struct root *r, const char *peer, uint32_t group)
{
	struct fb_directory_query *query;

	memset(&listing, 0, sizeof(listing));
	assert_int_equal(fb_directory_query(&query, r->carrier, peer, group, 5000000000ull, listed, NULL), 0);
	wait_for(&listing.called);
	assert_int_equal(listing.status, 0);
}

static void the_directory(void **state)
{
	struct fb_box *box = box_open("loopback:d", 3, two_devices);
	struct root r;

	root_open(&r, "loopback:d", 5, 3);
	root_connect(&r, "loopback:d", "two");
	wait_for(&r.up);
	list(&r, "loopback:d", 3);
	assert_int_equal(listing.n, 2);
	assert_string_equal(listing.entries[0].id, "one");
	assert_string_equal(listing.entries[0].model, "probe");
	assert_int_equal(listing.entries[0].vendor_id, 0x1b36);
	assert_int_equal(listing.entries[0].class_code, 0xff0102);
	assert_int_equal(listing.entries[0].group, 3);
	assert_false(listing.entries[0].in_use);
	assert_true(listing.entries[1].in_use);
	/* Anybody may ask, and the node is all that a hello needs to take the function over: it is not told. */
	for (unsigned i = 0; i < sizeof(listing.entries[1].user); i++)
		assert_int_equal(listing.entries[1].user[i], 0);
	list(&r, "loopback:d", 4); /* another group sees nothing */
	assert_int_equal(listing.n, 0);
	root_close(&r);
	fb_box_free(box);
	(void)state;
}

/* What stands behind a model goes, and comes back. */
static void absence(void **state)
{
	struct fb_box *box = box_open("loopback:f", 0, two_devices);
	struct fb_device *two = probe_made;
	struct root r;

	root_open(&r, "loopback:f", 1, 0);
	root_connect(&r, "loopback:f", "two");
	wait_for(&r.up);
	fb_device_set_present(two, false, "its disk is gone");
	assert_false(info_of(box, 1).attached);
	wait_for(&r.down);
	assert_int_equal(r.reason, FB_LINK_R_REMOVED);
	assert_string_equal(r.text, "its disk is gone");
	list(&r, "loopback:f", 0);
	assert_int_equal(listing.n, 1);
	assert_string_equal(listing.entries[0].id, "one");
	root_connect(&r, "loopback:f", "two"); /* who asks all the same is refused */
	wait_for(&r.down);
	assert_false(r.up);
	assert_int_equal(r.reason, FB_LINK_R_REMOVED);
	fb_device_set_present(two, true, NULL);
	list(&r, "loopback:f", 0);
	assert_int_equal(listing.n, 2);
	assert_string_equal(listing.entries[1].id, "two");
	root_connect(&r, "loopback:f", "two");
	wait_for(&r.up);
	root_close(&r);
	fb_box_free(box);
	(void)state;
}

static void stopped(void *arg)
{
	*(bool *)arg = true;
}

/* The devices of a box are only known by name; the model's state is found by what it did. */
static struct probe *probes[2];
static struct fb_device *probe_devs[2];
static unsigned n_probes;

static int remember(struct fb_device *dev)
{
	probes[n_probes % 2] = fb_device_state(dev);
	probe_devs[n_probes++ % 2] = dev;
	return 0;
}

static void orderly_stop(void **state)
{
	struct fb_model m = probe_model;
	const struct fb_model *const list_of[] = {&m, NULL};
	struct fb_box_config c = {.models = list_of, .devices = two_devices};
	struct fb_box *box;
	struct root r, late;
	bool done = false;
	uint64_t began;

	m.realize = remember;
	m.msi_vectors = 0;
	n_probes = 0;
	carrier_config(&c.carrier, "loopback:f", NULL, 0xbb);
	assert_int_equal(fb_box_new(&box, loop, &c), 0);
	root_open(&r, "loopback:f", 1, 0);
	root_open(&late, "loopback:f", 2, 0);
	root_connect(&r, "loopback:f", "one");
	wait_for(&r.up);

	/* Busy at first: it waits, serves on, and takes no new root. */
	probes[0]->busy = true;
	fb_box_stop(box, 60000000000ull, stopped, &done);
	fb_box_stop(box, 0, stopped, &done); /* a second one changes nothing */
	root_connect(&late, "loopback:f", "two");
	wait_for(&late.down);
	assert_int_equal(late.reason, FB_LINK_R_REMOVED);
	assert_int_equal(config_read(&r, 0), 0xfb011b36);
	assert_false(done);
	fb_device_idle(probe_devs[0]);
	wait_for(&done);
	wait_for(&r.down);
	assert_int_equal(r.reason, FB_LINK_R_REMOVED);
	fb_box_free(box);

	/* Busy for ever: the time bounds it. */
	n_probes = 0;
	done = false;
	carrier_config(&c.carrier, "loopback:f", NULL, 0xbb);
	assert_int_equal(fb_box_new(&box, loop, &c), 0);
	root_connect(&r, "loopback:f", "one");
	wait_for(&r.up);
	probes[0]->busy = true;
	began = fb_clock_ns();
	fb_box_stop(box, 30000000, stopped, &done);
	wait_for(&done);
	assert_true(fb_clock_ns() - began >= 30000000);
	wait_for(&r.down);
	fb_box_free(box);

	/* Freed before the stop has ended; a model whose last work ends only then finds no box to tell. */
	n_probes = 0;
	m.unrealize = fb_device_idle;
	carrier_config(&c.carrier, "loopback:f", NULL, 0xbb);
	assert_int_equal(fb_box_new(&box, loop, &c), 0);
	probes[0]->busy = probes[1]->busy = true;
	done = false;
	fb_box_stop(box, 60000000000ull, stopped, &done);
	fb_box_free(box);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(fb_loop_once(loop, fb_clock_ns() + 1000000), 0);
	assert_false(done);
	root_close(&r);
	root_close(&late);
	(void)state;
}

/* One more function, and a thread for both. */
static int two_functions(struct fb_device *dev)
{
	struct fb_model second = *fb_device_model(dev);
	static struct fb_model kept;

	second.n_options = 0; /* it has none to be given */
	second.realize = NULL;
	kept = second;
	return fb_device_add_function(dev, &kept, NULL);
}

static void functions_of_one_device(void **state)
{
	const char *const devices[] = {"probe,id=one", "probe,id=two", NULL},
			  *const clash[] = {"probe,id=one.1", "probe,id=one", NULL};
	struct fb_model m = probe_model;
	const struct fb_model *const list_of[] = {&m, NULL};
	struct fb_box_config c = {.models = list_of, .devices = devices};
	struct fb_box *box;
	struct root r, other;
	bool done = false;

	m.realize = two_functions;
	m.style = FB_STYLE_BLOCKING;
	carrier_config(&c.carrier, "loopback:g", NULL, 0xbb);
	assert_int_equal(fb_box_new(&box, loop, &c), 0);
	assert_int_equal(fb_box_functions(box), 4);
	root_open(&r, "loopback:g", 1, 0);
	root_open(&other, "loopback:g", 2, 0);
	list(&r, "loopback:g", 0);
	assert_int_equal(listing.n, 4);
	assert_string_equal(listing.entries[1].id, "one.1");
	assert_string_equal(listing.entries[3].id, "two.1");
	/* Different roots may have them. */
	root_connect(&r, "loopback:g", "one");
	root_connect(&other, "loopback:g", "one.1");
	wait_for(&r.up);
	wait_for(&other.up);
	assert_int_equal(config_read(&r, 0), 0xfb011b36);
	assert_int_equal(config_read(&other, 0), 0xfb011b36);
	root_close(&r);
	assert_int_equal(config_read(&other, 0), 0xfb011b36);
	fb_box_stop(box, 60000000000ull, stopped, &done); /* each function's thread says that it is idle */
	wait_for(&done);
	wait_for(&other.down);
	assert_int_equal(other.reason, FB_LINK_R_REMOVED);
	fb_box_free(box);
	root_close(&other);
	c.devices = clash;
	assert_int_equal(fb_box_new(&box, loop, &c), -EINVAL);
	(void)state;
}

static void boxes_that_cannot_be(void **state)
{
	const char *const twice[] = {"probe,id=one", "probe,id=one", NULL}, *const none[] = {NULL},
			  *const wrong[] = {"probe,id=one", "probe,id=two,cuont=1", NULL};
	const char *const *bad[] = {twice, none, wrong};
	struct fb_box_config c = {.models = models};
	struct fb_box *box, *first = box_open("loopback:g", 0, two_devices);

	for (unsigned i = 0; i < 3; i++) {
		carrier_config(&c.carrier, "loopback:h", NULL, 0xbb);
		c.devices = bad[i];
		assert_true(fb_box_new(&box, loop, &c) < 0);
	}
	/* The address is taken; what was made for it is gone, and the first box is none the worse. */
	carrier_config(&c.carrier, "loopback:g", NULL, 0xbb);
	c.devices = two_devices;
	assert_true(fb_box_new(&box, loop, &c) < 0);
	struct root r;
	root_open(&r, "loopback:g", 1, 0);
	root_connect(&r, "loopback:g", "one");
	wait_for(&r.up);
	assert_int_equal(config_read(&r, 0), 0xfb011b36);
	root_close(&r);
	fb_box_free(first);
	(void)state;
}

static void two_boxes_in_one_process(void **state)
{
	struct fb_box *a = box_open("loopback:i", 0, two_devices), *b = box_open("loopback:j", 0, two_devices);
	struct root ra, rb;

	root_open(&ra, "loopback:i", 1, 0);
	root_open(&rb, "loopback:j", 1, 0);
	root_connect(&ra, "loopback:i", "one");
	root_connect(&rb, "loopback:j", "one");
	wait_for(&ra.up);
	wait_for(&rb.up);
	config_write(&ra, 0x10, 0xe0000000);
	assert_int_equal(config_read(&rb, 0x10), 0);
	root_close(&ra);
	fb_box_free(a);
	assert_int_equal(config_read(&rb, 0), 0xfb011b36);
	root_close(&rb);
	fb_box_free(b);
	(void)state;
}

static int make_loop(void **state)
{
	(void)state;
	fb_log_set_level(FB_LOG_WARN);
	return fb_loop_new(&loop, 0);
}

static int free_loop(void **state)
{
	(void)state;
	fb_loop_free(loop);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_session),
		cmocka_unit_test(refusals),
		cmocka_unit_test(takeover_by_the_same_root),
		cmocka_unit_test(the_directory),
		cmocka_unit_test(absence),
		cmocka_unit_test(orderly_stop),
		cmocka_unit_test(functions_of_one_device),
		cmocka_unit_test(boxes_that_cannot_be),
		cmocka_unit_test(two_boxes_in_one_process),
	};

	return cmocka_run_group_tests(tests, make_loop, free_loop);
}
