/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The edu device against a root that does anything: registers of any size, DMA
 * that is answered or not, resets. It may touch only what its mask lets it
 * reach, at most its buffer's size at a time, and every access is answered.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/models.h"
#include "scripted_root.h"
#include "util/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void reset(struct scripted_root *r, bool session)
{
	if (session) {
		scripted_root_detach(r);
		scripted_root_attach(r);
	} else {
		unsigned at = r->cap_exp + 8u;

		scripted_root_cfg_write(r, at, scripted_root_cfg_read(r, at, 2) | 0x8000, 2);
		r->n_reads = 0;
	}
	scripted_root_enumerate(r, NULL);
}

static void check_dma(struct scripted_root *r)
{
	const struct scripted_tlp *t;
	uint64_t addr;
	uint32_t len;

	while ((t = scripted_root_take(r))) {
		if ((t->tlp.type != PCIE_TLP_MRD && t->tlp.type != PCIE_TLP_MWR) || t->tlp.address == SCRIPTED_MSI_ADDRESS)
			continue;
		pcie_tlp_get_range(&t->tlp, &addr, &len);
		if (addr > 0xfffffff + 4096ull || len > 4096) {
			fprintf(stderr, "DMA of %u bytes at 0x%llx\n", len, (unsigned long long)addr);
			abort();
		}
	}
	scripted_root_forget(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint16_t offsets[] = {0, 4, 8, 0x20, 0x24, 0x60, 0x64, 0x80, 0x88, 0x90, 0x98, 0x9c, 0x84, 0x0c, 0xa0, 0x7e};
	struct scripted_root *r;
	const uint8_t *end = data + size;

	fb_log_set_level(FB_LOG_ERROR);
	r = scripted_root_new(fb_model_find(fb_models, "edu"), "id=f", 1 << 16);
	r->mem_base = 0x1000000;
	r->keep_log = true;
	scripted_root_enumerate(r, NULL);
	scripted_root_forget(r);
	for (; end - data >= 10; data += 10) {
		unsigned bytes = 1u << (data[0] >> 6), offset = offsets[data[1] & 15];
		uint64_t value;

		memcpy(&value, data + 2, 8);
		if (data[1] & 0x80) /* an address that is near something */
			value = (data[1] & 0x40 ? r->mem_base : 0x40000) + (int8_t)data[2] * (data[3] & 31);
		switch (data[0] & 15) {
		case 0:
			reset(r, data[1] & 1);
			break;
		case 1:
			r->answer = (enum scripted_answer)(data[1] % (ANSWER_POISONED + 1));
			break;
		case 2:
			scripted_root_answer_now(r, ANSWER_SHUFFLED);
			break;
		case 3:
			scripted_root_run(r);
			break;
		case 4:
			scripted_root_cfg_write(r, 4, value & 0x406, 2);
			scripted_root_cfg_write(r, 4, scripted_root_cfg_read(r, 4, 2) | 2, 2); /* registers stay reachable */
			break;
		case 5:
			scripted_root_enable_msi(r, 1);
			break;
		case 6:
		case 7:
			scripted_root_read(r, 0, offset & ~(bytes - 1), bytes);
			break;
		case 8: /* DMA that may well be right */
			scripted_root_write(r, 0, 0x90, value & 0xfff, 8);
			scripted_root_write(r, 0, 0x98, 1 | (data[1] & 6), 4);
			break;
		default:
			scripted_root_write(r, 0, offset & ~(bytes - 1), value, bytes);
			break;
		}
		check_dma(r);
	}
	r->answer = ANSWER_IN_ORDER;
	scripted_root_answer_now(r, ANSWER_IN_ORDER);
	scripted_root_run(r);
	check_dma(r);
	scripted_root_free(r);
	return 0;
}
