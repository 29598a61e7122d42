/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_IMAGE_OPS_H
#define RUNTIME_IMAGE_OPS_H

/*
 * The image requests of the runtime role: MSG_OP_IMAGE_IMPORT (hands the archive to the unpack
 * role, takes the record it gives, publishes the image table) and MSG_OP_IMAGE_REMOVE.
 */

#include <stdbool.h>
#include "ring/station.h"
#include "runtime/image_store.h"

struct image_ops;

/* Rows of struct msg_image that the role's layout gives MSG_TABLE_IMAGE. */
enum { IMAGE_OPS_ROWS_MAX = 1024 };

int image_ops_new(struct station *st, struct image_store *store, struct image_ops **out,
		  struct err *err) MUST_CHECK;
/* Publishes MSG_TABLE_IMAGE from the store (after hold and release, too). */
void image_ops_publish(struct image_ops *ops);
/* Takes what unpack answered (a record in a sealed memfd) into the store. as: the name; NULL: what
 * the answer says. */
int image_ops_take_record(struct image_store *store, const char *as, const void *body, size_t bytes,
			  const int *fds, size_t count, struct msg_imported *out,
			  struct err *err) MUST_CHECK;
/* True when the request was one of ours (it is answered now or later). fds as in station.h. */
bool image_ops_request(struct image_ops *ops, const struct station_request *request,
		       const void *body, size_t bytes, int *fds, size_t count);

#endif
