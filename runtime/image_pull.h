/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_IMAGE_PULL_H
#define RUNTIME_IMAGE_PULL_H

/*
 * Pulling images, as the runtime conducts it: fetch finds the documents, unpack says which layers
 * are missing, each missing layer goes from fetch to unpack through a socket of its own, several at
 * a time, and unpack moves all of them to their places. Who wants the same image joins the pull
 * that is under way; a layer that several images need is fetched once. After a failure nothing of
 * it is left; the death of fetch is healed within the layer, that of unpack by beginning anew.
 * Threading: the loop's thread.
 */

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "ring/station.h"
#include "runtime/image_store.h"

struct pulls;

struct pull_progress {
	uint64_t bytes, total_bytes; /* fetched, to fetch */
	uint32_t layers, layers_here;
};

struct pull_calls {
	/* The end: err NULL when the image is in the store. Not from within image_pull_want. */
	void (*done)(void *arg, uint64_t tag, const struct err *err,
		     const struct msg_imported *imported, const struct pull_progress *progress);
	/* Something moved. May be NULL. */
	void (*moved)(void *arg, uint64_t tag, const struct pull_progress *progress);
};

/* Why an image was not pulled, with its name in what failed. */
void image_pull_err(const char *name, const struct err *cause, struct err *out);
int image_pull_open(struct station *st, struct image_store *store, struct pulls **out,
		    struct err *err) MUST_CHECK;
/* name: a full reference without digest. digest: exactly this one; "": what the name means in the
 * registry now. tag: the caller's, to forget it by. */
int image_pull_want(struct pulls *ps, const char *name, const char *digest,
		    const struct pull_calls *calls, void *arg, uint64_t tag,
		    struct err *err) MUST_CHECK;
/* Whoever waited does no more; a pull for which nobody waits is ended. */
void image_pull_forget(struct pulls *ps, void *arg, uint64_t tag);
/* The fetch role's table of transfers has changed. */
void image_pull_moved(struct pulls *ps, const struct ring_reader *fetch);
/* Every few seconds: ends what does not move any more. */
void image_pull_tick(struct pulls *ps);

#endif
