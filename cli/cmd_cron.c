/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cron`: services of rtype `cron`. Their runs are those of `job ls`, and `cron trigger` is `job
 * run`: here is when they run, and whether they do.
 */
#include "cli/cmd.h"

#include <stdio.h>
#include <string.h>
#include "base/text.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/grid.h"
#include "cli/target.h"
#include "wire/json_read.h"

/* "ok", "failed (3)", "passed (overlaps)", "lost"; "" when it has not run. */
static void
put_result(struct grid *g, const json_t *firing)
{
	const char *state = json_read_text(firing, "state");
	bool good = strcmp(state, "ok") == 0, passed = strcmp(state, "passed") == 0;

	if (strcmp(state, "failed") == 0 && json_read_int(firing, "exit_signal"))
		grid_put(g, GRID_RED, "failed (%d)",
			 128 + (int)json_read_int(firing, "exit_signal"));
	else if (strcmp(state, "failed") == 0 && json_read_int(firing, "exit_status"))
		grid_put(g, GRID_RED, "failed (%d)", (int)json_read_int(firing, "exit_status"));
	else if (passed)
		grid_put(g, GRID_YELLOW, "passed (%s)", json_read_text(firing, "reason"));
	else
		grid_put(g,
			 good                                                         ? GRID_GREEN
			 : strcmp(state, "lost") == 0 || strcmp(state, "failed") == 0 ? GRID_RED
										      : GRID_PLAIN,
			 "%s", state);
}

static void
put_cron(struct grid *g, const json_t *s)
{
	const json_t *cron = json_read_get(s, "cron");
	const json_t *last = json_read_at(json_read_array(cron, "firings"), 0);
	const char *state = json_read_text(cron, "state");

	grid_put(g, GRID_PLAIN, "%s/%s", json_read_text(s, "deployment"),
		 json_read_text(s, "name"));
	grid_put(g, GRID_PLAIN, "%s", json_read_text(cron, "schedule"));
	grid_put(g, strcmp(state, "waiting") == 0 ? GRID_PLAIN : GRID_YELLOW, "%s", state);
	grid_put(g, GRID_PLAIN, "%.19s", json_read_text(cron, "next"));
	grid_put(g, GRID_PLAIN, "%.19s", json_read_text(last, "at"));
	put_result(g, last);
}

static void
print(const struct cli *cli, const json_t *root)
{
	const json_t *items = json_read_array(root, "items");
	struct grid g;
	struct buf out;

	buf_init(&out, MEM_CLI, CLI_TEXT_MAX);
	grid_init(&g, "CRON|SCHEDULE (UTC)|STATE|NEXT|LAST|RESULT");
	for (size_t i = 0; i < json_read_count(items); i++)
		put_cron(&g, json_read_at(items, i));
	grid_print(&g, cli->colour_out, &out);
	grid_fini(&g);
	cli_out_buf(&out);
	buf_fini(&out);
}

static int
list(const struct cli *cli, const struct target *t, struct err *err)
{
	char path[256];
	struct buf answer;
	json_t *root = NULL;
	int rc = -1;

	text_format(path, sizeof(path), "/v1/crons%s%s%s%s", t->deployment[0] ? "?deployment=" : "",
		    t->deployment, t->service[0] ? "&service=" : "", t->service);
	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	if (client_get(cli, path, &answer, err) == 0)
		root = json_read_parse(buf_cstr(&answer), answer.length, err);
	if (root && t->service[0] && !json_read_count(json_read_array(root, "items"))) {
		err_set(err, ERR_USAGE, "%s/%s is not a cron", t->deployment, t->service);
	} else if (root) {
		rc = 0;
		if (cli_machine(cli))
			rc = cli_out_json(cli, buf_cstr(&answer), answer.length);
		else
			print(cli, root);
	}
	json_read_free(root);
	buf_fini(&answer);
	return rc;
}

int
cmd_cron_ls(struct cli *cli)
{
	struct err err = {0};
	struct target t = {0};

	if (cli->args.operands_count && target_resolve(cli, cli->args.operands[0], &t, &err) < 0)
		return cli_fail(cli, &err);
	int rc = list(cli, &t, &err);
	return rc < 0 ? cli_fail(cli, &err) : rc;
}

static int
turn(struct cli *cli, const char *verb)
{
	char text[TARGET_TEXT_BYTES], path[256];
	struct err err = {0};
	struct target t;
	struct buf answer;
	int status = 0;

	if (target_resolve(cli, cli->args.operands[0], &t, &err) < 0)
		return cli_fail(cli, &err);
	if (!t.service[0] || t.index) {
		err_set(&err, ERR_USAGE, "\"%s\" is not a cron", cli->args.operands[0]);
		err_fix(&err, "write DEPLOYMENT/SERVICE: zlayer cron ls shows them");
		return cli_fail(cli, &err);
	}
	target_text(&t, text);
	text_format(path, sizeof(path), "/v1/crons/%s/%s", text, verb);
	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	json_t *root = NULL;
	if (client_call(cli, &(struct client_request){.method = "POST", .target = path}, &answer,
			&err) < 0 ||
	    !(root = json_read_parse(buf_cstr(&answer), answer.length, &err)))
		status = cli_fail(cli, &err);
	else if (cli_machine(cli))
		status = cli_out_json(cli, buf_cstr(&answer), answer.length);
	else if (!cli->quiet)
		printf("%s %s %sd.\n", text,
		       json_read_bool(root, "unchanged") ? "was already" : "is", verb);
	json_read_free(root);
	buf_fini(&answer);
	return status;
}

int
cmd_cron_enable(struct cli *cli)
{
	return turn(cli, "enable");
}

int
cmd_cron_disable(struct cli *cli)
{
	return turn(cli, "disable");
}
