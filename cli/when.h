/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_WHEN_H
#define CLI_WHEN_H

#include <stdint.h>
#include "base/err.h"

/* "10m": that long before now; or an RFC 3339 time. ERR_USAGE. */
int when_parse(const char *text, int64_t now_wall_ns, int64_t *wall_ns_out,
	       struct err *err) MUST_CHECK;

#endif
