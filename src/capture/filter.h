/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which TLPs a capture takes, as people write it:
 *
 *	type=MWr+MRd addr=0xfee00000-0xfeefffff or function=ssd* status=error
 *
 * Terms KEY=VALUE[+VALUE…] joined by blanks or commas must all hold; "or"
 * separates alternatives. Pure; docs/capture.md has the keys.
 */
#ifndef FARBUS_CAPTURE_FILTER_H
#define FARBUS_CAPTURE_FILTER_H

#include <stdbool.h>
#include <stddef.h>

#include "capture/tap.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fb_filter;

/*
 * 0; -EINVAL with one line in `error` that names the term, and what it could
 * have been; -ENOMEM. Blank text takes everything.
 */
int fb_filter_parse(struct fb_filter **out, const char *text, char *error, size_t cap);
void fb_filter_free(struct fb_filter *filter);
/* NULL takes everything. */
bool fb_filter_takes(const struct fb_filter *filter, const struct fb_tap_source *source, bool sent,
		     const struct pcie_tlp *tlp, enum pcie_tlp_error error);

#ifdef __cplusplus
}
#endif
#endif
