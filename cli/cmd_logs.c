/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `logs`: the node merges the lines of all replicas of a target by time, and goes on with those
 * that come later; here they get their prefix. With several targets the streams are read in turn as
 * they come.
 */
#include "cli/cmd.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/text.h"
#include "base/world.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/target.h"
#include "cli/when.h"
#include "wire/json_read.h"

enum { LINE_MAX_BYTES = 256 << 10 };

struct source {
	struct client client;
	struct buf line;
	bool open;
};

struct logs {
	const struct cli *cli;
	struct err lost;           /* lines that could not be had, of a replica; kind 0: none */
	uint64_t deadline_mono_ns; /* of --timeout; 0: none */
	struct source sources[ARGS_OPERANDS_MAX];
	size_t count;
};

static const char *const palette[] = {"\033[36m", "\033[33m", "\033[32m",
				      "\033[35m", "\033[34m", "\033[96m"};

/* The same replica has the same colour in every run. */
static const char *
colour_of(const char *name)
{
	unsigned sum = 0;

	for (const char *at = name; *at; at++)
		sum = sum * 31 + (unsigned char)*at;
	return palette[sum % (sizeof(palette) / sizeof(palette[0]))];
}

static void
show_text(const struct logs *l, const json_t *line)
{
	const char *name = json_read_text(line, "replica");
	const char *text = json_read_text(line, "text");
	const char *slash = strchr(name, '/');

	name = slash ? slash + 1 : name;
	if (l->cli->colour_out)
		printf("%s%s\033[0m  ", colour_of(name), name);
	else
		printf("%s  ", name);
	if (l->cli->output == CLI_WIDE)
		printf("%s %s  ", json_read_text(line, "ts"), json_read_text(line, "stream"));
	cli_put_text(stdout, l->cli->terminal_out, text);
	fputc('\n', stdout);
}

/* The lines of a replica cannot be had (any more); those of the others go on. */
static void
show_lost(struct logs *l, const json_t *line)
{
	const json_t *lost = json_read_get(line, "lost");
	const char *what = json_read_text(lost, "what");
	const char *why = json_read_string(json_read_at(json_read_array(lost, "why"), 0));
	const char *name = json_read_text(line, "replica");

	if (json_read_bool(lost, "again")) {
		cli_note(l->cli, "%s: %s%s%s (it goes on when that is back)", name, what,
			 why[0] ? ": " : "", why);
		return;
	}
	cli_note(l->cli, "%s: %s%s%s", name, what, why[0] ? ": " : "", why);
	err_set(&l->lost, ERR_UNREACHABLE, "the log is not whole: what %s wrote is missing", name);
	err_why(&l->lost, "%s%s%s", what, why[0] ? ": " : "", why);
	err_fix(&l->lost, "%s", json_read_text(lost, "fix"));
}

/* An NDJSON line; false when it is the node's error. */
static bool
show_line(struct logs *l, struct buf *b, struct err *err)
{
	const char *grep = l->cli->args.value[FLAG_GREP];
	struct err ignored = {0};
	json_t *line = json_read_parse(buf_cstr(b), b->length, &ignored);
	bool good = true;

	if (json_read_get(line, "error")) {
		client_problem(buf_cstr(b), b->length, 500, err);
		good = false;
	} else if (json_read_get(line, "lost")) {
		show_lost(l, line);
	} else if (line && (!grep || strstr(json_read_text(line, "text"), grep))) {
		if (cli_machine(l->cli))
			cli_out_json(l->cli, buf_cstr(b), b->length);
		else
			show_text(l, line);
	}
	json_read_free(line);
	return good;
}

static int
take(struct logs *l, struct source *s, const char *data, size_t bytes, struct err *err)
{
	while (bytes > 0) {
		const char *end = memchr(data, '\n', bytes);
		size_t part = end ? (size_t)(end - data) : bytes;

		buf_put(&s->line, data, part);
		if (!buf_ok(&s->line))
			return err_set(err, ERR_LIMIT, "a line of the log is too long");
		if (!end)
			return 0;
		if (!show_line(l, &s->line, err))
			return -1;
		buf_reset(&s->line);
		data += part + 1;
		bytes -= part + 1;
	}
	return 0;
}

static int
read_source(struct logs *l, struct source *s, struct err *err)
{
	char data[32 << 10];

	do {
		long n = client_read(&s->client, data, sizeof(data), err);

		if (n == CLIENT_LATER)
			return 0;
		if (n < 0)
			return -1;
		if (n == 0) {
			s->open = false;
			return 0;
		}
		if (take(l, s, data, (size_t)n, err) < 0)
			return -1;
	} while (client_buffered(&s->client) && !s->client.ended);
	return 0;
}

/* For poll(2): -1 without an end. -2 with err: the time is over. */
static int
time_left_ms(const struct logs *l, struct err *err)
{
	enum { HOUR_MS = 3600000 };

	if (!l->deadline_mono_ns)
		return -1;
	uint64_t now = world_mono_ns();
	if (now >= l->deadline_mono_ns) {
		err_set(err, ERR_TIMEOUT, "the time of --timeout is over");
		return -2;
	}
	uint64_t left = (l->deadline_mono_ns - now) / 1000000 + 1;
	return left > HOUR_MS ? HOUR_MS : (int)left;
}

static int
turn(struct logs *l, bool *any, struct err *err)
{
	struct pollfd p[ARGS_OPERANDS_MAX + 1];
	bool ready = false;

	*any = false;
	for (size_t i = 0; i < l->count; i++) {
		const struct source *s = &l->sources[i];

		p[i] = (struct pollfd){.fd = s->open ? s->client.fd : -1, .events = POLLIN};
		*any = *any || s->open;
		ready = ready || (s->open && client_buffered(&s->client));
	}
	if (!*any)
		return 0;
	if (cli_flush(err) < 0)
		return -1;
	/* A reader that leaves is noticed when it does, not at the next line. */
	p[l->count] = (struct pollfd){.fd = STDOUT_FILENO};
	int left_ms = time_left_ms(l, err);
	if (left_ms < -1)
		return -1;
	if (poll(p, l->count + 1, ready ? 0 : left_ms) < 0 && errno != EINTR)
		return err_sys(err, errno, "cannot wait for the node");
	if (p[l->count].revents & POLLERR)
		_exit(0);
	for (size_t i = 0; i < l->count; i++) {
		struct source *s = &l->sources[i];

		if (s->open && (p[i].revents || client_buffered(&s->client)) &&
		    read_source(l, s, err) < 0)
			return -1;
	}
	return 0;
}

static int
put_times(const struct cli *cli, struct buf *target, struct err *err)
{
	static const struct {
		enum table_flag_id flag;
		const char *name;
	} times[] = {{FLAG_SINCE, "since"}, {FLAG_UNTIL, "until"}};

	int64_t at[2] = {0, INT64_MAX};

	for (size_t i = 0; i < 2; i++) {
		char text[40];

		if (!cli->args.given[times[i].flag])
			continue;
		if (when_parse(cli->args.value[times[i].flag], world_wall_ns(), &at[i], err) < 0)
			return -1;
		text_time(at[i], 9, text, sizeof(text));
		buf_printf(target, "&%s=%s", times[i].name, text);
	}
	if (at[0] >= at[1])
		return err_set(err, ERR_USAGE, "--since is not before --until: no line is between");
	return 0;
}

static int
put_target(const struct cli *cli, const char *operand, struct buf *out, struct err *err)
{
	const char *lines = cli->args.value[FLAG_LINES];
	char text[TARGET_TEXT_BYTES];
	struct target t;
	uint64_t n;

	if (lines && !text_u64(lines, 1000000, &n))
		return err_set(err, ERR_USAGE, "-n needs a number of lines, not \"%s\"", lines);
	if (target_resolve(cli, operand, &t, err) < 0)
		return -1;
	target_text(&t, text);
	buf_printf(out, "/v1/logs?target=%s&follow=%s", text,
		   cli->args.given[FLAG_FOLLOW] ? "true" : "false");
	if (lines)
		buf_printf(out, "&tail=%s", lines);
	if (cli->args.given[FLAG_PREVIOUS])
		buf_puts(out, "&previous=true");
	return put_times(cli, out, err);
}

static int
open_source(const struct cli *cli, const char *operand, struct source *s, struct err *err)
{
	struct buf target;

	buf_init(&s->line, MEM_CLI, LINE_MAX_BYTES);
	buf_init(&target, MEM_CLI, 4096);
	s->client.fd = -1;
	int rc = put_target(cli, operand, &target, err);
	if (rc == 0) {
		rc = client_open(
			&s->client, cli,
			&(struct client_request){.method = "GET", .target = buf_cstr(&target)},
			err);
		s->open = rc == 0;
		s->client.no_wait = true;
	}
	buf_fini(&target);
	return rc;
}

int
cmd_logs(struct cli *cli)
{
	static struct logs logs;
	struct err err = {0};
	bool any = true;
	int rc = 0;

	if (cli->args.operands_count == 0) {
		err_set(&err, ERR_USAGE, "zlayer logs needs a target");
		err_fix(&err, "for example: zlayer logs my-app, or zlayer logs my-app/web -f");
		return cli_fail(cli, &err);
	}
	logs.cli = cli;
	if (cli->timeout_ms)
		logs.deadline_mono_ns = world_mono_ns() + cli->timeout_ms * 1000000;
	for (; rc == 0 && logs.count < cli->args.operands_count; logs.count++)
		rc = open_source(cli, cli->args.operands[logs.count], &logs.sources[logs.count],
				 &err);
	while (rc == 0 && any)
		rc = turn(&logs, &any, &err);
	if (rc == 0 && logs.lost.kind) {
		err = logs.lost;
		rc = -1;
	}
	for (size_t i = 0; i < logs.count; i++) {
		client_close(&logs.sources[i].client);
		buf_fini(&logs.sources[i].line);
	}
	return rc < 0 ? cli_fail(cli, &err) : 0;
}
