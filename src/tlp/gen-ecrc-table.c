/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs at build time and prints the tables of ecrc.c: table[k][b] is what byte b
 * followed by k zero bytes adds to the register, for the polynomial 04C1 1DB7h
 * (2.7.1) taken bit 0 first, hence reflected.
 */
#include <stdint.h>
#include <stdio.h>

int main(void)
{
	static uint32_t table[8][256];

	for (unsigned b = 0; b < 256; b++) {
		uint32_t crc = b;

		for (int i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
		table[0][b] = crc;
	}
	printf("/* Made by gen-ecrc-table.c. */\n#include <stdint.h>\nstatic const uint32_t ecrc_table[8][256] = {\n");
	for (unsigned k = 0; k < 8; k++) {
		printf("\t{\n");
		for (unsigned b = 0; b < 256; b++) {
			if (k > 0)
				table[k][b] = table[k - 1][b] >> 8 ^ table[0][table[k - 1][b] & 0xff];
			printf("0x%08xu,%c", (unsigned)table[k][b], b % 8 == 7 ? '\n' : ' ');
		}
		printf("\t},\n");
	}
	printf("};\n");
	return ferror(stdout) != 0;
}
