/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_H2_PRIVATE_H
#define WIRE_H2_PRIVATE_H

/* For the files of h2.h among themselves: h2.c (connections, the library's callbacks), h2_stream.c,
 * h2_engine.c. */

#include "base/list.h"
#include "wire/h2.h"
#include "wire/h2_block.h"
#include "wire/nghttp2.h"

enum { H2_ENGINE_NV = H2_FIELDS_MAX + 28 };

struct h2_engine {
	nghttp2_option *option;
	nghttp2_session_callbacks *callbacks;
	nghttp2_mem memory;
	struct h2_block *blocks;
	size_t blocks_count;
	nghttp2_nv nv[H2_ENGINE_NV]; /* of the call under way */
};

struct h2 {
	struct h2_engine *engine;
	nghttp2_session *session;
	const struct h2_handler *handler;
	void *arg;
	struct list streams;
	size_t streams_count;
	struct h2_block *block; /* being collected; NULL when none is */
	struct h2_guard guard;
	uint32_t error;
	bool failed; /* nothing more is read */
	bool dead;   /* nothing more is written either */
	/* output of the h2_pull under way */
	uint8_t *out;
	size_t out_at, out_cap;
	const uint8_t *rest; /* the library's, until its next frame */
	size_t rest_length;
};

struct h2_stream {
	struct list in_connection;
	struct h2 *h;
	void *user;
	int32_t id;
	bool announced;
	bool deferred;
	bool last;
	bool answered;
	bool asked; /* the user reset it */
	bool peer_reset;
	bool has_trailers;
	size_t available;
	size_t unconsumed;
	struct h2_header *trailers;
	size_t trailers_count;
};

/* NULL: out of memory. */
struct h2_block *h2_engine_take_block(struct h2_engine *e);
void h2_engine_give_block(struct h2_engine *e, struct h2_block *b); /* NULL is fine */
/* h2.c: what the library calls. */
void h2_set_callbacks(nghttp2_session_callbacks *c);

#endif
