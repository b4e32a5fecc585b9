/* SPDX-License-Identifier: Apache-2.0 */
/*
 * EEPROM (chapter 6): 1,024 words made when the device is, read by EERD. It cannot be written: what it says follows from
 * the options.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "devices/igb.h"

static uint64_t hash(uint64_t h, const char *text)
{
	for (; *text; text++)
		h = (h ^ (uint8_t)*text) * UINT64_C(0x100000001b3); /* FNV-1a */
	return h;
}

/* "52:54:00:12:34:56", or NULL: locally administered, made of machine and id, so that it stays. */
int igb_mac_parse(struct igb *n, const char *text, uint8_t mac[6])
{
	unsigned b[6];
	char end;

	if (!text) {
		char machine[64] = "";
		FILE *f = fopen("/etc/machine-id", "re");
		uint64_t h;

		if (f) {
			if (!fgets(machine, sizeof(machine), f))
				machine[0] = '\0';
			fclose(f);
		}
		h = hash(hash(UINT64_C(0xcbf29ce484222325), machine), fb_device_id(n->dev));
		mac[0] = 0x02;
		for (unsigned i = 1; i < 6; i++)
			mac[i] = (uint8_t)(h >> 8 * i);
		return 0;
	}
	if (strlen(text) != 17 ||
	    sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%c", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &end) != 6)
		return -EINVAL;
	for (unsigned i = 0; i < 6; i++)
		mac[i] = (uint8_t)b[i];
	return mac[0] & 1 || !(b[0] | b[1] | b[2] | b[3] | b[4] | b[5]) ? -EINVAL : 0;
}

void igb_nvm_init(struct igb *n)
{
	uint16_t sum = 0;

	memset(n->nvm, 0xff, sizeof(n->nvm));
	for (unsigned i = 0; i < 3; i++)
		n->nvm[IGB_NVM_MAC + i] = (uint16_t)(n->mac[2 * i] | n->mac[2 * i + 1] << 8);
	n->nvm[IGB_NVM_COMPAT] = 0x0000;
	n->nvm[IGB_NVM_LED] = 0x8911; /* LED modes: the defaults, spelled out */
	n->nvm[IGB_NVM_VERSION] = 0x1000;
	n->nvm[IGB_NVM_PBA] = 0xfb00; /* "FB0000-001" */
	n->nvm[IGB_NVM_PBA + 1] = 0x0001;
	n->nvm[IGB_NVM_INIT_CONTROL_1] = 0x4060;
	n->nvm[IGB_NVM_SUBSYSTEM_ID] = 0xa03c;
	n->nvm[IGB_NVM_SUBSYSTEM_VENDOR] = 0x8086;
	n->nvm[IGB_NVM_DEVICE_ID] = 0x10c9;
	n->nvm[0x0e] = 0x8086;
	n->nvm[IGB_NVM_INIT_CONTROL_2] = 0x2000;
	n->nvm[0x24] = 0x0000; /* Initialization Control 3: no wake-up */
	n->nvm[IGB_NVM_ALT_MAC] = 0xffff;
	for (unsigned i = 0; i < IGB_NVM_CHECKSUM; i++)
		sum = (uint16_t)(sum + n->nvm[i]);
	n->nvm[IGB_NVM_CHECKSUM] = (uint16_t)(IGB_NVM_SUM - sum);
}

void igb_eerd_write(struct igb *n, uint32_t value)
{
	uint32_t word = value >> 2 & 0x3fff;

	if (!(value & IGB_EERD_START))
		return;
	IGB_REG(n, IGB_EERD) = IGB_EERD_DONE | word << 2 | (word < IGB_NVM_WORDS ? (uint32_t)n->nvm[word] << 16 : 0);
}
