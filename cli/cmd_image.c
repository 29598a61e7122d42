/* SPDX-License-Identifier: Apache-2.0 */
/* `image import`, `pull`, `rm` and `prune`. What is imported is streamed to the node: nothing is
 * kept in memory. What is pulled the node fetches by itself, with its own logins. */
#include "cli/cmd.h"

#include <stdio.h>
#include <string.h>
#include "base/text.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/pack.h"
#include "wire/json_read.h"
#include "wire/url.h"

enum { IMPORT_TIMEOUT_MS = 3600000, PULL_TIMEOUT_MS = 7200000 };

static const char *
plural(long long n)
{
	return n == 1 ? "" : "s";
}

static int
path_with(char *out, size_t cap, const char *begin, const char *name, struct err *err)
{
	char encoded[1024];

	if (url_encode(name, strlen(name), encoded, sizeof(encoded)) < 0 ||
	    !text_format(out, cap, "%s%s", begin, encoded))
		return err_set(err, ERR_USAGE, "the image's name is too long");
	return 0;
}

static int
show_image(struct cli *cli, struct buf *answer)
{
	struct err err = {0};
	char size[32];

	if (cli_machine(cli))
		return cli_out_json(cli, buf_cstr(answer), answer->length);
	json_t *image = json_read_parse(buf_cstr(answer), answer->length, &err);
	if (!image)
		return cli_fail(cli, &err);
	text_human_bytes((uint64_t)json_read_int(image, "bytes"), size, sizeof(size));
	long long layers = (long long)json_read_int(image, "layers");
	printf("%s  %.19s  %s, %lld layer%s (%lld new)\n", json_read_text(image, "name"),
	       json_read_text(image, "digest"), size, layers, plural(layers),
	       (long long)json_read_int(image, "layers_new"));
	json_read_free(image);
	return 0;
}

int
cmd_image_import(struct cli *cli)
{
	char target[1200] = "/v1/images";
	const char *name = cli->args.value[FLAG_NAME];
	struct err err = {0};
	struct pack *pack = NULL;
	struct buf answer;
	int status = 0;

	if (!cli->timeout_ms)
		cli->timeout_ms = IMPORT_TIMEOUT_MS;
	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	if ((name && path_with(target, sizeof(target), "/v1/images?name=", name, &err) < 0) ||
	    pack_open(cli->args.operands[0], &pack, &err) < 0 ||
	    client_call(cli,
			&(struct client_request){.method = "POST",
						 .target = target,
						 .content_type = "application/x-tar",
						 .produce = pack_read,
						 .produce_arg = pack},
			&answer, &err) < 0) {
		status = cli_fail(cli, &err);
	} else {
		status = show_image(cli, &answer);
	}
	pack_close(pack);
	buf_fini(&answer);
	return status;
}

int
cmd_image_pull(struct cli *cli)
{
	char target[1200];
	struct err err = {0};
	struct buf answer;
	int status;

	if (!cli->timeout_ms)
		cli->timeout_ms = PULL_TIMEOUT_MS;
	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	if (path_with(target, sizeof(target), "/v1/images/pull?name=", cli->args.operands[0],
		      &err) < 0 ||
	    client_call(cli, &(struct client_request){.method = "POST", .target = target}, &answer,
			&err) < 0)
		status = cli_fail(cli, &err);
	else
		status = show_image(cli, &answer);
	buf_fini(&answer);
	return status;
}

int
cmd_image_prune(struct cli *cli)
{
	bool dry_run = cli->args.given[FLAG_DRY_RUN];
	const char *target = dry_run ? "/v1/images/prune?dry_run=true" : "/v1/images/prune";
	struct err err = {0};
	struct buf answer;
	int status = 0;

	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	if (client_call(cli, &(struct client_request){.method = "POST", .target = target}, &answer,
			&err) < 0) {
		status = cli_fail(cli, &err);
	} else if (cli_machine(cli)) {
		status = cli_out_json(cli, buf_cstr(&answer), answer.length);
	} else {
		json_t *pruned = json_read_parse(buf_cstr(&answer), answer.length, &err);
		char size[32];

		text_human_bytes((uint64_t)json_read_int(pruned, "bytes"), size, sizeof(size));
		long long images = (long long)json_read_int(pruned, "images");
		long long layers = (long long)json_read_int(pruned, "layers");
		if (!pruned)
			status = cli_fail(cli, &err);
		else
			printf("%s %lld image%s and %lld layer%s, %s.\n",
			       dry_run ? "Would remove" : "Removed", images, plural(images), layers,
			       plural(layers), size);
		json_read_free(pruned);
	}
	buf_fini(&answer);
	return status;
}

int
cmd_image_rm(struct cli *cli)
{
	char target[1200];
	struct err err = {0};
	struct buf answer;
	int status = 0;

	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	if (path_with(target, sizeof(target), "/v1/images/", cli->args.operands[0], &err) < 0 ||
	    client_call(cli, &(struct client_request){.method = "DELETE", .target = target},
			&answer, &err) < 0)
		status = cli_fail(cli, &err);
	else if (cli_machine(cli))
		status = cli_out_json(cli, buf_cstr(&answer), answer.length);
	else if (!cli->quiet)
		printf("%s is removed.\n", cli->args.operands[0]);
	buf_fini(&answer);
	return status;
}
