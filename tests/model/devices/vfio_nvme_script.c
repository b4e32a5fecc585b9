/* SPDX-License-Identifier: Apache-2.0 */
#include "vfio_nvme_script.h"

struct nv w;

/* ---- Commands ----------------------------------------------------------------------------------- */

struct nvme_sqe command(unsigned opc, unsigned cid, uint64_t prp1, uint64_t prp2)
{
	struct nvme_sqe e = {.opc = (uint8_t)opc};

	nvme_put16(&e.cid, (uint16_t)cid);
	nvme_put32(&e.nsid, 1);
	nvme_put64(&e.prp1, prp1);
	nvme_put64(&e.prp2, prp2);
	return e;
}

struct nvme_sqe admin(unsigned opc, unsigned cid, uint64_t prp1, uint32_t cdw10, uint32_t cdw11)
{
	struct nvme_sqe e = command(opc, cid, prp1, 0);

	nvme_put32(&e.cdw10, cdw10);
	nvme_put32(&e.cdw11, cdw11);
	return e;
}

struct nvme_sqe rw(unsigned opc, unsigned cid, unsigned blocks, uint64_t prp1, uint64_t prp2)
{
	struct nvme_sqe e = command(opc, cid, prp1, prp2);

	nvme_put32(&e.cdw12, blocks - 1);
	return e;
}

unsigned given(unsigned qid, const struct nvme_sqe *want, struct nvme_sqe *e)
{
	assert_true(nv_command(&w, qid, e));
	assert_int_equal(e->opc, want->opc);
	assert_int_equal(e->flags, want->flags);
	assert_int_equal(nvme_get32(e->nsid), nvme_get32(want->nsid));
	assert_int_equal(nvme_get32(e->cdw12), nvme_get32(want->cdw12));
	assert_int_equal(nvme_get64(e->mptr), 0);
	return nvme_get16(e->cid);
}

unsigned hand_over(unsigned qid, const struct nvme_sqe *e, struct nvme_sqe *seen)
{
	nv_submit(&w, qid, e);
	nv_run(&w);
	return given(qid, e, seen);
}

void give_nothing(unsigned qid)
{
	struct nvme_sqe e;

	nv_run(&w);
	assert_false(nv_command(&w, qid, &e));
}

uint32_t ended(unsigned qid, unsigned cid, unsigned status)
{
	struct nvme_cqe e;

	assert_true(nv_completion(&w, qid, &e));
	assert_int_equal(nvme_get16(e.cid), cid);
	assert_int_equal(nvme_get16(e.status) >> 1, status);
	assert_int_equal(nvme_get16(e.sqid), qid);
	nv_seen(&w, qid);
	return nvme_get32(e.dw0);
}

void ends_nothing(unsigned qid)
{
	struct nvme_cqe e;

	assert_false(nv_completion(&w, qid, &e));
}

uint32_t carry(unsigned qid, const struct nvme_sqe *command_, struct nvme_sqe *seen, unsigned status, uint32_t dw0)
{
	unsigned id = hand_over(qid, command_, seen);

	nv_complete(&w, qid, qid, id, status, dw0);
	nv_run(&w);
	return ended(qid, nvme_get16(command_->cid), status);
}

void refused(unsigned qid, const struct nvme_sqe *e, unsigned status)
{
	uint64_t before = w.n->count.refused;

	nv_submit(&w, qid, e);
	give_nothing(qid);
	assert_int_equal(ended(qid, nvme_get16(e->cid), status | NVME_SC_DNR), 0);
	assert_int_equal(w.n->count.refused, before + 1);
}

void create_cq(unsigned qid, unsigned entries)
{
	struct nvme_sqe e = admin(NVME_ADM_CREATE_CQ, 0x700 + qid, CQ(qid), qid | (entries - 1) << 16, 3 | qid << 16), seen;

	carry(0, &e, &seen, 0, 0);
	w.guest_cq[qid] = (struct nv_ring){.at = CQ(qid), .size = entries, .phase = true};
}

void create_sq(unsigned qid, unsigned entries)
{
	struct nvme_sqe e = admin(NVME_ADM_CREATE_SQ, 0x780 + qid, SQ(qid), qid | (entries - 1) << 16, 1 | qid << 16), seen;

	carry(0, &e, &seen, 0, 0);
	w.guest_sq[qid] = (struct nv_ring){.at = SQ(qid), .size = entries};
}

void identify_namespace(unsigned flbas, unsigned ms)
{
	struct nvme_sqe e = admin(NVME_ADM_IDENTIFY, 0x600, DATA, NVME_CNS_NS, 0), seen;
	struct nvme_id_ns *id;

	hand_over(0, &e, &seen);
	id = nv_pool(&w, nvme_get64(seen.prp1), PAGE);
	memset(id, 0, PAGE);
	nvme_put64(&id->nsze, 1 << 20);
	id->flbas = (uint8_t)flbas;
	id->lbaf[0].lbads = 9;
	nvme_put16(&id->lbaf[0].ms, (uint16_t)ms);
	nv_complete(&w, 0, 0, nvme_get16(seen.cid), 0, 0);
	nv_run(&w);
	ended(0, 0x600, 0);
}

void begin_with(bool pin, const char *more)
{
	nv_begin(&w, pin, more, MEM);
	w.r->keep_log = true;
	nv_enable(&w, SQ(0), CQ(0), ENTRIES);
	nv_run(&w);
	assert_int_equal(nv_read(&w, NVME_REG_CSTS, 4), NVME_CSTS_RDY);
}

void begin(const char *more)
{
	begin_with(false, more);
}

void begin_io(unsigned entries, const char *more)
{
	begin(more);
	identify_namespace(0, 0);
	create_cq(1, entries);
	create_sq(1, entries);
	scripted_root_forget(w.r);
}

/* ---- What the guest's memory sees ------------------------------------------------------------------- */

void expect_dma(const struct dma *want, unsigned n)
{
	const struct scripted_tlp *t;
	struct dma got[64] = {0};
	unsigned count = 0;

	while ((t = scripted_root_take(w.r))) {
		uint64_t addr;
		uint32_t len;

		if ((t->tlp.type != PCIE_TLP_MRD && t->tlp.type != PCIE_TLP_MWR) || t->tlp.address == SCRIPTED_MSI_ADDRESS)
			continue;
		pcie_tlp_get_range(&t->tlp, &addr, &len);
		if (count && got[count - 1].type == t->tlp.type && got[count - 1].addr + got[count - 1].len == addr) {
			got[count - 1].len += len;
			continue;
		}
		assert_in_range(count, 0, 63);
		got[count++] = (struct dma){t->tlp.type, addr, len};
	}
	for (unsigned i = 0; i < n && i < count; i++) {
		assert_int_equal(got[i].type, want[i].type);
		assert_int_equal(got[i].addr, want[i].addr);
		assert_int_equal(got[i].len, want[i].len);
	}
	assert_int_equal(count, n);
	scripted_root_forget(w.r);
}

uint8_t *mem(uint64_t addr, uint64_t len)
{
	return scripted_root_mem(w.r, addr, len);
}

void fill(uint8_t *p, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(i * 7 + i / 251 + seed);
}

void expect_fill(const uint8_t *p, size_t len, size_t from, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		assert_int_equal(p[i], (uint8_t)((i + from) * 7 + (i + from) / 251 + seed));
}
