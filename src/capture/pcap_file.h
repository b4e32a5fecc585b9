/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads capture files: pcapng, and the older pcap in all its byte orders and
 * resolutions. Nothing in a file is believed: what is wrong ends the reading with
 * a line that says what, and at which offset of the file; what came before it has
 * been handed out. Memory is bounded by the largest block that is taken (16 MiB).
 */
#ifndef FARBUS_CAPTURE_PCAP_FILE_H
#define FARBUS_CAPTURE_PCAP_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct fb_pcap_file;

enum { FB_PCAP_BLOCK_MAX = 16 << 20, FB_PCAP_INTERFACES_MAX = 4096 };

struct fb_packet {
	uint64_t number; /* from 1 */
	uint64_t offset; /* of its block or record in the file */
	uint64_t time_ns; /* since 1970; 0: the file does not say */
	uint64_t dropped; /* before it, as the file says */
	uint16_t linktype;
	uint8_t direction; /* 0 not said, 1 inbound, 2 outbound */
	const uint8_t *data; /* valid until the next call */
	uint32_t len, original_len; /* original_len: at least len */
};

/* `read` as read(2): bytes, 0 at the end, or -errno. 0; -ENOMEM. */
int fb_pcap_open(struct fb_pcap_file **out, ssize_t (*read)(void *arg, void *buf, size_t len), void *arg);
void fb_pcap_close(struct fb_pcap_file *file);
/* 1: a packet; 0: the end; -errno: see fb_pcap_error(). */
int fb_pcap_next(struct fb_pcap_file *file, struct fb_packet *packet);
/* "offset 1234: the block has 7 bytes: …" */
const char *fb_pcap_error(const struct fb_pcap_file *file);

struct fb_pcap_totals {
	uint64_t packets;
	uint64_t received, dropped; /* by the file's own statistics */
	bool has_statistics;
};
const struct fb_pcap_totals *fb_pcap_totals(const struct fb_pcap_file *file);

#ifdef __cplusplus
}
#endif
#endif
