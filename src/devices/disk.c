/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DIRECT_ALIGN_MAX = 4096 };

const char *const fb_disk_direct_choices[] = {"auto", "on", "off", NULL};

static int refused(const struct fb_disk *d, int err)
{
	switch (err) {
	case ENOENT:
		fb_device_error(d->dev, "%s=%s: there is no such file (create=SIZE makes one)", d->opt, d->path);
		break;
	case EISDIR:
		fb_device_error(d->dev, "%s=%s is a directory, not a file or block device", d->opt, d->path);
		break;
	case EACCES:
	case EROFS:
	case EPERM:
		fb_device_error(d->dev, "%s=%s: %s%s", d->opt, d->path, strerror(err),
				d->readonly ? "" : " for writing (readonly=on offers it read-only)");
		break;
	default:
		fb_device_error(d->dev, "%s=%s: %s", d->opt, d->path, strerror(err));
	}
	return -err;
}

/* Opens, or creates; *created says which. */
static int open_file(struct fb_disk *d, bool create, bool *created)
{
	int flags = (d->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;

	*created = false;
	d->fd = open(d->path, flags);
	if (d->fd < 0 && errno == ENOENT && create && !d->readonly) {
		d->fd = open(d->path, flags | O_CREAT | O_EXCL, 0600);
		*created = d->fd >= 0;
	}
	return d->fd >= 0 ? 0 : refused(d, errno);
}

int fb_disk_size(const struct fb_disk *d, uint64_t *bytes)
{
	struct stat st;

	if (fstat(d->fd, &st) < 0)
		return -errno;
	if (S_ISBLK(st.st_mode))
		return ioctl(d->fd, BLKGETSIZE64, bytes) < 0 ? -errno : 0;
	*bytes = (uint64_t)st.st_size;
	return 0;
}

bool fb_disk_hole(const struct fb_disk *d, uint64_t *offset, uint64_t *length)
{
	uint64_t end = *offset + *length;

	*offset = (*offset + d->grain - 1) / d->grain * d->grain;
	end -= end % d->grain;
	*length = end > *offset ? end - *offset : 0;
	return *length;
}

/* Of a block device; of anything else, or where it does not say: 0. */
static uint32_t sector_size(const struct fb_disk *d)
{
	int size;

	return d->is_block && ioctl(d->fd, BLKSSZGET, &size) == 0 && size > 0 ? (uint32_t)size : 0;
}

static int lock_file(const struct fb_disk *d)
{
	struct flock lock = {.l_type = d->readonly ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(d->fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	if (errno == EAGAIN || errno == EACCES) {
		fb_device_error(d->dev, "%s=%s is in use: another function or process has it open%s", d->opt, d->path,
				d->readonly ? " for writing" : "");
		return -EBUSY;
	}
	fb_device_warn(d->dev, "%s=%s cannot be locked (%s): make sure that nobody else writes to it", d->opt, d->path,
		       strerror(errno));
	return 0;
}

int fb_disk_open(struct fb_disk *d, uint64_t create)
{
	struct stat st;
	bool created;
	int err;

	d->direct = false;
	err = open_file(d, create != 0, &created);
	if (err)
		return err;
	if (fstat(d->fd, &st) < 0) {
		err = -errno;
		fb_device_error(d->dev, "%s=%s: %s", d->opt, d->path, strerror(-err));
		goto close_file;
	}
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
		err = S_ISDIR(st.st_mode) ? -EISDIR : -ENOTBLK;
		fb_device_error(d->dev, "%s=%s is %s, not a file or block device", d->opt, d->path,
				S_ISDIR(st.st_mode) ? "a directory" : "something else");
		goto close_file;
	}
	d->is_block = S_ISBLK(st.st_mode);
	d->grain = sector_size(d);
	if (!d->grain)
		d->grain = 1;
	err = lock_file(d);
	if (err)
		goto close_file;
	if (created && ftruncate(d->fd, (off_t)create) < 0) {
		err = -errno;
		fb_device_error(d->dev, "%s=%s: create=%" PRIu64 ": %s", d->opt, d->path, create, strerror(-err));
		unlink(d->path);
		goto close_file;
	}
	err = fb_disk_size(d, &d->bytes);
	if (err) {
		fb_device_error(d->dev, "%s=%s: its size is unknown: %s", d->opt, d->path, strerror(-err));
		goto close_file;
	}
	fcntl(d->fd, F_SETFL, fcntl(d->fd, F_GETFL) & ~O_NONBLOCK);
	d->writes_ended = !d->readonly; /* an earlier process may have left unsynced writes */
	d->synced = 0;
	return 0;

close_file:
	fb_disk_close(d);
	return err;
}

void fb_disk_close(struct fb_disk *d)
{
	if (d->fd >= 0)
		close(d->fd);
	d->fd = -1;
}

int fb_disk_check_size(const struct fb_disk *d, uint32_t block)
{
	if (d->bytes && d->bytes % block == 0)
		return 0;
	if (d->bytes == 0)
		fb_device_error(d->dev, "%s=%s has 0 bytes: an empty file is no disk", d->opt, d->path);
	else
		fb_device_error(d->dev, "%s=%s has %" PRIu64 " bytes: not a multiple of its block size, %u", d->opt,
				d->path, d->bytes, block);
	return -EMEDIUMTYPE;
}

/* The file system's word counts; where it does not say, a read is tried. */
static bool try_direct(struct fb_disk *d, uint32_t block, const char **why)
{
	int flags = fcntl(d->fd, F_GETFL);
	struct statx stx;
	uint64_t align = 0;
	void *page;
	ssize_t n;

	if (flags < 0 || fcntl(d->fd, F_SETFL, flags | O_DIRECT) < 0) {
		*why = "the file system refuses O_DIRECT";
		return false;
	}
#ifdef STATX_DIOALIGN
	if (statx(d->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 && (stx.stx_mask & STATX_DIOALIGN))
		align = stx.stx_dio_offset_align;
#else
	(void)stx;
#endif
	if (!align)
		align = sector_size(d);
	if (align > block) {
		*why = "its direct I/O needs larger blocks than lba";
	} else if (posix_memalign(&page, DIRECT_ALIGN_MAX, DIRECT_ALIGN_MAX) == 0) {
		n = d->bytes ? pread(d->fd, page, block, 0) : 0;
		free(page);
		if (n >= 0)
			return true;
		*why = "its direct I/O does not take blocks of this size";
	}
	fcntl(d->fd, F_SETFL, flags);
	return false;
}

void fb_disk_choose_direct(struct fb_disk *d, enum fb_disk_direct want, uint32_t block)
{
	const char *why = "";

	d->direct = false;
	if (want == FB_DISK_DIRECT_OFF || (want == FB_DISK_DIRECT_AUTO && !d->is_block))
		return;
	d->direct = try_direct(d, block, &why);
	if (!d->direct)
		fb_device_warn(d->dev, "%s=%s goes through the page cache: %s", d->opt, d->path, why);
}

const char *fb_disk_recheck_direct(struct fb_disk *d, uint32_t block)
{
	const char *why = "";

	if (!d->direct)
		return NULL;
	d->direct = try_direct(d, block, &why);
	if (d->direct)
		return NULL;
	fcntl(d->fd, F_SETFL, fcntl(d->fd, F_GETFL) & ~O_DIRECT);
	return why;
}

/* FNV-1a, then a finalizer. */
uint64_t fb_disk_mix(const char *text, uint64_t salt)
{
	uint64_t h = 0xcbf29ce484222325u ^ salt;

	for (; *text; text++)
		h = (h ^ (uint8_t)*text) * 0x100000001b3u;
	h = (h ^ h >> 33) * 0xff51afd7ed558ccdu;
	h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53u;
	return h ^ h >> 33;
}

uint64_t fb_disk_own_number(struct fb_device *dev, const char *path)
{
	char seed[4600] = "", real[4096] = "";
	FILE *f;

	f = fopen("/etc/machine-id", "re");
	if (f) {
		if (!fgets(seed, 64, f))
			seed[0] = 0;
		fclose(f);
	}
	if (!realpath(path, real))
		real[0] = 0;
	snprintf(seed + strlen(seed), sizeof(seed) - strlen(seed), "%s:%s", fb_device_id(dev), real);
	return fb_disk_mix(seed, 0);
}

int fb_disk_check_text(struct fb_device *dev, const char *opt, const char *text, size_t max)
{
	size_t len = text ? strlen(text) : 0;
	bool ok = len <= max;

	for (size_t i = 0; i < len && ok; i++)
		ok = text[i] >= ' ' && text[i] <= '~';
	if (ok)
		return 0;
	fb_device_error(dev, "%s=%s: at most %zu printable ASCII characters are allowed", opt, text, max);
	return -EINVAL;
}
