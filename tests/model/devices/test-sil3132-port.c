/* SPDX-License-Identifier: Apache-2.0 */
/* The SiI3132's registers, interrupts, link, resets and hot-plug; files that are no disks; stopping. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "inject.h"
#include "sil_host.h"

enum { MIB = 1 << 20 };

static void test_power_on(void **state)
{
	struct sil_host h;

	sil_open(&h, 1 * MIB, 0, "");
	assert_int_equal(sil_host_get(&h, SIL_HOST_CONTROL), SIL_HOST_RESET);
	assert_int_equal(sil_get(&h, 0, SIL_PORT_CONTROL_SET), SIL_CTRL_PORT_RESET);
	assert_int_equal(sil_get(&h, 0, SIL_PORT_SSTATUS), 0);
	sil_put(&h, 0, 0, sil_rw(ATA_IDENTIFY, 0, 0), SIL_HOST_DATA, 512);
	sil_ring(&h, 0, 0); /* in reset: nothing happens */
	fake_settle(h.dev);
	assert_int_equal(h.s->port[0].bad_activations, 1);
	sil_host_set(&h, SIL_HOST_CONTROL, 0);
	sil_up(&h, 0);
	sil_up(&h, 1);
	assert_int_equal(sil_get(&h, 0, SIL_PORT_SSTATUS), 0x123);
	assert_int_equal(sil_get(&h, 1, SIL_PORT_SSTATUS), 0); /* no drive, and ready all the same */
	sil_host_set(&h, SIL_HOST_CONTROL, SIL_HOST_RESET);
	assert_int_equal(sil_get(&h, 0, SIL_PORT_SSTATUS), 0);
	sil_close(&h);
}

/* Completion: clear on read of the slot status, or, with the bit, by writing. */
static void test_interrupt(void **state)
{
	struct sil_host h;

	sil_start(&h, 1 * MIB, 1 * MIB, "");
	for (unsigned port = 0; port < 2; port++) {
		sil_put(&h, port, 3, sil_rw(ATA_CHECK_POWER_MODE, 0, 0), 0, 0);
		sil_ring(&h, port, 3);
		assert_int_equal(sil_get(&h, port, SIL_PORT_SLOT_STATUS), 8);
	}
	assert_false(h.dev->intx);
	fake_settle(h.dev);
	assert_true(h.dev->intx);
	assert_int_equal(sil_host_get(&h, SIL_HOST_IRQ_STATUS), 3);
	assert_int_equal(sil_get(&h, 0, SIL_PORT_SLOT_STATUS), 0);
	assert_true(h.dev->intx);
	assert_int_equal(sil_host_get(&h, SIL_HOST_IRQ_STATUS), 2);
	assert_int_equal(sil_host_get(&h, SIL_HOST_SLOT_STATUS + 4), 0); /* the same register */
	assert_false(h.dev->intx);
	assert_int_equal(sil_host_get(&h, SIL_HOST_IRQ_STATUS), 0);

	sil_set(&h, 0, SIL_PORT_CONTROL_SET, SIL_CTRL_IRQ_WOC);
	sil_put(&h, 0, 0, sil_rw(ATA_CHECK_POWER_MODE, 0, 0), 0, 0);
	sil_ring(&h, 0, 0);
	fake_settle(h.dev);
	assert_int_equal(sil_get(&h, 0, SIL_PORT_SLOT_STATUS), 0);
	assert_true(h.dev->intx);
	sil_host_set(&h, SIL_HOST_CONTROL, 2); /* the other port's only */
	assert_false(h.dev->intx);
	sil_host_set(&h, SIL_HOST_CONTROL, 3);
	fake_settle(h.dev);
	assert_true(h.dev->intx);
	sil_set(&h, 0, SIL_PORT_IRQ_CLEAR, SIL_IRQ_COMPLETE);
	assert_false(h.dev->intx);
	assert_int_equal(sil_get(&h, 0, SIL_PORT_IRQ_STATUS), SIL_IRQ_COMPLETE << 16);
	sil_set(&h, 0, SIL_PORT_IRQ_STATUS, SIL_IRQ_COMPLETE << 16);
	assert_int_equal(sil_get(&h, 0, SIL_PORT_IRQ_STATUS), 0);
	/* Errors are attention. */
	sil_put(&h, 1, 0, sil_rw(0xff, 0, 0), 0, 0);
	sil_ring(&h, 1, 0);
	fake_settle(h.dev);
	assert_int_equal(sil_get(&h, 1, SIL_PORT_SLOT_STATUS), SIL_ATTENTION | 1);
	/* A block may ask for silence. */
	sil_set(&h, 0, SIL_PORT_IRQ_SET, SIL_IRQ_COMPLETE);
	sil_put(&h, 0, 0, (struct sil_request){.command = ATA_CHECK_POWER_MODE, .control = SIL_PRB_NIEN}, 0, 0);
	sil_ring(&h, 0, 0);
	fake_settle(h.dev);
	assert_int_equal(sil_get(&h, 0, SIL_PORT_SLOT_STATUS), 0);
	assert_int_equal(sil_get(&h, 0, SIL_PORT_IRQ_STATUS), 0);
	sil_close(&h);
}

static void expect_offer(struct sil_host *h, unsigned n, uint32_t ports)
{
	assert_int_equal(h->dev->n_offer, n);
	assert_int_equal(h->dev->offer[0].bar, 0);
	assert_int_equal(h->dev->offer[0].offset, SIL_HOST_IRQ_STATUS);
	assert_int_equal(h->dev->offer[0].value, ports);
	assert_true(h->dev->offer[0].inert);
}

static void expect_slots(struct sil_host *h, unsigned i, unsigned port, uint32_t slots, bool lowers)
{
	assert_int_equal(h->dev->offer[i].bar, 2);
	assert_int_equal(h->dev->offer[i].offset, port * SIL_PORT_SIZE + SIL_PORT_SLOT_STATUS);
	assert_int_equal(h->dev->offer[i].value, slots);
	assert_int_equal(h->dev->offer[i].lowers_intx, lowers);
	assert_false(h->dev->offer[i].inert);
}

static void ring(struct sil_host *h, unsigned port, unsigned slot)
{
	sil_put(h, port, slot, sil_rw(ATA_CHECK_POWER_MODE, 0, 0), 0, 0);
	sil_ring(h, port, slot);
	h->dev->n_offer = 0;
}

/* A command that reads the file. */
static void ring_read(struct sil_host *h, unsigned slot, uint16_t control)
{
	struct sil_request r = sil_rw(ATA_READ_DMA, 0, 1);

	r.control = control;
	sil_put(h, 0, slot, r, SIL_HOST_DATA, ATA_SECTOR);
	sil_ring(h, 0, slot);
	h->dev->n_offer = 0;
}

/* What the interrupt handler will read, ahead; and anew, or not, when it changes. */
static void test_offer(void **state)
{
	struct sil_host h;
	struct inject inj;

	sil_start(&h, 1 * MIB, 1 * MIB, "");
	fake_settle(h.dev);
	assert_int_equal(h.dev->n_offer, 0); /* nothing is pending */
	ring(&h, 0, 3);
	fake_settle(h.dev);
	expect_offer(&h, 2, 1);
	expect_slots(&h, 1, 0, 0, true);
	assert_true(fake_use(h.dev, 0));
	assert_true(h.dev->intx);
	assert_true(fake_use(h.dev, 1));
	assert_false(h.dev->intx);
	assert_int_equal(sil_host_get(&h, SIL_HOST_IRQ_STATUS), 0);
	/* Both ports: neither read lowers it alone. */
	ring(&h, 0, 3);
	ring(&h, 1, 5);
	fake_settle(h.dev);
	expect_offer(&h, 3, 3);
	expect_slots(&h, 1, 0, 0, false);
	expect_slots(&h, 2, 1, 0, false);
	assert_true(fake_use(h.dev, 1));
	assert_true(h.dev->intx);
	assert_true(fake_use(h.dev, 0));
	assert_false(h.dev->intx);
	/* The other one is pending, but not told to the host. */
	sil_host_set(&h, SIL_HOST_CONTROL, 1);
	ring(&h, 0, 3);
	ring(&h, 1, 5);
	fake_settle(h.dev);
	expect_offer(&h, 3, 3);
	expect_slots(&h, 1, 0, 0, true);
	expect_slots(&h, 2, 1, 0, false);
	assert_true(fake_use(h.dev, 1));
	assert_true(fake_use(h.dev, 0));
	sil_host_set(&h, SIL_HOST_CONTROL, 3);

	/* Commands that are still active are in it, and it is anew when one has ended, */
	inject_into(&inj, &h.s->host.aio);
	inj.hold = true;
	ring(&h, 0, 3);
	ring_read(&h, 4, 0);
	ring_read(&h, 5, SIL_PRB_NIEN);
	fake_settle(h.dev);
	expect_offer(&h, 2, 1);
	expect_slots(&h, 1, 0, 0x30, true);
	inject_release(&inj);
	inj.hold = true;
	fake_settle(h.dev);
	expect_offer(&h, 2, 1);
	expect_slots(&h, 1, 0, 0x20, true);
	/* or gone, when that is no interrupt. */
	inject_release(&inj);
	fake_settle(h.dev);
	assert_int_equal(h.dev->n_offer, 0);
	assert_int_equal(sil_get(&h, 0, SIL_PORT_SLOT_STATUS), 0);

	/* Completion that is not cleared by reading, and errors. */
	sil_set(&h, 0, SIL_PORT_CONTROL_SET, SIL_CTRL_IRQ_WOC);
	ring(&h, 0, 3);
	fake_settle(h.dev);
	expect_slots(&h, 1, 0, 0, false);
	assert_true(fake_use(h.dev, 1));
	assert_true(h.dev->intx);
	sil_set(&h, 0, SIL_PORT_CONTROL_CLEAR, SIL_CTRL_IRQ_WOC);
	assert_int_equal(sil_get(&h, 0, SIL_PORT_SLOT_STATUS), 0);
	sil_put(&h, 0, 0, sil_rw(0xff, 0, 0), 0, 0);
	sil_ring(&h, 0, 0);
	fake_settle(h.dev);
	expect_offer(&h, 2, 1);
	expect_slots(&h, 1, 0, SIL_ATTENTION | 1, false);
	assert_true(fake_use(h.dev, 1));
	assert_true(h.dev->intx);

	/* What comes by itself ends it at once; the interrupt that follows has another. */
	ring(&h, 1, 5);
	fake_settle(h.dev);
	expect_offer(&h, 3, 3);
	sil_port_unplug(&h.s->port[1]);
	assert_int_equal(h.dev->n_offer, 0);
	fake_settle(h.dev);
	expect_offer(&h, 3, 3);
	expect_slots(&h, 2, 1, SIL_ATTENTION, false);
	sil_close(&h);
}

static void test_msi(void **state)
{
	struct sil_host h;

	sil_start(&h, 1 * MIB, 0, "");
	h.dev->irq_mode = FB_IRQ_MSI;
	for (unsigned i = 1; i <= 3; i++) { /* also when the host has not looked yet */
		sil_put(&h, 0, i, sil_rw(ATA_CHECK_POWER_MODE, 0, 0), 0, 0);
		sil_ring(&h, 0, i);
		fake_settle(h.dev);
		assert_int_equal(h.dev->irqs[0], i);
	}
	sil_close(&h);
}

/* By BAR 4. */
static void test_indirect(void **state)
{
	struct sil_host h;
	const struct fb_model *m = &sil3132_model;

	sil_start(&h, 1 * MIB, 0, "");
	m->write(h.dev, 4, 0, SIL_HOST_CONTROL, 4);
	assert_int_equal(m->read(h.dev, 4, 4, 4), 3);
	m->write(h.dev, 4, 8, SIL_PORT_SSTATUS, 4);
	assert_int_equal(m->read(h.dev, 4, 12, 4), 0x123);
	m->write(h.dev, 4, 8, SIL_PORT_SIZE + SIL_PORT_UPPER, 4);
	m->write(h.dev, 4, 12, 0x12345678, 4);
	assert_int_equal(sil_get(&h, 1, SIL_PORT_UPPER), 0x12345678);
	m->write(h.dev, 4, 8, UINT32_MAX, 4);
	assert_int_equal(m->read(h.dev, 4, 12, 4), 0);
	/* Half a register. */
	m->write(h.dev, 2, 0x1042, 0x8000, 2);
	assert_int_equal(m->read(h.dev, 2, 0x1040, 4), 0x80000000);
	assert_int_equal(m->read(h.dev, 2, 0x1042, 2), 0x8000);
	sil_close(&h);
}

/* Each reset forgets what is under way; the port is ready when the file has let go; late results reach nobody. */
static void test_resets(void **state)
{
	static const uint32_t how[] = {SIL_CTRL_INIT, SIL_CTRL_DEVICE_RESET, SIL_CTRL_PORT_RESET};
	struct sil_host h;
	struct inject inj;

	sil_start(&h, 4 * MIB, 0, "");
	inject_into(&inj, &h.s->host.aio);
	for (unsigned i = 0; i < 3; i++) {
		inj.hold = true;
		memset(sil_mem(&h, SIL_HOST_DATA), 0x77, 4096);
		for (unsigned slot = 0; slot < 8; slot++) {
			sil_put(&h, 0, slot, sil_rw(slot % 2 ? ATA_WRITE_FPDMA_QUEUED : ATA_READ_FPDMA_QUEUED, 8 * slot, 8),
				SIL_HOST_DATA, 4096);
			sil_ring(&h, 0, slot);
		}
		fake_settle(h.dev);
		sil_set(&h, 0, SIL_PORT_CONTROL_SET, how[i]);
		assert_int_equal(sil_get(&h, 0, SIL_PORT_SLOT_STATUS) & INT32_MAX, 0);
		if (how[i] == SIL_CTRL_PORT_RESET) {
			sil_set(&h, 0, SIL_PORT_CONTROL_CLEAR, how[i]);
			sil_set(&h, 0, SIL_PORT_IRQ_SET, SIL_IRQ_COMPLETE | SIL_IRQ_ERROR);
		}
		fake_settle(h.dev);
		assert_false(sil_get(&h, 0, SIL_PORT_CONTROL_SET) & SIL_CTRL_READY);
		/* What is activated meanwhile waits. */
		sil_put(&h, 0, 30, sil_rw(ATA_CHECK_POWER_MODE, 0, 0), 0, 0);
		sil_ring(&h, 0, 30);
		fake_settle(h.dev);
		assert_int_equal(sil_get(&h, 0, SIL_PORT_SLOT_STATUS) & INT32_MAX, 1 << 30);
		inject_release(&inj);
		assert_true(sil_ready(&h, 0));
		assert_int_equal(sil_get(&h, 0, SIL_PORT_SLOT_STATUS) & INT32_MAX, 0);
		assert_int_equal(sil_mem(&h, SIL_HOST_DATA)[0], 0x77); /* the reads have not arrived */
		assert_int_equal(h.s->host.arena.used, 0);
	}
	/* Of the function itself. */
	inj.hold = true;
	sil_put(&h, 0, 0, sil_rw(ATA_WRITE_DMA, 0, 8), SIL_HOST_DATA, 4096);
	sil_ring(&h, 0, 0);
	fake_settle(h.dev);
	fake_reset(h.dev, FB_RESET_SESSION);
	assert_int_equal(sil_host_get(&h, SIL_HOST_CONTROL), SIL_HOST_RESET);
	sil_set(&h, 0, SIL_PORT_CONTROL_CLEAR, SIL_CTRL_PORT_RESET);
	fake_settle(h.dev);
	assert_false(sil_get(&h, 0, SIL_PORT_CONTROL_SET) & SIL_CTRL_READY);
	inject_release(&inj);
	assert_true(sil_ready(&h, 0));
	sil_close(&h);
}

static void test_link(void **state)
{
	struct sil_host h;

	sil_start(&h, 1 * MIB, 0, "");
	sil_set(&h, 0, SIL_PORT_SCONTROL, 0x301);
	assert_int_equal(sil_get(&h, 0, SIL_PORT_SSTATUS), 0);
	sil_set(&h, 0, SIL_PORT_SCONTROL, 0x310); /* 1.5 Gb/s */
	assert_int_equal(sil_get(&h, 0, SIL_PORT_SSTATUS), 0x113);
	assert_true(sil_get(&h, 0, SIL_PORT_IRQ_STATUS) & SIL_IRQ_PHY_READY);
	assert_true(sil_get(&h, 0, SIL_PORT_SERROR) & 1 << 16);
	sil_set(&h, 0, SIL_PORT_SERROR, UINT32_MAX);
	assert_int_equal(sil_get(&h, 0, SIL_PORT_SERROR), 0);
	sil_set(&h, 0, SIL_PORT_SCONTROL, 0x304);
	assert_false(sil_do(&h, 0, sil_rw(ATA_IDENTIFY, 0, 0), SIL_HOST_DATA, 512));
	sil_recover(&h, 0, SIL_ERR_SEND);
	sil_set(&h, 0, SIL_PORT_SCONTROL, 0x300);
	assert_true(sil_do(&h, 0, sil_rw(ATA_IDENTIFY, 0, 0), SIL_HOST_DATA, 512));
	sil_close(&h);
}

/* The file goes while a command has it, and comes back before that has let go; then another file comes. */
static void test_hot_plug(void **state)
{
	struct sil_host h;
	struct inject inj;
	char away[80];
	FILE *f;

	sil_start(&h, 1 * MIB, 0, "");
	inject_into(&inj, &h.s->host.aio);
	snprintf(away, sizeof(away), "%s.away", h.path[0]);
	inj.hold = true;
	sil_put(&h, 0, 5, sil_rw(ATA_READ_FPDMA_QUEUED, 0, 8), SIL_HOST_DATA, 4096);
	sil_ring(&h, 0, 5);
	fake_settle(h.dev);
	assert_int_equal(rename(h.path[0], away), 0);
	fake_settle(h.dev);
	assert_int_equal(sil_get(&h, 0, SIL_PORT_SSTATUS), 0);
	assert_true(sil_get(&h, 0, SIL_PORT_IRQ_STATUS) & SIL_IRQ_PHY_READY);
	assert_int_equal(sil_get(&h, 0, SIL_PORT_SLOT_STATUS), SIL_ATTENTION | 1u << 5); /* never answered */
	assert_int_equal(rename(away, h.path[0]), 0);
	fake_settle(h.dev);
	assert_int_equal(sil_get(&h, 0, SIL_PORT_SSTATUS), 0);
	inject_release(&inj);
	fake_settle(h.dev);
	assert_int_equal(sil_get(&h, 0, SIL_PORT_SSTATUS), 0x123);
	assert_true(sil_get(&h, 0, SIL_PORT_IRQ_STATUS) & SIL_IRQ_DEVICE_EXCHANGED);
	sil_set(&h, 0, SIL_PORT_CONTROL_SET, SIL_CTRL_INIT);
	assert_true(sil_ready(&h, 0));
	assert_true(sil_do(&h, 0, sil_rw(ATA_IDENTIFY, 0, 0), SIL_HOST_DATA, 512));

	assert_int_equal(unlink(h.path[0]), 0);
	fake_settle(h.dev);
	assert_int_equal(sil_get(&h, 0, SIL_PORT_SSTATUS), 0);
	f = fopen(h.path[0], "w");
	assert_int_equal(ftruncate(fileno(f), 2 * MIB), 0);
	fake_settle(h.dev);
	assert_int_equal(sil_get(&h, 0, SIL_PORT_SSTATUS), 0); /* not before it is whole */
	fclose(f);
	fake_settle(h.dev);
	assert_int_equal(sil_get(&h, 0, SIL_PORT_SSTATUS), 0x123);
	assert_true(sil_do(&h, 0, sil_rw(ATA_READ_NATIVE_MAX_EXT, 0, 0), 0, 0));
	assert_int_equal(sil_get(&h, 0, 8 + 4) & 0xffffff, 2 * MIB / 512 - 1);
	assert_int_equal(h.s->port[0].plugs, 2);
	sil_close(&h);
	sil_start(&h, 1 * MIB, 0, "hotplug=off");
	assert_int_equal(unlink(h.path[0]), 0);
	fake_settle(h.dev);
	assert_int_equal(sil_get(&h, 0, SIL_PORT_SSTATUS), 0x123);
	sil_close(&h);
}

static void refused(const char *options, int err, const char *says)
{
	struct fb_device *dev;
	int got = fake_new(&dev, &sil3132_model, options, 1 << 20);

	if (got != err)
		fail_msg("%s: %d, not %d: %s", options, got, err, dev->errors);
	if (!strstr(dev->errors, says))
		fail_msg("%s: says: %s not: %s", options, dev->errors, says);
	assert_int_equal(dev->n_fds + dev->n_pollers, 0);
	fake_free(dev);
}

static void test_refused_files(void **state)
{
	char path[] = "sil-odd-XXXXXX", text[128];
	int fd = mkstemp(path);

	assert_int_equal(ftruncate(fd, 1000), 0);
	snprintf(text, sizeof(text), "port1=%s", path);
	refused(text, -EMEDIUMTYPE, "1000 bytes: not a multiple of its block size, 512");
	assert_int_equal(ftruncate(fd, 0), 0);
	refused(text, -EMEDIUMTYPE, "an empty file is no disk");
	assert_int_equal(ftruncate(fd, 4096), 0);
	snprintf(text, sizeof(text), "port0=%s,port1=%s", path, path);
	refused(text, -EBUSY, "port1=sil-odd-");
	refused("port0=/nonexistent/disk.img", -ENOENT, "port0=/nonexistent/disk.img: there is no such file");
	refused("port0=.", -EISDIR, "is a directory");
	refused("serial0=123456789012345678901", -EINVAL, "serial0=");
	refused("create=1000", -EINVAL, "multiple of 4096");
	close(fd);
	unlink(path);
}

static bool is_idle(void *arg)
{
	struct sil_host *h = arg;

	return h->dev->idle;
}

/* SIGTERM: what runs ends, what is queued waits, written data is on the medium. */
static void test_quiesce(void **state)
{
	struct sil_host h;
	struct inject inj;

	sil_start(&h, 4 * MIB, 0, "");
	inject_into(&inj, &h.s->host.aio);
	inj.hold = true;
	sil_put(&h, 0, 0, sil_rw(ATA_WRITE_DMA, 0, 8), SIL_HOST_DATA, 4096);
	sil_ring(&h, 0, 0);
	fake_settle(h.dev);
	assert_false(sil3132_model.quiesce(h.dev));
	sil_put(&h, 0, 1, sil_rw(ATA_WRITE_DMA, 8, 8), SIL_HOST_DATA, 4096);
	sil_ring(&h, 0, 1);
	fake_settle(h.dev);
	assert_false(h.dev->idle);
	inject_release(&inj);
	assert_true(fake_until(h.dev, is_idle, &h));
	assert_int_equal(inj.seen[FB_AIO_FSYNC], 1);
	assert_int_equal(inj.seen[FB_AIO_WRITE], 1);
	assert_int_equal(sil_get(&h, 0, SIL_PORT_SLOT_STATUS), 2);
	sil_close(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_power_on), cmocka_unit_test(test_interrupt),     cmocka_unit_test(test_msi),
		cmocka_unit_test(test_offer),
		cmocka_unit_test(test_indirect), cmocka_unit_test(test_resets),        cmocka_unit_test(test_link),
		cmocka_unit_test(test_hot_plug), cmocka_unit_test(test_refused_files), cmocka_unit_test(test_quiesce),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
