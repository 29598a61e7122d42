/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `observe`: which packets the data paths of the nodes drop, and why, and which flows they let
 * through. Drops are always kept, the newest ones of each node; flows that are let through only
 * while somebody follows them. Both are samples; what is missing is said on standard error.
 */
#include "cli/cmd.h"

#include <stdio.h>
#include <string.h>
#include "base/text.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/observe_names.h"
#include "cli/render.h"
#include "cli/stream.h"
#include "ring/msg_flows.h"
#include "wire/json_read.h"

enum { LAST_DEFAULT = 50 };

struct observe {
	const struct cli *cli;
	char query[STREAM_TARGET_BYTES / 2]; /* "&service=web..." */
};

/* ---- showing ---- */

static void
show(const struct observe *o, const json_t *flow, const char *text, size_t bytes)
{
	struct render r = {.colour = o->cli->colour_out};
	struct buf out;

	if (cli_machine(o->cli)) {
		cli_out_json(o->cli, text, bytes);
		if (o->cli->output == CLI_YAML)
			printf("---\n");
		return;
	}
	buf_init(&out, MEM_CLI, 64 << 10);
	render_flow(flow, &r, &out);
	cli_out_buf(&out);
	buf_fini(&out);
}

static void
show_lost(const json_t *lost)
{
	const char *node = json_read_text(lost, "node");
	struct buf out;

	buf_init(&out, MEM_CLI, 4096);
	buf_printf(&out, "%lld flows are not shown: there were too many at once",
		   (long long)json_read_int(lost, "count"));
	if (node[0]) {
		buf_puts(&out, ", at ");
		render_put_safe(&out, node);
	}
	fprintf(stderr, "zlayer: %s\n", buf_cstr(&out));
	buf_fini(&out);
}

static void
take_message(void *arg, const char *name, const json_t *message, const char *text, size_t bytes)
{
	struct observe *o = arg;

	if (strcmp(name, "away") == 0)
		stream_show_away(message);
	else if (strcmp(name, "lost") == 0)
		show_lost(message);
	else if (strcmp(name, "flow") == 0)
		show(o, message, text, bytes);
}

static void
put_target(void *arg, char out[STREAM_TARGET_BYTES])
{
	const struct observe *o = arg;

	text_format(out, STREAM_TARGET_BYTES, "/v1/flows/stream?%s",
		    o->query[0] ? o->query + 1 : "");
}

static void
show_nothing(const struct observe *o)
{
	const struct args *a = &o->cli->args;

	if (o->cli->quiet || a->given[FLAG_FOLLOW])
		return;
	fprintf(stderr, "zlayer: no flow is kept%s\n",
		o->query[0] ? " that is asked for; zlayer status and node ls show the names"
			    : "; zlayer observe -f shows those that come");
}

static void
show_items(const struct observe *o, const json_t *root)
{
	const json_t *items = json_read_array(root, "items"), *away = json_read_array(root, "away");

	if (json_read_count(items) == 0)
		show_nothing(o);

	for (size_t i = 0; i < json_read_count(items); i++) {
		const json_t *flow = json_read_at(items, i);
		char *text = cli_machine(o->cli) ? json_read_dump(flow) : NULL;

		if (text || !cli_machine(o->cli))
			show(o, flow, text, text ? strlen(text) : 0);
		mem_free(text);
	}
	for (size_t i = 0; i < json_read_count(away); i++)
		stream_show_away(json_read_at(away, i));
}

/* All as they are for a program that wants no more than these. */
static int
show_past(const struct observe *o, uint64_t last)
{
	bool whole = cli_machine(o->cli) && !o->cli->args.given[FLAG_FOLLOW];
	char target[STREAM_TARGET_BYTES];
	struct err err = {0};
	struct buf answer;
	json_t *root = NULL;
	int status = 0;

	text_format(target, sizeof(target), "/v1/flows?limit=%llu%s", (unsigned long long)last,
		    o->query);
	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	if (client_get(o->cli, target, &answer, &err) < 0 ||
	    !(root = json_read_parse(buf_cstr(&answer), answer.length, &err)))
		status = cli_fail(o->cli, &err);
	else if (whole)
		status = cli_out_json(o->cli, buf_cstr(&answer), answer.length);
	else
		show_items(o, root);
	json_read_free(root);
	buf_fini(&answer);
	return status;
}

/* ---- what is asked for ---- */

static int
bad_name(const char *flag, const char *value, const char *fix, struct err *err)
{
	err_set(err, ERR_USAGE, "--%s: \"%.64s\" is no name", flag, value);
	return err_fix(err, "%s", fix);
}

static int
put_service(struct observe *o, const char *value, struct err *err)
{
	char deployment[MSG_NAME] = "";
	const char *slash = strchr(value, '/'), *service = slash ? slash + 1 : value;

	if ((slash &&
	     (!text_ncopy(deployment, sizeof(deployment), value, (size_t)(slash - value)) ||
	      !text_is_label(deployment))) ||
	    !text_is_label(service))
		return bad_name("service", value, "zlayer status shows the services", err);
	size_t used = strlen(o->query);
	text_format(o->query + used, sizeof(o->query) - used, "&service=%s%s%s", deployment,
		    slash ? "/" : "", service);
	return 0;
}

static int
put_node(struct observe *o, enum table_flag_id flag, struct err *err)
{
	const char *name = table_flags[flag].name, *value = o->cli->args.value[flag];
	size_t used = strlen(o->query);

	if (!text_is_label(value))
		return bad_name(name, value, "zlayer node ls shows those that there are", err);
	text_format(o->query + used, sizeof(o->query) - used, "&%s=%s", name, value);
	return 0;
}

static int
put_verdict(struct observe *o, const char *value, struct err *err)
{
	size_t used = strlen(o->query);

	if (!text_equal(value, "dropped") && !text_equal(value, "forwarded"))
		return err_set(err, ERR_USAGE, "--verdict is dropped or forwarded, not \"%.64s\"",
			       value);
	text_format(o->query + used, sizeof(o->query) - used, "&verdict=%s", value);
	return 0;
}

static int
put_query(struct observe *o, uint64_t *last, struct err *err)
{
	const struct args *a = &o->cli->args;

	if (a->given[FLAG_VERDICT] && put_verdict(o, a->value[FLAG_VERDICT], err) < 0)
		return -1;
	if (a->given[FLAG_SERVICE] && put_service(o, a->value[FLAG_SERVICE], err) < 0)
		return -1;
	if (a->given[FLAG_PEER] && put_node(o, FLAG_PEER, err) < 0)
		return -1;
	if (a->given[FLAG_NODE] && put_node(o, FLAG_NODE, err) < 0)
		return -1;
	*last = a->given[FLAG_FOLLOW] ? 0 : LAST_DEFAULT;
	if (a->given[FLAG_LAST] &&
	    (!text_u64(a->value[FLAG_LAST], MSG_FLOWS_GIVEN_MAX, last) || *last == 0))
		return err_set(err, ERR_USAGE, "--last is a number from 1 to %d",
			       MSG_FLOWS_GIVEN_MAX);
	return 0;
}

int
cmd_observe(struct cli *cli)
{
	struct observe o = {.cli = cli};
	struct stream stream = {
		.cli = cli, .arg = &o, .target = put_target, .message = take_message};
	struct err err = {0};
	uint64_t last;
	int status = 0;

	if (put_query(&o, &last, &err) < 0)
		return cli_fail(cli, &err);
	observe_names_check(cli);
	if (last > 0)
		status = show_past(&o, last);
	if (!cli->args.given[FLAG_FOLLOW] || status != 0)
		return status;
	return cli_flush(&err) < 0 ? cli_fail(cli, &err) : stream_follow(&stream);
}
