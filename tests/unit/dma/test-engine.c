/* SPDX-License-Identifier: Apache-2.0 */
/* The engine of the library for remote memory against a scripted target: a port that is no network. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dma/impl.h"
#include "util/reader.h"

enum { MEMORY = 1 << 17, LOG = 4096, DEPTH = 8 };
static const uint64_t BASE = 0x12340000, TIMEOUT = 60000000000;

static struct target {
	struct fb_port port; /* first */
	struct fb_rdma *r;
	uint8_t memory[MEMORY];
	struct pcie_tlp log[LOG]; /* non-posted requests that wait for an answer, without data; posted ones are done */
	unsigned n, writes;
	int room[PCIE_FC_CLASSES]; /* TLPs until -EAGAIN; -1: no end */
	uint64_t refuse_from; /* writes there and above are refused */
	bool closed, owed;
	uint64_t seed;
} target;

static uint32_t random_below(uint32_t n)
{
	target.seed = target.seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((target.seed >> 33) % n);
}

static void deliver(const struct pcie_tlp *tlp)
{
	assert_true(fb_rdma_port_user.tlp(target.r, tlp));
}

static int port_send(struct fb_port *port, const struct pcie_tlp *tlp)
{
	uint8_t bytes[PCIE_TLP_MAX_SIZE];
	enum pcie_tlp_error error;
	enum pcie_fc cls = pcie_tlp_fc(tlp->type);
	struct pcie_tlp seen;
	uint64_t address;
	uint32_t len;
	size_t n = pcie_tlp_encode(tlp, bytes, sizeof(bytes), &error);

	(void)port;
	assert_true(n > 0); /* it obeys all the rules of the codec */
	assert_int_equal(pcie_tlp_decode(&seen, bytes, n), PCIE_TLP_OK);
	if (target.room[cls] == 0)
		return -EAGAIN;
	target.room[cls] -= target.room[cls] > 0;
	if (tlp->type != PCIE_TLP_MWR) {
		assert_true(target.n < LOG);
		for (unsigned i = 0; i < target.n; i++)
			assert_int_not_equal(target.log[i].tag, tlp->tag); /* a tag in use is not used again */
		target.log[target.n++] = *tlp;
		return 0;
	}
	target.writes++;
	pcie_tlp_get_range(&seen, &address, &len);
	if (address >= target.refuse_from) {
		target.owed = true;
		return 0;
	}
	assert_true(address >= BASE && address + len <= BASE + MEMORY);
	memcpy(target.memory + (address - BASE), seen.data + (address & 3), len);
	return 0;
}

static void port_release(struct fb_port *port, struct fb_port_credit credit)
{
	(void)port;
	(void)credit;
}

static void port_close(struct fb_port *port, int reason, const char *text)
{
	(void)port;
	(void)reason;
	(void)text;
	target.closed = true;
}

static const struct fb_port_ops ops = {port_send, port_release, port_close};

/* Completes one request with a status, or with data in pieces. */
static void answer(unsigned i, enum pcie_cpl_status status)
{
	struct pcie_tlp request = target.log[i], cpl = {0};
	uint8_t buf[PCIE_TLP_MAX_DATA + 8] = {0};
	uint64_t address;
	uint32_t len, done = 0;

	memmove(&target.log[i], &target.log[i + 1], (--target.n - i) * sizeof(target.log[0]));
	if (target.owed) {
		struct pcie_tlp msg = {.type = PCIE_TLP_MSG, .msg_code = PCIE_MSG_ERR_NONFATAL};

		target.owed = false;
		deliver(&msg);
	}
	if (status != PCIE_CPL_SC) {
		pcie_completion_status(&request, 0, status, &cpl);
		deliver(&cpl);
		return;
	}
	pcie_tlp_get_range(&request, &address, &len);
	memcpy(buf + (address & 3), target.memory + (address - BASE), len);
	do {
		uint32_t n = len ? pcie_split_completion(address + done, len - done, 128u << random_below(6), 64) : 0;

		pcie_completion_for(&request, 0, done, n, &cpl);
		cpl.data = buf + (((address & 3) + done) & ~3u);
		deliver(&cpl);
		done += n;
	} while (done < len);
}

static void rounds(unsigned n)
{
	while (n--)
		assert_int_equal(fb_loop_once(target.r->loop, 0), 0);
}

static int setup(void **state)
{
	struct fb_rdma *r = calloc(1, sizeof(*r));

	memset(&target, 0, sizeof(target));
	target.port.ops = &ops;
	target.r = r;
	target.room[0] = target.room[1] = target.room[2] = -1;
	target.refuse_from = UINT64_MAX;
	target.seed = 7;
	for (unsigned i = 0; i < MEMORY; i++)
		target.memory[i] = (uint8_t)(i * 7 + (i >> 8));
	r->depth = DEPTH;
	r->max_payload = 256;
	r->max_read = 512;
	r->id = 0xf8;
	r->timeout_ns = TIMEOUT; /* nothing here depends on how busy the machine is */
	r->port = &target.port;
	r->up = true;
	assert_int_equal(fb_loop_new(&r->loop, 0), 0);
	assert_int_equal(fb_rdma_engine_init(r), 0);
	return 0;
}

static int teardown(void **state)
{
	target.r->closing = true;
	fb_rdma_engine_abort(target.r, -ECANCELED);
	rounds(2);
	fb_rdma_engine_fini(target.r);
	fb_loop_free(target.r->loop);
	free(target.r);
	return 0;
}

struct request {
	struct fb_rdma_op op;
	struct fb_rdma_seg segs[3];
	uint8_t buf[20000];
	int status;
	unsigned ends;
};

static void request_done(struct fb_rdma_op *op, int status)
{
	struct request *q = op->arg;

	q->status = status;
	q->ends++;
}

static void submit(struct request *q, enum fb_rdma_kind kind, uint64_t offset, size_t len)
{
	q->op = (struct fb_rdma_op){.kind = kind, .seg = {BASE + offset, q->buf, len}, .done = request_done, .arg = q};
	q->ends = 0;
	assert_int_equal(fb_rdma_submit(target.r, &q->op), 0);
}

/* Any address, any length, any order of completions: what is read is what is there, what is written gets there. */
static void test_random_transfers(void **state)
{
	struct request *q = calloc(4, sizeof(*q));
	uint8_t *shadow = malloc(MEMORY);

	memcpy(shadow, target.memory, MEMORY);
	for (unsigned turn = 0; turn < 400; turn++) {
		uint32_t part = MEMORY / 4;

		for (unsigned i = 0; i < 4; i++) { /* each in a quarter of its own: order between them does not matter */
			uint64_t at = i * part + random_below(part / 2), total = 0;
			unsigned n = 1 + random_below(3);
			uint8_t *b = q[i].buf;

			memset(q[i].buf, 0xaa, sizeof(q[i].buf));
			for (unsigned k = 0; k < n; k++) {
				uint32_t len = 1 + random_below(random_below(3) ? 64 : 5000);

				q[i].segs[k] = (struct fb_rdma_seg){BASE + at, b, len};
				at += len + random_below(100);
				b += len;
				total += len;
			}
			q[i].op = (struct fb_rdma_op){.kind = random_below(2) ? FB_RDMA_READ : FB_RDMA_WRITE,
						      .segs = q[i].segs, .n_segs = n, .done = request_done, .arg = &q[i],
						      .posted = random_below(4) == 0};
			q[i].ends = 0;
			if (q[i].op.kind == FB_RDMA_WRITE) {
				for (unsigned k = 0; k < total; k++)
					q[i].buf[k] = (uint8_t)random_below(256);
				for (unsigned k = 0; k < n; k++)
					memcpy(shadow + (q[i].segs[k].addr - BASE), q[i].segs[k].buf, q[i].segs[k].len);
			}
			assert_int_equal(fb_rdma_submit(target.r, &q[i].op), 0);
		}
		for (unsigned k = 0; k < 2000 && !(q[0].ends && q[1].ends && q[2].ends && q[3].ends); k++) {
			rounds(1);
			if (target.n)
				answer(random_below(target.n), PCIE_CPL_SC);
		}
		for (unsigned i = 0; i < 4; i++) {
			assert_int_equal(q[i].ends, 1);
			assert_int_equal(q[i].status, 0);
			for (unsigned k = 0; q[i].op.kind == FB_RDMA_READ && k < q[i].op.n_segs; k++)
				assert_memory_equal(q[i].segs[k].buf, shadow + (q[i].segs[k].addr - BASE), q[i].segs[k].len);
		}
		assert_memory_equal(target.memory, shadow, MEMORY);
	}
	rounds(2);
	while (target.n) /* confirmations of posted ones */
		answer(0, PCIE_CPL_SC);
	assert_int_equal(target.r->n_free, DEPTH);
	assert_int_equal(target.r->stats.unexpected, 0);
	free(shadow);
	free(q);
}

/* No more TLPs wait for completions than there are tags, and requests wait for room of their class. */
static void test_bounds(void **state)
{
	struct request *q = calloc(2, sizeof(*q));

	submit(&q[0], FB_RDMA_READ, 0, 20000); /* 40 pieces */
	rounds(3);
	assert_int_equal(target.n, DEPTH);
	while (!q[0].ends) {
		rounds(1);
		assert_true(target.n <= DEPTH && target.n > 0);
		answer(0, PCIE_CPL_SC);
		rounds(1);
	}
	assert_int_equal(q[0].status, 0);
	target.room[PCIE_FC_P] = 3;
	submit(&q[1], FB_RDMA_WRITE, 0, 5 * 256);
	rounds(3);
	assert_int_equal(target.writes, 3);
	assert_int_equal(q[1].ends, 0);
	target.room[PCIE_FC_P] = -1;
	fb_rdma_port_user.writable(target.r, PCIE_FC_P);
	rounds(2);
	assert_int_equal(target.writes, 5);
	assert_int_equal(target.n, 1); /* the confirmation, behind them */
	assert_int_equal(target.log[0].type, PCIE_TLP_MRD);
	assert_int_equal(target.log[0].first_be, 0);
	assert_int_equal(q[1].ends, 0);
	answer(0, PCIE_CPL_SC);
	rounds(1);
	assert_int_equal(q[1].ends, 1);
	free(q);
}

/* A refused piece ends the read once; its other tags stay reserved until their completions have come. */
static void test_refused_read(void **state)
{
	struct request *q = calloc(1, sizeof(*q));

	submit(q, FB_RDMA_READ, 0, 4 * 512);
	rounds(1);
	assert_int_equal(target.n, 4);
	answer(2, PCIE_CPL_UR);
	rounds(1);
	assert_int_equal(q->ends, 1);
	assert_int_equal(q->status, -EFAULT);
	memset(q->buf, 0x55, sizeof(q->buf));
	assert_int_equal(target.r->n_free, DEPTH - 3);
	while (target.n)
		answer(0, PCIE_CPL_SC);
	for (unsigned i = 0; i < sizeof(q->buf); i++)
		assert_int_equal(q->buf[i], 0x55); /* the buffer is its owner's again */
	assert_int_equal(target.r->n_free, DEPTH);
	assert_int_equal(q->ends, 1);
	submit(q, FB_RDMA_READ, 0, 16);
	rounds(1);
	answer(0, PCIE_CPL_CA);
	rounds(1);
	assert_int_equal(q->status, -EIO);
	free(q);
}

/* A write that is refused fails, and so do those that wait for word with it; later ones do not. */
static void test_refused_write(void **state)
{
	struct request *q = calloc(3, sizeof(*q));

	target.refuse_from = BASE + 4096;
	submit(&q[0], FB_RDMA_WRITE, 0, 100);
	rounds(1);
	submit(&q[1], FB_RDMA_WRITE, 4096, 100);
	rounds(1);
	assert_int_equal(target.n, 2);
	answer(0, PCIE_CPL_SC); /* with the message before it */
	answer(0, PCIE_CPL_SC);
	rounds(1);
	assert_int_equal(q[0].status, -EFAULT);
	assert_int_equal(q[1].status, -EFAULT);
	submit(&q[2], FB_RDMA_WRITE, 0, 100);
	rounds(1);
	answer(0, PCIE_CPL_SC);
	rounds(1);
	assert_int_equal(q[2].status, 0);
	submit(&q[2], FB_RDMA_WRITE, 0, 100);
	rounds(1);
	answer(0, PCIE_CPL_UR);
	rounds(1);
	assert_int_equal(q[2].status, -EFAULT);
	free(q);
}

/* As if so much time had passed for what waits; the real time that passes is none of the test's business. */
static void age(uint64_t ns)
{
	for (unsigned i = 0; i < DEPTH; i++)
		target.r->tags[i].since -= ns;
	assert_int_equal(fb_timer_set(target.r->loop, &target.r->timer, 1), 0);
	rounds(2);
}

/* What gets no completion ends with -ETIMEDOUT; a late one, a double one, one of a wrong tag or size changes nothing. */
static void test_missing_and_strange_completions(void **state)
{
	struct request *q = calloc(2, sizeof(*q));
	struct pcie_tlp late, cpl;

	submit(&q[0], FB_RDMA_READ, 0, 64);
	submit(&q[1], FB_RDMA_WRITE, 64, 64);
	rounds(2);
	assert_int_equal(target.n, 2);
	late = target.log[0];
	age(TIMEOUT);
	assert_int_equal(q[0].ends, 1);
	assert_int_equal(q[0].status, -ETIMEDOUT);
	assert_int_equal(q[1].status, -ETIMEDOUT);
	assert_int_equal(target.r->stats.timeouts, 2);
	memset(q[0].buf, 0x55, 64);
	target.n = 0;
	submit(&q[1], FB_RDMA_READ, 128, 64);
	rounds(1);
	assert_int_not_equal(target.log[0].tag, late.tag);
	target.log[target.n++] = late;
	answer(1, PCIE_CPL_SC); /* the late one */
	assert_int_equal(q[0].buf[0], 0x55);
	assert_int_equal(q[0].ends, 1);
	pcie_completion_for(&target.log[0], 0, 0, 32, &cpl); /* too short for its byte count */
	cpl.byte_count = 32;
	cpl.data = target.memory;
	deliver(&cpl);
	cpl.tag = 1023;
	deliver(&cpl);
	cpl.tag = (uint16_t)((target.log[0].tag + 1) % DEPTH);
	deliver(&cpl);
	assert_int_equal(q[1].ends, 0);
	assert_true(target.r->stats.unexpected >= 3);
	answer(0, PCIE_CPL_SC);
	rounds(1);
	assert_int_equal(q[1].ends, 1);
	assert_memory_equal(q[1].buf, target.memory + 128, 64);
	age(2 * TIMEOUT); /* dead tags come back by themselves */
	assert_int_equal(target.r->n_free, DEPTH);
	free(q);
}

/* An unreliable transport: reads and confirmations are asked for again under other tags, so often and no oftener. */
static void test_repeats(void **state)
{
	struct request *q = calloc(2, sizeof(*q));

	target.r->retries = 2;
	submit(&q[0], FB_RDMA_READ, 100, 64);
	submit(&q[1], FB_RDMA_WRITE, 4096, 64);
	rounds(2);
	assert_int_equal(target.n, 2);
	age(TIMEOUT);
	assert_int_equal(target.n, 4); /* the script checks that no tag is used twice */
	answer(2, PCIE_CPL_SC);
	answer(2, PCIE_CPL_SC);
	rounds(2);
	assert_int_equal(q[0].ends + q[1].ends, 2);
	assert_int_equal(q[0].status, 0);
	assert_int_equal(q[1].status, 0);
	assert_memory_equal(q[0].buf, target.memory + 100, 64);
	assert_int_equal(target.r->stats.timeouts, 0);
	assert_int_equal(target.r->stats.retries, 2);
	while (target.n) /* the first ones come after all, for nobody */
		answer(0, PCIE_CPL_SC);
	assert_int_equal(q[0].ends + q[1].ends, 2);
	submit(&q[0], FB_RDMA_READ, 100, 64);
	rounds(1);
	for (unsigned i = 1; i <= 3; i++) {
		assert_int_equal(target.n, i);
		age(TIMEOUT);
	}
	assert_int_equal(q[0].status, -ETIMEDOUT);
	assert_int_equal(target.n, 3);
	free(q);
}

static void test_atomics(void **state)
{
	static const struct {
		enum fb_rdma_atomic op;
		enum pcie_tlp_type type;
		unsigned size, payload;
	} cases[] = {{FB_RDMA_FETCH_ADD, PCIE_TLP_FETCHADD, 4, 1}, {FB_RDMA_FETCH_ADD, PCIE_TLP_FETCHADD, 8, 2},
		     {FB_RDMA_SWAP, PCIE_TLP_SWAP, 8, 2},	     {FB_RDMA_CAS, PCIE_TLP_CAS, 4, 2},
		     {FB_RDMA_CAS, PCIE_TLP_CAS, 16, 8}};
	struct request *q = calloc(1, sizeof(*q));

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pcie_tlp cpl;

		q->op = (struct fb_rdma_op){.kind = FB_RDMA_ATOMIC, .atomic = cases[i].op, .done = request_done, .arg = q,
					    .seg = {BASE + 16, q->buf, cases[i].size}, .operand = {1, 2, 3}};
		q->ends = 0;
		assert_int_equal(fb_rdma_submit(target.r, &q->op), 0);
		rounds(1);
		assert_int_equal(target.n, 1);
		assert_int_equal(target.log[0].type, cases[i].type);
		assert_int_equal(target.log[0].length, cases[i].payload);
		pcie_completion_for(&target.log[0], 0, 0, cases[i].size, &cpl);
		cpl.data = target.memory + 16;
		target.n = 0;
		deliver(&cpl);
		rounds(1);
		assert_int_equal(q->ends, 1);
		assert_int_equal(q->status, 0);
		assert_memory_equal(q->buf, target.memory + 16, cases[i].size);
	}
	q->op.seg.addr = BASE + 4; /* not aligned to 16 */
	assert_int_equal(fb_rdma_submit(target.r, &q->op), -EINVAL);
	free(q);
}

static void test_bad_requests(void **state)
{
	uint8_t buf[8];
	struct fb_rdma_op bad[] = {
		{.kind = FB_RDMA_READ, .seg = {BASE, buf, 0}},
		{.kind = FB_RDMA_READ, .seg = {BASE, NULL, 8}},
		{.kind = FB_RDMA_WRITE, .seg = {UINT64_MAX - 3, buf, 8}},
		{.kind = FB_RDMA_ATOMIC, .seg = {BASE, buf, 16}},
		{.kind = FB_RDMA_ATOMIC, .seg = {BASE, buf, 2}},
		{.kind = (enum fb_rdma_kind)9, .seg = {BASE, buf, 8}},
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(fb_rdma_submit(target.r, &bad[i]), -EINVAL);
}

/* The session ends under load: all is told, once, and nothing new is taken. */
static void test_down(void **state)
{
	struct request *q = calloc(3, sizeof(*q));

	submit(&q[0], FB_RDMA_READ, 0, 20000);
	submit(&q[1], FB_RDMA_WRITE, 0, 64);
	submit(&q[2], FB_RDMA_READ, 0, 64);
	rounds(1);
	answer(0, PCIE_CPL_SC);
	fb_rdma_port_user.down(target.r, FB_LINK_R_HOLD, "quiet");
	rounds(2);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(q[i].ends, 1);
		assert_int_equal(q[i].status, -ENOTCONN);
	}
	assert_true(target.closed);
	assert_non_null(strstr(fb_rdma_error(target.r), "quiet"));
	assert_int_equal(fb_rdma_submit(target.r, &q[0].op), -ENOTCONN);
	free(q);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_random_transfers), T(test_bounds), T(test_refused_read), T(test_refused_write),
		T(test_missing_and_strange_completions), T(test_repeats), T(test_atomics), T(test_bad_requests), T(test_down)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
