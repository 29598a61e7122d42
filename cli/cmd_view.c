/* SPDX-License-Identifier: Apache-2.0 */
/* `status`, `ps`, `image ls`: what the node tells, as a screen or as it is. */
#include "cli/cmd.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/text.h"
#include "base/world.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/render.h"
#include "cli/target.h"
#include "wire/json_read.h"

enum { WATCH_MS = 1000 };

static struct render
how(const struct cli *cli)
{
	return (struct render){
		.now_wall_ns = world_wall_ns(),
		.colour = cli->colour_out,
		.wide = cli->output == CLI_WIDE,
		.all = cli->args.given[FLAG_ALL],
	};
}

static int
resolve(const struct cli *cli, struct target *t, struct err *err)
{
	memset(t, 0, sizeof(*t));
	if (cli->args.operands_count == 0)
		return 0;
	return target_resolve(cli, cli->args.operands[0], t, err);
}

/* One screen of `status` into out (or the answer as it is, for -o json ...). */
static int
status_once(const struct cli *cli, struct buf *out, bool *printed, struct err *err)
{
	struct target t;
	struct buf answer;
	int rc = -1;

	*printed = false;
	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	if (resolve(cli, &t, err) < 0 || client_get(cli, "/v1/status", &answer, err) < 0)
		goto out;
	if (cli_machine(cli)) {
		rc = cli_out_json(cli, buf_cstr(&answer), answer.length);
		*printed = true;
		goto out;
	}
	json_t *root = json_read_parse(buf_cstr(&answer), answer.length, err);
	if (root) {
		struct render r = how(cli);

		render_status(root, t.deployment, t.service, &r, out);
		rc = 0;
	}
	json_read_free(root);
out:
	buf_fini(&answer);
	return rc;
}

static int
status_watch(const struct cli *cli)
{
	const struct timespec turn = {.tv_sec = WATCH_MS / 1000};
	struct err err = {0};
	struct buf out;
	bool printed;

	buf_init(&out, MEM_CLI, CLI_TEXT_MAX);
	for (;;) {
		buf_reset(&out);
		if (status_once(cli, &out, &printed, &err) < 0) {
			if (err.kind != ERR_UNREACHABLE)
				break;
			buf_printf(&out, "%s: waiting for it\n", err.what);
		}
		if (cli->terminal_out) /* home, then each line over the old one, then the rest */
			fputs("\033[H", stdout);
		for (const char *at = buf_cstr(&out); *at; at++) {
			if (*at == '\n' && cli->terminal_out)
				fputs("\033[K", stdout);
			fputc(*at, stdout);
		}
		if (cli->terminal_out)
			fputs("\033[J", stdout);
		if (fflush(stdout) != 0)
			break;
		nanosleep(&turn, NULL);
	}
	buf_fini(&out);
	return err.kind ? cli_fail(cli, &err) : 0;
}

int
cmd_status(struct cli *cli)
{
	struct err err = {0};
	struct buf out;
	bool printed;

	if (cli->args.given[FLAG_WATCH])
		return status_watch(cli);
	buf_init(&out, MEM_CLI, CLI_TEXT_MAX);
	int rc = status_once(cli, &out, &printed, &err);
	if (rc == 0)
		cli_out_buf(&out);
	buf_fini(&out);
	return rc < 0 ? cli_fail(cli, &err) : rc;
}

/* A list of the node, shown by `show` unless -o says otherwise. */
static int
show_list(const struct cli *cli, const char *target,
	  void (*show)(const json_t *items, const struct render *r, struct buf *out))
{
	struct err err = {0};
	struct buf answer, out;
	int status = 0;

	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	buf_init(&out, MEM_CLI, CLI_TEXT_MAX);
	if (client_get(cli, target, &answer, &err) < 0) {
		status = cli_fail(cli, &err);
	} else if (cli_machine(cli)) {
		status = cli_out_json(cli, buf_cstr(&answer), answer.length);
	} else {
		json_t *root = json_read_parse(buf_cstr(&answer), answer.length, &err);
		struct render r = how(cli);

		if (root) {
			show(json_read_array(root, "items"), &r, &out);
			cli_out_buf(&out);
		} else {
			status = cli_fail(cli, &err);
		}
		json_read_free(root);
	}
	buf_fini(&answer);
	buf_fini(&out);
	return status;
}

/* Services that have no replica yet because they wait for another: below the table. */
static int
show_waiting(const struct cli *cli, const struct target *t)
{
	char target[256], safe[512];
	struct err err = {0};
	struct buf answer;

	text_format(target, sizeof(target), "/v1/services%s%s",
		    t->deployment[0] ? "?deployment=" : "", t->deployment);
	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	json_t *root = client_get(cli, target, &answer, &err) < 0
			       ? NULL
			       : json_read_parse(buf_cstr(&answer), answer.length, &err);
	const json_t *items = json_read_array(root, "items");
	for (size_t i = 0; i < json_read_count(items); i++) {
		const json_t *s = json_read_at(items, i);
		const char *what = json_read_text(json_read_get(s, "reason"), "what");

		if (!json_read_bool(s, "waits") ||
		    (t->service[0] && strcmp(t->service, json_read_text(s, "name")) != 0))
			continue;
		text_printable(what, strlen(what), safe, sizeof(safe));
		printf("! %s/%s: %s\n", json_read_text(s, "deployment"), json_read_text(s, "name"),
		       safe);
	}
	json_read_free(root);
	buf_fini(&answer);
	return err.kind ? cli_fail(cli, &err) : 0;
}

int
cmd_ps(struct cli *cli)
{
	char text[TARGET_TEXT_BYTES], target[256];
	struct err err = {0};
	struct target t;

	if (resolve(cli, &t, &err) < 0)
		return cli_fail(cli, &err);
	target_text(&t, text);
	text_format(target, sizeof(target), "/v1/replicas%s%s", text[0] ? "?target=" : "", text);
	int status = show_list(cli, target, render_replicas);
	return status || cli_machine(cli) || cli->quiet ? status : show_waiting(cli, &t);
}

int
cmd_history(struct cli *cli)
{
	char target[256];
	struct err err = {0};
	struct target t;

	if (target_only(cli, cli->args.operands_count ? cli->args.operands[0] : NULL, &t, &err) < 0)
		return cli_fail(cli, &err);
	text_format(target, sizeof(target), "/v1/deployments/%s/revisions", t.deployment);
	return show_list(cli, target, render_revisions);
}

int
cmd_image_ls(struct cli *cli)
{
	return show_list(cli, "/v1/images", render_images);
}

int
cmd_node_ls(struct cli *cli)
{
	return show_list(cli, "/v1/nodes", render_nodes);
}
