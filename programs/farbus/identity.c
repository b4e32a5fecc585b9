/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uuid/uuid.h>

#include "identity.h"
#include "util/log.h"

/* /etc/machine-id is 32 hexadecimal digits (machine-id(5)). */
static int read_machine_id(const char *path, uuid_t id)
{
	FILE *f = fopen(path, "re");
	char text[33];
	size_t n;

	if (!f)
		return -errno;
	n = fread(text, 1, 32, f);
	fclose(f);
	if (n != 32)
		return -EBADMSG;
	for (unsigned i = 0; i < 16; i++) {
		char digits[3] = {text[2 * i], text[2 * i + 1], '\0'};

		if (!isxdigit((unsigned char)digits[0]) || !isxdigit((unsigned char)digits[1]))
			return -EBADMSG;
		id[i] = (unsigned char)strtoul(digits, NULL, 16);
	}
	return 0;
}

int identity_derive(unsigned char out[16], const char *machine_id_path, const char *role, const char *place)
{
	char full[PATH_MAX], name[PATH_MAX + 64];
	uuid_t machine;
	int err = read_machine_id(machine_id_path, machine);

	if (err)
		return err;
	/* "run/a" and "/srv/run/a" are one directory, and two processes may have other working directories. */
	snprintf(name, sizeof(name), "farbus %s %s", role, realpath(place, full) ? full : place);
	uuid_generate_sha1(out, machine, name, strlen(name));
	return 0;
}

int identity_make(struct fb_link_identity *identity, const char *node, const char *role, const char *place)
{
	struct timespec now;
	int err;

	clock_gettime(CLOCK_REALTIME, &now);
	identity->incarnation = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
	if (node) {
		if (uuid_parse(node, identity->node) < 0) {
			fb_error(role, "--node=%s: must be a UUID such as 6ba7b810-9dad-11d1-80b4-00c04fd430c8", node);
			return -EINVAL;
		}
		return 0;
	}
	err = identity_derive(identity->node, "/etc/machine-id", role, place);
	if (err) {
		fb_warn(role, "/etc/machine-id: %s: this process gets a random identity; --node UUID gives a lasting one",
			strerror(-err));
		uuid_generate(identity->node);
	}
	return 0;
}

char *identity_text(const struct fb_link_identity *identity, char buf[UUID_TEXT])
{
	uuid_unparse_lower(identity->node, buf);
	return buf;
}
