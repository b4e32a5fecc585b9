/* SPDX-License-Identifier: Apache-2.0 */
/* The thread of a capture; impl.h has the theory of operation. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "capture/impl.h"
#include "util/reader.h"

enum { WRITE_MAX = 1 << 20 };

void fb_capture_writer_unref(struct fb_capture_writer *w)
{
	if (__atomic_sub_fetch(&w->refs, 1, __ATOMIC_ACQ_REL))
		return;
	for (unsigned i = 0; i < w->n_fds; i++)
		close(w->fds[i]);
	if (w->told >= 0)
		close(w->told);
	if (w->wake >= 0)
		close(w->wake);
	fb_capture_ring_fini(&w->ring);
	free(w);
}

static bool stopping(const struct fb_capture_writer *w)
{
	return __atomic_load_n(&w->stop, __ATOMIC_ACQUIRE);
}

/* A pipe takes PIPE_BUF bytes without blocking once it is ready. 0 or -errno. */
static int wait_writable(struct fb_capture_writer *w, int fd)
{
	for (;;) {
		struct pollfd p[2] = {{.fd = fd, .events = POLLOUT}, {.fd = w->wake, .events = POLLIN}};
		bool stop = stopping(w);
		uint64_t now = fb_clock_ns();

		if (stop && now >= w->deadline_ns)
			return -ETIMEDOUT;
		/* The eventfd stays ready once it was told to stop: then only the pipe and the time count. */
		if (poll(p, stop ? 1 : 2, stop ? 50 : -1) < 0 && errno != EINTR)
			return -errno;
		if (p[0].revents & (POLLERR | POLLNVAL))
			return -EPIPE;
		if (p[0].revents)
			return 0;
		if (!stop && p[1].revents && !stopping(w)) {
			uint64_t count;

			if (read(w->wake, &count, sizeof(count)) < 0 && errno != EAGAIN && errno != EINTR)
				return -errno;
		}
	}
}

/* 0 or -errno. *written counts also on failure. */
static int write_all(struct fb_capture_writer *w, const uint8_t *data, size_t len, size_t *written)
{
	int fd = w->fds[w->current], err;

	for (*written = 0; *written < len;) {
		size_t n = len - *written, most = w->is_file ? WRITE_MAX : PIPE_BUF;
		ssize_t done;

		if (!w->is_file) {
			err = wait_writable(w, fd);
			if (err)
				return err;
		}
		done = write(fd, data + *written, n < most ? n : most);
		if (done < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (done < 0)
			return -errno;
		*written += (size_t)done;
	}
	return 0;
}

/* Whole blocks. What was written of one that did not fit any more is cut off again. */
static int put(struct fb_capture_writer *w, const uint8_t *data, size_t len)
{
	size_t written, whole = 0;
	int err = write_all(w, data, len, &written);

	if (err) {
		while (written - whole >= 8 && fb_get_le32(data + whole + 4) <= written - whole)
			whole += fb_get_le32(data + whole + 4);
		if (w->is_file && written > whole) {
			off_t end = lseek(w->fds[w->current], 0, SEEK_CUR) - (off_t)(written - whole);

			if (ftruncate(w->fds[w->current], end) == 0)
				lseek(w->fds[w->current], end, SEEK_SET);
		}
		written = whole;
	}
	for (size_t at = 0; at < written; at += fb_get_le32(data + at + 4))
		w->packets += fb_get_le32(data + at) == PCAPNG_EPB;
	w->file_used += written;
	w->bytes += written;
	return err;
}

static int begin_file(struct fb_capture_writer *w)
{
	int fd = w->fds[w->current];
	struct stat st;

	w->is_file = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
	if (w->files >= w->n_fds && (ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0))
		return -errno;
	w->files++;
	w->file_used = 0;
	return put(w, w->head, w->head_len);
}

static int end_file(struct fb_capture_writer *w)
{
	uint8_t block[PCAPNG_ISB_MAX];

	return put(w, block,
		   fb_pcapng_put_statistics(block, w->start_ns, fb_clock_ns() + (uint64_t)w->epoch_ns,
					    __atomic_load_n(&w->received, __ATOMIC_RELAXED),
					    __atomic_load_n(&w->dropped, __ATOMIC_RELAXED)));
}

static int next_file(struct fb_capture_writer *w)
{
	int err = end_file(w);

	if (err)
		return err;
	w->current = (w->current + 1) % w->n_fds;
	return begin_file(w);
}

/* What waits, in runs that fit the file. */
static int write_blocks(struct fb_capture_writer *w, const uint8_t *data, size_t len)
{
	int err = 0;

	while (len && !err) {
		size_t run = 0;

		while (run < len && run < WRITE_MAX) {
			size_t block = fb_get_le32(data + run + 4);

			if (w->n_fds > 1 && w->file_used + run + block + PCAPNG_ISB_MAX > w->file_size)
				break;
			run += block;
		}
		if (!run) {
			err = next_file(w);
			continue;
		}
		err = put(w, data, run);
		fb_capture_ring_consume(&w->ring, run);
		data += run;
		len -= run;
	}
	return err;
}

static void sleep_until_woken(struct fb_capture_writer *w)
{
	struct pollfd p = {.fd = w->wake, .events = POLLIN};
	uint64_t count;

	__atomic_store_n(&w->asleep, true, __ATOMIC_RELAXED);
	if (poll(&p, 1, FB_CAPTURE_LOOK_MS) > 0 && read(w->wake, &count, sizeof(count)) < 0)
		return;
	__atomic_store_n(&w->asleep, false, __ATOMIC_RELAXED);
}

void *fb_capture_write(void *arg)
{
	struct fb_capture_writer *w = arg;
	const uint64_t one = 1;
	int err = begin_file(w);

	while (!err) {
		bool stop = stopping(w); /* before the look: nothing is put after it */
		const uint8_t *data;
		size_t len = fb_capture_ring_peek(&w->ring, &data);

		if (len)
			err = write_blocks(w, data, len);
		else if (stop)
			break;
		if (!err && !stop && len < w->ring.size / 4)
			sleep_until_woken(w);
	}
	if (!err)
		err = end_file(w);
	w->err = err;
	__atomic_store_n(&w->done, true, __ATOMIC_RELEASE);
	if (write(w->told, &one, sizeof(one)) < 0)
		abort(); /* an eventfd that nobody else writes takes a one */
	fb_capture_writer_unref(w);
	return NULL;
}
