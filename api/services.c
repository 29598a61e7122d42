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

static void
put_service(struct json *j, struct server *s, const void *row)
{
	view_service(j, s, row);
}

void
services_list(struct call *call)
{
	char deployment[MSG_NAME];

	call_query(call, "deployment", deployment, sizeof(deployment));
	if (call->answered)
		return;
	rows_answer(call, &(struct rows_list){ROLE_SCHEDULER, MSG_TABLE_SERVICE, of_query,
					      deployment, rows_by_service, put_service});
}

static const struct msg_service *
find(struct call *call)
{
	const struct msg_service *s = rows_service(call->server, call->param[0], call->param[1]);

	if (!s)
		target_no_service(call, call->param[0], call->param[1]);
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

static void
put_route(struct json *j, struct server *s, const void *row)
{
	(void)s;
	view_route(j, row);
}

void
services_routes(struct call *call)
{
	rows_answer(call, &(struct rows_list){ROLE_SCHEDULER, MSG_TABLE_ROUTE, NULL, NULL, by_route,
					      put_route});
}
