/* SPDX-License-Identifier: Apache-2.0 */
/* The device's own test: a root in this process, no network and no guest. */
#include <farbus/test.h>
#include <stdio.h>
#include <string.h>

enum { ADDRESS = 0x08, LENGTH = 0x10, GO = 0x14, RESULT = 0x18, STATUS = 0x1c };

static uint32_t crc_of(struct fb_test *t, uint64_t address, uint32_t length)
{
	fb_test_write(t, 0, ADDRESS, address, 8);
	fb_test_write(t, 0, LENGTH, length, 4);
	fb_test_write(t, 0, GO, 1, 4);
	return (uint32_t)fb_test_read(t, 0, RESULT, 4);
}

int main(void)
{
	struct fb_test *t = fb_test_new(&farbus_model, "longest=64K");

	/* What a driver does. */
	FB_TEST_CHECK(fb_test_config_read(t, 0, 4) == 0xf0cc1b36);
	FB_TEST_CHECK(fb_test_read(t, 0, 0, 4) == 0x31435243);
	memcpy(fb_test_memory(t, FB_TEST_MEMORY + 3, 9), "123456789", 9);
	FB_TEST_CHECK(crc_of(t, FB_TEST_MEMORY + 3, 9) == 0xcbf43926); /* the check value that everybody has */
	FB_TEST_CHECK(fb_test_irqs(t, 0) == 1);

	/* The TLPs: two pages are two reads, then comes the interrupt. */
	fb_test_watch(t);
	crc_of(t, FB_TEST_MEMORY, 8192);
	fb_test_expect(t, "MRd 0x10000000 1024 DW");
	fb_test_expect(t, "MRd 0x10001000 1024 DW");
	fb_test_expect(t, "MWr 0xfee00000 1 DW");
	fb_test_expect_nothing(t);

	/* What no driver should do. */
	crc_of(t, FB_TEST_MEMORY, 65537);
	FB_TEST_CHECK(fb_test_read(t, 0, STATUS, 4) == 2);
	crc_of(t, 0x1000, 8); /* there is no memory */
	FB_TEST_CHECK(fb_test_read(t, 0, STATUS, 4) == 1);

	/* A reset while it waits for memory: it is woken, and all is as at first. */
	fb_test_dma(t, FB_TEST_DMA_LATER);
	fb_test_write(t, 0, GO, 1, 4);
	fb_test_function_reset(t);
	fb_test_dma(t, FB_TEST_DMA);
	FB_TEST_CHECK(fb_test_read(t, 0, ADDRESS, 8) == 0);
	FB_TEST_CHECK(crc_of(t, FB_TEST_MEMORY + 3, 9) == 0xcbf43926);

	fb_test_free(t);
	printf("crc: all is well\n");
	return 0;
}
