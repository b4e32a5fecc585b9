/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz_function.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/log.h"
#include "util/reader.h"

enum { STEP = 10, MAX_STEPS = 200, HANG_S = 60, MEM = 1 << 16 };

static unsigned asked, answered; /* register reads of this input */

static void must(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "%s: not so: %s\n", program_invocation_short_name, what);
		abort();
	}
}

void fuzz_write(const struct fuzz_function *f, struct scripted_root *r, uint64_t offset, uint64_t value, unsigned size)
{
	uint8_t bytes[8];

	if (f->wrote)
		f->wrote(offset, value, size);
	fb_put_le64(bytes, value);
	scripted_root_memory(r, r->bar[0] + offset, bytes, size);
}

/* What the function has sent since the last time. */
static void look(const struct fuzz_function *f, struct scripted_root *r)
{
	const struct scripted_tlp *t;

	while ((t = scripted_root_take(r))) {
		bool write = t->tlp.type == PCIE_TLP_MWR;
		uint64_t addr;
		uint32_t len;

		answered += pcie_tlp_fc(t->tlp.type) == PCIE_FC_CPL;
		if ((!write && t->tlp.type != PCIE_TLP_MRD) || t->tlp.address == SCRIPTED_MSI_ADDRESS)
			continue;
		pcie_tlp_get_range(&t->tlp, &addr, &len);
		if (!f->may_touch(r, addr, len, write)) {
			fprintf(stderr, "DMA %s of %u bytes at 0x%llx\n", write ? "write" : "read", len, (unsigned long long)addr);
			abort();
		}
	}
	must(answered <= asked, "a read is answered once");
	scripted_root_forget(r);
}

static void reset(const struct fuzz_function *f, struct scripted_root *r, bool session)
{
	if (session) {
		scripted_root_detach(r);
		scripted_root_attach(r);
		asked = answered;
	} else {
		unsigned at = r->cap_exp + 8u;

		scripted_root_cfg_write(r, at, scripted_root_cfg_read(r, at, 2) | 0x8000, 2);
	}
	scripted_root_drop_reads(r);
	look(f, r);
	if (f->was_reset)
		f->was_reset();
	must(asked == answered, "a reset answers what waits");
	scripted_root_enumerate(r, NULL);
}

static void step(const struct fuzz_function *f, struct scripted_root *r, const uint8_t *data)
{
	unsigned bytes = 1u << (data[0] >> 6), offset = f->offsets[data[1] % FUZZ_OFFSETS] & ~(bytes - 1);
	uint64_t value = fb_get_le64(data + 2);

	if (data[1] & 0x80)
		value = (data[1] & 0x40 ? r->mem_base : f->near) + (uint64_t)((int8_t)data[2] * (data[3] & 31));
	switch (data[0] & 15) {
	case 0:
		reset(f, r, data[1] & 1);
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
	case 4: /* registers stay reachable; while a read waits, its tag must not come again */
		if (asked == answered)
			scripted_root_cfg_write(r, 4, (value & 0x406) | 2, 2);
		break;
	case 5:
		if (asked == answered)
			scripted_root_enable_msi(r, 1);
		break;
	case 6:
	case 7:
		asked++;
		scripted_root_memory(r, r->bar[0] + offset, NULL, bytes);
		break;
	case 8:
		f->start(f, r, value, data[1]);
		break;
	default:
		fuzz_write(f, r, offset, value, bytes);
		break;
	}
	look(f, r);
}

void fuzz_function(const struct fuzz_function *f, const uint8_t *data, size_t size)
{
	struct scripted_root *r;

	alarm(HANG_S); /* a hang is a finding */
	fb_log_set_level(FB_LOG_NONE);
	asked = answered = 0;
	if (f->was_reset)
		f->was_reset();
	r = scripted_root_new(f->model, f->options, MEM);
	r->mem_base = FUZZ_MEMORY_BASE;
	r->keep_log = true;
	scripted_root_enumerate(r, NULL);
	scripted_root_forget(r);
	for (unsigned i = 0; size >= STEP && i < MAX_STEPS; i++, data += STEP, size -= STEP)
		step(f, r, data);
	r->answer = ANSWER_IN_ORDER;
	scripted_root_answer_now(r, ANSWER_IN_ORDER);
	scripted_root_run(r);
	look(f, r);
	must(asked == answered, "every read is answered");
	scripted_root_free(r);
	alarm(0);
}
