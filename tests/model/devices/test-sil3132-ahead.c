/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SiI3132 on the real runtime: what the root is told of the activation
 * registers, that a write that came along with the activation costs no read, and
 * that one that came in part, wrong or not at all works as well. And the other way
 * round: what an interrupt handler reads is offered in front of the interrupt, and
 * a use of it loses no completion.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "devices/sil3132.h"
#include "scripted_root.h"
#include "tlp/offer_wire.h"
#include "tlp/ring_wire.h"
#include "util/reader.h"

enum { MEM = 1 << 20, IMAGE = 1 << 20, PIECES = 3, PIECE = 4096 };

static char path[] = "./sil-ahead-XXXXXX";
static struct scripted_root *r;
static struct sil *s;

static void reg(uint32_t offset, uint32_t value)
{
	scripted_root_write(r, 2, offset, value, 4);
}

static int setup(void **state)
{
	char options[128];
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, IMAGE), 0);
	close(fd);
	snprintf(options, sizeof(options), "id=t,port0=%s,serial0=A,hotplug=off", path);
	r = scripted_root_new(&sil3132_model, options, MEM);
	s = fb_device_state(r->dev);
	scripted_root_enumerate(r, NULL);
	scripted_root_write(r, 0, SIL_HOST_CONTROL, SIL_HOST_IRQ_ENABLE, 4);
	return 0;
}

static int teardown(void **state)
{
	scripted_root_free(r);
	unlink(path);
	memcpy(path + strlen(path) - 6, "XXXXXX", 6);
	return 0;
}

/* False: the root is told that there are none. */
static bool told(struct fb_ring_rule *rule)
{
	const struct scripted_tlp *t = scripted_root_expect(r, PCIE_TLP_MSGD);

	assert_int_equal(t->tlp.vendor_data, FB_RING_RULE);
	assert_true(fb_ring_rule_get(rule, t->data, (size_t)t->tlp.length * 4));
	return rule->entries;
}

static void test_told(void **state)
{
	struct fb_ring_rule rule;

	for (unsigned port = 0; port < SIL_PORTS; port++) {
		uint32_t at = port * SIL_PORT_SIZE;

		scripted_root_forget(r);
		reg(at + SIL_PORT_CONTROL_CLEAR, SIL_CTRL_PORT_RESET);
		assert_true(told(&rule));
		assert_true(rule.pointers);
		assert_int_equal(rule.slot, port);
		assert_int_equal(rule.bar, 2);
		assert_int_equal(rule.reg, at + SIL_PORT_ACTIVATE);
		assert_int_equal(rule.reg_stride, 8);
		assert_int_equal(rule.entries, SIL_SLOTS);
		/* With 32-bit activation the lower half starts it, and the upper half is elsewhere. */
		scripted_root_forget(r);
		reg(at + SIL_PORT_CONTROL_SET, SIL_CTRL_ACTIVATE_32);
		assert_false(told(&rule));
		reg(at + SIL_PORT_CONTROL_CLEAR, SIL_CTRL_ACTIVATE_32);
		assert_true(told(&rule));
		reg(at + SIL_PORT_CONTROL_SET, SIL_CTRL_PORT_RESET);
		assert_false(told(&rule));
	}
}

/* ---- A write and what may come along with it --------------------------------------------- */

enum what { ALL, BLOCK_ONLY, NOTHING, A_PIECE_SHORT, ELSEWHERE, N_WHAT };

struct activation { /* off the network, within a round of the loop */
	struct fb_flush flush;
	enum what what;
	uint64_t block, piece[PIECES];
};

static void send_ahead(uint64_t address, uint32_t len)
{
	while (len > 0) {
		uint32_t n = len < 480 ? len : 480;

		scripted_root_ahead(r, address, n, scripted_root_mem(r, address, n), n);
		address += n;
		len -= n;
	}
}

static void arrive(struct fb_flush *flush)
{
	struct activation *a = (struct activation *)flush;

	reg(SIL_PORT_ACTIVATE, (uint32_t)a->block);
	reg(SIL_PORT_ACTIVATE + 4, (uint32_t)(a->block >> 32));
	if (a->what == NOTHING)
		return;
	send_ahead(a->block, SIL_PRB_READ);
	for (unsigned i = 0; i < PIECES && a->what != BLOCK_ONLY; i++)
		send_ahead(a->piece[i] + (a->what == ELSEWHERE ? PIECE : 0), PIECE - (a->what == A_PIECE_SHORT && i == 1));
}

static bool ended(void *arg)
{
	return s->port[0].irq & (SIL_IRQ_COMPLETE | SIL_IRQ_ERROR);
}

static void put_write(const struct activation *a, const struct fb_ring_rule *rule, uint32_t lba)
{
	uint8_t *p = scripted_root_mem(r, a->block, SIL_PRB_READ), *fis = p + 8;

	memset(p, 0, SIL_PRB_READ);
	fis[0] = ATA_FIS_H2D;
	fis[1] = ATA_FIS_H2D_COMMAND;
	fis[2] = ATA_WRITE_FPDMA_QUEUED;
	fis[3] = PIECES * PIECE / ATA_SECTOR;
	fis[4] = (uint8_t)lba;
	fis[7] = ATA_DEV_LBA;
	for (unsigned i = 0; i < PIECES; i++) {
		uint8_t *e = p + 32 + 16 * i;

		ata_put64(e, a->piece[i]);
		ata_put32(e + 8, PIECE);
		ata_put32(e + 12, i == PIECES - 1 ? SIL_SGE_TRM : 0);
		/* Where the rule lets the root look. */
		e = p + i * rule->list_stride;
		assert_int_equal(fb_get_le64(e + rule->pointer_at), a->piece[i]);
		assert_int_equal(fb_get_le32(e + rule->count_at) << rule->count_shift, PIECE);
		assert_int_equal(e[rule->end_at] != 0, i == PIECES - 1);
	}
	assert_int_equal(p[rule->match_at], rule->match);
	assert_true(PIECES * PIECE <= rule->data_max);
}

static void test_used(void **state)
{
	static const unsigned reads[N_WHAT] = {[BLOCK_ONLY] = 1, [NOTHING] = 2, [A_PIECE_SHORT] = 1, [ELSEWHERE] = 1};
	struct fb_ring_rule rule;

	scripted_root_forget(r);
	reg(SIL_PORT_CONTROL_CLEAR, SIL_CTRL_PORT_RESET);
	assert_true(told(&rule));
	scripted_root_run(r);
	reg(SIL_PORT_IRQ_SET, SIL_IRQ_COMPLETE | SIL_IRQ_ERROR);
	for (enum what what = 0; what < N_WHAT; what++) {
		struct activation a = {.flush.flush = arrive, .what = what, .block = r->mem_base + 0x3000};
		uint8_t want[PIECES * PIECE], got[PIECES * PIECE];
		struct fb_function_info before, after;
		int fd;

		for (unsigned i = 0; i < sizeof(want); i++)
			want[i] = (uint8_t)(i * 31 + i / 251 + what * 7);
		for (unsigned i = 0; i < PIECES; i++) {
			a.piece[i] = r->mem_base + 0x10000 + 0x3000 * i;
			memcpy(scripted_root_mem(r, a.piece[i], PIECE), want + i * PIECE, PIECE);
		}
		put_write(&a, &rule, 24 * what);
		fb_device_counters(r->dev, &before);
		fb_flush_schedule(r->loop, &a.flush);
		assert_true(scripted_root_until(r, ended, NULL, 10000));
		fb_device_counters(r->dev, &after);
		reg(SIL_PORT_IRQ_STATUS, SIL_IRQ_COMPLETE | SIL_IRQ_ERROR);
		assert_int_equal(after.dma_reads - before.dma_reads, 2);
		assert_int_equal(after.dma_reads_ahead - before.dma_reads_ahead, 2 - reads[what]);
		assert_int_equal(s->port[0].errors, 0);
		fd = open(path, O_RDONLY);
		assert_int_equal(pread(fd, got, sizeof(got), 24 * what * ATA_SECTOR), sizeof(got));
		close(fd);
		assert_memory_equal(got, want, sizeof(want));
	}
}

/* An activation that a port reset in the same round overtakes is forgotten, with what came along. */
static void test_reset(void **state)
{
	struct fb_ring_rule rule;
	struct activation a = {.flush.flush = arrive, .what = ALL, .block = r->mem_base + 0x3000};

	scripted_root_forget(r);
	reg(SIL_PORT_CONTROL_CLEAR, SIL_CTRL_PORT_RESET);
	assert_true(told(&rule));
	for (unsigned i = 0; i < PIECES; i++)
		a.piece[i] = r->mem_base + 0x10000 + 0x3000 * i;
	put_write(&a, &rule, 0);
	arrive(&a.flush);
	reg(SIL_PORT_CONTROL_SET, SIL_CTRL_PORT_RESET);
	scripted_root_run(r);
	assert_int_equal(s->port[0].dropped, 1);
	assert_int_equal(s->port[0].commands, 0);
	assert_int_equal(s->port[0].active, 0);
	assert_int_equal(r->dma_reads, 0);
}

/* ---- What the interrupt handler reads ------------------------------------------------------- */

enum { DATA = 0x10000, BLOCK = 0x3000 };

static void used(const struct fb_offer *o, unsigned i)
{
	struct fb_offer_used u = {.seq = o->seq, .bar = o->value[i].bar, .offset = o->value[i].offset};
	uint8_t payload[FB_OFFER_USED_SIZE];

	if (o->value[i].flags & FB_OFFER_LOWERS_INTX && r->intx) {
		u.flags = FB_OFFER_LOWERED;
		r->intx = false;
	}
	fb_offer_used_put(&u, payload);
	scripted_root_message(r, FB_OFFER_USED, payload, sizeof(payload));
}

static void read_command(unsigned slot)
{
	uint64_t block = r->mem_base + BLOCK + slot * 0x1000;
	uint8_t *p = scripted_root_mem(r, block, SIL_PRB_READ), *fis = p + 8;

	memset(p, 0, SIL_PRB_READ);
	fis[0] = ATA_FIS_H2D;
	fis[1] = ATA_FIS_H2D_COMMAND;
	fis[2] = ATA_READ_FPDMA_QUEUED;
	fis[3] = 1;
	fis[7] = ATA_DEV_LBA;
	fis[12] = (uint8_t)(slot << 3);
	ata_put64(p + 32, r->mem_base + DATA);
	ata_put32(p + 40, ATA_SECTOR);
	ata_put32(p + 44, SIL_SGE_TRM);
	reg(SIL_PORT_ACTIVATE + 8 * slot, (uint32_t)block);
	reg(SIL_PORT_ACTIVATE + 8 * slot + 4, (uint32_t)(block >> 32));
}

static uint64_t wanted;

static bool completed(void *arg)
{
	return s->port[0].completions >= wanted;
}

static void run_until(uint64_t completions)
{
	wanted = completions;
	assert_true(scripted_root_until(r, completed, NULL, 10000));
	scripted_root_run(r);
}

/* The last one in the log: behind the data, and, if so, in front of the interrupt. */
static struct fb_offer last_offer(bool intx)
{
	const struct scripted_tlp *t;
	struct fb_offer o = {0};
	bool data = false, found = false, raised = false;

	while ((t = scripted_root_take(r))) {
		raised |= found && t->tlp.type == PCIE_TLP_MSG && t->tlp.msg_code == PCIE_MSG_ASSERT_INTA;
		data |= t->tlp.type == PCIE_TLP_MWR && t->tlp.address == r->mem_base + DATA;
		if (t->tlp.type != PCIE_TLP_MSGD || t->tlp.vendor_data != FB_OFFER)
			continue;
		found = true;
		assert_true(data);
		assert_true(fb_offer_get(&o, t->data, t->tlp.length * 4u));
	}
	assert_int_equal(raised, intx);
	return o;
}

static void begin(void)
{
	uint8_t can[4];

	reg(SIL_PORT_CONTROL_CLEAR, SIL_CTRL_PORT_RESET);
	scripted_root_run(r);
	reg(SIL_PORT_IRQ_STATUS, SIL_IRQ_ALL);
	reg(SIL_PORT_IRQ_SET, SIL_IRQ_COMPLETE | SIL_IRQ_ERROR);
	scripted_root_run(r);
	fb_put_le32(can, FB_RING_CAN_OFFERS);
	scripted_root_message(r, FB_RING_ABLE, can, sizeof(can));
	r->keep_log = true;
	scripted_root_forget(r);
}

static void test_offer(void **state)
{
	struct fb_function_info info;
	struct fb_offer first, o;

	begin();
	for (unsigned i = 1; i <= 3; i++) { /* the usual way: one, read, the next */
		read_command(3);
		run_until(i);
		o = last_offer(true);
		assert_int_equal(o.n, 2);
		assert_int_equal(o.value[0].value, 1);
		assert_int_equal(o.value[1].offset, SIL_PORT_SLOT_STATUS);
		assert_int_equal(o.value[1].value, 0);
		used(&o, 1);
		assert_int_equal(s->port[0].irq, 0);
		assert_false(s->level);
		assert_int_equal(r->intx_asserts, i);
		assert_int_equal(r->intx_deasserts, 0); /* the root has seen to it */
	}

	/* Another ends while the use of the first one's offer is on its way: it is not lost. */
	r->answer = ANSWER_NEVER;
	read_command(3);
	scripted_root_run(r);
	scripted_root_answer_now(r, ANSWER_IN_ORDER);
	read_command(4); /* its block is not there before the first one has ended */
	run_until(4);
	first = last_offer(true);
	assert_int_equal(first.value[1].value, 0x10);
	scripted_root_answer_now(r, ANSWER_IN_ORDER);
	run_until(5);
	o = last_offer(false); /* asserted it is */
	assert_int_equal(o.n, 2);
	assert_int_equal(o.value[1].value, 0);
	assert_int_equal(r->intx_asserts, 4);
	used(&first, 1);
	assert_int_equal(s->port[0].irq, SIL_IRQ_COMPLETE);
	assert_int_equal(r->intx_asserts, 5);
	assert_int_equal(scripted_root_read(r, 2, SIL_PORT_SLOT_STATUS, 4), 0);
	assert_int_equal(s->port[0].irq, 0);
	assert_false(r->intx);
	fb_device_counters(r->dev, &info);
	assert_int_equal(info.offers_used, 3);
	assert_int_equal(info.offers_outdated, 1);
	assert_int_equal(info.bad_offers + info.bad_uses, 0);
}

#define W(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {W(test_told), W(test_used), W(test_reset), W(test_offer)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
