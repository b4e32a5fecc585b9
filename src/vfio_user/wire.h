/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers of the vfio-user protocol, from QEMU's docs/interop/vfio-user and
 * the VFIO structures that it points to. Everything on this socket is in host
 * byte order by the protocol's word; only little-endian hosts are supported,
 * so the accessors of util/reader.h serve.
 */
#ifndef FARBUS_VFIO_USER_WIRE_H
#define FARBUS_VFIO_USER_WIRE_H

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "vfio-user is in host byte order; this code is written for little-endian hosts"
#endif

enum vfio_user_command {
	VFIO_USER_VERSION = 1,
	VFIO_USER_DMA_MAP = 2,
	VFIO_USER_DMA_UNMAP = 3,
	VFIO_USER_DEVICE_GET_INFO = 4,
	VFIO_USER_DEVICE_GET_REGION_INFO = 5,
	VFIO_USER_DEVICE_GET_REGION_IO_FDS = 6,
	VFIO_USER_DEVICE_GET_IRQ_INFO = 7,
	VFIO_USER_DEVICE_SET_IRQS = 8,
	VFIO_USER_REGION_READ = 9,
	VFIO_USER_REGION_WRITE = 10,
	VFIO_USER_DMA_READ = 11, /* server to client */
	VFIO_USER_DMA_WRITE = 12,
	VFIO_USER_DEVICE_RESET = 13,
	VFIO_USER_REGION_WRITE_MULTI = 15,
	VFIO_USER_DEVICE_FEATURE = 16,
	VFIO_USER_MIG_DATA_READ = 17,
	VFIO_USER_MIG_DATA_WRITE = 18,
	VFIO_USER_COMMANDS
};

/* Header: id 2, command 2, size 4 (header included), flags 4, error 4. */
enum {
	VFIO_USER_HEADER = 16,
	VFIO_USER_TYPE_MASK = 0xf,
	VFIO_USER_TYPE_COMMAND = 0,
	VFIO_USER_TYPE_REPLY = 1,
	VFIO_USER_NO_REPLY = 0x10,
	VFIO_USER_ERROR = 0x20,
};

/* Fixed parts of the bodies, bytes. */
enum {
	VFIO_USER_VERSION_BODY = 4,      /* major 2, minor 2, then JSON */
	VFIO_USER_DMA_MAP_BODY = 32,     /* argsz 4, flags 4, offset 8, address 8, size 8 */
	VFIO_USER_DMA_UNMAP_BODY = 24,   /* argsz 4, flags 4, address 8, size 8 */
	VFIO_USER_DEVICE_INFO_BODY = 16, /* argsz, flags, num_regions, num_irqs */
	VFIO_USER_REGION_INFO_BODY = 32, /* argsz, flags, index, cap_offset, size 8, offset 8 */
	VFIO_USER_IRQ_INFO_BODY = 16,    /* argsz, flags, index, count */
	VFIO_USER_IRQ_SET_BODY = 20,     /* argsz, flags, index, start, count, then data */
	VFIO_USER_REGION_RW_BODY = 16,   /* offset 8, region 4, count 4, then data */
	VFIO_USER_MULTI_BODY = 8,        /* wr_cnt 8, then entries */
	VFIO_USER_MULTI_ENTRY = 24,      /* offset 8, region 4, count 4, data 8 */
	VFIO_USER_DMA_RW_BODY = 16,      /* address 8, count 8, then data */
	VFIO_USER_DMA_RW_BODY_OLD = 12,  /* QEMU 10.1 and 10.2: address 8, count 4, then data */
};

enum {
	VFIO_DMA_MAP_READ = 1,
	VFIO_DMA_MAP_WRITE = 2,
	VFIO_DMA_UNMAP_DIRTY_BITMAP = 1,
	VFIO_DMA_UNMAP_ALL = 2,
};

enum {
	VFIO_DEVICE_RESET = 1,
	VFIO_DEVICE_PCI = 2,
	VFIO_REGION_READ = 1,
	VFIO_REGION_WRITE = 2,
	VFIO_REGION_MMAP = 4,
};

enum { VFIO_REGION_BAR0, VFIO_REGION_ROM = 6, VFIO_REGION_CONFIG = 7, VFIO_REGION_VGA = 8, VFIO_REGIONS = 9 };
enum { VFIO_IRQ_INTX, VFIO_IRQ_MSI, VFIO_IRQ_MSIX, VFIO_IRQ_ERR, VFIO_IRQ_REQ, VFIO_IRQS };

enum {
	VFIO_IRQ_INFO_EVENTFD = 1,
	VFIO_IRQ_INFO_MASKABLE = 2,
	VFIO_IRQ_INFO_AUTOMASKED = 4,
	VFIO_IRQ_INFO_NORESIZE = 8,

	VFIO_IRQ_SET_DATA_NONE = 1,
	VFIO_IRQ_SET_DATA_BOOL = 2,
	VFIO_IRQ_SET_DATA_EVENTFD = 4,
	VFIO_IRQ_SET_DATA_MASK = 7,
	VFIO_IRQ_SET_ACTION_MASK = 8,
	VFIO_IRQ_SET_ACTION_UNMASK = 16,
	VFIO_IRQ_SET_ACTION_TRIGGER = 32,
	VFIO_IRQ_SET_ACTIONS = 56,
};

const char *vfio_user_command_name(unsigned command); /* "REGION_READ", or "unknown command" */

#endif
