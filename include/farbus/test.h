/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A root to test a device model with, in one process, without network or guest:
 * it enumerates the function as a PCI driver would, reads and writes registers,
 * has a small memory for the device's DMA, counts interrupts, and compares
 * TLPs with what was expected. In libfarbus-test (pkg-config farbus-test);
 * examples/crc/test_crc.c shows it in use.
 *
 * Nothing returns an error: what is not as it should be ends the program with a
 * message (under cmocka: the test that is running). The device runs inside
 * these calls only; of one in the blocking style they wait for its thread.
 * Single-threaded.
 */
#ifndef FARBUS_TEST_H
#define FARBUS_TEST_H

#include "farbus/device.h"

#ifdef __cplusplus
extern "C" {
#endif

#define FB_TEST_MEMORY 0x10000000ull /* bus address of the memory; it reaches FB_TEST_MEMORY_SIZE far */
#define FB_TEST_MEMORY_SIZE (1ull << 20)

struct fb_test;

/*
 * A device of this model, with options as after its name in --device
 * ("id=d0,foo=3"; without an id it is "test"), enumerated: BARs assigned, memory
 * and bus mastering on, all interrupt vectors on (MSI-X, else MSI, else INTx).
 */
struct fb_test *fb_test_new(const struct fb_model *model, const char *options);
void fb_test_free(struct fb_test *t); /* also checks that the device left nothing behind */

/* Registers: size 1..8. A read ends the program when it is not answered within 20 s, or with an error. */
uint64_t fb_test_read(struct fb_test *t, unsigned bar, uint64_t offset, unsigned size);
void fb_test_write(struct fb_test *t, unsigned bar, uint64_t offset, uint64_t value, unsigned size);
/* Configuration space: size 1, 2, 4. */
uint32_t fb_test_config_read(struct fb_test *t, unsigned offset, unsigned size);
void fb_test_config_write(struct fb_test *t, unsigned offset, uint32_t value, unsigned size);

/* The memory at a bus address: `len` bytes, all within it. */
void *fb_test_memory(struct fb_test *t, uint64_t addr, uint64_t len);

/* Runs the device until it has nothing to do, or waits for the root. */
void fb_test_run(struct fb_test *t);
/* Runs it until cond(arg) is true; false when it was not within `ms`. */
bool fb_test_until(struct fb_test *t, bool (*cond)(void *arg), void *arg, unsigned ms);

unsigned fb_test_irqs(struct fb_test *t, unsigned vector); /* that have come; with INTx: of vector 0, assertions */
bool fb_test_intx(struct fb_test *t);                      /* the pin */

/* What becomes of DMA from now on: done; refused with Unsupported Request; not answered, until it is changed back. */
enum fb_test_dma { FB_TEST_DMA, FB_TEST_DMA_UR, FB_TEST_DMA_LATER };
void fb_test_dma(struct fb_test *t, enum fb_test_dma how);

void fb_test_function_reset(struct fb_test *t); /* function level reset, then enumerated anew */
void fb_test_reconnect(struct fb_test *t);      /* the session ends and another one begins; enumerated anew */

/*
 * Expected TLPs. From the first call on every TLP that the device sends by itself
 * (memory requests, messages) is kept. fb_test_expect() takes the oldest, which must
 * have these words, in this order, in its description, for example "MRd
 * 0x10000040 16 DW" or "MWr 0x10000000" or "Msg ERR_NONFATAL"; those of
 * interrupts are "MWr 0xfee00000". Returns its payload (NULL: none), until the
 * next call of this API.
 */
void fb_test_watch(struct fb_test *t);
const void *fb_test_expect(struct fb_test *t, const char *words);
void fb_test_expect_nothing(struct fb_test *t);

/* Ends the program with file and line when it is not so. */
#define FB_TEST_CHECK(what) fb_test_check((what), #what, __FILE__, __LINE__)
void fb_test_check(bool is_so, const char *what, const char *file, int line);

#ifdef __cplusplus
}
#endif
#endif
