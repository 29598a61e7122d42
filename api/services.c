/* SPDX-License-Identifier: Apache-2.0 */
/* Services and the routes to them. */
#include <string.h>
#include "api/route.h"
#include "api/rows.h"
#include "api/target.h"
#include "api/view.h"
#include "base/text.h"

enum { ANSWER_MAX = 32 << 20 };

static bool
of_query(const void *row, void *arg)
{
	const struct msg_service *s = row;
	const char *deployment = arg;

	return !deployment[0] ||
	       strncmp(s->deployment_name, deployment, sizeof(s->deployment_name)) == 0;
}

void
services_list(struct call *call)
{
	char deployment[MSG_NAME];
	struct rows rows;
	struct buf b;
	struct json j;

	call_query(call, "deployment", deployment, sizeof(deployment));
	if (call->answered)
		return;
	buf_init(&b, MEM_API, ANSWER_MAX);
	json_init(&j, &b);
	json_object(&j, NULL);
	json_array(&j, "items");
	rows_collect(call->server, ROLE_SCHEDULER, MSG_TABLE_SERVICE, of_query, deployment,
		     rows_by_service, &rows);
	for (size_t i = 0; i < rows.count; i++)
		view_service(&j, call->server, rows.items[i]);
	rows_fini(&rows);
	json_end(&j);
	json_end(&j);
	call_json(call, 200, NULL, &b);
}

static const struct msg_service *
find(struct call *call)
{
	const struct msg_service *s = rows_service(call->server, call->param[0], call->param[1]);
	struct err err = {0};

	if (!s) {
		err_set(&err, ERR_NOT_FOUND, "there is no service \"%.63s/%.63s\"", call->param[0],
			call->param[1]);
		err_fix(&err, "zlayer status shows what there is");
		call_problem(call, &err);
	}
	return s;
}

void
services_get(struct call *call)
{
	const struct msg_service *s = find(call);
	struct buf b;
	struct json j;

	if (!s)
		return;
	buf_init(&b, MEM_API, ANSWER_MAX);
	json_init(&j, &b);
	view_service(&j, call->server, s);
	call_json(call, 200, NULL, &b);
}

void
services_patch(struct call *call)
{
	struct msg_target_op t = {0};
	struct err err = {0};

	if (!find(call))
		return;
	if (call->body.length == 0 || !strstr(buf_cstr(&call->body), "\"replicas\"")) {
		err_set(&err, ERR_INVALID, "the body must say how many");
		err_fix(&err, "for example {\"replicas\": 3}");
		call_problem(call, &err);
		return;
	}
	if (!target_from_body(call, &t))
		return;
	text_copy(t.service, sizeof(t.service), call->param[1]);
	target_ask(call, MSG_OP_SCALE, &t);
}

static int
by_route(const void *a, const void *b)
{
	const struct msg_route *x = *(const void *const *)a, *y = *(const void *const *)b;
	int order = strncmp(x->host, y->host, sizeof(x->host));

	return order ? order : strncmp(x->path, y->path, sizeof(x->path));
}

void
services_routes(struct call *call)
{
	struct rows rows;
	struct buf b;
	struct json j;

	buf_init(&b, MEM_API, ANSWER_MAX);
	json_init(&j, &b);
	json_object(&j, NULL);
	json_array(&j, "items");
	rows_collect(call->server, ROLE_SCHEDULER, MSG_TABLE_ROUTE, NULL, NULL, by_route, &rows);
	for (size_t i = 0; i < rows.count; i++)
		view_route(&j, rows.items[i]);
	rows_fini(&rows);
	json_end(&j);
	json_end(&j);
	call_json(call, 200, NULL, &b);
}
