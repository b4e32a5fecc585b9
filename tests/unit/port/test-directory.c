/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a box's directory: pages, losses, changes, cancelling, nobody there. */
#include <errno.h>

#include "world.h"

struct answer {
	struct world *w;
	unsigned calls, n;
	int status;
	uint8_t box_node;
	bool right;
	struct fb_directory_query *cancel;
	bool close_carrier;
};

static void on_done(void *arg, int status, const struct fb_link_identity *box, const struct fb_directory_entry *entries,
		    unsigned n)
{
	struct answer *a = arg;

	a->calls++;
	a->status = status;
	a->n = n;
	a->right = true;
	for (unsigned i = 0; i < n; i++) {
		struct fb_directory_entry want;

		world_entry(&want, i);
		a->right &= !strcmp(entries[i].id, want.id) && !strcmp(entries[i].model, want.model) &&
			    entries[i].vendor_id == want.vendor_id && entries[i].device_id == want.device_id &&
			    entries[i].class_code == want.class_code && entries[i].group == want.group &&
			    entries[i].in_use == want.in_use;
	}
	if (!status)
		a->box_node = box->node[0];
	fb_directory_cancel(a->cancel);
	if (a->close_carrier) {
		fb_carrier_close(a->w->root);
		a->w->root = NULL;
	}
}

static struct answer ask(struct world *w, const char *peer, uint64_t timeout_ns)
{
	struct fb_directory_query *query;
	struct answer a = {.w = w};

	assert_int_equal(fb_directory_query(&query, w->root, peer, 0, timeout_ns, on_done, &a), 0);
	world_wait(w, a.calls);
	return a;
}

static void test_pages(void **state)
{
	static const char *const listens[] = {"loopback:box", "udp:127.0.0.1:0"};
	static const unsigned sizes[] = {0, 1, 64, 65, 200, 1000};

	for (unsigned l = 0; l < 2; l++) {
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			struct world *w = world_new();
			struct answer a;

			w->entries = sizes[i];
			world_open(w, listens[l], i & 1);
			a = ask(w, w->address, 10000 * WORLD_MS);
			assert_int_equal(a.status, 0);
			assert_int_equal(a.n, sizes[i]);
			assert_int_equal(a.box_node, 0xb0);
			assert_true(a.right);
			world_close(w);
		}
	}
}

static void test_losses(void **state)
{
	struct world *w = world_new();
	struct answer a;

	w->entries = 200;
	w->box_config.fault = w->root_config.fault = "drop=20%,dup=20%,reorder=20%,corrupt=5%,seed=3";
	world_open(w, "loopback:box", false);
	a = ask(w, w->address, 40000 * WORLD_MS);
	assert_int_equal(a.status, 0);
	assert_int_equal(a.n, 200);
	assert_true(a.right);
	assert_true(w->directory_calls > 4);
	world_close(w);
}

static void test_grows_meanwhile(void **state)
{
	struct world *w = world_new();
	struct answer a;

	w->entries = 200;
	w->grow = true;
	world_open(w, "loopback:box", false);
	a = ask(w, w->address, 10000 * WORLD_MS);
	assert_int_equal(a.status, 0);
	assert_int_equal(a.n, 201);
	assert_true(a.right);
	world_close(w);
}

static void test_nobody(void **state)
{
	struct world *w = world_new();
	struct answer a;
	struct fb_directory_query *query;
	uint64_t start;

	world_open(w, "udp:127.0.0.1:0", false);
	start = fb_loop_now(w->root_loop); /* what the time-out counts from */
	a = ask(w, "udp:127.0.0.1:9", 300 * WORLD_MS);
	assert_int_equal(a.status, -ETIMEDOUT);
	assert_int_equal(a.n, 0);
	assert_true(fb_clock_ns() - start >= 290 * WORLD_MS);
	assert_int_equal(fb_directory_query(&query, w->root, "udp:nobody", 0, WORLD_MS, on_done, &a), -EINVAL);
	world_close(w);
}

static void test_cancel(void **state)
{
	struct world *w = world_new();
	struct answer a = {.w = w}, b = {.w = w}, c = {.w = w};
	struct fb_directory_query *qa, *qb, *qc;

	w->entries = 3;
	world_open(w, "loopback:box", false);
	fb_directory_cancel(NULL);
	assert_int_equal(fb_directory_query(&qa, w->root, w->address, 0, 1000 * WORLD_MS, on_done, &a), 0);
	assert_int_equal(fb_directory_query(&qb, w->root, w->address, 0, 1000 * WORLD_MS, on_done, &b), 0);
	fb_directory_cancel(qa);
	world_wait(w, b.calls);
	assert_int_equal(a.calls, 0);
	/* The first that is done cancels the other. */
	assert_int_equal(fb_directory_query(&qa, w->root, w->address, 0, 1000 * WORLD_MS, on_done, &a), 0);
	assert_int_equal(fb_directory_query(&qb, w->root, "loopback:nobody", 0, 100000 * WORLD_MS, on_done, &b), 0);
	b.calls = 0;
	a.cancel = qb;
	world_wait(w, a.calls);
	assert_int_equal(b.calls, 0);
	/* And one that closes the carrier, with another still open. */
	c.close_carrier = true;
	assert_int_equal(fb_directory_query(&qc, w->root, w->address, 0, 1000 * WORLD_MS, on_done, &c), 0);
	assert_int_equal(fb_directory_query(&qb, w->root, "loopback:nobody", 0, 100000 * WORLD_MS, on_done, &b), 0);
	world_wait(w, c.calls);
	assert_int_equal(c.status, 0);
	world_round(w);
	assert_int_equal(b.calls, 0);
	world_close(w);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pages),	cmocka_unit_test(test_losses), cmocka_unit_test(test_grows_meanwhile),
		cmocka_unit_test(test_nobody), cmocka_unit_test(test_cancel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
