/* SPDX-License-Identifier: Apache-2.0 */
/* Shadow doorbells, the root's side: what becomes of a doorbell, and that none is lost beside a host that runs on. */
#include <pthread.h>
#include <sched.h>

#include "function-testing.h"
#include "tlp/ring_wire.h"

enum { MEM = 1 << 20, RING = 0x10000, ENTRIES = 16, DOORBELL = 0x1008, SHADOW = 0x2008, EVENT = 0x3008 };

static uint8_t *mem;
static int mem_fd;

static const struct fb_ring_rule rule = {.slot = 3, .bar = 0, .reg = DOORBELL, .base = RING, .entry_size = 64,
					 .entries = ENTRIES, .shadow = SHADOW, .event = EVENT};

static void tell(const struct fb_ring_rule *r)
{
	uint8_t payload[FB_RING_RULE_SIZE];
	struct pcie_tlp tlp = {.type = PCIE_TLP_MSGD, .requester_id = k.f->bdf, .msg_code = PCIE_MSG_VENDOR_TYPE1,
			       .msg_route = PCIE_ROUTE_TO_ROOT, .vendor_id = FB_RING_VENDOR, .vendor_data = FB_RING_RULE,
			       .length = FB_RING_RULE_SIZE / 4, .data = payload};

	fb_ring_rule_put(r, payload);
	assert_true(fake_send(&k, &tlp));
}

static uint64_t ahead_before;

static void write_register(uint32_t value)
{
	uint8_t data[4];

	k.n_log = 0;
	ahead_before = k.f->count.ahead_bytes;
	fb_put_le32(data, value);
	assert_int_equal(client_write(&c, 0, DOORBELL, data, 4, false), 0);
	fake_rounds(&k, 2);
}

/* The host has moved to `shadow`; it writes the register. */
static void ring(uint32_t value, uint32_t shadow)
{
	fb_put_le32(mem + SHADOW, shadow);
	write_register(value);
}

/* It has become a message, with so many entries behind it. */
static void expect_told(uint32_t index, unsigned entries)
{
	const struct fake_tlp *t = fake_find(&k, PCIE_TLP_MSGD, 0);

	assert_int_equal(fake_count(&k, PCIE_TLP_MWR), 0);
	assert_non_null(t);
	assert_int_equal(t->tlp.vendor_data, FB_RING_INDEX);
	assert_int_equal(t->tlp.msg_route, PCIE_ROUTE_BY_ID);
	assert_int_equal(t->tlp.completer_id, k.f->bdf);
	assert_int_equal(t->tlp.length, 2);
	assert_int_equal(fb_get_le32(t->data), rule.slot);
	assert_int_equal(fb_get_le32(t->data + 4), index);
	assert_int_equal(fb_get_le32(mem + EVENT), index);
	assert_int_equal(k.f->count.ahead_bytes - ahead_before, entries * 64);
}

/* The function looks by itself. */
static void expect_passed(uint32_t value)
{
	assert_int_equal(fake_count(&k, PCIE_TLP_MWR), 1);
	assert_int_equal(fb_get_le32(k.log[0].data), value);
	for (unsigned i = 0; i < k.n_log; i++)
		assert_false(k.log[i].tlp.type == PCIE_TLP_MSGD && k.log[i].tlp.vendor_data == FB_RING_INDEX);
}

static int setup_shadow(void **state)
{
	setup_attached(state);
	mem_fd = memory(MEM);
	mem = mmap(NULL, MEM, PROT_READ | PROT_WRITE, MAP_SHARED, mem_fd, 0);
	assert_int_equal(client_map(&c, 0, MEM, 3, mem_fd, 0), 0);
	enable(&c, 6);
	write_register(0); /* the first write brings the announcement along */
	tell(&rule);
	return 0;
}

static int teardown_shadow(void **state)
{
	munmap(mem, MEM);
	close(mem_fd);
	return teardown(state);
}

/* Said once a reset, in front of the first write while bus mastering is on. */
static void expect_announced(uint32_t what)
{
	const struct fake_tlp *t;

	write_register(0);
	t = fake_find(&k, PCIE_TLP_MSGD, 0);
	assert_ptr_equal(t, &k.log[0]);
	assert_int_equal(t->tlp.vendor_data, FB_RING_ABLE);
	assert_int_equal(t->tlp.length, 1);
	assert_int_equal(fb_get_le32(t->data), what);
	write_register(0);
	assert_int_equal(fake_count(&k, PCIE_TLP_MSGD), 0);
}

static void test_announced(void **state)
{
	int fd = memory(MEM);

	enable(&c, 2);
	write_register(0);
	assert_int_equal(fake_count(&k, PCIE_TLP_MSGD), 0);
	enable(&c, 6);
	expect_announced(FB_RING_CAN_OFFERS); /* no memory that could be looked at */
	client_close(&c);
	fake_until(&k, state_is_ready, NULL);
	client_attach(&c, &k);
	assert_int_equal(client_map(&c, 0, MEM, 3, fd, 0), 0);
	assert_int_equal(client_map(&c, MEM, MEM / 2, 3, -1, 0), 0);
	enable(&c, 6);
	expect_announced(FB_RING_CAN_OFFERS | FB_RING_CAN_SHADOW);
	close(fd);
}

static void test_told(void **state)
{
	ring(1, 1);
	expect_told(1, 1);
	ring(2, 5); /* it has moved on meanwhile */
	expect_told(5, 4);
	assert_int_equal(k.f->count.shadow_found, 1);
	ring(4, 5); /* and that the write is behind is no news */
	assert_int_equal(k.n_log, 0);
	ring(15, 15);
	expect_told(15, 10);
	ring(1, 1); /* around the corner: what is in front of it */
	expect_told(1, 1);
	ring(0, 0); /* once more all the way round: a register says no more than that */
	expect_told(0, 15);
	assert_int_equal(k.f->count.shadow_rung, 6);
	assert_int_equal(k.f->count.shadow_served, 6);
	/* A new rule: whatever was told of the old ring does not count. */
	tell(&rule);
	ring(0, 0);
	expect_told(0, 0);
}

static void test_passed(void **state)
{
	struct fb_ring_rule r = rule;

	ring(3, ENTRIES); /* no index */
	expect_passed(3);
	ring(3, UINT32_MAX);
	expect_passed(3);
	ring(3, 3);
	expect_told(3, 0); /* what the write said went ahead with it */
	fb_put_le32(mem + EVENT, 77);
	enable(&c, 2); /* bus mastering off: the function could not write there either */
	ring(4, 4);
	expect_passed(4);
	enable(&c, 6);
	ring(4, 4); /* what the function has found by itself is not known here: it is told */
	expect_told(4, 0);

	/* Not mapped, only readable, across a border, without a file. */
	fb_put_le32(mem + EVENT, 77);
	r.event = MEM;
	tell(&r);
	ring(5, 5);
	expect_passed(5);
	r = rule;
	r.shadow = UINT64_MAX - 3;
	tell(&r);
	ring(5, 5);
	expect_passed(5);
	assert_int_equal(client_map(&c, MEM, 4096, 1, mem_fd, 0), 0);
	assert_int_equal(client_map(&c, MEM + 4096, 4096, 3, -1, 0), 0);
	r = rule;
	r.event = MEM + 8;
	tell(&r);
	ring(5, 5);
	expect_passed(5);
	r.event = MEM + 4096;
	tell(&r);
	ring(5, 5);
	expect_passed(5);
	assert_int_equal(fb_get_le32(mem + EVENT), 77);
	r = rule;
	r.shadow = MEM + 4;
	tell(&r);
	fb_put_le32(mem + 4, 6);
	ring(5, 5);
	expect_told(6, 6); /* looking needs no more than to be allowed to read */
	/* Memory that was away is there again. */
	tell(&rule);
	assert_int_equal(k.f->count.dma_unmapped + k.f->count.dma_forbidden, 0);
}

/* The file is shorter than what the VM mapped; later it is not. */
static void test_truncated(void **state)
{
	ring(1, 1);
	expect_told(1, 1);
	fb_dma_guard_init(); /* cmocka has taken the signal for itself */
	assert_int_equal(ftruncate(mem_fd, 4096), 0);
	write_register(2);
	expect_passed(2);
	assert_int_equal(ftruncate(mem_fd, MEM), 0);
	ring(2, 2);
	expect_told(2, 0);
}

/* Writes wait for room: nothing may overtake them. */
static void test_no_room(void **state)
{
	k.p_room = 0;
	ring(1, 1);
	ring(2, 2);
	assert_int_equal(fb_rq_posted(&k.f->rq) > 0, 1);
	k.p_room = -1;
	k.n_log = 0;
	k.port.user->writable(k.port.arg, PCIE_FC_P);
	fake_rounds(&k, 2);
	assert_int_equal(fake_count(&k, PCIE_TLP_MWR), 2);
	assert_int_equal(fake_count(&k, PCIE_TLP_MSGD), 0);
	ring(3, 3);
	expect_told(3, 1);
}

static void test_short_rule(void **state)
{
	uint8_t payload[FB_RING_RULE_SIZE];
	struct fb_ring_rule r = rule, got;

	fb_ring_rule_put(&r, payload);
	assert_true(fb_ring_rule_get(&got, payload, sizeof(payload)));
	assert_int_equal(got.shadow, SHADOW);
	assert_int_equal(got.event, EVENT);
	assert_true(fb_ring_rule_get(&got, payload, FB_RING_RULE_LEAST)); /* as functions sent it before */
	assert_int_equal(got.shadow | got.event, 0);
	r.shadow = 0;
	fb_ring_rule_put(&r, payload);
	assert_false(fb_ring_rule_get(&got, payload, sizeof(payload)));
	r = rule;
	r.event += 2;
	fb_ring_rule_put(&r, payload);
	assert_false(fb_ring_rule_get(&got, payload, sizeof(payload)));
}

/*
 * A host beside it, which waits for the device every few commands: for ever, if
 * a ring of the doorbell was missed.
 */
enum { STEPS = 20000, SPINS = 4096 };
#define PATIENCE_NS UINT64_C(30000000000)
static uint32_t doorbell, told, rings;
static bool over;

static uint32_t *word(uint64_t address) { return (uint32_t *)(void *)(mem + address); }

static void *host(void *arg)
{
	uint64_t seed = 7;
	uint32_t index = 0;

	for (unsigned i = 0; i < STEPS; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		for (unsigned burst = 1 + (seed >> 33) % 6; burst > 0; burst--) {
			uint32_t old = index, event;

			index = (index + 1) % ENTRIES;
			__atomic_store_n(word(SHADOW), index, __ATOMIC_RELEASE);
			__atomic_thread_fence(__ATOMIC_SEQ_CST);
			event = __atomic_load_n(word(EVENT), __ATOMIC_ACQUIRE);
			if ((uint16_t)(index - event - 1) < (uint16_t)(index - old)) {
				__atomic_store_n(&doorbell, 1, __ATOMIC_RELEASE);
				rings++;
			}
			for (unsigned pause = (unsigned)(seed >> (20 + burst)) % 1024; pause > 0; pause--)
				__atomic_signal_fence(__ATOMIC_SEQ_CST);
		}
		while (__atomic_load_n(&told, __ATOMIC_ACQUIRE) != index && !__atomic_load_n(&over, __ATOMIC_ACQUIRE))
			sched_yield();
	}
	__atomic_store_n(&over, true, __ATOMIC_RELEASE);
	return NULL;
}

static void test_races(void **state)
{
	uint64_t rung = fb_clock_ns();
	unsigned spins = 0;
	bool late = false;
	pthread_t thread;

	doorbell = told = rings = 0;
	over = false;
	assert_int_equal(pthread_create(&thread, NULL, host, NULL), 0);
	while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) {
		if (!__atomic_exchange_n(&doorbell, 0, __ATOMIC_ACQ_REL)) {
			if (++spins % SPINS) /* the host may wait for this processor */
				continue;
			late = fb_clock_ns() - rung > PATIENCE_NS;
			if (late)
				__atomic_store_n(&over, true, __ATOMIC_RELEASE);
			sched_yield();
			continue;
		}
		rung = fb_clock_ns();
		k.n_log = 0;
		/* What does not come to rest is looked at again, as a function would. */
		while (!fb_vm_shadow_written(k.f, &k.f->rings.ring[rule.slot], UINT32_MAX))
			;
		fake_rounds(&k, 1);
		__atomic_store_n(&told, k.f->rings.ring[rule.slot].index, __ATOMIC_RELEASE);
	}
	pthread_join(thread, NULL);
	assert_false(late);
	print_message("%u doorbells, %llu indexes found without\n", rings, (unsigned long long)k.f->count.shadow_found);
}

#define W(name) cmocka_unit_test_setup_teardown(name, setup_shadow, teardown_shadow)

int main(void)
{
	const struct CMUnitTest tests[] = {T(test_announced), W(test_told),       W(test_passed), W(test_truncated),
					   W(test_no_room),   W(test_short_rule), W(test_races)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
