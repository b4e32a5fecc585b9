/* SPDX-License-Identifier: Apache-2.0 */
/* A text table on stdout: columns as wide as their widest cell, those without any cell left out. */
#ifndef FARBUS_PROGRAMS_TABLE_H
#define FARBUS_PROGRAMS_TABLE_H

enum { TABLE_COLUMNS = 12 };

struct table {
	const char *const *heads; /* NULL-terminated, at most TABLE_COLUMNS */
	char ***rows;
	unsigned n_rows;
};

/* One cell a head, copied; NULL and "" are empty. 0 or -ENOMEM. */
int table_add(struct table *t, const char *const *cells);
/* Prints and frees the rows. */
void table_print(struct table *t);

#endif
