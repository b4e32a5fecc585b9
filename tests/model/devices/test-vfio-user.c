/* SPDX-License-Identifier: Apache-2.0 */
/* The vfio-user model between a scripted root and a server of the tests: what it carries, and what it bears. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "devices/vfio_user.h"
#include "scripted_root.h"
#include "util/log.h"
#include "util/reader.h"
#include "vfio_server.h"

extern const struct fb_model vfio_user_model;

enum { MEM = 1 << 20 };

struct world {
	struct vfio_server s;
	struct scripted_root *r;
	struct vu *v;
	uint64_t base; /* of guest memory */
};

static const char *options(const struct vfio_server *s, const char *more)
{
	static char text[256];

	snprintf(text, sizeof(text), "id=x0,socket=%s%s", s->path, more);
	return text;
}

static struct world *begin(struct world *w, const char *more)
{
	vfio_server_start(&w->s);
	w->r = scripted_root_new(&vfio_user_model, options(&w->s, more), MEM);
	w->v = fb_device_state(w->r->dev);
	w->base = w->r->mem_base;
	scripted_root_enumerate(w->r, NULL);
	return w;
}

static void end(struct world *w)
{
	scripted_root_free(w->r);
	vfio_server_stop(&w->s);
	assert_int_equal(w->s.dma_errors, 0);
}

/* A register read, whose answer comes when the server's has. */
static const struct pcie_tlp *read_tlp(struct world *w, unsigned bar, uint64_t offset, unsigned size, unsigned ms)
{
	static struct scripted_tlp got;
	uint64_t deadline = fb_clock_ns() + ms * UINT64_C(1000000);
	const struct scripted_tlp *t;

	scripted_root_forget(w->r);
	scripted_root_memory(w->r, w->r->bar[bar] + offset, NULL, size);
	do { /* messages may come before it */
		t = scripted_root_take(w->r);
		assert_true(fb_clock_ns() < deadline);
		if (!t)
			fb_loop_once(w->r->loop, fb_clock_ns() + 1000000);
	} while (!t || (t->tlp.type != PCIE_TLP_CPLD && t->tlp.type != PCIE_TLP_CPL));
	got = *t;
	got.tlp.data = got.data;
	return &got.tlp;
}

static uint64_t read_register(struct world *w, unsigned bar, uint64_t offset, unsigned size)
{
	const struct pcie_tlp *t = read_tlp(w, bar, offset, size, 5000);
	uint64_t value = 0;

	assert_int_equal(t->type, PCIE_TLP_CPLD);
	assert_int_equal(t->status, PCIE_CPL_SC);
	memcpy(&value, t->data + (offset & 3), size);
	return value;
}

static void write32(struct world *w, uint64_t offset, uint32_t value)
{
	scripted_root_write(w->r, 0, offset, value, 4);
}

static void start(struct world *w, enum vs_command command, uint64_t address, uint32_t len, uint32_t vector)
{
	write32(w, VS_R_ADDRESS, (uint32_t)address);
	write32(w, VS_R_ADDRESS + 4, (uint32_t)(address >> 32));
	write32(w, VS_R_LENGTH, len);
	write32(w, VS_R_VECTOR, vector);
	write32(w, VS_R_COMMAND, command);
}

struct irq_wait {
	struct world *w;
	unsigned vector, count;
};

static bool came(void *arg)
{
	const struct irq_wait *i = arg;

	return scripted_root_irqs(i->w->r, i->vector) >= i->count;
}

static void wait_irq(struct world *w, unsigned vector, unsigned count)
{
	struct irq_wait i = {w, vector, count};

	assert_true(scripted_root_until(w->r, came, &i, 5000));
}

static bool is_down(void *arg)
{
	return ((struct world *)arg)->v->state == VU_DOWN;
}

static bool is_up(void *arg)
{
	return ((struct world *)arg)->v->state == VU_UP;
}

static bool all_answered(void *arg)
{
	const struct vu *v = ((struct world *)arg)->v;

	return v->n_requests == 0 && v->n_waits == 0;
}

/* ---- What it carries ---------------------------------------------------------------------------- */

static void test_shape(void **state)
{
	struct world w = {0};
	unsigned vendor;

	(void)state;
	begin(&w, "");
	assert_int_equal(scripted_root_cfg_read(w.r, 0, 4), 0x12341b36);
	assert_int_equal(scripted_root_cfg_read(w.r, 8, 4), 0xff000003);
	assert_int_equal(scripted_root_cfg_read(w.r, 0x2c, 4), 0x5678abcd);
	assert_int_equal(w.r->bar_size[0], 4096);
	assert_int_equal(w.r->bar_size[2], VS_BAR2);
	assert_int_equal(w.r->bar_size[4], 4096);
	assert_true(w.r->cap_msi && w.r->cap_msix);
	assert_int_equal(scripted_root_cfg_read(w.r, w.r->cap_msix + 2u, 2) & 0x7ff, VS_VECTORS - 1);
	assert_int_equal(scripted_root_cfg_read(w.r, w.r->cap_msix + 4u, 4), 4);       /* table: BAR 4 + 0 */
	assert_int_equal(scripted_root_cfg_read(w.r, w.r->cap_msix + 8u, 4), 0x804);   /* PBA: BAR 4 + 0x800 */

	/* The vendor-specific capability: what the guest writes reaches the server, and what it makes of it the guest. */
	for (vendor = scripted_root_cfg_read(w.r, 0x34, 1); vendor; vendor = scripted_root_cfg_read(w.r, vendor + 1, 1)) {
		if (scripted_root_cfg_read(w.r, vendor, 1) == 9)
			break;
	}
	assert_true(vendor);
	assert_int_equal(scripted_root_cfg_read(w.r, vendor + 2, 2), 0x5510);
	scripted_root_cfg_write(w.r, vendor + 8, 0x11223344, 4);
	scripted_root_cfg_write(w.r, vendor + 2, 0x44, 1); /* its length is not the guest's */
	assert_true(scripted_root_until(w.r, all_answered, &w, 5000));
	assert_int_equal(w.s.vendor, 0xeeddccbb);
	assert_int_equal(scripted_root_cfg_read(w.r, vendor + 8, 4), 0xeeddccbb);
	assert_int_equal(scripted_root_cfg_read(w.r, vendor + 2, 1), 16);

	/* The command register and the BARs' addresses reach it. */
	assert_int_equal(w.s.commands_register, 7);
	assert_int_equal(w.s.bar0_address, w.r->bar[0]);
	end(&w);
}

static void test_registers(void **state)
{
	static const unsigned sizes[] = {1, 2, 4, 8};
	struct world w = {0};
	unsigned n = 0;

	(void)state;
	begin(&w, "");
	assert_int_equal(read_register(&w, 0, 0, 4), VS_ID);
	for (unsigned i = 0; i < 4; i++) {
		uint64_t value = 0x8877665544332211ull >> (64 - 8 * sizes[i]);

		scripted_root_write(w.r, 2, 64 + 8 * i, value, sizes[i]);
		assert_int_equal(read_register(&w, 2, 64 + 8 * i, sizes[i]), value);
	}
	/* A read follows the writes before it, of which the server has not been asked to answer a single one. */
	for (unsigned i = 1; i <= 2000; i++)
		write32(&w, VS_R_SCRATCH, i);
	assert_int_equal(read_register(&w, 0, VS_R_SCRATCH, 4), 2000);

	/* Many reads at once, each with its own answer. */
	scripted_root_forget(w.r);
	for (unsigned i = 0; i < 100; i++)
		scripted_root_write(w.r, 2, 4096 + 4 * i, i * 7, 4);
	for (unsigned i = 0; i < 100; i++)
		scripted_root_memory(w.r, w.r->bar[2] + 4096 + 4 * i, NULL, 4);
	while (n < 100) {
		const struct scripted_tlp *t = scripted_root_take(w.r);

		if (!t) {
			fb_loop_once(w.r->loop, fb_clock_ns() + 1000000);
			continue;
		}
		assert_int_equal(t->tlp.type, PCIE_TLP_CPLD);
		assert_int_equal(fb_get_le32(t->data), n++ * 7);
	}
	end(&w);
}

static void dma_and_interrupts(bool twin, bool msi)
{
	struct world w = {.s.twin = twin};
	uint8_t *mem;

	begin(&w, msi ? ",msix=off" : "");
	if (msi)
		scripted_root_enable_msi(w.r, 8);
	else
		scripted_root_enable_msix(w.r);
	mem = scripted_root_mem(w.r, w.base, MEM);
	for (unsigned i = 0; i < MEM; i++)
		mem[i] = (uint8_t)(i * 2654435761u >> 13);
	/* Any alignment, across pages, up to the whole buffer. */
	static const struct { uint32_t offset, len; } cases[] = {{0, 1}, {4095, 2}, {3, 4096}, {8191, 10001}, {0, VS_BAR2}};

	for (unsigned i = 0; i < 5; i++) {
		const uint8_t *from = mem + cases[i].offset;
		uint8_t *to = mem + MEM / 2 + cases[i].offset;

		start(&w, VS_FETCH, w.base + cases[i].offset, cases[i].len, 2);
		wait_irq(&w, 2, i + 1);
		start(&w, VS_STORE, w.base + MEM / 2 + cases[i].offset, cases[i].len, 3);
		wait_irq(&w, 3, i + 1);
		/* The interrupt says that the data is there. */
		assert_memory_equal(to, from, cases[i].len);
	}
	/* A write that is not answered, and the interrupt by another channel right behind it. */
	for (unsigned i = 0; i < 50; i++) {
		scripted_root_write(w.r, 2, 0, i + 1, 4);
		start(&w, VS_STORE_POSTED, w.base + 64, 4096, 5);
		wait_irq(&w, 5, i + 1);
		assert_int_equal(fb_get_le32(mem + 64), i + 1);
	}
	assert_int_equal(w.s.irqs_armed, VS_VECTORS);
	assert_true(w.s.msix_enabled);
	assert_true(w.v->count.interrupts >= 60);
	end(&w);
}

static void test_dma_msix(void **state) { (void)state; dma_and_interrupts(false, false); }
static void test_dma_twin(void **state) { (void)state; dma_and_interrupts(true, false); }
static void test_dma_msi(void **state) { (void)state; dma_and_interrupts(true, true); }

static bool intx_up(void *arg) { return ((struct world *)arg)->r->intx; }
static bool intx_off(void *arg) { return !((struct world *)arg)->r->intx; }

static void test_intx(void **state)
{
	struct world w = {.s.intx_only = true};

	(void)state;
	begin(&w, "");
	assert_int_equal(w.s.requests > 0, 1);
	start(&w, VS_INTERRUPT, 0, 0, 0);
	assert_true(scripted_root_until(w.r, intx_up, &w, 5000));
	assert_int_equal(w.s.unmasks, 0);
	read_register(&w, 0, 0, 4); /* the handler looks: that ends the interrupt */
	assert_true(scripted_root_until(w.r, intx_off, &w, 5000));
	assert_true(scripted_root_until(w.r, all_answered, &w, 5000));
	assert_int_equal(w.s.unmasks, 1);
	start(&w, VS_INTERRUPT, 0, 0, 0);
	assert_true(scripted_root_until(w.r, intx_up, &w, 5000));
	/* With MSI switched on, the same pin is one message. */
	scripted_root_enable_msi(w.r, 1);
	start(&w, VS_INTERRUPT, 0, 0, 0);
	wait_irq(&w, 0, 1);
	end(&w);
}

static bool idle(void *arg)
{
	const struct world *w = arg;

	return w->v->n_requests == 0 && w->v->n_dma == 0;
}

static void test_bus_master(void **state)
{
	struct world w = {.s.twin = true}; /* so that it is done with one thing before it begins the next */

	(void)state;
	begin(&w, "");
	scripted_root_cfg_write(w.r, 4, 2, 2); /* memory, no bus mastering */
	start(&w, VS_FETCH, w.base, 64, 0);
	assert_int_equal(read_register(&w, 0, VS_R_ERRNO, 4), EPERM);
	scripted_root_cfg_write(w.r, 4, 6, 2);
	start(&w, VS_FETCH, w.base + 64 * MEM, 64, 0); /* nobody's memory */
	assert_int_equal(read_register(&w, 0, VS_R_ERRNO, 4), EFAULT);
	start(&w, VS_FETCH, UINT64_C(1) << 48, 64, 0); /* outside of what was mapped */
	assert_int_equal(read_register(&w, 0, VS_R_ERRNO, 4), EFAULT);
	assert_int_equal(w.v->count.dma_refused, 3);
	start(&w, VS_FETCH, w.base, 64, 0);
	assert_int_equal(read_register(&w, 0, VS_R_ERRNO, 4), 0);
	w.s.dma_errors = 0;
	end(&w);
}

static void test_reset(void **state)
{
	struct world w = {0};
	unsigned resets, irqs;

	(void)state;
	begin(&w, "");
	scripted_root_enable_msix(w.r);
	write32(&w, VS_R_SCRATCH, 77);
	assert_int_equal(read_register(&w, 0, VS_R_SCRATCH, 4), 77);
	resets = w.s.resets;
	irqs = w.s.irqs_armed;
	assert_int_equal(irqs, VS_VECTORS);

	/* DMA that is under way does not outlive a function level reset, nor does the server's next one before its own. */
	w.r->answer = ANSWER_NEVER;
	start(&w, VS_FETCH, w.base, 4096, 1);
	while (w.v->n_dma == 0)
		fb_loop_once(w.r->loop, fb_clock_ns() + 1000000);
	scripted_root_cfg_write(w.r, w.r->cap_exp + 8u, 0x8000, 2);
	assert_int_equal(w.v->n_dma, 0);
	w.r->answer = ANSWER_IN_ORDER;
	assert_true(scripted_root_until(w.r, idle, &w, 5000));
	assert_int_equal(w.s.resets, resets + 1);
	assert_int_equal(w.s.irqs_armed, 0);
	assert_int_equal(w.s.commands_register, 0);
	assert_int_equal(scripted_root_irqs(w.r, 1), 0);
	w.r->n_reads = 0; /* of before the reset */
	scripted_root_enumerate(w.r, NULL);
	scripted_root_enable_msix(w.r);
	assert_int_equal(read_register(&w, 0, VS_R_SCRATCH, 4), 0);
	start(&w, VS_INTERRUPT, 0, 0, 1);
	wait_irq(&w, 1, 1);

	/* A root goes, another comes. */
	scripted_root_detach(w.r);
	scripted_root_attach(w.r);
	scripted_root_enumerate(w.r, NULL);
	assert_int_equal(read_register(&w, 0, 0, 4), VS_ID);
	assert_true(w.s.resets > resets + 1);
	w.s.dma_errors = 0;
	end(&w);
}

static void test_no_reset(void **state)
{
	struct world w = {.s.no_reset = true};

	(void)state;
	begin(&w, "");
	scripted_root_cfg_write(w.r, w.r->cap_exp + 8u, 0x8000, 2);
	scripted_root_enumerate(w.r, NULL);
	assert_int_equal(read_register(&w, 0, 0, 4), VS_ID);
	assert_int_equal(w.s.resets, 0);
	end(&w);
}

/* ---- Mirrored memory ------------------------------------------------------------------------------ */

static void test_mirror(void **state)
{
	struct world w = {0};
	char more[64];
	uint8_t *mem;

	(void)state;
	/* The window is the second quarter of guest memory, whose base is the scripted root's 256 MiB. */
	snprintf(more, sizeof(more), ",memory=%uK@%u", MEM / 4 >> 10, (256u << 20) + MEM / 4);
	begin(&w, more);
	assert_int_equal(w.base, 256u << 20);
	scripted_root_enable_msix(w.r);
	mem = scripted_root_mem(w.r, w.base, MEM);
	memset(mem, 0xee, MEM);
	for (unsigned round = 0; round < 20; round++) {
		uint32_t at = MEM / 4 + 4000 + 517 * round, len = 3000;
		uint8_t expected[3000];

		for (uint32_t i = 0; i < len; i++)
			mem[at + i] = (uint8_t)(i + round), expected[i] = (uint8_t) ~(i + round);
		/* Beside what the device writes there is the guest's own, which it changes while the device works. */
		start(&w, VS_INVERT_MAPPED, w.base + at, len, 4);
		mem[at + 2 * len] = (uint8_t)(0x80 + round);
		wait_irq(&w, 4, round + 1);
		assert_memory_equal(mem + at + len, expected, len);
		assert_int_equal(mem[at + 2 * len], 0x80 + round);
	}
	assert_int_equal(read_register(&w, 0, VS_R_ERRNO, 4), 0);
	/* Nothing outside of the window was touched. */
	for (unsigned i = 0; i < MEM / 4; i++)
		assert_int_equal(mem[i], 0xee);
	/* Outside of it there are messages. */
	start(&w, VS_FETCH, w.base + 100, 64, 0);
	wait_irq(&w, 0, 1);
	assert_int_equal(read_register(&w, 2, 0, 4), 0xeeeeeeee);
	/* The answer to a read brings what was written before it, without an interrupt. */
	memset(mem + MEM / 4, 0x0f, 512);
	write32(&w, VS_R_VECTOR, 99);
	start(&w, VS_INVERT_MAPPED, w.base + MEM / 4, 256, 99);
	assert_int_equal(read_register(&w, 0, VS_R_ERRNO, 4), 0);
	scripted_root_run(w.r);
	for (unsigned i = 0; i < 256; i++)
		assert_int_equal(mem[MEM / 4 + 256 + i], 0xf0);
	assert_int_equal(w.v->count.mirror_errors, 0);
	end(&w);
}

/* What waits for the window: in order, and not for ever. */
static void test_mirror_waits(void **state)
{
	struct world w = {.s.twin = true};
	uint8_t *mem;

	(void)state;
	begin(&w, ",memory=64K@0x10000000");
	assert_int_equal(w.base, 0x10000000);
	mem = scripted_root_mem(w.r, w.base, MEM);
	/* A read behind a write that waits, and a configuration write behind both: none passes another. */
	w.r->answer = ANSWER_NEVER;
	write32(&w, VS_R_SCRATCH, 1);
	scripted_root_forget(w.r);
	scripted_root_memory(w.r, w.r->bar[0] + VS_R_SCRATCH, NULL, 4);
	scripted_root_run(w.r);
	assert_int_equal(w.v->n_waits, 2);
	scripted_root_cfg_write(w.r, 4, 0x406, 2);
	assert_int_equal(w.v->n_waits, 2 + 6 + 1); /* the BARs, then the command register */
	w.r->answer = ANSWER_IN_ORDER;
	scripted_root_answer_now(w.r, ANSWER_IN_ORDER);
	assert_true(scripted_root_until(w.r, all_answered, &w, 5000));
	assert_int_equal(w.v->n_waits, 0);
	assert_int_equal(w.v->count.mirror_syncs, 1);
	assert_int_equal(w.s.commands_register, 6);

	/* Bus mastering goes off while the window is on its way: nobody waits for what cannot come. */
	w.r->answer = ANSWER_NEVER;
	write32(&w, VS_R_SCRATCH, 2);
	scripted_root_run(w.r);
	assert_int_equal(w.v->n_waits, 1);
	scripted_root_cfg_write(w.r, 4, 2, 2);
	w.r->n_reads = 0;
	w.r->answer = ANSWER_IN_ORDER;
	assert_int_equal(read_register(&w, 0, VS_R_SCRATCH, 4), 2);
	memset(mem, 0x11, 64);
	start(&w, VS_INVERT_MAPPED, w.base, 64, 0); /* and nothing of the guest's memory reaches the server */
	assert_int_equal(read_register(&w, 0, VS_R_ERRNO, 4), 0);
	assert_int_equal(mem[64], 0);

	/* A reset meanwhile. */
	scripted_root_cfg_write(w.r, 4, 6, 2);
	w.r->answer = ANSWER_NEVER;
	write32(&w, VS_R_SCRATCH, 3);
	scripted_root_run(w.r);
	scripted_root_cfg_write(w.r, w.r->cap_exp + 8u, 0x8000, 2);
	assert_int_equal(w.v->n_waits, 0);
	w.r->n_reads = 0;
	w.r->answer = ANSWER_IN_ORDER;
	scripted_root_enumerate(w.r, NULL);
	assert_int_equal(read_register(&w, 0, VS_R_SCRATCH, 4), 0);
	write32(&w, VS_R_SCRATCH, 4);
	assert_int_equal(read_register(&w, 0, VS_R_SCRATCH, 4), 4);

	/* And the server's end. */
	w.r->answer = ANSWER_NEVER;
	write32(&w, VS_R_SCRATCH, 5);
	scripted_root_run(w.r);
	vfio_server_stop(&w.s);
	assert_true(scripted_root_until(w.r, is_down, &w, 5000));
	assert_int_equal(w.v->n_waits, 0);
	w.r->answer = ANSWER_IN_ORDER;
	scripted_root_answer_now(w.r, ANSWER_IN_ORDER);
	end(&w);
}

/* ---- What it bears --------------------------------------------------------------------------------- */

static void test_refused(void **state)
{
	struct fb_loop *loop;
	struct fb_device *dev = NULL;
	static const struct { unsigned refuse, broken; bool big, json; } cases[] = {
		{1, 0, false, false}, {2, 0, false, false}, {4, 0, false, false}, {5, 0, false, false}, {9, 0, false, false},
		{0, 1, false, false}, {0, 4, false, false}, {0, 5, false, false}, {0, 7, false, false}, {0, 9, false, false},
		{0, 0, true, false}, {0, 0, false, true}};

	(void)state;
	assert_int_equal(fb_loop_new(&loop, 0), 0);
	assert_true(fb_device_new_model(&dev, loop, &vfio_user_model, "id=x0,socket=/nonexistent/socket") < 0);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vfio_server s = {.refuse = cases[i].refuse, .broken = cases[i].broken, .big_version = cases[i].big,
					.bad_json = cases[i].json};

		vfio_server_start(&s);
		assert_true(fb_device_new_model(&dev, loop, &vfio_user_model, options(&s, "")) < 0);
		vfio_server_stop(&s);
	}
	/* Silence ends too. */
	{
		struct vfio_server s = {.mute = true};
		uint64_t before = fb_clock_ns();

		vfio_server_start(&s);
		assert_true(fb_device_new_model(&dev, loop, &vfio_user_model, options(&s, ",timeout=200ms")) < 0);
		assert_true(fb_clock_ns() - before < UINT64_C(4000000000));
		vfio_server_stop(&s);
	}
	/* Options that make no sense. */
	{
		struct vfio_server s = {0};
		static const char *const bad[] = {",memory=4097@0", ",memory=4096@12", ",memory=2G@0", ",memory=x",
						  ",memory=4K@300T", ",vectors=0", ",memory=4096,hugepages"};

		vfio_server_start(&s);
		for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
			assert_true(fb_device_new_model(&dev, loop, &vfio_user_model, options(&s, bad[i])) < 0);
		vfio_server_stop(&s);
	}
	fb_loop_free(loop);
}

/* The server goes wrong while the guest reads: all ones in time, and the function is back with the next connection. */
static void fatal_fault(enum vs_fault fault)
{
	struct world w = {0};
	const struct pcie_tlp *t;

	begin(&w, ",timeout=300ms");
	write32(&w, VS_R_FAULT, fault);
	t = read_tlp(&w, 0, VS_R_SCRATCH, 4, 5000);
	assert_int_equal(t->type, PCIE_TLP_CPLD);
	assert_int_equal(fb_get_le32(t->data), UINT32_MAX);
	assert_true(is_down(&w));
	assert_int_equal(read_register(&w, 0, 0, 4), UINT32_MAX); /* at once from now on */
	if (fault == VS_FAULT_SILENT || fault == VS_FAULT_DEAF) {
		vfio_server_stop(&w.s);
		vfio_server_start(&w.s);
	}
	assert_true(scripted_root_until(w.r, is_up, &w, 5000));
	scripted_root_enumerate(w.r, NULL);
	assert_int_equal(read_register(&w, 0, 0, 4), VS_ID);
	assert_int_equal(w.v->count.connects, 2);
	end(&w);
}

static void test_fatal_faults(void **state)
{
	static const enum vs_fault faults[] = {VS_FAULT_SILENT, VS_FAULT_CLOSE, VS_FAULT_HUGE, VS_FAULT_TINY, VS_FAULT_TYPE,
					       VS_FAULT_STRANGER, VS_FAULT_TOO_MANY_FDS};

	(void)state;
	for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		fatal_fault(faults[i]);
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void test_other_faults(void **state)
{
	struct world w = {0};
	const struct pcie_tlp *t;
	unsigned fds;

	(void)state;
	begin(&w, "");
	fds = open_fds();
	for (unsigned fault = VS_FAULT_SHORT; fault < VS_FAULTS; fault++) {
		if (fault == VS_FAULT_HUGE || fault == VS_FAULT_TINY || fault == VS_FAULT_TYPE || fault == VS_FAULT_STRANGER ||
		    fault == VS_FAULT_TOO_MANY_FDS || fault == VS_FAULT_DEAF)
			continue;
		write32(&w, VS_R_SCRATCH, 5);
		write32(&w, VS_R_ADDRESS, (uint32_t)w.base);
		write32(&w, VS_R_FAULT, fault);
		t = read_tlp(&w, 0, VS_R_SCRATCH, 4, 20000);
		if (fault == VS_FAULT_SHORT || fault == VS_FAULT_ERROR) {
			assert_int_equal(t->status, PCIE_CPL_CA);
		} else {
			assert_int_equal(t->type, PCIE_TLP_CPLD);
			assert_int_equal(fb_get_le32(t->data), fault == VS_FAULT_FDS ? 0x5a5a5a5a : 5);
		}
		write32(&w, VS_R_FAULT, VS_FAULT_NONE);
		assert_int_equal(read_register(&w, 0, 0, 4), VS_ID);
		assert_true(is_up(&w));
	}
	assert_int_equal(open_fds(), fds);
	/* The flood was carried, bounded all the while. */
	scripted_root_run(w.r);
	assert_int_equal(fb_get_le32(scripted_root_mem(w.r, w.base, 4)), 19999);
	assert_true(w.v->count.dma_refused >= 2);
	assert_true(w.v->count.protocol_errors >= 2);
	end(&w);
}

/* Writes of the guest wait when the server does not read; in the end it is given up. */
static void test_deaf(void **state)
{
	struct world w = {0};
	uint64_t deadline;

	(void)state;
	begin(&w, ",timeout=500ms");
	write32(&w, VS_R_FAULT, VS_FAULT_DEAF);
	scripted_root_memory(w.r, w.r->bar[0], NULL, 4);
	for (unsigned i = 0; i < 20000 && w.v->count.write_waits < 100; i++) {
		scripted_root_memory(w.r, w.r->bar[2], "12345678", 8);
		if (i % 100 == 0)
			fb_loop_once(w.r->loop, 0);
	}
	assert_true(w.v->count.write_waits >= 100);
	assert_true(w.r->held_credits > w.r->released_credits);
	deadline = fb_clock_ns() + UINT64_C(5000000000);
	while (!is_down(&w)) {
		assert_true(fb_clock_ns() < deadline);
		fb_loop_once(w.r->loop, fb_clock_ns() + 1000000);
	}
	scripted_root_run(w.r);
	assert_int_equal(w.v->n_waits, 0);
	end(&w);
}

/* The network is away while the server's DMA is under way: a server that waits for that is not silent. */
static void test_patience(void **state)
{
	struct world w = {0};
	uint64_t until;

	(void)state;
	begin(&w, ",timeout=200ms");
	w.r->answer = ANSWER_NEVER;
	start(&w, VS_FETCH, w.base, 4096, 0);
	scripted_root_forget(w.r);
	scripted_root_memory(w.r, w.r->bar[0], NULL, 4);
	until = fb_clock_ns() + 600000000;
	while (fb_clock_ns() < until)
		fb_loop_once(w.r->loop, fb_clock_ns() + 10000000);
	assert_true(is_up(&w));
	w.r->answer = ANSWER_IN_ORDER;
	scripted_root_answer_now(w.r, ANSWER_IN_ORDER);
	assert_true(scripted_root_until(w.r, idle, &w, 5000));
	assert_true(is_up(&w));
	assert_int_equal(read_register(&w, 0, 0, 4), VS_ID);
	end(&w);
}

/* Another device in its place is not the one that the guest knows. */
static void test_changed(void **state)
{
	struct world w = {0};

	(void)state;
	begin(&w, "");
	vfio_server_stop(&w.s);
	assert_true(scripted_root_until(w.r, is_down, &w, 5000));
	w.s.device_id = 0x4321;
	vfio_server_start(&w.s);
	while (w.v->count.disconnects < 2)
		fb_loop_once(w.r->loop, fb_clock_ns() + 10000000);
	assert_true(is_down(&w));
	vfio_server_stop(&w.s);
	w.s.device_id = 0;
	vfio_server_start(&w.s);
	assert_true(scripted_root_until(w.r, is_up, &w, 5000));
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shape),
		cmocka_unit_test(test_registers),
		cmocka_unit_test(test_dma_msix),
		cmocka_unit_test(test_dma_twin),
		cmocka_unit_test(test_dma_msi),
		cmocka_unit_test(test_intx),
		cmocka_unit_test(test_bus_master),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_no_reset),
		cmocka_unit_test(test_mirror),
		cmocka_unit_test(test_mirror_waits),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_fatal_faults),
		cmocka_unit_test(test_other_faults),
		cmocka_unit_test(test_deaf),
		cmocka_unit_test(test_patience),
		cmocka_unit_test(test_changed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
