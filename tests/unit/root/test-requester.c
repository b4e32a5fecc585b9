/* SPDX-License-Identifier: Apache-2.0 */
/* The order in which requests leave, with a port that is a list and answers when told to. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "root/requester.h"

#define LATER UINT64_C(3600000000000) /* no deadline that these tests would reach */
enum { SENT_MAX = 32 };

static struct fb_loop *loop;
static struct fb_requester rq;
static struct fb_port port;
static struct pcie_tlp sent[SENT_MAX];
static unsigned n_sent, n_done;
static bool no_room[3]; /* by enum pcie_fc */
static int last_status;

static int port_send(struct fb_port *p, const struct pcie_tlp *tlp)
{
	if (no_room[pcie_tlp_fc(tlp->type)])
		return -EAGAIN;
	assert_true(n_sent < SENT_MAX);
	sent[n_sent] = *tlp;
	sent[n_sent++].data = NULL;
	return 0;
}

static const struct fb_port_ops port_ops = {.send = port_send};

static void done(struct fb_access *a, int status)
{
	n_done++;
	last_status = status;
}

static int setup(void **state)
{
	n_sent = n_done = 0;
	memset(no_room, 0, sizeof(no_room));
	port = (struct fb_port){.ops = &port_ops};
	assert_int_equal(fb_loop_new(&loop, 0), 0);
	fb_rq_init(&rq, loop);
	fb_rq_attach(&rq, &port, 0x0100);
	return 0;
}

static int teardown(void **state)
{
	fb_rq_free(&rq);
	fb_loop_free(loop);
	return 0;
}

/* A configuration write; `op` and `a` stay the caller's. */
static void start(struct fb_access *a, struct fb_op *op, bool barrier, bool urgent)
{
	*op = (struct fb_op){.address = 4, .value = 7, .be = 3, .write = true};
	*a = (struct fb_access){.kind = FB_ACCESS_OPS, .ops = op, .n_ops = 1, .barrier = barrier, .urgent = urgent,
				.done = done};
	fb_rq_start(&rq, a, fb_loop_now(loop) + LATER);
}

static void complete(unsigned which)
{
	struct pcie_tlp cpl = {0};

	assert_true(which < n_sent);
	pcie_completion_status(&sent[which], 0x0100, PCIE_CPL_SC, &cpl);
	fb_rq_completion(&rq, &cpl);
}

static void room(enum pcie_fc cls)
{
	no_room[cls] = false;
	fb_rq_writable(&rq, cls);
}

static void write_at(uint64_t address)
{
	assert_int_equal(fb_rq_write(&rq, address, "abcd", 4), 0);
}

/* A reset goes on although the guest has written something meanwhile, which waits for its end. */
static void test_write_during_reset(void **state)
{
	struct fb_access first, second;
	struct fb_op a, b;

	fb_rq_hold(&rq, true);
	start(&first, &a, true, true);
	assert_int_equal(n_sent, 1);
	write_at(0x1000);
	assert_int_equal(n_sent, 1);
	complete(0);
	start(&second, &b, true, true);
	assert_int_equal(n_sent, 2);
	assert_int_equal(sent[1].type, PCIE_TLP_CFGWR0);
	complete(1);
	assert_int_equal(n_done, 2);
	assert_int_equal(n_sent, 2);
	fb_rq_hold(&rq, false);
	assert_int_equal(n_sent, 3);
	assert_int_equal(sent[2].type, PCIE_TLP_MWR);
}

/* A configuration write that has to wait is not passed by what was written after it, only by what was before. */
static void test_write_behind_a_waiting_barrier(void **state)
{
	struct fb_access command, other;
	struct fb_op a, b;

	no_room[PCIE_FC_NP] = no_room[PCIE_FC_P] = true;
	start(&other, &b, false, false);
	write_at(0x1000);
	start(&command, &a, true, false);
	write_at(0x2000);
	room(PCIE_FC_P);
	assert_int_equal(n_sent, 1);
	assert_int_equal(sent[0].address, 0x1000);
	room(PCIE_FC_NP); /* both leave; the barrier is on its way, not through */
	assert_int_equal(n_sent, 3);
	write_at(0x3000);
	assert_int_equal(n_sent, 3);
	complete(2);
	assert_int_equal(n_done, 1);
	assert_int_equal(n_sent, 5);
	assert_int_equal(sent[3].address, 0x2000);
	assert_int_equal(sent[4].address, 0x3000);
	/* one that never left holds nobody up when it is over */
	no_room[PCIE_FC_NP] = true;
	start(&command, &a, true, false);
	write_at(0x4000);
	assert_int_equal(n_sent, 5);
	fb_rq_cancel(&rq, &command);
	room(PCIE_FC_P);
	assert_int_equal(n_sent, 6);
}

/* The same when a reset has kept both back. */
static void test_barrier_after_reset(void **state)
{
	struct fb_access reset, command;
	struct fb_op a, b;

	fb_rq_hold(&rq, true);
	start(&reset, &a, true, true);
	start(&command, &b, true, false);
	write_at(0x1000);
	complete(0);
	fb_rq_hold(&rq, false);
	assert_int_equal(n_sent, 2);
	assert_int_equal(sent[1].type, PCIE_TLP_CFGWR0);
	complete(1);
	assert_int_equal(n_sent, 3);
	assert_int_equal(sent[2].type, PCIE_TLP_MWR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_write_during_reset, setup, teardown),
		cmocka_unit_test_setup_teardown(test_write_behind_a_waiting_barrier, setup, teardown),
		cmocka_unit_test_setup_teardown(test_barrier_after_reset, setup, teardown),
	};

	return cmocka_run_group_tests_name("requester", tests, NULL, NULL);
}
