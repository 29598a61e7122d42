/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_BODY_H
#define API_BODY_H

/* Bodies of requests that are JSON objects of known members. An unknown or mistyped member is an
 * error: it must not silently change something else. */

#include "api/call.h"
#include "wire/json_read.h"

/* 0, or -1 with err. */
typedef int (*body_member_fn)(void *arg, const char *key, json_t *value, struct err *err);

/* Gives every member to `take`, in order, until one is refused; no body is an empty object. False:
 * it was answered. */
bool body_each(struct call *call, body_member_fn take, void *arg);

int body_number(const json_t *value, const char *key, uint32_t max, uint32_t *out,
		struct err *err) MUST_CHECK;
int body_bool(const json_t *value, const char *key, uint32_t *out, struct err *err) MUST_CHECK;
/* A text of less than cap bytes. */
int body_text(const json_t *value, const char *key, char *out, size_t cap,
	      struct err *err) MUST_CHECK;
/* For a member that nobody knows; known: what there is. Gives -1. */
int body_unknown(const char *key, const char *known, struct err *err);

#endif
