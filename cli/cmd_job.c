/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `job`: runs of services whose rtype is `job`. A run is a replica that ends; the node keeps the
 * last ones of each job, with their output and how they ended. `job run` ends as the command did.
 */
#include "cli/cmd.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/text.h"
#include "base/world.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/grid.h"
#include "cli/target.h"
#include "wire/json_read.h"

enum { TURN_MS = 200, OWN_FAILURE = 125, SIGNALLED = 128, NAME_BYTES = 160 };

static bool
is_over(const json_t *replica)
{
	const char *state = json_read_text(replica, "state");

	return strcmp(state, "stopped") == 0 || strcmp(state, "failed") == 0;
}

/* As env(1): the command's own, 128 + n on a signal, 125 when it could not be run. */
static int
status_of(const json_t *replica)
{
	const json_t *c = json_read_get(replica, "container");
	const json_t *status = json_read_get(c, "exit_status");

	if (json_read_int(c, "exit_signal"))
		return SIGNALLED + (int)json_read_int(c, "exit_signal");
	if (json_read_text(json_read_get(replica, "reason"), "what")[0] &&
	    !json_read_int(c, "exit_status"))
		return OWN_FAILURE;
	return status ? (int)json_read_int(c, "exit_status") : OWN_FAILURE;
}

/* Waits for the end of a run: its status, or -1 with err. */
static int
wait_for(const struct cli *cli, uint64_t id, struct err *err)
{
	const struct timespec turn = {.tv_nsec = TURN_MS * 1000000L};
	uint64_t limit = cli->timeout_ms ? world_mono_ns() + cli->timeout_ms * 1000000 : 0;
	char target[64];

	text_format(target, sizeof(target), "/v1/replicas/%llu", (unsigned long long)id);
	for (;;) {
		struct buf answer;
		int status = -1;

		buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
		json_t *r = client_get(cli, target, &answer, err) == 0
				    ? json_read_parse(buf_cstr(&answer), answer.length, err)
				    : NULL;
		if (r && is_over(r))
			status = status_of(r);
		bool gone = !r && err->kind != ERR_UNREACHABLE;
		json_read_free(r);
		buf_fini(&answer);
		if (status >= 0 || gone)
			return status;
		if (limit && world_mono_ns() >= limit)
			return err_set(err, ERR_TIMEOUT, "the run goes on in the node");
		err_clear(err);
		nanosleep(&turn, NULL);
	}
}

int
cmd_job_run(struct cli *cli)
{
	char text[TARGET_TEXT_BYTES], target[256], name[NAME_BYTES];
	struct err err = {0};
	struct target t;
	struct buf answer;

	if (target_resolve(cli, cli->args.operands[0], &t, &err) < 0)
		return cli_fail(cli, &err);
	if (!t.service[0] || t.index) {
		err_set(&err, ERR_USAGE, "\"%s\" is not a job", cli->args.operands[0]);
		err_fix(&err, "write DEPLOYMENT/SERVICE");
		return cli_fail(cli, &err);
	}
	target_text(&t, text);
	text_format(target, sizeof(target), "/v1/jobs/%s/run", text);
	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	json_t *root = NULL;
	if (client_call(cli, &(struct client_request){.method = "POST", .target = target}, &answer,
			&err) == 0)
		root = json_read_parse(buf_cstr(&answer), answer.length, &err);
	uint64_t id = (uint64_t)json_read_int(root, "replica");
	text_copy(name, sizeof(name), json_read_text(root, "name"));
	if (!root) {
		buf_fini(&answer);
		return cli_fail(cli, &err);
	}
	int status = 0;
	if (cli->args.given[FLAG_DETACH] && cli_machine(cli))
		status = cli_out_json(cli, buf_cstr(&answer), answer.length);
	else if (cli->args.given[FLAG_DETACH])
		printf("%s\n", name);
	json_read_free(root);
	buf_fini(&answer);
	if (cli->args.given[FLAG_DETACH])
		return status;
	cli_note(cli, "%s", name);
	status = wait_for(cli, id, &err);
	if (status < 0)
		return cli_fail(cli, &err);
	cli->args.operands[0] = name;
	cli->args.operands_count = 1;
	cmd_logs(cli);
	return status;
}

/* ---- the list ---- */

static void
put_run(struct grid *g, const json_t *r)
{
	const json_t *c = json_read_get(r, "container");
	int64_t from = 0, to = world_wall_ns();
	char took[32] = "", status[32] = "";

	if (text_untime(json_read_text(c, "started"), &from)) {
		text_untime(json_read_text(c, "exited"), &to);
		text_human_duration(to > from ? (uint64_t)(to - from) / 1000000 : 0, took,
				    sizeof(took));
	}
	if (is_over(r))
		text_format(status, sizeof(status), "%d", status_of(r));
	grid_put(g, GRID_PLAIN, "%s", json_read_text(r, "name"));
	grid_put(g, GRID_PLAIN, "%s", is_over(r) ? "ended" : json_read_text(r, "state"));
	grid_put(g, strcmp(status, "0") == 0 || !status[0] ? GRID_PLAIN : GRID_RED, "%s", status);
	grid_put(g, GRID_PLAIN, "%lld", (long long)json_read_int(r, "revision"));
	grid_put(g, GRID_PLAIN, "%.19s", json_read_text(r, "created"));
	grid_put(g, GRID_PLAIN, "%s", took);
}

int
cmd_job_ls(struct cli *cli)
{
	char text[TARGET_TEXT_BYTES] = "", target[256];
	struct err err = {0};
	struct target t = {0};
	struct buf answer, out;
	struct grid g;

	if (cli->args.operands_count && target_resolve(cli, cli->args.operands[0], &t, &err) < 0)
		return cli_fail(cli, &err);
	if (t.deployment[0])
		target_text(&t, text);
	text_format(target, sizeof(target), "/v1/replicas?job=true%s%s", text[0] ? "&target=" : "",
		    text);
	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	json_t *root = NULL;
	int status = 0;
	if (client_get(cli, target, &answer, &err) < 0 ||
	    !(root = json_read_parse(buf_cstr(&answer), answer.length, &err))) {
		status = cli_fail(cli, &err);
	} else if (cli_machine(cli)) {
		status = cli_out_json(cli, buf_cstr(&answer), answer.length);
	} else {
		const json_t *items = json_read_array(root, "items");

		buf_init(&out, MEM_CLI, CLI_TEXT_MAX);
		grid_init(&g, "RUN|STATE|STATUS|REV|CREATED|TOOK");
		for (size_t i = 0; i < json_read_count(items); i++)
			put_run(&g, json_read_at(items, i));
		grid_print(&g, cli->colour_out, &out);
		grid_fini(&g);
		cli_out_buf(&out);
		buf_fini(&out);
	}
	json_read_free(root);
	buf_fini(&answer);
	return status;
}

int
cmd_job_cancel(struct cli *cli)
{
	struct err err = {0};
	struct target t;

	if (target_resolve(cli, cli->args.operands[0], &t, &err) < 0)
		return cli_fail(cli, &err);
	if (!t.index) {
		err_set(&err, ERR_USAGE, "\"%s\" is not a run", cli->args.operands[0]);
		err_fix(&err, "write DEPLOYMENT/SERVICE.N: zlayer job ls shows them");
		return cli_fail(cli, &err);
	}
	return cmd_stop(cli);
}
