/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading JSON (RFC 8259) with libjansson. The getters never fail: a member that is absent or of
 * another type reads as empty, because what is read here comes from another process and the reader
 * shows what it knows.
 */
#include "wire/json_read.h"

#include "base/mem.h"

DL_DEFINE(jansson, "libjansson.so.4", JANSSON_CALLS)

static void *
hook_alloc(size_t bytes)
{
	return mem_alloc(MEM_LIBRARY, bytes);
}

int
json_read_open(struct err *err)
{
	if (dl_load_jansson(err) < 0)
		return -1;
	jansson.json_set_alloc_funcs(hook_alloc, mem_free);
	return 0;
}

json_t *
json_read_parse(const char *text, size_t bytes, struct err *err)
{
	json_error_t why;
	json_t *value = jansson.json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &why);

	if (!value) {
		err_set(err, ERR_INVALID, "this is not JSON");
		err_why(err, "line %d, column %d: %s", why.line, why.column, why.text);
	}
	return value;
}

void
json_read_free(json_t *value)
{
	if (value && value->refcount != (size_t)-1 && JSON_INTERNAL_DECREF(value) == 0)
		jansson.json_delete(value);
}

json_t *
json_read_get(const json_t *object, const char *key)
{
	return json_is_object(object) ? jansson.json_object_get(object, key) : NULL;
}

const char *
json_read_text(const json_t *object, const char *key)
{
	const json_t *v = json_read_get(object, key);

	return json_is_string(v) ? jansson.json_string_value(v) : "";
}

int64_t
json_read_int(const json_t *object, const char *key)
{
	const json_t *v = json_read_get(object, key);

	return json_is_integer(v) ? jansson.json_integer_value(v) : 0;
}

bool
json_read_bool(const json_t *object, const char *key)
{
	const json_t *v = json_read_get(object, key);

	return json_is_true(v);
}

json_t *
json_read_array(const json_t *object, const char *key)
{
	json_t *v = json_read_get(object, key);

	return json_is_array(v) ? v : NULL;
}

size_t
json_read_count(const json_t *array)
{
	return json_is_array(array) ? jansson.json_array_size(array) : 0;
}

json_t *
json_read_at(const json_t *array, size_t i)
{
	return json_is_array(array) ? jansson.json_array_get(array, i) : NULL;
}
