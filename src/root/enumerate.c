/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * Enumeration and reset are short programs of configuration requests, each step
 * a batch that leaves at once and is looked at when it is complete:
 *
 *	enumeration   FIRST (are you there?), HEADER (256 bytes), SIZE (BARs), PROGRAM
 *	reset         RESET (bus master off, FLR), POLL (back again?), PROGRAM
 *	from D3hot    POLL, PROGRAM
 *
 * They are urgent: the VM's own accesses are held until they are through. A
 * reset waits for the network as long as the session lasts; who waits for the
 * reset's answer is told in time all the same (fb_reset_answer()).
 */
#include <errno.h>
#include <string.h>

#include "root/function.h"
#include "tlp/regs.h"
#include "util/reader.h"

#define RETRY_NS UINT64_C(10000000)
#define PATIENCE_NS UINT64_C(10000000000)
enum { TRIES = 200 }; /* times RETRY_NS: more than the second that 6.6.1 allows */

enum step { STEP_FIRST, STEP_HEADER, STEP_SIZE, STEP_RESET, STEP_POLL, STEP_PROGRAM };

static void done(struct fb_access *access, int status);

static struct fb_op op_read(uint32_t reg)
{
	return (struct fb_op){.address = reg, .be = 15};
}

static struct fb_op op_write(uint32_t reg, uint32_t value, uint8_t be)
{
	return (struct fb_op){.address = reg, .value = value, .be = be, .write = true};
}

static unsigned reset_ops(const struct fb_root_function *f, struct fb_op *ops)
{
	const struct fb_config *c = &f->cfg;
	unsigned n = 0;

	ops[n++] = op_write(PCI_COMMAND, 0, 3); /* 6.6.2: quiet first */
	if (c->flr) {
		ops[n++] = op_write(c->pcie + EXP_DEVCTL,
				    fb_get_le16(c->wire + c->pcie + EXP_DEVCTL) | EXP_DEVCTL_FLR, 3);
		return n;
	}
	if (c->pm && !c->no_soft_reset) { /* through D3hot */
		ops[n++] = op_write(c->pm + PM_PMCSR, PM_PMCSR_STATE, 1);
		ops[n++] = op_write(c->pm + PM_PMCSR, 0, 1);
		return n;
	}
	if (c->msi)
		ops[n++] = op_write(c->msi, 0, 4);
	if (c->msix)
		ops[n++] = op_write(c->msix, 0, 8);
	return n;
}

static void run(struct fb_root_function *f, enum step step)
{
	struct fb_sequence *s = &f->seq;
	unsigned n = 0;

	if (s->step != (unsigned)step)
		s->tries = 0;
	s->step = step;
	switch (step) {
	case STEP_FIRST:
	case STEP_POLL:
		s->ops[n++] = op_read(0);
		break;
	case STEP_HEADER:
		for (; n < 64; n++)
			s->ops[n] = op_read(4 * n);
		s->ops[n++] = op_write(PCI_COMMAND, 0, 3);
		break;
	case STEP_SIZE:
		for (unsigned i = 0; i < FB_CONFIG_BARS; i++)
			s->ops[n++] = op_write(PCI_BAR0 + 4 * i, UINT32_MAX, 15);
		s->ops[n++] = op_write(PCI_ROM, 0xfffff800, 15);
		for (unsigned i = 0; i < FB_CONFIG_BARS; i++)
			s->ops[n++] = op_read(PCI_BAR0 + 4 * i);
		s->ops[n++] = op_read(PCI_ROM);
		break;
	case STEP_RESET:
		n = reset_ops(f, s->ops);
		break;
	case STEP_PROGRAM:
		n = fb_config_program(&f->cfg, s->ops);
		break;
	}
	memset(&s->access, 0, sizeof(s->access));
	s->access.kind = FB_ACCESS_OPS;
	s->access.ops = s->ops;
	s->access.n_ops = n;
	s->access.urgent = true;
	s->access.barrier = true;
	s->access.done = done;
	s->access.arg = f;
	fb_rq_start(&f->rq, &s->access, fb_function_now(f) + f->env->hold_ns + PATIENCE_NS);
}

static void retry(struct fb_timer *t)
{
	struct fb_root_function *f = FB_CONTAINER(t, struct fb_root_function, seq.retry);

	run(f, (enum step)f->seq.step);
}

static void finish(struct fb_root_function *f, const char *why)
{
	bool enumerating = f->state == FB_ROOT_ENUMERATING;

	if (!why && !enumerating && f->seq.again) { /* the VM stays held back in between */
		f->seq.again = false;
		f->count.resets++;
		run(f, STEP_RESET);
		return;
	}
	f->seq.running = false;
	if (!why) {
		f->rq.mps = 128u << f->cfg.mps_code;
		fb_rq_hold(&f->rq, false);
	}
	if (enumerating)
		fb_enumerate_done(f, why);
	else
		fb_reset_done(f, why);
}

/* Configuration Request Retry Status, or nothing sensible: ask again for a while (2.3.1). */
static bool not_yet(struct fb_root_function *f, const char **why)
{
	struct fb_sequence *s = &f->seq;

	if (s->ops[0].status == PCIE_CPL_SC && s->ops[0].value != UINT32_MAX && s->ops[0].value != 0)
		return false;
	if (++s->tries > TRIES) {
		*why = s->step == STEP_FIRST ? "its configuration space cannot be read" : "it did not come back from reset";
		return true;
	}
	s->retry.due = retry;
	fb_timer_set(f->loop, &s->retry, fb_function_now(f) + RETRY_NS);
	return true;
}

static void header_read(struct fb_root_function *f)
{
	for (unsigned i = 0; i < 64; i++)
		fb_put_le32(f->seq.header + 4 * i, f->seq.ops[i].value);
	run(f, STEP_SIZE);
}

static void sized(struct fb_root_function *f)
{
	const struct fb_op *answers = f->seq.ops + FB_CONFIG_BARS + 1;
	uint32_t sizes[FB_CONFIG_BARS + 1];
	const char *why = NULL;

	for (unsigned i = 0; i <= FB_CONFIG_BARS; i++)
		sizes[i] = answers[i].status == PCIE_CPL_SC ? answers[i].value : 0;
	sizes[FB_CONFIG_BARS] &= 0xfffff800;
	if (fb_config_parse(&f->cfg, f->seq.header, sizes, f->env->hide_msix, &why) < 0) {
		finish(f, why);
		return;
	}
	if (f->cfg.has_rom)
		fb_debug(f->name, "its option ROM is hidden from the VM");
	run(f, STEP_PROGRAM);
}

static void done(struct fb_access *access, int status)
{
	struct fb_root_function *f = access->arg;
	const char *why = NULL;

	if (status == -ENODEV) /* fb_function_lost() has seen to everything */
		return;
	if (status == -ETIMEDOUT) {
		finish(f, "no answer to configuration requests");
		return;
	}
	switch ((enum step)f->seq.step) {
	case STEP_FIRST:
		if (!not_yet(f, &why))
			run(f, STEP_HEADER);
		break;
	case STEP_POLL:
		if (!not_yet(f, &why))
			run(f, STEP_PROGRAM);
		break;
	case STEP_HEADER:
		if (status == -EIO)
			why = "its configuration space cannot be read";
		else
			header_read(f);
		break;
	case STEP_SIZE:
		sized(f);
		break;
	case STEP_RESET:
		run(f, STEP_POLL);
		break;
	case STEP_PROGRAM:
		if (status == -EIO)
			why = "it refuses configuration writes";
		finish(f, why);
		return;
	}
	if (why)
		finish(f, why);
}

static void begin(struct fb_root_function *f, enum step step)
{
	f->seq.running = true;
	f->seq.again = false;
	f->seq.tries = 0;
	f->seq.step = step;
	fb_rq_hold(&f->rq, true);
	run(f, step);
}

void fb_enumerate_start(struct fb_root_function *f)
{
	begin(f, STEP_FIRST);
}

static void forget(struct fb_root_function *f)
{
	fb_config_reset(&f->cfg);
	fb_irq_wire_reset(f);
	fb_dma_forget(f);
	fb_vm_ring_forget(f);
	fb_vm_offer_forget(f);
}

void fb_reset_start(struct fb_root_function *f)
{
	if (f->seq.running) {
		/* From now on, not from the second one's begin: what the VM sets up meanwhile is to stay. */
		f->seq.again = true;
		fb_rq_drop_posted(&f->rq);
		forget(f);
		return;
	}
	f->count.resets++;
	forget(f);
	begin(f, STEP_RESET);
}

void fb_reprogram(struct fb_root_function *f)
{
	if (f->seq.running)
		return;
	forget(f);
	begin(f, STEP_POLL);
}

void fb_sequence_stop(struct fb_root_function *f)
{
	fb_timer_cancel(&f->seq.retry);
	fb_rq_cancel(&f->rq, &f->seq.access); /* it may be wanted again before this round is over */
	f->seq.running = f->seq.again = false;
}
