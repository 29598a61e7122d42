/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cni`: the plugin that podman, containerd and others start, as root, to put a container on this
 * node's mesh. It is thin: what the engine says goes to the node, whose runtime does it, and what
 * the node says goes to the engine. Nothing is kept here.
 *
 * A node that is down does not hold up an engine that removes a container: without its namespace
 * the link is gone, and the node finds that out when it comes back.
 */
#include "cli/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/cni.h"
#include "wire/url.h"

enum { NODE_MS = 30000, FABRIC_BYTES = CLI_SOCKET_BYTES + 16 };

static json_t *
call(const struct cli *cli, const char *method, const char *target, struct buf *body,
     struct err *err)
{
	struct client_request request = {.method = method, .target = target};
	struct buf answer;
	json_t *root = NULL;

	if (body) {
		request.content_type = "application/json";
		request.body = body->data;
		request.body_bytes = body->length;
	}
	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	if (body && !buf_ok(body))
		err_set(err, ERR_NO_MEMORY, "no memory for a request");
	else if (client_call(cli, &request, &answer, err) == 0)
		root = json_read_parse(buf_cstr(&answer), answer.length, err);
	buf_fini(&answer);
	return root;
}

static json_t *
call_attach(const struct cli *cli, const struct cni_request *r, const char *target, struct err *err)
{
	const struct msg_attach *a = &r->attach;
	struct buf body;
	struct json j;

	buf_init(&body, MEM_CLI, 8192);
	json_init(&j, &body);
	json_object(&j, NULL);
	json_text(&j, "network", a->key.network);
	json_text(&j, "container", a->key.container);
	json_text(&j, "interface", a->key.interface);
	json_text(&j, "netns", a->netns);
	if (a->name[0])
		json_text(&j, "name", a->name);
	json_end(&j);
	json_t *made = call(cli, "POST", target, &body, err);
	buf_fini(&body);
	return made;
}

/* ---- the verbs: 0, or -1 with err ---- */

static int
add(const struct cli *cli, const struct cni_request *r, struct buf *out, struct err *err)
{
	char fabric[FABRIC_BYTES];
	const char *slash = strrchr(cli->socket, '/');
	json_t *made = call_attach(cli, r, "/v1/attachments", err);

	if (!made)
		return -1;
	text_format(fabric, sizeof(fabric), "%.*snetns/fabric",
		    slash ? (int)(slash + 1 - cli->socket) : 0, cli->socket);
	cni_put_result(r, made, fabric, out);
	json_read_free(made);
	return 0;
}

static int
check(const struct cli *cli, const struct cni_request *r, struct err *err)
{
	json_t *made = call_attach(cli, r, "/v1/attachments/check", err);
	int rc = made ? cni_compare(r, made, err) : -1;

	json_read_free(made);
	return rc;
}

static int
detach(const struct cli *cli, const char *network, const char *container, const char *interface,
       struct err *err)
{
	char target[1024], name[3 * MSG_LINK];
	json_t *answer;

	if (url_encode(interface, strlen(interface), name, sizeof(name)) < 0 ||
	    !text_format(target, sizeof(target), "/v1/attachments/%s/%s?interface=%s", network,
			 container, name))
		return err_set(err, ERR_INVALID, "the names of an attachment are too long");
	answer = call(cli, "DELETE", target, NULL, err);
	json_read_free(answer);
	return answer ? 0 : -1;
}

static int
del(const struct cli *cli, const struct cni_request *r, struct err *err)
{
	const struct msg_attach_key *key = &r->attach.key;
	struct stat st;

	if (detach(cli, key->network, key->container, key->interface, err) == 0)
		return 0;
	if (err->kind != ERR_UNREACHABLE)
		return -1;
	if (!r->attach.netns[0] || (stat(r->attach.netns, &st) < 0 && errno == ENOENT)) {
		err_clear(err);
		return 0;
	}
	return -1;
}

/* Goes on after a failure: the first one is told. */
static int
collect_garbage(const struct cli *cli, const struct cni_request *r, struct err *err)
{
	char target[128];
	const json_t *items;
	int rc = 0;

	text_format(target, sizeof(target), "/v1/attachments?network=%s", r->attach.key.network);
	json_t *root = call(cli, "GET", target, NULL, err);
	items = json_read_array(root, "items");
	for (size_t i = 0; i < json_read_count(items); i++) {
		const json_t *item = json_read_at(items, i);
		const char *container = json_read_text(item, "container");
		const char *interface = json_read_text(item, "interface");
		struct err one = {0};

		if (cni_is_valid(r, container, interface))
			continue;
		if (detach(cli, r->attach.key.network, container, interface, &one) < 0 && rc == 0) {
			*err = one;
			rc = -1;
		}
	}
	json_read_free(root);
	return root ? rc : -1;
}

static int
status(const struct cli *cli, struct err *err)
{
	json_t *answer = call(cli, "GET", "/v1/attachments/ready", NULL, err);

	json_read_free(answer);
	return answer ? 0 : -1;
}

/* ---- together ---- */

static int
serve(struct cli *cli, const struct cni_request *r, struct buf *out, struct err *err)
{
	if (r->socket[0])
		text_copy(cli->socket, sizeof(cli->socket), r->socket);
	else if (r->instance[0] && !text_format(cli->socket, sizeof(cli->socket),
						"/run/zlayer/%s/zlayer.sock", r->instance))
		return err_set(err, ERR_INVALID, "the instance's name is too long");
	switch (r->verb) {
	case CNI_ADD:
		return add(cli, r, out, err);
	case CNI_DEL:
		return del(cli, r, err);
	case CNI_CHECK:
		return check(cli, r, err);
	case CNI_GC:
		return collect_garbage(cli, r, err);
	case CNI_STATUS:
		return status(cli, err);
	case CNI_VERSION:
		cni_put_versions(r, out);
		return 0;
	}
	return err_set(err, ERR_INTERNAL, "a verb without a meaning");
}

static int
run(struct cli *cli, struct cni_request *r, struct buf *out, unsigned *code, struct err *err)
{
	const struct cni_environment env = {
		.command = getenv("CNI_COMMAND"),
		.container = getenv("CNI_CONTAINERID"),
		.netns = getenv("CNI_NETNS"),
		.interface = getenv("CNI_IFNAME"),
		.args = getenv("CNI_ARGS"),
	};
	struct buf in;
	int rc;

	*code = CNI_IO;
	buf_init(&in, MEM_CLI, CNI_INPUT_MAX);
	/* A person, who has nothing to type here. */
	rc = isatty(STDIN_FILENO) ? 0 : fd_read_all(STDIN_FILENO, &in, err);
	if (rc == 0)
		rc = cni_parse(&env, buf_cstr(&in), in.length, r, code, err);
	if (rc == 0 && (rc = serve(cli, r, out, err)) < 0)
		*code = r->verb == CNI_STATUS ? (unsigned)CNI_NOT_AVAILABLE : cni_code(err);
	buf_fini(&in);
	return rc;
}

int
cmd_cni(struct cli *cli)
{
	struct cni_request r = {.version = CNI_1_1_0};
	struct err err = {0};
	unsigned code;
	struct buf out;

	cli->answer_ms = NODE_MS;
	buf_init(&out, MEM_CLI, CLI_TEXT_MAX);
	int rc = run(cli, &r, &out, &code, &err);
	if (rc == 0 && !buf_ok(&out)) {
		err_set(&err, ERR_NO_MEMORY, "no memory for an answer");
		code = CNI_REFUSED;
		rc = -1;
	}
	if (rc < 0) {
		buf_reset(&out);
		cni_put_error(r.version, code, &err, &out);
	}
	cli_out_buf(&out);
	buf_fini(&out);
	cni_fini(&r);
	return rc < 0 ? 1 : 0;
}
