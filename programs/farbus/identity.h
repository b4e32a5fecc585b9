/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who we are on the network: 16 bytes that stay the same over restarts. They are
 * a name-based UUID (RFC 4122, version 5) of this machine's ID and of what
 * makes this daemon another than its neighbours, so that two roots or boxes of
 * one machine differ and /etc/machine-id itself is not told to anybody.
 */
#ifndef FARBUS_PROGRAMS_IDENTITY_H
#define FARBUS_PROGRAMS_IDENTITY_H

#include <stddef.h>

#include "link/link.h"

enum { UUID_TEXT = 37 };

/*
 * `node` is what --node said, or NULL. `role` and `place` ("root", its socket
 * directory) go into the name. 0, or -EINVAL for a --node that is no UUID
 * (logged). Without a machine ID: random, with a warning.
 */
int identity_make(struct fb_link_identity *identity, const char *node, const char *role, const char *place);

/* "6ba7b810-9dad-11d1-80b4-00c04fd430c8". Returns buf. */
char *identity_text(const struct fb_link_identity *identity, char buf[UUID_TEXT]);

/* For tests: the machine's ID from this file. */
int identity_derive(unsigned char out[16], const char *machine_id_path, const char *role, const char *place);

#endif
