/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A SoftPCIe adapter between the scripted root, which is its guest, and two peers:
 * the chores of the adapter's tests. Everything waits for what it expects, for a
 * bounded time; failures are cmocka assertions.
 */
#ifndef FARBUS_TESTS_SOFTPCIE_RIG_H
#define FARBUS_TESTS_SOFTPCIE_RIG_H

#include "devices/models.h"
#include "scripted_root.h"
#include "softpcie_peer.h"

enum { MEM = 1 << 20, WINDOW = 4, HOST = SOFTPCIE_PORT_HOST, DEVICE = SOFTPCIE_PORT_DEVICE, PEER_ID = 0x0700, PATIENCE_S = 20 };

extern struct scripted_root *root;
extern struct softpcie_peer first, second; /* the first is the one that the guest's accesses go to */
extern const struct fb_model *model;   /* set by main() */

void start(const char *more); /* options, each after a comma */
void stop(void);
int clean(void **state); /* teardown: when a test failed, the next one is to have the addresses */

uint64_t counter(const char *name); /* of `farbus stats` */
uint64_t deadline(void);            /* from now on, the time that every wait has */
void turn(uint64_t end);            /* one round of the adapter's loop */
void until(const char *name, uint64_t value); /* runs until the counter is that, exactly */

/* What comes to a peer: the next datagram; the next TLP, which must be of that type (its data is in .data); nothing. */
size_t get(struct softpcie_peer *peer, uint16_t port, uint8_t *buf, size_t cap);
struct scripted_tlp expect(struct softpcie_peer *peer, uint16_t port, enum pcie_tlp_type type, struct softpcie_header *header);
void expect_status(struct softpcie_peer *peer, uint16_t tag, enum pcie_cpl_status status); /* Cpl for a read of its own */
void expect_silence(struct softpcie_peer *peer, uint16_t port);
void barrier(struct softpcie_peer *peer); /* all that was sent before has been dealt with, and answers have been sent */

/* The guest reads the window; the software answers with bytes, or a status; the guest has got its completion. */
uint16_t guest_reads(uint64_t offset, uint32_t len);
void answer(struct softpcie_peer *peer, const struct pcie_tlp *request, const void *bytes);
void answer_status(const struct pcie_tlp *request, enum pcie_cpl_status status);
struct scripted_tlp completed(uint16_t tag, enum pcie_cpl_status status);
void round_trip(void); /* all of that, to see that it goes */
void function_level_reset(void);

/* Requests of software, on the port of their tag (writes: of tag 0). */
void peer_reads(struct softpcie_peer *peer, uint16_t tag, uint64_t addr, uint32_t len);
void peer_writes(struct softpcie_peer *peer, uint64_t addr, const uint8_t *data, unsigned first_be, unsigned last_be,
		 unsigned dws);

#endif
