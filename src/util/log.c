/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "util/log.h"

#define LIMIT_NS UINT64_C(1000000000)

static atomic_int log_level = FB_LOG_INFO;
static const char *_Atomic program; /* NULL: a log */
static bool to_journal;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const struct {
	const char *word;
	char priority; /* syslog(3) */
} levels[] = {
	[FB_LOG_ERROR] = {"error: ", '3'},
	[FB_LOG_WARN] = {"warning: ", '4'},
	[FB_LOG_INFO] = {"", '6'},
	[FB_LOG_DEBUG] = {"debug: ", '7'},
	[FB_LOG_TRACE] = {"trace: ", '7'},
};
_Static_assert(sizeof(levels) / sizeof(levels[0]) == FB_LOG_TRACE + 1, "one word a level");

/* JOURNAL_STREAM names the device and inode that stderr had; it is inherited even when stderr is not (systemd.exec(5)). */
static void look_at_stderr(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	uint64_t dev, ino;
	struct stat st;

	to_journal = stream && sscanf(stream, "%" SCNu64 ":%" SCNu64, &dev, &ino) == 2 &&
		     fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

void fb_log_set_level(enum fb_log_level level)
{
	atomic_store_explicit(&log_level, (int)level, memory_order_relaxed);
}

bool fb_log_enabled(enum fb_log_level level)
{
	return (int)level <= atomic_load_explicit(&log_level, memory_order_relaxed);
}

void fb_log_set_program(const char *name)
{
	atomic_store_explicit(&program, name, memory_order_relaxed);
}

static size_t add(char *line, size_t used, size_t cap, const char *text)
{
	size_t n = strlen(text);

	if (n > cap - used)
		n = cap - used;
	memcpy(line + used, text, n);
	return used + n;
}

static void write_line(enum fb_log_level level, const char *object, uint64_t left_out, const char *fmt, va_list ap)
{
	char line[1024], *text;
	const size_t cap = sizeof(line) - 1; /* the newline's place */
	const char *name = atomic_load_explicit(&program, memory_order_relaxed);
	size_t used, from;
	int saved = errno, n;

	if (!fb_log_enabled(level))
		return;
	pthread_once(&once, look_at_stderr);
	if (to_journal) {
		used = (size_t)snprintf(line, sizeof(line), "<%c>", levels[level].priority);
	} else if (name) {
		used = (size_t)snprintf(line, sizeof(line), "%.64s: %s", name, level == FB_LOG_ERROR ? "" : levels[level].word);
	} else {
		struct timespec now;
		struct tm tm;

		clock_gettime(CLOCK_REALTIME, &now);
		localtime_r(&now.tv_sec, &tm);
		used = (size_t)snprintf(line, sizeof(line), "%02d:%02d:%02d.%03ld %s", tm.tm_hour, tm.tm_min, tm.tm_sec,
					now.tv_nsec / 1000000, levels[level].word);
	}
	from = used;
	if (object) {
		used = add(line, used, cap, object);
		used = add(line, used, cap, ": ");
	}
	text = line + used;
	n = vsnprintf(text, sizeof(line) - used, fmt, ap);
	if (n > 0)
		used = (size_t)n < cap - used ? used + (size_t)n : cap;
	if (left_out) {
		char more[64];

		snprintf(more, sizeof(more), " (%" PRIu64 " more since the last such line)", left_out);
		used = add(line, used, cap, more);
	}
	/* Names and texts come from peers and guests: one event stays one line, and moves no cursor. */
	for (size_t i = from; i < used; i++) {
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	}
	line[used++] = '\n';
	while (write(STDERR_FILENO, line, used) < 0 && errno == EINTR)
		;
	errno = saved;
}

void fb_vlog(enum fb_log_level level, const char *object, const char *fmt, va_list ap)
{
	write_line(level, object, 0, fmt, ap);
}

void fb_log_left_out(uint64_t left_out, enum fb_log_level level, const char *object, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	write_line(level, object, left_out, fmt, ap);
	va_end(ap);
}

void fb_log(enum fb_log_level level, const char *object, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fb_vlog(level, object, fmt, ap);
	va_end(ap);
}

bool fb_log_allowed(struct fb_log_limit *limit, uint64_t now_ns, uint64_t *suppressed)
{
	return fb_log_allowed_burst(limit, 0, now_ns, suppressed);
}

/* next_ns is when all lines so far would be through at one a second: `burst` seconds ahead at most. */
bool fb_log_allowed_burst(struct fb_log_limit *limit, unsigned burst, uint64_t now_ns, uint64_t *suppressed)
{
	if (limit->next_ns > now_ns + burst * LIMIT_NS) {
		limit->suppressed++;
		return false;
	}
	*suppressed = limit->suppressed;
	limit->suppressed = 0;
	limit->next_ns = (limit->next_ns > now_ns ? limit->next_ns : now_ns) + LIMIT_NS;
	return true;
}
