/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A box and a root in one process for the tests of the port: two carriers, each
 * with its own loop (so that one may stand still), and ends that generate TLPs
 * from (side, class, number) and check what arrives against the same.
 */
#ifndef TESTS_UNIT_PORT_WORLD_H
#define TESTS_UNIT_PORT_WORLD_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "port/carrier.h"
#include "util/loop.h"

#define WORLD_DEADLINE_NS 60000000000ull
#define WORLD_MS 1000000ull

enum { HOLD_MAX = 64, FUNCTIONS = 4 };

/* One end of one port. */
struct end {
	struct fb_port *port;
	unsigned side; /* 0: root, 1: box */
	unsigned ups, downs;
	int reason;
	char text[96];
	uint64_t tx[PCIE_FC_CLASSES], rx[PCIE_FC_CLASSES]; /* TLPs */
	bool blocked[PCIE_FC_CLASSES];
	bool hold; /* every seventh request's credit is kept for a while */
	struct fb_port_credit held[HOLD_MAX];
	unsigned n_held;
	uint64_t close_at;    /* rx count at which the port is closed inside tlp(); 0: never */
	bool close_in_down, close_in_up, close_in_writable;
	struct fb_carrier *close_carrier; /* closed inside tlp() */
};

struct world {
	struct fb_loop *box_loop, *root_loop; /* may be one */
	struct fb_carrier *box, *root;
	struct fb_carrier_config box_config, root_config;
	char address[80];
	struct end ends[FUNCTIONS][2]; /* of "f0" …: [0] the root's, [1] the box's */
	unsigned hellos;
	int refuse; /* answer to every hello; 0: accept known functions */
	bool close_in_hello;
	unsigned entries; /* of the directory */
	unsigned directory_calls;
	bool grow; /* the directory gets longer while it is read */
};

static inline uint64_t world_mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

/* The n-th TLP of a class from a side; data needs 4096 bytes. */
static inline void world_tlp(unsigned side, enum pcie_fc cls, uint64_t n, struct pcie_tlp *t, uint8_t *data)
{
	uint64_t r = world_mix(n * 8 + cls * 2 + side + 1);

	memset(t, 0, sizeof(*t));
	t->requester_id = (uint16_t)(n >> 8);
	t->tag = (uint8_t)n;
	t->length = 1 + (r >> 8 & 3 ? r % 32 : r % 1024);
	switch (cls) {
	case PCIE_FC_P:
		if (r >> 40 & 1) {
			t->type = PCIE_TLP_MSG;
			t->length = 0;
			t->msg_code = PCIE_MSG_VENDOR_TYPE1;
			t->msg_route = PCIE_ROUTE_LOCAL;
			t->vendor_id = 0x1234;
			t->vendor_data = (uint32_t)n;
			break;
		}
		t->type = PCIE_TLP_MWR;
		t->address = (n & 0xffffff) << 12 | 1ull << 40;
		break;
	case PCIE_FC_NP:
		t->type = r >> 40 & 1 ? PCIE_TLP_MRD : PCIE_TLP_CFGWR0;
		t->address = (n & 0xffffff) << 12 | 1ull << 40;
		if (t->type == PCIE_TLP_CFGWR0) {
			t->address = 0;
			t->length = 1;
			t->first_be = 0xf;
			t->reg = (uint16_t)(r >> 20 & 0x3fc);
			t->completer_id = 0x108;
		}
		break;
	default:
		t->type = PCIE_TLP_CPLD;
		t->completer_id = 0x108;
		t->byte_count = (uint16_t)(t->length * 4);
	}
	if (t->type == PCIE_TLP_MWR || t->type == PCIE_TLP_MRD) {
		t->first_be = 0xf;
		t->last_be = t->length > 1 ? 0xf : 0;
	}
	t->td = (r >> 44) % 8 == 0 && pcie_tlp_has_data(t->type);
	if (pcie_tlp_has_data(t->type)) {
		for (unsigned i = 0; i < t->length * 4u; i += 8) {
			uint64_t word = world_mix(r + i);

			memcpy(data + i, &word, t->length * 4u - i < 8 ? 4 : 8);
		}
		t->data = data;
	}
}

static inline bool world_on_tlp(void *arg, const struct pcie_tlp *got)
{
	static uint8_t data[PCIE_TLP_MAX_DATA + 8];
	struct end *e = arg;
	enum pcie_fc cls = pcie_tlp_fc(got->type);
	struct pcie_tlp want;
	uint64_t all;

	assert_int_equal(e->downs, 0);
	world_tlp(!e->side, cls, e->rx[cls]++, &want, data);
	assert_int_equal(got->type, want.type);
	assert_int_equal(got->requester_id, want.requester_id);
	assert_int_equal(got->tag, want.tag);
	assert_int_equal(got->length, want.length);
	assert_true(got->address == want.address);
	assert_int_equal(got->reg, want.reg);
	assert_int_equal(got->vendor_data, want.vendor_data);
	if (want.data)
		assert_memory_equal(got->data, data, want.length * 4u);
	all = e->rx[0] + e->rx[1] + e->rx[2];
	if (e->close_at && all >= e->close_at) {
		fb_port_close(e->port, FB_LINK_R_REMOVED, "closed inside tlp()");
		e->port = NULL;
		return false;
	}
	if (e->close_carrier) {
		fb_carrier_close(e->close_carrier);
		e->port = NULL;
		return true;
	}
	if (e->hold && all % 7 == 0 && cls != PCIE_FC_CPL && e->n_held < HOLD_MAX) {
		e->held[e->n_held++] = fb_port_credit(e->port);
		return false;
	}
	return true;
}

static inline void world_on_up(void *arg)
{
	struct end *e = arg;

	e->ups++;
	if (e->close_in_up) {
		fb_port_close(e->port, FB_LINK_R_NORMAL, "closed inside up()");
		e->port = NULL;
	}
}

static inline void world_on_down(void *arg, int reason, const char *text)
{
	struct end *e = arg;

	e->downs++;
	e->reason = reason;
	snprintf(e->text, sizeof(e->text), "%s", text);
	if (e->close_in_down) {
		fb_port_close(e->port, FB_LINK_R_NORMAL, NULL);
		e->port = NULL;
	}
}

static inline void world_on_writable(void *arg, enum pcie_fc cls)
{
	struct end *e = arg;

	e->blocked[cls] = false;
	if (e->close_in_writable) {
		fb_port_close(e->port, FB_LINK_R_REMOVED, "closed inside writable()");
		e->port = NULL;
	}
}

static const struct fb_port_user world_user = {world_on_tlp, world_on_up, world_on_down, world_on_writable};

static inline int world_hello(void *arg, const struct fb_link_hello *h, const char *from, struct fb_port *port,
			      const struct fb_port_user **user, void **user_arg, const char **text)
{
	struct world *w = arg;
	struct end *e;

	w->hellos++;
	assert_non_null(strchr(from, ':'));
	if (w->close_in_hello)
		fb_port_close(port, FB_LINK_R_REMOVED, "closed inside hello()");
	if (w->refuse) {
		*text = "because the test says so";
		return w->refuse;
	}
	if (h->function[0] != 'f' || h->function[1] < '0' || h->function[1] >= '0' + FUNCTIONS || h->function[2]) {
		*text = "no such function";
		return FB_LINK_R_NO_FUNCTION;
	}
	e = &w->ends[h->function[1] - '0'][1];
	if (e->port && !e->downs) {
		*text = "another root has it";
		return FB_LINK_R_IN_USE;
	}
	if (e->port)
		fb_port_close(e->port, FB_LINK_R_NORMAL, NULL);
	*e = (struct end){.port = port, .side = 1, .hold = true, .close_in_down = true};
	*user = &world_user;
	*user_arg = e;
	return 0;
}

static inline void world_entry(struct fb_directory_entry *e, unsigned i)
{
	memset(e, 0, sizeof(*e));
	snprintf(e->id, sizeof(e->id), "function-%u", i);
	snprintf(e->model, sizeof(e->model), "model%u", i % 7);
	e->vendor_id = (uint16_t)i;
	e->device_id = (uint16_t)(i * 3);
	e->class_code = 0x010802;
	e->group = i % 4;
	e->in_use = i & 1;
}

static inline void world_directory(void *arg, const struct fb_directory_request *request, struct fb_directory_page *page)
{
	struct world *w = arg;

	w->directory_calls++;
	if (w->grow && request->first > 50) {
		w->grow = false;
		w->entries++;
	}
	page->total = w->entries;
	while (page->n < 64 && page->first + page->n < w->entries) {
		world_entry(&page->entries[page->n], page->first + page->n);
		page->n++;
	}
}

static const struct fb_acceptor world_acceptor = {world_hello, world_directory};

static inline void world_config(struct fb_carrier_config *config, uint8_t node)
{
	*config = (struct fb_carrier_config){.self = {.node = {node}, .incarnation = 1}};
	fb_link_config_default(&config->link);
}

/* Both configurations may be changed between this and world_open(). */
static inline struct world *world_new(void)
{
	struct world *w = calloc(1, sizeof(*w));

	world_config(&w->box_config, 0xb0);
	world_config(&w->root_config, 0x40);
	return w;
}

/* `listen`: "udp:127.0.0.1:0", "loopback:box" … */
static inline void world_open(struct world *w, const char *listen, bool one_loop)
{
	assert_int_equal(fb_loop_new(&w->box_loop, 0), 0);
	w->root_loop = w->box_loop;
	if (!one_loop)
		assert_int_equal(fb_loop_new(&w->root_loop, 0), 0);
	w->box_config.listen = listen;
	assert_int_equal(fb_carrier_open(&w->box, w->box_loop, &w->box_config, &world_acceptor, w), 0);
	fb_carrier_local(w->box, w->address, sizeof(w->address));
	w->root_config.peer = w->address;
	assert_int_equal(fb_carrier_open(&w->root, w->root_loop, &w->root_config, NULL, NULL), 0);
}

static inline struct end *world_connect(struct world *w, unsigned function)
{
	struct end *e = &w->ends[function][0];
	char name[16];

	snprintf(name, sizeof(name), "f%u", function);
	*e = (struct end){.hold = true};
	assert_int_equal(fb_port_connect(&e->port, w->root, w->address, name, &world_user, e), 0);
	return e;
}

static inline void world_close(struct world *w)
{
	fb_carrier_close(w->root);
	fb_carrier_close(w->box);
	if (w->root_loop != w->box_loop)
		fb_loop_free(w->root_loop);
	fb_loop_free(w->box_loop);
	free(w);
}

/* A round of each loop; at most a millisecond of waiting in all. */
static inline void world_round(struct world *w)
{
	uint64_t until = fb_clock_ns() + WORLD_MS / 2;

	assert_int_equal(fb_loop_once(w->box_loop, w->root_loop == w->box_loop ? until : 0), 0);
	if (w->root_loop != w->box_loop)
		assert_int_equal(fb_loop_once(w->root_loop, until), 0);
}

#define world_wait(w, condition)                                                                                       \
	do {                                                                                                           \
		uint64_t world_deadline = fb_clock_ns() + WORLD_DEADLINE_NS;                                           \
                                                                                                                       \
		while (!(condition)) {                                                                                 \
			if (fb_clock_ns() > world_deadline)                                                            \
				fail_msg("not within the deadline: %s", #condition);                                   \
			world_round(w);                                                                                \
		}                                                                                                      \
	} while (0)

/* Sends up to `burst` TLPs of each class, not beyond `limit`; completions stay near what the other end has taken. */
static inline void world_pump(struct end *e, const struct end *other, uint64_t limit, unsigned burst)
{
	static uint8_t data[PCIE_TLP_MAX_DATA + 8];

	if (!e->port || e->downs)
		return;
	while (e->n_held)
		fb_port_release(e->port, e->held[--e->n_held]);
	for (unsigned cls = 0; cls < PCIE_FC_CLASSES; cls++) {
		for (unsigned i = 0; i < burst && e->tx[cls] < limit && !e->blocked[cls]; i++) {
			struct pcie_tlp tlp;
			int err;

			if (cls == PCIE_FC_CPL && e->tx[cls] > other->rx[cls] + 200)
				break;
			world_tlp(e->side, (enum pcie_fc)cls, e->tx[cls], &tlp, data);
			err = fb_port_send(e->port, &tlp);
			if (err == -EAGAIN) {
				assert_int_not_equal(cls, PCIE_FC_CPL);
				e->blocked[cls] = true;
			} else {
				assert_int_equal(err, 0);
				e->tx[cls]++;
			}
		}
	}
}

#endif
