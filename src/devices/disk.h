/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file or block device that serves as a disk, for any model: opened, locked,
 * measured. Reading and writing it is aio.h's.
 *
 * A file that another process has open read-write as a disk must not be opened
 * a second time: a whole-file OFD lock (write, or read when read-only) refuses
 * that, also between two functions of one box, and against QEMU.
 */
#ifndef FARBUS_DEVICES_DISK_H
#define FARBUS_DEVICES_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "farbus/device.h"

enum fb_disk_direct { FB_DISK_DIRECT_AUTO, FB_DISK_DIRECT_ON, FB_DISK_DIRECT_OFF };
extern const char *const fb_disk_direct_choices[]; /* "auto", "on", "off", NULL */

struct fb_disk {
	struct fb_device *dev; /* for log lines */
	const char *opt, *path; /* what the user wrote: "port0", "disk.img"; the caller's memory */
	int fd; /* -1: closed */
	bool readonly, direct, is_block;
	uint64_t bytes; /* as last seen by the owner */
	uint32_t grain; /* bytes; holes begin and end at multiples: a block device's sector, 1 in files */
	/*
	 * What a flush has to bring to the medium: writes that had ended when it began.
	 * Clean: synced == writes_ended, and a flush then costs nothing.
	 */
	uint64_t writes_ended, synced;
};

/*
 * Opens what `opt`=`path` names, or makes it with `create` bytes (0: never).
 * dev, opt, path and readonly are set; the rest is filled in. 0, or -errno
 * after an error line that names what and why; closed then. `direct` is false
 * until fb_disk_choose_direct().
 */
int fb_disk_open(struct fb_disk *d, uint64_t create);
void fb_disk_close(struct fb_disk *d); /* and with it the lock */
/* Size now. 0 or -errno. */
int fb_disk_size(const struct fb_disk *d, uint64_t *bytes);
/* Accepts sizes that are a multiple of `block`, not 0; else -EMEDIUMTYPE after an error line. */
int fb_disk_check_size(const struct fb_disk *d, uint32_t block);
/* O_DIRECT if wanted and possible with blocks of this size; a warning if it was wanted and is not. */
void fb_disk_choose_direct(struct fb_disk *d, enum fb_disk_direct want, uint32_t block);
/* Blocks are larger or smaller now: does direct I/O still go? NULL, or why it had to be given up. */
const char *fb_disk_recheck_direct(struct fb_disk *d, uint32_t block);

/* The part of *offset, *length of which a hole can be made. False: there is none. */
bool fb_disk_hole(const struct fb_disk *d, uint64_t *offset, uint64_t *length);

static inline bool fb_disk_dirty(const struct fb_disk *d)
{
	return d->writes_ended != d->synced;
}
static inline void fb_disk_synced(struct fb_disk *d, uint64_t mark)
{
	if (mark > d->synced)
		d->synced = mark;
}

/* What a drive tells its host (serial number, model …): printable ASCII, at most `max`; else -EINVAL, logged. */
int fb_disk_check_text(struct fb_device *dev, const char *opt, const char *text, size_t max);
/* 64 well-mixed bits of a text and a number. */
uint64_t fb_disk_mix(const char *text, uint64_t salt);
/* Without a serial number of the user's: from this machine, the device's id and the file's path; stable, and its own. */
uint64_t fb_disk_own_number(struct fb_device *dev, const char *path);

#endif
