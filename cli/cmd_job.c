/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `job`: runs of services whose rtype is `job` or `cron`. A run is a replica that ends; the node
 * keeps the last ones of each job, with their output and how they ended. `job run` is
 * cmd_job_run.c.
 */
#include "cli/cmd.h"

#include <stdio.h>
#include <string.h>
#include "base/text.h"
#include "base/world.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/grid.h"
#include "cli/job.h"
#include "cli/target.h"
#include "wire/json_read.h"

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
	if (job_is_over(r) && job_status_is_known(r))
		text_format(status, sizeof(status), "%d", job_status(r));
	grid_put(g, GRID_PLAIN, "%s", json_read_text(r, "name"));
	grid_put(g, GRID_PLAIN, "%s", job_state(r));
	grid_put(g, strcmp(status, "0") == 0 || !status[0] ? GRID_PLAIN : GRID_RED, "%s", status);
	grid_put(g, GRID_PLAIN, "%lld", (long long)json_read_int(r, "revision"));
	grid_put(g, GRID_PLAIN, "%.19s", json_read_text(r, "created"));
	grid_put(g, GRID_PLAIN, "%s", took);
}

/* A service that is none has no runs: no empty list for it. */
static int
check_job(const struct cli *cli, const struct target *t, struct err *err)
{
	char path[256];
	struct buf answer;

	if (!t->service[0])
		return 0;
	text_format(path, sizeof(path), "/v1/services/%s/%s", t->deployment, t->service);
	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	json_t *root = client_get(cli, path, &answer, err) == 0
			       ? json_read_parse(buf_cstr(&answer), answer.length, err)
			       : NULL;
	bool job = job_has_runs(root);
	int rc = !root ? -1
		 : job ? 0
		       : err_set(err, ERR_USAGE, "%s/%s is not a job", t->deployment, t->service);
	json_read_free(root);
	buf_fini(&answer);
	return rc;
}

int
cmd_job_ls(struct cli *cli)
{
	char text[TARGET_TEXT_BYTES] = "", target[256];
	struct err err = {0};
	struct target t = {0};
	struct buf answer, out;
	struct grid g;

	if (cli->args.operands_count && (target_resolve(cli, cli->args.operands[0], &t, &err) < 0 ||
					 check_job(cli, &t, &err) < 0))
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
