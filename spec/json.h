/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SPEC_JSON_H
#define SPEC_JSON_H

/*
 * Writes JSON (RFC 8259) into a struct buf: commas and quoting are done here, nesting is checked by
 * asserts. Compact, one line. Text that is not UTF-8 has its broken bytes replaced by U+FFFD.
 * Errors: the buffer's own sticky failure; check buf_ok() at the end.
 *
 *   struct json j;
 *   json_init(&j, &buf);
 *   json_object(&j, NULL);
 *   json_text(&j, "name", "web");
 *   json_array(&j, "ports");
 *   json_u64(&j, NULL, 80);
 *   json_end(&j);
 *   json_end(&j);
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"

enum { JSON_DEPTH_MAX = 64 };

struct json {
	struct buf *out;
	unsigned depth;
	bool array[JSON_DEPTH_MAX];
	bool comma[JSON_DEPTH_MAX];
};

void json_init(struct json *j, struct buf *out);
/* key: the member's name inside an object, NULL inside an array and at the top. */
void json_object(struct json *j, const char *key);
void json_array(struct json *j, const char *key);
void json_end(struct json *j); /* of the innermost object or array */
void json_text(struct json *j, const char *key, const char *value); /* NULL gives null */
void json_textn(struct json *j, const char *key, const char *value, size_t bytes);
void json_textf(struct json *j, const char *key, const char *fmt, ...)
	__attribute__((format(printf, 3, 4))); /* at most 1023 bytes */
void json_u64(struct json *j, const char *key, uint64_t value);
void json_i64(struct json *j, const char *key, int64_t value);
void json_f64(struct json *j, const char *key, double value); /* not finite: null */
void json_bool(struct json *j, const char *key, bool value);
void json_null(struct json *j, const char *key);
/* A value that is JSON already. */
void json_raw(struct json *j, const char *key, const char *value, size_t bytes);
/* A text with its quotes, without any structure around it. */
void json_string(struct buf *out, const char *text, size_t bytes);

#endif
