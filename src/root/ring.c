/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ring prefetch, the root's side (tlp/ring_wire.h): the function says where its
 * rings lie; when the VM writes a ring's index, the new entries and their data
 * follow the write at once, in the same datagram, and the function need not ask
 * for them. That spares a command one round trip, or two. The same for registers
 * to which the VM writes the address of a block.
 *
 * It is a favour, never a duty: whatever is in its way (memory without a file
 * descriptor, writes that are queued, bus mastering off, an index that makes no
 * sense) means that nothing is sent, and the function reads as ever. It
 * reaches no memory that the function could not read itself.
 */
#include <string.h>

#include "root/function.h"
#include "tlp/regs.h"
#include "util/reader.h"

enum { ENTRIES_AT_ONCE = 32 };

void fb_vm_ring_message(struct fb_root_function *f, const struct pcie_tlp *tlp)
{
	struct fb_ring_rule rule;
	struct fb_vm_ring *ring;

	if (tlp->vendor_id != FB_RING_VENDOR || tlp->vendor_data != FB_RING_RULE || !tlp->data ||
	    !fb_ring_rule_get(&rule, tlp->data, (size_t)tlp->length * 4))
		return;
	ring = &f->rings.ring[rule.slot];
	*ring = (struct fb_vm_ring){.rule = rule};
	if (rule.entries && f->rings.n <= rule.slot)
		f->rings.n = rule.slot + 1u;
}

void fb_vm_ring_forget(struct fb_root_function *f)
{
	memset(&f->rings, 0, sizeof(f->rings));
}

bool fb_vm_ring_may(const struct fb_root_function *f)
{
	return fb_rq_posted(&f->rq) == 0 && !fb_function_in_reset(f) && f->cfg.command & PCI_COMMAND_MASTER;
}

int fb_vm_ring_send(struct fb_root_function *f, uint32_t what, const uint8_t *payload, uint32_t len)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_MSGD,
			       .requester_id = FB_ROOT_ID,
			       .completer_id = f->bdf,
			       .msg_code = PCIE_MSG_VENDOR_TYPE1,
			       .msg_route = PCIE_ROUTE_BY_ID,
			       .vendor_id = FB_RING_VENDOR,
			       .vendor_data = what,
			       .length = (uint16_t)(len / 4),
			       .data = payload};
	int err;

	f->port->patient = what == FB_OFFER_USED; /* the next doorbell may take it along */
	err = fb_port_send(f->port, &tlp);
	f->port->patient = false;
	return err;
}

void fb_vm_ring_announce(struct fb_root_function *f)
{
	uint32_t can = FB_RING_CAN_OFFERS;
	uint8_t payload[4];

	if (!f->port || !fb_vm_ring_may(f))
		return;
	f->rings.announced = true;
	/* With most of the memory out of reach here, it would be the function that looks at shadows, each time. */
	if (f->dma.map.mapped_bytes > f->dma.map.bytes / 2)
		can |= FB_RING_CAN_SHADOW;
	fb_put_le32(payload, can);
	(void)fb_vm_ring_send(f, FB_RING_ABLE, payload, sizeof(payload));
}

static uint32_t message_max(const struct fb_root_function *f)
{
	uint32_t max = f->rq.mps - FB_RING_AHEAD_HEADER;

	return max < FB_RING_AHEAD_MAX ? max : FB_RING_AHEAD_MAX;
}

/* One message; the bytes are in payload, behind room for its header. */
static int send_message(struct fb_root_function *f, uint64_t address, uint8_t *payload, uint32_t len)
{
	uint32_t padded = (len + 3) & ~3u;
	int err;

	fb_put_le64(payload, address);
	fb_put_le32(payload + 8, len);
	fb_put_le32(payload + 12, 0);
	memset(payload + FB_RING_AHEAD_HEADER + len, 0, padded - len);
	err = fb_vm_ring_send(f, FB_RING_AHEAD, payload, FB_RING_AHEAD_HEADER + padded);
	if (err < 0)
		return err;
	f->count.ahead++;
	f->count.ahead_bytes += len;
	return 0;
}

/* False: no more goes now. */
static bool send_bytes(struct fb_root_function *f, uint64_t address, const uint8_t *data, uint32_t len)
{
	uint8_t payload[FB_RING_AHEAD_HEADER + FB_RING_AHEAD_MAX];

	for (uint32_t n, at = 0; at < len; at += n) {
		n = len - at < message_max(f) ? len - at : message_max(f);
		memcpy(payload + FB_RING_AHEAD_HEADER, data + at, n);
		if (send_message(f, address + at, payload, n) < 0)
			return false;
	}
	return true;
}

/* What is at the address. False: no more goes now; memory that cannot be read now is just not sent. */
static bool send_memory(struct fb_root_function *f, uint64_t address, uint32_t len)
{
	uint8_t payload[FB_RING_AHEAD_HEADER + FB_RING_AHEAD_MAX];

	for (uint32_t n, at = 0; at < len; at += n) {
		n = len - at < message_max(f) ? len - at : message_max(f);
		if (fb_dma_peek(f, address + at, payload + FB_RING_AHEAD_HEADER, n) < 0)
			return true;
		if (send_message(f, address + at, payload, n) < 0)
			return false;
	}
	return true;
}

/* ---- Rings ---------------------------------------------------------------------- */

static bool send_data(struct fb_root_function *f, const struct fb_ring_rule *r, const uint8_t *entry)
{
	uint64_t address;
	uint32_t len;

	if (!r->data_max || entry[r->match_at] != r->match)
		return true;
	address = fb_get_le64(entry + r->pointer_at);
	len = (fb_get_le16(entry + r->count_at) + 1u) << r->count_shift;
	if (len > r->data_max || (address & 4095) + len > 4096)
		return true;
	return send_memory(f, address, len);
}

static void send_entries(struct fb_root_function *f, const struct fb_ring_rule *r, uint32_t from, uint32_t n)
{
	uint8_t entries[ENTRIES_AT_ONCE * FB_RING_ENTRY_MAX];
	uint64_t address = r->base + (uint64_t)from * r->entry_size;

	if (fb_dma_peek(f, address, entries, n * r->entry_size) < 0 ||
	    !send_bytes(f, address, entries, n * r->entry_size))
		return;
	for (uint32_t i = 0; i < n && send_data(f, r, entries + i * r->entry_size); i++)
		;
}

void fb_vm_ring_moved(struct fb_root_function *f, struct fb_vm_ring *ring, uint32_t index)
{
	const struct fb_ring_rule *r = &ring->rule;
	uint32_t from = ring->index;
	uint32_t n = index >= from ? index - from : r->entries - from; /* of those around the corner none */

	ring->index = index;
	if (n > 0 && n <= ENTRIES_AT_ONCE && fb_vm_ring_may(f))
		send_entries(f, r, from, n);
}

/* ---- Registers that take an address -------------------------------------------------- */

static uint32_t element_bytes(const struct fb_ring_rule *r, const uint8_t *element)
{
	uint64_t len = (uint64_t)fb_get_le32(element + r->count_at) << r->count_shift;

	return len > r->data_max ? UINT32_MAX : (uint32_t)len;
}

/* How many elements the list has; 0: it does not end in the block, or is of too much. */
static unsigned list_length(const struct fb_ring_rule *r, const uint8_t *block)
{
	uint64_t total = 0;

	for (unsigned n = 0;; n++) {
		uint32_t at = n * r->list_stride;

		if (at + r->pointer_at + 8 > r->entry_size || at + r->count_at + 4 > r->entry_size ||
		    at + r->end_at >= r->entry_size)
			return 0;
		total += element_bytes(r, block + at);
		if (total > r->data_max)
			return 0;
		if (!r->list_stride || block[at + r->end_at])
			return n + 1;
	}
}

static void send_block(struct fb_root_function *f, const struct fb_ring_rule *r, uint64_t address)
{
	uint8_t block[FB_RING_ENTRY_MAX];
	unsigned n;

	if (fb_dma_peek(f, address, block, r->entry_size) < 0 || !send_bytes(f, address, block, r->entry_size) ||
	    !r->data_max || block[r->match_at] != r->match)
		return;
	n = list_length(r, block);
	for (unsigned i = 0; i < n; i++) {
		const uint8_t *element = block + i * r->list_stride;

		if (!send_memory(f, fb_get_le64(element + r->pointer_at), element_bytes(r, element)))
			return;
	}
}

static void pointer_written(struct fb_root_function *f, struct fb_vm_ring *ring, uint32_t at, const uint8_t *data,
			    uint32_t len)
{
	uint32_t half = at % ring->rule.reg_stride;
	uint64_t address;

	if (half == 0 && len == 4) {
		ring->low = fb_get_le32(data);
		ring->low_at = at;
		ring->has_low = true;
		return;
	}
	if (half == 0 && len == 8)
		address = fb_get_le64(data);
	else if (half == 4 && len == 4 && ring->has_low && at == ring->low_at + 4)
		address = (uint64_t)fb_get_le32(data) << 32 | ring->low;
	else
		return;
	ring->has_low = false;
	if (fb_vm_ring_may(f))
		send_block(f, &ring->rule, address);
}

struct fb_vm_ring *fb_vm_ring_at(struct fb_root_function *f, unsigned region, uint64_t offset)
{
	for (unsigned i = 0; i < f->rings.n; i++) {
		struct fb_vm_ring *ring = &f->rings.ring[i];
		const struct fb_ring_rule *r = &ring->rule;
		uint64_t span = r->pointers ? (uint64_t)r->entries * r->reg_stride : 1;

		if (r->entries && r->bar == region && offset >= r->reg && offset - r->reg < span)
			return ring;
	}
	return NULL;
}

bool fb_vm_ring_half(const struct fb_vm_ring *ring, uint64_t offset, uint32_t len)
{
	const struct fb_ring_rule *r = &ring->rule;

	return r->pointers && len == 4 && (offset - r->reg) % r->reg_stride == 0;
}

void fb_vm_ring_written(struct fb_root_function *f, struct fb_vm_ring *ring, uint64_t offset, const uint8_t *data,
			uint32_t len)
{
	const struct fb_ring_rule *r = &ring->rule;

	if (r->pointers)
		pointer_written(f, ring, (uint32_t)(offset - r->reg), data, len);
	else if (len == 4 && fb_get_le32(data) < r->entries) /* else the function will say what it thinks of that */
		fb_vm_ring_moved(f, ring, fb_get_le32(data));
}
