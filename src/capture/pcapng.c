/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "capture/pcapng.h"
#include "util/reader.h"

struct block {
	uint8_t *start, *p;
};

static void put32(struct block *b, uint32_t v)
{
	fb_put_le32(b->p, v);
	b->p += 4;
}

/* Bytes, then zeros up to a multiple of 4. */
static void put_bytes(struct block *b, const void *data, size_t len)
{
	if (len)
		memcpy(b->p, data, len);
	b->p += len;
	while ((b->p - b->start) % 4)
		*b->p++ = 0;
}

static void put_option(struct block *b, uint16_t code, const void *data, size_t len)
{
	fb_put_le16(b->p, code);
	fb_put_le16(b->p + 2, (uint16_t)len);
	b->p += 4;
	put_bytes(b, data, len);
}

static void put_text(struct block *b, uint16_t code, const char *text)
{
	size_t len = strlen(text);

	if (len)
		put_option(b, code, text, len < 480 ? len : 480);
}

static void put_u64(struct block *b, uint16_t code, uint64_t v)
{
	uint8_t bytes[8];

	fb_put_le64(bytes, v);
	put_option(b, code, bytes, 8);
}

/* Time stamps of 64 bits have their high half first. */
static void put_time(struct block *b, uint16_t code, uint64_t ns)
{
	uint8_t bytes[8];

	fb_put_le32(bytes, (uint32_t)(ns >> 32));
	fb_put_le32(bytes + 4, (uint32_t)ns);
	put_option(b, code, bytes, 8);
}

static void begin(struct block *b, uint8_t *out, uint32_t type)
{
	b->start = b->p = out;
	put32(b, type);
	put32(b, 0);
}

static size_t end(struct block *b)
{
	uint32_t len = (uint32_t)(b->p - b->start) + 4;

	put32(b, len);
	fb_put_le32(b->start + 4, len);
	return len;
}

size_t fb_pcapng_put_head(uint8_t *out, const char *writer, const char *interface, const char *description)
{
	const uint8_t nanoseconds = 9;
	struct block b;
	size_t len;

	begin(&b, out, PCAPNG_SHB);
	put32(&b, PCAPNG_MAGIC);
	put32(&b, 1); /* version 1.0 */
	put32(&b, 0xffffffff); /* the section's length is not known */
	put32(&b, 0xffffffff);
	put_text(&b, PCAPNG_SHB_USERAPPL, writer);
	put_option(&b, PCAPNG_OPT_END, NULL, 0);
	len = end(&b);

	begin(&b, out + len, PCAPNG_IDB);
	put32(&b, LINKTYPE_WIRESHARK_UPPER_PDU);
	put32(&b, 0); /* no limit: snap lengths are of the TLP */
	put_text(&b, PCAPNG_IF_NAME, interface);
	put_text(&b, PCAPNG_IF_DESCRIPTION, description);
	put_option(&b, PCAPNG_IF_TSRESOL, &nanoseconds, 1);
	put_option(&b, PCAPNG_OPT_END, NULL, 0);
	return len + end(&b);
}

/* Returns what it wrote to the buffer. */
static size_t put_tap_header(uint8_t *h, const struct fb_pcapng_tlp *t)
{
	const struct fb_tap_source *s = t->source;
	size_t name = strnlen(s->function, sizeof(s->function)), hlen = (FB_TAP_HEADER + name + 3) & ~(size_t)3;

	h[FB_TAP_O_VERSION] = FB_TAP_VERSION;
	h[FB_TAP_O_HLEN] = (uint8_t)hlen;
	h[FB_TAP_O_FLAGS] = (uint8_t)((t->sent != s->on_root ? FB_TAP_F_UP : 0) | (s->on_root ? FB_TAP_F_AT_ROOT : 0) |
				      (t->sent ? FB_TAP_F_SENT : 0));
	h[FB_TAP_O_CARRIER] = (uint8_t)s->carrier;
	fb_put_be64(h + FB_TAP_O_SESSION, s->session);
	h[FB_TAP_O_ERROR] = (uint8_t)t->error;
	h[FB_TAP_O_NAME_LEN] = (uint8_t)name;
	memset(h + FB_TAP_O_NAME, 0, hlen - FB_TAP_HEADER);
	memcpy(h + FB_TAP_O_NAME, s->function, name);
	return hlen;
}

size_t fb_pcapng_put_tlp(uint8_t *out, const struct fb_pcapng_tlp *t)
{
	static const uint8_t tags[FB_TAP_PDU_TAGS] = {0, EXP_PDU_TAG_DISSECTOR_NAME, 0, 8, 'f', 'b', 't', 'a', 'p', 0, 0, 0,
						      0, EXP_PDU_TAG_END, 0, 0};
	size_t tlp = t->head_len + t->data_len, keep = t->snap && t->snap < tlp ? t->snap : tlp, of_head, hlen;
	uint8_t flags[4];
	struct block b;

	begin(&b, out, PCAPNG_EPB);
	put32(&b, 0); /* interface */
	put32(&b, (uint32_t)(t->time_ns >> 32));
	put32(&b, (uint32_t)t->time_ns);
	b.p += 8;
	memcpy(b.p, tags, sizeof(tags));
	hlen = put_tap_header(b.p + sizeof(tags), t) + sizeof(tags);
	b.p += hlen;
	fb_put_le32(out + 20, (uint32_t)(hlen + keep));
	fb_put_le32(out + 24, (uint32_t)(hlen + tlp));
	of_head = keep < t->head_len ? keep : t->head_len;
	memcpy(b.p, t->head, of_head);
	b.p += of_head;
	put_bytes(&b, t->data, keep - of_head);

	fb_put_le32(flags, t->sent ? 2 : 1);
	put_option(&b, PCAPNG_EPB_FLAGS, flags, 4);
	if (t->dropped)
		put_u64(&b, PCAPNG_EPB_DROPCOUNT, t->dropped);
	if (t->error) {
		char text[80];

		snprintf(text, sizeof(text), "malformed: %s", pcie_tlp_error_name(t->error));
		put_text(&b, PCAPNG_OPT_COMMENT, text);
	}
	put_option(&b, PCAPNG_OPT_END, NULL, 0);
	return end(&b);
}

size_t fb_pcapng_put_statistics(uint8_t *out, uint64_t start_ns, uint64_t end_ns, uint64_t received, uint64_t dropped)
{
	struct block b;

	begin(&b, out, PCAPNG_ISB);
	put32(&b, 0); /* interface */
	put32(&b, (uint32_t)(end_ns >> 32));
	put32(&b, (uint32_t)end_ns);
	put_time(&b, PCAPNG_ISB_STARTTIME, start_ns);
	put_time(&b, PCAPNG_ISB_ENDTIME, end_ns);
	put_u64(&b, PCAPNG_ISB_IFRECV, received);
	put_u64(&b, PCAPNG_ISB_IFDROP, dropped);
	put_option(&b, PCAPNG_OPT_END, NULL, 0);
	return end(&b);
}
