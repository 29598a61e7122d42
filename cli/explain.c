/* SPDX-License-Identifier: Apache-2.0 */
/* Steps of an explanation, as lines or as JSON. */
#include "cli/explain.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/text.h"
#include "cli/client.h"
#include "cli/grid.h"

enum { LINE_BYTES = 600 };

static void
put(struct explain *w, const char *label, const char *text)
{
	char safe[LINE_BYTES];

	text_printable(text, strlen(text), safe, sizeof(safe));
	buf_puts(&w->out, "  ");
	grid_text(&w->out, w->cli->colour_out,
		  strcmp(label, "FAIL") == 0   ? GRID_RED
		  : strcmp(label, "ok") == 0   ? GRID_GREEN
		  : strcmp(label, "warn") == 0 ? GRID_YELLOW
					       : GRID_PLAIN,
		  label);
	buf_printf(&w->out, "%*s  %s\n", (int)(4 - strlen(label)), "", safe);
}

void
explain_begin(struct explain *w, const char *state, const char *what, const char *fmt, ...)
{
	char text[LINE_BYTES], line[LINE_BYTES + 16];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	w->failed |= strcmp(state, "FAIL") == 0;
	if (w->machine) {
		json_object(&w->json, NULL);
		json_text(&w->json, "state", strcmp(state, "FAIL") == 0 ? "failed" : state);
		json_text(&w->json, "name", what);
		json_text(&w->json, "text", text);
		return;
	}
	text_format(line, sizeof(line), "%-11s %s", what, text);
	put(w, state, line);
}

void
explain_say(struct explain *w, const char *label, const char *text)
{
	if (!text[0])
		return;
	if (w->machine)
		json_text(&w->json, label, text);
	else
		put(w, label, text);
}

void
explain_end(struct explain *w)
{
	if (w->machine)
		json_end(&w->json);
}

json_t *
explain_ask(struct explain *w, const char *target, struct err *err)
{
	struct buf answer;
	json_t *root = NULL;

	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	if (client_get(w->cli, target, &answer, err) == 0)
		root = json_read_parse(buf_cstr(&answer), answer.length, err);
	buf_fini(&answer);
	return root;
}

void
explain_reason(struct explain *w, const json_t *reason)
{
	const json_t *why = json_read_array(reason, "why");

	for (size_t i = 0; i < json_read_count(why); i++)
		explain_say(w, w->machine && i ? "why2" : "why",
			    json_read_string(json_read_at(why, i)));
	explain_say(w, "fix", json_read_text(reason, "fix"));
}
