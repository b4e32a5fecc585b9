/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The blocking style: order, what waits, and that resets, lost roots and the end
 * of the device unblock it. Built a second time with the thread sanitizer.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "scripted_root.h"
#include "util/log.h"

enum {
	ADDR = 0x00,
	LEN = 0x08,
	COMMAND = 0x10,
	STATUS = 0x18, /* of the last command */
	SUM = 0x20,
	FIRED = 0x28,
	INDIRECT = 0x30, /* reads guest memory at ADDR */
	LOG = 0x38,      /* writes are appended to a number */
};
enum { GATHER = 1, SCATTER, SLEEP, TIMER, NO_TIMER, STUCK, SPIN, EVENT_CALLS, ERROR };

struct blocking {
	uint64_t addr, len, sum, fired, log;
	int64_t status;
	uint8_t buf[8192];
	struct fb_device_timer timer;
};

/* What the test sees of the model from outside. */
static atomic_int begun, resets, unrealized, last_status;
static atomic_bool quiet = true;

static void timer_due(struct fb_device *dev, struct fb_device_timer *timer)
{
	struct blocking *b = fb_device_state(dev);

	assert_ptr_equal(timer, &b->timer);
	b->fired++;
	fb_irq(dev, 1);
}

static int64_t event_calls(struct fb_device *dev)
{
	static struct fb_device_fd watch;
	int64_t bad = 0;
	uint64_t addr;
	uint32_t data;

	bad += fb_device_bdf(dev) != 0x100;
	bad += fb_device_update_capability(dev, 0xc0, "", 1) != -EINVAL; /* it has added none */
	fb_device_set_present(dev, true, NULL);
	fb_device_ring_set(dev, 0, NULL);
	fb_device_offer(dev, &(struct fb_device_value){.size = 4}, 1);
	bad += !fb_device_bar_address(dev, 0, &addr) || addr == 0;
	bad += !fb_irq_target(dev, 1, &addr, &data) || addr != SCRIPTED_MSI_ADDRESS || data != 1;
	bad += fb_device_config_read(dev, 0) != 0xfb031b36;
	bad += fb_device_config_write(dev, 0x3c, 0x2a, 1) != 0 || (fb_device_config_read(dev, 0x3c) & 0xff) != 0x2a;
	bad += fb_access_defer(dev) != NULL;
	bad += fb_device_fd_add(dev, &watch, 0, 1) != -ENOTSUP;
	bad += fb_dma_read(dev, 0, &watch, 8, (fb_dma_done *)(uintptr_t)1, NULL) != -EINVAL;
	bad += fb_irq_mode(dev) != FB_IRQ_MSIX;
	bad += strcmp(fb_device_name(dev), "t") != 0;
	bad += fb_device_set_intx(dev, true) != -EINVAL;
	return bad;
}

static int64_t command(struct fb_device *dev, unsigned which)
{
	struct blocking *b = fb_device_state(dev);
	int64_t err = 0;

	begun++;
	switch (which) {
	case GATHER:
		err = fb_dma_read_wait(dev, b->addr, b->buf, (uint32_t)b->len);
		for (uint64_t i = b->sum = 0; !err && i < b->len; i++)
			b->sum += b->buf[i];
		fb_irq(dev, 0);
		break;
	case SCATTER:
		memset(b->buf, 0x5a, sizeof(b->buf));
		err = fb_dma_write_wait(dev, b->addr, b->buf, (uint32_t)b->len);
		fb_irq(dev, 0);
		break;
	case SLEEP:
		err = fb_device_sleep(dev, b->len);
		break;
	case TIMER:
		b->timer.due = timer_due;
		err = fb_device_timer_set(dev, &b->timer, fb_device_now(dev) + b->len);
		break;
	case NO_TIMER:
		fb_device_timer_cancel(dev, &b->timer);
		break;
	case STUCK:
		for (;;)
			pause();
	case SPIN:
		while (!fb_device_interrupted(dev))
			;
		err = -ECANCELED;
		break;
	case EVENT_CALLS:
		err = event_calls(dev);
		break;
	case ERROR:
		fb_device_internal_error(dev, false);
		break;
	default:
		break;
	}
	last_status = (int)err;
	return err;
}

static uint64_t blocking_read(struct fb_device *dev, unsigned bar, uint64_t offset, unsigned size)
{
	struct blocking *b = fb_device_state(dev);
	uint64_t value = 0;

	(void)bar, (void)size;
	switch (offset) {
	case ADDR:
		return b->addr;
	case STATUS:
		return (uint64_t)b->status;
	case SUM:
		return b->sum;
	case FIRED:
		return b->fired;
	case LOG:
		return b->log;
	case INDIRECT:
		begun++;
		last_status = fb_dma_read_wait(dev, b->addr, &value, 8);
		return last_status ? ~0ull : value;
	default:
		return 0;
	}
}

static void blocking_write(struct fb_device *dev, unsigned bar, uint64_t offset, uint64_t value, unsigned size)
{
	struct blocking *b = fb_device_state(dev);

	(void)bar, (void)size;
	if (offset == ADDR)
		b->addr = value;
	else if (offset == LEN)
		b->len = value;
	else if (offset == COMMAND)
		b->status = command(dev, (unsigned)value);
	else if (offset == LOG)
		b->log = b->log * 10 + value;
	fb_device_debug(dev, "written: 0x%llx", (unsigned long long)offset); /* the loop renames it meanwhile */
}

static void blocking_reset(struct fb_device *dev, enum fb_reset kind)
{
	struct blocking *b = fb_device_state(dev);

	(void)kind;
	memset(b, 0, offsetof(struct blocking, timer));
	resets++;
}

static int blocking_realize(struct fb_device *dev)
{
	assert_int_equal(fb_device_sleep(dev, 1), -EINVAL); /* not its thread */
	return 0;
}

static void blocking_unrealize(struct fb_device *dev)
{
	(void)dev;
	unrealized++;
}

static bool blocking_quiesce(struct fb_device *dev)
{
	(void)dev;
	return quiet;
}

static void blocking_stats(struct fb_device *dev, void (*put)(void *arg, const char *name, uint64_t value), void *arg)
{
	const struct blocking *b = fb_device_state(dev);

	put(arg, "log", b->log);
}

static const struct fb_bar bars[] = {{.index = 0, .size = 4096, .min_access = 8, .max_access = 8},
				     {.index = 2, .size = 4096}};

static const struct fb_model blocking_model = {
	.api = FB_DEVICE_API,
	.size = sizeof(struct fb_model),
	.name = "blocking",
	.identity = {.vendor_id = 0x1b36, .device_id = 0xfb03, .class_code = 0xff0000},
	.bars = bars,
	.n_bars = 2,
	.msi_vectors = 2,
	.msix_vectors = 2,
	.msix_bar = 2,
	.intx = true,
	.state_size = sizeof(struct blocking),
	.realize = blocking_realize,
	.unrealize = blocking_unrealize,
	.reset = blocking_reset,
	.read = blocking_read,
	.write = blocking_write,
	.quiesce = blocking_quiesce,
	.stats = blocking_stats,
	.style = FB_STYLE_BLOCKING,
};

static struct scripted_root *root;

static void enumerate(void)
{
	scripted_root_enumerate(root, NULL);
	scripted_root_enable_msix(root);
	scripted_root_forget(root);
}

static void function_level_reset(void)
{
	unsigned at = root->cap_exp + 8u;

	scripted_root_cfg_write(root, at, scripted_root_cfg_read(root, at, 2) | 0x8000, 2);
}

static int setup(void **state)
{
	(void)state;
	begun = resets = unrealized = 0;
	root = scripted_root_new(&blocking_model, "id=t", 1 << 20);
	enumerate();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	scripted_root_free(root);
	assert_int_equal(unrealized, 1);
	return 0;
}

static void set(unsigned offset, uint64_t value)
{
	scripted_root_write(root, 0, offset, value, 8);
}

static uint64_t get(unsigned offset)
{
	return scripted_root_read(root, 0, offset, 8);
}

static bool value_is(void *arg)
{
	return *(atomic_int *)arg > 0;
}

/* Starts a command that waits, and returns when it does. */
static void start(unsigned which, uint64_t len)
{
	begun = 0;
	set(ADDR, root->mem_base);
	set(LEN, len);
	set(COMMAND, which);
	assert_true(scripted_root_until(root, value_is, &begun, 10000));
	scripted_root_run(root);
}

static void calls_return_data(void **state)
{
	uint8_t *mem = scripted_root_mem(root, root->mem_base, 8192);
	uint64_t sum = 0;

	(void)state;
	for (unsigned i = 0; i < 8192; i++)
		sum += mem[i] = (uint8_t)(i * 7);
	set(ADDR, root->mem_base);
	set(LEN, 5000);
	for (unsigned i = 5000; i < 8192; i++)
		sum -= mem[i];
	root->answer = ANSWER_SHUFFLED;
	set(COMMAND, GATHER);
	assert_int_equal(get(STATUS), 0);
	assert_int_equal(get(SUM), sum);
	assert_int_equal(scripted_root_irqs(root, 0), 1);
	set(COMMAND, SCATTER);
	assert_int_equal(get(STATUS), 0); /* the answer pushes what was written */
	assert_int_equal(mem[4999], 0x5a);
	assert_int_not_equal(mem[5000], 0x5a);
	assert_int_equal(scripted_root_irqs(root, 0), 2);
	/* Refusals come back as values too. */
	root->answer = ANSWER_UR;
	set(COMMAND, GATHER);
	assert_int_equal((int64_t)get(STATUS), -EFAULT);
	set(LEN, 0);
	set(COMMAND, GATHER);
	assert_int_equal((int64_t)get(STATUS), -EINVAL);
	set(COMMAND, EVENT_CALLS);
	assert_int_equal(get(STATUS), 0);
	set(COMMAND, ERROR);
	assert_int_equal(get(STATUS), 0);
	assert_int_equal(scripted_root_cfg_read(root, root->ext_aer + 4u, 4), 1u << 22);
	scripted_root_cfg_write(root, 4, 2, 2); /* mastering off */
	set(LEN, 8);
	set(COMMAND, GATHER);
	assert_int_equal((int64_t)get(STATUS), -EPERM);
}

/* While a callback waits, the device's other accesses queue up in order, and all that is the runtime's goes on. */
static void what_waits_and_what_does_not(void **state)
{
	uint64_t word = 0x1122334455667788;
	struct pcie_tlp tlp = {.type = PCIE_TLP_MRD};
	uint16_t tag;

	(void)state;
	memcpy(scripted_root_mem(root, root->mem_base, 8), &word, 8);
	set(ADDR, root->mem_base);
	root->answer = ANSWER_NEVER;
	pcie_tlp_set_range(&tlp, root->bar[0] + INDIRECT, 8);
	tag = scripted_root_send(root, &tlp);
	for (unsigned i = 1; i <= 5; i++)
		set(LOG, i);
	scripted_root_run(root);
	assert_int_equal(root->dma_reads, 1);
	assert_int_equal(root->held_credits, 7); /* ADDR, the read, five writes */
	assert_int_equal(root->released_credits, 1);
	assert_int_equal(scripted_root_cfg_read(root, 0, 2), 0x1b36);
	assert_int_equal(scripted_root_read(root, 2, 0x0c, 4), 0); /* the MSI-X table */
	scripted_root_expect_nothing(root);
	scripted_root_answer_now(root, ANSWER_IN_ORDER);
	root->answer = ANSWER_IN_ORDER;
	assert_int_equal(get(LOG), 12345);
	const struct scripted_tlp *t = scripted_root_expect(root, PCIE_TLP_CPLD);
	assert_int_equal(t->tlp.tag, tag);
	assert_memory_equal(t->data, &word, 8);
	scripted_root_run(root);
	assert_int_equal(root->held_credits, root->released_credits);
}

/* However the callback waits: it is woken, its results go nowhere, reset() follows, and the next access is served. */
static void resets_unblock(void **state)
{
	static const unsigned ways[] = {GATHER, SLEEP, SPIN};

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		uint64_t end = fb_clock_ns() + 10000000000ull;
		unsigned irqs = scripted_root_irqs(root, 0);
		int before = resets;

		root->answer = ANSWER_NEVER;
		begun = 0;
		set(ADDR, root->mem_base);
		set(LEN, ways[i % 3] == GATHER ? 4096 : 3600000000000ull);
		set(COMMAND, ways[i % 3]);
		set(LOG, 7); /* behind it; never seen */
		while (!begun)
			scripted_root_until(root, value_is, &begun, 100);
		if (i < 3) {
			function_level_reset();
		} else {
			scripted_root_detach(root);
			scripted_root_attach(root);
		}
		root->answer = ANSWER_IN_ORDER;
		scripted_root_answer_now(root, ANSWER_IN_ORDER);
		enumerate();
		assert_int_equal(get(LOG), 0);
		assert_true(fb_clock_ns() < end);
		assert_int_equal(resets, before + 1);
		assert_int_equal(last_status, -ECANCELED);
		assert_int_equal(scripted_root_irqs(root, 0), irqs); /* what it raised after the reset */
		assert_int_equal(get(STATUS), 0);
		scripted_root_forget(root);
	}
}

static void a_read_that_a_reset_ends_is_answered(void **state)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_MRD};
	uint16_t tag;

	(void)state;
	set(ADDR, root->mem_base);
	root->answer = ANSWER_NEVER;
	pcie_tlp_set_range(&tlp, root->bar[0] + INDIRECT, 8);
	tag = scripted_root_send(root, &tlp);
	scripted_root_run(root);
	function_level_reset();
	const struct scripted_tlp *t = scripted_root_expect(root, PCIE_TLP_CPL);
	assert_int_equal(t->tlp.tag, tag);
	assert_int_equal(t->tlp.status, PCIE_CPL_UR);
	root->n_reads = 0;
	root->answer = ANSWER_IN_ORDER;
	enumerate();
	assert_int_equal(get(ADDR), 0);
	scripted_root_expect_nothing(root);
}

static void bus_mastering_off_ends_dma(void **state)
{
	(void)state;
	root->answer = ANSWER_NEVER;
	start(GATHER, 4096);
	scripted_root_cfg_write(root, 4, 2, 2);
	assert_int_equal((int64_t)get(STATUS), -ECANCELED);
	assert_int_equal(resets, 0);
	scripted_root_cfg_write(root, 4, 6, 2);
	root->n_reads = 0; /* given up by the device */
	root->answer = ANSWER_IN_ORDER;
	set(COMMAND, GATHER);
	assert_int_equal((int64_t)get(STATUS), 0);
}

static bool fired(void *arg)
{
	(void)arg;
	return scripted_root_irqs(root, 1) > 0;
}

static void timers(void **state)
{
	(void)state;
	set(LEN, 1000000);
	set(COMMAND, TIMER);
	assert_true(scripted_root_until(root, fired, NULL, 10000));
	assert_int_equal(get(FIRED), 1);
	set(LEN, 0); /* due at once, perhaps waiting to be called: a cancel must still find it */
	for (unsigned i = 0; i < 50; i++) {
		set(COMMAND, TIMER);
		set(COMMAND, NO_TIMER);
	}
	scripted_root_run(root);
	uint64_t count = get(FIRED);
	scripted_root_run(root);
	assert_int_equal(get(FIRED), count);
	set(LEN, 3600000000000ull);
	set(COMMAND, TIMER);
	set(COMMAND, TIMER); /* armed at teardown */
}

static void see_stat(void *arg, const char *name, uint64_t value)
{
	assert_string_equal(name, "log");
	*(uint64_t *)arg = value;
}

static void stats(void **state)
{
	uint64_t seen = 77;

	(void)state;
	set(LOG, 4);
	set(LOG, 2);
	scripted_root_run(root);
	fb_device_model_stats(root->dev, see_stat, &seen);
	assert_int_equal(seen, 42);
}

/* The device ends while its callback waits: at once, in every way of waiting. */
static void the_end_unblocks(void **state)
{
	static const unsigned ways[] = {GATHER, SLEEP, SPIN};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		uint64_t end;

		setup(NULL);
		root->answer = ANSWER_NEVER;
		begun = 0;
		set(ADDR, root->mem_base);
		set(LEN, ways[i] == GATHER ? 4096 : 3600000000000ull);
		set(COMMAND, ways[i]);
		while (!begun)
			scripted_root_until(root, value_is, &begun, 100);
		end = fb_clock_ns() + 2900000000ull; /* before the runtime gives it up */
		scripted_root_detach(root);
		teardown(NULL);
		assert_true(fb_clock_ns() < end);
		assert_int_equal(last_status, -ECANCELED);
	}
}

/* A callback that waits for what nobody gives it holds up its own device, and not its end for ever. */
static void one_that_never_returns(void **state)
{
	(void)state;
	setup(NULL);
	set(COMMAND, STUCK);
	while (!begun)
		scripted_root_until(root, value_is, &begun, 100);
	assert_int_equal(scripted_root_cfg_read(root, 0, 2), 0x1b36);
	scripted_root_detach(root);
	scripted_root_attach(root);
	scripted_root_detach(root);
	scripted_root_free(root); /* returns, with the device left behind */
	assert_int_equal(unrealized, 0);
}

static uint64_t next_random(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	return *x ^= *x << 17;
}

/* Everything at once, for the sanitizers: nothing may hang, and all credits come back. */
static void storm(void **state)
{
	uint64_t x = 88172645463325252ull;

	(void)state;
	for (unsigned i = 0; i < 3000; i++) {
		uint64_t r = next_random(&x);

		switch (r % 16) {
		case 0:
			function_level_reset();
			enumerate();
			break;
		case 1:
			scripted_root_detach(root);
			scripted_root_attach(root);
			enumerate();
			break;
		case 2:
			root->answer = (enum scripted_answer)(r >> 8) % (ANSWER_POISONED + 1);
			break;
		case 3:
			scripted_root_answer_now(root, ANSWER_IN_ORDER);
			break;
		case 4:
			fb_loop_once(root->loop, 0);
			break;
		case 5:
			scripted_root_run(root);
			break;
		case 6:
			scripted_root_cfg_write(root, 4, r >> 8 & 1 ? 6 : 2, 2);
			break;
		case 7:
			set(LEN, r >> 8 & 0x1fff);
			break;
		case 8:
			set(ADDR, root->mem_base + (r >> 8 & 0xfffff));
			break;
		case 9:
			scripted_root_memory(root, root->bar[0] + INDIRECT, NULL, 8);
			break;
		default:
			set(COMMAND, (unsigned[]){GATHER, SCATTER, TIMER, NO_TIMER, SLEEP, ERROR}[(r >> 8) % 6]);
			break;
		}
		if (root->n_log > 500)
			scripted_root_forget(root);
	}
	root->answer = ANSWER_IN_ORDER;
	scripted_root_answer_now(root, ANSWER_IN_ORDER);
	scripted_root_run(root);
}

int main(void)
{
#define BLOCKING(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	fb_log_set_level(FB_LOG_DEBUG);
	const struct CMUnitTest tests[] = {
		BLOCKING(calls_return_data),
		BLOCKING(what_waits_and_what_does_not),
		BLOCKING(resets_unblock),
		BLOCKING(a_read_that_a_reset_ends_is_answered),
		BLOCKING(bus_mastering_off_ends_dma),
		BLOCKING(timers),
		BLOCKING(stats),
		BLOCKING(storm),
		cmocka_unit_test(the_end_unblocks),
		cmocka_unit_test(one_that_never_returns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
