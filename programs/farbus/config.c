/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. inih splits the lines; it tells its handler neither the
 * line's number nor whether the line continued the one before, and it cuts a
 * line that is longer than its buffer in two without a word. All three are
 * known to the reader that feeds it: line by line, from memory.
 *
 * An indented line continues the value of the line above it (a --device with
 * many options gets long), so a value is complete only when the next key or the
 * end comes: it is kept in `pending` until then.
 */
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "util/log.h"

enum { FILE_MAX = 256 * 1024, VALUE_MAX = 8192, NAME_SHOWN = 64 };

struct config {
	struct cli *cli;
	const char *name, *section;
	const char *next, *end;  /* what inih has not read yet */
	unsigned line;           /* the one that inih looks at */
	bool indented;
	bool from_file[CLI_OPTIONS];
	const struct cli_option *pending;
	unsigned pending_index, pending_line;
	void *pending_target;
	char value[VALUE_MAX];
	size_t value_len;
	int err; /* the first; everything after it is skipped */
};

static void wrong(struct config *c, unsigned line, int err, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static void wrong(struct config *c, unsigned line, int err, const char *fmt, ...)
{
	char object[4200];
	va_list ap;

	if (c->err)
		return;
	c->err = err;
	snprintf(object, sizeof(object), "%s:%u", c->name, line);
	va_start(ap, fmt);
	fb_vlog(FB_LOG_ERROR, object, fmt, ap);
	va_end(ap);
}

static char *read_line(char *buf, int num, void *stream)
{
	struct config *c = stream;
	const char *newline;
	size_t len, room = (size_t)num - 1;

	if (c->next == c->end || c->err)
		return NULL;
	newline = memchr(c->next, '\n', (size_t)(c->end - c->next));
	len = newline ? (size_t)(newline - c->next) + 1 : (size_t)(c->end - c->next);
	c->line++;
	c->indented = *c->next == ' ' || *c->next == '\t';
	if (len > room) {
		wrong(c, c->line, -EMSGSIZE,
		      "longer than %zu bytes; go on in the next line, indented, where the value is cut", room - 1);
		return NULL;
	}
	if (memchr(c->next, '\0', len)) {
		wrong(c, c->line, -EBADMSG, "a NUL byte: this is not a text file");
		return NULL;
	}
	if (*c->next == '[' && !memchr(c->next, ']', len)) {
		wrong(c, c->line, -EINVAL, "the name of a section begins here: its ] is missing");
		return NULL;
	}
	memcpy(buf, c->next, len);
	buf[len] = '\0';
	c->next += len;
	return buf;
}

static void set_pending(struct config *c)
{
	const struct cli_option *o = c->pending;
	char object[4200];
	int err;

	c->pending = NULL;
	if (!o || c->err)
		return;
	if (o->kind != CLI_LIST && c->cli->given[c->pending_index])
		return; /* the command line wins */
	snprintf(object, sizeof(object), "%s:%u", c->name, c->pending_line);
	err = cli_set(o, c->pending_target, c->value, object);
	if (err)
		c->err = err;
}

/* One file may serve a box and a root; a section that is neither is a typing error. */
static bool right_section(struct config *c, const char *section)
{
	static const char *const sections[] = {"box", "root", NULL};
	const char *near;

	for (const char *const *s = sections; *s; s++) {
		if (!strcmp(section, *s))
			return !strcmp(section, c->section);
	}
	near = fb_nearest(section, sections);
	if (!*section)
		wrong(c, c->line, -EINVAL, "stands before any section; \"[%s]\" is missing", c->section);
	else if (near)
		wrong(c, c->line, -EINVAL, "no section \"[%s]\"; did you mean \"[%s]\"?", section, near);
	else
		wrong(c, c->line, -EINVAL, "no section \"[%s]\"; there are [box] and [root]", section);
	return false;
}

static int take_pair(void *user, const char *section, const char *name, const char *value)
{
	struct config *c = user;
	size_t len = strlen(value);

	if (c->err || !right_section(c, section))
		return 1;
	if (c->indented && c->pending) {
		if (c->value_len + len >= sizeof(c->value))
			wrong(c, c->line, -EMSGSIZE, "%.*s: the value is longer than %d bytes", NAME_SHOWN, name,
			      VALUE_MAX - 1);
		else
			memcpy(c->value + c->value_len, value, len + 1);
		c->value_len += len;
		return 1;
	}
	set_pending(c);
	c->pending = cli_find(c->cli, name, &c->pending_index, &c->pending_target);
	if (!c->pending || c->pending->only_here) {
		char object[4200];

		if (c->err)
			return 1;
		snprintf(object, sizeof(object), "%s:%u", c->name, c->line);
		if (c->pending)
			fb_error(object, "\"%s\" has its place on the command line only", name);
		else
			cli_no_option(c->cli, object, "", name);
		c->pending = NULL;
		c->err = -EINVAL;
		return 1;
	}
	if (c->pending->kind != CLI_LIST && c->from_file[c->pending_index])
		wrong(c, c->line, -EINVAL, "%s: given twice", name);
	c->from_file[c->pending_index] = true;
	if (len >= sizeof(c->value)) {
		wrong(c, c->line, -EMSGSIZE, "%s: the value is longer than %d bytes", name, VALUE_MAX - 1);
		return 1;
	}
	c->pending_line = c->line;
	c->value_len = len;
	memcpy(c->value, value, len + 1);
	return 1;
}

int cli_read_config_text(struct cli *cli, const char *name, const char *text, size_t len, const char *section)
{
	struct config *c = calloc(1, sizeof(*c));
	int line, err;

	if (!c)
		return -ENOMEM;
	c->cli = cli;
	c->name = name;
	c->section = section;
	c->next = text;
	c->end = text + len;
	line = ini_parse_stream(read_line, c, take_pair, c);
	if (line > 0)
		wrong(c, (unsigned)line, -EINVAL, "neither \"[section]\" nor \"name = value\" nor a comment (#)");
	else if (line < 0)
		wrong(c, 1, -ENOMEM, "%s", strerror(ENOMEM));
	set_pending(c);
	err = c->err;
	free(c);
	return err;
}

int cli_read_config(struct cli *cli, const char *path, const char *section)
{
	char *text = malloc(FILE_MAX + 1);
	size_t len = 0;
	struct stat st;
	ssize_t n;
	int fd, err;

	if (!text)
		return -ENOMEM;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* O_NONBLOCK: a FIFO must not hold us up */
	if (fd < 0 || fstat(fd, &st) < 0)
		goto fail;
	if (!S_ISREG(st.st_mode)) {
		errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
		goto fail;
	}
	while (len <= FILE_MAX && (n = read(fd, text + len, FILE_MAX + 1 - len)) != 0) {
		if (n < 0 && errno != EINTR)
			goto fail;
		if (n > 0)
			len += (size_t)n;
	}
	close(fd);
	if (len > FILE_MAX) {
		fb_error(path, "larger than %d KiB: hardly a configuration file", FILE_MAX / 1024);
		err = -EFBIG;
	} else {
		err = cli_read_config_text(cli, path, text, len, section);
	}
	free(text);
	return err;

fail:
	err = -errno;
	fb_error(path, "%s", strerror(-err));
	if (fd >= 0)
		close(fd);
	free(text);
	return err;
}
