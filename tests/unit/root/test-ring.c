/* SPDX-License-Identifier: Apache-2.0 */
/* Ring prefetch, the root's side: what follows a doorbell, and when nothing does. */
#include "function-testing.h"
#include "tlp/ring_wire.h"

enum { RING = 0x10000, ENTRIES = 16, DOORBELL = 0x1008, DATA = 0x20000 };

static uint8_t *mem;
static int mem_fd;

static const struct fb_ring_rule rule = {.slot = 3, .bar = 0, .reg = DOORBELL, .base = RING, .entry_size = 64,
					 .entries = ENTRIES, .match_at = 0, .match = 1, .pointer_at = 24, .count_at = 48,
					 .count_shift = 9, .data_max = 4096};

static void tell(const struct fb_ring_rule *r)
{
	uint8_t payload[FB_RING_RULE_SIZE];
	struct pcie_tlp tlp = {.type = PCIE_TLP_MSGD, .requester_id = k.f->bdf, .msg_code = PCIE_MSG_VENDOR_TYPE1,
			       .msg_route = PCIE_ROUTE_TO_ROOT, .vendor_id = FB_RING_VENDOR, .vendor_data = FB_RING_RULE,
			       .length = FB_RING_RULE_SIZE / 4, .data = payload};

	fb_ring_rule_put(r, payload);
	assert_true(fake_send(&k, &tlp));
}

static unsigned next; /* message of the log to look at next */

/* Writes the index; the log has only what came of it. Returns how many bytes came ahead. */
static unsigned ring(uint32_t index)
{
	uint64_t before = k.f->count.ahead_bytes;
	uint8_t data[4] = {0};

	/* The first write of all brings an announcement along (shadow.c). */
	assert_int_equal(client_write(&c, 0, DOORBELL + 0x100, data, 4, false), 0);
	fake_rounds(&k, 2);
	k.n_log = next = 0;
	fb_put_le32(data, index);
	assert_int_equal(client_write(&c, 0, DOORBELL, data, 4, false), 0);
	fake_rounds(&k, 2);
	assert_int_equal(fake_count(&k, PCIE_TLP_MWR), 1);
	assert_int_equal(k.log[0].tlp.type, PCIE_TLP_MWR); /* the doorbell itself comes first */
	return (unsigned)(k.f->count.ahead_bytes - before);
}

/* The next messages have these bytes of memory, cut at MPS. */
static void expect(uint64_t address, uint32_t len)
{
	while (len > 0) {
		const struct fake_tlp *t = fake_find(&k, PCIE_TLP_MSGD, next++);
		uint32_t n;

		assert_non_null(t);
		assert_int_equal(t->tlp.msg_code, PCIE_MSG_VENDOR_TYPE1);
		assert_int_equal(t->tlp.msg_route, PCIE_ROUTE_BY_ID);
		assert_int_equal(t->tlp.completer_id, k.f->bdf);
		assert_int_equal(t->tlp.vendor_data, FB_RING_AHEAD);
		assert_int_equal(fb_get_le64(t->data), address);
		n = fb_get_le32(t->data + 8);
		assert_in_range(n, 1, len);
		assert_int_equal(t->tlp.length, (FB_RING_AHEAD_HEADER + n + 3) / 4);
		assert_true(t->tlp.length * 4u <= k.f->rq.mps);
		assert_memory_equal(t->data + FB_RING_AHEAD_HEADER, mem + address, n);
		address += n;
		len -= n;
	}
}

static void entry(unsigned i, uint8_t opcode, uint64_t pointer, uint16_t count)
{
	uint8_t *e = mem + RING + i * 64;

	memset(e, 0x40 + (int)i, 64);
	e[0] = opcode;
	fb_put_le64(e + 24, pointer);
	fb_put_le16(e + 48, count);
}

static int setup_ring(void **state)
{
	setup_attached(state);
	mem_fd = memory(1 << 20);
	mem = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, mem_fd, 0);
	assert_int_equal(client_map(&c, 0, 1 << 20, 3, mem_fd, 0), 0);
	for (unsigned i = 0; i < 1 << 20; i++)
		mem[i] = (uint8_t)(i * 7 ^ i >> 9);
	enable(&c, 6);
	tell(&rule);
	return 0;
}

static int teardown_ring(void **state)
{
	munmap(mem, 1 << 20);
	close(mem_fd);
	return teardown(state);
}

static void test_entries(void **state)
{
	for (unsigned i = 0; i < ENTRIES; i++)
		entry(i, 2, 0, 0);
	assert_int_equal(ring(1), 64);
	expect(RING, 64);
	assert_int_equal(ring(4), 192);
	expect(RING + 64, 192);
	assert_int_equal(ring(4), 0); /* nothing new */
	/* Around the corner: what is in front of it. */
	assert_int_equal(ring(15), 11 * 64);
	expect(RING + 4 * 64, 11 * 64);
	assert_int_equal(ring(2), 64);
	expect(RING + 15 * 64, 64);
	assert_int_equal(ring(3), 64);
	expect(RING + 2 * 64, 64);
	/* No index, no index of 4 bytes, another register. */
	assert_int_equal(ring(ENTRIES), 0);
	assert_int_equal(ring(UINT32_MAX), 0);
	k.n_log = 0;
	assert_int_equal(client_write(&c, 0, DOORBELL, "\5\0", 2, false), 0);
	assert_int_equal(client_write(&c, 0, DOORBELL + 4, "\5\0\0\0", 4, false), 0);
	fake_rounds(&k, 2);
	assert_int_equal(fake_count(&k, PCIE_TLP_MWR), 2);
	assert_int_equal(fake_count(&k, PCIE_TLP_MSGD), 0);
	assert_int_equal(k.f->count.ahead_bytes, (1 + 3 + 11 + 1 + 1) * 64);
	assert_int_equal(k.f->count.dma_unmapped + k.f->count.dma_forbidden, 0);
}

static void test_data(void **state)
{
	entry(0, 1, DATA, 7);           /* 4 KiB */
	entry(1, 1, DATA + 0x1200, 0);  /* 512 B */
	entry(2, 2, DATA, 0);           /* another opcode */
	entry(3, 1, DATA + 0x1f00, 0);  /* crosses a page */
	entry(4, 1, DATA, 8);           /* too much */
	entry(5, 1, 0x40000000, 0);     /* not mapped: not our business, nor anybody's yet */
	entry(6, 1, UINT64_MAX - 511, 0);
	assert_int_equal(ring(1), 64 + 4096);
	expect(RING, 64);
	expect(DATA, 4096);
	assert_int_equal(ring(7), 6 * 64 + 512);
	expect(RING + 64, 6 * 64);
	expect(DATA + 0x1200, 512);
	assert_int_equal(k.f->count.dma_unmapped + k.f->count.dma_forbidden, 0);
}

static void test_nothing(void **state)
{
	struct fb_ring_rule r = rule;
	struct pcie_tlp tlp = {.type = PCIE_TLP_MSGD, .requester_id = 0x0900, .msg_code = PCIE_MSG_VENDOR_TYPE1,
			       .msg_route = PCIE_ROUTE_TO_ROOT, .vendor_id = FB_RING_VENDOR, .vendor_data = FB_RING_RULE,
			       .length = FB_RING_RULE_SIZE / 4};
	uint8_t payload[FB_RING_RULE_SIZE];

	enable(&c, 2); /* no bus mastering */
	assert_int_equal(ring(1), 0);
	enable(&c, 6);
	assert_int_equal(ring(2), 64);
	/* Writes that wait for room: the entries must not overtake the doorbell. */
	k.p_room = 0;
	k.n_log = 0;
	assert_int_equal(client_write(&c, 0, DOORBELL, "\3\0\0\0", 4, false), 0);
	fake_rounds(&k, 2);
	k.p_room = -1;
	k.port.user->writable(k.port.arg, PCIE_FC_P);
	fake_rounds(&k, 2);
	assert_int_equal(fake_count(&k, PCIE_TLP_MWR), 1);
	assert_int_equal(fake_count(&k, PCIE_TLP_MSGD), 0);
	/* Withdrawn; told under another function's ID; of nonsense. */
	r.entries = 0;
	tell(&r);
	assert_int_equal(ring(4), 0);
	fb_ring_rule_put(&rule, payload);
	tlp.data = payload;
	assert_true(fake_send(&k, &tlp));
	assert_int_equal(ring(5), 0);
	assert_int_equal(k.f->count.dma_bad_requester, 1);
	tlp.requester_id = k.f->bdf;
	tlp.length = FB_RING_RULE_LEAST / 4 - 1;
	assert_true(fake_send(&k, &tlp));
	assert_int_equal(ring(6), 0);
	/* A reset forgets it. */
	tell(&rule);
	assert_int_equal(ring(7), 7 * 64);
	client_close(&c);
	fake_until(&k, state_is_ready, NULL);
	client_attach(&c, &k);
	assert_int_equal(client_map(&c, 0, 1 << 20, 3, mem_fd, 0), 0);
	enable(&c, 6);
	assert_int_equal(ring(8), 0);
}

/* Rules of all kinds, as a broken box may send them: only memory that the function may read leaves, and no more than fits. */
static void test_any_rule(void **state)
{
	uint64_t seed = 1;

	for (unsigned i = 0; i < 3000; i++) {
		struct fb_ring_rule r, got;
		uint8_t raw[FB_RING_RULE_SIZE], again[FB_RING_RULE_SIZE];

		for (unsigned b = 0; b < sizeof(raw); b++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			raw[b] = (uint8_t)(seed >> 56);
		}
		if (i % 2) { /* nearly right */
			fb_ring_rule_put(&rule, raw);
			raw[seed >> 33 & 31] = (uint8_t)(seed >> 40);
		}
		raw[0] = 3;
		if (fb_ring_rule_get(&r, raw, sizeof(raw)) && r.entries) {
			assert_in_range(r.entry_size, 4, FB_RING_ENTRY_MAX);
			assert_in_range(r.entries, 2, FB_RING_ENTRIES_MAX);
			fb_ring_rule_put(&r, raw);
			assert_true(fb_ring_rule_get(&got, raw, sizeof(raw)));
			fb_ring_rule_put(&got, again);
			assert_memory_equal(again, raw, sizeof(raw));
			k.n_log = 0;
			tell(&r);
			fb_vm_ring_written(k.f, r.bar, r.reg, (const uint8_t *)"\1\0\0\0", 4);
			fb_vm_ring_written(k.f, r.bar, r.reg, (const uint8_t *)"\7\0\0\0", 4);
			for (unsigned n = 0; n < k.n_log; n++)
				assert_in_range(fb_get_le64(k.log[n].data) + fb_get_le32(k.log[n].data + 8), 1, 1 << 20);
		}
	}
}

#define W(name) cmocka_unit_test_setup_teardown(name, setup_ring, teardown_ring)

int main(void)
{
	const struct CMUnitTest tests[] = {W(test_entries), W(test_data), W(test_nothing), W(test_any_rule)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
