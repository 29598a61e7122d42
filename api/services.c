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

static void
run_answered(struct call *call, const void *body, size_t bytes, int *fds, size_t count)
{
	const struct msg_run_answer *a = body;
	struct err err = {0};
	struct buf b;
	struct json j;

	(void)fds, (void)count;
	if (bytes != sizeof(*a)) {
		err_set(&err, ERR_CORRUPT, "the scheduler's answer does not hold");
		call_problem(call, &err);
		return;
	}
	buf_init(&b, MEM_API, 4096);
	json_init(&j, &b);
	json_object(&j, NULL);
	json_u64(&j, "replica", a->replica);
	json_textf(&j, "name", "%.63s/%.63s.%u", call->param[0], call->param[1], a->index);
	json_end(&j);
	call_json(call, 202, NULL, &b);
}

void
services_run(struct call *call)
{
	struct msg_target_op t = {.who_uid = call->conn->user->uid};

	if (!find(call))
		return;
	text_copy(t.deployment, sizeof(t.deployment), call->param[0]);
	text_copy(t.service, sizeof(t.service), call->param[1]);
	call_ask(call, ROLE_SCHEDULER, MSG_OP_RUN, &t, sizeof(t), NULL, 0, CALL_ASK_MS,
		 run_answered);
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
