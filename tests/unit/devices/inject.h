/* SPDX-License-Identifier: Apache-2.0 */
/* Faults in front of a controller's files: errors, short transfers, operations that do not end until let go. */
#ifndef FARBUS_TESTS_INJECT_H
#define FARBUS_TESTS_INJECT_H

#include "devices/aio.h"

enum { INJECT_KINDS = 4 };

struct inject {
	struct fb_aio inner;
	/* Rules, by kind of operation. */
	int fail[INJECT_KINDS];       /* -errno; 0: none */
	unsigned fail_after[INJECT_KINDS]; /* so many go through before */
	unsigned fail_times[INJECT_KINDS]; /* so many fail; 0: all */
	uint32_t max_bytes;           /* READ and WRITE move at most so many at once; 0: all */
	bool hold;                    /* nothing ends */
	/* What was seen. */
	unsigned seen[INJECT_KINDS], dsyncs;
	int last_mode;
	struct fb_aio_op *first, **last, *held, **held_last;
};

void inject_into(struct inject *inj, struct fb_aio *aio);
void inject_release(struct inject *inj); /* ends `hold` */

#endif
