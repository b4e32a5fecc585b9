/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SoftPCIe adapter between the scripted root, which is its guest, and plain
 * sockets, which are the software: the guest's accesses TLP by TLP, resets, and
 * what is refused. DMA of software is in test-softpcie-dma.c. What becomes of it by way of a real root and its guests
 * is in tests/netns/test_softpcie.py and tests/vm/test_softpcie.py.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "softpcie_rig.h"
#include "tlp/split.h"
#include "util/log.h"
#include "util/reader.h"

/* ---- The guest's accesses ------------------------------------------------ */

static void shape_and_registers(void **state)
{
	start("");
	assert_int_equal(scripted_root_cfg_read(root, 0, 4), 0x80223776);
	assert_int_equal(scripted_root_cfg_read(root, 8, 4), 0x05800000);
	assert_int_equal(root->bar_size[0], 16384);
	assert_int_equal(root->bar_size[2], 4096);
	assert_int_equal(root->bar_size[WINDOW], 16 << 20);
	for (unsigned index = 0; index <= SOFTPCIE_REG_REQUESTER_ID + 1; index++) {
		struct softpcie_register_access a = {.op = SOFTPCIE_REGISTER_READ, .index = (uint8_t)index};
		uint8_t buf[64];

		softpcie_register_put(&a, buf);
		softpcie_peer_bytes(&first, 0x1234, SOFTPCIE_PORT_REGISTER, buf, SOFTPCIE_REGISTER_SIZE);
		assert_int_equal(softpcie_register_get(&a, buf, get(&first, 0x1234, buf, sizeof(buf))), 0);
		assert_int_equal(a.data, scripted_root_read(root, 0, 4 * index, 4));
		scripted_root_write(root, 0, 4 * index, 0x55555555, 4); /* read-only */
		assert_int_equal(a.data, scripted_root_read(root, 0, 4 * index, 4));
		if (index == SOFTPCIE_REG_MAGIC)
			assert_int_equal(a.data, SOFTPCIE_MAGIC);
		if (index == SOFTPCIE_REG_REQUESTER_ID)
			assert_int_equal(a.data, SCRIPTED_BDF);
	}
	assert_int_equal(counter("register_reads"), SOFTPCIE_REG_REQUESTER_ID + 2);
	stop();
}

/* Each read leaves on the port of its tag, with exactly the bytes that the guest asked for, and is answered with them. */
static void reads_wait_for_their_answers(void **state)
{
	static const struct {
		uint32_t offset, len;
	} reads[] = {{0, 4}, {0x104, 4}, {0x208, 8}, {3, 1}, {6, 2}, {0xfffff8, 8}, {0xffffff, 1}, {0x1fe, 2}};
	static const uint8_t bytes[8] = {0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88};
	uint16_t sequence = 0;

	start("");
	for (unsigned i = 0; i < sizeof(reads) / sizeof(reads[0]); i++) {
		uint16_t tag = guest_reads(reads[i].offset, reads[i].len);
		struct softpcie_header header;
		struct scripted_tlp got, request = expect(&first, (uint16_t)(HOST + i), PCIE_TLP_MRD, &header);
		uint64_t addr;
		uint32_t len;

		pcie_tlp_get_range(&request.tlp, &addr, &len);
		assert_int_equal(addr, root->bar[WINDOW] + reads[i].offset);
		assert_int_equal(len, reads[i].len);
		assert_int_equal(request.tlp.tag, i);
		assert_int_equal(request.tlp.requester_id, 0);
		assert_int_equal(header.sequence, ++sequence);
		scripted_root_run(root);
		scripted_root_expect_nothing(root); /* it waits */
		answer(&first, &request.tlp, bytes);
		got = completed(tag, PCIE_CPL_SC);
		assert_int_equal(got.tlp.byte_count, len);
		assert_int_equal(got.tlp.lower_address, addr & 0x7f);
		assert_memory_equal(got.data + (addr & 3), bytes, len);
	}
	assert_int_equal(counter("host_reads"), sizeof(reads) / sizeof(reads[0]));
	stop();
}

/* A read of a guest that is wider than an access: its pieces are answered the last one first, and one of them fails. */
static void wide_reads(void **state)
{
	struct scripted_tlp requests[8], got;
	uint8_t bytes[64];
	uint16_t tag;

	start("");
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 3 + 1);
	for (unsigned round = 0; round < 2; round++) {
		tag = guest_reads(0x1000, 64);
		for (unsigned i = 0; i < 8; i++)
			requests[i] = expect(&first, (uint16_t)(HOST + 8 * round + i), PCIE_TLP_MRD, NULL);
		for (unsigned i = 8; i-- > 0;) {
			scripted_root_run(root);
			scripted_root_expect_nothing(root);
			if (round == 1 && i == 5)
				answer_status(&requests[i].tlp, PCIE_CPL_UR);
			else
				answer(&first, &requests[i].tlp, bytes + 8 * i);
		}
		got = completed(tag, round ? PCIE_CPL_CA : PCIE_CPL_SC);
		if (!round)
			assert_memory_equal(got.data, bytes, 64);
	}
	assert_int_equal(counter("host_errors"), 1);
	stop();
}

static void sixteen_reads_at_a_time(void **state)
{
	static const uint8_t bytes[4] = {1, 2, 3, 4};
	struct scripted_tlp requests[16], next;
	uint16_t tags[20];

	start("");
	for (unsigned i = 0; i < 20; i++)
		tags[i] = guest_reads(4 * i, 4);
	for (unsigned i = 0; i < 16; i++)
		requests[i] = expect(&first, (uint16_t)(HOST + i), PCIE_TLP_MRD, NULL);
	barrier(&first);
	for (unsigned i = 0; i < 16; i++)
		expect_silence(&first, (uint16_t)(HOST + i));
	next = requests[2];
	/* A tag that is free again is the next read's. */
	for (unsigned i = 0; i < 5; i++) {
		answer(&first, &next.tlp, bytes);
		completed(tags[i ? 15 + i : 2], PCIE_CPL_SC);
		if (i == 4)
			break;
		next = expect(&first, HOST + 2, PCIE_TLP_MRD, NULL);
		assert_int_equal(next.tlp.address, root->bar[WINDOW] + 4 * (16 + i));
	}
	for (unsigned i = 0; i < 16; i++) {
		if (i == 2)
			continue;
		answer(&first, &requests[i].tlp, bytes);
		completed(tags[i], PCIE_CPL_SC);
	}
	stop();
}

/* Silence ends with all ones, after the time that was set, also for reads that never got a tag; what comes late is nobody's. */
static void silence(void **state)
{
	static const uint8_t bytes[4] = {9, 9, 9, 9};
	uint64_t begin, took;
	struct scripted_tlp requests[16];
	uint16_t tags[20];

	start(",mmio-timeout=300ms");
	scripted_root_run(root);
	begin = fb_device_now(root->dev);
	for (unsigned i = 0; i < 20; i++)
		tags[i] = guest_reads(4 * i, 4);
	for (unsigned i = 0; i < 16; i++)
		requests[i] = expect(&first, (uint16_t)(HOST + i), PCIE_TLP_MRD, NULL);
	for (unsigned i = 0; i < 20; i++)
		completed(tags[i], PCIE_CPL_CA);
	took = fb_device_now(root->dev) - begin;
	assert_true(took >= 300000000);
	assert_int_equal(counter("host_timeouts"), 20);
	for (unsigned i = 0; i < 16; i++)
		answer(&first, &requests[i].tlp, bytes);
	until("late_completions", 16);
	scripted_root_run(root);
	scripted_root_expect_nothing(root);
	for (unsigned i = 0; i < 16; i++)
		expect_silence(&first, (uint16_t)(HOST + i)); /* none was asked for again */
	round_trip(); /* a tag whose completion has come is free again */

	/* Tags without completions rest: reads meanwhile are not sent. Then all goes on. */
	for (unsigned i = 0; i < 16; i++)
		tags[i] = guest_reads(0, 4);
	for (unsigned i = 0; i < 16; i++)
		expect(&first, (uint16_t)(HOST + (i + 1) % 16), PCIE_TLP_MRD, NULL);
	for (unsigned i = 0; i < 16; i++) /* in the order of the adapter's tags */
		completed(tags[(i + 15) % 16], PCIE_CPL_CA);
	begin = fb_device_now(root->dev);
	tags[0] = guest_reads(0, 4);
	completed(tags[0], PCIE_CPL_CA);
	for (unsigned i = 0; i < 16; i++)
		expect_silence(&first, (uint16_t)(HOST + i));
	assert_int_equal(counter("host_timeouts"), 20 + 17);
	while (fb_device_now(root->dev) < begin + 600000000)
		turn(deadline());
	scripted_root_run(root);
	round_trip();
	stop();
}

static void wrong_answers(void **state)
{
	static const uint8_t bytes[8] = {1, 2, 3, 4, 5, 6, 7, 8};
	struct scripted_tlp request;
	struct pcie_tlp cpl;
	uint8_t data[32] = {0};
	uint16_t tag;

	start("");
	tag = guest_reads(0x10, 4);
	request = expect(&first, HOST, PCIE_TLP_MRD, NULL);
	answer(&second, &request.tlp, bytes); /* another peer than the one that was asked */
	until("unexpected_completions", 1);
	request.tlp.tag = 5; /* nobody's */
	answer(&first, &request.tlp, bytes);
	until("unexpected_completions", 2);
	request.tlp.tag = 0;
	pcie_completion_for(&request.tlp, PEER_ID, 0, 4, &cpl);
	cpl.data = data;
	cpl.requester_id = 0x0100; /* somebody else's */
	softpcie_peer_tlp(&first, HOST, &cpl);
	until("unexpected_completions", 3);
	pcie_completion_for(&request.tlp, PEER_ID, 0, 4, &cpl);
	cpl.length = 2;
	cpl.byte_count = 8; /* more than was asked for */
	cpl.data = data;
	softpcie_peer_tlp(&first, HOST, &cpl);
	until("unexpected_completions", 4);
	scripted_root_run(root);
	scripted_root_expect_nothing(root);
	answer(&first, &request.tlp, bytes);
	assert_memory_equal(completed(tag, PCIE_CPL_SC).data, bytes, 4);
	answer(&first, &request.tlp, bytes); /* twice */
	until("unexpected_completions", 5);
	/* Errors, and poisoned data, are all ones to the guest. */
	static const enum pcie_cpl_status errors[] = {PCIE_CPL_UR, PCIE_CPL_CA, PCIE_CPL_SC};

	for (unsigned i = 0; i < 3; i++) {
		tag = guest_reads(0x10, 4);
		request = expect(&first, (uint16_t)(HOST + 1 + i), PCIE_TLP_MRD, NULL);
		if (errors[i] != PCIE_CPL_SC) {
			answer_status(&request.tlp, errors[i]);
		} else {
			pcie_completion_for(&request.tlp, PEER_ID, 0, 4, &cpl);
			cpl.data = data;
			cpl.ep = true;
			softpcie_peer_tlp(&first, (uint16_t)(HOST + request.tlp.tag), &cpl);
		}
		completed(tag, PCIE_CPL_CA);
		assert_int_equal(counter("host_errors"), i + 1);
	}
	stop();
}

static void writes_go_out(void **state)
{
	static const struct {
		uint32_t offset, len;
	} writes[] = {{0, 4}, {0x104, 4}, {0x208, 8}, {3, 1}, {6, 2}, {0xfffff8, 8}, {0xffffff, 1}, {0x1d, 1}};
	struct scripted_tlp t;
	uint16_t sequence = 0;

	start("");
	for (unsigned i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
		uint64_t value = UINT64_C(0x8877665544332211) + i, addr;
		struct softpcie_header header;
		uint8_t bytes[8];
		uint32_t len;

		scripted_root_write(root, WINDOW, writes[i].offset, value, writes[i].len);
		t = expect(&first, HOST, PCIE_TLP_MWR, &header);
		assert_int_equal(header.sequence, ++sequence);
		assert_int_equal(t.tlp.tag, 0);
		assert_int_equal(t.tlp.requester_id, 0);
		pcie_tlp_get_range(&t.tlp, &addr, &len);
		assert_int_equal(addr, root->bar[WINDOW] + writes[i].offset);
		assert_int_equal(len, writes[i].len);
		fb_put_le64(bytes, value);
		assert_memory_equal(t.data + (addr & 3), bytes, len);
	}
	/* A wide one: in pieces, in order. Reads between writes keep their place in the numbers. */
	uint8_t bytes[64];

	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 5);
	scripted_root_memory(root, root->bar[WINDOW] + 0x400, bytes, 64);
	guest_reads(0x400, 4);
	scripted_root_write(root, WINDOW, 0x500, 1, 4);
	for (unsigned i = 0; i < 10; i++) {
		struct softpcie_header header;

		t = expect(&first, HOST, i == 8 ? PCIE_TLP_MRD : PCIE_TLP_MWR, &header);
		assert_int_equal(header.sequence, ++sequence);
		if (i < 8)
			assert_memory_equal(t.data, bytes + 8 * i, 8);
		if (i < 8)
			assert_int_equal(t.tlp.address, root->bar[WINDOW] + 0x400 + 8 * i);
	}
	function_level_reset(); /* ends the read */
	scripted_root_forget(root);
	assert_int_equal(counter("host_writes"), 8 + 8 + 1);
	assert_int_equal(counter("host_writes_lost"), 0);
	expect_silence(&second, HOST);
	stop();
}

/* Before March 2020 the host's requests were on the ports of software's. */
static void old_ports(void **state)
{
	static const uint8_t bytes[4] = {1, 2, 3, 4};
	struct scripted_tlp request;
	struct pcie_tlp cpl;
	uint16_t tag;

	start(",old-ports=on");
	for (unsigned i = 0; i < 3; i++)
		softpcie_peer_socket(&first, (uint16_t)(DEVICE + i));
	scripted_root_write(root, WINDOW, 0, 7, 4);
	expect(&first, DEVICE, PCIE_TLP_MWR, NULL);
	for (unsigned i = 0; i < 3; i++) {
		tag = guest_reads(0, 4);
		request = expect(&first, (uint16_t)(DEVICE + i), PCIE_TLP_MRD, NULL);
		assert_int_equal(request.tlp.tag, i);
		pcie_completion_for(&request.tlp, PEER_ID, 0, 4, &cpl);
		cpl.data = bytes;
		softpcie_peer_tlp(&first, (uint16_t)(DEVICE + i), &cpl);
		assert_memory_equal(completed(tag, PCIE_CPL_SC).data, bytes, 4);
	}
	stop();
}

/* The engine answers by itself; nothing leaves, and nothing stays for the next guest. */
static void engine(void **state)
{
	start(",engine=on,bar4=64K,window-bar=0");
	assert_int_equal(root->bar_size[0], 65536);
	assert_int_equal(root->bar_size[4], 16384);
	assert_int_equal(scripted_root_read(root, 4, 0, 4), SOFTPCIE_MAGIC);
	scripted_root_write(root, 0, 0xfff8, UINT64_C(0x1122334455667788), 8);
	assert_true(scripted_root_read(root, 0, 0xfff8, 8) == UINT64_C(0x1122334455667788));
	assert_int_equal(scripted_root_read(root, 0, 0xffff, 1), 0x11);
	scripted_root_write(root, 0, 0xfff9, 0xee, 1);
	assert_int_equal(scripted_root_read(root, 0, 0xfff8, 4), 0x5566ee88);
	assert_int_equal(scripted_root_read(root, 0, 0, 8), 0);
	barrier(&first);
	for (unsigned i = 0; i < SOFTPCIE_HOST_TAGS; i++)
		expect_silence(&first, (uint16_t)(HOST + i));
	assert_int_equal(counter("host_reads") + counter("host_writes"), 0);
	function_level_reset();
	scripted_root_enumerate(root, NULL);
	assert_int_equal(scripted_root_read(root, 0, 0xfff8, 8), 0);
	stop();
}

/* ---- Resets -------------------------------------------------------------- */

static void resets_while_reads_wait(void **state)
{
	static const uint8_t bytes[4] = {1, 2, 3, 4};
	struct scripted_tlp requests[16];

	start("");
	for (unsigned i = 0; i < 20; i++) /* 4 of them have no tag */
		guest_reads(4 * i, 4);
	for (unsigned i = 0; i < 16; i++)
		requests[i] = expect(&first, (uint16_t)(HOST + i), PCIE_TLP_MRD, NULL);
	answer(&first, &requests[7].tlp, bytes); /* lies in the socket when the reset comes */
	function_level_reset();
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(scripted_root_expect(root, PCIE_TLP_CPL)->tlp.status, PCIE_CPL_UR);
	scripted_root_expect_nothing(root);
	scripted_root_enumerate(root, NULL);
	scripted_root_forget(root);
	for (unsigned i = 0; i < 16; i++) {
		if (i != 7)
			answer(&first, &requests[i].tlp, bytes);
	}
	until("late_completions", 16);
	round_trip();

	/* The root goes away, and another comes. */
	guest_reads(0, 4);
	scripted_root_detach(root);
	scripted_root_run(root);
	scripted_root_forget(root);
	scripted_root_attach(root);
	scripted_root_enumerate(root, NULL);
	scripted_root_forget(root);
	for (unsigned i = 0; i < 16; i++) { /* what went out for the old one */
		uint8_t buf[64];

		softpcie_peer_get(&first, (uint16_t)(HOST + i), buf, sizeof(buf));
	}
	round_trip();
	stop();
}

/* Without a root: no memory to read, nothing to tell. */
static void no_root(void **state)
{
	static const uint8_t ask[SOFTPCIE_MSG_REQUEST_SIZE] = {SOFTPCIE_MSG_BAR4};
	uint8_t buf[64];
	uint64_t addr;

	start("");
	scripted_root_detach(root);
	peer_reads(&first, 1, root->mem_base, 4);
	expect_status(&first, 1, PCIE_CPL_UR);
	softpcie_peer_bytes(&first, 0x1234, SOFTPCIE_PORT_MESSAGE, ask, sizeof(ask));
	assert_int_equal(softpcie_message_get_bar4(&addr, buf, get(&first, 0x1234, buf, sizeof(buf))), 0);
	assert_int_equal(addr, 0);
	scripted_root_attach(root);
	scripted_root_enumerate(root, NULL);
	scripted_root_forget(root);
	round_trip();
	stop();
}

/* ---- Services, strangers, garbage ---------------------------------------- */

static size_t ask(uint16_t port, const void *data, size_t len, uint8_t *buf, size_t cap)
{
	softpcie_peer_bytes(&first, 0x1234, port, data, len);
	return get(&first, 0x1234, buf, cap);
}

static void messages(void **state)
{
	struct softpcie_vector vectors[SOFTPCIE_VECTORS];
	uint8_t request[SOFTPCIE_MSG_REQUEST_SIZE], buf[256];
	uint64_t addr;
	uint16_t id;

	start("");
	softpcie_message_put_request(SOFTPCIE_MSG_BAR4, request);
	assert_int_equal(softpcie_message_get_bar4(&addr, buf, ask(SOFTPCIE_PORT_MESSAGE, request, 4, buf, sizeof(buf))), 0);
	assert_int_equal(addr, root->bar[WINDOW]);
	softpcie_message_put_request(SOFTPCIE_MSG_ID, request);
	assert_int_equal(softpcie_message_get_id(&id, buf, ask(SOFTPCIE_PORT_MESSAGE, request, 4, buf, sizeof(buf))), 0);
	assert_int_equal(id, SCRIPTED_BDF);
	softpcie_message_put_request(SOFTPCIE_MSG_MSIX, request);
	for (unsigned on = 0; on < 2; on++) {
		size_t n = ask(SOFTPCIE_PORT_MESSAGE, request, 4, buf, sizeof(buf));

		assert_int_equal(softpcie_message_get_msix(vectors, buf, n), 0);
		for (unsigned v = 0; v < SOFTPCIE_VECTORS; v++) {
			assert_int_equal(vectors[v].address, on ? SCRIPTED_MSI_ADDRESS : 0);
			assert_int_equal(vectors[v].data, on ? v : 0);
		}
		assert_int_equal(scripted_root_enable_msix(root), SOFTPCIE_VECTORS);
	}
	assert_int_equal(counter("messages"), 4);
	stop();
}

static void configuration_access(void **state)
{
	struct softpcie_config c = {.reg = 0, .be = 0xf};
	uint8_t buf[64];

	for (unsigned on = 0; on < 2; on++) {
		start(on ? ",config-writes=on" : "");
		for (unsigned port = 0; port < 2; port++) {
			c = (struct softpcie_config){.reg = 8};
			softpcie_config_put(&c, buf);
			if (port) { /* as older adapters have it: from the port itself */
				softpcie_peer_bytes(&first, SOFTPCIE_PORT_CONFIG_OLD, SOFTPCIE_PORT_CONFIG_OLD, buf, 6);
				assert_int_equal(softpcie_config_get(&c, buf, get(&first, SOFTPCIE_PORT_CONFIG_OLD, buf, sizeof(buf))), 0);
			} else {
				assert_int_equal(softpcie_config_get(&c, buf, ask(SOFTPCIE_PORT_CONFIG, buf, 6, buf, sizeof(buf))), 0);
			}
			assert_int_equal(c.data, 0x05800000);
		}
		c = (struct softpcie_config){.write = true, .be = 1, .reg = 0x3c, .data = 0x55};
		softpcie_config_put(&c, buf);
		softpcie_peer_bytes(&first, SOFTPCIE_PORT_CONFIG, SOFTPCIE_PORT_CONFIG, buf, 6);
		until(on ? "config_writes" : "config_writes_refused", 1);
		assert_int_equal(scripted_root_cfg_read(root, 0x3c, 1), on ? 0x55 : 0);
		assert_int_equal(counter(on ? "config_writes_refused" : "config_writes"), 0);
		if (on) { /* a peer resets the function while its guest reads, and DMA runs */
			root->answer = ANSWER_NEVER;
			peer_reads(&first, 3, root->mem_base, 64);
			until("peer_reads", 1);
			guest_reads(0, 4);
			c = (struct softpcie_config){.write = true, .be = 2, .reg = (uint16_t)(root->cap_exp + 8u), .data = 0x8000};
			softpcie_config_put(&c, buf);
			softpcie_peer_bytes(&first, SOFTPCIE_PORT_CONFIG, SOFTPCIE_PORT_CONFIG, buf, 6);
			expect_status(&first, 3, PCIE_CPL_UR);
			assert_int_equal(scripted_root_expect(root, PCIE_TLP_CPL)->tlp.status, PCIE_CPL_UR);
			scripted_root_drop_reads(root);
		}
		stop();
	}
}

/* Each kind of bad datagram is counted under its name, and does nothing. */
static void garbage(void **state)
{
	static const uint8_t four[4] = {1, 2, 3, 4};
	struct pcie_tlp write = {.type = PCIE_TLP_MWR, .requester_id = PEER_ID, .length = 1, .first_be = 0xf, .data = four};
	struct pcie_tlp read = {.type = PCIE_TLP_MRD, .requester_id = PEER_ID, .length = 1, .first_be = 0xf, .tag = 3};
	struct pcie_tlp message = {.type = PCIE_TLP_MSG, .msg_code = PCIE_MSG_PM_PME, .requester_id = PEER_ID};
	uint8_t bytes[5000] = {0}, before[64];
	struct softpcie_peer stranger;

	start("");
	softpcie_peer_open(&stranger, 2);
	memcpy(before, root->mem, sizeof(before));
	write.address = read.address = root->mem_base;

	softpcie_peer_tlp(&stranger, DEVICE, &write);
	until("rx_strangers", 1);
	softpcie_peer_bytes(&stranger, SOFTPCIE_PORT_MESSAGE, SOFTPCIE_PORT_MESSAGE, "\1\0\0\0", 4);
	until("rx_strangers", 2);
	softpcie_peer_bytes(&first, DEVICE + 1, DEVICE, bytes, 64); /* from another port */
	until("rx_strangers", 3);

	for (unsigned len = 0; len < SOFTPCIE_DATAGRAM_MIN; len++) {
		softpcie_peer_bytes(&first, DEVICE, DEVICE, bytes, len);
		until("rx_short", len + 1);
	}
	memset(bytes + 6, 0xff, sizeof(bytes) - 6);
	softpcie_peer_bytes(&first, DEVICE, DEVICE, bytes, 18);
	until("rx_malformed", 1);
	softpcie_peer_bytes(&first, DEVICE, DEVICE, bytes, sizeof(bytes)); /* longer than any */
	until("rx_malformed", 2);
	softpcie_peer_bytes(&first, HOST, HOST, bytes, sizeof(bytes));
	until("rx_malformed", 3);

	softpcie_peer_tlp(&first, DEVICE + 4, &read); /* tag 3 */
	until("rx_wrong_port", 1);
	softpcie_peer_tlp(&first, DEVICE, &message);
	until("rx_not_carried", 1);
	softpcie_peer_tlp(&first, HOST + 3, &read); /* the host's port: only the host asks there */
	softpcie_peer_tlp(&first, HOST, &write);
	write.ep = true;
	softpcie_peer_tlp(&first, DEVICE, &write);
	until("misdirected", 3);

	/* A second copy of a datagram is not a second request. */
	softpcie_peer_socket(&first, DEVICE + 3);
	softpcie_peer_tlp(&first, DEVICE + 3, &read);
	first.sequence--;
	softpcie_peer_tlp(&first, DEVICE + 3, &read);
	until("rx_duplicates", 1);
	expect(&first, DEVICE + 3, PCIE_TLP_CPLD, NULL);
	barrier(&first);
	expect_silence(&first, DEVICE + 3);
	assert_int_equal(counter("peer_reads"), 1);

	static const struct {
		uint16_t port;
		unsigned len;
	} packets[] = {{SOFTPCIE_PORT_MESSAGE, 4}, {SOFTPCIE_PORT_MESSAGE, 5}, {SOFTPCIE_PORT_MESSAGE, 0},
		       {SOFTPCIE_PORT_CONFIG, 6}, {SOFTPCIE_PORT_CONFIG, 18}, {SOFTPCIE_PORT_CONFIG, 5000},
		       {SOFTPCIE_PORT_CONFIG_OLD, 6}, {SOFTPCIE_PORT_REGISTER, 6}, {SOFTPCIE_PORT_REGISTER, 5}};

	memset(bytes, 0xff, sizeof(bytes));
	for (unsigned i = 0; i < sizeof(packets) / sizeof(packets[0]); i++) {
		softpcie_peer_bytes(&first, packets[i].port, packets[i].port, bytes, packets[i].len);
		until("rx_bad_packets", i + 1);
		expect_silence(&first, packets[i].port);
	}
	/* Registers are read-only. */
	bytes[0] = SOFTPCIE_REGISTER_WRITE;
	softpcie_peer_bytes(&first, SOFTPCIE_PORT_REGISTER, SOFTPCIE_PORT_REGISTER, bytes, 6);
	until("rx_bad_packets", sizeof(packets) / sizeof(packets[0]) + 1);

	assert_memory_equal(root->mem, before, sizeof(before));
	assert_int_equal(root->dma_writes, 0);
	assert_int_equal(root->dma_reads, 1);
	for (unsigned i = 0; i < SOFTPCIE_HOST_TAGS; i++)
		expect_silence(&first, (uint16_t)(HOST + i));
	round_trip();
	softpcie_peer_close(&stranger);
	stop();
}

static void bad_options(void **state)
{
	static const char *const bad[] = {"peer=127.0.0.1", "listen=127.0.0.1", "listen=127.0.0.1,peer=x", "listen=1,peer=127.0.0.1",
					  "listen=127.0.0.1,peer=+", "listen=127.0.0.1,peer=127.0.0.2,bar4=5K",
					  "listen=127.0.0.1,peer=127.0.0.2,mps=384", "listen=127.0.0.1,peer=127.0.0.2,allow=1",
					  "listen=127.0.0.1,peer=127.0.0.2,allow=0xffffffffffffffff:2",
					  "listen=192.0.2.77,peer=127.0.0.2"};
	struct fb_loop *loop;

	assert_int_equal(fb_loop_new(&loop, 0), 0);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct fb_device *dev;
		char text[160];

		snprintf(text, sizeof(text), "id=b,%s", bad[i]);
		if (fb_device_new_model(&dev, loop, model, text) == 0)
			fail_msg("%s is taken", bad[i]);
	}
	fb_loop_free(loop);
}

int main(void)
{
#define MODEL(f) cmocka_unit_test_teardown(f, clean)
	const struct CMUnitTest tests[] = {
		MODEL(shape_and_registers),
		MODEL(reads_wait_for_their_answers),
		MODEL(wide_reads),
		MODEL(sixteen_reads_at_a_time),
		MODEL(silence),
		MODEL(wrong_answers),
		MODEL(writes_go_out),
		MODEL(old_ports),
		MODEL(engine),
		MODEL(resets_while_reads_wait),
		MODEL(no_root),
		MODEL(messages),
		MODEL(configuration_access),
		MODEL(garbage),
		MODEL(bad_options),
	};

	fb_log_set_level(FB_LOG_NONE);
	model = fb_model_find(fb_models, "softpcie");
	assert_non_null(model);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
