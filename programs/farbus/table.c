/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "table.h"

static unsigned columns(const struct table *t)
{
	unsigned n = 0;

	while (t->heads[n])
		n++;
	return n;
}

int table_add(struct table *t, const char *const *cells)
{
	unsigned n = columns(t);
	char ***grown = realloc(t->rows, (t->n_rows + 1) * sizeof(*grown));
	char **row = calloc(n, sizeof(*row));

	if (grown)
		t->rows = grown;
	if (!grown || !row) {
		free(row);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < n; i++)
		row[i] = strdup(cells[i] ? cells[i] : "");
	t->rows[t->n_rows++] = row;
	return 0;
}

/* Cells are other people's text: no control character reaches the terminal. */
static void print_cell(const char *text, unsigned width, int last)
{
	unsigned n = 0;

	for (; text && *text; text++, n++)
		putchar((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text);
	for (; !last && n < width + 2; n++)
		putchar(' ');
}

void table_print(struct table *t)
{
	unsigned n = columns(t), width[TABLE_COLUMNS] = {0}, last = 0;

	for (unsigned i = 0; i < n; i++) {
		for (unsigned r = 0; r < t->n_rows; r++) {
			unsigned w = t->rows[r][i] ? (unsigned)strlen(t->rows[r][i]) : 0;

			width[i] = w > width[i] ? w : width[i];
		}
		if (!width[i])
			continue;
		last = i;
		if (strlen(t->heads[i]) > width[i])
			width[i] = (unsigned)strlen(t->heads[i]);
	}
	for (unsigned i = 0; i < n; i++) {
		if (width[i])
			print_cell(t->heads[i], width[i], i == last);
	}
	putchar('\n');
	for (unsigned r = 0; r < t->n_rows; r++) {
		for (unsigned i = 0; i < n; i++) {
			if (width[i])
				print_cell(t->rows[r][i], width[i], i == last);
			free(t->rows[r][i]);
		}
		putchar('\n');
		free(t->rows[r]);
	}
	free(t->rows);
	t->rows = NULL;
	t->n_rows = 0;
}
