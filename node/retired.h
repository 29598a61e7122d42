/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NODE_RETIRED_H
#define NODE_RETIRED_H

/*
 * What ended processes had counted. When a generation dies, its counters and histograms are added
 * to the series of the same metric and labels in node's own page; a reported value is the sum over
 * all pages, so nothing is counted twice and nothing goes back. node's page is kept in a file under
 * /run for a restart of node itself.
 * Threading: one owner.
 */

#include <stddef.h>
#include "base/err.h"
#include "base/metric.h"

/* Adds every counter and histogram of `from` (another process's memory: nothing in it is believed)
 * whose metric is known, of that kind, and whose labels are well-formed. Gives the number added. */
size_t retired_add(struct metric_page *into, const struct metric_page *from);

/* Writes the counters and histograms of a page as dirfd/retired, atomically. */
int retired_save(int dirfd, const struct metric_page *page, struct err *err) MUST_CHECK;
/* Adds what was saved. A missing file is nothing; a damaged one is ERR_CORRUPT and adds nothing. */
int retired_load(int dirfd, struct metric_page *page, struct err *err) MUST_CHECK;

#endif
