/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_TARGET_H
#define API_TARGET_H

/* Changes of a deployment or a part of it: what stop, start, scale and remove share. */

#include "api/call.h"
#include "ring/msg.h"
#include "ring/words.h"
#include "wire/json_read.h"

/* The deployment of the path, and service, index, grace_ms, replicas, force of the body (JSON,
 * optional). False: it was answered. */
bool target_from_body(struct call *call, struct msg_target_op *t);
/* Asks the scheduler; answers {"operation", "unchanged"}. */
void target_ask(struct call *call, uint16_t op, struct msg_target_op *t);
void target_no_deployment(struct call *call, const char *name);
void target_no_service(struct call *call, const char *deployment, const char *name);
/* A JSON list of texts, the body's member `key`. */
int target_words(const json_t *list, const char *key, struct words *out,
		 struct err *err) MUST_CHECK;

#endif
