/* SPDX-License-Identifier: Apache-2.0 */
/* LIST and LISTING as they come, and with their CRC put right; what is accepted must survive a round trip. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "link/directory.h"
#include "link/link_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void page_round_trip(struct fb_directory_page *page)
{
	static struct fb_directory_page again;
	static uint8_t out[9000];
	size_t n = fb_directory_put_page(page, out, sizeof(out));

	memset(&again, 0, sizeof(again));
	if (!n || fb_directory_get_page(&again, out, n) || again.n != page->n || again.total != page->total)
		abort();
	for (unsigned i = 0; i < again.n; i++) {
		const struct fb_directory_entry *a = &page->entries[i], *b = &again.entries[i];

		if (strcmp(a->id, b->id) || strcmp(a->model, b->model) || a->class_code != b->class_code ||
		    a->in_use != b->in_use || memcmp(a->user, b->user, sizeof(a->user)))
			abort();
	}
}

static void one(const uint8_t *d, size_t n)
{
	static struct fb_directory_page page;
	struct fb_directory_request request, again;
	struct fb_link_hello hello;
	uint64_t session;
	uint8_t out[FB_WIRE_LIST_HLEN];

	(void)fb_link_classify(d, n, &session, &hello);
	if (!fb_directory_get_request(&request, d, n)) {
		if (!fb_directory_put_request(&request, out, sizeof(out)) ||
		    fb_directory_get_request(&again, out, sizeof(out)) == -EBADMSG || again.nonce != request.nonce ||
		    again.first != request.first || again.group != request.group)
			abort();
	}
	if (!fb_directory_get_page(&page, d, n))
		page_round_trip(&page);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *d = malloc(size ? size : 1);

	if (!d)
		abort();
	memcpy(d, data, size);
	one(d, size);
	if (size >= FB_WIRE_COMMON) {
		fb_wire_seal(d, size);
		one(d, size);
	}
	free(d);
	return 0;
}
