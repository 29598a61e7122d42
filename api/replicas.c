/* SPDX-License-Identifier: Apache-2.0 */
/* Replicas, with their containers and conditions. */
#include "api/replicas.h"

#include "api/route.h"
#include "api/rows.h"
#include "api/view.h"
#include "base/text.h"

enum { ANSWER_MAX = 32 << 20 };

struct wanted {
	struct rows_target target;
	bool given;
	bool jobs; /* runs of jobs only */
};

static bool
is_wanted(const void *row, void *arg)
{
	const struct wanted *w = arg;

	return (!w->jobs || ((const struct msg_replica *)row)->job) &&
	       (!w->given || rows_target_has(&w->target, row));
}

static void
put_replica(struct json *j, struct server *s, const void *row)
{
	view_replica(j, NULL, s, row);
}

void
replicas_list(struct call *call)
{
	struct wanted w = {0};
	char text[MSG_TARGET];

	w.given = call_query(call, "target", text, sizeof(text));
	if (call->answered || (w.given && !replicas_target(call, text, &w.target)) ||
	    !call_query_bool(call, "job", &w.jobs))
		return;
	rows_answer(call, &(struct rows_list){ROLE_SCHEDULER, MSG_TABLE_REPLICA, is_wanted, &w,
					      rows_by_replica, put_replica});
}

bool
replicas_target(struct call *call, const char *text, struct rows_target *out)
{
	struct err err = {0};

	if (rows_target_parse(text, out))
		return true;
	err_set(&err, ERR_INVALID, "\"%.100s\" is not a target", text);
	err_fix(&err, "DEPLOYMENT, DEPLOYMENT/SERVICE or DEPLOYMENT/SERVICE.N");
	call_problem(call, &err);
	return false;
}

const struct msg_replica *
replicas_find(struct call *call)
{
	struct err err = {0};
	const struct msg_replica *r = NULL;
	uint64_t id;

	if (text_u64(call->param[0], INT64_MAX, &id))
		r = rows_get(call->server, ROLE_SCHEDULER, MSG_TABLE_REPLICA, id);
	if (!r) {
		err_set(&err, ERR_NOT_FOUND, "there is no replica \"%.40s\"", call->param[0]);
		call_problem(call, &err);
	}
	return r;
}

void
replicas_get(struct call *call)
{
	const struct msg_replica *r = replicas_find(call);
	struct buf b;
	struct json j;

	if (!r)
		return;
	buf_init(&b, MEM_API, ANSWER_MAX);
	json_init(&j, &b);
	view_replica(&j, NULL, call->server, r);
	call_json(call, 200, NULL, &b);
}
