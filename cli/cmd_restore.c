/* SPDX-License-Identifier: Apache-2.0 */
/* `restore`. The file is checked here before anything is asked of the node, which checks it once
 * more. */
#include "cli/cmd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"
#include "cli/backup_file.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "wire/json_read.h"

enum { QUESTION_BYTES = 2048, NAMES_BYTES = 512, TIME_BYTES = 40 };

static long
produce(void *arg, void *out, size_t cap, struct err *err)
{
	const int *fd = arg;

	for (;;) {
		ssize_t n = read(*fd, out, cap);

		if (n >= 0)
			return n;
		if (errno != EINTR)
			return err_sys(err, errno, "cannot read the backup");
	}
}

/* Names of deployments, as many as fit; gives how many there are. */
static size_t
list_deployments(const json_t *root, char *out, size_t cap)
{
	const json_t *items = json_read_array(root, "items");
	size_t count = json_read_count(items), used = 0;

	out[0] = 0;
	for (size_t i = 0; i < count; i++) {
		const char *name = json_read_text(json_read_at(items, i), "name");

		if (used + strlen(name) + sizeof(", ...") > cap) {
			text_copy(out + used, cap - used, ", ...");
			break;
		}
		text_format(out + used, cap - used, "%s%s", i ? ", " : "", name);
		used += strlen(out + used);
	}
	return count;
}

/* What goes is said before it goes. */
static int
ask_first(const struct cli *cli, const struct backup_scan *f, struct err *err)
{
	char names[NAMES_BYTES], question[QUESTION_BYTES], created[TIME_BYTES];
	struct buf answer;
	size_t count = 0;

	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	int rc = client_get(cli, "/v1/deployments", &answer, err);
	json_t *root = rc == 0 ? json_read_parse(buf_cstr(&answer), answer.length, err) : NULL;
	if (root)
		count = list_deployments(root, names, sizeof(names));
	json_read_free(root);
	buf_fini(&answer);
	if (!root)
		return -1;
	if (count == 0)
		return 0;
	text_time(f->head.created_wall_ns, 0, created, sizeof(created));
	text_format(
		question, sizeof(question),
		"This removes %zu deployment%s with all that they run (%s),\nand puts the %" PRIu64
		" that %s had at %s in their place. Volumes stay. Restore?",
		count, count == 1 ? "" : "s", names, f->rows[STORE_DEPLOYMENT], f->head.node,
		created);
	if (cli->yes || !cli->ask)
		cli_note(cli, "Removed: %s", names);
	return cli_sure(cli, question, err);
}

static int
send_it(struct cli *cli, int fd, struct buf *answer, struct err *err)
{
	bool replace = cli->args.given[FLAG_REPLACE];

	if (lseek(fd, 0, SEEK_SET) < 0)
		return err_sys(err, errno, "cannot read the backup again");
	return client_call(cli,
			   &(struct client_request){.method = "POST",
						    .target = replace ? "/v1/restore?replace=true"
								      : "/v1/restore",
						    .content_type = "application/vnd.zlayer.backup",
						    .produce = produce,
						    .produce_arg = &fd},
			   answer, err);
}

static int
show(const struct cli *cli, struct buf *answer, struct err *err)
{
	if (cli_machine(cli))
		return cli_out_json(cli, buf_cstr(answer), answer->length);
	json_t *root = json_read_parse(buf_cstr(answer), answer->length, err);
	if (!root)
		return cli_fail(cli, err);
	long long n = (long long)json_read_int(root, "deployments");
	if (!cli->quiet)
		printf("Restored: %lld deployment%s of %s, as at %.19sZ.\n"
		       "Images that are not here are pulled again: zlayer status shows how it "
		       "goes.\n",
		       n, n == 1 ? "" : "s", json_read_text(root, "node"),
		       json_read_text(root, "created"));
	json_read_free(root);
	return 0;
}

int
cmd_restore(struct cli *cli)
{
	const char *name = cli->args.operands[0];
	struct backup_scan f;
	struct err err = {0};
	struct buf answer;
	int status;

	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	int fd = backup_file_open(name, &err);
	int rc = fd < 0 ? -1 : backup_file_check(fd, name, &f, NULL, &err);
	if (rc == 0 && cli->args.given[FLAG_REPLACE])
		rc = ask_first(cli, &f, &err);
	if (rc == 0)
		rc = send_it(cli, fd, &answer, &err);
	status = rc < 0 ? cli_fail(cli, &err) : show(cli, &answer, &err);
	fd_close(&fd);
	buf_fini(&answer);
	return status;
}
