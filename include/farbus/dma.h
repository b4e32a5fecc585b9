/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Remote memory: read and write another host's memory by PCIe TLPs over the
 * network. This header is the manual; docs/remote-memory.md has examples.
 *
 *	struct fb_rdma *r;
 *	char buf[4096];
 *
 *	if (fb_rdma_open(&r, &(struct fb_rdma_config){.target = "udp:192.0.2.1:7100/ssd0"}) == 0)
 *		fb_rdma_read(r, 0x100000, buf, sizeof(buf));
 *
 * Addresses are bus addresses: of a VM's memory behind a Farbus root (where the
 * operator opened it, --allow-dma), or of a host behind a SoftPCIe adapter. Any
 * address, any length: transfers are cut into TLPs by Max_Payload_Size,
 * Max_Read_Request_Size and the 4 KiB rule (base specification 2.2.7), and their
 * completions are put together again. Many TLPs are in flight at a time.
 *
 * Threads: one handle, one thread at a time; different handles are independent.
 * Nothing else is shared. Errors are 0 or -errno; fb_rdma_error() has the words:
 *
 *	-EINVAL      an argument: length 0, a range that wraps, a malformed target
 *	-EFAULT      the target refuses: not mapped, not opened to us (Unsupported Request)
 *	-EIO         the target failed (Completer Abort), or its data came poisoned
 *	-ETIMEDOUT   no completion within timeout_ns, or no answer from the target
 *	-ENOTCONN    the session is over; fb_rdma_error() says why
 *	-EACCES      the target does not let us in
 *	-ECANCELED   the handle is being closed
 *	-ENOMEM, -ENOTSUP (a transport or operand size that is not there)
 *
 * On an error it is not known which bytes of a transfer were done.
 */
#ifndef FARBUS_DMA_H
#define FARBUS_DMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FB_RDMA_API 1
#define FB_RDMA_NO_RETRIES UINT32_MAX

struct fb_rdma; /* a requester, open to one target */

enum fb_rdma_log {
	FB_RDMA_LOG_NONE,   /* the default: fb_rdma_error() is all there is */
	FB_RDMA_LOG_ERRORS, /* what goes wrong, to stderr */
	FB_RDMA_LOG_INFO,   /* and what happens */
	FB_RDMA_LOG_KEEP,   /* for programs that set the level by themselves */
};

/* All but `target` may be 0. Members are added at the end; zero them with a designated initialiser. */
struct fb_rdma_config {
	/*
	 * "udp:ADDR:PORT/FUNCTION"   a root's --dma-listen address, and the function
	 *                            whose VM it is; without /FUNCTION: the one in use,
	 *                            if there is one only
	 * "softpcie:ADDR[,local=ADDR][,old-ports]"   a SoftPCIe / NetTLP adapter, and the
	 *                            address that it knows us by. Unreliable: reads are
	 *                            repeated, lost writes are lost; no AtomicOps
	 */
	const char *target;
	uint16_t requester_id;  /* on the wire; 0: 00:1f.0, of which a root takes any, or what the adapter says is its own */
	uint32_t max_payload;   /* bytes of a write TLP: 128 .. 4096, a power of two; 0: what the transport carries */
	uint32_t max_read;      /* bytes asked for in a read TLP; likewise */
	uint32_t depth;         /* TLPs in flight that wait for a completion; 0: 256; 1 .. 1024 */
	uint64_t timeout_ns;    /* completion timeout of a TLP; 0: 2 s, SoftPCIe 50 ms */
	uint32_t retries;       /* reads asked for again after it; 0: none, SoftPCIe 3; FB_RDMA_NO_RETRIES for registers */
	uint64_t connect_ns;    /* 0: 5 s */
	uint32_t group;         /* as the root's --group */
	uint32_t spin_us;       /* spin so long before sleeping: latency for CPU time */
	uint32_t mtu;           /* largest datagram, 1,232 to 65,504; 0: what the path carries */
	const char *fault;      /* spoil what is sent, for tests: as farbus --fault */
	enum fb_rdma_log log;
	/* When fb_rdma_open_start()'s session is up (0) or is not to be had, and later once more when it ends. */
	void (*state)(void *arg, int status);
	void *arg;
};

/* ---- Open and close ----------------------------------------------------- */

/* Opens and waits until the session is up. 0 or -errno; *out is NULL on error, and `error`, if not NULL, has the words. */
int fb_rdma_open(struct fb_rdma **out, const struct fb_rdma_config *config);
int fb_rdma_open_text(struct fb_rdma **out, const struct fb_rdma_config *config, char *error, size_t cap);
/* Does not wait: config->state() is told. Requests may be submitted at once. */
int fb_rdma_open_start(struct fb_rdma **out, const struct fb_rdma_config *config);
/* What is in flight ends with -ECANCELED. NULL is allowed. Not from inside a callback. */
void fb_rdma_close(struct fb_rdma *r);
/* What went wrong last, or "". Valid until the next call. */
const char *fb_rdma_error(const struct fb_rdma *r);

/* ---- Blocking ------------------------------------------------------------- */

int fb_rdma_read(struct fb_rdma *r, uint64_t addr, void *buf, size_t len);
/* Returns when the data is in the target's memory (a read of no bytes has come back behind it). */
int fb_rdma_write(struct fb_rdma *r, uint64_t addr, const void *buf, size_t len);

struct fb_rdma_seg {
	uint64_t addr; /* there */
	void *buf;     /* here; writes do not change it */
	size_t len;    /* > 0 */
};
int fb_rdma_readv(struct fb_rdma *r, const struct fb_rdma_seg *segs, unsigned n);
int fb_rdma_writev(struct fb_rdma *r, const struct fb_rdma_seg *segs, unsigned n);

/*
 * AtomicOps (6.15), on naturally aligned operands of `size` 4 or 8 bytes (CAS
 * also 16), in the target's byte order, which is little-endian. `old` gets what
 * was there. CAS: `operand` is compared, `swap` is stored if it is equal.
 */
enum fb_rdma_atomic { FB_RDMA_FETCH_ADD, FB_RDMA_SWAP, FB_RDMA_CAS };
int fb_rdma_atomic(struct fb_rdma *r, enum fb_rdma_atomic op, uint64_t addr, unsigned size, const void *operand,
		   const void *swap, void *old);

/* ---- Many at a time, and the caller's own loop -------------------------------- */

enum fb_rdma_kind { FB_RDMA_READ, FB_RDMA_WRITE, FB_RDMA_ATOMIC };

/*
 * One request. The struct, its segments and their buffers are the caller's and
 * stay in place until done(), which is called once, from fb_rdma_process() or a
 * blocking call, and may submit others, the same one too.
 *
 * Requests are started in their order and may end in any. Reads do not pass
 * writes submitted before them; writes may pass reads (2.4.1).
 */
struct fb_rdma_op {
	enum fb_rdma_kind kind;
	/*
	 * Writes: done when the TLPs are on their way and buf is free again, with
	 * no word from the target. Else when the data is in its memory. A write that
	 * is refused is reported to all writes that were waiting for such word.
	 */
	bool posted;
	const struct fb_rdma_seg *segs; /* NULL: the one below */
	unsigned n_segs;
	struct fb_rdma_seg seg; /* atomics: addr; buf gets the old value; len is the operand's size */
	enum fb_rdma_atomic atomic;
	uint8_t operand[16], swap[16];

	void (*done)(struct fb_rdma_op *op, int status);
	void *arg; /* the caller's */

	/* The library's. */
	struct {
		struct fb_rdma_op *next, **link;
		unsigned seg, in_flight;
		size_t off;
		int status;
		uint8_t phase;
		uint64_t behind;
	} priv;
};

/* 0, or -EINVAL, -ENOTSUP, -ENOTCONN: done() is not called then. Leaves with the next fb_rdma_process(), together with others. */
int fb_rdma_submit(struct fb_rdma *r, struct fb_rdma_op *op);

/*
 * Does what there is to do, and waits for something at most `timeout_ns` (0: not
 * at all; UINT64_MAX: for ever). 0, or -errno of the system's wait.
 */
int fb_rdma_process(struct fb_rdma *r, uint64_t timeout_ns);

/* Readable (poll, epoll) when fb_rdma_process() has something to do: also for timeouts, and after a submit. */
int fb_rdma_fd(struct fb_rdma *r);

/* ---- Numbers -------------------------------------------------------------------- */

struct fb_rdma_stats {
	uint64_t reads, writes, atomics;         /* requests that ended well */
	uint64_t failed;                         /* and that did not */
	uint64_t tlps_sent, tlps_received;
	uint64_t bytes_read, bytes_written;
	uint64_t retries, timeouts, unexpected, refused_writes; /* reads asked for again. Completions: missing; nobody's. ERR messages of the target */
	uint64_t wire_tx_bytes, wire_rx_bytes;   /* UDP payload */
	uint64_t retransmits, rtt_ns;            /* the link's: datagrams; smoothed */
	uint32_t datagram_max, in_flight;        /* bytes; TLPs now */
};
void fb_rdma_get_stats(struct fb_rdma *r, struct fb_rdma_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
