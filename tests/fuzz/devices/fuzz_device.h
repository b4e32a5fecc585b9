/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What fuzzers of models on the fake runtime have in common. An input is a script of steps of a hostile guest and a bad
 * bus; a fuzzer has its own numbers for its model's steps, and hands those of enum fuzz_step to fuzz_step().
 */
#ifndef FARBUS_TESTS_FUZZ_DEVICE_H
#define FARBUS_TESTS_FUZZ_DEVICE_H

#include "fake_device.h"
#include "util/reader.h"

enum fuzz_step {
	FUZZ_MEMORY = 2,   /* bytes of the input into guest memory */
	FUZZ_ROUNDS = 9,   /* the loop runs */
	FUZZ_RESET = 11,
	FUZZ_TIME = 12,    /* time passes */
	FUZZ_FAULTS = 13,  /* reads fail, or end in another order; another kind of interrupt */
	FUZZ_MASTER = 14,  /* bus mastering goes and comes; DMA is refused for a while */
};

/* Something must be true: else the fuzzer has found it. */
void fuzz_must(bool ok, const char *what);

/* The device, or the end of the process. From now on to fuzz_device_free() a hang is a finding. Steps reach mem_size of memory. */
struct fb_device *fuzz_device_new(const struct fb_model *model, const char *options, uint64_t mem_size);
void fuzz_device_free(struct fb_device *dev);

/*
 * Grants: what the device may touch. A guest that knows what it does gives each thing (a ring, a list, a buffer) an address
 * of its own, a grant; an access by a granted address that is outside of the grant, in the wrong direction, or made
 * after a reset is a finding. By other addresses, which come from a guest that writes nonsense, it reaches the memory of
 * mem_size bytes, or nothing. Rings and lists, which have granted addresses in them, are where no step and no such access
 * comes: fuzz_place().
 */
enum { FUZZ_READ = 1, FUZZ_WRITE = 2 };
uint64_t fuzz_place(struct fb_device *dev, uint64_t len, uint64_t align); /* offset in dev->mem, zeroes; 0: none left */
uint64_t fuzz_grant(uint64_t at, uint64_t len, unsigned access);          /* len bytes at offset `at`; at keeps its low 32 bits */
uint8_t *fuzz_memory(struct fb_device *dev, uint64_t addr, uint64_t len); /* what an address means; NULL: nothing */
void fuzz_forget(void);                                                   /* as by a reset: no grant is good any more */
/* The guest has written a register that has an address, or a size, by itself: until a reset no access is a finding. */
void fuzz_anything(void);

/* A file in memory of that size, the same one each time, for options by its path; or its size changes in between. */
void fuzz_image(uint64_t size, char path[static 32]);

void fuzz_step(struct fb_device *dev, struct fb_reader *r, enum fuzz_step step);

/*
 * The bus is good again, and the loop runs until nothing happens and dev->busy(), if set, says no. each(), if not NULL, is
 * called every round: for what is outside of the model.
 */
void fuzz_settle(struct fb_device *dev, void (*each)(struct fb_device *dev));

#endif
