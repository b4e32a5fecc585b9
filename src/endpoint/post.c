/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * What leaves the device in order: memory writes, interrupts, messages. One
 * queue, sent from its head as far as the port takes it; while it is empty,
 * which is nearly always, things go straight through it. Two kinds of TLPs
 * that are not posted must not pass what is posted either (2.4.1):
 *
 *  - completions: a guest that reads "done" from a register must find the data
 *    that was written before. They join the queue when it is not empty, and
 *    hold their request's credit there, so the root's credits bound them.
 *  - DMA reads: each remembers how much had been queued when it began, and may
 *    be sent when that much has left (dma_read.c).
 *
 * Bounds: writes by the model's own concurrency; an interrupt vector, INTx, an
 * offer, PME_TO_Ack and each error message have at most one entry; completions
 * by credits.
 *
 * An interrupt's address, data and mask are looked up when it leaves, so that
 * one that was masked meanwhile becomes pending instead.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint/device_impl.h"
#include "tlp/regs.h"
#include "util/reader.h"

/* What sending the next TLP of an entry came to; anything else is -errno of the port. */
enum { ENTRY_DONE = 0, ENTRY_MORE = 1 };

static int send_memory_write(struct fb_device *dev, uint64_t addr, const uint8_t *data, uint32_t len)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_MWR, .requester_id = dev->bdf};
	uint32_t pad = addr & 3;

	pcie_tlp_set_range(&tlp, addr, len);
	tlp.attr = dev->view.ido ? PCIE_ATTR_IDO : 0;
	tlp.data = data;
	if (pad || len & 3) { /* the payload is whole DWs; the model's buffer is not */
		memset(dev->scratch, 0, 4);
		memset(dev->scratch + tlp.length * 4 - 4, 0, 4);
		memcpy(dev->scratch + pad, data, len);
		tlp.data = dev->scratch;
	}
	return fb_port_send(dev->port, &tlp);
}

static int send_message(struct fb_device *dev, uint8_t code, uint8_t route, uint32_t vendor_data)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_MSG,
			       .requester_id = dev->bdf,
			       .msg_code = code,
			       .msg_route = route,
			       .vendor_data = vendor_data};

	return fb_port_send(dev->port, &tlp);
}

static int send_write(struct fb_device *dev, struct fb_req *req)
{
	uint64_t addr;
	uint32_t len = fb_req_next(req, dev->view.mps, &addr);
	int err = send_memory_write(dev, addr, req->dma.buf + req->dma.buf_off, len);

	if (err)
		return err;
	dev->stats.dma_write_bytes += len;
	fb_req_advance(req, len);
	return fb_req_next(req, dev->view.mps, &addr) ? ENTRY_MORE : ENTRY_DONE;
}

static int send_msi(struct fb_device *dev, struct fb_req *req)
{
	uint8_t bytes[4];
	uint64_t addr;
	uint32_t data;

	if (!fb_ep_irq_message(dev, req->msi.vector, &addr, &data))
		return ENTRY_DONE;
	fb_put_le32(bytes, data);
	int err = send_memory_write(dev, addr, bytes, 4);
	if (!err)
		dev->stats.interrupts++;
	return err;
}

/* The next completion of an answer. */
static int send_completion(struct fb_device *dev, const struct pcie_tlp *request, enum pcie_cpl_status status,
			   const uint8_t *data, uint32_t len, uint32_t *sent)
{
	struct pcie_tlp cpl;
	uint64_t addr = 0;
	uint32_t bytes, n;
	int err;

	if (!data) {
		pcie_completion_status(request, dev->bdf, status, &cpl);
		return fb_port_send(dev->port, &cpl);
	}
	if (request->type == PCIE_TLP_MRD)
		pcie_tlp_get_range(request, &addr, &bytes);
	n = pcie_split_completion(addr + *sent, len - *sent, dev->view.mps, RCB);
	pcie_completion_for(request, dev->bdf, *sent, n, &cpl);
	cpl.data = data + (((addr & 3) + *sent) & ~(uint64_t)3);
	err = fb_port_send(dev->port, &cpl);
	if (err)
		return err;
	*sent += n;
	return *sent < len ? ENTRY_MORE : ENTRY_DONE;
}

static int send_entry(struct fb_device *dev, struct fb_req *req)
{
	switch (req->kind) {
	case REQ_WRITE:
		return send_write(dev, req);
	case REQ_MSI:
		return send_msi(dev, req);
	case REQ_INTX:
		return send_message(dev, req->intx.level ? PCIE_MSG_ASSERT_INTA : PCIE_MSG_DEASSERT_INTA,
				    PCIE_ROUTE_LOCAL, 0);
	case REQ_MSG:
		return send_message(dev, req->msg.code, req->msg.route, req->msg.vendor_data);
	case REQ_RING:
		return fb_ring_send(dev, req->ring.slot);
	case REQ_OFFER:
		return fb_offer_send(dev);
	case REQ_CPL:
		return send_completion(dev, &req->cpl.request, req->cpl.status, req->cpl.data, req->cpl.len,
				       &req->cpl.sent);
	case REQ_READ:
		break; /* never in this queue */
	}
	return -EINVAL;
}

/* Of messages that are queued once at most, their bit in dev->msg_queued; of others 0. */
static uint8_t message_bit(uint8_t code)
{
	if ((code & 0xf8) == PCIE_MSG_ERR_COR)
		return (uint8_t)(1u << (code & 7));
	return code == PCIE_MSG_PME_TO_ACK ? 1u << 7 : 0; /* 37h is no message */
}

/* It left, or it never will; it is off the queue. */
static void entry_over(struct fb_device *dev, struct fb_req *req, int status)
{
	switch (req->kind) {
	case REQ_WRITE:
		fb_req_finish(dev, req, status);
		return;
	case REQ_MSI:
	case REQ_INTX:
		fb_ep_irq_sent(dev, req);
		break;
	case REQ_MSG:
		dev->msg_queued &= (uint8_t)~message_bit(req->msg.code);
		break;
	case REQ_RING:
		dev->rings.queued &= ~(UINT64_C(1) << req->ring.slot);
		break;
	case REQ_OFFER:
		dev->offers.queued = false;
		break;
	case REQ_CPL:
		free(req->cpl.data);
		if (dev->port)
			fb_port_release(dev->port, req->cpl.credit);
		break;
	case REQ_READ:
		break;
	}
	fb_req_put(dev, req);
}

void fb_post_drain(struct fb_device *dev)
{
	struct fb_req *req;
	int result = ENTRY_DONE;

	if (dev->draining || dev->post_blocked || !dev->port)
		return;
	dev->draining = true;
	while ((req = TAILQ_FIRST(&dev->posted))) {
		while ((result = send_entry(dev, req)) == ENTRY_MORE)
			;
		if (result == -EAGAIN || result == -ENOTCONN) {
			dev->post_blocked = true; /* until writable(), or for good: down() will say */
			break;
		}
		TAILQ_REMOVE(&dev->posted, req, link);
		dev->posted_out++;
		entry_over(dev, req, result ? -EIO : 0);
	}
	dev->draining = false;
	if (!TAILQ_EMPTY(&dev->waiting))
		fb_read_issue(dev);
}

void fb_post(struct fb_device *dev, struct fb_req *req)
{
	TAILQ_INSERT_TAIL(&dev->posted, req, link);
	dev->posted_in++;
	fb_post_drain(dev);
}

void fb_post_message(struct fb_device *dev, uint8_t code, uint8_t route, uint32_t vendor_data)
{
	uint8_t bit = message_bit(code);
	struct fb_req *req;

	if (!dev->port || dev->msg_queued & bit) /* one that has not left yet says it all */
		return;
	req = fb_req_get(dev, REQ_MSG);
	if (!req)
		return;
	req->msg.code = code;
	req->msg.route = route;
	req->msg.vendor_data = vendor_data;
	dev->msg_queued |= bit;
	fb_post(dev, req);
}

/* True: it has left, or never will. False: it is queued with the credit. */
static bool answer(struct fb_device *dev, const struct pcie_tlp *request, struct fb_port_credit credit,
		   enum pcie_cpl_status status, const uint8_t *data, uint32_t len)
{
	uint32_t sent = 0, size = 0;
	struct fb_req *req;
	int result;

	if (TAILQ_EMPTY(&dev->posted)) {
		while ((result = send_completion(dev, request, status, data, len, &sent)) == ENTRY_MORE)
			;
		if (result != -EAGAIN)
			return true;
	}
	req = fb_req_get(dev, REQ_CPL);
	if (req && data) {
		size = request->length * 4u;
		req->cpl.data = malloc(size);
		if (!req->cpl.data) {
			fb_req_put(dev, req);
			req = NULL;
		} else {
			memcpy(req->cpl.data, data, size);
		}
	}
	if (!req) {
		fb_device_error(dev, "no memory for an answer: the request will time out");
		return true;
	}
	req->cpl.request = *request;
	req->cpl.request.data = NULL;
	req->cpl.status = status;
	req->cpl.len = len;
	req->cpl.sent = sent;
	req->cpl.credit = credit;
	fb_post(dev, req);
	return false;
}

bool fb_post_completion(struct fb_device *dev, const struct pcie_tlp *request, enum pcie_cpl_status status,
			const uint8_t *data, uint32_t len)
{
	return answer(dev, request, fb_port_credit(dev->port), status, data, len);
}

void fb_post_answer(struct fb_device *dev, const struct pcie_tlp *request, struct fb_port_credit credit,
		    enum pcie_cpl_status status, const uint8_t *data, uint32_t len)
{
	if (answer(dev, request, credit, status, data, len))
		fb_port_release(dev->port, credit);
}

static void cancel(struct fb_device *dev, bool all)
{
	struct fb_req *req, *next;

	for (req = TAILQ_FIRST(&dev->posted); req; req = next) {
		next = TAILQ_NEXT(req, link);
		if (!all && req->kind != REQ_WRITE && req->kind != REQ_MSI)
			continue;
		TAILQ_REMOVE(&dev->posted, req, link);
		dev->posted_out++;
		if (req->kind == REQ_MSI)
			dev->vectors[req->msi.vector].again = false;
		entry_over(dev, req, -ECANCELED);
	}
	/* What is left may be of a class that has room. */
	dev->post_blocked = false;
	fb_post_drain(dev);
}

void fb_post_cancel_master(struct fb_device *dev)
{
	cancel(dev, false);
}

void fb_post_cancel_all(struct fb_device *dev)
{
	cancel(dev, true);
}
