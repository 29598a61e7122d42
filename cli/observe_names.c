/* SPDX-License-Identifier: Apache-2.0 */
/* One look at the node's status: nodes, peers by hand, deployments and their services. */
#include "cli/observe_names.h"

#include <string.h>
#include "base/text.h"
#include "cli/client.h"
#include "wire/json_read.h"

enum { NAMES_MAX = 128 }; /* that may be meant; of more only equal ones are found */

struct names {
	const char *wanted;
	const char *list[NAMES_MAX + 1]; /* ends with NULL */
	size_t count;
	bool found;
};

static void
add(struct names *n, const char *name)
{
	n->found = n->found || strcmp(name, n->wanted) == 0;
	if (n->count < NAMES_MAX)
		n->list[n->count++] = name;
}

static void
add_all(struct names *n, const json_t *items)
{
	for (size_t i = 0; i < json_read_count(items); i++)
		add(n, json_read_text(json_read_at(items, i), "name"));
}

static void
tell(const struct cli *cli, const struct names *n, const char *kind, const char *shown)
{
	const char *near = n->found ? NULL : text_nearest(n->wanted, n->list);

	if (!n->found)
		cli_note(cli, "zlayer: no %s \"%s\" is known%s%s%s", kind, n->wanted,
			 near ? "; did you mean \"" : "; ", near ? near : shown, near ? "\"?" : "");
}

static void
check_peer(const struct cli *cli, const json_t *status)
{
	struct names n = {.wanted = cli->args.value[FLAG_PEER]};

	add_all(&n, json_read_array(status, "nodes"));
	add_all(&n, json_read_array(json_read_get(status, "overlay"), "peers"));
	tell(cli, &n, "node", "zlayer node ls shows those that there are");
}

/* SERVICE or DEPLOYMENT/SERVICE: of which the deployment is judged, too. */
static void
check_service(const struct cli *cli, const json_t *status)
{
	const char *value = cli->args.value[FLAG_SERVICE], *slash = strchr(value, '/');
	const json_t *deployments = json_read_array(status, "deployments");
	struct names n = {.wanted = slash ? slash + 1 : value};

	for (size_t i = 0; i < json_read_count(deployments); i++) {
		const json_t *d = json_read_at(deployments, i);
		const char *name = json_read_text(d, "name");

		if (!slash || (strlen(name) == (size_t)(slash - value) &&
			       memcmp(name, value, (size_t)(slash - value)) == 0))
			add_all(&n, json_read_array(d, "services"));
	}
	tell(cli, &n, "service", "zlayer status shows those that there are");
}

void
observe_names_check(const struct cli *cli)
{
	const struct args *a = &cli->args;
	struct err ignored = {0};
	struct buf answer;
	json_t *status = NULL;

	if (cli->quiet || (!a->given[FLAG_PEER] && !a->given[FLAG_SERVICE]))
		return;
	buf_init(&answer, MEM_CLI, CLI_TEXT_MAX);
	if (client_get(cli, "/v1/status", &answer, &ignored) == 0)
		status = json_read_parse(buf_cstr(&answer), answer.length, &ignored);
	if (status && a->given[FLAG_PEER])
		check_peer(cli, status);
	if (status && a->given[FLAG_SERVICE])
		check_service(cli, status);
	json_read_free(status);
	buf_fini(&answer);
}
