/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OBSERVABILITY_EXPOSITION_H
#define OBSERVABILITY_EXPOSITION_H

/*
 * Gathered series as text: the classic Prometheus format 0.0.4, or OpenMetrics 1.0.0 when the
 * scraper's Accept header asks for it. No I/O.
 */

#include <stddef.h>
#include "base/buf.h"
#include "observability/gather.h"

enum exposition_format { EXPOSITION_CLASSIC, EXPOSITION_OPENMETRICS };

/* The format an Accept header asks for (RFC 9110 12.5.1: the highest weight; OpenMetrics only when
 * it is named in a version we speak). */
enum exposition_format exposition_choose(const char *accept, size_t length);
const char *exposition_content_type(enum exposition_format format);

/* g must be sorted. */
void exposition_write(const struct gather *g, enum exposition_format format, struct buf *out);

#endif
