/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The datagrams of the link: offsets, limits, accessors. docs/protocol.md says
 * what they mean. All integers are big-endian; all offsets are from the first
 * byte of the UDP payload. Pure.
 */
#ifndef FARBUS_LINK_LINK_WIRE_H
#define FARBUS_LINK_LINK_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "link/crc32c.h"
#include "util/reader.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
	FB_WIRE_MAGIC = 0x4642,      /* "FB" */
	FB_WIRE_LAYOUT = 1,          /* of the common header; and of HELLO, REFUSE, LIST, LISTING for good */
	FB_WIRE_VERSION_MIN = 1,     /* the protocol versions we speak */
	FB_WIRE_VERSION_MAX = 1,
	FB_WIRE_SUITE_CRC = 0,       /* no cryptography: CRC32C */
	FB_WIRE_TAG = 16,            /* bytes at the end that an authenticating suite takes from the payload */
	FB_WIRE_MTU_MIN = 1232,      /* UDP payload: IPv6's 1,280 less 48 */
	FB_WIRE_MTU_MAX = 65504,
	FB_WIRE_WINDOW_MIN = 16384,  /* a receiver offers at least this, and takes datagrams of at most this */
	FB_WIRE_TLP_MAX = 4352,      /* bytes of one TLP */
	FB_WIRE_RECORD_MAX = 4 + FB_WIRE_TLP_MAX,
	FB_WIRE_SACKS_MAX = 64,
	FB_WIRE_NP_MAX = 32767,
	FB_WIRE_ACK_DELAY_NS = 2000000, /* nobody holds an acknowledgement back for longer */
};
/* Credit counters begin just below their wrap, so that every session of some length passes it. */
#define FB_WIRE_CREDIT_START 0xffff0000u

enum fb_wire_kind {
	FB_WIRE_HELLO = 1,
	FB_WIRE_WELCOME = 2,
	FB_WIRE_REFUSE = 3,
	FB_WIRE_DATA = 4,
	FB_WIRE_CLOSE = 5,
	FB_WIRE_LIST = 6,
	FB_WIRE_LISTING = 7,
};

enum {
	FB_WIRE_F_PING = 0x01,      /* acknowledge at once */
	FB_WIRE_F_ECHO = 0x02,      /* echo and echo_delay are valid */
	FB_WIRE_F_TIME = 0x04,      /* without payload: pos is the sender's clock */
	FB_WIRE_F_KEY_PHASE = 0x80, /* for authenticating suites; 0 in suite 0 */
};

/* The common header */
enum {
	FB_WIRE_O_MAGIC = 0,    /* 2 */
	FB_WIRE_O_LAYOUT = 2,   /* 1 */
	FB_WIRE_O_KIND = 3,     /* 1 */
	FB_WIRE_O_SUITE = 4,    /* 1 */
	FB_WIRE_O_FLAGS = 5,    /* 1 */
	FB_WIRE_O_HLEN = 6,     /* 2: bytes before payload or padding */
	FB_WIRE_O_SESSION = 8,  /* 8: the receiver's session id */
	FB_WIRE_O_FROM = 16,    /* 8: the sender's */
	FB_WIRE_O_NUMBER = 24,  /* 4: counts the datagrams that the sender sent in the session */
	FB_WIRE_O_CRC = 28,     /* 4: over all other bytes */
	FB_WIRE_COMMON = 32,
};

/* DATA */
enum {
	FB_WIRE_O_POS = 32,        /* 8: of the payload's first byte in the sender's stream */
	FB_WIRE_O_ACK = 40,        /* 8: all below this position has arrived */
	FB_WIRE_O_ECHO = 48,       /* 4: the largest number that has arrived */
	FB_WIRE_O_ECHO_DELAY = 52, /* 4: ns since then; all ones: more */
	FB_WIRE_O_POSTED = 56,     /* 4: posted bytes that may be sent, counted from the session's start */
	FB_WIRE_O_NP = 60,         /* 4: non-posted requests, likewise */
	FB_WIRE_DATA_HLEN = 64,
	FB_WIRE_SACK = 8,          /* each: from, to, relative to ack, 4 + 4 */
};

/* HELLO and WELCOME */
enum {
	FB_WIRE_O_VERSION_MIN = 32,  /* 2; WELCOME: the chosen one, twice */
	FB_WIRE_O_VERSION_MAX = 34,  /* 2 */
	FB_WIRE_O_SUITES = 36,       /* 2: HELLO: set of suites offered; WELCOME: the one chosen, as a set */
	FB_WIRE_O_H_RESERVED = 38,   /* 2 */
	FB_WIRE_O_H_ECHO = 40,       /* 4: WELCOME: number of the HELLO */
	FB_WIRE_O_HOLD = 44,         /* 4: hold time, ms */
	FB_WIRE_O_NODE = 48,         /* 16 */
	FB_WIRE_O_INCARNATION = 64,  /* 8 */
	FB_WIRE_O_H_POS = 72,        /* 8: position of the sender's first byte */
	FB_WIRE_O_GROUP = 80,        /* 4 */
	FB_WIRE_O_WINDOW = 84,       /* 4: receive buffer, bytes */
	FB_WIRE_O_H_POSTED = 88,     /* 4: posted credit at the start, bytes (not a counter) */
	FB_WIRE_O_H_NP = 92,         /* 4: non-posted credit at the start */
	FB_WIRE_O_MTU = 96,          /* 4: largest datagram the sender takes */
	FB_WIRE_O_FUNCTION = 100,    /* 32, NUL-padded */
	FB_WIRE_HELLO_HLEN = 132,
};

/* REFUSE and CLOSE */
enum {
	FB_WIRE_O_R_VERSION_MIN = 32, /* 2 */
	FB_WIRE_O_R_VERSION_MAX = 34, /* 2 */
	FB_WIRE_O_REASON = 36,        /* 2 */
	FB_WIRE_O_TEXT_LEN = 38,      /* 2 */
	FB_WIRE_CLOSE_HLEN = 40,      /* the text follows it */
	FB_WIRE_TEXT_MAX = 127,
};

/* LIST and LISTING: directory.c */
enum {
	FB_WIRE_O_L_NONCE = 32,       /* 4 */
	FB_WIRE_O_L_FIRST = 36,       /* 4 */
	FB_WIRE_O_L_VERSION_MIN = 40, /* 2 */
	FB_WIRE_O_L_VERSION_MAX = 42, /* 2 */
	FB_WIRE_O_L_GROUP = 44,       /* 4: LIST */
	FB_WIRE_LIST_HLEN = 48,
	FB_WIRE_O_L_TOTAL = 44,       /* 4: LISTING */
	FB_WIRE_O_L_N = 48,           /* 2 */
	FB_WIRE_O_L_ENTRY = 50,       /* 2: bytes of an entry */
	FB_WIRE_O_L_RESERVED = 52,    /* 4 */
	FB_WIRE_O_L_INCARNATION = 56, /* 8 */
	FB_WIRE_O_L_NODE = 64,        /* 16 */
	FB_WIRE_LISTING_HLEN = 80,
	/* an entry */
	FB_WIRE_O_E_ID = 0,       /* 32, NUL-padded */
	FB_WIRE_O_E_MODEL = 32,   /* 16, NUL-padded */
	FB_WIRE_O_E_USER = 48,    /* 16 */
	FB_WIRE_O_E_VENDOR = 64,  /* 2 */
	FB_WIRE_O_E_DEVICE = 66,  /* 2 */
	FB_WIRE_O_E_CLASS = 68,   /* 4 */
	FB_WIRE_O_E_GROUP = 72,   /* 4 */
	FB_WIRE_O_E_FLAGS = 76,   /* 4: bit 0 in use */
	FB_WIRE_ENTRY = 80,
};

/* A record of the stream: header, TLP, zeros up to a multiple of 4 */
enum {
	FB_WIRE_O_REC_CLASS = 0, /* 1 */
	FB_WIRE_O_REC_ZERO = 1,  /* 1 */
	FB_WIRE_O_REC_LEN = 2,   /* 2: bytes of the TLP */
	FB_WIRE_REC = 4,
};

_Static_assert(FB_WIRE_O_CRC + 4 == FB_WIRE_COMMON, "common header");
_Static_assert(FB_WIRE_O_NP + 4 == FB_WIRE_DATA_HLEN, "data header");
_Static_assert(FB_WIRE_O_FUNCTION + 32 == FB_WIRE_HELLO_HLEN, "hello");
_Static_assert(FB_WIRE_O_L_NODE + 16 == FB_WIRE_LISTING_HLEN, "listing");
_Static_assert(FB_WIRE_DATA_HLEN + FB_WIRE_SACKS_MAX * FB_WIRE_SACK <= FB_WIRE_MTU_MIN, "an acknowledgement fits");
_Static_assert(FB_WIRE_LISTING_HLEN + FB_WIRE_ENTRY <= FB_WIRE_MTU_MIN, "a page holds an entry");

struct fb_wire_head {
	uint8_t kind, suite, flags;
	uint16_t hlen;
	uint64_t session, from;
	uint32_t number;
};

/* Bytes that a TLP takes in the stream; also its cost in posted credit. */
static inline uint32_t fb_wire_record(size_t tlp_len)
{
	return (uint32_t)(FB_WIRE_REC + ((tlp_len + 3) & ~(size_t)3));
}

static inline uint32_t fb_wire_crc(const uint8_t *dgram, size_t len)
{
	return fb_crc32c(fb_crc32c(0, dgram, FB_WIRE_O_CRC), dgram + FB_WIRE_COMMON, len - FB_WIRE_COMMON);
}

/* The common header, CRC excepted. */
static inline void fb_wire_put_head(uint8_t *d, const struct fb_wire_head *h)
{
	fb_put_be16(d + FB_WIRE_O_MAGIC, FB_WIRE_MAGIC);
	d[FB_WIRE_O_LAYOUT] = FB_WIRE_LAYOUT;
	d[FB_WIRE_O_KIND] = h->kind;
	d[FB_WIRE_O_SUITE] = h->suite;
	d[FB_WIRE_O_FLAGS] = h->flags;
	fb_put_be16(d + FB_WIRE_O_HLEN, h->hlen);
	fb_put_be64(d + FB_WIRE_O_SESSION, h->session);
	fb_put_be64(d + FB_WIRE_O_FROM, h->from);
	fb_put_be32(d + FB_WIRE_O_NUMBER, h->number);
}

/* Last, when all other bytes are in place. */
static inline void fb_wire_seal(uint8_t *d, size_t len)
{
	fb_put_be32(d + FB_WIRE_O_CRC, fb_wire_crc(d, len));
}

/* Is this a datagram of ours, of a layout and suite that we know? The CRC is not looked at. */
__attribute__((warn_unused_result)) static inline bool fb_wire_get_head(struct fb_wire_head *h, const uint8_t *d,
									 size_t len)
{
	if (len < FB_WIRE_COMMON || len > FB_WIRE_MTU_MAX || fb_get_be16(d + FB_WIRE_O_MAGIC) != FB_WIRE_MAGIC ||
	    d[FB_WIRE_O_LAYOUT] != FB_WIRE_LAYOUT)
		return false;
	h->kind = d[FB_WIRE_O_KIND];
	h->suite = d[FB_WIRE_O_SUITE];
	h->flags = d[FB_WIRE_O_FLAGS];
	h->hlen = fb_get_be16(d + FB_WIRE_O_HLEN);
	h->session = fb_get_be64(d + FB_WIRE_O_SESSION);
	h->from = fb_get_be64(d + FB_WIRE_O_FROM);
	h->number = fb_get_be32(d + FB_WIRE_O_NUMBER);
	return h->suite == FB_WIRE_SUITE_CRC && h->hlen >= FB_WIRE_COMMON && h->hlen <= len && h->hlen % 4 == 0;
}

__attribute__((warn_unused_result)) static inline bool fb_wire_crc_ok(const uint8_t *d, size_t len)
{
	return fb_get_be32(d + FB_WIRE_O_CRC) == fb_wire_crc(d, len);
}

/* HELLO and WELCOME as a struct */
struct fb_wire_hello {
	uint16_t version_min, version_max, suites;
	uint32_t echo, hold_ms;
	uint8_t node[16];
	uint64_t incarnation, pos;
	uint32_t group, window, posted, np, mtu;
	char function[32];
};
/* False: a field is out of its range. `d` holds FB_WIRE_HELLO_HLEN bytes. */
__attribute__((warn_unused_result)) bool fb_wire_get_hello(struct fb_wire_hello *h, const uint8_t *d);

/* Text becomes printable ASCII with a NUL. False: malformed. */
__attribute__((warn_unused_result)) bool fb_wire_get_close(const uint8_t *d, size_t len, uint16_t *reason,
							    char text[FB_WIRE_TEXT_MAX + 1]);

#ifdef __cplusplus
}
#endif
#endif
