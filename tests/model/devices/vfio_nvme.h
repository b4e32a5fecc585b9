/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An NVMe controller behind the vfio-user model, by script: a guest on one side,
 * and on the other a server whose controller does nothing by itself. All is one
 * thread once the handshake is over: nv_run() lets the model work and answers
 * its messages, the test says what is done with its commands.
 *
 * The server knows its queues as a real one does: by AQA, ASQ, ACQ and by the
 * commands that create queues, when the test takes these (nv_command()).
 */
#ifndef FARBUS_TESTS_VFIO_NVME_H
#define FARBUS_TESTS_VFIO_NVME_H

#include "devices/vfio_user_nvme.h"
#include "scripted_root.h"
#include "vfio_server.h"

enum { NV_QUEUES = 65, NV_REGISTERS = 16384 };

struct nv_ring {
	uint64_t at;
	uint32_t size; /* entries; 0: there is no such queue */
	uint32_t next; /* entry to be taken or made */
	uint32_t doorbell;
	bool phase;
};

struct nv {
	struct vfio_server s;
	struct scripted_root *r;
	struct vu *v;
	struct vn *n;
	uint8_t regs[NV_REGISTERS]; /* the server's, as the model has written them; CAP: queues of 256 entries */
	struct nv_ring server_sq[NV_QUEUES], server_cq[NV_QUEUES];
	struct nv_ring guest_sq[NV_QUEUES], guest_cq[NV_QUEUES];
	unsigned resets; /* DEVICE_RESETs */
};

/* The handshake, and an enumerated function with MSI-X on; pin: it has INTx only. `more`: options. */
void nv_begin(struct nv *w, bool pin, const char *more, uint64_t mem_size);
/* The server is killed. The model has noticed, and holds no command any more, or this ends the process. */
void nv_kill(struct nv *w);
void nv_end(struct nv *w); /* that, if the test has not, and all is freed */

bool nv_serve(struct nv *w); /* answers what the model has sent; false: nothing */
void nv_run(struct nv *w);   /* until nothing happens */

/* The server's controller. */
bool nv_command(struct nv *w, unsigned qid, struct nvme_sqe *e); /* the next that it was given; false: none */
void nv_complete(struct nv *w, unsigned cqid, unsigned sqid, unsigned cid, unsigned status, uint32_t dw0);
void nv_signal(struct nv *w, unsigned vector);
void *nv_pool(struct nv *w, uint64_t addr, uint64_t len); /* what it has mapped; NULL: not there */

/* The guest. */
void nv_write(struct nv *w, uint64_t offset, uint64_t value, unsigned size);
uint64_t nv_read(struct nv *w, uint64_t offset, unsigned size);
void nv_enable(struct nv *w, uint64_t asq, uint64_t acq, unsigned entries);
void nv_submit(struct nv *w, unsigned qid, const struct nvme_sqe *e); /* and the doorbell */
bool nv_completion(struct nv *w, unsigned qid, struct nvme_cqe *e);   /* the next one; false: none */
void nv_seen(struct nv *w, unsigned qid);                             /* its doorbell */

#endif
