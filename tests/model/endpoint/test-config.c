/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration space: what every bit does when written, what resets it, and what sizing and the chains show. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "probe.h"
#include "scripted_root.h"

enum { PM = 0x40, MSI = 0x50, EXP = 0x70, MSIX = 0xb0, AER = 0x100, LTR = 0x158 };

/* The registers that are not read-only, by DW: which bits can be written. Independent of the code's own tables. */
static const struct {
	unsigned reg;
	uint32_t rw;
} writable[] = {
	{0x04, 0x0547},             /* I/O, memory, master, parity, SERR, INTx disable; Status is RW1C */
	{0x0c, 0xff},               /* cache line size */
	{0x10, 0xfffff000},         /* BAR 0 */
	{0x18, 0xffff0000},         /* BAR 2 */
	{0x1c, 0xffffffff},
	{0x20, 0xfffffff0},         /* BAR 4, I/O */
	{0x3c, 0xff},               /* interrupt line */
	{PM + 4, 0x3},              /* power state */
	{MSI, 0x00710000},          /* enable, multiple message enable */
	{MSI + 4, 0xfffffffc},
	{MSI + 8, 0xffffffff},
	{MSI + 12, 0xffff},
	{MSI + 16, 0xff},           /* 8 vectors */
	{EXP + 8, 0x79ff},          /* without FLR, which reads as zero */
	{EXP + 0x10, 0xc8},
	{EXP + 0x28, 0x171f},
	{EXP + 0x30, 0xf},
	{MSIX, 0xc0000000},
	{AER + 0x14, 0x2000},
	{LTR + 4, 0x1fff1fff},
};
enum { AER_BITS = 1 << 12 | 1 << 14 | 1 << 15 | 1 << 16 | 1 << 18 | 1 << 20 | 1 << 22 };

static uint32_t writable_bits(unsigned reg)
{
	if (reg == AER + 0x08 || reg == AER + 0x0c)
		return AER_BITS;
	for (unsigned i = 0; i < sizeof(writable) / sizeof(writable[0]); i++) {
		if (writable[i].reg == reg)
			return writable[i].rw;
	}
	return 0;
}

static void every_register_obeys_its_mask(void **state)
{
	struct scripted_root *r = scripted_root_new(&probe_model, "id=t", 0);

	for (unsigned reg = 0; reg < 4096; reg += 4) {
		uint32_t bits = writable_bits(reg), before = scripted_root_cfg_read(r, reg, 4);
		uint32_t no_flr = reg == EXP + 8 ? ~0x8000u : ~0u, ones, zeros;

		scripted_root_cfg_write(r, reg, no_flr, 4);
		ones = scripted_root_cfg_read(r, reg, 4);
		scripted_root_cfg_write(r, reg, 0, 4);
		zeros = scripted_root_cfg_read(r, reg, 4);
		if (ones != (before | bits) || zeros != (before & ~bits))
			fail_msg("register 0x%x: 0x%x, after ones 0x%x, after zeros 0x%x, writable 0x%x", reg, before, ones,
				 zeros, bits);
		scripted_root_cfg_write(r, reg, before, 4);
		/* One byte at a time touches no other byte. */
		for (unsigned i = 0; i < 4; i++) {
			uint32_t mask = 0xffu << 8 * i;

			scripted_root_cfg_write(r, reg + i, 0xff & no_flr >> 8 * i, 1);
			assert_int_equal(scripted_root_cfg_read(r, reg, 4), before | (bits & mask));
			scripted_root_cfg_write(r, reg, before, 4);
		}
		assert_int_equal(scripted_root_cfg_read(r, reg, 4), before);
	}
	scripted_root_free(r);
	(void)state;
}

static void reset_brings_power_on_values_back(void **state)
{
	struct scripted_root *r = scripted_root_new(&probe_model, "id=t", 0);
	static uint32_t power_on[1024];

	for (unsigned i = 0; i < 1024; i++)
		power_on[i] = scripted_root_cfg_read(r, 4 * i, 4);
	/* A session's end: all of it. */
	for (unsigned i = 0; i < 1024; i++)
		scripted_root_cfg_write(r, 4 * i, i == (EXP + 8) / 4 ? 0x7fff : ~0u, 4);
	scripted_root_detach(r);
	scripted_root_attach(r);
	for (unsigned i = 0; i < 1024; i++)
		assert_int_equal(scripted_root_cfg_read(r, 4 * i, 4), power_on[i]);

	/* A function level reset: all but what 6.6.2 lists. */
	for (unsigned i = 0; i < 1024; i++)
		scripted_root_cfg_write(r, 4 * i, i == (EXP + 8) / 4 ? 0x7fff : i == (PM + 4) / 4 ? 0 : ~0u, 4);
	scripted_root_cfg_write(r, EXP + 8, 0x8000 | 5 << 5, 2);
	for (unsigned i = 0; i < 1024; i++) {
		uint32_t want = power_on[i];

		if (4 * i == EXP + 8)
			want = (want & ~0xe0u) | 5 << 5; /* MPS */
		else if (4 * i == EXP + 0x10)
			want |= 0xc8; /* Link Control */
		else if (4 * i == EXP + 0x30)
			want |= 0xf; /* Link Control 2 */
		else if (4 * i == AER + 8 || 4 * i == AER + 0xc)
			want |= AER_BITS; /* sticky */
		else if (4 * i == AER + 0x14)
			want |= 0x2000;
		assert_int_equal(scripted_root_cfg_read(r, 4 * i, 4), want);
	}
	scripted_root_free(r);
	(void)state;
}

static void identity_and_capabilities(void **state)
{
	struct scripted_root *r = scripted_root_new(&probe_model, "id=t", 0);

	scripted_root_enumerate(r, NULL);
	assert_int_equal(scripted_root_cfg_read(r, 0, 4), 0xfb011b36);
	assert_int_equal(scripted_root_cfg_read(r, 8, 4), 0xff010203);
	assert_int_equal(scripted_root_cfg_read(r, 0x2c, 4), 0x11001af4);
	assert_int_equal(scripted_root_cfg_read(r, 0x0e, 1), 0); /* type 0, one function */
	assert_int_equal(scripted_root_cfg_read(r, 0x3d, 1), 1); /* INTA */
	assert_int_equal(r->cap_pm, PM);
	assert_int_equal(r->cap_msi, MSI);
	assert_int_equal(r->cap_exp, EXP);
	assert_int_equal(r->cap_msix, MSIX);
	assert_int_equal(r->ext_aer, AER);
	assert_int_equal(r->bar_size[0], 4096);
	assert_int_equal(r->bar_size[2], PROBE_BAR2_SIZE);
	assert_int_equal(r->bar_size[4], 16);
	assert_int_equal(scripted_root_cfg_read(r, 0x18, 4) & 0xf, 0xc); /* 64-bit, prefetchable */
	assert_int_equal(scripted_root_cfg_read(r, MSI + 2, 2), 0x0186); /* 8 vectors, 64-bit, masks */
	assert_int_equal(scripted_root_cfg_read(r, MSIX + 2, 2), PROBE_VECTORS - 1);
	assert_int_equal(scripted_root_cfg_read(r, MSIX + 4, 4), PROBE_MSIX | 2);
	assert_int_equal(scripted_root_cfg_read(r, MSIX + 8, 4), (PROBE_MSIX + 16 * PROBE_VECTORS) | 2);
	assert_int_equal(scripted_root_cfg_read(r, EXP + 2, 2), 0x12);       /* v2, legacy endpoint: it has I/O */
	assert_int_equal(scripted_root_cfg_read(r, EXP + 4, 4), 0x10008fe5); /* FLR, RBER, tags, MPS 4096 */
	assert_int_equal(scripted_root_cfg_read(r, EXP + 0x12, 2), 0x1043);  /* Gen3 x4, slot clock */
	assert_int_equal(scripted_root_cfg_read(r, 0x148, 4) & 0xffff, 3);   /* serial number */
	assert_int_equal(scripted_root_cfg_read(r, 0x14c, 4), 0x89abcdef);
	assert_int_equal(scripted_root_cfg_read(r, 0x150, 4), 0x01234567);
	/* Enumeration leaves no trace of an error. */
	assert_int_equal(scripted_root_cfg_read(r, EXP + 0x0a, 2), 0);
	assert_int_equal(scripted_root_cfg_read(r, AER + 4, 4), 0);
	assert_int_equal(scripted_root_cfg_read(r, AER + 0x10, 4), 0);
	assert_int_equal(scripted_root_cfg_read(r, 6, 2), 0x10);
	scripted_root_free(r);
	(void)state;
}

static void capabilities_can_be_left_out(void **state)
{
	struct scripted_root *r = scripted_root_new(&probe_model, "id=t,msi=off,msix=off", 0);

	scripted_root_enumerate(r, NULL);
	assert_int_equal(r->cap_msi, 0);
	assert_int_equal(r->cap_msix, 0);
	assert_int_equal(r->cap_pm, PM);
	assert_int_equal(r->cap_exp, EXP);
	/* What was MSI-X's range is the model's. */
	scripted_root_write(r, 2, PROBE_MSIX, 0x1234, 4);
	assert_int_equal(((struct probe *)fb_device_state(r->dev))->n_access, 1);
	scripted_root_free(r);
	(void)state;
}

/* Link Capabilities, Status, Capabilities 2, Control 2, Status 2; Secondary PCIe only at 8 GT/s. */
static void a_model_may_have_another_link(void **state)
{
	static const struct {
		uint8_t speed, width;
		uint32_t cap, cap2;
		uint16_t sta, ctl2, sta2;
		bool secondary;
	} links[] = {{0, 0, 0x400043, 0xe, 0x1043, 3, 0x1e, true},  {1, 1, 0x400011, 0x2, 0x1011, 1, 0, false},
		     {2, 0, 0x400042, 0x6, 0x1042, 2, 0, false},    {0, 8, 0x400083, 0xe, 0x1083, 3, 0x1e, true}};
	static struct fb_model m;

	for (unsigned i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		struct scripted_root *r;

		m = probe_model;
		m.link_speed = links[i].speed;
		m.link_width = links[i].width;
		r = scripted_root_new(&m, "id=t", 0);
		scripted_root_enumerate(r, NULL);
		assert_int_equal(scripted_root_cfg_read(r, EXP + 0x0c, 4), links[i].cap);
		assert_int_equal(scripted_root_cfg_read(r, EXP + 0x12, 2), links[i].sta);
		assert_int_equal(scripted_root_cfg_read(r, EXP + 0x2c, 4), links[i].cap2);
		assert_int_equal(scripted_root_cfg_read(r, EXP + 0x30, 2), links[i].ctl2);
		assert_int_equal(scripted_root_cfg_read(r, EXP + 0x32, 2), links[i].sta2);
		assert_int_equal(scripted_root_cfg_read(r, LTR, 4), 0x10018 | (links[i].secondary ? 0x160u << 20 : 0));
		assert_int_equal(scripted_root_cfg_read(r, 0x160, 4), links[i].secondary ? 0x10019 : 0);
		scripted_root_free(r);
	}
	(void)state;
}

static void bdf_is_captured_from_writes_only(void **state)
{
	struct scripted_root *r = scripted_root_new(&probe_model, "id=t", 0);
	uint8_t zero[4] = {0};
	struct pcie_tlp tlp = {.type = PCIE_TLP_CFGRD0, .length = 1, .completer_id = 0x0500, .first_be = 0xf};

	scripted_root_send(r, &tlp);
	assert_int_equal(scripted_root_expect(r, PCIE_TLP_CPLD)->tlp.completer_id, 0);
	assert_string_equal(fb_device_name(r->dev), "t");
	tlp.type = PCIE_TLP_CFGWR0;
	tlp.data = zero;
	scripted_root_send(r, &tlp);
	assert_int_equal(scripted_root_expect(r, PCIE_TLP_CPL)->tlp.completer_id, 0x0500);
	assert_string_equal(fb_device_name(r->dev), "t 05:00.0");
	tlp.completer_id = 0x2a18;
	scripted_root_send(r, &tlp);
	assert_int_equal(scripted_root_expect(r, PCIE_TLP_CPL)->tlp.completer_id, 0x2a18);
	assert_string_equal(fb_device_name(r->dev), "t 2a:03.0");

	/* Another function of the device is not there, and is not captured. */
	for (unsigned fn = 1; fn < 8; fn++) {
		tlp.completer_id = (uint16_t)(0x2a18 + fn);
		scripted_root_send(r, &tlp);
		const struct scripted_tlp *t = scripted_root_expect(r, PCIE_TLP_CPL);
		assert_int_equal(t->tlp.status, PCIE_CPL_UR);
		assert_int_equal(t->tlp.completer_id, 0x2a18);
	}
	scripted_root_detach(r);
	assert_string_equal(fb_device_name(r->dev), "t");
	scripted_root_attach(r);
	scripted_root_forget(r);
	scripted_root_free(r);
	(void)state;
}

static void power_states(void **state)
{
	struct scripted_root *r = scripted_root_new(&probe_model, "id=t", 0);
	struct probe *p = fb_device_state(r->dev);

	scripted_root_enumerate(r, NULL);
	assert_int_equal(scripted_root_cfg_read(r, PM + 4, 2), 8); /* D0, no soft reset */
	scripted_root_cfg_write(r, PM + 4, 1, 2);
	assert_int_equal(scripted_root_cfg_read(r, PM + 4, 2), 8); /* D1 is not there */
	scripted_root_cfg_write(r, PM + 4, 3, 2);
	assert_int_equal(scripted_root_cfg_read(r, PM + 4, 2), 0xb);
	/* In D3hot only configuration is answered, and nothing is asked. */
	scripted_root_memory(r, r->bar[0], NULL, 4);
	assert_int_equal(scripted_root_expect(r, PCIE_TLP_CPL)->tlp.status, PCIE_CPL_UR);
	assert_int_equal(fb_dma_read(r->dev, r->mem_base, p->bar0, 4, NULL, NULL), -1 /* -EPERM */);
	scripted_root_cfg_write(r, PM + 4, 0, 2);
	assert_int_equal(scripted_root_read(r, 0, 0, 4), 0);
	assert_int_equal(p->resets, 0);
	scripted_root_free(r);

	r = scripted_root_new(&probe_model, "id=t,d3-reset=on", 0);
	p = fb_device_state(r->dev);
	scripted_root_enumerate(r, NULL);
	assert_int_equal(scripted_root_cfg_read(r, PM + 4, 2), 0);
	scripted_root_cfg_write(r, PM + 4, 3, 2);
	assert_int_equal(p->resets, 0);
	scripted_root_cfg_write(r, PM + 4, 0, 2);
	assert_int_equal(p->resets, 1);
	assert_int_equal(p->last_reset, FB_RESET_D3);
	assert_int_equal(scripted_root_cfg_read(r, 4, 2), 0);
	assert_int_equal(scripted_root_cfg_read(r, 0x10, 4), 0);
	scripted_root_free(r);
	(void)state;
}

static void status_bits_are_cleared_by_ones(void **state)
{
	struct scripted_root *r = scripted_root_new(&probe_model, "id=t", 0);

	scripted_root_enumerate(r, NULL);
	scripted_root_memory(r, 0x1000, NULL, 4);
	assert_int_equal(scripted_root_expect(r, PCIE_TLP_CPL)->tlp.status, PCIE_CPL_UR);
	assert_int_equal(scripted_root_cfg_read(r, EXP + 0x0a, 2), 0x9); /* correctable (advisory), UR */
	scripted_root_cfg_write(r, EXP + 0x0a, 0, 2);
	assert_int_equal(scripted_root_cfg_read(r, EXP + 0x0a, 2), 0x9);
	scripted_root_cfg_write(r, EXP + 0x0a, 0x8, 2);
	assert_int_equal(scripted_root_cfg_read(r, EXP + 0x0a, 2), 0x1);
	scripted_root_cfg_write(r, EXP + 0x0a, 0xff, 1);
	assert_int_equal(scripted_root_cfg_read(r, EXP + 0x0a, 2), 0);
	assert_int_equal(scripted_root_cfg_read(r, AER + 0x10, 4), 0x2000);
	scripted_root_cfg_write(r, AER + 0x10, 0x2000, 4);
	assert_int_equal(scripted_root_cfg_read(r, AER + 0x10, 4), 0);
	scripted_root_free(r);
	(void)state;
}

static void the_model_hears_of_writes(void **state)
{
	struct scripted_root *r = scripted_root_new(&probe_model, "id=t", 0);
	const struct probe *p = fb_device_state(r->dev);
	unsigned before;

	scripted_root_cfg_write(r, 4, 6, 2);
	assert_int_equal(p->n_written, 1);
	assert_int_equal(p->written_at, 4);
	assert_int_equal(p->written_len, 2);
	scripted_root_cfg_write(r, 0x3c, 0x11, 1);
	assert_int_equal(p->written_at, 0x3c);
	assert_int_equal(p->written_len, 1);
	scripted_root_cfg_write(r, 0x18, 0xffffffff, 4);
	assert_int_equal(p->written_at, 0x18);
	assert_int_equal(p->written_len, 4);
	before = p->n_written;
	scripted_root_cfg_read(r, 4, 4);
	scripted_root_cfg_write(r, EXP + 8, 0x8000, 2); /* a function level reset is reset()'s to hear of */
	assert_int_equal(p->n_written, before);
	assert_int_equal(p->resets, 1);
	scripted_root_free(r);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_register_obeys_its_mask),
		cmocka_unit_test(reset_brings_power_on_values_back),
		cmocka_unit_test(identity_and_capabilities),
		cmocka_unit_test(capabilities_can_be_left_out),
		cmocka_unit_test(a_model_may_have_another_link),
		cmocka_unit_test(bdf_is_captured_from_writes_only),
		cmocka_unit_test(power_states),
		cmocka_unit_test(status_bits_are_cleared_by_ones),
		cmocka_unit_test(the_model_hears_of_writes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
