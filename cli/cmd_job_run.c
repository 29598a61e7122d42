/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `job run`: starts a run and stays with it. What it writes comes as it is written, standard output
 * and standard error to ours, without names in front; its exit status is ours. A connection that
 * breaks is opened again behind the last line: the run is the node's and does not notice.
 * SIGINT and SIGTERM stop the run, once, and its last words are waited for; a second one leaves at
 * once. When only the terminal goes (SIGHUP), or --timeout is over, the run goes on.
 */
#include "cli/cmd.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"
#include "base/world.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/job.h"
#include "cli/target.h"
#include "spec/json.h"
#include "wire/json_read.h"

enum {
	TURN_MS = 200,
	LINE_MAX_BYTES = 256 << 10,
	NAME_BYTES = 160,
	MISSES_MAX = 150, /* turns without an answer: half a minute */
	INTERRUPTED = 130,
};

struct run {
	const struct cli *cli;
	struct target target;
	uint64_t id;
	char name[NAME_BYTES];
	struct buf line;
	char last[40]; /* time of the last line that was shown, and how many had it */
	size_t same, passed;
	uint64_t deadline_mono_ns; /* 0: none */
	int signals;
	bool interrupted, stopped, timed_out;
};

/* ---- begin ---- */

static void
put_args(const struct args *args, struct buf *out)
{
	struct json j;

	json_init(&j, out);
	json_object(&j, NULL);
	json_array(&j, "args");
	for (size_t i = 0; i < args->rest_count; i++)
		json_text(&j, NULL, args->rest[i]);
	json_end(&j);
	json_end(&j);
}

static int
start(struct run *r, struct buf *answer, struct err *err)
{
	const struct args *args = &r->cli->args;
	char text[TARGET_TEXT_BYTES], path[256];
	struct buf body;

	if (target_resolve(r->cli, args->operands[0], &r->target, err) < 0)
		return -1;
	if (!r->target.service[0] || r->target.index) {
		err_set(err, ERR_USAGE, "\"%s\" is not a job", args->operands[0]);
		return err_fix(err, "write DEPLOYMENT/SERVICE");
	}
	target_text(&r->target, text);
	text_format(path, sizeof(path), "/v1/jobs/%s/run", text);
	buf_init(&body, MEM_CLI, CLI_TEXT_MAX);
	if (args->rest_count > 0)
		put_args(args, &body);
	int rc = client_call(r->cli,
			     &(struct client_request){
				     .method = "POST",
				     .target = path,
				     .content_type = body.length ? "application/json" : NULL,
				     .body = body.data,
				     .body_bytes = body.length,
			     },
			     answer, err);
	buf_fini(&body);
	json_t *root = rc == 0 ? json_read_parse(buf_cstr(answer), answer->length, err) : NULL;
	if (!root)
		return -1;
	r->id = (uint64_t)json_read_int(root, "replica");
	text_copy(r->name, sizeof(r->name), json_read_text(root, "name"));
	json_read_free(root);
	/* The run's own number, to stop it by. */
	struct err ignored = {0};
	struct target run;
	if (target_parse(r->name, &run, &ignored) == 0)
		r->target.index = run.index;
	return 0;
}

/* ---- what it writes ---- */

/* Whether the line was shown before the connection broke. */
static bool
is_known(struct run *r, const char *ts)
{
	if (strcmp(ts, r->last) == 0 && r->passed < r->same) {
		r->passed++;
		return true;
	}
	if (strcmp(ts, r->last) != 0) {
		text_copy(r->last, sizeof(r->last), ts);
		r->same = 0;
	}
	r->passed = ++r->same;
	return false;
}

static void
show(struct run *r, const json_t *line)
{
	bool to_err = strcmp(json_read_text(line, "stream"), "stderr") == 0;
	FILE *to = to_err ? stderr : stdout;

	cli_put_text(to, to_err ? r->cli->terminal_err : r->cli->terminal_out,
		     json_read_text(line, "text"));
	if (!json_read_bool(line, "cut"))
		fputc('\n', to);
}

static int
take_line(struct run *r, struct err *err)
{
	json_t *line = json_read_parse(buf_cstr(&r->line), r->line.length, err);
	int rc = line ? 0 : -1;

	if (json_read_get(line, "error")) {
		client_problem(buf_cstr(&r->line), r->line.length, 500, err);
		rc = -1;
	} else if (line && !is_known(r, json_read_text(line, "ts"))) {
		if (cli_machine(r->cli))
			cli_out_json(r->cli, buf_cstr(&r->line), r->line.length);
		else
			show(r, line);
	}
	json_read_free(line);
	buf_reset(&r->line);
	return rc;
}

static int
take(struct run *r, const char *data, size_t bytes, struct err *err)
{
	while (bytes > 0) {
		const char *end = memchr(data, '\n', bytes);
		size_t part = end ? (size_t)(end - data) : bytes;

		buf_put(&r->line, data, part);
		if (!buf_ok(&r->line))
			return err_set(err, ERR_LIMIT, "a line of the log is too long");
		if (!end)
			return 0;
		if (take_line(r, err) < 0)
			return -1;
		data += part + 1;
		bytes -= part + 1;
	}
	return 0;
}

/* ---- waiting ---- */

/* Stops the run; one that another change is in the way of is asked again, turn by turn. */
static void
stop(struct run *r)
{
	struct cli cli = *r->cli;
	struct err err = {0};
	struct buf body, answer;
	char path[256];

	cli.timeout_ms = 5000;
	text_format(path, sizeof(path), "/v1/deployments/%s/stop", r->target.deployment);
	buf_init(&body, MEM_CLI, 4096);
	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	buf_printf(&body, "{\"service\":\"%s\",\"index\":%u}", r->target.service, r->target.index);
	r->stopped = client_call(&cli,
				 &(struct client_request){
					 .method = "POST",
					 .target = path,
					 .content_type = "application/json",
					 .body = body.data,
					 .body_bytes = body.length,
				 },
				 &answer, &err) == 0;
	buf_fini(&body);
	buf_fini(&answer);
}

/* False when a second signal wants to leave at once. */
static bool
take_signal(struct run *r)
{
	struct signalfd_siginfo info;

	if (read(r->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return true;
	if (r->interrupted)
		return false;
	r->interrupted = true;
	cli_note(r->cli, "%s is being stopped; once more to leave it", r->name);
	return true;
}

/* Waits for bytes (fd -1: for the next try), a signal or the end of the time. False: leave. */
static bool
wait_turn(struct run *r, int fd)
{
	struct pollfd p[3] = {
		{.fd = fd, .events = POLLIN},
		{.fd = r->signals, .events = POLLIN},
		/* A reader that leaves is noticed when it does, not at the next line. */
		{.fd = STDOUT_FILENO},
	};

	if (r->deadline_mono_ns && world_mono_ns() >= r->deadline_mono_ns) {
		r->timed_out = true;
		return false;
	}
	if (poll(p, 3, TURN_MS) < 0)
		return errno == EINTR;
	if (p[2].revents & POLLERR)
		_exit(0);
	if (p[1].revents && !take_signal(r))
		return false;
	if (r->interrupted && !r->stopped)
		stop(r);
	return true;
}

/* One connection to its end: 0 when the node ended it, 1 to leave, -1 with err. */
static int
read_log(struct run *r, struct client *c, struct err *err)
{
	char data[32 << 10];

	for (;;) {
		long n = client_read(c, data, sizeof(data), err);

		if (n == 0)
			return cli_flush(err);
		if (n < 0 && n != CLIENT_LATER)
			return -1;
		if (n > 0 && take(r, data, (size_t)n, err) < 0)
			return -1;
		if (n > 0 && client_buffered(c))
			continue;
		if (cli_flush(err) < 0)
			return -1;
		if (!wait_turn(r, c->fd))
			return 1;
	}
}

static int
follow(struct run *r, struct err *err)
{
	struct cli cli = *r->cli;
	char path[160];
	struct client c;

	cli.timeout_ms = 0;
	text_format(path, sizeof(path), "/v1/replicas/%llu/logs?follow=true%s%s",
		    (unsigned long long)r->id, r->last[0] ? "&since=" : "", r->last);
	buf_reset(&r->line);
	r->passed = 0;
	int rc = client_open(&c, &cli, &(struct client_request){.method = "GET", .target = path},
			     err);
	if (rc == 0) {
		c.deadline_mono_ns = 0;
		c.no_wait = true;
		rc = read_log(r, &c, err);
	}
	client_close(&c);
	return rc;
}

/* The run as it is; NULL with err. */
static json_t *
look(const struct run *r, struct err *err)
{
	struct cli cli = *r->cli;
	char path[64];
	struct buf answer;
	json_t *root = NULL;

	cli.timeout_ms = 10000;
	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	text_format(path, sizeof(path), "/v1/replicas/%llu", (unsigned long long)r->id);
	if (client_get(&cli, path, &answer, err) == 0)
		root = json_read_parse(buf_cstr(&answer), answer.length, err);
	buf_fini(&answer);
	return root;
}

/* Until it is over and all that it wrote was shown. The run as it ended, or NULL: with err, or
 * because it is left. */
static json_t *
stay(struct run *r, struct err *err)
{
	unsigned misses = 0;

	for (;;) {
		err_clear(err);
		int rc = follow(r, err);
		if (rc > 0)
			return NULL;
		/* Before its container there is no log; after it, none that could be missing. */
		bool whole = rc == 0 || err->kind == ERR_NOT_FOUND;
		if (!whole && err->kind != ERR_UNREACHABLE && err->kind != ERR_TIMEOUT)
			return NULL;
		err_clear(err);
		json_t *now = look(r, err);
		if (now && whole && job_is_over(now))
			return now;
		bool gone = !now && err->kind == ERR_NOT_FOUND;
		misses = now ? 0 : misses + 1;
		json_read_free(now);
		if (gone || misses > MISSES_MAX)
			return NULL;
		if (!wait_turn(r, -1))
			return NULL;
	}
}

/* ---- end ---- */

/* Why it did not come to run, or to its own end. */
static void
explain(const struct cli *cli, const json_t *run, int status)
{
	const json_t *reason = json_read_get(run, "reason");
	const json_t *why = json_read_array(reason, "why");
	struct err err = {0};

	if (!json_read_text(reason, "what")[0])
		return;
	err_set(&err, ERR_INTERNAL, "%s", json_read_text(reason, "what"));
	err.kind = err_kind_of_name(json_read_text(reason, "kind"));
	for (size_t i = 0; i < json_read_count(why); i++)
		err_why(&err, "%s", json_read_string(json_read_at(why, i)));
	if (json_read_text(reason, "fix")[0])
		err_fix(&err, "%s", json_read_text(reason, "fix"));
	cli_fail_with(cli, &err, status, NULL, NULL);
}

static int
finish(struct run *r, json_t *end, struct err *err)
{
	int status;

	if (end) {
		status = job_status(end);
		if (!r->interrupted && job_failed_by_node(end))
			explain(r->cli, end, status);
	} else if (r->timed_out) {
		err_set(err, ERR_TIMEOUT, "%s has not ended in time", r->name);
		err_fix(err, "it goes on in the node: zlayer job logs %s -f, zlayer job cancel %s",
			r->name, r->name);
		status = cli_fail(r->cli, err);
	} else if (r->interrupted) {
		status = INTERRUPTED;
	} else {
		status = cli_fail(r->cli, err);
	}
	json_read_free(end);
	return r->interrupted ? INTERRUPTED : status;
}

static void
begin_signals(struct run *r)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	r->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int
cmd_job_run(struct cli *cli)
{
	struct run r = {.cli = cli, .signals = -1};
	struct err err = {0};
	struct buf answer;
	int status = 0;

	if (cli->timeout_ms)
		r.deadline_mono_ns = world_mono_ns() + cli->timeout_ms * 1000000;
	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	buf_init(&r.line, MEM_CLI, LINE_MAX_BYTES);
	if (start(&r, &answer, &err) < 0) {
		status = cli_fail(cli, &err);
	} else if (!cli->args.given[FLAG_DETACH]) {
		cli_note(cli, "%s", r.name);
		begin_signals(&r);
		json_t *end = stay(&r, &err);
		status = finish(&r, end, &err);
	} else if (cli_machine(cli)) {
		status = cli_out_json(cli, buf_cstr(&answer), answer.length);
	} else {
		printf("%s\n", r.name);
	}
	fd_close(&r.signals);
	buf_fini(&answer);
	buf_fini(&r.line);
	return status;
}
