/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device against whatever a root may send, while the model uses the API as
 * models do. The input is a script: one byte says what happens next, the bytes
 * behind it are its arguments. TLPs come raw, through the decoder, as they do
 * in a port, and also made from fields, so that most of them are well formed.
 * What must hold: every request is answered at most once, with completions that
 * add up; done() is called once for each accepted transfer; nothing is sent
 * without a session, and no memory request while the function may not be master
 * or sleeps; no DMA lands outside what was asked; a use of an offer is a
 * read of just that; nothing leaks.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../model/endpoint/probe.h"
#include "endpoint/endpoint.h"
#include "tlp/offer_wire.h"
#include "tlp/regs.h"
#include "tlp/ring_wire.h"
#include "tlp/split.h"
#include "util/log.h"
#include "util/loop.h"
#include "util/reader.h"

enum { TRANSFERS = 32, HELD = 64, BUF = 6000, GUARD = 16 };

struct transfer {
	bool busy;
	uint32_t len;
	uint8_t buf[BUF + GUARD];
};

/* A request of the root that waits for its completions, or a read of the device that waits for ours. */
struct held {
	struct pcie_tlp tlp;
	uint32_t done, len;
};

static struct {
	struct fb_port port; /* first */
	struct fb_loop *loop;
	struct fb_device *dev;
	bool attached, refused[PCIE_FC_CLASSES];
	unsigned room; /* TLPs that the port takes before it says no */
	struct transfer transfers[TRANSFERS];
	struct held asked[256]; /* by tag: requests of ours, len != 0: not answered yet */
	struct held reads[HELD];
	unsigned n_reads, started, ended, sent;
	int64_t credits;
} f;

#define CHECK(what)                                                                                                    \
	do {                                                                                                           \
		if (!(what)) {                                                                                         \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what);                             \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

static void answered(const struct pcie_tlp *cpl)
{
	struct held *h = &f.asked[cpl->tag & 0xff];
	uint32_t n;

	CHECK(cpl->tag < 256 && h->len); /* it was asked, and not answered in full */
	CHECK(cpl->requester_id == h->tlp.requester_id);
	if (cpl->status != PCIE_CPL_SC || cpl->type == PCIE_TLP_CPL || cpl->type == PCIE_TLP_CPLLK) {
		CHECK(h->done == 0);
		h->len = 0;
		return;
	}
	CHECK(cpl->byte_count == h->len - h->done);
	n = cpl->length * 4u - (cpl->lower_address & 3);
	h->done += n < h->len - h->done ? n : h->len - h->done;
	if (h->done == h->len)
		h->len = 0;
}

static bool may_master(void)
{
	unsigned at = fb_device_config_read(f.dev, 0x34) & 0xfc;

	while (at && (fb_device_config_read(f.dev, at) & 0xff) != 1) /* power management */
		at = fb_device_config_read(f.dev, at) >> 8 & 0xfc;
	return fb_device_config_read(f.dev, PCI_COMMAND) & PCI_COMMAND_MASTER && !(at && fb_device_config_read(f.dev, at + 4) & 3);
}

static int port_send(struct fb_port *port, const struct pcie_tlp *tlp)
{
	uint8_t buf[PCIE_TLP_MAX_SIZE];
	struct pcie_tlp back;
	size_t len;

	(void)port;
	CHECK(f.attached);
	if (tlp->type == PCIE_TLP_MRD || tlp->type == PCIE_TLP_MWR)
		CHECK(may_master());
	if (f.room == 0) {
		f.refused[pcie_tlp_fc(tlp->type)] = true;
		return -EAGAIN;
	}
	f.room--;
	f.sent++;
	len = pcie_tlp_encode(tlp, buf, sizeof(buf), NULL);
	/* A model's MSI address may be anything the guest wrote, 4 GiB and beyond included: always encodable. */
	CHECK(len && pcie_tlp_decode(&back, buf, len) == PCIE_TLP_OK);
	if (pcie_tlp_fc(tlp->type) == PCIE_FC_CPL) {
		answered(tlp);
	} else if (tlp->type == PCIE_TLP_MRD && f.n_reads < HELD) {
		struct held *h = &f.reads[f.n_reads++];
		uint64_t addr;

		*h = (struct held){.tlp = *tlp};
		pcie_tlp_get_range(tlp, &addr, &h->len);
	}
	return 0;
}

static void port_release(struct fb_port *port, struct fb_port_credit credit)
{
	(void)port, (void)credit;
	f.credits--;
	CHECK(f.credits >= 0);
}

static void port_close(struct fb_port *port, int reason, const char *text)
{
	(void)port, (void)reason, (void)text;
	CHECK(false);
}

static const struct fb_port_ops ops = {port_send, port_release, port_close};

static void deliver(const struct pcie_tlp *tlp)
{
	uint8_t buf[PCIE_TLP_MAX_SIZE];
	struct pcie_tlp back;
	size_t len = pcie_tlp_encode(tlp, buf, sizeof(buf), NULL);

	if (!f.attached || !len || pcie_tlp_decode(&back, buf, len) != PCIE_TLP_OK)
		return;
	if (pcie_tlp_fc(back.type) == PCIE_FC_NP) {
		struct held *h = &f.asked[back.tag & 0xff];
		uint64_t addr;
		uint32_t n = 4;

		if (back.tag > 0xff || h->len) /* a root does not use a tag twice */
			return;
		if (back.type == PCIE_TLP_MRD)
			pcie_tlp_get_range(&back, &addr, &n);
		*h = (struct held){.tlp = back, .len = n ? n : 1};
	}
	f.port.current = (struct fb_port_credit){pcie_tlp_fc(back.type), (uint32_t)len};
	if (!f.port.user->tlp(f.port.arg, &back)) {
		CHECK(pcie_tlp_fc(back.type) != PCIE_FC_CPL);
		f.credits++;
	}
}

static void done(void *arg, int status)
{
	struct transfer *t = arg;

	CHECK(t->busy);
	CHECK(status == 0 || status == -EFAULT || status == -EIO || status == -ETIMEDOUT || status == -ECANCELED);
	for (unsigned i = 0; i < GUARD; i++)
		CHECK(t->buf[t->len + i] == 0xa5);
	t->busy = false;
	f.ended++;
}

/* DMA as a model starts it, with up to four segments. */
static void start(struct fb_reader *r, bool write)
{
	struct transfer *t = NULL;
	struct fb_dma_seg segs[4];
	unsigned n = 1 + fb_rd_u8(r) % 4;
	int err;

	for (unsigned i = 0; i < TRANSFERS && !t; i++)
		t = f.transfers[i].busy ? NULL : &f.transfers[i];
	if (!t)
		return;
	t->len = 0;
	for (unsigned i = 0; i < n; i++) {
		segs[i].addr = fb_rd_be(r, 5);
		segs[i].len = fb_rd_be16(r) % 1500;
		t->len += segs[i].len;
	}
	memset(t->buf + t->len, 0xa5, GUARD);
	t->busy = true;
	err = write ? fb_dma_writev(f.dev, segs, n, t->buf, done, t) : fb_dma_readv(f.dev, segs, n, t->buf, done, t);
	if (err)
		t->busy = false;
	else
		f.started++;
	CHECK(err == 0 || err == -EPERM || err == -ENOTCONN || err == -EINVAL);
}

/* Answers one read of the device: right, wrong, in part, twice. */
static void answer(struct fb_reader *r)
{
	static const uint8_t zeros[PCIE_TLP_MAX_DATA];
	struct pcie_tlp cpl;
	struct held *h;
	uint8_t how = fb_rd_u8(r);
	uint64_t addr;
	uint32_t bytes, n;

	if (!f.n_reads)
		return;
	h = &f.reads[fb_rd_u8(r) % f.n_reads];
	pcie_tlp_get_range(&h->tlp, &addr, &bytes);
	if (how < 20) {
		pcie_completion_status(&h->tlp, 0, how < 10 ? PCIE_CPL_UR : PCIE_CPL_CA, &cpl);
		h->done = h->len;
	} else {
		n = pcie_split_completion(addr + h->done, h->len - h->done, 128, 64);
		pcie_completion_for(&h->tlp, 0, h->done, n, &cpl);
		cpl.data = zeros;
		cpl.ep = how < 30;
		if (how < 60)
			cpl.tag ^= fb_rd_u8(r);
		if (how < 50)
			cpl.byte_count = (uint16_t)(1 + fb_rd_be16(r) % 4096);
		if (how >= 60 || how % 2)
			h->done += n;
	}
	deliver(&cpl);
	if (h->done >= h->len)
		*h = f.reads[--f.n_reads];
}

static void allow(unsigned room)
{
	f.room += room;
	for (unsigned cls = 0; cls < PCIE_FC_CLASSES; cls++) {
		if (f.room && f.refused[cls] && f.attached) {
			f.refused[cls] = false;
			f.port.user->writable(f.port.arg, (enum pcie_fc)cls);
		}
	}
}

static void session(bool on)
{
	if (f.attached == on)
		return;
	f.attached = on;
	memset(f.asked, 0, sizeof(f.asked));
	memset(f.refused, 0, sizeof(f.refused));
	f.n_reads = 0;
	f.credits = 0;
	if (on)
		fb_device_attach(f.dev, &f.port);
	else
		fb_device_detach(f.dev);
}

/* A request made of fields; addresses mostly near the BARs. */
static void request(struct fb_reader *r)
{
	static const uint32_t whats[] = {FB_RING_AHEAD, FB_RING_INDEX, FB_RING_ABLE, FB_OFFER_USED};
	static const uint64_t bases[] = {0xe0000000, 0x8000000000, 0x8000008000, 0x1000};
	static uint8_t data[PCIE_TLP_MAX_DATA];
	uint8_t kind = fb_rd_u8(r);
	struct pcie_tlp tlp = {.type = (enum pcie_tlp_type)(kind % PCIE_TLP_TYPES), .tag = fb_rd_u8(r)};
	uint32_t len = 1 + fb_rd_u8(r) * (kind & 0x80 ? 16u : 1u);
	const uint8_t *bytes;
	size_t n;

	tlp.address = bases[kind >> 5 & 3] + fb_rd_be16(r) % 0x1400;
	if (tlp.type == PCIE_TLP_IORD || tlp.type == PCIE_TLP_IOWR)
		len = 1 + len % 4;
	pcie_tlp_set_range(&tlp, tlp.address, len);
	if (kind & 0x10) {
		tlp.first_be = fb_rd_u8(r) & 0xf;
		tlp.last_be = tlp.length > 1 ? fb_rd_u8(r) & 0xf : 0;
	}
	tlp.completer_id = kind & 0x20 ? fb_rd_be16(r) : 0x0100;
	if (tlp.type >= PCIE_TLP_CFGRD0 && tlp.type <= PCIE_TLP_CFGWR1) {
		tlp.reg = fb_rd_be16(r) & (kind & 0x40 ? 0xffc : 0x1fc);
		tlp.length = 1;
		tlp.first_be = fb_rd_u8(r) & 0xf;
		tlp.last_be = 0;
	}
	if (tlp.type >= PCIE_TLP_FETCHADD)
		tlp.length = 1 + (tlp.type == PCIE_TLP_CAS);
	tlp.msg_code = fb_rd_u8(r);
	tlp.msg_route = kind >> 5 & 7;
	if (tlp.msg_code == PCIE_MSG_VENDOR_TYPE1) {
		tlp.vendor_id = FB_RING_VENDOR;
		tlp.vendor_data = whats[tlp.tag % 4];
	}
	tlp.byte_count = 1 + tlp.address % 4096;
	tlp.lower_address = tlp.address & 0x7f;
	tlp.requester_id = pcie_tlp_fc(tlp.type) == PCIE_FC_CPL ? 0x0100 : 0;
	tlp.ep = tlp.msg_code == 0xff;
	n = r->left < 8 ? r->left : 8;
	bytes = n ? fb_rd_bytes(r, n) : NULL;
	for (size_t i = 0; bytes && i < tlp.length * 4u && i < sizeof(data); i += n)
		memcpy(data + i, bytes, n < sizeof(data) - i ? n : sizeof(data) - i);
	tlp.data = bytes && pcie_tlp_has_data(tlp.type) ? data : NULL;
	if (!pcie_tlp_has_data(tlp.type) || tlp.data)
		deliver(&tlp);
}

static void raw(struct fb_reader *r)
{
	size_t n = fb_rd_be16(r) % 512;
	const uint8_t *bytes;
	struct pcie_tlp tlp;

	n = n < r->left ? n : r->left;
	bytes = fb_rd_bytes(r, n);
	if (bytes && pcie_tlp_decode(&tlp, bytes, n) == PCIE_TLP_OK)
		deliver(&tlp);
}

/* Enough of an enumeration that requests hit. */
static void config_write(uint16_t reg, uint32_t value)
{
	uint8_t data[4];
	struct pcie_tlp tlp = {.type = PCIE_TLP_CFGWR0,
			       .completer_id = 0x0100,
			       .reg = reg,
			       .length = 1,
			       .first_be = 0xf,
			       .tag = 0xff,
			       .data = data};

	fb_put_le32(data, value);
	while (tlp.tag && f.asked[tlp.tag].len)
		tlp.tag--;
	deliver(&tlp);
}

static void enumerate(void)
{
	static const struct fb_device_ring ring = {.reg = 0x40, .base = 0x1000, .entry_size = 64, .entries = 16,
						   .shadow = 0x2000, .event = 0x2004};

	config_write(0x10, 0xe0000000);
	config_write(0x18, 0);
	config_write(0x1c, 0x80);
	config_write(0x20, 0x1000);
	config_write(0x78, 0x5130);
	config_write(0x04, 7);
	config_write(0xb0, 0x80000000);
	fb_device_ring_set(f.dev, 0, &ring);
}

/* What reads would give now: some registers of BAR 0 and BAR 2. */
static void offer(uint8_t what)
{
	struct probe *p = fb_device_state(f.dev);
	struct fb_device_value values[3];
	unsigned n = what % 4;

	for (unsigned i = 0; i < n; i++) {
		values[i] = (struct fb_device_value){.bar = what & 0x10 ? 2 : 0, .size = 4, .inert = what & 0x20 && i == 0,
						     .lowers_intx = what & 0x40, .offset = 0x40 + 4 * i};
		values[i].value = fb_get_le32((values[i].bar ? p->bar2 : p->bar0) + values[i].offset);
	}
	fb_device_offer(f.dev, values, n);
}

/* One of the accesses that the model has deferred. */
static bool end_access(uint8_t which)
{
	struct probe *p = fb_device_state(f.dev);
	struct fb_access **late;

	if (!p->n_late)
		return false;
	late = &p->late[which % p->n_late];
	if (which & 0x80)
		fb_access_fail(*late);
	else
		fb_access_complete(*late, which * 0x0101010101010101ull);
	*late = p->late[--p->n_late];
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct fb_reader r = fb_reader(bytes, size);
	struct fb_function_info info;

	fb_log_set_level(FB_LOG_ERROR);
	memset(&f, 0, sizeof(f));
	f.port.ops = &ops;
	f.room = 1000000;
	CHECK(fb_loop_new(&f.loop, 0) == 0);
	CHECK(fb_device_new_model(&f.dev, f.loop, &probe_model, "id=f") == 0);
	session(true);
	enumerate();
	for (unsigned steps = 0; r.left && steps < 2000; steps++) {
		uint8_t what = fb_rd_u8(&r);

		switch (what % 16) {
		case 0:
		case 1:
		case 2:
		case 3:
			request(&r);
			break;
		case 4:
			raw(&r);
			break;
		case 5:
		case 6:
			start(&r, what & 0x10);
			break;
		case 7:
		case 8:
		case 9:
			answer(&r);
			break;
		case 10:
			if (what & 0x80)
				offer(fb_rd_u8(&r));
			else
				fb_irq(f.dev, fb_rd_u8(&r));
			break;
		case 11:
			fb_intx_set(f.dev, what & 0x10);
			break;
		case 12:
			if (what & 0x10)
				f.room = what >> 5;
			else
				allow(1u << (what >> 5) * 2);
			break;
		case 13:
			CHECK(fb_loop_once(f.loop, 0) == 0);
			break;
		case 14:
			if (what < 0x40)
				session(!f.attached);
			else if (what < 0x80)
				enumerate();
			else if (what < 0xc0)
				fb_device_internal_error(f.dev, what & 0x10);
			else if (what & 0x10)
				((struct probe *)fb_device_state(f.dev))->defer ^= true;
			else
				end_access(fb_rd_u8(&r));
			break;
		case 15: {
			uint16_t reg = (uint16_t)(fb_rd_u8(&r) * 4);

			config_write(reg, fb_rd_be32(&r));
			break;
		}
		}
	}
	((struct probe *)fb_device_state(f.dev))->defer = false;
	while (end_access(0))
		;
	/* With room for all, everything that waits comes out, and every request has its answer. */
	allow(1000000);
	CHECK(fb_loop_once(f.loop, 0) == 0);
	if (f.attached) {
		for (unsigned tag = 0; tag < 256; tag++)
			CHECK(f.asked[tag].len == 0);
		CHECK(f.credits == 0);
	}
	session(false);
	CHECK(f.started == f.ended);
	fb_device_counters(f.dev, &info);
	CHECK(info.bad_offers == 0);
	fb_device_free(f.dev);
	fb_loop_free(f.loop);
	return 0;
}
