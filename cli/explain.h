/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_EXPLAIN_H
#define CLI_EXPLAIN_H

/*
 * What the parts of `explain` share: a walk along the steps of something, which ends at the first
 * that fails. Threading: the program's only thread.
 */

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"
#include "cli/cli.h"
#include "spec/json.h"
#include "wire/json_read.h"

enum { EXPLAIN_LIST_BYTES = 300 };

struct explain {
	const struct cli *cli;
	struct buf out;
	struct json json;
	bool machine;
	bool failed; /* the walk is over */
};

/* A step; state: "ok", "warn", "FAIL". Its why, log and fix may follow, then explain_end(). */
void explain_begin(struct explain *w, const char *state, const char *what, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* "" is not said. */
void explain_say(struct explain *w, const char *label, const char *text);
void explain_end(struct explain *w);
/* A reason of the API, below a step. */
void explain_reason(struct explain *w, const json_t *reason);
/* The answer to a GET; json_read_free it. NULL with err. */
json_t *explain_ask(struct explain *w, const char *target, struct err *err);

/* A service as the API has it, and its replicas; index 0: all of them. */
void explain_service(struct explain *w, const json_t *s, uint32_t index);
/* For explain_say_move: what all nodes told lately; json_read_free it. NULL: nothing could be
 * asked. */
json_t *explain_moves(struct explain *w);
/* When and why this replica was placed anew, if it was; below a step. */
void explain_say_move(struct explain *w, const json_t *moves, const char *deployment,
		      const char *service, long long index);
/* How clients reach its tcp and udp endpoints; index: as above. */
void explain_clients(struct explain *w, const json_t *s, uint32_t index);
/* explain_conductor.c: who conducts a service in the place of a node that cannot write the store.
 */
void explain_conductor(struct explain *w, const char *deployment, const char *name);
/* False: there is no node of this name. */
bool explain_node(struct explain *w, const char *name);
int explain_url(struct explain *w, const char *text, struct err *err) MUST_CHECK;

#endif
