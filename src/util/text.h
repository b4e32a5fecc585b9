/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text from people: numbers with units, names with typing errors, comma lists
 * and option lists ("nvme,id=ssd0,file=disk.img"). Pure functions, any thread;
 * only fb_options_apply() logs.
 *
 * Parsers take the whole string (blanks are not skipped) and leave the result
 * untouched on error: -EINVAL: not of that shape; -ERANGE: of that shape, but
 * it does not fit.
 */
#ifndef FARBUS_UTIL_TEXT_H
#define FARBUS_UTIL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* "4096", "0x1000". */
int fb_parse_u64(const char *text, uint64_t *value);
/* Bytes: "512", "64K", "1.5M", "1G", "2T": multiples of 1,024; "KiB" and "KB" forms mean the same. */
int fb_parse_size(const char *text, uint64_t *bytes);
/* Bits a second: "10M", "1G", "2.5G", "1Gbit": multiples of 1,000. */
int fb_parse_rate(const char *text, uint64_t *bits_per_s);
/* "10ms", "1.5s", "200us", "50ns", "2min"; "0" needs no unit. */
int fb_parse_duration_ns(const char *text, uint64_t *ns);
/* "1%", "0.01%", "0.25" (a fraction of one): in parts of 2^32, 100 % is 1 << 32. */
int fb_parse_share(const char *text, uint64_t *parts);
/* on/off, yes/no, true/false, 1/0. */
int fb_parse_bool(const char *text, bool *value);

/* Edits (insert, delete, replace, swap neighbours) between two words; at most 64 bytes of each are looked at. */
unsigned fb_edit_distance(const char *a, const char *b);
/*
 * The name that was probably meant: the nearest of the NULL-terminated `names`
 * if it is near enough (a third of the word's letters, at least one), or NULL.
 */
const char *fb_nearest(const char *word, const char *const *names);

/*
 * Takes the next item of a list apart in place: returns it, NUL-terminated,
 * and moves *cursor behind it; NULL at the end. A doubled separator stands for
 * itself ("a,,b" is one item "a,b"). *cursor NULL or "": no items.
 */
char *fb_next_item(char **cursor, char separator);

/* What an option's value may be, and the C type it lands in. */
enum fb_text_option_type {
	FB_OPTION_STRING,   /* char *, from malloc; fb_options_release() frees it. min/max: length */
	FB_OPTION_UINT,     /* uint32_t */
	FB_OPTION_U64,      /* uint64_t */
	FB_OPTION_SIZE,     /* uint64_t, bytes */
	FB_OPTION_DURATION, /* uint64_t, ns */
	FB_OPTION_RATE,     /* uint64_t, bits a second */
	FB_OPTION_SHARE,    /* uint64_t, parts of 2^32 */
	FB_OPTION_BOOL,     /* bool; the key alone means true */
	FB_OPTION_CHOICE,   /* unsigned: index into choices */
};

/* A table of them ends with a key of NULL. */
struct fb_text_option {
	const char *key;
	enum fb_text_option_type type;
	size_t offset;              /* of the member in the target struct */
	uint64_t min, max;          /* inclusive; both 0: any */
	const char *const *choices; /* FB_OPTION_CHOICE: NULL-terminated */
	const char *help;           /* one line, for --help */
	bool power_of_2;            /* numbers: no others */
};

/*
 * Reads "key=value,key=value" into *target, whose members hold the defaults
 * (strings: NULL or from malloc; replaced ones are freed). Text may be NULL or
 * "". The first thing wrong is logged, prefixed with `object`, naming the
 * option, the value and what is allowed (and the nearest name), and -EINVAL
 * returned (-ENOMEM is possible too); members set before that stay set.
 */
int fb_options_apply(const struct fb_text_option *table, void *target, const char *text, const char *object);
/* One of them: key and value already apart (a configuration file's line). `value` NULL: the key alone. */
int fb_options_set(const struct fb_text_option *table, void *target, const char *key, const char *value, const char *object);
/* Frees the strings. */
void fb_options_release(const struct fb_text_option *table, void *target);
/* What a value may be: "512 or a power of 2 up to 4096" … for help and messages. Returns buf. */
char *fb_option_allowed(const struct fb_text_option *option, char *buf, size_t cap);

#ifdef __cplusplus
}
#endif
#endif
