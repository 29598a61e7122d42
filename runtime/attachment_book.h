/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_ATTACHMENT_BOOK_H
#define RUNTIME_ATTACHMENT_BOOK_H

/*
 * Which containers of others are attached to this node's mesh. I/O-free: load and save are text, a
 * line for each: id, network, container, interface, name or "-", time of its creation, and to the
 * line's end the path of its namespace. Addresses stand where those of replicas do
 * (address_pool.h), under the same id.
 * Threading: one owner.
 */

#include "base/buf.h"
#include "base/err.h"
#include "base/map.h"
#include "ring/msg_attachment.h"
#include "ring/station.h"

enum { ATTACHMENT_TEXT_MAX = 1 << 20 };

struct attachment {
	struct msg_attachment row;
	bool whole;       /* it was answered with: what is saved */
	uint32_t ifindex; /* of its link, in the fabric */
	enum attachment_link {
		ATTACHMENT_UNTOLD, /* as it was left */
		ATTACHMENT_CONNECTED,
		ATTACHMENT_CUT,
	} link;
	/* While it is not: */
	struct station_request request;
	uint64_t give_up_mono_ns;
};

struct attachment_book {
	struct map entries; /* id -> struct attachment */
};

void attachment_book_init(struct attachment_book *b);
void attachment_book_fini(struct attachment_book *b);
/* Adds a copy of the row; ERR_LIMIT, ERR_NO_MEMORY. */
int attachment_book_add(struct attachment_book *b, const struct msg_attachment *row,
			struct attachment **out, struct err *err) MUST_CHECK;
/* NULL: there is none. */
struct attachment *attachment_book_get(const struct attachment_book *b, uint64_t id);
struct attachment *attachment_book_find(const struct attachment_book *b,
					const struct msg_attach_key *key);
void attachment_book_remove(struct attachment_book *b, uint64_t id);

/* Lines that do not hold, or say what an earlier one does, are passed over. -1: out of memory. */
int attachment_book_load(struct attachment_book *b, const char *text, struct err *err) MUST_CHECK;
/* Those that are whole. */
void attachment_book_save(const struct attachment_book *b, struct buf *out);

#endif
