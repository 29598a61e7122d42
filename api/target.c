/* SPDX-License-Identifier: Apache-2.0 */
/* Targets in paths and bodies. */
#include "api/target.h"

#include <string.h>
#include "api/body.h"
#include "base/text.h"
#include "wire/json_read.h"

void
target_no_deployment(struct call *call, const char *name)
{
	struct err err = {0};

	err_set(&err, ERR_NOT_FOUND, "there is no deployment \"%.63s\"", name);
	err_fix(&err, "zlayer status shows what there is");
	call_problem(call, &err);
}

void
target_no_service(struct call *call, const char *deployment, const char *name)
{
	struct err err = {0};

	err_set(&err, ERR_NOT_FOUND, "there is no service \"%.63s/%.63s\"", deployment, name);
	err_fix(&err, "zlayer status shows what there is");
	call_problem(call, &err);
}

int
target_words(const json_t *list, const char *key, struct words *out, struct err *err)
{
	bool good = json_read_kind(list) == JSON_READ_ARRAY;

	for (size_t i = 0; good && i < json_read_count(list); i++) {
		const json_t *item = json_read_at(list, i);

		good = json_read_kind(item) == JSON_READ_TEXT;
		if (good && words_add(out, json_read_string(item), err) < 0)
			return -1;
	}
	return good ? 0 : err_set(err, ERR_INVALID, "\"%s\" must be a list of texts", key);
}

static int
take_member(void *arg, const char *key, json_t *value, struct err *err)
{
	struct msg_target_op *t = arg;

	if (strcmp(key, "service") == 0) {
		if (text_is_label(json_read_string(value)) &&
		    text_copy(t->service, sizeof(t->service), json_read_string(value)))
			return 0;
		return err_set(err, ERR_INVALID, "\"service\" must be a service's name");
	}
	if (strcmp(key, "index") == 0)
		return body_number(value, key, UINT32_MAX, &t->index, err);
	if (strcmp(key, "grace_ms") == 0)
		return body_number(value, key, 86400000, &t->grace_ms, err);
	if (strcmp(key, "replicas") == 0)
		return body_number(value, key, 10000, &t->replicas, err);
	if (strcmp(key, "force") == 0)
		return body_bool(value, key, &t->force, err);
	return body_unknown(key, "service, index, grace_ms, replicas, force", err);
}

bool
target_from_body(struct call *call, struct msg_target_op *t)
{
	if (text_copy(t->deployment, sizeof(t->deployment), call->param[0]))
		return body_each(call, take_member, t);
	target_no_deployment(call, call->param[0]);
	return false;
}

static void
answered(struct call *call, const void *body, size_t bytes, int *fds, size_t count)
{
	const struct msg_target_answer *a = body;
	struct buf b;
	struct json j;

	(void)fds, (void)count;
	if (!call_answer_begin(call, "scheduler", bytes == sizeof(*a), 4096, &b, &j))
		return;
	json_text(&j, "deployment", call->param[0]);
	json_u64(&j, "operation", a->operation);
	json_bool(&j, "unchanged", a->unchanged != 0);
	json_end(&j);
	call_json(call, a->operation ? 202 : 200, NULL, &b);
}

void
target_ask(struct call *call, uint16_t op, struct msg_target_op *t)
{
	t->who_uid = call->conn->user->uid;
	call_ask(call, ROLE_SCHEDULER, op, t, sizeof(*t), NULL, 0, CALL_ASK_MS, answered);
}
