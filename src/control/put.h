/* SPDX-License-Identifier: Apache-2.0 */
/* Short hands of describe*.c. A member that cannot be made (no memory) is missing from the object. */
#ifndef FARBUS_CONTROL_PUT_H
#define FARBUS_CONTROL_PUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

static inline void put_u64(json_t *o, const char *key, uint64_t value)
{
	json_object_set_new(o, key, json_integer((json_int_t)value));
}

static inline void put_bool(json_t *o, const char *key, bool value)
{
	json_object_set_new(o, key, json_boolean(value));
}

/* Texts of peers and guests may hold any bytes: what is not UTF-8 becomes "?". */
static inline void put_text(json_t *o, const char *key, const char *text)
{
	json_t *value = json_string(text);

	if (!value) {
		char ascii[256];
		size_t i;

		for (i = 0; text[i] && i < sizeof(ascii) - 1; i++)
			ascii[i] = (unsigned char)text[i] < 0x80 ? text[i] : '?';
		ascii[i] = '\0';
		value = json_string(ascii);
	}
	json_object_set_new(o, key, value);
}

/* A counter under its own name. */
#define PUT(object, from, member) put_u64(object, #member, (uint64_t)(from)->member)

#endif
