/* SPDX-License-Identifier: Apache-2.0 */
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

struct scripted_root *root;
struct softpcie_peer first, second;
const struct fb_model *model;

void start(const char *more)
{
	char options[256];

	softpcie_peer_open(&first, 0);
	softpcie_peer_open(&second, 1);
	/* A machine that is busy is not to look like software that is silent. */
	snprintf(options, sizeof(options), "id=s0,listen=%s,peer=%s+%s%s%s", first.adapter, first.name, second.name,
		 strstr(more, "mmio-timeout") ? "" : ",mmio-timeout=20s", more);
	root = scripted_root_new(model, options, MEM);
	for (unsigned i = 0; i < MEM; i++)
		root->mem[i] = (uint8_t)(i * 7 + (i >> 8));
	scripted_root_enumerate(root, NULL);
	scripted_root_forget(root);
}

void stop(void)
{
	scripted_root_free(root);
	softpcie_peer_close(&first);
	softpcie_peer_close(&second);
	root = NULL;
}

/* After a test that failed: the next one is to have the addresses. */
int clean(void **state)
{
	if (root && root->attached)
		scripted_root_detach(root);
	if (root)
		stop();
	return 0;
}

struct wanted {
	const char *name;
	uint64_t value;
};

static void pick(void *arg, const char *name, uint64_t value)
{
	struct wanted *w = arg;

	if (!strcmp(name, w->name))
		w->value = value;
}

uint64_t counter(const char *name)
{
	struct wanted w = {name, UINT64_MAX};

	model->stats(root->dev, pick, &w);
	assert_true(w.value != UINT64_MAX);
	return w.value;
}

uint64_t deadline(void)
{
	return fb_clock_ns() + PATIENCE_S * UINT64_C(1000000000);
}

/* One round of the adapter's loop; the peers' sockets are not in it, so it waits a moment only. */
void turn(uint64_t end)
{
	assert_true(fb_clock_ns() < end);
	assert_int_equal(fb_loop_once(root->loop, fb_clock_ns() + 1000000), 0);
}

void until(const char *name, uint64_t value)
{
	uint64_t end = deadline();

	while (counter(name) < value)
		turn(end);
	assert_int_equal(counter(name), value);
}

size_t get(struct softpcie_peer *peer, uint16_t port, uint8_t *buf, size_t cap)
{
	uint64_t end = deadline();
	ssize_t n;

	while ((n = softpcie_peer_get(peer, port, buf, cap)) < 0)
		turn(end);
	return (size_t)n;
}

/* The next TLP at the port, which must be of that type. */
struct scripted_tlp expect(struct softpcie_peer *peer, uint16_t port, enum pcie_tlp_type type,
				  struct softpcie_header *header)
{
	uint8_t buf[SOFTPCIE_DATAGRAM_MAX + 1];
	struct softpcie_header ignored;
	struct scripted_tlp t;
	const uint8_t *bytes;
	size_t len;

	assert_int_equal(softpcie_parse(buf, get(peer, port, buf, sizeof(buf)), header ? header : &ignored, &bytes, &len), 0);
	assert_int_equal(pcie_tlp_decode(&t.tlp, bytes, len), PCIE_TLP_OK);
	assert_int_equal(t.tlp.type, type);
	if (t.tlp.data)
		memcpy(t.data, t.tlp.data, t.tlp.length * 4u);
	t.tlp.data = NULL; /* it is in t.data */
	return t;
}

void expect_silence(struct softpcie_peer *peer, uint16_t port)
{
	uint8_t buf[64];

	assert_int_equal(softpcie_peer_get(peer, port, buf, sizeof(buf)), -1);
}

/* Asks for the magic number and waits for it: all that was sent before has been dealt with, and answers have been sent. */
void barrier(struct softpcie_peer *peer)
{
	static const uint8_t ask[SOFTPCIE_REGISTER_SIZE] = {SOFTPCIE_REGISTER_READ, SOFTPCIE_REG_MAGIC};
	uint8_t buf[64];

	/* Twice: the first pass may find this socket before the others. */
	for (unsigned i = 0; i < 2; i++) {
		softpcie_peer_bytes(peer, SOFTPCIE_PORT_REGISTER, SOFTPCIE_PORT_REGISTER, ask, sizeof(ask));
		assert_int_equal(get(peer, SOFTPCIE_PORT_REGISTER, buf, sizeof(buf)), SOFTPCIE_REGISTER_SIZE);
		assert_int_equal(fb_get_le32(buf + 2), SOFTPCIE_MAGIC);
	}
	scripted_root_run(root);
}

uint16_t guest_reads(uint64_t offset, uint32_t len)
{
	return scripted_root_memory(root, root->bar[WINDOW] + offset, NULL, len);
}

/* The software's answer to a read of the guest: as many bytes as that asks for, from `bytes`. */
void answer(struct softpcie_peer *peer, const struct pcie_tlp *request, const void *bytes)
{
	uint8_t data[16] = {0};
	struct pcie_tlp cpl;
	uint64_t addr;
	uint32_t len;

	pcie_tlp_get_range(request, &addr, &len);
	pcie_completion_for(request, PEER_ID, 0, len, &cpl);
	memcpy(data + (addr & 3), bytes, len);
	cpl.data = data;
	softpcie_peer_tlp(peer, (uint16_t)(HOST + request->tag), &cpl);
}

void answer_status(const struct pcie_tlp *request, enum pcie_cpl_status status)
{
	struct pcie_tlp cpl;

	pcie_completion_status(request, PEER_ID, status, &cpl);
	softpcie_peer_tlp(&first, (uint16_t)(HOST + request->tag), &cpl);
}

/* What the guest gets for its read, in one completion. */
struct scripted_tlp completed(uint16_t tag, enum pcie_cpl_status status)
{
	const struct scripted_tlp *t;
	uint64_t end = deadline();

	while (!(t = scripted_root_take(root)))
		turn(end);
	assert_int_equal(t->tlp.type, status == PCIE_CPL_SC ? PCIE_TLP_CPLD : PCIE_TLP_CPL);
	assert_int_equal(t->tlp.tag, tag);
	assert_int_equal(t->tlp.status, status);
	return *t;
}

/* The guest reads, the software answers: to see that all is well. */
void round_trip(void)
{
	static const uint8_t bytes[] = {0x5a, 0xa5, 0x3c, 0xc3};
	uint64_t asked = counter("host_reads"), end = deadline();
	uint8_t buf[64];
	uint16_t tag = guest_reads(0x40, 4);
	ssize_t n = -1;

	assert_int_equal(counter("host_reads"), asked + 1);
	for (unsigned port = 0; n < 0; port = (port + 1) % SOFTPCIE_HOST_TAGS) {
		struct softpcie_header header;
		struct pcie_tlp tlp;
		const uint8_t *at;
		size_t len;

		turn(end);
		n = softpcie_peer_get(&first, (uint16_t)(HOST + port), buf, sizeof(buf));
		if (n < 0)
			continue;
		assert_int_equal(softpcie_parse(buf, (size_t)n, &header, &at, &len), 0);
		assert_int_equal(pcie_tlp_decode(&tlp, at, len), PCIE_TLP_OK);
		assert_int_equal(tlp.type, PCIE_TLP_MRD);
		answer(&first, &tlp, bytes);
	}
	assert_memory_equal(completed(tag, PCIE_CPL_SC).data, bytes, 4);
}

void function_level_reset(void)
{
	unsigned at = root->cap_exp + 8u;

	scripted_root_cfg_write(root, at, scripted_root_cfg_read(root, at, 2) | 0x8000, 2);
	scripted_root_drop_reads(root);
}

void peer_reads(struct softpcie_peer *peer, uint16_t tag, uint64_t addr, uint32_t len)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_MRD, .tag = tag, .requester_id = PEER_ID};

	softpcie_peer_socket(peer, (uint16_t)(DEVICE + tag));
	pcie_tlp_set_range(&tlp, addr, len);
	softpcie_peer_tlp(peer, (uint16_t)(DEVICE + tag), &tlp);
}

void peer_writes(struct softpcie_peer *peer, uint64_t addr, const uint8_t *data, unsigned first_be, unsigned last_be,
			unsigned dws)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_MWR, .requester_id = PEER_ID, .address = addr, .length = (uint16_t)dws,
			       .first_be = (uint8_t)first_be, .last_be = (uint8_t)last_be, .data = data};

	softpcie_peer_tlp(peer, DEVICE, &tlp);
}

void expect_status(struct softpcie_peer *peer, uint16_t tag, enum pcie_cpl_status status)
{
	struct scripted_tlp t = expect(peer, (uint16_t)(DEVICE + tag), PCIE_TLP_CPL, NULL);

	assert_int_equal(t.tlp.tag, tag);
	assert_int_equal(t.tlp.requester_id, PEER_ID);
	assert_int_equal(t.tlp.status, status);
}
