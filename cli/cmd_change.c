/* SPDX-License-Identifier: Apache-2.0 */
/* `scale`, `stop`, `start`, `restart`, `rollout`, `rm`: one request each, then the operation is
 * followed to its end. */
#include "cli/cmd.h"

#include <stdio.h>
#include <string.h>
#include "base/text.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/target.h"
#include "cli/watch.h"
#include "spec/doc.h"
#include "spec/json.h"
#include "wire/json_read.h"

/* Sends it and follows the operation; `nothing` is said when there was nothing to do. */
static int
change(const struct cli *cli, const char *method, const char *path, const struct buf *body,
       const char *what, const char *nothing)
{
	struct err err = {0};
	struct buf answer;
	struct client_request request = {.method = method, .target = path};
	int status = 0;

	if (body) {
		request.content_type = "application/json";
		request.body = body->data;
		request.body_bytes = body->length;
	}
	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	json_t *root = NULL;
	if (client_call(cli, &request, &answer, &err) < 0 ||
	    !(root = json_read_parse(buf_cstr(&answer), answer.length, &err))) {
		status = cli_fail(cli, &err);
	} else {
		uint64_t operation = (uint64_t)json_read_int(root, "operation");
		bool follow = operation && !cli->args.given[FLAG_DETACH];

		if (cli_machine(cli) && !(follow && cli->output == CLI_JSON))
			status = cli_out_json(cli, buf_cstr(&answer), answer.length);
		else if (!operation && !cli->quiet && !cli_machine(cli))
			printf("%s %s.\n", what, nothing);
		if (follow)
			status = watch_operation(cli, operation, what);
	}
	json_read_free(root);
	buf_fini(&answer);
	return status;
}

int
cmd_scale(struct cli *cli)
{
	char text[TARGET_TEXT_BYTES], path[256];
	const char *operand = cli->args.operands[0];
	const char *equals = strchr(operand, '=');
	size_t target = equals ? (size_t)(equals - operand) : strlen(operand);
	const char *number = equals ? equals + 1 : "";
	struct err err = {0};
	struct target t;
	struct buf body;
	struct json j;
	uint64_t n;

	if (cli->args.operands_count == 2) /* "web 3", as others write it */
		number = equals ? "" : cli->args.operands[1];
	if (!text_u64(number, DOC_REPLICAS_MAX, &n)) {
		err_set(&err, ERR_USAGE, "\"%s\" does not say how many", operand);
		err_why(&err, "behind the target stands a number from 0 to %d", DOC_REPLICAS_MAX);
		err_fix(&err, "for example: zlayer scale my-app/web=3");
		return cli_fail(cli, &err);
	}
	text_ncopy(text, sizeof(text), operand, target);
	if (target_resolve(cli, text, &t, &err) < 0)
		return cli_fail(cli, &err);
	if (!t.service[0] || t.index) {
		err_set(&err, ERR_USAGE, "only a service can be scaled, \"%s\" is not one", text);
		err_fix(&err, "write DEPLOYMENT/SERVICE=N");
		return cli_fail(cli, &err);
	}
	buf_init(&body, MEM_CLI, 4096);
	json_init(&j, &body);
	json_object(&j, NULL);
	json_u64(&j, "replicas", n);
	json_bool(&j, "force", cli->args.given[FLAG_FORCE]);
	json_end(&j);
	target_text(&t, text);
	text_format(path, sizeof(path), "/v1/services/%s", text);
	int status = change(cli, "PATCH", path, &body, text, "has that many already");
	buf_fini(&body);
	return status;
}

static int
stop_or_start(struct cli *cli, const char *verb, const char *nothing)
{
	char text[TARGET_TEXT_BYTES], path[256];
	const char *grace = cli->args.value[FLAG_GRACE];
	struct err err = {0};
	struct target t;
	struct buf body;
	struct json j;
	uint64_t ms = 0;

	if (grace && text_duration_ms(grace, &ms) != TEXT_OK) {
		err_set(&err, ERR_USAGE, "\"%s\" is not a duration", grace);
		err_fix(&err, "for example -t 30s");
		return cli_fail(cli, &err);
	}
	if (target_resolve(cli, cli->args.operands[0], &t, &err) < 0)
		return cli_fail(cli, &err);
	buf_init(&body, MEM_CLI, 4096);
	json_init(&j, &body);
	json_object(&j, NULL);
	if (t.service[0])
		json_text(&j, "service", t.service);
	if (t.index)
		json_u64(&j, "index", t.index);
	if (grace)
		json_u64(&j, "grace_ms", ms);
	json_end(&j);
	text_format(path, sizeof(path), "/v1/deployments/%s/%s", t.deployment, verb);
	target_text(&t, text);
	int status = change(cli, "POST", path, &body, text, nothing);
	buf_fini(&body);
	return status;
}

int
cmd_stop(struct cli *cli)
{
	return stop_or_start(cli, "stop", "was stopped before");
}

int
cmd_start(struct cli *cli)
{
	return stop_or_start(cli, "start", "runs already");
}

int
cmd_restart(struct cli *cli)
{
	return stop_or_start(cli, "restart", "has nothing to restart");
}

static int
rollout(struct cli *cli, const char *verb, const char *nothing)
{
	char path[256];
	struct err err = {0};
	struct target t;

	if (target_only(cli, cli->args.operands[0], &t, &err) < 0)
		return cli_fail(cli, &err);
	text_format(path, sizeof(path), "/v1/deployments/%s/%s", t.deployment, verb);
	if (strcmp(verb, "pause") == 0)
		cli->args.given[FLAG_DETACH] = true; /* it does not end by itself */
	return change(cli, "POST", path, NULL, t.deployment, nothing);
}

int
cmd_rollout_pause(struct cli *cli)
{
	return rollout(cli, "pause", "is paused already");
}

int
cmd_rollout_resume(struct cli *cli)
{
	return rollout(cli, "resume", "is not paused");
}

int
cmd_rollout_abort(struct cli *cli)
{
	return rollout(cli, "abort", "is on its way back already");
}

/* Volumes hold what cannot be made again: the name is asked for. */
static bool
sure(const struct cli *cli, const char *name, struct err *err)
{
	char answer[128];
	bool volumes = cli->args.given[FLAG_VOLUMES];

	if (cli->yes)
		return true;
	if (!volumes && cli_unasked(cli, "Remove it (volumes stay)?", err) < 0)
		return false;
	if (!cli->ask) {
		if (!volumes)
			return true;
		err_set(err, ERR_USAGE, "this removes the data of %s", name);
		err_fix(err, "say so: --yes");
		return false;
	}
	if (volumes)
		fprintf(stderr,
			"This removes %s and the data of its volumes.\nType its name: ", name);
	else
		fprintf(stderr, "Remove %s (volumes stay)? [y/N] ", name);
	fflush(stderr);
	if (!fgets(answer, sizeof(answer), stdin))
		answer[0] = 0;
	answer[strcspn(answer, "\n")] = 0;
	if (volumes ? strcmp(answer, name) == 0 : answer[0] == 'y' || answer[0] == 'Y')
		return true;
	err_set(err, ERR_INTERRUPTED, "nothing was removed");
	return false;
}

int
cmd_rm(struct cli *cli)
{
	char path[256];
	const char *grace = cli->args.value[FLAG_GRACE];
	uint64_t ms = 0;
	struct err err = {0};
	struct target t;

	if (target_resolve(cli, cli->args.operands[0], &t, &err) < 0)
		return cli_fail(cli, &err);
	if (t.service[0]) {
		err_set(&err, ERR_USAGE, "only whole deployments are removed");
		err_fix(&err, "take the service out of the document, then: zlayer deploy");
		return cli_fail(cli, &err);
	}
	if (!sure(cli, t.deployment, &err))
		return cli_fail(cli, &err);
	if (grace && text_duration_ms(grace, &ms) != TEXT_OK) {
		err_set(&err, ERR_USAGE, "\"%s\" is not a duration", grace);
		err_fix(&err, "for example -t 30s");
		return cli_fail(cli, &err);
	}
	text_format(path, sizeof(path), "/v1/deployments/%s?volumes=%s&grace_ms=%llu", t.deployment,
		    cli->args.given[FLAG_VOLUMES] ? "true" : "false", (unsigned long long)ms);
	return change(cli, "DELETE", path, NULL, t.deployment, "was removed before");
}
