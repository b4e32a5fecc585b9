/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as a filter: it is refused with a reason, or takes and leaves TLPs without harm. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "capture/filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct fb_tap_source source = {.function = "ssd0", .on_root = true};
	char *text = malloc(size + 1), error[128] = "";
	struct fb_filter *f;
	int err;

	memcpy(text, data, size);
	text[size] = '\0';
	err = fb_filter_parse(&f, text, error, sizeof(error));
	if (err == -EINVAL && !*error)
		abort();
	if (!err) {
		for (unsigned t = 0; t < PCIE_TLP_TYPES; t++) {
			struct pcie_tlp tlp = {.type = (enum pcie_tlp_type)t, .length = 1, .first_be = 0xf,
					       .address = t % 2 ? UINT64_MAX - 3 : 0x1000};

			(void)fb_filter_takes(f, &source, t & 1, &tlp, PCIE_TLP_OK);
			(void)fb_filter_takes(f, &source, t & 1, &tlp, PCIE_TLP_E_SHORT);
		}
		fb_filter_free(f);
	} else if (err != -EINVAL) {
		abort();
	}
	free(text);
	return 0;
}
