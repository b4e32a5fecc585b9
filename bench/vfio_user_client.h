/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small vfio-user client for measuring: it stands where QEMU stands, so that
 * the path root - network - box is timed without a VM. Written from the
 * protocol's description and sharing nothing with src/root, so that it is also
 * an independent reader of what the root says.
 *
 * Blocking, one thread. With `spin` it polls the socket instead of sleeping.
 * Functions return 0 or a value, or -errno.
 */
#ifndef FARBUS_BENCH_VFIO_USER_CLIENT_H
#define FARBUS_BENCH_VFIO_USER_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

struct vuc {
	int fd;
	uint16_t next_id;
	bool spin;
};

enum { VUC_CONFIG_REGION = 7, VUC_MSI = 1, VUC_MSIX = 2 };

int vuc_connect(struct vuc *c, const char *path, bool spin); /* connects and negotiates the version */
void vuc_close(struct vuc *c);

int vuc_region_size(struct vuc *c, unsigned region, uint64_t *size);
int vuc_read(struct vuc *c, unsigned region, uint64_t offset, void *buf, uint32_t len);
/* posted: no reply is asked for, as QEMU does for memory BARs. */
int vuc_write(struct vuc *c, unsigned region, uint64_t offset, const void *buf, uint32_t len, bool posted);
int vuc_dma_map(struct vuc *c, int memfd, uint64_t fd_offset, uint64_t iova, uint64_t size);
int vuc_set_irq_eventfd(struct vuc *c, unsigned index, unsigned vector, int eventfd);
int vuc_reset(struct vuc *c);

#endif
