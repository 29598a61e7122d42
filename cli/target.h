/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_TARGET_H
#define CLI_TARGET_H

/* What a command is about: a deployment, a service of it, or a replica. */

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "wire/json_read.h"

struct cli;

enum { TARGET_NAME_BYTES = 64, TARGET_TEXT_BYTES = 160 };

struct target {
	char deployment[TARGET_NAME_BYTES]; /* "" while a short form was not looked up */
	char service[TARGET_NAME_BYTES];    /* "": all */
	uint32_t index;                     /* 0: all */
};

/* "deployment", "deployment/service", "deployment/service.N", "service.N". A single word is put
 * into `deployment`. ERR_USAGE. */
int target_parse(const char *text, struct target *out, struct err *err) MUST_CHECK;
/* Completes short forms by what is there: the items of GET /v1/deployments. Exact names go before
 * beginnings; a beginning must be unique. ERR_NOT_FOUND suggests, ERR_USAGE lists what it may be.
 */
int target_match(const json_t *deployments, const char *text, struct target *out,
		 struct err *err) MUST_CHECK;
/* Asks the node, then as target_match; a replica that is named must be there, too. */
int target_resolve(const struct cli *cli, const char *text, struct target *out,
		   struct err *err) MUST_CHECK;
/* A deployment; with text NULL the only one there is. */
int target_only(const struct cli *cli, const char *text, struct target *out,
		struct err *err) MUST_CHECK;
/* "my-app/web.1" */
void target_text(const struct target *t, char out[TARGET_TEXT_BYTES]);

#endif
