/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines to stderr, one event a line, prefixed with the object they are
 * about: "ssd0 01:00.0: link lost: hold time (30 s) is over".
 *
 * Under systemd (JOURNAL_STREAM set) each line starts with its syslog
 * priority, "<3>"; on a terminal or in a file with a time of day, or with the
 * program's name if that is one which says its one thing and ends.
 * Thread-safe. Never blocks longer than write(2) on stderr does.
 */
#ifndef FARBUS_UTIL_LOG_H
#define FARBUS_UTIL_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum fb_log_level {
	FB_LOG_NONE = -1, /* as a level to set: silence, for fuzzers */
	FB_LOG_ERROR,
	FB_LOG_WARN,
	FB_LOG_INFO, /* the default */
	FB_LOG_DEBUG,
	FB_LOG_TRACE,
};

void fb_log_set_level(enum fb_log_level level);
bool fb_log_enabled(enum fb_log_level level);

/* From now on lines begin as "farbus: " or "farbus: warning: ". `name` is kept; NULL: with a time of day, the default. */
void fb_log_set_program(const char *name);

/* `object` may be NULL for lines about the process itself. */
void fb_log(enum fb_log_level level, const char *object, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void fb_vlog(enum fb_log_level level, const char *object, const char *fmt, va_list ap)
	__attribute__((format(printf, 3, 0)));

#define fb_error(object, ...) fb_log(FB_LOG_ERROR, object, __VA_ARGS__)
#define fb_warn(object, ...) fb_log(FB_LOG_WARN, object, __VA_ARGS__)
#define fb_info(object, ...) fb_log(FB_LOG_INFO, object, __VA_ARGS__)
#define fb_debug(object, ...)                                                                                          \
	do {                                                                                                           \
		if (fb_log_enabled(FB_LOG_DEBUG))                                                                      \
			fb_log(FB_LOG_DEBUG, object, __VA_ARGS__);                                                     \
	} while (0)

/*
 * For messages that a peer can provoke: at most one line a second and limit,
 * and the next line says how many were left out. Zero-initialise.
 * Returns true if the caller may log now; *suppressed is what was left out.
 */
struct fb_log_limit {
	uint64_t next_ns;
	uint64_t suppressed;
};
bool fb_log_allowed(struct fb_log_limit *limit, uint64_t now_ns, uint64_t *suppressed);
/* As above for events that come in groups: after a calm time, `burst` more lines at once. */
bool fb_log_allowed_burst(struct fb_log_limit *limit, unsigned burst, uint64_t now_ns, uint64_t *suppressed);

/*
 * A line, if the limit allows it now; at its end stands how many were left out,
 * unless none were. What is to be printed is evaluated only if it is.
 */
#define fb_log_limited(limit, burst, now_ns, level, object, ...)                                                       \
	do {                                                                                                           \
		uint64_t left_out_;                                                                                    \
		if (fb_log_allowed_burst(limit, burst, now_ns, &left_out_))                                            \
			fb_log_left_out(left_out_, level, object, __VA_ARGS__);                                        \
	} while (0)
#define fb_warn_limited(limit, now_ns, object, ...) fb_log_limited(limit, 0, now_ns, FB_LOG_WARN, object, __VA_ARGS__)
void fb_log_left_out(uint64_t left_out, enum fb_log_level level, const char *object, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#ifdef __cplusplus
}
#endif
#endif
