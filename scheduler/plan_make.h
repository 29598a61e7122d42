/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SCHEDULER_PLAN_MAKE_H
#define SCHEDULER_PLAN_MAKE_H

/*
 * From a service of the document to the plan of one replica (ring/plan.h). Variables of the node's
 * environment ($E:NAME) are resolved here, from the allow-listed ones alone; one that is missing
 * is an error that names the key. Secrets never stand in a plan.
 *
 * The *make* of a replica is the digest of all that cannot change under a running one: its plan
 * (without its own number), its endpoints' ports and its health check. Two revisions with the same
 * make share replicas: a change of routes, scale or update rules replaces nothing.
 */

#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "ring/plan.h"
#include "ring/words.h"
#include "spec/config.h"
#include "spec/doc.h"

struct plan_make_input {
	const struct config *config;
	const char *deployment;
	const struct doc_service *service;
	const char *image_digest; /* pinned; "" when the image is not here */
	uint64_t replica;
	uint64_t service_id;
	uint32_t index;
	uint32_t revision;
	const struct words *args; /* behind those of the document; NULL: none */
};

/* Texts are borrowed from the document and the configuration, or in the arena. */
int plan_make(const struct plan_make_input *in, struct arena *arena, struct plan *out,
	      struct err *err) MUST_CHECK;
/* The encoding and its digest. */
int plan_make_bytes(const struct plan_make_input *in, struct buf *out, uint8_t sha256[32],
		    struct err *err) MUST_CHECK;
/* replica, index and revision of the input do not matter. */
int plan_make_digest(const struct plan_make_input *in, uint8_t make[32],
		     struct err *err) MUST_CHECK;

#endif
