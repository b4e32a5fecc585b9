/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile client of the control socket. The first byte says how the bytes
 * after it are cut into reads; answers are taken in pieces, calls of the verb
 * "later" are answered, and what is put out must always be whole JSON lines.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "control/session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct fb_control_call *waiting;

static void gone(void *arg)
{
	waiting = NULL;
}

static json_t *run_ls(void *arg, const json_t *request, struct fb_control_call *call)
{
	return json_deep_copy(request);
}

static json_t *run_later(void *arg, const json_t *request, struct fb_control_call *call)
{
	waiting = call;
	fb_control_on_gone(call, gone, NULL);
	return NULL;
}

static const struct fb_control_verb verbs[] = {{"ls", run_ls}, {"plug", run_later}, {NULL, NULL}};

static void take(struct fb_control_call *s)
{
	const char *out;
	size_t n;

	while ((n = fb_control_session_out(s, &out))) {
		const char *end = memchr(out, '\n', n);
		json_t *line;

		if (!end)
			abort(); /* half a line */
		line = json_loadb(out, (size_t)(end - out), 0, NULL);
		if (!json_is_object(line))
			abort();
		json_decref(line);
		fb_control_session_sent(s, (size_t)(end - out) + 1);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fb_control_call s;
	size_t piece = size ? data[0] % 64 + 1 : 1;

	waiting = NULL;
	fb_control_session_init(&s, verbs, NULL);
	for (size_t at = 1; at < size;) {
		size_t n = size - at < piece ? size - at : piece, room = fb_control_session_room(&s);

		n = n < room ? n : room;
		fb_control_session_rx(&s, data + at, n);
		at += n;
		if (waiting && (at % 3 || !fb_control_session_room(&s))) {
			struct fb_control_call *call = waiting;

			waiting = NULL;
			fb_control_progress(call, "soon");
			if (at % 2)
				fb_control_done(call, json_null());
			else
				fb_control_fail(call, -EBUSY, "no");
		}
		if (at % 5 == 0 || !fb_control_session_room(&s))
			take(&s);
		if (s.over)
			break;
	}
	take(&s);
	fb_control_session_fini(&s);
	return 0;
}
