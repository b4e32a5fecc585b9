/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A slot is a bus of QEMU's, named as its port is ("slot0"): a device is put
 * on it with device_add and taken off with device_del. Taking off takes two: QEMU
 * presses the slot's attention button, the guest powers the slot down within some
 * seconds, and DEVICE_DELETED says that it is done. A guest that does not
 * answer (it boots, or has no pciehp) is asked again every AGAIN_NS; not more often,
 * since a second press within five seconds takes the first one back.
 *
 *	NONE -> PLUGGING -> PLUGGED -> UNPLUGGING -> NONE
 *
 * What makes a function move: it is READY and wanted: in; the box is lost, the
 * operator says so, or the root stops: out. A device that someone else took out
 * stays out until the operator wants it back. One that the operator has listed
 * (replug) goes out and in when it answers again after the VM has had all ones
 * for a read of it: for guests' drivers that give their device up then.
 *
 * After each connection the slots are surveyed through QEMU's object tree. A
 * device "farbus-ID" found there whose function has a client here is ours and
 * alive; one whose function has none is the remains of a root that died, and is
 * taken out before the function is plugged again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "root/impl.h"

#define AGAIN_NS UINT64_C(10000000000)
#define OPERATION_NS UINT64_C(30000000000)
#define RETRY_NS UINT64_C(5000000000)

static const char *const slot_state_names[] = {
	[FB_ROOT_SLOT_NONE] = "none",
	[FB_ROOT_SLOT_PLUGGING] = "plugging",
	[FB_ROOT_SLOT_PLUGGED] = "plugged",
	[FB_ROOT_SLOT_UNPLUGGING] = "unplugging",
};
_Static_assert(sizeof(slot_state_names) / sizeof(slot_state_names[0]) == FB_ROOT_SLOT_STATES, "a state has no name");

const char *fb_root_slot_state_name(enum fb_root_slot_state state)
{
	return (unsigned)state < FB_ROOT_SLOT_STATES ? slot_state_names[state] : "?";
}

static void device_id(const struct fb_root_function *f, char out[64])
{
	snprintf(out, 64, "farbus-%s", f->id);
}

static struct fb_root_slot *slot_of(struct fb_root *root, const struct fb_root_function *f)
{
	return f->plug.slot >= 0 ? &root->plug.slots[f->plug.slot] : NULL;
}

static void arm_timer(struct fb_root *root, uint64_t at)
{
	struct fb_timer *t = &root->plug.timer;

	if (t->heap_index == 0 || t->deadline_ns > at)
		fb_timer_set(root->loop, t, at);
}

/* ---- The operator's commands ----------------------------------------------------- */

static void op_end(struct fb_root_op *op, int status, const char *text)
{
	struct fb_root *root = op->root;

	for (struct fb_root_op **p = &root->ops; *p; p = &(*p)->next) {
		if (*p == op) {
			*p = op->next;
			break;
		}
	}
	if (op->f->plug.op == op)
		op->f->plug.op = NULL;
	fb_timer_cancel(&op->timer);
	if (op->done)
		op->done(op->arg, status, text);
	free(op);
}

static void op_late(struct fb_timer *t)
{
	struct fb_root_op *op = FB_CONTAINER(t, struct fb_root_op, timer);

	op_end(op, -ETIMEDOUT,
	       op->unplug ? "the guest did not let go within 30 s; it is still being asked"
			  : "QEMU did not answer within 30 s; it is still being tried");
}

static struct fb_root_op *op_start(struct fb_root *root, struct fb_root_function *f, bool unplug, fb_root_done *done,
				   void *arg)
{
	struct fb_root_op *op = calloc(1, sizeof(*op));

	if (!op) {
		done(arg, -ENOMEM, "no memory");
		return NULL;
	}
	op->root = root;
	op->f = f;
	op->unplug = unplug;
	op->done = done;
	op->arg = arg;
	op->timer.due = op_late;
	fb_timer_set(root->loop, &op->timer, fb_loop_now(root->loop) + OPERATION_NS);
	op->next = root->ops;
	root->ops = op;
	f->plug.op = op;
	return op;
}

static void op_of_function_end(struct fb_root_function *f, bool unplug, int status, const char *text)
{
	struct fb_root_op *op = f->plug.op;

	if (op && op->unplug == unplug)
		op_end(op, status, text);
}

/* ---- State ------------------------------------------------------------------------ */

/* The only place where a function's slot state changes. */
static void set_slot_state(struct fb_root *root, struct fb_root_function *f, enum fb_root_slot_state state, int slot)
{
	enum fb_root_slot_state old = f->plug.state;
	const char *bus;

	if (slot >= 0)
		f->plug.slot = slot;
	bus = f->plug.slot >= 0 ? root->plug.slots[f->plug.slot].bus : "?";
	if (f->plug.slot >= 0)
		root->plug.slots[f->plug.slot].f = state == FB_ROOT_SLOT_NONE ? NULL : f;
	if (state == FB_ROOT_SLOT_NONE)
		f->plug.slot = -1;
	if (old == state)
		return;
	f->plug.state = state;
	if (state == FB_ROOT_SLOT_PLUGGED)
		fb_info(f->name, "plugged into %s", bus);
	else if (state == FB_ROOT_SLOT_NONE && old == FB_ROOT_SLOT_UNPLUGGING)
		fb_info(f->name, "unplugged from %s", bus);
	else
		fb_debug(f->name, "%s: %s", bus, fb_root_slot_state_name(state));
}

bool fb_hotplug_busy(const struct fb_root *root)
{
	if (!root->plug.qmp || !fb_qmp_up(root->plug.qmp))
		return false;
	for (const struct fb_root_function *f = root->functions; f; f = f->next) {
		if (f->plug.state != FB_ROOT_SLOT_NONE)
			return true;
	}
	return false;
}

/* It is out, whoever took it out. */
static void is_out(struct fb_root *root, struct fb_root_function *f)
{
	struct fb_root_slot *slot = slot_of(root, f);

	if (slot)
		slot->occupant[0] = '\0';
	root->plug.full_logged = false;
	f->plug.stale = false;
	set_slot_state(root, f, FB_ROOT_SLOT_NONE, -1);
	op_of_function_end(f, true, 0, "unplugged");
	fb_hotplug_check_all(root); /* this one, and those that wait for a slot */
	if (root->stopping && !fb_hotplug_busy(root))
		fb_root_stopped(root);
}

/* ---- Out ---------------------------------------------------------------------------- */

struct command_for {
	struct fb_root *root;
	char id[FB_LINK_NAME_MAX]; /* by name: the function may be gone when the reply comes */
	int slot;
};

static struct fb_root_function *by_id(struct fb_root *root, const char *id)
{
	for (struct fb_root_function *f = root->functions; f; f = f->next) {
		if (strcmp(f->id, id) == 0)
			return f;
	}
	return NULL;
}

static struct command_for *command_for(struct fb_root *root, const struct fb_root_function *f)
{
	struct command_for *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->root = root;
	memcpy(c->id, f->id, sizeof(c->id));
	c->slot = f->plug.slot;
	return c;
}

static void deleted_reply(void *arg, json_t *result, const char *error_class, const char *error)
{
	struct command_for *c = arg;
	struct fb_root_function *f = by_id(c->root, c->id);

	if (f && f->plug.state == FB_ROOT_SLOT_UNPLUGGING && error_class) {
		if (strcmp(error_class, "DeviceNotFound") == 0)
			is_out(c->root, f);
		else /* most often: it is being unplugged already */
			fb_debug(f->name, "device_del: %s", error);
	}
	free(c);
}

static void send_del(struct fb_root *root, struct fb_root_function *f)
{
	struct command_for *c = command_for(root, f);
	char id[64];

	device_id(f, id);
	f->plug.next_try_ns = fb_loop_now(root->loop) + AGAIN_NS;
	arm_timer(root, f->plug.next_try_ns);
	if (c && fb_qmp_command(root->plug.qmp, "device_del", json_pack("{s:s}", "id", id), deleted_reply, c) == 0)
		return;
	free(c);
}

static void unplug(struct fb_root *root, struct fb_root_function *f, const char *why)
{
	fb_info(f->name, "unplugging from %s: %s", slot_of(root, f)->bus, why);
	set_slot_state(root, f, FB_ROOT_SLOT_UNPLUGGING, -1);
	send_del(root, f);
}

/* ---- In ------------------------------------------------------------------------------- */

static void plug_failed(struct fb_root *root, struct fb_root_function *f, const char *error)
{
	char text[300];

	snprintf(text, sizeof(text), "QEMU does not take it into %s: %.180s",
		 f->plug.slot >= 0 ? root->plug.slots[f->plug.slot].bus : "?", error);
	if (!f->plug.failed_logged)
		fb_error(f->name, "%s (tried again every 5 s)", text);
	f->plug.failed_logged = true;
	set_slot_state(root, f, FB_ROOT_SLOT_NONE, -1);
	f->plug.next_try_ns = fb_loop_now(root->loop) + RETRY_NS;
	arm_timer(root, f->plug.next_try_ns);
	op_of_function_end(f, false, -EIO, text);
	if (root->stopping && !fb_hotplug_busy(root))
		fb_root_stopped(root);
}

static void added_reply(void *arg, json_t *result, const char *error_class, const char *error)
{
	struct command_for *c = arg;
	struct fb_root *root = c->root;
	struct fb_root_function *f = by_id(root, c->id);
	char text[128];

	if (f && f->plug.state == FB_ROOT_SLOT_PLUGGING && f->plug.slot == c->slot) {
		if (!result) {
			if (error_class)
				plug_failed(root, f, error);
		} else {
			struct fb_root_slot *slot = slot_of(root, f);

			device_id(f, slot->occupant);
			f->plug.failed_logged = false;
			set_slot_state(root, f, FB_ROOT_SLOT_PLUGGED, -1);
			snprintf(text, sizeof(text), "plugged into %s", slot->bus);
			op_of_function_end(f, false, 0, text);
			fb_hotplug_check(root, f);
		}
	}
	free(c);
}

/* QEMU's default is 5 s. A read can wait for half a second before its answer time begins (mmio.c). */
unsigned fb_hotplug_msg_timeout(uint64_t answer_ns)
{
	return answer_ns > UINT64_C(4000000000) ? (unsigned)(answer_ns / 1000000) + 3000 : 0;
}

static void plug(struct fb_root *root, struct fb_root_function *f, int slot)
{
	unsigned timeout = fb_hotplug_msg_timeout(root->env.answer_ns);
	struct command_for *c;
	char id[64];
	json_t *args;

	device_id(f, id);
	f->plug.anew = false;
	f->plug.timeouts = f->count.read_timeouts;
	set_slot_state(root, f, FB_ROOT_SLOT_PLUGGING, slot);
	args = json_pack("{s:s, s:s, s:s, s:{s:s, s:s}}", "driver", "vfio-user-pci", "id", id, "bus",
			 root->plug.slots[slot].bus, "socket", "type", "unix", "path", f->socket);
	if (args && timeout && json_object_set_new(args, "x-msg-timeout", json_integer(timeout)) < 0) {
		json_decref(args);
		args = NULL;
	}
	c = command_for(root, f);
	if (!args || !c) {
		json_decref(args);
		free(c);
		plug_failed(root, f, "no memory (or its name is not UTF-8)");
		return;
	}
	if (fb_qmp_command(root->plug.qmp, "device_add", args, added_reply, c) < 0) {
		free(c);
		plug_failed(root, f, "QMP takes no more commands");
	}
}

/* The slot with the remains of an earlier root's device for this function, or -1. */
static int stale_slot(const struct fb_root *root, const struct fb_root_function *f)
{
	char id[64];

	device_id(f, id);
	for (unsigned i = 0; i < root->plug.n_slots; i++) {
		if (!root->plug.slots[i].f && strcmp(root->plug.slots[i].occupant, id) == 0)
			return (int)i;
	}
	return -1;
}

static int free_slot(const struct fb_root *root)
{
	for (unsigned i = 0; i < root->plug.n_slots; i++) {
		const struct fb_root_slot *s = &root->plug.slots[i];

		if (s->exists && !s->f && !s->occupant[0])
			return (int)i;
	}
	return -1;
}

/* "slot0 has ssd1, slot1 has net0". */
static void describe_full(const struct fb_root *root, char *out, size_t cap)
{
	size_t n = (size_t)snprintf(out, cap, "no slot is free:");

	for (unsigned i = 0; i < root->plug.n_slots && n < cap; i++) {
		const struct fb_root_slot *s = &root->plug.slots[i];

		n += (size_t)snprintf(out + n, cap - n, "%s %s %s%s", i ? "," : "", s->bus,
				      s->exists ? "has " : "does not exist",
				      !s->exists ? "" : s->f ? s->f->id : s->occupant);
	}
}

void fb_hotplug_check(struct fb_root *root, struct fb_root_function *f)
{
	int slot;

	if (!root->plug.qmp || !root->plug.surveyed || !fb_qmp_up(root->plug.qmp))
		return;
	if (f->plug.state == FB_ROOT_SLOT_PLUGGED) {
		if (root->stopping)
			unplug(root, f, "the root stops");
		else if (f->plug.held_out)
			unplug(root, f, "as the operator asked");
		else if (f->state == FB_ROOT_GONE)
			unplug(root, f, "its box is lost");
		else if (f->plug.anew)
			unplug(root, f, "a read of it went without answer, and it is in --replug");
		return;
	}
	if (f->plug.state != FB_ROOT_SLOT_NONE || root->stopping)
		return;
	slot = stale_slot(root, f);
	if (slot >= 0) {
		if (f->state == FB_ROOT_IN_USE) { /* ours, and alive: the connection to QEMU was lost, not QEMU */
			set_slot_state(root, f, FB_ROOT_SLOT_PLUGGED, slot);
			fb_hotplug_check(root, f);
			return;
		}
		f->plug.stale = true;
		set_slot_state(root, f, FB_ROOT_SLOT_PLUGGED, slot);
		unplug(root, f, "it is what an earlier root left there");
		return;
	}
	if (f->state != FB_ROOT_READY || f->plug.held_out || f->plug.next_try_ns > fb_loop_now(root->loop))
		return;
	slot = free_slot(root);
	if (slot < 0) {
		char text[256];

		describe_full(root, text, sizeof(text));
		if (!root->plug.full_logged)
			fb_warn(f->name, "not plugged: %s", text);
		root->plug.full_logged = true;
		op_of_function_end(f, false, -EBUSY, text);
		return;
	}
	plug(root, f, slot);
}

void fb_hotplug_check_all(struct fb_root *root)
{
	for (struct fb_root_function *f = root->functions; f; f = f->next)
		fb_hotplug_check(root, f);
}

void fb_hotplug_late(struct fb_root *root, struct fb_root_function *f)
{
	if (!f->plug.replug || f->count.read_timeouts == f->plug.timeouts)
		return;
	f->plug.anew = true;
	fb_hotplug_check(root, f);
}

void fb_hotplug_forget(struct fb_root *root, struct fb_root_function *f)
{
	struct fb_root_op *op = f->plug.op;

	if (op)
		op_end(op, -ENOENT, "its box does not offer it any more");
	if (f->plug.slot >= 0)
		root->plug.slots[f->plug.slot].f = NULL;
}

static void again(struct fb_timer *t)
{
	struct fb_root *root = FB_CONTAINER(t, struct fb_root, plug.timer);
	uint64_t now = fb_loop_now(root->loop);

	for (struct fb_root_function *f = root->functions; f; f = f->next) {
		if (f->plug.next_try_ns > now) {
			arm_timer(root, f->plug.next_try_ns);
			continue;
		}
		if (f->plug.state == FB_ROOT_SLOT_UNPLUGGING && fb_qmp_up(root->plug.qmp)) {
			fb_info(f->name, "the guest has not let go of it within 10 s: asked again");
			send_del(root, f);
		} else {
			fb_hotplug_check(root, f);
		}
	}
}

/* ---- Survey ------------------------------------------------------------------------------ */

struct survey {
	struct fb_root *root;
	unsigned slot;
};

static void surveyed(struct fb_root *root)
{
	struct fb_hotplug *h = &root->plug;

	if (h->asked > 0)
		return;
	for (unsigned i = 0; i < h->n_slots; i++) {
		struct fb_root_slot *s = &h->slots[i];

		if (!s->exists) {
			fb_error(root->qmp_path, "QEMU has no hot-plug port whose bus is named %s", s->bus);
			if (!root->started_told) {
				fb_root_tell_started(root, -ENOENT);
				return;
			}
		}
		if (s->occupant[0] && strncmp(s->occupant, "farbus-", 7) != 0)
			fb_warn(root->qmp_path, "%s is taken: %s is in it", s->bus, s->occupant);
	}
	h->surveyed = true;
	h->full_logged = false;
	fb_root_tell_started(root, 0);
	fb_hotplug_check_all(root);
}

static void survey_end(struct survey *s)
{
	struct fb_root *root = s->root;

	free(s);
	root->plug.asked--;
	surveyed(root);
}

static void occupant_reply(void *arg, json_t *result, const char *error_class, const char *error)
{
	struct survey *s = arg;
	struct fb_root_slot *slot = &s->root->plug.slots[s->slot];
	const char *path = json_string_value(result), *name;

	if (!result && !error_class) { /* connection lost: there will be another survey */
		free(s);
		return;
	}
	name = path ? strrchr(path, '/') : NULL;
	snprintf(slot->occupant, sizeof(slot->occupant), "%.90s", name && name[1] ? name + 1 : "a device");
	survey_end(s);
}

static void slot_reply(void *arg, json_t *result, const char *error_class, const char *error)
{
	struct survey *s = arg;
	struct fb_root *root = s->root;
	struct fb_root_slot *slot = &root->plug.slots[s->slot];
	const char *child = NULL;
	char path[160];
	json_t *item;
	size_t i;

	if (!result && !error_class) {
		free(s);
		return;
	}
	slot->exists = json_is_array(result);
	slot->occupant[0] = '\0';
	if (slot->exists) {
		json_array_foreach(result, i, item) {
			const char *name = json_string_value(json_object_get(item, "name"));

			if (name && strncmp(name, "child[", 6) == 0)
				child = name;
		}
	}
	snprintf(path, sizeof(path), "/machine/peripheral/%s/%s", slot->bus, slot->bus);
	if (!child || fb_qmp_command(root->plug.qmp, "qom-get", json_pack("{s:s, s:s}", "path", path, "property", child),
				     occupant_reply, s) < 0)
		survey_end(s);
}

static void connected(void *arg, const char *version)
{
	struct fb_root *root = arg;
	struct fb_hotplug *h = &root->plug;

	fb_info(root->qmp_path, "connected to QEMU %s", version);
	snprintf(h->version, sizeof(h->version), "%s", version);
	h->lost_logged = false;
	h->asked = 1; /* ours, until all have been asked */
	for (unsigned i = 0; i < h->n_slots; i++) {
		struct survey *s = calloc(1, sizeof(*s));
		char path[160];

		if (!s)
			continue;
		s->root = root;
		s->slot = i;
		snprintf(path, sizeof(path), "/machine/peripheral/%s/%s", h->slots[i].bus, h->slots[i].bus);
		if (fb_qmp_command(h->qmp, "qom-list", json_pack("{s:s}", "path", path), slot_reply, s) < 0)
			free(s);
		else
			h->asked++;
	}
	h->asked--;
	surveyed(root);
}

static void lost(void *arg, int err, const char *why)
{
	struct fb_root *root = arg;
	struct fb_hotplug *h = &root->plug;

	h->surveyed = false;
	h->version[0] = '\0';
	if (!root->started_told) {
		fb_error(root->qmp_path, "QMP: %s", why);
		fb_root_tell_started(root, err);
		return;
	}
	if (!h->lost_logged)
		fb_warn(root->qmp_path, "QMP: %s; tried again until QEMU is there", why);
	h->lost_logged = true;
	/* If QEMU lives, the next survey finds them again. */
	for (struct fb_root_function *f = root->functions; f; f = f->next) {
		f->plug.stale = false;
		set_slot_state(root, f, FB_ROOT_SLOT_NONE, -1);
		f->plug.next_try_ns = 0;
		op_of_function_end(f, true, 0, "QEMU is gone");
		op_of_function_end(f, false, -ENOTCONN, "the connection to QEMU was lost");
	}
	for (unsigned i = 0; i < h->n_slots; i++) {
		h->slots[i].occupant[0] = '\0';
		h->slots[i].exists = false;
	}
	if (root->stopping)
		fb_root_stopped(root);
}

static void event(void *arg, const char *name, json_t *data)
{
	struct fb_root *root = arg;
	struct fb_hotplug *h = &root->plug;
	const char *device = json_string_value(json_object_get(data, "device"));
	struct fb_root_function *f;

	if (!device)
		return;
	if (strcmp(name, "DEVICE_UNPLUG_GUEST_ERROR") == 0) {
		f = strncmp(device, "farbus-", 7) == 0 ? by_id(root, device + 7) : NULL;
		if (f)
			fb_warn(f->name, "the guest refuses to let go of it: asked again in 10 s");
		return;
	}
	if (strcmp(name, "DEVICE_DELETED") != 0)
		return;
	for (unsigned i = 0; i < h->n_slots; i++) {
		if (strcmp(h->slots[i].occupant, device) == 0 && !h->slots[i].f) {
			h->slots[i].occupant[0] = '\0';
			h->full_logged = false;
		}
	}
	f = strncmp(device, "farbus-", 7) == 0 ? by_id(root, device + 7) : NULL;
	if (f && f->plug.state == FB_ROOT_SLOT_PLUGGED && f->state != FB_ROOT_GONE) {
		f->plug.held_out = true;
		fb_warn(f->name, "taken out by the guest or by hand: it stays out until it is plugged again");
	}
	if (f && f->plug.state != FB_ROOT_SLOT_NONE)
		is_out(root, f);
	else
		fb_hotplug_check_all(root); /* a slot may have become free */
}

static const struct fb_qmp_user qmp_user = {.connected = connected, .lost = lost, .event = event};

/* ---- The operator ---------------------------------------------------------------------------- */

static struct fb_root_function *for_operator(struct fb_root *root, const char *id, fb_root_done *done, void *arg)
{
	struct fb_root_function *f = by_id(root, id);
	char text[128];

	if (!f) {
		snprintf(text, sizeof(text), "there is no function %.32s", id);
		done(arg, -ENOENT, text);
	} else if (!root->plug.qmp) {
		done(arg, -ENOTSUP, "this root does not plug: it was started without --qmp");
	} else if (root->stopping) {
		done(arg, -ESHUTDOWN, "the root is stopping");
	} else if (f->plug.op) {
		done(arg, -EBUSY, "it is being plugged or unplugged already");
	} else {
		return f;
	}
	return NULL;
}

void fb_root_plug(struct fb_root *root, const char *id, fb_root_done *done, void *arg)
{
	struct fb_root_function *f = for_operator(root, id, done, arg);
	char text[256];

	if (!f)
		return;
	f->plug.held_out = false;
	f->plug.next_try_ns = f->plug.state == FB_ROOT_SLOT_UNPLUGGING ? f->plug.next_try_ns : 0;
	if (f->plug.state == FB_ROOT_SLOT_PLUGGED) {
		snprintf(text, sizeof(text), "it is in %s already", slot_of(root, f)->bus);
		done(arg, 0, text);
		return;
	}
	if (!root->plug.surveyed) {
		done(arg, -ENOTCONN, "there is no connection to QEMU now; it is plugged when there is one");
		return;
	}
	if (f->plug.state == FB_ROOT_SLOT_NONE && f->state != FB_ROOT_READY && f->state != FB_ROOT_RESETTING) {
		snprintf(text, sizeof(text), "it is %s%s%s; it is plugged when it is ready",
			 fb_root_function_state_name(f->state), f->note[0] ? ": " : "", f->note);
		done(arg, f->state == FB_ROOT_IN_USE ? -EBUSY : -ENOENT, text);
		return;
	}
	/* While it is on its way out it comes back in by itself afterwards. */
	if (op_start(root, f, false, done, arg))
		fb_hotplug_check(root, f);
}

void fb_root_unplug(struct fb_root *root, const char *id, fb_root_done *done, void *arg)
{
	struct fb_root_function *f = for_operator(root, id, done, arg);

	if (!f)
		return;
	f->plug.held_out = true;
	if (f->plug.state == FB_ROOT_SLOT_NONE) {
		done(arg, 0, f->state == FB_ROOT_IN_USE ? "this root did not plug it; it will not when it is free again"
							: "it is not plugged");
		return;
	}
	if (op_start(root, f, true, done, arg))
		fb_hotplug_check(root, f);
}

void fb_root_forget(struct fb_root *root, void *arg)
{
	for (struct fb_root_op *op = root->ops; op; op = op->next) {
		if (op->arg == arg)
			op->done = NULL;
	}
}

/* ---- Begin and end ----------------------------------------------------------------------------- */

int fb_hotplug_init(struct fb_root *root, const struct fb_root_config *config)
{
	struct fb_hotplug *h = &root->plug;
	int err;

	h->timer.due = again;
	if (!config->qmp)
		return 0;
	for (unsigned n = 0; config->slots && config->slots[n]; n++)
		h->n_slots = n + 1;
	if (h->n_slots == 0 || h->n_slots > FB_ROOT_MAX_SLOTS) {
		fb_error(NULL, "--qmp needs --slot with the bus names of 1 to %d slots", FB_ROOT_MAX_SLOTS);
		return -EINVAL;
	}
	h->slots = calloc(h->n_slots, sizeof(*h->slots));
	if (!h->slots)
		return -ENOMEM;
	for (unsigned i = 0; i < h->n_slots; i++) {
		size_t len = strlen(config->slots[i]);

		if (len == 0 || len >= sizeof(h->slots[i].bus) || strchr(config->slots[i], '/')) {
			fb_error(NULL, "slot \"%s\": not the name of a bus", config->slots[i]);
			return -EINVAL;
		}
		for (unsigned k = 0; k < i; k++) {
			if (strcmp(h->slots[k].bus, config->slots[i]) == 0) {
				fb_error(NULL, "slot %s is given twice", config->slots[i]);
				return -EINVAL;
			}
		}
		memcpy(h->slots[i].bus, config->slots[i], len);
	}
	err = fb_qmp_new(&h->qmp, root->loop, config->qmp, &qmp_user, root);
	if (err < 0)
		fb_error(config->qmp, "QMP: %s", strerror(-err));
	return err;
}

void fb_hotplug_free(struct fb_root *root)
{
	struct fb_hotplug *h = &root->plug;

	fb_timer_cancel(&h->timer);
	fb_qmp_free(h->qmp);
	h->qmp = NULL;
	while (root->ops) {
		root->ops->done = NULL;
		op_end(root->ops, -ECANCELED, "");
	}
	free(h->slots);
}
