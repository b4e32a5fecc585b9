/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "root/remote_rules.h"
#include "util/log.h"

static void test_parse(void **state)
{
	static const struct {
		const char *text;
		uint64_t first, last;
		bool read_only;
		const char *function;
		unsigned bits;
	} good[] = {
		{"all", 0, UINT64_MAX, false, "", 0},
		{"all,ro", 0, UINT64_MAX, true, "", 0},
		{"0x1000+4K", 0x1000, 0x1fff, false, "", 0},
		{"4G+1.5M,function=ssd0,ro", 1ull << 32, (1ull << 32) + 0x17ffff, true, "ssd0", 0},
		{"0+1", 0, 0, false, "", 0},
		{"0xfffffffffffff000+0x1000", 0xfffffffffffff000, UINT64_MAX, false, "", 0},
		{"all,peer=192.0.2.7", 0, UINT64_MAX, false, "", 128},
		{"all,peer=10.0.0.0/8", 0, UINT64_MAX, false, "", 104},
		{"all,peer=2001:db8::/32", 0, UINT64_MAX, false, "", 32},
	};
	static const char *const bad[] = {
		"", "everything", "0x1000", "0x1000+0", "1+", "+1", "0xfffffffffffff000+0x1001", "all,peer=",
		"all,peer=example.org", "all,peer=10.0.0.0/33", "all,peer=::/129", "all,function=", "all,rw", "all,ro=on",
		"all,function=abcdefghijklmnopqrstuvwxyz0123456789", "-1+4K", "all,peer=1.2.3.4/",
	};

	fb_log_set_level(FB_LOG_NONE);
	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct fb_remote_rule r;

		assert_int_equal(fb_remote_rule_parse(&r, good[i].text), 0);
		assert_int_equal(r.first, good[i].first);
		assert_int_equal(r.last, good[i].last);
		assert_int_equal(r.read_only, good[i].read_only);
		assert_string_equal(r.function, good[i].function);
		assert_int_equal(r.any_peer, good[i].bits == 0);
		assert_int_equal(r.bits, good[i].bits);
	}
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct fb_remote_rule r;

		if (fb_remote_rule_parse(&r, bad[i]) != -EINVAL)
			fail_msg("\"%s\" was accepted", bad[i]);
	}
}

static void test_matches(void **state)
{
	static const struct {
		const char *rule, *peer, *function;
		bool matches;
	} cases[] = {
		{"all", "udp:192.0.2.7:5", "x", true},
		{"all,function=a", "udp:192.0.2.7:5", "a", true},
		{"all,function=a", "udp:192.0.2.7:5", "ab", false},
		{"all,peer=192.0.2.7", "udp:192.0.2.7:5", "a", true},
		{"all,peer=192.0.2.7", "udp:[::ffff:192.0.2.7]:5", "a", true},
		{"all,peer=192.0.2.7", "udp:192.0.2.70:5", "a", false},
		{"all,peer=192.0.2.0/25", "udp:192.0.2.127:5", "a", true},
		{"all,peer=192.0.2.0/25", "udp:192.0.2.128:5", "a", false},
		{"all,peer=0.0.0.0/0", "udp:192.0.2.7:5", "a", true},
		{"all,peer=0.0.0.0/0", "udp:[2001:db8::1]:5", "a", false},
		{"all,peer=2001:db8::/33", "udp:[2001:db8:7fff::1]:5", "a", true},
		{"all,peer=2001:db8::/33", "udp:[2001:db8:8000::1]:5", "a", false},
		{"all,peer=fe80::1", "udp:[fe80::1%eth0]:5", "a", true},
		{"all,peer=192.0.2.7", "loopback:x", "a", false},
		{"all,peer=192.0.2.7", "", "a", false},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fb_remote_rule r;

		assert_int_equal(fb_remote_rule_parse(&r, cases[i].rule), 0);
		if (fb_remote_rule_matches(&r, cases[i].peer, cases[i].function) != cases[i].matches)
			fail_msg("%s for %s, %s: not %d", cases[i].rule, cases[i].peer, cases[i].function, cases[i].matches);
	}
}

static void test_allow(void **state)
{
	static const char *const texts[] = {"0x1000+4K,ro", "0x3000+4K", "0x2000+4K", "0xfffffffffffff000+4K"};
	struct fb_remote_rule rules[4];
	const struct fb_remote_rule *v[4];
	static const struct {
		uint64_t addr;
		uint32_t len;
		bool write, allowed;
	} cases[] = {
		{0x1000, 1, false, true},     {0x1000, 1, true, false},	    {0xfff, 2, false, false},
		{0xfff, 1, false, false},     {0x1fff, 1, false, true},	    {0x1fff, 2, false, true},
		{0x1fff, 2, true, false},     {0x2000, 8192, true, true},   {0x1800, 0x2000, false, true},
		{0x2000, 8193, true, false},  {0x3fff, 2, false, false},    {UINT64_MAX, 1, true, true},
		{UINT64_MAX, 2, true, false}, {UINT64_MAX - 1, 2, true, true}, {0, 1, false, false},
	};

	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(fb_remote_rule_parse(&rules[i], texts[i]), 0);
		v[i] = &rules[i];
	}
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (fb_remote_rules_allow(v, 4, cases[i].addr, cases[i].len, cases[i].write) != cases[i].allowed)
			fail_msg("case %u", i);
	}
	assert_false(fb_remote_rules_allow(v, 0, 0x1000, 1, false));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse), cmocka_unit_test(test_matches), cmocka_unit_test(test_allow)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
