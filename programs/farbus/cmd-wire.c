/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "command.h"
#include "goodput.h"
#include "table.h"
#include "util/log.h"

enum { LIST_MAX = 32, PAYLOAD_MAX = 4096 };

struct wire_options {
	struct cli_list speeds, payloads, mtus, framings;
	bool json, address64, ipv6;
};
#define M(member) offsetof(struct wire_options, member)

static const struct cli_option wire_table[] = {
	{.value = {"speed", FB_OPTION_STRING, M(speeds), .help = "of the Ethernet, bits a second"},
	 .kind = CLI_LIST, .separator = ',', .argument = "BITS[,BITS]", .shown = "1G,10G,40G,100G"},
	{.value = {"payload", FB_OPTION_STRING, M(payloads), .help = "bytes of data in a TLP"},
	 .kind = CLI_LIST, .separator = ',', .argument = "SIZE[,SIZE]", .shown = "128,256,512"},
	{.value = {"mtu", FB_OPTION_STRING, M(mtus), .help = "of the interface, bytes of IP packet"},
	 .kind = CLI_LIST, .separator = ',', .argument = "N[,N]", .shown = "1500"},
	{.value = {"framing", FB_OPTION_STRING, M(framings), .help = "softpcie, link"},
	 .kind = CLI_LIST, .separator = ',', .argument = "WORD[,WORD]", .shown = "softpcie,link"},
	{.value = {"64", FB_OPTION_BOOL, M(address64), .help =
		"TLPs with 64-bit addresses: 4 bytes more each"}},
	{.value = {"ipv6", FB_OPTION_BOOL, M(ipv6), .help = "the link over IPv6 instead of IPv4"}},
	{.value = {"json", FB_OPTION_BOOL, M(json), .help = "print JSON"}},
	{.value = {.key = NULL}},
};

static const char *const heads[] = {"FRAMING", "MTU", "PAYLOAD", "TLPS/DATAGRAM", "EFFICIENCY", "ETHERNET", "TLP GBIT/S",
				    "DATA GBIT/S", NULL};

struct sink {
	const struct wire_options *o;
	struct table table;
	json_t *rows;
};

static void put(struct sink *s, const char *framing, uint64_t mtu, uint64_t speed, const struct goodput *g)
{
	double gbit = (double)speed / 1e9;
	char cells[7][32];
	const char *row[] = {framing, cells[0], cells[1], cells[2], cells[3], cells[4], cells[5], cells[6]};

	if (s->o->json) {
		json_array_append_new(s->rows,
				      json_pack("{s:s, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f}", "framing", framing, "mtu",
						(json_int_t)mtu, "payload", (json_int_t)g->payload, "tlps_a_datagram",
						(json_int_t)g->tlps, "speed_bits", (json_int_t)speed, "frame_bytes",
						g->frame_bytes, "efficiency", g->data_share, "tlp_gbit", gbit * g->tlp_share,
						"data_gbit", gbit * g->data_share));
		return;
	}
	snprintf(cells[0], 32, "%llu", (unsigned long long)mtu);
	snprintf(cells[1], 32, "%u", g->payload);
	snprintf(cells[2], 32, "%u", g->tlps);
	snprintf(cells[3], 32, "%.1f %%", 100 * g->data_share);
	snprintf(cells[4], 32, "%g Gbit/s", gbit);
	/* Cut, not rounded: as the published table. */
	snprintf(cells[5], 32, "%.2f", floor(gbit * g->tlp_share * 100 + 1e-9) / 100);
	snprintf(cells[6], 32, "%.2f", floor(gbit * g->data_share * 100 + 1e-9) / 100);
	table_add(&s->table, row);
}

/* Items of a list by `parse`, or the defaults. 0 or -EINVAL, logged. */
static int values(const char *option, const struct cli_list *list, int (*parse)(const char *, uint64_t *), uint64_t min,
		  uint64_t max, uint64_t *v, unsigned *n)
{
	for (unsigned i = 0; i < list->n; i++) {
		if (i == LIST_MAX || parse(list->items[i], &v[i]) || v[i] < min || v[i] > max) {
			fb_error(NULL, "%s: \"%s\" must be %llu to %llu", option, list->items[i], (unsigned long long)min,
				 (unsigned long long)max);
			return -1;
		}
		*n = i + 1;
	}
	return 0;
}

static int print(const struct wire_options *o)
{
	uint64_t speeds[LIST_MAX] = {1000000000, 10000000000, 40000000000, 100000000000}, payloads[LIST_MAX] = {128, 256, 512};
	uint64_t mtus[LIST_MAX] = {1500};
	unsigned n_speeds = 4, n_payloads = 3, n_mtus = 1, header = o->address64 ? 16 : 12, n = 0;
	bool softpcie = o->framings.n == 0, link = softpcie;
	struct sink s = {.o = o, .table = {.heads = heads}};

	for (unsigned i = 0; i < o->framings.n; i++) {
		softpcie |= !strcmp(o->framings.items[i], "softpcie");
		link |= !strcmp(o->framings.items[i], "link");
		if (strcmp(o->framings.items[i], "softpcie") && strcmp(o->framings.items[i], "link")) {
			fb_error(NULL, "--framing: \"%s\" must be softpcie or link", o->framings.items[i]);
			return EXIT_USAGE;
		}
	}
	if (values("--speed", &o->speeds, fb_parse_rate, 1, UINT64_MAX / 2, speeds, &n_speeds) ||
	    values("--payload", &o->payloads, fb_parse_size, 1, PAYLOAD_MAX, payloads, &n_payloads) ||
	    values("--mtu", &o->mtus, fb_parse_u64, 68, 65535, mtus, &n_mtus))
		return EXIT_USAGE;
	s.rows = json_array();
	for (unsigned f = 0; f < 2; f++) {
		for (unsigned i = 0; (f ? link : softpcie) && i < n_mtus * n_payloads * n_speeds; i++) {
			uint32_t mtu = (uint32_t)mtus[i / (n_payloads * n_speeds)];
			uint32_t payload = (uint32_t)payloads[i / n_speeds % n_payloads];
			struct goodput g;
			int err = f ? goodput_link(&g, payload, header, mtu, o->ipv6 ? 40 : 20)
				    : goodput_softpcie(&g, payload, header, mtu);

			if (!err) {
				put(&s, f ? "link" : "softpcie", mtu, speeds[i % n_speeds], &g);
				n++;
			} else if (i % n_speeds == 0) {
				fb_warn(NULL, "%s: a payload of %u bytes does not go with an MTU of %u", f ? "link" : "softpcie",
					payload, mtu);
			}
		}
	}
	if (o->json) {
		json_t *all = json_pack("{s:O}", "rows", s.rows);

		json_dumpf(all, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(all);
	} else if (s.table.n_rows) {
		table_print(&s.table);
	}
	json_decref(s.rows);
	return n ? 0 : EXIT_FAILED;
}

int cmd_wire(int argc, char **argv)
{
	struct wire_options o = {.json = false};
	struct cli cli = {
		.command = "wire",
		.usage = "[OPTION…]",
		.about = "Prints what of an Ethernet is left for TLPs and for their data, by framing: SoftPCIe's, one TLP\n"
			 "a datagram, and the link's, as many as fit. Of reads that is the way of the completions.",
		.groups = {{"Options", wire_table, &o}},
	};
	int err = cli_parse(&cli, argc, argv), status = err > 0 ? 0 : EXIT_USAGE;

	if (!err && cli.n_args)
		fb_error(NULL, "\"%s\" is one word too many", cli.args[0]);
	else if (!err)
		status = print(&o);
	cli_release(&cli);
	return status;
}
