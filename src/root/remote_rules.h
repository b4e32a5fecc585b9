/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the operator opens to remote requesters: --allow-dma's rules. Pure.
 *
 *	all|START+SIZE [,peer=ADDR[/BITS]] [,function=ID] [,ro]
 *
 * START and SIZE are bus addresses of the VM: 0x100000000+1G. Without peer=,
 * whoever reaches the address may come; without function=, rules are for every
 * function of the root.
 */
#ifndef FARBUS_ROOT_REMOTE_RULES_H
#define FARBUS_ROOT_REMOTE_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "link/link.h"

struct fb_remote_rule {
	uint64_t first, last; /* inclusive */
	bool read_only;
	char function[FB_LINK_NAME_MAX]; /* "": every one */
	bool any_peer;
	uint8_t peer[16]; /* IPv4 as ::ffff:a.b.c.d */
	unsigned bits;    /* of peer that count, 0..128 */
};

/* 0, or -EINVAL after one logged line that says what is wrong. */
int fb_remote_rule_parse(struct fb_remote_rule *rule, const char *text);

/* Is the rule for this peer ("udp:192.0.2.1:7000") and function? */
bool fb_remote_rule_matches(const struct fb_remote_rule *rule, const char *peer, const char *function);

/* Do the rules together open every byte of [addr, addr + len)? len > 0. */
bool fb_remote_rules_allow(const struct fb_remote_rule *const *rules, unsigned n, uint64_t addr, uint32_t len,
			   bool write);

#endif
