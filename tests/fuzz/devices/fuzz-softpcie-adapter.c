/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SoftPCIe adapter between a hostile guest, a hostile network and a root that
 * does anything: the input is a script of register accesses, datagrams of peers
 * and strangers (any bytes, or nearly right ones), answers to the guest's reads,
 * resets, and faults of the bus. Nothing may crash, leak or hang; all that the
 * adapter sends is well-formed, on the port it belongs to, and within its MPS;
 * DMA touches nothing but what peers may reach; and at rest nothing is held.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "devices/models.h"
#include "devices/softpcie.h"
#include "scripted_root.h"
#include "softpcie_peer.h"
#include "util/log.h"
#include "util/reader.h"

enum { MEM = 1 << 16, BASE = 0x1000000, ALLOWED = 0x8000, MAX_STEPS = 200, PEERS = 3, PORTS = 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz {
	struct scripted_root *r;
	struct softpcie *s;
	struct softpcie_peer peers[PEERS]; /* the last one is a stranger */
	struct fb_reader in;
	bool limited;
	unsigned mps;
};

static void must(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "fuzz-softpcie-adapter: not so: %s\n", what);
		abort();
	}
}

/* A port of the adapter: those of tags 0..15, and its services. */
static uint16_t port_of(uint8_t v)
{
	static const uint16_t services[] = {SOFTPCIE_PORT_MESSAGE, SOFTPCIE_PORT_CONFIG, SOFTPCIE_PORT_REGISTER,
					    SOFTPCIE_PORT_CONFIG_OLD};

	switch (v >> 6) {
	case 0:
	case 1:
		return (uint16_t)(SOFTPCIE_PORT_DEVICE + (v & 15));
	case 2:
		return (uint16_t)(SOFTPCIE_PORT_HOST + (v & 15));
	default:
		return services[v & 3];
	}
}

/* ---- What comes from the adapter ----------------------------------------- */

/* A completion for a read of the guest: right, or wrong in one way. */
static void answer(struct fuzz *f, const struct pcie_tlp *request, uint16_t port, uint8_t how)
{
	uint8_t data[64];
	struct pcie_tlp cpl;
	uint64_t addr;
	uint32_t len;

	memset(data, how, sizeof(data));
	pcie_tlp_get_range(request, &addr, &len);
	if ((how & 7) == 1) {
		pcie_completion_status(request, 0x700, how & 8 ? PCIE_CPL_CA : PCIE_CPL_UR, &cpl);
	} else {
		pcie_completion_for(request, 0x700, 0, len, &cpl);
		cpl.data = data;
		cpl.ep = (how & 7) == 2;
		cpl.tag ^= (how & 7) == 3;
		cpl.requester_id ^= (how & 7) == 4;
		if ((how & 7) == 5) /* more is said to follow */
			cpl.byte_count += 4;
		if ((how & 7) == 6)
			cpl.lower_address ^= 4;
	}
	if (pcie_tlp_size(&cpl))
		softpcie_peer_tlp(&f->peers[(how & 7) == 7 ? 1 : 0], port, &cpl);
	if (how & 0x80 && pcie_tlp_size(&cpl)) /* twice */
		softpcie_peer_tlp(&f->peers[0], port, &cpl);
}

/* Takes what lies at the peers' sockets and looks at it; `how` NULL: the guest's reads stay without answer. */
static void take(struct fuzz *f, const uint8_t *how)
{
	uint8_t buf[SOFTPCIE_DATAGRAM_MAX + 1];
	ssize_t n;

	for (unsigned i = 0; i < PEERS; i++) {
		struct softpcie_peer *p = &f->peers[i];

		for (unsigned k = 0; k < p->n; k++) {
			uint16_t port = p->sockets[k].port;

			while ((n = softpcie_peer_get(p, port, buf, sizeof(buf))) >= 0) {
				struct softpcie_header header;
				struct pcie_tlp tlp;
				const uint8_t *bytes;
				size_t len;

				must(i < PEERS - 1, "strangers hear nothing");
				if (port == SOFTPCIE_PORT_MESSAGE || port == SOFTPCIE_PORT_CONFIG || port == SOFTPCIE_PORT_REGISTER ||
				    (port == SOFTPCIE_PORT_CONFIG_OLD && n == SOFTPCIE_CONFIG_SIZE))
					continue;
				must(softpcie_parse(buf, (size_t)n, &header, &bytes, &len) == 0, "a datagram has header and TLP");
				must(pcie_tlp_decode(&tlp, bytes, len) == PCIE_TLP_OK, "TLPs of the adapter are well-formed");
				must(softpcie_port_fits(&tlp, port, f->s->opt.old_ports), "a TLP is on the port of its tag");
				must(tlp.type != PCIE_TLP_CPLD || tlp.length * 4u <= f->mps, "completions are within MPS");
				must(i == 0 || tlp.type == PCIE_TLP_CPL || tlp.type == PCIE_TLP_CPLD, "the guest's accesses go to the first");
				if (how && tlp.type == PCIE_TLP_MRD)
					answer(f, &tlp, port, *how);
			}
		}
	}
}

static void check_dma(struct fuzz *f)
{
	const struct scripted_tlp *t;
	uint64_t addr;
	uint32_t len;

	while ((t = scripted_root_take(f->r))) {
		if (!f->limited || (t->tlp.type != PCIE_TLP_MRD && t->tlp.type != PCIE_TLP_MWR) ||
		    (t->tlp.type == PCIE_TLP_MWR && t->tlp.address == SCRIPTED_MSI_ADDRESS && t->tlp.length == 1))
			continue;
		pcie_tlp_get_range(&t->tlp, &addr, &len);
		/* A zero-length read becomes one of its DW. */
		must(addr >= BASE && addr + len <= BASE + ALLOWED, "DMA is within what is allowed");
	}
	scripted_root_forget(f->r);
}

/* ---- What goes to it ----------------------------------------------------- */

static uint64_t address(struct fuzz *f)
{
	static const uint64_t bases[] = {BASE, BASE + ALLOWED - 64, BASE + MEM - 64, SCRIPTED_MSI_ADDRESS, BASE, 0, UINT64_MAX - 255, BASE};
	uint8_t v = fb_rd_u8(&f->in);

	return bases[v & 7] + (uint64_t)fb_rd_u8(&f->in) * (v & 8 ? 33 : 1);
}

static void peer_request(struct fuzz *f, bool is_write)
{
	uint8_t v = fb_rd_u8(&f->in), data[PCIE_TLP_MAX_DATA + 8];
	struct pcie_tlp tlp = {.type = is_write ? PCIE_TLP_MWR : PCIE_TLP_MRD, .requester_id = 0x700, .tag = v & 15};
	uint64_t addr = address(f);
	uint32_t len = fb_rd_u8(&f->in), room = 4096 - (uint32_t)(addr & 4095);
	uint8_t be = fb_rd_u8(&f->in);

	len = v & 0x80 ? len * 16 + 1 : len % 9;
	len = len > room ? room : len;
	if (len) {
		pcie_tlp_set_range(&tlp, addr, len);
	} else { /* any byte enables: holes, none */
		tlp.address = addr & ~7ull;
		tlp.length = v & 0x40 ? 2 : 1;
		tlp.first_be = be & 15;
		tlp.last_be = v & 0x40 ? be >> 4 : 0;
	}
	memset(data, be, sizeof(data));
	tlp.data = is_write ? data : NULL;
	tlp.td = (be & 0x18) == 0x18;
	tlp.tc = v & 0x20 ? be & 7 : 0;
	tlp.attr = v & 0x20 ? be >> 3 & 7 : 0;
	if (pcie_tlp_size(&tlp))
		softpcie_peer_tlp(&f->peers[v >> 4 & 1], (uint16_t)(SOFTPCIE_PORT_DEVICE + tlp.tag), &tlp);
}

static void raw_datagram(struct fuzz *f, struct softpcie_peer *p)
{
	uint16_t port = port_of(fb_rd_u8(&f->in));
	size_t len = fb_rd_u8(&f->in), more = len >> 6 == 3 ? len * 16 : 0, have;
	static uint8_t bytes[5000];
	const uint8_t *given;

	have = len > f->in.left ? f->in.left : len;
	given = fb_rd_bytes(&f->in, have);
	memset(bytes, 0, sizeof(bytes));
	if (given && have)
		memcpy(bytes, given, have);
	softpcie_peer_bytes(p, port, port, bytes, have + more);
}

static void reset(struct fuzz *f, bool session)
{
	struct scripted_root *r = f->r;

	if (session) {
		scripted_root_detach(r);
		scripted_root_attach(r);
	} else {
		unsigned at = r->cap_exp + 8u;

		scripted_root_cfg_write(r, at, scripted_root_cfg_read(r, at, 2) | 0x8000, 2);
		scripted_root_drop_reads(r);
	}
	for (unsigned i = 0; i < SOFTPCIE_HOST_TAGS; i++)
		must(f->s->tags[i].access == NULL, "no access survives a reset");
	must(!f->s->first, "nor does one that waits for a tag");
	check_dma(f); /* and their completions are forgotten: their tags come again while the root enumerates */
	scripted_root_enumerate(r, NULL);
}

static void guest_access(struct fuzz *f, bool is_write)
{
	uint8_t v = fb_rd_u8(&f->in), bytes[64];
	unsigned bar = v & 1 ? f->s->register_bar : f->s->window_bar;
	uint64_t offset = (fb_rd_le16(&f->in) + (v & 2 ? f->r->bar_size[bar] - 65536 : 0)) & (f->r->bar_size[bar] - 1);
	uint32_t len = v & 4 ? 1u + (v >> 3) : 1u << (v >> 3 & 3), room = 64 - (uint32_t)(offset & 63);

	memset(bytes, v, sizeof(bytes));
	scripted_root_memory(f->r, f->r->bar[bar] + offset, is_write ? bytes : NULL, len > room ? room : len);
}

static void step(struct fuzz *f)
{
	struct scripted_root *r = f->r;
	uint8_t v;

	switch (fb_rd_u8(&f->in) & 15) {
	case 0:
	case 1:
		guest_access(f, false);
		break;
	case 2:
		guest_access(f, true);
		break;
	case 3:
	case 4:
		peer_request(f, false);
		break;
	case 5:
		peer_request(f, true);
		break;
	case 6:
	case 7:
		raw_datagram(f, &f->peers[0]);
		break;
	case 8:
		v = fb_rd_u8(&f->in);
		raw_datagram(f, &f->peers[v % PEERS]);
		break;
	case 9:
		v = fb_rd_u8(&f->in);
		scripted_root_run(r);
		take(f, &v);
		break;
	case 10:
		r->answer = (enum scripted_answer)(fb_rd_u8(&f->in) % (ANSWER_POISONED + 1));
		break;
	case 11:
		scripted_root_answer_now(r, (enum scripted_answer)(fb_rd_u8(&f->in) % (ANSWER_POISONED + 1)));
		break;
	case 12:
		reset(f, fb_rd_u8(&f->in) & 1);
		break;
	case 13:
		scripted_root_cfg_write(r, 4, fb_rd_u8(&f->in) & 7, 2);
		break;
	case 14:
		if (fb_rd_u8(&f->in) & 1)
			scripted_root_enable_msi(r, SOFTPCIE_VECTORS);
		else if (scripted_root_cfg_read(r, 4, 2) & 2)
			scripted_root_enable_msix(r);
		break;
	default: /* the loop runs, and a little time passes: 1 ms is the shortest time-out */
		v = fb_rd_u8(&f->in);
		scripted_root_run(r);
		if (v & 1)
			fb_loop_once(r->loop, fb_clock_ns() + 1100000);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz f = {.in = fb_reader(data, size)};
	uint8_t shape = fb_rd_u8(&f.in);
	char options[256];

	alarm(60); /* a hang is a finding */
	fb_log_set_level(FB_LOG_NONE);
	for (unsigned i = 0; i < PEERS; i++)
		softpcie_peer_open(&f.peers[i], i);
	f.limited = shape & 16;
	f.mps = shape & 32 ? 128 : 1024;
	snprintf(options, sizeof(options), "id=f,listen=%s,peer=%s+%s,engine=%s,old-ports=%s,window-bar=%s,config-writes=%s,mps=%u,"
		 "mmio-timeout=%s,bar4=64K%s", f.peers[0].adapter, f.peers[0].name, f.peers[1].name, shape & 1 ? "on" : "off",
		 shape & 2 ? "on" : "off", shape & 4 ? "0" : "4", shape & 8 ? "on" : "off", f.mps, shape & 64 ? "1ms" : "60s",
		 f.limited ? ",allow=0x1000000:32K" : "");
	f.r = scripted_root_new(fb_model_find(fb_models, "softpcie"), options, MEM);
	f.r->mem_base = BASE;
	f.r->keep_log = f.r->foreign = true;
	f.s = fb_device_state(f.r->dev);
	scripted_root_enumerate(f.r, NULL);
	for (unsigned i = 0; i < MAX_STEPS && f.in.left; i++) {
		step(&f);
		check_dma(&f);
	}

	/* At rest: what is in the sockets is taken, what waits is ended by a reset. */
	f.r->answer = ANSWER_IN_ORDER;
	scripted_root_answer_now(f.r, ANSWER_IN_ORDER);
	scripted_root_run(f.r);
	reset(&f, false);
	scripted_root_run(f.r);
	must(f.s->n_dma == 0, "no request of a peer is left");
	must(f.r->held_credits == f.r->released_credits, "all credits are given back");
	must(f.s->count.completions_lost == 0, "every completion could be sent");
	check_dma(&f);
	take(&f, NULL);
	scripted_root_free(f.r);
	for (unsigned i = 0; i < PEERS; i++)
		softpcie_peer_close(&f.peers[i]);
	alarm(0);
	return 0;
}
