/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `invite`, `join`, `leave`, `cluster`. A ticket is a secret of an hour: it goes to standard output
 * alone, so that it can be given on in a pipe, and nothing repeats it.
 */
#include "cli/cmd.h"

#include <stdio.h>
#include <string.h>
#include "base/text.h"
#include "base/world.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/render.h"
#include "spec/json.h"
#include "wire/json_read.h"

/* The limits of a ticket are the node's (scheduler/admission.h). */
enum { TICKET_BYTES = 1024, TTL_MAX_S = 30 * 86400, USES_MAX = 10000 };

/* A request with a JSON body. The answer, or NULL with err; printed where -o asks for that. */
static json_t *
ask(const struct cli *cli, const char *method, const char *path, const struct buf *body,
    struct err *err)
{
	struct client_request request = {.method = method,
					 .target = path,
					 .content_type = "application/json",
					 .body = body->data,
					 .body_bytes = body->length};
	struct buf answer;
	json_t *root = NULL;

	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	if (client_call(cli, &request, &answer, err) == 0)
		root = json_read_parse(buf_cstr(&answer), answer.length, err);
	if (root && cli_machine(cli))
		cli_out_json(cli, buf_cstr(&answer), answer.length);
	if (answer.length)
		mem_wipe(answer.data, answer.length);
	buf_fini(&answer);
	return root;
}

/* ---- invite ---- */

static int
read_limits(const struct cli *cli, uint64_t *ttl_ms, uint64_t *uses, struct err *err)
{
	const char *ttl = cli->args.value[FLAG_TTL], *n = cli->args.value[FLAG_USES];

	*ttl_ms = *uses = 0;
	if (ttl && (text_duration_ms(ttl, ttl_ms) != TEXT_OK || *ttl_ms < 1000 ||
		    *ttl_ms / 1000 > TTL_MAX_S)) {
		err_set(err, ERR_USAGE, "\"%s\" is not a duration from 1s to 30d", ttl);
		return err_fix(err, "for example --ttl 1h");
	}
	if (n && (!text_u64(n, USES_MAX, uses) || *uses == 0)) {
		err_set(err, ERR_USAGE, "\"%s\" is not a number of nodes from 1 to %d", n,
			USES_MAX);
		return err_fix(err, "for example --uses 3");
	}
	return 0;
}

static bool
admission_is_closed(const struct cli *cli)
{
	struct err ignored = {0};
	json_t *cluster = NULL;
	struct buf answer;

	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	if (client_get(cli, "/v1/cluster", &answer, &ignored) == 0)
		cluster = json_read_parse(buf_cstr(&answer), answer.length, &ignored);
	bool closed = cluster && strcmp(json_read_text(cluster, "admission"), "closed") == 0;
	json_read_free(cluster);
	buf_fini(&answer);
	return closed;
}

static void
say_invited(const struct cli *cli, const json_t *answer)
{
	long long uses = (long long)json_read_int(answer, "uses");
	char times[32] = "", until[32];

	if (uses != 1)
		text_format(times, sizeof(times), ", for %lld nodes", uses);
	text_format(until, sizeof(until), "%.19sZ", json_read_text(answer, "expires"));
	printf("%s\n", json_read_text(answer, "ticket"));
	fflush(stdout);
	if (json_read_bool(answer, "created"))
		cli_note(cli, "This node is a cluster of one now, and takes its changes.");
	cli_note(cli,
		 "On the other machine, until %s%s:  zlayer join TICKET\n"
		 "Whoever has this word may join; zlayer join - reads it from standard input.",
		 until, times);
	if (!cli->quiet && admission_is_closed(cli))
		cli_note(cli, "Nobody is let in now: zlayer cluster admission token");
}

int
cmd_invite(struct cli *cli)
{
	struct err err = {0};
	struct buf body;
	struct json j;
	uint64_t ttl_ms, uses;

	if (read_limits(cli, &ttl_ms, &uses, &err) < 0)
		return cli_fail(cli, &err);
	buf_init(&body, MEM_CLI, 4096);
	json_init(&j, &body);
	json_object(&j, NULL);
	json_u64(&j, "ttl_s", ttl_ms / 1000);
	json_u64(&j, "uses", uses);
	json_end(&j);
	json_t *answer = ask(cli, "POST", "/v1/cluster/invite", &body, &err);
	buf_fini(&body);
	if (!answer)
		return cli_fail(cli, &err);
	if (!cli_machine(cli))
		say_invited(cli, answer);
	json_read_free(answer);
	return 0;
}

/* ---- join ---- */

static int
read_ticket(const struct cli *cli, char out[TICKET_BYTES], struct err *err)
{
	const char *word = cli->args.operands[0];
	char line[TICKET_BYTES] = "";

	if (strcmp(word, "-") == 0) {
		if (!fgets(line, sizeof(line), stdin))
			return err_set(err, ERR_USAGE, "there is no ticket on standard input");
		line[strcspn(line, " \t\r\n")] = 0;
		word = line;
	}
	bool fits = text_copy(out, TICKET_BYTES, word);
	mem_wipe(line, sizeof(line));
	if (fits && text_starts(out, "zl1-"))
		return 0;
	err_set(err, ERR_USAGE, "that is not a ticket");
	return err_fix(err, "zlayer invite, on a node of the cluster, prints one");
}

/* Whether it is before it is asked to be. */
static bool
is_member(const struct cli *cli)
{
	struct err ignored = {0};
	struct buf answer;
	json_t *root = NULL;

	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	if (client_get(cli, "/v1/cluster", &answer, &ignored) == 0)
		root = json_read_parse(buf_cstr(&answer), answer.length, &ignored);
	bool member = json_read_text(root, "id")[0] != 0;
	json_read_free(root);
	buf_fini(&answer);
	return member;
}

int
cmd_join(struct cli *cli)
{
	char ticket[TICKET_BYTES];
	const char *name = cli->args.value[FLAG_NAME];
	struct err err = {0};
	struct buf body;
	struct json j;

	if (read_ticket(cli, ticket, &err) < 0)
		return cli_fail(cli, &err);
	buf_init(&body, MEM_CLI, 4096);
	json_init(&j, &body);
	json_object(&j, NULL);
	json_text(&j, "ticket", ticket);
	if (name)
		json_text(&j, "name", name);
	json_end(&j);
	mem_wipe(ticket, sizeof(ticket));
	bool was = is_member(cli);
	json_t *answer = ask(cli, "POST", "/v1/cluster/join", &body, &err);
	if (body.length)
		mem_wipe(body.data, body.length);
	buf_fini(&body);
	if (!answer)
		return cli_fail(cli, &err);
	if (!cli->quiet && !cli_machine(cli))
		printf("This %s node %lld of the cluster %.16s%s, which has %lld.\n",
		       was ? "was" : "is", (long long)json_read_int(answer, "node"),
		       json_read_text(answer, "id"), was ? " already" : "",
		       (long long)json_read_int(answer, "nodes"));
	json_read_free(answer);
	return 0;
}

/* ---- leave ---- */

int
cmd_leave(struct cli *cli)
{
	struct err err = {0};
	struct buf body;
	struct json j;

	if (cli_sure(cli, "Leave the cluster? Deployments stay with the others.", &err) < 0)
		return cli_fail(cli, &err);
	buf_init(&body, MEM_CLI, 4096);
	json_init(&j, &body);
	json_object(&j, NULL);
	json_bool(&j, "force", cli->args.given[FLAG_FORCE]);
	json_end(&j);
	bool was = is_member(cli);
	json_t *answer = ask(cli, "POST", "/v1/cluster/leave", &body, &err);
	buf_fini(&body);
	if (!answer)
		return cli_fail(cli, &err);
	if (!cli->quiet && !cli_machine(cli))
		printf("%s\n", was ? "This node is in no cluster any more."
				   : "This node was in no cluster.");
	json_read_free(answer);
	return 0;
}

/* ---- the cluster as a whole ---- */

int
cmd_cluster_show(struct cli *cli)
{
	struct err err = {0};
	struct buf answer, out;
	json_t *root = NULL;
	int status = 0;

	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	if (client_get(cli, "/v1/cluster", &answer, &err) < 0) {
		status = cli_fail(cli, &err);
	} else if (cli_machine(cli)) {
		status = cli_out_json(cli, buf_cstr(&answer), answer.length);
	} else if (!(root = json_read_parse(buf_cstr(&answer), answer.length, &err))) {
		status = cli_fail(cli, &err);
	} else {
		struct render r = {.now_wall_ns = world_wall_ns(), .colour = cli->colour_out};

		buf_init(&out, MEM_CLI, CLI_TEXT_MAX);
		render_cluster(root, &r, &out);
		cli_out_buf(&out);
		buf_fini(&out);
	}
	json_read_free(root);
	buf_fini(&answer);
	return status;
}

int
cmd_cluster_admission(struct cli *cli)
{
	const char *mode = cli->args.operands[0];
	struct err err = {0};
	struct buf body;
	struct json j;

	if (strcmp(mode, "token") != 0 && strcmp(mode, "open") != 0 &&
	    strcmp(mode, "closed") != 0) {
		err_set(&err, ERR_USAGE, "admission cannot be \"%s\"", mode);
		err_fix(&err, "token: with a ticket; open: also with one that has ended; closed: "
			      "nobody");
		return cli_fail(cli, &err);
	}
	buf_init(&body, MEM_CLI, 4096);
	json_init(&j, &body);
	json_object(&j, NULL);
	json_text(&j, "mode", mode);
	json_end(&j);
	json_t *answer = ask(cli, "PUT", "/v1/cluster/admission", &body, &err);
	buf_fini(&body);
	if (!answer)
		return cli_fail(cli, &err);
	if (!cli->quiet && !cli_machine(cli))
		printf("Admission is %s.\n", mode);
	json_read_free(answer);
	return 0;
}
