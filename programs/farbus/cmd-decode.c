/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capture/dissect.h"
#include "cli.h"
#include "command.h"
#include "tlp/fields.h"
#include "util/log.h"

struct decode_options {
	bool tree, all, quiet;
};
#define M(member) offsetof(struct decode_options, member)

static const struct cli_option decode_table[] = {
	{.value = {"tree", FB_OPTION_BOOL, M(tree), .help = "print every field of each TLP, by its name in the specification"},
	 .letter = 't'},
	{.value = {"all", FB_OPTION_BOOL, M(all), .help = "print also what holds no TLP, and what is not ours"}, .letter = 'a'},
	{.value = {"quiet", FB_OPTION_BOOL, M(quiet), .help = "no summary at the end"}, .letter = 'q'},
	{.value = {.key = NULL}},
};

struct decode {
	const struct decode_options *options;
	uint64_t first_ns;
	uint64_t tlps, malformed, control, problems, foreign;
	uint64_t last_packet, dropped;
};

static void print_field(void *arg, const struct pcie_field *f)
{
	printf("    %-28s %s\n", f->name, f->value);
}

static void print_data(const struct pcie_tlp *tlp)
{
	enum { SHOWN = 8 };
	unsigned bytes = tlp->data ? tlp->length * 4u : 0;

	if (!bytes)
		return;
	printf(" data ");
	for (unsigned i = 0; i < bytes && i < SHOWN; i++)
		printf("%02x", tlp->data[i]);
	if (bytes > SHOWN)
		printf("…");
}

static void print_tlp(const struct fb_seen *s, bool tree)
{
	char text[256];

	pcie_tlp_describe(&s->tlp, text, sizeof(text));
	if (!s->error) {
		printf("%s", text);
		print_data(&s->tlp);
	} else {
		/* The decoder looks at sizes before it looks at fields. */
		if (s->error > PCIE_TLP_E_TYPE && s->error <= PCIE_TLP_E_TRAILING)
			snprintf(text, sizeof(text), "%s", pcie_tlp_type_name(s->tlp.type));
		printf("malformed: %s", pcie_tlp_error_name(s->error));
		if (s->error > PCIE_TLP_E_TYPE)
			printf(" (%s)", text);
	}
	if (s->len < s->original_len)
		printf(" (%zu of %zu bytes captured)", s->len, s->original_len);
	printf("\n");
	if (tree)
		pcie_tlp_fields(s->bytes, s->len, print_field, NULL);
}

static void print_time(struct decode *d, const struct fb_packet *p)
{
	uint64_t t = p->time_ns >= d->first_ns ? p->time_ns - d->first_ns : d->first_ns - p->time_ns;

	printf("%6" PRIu64 " %s%" PRIu64 ".%09" PRIu64 " ", p->number, p->time_ns < d->first_ns ? "-" : "", t / 1000000000,
	       t % 1000000000);
}

static void see(void *arg, const struct fb_packet *p, const struct fb_seen *s)
{
	struct decode *d = arg;

	if (p->dropped && p->number != d->last_packet) {
		printf("%6s %" PRIu64 " dropped here, as the capture says\n", "", p->dropped);
		d->dropped += p->dropped;
	}
	d->last_packet = p->number;
	d->tlps += s->kind == FB_SEEN_TLP;
	d->malformed += s->kind == FB_SEEN_TLP && s->error;
	d->control += s->kind == FB_SEEN_CONTROL;
	d->problems += s->kind == FB_SEEN_PROBLEM;
	d->foreign += s->kind == FB_SEEN_FOREIGN;
	if ((s->kind == FB_SEEN_CONTROL || s->kind == FB_SEEN_FOREIGN) && !d->options->all)
		return;
	print_time(d, p);
	if (*s->flow)
		printf("%s  ", s->flow);
	if (s->kind == FB_SEEN_TLP)
		print_tlp(s, d->options->tree);
	else if (s->kind == FB_SEEN_PROBLEM)
		printf("offset %" PRIu64 ": %s\n", p->offset, s->text);
	else
		printf("%s\n", s->text);
}

static ssize_t read_fd(void *arg, void *buf, size_t len)
{
	ssize_t n;

	do
		n = read(*(int *)arg, buf, len);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static void summary(const struct decode *d, const struct fb_pcap_totals *t)
{
	fflush(stdout);
	fprintf(stderr, "decode: %" PRIu64 " TLPs in %" PRIu64 " packets", d->tlps, t->packets);
	if (d->malformed)
		fprintf(stderr, ", %" PRIu64 " of them malformed", d->malformed);
	if (d->problems)
		fprintf(stderr, ", %" PRIu64 " problems", d->problems);
	if (d->control && !d->options->all)
		fprintf(stderr, "; %" PRIu64 " packets of ours without TLPs", d->control);
	if (d->foreign && !d->options->all)
		fprintf(stderr, "; %" PRIu64 " packets of others", d->foreign);
	if (t->has_statistics)
		fprintf(stderr, "; %" PRIu64 " dropped by the capture", t->dropped);
	fprintf(stderr, "\n");
}

static int decode_file(const char *path, const struct decode_options *options)
{
	struct decode d = {.options = options};
	struct fb_dissector *dissector = NULL;
	struct fb_pcap_file *file = NULL;
	struct fb_packet packet;
	int fd = strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO, err;

	if (fd < 0) {
		fb_error(NULL, "%s: %s", path, strerror(errno));
		return EXIT_FAILED;
	}
	err = fb_pcap_open(&file, read_fd, &fd);
	if (!err)
		err = fb_dissector_new(&dissector);
	if (err) {
		fb_error(NULL, "%s", strerror(-err));
		goto close_file;
	}
	while ((err = fb_pcap_next(file, &packet)) > 0) {
		if (packet.number == 1)
			d.first_ns = packet.time_ns;
		fb_dissect(dissector, &packet, see, &d);
		if (ferror(stdout)) /* its reader has had enough */
			break;
	}
	if (!options->quiet)
		summary(&d, fb_pcap_totals(file));
	if (err < 0)
		fb_error(NULL, "%s: %s", path, fb_pcap_error(file));
close_file:
	fb_dissector_free(dissector);
	fb_pcap_close(file);
	if (fd != STDIN_FILENO)
		close(fd);
	return err < 0 ? EXIT_FAILED : 0;
}

/* ---- Hexadecimal on the command line ------------------------------------------- */

static int digit(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10 : -1;
}

/* All words together; blanks, colons, commas and 0x may stand between bytes. Size or -EINVAL, logged. */
static int parse_hex(char **words, unsigned n, uint8_t *out, size_t cap)
{
	size_t len = 0;

	for (unsigned i = 0; i < n; i++) {
		for (const char *c = words[i]; *c;) {
			if (isspace((unsigned char)*c) || *c == ':' || *c == ',' || *c == '-') {
				c++;
			} else if (c[0] == '0' && (c[1] == 'x' || c[1] == 'X')) {
				c += 2;
			} else if (digit(c[0]) < 0 || digit(c[1]) < 0) {
				fb_error(NULL, "%.80s: no such file, and no hexadecimal bytes: \"%.8s\" stands at character %td",
					 words[i], c, c - words[i]);
				return -EINVAL;
			} else if (len == cap) {
				fb_error(NULL, "more than the %zu bytes that a TLP may have", cap);
				return -EINVAL;
			} else {
				out[len++] = (uint8_t)(digit(c[0]) << 4 | digit(c[1]));
				c += 2;
			}
		}
	}
	return (int)len;
}

static int decode_hex(char **words, unsigned n, const struct decode_options *options)
{
	uint8_t bytes[PCIE_TLP_MAX_SIZE];
	struct fb_seen seen;
	int len = parse_hex(words, n, bytes, sizeof(bytes));

	if (len < 0)
		return EXIT_USAGE;
	fb_dissect_tlp(&seen, bytes, (size_t)len, (size_t)len);
	print_tlp(&seen, options->tree);
	return seen.error ? EXIT_FAILED : 0;
}

int cmd_decode(int argc, char **argv)
{
	struct decode_options options = {.tree = false};
	struct cli cli = {
		.command = "decode",
		.usage = "FILE|HEX… [OPTION…]",
		.about = "Prints the TLPs of a capture: pcapng or pcap, of \"farbus capture\", or of tcpdump with datagrams of\n"
			 "the link or of SoftPCIe. FILE - is standard input. Or the one TLP that is given as hexadecimal bytes.",
		.groups = {{"Options", decode_table, &options}},
	};
	int err = cli_parse(&cli, argc, argv), status = err > 0 ? 0 : EXIT_USAGE;

	if (err)
		goto release;
	if (!cli.n_args)
		fb_error(NULL, "what? A capture file, - for standard input, or a TLP in hexadecimal");
	else if (cli.n_args == 1 && (!strcmp(cli.args[0], "-") || access(cli.args[0], F_OK) == 0))
		status = decode_file(cli.args[0], &options);
	else
		status = decode_hex(cli.args, cli.n_args, &options);
release:
	cli_release(&cli);
	return status;
}
