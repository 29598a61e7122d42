/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `node`: what an operator says about the nodes of the cluster. `node ls` is cmd_view.c. Nothing is
 * followed but a drain, which ends when the last replica has left; it goes on without us.
 */
#include "cli/cmd.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/text.h"
#include "base/world.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/render.h"
#include "spec/json.h"
#include "wire/json_read.h"

enum { PATH_BYTES = 128 };

/* "/v1/nodes/edge-2", of the first operand. */
static int
path_of(const struct cli *cli, const char *verb, char out[PATH_BYTES], struct err *err)
{
	const char *name = cli->args.operands[0];

	if (!text_is_label(name)) {
		err_set(err, ERR_USAGE, "\"%s\" cannot be a node's name", name);
		return err_fix(err, "zlayer node ls shows those that there are");
	}
	text_format(out, PATH_BYTES, "/v1/nodes/%s%s", name, verb);
	return 0;
}

/* Asks, and gives the node that is answered (json_read_free), or NULL with err. Prints it, too,
 * where -o asks for that. */
static json_t *
ask(const struct cli *cli, const char *method, const char *path, const struct buf *body,
    struct err *err)
{
	struct client_request request = {.method = method, .target = path};
	struct buf answer;
	json_t *node = NULL;

	if (body) {
		request.content_type = "application/json";
		request.body = body->data;
		request.body_bytes = body->length;
	}
	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	if (client_call(cli, &request, &answer, err) == 0)
		node = json_read_parse(buf_cstr(&answer), answer.length, err);
	if (node && cli_machine(cli))
		cli_out_json(cli, buf_cstr(&answer), answer.length);
	buf_fini(&answer);
	return node;
}

static bool
talks(const struct cli *cli)
{
	return !cli->quiet && !cli_machine(cli);
}

int
cmd_node_show(struct cli *cli)
{
	char path[PATH_BYTES];
	struct err err = {0};
	struct buf out;
	struct render r = {.now_wall_ns = world_wall_ns(), .colour = cli->colour_out};
	json_t *node = NULL;

	if (path_of(cli, "", path, &err) < 0 || !(node = ask(cli, "GET", path, NULL, &err)))
		return cli_fail(cli, &err);
	if (!cli_machine(cli)) {
		buf_init(&out, MEM_CLI, CLI_TEXT_MAX);
		render_node(node, &r, &out);
		cli_out_buf(&out);
		buf_fini(&out);
	}
	json_read_free(node);
	return 0;
}

/* ---- labels and taints ---- */

static size_t
key_length(const char *word)
{
	const char *equals = strchr(word, '=');
	size_t length = strlen(word);

	return equals ? (size_t)(equals - word) : length - (length && word[length - 1] == '-');
}

/* "key=value" sets, "key-" takes away, and "key" alone is a taint without a value. */
static int
put_word(struct json *j, const char *word, bool bare, struct err *err)
{
	const char *equals = strchr(word, '=');
	size_t length = key_length(word);
	bool gone = !equals && word[length] == '-';
	char key[64];

	if (length == 0 || !text_ncopy(key, sizeof(key), word, length) ||
	    (!equals && !gone && !bare)) {
		err_set(err, ERR_USAGE, "\"%s\" does not say what to change", word);
		return err_fix(err, "KEY=VALUE sets, KEY- takes away");
	}
	if (gone)
		json_null(j, key);
	else
		json_text(j, key, equals ? equals + 1 : "");
	return 0;
}

static void
print_pairs(const struct cli *cli, const char *name, const char *what, json_t *pairs)
{
	char safe[512];

	printf("%s: %s%s", name, what, json_read_count(pairs) ? "" : " none");
	for (void *it = json_read_first(pairs); it; it = json_read_next(pairs, it)) {
		const char *value = json_read_string(json_read_value(it));

		printf(" ");
		cli_put_text(stdout, cli->terminal_out, json_read_key(it));
		text_printable(value, strlen(value), safe, sizeof(safe));
		printf("%s%s", value[0] ? "=" : "", safe);
	}
	printf("\n");
}

/* "a=1 a=2" would be a matter of luck. */
static int
check_once(const struct cli *cli, size_t at, struct err *err)
{
	const char *word = cli->args.operands[at];

	for (size_t i = 1; i < at; i++) {
		const char *other = cli->args.operands[i];

		if (key_length(word) != key_length(other) ||
		    strncmp(word, other, key_length(word)) != 0)
			continue;
		err_set(err, ERR_USAGE, "\"%s\" and \"%s\" are about the same key", other, word);
		return err_fix(err, "say each key once");
	}
	return 0;
}

static int
change_pairs(struct cli *cli, const char *what)
{
	char path[PATH_BYTES];
	bool taints = strcmp(what, "taints") == 0;
	struct err err = {0};
	struct buf body;
	struct json j;
	json_t *node = NULL;
	int rc = path_of(cli, "", path, &err);

	buf_init(&body, MEM_CLI, CLI_TEXT_MAX);
	json_init(&j, &body);
	json_object(&j, NULL);
	json_object(&j, what);
	for (size_t i = 1; i < cli->args.operands_count && rc == 0; i++)
		rc = check_once(cli, i, &err);
	for (size_t i = 1; i < cli->args.operands_count && rc == 0; i++)
		rc = put_word(&j, cli->args.operands[i], taints, &err);
	json_end(&j);
	json_end(&j);
	if (rc == 0)
		node = ask(cli, "PATCH", path, &body, &err);
	if (node && talks(cli))
		print_pairs(cli, json_read_text(node, "name"), what, json_read_get(node, what));
	buf_fini(&body);
	json_read_free(node);
	return err.kind ? cli_fail(cli, &err) : 0;
}

int
cmd_node_label(struct cli *cli)
{
	return change_pairs(cli, "labels");
}

int
cmd_node_taint(struct cli *cli)
{
	return change_pairs(cli, "taints");
}

/* ---- drain ---- */

static int
overdue(const char *name, long long left, struct err *err)
{
	err_set(err, ERR_TIMEOUT, "%s still has %lld replica%s", name, left, left == 1 ? "" : "s");
	err_why(err, "they leave when others are ready on other nodes: the drain goes on");
	return err_fix(err, "zlayer ps -o wide shows where each is and why");
}

/* Until it has no replica: 0, or -1 with err. */
static int
wait_empty(const struct cli *cli, const char *name, struct err *err)
{
	static const struct timespec turn = {.tv_nsec = 500000000};
	uint64_t end = cli->timeout_ms ? world_mono_ns() + cli->timeout_ms * UINT64_C(1000000) : 0;
	char path[PATH_BYTES];
	long long before = -1;

	text_format(path, sizeof(path), "/v1/nodes/%s", name);
	for (;;) {
		struct buf answer;

		buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
		json_t *node = client_get(cli, path, &answer, err) < 0
				       ? NULL
				       : json_read_parse(buf_cstr(&answer), answer.length, err);
		long long left = (long long)json_read_int(node, "replicas");
		bool drains = json_read_bool(node, "draining");
		buf_fini(&answer);
		json_read_free(node);
		if (err->kind)
			return -1;
		if (!drains)
			return err_set(err, ERR_CONFLICT, "%s is not drained any more", name);
		if (left == 0)
			return 0;
		if (left != before)
			cli_note(cli, "%s: %lld replica%s left", name, left, left == 1 ? "" : "s");
		before = left;
		if (end && world_mono_ns() > end)
			return overdue(name, left, err);
		nanosleep(&turn, NULL);
	}
}

int
cmd_node_drain(struct cli *cli)
{
	char path[PATH_BYTES];
	const char *grace = cli->args.value[FLAG_GRACE], *name = cli->args.operands[0];
	struct err err = {0};
	struct buf body;
	struct json j;
	uint64_t ms = 0;

	if (grace && (text_duration_ms(grace, &ms) != TEXT_OK || ms < 1000)) {
		err_set(&err, ERR_USAGE, "\"%s\" is not a duration of a second or more", grace);
		err_fix(&err, "for example -t 10m");
		return cli_fail(cli, &err);
	}
	if (path_of(cli, "/drain", path, &err) < 0)
		return cli_fail(cli, &err);
	buf_init(&body, MEM_CLI, 4096);
	json_init(&j, &body);
	json_object(&j, NULL);
	json_u64(&j, "seconds", ms / 1000);
	json_end(&j);
	json_t *node = ask(cli, "POST", path, &body, &err);
	buf_fini(&body);
	bool wait = cli->args.given[FLAG_WAIT];
	long long left = (long long)json_read_int(node, "replicas");
	if (node && !wait && talks(cli))
		printf("%s takes nothing new; %lld replica%s to move.\n", name, left,
		       left == 1 ? "" : "s");
	json_read_free(node);
	if (!node || (wait && wait_empty(cli, name, &err) < 0))
		return cli_fail(cli, &err);
	if (wait && talks(cli))
		printf("%s runs nothing any more.\n", name);
	return 0;
}

int
cmd_node_undrain(struct cli *cli)
{
	char path[PATH_BYTES];
	struct err err = {0};
	json_t *node = NULL;

	if (path_of(cli, "/undrain", path, &err) < 0 ||
	    !(node = ask(cli, "POST", path, NULL, &err)))
		return cli_fail(cli, &err);
	if (talks(cli))
		printf("%s takes replicas again.\n", cli->args.operands[0]);
	json_read_free(node);
	return 0;
}

/* ---- keys ---- */

int
cmd_node_rotate(struct cli *cli)
{
	char path[PATH_BYTES];
	struct err err = {0};
	json_t *node = NULL;

	if (path_of(cli, "/rotate", path, &err) < 0 || !(node = ask(cli, "POST", path, NULL, &err)))
		return cli_fail(cli, &err);
	if (talks(cli))
		printf("%s makes another key, tells the others, and then uses it.\n",
		       cli->args.operands[0]);
	json_read_free(node);
	return 0;
}

/* ---- rm ---- */

int
cmd_node_rm(struct cli *cli)
{
	char path[PATH_BYTES], question[256];
	const char *name = cli->args.operands[0];
	bool force = cli->args.given[FLAG_FORCE];
	struct err err = {0};
	json_t *node = NULL;

	text_format(question, sizeof(question),
		    "Send %.64s away for good? It must join anew to come back.", name);
	if (path_of(cli, force ? "?force=true" : "", path, &err) < 0 ||
	    cli_sure(cli, question, &err) < 0 || !(node = ask(cli, "DELETE", path, NULL, &err)))
		return cli_fail(cli, &err);
	if (talks(cli))
		printf("%s is no node of this cluster any more.\n", name);
	json_read_free(node);
	return 0;
}
