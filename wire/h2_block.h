/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WIRE_H2_BLOCK_H
#define WIRE_H2_BLOCK_H

/*
 * A decoded header block of HTTP/2 while it is collected: name and value bytes in one buffer,
 * fields as offsets (RFC 9113 8.2, 8.3). Lives from the first field to the callback that reads it;
 * an idle connection has none.
 * Threading: one owner.
 */

#include "base/buf.h"
#include "wire/h2.h"

struct h2_block {
	struct h2_block *next; /* of the engine's free ones */
	struct buf text;
	size_t list_bytes; /* as RFC 9113 6.5.2 counts */
	size_t count;
	struct http_span method, scheme, authority, path, protocol, host;
	bool too_long;
	bool bad; /* a field that no honest peer sends */
	bool has_length;
	uint64_t content_length;
	struct http_field fields[H2_FIELDS_MAX];
};

struct h2_block *h2_block_new(void); /* NULL: out of memory */
void h2_block_free(struct h2_block *b);
void h2_block_reset(struct h2_block *b);
/* -1: out of memory. Past the limits fields are dropped and too_long is set. */
int h2_block_add(struct h2_block *b, const char *name, size_t name_length, const char *value,
		 size_t value_length);
/* All fields are there: false when they contradict each other or a target is malformed. */
bool h2_block_request(struct h2_block *b, struct h2_request *out);

#endif
