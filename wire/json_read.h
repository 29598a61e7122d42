/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_JSON_READ_H
#define WIRE_JSON_READ_H

/* Reads JSON with libjansson (spec/json.h writes it), opened by the programs that need it. Depth is
 * limited by the library (2048), size by the caller; duplicate names are refused. The getters never
 * fail: what is absent or of another type reads as empty. Threading: one owner. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

typedef struct json_t json_t;

enum json_read_kind {
	JSON_READ_NULL, /* and absent */
	JSON_READ_BOOL,
	JSON_READ_INTEGER,
	JSON_READ_REAL,
	JSON_READ_TEXT,
	JSON_READ_ARRAY,
	JSON_READ_OBJECT,
};

/* Loads the library and gives it our allocator. */
int json_read_open(struct err *err) MUST_CHECK;
/* NULL with ERR_INVALID: what is wrong and where. Free with json_read_free. */
json_t *json_read_parse(const char *text, size_t bytes, struct err *err);
void json_read_free(json_t *value); /* NULL is fine */
enum json_read_kind json_read_kind(const json_t *value);
/* The member of an object, or NULL when it is absent. Borrowed. */
json_t *json_read_get(const json_t *object, const char *key);
const char *json_read_text(const json_t *object, const char *key); /* "" when absent */
int64_t json_read_int(const json_t *object, const char *key);      /* 0 when absent */
bool json_read_bool(const json_t *object, const char *key);
json_t *json_read_array(const json_t *object, const char *key); /* NULL when absent */
/* Items of an array, members of an object; 0 for anything else. */
size_t json_read_count(const json_t *value);
json_t *json_read_at(const json_t *array, size_t i);
/* A text itself; "" when the value is none. */
const char *json_read_string(const json_t *value);
/* Members of an object in order: for (it = first(o); it; it = next(o, it)) key(it), value(it). */
void *json_read_first(json_t *object);
void *json_read_next(json_t *object, void *it);
const char *json_read_key(void *it);
json_t *json_read_value(void *it);
/* One line of JSON, or NULL when out of memory; mem_free it. */
char *json_read_dump(const json_t *value);

#endif
