/* SPDX-License-Identifier: Apache-2.0 */
/* A scripted host of the SiI3132 on fake_device.h: what sata_sil24 does, and what no driver should. */
#ifndef FARBUS_TESTS_SIL_HOST_H
#define FARBUS_TESTS_SIL_HOST_H

#include "devices/sil3132.h"
#include "fake_device.h"

enum { SIL_HOST_MEM = 64 << 20, SIL_HOST_DATA = 16 << 20 };

struct sil_host {
	struct fb_device *dev;
	struct sil *s; /* to look inside */
	char path[SIL_PORTS][64];
	char options[512];
};

struct sil_request {
	uint8_t command, device;
	uint16_t features, count;
	uint64_t lba;
	uint16_t control, protocol; /* of the block */
};

/* Images of these sizes (0: no drive), options added. Ports are in reset. */
void sil_open(struct sil_host *h, uint64_t size0, uint64_t size1, const char *options);
/* As above, and ports brought up as the driver does it, interrupts on. */
void sil_start(struct sil_host *h, uint64_t size0, uint64_t size1, const char *options);
void sil_close(struct sil_host *h);
void sil_up(struct sil_host *h, unsigned port);

uint32_t sil_get(struct sil_host *h, unsigned port, uint32_t offset);
void sil_set(struct sil_host *h, unsigned port, uint32_t offset, uint32_t value);
uint32_t sil_host_get(struct sil_host *h, uint32_t offset);
void sil_host_set(struct sil_host *h, uint32_t offset, uint32_t value);

/* The slot's block in guest memory: request, and one entry for `len` bytes at `addr` (0: none). */
uint64_t sil_block(unsigned port, unsigned slot);
uint8_t *sil_mem(struct sil_host *h, uint64_t addr);
void sil_put(struct sil_host *h, unsigned port, unsigned slot, struct sil_request r, uint64_t addr, uint32_t len);
void sil_sge(struct sil_host *h, uint64_t at, uint64_t addr, uint32_t len, uint32_t flags);
void sil_ring(struct sil_host *h, unsigned port, unsigned slot);
/* Until COMPLETE or ERROR is raised; returns what was, and clears it. */
uint32_t sil_wait(struct sil_host *h, unsigned port);
/* put, ring, wait. True: completed. The answer's FIS is in local RAM. */
bool sil_do(struct sil_host *h, unsigned port, struct sil_request r, uint64_t addr, uint32_t len);
/* The slot's answer: status << 8 | error. */
uint16_t sil_answer(struct sil_host *h, unsigned port, unsigned slot);
/* The port has stopped with this error; port initialize makes it go on. */
void sil_recover(struct sil_host *h, unsigned port, enum sil_error error);
bool sil_ready(struct sil_host *h, unsigned port);

struct sil_request sil_rw(uint8_t command, uint64_t lba, uint32_t sectors); /* FPDMA ones with the slot as tag: 0 */

#endif
