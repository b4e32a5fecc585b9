/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture/pcap_file.h"
#include "capture/pcapng.h"
#include "util/reader.h"

enum {
	PCAP_MAGIC_US = 0xa1b2c3d4u,
	PCAP_MAGIC_NS = 0xa1b23c4du,
	PCAP_MAGIC_MODIFIED = 0xa1b2cd34u,
	PCAPNG_PACKET = 2, /* obsolete, but met */
};

struct interface {
	uint16_t linktype;
	uint32_t snaplen;
	uint64_t per_second; /* ticks */
	int64_t offset_s;
	bool binary; /* per_second is a power of 2 */
};

struct fb_pcap_file {
	ssize_t (*read)(void *arg, void *buf, size_t len);
	void *arg;
	uint64_t offset; /* of what is read next */
	uint8_t *buf;
	size_t cap;
	bool begun, ng, swapped; /* swapped: big-endian */
	bool nanoseconds;        /* pcap */
	uint16_t linktype;       /* pcap */
	struct interface *interfaces;
	unsigned n_interfaces;
	struct fb_pcap_totals totals;
	char error[200];
	int status; /* once it is negative, it stays so */
};

static int fail(struct fb_pcap_file *f, uint64_t offset, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int fail(struct fb_pcap_file *f, uint64_t offset, const char *fmt, ...)
{
	va_list ap;
	int n = snprintf(f->error, sizeof(f->error), "offset %" PRIu64 ": ", offset);

	va_start(ap, fmt);
	vsnprintf(f->error + n, sizeof(f->error) - (size_t)n, fmt, ap);
	va_end(ap);
	return f->status = -EBADMSG;
}

static uint32_t get32(const struct fb_pcap_file *f, const uint8_t *p)
{
	return f->swapped ? fb_get_be32(p) : fb_get_le32(p);
}

static uint16_t get16(const struct fb_pcap_file *f, const uint8_t *p)
{
	return f->swapped ? fb_get_be16(p) : fb_get_le16(p);
}

static uint64_t get64(const struct fb_pcap_file *f, const uint8_t *p)
{
	return f->swapped ? fb_get_be64(p) : fb_get_le64(p);
}

/* How many bytes were there: less only at the file's end. -errno (said). */
static ssize_t get(struct fb_pcap_file *f, size_t at, size_t len)
{
	size_t got = 0;

	if (at + len > f->cap) {
		size_t cap = f->cap ? f->cap : 4096;
		uint8_t *grown;

		while (cap < at + len)
			cap *= 2;
		grown = realloc(f->buf, cap);
		if (!grown) {
			fail(f, f->offset, "out of memory");
			return f->status = -ENOMEM;
		}
		f->buf = grown;
		f->cap = cap;
	}
	while (got < len) {
		ssize_t n = f->read(f->arg, f->buf + at + got, len - got);

		if (n < 0) {
			fail(f, f->offset + got, "cannot read: %s", strerror((int)-n));
			return f->status = (int)n;
		}
		if (n == 0)
			break;
		got += (size_t)n;
	}
	f->offset += got;
	return (ssize_t)got;
}

int fb_pcap_open(struct fb_pcap_file **out, ssize_t (*read)(void *arg, void *buf, size_t len), void *arg)
{
	struct fb_pcap_file *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->read = read;
	f->arg = arg;
	*out = f;
	return 0;
}

void fb_pcap_close(struct fb_pcap_file *f)
{
	if (!f)
		return;
	free(f->interfaces);
	free(f->buf);
	free(f);
}

const char *fb_pcap_error(const struct fb_pcap_file *f)
{
	return f->error;
}

const struct fb_pcap_totals *fb_pcap_totals(const struct fb_pcap_file *f)
{
	return &f->totals;
}

/* ---- pcap ------------------------------------------------------------------- */

/* The first four bytes are in buf. */
static int begin_pcap(struct fb_pcap_file *f, uint32_t magic, bool swapped)
{
	ssize_t n;

	if (magic == PCAP_MAGIC_MODIFIED)
		return fail(f, 0, "a pcap file of the \"modified\" kind (magic a1b2cd34), which this does not read");
	f->swapped = swapped;
	f->nanoseconds = magic == PCAP_MAGIC_NS;
	n = get(f, 4, 20);
	if (n < 0)
		return (int)n;
	if (n < 20)
		return fail(f, f->offset, "the file ends inside its header of 24 bytes");
	if (get16(f, f->buf + 4) != 2)
		return fail(f, 4, "a pcap file of version %u.%u; 2.4 is what there is", get16(f, f->buf + 4),
			    get16(f, f->buf + 6));
	f->linktype = (uint16_t)get32(f, f->buf + 20); /* above: FCS length */
	return 0;
}

static int next_pcap(struct fb_pcap_file *f, struct fb_packet *p)
{
	uint64_t at = f->offset;
	ssize_t n = get(f, 0, 16);
	uint32_t len;

	if (n <= 0)
		return (int)n;
	if (n < 16)
		return fail(f, at, "the file ends inside a packet's header");
	len = get32(f, f->buf + 8);
	if (len > FB_PCAP_BLOCK_MAX)
		return fail(f, at, "a packet of %" PRIu32 " bytes: more than %d, so this is no packet", len, FB_PCAP_BLOCK_MAX);
	*p = (struct fb_packet){.number = ++f->totals.packets, .offset = at, .linktype = f->linktype, .len = len};
	p->time_ns = get32(f, f->buf) * UINT64_C(1000000000) + get32(f, f->buf + 4) * (f->nanoseconds ? 1ull : 1000ull);
	p->original_len = get32(f, f->buf + 12) < len ? len : get32(f, f->buf + 12);
	n = get(f, 16, len);
	if (n < 0)
		return (int)n;
	if ((size_t)n < len) {
		f->totals.packets--;
		return fail(f, at, "the file ends inside packet %" PRIu64 ": %zd of its %" PRIu32 " bytes are there", p->number,
			    n, len);
	}
	p->data = f->buf + 16;
	return 1;
}

/* ---- pcapng ------------------------------------------------------------------- */

/* Options from `at` to `end`: the value of one. False: it is not there. */
static bool find_option(const struct fb_pcap_file *f, size_t at, size_t end, uint16_t wanted, size_t size,
			const uint8_t **value)
{
	while (end - at >= 4) {
		uint16_t code = get16(f, f->buf + at), len = get16(f, f->buf + at + 2);
		size_t padded = ((size_t)len + 3) & ~(size_t)3;

		at += 4;
		if (code == PCAPNG_OPT_END || padded > end - at)
			return false;
		if (code == wanted && len == size) {
			*value = f->buf + at;
			return true;
		}
		at += padded;
	}
	return false;
}

static int add_interface(struct fb_pcap_file *f, uint64_t at, size_t end)
{
	struct interface *i, *grown;
	const uint8_t *value;

	if (end < 16)
		return fail(f, at, "an interface description of %zu bytes: too short", end + 4);
	if (f->n_interfaces == FB_PCAP_INTERFACES_MAX)
		return fail(f, at, "more than %d interfaces", FB_PCAP_INTERFACES_MAX);
	grown = realloc(f->interfaces, (f->n_interfaces + 1) * sizeof(*grown));
	if (!grown)
		return f->status = -ENOMEM;
	f->interfaces = grown;
	i = &grown[f->n_interfaces++];
	*i = (struct interface){.linktype = get16(f, f->buf + 8), .snaplen = get32(f, f->buf + 12), .per_second = 1000000};
	if (find_option(f, 16, end, PCAPNG_IF_TSOFFSET, 8, &value))
		i->offset_s = (int64_t)get64(f, value);
	if (!find_option(f, 16, end, PCAPNG_IF_TSRESOL, 1, &value))
		return 0;
	i->binary = *value & 0x80;
	if ((*value & 0x7f) > (i->binary ? 63 : 19))
		return fail(f, at, "an interface's time stamps are in units of %s^-%u s, too fine to be true",
			    i->binary ? "2" : "10", *value & 0x7f);
	i->per_second = 1;
	for (unsigned n = 0; n < (*value & 0x7f); n++)
		i->per_second *= i->binary ? 2 : 10;
	return 0;
}

static uint64_t to_ns(const struct interface *i, uint64_t ticks)
{
	uint64_t seconds = ticks / i->per_second, rest = ticks % i->per_second;

	return (seconds + (uint64_t)i->offset_s) * 1000000000 +
	       (uint64_t)((unsigned __int128)rest * 1000000000 / i->per_second);
}

/* 1: a packet; 0: none, a block to pass over; -errno. `end`: of the block's body. */
static int take_packet(struct fb_pcap_file *f, uint32_t type, uint64_t at, size_t end, struct fb_packet *p)
{
	const struct interface *i;
	uint32_t interface = 0, head = type == PCAPNG_SPB ? 12 : 28;
	const uint8_t *b = f->buf, *value;
	size_t options;

	if (end < head)
		return fail(f, at, "a packet's block of %zu bytes: too short", end + 4);
	if (type == PCAPNG_EPB)
		interface = get32(f, b + 8);
	else if (type == PCAPNG_PACKET)
		interface = get16(f, b + 8);
	if (interface >= f->n_interfaces)
		return fail(f, at, "a packet of interface %" PRIu32 ", of which there is no description before it", interface);
	i = &f->interfaces[interface];
	*p = (struct fb_packet){.number = f->totals.packets + 1, .offset = at, .linktype = i->linktype, .data = b + head};
	if (type == PCAPNG_SPB) {
		p->original_len = get32(f, b + 8);
		p->len = p->original_len < end - head ? p->original_len : (uint32_t)(end - head);
		if (i->snaplen && p->len > i->snaplen)
			p->len = i->snaplen;
	} else {
		p->len = get32(f, b + 20);
		p->original_len = get32(f, b + 24);
		p->time_ns = to_ns(i, (uint64_t)get32(f, b + 12) << 32 | get32(f, b + 16));
		if (p->len > end - head)
			return fail(f, at, "packet %" PRIu64 " says that it has %" PRIu32 " bytes, in a block with room for %zu",
				    p->number, p->len, end - head);
	}
	if (p->original_len < p->len)
		p->original_len = p->len;
	options = head + (((size_t)p->len + 3) & ~(size_t)3);
	if (type == PCAPNG_EPB && options <= end) {
		if (find_option(f, options, end, PCAPNG_EPB_FLAGS, 4, &value))
			p->direction = get32(f, value) & 3;
		if (find_option(f, options, end, PCAPNG_EPB_DROPCOUNT, 8, &value))
			p->dropped = get64(f, value);
	}
	f->totals.packets++;
	return 1;
}

static void take_statistics(struct fb_pcap_file *f, size_t end)
{
	const uint8_t *value;

	if (end < 20)
		return;
	if (find_option(f, 20, end, PCAPNG_ISB_IFRECV, 8, &value)) {
		f->totals.received = get64(f, value);
		f->totals.has_statistics = true;
	}
	if (find_option(f, 20, end, PCAPNG_ISB_IFDROP, 8, &value))
		f->totals.dropped = get64(f, value);
}

/* A section begins: its magic says how to read on, its first eight bytes are in buf. */
static int begin_section(struct fb_pcap_file *f, uint64_t at)
{
	ssize_t n = get(f, 8, 4);

	if (n < 0)
		return (int)n;
	if (n < 4)
		return fail(f, at, "the file ends inside a section's header");
	if (fb_get_le32(f->buf + 8) == PCAPNG_MAGIC)
		f->swapped = false;
	else if (fb_get_be32(f->buf + 8) == PCAPNG_MAGIC)
		f->swapped = true;
	else
		return fail(f, at, "a section without pcapng's byte-order magic");
	f->n_interfaces = 0;
	return 12;
}

static int next_block(struct fb_pcap_file *f, struct fb_packet *p, size_t have)
{
	uint64_t at = f->offset - have;
	uint32_t type, len;
	ssize_t n = get(f, have, 8 - have);
	size_t got = have + (n > 0 ? (size_t)n : 0);
	int section = 0;

	if (n < 0)
		return (int)n;
	if (got == 0)
		return 0;
	if (got < 8)
		return fail(f, at, "the file ends inside a block's header");
	if (fb_get_le32(f->buf) == PCAPNG_SHB) {
		section = begin_section(f, at);
		if (section < 0)
			return section;
		got = (size_t)section;
	}
	type = get32(f, f->buf);
	len = get32(f, f->buf + 4);
	if (len % 4 || len < (section ? 28 : 12) || len > FB_PCAP_BLOCK_MAX)
		return fail(f, at, "a block of %" PRIu32 " bytes: must be a multiple of 4, and %d to %d", len, section ? 28 : 12,
			    FB_PCAP_BLOCK_MAX);
	n = get(f, got, len - got);
	if (n < 0)
		return (int)n;
	if (got + (size_t)n < len)
		return fail(f, at, "the file ends inside a block: %zu of its %" PRIu32 " bytes are there", got + (size_t)n, len);
	if (get32(f, f->buf + len - 4) != len)
		return fail(f, at, "a block of %" PRIu32 " bytes that says %" PRIu32 " at its end", len,
			    get32(f, f->buf + len - 4));
	if (section && get16(f, f->buf + 12) != 1)
		return fail(f, at, "pcapng of version %u.%u; 1.0 is what there is", get16(f, f->buf + 12), get16(f, f->buf + 14));
	switch (type) {
	case PCAPNG_SHB:
		return 2;
	case PCAPNG_IDB:
		n = add_interface(f, at, len - 4);
		return n < 0 ? (int)n : 2;
	case PCAPNG_EPB:
	case PCAPNG_PACKET:
	case PCAPNG_SPB:
		return take_packet(f, type, at, len - 4, p);
	case PCAPNG_ISB:
		take_statistics(f, len - 4);
		return 2;
	default:
		return 2;
	}
}

static int begin(struct fb_pcap_file *f)
{
	ssize_t n = get(f, 0, 4);
	uint32_t le, be;

	if (n < 0)
		return (int)n;
	if (n == 0)
		return fail(f, 0, "the file is empty");
	f->begun = true;
	if (n == 4) {
		le = fb_get_le32(f->buf);
		be = fb_get_be32(f->buf);
		if (le == PCAPNG_SHB) {
			f->ng = true;
			return 0;
		}
		if (le == PCAP_MAGIC_US || le == PCAP_MAGIC_NS || le == PCAP_MAGIC_MODIFIED)
			return begin_pcap(f, le, false);
		if (be == PCAP_MAGIC_US || be == PCAP_MAGIC_NS || be == PCAP_MAGIC_MODIFIED)
			return begin_pcap(f, be, true);
	}
	return fail(f, 0, "neither pcapng nor pcap: it begins with %02x %02x %02x %02x", f->buf[0], n > 1 ? f->buf[1] : 0,
		    n > 2 ? f->buf[2] : 0, n > 3 ? f->buf[3] : 0);
}

int fb_pcap_next(struct fb_pcap_file *f, struct fb_packet *p)
{
	size_t have = 0;
	int got;

	if (f->status < 0)
		return f->status;
	if (!f->begun) {
		got = begin(f);
		if (got < 0)
			return got;
		have = f->ng ? 4 : 0;
	}
	if (!f->ng)
		return next_pcap(f, p);
	do {
		got = next_block(f, p, have);
		have = 0;
	} while (got == 2);
	return got;
}
