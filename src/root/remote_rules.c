/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "root/remote_rules.h"
#include "util/log.h"
#include "util/text.h"

static const char *const keys[] = {"peer", "function", "ro", NULL};

/* "192.0.2.1" or "2001:db8::1" as 16 bytes. *width: bits of the written form. */
static bool parse_address(const char *text, uint8_t out[16], unsigned *width)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (inet_pton(AF_INET, text, out + 12) == 1) {
		memcpy(out, mapped, sizeof(mapped));
		*width = 32;
		return true;
	}
	*width = 128;
	return inet_pton(AF_INET6, text, out) == 1;
}

static int set_peer(struct fb_remote_rule *rule, char *value)
{
	char *slash = strchr(value, '/');
	unsigned width;
	uint64_t bits;

	if (slash)
		*slash = '\0';
	if (!parse_address(value, rule->peer, &width))
		return -EINVAL;
	bits = width;
	if (slash && (fb_parse_u64(slash + 1, &bits) || bits > width))
		return -EINVAL;
	rule->bits = 128 - width + (unsigned)bits;
	rule->any_peer = false;
	return 0;
}

static int set_range(struct fb_remote_rule *rule, char *value)
{
	char *plus = strchr(value, '+');
	uint64_t start, size;

	if (!strcmp(value, "all")) {
		rule->first = 0;
		rule->last = UINT64_MAX;
		return 0;
	}
	if (!plus)
		return -EINVAL;
	*plus = '\0';
	if ((fb_parse_u64(value, &start) && fb_parse_size(value, &start)) ||
	    (fb_parse_u64(plus + 1, &size) && fb_parse_size(plus + 1, &size)) || !size || start + (size - 1) < start)
		return -EINVAL;
	rule->first = start;
	rule->last = start + (size - 1);
	return 0;
}

static int set_key(struct fb_remote_rule *rule, const char *text, char *item)
{
	char *value = strchr(item, '=');
	const char *near;

	if (value)
		*value++ = '\0';
	if (!strcmp(item, "ro") && !value) {
		rule->read_only = true;
		return 0;
	}
	if (!strcmp(item, "peer") && value) {
		if (set_peer(rule, value) == 0)
			return 0;
		fb_error("allow-dma", "%s: peer must be an IP address, or a network as 192.0.2.0/24", text);
		return -EINVAL;
	}
	if (!strcmp(item, "function") && value) {
		if (*value && strlen(value) < sizeof(rule->function)) {
			strcpy(rule->function, value);
			return 0;
		}
		fb_error("allow-dma", "%s: function must be the ID of one (1 to %d characters)", text, FB_LINK_NAME_MAX - 1);
		return -EINVAL;
	}
	near = fb_nearest(item, keys);
	fb_error("allow-dma", "%s: \"%s\" is not one of peer=ADDRESS, function=ID, ro%s%s%s", text, item,
		 near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
	return -EINVAL;
}

int fb_remote_rule_parse(struct fb_remote_rule *rule, const char *text)
{
	char *copy = strdup(text), *cursor = copy, *item;
	int err = 0;

	if (!copy)
		return -ENOMEM;
	*rule = (struct fb_remote_rule){.any_peer = true};
	item = fb_next_item(&cursor, ',');
	if (!item || set_range(rule, item)) {
		fb_error("allow-dma", "\"%s\": must begin with \"all\" or with a range of bus addresses, START+SIZE, for "
				      "example 0x100000000+1G", text);
		err = -EINVAL;
	}
	while (!err && (item = fb_next_item(&cursor, ',')))
		err = set_key(rule, text, item);
	free(copy);
	return err;
}

/* "udp:192.0.2.1:7000", "udp:[2001:db8::1%eth0]:7000": the address without interface and port. */
static bool peer_address(const char *peer, uint8_t out[16])
{
	const char *start = strchr(peer, ':'), *end;
	char host[64];
	unsigned width;

	if (!start)
		return false;
	start++;
	if (*start == '[') {
		start++;
		end = start + strcspn(start, "%]");
	} else {
		end = strrchr(start, ':');
	}
	if (!end || (size_t)(end - start) >= sizeof(host))
		return false;
	memcpy(host, start, (size_t)(end - start));
	host[end - start] = '\0';
	return parse_address(host, out, &width);
}

bool fb_remote_rule_matches(const struct fb_remote_rule *rule, const char *peer, const char *function)
{
	uint8_t address[16];
	unsigned whole = rule->bits / 8, rest = rule->bits % 8;

	if (rule->function[0] && strcmp(rule->function, function) != 0)
		return false;
	if (rule->any_peer)
		return true;
	if (!peer_address(peer, address) || memcmp(address, rule->peer, whole) != 0)
		return false;
	return !rest || (address[whole] ^ rule->peer[whole]) >> (8 - rest) == 0;
}

bool fb_remote_rules_allow(const struct fb_remote_rule *const *rules, unsigned n, uint64_t addr, uint32_t len,
			   bool write)
{
	uint64_t last = addr + (len - 1);

	if (last < addr)
		return false;
	for (uint32_t i = 0; i < n; i++) {
		const struct fb_remote_rule *r = rules[i];

		if ((write && r->read_only) || addr < r->first || addr > r->last)
			continue;
		if (last <= r->last)
			return true;
		addr = r->last + 1; /* the rest may be another rule's: from the first again */
		i = UINT32_MAX;
	}
	return false;
}
