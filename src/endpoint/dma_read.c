/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A read is cut at MRRS and 4 KiB; each piece takes a tag and is reassembled
 * straight into the model's buffer. A read is in one of three lists:
 *
 *	waiting   posted work that was queued before it has not left yet (post.c)
 *	reading   has pieces to send. Its head sends one and goes to the end, so a
 *	          long read does not hold up a short one
 *	issued    all sent
 *
 * A tag is free, active, or in quarantine: when its read was given up (an
 * error of another piece, timeout, reset), its completions may still come, and
 * must neither reach the old buffer nor pass for those of a new read. It is
 * free again when they have come, or after two more completion timeouts
 * (never less than a second). Completions of a tag come in order, so
 * pcie_reassembly_feed() without a buffer knows when they have.
 *
 * Free tags are used in turn, oldest first. Active tags and quarantine are
 * lists in order of time, so that one timer serves all: it is set when there is
 * something to wait for, and looks at the heads when it is due.
 */
#include <errno.h>
#include <stdlib.h>

#include "endpoint/device_impl.h"
#include "tlp/regs.h"

#define MIN_QUARANTINE_NS 1000000000ull

/* ---- Tag lists ------------------------------------------------------------------ */

static void tag_append(struct fb_device *dev, struct fb_tag_list *list, uint16_t tag)
{
	struct fb_tag *t = &dev->tags[tag];

	t->prev = list->last;
	t->next = NO_TAG;
	if (list->last != NO_TAG)
		dev->tags[list->last].next = tag;
	else
		list->first = tag;
	list->last = tag;
}

static void tag_remove(struct fb_device *dev, struct fb_tag_list *list, uint16_t tag)
{
	struct fb_tag *t = &dev->tags[tag];

	if (t->prev != NO_TAG)
		dev->tags[t->prev].next = t->next;
	else
		list->first = t->next;
	if (t->next != NO_TAG)
		dev->tags[t->next].prev = t->prev;
	else
		list->last = t->prev;
}

static void tag_free(struct fb_device *dev, struct fb_tag_list *from, uint16_t tag)
{
	tag_remove(dev, from, tag);
	dev->tags[tag].state = TAG_FREE;
	dev->tags[tag].req = NULL;
	if (tag >= dev->view.tag_first && tag < dev->view.tag_end)
		tag_append(dev, &dev->free_tags, tag);
}

static uint64_t quarantine_ns(const struct fb_device *dev)
{
	uint64_t timeout = dev->view.timeout_ns == FB_NEVER ? dev->options.completion_timeout_ns : dev->view.timeout_ns;

	return 2 * timeout < MIN_QUARANTINE_NS ? MIN_QUARANTINE_NS : 2 * timeout;
}

static void watch(struct fb_device *dev)
{
	uint64_t due = FB_NEVER, t;

	if (dev->active_tags.first != NO_TAG && dev->view.timeout_ns != FB_NEVER)
		due = dev->tags[dev->active_tags.first].since + dev->view.timeout_ns;
	if (dev->quarantine.first != NO_TAG) {
		t = dev->tags[dev->quarantine.first].since + quarantine_ns(dev);
		due = t < due ? t : due;
	}
	/* A timer that is due too early looks and is set again. */
	if (due == FB_NEVER || (dev->timeout.heap_index && dev->timeout.deadline_ns <= due))
		return;
	if (fb_timer_set(dev->loop, &dev->timeout, due) < 0)
		fb_device_error(dev, "no memory for a timer: reads do not time out");
}

static void tag_quarantine(struct fb_device *dev, uint16_t tag, bool quiet)
{
	struct fb_tag *t = &dev->tags[tag];

	tag_remove(dev, &dev->active_tags, tag);
	t->req->dma.in_flight--;
	t->state = TAG_QUARANTINE;
	t->req = NULL;
	t->r.buf = NULL;
	t->quiet = quiet;
	t->since = fb_loop_now(dev->loop);
	tag_append(dev, &dev->quarantine, tag);
	watch(dev);
}

static void put_in(struct fb_req_list *list, struct fb_req *req)
{
	TAILQ_INSERT_TAIL(list, req, link);
	req->dma.in = list;
}

/* The table grows to what the mode needs: most functions never use 10-bit tags. */
static bool tags_ready(struct fb_device *dev)
{
	struct fb_tag *more;

	if (dev->n_tags >= dev->view.tag_end)
		return true;
	more = realloc(dev->tags, dev->view.tag_end * sizeof(*more));
	if (!more) {
		fb_device_error(dev, "no memory for %u tags: reads wait", dev->view.tag_end);
		return false;
	}
	dev->tags = more;
	for (uint32_t i = dev->n_tags; i < dev->view.tag_end; i++)
		dev->tags[i] = (struct fb_tag){.state = TAG_FREE};
	dev->n_tags = dev->view.tag_end;
	fb_read_tags_changed(dev);
	return true;
}

void fb_read_tags_changed(struct fb_device *dev)
{
	dev->free_tags = (struct fb_tag_list){NO_TAG, NO_TAG};
	for (uint32_t i = dev->view.tag_first; i < dev->view.tag_end && i < dev->n_tags; i++) {
		if (dev->tags[i].state == TAG_FREE)
			tag_append(dev, &dev->free_tags, (uint16_t)i);
	}
	watch(dev);
	fb_read_issue(dev);
}

/* One piece failed: the rest is not asked for any more, and what is on its way goes nowhere. */
static void fail_read(struct fb_device *dev, struct fb_req *req, int status)
{
	uint16_t tag, next;

	for (tag = dev->active_tags.first; tag != NO_TAG && req->dma.in_flight > 0; tag = next) {
		next = dev->tags[tag].next;
		if (dev->tags[tag].req == req)
			tag_quarantine(dev, tag, true);
	}
	TAILQ_REMOVE(req->dma.in, req, link);
	dev->stats.dma_errors++;
	fb_req_finish(dev, req, status);
}

/* ---- Sending -------------------------------------------------------------------- */

/* 0, or -errno of the port. */
static int issue_one(struct fb_device *dev, struct fb_req *req, uint16_t tag)
{
	struct fb_tag *t = &dev->tags[tag];
	struct pcie_tlp tlp = {.type = PCIE_TLP_MRD, .requester_id = dev->bdf, .tag = tag};
	uint64_t addr;
	uint32_t len = fb_req_next(req, dev->view.mrrs, &addr);
	int err;

	pcie_tlp_set_range(&tlp, addr, len);
	tlp.attr = dev->view.ido ? PCIE_ATTR_IDO : 0;
	/* All is in place before the TLP leaves. */
	tag_remove(dev, &dev->free_tags, tag);
	pcie_reassembly_start(&t->r, dev->bdf, addr, len, req->dma.buf + req->dma.buf_off);
	t->req = req;
	t->state = TAG_ACTIVE;
	t->since = fb_loop_now(dev->loop);
	tag_append(dev, &dev->active_tags, tag);
	err = fb_port_send(dev->port, &tlp);
	if (err) {
		tag_free(dev, &dev->active_tags, tag);
		return err;
	}
	req->dma.in_flight++;
	fb_req_advance(req, len);
	return 0;
}

void fb_read_issue(struct fb_device *dev)
{
	struct fb_req *req;
	bool sent = false;

	if (dev->issuing || !dev->port)
		return;
	while ((req = TAILQ_FIRST(&dev->waiting)) && req->dma.order <= dev->posted_out) {
		TAILQ_REMOVE(&dev->waiting, req, link);
		put_in(&dev->reading, req);
	}
	if (dev->np_blocked || TAILQ_EMPTY(&dev->reading) || !tags_ready(dev))
		return;
	dev->issuing = true;
	while ((req = TAILQ_FIRST(&dev->reading)) && dev->free_tags.first != NO_TAG) {
		int err = issue_one(dev, req, dev->free_tags.first);

		if (err == -EAGAIN || err == -ENOTCONN) {
			dev->np_blocked = true; /* until writable(), or for good: down() will say */
			break;
		}
		if (err) { /* refused by the codec: cannot be, but must not spin */
			fail_read(dev, req, -EIO);
			continue;
		}
		TAILQ_REMOVE(&dev->reading, req, link);
		sent = true;
		if (req->dma.seg < req->n_segs)
			put_in(&dev->reading, req);
		else
			put_in(&dev->issued, req);
	}
	dev->issuing = false;
	if (sent)
		watch(dev);
}

void fb_read_start(struct fb_device *dev, struct fb_req *req)
{
	req->dma.order = dev->posted_in;
	put_in(&dev->waiting, req);
	fb_read_issue(dev);
}

/* ---- Ending --------------------------------------------------------------------- */

static void failed_completion(struct fb_device *dev, const struct pcie_reassembly *r, const struct pcie_tlp *cpl)
{
	uint16_t bits = 0;

	/* Role-based error reporting: the completer reports; the requester sets Status bits (7.5.1.1.4). */
	if (r->poisoned) {
		bits = PCI_STATUS_DETECTED_PARITY;
		if (fb_cfg16(dev, PCI_COMMAND) & PCI_COMMAND_PARITY)
			bits |= PCI_STATUS_MASTER_PARITY;
		fb_aer_report(dev, FB_ERR_POISONED, cpl, false);
	} else if (r->status == PCIE_CPL_UR) {
		bits = PCI_STATUS_REC_MASTER_ABORT;
	} else if (r->status == PCIE_CPL_CA) {
		bits = PCI_STATUS_REC_TARGET_ABORT;
	}
	fb_cfg_set16(dev, PCI_STATUS, fb_cfg16(dev, PCI_STATUS) | bits);
}

static void unexpected(struct fb_device *dev, const struct pcie_tlp *cpl)
{
	dev->stats.unexpected_completions++;
	fb_device_log_tlp(dev, cpl, "unexpected completion");
	fb_aer_report(dev, FB_ERR_UNEXPECTED_COMPLETION, cpl, true);
}

void fb_read_completion(struct fb_device *dev, const struct pcie_tlp *cpl)
{
	struct fb_tag *t = cpl->tag < dev->n_tags ? &dev->tags[cpl->tag] : NULL;
	enum pcie_reassembly_result result;
	struct pcie_reassembly failed;
	struct fb_req *req;

	if (!t || t->state == TAG_FREE) {
		unexpected(dev, cpl);
		return;
	}
	req = t->req;
	result = pcie_reassembly_feed(&t->r, cpl);
	if (t->state == TAG_QUARANTINE) {
		if (result == PCIE_REASSEMBLY_MISMATCH || !t->quiet)
			unexpected(dev, cpl);
		else
			dev->stats.unexpected_completions++;
		if (result == PCIE_REASSEMBLY_DONE || result == PCIE_REASSEMBLY_FAILED) {
			tag_free(dev, &dev->quarantine, cpl->tag);
			fb_read_issue(dev);
		}
		return;
	}
	switch (result) {
	case PCIE_REASSEMBLY_MISMATCH:
		unexpected(dev, cpl);
		return;
	case PCIE_REASSEMBLY_MORE:
		return;
	case PCIE_REASSEMBLY_DONE:
		dev->stats.dma_read_bytes += t->r.len;
		tag_free(dev, &dev->active_tags, cpl->tag);
		if (--req->dma.in_flight == 0 && req->dma.seg == req->n_segs) {
			TAILQ_REMOVE(req->dma.in, req, link);
			fb_req_finish(dev, req, 0);
		}
		break;
	case PCIE_REASSEMBLY_FAILED:
		failed = t->r; /* reporting may send, and sending may move the table */
		tag_free(dev, &dev->active_tags, cpl->tag);
		req->dma.in_flight--;
		failed_completion(dev, &failed, cpl);
		fail_read(dev, req, failed.status == PCIE_CPL_UR ? -EFAULT : -EIO);
		break;
	}
	fb_read_issue(dev);
}

void fb_read_timeout(struct fb_timer *timer)
{
	struct fb_device *dev = (struct fb_device *)((char *)timer - offsetof(struct fb_device, timeout));
	uint64_t now = fb_loop_now(dev->loop);
	uint16_t tag;

	while ((tag = dev->active_tags.first) != NO_TAG && dev->view.timeout_ns != FB_NEVER) {
		struct fb_tag *t = &dev->tags[tag];
		struct fb_req *req = t->req;

		if (now < t->since + dev->view.timeout_ns)
			break;
		dev->stats.dma_timeouts++;
		fb_device_warn(dev, "no completion for the read of %u bytes at 0x%llx (tag %u) within %llu ms", t->r.len,
			       (unsigned long long)t->r.address, tag,
			       (unsigned long long)(dev->view.timeout_ns / 1000000));
		tag_quarantine(dev, tag, false);
		fb_aer_report(dev, FB_ERR_COMPLETION_TIMEOUT, NULL, false);
		fail_read(dev, req, -ETIMEDOUT);
	}
	while ((tag = dev->quarantine.first) != NO_TAG && now >= dev->tags[tag].since + quarantine_ns(dev))
		tag_free(dev, &dev->quarantine, tag);
	watch(dev);
	fb_read_issue(dev);
}

void fb_read_cancel(struct fb_device *dev, bool quiet)
{
	struct fb_req_list *lists[] = {&dev->waiting, &dev->reading, &dev->issued};
	struct fb_req *req;

	while (dev->active_tags.first != NO_TAG)
		tag_quarantine(dev, dev->active_tags.first, quiet);
	for (unsigned i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		while ((req = TAILQ_FIRST(lists[i]))) {
			TAILQ_REMOVE(lists[i], req, link);
			fb_req_finish(dev, req, -ECANCELED);
		}
	}
}

void fb_read_forget(struct fb_device *dev)
{
	while (dev->quarantine.first != NO_TAG)
		tag_free(dev, &dev->quarantine, dev->quarantine.first);
	fb_timer_cancel(&dev->timeout);
}
