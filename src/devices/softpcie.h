/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SoftPCIe / NetTLP adapter as a function of a root: what its files share.
 *
 *	softpcie.c          options, BARs, life
 *	softpcie_host.c     the guest's accesses to the window: TLPs that go out, and their completions
 *	softpcie_dma.c      TLPs of peers that read and write the guest's memory
 *	softpcie_service.c  message API, configuration access, registers
 */
#ifndef FARBUS_DEVICES_SOFTPCIE_H
#define FARBUS_DEVICES_SOFTPCIE_H

#include "farbus/device.h"
#include "softpcie/socket.h"
#include "tlp/split.h"
#include "util/log.h"

enum {
	SOFTPCIE_DMA_MAX = 512, /* requests of peers in progress */
	SOFTPCIE_ALLOWED_MAX = 16,
	SOFTPCIE_RCB = 64,
	SOFTPCIE_DEVICE = 0, /* the peer that the guest's accesses go to: the first one named */
	SOFTPCIE_ROOT_ID = 0 /* requester and completer ID of the host */
};

struct softpcie_range {
	uint64_t first, last;
};

enum softpcie_tag_state { SOFTPCIE_TAG_FREE, SOFTPCIE_TAG_ACTIVE, SOFTPCIE_TAG_RESTING };

/* One read of the guest in flight. */
struct softpcie_tag {
	enum softpcie_tag_state state;
	struct fb_access *access; /* NULL: a reset has ended it */
	struct pcie_reassembly r;
	uint8_t data[8];
	uint64_t since;
};

struct softpcie_wait; /* one that waits for a tag */
struct softpcie_dma;

enum softpcie_complaint { SOFTPCIE_SAY_REFUSED, SOFTPCIE_SAY_OVERLOAD, SOFTPCIE_SAY_TIMEOUT, SOFTPCIE_SAY_LOST, SOFTPCIE_SAYS };

struct softpcie {
	struct {
		const char *listen, *peer, *allow;
		bool engine, old_ports, config_writes;
		uint64_t window, timeout_ns;
		uint32_t window_bar, mps;
		uint32_t vendor, device, subsystem_vendor, subsystem, class_code, revision;
	} opt;

	struct fb_device *dev;
	struct fb_softpcie *sockets;
	struct fb_device_fd watch;
	struct fb_device_batch flush;
	uint32_t local, peers[FB_SOFTPCIE_PEERS];
	unsigned n_peers;
	unsigned window_bar, register_bar;
	uint8_t *memory; /* the window's, with the engine on */

	/* softpcie_host.c */
	struct softpcie_tag tags[SOFTPCIE_HOST_TAGS];
	unsigned next_tag;
	struct softpcie_wait *first, **last;
	struct fb_device_timer timer;

	/* softpcie_dma.c */
	struct softpcie_range allowed[SOFTPCIE_ALLOWED_MAX];
	unsigned n_allowed; /* 0: everything */
	struct softpcie_dma *pool;
	unsigned n_dma;

	struct fb_log_limit limits[SOFTPCIE_SAYS];
	struct softpcie_counters {
		uint64_t host_reads, host_writes;
		uint64_t host_timeouts, host_errors;     /* reads: no completion in time, or an unsuccessful one */
		uint64_t host_writes_lost;               /* no room to send them */
		uint64_t late_completions, unexpected_completions;
		uint64_t peer_reads, peer_writes;
		uint64_t peer_refused;                   /* outside the ranges allowed */
		uint64_t peer_failed;                    /* not mapped, bus mastering off */
		uint64_t peer_overload;                  /* too many at a time: dropped */
		uint64_t completions_lost;               /* no room to send them */
		uint64_t misdirected;                    /* requests on the host's ports, poisoned writes */
		uint64_t messages, config_reads, config_writes, config_writes_refused, register_reads;
	} count;
};

/* At most one line a second and kind. */
void softpcie_say(struct softpcie *s, enum softpcie_complaint kind, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* As fb_softpcie_send(); what was queued leaves at the end of the loop's round. */
int softpcie_send(struct softpcie *s, unsigned peer, uint16_t port, const struct pcie_tlp *tlp);

uint64_t softpcie_host_read(struct softpcie *s, uint64_t offset, unsigned size);
void softpcie_host_write(struct softpcie *s, uint64_t offset, uint64_t value, unsigned size);
void softpcie_host_completion(struct softpcie *s, unsigned peer, const struct pcie_tlp *cpl);
void softpcie_host_go_on(struct softpcie *s); /* there may be room again */
void softpcie_host_reset(struct softpcie *s);
void softpcie_host_timeout(struct fb_device *dev, struct fb_device_timer *timer);

int softpcie_dma_parse_allowed(struct softpcie *s); /* 0 or -EINVAL, logged */
void softpcie_dma_request(struct softpcie *s, unsigned peer, uint16_t port, const struct pcie_tlp *request);
void softpcie_dma_free(struct softpcie *s);

void softpcie_service(struct softpcie *s, unsigned peer, uint16_t port, uint16_t from, const uint8_t *data, size_t len);
uint32_t softpcie_register(struct softpcie *s, unsigned index);

#endif
