/* SPDX-License-Identifier: Apache-2.0 */
/* One function between a scripted box and a scripted VM: enumeration, registers, reset, ends, hostile clients. */
#include <stdio.h>

#include "function-testing.h"

/* ---- Enumeration -------------------------------------------------------------------- */

static void test_enumeration(void **state)
{
	const struct fb_config *g = &k.f->cfg;

	assert_int_equal(g->bars[0].size, FAKE_BAR0);
	assert_true(g->bars[0].is_64 && !g->bars[0].io);
	assert_int_equal(g->bars[2].size, FAKE_BAR2);
	assert_true(g->bars[2].io);
	assert_int_equal(g->bars[4].size, FAKE_BAR4);
	assert_false(g->bars[1].present || g->bars[3].present || g->bars[5].present);
	assert_int_equal(g->msi, FAKE_MSI_CAP);
	assert_int_equal(g->msi_vectors, FAKE_MSI);
	assert_int_equal(g->msix_vectors, FAKE_MSIX);
	assert_true(g->flr);
	/* wire: MPS 256 as the function can, MRRS 4096, 8- and 10-bit tags, BARs placed and not decoding */
	assert_int_equal(fb_get_le16(k.config + FAKE_PCIE + 8) & 0x71e0, 0x5120);
	assert_int_equal(fb_get_le16(k.config + FAKE_PCIE + 0x28) & 0x1000, 0x1000);
	assert_int_equal(fb_get_le32(k.config + 0x14) & ~15u, (uint32_t)(g->bars[0].address >> 32));
	assert_true((fb_get_le32(k.config + 0x20) & ~15u) != 0);
	assert_int_equal(fb_get_le16(k.config + 4), 0);
}

static void test_enumeration_waits_for_crs(void **state)
{
	fake_lose(&k);
	assert_int_equal(k.f->state, FB_ROOT_ABSENT);
	k.crs = 3;
	fb_function_connect(k.f);
	k.port.user->up(k.port.arg);
	fake_until(&k, state_is_ready, NULL);
	assert_int_equal(k.crs, 0);
}

static void test_refused(void **state)
{
	fake_lose(&k);
	fb_function_connect(k.f);
	k.port.user->down(k.port.arg, FB_LINK_R_IN_USE, "node 42 has it");
	assert_int_equal(k.f->state, FB_ROOT_ABSENT);
	assert_non_null(strstr(k.f->note, "node 42 has it"));
	assert_true(k.f->retry_ns > fb_loop_now(k.loop));
	k.connect_error = -ENETUNREACH;
	fb_function_connect(k.f);
	assert_int_equal(k.f->state, FB_ROOT_ABSENT);
}

/* ---- VERSION ---------------------------------------------------------------------------- */

static void test_version(void **state)
{
	static const struct {
		const char *body;
		size_t len;
		uint32_t flags, error; /* error: of the reply; UINT32_MAX: the connection ends without one */
		bool ends;
	} t[] = {
#define B(s) s, sizeof(s) - 1
		{B("\0\0\0\0{\"capabilities\":{\"max_msg_fds\":16,\"max_data_xfer_size\":1048576,\"x\":{\"y\":1}}}\0"), 0, 0, false},
		{B("\0\0\0\0"), 0, 0, false},
		{B("\0\0\5\0{}\0"), 0, 0, false},
		{B("\1\0\0\0{}\0"), 0, EINVAL, true},
		{B("\0\0"), 0, EINVAL, true},
		{B("\0\0\0\0{}"), 0, EINVAL, true},
		{B("\0\0\0\0[]\0"), 0, EINVAL, true},
		{B("\0\0\0\0{\0"), 0, EINVAL, true},
		{B("\0\0\0\0{\"capabilities\":3}\0"), 0, EINVAL, true},
		{B("\0\0\0\0{\"capabilities\":{\"max_data_xfer_size\":\"many\"}}\0"), 0, EINVAL, true},
		{B("\0\0\0\0{\"capabilities\":{\"max_data_xfer_size\":64}}\0"), 0, EINVAL, true},
		{B("\0\0\0\0{\"capabilities\":{\"max_data_xfer_size\":-1}}\0"), 0, EINVAL, true},
#undef B
	};

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		uint32_t error;

		client_open(&c, &k);
		error = client_call(&c, VFIO_USER_VERSION, t[i].body, t[i].len, NULL, 0);
		if (error != t[i].error)
			fail_msg("row %u: error %u, not %u", i, error, t[i].error);
		if (t[i].ends) {
			assert_false(client_recv(&c, 1000));
			fake_until(&k, state_is_ready, NULL);
		} else {
			assert_true(c.r_size <= 16 + t[i].len); /* QEMU takes no more */
			assert_int_equal(fb_get_le32(c.body), 0);
			if (c.len > 4)
				assert_int_equal(c.body[c.len - 1], 0);
		}
		client_close(&c);
		fake_until(&k, state_is_ready, NULL);
	}
}

static void test_first_must_be_version(void **state)
{
	client_open(&c, &k);
	client_send(&c, VFIO_USER_DEVICE_GET_INFO, 0, "0123456789abcdef", 16, NULL, 0);
	assert_false(client_recv(&c, 1000));
	fake_until(&k, state_is_ready, NULL);
	assert_int_equal(k.f->count.client_killed, 1);
}

static void test_second_client_refused(void **state)
{
	int sv[2];
	char b;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	assert_int_equal(fb_function_client(k.f, sv[1]), -EBUSY);
	assert_int_equal(read(sv[0], &b, 1), 0);
	close(sv[0]);
	assert_int_equal(k.f->count.clients_refused, 1);
	assert_int_equal(client_cfg32(&c, 0), 0x56781234);
}

static void test_clients_by_the_hundred(void **state)
{
	int kept = dup(STDERR_FILENO);
	FILE *log = tmpfile();
	uint64_t began = fb_clock_ns();
	unsigned lines = 0;
	char line[1100];

	client_close(&c);
	fake_until(&k, state_is_ready, NULL);
	fb_log_set_level(FB_LOG_INFO);
	dup2(fileno(log), STDERR_FILENO);
	for (unsigned i = 0; i < 100; i++) {
		client_attach(&c, &k);
		client_close(&c);
		fake_until(&k, state_is_ready, NULL);
	}
	dup2(kept, STDERR_FILENO);
	close(kept);
	rewind(log);
	while (fgets(line, sizeof(line), log))
		lines += strstr(line, " client ") != NULL;
	fclose(log);
	assert_int_equal(k.f->count.clients, 101);
	assert_in_range(lines, 2, 9 + (fb_clock_ns() - began) / 1000000000);
}

/* ---- What there is ---------------------------------------------------------------------- */

static void test_info(void **state)
{
	uint8_t b[32] = {0};

	fb_put_le32(b, 16);
	assert_int_equal(client_call(&c, VFIO_USER_DEVICE_GET_INFO, b, 16, NULL, 0), 0);
	assert_int_equal(fb_get_le32(c.body + 4), 3);
	assert_int_equal(fb_get_le32(c.body + 8), 9);
	assert_int_equal(fb_get_le32(c.body + 12), 5);
	fb_put_le32(b, 32);
	for (uint32_t i = 0; i < 9; i++) {
		static const uint64_t want[9] = {FAKE_BAR0, 0, FAKE_BAR2, 0, FAKE_BAR4, 0, 0, 4096, 0};

		fb_put_le32(b + 8, i);
		assert_int_equal(client_call(&c, VFIO_USER_DEVICE_GET_REGION_INFO, b, 32, NULL, 0), 0);
		assert_int_equal(fb_get_le64(c.body + 16), want[i]);
		assert_int_equal(fb_get_le32(c.body + 4), want[i] ? 3 : 0); /* never MMAP */
	}
	fb_put_le32(b + 8, 9);
	assert_int_equal(client_call(&c, VFIO_USER_DEVICE_GET_REGION_INFO, b, 32, NULL, 0), EINVAL);
	fb_put_le32(b, 16);
	for (uint32_t i = 0; i < 5; i++) {
		static const uint32_t want[5] = {1, FAKE_MSI, FAKE_MSIX, 1, 0};

		fb_put_le32(b + 8, i);
		assert_int_equal(client_call(&c, VFIO_USER_DEVICE_GET_IRQ_INFO, b, 16, NULL, 0), 0);
		assert_int_equal(fb_get_le32(c.body + 12), want[i]);
	}
}

/* ---- Regions ------------------------------------------------------------------------------ */

static void test_config_4096_at_once(void **state)
{
	uint8_t b[4096];

	k.np_room = 40; /* the link's credits run out several times */
	client_send(&c, VFIO_USER_REGION_READ, 0, (uint8_t[16]){0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 16, 0, 0}, 16, NULL, 0);
	for (unsigned i = 0; i < 100 && fake_count(&k, PCIE_TLP_CFGRD0) < 1000; i++) {
		fake_rounds(&k, 2);
		k.np_room = 40;
		k.port.user->writable(k.port.arg, PCIE_FC_NP);
	}
	k.np_room = -1;
	k.port.user->writable(k.port.arg, PCIE_FC_NP);
	assert_true(client_recv(&c, 3000));
	assert_int_equal(c.len, 16 + 4096);
	memcpy(b, c.body + 16, 4096);
	assert_int_equal(fb_get_le32(b), 0x56781234);
	assert_int_equal(fb_get_le32(b + 0x10), 4); /* the guest's BAR, not the wire's */
	assert_int_equal(fb_get_le32(b + 0x20), 0);
	assert_int_equal(fb_get_le16(b + FAKE_PCIE + 8) & 0x70e0, 0x2000); /* reset values, not the wire's */
	assert_int_equal(fb_get_le16(b + FAKE_MSI_CAP + 2), 0x0186);
	/* the six BARs, the ROM, MSI's address are never asked for */
	for (unsigned i = 0; i < k.n_log; i++)
		assert_false(k.log[i].tlp.reg >= 0x10 && k.log[i].tlp.reg < 0x28);
}

static void test_bars_follow_the_guest(void **state)
{
	uint8_t b[8];

	/* sizing, as a guest does it */
	client_cfg_write(&c, 0x10, 0xffffffff, 4);
	client_cfg_write(&c, 0x14, 0xffffffff, 4);
	assert_int_equal(client_cfg32(&c, 0x10), (0xffffffff & ~(FAKE_BAR0 - 1)) | 4);
	assert_int_equal(client_cfg32(&c, 0x14), 0xffffffff);
	client_cfg_write(&c, 0x18, 0xffffffff, 4);
	assert_int_equal(client_cfg32(&c, 0x18), (0xffffffff & ~(FAKE_BAR2 - 1)) | 1);
	assert_int_equal(k.n_log, 0); /* no network in it */
	client_cfg_write(&c, 0x10, 0x40000004, 4);
	client_cfg_write(&c, 0x14, 0x12, 4);
	client_cfg_write(&c, 0x18, 0xc001, 4);
	enable(&c, 7);
	assert_int_equal(fb_get_le32(k.config + 0x10), 0x40000004);
	assert_int_equal(fb_get_le32(k.config + 0x14), 0x12);
	assert_int_equal(fb_get_le32(k.config + 0x18), 0xc001);
	/* BAR 4 was not assigned: it decodes at the root's own address, and works */
	k.bar4[0x900] = 0x5a;
	assert_int_equal(client_read(&c, 4, 0x900, b, 1), 0);
	assert_int_equal(b[0], 0x5a);
	/* moved while decoding */
	client_cfg_write(&c, 0x20, 0xfe000000, 4);
	assert_int_equal(fb_get_le32(k.config + 0x20), 0xfe000000);
	assert_int_equal(client_read(&c, 4, 0x900, b, 1), 0);
	assert_int_equal(b[0], 0x5a);
	assert_int_equal(client_cfg32(&c, 0x20), 0xfe000000);
}

static void test_mmio(void **state)
{
	static const uint32_t sizes[] = {1, 2, 4, 8, 3, 7, 64, 100, 4096};
	uint8_t b[8192], w[8192];

	enable(&c, 2);
	for (unsigned i = 0; i < sizeof(w); i++)
		w[i] = (uint8_t)(i * 7 + 1);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (uint64_t at = 0; at < 9; at++) {
			memset(k.bar0, 0, sizeof(k.bar0));
			assert_int_equal(client_write(&c, 0, 4000 + at, w, sizes[i], true), 0);
			assert_int_equal(client_read(&c, 0, 4000 + at, b, sizes[i]), 0); /* pushes the write */
			assert_memory_equal(b, w, sizes[i]);
			assert_memory_equal(k.bar0 + 4000 + at, w, sizes[i]);
			assert_int_equal(k.bar0[4000 + at - 1], 0);
			assert_int_equal(k.bar0[4000 + at + sizes[i]], 0);
		}
		k.n_log = 0;
	}
	/* with an answer */
	assert_int_equal(client_write(&c, 0, 8, w, 8, false), 0);
	assert_int_equal(c.len, 16);
	/* I/O */
	enable(&c, 3);
	assert_int_equal(client_write(&c, 2, 5, w, 3, false), 0);
	assert_memory_equal(k.bar2 + 5, w, 3);
	assert_int_equal(client_read(&c, 2, 4, b, 8), 0);
	assert_memory_equal(b + 1, w, 3);
	assert_int_equal(k.unmatched_writes, 0);
}

static void test_mmio_bounds(void **state)
{
	uint8_t b[8192] = {0};

	enable(&c, 2);
	k.n_log = 0;
	assert_int_equal(client_read(&c, 0, FAKE_BAR0, b, 1), EINVAL);
	assert_int_equal(client_read(&c, 0, FAKE_BAR0 - 4, b, 8), EINVAL);
	assert_int_equal(client_read(&c, 0, UINT64_MAX - 3, b, 8), EINVAL);
	assert_int_equal(client_read(&c, 1, 0, b, 4), EINVAL);
	assert_int_equal(client_read(&c, 6, 0, b, 4), EINVAL);
	assert_int_equal(client_read(&c, 8, 0, b, 4), EINVAL);
	assert_int_equal(client_read(&c, 77, 0, b, 4), EINVAL);
	assert_int_equal(client_read(&c, 7, 4093, b, 4), EINVAL);
	assert_int_equal(client_write(&c, 7, 4095, b, 2, false), EINVAL);
	assert_int_equal(client_write(&c, 0, FAKE_BAR0 - 1, b, 2, false), EINVAL);
	/* count says more than there is, and less */
	assert_int_equal(client_call(&c, VFIO_USER_REGION_WRITE,
				     (uint8_t[20]){0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1, 2, 3, 4}, 20, NULL, 0),
			 EINVAL);
	assert_int_equal(client_call(&c, VFIO_USER_REGION_WRITE,
				     (uint8_t[20]){0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 2, 3, 4}, 20, NULL, 0),
			 EINVAL);
	assert_int_equal(client_call(&c, VFIO_USER_REGION_READ, b, 12, NULL, 0), EINVAL);
	assert_int_equal(k.n_log, 0);
	assert_int_equal(client_read(&c, 0, 0, b, 0), 0); /* nothing is nothing */
	assert_int_equal(client_read(&c, 6, 0, b, 0), EINVAL); /* but not where there is nothing */
	assert_int_equal(client_read(&c, 8, 0, b, 0), EINVAL);
	assert_int_equal(client_write(&c, 8, 0, b, 0, false), EINVAL);
}

static void test_posted_write_waits_for_nothing(void **state)
{
	uint8_t v = 1, b[4];

	enable(&c, 2);
	k.p_room = 0;
	k.n_log = 0;
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(client_write(&c, 0, i, &v, 1, false), 0); /* answered although none could leave */
	assert_int_equal(fake_count(&k, PCIE_TLP_MWR), 0);
	/* a read stays behind them */
	client_send(&c, VFIO_USER_REGION_READ, 0, (uint8_t[16]){[12] = 4}, 16, NULL, 0);
	fake_rounds(&k, 5);
	assert_int_equal(fake_count(&k, PCIE_TLP_MRD), 0);
	k.p_room = -1;
	k.port.user->writable(k.port.arg, PCIE_FC_P);
	assert_true(client_recv(&c, 2000));
	memcpy(b, c.body + 16, 4);
	assert_memory_equal(b, "\1\1\1\1", 4);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(k.log[i].tlp.type, PCIE_TLP_MWR);
}

static void test_posted_writes_pass_waiting_reads(void **state)
{
	uint8_t v = 9;

	enable(&c, 2);
	k.np_room = 0;
	k.n_log = 0;
	client_send(&c, VFIO_USER_REGION_READ, 0, (uint8_t[16]){[12] = 4}, 16, NULL, 0);
	assert_int_equal(client_write(&c, 0, 0, &v, 1, true), 0);
	fake_rounds(&k, 5);
	assert_int_equal(fake_count(&k, PCIE_TLP_MWR), 1);
	assert_int_equal(fake_count(&k, PCIE_TLP_MRD), 0);
	k.np_room = -1;
	k.port.user->writable(k.port.arg, PCIE_FC_NP);
	assert_true(client_recv(&c, 2000));
}

static void test_write_queue_is_bounded(void **state)
{
	uint8_t *w = calloc(1, 8192);
	uint8_t b[4];

	enable(&c, 2);
	k.p_room = 0;
	for (unsigned i = 0; i < 3000 && k.f->state == FB_ROOT_IN_USE; i++)
		assert_int_equal(client_write(&c, 0, 0, w, 8192, false), 0);
	assert_int_equal(k.f->state, FB_ROOT_GONE);
	assert_int_equal(client_read(&c, 0, 0, b, 4), 0);
	assert_memory_equal(b, "\xff\xff\xff\xff", 4);
	free(w);
}

static void test_read_errors(void **state)
{
	uint8_t b[4];

	/* memory decoding is off: Unsupported Request, all ones */
	assert_int_equal(client_read(&c, 0, 0, b, 4), 0);
	assert_memory_equal(b, "\xff\xff\xff\xff", 4);
	assert_int_equal(k.f->count.read_errors, 1);
}

static void test_answer_time(void **state)
{
	uint8_t b[8];
	uint64_t before;

	enable(&c, 2);
	memset(k.bar0, 0x11, 64);
	k.slow = true;
	before = fb_clock_ns();
	assert_int_equal(client_read(&c, 0, 0, b, 8), 0);
	assert_true(fb_clock_ns() - before >= k.env.answer_ns);
	assert_memory_equal(b, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
	assert_int_equal(k.f->count.read_timeouts, 1);
	assert_int_equal(client_cfg32(&c, 0), 0xffffffff);
	assert_int_equal(client_write(&c, VFIO_REGION_CONFIG, 0x3c, b, 1, false), 0); /* answered, too */
	assert_int_equal(k.f->count.read_timeouts, 3);
	assert_int_equal(k.f->rq.n_free, FB_RQ_TAGS - 3); /* quarantined */
	/* the late answers are for nobody, and free the tags */
	k.slow = false;
	fake_answer(&k);
	assert_int_equal(k.f->rq.stats.late, 3);
	assert_int_equal(k.f->rq.n_free, FB_RQ_TAGS);
	assert_int_equal(client_read(&c, 0, 0, b, 8), 0);
	assert_memory_equal(b, "\x11\x11\x11\x11\x11\x11\x11\x11", 8);
}

static void test_reads_overlap(void **state)
{
	unsigned got = 0;

	enable(&c, 2);
	for (unsigned i = 0; i < 64; i++)
		k.bar0[i * 4] = (uint8_t)i;
	k.slow = true;
	for (unsigned i = 0; i < 50; i++)
		client_send(&c, VFIO_USER_REGION_READ, 0, (uint8_t[16]){[0] = (uint8_t)(i * 4), [12] = 4}, 16, NULL, 0);
	fake_rounds(&k, 4);
	k.slow = false;
	assert_int_equal(k.n_queue, 50); /* all in flight */
	fake_answer(&k);
	for (; got < 50 && client_recv(&c, 1000); got++)
		assert_int_equal(c.body[16], got);
	assert_int_equal(got, 50);
}

static void test_pool_is_bounded(void **state)
{
	unsigned got = 0;

	enable(&c, 2);
	k.slow = true;
	for (unsigned i = 0; i < 200; i++)
		client_send(&c, VFIO_USER_REGION_READ, 0, (uint8_t[16]){[12] = 4}, 16, NULL, 0);
	fake_rounds(&k, 4);
	assert_true(k.f->vm_used <= FB_VM_ACCESSES);
	k.slow = false;
	fake_answer(&k);
	while (got < 200 && client_recv(&c, 1000))
		got++;
	assert_int_equal(got, 200);
	assert_int_equal(k.f->vm_used, 0);
}

static void test_write_multi(void **state)
{
	uint8_t b[8 + 3 * 24] = {0}, r[16];

	enable(&c, 2);
	fb_put_le64(b, 3);
	for (unsigned i = 0; i < 3; i++) {
		fb_put_le64(b + 8 + 24 * i, 0x100 + 8 * i);
		fb_put_le32(b + 8 + 24 * i + 12, 4);
		fb_put_le32(b + 8 + 24 * i + 16, 0xa0 + i);
	}
	assert_int_equal(client_call(&c, VFIO_USER_REGION_WRITE_MULTI, b, sizeof(b), NULL, 0), 0);
	assert_int_equal(fb_get_le64(c.body), 3);
	assert_int_equal(client_read(&c, 0, 0x100, r, 4), 0);
	assert_int_equal(k.bar0[0x100], 0xa0);
	assert_int_equal(k.bar0[0x110], 0xa2);
	/* one bad among them: none is done */
	fb_put_le32(b + 8 + 24 * 2 + 12, 9);
	fb_put_le32(b + 8 + 16, 0xb0);
	assert_int_equal(client_call(&c, VFIO_USER_REGION_WRITE_MULTI, b, sizeof(b), NULL, 0), EINVAL);
	assert_int_equal(client_read(&c, 0, 0x100, r, 4), 0);
	assert_int_equal(r[0], 0xa0);
	fb_put_le64(b, UINT64_MAX);
	assert_int_equal(client_call(&c, VFIO_USER_REGION_WRITE_MULTI, b, sizeof(b), NULL, 0), EINVAL);
	assert_int_equal(client_call(&c, VFIO_USER_REGION_WRITE_MULTI, b, 7, NULL, 0), EINVAL);
}

/* ---- Reset -------------------------------------------------------------------------------------------- */

static void test_reset(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK), mem = memory(4096);

	enable(&c, 6);
	client_cfg_write(&c, 0x20, 0xfe000000, 4);
	client_cfg_write(&c, FAKE_MSI_CAP + 2, 1, 1);
	assert_int_equal(client_set_irqs(&c, 0x24, VFIO_IRQ_MSI, 0, 1, &fd, 1), 0);
	assert_int_equal(client_map(&c, 0, 4096, 3, mem, 0), 0);
	assert_int_equal(client_call(&c, VFIO_USER_DEVICE_RESET, NULL, 0, NULL, 0), 0);
	assert_int_equal(k.flrs, 1);
	assert_int_equal(k.f->state, FB_ROOT_IN_USE);
	assert_int_equal(client_cfg32(&c, 0x20), 0);
	assert_int_equal(client_cfg32(&c, FAKE_MSI_CAP) >> 16 & 1, 0);
	/* the wire's own registers are back */
	assert_int_equal(fb_get_le16(k.config + FAKE_PCIE + 8) & 0x71e0, 0x5120);
	assert_int_equal(fb_get_le32(k.config + 0x20), (uint32_t)k.f->cfg.bars[4].address);
	/* and it can be used again: memory is still mapped, interrupts when the guest wants them */
	enable(&c, 6);
	client_cfg_write(&c, FAKE_MSI_CAP + 2, 1, 1);
	fake_rounds(&k, 3);
	assert_int_equal(k.config[FAKE_MSI_CAP + 2] & 1, 1);
	assert_true(fake_mwr(&k, 0x10, "abcd", 4));
	assert_int_equal(k.f->count.dma_writes, 1);
	close(fd);
	close(mem);
}

static void test_guest_flr(void **state)
{
	enable(&c, 6);
	client_cfg_write(&c, FAKE_PCIE + 8, 0xa810, 2);
	fake_rounds(&k, 5);
	assert_int_equal(k.flrs, 1);
	assert_int_equal(fb_get_le16(k.config + FAKE_PCIE + 8) & 0x71e0, 0x5120);
	assert_int_equal(client_cfg32(&c, 0x04) & 7, 0);
}

static void test_back_from_d3(void **state)
{
	enable(&c, 6);
	client_cfg_write(&c, FAKE_PM + 4, 3, 2);
	client_cfg_write(&c, FAKE_PM + 4, 0, 2);
	fake_rounds(&k, 6);
	assert_int_equal(k.flrs, 0);
	assert_int_equal(fb_get_le16(k.config + FAKE_PCIE + 8) & 0x71e0, 0x5120);
	assert_true(fb_get_le32(k.config + 0x20) != 0);
	assert_int_equal(client_cfg32(&c, 0), 0x56781234);
}

/* The network is away: the answer comes in time, the reset when the network is back. */
static void test_reset_slow(void **state)
{
	uint8_t b[4];

	enable(&c, 6);
	k.slow = true;
	assert_int_equal(client_call(&c, VFIO_USER_DEVICE_RESET, NULL, 0, NULL, 0), 0);
	assert_int_equal(k.flrs, 0);
	assert_true(fb_function_in_reset(k.f));
	assert_int_equal(client_read(&c, VFIO_REGION_CONFIG, 0, b, 4), 0);
	assert_memory_equal(b, "\xff\xff\xff\xff", 4);
	/* DMA from before is for nobody */
	assert_true(fake_mwr(&k, 0, "abcd", 4));
	assert_int_equal(k.f->count.dma_stray, 1);
	k.slow = false;
	fake_answer(&k);
	fake_rounds(&k, 5);
	assert_int_equal(k.flrs, 1);
	assert_false(fb_function_in_reset(k.f));
	assert_int_equal(client_cfg32(&c, 0), 0x56781234);
}

/* A second reset while the first goes on: what the guest sets up after the second's answer stays. */
static void test_reset_again_slow(void **state)
{
	enable(&c, 6);
	k.slow = true;
	assert_int_equal(client_call(&c, VFIO_USER_DEVICE_RESET, NULL, 0, NULL, 0), 0);
	assert_int_equal(client_call(&c, VFIO_USER_DEVICE_RESET, NULL, 0, NULL, 0), 0);
	client_cfg_write(&c, 0x20, 0xfe000000, 4);
	k.slow = false;
	fake_answer(&k);
	fake_rounds(&k, 10);
	assert_int_equal(k.flrs, 2);
	assert_false(fb_function_in_reset(k.f));
	assert_int_equal(client_cfg32(&c, 0x20), 0xfe000000);
}

/* ---- Ends ------------------------------------------------------------------------------------------------ */

static void test_client_leaves(void **state)
{
	int mem = memory(4096);

	for (unsigned i = 0; i < 3; i++) {
		enable(&c, 6);
		assert_int_equal(client_map(&c, 0, 4096, 3, mem, 0), 0);
		k.slow = true; /* with a read in flight */
		client_send(&c, VFIO_USER_REGION_READ, 0, (uint8_t[16]){[12] = 4}, 16, NULL, 0);
		fake_rounds(&k, 2);
		client_close(&c);
		fake_rounds(&k, 2);
		assert_int_equal(k.f->state, FB_ROOT_RESETTING);
		assert_int_equal(k.f->dma.map.n, 0);
		assert_true(fake_mwr(&k, 0, "abcd", 4));
		k.slow = false;
		fake_answer(&k);
		fake_until(&k, state_is_ready, NULL);
		assert_int_equal(k.flrs, i + 1);
		assert_int_equal(fb_get_le16(k.config + 4), 0);
		client_attach(&c, &k);
		assert_int_equal(client_cfg32(&c, 0x04) & 7, 0);
	}
	assert_int_equal(k.f->count.dma_stray, 3);
	assert_int_equal(k.f->rq.n_free, FB_RQ_TAGS);
	close(mem);
}

static void test_surprise_removal(void **state)
{
	uint8_t b[4096], v = 1;
	int fd = eventfd(0, EFD_NONBLOCK);

	enable(&c, 6);
	k.slow = true;
	client_send(&c, VFIO_USER_REGION_READ, 0, (uint8_t[16]){[12] = 4}, 16, NULL, 0);
	fake_rounds(&k, 2);
	fake_lose(&k);
	assert_int_equal(k.f->state, FB_ROOT_GONE);
	assert_true(k.closed);
	assert_true(client_recv(&c, 1000)); /* the read in flight: at once */
	assert_memory_equal(c.body + 16, "\xff\xff\xff\xff", 4);
	assert_int_equal(client_read(&c, VFIO_REGION_CONFIG, 0, b, 4096), 0);
	for (unsigned i = 0; i < 4096; i++)
		assert_int_equal(b[i], 0xff);
	assert_int_equal(client_read(&c, 2, 0, b, 4), 0);
	assert_memory_equal(b, "\xff\xff\xff\xff", 4);
	assert_int_equal(client_write(&c, 0, 0, &v, 1, false), 0);
	client_cfg_write(&c, 0x04, 0, 2);
	assert_int_equal(client_set_irqs(&c, 0x24, VFIO_IRQ_MSI, 0, 1, &fd, 1), 0);
	assert_int_equal(client_set_irqs(&c, 0x21, VFIO_IRQ_MSI, 0, 0, NULL, 0), 0);
	assert_int_equal(client_map(&c, 0, 4096, 3, -1, 0), 0);
	assert_int_equal(client_call(&c, VFIO_USER_DEVICE_RESET, NULL, 0, NULL, 0), 0);
	client_close(&c);
	fake_until(&k, state_is_absent, NULL);
	k.slow = false;
	fake_connect(&k);
	client_attach(&c, &k);
	assert_int_equal(client_cfg32(&c, 0), 0x56781234);
	assert_int_equal(k.f->count.surprise_removals, 1);
	close(fd);
}

/* ---- Hostile clients ---------------------------------------------------------------------------------------- */

static void test_hostile_headers(void **state)
{
	static const uint8_t bad[][16] = {
		{1, 0, 4, 0, 15, 0, 0, 0},                /* shorter than a header */
		{1, 0, 4, 0, 0, 0, 0, 0},
		{1, 0, 4, 0, 0xff, 0xff, 0xff, 0xff},     /* huge */
		{1, 0, 4, 0, 0, 0, 0x20, 0},              /* 2 MiB */
		{1, 0, 4, 0, 16, 0, 0, 0, 2},             /* a type that there is not */
		{1, 0, 4, 0, 16, 0, 0, 0, 15},
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(write(c.fd, bad[i], 16), 16);
		assert_false(client_recv(&c, 1000));
		client_close(&c);
		fake_until(&k, state_is_ready, NULL);
		client_attach(&c, &k);
	}
	assert_int_equal(k.f->count.client_killed, sizeof(bad) / sizeof(bad[0]));
}

static void test_hostile_commands(void **state)
{
	uint8_t junk[64];

	memset(junk, 0xa5, sizeof(junk));
	for (unsigned cmd = 0; cmd < 40; cmd++) {
		static const unsigned sizes[] = {0, 1, 7, 15, 16, 20, 24, 32, 64};

		if (cmd == VFIO_USER_DEVICE_RESET)
			continue;
		for (unsigned s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
			uint32_t err = client_call(&c, (uint16_t)cmd, junk, sizes[s], NULL, 0);

			if (cmd == VFIO_USER_DEVICE_GET_INFO && sizes[s] >= 16)
				continue; /* has nothing in it that could be wrong */
			if (err == 0 || err == UINT32_MAX)
				fail_msg("command %u with %u bytes of junk: %s", cmd, sizes[s], err ? "no answer" : "taken");
		}
	}
	assert_int_equal(client_cfg32(&c, 0), 0x56781234);
}

static void test_descriptors_do_not_leak(void **state)
{
	int fds[40], before = open("/dev/null", O_RDONLY), after;

	for (unsigned i = 0; i < 40; i++)
		fds[i] = before;
	for (unsigned i = 0; i < 50; i++) {
		assert_int_equal(client_call(&c, VFIO_USER_DEVICE_GET_INFO, "0123456789abcdef", 16, fds, 5), EINVAL);
		assert_int_equal(client_call(&c, VFIO_USER_DMA_MAP, "short", 5, fds, 1), EINVAL);
		assert_int_equal(client_set_irqs(&c, 0x24, 1, 0, 3, fds, 3), EINVAL);
		client_send(&c, VFIO_USER_REGION_WRITE, VFIO_USER_NO_REPLY, "x", 1, fds, 16);
	}
	client_send(&c, VFIO_USER_DEVICE_GET_INFO, 0, "0123456789abcdef", 16, fds, 40); /* more than there may be */
	assert_false(client_recv(&c, 1000));
	client_close(&c);
	fake_until(&k, state_is_ready, NULL);
	client_attach(&c, &k);
	after = open("/dev/null", O_RDONLY);
	assert_in_range(after, before, before + 6);
	close(after);
	close(before);
}

static void test_messages_in_pieces(void **state)
{
	uint8_t m[32] = {7, 0, 9, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 4, 0, 0, 0};

	for (unsigned cut = 1; cut < 32; cut++) {
		assert_int_equal(write(c.fd, m, cut), cut);
		fake_rounds(&k, 2);
		assert_int_equal(write(c.fd, m + cut, 32 - cut), 32 - cut);
		assert_true(client_recv(&c, 1000));
		assert_int_equal(c.r_id, 7);
		assert_int_equal(fb_get_le32(c.body + 16), 0x56781234);
	}
}

/* A client that asks and never reads: bounded, others are served, it can go on later. */
static void test_client_does_not_read(void **state)
{
	uint8_t req[32] = {7, 0, 9, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 16, 0, 0};
	unsigned sent = 0, got = 0;

	k.f->env = &k.env;
	for (unsigned i = 0; i < 3000; i++) {
		if (write(c.fd, req, sizeof(req)) == (ssize_t)sizeof(req))
			sent++;
		fake_rounds(&k, 1);
	}
	assert_true(vfio_user_stream_queued(&k.f->vu.stream) <= FB_VU_OUT_MAX);
	k.env.answer_ns = 2000000000;
	while (got < sent && client_recv(&c, 2000))
		got++;
	assert_int_equal(got, sent);
	assert_int_equal(k.f->state, FB_ROOT_IN_USE);
}

static void test_large_region_read(void **state)
{
	uint8_t *b = malloc(FAKE_BAR0);

	enable(&c, 2);
	for (unsigned i = 0; i < FAKE_BAR0; i++)
		k.bar0[i] = (uint8_t)(i * 13 + i / 256);
	assert_int_equal(client_read(&c, 0, 0, b, FAKE_BAR0), 0);
	assert_memory_equal(b, k.bar0, FAKE_BAR0);
	assert_int_equal(client_read(&c, 0, 3, b, FAKE_BAR0 - 5), 0);
	assert_memory_equal(b, k.bar0 + 3, FAKE_BAR0 - 5);
	free(b);
}

static void test_hidden_msix(void **state)
{
	uint8_t b[32] = {0}, list[256];
	bool msix = false;

	client_close(&c);
	fake_free(&k);
	fake_init(&k, true);
	fake_connect(&k);
	client_attach(&c, &k);
	assert_int_equal(client_read(&c, VFIO_REGION_CONFIG, 0, list, 256), 0);
	for (unsigned at = list[0x34], n = 0; at && n < 20; at = list[at + 1], n++)
		msix |= list[at] == 0x11;
	assert_false(msix);
	assert_int_equal(list[FAKE_MSI_CAP + 1], FAKE_PCIE);
	for (unsigned i = 0; i < 12; i++)
		assert_int_equal(list[FAKE_MSIX_CAP + i], 0);
	fb_put_le32(b, 16);
	fb_put_le32(b + 8, VFIO_IRQ_MSIX);
	assert_int_equal(client_call(&c, VFIO_USER_DEVICE_GET_IRQ_INFO, b, 16, NULL, 0), 0);
	assert_int_equal(fb_get_le32(c.body + 12), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		R(test_enumeration),
		R(test_enumeration_waits_for_crs),
		R(test_refused),
		R(test_version),
		R(test_first_must_be_version),
		T(test_second_client_refused),
		T(test_clients_by_the_hundred),
		T(test_info),
		T(test_config_4096_at_once),
		T(test_bars_follow_the_guest),
		T(test_mmio),
		T(test_mmio_bounds),
		T(test_posted_write_waits_for_nothing),
		T(test_posted_writes_pass_waiting_reads),
		T(test_write_queue_is_bounded),
		T(test_read_errors),
		T(test_answer_time),
		T(test_reads_overlap),
		T(test_pool_is_bounded),
		T(test_write_multi),
		T(test_reset),
		T(test_guest_flr),
		T(test_back_from_d3),
		T(test_reset_slow),
		T(test_reset_again_slow),
		T(test_client_leaves),
		T(test_surprise_removal),
		T(test_hostile_headers),
		T(test_hostile_commands),
		T(test_descriptors_do_not_leak),
		T(test_messages_in_pieces),
		T(test_client_does_not_read),
		T(test_large_region_read),
		T(test_hidden_msix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
