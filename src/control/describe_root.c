/* SPDX-License-Identifier: Apache-2.0 */
#include "control/describe.h"
#include "control/put.h"
#include "root/root.h"

static json_t *ls_function(const struct fb_root_function_info *f)
{
	json_t *o = json_object();

	put_text(o, "id", f->id);
	put_text(o, "model", f->model);
	json_object_set_new(o, "vendor", fb_describe_hex(f->vendor_id, 4));
	json_object_set_new(o, "device", fb_describe_hex(f->device_id, 4));
	json_object_set_new(o, "class", fb_describe_hex(f->class_code, 6));
	json_object_set_new(o, "bdf", fb_describe_bdf(f->bdf));
	put_text(o, "state", fb_root_function_state_name(f->state));
	put_text(o, "note", f->note);
	put_text(o, "peer", f->box);
	put_bool(o, "link_up", f->link_up);
	put_bool(o, "held_out", f->held_out);
	put_text(o, "socket", f->socket);
	put_u64(o, "client_pid", (uint64_t)f->client_pid);
	put_text(o, "client_version", f->client_version);
	put_text(o, "slot", f->slot);
	put_text(o, "slot_state", fb_root_slot_state_name(f->slot_state));
	put_text(o, "interrupts", fb_root_irq_mode_name(f->irq_mode));
	PUT(o, f, vectors);
	put_bool(o, "msix_hidden", f->msix_hidden);
	PUT(o, f, dma_regions);
	PUT(o, f, dma_regions_without_fd);
	PUT(o, f, dma_bytes);
	return o;
}

static json_t *describe_box(const struct fb_root_box_info *b)
{
	json_t *o = json_object();

	put_text(o, "address", b->address);
	put_bool(o, "reachable", b->reachable);
	put_u64(o, "incarnation", b->identity.incarnation);
	PUT(o, b, offered);
	put_text(o, "note", b->note);
	return o;
}

static json_t *describe_qmp(const struct fb_root_qmp_info *q)
{
	json_t *o;

	if (!q->used)
		return json_null();
	o = json_object();
	put_bool(o, "connected", q->connected);
	put_text(o, "qemu", q->version);
	PUT(o, q, slots);
	PUT(o, q, slots_free);
	PUT(o, q, commands);
	PUT(o, q, errors);
	PUT(o, q, events);
	PUT(o, q, reconnects);
	return o;
}

json_t *fb_describe_root_ls(struct fb_root *root, const json_t *only)
{
	json_t *o = json_object(), *functions = json_array(), *boxes = json_array();
	struct fb_root_function_info f;
	struct fb_root_box_info b;
	struct fb_root_qmp_info q;

	put_text(o, "role", "root");
	for (unsigned i = 0; i < fb_root_functions(root); i++) {
		if (fb_root_function_info(root, i, &f) == 0 && fb_describe_wanted(only, f.id))
			json_array_append_new(functions, ls_function(&f));
	}
	for (unsigned i = 0; i < fb_root_boxes(root); i++) {
		if (fb_root_box_info(root, i, &b) == 0)
			json_array_append_new(boxes, describe_box(&b));
	}
	fb_root_qmp_info(root, &q);
	json_object_set_new(o, "functions", functions);
	json_object_set_new(o, "boxes", boxes);
	json_object_set_new(o, "qmp", describe_qmp(&q));
	return o;
}

static json_t *describe_counters(const struct fb_root_counters *c)
{
	json_t *o = json_object();

	PUT(o, c, mmio_reads);
	PUT(o, c, mmio_writes);
	PUT(o, c, cfg_reads);
	PUT(o, c, cfg_writes);
	PUT(o, c, read_timeouts);
	PUT(o, c, read_errors);
	PUT(o, c, late_completions);
	PUT(o, c, unexpected_completions);
	PUT(o, c, writes_dropped);
	PUT(o, c, dma_reads);
	PUT(o, c, dma_read_bytes);
	PUT(o, c, dma_writes);
	PUT(o, c, dma_write_bytes);
	PUT(o, c, dma_atomics);
	PUT(o, c, dma_unmapped);
	PUT(o, c, dma_forbidden);
	PUT(o, c, dma_bad_requester);
	PUT(o, c, dma_stray);
	PUT(o, c, dma_messages);
	PUT(o, c, dma_faults);
	PUT(o, c, interrupts);
	PUT(o, c, interrupts_signalled);
	PUT(o, c, interrupts_lost);
	PUT(o, c, ahead);
	PUT(o, c, ahead_bytes);
	PUT(o, c, shadow_rung);
	PUT(o, c, shadow_served);
	PUT(o, c, shadow_found);
	PUT(o, c, offers);
	PUT(o, c, reads_offered);
	PUT(o, c, bad_offers);
	PUT(o, c, messages);
	PUT(o, c, errors_reported);
	PUT(o, c, unsupported);
	PUT(o, c, clients);
	PUT(o, c, clients_refused);
	PUT(o, c, client_messages);
	PUT(o, c, client_errors);
	PUT(o, c, client_killed);
	PUT(o, c, resets);
	PUT(o, c, sessions);
	PUT(o, c, surprise_removals);
	return o;
}

static json_t *describe_remote_counters(const struct fb_root_remote_counters *c)
{
	json_t *o = json_object();

	PUT(o, c, reads);
	PUT(o, c, read_bytes);
	PUT(o, c, writes);
	PUT(o, c, write_bytes);
	PUT(o, c, atomics);
	PUT(o, c, messages);
	PUT(o, c, denied);
	PUT(o, c, unmapped);
	PUT(o, c, forbidden);
	PUT(o, c, stray);
	PUT(o, c, unsupported);
	PUT(o, c, faults);
	return o;
}

static json_t *describe_remote(struct fb_root *root)
{
	json_t *o, *requesters = json_array();
	struct fb_root_remote_session_info s;
	struct fb_root_remote_info r;

	fb_root_remote_info(root, &r);
	if (!r.used) {
		json_decref(requesters);
		return json_null();
	}
	o = json_object();
	put_text(o, "listen", r.listen);
	PUT(o, &r, rules);
	PUT(o, &r, sessions);
	PUT(o, &r, sessions_total);
	PUT(o, &r, refused);
	json_object_set_new(o, "counters", describe_remote_counters(&r.count));
	json_object_set_new(o, "time", fb_describe_times(r.time));
	for (unsigned i = 0; fb_root_remote_session_info(root, i, &s) == 0; i++) {
		json_t *requester = json_object();

		put_text(requester, "function", s.function);
		json_object_set_new(requester, "counters", describe_remote_counters(&s.count));
		json_object_set_new(requester, "port", fb_describe_port(&s.port));
		json_array_append_new(requesters, requester);
	}
	json_object_set_new(o, "requesters", requesters);
	return o;
}

static json_t *stats_function(struct fb_root *root, unsigned index, const struct fb_root_function_info *f)
{
	json_t *o = json_object(), *times = json_object();
	struct fb_port_stats port;

	put_text(o, "id", f->id);
	json_object_set_new(o, "counters", describe_counters(&f->count));
	for (unsigned hop = 0; hop < FB_ROOT_HOPS; hop++)
		json_object_set_new(times, fb_root_hop_name((enum fb_root_hop)hop),
				    fb_describe_times(fb_root_function_time(root, index, (enum fb_root_hop)hop)));
	json_object_set_new(o, "times", times);
	json_object_set_new(o, "port",
			    fb_root_function_link(root, index, &port) == 0 ? fb_describe_port(&port) : json_null());
	return o;
}

json_t *fb_describe_root_stats(struct fb_root *root, const json_t *only)
{
	json_t *o = json_object(), *functions = json_array(), *boxes = json_array();
	struct fb_root_function_info f;
	struct fb_root_box_info b;
	struct fb_root_qmp_info q;

	put_text(o, "role", "root");
	for (unsigned i = 0; i < fb_root_functions(root); i++) {
		if (fb_root_function_info(root, i, &f) == 0 && fb_describe_wanted(only, f.id))
			json_array_append_new(functions, stats_function(root, i, &f));
	}
	for (unsigned i = 0; i < fb_root_boxes(root); i++) {
		json_t *box;

		if (fb_root_box_info(root, i, &b) < 0)
			continue;
		box = json_object();
		put_text(box, "address", b.address);
		json_object_set_new(box, "net", fb_describe_net(&b.net));
		json_array_append_new(boxes, box);
	}
	fb_root_qmp_info(root, &q);
	json_object_set_new(o, "functions", functions);
	json_object_set_new(o, "remote", describe_remote(root));
	json_object_set_new(o, "boxes", boxes);
	json_object_set_new(o, "qmp", describe_qmp(&q));
	return o;
}
