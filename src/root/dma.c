/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * What the function asks of the VM's memory. Memory that came with a file
 * descriptor is mapped and copied to and from directly, in order, before the
 * TLP's credit goes back. Memory without one is reached through the client by
 * messages (dma_message.c); while such writes are in flight, everything else
 * goes by message too, so that order is the socket's order.
 *
 * Nothing outside the VM's map is ever touched: reads there complete with
 * Unsupported Request, writes are dropped and counted (base spec 2.3.1).
 * Requests under another function's ID, and those that come while the function
 * is being reset or nobody uses it, are dropped.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "root/function.h"
#include "util/reader.h"

enum { RCB = 64 };

void fb_dma_refused(struct fb_root_function *f, const struct pcie_tlp *tlp, int err)
{
	char text[128];

	if (err == -EACCES)
		f->count.dma_forbidden++;
	else
		f->count.dma_unmapped++;
	fb_warn_limited(&f->log_unmapped, fb_function_now(f), f->name, "%s: %s",
			err == -EACCES ? "not allowed there by the VM" : "outside the VM's memory",
			pcie_tlp_describe(tlp, text, sizeof(text)));
}

static void faulted(struct fb_root_function *f)
{
	f->count.dma_faults++;
	fb_warn_limited(&f->log_fault, fb_function_now(f), f->name,
			"the client's memory file is shorter than what it mapped: access refused");
}

/* ---- Completions --------------------------------------------------------------------- */

void fb_dma_complete_error(struct fb_root_function *f, const struct pcie_tlp *request, enum pcie_cpl_status status)
{
	struct pcie_tlp cpl = {0};

	pcie_completion_status(request, FB_ROOT_ID, status, &cpl);
	fb_port_send(f->port, &cpl);
}

void fb_complete_read(struct fb_port *port, uint32_t mps, const struct pcie_tlp *request, const uint8_t *data, uint32_t len)
{
	uint32_t done = 0, lead;
	struct pcie_tlp cpl;
	uint64_t address;
	uint32_t total;

	pcie_tlp_get_range(request, &address, &total);
	lead = address & 3;
	do {
		uint32_t n = len ? pcie_split_completion(address + done, len - done, mps, RCB) : 0;

		memset(&cpl, 0, sizeof(cpl));
		pcie_completion_for(request, FB_ROOT_ID, done, n, &cpl);
		cpl.data = data + ((lead + done) & ~3u);
		fb_port_send(port, &cpl);
		done += n;
	} while (done < len);
}

void fb_dma_complete_read(struct fb_root_function *f, const struct pcie_tlp *request, const uint8_t *data, uint32_t len)
{
	fb_complete_read(f->port, 128u << f->cfg.mps_code, request, data, len);
}

/* ---- Writes ------------------------------------------------------------------------------ */

static bool write_memory(struct fb_root_function *f, const struct pcie_tlp *tlp)
{
	struct fb_dma_run runs[4];
	unsigned n = fb_dma_runs(tlp, runs);
	bool by_message = fb_dma_writes_in_flight(f);

	for (unsigned i = 0; i < n; i++) {
		bool messages;
		int err = fb_dma_map_check(&f->dma.map, runs[i].address, runs[i].len, FB_DMA_WRITABLE, &messages);

		if (err < 0) {
			fb_dma_refused(f, tlp, err);
			return true;
		}
		by_message |= messages;
	}
	if (by_message && n)
		return fb_dma_message_write(f, tlp);
	f->count.dma_writes++;
	for (unsigned i = 0; i < n; i++) {
		f->count.dma_write_bytes += runs[i].len;
		if (fb_dma_map_write(&f->dma.map, runs[i].address, runs[i].data, runs[i].len) < 0) {
			faulted(f);
			break;
		}
	}
	return true;
}

/* ---- Reads --------------------------------------------------------------------------------- */

static bool read_memory(struct fb_root_function *f, const struct pcie_tlp *tlp)
{
	uint8_t buf[PCIE_TLP_MAX_DATA + 8];
	uint64_t address;
	uint32_t len, lead;
	bool messages;
	int err;

	pcie_tlp_get_range(tlp, &address, &len);
	/* A read of no bytes still asks whether there is memory, and pushes writes ahead of it (2.2.5). */
	err = fb_dma_map_check(&f->dma.map, address, len ? len : 1, FB_DMA_READABLE, &messages);
	if (err < 0) {
		fb_dma_refused(f, tlp, err);
		fb_dma_complete_error(f, tlp, PCIE_CPL_UR);
		return true;
	}
	if (len && (messages || fb_dma_writes_in_flight(f)))
		return fb_dma_message_read(f, tlp);
	/* A read does not pass the writes in front of it (base spec 2.4.1), and a processor's load may pass its store. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	lead = address & 3;
	memset(buf, 0, 4);
	memset(buf + ((lead + len) & ~3u), 0, 4);
	if (fb_dma_map_read(&f->dma.map, address, buf + lead, len) < 0) {
		faulted(f);
		fb_dma_complete_error(f, tlp, PCIE_CPL_UR);
		return true;
	}
	f->count.dma_reads++;
	f->count.dma_read_bytes += len;
	fb_dma_complete_read(f, tlp, buf, len);
	return true;
}

int fb_dma_peek(struct fb_root_function *f, uint64_t address, uint8_t *buf, uint32_t len)
{
	bool messages;
	int err = fb_dma_map_check(&f->dma.map, address, len, FB_DMA_READABLE, &messages);

	if (err < 0)
		return err;
	if (messages || fb_dma_writes_in_flight(f))
		return -EAGAIN;
	return fb_dma_map_read(&f->dma.map, address, buf, len);
}

/* ---- AtomicOps ------------------------------------------------------------------------------- */

static bool atomic_op(struct fb_root_function *f, const struct pcie_tlp *tlp)
{
	struct fb_dma_atomic a;
	struct pcie_tlp cpl = {0};
	int err = fb_dma_atomic_target(&f->dma.map, tlp, &a);

	if (err < 0) {
		if (err == -ENOTSUP)
			f->count.unsupported++;
		else
			fb_dma_refused(f, tlp, err);
		fb_dma_complete_error(f, tlp, PCIE_CPL_UR);
		return true;
	}
	if (fb_dma_writes_in_flight(f)) /* it must not overtake them; drain() looks again when they have landed */
		return fb_dma_enqueue(f, tlp);
	if (fb_dma_atomic_run(&a) < 0) {
		faulted(f);
		fb_dma_complete_error(f, tlp, PCIE_CPL_UR);
		return true;
	}
	f->count.dma_atomics++;
	pcie_completion_for(tlp, FB_ROOT_ID, 0, a.size, &cpl);
	cpl.data = a.old;
	fb_port_send(f->port, &cpl);
	return true;
}

/* ---- All that the function sends ---------------------------------------------------------------- */

static void message(struct fb_root_function *f, const struct pcie_tlp *tlp)
{
	unsigned code = tlp->msg_code;

	f->count.messages++;
	if (code >= PCIE_MSG_ASSERT_INTA && code < PCIE_MSG_ASSERT_INTA + 8) {
		/* One pin a function; which of the four it is makes no difference to an eventfd. */
		if (!fb_function_in_reset(f))
			fb_irq_intx(f, code < PCIE_MSG_DEASSERT_INTA);
	} else if (code == PCIE_MSG_ERR_COR || code == PCIE_MSG_ERR_NONFATAL || code == PCIE_MSG_ERR_FATAL) {
		f->count.errors_reported++;
		fb_warn_limited(&f->log_error, fb_function_now(f), f->name, "reports a %s error",
				code == PCIE_MSG_ERR_COR	? "correctable"
				: code == PCIE_MSG_ERR_NONFATAL ? "non-fatal"
								: "fatal");
	} else if (code == PCIE_MSG_VENDOR_TYPE1 && !fb_function_in_reset(f)) {
		fb_vm_ring_message(f, tlp);
		fb_vm_offer_message(f, tlp);
	}
	/* PM_PME, LTR and others' vendor-defined messages have nobody to go to behind QEMU: counted, no more. */
}

static bool unsupported(struct fb_root_function *f, const struct pcie_tlp *tlp)
{
	char text[128];

	f->count.unsupported++;
	fb_warn_limited(&f->log_unsupported, fb_function_now(f), f->name, "a root does not serve this: %s",
			pcie_tlp_describe(tlp, text, sizeof(text)));
	if (pcie_tlp_fc(tlp->type) == PCIE_FC_NP)
		fb_dma_complete_error(f, tlp, PCIE_CPL_UR);
	return true;
}

static bool wrong_requester(struct fb_root_function *f, const struct pcie_tlp *tlp)
{
	char text[128];

	f->count.dma_bad_requester++;
	fb_warn_limited(&f->log_requester, fb_function_now(f), f->name, "dropped a request under another function's ID: %s",
			pcie_tlp_describe(tlp, text, sizeof(text)));
	return true;
}

static bool stray(struct fb_root_function *f, const struct pcie_tlp *tlp)
{
	f->count.dma_stray++;
	/* During a reset even a refusal would come back to a function that does not know of the request any more. */
	if (!fb_function_in_reset(f) && pcie_tlp_fc(tlp->type) == PCIE_FC_NP)
		fb_dma_complete_error(f, tlp, PCIE_CPL_UR);
	return true;
}

bool fb_dma_tlp(struct fb_root_function *f, const struct pcie_tlp *tlp)
{
	uint64_t late;

	switch (tlp->type) {
	case PCIE_TLP_CPL:
	case PCIE_TLP_CPLD:
	case PCIE_TLP_CPLLK:
	case PCIE_TLP_CPLDLK:
		late = f->rq.stats.late;
		fb_rq_completion(&f->rq, tlp);
		if (f->rq.stats.late != late && f->env->late)
			f->env->late(f->env->arg, f);
		return true;
	case PCIE_TLP_MSG:
	case PCIE_TLP_MSGD:
		if (tlp->requester_id != f->bdf)
			return wrong_requester(f, tlp);
		if (fb_dma_must_wait(f)) /* an interrupt may be among them, and stays behind the data */
			return fb_dma_enqueue(f, tlp);
		message(f, tlp);
		return true;
	case PCIE_TLP_MWR:
	case PCIE_TLP_MRD:
	case PCIE_TLP_FETCHADD:
	case PCIE_TLP_SWAP:
	case PCIE_TLP_CAS:
		break;
	default:
		return unsupported(f, tlp);
	}
	if (tlp->requester_id != f->bdf)
		return wrong_requester(f, tlp);
	if (!f->negotiated || fb_function_in_reset(f))
		return stray(f, tlp);
	if (tlp->at != 0 || tlp->ep) /* translation services are not offered; poisoned data goes nowhere */
		return unsupported(f, tlp);
	if (fb_dma_must_wait(f))
		return fb_dma_enqueue(f, tlp);
	if (tlp->type == PCIE_TLP_MWR)
		return fb_irq_message(f, tlp) || write_memory(f, tlp);
	if (tlp->type == PCIE_TLP_MRD)
		return read_memory(f, tlp);
	return atomic_op(f, tlp);
}
