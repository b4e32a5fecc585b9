/* SPDX-License-Identifier: Apache-2.0 */
/* Options and files: what is refused, with one line that says what is wrong; locks, block size kept, direct I/O. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "nvme_host.h"

static char good[] = "open-good-XXXXXX", odd[] = "open-odd-XXXXXX", empty[] = "open-empty-XXXXXX",
	    dir[] = "open-dir-XXXXXX";
static char fifo[32];

static void make(char *path, off_t size)
{
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
}

static int set_up(void **state)
{
	make(good, 1 << 20);
	make(odd, (1 << 20) + 512);
	make(empty, 0);
	assert_non_null(mkdtemp(dir));
	snprintf(fifo, sizeof(fifo), "%s/fifo", dir);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	return 0;
}

static int tear_down(void **state)
{
	unlink(good);
	unlink(odd);
	unlink(empty);
	unlink(fifo);
	rmdir(dir);
	return 0;
}

/* "%" stands for the file. */
static void expand(char out[256], const char *options, const char *file)
{
	const char *at = strchr(options, '%');

	snprintf(out, 256, "%.*s%s%s", (int)(at - options), options, file, at + 1);
}

static void refused(const char *options, const char *file, int err, const char *says)
{
	struct fb_device *dev;
	char text[256];
	int got;

	expand(text, options, file);
	got = fake_new(&dev, &nvme_model, text, 1 << 20);
	if (got != err)
		fail_msg("%s: %d, not %d", text, got, err);
	if (!strstr(dev->errors, says))
		fail_msg("%s: says: %s not: %s", text, dev->errors, says);
	/* One line. */
	assert_ptr_equal(strchr(dev->errors, '\n'), dev->errors + strlen(dev->errors) - 1);
	assert_int_equal(dev->n_fds + dev->n_pollers, 0);
	fake_free(dev);
}

static void test_refused(void **state)
{
	char path[64];

	refused("file=%", "/nonexistent/disk.img", -ENOENT, "file=/nonexistent/disk.img: there is no such file");
	refused("file=%", dir, -EISDIR, "is a directory");
	refused("file=%,readonly=on", dir, -EISDIR, "is a directory");
	refused("file=%", fifo, -ENOTBLK, "not a file or block device");
	refused("file=%", "/dev/null", -ENOTBLK, "not a file or block device");
	refused("file=%", empty, -EMEDIUMTYPE, "has 0 bytes: an empty file is no disk");
	refused("file=%,lba=4096", odd, -EMEDIUMTYPE, "has 1049088 bytes: not a multiple of its block size, 4096");
	assert_int_equal(truncate(odd, 1000), 0);
	refused("file=%", odd, -EMEDIUMTYPE, "has 1000 bytes: not a multiple of its block size, 512");
	assert_int_equal(truncate(odd, (1 << 20) + 512), 0);
	snprintf(path, sizeof(path), "%s,file2=/nonexistent", good);
	refused("file=%", path, -ENOENT, "file2=/nonexistent: there is no such file");
	snprintf(path, sizeof(path), "%s,file16=%s", good, good);
	refused("file=%", path, -EBUSY, "is in use");
	refused("file=%,serial=123456789012345678901", good, -EINVAL, "serial=123456789012345678901: at most 20");
	refused("file=%,serial=\xc3\xa9", good, -EINVAL, "printable ASCII");
	refused("file=%,firmware=123456789", good, -EINVAL, "firmware=123456789: at most 8");
	refused("file=%,mdts=12K", good, -EINVAL, "mdts=12288: a power of 2");
	refused("file=%,create=1000", good, -EINVAL, "create=1000: a multiple of 4096");
}

static void test_permissions(void **state)
{
	pid_t child;
	int status;

	if (geteuid() != 0) {
		print_message("skipped: needs root to become nobody\n");
		skip();
	}
	assert_int_equal(chmod(good, 0444), 0);
	fflush(NULL);
	child = fork();
	if (child == 0) {
		struct fb_device *dev;
		char text[128];
		int bad = 0;

		if (setgid(65534) || setuid(65534))
			_exit(99);
		snprintf(text, sizeof(text), "file=%s", good);
		bad |= fake_new(&dev, &nvme_model, text, 1 << 20) != -EACCES;
		bad |= !strstr(dev->errors, "Permission denied for writing (readonly=on offers it read-only)");
		fake_free(dev);
		snprintf(text, sizeof(text), "file=%s,readonly=on", good);
		bad |= fake_new(&dev, &nvme_model, text, 1 << 20) != 0;
		fake_free(dev);
		_exit(bad);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(chmod(good, 0600), 0);
}

static void test_locks(void **state)
{
	struct fb_device *a, *b, *c;
	char rw[64], ro[64];

	snprintf(rw, sizeof(rw), "file=%s", good);
	snprintf(ro, sizeof(ro), "file=%s,readonly=on", good);
	assert_int_equal(fake_new(&a, &nvme_model, rw, 1 << 20), 0);
	refused("file=%", good, -EBUSY, "is in use: another function or process has it open");
	refused("file=%,readonly=on", good, -EBUSY, "has it open for writing");
	fake_free(a);
	/* Readers may share it, and keep writers out. */
	assert_int_equal(fake_new(&b, &nvme_model, ro, 1 << 20), 0);
	assert_int_equal(fake_new(&c, &nvme_model, ro, 1 << 20), 0);
	refused("file=%", good, -EBUSY, "is in use");
	fake_free(b);
	fake_free(c);
	assert_int_equal(fake_new(&a, &nvme_model, rw, 1 << 20), 0);
	fake_free(a);
}

static void test_create(void **state)
{
	struct fb_device *dev;
	char path[64], text[128];
	struct stat st;
	uint8_t uuid[16];

	snprintf(path, sizeof(path), "%s/new.img", dir);
	snprintf(text, sizeof(text), "file=%s,create=8M", path);
	assert_int_equal(fake_new(&dev, &nvme_model, text, 1 << 20), 0);
	memcpy(uuid, ((struct nvme *)dev->state)->ns[0].uuid, 16);
	fake_free(dev);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 8 << 20);
	/* It is there now: create= does not touch it, and it is the same disk. */
	snprintf(text, sizeof(text), "file=%s,create=16M", path);
	assert_int_equal(fake_new(&dev, &nvme_model, text, 1 << 20), 0);
	assert_memory_equal(uuid, ((struct nvme *)dev->state)->ns[0].uuid, 16);
	fake_free(dev);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 8 << 20);
	unlink(path);
	refused("file=%,create=8M,readonly=on", path, -ENOENT, "there is no such file");
	refused("file=%,create=8M", "/nonexistent/x/y.img", -ENOENT, "/nonexistent/x/y.img");
}

/* What Format NVM chose is found again, lba= overrides it. */
static void test_lba_kept(void **state)
{
	struct nvme_sqe sqe;
	struct fb_device *dev;
	char text[128];
	struct host h;

	host_start(&h, 1 << 20, "", 0, 0);
	sqe = host_cmd(NVME_ADM_FORMAT, 1);
	nvme_put32(&sqe.cdw10, 1);
	assert_int_equal(host_status(&h, 0, sqe), 0);
	if (getxattr(h.path, "user.farbus.lba", text, sizeof(text)) != 4) {
		host_close(&h);
		print_message("skipped: this file system keeps no extended attributes\n");
		skip();
	}
	fake_free(h.dev);
	snprintf(text, sizeof(text), "file=%s", h.path);
	assert_int_equal(fake_new(&dev, &nvme_model, text, 1 << 20), 0);
	assert_int_equal(((struct nvme *)dev->state)->ns[0].lbads, 12);
	fake_free(dev);
	snprintf(text, sizeof(text), "file=%s,lba=512", h.path);
	assert_int_equal(fake_new(&dev, &nvme_model, text, 1 << 20), 0);
	assert_int_equal(((struct nvme *)dev->state)->ns[0].lbads, 9);
	fake_free(dev);
	close(h.fd);
}

static void test_direct(void **state)
{
	struct fb_device *dev;
	struct nvme *n;
	char text[128];

	snprintf(text, sizeof(text), "file=%s", good);
	assert_int_equal(fake_new(&dev, &nvme_model, text, 1 << 20), 0);
	n = dev->state;
	assert_false(n->ns[0].disk.direct);
	assert_int_equal(fcntl(n->ns[0].disk.fd, F_GETFL) & O_DIRECT, 0);
	fake_free(dev);
	/* On what this file system allows; if it does not, one line says so and the page cache is used. */
	snprintf(text, sizeof(text), "file=%s,direct=on", good);
	assert_int_equal(fake_new(&dev, &nvme_model, text, 1 << 20), 0);
	n = dev->state;
	assert_int_equal(!!(fcntl(n->ns[0].disk.fd, F_GETFL) & O_DIRECT), n->ns[0].disk.direct);
	if (n->ns[0].disk.direct)
		assert_string_equal(dev->errors, "");
	else
		assert_non_null(strstr(dev->errors, "goes through the page cache"));
	fake_free(dev);
}

/* io_uring forbidden: threads, and one clear line where io_uring was asked for. */
static void test_no_uring(void **state)
{
	struct fb_aio aio;

	assert_int_equal(fb_aio_open(&aio, FB_AIO_THREADS, NULL, 0, false), 0);
	assert_string_equal(aio.backend->name, "threads");
	fb_aio_close(&aio);
	assert_int_equal(fb_aio_open(&aio, FB_AIO_AUTO, NULL, 0, false), 0);
	fb_aio_close(&aio);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),  cmocka_unit_test(test_permissions), cmocka_unit_test(test_locks),
		cmocka_unit_test(test_create),   cmocka_unit_test(test_lba_kept),    cmocka_unit_test(test_direct),
		cmocka_unit_test(test_no_uring),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
