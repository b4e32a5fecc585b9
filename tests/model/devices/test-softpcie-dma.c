/* SPDX-License-Identifier: Apache-2.0 */
/* Software reads and writes the guest's memory through the SoftPCIe adapter: completions, refusals, resets. */
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

/* Completions as a root complex cuts them: RCB, MPS, Byte Count, Lower Address; the bytes around the valid ones are zero. */
static void reads_of_guest_memory(void **state)
{
	static const struct {
		uint32_t offset, len;
	} reads[] = {{0, 4}, {0, 4096}, {1, 1}, {3, 2}, {0x7c, 8}, {0x7e1, 700}, {0x3f, 1}, {0x3f, 2}, {0xfff, 1},
		     {0x5c4, 64}, {0x1001, 4095}, {0x40, 256}, {0x41, 256}, {0x10ff, 258}, {0, 63}};
	static const unsigned sizes[] = {128, 256, 4096};

	for (unsigned m = 0; m < 3; m++) {
		char options[32];

		snprintf(options, sizeof(options), ",mps=%u", sizes[m]);
		start(options);
		root->answer = ANSWER_SHUFFLED; /* of the device's own reads: no matter */
		for (unsigned i = 0; i < sizeof(reads) / sizeof(reads[0]); i++) {
			uint32_t at = reads[i].offset, left = reads[i].len;

			peer_reads(&first, (uint16_t)(i * 17), root->mem_base + at, left);
			while (left) {
				struct scripted_tlp t = expect(&first, (uint16_t)(DEVICE + i * 17), PCIE_TLP_CPLD, NULL);
				uint32_t pad = at & 3, bytes = t.tlp.length * 4u - pad;
				static const uint8_t zeros[4];

				assert_int_equal(t.tlp.status, PCIE_CPL_SC);
				assert_int_equal(t.tlp.tag, i * 17);
				assert_int_equal(t.tlp.requester_id, PEER_ID);
				assert_int_equal(t.tlp.completer_id, 0);
				assert_int_equal(t.tlp.byte_count, left);
				assert_int_equal(t.tlp.lower_address, at & 0x7f);
				assert_in_range(t.tlp.length * 4u, 4, sizes[m]);
				assert_memory_equal(t.data, zeros, pad);
				if (bytes >= left) {
					assert_memory_equal(t.data + pad + left, zeros, bytes - left);
					bytes = left;
				} else {
					assert_int_equal((at + bytes) & 63, 0);
					/* No more completions than needed: the next boundary would not have fitted. */
					assert_true(pad + bytes + 64 > sizes[m]);
				}
				assert_in_range(bytes, 1, left);
				assert_memory_equal(t.data + pad, root->mem + at, bytes);
				at += bytes;
				left -= bytes;
			}
			expect_silence(&first, (uint16_t)(DEVICE + i * 17));
		}
		assert_int_equal(counter("peer_reads"), sizeof(reads) / sizeof(reads[0]));
		assert_int_equal(counter("completions_lost"), 0);
		stop();
	}
}

static void answers_go_to_who_asked(void **state)
{
	start("");
	peer_reads(&second, 9, root->mem_base + 64, 4);
	assert_memory_equal(expect(&second, DEVICE + 9, PCIE_TLP_CPLD, NULL).data, root->mem + 64, 4);
	softpcie_peer_socket(&first, DEVICE + 9);
	expect_silence(&first, DEVICE + 9);
	stop();
}

static void writes_to_guest_memory(void **state)
{
	static const struct {
		unsigned first_be, last_be, dws;
	} writes[] = {{0xf, 0, 1}, {0x1, 0, 1}, {0x6, 0, 1}, {0x5, 0, 1}, {0xa, 0, 1}, {0, 0, 1}, {0xf, 0xf, 2}, {0x5, 0xa, 2},
		      {0xb, 0xd, 2}, {0x9, 0x9, 2}, {0x8, 0x1, 3}, {0xc, 0x3, 64}, {0xf, 0xf, 1024}};
	static uint8_t data[4096], expected[8192];
	uint64_t at = 0x4000;

	start("");
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)~(i * 11);
	for (unsigned i = 0; i < sizeof(writes) / sizeof(writes[0]); i++, at += 0x2000) {
		unsigned len = writes[i].dws * 4;

		memcpy(expected, root->mem + at, sizeof(expected));
		for (unsigned b = 0; b < len; b++) {
			unsigned dw = b / 4, be = dw == 0 ? writes[i].first_be : dw == writes[i].dws - 1 ? writes[i].last_be : 0xf;

			if (be >> (b & 3) & 1)
				expected[b] = data[b];
		}
		peer_writes(&first, root->mem_base + at, data, writes[i].first_be, writes[i].last_be, writes[i].dws);
		until("peer_writes", i + 1);
		scripted_root_run(root);
		assert_memory_equal(root->mem + at, expected, sizeof(expected));
	}
	assert_int_equal(counter("peer_failed"), 0);
	stop();
}

/* The zero-length read, 2.2.5: one DW without a valid byte, behind the writes before it. */
static void flushes(void **state)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_MRD, .tag = 0, .requester_id = PEER_ID, .length = 1};
	static const uint8_t data[4] = {0xde, 0xad, 0xbe, 0xef}, zeros[4];
	struct scripted_tlp t;

	start("");
	softpcie_peer_socket(&first, DEVICE);
	tlp.address = root->mem_base + 0x100;
	peer_writes(&first, root->mem_base + 0x100, data, 0xf, 0, 1);
	softpcie_peer_tlp(&first, DEVICE, &tlp);
	t = expect(&first, DEVICE, PCIE_TLP_CPLD, NULL);
	assert_int_equal(t.tlp.length, 1);
	assert_int_equal(t.tlp.byte_count, 1);
	assert_memory_equal(t.data, zeros, 4);
	assert_memory_equal(root->mem + 0x100, data, 4);
	stop();
}

static void what_cannot_be_reached(void **state)
{
	static const uint8_t data[4] = {1, 2, 3, 4};

	start("");
	peer_reads(&first, 1, root->mem_base + MEM, 4); /* not mapped */
	expect_status(&first, 1, PCIE_CPL_UR);
	peer_reads(&first, 1, UINT64_C(0xfffffffffffffff0), 16);
	expect_status(&first, 1, PCIE_CPL_UR);
	assert_int_equal(counter("peer_failed"), 2);
	peer_writes(&first, root->mem_base + MEM, data, 0xf, 0, 1); /* posted: nobody hears of it */
	until("peer_writes", 1);
	root->answer = ANSWER_CA;
	peer_reads(&first, 2, root->mem_base, 4);
	expect_status(&first, 2, PCIE_CPL_CA);
	root->answer = ANSWER_POISONED;
	peer_reads(&first, 3, root->mem_base, 4);
	expect_status(&first, 3, PCIE_CPL_CA);
	root->answer = ANSWER_IN_ORDER;
	scripted_root_cfg_write(root, 4, 2, 2); /* bus mastering off */
	peer_reads(&first, 4, root->mem_base, 4);
	expect_status(&first, 4, PCIE_CPL_UR);
	peer_writes(&first, root->mem_base, data, 0xf, 0, 1);
	until("peer_failed", 6);
	assert_int_not_equal(memcmp(root->mem, data, 4), 0);
	scripted_root_cfg_write(root, 4, 6, 2);
	peer_reads(&first, 5, root->mem_base, 4);
	expect(&first, DEVICE + 5, PCIE_TLP_CPLD, NULL);
	stop();
}

/* `allow`: exactly those bytes, and the function's own interrupts. */
static void windows(void **state)
{
	static const uint8_t data[4] = {1, 2, 3, 4}, vector3[4] = {3}, vector0[4];
	uint64_t base;

	start(",allow=0x10000100:256+0x10000800:4");
	base = root->mem_base;
	assert_int_equal(base, 0x10000000);
	peer_reads(&first, 1, base + 0x100, 256);
	expect(&first, DEVICE + 1, PCIE_TLP_CPLD, NULL);
	peer_reads(&first, 2, base + 0x100, 257);
	expect_status(&first, 2, PCIE_CPL_UR);
	peer_reads(&first, 3, base + 0xff, 2);
	expect_status(&first, 3, PCIE_CPL_UR);
	peer_reads(&first, 4, base + 0x800, 4);
	expect(&first, DEVICE + 4, PCIE_TLP_CPLD, NULL);
	assert_int_equal(counter("peer_refused"), 2);
	peer_writes(&first, base + 0x200, data, 0xf, 0, 1);
	until("peer_refused", 3);
	peer_writes(&first, base + 0x1f8, data, 0xf, 0, 1);
	peer_writes(&first, SCRIPTED_MSI_ADDRESS, vector3, 0xf, 0, 1); /* before there are interrupts */
	until("peer_refused", 4);
	scripted_root_enable_msix(root);
	peer_writes(&first, SCRIPTED_MSI_ADDRESS, vector3, 0xf, 0, 1);
	peer_writes(&first, SCRIPTED_MSI_ADDRESS, vector0, 0xf, 0, 1);
	peer_reads(&first, 5, SCRIPTED_MSI_ADDRESS, 4); /* may be written, not read */
	expect_status(&first, 5, PCIE_CPL_UR);
	barrier(&first);
	assert_int_equal(scripted_root_irqs(root, 3), 1);
	assert_int_equal(scripted_root_irqs(root, 0), 1);
	assert_int_equal(counter("peer_refused"), 5);
	assert_memory_equal(root->mem + 0x1f8, data, 4);
	assert_int_not_equal(memcmp(root->mem + 0x200, data, 4), 0);
	stop();
}

/* More than there is room for is dropped and counted; what was taken is answered. */
static void too_many(void **state)
{
	enum { ROOM = 512, MORE = 20 };

	start("");
	root->answer = ANSWER_NEVER;
	for (unsigned i = 0; i < ROOM + MORE; i++) {
		peer_reads(&first, 0, root->mem_base + 4 * i, 4);
		until("peer_reads", i + 1);
	}
	assert_int_equal(counter("peer_overload"), MORE);
	root->answer = ANSWER_IN_ORDER;
	scripted_root_answer_now(root, ANSWER_IN_ORDER);
	for (unsigned i = 0; i < ROOM; i++)
		assert_memory_equal(expect(&first, DEVICE, PCIE_TLP_CPLD, NULL).data, root->mem + 4 * i, 4);
	barrier(&first);
	expect_silence(&first, DEVICE);
	stop();
}

static void resets_while_dma_runs(void **state)
{
	enum { READS = 40 };

	start("");
	for (unsigned how = 0; how < 3; how++) {
		uint64_t before = counter("peer_reads");

		root->answer = ANSWER_NEVER;
		for (unsigned i = 0; i < READS; i++) {
			peer_reads(&first, (uint16_t)(i & 7), root->mem_base + 64 * i, 64);
			until("peer_reads", before + i + 1);
		}
		assert_true(root->n_reads > 0);
		if (how == 0) {
			function_level_reset();
		} else if (how == 1) {
			scripted_root_detach(root);
			scripted_root_attach(root);
		} else {
			scripted_root_cfg_write(root, 4, 2, 2); /* bus mastering off */
			scripted_root_drop_reads(root);
		}
		/* All of them are told, and nothing is left in the way of the next ones. */
		for (unsigned i = 0; i < READS; i++)
			expect_status(&first, (uint16_t)(i & 7), PCIE_CPL_UR);
		until("peer_failed", (how + 1) * READS);
		root->answer = ANSWER_IN_ORDER;
		scripted_root_enumerate(root, NULL);
		scripted_root_forget(root);
		peer_reads(&first, 3, root->mem_base + 5, 3);
		assert_memory_equal(expect(&first, DEVICE + 3, PCIE_TLP_CPLD, NULL).data + 1, root->mem + 5, 3);
	}
	assert_int_equal(counter("peer_overload"), 0);
	stop();
}

int main(void)
{
#define MODEL(f) cmocka_unit_test_teardown(f, clean)
	const struct CMUnitTest tests[] = {
		MODEL(reads_of_guest_memory),
		MODEL(answers_go_to_who_asked),
		MODEL(writes_to_guest_memory),
		MODEL(flushes),
		MODEL(what_cannot_be_reached),
		MODEL(windows),
		MODEL(too_many),
		MODEL(resets_while_dma_runs),
	};

	fb_log_set_level(FB_LOG_NONE);
	model = fb_model_find(fb_models, "softpcie");
	assert_non_null(model);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
