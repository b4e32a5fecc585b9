/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets over the loopback interface, between 127.0.0.x that nothing else uses: what is heard, what is dropped. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "softpcie/remote.h"
#include "util/log.h"
#include "util/loop.h"

static char here[20], there[20]; /* two addresses of this process */

static uint32_t addr(const char *text)
{
	uint32_t a = 0;

	assert_int_equal(fb_softpcie_parse_addr(text, &a), 0);
	return a;
}

struct end {
	struct fb_softpcie *s;
	struct pcie_tlp tlps[256];
	uint16_t ports[256];
	unsigned n_tlps, n_packets;
	uint8_t packet[64];
	size_t packet_len;
	uint16_t packet_from;
};

static void tlp(void *arg, unsigned peer, uint16_t port, const struct pcie_tlp *t)
{
	struct end *e = arg;

	assert_true(e->n_tlps < 256);
	e->ports[e->n_tlps] = port;
	e->tlps[e->n_tlps++] = *t;
}

static void packet(void *arg, unsigned peer, uint16_t port, uint16_t from, const uint8_t *data, size_t len)
{
	struct end *e = arg;

	e->n_packets++;
	e->packet_len = len;
	e->packet_from = from;
	memcpy(e->packet, data, len < sizeof(e->packet) ? len : sizeof(e->packet));
}

static const struct fb_softpcie_user user = {.tlp = tlp, .packet = packet};

static struct end *open_end(const char *local, const char *peer)
{
	struct end *e = calloc(1, sizeof(*e));
	struct fb_softpcie_config c = {.name = local, .local = addr(local), .peers = {addr(peer)}, .n_peers = 1,
				       .device_tags = 256, .host_ports = true,
				       .services = {SOFTPCIE_PORT_MESSAGE}, .n_services = 1};

	assert_int_equal(fb_softpcie_open(&e->s, &c, &user, e), 0);
	return e;
}

static void close_end(struct end *e)
{
	fb_softpcie_close(e->s);
	free(e);
}

/* Receives until `counter` is `want`; 5 s at most. */
static void until(struct end *e, const volatile void *counter, uint64_t want, size_t size)
{
	uint64_t deadline = fb_clock_ns() + UINT64_C(5000000000);

	for (;;) {
		struct pollfd p = {.fd = fb_softpcie_fd(e->s), .events = POLLIN};
		uint64_t value = size == 8 ? *(const volatile uint64_t *)counter : *(const volatile unsigned *)counter;

		if (value >= want)
			return;
		assert_true(fb_clock_ns() < deadline);
		poll(&p, 1, 100);
		fb_softpcie_receive(e->s);
	}
}

static void every_port(void **state)
{
	struct end *a = open_end(here, there), *b = open_end(there, here);

	/* Backwards, so that the sockets' numbers are not the order of sending; sequence numbers are. */
	for (int tag = 255; tag >= 0; tag--) {
		struct pcie_tlp t = {.type = PCIE_TLP_MRD, .tag = (uint16_t)tag, .requester_id = 0x0100};

		pcie_tlp_set_range(&t, 0x1000, 64);
		assert_int_equal(fb_softpcie_send(a->s, 0, softpcie_port(t.tag, tag % 3 == 0, false), &t), 0);
		if (tag % 32 == 0) /* what a pass can sort */
			fb_softpcie_flush(a->s), until(b, &b->n_tlps, 256u - (unsigned)tag, 4);
	}
	for (unsigned i = 0; i < 256; i++) {
		assert_int_equal(b->tlps[i].tag, 255 - i);
		assert_int_equal(b->ports[i], softpcie_port(b->tlps[i].tag, (255 - i) % 3 == 0, false));
	}
	assert_int_equal(fb_softpcie_path(b->s, 0)->rx_numbered, 256);
	assert_int_equal(fb_softpcie_path(b->s, 0)->rx_lost + fb_softpcie_path(b->s, 0)->rx_reordered, 0);
	close_end(a);
	close_end(b);
}

static int raw(const char *local, uint16_t port)
{
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {addr(local)}};
	int fd = socket(AF_INET, SOCK_DGRAM, 0), zero = 1;

	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_NO_CHECK, &zero, sizeof(zero)); /* UDP checksum 0, as the hardware sends */
	assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof(name)), 0);
	return fd;
}

static void raw_send(int fd, const char *to, uint16_t port, const void *data, size_t len)
{
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {addr(to)}};

	assert_int_equal(sendto(fd, data, len, 0, (struct sockaddr *)&name, sizeof(name)), len);
}

/* Bad input: each kind counted under its name, nothing handed on, nothing answered. */
static void bad_datagrams(void **state)
{
	static const uint8_t good[] = {0, 0, 0, 0, 0, 0, 0x00, 0, 0, 1, 1, 0, 5, 0x0f, 0, 0, 0x10, 0};
	struct end *e = open_end(here, there);
	const struct fb_softpcie_stats *s = fb_softpcie_stats(e->s);
	int peer = raw(there, 0x3005), other_port = raw(there, 0x3006), stranger = raw("127.0.0.1", 0);
	uint8_t bytes[5000] = {0};
	struct pollfd quiet = {.fd = peer, .events = POLLIN};

	fb_log_set_level(FB_LOG_NONE);
	raw_send(peer, here, 0x3005, good, sizeof(good));
	until(e, &e->n_tlps, 1, 4);

	raw_send(stranger, here, 0x3005, good, sizeof(good));
	until(e, &s->rx_strangers, 1, 8);
	raw_send(other_port, here, 0x3005, good, sizeof(good));
	until(e, &s->rx_strangers, 2, 8);
	raw_send(peer, here, 0x3005, good, 17);
	until(e, &s->rx_short, 1, 8);
	raw_send(peer, here, 0x3005, good, 0);
	until(e, &s->rx_short, 2, 8);

	memcpy(bytes, good, sizeof(good)); /* Length says more than there is */
	bytes[6] = 0x40;
	raw_send(peer, here, 0x3005, bytes, sizeof(good));
	until(e, &s->rx_malformed, 1, 8);
	raw_send(peer, here, 0x3005, bytes, sizeof(bytes)); /* longer than any datagram of ours */
	until(e, &s->rx_malformed, 2, 8);

	memcpy(bytes, good, sizeof(good));
	bytes[12] = 6; /* another tag than the port's */
	raw_send(peer, here, 0x3005, bytes, sizeof(good));
	until(e, &s->rx_wrong_port, 1, 8);

	memcpy(bytes, good, sizeof(good));
	bytes[6] = 0x04; /* CfgRd0 */
	bytes[16] = 0;
	raw_send(peer, here, 0x3005, bytes, sizeof(good));
	until(e, &s->rx_not_carried, 1, 8);

	assert_int_equal(e->n_tlps, 1);
	assert_int_equal(e->n_packets, 0);
	assert_int_equal(poll(&quiet, 1, 0), 0);
	fb_log_set_level(FB_LOG_INFO);
	close(peer);
	close(other_port);
	close(stranger);
	close_end(e);
}

static void packets(void **state)
{
	static const uint8_t read_command[] = {0x3c, 1, 0, 0, 0, 0};
	struct end *e = open_end(here, there);
	int peer = raw(there, 0x4001), any = raw(there, 0);
	uint8_t answer[16];

	/* On 0x4001 the size tells a configuration access from a TLP. */
	raw_send(peer, here, 0x4001, read_command, sizeof(read_command));
	until(e, &e->n_packets, 1, 4);
	assert_int_equal(e->packet_len, 6);
	fb_softpcie_send_packet(e->s, 0, 0x4001, e->packet_from, "\1\2\3\4\5\6", 6);
	fb_softpcie_flush(e->s);
	assert_int_equal(recv(peer, answer, sizeof(answer), 0), 6);
	assert_memory_equal(answer, "\1\2\3\4\5\6", 6);
	/* The message API is asked from any port. */
	raw_send(any, here, SOFTPCIE_PORT_MESSAGE, "\1\0\0\0", 4);
	until(e, &e->n_packets, 2, 4);
	assert_int_not_equal(e->packet_from, SOFTPCIE_PORT_MESSAGE);
	close(peer);
	close(any);
	close_end(e);
}

/* A second one on the address is refused, and a whole run of 64 KiB of writes arrives in order. */
static void in_use_and_bulk(void **state)
{
	struct end *a = open_end(here, there), *b = open_end(there, here);
	struct fb_softpcie_config c = {.local = addr(here), .peers = {addr(there)}, .n_peers = 1, .device_tags = 1};
	static uint8_t data[256];
	struct fb_softpcie *second;

	fb_log_set_level(FB_LOG_NONE);
	assert_int_equal(fb_softpcie_open(&second, &c, &user, NULL), -EADDRINUSE);
	fb_log_set_level(FB_LOG_INFO);
	for (unsigned i = 0; i < 256; i++) {
		struct pcie_tlp t = {.type = PCIE_TLP_MWR, .requester_id = 0x0100, .data = data};

		pcie_tlp_set_range(&t, 0x10000 + 256 * i, 256);
		assert_int_equal(fb_softpcie_send(a->s, 0, 0x3000, &t), 0);
	}
	fb_softpcie_flush(a->s);
	until(b, &b->n_tlps, 256, 4);
	for (unsigned i = 0; i < 256; i++)
		assert_int_equal(b->tlps[i].address, 0x10000 + 256 * i);
	assert_true(fb_softpcie_stats(a->s)->tx_calls <= 8);
	close_end(a);
	close_end(b);
}

/* What lies in several sockets, more than one in each, is handed on in the order of sending. */
static void order_between_ports(void **state)
{
	struct end *a = open_end(here, there), *b = open_end(there, here);

	for (unsigned turn = 0; turn < 5; turn++) {
		b->n_tlps = 0;
		for (unsigned i = 0; i < 48; i++) { /* fewer than a pass takes */
			struct pcie_tlp t = {.type = PCIE_TLP_MRD, .tag = (uint16_t)(turn % 2 ? i * i % 7 : i % 16 / 5),
					     .requester_id = 0x0100};

			pcie_tlp_set_range(&t, 0x1000 + 64 * i, 64);
			assert_int_equal(fb_softpcie_send(a->s, 0, softpcie_port(t.tag, false, false), &t), 0);
		}
		fb_softpcie_flush(a->s);
		until(b, &b->n_tlps, 48, 4);
		for (unsigned i = 0; i < 48; i++)
			assert_int_equal(b->tlps[i].address, 0x1000 + 64 * i);
	}
	assert_int_equal(fb_softpcie_path(b->s, 0)->rx_lost + fb_softpcie_path(b->s, 0)->rx_reordered, 0);
	close_end(a);
	close_end(b);
}

static int addresses(void **state)
{
	unsigned n = (unsigned)getpid();

	snprintf(here, sizeof(here), "127.%u.%u.2", 64 + (n >> 8 & 63), n & 255);
	snprintf(there, sizeof(there), "127.%u.%u.3", 64 + (n >> 8 & 63), n & 255);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_port),
		cmocka_unit_test(bad_datagrams),
		cmocka_unit_test(packets),
		cmocka_unit_test(in_use_and_bulk),
		cmocka_unit_test(order_between_ports),
	};

	return cmocka_run_group_tests_name("softpcie-socket", tests, addresses, NULL);
}
