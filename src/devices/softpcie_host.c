/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's accesses to the window, as the host's requests. A write leaves with
 * tag 0 and is forgotten. A read takes one of 16 tags (the port has room for no
 * more) and waits; without completion in time the guest gets all ones. It is
 * never asked for again, for reading a register may do something. A tag whose
 * read was given up rests until its completion comes late, or none is to be
 * expected any more, so that it is not taken for another's.
 * A read that waits for a tag waits no longer than one that has got one.
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/softpcie.h"
#include "util/reader.h"

enum { TAGS = SOFTPCIE_HOST_TAGS, REST_TIMEOUTS = 2 };

struct softpcie_wait {
	struct softpcie_wait *next;
	struct fb_access *access;
	uint64_t offset, since;
	unsigned size;
};

static uint16_t port_of(const struct softpcie *s, uint16_t tag)
{
	return softpcie_port(tag, true, s->opt.old_ports);
}

/* The window's address; the guest reaches it, so it is there. */
static uint64_t window(const struct softpcie *s)
{
	uint64_t addr = 0;

	return fb_device_bar_address(s->dev, s->window_bar, &addr) ? addr : 0;
}

static uint64_t due_of(const struct softpcie *s, const struct softpcie_tag *t)
{
	switch (t->state) {
	case SOFTPCIE_TAG_ACTIVE:
		return t->since + s->opt.timeout_ns;
	case SOFTPCIE_TAG_RESTING:
		return t->since + REST_TIMEOUTS * s->opt.timeout_ns;
	case SOFTPCIE_TAG_FREE:
		break;
	}
	return UINT64_MAX;
}

static void watch(struct softpcie *s)
{
	uint64_t due = s->first ? s->first->since + s->opt.timeout_ns : UINT64_MAX;

	for (unsigned i = 0; i < TAGS; i++) {
		uint64_t t = due_of(s, &s->tags[i]);

		due = t < due ? t : due;
	}
	if (due != UINT64_MAX)
		fb_device_timer_set(s->dev, &s->timer, due);
	else
		fb_device_timer_cancel(s->dev, &s->timer);
}

/* Sends the request of a read. False: no tag, or no room; it is to wait. */
static bool start(struct softpcie *s, struct fb_access *access, uint64_t offset, unsigned size)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_MRD, .requester_id = SOFTPCIE_ROOT_ID};
	struct softpcie_tag *t = NULL;

	for (unsigned i = 0; i < TAGS && !t; i++) {
		uint16_t tag = (uint16_t)((s->next_tag + i) % TAGS);

		if (s->tags[tag].state == SOFTPCIE_TAG_FREE) {
			t = &s->tags[tag];
			tlp.tag = tag;
		}
	}
	if (!t)
		return false;
	pcie_tlp_set_range(&tlp, window(s) + offset, size);
	if (softpcie_send(s, SOFTPCIE_DEVICE, port_of(s, tlp.tag), &tlp))
		return false;
	s->next_tag = tlp.tag + 1u;
	pcie_reassembly_start(&t->r, SOFTPCIE_ROOT_ID, window(s) + offset, size, t->data);
	t->state = SOFTPCIE_TAG_ACTIVE;
	t->access = access;
	t->since = fb_device_now(s->dev);
	watch(s);
	return true;
}

uint64_t softpcie_host_read(struct softpcie *s, uint64_t offset, unsigned size)
{
	struct fb_access *access = fb_access_defer(s->dev);
	struct softpcie_wait *w;

	s->count.host_reads++;
	if (!access)
		return UINT64_MAX;
	if (!s->first && start(s, access, offset, size))
		return 0;
	w = malloc(sizeof(*w));
	if (!w) {
		fb_access_fail(access);
		return 0;
	}
	*w = (struct softpcie_wait){.access = access, .offset = offset, .since = fb_device_now(s->dev), .size = size};
	*s->last = w;
	s->last = &w->next;
	watch(s);
	return 0;
}

static void forget_first(struct softpcie *s)
{
	struct softpcie_wait *w = s->first;

	s->first = w->next;
	if (!s->first)
		s->last = &s->first;
	free(w);
}

void softpcie_host_go_on(struct softpcie *s)
{
	struct softpcie_wait *w;

	while ((w = s->first) && start(s, w->access, w->offset, w->size))
		forget_first(s);
}

void softpcie_host_write(struct softpcie *s, uint64_t offset, uint64_t value, unsigned size)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_MWR, .requester_id = SOFTPCIE_ROOT_ID};
	uint8_t data[12] = {0};

	s->count.host_writes++;
	pcie_tlp_set_range(&tlp, window(s) + offset, size);
	fb_put_le64(data + (offset & 3), value);
	for (unsigned i = (unsigned)(offset & 3) + size; i < sizeof(data); i++)
		data[i] = 0;
	tlp.data = data;
	if (softpcie_send(s, SOFTPCIE_DEVICE, port_of(s, 0), &tlp)) {
		s->count.host_writes_lost++;
		softpcie_say(s, SOFTPCIE_SAY_LOST, "a write of the guest to window + 0x%llx is lost: no room to send it",
			     (unsigned long long)offset);
	}
}

/* A tag's read is over; nobody waits for it when it has been given up before. */
static void end(struct softpcie *s, struct softpcie_tag *t, bool good, enum softpcie_tag_state state)
{
	struct fb_access *access = t->access;

	t->access = NULL;
	t->state = state;
	t->since = fb_device_now(s->dev);
	if (access && good)
		fb_access_complete(access, fb_get_le64(t->data));
	else if (access)
		fb_access_fail(access);
}

void softpcie_host_completion(struct softpcie *s, unsigned peer, const struct pcie_tlp *cpl)
{
	struct softpcie_tag *t = cpl->tag < TAGS ? &s->tags[cpl->tag] : NULL;
	enum pcie_reassembly_result result;

	if (!t || t->state == SOFTPCIE_TAG_FREE || peer != SOFTPCIE_DEVICE) {
		s->count.unexpected_completions++;
		return;
	}
	result = pcie_reassembly_feed(&t->r, cpl);
	if (result == PCIE_REASSEMBLY_MISMATCH)
		s->count.unexpected_completions++;
	else if (t->state == SOFTPCIE_TAG_RESTING)
		s->count.late_completions++;
	else
		s->count.host_errors += result == PCIE_REASSEMBLY_FAILED;
	if (result == PCIE_REASSEMBLY_MISMATCH || result == PCIE_REASSEMBLY_MORE)
		return;
	end(s, t, result == PCIE_REASSEMBLY_DONE, SOFTPCIE_TAG_FREE);
	softpcie_host_go_on(s);
	watch(s);
}

void softpcie_host_timeout(struct fb_device *dev, struct fb_device_timer *timer)
{
	struct softpcie *s = fb_device_state(dev);
	uint64_t now = fb_device_now(s->dev);

	for (unsigned i = 0; i < TAGS; i++) {
		struct softpcie_tag *t = &s->tags[i];

		if (now < due_of(s, t))
			continue;
		if (t->state == SOFTPCIE_TAG_RESTING) {
			t->state = SOFTPCIE_TAG_FREE;
			continue;
		}
		s->count.host_timeouts++;
		softpcie_say(s, SOFTPCIE_SAY_TIMEOUT, "no completion for a read of the guest at window + 0x%llx: all ones",
			     (unsigned long long)(t->r.address - window(s)));
		end(s, t, false, SOFTPCIE_TAG_RESTING);
	}
	for (struct softpcie_wait *w; (w = s->first) && now >= w->since + s->opt.timeout_ns; forget_first(s)) {
		s->count.host_timeouts++;
		softpcie_say(s, SOFTPCIE_SAY_TIMEOUT, "a read of the guest at window + 0x%llx waited for one of %d tags: all ones",
			     (unsigned long long)w->offset, TAGS);
		fb_access_fail(w->access);
	}
	softpcie_host_go_on(s);
	watch(s);
}

/* The accesses are dead already: only what we know of them is to go. */
void softpcie_host_reset(struct softpcie *s)
{
	while (s->first)
		forget_first(s);
	for (unsigned i = 0; i < TAGS; i++) {
		struct softpcie_tag *t = &s->tags[i];

		t->access = NULL;
		if (t->state == SOFTPCIE_TAG_ACTIVE) {
			t->state = SOFTPCIE_TAG_RESTING;
			t->since = fb_device_now(s->dev);
		}
	}
	if (s->dev)
		watch(s);
}
