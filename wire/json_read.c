/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading JSON (RFC 8259) with libjansson. The getters never fail: a member that is absent or of
 * another type reads as empty, because what is read here comes from another process and the reader
 * shows what it knows. The library's own header stays in this file: its names are those of
 * spec/json.h.
 */
#include "wire/json_read.h"

#include <jansson.h>
#include "base/dl.h"
#include "base/mem.h"

#define JANSSON_CALLS(X)          \
	X(json_loadb)             \
	X(json_delete)            \
	X(json_dumps)             \
	X(json_object_get)        \
	X(json_object_size)       \
	X(json_object_iter)       \
	X(json_object_iter_next)  \
	X(json_object_iter_key)   \
	X(json_object_iter_value) \
	X(json_array_get)         \
	X(json_array_size)        \
	X(json_string_value)      \
	X(json_integer_value)     \
	X(json_set_alloc_funcs)

DL_DECLARE(jansson, JANSSON_CALLS);
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

enum json_read_kind
json_read_kind(const json_t *value)
{
	if (!value)
		return JSON_READ_NULL;
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return JSON_READ_OBJECT;
	case JSON_ARRAY:
		return JSON_READ_ARRAY;
	case JSON_STRING:
		return JSON_READ_TEXT;
	case JSON_INTEGER:
		return JSON_READ_INTEGER;
	case JSON_REAL:
		return JSON_READ_REAL;
	case JSON_TRUE:
	case JSON_FALSE:
		return JSON_READ_BOOL;
	case JSON_NULL:
		break;
	}
	return JSON_READ_NULL;
}

json_t *
json_read_get(const json_t *object, const char *key)
{
	return json_is_object(object) ? jansson.json_object_get(object, key) : NULL;
}

const char *
json_read_string(const json_t *value)
{
	return json_is_string(value) ? jansson.json_string_value(value) : "";
}

const char *
json_read_text(const json_t *object, const char *key)
{
	return json_read_string(json_read_get(object, key));
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
json_read_count(const json_t *value)
{
	if (json_is_object(value))
		return jansson.json_object_size(value);
	return json_is_array(value) ? jansson.json_array_size(value) : 0;
}

json_t *
json_read_at(const json_t *array, size_t i)
{
	return json_is_array(array) ? jansson.json_array_get(array, i) : NULL;
}

void *
json_read_first(json_t *object)
{
	return json_is_object(object) ? jansson.json_object_iter(object) : NULL;
}

void *
json_read_next(json_t *object, void *it)
{
	return jansson.json_object_iter_next(object, it);
}

const char *
json_read_key(void *it)
{
	return jansson.json_object_iter_key(it);
}

json_t *
json_read_value(void *it)
{
	return jansson.json_object_iter_value(it);
}

char *
json_read_dump(const json_t *value)
{
	return jansson.json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
}
