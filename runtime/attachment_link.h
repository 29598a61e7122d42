/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RUNTIME_ATTACHMENT_LINK_H
#define RUNTIME_ATTACHMENT_LINK_H

/*
 * The link of a container of others: its addresses and namespace's end, the row that tells the data
 * path of it and of what it is, and, once that has its program there, the fabric's end. A program
 * may run in the namespace already: before that nothing of it goes anywhere.
 * Threading: the loop's.
 */

#include "runtime/attachment_book.h"
#include "runtime/container_link.h"
#include "runtime/net_guest.h"

/* guest: NULL where only the fabric's side is looked at. */
void attachment_link_config(const struct container_host *host, const struct attachment *a,
			    const struct net_guest *guest, struct net_config *out);
/* ns: the container's, borrowed. */
int attachment_link_make(struct container_host *host, struct attachment *a, int ns,
			 struct err *err) MUST_CHECK;
/* The row, of a link that is there. */
int attachment_link_show(struct container_host *host, struct attachment *a,
			 const struct net_link_info *info, struct err *err) MUST_CHECK;
/* The data path has taken it: packets pass from now on. */
int attachment_link_connect(struct container_host *host, struct attachment *a,
			    struct err *err) MUST_CHECK;
/* As the data path says now of one that was answered with: what it cannot judge any more is cut off
 * until it can. */
void attachment_link_follow(struct container_host *host, struct attachment *a);

#endif
