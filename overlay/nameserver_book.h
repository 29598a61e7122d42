/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVERLAY_NAMESERVER_BOOK_H
#define OVERLAY_NAMESERVER_BOOK_H

/*
 * From tables to names: the book that nameserver.c answers from, and who of those that ask is a
 * container of this node, with what each may still ask.
 *
 * Threading: the loop's thread. One per process.
 */

#include "overlay/allowance.h"
#include "overlay/names.h"
#include "overlay/peers.h"
#include "overlay/prefix.h"
#include "ring/station.h"
#include "spec/config.h"

enum { NAMESERVER_BOOK_AGAIN_MS = 3000 }; /* when one could not be made */

/* peers: borrowed. made: called when there is a new book. */
void nameserver_book_start(struct station *st, const struct msg_prefix *prefix,
			   const struct peers *peers, void (*made)(void));
/* A producer's tables may have changed: of node, scheduler, runtime. */
void nameserver_book_wake(struct ring_reader *reader);
/* What it is made from has changed: there will be another one soon. */
void nameserver_book_is_old(void);

/* NULL: there is none yet. Good until the loop goes on. */
const struct names *nameserver_book_names(void);
/* There is one, and runtime has said which containers there are. */
bool nameserver_book_is_known(void);
/* NULL: no container of this node. */
struct allowance *nameserver_book_allowance(const struct addr *from);

#endif
