/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * A stream is records, each a multiple of 4 bytes. Where it is known from the
 * beginning (HELLO and WELCOME name the first position) it is simply cut. Where
 * a capture begins later, or has a gap, the next record's beginning is looked
 * for: a place in a datagram from which whole records follow each other, with
 * TLPs in them that decode and are of the class that they claim. That is very
 * unlikely to be so by chance: a TLP's length and its own Length field agree.
 */
#include <stdlib.h>
#include <string.h>

#include "capture/stream.h"
#include "link/link_wire.h"
#include "tlp/tlp.h"

struct fb_stream_piece {
	struct fb_stream_piece *next;
	uint64_t pos;
	size_t len;
	uint8_t bytes[];
};

enum { TLP_MAX = 4352 };

/* Bytes of the record that begins here, 0: none does. */
static size_t record_size(const uint8_t *p)
{
	uint16_t len = fb_get_be16(p + FB_WIRE_O_REC_LEN);

	return p[FB_WIRE_O_REC_CLASS] > 2 || p[FB_WIRE_O_REC_ZERO] || !len || len > TLP_MAX ? 0 : fb_wire_record(len);
}

/* Do whole records follow from here, one at least, and good ones? */
static bool plausible(const uint8_t *p, size_t left)
{
	unsigned good = 0;

	while (left >= FB_WIRE_REC) {
		size_t size = record_size(p);
		struct pcie_tlp tlp;

		if (!size)
			return false;
		if (size > left)
			break;
		if (pcie_tlp_decode(&tlp, p + FB_WIRE_REC, fb_get_be16(p + FB_WIRE_O_REC_LEN)) ||
		    (unsigned)pcie_tlp_fc(tlp.type) != p[FB_WIRE_O_REC_CLASS])
			return false;
		good++;
		p += size;
		left -= size;
	}
	return good > 0;
}

static void lose(struct fb_stream *s, uint64_t bytes, const char *why)
{
	s->synced = false;
	s->part_len = 0;
	if (bytes)
		s->lost(s->arg, bytes, why);
}

/* The next bytes of the stream, in order. */
static void consume(struct fb_stream *s, const uint8_t *p, size_t len)
{
	s->next += len;
	if (!s->synced) {
		size_t skip = 0;

		while (skip < len && !plausible(p + skip, len - skip))
			skip += 4;
		if (skip >= len) {
			s->lost(s->arg, len, "no TLP begins in it that could be told from the middle of one");
			return;
		}
		if (skip)
			s->lost(s->arg, skip, "the rest of a TLP that began before the capture, or in a gap of it");
		s->synced = true;
		p += skip;
		len -= skip;
	}
	while (len) {
		size_t want = FB_WIRE_REC, size, n;

		if (s->part_len >= FB_WIRE_REC) {
			size = record_size(s->part);
			if (!size) {
				lose(s, s->part_len + len, "what stands there is no record");
				return;
			}
			want = size;
		}
		n = want - s->part_len < len ? want - s->part_len : len;
		memcpy(s->part + s->part_len, p, n);
		s->part_len += n;
		p += n;
		len -= n;
		if (s->part_len > FB_WIRE_REC && s->part_len == want) {
			s->part_len = 0;
			s->record(s->arg, s->part[FB_WIRE_O_REC_CLASS], s->part + FB_WIRE_REC,
				  fb_get_be16(s->part + FB_WIRE_O_REC_LEN));
		}
	}
}

/* What had waited and fits now. */
static void drain(struct fb_stream *s)
{
	struct fb_stream_piece *piece;

	while ((piece = s->pieces) && piece->pos <= s->next) {
		uint64_t old = s->next - piece->pos;

		s->pieces = piece->next;
		s->waiting -= piece->len;
		if (old < piece->len)
			consume(s, piece->bytes + old, piece->len - (size_t)old);
		free(piece);
	}
}

static void pass_gap(struct fb_stream *s, const char *why)
{
	uint64_t gap = s->pieces->pos - s->next;

	lose(s, gap, why);
	s->next = s->pieces->pos;
	drain(s);
}

static void keep(struct fb_stream *s, uint64_t pos, const uint8_t *data, size_t len)
{
	struct fb_stream_piece **at = &s->pieces, *piece;

	while (*at && (*at)->pos < pos)
		at = &(*at)->next;
	if (*at && (*at)->pos == pos && (*at)->len >= len)
		return;
	piece = malloc(sizeof(*piece) + len);
	if (!piece)
		return;
	piece->pos = pos;
	piece->len = len;
	memcpy(piece->bytes, data, len);
	piece->next = *at;
	*at = piece;
	s->waiting += len;
	while (s->waiting > FB_STREAM_WAITING_MAX)
		pass_gap(s, "not in the capture");
}

void fb_stream_begin(struct fb_stream *s, uint64_t pos)
{
	if (s->begun)
		return;
	s->begun = s->synced = true;
	s->next = pos;
}

void fb_stream_data(struct fb_stream *s, uint64_t pos, const uint8_t *data, size_t len)
{
	if (!len || pos > UINT64_MAX - len)
		return;
	if (!s->begun) {
		s->begun = true;
		s->next = pos;
	}
	if (pos > s->next) {
		keep(s, pos, data, len);
		return;
	}
	if (pos + len > s->next) {
		consume(s, data + (s->next - pos), len - (size_t)(s->next - pos));
		drain(s);
	}
}

void fb_stream_acked(struct fb_stream *s, uint64_t ack)
{
	while (s->begun && s->pieces && s->pieces->pos <= ack)
		pass_gap(s, "not in the capture");
}

void fb_stream_fini(struct fb_stream *s)
{
	while (s->pieces) {
		struct fb_stream_piece *piece = s->pieces;

		s->pieces = piece->next;
		free(piece);
	}
}
