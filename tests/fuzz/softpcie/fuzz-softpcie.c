/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every decoder of the wire, and the requester with completions that come from
 * outside. The first byte picks one:
 *
 *	0  a TLP datagram; what is accepted must encode to the same header
 *	1  configuration access, 2 registers, 3 message request, 4 answers of the message API
 *	5  headers of 6 bytes, one after the other, into a path
 *	6  a requester with reads in flight, fed with records: 2 bytes size, TLP; size 0: time passes
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "softpcie/path.h"
#include "softpcie/requester.h"
#include "softpcie/softpcie_wire.h"
#include "util/reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(x)                                                                                                     \
	do {                                                                                                           \
		if (!(x)) {                                                                                            \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x);                                \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

static void tlp_datagram(const uint8_t *data, size_t size)
{
	struct softpcie_header h;
	struct pcie_tlp tlp;
	const uint8_t *p;
	uint8_t out[SOFTPCIE_HEADER];
	size_t len;

	if (softpcie_parse(data, size, &h, &p, &len))
		return;
	REQUIRE(p == data + SOFTPCIE_HEADER && len == size - SOFTPCIE_HEADER);
	softpcie_put_header(out, &h);
	REQUIRE(!memcmp(out, data, sizeof(out)));
	if (pcie_tlp_decode(&tlp, p, len))
		return;
	REQUIRE(softpcie_port_fits(&tlp, softpcie_port(tlp.tag, true, false), false) == softpcie_carries(&tlp));
}

static void config(const uint8_t *data, size_t size)
{
	struct softpcie_config c;
	uint8_t out[SOFTPCIE_CONFIG_SIZE];

	if (softpcie_config_get(&c, data, size))
		return;
	REQUIRE(c.reg <= 4092 && c.reg % 4 == 0);
	softpcie_config_put(&c, out);
	REQUIRE(!memcmp(out, data, sizeof(out)));
}

static void registers(const uint8_t *data, size_t size)
{
	struct softpcie_register_access a;
	uint8_t out[SOFTPCIE_REGISTER_SIZE];

	if (softpcie_register_get(&a, data, size))
		return;
	softpcie_register_put(&a, out);
	REQUIRE(!memcmp(out, data, sizeof(out)));
}

static void answers(const uint8_t *data, size_t size)
{
	struct softpcie_vector v[SOFTPCIE_VECTORS];
	uint8_t out[SOFTPCIE_MSG_MSIX_SIZE];
	uint64_t address;
	uint16_t id;
	int kinds = 0;

	if (!softpcie_message_get_bar4(&address, data, size)) {
		softpcie_message_put_bar4(address, out);
		kinds++;
	}
	if (!softpcie_message_get_id(&id, data, size)) {
		softpcie_message_put_id(id, out);
		kinds++;
	}
	if (!softpcie_message_get_msix(v, data, size)) {
		softpcie_message_put_msix(v, out);
		kinds++;
	}
	REQUIRE(kinds <= 1 && (!kinds || !memcmp(out, data, size)));
}

static void path(const uint8_t *data, size_t size)
{
	struct fb_softpcie_path *p = calloc(1, sizeof(*p));
	struct softpcie_header h;
	uint64_t n = 0, accepted = 0;

	REQUIRE(p);
	for (struct fb_reader r = fb_reader(data, size); r.left >= 6; n++) {
		h.sequence = fb_rd_be16(&r);
		h.timestamp = fb_rd_be32(&r);
		accepted += fb_softpcie_path_rx(p, &h, n * 1000);
	}
	REQUIRE(p->stats.rx_numbered + p->stats.rx_unnumbered == accepted && accepted + p->stats.rx_duplicates == n);
	free(p);
}

static struct pcie_tlp last_read;

static int send_tlp(void *arg, const struct pcie_tlp *tlp)
{
	uint8_t bytes[PCIE_TLP_MAX_SIZE];

	REQUIRE(pcie_tlp_encode(tlp, bytes, sizeof(bytes), NULL) > 0);
	last_read = *tlp;
	return 0;
}

static void done(void *arg, int status)
{
	unsigned *calls = arg;

	(*calls)++;
	REQUIRE(status <= 0);
}

static void requester(const uint8_t *data, size_t size)
{
	struct fb_softpcie_requester_config c = {.send = send_tlp, .mps = 128, .mrrs = 512, .n_tags = 8, .timeout_ns = 10,
						 .retries = 1};
	struct fb_reader r = fb_reader(data, size);
	struct fb_softpcie_requester *rq;
	unsigned calls[4] = {0};
	uint8_t *bufs[4];
	uint64_t now = 0;

	REQUIRE(!fb_softpcie_requester_new(&rq, &c));
	for (unsigned i = 0; i < 4; i++) {
		uint32_t len = (fb_rd_be16(&r) & 2047) + 1u;

		bufs[i] = malloc(len);
		REQUIRE(bufs[i] && !fb_softpcie_read(rq, fb_rd_be16(&r), bufs[i], len, now, done, &calls[i]));
	}
	while (r.left && fb_rd_ok(&r)) {
		uint16_t n = fb_rd_be16(&r);
		struct pcie_tlp cpl;
		const uint8_t *p;

		if (!n) {
			now += fb_rd_u8(&r);
			fb_softpcie_requester_timeout(rq, now);
			continue;
		}
		if (n == 0xffff) { /* the right answer to the read sent last */
			static const uint8_t zeros[516];
			uint64_t addr;
			uint32_t len;

			pcie_tlp_get_range(&last_read, &addr, &len);
			pcie_completion_for(&last_read, 0, 0, len, &cpl);
			cpl.data = zeros;
			fb_softpcie_requester_rx(rq, &cpl, now);
			continue;
		}
		p = fb_rd_bytes(&r, n);
		if (p && !pcie_tlp_decode(&cpl, p, n))
			fb_softpcie_requester_rx(rq, &cpl, now);
	}
	fb_softpcie_requester_free(rq);
	for (unsigned i = 0; i < 4; i++) {
		REQUIRE(calls[i] == 1);
		free(bufs[i]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const decoders[])(const uint8_t *, size_t) = {tlp_datagram, config, registers, NULL,
								    answers,	  path,	  requester};
	uint32_t kind;

	if (!size)
		return 0;
	if (data[0] % 7 == 3) {
		if (!softpcie_message_get_request(&kind, data + 1, size - 1))
			REQUIRE(size == 5);
	} else {
		decoders[data[0] % 7](data + 1, size - 1);
	}
	return 0;
}
