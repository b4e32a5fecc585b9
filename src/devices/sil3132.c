/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Silicon Image SiI3132: a PCI Express controller with two Serial ATA ports,
 * each with a drive that is a file or block device (ata_disk.h), or none.
 * docs/devices/sil3132.md says what is implemented.
 *
 * A drive is there while its file is: the directories are watched (inotify), and
 * a file that is moved away or deleted is a drive that is pulled, one that comes
 * back is plugged.
 */
#include "devices/sil3132.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

enum { REAP_MAX = 64, RUN_ROUNDS = 8, BUFFERS_MIN_PARTS = 8 };
#define RETRY_NS UINT64_C(1000000)

/* ---- Interrupts ---------------------------------------------------------------------- */

static uint32_t irq_status(const struct sil *s)
{
	uint32_t status = 0;

	for (unsigned i = 0; i < SIL_PORTS; i++)
		status |= (uint32_t)sil_port_pending(&s->port[i]) << i;
	return status;
}

static bool irq_pending(const struct sil *s)
{
	return irq_status(s) & s->control & SIL_HOST_IRQ_ENABLE;
}

void sil_irq(struct sil *s, bool event)
{
	if (!irq_pending(s)) {
		if (s->level)
			fb_intx_set(s->dev, false);
		s->level = false;
	} else if (event || !s->level) {
		s->raise = true;
		sil_kick(s);
	}
}

/* What the host's interrupt handler reads, and in that order. */
static void offer(struct sil *s)
{
	uint32_t status = irq_status(s), enabled = s->control & SIL_HOST_IRQ_ENABLE;
	struct fb_device_value values[1 + SIL_PORTS] = {
		{.bar = 0, .size = 4, .inert = true, .offset = SIL_HOST_IRQ_STATUS, .value = status}};
	unsigned n = 1;

	for (unsigned i = 0; i < SIL_PORTS; i++) {
		const struct sil_port *port = &s->port[i];

		if (status & 1u << i)
			values[n++] = (struct fb_device_value){
				.bar = 2, .size = 4, .offset = i * SIL_PORT_SIZE + SIL_PORT_SLOT_STATUS,
				.value = sil_port_slot_status(port),
				.lowers_intx = sil_port_read_clears(port) && !(status & enabled & ~(1u << i))};
	}
	fb_device_offer(s->dev, values, n);
}

/* At the end of a round: one interrupt for all that it brought, and the offer in front of it. */
static void irq_flush(struct sil *s)
{
	bool raise = s->raise && irq_pending(s);

	s->raise = false;
	if (!raise)
		return;
	offer(s);
	if (!s->level)
		s->irqs++;
	s->level = true;
	if (fb_irq_mode(s->dev) == FB_IRQ_MSI)
		fb_irq(s->dev, 0);
	fb_intx_set(s->dev, true);
}

/* ---- Rounds ---------------------------------------------------------------------------- */

void sil_kick(struct sil *s)
{
	if (s->running) {
		s->again = true;
	} else if (!s->scheduled) {
		s->scheduled = true;
		fb_device_batch_schedule(s->dev, &s->batch);
	}
}

static void host_kick(struct ata_host *host)
{
	sil_kick(fb_device_state(host->dev));
}

static void run(struct fb_device *dev, struct fb_device_batch *batch)
{
	struct sil *s = fb_device_state(dev);
	unsigned rounds = 0;

	s->scheduled = false;
	s->running = true;
	do {
		s->again = false;
		for (unsigned i = 0; i < SIL_PORTS; i++)
			sil_start_queued(&s->port[i]);
		if (ata_host_run(&s->host))
			fb_device_timer_set(dev, &s->retry_timer, fb_device_now(dev) + RETRY_NS);
	} while (s->again && ++rounds < RUN_ROUNDS);
	s->running = false;
	irq_flush(s);
	if (s->again)
		sil_kick(s);
}

static bool poll_files(struct fb_device *dev, struct fb_device_poller *poller)
{
	struct sil *s = fb_device_state(dev);

	return fb_aio_reap(&s->host.aio, REAP_MAX) > 0;
}

static void files_done(struct fb_device *dev, struct fb_device_fd *watch, uint32_t events)
{
	struct sil *s = fb_device_state(dev);

	fb_aio_reap(&s->host.aio, REAP_MAX);
}

static void retry_due(struct fb_device *dev, struct fb_device_timer *timer)
{
	sil_kick(fb_device_state(dev));
}

static void settled(struct ata_disk *disk)
{
	struct sil *s = fb_device_state(disk->host->dev);

	sil_port_settle(&s->port[disk->number]);
}

/* ---- Files: there, gone, back -------------------------------------------------------------- */

static const char *sil_file_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static bool same_file(const struct fb_disk *disk, const struct stat *there)
{
	struct stat st;

	return fstat(disk->fd, &st) == 0 && st.st_dev == there->st_dev && st.st_ino == there->st_ino;
}

static int open_port(struct sil *s, unsigned number)
{
	struct sil_port *port = &s->port[number];
	struct ata_disk *disk = &port->disk;
	static const char *const names[SIL_PORTS] = {"port0", "port1"};

	disk->disk = (struct fb_disk){.dev = s->dev, .opt = names[number], .path = s->opt.port[number], .fd = -1,
				      .readonly = s->opt.readonly[number]};
	disk->discard = s->opt.discard;
	snprintf(disk->model, sizeof(disk->model), "%s", s->opt.model);
	snprintf(disk->firmware, sizeof(disk->firmware), "%s", s->opt.firmware);
	snprintf(disk->serial, sizeof(disk->serial), "%s", s->opt.serial[number] ? s->opt.serial[number] : "");
	return ata_disk_open(disk, s->opt.create, s->opt.direct);
}

void sil_check_file(struct sil_port *port, bool whole)
{
	struct sil *s = port->s;
	const char *path = s->opt.port[port->number];
	struct stat st;
	bool there;

	port->back |= port->leaving && whole;
	if (s->closing || port->leaving)
		return;
	there = stat(path, &st) == 0;
	if (port->disk.present && !(there && same_file(&port->disk.disk, &st))) {
		fb_device_warn(s->dev, "port%u=%s is gone: the drive is unplugged", port->number, path);
		sil_port_unplug(port);
		return;
	}
	/* A file that is still being copied is no disk yet: whoever writes it closes it when it is whole. */
	if (port->disk.present || !there || (S_ISREG(st.st_mode) && (st.st_size == 0 || !whole)))
		return;
	if (open_port(s, port->number) == 0) {
		fb_device_info(s->dev, "port%u=%s is there: the drive is plugged", port->number, path);
		sil_port_plug(port);
	}
}

static void files_changed(struct fb_device *dev, struct fb_device_fd *watch, uint32_t events)
{
	struct sil *s = fb_device_state(dev);
	_Alignas(struct inotify_event) char buf[4096];
	ssize_t n = read(s->watch, buf, sizeof(buf));

	for (ssize_t at = 0; at < n;) {
		const struct inotify_event *e = (const struct inotify_event *)(const void *)(buf + at);

		for (unsigned i = 0; i < SIL_PORTS; i++) {
			if (e->mask & IN_Q_OVERFLOW ||
			    (e->wd == s->watched[i] && e->len && strcmp(e->name, sil_file_name(s->opt.port[i])) == 0))
				sil_check_file(&s->port[i], !(e->mask & IN_CREATE));
		}
		at += (ssize_t)sizeof(*e) + e->len;
	}
}

/* The directories of the ports' files. Without inotify drives stay where they are. */
static void watch_files(struct sil *s)
{
	int err = 0;

	s->watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	for (unsigned i = 0; i < SIL_PORTS && s->watch >= 0 && !err; i++) {
		const char *path = s->opt.port[i];
		size_t len;
		char *dir;

		s->watched[i] = -1;
		if (!path)
			continue;
		len = (size_t)(sil_file_name(path) - path);
		dir = len ? strndup(path, len) : strdup(".");
		s->watched[i] = !dir ? -1 : inotify_add_watch(s->watch, dir, IN_CREATE | IN_CLOSE_WRITE | IN_DELETE | IN_MOVE);
		err = s->watched[i] < 0 ? errno : 0;
		free(dir);
	}
	if (s->watch < 0)
		err = errno;
	if (!err)
		err = -fb_device_fd_add(s->dev, &s->files_watch, s->watch, EPOLLIN);
	if (!err)
		return;
	fb_device_warn(s->dev, "hot-plug of drives is off: their directories cannot be watched: %s", strerror(err));
	if (s->watch >= 0)
		close(s->watch);
	s->watch = -1;
}

/* ---- Registers: BAR 0, and BAR 4, which leads to both others -------------------------------- */

static uint32_t host_read(struct sil *s, uint32_t offset)
{
	switch (offset) {
	case SIL_HOST_SLOT_STATUS:
	case SIL_HOST_SLOT_STATUS + 4:
		return sil_port_slot_status_read(&s->port[offset / 4]);
	case SIL_HOST_CONTROL:
		return s->control;
	case SIL_HOST_IRQ_STATUS:
		return irq_status(s);
	default:
		return offset < SIL_HOST_SIZE ? s->kept[offset / 4] : 0;
	}
}

static void host_reset(struct sil *s)
{
	for (unsigned i = 0; i < SIL_PORTS; i++)
		sil_port_reset(&s->port[i]);
	memset(s->kept, 0, sizeof(s->kept));
	s->control = SIL_HOST_RESET;
	sil_irq(s, false);
}

static void host_write(struct sil *s, uint32_t offset, uint32_t value)
{
	switch (offset) {
	case SIL_HOST_CONTROL:
		if (value & SIL_HOST_RESET) {
			host_reset(s);
			break;
		}
		s->control = value & SIL_HOST_IRQ_ENABLE;
		sil_irq(s, false);
		break;
	case SIL_HOST_PHY:
	case SIL_HOST_BIST:
	case SIL_HOST_BIST + 4:
		s->kept[offset / 4] = value;
		break;
	case SIL_HOST_FLASH: /* there is no flash memory: an access ends at once */
		s->kept[offset / 4] = value & ~(1u << 25);
		break;
	}
}

static uint32_t ports_read(struct sil *s, uint32_t offset)
{
	unsigned port = offset / SIL_PORT_SIZE;

	return port < SIL_PORTS ? sil_port_read(&s->port[port], offset % SIL_PORT_SIZE) : 0;
}

static void ports_write(struct sil *s, uint32_t offset, uint32_t value, unsigned size)
{
	unsigned port = offset / SIL_PORT_SIZE;

	if (port < SIL_PORTS)
		sil_port_write(&s->port[port], offset % SIL_PORT_SIZE, value, size);
}

enum { INDIRECT_GLOBAL = 0x00, INDIRECT_GLOBAL_DATA = 0x04, INDIRECT_PORT = 0x08, INDIRECT_PORT_DATA = 0x0c };

static uint64_t model_read(struct fb_device *dev, unsigned bar, uint64_t offset, unsigned size)
{
	struct sil *s = fb_device_state(dev);
	uint32_t at = (uint32_t)offset & ~3u, value = 0;

	if (bar == 0) {
		value = host_read(s, at);
	} else if (bar == 2) {
		value = ports_read(s, at);
	} else if (at == INDIRECT_GLOBAL) {
		value = s->global_offset;
	} else if (at == INDIRECT_GLOBAL_DATA) {
		value = host_read(s, s->global_offset);
	} else if (at == INDIRECT_PORT) {
		value = s->port_offset;
	} else if (at == INDIRECT_PORT_DATA) {
		value = ports_read(s, s->port_offset);
	}
	value >>= 8 * (offset & 3);
	return size < 4 ? value & ((1u << 8 * size) - 1) : value;
}

static void model_write(struct fb_device *dev, unsigned bar, uint64_t offset, uint64_t value, unsigned size)
{
	struct sil *s = fb_device_state(dev);
	uint32_t at = (uint32_t)offset, v = (uint32_t)value;

	if (bar == 0)
		host_write(s, at, v);
	else if (bar == 2)
		ports_write(s, at, v, size);
	else if (at == INDIRECT_GLOBAL)
		s->global_offset = v & (SIL_HOST_SIZE - 4);
	else if (at == INDIRECT_GLOBAL_DATA)
		host_write(s, s->global_offset, v);
	else if (at == INDIRECT_PORT)
		s->port_offset = v & (SIL_PORTS * SIL_PORT_SIZE - 4);
	else if (at == INDIRECT_PORT_DATA)
		ports_write(s, s->port_offset, v, 4);
}

/* ---- The model ----------------------------------------------------------------------------------- */

static void model_reset(struct fb_device *dev, enum fb_reset kind)
{
	struct sil *s = fb_device_state(dev);

	host_reset(s);
	for (unsigned i = 0; i < SIL_PORTS; i++)
		s->port[i].told = false;
	s->global_offset = s->port_offset = 0;
	if (kind == FB_RESET_SESSION) {
		for (unsigned i = 0; i < SIL_PORTS; i++)
			sil_port_power_on(&s->port[i]);
	}
	s->level = false;
	fb_intx_set(dev, false);
	sil_kick(s); /* timers have been stopped: nothing may be left over */
	sil_idle(s);
}

static int open_files(struct sil *s)
{
	uint64_t serial = 0;
	int err;

	for (unsigned i = 0; i < SIL_PORTS; i++) {
		if (!s->opt.port[i])
			continue;
		err = open_port(s, i);
		if (err)
			return err;
		serial ^= s->port[i].disk.wwn << i;
	}
	fb_device_set_serial_number(s->dev, serial);
	return 0;
}

static void close_files(struct sil *s)
{
	for (unsigned i = 0; i < SIL_PORTS; i++)
		ata_disk_close(&s->port[i].disk);
}

static int model_realize(struct fb_device *dev)
{
	struct sil *s = fb_device_state(dev);
	size_t buffers = s->opt.buffers;
	int err;

	s->dev = s->host.dev = dev;
	s->watch = -1;
	for (unsigned i = 0; i < SIL_PORTS; i++)
		sil_port_init(&s->port[i], s, i);
	if (fb_disk_check_text(s->dev, "serial0", s->opt.serial[0], 20) ||
	    fb_disk_check_text(s->dev, "serial1", s->opt.serial[1], 20) ||
	    fb_disk_check_text(s->dev, "model", s->opt.model, 40) ||
	    fb_disk_check_text(s->dev, "firmware", s->opt.firmware, 8))
		return -EINVAL;
	if (s->opt.create % 4096) {
		fb_device_error(dev, "create=%" PRIu64 ": a multiple of 4096 is allowed", s->opt.create);
		return -EINVAL;
	}
	if (buffers < (size_t)BUFFERS_MIN_PARTS * ATA_PART)
		buffers = (size_t)BUFFERS_MIN_PARTS * ATA_PART;
	err = fb_arena_init(&s->host.arena, ATA_PART, buffers);
	if (err) {
		fb_device_error(dev, "no memory for %zu bytes of buffers", buffers);
		return err;
	}
	err = fb_aio_open(&s->host.aio, s->opt.aio, s->host.arena.base, s->host.arena.size, s->opt.direct == FB_DISK_DIRECT_ON);
	if (err) {
		fb_device_error(dev, "aio=%s: %s%s", s->opt.aio == FB_AIO_THREADS ? "threads" : "io_uring",
				strerror(-err),
				s->opt.aio == FB_AIO_URING ? " (aio=threads works without io_uring)" : "");
		goto free_arena;
	}
	s->host.kick = host_kick;
	s->host.settled = settled;
	s->host.to_host = sil_to_host;
	s->host.from_host = sil_from_host;
	ata_host_init(&s->host);
	s->batch.run = run;
	s->poller.poll = poll_files;
	s->aio_watch.ready = files_done;
	s->files_watch.ready = files_changed;
	s->retry_timer.due = retry_due;
	err = open_files(s);
	if (err)
		goto close_files;
	if (!s->opt.port[0] && !s->opt.port[1])
		fb_device_info(dev, "both ports are empty, and stay so: a drive comes and goes with a file that port0 or port1 "
				    "names at the start");
	err = fb_device_fd_add(dev, &s->aio_watch, s->host.aio.wake_fd, EPOLLIN);
	if (err) {
		fb_device_error(dev, "file completions cannot be waited for: %s", strerror(-err));
		goto close_files;
	}
	fb_device_poller_add(dev, &s->poller);
	if (s->opt.hotplug)
		watch_files(s);
	host_reset(s);
	return 0;

close_files:
	close_files(s);
	fb_aio_close(&s->host.aio);
free_arena:
	fb_arena_fini(&s->host.arena);
	return err;
}

static void model_unrealize(struct fb_device *dev)
{
	struct sil *s = fb_device_state(dev);

	s->closing = true;
	s->running = true; /* no more runs are scheduled from here */
	for (unsigned i = 0; i < SIL_PORTS; i++) {
		sil_drop_all(&s->port[i]);
		ata_self_test_stop(&s->port[i].disk, 2);
	}
	if (s->watch >= 0) {
		fb_device_fd_del(dev, &s->files_watch);
		close(s->watch);
	}
	fb_device_fd_del(dev, &s->aio_watch);
	fb_device_poller_del(dev, &s->poller);
	fb_device_timer_cancel(dev, &s->retry_timer);
	fb_aio_close(&s->host.aio); /* waits for the kernel to let go of the buffers */
	close_files(s);
	for (unsigned i = 0; i < SIL_PORTS; i++) {
		for (unsigned j = 0; j < SIL_SLOTS; j++)
			free(s->port[i].slot[j].segs);
	}
	free(s->cut);
	fb_arena_fini(&s->host.arena);
}

/* True when nothing is under way and all is on the medium. */
static bool at_rest(struct sil *s)
{
	bool rest = true;

	for (unsigned i = 0; i < SIL_PORTS; i++) {
		struct sil_port *port = &s->port[i];

		if (port->running || sil_port_busy(port)) {
			rest = false;
		} else if (port->disk.present && fb_disk_dirty(&port->disk.disk) && !port->disk.sync_failed) {
			ata_disk_sync(&port->disk);
			rest = false;
		}
	}
	return rest;
}

static bool model_quiesce(struct fb_device *dev)
{
	struct sil *s = fb_device_state(dev);

	s->closing = true;
	for (unsigned i = 0; i < SIL_PORTS; i++)
		ata_self_test_stop(&s->port[i].disk, 2);
	return at_rest(s);
}

void sil_idle(struct sil *s)
{
	if (s->closing && at_rest(s))
		fb_device_idle(s->dev);
}

static void model_stats(struct fb_device *dev, void (*put)(void *arg, const char *name, uint64_t value), void *arg)
{
	const struct sil *s = fb_device_state(dev);

	put(arg, "interrupts", s->irqs);
	put(arg, "file_operations", s->host.aio.ops);
	put(arg, "file_submits", s->host.aio.submits);
	put(arg, "writes_at_once", s->host.aio.at_once);
	put(arg, "writes_slow", s->host.aio.slow);
	put(arg, "buffer_bytes", s->host.arena.used);
	put(arg, "buffer_waits", s->host.waits);
	for (unsigned i = 0; i < SIL_PORTS; i++) {
		const struct sil_port *port = &s->port[i];
		const struct ata_disk *disk = &port->disk;
		const struct { const char *name; uint64_t value; } counters[] = {
			{"drive", disk->present},
			{"commands", port->commands},
			{"completions", port->completions},
			{"reads", disk->reads},
			{"read_bytes", disk->sectors_read * ATA_SECTOR},
			{"writes", disk->writes},
			{"write_bytes", disk->sectors_written * ATA_SECTOR},
			{"flushes", disk->flushes},
			{"trimmed_ranges", disk->trims},
			{"refused", disk->refused},
			{"media_errors", disk->media_errors},
			{"file_errors", disk->file_errors},
			{"errors", port->errors},
			{"resets", disk->resets},
			{"dropped", port->dropped},
			{"bad_activations", port->bad_activations},
			{"plugs", port->plugs},
			{"unplugs", port->unplugs},
		};

		for (unsigned j = 0; j < sizeof(counters) / sizeof(counters[0]); j++) {
			char name[40];

			snprintf(name, sizeof(name), "port%u_%s", i, counters[j].name);
			put(arg, name, counters[j].value);
		}
	}
}

static const char *const aio_choices[] = {"auto", "io_uring", "threads", NULL};

static const struct fb_option options[] = {
	FB_OPTION(struct sil, opt.port[0], "port0", FB_OPT_STRING,
		  .help = "image file or block device on port 0; without it nothing can be plugged there later"),
	FB_OPTION(struct sil, opt.port[1], "port1", FB_OPT_STRING,
		  .help = "image file or block device on port 1; as port0"),
	FB_OPTION(struct sil, opt.readonly[0], "readonly0", FB_OPT_BOOL, .def = "off",
		  .help = "the drive on port 0 refuses writes"),
	FB_OPTION(struct sil, opt.readonly[1], "readonly1", FB_OPT_BOOL, .def = "off",
		  .help = "the drive on port 1 refuses writes"),
	FB_OPTION(struct sil, opt.serial[0], "serial0", FB_OPT_STRING,
		  .help = "serial number of the drive on port 0; default: made from machine, id and file"),
	FB_OPTION(struct sil, opt.serial[1], "serial1", FB_OPT_STRING,
		  .help = "serial number of the drive on port 1; default: made from machine, id and file"),
	FB_OPTION(struct sil, opt.model, "model", FB_OPT_STRING, .def = "Farbus ATA", .help = "drives' model number"),
	FB_OPTION(struct sil, opt.firmware, "firmware", FB_OPT_STRING, .def = "1.0", .help = "drives' firmware revision"),
	FB_OPTION(struct sil, opt.hotplug, "hotplug", FB_OPT_BOOL, .def = "on",
		  .help = "a file that is moved away or deleted is a drive that is unplugged; when it is back, plugged"),
	FB_OPTION(struct sil, opt.buffers, "buffers", FB_OPT_SIZE, .def = "32M", .min = 1048576,
		  .max = UINT64_C(4) << 30, .unit = "bytes",
		  .help = "memory for data in flight; commands wait when it is used up"),
	FB_OPTION(struct sil, opt.direct, "direct", FB_OPT_CHOICE, .def = "auto", .choices = fb_disk_direct_choices,
		  .help = "O_DIRECT; auto: for block devices, files go through the page cache"),
	FB_OPTION(struct sil, opt.aio, "aio", FB_OPT_CHOICE, .def = "auto", .choices = aio_choices,
		  .help = "how files are accessed; auto: io_uring, or threads where the system forbids it"),
	FB_OPTION(struct sil, opt.discard, "discard", FB_OPT_BOOL, .def = "on",
		  .help = "TRIM is offered, and trimmed sectors become holes in the file"),
	FB_OPTION(struct sil, opt.create, "create", FB_OPT_SIZE, .def = "0", .unit = "bytes", .max = UINT64_C(1) << 62,
		  .help = "make files that are missing, of this size"),
};

static const struct fb_bar bars[] = {
	{.index = 0, .is_64 = true, .size = SIL_HOST_SIZE},
	{.index = 2, .is_64 = true, .size = SIL_PORTS * SIL_PORT_SIZE, .min_access = 1, .max_access = 4},
	{.index = 4, .is_io = true, .size = 128},
};

const struct fb_model sil3132_model = {
	.api = FB_DEVICE_API,
	.size = sizeof(struct fb_model),
	.name = "sil3132",
	.summary = "Silicon Image SiI3132 SATA controller, two drives on image files or block devices",
	.identity = {.vendor_id = 0x1095, .device_id = 0x3132, .subsystem_vendor_id = 0x1095, .subsystem_id = 0x7132,
		     .class_code = 0x018000, .revision = 1},
	.bars = bars,
	.n_bars = sizeof(bars) / sizeof(bars[0]),
	.msi_vectors = 1,
	.intx = true,
	.options = options,
	.n_options = sizeof(options) / sizeof(options[0]),
	.state_size = sizeof(struct sil),
	.realize = model_realize,
	.unrealize = model_unrealize,
	.reset = model_reset,
	.read = model_read,
	.write = model_write,
	.quiesce = model_quiesce,
	.stats = model_stats,
	.link_speed = 1, /* 2.5 GT/s */
	.link_width = 1,
};
