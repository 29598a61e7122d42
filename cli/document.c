/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a document for a command; all its errors are shown at once, as a compiler does, or as JSON:
 * they are what `validate` is asked for (standard output), and an error of all other commands. */
#include "cli/document.h"

#include <stdio.h>
#include <string.h>
#include "cli/file.h"
#include "spec/yaml.h"

/* One static list: it is large, and a command reads one document. */
static struct diag_list diags;

static void
put_diagnostics(struct json *j, const void *list)
{
	const struct buf *text = list;

	json_raw(j, "diagnostics", (const char *)text->data, text->length);
}

static int
show(const struct cli *cli)
{
	struct buf out;
	struct err err = {0};
	int status = err_kind_exit(ERR_INVALID);

	if (diag_count(&diags) == 0) {
		err_set(&err, ERR_NO_MEMORY, "out of memory");
		return cli_fail(cli, &err);
	}
	buf_init(&out, MEM_CLI, CLI_TEXT_MAX);
	if (cli->output == CLI_JSON && strcmp(cli->args.command->name, "validate") != 0) {
		diag_render_json(&diags, &out);
		diag_err(&diags, &err);
		status = cli_fail_with(cli, &err, status, put_diagnostics, &out);
	} else if (cli_machine(cli)) {
		diag_render_json(&diags, &out);
		cli_out_json(cli, buf_cstr(&out), out.length);
	} else {
		diag_render(&diags, &out);
		fputs(buf_cstr(&out), stderr);
	}
	buf_fini(&out);
	return status;
}

int
document_read(const struct cli *cli, struct document *d, bool available)
{
	struct err err = {0};

	d->doc = NULL;
	d->deployment = "";
	buf_init(&d->text, MEM_CLI, DOC_BYTES_MAX);
	diag_list_init(&diags);
	if (file_read(cli->args.operands_count ? cli->args.operands[0] : NULL, d->name, &d->text,
		      &err) < 0 ||
	    dl_load_yaml(&err) < 0)
		return cli_fail(cli, &err);
	if (doc_parse(buf_cstr(&d->text), d->text.length, d->name, &d->doc, &diags) < 0)
		return show(cli);
	if (available && doc_check_available(d->doc, &diags) < 0)
		return show(cli);
	d->deployment = d->doc->deployment;
	return 0;
}

void
document_fini(struct document *d)
{
	doc_free(d->doc);
	buf_fini(&d->text);
	diag_list_fini(&diags);
}
