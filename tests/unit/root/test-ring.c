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

/* ---- Registers that take the address of a block ------------------------------------- */

enum { POINTERS = 0x1c00, REGISTERS = 31, BLOCK = 0x30000, BLOCK_SIZE = 256, LIST = 32, LIST_MAX = 32768, LAST = 0x80 };

static const struct fb_ring_rule pointers = {.slot = 5, .bar = 0, .reg = POINTERS, .pointers = true, .reg_stride = 8,
					     .entries = REGISTERS, .entry_size = BLOCK_SIZE, .match_at = 10, .match = 0x61,
					     .pointer_at = LIST, .count_at = LIST + 8, .list_stride = 16,
					     .end_at = LIST + 15, .data_max = LIST_MAX};

static void write_to(uint64_t offset, uint64_t value, uint32_t len)
{
	uint8_t data[8];

	fb_put_le64(data, value);
	assert_int_equal(client_write(&c, 0, offset, data, len, false), 0);
}

/* Writes the address, the lower half first. Returns how many bytes came ahead; they are behind the writes. */
static unsigned activate(unsigned reg, uint64_t address)
{
	uint64_t before = k.f->count.ahead_bytes;

	write_to(DOORBELL + 0x100, 0, 4); /* as in ring() */
	fake_rounds(&k, 2);
	k.n_log = next = 0;
	write_to(POINTERS + 8 * reg, (uint32_t)address, 4);
	write_to(POINTERS + 8 * reg + 4, address >> 32, 4);
	fake_rounds(&k, 2);
	assert_int_equal(fake_count(&k, PCIE_TLP_MWR), 2);
	assert_int_equal(k.log[0].tlp.type, PCIE_TLP_MWR);
	assert_int_equal(k.log[1].tlp.type, PCIE_TLP_MWR);
	assert_true(k.log[0].patient == (reg < REGISTERS) && !k.log[1].patient);
	return (unsigned)(k.f->count.ahead_bytes - before);
}

static void block(uint64_t at, uint8_t command)
{
	memset(mem + at, 0, BLOCK_SIZE);
	mem[at + 10] = command;
}

static void element(uint64_t at, unsigned i, uint64_t address, uint32_t len, uint8_t end)
{
	uint8_t *e = mem + at + LIST + 16 * i;

	fb_put_le64(e, address);
	fb_put_le32(e + 8, len);
	e[15] = end;
}

static void test_pointers(void **state)
{
	tell(&pointers);
	block(BLOCK, 0x60);
	element(BLOCK, 0, DATA, 512, LAST);
	assert_int_equal(activate(0, BLOCK), BLOCK_SIZE); /* not the command that has data */
	expect(BLOCK, BLOCK_SIZE);
	block(BLOCK, 0x61);
	element(BLOCK, 0, DATA + 0x800, 0x1000, LAST); /* more than a page: a list may */
	assert_int_equal(activate(REGISTERS - 1, BLOCK), BLOCK_SIZE + 0x1000);
	expect(BLOCK, BLOCK_SIZE);
	expect(DATA + 0x800, 0x1000);
	/* All 64 bits at once. */
	k.n_log = next = 0;
	write_to(POINTERS + 8, BLOCK, 8);
	fake_rounds(&k, 2);
	expect(BLOCK, BLOCK_SIZE);
	expect(DATA + 0x800, 0x1000);
	/* One beyond the last register, an upper half of another one, no half, bytes: nothing. */
	assert_int_equal(activate(REGISTERS, BLOCK), 0);
	k.n_log = 0;
	write_to(POINTERS, BLOCK, 4);
	write_to(POINTERS + 12, 0, 4);
	write_to(POINTERS + 2, BLOCK, 2);
	write_to(POINTERS + 4, 0, 1);
	fake_rounds(&k, 2);
	assert_int_equal(fake_count(&k, PCIE_TLP_MWR), 4);
	assert_int_equal(fake_count(&k, PCIE_TLP_MSGD), 0);
	/* Upper halves are used, and once: no memory there, and none at the end of the address space. */
	assert_int_equal(activate(0, BLOCK + (UINT64_C(1) << 32)), 0);
	assert_int_equal(activate(0, UINT64_MAX - 7), 0);
	assert_int_equal(activate(0, (1 << 20) - BLOCK_SIZE + 8), 0);
	assert_int_equal(activate(0, (1 << 20) - BLOCK_SIZE), BLOCK_SIZE);
	k.n_log = 0;
	write_to(POINTERS + 4, 0, 4);
	fake_rounds(&k, 2);
	assert_int_equal(fake_count(&k, PCIE_TLP_MSGD), 0);
	/* The ring is where it was. */
	entry(0, 2, 0, 0);
	assert_int_equal(ring(1), 64);
	enable(&c, 2);
	assert_int_equal(activate(0, BLOCK), 0);
	assert_int_equal(k.f->count.dma_unmapped + k.f->count.dma_forbidden, 0);
}

static void test_lists(void **state)
{
	enum { ELEMENTS = (BLOCK_SIZE - LIST) / 16 };
	struct fb_ring_rule one = pointers;

	tell(&pointers);
	block(BLOCK, 0x61);
	for (unsigned i = 0; i < ELEMENTS; i++)
		element(BLOCK, i, DATA + 0x1000 * i, 100 + i, i == ELEMENTS - 1 ? LAST : 0);
	assert_int_equal(activate(0, BLOCK), BLOCK_SIZE + ELEMENTS * 100 + ELEMENTS * (ELEMENTS - 1) / 2);
	expect(BLOCK, BLOCK_SIZE);
	for (unsigned i = 0; i < ELEMENTS; i++)
		expect(DATA + 0x1000 * i, 100 + i);
	element(BLOCK, ELEMENTS - 1, DATA, 100, 0); /* it goes on elsewhere */
	assert_int_equal(activate(0, BLOCK), BLOCK_SIZE);
	/* As much as may be, an empty element in between; a byte more; numbers that overflow. */
	element(BLOCK, 0, DATA, LIST_MAX - 1, 0);
	element(BLOCK, 1, 0xdead0000, 0, 0);
	element(BLOCK, 2, DATA + LIST_MAX, 1, LAST);
	assert_int_equal(activate(0, BLOCK), BLOCK_SIZE + LIST_MAX);
	element(BLOCK, 2, DATA + LIST_MAX, 2, LAST);
	assert_int_equal(activate(0, BLOCK), BLOCK_SIZE);
	for (unsigned i = 0; i < 3; i++)
		element(BLOCK, i, DATA, UINT32_MAX, i == 2 ? LAST : 0);
	assert_int_equal(activate(0, BLOCK), BLOCK_SIZE);
	/* What is not memory is left out. */
	element(BLOCK, 0, 0x40000000, 512, 0);
	element(BLOCK, 1, DATA, 512, LAST);
	assert_int_equal(activate(0, BLOCK), BLOCK_SIZE + 512);
	/* One element, without an end. */
	one.list_stride = 0;
	tell(&one);
	block(BLOCK, 0x61);
	element(BLOCK, 0, DATA, 512, 0);
	assert_int_equal(activate(0, BLOCK), BLOCK_SIZE + 512);
}

/* Roots and boxes of other ages: a rule of rings is as it was; one of pointers is none to who knows only rings. */
static void test_layout(void **state)
{
	static const uint8_t before[FB_RING_RULE_SIZE] = {
		3, 0, 0, 16, 8, 16, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 64, 0, 0, 0, 16, 0, 0, 0, 0, 1, 24, 48, 9};
	struct fb_ring_rule bad[6], got;
	uint8_t p[FB_RING_RULE_SIZE];

	fb_ring_rule_put(&rule, p);
	assert_memory_equal(p, before, sizeof(p));
	fb_ring_rule_put(&pointers, p);
	assert_true(fb_get_le32(p + 20) > FB_RING_ENTRIES_MAX);
	assert_true(fb_ring_rule_get(&got, p, sizeof(p)));
	for (unsigned i = 0; i < 6; i++)
		bad[i] = pointers;
	bad[0].entries = FB_RING_REGISTERS_MAX + 1;
	bad[1].entries = 0;
	bad[2].entry_size = FB_RING_ENTRY_MAX + 4;
	bad[3].reg_stride = 7;
	bad[4].data_max = LIST_MAX + 1;
	bad[5].count_at = BLOCK_SIZE - 3;
	for (unsigned i = 0; i < 6; i++) {
		fb_ring_rule_put(&bad[i], p);
		assert_false(fb_ring_rule_get(&got, p, sizeof(p)));
	}
}

/* Rules of all kinds, as a broken box may send them: only memory that the function may read leaves, and no more than fits. */
static void test_any_rule(void **state)
{
	uint64_t seed = 1;

	for (unsigned i = 0; i < 3000; i++) {
		struct fb_ring_rule r, got;
		uint8_t raw[FB_RING_RULE_SIZE], again[FB_RING_RULE_SIZE];
		struct fb_vm_ring *ring;

		for (unsigned b = 0; b < sizeof(raw); b++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			raw[b] = (uint8_t)(seed >> 56);
		}
		if (i % 2) { /* nearly right */
			fb_ring_rule_put(i % 4 == 1 ? &rule : &pointers, raw);
			raw[seed >> 33 & 31] = (uint8_t)(seed >> 40);
		}
		raw[0] = 3;
		if (fb_ring_rule_get(&r, raw, sizeof(raw)) && r.entries) {
			assert_in_range(r.entry_size, 4, FB_RING_ENTRY_MAX);
			assert_in_range(r.entries, 1, r.pointers ? FB_RING_REGISTERS_MAX : FB_RING_ENTRIES_MAX);
			fb_ring_rule_put(&r, raw);
			assert_true(fb_ring_rule_get(&got, raw, sizeof(raw)));
			fb_ring_rule_put(&got, again);
			assert_memory_equal(again, raw, sizeof(raw));
			k.n_log = 0;
			tell(&r);
			ring = fb_vm_ring_at(k.f, r.bar, r.reg);
			assert_non_null(ring);
			fb_vm_ring_written(k.f, ring, r.reg, (const uint8_t *)"\1\0\0\0", 4);
			fb_vm_ring_written(k.f, ring, r.reg, (const uint8_t *)"\7\0\0\0", 4);
			memcpy(mem + BLOCK, &r, r.entry_size < sizeof(r) ? r.entry_size : sizeof(r));
			fb_vm_ring_written(k.f, ring, r.reg, (const uint8_t *)"\0\0\3\0\0\0\0", 8);
			for (unsigned n = 0; n < k.n_log; n++)
				assert_in_range(fb_get_le64(k.log[n].data) + fb_get_le32(k.log[n].data + 8), 1, 1 << 20);
		}
	}
}

#define W(name) cmocka_unit_test_setup_teardown(name, setup_ring, teardown_ring)

int main(void)
{
	const struct CMUnitTest tests[] = {W(test_entries),  W(test_data),  W(test_nothing),
					   W(test_pointers), W(test_lists), W(test_layout), W(test_any_rule)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
