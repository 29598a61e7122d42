/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_DIFF_H
#define SCHEDULER_DIFF_H

/*
 * What changes from one document to another, in lines for people: "~ web image a -> b",
 * "+ web env.FEATURE_X on", "- web endpoints[1]", "+ api", "- db", "= cache unchanged". A pure
 * function of two documents; libyaml must be loaded.
 */

#include "base/buf.h"
#include "base/err.h"
#include "spec/doc.h"

struct diff_pin {
	const char *service;
	const char *before; /* digests of the image; "" unknown */
	const char *after;
};

/* before may be NULL. Images whose name is the same but whose digest is not are a change, too:
 * pins has one entry for each such service. Lines past max_bytes are counted, not written. */
int diff_lines(const struct doc *before, const struct doc *after, const struct diff_pin *pins,
	       size_t pins_count, size_t max_bytes, struct buf *out, struct err *err) MUST_CHECK;

#endif
