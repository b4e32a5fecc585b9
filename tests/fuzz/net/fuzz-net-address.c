/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses come from command lines and files. What parses has a text form that parses to the same address. */
#include <stdlib.h>
#include <string.h>

#include "net/net.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct fb_net_ops *ops;
	struct fb_net_addr a, b;
	char *text = malloc(size + 1), buf[96];
	const char *rest;

	if (!text)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	ops = fb_net_find(text, &rest);
	if (ops && ops->parse(rest, &a) == 0) {
		ops->format(&a, buf, sizeof(buf));
		if (ops->parse(buf, &b) || a.len != b.len || memcmp(a.bytes, b.bytes, a.len))
			abort();
	}
	free(text);
	return 0;
}
