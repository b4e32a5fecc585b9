/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration space that the guest sees: the function's own, except for
 * the bits that the root keeps to itself. Pure: makes requests for others to
 * send, sends none.
 *
 * Four images of 4 KiB describe it, bit by bit:
 *	virt   1: the guest reads this bit from `shadow`, not from the function
 *	wmask  1: the guest may change it (only where virt is 1)
 *	shadow what the guest wrote there last
 *	wire   what the function holds there, put there by the root
 */
#ifndef FARBUS_ROOT_CONFIG_H
#define FARBUS_ROOT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "root/requester.h"

enum { FB_CONFIG_SIZE = 4096, FB_CONFIG_BARS = 6 };

struct fb_config_bar {
	bool present, io, is_64, prefetchable;
	uint64_t size;
	uint64_t address; /* what the function decodes now: where the root sends accesses */
	uint64_t standby; /* the root's own choice, for when the guest has assigned none */
};

struct fb_config {
	uint8_t virt[FB_CONFIG_SIZE], wmask[FB_CONFIG_SIZE], shadow[FB_CONFIG_SIZE], wire[FB_CONFIG_SIZE];
	uint8_t reset_shadow[FB_CONFIG_SIZE]; /* shadow after reset */

	uint16_t vendor_id, device_id;
	uint32_t class_code;
	uint8_t interrupt_pin;
	struct fb_config_bar bars[FB_CONFIG_BARS];
	bool has_rom;

	uint16_t pm, msi, msix, pcie; /* offsets of the capabilities, 0: none */
	bool msi_64;
	uint16_t msi_vectors, msix_vectors; /* 0: none */
	uint8_t msix_bar;
	uint32_t msix_table, msix_pba; /* offsets in their BARs */
	uint8_t msix_pba_bar;
	bool msix_hidden;
	bool flr, no_soft_reset;
	uint8_t mps_code;  /* of the wire: 128 << code */
	uint8_t mrrs_code;

	uint16_t command; /* as the guest last wrote it */
	uint8_t power_state; /* D0..D3hot, ditto */
};

/* What a guest's write asks of the root besides the requests. */
enum {
	FB_CONFIG_DID_COMMAND = 1, /* memory, I/O or bus master enable may have changed */
	FB_CONFIG_DID_FLR = 2,     /* it set Initiate Function Level Reset */
	FB_CONFIG_DID_D0 = 4,      /* it brought the function back from D3hot, which resets it */
	FB_CONFIG_DID_BAR = 8,
	FB_CONFIG_DID_MSI = 16,    /* MSI or MSI-X enable or mask bits */
};

/*
 * Takes in the first 256 bytes of a function and the answers to BAR sizing
 * (`sizes`: what the BARs and, last, the ROM BAR read after all ones were
 * written). devcap2: Device Capabilities 2. 0, or -EPROTO: not a type 0 function
 * that can be used; *why (static) says what is wrong.
 */
int fb_config_parse(struct fb_config *c, const uint8_t header[256], const uint32_t sizes[FB_CONFIG_BARS + 1],
		    bool hide_msix, const char **why);

/* The guest's view after a reset; BARs go back to the root's own addresses. */
void fb_config_reset(struct fb_config *c);

/* The requests that put the root's wishes, and its own BAR addresses, into a function that was just reset: <= 32. */
unsigned fb_config_program(const struct fb_config *c, struct fb_op *ops);
/* The writes that bring the BARs to the guest's addresses, which count as current from now on. <= 12. */
unsigned fb_config_move_bars(struct fb_config *c, struct fb_op *ops);

/* Requests needed to read [offset, offset + len): at most len / 4 + 2; bytes that are all virtual need none. */
unsigned fb_config_read_ops(const struct fb_config *c, uint32_t offset, uint32_t len, struct fb_op *ops);
/* The guest's bytes from the answers. */
void fb_config_read_result(const struct fb_config *c, uint32_t offset, uint32_t len, const struct fb_op *ops,
			   unsigned n_ops, uint8_t *buf);
/* A guest's write. Returns the number of requests (at most len / 4 + 2); *did: FB_CONFIG_DID_*. */
unsigned fb_config_write(struct fb_config *c, uint32_t offset, uint32_t len, const uint8_t *data, struct fb_op *ops,
			 unsigned *did);

/* MSI as the root wants it on the wire. enable false: off. Returns the number of requests (<= 4). */
unsigned fb_config_msi_ops(struct fb_config *c, bool enable, unsigned vectors, uint64_t address, uint16_t data,
			   struct fb_op *ops);
/* MSI-X control word likewise. */
unsigned fb_config_msix_ops(struct fb_config *c, bool enable, struct fb_op *ops);
/* What the guest believes. */
bool fb_config_guest_msi(const struct fb_config *c);
bool fb_config_guest_msix(const struct fb_config *c);

#endif
