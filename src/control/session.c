/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/session.h"
#include "util/text.h"

enum { PROGRESS_BACKLOG = 16 * 1024, VERBS_MAX = 32 };

void fb_control_session_init(struct fb_control_call *s, const struct fb_control_verb *verbs, void *arg)
{
	memset(s, 0, sizeof(*s));
	s->verbs = verbs;
	s->arg = arg;
}

static void close_fds(struct fb_control_call *s)
{
	while (s->n_fds)
		close(s->fds[--s->n_fds]);
}

void fb_control_session_fini(struct fb_control_call *s)
{
	if (s->busy && s->gone)
		s->gone(s->gone_arg);
	s->busy = false;
	close_fds(s);
	free(s->out);
	s->out = NULL;
	s->out_len = s->out_sent = 0;
}

/* Appends the object as one line; takes the reference. Without memory the client is dropped: it would wait for ever. */
static void put_line(struct fb_control_call *s, json_t *line)
{
	char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0;
	char *grown = text ? realloc(s->out, s->out_len + len + 1) : NULL;

	if (grown) {
		memcpy(grown + s->out_len, text, len);
		grown[s->out_len + len] = '\n';
		s->out = grown;
		s->out_len += len + 1;
	} else {
		s->over = true;
	}
	free(text);
	json_decref(line);
}

static const char *code_name(int err)
{
	const char *name = strerrorname_np(-err);

	return name ? name : "EIO";
}

static void put_error(struct fb_control_call *s, int err, const char *text)
{
	json_t *line = json_pack("{s:b, s:s, s:s}", "ok", 0, "error", text, "code", code_name(err));

	/* A text that came from elsewhere may not be UTF-8, which JSON does not carry. */
	if (!line)
		line = json_pack("{s:b, s:s, s:s}", "ok", 0, "error", strerror(-err), "code", code_name(err));
	put_line(s, line);
}

static void end_call(struct fb_control_call *s)
{
	s->busy = false;
	s->gone = NULL;
	s->eof = NULL;
	if (!s->inside && s->wake)
		s->wake(s);
}

void fb_control_done(struct fb_control_call *s, json_t *result)
{
	json_t *line = json_pack("{s:b, s:o}", "ok", 1, "result", result ? result : json_null());

	put_line(s, line);
	end_call(s);
}

void fb_control_fail(struct fb_control_call *s, int err, const char *text)
{
	put_error(s, err, text);
	end_call(s);
}

void fb_control_progress(struct fb_control_call *s, const char *text)
{
	json_t *line;

	if (s->out_len - s->out_sent > PROGRESS_BACKLOG)
		return;
	line = json_pack("{s:s}", "progress", text);
	if (!line)
		return;
	put_line(s, line);
	if (!s->inside && s->wake)
		s->wake(s);
}

void fb_control_on_gone(struct fb_control_call *s, void (*gone)(void *arg), void *arg)
{
	s->gone = gone;
	s->gone_arg = arg;
}

void fb_control_on_eof(struct fb_control_call *s, void (*eof)(void *arg), void *arg)
{
	s->eof = eof;
	s->eof_arg = arg;
	if (s->at_eof)
		eof(arg);
}

void fb_control_session_eof(struct fb_control_call *s)
{
	s->at_eof = true;
	if (s->busy && s->eof)
		s->eof(s->eof_arg);
}

void fb_control_session_rx_fds(struct fb_control_call *s, const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (s->n_fds < FB_CONTROL_FDS_MAX)
			s->fds[s->n_fds++] = fds[i];
		else
			close(fds[i]);
	}
}

unsigned fb_control_fds(const struct fb_control_call *s, const int **fds)
{
	*fds = s->fds;
	return s->n_fds;
}

static void unknown_verb(struct fb_control_call *s, const char *verb)
{
	const char *names[VERBS_MAX + 1], *near;
	char text[256];
	unsigned n = 0;

	while (n < VERBS_MAX && s->verbs[n].name) {
		names[n] = s->verbs[n].name;
		n++;
	}
	names[n] = NULL;
	near = fb_nearest(verb, names);
	if (near)
		snprintf(text, sizeof(text), "no verb \"%.64s\"; did you mean \"%s\"?", verb, near);
	else
		snprintf(text, sizeof(text), "no verb \"%.64s\"", verb);
	put_error(s, -ENOSYS, text);
}

static void serve(struct fb_control_call *s, const char *line, size_t len)
{
	json_error_t error;
	json_t *request, *result;
	const char *verb;
	char text[256];
	unsigned i = 0;

	request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
	if (!request) {
		snprintf(text, sizeof(text), "not a JSON object: %s", error.text);
		put_error(s, -EBADMSG, text);
		return;
	}
	verb = json_string_value(json_object_get(request, "verb"));
	if (!verb) {
		put_error(s, -EBADMSG, "a request is {\"verb\": \"ls\", …}: no verb in this one");
		json_decref(request);
		return;
	}
	while (s->verbs[i].name && strcmp(s->verbs[i].name, verb))
		i++;
	if (!s->verbs[i].name) {
		unknown_verb(s, verb);
		json_decref(request);
		return;
	}
	s->busy = true;
	result = s->verbs[i].run(s->arg, request, s);
	if (result)
		fb_control_done(s, result);
	json_decref(request);
}

/* Serves what lines there are, as long as no answer is outstanding. */
static void pump(struct fb_control_call *s)
{
	if (s->inside)
		return;
	s->inside = true;
	while (!s->busy && !s->over && s->out_len == 0) {
		char *end = memchr(s->in, '\n', s->in_len);
		size_t len;

		if (!end) {
			if (s->in_len == sizeof(s->in)) {
				put_error(s, -EMSGSIZE, "the request is longer than 16384 bytes");
				s->over = true;
			}
			break;
		}
		len = (size_t)(end - s->in) + 1;
		if (len > 1)
			serve(s, s->in, len - 1);
		close_fds(s);
		s->in_len -= len;
		memmove(s->in, s->in + len, s->in_len);
	}
	s->inside = false;
}

size_t fb_control_session_room(const struct fb_control_call *s)
{
	return s->over ? 0 : sizeof(s->in) - s->in_len;
}

void fb_control_session_rx(struct fb_control_call *s, const void *data, size_t len)
{
	if (len > fb_control_session_room(s))
		len = fb_control_session_room(s);
	memcpy(s->in + s->in_len, data, len);
	s->in_len += len;
	pump(s);
}

size_t fb_control_session_out(const struct fb_control_call *s, const char **data)
{
	*data = s->out ? s->out + s->out_sent : NULL;
	return s->out_len - s->out_sent;
}

void fb_control_session_sent(struct fb_control_call *s, size_t n)
{
	s->out_sent += n;
	if (s->out_sent < s->out_len)
		return;
	free(s->out);
	s->out = NULL;
	s->out_len = s->out_sent = 0;
	pump(s);
}
