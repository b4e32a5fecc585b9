/* SPDX-License-Identifier: Apache-2.0 */
#include "control/describe.h"
#include "control/put.h"
#include "endpoint/endpoint.h"

static void put_model_counter(void *arg, const char *name, uint64_t value)
{
	put_u64(arg, name, value);
}

static json_t *ls_function(const struct fb_function_info *f)
{
	json_t *o = json_object();

	put_text(o, "id", f->id);
	put_text(o, "model", f->model);
	json_object_set_new(o, "vendor", fb_describe_hex(f->identity.vendor_id, 4));
	json_object_set_new(o, "device", fb_describe_hex(f->identity.device_id, 4));
	json_object_set_new(o, "class", fb_describe_hex(f->identity.class_code, 6));
	json_object_set_new(o, "bdf", fb_describe_bdf(f->bdf));
	put_text(o, "state", f->attached ? "in-use" : "free");
	put_text(o, "peer", f->attached ? f->root : "");
	put_u64(o, "group", f->group);
	return o;
}

json_t *fb_describe_box_ls(struct fb_box *box, const json_t *only)
{
	json_t *o = json_object(), *functions = json_array();
	struct fb_function_info f;
	char local[96];

	put_text(o, "role", "box");
	if (fb_box_softpcie(box))
		put_text(o, "softpcie", fb_box_softpcie(box));
	else
		put_text(o, "listen", fb_carrier_local(fb_box_carrier(box), local, sizeof(local)));
	for (unsigned i = 0; i < fb_box_functions(box); i++) {
		if (fb_box_function_info(box, i, &f) == 0 && fb_describe_wanted(only, f.id))
			json_array_append_new(functions, ls_function(&f));
	}
	json_object_set_new(o, "functions", functions);
	return o;
}

static json_t *stats_function(struct fb_box *box, unsigned index, const struct fb_function_info *f)
{
	json_t *o = json_object(), *count = json_object(), *model = json_object(),
	       *times = json_object();
	struct fb_port_stats port;

	put_text(o, "id", f->id);
	PUT(count, f, mmio_reads);
	PUT(count, f, mmio_writes);
	PUT(count, f, mmio_deferred);
	PUT(count, f, cfg_reads);
	PUT(count, f, cfg_writes);
	PUT(count, f, dma_reads);
	PUT(count, f, dma_read_bytes);
	PUT(count, f, dma_reads_ahead);
	PUT(count, f, shadow_indexes);
	PUT(count, f, shadow_looks);
	PUT(count, f, offers);
	PUT(count, f, offers_used);
	PUT(count, f, offers_outdated);
	PUT(count, f, bad_offers);
	PUT(count, f, bad_uses);
	PUT(count, f, dma_writes);
	PUT(count, f, dma_write_bytes);
	PUT(count, f, dma_errors);
	PUT(count, f, dma_timeouts);
	PUT(count, f, interrupts);
	PUT(count, f, interrupts_coalesced);
	PUT(count, f, unsupported_requests);
	PUT(count, f, completer_aborts);
	PUT(count, f, unexpected_completions);
	PUT(count, f, malformed);
	PUT(count, f, resets);
	json_object_set_new(o, "counters", count);
	fb_box_function_stats(box, index, put_model_counter, model);
	json_object_set_new(o, "model", model);
	for (unsigned hop = 0; hop < FB_BOX_HOPS; hop++)
		json_object_set_new(times, fb_box_hop_name((enum fb_box_hop)hop),
				    fb_describe_times(fb_box_function_time(box, index, (enum fb_box_hop)hop)));
	json_object_set_new(o, "times", times);
	json_object_set_new(o, "port",
			    fb_box_function_link(box, index, &port) == 0 ? fb_describe_port(&port) : json_null());
	return o;
}

json_t *fb_describe_box_stats(struct fb_box *box, const json_t *only)
{
	json_t *o = json_object(), *functions = json_array();
	struct fb_carrier *carrier = fb_box_carrier(box);
	struct fb_function_info f;

	put_text(o, "role", "box");
	for (unsigned i = 0; i < fb_box_functions(box); i++) {
		if (fb_box_function_info(box, i, &f) == 0 && fb_describe_wanted(only, f.id))
			json_array_append_new(functions, stats_function(box, i, &f));
	}
	json_object_set_new(o, "functions", functions);
	if (!carrier) {
		json_t *softpcie = json_object();

		fb_box_softpcie_stats(box, put_model_counter, softpcie);
		json_object_set_new(o, "softpcie", softpcie);
		return o;
	}
	json_object_set_new(o, "carrier", fb_describe_carrier(fb_carrier_stats(carrier)));
	json_object_set_new(o, "net", fb_describe_net(fb_carrier_net_stats(carrier)));
	return o;
}
