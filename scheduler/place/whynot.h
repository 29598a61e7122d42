/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_PLACE_WHYNOT_H
#define SCHEDULER_PLACE_WHYNOT_H

/*
 * Says in words why nodes do not take a service: the table of `zlayer explain` and of a deployment
 * that has no place.
 *
 *   node    cpu free  memory free  why not
 *   edge-1  1.2       310 MiB      needs memory 512 MiB (202 MiB short)
 *
 * Reasons are the bits of fit.h, of this node's own search or of a node's answer.
 */

#include "base/buf.h"
#include "scheduler/place/fit.h"

enum { WHYNOT_TEXT_BYTES = 256 };

struct whynot_row {
	const struct fleet_node *node;
	struct fit fit;
	const char *note; /* what else is known of it ("since 02:01:12"); NULL: nothing */
};

/* The most telling reason, as a sentence; "" when it fits. */
void whynot_sentence(const struct fleet *f, const struct fleet_service *s,
		     const struct whynot_row *row, char *out, size_t cap);
/* The table with its head, each line after `indent` spaces. Check buf_ok(). */
void whynot_table(const struct fleet *f, const struct fleet_service *s,
		  const struct whynot_row *rows, size_t count, unsigned indent, struct buf *out);
/* What would help, as a sentence; false when nothing is known. */
bool whynot_fix(const struct fleet_service *s, const struct whynot_row *rows, size_t count,
		char *out, size_t cap);

#endif
