/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "scripted_root.h"
#include "tlp/regs.h"
#include "tlp/ring_wire.h"
#include "tlp/split.h"
#include "util/reader.h"

enum { MEM_BASE = 0x10000000, REQUESTER = 0x0000, ANSWER_SECONDS = 20 };

/* A DMA read that has not been answered in full. */
struct scripted_read {
	struct pcie_tlp request;
	uint64_t addr;
	uint32_t len, done;
};

static struct scripted_root *root_of(struct fb_port *port)
{
	return (struct scripted_root *)port;
}

static uint64_t random_u64(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* ---- The port, as the device sees it ------------------------------------------------ */

static void log_tlp(struct scripted_root *r, const struct pcie_tlp *tlp)
{
	struct scripted_tlp *entry;

	if (r->n_log == r->log_cap) {
		r->log_cap = r->log_cap ? 2 * r->log_cap : 16;
		r->log = realloc(r->log, r->log_cap * sizeof(*r->log));
		assert_non_null(r->log);
	}
	entry = &r->log[r->n_log++];
	entry->tlp = *tlp;
	entry->tlp.data = NULL;
	if (tlp->data)
		memcpy(entry->data, tlp->data, tlp->length * 4u);
}

static bool mapped(const struct scripted_root *r, uint64_t addr, uint64_t len)
{
	return addr >= r->mem_base && fb_in_range(addr - r->mem_base, len, r->mem_size);
}

/* Memory requests, messages of interrupts among them, are for functions that may be master, and are awake. */
static void assert_master(const struct scripted_root *r)
{
	assert_true(fb_device_config_read(r->dev, 4) & PCI_COMMAND_MASTER);
	assert_true(!r->cap_pm || !(fb_device_config_read(r->dev, r->cap_pm + 4u) & 3));
}

static void memory_write(struct scripted_root *r, const struct pcie_tlp *tlp)
{
	uint64_t addr;
	uint32_t len;

	assert_master(r);
	pcie_tlp_get_range(tlp, &addr, &len);
	if (tlp->address == SCRIPTED_MSI_ADDRESS && !r->foreign) {
		uint32_t vector = fb_get_le32(tlp->data);

		assert_int_equal(tlp->length, 1);
		assert_int_equal(tlp->first_be, 0xf);
		assert_in_range(vector, 0, 2047);
		r->irqs[vector]++;
		log_tlp(r, tlp);
		return;
	}
	r->dma_writes++;
	r->dma_write_bytes += len;
	if (r->keep_log)
		log_tlp(r, tlp);
	if (!mapped(r, addr, len)) {
		r->unmapped++;
		return;
	}
	memcpy(r->mem + (addr - r->mem_base), tlp->data + (addr & 3), len);
}

static void memory_read(struct scripted_root *r, const struct pcie_tlp *tlp)
{
	struct scripted_read *read;

	assert_master(r);
	r->dma_reads++;
	if (r->keep_log)
		log_tlp(r, tlp);
	for (unsigned i = 0; i < r->n_reads && !r->foreign; i++)
		assert_int_not_equal(r->reads[i].request.tag, tlp->tag); /* a tag is used once at a time */
	if (r->n_reads == r->reads_cap) {
		r->reads_cap = r->reads_cap ? 2 * r->reads_cap : 16;
		r->reads = realloc(r->reads, r->reads_cap * sizeof(*r->reads));
		assert_non_null(r->reads);
	}
	read = &r->reads[r->n_reads++];
	*read = (struct scripted_read){.request = *tlp};
	pcie_tlp_get_range(tlp, &read->addr, &read->len);
	r->dma_read_bytes += read->len;
	fb_flush_schedule(r->loop, &r->flush);
}

static void message(struct scripted_root *r, const struct pcie_tlp *tlp)
{
	switch (tlp->msg_code) {
	case PCIE_MSG_ASSERT_INTA:
		assert_false(r->intx);
		r->intx = true;
		r->intx_asserts++;
		break;
	case PCIE_MSG_DEASSERT_INTA:
		assert_true(r->intx);
		r->intx = false;
		r->intx_deasserts++;
		break;
	case PCIE_MSG_ERR_COR:
		r->err_cor++;
		break;
	case PCIE_MSG_ERR_NONFATAL:
		r->err_nonfatal++;
		break;
	case PCIE_MSG_ERR_FATAL:
		r->err_fatal++;
		break;
	default:
		break;
	}
	log_tlp(r, tlp);
}

static int port_send(struct fb_port *port, const struct pcie_tlp *sent)
{
	struct scripted_root *r = root_of(port);
	enum pcie_fc cls = pcie_tlp_fc(sent->type);
	uint8_t buf[PCIE_TLP_MAX_SIZE];
	enum pcie_tlp_error error;
	struct pcie_tlp tlp;
	size_t len;

	assert_true(r->attached); /* nobody sends after the session */
	if (r->room[cls] == 0) {
		r->refused[cls] = true;
		return -EAGAIN;
	}
	if (r->room[cls] > 0)
		r->room[cls]--;

	/* Over the wire and back: what the codec refuses or changes is the device's mistake. */
	len = pcie_tlp_encode(sent, buf, sizeof(buf), &error);
	if (!len)
		fail_msg("the device sent a TLP that cannot be: %s", pcie_tlp_error_name(error));
	assert_int_equal(pcie_tlp_decode(&tlp, buf, len), PCIE_TLP_OK);

	switch (tlp.type) {
	case PCIE_TLP_MWR:
		memory_write(r, &tlp);
		break;
	case PCIE_TLP_MRD:
		memory_read(r, &tlp);
		break;
	case PCIE_TLP_MSG:
	case PCIE_TLP_MSGD:
		message(r, &tlp);
		break;
	default:
		log_tlp(r, &tlp);
		break;
	}
	return 0;
}

static void port_release(struct fb_port *port, struct fb_port_credit credit)
{
	(void)credit;
	root_of(port)->released_credits++;
}

static void port_close(struct fb_port *port, int reason, const char *text)
{
	(void)port, (void)reason, (void)text;
	fail_msg("the device closed the port");
}

static const struct fb_port_ops port_ops = {.send = port_send, .release = port_release, .close = port_close};

/* Hands a TLP to the device, over the wire. */
static void deliver(struct scripted_root *r, const struct pcie_tlp *tlp)
{
	uint8_t buf[PCIE_TLP_MAX_SIZE];
	enum pcie_tlp_error error;
	struct pcie_tlp decoded;
	size_t len = pcie_tlp_encode(tlp, buf, sizeof(buf), &error);

	if (!len)
		fail_msg("the test sends a TLP that cannot be: %s", pcie_tlp_error_name(error));
	assert_int_equal(pcie_tlp_decode(&decoded, buf, len), PCIE_TLP_OK);
	r->port.current = (struct fb_port_credit){.cls = pcie_tlp_fc(tlp->type), .bytes = (uint32_t)len};
	bool held = !r->port.user->tlp(r->port.arg, &decoded);

	if (pcie_tlp_fc(tlp->type) != PCIE_FC_CPL)
		r->held = held;
	if (held)
		r->held_credits++;
}

/* ---- Answers to DMA reads --------------------------------------------------------------- */

/* One completion; true when the read is answered in full. */
static bool answer_piece(struct scripted_root *r, struct scripted_read *read, enum scripted_answer how)
{
	enum pcie_cpl_status error = how == ANSWER_CA ? PCIE_CPL_CA : PCIE_CPL_UR;
	uint64_t at = read->addr + read->done;
	uint8_t data[PCIE_TLP_MAX_DATA + 8] = {0};
	struct pcie_tlp cpl;
	uint32_t mps = r->mps, n;

	if (how == ANSWER_UR || how == ANSWER_CA || !mapped(r, read->addr, read->len)) {
		if (how != ANSWER_UR && how != ANSWER_CA)
			r->unmapped++;
		pcie_completion_status_at(&read->request, REQUESTER, error, read->done, &cpl);
		deliver(r, &cpl);
		return true;
	}
	if (how == ANSWER_SHUFFLED) {
		while (mps > r->rcb && random_u64(&r->seed) & 1)
			mps /= 2;
	}
	n = pcie_split_completion(at, read->len - read->done, mps, r->rcb);
	pcie_completion_for(&read->request, REQUESTER, read->done, n, &cpl);
	memcpy(data + (at & 3), r->mem + (at - r->mem_base), n);
	cpl.data = data;
	cpl.ep = how == ANSWER_POISONED;
	read->done += n;
	deliver(r, &cpl);
	return read->done == read->len;
}

void scripted_root_answer_now(struct scripted_root *r, enum scripted_answer how)
{
	struct scripted_read *reads = r->reads;
	unsigned n = r->n_reads;

	/* The device may send new reads meanwhile: they start a list of their own. */
	r->reads = NULL;
	r->n_reads = r->reads_cap = 0;
	while (n > 0) {
		unsigned i = how == ANSWER_REVERSED ? n - 1 : how == ANSWER_SHUFFLED ? (unsigned)(random_u64(&r->seed) % n) : 0;
		struct scripted_read read = reads[i];
		bool over = answer_piece(r, &read, how);

		if (how != ANSWER_SHUFFLED) {
			while (!over)
				over = answer_piece(r, &read, how);
		}
		reads[i] = read;
		if (over) {
			memmove(reads + i, reads + i + 1, (n - i - 1) * sizeof(*reads));
			n--;
		}
	}
	free(reads);
}

static void answer_flush(struct fb_flush *flush)
{
	struct scripted_root *r = (struct scripted_root *)((char *)flush - offsetof(struct scripted_root, flush));

	if (r->answer != ANSWER_NEVER && r->attached)
		scripted_root_answer_now(r, r->answer);
}

/* ---- Life ----------------------------------------------------------------------------------- */

static struct scripted_root *new_root(struct fb_loop *loop, uint64_t mem_size)
{
	struct scripted_root *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	r->loop = loop;
	r->mem_base = MEM_BASE;
	r->mem_size = mem_size;
	r->mem = calloc(1, mem_size ? mem_size : 1);
	assert_non_null(r->mem);
	r->mps = 512;
	r->rcb = 64;
	r->seed = 1;
	r->port.ops = &port_ops;
	r->flush.flush = answer_flush;
	for (unsigned i = 0; i < PCIE_FC_CLASSES; i++)
		r->room[i] = -1;
	return r;
}

struct scripted_root *scripted_root_new(const struct fb_model *model, const char *options, uint64_t mem_size)
{
	struct scripted_root *r;
	struct fb_loop *loop;

	assert_int_equal(fb_loop_new(&loop, 0), 0);
	r = new_root(loop, mem_size);
	assert_int_equal(fb_device_new_model(&r->dev, r->loop, model, options), 0);
	r->owner = true;
	scripted_root_attach(r);
	return r;
}

struct scripted_root *scripted_root_function(struct scripted_root *first, unsigned number, uint64_t mem_size)
{
	struct scripted_root *r = new_root(first->loop, mem_size);

	r->dev = fb_device_function(first->dev, number);
	assert_non_null(r->dev);
	scripted_root_attach(r);
	return r;
}

void scripted_root_attach(struct scripted_root *r)
{
	assert_false(r->attached);
	r->attached = true;
	r->intx = false;
	r->held_credits = r->released_credits = 0;
	fb_device_attach(r->dev, &r->port);
}

void scripted_root_detach(struct scripted_root *r)
{
	assert_true(r->attached);
	r->attached = false;
	r->n_reads = 0;
	r->refused[0] = r->refused[1] = r->refused[2] = false;
	fb_device_detach(r->dev);
}

void scripted_root_drop_reads(struct scripted_root *r)
{
	r->n_reads = 0;
}

void scripted_root_free(struct scripted_root *r)
{
	if (r->attached) {
		scripted_root_answer_now(r, ANSWER_IN_ORDER);
		scripted_root_run(r);
		if (r->room[PCIE_FC_P] != 0 && r->room[PCIE_FC_CPL] != 0)
			assert_int_equal(r->held_credits, r->released_credits);
		scripted_root_detach(r);
	}
	fb_flush_cancel(&r->flush);
	if (r->owner) {
		fb_device_free(r->dev);
		fb_loop_free(r->loop);
	}
	free(r->reads);
	free(r->log);
	free(r->mem);
	free(r);
}

void scripted_root_run(struct scripted_root *r)
{
	unsigned quiet = 0;

	/* Idle is two rounds in which the device sent nothing and no work was found. */
	for (unsigned round = 0; quiet < 2; round++) {
		uint64_t busy = fb_loop_stats(r->loop)->busy_rounds, sent = r->dma_reads + r->dma_writes + r->n_log;

		/* The device's own thread, if it has one, works beside us: then wait a little for what it does. */
		assert_int_equal(fb_loop_once(r->loop, fb_thread_settled(r->dev) ? 0 : fb_clock_ns() + 1000000), 0);
		if (fb_loop_stats(r->loop)->busy_rounds == busy && r->dma_reads + r->dma_writes + r->n_log == sent &&
		    fb_thread_settled(r->dev))
			quiet++;
		else
			quiet = 0;
		assert_in_range(round, 0, 1000000);
	}
}

bool scripted_root_until(struct scripted_root *r, bool (*cond)(void *arg), void *arg, unsigned ms)
{
	uint64_t end = fb_clock_ns() + ms * 1000000ull;

	while (!cond(arg)) {
		if (fb_clock_ns() >= end)
			return false;
		assert_int_equal(fb_loop_once(r->loop, end), 0);
	}
	return true;
}

void *scripted_root_mem(struct scripted_root *r, uint64_t addr, uint64_t len)
{
	assert_true(mapped(r, addr, len));
	return r->mem + (addr - r->mem_base);
}

/* ---- TLPs by hand ------------------------------------------------------------------------------ */

uint16_t scripted_root_send(struct scripted_root *r, struct pcie_tlp *tlp)
{
	tlp->requester_id = pcie_tlp_fc(tlp->type) == PCIE_FC_CPL ? tlp->requester_id : REQUESTER;
	if (pcie_tlp_fc(tlp->type) == PCIE_FC_NP)
		tlp->tag = r->tag = (r->tag + 1) & 0xff;
	deliver(r, tlp);
	return tlp->tag;
}

uint16_t scripted_root_memory(struct scripted_root *r, uint64_t addr, const void *data, uint32_t len)
{
	struct pcie_tlp tlp = {.type = data ? PCIE_TLP_MWR : PCIE_TLP_MRD};
	uint8_t payload[PCIE_TLP_MAX_DATA + 8] = {0};

	pcie_tlp_set_range(&tlp, addr, len);
	if (data) {
		memcpy(payload + (addr & 3), data, len);
		tlp.data = payload;
	}
	return scripted_root_send(r, &tlp);
}

void scripted_root_message(struct scripted_root *r, uint32_t what, const void *data, uint32_t len)
{
	uint8_t payload[FB_RING_AHEAD_HEADER + FB_RING_AHEAD_MAX] = {0};
	struct pcie_tlp tlp = {.type = PCIE_TLP_MSGD,
			       .completer_id = SCRIPTED_BDF,
			       .msg_code = PCIE_MSG_VENDOR_TYPE1,
			       .msg_route = PCIE_ROUTE_BY_ID,
			       .vendor_id = FB_RING_VENDOR,
			       .vendor_data = what,
			       .length = (uint16_t)((len + 3) / 4),
			       .data = payload};

	assert_in_range(len, 0, sizeof(payload));
	memcpy(payload, data, len);
	scripted_root_send(r, &tlp);
}

void scripted_root_ahead(struct scripted_root *r, uint64_t addr, uint32_t claimed, const void *data, uint32_t len)
{
	uint8_t payload[FB_RING_AHEAD_HEADER + FB_RING_AHEAD_MAX] = {0};

	assert_in_range(len, 0, FB_RING_AHEAD_MAX);
	fb_put_le64(payload, addr);
	fb_put_le32(payload + 8, claimed);
	memcpy(payload + FB_RING_AHEAD_HEADER, data, len);
	scripted_root_message(r, FB_RING_AHEAD, payload, FB_RING_AHEAD_HEADER + len);
}

const struct scripted_tlp *scripted_root_take(struct scripted_root *r)
{
	struct scripted_tlp *entry;

	if (r->next == r->n_log)
		return NULL;
	entry = &r->log[r->next++];
	entry->tlp.data = entry->tlp.length && pcie_tlp_has_data(entry->tlp.type) ? entry->data : NULL;
	return entry;
}

const struct scripted_tlp *scripted_root_expect(struct scripted_root *r, enum pcie_tlp_type type)
{
	const struct scripted_tlp *t = scripted_root_take(r);
	char text[160];

	if (!t)
		fail_msg("expected %s, but the device sent nothing more", pcie_tlp_type_name(type));
	else if (t->tlp.type != type)
		fail_msg("expected %s, got %s", pcie_tlp_type_name(type), pcie_tlp_describe(&t->tlp, text, sizeof(text)));
	return t;
}

const struct scripted_tlp *scripted_root_expect_message(struct scripted_root *r, uint32_t what)
{
	const struct scripted_tlp *t = scripted_root_expect(r, PCIE_TLP_MSGD);

	assert_int_equal(t->tlp.msg_code, PCIE_MSG_VENDOR_TYPE1);
	assert_int_equal(t->tlp.msg_route, PCIE_ROUTE_TO_ROOT);
	assert_int_equal(t->tlp.vendor_id, FB_RING_VENDOR);
	assert_int_equal(t->tlp.vendor_data, what);
	assert_int_equal(t->tlp.requester_id, SCRIPTED_BDF);
	return t;
}

void scripted_root_expect_nothing(struct scripted_root *r)
{
	const struct scripted_tlp *t = scripted_root_take(r);
	char text[160];

	if (t)
		fail_msg("expected nothing, got %s", pcie_tlp_describe(&t->tlp, text, sizeof(text)));
}

void scripted_root_forget(struct scripted_root *r)
{
	r->n_log = r->next = 0;
}

void scripted_root_allow(struct scripted_root *r, enum pcie_fc cls, int64_t more)
{
	r->room[cls] = more < 0 ? -1 : (r->room[cls] < 0 ? 0 : r->room[cls]) + more;
	if (r->room[cls] != 0 && r->refused[cls]) {
		r->refused[cls] = false;
		r->port.user->writable(r->port.arg, cls);
	}
}

/* ---- Configuration and registers ------------------------------------------------------------------- */

/*
 * The completions of the request just sent, in one piece, taken out of the log
 * (posted TLPs that it set off stay there).
 */
static bool collect_some(struct scripted_root *r, uint16_t tag, uint8_t *data, uint32_t len, uint32_t *done,
			 enum pcie_cpl_status *out)
{
	uint32_t got = *done;

	for (unsigned i = r->next; i < r->n_log; i++) {
		struct pcie_tlp *cpl = &r->log[i].tlp;
		uint32_t n;

		if (pcie_tlp_fc(cpl->type) != PCIE_FC_CPL || cpl->tag != tag || cpl->requester_id != REQUESTER)
			continue;
		n = cpl->type == PCIE_TLP_CPLD ? cpl->length * 4u - (cpl->lower_address & 3) : 0;
		n = n > len - got ? len - got : n;
		if (n)
			memcpy(data + got, r->log[i].data + (cpl->lower_address & 3), n);
		got += n;
		enum pcie_cpl_status status = cpl->status;
		memmove(&r->log[i], &r->log[i + 1], (r->n_log - i - 1) * sizeof(r->log[0]));
		r->n_log--;
		i--;
		if (status != PCIE_CPL_SC || got == len) {
			*out = status;
			return true;
		}
	}
	*done = got;
	return false;
}

static enum pcie_cpl_status collect(struct scripted_root *r, uint16_t tag, uint8_t *data, uint32_t len)
{
	uint64_t end = fb_clock_ns() + ANSWER_SECONDS * 1000000000ull;
	enum pcie_cpl_status status = PCIE_CPL_CA;
	uint32_t got = 0;

	while (!collect_some(r, tag, data, len, &got, &status)) {
		if (!r->held || fb_clock_ns() >= end)
			fail_msg("no completion for tag %u (%u of %u bytes)", tag, got, len);
		fb_loop_once(r->loop, end); /* the model answers later */
	}
	return status;
}

uint32_t scripted_root_cfg_read(struct scripted_root *r, unsigned offset, unsigned size)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_CFGRD0,
			       .length = 1,
			       .completer_id = SCRIPTED_BDF,
			       .reg = (uint16_t)(offset & ~3u),
			       .first_be = (uint8_t)(((1u << size) - 1) << (offset & 3))};
	uint8_t data[4];

	assert_true((offset & 3) + size <= 4);
	assert_int_equal(collect(r, scripted_root_send(r, &tlp), data, 4), PCIE_CPL_SC);
	return (uint32_t)((fb_get_le32(data) >> 8 * (offset & 3)) & ((1ull << 8 * size) - 1));
}

void scripted_root_cfg_write(struct scripted_root *r, unsigned offset, uint32_t value, unsigned size)
{
	uint8_t data[4];
	struct pcie_tlp tlp = {.type = PCIE_TLP_CFGWR0,
			       .length = 1,
			       .data = data,
			       .completer_id = SCRIPTED_BDF,
			       .reg = (uint16_t)(offset & ~3u),
			       .first_be = (uint8_t)(((1u << size) - 1) << (offset & 3))};

	assert_true((offset & 3) + size <= 4);
	fb_put_le32(data, value << 8 * (offset & 3));
	assert_int_equal(collect(r, scripted_root_send(r, &tlp), data, 0), PCIE_CPL_SC);
}

uint64_t scripted_root_read(struct scripted_root *r, unsigned bar, uint64_t offset, unsigned size)
{
	struct pcie_tlp tlp = {.type = r->bar_io[bar] ? PCIE_TLP_IORD : PCIE_TLP_MRD};
	uint64_t addr = r->bar[bar] + offset;
	uint8_t data[8] = {0};
	uint16_t tag;

	assert_true(fb_in_range(offset, size, r->bar_size[bar]));
	pcie_tlp_set_range(&tlp, addr, size);
	tag = scripted_root_send(r, &tlp);
	if (r->bar_io[bar]) {
		assert_int_equal(collect(r, tag, data, 4), PCIE_CPL_SC);
		return (fb_get_le32(data) >> 8 * (addr & 3)) & ((1ull << 8 * size) - 1);
	}
	assert_int_equal(collect(r, tag, data, size), PCIE_CPL_SC);
	return fb_get_le64(data);
}

void scripted_root_write(struct scripted_root *r, unsigned bar, uint64_t offset, uint64_t value, unsigned size)
{
	uint8_t bytes[8];

	assert_true(fb_in_range(offset, size, r->bar_size[bar]));
	fb_put_le64(bytes, value);
	if (r->bar_io[bar]) {
		struct pcie_tlp tlp = {.type = PCIE_TLP_IOWR};
		uint8_t data[4] = {0};
		uint16_t tag;

		pcie_tlp_set_range(&tlp, r->bar[bar] + offset, size);
		memcpy(data + (offset & 3), bytes, size);
		tlp.data = data;
		tag = scripted_root_send(r, &tlp);
		assert_int_equal(collect(r, tag, NULL, 0), PCIE_CPL_SC);
		return;
	}
	scripted_root_memory(r, r->bar[bar] + offset, bytes, size);
}

/* ---- Enumeration ---------------------------------------------------------------------------------------- */

static void assign_bars(struct scripted_root *r)
{
	uint64_t next32 = 0xe0000000, next64 = 0x8000000000, next_io = 0x1000;

	for (unsigned i = 0; i < 6; i++) {
		unsigned at = 0x10 + 4 * i;
		uint32_t low, high = ~0u;
		uint64_t mask, *next;

		scripted_root_cfg_write(r, at, ~0u, 4);
		low = scripted_root_cfg_read(r, at, 4);
		r->bar_size[i] = r->bar[i] = 0;
		if (!low)
			continue;
		r->bar_io[i] = low & 1;
		bool is_64 = !r->bar_io[i] && (low & 6) == 4;
		if (is_64) {
			scripted_root_cfg_write(r, at + 4, ~0u, 4);
			high = scripted_root_cfg_read(r, at + 4, 4);
		}
		mask = ((uint64_t)high << 32 | low) & ~(r->bar_io[i] ? 3ull : 15ull);
		r->bar_size[i] = ~mask + 1;
		assert_int_equal(r->bar_size[i] & (r->bar_size[i] - 1), 0);
		next = r->bar_io[i] ? &next_io : is_64 ? &next64 : &next32;
		r->bar[i] = (*next + r->bar_size[i] - 1) & ~(r->bar_size[i] - 1);
		*next = r->bar[i] + r->bar_size[i];
		scripted_root_cfg_write(r, at, (uint32_t)r->bar[i], 4);
		if (is_64) {
			scripted_root_cfg_write(r, at + 4, (uint32_t)(r->bar[i] >> 32), 4);
			i++;
			r->bar_size[i] = r->bar[i] = 0;
		}
	}
}

static void walk_capabilities(struct scripted_root *r)
{
	unsigned n = 0;

	r->cap_pm = r->cap_msi = r->cap_msix = r->cap_exp = r->ext_aer = 0;
	assert_true(scripted_root_cfg_read(r, 6, 2) & 0x10);
	for (uint32_t at = scripted_root_cfg_read(r, 0x34, 1); at; at = scripted_root_cfg_read(r, at + 1, 1)) {
		uint16_t *where[256] = {[0x01] = &r->cap_pm, [0x05] = &r->cap_msi, [0x10] = &r->cap_exp, [0x11] = &r->cap_msix};
		uint16_t *cap = where[scripted_root_cfg_read(r, at, 1)];

		assert_in_range(at, 0x40, 0xfc);
		assert_int_equal(at & 3, 0);
		assert_in_range(n++, 0, 48);
		if (cap) {
			assert_int_equal(*cap, 0); /* each once */
			*cap = (uint16_t)at;
		}
	}
	n = 0;
	for (uint32_t at = 0x100; at; at = scripted_root_cfg_read(r, at, 4) >> 20) {
		assert_in_range(at, 0x100, 0xffc);
		assert_in_range(n++, 0, 64);
		if ((scripted_root_cfg_read(r, at, 4) & 0xffff) == 1)
			r->ext_aer = (uint16_t)at;
	}
	assert_int_not_equal(r->cap_exp, 0);
}

void scripted_root_enumerate(struct scripted_root *r, const struct scripted_config *config)
{
	static const struct scripted_config usual = {.extended_tag = true};
	const struct scripted_config *c = config ? config : &usual;
	uint32_t mps = c->mps ? c->mps : 512, mrrs = c->mrrs ? c->mrrs : 4096, control;

	assign_bars(r);
	walk_capabilities(r);
	control = scripted_root_cfg_read(r, r->cap_exp + 8u, 2) & ~0x71e0u;
	control |= (uint32_t)(__builtin_ctz(mps) - 7) << 5 | (uint32_t)(__builtin_ctz(mrrs) - 7) << 12;
	control |= c->extended_tag ? 1u << 8 : 0;
	scripted_root_cfg_write(r, r->cap_exp + 8u, control, 2);
	control = scripted_root_cfg_read(r, r->cap_exp + 0x28u, 2) & ~(1u << 12);
	scripted_root_cfg_write(r, r->cap_exp + 0x28u, control | (c->ten_bit_tag ? 1u << 12 : 0), 2);
	r->mps = mps;
	scripted_root_cfg_write(r, 4, c->no_enable ? 0 : 7, 2);
}

unsigned scripted_root_enable_msi(struct scripted_root *r, unsigned vectors)
{
	unsigned can = 1u << (scripted_root_cfg_read(r, r->cap_msi + 2u, 2) >> 1 & 7), log2;

	assert_int_not_equal(r->cap_msi, 0);
	if (vectors > can)
		vectors = can;
	log2 = 31 - (unsigned)__builtin_clz(vectors);
	scripted_root_cfg_write(r, r->cap_msi + 4u, SCRIPTED_MSI_ADDRESS, 4);
	scripted_root_cfg_write(r, r->cap_msi + 8u, 0, 4);
	scripted_root_cfg_write(r, r->cap_msi + 12u, 0, 2);
	scripted_root_cfg_write(r, r->cap_msi + 2u, 1u | log2 << 4, 2);
	return 1u << log2;
}

unsigned scripted_root_enable_msix(struct scripted_root *r)
{
	uint32_t n = (scripted_root_cfg_read(r, r->cap_msix + 2u, 2) & 0x7ff) + 1;
	uint32_t table = scripted_root_cfg_read(r, r->cap_msix + 4u, 4);

	assert_int_not_equal(r->cap_msix, 0);
	scripted_root_cfg_write(r, r->cap_msix + 2u, 0x8000, 2);
	for (uint32_t v = 0; v < n; v++) {
		uint64_t entry = (table & ~7u) + 16ull * v;

		scripted_root_write(r, table & 7, entry, SCRIPTED_MSI_ADDRESS, 4);
		scripted_root_write(r, table & 7, entry + 4, 0, 4);
		scripted_root_write(r, table & 7, entry + 8, v, 4);
		scripted_root_write(r, table & 7, entry + 12, 0, 4);
	}
	return n;
}

unsigned scripted_root_irqs(const struct scripted_root *r, unsigned vector)
{
	assert_in_range(vector, 0, 2047);
	return r->irqs[vector];
}
