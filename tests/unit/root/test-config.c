/* SPDX-License-Identifier: Apache-2.0 */
/* What the guest sees of configuration space, and what reaches the function: tables, no network. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "root/config.h"
#include "util/reader.h"

enum { PM = 0x40, MSI = 0x48, PCIE = 0x60, MSIX = 0xa0 };

static struct fb_config c;
static uint8_t h[256];
static uint32_t sizes[7];

static void make(void)
{
	memset(h, 0, sizeof(h));
	memset(sizes, 0, sizeof(sizes));
	fb_put_le32(h, 0x56781234);
	h[0x06] = 0x10;
	fb_put_le32(h + 0x10, 0xc);
	sizes[0] = 0xffffc00c;
	sizes[1] = 0xffffffff;
	fb_put_le32(h + 0x18, 1);
	sizes[2] = 0xffffffe1;
	sizes[3] = 0xfffff000;
	h[0x34] = PM;
	h[0x3d] = 1;
	fb_put_le32(h + PM, 3u << 16 | MSI << 8 | 1);
	fb_put_le32(h + MSI, 0x8au << 16 | PCIE << 8 | 5); /* 64 bits, 32 vectors */
	fb_put_le32(h + PCIE, 2u << 16 | MSIX << 8 | 0x10);
	fb_put_le32(h + PCIE + 4, 1u << 28 | 2);
	fb_put_le32(h + MSIX, 15u << 16 | 0x11);
	fb_put_le32(h + MSIX + 4, 0x2000);
	fb_put_le32(h + MSIX + 8, 0x3000);
}

static int parse(bool hide, const char **why)
{
	*why = "";
	return fb_config_parse(&c, h, sizes, hide, why);
}

static int setup(void **state)
{
	const char *why;

	make();
	assert_int_equal(parse(false, &why), 0);
	return 0;
}

static void test_refused(void **state)
{
	static const struct {
		unsigned at, size;
		uint32_t value;
		const char *why;
	} bad[] = {
		{0x00, 2, 0xffff, "vendor ID"},
		{0x0e, 1, 0x01, "header type"},
		{0x3d, 1, 5, "interrupt pin"},
		{0x34, 1, 0x3c, "list is broken"},
		{PM + 1, 1, PM, "list is broken"},
		{MSI + 2, 2, 0x8c, "more than 32"},
		{PCIE + 4, 4, 6, "reserved"},
		{MSIX + 4, 4, 0x2006, "outside its BARs"},
		{MSIX + 4, 4, 0x2001, "outside its BARs"},
		{MSIX + 4, 4, 0x3f08, "outside its BARs"},
		{MSIX + 4, 4, 0x0002, "outside its BARs"}, /* an I/O BAR */
		{MSIX + 8, 4, 0x4000, "outside its BARs"},
		{PCIE + 1, 1, 0xf8, "runs out"},           /* made MSI-X below */
	};
	const char *why;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		make();
		h[0xf8] = 0x11;
		for (unsigned b = 0; b < bad[i].size; b++)
			h[bad[i].at + b] = (uint8_t)(bad[i].value >> (8 * b));
		if (parse(false, &why) != -EPROTO || !strstr(why, bad[i].why))
			fail_msg("row %u: \"%s\", not \"%s\"", i, why, bad[i].why);
	}
	make();
	sizes[0] = 0xfff0f00c;
	assert_int_equal(parse(false, &why), -EPROTO);
	make();
	fb_put_le32(h + 0x24, 4);
	sizes[5] = 0xfffff004;
	assert_int_equal(parse(false, &why), -EPROTO);
	assert_non_null(strstr(why, "last BAR"));
	make();
	sizes[3] = sizes[4] = sizes[5] = 0x80000000;
	assert_int_equal(parse(false, &why), -EPROTO);
	assert_non_null(strstr(why, "4 GiB"));
}

/* One write: what it does to the guest's view and what reaches the function. */
static void test_writes(void **state)
{
	static const struct {
		uint32_t offset;
		unsigned len;
		uint32_t value;
		unsigned did;
		int ops; /* requests */
		uint32_t reg, sent, be;
	} t[] = {
		{0x04, 2, 0x0006, FB_CONFIG_DID_COMMAND, 1, 0x04, 0x0006, 3},
		{0x05, 1, 0x04, FB_CONFIG_DID_COMMAND, 1, 0x04, 0x0400, 2},
		{0x3c, 1, 0x0b, 0, 1, 0x3c, 0x0b, 1},
		{0x10, 4, 0xffffffff, FB_CONFIG_DID_BAR, 0, 0, 0, 0},
		{0x1c, 2, 0xffff, FB_CONFIG_DID_BAR, 0, 0, 0, 0},
		{0x0e, 4, 0xffffffff, FB_CONFIG_DID_BAR, 1, 0x0c, 0xffff0000, 0xc}, /* across a register */
		{0x30, 4, 0xfffff800, 0, 0, 0, 0, 0},
		{MSI + 2, 2, 0x0031, FB_CONFIG_DID_MSI, 1, MSI, 0x00000000, 0xc}, /* enable and count stay here */
		{MSI + 4, 4, 0xfee00000, 0, 0, 0, 0, 0},
		{MSI + 8, 4, 0x1, 0, 0, 0, 0, 0},
		{MSI + 12, 2, 0x4049, 0, 0, 0, 0, 0},
		{MSIX + 2, 2, 0xc000, FB_CONFIG_DID_MSI, 1, MSIX, 0x00000000, 0xc},
		{MSIX + 3, 1, 0x80, FB_CONFIG_DID_MSI, 1, MSIX, 0, 0x8}, /* an odd byte (libvfio-user #640) */
		{PCIE + 8, 2, 0x281f, 0, 1, PCIE + 8, 0x585f, 3}, /* the wire's MPS and MRRS, the guest's rest */
		{PCIE + 8, 2, 0x8000, FB_CONFIG_DID_FLR, 1, PCIE + 8, 0x5040, 3},
		{PCIE + 9, 1, 0x80, FB_CONFIG_DID_FLR, 1, PCIE + 8, 0x5000, 2},
		{PM + 4, 2, 3, 0, 1, PM + 4, 3, 3},
	};

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct fb_op ops[8];
		uint8_t data[4];
		unsigned did, n;

		setup(state);
		fb_put_le32(data, t[i].value);
		n = fb_config_write(&c, t[i].offset, t[i].len, data, ops, &did);
		if ((int)n != t[i].ops || did != t[i].did)
			fail_msg("row %u: %u requests, did %u", i, n, did);
		if (n && (ops[0].address != t[i].reg || ops[0].be != t[i].be || ops[0].value != t[i].sent || !ops[0].write))
			fail_msg("row %u: register 0x%x, value 0x%x, be %x", i, ops[0].address, ops[0].value, ops[0].be);
	}
}

static uint32_t guest_read(uint32_t offset, unsigned len, uint32_t function)
{
	struct fb_op ops[8];
	uint8_t buf[4] = {0};
	unsigned n = fb_config_read_ops(&c, offset, len, ops);

	for (unsigned i = 0; i < n; i++) {
		ops[i].status = PCIE_CPL_SC;
		ops[i].value = function;
	}
	fb_config_read_result(&c, offset, len, ops, n, buf);
	return fb_get_le32(buf);
}

static void guest_write(uint32_t offset, unsigned len, uint32_t value)
{
	struct fb_op ops[8];
	uint8_t data[4];
	unsigned did;

	fb_put_le32(data, value);
	fb_config_write(&c, offset, len, data, ops, &did);
}

static void test_reads(void **state)
{
	assert_int_equal(guest_read(0, 4, 0x56781234), 0x56781234);
	assert_int_equal(guest_read(1, 2, 0x56781234), 0x7812);
	assert_int_equal(guest_read(0x10, 4, 0xdeadbeef), 0xc);
	guest_write(0x10, 4, 0xffffffff);
	assert_int_equal(guest_read(0x10, 4, 0xdeadbeef), 0xffffc00c);
	guest_write(0x18, 4, 0xffffffff);
	assert_int_equal(guest_read(0x18, 4, 0xdeadbeef), 0xffffffe1);
	guest_write(0x1c, 4, 0xfffff123);
	assert_int_equal(guest_read(0x1c, 4, 0), 0xfffff000);
	guest_write(0x20, 4, 0xffffffff); /* not implemented */
	assert_int_equal(guest_read(0x20, 4, 0xdeadbeef), 0);
	assert_int_equal(guest_read(0x30, 4, 0xdeadbeef), 0);
	/* partly the function's, partly ours */
	guest_write(MSI + 2, 2, 0x0051);
	assert_int_equal(guest_read(MSI, 4, 0x008a6005), 0x00db6005);
	guest_write(PCIE + 8, 2, 0x2810 | 0x20);
	assert_int_equal(guest_read(PCIE + 8, 4, 0x00015fff), 0x00012e3f); /* device status is the function's */
	/* an error is all ones, the shadow's bits too */
	{
		struct fb_op op;
		uint8_t buf[4];

		assert_int_equal(fb_config_read_ops(&c, MSI, 4, &op), 1);
		op.status = PCIE_CPL_UR;
		op.value = UINT32_MAX;
		fb_config_read_result(&c, MSI, 4, &op, 1, buf);
		assert_int_equal(fb_get_le32(buf), UINT32_MAX);
	}
}

static void test_bar_addresses(void **state)
{
	struct fb_op ops[16];
	unsigned n;

	n = fb_config_program(&c, ops);
	assert_in_range(n, 5, 32);
	assert_int_equal(fb_config_move_bars(&c, ops), 0); /* where they are is where they should be */
	guest_write(0x10, 4, 0x10000000); /* in the way of BAR 3, which the guest has not placed */
	guest_write(0x14, 4, 0);
	n = fb_config_move_bars(&c, ops);
	assert_int_equal(c.bars[0].address, 0x10000000);
	assert_true(c.bars[3].address + 0x1000 <= 0x10000000 || c.bars[3].address >= 0x10004000);
	assert_int_equal(n, 3);
	assert_int_equal(ops[0].value, 0x10000000);
	/* sizing while decoding: as if it were not assigned */
	guest_write(0x10, 4, 0xffffffff);
	guest_write(0x14, 4, 0xffffffff);
	fb_config_move_bars(&c, ops);
	assert_int_equal(c.bars[0].address, c.bars[0].standby);
	/* two at the same place: one gives way */
	guest_write(0x10, 4, 0xe0000000);
	guest_write(0x14, 4, 0);
	guest_write(0x1c, 4, 0xe0001000);
	fb_config_move_bars(&c, ops);
	assert_int_equal(c.bars[0].address, 0xe0000000);
	assert_true(c.bars[3].address < 0xe0000000 || c.bars[3].address >= 0xe0004000);
	fb_config_reset(&c);
	assert_int_equal(guest_read(0x1c, 4, 0), 0);
	assert_int_equal(c.bars[0].address, c.bars[0].standby);
}

static void test_hidden(void **state)
{
	const char *why;

	make();
	assert_int_equal(parse(true, &why), 0);
	assert_true(c.msix_hidden);
	assert_int_equal(guest_read(PCIE, 4, fb_get_le32(h + PCIE)), 2u << 16 | 0x10); /* the end of the list now */
	assert_int_equal(guest_read(MSIX, 4, fb_get_le32(h + MSIX)), 0);
	guest_write(MSIX + 2, 2, 0x8000);
	assert_int_equal(guest_read(MSIX, 4, fb_get_le32(h + MSIX)), 0);
	assert_false(fb_config_guest_msix(&c));
	/* a second one would stay in sight */
	make();
	memcpy(h + 0xe0, h + MSIX, 12);
	h[MSIX + 1] = 0xe0;
	assert_int_equal(parse(true, &why), -EPROTO);
	assert_non_null(strstr(why, "twice"));
	/* it may be the first one, too */
	make();
	h[0x34] = MSIX;
	h[MSIX + 1] = PM;
	h[PCIE + 1] = 0;
	assert_int_equal(parse(true, &why), 0);
	assert_int_equal(guest_read(0x34, 1, MSIX), PM);
}

/* Whatever the guest writes: the root's bits never reach the function, reads give back what may be written. */
static void test_random(void **state)
{
	static uint8_t function[4096];

	srand(11);
	memcpy(function, h, sizeof(h));
	for (unsigned i = 0; i < 200000; i++) {
		uint32_t offset = (uint32_t)rand() % 300, len = 1 + (uint32_t)rand() % 8;
		uint8_t data[8], back[8];
		struct fb_op ops[8];
		unsigned n, did;

		for (unsigned b = 0; b < 8; b++)
			data[b] = (uint8_t)rand();
		n = fb_config_write(&c, offset, len, data, ops, &did);
		assert_in_range(n, 0, len / 4 + 2);
		for (unsigned k = 0; k < n; k++) {
			for (unsigned b = 0; b < 4; b++) {
				uint32_t at = ops[k].address + b;

				if (!(ops[k].be & 1u << b))
					continue;
				assert_in_range(at, offset, offset + len - 1);
				assert_int_equal((ops[k].value >> (8 * b) ^ c.wire[at]) & c.virt[at], 0);
				function[at] = (uint8_t)(ops[k].value >> (8 * b));
			}
		}
		n = fb_config_read_ops(&c, offset, len, ops);
		for (unsigned k = 0; k < n; k++) {
			ops[k].status = PCIE_CPL_SC;
			ops[k].value = fb_get_le32(function + ops[k].address);
		}
		fb_config_read_result(&c, offset, len, ops, n, back);
		for (unsigned b = 0; b < len; b++)
			assert_int_equal((back[b] ^ data[b]) & c.wmask[offset + b], 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_writes),
		cmocka_unit_test_setup(test_reads, setup),
		cmocka_unit_test_setup(test_bar_addresses, setup),
		cmocka_unit_test(test_hidden),
		cmocka_unit_test_setup(test_random, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
