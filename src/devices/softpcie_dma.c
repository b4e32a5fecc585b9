/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of peers on the guest's memory: a read becomes DMA, its data goes back
 * in completions as a root complex makes them (cut at RCB and MPS); what cannot be
 * read is answered with UR, or CA. A write that cannot be done is dropped and
 * counted, as PCIe does.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/softpcie.h"
#include "util/text.h"

/* One request; from malloc once, then pooled: at most SOFTPCIE_DMA_MAX of them. */
struct softpcie_dma {
	struct softpcie *s;
	struct softpcie_dma *next;
	struct pcie_tlp request;
	uint64_t addr;
	uint32_t len;
	unsigned peer;
	uint16_t port;
	uint8_t *data;                        /* bytes + 4: completions begin and end with whole DWs */
	uint8_t bytes[PCIE_TLP_MAX_DATA + 8];
};

/* ---- What is allowed ----------------------------------------------------- */

int softpcie_dma_parse_allowed(struct softpcie *s)
{
	char *list = s->opt.allow ? strdup(s->opt.allow) : NULL, *cursor = list, *item;
	int err = 0;

	while (!err && (item = fb_next_item(&cursor, '+'))) {
		struct softpcie_range *r = &s->allowed[s->n_allowed];
		char *size = strchr(item, ':');
		uint64_t n;

		if (size)
			*size++ = '\0';
		if (s->n_allowed == SOFTPCIE_ALLOWED_MAX || !size || fb_parse_u64(item, &r->first) ||
		    (fb_parse_size(size, &n) && fb_parse_u64(size, &n)) || !n || r->first + (n - 1) < r->first) {
			fb_device_error(s->dev, "allow=%s: up to %d ranges START:SIZE, joined by +, for example 0x1000:4K",
					s->opt.allow, SOFTPCIE_ALLOWED_MAX);
			err = -EINVAL;
		} else {
			r->last = r->first + (n - 1);
			s->n_allowed++;
		}
	}
	free(list);
	return err;
}

static bool is_interrupt(const struct softpcie *s, uint64_t addr, uint32_t len)
{
	uint64_t target;
	uint32_t data;

	for (unsigned v = 0; v < SOFTPCIE_VECTORS; v++) {
		if (len == 4 && fb_irq_target(s->dev, v, &target, &data) && target == addr)
			return true;
	}
	return false;
}

static bool allowed(struct softpcie *s, const struct pcie_tlp *tlp, uint64_t addr, uint32_t len)
{
	uint64_t last = addr + (len ? len - 1 : 0);

	for (unsigned i = 0; i < s->n_allowed; i++) {
		if (addr >= s->allowed[i].first && last <= s->allowed[i].last)
			return true;
	}
	if (!s->n_allowed || (tlp->type == PCIE_TLP_MWR && is_interrupt(s, addr, len)))
		return true;
	s->count.peer_refused++;
	softpcie_say(s, SOFTPCIE_SAY_REFUSED, "%s of %u bytes at 0x%llx is outside of what is allowed",
		     pcie_tlp_type_name(tlp->type), len, (unsigned long long)addr);
	return false;
}

/* ---- Requests ------------------------------------------------------------ */

static struct softpcie_dma *get(struct softpcie *s)
{
	struct softpcie_dma *d = s->pool;

	if (s->n_dma >= SOFTPCIE_DMA_MAX)
		return NULL;
	if (d)
		s->pool = d->next;
	else
		d = malloc(sizeof(*d));
	if (!d)
		return NULL;
	d->s = s;
	d->data = d->bytes + 4;
	s->n_dma++;
	return d;
}

static void put(struct softpcie_dma *d)
{
	struct softpcie *s = d->s;

	s->n_dma--;
	d->next = s->pool;
	s->pool = d;
}

void softpcie_dma_free(struct softpcie *s)
{
	struct softpcie_dma *d;

	while ((d = s->pool)) {
		s->pool = d->next;
		free(d);
	}
}

static void complete(struct softpcie *s, unsigned peer, uint16_t port, const struct pcie_tlp *cpl)
{
	if (softpcie_send(s, peer, port, cpl))
		s->count.completions_lost++;
}

static void refuse(struct softpcie *s, unsigned peer, uint16_t port, const struct pcie_tlp *request,
		   enum pcie_cpl_status status)
{
	struct pcie_tlp cpl;

	if (request->type != PCIE_TLP_MRD)
		return;
	pcie_completion_status(request, SOFTPCIE_ROOT_ID, status, &cpl);
	complete(s, peer, port, &cpl);
}

static void read_done(void *arg, int status)
{
	struct softpcie_dma *d = arg;
	uint32_t pad = d->addr & 3, total = d->len, done = 0;
	struct pcie_tlp cpl;

	if (status) {
		d->s->count.peer_failed++;
		refuse(d->s, d->peer, d->port, &d->request,
		       status == -EFAULT || status == -ECANCELED ? PCIE_CPL_UR : PCIE_CPL_CA);
		put(d);
		return;
	}
	/* The bytes around the valid ones are seen by the requester: zeros. */
	memset(d->bytes, 0, 4);
	memset(d->data + total, 0, 4);
	do {
		uint32_t n = pcie_split_completion(d->addr + done, total - done, d->s->opt.mps, SOFTPCIE_RCB);

		pcie_completion_for(&d->request, SOFTPCIE_ROOT_ID, done, n, &cpl);
		cpl.data = d->data + done - (done ? 0 : pad);
		complete(d->s, d->peer, d->port, &cpl);
		done += n;
	} while (done < total);
	put(d);
}

/* The zero-length read, 2.2.5: a flush. Its one DW has no valid byte. */
static void flush_done(void *arg, int status)
{
	struct softpcie_dma *d = arg;

	memset(d->data, 0, 4);
	d->len = 0;
	read_done(d, status);
}

static void write_done(void *arg, int status)
{
	struct softpcie_dma *d = arg;

	d->s->count.peer_failed += status != 0;
	put(d);
}

/* The enabled bytes as runs: only requests of one or two DWs have holes in them (2.2.5). */
static int write(struct softpcie_dma *d, const struct pcie_tlp *tlp)
{
	unsigned be = tlp->first_be | (tlp->length == 2 ? (unsigned)tlp->last_be << 4 : 0), n = 0;
	struct fb_dma_seg segs[4] = {{d->addr, d->len}};
	uint32_t at = 0;

	if (tlp->length > 2) {
		memcpy(d->data, tlp->data + (d->addr & 3), d->len);
		return fb_dma_write(d->s->dev, d->addr, d->data, d->len, write_done, d);
	}
	while (be) {
		unsigned start = (unsigned)__builtin_ctz(be), len = (unsigned)__builtin_ctz(~(be >> start));

		segs[n++] = (struct fb_dma_seg){tlp->address + start, len};
		memcpy(d->data + at, tlp->data + start, len);
		at += len;
		be &= ~(((1u << len) - 1) << start);
	}
	return fb_dma_writev(d->s->dev, segs, n, d->data, write_done, d);
}

void softpcie_dma_request(struct softpcie *s, unsigned peer, uint16_t port, const struct pcie_tlp *tlp)
{
	bool is_write = tlp->type == PCIE_TLP_MWR;
	struct softpcie_dma *d;
	uint64_t addr;
	uint32_t len;
	int err;

	if (is_write)
		s->count.peer_writes++;
	else
		s->count.peer_reads++;
	pcie_tlp_get_range(tlp, &addr, &len);
	if (!allowed(s, tlp, addr, len)) {
		refuse(s, peer, port, tlp, PCIE_CPL_UR);
		return;
	}
	if (is_write && !len)
		return;
	d = get(s);
	if (!d) {
		/* A read is repeated by who wants it; an answer now would be an error to it. */
		s->count.peer_overload++;
		softpcie_say(s, SOFTPCIE_SAY_OVERLOAD, "more than %d requests of peers at a time: dropped", SOFTPCIE_DMA_MAX);
		return;
	}
	d->request = *tlp;
	d->request.data = NULL;
	d->peer = peer;
	d->port = port;
	d->addr = len ? addr : tlp->address;
	d->len = len;
	if (is_write)
		err = write(d, tlp);
	else if (len)
		err = fb_dma_read(s->dev, d->addr, d->data, len, read_done, d);
	else
		err = fb_dma_read(s->dev, d->addr, d->data, 4, flush_done, d);
	if (err) {
		s->count.peer_failed++;
		refuse(s, peer, port, tlp, err == -EPERM || err == -ENOTCONN ? PCIE_CPL_UR : PCIE_CPL_CA);
		put(d);
	}
}
