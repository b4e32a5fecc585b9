/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TLP's bytes, field by field, under the names of the base specification 5.0:
 * for people who look at one. Unlike the decoder it also shows what is malformed
 * or cut off, as far as there are bytes. Pure.
 */
#ifndef FARBUS_TLP_FIELDS_H
#define FARBUS_TLP_FIELDS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct pcie_field {
	const char *name;   /* "Requester ID" */
	const char *value;  /* "01:00.0" */
	unsigned offset, length; /* bytes that it is in, from the first one of the buffer */
};

/* Calls `show` for each field in the order of the bytes; what it is given is valid during the call. */
void pcie_tlp_fields(const void *buf, size_t len, void (*show)(void *arg, const struct pcie_field *field), void *arg);

/* "ERR_COR"; NULL: no message of that code is known. */
const char *pcie_msg_name(uint8_t code);
const char *pcie_msg_route_name(uint8_t route); /* "to root" … */

#ifdef __cplusplus
}
#endif
#endif
