/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One direction of a session of the link, as a bystander sees it: pieces of a
 * stream in any order, some more than once, some never. Gives out its records.
 */
#ifndef FARBUS_CAPTURE_STREAM_H
#define FARBUS_CAPTURE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { FB_STREAM_WAITING_MAX = 4 << 20 }; /* bytes beyond a gap */

struct fb_stream_piece;

struct fb_stream {
	bool begun;  /* `next` is known */
	bool synced; /* it is where a record begins, or inside one that is in `part` */
	uint64_t next; /* position of the first byte that has not been seen */
	uint8_t part[4360];
	size_t part_len;
	struct fb_stream_piece *pieces; /* beyond a gap, by position */
	size_t waiting;
	/* A record: `class_` as enum pcie_fc, the TLP's bytes. */
	void (*record)(void *arg, unsigned class_, const uint8_t *tlp, size_t len);
	/* Bytes of the stream that were passed over: not captured, or not understood. */
	void (*lost)(void *arg, uint64_t bytes, const char *why);
	void *arg;
};

void fb_stream_begin(struct fb_stream *s, uint64_t pos); /* by HELLO or WELCOME; later ones change nothing */
void fb_stream_data(struct fb_stream *s, uint64_t pos, const uint8_t *data, size_t len);
/* The receiver has all below `ack`: what is missing there will not come any more. */
void fb_stream_acked(struct fb_stream *s, uint64_t ack);
void fb_stream_fini(struct fb_stream *s);

#ifdef __cplusplus
}
#endif
#endif
