/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the tests of src/root: a scripted function behind a port that is no
 * network, and a vfio-user client on a socketpair. One loop drives all. One
 * fake at a time.
 */
#ifndef FARBUS_TESTS_ROOT_FAKE_H
#define FARBUS_TESTS_ROOT_FAKE_H

#include "root/function.h"

enum { FAKE_BAR0 = 16384, FAKE_BAR2 = 32, FAKE_BAR4 = 4096, FAKE_LOG = 4096, FAKE_MSIX = 64, FAKE_MSI = 8 };
enum { FAKE_PM = 0x40, FAKE_MSI_CAP = 0x50, FAKE_MSIX_CAP = 0x70, FAKE_PCIE = 0x80 };

struct fake_tlp {
	struct pcie_tlp tlp;
	bool patient; /* it may wait for what comes after it */
	uint8_t data[4096];
};

struct fake {
	struct fb_port port; /* ops: ours; user: the root's function */
	struct fb_loop *loop;
	struct fb_root_function *f;
	struct fb_function_env env;
	bool connected, closed, refuse;
	int connect_error;

	uint8_t config[4096], mask[4096];
	uint8_t bar0[FAKE_BAR0], bar2[FAKE_BAR2], bar4[FAKE_BAR4];

	/* behaviour */
	bool mute;            /* answers nothing */
	bool slow;            /* keeps answers until fake_answer() */
	int crs;              /* answers the next n configuration requests with CRS */
	int np_room, p_room;  /* requests until -EAGAIN; -1: no end */
	unsigned flrs, unmatched_writes, mps;

	/* what the root sent, in order */
	struct fake_tlp *log;
	unsigned n_log;
	/* requests not answered yet */
	struct fake_tlp *queue;
	unsigned n_queue, q_head;
	struct fb_flush flush;

	/* completions that came for the function's own reads */
	struct fake_tlp *cpl;
	unsigned n_cpl;
	unsigned released, held;
	unsigned states[FB_ROOT_STATES]; /* times each was entered */
};

struct client {
	struct fake *fake;
	int fd;
	uint16_t id;
	/* last message received */
	uint16_t r_id, r_command;
	uint32_t r_size, r_flags, r_error;
	uint8_t body[1 << 21];
	uint32_t len;
};

void fake_init(struct fake *k, bool hide_msix);
void fake_free(struct fake *k);
void fake_connect(struct fake *k); /* to READY */
void fake_answer(struct fake *k);  /* answers what is queued, in spite of slow */
void fake_rounds(struct fake *k, unsigned n);
void fake_lose(struct fake *k);
/* Passes time until cond(arg), at most a few seconds: then the test fails. */
void fake_until(struct fake *k, bool (*cond)(void *arg), void *arg);
/* The function sends a TLP; returns what the root's tlp() said. */
bool fake_send(struct fake *k, const struct pcie_tlp *tlp);
bool fake_mwr(struct fake *k, uint64_t address, const void *data, uint32_t len);
bool fake_mrd(struct fake *k, uint16_t tag, uint64_t address, uint32_t len);
unsigned fake_count(const struct fake *k, enum pcie_tlp_type type); /* in the log */
const struct fake_tlp *fake_find(const struct fake *k, enum pcie_tlp_type type, unsigned nth);

void client_open(struct client *c, struct fake *k); /* connected, nothing said */
void client_attach(struct client *c, struct fake *k); /* and VERSION done */
void client_close(struct client *c);
void client_send(struct client *c, uint16_t command, uint32_t flags, const void *body, size_t len, const int *fds,
		 unsigned n_fds);
/* Waits for the next message; false: the connection ended, or nothing came in ms. */
bool client_recv(struct client *c, unsigned ms);
/* Sends, waits for the reply with that ID; returns its error (0: none). */
uint32_t client_call(struct client *c, uint16_t command, const void *body, size_t len, const int *fds, unsigned n_fds);
uint32_t client_read(struct client *c, uint32_t region, uint64_t offset, void *data, uint32_t count);
uint32_t client_write(struct client *c, uint32_t region, uint64_t offset, const void *data, uint32_t count,
		      bool posted);
uint32_t client_map(struct client *c, uint64_t iova, uint64_t size, uint32_t flags, int fd, uint64_t offset);
uint32_t client_set_irqs(struct client *c, uint32_t flags, uint32_t index, uint32_t start, uint32_t count,
			 const int *fds, unsigned n_fds);
uint32_t client_cfg32(struct client *c, uint32_t reg);
void client_cfg_write(struct client *c, uint32_t reg, uint32_t value, uint32_t size);
uint64_t eventfd_value(int fd); /* 0: not signalled */

#endif
