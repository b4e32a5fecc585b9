/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Namespaces: the files and block devices behind them.
 *
 * A file that another process has open read-write as a disk must not be opened
 * a second time: a whole-file OFD lock (write, or read for readonly=on) refuses
 * that, also between two functions of one box, and against QEMU.
 *
 * The LBA format that Format NVM chose is kept with the file in the extended
 * attribute user.farbus.lba, because a raw image has no other place for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "devices/nvme.h"

#define LBA_ATTRIBUTE "user.farbus.lba"
enum { DIRECT_ALIGN_MAX = 4096 };

struct nvme_ns *nvme_ns_get(struct nvme *n, uint32_t nsid)
{
	if (nsid == 0 || nsid > n->n_ns || n->ns[nsid - 1].nsid == 0)
		return NULL;
	return &n->ns[nsid - 1];
}

static const char *option_name(unsigned index, char buf[16])
{
	if (index == 0)
		return "file";
	snprintf(buf, 16, "file%u", index + 1);
	return buf;
}

/* Opens, or creates with create=SIZE; *created says which. */
static int open_file(struct nvme *n, struct nvme_ns *ns, const char *opt, const char *path, bool *created)
{
	int flags = (n->opt.readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;

	*created = false;
	ns->fd = open(path, flags);
	if (ns->fd < 0 && errno == ENOENT && n->opt.create && !n->opt.readonly) {
		ns->fd = open(path, flags | O_CREAT | O_EXCL, 0600);
		*created = ns->fd >= 0;
	}
	if (ns->fd >= 0)
		return 0;
	switch (errno) {
	case ENOENT:
		fb_device_error(n->dev, "%s=%s: there is no such file (create=SIZE makes one)", opt, path);
		return -ENOENT;
	case EISDIR:
		fb_device_error(n->dev, "%s=%s is a directory, not a file or block device", opt, path);
		return -EISDIR;
	case EACCES:
	case EROFS:
	case EPERM: {
		int err = -errno;

		fb_device_error(n->dev, "%s=%s: %s%s", opt, path, strerror(-err),
				n->opt.readonly ? "" : " for writing (readonly=on offers it read-only)");
		return err;
	}
	default: {
		int err = -errno;

		fb_device_error(n->dev, "%s=%s: %s", opt, path, strerror(-err));
		return err;
	}
	}
}

static int file_bytes(const struct nvme_ns *ns, uint64_t *bytes)
{
	struct stat st;

	if (fstat(ns->fd, &st) < 0)
		return -errno;
	if (S_ISBLK(st.st_mode))
		return ioctl(ns->fd, BLKGETSIZE64, bytes) < 0 ? -errno : 0;
	*bytes = (uint64_t)st.st_size;
	return 0;
}

static int lock_file(struct nvme *n, const struct nvme_ns *ns, const char *opt, const char *path)
{
	struct flock lock = {.l_type = n->opt.readonly ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(ns->fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	if (errno == EAGAIN || errno == EACCES) {
		fb_device_error(n->dev, "%s=%s is in use: another function or process has it open%s", opt, path,
				n->opt.readonly ? " for writing" : "");
		return -EBUSY;
	}
	fb_device_warn(n->dev, "%s=%s cannot be locked (%s): make sure that nobody else writes to it", opt, path,
		       strerror(errno));
	return 0;
}

/*
 * O_DIRECT if wanted and possible with blocks of this size. The file system's
 * word counts; where it does not say, a read is tried.
 */
static bool try_direct(struct nvme_ns *ns, const char **why)
{
	int flags = fcntl(ns->fd, F_GETFL), logical;
	struct statx stx;
	uint64_t align = 0;
	void *page;
	ssize_t n;

	if (flags < 0 || fcntl(ns->fd, F_SETFL, flags | O_DIRECT) < 0) {
		*why = "the file system refuses O_DIRECT";
		return false;
	}
#ifdef STATX_DIOALIGN
	if (statx(ns->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 && (stx.stx_mask & STATX_DIOALIGN))
		align = stx.stx_dio_offset_align;
#else
	(void)stx;
#endif
	if (!align && ns->is_block && ioctl(ns->fd, BLKSSZGET, &logical) == 0 && logical > 0)
		align = (unsigned)logical;
	if (align > 1u << ns->lbads) {
		*why = "its direct I/O needs larger blocks than lba";
	} else if (posix_memalign(&page, DIRECT_ALIGN_MAX, DIRECT_ALIGN_MAX) == 0) {
		n = ns->bytes ? pread(ns->fd, page, (size_t)1 << ns->lbads, 0) : 0;
		free(page);
		if (n >= 0)
			return true;
		*why = "its direct I/O does not take blocks of this size";
	}
	fcntl(ns->fd, F_SETFL, flags);
	return false;
}

static void choose_direct(struct nvme *n, struct nvme_ns *ns, const char *opt, const char *path)
{
	const char *why = "";

	ns->direct = false;
	if (n->opt.direct == NVME_DIRECT_OFF || (n->opt.direct == NVME_DIRECT_AUTO && !ns->is_block))
		return;
	ns->direct = try_direct(ns, &why);
	if (!ns->direct)
		fb_device_warn(n->dev, "%s=%s goes through the page cache: %s", opt, path, why);
}

static uint8_t choose_lba(struct nvme *n, const struct nvme_ns *ns)
{
	char kept[8];

	if (n->opt.lba != NVME_LBA_AUTO)
		return n->opt.lba == NVME_LBA_4096 ? 12 : 9;
	if (fgetxattr(ns->fd, LBA_ATTRIBUTE, kept, sizeof(kept)) == 4 && memcmp(kept, "4096", 4) == 0)
		return 12;
	return 9;
}

void nvme_ns_set_lbads(struct nvme_ns *ns, uint8_t lbads)
{
	const char *text = lbads == 12 ? "4096" : "512";

	ns->lbads = lbads;
	if (fsetxattr(ns->fd, LBA_ATTRIBUTE, text, strlen(text), 0) < 0 && !ns->is_block)
		fb_device_warn(ns->n->dev, "namespace %u: the new block size of %s is not kept with the file (%s): "
			       "give lba=%s next time", ns->nsid, text, strerror(errno), text);
	if (ns->direct) { /* 512 may be too small for it */
		const char *why = "";
		int flags = fcntl(ns->fd, F_GETFL);

		ns->direct = try_direct(ns, &why);
		if (!ns->direct) {
			fcntl(ns->fd, F_SETFL, flags & ~O_DIRECT);
			fb_device_warn(ns->n->dev, "namespace %u goes through the page cache: %s", ns->nsid, why);
		}
	}
}

/* 64 well-mixed bits of a text and a number (FNV-1a, then a finalizer). */
static uint64_t mix(const char *text, uint64_t salt)
{
	uint64_t h = 0xcbf29ce484222325u ^ salt;

	for (; *text; text++)
		h = (h ^ (uint8_t)*text) * 0x100000001b3u;
	h = (h ^ h >> 33) * 0xff51afd7ed558ccdu;
	h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53u;
	return h ^ h >> 33;
}

/* The same serial number and nsid give the same UUID, today and on another box: guests find disks by it. */
static void make_uuid(uint8_t uuid[16], const char *serial, uint32_t nsid)
{
	fb_put_be64(uuid, mix(serial, nsid));
	fb_put_be64(uuid + 8, mix(serial, (uint64_t)nsid << 32 | 0x5eed));
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x80); /* version 8: of our own making (RFC 9562) */
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

/* Without serial=: from this machine, the device's id and the file's path, so that it is stable and its own. */
static void make_serial(struct nvme *n)
{
	char seed[4600] = "", real[4096] = "";
	uint64_t h;
	FILE *f;

	f = fopen("/etc/machine-id", "re");
	if (f) {
		if (!fgets(seed, 64, f))
			seed[0] = 0;
		fclose(f);
	}
	if (!realpath(n->opt.file[0], real))
		real[0] = 0;
	snprintf(seed + strlen(seed), sizeof(seed) - strlen(seed), "%s:%s", fb_device_id(n->dev), real);
	h = mix(seed, 0);
	snprintf(n->sn, sizeof(n->sn), "FB%016" PRIX64, h);
}

static void make_names(struct nvme *n)
{
	uint8_t u[16];
	int at;

	if (n->opt.serial)
		snprintf(n->sn, sizeof(n->sn), "%s", n->opt.serial);
	else
		make_serial(n);
	make_uuid(u, n->sn, 0);
	at = snprintf(n->subnqn, sizeof(n->subnqn), "nqn.2014-08.org.nvmexpress:uuid:");
	for (unsigned i = 0; i < 16; i++)
		at += snprintf(n->subnqn + at, sizeof(n->subnqn) - (size_t)at, "%02x%s", u[i],
			       i == 3 || i == 5 || i == 7 || i == 9 ? "-" : "");
	fb_device_set_serial_number(n->dev, mix(n->sn, 1));
}

static int open_one(struct nvme *n, unsigned index)
{
	struct nvme_ns *ns = &n->ns[index];
	const char *path = n->opt.file[index];
	char name[16];
	const char *opt = option_name(index, name);
	struct stat st;
	bool created;
	int err;

	memset(ns, 0, sizeof(*ns));
	ns->n = n;
	err = open_file(n, ns, opt, path, &created);
	if (err) {
		ns->fd = -1;
		return err;
	}
	if (fstat(ns->fd, &st) < 0) {
		err = -errno;
		fb_device_error(n->dev, "%s=%s: %s", opt, path, strerror(-err));
		goto close_file;
	}
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
		err = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
		fb_device_error(n->dev, "%s=%s is %s, not a file or block device", opt, path,
				S_ISDIR(st.st_mode) ? "a directory" : "something else");
		goto close_file;
	}
	ns->is_block = S_ISBLK(st.st_mode);
	ns->readonly = n->opt.readonly;
	err = lock_file(n, ns, opt, path);
	if (err)
		goto close_file;
	if (created && ftruncate(ns->fd, (off_t)n->opt.create) < 0) {
		err = -errno;
		fb_device_error(n->dev, "%s=%s: create=%" PRIu64 ": %s", opt, path, n->opt.create, strerror(-err));
		unlink(path);
		goto close_file;
	}
	err = file_bytes(ns, &ns->bytes);
	if (err) {
		fb_device_error(n->dev, "%s=%s: its size is unknown: %s", opt, path, strerror(-err));
		goto close_file;
	}
	ns->lbads = choose_lba(n, ns);
	if (ns->bytes == 0 || ns->bytes & ((1u << ns->lbads) - 1)) {
		err = -EINVAL;
		fb_device_error(n->dev, "%s=%s has %" PRIu64 " bytes: %s", opt, path, ns->bytes,
				ns->bytes == 0 ? "an empty file is no disk"
					       : ns->lbads == 12 ? "not a multiple of its block size, 4096"
								 : "not a multiple of its block size, 512");
		goto close_file;
	}
	fcntl(ns->fd, F_SETFL, fcntl(ns->fd, F_GETFL) & ~O_NONBLOCK);
	choose_direct(n, ns, opt, path);
	ns->nsid = index + 1;
	ns->writes_ended = !ns->readonly; /* an earlier process may have left unsynced writes */
	make_uuid(ns->uuid, n->sn, ns->nsid);
	return 0;

close_file:
	close(ns->fd);
	ns->fd = -1;
	return err;
}

int nvme_ns_open_all(struct nvme *n)
{
	int err;

	make_names(n);
	for (unsigned i = 0; i < NVME_MAX_NS; i++)
		n->ns[i].fd = -1;
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
		if (n->ns[i].fd >= 0)
			close(n->ns[i].fd); /* and with it the lock */
		n->ns[i].fd = -1;
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

		if (!ns->nsid || file_bytes(ns, &bytes) || bytes >> ns->lbads <= nvme_ns_blocks(ns))
			continue;
		fb_device_info(n->dev, "namespace %u grew from %" PRIu64 " to %" PRIu64 " bytes", ns->nsid, ns->bytes,
			       bytes);
		ns->bytes = bytes;
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
