/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An operation's event stream on the screen. The stream resumes (Last-Event-ID) when the connection
 * ends before the operation does: the node's api process may be replaced at any time. The first
 * Ctrl-C asks; the operation itself belongs to the node and goes on whatever happens here.
 */
#include "cli/watch.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include "base/text.h"
#include "base/world.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/progress.h"
#include "wire/json_read.h"
#include "wire/sse.h"

enum { RETRIES_MAX = 40, RETRY_MS = 250, REDRAW_MS = 100, LOG_LINES = 5 };

struct watch {
	const struct cli *cli;
	uint64_t operation;
	struct progress *progress;
	struct sse sse;
	char last_id[SSE_NAME_BYTES]; /* where a new connection goes on */
	size_t drawn;                 /* lines on the screen */
	uint64_t deadline_mono_ns;
	uint64_t logged;   /* replica whose lines were asked for, */
	uint32_t troubles; /* as many times it had had trouble */
	struct buf lines;  /* of the replica that had trouble */
	bool live;         /* redraw */
	int status;        /* -1: go on */
};

static volatile sig_atomic_t interrupted;

static void
on_interrupt(int signal_number)
{
	(void)signal_number;
	interrupted = 1;
}

static void
erase(struct watch *w)
{
	if (w->drawn)
		fprintf(stderr, "\033[%zuA\033[J", w->drawn);
	w->drawn = 0;
}

static void
draw(struct watch *w)
{
	struct buf out;

	if (!w->live)
		return;
	buf_init(&out, MEM_CLI, CLI_TEXT_MAX);
	size_t lines = progress_draw(w->progress, world_wall_ns(), w->cli->colour_err, &out);
	erase(w);
	/* Lines are not wrapped: the count above must be what the terminal shows. */
	fputs("\033[?7l", stderr);
	fputs(buf_cstr(&out), stderr);
	fputs("\033[?7h", stderr);
	fflush(stderr);
	w->drawn = lines;
	buf_fini(&out);
}

/* Each line with the time. */
static void
plain(const struct watch *w, struct buf *lines)
{
	const char *at = buf_cstr(lines);
	char now[40];

	if (lines->length == 0 || w->live || w->cli->quiet || w->cli->output == CLI_JSON)
		return;
	text_time(world_wall_ns(), 0, now, sizeof(now));
	while (*at) {
		size_t length = strcspn(at, "\n");

		fprintf(stderr, "%s %.*s\n", now, (int)length, at);
		at += length + (at[length] == '\n');
	}
}

/* The last lines of a replica in trouble, taken at once and each time: it may be gone when the
 * deploy has failed. */
static void
keep_log(struct watch *w)
{
	const struct progress *p = w->progress;
	struct cli cli = *w->cli;
	struct err ignored = {0};
	struct buf lines;
	char target[96];

	if (!p->troubled || (p->troubled == w->logged && p->troubles == w->troubles))
		return;
	w->logged = p->troubled;
	w->troubles = p->troubles;
	cli.timeout_ms = 2000;
	text_format(target, sizeof(target), "/v1/replicas/%llu/logs?tail=%d",
		    (unsigned long long)w->logged, LOG_LINES);
	buf_init(&lines, MEM_CLI, CLI_TEXT_MAX);
	if (client_get(&cli, target, &lines, &ignored) < 0 && lines.length == 0)
		w->logged = 0; /* the next trouble tries again */
	if (lines.length == 0) {
		buf_fini(&lines);
		return;
	}
	buf_fini(&w->lines);
	w->lines = lines;
}

static void
take(struct watch *w)
{
	struct err ignored = {0};
	struct buf line;
	json_t *data = json_read_parse(buf_cstr(&w->sse.data), w->sse.data.length, &ignored);

	buf_init(&line, MEM_CLI, 4096);
	if (w->cli->output == CLI_JSON && data) {
		cli_out(w->sse.data.data, w->sse.data.length);
		cli_out("\n", 1);
		fflush(stdout);
	}
	progress_feed(w->progress, w->sse.event, data, world_wall_ns(), &line);
	plain(w, &line);
	keep_log(w);
	buf_fini(&line);
	json_read_free(data);
}

/* ---- Ctrl-C ---- */

static char
ask(const struct watch *w, bool can_undo)
{
	char answer[16];

	fprintf(stderr, "\nThe deploy goes on in the node. %s",
		can_undo ? "Leave it running (r), roll back (b), wait (w)? "
			 : "Leave it running (r), wait (w)? ");
	fflush(stderr);
	(void)w;
	if (!fgets(answer, sizeof(answer), stdin))
		return 'r';
	return answer[0];
}

static int
undo(const struct watch *w)
{
	const struct progress *p = w->progress;
	struct err err = {0};
	struct buf text, answer;
	char target[192];
	int rc = -1;

	buf_init(&text, MEM_CLI, CLI_TEXT_MAX);
	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	text_format(target, sizeof(target), "/v1/deployments/%s/revisions/%u", p->deployment,
		    p->previous);
	if (client_get(w->cli, target, &text, &err) == 0) {
		text_format(target, sizeof(target), "/v1/deployments/%s", p->deployment);
		rc = client_call(w->cli,
				 &(struct client_request){.method = "PUT",
							  .target = target,
							  .content_type = "application/yaml",
							  .body = text.data,
							  .body_bytes = text.length},
				 &answer, &err);
	}
	if (rc < 0)
		cli_fail(w->cli, &err);
	else
		cli_note(w->cli, "%s goes back to what revision %u said.", p->deployment,
			 p->previous);
	buf_fini(&text);
	buf_fini(&answer);
	return rc < 0 ? err_kind_exit(err.kind) : err_kind_exit(ERR_ROLLED_BACK);
}

static void
on_ctrl_c(struct watch *w)
{
	const struct progress *p = w->progress;
	bool deploy = strcmp(p->kind, "deploy") == 0;

	interrupted = 0;
	erase(w);
	char choice = w->cli->ask ? ask(w, deploy && p->previous > 0) : 'r';

	if (interrupted || choice == 'r' || choice == '\n' || choice == 0) {
		cli_note(w->cli, "It goes on without this command: zlayer status %s",
			 p->deployment);
		w->status = err_kind_exit(ERR_INTERRUPTED);
	} else if (choice == 'b' && deploy && p->previous > 0) {
		w->status = undo(w);
	}
}

/* ---- the end ---- */

typedef void (*line_fn)(void *arg, const char *replica, const char *text);

static void
each_line(const struct watch *w, line_fn visit, void *arg)
{
	const char *at = (const char *)w->lines.data;
	size_t left = w->lines.length;

	while (left > 0) {
		const char *end = memchr(at, '\n', left);
		size_t bytes = end ? (size_t)(end - at) : left;
		struct err ignored = {0};
		json_t *line = json_read_parse(at, bytes, &ignored);
		const char *name = json_read_text(line, "replica");
		const char *slash = strchr(name, '/');

		visit(arg, slash ? slash + 1 : name, json_read_text(line, "text"));
		json_read_free(line);
		bytes += end != NULL;
		at += bytes;
		left -= bytes;
	}
}

static void
print_line(void *arg, const char *replica, const char *text)
{
	char safe[2048];

	(void)arg;
	text_printable(text, strlen(text), safe, sizeof(safe));
	fprintf(stderr, "  log    %s  > %s\n", replica, safe);
}

static void
write_line(void *arg, const char *replica, const char *text)
{
	json_textf(arg, NULL, "%s  > %s", replica, text);
}

static void
put_log(struct json *j, const void *arg)
{
	json_array(j, "log");
	each_line(arg, write_line, j);
	json_end(j);
}

/* The error, and what the replica in trouble wrote last. */
static void
tell(const struct watch *w, const struct err *err, int status)
{
	cli_fail_with(w->cli, err, status, put_log, w);
	if (w->cli->output != CLI_JSON)
		each_line(w, print_line, NULL);
}

/* The replica that had trouble is no more: neither are its logs, nor can it be looked into. */
static bool
took_away(const struct progress *p)
{
	for (size_t i = 0; i < p->count; i++) {
		const struct progress_replica *r = &p->replicas[i];

		if (r->id == p->troubled)
			return r->gone || strcmp(r->state, "stopping") == 0;
	}
	return false;
}

static int
failed(const struct watch *w)
{
	const struct progress *p = w->progress;
	bool back = strcmp(p->state, "rolled_back") == 0;
	struct err err = p->reason;
	char why[ERR_TEXT_BYTES], begin[96];

	text_copy(why, sizeof(why), err.what);
	err.kind = back ? ERR_ROLLED_BACK : err.kind ? err.kind : ERR_INTERNAL;
	/* Another's change came first: that is a conflict; nobody pressed Ctrl-C here. */
	if (err.kind == ERR_INTERRUPTED)
		err.kind = ERR_CONFLICT;
	/* 2, 4, 5 and 8 are for what this command could not begin or wait for: here something was
	 * tried, and it failed. */
	int status = err.kind == ERR_CONFLICT ? err_kind_exit(ERR_CONFLICT) : back ? 6 : 1;
	text_format(begin, sizeof(begin), "%s revision ", p->deployment);
	if (strcmp(p->kind, "deploy") == 0 && !text_starts(why, begin))
		text_format(err.what, sizeof(err.what), "%s%u %s%s%s", begin, p->revision,
			    back ? "was rolled back" : "failed", why[0] ? ": " : "", why);
	else if (!why[0])
		text_format(err.what, sizeof(err.what), "%s of %s failed", p->kind, p->deployment);
	tell(w, &err, status);
	if (back && p->previous && w->cli->output != CLI_JSON)
		fprintf(stderr, "  note   revision %u serves\n", p->previous);
	bool ran = w->lines.length > 0 || strstr(err.fix, "zlayer logs");
	if (ran && strcmp(p->kind, "deploy") == 0 && w->cli->output != CLI_JSON && took_away(p))
		fprintf(stderr,
			"  note   zlayer deploy --no-rollback leaves a failed revision for a "
			"look at it\n");
	return status;
}

/* Where what was deployed is found, a line for each service with a name. */
static void
put_urls(const struct watch *w, struct buf *out)
{
	struct cli cli = *w->cli;
	struct err ignored = {0};
	struct buf answer;
	char target[192], url[512];

	cli.timeout_ms = 2000;
	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	text_format(target, sizeof(target), "/v1/services?deployment=%s", w->progress->deployment);
	json_t *root = NULL;
	if (client_get(&cli, target, &answer, &ignored) == 0)
		root = json_read_parse(buf_cstr(&answer), answer.length, &ignored);
	const json_t *list = json_read_array(root, "items");
	for (size_t i = 0; i < json_read_count(list); i++) {
		const json_t *s = json_read_at(list, i);
		long long n = (long long)json_read_int(s, "ready");
		const char *text = json_read_text(s, "url");

		text_printable(text, strlen(text), url, sizeof(url));
		if (url[0])
			buf_printf(out, "  %s  -> %s (%lld replica%s)\n", url,
				   json_read_text(s, "name"), n, n == 1 ? "" : "s");
	}
	json_read_free(root);
	buf_fini(&answer);
}

static int
finish(struct watch *w)
{
	struct buf out;

	if (strcmp(w->progress->state, "done") != 0) {
		erase(w);
		return failed(w);
	}
	draw(w);
	if (!w->cli->quiet && w->cli->output != CLI_JSON) {
		buf_init(&out, MEM_CLI, CLI_TEXT_MAX);
		progress_result(w->progress, &out);
		if (strcmp(w->progress->kind, "deploy") == 0)
			put_urls(w, &out);
		cli_out_buf(&out);
		buf_fini(&out);
	}
	return 0;
}

/* ---- the stream ---- */

static void
feed(struct watch *w, const char *data, size_t bytes)
{
	size_t used;

	while (bytes > 0 && w->status < 0) {
		enum sse_result r = sse_feed(&w->sse, data, bytes, &used);

		data += used;
		bytes -= used;
		if (r == SSE_EVENT) {
			text_copy(w->last_id, sizeof(w->last_id), w->sse.id);
			take(w);
		}
		if (r == SSE_TOO_LONG)
			return;
		if (progress_ended(w->progress) && strcmp(w->sse.event, "result") == 0)
			w->status = finish(w);
	}
}

/* Waits for the stream or the time to redraw; false when the whole time is over. */
static bool
wait_turn(struct watch *w, struct client *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};

	if (w->deadline_mono_ns && world_mono_ns() >= w->deadline_mono_ns)
		return false;
	if (!client_buffered(c) && !interrupted)
		poll(&p, 1, REDRAW_MS);
	if (interrupted)
		on_ctrl_c(w);
	draw(w);
	return true;
}

static bool
there_is_more(struct client *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};

	return client_buffered(c) || poll(&p, 1, 0) > 0;
}

static void
timed_out(struct watch *w)
{
	struct err err;
	char why[ERR_TEXT_BYTES];

	erase(w);
	err = w->progress->trouble;
	err.kind = ERR_TIMEOUT;
	text_copy(why, sizeof(why), err.what);
	text_format(err.what, sizeof(err.what), "%s is still under way%s%s",
		    w->progress->deployment, why[0] ? ": " : "", why);
	if (err.fix[0])
		err_why(&err, "it can be put right: %s", err.fix);
	err_fix(&err, "it goes on in the node: zlayer status %s", w->progress->deployment);
	w->status = err_kind_exit(err.kind);
	tell(w, &err, w->status);
}

/* One connection; true when the operation is over, or nothing can be done. */
static bool
stream(struct watch *w, struct err *err)
{
	char target[64], data[8192];
	struct client c;

	text_format(target, sizeof(target), "/v1/operations/%llu/stream",
		    (unsigned long long)w->operation);
	struct client_request request = {.method = "GET",
					 .target = target,
					 .last_event_id = w->last_id[0] ? w->last_id : NULL};
	int rc = client_open(&c, w->cli, &request, err);
	c.deadline_mono_ns = 0;
	c.no_wait = true;
	while (rc == 0 && w->status < 0) {
		if (!wait_turn(w, &c)) {
			timed_out(w);
			break;
		}
		if (w->status >= 0 || !there_is_more(&c))
			continue;
		long n = client_read(&c, data, sizeof(data), err);
		if (n == CLIENT_LATER || (n < 0 && err->kind == ERR_INTERRUPTED))
			continue;
		if (n <= 0)
			break;
		feed(w, data, (size_t)n);
	}
	client_close(&c);
	return w->status >= 0 || (rc < 0 && err->kind != ERR_UNREACHABLE);
}

static void
pause_ms(long ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	nanosleep(&t, NULL);
}

int
watch_operation(const struct cli *cli, uint64_t operation, const char *what)
{
	static struct progress progress;
	struct sigaction action = {.sa_handler = on_interrupt}, before;
	struct watch w = {.cli = cli, .operation = operation, .progress = &progress, .status = -1};
	struct err err = {0};

	progress_init(&progress, world_wall_ns());
	progress.what = what;
	w.live = cli->terminal_err && !cli->quiet && cli->output != CLI_JSON;
	if (cli->timeout_ms)
		w.deadline_mono_ns = world_mono_ns() + cli->timeout_ms * 1000000;
	sse_init(&w.sse, MEM_CLI, 1 << 20);
	buf_init(&w.lines, MEM_CLI, 1 << 20);
	sigaction(SIGINT, &action, &before);
	for (int tries = 0; tries < RETRIES_MAX; tries++) {
		err_clear(&err);
		if (stream(&w, &err))
			break;
		sse_fini(&w.sse);
		sse_init(&w.sse, MEM_CLI, 1 << 20);
		pause_ms(RETRY_MS);
	}
	sigaction(SIGINT, &before, NULL);
	if (w.status < 0) {
		erase(&w);
		if (!err.kind)
			err_set(&err, ERR_UNREACHABLE, "the node ended the connection");
		w.status = cli_fail(cli, &err);
	}
	sse_fini(&w.sse);
	buf_fini(&w.lines);
	return w.status;
}
