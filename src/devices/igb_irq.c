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
 *
 * A guest that is told masks the vector, takes frames until it finds none, and unmasks it. A flood keeps it at that:
 * frames are taken as fast as they come, and thrown away by sockets whose programs get no processor. So between two
 * unmaskings there are BATCH frames, which end its work; more wait in the host's queue, which drops what is too much before
 * it has cost anything (docs/design/measurements.md). Linux ends where it finds fewer than 64. TCP does not count: a sender waits
 * for its receiver by itself, and frames in long rows are joined (GRO).
 *
 * A guest that masks the vector and takes frames for ever gets them too: PATIENCE_NS after it has shown signs of life last.
 *
 * Without MSI-X that read is of ICR, and its value is offered ahead of the interrupt, and anew in each round in which causes
 * come before it is read. Any cause ends the offer at once, one that is set already, too: the guest has not seen that it came once more.
 */
#include "devices/igb.h"

enum { BATCH = 60 };
#define PATIENCE_NS 2000000u
#define TX_DELAY_NS 100000u

static bool msix_mode(const struct igb *n)
{
	return n->gpie & IGB_GPIE_MULTIPLE_MSIX;
}

static uint32_t interval_us(const struct igb *n, unsigned vector)
{
	return (IGB_REG(n, IGB_EITR + vector * 4) & IGB_EITR_INTERVAL) >> 2;
}

/* When the interval since the vector was told last is over. */
static uint64_t interval_end(const struct igb *n, unsigned vector)
{
	uint64_t last = n->vector[vector].last;

	return last ? last + interval_us(n, vector) * UINT64_C(1000) : 0;
}

/* For what is received. */
static bool masked(const struct igb *n, unsigned vector)
{
	return !(msix_mode(n) ? n->eims & 1u << vector : n->ims & IGB_ICR_RXDW);
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

	fb_device_offer(n->dev, NULL, 0);
	n->icr |= icr & ~IGB_ICR_INTA;
	if (!msix_mode(n) && n->icr & n->ims) {
		n->offer_due = true;
		igb_kick(n);
	}
	raise_causes(n, n->icr & n->ims & ~before, delay);
	pin_update(n);
}

void igb_irq_cause(struct igb *n, uint32_t icr)
{
	cause(n, icr, 0);
}

static uint32_t queue_ivar(const struct igb *n, unsigned queue, bool transmit)
{
	return IGB_REG(n, IGB_IVAR + (queue & 7) * 4) >> ((queue & 8 ? 16 : 0) + (transmit ? 8 : 0)) & 0xff;
}

void igb_irq_queue(struct igb *n, unsigned queue, bool transmit)
{
	if (msix_mode(n))
		raise_vectors(n, vector_bit(queue_ivar(n, queue, transmit)), transmit ? TX_DELAY_NS : 0);
	else
		cause(n, transmit ? IGB_ICR_TXDW : IGB_ICR_RXDW, transmit ? TX_DELAY_NS : 0);
}

/* ---- Batches ---------------------------------------------------------------------------- */

/* The vector that tells of what a queue receives; NULL: none. */
static struct igb_vector *receive_vector(struct igb *n, unsigned queue)
{
	uint32_t ivar = queue_ivar(n, queue, false);

	if (!msix_mode(n))
		return &n->vector[0];
	return ivar & IGB_IVAR_VALID && (ivar & 31) < IGB_VECTORS ? &n->vector[ivar & 31] : NULL;
}

void igb_irq_frame(struct igb *n, unsigned queue)
{
	struct igb_vector *v = receive_vector(n, queue);

	if (v)
		v->frames++;
}

/* Told, or to be told at the end of this round; while an interval is not over yet, more may join. */
bool igb_irq_enough(struct igb *n, unsigned queue)
{
	struct igb_vector *v = receive_vector(n, queue);
	uint64_t now = fb_device_now(n->dev);
	unsigned vector;

	if (!v || v->frames < BATCH)
		return false;
	vector = (unsigned)(v - n->vector);
	if (!v->told && (masked(n, vector) || interval_end(n, vector) > now))
		return false;
	fb_device_timer_set(n->dev, &n->patience_timer, now + PATIENCE_NS);
	n->rx_batches += !v->enough; /* the frame is offered again with each kick */
	v->enough = true;
	return true;
}

static void new_batch(struct igb *n, unsigned vector)
{
	n->vector[vector].told = false;
	n->vector[vector].frames = 0;
	n->vector[vector].enough = false;
	fb_device_timer_cancel(n->dev, &n->patience_timer); /* whoever has to wait on sets it anew */
	if (n->rx_held || n->tx_held) /* looped back, it is a packet to send that waits */
		igb_rx_kick(n);
}

void igb_irq_patience_over(struct igb *n)
{
	for (unsigned v = 0; v < IGB_VECTORS; v++) {
		n->vector[v].frames = 0;
		n->vector[v].enough = false;
	}
	igb_rx_kick(n);
}

/* ---- Telling the guest ------------------------------------------------------------------ */

static uint32_t icr_value(const struct igb *n)
{
	return n->icr | (n->icr & n->ims ? IGB_ICR_INTA : 0);
}

/* Where Linux' driver reads it. */
static void offer_icr(struct igb *n)
{
	struct fb_device_value value = {.bar = 0, .size = 4, .lowers_intx = true, .offset = IGB_ICR, .value = icr_value(n)};

	n->offer_due = false;
	if (n->icr & n->ims)
		fb_device_offer(n->dev, &value, 1);
}

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
	} else {
		offer_icr(n);
	}
	n->vector[vector].last = fb_device_now(n->dev);
	n->vector[vector].told = true;
	if (msix_mode(n) && !masked(n, vector)) /* no auto-mask: nothing will say when the guest is ready */
		new_batch(n, vector);
	n->irqs++;
	igb_stat_add(n, IGB_STAT_IAC, 1);
	fb_irq(n->dev, vector);
}

void igb_irq_flush(struct igb *n)
{
	uint64_t now = fb_device_now(n->dev), first = UINT64_MAX;

	for (unsigned v = 0; v < IGB_VECTORS; v++) {
		uint64_t at = interval_end(n, v);

		if (!n->vector[v].due)
			continue;
		if (at < n->vector[v].not_before)
			at = n->vector[v].not_before;
		if (at <= now)
			tell(n, v);
		else if (at < first)
			first = at;
	}
	if (n->offer_due && !n->vector[0].due && !msix_mode(n)) /* told, and not read yet */
		offer_icr(n);
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

static uint32_t read_icr(struct igb *n)
{
	uint32_t value = icr_value(n);

	/* 8.8.1: cleared by the read with NSICR, with all masked, or when an interrupt was asserted. */
	if (n->gpie & IGB_GPIE_NSICR || n->ims == 0 || value & IGB_ICR_INTA || !msix_mode(n))
		n->icr = 0;
	auto_mask(n, value);
	if (!msix_mode(n) && !masked(n, 0))
		new_batch(n, 0);
	pin_update(n);
	return value;
}

void igb_irq_read_outdated(struct igb *n, uint32_t offset)
{
	if (msix_mode(n) || offset != IGB_ICR)
		return;
	auto_mask(n, icr_value(n));
	if (!masked(n, 0))
		new_batch(n, 0);
	if (n->icr & n->ims)
		set_due(n, 0, 0);
	pin_update(n);
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
		if (!msix_mode(n) && masked(n, 0) && value & IGB_ICR_RXDW)
			new_batch(n, 0);
		n->ims |= value & ~IGB_ICR_INTA;
		raise_causes(n, n->icr & n->ims & ~before, 0);
		pin_update(n);
		break;
	case IGB_IMC:
	case IGB_IMC_2:
		n->ims &= ~value;
		if (!msix_mode(n) && value & IGB_ICR_RXDW)
			n->vector[0].told = false;
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
		for (unsigned v = 0; v < IGB_VECTORS; v++) {
			if (value & ~was & 1u << v)
				new_batch(n, v);
		}
		raise_vectors(n, n->eicr & n->eims & ~was, 0);
		break;
	case IGB_EIMC:
		n->eims &= ~value;
		for (unsigned v = 0; v < IGB_VECTORS; v++)
			n->vector[v].told &= !(value & 1u << v);
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
	n->offer_due = false;
	fb_device_timer_cancel(n->dev, &n->irq_timer);
	fb_device_timer_cancel(n->dev, &n->patience_timer);
	pin_update(n);
}
