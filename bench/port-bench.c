/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a port costs, without root, endpoint or VM: two processes, one TLP
 * channel over a net backend.
 *
 *	port-bench server LISTEN [--poll-us N] [--mtu N]
 *	port-bench client PEER read-latency|write|read [--poll-us N] [--seconds N] [--size BYTES] [--depth N] [--mtu N]
 *		[--tap FILE]
 *
 * The server answers MRd with CplD and swallows MWr. read-latency: one MRd at a
 * time, percentiles of the round trip. write: MWr of --size as fast as they are
 * taken, closed by one MRd, which the ordering rules keep behind them. read:
 * --depth MRd of --size at a time. --tap shows the client's TLPs to a tap, and captures them into FILE unless that is "-".
 * The client prints one line of JSON.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capture/capture.h"
#include "port/carrier.h"
#include "tlp/tlp.h"
#include "util/log.h"
#include "util/loop.h"
#include "util/text.h"

enum { SAMPLES_MAX = 4 << 20, TAGS = 1024 };

struct bench {
	struct fb_loop *loop;
	struct fb_carrier *carrier;
	struct fb_port *port;
	const char *mode;
	uint32_t poll_us, size, depth, mtu;
	uint64_t duration_ns, start, end;

	uint64_t bytes, operations, sent_at[TAGS];
	uint32_t *samples; /* ns */
	unsigned n_samples, outstanding, next_tag;
	bool blocked, closing_read;
	struct fb_flush pump;
	struct fb_tap *tap;
	struct fb_capture *capture;
};

static struct fb_loop *to_stop;
static uint8_t payload[PCIE_TLP_MAX_DATA];

static void on_signal(int sig)
{
	fb_loop_stop(to_stop);
}

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "port-bench: %s\n", what);
	exit(1);
}

/* Server */

static bool server_tlp(void *arg, const struct pcie_tlp *tlp)
{
	struct bench *b = arg;
	struct pcie_tlp cpl = {.type = PCIE_TLP_CPLD};
	uint64_t address;
	uint32_t len;

	if (tlp->type != PCIE_TLP_MRD)
		return true;
	pcie_tlp_get_range(tlp, &address, &len);
	cpl.length = tlp->length;
	cpl.data = payload;
	cpl.requester_id = tlp->requester_id;
	cpl.tag = tlp->tag;
	cpl.byte_count = (uint16_t)len;
	cpl.lower_address = address & 0x7f;
	if (fb_port_send(b->port, &cpl))
		die("completion not sent");
	return true;
}

static void nothing_up(void *arg)
{
}

static void server_down(void *arg, int reason, const char *text)
{
	struct bench *b = arg;

	fb_port_close(b->port, 0, NULL);
	b->port = NULL;
}

static void nothing_writable(void *arg, enum pcie_fc cls)
{
}

static const struct fb_port_user server_user = {server_tlp, nothing_up, server_down, nothing_writable};

static int hello(void *arg, const struct fb_link_hello *h, const char *from, struct fb_port *port,
		 const struct fb_port_user **user, void **user_arg, const char **text)
{
	struct bench *b = arg;

	if (b->port) {
		*text = "one client at a time";
		return FB_LINK_R_IN_USE;
	}
	b->port = port;
	*user = &server_user;
	*user_arg = b;
	return 0;
}

/* Client */

static void send_read(struct bench *b)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_MRD, .requester_id = 0x100, .tag = (uint16_t)(b->next_tag++ % TAGS)};

	pcie_tlp_set_range(&tlp, 0x10000000, b->size);
	b->sent_at[tlp.tag] = fb_clock_ns();
	if (fb_port_send(b->port, &tlp) == 0)
		b->outstanding++;
	else
		b->blocked = true;
}

static void send_writes(struct bench *b)
{
	struct pcie_tlp tlp = {.type = PCIE_TLP_MWR, .requester_id = 0x100, .data = payload};
	int err;

	pcie_tlp_set_range(&tlp, 0x10000000, b->size);
	while (!(err = fb_port_send(b->port, &tlp))) {
		b->bytes += b->size;
		b->operations++;
	}
	b->blocked = err == -EAGAIN;
}

static void pump(struct fb_flush *f)
{
	struct bench *b = (struct bench *)((char *)f - offsetof(struct bench, pump));
	bool over = fb_clock_ns() - b->start >= b->duration_ns;

	if (!strcmp(b->mode, "write")) {
		if (!over) {
			send_writes(b);
		} else if (!b->closing_read) {
			b->closing_read = true;
			send_read(b);
		}
	} else if (!over) {
		while (b->outstanding < b->depth && !b->blocked)
			send_read(b);
	} else if (!b->outstanding) {
		b->end = fb_clock_ns();
		fb_loop_stop(b->loop);
	}
}

static bool client_tlp(void *arg, const struct pcie_tlp *tlp)
{
	struct bench *b = arg;
	uint64_t now = fb_clock_ns();

	if (tlp->type != PCIE_TLP_CPLD || tlp->tag >= TAGS)
		die("not a completion");
	b->outstanding--;
	if (b->closing_read) {
		b->end = now;
		fb_loop_stop(b->loop);
		return true;
	}
	b->operations++;
	b->bytes += (uint64_t)tlp->length * 4;
	if (b->n_samples < SAMPLES_MAX)
		b->samples[b->n_samples++] = (uint32_t)(now - b->sent_at[tlp->tag]);
	fb_flush_schedule(b->loop, &b->pump);
	return true;
}

static void client_up(void *arg)
{
	struct bench *b = arg;

	b->start = fb_clock_ns();
	fb_flush_schedule(b->loop, &b->pump);
}

static void client_down(void *arg, int reason, const char *text)
{
	fprintf(stderr, "port-bench: link down: %s\n", text);
	exit(1);
}

static void client_writable(void *arg, enum pcie_fc cls)
{
	struct bench *b = arg;

	b->blocked = false;
	fb_flush_schedule(b->loop, &b->pump);
}

static const struct fb_port_user client_user = {client_tlp, client_up, client_down, client_writable};

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static double percentile(const struct bench *b, double p)
{
	return b->n_samples ? b->samples[(unsigned)(p * (b->n_samples - 1))] / 1000.0 : 0;
}

static void report(struct bench *b)
{
	double seconds = (double)(b->end - b->start) / 1e9;
	const struct fb_net_stats *net = fb_carrier_net_stats(b->carrier);
	struct fb_port_stats s;

	fb_port_get_stats(b->port, &s);
	qsort(b->samples, b->n_samples, sizeof(*b->samples), by_value);
	printf("{\"mode\":\"%s\",\"size\":%u,\"poll_us\":%u,\"seconds\":%.3f,\"ops\":%" PRIu64 ",\"ops_per_s\":%.0f,"
	       "\"gbit_per_s\":%.3f,\"p50_us\":%.2f,\"p99_us\":%.2f,\"p999_us\":%.2f,\"mtu\":%u,\"retransmits\":%" PRIu64
	       ",\"timeouts\":%" PRIu64 ",\"tx_datagrams\":%" PRIu64 ",\"tx_calls\":%" PRIu64 ",\"rx_datagrams\":%" PRIu64
	       ",\"rx_calls\":%" PRIu64 ",\"credit_stalls\":%" PRIu64 ",\"window_stalls\":%" PRIu64
	       ",\"captured\":%" PRIu64 ",\"dropped\":%" PRIu64 "}\n",
	       b->mode, b->size, b->poll_us, seconds, b->operations, (double)b->operations / seconds,
	       (double)b->bytes * 8 / seconds / 1e9, percentile(b, 0.5), percentile(b, 0.99), percentile(b, 0.999),
	       s.link.mtu, s.link.retransmits, s.link.timeouts, net->tx_datagrams, net->tx_calls, net->rx_datagrams,
	       net->rx_calls, s.link.credit_stalls, s.link.window_stalls, b->tap ? fb_tap_stats(b->tap)->tlps : 0,
	       b->tap ? fb_tap_stats(b->tap)->dropped : 0);
}

static void start_tap(struct bench *b, const char *path)
{
	struct fb_capture_config config = {.writer = "port-bench", .n_fds = 1};
	char error[200];
	int fd;

	if (fb_tap_new(&b->tap, b->loop))
		die("out of memory");
	if (!strcmp(path, "-"))
		return;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		die(path);
	config.fds = &fd;
	if (fb_capture_start(&b->capture, b->tap, &config, error, sizeof(error)))
		die(error);
	close(fd);
}

int main(int argc, char **argv)
{
	struct bench b = {.mode = "", .poll_us = 0, .size = 4096, .depth = 64, .duration_ns = 2000000000};
	static const struct fb_acceptor acceptor = {.hello = hello};
	struct fb_carrier_config config = {.self = {.node = "port-bench", .incarnation = 1}};
	const char *tap = NULL;
	bool server;
	int first = 3;

	if (argc < 3 || ((server = !strcmp(argv[1], "server")) == false && strcmp(argv[1], "client")) || (!server && argc < 4))
		die("server LISTEN | client PEER read-latency|write|read, and options");
	if (!server) {
		b.mode = argv[3];
		first = 4;
		if (!strcmp(b.mode, "read-latency")) {
			b.size = 4;
			b.depth = 1;
		}
	}
	for (int i = first; i + 1 < argc; i += 2) {
		uint64_t v;

		if (!strcmp(argv[i], "--tap")) {
			tap = argv[i + 1];
			continue;
		}
		if (fb_parse_u64(argv[i + 1], &v))
			die("options have numbers");
		if (!strcmp(argv[i], "--poll-us"))
			b.poll_us = (uint32_t)v;
		else if (!strcmp(argv[i], "--seconds"))
			b.duration_ns = v * 1000000000;
		else if (!strcmp(argv[i], "--size") && v >= 1 && v <= PCIE_TLP_MAX_DATA)
			b.size = (uint32_t)v;
		else if (!strcmp(argv[i], "--depth") && v >= 1 && v <= TAGS)
			b.depth = (uint32_t)v;
		else if (!strcmp(argv[i], "--mtu"))
			b.mtu = (uint32_t)v;
		else
			die("no such option, or a bad value");
	}
	b.samples = malloc(SAMPLES_MAX * sizeof(*b.samples));
	if (!b.samples || fb_loop_new(&b.loop, b.poll_us))
		die("out of memory");
	to_stop = b.loop;
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	fb_link_config_default(&config.link);
	config.mtu = b.mtu;
	b.pump.flush = pump;
	if (tap)
		start_tap(&b, tap);
	config.tap = b.tap;
	if (server)
		config.listen = argv[2];
	else
		config.peer = argv[2];
	if (fb_carrier_open(&b.carrier, b.loop, &config, &acceptor, &b)) {
		free(b.samples);
		return 1;
	}
	if (!server && fb_port_connect(&b.port, b.carrier, argv[2], "bench", &client_user, &b))
		return 1;
	if (server) {
		char text[80];

		fprintf(stderr, "port-bench: listening on %s\n", fb_carrier_local(b.carrier, text, sizeof(text)));
	}
	if (fb_loop_run(b.loop))
		die("epoll failed");
	if (!server && b.end)
		report(&b);
	fb_carrier_close(b.carrier);
	fb_capture_free(b.capture);
	fb_tap_free(b.tap);
	fb_loop_free(b.loop);
	free(b.samples);
	return 0;
}
