/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "dma-tool.h"
#include "link/link.h"
#include "net/net.h"
#include "util/log.h"
#include "util/loop.h"

#define M(member) offsetof(struct dma_options, member)

static const struct cli_option target_table[] = {
	{.value = {"depth", FB_OPTION_UINT, M(depth), 1, 1024, .help = "TLPs in flight at a time"},
	 .argument = "N", .shown = "256; perf has its own"},
	{.value = {"max-read", FB_OPTION_SIZE, M(max_read), 128, 4096, .power_of_2 = true, .help =
		"bytes that one read TLP asks for"},
	 .argument = "SIZE", .shown = "4096; SoftPCIe: 512"},
	{.value = {"max-payload", FB_OPTION_SIZE, M(max_payload), 128, 4096, .power_of_2 = true, .help =
		"bytes that one write TLP carries"},
	 .argument = "SIZE", .shown = "4096; SoftPCIe: 256"},
	{.value = {"timeout", FB_OPTION_DURATION, M(timeout_ns), 1000000, 3600000000000, .help =
		"wait so long for a completion"},
	 .argument = "TIME", .shown = "2s; SoftPCIe: 50ms"},
	{.value = {"connect-time", FB_OPTION_DURATION, M(connect_ns), 1000000, 3600000000000, .help =
		"wait so long for the target to answer"},
	 .argument = "TIME", .shown = "5s"},
	{.value = {"group", FB_OPTION_UINT, M(group), 0, UINT32_MAX, .help = "the root's --group"},
	 .argument = "N", .shown = "0: no group"},
	{.value = {"requester", FB_OPTION_UINT, M(requester), 1, 65535, .help =
		"requester ID on the wire, as a number"},
	 .argument = "N", .shown = "248: 00:1f.0; SoftPCIe: the adapter's"},
	{.value = {"mtu", FB_OPTION_UINT, M(mtu), FB_LINK_MTU_MIN, FB_LINK_MTU_MAX, .help =
		"largest datagram, bytes of UDP payload, 1232 to 65504"},
	 .argument = "N", .shown = "what the path carries"},
	{.value = {"poll-us", FB_OPTION_UINT, M(poll_us), 0, 1000000, .help =
		"spin for so long before sleeping"},
	 .argument = "N", .shown = "50"},
	{.value = {"fault", FB_OPTION_STRING, M(fault), 1, 512, .help = "spoil what is sent, for tests"},
	 .argument = "SPEC"},
	{.value = {.key = NULL}},
};

static const struct cli_option data_table[] = {
	{.value = {"out", FB_OPTION_STRING, M(out), 1, 4096, .help =
		"read, scan: write the bytes to a file; - is stdout"},
	 .argument = "FILE", .shown = "read: a hex dump"},
	{.value = {"in", FB_OPTION_STRING, M(in), 1, 4096, .help = "write: the bytes of a file; - is stdin"},
	 .argument = "FILE"},
	{.value = {"hex", FB_OPTION_STRING, M(hex), 2, 131072, .help =
		"write, fill: these bytes; scan: find them"},
	 .argument = "BYTES"},
	{.value = {"text", FB_OPTION_STRING, M(text), 1, 65536, .help = "the same, as text"},
	 .argument = "TEXT"},
	{.value = {"json", FB_OPTION_BOOL, M(json), .help = "scan, perf: print JSON"}},
	{.value = {.key = NULL}},
};

static const struct cli_option perf_table[] = {
	{.value = {"op", FB_OPTION_STRING, M(ops), .help = "read, write"},
	 .kind = CLI_LIST, .separator = ',', .argument = "OP[,OP]", .shown = "read"},
	{.value = {"size", FB_OPTION_STRING, M(sizes), .help = "bytes of a request"},
	 .kind = CLI_LIST, .separator = ',', .argument = "SIZE[,SIZE]", .shown = "64,512,4K"},
	{.value = {"in-flight", FB_OPTION_STRING, M(depths), .help = "requests in flight"},
	 .kind = CLI_LIST, .separator = ',', .argument = "N[,N]", .shown = "1,32"},
	{.value = {"pattern", FB_OPTION_STRING, M(patterns), .help = "addresses: fix, seq, random"},
	 .kind = CLI_LIST, .separator = ',', .argument = "WORD[,WORD]", .shown = "seq"},
	{.value = {"time", FB_OPTION_DURATION, M(time_ns), 1000000, 3600000000000, .help = "length of each run"},
	 .argument = "TIME", .shown = "1s"},
	{.value = {.key = NULL}},
};

/* ---- What the verbs share ---------------------------------------------------------- */

static volatile sig_atomic_t signalled;

static void on_signal(int number)
{
	(void)number;
	signalled = 1;
}

void dma_catch_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND}; /* the second one ends at once */

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

bool dma_interrupted(void)
{
	return signalled;
}

int dma_open(struct fb_rdma **out, const struct dma_options *o, uint32_t depth)
{
	const struct fb_rdma_config config = {
		.target = o->target,
		.requester_id = (uint16_t)o->requester,
		.max_payload = (uint32_t)o->max_payload,
		.max_read = (uint32_t)o->max_read,
		.depth = o->depth ? o->depth : depth,
		.timeout_ns = o->timeout_ns,
		.connect_ns = o->connect_ns,
		.group = o->group,
		.spin_us = o->poll_us,
		.mtu = o->mtu,
		.fault = o->fault,
		.log = FB_RDMA_LOG_KEEP,
	};
	char text[200] = "";
	int err;

	fb_log_set_level(FB_LOG_NONE); /* of what goes wrong, `text` has the words */
	err = fb_rdma_open_text(out, &config, text, sizeof(text));
	fb_log_set_level(FB_LOG_WARN); /* a session that comes and goes is no news here */
	if (err)
		fb_error(NULL, "%s: %s", o->target, *text ? text : strerror(-err));
	return err == -ENOTSUP ? -EINVAL : err; /* no transport of that name: a wrong word, here */
}

char *dma_size_text(double bytes, char buf[32])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	unsigned u = 0;

	for (; bytes >= 1024 && u < 6; u++)
		bytes /= 1024;
	snprintf(buf, 32, u ? "%.1f %s" : "%.0f %s", bytes, units[u]);
	return buf;
}

static int nibble(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? (c | 0x20) - 'a' + 10 : -1;
}

int dma_pattern(const struct dma_options *o, uint8_t **bytes, size_t *n)
{
	const char *p = o->hex;

	if (o->hex && o->text) {
		fb_error(NULL, "--hex and --text exclude each other");
		return -EINVAL;
	}
	*n = 0;
	*bytes = malloc(1 + (o->text ? strlen(o->text) : p ? strlen(p) / 2 : 0));
	if (!*bytes)
		return -ENOMEM;
	if (o->text) {
		*n = strlen(o->text);
		memcpy(*bytes, o->text, *n);
		return 0;
	}
	for (; p && *p; p += 2) {
		while (*p == ' ' || *p == ':')
			p++;
		if (!*p)
			break;
		if (nibble(p[0]) < 0 || nibble(p[1]) < 0) {
			fb_error(NULL, "--hex \"%s\": must be pairs of hexadecimal digits, as in 00ff1234", o->hex);
			free(*bytes);
			return -EINVAL;
		}
		(*bytes)[(*n)++] = (uint8_t)(nibble(p[0]) << 4 | nibble(p[1]));
	}
	return 0;
}

static int failed(const char *what, const struct fb_rdma *r, int err)
{
	const char *text = fb_rdma_error(r);

	fb_error(NULL, "%s: %s", what, *text ? text : strerror(-err));
	return EXIT_FAILED;
}

static int write_all(int fd, const void *buf, size_t n)
{
	const uint8_t *p = buf;

	while (n) {
		ssize_t w = write(fd, p, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return -errno;
		p += w;
		n -= (size_t)w;
	}
	return 0;
}

/* ---- read, write, fill ---------------------------------------------------------------- */

static void hex_dump(uint64_t address, const uint8_t *p, size_t n)
{
	for (size_t row = 0; row < n; row += 16) {
		printf("%012llx ", (unsigned long long)(address + row));
		for (size_t i = 0; i < 16; i++) {
			if (row + i < n)
				printf("%s%02x", i == 8 ? "  " : " ", p[row + i]);
			else
				printf("%s  ", i == 8 ? "  " : " ");
		}
		printf("  |");
		for (size_t i = 0; i < 16 && row + i < n; i++)
			putchar(p[row + i] >= 0x20 && p[row + i] < 0x7f ? p[row + i] : '.');
		printf("|\n");
	}
}

enum { CHUNK = 1 << 20 };

static int verb_read(struct fb_rdma *r, const struct dma_options *o)
{
	bool to_stdout = o->out && !strcmp(o->out, "-");
	uint8_t *buf = malloc(CHUNK);
	uint64_t done = 0;
	int fd = STDOUT_FILENO, status = 0, err;

	if (!buf)
		return failed("read", r, -ENOMEM);
	if (o->out && !to_stdout)
		fd = open(o->out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600); /* another machine's memory */
	if (fd < 0) {
		fb_error(NULL, "%s: %s", o->out, strerror(errno));
		free(buf);
		return EXIT_FAILED;
	}
	while (done < o->length && !dma_interrupted()) {
		size_t n = o->length - done < CHUNK ? (size_t)(o->length - done) : CHUNK;

		err = fb_rdma_read(r, o->address + done, buf, n);
		if (err) {
			char what[96];

			snprintf(what, sizeof(what), "read of %zu bytes at 0x%llx", n,
				 (unsigned long long)(o->address + done));
			status = failed(what, r, err);
			break;
		}
		if (o->out && (err = write_all(fd, buf, n))) {
			fb_error(NULL, "%s: %s", o->out, strerror(-err));
			status = EXIT_FAILED;
			break;
		}
		if (!o->out)
			hex_dump(o->address + done, buf, n);
		done += n;
	}
	if (dma_interrupted()) {
		fb_error(NULL, "interrupted: %llu of %llu bytes were read", (unsigned long long)done,
			 (unsigned long long)o->length);
		status = EXIT_FAILED;
	}
	if (o->out && !to_stdout && close(fd) < 0 && !status) {
		fb_error(NULL, "%s: %s", o->out, strerror(errno));
		status = EXIT_FAILED;
	}
	free(buf);
	return status;
}

/* Where the bytes to write come from: a file, or a pattern over and over. */
struct source {
	int fd; /* -1: the pattern */
	const uint8_t *pattern;
	size_t n;
};

/* Bytes put into buf, fewer only at the end of the file. Or -errno. */
static ssize_t take(const struct source *s, uint64_t done, uint8_t *buf, size_t want)
{
	size_t have = 0;

	if (s->fd < 0) {
		for (; have < want; have++)
			buf[have] = s->pattern[(done + have) % s->n];
		return (ssize_t)have;
	}
	while (have < want) {
		ssize_t n = read(s->fd, buf + have, want - have);

		if (n < 0 && errno == EINTR && !dma_interrupted())
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		have += (size_t)n;
	}
	return (ssize_t)have;
}

static int put(struct fb_rdma *r, const struct dma_options *o, const struct source *s, uint64_t length)
{
	uint8_t *buf = malloc(CHUNK);
	uint64_t done = 0;
	int status = 0;

	if (!buf)
		return failed("write", r, -ENOMEM);
	while (done < length && !dma_interrupted() && !status) {
		ssize_t n = take(s, done, buf, length - done < CHUNK ? (size_t)(length - done) : CHUNK);
		char what[96];
		int err;

		if (n < 0) {
			fb_error(NULL, "%s: %s", o->in, strerror((int)-n));
			status = EXIT_FAILED;
			break;
		}
		if (n == 0)
			break;
		err = fb_rdma_write(r, o->address + done, buf, (size_t)n);
		if (err) {
			snprintf(what, sizeof(what), "write of %zd bytes at 0x%llx", n,
				 (unsigned long long)(o->address + done));
			status = failed(what, r, err);
			break;
		}
		done += (uint64_t)n;
	}
	if (dma_interrupted())
		status = EXIT_FAILED;
	fprintf(stderr, "%s%llu bytes written at 0x%llx\n", dma_interrupted() ? "interrupted: " : "",
		(unsigned long long)done, (unsigned long long)o->address);
	free(buf);
	return status;
}

static int verb_write(struct fb_rdma *r, const struct dma_options *o)
{
	struct source s = {.fd = -1};
	uint8_t *bytes = NULL;
	int status = EXIT_USAGE;

	if (o->in) {
		s.fd = strcmp(o->in, "-") ? open(o->in, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
		if (s.fd < 0) {
			fb_error(NULL, "%s: %s", o->in, strerror(errno));
			return EXIT_FAILED;
		}
		status = put(r, o, &s, o->length_given ? o->length : UINT64_MAX - o->address);
		if (s.fd != STDIN_FILENO)
			close(s.fd);
		return status;
	}
	if (dma_pattern(o, &bytes, &s.n) == 0) {
		s.pattern = bytes;
		status = put(r, o, &s, s.n);
		free(bytes);
	}
	return status;
}

static int verb_fill(struct fb_rdma *r, const struct dma_options *o)
{
	struct source s = {.fd = -1};
	uint8_t *bytes;
	int status = EXIT_USAGE;

	if (dma_pattern(o, &bytes, &s.n) == 0) {
		s.pattern = bytes;
		status = put(r, o, &s, o->length);
		free(bytes);
	}
	return status;
}

/* ---- The command line ------------------------------------------------------------------- */

enum need { NEVER, MAYBE, ALWAYS };
enum { V_READ = 1, V_WRITE = 2, V_FILL = 4, V_SCAN = 8, V_PERF = 16 };

static const struct verb {
	const char *name, *usage;
	unsigned bit;
	enum need length;
	int (*run)(struct fb_rdma *r, const struct dma_options *o);
} verbs[] = {
	{"read", "read TARGET ADDRESS LENGTH [--out FILE]", V_READ, ALWAYS, verb_read},
	{"write", "write TARGET ADDRESS (--hex BYTES | --text TEXT | --in FILE [LENGTH])", V_WRITE, MAYBE, verb_write},
	{"fill", "fill TARGET ADDRESS LENGTH (--hex BYTES | --text TEXT)", V_FILL, ALWAYS, verb_fill},
	{"scan", "scan TARGET ADDRESS LENGTH [--out FILE] [--hex BYTES | --text TEXT] [--json]", V_SCAN, ALWAYS, dma_scan},
	{"perf", "perf TARGET ADDRESS LENGTH [--op OP] [--size SIZE] [--in-flight N] [--pattern WORD] [--time TIME] [--json]",
	 V_PERF, ALWAYS, NULL},
};
enum { VERBS = sizeof(verbs) / sizeof(verbs[0]) };

static const struct verb *find_verb(const char *word)
{
	const char *names[VERBS + 1], *near;

	for (unsigned i = 0; i < VERBS; i++) {
		if (!strcmp(verbs[i].name, word))
			return &verbs[i];
		names[i] = verbs[i].name;
	}
	names[VERBS] = NULL;
	near = fb_nearest(word, names);
	if (near)
		fb_error(NULL, "no verb \"%s\"; did you mean \"%s\"?", word, near);
	else
		fb_error(NULL, "no verb \"%s\"; there are read, write, fill, scan and perf", word);
	return NULL;
}

static int number(const char *what, const char *text, uint64_t *value)
{
	if (fb_parse_u64(text, value) == 0 || fb_parse_size(text, value) == 0)
		return 0;
	fb_error(NULL, "%s \"%s\": must be a number of bytes: 4096, 0x1000, 64K, 1G", what, text);
	return -EINVAL;
}

static int check_options(const struct verb *v, const struct dma_options *o)
{
	const struct {
		const char *name;
		bool given;
		unsigned verbs;
	} limits[] = {
		{"--out", o->out != NULL, V_READ | V_SCAN}, {"--in", o->in != NULL, V_WRITE},
		{"--hex", o->hex != NULL, V_WRITE | V_FILL | V_SCAN}, {"--text", o->text != NULL, V_WRITE | V_FILL | V_SCAN},
		{"--json", o->json, V_SCAN | V_PERF}, {"--op", o->ops.n > 0, V_PERF}, {"--size", o->sizes.n > 0, V_PERF},
		{"--in-flight", o->depths.n > 0, V_PERF}, {"--pattern", o->patterns.n > 0, V_PERF},
		{"--time", o->time_ns > 0, V_PERF},
	};
	bool bytes = o->hex || o->text;

	for (unsigned i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		if (limits[i].given && !(limits[i].verbs & v->bit)) {
			fb_error(NULL, "%s is not for %s", limits[i].name, v->name);
			return -EINVAL;
		}
	}
	if (v->bit == V_WRITE && bytes + (o->in != NULL) != 1)
		fb_error(NULL, "write needs one of --hex, --text and --in: the bytes");
	else if (v->bit == V_WRITE && bytes && o->length_given)
		fb_error(NULL, "write of --hex or --text takes no LENGTH: \"fill\" repeats the bytes");
	else if (v->bit == V_FILL && !bytes)
		fb_error(NULL, "fill needs --hex or --text: the bytes that are repeated");
	else
		return 0;
	return -EINVAL;
}

static const struct verb *understand(const struct cli *cli, struct dma_options *o)
{
	const struct verb *v;
	unsigned most;

	if (cli->n_args == 0) {
		fb_error(NULL, "the verb is missing: read, write, fill, scan or perf; \"farbus dma --help\" has more");
		return NULL;
	}
	v = find_verb(cli->args[0]);
	if (!v)
		return NULL;
	most = v->length == NEVER ? 3 : 4;
	if (cli->n_args < (v->length == ALWAYS ? 4u : 3u) || cli->n_args > most) {
		fb_error(NULL, "usage: farbus dma %s", v->usage);
		return NULL;
	}
	o->target = cli->args[1];
	if (number("address", cli->args[2], &o->address))
		return NULL;
	o->length_given = cli->n_args == 4;
	if (o->length_given && number("length", cli->args[3], &o->length))
		return NULL;
	if (o->length_given && (o->length == 0 || o->address + (o->length - 1) < o->address)) {
		fb_error(NULL, "length %s: 0, or beyond the end of the address space", cli->args[3]);
		return NULL;
	}
	if (check_options(v, o) || (o->fault && fb_net_fault_check(o->fault)))
		return NULL;
	return v;
}

int cmd_dma(int argc, char **argv)
{
	struct dma_options o = {.poll_us = 50};
	struct cli cli = {
		.command = "dma",
		.usage = "read|write|fill|scan|perf TARGET ADDRESS [LENGTH] [OPTION…]",
		.about = "Reads and writes the memory of another host by TLP.\n"
			 "TARGET is udp:ADDR:PORT/FUNCTION: a root's --dma-listen address, and the function whose\n"
			 "VM is meant (without it: the one in use); or softpcie:ADDR[,local=ADDR], a SoftPCIe adapter.\n"
			 "ADDRESS is a bus address.",
		.extra = "Verbs:\n"
			 "  read   print bytes, or put them into a file\n"
			 "  write  bytes from the command line, a file or stdin\n"
			 "  fill   a range with a pattern\n"
			 "  scan   a range at full speed: what is mapped, into a sparse file, bytes to find\n"
			 "  perf   operations and bytes a second, and latencies",
		.groups = {{"The data", data_table, &o}, {"perf", perf_table, &o}, {"The target", target_table, &o}},
	};
	int err = cli_parse(&cli, argc, argv), status = err > 0 ? 0 : EXIT_USAGE;
	const struct verb *v = err ? NULL : understand(&cli, &o);
	struct fb_rdma *r;

	if (v) {
		signal(SIGPIPE, SIG_IGN);
		dma_catch_signals();
		if (!v->run) {
			status = dma_perf(&o);
		} else {
			status = exit_status(dma_open(&r, &o, 0));
			if (r) {
				status = v->run(r, &o);
				fb_rdma_close(r);
			}
		}
	}
	if (fflush(stdout) && !status) {
		fb_error(NULL, "stdout: %s", strerror(errno));
		status = EXIT_FAILED;
	}
	cli_release(&cli);
	return status;
}
