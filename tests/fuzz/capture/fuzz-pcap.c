/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A capture file of anything: the reader hands out packets within its bounds or
 * refuses with a reason, and what is made of them stays within the packets. Read
 * in pieces of odd sizes, it gives the same.
 */
#include <stdlib.h>
#include <string.h>

#include "capture/dissect.h"
#include "link/link_wire.h"
#include "tlp/fields.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *data;
	size_t size, at, piece;
};

static ssize_t read_input(void *arg, void *buf, size_t len)
{
	struct input *in = arg;
	size_t n = in->size - in->at;

	if (n > len)
		n = len;
	if (in->piece && n > in->piece)
		n = in->piece;
	memcpy(buf, in->data + in->at, n);
	in->at += n;
	return (ssize_t)n;
}

struct sums {
	uint64_t packets, bytes, seen, tlps, sum;
	int64_t status; /* no holes: compared as bytes */
};

static void field(void *arg, const struct pcie_field *f)
{
	if (f->offset + f->length > *(size_t *)arg || !*f->value)
		abort();
}

static void see(void *arg, const struct fb_packet *p, const struct fb_seen *s)
{
	struct sums *sums = arg;
	char text[200];
	size_t len = s->len;

	sums->seen++;
	if (!s->flow || (s->kind != FB_SEEN_TLP && (!s->text || !*s->text)))
		abort();
	if (s->kind != FB_SEEN_TLP)
		return;
	sums->tlps++;
	if (s->original_len < s->len)
		abort();
	if (!s->error && strlen(pcie_tlp_describe(&s->tlp, text, sizeof(text))) < 4)
		abort();
	pcie_tlp_fields(s->bytes, s->len, field, &len);
}

static struct sums walk(const uint8_t *data, size_t size, size_t piece)
{
	struct input in = {data, size, 0, piece};
	struct fb_dissector *d;
	struct fb_pcap_file *f;
	struct fb_packet p;
	struct sums sums = {0};

	if (fb_pcap_open(&f, read_input, &in) || fb_dissector_new(&d))
		abort();
	while ((sums.status = fb_pcap_next(f, &p)) > 0) {
		sums.packets++;
		sums.bytes += p.len;
		if (p.len > FB_PCAP_BLOCK_MAX || p.original_len < p.len || p.number != sums.packets || p.offset >= size)
			abort();
		for (uint32_t i = 0; i < p.len; i++)
			sums.sum += p.data[i];
		fb_dissect(d, &p, see, &sums);
	}
	if ((sums.status < 0) != (*fb_pcap_error(f) != '\0') || fb_pcap_next(f, &p) > 0)
		abort();
	fb_dissector_free(d);
	fb_pcap_close(f);
	return sums;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sums a = walk(data, size, 0), b = walk(data, size, 7);

	if (memcmp(&a, &b, sizeof(a)))
		abort();
	return 0;
}
