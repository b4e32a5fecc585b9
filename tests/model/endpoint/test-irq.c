/* SPDX-License-Identifier: Apache-2.0 */
/* Interrupts: MSI, MSI-X, INTx, masks and pending bits, coalescing; and the model's timers, files, batches, pollers. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "probe.h"
#include "scripted_root.h"
#include "util/reader.h"

enum { MSI = 0x50, EXP = 0x70, MSIX = 0xb0, PBA = PROBE_MSIX + 16 * PROBE_VECTORS };

static struct scripted_root *start(const char *options)
{
	struct scripted_root *r = scripted_root_new(&probe_model, options, 1 << 16);

	scripted_root_enumerate(r, NULL);
	return r;
}

static void msi(void **state)
{
	struct scripted_root *r = start("id=t");

	assert_int_equal(fb_irq_mode(r->dev), FB_IRQ_INTX);
	fb_irq(r->dev, 0);
	scripted_root_expect_nothing(r); /* not enabled: nothing, and nothing later */
	assert_int_equal(scripted_root_enable_msi(r, 4), 4);
	assert_int_equal(fb_irq_mode(r->dev), FB_IRQ_MSI);
	scripted_root_expect_nothing(r);
	for (unsigned v = 0; v < 8; v++)
		fb_irq(r->dev, v);
	for (unsigned v = 0; v < 4; v++)
		assert_int_equal(scripted_root_irqs(r, v), 2); /* wrap around */
	/* The low bits of Message Data are the vector. */
	scripted_root_cfg_write(r, MSI + 12, 0x47, 2);
	fb_irq(r->dev, 2);
	assert_int_equal(scripted_root_irqs(r, 0x46), 1);
	/* More vectors than there are, asked for: as many as there are. */
	scripted_root_cfg_write(r, MSI + 12, 0, 2);
	scripted_root_cfg_write(r, MSI + 2, 1 | 5 << 4, 2);
	fb_irq(r->dev, 7);
	fb_irq(r->dev, 8);
	assert_int_equal(scripted_root_irqs(r, 7), 1);
	assert_int_equal(scripted_root_irqs(r, 0), 3);
	/* A 64-bit address. */
	scripted_root_forget(r);
	scripted_root_cfg_write(r, MSI + 4, 0x1000, 4);
	scripted_root_cfg_write(r, MSI + 8, 0x12, 4);
	r->keep_log = true;
	fb_irq(r->dev, 1);
	assert_true(scripted_root_expect(r, PCIE_TLP_MWR)->tlp.address == 0x1200001000);
	scripted_root_free(r);
	(void)state;
}

static void msi_masks(void **state)
{
	struct scripted_root *r = start("id=t");

	scripted_root_enable_msi(r, 8);
	scripted_root_cfg_write(r, MSI + 16, 0x06, 4);
	fb_irq(r->dev, 1);
	fb_irq(r->dev, 1);
	fb_irq(r->dev, 2);
	fb_irq(r->dev, 3);
	assert_int_equal(scripted_root_irqs(r, 3), 1);
	assert_int_equal(scripted_root_cfg_read(r, MSI + 20, 4), 0x06);
	scripted_root_cfg_write(r, MSI + 20, 0, 4); /* pending bits are read-only */
	assert_int_equal(scripted_root_cfg_read(r, MSI + 20, 4), 0x06);
	scripted_root_cfg_write(r, MSI + 16, 0x04, 4);
	assert_int_equal(scripted_root_irqs(r, 1), 1); /* two became one */
	assert_int_equal(scripted_root_irqs(r, 2), 0);
	assert_int_equal(scripted_root_cfg_read(r, MSI + 20, 4), 0x04);
	scripted_root_cfg_write(r, MSI + 16, 0, 4);
	assert_int_equal(scripted_root_irqs(r, 2), 1);
	assert_int_equal(scripted_root_cfg_read(r, MSI + 20, 4), 0);
	scripted_root_free(r);
	(void)state;
}

static void msix(void **state)
{
	struct scripted_root *r = start("id=t");
	struct probe *p = fb_device_state(r->dev);

	assert_int_equal(scripted_root_enable_msix(r), PROBE_VECTORS);
	assert_int_equal(p->n_access, 0); /* the model sees nothing of it */
	assert_int_equal(fb_irq_mode(r->dev), FB_IRQ_MSIX);
	for (unsigned v = 0; v < PROBE_VECTORS; v++)
		fb_irq(r->dev, v);
	for (unsigned v = 0; v < PROBE_VECTORS; v++)
		assert_int_equal(scripted_root_irqs(r, v), 1);
	/* Each entry has its own address and data; the vectors' order in the table is its own. */
	scripted_root_write(r, 2, PROBE_MSIX + 16 * 5, 0x2000, 4);
	scripted_root_write(r, 2, PROBE_MSIX + 16 * 5 + 4, 0x34, 4);
	scripted_root_write(r, 2, PROBE_MSIX + 16 * 5 + 8, 0xdeadbeef, 4);
	r->keep_log = true;
	scripted_root_forget(r);
	fb_irq(r->dev, 5);
	const struct scripted_tlp *t = scripted_root_expect(r, PCIE_TLP_MWR);
	assert_true(t->tlp.address == 0x3400002000);
	assert_int_equal(fb_get_le32(t->data), 0xdeadbeef);
	assert_int_equal(t->tlp.length, 1);
	scripted_root_free(r);
	(void)state;
}

static void msix_table_registers(void **state)
{
	struct scripted_root *r = start("id=t");
	uint8_t entry[16];

	for (unsigned v = 0; v < PROBE_VECTORS; v++)
		assert_int_equal(scripted_root_read(r, 2, PROBE_MSIX + 16 * v + 12, 4), 1); /* masked after reset */
	/* One access of a whole entry, of a QW, of a byte. */
	memset(entry, 0xff, sizeof(entry));
	scripted_root_memory(r, r->bar[2] + PROBE_MSIX + 16, entry, 16);
	assert_true(scripted_root_read(r, 2, PROBE_MSIX + 16, 8) == 0xfffffffffffffffc);
	assert_true(scripted_root_read(r, 2, PROBE_MSIX + 24, 8) == 0x1ffffffff);
	assert_int_equal(scripted_root_read(r, 2, PROBE_MSIX, 8), 0);
	scripted_root_write(r, 2, PROBE_MSIX + 17, 0x55, 1);
	assert_true(scripted_root_read(r, 2, PROBE_MSIX + 16, 8) == 0xffffffffffff55fc);
	assert_int_equal(scripted_root_read(r, 2, PROBE_MSIX + 17, 2), 0xff55);
	scripted_root_write(r, 2, PBA, ~0ull, 8);
	assert_int_equal(scripted_root_read(r, 2, PBA, 8), 0);
	/* What lies before and behind is the model's. */
	struct probe *p = fb_device_state(r->dev);
	assert_int_equal(p->n_access, 0);
	scripted_root_write(r, 2, PROBE_MSIX - 4, 1, 4);
	scripted_root_write(r, 2, PBA + 16, 1, 4);
	assert_int_equal(p->n_access, 2);
	scripted_root_free(r);
	(void)state;
}

static void msix_masks(void **state)
{
	struct scripted_root *r = start("id=t");

	scripted_root_enable_msix(r);
	scripted_root_write(r, 2, PROBE_MSIX + 16 * 65 + 12, 1, 4);
	fb_irq(r->dev, 65);
	fb_irq(r->dev, 65);
	assert_int_equal(scripted_root_irqs(r, 65), 0);
	assert_int_equal(scripted_root_read(r, 2, PBA + 8, 8), 2);
	scripted_root_write(r, 2, PROBE_MSIX + 16 * 65 + 12, 0, 4);
	assert_int_equal(scripted_root_irqs(r, 65), 1);
	assert_int_equal(scripted_root_read(r, 2, PBA + 8, 8), 0);
	/* The function's mask holds all; entries' masks still count when it goes. */
	scripted_root_cfg_write(r, MSIX + 2, 0xc000, 2);
	scripted_root_write(r, 2, PROBE_MSIX + 16 * 3 + 12, 1, 4);
	fb_irq(r->dev, 1);
	fb_irq(r->dev, 3);
	assert_int_equal(scripted_root_read(r, 2, PBA, 8), 0xa);
	scripted_root_cfg_write(r, MSIX + 2, 0x8000, 2);
	assert_int_equal(scripted_root_irqs(r, 1), 1);
	assert_int_equal(scripted_root_irqs(r, 3), 0);
	assert_int_equal(scripted_root_read(r, 2, PBA, 8), 8);
	/* FLR: masked, nothing pending, off. */
	scripted_root_cfg_write(r, EXP + 8, 0x8000, 2);
	assert_int_equal(scripted_root_cfg_read(r, MSIX + 2, 2), PROBE_VECTORS - 1);
	scripted_root_enumerate(r, NULL);
	assert_int_equal(scripted_root_read(r, 2, PBA, 8), 0);
	assert_int_equal(scripted_root_read(r, 2, PROBE_MSIX + 12, 4), 1);
	scripted_root_free(r);
	(void)state;
}

/* Masked while its message waits to be sent: it must not leave, and must not be lost. */
static void masked_while_queued(void **state)
{
	struct scripted_root *r = start("id=t");

	scripted_root_enable_msix(r);
	r->room[PCIE_FC_P] = 0;
	fb_irq(r->dev, 2);
	scripted_root_write(r, 2, PROBE_MSIX + 16 * 2 + 12, 1, 4);
	scripted_root_allow(r, PCIE_FC_P, -1);
	assert_int_equal(scripted_root_irqs(r, 2), 0);
	assert_int_equal(scripted_root_read(r, 2, PBA, 8), 4);
	scripted_root_write(r, 2, PROBE_MSIX + 16 * 2 + 12, 0, 4);
	assert_int_equal(scripted_root_irqs(r, 2), 1);
	scripted_root_free(r);
	(void)state;
}

static void no_interrupts_without_mastering(void **state)
{
	struct scripted_root *r = start("id=t");

	scripted_root_enable_msix(r);
	scripted_root_cfg_write(r, 4, 2, 2);
	fb_irq(r->dev, 0);
	scripted_root_cfg_write(r, 4, 6, 2);
	assert_int_equal(scripted_root_irqs(r, 0), 0);
	/* One that waits in the queue when mastering goes is gone, and the vector works after. */
	r->room[PCIE_FC_P] = 0;
	fb_irq(r->dev, 0);
	fb_irq(r->dev, 0);
	scripted_root_cfg_write(r, 4, 2, 2);
	scripted_root_allow(r, PCIE_FC_P, -1);
	scripted_root_cfg_write(r, 4, 6, 2);
	assert_int_equal(scripted_root_irqs(r, 0), 0);
	fb_irq(r->dev, 0);
	assert_int_equal(scripted_root_irqs(r, 0), 1);
	scripted_root_free(r);
	(void)state;
}

static void a_million_interrupts_need_no_memory(void **state)
{
	struct scripted_root *r = start("id=t");

	scripted_root_enable_msix(r);
	r->room[PCIE_FC_P] = 0;
	for (unsigned i = 0; i < 1000000; i++)
		fb_irq(r->dev, i % 3);
	scripted_root_allow(r, PCIE_FC_P, -1);
	for (unsigned v = 0; v < 3; v++)
		assert_int_equal(scripted_root_irqs(r, v), 2); /* the first, and one for all that followed */
	scripted_root_free(r);
	(void)state;
}

static void intx(void **state)
{
	struct scripted_root *r = start("id=t");

	assert_int_equal(fb_irq_mode(r->dev), FB_IRQ_INTX);
	fb_intx_set(r->dev, true);
	fb_intx_set(r->dev, true);
	assert_int_equal(r->intx_asserts, 1);
	const struct scripted_tlp *t = scripted_root_expect(r, PCIE_TLP_MSG);
	assert_int_equal(t->tlp.msg_route, PCIE_ROUTE_LOCAL);
	assert_int_equal(t->tlp.requester_id, SCRIPTED_BDF);
	assert_true(scripted_root_cfg_read(r, 6, 2) & 8);
	/* Disabled in the command register: taken back, the status bit stays. */
	scripted_root_cfg_write(r, 4, 0x407, 2);
	assert_int_equal(r->intx_deasserts, 1);
	assert_int_equal(fb_irq_mode(r->dev), FB_IRQ_NONE);
	assert_true(scripted_root_cfg_read(r, 6, 2) & 8);
	scripted_root_cfg_write(r, 4, 7, 2);
	assert_int_equal(r->intx_asserts, 2);
	/* MSI-X takes over. */
	scripted_root_cfg_write(r, MSIX + 2, 0x8000, 2);
	assert_int_equal(r->intx_deasserts, 2);
	scripted_root_cfg_write(r, MSIX + 2, 0, 2);
	assert_int_equal(r->intx_asserts, 3);
	fb_intx_set(r->dev, false);
	assert_int_equal(r->intx_deasserts, 3);
	assert_false(scripted_root_cfg_read(r, 6, 2) & 8);
	/* Not mastering does not matter: messages are none of its business. */
	scripted_root_cfg_write(r, 4, 2, 2);
	fb_intx_set(r->dev, true);
	assert_int_equal(r->intx_asserts, 4);
	/* It follows what was written before, and what changed while it waited ends up right. */
	fb_intx_set(r->dev, false);
	r->room[PCIE_FC_P] = 0;
	for (unsigned i = 0; i < 1001; i++)
		fb_intx_set(r->dev, !(i & 1));
	scripted_root_allow(r, PCIE_FC_P, -1);
	assert_true(r->intx);
	/* FLR takes it back. */
	scripted_root_cfg_write(r, EXP + 8, 0x8000, 2);
	assert_false(r->intx);
	assert_int_equal(scripted_root_cfg_read(r, 6, 2), 0x10);
	scripted_root_forget(r);
	scripted_root_free(r);
	(void)state;
}

struct wait {
	struct scripted_root *r;
	unsigned irqs;
};

static bool irqs_seen(void *arg)
{
	struct wait *w = arg;

	return scripted_root_irqs(w->r, 0) >= w->irqs;
}

/* What a model can tell others of itself: where it is, and what its interrupts would be. */
static void what_the_root_made_of_it(void **state)
{
	struct scripted_root *r = scripted_root_new(&probe_model, "id=t", 1 << 16);
	uint64_t addr;
	uint32_t data;

	assert_int_equal(fb_device_bdf(r->dev), 0);
	assert_false(fb_device_bar_address(r->dev, 2, &addr));
	assert_false(fb_irq_target(r->dev, 0, &addr, &data));
	scripted_root_enumerate(r, NULL);
	assert_int_equal(fb_device_bdf(r->dev), SCRIPTED_BDF);
	assert_true(fb_device_bar_address(r->dev, 2, &addr));
	assert_int_equal(addr, r->bar[2]);
	assert_false(fb_device_bar_address(r->dev, 1, &addr));
	assert_false(fb_device_bar_address(r->dev, 6, &addr));

	scripted_root_enable_msi(r, 4);
	assert_true(fb_irq_target(r->dev, 3, &addr, &data));
	assert_true(addr == SCRIPTED_MSI_ADDRESS && (data & 3) == 3);
	assert_false(fb_irq_target(r->dev, 4, &addr, &data));
	scripted_root_cfg_write(r, MSI + 16, 1u << 3, 4);
	assert_false(fb_irq_target(r->dev, 3, &addr, &data));
	assert_int_equal(scripted_root_cfg_read(r, MSI + 20, 4), 0); /* to look is not to raise */
	scripted_root_cfg_write(r, MSI + 2, 0, 2);

	scripted_root_enable_msix(r);
	assert_true(fb_irq_target(r->dev, PROBE_VECTORS - 1, &addr, &data));
	assert_true(addr == SCRIPTED_MSI_ADDRESS && data == PROBE_VECTORS - 1);
	assert_false(fb_irq_target(r->dev, PROBE_VECTORS, &addr, &data));

	assert_int_equal(fb_device_config_read(r->dev, 0), scripted_root_cfg_read(r, 0, 4));
	assert_int_equal(fb_device_config_read(r->dev, 4096), 0xffffffff);
	assert_int_equal(fb_device_config_write(r->dev, 4, 0, 3), 0);
	assert_false(fb_device_bar_address(r->dev, 2, &addr));
	assert_false(fb_irq_target(r->dev, 0, &addr, &data));
	assert_int_equal(fb_device_config_write(r->dev, 3, 0, 15), -EINVAL);
	assert_int_equal(fb_device_config_write(r->dev, 4096, 0, 15), -EINVAL);
	scripted_root_free(r);
	(void)state;
}

static void coalescing(void **state)
{
	struct scripted_root *r = start("id=t,irq-coalesce=20ms");
	struct fb_function_info info;
	struct wait two = {r, 2}, three = {r, 3};
	uint64_t began = fb_clock_ns();

	scripted_root_enable_msix(r);
	scripted_root_run(r);
	for (unsigned i = 0; i < 100; i++)
		fb_irq(r->dev, 0);
	fb_irq(r->dev, 1);
	assert_int_equal(scripted_root_irqs(r, 0), 1); /* the first at once */
	assert_int_equal(scripted_root_irqs(r, 1), 1); /* vectors do not hold up one another */
	assert_true(scripted_root_until(r, irqs_seen, &two, 5000));
	assert_true(fb_clock_ns() - began >= 15000000);
	fb_device_counters(r->dev, &info);
	assert_int_equal(info.interrupts_coalesced, 98);
	assert_int_equal(info.interrupts, 3);
	/* The window that the second one opened ends without another. */
	assert_false(scripted_root_until(r, irqs_seen, &three, 100));
	fb_irq(r->dev, 0);
	assert_int_equal(scripted_root_irqs(r, 0), 3);
	/* A reset within a window: what was put off is gone. */
	fb_irq(r->dev, 0);
	scripted_root_cfg_write(r, EXP + 8, 0x8000, 2);
	scripted_root_enumerate(r, NULL);
	scripted_root_enable_msix(r);
	assert_false(scripted_root_until(r, irqs_seen, &(struct wait){r, 4}, 60));
	scripted_root_free(r);
	(void)state;
}

/* ---- The model's time, files and work ------------------------------------------------------------- */

struct bench {
	struct fb_device_timer timer, other;
	struct fb_device_fd fd;
	struct fb_device_batch batch;
	struct fb_device_poller poller;
	unsigned timers, fds, batches, polls;
	int event;
};
static struct bench bench;

static void due(struct fb_device *dev, struct fb_device_timer *t)
{
	assert_ptr_equal(t, &bench.timer);
	if (++bench.timers < 3)
		assert_int_equal(fb_device_timer_set(dev, t, fb_device_now(dev) + 1000000), 0);
}

static void never_due(struct fb_device *dev, struct fb_device_timer *t)
{
	(void)dev, (void)t;
	fail_msg("a cancelled timer");
}

static void ready(struct fb_device *dev, struct fb_device_fd *w, uint32_t events)
{
	uint64_t n;

	assert_true(events & EPOLLIN);
	assert_int_equal(read(bench.event, &n, 8), 8);
	bench.fds++;
	fb_device_batch_schedule(dev, &bench.batch);
	fb_device_batch_schedule(dev, &bench.batch);
	(void)w;
}

static void run(struct fb_device *dev, struct fb_device_batch *b)
{
	assert_ptr_equal(b, &bench.batch);
	bench.batches++;
	(void)dev;
}

static bool poll_once(struct fb_device *dev, struct fb_device_poller *p)
{
	if (++bench.polls == 3)
		fb_device_poller_del(dev, p);
	return true;
}

static bool all_happened(void *arg)
{
	(void)arg;
	return bench.timers == 3 && bench.fds == 1 && bench.batches == 1 && bench.polls == 3;
}

static void timers_files_batches_pollers(void **state)
{
	struct scripted_root *r = start("id=t");
	uint64_t one = 1;

	bench = (struct bench){.timer.due = due,
			       .other.due = never_due,
			       .fd.ready = ready,
			       .batch.run = run,
			       .poller.poll = poll_once,
			       .event = eventfd(0, EFD_NONBLOCK)};
	assert_ptr_equal(fb_device_of_state(fb_device_state(r->dev)), r->dev);
	assert_int_equal(fb_device_timer_set(r->dev, &bench.timer, fb_device_now(r->dev) + 1000000), 0);
	assert_int_equal(fb_device_timer_set(r->dev, &bench.other, fb_device_now(r->dev) + 2000000), 0);
	fb_device_timer_cancel(r->dev, &bench.other);
	fb_device_timer_cancel(r->dev, &bench.other);
	assert_int_equal(fb_device_fd_add(r->dev, &bench.fd, bench.event, EPOLLIN), 0);
	fb_device_poller_add(r->dev, &bench.poller);
	assert_int_equal(write(bench.event, &one, 8), 8);
	assert_true(scripted_root_until(r, all_happened, NULL, 5000));

	/* A reset stops timers, and only timers; the end of the device all that is left armed. */
	assert_int_equal(fb_device_timer_set(r->dev, &bench.other, fb_device_now(r->dev) + 1000000), 0);
	scripted_root_cfg_write(r, EXP + 8, 0x8000, 2);
	assert_int_equal(write(bench.event, &one, 8), 8);
	bench.batches = bench.fds = 0;
	assert_true(scripted_root_until(r, all_happened, NULL, 5000));
	assert_int_equal(fb_device_timer_set(r->dev, &bench.other, fb_device_now(r->dev) + 1000000000), 0);
	fb_device_batch_schedule(r->dev, &bench.batch);
	fb_device_poller_add(r->dev, &bench.poller);
	scripted_root_detach(r);
	scripted_root_free(r);
	close(bench.event);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(msi),
		cmocka_unit_test(msi_masks),
		cmocka_unit_test(msix),
		cmocka_unit_test(msix_table_registers),
		cmocka_unit_test(msix_masks),
		cmocka_unit_test(masked_while_queued),
		cmocka_unit_test(no_interrupts_without_mastering),
		cmocka_unit_test(a_million_interrupts_need_no_memory),
		cmocka_unit_test(intx),
		cmocka_unit_test(what_the_root_made_of_it),
		cmocka_unit_test(coalescing),
		cmocka_unit_test(timers_files_batches_pollers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
