/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_PINS_H
#define API_PINS_H

/*
 * Before a document is applied: which digests its images stand for. Runtime is asked for each (and
 * asks the registry, by pull policy); what cannot be said is left to the replica that pulls it,
 * which then says why.
 */

#include "api/call.h"
#include "ring/msg.h"
#include "spec/doc.h"

/* Then asks the scheduler to apply; the document's descriptor is borrowed (duplicated). Answers the
 * call on failure. */
void pins_resolve(struct call *call, const struct doc *doc, const struct msg_apply *op,
		  int document, call_answer_fn applied);

#endif
