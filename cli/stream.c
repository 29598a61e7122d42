/* SPDX-License-Identifier: Apache-2.0 */
/* One connection after the other. Each chunk that has come is shown before the next one is waited
 * for. */
#include "cli/stream.h"

#include <stdio.h>
#include <time.h>
#include "base/text.h"
#include "base/world.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/render.h"
#include "wire/json_read.h"

enum { MISSES_MAX = 40, MESSAGE_BYTES_MAX = 1 << 20 };

void
stream_show_away(const json_t *away)
{
	const json_t *reason = json_read_get(away, "reason");
	const char *why = json_read_string(json_read_at(json_read_array(reason, "why"), 0));
	const char *node = json_read_text(away, "node");
	struct buf out;

	buf_init(&out, MEM_CLI, 4096);
	render_put_safe(&out, node[0] ? node : "the cluster");
	buf_puts(&out, node[0] ? " is left out: " : " is not here as a whole: ");
	render_put_safe(&out, json_read_text(reason, "what"));
	if (why[0]) {
		buf_puts(&out, ": ");
		render_put_safe(&out, why);
	}
	fprintf(stderr, "zlayer: %s\n", buf_cstr(&out));
	buf_fini(&out);
}

static void
take_message(struct stream *s, struct sse *sse)
{
	struct err ignored = {0};
	const char *text = buf_cstr(&sse->data);
	json_t *message = json_read_parse(text, sse->data.length, &ignored);

	if (message)
		s->message(s->arg, sse->event, message, text, sse->data.length);
	json_read_free(message);
}

/* To its end: 0 when the node ended it, -1 with err. */
static int
read_stream(struct stream *s, struct client *c, struct sse *sse, struct err *err)
{
	char data[8192];

	for (;;) {
		long n = client_read(c, data, sizeof(data), err);
		size_t at = 0, used;

		if (n <= 0)
			return (int)n;
		while (at < (size_t)n) {
			enum sse_result r = sse_feed(sse, data + at, (size_t)n - at, &used);

			at += used;
			if (r == SSE_TOO_LONG)
				return err_set(err, ERR_LIMIT, "a message is too long");
			if (r == SSE_EVENT)
				take_message(s, sse);
		}
		if (cli_flush(err) < 0)
			return -1;
	}
}

int
stream_follow(struct stream *s)
{
	const struct timespec turn = {.tv_nsec = 250000000};
	char target[STREAM_TARGET_BYTES];
	const uint64_t end =
		s->cli->timeout_ms ? world_mono_ns() + s->cli->timeout_ms * UINT64_C(1000000) : 0;
	struct err err = {0};
	int misses = 0;

	for (;;) {
		struct client c;
		struct sse sse;
		struct client_request request = {.method = "GET",
						 .target = target,
						 .last_event_id = s->last[0] ? s->last : NULL};

		s->target(s->arg, target);
		err_clear(&err);
		sse_init(&sse, MEM_CLI, MESSAGE_BYTES_MAX);
		int rc = client_open(&c, s->cli, &request, &err);
		if (rc == 0) {
			misses = 0;
			c.deadline_mono_ns = end;
			rc = read_stream(s, &c, &sse, &err);
		}
		if (sse.id[0])
			text_copy(s->last, sizeof(s->last), sse.id);
		client_close(&c);
		sse_fini(&sse);
		if (rc < 0 && (err.kind != ERR_UNREACHABLE || ++misses > MISSES_MAX))
			return cli_fail(s->cli, &err);
		if (end && world_mono_ns() >= end) {
			err_set(&err, ERR_TIMEOUT, "the time of --timeout is over");
			return cli_fail(s->cli, &err);
		}
		nanosleep(&turn, NULL);
	}
}
