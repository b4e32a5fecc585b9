/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "capture/tap.h"
#include "control/describe.h"
#include "control/put.h"
#include "port/carrier.h"
#include "util/histogram.h"
#include "util/loop.h"

json_t *fb_describe_bdf(uint16_t bdf)
{
	return bdf ? json_sprintf("%02x:%02x.%x", bdf >> 8, bdf >> 3 & 31, bdf & 7) : json_null();
}

json_t *fb_describe_hex(uint32_t value, int digits)
{
	return json_sprintf("%0*x", digits, value);
}

int fb_describe_wanted(const json_t *only, const char *id)
{
	size_t i;
	json_t *name;

	if (!json_is_array(only))
		return 1;
	json_array_foreach(only, i, name) {
		if (json_is_string(name) && !strcmp(json_string_value(name), id))
			return 1;
	}
	return 0;
}

json_t *fb_describe_loop(const struct fb_loop_stats *s)
{
	json_t *o = json_object();

	PUT(o, s, rounds);
	PUT(o, s, busy_rounds);
	PUT(o, s, sleeps);
	PUT(o, s, spins);
	return o;
}

json_t *fb_describe_capture(const struct fb_tap_stats *s)
{
	json_t *o = json_object();

	PUT(o, s, started);
	PUT(o, s, running);
	PUT(o, s, tlps);
	PUT(o, s, bytes);
	PUT(o, s, dropped);
	return o;
}

json_t *fb_describe_net(const struct fb_net_stats *s)
{
	json_t *o = json_object();

	PUT(o, s, tx_datagrams);
	PUT(o, s, tx_bytes);
	PUT(o, s, tx_calls);
	PUT(o, s, tx_errors);
	PUT(o, s, tx_full);
	PUT(o, s, rx_datagrams);
	PUT(o, s, rx_bytes);
	PUT(o, s, rx_calls);
	PUT(o, s, rx_truncated);
	PUT(o, s, fault_dropped);
	PUT(o, s, fault_duplicated);
	PUT(o, s, fault_reordered);
	PUT(o, s, fault_corrupted);
	PUT(o, s, fault_delayed);
	return o;
}

json_t *fb_describe_carrier(const struct fb_carrier_stats *s)
{
	json_t *o = json_object(), *refused = json_object();

	PUT(o, s, rx_bad);
	PUT(o, s, rx_unknown_session);
	PUT(o, s, hellos);
	PUT(o, s, directory_requests);
	for (unsigned i = 0; i < FB_LINK_REASONS; i++) {
		if (s->refused[i])
			put_u64(refused, fb_link_reason_name((enum fb_link_reason)i), s->refused[i]);
	}
	json_object_set_new(o, "refused", refused);
	return o;
}

static json_t *describe_link(const struct fb_link_stats *s)
{
	json_t *o = json_object();

	PUT(o, s, tx_tlps);
	PUT(o, s, tx_tlp_bytes);
	PUT(o, s, rx_tlps);
	PUT(o, s, rx_tlp_bytes);
	PUT(o, s, tx_datagrams);
	PUT(o, s, tx_bytes);
	PUT(o, s, rx_datagrams);
	PUT(o, s, rx_bytes);
	PUT(o, s, retransmits);
	PUT(o, s, fast_retransmits);
	PUT(o, s, timeouts);
	PUT(o, s, rx_duplicates);
	PUT(o, s, rx_out_of_order);
	PUT(o, s, rx_bad);
	PUT(o, s, rx_corrupt);
	PUT(o, s, acks_sent);
	PUT(o, s, credit_stalls);
	PUT(o, s, window_stalls);
	PUT(o, s, srtt_ns);
	PUT(o, s, rttvar_ns);
	PUT(o, s, min_rtt_ns);
	PUT(o, s, rto_ns);
	PUT(o, s, mtu);
	PUT(o, s, window);
	PUT(o, s, in_flight);
	json_object_set_new(o, "clock_offset_ns", json_integer((json_int_t)s->clock_offset_ns));
	PUT(o, s, clock_error_ns);
	return o;
}

/* Types and errors that never came are left out: the lists are long. */
static json_t *describe_types(const uint64_t *count)
{
	json_t *o = json_object();

	for (unsigned i = 0; i < PCIE_TLP_TYPES; i++) {
		if (count[i])
			put_u64(o, pcie_tlp_type_name((enum pcie_tlp_type)i), count[i]);
	}
	return o;
}

json_t *fb_describe_times(const struct fb_histogram *h)
{
	json_t *o, *buckets;

	if (!h)
		return json_null();
	o = json_object();
	buckets = json_array();
	put_u64(o, "n", h->n);
	put_u64(o, "mean_ns", h->n ? h->sum / h->n : 0);
	put_u64(o, "p50_ns", fb_histogram_percentile(h, 500000));
	put_u64(o, "p90_ns", fb_histogram_percentile(h, 900000));
	put_u64(o, "p99_ns", fb_histogram_percentile(h, 990000));
	put_u64(o, "p999_ns", fb_histogram_percentile(h, 999000));
	put_u64(o, "max_ns", h->max);
	for (unsigned i = 0; i < FB_HISTOGRAM_BUCKETS; i++) {
		if (h->bucket[i])
			json_array_append_new(buckets, json_pack("[I, I]", (json_int_t)fb_histogram_value(i),
								 (json_int_t)h->bucket[i]));
	}
	json_object_set_new(o, "buckets", buckets);
	return o;
}

json_t *fb_describe_port(const struct fb_port_stats *s)
{
	json_t *o = json_object(), *malformed = json_object();

	put_text(o, "peer", s->peer);
	json_object_set_new(o, "rtt", fb_describe_times(s->rtt));
	json_object_set_new(o, "link", describe_link(&s->link));
	json_object_set_new(o, "tlp_tx", describe_types(s->tx));
	json_object_set_new(o, "tlp_rx", describe_types(s->rx));
	for (unsigned i = 0; i < PCIE_TLP_ERRORS; i++) {
		if (s->rx_malformed[i])
			put_u64(malformed, pcie_tlp_error_name((enum pcie_tlp_error)i), s->rx_malformed[i]);
	}
	json_object_set_new(o, "malformed", malformed);
	return o;
}
