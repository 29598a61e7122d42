/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_NAMES_TARGET_H
#define OVERLAY_NAMES_TARGET_H

/*
 * What the name in a question means to the one who asks, before there is an answer: for
 * names_answer.c, which makes the records. All pointers are into the book. No I/O.
 * Threading: pure; the book is only read.
 */

#include "overlay/names_book.h"

enum names_kind {
	TARGET_NOWHERE, /* no such name */
	TARGET_EMPTY,   /* a name above others, or a zone */
	TARGET_SERVICE,
	TARGET_REPLICA,
	TARGET_ENDPOINT,
	TARGET_NODE,
	TARGET_GUEST,
	TARGET_POINTER,
};

struct names_target {
	enum names_kind kind;
	size_t zone_labels; /* of the question's name: whose SOA a negative answer has */
	char suffix[2 * MSG_NAME + 20]; /* of an endpoint: what stands behind "N." in its targets */
	const struct names_service *service;
	const struct names_host *node;
	size_t guest;                      /* the first of its name */
	const struct names_entry *pointer; /* of a POINTER one of three: a replica, */
	const struct names_guest *visitor; /* a container of others, or `node` */
	uint32_t index;                    /* of a replica */
	uint32_t endpoint;
};

struct names_asker {
	bool known; /* a container, ours or of others */
	struct identity who;
	const struct names_entry *entry; /* NULL: no replica */
};

struct names_asker names_target_asker(const struct names *n, const struct addr *from);
/* Whether the asker may reach a replica. */
bool names_target_reaches(const struct names *n, const struct names_asker *asker,
			  const struct names_entry *e);
/* out: zero. NAMES_ANSWERED: it says what there is. */
enum names_answer names_target_find(const struct names *n, const struct names_asker *asker,
				    const struct dns_name *name, struct names_target *out);

#endif
