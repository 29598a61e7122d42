/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SPEC_PROBLEM_H
#define SPEC_PROBLEM_H

/* One form of an error as JSON, for the API and for the command line. */

#include "base/err.h"
#include "spec/json.h"

/* Begins an object with type, title, status, detail, code, where, why and fix; the caller may add
 * members and ends it. */
void problem_put(struct json *j, const struct err *err, unsigned status);

#endif
