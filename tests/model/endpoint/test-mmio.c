/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of the root: decoding, access sizes, byte enables, completions, refusals, and how errors are reported. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "probe.h"
#include "scripted_root.h"
#include "util/reader.h"

enum { EXP = 0x70, AER = 0x100 };

struct fixture {
	struct scripted_root *r;
	struct probe *p;
};

static int setup(void **state)
{
	static struct fixture f;

	f.r = scripted_root_new(&probe_model, "id=t", 1 << 20);
	f.p = fb_device_state(f.r->dev);
	scripted_root_enumerate(f.r, NULL);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	scripted_root_free(f->r);
	return 0;
}

/* Sends a memory request with these byte enables; data NULL: a read. */
static void request(struct scripted_root *r, uint64_t addr, unsigned dws, unsigned first_be, unsigned last_be,
		    const uint8_t *data)
{
	struct pcie_tlp tlp = {.type = data ? PCIE_TLP_MWR : PCIE_TLP_MRD,
			       .address = addr,
			       .length = (uint16_t)dws,
			       .first_be = (uint8_t)first_be,
			       .last_be = (uint8_t)last_be,
			       .data = data};

	scripted_root_send(r, &tlp);
}

static void expect_access(struct probe *p, unsigned i, bool write, unsigned bar, uint64_t offset, unsigned size,
			  uint64_t value)
{
	assert_true(i < p->n_access);
	assert_int_equal(p->access[i].write, write);
	assert_int_equal(p->access[i].bar, bar);
	assert_int_equal(p->access[i].offset, offset);
	assert_int_equal(p->access[i].size, size);
	assert_int_equal(p->access[i].value, value);
}

static void sizes_that_fit_go_through_whole(void **state)
{
	struct fixture *f = *state;

	for (unsigned size = 1; size <= 8; size *= 2) {
		f->p->n_access = 0;
		scripted_root_write(f->r, 2, 0x100 + size, 0x8877665544332211, size);
		if (size == 1 || size == 2 || size == 4 || size == 8) {
			uint64_t value = 0x8877665544332211 & (size == 8 ? ~0ull : (1ull << 8 * size) - 1);

			assert_int_equal(f->p->n_access, 1);
			expect_access(f->p, 0, true, 2, 0x100 + size, size, value);
			assert_int_equal(scripted_root_read(f->r, 2, 0x100 + size, size), value);
			assert_int_equal(f->p->n_access, 2);
			expect_access(f->p, 1, false, 2, 0x100 + size, size, value);
		}
	}
	for (unsigned size = 1; size <= 4; size *= 2) {
		scripted_root_write(f->r, 4, 4 + size, 0x44332211, size);
		assert_int_equal(scripted_root_read(f->r, 4, 4 + size, size), 0x44332211 & ((1ull << 8 * size) - 1));
	}
}

static void wide_accesses_are_cut_low_first(void **state)
{
	struct fixture *f = *state;
	uint8_t data[16];

	for (unsigned i = 0; i < 16; i++)
		data[i] = (uint8_t)(0x10 + i);
	scripted_root_memory(f->r, f->r->bar[0] + 0x40, data, 16);
	assert_int_equal(f->p->n_access, 4);
	for (unsigned i = 0; i < 4; i++)
		expect_access(f->p, i, true, 0, 0x40 + 4 * i, 4, fb_get_le32(data + 4 * i));
	f->p->n_access = 0;
	assert_int_equal(scripted_root_read(f->r, 0, 0x40, 8), fb_get_le64(data));
	assert_int_equal(f->p->n_access, 2);
	expect_access(f->p, 0, false, 0, 0x40, 4, fb_get_le32(data));
	expect_access(f->p, 1, false, 0, 0x44, 4, fb_get_le32(data + 4));

	/* 8-byte accesses where alignment allows, smaller ones around them. */
	f->p->n_access = 0;
	scripted_root_memory(f->r, f->r->bar[2] + 0x203, data, 16);
	assert_int_equal(f->p->n_access, 5);
	expect_access(f->p, 0, true, 2, 0x203, 1, 0x10);
	expect_access(f->p, 1, true, 2, 0x204, 4, fb_get_le32(data + 1));
	expect_access(f->p, 2, true, 2, 0x208, 8, fb_get_le64(data + 5));
	expect_access(f->p, 3, true, 2, 0x210, 2, fb_get_le16(data + 13));
	expect_access(f->p, 4, true, 2, 0x212, 1, data[15]);
}

static void narrow_reads_are_widened_narrow_writes_dropped(void **state)
{
	struct fixture *f = *state;

	scripted_root_write(f->r, 0, 0x10, 0xddccbbaa, 4);
	f->p->n_access = 0;
	assert_int_equal(scripted_root_read(f->r, 0, 0x11, 1), 0xbb);
	assert_int_equal(scripted_root_read(f->r, 0, 0x12, 2), 0xddcc);
	assert_int_equal(f->p->n_access, 2);
	expect_access(f->p, 0, false, 0, 0x10, 4, 0xddccbbaa);
	scripted_root_write(f->r, 0, 0x11, 0, 1);
	scripted_root_write(f->r, 0, 0x12, 0, 2);
	assert_int_equal(f->p->n_access, 2);
	assert_int_equal(scripted_root_read(f->r, 0, 0x10, 4), 0xddccbbaa);
	/* Part of a longer write is wide enough: that part is done. */
	f->p->n_access = 0;
	scripted_root_memory(f->r, f->r->bar[0] + 0x22, "abcdefgh", 8);
	assert_int_equal(f->p->n_access, 1);
	expect_access(f->p, 0, true, 0, 0x24, 4, fb_get_le32((const uint8_t *)"cdef"));
}

static void byte_enables_with_holes(void **state)
{
	struct fixture *f = *state;
	uint8_t data[8] = {1, 2, 3, 4, 5, 6, 7, 8}, want[8];

	for (unsigned be = 1; be < 16; be++) {
		memset(f->p->bar2, 0xee, 8);
		request(f->r, f->r->bar[2], 1, be, 0, data);
		for (unsigned i = 0; i < 8; i++)
			want[i] = be & 1u << i ? data[i] : 0xee;
		assert_memory_equal(f->p->bar2, want, 8);
	}
	/* Two DWs in one QW may have holes too (2.2.5). */
	for (unsigned be = 0; be < 256; be++) {
		if (!(be & 0xf) || !(be & 0xf0))
			continue;
		memset(f->p->bar2, 0xee, 8);
		request(f->r, f->r->bar[2], 2, be & 0xf, be >> 4, data);
		for (unsigned i = 0; i < 8; i++)
			want[i] = be & 1u << i ? data[i] : 0xee;
		assert_memory_equal(f->p->bar2, want, 8);
	}
	/* A register is read once, however many of its bytes are asked for in pieces. */
	scripted_root_write(f->r, 0, 0, 0x44332211, 4);
	f->p->n_access = 0;
	request(f->r, f->r->bar[0], 1, 0x9, 0, NULL);
	assert_int_equal(f->p->n_access, 1);
	const struct scripted_tlp *t = scripted_root_expect(f->r, PCIE_TLP_CPLD);
	assert_int_equal(t->tlp.byte_count, 4);
	assert_int_equal(t->tlp.lower_address, 0);
	assert_int_equal(t->data[0], 0x11);
	assert_int_equal(t->data[3], 0x44);
	request(f->r, f->r->bar[0], 1, 0x6, 0, NULL);
	t = scripted_root_expect(f->r, PCIE_TLP_CPLD);
	assert_int_equal(t->tlp.byte_count, 2);
	assert_int_equal(t->tlp.lower_address, 1);
	assert_int_equal(t->data[1], 0x22);
	assert_int_equal(t->data[2], 0x33);
}

static void zero_length(void **state)
{
	struct fixture *f = *state;
	uint8_t data[4] = {1};

	request(f->r, f->r->bar[0] + 8, 1, 0, 0, NULL); /* the flush read */
	const struct scripted_tlp *t = scripted_root_expect(f->r, PCIE_TLP_CPLD);
	assert_int_equal(t->tlp.status, PCIE_CPL_SC);
	assert_int_equal(t->tlp.length, 1);
	assert_int_equal(t->tlp.byte_count, 1);
	request(f->r, f->r->bar[0] + 8, 1, 0, 0, data);
	scripted_root_expect_nothing(f->r);
	assert_int_equal(f->p->n_access, 0);
}

/* Completions of long reads: at most MPS, cut at 128-byte boundaries, counts right in each. */
static void long_reads_are_split(void **state)
{
	struct fixture *f = *state;
	uint8_t got[4096];

	scripted_root_enumerate(f->r, &(struct scripted_config){.mps = 256, .mrrs = 512});
	for (unsigned i = 0; i < 8192; i++)
		f->p->bar2[i] = (uint8_t)(i * 7 + i / 256);
	for (unsigned start = 0; start < 140; start += 3) {
		for (unsigned len = 1; len < 4096 - start; len += 97) {
			unsigned done = 0;

			scripted_root_forget(f->r);
			scripted_root_memory(f->r, f->r->bar[2] + 4096 + start, NULL, len);
			while (done < len) {
				const struct pcie_tlp *c = &scripted_root_expect(f->r, PCIE_TLP_CPLD)->tlp;
				unsigned n = c->length * 4u - (c->lower_address & 3);

				assert_int_equal(c->byte_count, len - done);
				assert_int_equal(c->lower_address, (start + done) & 0x7f);
				assert_in_range(c->length * 4, 4, 256);
				assert_int_equal(c->completer_id, SCRIPTED_BDF);
				if (n >= len - done)
					n = len - done;
				else
					assert_int_equal((start + done + n) % 128, 0);
				memcpy(got + done, c->data + (c->lower_address & 3), n);
				done += n;
			}
			scripted_root_expect_nothing(f->r);
			assert_memory_equal(got, f->p->bar2 + 4096 + start, len);
		}
	}
}

static void decoding(void **state)
{
	struct fixture *f = *state;
	const uint64_t bad[] = {0, f->r->bar[0] - 4, f->r->bar[0] + 4096, f->r->bar[2] - 4, f->r->bar[2] + PROBE_BAR2_SIZE,
				(uint32_t)f->r->bar[2]};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		scripted_root_memory(f->r, bad[i], NULL, 4);
		const struct scripted_tlp *t = scripted_root_expect(f->r, PCIE_TLP_CPL);
		assert_int_equal(t->tlp.status, PCIE_CPL_UR);
		assert_int_equal(t->tlp.byte_count, 4);
		scripted_root_memory(f->r, bad[i], "abcd", 4);
		scripted_root_expect_nothing(f->r);
	}
	/* Partly outside is outside. */
	scripted_root_memory(f->r, f->r->bar[2] + PROBE_BAR2_SIZE - 4, NULL, 4);
	assert_int_equal(scripted_root_expect(f->r, PCIE_TLP_CPLD)->tlp.status, PCIE_CPL_SC);
	f->p->n_access = 0;

	/* Memory decoding off, I/O decoding off. */
	scripted_root_cfg_write(f->r, 4, 5, 2);
	scripted_root_memory(f->r, f->r->bar[0], NULL, 4);
	assert_int_equal(scripted_root_expect(f->r, PCIE_TLP_CPL)->tlp.status, PCIE_CPL_UR);
	scripted_root_memory(f->r, f->r->bar[0], "abcd", 4);
	scripted_root_cfg_write(f->r, 4, 6, 2);
	struct pcie_tlp io = {.type = PCIE_TLP_IORD};
	pcie_tlp_set_range(&io, f->r->bar[4], 4);
	scripted_root_send(f->r, &io);
	assert_int_equal(scripted_root_expect(f->r, PCIE_TLP_CPL)->tlp.status, PCIE_CPL_UR);
	assert_int_equal(f->p->n_access, 0);
	/* A memory address that is an I/O BAR's, and the other way round. */
	scripted_root_cfg_write(f->r, 4, 7, 2);
	scripted_root_memory(f->r, f->r->bar[4], NULL, 4);
	assert_int_equal(scripted_root_expect(f->r, PCIE_TLP_CPL)->tlp.status, PCIE_CPL_UR);
	/* BARs move. */
	scripted_root_cfg_write(f->r, 0x10, 0xd0000000, 4);
	f->r->bar[0] = 0xd0000000;
	scripted_root_write(f->r, 0, 0, 77, 4);
	assert_int_equal(scripted_root_read(f->r, 0, 0, 4), 77);
}

static void unsupported_requests(void **state)
{
	struct fixture *f = *state;
	uint8_t data[8] = {0};
	struct pcie_tlp np[] = {
		{.type = PCIE_TLP_MRDLK, .address = f->r->bar[0], .length = 1, .first_be = 0xf},
		{.type = PCIE_TLP_CFGRD1, .length = 1, .first_be = 0xf, .completer_id = SCRIPTED_BDF},
		{.type = PCIE_TLP_CFGWR1, .length = 1, .first_be = 0xf, .completer_id = SCRIPTED_BDF, .data = data},
		{.type = PCIE_TLP_FETCHADD, .address = f->r->bar[0], .length = 1, .data = data},
		{.type = PCIE_TLP_SWAP, .address = f->r->bar[0], .length = 1, .data = data},
		{.type = PCIE_TLP_CAS, .address = f->r->bar[0], .length = 2, .data = data},
	};

	for (unsigned i = 0; i < sizeof(np) / sizeof(np[0]); i++) {
		uint16_t tag = scripted_root_send(f->r, &np[i]);
		const struct scripted_tlp *t =
			scripted_root_expect(f->r, np[i].type == PCIE_TLP_MRDLK ? PCIE_TLP_CPLLK : PCIE_TLP_CPL);

		assert_int_equal(t->tlp.status, PCIE_CPL_UR);
		assert_int_equal(t->tlp.tag, tag);
	}
	assert_int_equal(f->p->n_access, 0);
	assert_int_equal(scripted_root_cfg_read(f->r, EXP + 0xa, 2), 0x9);
}

static void messages(void **state)
{
	struct fixture *f = *state;
	uint8_t power[4] = {0x2a, 0x01};
	struct pcie_tlp m = {.type = PCIE_TLP_MSGD,
			     .msg_code = PCIE_MSG_SET_SLOT_POWER_LIMIT,
			     .msg_route = PCIE_ROUTE_LOCAL,
			     .length = 1,
			     .data = power};
	const uint8_t quiet[] = {PCIE_MSG_UNLOCK, PCIE_MSG_PM_ACTIVE_STATE_NAK, PCIE_MSG_VENDOR_TYPE1, 0x40, 0x41, 0x43,
				 0x44, 0x45, 0x47, 0x48};
	const uint8_t routes[] = {PCIE_ROUTE_BROADCAST, PCIE_ROUTE_LOCAL, PCIE_ROUTE_BROADCAST, PCIE_ROUTE_LOCAL,
				  PCIE_ROUTE_LOCAL, PCIE_ROUTE_LOCAL, PCIE_ROUTE_LOCAL, PCIE_ROUTE_LOCAL,
				  PCIE_ROUTE_LOCAL, PCIE_ROUTE_LOCAL};

	scripted_root_send(f->r, &m);
	assert_int_equal(scripted_root_cfg_read(f->r, EXP + 4, 4) & 0x0ffc0000, 0x2a << 18 | 1 << 26);

	m = (struct pcie_tlp){.type = PCIE_TLP_MSG};
	for (unsigned i = 0; i < sizeof(quiet); i++) {
		m.msg_code = quiet[i];
		m.msg_route = routes[i];
		scripted_root_send(f->r, &m);
	}
	scripted_root_expect_nothing(f->r);
	assert_int_equal(scripted_root_cfg_read(f->r, EXP + 0xa, 2), 0);

	m.msg_code = PCIE_MSG_PME_TURN_OFF;
	m.msg_route = PCIE_ROUTE_BROADCAST;
	scripted_root_send(f->r, &m);
	const struct scripted_tlp *t = scripted_root_expect(f->r, PCIE_TLP_MSG);
	assert_int_equal(t->tlp.msg_code, PCIE_MSG_PME_TO_ACK);
	assert_int_equal(t->tlp.msg_route, PCIE_ROUTE_GATHER);
	/* A root that asks and asks and takes no answer does not fill our memory with them. */
	f->r->room[PCIE_FC_P] = 0;
	for (unsigned i = 0; i < 1000; i++)
		scripted_root_send(f->r, &m);
	scripted_root_allow(f->r, PCIE_FC_P, 1000);
	t = scripted_root_expect(f->r, PCIE_TLP_MSG);
	assert_int_equal(t->tlp.msg_code, PCIE_MSG_PME_TO_ACK);
	scripted_root_expect_nothing(f->r);
	f->r->room[PCIE_FC_P] = -1;

	/* Unsupported ones are posted: no completion, an error in Device Status. */
	m.msg_code = PCIE_MSG_VENDOR_TYPE0;
	m.msg_route = PCIE_ROUTE_BROADCAST;
	scripted_root_send(f->r, &m);
	scripted_root_expect_nothing(f->r);
	assert_int_equal(scripted_root_cfg_read(f->r, EXP + 0xa, 2), 0xa); /* non-fatal, UR */

	/* LTR: no requirement, said when it is switched on. */
	scripted_root_cfg_write(f->r, EXP + 0x28, 1 << 10, 2);
	t = scripted_root_expect(f->r, PCIE_TLP_MSG);
	assert_int_equal(t->tlp.msg_code, PCIE_MSG_LTR);
	assert_int_equal(t->tlp.vendor_data, 0);
	scripted_root_cfg_write(f->r, EXP + 0x28, 1 << 10, 2);
	scripted_root_expect_nothing(f->r);
}

static void poisoned_requests_change_nothing(void **state)
{
	struct fixture *f = *state;
	uint8_t data[4] = {0xff, 0xff, 0xff, 0xff};
	struct pcie_tlp w = {
		.type = PCIE_TLP_MWR, .address = f->r->bar[0], .length = 1, .first_be = 0xf, .ep = true, .data = data};
	struct pcie_tlp c = {.type = PCIE_TLP_CFGWR0,
			     .completer_id = SCRIPTED_BDF,
			     .reg = 0x0c,
			     .length = 1,
			     .first_be = 0xf,
			     .ep = true,
			     .data = data};

	scripted_root_send(f->r, &w);
	scripted_root_expect_nothing(f->r);
	assert_int_equal(f->p->n_access, 0);
	assert_int_equal(scripted_root_cfg_read(f->r, EXP + 0xa, 2), 0x2);
	assert_int_equal(scripted_root_cfg_read(f->r, AER + 4, 4), 1 << 12);
	assert_true(scripted_root_cfg_read(f->r, 6, 2) & 0x8000); /* detected parity error */
	scripted_root_send(f->r, &c);
	assert_int_equal(scripted_root_expect(f->r, PCIE_TLP_CPL)->tlp.status, PCIE_CPL_UR);
	assert_int_equal(scripted_root_cfg_read(f->r, 0x0c, 4), 0);
}

static void payload_above_mps_is_malformed(void **state)
{
	struct fixture *f = *state;
	uint8_t data[512] = {1};

	scripted_root_enumerate(f->r, &(struct scripted_config){.mps = 256});
	request(f->r, f->r->bar[2], 64, 0xf, 0xf, data);
	assert_int_not_equal(f->p->n_access, 0);
	f->p->n_access = 0;
	request(f->r, f->r->bar[2], 65, 0xf, 0xf, data);
	assert_int_equal(f->p->n_access, 0);
	assert_int_equal(scripted_root_cfg_read(f->r, EXP + 0xa, 2), 0x4); /* fatal */
	assert_int_equal(scripted_root_cfg_read(f->r, AER + 4, 4), 1 << 18);
	assert_int_equal(f->r->err_fatal, 0); /* not enabled */
}

/* The flowchart of 6.2.5, path by path, for unsupported requests. */
static void error_reporting(void **state)
{
	struct fixture *f = *state;
	struct scripted_root *r = f->r;
	uint64_t nowhere = 0x2000;

	/* Non-posted: advisory. Masked in AER by default: a bit in Device Status, no message, even if enabled. */
	scripted_root_cfg_write(r, EXP + 8, 0xf, 1);
	scripted_root_memory(r, nowhere, NULL, 4);
	assert_int_equal(r->err_cor + r->err_nonfatal + r->err_fatal, 0);
	assert_int_equal(scripted_root_cfg_read(r, AER + 4, 4), 0);
	assert_int_equal(scripted_root_cfg_read(r, AER + 0x10, 4), 0x2000);
	/* Unmasked: ERR_COR, and the uncorrectable bit with its header. */
	scripted_root_cfg_write(r, AER + 0x14, 0, 4);
	scripted_root_memory(r, nowhere, NULL, 4);
	assert_int_equal(r->err_cor, 1);
	assert_int_equal(r->err_nonfatal, 0);
	assert_int_equal(scripted_root_cfg_read(r, AER + 4, 4), 1 << 20);
	assert_int_equal(scripted_root_cfg_read(r, AER + 0x18, 4) & 0x1f, 20);
	assert_int_equal(scripted_root_cfg_read(r, AER + 0x1c, 4), 0x00000001); /* MRd, 3DW, length 1 */
	assert_int_equal(scripted_root_cfg_read(r, AER + 0x24, 4), nowhere);
	/* The first error's header stays until its bit is cleared. */
	scripted_root_memory(r, nowhere + 0x100, "abcd", 4);
	assert_int_equal(scripted_root_cfg_read(r, AER + 0x24, 4), nowhere);
	assert_int_equal(r->err_nonfatal, 1); /* posted: not advisory */
	scripted_root_cfg_write(r, AER + 4, 1 << 20, 4);
	assert_int_equal(scripted_root_cfg_read(r, AER + 4, 4), 0);
	scripted_root_memory(r, nowhere + 0x100, "abcd", 4);
	assert_int_equal(scripted_root_cfg_read(r, AER + 0x24, 4), nowhere + 0x100);
	assert_int_equal(r->err_nonfatal, 2);
	/* Fatal by severity: no longer advisory. */
	scripted_root_cfg_write(r, AER + 0xc, 1 << 20, 4);
	scripted_root_memory(r, nowhere, NULL, 4);
	assert_int_equal(r->err_fatal, 1);
	assert_int_equal(r->err_cor, 1);
	/* UR reporting off: silent, unless SERR is on. */
	scripted_root_cfg_write(r, EXP + 8, 0x7, 1);
	scripted_root_memory(r, nowhere, NULL, 4);
	assert_int_equal(r->err_fatal, 1);
	scripted_root_cfg_write(r, 4, 0x107, 2);
	scripted_root_memory(r, nowhere, NULL, 4);
	assert_int_equal(r->err_fatal, 2);
	assert_true(scripted_root_cfg_read(r, 6, 2) & 0x4000); /* signaled system error */
	/* Masked: status only. */
	scripted_root_cfg_write(r, AER + 8, 1 << 20 | 1 << 22, 4);
	scripted_root_memory(r, nowhere, NULL, 4);
	assert_int_equal(r->err_fatal, 2);

	/* Internal errors, as bad as the model says, once unmasked. */
	fb_device_internal_error(r->dev, true);
	assert_int_equal(r->err_fatal, 2);
	scripted_root_cfg_write(r, AER + 8, 0, 4);
	fb_device_internal_error(r->dev, true);
	assert_int_equal(r->err_fatal, 3);
	fb_device_internal_error(r->dev, false);
	assert_int_equal(r->err_nonfatal, 3);
	assert_true(scripted_root_cfg_read(r, AER + 4, 4) & 1 << 22);
	scripted_root_forget(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(sizes_that_fit_go_through_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(wide_accesses_are_cut_low_first, setup, teardown),
		cmocka_unit_test_setup_teardown(narrow_reads_are_widened_narrow_writes_dropped, setup, teardown),
		cmocka_unit_test_setup_teardown(byte_enables_with_holes, setup, teardown),
		cmocka_unit_test_setup_teardown(zero_length, setup, teardown),
		cmocka_unit_test_setup_teardown(long_reads_are_split, setup, teardown),
		cmocka_unit_test_setup_teardown(decoding, setup, teardown),
		cmocka_unit_test_setup_teardown(unsupported_requests, setup, teardown),
		cmocka_unit_test_setup_teardown(messages, setup, teardown),
		cmocka_unit_test_setup_teardown(poisoned_requests_change_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(payload_above_mps_is_malformed, setup, teardown),
		cmocka_unit_test_setup_teardown(error_reporting, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
