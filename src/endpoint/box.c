/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The box: devices by name, offered to roots through one listening carrier. A
 * function belongs to one root at a time; a root that connects anew takes its
 * own function over, which the function sees as the end of one session and the
 * beginning of the next.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint/device_impl.h"
#include "endpoint/softpcie_host.h"

struct entry {
	struct fb_box *box;
	struct fb_device *dev;
	struct fb_port *port; /* NULL: nobody has it */
	struct fb_link_identity root;
	char from[64];
	char in_use[128]; /* what another root is told */
	bool idle;        /* stopping: has nothing left to do */
	bool absent;      /* what stands behind the model is gone: fb_device_set_present() */
};

struct fb_box {
	struct fb_loop *loop;
	struct fb_carrier *carrier;          /* NULL: its function is behind an adapter */
	struct fb_softpcie_host *softpcie; /* that adapter */
	uint32_t group;
	struct entry **entries; /* a function each; those of a device follow its first */
	unsigned n;

	enum { RUNNING, QUIESCING, CLOSED } state;
	struct fb_timer stop;
	void (*stopped)(void *arg);
	void *stopped_arg;
};

static struct entry *find(const struct fb_box *box, const char *id)
{
	for (unsigned i = 0; i < box->n; i++) {
		if (!strcmp(fb_device_id(box->entries[i]->dev), id))
			return box->entries[i];
	}
	return NULL;
}

/* ---- Sessions ----------------------------------------------------------------------- */

static void end_session(struct entry *e, enum fb_link_reason reason, const char *text)
{
	struct fb_port *port = e->port;

	if (e->box->softpcie)
		fb_softpcie_host_stop(e->box->softpcie);
	if (!port || e->box->softpcie)
		return;
	e->port = NULL;
	fb_device_detach(e->dev);
	fb_port_close(port, reason, text);
}

static void device_present(void *arg, struct fb_device *dev, bool present, const char *why)
{
	struct entry *e = arg;

	(void)dev;
	e->absent = !present;
	if (!present)
		end_session(e, FB_LINK_R_REMOVED, why);
}

/* The device has been detached already. */
static void device_down(void *arg, struct fb_device *dev, int reason, const char *text)
{
	struct entry *e = arg;

	(void)dev, (void)text;
	end_session(e, (enum fb_link_reason)reason, "");
}

static int hello(void *arg, const struct fb_link_hello *hello, const char *from, struct fb_port *port,
		 const struct fb_port_user **user, void **user_arg, const char **text)
{
	struct fb_box *box = arg;
	struct entry *e = find(box, hello->function);

	if (!e) {
		*text = "this box has no function of that name";
		return FB_LINK_R_NO_FUNCTION;
	}
	if (e->absent) {
		*text = "what is behind the function is gone for now";
		return FB_LINK_R_REMOVED;
	}
	if (box->state != RUNNING) {
		*text = "the box is stopping";
		return FB_LINK_R_REMOVED;
	}
	if (hello->group != box->group) {
		*text = "the function is in another group";
		return FB_LINK_R_GROUP;
	}
	if (e->port && memcmp(e->root.node, hello->from.node, sizeof(e->root.node))) {
		snprintf(e->in_use, sizeof(e->in_use), "in use by the root at %s", e->from);
		*text = e->in_use;
		return FB_LINK_R_IN_USE;
	}
	end_session(e, FB_LINK_R_SUPERSEDED, "the same root connected anew");
	e->port = port;
	e->root = hello->from;
	snprintf(e->from, sizeof(e->from), "%s", from);
	fb_device_attach(e->dev, port);
	*user = &fb_device_port_user;
	*user_arg = e->dev;
	return 0;
}

static void directory(void *arg, const struct fb_directory_request *request, struct fb_directory_page *page)
{
	const struct fb_box *box = arg;

	page->total = 0;
	for (unsigned i = 0; i < box->n && request->group == box->group; i++) {
		const struct entry *e = box->entries[i];
		struct fb_directory_entry *out;

		if (e->absent || page->total++ < request->first ||
		    page->n == sizeof(page->entries) / sizeof(page->entries[0]))
			continue;
		out = &page->entries[page->n++];
		memset(out, 0, sizeof(*out));
		snprintf(out->id, sizeof(out->id), "%s", fb_device_id(e->dev));
		snprintf(out->model, sizeof(out->model), "%s", fb_device_model(e->dev)->name);
		out->vendor_id = e->dev->identity.vendor_id;
		out->device_id = e->dev->identity.device_id;
		out->class_code = e->dev->identity.class_code;
		out->group = box->group;
		out->in_use = e->port != NULL;
		/* Not out->user: who knows a root's node can say hello in its name and take the function over. */
	}
}

/* The adapter came, or went. */
static void softpcie_changed(void *arg)
{
	struct entry *e = arg;
	struct fb_box *box = e->box;

	e->port = fb_softpcie_host_up(box->softpcie);
	snprintf(e->from, sizeof(e->from), "softpcie:%s", fb_softpcie_host_address(box->softpcie));
}

static const struct fb_acceptor acceptor = {.hello = hello, .directory = directory};

/* ---- Stop ------------------------------------------------------------------------------- */

static bool all_idle(const struct fb_box *box)
{
	for (unsigned i = 0; i < box->n; i++) {
		if (!box->entries[i]->idle)
			return false;
	}
	return true;
}

/* Perhaps from inside the model: nothing is done here that the model would see. */
static void device_idle(void *arg, struct fb_device *dev)
{
	struct entry *e = arg;
	struct fb_box *box = e->box;

	(void)dev;
	e->idle = true;
	if (box->state == QUIESCING && all_idle(box))
		fb_timer_set(box->loop, &box->stop, fb_loop_now(box->loop));
}

static void stop_due(struct fb_timer *timer)
{
	struct fb_box *box = (struct fb_box *)((char *)timer - offsetof(struct fb_box, stop));

	if (box->state == QUIESCING) {
		for (unsigned i = 0; i < box->n; i++) {
			if (!box->entries[i]->idle)
				fb_device_warn(box->entries[i]->dev, "still busy at the end of the time to stop: reset");
			end_session(box->entries[i], FB_LINK_R_REMOVED, "the box is stopping");
		}
		/* A round later what was said to the roots has left. */
		box->state = CLOSED;
		fb_timer_set(box->loop, &box->stop, fb_loop_now(box->loop) + 1);
		return;
	}
	if (box->stopped)
		box->stopped(box->stopped_arg);
}

void fb_box_stop(struct fb_box *box, uint64_t timeout_ns, void (*done)(void *arg), void *arg)
{
	if (box->state != RUNNING)
		return;
	box->stopped = done;
	box->stopped_arg = arg;
	for (unsigned i = 0; i < box->n; i++)
		fb_device_quiesce(box->entries[i]->dev);
	box->state = QUIESCING;
	fb_timer_set(box->loop, &box->stop, all_idle(box) ? fb_loop_now(box->loop) : fb_clock_ns() + timeout_ns);
}

/* ---- Life --------------------------------------------------------------------------------- */

static int add_function(struct fb_box *box, struct fb_device *dev)
{
	struct entry **entries = realloc(box->entries, (box->n + 1) * sizeof(struct entry *)), *e;

	if (!entries)
		return -ENOMEM;
	box->entries = entries;
	if (find(box, fb_device_id(dev))) {
		fb_error(NULL, "device '%s': there is a device of that id already", fb_device_id(dev));
		return -EINVAL;
	}
	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->box = box;
	e->dev = dev;
	dev->hooks = (struct fb_device_hooks){.down = device_down, .idle = device_idle, .present = device_present, .arg = e};
	entries[box->n++] = e;
	return 0;
}

static void remove_device(struct fb_box *box, struct fb_device *dev)
{
	unsigned n = box->n;

	while (n && fb_device_function(box->entries[n - 1]->dev, 0) == dev)
		n--;
	fb_device_free(dev); /* which may still say that it is idle */
	while (box->n > n)
		free(box->entries[--box->n]);
}

static int add_device(struct fb_box *box, const struct fb_box_config *config, const char *spec)
{
	struct fb_device *dev, *function;
	int err = fb_device_new(&dev, box->loop, config->models, spec);

	if (err)
		return err;
	for (unsigned i = 0; !err && (function = fb_device_function(dev, i)); i++) {
		fb_device_wire_tap(function, config->wire_tap);
		err = add_function(box, function);
	}
	if (err)
		remove_device(box, dev);
	return err;
}

int fb_box_new(struct fb_box **out, struct fb_loop *loop, const struct fb_box_config *config)
{
	struct fb_box *box = calloc(1, sizeof(*box));
	unsigned n = 0;
	int err = 0;

	if (!box)
		return -ENOMEM;
	while (config->devices && config->devices[n])
		n++;
	if (n == 0 || (n > 1 && config->softpcie)) {
		fb_error(NULL, n ? "behind a SoftPCIe adapter there is one device: give one --device"
				 : "a box without devices: give at least one --device");
		free(box);
		return -EINVAL;
	}
	box->loop = loop;
	box->group = config->group;
	box->stop.due = stop_due;
	for (unsigned i = 0; i < n && !err; i++)
		err = add_device(box, config, config->devices[i]);
	if (!err && config->softpcie)
		err = fb_softpcie_host_new(&box->softpcie, loop, box->entries[0]->dev, config->softpcie,
					   config->carrier.link.hold_ns, config->carrier.tap, softpcie_changed, box->entries[0]);
	else if (!err)
		err = fb_carrier_open(&box->carrier, loop, &config->carrier, &acceptor, box);
	if (err) {
		fb_box_free(box);
		return err;
	}
	*out = box;
	return 0;
}

void fb_box_free(struct fb_box *box)
{
	if (!box)
		return;
	box->state = CLOSED; /* a device that becomes idle while it is freed sets no timer any more */
	fb_timer_cancel(&box->stop);
	for (unsigned i = 0; i < box->n; i++)
		end_session(box->entries[i], FB_LINK_R_REMOVED, "the box is gone");
	if (box->carrier)
		fb_carrier_close(box->carrier);
	fb_softpcie_host_free(box->softpcie);
	while (box->n)
		remove_device(box, fb_device_function(box->entries[box->n - 1]->dev, 0));
	free(box->entries);
	free(box);
}

/* ---- What there is to see -------------------------------------------------------------------- */

unsigned fb_box_functions(const struct fb_box *box)
{
	return box->n;
}

int fb_box_function_info(const struct fb_box *box, unsigned index, struct fb_function_info *info)
{
	const struct entry *e;

	if (index >= box->n)
		return -ENOENT;
	e = box->entries[index];
	fb_device_counters(e->dev, info);
	info->group = box->group;
	snprintf(info->root, sizeof(info->root), "%s", e->port ? e->from : "");
	return 0;
}

int fb_box_function_link(const struct fb_box *box, unsigned index, struct fb_port_stats *stats)
{
	if (index >= box->n)
		return -ENOENT;
	if (!box->entries[index]->port || box->softpcie)
		return -ENOTCONN;
	fb_port_get_stats(box->entries[index]->port, stats);
	return 0;
}

static const char *const hop_names[] = {[FB_BOX_HOP_BOX] = "box", [FB_BOX_HOP_MODEL] = "model"};
_Static_assert(sizeof(hop_names) / sizeof(hop_names[0]) == FB_BOX_HOPS, "a hop has no name");

const char *fb_box_hop_name(enum fb_box_hop hop)
{
	return (unsigned)hop < FB_BOX_HOPS ? hop_names[hop] : "?";
}

const struct fb_histogram *fb_box_function_time(const struct fb_box *box, unsigned index, enum fb_box_hop hop)
{
	return index < box->n && (unsigned)hop < FB_BOX_HOPS ? &box->entries[index]->dev->times[hop].time : NULL;
}

void fb_box_function_stats(const struct fb_box *box, unsigned index,
			   void (*put)(void *arg, const char *name, uint64_t value), void *arg)
{
	if (index < box->n)
		fb_device_model_stats(box->entries[index]->dev, put, arg);
}

const char *fb_box_softpcie(const struct fb_box *box)
{
	return box->softpcie ? fb_softpcie_host_address(box->softpcie) : NULL;
}

void fb_box_softpcie_stats(const struct fb_box *box, void (*put)(void *arg, const char *name, uint64_t value), void *arg)
{
	if (box->softpcie)
		fb_softpcie_host_put_stats(box->softpcie, put, arg);
}

struct fb_carrier *fb_box_carrier(struct fb_box *box)
{
	return box->carrier;
}
