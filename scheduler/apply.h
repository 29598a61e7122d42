/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_APPLY_H
#define SCHEDULER_APPLY_H

/*
 * Taking a document: it is parsed and checked again here (nobody's word is taken for it), compared
 * with what serves, and either refused, found unchanged, shown (dry run), or written to the store
 * as a new revision with an operation under way. Nothing is half-applied.
 */

#include "scheduler/write.h"

struct apply_input {
	const struct msg_apply *request;
	const char *text; /* of the document */
	size_t bytes;
	/* What registries say that images are; for services that are not in it: what is here. */
	const struct msg_apply_pin *pins;
	size_t pins_count;
};

/* -1, REQUEST_ANSWERED or REQUEST_UNDER_WAY (write.h); fills r->answer.applied. What `in` and the
 * second argument point to is not needed after the return. */
int apply_document(struct model *m, const struct apply_input *in, struct request *r,
		   struct err *err) MUST_CHECK;
/* The document and the images of an earlier revision as a new one. */
int apply_rollback(struct model *m, const struct msg_rollback *request, struct request *r,
		   struct err *err) MUST_CHECK;

#endif
