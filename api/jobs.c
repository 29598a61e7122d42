/* SPDX-License-Identifier: Apache-2.0 */
/* Runs of jobs. A run is a replica of its service: its logs and its end are found there. */
#include <string.h>
#include "api/route.h"
#include "api/rows.h"
#include "api/target.h"
#include "base/fd.h"
#include "base/text.h"
#include "wire/json_read.h"

static void
answered(struct call *call, const void *body, size_t bytes, int *fds, size_t count)
{
	const struct msg_run_answer *a = body;
	struct buf b;
	struct json j;

	(void)fds, (void)count;
	if (!call_answer_begin(call, "scheduler", bytes == sizeof(*a), 4096, &b, &j))
		return;
	json_u64(&j, "replica", a->replica);
	json_textf(&j, "name", "%.63s/%.63s.%u", call->param[0], call->param[1], a->index);
	json_end(&j);
	call_json(call, 202, NULL, &b);
}

/* {"args": [...]} */
static int
take_args(struct call *call, struct words *args, struct err *err)
{
	if (call->body.length == 0)
		return 0;
	json_t *root = json_read_parse(buf_cstr(&call->body), call->body.length, err);
	if (!root)
		return -1;
	int rc = json_read_kind(root) == JSON_READ_OBJECT
			 ? 0
			 : err_set(err, ERR_INVALID, "the body must be a JSON object");
	for (void *it = rc == 0 ? json_read_first(root) : NULL; it && rc == 0;
	     it = json_read_next(root, it)) {
		if (strcmp(json_read_key(it), "args") == 0)
			rc = target_words(json_read_value(it), "args", args, err);
		else
			rc = err_set(err, ERR_INVALID, "the body's \"%.60s\" is not known",
				     json_read_key(it)),
			err_fix(err, "args");
	}
	json_read_free(root);
	return rc;
}

static void
ask(struct call *call, struct msg_target_op *t, const struct words *args)
{
	defer_close int fd = args->count > 0 ? words_fd(args) : -1;
	struct err err = {0};

	if (args->count > 0 && fd < 0) {
		err_set(&err, ERR_LIMIT, "no memory file for the arguments");
		call_problem_status(call, &err, 503);
		return;
	}
	call_ask(call, ROLE_SCHEDULER, MSG_OP_RUN, t, sizeof(*t), &fd, fd >= 0, CALL_ASK_MS,
		 answered);
}

void
jobs_run(struct call *call)
{
	struct msg_target_op t = {.who_uid = call->conn->user->uid};
	struct words args;
	struct err err = {0};

	if (!rows_service(call->server, call->param[0], call->param[1])) {
		target_no_service(call, call->param[0], call->param[1]);
		return;
	}
	text_copy(t.deployment, sizeof(t.deployment), call->param[0]);
	text_copy(t.service, sizeof(t.service), call->param[1]);
	words_init(&args, MEM_API);
	if (take_args(call, &args, &err) < 0)
		call_problem(call, &err);
	else
		ask(call, &t, &args);
	words_fini(&args);
}
