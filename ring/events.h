/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_EVENTS_H
#define RING_EVENTS_H

/* The types that events have (msg_event.type), "group.what" each: docs/events.md says when. The
 * contract of those who filter by them. Constant data. */

#include <stdbool.h>
#include "base/err.h"

/* Ended by NULL; types of one group stand together. */
extern const char *const events_types[];

bool events_known(const char *type);
/* A type, or the group of several ("replica"): what one may filter by. ERR_USAGE suggests. */
int events_filter_check(const char *text, struct err *err) MUST_CHECK;
/* Whether an event of this type passes the filter. */
bool events_filter(const char *text, const char *type);

#endif
