/* SPDX-License-Identifier: Apache-2.0 */
/* `validate` and `spec dump`: the document alone, read as the node reads it, without a node. */
#include "cli/cmd.h"

#include <stdio.h>
#include "cli/document.h"

int
cmd_validate(struct cli *cli)
{
	struct document d;
	int status = document_read(cli, &d, true);

	if (status == 0 && cli->output == CLI_NAME)
		printf("%s\n", d.deployment);
	else if (status == 0 && cli_machine(cli))
		cli_out_json(cli, "[]", 2);
	else if (status == 0 && !cli->quiet)
		printf("%s is valid: deployment %s, %zu service%s\n", d.name, d.deployment,
		       d.doc->services_count, d.doc->services_count == 1 ? "" : "s");
	document_fini(&d);
	return status;
}

int
cmd_spec_dump(struct cli *cli)
{
	struct document d;
	struct buf out;
	int status = document_read(cli, &d, false);

	buf_init(&out, MEM_CLI, CLI_TEXT_MAX);
	if (status == 0 && cli->output == CLI_NAME) {
		printf("%s\n", d.deployment);
	} else if (status == 0) {
		if (cli->output == CLI_JSON)
			doc_dump_json(d.doc, &out);
		else
			doc_dump_yaml(d.doc, &out);
		cli_out_buf(&out);
		if (out.length && out.data[out.length - 1] != '\n')
			cli_out("\n", 1);
	}
	buf_fini(&out);
	document_fini(&d);
	return status;
}
