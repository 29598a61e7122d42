/* SPDX-License-Identifier: Apache-2.0 */
/* `version`, `completion`, `cert authority`. */
#include "cli/cmd.h"

#include <stdio.h>
#include "base/text.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/complete.h"
#include "spec/json.h"
#include "wire/json_read.h"

int
cmd_version(struct cli *cli)
{
	struct err err = {0};
	struct buf answer, out;
	struct json j;
	json_t *node = NULL;

	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	buf_init(&out, MEM_CLI, CLI_TEXT_MAX);
	if (client_get(cli, "/v1/version", &answer, &err) == 0)
		node = json_read_parse(buf_cstr(&answer), answer.length, &err);
	if (cli_machine(cli)) {
		json_init(&j, &out);
		json_object(&j, NULL);
		json_text(&j, "name", "zlayer");
		json_text(&j, "client", ZLAYER_VERSION);
		json_text(&j, "node", node ? json_read_text(node, "version") : NULL);
		json_end(&j);
		cli_out_json(cli, buf_cstr(&out), out.length);
	} else if (node) {
		printf("zlayer " ZLAYER_VERSION "   node %s %s\n", json_read_text(node, "node"),
		       json_read_text(node, "version"));
	} else {
		printf("zlayer " ZLAYER_VERSION "   node: %s\n", err.what);
	}
	json_read_free(node);
	buf_fini(&answer);
	buf_fini(&out);
	return 0;
}

int
cmd_completion(struct cli *cli)
{
	const char *shell = cli->args.operands[0];
	struct err err = {0};
	struct buf out;
	int status = 0;

	buf_init(&out, MEM_CLI, 1 << 20);
	if (complete_script(shell, &out)) {
		cli_out_buf(&out);
	} else {
		err_set(&err, ERR_USAGE, "there are no completions for \"%s\"", shell);
		err_fix(&err, "bash, zsh or fish");
		status = cli_fail(cli, &err);
	}
	buf_fini(&out);
	return status;
}

int
cmd_cert_authority(struct cli *cli)
{
	struct err err = {0};
	struct buf answer;
	int status = 0;

	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	if (client_get(cli, "/v1/certificates/authority", &answer, &err) < 0)
		status = cli_fail(cli, &err);
	else
		cli_out_buf(&answer);
	buf_fini(&answer);
	return status;
}
