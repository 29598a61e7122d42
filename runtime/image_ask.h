/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_IMAGE_ASK_H
#define RUNTIME_IMAGE_ASK_H

/*
 * The requests about images that have to do with registries (MSG_OP_IMAGE_PULL, _RESOLVE, _PRUNE),
 * and what the scheduler's pins say may go. Threading: the loop's thread.
 */

#include <stdbool.h>
#include "ring/station.h"
#include "runtime/image_ops.h"
#include "runtime/image_pull.h"
#include "runtime/image_store.h"

struct image_ask;

int image_ask_new(struct station *st, struct image_store *store, struct image_ops *ops,
		  struct pulls *pulls, struct image_ask **out, struct err *err) MUST_CHECK;
/* True when the request was one of ours (it is answered now or later). */
bool image_ask_request(struct image_ask *a, const struct station_request *request, const void *body,
		       size_t bytes);
/* The scheduler's table of pins was read; NULL: the scheduler is gone, so all that it may keep
 * stays. */
void image_ask_pins(struct image_ask *a, const struct ring_reader *scheduler);

/* "docker.io/library/web:1" and, for the registry, which digest is asked for ("" the tag's). */
int image_ask_name(const char *text, char name[MSG_IMAGE], char digest[MSG_DIGEST],
		   struct err *err) MUST_CHECK;

#endif
