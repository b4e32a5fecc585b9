/* SPDX-License-Identifier: Apache-2.0 */
/* The datagrams of SoftPCIe, byte by byte, as the published hardware and programs have them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "softpcie/softpcie_wire.h"

static void ports(void **state)
{
	static const struct {
		uint16_t tag;
		bool from_host, old_rule;
		uint16_t port;
	} t[] = {
		{0, false, false, 0x3000},  {255, false, false, 0x30ff}, {0x1ff, false, false, 0x30ff},
		{0, true, false, 0x4000},   {17, true, false, 0x4001},   {255, true, false, 0x400f},
		{3, true, true, 0x3003},    {255, true, true, 0x30ff},   {7, false, true, 0x3007},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		assert_int_equal(softpcie_port(t[i].tag, t[i].from_host, t[i].old_rule), t[i].port);
}

static void port_fits(void **state)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_MRD, .tag = 0x23};

	assert_true(softpcie_port_fits(&tlp, 0x3023, false));
	assert_true(softpcie_port_fits(&tlp, 0x4003, false));
	assert_false(softpcie_port_fits(&tlp, 0x4003, true));
	assert_false(softpcie_port_fits(&tlp, 0x3003, false));
	assert_false(softpcie_port_fits(&tlp, 0x5001, false));
	tlp.tag = 256;
	assert_false(softpcie_port_fits(&tlp, 0x3000, false));
	tlp.tag = 0;
	for (unsigned i = 0; i < PCIE_TLP_TYPES; i++) {
		tlp.type = (enum pcie_tlp_type)i;
		assert_int_equal(softpcie_port_fits(&tlp, 0x3000, false),
				 i == PCIE_TLP_MRD || i == PCIE_TLP_MWR || i == PCIE_TLP_CPL || i == PCIE_TLP_CPLD);
	}
	tlp.type = PCIE_TLP_MWR;
	tlp.n_prefixes = 1;
	assert_false(softpcie_carries(&tlp));
}

/* MRd of 512 bytes at 0x1000 by 01:00.0, tag 3, as libtlp sends it (sequence and time stamp 0), and as the adapter would. */
static void framing(void **state)
{
	static const uint8_t read_512[] = {0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0x00, 0x00, 0x00, 0x80,
					   0x01, 0x00, 0x03, 0xff, 0x00, 0x00, 0x10, 0x00};
	struct softpcie_header h;
	struct pcie_tlp tlp;
	const uint8_t *p;
	uint8_t out[6];
	size_t len;

	assert_int_equal(softpcie_parse(read_512, sizeof(read_512), &h, &p, &len), 0);
	assert_int_equal(h.sequence, 0x1234);
	assert_int_equal(h.timestamp, 0x56789abc);
	assert_ptr_equal(p, read_512 + 6);
	assert_int_equal(len, 12);
	assert_int_equal(pcie_tlp_decode(&tlp, p, len), PCIE_TLP_OK);
	assert_int_equal(tlp.type, PCIE_TLP_MRD);
	assert_int_equal(tlp.tag, 3);
	assert_int_equal(tlp.length, 128);
	assert_int_equal(tlp.address, 0x1000);
	softpcie_put_header(out, &h);
	assert_memory_equal(out, read_512, 6);
	for (size_t n = 0; n < sizeof(read_512); n++)
		assert_int_equal(softpcie_parse(read_512, n, &h, &p, &len), -EMSGSIZE);
}

/* The published captures: 404,690 ticks in 2.587 ms and a bit; it wraps every 27.5 s. */
static void clock_of_stamps(void **state)
{
	assert_int_equal(softpcie_ticks(0), 0);
	assert_int_equal(softpcie_ticks(32), 5);
	assert_int_equal(softpcie_ticks(1000000000), 156250000);
	assert_int_equal(softpcie_ticks(2590016), 404690);
	assert_int_equal(softpcie_ticks(UINT64_C(27487790694)), 0xffffffff);
	assert_int_equal(softpcie_ticks(UINT64_C(27487790720)), 4);
	assert_int_equal(softpcie_ticks(UINT64_C(1000000000) * 86400 * 365) + softpcie_ticks(64),
			 softpcie_ticks(UINT64_C(1000000000) * 86400 * 365 + 64));
}

static void config(void **state)
{
	static const struct {
		uint8_t bytes[6];
		struct softpcie_config config;
		int err;
	} t[] = {
		{{0x3c, 0x01, 0, 0, 0, 0}, {.be = 15, .reg = 4}, 0},
		{{0x00, 0x00, 0x80, 0x22, 0x37, 0x76}, {.reg = 0, .data = 0x80223776}, 0},
		{{0x4c, 0x04, 0x12, 0x34, 0x56, 0x78}, {.write = true, .be = 3, .reg = 16, .data = 0x12345678}, 0},
		{{0x7f, 0xff, 0, 0, 0, 1}, {.write = true, .be = 15, .reg = 4092, .data = 1}, 0},
		{{0x80, 0x00, 0, 0, 0, 0}, {0}, -EBADMSG},
		{{0xc0, 0x00, 0, 0, 0, 0}, {0}, -EBADMSG},
	};
	uint8_t padded[18] = {0}, out[6];
	struct softpcie_config c;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		assert_int_equal(softpcie_config_get(&c, t[i].bytes, 6), t[i].err);
		if (t[i].err)
			continue;
		assert_int_equal(c.write, t[i].config.write);
		assert_int_equal(c.be, t[i].config.be);
		assert_int_equal(c.reg, t[i].config.reg);
		assert_int_equal(c.data, t[i].config.data);
		softpcie_config_put(&c, out);
		assert_memory_equal(out, t[i].bytes, 6);
		memcpy(padded, t[i].bytes, 6);
		assert_int_equal(softpcie_config_get(&c, padded, 18), 0);
		padded[17] = 1;
		assert_int_equal(softpcie_config_get(&c, padded, 18), -EMSGSIZE);
		padded[17] = 0;
		for (size_t n = 0; n < 18; n++)
			assert_int_equal(softpcie_config_get(&c, padded, n), n == 6 ? 0 : -EMSGSIZE);
	}
}

static void registers(void **state)
{
	static const uint8_t magic[] = {0x10, 0x00, 0x67, 0x45, 0x23, 0x01};
	struct softpcie_register_access a;
	uint8_t out[6], other[6] = {0x20, 0, 0, 0, 0, 0};

	assert_int_equal(softpcie_register_get(&a, magic, 6), 0);
	assert_int_equal(a.op, SOFTPCIE_REGISTER_READ);
	assert_int_equal(a.index, SOFTPCIE_REG_MAGIC);
	assert_int_equal(a.data, SOFTPCIE_MAGIC);
	softpcie_register_put(&a, out);
	assert_memory_equal(out, magic, 6);
	assert_int_equal(softpcie_register_get(&a, magic, 5), -EMSGSIZE);
	assert_int_equal(softpcie_register_get(&a, other, 6), -EBADMSG);
}

static void messages(void **state)
{
	static const uint8_t kind[] = {3, 0, 0, 0}, bar4[] = {0, 0, 0, 0xfe, 1, 0, 0, 0}, id[] = {0x00, 0x01};
	struct softpcie_vector v[SOFTPCIE_VECTORS], again[SOFTPCIE_VECTORS];
	uint8_t out[SOFTPCIE_MSG_MSIX_SIZE];
	uint64_t address;
	uint32_t k;
	uint16_t i;

	assert_int_equal(softpcie_message_get_request(&k, kind, 4), 0);
	assert_int_equal(k, SOFTPCIE_MSG_MSIX);
	assert_int_equal(softpcie_message_get_request(&k, kind, 3), -EMSGSIZE);
	softpcie_message_put_request(3, out);
	assert_memory_equal(out, kind, 4);
	assert_int_equal(softpcie_message_get_bar4(&address, bar4, 8), 0);
	assert_int_equal(address, 0x1fe000000);
	softpcie_message_put_bar4(address, out);
	assert_memory_equal(out, bar4, 8);
	assert_int_equal(softpcie_message_get_id(&i, id, 2), 0);
	assert_int_equal(i, 0x0100);
	softpcie_message_put_id(i, out);
	assert_memory_equal(out, id, 2);
	for (unsigned n = 0; n < SOFTPCIE_VECTORS; n++)
		v[n] = (struct softpcie_vector){.address = 0xfee00000u + n * 0x1000, .data = 0x4021 + n};
	softpcie_message_put_msix(v, out);
	assert_memory_equal(out + 12, "\x00\x10\xe0\xfe\x00\x00\x00\x00\x22\x40\x00\x00", 12);
	assert_int_equal(softpcie_message_get_msix(again, out, sizeof(out)), 0);
	for (unsigned n = 0; n < SOFTPCIE_VECTORS; n++) {
		assert_int_equal(again[n].address, v[n].address);
		assert_int_equal(again[n].data, v[n].data);
	}
	for (size_t n = 0; n < sizeof(out); n++)
		assert_int_equal(softpcie_message_get_msix(again, out, n), -EMSGSIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ports),	   cmocka_unit_test(port_fits), cmocka_unit_test(framing),
		cmocka_unit_test(clock_of_stamps), cmocka_unit_test(config),	cmocka_unit_test(registers),
		cmocka_unit_test(messages),
	};

	return cmocka_run_group_tests_name("softpcie-wire", tests, NULL, NULL);
}
