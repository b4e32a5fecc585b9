/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the runtime itself costs, without network and without guest: a port that
 * takes everything and does nothing. Run by `meson test --benchmark`; figures in
 * docs/design/endpoint.md come from a build with -Dbuildtype=release.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint/endpoint.h"
#include "probe.h"
#include "tlp/split.h"
#include "util/log.h"
#include "util/loop.h"
#include "util/reader.h"

static struct fb_port port;
static struct fb_device *dev;
static struct fb_loop *loop;
static uint64_t sent, bytes;
static uint8_t completion_data[4096];
/* Reads to be answered after the call that sent them. */
static struct pcie_tlp reads[1024];
static unsigned n_reads;

static int port_send(struct fb_port *p, const struct pcie_tlp *tlp)
{
	(void)p;
	sent++;
	if (tlp->type == PCIE_TLP_MRD)
		reads[n_reads++] = *tlp;
	else
		bytes += tlp->length * 4u;
	return 0;
}

static void port_release(struct fb_port *p, struct fb_port_credit credit)
{
	(void)p, (void)credit;
}

static void port_close(struct fb_port *p, int reason, const char *text)
{
	(void)p, (void)reason, (void)text;
}

static const struct fb_port_ops ops = {port_send, port_release, port_close};

static unsigned finished;

static void done(void *arg, int status)
{
	(void)arg;
	finished += status == 0;
}

static void config_write(uint16_t reg, uint32_t value)
{
	uint8_t data[4];
	struct pcie_tlp tlp = {
		.type = PCIE_TLP_CFGWR0, .completer_id = 0x100, .reg = reg, .length = 1, .first_be = 0xf, .data = data};

	fb_put_le32(data, value);
	port.user->tlp(port.arg, &tlp);
}

static double per(uint64_t start, unsigned n)
{
	return (double)(fb_clock_ns() - start) / n;
}

static void answer_reads(void)
{
	while (n_reads) {
		struct pcie_tlp request = reads[--n_reads], cpl;
		uint64_t addr;
		uint32_t len, at = 0;

		pcie_tlp_get_range(&request, &addr, &len);
		while (at < len) {
			uint32_t n = pcie_split_completion(addr + at, len - at, 512, 64);

			pcie_completion_for(&request, 0, at, n, &cpl);
			cpl.data = completion_data;
			port.user->tlp(port.arg, &cpl);
			at += n;
		}
	}
}

/* One at a time: to the model's thread, and back. */
static int blocking(const struct pcie_tlp *mrd)
{
	enum { READS = 20000 };
	struct fb_model model = probe_model;
	uint64_t start;

	model.style = FB_STYLE_BLOCKING;
	if (fb_device_new_model(&dev, loop, &model, "id=bench"))
		return -1;
	fb_device_attach(dev, &port);
	config_write(0x10, 0xe0000000);
	config_write(0x04, 7);
	start = fb_clock_ns();
	for (unsigned i = 0; i < READS; i++) {
		uint64_t before = sent;

		port.user->tlp(port.arg, mrd);
		while (sent == before)
			fb_loop_once(loop, FB_NEVER);
	}
	printf("MMIO read in the blocking style            %8.1f ns\n", per(start, READS));
	fb_device_free(dev);
	return 0;
}

int main(void)
{
	enum { N = 2000000, DMAS = 300000 };
	static uint8_t data[4096];
	struct pcie_tlp mwr = {.type = PCIE_TLP_MWR, .address = 0xe0000000, .length = 1, .first_be = 0xf, .data = data};
	struct pcie_tlp mrd = {.type = PCIE_TLP_MRD, .address = 0xe0000000, .length = 1, .first_be = 0xf};
	uint64_t start;

	fb_log_set_level(FB_LOG_ERROR);
	port.ops = &ops;
	if (fb_loop_new(&loop, 0) || fb_device_new_model(&dev, loop, &probe_model, "id=bench"))
		return 1;
	fb_device_attach(dev, &port);
	config_write(0x10, 0xe0000000);
	config_write(0x18, 0);
	config_write(0x1c, 0x80);
	config_write(0x78, 2 << 5 | 5 << 12 | 1 << 8); /* MPS 512, MRRS 4096 */
	config_write(0x04, 7);
	config_write(0xb0, 0x80000000);

	start = fb_clock_ns();
	for (unsigned i = 0; i < N; i++)
		port.user->tlp(port.arg, &mwr);
	printf("MMIO write (MWr of 1 DW to the model)      %8.1f ns\n", per(start, N));

	start = fb_clock_ns();
	for (unsigned i = 0; i < N; i++)
		port.user->tlp(port.arg, &mrd);
	printf("MMIO read (MRd of 1 DW, CplD sent)         %8.1f ns\n", per(start, N));

	start = fb_clock_ns();
	for (unsigned i = 0; i < DMAS; i++) {
		if (fb_dma_write(dev, 0x10000000, data, sizeof(data), done, NULL))
			return 1;
		if (i % 64 == 63)
			fb_loop_once(loop, 0);
	}
	fb_loop_once(loop, 0);
	printf("DMA write of 4 KiB (8 MWr at MPS 512)      %8.1f ns\n", per(start, DMAS));

	start = fb_clock_ns();
	for (unsigned i = 0; i < N; i++) {
		if (fb_dma_write(dev, 0x10000000, data, 16, NULL, NULL))
			return 1;
	}
	printf("DMA write of 16 bytes, inline (1 MWr)      %8.1f ns\n", per(start, N));

	start = fb_clock_ns();
	for (unsigned i = 0; i < DMAS; i++) {
		if (fb_dma_read(dev, 0x10000000, data, sizeof(data), done, NULL))
			return 1;
		if (i % 64 == 63) {
			answer_reads();
			fb_loop_once(loop, 0);
		}
	}
	answer_reads();
	fb_loop_once(loop, 0);
	printf("DMA read of 4 KiB (1 MRd, 8 CplD)          %8.1f ns\n", per(start, DMAS));

	config_write(0xb0, 0x80000000);
	mwr.address = 0x800000800c; /* unmask vector 0 */
	memset(data, 0, 4);
	port.user->tlp(port.arg, &mwr);
	start = fb_clock_ns();
	for (unsigned i = 0; i < N; i++)
		fb_irq(dev, 0);
	printf("Interrupt (MSI-X message)                  %8.1f ns\n", per(start, N));

	if (finished != 2 * DMAS || sent < N) {
		fprintf(stderr, "not all happened: %u of %u transfers\n", finished, 2 * DMAS);
		return 1;
	}
	fb_device_free(dev);
	if (blocking(&mrd))
		return 1;
	fb_loop_free(loop);
	return 0;
}
