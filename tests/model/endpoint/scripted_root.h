/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A root for tests of device models: a fake port with the device on one side
 * and the test on the other, a small guest memory, and the chores of a root
 * (enumeration, MMIO, interrupts) as calls. No network. Failures are cmocka
 * assertions, so every call either does what it says or ends the test.
 *
 *	struct scripted_root *r = scripted_root_new(&nvme_model, "id=t,file=x", 16 << 20);
 *	scripted_root_enumerate(r, NULL);
 *	scripted_root_enable_msix(r);
 *	scripted_root_write(r, 0, 0x14, 1, 4);            // BAR 0, offset 0x14
 *	scripted_root_until(r, ready, r, 1000);           // runs the loop, 1 s at most
 *	assert_int_equal(scripted_root_irqs(r, 0), 1);
 *
 * The device runs only inside scripted_root_run() and _until() and, for what
 * it does at once, inside the call that hands it a TLP; a device in the blocking
 * style has its thread beside, for which scripted_root_run() waits. DMA reads are
 * answered at the end of the loop's round, as `answer` says.
 */
#ifndef FARBUS_TESTS_SCRIPTED_ROOT_H
#define FARBUS_TESTS_SCRIPTED_ROOT_H

#include "endpoint/endpoint.h"
#include "tlp/tlp.h"
#include "util/loop.h"

enum scripted_answer {
	ANSWER_IN_ORDER,   /* each read at once, completions as large as allowed */
	ANSWER_REVERSED,   /* the reads that wait, the last one first */
	ANSWER_SHUFFLED,   /* completions of all waiting reads interleaved at random, cut at random RCB boundaries */
	ANSWER_NEVER,      /* they wait: scripted_root_answer_now() */
	ANSWER_UR,
	ANSWER_CA,
	ANSWER_POISONED,
};

struct scripted_tlp {
	struct pcie_tlp tlp; /* tlp.data points to `data` */
	uint8_t data[PCIE_TLP_MAX_DATA];
};

struct scripted_config {
	unsigned mps, mrrs; /* bytes; 0: 512 and 4096 */
	bool extended_tag, ten_bit_tag;
	bool no_enable;    /* leave memory, I/O and bus mastering off */
};

enum { SCRIPTED_BDF = 0x0100 }; /* 01:00.0 */
#define SCRIPTED_MSI_ADDRESS 0xfee00000u

struct scripted_root {
	struct fb_port port; /* what the device sees */
	struct fb_loop *loop;
	struct fb_device *dev;
	bool owner, attached; /* owner: of device and loop */

	/* Guest memory: bus addresses mem_base .. mem_base + mem_size. Anything else gets UR. */
	uint8_t *mem;
	uint64_t mem_base, mem_size; /* base: 256 MiB; may be changed */

	/* BARs as assigned by scripted_root_enumerate(). */
	uint64_t bar[6], bar_size[6];
	bool bar_io[6];
	uint16_t cap_pm, cap_msi, cap_msix, cap_exp, ext_aer;
	unsigned mps, rcb; /* for completions of ours: 512 and 64 */

	enum scripted_answer answer;
	uint64_t seed; /* of ANSWER_SHUFFLED */

	/* How many TLPs of a class the port takes before -EAGAIN; -1: any number. scripted_root_allow() adds. */
	int64_t room[PCIE_FC_CLASSES];
	bool refused[PCIE_FC_CLASSES]; /* -EAGAIN was given: writable() is owed */

	/* What the device sent that the script has not dealt with by itself: see scripted_root_expect(). */
	struct scripted_tlp *log; /* every TLP from the device, oldest first; grows */
	unsigned n_log, log_cap, next; /* next: the first one not taken yet */
	/*
	 * The device writes for others, and they may reset it (SoftPCIe's peers): a
	 * write to the messages' address may be none, and tags come again.
	 */
	bool foreign;
	bool keep_log;                 /* false (default): memory writes and reads are not logged, only carried out */

	unsigned irqs[2048]; /* messages by vector since the beginning */
	unsigned intx_asserts, intx_deasserts, err_cor, err_nonfatal, err_fatal;
	bool intx;
	uint64_t dma_writes, dma_reads, dma_write_bytes, dma_read_bytes, unmapped;
	unsigned held_credits, released_credits;
	uint16_t tag;
	struct scripted_read *reads; /* waiting for an answer */
	unsigned n_reads, reads_cap;
	bool held; /* the request handed over last is held: see held_credits */
	struct fb_flush flush;
};

/* A loop, the device and the memory; the root is attached. Ends the test when the device cannot be made. */
struct scripted_root *scripted_root_new(const struct fb_model *model, const char *options, uint64_t mem_size);
/*
 * The root of another function of the same device, with a memory of its own;
 * it is freed before the first one. Either one's run() runs both.
 */
struct scripted_root *scripted_root_function(struct scripted_root *first, unsigned number, uint64_t mem_size);
/* Forgets the reads that wait for an answer, as after a function level reset. */
void scripted_root_drop_reads(struct scripted_root *r);
void scripted_root_free(struct scripted_root *r); /* checks that nothing was left behind */
/* The root goes away, or comes (back). */
void scripted_root_detach(struct scripted_root *r);
void scripted_root_attach(struct scripted_root *r);

/* Sizes and assigns BARs, walks the capabilities, sets MPS, MRRS and tags, switches memory, I/O and mastering on. */
void scripted_root_enumerate(struct scripted_root *r, const struct scripted_config *config);
/* All vectors, unmasked; vector v sends data v to SCRIPTED_MSI_ADDRESS. Returns how many there are. */
unsigned scripted_root_enable_msi(struct scripted_root *r, unsigned vectors);
unsigned scripted_root_enable_msix(struct scripted_root *r);
unsigned scripted_root_irqs(const struct scripted_root *r, unsigned vector);

/* Configuration space, size 1, 2, 4; never fails. */
uint32_t scripted_root_cfg_read(struct scripted_root *r, unsigned offset, unsigned size);
void scripted_root_cfg_write(struct scripted_root *r, unsigned offset, uint32_t value, unsigned size);

/* Registers; size 1..8. A read whose completion is not successful ends the test. */
uint64_t scripted_root_read(struct scripted_root *r, unsigned bar, uint64_t offset, unsigned size);
void scripted_root_write(struct scripted_root *r, unsigned bar, uint64_t offset, uint64_t value, unsigned size);

/* Guest memory at a bus address; ends the test when it is not all there. */
void *scripted_root_mem(struct scripted_root *r, uint64_t addr, uint64_t len);

/* Runs rounds of the loop until one has nothing to do. */
void scripted_root_run(struct scripted_root *r);
/* Runs the loop until cond(arg), sleeping in between; false when it was not so within `ms`. */
bool scripted_root_until(struct scripted_root *r, bool (*cond)(void *arg), void *arg, unsigned ms);
void scripted_root_answer_now(struct scripted_root *r, enum scripted_answer how);

/* TLPs by hand. Send: fills in the requester and, for non-posted requests, a tag. Returns the tag. */
uint16_t scripted_root_send(struct scripted_root *r, struct pcie_tlp *tlp);
/* A memory request for `len` bytes; write when data is not NULL. */
uint16_t scripted_root_memory(struct scripted_root *r, uint64_t addr, const void *data, uint32_t len);
/* A vendor-defined message of the root's (tlp/ring_wire.h), of kind `what`; len bytes, filled up to a dword. */
void scripted_root_message(struct scripted_root *r, uint32_t what, const void *data, uint32_t len);
/* Memory that the device has not asked for yet: `len` bytes, by a message that says that they are `claimed`. */
void scripted_root_ahead(struct scripted_root *r, uint64_t addr, uint32_t claimed, const void *data, uint32_t len);
/*
 * The next TLP from the device that is in the log and not taken yet, which
 * must be of that type. Completions, messages and MSI are always in the log,
 * memory requests with keep_log.
 */
const struct scripted_tlp *scripted_root_expect(struct scripted_root *r, enum pcie_tlp_type type);
/* That, a message of the device's own (tlp/ring_wire.h, tlp/offer_wire.h) of kind `what`. */
const struct scripted_tlp *scripted_root_expect_message(struct scripted_root *r, uint32_t what);
const struct scripted_tlp *scripted_root_take(struct scripted_root *r); /* NULL: there is none */
void scripted_root_expect_nothing(struct scripted_root *r);
void scripted_root_forget(struct scripted_root *r); /* what is in the log */

void scripted_root_allow(struct scripted_root *r, enum pcie_fc cls, int64_t more); /* calls writable() if owed */

#endif
