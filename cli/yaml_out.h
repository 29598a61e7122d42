/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_YAML_OUT_H
#define CLI_YAML_OUT_H

/* A JSON value as block-style YAML 1.2: every text that could be read as something else is quoted
 * as JSON does. Check buf_ok(). */

#include "base/buf.h"
#include "wire/json_read.h"

void yaml_out_put(struct buf *out, json_t *value);

#endif
