/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_JSON_READ_H
#define WIRE_JSON_READ_H

/* The part of libjansson that is called, to read JSON (spec/json.h writes it): opened by the
 * programs that need it (base/dl.h). Depth is limited by the library (2048), size by the caller;
 * duplicate names are refused. */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/dl.h"

#define JANSSON_CALLS(X)          \
	X(json_loadb)             \
	X(json_delete)            \
	X(json_object_get)        \
	X(json_object_iter)       \
	X(json_object_iter_next)  \
	X(json_object_iter_key)   \
	X(json_object_iter_value) \
	X(json_object_size)       \
	X(json_array_get)         \
	X(json_array_size)        \
	X(json_string_value)      \
	X(json_string_length)     \
	X(json_integer_value)     \
	X(json_real_value)        \
	X(json_set_alloc_funcs)

DL_DECLARE(jansson, JANSSON_CALLS);

/* Loads the library and gives it our allocator. */
int json_read_open(struct err *err) MUST_CHECK;
/* NULL with ERR_INVALID: what is wrong and where. Free with json_read_free. */
json_t *json_read_parse(const char *text, size_t bytes, struct err *err);
void json_read_free(json_t *value); /* NULL is fine */
/* The member of an object, or NULL when it is absent or of another type. Borrowed. */
json_t *json_read_get(const json_t *object, const char *key);
const char *json_read_text(const json_t *object, const char *key); /* "" when absent */
int64_t json_read_int(const json_t *object, const char *key);      /* 0 when absent */
bool json_read_bool(const json_t *object, const char *key);
json_t *json_read_array(const json_t *object, const char *key); /* NULL: length 0 below */
size_t json_read_count(const json_t *array);
json_t *json_read_at(const json_t *array, size_t i);

#endif
