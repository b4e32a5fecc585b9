/* SPDX-License-Identifier: Apache-2.0 */
/* Offers, the root's side: which reads are answered from one, and which go to the function in spite of it. */
#include "function-testing.h"
#include "tlp/offer_wire.h"

enum { MEM = 1 << 16, STATUS = 0x44, SLOTS0 = 0x1800, SLOTS1 = 0x3800, DATA = 0x100, SEQ = 0x12345 };

/* What sata_sil24 reads: which port, and of both which slots are active. */
static const struct fb_offer all = {.seq = SEQ, .n = 3,
				    .value = {{0, 4, FB_OFFER_INERT, STATUS, 3}, {0, 4, 0, SLOTS0, 0x10}, {0, 4, 0, SLOTS1, 0x20}}};
static const struct fb_offer one = {.seq = SEQ, .n = 2,
				    .value = {{0, 4, FB_OFFER_INERT, STATUS, 1}, {0, 4, FB_OFFER_LOWERS_INTX, SLOTS0, 0x10}}};

static void send_payload(uint8_t *payload, unsigned len)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_MSGD, .requester_id = k.f->bdf, .msg_code = PCIE_MSG_VENDOR_TYPE1,
			       .msg_route = PCIE_ROUTE_TO_ROOT, .vendor_id = FB_RING_VENDOR, .vendor_data = FB_OFFER,
			       .length = (uint16_t)(len / 4), .data = payload};

	assert_true(fake_send(&k, &tlp));
	k.n_log = 0;
}

/* By a function that has received all that was sent, and then `more`. */
static void offer_of(const struct fb_offer *offer, uint32_t more)
{
	uint8_t payload[FB_OFFER_SIZE_MAX];
	struct fb_offer o = *offer;

	o.seen = k.port.requests + more;
	send_payload(payload, fb_offer_put(&o, payload));
}

static void offer(const struct fb_offer *o) { offer_of(o, 0); }

static uint64_t read_register(unsigned region, uint64_t offset, unsigned size)
{
	uint8_t data[8] = {0};

	assert_int_equal(client_read(&c, region, offset, data, size), 0);
	return fb_get_le64(data);
}

/* The function was asked: its registers are all zeros. */
static void expect_asked_size(unsigned region, uint64_t offset, unsigned size)
{
	unsigned asked = fake_count(&k, PCIE_TLP_MRD);
	uint64_t offered = k.f->count.reads_offered;

	assert_int_equal(read_register(region, offset, size), 0);
	assert_int_equal(fake_count(&k, PCIE_TLP_MRD), asked + 1);
	assert_int_equal(k.f->count.reads_offered, offered);
}

static void expect_asked(uint64_t offset) { expect_asked_size(0, offset, 4); }

static void expect_answered(uint64_t offset, uint32_t value)
{
	unsigned asked = fake_count(&k, PCIE_TLP_MRD);

	assert_int_equal(read_register(0, offset, 4), value);
	assert_int_equal(fake_count(&k, PCIE_TLP_MRD), asked);
}

/* The nth message says so. */
static void expect_told(unsigned nth, uint32_t offset, uint8_t flags)
{
	const struct fake_tlp *t = fake_find(&k, PCIE_TLP_MSGD, nth);
	struct fb_offer_used used;

	assert_non_null(t);
	assert_int_equal(t->tlp.vendor_id, FB_RING_VENDOR);
	assert_int_equal(t->tlp.vendor_data, FB_OFFER_USED);
	assert_int_equal(t->tlp.msg_route, PCIE_ROUTE_BY_ID);
	assert_int_equal(t->tlp.completer_id, k.f->bdf);
	assert_true(t->patient);
	assert_true(fb_offer_used_get(&used, t->data, t->tlp.length * 4u));
	assert_int_equal(used.seq, SEQ);
	assert_int_equal(used.bar, 0);
	assert_int_equal(used.offset, offset);
	assert_int_equal(used.flags, flags);
}

/* The VM's read is on its way; the answer is not waited for. */
static void ask(uint64_t offset)
{
	uint8_t body[16] = {0};

	fb_put_le64(body, offset);
	fb_put_le32(body + 12, 4);
	client_send(&c, VFIO_USER_REGION_READ, 0, body, sizeof(body), NULL, 0);
}

static void write_register(void)
{
	assert_int_equal(client_write(&c, 0, DATA, "four", 4, true), 0);
	fake_rounds(&k, 2);
}

static int setup_offer(void **state)
{
	setup_attached(state);
	enable(&c, 7);
	write_register(); /* brings the announcement along */
	return 0;
}

static void test_announced(void **state)
{
	const struct fake_tlp *t;

	enable(&c, 6);
	k.n_log = 0;
	write_register();
	t = fake_find(&k, PCIE_TLP_MSGD, 0);
	assert_non_null(t);
	assert_int_equal(t->tlp.vendor_data, FB_RING_ABLE);
	assert_true(fb_get_le32(t->data) & FB_RING_CAN_OFFERS);
}

static void test_once(void **state)
{
	offer(&all);
	expect_answered(STATUS, 3);
	expect_answered(STATUS, 3); /* reading it does nothing: again */
	assert_int_equal(k.n_log, 0);
	expect_answered(SLOTS0, 0x10);
	expect_told(0, SLOTS0, 0);
	expect_answered(SLOTS1, 0x20); /* what has been used changes nothing of those behind it */
	expect_told(1, SLOTS1, 0);
	assert_int_equal(k.n_log, 2);
	assert_int_equal(k.f->count.reads_offered, 4);
	assert_int_equal(k.f->count.offers, 1);
	expect_asked(SLOTS1);
	/* One that is read ends those in front of it. */
	offer(&all);
	expect_answered(SLOTS1, 0x20);
	expect_asked(SLOTS0);
	offer(&all);
	expect_answered(SLOTS0, 0x10);
	expect_asked(STATUS);
	/* A new one replaces all that is left. */
	offer(&all);
	expect_answered(SLOTS0, 0x10);
	offer(&one);
	expect_answered(SLOTS0, 0x10);
	expect_asked(SLOTS1);
	offer(&all);
	offer(&(struct fb_offer){.seq = SEQ + 1});
	expect_asked(STATUS);
	assert_int_equal(k.f->count.bad_offers, 0);
}

/* The read has to be the one that was meant. */
static void test_places(void **state)
{
	static const struct fb_offer o = {.seq = SEQ, .n = 4, .value = {{0, 1, 0, 3, 0xff}, {0, 2, 0, 2, 0x1234},
		{0, 8, FB_OFFER_INERT, 8, 0x8877665544332211}, {4, 4, FB_OFFER_INERT, 16, 4}}};

	offer(&o);
	expect_asked_size(0, 3, 2); /* and that ends it */
	expect_asked_size(0, 3, 1);
	offer(&o);
	expect_asked_size(0, 0, 4);
	offer(&o);
	expect_asked_size(4, 8, 4);
	offer(&o);
	expect_asked_size(0, 16, 4);
	offer(&o);
	assert_int_equal(read_register(4, 16, 4), 4);
	assert_true(read_register(0, 8, 8) == 0x8877665544332211);
	assert_int_equal(read_register(0, 3, 1), 0xff);
	assert_int_equal(read_register(0, 2, 2), 0x1234);
	assert_int_equal(fake_count(&k, PCIE_TLP_MRD), 0);
}

/* Whatever was sent meanwhile may have changed it. */
static void test_sent_since(void **state)
{
	uint32_t command = client_cfg32(&c, 4);

	offer(&all);
	write_register();
	expect_asked(STATUS);
	offer(&all);
	expect_asked(DATA + 8);
	expect_asked(STATUS);
	offer(&all);
	client_cfg_write(&c, 4, command & 0xffff, 2);
	expect_asked(STATUS);
	offer(&all);
	read_register(2, 0, 4); /* I/O */
	expect_asked(STATUS);
	/* A function that has not received all, or claims to have received more. */
	offer_of(&all, (uint32_t)-1);
	expect_asked(STATUS);
	offer_of(&all, 1);
	expect_asked(SLOTS0);
}

/* What waits to be sent comes before the read. */
static void test_queued(void **state)
{
	static const uint8_t nonsense[4];

	offer(&all);
	k.p_room = 0;
	assert_int_equal(client_write(&c, 0, DATA, "four", 4, true), 0);
	fake_rounds(&k, 2);
	assert_int_equal(k.n_log, 0);
	ask(SLOTS0);
	fake_rounds(&k, 2);
	assert_int_equal(k.n_log + k.f->count.reads_offered, 0);
	k.p_room = -1;
	k.port.user->writable(k.port.arg, PCIE_FC_P);
	assert_true(client_recv(&c, 1000));
	assert_int_equal(fake_count(&k, PCIE_TLP_MWR), 1);
	assert_int_equal(fake_count(&k, PCIE_TLP_MRD), 1);

	offer(&all);
	k.np_room = 0;
	client_send(&c, VFIO_USER_REGION_READ, 0, nonsense, sizeof(nonsense), NULL, 0); /* answered with an error */
	assert_true(client_recv(&c, 1000));
	ask(DATA);
	ask(SLOTS0);
	fake_rounds(&k, 2);
	assert_int_equal(k.n_log + k.f->count.reads_offered, 0);
	k.np_room = -1;
	k.port.user->writable(k.port.arg, PCIE_FC_NP);
	assert_true(client_recv(&c, 1000));
	assert_true(client_recv(&c, 1000));
	assert_int_equal(fake_count(&k, PCIE_TLP_MRD), 2);

	/* No room for the message: asked as ever. What need not be told is answered. */
	offer(&all);
	k.p_room = 0;
	expect_answered(STATUS, 3);
	expect_asked(SLOTS0);
	k.p_room = -1;
}

/* Data in front of the offer that is not in the VM's memory yet. */
static void test_data_first(void **state)
{
	uint8_t reply[32] = {0};

	assert_int_equal(client_map(&c, 0, MEM, 3, -1, 0), 0);
	k.f->dma.layout = FB_DMA_LAYOUT_SPEC;
	assert_true(client_recv(&c, 1000)); /* the probe; nobody waits for its answer */
	assert_false(fake_mwr(&k, 0x100, "data", 4));
	fake_rounds(&k, 2);
	assert_true(client_recv(&c, 1000));
	assert_int_equal(c.r_command, VFIO_USER_DMA_WRITE);
	offer(&all);
	ask(STATUS);
	fake_rounds(&k, 2);
	assert_int_equal(fake_count(&k, PCIE_TLP_MRD), 1);
	assert_int_equal(k.f->count.reads_offered, 0);
	fb_put_le16(reply, c.r_id);
	fb_put_le16(reply + 2, c.r_command);
	fb_put_le32(reply + 4, sizeof(reply));
	fb_put_le32(reply + 8, VFIO_USER_TYPE_REPLY);
	memcpy(reply + 16, c.body, 16);
	assert_int_equal(write(c.fd, reply, sizeof(reply)), sizeof(reply));
	assert_true(client_recv(&c, 1000)); /* of the read */
	assert_false(fb_dma_writes_in_flight(k.f));
	offer(&all);
	expect_answered(STATUS, 3);
}

static void test_intx(void **state)
{
	struct pcie_tlp m = {.type = PCIE_TLP_MSG, .requester_id = k.f->bdf, .msg_route = PCIE_ROUTE_LOCAL,
			     .msg_code = PCIE_MSG_ASSERT_INTA};
	int fd = eventfd(0, EFD_NONBLOCK);

	assert_int_equal(client_set_irqs(&c, 0x24, VFIO_IRQ_INTX, 0, 1, &fd, 1), 0);
	offer(&one);
	assert_true(fake_send(&k, &m));
	fake_rounds(&k, 2);
	assert_int_equal(eventfd_value(fd), 1);
	expect_answered(STATUS, 1);
	assert_true(k.f->irq.intx_level);
	expect_answered(SLOTS0, 0x10);
	expect_told(0, SLOTS0, FB_OFFER_LOWERED);
	assert_false(k.f->irq.intx_level);
	/* It was low already, so a Deassert is on its way, or an Assert: nothing is said of it. */
	offer(&one);
	expect_answered(SLOTS0, 0x10);
	expect_told(0, SLOTS0, 0);
	/* And the next one interrupts. */
	assert_int_equal(client_set_irqs(&c, 0x11, VFIO_IRQ_INTX, 0, 1, NULL, 0), 0);
	assert_true(fake_send(&k, &m));
	fake_rounds(&k, 2);
	assert_int_equal(eventfd_value(fd), 1);
	/* One that does not lower it. */
	offer(&all);
	expect_answered(SLOTS0, 0x10);
	expect_told(0, SLOTS0, 0);
	assert_true(k.f->irq.intx_level);
	close(fd);
}

/* A reset and a new session end all offers. */
static void test_forgotten(void **state)
{
	uint32_t requests;

	offer(&all);
	assert_int_equal(client_call(&c, VFIO_USER_DEVICE_RESET, NULL, 0, NULL, 0), 0);
	assert_int_equal(k.f->offer.last.n, 0);
	enable(&c, 6);
	expect_asked(STATUS);
	offer(&all);
	client_close(&c);
	fake_until(&k, state_is_ready, NULL);
	assert_int_equal(k.f->offer.last.n, 0);
	offer(&all);
	requests = k.port.requests;
	fake_lose(&k);
	fake_connect(&k);
	assert_int_equal(k.f->offer.last.n, 0);
	assert_true(k.port.requests < requests);
	client_attach(&c, &k);
	enable(&c, 6);
	expect_asked(STATUS);
	offer(&all);
	expect_answered(STATUS, 3);
	/* The box is gone: all ones, whatever it had offered. */
	fake_lose(&k);
	assert_int_equal(read_register(0, STATUS, 4), UINT32_MAX);
}

/* Whatever a box may say: no more than that nothing is offered. */
static void test_bad(void **state)
{
	uint8_t payload[FB_OFFER_SIZE_MAX + 16] = {0};
	struct fb_offer o;
	unsigned bad = 0;

	for (unsigned len = 0; len <= sizeof(payload); len += 4) {
		if (len == FB_OFFER_HEADER)
			continue;
		offer(&all);
		if (len)
			send_payload(payload, len);
		else
			fake_send(&k, &(struct pcie_tlp){.type = PCIE_TLP_MSG, .requester_id = k.f->bdf,
							 .msg_code = PCIE_MSG_VENDOR_TYPE1, .msg_route = PCIE_ROUTE_TO_ROOT,
							 .vendor_id = FB_RING_VENDOR, .vendor_data = FB_OFFER});
		assert_int_equal(k.f->count.bad_offers, ++bad); /* values of size 0 when the length is right */
		assert_int_equal(k.f->offer.last.n, 0);
	}
	for (unsigned i = 0; i < 3; i++) {
		o = all;
		o.value[2].bar = i == 0 ? 6 : 0;
		o.value[2].size = i == 1 ? 3 : 4;
		o.value[2].offset = i == 2 ? SLOTS1 + 2 : SLOTS1;
		offer(&o);
		assert_int_equal(k.f->count.bad_offers, ++bad);
		expect_asked(STATUS);
	}
	o = all;
	o.value[0].offset = 0xfffffffc; /* outside of the BAR: nobody can read it */
	o.value[0].flags = 0xff;
	offer(&o);
	expect_answered(SLOTS0, 0x10);
	/* Another's message. */
	assert_true(fake_send(&k, &(struct pcie_tlp){.type = PCIE_TLP_MSGD, .requester_id = k.f->bdf,
						     .msg_code = PCIE_MSG_VENDOR_TYPE1, .msg_route = PCIE_ROUTE_TO_ROOT,
						     .vendor_id = 1, .vendor_data = FB_OFFER, .length = 2, .data = payload}));
	assert_int_equal(k.f->offer.last.n, 3);
}

static void test_wire(void **state)
{
	static const struct fb_offer most = {.seq = UINT32_MAX, .seen = 0x89abcdef, .n = FB_OFFER_VALUES, .value = {
		{0, 1, 0, 3, 0xff}, {1, 2, 1, 2, 0xffff}, {2, 4, 2, 0xfffffffc, 0}, {3, 8, 3, 0xfffffff8, UINT64_MAX},
		{4, 4, 4, 4, 4}, {5, 4, 0xff, 0, 5}, {0, 4, 0, 0x1800, 6}}};
	struct fb_offer_used use = {.seq = 0x01020304, .offset = 0x1800, .bar = 2, .flags = 1}, used;
	uint8_t payload[FB_OFFER_SIZE_MAX];
	struct fb_offer got;
	unsigned len;

	len = fb_offer_put(&most, payload);
	assert_int_equal(len, 120);
	assert_true(len <= 128); /* the least Max_Payload_Size */
	assert_true(fb_offer_get(&got, payload, len));
	assert_int_equal(got.seq, most.seq);
	assert_int_equal(got.seen, most.seen);
	assert_int_equal(got.n, most.n);
	for (unsigned i = 0; i < most.n; i++) {
		assert_int_equal(got.value[i].bar, most.value[i].bar);
		assert_int_equal(got.value[i].size, most.value[i].size);
		assert_int_equal(got.value[i].flags, most.value[i].flags);
		assert_int_equal(got.value[i].offset, most.value[i].offset);
		assert_true(got.value[i].value == most.value[i].value);
	}
	/* As docs/protocol.md has it. */
	assert_memory_equal(payload, "\xff\xff\xff\xff\xef\xcd\xab\x89\x00\x01\x00\x00\x03\x00\x00\x00\xff", 17);
	fb_offer_used_put(&use, payload);
	assert_memory_equal(payload, "\x04\x03\x02\x01\x00\x18\x00\x00\x02\x01\x00\x00", 12);
	assert_true(fb_offer_used_get(&used, payload, 12));
	assert_int_equal(used.seq, use.seq);
	assert_int_equal(used.offset, use.offset);
	assert_int_equal(used.bar, use.bar);
	assert_int_equal(used.flags, use.flags);
	assert_false(fb_offer_used_get(&used, payload, 11));
}

#define O(name) cmocka_unit_test_setup_teardown(name, setup_offer, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {T(test_announced), O(test_once), O(test_places), O(test_sent_since), O(test_queued),
					   O(test_data_first), O(test_intx), O(test_forgotten), O(test_bad),
					   cmocka_unit_test(test_wire)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
