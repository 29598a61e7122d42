/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_FETCH_IMAGE_H
#define RUNTIME_FETCH_IMAGE_H

/* From an image's name to its documents: index, manifest, configuration, each checked against the
 * digest that names it. Threading: the loop's thread of the fetch role. */

#include "ring/msg.h"
#include "runtime/courier.h"

struct fetch_image;

/* err NULL: answer is filled, documents are for runtime/documents.h (empty for a head). The object
 * is freed after it. */
typedef void (*fetch_image_fn)(void *arg, const struct err *err, const struct msg_fetched *answer,
			       const struct buf *documents);
struct fetch_image *fetch_image_start(struct couriers *cs, const struct msg_fetch *what,
				      fetch_image_fn done, void *arg, struct err *err);
void fetch_image_cancel(struct fetch_image *f);

#endif
