/* SPDX-License-Identifier: Apache-2.0 */
/* JSON bodies, member by member. What a member means is the handler's; here is what it may be. */
#include "api/body.h"

#include <string.h>
#include "base/text.h"

bool
body_each(struct call *call, body_member_fn take, void *arg)
{
	struct err err = {0};
	json_t *root;
	int rc = 0;

	if (call->body.length == 0)
		return true;
	root = json_read_parse(buf_cstr(&call->body), call->body.length, &err);
	if (!root || json_read_kind(root) != JSON_READ_OBJECT)
		rc = root ? err_set(&err, ERR_INVALID, "the body must be a JSON object") : -1;
	for (void *it = rc == 0 ? json_read_first(root) : NULL; it && rc == 0;
	     it = json_read_next(root, it))
		rc = take(arg, json_read_key(it), json_read_value(it), &err);
	json_read_free(root);
	if (rc < 0)
		call_problem(call, &err);
	return rc == 0;
}

int
body_number(const json_t *value, const char *key, uint32_t max, uint32_t *out, struct err *err)
{
	char *text = json_read_dump(value);
	uint64_t n = 0;
	bool good = text && json_read_kind(value) == JSON_READ_INTEGER && text_u64(text, max, &n);

	mem_free(text);
	*out = (uint32_t)n;
	return good ? 0
		    : err_set(err, ERR_INVALID, "\"%s\" must be a whole number up to %u", key, max);
}

int
body_bool(const json_t *value, const char *key, uint32_t *out, struct err *err)
{
	char *text = json_read_dump(value);
	bool good = text && json_read_kind(value) == JSON_READ_BOOL;

	*out = good && strcmp(text, "true") == 0;
	mem_free(text);
	return good ? 0 : err_set(err, ERR_INVALID, "\"%s\" must be true or false", key);
}

int
body_text(const json_t *value, const char *key, char *out, size_t cap, struct err *err)
{
	if (json_read_kind(value) == JSON_READ_TEXT && text_copy(out, cap, json_read_string(value)))
		return 0;
	return err_set(err, ERR_INVALID, "\"%.60s\" must be a text of at most %zu bytes", key,
		       cap - 1);
}

int
body_unknown(const char *key, const char *known, struct err *err)
{
	err_set(err, ERR_INVALID, "the body's \"%.60s\" is not known", key);
	return err_fix(err, "%s", known);
}
