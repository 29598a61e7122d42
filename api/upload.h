/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_UPLOAD_H
#define API_UPLOAD_H

/* A body of any size, on its way to another role: it is written to an unlinked file that node
 * opened (this process can open none). Nothing of it is looked at here. */

#include "api/call.h"
#include "ring/leash.h"

struct server;

struct upload_kind {
	const char *what; /* "the image" */
	const char *fix;  /* of a body that is empty */
	uint64_t bytes_max;
	/* All of it is there, from the file's beginning; the file is closed afterwards. */
	void (*done)(struct call *call, int fd, const void *data);
};

/* For handlers of ROUTE_STREAM: called when the head is there; without a body, when the request is
 * complete. data: what `done` is to know, copied. */
void upload_begin(struct call *call, const struct upload_kind *kind, const void *data,
		  size_t bytes);
/* LEASH_SPOOLED. */
void upload_spooled(struct server *s, const struct leash_message *m, int *fds, size_t count);

#endif
