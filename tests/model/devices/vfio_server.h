/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vfio-user server for tests: a small device in a thread, with blocking I/O,
 * written from the protocol's text and sharing no code with src/.
 *
 *	BAR 0  4 KiB  00 id VS_ID (ro)      04 scratch          08/0c guest address    10 length
 *	              14 command (VS_*)     18 vector           1c errno of the last DMA (ro)
 *	              20 fault (VS_FAULT_*: what it does wrong, from now on)
 *	BAR 2  64 KiB 64-bit, plain memory: the buffer of DMA
 *	BAR 4  4 KiB  MSI-X table (8 vectors) at 0, PBA at 0x800
 *	config        MSI-X at 40, vendor-specific at 60 (16 bytes; bytes 8..15 read back inverted)
 *
 * The fields under "set" are the test's until the client connects; those under
 * "seen" may be read at any time.
 */
#ifndef FARBUS_TESTS_VFIO_SERVER_H
#define FARBUS_TESTS_VFIO_SERVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VS_ID 0x7e57de5cu
enum { VS_VECTORS = 8, VS_BAR2 = 64 << 10, VS_R_SCRATCH = 4, VS_R_ADDRESS = 8, VS_R_LENGTH = 0x10, VS_R_COMMAND = 0x14,
       VS_R_VECTOR = 0x18, VS_R_ERRNO = 0x1c, VS_R_FAULT = 0x20 };

enum vs_command {
	VS_FETCH = 1,      /* guest memory into the buffer, by DMA_READ */
	VS_STORE = 2,      /* the buffer into guest memory, by DMA_WRITE */
	VS_INTERRUPT = 3,
	VS_STORE_POSTED = 4, /* DMA_WRITE not to be answered, and the interrupt at once */
	VS_INVERT_MAPPED = 5, /* length bytes at address, inverted, to address + length, by load and store; then the interrupt */
};

enum vs_fault {
	VS_FAULT_NONE,
	VS_FAULT_SILENT,       /* answers no reads */
	VS_FAULT_CLOSE,        /* closes when it is read */
	VS_FAULT_SHORT,        /* replies that lack their data */
	VS_FAULT_HUGE,         /* a header that says 4 GiB */
	VS_FAULT_TINY,         /* a header that says 3 bytes */
	VS_FAULT_TYPE,         /* neither command nor reply */
	VS_FAULT_STRANGER,     /* an answer to nothing */
	VS_FAULT_ERROR,        /* reads fail */
	VS_FAULT_UNKNOWN,      /* a command that no client knows, then the answer */
	VS_FAULT_DMA_LENGTH,   /* a DMA_WRITE whose count is not its data, then the answer */
	VS_FAULT_DMA_RANGE,    /* a DMA_READ that wraps, then the answer */
	VS_FAULT_FDS,          /* file descriptors with an answer: nothing wrong with that */
	VS_FAULT_TOO_MANY_FDS, /* 40 with one message */
	VS_FAULT_FLOOD,        /* 20,000 posted DMA_WRITEs of 64 bytes, then the answer */
	VS_FAULT_DEAF,         /* stops reading its socket */
	VS_FAULTS,
};

struct vfio_server {
	/* set */
	char path[100];
	bool twin, no_reset, intx_only;
	bool nvme;              /* by its class, with a BAR 0 of 16 KiB; with handshake_only, since it serves no such registers */
	uint16_t device_id;     /* 0: 0x1234 */
	unsigned refuse;        /* answers this command with EINVAL */
	unsigned broken;        /* answers this command with a body of 1 byte */
	bool big_version, bad_json;
	bool mute;              /* listens, and never accepts */
	bool handshake_only;    /* the thread ends when the last DMA_MAP has been answered; fd is then the test's */

	/* seen */
	atomic_uint connects, requests, resets, writes, irqs_armed, commands_register, dma_replies, dma_errors, unmasks, maps;
	atomic_uint msix_enabled;
	_Atomic uint64_t vendor, bar0_address;
	atomic_int stop;
	int fd, twin_fd;

	/* its own */
	int listen_fd;
	pthread_t thread;
	bool started, joined; /* joined: the test has waited for the thread itself */
	uint8_t config[4096], bar0[4096], bar2[VS_BAR2];
	int irq_fd[5][VS_VECTORS];
	struct {
		uint64_t address, size;
		uint8_t *mem;
	} mapped;
	uint16_t next_id;
	uint8_t in[8192]; /* vfio_server_take() */
	size_t n_in;
};

/* Binds and starts to serve; path is made when empty. Ends the test when it cannot. */
void vfio_server_start(struct vfio_server *s);
/* Stops listening and serving, as if killed; the path may be used by another. */
void vfio_server_stop(struct vfio_server *s);
/* The connection is the test's: it ends, and there will be no other. */
void vfio_server_die(struct vfio_server *s);
/* The same: each message that has come, without waiting; descriptors are closed. */
void vfio_server_take(struct vfio_server *s, void (*message)(void *arg, const uint8_t *bytes, size_t size), void *arg);

#endif
