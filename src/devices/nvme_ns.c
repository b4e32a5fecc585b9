/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Namespaces: what makes the disks behind them (disk.h) NVMe's.
 *
 * The LBA format that Format NVM chose is kept with the file in the extended
 * attribute user.farbus.lba, because a raw image has no other place for it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "devices/nvme.h"

#define LBA_ATTRIBUTE "user.farbus.lba"

struct nvme_ns *nvme_ns_get(struct nvme *n, uint32_t nsid)
{
	if (nsid == 0 || nsid > n->n_ns || n->ns[nsid - 1].nsid == 0)
		return NULL;
	return &n->ns[nsid - 1];
}

static uint8_t choose_lba(struct nvme *n, const struct nvme_ns *ns)
{
	char kept[8];

	if (n->opt.lba != NVME_LBA_AUTO)
		return n->opt.lba == NVME_LBA_4096 ? 12 : 9;
	if (fgetxattr(ns->disk.fd, LBA_ATTRIBUTE, kept, sizeof(kept)) == 4 && memcmp(kept, "4096", 4) == 0)
		return 12;
	return 9;
}

void nvme_ns_set_lbads(struct nvme_ns *ns, uint8_t lbads)
{
	const char *text = lbads == 12 ? "4096" : "512", *why;

	ns->lbads = lbads;
	if (fsetxattr(ns->disk.fd, LBA_ATTRIBUTE, text, strlen(text), 0) < 0 && !ns->disk.is_block)
		fb_device_warn(ns->n->dev, "namespace %u: the new block size of %s is not kept with the file (%s): "
			       "give lba=%s next time", ns->nsid, text, strerror(errno), text);
	why = fb_disk_recheck_direct(&ns->disk, 1u << lbads); /* 512 may be too small for it */
	if (why)
		fb_device_warn(ns->n->dev, "namespace %u goes through the page cache: %s", ns->nsid, why);
}

/* The same serial number and nsid give the same UUID, today and on another box: guests find disks by it. */
static void make_uuid(uint8_t uuid[16], const char *serial, uint32_t nsid)
{
	fb_put_be64(uuid, fb_disk_mix(serial, nsid));
	fb_put_be64(uuid + 8, fb_disk_mix(serial, (uint64_t)nsid << 32 | 0x5eed));
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x80); /* version 8: of our own making (RFC 9562) */
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

static void make_names(struct nvme *n)
{
	uint8_t u[16];
	int at;

	if (n->opt.serial)
		snprintf(n->sn, sizeof(n->sn), "%s", n->opt.serial);
	else
		snprintf(n->sn, sizeof(n->sn), "FB%016" PRIX64, fb_disk_own_number(n->dev, n->opt.file[0]));
	make_uuid(u, n->sn, 0);
	at = snprintf(n->subnqn, sizeof(n->subnqn), "nqn.2014-08.org.nvmexpress:uuid:");
	for (unsigned i = 0; i < 16; i++)
		at += snprintf(n->subnqn + at, sizeof(n->subnqn) - (size_t)at, "%02x%s", u[i],
			       i == 3 || i == 5 || i == 7 || i == 9 ? "-" : "");
	fb_device_set_serial_number(n->dev, fb_disk_mix(n->sn, 1));
}

static int open_one(struct nvme *n, unsigned index)
{
	struct nvme_ns *ns = &n->ns[index];
	struct fb_disk *disk = &ns->disk;
	int err;

	memset(ns, 0, sizeof(*ns));
	ns->n = n;
	snprintf(ns->option, sizeof(ns->option), index ? "file%u" : "file", index + 1);
	*disk = (struct fb_disk){
		.dev = n->dev, .opt = ns->option, .path = n->opt.file[index], .fd = -1, .readonly = n->opt.readonly};
	err = fb_disk_open(disk, n->opt.create);
	if (err)
		return err;
	ns->lbads = choose_lba(n, ns);
	err = fb_disk_check_size(disk, 1u << ns->lbads);
	if (err) {
		fb_disk_close(disk);
		return err;
	}
	fb_disk_choose_direct(disk, n->opt.direct, 1u << ns->lbads);
	ns->nsid = index + 1;
	make_uuid(ns->uuid, n->sn, ns->nsid);
	return 0;
}

int nvme_ns_open_all(struct nvme *n)
{
	int err;

	make_names(n);
	for (unsigned i = 0; i < NVME_MAX_NS; i++)
		n->ns[i].disk.fd = -1;
	for (unsigned i = 0; i < NVME_MAX_NS; i++) {
		if (!n->opt.file[i])
			continue;
		err = open_one(n, i);
		if (err) {
			nvme_ns_close_all(n);
			return err;
		}
		n->n_ns = i + 1;
	}
	if (!n->opt.serial)
		make_names(n); /* create= may have made the file whose path it is from */
	for (unsigned i = 0; i < n->n_ns; i++) {
		if (n->ns[i].nsid)
			make_uuid(n->ns[i].uuid, n->sn, n->ns[i].nsid);
	}
	return 0;
}

void nvme_ns_close_all(struct nvme *n)
{
	for (unsigned i = 0; i < NVME_MAX_NS; i++) {
		fb_disk_close(&n->ns[i].disk);
		n->ns[i].nsid = 0;
	}
}

/* A file that grew is a namespace that grew. One that shrank keeps its size: reads beyond the end are media errors. */
void nvme_ns_check_size(struct nvme *n)
{
	bool changed = false;

	for (unsigned i = 0; i < n->n_ns; i++) {
		struct nvme_ns *ns = &n->ns[i];
		uint64_t bytes;

		if (!ns->nsid || fb_disk_size(&ns->disk, &bytes) || bytes >> ns->lbads <= nvme_ns_blocks(ns))
			continue;
		fb_device_info(n->dev, "namespace %u grew from %" PRIu64 " to %" PRIu64 " bytes", ns->nsid, ns->disk.bytes,
			       bytes);
		ns->disk.bytes = bytes;
		ns->changed = changed = true;
	}
	if (changed)
		nvme_event(n, NVME_EVENT_NOTICE, NVME_EVENT_NS_CHANGED, NVME_LOG_CHANGED_NS);
}

uint16_t nvme_ns_status(struct nvme_ns *ns, bool write, int err, uint64_t offset)
{
	struct nvme *n = ns->n;

	if (ns->file_errors++ < 8 || ns->file_errors % 1024 == 0)
		fb_device_warn(n->dev, "namespace %u: %s at byte %" PRIu64 ": %s", ns->nsid, write ? "write" : "read",
			       offset, err == -ENODATA ? "the file ends before it" : strerror(-err));
	switch (err) {
	case -ENOSPC:
	case -EDQUOT:
	case -EFBIG:
		return NVME_SC_CAPACITY_EXCEEDED | NVME_SC_DNR;
	case -EROFS:
	case -EPERM:
	case -EBADF:
	case -EACCES:
		return (write ? NVME_SC_NS_WRITE_PROTECTED : NVME_SC_UNRECOVERED_READ) | NVME_SC_DNR;
	case -ENOMEM:
		return NVME_SC_INTERNAL_ERROR;
	default:
		ns->media_errors++;
		return (uint16_t)((write ? NVME_SC_WRITE_FAULT : NVME_SC_UNRECOVERED_READ) | NVME_SC_DNR);
	}
}
