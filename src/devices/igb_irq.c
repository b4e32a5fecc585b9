/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts (7.3, 8.8).
 *
 * Theory of operation
 *
 * Two layers of causes. ICR, with its mask IMS, has what happens; EICR, with EIMS, has a bit for each vector. In MSI-X
 * mode (GPIE.Multiple_MSIX) queues set the EICR bits that IVAR names, and ICR as a whole the bit that IVAR_MISC names.
 * Without it everything is in ICR, and the one vector is told when an unmasked bit of it comes.
 *
 * A vector is told once of what came: `due` is set when an unmasked cause appears, or when one that is there is
 * unmasked, and cleared when the message leaves. Messages leave at the end of a round (igb_irq_flush), so all of a round
 * share one, and not before EITR's interval since the last one is over.
 *
 * That a packet has been sent is no news that anybody waits for: told alone it waits for TX_DELAY_NS. What is received
 * meanwhile, an answer often, is told at once and tells both. An interrupt through a network costs the guest a register
 * read, so this is a third of a ping's time.
 */
#include "devices/igb.h"

#define TX_DELAY_NS 100000u

static bool msix_mode(const struct igb *n)
{
	return n->gpie & IGB_GPIE_MULTIPLE_MSIX;
}

static uint32_t interval_us(const struct igb *n, unsigned vector)
{
	return (IGB_REG(n, IGB_EITR + vector * 4) & IGB_EITR_INTERVAL) >> 2;
}

static void set_due(struct igb *n, unsigned vector, uint64_t delay)
{
	struct igb_vector *v = &n->vector[vector];
	uint64_t at = delay ? fb_device_now(n->dev) + delay : 0;

	if (!v->due || at < v->not_before)
		v->not_before = at;
	v->due = true;
	igb_kick(n);
}

/* INTx is a level: there while an unmasked cause is. */
static void pin_update(struct igb *n)
{
	if (fb_irq_mode(n->dev) == FB_IRQ_INTX || fb_irq_mode(n->dev) == FB_IRQ_NONE)
		fb_intx_set(n->dev, (n->icr & n->ims) != 0);
}

/* EICR bits come. */
static void raise_vectors(struct igb *n, uint32_t bits, uint64_t delay)
{
	uint32_t fresh = bits & n->eims & ((1u << IGB_VECTORS) - 1);

	n->eicr |= bits;
	for (unsigned v = 0; fresh >> v; v++) {
		if (fresh >> v & 1)
			set_due(n, v, delay);
	}
}

static uint32_t vector_bit(uint32_t ivar)
{
	return ivar & IGB_IVAR_VALID ? 1u << (ivar & 31) : 0;
}

/* Bits of ICR & IMS that were not there before. */
static void raise_causes(struct igb *n, uint32_t fresh, uint64_t delay)
{
	uint32_t misc = IGB_REG(n, IGB_IVAR_MISC);

	if (!fresh)
		return;
	if (msix_mode(n)) {
		raise_vectors(n, vector_bit(misc >> 8 & 0xff), delay);
		return;
	}
	n->eicr |= IGB_EICR_OTHER;
	set_due(n, 0, delay);
}

static void cause(struct igb *n, uint32_t icr, uint64_t delay)
{
	uint32_t before = n->icr & n->ims;

	n->icr |= icr & ~IGB_ICR_INTA;
	raise_causes(n, n->icr & n->ims & ~before, delay);
	pin_update(n);
}

void igb_irq_cause(struct igb *n, uint32_t icr)
{
	cause(n, icr, 0);
}

void igb_irq_queue(struct igb *n, unsigned queue, bool transmit)
{
	uint32_t ivar = IGB_REG(n, IGB_IVAR + (queue & 7) * 4) >> ((queue & 8 ? 16 : 0) + (transmit ? 8 : 0)) & 0xff;

	if (msix_mode(n))
		raise_vectors(n, vector_bit(ivar), transmit ? TX_DELAY_NS : 0);
	else
		cause(n, transmit ? IGB_ICR_TXDW : IGB_ICR_RXDW, transmit ? TX_DELAY_NS : 0);
}

/* ---- Telling the guest ------------------------------------------------------------------ */

static void tell(struct igb *n, unsigned vector)
{
	uint32_t bit = 1u << vector;

	n->vector[vector].due = false;
	if (msix_mode(n)) {
		if (!(n->eicr & n->eims & bit))
			return;
		n->eicr &= ~(n->eiac & bit);
		if (n->gpie & IGB_GPIE_EIAME)
			n->eims &= ~(n->eiam & bit);
	} else if (!(n->icr & n->ims)) {
		return;
	}
	n->vector[vector].last = fb_device_now(n->dev);
	n->irqs++;
	igb_stat_add(n, IGB_STAT_IAC, 1);
	fb_irq(n->dev, vector);
}

void igb_irq_flush(struct igb *n)
{
	uint64_t now = fb_device_now(n->dev), first = UINT64_MAX;

	for (unsigned v = 0; v < IGB_VECTORS; v++) {
		uint64_t at = n->vector[v].last + interval_us(n, v) * UINT64_C(1000);

		if (!n->vector[v].due)
			continue;
		if (n->vector[v].last == 0)
			at = 0;
		if (at < n->vector[v].not_before)
			at = n->vector[v].not_before;
		if (at <= now)
			tell(n, v);
		else if (at < first)
			first = at;
	}
	if (first == UINT64_MAX)
		fb_device_timer_cancel(n->dev, &n->irq_timer);
	else
		fb_device_timer_set(n->dev, &n->irq_timer, first);
}

/* ---- Registers ---------------------------------------------------------------------------- */

/* Masks of what was acknowledged (IAM): unless GPIE.NSICR, only if there was an interrupt to acknowledge. */
static void auto_mask(struct igb *n, uint32_t icr)
{
	if (n->gpie & IGB_GPIE_NSICR || icr & IGB_ICR_INTA)
		n->ims &= ~n->iam;
}

static uint32_t icr_value(const struct igb *n)
{
	return n->icr | (n->icr & n->ims ? IGB_ICR_INTA : 0);
}

static uint32_t read_icr(struct igb *n)
{
	uint32_t value = icr_value(n);

	/* 8.8.1: cleared by the read with NSICR, with all masked, or when an interrupt was asserted. */
	if (n->gpie & IGB_GPIE_NSICR || n->ims == 0 || value & IGB_ICR_INTA || !msix_mode(n))
		n->icr = 0;
	auto_mask(n, value);
	pin_update(n);
	return value;
}

uint32_t igb_irq_read(struct igb *n, uint32_t offset)
{
	uint32_t value;

	switch (offset) {
	case IGB_ICR:
	case IGB_ICR_2:
		return read_icr(n);
	case IGB_ICS:
	case IGB_ICS_2:
		return icr_value(n);
	case IGB_IMS:
	case IGB_IMS_2:
		return n->ims;
	case IGB_IAM:
	case IGB_IAM_2:
		return n->iam;
	case IGB_GPIE:
		return n->gpie;
	case IGB_EICS:
		return n->eicr;
	case IGB_EIMS:
		return n->eims;
	case IGB_EIAC:
		return n->eiac;
	case IGB_EIAM:
		return n->eiam;
	case IGB_EICR:
		value = n->eicr;
		n->eicr = 0;
		n->eims &= ~n->eiam;
		return value;
	default: /* IMC, EIMC: write-only */
		return 0;
	}
}

void igb_irq_write(struct igb *n, uint32_t offset, uint32_t value)
{
	uint32_t before = n->icr & n->ims, was;

	switch (offset) {
	case IGB_ICR:
	case IGB_ICR_2:
		was = icr_value(n);
		n->icr &= ~value;
		auto_mask(n, was);
		pin_update(n);
		break;
	case IGB_ICS:
	case IGB_ICS_2:
		igb_irq_cause(n, value);
		break;
	case IGB_IMS:
	case IGB_IMS_2:
		n->ims |= value & ~IGB_ICR_INTA;
		raise_causes(n, n->icr & n->ims & ~before, 0);
		pin_update(n);
		break;
	case IGB_IMC:
	case IGB_IMC_2:
		n->ims &= ~value;
		pin_update(n);
		break;
	case IGB_IAM:
	case IGB_IAM_2:
		n->iam = value;
		break;
	case IGB_GPIE:
		n->gpie = value;
		break;
	case IGB_EICS:
		raise_vectors(n, value, 0);
		break;
	case IGB_EIMS:
		was = n->eims;
		n->eims |= value;
		raise_vectors(n, n->eicr & n->eims & ~was, 0);
		break;
	case IGB_EIMC:
		n->eims &= ~value;
		break;
	case IGB_EIAC:
		n->eiac = value;
		break;
	case IGB_EIAM:
		n->eiam = value;
		break;
	case IGB_EICR:
		n->eicr &= ~value;
		break;
	}
}

void igb_irq_reset(struct igb *n)
{
	n->icr = n->ims = n->iam = n->gpie = n->eicr = n->eims = n->eiac = n->eiam = 0;
	for (unsigned v = 0; v < IGB_VECTORS; v++)
		n->vector[v] = (struct igb_vector){0};
	fb_device_timer_cancel(n->dev, &n->irq_timer);
	pin_update(n);
}
