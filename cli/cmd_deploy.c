/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `deploy`, `up`, `diff`: read the document as `validate` does, hand it to the node, show the plan
 * and follow what it does. A wrong document never reaches the node. `rollback` does the same with a
 * document that the node has. `down` removes what the document is of.
 */
#include "cli/cmd.h"

#include <stdio.h>
#include <string.h>
#include "base/text.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/document.h"
#include "cli/grid.h"
#include "cli/target.h"
#include "cli/watch.h"
#include "wire/json_read.h"

enum { DIFFERENT = 3 }; /* exit status of `diff --exit-code` */

static void
put_line(bool colour, const char *text, FILE *to)
{
	char safe[2048];
	struct buf out;

	text_printable(text, strlen(text), safe, sizeof(safe));
	buf_init(&out, MEM_CLI, 8192);
	buf_puts(&out, "  ");
	grid_text(&out, colour,
		  safe[0] == '+'   ? GRID_GREEN
		  : safe[0] == '-' ? GRID_RED
		  : safe[0] == '=' ? GRID_PLAIN
				   : GRID_YELLOW,
		  safe);
	fprintf(to, "%s\n", buf_cstr(&out));
	buf_fini(&out);
}

static void
show_changes(const struct cli *cli, const json_t *answer, const char *name)
{
	const json_t *changes = json_read_array(answer, "changes");
	int64_t revision = json_read_int(answer, "revision");
	int64_t previous = json_read_int(answer, "previous_revision");

	if (cli->quiet)
		return;
	fprintf(stderr, "%s: %s revision %lld", name, json_read_text(answer, "deployment"),
		(long long)revision);
	if (previous)
		fprintf(stderr, " (%lld is running)", (long long)previous);
	fputc('\n', stderr);
	for (size_t i = 0; i < json_read_count(changes); i++)
		put_line(cli->colour_err, json_read_string(json_read_at(changes, i)), stderr);
}

static void
put_diagnostics(struct json *j, const void *list)
{
	char *text = json_read_dump(list);

	if (text)
		json_raw(j, "diagnostics", text, strlen(text));
	mem_free(text);
}

static int
refused(const struct cli *cli, const struct client *c, const struct err *err)
{
	struct err ignored = {0};
	const char *text = (const char *)c->diagnostics.data;
	json_t *problem = c->diagnostics.length
				  ? json_read_parse(text, c->diagnostics.length, &ignored)
				  : NULL;
	const json_t *list = json_read_array(problem, "diagnostics");

	for (size_t i = 0; i < json_read_count(list) && cli->output != CLI_JSON; i++) {
		const json_t *d = json_read_at(list, i);
		char safe[2048];

		text_printable(json_read_text(d, "text"), strlen(json_read_text(d, "text")), safe,
			       sizeof(safe));
		fprintf(stderr, "%lld:%lld: %s: %s\n", (long long)json_read_int(d, "line"),
			(long long)json_read_int(d, "column"), json_read_text(d, "path"), safe);
	}
	int status = cli_fail_with(cli, err, err_kind_exit(err->kind),
				   list ? put_diagnostics : NULL, list);
	json_read_free(problem);
	return status;
}

static int
take_answer(const struct cli *cli, const struct buf *text, const char *name)
{
	struct err err = {0};
	json_t *answer = json_read_parse((const char *)text->data, text->length, &err);

	if (!answer)
		return cli_fail(cli, &err);
	uint64_t operation = (uint64_t)json_read_int(answer, "operation");
	bool dry = cli->args.given[FLAG_DRY_RUN];
	bool last = dry || cli->args.given[FLAG_DETACH] || operation == 0;
	int status = 0;

	if (!cli_machine(cli))
		show_changes(cli, answer, name);
	if (cli_machine(cli) && (last || cli->output != CLI_JSON))
		status = cli_out_json(cli, (const char *)text->data, text->length);
	if (!cli_machine(cli) && json_read_bool(answer, "unchanged"))
		printf("%s is unchanged.\n", json_read_text(answer, "deployment"));
	else if (!cli_machine(cli) && dry)
		printf("Nothing was changed (--dry-run).\n");
	else if (!cli_machine(cli) && last)
		printf("%s revision %lld is being deployed.\n",
		       json_read_text(answer, "deployment"),
		       (long long)json_read_int(answer, "revision"));
	json_read_free(answer);
	return last ? status : watch_operation(cli, operation, NULL);
}

/* What differs, and nothing else: what is the same is not worth a line. */
static int
show_differences(const struct cli *cli, const struct buf *text, const char *name)
{
	struct err err = {0};
	json_t *answer = json_read_parse((const char *)text->data, text->length, &err);
	const json_t *changes = json_read_array(answer, "changes");
	bool machine = cli_machine(cli);
	size_t count = 0;

	(void)name;
	if (!answer)
		return cli_fail(cli, &err);
	for (size_t i = 0; i < json_read_count(changes); i++) {
		const char *line = json_read_string(json_read_at(changes, i));

		if (line[0] == '=')
			continue;
		count++;
		if (!machine)
			put_line(cli->colour_out, line, stdout);
	}
	int status = machine ? cli_out_json(cli, (const char *)text->data, text->length) : 0;
	if (!count && !machine)
		cli_note(cli, "%s is as the document says.", json_read_text(answer, "deployment"));
	json_read_free(answer);
	return status ? status : count && cli->args.given[FLAG_EXIT_CODE] ? DIFFERENT : 0;
}

typedef int (*answer_fn)(const struct cli *cli, const struct buf *text, const char *name);

static int
send_document(const struct cli *cli, const struct document *d, bool dry_run, answer_fn done)
{
	char target[192], match[32];
	const char *expect = cli->args.value[FLAG_EXPECT];
	struct err err = {0};
	struct client c;
	struct buf answer;
	int status;

	text_format(target, sizeof(target), "/v1/deployments/%s?dry_run=%s&rollback=%s",
		    d->deployment, dry_run ? "true" : "false",
		    cli->args.given[FLAG_NO_ROLLBACK] ? "false" : "true");
	text_format(match, sizeof(match), "\"%s\"", expect ? expect : "");
	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	int rc = client_open(&c, cli,
			     &(struct client_request){
				     .method = "PUT",
				     .target = target,
				     .content_type = "application/yaml",
				     .if_match = expect ? match : NULL,
				     .body = d->text.data,
				     .body_bytes = d->text.length,
			     },
			     &err);
	if (rc < 0) {
		status = refused(cli, &c, &err);
	} else if (client_read_all(&c, &answer, &err) < 0) {
		status = cli_fail(cli, &err);
	} else {
		client_close(&c);
		status = done(cli, &answer, d->name);
	}
	client_close(&c);
	buf_fini(&answer);
	return status;
}

/* `--diff`: what would change is shown, and somebody who is there is asked. */
static int
look_first(const struct cli *cli, const struct document *d)
{
	char answer[16];
	int status = send_document(cli, d, true, show_differences);
	struct err err = {0};

	if (status == 0 && !cli->args.given[FLAG_DRY_RUN] &&
	    cli_unasked(cli, "Deploy this?", &err) < 0)
		return cli_fail(cli, &err);
	if (status != 0 || cli->yes || !cli->ask || cli->args.given[FLAG_DRY_RUN])
		return status;
	fprintf(stderr, "Deploy this? [y/N] ");
	fflush(stderr);
	if (fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y'))
		return 0;
	err_set(&err, ERR_INTERRUPTED, "nothing was changed");
	return cli_fail(cli, &err);
}

int
cmd_deploy(struct cli *cli)
{
	const char *expect = cli->args.value[FLAG_EXPECT];
	struct document d;
	struct err err = {0};
	uint64_t revision;

	if (expect && !text_u64(expect, UINT32_MAX, &revision)) {
		err_set(&err, ERR_USAGE, "--expect needs a revision's number, not \"%s\"", expect);
		return cli_fail(cli, &err);
	}
	int status = document_read(cli, &d, true);
	if (status == 0 && cli->args.given[FLAG_DIFF])
		status = look_first(cli, &d);
	if (status == 0)
		status = send_document(cli, &d, cli->args.given[FLAG_DRY_RUN], take_answer);
	document_fini(&d);
	return status;
}

int
cmd_diff(struct cli *cli)
{
	struct document d;
	int status = document_read(cli, &d, true);

	if (status == 0)
		status = send_document(cli, &d, true, show_differences);
	document_fini(&d);
	return status;
}

int
cmd_down(struct cli *cli)
{
	struct document d;
	int status = document_read(cli, &d, false);

	if (status == 0) {
		cli->args.operands[0] = d.deployment;
		status = cmd_rm(cli);
	}
	document_fini(&d);
	return status;
}

/* ---- roll-back ---- */

int
cmd_rollback(struct cli *cli)
{
	const char *to = cli->args.value[FLAG_TO];
	char target[192];
	struct err err = {0};
	struct target t;
	struct buf answer;
	uint64_t revision = 0;
	int status;

	if (to && (!text_u64(to, UINT32_MAX, &revision) || revision == 0)) {
		err_set(&err, ERR_USAGE, "--to needs a revision's number, not \"%s\"", to);
		return cli_fail(cli, &err);
	}
	if (target_only(cli, cli->args.operands_count ? cli->args.operands[0] : NULL, &t, &err) < 0)
		return cli_fail(cli, &err);
	text_format(target, sizeof(target), "/v1/deployments/%s/rollback?dry_run=%s&to=%llu",
		    t.deployment, cli->args.given[FLAG_DRY_RUN] ? "true" : "false",
		    (unsigned long long)revision);
	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	if (client_call(cli, &(struct client_request){.method = "POST", .target = target}, &answer,
			&err) < 0)
		status = cli_fail(cli, &err);
	else
		status = take_answer(cli, &answer, "rollback");
	buf_fini(&answer);
	return status;
}
