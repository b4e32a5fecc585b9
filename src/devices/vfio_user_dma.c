/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's requests for guest memory, DMA_READ and DMA_WRITE, as DMA of the
 * device. Each is answered when its DMA has ended: for a write that means that
 * the data is on its way in order, as for a posted write of PCI Express.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/reader.h"
#include "vfio_user.h"
#include "vfio_user_nvme.h"

bool vu_dma_has_room(const struct vu *v)
{
	return v->n_dma < VU_DMA && v->dma_bytes <= VU_DMA_BYTES - VU_MAX_XFER;
}

/* Where the answer's body goes; NULL: the session is over. */
static uint8_t *answer_begin(struct vu *v, struct vu_channel *c, uint16_t id, uint16_t command, int err, uint32_t len)
{
	uint8_t *p = vfio_user_stream_put(&c->stream, id, command,
					  VFIO_USER_TYPE_REPLY | (err ? (unsigned)VFIO_USER_ERROR : 0u), (uint32_t)err,
					  err ? 0 : len, NULL, 0);

	if (p)
		vu_schedule_flush(v);
	else
		vu_lost(v, "does not read the answers to its requests");
	return p;
}

static void answer(struct vu *v, struct vu_channel *c, uint16_t id, uint16_t command, int err, const void *body, uint32_t len)
{
	uint8_t *p = answer_begin(v, c, id, command, err, len);

	if (p && !err)
		memcpy(p, body, len);
}

static void refuse(struct vu *v, struct vu_channel *c, const struct vfio_user_message *msg, int err, const char *why)
{
	v->count.dma_refused++;
	vu_complain(v, "%s (command %u, %u bytes) of the server is refused: %s", vfio_user_command_name(msg->command),
		    msg->command, msg->len + VFIO_USER_HEADER, why);
	if (!(msg->flags & VFIO_USER_NO_REPLY))
		answer(v, c, msg->id, msg->command, err, NULL, 0);
}

static void ended(struct vu_dma *d, int status)
{
	struct vu *v = d->v;
	struct vu_channel *c = d->twin ? &v->twin : &v->main;

	v->last_dma = fb_device_now(v->dev);
	v->n_dma--;
	v->dma_bytes -= d->len;
	d->used = false;
	if (d->session == v->session && v->state == VU_UP) {
		if (status) {
			v->count.dma_refused++;
			vu_complain(v, "%s of %u bytes at 0x%llx: %s", d->write ? "DMA write" : "DMA read", d->len,
				    (unsigned long long)d->address, strerror(-status));
		}
		if (!d->no_reply)
			answer(v, c, d->id, d->write ? VFIO_USER_DMA_WRITE : VFIO_USER_DMA_READ, -status, d->data,
			       VFIO_USER_DMA_RW_BODY + (d->write ? 0 : d->len));
	}
	free(d->data);
	d->data = NULL;
	if (v->dma_full && vu_dma_has_room(v)) {
		v->dma_full = false;
		vu_channel_update(v, &v->twin);
		vu_channel_update(v, &v->main);
		fb_device_batch_schedule(v->dev, &v->resume); /* what is in the streams already */
	}
	vu_arm_timer(v);
}

static void done(void *arg, int status)
{
	ended(arg, status);
}

static struct vu_dma *take(struct vu *v)
{
	for (unsigned i = 0; i < VU_DMA; i++) {
		if (!v->dma[i].used)
			return &v->dma[i];
	}
	return NULL;
}

static void start(struct vu *v, struct vu_channel *c, const struct vfio_user_message *msg, uint64_t address, uint32_t len)
{
	bool write = msg->command == VFIO_USER_DMA_WRITE;
	struct vu_dma *d = take(v); /* there is one: vu_dma_has_room() */
	uint8_t *data = malloc(VFIO_USER_DMA_RW_BODY + (size_t)len);
	int err;

	if (!d || !data) {
		free(data);
		refuse(v, c, msg, ENOMEM, "no memory");
		return;
	}
	*d = (struct vu_dma){.v = v, .used = true, .write = write, .twin = c == &v->twin,
			     .no_reply = msg->flags & VFIO_USER_NO_REPLY, .session = v->session, .id = msg->id,
			     .address = address, .len = len, .data = data};
	fb_put_le64(data, address);
	fb_put_le64(data + 8, len);
	v->n_dma++;
	v->dma_bytes += len;
	if (write) {
		memcpy(data + VFIO_USER_DMA_RW_BODY, msg->body + VFIO_USER_DMA_RW_BODY, len);
		v->count.dma_writes++;
		v->count.dma_write_bytes += len;
		err = fb_dma_write(v->dev, address, data + VFIO_USER_DMA_RW_BODY, len, done, d);
	} else {
		v->count.dma_reads++;
		v->count.dma_read_bytes += len;
		err = fb_dma_read(v->dev, address, data + VFIO_USER_DMA_RW_BODY, len, done, d);
	}
	if (err)
		ended(d, err);
}

/* DMA by message of a server that is carried as NVMe: to and from the pool, which it might as well have mapped. */
static void pool(struct vu *v, struct vu_channel *c, const struct vfio_user_message *msg, uint64_t address, uint32_t len)
{
	bool write = msg->command == VFIO_USER_DMA_WRITE, reply = !(msg->flags & VFIO_USER_NO_REPLY);
	uint8_t *at = vn_pool(v->nvme, address, len), *body;
	uint32_t size = VFIO_USER_DMA_RW_BODY + (write ? 0 : len);

	if (!at) {
		refuse(v, c, msg, EFAULT, "outside of what is mapped");
		return;
	}
	if (write)
		memcpy(at, msg->body + VFIO_USER_DMA_RW_BODY, len);
	v->count.dma_writes += write;
	v->count.dma_reads += !write;
	*(write ? &v->count.dma_write_bytes : &v->count.dma_read_bytes) += len;
	if (!reply)
		return;
	body = answer_begin(v, c, msg->id, msg->command, 0, size);
	if (!body)
		return;
	fb_put_le64(body, address);
	fb_put_le64(body + 8, len);
	if (!write)
		memcpy(body + VFIO_USER_DMA_RW_BODY, at, len);
}

void vu_server_command(struct vu *v, struct vu_channel *c, const struct vfio_user_message *msg)
{
	struct fb_reader rd = fb_reader(msg->body, msg->len);
	uint64_t address = fb_rd_le64(&rd), count = fb_rd_le64(&rd);
	bool write = msg->command == VFIO_USER_DMA_WRITE;

	if (msg->command != VFIO_USER_DMA_READ && !write) {
		v->count.protocol_errors++;
		refuse(v, c, msg, ENOSYS, "no client knows that command");
	} else if (msg->n_fds || !fb_rd_ok(&rd) || rd.left != (write ? count : 0)) {
		v->count.protocol_errors++;
		refuse(v, c, msg, EINVAL, "its length and its count do not agree");
	} else if (count == 0) { /* a probe for the layout */
		if (!(msg->flags & VFIO_USER_NO_REPLY))
			answer(v, c, msg->id, msg->command, 0, msg->body, VFIO_USER_DMA_RW_BODY);
	} else if (v->state != VU_UP) {
		v->count.protocol_errors++;
		refuse(v, c, msg, EBUSY, "it comes before the handshake is over");
	} else if (count > VU_MAX_XFER) {
		refuse(v, c, msg, E2BIG, "above max_data_xfer_size");
	} else if (address >= VU_DMA_SPACE || count > VU_DMA_SPACE - address) {
		refuse(v, c, msg, EFAULT, "outside of what is mapped");
	} else if (v->resetting) {
		/* From before the reset. */
		v->count.dma_refused++;
		if (!(msg->flags & VFIO_USER_NO_REPLY))
			answer(v, c, msg->id, msg->command, ECANCELED, NULL, 0);
	} else if (v->nvme) {
		pool(v, c, msg, address, (uint32_t)count);
	} else {
		start(v, c, msg, address, (uint32_t)count);
	}
}
