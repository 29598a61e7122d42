/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OBSERVABILITY_ACCESS_H
#define OBSERVABILITY_ACCESS_H

/*
 * Access records of the proxies as structured log lines. Records are other processes' bytes: a
 * record whose lengths lie is counted and dropped. Sampling and excluded paths are the
 * configuration's (logs.access).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "ring/msg.h"
#include "ring/ring.h"
#include "spec/config.h"

struct access_record {
	struct msg_access fixed;
	const char *host, *path, *request_id, *user_agent; /* into the record */
};

/* False when the record does not hold. */
bool access_parse(const void *data, size_t bytes, struct access_record *out);
/* Whether this record is to be written: sampling by its request id, so that all workers and nodes
 * choose alike. */
bool access_wanted(const struct config_access *config, const struct access_record *r);
/* service: "deployment/service", "" unknown. */
void access_write(const struct access_record *r, const char *service);

#endif
