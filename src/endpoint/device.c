/* SPDX-License-Identifier: Apache-2.0 */
/* A device: how it is made and ends, its session with a root, and where TLPs from the root go. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint/device_impl.h"
#include "tlp/regs.h"
#include "util/reader.h"
#include "util/text.h"

/* In front of the model's state, so that the way back from it is one subtraction. */
struct state_header {
	_Alignas(16) struct fb_device *dev;
};

/* ---- What a model may ask and say ----------------------------------------------- */

void *fb_device_state(struct fb_device *dev)
{
	return dev->state;
}

struct fb_device *fb_device_of_state(void *state)
{
	return ((struct state_header *)state)[-1].dev;
}

const char *fb_device_id(const struct fb_device *dev)
{
	return dev->options.id;
}

const char *fb_device_name(const struct fb_device *dev)
{
	return fb_on_thread(dev) ? dev->options.id : dev->name; /* the loop renames it when it likes */
}

unsigned fb_device_function_number(const struct fb_device *dev)
{
	return dev->number;
}

struct fb_device *fb_device_function(struct fb_device *dev, unsigned number)
{
	struct fb_device *first = dev->parent ? dev->parent : dev;

	return number == 0 ? first : number <= first->n_functions ? first->functions[number - 1] : NULL;
}

const struct fb_model *fb_device_model(const struct fb_device *dev)
{
	return dev->model;
}

#define LOG_FUNCTION(function, level)                                                                                  \
	void function(struct fb_device *dev, const char *fmt, ...)                                                         \
	{                                                                                                              \
		char name[sizeof(dev->name)];                                                                          \
		va_list ap;                                                                                            \
                                                                                                                       \
		if (dev->realizing && (level) == FB_LOG_ERROR)                                                         \
			dev->said_why = true;                                                                          \
		if (!fb_log_enabled(level))                                                                            \
			return;                                                                                        \
		if (fb_on_thread(dev))                                                                                 \
			fb_thread_name(dev, name, sizeof(name));                                                       \
		va_start(ap, fmt);                                                                                     \
		fb_vlog(level, fb_on_thread(dev) ? name : dev->name, fmt, ap);                                         \
		va_end(ap);                                                                                            \
	}
LOG_FUNCTION(fb_device_error, FB_LOG_ERROR)
LOG_FUNCTION(fb_device_warn, FB_LOG_WARN)
LOG_FUNCTION(fb_device_info, FB_LOG_INFO)
LOG_FUNCTION(fb_device_debug, FB_LOG_DEBUG)

void fb_device_counters(const struct fb_device *dev, struct fb_function_info *info)
{
	*info = dev->stats;
	info->id = dev->options.id;
	info->model = dev->model->name;
	info->identity = dev->identity;
	info->bdf = dev->bdf;
	info->attached = dev->port != NULL;
}

void fb_device_rename(struct fb_device *dev)
{
	char name[sizeof(dev->name)];

	if (dev->bdf_known)
		snprintf(name, sizeof(name), "%s %02x:%02x.%u", dev->options.id, dev->bdf >> 8, dev->bdf >> 3 & 0x1f,
			 dev->bdf & 7u);
	else
		snprintf(name, sizeof(name), "%s", dev->options.id ? dev->options.id : dev->model->name);
	if (dev->thread)
		fb_thread_rename(dev, name);
	else
		memcpy(dev->name, name, sizeof(name));
}

void fb_device_log_tlp(struct fb_device *dev, const struct pcie_tlp *tlp, const char *what)
{
	char text[160];
	uint64_t more;

	if (!fb_log_enabled(FB_LOG_INFO) || !fb_log_allowed(&dev->log_tlp, fb_loop_now(dev->loop), &more))
		return;
	pcie_tlp_describe(tlp, text, sizeof(text));
	if (more)
		fb_device_info(dev, "%s: %s (%llu more not shown)", what, text, (unsigned long long)more);
	else
		fb_device_info(dev, "%s: %s", what, text);
}

void fb_device_idle(struct fb_device *dev)
{
	if (fb_on_thread(dev))
		fb_thread_idle(dev);
	else if (dev->hooks.idle)
		dev->hooks.idle(dev->hooks.arg, dev);
}

void fb_device_set_present(struct fb_device *dev, bool present, const char *why)
{
	if (fb_on_thread(dev))
		fb_thread_set_present(dev, present, why);
	else if (dev->hooks.present)
		dev->hooks.present(dev->hooks.arg, dev, present, why ? why : "");
}

void fb_device_quiesce(struct fb_device *dev)
{
	if (dev->thread)
		fb_thread_quiesce(dev);
	else if (!dev->model->quiesce || dev->model->quiesce(dev))
		fb_device_idle(dev);
}

void fb_device_model_stats(struct fb_device *dev, void (*put)(void *arg, const char *name, uint64_t value), void *arg)
{
	if (dev->thread)
		fb_thread_stats(dev, put, arg);
	else if (dev->model->stats)
		dev->model->stats(dev, put, arg);
}

/* ---- Birth ------------------------------------------------------------------------ */

const struct fb_model *fb_model_find(const struct fb_model *const *models, const char *name)
{
	for (; *models; models++) {
		if (!strcmp((*models)->name, name))
			return *models;
	}
	return NULL;
}

/* The first member that a model cannot be without, and is; or NULL. */
static const char *missing_member(const struct fb_model *m)
{
	if (!m->name)
		return "name";
	if (!m->read)
		return "read()";
	if (!m->write)
		return "write()";
	if (!m->reset)
		return "reset()";
	if (m->n_bars && !m->bars)
		return "bars, and n_bars is not 0";
	return m->n_options && !m->options ? "options, and n_options is not 0" : NULL;
}

int fb_model_read(struct fb_model *out, const struct fb_model *model, const char *where)
{
	const size_t least = offsetof(struct fb_model, style); /* the first version */
	const uint8_t *more = (const uint8_t *)model + sizeof(*out);
	const char *missing;

	if (model->api != FB_DEVICE_API) {
		fb_error(where, "the model was built for device API %u, this farbus has %u: build it anew", model->api,
			 FB_DEVICE_API);
		return -ELIBBAD;
	}
	if (model->size < least) {
		fb_error(where, "the model's size is %u, device API %u has at least %zu: it is not sizeof(struct fb_model)",
			 model->size, FB_DEVICE_API, least);
		return -ELIBBAD;
	}
	for (size_t i = sizeof(*out); i < model->size; i++) { /* members that we do not know must not be in use */
		if (*more++) {
			fb_error(where, "the model was built for a newer farbus, and uses what this one does not have");
			return -ELIBBAD;
		}
	}
	memset(out, 0, sizeof(*out));
	memcpy(out, model, model->size < sizeof(*out) ? model->size : sizeof(*out));
	missing = missing_member(out);
	if (missing)
		fb_error(where, "the model has no %s", missing);
	else if (out->style != FB_STYLE_EVENT && out->style != FB_STYLE_BLOCKING)
		fb_error(where, "the model's style is %d, there are %d and %d", (int)out->style, FB_STYLE_EVENT,
			 FB_STYLE_BLOCKING);
	else
		return 0;
	return -ELIBBAD;
}

static void init_lists(struct fb_device *dev)
{
	struct fb_req_list *lists[] = {&dev->posted,   &dev->waiting,	&dev->reading, &dev->issued,
				       &dev->finished, &dev->finishing, &dev->pool};

	for (unsigned i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		TAILQ_INIT(lists[i]);
	dev->free_tags = dev->active_tags = dev->quarantine = (struct fb_tag_list){NO_TAG, NO_TAG};
	dev->timeout.due = fb_read_timeout;
}

/* All of function `dev` itself. */
static void destroy(struct fb_device *dev)
{
	fb_sched_stop_all(dev);
	fb_timer_cancel(&dev->timeout);
	fb_flush_cancel(&dev->finish);
	fb_dma_free(dev);
	fb_ep_irq_free(dev);
	fb_shape_free(dev);
	fb_device_options_free(dev);
	free(dev->functions);
	if (dev->state)
		free((struct state_header *)dev->state - 1);
	free(dev);
}

static void unrealize(struct fb_device *dev)
{
	while (dev->n_functions) {
		struct fb_device *f = dev->functions[dev->n_functions - 1];

		unrealize(f);
		destroy(f);
		dev->n_functions--;
	}
	if (dev->realized && dev->model->unrealize)
		dev->model->unrealize(dev);
}

static int realize(struct fb_device *dev)
{
	int err;

	if (!dev->model->realize)
		return 0;
	dev->realizing = true;
	err = dev->model->realize(dev);
	dev->realizing = false;
	if (err > 0) {
		fb_device_error(dev, "the model's realize() returned %d: 0 or -errno is allowed", err);
		return -EIO;
	}
	if (err && !dev->said_why)
		fb_device_error(dev, "the model's realize() failed: %s", strerror(-err));
	return err;
}

static int make(struct fb_device **out, struct fb_loop *loop, const struct fb_model *model, const char *options,
		struct fb_device *parent)
{
	struct fb_device *dev = calloc(1, sizeof(*dev));
	struct state_header *header;
	int err;

	if (!dev)
		return -ENOMEM;
	dev->loop = loop;
	dev->parent = parent;
	dev->number = parent ? parent->n_functions + 1 : 0;
	init_lists(dev);
	err = fb_model_read(&dev->whole_model, model, model->name);
	if (err)
		goto destroy;
	dev->model = model = &dev->whole_model;
	if (parent && model->style != parent->model->style) {
		fb_error(parent->name, "function %u: its model is in another style than the device's", dev->number);
		err = -EINVAL;
		goto destroy;
	}
	err = -ENOMEM;
	header = calloc(1, sizeof(*header) + model->state_size);
	if (!header)
		goto destroy;
	header->dev = dev;
	dev->state = header + 1;
	fb_device_rename(dev);

	err = fb_device_options(dev, options);
	if (err)
		goto destroy;
	if (parent) { /* the user gives those of function 0 */
		const char *id = dev->options.id;

		dev->options = parent->options;
		dev->options.id = id;
	}
	fb_device_rename(dev);
	err = fb_shape_take(dev);
	if (err)
		goto destroy;
	err = realize(dev);
	if (err)
		goto unrealize;
	dev->realized = true;
	err = fb_shape_check(dev);
	if (!err)
		err = fb_ep_irq_init(dev);
	if (err)
		goto unrealize;
	fb_ep_config_build(dev);
	if (!parent && model->style == FB_STYLE_BLOCKING)
		err = fb_thread_start(dev);
	if (err)
		goto unrealize;
	*out = dev;
	return 0;

unrealize:
	unrealize(dev);
destroy:
	destroy(dev);
	return err;
}

int fb_device_new_model(struct fb_device **out, struct fb_loop *loop, const struct fb_model *model, const char *options)
{
	return make(out, loop, model, options, NULL);
}

int fb_device_add_function(struct fb_device *dev, const struct fb_model *model, struct fb_device **out)
{
	struct fb_device **functions, *f;
	char options[64];
	int err;

	if (!dev->realizing || dev->parent)
		return -EINVAL;
	if (dev->n_functions == MAX_FUNCTIONS - 1)
		return -ENOSPC;
	functions = realloc(dev->functions, (dev->n_functions + 1) * sizeof(struct fb_device *));
	if (!functions)
		return -ENOMEM;
	dev->functions = functions;
	snprintf(options, sizeof(options), "id=%s.%u", dev->options.id, dev->n_functions + 1);
	err = make(&f, dev->loop, model, options, dev);
	if (err) {
		dev->said_why = true;
		return err;
	}
	functions[dev->n_functions++] = f;
	if (out)
		*out = f;
	return 0;
}

int fb_device_new(struct fb_device **out, struct fb_loop *loop, const struct fb_model *const *models, const char *spec)
{
	size_t len = strcspn(spec, ",");
	const char *names[128], *near;
	const struct fb_model *model;
	char name[4096], list[512] = "";
	unsigned n = 0;
	int err;

	snprintf(name, sizeof(name), "%.*s", (int)len, spec);
	model = fb_model_find(models, name);
	if (!model) {
		err = fb_model_load(name, &model);
		if (err && err != -ENOENT)
			return err;
	}
	if (model)
		return fb_device_new_model(out, loop, model, spec[len] ? spec + len + 1 : "");

	for (size_t at = 0; models[n] && n < 127 && at < sizeof(list); n++) {
		names[n] = models[n]->name;
		at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%s", n ? ", " : "", names[n]);
	}
	names[n] = NULL;
	near = fb_nearest(name, names);
	fb_error(NULL, "device '%s': there is no such model%s%s%s; there are: %s", name, near ? "; did you mean " : "",
		 near ? near : "", near ? "?" : "", list);
	return -EINVAL;
}

void fb_device_free(struct fb_device *dev)
{
	if (!dev)
		return;
	for (unsigned i = dev->n_functions; i > 0; i--)
		fb_device_detach(dev->functions[i - 1]);
	fb_device_detach(dev);
	if (!fb_thread_stop(dev))
		return;
	unrealize(dev);
	destroy(dev);
}

/* ---- The session ------------------------------------------------------------------ */

void fb_device_attach(struct fb_device *dev, struct fb_port *port)
{
	fb_device_detach(dev);
	dev->port = port;
	port->user = &fb_device_port_user;
	port->arg = dev;
	dev->post_blocked = dev->np_blocked = false;
	dev->msg_queued = 0;
	fb_offer_attach(dev);
}

void fb_device_detach(struct fb_device *dev)
{
	if (!dev->port)
		return;
	dev->port = NULL; /* from here on nothing is sent, and DMA is refused with -ENOTCONN */
	fb_post_cancel_all(dev);
	fb_reset(dev, FB_RESET_SESSION);
}

static void port_down(void *arg, int reason, const char *text)
{
	struct fb_device *dev = arg;

	fb_device_detach(dev);
	if (dev->hooks.down)
		dev->hooks.down(dev->hooks.arg, dev, reason, text);
}

static void port_writable(void *arg, enum pcie_fc cls)
{
	struct fb_device *dev = arg;

	if (cls == PCIE_FC_NP)
		dev->np_blocked = false;
	else
		dev->post_blocked = false;
	fb_post_drain(dev);
	fb_read_issue(dev);
}

/* ---- TLPs from the root -------------------------------------------------------------- */

bool fb_device_unsupported(struct fb_device *dev, const struct pcie_tlp *tlp)
{
	bool posted = pcie_tlp_fc(tlp->type) == PCIE_FC_P;

	dev->stats.unsupported_requests++;
	fb_device_log_tlp(dev, tlp, "unsupported request");
	fb_aer_report(dev, FB_ERR_UNSUPPORTED_REQUEST, tlp, !posted);
	return posted || fb_post_completion(dev, tlp, PCIE_CPL_UR, NULL, 0);
}

void fb_device_aborted(struct fb_device *dev, const struct pcie_tlp *tlp)
{
	bool posted = pcie_tlp_fc(tlp->type) == PCIE_FC_P;

	dev->stats.completer_aborts++;
	fb_device_log_tlp(dev, tlp, "aborted by the model");
	if (!posted)
		fb_cfg_set16(dev, PCI_STATUS, fb_cfg16(dev, PCI_STATUS) | PCI_STATUS_SIG_TARGET_ABORT);
	fb_aer_report(dev, FB_ERR_COMPLETER_ABORT, tlp, !posted);
}

/* 2.7.2.2: the data is not used, whatever it was for. */
static bool poisoned(struct fb_device *dev, const struct pcie_tlp *tlp)
{
	bool posted = pcie_tlp_fc(tlp->type) == PCIE_FC_P;

	fb_device_log_tlp(dev, tlp, "poisoned");
	fb_cfg_set16(dev, PCI_STATUS, fb_cfg16(dev, PCI_STATUS) | PCI_STATUS_DETECTED_PARITY);
	fb_aer_report(dev, FB_ERR_POISONED, tlp, !posted);
	return posted || fb_post_completion(dev, tlp, PCIE_CPL_UR, NULL, 0);
}

static bool config_request(struct fb_device *dev, const struct pcie_tlp *tlp)
{
	uint8_t data[4];
	uint32_t value;
	bool released, flr;

	if (tlp->completer_id & 7) /* a device of one function */
		return fb_device_unsupported(dev, tlp);
	if (tlp->type == PCIE_TLP_CFGRD0) {
		dev->stats.cfg_reads++;
		value = fb_ep_config_read(dev, tlp->reg);
		fb_put_le32(data, value);
		return fb_post_completion(dev, tlp, PCIE_CPL_SC, data, 4);
	}
	if (!dev->bdf_known || dev->bdf != tlp->completer_id) { /* 2.2.6.2: captured from each CfgWr0 */
		dev->bdf = tlp->completer_id;
		dev->bdf_known = true;
		fb_device_rename(dev);
	}
	dev->stats.cfg_writes++;
	value = fb_get_le32(tlp->data);
	flr = fb_ep_config_write(dev, tlp->reg, value, tlp->first_be);
	released = fb_post_completion(dev, tlp, PCIE_CPL_SC, NULL, 0);
	if (flr)
		fb_reset(dev, FB_RESET_FLR);
	return released;
}

static bool message(struct fb_device *dev, const struct pcie_tlp *tlp)
{
	unsigned at = dev->cap_exp + EXP_DEVCAP;

	switch (tlp->msg_code) {
	case PCIE_MSG_SET_SLOT_POWER_LIMIT: /* 7.5.3.3: value and scale as they come */
		if (tlp->data)
			fb_cfg_set32(dev, at,
				     (fb_cfg32(dev, at) & ~0x0ffc0000u) | (uint32_t)tlp->data[0] << 18 |
					     (uint32_t)(tlp->data[1] & 3) << 26);
		return true;
	case PCIE_MSG_PME_TURN_OFF: /* 5.3.3.2.1 */
		fb_post_message(dev, PCIE_MSG_PME_TO_ACK, PCIE_ROUTE_GATHER, 0);
		return true;
	case PCIE_MSG_UNLOCK:
	case PCIE_MSG_PM_ACTIVE_STATE_NAK:
	case PCIE_MSG_VENDOR_TYPE1:
		if (tlp->vendor_id == FB_RING_VENDOR && tlp->data)
			fb_ring_message(dev, tlp);
		return true;
	case 0x40: /* the Ignored Messages, 2.2.8.7 */
	case 0x41:
	case 0x43:
	case 0x44:
	case 0x45:
	case 0x47:
	case 0x48:
		return true;
	default:
		return fb_device_unsupported(dev, tlp);
	}
}

static bool port_tlp(void *arg, const struct pcie_tlp *tlp)
{
	struct fb_device *dev = arg;

	if (!dev->port)
		return true;
	dev->offers.seen += pcie_tlp_fc(tlp->type) != PCIE_FC_CPL;
	if (tlp->data && pcie_tlp_check_mps(tlp, dev->view.mps) != PCIE_TLP_OK) {
		dev->stats.malformed++;
		fb_device_log_tlp(dev, tlp, "payload above Max_Payload_Size");
		fb_aer_report(dev, FB_ERR_MALFORMED, tlp, false);
		return true;
	}
	if (tlp->ep && pcie_tlp_fc(tlp->type) != PCIE_FC_CPL)
		return poisoned(dev, tlp);

	switch (tlp->type) {
	case PCIE_TLP_MRD:
	case PCIE_TLP_MWR:
	case PCIE_TLP_IORD:
	case PCIE_TLP_IOWR:
		return fb_mmio_request(dev, tlp);
	case PCIE_TLP_CFGRD0:
	case PCIE_TLP_CFGWR0:
		return config_request(dev, tlp);
	case PCIE_TLP_CPL:
	case PCIE_TLP_CPLD:
	case PCIE_TLP_CPLLK:
	case PCIE_TLP_CPLDLK:
		fb_read_completion(dev, tlp);
		return true;
	case PCIE_TLP_MSG:
	case PCIE_TLP_MSGD:
		return message(dev, tlp);
	default: /* MRdLk, type 1 configuration, AtomicOps */
		return fb_device_unsupported(dev, tlp);
	}
}

const struct fb_port_user fb_device_port_user = {
	.tlp = port_tlp,
	.down = port_down,
	.writable = port_writable,
};
