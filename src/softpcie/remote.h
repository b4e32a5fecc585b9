/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An adapter as the software on the other side of the network has it: sockets,
 * requester, and what the adapter tells of itself (message API, configuration
 * access). For any event loop, or none:
 *
 *	fb_softpcie_remote_open(&r, &config, NULL, NULL);
 *	fb_softpcie_read(fb_softpcie_remote_requester(r), addr, buf, len, fb_clock_ns(), done, arg);
 *	for (;;) {
 *		fb_softpcie_remote_process(r, fb_clock_ns());     // sends, receives, times out; calls done()
 *		poll(fb_softpcie_remote_fd(r) for POLLIN, until fb_softpcie_remote_deadline(r));
 *	}
 *
 * Never blocks. One thread.
 */
#ifndef FARBUS_SOFTPCIE_REMOTE_H
#define FARBUS_SOFTPCIE_REMOTE_H

#include "softpcie/requester.h"
#include "softpcie/socket.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fb_softpcie_remote;

struct fb_softpcie_remote_config {
	const char *name;         /* prefix of log lines; NULL: "softpcie" */
	uint32_t local;           /* IPv4 in network order, 0: any. The adapter must know it as its peer. */
	uint32_t adapter;
	unsigned tags;            /* reads in flight and UDP ports in use: 1..256, 0: 256 */
	uint32_t mps, mrrs;       /* 0: 256 and 512 */
	uint64_t timeout_ns;      /* 0: 50 ms */
	unsigned retries;
	uint16_t requester_id;    /* until the message API tells it */
	bool old_rule;
	bool host_ports;          /* device role: hear the host's requests, and read the command register */
};

struct fb_softpcie_remote_user {
	/* MRd and MWr of the adapter's host. Valid during the call only. */
	void (*request)(void *arg, const struct pcie_tlp *tlp);
	/* An answer came, and is in the info. May be NULL. */
	void (*info)(void *arg);
	/* As in struct fb_softpcie_user. May be NULL. */
	void (*seen)(void *arg, bool sent, const struct pcie_tlp *tlp, enum pcie_tlp_error error, const uint8_t *bytes,
		     size_t len);
};

/* What the adapter said, and when last. */
struct fb_softpcie_remote_info {
	bool have_bar4, have_id, have_msix, have_command;
	uint64_t bar4;
	uint16_t id;
	struct softpcie_vector vectors[SOFTPCIE_VECTORS];
	uint16_t command; /* of its configuration space: bit 1 memory, bit 2 bus master */
	uint64_t heard_ns;
};

/* `user` may be NULL for programs that only read and write. 0 or -errno, logged. */
int fb_softpcie_remote_open(struct fb_softpcie_remote **out, const struct fb_softpcie_remote_config *config,
			    const struct fb_softpcie_remote_user *user, void *arg);
void fb_softpcie_remote_close(struct fb_softpcie_remote *r); /* reads in flight end with -ECANCELED */

int fb_softpcie_remote_fd(const struct fb_softpcie_remote *r);
/* Receives, lets time out what is due, sends what is queued. True: something came. */
bool fb_softpcie_remote_process(struct fb_softpcie_remote *r, uint64_t now_ns);
uint64_t fb_softpcie_remote_deadline(const struct fb_softpcie_remote *r);
/* Sends what is queued, at once: at the end of a batch of calls. */
void fb_softpcie_remote_flush(struct fb_softpcie_remote *r);

struct fb_softpcie_requester *fb_softpcie_remote_requester(struct fb_softpcie_remote *r);
/* A completion for a request of the host, or a TLP of the caller's own making on the port of its tag. As fb_port_send(). */
int fb_softpcie_remote_send(struct fb_softpcie_remote *r, const struct pcie_tlp *tlp);

/* Asks for all that is in the info; the answers come, or not, with fb_softpcie_remote_process(). */
void fb_softpcie_remote_ask(struct fb_softpcie_remote *r);
const struct fb_softpcie_remote_info *fb_softpcie_remote_info(const struct fb_softpcie_remote *r);

const struct fb_softpcie *fb_softpcie_remote_sockets(const struct fb_softpcie_remote *r); /* for their statistics */
/* Sockets' and requester's counters, in a row. */
void fb_softpcie_remote_put_stats(const struct fb_softpcie_remote *r,
				  void (*put)(void *arg, const char *name, uint64_t value), void *arg);

#ifdef __cplusplus
}
#endif
#endif
