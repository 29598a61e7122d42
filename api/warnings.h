/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_WARNINGS_H
#define API_WARNINGS_H

/* What needs somebody's attention, with what to do about it: a part of the node's status. */

#include <stdbool.h>
#include "api/call.h"
#include "spec/json.h"

/* An array "warnings". told: the scheduler has said all it knows; if not, that is one. */
void warnings_put(struct json *j, struct call *call, bool told);

#endif
