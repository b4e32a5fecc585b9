/* SPDX-License-Identifier: Apache-2.0 */
/* Filters, and captures into files, pipes, and places that do not take them. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "capture/capture.h"
#include "capture/pcapng.h"
#include "util/log.h"
#include "util/loop.h"
#include "util/reader.h"

static const struct fb_tap_source at_root = {.function = "ssd0", .session = 0x1122334455667788, .on_root = true};
static const struct fb_tap_source at_box = {.function = "nic0", .session = 7, .carrier = FB_TAP_LOOPBACK};
static uint8_t payload[PCIE_TLP_MAX_DATA];

static struct pcie_tlp memory(enum pcie_tlp_type type, uint64_t address, uint32_t len)
{
	struct pcie_tlp t = {.type = type, .requester_id = 0x0100, .tag = 5, .data = payload};

	pcie_tlp_set_range(&t, address, len);
	return t;
}

/* ---- Filters ------------------------------------------------------------------- */

static bool takes(const char *text, const struct fb_tap_source *s, bool sent, const struct pcie_tlp *t,
		  enum pcie_tlp_error e)
{
	struct fb_filter *f;
	char error[200];
	bool yes;

	if (fb_filter_parse(&f, text, error, sizeof(error)))
		fail_msg("%s: %s", text, error);
	yes = fb_filter_takes(f, s, sent, t, e);
	fb_filter_free(f);
	return yes;
}

static void test_filter(void **state)
{
	struct pcie_tlp rd = memory(PCIE_TLP_MRD, 0xfee00ffc, 4), wr = memory(PCIE_TLP_MWR, 0x100001000, 4096);
	struct pcie_tlp cpl = {.type = PCIE_TLP_CPL, .status = PCIE_CPL_UR, .byte_count = 4, .requester_id = 0x0208, .tag = 300};
	struct pcie_tlp msg = {.type = PCIE_TLP_MSG, .msg_code = PCIE_MSG_PM_PME};
	static const struct {
		const char *text;
		bool rd, wr, cpl, msg; /* rd, cpl: sent by the root; wr, msg: received by it */
	} table[] = {
		{"", 1, 1, 1, 1},
		{"type=MRd", 1, 0, 0, 0},
		{"type=mwr+cpl", 0, 1, 1, 0},
		{"type=MWr32", 0, 0, 0, 0},
		{"type=MWr64+MRd32", 1, 1, 0, 0},
		{"type=posted", 0, 1, 0, 1},
		{"type=memory+completion", 1, 1, 1, 0},
		{"addr=0xfee00fff", 1, 0, 0, 0},
		{"addr=0xfee01000", 0, 0, 0, 0},
		{"addr=0x100001fff-0x100002000", 0, 1, 0, 0},
		{"addr=0x100002000:4K", 0, 0, 0, 0},
		{"addr=0:4G", 1, 0, 0, 0},
		{"addr=0-0xffffffffffffffff", 1, 1, 0, 0},
		{"dir=down", 1, 0, 1, 0},
		{"dir=up", 0, 1, 0, 1},
		{"dir=received+sent", 1, 1, 1, 1},
		{"function=ssd0", 1, 1, 1, 1},
		{"function=nic*", 0, 0, 0, 0},
		{"function=nic*+ss?0,type=MRd", 1, 0, 0, 0},
		{"requester=01:00.0", 1, 1, 0, 0},
		{"requester=02:01.0", 0, 0, 1, 0},
		{"tag=300", 0, 0, 1, 0},
		{"tag=0-5", 1, 1, 0, 1},
		{"status=error", 0, 0, 1, 0},
		{"status=ok", 1, 1, 0, 1},
		{"status=malformed", 0, 0, 0, 0},
		{"type=MRd dir=up or status=error", 0, 0, 1, 0},
		{"  type=MRd ,, dir=down or  type=Msg ", 1, 0, 0, 1},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		print_message("%s\n", table[i].text);
		assert_int_equal(takes(table[i].text, &at_root, true, &rd, PCIE_TLP_OK), table[i].rd);
		assert_int_equal(takes(table[i].text, &at_root, false, &wr, PCIE_TLP_OK), table[i].wr);
		assert_int_equal(takes(table[i].text, &at_root, true, &cpl, PCIE_TLP_OK), table[i].cpl);
		assert_int_equal(takes(table[i].text, &at_root, false, &msg, PCIE_TLP_OK), table[i].msg);
	}
	/* What a box sends goes up. */
	assert_true(takes("dir=up dir=sent", &at_box, true, &wr, PCIE_TLP_OK));
	assert_false(takes("dir=down", &at_box, true, &wr, PCIE_TLP_OK));
	/* Malformed ones have what fields they have. */
	assert_true(takes("status=malformed", &at_root, false, &rd, PCIE_TLP_E_BE));
	assert_true(takes("type=MRd", &at_root, false, &rd, PCIE_TLP_E_BE));
	assert_false(takes("type=MRd", &at_root, false, &rd, PCIE_TLP_E_SHORT));
	assert_true(takes("function=ssd0", &at_root, false, &rd, PCIE_TLP_E_SHORT));
}

static void test_filter_errors(void **state)
{
	static const struct {
		const char *text, *says;
	} table[] = {
		{"typ=MRd", "did you mean \"type\""},
		{"frobnicate=1", "there are function, type, addr"},
		{"type=MRdd", "did you mean MRd"},
		{"type=xyzzyxyz", "must be one of MRd"},
		{"dir=left", "must be one of down, up"},
		{"type=", "its value is missing"},
		{"type=MRd+", "its value is missing"},
		{"MRd", "not KEY=VALUE"},
		{"addr=fee", "FIRST-LAST"},
		{"addr=5-3", "FIRST-LAST"},
		{"addr=1:0", "FIRST-LAST"},
		{"addr=0xffffffffffffffff:2", "FIRST-LAST"},
		{"requester=1:40.0", "BUS:DEV.FN"},
		{"requester=01:00.0x", "BUS:DEV.FN"},
		{"or type=MRd", "before an \"or\""},
		{"type=MRd or", "behind the last \"or\""},
		{"function=aaaaaaaaaabbbbbbbbbbccccccccccdd", "longer than"},
		{"tag=1+2+3+4+5+6+7+8+9+10+11+12+13+14+15+16+17", "more than 16"},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct fb_filter *f;
		char error[300] = "";

		assert_int_equal(fb_filter_parse(&f, table[i].text, error, sizeof(error)), -EINVAL);
		if (!strstr(error, table[i].says))
			fail_msg("\"%s\" says \"%s\"", table[i].text, error);
	}
}

/* ---- Captures -------------------------------------------------------------------- */

struct world {
	struct fb_loop *loop;
	struct fb_tap *tap;
	struct fb_capture *capture;
	struct fb_capture_result result;
	unsigned ended;
};

static void ended(void *arg, const struct fb_capture_result *r)
{
	struct world *w = arg;

	w->result = *r;
	w->ended++;
	fb_capture_free(w->capture);
	w->capture = NULL;
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	*state = w;
	fb_log_set_level(FB_LOG_NONE);
	return fb_loop_new(&w->loop, 0) || fb_tap_new(&w->tap, w->loop);
}

static int teardown(void **state)
{
	struct world *w = *state;

	fb_tap_free(w->tap);
	fb_loop_free(w->loop);
	free(w);
	return 0;
}

static void start(struct world *w, struct fb_capture_config config)
{
	char error[200];

	config.writer = "test";
	config.ended = ended;
	config.arg = w;
	if (fb_capture_start(&w->capture, w->tap, &config, error, sizeof(error)))
		fail_msg("%s", error);
}

static void wait_end(struct world *w)
{
	uint64_t deadline = fb_clock_ns() + 60000000000ull;

	while (!w->ended && fb_clock_ns() < deadline)
		fb_loop_once(w->loop, fb_clock_ns() + 10000000);
	assert_int_equal(w->ended, 1);
}

/* Of a given type and size, as a port would. */
static void send_tlp(struct world *w, const struct fb_tap_source *s, const struct pcie_tlp *t)
{
	uint8_t head[PCIE_TLP_MAX_HEADER];
	size_t n = pcie_tlp_encode_header(t, head, NULL);

	assert_true(n > 0);
	fb_tap_sent(w->tap, s, t, head, n, t->data, pcie_tlp_has_data(t->type) ? t->length * 4u : 0);
}

static int temporary(void)
{
	char path[] = "/tmp/farbus-capture-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	unlink(path);
	return fd;
}

struct file {
	uint8_t *bytes;
	size_t len, packets;
	uint64_t marked, received, dropped; /* by EPB options; by the statistics */
	unsigned ifs, stats;
};

/* Walks all blocks; every length must fit. */
static struct file read_file(int fd)
{
	struct stat st;
	struct file f = {0};

	assert_int_equal(fstat(fd, &st), 0);
	f.len = (size_t)st.st_size;
	f.bytes = malloc(f.len + 1);
	assert_int_equal(pread(fd, f.bytes, f.len, 0), (ssize_t)f.len);
	for (size_t at = 0; at < f.len;) {
		uint8_t *b = f.bytes + at, *option = NULL, *end;
		uint32_t type = fb_get_le32(b), len = fb_get_le32(b + 4);

		assert_true(len >= 12 && len % 4 == 0 && at + len <= f.len);
		assert_int_equal(fb_get_le32(b + len - 4), len);
		end = b + len - 4;
		if (at == 0)
			assert_int_equal(type, PCAPNG_SHB);
		if (type == PCAPNG_EPB) {
			f.packets++;
			option = b + 28 + ((fb_get_le32(b + 20) + 3) & ~3u);
		} else if (type == PCAPNG_ISB) {
			f.stats++;
			option = b + 20;
		}
		f.ifs += type == PCAPNG_IDB;
		while (option && option < end) {
			uint16_t code = fb_get_le16(option), size = fb_get_le16(option + 2);

			if (type == PCAPNG_EPB && code == PCAPNG_EPB_DROPCOUNT)
				f.marked += fb_get_le64(option + 4);
			if (type == PCAPNG_ISB && code == PCAPNG_ISB_IFRECV)
				f.received = fb_get_le64(option + 4);
			if (type == PCAPNG_ISB && code == PCAPNG_ISB_IFDROP)
				f.dropped = fb_get_le64(option + 4);
			option += 4 + ((size + 3) & ~3u);
		}
		at += len;
	}
	return f;
}

static void test_file(void **state)
{
	struct world *w = *state;
	struct pcie_tlp rd = memory(PCIE_TLP_MRD, 0x1000, 64), wr = memory(PCIE_TLP_MWR, 0x2000, 4096);
	int fd = temporary();
	struct file f;
	const uint8_t *b;

	for (unsigned i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(i * 7);
	assert_false(fb_tap_on(w->tap));
	start(w, (struct fb_capture_config){.fds = &fd, .n_fds = 1});
	assert_true(fb_tap_on(w->tap));
	for (unsigned i = 0; i < 500; i++) {
		send_tlp(w, &at_root, &rd);
		send_tlp(w, &at_box, &wr);
	}
	fb_tap_received(w->tap, &at_root, &rd, PCIE_TLP_E_SHORT, "\x01\x02\x03", 3);
	fb_capture_stop(w->capture);
	assert_false(fb_tap_on(w->tap));
	send_tlp(w, &at_root, &rd); /* not any more */
	wait_end(w);
	assert_int_equal(w->result.err, 0);
	assert_int_equal(w->result.packets, 1001);
	assert_int_equal(w->result.dropped, 0);
	f = read_file(fd);
	assert_int_equal(f.packets, 1001);
	assert_int_equal(f.len, w->result.bytes);
	assert_int_equal(f.received, 1001);
	assert_int_equal(f.ifs, 1);
	assert_int_equal(f.stats, 1);
	/* The second packet byte for byte. */
	b = f.bytes;
	while (fb_get_le32(b) != PCAPNG_EPB)
		b += fb_get_le32(b + 4);
	assert_int_equal(b[28 + 16 + FB_TAP_O_FLAGS], FB_TAP_F_AT_ROOT | FB_TAP_F_SENT);
	assert_int_equal(fb_get_be64(b + 28 + 16 + FB_TAP_O_SESSION), at_root.session);
	b += fb_get_le32(b + 4);
	assert_int_equal(fb_get_le32(b + 20), 16 + 20 + 12 + 4096);
	assert_int_equal(fb_get_le32(b + 24), 16 + 20 + 12 + 4096);
	b += 28 + 16;
	assert_int_equal(b[FB_TAP_O_HLEN], 20);
	assert_int_equal(b[FB_TAP_O_FLAGS], FB_TAP_F_UP | FB_TAP_F_SENT);
	assert_int_equal(b[FB_TAP_O_CARRIER], FB_TAP_LOOPBACK);
	assert_int_equal(b[FB_TAP_O_NAME_LEN], 4);
	assert_memory_equal(b + FB_TAP_O_NAME, "nic0\0\0", 6);
	assert_int_equal(b[20], 0x40); /* MWr, 3 DW */
	assert_memory_equal(b + 20 + 12, payload, 4096);
	free(f.bytes);
	close(fd);
}

static void test_limits(void **state)
{
	struct world *w = *state;
	struct pcie_tlp wr = memory(PCIE_TLP_MWR, 0x2000, 4096), rd = memory(PCIE_TLP_MRD, 0x1000, 64);
	int fd = temporary();
	struct file f;

	start(w, (struct fb_capture_config){.fds = &fd, .n_fds = 1, .snap = 16, .max_packets = 10, .filter_text = "type=MWr"});
	for (unsigned i = 0; i < 20; i++) {
		send_tlp(w, &at_root, &rd);
		send_tlp(w, &at_root, &wr);
	}
	wait_end(w);
	f = read_file(fd);
	assert_int_equal(f.packets, 10);
	assert_true(f.len < 2000);
	free(f.bytes);
	close(fd);

	fd = temporary();
	w->ended = 0;
	start(w, (struct fb_capture_config){.fds = &fd, .n_fds = 1, .max_ns = 20000000});
	wait_end(w);
	assert_int_equal(w->result.packets, 0);
	close(fd);
}

static void test_files(void **state)
{
	struct world *w = *state;
	struct pcie_tlp wr = memory(PCIE_TLP_MWR, 0x2000, 1024);
	int fds[3] = {temporary(), temporary(), temporary()};
	uint64_t packets = 0;

	start(w, (struct fb_capture_config){.fds = fds, .n_fds = 3, .file_size = 65536});
	for (unsigned i = 0; i < 1000; i++)
		send_tlp(w, &at_root, &wr);
	fb_capture_stop(w->capture);
	wait_end(w);
	assert_int_equal(w->result.err, 0);
	assert_int_equal(w->result.packets + w->result.dropped, 1000);
	assert_int_equal(w->result.dropped, 0);
	assert_true(w->result.files > 10);
	for (unsigned i = 0; i < 3; i++) {
		struct file f = read_file(fds[i]);

		assert_in_range(f.len, 1000, 65536);
		assert_int_equal(f.ifs, 1);
		assert_int_equal(f.stats, 1);
		packets += f.packets;
		free(f.bytes);
		close(fds[i]);
	}
	assert_in_range(packets, 2 * 55, 3 * 60);
}

/* Nobody reads the pipe: the loop goes on, what does not fit is counted, and marked when there is room again. */
static void test_slow_reader(void **state)
{
	struct world *w = *state;
	struct pcie_tlp wr = memory(PCIE_TLP_MWR, 0x2000, 4096);
	int p[2], copy = temporary();
	uint64_t before, deadline;
	struct file f;
	char buf[65536];
	ssize_t n;

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	start(w, (struct fb_capture_config){.fds = &p[1], .n_fds = 1, .buffer = FB_CAPTURE_BUFFER_MIN});
	close(p[1]);
	before = fb_clock_ns();
	for (unsigned i = 0; i < 1000; i++)
		send_tlp(w, &at_root, &wr);
	assert_true(fb_clock_ns() - before < 1000000000ull);
	assert_true(fb_tap_stats(w->tap)->dropped > 900);
	/* The reader wakes up. */
	fcntl(p[0], F_SETFL, O_NONBLOCK);
	deadline = fb_clock_ns() + 60000000000ull;
	while (fb_tap_stats(w->tap)->tlps < 100 && fb_clock_ns() < deadline) {
		while ((n = read(p[0], buf, sizeof(buf))) > 0)
			assert_int_equal(write(copy, buf, (size_t)n), n);
		send_tlp(w, &at_root, &wr);
		fb_loop_once(w->loop, fb_clock_ns() + 1000000);
	}
	fb_capture_stop(w->capture);
	while (!w->ended && fb_clock_ns() < deadline) {
		while ((n = read(p[0], buf, sizeof(buf))) > 0)
			assert_int_equal(write(copy, buf, (size_t)n), n);
		fb_loop_once(w->loop, fb_clock_ns() + 1000000);
	}
	while ((n = read(p[0], buf, sizeof(buf))) > 0)
		assert_int_equal(write(copy, buf, (size_t)n), n);
	assert_int_equal(w->result.err, 0);
	f = read_file(copy);
	assert_int_equal(f.packets, w->result.packets);
	assert_int_equal(f.dropped, w->result.dropped);
	assert_int_equal(f.received, w->result.packets + w->result.dropped);
	assert_true(f.marked > 900 && f.marked <= f.dropped);
	free(f.bytes);
	close(p[0]);
	close(copy);
}

/* Nor does it read when the capture ends: two seconds, then it is over. */
static void test_stuck_reader(void **state)
{
	struct world *w = *state;
	struct pcie_tlp wr = memory(PCIE_TLP_MWR, 0x2000, 4096);
	uint64_t before;
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	start(w, (struct fb_capture_config){.fds = &p[1], .n_fds = 1});
	for (unsigned i = 0; i < 100; i++)
		send_tlp(w, &at_root, &wr);
	before = fb_clock_ns();
	fb_capture_stop(w->capture);
	wait_end(w);
	assert_true(fb_clock_ns() - before < 20000000000ull);
	assert_int_equal(w->result.err, -ETIMEDOUT);
	assert_true(w->result.packets < 100);
	assert_int_equal(w->result.packets + w->result.dropped, 100);
	close(p[0]);
	close(p[1]);
}

static void test_refusing_files(void **state)
{
	struct world *w = *state;
	struct pcie_tlp wr = memory(PCIE_TLP_MWR, 0x2000, 4096);
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC), p[2];

	start(w, (struct fb_capture_config){.fds = &fd, .n_fds = 1});
	wait_end(w); /* by itself */
	assert_int_equal(w->result.err, -ENOSPC);
	assert_false(fb_tap_on(w->tap));
	close(fd);

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	close(p[0]);
	w->ended = 0;
	start(w, (struct fb_capture_config){.fds = &p[1], .n_fds = 1});
	send_tlp(w, &at_root, &wr);
	wait_end(w);
	assert_int_equal(w->result.err, -EPIPE);
	close(p[1]);
}

/* A file that takes no more in the middle of a TLP ends with the last whole one. */
static void test_full_file(void **state)
{
	struct world *w = *state;
	struct pcie_tlp wr = memory(PCIE_TLP_MWR, 0x2000, 4096);
	struct rlimit old, small;
	int fd = temporary();
	struct file f;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = old;
	small.rlim_cur = 50001;
	signal(SIGXFSZ, SIG_IGN);
	start(w, (struct fb_capture_config){.fds = &fd, .n_fds = 1});
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	for (unsigned i = 0; i < 100; i++)
		send_tlp(w, &at_root, &wr);
	wait_end(w); /* by itself */
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(w->result.err, -EFBIG);
	f = read_file(fd);
	assert_int_equal(f.packets, w->result.packets);
	assert_in_range(f.packets, 11, 12);
	assert_int_equal(w->result.packets + w->result.dropped, 100);
	free(f.bytes);
	close(fd);
}

static void test_refused(void **state)
{
	struct world *w = *state;
	int fd = temporary();
	struct fb_capture *all[FB_TAP_CAPTURES_MAX], *c;
	struct fb_capture_config config = {.writer = "test", .fds = &fd, .n_fds = 1};
	char error[200];

	config.snap = 8;
	assert_int_equal(fb_capture_start(&c, w->tap, &config, error, sizeof(error)), -EINVAL);
	config.snap = 0;
	config.n_fds = 0;
	assert_int_equal(fb_capture_start(&c, w->tap, &config, error, sizeof(error)), -EINVAL);
	config.n_fds = 1;
	config.filter_text = "x";
	assert_int_equal(fb_capture_start(&c, w->tap, &config, error, sizeof(error)), -EINVAL);
	config.filter_text = NULL;
	for (unsigned i = 0; i < FB_TAP_CAPTURES_MAX; i++)
		assert_int_equal(fb_capture_start(&all[i], w->tap, &config, error, sizeof(error)), 0);
	assert_int_equal(fb_capture_start(&c, w->tap, &config, error, sizeof(error)), -EBUSY);
	assert_int_equal(fb_tap_stats(w->tap)->running, FB_TAP_CAPTURES_MAX);
	for (unsigned i = 0; i < FB_TAP_CAPTURES_MAX; i++)
		fb_capture_free(all[i]);
	assert_int_equal(fb_tap_stats(w->tap)->running, 0);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_filter),
		cmocka_unit_test(test_filter_errors),
		cmocka_unit_test_setup_teardown(test_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slow_reader, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stuck_reader, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refusing_files, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
