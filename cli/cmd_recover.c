/* SPDX-License-Identifier: Apache-2.0 */
/* `recover`: what will be is asked of the node first, said, and only then done. */
#include "cli/cmd.h"

#include <stdio.h>
#include <string.h>
#include "base/fd.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/backup_file.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "spec/json.h"
#include "wire/json_read.h"

enum { BODY_BYTES = 64 << 10, QUESTION_BYTES = 2048, KEYS_BYTES = 16 << 10 };

/* NULL with err. keys: NULL or a text. */
static json_t *
ask(const struct cli *cli, const char *how, const struct buf *keys, bool dry_run, bool print,
    struct err *err)
{
	struct client_request request = {.method = "POST",
					 .target = "/v1/cluster/recover",
					 .content_type = "application/json"};
	struct buf body, answer;
	json_t *root = NULL;
	struct json j;

	buf_init(&body, MEM_CLI, BODY_BYTES);
	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	json_init(&j, &body);
	json_object(&j, NULL);
	json_text(&j, "how", how);
	json_bool(&j, "dry_run", dry_run);
	if (keys && keys->length)
		json_textn(&j, "keys", (const char *)keys->data, keys->length);
	json_end(&j);
	request.body = body.data;
	request.body_bytes = body.length;
	if (client_call(cli, &request, &answer, err) == 0)
		root = json_read_parse(buf_cstr(&answer), answer.length, err);
	if (root && print && cli_machine(cli))
		cli_out_json(cli, buf_cstr(&answer), answer.length);
	if (body.data)
		mem_wipe(body.data, body.capacity);
	buf_fini(&body);
	buf_fini(&answer);
	return root;
}

static int
read_keys(const struct cli *cli, struct buf *out, struct err *err)
{
	const char *name = cli->args.value[FLAG_KEYS];
	struct backup_scan f;

	if (!name)
		return 0;
	int fd = backup_file_open(name, err);
	int rc = fd < 0 ? -1 : backup_file_check(fd, name, &f, out, err);
	fd_close(&fd);
	if (rc < 0 || out->length)
		return rc;
	err_set(err, ERR_NOT_FOUND, "there are no keys in this backup");
	err_where(err, "%s", name);
	return err_fix(err,
		       "it is made with: zlayer backup --with-keys, on a node that admits others");
}

static const char *
plural(long long n)
{
	return n == 1 ? "" : "s";
}

static void
say_single(const json_t *plan, bool keys, char out[QUESTION_BYTES])
{
	long long others = (long long)json_read_int(plan, "others");
	long long alive = (long long)json_read_int(plan, "alive");
	char without[512] = "";

	if (!json_read_bool(plan, "keeper") && !keys)
		text_format(without, sizeof(without),
			    "This node does not have the authority's key: until it gets it "
			    "(--keys), or a node that has it is back, nobody\njoins and no "
			    "certificate is renewed; this node's ends at %s.\n",
			    json_read_text(plan, "certificate_not_after"));
	text_format(
		out, QUESTION_BYTES,
		"This node's copy of the store, at change %lld, becomes the store, and this "
		"node takes its changes.\n"
		"What %s had taken and not yet sent is lost, and it takes none any more when it "
		"comes back.\n"
		"Of %lld other node%s %lld are there: they follow this one by themselves; the "
		"dead stay in the list until zlayer node rm.\n"
		"%sRecover?",
		(long long)json_read_int(plan, "sequence"), json_read_text(plan, "writer"), others,
		plural(others), alive, without);
}

static void
say_rejoin(const json_t *plan, char out[QUESTION_BYTES])
{
	text_format(out, QUESTION_BYTES,
		    "This node follows %s, which takes the changes now, and gets a copy of its "
		    "store.\nWhat only this node has kept is gone from the store; all that it had "
		    "is set aside as a backup in the state folder.\nRejoin?",
		    json_read_text(plan, "writer"));
}

static void
say_done(const struct cli *cli, const json_t *done, bool single)
{
	if (cli->quiet || cli_machine(cli))
		return;
	if (single && json_read_int(done, "term") == 0)
		printf("This node takes the changes of the cluster already.\n");
	else if (single)
		printf("This node takes the changes of the cluster now (term %lld).\n",
		       (long long)json_read_int(done, "term"));
	else
		printf("This node follows the node that takes the changes.\n");
}

static int
recover(const struct cli *cli, bool single, struct err *err)
{
	const char *how = single ? "force-single" : "rejoin";
	char question[QUESTION_BYTES];
	json_t *plan = NULL, *done = NULL;
	struct buf keys;

	buf_init(&keys, MEM_CLI, KEYS_BYTES);
	int rc = read_keys(cli, &keys, err);
	if (rc == 0)
		plan = ask(cli, how, NULL, true, false, err);
	if (plan && !json_read_bool(plan, "done")) {
		if (single)
			say_single(plan, keys.length > 0, question);
		else
			say_rejoin(plan, question);
		if (cli->yes || !cli->ask)
			cli_note(cli, "%.*s", (int)(strrchr(question, '\n') - question), question);
		rc = cli_sure(cli, question, err);
	}
	if (rc == 0 && plan)
		done = ask(cli, how, &keys, false, true, err);
	if (done)
		say_done(cli, done, single);
	rc = done ? 0 : -1;
	json_read_free(plan);
	json_read_free(done);
	if (keys.data)
		mem_wipe(keys.data, keys.capacity);
	buf_fini(&keys);
	return rc;
}

int
cmd_recover(struct cli *cli)
{
	bool single = cli->args.given[FLAG_FORCE_SINGLE], rejoin = cli->args.given[FLAG_REJOIN];
	struct err err = {0};

	if (single == rejoin) {
		err_set(&err, ERR_USAGE, "zlayer recover needs --force-single or --rejoin");
		err_fix(&err,
			"--force-single: this node's copy becomes the store; --rejoin: follow "
			"the node whose copy did");
		return cli_fail(cli, &err);
	}
	if (rejoin && cli->args.given[FLAG_KEYS]) {
		err_set(&err, ERR_USAGE, "--keys goes with --force-single");
		return cli_fail(cli, &err);
	}
	return recover(cli, single, &err) < 0 ? cli_fail(cli, &err) : 0;
}
